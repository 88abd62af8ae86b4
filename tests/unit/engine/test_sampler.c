/* The sampler: each step, and all together, against a plain definition of the distribution that they leave. */
#include "../test.h"

#include <math.h>

#include "engine/sampler.h"
#include "hand_engine.h"
#include "plat/kernel.h"

enum { MOST_VOCAB = 5000 };

static engine_sampling neutral(void) { /* draws from the model's own distribution */
    engine_sampling s;
    engine_sampling_default(&s);
    s.temperature = 1, s.top_k = 0, s.top_p = 1, s.min_p = 0;
    return s;
}

/* ---- the definition ---- */

typedef struct place {
    double key;
    uint32_t id;
} place;

static int by_key(const void *a, const void *b) { /* rising; ties by id */
    const place *x = a, *y = b;
    if (x->key != y->key) return x->key < y->key ? -1 : 1;
    return x->id < y->id ? -1 : 1;
}

typedef struct definition {
    uint32_t n;
    double logit[MOST_VOCAB], p[MOST_VOCAB]; /* −inf: out */
} definition;

static void softmax(definition *d, double temperature) {
    double most = -INFINITY, total = 0;
    for (uint32_t i = 0; i < d->n; i++) most = fmax(most, d->logit[i]);
    for (uint32_t i = 0; i < d->n; i++) total += d->p[i] = exp((d->logit[i] - most) / temperature);
    for (uint32_t i = 0; i < d->n; i++) d->p[i] /= total;
}

/* Keeps the first of the order (by key) until they hold share of the whole, at least one; or the first most. */
static void keep(definition *d, place *order, double share, uint32_t most) {
    double sum = 0;
    uint32_t kept = 0;
    qsort(order, d->n, sizeof *order, by_key);
    for (uint32_t i = 0; i < d->n; i++) {
        if (kept < most && (kept == 0 || sum < share)) {
            sum += d->p[order[i].id];
            kept++;
        } else {
            d->logit[order[i].id] = -INFINITY;
        }
    }
    softmax(d, 1);
}

static void define(definition *d, const engine_sampling *s, const float *logits, uint32_t n, const int32_t *tokens,
                   uint32_t n_tokens) {
    static place order[MOST_VOCAB];
    d->n = n;
    for (uint32_t i = 0; i < n; i++) d->logit[i] = isnan(logits[i]) ? -INFINITY : (double)logits[i];
    for (uint32_t i = 0; i < s->n_bias; i++) d->logit[s->bias[i].token] += (double)s->bias[i].bias;
    for (uint32_t i = 0; i < n; i++) {
        uint32_t count = 0;
        for (uint32_t t = 0; t < n_tokens; t++)
            count += t + (uint32_t)s->repeat_last_n >= n_tokens && tokens[t] == (int32_t)i;
        if (!count) continue;
        d->logit[i] =
            d->logit[i] > 0 ? d->logit[i] / (double)s->repeat_penalty : d->logit[i] * (double)s->repeat_penalty;
        d->logit[i] -= count * (double)s->frequency_penalty + (double)s->presence_penalty;
    }
    softmax(d, 1);
    for (uint32_t i = 0; i < n; i++) order[i] = (place){-d->logit[i], i};
    if (s->temperature == 0) keep(d, order, 0, 1);
    if (s->top_k > 0) keep(d, order, 2, (uint32_t)s->top_k);
    if (s->typical_p < 1) {
        double entropy = 0;
        for (uint32_t i = 0; i < n; i++) entropy -= d->p[i] > 0 ? d->p[i] * log(d->p[i]) : 0;
        for (uint32_t i = 0; i < n; i++) order[i] = (place){fabs(-log(d->p[i]) - entropy), i};
        keep(d, order, (double)s->typical_p, n);
    }
    if (s->top_p < 1) {
        for (uint32_t i = 0; i < n; i++) order[i] = (place){-d->logit[i], i};
        keep(d, order, (double)s->top_p, n);
    }
    double most = 0;
    for (uint32_t i = 0; i < n; i++) most = fmax(most, d->p[i]);
    for (uint32_t i = 0; i < n; i++)
        if (d->p[i] < (double)s->min_p * most) d->logit[i] = -INFINITY;
    softmax(d, s->temperature > 0 ? (double)s->temperature : 1);
}

/* ---- draws against it ---- */

static uint32_t seen[MOST_VOCAB];

