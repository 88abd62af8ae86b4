/* Values that a schema names: which of them satisfy what else it says, and how they are written. */
#include "text/grammar/schema.h"

enum { VALUES_A_STEP = 16 }; /* of values that are compared */

/* ---- writing ---- */

static void keep_value(schema *s, grammar_texts *t, uint32_t value) {
    bool plain = s->level == LEVEL_ARGUMENT && s->nodes[value].kind == JSON_STRING;
    if (plain) buf_append_str(&t->all, s->nodes[value].text);
    else schema_write_value(s, value, &t->all);
    grammar_texts_next(s->b, t);
}

/* Those of a list (or one value itself) that satisfy all parts. */
static void keep_fitting(schema *s, const schema_parts *p, grammar_texts *t, uint32_t list, bool single) {
    for (uint32_t v = single ? list : s->nodes[list].child; v && grammar_step(s->b);
         v = single ? 0 : s->nodes[v].next) {
        bool fits = schema_tag_may_be(s, schema_type_of_value(s, v)) &&
                    (s->nodes[v].kind != JSON_STRING || schema_tag_takes(s, s->nodes[v].text));
        for (uint32_t i = 0; i < p->n && fits; i++) fits = schema_accepts(s, p->at[i], v, 0);
        if (fits && !s->b->failed) keep_value(s, t, v);
    }
}

static bool emit_kept(schema *s, grammar_texts *t, uint32_t at, bool once) {
    if (s->level == LEVEL_ARGUMENTS)
        schema_fail(s, at, "a tool's arguments as one value of a list are not supported between tags");
    if (!s->b->failed && !t->n)
        schema_never(s, at, "nothing satisfies it: no value of 'enum' or 'const' is left by all else that is said");
    else if (!s->b->failed) grammar_texts_emit(s->b, t, once);
    if (s->level == LEVEL_ARGUMENT) schema_tag_value_end(s);
    grammar_texts_end(s->b, t);
    return !s->b->failed;
}

bool schema_emit_values(schema *s, const schema_parts *p, uint32_t list, bool single) {
    grammar_texts t;
    grammar_texts_begin(s->b, &t);
    keep_fitting(s, p, &t, list, single);
    return emit_kept(s, &t, list, false);
}

/* ---- branches that are values ---- */

/* Of a branch that names values and says nothing else; 0: it is none. exact: no two ways to write the same one. */
static uint32_t values_of_branch(schema *s, uint32_t branch, bool exact, bool *single) {
    uint32_t one = schema_member(s, branch, "const"), list = schema_member(s, branch, "enum"), said = one ? one : list;
    uint32_t type = schema_member(s, branch, "type");
    if (!said || !schema_check(s, branch)) return 0;
    for (uint32_t i = s->nodes[branch].child; i; i = s->nodes[i].next)
        if (i != said && i != type && schema_is_said(s->nodes[i].key)) return 0;
    *single = one != 0;
    for (uint32_t v = one ? one : s->nodes[list].child; exact && v; v = one ? 0 : s->nodes[v].next)
        if (s->nodes[v].kind == JSON_DOUBLE || s->nodes[v].n || str_is(s->nodes[v].text, "-0")) return 0;
    return said;
}

bool schema_branches_are_values(schema *s, uint32_t list, bool one_of) {
    bool single;
    if (s->nodes[list].n < 2) return false;
    for (uint32_t c = s->nodes[list].child; c; c = s->nodes[c].next)
        if (!values_of_branch(s, c, one_of, &single)) return false;
    return true;
}

bool schema_emit_branches_values(schema *s, const schema_parts *p, uint32_t list, bool one_of) {
    grammar_texts t;
    grammar_texts_begin(s->b, &t);
    for (uint32_t c = s->nodes[list].child; c && grammar_step(s->b); c = s->nodes[c].next) {
        bool single;
        schema_parts all = *p;
        uint32_t said = values_of_branch(s, c, one_of, &single);
        schema_add(s, &all, c);
        if (said) keep_fitting(s, &all, &t, said, single);
    }
    return emit_kept(s, &t, list, one_of);
}

/* From text i on, when c are written: each stands once for each count that matters. */
void schema_emit_distinct(schema *s, const str *t, uint32_t n, uint32_t least, uint32_t most) {
    uint32_t counts = (most < n ? most : least < n ? least : n) + 1, ends = 0;
    if (least > n)
        grammar_never(s->b, "nothing satisfies it: 'minItems' asks for more items than there are different values");
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
