#include "engine/sampler.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "engine/internal.h"
#include "plat/kernel.h"

void engine_sampling_default(engine_sampling *s) {
    memset(s, 0, sizeof *s);
    s->temperature = 0.8f;
    s->top_k = 40;
    s->top_p = 0.95f;
    s->min_p = 0.05f;
    s->typical_p = 1.0f;
    s->repeat_penalty = 1.0f;
    s->repeat_last_n = 64;
    s->xtc_threshold = 0.1f;
    s->dynatemp_exponent = 1;
    s->mirostat_tau = 5;
    s->mirostat_eta = 0.1f;
    s->dry_base = 1.75f;
    s->dry_allowed_length = 2;
    s->dry_last_n = -1;
}

static bool in_range(const char *name, double v, double low, double high, err *e) {
    if (v >= low && v <= high) return true; /* NaN fails */
    return err_set(e, ERR_INVALID, "'%s' is %g; it must be %g to %g", name, v, low, high);
}

static bool is_token(const char *name, int32_t id, uint32_t n_vocab, err *e) {
    if (id >= 0 && (uint32_t)id < n_vocab) return true;
    return err_set(e, ERR_INVALID, "'%s' names token %d; the vocabulary has %u", name, id, n_vocab);
}

static bool check_ids(const engine_sampling *s, uint32_t n_vocab, err *e) {
    const int32_t *at = s->ids, *bad = at + s->n_stop_ids, *allowed = bad + s->n_bad_ids, *end = allowed + s->n_allowed;
    CHECK(end - s->ids <= SAMPLER_IDS_MAX && s->n_breakers <= SAMPLER_BREAKERS_MAX);
    for (; at < bad; at++)
        if (!is_token("stop_token_ids", *at, n_vocab, e)) return false;
    for (; at < allowed; at++)
        for (int32_t n = *at; n > 0; n--)
            if (!is_token("bad_words", *++at, n_vocab, e)) return false;
    for (; at < end; at++)
        if (!is_token("allowed_token_ids", *at, n_vocab, e)) return false;
    return true;
}

bool engine_sampling_check(const engine *en, const engine_sampling *s, err *e) {
    uint32_t n_vocab = en->desc.n_vocab;
    for (uint32_t i = 0; i < s->n_bias; i++) {
        if (s->bias[i].token < 0 || (uint32_t)s->bias[i].token >= n_vocab)
            return err_set(e, ERR_INVALID, "'logit_bias' names token %d; the vocabulary has %u", s->bias[i].token,
                           n_vocab);
        if (!(s->bias[i].bias >= -100 && s->bias[i].bias <= 100) && s->bias[i].bias != -INFINITY)
            return err_set(e, ERR_INVALID, "'logit_bias' of token %d is %g; it must be -100 to 100", s->bias[i].token,
                           (double)s->bias[i].bias);
    }
    return in_range("temperature", (double)s->temperature, 0, 100, e) &&
           in_range("top_k", s->top_k, -1, INT32_MAX, e) && in_range("top_p", (double)s->top_p, 0, 1, e) &&
           in_range("min_p", (double)s->min_p, 0, 1, e) && in_range("typical_p", (double)s->typical_p, 0, 1, e) &&
           in_range("repeat_penalty", (double)s->repeat_penalty, 0.01, 100, e) &&
           in_range("frequency_penalty", (double)s->frequency_penalty, -2, 2, e) &&
           in_range("presence_penalty", (double)s->presence_penalty, -2, 2, e) &&
           in_range("repeat_last_n", s->repeat_last_n, 0, SAMPLER_LAST_N_MAX, e) &&
           in_range("top_logprobs", s->top_logprobs, 0, SAMPLER_TOP_LOGPROBS_MAX, e) &&
           in_range("top_n_sigma", (double)s->top_n_sigma, -1e9, 1e9, e) &&
           in_range("xtc_probability", (double)s->xtc_probability, 0, 1, e) &&
           in_range("xtc_threshold", (double)s->xtc_threshold, 0, 1, e) &&
           in_range("dynatemp_range", (double)s->dynatemp_range, 0, 100, e) &&
           in_range("dynatemp_exponent", (double)s->dynatemp_exponent, 0, 100, e) &&
           in_range("mirostat", s->mirostat, 0, 2, e) &&
           in_range("mirostat_tau", (double)s->mirostat_tau, 0, 100, e) &&
           in_range("mirostat_eta", (double)s->mirostat_eta, 0, 10, e) &&
           in_range("dry_multiplier", (double)s->dry_multiplier, 0, 1000, e) &&
           in_range("dry_base", (double)s->dry_base, 1, 100, e) &&
           in_range("dry_penalty_last_n", s->dry_last_n, -1, INT32_MAX, e) && check_ids(s, n_vocab, e);
}

