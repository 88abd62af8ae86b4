/* Small vocabularies for tests: an array of tokens, and the loading of recorded facts. */
#ifndef TESTS_UNIT_TEXT_VOCAB_BUILD_H
#define TESTS_UNIT_TEXT_VOCAB_BUILD_H

#include <stdio.h>

#include "text/vocab/internal.h"

typedef struct token_row {
    const char *text;
    float score;
    int type; /* 0: normal */
} token_row;

typedef struct build {
    text_vocab_spec spec;
    const token_row *rows;
    const char *const *merges;
} build;

static bool build_token(void *ctx, uint32_t i, str *text, float *score, int *type) {
    const build *b = ctx;
    *text = str_of(b->rows[i].text);
    *score = b->rows[i].score;
    *type = b->rows[i].type ? b->rows[i].type : TEXT_NORMAL;
    return true;
}

static bool build_merge(void *ctx, uint32_t i, str *pair) {
    const build *b = ctx;
    *pair = str_of(b->merges[i]);
    return true;
}

#define BUILD_IDS                                                                                                  \
    .bos = TEXT_NO_TOKEN, .eos = TEXT_NO_TOKEN, .eot = TEXT_NO_TOKEN, .unk = TEXT_NO_TOKEN, .sep = TEXT_NO_TOKEN,  \
    .pad = TEXT_NO_TOKEN, .cls = TEXT_NO_TOKEN, .mask = TEXT_NO_TOKEN, .add_bos = -1, .add_eos = -1,               \
    .add_space_prefix = -1

static inline build build_of(const char *model, const char *pre, const token_row *rows, size_t n_rows,
                             const char *const *merges, size_t n_merges) {
    return (build){.rows = rows, .merges = merges,
                   .spec = {.model = str_of(model), .pre = str_of(pre), .n_tokens = (uint32_t)n_rows,
                            .n_merges = (uint32_t)n_merges, .token = build_token, .merge = build_merge, BUILD_IDS}};
}

static inline text_vocab *build_new(build *b, const base_alloc *alloc, err *e) {
    b->spec.ctx = b;
    return text_vocab_new(&b->spec, alloc, e);
}

/* The 256 single bytes of a byte-level vocabulary, then more rows. */
typedef struct letter_rows {
    token_row rows[512];
    char letters[256][4];
    size_t n;
} letter_rows;

static inline void letters_init(letter_rows *l, const token_row *more, size_t n_more) {
    for (int i = 0; i < 256; i++) {
        memset(l->letters[i], 0, 4);
        utf8_encode(bpe_letter((uint8_t)i), l->letters[i]);
        l->rows[i] = (token_row){l->letters[i], 0, 0};
    }
    for (size_t i = 0; i < n_more; i++) l->rows[256 + i] = more[i];
    l->n = 256 + n_more;
}

/* The 256 byte tokens of a SentencePiece vocabulary behind <unk> <s> </s>, then more rows. */
static inline void bytes_init(letter_rows *l, char names[256][8], const token_row *more, size_t n_more) {
    l->rows[0] = (token_row){"<unk>", 0, TEXT_UNKNOWN};
    l->rows[1] = (token_row){"<s>", 0, TEXT_CONTROL};
    l->rows[2] = (token_row){"</s>", 0, TEXT_CONTROL};
    for (int i = 0; i < 256; i++) {
        snprintf(names[i], 8, "<0x%02X>", (unsigned)i);
        l->rows[3 + i] = (token_row){names[i], 0, TEXT_BYTE};
    }
    for (size_t i = 0; i < n_more; i++) l->rows[259 + i] = more[i];
    l->n = 259 + n_more;
}

/* Decodes a whole sequence; out must be large enough. */
static inline size_t decode_all(const text_vocab *v, const text_token *tokens, size_t n, char *out) {
    text_stream s;
    text_stream_init(&s, v, true, true);
    size_t len = 0;
    for (size_t i = 0; i < n; i++) len += text_stream_push(&s, tokens[i], out + len);
    return len + text_stream_finish(&s, out + len);
}

#endif
