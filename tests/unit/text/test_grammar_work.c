/* Whatever a pattern or a grammar says, compiling it and finding what may come next are bounded: 10,000 of every shape,
 * and those that would not come to an end without a bound. Work is counted, not timed. */
#include "../test.h"

#include <stdio.h>

#include "base/rng.h"
#include "text/grammar/internal.h"
#include "vocab_build.h"

#ifdef PLIMSOLL_SANITIZED
enum { SHAPES = 2500 }; /* fuzz_grammar looks at others there, each time */
#else
enum { SHAPES = 10000 };
#endif
enum { TOKENS = 12, SOURCE_BYTES = 4096 };

static letter_rows letters;
static build vocab_of;
static text_vocab *vocab;
static text_token_index *tokens;
static text_grammar_machine *machine;
static test_alloc memory;

static int up(void **state) {
    static const token_row more[] = {{"ab", 0, 0}, {"aaaa", 0, 0}, {"aaaaaaaaaaaaaaaa", 0, 0}, {"\":", 0, 0},
                                     {"\\\"", 0, 0}, {"bcab", 0, 0}, {"123", 0, 0}, {"\\n\\n", 0, 0}};
    err e = {0};
    (void)state;
    test_alloc_init(&memory, 0);
    letters_init(&letters, more, sizeof more / sizeof *more);
    vocab_of = build_of("gpt2", "gpt-2", letters.rows, letters.n, NULL, 0);
    assert_ok(vocab = build_new(&vocab_of, &memory.alloc, &e), e);
    assert_ok(tokens = text_token_index_new(vocab, &memory.alloc, &e), e);
    machine = text_grammar_machine_init(aligned_alloc(64, text_grammar_machine_bytes(tokens)), tokens);
    return 0;
}

static int down(void **state) {
    (void)state;
    free(machine);
    text_token_index_free(tokens);
    text_vocab_free(vocab);
    assert_int_equal(memory.outstanding_bytes, 0);
    return 0;
}

/* ---- sources ---- */

typedef struct writer {
    rng *r;
    char text[SOURCE_BYTES];
    size_t n;
    int left; /* atoms that may still come */
    bool gbnf;
} writer;

static uint32_t below(writer *w, uint32_t n) { return (uint32_t)(rng_next(w->r) % n); }

static void put(writer *w, const char *s) {
    size_t n = strlen(s);
    if (w->n + n + 1 > sizeof w->text) return;
    memcpy(w->text + w->n, s, n + 1);
    w->n += n;
}

static void put_times(writer *w) {
    static const char *const plain[] = {"*", "+", "?"};
    static const uint32_t counts[] = {0, 1, 2, 3, 18, 100, 1000, 100000};
    uint32_t form = below(w, 8), a = counts[below(w, 8)], b = counts[below(w, 8)];
    char text[32];
    if (form < 3) put(w, plain[below(w, 3)]);
    if (form < 3 || form > 5) return;
    if (form == 3) snprintf(text, sizeof text, "{%u}", a < 100 ? a : 100);
    if (form == 4) snprintf(text, sizeof text, "{%u,}", a < 100 ? a : 100);
    if (form == 5) snprintf(text, sizeof text, "{%u,%u}", a < b ? a : b, a < b ? b : a);
    put(w, text);
}

static void put_sequence(writer *w, int depth);

static void put_atom(writer *w, int depth) {
    static const char *const in_pattern[] = {"a", "b", "[ab]", "[^a]", "\\d", "}c3d", "\\n", ".", "()", "\\\""},
                      *const in_gbnf[] = {"\"a\"", "\"b\"", "[ab]", "[^a]", "\"\"", "x", "y", "z", "\"aa\"", "."};
    uint32_t kind = below(w, depth < 5 ? 16 : 10);
    w->left--;
    if (kind < 10) {
        put(w, w->gbnf ? in_gbnf[kind] : in_pattern[kind]);
    } else {
        put(w, "(");
        for (uint32_t n = below(w, 4); n; n--) {
            if (below(w, 4)) put_sequence(w, depth + 1);
            put(w, w->gbnf ? " | " : "|");
        }
        put_sequence(w, depth + 1);
        put(w, ")");
    }
    put_times(w);
    if (w->gbnf) put(w, " ");
}

static void put_sequence(writer *w, int depth) {
    for (uint32_t n = below(w, 4); n && w->left > 0; n--) put_atom(w, depth);
    if (w->gbnf) put(w, "\"\" ");
}

