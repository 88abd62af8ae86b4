/* DRY: a token that would go on with a repetition loses the more, the longer the repetition is. */
#include <math.h>
#include <string.h>

#include "engine/internal.h"
#include "engine/sampler.h"

/* Texts of tokens, from the last one on backwards: only as much as a breaker can reach back. */
enum { TAIL_BYTES = TEXT_TOKEN_BYTES_MAX + SAMPLER_BREAKER_BYTES };

/* Whether a breaker ends within the last `own` bytes of a text. */
static bool breaks(const engine_sampling *s, const char *text, uint32_t len, uint32_t own) {
    for (uint32_t i = 0; i < s->n_breakers; i++) {
        uint32_t n = s->breakers[i].len, reach = own + n - 1;
        uint32_t from = reach < len ? len - reach : 0;
        if (own && memmem(text + from, len - from, s->breakers[i].text, n)) return true;
    }
    return false;
}

/* Whether a breaker ends within token `at`; it may have begun in those before it, down to `first`. */
static bool breaks_at(const engine *en, const engine_sampling *s, const int32_t *tokens, uint32_t first, uint32_t at) {
    char text[TAIL_BYTES], piece[TEXT_TOKEN_BYTES_MAX];
    uint32_t own = (uint32_t)text_token_bytes(en->vocab, tokens[at], true, piece), len = own;
    memcpy(text + TAIL_BYTES - own, piece, own);
    while (at > first && len < own + SAMPLER_BREAKER_BYTES) {
        uint32_t n = (uint32_t)text_token_bytes(en->vocab, tokens[--at], true, piece);
        uint32_t room = own + SAMPLER_BREAKER_BYTES - len, taken = n < room ? n : room;
        memcpy(text + TAIL_BYTES - len - taken, piece + n - taken, taken);
        len += taken;
    }
    return breaks(s, text + TAIL_BYTES - len, len, own);
}

/* Tokens at the end, up to `most`, that no breaker stands among. */
static uint32_t unbroken(const engine *en, const engine_sampling *s, const int32_t *tokens, uint32_t n, uint32_t most) {
    if (!s->n_breakers || !en->vocab) return most;
    for (uint32_t i = 0; i < most; i++)
        if (breaks_at(en, s, tokens, 0, n - 1 - i)) return i;
    return most;
}

/* z[k]: how many tokens before place k from the end are the last ones, too (Gusfield's Z, read backwards). The longest
 * is returned. */
static uint32_t repetitions(const int32_t *tokens, uint32_t n, uint32_t window, uint32_t *z) {
    uint32_t left = 0, right = 0, longest = 0; /* [left, right): the match that reaches furthest */
#define BACK(i) tokens[n - 1 - (i)]
    for (uint32_t k = 1; k < window; k++) {
        uint32_t len = k < right ? (z[k - left] < right - k ? z[k - left] : right - k) : 0;
        while (k + len < window && BACK(len) == BACK(k + len)) len++;
        if (k + len > right) left = k, right = k + len;
        z[k] = len;
        if (len > longest) longest = len;
    }
    return longest;
}

void engine_apply_dry(engine *en, const engine_sampling *s, engine_candidate *c, const int32_t *tokens, uint32_t n) {
    uint32_t window = s->dry_last_n < 0 || (uint32_t)s->dry_last_n > n ? n : (uint32_t)s->dry_last_n;
    if (window > en->desc.n_vocab) window = en->desc.n_vocab; /* the scratch is that large */
    uint32_t *z = (uint32_t *)(void *)en->adjusted;
    if (window < 2) return;
    uint32_t longest = repetitions(tokens, n, window, z);
    if (longest > SAMPLER_DRY_MATCH_MAX) longest = SAMPLER_DRY_MATCH_MAX;
    if (longest < s->dry_allowed_length || !longest) return;
    uint32_t limit = unbroken(en, s, tokens, n, longest);
    for (uint32_t k = 1; k < window; k++) {
        uint32_t len = z[k] < limit ? z[k] : limit;
        uint16_t *most = &en->token_counts[BACK(k - 1)];
        if (len && len >= s->dry_allowed_length && len > *most) *most = (uint16_t)len;
    }
    for (uint32_t k = 1; k < window; k++) {
        uint16_t *len = &en->token_counts[BACK(k - 1)];
        if (!*len) continue;
        double penalty = (double)s->dry_multiplier * pow((double)s->dry_base, *len - s->dry_allowed_length);
        c[BACK(k - 1)].logit -= penalty < 1e30 ? (float)penalty : 1e30f;
        *len = 0;
    }
}
