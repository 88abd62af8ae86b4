/* model/ — what a model file means, its weights, and the one forward pass, described by data.
 *
 * Owns the description of a model (desc.h; a function a family in arch/), which tensors it must have and of what
 * dimensions (checked against each other before anything is loaded), the weights, and the order of operations of a
 * step: mixers in mixer/, channels in channel/, walked by forward.c. Callers: engine/. Knows nothing of sampling,
 * scheduling, HTTP; it runs operations on a device and is handed KV views. What a file is in, format/source.h hides.
 */
#ifndef MODEL_MODEL_H
#define MODEL_MODEL_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "mem/arena.h"
#include "model/desc.h"

/* What a layer lacks is absent: data NULL, a vector NULL. */
typedef struct model_layer {
    device_matrix m[MODEL_MATRICES];
    const float *v[MODEL_VECTORS];
} model_layer;

typedef struct model_rope_table {
    float *freqs; /* [dims/2] radians per position, scaling applied */
    float mscale;
} model_rope_table;

typedef struct model {
    const model_desc *d;
    device *dev;
    model_layer *layers;
    device_matrix embed, output; /* output.data == embed.data when tied */
    bool tied;
    const float *output_norm;
    model_rope_table ropes[MODEL_ROPES_MAX];
    size_t bytes; /* what the weights arena gave */
} model;

/* What the weights take in memory on a device of these operations, from the header alone. Also says
 * what is wrong with a model: missing tensors, wrong dimensions, types no kernel knows. */
bool model_plan_bytes(const format_source *file, const model_desc *d, const device_ops *ops, size_t *bytes, err *e);

/* Of the weights in memory, those that a token does not meet: the experts it does not go to. */
size_t model_idle_bytes(const model *m);

typedef void model_progress(void *ctx, uint64_t done_bytes, uint64_t total_bytes);

/* Places and loads all weights into a (exactly model_plan_bytes are taken); d outlives the model. scratch is used
 * during the load only. */
bool model_init(model *m, const format_source *file, const model_desc *d, device *dev, mem_arena *a,
                mem_arena *scratch, model_progress *progress, void *progress_ctx, err *e);
size_t model_load_scratch_bytes(const format_source *file, const device_ops *ops, int n_threads);

/* ---- a step ---- */

typedef struct model_token {
    int32_t token;
    bool want_logits, want_state;
    uint32_t kept_as; /* the position from which it sees kept tokens; its own when none are kept */
    device_kv_view kv[KV_GROUPS_MAX]; /* where it is written, and what it sees */
} model_token;

/* Buffers of a step: activations for up to max_tokens, logits for up to max_logits of them. What only mixers use and
 * what only channels use lies over each other: no two blocks run at once. */
typedef struct model_workspace {
    uint32_t max_tokens, max_logits;
    float *x, *norm, *sum, *proj;                 /* [tokens][n_embd], proj in rows of row_stride */
    float *q, *q_sinks, *k, *v, *attn;            /* of attention */
    float *gate, *up, *act;                       /* of networks */
    float *router_logits, *shared_weight, *gathered; /* of experts; gathered: what the slots of a wave begin with */
    device_routes routes;
    float *cos_sin[MODEL_ROPES_MAX], *cos_sin_sinks[MODEL_ROPES_MAX]; /* [tokens][dims/2][2] */
    float *last;
    int32_t *ids;
    uint32_t *positions, *positions_sinks, *wanted; /* [tokens], [tokens], [max_logits]: rows of x */
    device_kv_view *views[KV_GROUPS_MAX];
    float *logits; /* [max_logits][logits_stride] */
    uint32_t logits_stride;
    float *states; /* [max_tokens][n_embd], over norm: after the model's last norm */
} model_workspace;

void model_workspace_layout(model_workspace *w, const model_desc *d, const device_ops *ops, uint32_t max_tokens,
                            uint32_t max_logits, mem_arena *a);

/* Runs n tokens (of any sessions, a session's in ascending order) through the model: writes their K and
 * V, and for those that want it leaves logits in w->logits, in order; where any wants its state, those of all in
 * w->states. Stops early with ERR_CANCELLED when *cancel turns true (checked between operations; may be NULL); the
 * tokens' K and V are then undefined. Allocates nothing. */
bool model_forward(const model *m, model_workspace *w, const model_token *tokens, uint32_t n,
                   const _Atomic bool *cancel, err *e);

#endif
