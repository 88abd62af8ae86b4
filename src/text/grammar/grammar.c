/* What every JSON text is made of, and the doors. */
#include "text/grammar/internal.h"

/* ---- any JSON ---- */

static void text(grammar_builder *b, const char *s) { grammar_text(b, str_of(s)); }

void grammar_json_separator(grammar_builder *b, char mark) {
    grammar_text(b, (str){&mark, 1});
    uint32_t start = grammar_here(b);
    text(b, " ");
    grammar_repeat(b, start, 0, 1);
}

void grammar_string(grammar_builder *b, uint32_t least, uint32_t most) {
    text(b, "\"");
    grammar_emit(b, OP_STRING, least, most);
}

void grammar_any_number(grammar_builder *b, bool whole) {
    static const grammar_range digit = {'0', '9'}, first = {'1', '9'}, exponent[] = {{'E', 'E'}, {'e', 'e'}},
                               sign[] = {{'+', '+'}, {'-', '-'}};
    uint32_t start = grammar_here(b), most = whole ? 15 : 11, part;
    text(b, "-");
    grammar_repeat(b, start, 0, 1);
    grammar_alternatives a = grammar_alternatives_begin(b);
    text(b, "0");
    grammar_alternatives_next(b, &a);
    grammar_class(b, &first, 1);
    part = grammar_here(b);
    grammar_class(b, &digit, 1);
    grammar_repeat(b, part, 0, most);
    grammar_alternatives_end(b, &a);
    if (whole) return;
    start = grammar_here(b);
    text(b, ".");
    part = grammar_here(b);
    grammar_class(b, &digit, 1);
    grammar_repeat(b, part, 1, 4);
    grammar_repeat(b, start, 0, 1);
    start = grammar_here(b);
    grammar_class(b, exponent, 2);
    part = grammar_here(b);
    grammar_class(b, sign, 2);
    grammar_repeat(b, part, 0, 1);
    grammar_class(b, &digit, 1);
    part = grammar_here(b);
    grammar_class(b, &digit, 1);
    grammar_repeat(b, part, 0, 1);
    grammar_repeat(b, start, 0, 1);
}

static void members_of_any(grammar_builder *b) {
    uint32_t start = grammar_here(b), first;
    grammar_json_separator(b, ',');
    first = grammar_here(b);
    grammar_string(b, 0, GRAMMAR_UNBOUNDED);
    grammar_json_separator(b, ':');
    grammar_any_value(b);
    grammar_repeat_list(b, start, first, 0, GRAMMAR_UNBOUNDED);
}

static void items_of_any(grammar_builder *b) {
    uint32_t start = grammar_here(b), first;
    grammar_json_separator(b, ',');
    first = grammar_here(b);
    grammar_any_value(b);
    grammar_repeat_list(b, start, first, 0, GRAMMAR_UNBOUNDED);
}

static void any_object_itself(grammar_builder *b) {
    text(b, "{");
    members_of_any(b);
    text(b, "}");
}

static void any_value_itself(grammar_builder *b) {
    grammar_alternatives a = grammar_alternatives_begin(b);
    grammar_string(b, 0, GRAMMAR_UNBOUNDED);
    grammar_alternatives_next(b, &a);
    any_object_itself(b);
    grammar_alternatives_next(b, &a);
    text(b, "[");
    items_of_any(b);
    text(b, "]");
    grammar_alternatives_next(b, &a);
    grammar_any_number(b, false);
    static const char *const words[] = {"true", "false", "null"};
    for (int i = 0; i < 3; i++) {
        grammar_alternatives_next(b, &a);
        text(b, words[i]);
    }
    grammar_alternatives_end(b, &a);
}

static void write_rule(grammar_builder *b, uint32_t rule, void (*write)(grammar_builder *)) {
    grammar_rule_begin(b, rule);
    write(b);
    grammar_emit(b, OP_RET, 0, 0);
}

void grammar_any_value(grammar_builder *b) { grammar_call(b, b->any_value); }
void grammar_any_object(grammar_builder *b) { grammar_call(b, b->any_object); }

/* Rule 0 is the start; these follow, before any other code, because places of rules do not move. */
static void write_any(grammar_builder *b) {
    (void)grammar_rule_new(b);
    b->any_value = grammar_rule_new(b);
    b->any_object = grammar_rule_new(b);
    write_rule(b, b->any_value, any_value_itself);
    write_rule(b, b->any_object, any_object_itself);
}

/* ---- the doors ---- */

static bool compile(grammar_builder *b, text_grammar_kind kind, str source) {
    if (source.len > GRAMMAR_SOURCE_BYTES_MAX)
        return grammar_fail(b, ERR_INVALID, "it has %zu bytes; at most %d", source.len, GRAMMAR_SOURCE_BYTES_MAX);
    write_any(b);
    if (b->failed) return false;
    if (kind == TEXT_GRAMMAR_GBNF) return grammar_gbnf(b, source);
    if (kind == TEXT_GRAMMAR_SCHEMA) return grammar_schema(b, 0, source, NULL);
    write_rule(b, 0, grammar_any_object);
    return !b->failed;
}

text_grammar *text_grammar_new(text_grammar_kind kind, str source, const text_vocab *vocab, const base_alloc *alloc,
                               err *e) {
    static const char *const names[] = {"grammar", "schema", "JSON object"};
    grammar_builder b;
    err why = {0};
    grammar_builder_init(&b, vocab, alloc, &why);
    text_grammar *g = compile(&b, kind, source) ? grammar_builder_finish(&b) : NULL;
    grammar_builder_free(&b);
    if (g) return g;
    bool placed = !strncmp(why.message, "at ", 3) || !strncmp(why.message, "line ", 5);
    err_prefix(&why, "%s%s ", names[kind], placed ? "" : ":");
    if (e) *e = why;
    return NULL;
}

void text_grammar_free(text_grammar *g) {
    if (!g) return;
    base_alloc alloc = g->alloc;
    alloc_free(&alloc, g, g->bytes);
}

size_t text_grammar_bytes(const text_grammar *g) { return g->bytes; }
