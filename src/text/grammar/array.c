/* Arrays of schemas. */
#include "text/grammar/schema.h"

typedef struct items {
    uint32_t least, most;
    size_t n_first;  /* those that have schemas of their own */
    bool rest_named; /* there is a schema for the others */
    bool rest_asked; /* only then they come */
    bool contains;
} items;

/* Draft 7 puts the first ones into `items` as a list, and the others into additionalItems. */
static uint32_t first_items(const schema *s, uint32_t node) {
    uint32_t list = schema_member(s, node, "prefixItems"), items_at = schema_member(s, node, "items");
    return list ? list : s->nodes[items_at].kind == JSON_ARRAY_START ? items_at : 0;
}

static uint32_t other_items(const schema *s, uint32_t node) {
    uint32_t items_at = schema_member(s, node, "items");
    return s->nodes[items_at].kind == JSON_ARRAY_START ? schema_member(s, node, "additionalItems") : items_at;
}

static void parts_of_item(schema *s, const schema_parts *p, size_t index, schema_parts *out) {
    *out = (schema_parts){0};
    for (uint32_t i = 0; i < p->n; i++) {
        uint32_t list = first_items(s, p->at[i].node), at = list ? s->nodes[list].child : 0;
        for (size_t k = 0; at && k < index; k++) at = s->nodes[at].next;
        if (!at) at = other_items(s, p->at[i].node);
        if (at) schema_add(s, out, at);
    }
}

/* Items that must not be: only the empty list can be kept away from. */
static bool excludes_arrays(const schema *s, const schema_parts *p, items *it) {
    for (uint32_t i = 0; i < p->n; i++) {
        uint32_t no = schema_member(s, p->at[i].node, "not"), one = schema_member(s, no, "const"),
                 list = schema_member(s, no, "enum");
        for (uint32_t v = one ? one : s->nodes[list].child; no && v; v = one ? 0 : s->nodes[v].next) {
            if (s->nodes[v].kind != JSON_ARRAY_START) continue;
            if (s->nodes[v].n) return true;
            if (!it->least) it->least = 1;
        }
    }
    return false;
}

/* The item that `contains` asks for comes behind the first ones. */
static bool emit_contained(schema *s, const schema_parts *p, items *it) {
    schema_parts own;
    bool asked = false;
    parts_of_item(s, p, it->n_first, &own);
    for (uint32_t i = 0; i < p->n; i++) {
        uint32_t contains = schema_member(s, p->at[i].node, "contains");
        if (contains) asked = true, schema_add(s, &own, contains);
    }
    if (!asked) return false;
    if (it->n_first >= it->most)
        return schema_never(s, p->at[0].node, "'contains' is supported where 'maxItems' leaves room for an item behind "
                                              "'prefixItems'"), true;
    if (it->n_first) grammar_json_separator(s->b, ',');
    schema_emit(s, &own);
    it->n_first++;
    return true;
}

static void emit_rest(schema *s, const schema_parts *p, const items *it) {
    schema_parts own;
    uint32_t least = it->least > it->n_first ? it->least - (uint32_t)it->n_first : 0,
             most = it->most == GRAMMAR_UNBOUNDED ? it->most : it->most - (uint32_t)it->n_first;
    parts_of_item(s, p, it->n_first, &own);
    if (own.never)
        most = 0;
    else if (it->n_first && !it->rest_named && it->rest_asked)
        most = least;
    if (least > most)
        schema_never(s, p->at[0].node, "nothing satisfies it: 'minItems' asks for more items than may be there");
    if (!most || least > most) return;
    uint32_t start = grammar_here(s->b);
    grammar_json_separator(s->b, ',');
    uint32_t first = it->n_first ? start : grammar_here(s->b);
    schema_emit(s, &own);
    grammar_repeat_list(s->b, start, first, least, most);
}

/* ---- items of which no two are alike ---- */

static uint32_t list_of_types(schema *s, uint32_t of, unsigned types) {
    uint32_t list = schema_make(s, of, JSON_ARRAY_START);
    if (types & TYPE_NULL) schema_put(s, list, "", schema_make(s, of, JSON_NULL));
    if (types & TYPE_BOOLEAN) schema_put(s, list, "", schema_make_bool(s, of, false));
    if (types & TYPE_BOOLEAN) schema_put(s, list, "", schema_make_bool(s, of, true));
    return list;
}

/* The values of all branches, each of which names its own. */
static uint32_t list_of_branches(schema *s, uint32_t branches) {
    uint32_t list = schema_make(s, branches, JSON_ARRAY_START);
    for (uint32_t c = s->nodes[branches].child; c && !s->b->failed; c = s->nodes[c].next) {
        uint32_t one = schema_member(s, c, "const"), own = schema_member(s, c, "enum");
        for (uint32_t v = one ? one : s->nodes[own].child; v; v = one ? 0 : s->nodes[v].next)
            schema_put(s, list, "", v);
    }
    return list;
}

enum { RANGE_MAX = 64 };

/* Whole numbers between bounds, if these are near each other. */
static uint32_t list_of_range(schema *s, const schema_parts *item) {
    static const struct {
        const char *keyword;
        bool low, open;
    } bounds[] = {{"minimum", true, false},
                  {"exclusiveMinimum", true, true},
                  {"maximum", false, false},
                  {"exclusiveMaximum", false, true}};
    int64_t low = INT64_MIN / 2, high = INT64_MAX / 2;
    for (uint32_t i = 0; i < item->n * 4; i++) {
        bool is_low = bounds[i % 4].low;
        uint32_t node = schema_member(s, item->at[i / 4].node, bounds[i % 4].keyword);
        int64_t v;
        if (!node || s->nodes[node].kind == JSON_BOOL) continue; /* draft 4's, of a bound: looked at with the items */
        if (!grammar_number_in_units(s->nodes[node].text, 0, is_low, bounds[i % 4].open, &v)) return 0;
        if (is_low && v > low) low = v;
        if (!is_low && v < high) high = v;
    }
    if (high < low || high - low >= RANGE_MAX) return 0;
    uint32_t list = schema_make(s, item->at[0].node, JSON_ARRAY_START);
    for (int64_t v = low; v <= high && grammar_step(s->b); v++) schema_put_integer(s, list, "", v);
    return list;
}

