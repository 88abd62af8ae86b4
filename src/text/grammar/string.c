/* Strings of schemas: one pattern as it is written, or all that is said of the string as one set of strings.
 */
#include "text/grammar/schema.h"

enum { CONDITIONS_MAX = 64 };

/* What the parts say of a string. */
typedef struct conditions {
    grammar_lengths lengths;
    uint32_t patterns[CONDITIONS_MAX], n_patterns; /* different ones */
    uint32_t formats[CONDITIONS_MAX], n_formats;   /* that say something */
    uint32_t no_patterns[CONDITIONS_MAX], n_no_patterns;
    bool excludes; /* values that it must not be */
} conditions;

static void add_text(schema *s, uint32_t *list, uint32_t *n, uint32_t node) {
    for (uint32_t i = 0; i < *n; i++)
        if (str_eq(s->nodes[list[i]].text, s->nodes[node].text)) return;
    if (*n < CONDITIONS_MAX) list[(*n)++] = node;
}

static void gather_format(schema *s, conditions *c, uint32_t node) {
    const char *pattern = node ? grammar_format_pattern(s->nodes[node].text) : NULL;
    if (pattern && *pattern) add_text(s, c->formats, &c->n_formats, node);
}

static void gather(schema *s, const schema_parts *p, conditions *c) {
    *c = (conditions){.lengths = {0, GRAMMAR_UNBOUNDED}};
    for (uint32_t i = 0, n; i < p->n; i++) {
        uint32_t node = p->at[i].node, pattern = schema_member(s, node, "pattern"),
                 no = schema_member(s, node, "not");
        if (schema_count(s, node, "minLength", &n) && n > c->lengths.least) c->lengths.least = n;
        if (schema_count(s, node, "maxLength", &n) && n < c->lengths.most) c->lengths.most = n;
        if (pattern) add_text(s, c->patterns, &c->n_patterns, pattern);
        gather_format(s, c, schema_member(s, node, "format"));
        gather_format(s, c, schema_member(s, node, "contentEncoding"));
        if (!no || !schema_is_leaf(s, no)) continue;
        uint32_t no_pattern = schema_member(s, no, "pattern");
        if (no_pattern)
            add_text(s, c->no_patterns, &c->n_no_patterns, no_pattern);
        else
            c->excludes = true;
    }
}

/* ---- sets of strings ---- */

bool schema_words_begin(schema *s) { return s->words.b || language_init(&s->words, s->b); }

expression schema_words(schema *s, uint32_t node, str pattern, bool whole, bool wide) {
    node = schema_original(s, node);
    bool kept = !wide && !whole;
    if (kept && s->nodes[node].words) return s->nodes[node].words - 1;
    if (!schema_words_begin(s)) return LANGUAGE_NONE;
    expression e = language_pattern(&s->words, pattern, whole, wide);
    if (kept && !s->b->failed) s->nodes[node].words = e + 1;
    return e;
}

static expression strings_of_values(schema *s, uint32_t one, uint32_t list) {
    size_t begun = language_begin_or(&s->words);
    for (uint32_t v = one ? one : s->nodes[list].child; v && grammar_step(s->b); v = one ? 0 : s->nodes[v].next)
        if (s->nodes[v].kind == JSON_STRING)
            language_add_or(&s->words, language_text(&s->words, s->nodes[v].text));
    return language_end_or(&s->words, begun);
}

static expression without_values(schema *s, const schema_parts *p, expression e) {
    for (uint32_t i = 0; i < p->n; i++) {
        uint32_t no = schema_member(s, p->at[i].node, "not"), one = schema_member(s, no, "const"),
                 list = schema_member(s, no, "enum");
        if (!no || !schema_is_leaf(s, no)) continue;
        e = language_and(&s->words, e, language_not(&s->words, strings_of_values(s, one, list)));
    }
    return e;
}

