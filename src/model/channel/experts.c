/* Mixture of experts: each token goes to a few of many networks. Tokens are grouped, so that an expert's weights are
 * read once for all of them, and go in waves of whole experts that the buffers hold. */
#include "model/channel/routes.h"
#include "model/step.h"

static void layout(model_workspace *w, const model_desc *d, const device_ops *ops, mem_arena *a) {
    model_experts most = {0};
    uint32_t at = 0;
    for (const model_layer_desc *l; (l = model_next_with(d, MODEL_EXPERTS, &at));) {
        if (l->experts.n > most.n) most.n = l->experts.n;
        if (l->experts.n_used > most.n_used) most.n_used = l->experts.n_used;
    }
    model_network_layout(w, d, ops, a);
    model_routes_layout(&w->routes, &most, d->n_embd, ops, w->max_tokens, a);
}

/* out += weight · what in makes in the expert that all tokens meet */
static bool add_shared(const model_step *s, uint32_t layer, const float *in, float *out) {
    const model *m = s->m;
    const device_matrix *w = m->layers[layer].m;
    float *weights = s->w->routes.shared_weight;
    uint32_t n_embd = m->d->n_embd;
    model_routes_shared(m->layers[layer].v[MODEL_SHARED_GATE], in, s->n, n_embd, weights);
    if (!model_network(s, m->d->layers[layer].experts.activation, &w[MODEL_GATE], &w[MODEL_UP], &w[MODEL_DOWN], in,
                       &(device_run){0, 0, s->n}, 1))
        return false;
    m->dev->ops->add_weighted(m->dev, out, NULL, weights, s->w->proj, m->dev->ops->row_stride(n_embd), s->n, n_embd);
    return true;
}

/* out += Σ weight · what in makes in each of a token's experts */
static bool add(const model_step *s, uint32_t layer, const float *in, float *out) {
    const model *m = s->m;
    const model_experts *x = &m->d->layers[layer].experts;
    const device_matrix *w = m->layers[layer].m, *router[] = {&w[MODEL_ROUTER]};
    const device_ops *ops = m->dev->ops;
    model_routes *r = &s->w->routes;
    uint32_t n_embd = m->d->n_embd;
    size_t stride = ops->row_stride(x->n);
    ops->matmul(m->dev, router, 1, in, s->n, &r->logits, &stride);
    model_routes_fill(r, x, (uint32_t)stride, s->n);
    for (uint32_t run = 0, next; run < r->n_runs; run = next) {
        uint32_t slot, n;
        next = model_routes_wave(r, run, s->w->max_tokens, &slot, &n);
        ops->gather(m->dev, in, r->slot_token + slot, n, n_embd, r->gathered);
        if (!model_network(s, x->activation, &w[MODEL_GATE_EXPS], &w[MODEL_UP_EXPS], &w[MODEL_DOWN_EXPS], r->gathered,
                           r->runs + run, next - run))
            return false;
        ops->add_weighted(m->dev, out, r->slot_token + slot, r->slot_weight + slot, s->w->proj,
                          ops->row_stride(n_embd), n, n_embd);
    }
    return !x->n_ff_shared || add_shared(s, layer, in, out);
}

const model_block_ops model_experts_ops = {.layout = layout, .add = add};
