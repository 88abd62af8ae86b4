/* JSON schemas to code: strings, numbers, references, combinations. */
#include "text/grammar_schema.h"

/* ---- strings ---- */

/* The one value of a keyword that takes a string; two that differ cannot be joined. */
static uint32_t only_one(schema *s, const schema_parts *p, const char *keyword) {
    uint32_t found = 0;
    for (uint32_t i = 0; i < p->n; i++) {
        uint32_t at = schema_member(s, p->at[i].node, keyword);
        if (found && at && !str_eq(s->nodes[at].text, s->nodes[found].text))
            schema_fail(s, p->at[i].node, "two different '%s' for one value are not supported", keyword);
        if (at) found = at;
    }
    return found;
}

static bool emit_pattern(schema *s, uint32_t node, const char *keyword, str pattern, bool whole,
                         grammar_lengths lengths) {
    if (grammar_regex(s->b, pattern, whole, lengths)) return true;
    err why = *s->b->e;
    if (why.code != ERR_INVALID) return false;
    s->b->failed = false;
    return schema_fail(s, s->nodes[node].parent, "'%s': %s", keyword, why.message);
}

static bool emit_string(schema *s, const schema_parts *p) {
    grammar_lengths lengths = {0, GRAMMAR_UNBOUNDED};
    for (uint32_t i = 0, n; i < p->n; i++) {
        if (schema_count(s, p->at[i].node, "minLength", &n) && n > lengths.least) lengths.least = n;
        if (schema_count(s, p->at[i].node, "maxLength", &n) && n < lengths.most) lengths.most = n;
    }
    uint32_t pattern = only_one(s, p, "pattern"), format = only_one(s, p, "format"),
             encoding = only_one(s, p, "contentEncoding");
    if (s->b->failed) return false;
    if (lengths.least > lengths.most) return grammar_emit(s->b, OP_FAIL, 0, 0), !s->b->failed;
    if (!format) format = encoding;
    const char *of_format = format ? grammar_format_pattern(s->nodes[format].text) : NULL;
    if (!of_format) format = 0; /* one that nobody knows is an annotation */
    str name = format ? s->nodes[format].text : STR("");
    const char *same = pattern ? grammar_format_both(name, s->nodes[pattern].text) : NULL;
    if (pattern && !same && format && !grammar_format_is_its_pattern(name))
        return schema_fail(s, s->nodes[pattern].parent, "'pattern' beside 'format' is not supported");
    grammar_text(s->b, STR("\""));
    if (same) return emit_pattern(s, pattern, "pattern", str_of(same), true, lengths);
    if (pattern) return emit_pattern(s, pattern, "pattern", s->nodes[pattern].text, false, lengths);
    if (format && *of_format) return emit_pattern(s, format, "format", str_of(of_format), true, lengths);
    grammar_emit(s->b, OP_STRING, lengths.least, lengths.most);
    return !s->b->failed;
}

/* ---- numbers ---- */

/* draft 4 says exclusiveMinimum: true beside minimum */
static void bound(schema *s, uint32_t node, const char *keyword, const char *exclusive, int side, str *literal,
                  bool *open) {
    uint32_t plain = schema_member(s, node, keyword), strict = schema_member(s, node, exclusive);
    bool strict_flag = strict && s->nodes[strict].kind == JSON_BOOL;
    for (int i = 0; i < 2; i++) {
        uint32_t at = i ? (strict_flag ? 0 : strict) : plain;
        bool is_open = i || (strict_flag && s->nodes[strict].boolean);
        if (!at) continue;
        int order = literal->len ? grammar_number_compare(s->nodes[at].text, *literal) * side : 1;
        if (order > 0 || (order == 0 && is_open)) *literal = s->nodes[at].text, *open = is_open;
    }
}

static bool emit_number(schema *s, const schema_parts *p, bool whole) {
    grammar_bounds bounds = {0};
    uint32_t multiple = only_one(s, p, "multipleOf"), format = only_one(s, p, "format");
    for (uint32_t i = 0; i < p->n; i++) {
        bound(s, p->at[i].node, "minimum", "exclusiveMinimum", 1, &bounds.low, &bounds.low_open);
        bound(s, p->at[i].node, "maximum", "exclusiveMaximum", -1, &bounds.high, &bounds.high_open);
    }
    str kind = format ? s->nodes[format].text : STR("");
    if (str_is(kind, "int32") && !bounds.low.len) bounds.low = STR("-2147483648");
    if (str_is(kind, "int32") && !bounds.high.len) bounds.high = STR("2147483647");
    if ((str_is(kind, "uint32") || str_is(kind, "uint64")) && !bounds.low.len) bounds.low = STR("0");
    if (str_is(kind, "uint32") && !bounds.high.len) bounds.high = STR("4294967295");
    if (multiple) bounds.multiple = s->nodes[multiple].text;
    if (grammar_number(s->b, &bounds, whole)) return true;
    err why = *s->b->e;
    if (why.code != ERR_INVALID) return false;
    s->b->failed = false;
    return schema_fail(s, p->at[0].node, "%s", why.message);
}

