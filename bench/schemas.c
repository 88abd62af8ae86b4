/* What schemas compile to: schemas_bench [-w WALKS] [-o SAMPLES] [-s SEED] FILE…
 * A line a file: its name, accepted or why not, microseconds to compile, bytes. With -w random walks go through each
 * of them, and with -o what they wrote goes to a file (name TAB text), for a validator to judge. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/rng.h"
#include "engine/internal.h"

enum { TOKENS_MOST = 6000, TOKENS_FREE = 150 };

static const text_vocab *vocab;
static text_token_index *tokens;
static text_grammar_machine *machine;
static uint64_t *closing;
static rng random_numbers;

static void *resize(void *ctx, void *p, size_t old, size_t bytes) {
    (void)ctx, (void)old;
    if (bytes) return realloc(p, bytes);
    free(p);
    return NULL;
}

static const base_alloc heap = {.resize = resize};

static void prepare(void) {
    static mem_ledger ledger;
    engine_config c;
    err e = {0};
    engine_config_default(&c);
    mem_ledger_init(&ledger, UINT64_MAX);
    engine *en = engine_prepare_tokenizer(&c, &ledger, &e);
    if (en) vocab = en->vocab, tokens = text_token_index_new(vocab, &heap, &e);
    if (!en || !tokens) fprintf(stderr, "%s\n", e.message), exit(1);
    machine = aligned_alloc(64, text_grammar_machine_bytes(tokens));
    text_grammar_machine_init(machine, tokens);
    uint32_t n = text_vocab_size(vocab);
    closing = calloc((n + 63) / 64, 8);
    for (uint32_t t = 0; t < n; t++) {
        char text[TEXT_TOKEN_BYTES_MAX];
        size_t len = text_token_bytes(vocab, (text_token)t, false, text);
        bool closes = text_vocab_is_eog(vocab, (text_token)t);
        for (size_t i = 0; i < len; i++) closes |= text[i] && strchr("\"]}", text[i]);
        if (closes) closing[t / 64] |= UINT64_C(1) << (t % 64);
    }
}

static text_token pick(const uint64_t *mask, bool want_end) {
    uint32_t n_words = (text_vocab_size(vocab) + 63) / 64, n = 0, n_closing = 0;
    for (uint32_t w = 0; w < n_words; w++) {
        n += (uint32_t)__builtin_popcountll(mask[w]);
        n_closing += (uint32_t)__builtin_popcountll(mask[w] & closing[w]);
    }
    bool only_closing = want_end && n_closing;
    uint32_t nth = (uint32_t)(rng_next(&random_numbers) % (only_closing ? n_closing : n));
    for (uint32_t w = 0; w < n_words; w++)
        for (uint64_t left = only_closing ? mask[w] & closing[w] : mask[w]; left; left &= left - 1)
            if (!nth--) return (text_token)(w * 64 + (uint32_t)__builtin_ctzll(left));
    return TEXT_NO_TOKEN;
}

/* NULL: it ended. Otherwise what became of it. */
static const char *walk(const text_grammar *g, char *out, size_t *len, size_t size) {
    text_grammar_cursor c;
    *len = 0;
    if (text_grammar_begin(machine, g, &c) != TEXT_GRAMMAR_OK) return "does not begin";
    for (int i = 0; i < TOKENS_MOST && *len + TEXT_TOKEN_BYTES_MAX < size; i++) {
        const uint64_t *mask;
        text_grammar_verdict v = text_grammar_mask(machine, &c, &mask);
        if (v != TEXT_GRAMMAR_OK) return v == TEXT_GRAMMAR_REFUSED ? "STUCK" : "TOO COMPLEX";
        text_token t = pick(mask, rng_unit(&random_numbers) < (i < TOKENS_FREE ? 0.5 : 0.95));
        if (text_vocab_is_eog(vocab, t)) return NULL;
        if (text_grammar_accept(machine, &c, t) != TEXT_GRAMMAR_OK) return "DOES NOT ACCEPT ITS MASK";
        *len += text_token_bytes(vocab, t, false, out + *len);
    }
    return "no end";
}

static void walk_often(const char *name, const text_grammar *g, int walks, FILE *samples) {
    static char text[TOKENS_MOST * 64];
    for (int i = 0; i < walks; i++) {
        size_t len;
        uint64_t begun = clock_thread_ns();
        const char *wrong = walk(g, text, &len, sizeof text);
        uint64_t us = (clock_thread_ns() - begun) / 1000;
        if (wrong) printf("%s\twalk: %s after %llu us\n", name, wrong, (unsigned long long)us);
        else if (samples) fprintf(samples, "%s\t%.*s\n", name, (int)len, text);
    }
}

static void try_file(const char *name, int walks, FILE *samples) {
    static char source[1 << 22];
    FILE *f = fopen(name, "r");
    size_t n = f ? fread(source, 1, sizeof source, f) : 0;
    err e = {0};
    if (f) fclose(f);
    uint64_t begun = clock_thread_ns();
    text_grammar *g = text_grammar_new(TEXT_GRAMMAR_SCHEMA, (str){source, n}, vocab, &heap, &e);
    uint64_t us = (clock_thread_ns() - begun) / 1000;
    printf("%s\t%s\t%llu\t%zu\n", name, g ? "accepted" : e.message, (unsigned long long)us,
           g ? text_grammar_bytes(g) : 0);
    fflush(stdout);
    if (g) walk_often(name, g, walks, samples);
    text_grammar_free(g);
}

int main(int argc, char **argv) {
    int walks = 0, at = 1;
    FILE *samples = NULL;
    uint64_t seed = 1;
    for (; at + 1 < argc && argv[at][0] == '-'; at += 2) {
        if (argv[at][1] == 'w') walks = atoi(argv[at + 1]);
        if (argv[at][1] == 'o') samples = fopen(argv[at + 1], "a");
        if (argv[at][1] == 's') seed = (uint64_t)atoll(argv[at + 1]);
    }
    prepare();
    rng_seed(&random_numbers, seed);
    for (; at < argc; at++) try_file(argv[at], walks, samples);
    if (samples) fclose(samples);
    return 0;
}
