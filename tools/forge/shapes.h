/* forge/shapes — the models that forge can write, one row each. */
#ifndef FORGE_SHAPES_H
#define FORGE_SHAPES_H

#include <stdbool.h>
#include <stdint.h>

typedef enum vocab_kind {
    VOCAB_SPM,    /* "llama": <unk> <s> </s>, 256 bytes, pieces */
    VOCAB_PHI3,   /* as VOCAB_SPM, and 64 special tokens at the end */
    VOCAB_LLAMA3, /* "gpt2", pre "llama-bpe": 256 bytes, merges, 256 special tokens at the end */
    VOCAB_QWEN2,  /* "gpt2", pre "qwen2": 256 bytes, merges, 293 special tokens at the end */
} vocab_kind;

typedef struct shape {
    const char *name, *arch, *about;
    vocab_kind vocab;
    uint32_t layers, width, ff, heads, kv_heads, head_dim, n_tokens, context;
    uint32_t experts, experts_used;
    uint32_t expert_ff; /* of each; 0: ff */
    uint32_t shared_ff; /* of the expert that all tokens meet; 0: there is none */
    uint32_t sliding_window;
    uint32_t rope_dims; /* of a head, those that rotate; 0: all */
    float rope_theta, norm_eps;
    bool tied;     /* no output.weight */
    bool qkv_bias;
    bool head_norms; /* attn_q_norm, attn_k_norm */
    bool fused;    /* attn_qkv; ffn_up holds gate and up */
} shape;

extern const shape shapes[];
extern const int n_shapes;

const shape *shape_by_name(const char *name);

#endif