static str shape(writer *w, rng *r, bool gbnf) {
    *w = (writer){.r = r, .left = 30, .gbnf = gbnf};
    if (gbnf) {
        static const char *const rules[] = {"root ::= ", "\nx ::= ", "\ny ::= ", "\nz ::= "};
        for (int i = 0; i < 4; i++) put(w, rules[i]), put_sequence(w, 0), put(w, "\"c\"? ");
        return (str){w->text, w->n};
    }
    char lengths[48] = "";
    if (below(w, 2)) snprintf(lengths, sizeof lengths, ",\"maxLength\":%u", below(w, 200));
    put(w, "{\"type\":\"string\",\"pattern\":\"");
    char *from = w->text + w->n;
    put(w, below(w, 2) ? "^" : "");
    put_sequence(w, 0);
    put(w, below(w, 2) ? "$" : "");
    char escaped[SOURCE_BYTES] = "";
    size_t n = 0;
    for (const char *c = from; *c && n + 3 < sizeof escaped; c++) {
        if (*c == '\\' || *c == '"') escaped[n++] = '\\';
        escaped[n++] = *c;
    }
    escaped[n] = 0;
    w->n = (size_t)(from - w->text);
    put(w, escaped);
    put(w, "\"");
    put(w, lengths);
    put(w, "}");
    return (str){w->text, w->n};
}

/* ---- what is asked of each ---- */

/* Every call stays within its budget, and the text's account within its own. False: it was refused on the way. */
static bool walk(const text_grammar *g, rng *r) {
    text_grammar_cursor c;
    text_grammar_verdict v = text_grammar_begin(machine, g, &c);
    uint64_t most = MACHINE_WORK_LEAST + MACHINE_WORK_WALKS * (uint64_t)tokens->n_nodes;
    for (int i = 0; i < TOKENS && v == TEXT_GRAMMAR_OK; i++) {
        const uint64_t *mask;
        uint64_t before = c.spent;
        v = text_grammar_mask(machine, &c, &mask);
        if (c.spent > before + 2 * most + most / 2) fail_msg("a mask took %llu", (unsigned long long)(c.spent - before));
        if (v == TEXT_GRAMMAR_REFUSED && text_grammar_may_end(machine, &c)) return true; /* no token ends a text here */
        if (v != TEXT_GRAMMAR_OK) break;
        uint32_t at = (uint32_t)(rng_next(r) % tokens->n_tokens), tried = 0;
        for (; tried < tokens->n_tokens && !(mask[at / 64] >> at % 64 & 1); tried++) at = (at + 1) % tokens->n_tokens;
        before = c.spent;
        v = text_grammar_accept(machine, &c, (text_token)at);
        assert_int_not_equal(v, TEXT_GRAMMAR_REFUSED); /* the mask allowed it */
        if (c.spent > before + 2 * most + most / 2) fail_msg("a token took %llu", (unsigned long long)(c.spent - before));
    }
    assert_int_not_equal(v, TEXT_GRAMMAR_REFUSED); /* every byte is a token: what is begun can be ended */
    return v == TEXT_GRAMMAR_OK;
}

static void shapes_of_every_kind(void **state) {
    (void)state;
    static writer w;
    rng r;
    uint32_t compiled = 0, walked = 0;
    rng_seed(&r, 12);
    for (uint32_t i = 0; i < SHAPES; i++) {
        err e = {0};
        bool gbnf = i % 2;
        str source = shape(&w, &r, gbnf);
        text_grammar *g =
            text_grammar_new(gbnf ? TEXT_GRAMMAR_GBNF : TEXT_GRAMMAR_SCHEMA, source, vocab, &memory.alloc, &e);
        if (!g && (e.code != ERR_INVALID || !e.message[0])) fail_msg("%s: %s", w.text, e.message);
        compiled += g != NULL;
        walked += g && walk(g, &r);
        text_grammar_free(g);
    }
    print_message("%u of %u compiled, %u walked\n", compiled, SHAPES, walked);
    assert_true(compiled > SHAPES / 2 && walked > compiled * 9 / 10);
}

/* Each text is read, in so many units of work at most. */
static void reads(text_grammar_kind kind, const char *source, const char *text, bool good) {
    err e = {0};
    text_grammar_cursor c;
    text_grammar *g = text_grammar_new(kind, str_of(source), vocab, &memory.alloc, &e);
    if (!g) fail_msg("%s: %s", source, e.message);
    text_grammar_verdict v = text_grammar_begin(machine, g, &c);
    if (v == TEXT_GRAMMAR_OK) v = text_grammar_accept_bytes(machine, &c, str_of(text));
    bool read = v == TEXT_GRAMMAR_OK && text_grammar_may_end(machine, &c);
    if (read != good) fail_msg("%s: %s is %s", source, text, good ? "not read" : "read");
    text_grammar_free(g);
}

