/* Encoding against a plain quadratic reference, round trips, special tokens, limits, hostile texts. */
#include "../test.h"

#include "base/rng.h"
#include "vocab_build.h"

#define COUNT(a) (sizeof(a) / sizeof *(a))
#define W "\xE2\x96\x81"
enum { IDS_MAX = 4096 };

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

static void done(text_vocab *v, text_scratch *s) {
    text_scratch_free(s);
    text_vocab_free(v);
    assert_int_equal(memory.outstanding_bytes, 0);
}

static void expect_list(const text_token *ids, size_t n, str text, const char *want) {
    char got[512] = "";
    size_t len = 0;
    for (size_t i = 0; i < n; i++) len += (size_t)snprintf(got + len, sizeof got - len, "%s%d", i ? " " : "", ids[i]);
    if (strcmp(got, want)) fail_msg("\"%.*s\" gives %s, should give %s", STR_ARG(text), got, want);
}

static void expect_ids(const text_vocab *v, text_scratch *s, str text, bool add, bool parse, const char *want) {
    text_token ids[64];
    size_t n;
    err e = {0};
    assert_ok(text_encode(v, s, text, add, parse, ids, COUNT(ids), &n, &e), e);
    expect_list(ids, n, text, want);
}

static void expect_quoted(const text_vocab *v, text_scratch *s, str text, const char *want) {
    text_token ids[64];
    size_t n;
    err e = {0};
    assert_ok(text_encode_quoted(v, s, text, false, ids, COUNT(ids), &n, &e), e);
    expect_list(ids, n, text, want);
}

/* The reference: pieces as strings, every step looks at every pair. Returns ids of a word. */
typedef struct reference_piece {
    size_t start, len;
} reference_piece;

static size_t reference_merge(const text_vocab *v, str word, const reference_piece *first, size_t n,
                              const char *const *merges, size_t n_merges, const float *scores, reference_piece *p) {
    memcpy(p, first, n * sizeof *p);
    for (;;) {
        size_t best = n;
        double best_rank = 0;
        for (size_t i = 0; i + 1 < n; i++) {
            str joined = {word.data + p[i].start, p[i].len + p[i + 1].len};
            double rank = -1;
            if (scores) {
                text_token t = text_vocab_find(v, joined);
                if (t != TEXT_NO_TOKEN && text_vocab_type(v, t) == TEXT_NORMAL) rank = 1000.0 - (double)scores[t];
            }
            for (size_t m = 0; !scores && m < n_merges && rank < 0; m++) {
                size_t left = (size_t)(strchr(merges[m], ' ') - merges[m]);
                if (left == p[i].len && !memcmp(merges[m], joined.data, left) &&
                    str_is((str){joined.data + left, joined.len - left}, merges[m] + left + 1)) rank = (double)m;
            }
            if (rank >= 0 && (best == n || rank < best_rank)) best = i, best_rank = rank;
        }
        if (best == n) return n;
        p[best].len += p[best + 1].len;
        memmove(p + best + 1, p + best + 2, (n - best - 2) * sizeof *p);
        n--;
    }
}

