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

/* The longest end of tokens that is also before an earlier `id`. */
static uint32_t repeats(const int32_t *tokens, uint32_t n, uint32_t window, int32_t id) {
    uint32_t longest = 0, first = n - window;
    for (uint32_t at = first + 1; at < n; at++) {
        uint32_t len = 0;
        if (tokens[at] != id) continue;
        while (at - len > first && tokens[at - 1 - len] == tokens[n - 1 - len]) len++;
        if (len > longest) longest = len;
    }
    return longest;
}

static void define_dry(definition *d, const engine_sampling *s, const int32_t *tokens, uint32_t n_tokens) {
    uint32_t window = s->dry_last_n >= 0 && (uint32_t)s->dry_last_n < n_tokens ? (uint32_t)s->dry_last_n : n_tokens;
    if (window > d->n) window = d->n;
    if (s->dry_multiplier <= 0 || window < 2) return;
    for (uint32_t i = 0; i < d->n; i++) {
        uint32_t len = repeats(tokens, n_tokens, window, (int32_t)i);
        if (len && len >= s->dry_allowed_length)
            d->logit[i] -= (double)s->dry_multiplier * pow((double)s->dry_base, len - s->dry_allowed_length);
    }
}

static void define_bans(definition *d, const engine_sampling *s, const int32_t *tokens, uint32_t n_tokens) {
    const int32_t *bad = s->ids + s->n_stop_ids, *allowed = bad + s->n_bad_ids;
    for (const int32_t *at = bad; at < allowed; at += *at + 1) /* as if nothing of tokens was drawn: n of the state is 0 */
        if (*at == 1) d->logit[at[1]] = -INFINITY;
    for (uint32_t i = 0; s->n_allowed && i < d->n; i++) {
        bool is = false;
        for (uint32_t k = 0; k < s->n_allowed; k++) is |= allowed[k] == (int32_t)i;
        if (!is) d->logit[i] = -INFINITY;
    }
    (void)tokens, (void)n_tokens;
}

static void define_sigma(definition *d, const engine_sampling *s) {
    double sum = 0, squares = 0, most = -INFINITY, n = 0;
    if (s->top_n_sigma <= 0) return;
    for (uint32_t i = 0; i < d->n; i++)
        if (isfinite(d->logit[i])) sum += d->logit[i], n++, most = fmax(most, d->logit[i]);
    for (uint32_t i = 0; i < d->n; i++)
        if (isfinite(d->logit[i])) squares += pow(d->logit[i] - sum / n, 2);
    for (uint32_t i = 0; i < d->n; i++)
        if (d->logit[i] < most - (double)s->top_n_sigma * sqrt(squares / n)) d->logit[i] = -INFINITY;
}

static void define_xtc(definition *d, const engine_sampling *s) {
    uint32_t n = 0, last = 0, kept = 0;
    if (s->xtc_probability < 1 || s->xtc_threshold > 0.5f) return;
    softmax(d, 1);
    for (uint32_t i = 0; i < d->n; i++) {
        kept += d->p[i] > 0;
        if (d->p[i] < (double)s->xtc_threshold) continue;
        if (!n++ || d->p[i] < d->p[last] || (d->p[i] == d->p[last] && i > last)) last = i;
    }
    for (uint32_t i = 0; kept > 1 && n > 1 && i < d->n; i++)
        if (d->p[i] >= (double)s->xtc_threshold && i != last) d->logit[i] = -INFINITY;
}

static double define_temperature(definition *d, const engine_sampling *s) {
    double entropy = 0, n = 0, t = (double)s->temperature, range = (double)s->dynatemp_range;
    if (t <= 0 || s->top_k == 1) return 1;
    softmax(d, 1);
    for (uint32_t i = 0; i < d->n; i++)
        if (d->logit[i] > -INFINITY) n++, entropy -= d->p[i] > 0 ? d->p[i] * log(d->p[i]) : 0;
    if (range <= 0 || n < 2) return t;
    double low = fmax(0, t - range);
    return fmax(1e-6, low + (t + range - low) * pow(entropy / log(n), (double)s->dynatemp_exponent));
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
    define_dry(d, s, tokens, n_tokens);
    define_bans(d, s, tokens, n_tokens);
    if (s->temperature > 0 && s->top_k != 1) define_sigma(d, s);
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
    if (s->temperature > 0 && s->top_k != 1) define_xtc(d, s);
    softmax(d, define_temperature(d, s));
}

/* ---- draws against it ---- */

static uint32_t seen[MOST_VOCAB];