void engine_sampler_begin(engine_sampler *x, const engine_sampling *s) {
    *x = (engine_sampler){.surprise = 2 * s->mirostat_tau};
    rng_seed(&x->random, s->seed);
}

bool engine_sampling_stops(const engine_sampling *s, int32_t token) {
    for (uint32_t i = 0; i < s->n_stop_ids; i++)
        if (s->ids[i] == token) return true;
    return false;
}

/* ---- the model's own distribution ---- */

static float log_sum_exp(const float *logits, uint32_t n) {
    float most = logits[0];
    for (uint32_t i = 1; i < n; i++) most = logits[i] > most ? logits[i] : most;
    double sum = 0;
    for (uint32_t i = 0; i < n; i++) sum += (double)expf(logits[i] - most);
    return most + (float)log(sum);
}

static void fill_top(const float *logits, uint32_t n, float log_total, uint32_t wanted, engine_sample *out) {
    out->n_top = 0;
    for (uint32_t i = 0; i < n; i++) {
        uint32_t at = out->n_top;
        if (at == wanted && (wanted == 0 || logits[i] - log_total <= out->top[at - 1].logprob)) continue;
        if (at < wanted) out->n_top++;
        else at--;
        for (; at > 0 && out->top[at - 1].logprob < logits[i] - log_total; at--) out->top[at] = out->top[at - 1];
        out->top[at] = (engine_logprob){(int32_t)i, logits[i] - log_total};
    }
}

/* ---- steps on the candidates ---- */

typedef struct pool {
    engine_candidate *c;
    uint32_t n;
    bool sorted; /* by falling logit */
} pool;

static int by_falling_logit(const void *a, const void *b) {
    const engine_candidate *x = a, *y = b;
    if (x->logit != y->logit) return x->logit < y->logit ? 1 : -1;
    return x->id < y->id ? -1 : x->id > y->id; /* ties by id: the order is total, the result reproducible */
}

static bool before(const engine_candidate *x, const engine_candidate *y) { return by_falling_logit(x, y) < 0; }

/* Heapsort in place: qsort of the C library may call malloc. */
static void sift_down(engine_candidate *c, uint32_t i, uint32_t n) {
    for (uint32_t child; (child = 2 * i + 1) < n; i = child) {
        if (child + 1 < n && before(&c[child], &c[child + 1])) child++;
        if (!before(&c[i], &c[child])) return;
        engine_candidate t = c[i];
        c[i] = c[child];
        c[child] = t;
    }
}

static void sort_candidates(engine_candidate *c, uint32_t n) {
    for (uint32_t i = n / 2; i-- > 0;) sift_down(c, i, n);
    for (uint32_t end = n; end > 1;) {
        engine_candidate t = c[0];
        c[0] = c[--end];
        c[end] = t;
        sift_down(c, 0, end);
    }
}

/* The k best, sorted, in the first k places. */
static void select_best(pool *p, uint32_t k) {
    uint32_t low = 0, high = p->n;
    while (high - low > 32 && k > low && k < high) { /* quickselect around the middle of three */
        engine_candidate a = p->c[low], b = p->c[(low + high) / 2], c = p->c[high - 1];
        engine_candidate pivot = before(&a, &b) ? (before(&b, &c)   ? b
                                                   : before(&a, &c) ? c
                                                                    : a)
                                                : (before(&a, &c)   ? a
                                                   : before(&b, &c) ? c
                                                                    : b);
        uint32_t i = low, j = high - 1;
        for (;;) {
            while (before(&p->c[i], &pivot)) i++;
            while (before(&pivot, &p->c[j])) j--;
            if (i >= j) break;
            engine_candidate t = p->c[i];
            p->c[i++] = p->c[j];
            p->c[j--] = t;
        }
        if (k <= i) high = i;
        else low = i;
    }
    sort_candidates(p->c + low, high - low); /* the part that holds place k: now all before it are the best */
    sort_candidates(p->c, k);
    p->n = k;
    p->sorted = true;
}

