/* Makes small model files for tests: a Llama-shaped GGUF of any size and type, in memory or on disk, with the
 * exact values of its tensors kept aside for a reference to compute with. A spec can leave a part out or bend it. */
#ifndef TESTS_UNIT_MODEL_MODEL_BUILD_H
#define TESTS_UNIT_MODEL_MODEL_BUILD_H

#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/rng.h"
#include "compute/compute.h"
#include "format/gguf.h"

typedef struct model_spec {
    const char *arch; /* NULL: llama */
    uint32_t n_vocab, n_layers, n_embd, n_heads, n_kv_heads, head_dim, head_dim_v, n_ff, context;
    dtype type; /* of the matrices */
    bool tied, biases, vocabulary;
    bool fused_qkv;            /* in one tensor */
    bool post_norms, parallel; /* norms behind each block; attention and channel read the same */
    const uint32_t *layer_ff;  /* [n_layers] instead of n_ff */
    const char *rope_scaling;                       /* NULL: no such key */
    float rope_base, rope_factor, rope_attn_factor; /* 0: no such key */
    uint32_t rope_original, rot_dim;
    uint32_t window, window_pattern; /* 0: no such key */
    uint32_t n_experts, n_experts_used, n_ff_exp, n_ff_shexp; /* likewise */
    const float *rope_factors; /* tensor rope_freqs.weight */
    uint64_t seed;
    /* damage */
    const char *extra;   /* a tensor of this name is added: a vector of two */
    const char *omit;    /* this key or tensor is left out */
    const char *set_key; /* this key gets this value (added when there is none) */
    gguf_type set_type;
    double set_value;
    const char *set_text; /* with GGUF_STRING */
    const char *bend;     /* this tensor gets this type and these dimensions */
    dtype bend_type;
    uint32_t bend_n_dims;
    uint64_t bend_dims[3];
} model_spec;

typedef struct model_tensor {
    char name[64];
    dtype type;
    uint32_t n_dims;
    uint64_t dims[3];
    uint8_t *stored;
    size_t bytes;
    float *values; /* what stored means, row by row */
} model_tensor;

enum { MODEL_FILE_TENSORS = 256 };

typedef struct model_file {
    uint8_t *bytes;
    size_t len, cap;
    model_tensor tensors[MODEL_FILE_TENSORS];
    uint32_t n_tensors;
    uint64_t n_kvs;
} model_file;

/* ---- bytes ---- */

static inline void mb_raw(model_file *f, const void *data, size_t len) {
    while (f->len + len > f->cap) {
        f->cap = f->cap ? f->cap * 2 : 1 << 16;
        f->bytes = realloc(f->bytes, f->cap);
    }
    if (len) memcpy(f->bytes + f->len, data, len);
    f->len += len;
}
static inline void mb_u32(model_file *f, uint32_t v) { mb_raw(f, &v, 4); }
static inline void mb_u64(model_file *f, uint64_t v) { mb_raw(f, &v, 8); }
static inline void mb_text(model_file *f, const char *s) {
    mb_u64(f, strlen(s));
    mb_raw(f, s, strlen(s));
}

static inline void mb_scalar(model_file *f, gguf_type type, double v) {
    uint32_t u = (uint32_t)(v < 0 ? 0 : v);
    int32_t i = (int32_t)v;
    float x = (float)v;
    uint64_t wide = (uint64_t)(v < 0 ? 0 : v);
    uint8_t byte = v != 0;
    if (type == GGUF_F32)
        mb_raw(f, &x, 4);
    else if (type == GGUF_F64)
        mb_raw(f, &v, 8);
    else if (type == GGUF_I32)
        mb_raw(f, &i, 4);
    else if (type == GGUF_U64)
        mb_raw(f, &wide, 8);
    else if (type == GGUF_BOOL)
        mb_raw(f, &byte, 1);
    else
        mb_raw(f, &u, 4);
}

/* ---- keys: those of an architecture come as "head_count" and are written as "llama.head_count" ---- */

