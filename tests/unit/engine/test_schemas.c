/* Random walks through the schemas of tests/golden/schemas.json, token by token of the built-in vocabulary: each
 * comes to an end, and is JSON. PLIMSOLL_SCHEMA_SAMPLES=FILE: writes them there, for tests/clients/schemas.mjs to
 * validate. */
#include "../test.h"

#include <stdio.h>

#include "base/json.h"
#include "base/rng.h"
#include "engine/internal.h"

enum { WALKS = 5, TOKENS_MOST = 6000, SCHEMAS_LEAST = 300 };

static mem_ledger ledger;
static engine *en;
static text_token_index *tokens;
static test_alloc memory;
static text_grammar_machine *machine;
static uint64_t *closing; /* tokens that end things */
static uint32_t n_cut;

static int up(void **state) {
    (void)state;
    engine_config c;
    err e = {0};
    engine_config_default(&c);
    mem_ledger_init(&ledger, UINT64_MAX);
    test_alloc_init(&memory, 0);
    assert_ok(en = engine_prepare_tokenizer(&c, &ledger, &e), e);
    assert_ok(tokens = text_token_index_new(en->vocab, &memory.alloc, &e), e);
    machine = aligned_alloc(64, text_grammar_machine_bytes(tokens));
    text_grammar_machine_init(machine, tokens);
    uint32_t n = text_vocab_size(en->vocab);
    closing = calloc((n + 63) / 64, 8);
    for (uint32_t t = 0; t < n; t++) {
        char text[TEXT_TOKEN_BYTES_MAX];
        size_t len = text_token_bytes(en->vocab, (text_token)t, false, text);
        bool closes = text_vocab_is_eog(en->vocab, (text_token)t);
        for (size_t i = 0; i < len; i++) closes |= strchr("\"]}", text[i]) && text[i];
        if (closes) closing[t / 64] |= UINT64_C(1) << (t % 64);
    }
    return 0;
}

static int down(void **state) {
    (void)state;
    text_token_index_free(tokens);
    free(machine);
    free(closing);
    assert_int_equal(memory.outstanding_bytes, 0);
    engine_free(en);
    return 0;
}

static bool ignore_event(void *ctx, const json_event *v, err *e) {
    (void)ctx, (void)v, (void)e;
    return true;
}

/* One of the allowed; of those that end something, when want_end and there are any. */
static text_token pick(const uint64_t *mask, rng *r, bool want_end) {
    uint32_t n_words = (text_vocab_size(en->vocab) + 63) / 64, n = 0, n_closing = 0;
    for (uint32_t w = 0; w < n_words; w++) {
        n += (uint32_t)__builtin_popcountll(mask[w]);
        n_closing += (uint32_t)__builtin_popcountll(mask[w] & closing[w]);
    }
    bool only_closing = want_end && n_closing;
    uint32_t nth = (uint32_t)(rng_next(r) % (only_closing ? n_closing : n));
    for (uint32_t w = 0; w < n_words; w++)
        for (uint64_t left = only_closing ? mask[w] & closing[w] : mask[w]; left; left &= left - 1)
            if (!nth--) return (text_token)(w * 64 + (uint32_t)__builtin_ctzll(left));
    return TEXT_NO_TOKEN;
}

static size_t walk(const char *name, bool endless, const text_grammar *g, rng *r, char *out, size_t size) {
    text_grammar_cursor c;
    size_t len = 0;
    assert_int_equal(text_grammar_begin(machine, g, &c), TEXT_GRAMMAR_OK);
    for (int i = 0; i < TOKENS_MOST; i++) {
        const uint64_t *mask;
        text_grammar_verdict v = text_grammar_mask(machine, &c, &mask);
        if (v != TEXT_GRAMMAR_OK) fail_msg("%s: stuck (%d) after %.*s", name, (int)v, (int)len, out);
        text_token t = pick(mask, r, rng_unit(r) < (i < 300 ? 0.4 : 0.9));
        if (text_vocab_is_eog(en->vocab, t)) return len;
        v = text_grammar_accept(machine, &c, t);
        if (v != TEXT_GRAMMAR_OK) fail_msg("%s: an allowed token is refused after %.*s", name, (int)len, out);
        len += text_token_bytes(en->vocab, t, false, out + len);
        assert_true(len + TEXT_TOKEN_BYTES_MAX < size);
    }
    if (!endless) fail_msg("%s: no end: %.200s", name, out);
    n_cut++;
    return 0;
}

static void check(const char *name, bool endless, str schema, rng *r, FILE *samples) {
    static char text[TOKENS_MOST * 64];
    test_alloc a;
    err e = {0};
    test_alloc_init(&a, 0);
    text_grammar *g = text_grammar_new(TEXT_GRAMMAR_SCHEMA, schema, en->vocab, &a.alloc, &e);
    if (!g) fail_msg("%s: %s", name, e.message);
    for (int i = 0; i < WALKS; i++) {
        size_t len = walk(name, endless, g, r, text, sizeof text);
        if (!len) continue;
        if (!json_parse(&a.alloc, (str){text, len}, ignore_event, NULL, &e))
            fail_msg("%s: %s: %.*s", name, e.message, (int)len, text);
        if (samples) fprintf(samples, "%s\t%.*s\n", name, (int)len, text);
    }
    text_grammar_free(g);
    assert_int_equal(a.outstanding_bytes, 0);
}

/* The file has one schema a line: {"name":"…",["endless":true,]"schema":…} */
static void every_schema_is_kept_to(void **state) {
    (void)state;
    const char *wanted = getenv("PLIMSOLL_SCHEMA_SAMPLES");
    FILE *in = fopen(TEST_DATA_DIR "/schemas.json", "r"), *samples = wanted ? fopen(wanted, "w") : NULL;
    static char line[1 << 18];
    uint32_t n = 0;
    rng r;
    rng_seed(&r, 6);
    assert_non_null(in);
    while (fgets(line, sizeof line, in)) {
        char *schema = strstr(line, ",\"schema\":");
        if (!schema) continue;
        size_t len = strlen(schema += 10);
        while (len && schema[len - 1] != '}') len--;
        bool endless = strstr(line, "\"endless\":true,\"schema\"") != NULL;
        *strstr(line + 9, "\",\"") = 0;
        check(line + 9, endless, (str){schema, len - 1}, &r, samples);
        n++;
    }
    assert_true(n >= SCHEMAS_LEAST && n_cut < 20);
    fclose(in);
    if (samples) fclose(samples);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_schema_is_kept_to)};
    return cmocka_run_group_tests(tests, up, down);
}
