/* Objects and arrays of schemas. */
#include "text/grammar_schema.h"

/* ---- members ---- */

typedef struct members {
    str *names;
    bool *required;
    size_t n, names_cap, required_cap;
    schema_parts others; /* of members that are not named */
    bool others_come;    /* they are asked for, not only allowed */
    uint32_t pattern;    /* one of patternProperties that names those members */
    uint32_t key;        /* propertyNames */
} members;

static size_t find_name(const members *m, str name) {
    size_t i = 0;
    while (i < m->n && !str_eq(m->names[i], name)) i++;
    return i;
}

static void add_name(schema *s, members *m, str name, bool required) {
    if (!grammar_step(s->b)) return;
    s->b->steps += (uint32_t)(m->n / 16);
    size_t i = find_name(m, name);
    if (i == m->n) {
        if (!grammar_grow(s->b, (void **)&m->names, &m->names_cap, m->n + 1, SCHEMA_NODES_MAX, sizeof *m->names,
                          "members") ||
            !grammar_grow(s->b, (void **)&m->required, &m->required_cap, m->n + 1, SCHEMA_NODES_MAX, 1, "members"))
            return;
        m->names[m->n] = name;
        m->required[m->n++] = false;
    }
    m->required[i] |= required;
}

static void gather_names(schema *s, const schema_parts *p, members *m) {
    for (uint32_t i = 0; i < p->n; i++) {
        uint32_t properties = schema_member(s, p->at[i].node, "properties");
        for (uint32_t c = s->nodes[properties].child; c; c = s->nodes[c].next)
            add_name(s, m, s->nodes[c].key, false);
    }
    for (uint32_t i = 0; i < p->n; i++) {
        uint32_t required = schema_member(s, p->at[i].node, "required");
        for (uint32_t c = s->nodes[required].child; c; c = s->nodes[c].next) add_name(s, m, s->nodes[c].text, true);
        if (p->at[i].forced) add_name(s, m, s->nodes[p->at[i].forced].key, true);
    }
}

/* Members without a name are written where a schema speaks of them: with `properties` alone they would only be
 * allowed. */
static bool gather_others(schema *s, const schema_parts *p, members *m) {
    bool speaks = false, properties = false, closed = false;
    for (uint32_t i = 0; i < p->n; i++) {
        uint32_t node = p->at[i].node, more = schema_member(s, node, "additionalProperties"),
                 patterns = schema_member(s, node, "patternProperties"),
                 names = schema_member(s, node, "propertyNames"),
                 unevaluated = schema_member(s, node, "unevaluatedProperties");
        properties |= schema_member(s, node, "properties") != 0;
        if (more) speaks = true, schema_add(s, &m->others, more);
        if (unevaluated && !s->nodes[unevaluated].boolean) closed = true;
        if (names && s->nodes[names].kind == JSON_OBJECT_START) {
            if (m->key) return schema_fail(s, node, "'propertyNames' twice for one object is not supported");
            m->key = names;
        }
        if (!patterns || !s->nodes[patterns].child) continue;
        if (m->pattern || s->nodes[patterns].n > 1 || m->n)
            return schema_fail(
                s, node, "'patternProperties' beside other members, or of several patterns, is not supported");
        m->pattern = s->nodes[patterns].child;
    }
    if (m->pattern) { /* others than these may be forbidden, or be anything: there are none */
        if (m->n || m->key)
            return schema_fail(s, p->at[0].node, "'patternProperties' beside other members is not supported");
        m->others = (schema_parts){0};
        schema_add(s, &m->others, m->pattern);
        m->others_come = true;
    } else {
        m->others_come = (speaks || !properties) && !m->others.never && !closed;
    }
    return !s->b->failed;
}

/* All that the parts say of one member. */
static void parts_of(schema *s, const schema_parts *p, str name, schema_parts *out) {
    *out = (schema_parts){0};
    for (uint32_t i = 0; i < p->n; i++) {
        uint32_t properties = schema_member(s, p->at[i].node, "properties"),
                 own = schema_member_str(s, properties, name),
                 more = schema_member(s, p->at[i].node, "additionalProperties");
        if (own)
            schema_add(s, out, own);
        else if (more)
            schema_add(s, out, more);
    }
}

/* ---- keys ---- */

static void emit_key(schema *s, str name) {
    buf text;
    json_writer w;
    buf_init(&text, s->b->alloc, GRAMMAR_TEXT_BYTES_MAX);
    json_begin(&w, &text);
    json_string(&w, name);
    if (text.failed)
        grammar_fail(s->b, ERR_MEMORY, "no memory to compile a grammar");
    else
        grammar_text(s->b, buf_str(&text));
    buf_free(&text);
}

