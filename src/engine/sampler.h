/* engine/sampler — from a row of logits to the next token.
 *
 * Owns the order of the steps: what is banned or biased → repeat, frequency and presence penalties → DRY → greedy when
 * the temperature is 0 → top-n-sigma → top-k → typical → top-p → min-p → XTC → temperature, perhaps by entropy → draw.
 * With mirostat all between DRY and the temperature is off: it cuts by itself. Each is off at its neutral value. The
 * state is a seeded generator and what mirostat remembers: the same seed, parameters and logits give the same tokens,
 * however they were drafted before. No allocation; scratch is the engine's.
 *
 * Penalties: Keskar et al. 2019 (arXiv 1909.05858) for repeat; OpenAI's definitions for frequency and
 * presence. Typical: Meister et al. 2022 (arXiv 2202.00666). min-p: Nguyen et al. 2024 (arXiv 2407.01082). Mirostat:
 * Basu et al. 2020 (arXiv 2007.14966). top-n-sigma: Tang et al. 2024 (arXiv 2411.07641). DRY and XTC: p-e-w's proposals
 * to text-generation-webui (5677, 6335). Temperature by entropy: Zhang et al. 2024 (arXiv 2403.14541).
 */
#ifndef ENGINE_SAMPLER_H
#define ENGINE_SAMPLER_H

#include "base/rng.h"
#include "engine/engine.h"
#include "engine/grammars.h"
#include "engine/thought.h"

enum {
    SAMPLER_BIAS_MAX = 300,
    SAMPLER_TOP_LOGPROBS_MAX = 20,
    SAMPLER_LAST_N_MAX = 4096,
    SAMPLER_IDS_MAX = 512,            /* of stop tokens, bad words and tokens that are allowed, together */
    SAMPLER_BREAKERS_MAX = 16,        /* of DRY */
    SAMPLER_BREAKER_BYTES = 32,
    SAMPLER_DRY_MATCH_MAX = 1024,     /* longer repetitions count as this long */
};

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
    float top_n_sigma;       /* logits so many standard deviations below the best; 0 and less: off */
    float xtc_probability, xtc_threshold; /* probability 0, or a threshold above 0.5: off */
    float dynatemp_range, dynatemp_exponent; /* range 0: off */
    uint32_t mirostat;       /* 0: off; 1, 2: its versions */
    float mirostat_tau, mirostat_eta;
    float dry_multiplier, dry_base; /* multiplier 0: off */
    uint32_t dry_allowed_length;
    int32_t dry_last_n;      /* tokens looked back at; -1: all, but no more than there are tokens in the vocabulary */
    uint32_t n_breakers;
    struct {
        uint8_t len;
        char text[SAMPLER_BREAKER_BYTES];
    } breakers[SAMPLER_BREAKERS_MAX]; /* texts that repetitions do not reach across */
    uint32_t min_tokens;     /* before so many no end, no stop token; with a grammar where it can go on */
    uint32_t n_stop_ids, n_bad_ids, n_allowed; /* of ids, in this order */
    int32_t ids[SAMPLER_IDS_MAX]; /* bad words: how many, and the tokens of each. Allowed: rising; none: all are */
    uint32_t top_logprobs;   /* of the model's own distribution, before any step above */
    bool logprobs;
    bool show_stop;          /* what has ended the text, a stop string or a stop token, is a part of it */
    bool show_special;       /* control tokens are text, whatever they are */
    engine_thinking thinking;
    bool ignore_end;         /* never stop at an end token: they are banned. With a grammar, that decides */
    engine_grammar *grammar; /* what the text must be; NULL: anything. The caller holds it */
    const char *grammar_name; /* of the field it came in, for errors; NULL: none. For ever */
} engine_sampling;

void engine_sampling_default(engine_sampling *s);
/* Ranges; ERR_INVALID naming the field. */
bool engine_sampling_check(const engine *en, const engine_sampling *s, err *e);

/* Where a text's draws are. */
typedef struct engine_sampler {
    rng random;
    float surprise; /* most that mirostat lets through, in bits */
    uint32_t n;     /* drawn so far */
} engine_sampler;

void engine_sampler_begin(engine_sampler *x, const engine_sampling *s);
bool engine_sampling_stops(const engine_sampling *s, int32_t token); /* one of its stop tokens */

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
void engine_sample_next(engine *en, const engine_sampling *s, engine_sampler *x, const float *logits,
                        const uint64_t *allowed, const int32_t *tokens, uint32_t n_tokens, engine_sample *out);
/* The same where the token is settled: nothing is drawn. */
void engine_sample_given(engine *en, const engine_sampling *s, engine_sampler *x, const float *logits, int32_t token,
                         engine_sample *out);

#endif
