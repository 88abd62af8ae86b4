/* Values that a schema names: which of them satisfy what else it says, and how they are written. */
#include "text/grammar_schema.h"

enum { VALUES_A_STEP = 16 }; /* of values that are compared */

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
    bool plain = s->level == LEVEL_ARGUMENT && s->nodes[value].kind == JSON_STRING;
    if (plain) buf_append_str(&t->all, s->nodes[value].text);
    else schema_write_value(s, value, &t->all);
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
        bool fits = schema_tag_may_be(s, schema_type_of_value(s, v)) &&
                    (s->nodes[v].kind != JSON_STRING || schema_tag_takes(s, s->nodes[v].text));
        for (uint32_t i = 0; i < p->n && fits; i++) fits = schema_accepts(s, p->at[i], v, 0);
        if (fits && !s->b->failed) keep_value(s, &t, v);
    }
    if (s->level == LEVEL_ARGUMENTS)
        schema_fail(s, list, "a tool's arguments as one value of a list are not supported between tags");
    if (!s->b->failed) emit_kept(s, &t);
    if (s->level == LEVEL_ARGUMENT) schema_tag_value_end(s);
    buf_free(&t.all);
    alloc_free(s->b->alloc, t.ends, t.cap * sizeof *t.ends);
    return !s->b->failed;
}

/* From text i on, when c are written: each stands once for each count that matters. */
void schema_emit_distinct(schema *s, const str *t, uint32_t n, uint32_t least, uint32_t most) {
    uint32_t counts = (most < n ? most : least < n ? least : n) + 1, ends = 0;
    if (least > n) grammar_emit(s->b, OP_FAIL, 0, 0);
    if (counts < 2) counts = 2; /* whether a comma comes first */
    uint32_t *places = alloc_bytes(s->b->alloc, (size_t)(n + 2) * counts * sizeof *places);
    if (!places) {
        grammar_fail(s->b, ERR_MEMORY, "no memory to compile a grammar");
        return;
    }
    uint32_t begin = grammar_here(s->b);
    for (uint32_t i = 0; i <= n; i++)
        for (uint32_t c = 0; c < counts && grammar_step(s->b); c++) {
            uint32_t next = c + 1 < counts ? c + 1 : c, split, jump;
            places[i * counts + c] = grammar_here(s->b);
            if (i == n) {
                if (c < least) grammar_emit(s->b, OP_FAIL, 0, 0);
                else ends = grammar_emit(s->b, OP_JUMP, ends, 0);
                continue;
            }
            split = grammar_emit(s->b, OP_SPLIT, 0, 0);
            grammar_set_target(s->b, split, false, split + 1);
            if (c == most) grammar_emit(s->b, OP_FAIL, 0, 0);
            if (c) grammar_json_separator(s->b, ',');
            grammar_text(s->b, t[i]);
            for (int skipped = 0; skipped < 2; skipped++) {
                if (skipped) grammar_set_target(s->b, split, true, grammar_here(s->b));
                jump = grammar_emit(s->b, OP_JUMP, 0, 0);
                if (!s->b->failed) s->b->ops[jump].b = (i + 1) * counts + (skipped ? c : next) + 1;
            }
        }
    grammar_jumps_land(s->b, begin, places);
    for (uint32_t before; ends && !s->b->failed; ends = before) {
        before = s->b->ops[ends].a;
        grammar_set_target(s->b, ends, false, grammar_here(s->b));
    }
    alloc_free(s->b->alloc, places, (size_t)(n + 2) * counts * sizeof *places);
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
        if (!y && (schema_type_of_value(s, i) & schema_types(s, b))) return false;
        if (y) s->b->steps += 1 + s->nodes[y].n / VALUES_A_STEP;
        if (!grammar_step(s->b)) return false;
        for (uint32_t j = !y ? 0 : b_single ? y : s->nodes[y].child; j; j = b_single ? 0 : s->nodes[j].next)
            if (schema_equal(s, i, j)) return false;
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