/* All values that items can be, as a list: what else is said of them is not yet looked at. 0: they are too many. */
static uint32_t values_of_items(schema *s, schema_parts *item) {
    static const char *const keywords[] = {"anyOf", "oneOf"};
    schema_unfold(s, item);
    if (s->b->failed || !item->n || item->never) return 0;
    for (uint32_t i = 0; i < item->n; i++) {
        uint32_t list = schema_member(s, item->at[i].node, "enum");
        if (list) return list;
        for (int k = 0; k < 2; k++) {
            uint32_t branches = schema_member(s, item->at[i].node, keywords[k]);
            if (branches && schema_branches_are_values(s, branches, false)) return list_of_branches(s, branches);
        }
    }
    unsigned types = schema_types_of_parts(s, item);
    if (types == TYPE_INTEGER) return list_of_range(s, item);
    return types & ~(unsigned)(TYPE_NULL | TYPE_BOOLEAN) ? 0 : list_of_types(s, item->at[0].node, types);
}

static bool came_before(const schema *s, uint32_t list, uint32_t v) {
    for (uint32_t o = s->nodes[list].child; o && o != v; o = s->nodes[o].next)
        if (schema_equal(s, o, v)) return true;
    return false;
}

/* Each value once, in the order in which they are named: so many of them. */
static bool emit_distinct(schema *s, const schema_parts *item, uint32_t list, const items *it) {
    enum { VALUES_MAX = 256 };
    str texts[VALUES_MAX];
    uint32_t n = 0, counts;
    buf all[1];
    size_t ends[VALUES_MAX];
    buf_init(all, s->b->alloc, GRAMMAR_TEXT_BYTES_MAX);
    for (uint32_t v = s->nodes[list].child; v && n < VALUES_MAX && grammar_step(s->b); v = s->nodes[v].next) {
        bool fits = !came_before(s, list, v);
        s->b->steps += n / 16; /* of those before */
        for (uint32_t i = 0; i < item->n && fits; i++) fits = schema_accepts(s, item->at[i], v, 0);
        if (!fits) continue;
        schema_write_value(s, v, all);
        ends[n++] = all->len;
    }
    if (all->failed) grammar_fail(s->b, ERR_MEMORY, "no memory to compile a grammar");
    for (size_t i = 0; i < n && !s->b->failed; i++) {
        size_t from = i ? ends[i - 1] : 0;
        texts[i] = (str){all->data + from, ends[i] - from};
    }
    counts = it->most < n ? it->most : it->least < n ? it->least : n;
    if (!s->b->failed && (size_t)n * (counts + 1) > 4096)
        schema_fail(s, list, "'uniqueItems' with so many values and items is not supported");
    if (!s->b->failed) schema_emit_distinct(s, texts, n, it->least, it->most);
    buf_free(all);
    return !s->b->failed;
}

static bool emit_unique(schema *s, const schema_parts *p, const items *it) {
    schema_parts item;
    parts_of_item(s, p, 0, &item);
    uint32_t list = values_of_items(s, &item);
    if (s->b->failed) return false;
    if (list && !it->n_first && !it->contains) return emit_distinct(s, &item, list, it);
    return schema_fail(s, p->at[0].node, "'uniqueItems' is supported of items that have an 'enum', are booleans, "
                                         "constants or integers of a small range, and of one item at most "
                                         "('maxItems': 1)");
}

bool schema_emit_array(schema *s, const schema_parts *p) {
    items it = {.most = GRAMMAR_UNBOUNDED};
    bool unique = false;
    for (uint32_t i = 0, n; i < p->n; i++) {
        uint32_t node = p->at[i].node, list = first_items(s, node),
                 once = schema_member(s, node, "uniqueItems");
        if (schema_count(s, node, "minItems", &n) && n > it.least) it.least = n;
        if (schema_count(s, node, "maxItems", &n) && n < it.most) it.most = n;
        if (list && s->nodes[list].n > it.n_first) it.n_first = s->nodes[list].n;
        it.rest_named |= other_items(s, node) != 0;
        it.contains |= schema_member(s, node, "contains") != 0;
        unique |= once && s->nodes[once].boolean;
    }
    it.rest_asked = it.n_first > 0;
    grammar_text(s->b, STR("["));
    if (excludes_arrays(s, p, &it)) schema_never(s, p->at[0].node, "'not' of a list that has items is not supported");
    if (it.least > it.most) schema_never(s, p->at[0].node, "nothing satisfies it: 'minItems' is above 'maxItems'");
    if (it.n_first > it.most) it.n_first = it.most;
    if (unique && it.most > 1) return emit_unique(s, p, &it) && (grammar_text(s->b, STR("]")), !s->b->failed);
    for (size_t i = 0; i < it.n_first && grammar_step(s->b); i++) {
        schema_parts own;
        if (i) grammar_json_separator(s->b, ',');
        parts_of_item(s, p, i, &own);
        schema_emit(s, &own);
    }
    if (it.contains) emit_contained(s, p, &it);
    emit_rest(s, p, &it);
    grammar_text(s->b, STR("]"));
    return !s->b->failed;
}