static float best_logit(const pool *p) {
    if (p->sorted) return p->c[0].logit;
    float most = p->c[0].logit;
    for (uint32_t i = 1; i < p->n; i++) most = p->c[i].logit > most ? p->c[i].logit : most;
    return most;
}

static double total_weight(const pool *p, float most) {
    double sum = 0;
    for (uint32_t i = 0; i < p->n; i++) sum += exp((double)(p->c[i].logit - most));
    return sum;
}

static void apply_top_p(pool *p, double top_p) {
    float most = best_logit(p);
    double total = total_weight(p, most), wanted = top_p * total, sum = 0;
    if (!p->sorted) {
        /* Sorting a whole vocabulary is dear: try the head of the distribution first. */
        for (float reach = 6; !p->sorted; reach *= 2) {
            uint32_t n = 0;
            sum = 0;
            for (uint32_t i = 0; i < p->n; i++)
                if (p->c[i].logit >= most - reach) n++, sum += exp((double)(p->c[i].logit - most));
            if (sum >= wanted || n == p->n) select_best(p, n);
        }
    }
    sum = 0;
    for (uint32_t i = 0; i < p->n; i++) {
        sum += exp((double)(p->c[i].logit - most));
        if (sum >= wanted) {
            p->n = i + 1;
            return;
        }
    }
}

static void apply_min_p(pool *p, double min_p) {
    double least = (double)best_logit(p) + log(min_p);
    uint32_t n = 0;
    for (uint32_t i = 0; i < p->n; i++)
        if ((double)p->c[i].logit >= least) p->c[n++] = p->c[i]; /* keeps the order */
    p->n = n;
}

/* Keeps the tokens whose surprise is nearest the entropy, until they hold typical_p. Sorts by the
 * distance in the logit's place, with the logit kept aside by its id. */
static void apply_typical(pool *p, const float *logit_of, double typical_p) {
    float most = best_logit(p);
    double total = total_weight(p, most), log_total = log(total) + (double)most, entropy = 0, sum = 0;
    for (uint32_t i = 0; i < p->n; i++) {
        double lp = (double)p->c[i].logit - log_total;
        if (isfinite(lp)) entropy -= exp(lp) * lp;
    }
    for (uint32_t i = 0; i < p->n; i++) p->c[i].logit = (float)-fabs(log_total - (double)p->c[i].logit - entropy);
    sort_candidates(p->c, p->n);
    uint32_t n = 0;
    while (n < p->n && sum < typical_p * total) {
        p->c[n].logit = logit_of[p->c[n].id];
        sum += exp((double)(p->c[n++].logit - most));
    }
    p->n = n ? n : 1;
    p->sorted = false;
}

static void count_recent(engine *en, const engine_sampling *s, const int32_t *tokens, uint32_t n_tokens, bool add) {
    uint32_t last = (uint32_t)s->repeat_last_n < n_tokens ? (uint32_t)s->repeat_last_n : n_tokens;
    for (uint32_t i = n_tokens - last; i < n_tokens; i++) {
        if (add) en->token_counts[tokens[i]]++;
        else en->token_counts[tokens[i]] = 0;
    }
}

static bool has_penalties(const engine_sampling *s) {
    return s->repeat_penalty != 1.0f || s->frequency_penalty != 0.0f || s->presence_penalty != 0.0f;
}