static inline void mb_key(model_file *f, const model_spec *s, const char *tail, bool general, gguf_type type, double v,
                          const char *text) {
    char key[128];
    snprintf(key, sizeof key, "%s%s%s", general ? "" : s->arch ? s->arch : "llama", general ? "" : ".", tail);
    if (s->omit && !strcmp(s->omit, key)) return;
    if (s->set_key && !strcmp(s->set_key, key)) return; /* its own value comes at the end */
    f->n_kvs++;
    mb_text(f, key);
    mb_u32(f, (uint32_t)type);
    if (type == GGUF_STRING)
        mb_text(f, text);
    else
        mb_scalar(f, type, v);
}
static inline void mb_arch_u32(model_file *f, const model_spec *s, const char *tail, uint32_t v) {
    if (v) mb_key(f, s, tail, false, GGUF_U32, v, NULL);
}
static inline void mb_arch_u32s(model_file *f, const model_spec *s, const char *tail, const uint32_t *v, uint32_t n) {
    char key[128];
    snprintf(key, sizeof key, "%s.%s", s->arch ? s->arch : "llama", tail);
    f->n_kvs++;
    mb_text(f, key), mb_u32(f, GGUF_ARRAY), mb_u32(f, GGUF_U32), mb_u64(f, n);
    for (uint32_t i = 0; i < n; i++) mb_u32(f, v[i]);
}
static inline void mb_arch_f32(model_file *f, const model_spec *s, const char *tail, float v) {
    if (v != 0) mb_key(f, s, tail, false, GGUF_F32, (double)v, NULL);
}

/* A SentencePiece vocabulary: <unk> <s> </s>, the 256 bytes, then "▁ta", "▁tb" … */
static inline void mb_vocabulary(model_file *f, const model_spec *s) {
    mb_key(f, s, "tokenizer.ggml.model", true, GGUF_STRING, 0, "llama");
    mb_key(f, s, "tokenizer.ggml.bos_token_id", true, GGUF_U32, 1, NULL);
    mb_key(f, s, "tokenizer.ggml.eos_token_id", true, GGUF_U32, 2, NULL);
    mb_key(f, s, "tokenizer.ggml.unknown_token_id", true, GGUF_U32, 0, NULL);
    f->n_kvs += 3;
    mb_text(f, "tokenizer.ggml.tokens"), mb_u32(f, GGUF_ARRAY), mb_u32(f, GGUF_STRING), mb_u64(f, s->n_vocab);
    for (uint32_t i = 0; i < s->n_vocab; i++) {
        char text[32];
        static const char *const first[] = {"<unk>", "<s>", "</s>"};
        if (i < 3)
            snprintf(text, sizeof text, "%s", first[i]);
        else if (i < 259)
            snprintf(text, sizeof text, "<0x%02X>", i - 3);
        else
            snprintf(text, sizeof text, "\xe2\x96\x81t%u", i);
        mb_text(f, text);
    }
    mb_text(f, "tokenizer.ggml.scores"), mb_u32(f, GGUF_ARRAY), mb_u32(f, GGUF_F32), mb_u64(f, s->n_vocab);
    for (uint32_t i = 0; i < s->n_vocab; i++) mb_scalar(f, GGUF_F32, i < 259 ? 0 : -(double)i);
    mb_text(f, "tokenizer.ggml.token_type"), mb_u32(f, GGUF_ARRAY), mb_u32(f, GGUF_I32), mb_u64(f, s->n_vocab);
    for (uint32_t i = 0; i < s->n_vocab; i++) mb_u32(f, i == 0 ? 2 : i < 3 ? 3 : i < 259 ? 6 : 1);
}

