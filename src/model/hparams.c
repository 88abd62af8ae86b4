/* A model's shape, from the metadata of its file. */
#include <math.h>
#include <stdio.h>

#include "compute/compute.h"
#include "model/model.h"

enum { KEY_BYTES = 128 };

static const char *key_of(char out[KEY_BYTES], const model_hparams *h, const char *tail) {
    snprintf(out, KEY_BYTES, "%s.%s", h->arch->name, tail);
    return out;
}

static bool get_u32(const format_source *file, const model_hparams *h, const char *tail, bool required, uint32_t low,
                    uint32_t high, uint32_t *out, err *e) {
    char key[KEY_BYTES];
    if (!format_u32(file, key_of(key, h, tail), required, out, e)) return false;
    if (*out < low || *out > high) return err_set(e, ERR_FORMAT, "%s is %u; it must be %u to %u", key, *out, low, high);
    return true;
}

static bool get_f32(const format_source *file, const model_hparams *h, const char *tail, bool required, float *out,
                    err *e) {
    char key[KEY_BYTES];
    if (!format_f32(file, key_of(key, h, tail), required, out, e)) return false;
    if (!isfinite(*out) || *out < 0)
        return err_set(e, ERR_FORMAT, "%s is %g; it must be a finite positive number", key, (double)*out);
    return true;
}

static bool read_vocab_size(const format_source *file, model_hparams *h, err *e) {
    const format_tensor *t = format_find(file, STR("token_embd.weight"));
    if (!t) return err_set(e, ERR_FORMAT, "tensor token_embd.weight is missing");
    if (t->n_dims != 2 || t->dims[1] > MODEL_MAX_VOCAB)
        return err_set(e, ERR_FORMAT, "token_embd.weight has %u dimensions, %llu rows", t->n_dims,
                       (unsigned long long)t->dims[1]);
    h->n_vocab = (uint32_t)t->dims[1];
    return true;
}

static bool read_rope(const format_source *file, model_hparams *h, err *e) {
    h->rot_dim = h->head_dim;
    h->rope_base = 10000.0f;
    h->rope_factor = 1.0f;
    h->rope_context_original = h->n_context_train;
    h->rope_attn_factor = 1.0f;
    h->rope_beta_fast = 32.0f;
    h->rope_beta_slow = 1.0f;
    float linear = 0;
    str scaling = STR("");
    char key[KEY_BYTES];
    if (!get_u32(file, h, "rope.dimension_count", false, 2, h->head_dim, &h->rot_dim, e)) return false;
    if (!get_f32(file, h, "rope.freq_base", false, &h->rope_base, e)) return false;
    if (!format_str(file, key_of(key, h, "rope.scaling.type"), false, &scaling, e)) return false;
    if (!get_f32(file, h, "rope.scale_linear", false, &linear, e)) return false;
    if (!get_f32(file, h, "rope.scaling.factor", false, &linear, e)) return false;
    if (!get_f32(file, h, "rope.scaling.attn_factor", false, &h->rope_attn_factor, e)) return false;
    if (!get_u32(file, h, "rope.scaling.original_context_length", false, 1, 1u << 30, &h->rope_context_original, e))
        return false;
    if (h->rot_dim % 2) return err_set(e, ERR_FORMAT, "rope.dimension_count is %u; it must be even", h->rot_dim);
    if (h->rope_base < 1)
        return err_set(e, ERR_FORMAT, "rope.freq_base is %g; it must be at least 1", (double)h->rope_base);
    if (scaling.len == 0 || str_is(scaling, "none")) {
        h->rope_scaling = scaling.len == 0 && linear > 0 ? MODEL_ROPE_LINEAR : MODEL_ROPE_PLAIN;
    } else if (str_is(scaling, "linear")) {
        h->rope_scaling = MODEL_ROPE_LINEAR;
    } else if (str_is(scaling, "yarn")) {
        h->rope_scaling = MODEL_ROPE_YARN;
    } else {
        return err_set(e, ERR_UNSUPPORTED, "rope.scaling.type '%.*s' is not supported (known: none, linear, yarn)",
                       (int)(scaling.len < 32 ? scaling.len : 32), scaling.data);
    }
    if (h->rope_scaling != MODEL_ROPE_PLAIN && linear > 0) h->rope_factor = linear;
    return true;
}

/* sliding_window tokens are seen by each layer, or with a pattern of n by all but every n-th. */
static bool read_windows(const format_source *file, model_hparams *h, err *e) {
    uint32_t window = 0, pattern = 0;
    bool windowed[MODEL_MAX_LAYERS];
    if (!get_u32(file, h, "attention.sliding_window", false, 0, 1u << 30, &window, e)) return false;
    if (!get_u32(file, h, "attention.sliding_window_pattern", false, 0, MODEL_MAX_LAYERS, &pattern, e)) return false;
    for (uint32_t i = 0; i < h->n_layers; i++) windowed[i] = window && (!pattern || i % pattern < pattern - 1);
    h->kv = kv_shape_make(h->n_layers, h->n_kv_heads, h->head_dim, h->head_dim_v, window, windowed);
    return true;
}