/* Random vocabularies over four letters, joined at random; random words. Scores take few values, so ties abound. */
static void test_merging_against_reference(void **state) {
    (void)state;
    rng r;
    rng_seed(&r, 11);
    for (int round = 0; round < 300; round++) {
        bool spm = round % 2;
        enum { EXTRA = 24 };
        static char texts[EXTRA][16], pairs[EXTRA][20];
        const char *merges[EXTRA];
        token_row extra[4 + EXTRA] = {{"a"}, {"b"}, {"c"}, {"d"}};
        size_t n_texts = 0;
        const char *known[4 + EXTRA] = {"a", "b", "c", "d"};
        for (int i = 0; i < EXTRA; i++) {
            const char *left = known[rng_next(&r) % (4 + n_texts)], *right = known[rng_next(&r) % (4 + n_texts)];
            bool fresh = strlen(left) + strlen(right) < sizeof texts[0];
            snprintf(texts[n_texts], sizeof texts[0], "%.7s%.7s", left, right);
            snprintf(pairs[n_texts], sizeof pairs[0], "%.7s %.7s", left, right);
            fresh = fresh && strlen(left) < 8 && strlen(right) < 8;
            for (size_t k = 0; k < 4 + n_texts; k++) fresh = fresh && strcmp(known[k], texts[n_texts]);
            if (!fresh) continue;
            known[4 + n_texts] = texts[n_texts];
            merges[n_texts] = pairs[n_texts];
            extra[4 + n_texts] = (token_row){texts[n_texts], (float)(rng_next(&r) % 5), 0};
            n_texts++;
        }
        static float scores[512];
        build b;
        if (spm) {
            bytes_init(&rows, byte_names, extra, 4 + n_texts);
            b = build_of("llama", "", rows.rows, rows.n, NULL, 0);
            b.spec.add_space_prefix = 0;
        } else {
            letters_init(&rows, extra + 4, n_texts);
            b = build_of("gpt2", "gpt-2", rows.rows, rows.n, merges, n_texts);
        }
        for (size_t i = 0; i < rows.n; i++) scores[i] = rows.rows[i].score;
        text_vocab *v = make(b);
        text_scratch *s = text_scratch_new(v, &memory.alloc);
        for (int k = 0; k < 20; k++) {
            char word[80];
            size_t len = 1 + rng_next(&r) % 79, n, n_want;
            reference_piece first[80], want[80];
            for (size_t i = 0; i < len; i++) {
                word[i] = (char)('a' + rng_next(&r) % (k % 2 ? 4 : 2));
                first[i] = (reference_piece){i, 1};
            }
            n_want = reference_merge(v, (str){word, len}, first, len, merges, n_texts, spm ? scores : NULL, want);
            text_token ids[80];
            err e = {0};
            assert_ok(text_encode(v, s, (str){word, len}, false, false, ids, 80, &n, &e), e);
            assert_int_equal(n, n_want);
            for (size_t i = 0; i < n; i++) {
                assert_int_equal(ids[i], text_vocab_find(v, (str){word + want[i].start, want[i].len}));
            }
        }
        done(v, s);
    }
}

static void test_spm_spaces_and_bytes(void **state) {
    (void)state;
    const token_row more[] = {{W, -1}, {"a", -2}, {W "a", -3}, {W W, -4}, {"<", -5}, {"s", -6}, {">", -7}, {"<s", -8},
                              {"<|x|>", 0, TEXT_USER_DEFINED}};
    bytes_init(&rows, byte_names, more, COUNT(more)); /* ▁ is 259 */
    text_vocab *v = make(build_of("llama", "", rows.rows, rows.n, NULL, 0));
    text_scratch *s = text_scratch_new(v, &memory.alloc);
    expect_ids(v, s, STR(""), false, false, "");
    expect_ids(v, s, STR(""), true, false, "1");
    expect_ids(v, s, STR("a"), true, false, "1 261");
    expect_ids(v, s, STR(" a"), false, false, "259 261"); /* ▁a scores higher than ▁▁ */
    expect_ids(v, s, STR("   "), false, false, "262 262");
    expect_ids(v, s, STR("\xC3\xA9"), false, false, "259 198 172"); /* é by its bytes */
    expect_ids(v, s, STR("\xC3"), false, false, "259 198");
    expect_ids(v, s, (str){"\0", 1}, false, false, "259 3");
    expect_ids(v, s, STR("<s>a"), false, true, "1 261");      /* the prefix comes behind a special token too */
    expect_ids(v, s, STR("<s>a"), false, false, "259 266 265 260"); /* never a control token by merging */
    expect_ids(v, s, STR("a<|x|>a"), false, false, "261 267 261");  /* user-defined ones always */
    done(v, s);

    build b = build_of("llama", "", rows.rows, rows.n, NULL, 0);
    b.spec.add_space_prefix = 0;
    b.spec.add_eos = 1;
    v = make(b);
    s = text_scratch_new(v, &memory.alloc);
    expect_ids(v, s, STR("a"), true, false, "1 260 2");
    done(v, s);
}

static void test_spm_without_byte_tokens(void **state) {
    (void)state;
    const token_row few[] = {{"<unk>", 0, TEXT_UNKNOWN}, {"a"}, {"\xE2\x96\x81"}};
    text_vocab *v = make(build_of("llama", "", few, 3, NULL, 0));
    text_scratch *s = text_scratch_new(v, &memory.alloc);
    expect_ids(v, s, STR("a\xC3\xA9" "a"), false, false, "2 1 0 1");
    done(v, s);
}

