/* A plain decoder, from its keys: the numbers first, all of them held against each other, then the parts of each
 * layer. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "compute/limits.h"
#include "model/arch/arch.h"

static bool read_vocab_size(const arch_reader *r, model_desc *d) {
    const format_tensor *t = format_find(r->file, STR("token_embd.weight"));
    if (!t) return err_set(r->e, ERR_FORMAT, "tensor token_embd.weight is missing");
    if (t->n_dims != 2 || t->dims[1] > MODEL_MAX_VOCAB)
        return err_set(r->e, ERR_FORMAT, "token_embd.weight has %u dimensions, %llu rows", t->n_dims,
                       (unsigned long long)t->dims[1]);
    d->n_vocab = (uint32_t)t->dims[1];
    return true;
}

static bool begin_layers(const arch_reader *r, model_desc *d) {
    if (!read_vocab_size(r, d)) return false;
    if (!arch_u32(r, "context_length", true, 1, 1u << 30, &d->n_context_train)) return false;
    if (!arch_u32(r, "embedding_length", true, 1, 1u << 20, &d->n_embd)) return false;
    if (!arch_u32(r, "block_count", true, 1, MODEL_MAX_LAYERS, &d->n_layers)) return false;
    d->layers = alloc_zeroed(d->alloc, d->n_layers * sizeof *d->layers);
    return d->layers || err_set_memory(r->e, d->n_layers * sizeof *d->layers, 0, "no memory to describe %u layers",
                                       d->n_layers);
}

/* ---- channels ---- */

enum { FF_MOST = 1 << 22 };

static bool read_experts(const arch_reader *r, const arch_traits *t, uint32_t n_ff, model_experts *x) {
    *x = (model_experts){.gating = t->gating, .activation = t->activation, .n_ff = n_ff};
    if (!arch_u32(r, "expert_count", false, 0, MODEL_MAX_EXPERTS, &x->n)) return false;
    if (!x->n) return true;
    if (t->gating == DEVICE_GATING_NONE)
        return err_set(r->e, ERR_UNSUPPORTED, "%s.expert_count is %u, but the family %s is known without experts only",
                       r->family, x->n, r->family);
    if (!arch_u32(r, "expert_used_count", true, 1, x->n, &x->n_used)) return false;
    if (!arch_u32(r, "expert_feed_forward_length", false, 1, FF_MOST, &x->n_ff)) return false;
    if (!t->shared_expert) return true;
    x->n_ff_shared = n_ff;
    return arch_u32(r, "expert_shared_feed_forward_length", false, 1, FF_MOST, &x->n_ff_shared);
}

static bool read_channels(const arch_reader *r, const arch_traits *t, model_desc *d) {
    uint32_t n_ff[MODEL_MAX_LAYERS];
    model_experts experts;
    if (!arch_u32s(r, "feed_forward_length", true, 1, FF_MOST, d->n_layers, n_ff)) return false;
    if (!read_experts(r, t, n_ff[0], &experts)) return false;
    for (uint32_t i = 0; i < d->n_layers; i++) {
        d->layers[i].dense = (model_dense){n_ff[i], t->activation};
        d->layers[i].experts = experts;
    }
    return true;
}

static void dense_parts(const arch_traits *t, uint32_t n_embd, model_layer_desc *l) {
    uint32_t n_ff = l->dense.n_ff;
    if (t->fused_gate_up) {
        arch_matrix(l, MODEL_GATE, "ffn_up", n_ff, n_embd)->tensor_rows = 2 * n_ff;
        model_part *up = arch_matrix(l, MODEL_UP, "ffn_up", n_ff, n_embd);
        up->first_row = n_ff, up->tensor_rows = 2 * n_ff;
    } else {
        arch_matrix(l, MODEL_GATE, "ffn_gate", n_ff, n_embd);
        arch_matrix(l, MODEL_UP, "ffn_up", n_ff, n_embd);
    }
    arch_matrix(l, MODEL_DOWN, "ffn_down", n_embd, n_ff);
}