static inline void mb_keys(model_file *f, const model_spec *s) {
    mb_key(f, s, "general.architecture", true, GGUF_STRING, 0, s->arch ? s->arch : "llama");
    mb_key(f, s, "general.name", true, GGUF_STRING, 0, "a test model");
    mb_arch_u32(f, s, "context_length", s->context);
    mb_arch_u32(f, s, "embedding_length", s->n_embd);
    mb_arch_u32(f, s, "block_count", s->n_layers);
    if (s->layer_ff) mb_arch_u32s(f, s, "feed_forward_length", s->layer_ff, s->n_layers);
    else mb_arch_u32(f, s, "feed_forward_length", s->n_ff);
    mb_arch_u32(f, s, "expert_count", s->n_experts);
    mb_arch_u32(f, s, "expert_used_count", s->n_experts_used);
    mb_arch_u32(f, s, "expert_feed_forward_length", s->n_ff_exp);
    mb_arch_u32(f, s, "expert_shared_feed_forward_length", s->n_ff_shexp);
    mb_arch_u32(f, s, "attention.head_count", s->n_heads);
    mb_arch_u32(f, s, "attention.head_count_kv", s->n_kv_heads);
    mb_arch_u32(f, s, "attention.key_length", s->head_dim);
    mb_arch_u32(f, s, "attention.value_length", s->head_dim_v);
    mb_arch_f32(f, s, "attention.layer_norm_rms_epsilon", 1e-5f);
    mb_arch_u32(f, s, "attention.sliding_window", s->window);
    mb_arch_u32(f, s, "attention.sliding_window_pattern", s->window_pattern);
    mb_arch_u32(f, s, "rope.dimension_count", s->rot_dim);
    mb_arch_f32(f, s, "rope.freq_base", s->rope_base);
    if (s->rope_scaling) mb_key(f, s, "rope.scaling.type", false, GGUF_STRING, 0, s->rope_scaling);
    mb_arch_f32(f, s, "rope.scaling.factor", s->rope_factor);
    mb_arch_f32(f, s, "rope.scaling.attn_factor", s->rope_attn_factor);
    mb_arch_u32(f, s, "rope.scaling.original_context_length", s->rope_original);
    if (s->vocabulary) mb_vocabulary(f, s);
    if (s->set_key) {
        f->n_kvs++;
        mb_text(f, s->set_key), mb_u32(f, (uint32_t)s->set_type);
        if (s->set_type == GGUF_STRING)
            mb_text(f, s->set_text);
        else
            mb_scalar(f, s->set_type, s->set_value);
    }
}

/* ---- tensors ---- */

/* Values around mean, spread wide; stored as type, and kept as what was stored. */
static inline void mb_tensor(model_file *f, const model_spec *s, rng *r, const char *name, dtype type, uint32_t n_dims,
                             uint64_t cols, uint64_t rows, uint64_t n, double mean, double spread) {
    if (s->omit && !strcmp(s->omit, name)) return;
    model_tensor *t = &f->tensors[f->n_tensors++];
    if (f->n_tensors > MODEL_FILE_TENSORS) abort();
    *t = (model_tensor){.type = type, .n_dims = n_dims, .dims = {cols, rows, n}};
    snprintf(t->name, sizeof t->name, "%s", name);
    if (s->bend && !strcmp(s->bend, name)) {
        t->type = s->bend_type;
        t->n_dims = s->bend_n_dims;
        for (uint32_t i = 0; i < 3; i++) t->dims[i] = i < t->n_dims ? s->bend_dims[i] : 1;
    }
    cols = t->dims[0], rows = t->dims[1] * t->dims[2];
    size_t row_bytes = dtype_row_bytes(t->type, cols);
    t->bytes = rows * row_bytes;
    t->stored = calloc(t->bytes ? t->bytes : 1, 1);
    t->values = calloc(rows * cols + 1, sizeof(float));
    if (!compute_type_supported(t->type)) return; /* no values of such a type can be made here: zeros */
    for (uint64_t i = 0; i < rows; i++) {
        float *x = t->values + i * cols;
        for (uint64_t j = 0; j < cols; j++)
            x[j] = (float)(mean + spread * (rng_unit(r) + rng_unit(r) + rng_unit(r) - 1.5) * 2);
        compute_quantize_row(t->type, x, (uint32_t)cols, t->stored + i * row_bytes);
        compute_dequantize_row(t->type, t->stored + i * row_bytes, (uint32_t)cols, x);
    }
}

static inline void mb_matrix(model_file *f, const model_spec *s, rng *r, const char *name, uint32_t cols,
                             uint32_t rows) {
    mb_tensor(f, s, r, name, s->type, 2, cols, rows, 1, 0, 1.0 / sqrt(cols));
}
static inline void mb_vector(model_file *f, const model_spec *s, rng *r, const char *name, uint32_t n, double mean) {
    mb_tensor(f, s, r, name, DTYPE_F32, 1, n, 1, 1, mean, 0.2);
}

static inline uint32_t spec_head_dim(const model_spec *s) { return s->head_dim ? s->head_dim : s->n_embd / s->n_heads; }
static inline uint32_t spec_head_dim_v(const model_spec *s) { return s->head_dim_v ? s->head_dim_v : spec_head_dim(s); }

