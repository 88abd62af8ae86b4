/* Values that a schema names: which of them satisfy what else it says, and how they are written. */
#include "text/grammar_schema.h"

enum { VALUES_A_STEP = 16 }; /* of values that are compared */

/* ---- comparing ---- */

static bool is_number(const schema_node *n) { return n->kind == JSON_INT || n->kind == JSON_DOUBLE; }

static bool equal(const schema *s, uint32_t a, uint32_t b) {
    const schema_node *x = &s->nodes[a], *y = &s->nodes[b];
    if (is_number(x) && is_number(y)) return grammar_number_compare(x->text, y->text) == 0;
    if (x->kind != y->kind || x->n != y->n || x->boolean != y->boolean) return false;
    if (x->kind == JSON_STRING) return str_eq(x->text, y->text);
    if (x->kind == JSON_OBJECT_START) {
        for (uint32_t i = x->child; i; i = s->nodes[i].next) {
            uint32_t other = schema_member_str(s, b, s->nodes[i].key);
            if (!other || !equal(s, i, other)) return false;
        }
        return true;
    }
    for (uint32_t i = x->child, j = y->child; i; i = s->nodes[i].next, j = s->nodes[j].next)
        if (!equal(s, i, j)) return false;
    return true;
}

static unsigned type_of_value(const schema *s, uint32_t value) {
    const schema_node *n = &s->nodes[value];
    switch (n->kind) {
    case JSON_NULL: return TYPE_NULL;
    case JSON_BOOL: return TYPE_BOOLEAN;
    case JSON_STRING: return TYPE_STRING;
    case JSON_ARRAY_START: return TYPE_ARRAY;
    case JSON_OBJECT_START: return TYPE_OBJECT;
    case JSON_INT: return TYPE_INTEGER | TYPE_NUMBER;
    default: return grammar_number_is_whole(n->text) ? TYPE_INTEGER | TYPE_NUMBER : TYPE_NUMBER;
    }
}

/* ---- checking ---- */

static bool number_fits(schema *s, uint32_t node, str v) {
    static const struct {
        const char *keyword;
        int side;
        bool open;
    } bounds[] = {
        {"minimum", 1, false},
        {"exclusiveMinimum", 1, true},
        {"maximum", -1, false},
        {"exclusiveMaximum", -1, true},
    };
    for (int i = 0; i < 4; i++) {
        uint32_t at = schema_member(s, node, bounds[i].keyword);
        if (!at || !is_number(&s->nodes[at])) continue;
        int order = grammar_number_compare(v, s->nodes[at].text) * bounds[i].side;
        if (order < 0 || (order == 0 && bounds[i].open)) return false;
    }
    return true;
}

static bool string_fits(schema *s, uint32_t node, str v) {
    uint32_t n, characters = 0;
    for (size_t i = 0; i < v.len; i++) characters += (v.data[i] & 0xC0) != 0x80;
    if (schema_count(s, node, "minLength", &n) && characters < n) return false;
    return !schema_count(s, node, "maxLength", &n) || characters <= n;
}

/* part: its branches that are done were chosen already. */
static bool value_fits(schema *s, schema_part part, uint32_t value, int depth);

static bool fits_some(schema *s, uint32_t list, uint32_t value, bool all, int depth) {
    for (uint32_t c = s->nodes[list].child; c && !s->b->failed; c = s->nodes[c].next)
        if (value_fits(s, (schema_part){.node = c}, value, depth + 1) != all) return !all;
    return all;
}

/* Keywords about what is inside an object or array, or about the letters of a string, are not looked at: beside
 * values they are refused. */
static bool check_beside_values(schema *s, uint32_t node, unsigned type) {
    static const struct {
        const char *keyword;
        unsigned about;
    } not_beside[] = {
        {"pattern", TYPE_STRING},           {"format", TYPE_STRING},
        {"multipleOf", TYPE_NUMBER},        {"items", TYPE_ARRAY},
        {"prefixItems", TYPE_ARRAY},        {"minItems", TYPE_ARRAY},
        {"maxItems", TYPE_ARRAY},           {"properties", TYPE_OBJECT},
        {"required", TYPE_OBJECT},          {"additionalProperties", TYPE_OBJECT},
        {"patternProperties", TYPE_OBJECT}, {"propertyNames", TYPE_OBJECT},
    };
    for (size_t i = 0; i < sizeof not_beside / sizeof *not_beside; i++)
        if ((type & not_beside[i].about) && schema_member(s, node, not_beside[i].keyword))
            return schema_fail(s, node, "'%s' beside 'enum' or 'const' is not supported", not_beside[i].keyword);
    return true;
}

