#include "engine/speculate.h"

#include <string.h>

enum { LOOK_AT_ONCE = 64 };

/* Each outcome moves what is known so far towards itself; one outlier among the times moves it little. */
static const float LEARN = 1.0f / 16;
static const double FOLLOW = 1.0 / 8, OUTLIER = 2, FIRST_TOKEN_SHARE = 1.0 / 8, HOPE = 0.995, HOPEFUL = 0.5;

void engine_guess_begin(engine_guess *g, bool on) {
    *g = (engine_guess){.on = on};
    for (int m = 1; m <= GUESS_MATCH_MOST; m++) g->right[m] = (float)m / (GUESS_MATCH_MOST + 1);
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

void engine_guess_look(engine_guess *g, const int32_t *tokens, uint32_t n) {
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

float engine_guess_next_chance(const engine_guess *g) {
    return g->match && g->n_wanted < g->n_most ? g->reach * g->right[capped(g->match + g->n_wanted)] : 0;
}

/* One after the other: a text that repeats itself at once is guessed from what is being written. */
void engine_guess_write(const engine_guess *g, int32_t *tokens, uint32_t n_tokens, uint32_t n) {
    for (uint32_t i = 0; i < n; i++) tokens[n_tokens + i] = tokens[g->from + i];
}

void engine_guess_learn(engine_guess *g, const int32_t *tokens, int32_t came) {
    if (!g->match) return;
    bool right = tokens[g->from] == came;
    float *known = &g->right[capped(g->match)];
    *known += ((right ? 1.0f : 0.0f) - *known) * LEARN;
    g->match = right ? g->match + 1 : 0;
    g->from++;
}

static double within(double v, double low, double high) { return v < low ? low : v > high ? high : v; }

void engine_pace_note(engine_pace *p, uint32_t n_tokens, uint32_t n_guessed, double ms) {
    double wanted = p->fixed_ms + p->token_ms * n_tokens;
    if (wanted <= 0) {
        p->token_ms = ms * FIRST_TOKEN_SHARE / n_tokens;
        p->fixed_ms = ms - p->token_ms * n_tokens;
        return;
    }
    ms = within(ms, wanted / OUTLIER, wanted * OUTLIER);
    if (n_guessed) p->token_ms += (ms - wanted) / n_tokens * FOLLOW;
    else p->fixed_ms += (ms - wanted) * FOLLOW;
    if (p->fixed_ms < 0) p->fixed_ms = 0;
    if (p->token_ms < wanted / 1024) p->token_ms = wanted / 1024;
}

static engine_guess *likeliest(engine_guess *const *guesses, uint32_t n) {
    engine_guess *best = guesses[0];
    for (uint32_t i = 1; i < n; i++)
        if (engine_guess_next_chance(guesses[i]) > engine_guess_next_chance(best)) best = guesses[i];
    return best;
}

void engine_speculate(engine_pace *p, engine_guess *const *guesses, uint32_t n, uint32_t most) {
    double expected = n;
    for (uint32_t i = 0; i < n; i++) guesses[i]->n_wanted = 0, guesses[i]->reach = 1;
    for (uint32_t wanted = 0; wanted < most; wanted++) {
        engine_guess *g = likeliest(guesses, n);
        double chance = (double)engine_guess_next_chance(g);
        if (chance * (p->fixed_ms + p->token_ms * (n + wanted)) <= p->token_ms * expected) {
            /* What is never tried is never measured: after a while it is tried again. */
            if (!wanted && chance > HOPEFUL) p->token_ms *= HOPE;
            return;
        }
        expected += chance;
        g->reach = (float)chance;
        g->n_wanted++;
    }
}
