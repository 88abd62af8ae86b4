/* engine/draft — drafts by a second, smaller model of the same vocabulary.
 *
 * Owns what that model has seen of each generation (a sequence in its own KV pool, opened when the first draft is
 * wanted). Callers: generation.c, and whoever composes steps, before the step. */
#ifndef ENGINE_DRAFT_H
#define ENGINE_DRAFT_H

#include "engine/generation.h"

/* Writes n_wanted drafted tokens behind what is known of each of n ≤ SPECULATE_MOST generations; where that is not
 * possible (its prompt is still being read; no pages), n_wanted is less afterwards. Only with engine_draft_name. */
void engine_draft_propose(engine *en, engine_generation *const *gs, uint32_t n);
/* After a step: what was drafted wrong is forgotten. */
void engine_draft_follow(engine_generation *g);
/* Before a generation's session closes. */
void engine_draft_end(engine_generation *g);
/* Pages of that model that nothing uses go back. */
void engine_draft_trim(engine *en);

#endif
