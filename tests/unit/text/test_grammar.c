/* Grammars without a model: which texts the automaton reads to their end. */
#include "../test.h"

#include "base/json.h"
#include "text/grammar.h"

static text_grammar_machine *machine;
static void *machine_memory;

static text_grammar *compiled(text_grammar_kind kind, const char *source) {
    test_alloc a;
    err e = {0};
    static base_alloc alloc;
    test_alloc_init(&a, 0);
    alloc = a.alloc;
    alloc.ctx = malloc(sizeof a);
    memcpy(alloc.ctx, &a, sizeof a);
    text_grammar *g = text_grammar_new(kind, str_of(source), NULL, &alloc, &e);
    if (!g) fail_msg("%s: %s", source, e.message);
    return g;
}

static bool reads(const text_grammar *g, const char *text) {
    text_grammar_cursor c;
    text_grammar_verdict v = text_grammar_begin(machine, g, &c);
    if (v == TEXT_GRAMMAR_OK) v = text_grammar_accept_bytes(machine, &c, str_of(text));
    return v == TEXT_GRAMMAR_OK && text_grammar_may_end(machine, &c);
}

/* texts: those to be read, then "--", then those not to be. */
static void check(text_grammar_kind kind, const char *source, const char *const *texts) {
    text_grammar *g = compiled(kind, source);
    bool good = true;
    for (; *texts; texts++) {
        if (!strcmp(*texts, "--"))
            good = false;
        else if (reads(g, *texts) != good)
            fail_msg("%s %s %s", source, good ? "does not read" : "reads", *texts);
    }
    text_grammar_free(g);
}
#define GBNF(source, ...) check(TEXT_GRAMMAR_GBNF, source, (const char *const[]){__VA_ARGS__, NULL})
#define SCHEMA(source, ...) check(TEXT_GRAMMAR_SCHEMA, source, (const char *const[]){__VA_ARGS__, NULL})

static void refused(text_grammar_kind kind, const char *source, const char *words) {
    test_alloc a;
    err e = {0};
    test_alloc_init(&a, 0);
    text_grammar *g = text_grammar_new(kind, str_of(source), NULL, &a.alloc, &e);
    if (g) fail_msg("%s is not refused", source);
    if (!strstr(e.message, words) || e.code != ERR_INVALID)
        fail_msg("%s: '%s', not '%s'", source, e.message, words);
    assert_int_equal(a.outstanding_bytes, 0);
}

static int set_up(void **state) {
    (void)state;
    machine_memory = aligned_alloc(64, (text_grammar_machine_bytes(NULL) + 63) & ~(size_t)63);
    machine = text_grammar_machine_init(machine_memory, NULL);
    return 0;
}
static int tear_down(void **state) {
    (void)state;
    free(machine_memory);
    return 0;
}

/* ---- GBNF ---- */

static void notation(void **state) {
    (void)state;
    GBNF("root ::= \"a\"", "a", "--", "", "b", "aa");
    GBNF("root ::= \"\"", "", "--", "a");
    GBNF("root ::= \"a\" | \"bc\"", "a", "bc", "--", "b", "abc");
    GBNF("root ::= \"a\"\n | \"b\"\n", "a", "b");
    GBNF("root ::= \"a\"* \"b\"+ \"c\"?", "b", "aabbc", "--", "a", "bcc");
    GBNF("root ::= (\"a\" | \"b\"){2,3}", "ab", "bba", "--", "a", "abab");
    GBNF("root ::= \"a\"{2} \"b\"{0,1} \"c\"{1,}", "aac", "aabccc", "--", "aab", "aabbc");
    GBNF("root ::= [a-c_] [^x\\n] .", "aé日", "_..", "--", "dab", "axb", "a\nb");
    GBNF("root ::= \"\\x41\\u00e9\\U0001F600\\\"\\\\\\t\"", "Aé😀\"\\\t");
    GBNF("# first\nroot ::= x # second\n  \nx ::= \"a\" y\ny ::= \"b\"", "ab");
    GBNF("root ::= \"(\" root \")\" | \"x\"", "x", "((x))", "--", "((x)", "x)");
    GBNF("root ::= item (\",\" item)*\nitem ::= [0-9]+", "1", "12,3,4", "--", "1,", ",1");
    GBNF("root ::= list\nlist ::= \"a\" list | \"b\"", "b",
         "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaab");
    GBNF("root ::= (\"a\"*)* (\"b\"?)+ \"c\"", "c", "aabc", "abbc");
    GBNF("root ::= %json{}", "1", "{\"a\": [1,2,null]}", "[]", "\"x\"", "--", "{a:1}", "[1,]");
    GBNF("root ::= \"<\" %json{\"type\":\"integer\"} \">\"", "<12>", "--", "<1.5>");
    GBNF("root ::= <|im_start|> \"x\"", "<|im_start|>x");
    GBNF("root ::= \"a\" {2,3}", "aa", "aaa", "--", "a");
}