static void draw_many(engine *en, const engine_sampling *s, const float *logits, const int32_t *tokens,
                      uint32_t n_tokens, uint32_t n_draws) {
    rng r;
    rng_seed(&r, s->seed);
    memset(seen, 0, sizeof seen);
    for (uint32_t i = 0; i < n_draws; i++) {
        engine_sample sample;
        engine_sample_next(en, s, &r, logits, NULL, tokens, n_tokens, &sample);
        assert_in_range(sample.token, 0, en->hparams.n_vocab - 1);
        seen[sample.token]++;
    }
}

static const char *show(const engine_sampling *s) {
    static char text[256];
    snprintf(text, sizeof text, "T %g k %d p %g min %g typical %g repeat %g/%d frequency %g presence %g",
             (double)s->temperature, s->top_k, (double)s->top_p, (double)s->min_p, (double)s->typical_p,
             (double)s->repeat_penalty, s->repeat_last_n, (double)s->frequency_penalty, (double)s->presence_penalty);
    return text;
}

/* Nothing outside the support, and frequencies that fit (Pearson's statistic, rare ones together; the bound is
 * six standard deviations and more above the mean, the seeds are fixed). */
static void assert_draws_fit(engine *en, const engine_sampling *s, const float *logits, const int32_t *tokens,
                             uint32_t n_tokens, uint32_t n_draws) {
    static definition d;
    define(&d, s, logits, en->hparams.n_vocab, tokens, n_tokens);
    draw_many(en, s, logits, tokens, n_tokens, n_draws);
    double statistic = 0, rare_expected = 0, rare_seen = 0;
    uint32_t bins = 0;
    for (uint32_t i = 0; i < d.n; i++) {
        double expected = d.p[i] * n_draws;
        if (seen[i] && d.p[i] == 0) fail_msg("token %u was drawn, which %s leaves out", i, show(s));
        if (expected < 8) {
            rare_expected += expected, rare_seen += seen[i];
        } else {
            statistic += (seen[i] - expected) * (seen[i] - expected) / expected;
            bins++;
        }
    }
    if (rare_expected >= 8)
        statistic += (rare_seen - rare_expected) * (rare_seen - rare_expected) / rare_expected, bins++;
    double bound = bins + 6 * sqrt(2.0 * bins) + 12;
    if (statistic > bound) fail_msg("%s: statistic %g over %u bins", show(s), statistic, bins);
}

static void random_logits(rng *r, float *logits, uint32_t n, double spread) {
    for (uint32_t i = 0; i < n; i++) logits[i] = (float)(spread * (rng_unit(r) + rng_unit(r) + rng_unit(r) - 1.5));
}

static float pick(rng *r, const float *from, size_t n) { return from[rng_next(r) % n]; }
#define PICK(r, ...) pick(r, (const float[]){__VA_ARGS__}, sizeof((const float[]){__VA_ARGS__}) / sizeof(float))

static const uint32_t sizes[] = {1, 2, 3, 5, 17, 31, 33, 64, 257, 1000, 5000};
enum { N_SIZES = sizeof sizes / sizeof *sizes };

static void one_step_at_a_time(void **state) {
    (void)state;
    static float logits[MOST_VOCAB];
    rng r;
    rng_seed(&r, 1);
    for (int i = 0; i < N_SIZES; i++) {
        engine *en = hand_engine(sizes[i]);
        uint32_t n_draws = sizes[i] < 100 ? 800 : sizes[i] < 2000 ? 200 : 50;
        static const float shares[] = {0, 0.001f, 0.1f, 0.5f, 0.9f, 0.999f};
        random_logits(&r, logits, sizes[i], 4);
        for (size_t p = 0; p < sizeof shares / sizeof *shares; p++) {
            engine_sampling s = neutral();
            s.seed = p;
            assert_draws_fit(en, &s, logits, NULL, 0, n_draws);
            s.top_p = shares[p];
            assert_draws_fit(en, &s, logits, NULL, 0, n_draws);
            s = neutral();
            s.min_p = shares[p];
            assert_draws_fit(en, &s, logits, NULL, 0, n_draws);
            s = neutral();
            s.typical_p = shares[p];
            assert_draws_fit(en, &s, logits, NULL, 0, n_draws);
            s = neutral();
            s.top_k = (int32_t)(1 + shares[p] * (float)sizes[i] * 1.2f); /* sometimes more than there are */
            assert_draws_fit(en, &s, logits, NULL, 0, n_draws);
            s = neutral();
            s.temperature = 0.01f + 10 * shares[p];
            assert_draws_fit(en, &s, logits, NULL, 0, n_draws);
        }
        hand_engine_free(en);
    }
}

