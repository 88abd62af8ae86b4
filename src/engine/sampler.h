/* engine/sampler — from a row of logits to the next token.
 *
 * Owns the order of the steps: logit bias → repeat, frequency and presence penalties → greedy when the
 * temperature is 0 → top-k → typical → top-p → min-p → temperature → draw. Each is off at its
 * neutral value. The state is a seeded generator: the same seed, parameters and logits give the same
 * tokens. No allocation; scratch is the engine's.
 *
 * Penalties: Keskar et al. 2019 (arXiv 1909.05858) for repeat; OpenAI's definitions for frequency and
 * presence. Typical: Meister et al. 2022 (arXiv 2202.00666). min-p: Nguyen et al. 2024 (arXiv 2407.01082).
 */
#ifndef ENGINE_SAMPLER_H
#define ENGINE_SAMPLER_H

#include "base/rng.h"
#include "engine/engine.h"
#include "engine/grammars.h"

enum { SAMPLER_BIAS_MAX = 300, SAMPLER_TOP_LOGPROBS_MAX = 20, SAMPLER_LAST_N_MAX = 4096 };

typedef struct engine_bias {
    int32_t token;
    float bias; /* −100 … 100; −infinity bans */
} engine_bias;

typedef struct engine_sampling {
    float temperature;       /* 0: greedy. 0 … 100 */
    int32_t top_k;           /* 0: off */
    float top_p, min_p, typical_p;
    float repeat_penalty;    /* 1: off */
    float frequency_penalty, presence_penalty; /* −2 … 2, 0: off */
    int32_t repeat_last_n;   /* tokens looked back at; 0: none */
    uint64_t seed;
    uint32_t n_bias;
    engine_bias bias[SAMPLER_BIAS_MAX];
    uint32_t top_logprobs;   /* of the model's own distribution, before any step above */
    bool logprobs;
    bool ignore_end;         /* never stop at an end token: they are banned. With a grammar, that decides */
    engine_grammar *grammar; /* what the text must be; NULL: anything. The caller holds it */
} engine_sampling;

void engine_sampling_default(engine_sampling *s);
/* Ranges; ERR_INVALID naming the field. */
bool engine_sampling_check(const engine *en, const engine_sampling *s, err *e);

typedef struct engine_logprob {
    int32_t token;
    float logprob;
} engine_logprob;

typedef struct engine_sample {
    int32_t token;
    float logprob; /* with logprobs */
    uint32_t n_top;
    engine_logprob top[SAMPLER_TOP_LOGPROBS_MAX]; /* descending */
} engine_sample;

/* tokens: all of the session so far, the newest last (for penalties). allowed: a bit for each token that may be chosen,
 * at least one; NULL: any. */
void engine_sample_next(engine *en, const engine_sampling *s, rng *r, const float *logits, const uint64_t *allowed,
                        const int32_t *tokens, uint32_t n_tokens, engine_sample *out);

#endif
