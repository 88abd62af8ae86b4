/* Streaming decode: whole characters only, whatever the tokens cut. */
#include "../test.h"

#include "base/rng.h"
#include "vocab_build.h"

static test_alloc memory;
static char byte_names[256][8];
static letter_rows rows;

static text_vocab *make(build b) {
    err e = {0};
    test_alloc_init(&memory, 0);
    text_vocab *v = build_new(&b, &memory.alloc, &e);
    if (!v) fail_msg("%s", e.message);
    return v;
}

static void done(text_vocab *v) {
    text_vocab_free(v);
    assert_int_equal(memory.outstanding_bytes, 0);
}

/* Pushes bytes one by one through byte tokens; joins what came out of each push with '|'. */
static void expect_pushes(const text_vocab *v, str bytes, const char *want) {
    char out[3 * TEXT_TOKEN_BYTES_MAX + 16], all[256];
    size_t len = 0;
    text_stream s;
    text_stream_init(&s, v, false, false);
    for (size_t i = 0; i <= bytes.len; i++) {
        size_t n = i < bytes.len ? text_stream_push(&s, 3 + (unsigned char)bytes.data[i], out) : text_stream_finish(&s, out);
        assert_true(s.n_held <= 3);
        memcpy(all + len, out, n);
        len += n;
        all[len++] = '|';
    }
    if (!str_is((str){all, len}, want)) fail_msg("got %.*s, should be %s", (int)len, all, want);
}

static void test_characters_stay_whole(void **state) {
    (void)state;
    bytes_init(&rows, byte_names, NULL, 0);
    text_vocab *v = make(build_of("llama", "", rows.rows, rows.n, NULL, 0));
#define FFFD "\xEF\xBF\xBD"
    expect_pushes(v, STR("a\xC3\xA9z"), "a||\xC3\xA9|z||");
    expect_pushes(v, STR("\xF0\x9F\x98\x81"), "|||\xF0\x9F\x98\x81||");
    expect_pushes(v, STR("\xF0\x9F"), "||" FFFD FFFD "|");
    expect_pushes(v, STR("\xE2\x82" "a"), "||" FFFD FFFD "a||");
    expect_pushes(v, STR("\xFF\x80"), FFFD "|" FFFD "||");
    expect_pushes(v, STR("\xC3\xC3\xA9"), "|" FFFD "|\xC3\xA9||");
    expect_pushes(v, STR("\xED\xA0\x80"), "|" FFFD FFFD "|" FFFD "||"); /* a surrogate is none */
    done(v);
}

static void test_spaces_and_special_tokens(void **state) {
    (void)state;
    const token_row more[] = {{"\xE2\x96\x81hi"}, {"\xE2\x96\x81\xE2\x96\x81"}, {"<|x|>", 0, TEXT_USER_DEFINED}, {"rare", 0, TEXT_UNUSED}};
    bytes_init(&rows, byte_names, more, 4);
    text_vocab *v = make(build_of("llama", "", rows.rows, rows.n, NULL, 0));
    const struct { bool show, strip; text_token ids[4]; const char *want; } cases[] = {
        {false, true, {1, 259, 259, 2}, "hi hi"}, {false, false, {1, 259, 259, 2}, " hi hi"},
        {true, true, {1, 259, 259, 2}, "<s> hi hi</s>"}, {false, true, {260, 259, 261, 259}, "  hi<|x|> hi"},
        {false, true, {0, 262, 259, -1}, "hi"}, {true, true, {0, 262, 259, 9999}, "<unk>rare hi"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char out[4096];
        size_t len = 0;
        text_stream s;
        text_stream_init(&s, v, cases[i].show, cases[i].strip);
        for (int k = 0; k < 4; k++) len += text_stream_push(&s, cases[i].ids[k], out + len);
        len += text_stream_finish(&s, out + len);
        if (!str_is((str){out, len}, cases[i].want)) fail_msg("case %zu: got \"%.*s\"", i, (int)len, out);
    }
    done(v);
}

static void test_longest_token(void **state) {
    (void)state;
    static char text[TEXT_TOKEN_BYTES_MAX + 1];
    memset(text, 0xFF, TEXT_TOKEN_BYTES_MAX); /* malformed in the vocabulary itself */
    const token_row more[] = {{text}};
    bytes_init(&rows, byte_names, more, 1);
    text_vocab *v = make(build_of("llama", "", rows.rows, rows.n, NULL, 0));
    char *out = malloc(3 * TEXT_TOKEN_BYTES_MAX + 16);
    text_stream s;
    text_stream_init(&s, v, false, false);
    assert_int_equal(text_stream_push(&s, 3 + 0xF0, out) + text_stream_push(&s, 3 + 0x9F, out) + text_stream_push(&s, 3 + 0x98, out), 0);
    assert_int_equal(text_stream_push(&s, 259, out), 3 * (3 + TEXT_TOKEN_BYTES_MAX));
    assert_true(utf8_valid((str){out, 3 * (3 + TEXT_TOKEN_BYTES_MAX)}));
    free(out);
    done(v);
}

/* Any tokens in any order: each push gives proper UTF-8. */
static void test_random_tokens_give_utf8(void **state) {
    (void)state;
    const token_row more[] = {{"\xC3\xB0\xC5\x81"}, {"\xC4\xA0x"}, {"\xE4\xB8\xAD"}}; /* half an emoji; no letter of a byte */
    letters_init(&rows, more, 3);
    text_vocab *v = make(build_of("gpt2", "gpt-2", rows.rows, rows.n, NULL, 0));
    rng r;
    rng_seed(&r, 3);
    text_stream s;
    text_stream_init(&s, v, false, false);
    char *out = malloc(3 * TEXT_TOKEN_BYTES_MAX + 16);
    for (int i = 0; i < 100000; i++) {
        size_t n = text_stream_push(&s, (text_token)(rng_next(&r) % rows.n), out);
        assert_true(utf8_valid((str){out, n}) && s.n_held <= 3);
    }
    free(out);
    done(v);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_characters_stay_whole),
        cmocka_unit_test(test_spaces_and_special_tokens),
        cmocka_unit_test(test_longest_token),
        cmocka_unit_test(test_random_tokens_give_utf8),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