static void all_steps_together(void **state) {
    (void)state;
    static float logits[MOST_VOCAB];
    static engine_sampling s;
    int32_t tokens[200];
    rng r;
    rng_seed(&r, 2);
    for (int round = 0; round < 250; round++) {
        uint32_t n = sizes[rng_next(&r) % (N_SIZES - 2)];
        engine *en = hand_engine(n);
        random_logits(&r, logits, n, 6);
        uint32_t n_tokens = (uint32_t)(rng_next(&r) % 200);
        for (uint32_t i = 0; i < n_tokens; i++) tokens[i] = (int32_t)(rng_next(&r) % n);
        s = neutral();
        s.temperature = PICK(&r, 0, 0.3f, 1, 2, 100);
        s.top_k = (int32_t)PICK(&r, 0, 0, 3, 40);
        s.top_p = PICK(&r, 1, 1, 0.95f, 0.3f);
        s.min_p = PICK(&r, 0, 0, 0.05f, 0.5f);
        s.typical_p = PICK(&r, 1, 1, 0.7f, 0.2f);
        s.repeat_penalty = PICK(&r, 1, 1.3f, 0.7f);
        s.frequency_penalty = PICK(&r, 0, 0.4f, -0.3f);
        s.presence_penalty = PICK(&r, 0, 1, -0.5f);
        s.repeat_last_n = (int32_t)PICK(&r, 0, 1, 20, 4096);
        s.seed = rng_next(&r);
        s.n_bias = (uint32_t)(rng_next(&r) % 4);
        for (uint32_t i = 0; i < s.n_bias; i++)
            s.bias[i] =
                (engine_bias){(int32_t)(rng_next(&r) % n), n > s.n_bias ? PICK(&r, 1.5f, -2, -100, -INFINITY) : 1.5f};
        assert_draws_fit(en, &s, logits, tokens, n_tokens, n > 500 ? 60 : 400);
        for (uint32_t i = 0; i < n; i++) assert_int_equal(en->token_counts[i], 0); /* as the next one expects it */
        hand_engine_free(en);
    }
}

/* Equal logits by the hundred: top-k keeps those of the lowest ids, and exactly so many. */
static void ties(void **state) {
    (void)state;
    static float logits[MOST_VOCAB];
    static definition d;
    rng r;
    rng_seed(&r, 3);
    static const uint32_t wanted[] = {1, 2, 7, 31, 33, 60};
    for (int kind = 0; kind < 4; kind++)
        for (size_t k = 0; k < sizeof wanted / sizeof *wanted; k++) {
            uint32_t n = kind == 0 ? 61 : 1500;
            engine *en = hand_engine(n);
            for (uint32_t i = 0; i < n; i++)
                logits[i] = kind < 2 ? 1 : kind == 2 ? (float)(rng_next(&r) % 4) : (float)(i % 7) * (i % 2 ? 1 : -1);
            engine_sampling s = neutral();
            s.top_k = (int32_t)wanted[k];
            s.temperature = 100; /* about even: each of them comes up */
            define(&d, &s, logits, n, NULL, 0);
            draw_many(en, &s, logits, NULL, 0, 30 * wanted[k]);
            for (uint32_t i = 0; i < n; i++) assert_int_equal(seen[i] > 0, d.p[i] > 0);
            s.temperature = 0;
            draw_many(en, &s, logits, NULL, 0, 1);
            uint32_t best = 0;
            for (uint32_t i = 1; i < n; i++) best = logits[i] > logits[best] ? i : best;
            assert_int_equal(seen[best], 1);
            hand_engine_free(en);
        }
}

