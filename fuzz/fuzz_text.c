// links: text
/* The input's head describes a small vocabulary (kind, pre-tokenizer, tokens, merges, special ids), the rest is
 * text. Whatever is accepted must encode any text, and decode what it encoded to proper UTF-8; byte-level
 * vocabularies with all bytes must give the text back. */
#include <stdio.h>
#include <stdlib.h>

#include "text/vocab/internal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { TOKENS_MAX = 64, MERGES_MAX = 32 };

static void *resize(void *ctx, void *ptr, size_t old_bytes, size_t new_bytes) {
    (void)ctx, (void)old_bytes;
    if (new_bytes) return realloc(ptr, new_bytes);
    free(ptr);
    return NULL;
}

typedef struct input {
    const uint8_t *at, *end;
} input;

static uint8_t take(input *in) { return in->at < in->end ? *in->at++ : 0; }
static str take_str(input *in, size_t max) {
    size_t n = take(in) % (max + 1), left = (size_t)(in->end - in->at);
    if (n > left) n = left;
    str s = {(const char *)in->at, n};
    in->at += n;
    return s;
}

typedef struct sketch {
    uint32_t n_base;
    char base[256][8];
    str token[TOKENS_MAX], merge[MERGES_MAX];
    uint8_t type[TOKENS_MAX], score[TOKENS_MAX];
    text_kind kind;
} sketch;

static bool on_token(void *ctx, uint32_t i, str *text, float *score, int *type) {
    sketch *k = ctx;
    if (i < k->n_base) {
        if (k->kind == TEXT_SPM) snprintf(k->base[i], 8, "<0x%02X>", i & 255u);
        else k->base[i][utf8_encode(bpe_letter((uint8_t)i), k->base[i])] = 0;
        *text = str_of(k->base[i]);
        *type = k->kind == TEXT_SPM ? TEXT_BYTE : TEXT_NORMAL;
        *score = 0;
        return true;
    }
    *text = k->token[i - k->n_base];
    *type = k->type[i - k->n_base];
    *score = -(float)k->score[i - k->n_base];
    return true;
}

static bool on_merge(void *ctx, uint32_t i, str *pair) { return *pair = ((sketch *)ctx)->merge[i], true; }

static text_token take_id(input *in) { return (text_token)take(in) - 1; }

static text_vocab *make(input *in, sketch *k, const base_alloc *alloc) {
    static const char *const models[] = {"llama", "gpt2", "bert"};
    static const char *const pres[] = {"", "gpt-2", "llama-bpe", "qwen2", "gpt-4o", "tekken", "falcon", "smollm",
                                       "deepseek-llm", "deepseek-coder", "deepseek-v3", "none"};
    uint8_t head = take(in);
    k->kind = (text_kind)(head % 3);
    k->n_base = head & 0x80 ? 0 : 256;
    uint32_t n = take(in) % TOKENS_MAX, n_merges = 0;
    for (uint32_t i = 0; i < n; i++) {
        uint8_t how = take(in);
        k->type[i] = how % 8 < 5 ? TEXT_NORMAL : (uint8_t)(how / 8 % 8);
        k->score[i] = take(in);
        k->token[i] = take_str(in, 12);
    }
    if (k->kind == TEXT_BPE) n_merges = take(in) % MERGES_MAX;
    for (uint32_t i = 0; i < n_merges; i++) k->merge[i] = take_str(in, 12);
    text_vocab_spec spec = {
        .model = str_of(models[k->kind]), .pre = str_of(pres[take(in) % (sizeof pres / sizeof *pres)]),
        .n_tokens = k->n_base + n, .token = on_token, .n_merges = n_merges, .merge = on_merge, .ctx = k,
        .bos = take_id(in), .eos = take_id(in), .eot = take_id(in), .unk = take_id(in), .sep = take_id(in),
        .pad = take_id(in), .cls = take_id(in), .mask = take_id(in), .add_bos = take(in) % 3 - 1,
        .add_eos = take(in) % 3 - 1, .add_space_prefix = take(in) % 3 - 1,
    };
    err e = {0};
    text_vocab *v = text_vocab_new(&spec, alloc, &e);
    if (!v && (e.code == ERR_NONE || !e.message[0])) abort();
    return v;
}

static void stream(const text_vocab *v, const text_token *tokens, size_t n, bool show) {
    static char out[3 * TEXT_TOKEN_BYTES_MAX + 16];
    text_stream s;
    text_stream_init(&s, v, show, true);
    for (size_t i = 0; i < n; i++) {
        if (!utf8_valid((str){out, text_stream_push(&s, tokens[i], out)}) || s.n_held > 3) abort();
    }
    if (!utf8_valid((str){out, text_stream_finish(&s, out)})) abort();
}

/* Byte-level tokens without user-defined ones spell the text exactly. */
static void compare(const text_vocab *v, const text_token *tokens, size_t n, str text) {
    char out[TEXT_TOKEN_BYTES_MAX];
    for (size_t i = 0; i < n; i++) {
        size_t bytes = text_token_bytes(v, tokens[i], false, out);
        if (!str_starts(text, (str){out, bytes})) abort();
        text = (str){text.data + bytes, text.len - bytes};
    }
    if (text.len) abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    const base_alloc alloc = {resize, NULL};
    static sketch k;
    input in = {data, data + size};
    text_vocab *v = make(&in, &k, &alloc);
    if (!v) return 0;
    bool exact = k.kind == TEXT_BPE && k.n_base == 256;
    for (uint32_t i = 0; i + k.n_base < text_vocab_size(v); i++) exact &= k.type[i] == TEXT_NORMAL;
    for (uint32_t i = 0; i < text_vocab_size(v); i++) exact &= text_vocab_type(v, (text_token)i) == TEXT_NORMAL;
    uint8_t flags = take(&in);
    str text = {(const char *)in.at, (size_t)(in.end - in.at)};
    text_scratch *s = text_scratch_new(v, &alloc);
    size_t max = flags & 4 ? text.len / 2 : 4 * text.len + 8, n = 0;
    text_token *tokens = malloc(max * sizeof *tokens + 1);
    err e = {0};
    bool ok = text_encode(v, s, text, flags & 1, flags & 2, tokens, max, &n, &e);
    if (!ok && (e.code != ERR_TOO_LARGE || n <= max)) abort();
    if (ok) {
        for (size_t i = 0; i < n; i++) {
            if (tokens[i] < 0 || (uint32_t)tokens[i] >= text_vocab_size(v)) abort();
        }
        stream(v, tokens, n, flags & 8);
        if (exact && !(flags & 1)) compare(v, tokens, n, text);
    }
    free(tokens);
    text_scratch_free(s);
    text_vocab_free(v);
    return 0;
}