static bool fail_at(schema *s, uint32_t node, const char *keyword) {
    err why = *s->b->e;
    if (why.code != ERR_INVALID) return false;
    s->b->failed = false;
    return schema_fail(s, s->nodes[schema_original(s, node)].parent, "'%s': %s", keyword, why.message);
}

/* As far as formats are known: the usual strings of them, or wider what they allow. */
static expression of_formats(schema *s, const conditions *c, expression e, bool wider) {
    for (uint32_t i = 0; i < c->n_formats; i++) {
        str name = s->nodes[c->formats[i]].text;
        const char *more = wider ? grammar_format_wider(name) : NULL;
        const char *pattern = more ? more : grammar_format_pattern(name);
        e = language_and(&s->words, e, schema_words(s, c->formats[i], str_of(pattern), true, false));
    }
    return s->level == LEVEL_ARGUMENT ? schema_tag_strings(s, e) : e;
}

static bool emit_words(schema *s, const schema_parts *p, const conditions *c) {
    language *l = &s->words;
    expression e = LANGUAGE_ALL;
    bool none = false;
    uint32_t at = c->n_patterns ? c->patterns[0] : c->n_no_patterns ? c->no_patterns[0] : 0;
    if (!schema_words_begin(s)) return false;
    for (uint32_t i = 0; i < c->n_patterns; i++)
        e = language_and(l, e, schema_words(s, c->patterns[i], s->nodes[c->patterns[i]].text, false, false));
    for (uint32_t i = 0; i < c->n_no_patterns; i++) {
        str pattern = s->nodes[c->no_patterns[i]].text;
        e = language_and(l, e, language_not(l, schema_words(s, c->no_patterns[i], pattern, false, true)));
    }
    e = without_values(s, p, e);
    size_t n_ops = s->b->n_ops;
    expression usual = of_formats(s, c, e, false), wider = of_formats(s, c, e, true);
    if (language_emit(l, usual, c->lengths, &none) && none && wider != usual) {
        s->b->n_ops = n_ops;
        language_emit(l, wider, c->lengths, &none);
    }
    if (none && !s->b->failed) {
        s->b->n_ops = n_ops;
        schema_never(s, at ? schema_original(s, at) : p->at[0].node,
                     "nothing satisfies it: no string has all of pattern, format, lengths and 'not'");
    }
    if (s->b->failed && at) return fail_at(s, at, "pattern");
    return !s->b->failed;
}

/* ---- one pattern, as it is written ---- */

/* false, without a failure: it must be done as a set of strings. */
static bool emit_simply(schema *s, const conditions *c) {
    grammar_builder *b = s->b;
    size_t n_ops = b->n_ops, n_ranges = b->n_ranges, n_texts = b->n_texts;
    if (c->excludes || c->n_no_patterns || c->n_patterns > 1 || c->n_formats > 1) return false;
    uint32_t pattern = c->n_patterns ? c->patterns[0] : 0, format = c->n_formats ? c->formats[0] : 0;
    str name = format ? s->nodes[format].text : STR(""), text = pattern ? s->nodes[pattern].text : STR("");
    const char *both = pattern ? grammar_format_both(name, text) : NULL;
    if (!pattern && !format) return grammar_emit(b, OP_STRING, c->lengths.least, c->lengths.most), true;
    if (pattern && !both && format && !grammar_format_is_its_pattern(name)) return false;
    if (both || !pattern) text = str_of(both ? both : grammar_format_pattern(name));
    if (grammar_regex(b, text, both || !pattern, c->lengths) || b->e->code != ERR_INVALID) return true;
    b->failed = false;
    *b->e = (err){0};
    b->n_ops = n_ops;
    b->n_ranges = n_ranges;
    b->n_texts = n_texts;
    return false;
}

