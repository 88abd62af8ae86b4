/* Every allocation of compiling a grammar and of an index of tokens fails once: an error, nothing lost, no leak. */
#include "../../unit/test.h"

#include "../../unit/text/vocab_build.h"
#include "text/grammar/grammar.h"

enum { FAILURES_MAX = 2000 };

static void compiled_at_last(text_grammar_kind kind, const char *source) {
    size_t fail_at = 1;
    for (; fail_at < FAILURES_MAX; fail_at++) {
        test_alloc m;
        err e = {0};
        test_alloc_init(&m, fail_at);
        text_grammar *g = text_grammar_new(kind, str_of(source), NULL, &m.alloc, &e);
        bool refused = m.calls >= fail_at;
        if (!g && (!refused || e.code != ERR_MEMORY || !e.message[0])) fail_msg("%s: %s", source, e.message);
        if (g) assert_int_equal(text_grammar_bytes(g), m.outstanding_bytes);
        text_grammar_free(g);
        assert_int_equal(m.outstanding_bytes, 0);
        if (!refused) break;
        assert_null(g);
    }
    assert_true(fail_at > 4 && fail_at < FAILURES_MAX);
}

static void test_new(void **state) {
    (void)state;
    compiled_at_last(TEXT_GRAMMAR_JSON_OBJECT, "");
    compiled_at_last(TEXT_GRAMMAR_GBNF,
                     "root ::= \"a\" [b-z]{2,3} x | %json{\"enum\":[1,2]}\nx ::= (\"q\" | y | .)*"
                     "\ny ::= \"r\"");
    compiled_at_last(
        TEXT_GRAMMAR_SCHEMA,
        "{\"$defs\":{\"n\":{\"anyOf\":[{\"type\":\"null\"},{\"$ref\":\"#/$defs/n\",\"type\":\"null\"}]}},"
        "\"type\":\"object\",\"properties\":{\"s\":{\"type\":\"string\",\"pattern\":\"^[a-z]+x?$\",\"maxLength\":9}"
        ","
        "\"i\":{\"type\":\"integer\",\"minimum\":3,\"maximum\":12345},\"f\":{\"type\":\"number\",\"minimum\":0.5},"
        "\"e\":{\"enum\":[\"a\",{\"b\":[1]},null]},\"d\":{\"format\":\"date\"},\"r\":{\"$ref\":\"#/$defs/n\"},"
        "\"l\":{\"items\":{\"oneOf\":[{\"const\":1},{\"const\":2}]},\"maxItems\":3},\"o\":{\"allOf\":[{"
        "\"properties\":"
        "{\"k\":{}}},{\"required\":[\"k\"]}]}},\"required\":[\"i\"],\"additionalProperties\":{\"type\":\"boolean\"}"
        "}");
    compiled_at_last(
        TEXT_GRAMMAR_SCHEMA,
        "{\"type\":\"object\",\"properties\":{\"s\":{\"pattern\":\"^(?!a)[a-c]{2}$\",\"not\":{\"const\":\"cc\"}},"
        "\"u\":{\"items\":{\"enum\":[1,2]},\"uniqueItems\":true},\"v\":{\"oneOf\":[{\"minimum\":3},{\"type\":\"number\"}]}},"
        "\"patternProperties\":{\"^x\":{\"enum\":[1,\"b\"],\"pattern\":\"b\"}},\"minProperties\":2,\"maxProperties\":3,"
        "\"if\":{\"required\":[\"s\"]},\"then\":{\"required\":[\"u\"]},\"dependentRequired\":{\"u\":[\"v\"]}}");
}

static void test_index(void **state) {
    (void)state;
    static const token_row words[] = {{"aa"},
                                      {"\xC4\xA0"
                                       "a"},
                                      {"<|end|>", 0, TEXT_CONTROL}};
    static const char *const merges[] = {"a a", "\xC4\xA0 a"};
    static letter_rows rows;
    test_alloc steady;
    err e = {0};
    test_alloc_init(&steady, 0);
    letters_init(&rows, words, 3);
    build b = build_of("gpt2", "default", rows.rows, rows.n, merges, 2);
    text_vocab *v = build_new(&b, &steady.alloc, &e);
    size_t fail_at = 1;
    for (; fail_at < FAILURES_MAX; fail_at++) {
        test_alloc m;
        test_alloc_init(&m, fail_at);
        e = (err){0};
        text_token_index *x = text_token_index_new(v, &m.alloc, &e);
        if (!x) assert_int_equal(e.code, ERR_MEMORY);
        text_token_index_free(x);
        assert_int_equal(m.outstanding_bytes, 0);
        if (x) break;
    }
    assert_true(fail_at > 4 && fail_at < FAILURES_MAX);
    text_vocab_free(v);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_new), cmocka_unit_test(test_index)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