static void experts_parts(uint32_t n_embd, model_layer_desc *l) {
    const model_experts *x = &l->experts;
    arch_matrix(l, MODEL_ROUTER, "ffn_gate_inp", x->n, n_embd)->no_bias = true;
    const struct {
        const char *tensor;
        model_matrix slot;
        uint32_t rows, cols;
    } of_all[] = {{"ffn_gate_exps", MODEL_GATE_EXPS, x->n_ff, n_embd},
                  {"ffn_up_exps", MODEL_UP_EXPS, x->n_ff, n_embd},
                  {"ffn_down_exps", MODEL_DOWN_EXPS, n_embd, x->n_ff}},
      shared[] = {{"ffn_gate_shexp", MODEL_GATE, x->n_ff_shared, n_embd},
                  {"ffn_up_shexp", MODEL_UP, x->n_ff_shared, n_embd},
                  {"ffn_down_shexp", MODEL_DOWN, n_embd, x->n_ff_shared}};
    for (int i = 0; i < 3; i++) {
        model_part *p = arch_matrix(l, of_all[i].slot, of_all[i].tensor, of_all[i].rows, of_all[i].cols);
        p->n = x->n, p->no_bias = true;
    }
    if (!x->n_ff_shared) return;
    arch_vector(l, MODEL_SHARED_GATE, "ffn_gate_inp_shexp", n_embd)->n_dims = 2;
    for (int i = 0; i < 3; i++)
        arch_matrix(l, shared[i].slot, shared[i].tensor, shared[i].rows, shared[i].cols)->no_bias = true;
}

/* ---- attention ---- */

static bool read_heads(const arch_reader *r, model_desc *d) {
    uint32_t n_heads[MODEL_MAX_LAYERS], n_kv_heads[MODEL_MAX_LAYERS], n = d->n_layers;
    if (!arch_u32s(r, "attention.head_count", true, 1, 4096, n, n_heads)) return false;
    memcpy(n_kv_heads, n_heads, n * sizeof *n_heads);
    if (!arch_u32s(r, "attention.head_count_kv", false, 1, 4096, n, n_kv_heads)) return false;
    for (uint32_t i = 0; i < n; i++) {
        if (n_kv_heads[i] > n_heads[i] || n_heads[i] % n_kv_heads[i] || n_heads[i] / n_kv_heads[i] > COMPUTE_GROUP_MAX)
            return err_set(r->e, ERR_FORMAT, "%u heads cannot share %u kv heads (%s.attention.head_count_kv)",
                           n_heads[i], n_kv_heads[i], r->family);
        d->layers[i].attention.n_heads = n_heads[i];
        d->layers[i].attention.n_kv_heads = n_kv_heads[i];
    }
    return true;
}

static bool read_head_sizes(const arch_reader *r, model_desc *d) {
    uint32_t n_heads = d->layers[0].attention.n_heads, k = d->n_embd / n_heads, v;
    bool must = d->n_embd % n_heads != 0;
    if (!arch_u32(r, "attention.key_length", must, 2, COMPUTE_HEAD_DIM_MAX, &k)) return false;
    v = k;
    if (!arch_u32(r, "attention.value_length", false, 2, COMPUTE_HEAD_DIM_MAX, &v)) return false;
    if (k % 2 || v % 2) return err_set(r->e, ERR_FORMAT, "head size %u (values %u) must be even", k, v);
    for (uint32_t i = 0; i < d->n_layers; i++) {
        model_attention *a = &d->layers[i].attention;
        a->head_dim = k, a->head_dim_v = v;
        a->scale = 1.0f / sqrtf((float)k);
    }
    return true;
}

/* sliding_window tokens are seen by each layer, or with a pattern of n by all but every n-th. */
static bool read_windows(const arch_reader *r, const arch_traits *t, model_desc *d) {
    uint32_t window = 0, pattern = t->window_pattern;
    if (!arch_u32(r, "attention.sliding_window", false, 0, 1u << 30, &window)) return false;
    if (!arch_u32(r, "attention.sliding_window_pattern", false, 0, MODEL_MAX_LAYERS, &pattern)) return false;
    for (uint32_t i = 0; i < d->n_layers; i++)
        d->layers[i].attention.window = !pattern || i % pattern < pattern - 1 ? window : 0;
    return true;
}

static void attention_parts(const arch_reader *r, uint32_t n_embd, uint32_t layer, model_layer_desc *l) {
    const model_attention *a = &l->attention;
    uint32_t rows[] = {a->n_heads * a->head_dim, a->n_kv_heads * a->head_dim, a->n_kv_heads * a->head_dim_v}, at = 0;
    static const char *const own[] = {"attn_q", "attn_k", "attn_v"};
    static const model_matrix slots[] = {MODEL_Q, MODEL_K, MODEL_V};
    char name[64];
    snprintf(name, sizeof name, "blk.%u.attn_qkv.weight", layer);
    bool fused = format_find(r->file, str_of(name)) != NULL;
    for (int i = 0; i < 3; at += rows[i++]) {
        model_part *p = arch_matrix(l, slots[i], fused ? "attn_qkv" : own[i], rows[i], n_embd);
        if (fused) p->first_row = at, p->tensor_rows = rows[0] + rows[1] + rows[2];
    }
    arch_matrix(l, MODEL_O, "attn_output", n_embd, a->n_heads * a->head_dim_v);
}