static void test_special_tokens(void **state) {
    (void)state;
    const token_row more[] = {{"<|a|>", 0, TEXT_CONTROL}, {"<|a|>b", 0, TEXT_CONTROL}, {"<|", 0, TEXT_USER_DEFINED},
                              {"<|a|>b!", 0, TEXT_USER_DEFINED}, {"<|eot_id|>", 0, TEXT_CONTROL}, {"dup", 0, TEXT_CONTROL},
                              {"dup", 0, TEXT_CONTROL}};
    letters_init(&rows, more, COUNT(more));
    text_vocab *v = make(build_of("gpt2", "gpt-2", rows.rows, rows.n, NULL, 0));
    text_scratch *s = text_scratch_new(v, &memory.alloc);
    expect_ids(v, s, STR("x<|a|>y"), false, true, "120 256 121");
    expect_ids(v, s, STR("<|a|>b<|a|>"), false, true, "257 256"); /* the longest wins */
    expect_ids(v, s, STR("<|a|>b!"), false, true, "259");
    expect_ids(v, s, STR("<|a|>b!"), false, false, "259");
    expect_ids(v, s, STR("<|a|>b"), false, false, "258 97 124 62 98"); /* control is text, user-defined is not */
    expect_ids(v, s, STR("<|a|"), false, true, "258 97 124");
    expect_ids(v, s, STR("dup"), false, true, "262");
    expect_ids(v, s, STR("<<|a|>"), false, true, "60 256");
    expect_ids(v, s, STR(TEXT_QUOTE "<|a|>"), false, true, "239 183 144 256"); /* it means nothing where none is asked for */
    expect_quoted(v, s, STR("x" TEXT_QUOTE "<|a|>y<|a|>"), "120 60 124 97 124 62 121 256");
    expect_quoted(v, s, STR(TEXT_QUOTE TEXT_QUOTE "<|a|>" TEXT_QUOTE), "60 124 97 124 62");
    expect_quoted(v, s, STR(TEXT_QUOTE), "");
    assert_int_equal(text_find_control(v, STR("x<|<|a|>"), 0), 3);
    assert_int_equal(text_find_control(v, STR("<|a|>dup"), 1), 5);
    assert_int_equal(text_find_control(v, STR("<|a|"), 0), 4);
    done(v, s);
}

static void test_whole_words(void **state) {
    (void)state;
    const token_row more[] = {{"ab"}, {"abc"}, {"<x", 0, TEXT_CONTROL}};
    const char *const merges[] = {"a b"};
    letters_init(&rows, more, COUNT(more));
    const char *const pres[] = {"llama-bpe", "dbrx"}; /* the same pattern; only the first ignores merges */
    for (int i = 0; i < 2; i++) {
        text_vocab *v = make(build_of("gpt2", pres[i], rows.rows, rows.n, merges, 1));
        text_scratch *s = text_scratch_new(v, &memory.alloc);
        expect_ids(v, s, STR("abc"), false, false, i ? "256 99" : "257");
        expect_ids(v, s, STR("abcabc"), false, false, "256 99 256 99");
        expect_ids(v, s, STR("<x"), false, false, "60 120"); /* a control token only when parsed */
        done(v, s);
    }
}

static void test_the_first_of_equal_merges_counts(void **state) {
    (void)state;
    const token_row more[] = {{"ab"}, {"bc"}};
    static const char *const orders[][4] = {{"a b", "b c", "a b", "a b"}, {"b c", "a b", "b c", "b c"}};
    letters_init(&rows, more, COUNT(more));
    for (int i = 0; i < 2; i++) {
        text_vocab *v = make(build_of("gpt2", "gpt-2", rows.rows, rows.n, orders[i], 4));
        text_scratch *s = text_scratch_new(v, &memory.alloc);
        expect_ids(v, s, STR("abc"), false, false, i ? "97 257" : "256 99");
        done(v, s);
    }
}

static void test_limits(void **state) {
    (void)state;
    const token_row bert[] = {{"[UNK]", 0, TEXT_CONTROL}, {"[CLS]", 0, TEXT_CONTROL}, {"[SEP]", 0, TEXT_CONTROL},
                              {"\xE2\x96\x81" "a"}, {"a"}};
    for (int kind = 0; kind < 3; kind++) {
        if (kind == 0) bytes_init(&rows, byte_names, NULL, 0);
        if (kind == 1) letters_init(&rows, NULL, 0);
        build b = kind == 0 ? build_of("llama", "", rows.rows, rows.n, NULL, 0)
                : kind == 1 ? build_of("gpt2", "gpt-2", rows.rows, rows.n, NULL, 0)
                            : build_of("bert", "", bert, 5, NULL, 0);
        text_vocab *v = make(b);
        text_scratch *s = text_scratch_new(v, &memory.alloc);
        char text[300];
        memset(text, 'a', sizeof text);
        for (size_t i = 0; i < sizeof text; i += 3) text[i] = ' ';
        size_t all, n;
        err e = {0};
        text_token *ids = malloc(sizeof *ids * 1000);
        assert_ok(text_encode(v, s, (str){text, sizeof text}, true, false, ids, 1000, &all, &e), e);
        free(ids);
        assert_true(all > 100);
        for (size_t max = 0; max < all + 2; max++) {
            ids = malloc(max * sizeof *ids + 1); /* exact, so that a sanitizer sees a write beyond */
            bool ok = text_encode(v, s, (str){text, sizeof text}, true, false, ids, max, &n, &e);
            assert_int_equal(ok, max >= all);
            if (ok) assert_int_equal(n, all);
            else assert_true(n >= max + 1 && e.code == ERR_TOO_LARGE);
            free(ids);
        }
        assert_false(text_encode(v, s, (str){text, (size_t)2 << 30}, false, false, NULL, 0, &n, &e)); /* looked at by length only */
        assert_int_equal(e.code, ERR_TOO_LARGE);
        done(v, s);
    }
}