/* ---- references and combinations ---- */

void schema_add(schema *s, schema_parts *p, uint32_t node) {
    if (!schema_check(s, node)) return;
    if (s->nodes[node].kind == JSON_BOOL) {
        p->never |= !s->nodes[node].boolean;
        return;
    }
    if (schema_member(s, node, "not")) p->never = true;
    for (uint32_t i = 0; i < p->n; i++)
        if (p->at[i].node == node) return;
    if (p->n == SCHEMA_PARTS_MAX)
        schema_fail(s, node, "more than %d schemas for one value", SCHEMA_PARTS_MAX);
    else
        p->at[p->n++] = (schema_part){.node = node};
}

static void drop_silent(const schema *s, schema_parts *p) {
    uint32_t n = 0;
    for (uint32_t i = 0; i < p->n; i++)
        if (schema_says_more(s, &p->at[i], NULL)) p->at[n++] = p->at[i];
    p->n = n;
}

static uint32_t rule_of(schema *s, uint32_t node) {
    if (s->nodes[node].rule) return s->nodes[node].rule - 1;
    if (!grammar_grow(s->b, (void **)&s->pending, &s->pending_cap, s->n_pending + 1, GRAMMAR_RULES_MAX,
                      sizeof *s->pending, "references"))
        return 0;
    uint32_t rule = grammar_rule_new(s->b);
    s->nodes[node].rule = rule + 1;
    s->pending[s->n_pending++] = node;
    return rule;
}

/* References and allOf are replaced by what they stand for. */
static void unfold(schema *s, schema_parts *p) {
    for (uint32_t i = 0; i < p->n && grammar_step(s->b); i++) {
        schema_part *part = &p->at[i];
        uint32_t node = part->node, ref = schema_member(s, node, "$ref"), all = schema_member(s, node, "allOf");
        if (ref && !part->ref_done) {
            part->ref_done = true;
            uint32_t target = schema_pointer(s, node, s->nodes[ref].text);
            if (target) schema_add(s, p, target);
        }
        if (all && !part->all_done) {
            part->all_done = true;
            for (uint32_t c = s->nodes[all].child; c && !s->b->failed; c = s->nodes[c].next) schema_add(s, p, c);
        }
    }
}

enum { REFERENCES_MAX = 16 };

uint32_t schema_target(schema *s, uint32_t node) {
    for (int i = 0; i < REFERENCES_MAX && node; i++) {
        uint32_t ref = schema_member(s, node, "$ref");
        if (!ref || s->nodes[ref].kind != JSON_STRING) return node;
        node = schema_pointer(s, node, s->nodes[ref].text);
    }
    return node;
}

uint32_t schema_property(schema *s, uint32_t node, str name) {
    return schema_member_str(s, schema_member(s, schema_target(s, node), "properties"), name);
}

/* What tells each branch of a oneOf from the others: a member that all have, each with other values. */
static bool told_apart_by(schema *s, uint32_t list, str name) {
    for (uint32_t a = s->nodes[list].child; a; a = s->nodes[a].next)
        for (uint32_t b = s->nodes[a].next; b && grammar_step(s->b); b = s->nodes[b].next) {
            if (schema_disjoint(s, a, b, 0)) continue;
            uint32_t in_a = schema_property(s, a, name), in_b = schema_property(s, b, name);
            if (!name.len || !in_a || !in_b || !schema_disjoint(s, in_a, in_b, 0)) return false;
        }
    return true;
}

/* 0: nothing does. 1: needs no member. */
static uint32_t tell_apart(schema *s, uint32_t list) {
    if (told_apart_by(s, list, STR(""))) return 1;
    uint32_t first = schema_target(s, s->nodes[list].child), properties = schema_member(s, first, "properties");
    for (uint32_t i = s->nodes[properties].child; i && !s->b->failed; i = s->nodes[i].next)
        if (told_apart_by(s, list, s->nodes[i].key)) return i;
    return 0;
}

static bool emit_branches(schema *s, const schema_parts *p, uint32_t part, uint32_t list, bool one) {
    uint32_t apart = one ? tell_apart(s, list) : 1;
    if (s->b->failed) return false;
    if (!apart)
        return schema_fail(s, p->at[part].node, "'oneOf' whose branches may overlap is not supported; 'anyOf' is");
    grammar_alternatives a = grammar_alternatives_begin(s->b);
    if (!s->nodes[list].child) grammar_emit(s->b, OP_FAIL, 0, 0);
    for (uint32_t c = s->nodes[list].child; c && !s->b->failed; c = s->nodes[c].next) {
        schema_parts branch = *p;
        schema_part *own = &branch.at[part];
        *(one ? &own->one_done : &own->any_done) = true;
        uint32_t before = branch.n;
        schema_add(s, &branch, c);
        if (apart != 1 && branch.n > before) branch.at[before].forced = apart;
        if (c != s->nodes[list].child) grammar_alternatives_next(s->b, &a);
        schema_emit(s, &branch);
    }
    grammar_alternatives_end(s->b, &a);
    return !s->b->failed;
}