static void apply_penalties(engine *en, const engine_sampling *s, engine_candidate *c, const int32_t *tokens,
                            uint32_t n_tokens) {
    if (!has_penalties(s)) return;
    count_recent(en, s, tokens, n_tokens, true);
    uint32_t last = (uint32_t)s->repeat_last_n < n_tokens ? (uint32_t)s->repeat_last_n : n_tokens;
    for (uint32_t i = n_tokens - last; i < n_tokens; i++) {
        int32_t id = tokens[i];
        uint16_t count = en->token_counts[id];
        if (!count) continue; /* done already */
        float *logit = &c[id].logit;
        *logit = *logit > 0 ? *logit / s->repeat_penalty : *logit * s->repeat_penalty;
        *logit -= (float)count * s->frequency_penalty + s->presence_penalty;
        en->token_counts[id] = 0;
    }
    count_recent(en, s, tokens, n_tokens, false);
}

void engine_mark_eog(engine *en) {
    uint32_t n_vocab = en->desc.n_vocab;
    memset(en->ends, 0, (n_vocab + 63) / 64 * sizeof *en->ends);
    for (uint32_t i = 0; i < n_vocab; i++)
        if (text_vocab_type(en->vocab, (text_token)i) == TEXT_CONTROL || text_vocab_is_eog(en->vocab, (text_token)i))
            en->ends[i / 64] |= UINT64_C(1) << (i % 64);
}

static bool is_banned_end(const engine *en, uint32_t id) { return en->ends[id / 64] >> (id % 64) & 1; }

static bool ends_text(const engine *en, uint32_t id) {
    return is_banned_end(en, id) && text_vocab_is_eog(en->vocab, (text_token)id);
}

/* controls: tokens that control, too. */
static void ban_ends(const engine *en, engine_candidate *c, bool controls) {
    for (uint32_t word = 0; word < (en->desc.n_vocab + 63) / 64; word++)
        for (uint64_t left = en->ends[word]; left; left &= left - 1) {
            uint32_t id = word * 64 + (uint32_t)__builtin_ctzll(left);
            if (controls || ends_text(en, id)) c[id].logit = -INFINITY;
        }
}

/* *share: of the candidate that is drawn. */
static int32_t draw(pool *p, double temperature, rng *r, double *share) {
    float most = best_logit(p);
    double total = 0, scale = 1.0 / temperature, weight = 0;
    for (uint32_t i = 0; i < p->n; i++) total += exp((double)(p->c[i].logit - most) * scale);
    double at = rng_unit(r) * total, sum = 0;
    uint32_t chosen = p->n - 1;
    for (uint32_t i = 0; i < p->n; i++) {
        sum += weight = exp((double)(p->c[i].logit - most) * scale);
        if (at < sum) {
            chosen = i;
            break;
        }
    }
    *share = weight / total;
    return p->c[chosen].id;
}

/* ---- steps that other servers have, too ---- */

/* Those within so many standard deviations of the best logit. */
static void apply_top_n_sigma(pool *p, double n_sigma) {
    double sum = 0, squares = 0, most = (double)best_logit(p);
    uint32_t n = 0, kept = 0;
    for (uint32_t i = 0; i < p->n; i++)
        if (isfinite(p->c[i].logit)) sum += (double)p->c[i].logit, n++;
    double mean = sum / n;
    for (uint32_t i = 0; i < p->n; i++) {
        double off = (double)p->c[i].logit - mean;
        if (isfinite(off)) squares += off * off;
    }
    double least = most - n_sigma * sqrt(squares / n);
    for (uint32_t i = 0; i < p->n; i++)
        if ((double)p->c[i].logit >= least) p->c[kept++] = p->c[i];
    p->n = kept;
}

/* Sometimes, of those that are likely enough only the least likely stays: what is expected is left out. */
static void apply_xtc(pool *p, const engine_sampling *s, rng *r) {
    if (s->xtc_probability <= 0 || s->xtc_threshold > 0.5f || p->n < 2) return;
    if (rng_unit(r) >= (double)s->xtc_probability) return;
    float most = best_logit(p);
    double least = (double)s->xtc_threshold * total_weight(p, most);
    const engine_candidate *last = NULL;
    uint32_t n = 0;
    for (uint32_t i = 0; i < p->n; i++)
        if (exp((double)(p->c[i].logit - most)) >= least && (!last || before(last, &p->c[i]))) last = &p->c[i];
    if (!last) return;
    engine_candidate stays = *last;
    for (uint32_t i = 0; i < p->n; i++)
        if (exp((double)(p->c[i].logit - most)) < least || p->c[i].id == stays.id) p->c[n++] = p->c[i];
    p->n = n;
}