/* Random characters of every length, or random bytes. */
static size_t random_text(rng *r, char *out, size_t max, bool bytes) {
    size_t n = 0, want = rng_next(r) % max;
    while (n + 4 < want) {
        if (bytes) {
            out[n++] = (char)rng_next(r);
            continue;
        }
        static const uint32_t limits[] = {0x80, 0x80, 0x80, 0x800, 0x3000, 0xA000, 0x110000};
        uint32_t cp = (uint32_t)(rng_next(r) % limits[rng_next(r) % COUNT(limits)]);
        if (rng_next(r) % 4 == 0) cp = ' ';
        if ((cp >= 0xD800 && cp < 0xE000) || cp == 0x2581) continue; /* ▁ reads as a space */
        n += (size_t)utf8_encode(cp, out + n);
    }
    return n;
}

static void round_trips(const text_vocab *v, bool byte_exact) {
    text_scratch *s = text_scratch_new(v, &memory.alloc);
    rng r;
    rng_seed(&r, 5);
    for (int round = 0; round < 2000; round++) {
        static char text[400], back[4 * IDS_MAX];
        static text_token ids[IDS_MAX];
        bool bytes = byte_exact && round % 2;
        size_t len = random_text(&r, text, sizeof text, bytes), n, got = 0;
        err e = {0};
        assert_ok(text_encode(v, s, (str){text, len}, false, false, ids, IDS_MAX, &n, &e), e);
        if (bytes) {
            for (size_t i = 0; i < n; i++) {
                char out[TEXT_TOKEN_BYTES_MAX];
                size_t one = text_token_bytes(v, ids[i], false, out);
                memcpy(back + got, out, one);
                got += one;
            }
        } else {
            got = decode_all(v, ids, n, back);
        }
        size_t prefix = bytes && text_vocab_kind(v) == TEXT_SPM && len; /* the space that encode puts in front */
        if (prefix) assert_int_equal(back[0], ' ');
        if (!str_eq((str){back + prefix, got - prefix}, (str){text, len})) fail_msg("round %d is not what it was", round);
    }
    text_scratch_free(s);
}

static void test_round_trips(void **state) {
    (void)state;
    const token_row spm[] = {{W, -1}, {"e", -2}, {W "e", -3}, {W W, -4}, {"\xC3\xA9", -5}, {"ee", -6}};
    bytes_init(&rows, byte_names, spm, COUNT(spm));
    text_vocab *v = make(build_of("llama", "", rows.rows, rows.n, NULL, 0));
    round_trips(v, false);
    done(v, NULL);

    const char *const names[] = {"default", "gpt-2", "llama-bpe", "qwen2", "gpt-4o", "tekken", "falcon", "smollm",
                                 "deepseek-llm", "deepseek-coder", "deepseek-v3"};
    const token_row more[] = {{"\xC4\xA0" "a"}, {"\xC3\x83\xC2\xA9"}, {"aa"}, {"\xC4\xA0\xC4\xA0"}};
    const char *const merges[] = {"\xC4\xA0 a", "\xC3\x83 \xC2\xA9", "a a", "\xC4\xA0 \xC4\xA0"};
    letters_init(&rows, more, COUNT(more));
    for (size_t i = 0; i < COUNT(names); i++) {
        v = make(build_of("gpt2", names[i], rows.rows, rows.n, merges, COUNT(merges)));
        round_trips(v, true);
        done(v, NULL);
    }
}

