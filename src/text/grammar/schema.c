/* JSON schemas to code: numbers, references, combinations. */
#include "text/grammar/schema.h"

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

static bool emit_bounded(schema *s, const schema_parts *p, const grammar_bounds *bounds, bool whole) {
    size_t n_ops = s->b->n_ops;
    if (grammar_number(s->b, bounds, whole)) {
        bool none = s->b->n_ops == n_ops + 1 && s->b->ops[n_ops].kind == OP_FAIL;
        if (none)
            s->b->n_ops = n_ops, schema_never(s, p->at[0].node, "no number of at most 18 digits satisfies 'minimum', "
                                                                "'maximum', 'multipleOf' and 'type'");
        return !s->b->failed;
    }
    err why = *s->b->e;
    if (why.code != ERR_INVALID) return false;
    s->b->failed = false;
    return schema_fail(s, p->at[0].node, "%s", why.message);
}

enum { EXCLUDED_MAX = 64 };

/* Numbers that it must not be, in their order, each once. */
static uint32_t excluded_numbers(schema *s, const schema_parts *p, str out[EXCLUDED_MAX]) {
    uint32_t n = 0;
    for (uint32_t i = 0; i < p->n; i++) {
        uint32_t no = schema_member(s, p->at[i].node, "not"), one = schema_member(s, no, "const"),
                 list = schema_member(s, no, "enum");
        if (!no || !schema_is_leaf(s, no)) continue;
        for (uint32_t v = one ? one : s->nodes[list].child; v && grammar_step(s->b); v = one ? 0 : s->nodes[v].next) {
            if (s->nodes[v].kind != JSON_INT && s->nodes[v].kind != JSON_DOUBLE) continue;
            str text = s->nodes[v].text;
            uint32_t at = 0;
            while (at < n && grammar_number_compare(out[at], text) < 0) at++;
            if (at < n && grammar_number_compare(out[at], text) == 0) continue;
            if (n == EXCLUDED_MAX)
                return schema_fail(s, no, "more than %d numbers are excluded", EXCLUDED_MAX), n;
            memmove(out + at + 1, out + at, (n++ - at) * sizeof *out);
            out[at] = text;
        }
    }
    return n;
}

/* Around what is excluded: from each to the next. */
static bool emit_number_between(schema *s, const schema_parts *p, const grammar_bounds *bounds, bool whole) {
    str no[EXCLUDED_MAX + 1];
    uint32_t n = excluded_numbers(s, p, no);
    if (s->b->failed) return false;
    grammar_alternatives a = grammar_alternatives_begin(s->b);
    for (uint32_t i = 0; i <= n && !s->b->failed; i++) {
        grammar_bounds own = *bounds;
        if (i && (!own.low.len || grammar_number_compare(no[i - 1], own.low) >= 0))
            own.low = no[i - 1], own.low_open = true;
        if (i < n && (!own.high.len || grammar_number_compare(no[i], own.high) <= 0))
            own.high = no[i], own.high_open = true;
        if (i) grammar_alternatives_next(s->b, &a);
        int order = own.low.len && own.high.len ? grammar_number_compare(own.low, own.high) : -1;
        if (order > 0 || (order == 0 && (own.low_open || own.high_open)))
            schema_never(s, p->at[0].node, "nothing satisfies it: no number lies within its bounds");
        else
            emit_bounded(s, p, &own, whole);
    }
    grammar_alternatives_end(s->b, &a);
    return !s->b->failed;
}

/* Of what must not be a multiple of something: made of `not` and of a oneOf whose branches overlap. */
static bool gather_no_multiple(schema *s, uint32_t node, grammar_bounds *b) {
    uint32_t no = schema_member(s, node, "not"), multiple = no ? schema_member(s, no, "multipleOf") : 0;
    if (!multiple || !schema_is_leaf(s, no)) return true;
    if (b->n_no_multiples == GRAMMAR_NO_MULTIPLES_MAX)
        return schema_fail(s, node, "'not' of more than %d 'multipleOf' for one value is not supported",
                           GRAMMAR_NO_MULTIPLES_MAX);
    b->no_multiple[b->n_no_multiples++] = s->nodes[multiple].text;
    return true;
}

