/* An engine without a model: only what the sampler and a generation touch, so that a test can put in any logits. */
#ifndef TESTS_UNIT_ENGINE_HAND_ENGINE_H
#define TESTS_UNIT_ENGINE_HAND_ENGINE_H

#include <stdio.h>

#include "engine/generation.h"
#include "engine/internal.h"

static inline engine *hand_engine(uint32_t n_vocab) {
    engine *en = calloc(1, sizeof *en);
    en->desc.n_vocab = n_vocab;
    en->candidates = calloc(n_vocab, sizeof *en->candidates);
    en->adjusted = calloc(n_vocab, sizeof *en->adjusted);
    en->token_counts = calloc(n_vocab, sizeof *en->token_counts);
    en->ends = calloc((n_vocab + 63) / 64, sizeof *en->ends);
    return en;
}

static inline void hand_engine_free(engine *en) {
    if (en->vocab) text_vocab_free(en->vocab);
    free(en->candidates), free(en->adjusted), free(en->token_counts), free(en->ends), free(en);
}

/* A SentencePiece vocabulary: <unk> <s> </s>, the 256 bytes, then words. */
enum { HAND_BOS = 1, HAND_EOS = 2, HAND_BYTES = 3, HAND_WORDS = 259 };

typedef struct hand_words {
    const char *const *words;
    char text[8];
} hand_words;

static bool hand_token(void *ctx, uint32_t i, str *text, float *score, int *type) {
    hand_words *w = ctx;
    static const char *const first[] = {"<unk>", "<s>", "</s>"};
    *score = i < HAND_WORDS ? 0 : -(float)i;
    *type = i == 0 ? TEXT_UNKNOWN : i < HAND_BYTES ? TEXT_CONTROL : i < HAND_WORDS ? TEXT_BYTE : TEXT_NORMAL;
    if (i < HAND_BYTES)
        *text = str_of(first[i]);
    else if (i < HAND_WORDS)
        snprintf(w->text, sizeof w->text, "<0x%02X>", i - HAND_BYTES), *text = str_of(w->text);
    else
        *text = str_of(w->words[i - HAND_WORDS]);
    return true;
}

static inline text_vocab *hand_vocab(const char *const *words, uint32_t n_words, const base_alloc *alloc) {
    hand_words w = {.words = words};
    err e = {0};
    text_vocab_spec spec = {.model = STR("llama"),
                            .pre = STR(""),
                            .n_tokens = HAND_WORDS + n_words,
                            .token = hand_token,
                            .ctx = &w,
                            .bos = HAND_BOS,
                            .eos = HAND_EOS,
                            .eot = TEXT_NO_TOKEN,
                            .unk = 0,
                            .sep = TEXT_NO_TOKEN,
                            .pad = TEXT_NO_TOKEN,
                            .cls = TEXT_NO_TOKEN,
                            .mask = TEXT_NO_TOKEN,
                            .add_bos = -1,
                            .add_eos = -1,
                            .add_space_prefix = -1};
    text_vocab *v = text_vocab_new(&spec, alloc, &e);
    if (!v) fail_msg("%s", e.message);
    return v;
}

#endif