static void draw_many(engine *en, const engine_sampling *s, const float *logits, const int32_t *tokens,
                      uint32_t n_tokens, uint32_t n_draws) {
    engine_sampler r;
    engine_sampler_begin(&r, s);
    memset(seen, 0, sizeof seen);
    for (uint32_t i = 0; i < n_draws; i++) {
        engine_sample sample;
        engine_sample_next(en, s, &r, logits, NULL, tokens, n_tokens, &sample);
        assert_in_range(sample.token, 0, en->desc.n_vocab - 1);
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
    define(&d, s, logits, en->desc.n_vocab, tokens, n_tokens);
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

/* Some of the steps that other servers have, too, in half of the rounds. */
static void add_others(rng *r, engine_sampling *s, uint32_t n, int round) {
    if (round % 2) return;
    s->top_n_sigma = PICK(r, 0, -1, 0.5f, 1, 2);
    s->xtc_probability = PICK(r, 0, 1);
    s->xtc_threshold = PICK(r, 0.02f, 0.1f, 0.5f, 0.6f);
    s->dynatemp_range = PICK(r, 0, 0.2f, 1.5f);
    s->dynatemp_exponent = PICK(r, 1, 0.5f, 3);
    s->dry_multiplier = PICK(r, 0, 0.8f, 3);
    s->dry_base = PICK(r, 1, 1.75f);
    s->dry_allowed_length = (uint32_t)PICK(r, 0, 1, 2, 3);
    s->dry_last_n = (int32_t)PICK(r, -1, 0, 1, 30, 5000);
    if (n < 10) return;
    if (rng_next(r) % 4 == 0) s->ids[0] = 1, s->ids[1] = (int32_t)(rng_next(r) % n), s->n_bad_ids = 2;
    for (uint32_t i = 0; rng_next(r) % 4 == 0 && i < n; i += 1 + (uint32_t)(rng_next(r) % 3))
        if (s->n_allowed < 100) s->ids[s->n_bad_ids + s->n_allowed++] = (int32_t)i;
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
        add_others(&r, &s, n, round);
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
    engine_sampler r;
    engine_sampler_begin(&r, s);
    engine_sample sample;
    engine_sample_next(en, s, &r, logits, NULL, NULL, 0, &sample);
    assert_in_range(sample.token, 0, en->desc.n_vocab - 1);
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

/* Two words, and the tokens that control. */
static engine *engine_with_ends(test_alloc *a) {
    static const char *const words[] = {"a", "b"};
    test_alloc_init(a, 0);
    engine *en = hand_engine(HAND_WORDS + 2);
    en->vocab = hand_vocab(words, 2, &a->alloc);
    engine_mark_eog(en);
    return en;
}

static void ends_are_banned_when_ignored(void **state) {
    (void)state;
    test_alloc a;
    engine *en = engine_with_ends(&a);
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
    rng r;
    engine_sampler a, b, c;
    engine_sampling s;
    engine_sampling_default(&s);
    s.seed = 78;
    rng_seed(&r, 6), engine_sampler_begin(&c, &s);
    s.seed = 77;
    engine_sampler_begin(&a, &s), engine_sampler_begin(&b, &s);
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

/* Where all tokens are alike, only the seed decides: by each way of drawing. */
static void a_flat_distribution_is_the_seeds(void **state) {
    (void)state;
    enum { N = 64, DRAWS = 200 };
    engine *en = hand_engine(N);
    static const float logits[N];
    engine_sampling ways[5];
    for (int i = 0; i < 5; i++) ways[i] = neutral();
    ways[1].temperature = 1e-3f;
    ways[2].top_k = 40, ways[2].top_p = 0.9f;
    ways[3].mirostat = 2, ways[3].mirostat_tau = 5, ways[3].mirostat_eta = 0.1f;
    ways[4].xtc_probability = 0.5f, ways[4].xtc_threshold = 0.001f;
    for (int i = 0; i < 5; i++) {
        engine_sampler x[3];
        uint32_t counts[N] = {0}, different = 0, distinct = 0;
        for (int k = 0; k < 3; k++) {
            ways[i].seed = k == 2 ? 1ull << 40 : 41;
            engine_sampler_begin(&x[k], &ways[i]);
        }
        for (int k = 0; k < DRAWS; k++) {
            engine_sample a, b, c;
            engine_sample_next(en, &ways[i], &x[0], logits, NULL, NULL, 0, &a);
            engine_sample_next(en, &ways[i], &x[1], logits, NULL, NULL, 0, &b);
            engine_sample_next(en, &ways[i], &x[2], logits, NULL, NULL, 0, &c);
            assert_int_equal(a.token, b.token);
            different += a.token != c.token;
            distinct += counts[a.token]++ == 0;
        }
        if (different < DRAWS / 2 || distinct < 20) fail_msg("way %d: %u differ, %u are distinct", i, different, distinct);
    }
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
            engine_sampler draw;
            engine_sampler_begin(&draw, &s);
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
    engine_sampler x;
    engine_sampler_begin(&x, &s);
    uint64_t before = plat_malloc_calls();
    for (int i = 0; i < 20; i++) {
        engine_sample sample;
        s.top_k = i % 2 ? 4000 : 0;
        engine_sample_next(en, &s, &x, logits, NULL, (const int32_t[]){1, 2, 3}, 3, &sample);
    }
    assert_int_equal(plat_malloc_calls(), before);
    assert_int_equal(en->counters.step_mallocs, 0);
    hand_engine_free(en);
}

/* Pearson's statistic of draws that each begin with the same state. */
static void assert_mirostat_fits(engine *en, const engine_sampling *s, const float *logits, float surprise) {
    static definition d;
    static place order[MOST_VOCAB];
    enum { DRAWS = 3000 };
    d.n = en->desc.n_vocab;
    for (uint32_t i = 0; i < d.n; i++) d.logit[i] = (double)logits[i] / (double)s->temperature;
    softmax(&d, 1);
    for (uint32_t i = 0; i < d.n; i++) order[i] = (place){-d.logit[i], i};
    qsort(order, d.n, sizeof *order, by_key);
    uint32_t kept = 0;
    if (s->mirostat == 2) {
        while (kept < d.n && -log2(d.p[order[kept].id]) <= (double)surprise) kept++;
    } else {
        double both = 0, squares = 0;
        for (uint32_t i = 0; i + 1 < d.n && i + 1 < 100; i++) {
            double t = log((i + 2.0) / (i + 1.0)), b = log(d.p[order[i].id] / d.p[order[i + 1].id]);
            both += t * b, squares += t * t;
        }
        double zipf = both / squares, k = pow((zipf - 1) * pow(2, (double)surprise) / (1 - pow(d.n, 1 - zipf)), 1 / zipf);
        kept = k < 1 ? 1 : k < d.n ? (uint32_t)k : d.n;
    }
    for (uint32_t i = kept ? kept : 1; i < d.n; i++) d.logit[order[i].id] = -INFINITY;
    softmax(&d, 1);
    engine_sampler x;
    engine_sample sample;
    engine_sampler_begin(&x, s);
    memset(seen, 0, sizeof seen);
    for (int i = 0; i < DRAWS; i++) {
        x.surprise = surprise;
        engine_sample_next(en, s, &x, logits, NULL, NULL, 0, &sample);
        seen[sample.token]++;
        double wanted = (double)surprise - (double)s->mirostat_eta * (-log2(d.p[sample.token]) - (double)s->mirostat_tau);
        assert_true(fabs((double)x.surprise - wanted) < 1e-3);
    }
    double statistic = 0;
    for (uint32_t i = 0; i < d.n; i++) {
        double expected = d.p[i] * DRAWS;
        if (seen[i] && d.p[i] == 0) fail_msg("mirostat %u drew token %u, which it leaves out", s->mirostat, i);
        if (expected >= 8) statistic += (seen[i] - expected) * (seen[i] - expected) / expected;
    }
    if (statistic > kept + 6 * sqrt(2.0 * kept) + 12) fail_msg("mirostat %u: statistic %g", s->mirostat, statistic);
}

static void mirostat_keeps_to_a_surprise(void **state) {
    (void)state;
    static float logits[MOST_VOCAB];
    static const uint32_t some[] = {3, 40, 300, 2000};
    rng r;
    rng_seed(&r, 21);
    for (int round = 0; round < 40; round++) {
        uint32_t n = some[round % 4];
        engine *en = hand_engine(n);
        engine_sampling s = neutral();
        s.mirostat = 1 + (uint32_t)round / 4 % 2;
        s.temperature = PICK(&r, 0.5f, 1, 1.5f);
        s.mirostat_tau = PICK(&r, 1, 5), s.mirostat_eta = PICK(&r, 0.1f, 0.5f);
        s.top_k = 2, s.top_p = 0.1f, s.min_p = 0.9f; /* of no consequence beside it */
        s.seed = (uint64_t)round;
        random_logits(&r, logits, n, 6);
        assert_mirostat_fits(en, &s, logits, PICK(&r, 0.01f, 2, 5, 10));
        engine_sampler x;
        engine_sampler_begin(&x, &s);
        assert_true(x.surprise == 2 * s.mirostat_tau);
        hand_engine_free(en);
    }
}

/* As often as the probability says, and one draw of the generator whether or not it is so. */
static void xtc_comes_as_often_as_said(void **state) {
    (void)state;
    engine *en = hand_engine(4);
    engine_sampling s = neutral();
    s.xtc_probability = 0.3f, s.xtc_threshold = 0.2f;
    draw_many(en, &s, (const float[]){logf(0.5f), logf(0.3f), logf(0.15f), logf(0.05f)}, NULL, 0, 4000);
    double first = seen[0] / 4000.0, wanted = 0.7 * 0.5; /* left out by 0.3 */
    assert_true(fabs(first - wanted) < 0.03);
    s.xtc_probability = 1;
    draw_many(en, &s, (const float[]){logf(0.5f), logf(0.3f), logf(0.15f), logf(0.05f)}, NULL, 0, 500);
    assert_int_equal(seen[0], 0);
    assert_true(seen[1] > 200 && seen[2] > 50);
    hand_engine_free(en);
}

static int32_t greedy_after(engine *en, engine_sampling *s, const float *logits, const int32_t *tokens, uint32_t n,
                            uint32_t n_drawn) {
    engine_sampler x;
    engine_sample sample;
    s->temperature = 0;
    engine_sampler_begin(&x, s);
    x.n = n_drawn;
    engine_sample_next(en, s, &x, logits, NULL, tokens, n, &sample);
    return sample.token;
}

/* A word's last token is banned behind the others, where these were generated. */
static void bad_words_of_several_tokens(void **state) {
    (void)state;
    engine *en = hand_engine(8);
    engine_sampling s = neutral();
    const float logits[8] = {1, 2, 3, 4, 5, 6, 7, 8};
    s.n_bad_ids = 6, memcpy(s.ids, (int32_t[]){3, 1, 2, 7, 1, 6}, 6 * sizeof(int32_t)); /* 1 2 7; 6 */
    assert_int_equal(greedy_after(en, &s, logits, (int32_t[]){5, 1, 2}, 3, 2), 5);
    assert_int_equal(greedy_after(en, &s, logits, (int32_t[]){5, 1, 2}, 3, 1), 7); /* the 1 was the prompt's */
    assert_int_equal(greedy_after(en, &s, logits, (int32_t[]){5, 2, 1}, 3, 3), 7);
    assert_int_equal(greedy_after(en, &s, logits, NULL, 0, 0), 7);
    hand_engine_free(en);
}

static void no_end_before_its_time(void **state) {
    (void)state;
    test_alloc a;
    engine *en = engine_with_ends(&a);
    static float logits[HAND_WORDS + 2];
    logits[HAND_EOS] = 50, logits[HAND_WORDS] = 40, logits[HAND_BOS] = 30;
    engine_sampling s = neutral();
    s.min_tokens = 3, s.n_stop_ids = 1, s.ids[0] = HAND_WORDS;
    for (uint32_t n = 0; n < 3; n++) /* what controls without ending may come */
        assert_int_equal(greedy_after(en, &s, logits, NULL, 0, n), HAND_BOS);
    assert_int_equal(greedy_after(en, &s, logits, NULL, 0, 3), HAND_EOS);
    uint64_t allowed[(HAND_WORDS + 2 + 63) / 64] = {1u << HAND_EOS}; /* of a grammar that has nothing else: it ends */
    engine_sampler x;
    engine_sample sample;
    engine_sampler_begin(&x, &s);
    engine_sample_next(en, &s, &x, logits, allowed, NULL, 0, &sample);
    assert_int_equal(sample.token, HAND_EOS);
    allowed[0] |= 1u << 9; /* and of one that can go on */
    engine_sample_next(en, &s, &x, logits, allowed, NULL, 0, &sample);
    assert_int_equal(sample.token, 9);
    hand_engine_free(en);
    assert_int_equal(a.outstanding_bytes, 0);
}

static void add_breaker(engine_sampling *s, const char *text) {
    s->breakers[s->n_breakers].len = (uint8_t)strlen(text);
    memcpy(s->breakers[s->n_breakers++].text, text, strlen(text));
}

/* Nothing is a repetition that reaches across a breaker, though it lies in the middle of a token, or in two. */
static void dry_stops_at_breakers(void **state) {
    (void)state;
    static const char *const words[] = {"a", "b", "c", "x;y", "en", "dd"};
    enum { A = HAND_WORDS, B, C, HALT, EN, DD, N };
    test_alloc a;
    test_alloc_init(&a, 0);
    engine *en = hand_engine(N);
    en->vocab = hand_vocab(words, 6, &a.alloc);
    static float logits[N];
    logits[C] = 10, logits[B] = 9;
    engine_sampling s = neutral();
    s.dry_multiplier = 100, s.dry_allowed_length = 2;
    int32_t plain[] = {A, HALT, B, C, A, HALT, B}, two[] = {A, EN, DD, B, C, A, EN, DD, B};
    assert_int_equal(greedy_after(en, &s, logits, plain, 7, 0), B); /* a x;y b again: no c */
    assert_int_equal(greedy_after(en, &s, logits, two, 9, 0), B);
    add_breaker(&s, ";");
    assert_int_equal(greedy_after(en, &s, logits, plain, 7, 0), C); /* b alone is shorter than 2 */
    assert_int_equal(greedy_after(en, &s, logits, two, 9, 0), B);
    add_breaker(&s, "nd");
    assert_int_equal(greedy_after(en, &s, logits, two, 9, 0), C);
    s.dry_allowed_length = 1;
    assert_int_equal(greedy_after(en, &s, logits, two, 9, 0), B);
    for (uint32_t i = 0; i < N; i++) assert_int_equal(en->token_counts[i], 0);
    hand_engine_free(en);
    assert_int_equal(a.outstanding_bytes, 0);
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
    REFUSES(s.temperature = -0.1f, "'temperature' is -0.1");
    REFUSES(s.temperature = 101, "temperature");
    REFUSES(s.temperature = NAN, "temperature");
    REFUSES(s.top_k = -2, "top_k");
    REFUSES(s.xtc_probability = 1.1f, "xtc_probability");
    REFUSES(s.xtc_threshold = NAN, "xtc_threshold");
    REFUSES(s.dynatemp_range = -1, "dynatemp_range");
    REFUSES(s.mirostat = 3, "mirostat");
    REFUSES(s.mirostat_eta = NAN, "mirostat_eta");
    REFUSES(s.dry_base = 0.9f, "dry_base");
    REFUSES(s.dry_last_n = -2, "dry_penalty_last_n");
    REFUSES((s.n_stop_ids = 1, s.ids[0] = 100), "'stop_token_ids' names token 100");
    REFUSES((s.n_stop_ids = 1, s.ids[0] = 5, s.n_bad_ids = 3, s.ids[1] = 2, s.ids[2] = 1, s.ids[3] = -1), "bad_words");
    REFUSES((s.n_allowed = 2, s.ids[0] = 1, s.ids[1] = 1000), "allowed_token_ids");
    REFUSES(s.top_p = 1.01f, "top_p");
    REFUSES(s.top_p = NAN, "top_p");
    REFUSES(s.min_p = -0.01f, "min_p");
    REFUSES(s.typical_p = 2, "typical_p");
    REFUSES(s.repeat_penalty = 0, "repeat_penalty");
    REFUSES(s.frequency_penalty = 2.1f, "frequency_penalty");
    REFUSES(s.presence_penalty = -INFINITY, "presence_penalty");
    REFUSES(s.repeat_last_n = 4097, "repeat_last_n");
    REFUSES(s.top_logprobs = 21, "top_logprobs");
    REFUSES((s.n_bias = 1, s.bias[0] = (engine_bias){100, 1}), "'logit_bias' names token 100; the vocabulary has 100");
    REFUSES((s.n_bias = 1, s.bias[0] = (engine_bias){-1, 1}), "token -1");
    REFUSES((s.n_bias = 2, s.bias[1] = (engine_bias){1, NAN}), "'logit_bias' of token 1");
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
        cmocka_unit_test(a_flat_distribution_is_the_seeds),
        cmocka_unit_test(logprobs),
        cmocka_unit_test(no_malloc),
        cmocka_unit_test(mirostat_keeps_to_a_surprise),
        cmocka_unit_test(xtc_comes_as_often_as_said),
        cmocka_unit_test(bad_words_of_several_tokens),
        cmocka_unit_test(no_end_before_its_time),
        cmocka_unit_test(dry_stops_at_breakers),
        cmocka_unit_test(checks),
    };
    return cmocka_run_group_tests_name("engine_sampler", tests, NULL, NULL);
}