/* No tensor is 0 wide, whatever the key says. */
static inline uint32_t spec_ff(const model_spec *s, uint32_t layer) {
    return !s->layer_ff ? s->n_ff : s->layer_ff[layer] ? s->layer_ff[layer] : 1;
}

static inline bool spec_is(const model_spec *s, const char *family) { /* "qwen3": and qwen3moe */
    return s->arch && !strncmp(s->arch, family, strlen(family));
}

static inline void mb_in_layer(char name[64], uint32_t layer, const char *tail) {
    snprintf(name, 64, "blk.%u.%s", layer, tail);
}

/* In the middle of a layer: norms of heads. */
static inline void mb_head_norms(model_file *f, const model_spec *s, rng *r, uint32_t layer) {
    char name[64];
    if (!spec_is(s, "qwen3")) return;
    mb_in_layer(name, layer, "attn_q_norm.weight"), mb_vector(f, s, r, name, spec_head_dim(s), 1);
    mb_in_layer(name, layer, "attn_k_norm.weight"), mb_vector(f, s, r, name, spec_head_dim(s), 1);
}

/* The feed-forward part of a layer with experts; routers tell them clearly apart. */
static inline void mb_experts(model_file *f, const model_spec *s, rng *r, uint32_t layer) {
    uint32_t w = s->n_embd, ff = s->n_ff_exp ? s->n_ff_exp : s->n_ff, shared = s->n_ff_shexp;
    struct {
        const char *name;
        dtype type;
        uint32_t n_dims, cols, rows, n;
    } const parts[] = {
        {"ffn_gate_inp.weight", DTYPE_F32, 2, w, s->n_experts, 1},
        {"ffn_gate_exps.weight", s->type, 3, w, ff, s->n_experts},
        {"ffn_up_exps.weight", s->type, 3, w, ff, s->n_experts},
        {"ffn_down_exps.weight", s->type, 3, ff, w, s->n_experts},
        {"ffn_gate_inp_shexp.weight", DTYPE_F32, 1, w, 1, 1},
        {"ffn_gate_shexp.weight", s->type, 2, w, shared, 1},
        {"ffn_up_shexp.weight", s->type, 2, w, shared, 1},
        {"ffn_down_shexp.weight", s->type, 2, shared, w, 1},
    };
    for (int i = 0; i < (shared ? 8 : 4); i++) {
        char name[64];
        mb_in_layer(name, layer, parts[i].name);
        mb_tensor(f, s, r, name, parts[i].type, parts[i].n_dims, parts[i].cols, parts[i].rows, parts[i].n, 0,
                  1.0 / sqrt(parts[i].cols));
    }
}

/* q, k and v apart, or one behind the other in one tensor. */
static inline void mb_qkv(model_file *f, const model_spec *s, rng *r, uint32_t layer) {
    uint32_t d = spec_head_dim(s), rows[] = {s->n_heads * d, s->n_kv_heads * d, s->n_kv_heads * spec_head_dim_v(s)};
    static const char *const own[] = {"attn_q", "attn_k", "attn_v"};
    char name[64], tail[32];
    if (s->fused_qkv) {
        mb_in_layer(name, layer, "attn_qkv.weight");
        mb_matrix(f, s, r, name, s->n_embd, rows[0] + rows[1] + rows[2]);
        mb_in_layer(name, layer, "attn_qkv.bias");
        if (s->biases) mb_vector(f, s, r, name, rows[0] + rows[1] + rows[2], 0);
        return;
    }
    for (int i = 0; i < 3; i++) {
        snprintf(tail, sizeof tail, "%s.weight", own[i]);
        mb_in_layer(name, layer, tail), mb_matrix(f, s, r, name, s->n_embd, rows[i]);
        snprintf(tail, sizeof tail, "%s.bias", own[i]);
        mb_in_layer(name, layer, tail);
        if (s->biases) mb_vector(f, s, r, name, rows[i], 0);
    }
}

/* gate, up and down; of phi3 gate and up are one tensor, gate first. */
static inline void mb_dense(model_file *f, const model_spec *s, rng *r, uint32_t layer) {
    char name[64];
    uint32_t ff = spec_ff(s, layer), up = spec_is(s, "phi3") ? 2 * ff : ff;
    mb_in_layer(name, layer, "ffn_gate.weight");
    if (up == ff) mb_matrix(f, s, r, name, s->n_embd, ff);
    mb_in_layer(name, layer, "ffn_up.weight"), mb_matrix(f, s, r, name, s->n_embd, up);
    mb_in_layer(name, layer, "ffn_down.weight"), mb_matrix(f, s, r, name, ff, s->n_embd);
}