/* Whatever order the logits come in: selecting the best of sorted, reversed, saw-toothed and constant rows. */
static void orders(void **state) {
    (void)state;
    static float logits[MOST_VOCAB];
    for (int kind = 0; kind < 5; kind++)
        for (uint32_t k = 1; k <= MOST_VOCAB; k = k * 5 + 1) {
            engine *en = hand_engine(MOST_VOCAB);
            for (uint32_t i = 0; i < MOST_VOCAB; i++)
                logits[i] = kind == 0   ? (float)i
                            : kind == 1 ? -(float)i
                            : kind == 2 ? (float)(i % 100)
                            : kind == 3 ? (float)(i < 2500 ? i : 5000 - i)
                                        : 0;
            for (uint32_t i = 0; i < MOST_VOCAB; i++) logits[i] *= 0.001f;
            engine_sampling s = neutral();
            s.top_k = (int32_t)k;
            assert_draws_fit(en, &s, logits, NULL, 0, 60);
            s.top_k = 0, s.top_p = (float)k / MOST_VOCAB;
            if (s.top_p < 1) assert_draws_fit(en, &s, logits, NULL, 0, 60);
            hand_engine_free(en);
        }
}

static int32_t once(engine *en, const engine_sampling *s, const float *logits) {
    rng r;
    rng_seed(&r, s->seed);
    engine_sample sample;
    engine_sample_next(en, s, &r, logits, NULL, NULL, 0, &sample);
    assert_in_range(sample.token, 0, en->hparams.n_vocab - 1);
    return sample.token;
}

static void extremes_are_greedy(void **state) {
    (void)state;
    engine *en = hand_engine(64);
    float logits[64];
    rng r;
    rng_seed(&r, 4);
    for (int round = 0; round < 50; round++) {
        random_logits(&r, logits, 64, 5);
        int32_t best = 0;
        for (int i = 1; i < 64; i++) best = logits[i] > logits[best] ? i : best;
        engine_sampling s = neutral();
        s.seed = (uint64_t)round;
        s.temperature = 0, assert_int_equal(once(en, &s, logits), best);
        s.temperature = 1e-30f, assert_int_equal(once(en, &s, logits), best);
        s.temperature = 1e-45f, assert_int_equal(once(en, &s, logits), best);
        s = neutral(), s.top_k = 1, assert_int_equal(once(en, &s, logits), best);
        s = neutral(), s.top_p = 0, assert_int_equal(once(en, &s, logits), best);
        s = neutral(), s.min_p = 1, assert_int_equal(once(en, &s, logits), best);
        s = neutral(), s.min_p = 1, s.typical_p = 0.9999f, s.temperature = 100, once(en, &s, logits);
        for (int i = 0; i < 64; i++) logits[i] *= 1e37f; /* differences beyond any exponent */
        s = neutral(), assert_int_equal(once(en, &s, logits), best);
        s.top_p = 0.5f, assert_int_equal(once(en, &s, logits), best);
    }
    hand_engine_free(en);
}

static void logits_that_are_no_numbers(void **state) {
    (void)state;
    engine *en = hand_engine(40);
    float logits[40];
    rng r;
    rng_seed(&r, 5);
    for (int round = 0; round < 2500; round++) {
        random_logits(&r, logits, 40, 5);
        for (int i = 0; i < 40; i++)
            if (rng_next(&r) % 3 == 0) logits[i] = PICK(&r, NAN, -INFINITY, NAN, -3e38f);
        logits[7] = 1;
        static engine_sampling s;
        s = neutral();
        s.seed = (uint64_t)round;
        s.temperature = PICK(&r, 0, 1, 100);
        s.top_k = (int32_t)PICK(&r, 0, 1, 5, 39);
        s.top_p = PICK(&r, 1, 0.9f), s.typical_p = PICK(&r, 1, 0.5f), s.min_p = PICK(&r, 0, 0.1f);
        s.logprobs = true, s.top_logprobs = 20;
        s.repeat_penalty = PICK(&r, 1, 2);
        int32_t token = once(en, &s, logits);
        assert_true(isfinite(logits[token]));
        logits[rng_next(&r) % 40] = INFINITY; /* what is infinitely likely is chosen */
        assert_true(logits[once(en, &s, logits)] == INFINITY);
    }
    for (int what = 0; what < 2; what++) { /* nothing to choose from: any token, but one */
        for (int i = 0; i < 40; i++) logits[i] = what ? NAN : -INFINITY;
        engine_sampling s = neutral();
        s.top_k = 5, s.top_p = 0.5f, s.typical_p = 0.5f, s.min_p = 0.5f;
        once(en, &s, logits);
    }
    hand_engine_free(en);
}

