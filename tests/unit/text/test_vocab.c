/* Tables: what is refused, duplicates, look-ups, special and end tokens. */
#include "../test.h"

#include <math.h>

#include "vocab_build.h"

#define COUNT(a) (sizeof(a) / sizeof *(a))

static void expect_refused(build b, err_code code, const char *part) {
    test_alloc m;
    test_alloc_init(&m, 0);
    err e = {0};
    assert_null(build_new(&b, &m.alloc, &e));
    assert_int_equal(e.code, code);
    if (!strstr(e.message, part)) fail_msg("\"%s\" does not say \"%s\"", e.message, part);
    assert_int_equal(m.outstanding_bytes, 0);
}

static void test_refusals(void **state) {
    (void)state;
    static char long_text[TEXT_TOKEN_BYTES_MAX + 2];
    memset(long_text, 'x', TEXT_TOKEN_BYTES_MAX + 1);
    const token_row ab[] = {{"a"}, {"b"}, {"ab"}}, too_long[] = {{"a"}, {long_text}}, bad_type[] = {{"a", 0, 7}};
    const token_row bad_byte[] = {{"<0xG0>", 0, TEXT_BYTE}}, no_number[] = {{"a"}, {"b", NAN}};
    const char *const unknown_part[] = {"a b", "b c"}, *const unknown_result[] = {"b a"}, *const no_space[] = {"ab"};

    expect_refused(build_of("rwkv", "", ab, 3, NULL, 0), ERR_UNSUPPORTED, "\"rwkv\"");
    expect_refused(build_of("gpt2", "no-such", ab, 3, NULL, 0), ERR_UNSUPPORTED, "\"no-such\"");
    expect_refused(build_of("llama", "", ab, 0, NULL, 0), ERR_FORMAT, "empty");
    expect_refused(build_of("llama", "", too_long, 2, NULL, 0), ERR_FORMAT, "token 1 has 1025 bytes");
    expect_refused(build_of("llama", "", bad_type, 1, NULL, 0), ERR_FORMAT, "type 7");
    expect_refused(build_of("llama", "", bad_byte, 1, NULL, 0), ERR_FORMAT, "<0xNN>");
    expect_refused(build_of("llama", "", no_number, 2, NULL, 0), ERR_FORMAT, "token 1 has a score");
    expect_refused(build_of("gpt2", "", ab, 3, unknown_part, 2), ERR_FORMAT, "merge 1");
    expect_refused(build_of("gpt2", "", ab, 3, unknown_result, 1), ERR_FORMAT, "merge 0");
    expect_refused(build_of("gpt2", "", ab, 3, no_space, 1), ERR_FORMAT, "space between");

    build b = build_of("llama", "", ab, 3, NULL, 0);
    b.spec.eot = 3;
    expect_refused(b, ERR_FORMAT, "eot token 3 is outside");
    b.spec.eot = -2;
    expect_refused(b, ERR_FORMAT, "eot token -2");
    b = build_of("llama", "", ab, 3, NULL, 0);
    b.spec.n_tokens = (1 << 24) + 1;
    expect_refused(b, ERR_FORMAT, "16777217 tokens");
}

static bool unreadable(void *ctx, uint32_t i, str *text, float *score, int *type) {
    (void)ctx, (void)score, (void)type;
    *text = STR("x");
    return i < 2;
}

static void test_unreadable_token(void **state) {
    (void)state;
    build b = build_of("bert", "", NULL, 3, NULL, 0);
    b.spec.token = unreadable;
    expect_refused(b, ERR_FORMAT, "token 2 cannot be read");
}

static text_vocab *make(test_alloc *m, build b) {
    err e = {0};
    test_alloc_init(m, 0);
    text_vocab *v = build_new(&b, &m->alloc, &e);
    if (!v) fail_msg("%s", e.message);
    return v;
}

static void done(test_alloc *m, text_vocab *v) {
    assert_int_equal(text_vocab_bytes(v), m->outstanding_bytes);
    text_vocab_free(v);
    assert_int_equal(m->outstanding_bytes, 0);
}