static void what_may_be_empty_is_repeated(void **state) {
    (void)state;
    reads(TEXT_GRAMMAR_SCHEMA, "{\"type\":\"string\",\"pattern\":\"^((){2,}|}c3d)*\\n\",\"maxLength\":73}",
          "\"}c3d}c3d\\n\"", true);
    reads(TEXT_GRAMMAR_SCHEMA, "{\"type\":\"string\",\"pattern\":\"^((){2,}|}c3d)*\\n\",\"maxLength\":73}", "\"}c3\\n\"",
          false);
    reads(TEXT_GRAMMAR_GBNF, "root ::= (\"\"){2,100000} \"a\"", "a", true);
    reads(TEXT_GRAMMAR_GBNF, "root ::= ((\"a\"?){0,100000}){0,100000}", "aaaaaaaaaa", true);
    reads(TEXT_GRAMMAR_GBNF, "root ::= ((\"a\"?){3,5}){2}", "aaaaaaaaaa", true);
    reads(TEXT_GRAMMAR_GBNF, "root ::= ((\"a\"?){3,5}){2}", "aaaaaaaaaaa", false);
    reads(TEXT_GRAMMAR_GBNF, "root ::= ((\"a\"?){3,5}){2}", "", true);
    reads(TEXT_GRAMMAR_GBNF, "root ::= ((\"a\" | \"\"){1,3} \"b\"?){2,4}", "aaabaaaba", true);
    reads(TEXT_GRAMMAR_GBNF, "root ::= (x* y+)* z\nx ::= \"a\"?\ny ::= x x\nz ::= \"c\"", "aaaac", true);
    reads(TEXT_GRAMMAR_GBNF, "root ::= (((((\"a\"*)*)*)+)*)+ \"b\"", "aaab", true);
    reads(TEXT_GRAMMAR_GBNF, "root ::= ((\"a\"* | \"\" | \"b\"*){2,} | \"c\"?){2,9}", "aabbcab", true);
}

/* 2^60 ways through what is empty are one. */
static void many_empty_ways_are_one(void **state) {
    (void)state;
    char source[2048];
    size_t n = (size_t)snprintf(source, sizeof source, "root ::= ");
    for (int i = 0; i < 60; i++) n += (size_t)snprintf(source + n, sizeof source - n, "(\"a\"? | \"b\"? | \"\") ");
    reads(TEXT_GRAMMAR_GBNF, source, "abababab", true);
    n = (size_t)snprintf(source, sizeof source, "root ::= ");
    for (int i = 0; i < 30; i++) n += (size_t)snprintf(source + n, sizeof source - n, "(");
    for (int i = 0; i < 30; i++) n += (size_t)snprintf(source + n, sizeof source - n, "%s){0,30}", i ? "" : "\"a\"?");
    reads(TEXT_GRAMMAR_GBNF, source, "aaa", true);
}

/* A text whose every token takes long comes to its end, as the only one. */
static void work_of_a_text_is_bounded(void **state) {
    (void)state;
    err e = {0};
    str source = STR("root ::= (([ab] | [ab] [ab]){1,1000} | [a-c]{2,9}){1,1000}");
    text_grammar *g = text_grammar_new(TEXT_GRAMMAR_GBNF, source, vocab, &memory.alloc, &e);
    assert_ok(g, e);
    text_grammar_cursor c;
    text_grammar_verdict v = text_grammar_begin(machine, g, &c);
    uint64_t most = MACHINE_WORK_LEAST + MACHINE_WORK_WALKS * (uint64_t)tokens->n_nodes;
    for (int i = 0; i < 3000 && v == TEXT_GRAMMAR_OK; i++) {
        const uint64_t *mask;
        v = text_grammar_mask(machine, &c, &mask);
        if (v == TEXT_GRAMMAR_OK) v = text_grammar_accept_bytes(machine, &c, STR("a"));
        assert_true(c.spent <= (MACHINE_WORK_BURST + 3) * most);
    }
    assert_int_equal(v, TEXT_GRAMMAR_TOO_COMPLEX);
    text_grammar_free(g);
    reads(TEXT_GRAMMAR_GBNF, "root ::= \"a\"", "a", true);
}

/* ---- objects of many members ---- */

enum { MEMBERS_BYTES = 1 << 17 };

static text_grammar *of_members(int n, const char *more) {
    err e = {0};
    char *source = malloc(MEMBERS_BYTES);
    size_t len = (size_t)snprintf(source, MEMBERS_BYTES, "{\"type\":\"object\",%s,\"properties\":{", more);
    for (int i = 0; i < n; i++)
        len += (size_t)snprintf(source + len, MEMBERS_BYTES - len, "%s\"p%d\":{\"type\":\"integer\"}", i ? "," : "", i);
    snprintf(source + len, MEMBERS_BYTES - len, "}}");
    text_grammar *g = text_grammar_new(TEXT_GRAMMAR_SCHEMA, str_of(source), vocab, &memory.alloc, &e);
    if (!g) fail_msg("%d members, %s: %s", n, more, e.message);
    free(source);
    return g;
}

