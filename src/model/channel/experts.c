/* Mixture of experts: each token goes to a few of many networks. Tokens are grouped, so that an expert's weights are
 * read once for all of them, and go in waves of whole experts that the buffers hold. */
#include "model/step.h"

static void layout(model_workspace *w, const model_desc *d, const device_ops *ops, mem_arena *a) {
    uint32_t at = 0, n_experts = 0, n_used = 0;
    for (const model_layer_desc *l; (l = model_next_with(d, MODEL_EXPERTS, &at));) {
        if (l->experts.n > n_experts) n_experts = l->experts.n;
        if (l->experts.n_used > n_used) n_used = l->experts.n_used;
    }
    model_network_layout(w, d, ops, a);
    device_routes *r = &w->routes;
    size_t n = w->max_tokens, slots = n * n_used;
    w->router_logits = mem_arena_take(a, n * ops->row_stride(n_experts) * sizeof(float), 64);
    r->chosen = mem_arena_take(a, slots * sizeof *r->chosen, 64);
    r->chosen_weights = mem_arena_take(a, slots * sizeof *r->chosen_weights, 64);
    r->slot_token = mem_arena_take(a, slots * sizeof *r->slot_token, 64);
    r->slot_weight = mem_arena_take(a, slots * sizeof *r->slot_weight, 64);
    r->next_slot = mem_arena_take(a, n_experts * sizeof *r->next_slot, 64);
    r->runs = mem_arena_take(a, n_experts * sizeof *r->runs, 64);
    w->shared_weight = mem_arena_take(a, n * sizeof(float), 64);
    w->gathered = mem_arena_take(a, n * d->n_embd * sizeof(float), 64);
}

/* out += weight · what in makes in the expert that all tokens meet */
static bool add_shared(const model_step *s, uint32_t layer, const float *in, float *out) {
    const model *m = s->m;
    const model_layer *l = &m->layers[layer];
    model_workspace *w = s->w;
    uint32_t n_embd = m->d->n_embd;
    m->dev->ops->sigmoid_dot(m->dev, l->v[MODEL_SHARED_GATE], in, s->n, n_embd, w->shared_weight);
    if (!model_network(s, m->d->layers[layer].experts.activation, &l->m[MODEL_GATE], &l->m[MODEL_UP],
                       &l->m[MODEL_DOWN], in, &(device_run){0, 0, s->n}, 1))
        return false;
    m->dev->ops->add_weighted(m->dev, out, NULL, w->shared_weight, w->proj, m->dev->ops->row_stride(n_embd), s->n,
                              n_embd);
    return true;
}

uint32_t model_experts_wave(device_routes *r, uint32_t run, uint32_t max_tokens, uint32_t *n_slots) {
    for (*n_slots = 0; run < r->n_runs && *n_slots + r->runs[run].n <= max_tokens; run++) {
        r->runs[run].first = *n_slots;
        *n_slots += r->runs[run].n;
    }
    return run;
}

/* out += Σ weight · what in makes in each of a token's experts */
static bool add(const model_step *s, uint32_t layer, const float *in, float *out) {
    const model *m = s->m;
    const model_experts *x = &m->d->layers[layer].experts;
    const device_matrix *w = m->layers[layer].m, *router[] = {&w[MODEL_ROUTER]};
    const device_ops *ops = m->dev->ops;
    device_routes *r = &s->w->routes;
    float *gathered = s->w->gathered, *logits = s->w->router_logits;
    uint32_t n_embd = m->d->n_embd, slot = 0;
    size_t stride = ops->row_stride(x->n);
    ops->matmul(m->dev, router, 1, in, s->n, &logits, &stride);
    ops->route(m->dev, x->gating, x->n, x->n_used, logits, stride, s->n, r);
    for (uint32_t run = 0, next, n; run < r->n_runs; run = next, slot += n) {
        next = model_experts_wave(r, run, s->w->max_tokens, &n);
        ops->gather(m->dev, in, r->slot_token + slot, n, n_embd, gathered);
        if (!model_network(s, x->activation, &w[MODEL_GATE_EXPS], &w[MODEL_UP_EXPS], &w[MODEL_DOWN_EXPS], gathered,
                           r->runs + run, next - run))
            return false;
        ops->add_weighted(m->dev, out, r->slot_token + slot, r->slot_weight + slot, s->w->proj,
                          ops->row_stride(n_embd), n, n_embd);
    }
    return !x->n_ff_shared || add_shared(s, layer, in, out);
}

const model_block_ops model_experts_ops = {.layout = layout, .add = add};
