/* model/channel/routes — which experts the tokens of a step go to, and in which order they meet them. Internal to
 * channel/.
 *
 * Owns the choice (the experts of the greatest router logits, of equals those of lower numbers) and what each
 * counts for. A token's choice depends on its own logits alone, and its experts' results are added in ascending
 * order of the experts, so it never matters which tokens are beside it (promise 7). */
#ifndef MODEL_CHANNEL_ROUTES_H
#define MODEL_CHANNEL_ROUTES_H

#include "model/model.h"

void model_routes_layout(model_routes *r, const model_experts *x, uint32_t n_embd, const device_ops *ops,
                         uint32_t max_tokens, mem_arena *a);
/* From the logits of n tokens: slots and runs, whose first is a slot of all. */
void model_routes_fill(model_routes *r, const model_experts *x, uint32_t logits_stride, uint32_t n);
/* The next runs of together at most max_tokens slots, from run on; their first are made to count from the first
 * one's. Returns the run after them and says which slots they are. */
uint32_t model_routes_wave(model_routes *r, uint32_t run, uint32_t max_tokens, uint32_t *first_slot,
                           uint32_t *n_slots);
/* What the shared expert counts for: a sigmoid of x · weights. */
void model_routes_shared(const float *weights, const float *x, uint32_t n, uint32_t n_embd, float *shares);

#endif