/* Between temperature − range and temperature + range, as the entropy is to the largest that there can be. */
static double temperature_of(const pool *p, const engine_sampling *s) {
    double t = (double)s->temperature, range = (double)s->dynatemp_range;
    if (range <= 0 || p->n < 2) return t;
    float most = best_logit(p);
    double total = total_weight(p, most), entropy = 0, low = t > range ? t - range : 0, high = t + range;
    for (uint32_t i = 0; i < p->n; i++) {
        double share = exp((double)(p->c[i].logit - most)) / total;
        if (share > 0) entropy -= share * log(share);
    }
    t = low + (high - low) * pow(entropy / log(p->n), (double)s->dynatemp_exponent);
    return t > 1e-6 ? t : 1e-6; /* as good as none: the best */
}

enum { MIROSTAT_LOOKS_AT = 100 };

/* How many the first version keeps: by Zipf's exponent of the likeliest. */
static uint32_t mirostat_keeps(pool *p, double temperature, double bits) {
    uint32_t all = p->n;
    double both = 0, squares = 0;
    select_best(p, all < MIROSTAT_LOOKS_AT ? all : MIROSTAT_LOOKS_AT);
    for (uint32_t i = 0; i + 1 < p->n && isfinite(p->c[i + 1].logit); i++) {
        double t = log((double)(i + 2) / (i + 1)), b = (double)(p->c[i].logit - p->c[i + 1].logit) / temperature;
        both += t * b;
        squares += t * t;
    }
    p->n = all;
    p->sorted = false;
    double s = squares > 0 ? both / squares : 1, epsilon = s - 1;
    double k = pow(epsilon * pow(2, bits) / (1 - pow(all, -epsilon)), 1 / s);
    return !(k >= 1) ? 1 : k < all ? (uint32_t)k : all; /* NaN: 1 */
}

/* Cuts off what would surprise too much, draws, and learns how much this one did. */
static int32_t mirostat(pool *p, const engine_sampling *s, engine_sampler *x) {
    double t = (double)s->temperature, bits = (double)x->surprise, share;
    if (s->mirostat == 1) {
        select_best(p, mirostat_keeps(p, t, bits));
    } else {
        float most = best_logit(p);
        double total = 0;
        uint32_t n = 0;
        for (uint32_t i = 0; i < p->n; i++) total += exp((double)(p->c[i].logit - most) / t);
        double reach = t * (log(total) - bits * log(2)); /* surprise ≤ bits: that near the best */
        for (uint32_t i = 0; i < p->n; i++)
            if ((double)p->c[i].logit - (double)most >= reach) p->c[n++] = p->c[i];
        if (n) p->n = n;
        else select_best(p, 1);
    }
    int32_t id = draw(p, t, &x->random, &share);
    if (share > 0) x->surprise -= s->mirostat_eta * (float)(-log2(share) - (double)s->mirostat_tau);
    return id;
}

/* ---- what may not come ---- */

static bool awaits_more(const engine_sampling *s, const engine_sampler *x) { return x->n < s->min_tokens; }

/* A word of several tokens is banned when only its last is left; of what came before only what was generated counts. */
static void ban_words(const engine_sampling *s, engine_candidate *c, const int32_t *tokens, uint32_t n_tokens,
                      uint32_t n_drawn) {
    const int32_t *at = s->ids + s->n_stop_ids, *end = at + s->n_bad_ids;
    for (; at < end; at += *at + 1) {
        uint32_t before_last = (uint32_t)*at - 1;
        const int32_t *word = at + 1;
        if (before_last > n_drawn || before_last > n_tokens) continue;
        if (before_last && memcmp(tokens + n_tokens - before_last, word, before_last * sizeof *word) != 0) continue;
        c[word[before_last]].logit = -INFINITY;
    }
}