/* A ban holds whatever the model says. */
static void bans_hold(void **state) {
    (void)state;
    engine *en = hand_engine(4);
    engine_sampling s = neutral();
    s.n_bias = 1, s.bias[0] = (engine_bias){0, -INFINITY};
    assert_int_not_equal(once(en, &s, (const float[]){INFINITY, 1, 2, 3}), 0);
    s.temperature = 0;
    assert_int_equal(once(en, &s, (const float[]){INFINITY, 1, 2, 3}), 3);
    assert_int_equal(once(en, &s, (const float[]){1e30f, 1, 2, 3}), 3);
    hand_engine_free(en);
}

static void ends_are_banned_when_ignored(void **state) {
    (void)state;
    static const char *const words[] = {"a", "b"};
    test_alloc a;
    test_alloc_init(&a, 0);
    engine *en = hand_engine(HAND_WORDS + 2);
    en->vocab = hand_vocab(words, 2, &a.alloc);
    engine_mark_ends(en);
    static float logits[HAND_WORDS + 2];
    logits[HAND_EOS] = 50, logits[HAND_BOS] = 40, logits[HAND_WORDS] = 30;
    engine_sampling s = neutral();
    s.temperature = 0;
    assert_int_equal(once(en, &s, logits), HAND_EOS);
    s.ignore_end = true;
    assert_int_equal(once(en, &s, logits), HAND_WORDS);
    hand_engine_free(en);
    assert_int_equal(a.outstanding_bytes, 0);
}

static void the_same_seed_gives_the_same_tokens(void **state) {
    (void)state;
    engine *en = hand_engine(500);
    static float logits[500];
    rng r, a, b, c;
    rng_seed(&r, 6), rng_seed(&a, 77), rng_seed(&b, 77), rng_seed(&c, 78);
    engine_sampling s;
    engine_sampling_default(&s);
    int different = 0;
    for (int i = 0; i < 300; i++) {
        engine_sample x, y, z;
        random_logits(&r, logits, 500, 3);
        engine_sample_next(en, &s, &a, logits, NULL, NULL, 0, &x);
        engine_sample_next(en, &s, &c, logits, NULL, NULL, 0, &z);
        engine_sample_next(en, &s, &b, logits, NULL, NULL, 0, &y);
        assert_int_equal(x.token, y.token);
        different += x.token != z.token;
    }
    assert_true(different > 100);
    hand_engine_free(en);
}

/* Of the model's own distribution, whatever the steps do to it. */
static void logprobs(void **state) {
    (void)state;
    static float logits[MOST_VOCAB];
    rng r;
    rng_seed(&r, 7);
    for (int i = 0; i < N_SIZES; i++) {
        uint32_t n = sizes[i];
        engine *en = hand_engine(n);
        random_logits(&r, logits, n, 8);
        if (n > 3) logits[3] = logits[0]; /* a tie */
        double most = -INFINITY, total = 0;
        for (uint32_t t = 0; t < n; t++) most = fmax(most, (double)logits[t]);
        for (uint32_t t = 0; t < n; t++) total += exp((double)logits[t] - most);
        static engine_sampling s;
        engine_sampling_default(&s);
        s.logprobs = true, s.repeat_penalty = 1.5f, s.n_bias = 1, s.bias[0] = (engine_bias){0, 3};
        static const uint32_t wanted[] = {0, 1, 2, 5, 20};
        for (int k = 0; k < 5; k++) {
            engine_sample sample;
            rng draw;
            rng_seed(&draw, 1);
            s.top_logprobs = wanted[k];
            engine_sample_next(en, &s, &draw, logits, NULL, (const int32_t[]){0}, 1, &sample);
            assert_true(fabs((double)sample.logprob - ((double)logits[sample.token] - most - log(total))) < 1e-5);
            assert_int_equal(sample.n_top, wanted[k] < n ? wanted[k] : n);
            double sum = 0;
            for (uint32_t t = 0; t < sample.n_top; t++) {
                const engine_logprob *at = &sample.top[t];
                assert_true(fabs((double)at->logprob - ((double)logits[at->token] - most - log(total))) < 1e-5);
                sum += exp((double)at->logprob);
                if (t)
                    assert_true(at[-1].logprob > at->logprob ||
                                (at[-1].logprob == at->logprob && at[-1].token < at->token));
            }
            uint32_t better = 0; /* nothing left out is likelier than the last */
            for (uint32_t t = 0; sample.n_top && t < n; t++)
                better += logits[t] > logits[sample.top[sample.n_top - 1].token];
            assert_true(better < sample.n_top || sample.n_top == 0);
            if (sample.n_top == n) assert_true(fabs(sum - 1) < 1e-5);
            s.logprobs = false;
            engine_sample_next(en, &s, &draw, logits, NULL, NULL, 0, &sample);
            assert_int_equal(sample.n_top, 0);
            s.logprobs = true;
        }
        hand_engine_free(en);
    }
}