static bool value_fits(schema *s, schema_part part, uint32_t value, int depth) {
    uint32_t node = part.node;
    if (!grammar_step(s->b) || !schema_check(s, node)) return false;
    if (depth > 32) return schema_fail(s, node, "references go too deep beside 'enum' or 'const'");
    if (s->nodes[node].kind == JSON_BOOL) return s->nodes[node].boolean;
    if (schema_member(s, node, "not")) return false; /* of anything */
    unsigned type = type_of_value(s, value);
    uint32_t ref = schema_member(s, node, "$ref"), one = schema_member(s, node, "const"),
             list = schema_member(s, node, "enum"), any = part.any_done ? 0 : schema_member(s, node, "anyOf"),
             only = part.one_done ? 0 : schema_member(s, node, "oneOf"), all = schema_member(s, node, "allOf");
    if (!(type & schema_types(s, node)) || (one && !equal(s, one, value))) return false;
    bool listed = !list || s->nodes[value].parent == list; /* mostly it is of this very list */
    if (!listed) s->b->steps += s->nodes[list].n / VALUES_A_STEP;
    for (uint32_t c = s->nodes[list].child; c && list && !listed; c = s->nodes[c].next) listed = equal(s, c, value);
    if (!listed || !check_beside_values(s, node, type)) return false;
    if ((type & TYPE_NUMBER) && !number_fits(s, node, s->nodes[value].text)) return false;
    if (type == TYPE_STRING && !string_fits(s, node, s->nodes[value].text)) return false;
    if (ref) {
        uint32_t target = schema_pointer(s, node, s->nodes[ref].text);
        if (!target || !value_fits(s, (schema_part){.node = target}, value, depth + 1)) return false;
    }
    if (only) { /* exactly one: counted */
        uint32_t n = 0;
        for (uint32_t c = s->nodes[only].child; c; c = s->nodes[c].next)
            n += value_fits(s, (schema_part){.node = c}, value, depth + 1);
        if (n != 1) return false;
    }
    return (!any || fits_some(s, any, value, false, depth)) && (!all || fits_some(s, all, value, true, depth));
}

/* ---- writing ---- */

/* Heapsort in place. */
static int order(str a, str b) {
    size_t n = a.len < b.len ? a.len : b.len;
    int o = n ? memcmp(a.data, b.data, n) : 0;
    return o ? o : a.len < b.len ? -1 : a.len > b.len;
}

static void sift(str *t, size_t i, size_t n) {
    for (size_t child; (child = 2 * i + 1) < n; i = child) {
        if (child + 1 < n && order(t[child], t[child + 1]) < 0) child++;
        if (order(t[i], t[child]) >= 0) return;
        str x = t[i];
        t[i] = t[child];
        t[child] = x;
    }
}

static void sort(str *t, size_t n) {
    for (size_t i = n / 2; i-- > 0;) sift(t, i, n);
    for (size_t end = n; end > 1;) {
        str x = t[0];
        t[0] = t[--end];
        t[end] = x;
        sift(t, 0, end);
    }
}

enum { TREE_DEPTH_MAX = 128 };

/* Sorted texts that are alike in their first `at` bytes: what they share, then a branch for each next byte. */
static void emit_tree(grammar_builder *b, const str *t, size_t n, size_t at, int depth) {
    if (depth > TREE_DEPTH_MAX) grammar_fail(b, ERR_INVALID, "values of an 'enum' begin alike too often");
    if (!grammar_step(b)) return;
    size_t alike = at;
    while (alike < t[0].len && t[n - 1].len > alike && t[0].data[alike] == t[n - 1].data[alike]) alike++;
    grammar_text(b, (str){t[0].data + at, alike - at});
    if (n == 1) return;
    grammar_alternatives a = grammar_alternatives_begin(b);
    for (size_t i = 0, end; i < n && !b->failed; i = end) {
        end = i + 1;
        if (i) grammar_alternatives_next(b, &a);
        if (t[i].len == alike) continue; /* ends here */
        while (end < n && t[end].data[alike] == t[i].data[alike]) end++;
        emit_tree(b, t + i, end - i, alike, depth + 1);
    }
    grammar_alternatives_end(b, &a);
}

bool schema_emit_texts(schema *s, str *t, size_t n) {
    size_t kept = 0;
    sort(t, n);
    for (size_t i = 0; i < n; i++)
        if (!kept || !str_eq(t[i], t[kept - 1])) t[kept++] = t[i];
    if (kept)
        emit_tree(s->b, t, kept, 0, 0);
    else
        grammar_emit(s->b, OP_FAIL, 0, 0);
    return !s->b->failed;
}

typedef struct texts {
    buf all;
    size_t *ends;
    size_t n, cap;
} texts;

