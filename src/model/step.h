/* model/step — a step under way, and what a block is to it. Internal to model/.
 *
 * A kind of block is a row of model_blocks: how it lays out its buffers, and one function that reads `in`, the normed
 * residual stream, and adds what it makes to `out`. It treats tokens as the device does: each by itself but for what
 * it sees through KV pages, so no bit depends on who else is in the step (promise 7).
 */
#ifndef MODEL_STEP_H
#define MODEL_STEP_H

#include "model/model.h"

typedef struct model_step {
    const model *m;
    model_workspace *w;
    uint32_t n;
    bool keeps; /* some token sees kept ones from another position than its own */
    const _Atomic bool *cancel;
} model_step;

typedef struct model_block_ops {
    bool mixes; /* tokens with each other: a mixer */
    void (*layout)(model_workspace *w, const model_desc *d, const device_ops *ops, mem_arena *a);
    /* in and out: [n][n_embd]; in is not w->x or out. False: cancelled, and out is undefined. */
    bool (*add)(const model_step *s, uint32_t layer, const float *in, float *out);
} model_block_ops;

extern const model_block_ops model_attention_ops, model_dense_ops, model_experts_ops;

/* Asked several times a layer: so it is, too, where a step shows that it moves on. */
bool model_step_cancelled(const model_step *s);

/* channel/dense.c: what dense networks and experts share. */
void model_network_layout(model_workspace *w, const model_desc *d, const device_ops *ops, mem_arena *a);
/* w->proj = down · (act(gate · x) · (up · x)); each token meets the matrices of its run. */
bool model_network(const model_step *s, device_activation activation, const device_matrix *gate,
                   const device_matrix *up, const device_matrix *down, const float *x, const device_run *runs,
                   uint32_t n_runs);

/* channel/experts.c: the next runs of together at most max_tokens slots, from run on; their first are made to count
 * from the first one's. Returns the run after them and says how many slots they are. */
uint32_t model_experts_wave(device_routes *r, uint32_t run, uint32_t max_tokens, uint32_t *n_slots);

/* rope.c */
void model_rope_fill(const model_rope *r, const float *factors, model_rope_table *out);

#endif
