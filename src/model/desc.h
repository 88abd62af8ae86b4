/* model/desc — a model as data: what a family's `describe` writes, and all that the rest of model/ reads.
 *
 * A model is a list of layers, and a layer a short list of **blocks**: parts that read the residual stream, normed, and
 * add what they make to it. Mixers (attention) let tokens see each other, channels (dense networks, experts) treat each
 * token by itself. A block may be *joined* to the one before: both read the same stream, and their sum is added at
 * once (attention beside Mamba, experts beside a dense network, parallel residuals).
 *
 * Where weights lie is data, too: a **part** is a matrix of a layer and the rows of a tensor that hold it, so that
 * fused tensors (q, k and v in one) are three parts of one name. Sizes are each layer's own.
 *
 * Owns the description and its memory; made once from a file's header (model_describe), then read by everyone, and it
 * outlives the model. Callers: engine/, model/. Refuses what no kernel can compute, by the name of the key or tensor.
 */
#ifndef MODEL_DESC_H
#define MODEL_DESC_H

#include "base/alloc.h"
#include "base/err.h"
#include "device/device.h"
#include "format/source.h"
#include "kv/shape.h"

enum {
    MODEL_MAX_LAYERS = KV_LAYERS_MAX,
    MODEL_MAX_VOCAB = 1 << 22,
    MODEL_MAX_EXPERTS = 4096,
    MODEL_BLOCKS_MAX = 4, /* of a layer: two mixers and two channels */
    MODEL_ROPES_MAX = 2,  /* layers that see everything, layers with a window */
    MODEL_NO_ROPE = MODEL_ROPES_MAX,
};

/* ---- blocks ---- */

/* A mixer is a file in mixer/, a channel one in channel/; each fills a row of model_blocks (step.h). */
typedef enum model_block_kind {
    MODEL_ATTENTION, /* mixer: softmax over keys and values of a KV group */
    MODEL_DENSE,     /* channel: down · (act(gate · x) · (up · x)) */
    MODEL_EXPERTS,   /* channel: some of many such networks for each token, and one for all where there is one */
    MODEL_BLOCK_KINDS,
} model_block_kind;

typedef struct model_block {
    model_block_kind kind;
    bool joined; /* reads what the block before read; their results are summed before they are added */
} model_block;

typedef struct model_attention {
    uint32_t n_heads, n_kv_heads, head_dim, head_dim_v;
    uint32_t window; /* positions that a token sees, its own included; 0: all before it */
    uint32_t rope;   /* which of the model's, or MODEL_NO_ROPE */
    float scale;     /* of q · k */
    float softcap;   /* c · tanh(x / c) of the scaled product; 0: none */
} model_attention;

typedef struct model_dense {
    uint32_t n_ff;
    device_activation activation;
} model_dense;

typedef struct model_experts {
    uint32_t n, n_used, n_ff; /* n 0: the layer has none */
    uint32_t n_ff_shared;     /* of the one for all tokens; 0: there is none */
    device_gating gating;
    device_activation activation;
} model_experts;

/* ---- where weights lie ---- */

typedef enum model_matrix {
    MODEL_Q, MODEL_K, MODEL_V, MODEL_O,
    MODEL_GATE, MODEL_UP, MODEL_DOWN, /* of the dense network, or of the expert for all tokens */
    MODEL_ROUTER, MODEL_GATE_EXPS, MODEL_UP_EXPS, MODEL_DOWN_EXPS, /* of all experts, one behind the other */
    MODEL_MATRICES,
} model_matrix;

typedef enum model_vector {
    MODEL_NORM, /* of block i: MODEL_NORM + i, on what it reads; a joined block without one takes its neighbour's */
    MODEL_POST_NORM = MODEL_NORM + MODEL_BLOCKS_MAX, /* of block i, on what it (and what is joined to it) makes */
    MODEL_Q_NORM = MODEL_POST_NORM + MODEL_BLOCKS_MAX, /* of each head */
    MODEL_K_NORM,
    MODEL_SHARED_GATE, /* [n_embd]: how much the expert for all counts */
    MODEL_VECTORS,
} model_vector;

/* "attn_q" is tensor blk.N.attn_q.weight, its bias blk.N.attn_q.bias. */
typedef struct model_part {
    const char *tensor; /* literal */
    model_matrix slot;
    uint32_t n;                      /* matrices in the tensor, one behind the other */
    uint32_t rows, cols;             /* of each */
    uint32_t first_row, tensor_rows; /* its rows among those of a fused tensor */
    bool no_bias;                    /* a bias in the file is refused: no kernel minds it */
} model_part;

typedef struct model_vector_part {
    const char *tensor; /* literal; blk.N.<tensor>.weight */
    model_vector slot;
    uint32_t size, n_dims; /* n_dims 2: one row of a matrix is as good */
} model_vector_part;

enum { MODEL_PARTS_MAX = 12, MODEL_VECTOR_PARTS_MAX = 12 };

typedef struct model_layer_desc {
    model_block blocks[MODEL_BLOCKS_MAX];
    uint32_t n_blocks, n_parts, n_vectors;
    model_attention attention; /* read where a block of that kind is listed, as dense and experts are */
    model_dense dense;
    model_experts experts;
    model_part parts[MODEL_PARTS_MAX];
    model_vector_part vectors[MODEL_VECTOR_PARTS_MAX];
} model_layer_desc;

/* ---- the whole ---- */

typedef enum model_rope_scaling { MODEL_ROPE_PLAIN, MODEL_ROPE_LINEAR, MODEL_ROPE_YARN } model_rope_scaling;

typedef struct model_rope {
    bool interleaved; /* rotate (2i, 2i+1); otherwise (i, i + half) */
    uint32_t dims;    /* of a head, from its first on */
    float base, factor;
    model_rope_scaling scaling;
    uint32_t context_original;
    float attn_factor, beta_fast, beta_slow;
    const char *factors; /* tensor of [dims / 2] divisors, used where the file has it; NULL: none */
} model_rope;

/* How the states of a text's tokens become one vector: their mean, that of the last token, that of the first. */
typedef enum model_pooling { MODEL_POOL_NONE, MODEL_POOL_MEAN, MODEL_POOL_LAST, MODEL_POOL_CLS } model_pooling;

typedef struct model_desc {
    const char *family; /* general.architecture */
    uint32_t n_vocab, n_layers, n_embd, n_context_train;
    float norm_eps, embed_scale;
    model_pooling pooling; /* what the file asks for; NONE: nothing */
    model_rope ropes[MODEL_ROPES_MAX];
    uint32_t n_ropes;
    model_layer_desc *layers;
    const base_alloc *alloc; /* of layers */
    kv_shape kv;
} model_desc;

/* Finds the family and lets it describe the file; every number has a sane bound, heads divide, and so on. Tensors are
 * held against it by model_plan_bytes. The layers are alloc's; on failure nothing is held. */
bool model_describe(model_desc *d, const format_source *file, const base_alloc *alloc, err *e);
void model_desc_free(model_desc *d);

/* Multiply-adds of a token through the matrices, and for each token that it sees. */
double model_matmul_macs(const model_desc *d);
double model_attend_macs(const model_desc *d);
uint32_t model_max_cols(const model_desc *d); /* widest matmul input */
/* Sets *first … over the layers that have a block of this kind; NULL: none is left. */
const model_layer_desc *model_next_with(const model_desc *d, model_block_kind kind, uint32_t *layer);

#endif
