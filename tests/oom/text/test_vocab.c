/* Every allocation of building a vocabulary and of encoding fails once: an error, nothing lost, no leak; what
 * stands afterwards still works. */
#include "../../unit/test.h"

#include "../../unit/text/vocab_build.h"

static char byte_names[256][8];
static letter_rows rows;

static build build_kind(int kind) {
    static const token_row spm[] = {{"\xE2\x96\x81", -1}, {"a", -2}, {"\xE2\x96\x81" "a", -3}, {"aa", -4}};
    static const token_row bpe[] = {{"aa"}, {"\xC4\xA0" "a"}, {"<|end|>", 0, TEXT_CONTROL}};
    static const char *const merges[] = {"a a", "\xC4\xA0 a"};
    static const token_row wpm[] = {{"[UNK]", 0, TEXT_CONTROL}, {"[CLS]", 0, TEXT_CONTROL}, {"[SEP]", 0, TEXT_CONTROL}, {"\xE2\x96\x81" "a"}, {"a"}};
    if (kind == 0) {
        bytes_init(&rows, byte_names, spm, 4);
        return build_of("llama", "", rows.rows, rows.n, NULL, 0);
    }
    if (kind == 1) return build_of("bert", "", wpm, 5, NULL, 0);
    static const char *const pres[] = {"llama-bpe", "default", "deepseek-llm"};
    letters_init(&rows, bpe, 3);
    return build_of("gpt2", pres[kind - 2], rows.rows, rows.n, merges, 2);
}

enum { KINDS = 5, TEXT_BYTES = 3000, FAILURES_MAX = 1000 };

static void test_new(void **state) {
    (void)state;
    for (int kind = 0; kind < KINDS; kind++) {
        build b = build_kind(kind);
        size_t fail_at = 1;
        for (; fail_at < FAILURES_MAX; fail_at++) {
            test_alloc m;
            test_alloc_init(&m, fail_at);
            err e = {0};
            text_vocab *v = build_new(&b, &m.alloc, &e);
            bool refused = m.calls >= fail_at;
            /* trimming the texts may be refused without harm */
            if (!v) assert_true(refused && e.code == ERR_MEMORY && e.message[0]);
            else assert_int_equal(text_vocab_bytes(v), m.outstanding_bytes);
            text_vocab_free(v);
            assert_int_equal(m.outstanding_bytes, 0);
            if (!refused) break;
        }
        assert_true(fail_at > 4 && fail_at < FAILURES_MAX);
    }
}

static void test_encode(void **state) {
    (void)state;
    static char text[TEXT_BYTES];
    static text_token want[2 * TEXT_BYTES], got[2 * TEXT_BYTES];
    for (size_t i = 0; i < TEXT_BYTES; i++) text[i] = "aaaaaaaaaaaaaaa \xC3\xA9 b"[i % 20];
    memset(text, 'a', TEXT_BYTES / 2); /* one long word: heap and symbols grow several times */
    for (int kind = 0; kind < KINDS; kind++) {
        build b = build_kind(kind);
        test_alloc steady;
        test_alloc_init(&steady, 0);
        err e = {0};
        text_vocab *v = build_new(&b, &steady.alloc, &e);
        size_t fail_at = 1, n_want = 0, n;
        text_scratch *s = text_scratch_new(v, &steady.alloc);
        assert_ok(text_encode(v, s, (str){text, TEXT_BYTES}, true, true, want, 2 * TEXT_BYTES, &n_want, &e), e);
        text_scratch_free(s);
        for (; fail_at < FAILURES_MAX; fail_at++) {
            test_alloc m;
            test_alloc_init(&m, fail_at);
            s = text_scratch_new(v, &m.alloc);
            if (!s) {
                assert_int_equal(m.outstanding_bytes, 0);
                continue;
            }
            bool ok = text_encode(v, s, (str){text, TEXT_BYTES}, true, true, got, 2 * TEXT_BYTES, &n, &e);
            bool refused = m.calls >= fail_at;
            assert_int_equal(ok, !refused);
            if (!ok) assert_int_equal(e.code, ERR_MEMORY);
            /* and once memory is there again, the same scratch gives what it should */
            assert_ok(text_encode(v, s, (str){text, TEXT_BYTES}, true, true, got, 2 * TEXT_BYTES, &n, &e), e);
            assert_int_equal(n, n_want);
            assert_memory_equal(got, want, n * sizeof *got);
            text_scratch_free(s);
            assert_int_equal(m.outstanding_bytes, 0);
            if (!refused) break;
        }
        assert_true(fail_at > (kind == 1 ? 1 : 5) && fail_at < FAILURES_MAX);
        text_vocab_free(v);
        assert_int_equal(steady.outstanding_bytes, 0);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_new), cmocka_unit_test(test_encode)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