/* Steps are counted by what memory they need: scratch stays a small multiple of the text. */
static void test_hostile_texts(void **state) {
    (void)state;
    enum { BYTES = 1 << 20 };
    const char *const units[] = {"a", " ", "\0", "\xFF", "\xE2\x96\x81", "\xF0\x9F\x98\x81", "a ", "<|", "ab"};
    const token_row words[] = {{"aa", -1}, {"aaaa", -2}, {W W, -3}, {W, -4}, {"a", -5}, {"<|end|>", 0, TEXT_CONTROL}};
    const token_row letters[] = {{"aa"}, {"aaaa"}, {"\xC4\xA0\xC4\xA0"}, {"<|end|>", 0, TEXT_CONTROL}};
    const char *const merges[] = {"a a", "aa aa", "\xC4\xA0 \xC4\xA0"};
    char *text = malloc(BYTES);
    text_token *ids = malloc(sizeof *ids * (4 * BYTES));
    for (int kind = 0; kind < 3; kind++) {
        if (kind == 1) letters_init(&rows, letters, COUNT(letters));
        else bytes_init(&rows, byte_names, words, COUNT(words));
        build b = kind == 1 ? build_of("gpt2", "llama-bpe", rows.rows, rows.n, merges, COUNT(merges))
                            : build_of(kind ? "bert" : "llama", "", rows.rows, rows.n, NULL, 0);
        text_vocab *v = make(b);
        size_t before = memory.outstanding_bytes;
        text_scratch *s = text_scratch_new(v, &memory.alloc);
        for (size_t u = 0; u < COUNT(units); u++) {
            size_t unit = units[u][0] ? strlen(units[u]) : 1, n;
            for (size_t i = 0; i < BYTES; i++) text[i] = units[u][i % unit];
            err e = {0};
            assert_ok(text_encode(v, s, (str){text, BYTES}, true, true, ids, 4 * BYTES, &n, &e), e);
        }
        assert_true(memory.outstanding_bytes - before < (size_t)64 * BYTES);
        done(v, s);
    }
    free(ids);
    free(text);
}

static void test_wordpiece(void **state) {
    (void)state;
    const token_row bert[] = {{"[UNK]", 0, TEXT_CONTROL}, {"[CLS]", 0, TEXT_CONTROL}, {"[SEP]", 0, TEXT_CONTROL},
                              {W "un"}, {"able"}, {W "a"}, {"a"}, {W "!"}, {W "\xE4\xB8\xAD"}, {W "cafe"},
                              {W "\xE1\x84\x92"}, {"\xE1\x85\xA1"}, {"\xE1\x86\xAB"}};
    text_vocab *v = make(build_of("bert", "", bert, COUNT(bert), NULL, 0));
    text_scratch *s = text_scratch_new(v, &memory.alloc);
    expect_ids(v, s, STR("Unable a"), true, false, "1 3 4 5 2");
    expect_ids(v, s, STR("unable!!a"), false, false, "3 4 7 7 5");
    expect_ids(v, s, STR("CAF\xC3\x89 cafe\xCC\x81"), false, false, "9 9"); /* composed and not */
    expect_ids(v, s, STR("a\xE4\xB8\xAD" "a"), false, false, "5 8 5");
    expect_ids(v, s, STR("aab unx"), false, false, "0 0"); /* a word is spelled whole or unknown */
    expect_ids(v, s, STR("\xED\x95\x9C"), false, false, "10 11 12"); /* Hangul by its letters */
    expect_ids(v, s, STR("\t\r\n \xC2\xA0\xE3\x80\x80"), true, false, "1 2");
    expect_ids(v, s, STR("a\xE2\x80\x8D" "a\x01" "a \xFF"), false, false, "5 6 6"); /* joiners and controls vanish */
    expect_ids(v, s, STR("[SEP]a"), false, true, "2 5");
    char word[101];
    memset(word, 'a', sizeof word);
    text_token ids[128];
    size_t n;
    err e = {0};
    assert_ok(text_encode(v, s, (str){word, 100}, false, false, ids, 128, &n, &e), e);
    assert_int_equal(n, 100);
    expect_ids(v, s, (str){word, 101}, false, false, "0");
    done(v, s);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_merging_against_reference), cmocka_unit_test(test_spm_spaces_and_bytes),
        cmocka_unit_test(test_spm_without_byte_tokens),   cmocka_unit_test(test_special_tokens),
        cmocka_unit_test(test_whole_words),               cmocka_unit_test(test_limits),
        cmocka_unit_test(test_the_first_of_equal_merges_counts),
        cmocka_unit_test(test_round_trips),               cmocka_unit_test(test_hostile_texts),
        cmocka_unit_test(test_wordpiece),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
