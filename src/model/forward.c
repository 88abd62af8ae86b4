/* The forward pass: one walk over layers and their blocks for every family, steered by the description. */
#include "base/check.h"
#include "model/step.h"
#include "plat/pulse.h"

static const model_block_ops *const model_blocks[MODEL_BLOCK_KINDS] = {
    [MODEL_ATTENTION] = &model_attention_ops, [MODEL_DENSE] = &model_dense_ops, [MODEL_EXPERTS] = &model_experts_ops};

/* ---- buffers ---- */

/* A lone block without a norm behind it adds to the stream itself; others to a sum that is then normed and added. */
static bool adds_to_stream(const model_layer_desc *l, uint32_t block, uint32_t next) {
    bool post = false;
    for (uint32_t i = 0; i < l->n_vectors; i++) post |= l->vectors[i].slot == MODEL_POST_NORM + block;
    return next == block + 1 && !post;
}

/* The first block behind this one that does not read what it reads. */
static uint32_t next_block(const model_layer_desc *l, uint32_t block) {
    do block++;
    while (block < l->n_blocks && l->blocks[block].joined);
    return block;
}

static bool needs_sum(const model_desc *d) {
    for (uint32_t i = 0; i < d->n_layers; i++)
        for (uint32_t b = 0, next; b < d->layers[i].n_blocks; b = next)
            if (!adds_to_stream(&d->layers[i], b, next = next_block(&d->layers[i], b))) return true;
    return false;
}

/* Blocks never run at once: their buffers lie over each other. */
static void blocks_layout(model_workspace *w, const model_desc *d, const device_ops *ops, mem_arena *a) {
    size_t begin = mem_arena_mark(a), end = begin;
    for (int kind = 0; kind < MODEL_BLOCK_KINDS; kind++) {
        uint32_t at = 0;
        if (!model_next_with(d, (model_block_kind)kind, &at)) continue;
        mem_arena_reset(a, begin);
        model_blocks[kind]->layout(w, d, ops, a);
        if (mem_arena_mark(a) > end) end = mem_arena_mark(a);
    }
    if (mem_arena_mark(a) < end) mem_arena_take(a, end - mem_arena_mark(a), 1);
}

void model_workspace_layout(model_workspace *w, const model_desc *d, const device_ops *ops, uint32_t max_tokens,
                            uint32_t max_logits, mem_arena *a) {
    size_t n = max_tokens;
    *w = (model_workspace){
        .max_tokens = max_tokens, .max_logits = max_logits, .logits_stride = ops->row_stride(d->n_vocab)};
    w->x = mem_arena_take(a, n * d->n_embd * sizeof(float), 64);
    w->norm = w->states = mem_arena_take(a, n * d->n_embd * sizeof(float), 64);
    if (needs_sum(d)) w->sum = mem_arena_take(a, n * d->n_embd * sizeof(float), 64);
    w->proj = mem_arena_take(a, n * ops->row_stride(d->n_embd) * sizeof(float), 64);
    blocks_layout(w, d, ops, a);
    for (uint32_t r = 0; r < d->n_ropes; r++) {
        w->cos_sin[r] = mem_arena_take(a, n * d->ropes[r].dims * sizeof(float), 64);
        w->cos_sin_sinks[r] = mem_arena_take(a, n * d->ropes[r].dims * sizeof(float), 64);
    }
    w->last = mem_arena_take(a, (size_t)max_logits * d->n_embd * sizeof(float), 64);
    w->ids = mem_arena_take(a, n * sizeof *w->ids, 64);
    w->positions = mem_arena_take(a, n * sizeof *w->positions, 64);
    w->positions_sinks = mem_arena_take(a, n * sizeof *w->positions_sinks, 64);
    w->wanted = mem_arena_take(a, max_logits * sizeof *w->wanted, 64);
    for (uint32_t g = 0; g < d->kv.n_groups; g++) w->views[g] = mem_arena_take(a, n * sizeof **w->views, 64);
    w->logits = mem_arena_take(a, (size_t)max_logits * w->logits_stride * sizeof(float), 64);
}

/* ---- layers ---- */

bool model_step_cancelled(const model_step *s) {
    plat_pulse_beat();
    return s->cancel && atomic_load_explicit(s->cancel, memory_order_relaxed);
}

