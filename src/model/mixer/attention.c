/* Attention: queries of a step's tokens against the keys and values of all that they see, in pages. */
#include "model/step.h"

static void layout(model_workspace *w, const model_desc *d, const device_ops *ops, mem_arena *a) {
    size_t n = w->max_tokens, q = 0, k = 0, v = 0, attn = 0;
    uint32_t at = 0;
    for (const model_layer_desc *l; (l = model_next_with(d, MODEL_ATTENTION, &at));) {
        const model_attention *t = &l->attention;
        size_t sizes[] = {ops->row_stride(t->n_heads * t->head_dim), ops->row_stride(t->n_kv_heads * t->head_dim),
                          ops->row_stride(t->n_kv_heads * t->head_dim_v), (size_t)t->n_heads * t->head_dim_v};
        size_t *most[] = {&q, &k, &v, &attn};
        for (int i = 0; i < 4; i++) *most[i] = sizes[i] > *most[i] ? sizes[i] : *most[i];
    }
    w->q = mem_arena_take(a, n * q * sizeof(float), 64);
    w->q_sinks = mem_arena_take(a, n * q * sizeof(float), 64);
    w->k = mem_arena_take(a, n * k * sizeof(float), 64);
    w->v = mem_arena_take(a, n * v * sizeof(float), 64);
    w->attn = mem_arena_take(a, n * attn * sizeof(float), 64);
}

/* Norms of single heads, where the family has them. */
static void norm_heads(const model_step *s, float *x, const float *weight, uint32_t n_heads, uint32_t head_dim,
                       size_t stride) {
    device *dev = s->m->dev;
    float eps = s->m->d->norm_eps;
    if (!weight) return;
    if (stride == (size_t)n_heads * head_dim) {
        dev->ops->rmsnorm(dev, x, weight, s->n * n_heads, head_dim, eps, x);
        return;
    }
    for (uint32_t i = 0; i < s->n; i++, x += stride) dev->ops->rmsnorm(dev, x, weight, n_heads, head_dim, eps, x);
}

/* Queries as seen by those that are kept, too: from another position. */
static void rotate(const model_step *s, const model_attention *t, size_t q_stride, size_t k_stride) {
    device *dev = s->m->dev;
    model_workspace *w = s->w;
    if (s->keeps) dev->ops->copy(dev, w->q, s->n * q_stride, w->q_sinks);
    if (t->rope == MODEL_NO_ROPE) return;
    const model_rope *r = &s->m->d->ropes[t->rope];
    device_rope rope = {t->head_dim, r->dims, r->interleaved, w->cos_sin[t->rope]};
    if (s->keeps) {
        device_rope rope_sinks = {t->head_dim, r->dims, r->interleaved, w->cos_sin_sinks[t->rope]};
        dev->ops->rope(dev, &rope_sinks, w->q_sinks, q_stride, t->n_heads, s->n);
    }
    dev->ops->rope(dev, &rope, w->q, q_stride, t->n_heads, s->n);
    dev->ops->rope(dev, &rope, w->k, k_stride, t->n_kv_heads, s->n);
}

/* out += o · attend(rope(q · in), …) */
static bool add(const model_step *s, uint32_t layer, const float *in, float *out) {
    const model *m = s->m;
    const model_layer *l = &m->layers[layer];
    const model_attention *t = &m->d->layers[layer].attention;
    const device_ops *ops = m->dev->ops;
    model_workspace *w = s->w;
    const device_matrix *qkv[] = {&l->m[MODEL_Q], &l->m[MODEL_K], &l->m[MODEL_V]}, *o[] = {&l->m[MODEL_O]};
    size_t strides[] = {ops->row_stride(qkv[0]->rows), ops->row_stride(qkv[1]->rows), ops->row_stride(qkv[2]->rows)};
    ops->matmul(m->dev, qkv, 3, in, s->n, (float *[]){w->q, w->k, w->v}, strides);
    if (model_step_cancelled(s)) return false;

    norm_heads(s, w->q, l->v[MODEL_Q_NORM], t->n_heads, t->head_dim, strides[0]);
    norm_heads(s, w->k, l->v[MODEL_K_NORM], t->n_kv_heads, t->head_dim, strides[1]);
    rotate(s, t, strides[0], strides[1]);
    const device_kv_view *views = w->views[m->d->kv.group_of[layer]];
    device_attention a = {t->n_heads, t->n_kv_heads, t->head_dim, t->head_dim_v, t->scale, t->softcap, {{0}}};
    for (int type = 0; type < KV_TYPES; type++) a.layer[type] = kv_layer_view(&m->d->kv, (kv_type)type, layer);
    ops->kv_store(m->dev, &a, views, s->n, w->k, strides[1], w->v, strides[2]);
    ops->attend(m->dev, &a, views, s->n, w->q, s->keeps ? w->q_sinks : NULL, strides[0], w->attn,
                (size_t)t->n_heads * t->head_dim_v);
    if (model_step_cancelled(s)) return false;

    size_t stride = ops->row_stride(m->d->n_embd);
    ops->matmul(m->dev, o, 1, w->attn, s->n, &w->proj, &stride);
    ops->add(m->dev, out, w->proj, stride, s->n, m->d->n_embd);
    return !model_step_cancelled(s);
}

const model_block_ops model_attention_ops = {.mixes = true, .layout = layout, .add = add};