static bool emit_number(schema *s, const schema_parts *p, bool whole) {
    grammar_bounds bounds = {0};
    str kind = {0};
    for (uint32_t i = 0; i < p->n; i++) {
        uint32_t node = p->at[i].node, format = schema_member(s, node, "format"),
                 multiple = schema_member(s, node, "multipleOf");
        bound(s, node, "minimum", "exclusiveMinimum", 1, &bounds.low, &bounds.low_open);
        bound(s, node, "maximum", "exclusiveMaximum", -1, &bounds.high, &bounds.high_open);
        if (format) kind = s->nodes[format].text;
        if (!gather_no_multiple(s, node, &bounds)) return false;
        if (!multiple) continue;
        str text = s->nodes[multiple].text;
        if (!bounds.multiple.len || grammar_number_is_multiple(text, bounds.multiple)) bounds.multiple = text;
        else if (!grammar_number_is_multiple(bounds.multiple, text))
            return schema_fail(s, node, "two 'multipleOf' for one value, of which neither is a multiple of the other, "
                                        "are not supported");
    }
    if (str_is(kind, "int32") && !bounds.low.len) bounds.low = STR("-2147483648");
    if (str_is(kind, "int32") && !bounds.high.len) bounds.high = STR("2147483647");
    if ((str_is(kind, "uint32") || str_is(kind, "uint64")) && !bounds.low.len) bounds.low = STR("0");
    if (str_is(kind, "uint32") && !bounds.high.len) bounds.high = STR("4294967295");
    return emit_number_between(s, p, &bounds, whole);
}

/* ---- references and combinations ---- */

void schema_add(schema *s, schema_parts *p, uint32_t node) {
    node = schema_original(s, node);
    if (!schema_check(s, node)) return;
    if (s->nodes[node].kind == JSON_BOOL) {
        p->never |= !s->nodes[node].boolean;
        if (!s->nodes[node].boolean && !p->false_at) p->false_at = node;
        return;
    }
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

static uint32_t pending_rule(schema *s, uint32_t node, uint32_t set) {
    if (!grammar_grow(s->b, (void **)&s->pending, &s->pending_cap, s->n_pending + 1, GRAMMAR_RULES_MAX,
                      sizeof *s->pending, "references"))
        return 0;
    uint32_t rule = grammar_rule_new(s->b);
    s->pending[s->n_pending++] = (struct schema_pending){node, set, rule, s->types, s->level};
    return rule;
}

static uint32_t rule_of(schema *s, uint32_t node) {
    if (s->nodes[node].rule) return s->nodes[node].rule - 1;
    uint32_t rule = pending_rule(s, node, 0);
    s->nodes[node].rule = rule + 1;
    return rule;
}

/* ---- sets of parts that come again ---- */

static bool same_part(const schema_part *a, const schema_part *b) {
    return a->node == b->node && a->ref_done == b->ref_done && a->all_done == b->all_done &&
           a->any_done == b->any_done && a->one_done == b->one_done && a->more_done == b->more_done &&
           a->forced == b->forced;
}

static bool same_set(const schema *s, const struct schema_set *set, const schema_parts *p) {
    if (set->n != p->n) return false;
    for (uint32_t i = 0; i < p->n; i++)
        if (!same_part(&s->members[set->first + i], &p->at[i])) return false;
    return true;
}

static void sort_parts(schema_parts *p) {
    for (uint32_t i = 1; i < p->n; i++) {
        schema_part x = p->at[i];
        uint32_t at = i;
        for (; at && p->at[at - 1].node > x.node; at--) p->at[at] = p->at[at - 1];
        p->at[at] = x;
    }
}

enum { SETS_MAX = 1 << 15 };

/* Calls the rule of parts that were compiled before: also where they lead back to themselves. always: of any. */
static bool call_again(schema *s, schema_parts *p, bool always) {
    uint32_t hash = p->n + s->level;
    unsigned types = s->level == LEVEL_ARGUMENT ? s->types : 0;
    sort_parts(p);
    for (uint32_t i = 0; i < p->n; i++) hash = (hash ^ p->at[i].node) * 0x9E3779B1u;
    for (size_t i = s->n_sets; i-- > 0;) {
        struct schema_set *set = &s->sets[i];
        if (set->hash != hash || set->level != s->level || set->types != types || !same_set(s, set, p)) continue;
        if (!set->rule) {
            uint32_t rule = pending_rule(s, 0, (uint32_t)i + 1);
            s->sets[i].rule = rule + 1;
        }
        grammar_call(s->b, s->sets[i].rule - 1);
        return true;
    }
    s->b->steps += (uint32_t)(s->n_sets / 64);
    if (!grammar_grow(s->b, (void **)&s->sets, &s->sets_cap, s->n_sets + 1, SETS_MAX, sizeof *s->sets, "schemas") ||
        !grammar_grow(s->b, (void **)&s->members, &s->members_cap, s->n_members + p->n, SETS_MAX * 8,
                      sizeof *s->members, "schemas"))
        return false;
    s->sets[s->n_sets++] = (struct schema_set){(uint32_t)s->n_members, p->n, hash, 0, types, s->level};
    memcpy(s->members + s->n_members, p->at, p->n * sizeof *p->at);
    s->n_members += p->n;
    if (!always) return false;
    s->sets[s->n_sets - 1].rule = 1 + pending_rule(s, 0, (uint32_t)s->n_sets);
    grammar_call(s->b, s->sets[s->n_sets - 1].rule - 1);
    return true;
}

/* ---- what stands for others ---- */

static void unfold_more(schema *s, schema_parts *p, uint32_t node) {
    static const char *const maps[] = {"dependencies", "dependentRequired", "dependentSchemas"};
    uint32_t no = schema_member(s, node, "not");
    if (no && !schema_is_leaf(s, no)) {
        uint32_t opposite = schema_negate(s, no);
        if (opposite && s->nodes[no].kind != JSON_BOOL && s->nodes[no].n && s->nodes[opposite].kind == JSON_BOOL &&
            !s->nodes[opposite].boolean)
            schema_fail(s, node, "'not' is supported of types, values, members, bounds and what combines them");
        if (opposite) schema_add(s, p, opposite);
    }
    if (schema_member(s, node, "if")) {
        uint32_t either = schema_conditional(s, node);
        if (either) schema_add(s, p, either);
    }
    for (int i = 0; i < 3; i++) {
        uint32_t map = schema_member(s, node, maps[i]), all = map ? schema_dependencies(s, node, map) : 0;
        if (all) schema_add(s, p, all);
    }
}

void schema_unfold(schema *s, schema_parts *p) {
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
        if (part->more_done) continue;
        part->more_done = true;
        unfold_more(s, p, node);
    }
}

