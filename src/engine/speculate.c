#include "engine/speculate.h"

#include <string.h>

enum { LOOK_AT_ONCE = 64 };

/* Each outcome moves what is known so far towards itself; one outlier among the times moves it little. */
static const float FIRST_CHANCE = 0.4f, LEARN = 1.0f / 8, MODEL_CHANCE = 0.6f, FORGET = 0.01f;
static const double FOLLOW_SHARE = 1.0 / 4, FOLLOW_LEVEL = 1.0 / 16, OUTLIER = 1.5;
/* Of a step of one token, what the next ones are thought to take before they are measured; what makes up for drafting;
 * how what is not tried is forgotten, and how likely drafts must be for that. */
static const double FIRST_SHARE = 1.0 / 8, WORTH = 1.05, HOPE = 0.998, PROBE_LEAST_CHANCE = 0.3;
static const float UNLIKELY = 0.02f;

void engine_drafter_begin(engine_drafter *g, bool on) {
    *g = (engine_drafter){.on = on};
    for (int m = 1; m <= GUESS_MATCH_MOST; m++) g->right[m] = FIRST_CHANCE * (float)m / GUESS_MATCH_MOST;
}

static uint32_t capped(uint32_t match) { return match < GUESS_MATCH_MOST ? match : GUESS_MATCH_MOST; }

/* How many tokens up to and with tokens[at] are the last ones of n, too. */
static uint32_t match_at(const int32_t *tokens, uint32_t n, uint32_t at) {
    uint32_t len = 0, most = capped(at + 1);
    while (len < most && tokens[at - len] == tokens[n - 1 - len]) len++;
    return len;
}

/* Without a branch for each token, so that the compiler can look at many at once. */
static bool holds_token(const int32_t *tokens, uint32_t n, int32_t wanted) {
    int32_t found = 0;
    for (uint32_t i = 0; i < n; i++) found |= tokens[i] == wanted;
    return found;
}

void engine_drafter_look(engine_drafter *g, const int32_t *tokens, uint32_t n) {
    if (g->match) return;
    for (uint32_t end = n - 1; end > 0 && g->match < GUESS_MATCH_MOST;) { /* the longest, of these the latest */
        uint32_t begin = end > LOOK_AT_ONCE ? end - LOOK_AT_ONCE : 0;
        if (holds_token(tokens + begin, end - begin, tokens[n - 1]))
            for (uint32_t at = end; at-- > begin;) {
                uint32_t match = match_at(tokens, n, at);
                if (match > g->match) g->match = match, g->from = at + 1;
            }
        end = begin;
    }
}

/* What has become unlikely is tried again in a while: nothing is learned of drafts that are not made. */
void engine_drafter_expect(engine_drafter *g, uint32_t n) {
    g->match = 1;
    g->from = n;
    for (int m = 1; m <= GUESS_MATCH_MOST; m++)
        if (g->right[m] < MODEL_CHANCE) g->right[m] += (MODEL_CHANCE - g->right[m]) * FORGET;
}

float engine_drafter_next_chance(const engine_drafter *g) {
    return g->match && g->n_wanted < g->n_most ? g->reach * g->right[capped(g->match + g->n_wanted)] : 0;
}

/* One after the other: a text that repeats itself at once is drafted from what is being written. */
void engine_drafter_write(const engine_drafter *g, int32_t *tokens, uint32_t n_tokens, uint32_t n) {
    for (uint32_t i = 0; i < n; i++) tokens[n_tokens + i] = tokens[g->from + i];
}

void engine_drafter_learn(engine_drafter *g, const int32_t *tokens, int32_t came) {
    if (!g->match) return;
    bool right = tokens[g->from] == came;
    float *known = &g->right[capped(g->match)];
    *known += ((right ? 1.0f : 0.0f) - *known) * LEARN;
    g->match = right ? g->match + 1 : 0;
    g->from++;
}

double engine_step_cost_share(const engine_step_cost *p, uint32_t n) {
    uint32_t low = n, high = n;
    while (low && !p->share[low]) low--;
    while (high <= STEP_COST_TOKENS_MOST && !p->share[high]) high++;
    double below = p->share[low], above = high <= STEP_COST_TOKENS_MOST ? p->share[high] : 0;
    if (low == high) return below;
    if (!low) return above * n / high;
    if (!above) return below * (1 + FIRST_SHARE * (n - low) / low);
    return below + (above - below) * (n - low) / (high - low);
}

void engine_step_cost_note(engine_step_cost *p, uint32_t n_tokens, double ms) {
    if (!n_tokens || n_tokens > STEP_COST_TOKENS_MOST || ms <= 0) return;
    if (!p->level_ms) p->level_ms = ms, p->share[n_tokens] = 1;
    double share = engine_step_cost_share(p, n_tokens), off = ms / (p->level_ms * share);
    off = off < 1 / OUTLIER ? 1 / OUTLIER : off > OUTLIER ? OUTLIER : off;
    p->share[n_tokens] = share * (1 + (off - 1) * FOLLOW_SHARE);
    p->level_ms *= 1 + (off - 1) * FOLLOW_LEVEL;
}

static engine_drafter *likeliest(engine_drafter *const *drafts, uint32_t n) {
    engine_drafter *best = drafts[0];
    for (uint32_t i = 1; i < n; i++)
        if (engine_drafter_next_chance(drafts[i]) > engine_drafter_next_chance(best)) best = drafts[i];
    return best;
}

/* What is never tried is never measured: after a while it is tried again. */
static void probe(engine_step_cost *p, uint32_t n_tokens, uint32_t most) {
    for (uint32_t i = 1; i <= most; i++) p->share[n_tokens + i] *= HOPE;
}

void engine_speculate(engine_step_cost *p, engine_drafter *const *drafts, uint32_t n, uint32_t most) {
    engine_drafter *order[SPECULATE_MOST];
    double expected = n, first_chance = 0, best_rate = 0;
    uint32_t n_order = 0, best = 0;
    for (uint32_t i = 0; i < n; i++) drafts[i]->n_wanted = 0, drafts[i]->reach = 1;
    if (most > SPECULATE_MOST) most = SPECULATE_MOST;
    if (!p->level_ms || n + most > STEP_COST_TOKENS_MOST) return;
    best_rate = expected / engine_step_cost_share(p, n) * WORTH;
    while (n_order < most) {
        engine_drafter *g = order[n_order] = likeliest(drafts, n);
        float chance = engine_drafter_next_chance(g);
        if (chance < UNLIKELY) break;
        if (!n_order++) first_chance = (double)chance;
        expected += (double)chance;
        g->reach = chance;
        g->n_wanted++;
        double rate = expected / engine_step_cost_share(p, n + n_order);
        if (rate > best_rate) best_rate = rate, best = n_order;
    }
    if (!best && first_chance > PROBE_LEAST_CHANCE) probe(p, n, most);
    while (n_order > best) order[--n_order]->n_wanted--;
}