/* Of candidates in the order of their ids those that are listed, if there are any. */
static void keep_listed(pool *p, const int32_t *ids, uint32_t n_ids) {
    uint32_t n = 0, at = 0;
    for (uint32_t i = 0; i < p->n && at < n_ids; i++) {
        while (at < n_ids && ids[at] < p->c[i].id) at++;
        if (at == n_ids || ids[at] != p->c[i].id) continue;
        engine_candidate kept = p->c[i];
        p->c[i] = p->c[n];
        p->c[n++] = kept;
    }
    if (n) p->n = n;
}

static void apply_bias(const engine_sampling *s, engine_candidate *c) {
    for (uint32_t i = 0; i < s->n_bias; i++) {
        float *logit = &c[s->bias[i].token].logit;
        *logit =
            s->bias[i].bias == -INFINITY ? -INFINITY : *logit + s->bias[i].bias; /* a ban holds against any logit */
    }
}

/* Logits that are not numbers (a broken model) must not break the order: they count as impossible. */
static void fill_candidates(engine_candidate *c, const float *logits, uint32_t n) {
    for (uint32_t i = 0; i < n; i++) c[i] = (engine_candidate){isnan(logits[i]) ? -INFINITY : logits[i], (int32_t)i};
}

static bool is_allowed(const uint64_t *allowed, uint32_t id) { return allowed[id / 64] >> (id % 64) & 1; }

/* The first of the likeliest that are allowed; false when none has a logit that is a number above −infinity. */
static bool choose_allowed(const engine *en, const float *logits, const uint64_t *allowed, int32_t *id) {
    float most = -INFINITY;
    for (uint32_t word = 0; word < (en->desc.n_vocab + 63) / 64; word++)
        for (uint64_t left = allowed[word]; left; left &= left - 1) {
            uint32_t i = word * 64 + (uint32_t)__builtin_ctzll(left);
            if (logits[i] > most) most = logits[i], *id = (int32_t)i;
        }
    return isfinite(most);
}

/* Only candidates that are allowed, in the order of their ids. */
static void keep_allowed(pool *p, const uint64_t *allowed) {
    uint32_t n = 0, n_words = (p->n + 63) / 64;
    for (uint32_t word = 0; word < n_words; word++)
        for (uint64_t left = allowed[word]; left; left &= left - 1)
            p->c[n++] = p->c[word * 64 + (uint32_t)__builtin_ctzll(left)];
    CHECK(n > 0);
    p->n = n;
}

/* The first of the likeliest, straight from the logits; false where a step before may change them. Many streams at
 * once wait for this: eight running maxima keep it off the latency of one. */
static bool choose_greedy(const engine *en, const engine_sampling *s, const float *logits, const uint64_t *allowed,
                          int32_t *id) {
    if ((s->temperature > 0 && s->top_k != 1) || s->n_bias || has_penalties(s) || s->dry_multiplier > 0 ||
        s->n_bad_ids || s->n_allowed)
        return false;
    float most[8];
    for (int l = 0; l < 8; l++) most[l] = -INFINITY;
    uint32_t n = en->desc.n_vocab, i = 0;
    for (; i + 8 <= n; i += 8)
        for (uint32_t l = 0; l < 8; l++) most[l] = logits[i + l] > most[l] ? logits[i + l] : most[l];
    for (; i < n; i++) most[0] = logits[i] > most[0] ? logits[i] : most[0];
    for (int l = 1; l < 8; l++) most[0] = most[l] > most[0] ? most[l] : most[0];
    if (!isfinite(most[0])) return false;
    for (i = 0; logits[i] != most[0]; i++) {
    }
    *id = (int32_t)i;
    if (allowed) return is_allowed(allowed, i) || choose_allowed(en, logits, allowed, id);
    return !(s->ignore_end && is_banned_end(en, i));
}

