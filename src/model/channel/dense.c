/* Feed-forward networks: one that all tokens meet, and what those of experts share with it. */
#include "model/step.h"

/* Every width of a network in the model, one after the other from *at on; 0: no more. */
static uint32_t next_width(const model_desc *d, uint32_t *at) {
    while (*at < 3 * d->n_layers) {
        const model_layer_desc *l = &d->layers[*at / 3];
        const model_experts *x = &l->experts;
        uint32_t widths[] = {x->n ? 0 : l->dense.n_ff, x->n ? x->n_ff : 0, x->n_ff_shared};
        uint32_t width = widths[(*at)++ % 3];
        if (width) return width;
    }
    return 0;
}

void model_network_layout(model_workspace *w, const model_desc *d, const device_ops *ops, mem_arena *a) {
    size_t n = w->max_tokens;
    uint32_t largest = 0, at = 0;
    bool in_place = true; /* where a row of what comes out begins where a row of what goes in does */
    for (uint32_t width; (width = next_width(d, &at));) {
        largest = width > largest ? width : largest;
        in_place = in_place && ops->row_stride(width) == width;
    }
    uint32_t stride = ops->row_stride(largest);
    w->gate = mem_arena_take(a, n * stride * sizeof(float), 64);
    w->up = mem_arena_take(a, n * stride * sizeof(float), 64);
    w->act = in_place ? w->gate : mem_arena_take(a, n * largest * sizeof(float), 64);
}

bool model_network(const model_step *s, device_activation activation, const device_matrix *gate,
                   const device_matrix *up, const device_matrix *down, const float *x, const device_run *runs,
                   uint32_t n_runs) {
    device *dev = s->m->dev;
    model_workspace *w = s->w;
    uint32_t n = runs[n_runs - 1].first + runs[n_runs - 1].n;
    size_t ff_stride = dev->ops->row_stride(gate->rows), stride = dev->ops->row_stride(down->rows);
    const device_matrix *gate_up[] = {gate, up};
    dev->ops->matmul_runs(dev, gate_up, 2, x, runs, n_runs, (float *[]){w->gate, w->up},
                          (size_t[]){ff_stride, ff_stride});
    dev->ops->gated(dev, activation, w->gate, w->up, ff_stride, n, gate->rows, w->act);
    if (model_step_cancelled(s)) return false;

    dev->ops->matmul_runs(dev, &down, 1, w->act, runs, n_runs, &w->proj, &stride);
    return !model_step_cancelled(s);
}

static bool add(const model_step *s, uint32_t layer, const float *in, float *out) {
    const model *m = s->m;
    const device_matrix *w = m->layers[layer].m;
    device_activation activation = m->d->layers[layer].dense.activation;
    if (!model_network(s, activation, &w[MODEL_GATE], &w[MODEL_UP], &w[MODEL_DOWN], in, &(device_run){0, 0, s->n}, 1))
        return false;
    m->dev->ops->add(m->dev, out, s->w->proj, m->dev->ops->row_stride(m->d->n_embd), s->n, m->d->n_embd);
    return true;
}

const model_block_ops model_dense_ops = {.layout = model_network_layout, .add = add};