/* The feed-forward network of a layer, or its experts. */
static bool read_feed_forward(const format_source *file, model_hparams *h, err *e) {
    enum { MOST = 1 << 22 };
    const model_arch *a = h->arch;
    if (!get_u32(file, h, "expert_count", false, 0, MODEL_MAX_EXPERTS, &h->n_experts, e)) return false;
    if (!get_u32(file, h, "feed_forward_length", true, 1, MOST, &h->n_ff, e)) return false;
    if (!h->n_experts) return true;
    if (a->experts == MODEL_EXPERTS_NONE)
        return err_set(e, ERR_UNSUPPORTED, "%s.expert_count is %u, but the family %s is known without experts only",
                       a->name, h->n_experts, a->name);
    if (!get_u32(file, h, "expert_used_count", true, 1, h->n_experts, &h->n_experts_used, e)) return false;
    h->n_ff_exp = h->n_ff;
    if (!get_u32(file, h, "expert_feed_forward_length", false, 1, MOST, &h->n_ff_exp, e)) return false;
    if (!a->shared_expert) return true;
    h->n_ff_shexp = h->n_ff;
    return get_u32(file, h, "expert_shared_feed_forward_length", false, 1, MOST, &h->n_ff_shexp, e);
}

static bool read_pooling(const format_source *file, model_hparams *h, err *e) {
    static const model_pooling of_file[] = {MODEL_POOL_NONE, MODEL_POOL_MEAN, MODEL_POOL_CLS, MODEL_POOL_LAST};
    uint32_t value = 0;
    if (!get_u32(file, h, "pooling_type", false, 0, sizeof of_file / sizeof *of_file - 1, &value, e)) return false;
    h->pooling = of_file[value];
    return true;
}

bool model_hparams_read(const format_source *file, model_hparams *h, err *e) {
    *h = (model_hparams){.embed_scale = 1.0f, .norm_eps = 1e-5f};
    str arch;
    if (!format_str(file, "general.architecture", true, &arch, e)) return false;
    if (!(h->arch = model_arch_find(arch, e))) return false;
    if (!read_vocab_size(file, h, e)) return false;
    if (!get_u32(file, h, "context_length", true, 1, 1u << 30, &h->n_context_train, e)) return false;
    if (!get_u32(file, h, "embedding_length", true, 1, 1u << 20, &h->n_embd, e)) return false;
    if (!get_u32(file, h, "block_count", true, 1, MODEL_MAX_LAYERS, &h->n_layers, e)) return false;
    if (!read_feed_forward(file, h, e)) return false;
    if (!get_u32(file, h, "attention.head_count", true, 1, 4096, &h->n_heads, e)) return false;
    h->n_kv_heads = h->n_heads;
    if (!get_u32(file, h, "attention.head_count_kv", false, 1, h->n_heads, &h->n_kv_heads, e)) return false;
    if (h->n_heads % h->n_kv_heads || h->n_heads / h->n_kv_heads > COMPUTE_GROUP_MAX)
        return err_set(e, ERR_FORMAT, "%u heads cannot share %u kv heads", h->n_heads, h->n_kv_heads);
    h->head_dim = h->n_embd / h->n_heads;
    if (!get_u32(file, h, "attention.key_length", h->n_embd % h->n_heads != 0, 2, COMPUTE_HEAD_DIM_MAX, &h->head_dim,
                 e))
        return false;
    h->head_dim_v = h->head_dim;
    if (!get_u32(file, h, "attention.value_length", false, 2, COMPUTE_HEAD_DIM_MAX, &h->head_dim_v, e)) return false;
    if (h->head_dim % 2 || h->head_dim_v % 2)
        return err_set(e, ERR_FORMAT, "head size %u (values %u) must be even", h->head_dim, h->head_dim_v);
    if (!get_f32(file, h, "attention.layer_norm_rms_epsilon", false, &h->norm_eps, e)) return false;
    h->attention_scale = 1.0f / sqrtf((float)h->head_dim);
    return read_windows(file, h, e) && read_rope(file, h, e) && read_pooling(file, h, e);
}

double model_matmul_macs(const model_hparams *h) {
    double attention = (double)h->n_embd * ((double)h->n_heads * (h->head_dim + h->head_dim_v) +
                                           (double)h->n_kv_heads * (h->head_dim + h->head_dim_v));
    double n_ff = h->n_ff;
    if (h->n_experts) n_ff = (double)h->n_experts_used * h->n_ff_exp + h->n_ff_shexp;
    return h->n_layers * (attention + h->n_embd * (3.0 * n_ff + h->n_experts));
}

double model_attend_macs(const model_hparams *h) {
    return (double)h->n_layers * h->n_heads * (h->head_dim + h->head_dim_v);
}