enum { OTHER_KEYS_MAX = 96, OTHER_KEY_BYTES_MAX = 64 };

/* The inside of a string that is none of the names, which all begin alike up to `at`. */
static void emit_other_key(schema *s, const str *names, size_t n, size_t at) {
    grammar_range taken[OTHER_KEYS_MAX + 6];
    size_t n_taken = 0;
    bool ends = false;
    if (at > OTHER_KEY_BYTES_MAX)
        grammar_fail(s->b, ERR_INVALID, "members whose names are alike in %d bytes are not supported beside others",
                     OTHER_KEY_BYTES_MAX);
    grammar_alternatives a = grammar_alternatives_begin(s->b);
    for (size_t i = 0; i < n && grammar_step(s->b); i++) {
        uint32_t cp = 0;
        if (names[i].len == at)
            ends = true;
        else
            utf8_decode(names[i].data + at, names[i].len - at, &cp);
        bool seen = names[i].len == at;
        for (size_t t = 0; t < n_taken; t++) seen |= taken[t].low == cp;
        if (seen || n_taken == OTHER_KEYS_MAX) continue;
        taken[n_taken++] = (grammar_range){cp, cp};
        if (cp < 0x20 || cp == '"' || cp == '\\') continue; /* no key with an escape so early */
        char text[4];
        size_t bytes = (size_t)utf8_encode(cp, text), first = i, alike = 0;
        str *mine = alloc_bytes(s->b->alloc, n * sizeof *mine);
        if (!mine) {
            grammar_fail(s->b, ERR_MEMORY, "no memory to compile a grammar");
            return;
        }
        for (size_t j = first; j < n; j++)
            if (names[j].len >= at + bytes && !memcmp(names[j].data + at, text, bytes)) mine[alike++] = names[j];
        grammar_text(s->b, (str){text, bytes});
        emit_other_key(s, mine, alike, at + bytes);
        grammar_alternatives_next(s->b, &a);
        alloc_free(s->b->alloc, mine, n * sizeof *mine);
    }
    if (n_taken == OTHER_KEYS_MAX)
        grammar_fail(s->b, ERR_INVALID, "members begin with more than %d different characters", OTHER_KEYS_MAX - 1);
    taken[n_taken++] = (grammar_range){0, 0x1F};
    taken[n_taken++] = (grammar_range){'"', '"'};
    taken[n_taken++] = (grammar_range){'\\', '\\'};
    grammar_class(s->b, taken, grammar_ranges_tidy(taken, n_taken, true));
    grammar_emit(s->b, OP_STRING, 0, GRAMMAR_UNBOUNDED);
    if (!ends) {
        grammar_alternatives_next(s->b, &a);
        grammar_text(s->b, STR("\""));
    }
    grammar_alternatives_end(s->b, &a);
}

static bool emit_member_of_others(schema *s, const members *m) {
    if (m->pattern) {
        grammar_text(s->b, STR("\""));
        if (!grammar_regex(s->b, s->nodes[m->pattern].key, false, (grammar_lengths){0, GRAMMAR_UNBOUNDED})) {
            err why = *s->b->e;
            if (why.code != ERR_INVALID) return false;
            s->b->failed = false;
            return schema_fail(s, m->pattern, "the pattern: %s", why.message);
        }
    } else if (m->key) {
        schema_parts key = {.n = 0};
        schema_add(s, &key, m->key);
        schema_emit_key(s, &key);
    } else {
        grammar_text(s->b, STR("\""));
        if (m->n)
            emit_other_key(s, m->names, m->n, 0);
        else
            grammar_emit(s->b, OP_STRING, 0, GRAMMAR_UNBOUNDED);
    }
    grammar_json_separator(s->b, ':');
    return schema_emit(s, &m->others);
}

/* ---- objects ---- */

/* Two ways lead through the members: one before the first is written, one behind it, where a comma comes first.
 * Each member stands once and both ways pass through it: bare 0:  SPLIT member 0, bare 1          at 0:  SPLIT
 * comma 0, at 1 bare 1:  …                                comma 0: ","  member 0: "name": value, on to `at 1` */
