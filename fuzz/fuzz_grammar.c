// links: text
/* A grammar or a schema, whatever it says: compiled within bounds, or refused in words. What is compiled is walked:
 * tokens that the mask allows are accepted, all others are not, and where no token may come the text has an end. */
#include <stdlib.h>

#include "base/check.h"
#include "text/grammar/internal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { STEPS = 40, PROBES = 8, SOURCE_BYTES_MAX = 4096 };

static size_t outstanding_bytes;

static void *resize(void *ctx, void *ptr, size_t old_bytes, size_t new_bytes) {
    (void)ctx;
    outstanding_bytes += new_bytes - old_bytes;
    CHECK(outstanding_bytes < 256u << 20);
    if (new_bytes) return realloc(ptr, new_bytes);
    free(ptr);
    return NULL;
}

static const base_alloc heap = {resize, NULL};

/* Bytes, and a few tokens that are likely to matter. */
static const char *const words[] = {"\"",   "\":",      "\",\"", "{\"",  "\"}", "},",      "\\\"",
                                    "\xC3", "\xA9 ",    "true",  "null", "abc", "12",      "  ",
                                    "]]",   "<|tool|>", "e",     "ab",   "0.5", "\xF0\x9F"};
enum { FIRST_WORD = 259, N_TOKENS = FIRST_WORD + sizeof words / sizeof *words };

static bool token(void *ctx, uint32_t i, str *text, float *score, int *type) {
    static char name[8];
    static const char digits[] = "0123456789ABCDEF";
    (void)ctx;
    *score = 0;
    *type = i == 0 ? TEXT_UNKNOWN : i < 3 ? TEXT_CONTROL : i < FIRST_WORD ? TEXT_BYTE : TEXT_NORMAL;
    if (i >= FIRST_WORD) {
        *text = str_of(words[i - FIRST_WORD]);
        if (text->data[0] == '<') *type = TEXT_CONTROL;
    } else if (i < 3) {
        *text = str_of(i == 0 ? "<unk>" : i == 1 ? "<s>" : "</s>");
    } else {
        memcpy(name, "<0x00>", 7);
        name[3] = digits[(i - 3) >> 4];
        name[4] = digits[(i - 3) & 15];
        *text = (str){name, 6};
    }
    return true;
}

static text_vocab *vocab;
static text_grammar_machine *machine;

static void set_up(void) {
    err e = {0};
    text_vocab_spec spec = {.model = STR("llama"),
                            .pre = STR(""),
                            .n_tokens = N_TOKENS,
                            .token = token,
                            .bos = 1,
                            .eos = 2,
                            .eot = -1,
                            .unk = 0,
                            .sep = -1,
                            .pad = -1,
                            .cls = -1,
                            .mask = -1,
                            .add_bos = -1,
                            .add_eos = -1,
                            .add_space_prefix = -1};
    vocab = text_vocab_new(&spec, &heap, &e);
    CHECK(vocab);
    text_token_index *index = text_token_index_new(vocab, &heap, &e);
    CHECK(index);
    machine = text_grammar_machine_init(aligned_alloc(64, text_grammar_machine_bytes(index)), index);
}

static bool allowed(const uint64_t *mask, uint32_t t) { return mask[t / 64] >> (t % 64) & 1; }

static uint64_t next(uint64_t *state) { return *state = *state * 6364136223846793005u + 1442695040888963407u; }

static void walk(const text_grammar *g, uint64_t seed) {
    text_grammar_cursor c;
    text_grammar_verdict v = text_grammar_begin(machine, g, &c);
    for (int i = 0; i < STEPS && v == TEXT_GRAMMAR_OK; i++) {
        const uint64_t *mask;
        v = text_grammar_mask(machine, &c, &mask);
        CHECK(v != TEXT_GRAMMAR_REFUSED); /* every byte is a token: what is begun can be ended */
        if (v != TEXT_GRAMMAR_OK) return;
        CHECK(allowed(mask, 2) || !text_grammar_may_end(machine, &c));
        uint64_t copy[(N_TOKENS + 63) / 64];
        memcpy(copy, mask, sizeof copy);
        for (int probe = 0; probe < PROBES; probe++) {
            text_grammar_cursor there = c;
            uint32_t t = 3 + (uint32_t)(next(&seed) >> 33) % (N_TOKENS - 3);
            text_grammar_verdict said = text_grammar_accept(machine, &there, (text_token)t);
            if (said == TEXT_GRAMMAR_TOO_COMPLEX || !text_grammar_known(machine, &c)) return;
            CHECK((said == TEXT_GRAMMAR_OK) == allowed(copy, t));
        }
        uint32_t n = 0, nth;
        for (uint32_t t = 3; t < N_TOKENS; t++) n += allowed(copy, t);
        if (!n) return;
        nth = (uint32_t)(next(&seed) >> 33) % n;
        for (uint32_t t = 3; t < N_TOKENS; t++)
            if (allowed(copy, t) && !nth--) {
                v = text_grammar_accept(machine, &c, (text_token)t);
                CHECK(v != TEXT_GRAMMAR_REFUSED);
                break;
            }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (!vocab) set_up();
    if (size < 2 || size > SOURCE_BYTES_MAX) return 0;
    size_t before = outstanding_bytes;
    err e = {0};
    str source = {(const char *)data + 1, size - 1};
    text_grammar *g =
        text_grammar_new(data[0] & 1 ? TEXT_GRAMMAR_GBNF : TEXT_GRAMMAR_SCHEMA, source, vocab, &heap, &e);
    if (g)
        walk(g, str_hash(source));
    else
        CHECK(e.code == ERR_INVALID && e.message[0]);
    text_grammar_free(g);
    CHECK(outstanding_bytes == before);
    return 0;
}
