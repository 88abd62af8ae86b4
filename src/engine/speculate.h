/* engine/speculate — drafts of what comes next, and whether they are worth a place in a step.
 *
 * Owns the search for the last tokens earlier in the same text (prompt lookup: Saxena 2023; as a way to draft for
 * speculative decoding: Leviathan et al. 2023, arXiv 2211.17192), how often such drafts were right, and how a step's
 * time grows with its tokens. Callers: generation.c and whoever composes steps. A draft never changes what is said:
 * the model judges it, and the sampler chooses as it would have without.
 */
#ifndef ENGINE_SPECULATE_H
#define ENGINE_SPECULATE_H

#include <stdbool.h>
#include <stdint.h>

enum {
    SPECULATE_MOST = 15,       /* drafted tokens in one step, of all sessions together */
    SPECULATE_BARE_EVERY = 16, /* such a step has none: what it takes without is measured anew */
    STEP_COST_TOKENS_MOST = 64,     /* nothing is drafted in steps of more */
    GUESS_MATCH_MOST = 8,      /* longer matches count as this long */
};

typedef struct engine_drafter {
    bool on;        /* the owner's choice */
    uint32_t from;  /* where in the text the token is that is drafted to come next */
    uint32_t match; /* so many tokens before it are the last ones, too; 0: no draft */
    float right[GUESS_MATCH_MOST + 1]; /* how often drafts after a match so long were right, lately */
    /* of the step being composed: */
    uint32_t n_most, n_wanted;
    float reach; /* the chance that all that are wanted are right */
} engine_drafter;

void engine_drafter_begin(engine_drafter *g, bool on);
/* The same for drafts that someone else writes, behind n known tokens. */
void engine_drafter_expect(engine_drafter *g, uint32_t n);
/* Looks for the last of n tokens earlier among them, unless the last draft was right: then it goes on. */
void engine_drafter_look(engine_drafter *g, const int32_t *tokens, uint32_t n);
/* The chance that one more drafted token is right, with those wanted before it; 0: none may be had. */
float engine_drafter_next_chance(const engine_drafter *g);
/* Writes n drafted tokens behind the n_tokens that are known. */
void engine_drafter_write(const engine_drafter *g, int32_t *tokens, uint32_t n_tokens, uint32_t n);
/* The token that has come; tokens are those before it. */
void engine_drafter_learn(engine_drafter *g, const int32_t *tokens, int32_t came);

/* What a step of n decoding tokens takes: share[n] × level_ms. The level follows the machine and the texts at once; the
 * shares, which decide, follow what steps of that many took beside it. */
typedef struct engine_step_cost {
    double level_ms, share[STEP_COST_TOKENS_MOST + 1]; /* 0: not known */
} engine_step_cost;

void engine_step_cost_note(engine_step_cost *p, uint32_t n_tokens, double ms);
double engine_step_cost_share(const engine_step_cost *p, uint32_t n_tokens); /* between what is known where it is not */

/* How many tokens to draft (n_wanted) for each of n sequences that decode in one step, `most` in all: as many
 * as let the step say most in its time. Where time goes with the number of tokens, that is none. */
void engine_speculate(engine_step_cost *p, engine_drafter *const *drafts, uint32_t n, uint32_t most);

#endif