static void emit_members(schema *s, const schema_parts *p, const members *m) {
    uint32_t bare = grammar_here(s->b), before = 0;
    for (size_t i = 0; i <= m->n && !before; i++) { /* SPLITs, the last a JUMP; targets follow */
        bool last = i == m->n || m->required[i];
        grammar_emit(s->b, last ? OP_JUMP : OP_SPLIT, 0, 0);
        if (!last) grammar_set_target(s->b, bare + (uint32_t)i, true, bare + (uint32_t)i + 1);
        if (last) before = (uint32_t)i + 1;
    }
    for (size_t i = 0; i < m->n && grammar_step(s->b); i++) {
        uint32_t skip = 0;
        if (!m->required[i])
            skip = grammar_emit(s->b, OP_SPLIT, 0, 0), grammar_set_target(s->b, skip, false, skip + 1);
        grammar_json_separator(s->b, ',');
        if (i < before) grammar_set_target(s->b, bare + (uint32_t)i, false, grammar_here(s->b));
        schema_parts own;
        parts_of(s, p, m->names[i], &own);
        emit_key(s, m->names[i]);
        grammar_json_separator(s->b, ':');
        schema_emit(s, &own);
        if (!m->required[i]) grammar_set_target(s->b, skip, true, grammar_here(s->b));
    }
    if (s->b->failed) return;
    if (!m->others_come) {
        if (before > m->n) grammar_set_target(s->b, bare + (uint32_t)m->n, false, grammar_here(s->b));
        return;
    }
    uint32_t start = grammar_here(s->b);
    grammar_json_separator(s->b, ',');
    uint32_t first = grammar_here(s->b);
    emit_member_of_others(s, m);
    if (before <= m->n) { /* something is always there before */
        grammar_repeat(s->b, start, 0, GRAMMAR_UNBOUNDED);
        return;
    }
    grammar_repeat(s->b, start, 0, GRAMMAR_UNBOUNDED); /* a SPLIT now stands at start */
    uint32_t over = grammar_emit(s->b, OP_JUMP, 0, 0), enter = grammar_emit(s->b, OP_SPLIT, 0, 0);
    grammar_set_target(s->b, over, false, enter + 1);
    grammar_set_target(s->b, enter, false, first + 1);
    grammar_set_target(s->b, enter, true, enter + 1);
    grammar_set_target(s->b, bare + (uint32_t)m->n, false, enter);
}

bool schema_emit_object(schema *s, const schema_parts *p) {
    members m = {0};
    gather_names(s, p, &m);
    if (!s->b->failed && gather_others(s, p, &m)) {
        grammar_text(s->b, STR("{"));
        emit_members(s, p, &m);
        grammar_text(s->b, STR("}"));
    }
    alloc_free(s->b->alloc, m.names, m.names_cap * sizeof *m.names);
    alloc_free(s->b->alloc, m.required, m.required_cap);
    return !s->b->failed;
}

/* ---- arrays ---- */

typedef struct items {
    uint32_t least, most;
    size_t n_first;  /* those that have schemas of their own */
    bool rest_named; /* there is a schema for the others */
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

static void emit_rest(schema *s, const schema_parts *p, const items *it) {
    schema_parts own;
    uint32_t least = it->least > it->n_first ? it->least - (uint32_t)it->n_first : 0,
             most = it->most == GRAMMAR_UNBOUNDED ? it->most : it->most - (uint32_t)it->n_first;
    parts_of_item(s, p, it->n_first, &own);
    if (own.never)
        most = 0;
    else if (it->n_first && !it->rest_named)
        most = least;
    if (least > most) grammar_emit(s->b, OP_FAIL, 0, 0);
    if (!most || least > most) return;
    uint32_t start = grammar_here(s->b);
    grammar_json_separator(s->b, ',');
    uint32_t first = it->n_first ? start : grammar_here(s->b);
    schema_emit(s, &own);
    grammar_repeat_list(s->b, start, first, least, most);
}

bool schema_emit_array(schema *s, const schema_parts *p) {
    items it = {.most = GRAMMAR_UNBOUNDED};
    for (uint32_t i = 0, n; i < p->n; i++) {
        uint32_t node = p->at[i].node, list = first_items(s, node);
        if (schema_count(s, node, "minItems", &n) && n > it.least) it.least = n;
        if (schema_count(s, node, "maxItems", &n) && n < it.most) it.most = n;
        if (list && s->nodes[list].n > it.n_first) it.n_first = s->nodes[list].n;
        it.rest_named |= other_items(s, node) != 0;
    }
    if (it.n_first > it.most) it.n_first = it.most;
    grammar_text(s->b, STR("["));
    if (it.least > it.most) grammar_emit(s->b, OP_FAIL, 0, 0);
    for (size_t i = 0; i < it.n_first && grammar_step(s->b); i++) {
        schema_parts own;
        if (i) grammar_json_separator(s->b, ',');
        parts_of_item(s, p, i, &own);
        schema_emit(s, &own);
    }
    emit_rest(s, p, &it);
    grammar_text(s->b, STR("]"));
    return !s->b->failed;
}