/* Byte by byte, each of which the mask allows. */
static bool comes(const text_grammar *g, const char *text) {
    text_grammar_cursor c;
    const uint64_t *mask;
    text_grammar_verdict v = text_grammar_begin(machine, g, &c);
    for (const char *s = text; *s && v == TEXT_GRAMMAR_OK; s++) {
        v = text_grammar_mask(machine, &c, &mask);
        if (v != TEXT_GRAMMAR_OK) fail_msg("%s: no mask at %s", text, s);
        v = text_grammar_accept_bytes(machine, &c, (str){s, 1});
    }
    assert_int_not_equal(v, TEXT_GRAMMAR_TOO_COMPLEX);
    return v == TEXT_GRAMMAR_OK && text_grammar_may_end(machine, &c);
}

static void any_of_thousands_of_members_may_come(void **state) {
    (void)state;
    static const int counts[] = {400, 600, 900, 2000};
    static const char closed[] = "\"additionalProperties\":false", *const more[] = {
        closed, "\"additionalProperties\":false,\"minProperties\":1", "\"additionalProperties\":false,\"minProperties\":2",
        "\"additionalProperties\":{\"type\":\"string\"}", "\"additionalProperties\":false,\"required\":[\"p300\"]",
        "\"additionalProperties\":false,\"maxProperties\":1"};
    for (int k = 0; k < 4 * 6; k++) {
        int n = counts[k / 6], last = n - 1;
        bool open = k % 6 == 3, some = k % 6 == 1 || k % 6 == 2, asked = k % 6 == 4, one = k % 6 == 5;
        text_grammar *g = of_members(n, more[k % 6]);
        char text[128];
        assert_int_equal(comes(g, "{}"), !some && !asked);
        assert_int_equal(comes(g, "{\"p0\": 1,\"p1\":2}"), !asked && !one);
        snprintf(text, sizeof text, "{\"p0\": 1,\"p1\":7, \"p39\":2,\"p300\":3,\"p%d\":4}", last);
        assert_int_equal(comes(g, text), !one);
        assert_false(comes(g, "{\"p0\":1,\"p39\":2,\"p38\":3,\"p300\":3}")); /* in their order, */
        assert_false(comes(g, "{\"p0\":1,\"p1\":1,\"p300\":2,\"p300\":3}")); /* and once */
        assert_int_equal(comes(g, "{\"p300\":1}"), k % 6 != 2);
        assert_int_equal(comes(g, "{\"p0\":1,\"p1\":1,\"p300\":2,\"p3x\":\"\"}"), open);
        text_grammar_free(g);
    }
}

/* Where references go too deep for one member, it alone does not come. */
static void members_that_cannot_be_ended_do_not_come(void **state) {
    (void)state;
    err e = {0};
    str source = STR("{\"$defs\":{\"t\":{\"properties\":{\"aa\":{\"type\":\"null\"},\"ab\":{\"$ref\":\"#/$defs/t\"},"
                     "\"ac\":{\"type\":\"integer\"},\"ad\":false},\"type\":\"object\",\"additionalProperties\":false}},"
                     "\"$ref\":\"#/$defs/t\"}");
    text_grammar *g = text_grammar_new(TEXT_GRAMMAR_SCHEMA, source, vocab, &memory.alloc, &e);
    assert_ok(g, e);
    text_grammar_cursor c;
    text_grammar_verdict v = text_grammar_begin(machine, g, &c);
    int depth = 0;
    while (depth < 100 && (v = text_grammar_accept_bytes(machine, &c, STR("{\"ab\":"))) == TEXT_GRAMMAR_OK) depth++;
    assert_true(depth > 40 && depth <= GRAMMAR_DEPTH_MAX);
    assert_int_equal(v, TEXT_GRAMMAR_REFUSED);
    assert_int_equal(text_grammar_accept_bytes(machine, &c, STR("{\"a")), TEXT_GRAMMAR_OK);
    assert_int_equal(text_grammar_accept_bytes(machine, &c, STR("d")), TEXT_GRAMMAR_REFUSED);
    assert_int_equal(text_grammar_accept_bytes(machine, &c, STR("c\":1}")), TEXT_GRAMMAR_OK);
    for (; depth > 0; depth--) assert_int_equal(text_grammar_accept_bytes(machine, &c, STR("}")), TEXT_GRAMMAR_OK);
    assert_true(text_grammar_may_end(machine, &c));
    text_grammar_free(g);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(shapes_of_every_kind),
        cmocka_unit_test(what_may_be_empty_is_repeated),
        cmocka_unit_test(many_empty_ways_are_one),
        cmocka_unit_test(work_of_a_text_is_bounded),
        cmocka_unit_test(any_of_thousands_of_members_may_come),
        cmocka_unit_test(members_that_cannot_be_ended_do_not_come),
    };
    return cmocka_run_group_tests(tests, up, down);
}