static bool emit_types(schema *s, const schema_parts *p) {
    unsigned types = schema_types_of_parts(s, p);
    if (types & TYPE_NUMBER) types &= ~(unsigned)TYPE_INTEGER;
    grammar_alternatives a = grammar_alternatives_begin(s->b);
    bool any = false;
    for (unsigned t = 1; t <= TYPE_OBJECT && !s->b->failed; t <<= 1) {
        if (!(types & t)) continue;
        if (any) grammar_alternatives_next(s->b, &a);
        any = true;
        switch (t) {
        case TYPE_NULL: grammar_text(s->b, STR("null")); break;
        case TYPE_BOOLEAN: {
            grammar_alternatives both = grammar_alternatives_begin(s->b);
            grammar_text(s->b, STR("true"));
            grammar_alternatives_next(s->b, &both);
            grammar_text(s->b, STR("false"));
            grammar_alternatives_end(s->b, &both);
            break;
        }
        case TYPE_INTEGER: emit_number(s, p, true); break;
        case TYPE_NUMBER: emit_number(s, p, false); break;
        case TYPE_STRING: emit_string(s, p); break;
        case TYPE_ARRAY: schema_emit_array(s, p); break;
        default: schema_emit_object(s, p);
        }
    }
    if (!any) grammar_emit(s->b, OP_FAIL, 0, 0);
    grammar_alternatives_end(s->b, &a);
    return !s->b->failed;
}

bool schema_emit_key(schema *s, const schema_parts *p) {
    schema_parts own = *p;
    unfold(s, &own);
    for (uint32_t i = 0; i < own.n; i++) {
        static const char *const others[] = {"anyOf", "oneOf"};
        for (int k = 0; k < 2; k++)
            if (schema_member(s, own.at[i].node, others[k]))
                return schema_fail(s, own.at[i].node, "'%s' in 'propertyNames' is not supported", others[k]);
        uint32_t value = schema_member(s, own.at[i].node, "const"), list = schema_member(s, own.at[i].node, "enum");
        if (value || list) return schema_emit_values(s, &own, value ? value : list, value != 0);
    }
    return !s->b->failed && emit_string(s, &own);
}

static bool emit_parts(schema *s, schema_parts *p) {
    drop_silent(s, p);
    uint32_t ref = p->n == 1 && !p->never && !p->at[0].ref_done ? schema_member(s, p->at[0].node, "$ref") : 0;
    if (ref && !schema_says_more(s, &p->at[0], "$ref")) {
        uint32_t target = schema_pointer(s, p->at[0].node, s->nodes[ref].text);
        if (target) grammar_call(s->b, rule_of(s, target));
        return !s->b->failed;
    }
    unfold(s, p);
    drop_silent(s, p);
    if (s->b->failed) return false;
    if (p->never) return grammar_emit(s->b, OP_FAIL, 0, 0), !s->b->failed;
    if (!p->n) return grammar_any_value(s->b), !s->b->failed;
    for (uint32_t i = 0; i < p->n; i++) {
        uint32_t value = schema_member(s, p->at[i].node, "const"), list = schema_member(s, p->at[i].node, "enum");
        if (value) return schema_emit_values(s, p, value, true);
        if (list) return schema_emit_values(s, p, list, false);
    }
    for (uint32_t i = 0; i < p->n; i++) {
        uint32_t any = schema_member(s, p->at[i].node, "anyOf"), one = schema_member(s, p->at[i].node, "oneOf");
        if (any && !p->at[i].any_done) return emit_branches(s, p, i, any, false);
        if (one && !p->at[i].one_done) return emit_branches(s, p, i, one, true);
    }
    return emit_types(s, p);
}

bool schema_emit(schema *s, const schema_parts *p) {
    if (s->b->failed || !grammar_step(s->b)) return false;
    if (s->depth == SCHEMA_DEPTH_MAX)
        return grammar_fail(s->b, ERR_INVALID, "it goes deeper than %d levels, or an 'allOf' leads back to itself",
                            SCHEMA_DEPTH_MAX);
    schema_parts own = *p;
    s->depth++;
    bool ok = emit_parts(s, &own);
    s->depth--;
    return ok;
}

static void emit_rule(schema *s, uint32_t rule, uint32_t node) {
    schema_parts p = {.n = 0};
    grammar_rule_begin(s->b, rule);
    schema_add(s, &p, node);
    schema_emit(s, &p);
    grammar_emit(s->b, OP_RET, 0, 0);
}

bool grammar_schema(grammar_builder *b, uint32_t rule, str json) {
    schema s = {.b = b};
    if (schema_read(&s, json)) {
        s.nodes[1].rule = rule + 1;
        emit_rule(&s, rule, 1);
    }
    while (s.n_pending && !b->failed) {
        uint32_t node = s.pending[--s.n_pending];
        emit_rule(&s, s.nodes[node].rule - 1, node);
    }
    schema_free(&s);
    return !b->failed;
}