static void test_lookups(void **state) {
    (void)state;
    const token_row rows[] = {{"a"}, {"dup"}, {""}, {"dup", 0, TEXT_USER_DEFINED}, {"b", 0, 0}};
    test_alloc m;
    text_vocab *v = make(&m, build_of("llama", "", rows, COUNT(rows), NULL, 0));
    assert_int_equal(text_vocab_size(v), 5);
    assert_int_equal(text_vocab_kind(v), TEXT_SPM);
    assert_int_equal(text_vocab_find(v, STR("b")), 4);
    assert_int_equal(text_vocab_find(v, STR("dup")), 3); /* of equal texts the last */
    assert_int_equal(text_vocab_find(v, STR("")), TEXT_NO_TOKEN);
    assert_int_equal(text_vocab_find(v, STR("dupe")), TEXT_NO_TOKEN);
    assert_true(str_is(text_vocab_token(v, 1), "dup"));
    assert_int_equal(text_vocab_type(v, 3), TEXT_USER_DEFINED);
    const text_token outside[] = {-1, 5, INT32_MAX, INT32_MIN};
    for (size_t i = 0; i < COUNT(outside); i++) {
        char out[TEXT_TOKEN_BYTES_MAX];
        assert_int_equal(text_vocab_token(v, outside[i]).len, 0);
        assert_int_equal(text_vocab_type(v, outside[i]), TEXT_UNKNOWN);
        assert_int_equal(text_token_bytes(v, outside[i], true, out), 0);
        assert_false(text_vocab_is_eog(v, outside[i]));
    }
    done(&m, v);
}

static void test_many_tokens_are_found(void **state) {
    (void)state;
    enum { N = 20000 };
    static char texts[N][8];
    static token_row rows[N];
    for (int i = 0; i < N; i++) {
        snprintf(texts[i], sizeof texts[i], "t%d", i);
        rows[i].text = texts[i];
    }
    test_alloc m;
    text_vocab *v = make(&m, build_of("llama", "", rows, N, NULL, 0));
    for (int i = 0; i < N; i++) assert_int_equal(text_vocab_find(v, str_of(texts[i])), i);
    done(&m, v);
}

static void test_end_tokens(void **state) {
    (void)state;
    const token_row rows[] = {{"a"}, {"</s>", 0, TEXT_CONTROL}, {"<|im_end|>"}, {"<|end|>", 0, TEXT_CONTROL},
                              {"<|eot_id|>", 0, TEXT_CONTROL}, {"stop"}, {"<|im_start|>", 0, TEXT_CONTROL}};
    build b = build_of("llama", "", rows, COUNT(rows), NULL, 0);
    b.spec.eot = 5;
    test_alloc m;
    text_vocab *v = make(&m, b);
    const bool ends[] = {false, true, true, true, true, true, false};
    for (int i = 0; i < 7; i++) assert_int_equal(text_vocab_is_eog(v, i), ends[i]);
    assert_int_equal(text_vocab_eos(v), 1); /* found by its name */
    assert_int_equal(text_vocab_type(v, 2), TEXT_CONTROL); /* whatever the file said */
    done(&m, v);

    const token_row channels[] = {{"<|end|>", 0, TEXT_CONTROL}, {"<|return|>", 0, TEXT_CONTROL}, {"<|call|>", 0, TEXT_CONTROL}};
    v = make(&m, build_of("gpt2", "gpt-4o", channels, 3, NULL, 0));
    assert_false(text_vocab_is_eog(v, 0)); /* there it ends a channel, not the turn */
    assert_true(text_vocab_is_eog(v, 1) && text_vocab_is_eog(v, 2));
    done(&m, v);
}

static void test_start_tokens(void **state) {
    (void)state;
    const token_row rows[] = {{"<s>", 0, TEXT_CONTROL}, {"a"}, {"[CLS]", 0, TEXT_CONTROL}, {"[SEP]", 0, TEXT_CONTROL}};
    const struct { const char *model, *pre; int add_bos; text_token bos; bool adds; } cases[] = {
        {"llama", "", -1, TEXT_NO_TOKEN, true},       {"llama", "", 0, TEXT_NO_TOKEN, false},
        {"gpt2", "gpt-2", -1, 0, false},              {"gpt2", "gpt-2", 1, 0, true},
        {"gpt2", "llama-bpe", -1, 0, true},           {"gpt2", "llama-bpe", -1, TEXT_NO_TOKEN, false},
        {"bert", "", -1, TEXT_NO_TOKEN, true},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        build b = build_of(cases[i].model, cases[i].pre, rows, COUNT(rows), NULL, 0);
        b.spec.add_bos = cases[i].add_bos;
        b.spec.bos = cases[i].bos;
        test_alloc m;
        text_vocab *v = make(&m, b);
        assert_int_equal(text_vocab_adds_bos(v), cases[i].adds);
        done(&m, v);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_refusals),   cmocka_unit_test(test_unreadable_token),
        cmocka_unit_test(test_lookups),    cmocka_unit_test(test_many_tokens_are_found),
        cmocka_unit_test(test_end_tokens), cmocka_unit_test(test_start_tokens),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