static void no_malloc(void **state) {
    (void)state;
    static float logits[MOST_VOCAB];
    if (!plat_malloc_is_counted()) skip();
    engine *en = hand_engine(MOST_VOCAB);
    rng r;
    rng_seed(&r, 8);
    random_logits(&r, logits, MOST_VOCAB, 3);
    static engine_sampling s;
    s = neutral();
    s.top_p = 0.9999f, s.typical_p = 0.9999f, s.min_p = 1e-6f, s.repeat_penalty = 1.1f, s.logprobs = true,
    s.top_logprobs = 20;
    uint64_t before = plat_malloc_calls();
    for (int i = 0; i < 20; i++) {
        engine_sample sample;
        s.top_k = i % 2 ? 4000 : 0;
        engine_sample_next(en, &s, &r, logits, NULL, (const int32_t[]){1, 2, 3}, 3, &sample);
    }
    assert_int_equal(plat_malloc_calls(), before);
    assert_int_equal(en->counters.step_mallocs, 0);
    hand_engine_free(en);
}

static void checks(void **state) {
    (void)state;
    engine *en = hand_engine(100);
    static engine_sampling s;
    err e = {0};
    engine_sampling_default(&s);
    assert_ok(engine_sampling_check(en, &s, &e), e);
#define REFUSES(set, name)                                                                                             \
    do {                                                                                                               \
        engine_sampling_default(&s);                                                                                   \
        set;                                                                                                           \
        assert_false(engine_sampling_check(en, &s, &e));                                                               \
        assert_int_equal(e.code, ERR_INVALID);                                                                         \
        if (!strstr(e.message, name)) fail_msg("%s", e.message);                                                       \
    } while (0)
    REFUSES(s.temperature = -0.1f, "temperature is -0.1");
    REFUSES(s.temperature = 101, "temperature");
    REFUSES(s.temperature = NAN, "temperature");
    REFUSES(s.top_k = -1, "top_k");
    REFUSES(s.top_p = 1.01f, "top_p");
    REFUSES(s.top_p = NAN, "top_p");
    REFUSES(s.min_p = -0.01f, "min_p");
    REFUSES(s.typical_p = 2, "typical_p");
    REFUSES(s.repeat_penalty = 0, "repeat_penalty");
    REFUSES(s.frequency_penalty = 2.1f, "frequency_penalty");
    REFUSES(s.presence_penalty = -INFINITY, "presence_penalty");
    REFUSES(s.repeat_last_n = 4097, "repeat_last_n");
    REFUSES(s.top_logprobs = 21, "top_logprobs");
    REFUSES((s.n_bias = 1, s.bias[0] = (engine_bias){100, 1}), "token 100; the vocabulary has 100");
    REFUSES((s.n_bias = 1, s.bias[0] = (engine_bias){-1, 1}), "token -1");
    REFUSES((s.n_bias = 2, s.bias[1] = (engine_bias){1, NAN}), "logit_bias of token 1");
    REFUSES((s.n_bias = 1, s.bias[0] = (engine_bias){1, INFINITY}), "logit_bias");
    engine_sampling_default(&s);
    s.n_bias = 1, s.bias[0] = (engine_bias){99, -INFINITY};
    assert_ok(engine_sampling_check(en, &s, &e), e);
    hand_engine_free(en);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_step_at_a_time),
        cmocka_unit_test(all_steps_together),
        cmocka_unit_test(ties),
        cmocka_unit_test(orders),
        cmocka_unit_test(extremes_are_greedy),
        cmocka_unit_test(logits_that_are_no_numbers),
        cmocka_unit_test(bans_hold),
        cmocka_unit_test(ends_are_banned_when_ignored),
        cmocka_unit_test(the_same_seed_gives_the_same_tokens),
        cmocka_unit_test(logprobs),
        cmocka_unit_test(no_malloc),
        cmocka_unit_test(checks),
    };
    return cmocka_run_group_tests_name("engine_sampler", tests, NULL, NULL);
}