static void notation_refused(void **state) {
    (void)state;
    refused(TEXT_GRAMMAR_GBNF, "", "no rule 'root'");
    refused(TEXT_GRAMMAR_GBNF, "x ::= \"a\"", "no rule 'root'");
    refused(TEXT_GRAMMAR_GBNF, "root ::= y", "line 1: there is no rule 'y'");
    refused(TEXT_GRAMMAR_GBNF, "root ::= \"a\"\nroot ::= \"b\"", "line 2: the rule 'root' is there twice");
    refused(TEXT_GRAMMAR_GBNF, "root ::= \"a", "line 1: a literal lacks its closing quote");
    refused(TEXT_GRAMMAR_GBNF, "root ::= (\"a\"", "( lacks its )");
    refused(TEXT_GRAMMAR_GBNF, "root ::= [a", "a class lacks its ]");
    refused(TEXT_GRAMMAR_GBNF, "root ::= \"\\q\"", "this escape is not known");
    refused(TEXT_GRAMMAR_GBNF, "root ::= \"a\"{3,2}", "goes backwards");
    refused(TEXT_GRAMMAR_GBNF, "root ::= \"a\"{x}", "lacks a number");
    refused(TEXT_GRAMMAR_GBNF, "root ::= root \"a\" | \"b\"", "a rule leads back to itself");
    refused(TEXT_GRAMMAR_GBNF, "root ::= x\nx ::= y? root\ny ::= \"z\"", "a rule leads back to itself");
    refused(TEXT_GRAMMAR_GBNF, "root ::= \"a\" root", "nothing satisfies it");
    refused(TEXT_GRAMMAR_GBNF, "root ::= %json{\"typ\":1}", "line 1: %json: at /: 'typ' is not supported");
    refused(TEXT_GRAMMAR_GBNF, "root ::= %json{", "%json{ lacks its }");
    refused(TEXT_GRAMMAR_GBNF, "root ::= <[5]>", "outside the vocabulary");
    refused(TEXT_GRAMMAR_GBNF, "root ::= \"a\" )", "here a rule cannot go on");
}

/* ---- schemas ---- */

static void plain_types(void **state) {
    (void)state;
    SCHEMA("{}", "null", "{}", "[[],{\"a\":\"b\"}]", "-1.5e+3", "--", "", "nul", "01", "1.", "{ }", "[1 ,2]");
    SCHEMA("{\"type\":\"null\"}", "null", "--", "true");
    SCHEMA("{\"type\":\"boolean\"}", "true", "false", "--", "null");
    SCHEMA("{\"type\":\"integer\"}", "0", "-12", "123456789012345", "--", "1.5", "1e3", "-", "01");
    SCHEMA("{\"type\":\"number\"}", "0", "-1.25", "1e10", "2E-3", "--", ".5", "1.", "1e");
    SCHEMA("{\"type\":[\"string\",\"null\"]}", "\"\"", "null", "--", "0");
    SCHEMA("{\"type\":\"string\"}", "\"\"", "\"é\\n\\u00e9\\\"\"", "--", "\"", "\"\\q\"", "\"\n\"", "\"\\ud800\"",
           "\"\xff\"", "\"\xed\xa0\x80\"", "\"\xc0\x80\"");
    SCHEMA("{\"type\":\"string\",\"minLength\":1,\"maxLength\":2}", "\"a\"", "\"é😀\"", "\"\\u0041b\"", "--", "\"\"",
           "\"abc\"");
    SCHEMA("{\"type\":\"object\"}", "{}", "{\"a\":1, \"b\": {}}", "--", "[]", "{\"a\"}", "{\"a\":1,}");
    SCHEMA("{\"type\":\"array\"}", "[]", "[1, \"a\"]", "--", "{}");
    SCHEMA("{\"const\":{\"a\":[1,\"b\"]}}", "{\"a\":[1,\"b\"]}", "--", "{}");
    SCHEMA("{\"enum\":[\"a\",\"ab\",1,12,null,true,\"\\u00e9\\n\"]}", "\"a\"", "\"ab\"", "1", "12", "null", "true",
           "\"é\\n\"", "--", "\"abc\"", "2", "false");
    SCHEMA("{\"type\":\"string\",\"enum\":[\"x\",1,\"yy\"],\"maxLength\":1}", "\"x\"", "--", "1", "\"yy\"");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(notation),
        cmocka_unit_test(notation_refused),
        cmocka_unit_test(plain_types),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