/* ---- rope ---- */

static bool read_scaling(const arch_reader *r, model_rope *p) {
    float factor = 0;
    str kind = STR("");
    if (!arch_f32(r, "rope.freq_base", false, &p->base)) return false;
    if (!arch_text(r, "rope.scaling.type", &kind)) return false;
    if (!arch_f32(r, "rope.scale_linear", false, &factor)) return false;
    if (!arch_f32(r, "rope.scaling.factor", false, &factor)) return false;
    if (!arch_f32(r, "rope.scaling.attn_factor", false, &p->attn_factor)) return false;
    if (!arch_u32(r, "rope.scaling.original_context_length", false, 1, 1u << 30, &p->context_original)) return false;
    if (p->dims % 2) return err_set(r->e, ERR_FORMAT, "rope.dimension_count is %u; it must be even", p->dims);
    if (p->base < 1)
        return err_set(r->e, ERR_FORMAT, "rope.freq_base is %g; it must be at least 1", (double)p->base);
    if (kind.len == 0 || str_is(kind, "none"))
        p->scaling = kind.len == 0 && factor > 0 ? MODEL_ROPE_LINEAR : MODEL_ROPE_PLAIN;
    else if (str_is(kind, "linear"))
        p->scaling = MODEL_ROPE_LINEAR;
    else if (str_is(kind, "yarn"))
        p->scaling = MODEL_ROPE_YARN;
    else
        return err_set(r->e, ERR_UNSUPPORTED, "rope.scaling.type '%.*s' is not supported (known: none, linear, yarn)",
                       (int)(kind.len < 32 ? kind.len : 32), kind.data);
    if (p->scaling != MODEL_ROPE_PLAIN && factor > 0) p->factor = factor;
    return true;
}

static bool read_rope(const arch_reader *r, const arch_traits *t, model_desc *d) {
    uint32_t head_dim = d->layers[0].attention.head_dim;
    model_rope *p = &d->ropes[0];
    d->n_ropes = 1;
    *p = (model_rope){.interleaved = t->rope_interleaved, .dims = head_dim, .base = 10000.0f, .factor = 1.0f,
                      .context_original = d->n_context_train, .attn_factor = 1.0f, .beta_fast = 32.0f,
                      .beta_slow = 1.0f, .factors = "rope_freqs.weight"};
    return arch_u32(r, "rope.dimension_count", false, 2, head_dim, &p->dims) && read_scaling(r, p);
}

/* ---- the whole ---- */

static bool read_pooling(const arch_reader *r, model_desc *d) {
    static const model_pooling of_file[] = {MODEL_POOL_NONE, MODEL_POOL_MEAN, MODEL_POOL_CLS, MODEL_POOL_LAST};
    uint32_t value = 0;
    if (!arch_u32(r, "pooling_type", false, 0, sizeof of_file / sizeof *of_file - 1, &value)) return false;
    d->pooling = of_file[value];
    return true;
}

static void list_layer(const arch_reader *r, const arch_traits *t, const model_desc *d, uint32_t layer) {
    model_layer_desc *l = &d->layers[layer];
    l->blocks[l->n_blocks++].kind = MODEL_ATTENTION;
    l->blocks[l->n_blocks++].kind = l->experts.n ? MODEL_EXPERTS : MODEL_DENSE;
    arch_vector(l, MODEL_NORM + 0, "attn_norm", d->n_embd);
    arch_vector(l, MODEL_NORM + 1, "ffn_norm", d->n_embd);
    if (t->head_norms) {
        arch_vector(l, MODEL_Q_NORM, "attn_q_norm", l->attention.head_dim);
        arch_vector(l, MODEL_K_NORM, "attn_k_norm", l->attention.head_dim);
    }
    attention_parts(r, d->n_embd, layer, l);
    if (l->experts.n) experts_parts(d->n_embd, l);
    else dense_parts(t, d->n_embd, l);
}

bool arch_decoder(const arch_reader *r, const arch_traits *t, model_desc *d) {
    if (!begin_layers(r, d) || !read_channels(r, t, d) || !read_heads(r, d) || !read_head_sizes(r, d)) return false;
    if (!arch_f32(r, "attention.layer_norm_rms_epsilon", false, &d->norm_eps)) return false;
    if (!read_windows(r, t, d) || !read_rope(r, t, d) || !read_pooling(r, d)) return false;
    for (uint32_t i = 0; i < d->n_layers; i++) list_layer(r, t, d, i);
    return true;
}
