/* Words of byte-level BPE against recorded splits (tools/record_splits.py), and what hostile text does. */
#include "../test.h"

#include "facts.h"
#include "vocab_build.h"

enum { TEXTS_MAX = 128 };

static letter_rows letters;
static test_alloc memory;

static text_vocab *vocab_with(const char *pre) {
    err e = {0};
    letters_init(&letters, NULL, 0);
    build b = build_of("gpt2", pre, letters.rows, letters.n, NULL, 0);
    text_vocab *v = build_new(&b, &memory.alloc, &e);
    if (!v) fail_msg("%s: %s", pre, e.message);
    return v;
}

static void check_split(const text_vocab *v, text_scratch *scratch, const char *name, str text, char *lengths) {
    split s;
    err e = {0};
    str word;
    split_begin(&s, v, scratch, text, &e);
    size_t at = 0;
    while (split_next(&s, &word) == 1) {
        char *end;
        size_t want = strtoul(lengths, &end, 10);
        lengths = end;
        assert_ptr_equal(word.data, text.data + at);
        if (word.len != want) fail_msg("%s: \"%.*s\" cut at byte %zu after %zu, not %zu", name, STR_ARG(text), at, word.len, want);
        at += word.len;
    }
    assert_int_equal(at, text.len);
    assert_int_equal(*lengths, 0);
}

static void test_recorded_splits(void **state) {
    (void)state;
    test_alloc_init(&memory, 0);
    char *data = facts_read("pretokenize.facts");
    str texts[TEXTS_MAX];
    char current[32] = "";
    text_vocab *v = NULL;
    text_scratch *scratch = NULL;
    size_t families = 0, splits = 0;
    for (char *rest = data, *line; (line = strsep(&rest, "\n")) && *line;) {
        char *f[FACTS_FIELDS_MAX];
        facts_split(line, f);
        if (!strcmp(f[0], "text")) {
            assert_true(atoi(f[1]) < TEXTS_MAX);
            texts[atoi(f[1])] = (str){f[2], facts_unescape(f[2])};
            continue;
        }
        if (strcmp(current, f[1])) {
            text_scratch_free(scratch);
            text_vocab_free(v);
            v = vocab_with(strcpy(current, f[1]));
            scratch = text_scratch_new(v, &memory.alloc);
            families++;
        }
        check_split(v, scratch, f[1], texts[atoi(f[2])], f[3]);
        splits++;
    }
    assert_int_equal(families, 11);
    assert_int_equal(splits, 11 * 62);
    text_scratch_free(scratch);
    text_vocab_free(v);
    free(data);
    assert_int_equal(memory.outstanding_bytes, 0);
}

static void test_aliases(void **state) {
    (void)state;
    const char *const same[][2] = {
        {"", "default"}, {"llama3", "llama-bpe"}, {"stablelm2", "qwen2"}, {"starcoder", "smollm"}, {"minimax-m2", "gpt-4o"},
    };
    for (size_t i = 0; i < sizeof same / sizeof *same; i++) {
        assert_non_null(pretokenize_family(str_of(same[i][0])));
        assert_ptr_equal(pretokenize_family(str_of(same[i][0])), pretokenize_family(str_of(same[i][1])));
    }
    assert_null(pretokenize_family(STR("llama")));
    assert_null(pretokenize_family(STR("llama-bpe qwen2")));
    assert_null(pretokenize_family(STR("gpt-2 ")));
}

/* Proper text and bytes that are none never share a word; nothing is lost. */
static void test_malformed_bytes_are_words_of_their_own(void **state) {
    (void)state;
    test_alloc_init(&memory, 0);
    text_vocab *v = vocab_with("llama-bpe");
    text_scratch *scratch = text_scratch_new(v, &memory.alloc);
    char lengths[] = "3 2 1 2 1 4 1", none[] = "";
    check_split(v, scratch, "malformed", STR("abc\xFF\xC3" "d\xE2\x82\x28" " efg\xF0"), lengths);
    check_split(v, scratch, "empty", STR(""), none);
    text_scratch_free(scratch);
    text_vocab_free(v);
    assert_int_equal(memory.outstanding_bytes, 0);
}

/* A search that starts anew at each byte of a long run would need hours for these. */
static void test_long_runs(void **state) {
    (void)state;
    const char *const names[] = {"default", "gpt-2", "llama-bpe", "qwen2", "gpt-4o", "tekken", "falcon", "smollm",
                                 "deepseek-llm", "deepseek-coder", "deepseek-v3"};
    const char *const units[] = {"a", "A", " ", "\n", "\r", "\t", "1", "!", "'", "\xE5\xAD\x97", "\xCC\x81", "\xFF", "a ", " \n"};
    enum { BYTES = 200000 };
    test_alloc_init(&memory, 0);
    char *text = malloc(BYTES + 8);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        text_vocab *v = vocab_with(names[i]);
        text_scratch *scratch = text_scratch_new(v, &memory.alloc);
        for (size_t k = 0; k < sizeof units / sizeof *units; k++) {
            size_t len = 0, unit = strlen(units[k]);
            for (; len + unit <= BYTES; len += unit) memcpy(text + len, units[k], unit);
            memcpy(text + len, "\xE5\xAD\x97", 3); /* and something that ends the run */
            split s;
            err e = {0};
            str word;
            size_t at = 0;
            int more;
            split_begin(&s, v, scratch, (str){text, len + 3}, &e);
            while ((more = split_next(&s, &word)) == 1) at += word.len;
            if (more < 0) fail_msg("%s, run of \"%s\": %s", names[i], units[k], e.message);
            assert_int_equal(at, len + 3);
        }
        text_scratch_free(scratch);
        text_vocab_free(v);
    }
    free(text);
    assert_int_equal(memory.outstanding_bytes, 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_recorded_splits),
        cmocka_unit_test(test_aliases),
        cmocka_unit_test(test_malformed_bytes_are_words_of_their_own),
        cmocka_unit_test(test_long_runs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