/* Before the end may come, with a grammar: what goes on, where it can. */
static void keep_going_on(const engine *en, const engine_sampling *s, pool *p) {
    uint32_t n = 0;
    for (uint32_t i = 0; i < p->n; i++) {
        engine_candidate c = p->c[i];
        if (ends_text(en, (uint32_t)c.id) || engine_sampling_stops(s, c.id)) continue;
        p->c[i] = p->c[n];
        p->c[n++] = c;
    }
    if (n) p->n = n;
}

/* All that changes logits or takes candidates away for good, by the order of ids. */
static void prepare(engine *en, const engine_sampling *s, const engine_sampler *x, pool *p, const uint64_t *allowed,
                    const int32_t *tokens, uint32_t n_tokens) {
    bool more = awaits_more(s, x);
    if ((s->ignore_end || more) && !allowed) ban_ends(en, p->c, s->ignore_end);
    for (uint32_t i = 0; more && !allowed && i < s->n_stop_ids; i++) p->c[s->ids[i]].logit = -INFINITY;
    apply_bias(s, p->c);
    if (s->n_bad_ids) ban_words(s, p->c, tokens, n_tokens, x->n);
    apply_penalties(en, s, p->c, tokens, n_tokens);
    if (s->dry_multiplier > 0) engine_apply_dry(en, s, p->c, tokens, n_tokens);
    if (allowed) keep_allowed(p, allowed);
    if (allowed && more) keep_going_on(en, s, p);
    if (s->n_allowed) keep_listed(p, s->ids + s->n_stop_ids + s->n_bad_ids, s->n_allowed);
}

static void cut(engine *en, const engine_sampling *s, pool *p, rng *r) {
    if (s->top_n_sigma > 0) apply_top_n_sigma(p, (double)s->top_n_sigma);
    if (s->top_k > 0 && (uint32_t)s->top_k < p->n) select_best(p, (uint32_t)s->top_k);
    if (s->typical_p < 1.0f) {
        for (uint32_t i = 0; i < p->n; i++) en->adjusted[p->c[i].id] = p->c[i].logit;
        apply_typical(p, en->adjusted, (double)s->typical_p);
    }
    if (s->top_p < 1.0f) apply_top_p(p, (double)s->top_p);
    if (s->min_p > 0.0f) apply_min_p(p, (double)s->min_p);
    apply_xtc(p, s, r);
}

static int32_t choose(engine *en, const engine_sampling *s, engine_sampler *x, const float *logits,
                      const uint64_t *allowed, const int32_t *tokens, uint32_t n_tokens) {
    pool p = {en->candidates, en->desc.n_vocab, false};
    int32_t best;
    double share;
    if (!awaits_more(s, x) && choose_greedy(en, s, logits, allowed, &best)) return best;
    fill_candidates(p.c, logits, p.n);
    prepare(en, s, x, &p, allowed, tokens, n_tokens);
    float most = best_logit(&p);
    if (s->temperature <= 0 || s->top_k == 1 || !isfinite(most)) {
        for (uint32_t i = 0; i < p.n; i++)
            if (p.c[i].logit == most) return p.c[i].id;
        return p.c[0].id;
    }
    if (s->mirostat) return mirostat(&p, s, x);
    cut(en, s, &p, &x->random);
    return draw(&p, temperature_of(&p, s), &x->random, &share);
}

void engine_sample_given(engine *en, const engine_sampling *s, engine_sampler *x, const float *logits, int32_t token,
                         engine_sample *out) {
    out->token = token;
    x->n++;
    out->n_top = 0;
    out->logprob = 0;
    if (!s->logprobs) return;
    float log_total = log_sum_exp(logits, en->desc.n_vocab);
    out->logprob = logits[out->token] - log_total;
    fill_top(logits, en->desc.n_vocab, log_total, s->top_logprobs, out);
}

void engine_sample_next(engine *en, const engine_sampling *s, engine_sampler *x, const float *logits,
                        const uint64_t *allowed, const int32_t *tokens, uint32_t n_tokens, engine_sample *out) {
    uint64_t mallocs = plat_malloc_calls();
    engine_sample_given(en, s, x, logits, choose(en, s, x, logits, allowed, tokens, n_tokens), out);
    en->counters.step_mallocs += plat_malloc_calls() - mallocs;
}