static inline void mb_layer(model_file *f, const model_spec *s, rng *r, uint32_t layer) {
    char name[64];
    mb_in_layer(name, layer, "attn_norm.weight"), mb_vector(f, s, r, name, s->n_embd, 1);
    mb_in_layer(name, layer, "ffn_norm.weight"), mb_vector(f, s, r, name, s->n_embd, 1);
    mb_head_norms(f, s, r, layer);
    mb_qkv(f, s, r, layer);
    mb_in_layer(name, layer, "attn_output.weight");
    mb_matrix(f, s, r, name, s->n_heads * spec_head_dim_v(s), s->n_embd);
    if (s->n_experts) mb_experts(f, s, r, layer);
    else mb_dense(f, s, r, layer);
    if (!s->post_norms) return;
    mb_in_layer(name, layer, "post_attention_norm.weight"), mb_vector(f, s, r, name, s->n_embd, 1);
    mb_in_layer(name, layer, "post_ffw_norm.weight"), mb_vector(f, s, r, name, s->n_embd, 1);
}

static inline void mb_tensors(model_file *f, const model_spec *s) {
    rng r;
    rng_seed(&r, s->seed);
    mb_tensor(f, s, &r, "token_embd.weight", s->type, 2, s->n_embd, s->n_vocab, 1, 0, 1);
    mb_vector(f, s, &r, "output_norm.weight", s->n_embd, 1);
    if (!s->tied) mb_matrix(f, s, &r, "output.weight", s->n_embd, s->n_vocab);
    if (s->rope_factors) {
        mb_vector(f, s, &r, "rope_freqs.weight", (s->rot_dim ? s->rot_dim : spec_head_dim(s)) / 2, 1);
        model_tensor *t = &f->tensors[f->n_tensors - 1];
        if (t->type == DTYPE_F32) memcpy(t->stored, s->rope_factors, t->bytes);
    }
    if (s->extra) mb_vector(f, s, &r, s->extra, 2, 1);
    for (uint32_t i = 0; i < s->n_layers; i++) mb_layer(f, s, &r, i);
}

static inline uint64_t mb_aligned(uint64_t n) { return (n + 31) & ~UINT64_C(31); }

static inline void model_file_make(model_file *f, const model_spec *s) {
    *f = (model_file){0};
    mb_tensors(f, s);
    mb_raw(f, "GGUF", 4), mb_u32(f, 3), mb_u64(f, f->n_tensors), mb_u64(f, 0);
    mb_keys(f, s);
    memcpy(f->bytes + 16, &f->n_kvs, 8);
    uint64_t at = 0;
    for (uint32_t i = 0; i < f->n_tensors; i++) {
        const model_tensor *t = &f->tensors[i];
        mb_text(f, t->name), mb_u32(f, t->n_dims);
        for (uint32_t d = 0; d < t->n_dims; d++) mb_u64(f, t->dims[d]);
        mb_u32(f, t->type), mb_u64(f, at);
        at = mb_aligned(at + t->bytes);
    }
    static const char zeros[32];
    for (uint32_t i = 0; i < f->n_tensors; i++) {
        mb_raw(f, zeros, mb_aligned(f->len) - f->len);
        mb_raw(f, f->tensors[i].stored, f->tensors[i].bytes);
    }
    mb_raw(f, zeros, mb_aligned(f->len) - f->len);
}

static inline void model_file_free(model_file *f) {
    for (uint32_t i = 0; i < f->n_tensors; i++) free(f->tensors[i].stored), free(f->tensors[i].values);
    free(f->bytes);
}

/* The exact values of a tensor; NULL when the file has none of that name. */
static inline const float *model_file_values(const model_file *f, const char *name) {
    for (uint32_t i = 0; i < f->n_tensors; i++)
        if (!strcmp(f->tensors[i].name, name)) return f->tensors[i].values;
    return NULL;
}

static inline void model_file_write(const model_file *f, const char *path) {
    FILE *out = fopen(path, "wb");
    if (!out || fwrite(f->bytes, 1, f->len, out) != f->len || fclose(out)) abort();
}

#endif
