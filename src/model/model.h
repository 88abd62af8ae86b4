/* model/ — hyper-parameters, weights, and the one forward pass, described by data.
 *
 * Owns what a model file means: which keys give its shape, which tensors it must have and of what
 * dimensions (checked against each other before anything is loaded), and the order of operations of
 * a step. An architecture is a row in arch/ (model_arch below), not code. Callers: engine/. Knows
 * nothing of sampling, scheduling, HTTP; it runs operations on a device and is handed KV views.
 */
#ifndef MODEL_MODEL_H
#define MODEL_MODEL_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "device/device.h"
#include "format/source.h"
#include "kv/shape.h"
#include "mem/arena.h"

enum { MODEL_MAX_LAYERS = KV_LAYERS_MAX, MODEL_MAX_VOCAB = 1 << 22, MODEL_MAX_EXPERTS = 4096 };

typedef enum model_rope_scaling { MODEL_ROPE_PLAIN, MODEL_ROPE_LINEAR, MODEL_ROPE_YARN } model_rope_scaling;

/* What a token's experts count for: their shares of a softmax over all experts, or these scaled to a sum of one. */
typedef enum model_experts { MODEL_EXPERTS_NONE, MODEL_EXPERTS_SHARES, MODEL_EXPERTS_SUM_TO_ONE } model_experts;

/* How the states of a text's tokens become one vector: their mean, that of the last token, that of the first. */
typedef enum model_pooling { MODEL_POOL_NONE, MODEL_POOL_MEAN, MODEL_POOL_LAST, MODEL_POOL_CLS } model_pooling;

/* A row: what distinguishes one family from the next. Keys in the file are "<name>.…". */
typedef struct model_arch {
    const char *name; /* general.architecture */
    bool rope_interleaved; /* rotate (2i, 2i+1); otherwise (i, i + half) */
    device_activation activation;
    bool head_norms;       /* each head's query and key are normed before they are rotated */
    model_experts experts; /* of files that have some; NONE: the family has none */
    bool shared_expert;    /* beside them one for all tokens, in a share of its own */
} model_arch;

/* The row for a name, or NULL with ERR_UNSUPPORTED that lists what there is. */
const model_arch *model_arch_find(str name, err *e);

typedef struct model_hparams {
    const model_arch *arch;
    uint32_t n_vocab, n_layers, n_embd, n_heads, n_kv_heads, head_dim, head_dim_v, n_ff, n_context_train;
    float norm_eps, embed_scale, attention_scale, softcap;
    kv_shape kv;
    model_pooling pooling; /* what the file asks for; NONE: nothing */
    /* mixture of experts; n_experts 0: every layer has one feed-forward network, n_ff wide */
    uint32_t n_experts, n_experts_used, n_ff_exp, n_ff_shexp;
    /* rotary embedding */
    uint32_t rot_dim;
    float rope_base, rope_factor;
    model_rope_scaling rope_scaling;
    uint32_t rope_context_original;
    float rope_attn_factor, rope_beta_fast, rope_beta_slow;
} model_hparams;

/* Reads and validates the shape from a header: every number has a sane bound, heads divide, and so on. */
bool model_hparams_read(const format_source *file, model_hparams *h, err *e);
/* Multiply-adds of a token through the matrices, and for each token that it sees. */
double model_matmul_macs(const model_hparams *h);
double model_attend_macs(const model_hparams *h);

/* Which of these a layer has, the tables in weights.c say. */
typedef struct model_layer {
    const float *attn_norm, *ffn_norm, *q_norm, *k_norm, *shared_share;
    device_matrix q, k, v, o, gate, up, down;            /* the feed-forward network, or the shared expert */
    device_matrix router, gate_exps, up_exps, down_exps; /* of all experts, one behind the other */
} model_layer;

typedef struct model {
    model_hparams h;
    device *dev;
    model_layer *layers;
    device_matrix embed, output; /* output.data == embed.data when tied */
    bool tied;
    const float *output_norm;
    float *rope_freqs; /* [rot_dim/2] radians per position, scaling applied */
    float rope_mscale;
    size_t bytes; /* what the weights arena gave */
} model;

/* What the weights take in memory on a device of these operations, from the header alone. Also says
 * what is wrong with a model: missing tensors, wrong dimensions, types no kernel knows. */
bool model_plan_bytes(const format_source *file, const model_hparams *h, const device_ops *ops, size_t *bytes, err *e);

/* Of the weights in memory, those that a token does not meet: the experts it does not go to. */
size_t model_idle_bytes(const model *m);

typedef void model_progress(void *ctx, uint64_t done_bytes, uint64_t total_bytes);

/* Places and loads all weights into a (exactly model_plan_bytes are taken). scratch is used during the
 * load only. */
bool model_init(model *m, const format_source *file, const model_hparams *h, device *dev, mem_arena *a,
                mem_arena *scratch, model_progress *progress, void *progress_ctx, err *e);
size_t model_load_scratch_bytes(const format_source *file, const device_ops *ops, int n_threads);

/* ---- a step ---- */

typedef struct model_token {
    int32_t token;
    bool want_logits, want_state;
    uint32_t kept_as; /* the position from which it sees kept tokens; its own when none are kept */
    device_kv_view kv[KV_GROUPS_MAX]; /* where it is written, and what it sees */
} model_token;

/* Which experts a step's tokens go to. A slot is a token at one of its experts; slots are in the order of the
 * experts, those of one expert in the order of the tokens. */
typedef struct model_routes {
    float *logits;          /* [tokens][logits_stride] */
    uint32_t *chosen;       /* [tokens][n_experts_used], best first */
    float *chosen_weights;
    uint32_t *slot_token;   /* [tokens · n_experts_used] */
    float *slot_weight;
    uint32_t *next_slot;    /* [n_experts] */
    device_run *runs;       /* the experts that have tokens, ascending */
    uint32_t n_runs;
    float *shared_share;    /* [tokens] */
    float *gathered;        /* [tokens][n_embd]: what the slots of a wave begin with */
} model_routes;

/* Buffers of a step: activations for up to max_tokens, logits for up to max_logits of them. */
typedef struct model_workspace {
    uint32_t max_tokens, max_logits;
    float *x, *norm, *q, *q_sinks, *k, *v, *attn, *proj, *gate, *up, *act, *cos_sin, *cos_sin_sinks, *last;
    int32_t *ids;
    device_kv_view *views[KV_GROUPS_MAX];
    model_routes routes;
    float *logits; /* [max_logits][logits_stride] */
    uint32_t logits_stride;
    float *states; /* [max_tokens][n_embd], over norm: after the model's last norm */
} model_workspace;

void model_workspace_layout(model_workspace *w, const model_hparams *h, const device_ops *ops, uint32_t max_tokens,
                            uint32_t max_logits, mem_arena *a);
uint32_t model_max_cols(const model_hparams *h); /* widest matmul input */

/* Runs n tokens (of any sessions, a session's in ascending order) through the model: writes their K and
 * V, and for those that want it leaves logits in w->logits, in order; where any wants its state, those of all in
 * w->states. Stops early with ERR_CANCELLED when *cancel turns true (checked between operations; may be NULL); the
 * tokens' K and V are then undefined. Allocates nothing. */
bool model_forward(const model *m, model_workspace *w, const model_token *tokens, uint32_t n,
                   const _Atomic bool *cancel, err *e);

#endif