enum { REFERENCES_MAX = 16 };

uint32_t schema_target(schema *s, uint32_t node) {
    for (int i = 0; i < REFERENCES_MAX && node; i++) {
        uint32_t ref = schema_member(s, node, "$ref");
        if (!ref || s->nodes[ref].kind != JSON_STRING) return schema_original(s, node);
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
    if (schema_branches_are_values(s, list, one)) {
        schema_parts others = *p;
        *(one ? &others.at[part].one_done : &others.at[part].any_done) = true;
        return schema_emit_branches_values(s, &others, list, one);
    }
    uint32_t apart = one ? tell_apart(s, list) : 1;
    if (s->b->failed) return false;
    if (!apart) list = schema_exactly_one(s, list), apart = 1;
    if (!list) return false;
    grammar_alternatives a = grammar_alternatives_begin(s->b);
    if (!s->nodes[list].child)
        schema_never(s, list, one ? "no branch of 'oneOf' that can be told from the others; 'anyOf' can"
                                  : "nothing satisfies it: 'anyOf' is empty");
    for (uint32_t c = s->nodes[list].child; c && !s->b->failed; c = s->nodes[c].next) {
        schema_parts branch = *p;
        schema_part *own = &branch.at[part];
        *(one ? &own->one_done : &own->any_done) = true;
        uint32_t before = branch.n;
        schema_add(s, &branch, c);
        if (apart != 1 && branch.n > before) {
            branch.at[before].forced = apart;
            if (schema_types(s, schema_target(s, c)) & TYPE_OBJECT) /* what is no object may be of several */
                schema_add(s, &branch, schema_of_types(s, c, TYPE_OBJECT));
        }
        if (c != s->nodes[list].child) grammar_alternatives_next(s->b, &a);
        schema_emit(s, &branch);
    }
    grammar_alternatives_end(s->b, &a);
    return !s->b->failed;
}

static bool emit_text_unless(schema *s, const schema_parts *p, uint8_t kind, bool boolean, str text) {
    for (uint32_t i = 0; i < p->n; i++) {
        uint32_t no = schema_member(s, p->at[i].node, "not"), one = schema_member(s, no, "const"),
                 list = schema_member(s, no, "enum");
        for (uint32_t v = one ? one : s->nodes[list].child; no && v; v = one ? 0 : s->nodes[v].next)
            if (s->nodes[v].kind == kind && s->nodes[v].boolean == boolean)
                return schema_never(s, no, "nothing satisfies it: 'not' leaves no value"), false;
    }
    return grammar_text(s->b, text), true;
}

static void emit_type(schema *s, const schema_parts *p, unsigned type) {
    switch (type) {
    case TYPE_NULL: emit_text_unless(s, p, JSON_NULL, false, STR("null")); return;
    case TYPE_BOOLEAN: {
        grammar_alternatives both = grammar_alternatives_begin(s->b);
        emit_text_unless(s, p, JSON_BOOL, true, STR("true"));
        grammar_alternatives_next(s->b, &both);
        emit_text_unless(s, p, JSON_BOOL, false, STR("false"));
        grammar_alternatives_end(s->b, &both);
        return;
    }
    case TYPE_INTEGER: emit_number(s, p, true); return;
    case TYPE_NUMBER: emit_number(s, p, false); return;
    case TYPE_STRING: schema_emit_string(s, p); return;
    case TYPE_ARRAY: schema_emit_array(s, p); return;
    default: schema_emit_object(s, p);
    }
}

static bool emit_types(schema *s, const schema_parts *p) {
    unsigned types = schema_types_of_parts(s, p);
    if (types & TYPE_NUMBER) types &= ~(unsigned)TYPE_INTEGER;
    grammar_alternatives a = grammar_alternatives_begin(s->b);
    bool any = false;
    for (unsigned t = 1; t <= TYPE_OBJECT && !s->b->failed; t <<= 1) {
        if (!(types & t) || !schema_tag_may_be(s, t)) continue;
        if (any) grammar_alternatives_next(s->b, &a);
        any = true;
        bool json = s->level == LEVEL_ARGUMENT && t != TYPE_STRING;
        if (json) s->level = LEVEL_JSON;
        emit_type(s, p, t);
        if (json) s->level = LEVEL_ARGUMENT, schema_tag_value_end(s);
    }
    if (!any) schema_never(s, p->at[0].node, "nothing satisfies it: no 'type' is left by all that is said");
    grammar_alternatives_end(s->b, &a);
    return !s->b->failed;
}

static bool emit_unfolded(schema *s, const schema_parts *p) {
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

static bool emit_parts(schema *s, schema_parts *p) {
    drop_silent(s, p);
    bool apart = s->level == LEVEL_JSON && p->n == 1 && !p->never && !p->at[0].ref_done;
    uint32_t ref = apart ? schema_member(s, p->at[0].node, "$ref") : 0;
    if (ref && !schema_says_more(s, &p->at[0], "$ref")) {
        uint32_t target = schema_pointer(s, p->at[0].node, s->nodes[ref].text);
        if (target) grammar_call(s->b, rule_of(s, target));
        return !s->b->failed;
    }
    schema_unfold(s, p);
    drop_silent(s, p);
    if (s->b->failed) return false;
    if (!p->never && p->n > 1 && call_again(s, p, false)) return !s->b->failed;
    if (p->never)
        return schema_never(s, p->false_at, "nothing satisfies it: false, or 'propertyNames', allows no value here"),
               !s->b->failed;
    if (!p->n && s->level == LEVEL_JSON) return grammar_any_value(s->b), !s->b->failed;
    if (!p->n && s->level == LEVEL_ARGUMENT && !s->types)
        return schema_tag_string(s, (grammar_lengths){0, GRAMMAR_UNBOUNDED}), !s->b->failed;
    return emit_unfolded(s, p);
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

bool schema_call(schema *s, const schema_parts *p) {
    schema_parts own = *p;
    drop_silent(s, &own);
    schema_unfold(s, &own);
    drop_silent(s, &own);
    if (own.never || own.n == 0) return schema_emit(s, &own);
    return call_again(s, &own, true);
}

static void emit_rule(schema *s, struct schema_pending it) {
    schema_parts p = {.n = 0};
    grammar_rule_begin(s->b, it.rule);
    s->level = it.level;
    s->types = it.types;
    if (it.set) {
        const struct schema_set *set = &s->sets[it.set - 1];
        p.n = set->n;
        memcpy(p.at, s->members + set->first, p.n * sizeof *p.at);
        emit_unfolded(s, &p);
    } else {
        schema_add(s, &p, it.node);
        schema_emit(s, &p);
    }
    grammar_emit(s->b, OP_RET, 0, 0);
}

bool grammar_schema(grammar_builder *b, uint32_t rule, str json, const grammar_tags *tags) {
    schema s = {.b = b, .source = json, .tags = tags};
    if (schema_read(&s, json) && schema_tags_check(&s)) {
        s.nodes[1].rule = tags ? 0 : rule + 1;
        emit_rule(&s, (struct schema_pending){1, 0, rule, 0, tags ? LEVEL_ARGUMENTS : LEVEL_JSON});
    }
    while (s.n_pending && !b->failed) {
        struct schema_pending next = s.pending[--s.n_pending];
        emit_rule(&s, next);
    }
    schema_free(&s);
    return !b->failed;
}