static void keep_value(schema *s, texts *t, uint32_t value) {
    if (!grammar_grow(s->b, (void **)&t->ends, &t->cap, t->n + 1, SCHEMA_NODES_MAX, sizeof *t->ends, "values"))
        return;
    schema_write_value(s, value, &t->all);
    t->ends[t->n++] = t->all.len;
}

static void emit_kept(schema *s, const texts *t) {
    str *list = alloc_bytes(s->b->alloc, t->n * sizeof *list);
    if (!list || t->all.failed) {
        grammar_fail(s->b, ERR_MEMORY, "no memory to compile a grammar");
    } else {
        for (size_t i = 0, from = 0; i < t->n; from = t->ends[i++])
            list[i] = (str){t->all.data + from, t->ends[i] - from};
        schema_emit_texts(s, list, t->n);
    }
    alloc_free(s->b->alloc, list, t->n * sizeof *list);
}

bool schema_emit_values(schema *s, const schema_parts *p, uint32_t list, bool single) {
    texts t = {0};
    buf_init(&t.all, s->b->alloc, GRAMMAR_TEXT_BYTES_MAX);
    for (uint32_t v = single ? list : s->nodes[list].child; v && grammar_step(s->b);
         v = single ? 0 : s->nodes[v].next) {
        bool fits = true;
        for (uint32_t i = 0; i < p->n && fits; i++) fits = value_fits(s, p->at[i], v, 0);
        if (fits && !s->b->failed) keep_value(s, &t, v);
    }
    if (!s->b->failed) emit_kept(s, &t);
    buf_free(&t.all);
    alloc_free(s->b->alloc, t.ends, t.cap * sizeof *t.ends);
    return !s->b->failed;
}

/* ---- which values two schemas share ---- */

static uint32_t values_of(const schema *s, uint32_t node, bool *single) {
    uint32_t one = schema_member(s, node, "const");
    *single = one != 0;
    return one ? one : schema_member(s, node, "enum");
}

static bool values_disjoint(schema *s, uint32_t a, uint32_t b) {
    bool a_single, b_single;
    uint32_t x = values_of(s, a, &a_single), y = values_of(s, b, &b_single);
    if (!x) return false;
    for (uint32_t i = a_single ? x : s->nodes[x].child; i; i = a_single ? 0 : s->nodes[i].next) {
        if (!y && (type_of_value(s, i) & schema_types(s, b))) return false;
        if (y) s->b->steps += 1 + s->nodes[y].n / VALUES_A_STEP;
        if (!grammar_step(s->b)) return false;
        for (uint32_t j = !y ? 0 : b_single ? y : s->nodes[y].child; j; j = b_single ? 0 : s->nodes[j].next)
            if (equal(s, i, j)) return false;
    }
    return true;
}

static bool requires(const schema *s, uint32_t node, str name) {
    uint32_t required = schema_member(s, node, "required");
    for (uint32_t i = s->nodes[required].child; i; i = s->nodes[i].next)
        if (str_eq(s->nodes[i].text, name)) return true;
    return false;
}

static bool branches_disjoint(schema *s, uint32_t a, uint32_t b, int depth) {
    static const char *const keywords[] = {"anyOf", "oneOf"};
    for (int k = 0; k < 2; k++) {
        uint32_t list = schema_member(s, a, keywords[k]), c = s->nodes[list].child;
        while (list && c && schema_disjoint(s, c, b, depth + 1)) c = s->nodes[c].next;
        if (list && !c) return true;
    }
    return false;
}

bool schema_disjoint(schema *s, uint32_t a, uint32_t b, int depth) {
    if (depth > 6 || !grammar_step(s->b)) return false;
    a = schema_target(s, a);
    b = schema_target(s, b);
    if (!a || !b || !schema_check(s, a) || !schema_check(s, b)) return false;
    if (s->nodes[a].kind == JSON_BOOL || s->nodes[b].kind == JSON_BOOL) return false;
    if (!(schema_types(s, a) & schema_types(s, b)) || values_disjoint(s, a, b) || values_disjoint(s, b, a))
        return true;
    if (branches_disjoint(s, a, b, depth) || branches_disjoint(s, b, a, depth)) return true;
    bool both_objects = schema_types(s, a) == TYPE_OBJECT && schema_types(s, b) == TYPE_OBJECT;
    uint32_t properties = both_objects ? schema_member(s, a, "properties") : 0;
    for (uint32_t i = s->nodes[properties].child; i; i = s->nodes[i].next) {
        str name = s->nodes[i].key;
        uint32_t other = requires(s, a, name) && requires(s, b, name) ? schema_property(s, b, name) : 0;
        if (other && schema_disjoint(s, i, other, depth + 1)) return true;
    }
    return false;
}