/* Blocks [b, next) of a layer, which read the same stream: x += (post norm of) Σ block(norm of x). */
static bool run_blocks(const model_step *s, uint32_t layer, uint32_t b, uint32_t next) {
    const model_desc *d = s->m->d;
    const model_layer_desc *desc = &d->layers[layer];
    const float *const *v = s->m->layers[layer].v;
    device *dev = s->m->dev;
    model_workspace *w = s->w;
    bool direct = adds_to_stream(desc, b, next);
    float *out = direct ? w->x : w->sum, *in = w->x;
    if (!direct) dev->ops->zero(dev, w->sum, (size_t)s->n * d->n_embd);
    for (uint32_t i = b; i < next; i++) {
        if (v[MODEL_NORM + i]) {
            dev->ops->rmsnorm(dev, w->x, v[MODEL_NORM + i], s->n, d->n_embd, d->norm_eps, w->norm);
            in = w->norm;
        }
        CHECK(in != out);
        if (!model_blocks[desc->blocks[i].kind]->add(s, layer, in, out)) return false;
    }
    if (direct) return true;
    if (v[MODEL_POST_NORM + b])
        dev->ops->rmsnorm(dev, w->sum, v[MODEL_POST_NORM + b], s->n, d->n_embd, d->norm_eps, w->sum);
    dev->ops->add(dev, w->x, w->sum, d->n_embd, s->n, d->n_embd);
    return true;
}

static bool run_layer(const model_step *s, uint32_t layer) {
    const model_layer_desc *l = &s->m->d->layers[layer];
    for (uint32_t b = 0, next; b < l->n_blocks; b = next)
        if (!run_blocks(s, layer, b, next = next_block(l, b))) return false;
    return true;
}

/* ---- ends ---- */

/* After the last norm, where any token wants it; no logits. */
static void states_block(const model_step *s, const model_token *tokens) {
    const model_desc *d = s->m->d;
    bool wanted = false;
    for (uint32_t i = 0; i < s->n; i++) wanted |= tokens[i].want_state;
    if (wanted)
        s->m->dev->ops->rmsnorm(s->m->dev, s->w->x, s->m->output_norm, s->n, d->n_embd, d->norm_eps, s->w->states);
}

/* Logits of the tokens that want them, packed in order. */
static void output_block(const model_step *s, const model_token *tokens) {
    const model *m = s->m;
    const model_desc *d = m->d;
    model_workspace *w = s->w;
    uint32_t wanted = 0;
    for (uint32_t i = 0; i < s->n; i++)
        if (tokens[i].want_logits) {
            CHECK(wanted < w->max_logits);
            w->wanted[wanted++] = i;
        }
    if (!wanted) return;
    m->dev->ops->gather(m->dev, w->x, w->wanted, wanted, d->n_embd, w->last);
    m->dev->ops->rmsnorm(m->dev, w->last, m->output_norm, wanted, d->n_embd, d->norm_eps, w->last);
    for (uint32_t done = 0; done < wanted; done += w->max_tokens) { /* a device takes max_tokens at once */
        uint32_t n = wanted - done < w->max_tokens ? wanted - done : w->max_tokens;
        const device_matrix *output[] = {&m->output};
        float *out[] = {w->logits + (size_t)done * w->logits_stride};
        size_t stride[] = {w->logits_stride};
        m->dev->ops->matmul(m->dev, output, 1, w->last + (size_t)done * d->n_embd, n, out, stride);
    }
}

static void begin(model_step *s, const model_token *tokens) {
    const model *m = s->m;
    model_workspace *w = s->w;
    for (uint32_t i = 0; i < s->n; i++) {
        CHECK(tokens[i].token >= 0 && (uint32_t)tokens[i].token < m->d->n_vocab);
        w->ids[i] = tokens[i].token;
        for (uint32_t g = 0; g < m->d->kv.n_groups; g++) w->views[g][i] = tokens[i].kv[g];
        w->positions[i] = tokens[i].kv[0].position;
        w->positions_sinks[i] = tokens[i].kept_as;
        s->keeps |= tokens[i].kept_as != tokens[i].kv[0].position;
    }
    for (uint32_t r = 0; r < m->d->n_ropes; r++) {
        const model_rope_table *t = &m->ropes[r];
        uint32_t pairs = m->d->ropes[r].dims / 2;
        m->dev->ops->rope_angles(m->dev, t->freqs, t->mscale, w->positions, s->n, pairs, w->cos_sin[r]);
        if (s->keeps)
            m->dev->ops->rope_angles(m->dev, t->freqs, t->mscale, w->positions_sinks, s->n, pairs, w->cos_sin_sinks[r]);
    }
    m->dev->ops->embed(m->dev, &m->embed, w->ids, s->n, m->d->embed_scale, w->x);
}

bool model_forward(const model *m, model_workspace *w, const model_token *tokens, uint32_t n,
                   const _Atomic bool *cancel, err *e) {
    CHECK(n > 0 && n <= w->max_tokens);
    model_step s = {m, w, n, false, cancel};
    begin(&s, tokens);
    for (uint32_t i = 0; i < m->d->n_layers; i++)
        if (!run_layer(&s, i)) return err_set(e, ERR_CANCELLED, "the step was cancelled");
    states_block(&s, tokens);
    output_block(&s, tokens);
    return true;
}