/* Between tags. */
static void emit_raw(schema *s, const schema_parts *p, const conditions *c) {
    if (!c->n_patterns && !c->n_formats && !c->n_no_patterns && !c->excludes) {
        schema_tag_string(s, c->lengths);
        return;
    }
    s->b->plain = true;
    emit_words(s, p, c);
    s->b->plain = false;
    schema_tag_value_end(s);
}

bool schema_emit_string(schema *s, const schema_parts *p) {
    conditions c;
    gather(s, p, &c);
    if (s->b->failed) return false;
    if (c.lengths.least > c.lengths.most)
        return schema_never(s, p->at[0].node, "nothing satisfies it: 'minLength' is above 'maxLength'"), !s->b->failed;
    if (s->level == LEVEL_ARGUMENT) return emit_raw(s, p, &c), !s->b->failed;
    grammar_text(s->b, STR("\""));
    if (!emit_simply(s, &c) && !s->b->failed) emit_words(s, p, &c);
    return !s->b->failed;
}

/* ---- keys ---- */

static expression strings_of_list(schema *s, uint32_t list, const char *keyword, bool wide, int depth) {
    language *l = &s->words;
    bool all = !strcmp(keyword, "allOf"), one = !strcmp(keyword, "oneOf");
    expression e = all ? LANGUAGE_ALL : LANGUAGE_NONE;
    for (uint32_t c = s->nodes[list].child; c && grammar_step(s->b); c = s->nodes[c].next) {
        expression own = schema_strings(s, c, wide, depth + 1);
        for (uint32_t o = one ? s->nodes[list].child : 0; o; o = s->nodes[o].next)
            if (o != c) own = language_and(l, own, language_not(l, schema_strings(s, o, !wide, depth + 1)));
        e = all ? language_and(l, e, own) : language_or(l, e, own);
    }
    return e;
}

expression schema_strings(schema *s, uint32_t node, bool wide, int depth) {
    static const char *const lists[] = {"anyOf", "oneOf", "allOf"};
    language *l = &s->words;
    uint32_t n, ref = schema_member(s, node, "$ref"), one = schema_member(s, node, "const"),
                list = schema_member(s, node, "enum"), pattern = schema_member(s, node, "pattern"),
                format = schema_member(s, node, "format"), no = schema_member(s, node, "not");
    expression e = LANGUAGE_ALL;
    if (!schema_check(s, node) || !schema_words_begin(s)) return LANGUAGE_NONE;
    if (depth > 8) return schema_fail(s, node, "what is said of keys goes too deep"), LANGUAGE_NONE;
    if (s->nodes[node].kind == JSON_BOOL) return s->nodes[node].boolean ? LANGUAGE_ALL : LANGUAGE_NONE;
    if (!(schema_types(s, node) & TYPE_STRING)) return LANGUAGE_NONE;
    expression any = language_any(l);
    if (schema_count(s, node, "minLength", &n))
        e = language_and(l, e, language_times(l, any, n, GRAMMAR_UNBOUNDED));
    if (schema_count(s, node, "maxLength", &n)) e = language_and(l, e, language_times(l, any, 0, n));
    if (pattern) e = language_and(l, e, schema_words(s, pattern, s->nodes[pattern].text, false, wide));
    const char *of_format = format && !wide ? grammar_format_pattern(s->nodes[format].text) : NULL;
    if (of_format && *of_format)
        e = language_and(l, e, schema_words(s, format, str_of(of_format), true, false));
    if (one || list) e = language_and(l, e, strings_of_values(s, one, list));
    if (no) e = language_and(l, e, language_not(l, schema_strings(s, no, !wide, depth + 1)));
    for (int i = 0; i < 3; i++) {
        uint32_t of = schema_member(s, node, lists[i]);
        if (of) e = language_and(l, e, strings_of_list(s, of, lists[i], wide, depth));
    }
    uint32_t target = ref ? schema_pointer(s, node, s->nodes[ref].text) : 0;
    return target ? language_and(l, e, schema_strings(s, target, wide, depth + 1)) : e;
}
