/* The forward pass: one sequence of device operations for every architecture, steered by the row. */
#include <math.h>
#include <string.h>

#include "base/check.h"
#include "model/routes.h"
#include "plat/pulse.h"

static void attention_layout(model_workspace *w, const model_hparams *h, const device_ops *ops, mem_arena *a) {
    size_t n = w->max_tokens;
    uint32_t q = ops->row_stride(h->n_heads * h->head_dim), k = ops->row_stride(h->n_kv_heads * h->head_dim);
    uint32_t v = ops->row_stride(h->n_kv_heads * h->head_dim_v);
    w->q = mem_arena_take(a, n * q * sizeof(float), 64);
    w->q_sinks = mem_arena_take(a, n * q * sizeof(float), 64);
    w->k = mem_arena_take(a, n * k * sizeof(float), 64);
    w->v = mem_arena_take(a, n * v * sizeof(float), 64);
    w->attn = mem_arena_take(a, n * h->n_heads * h->head_dim_v * sizeof(float), 64);
}

static void ffn_layout(model_workspace *w, const model_hparams *h, const device_ops *ops, mem_arena *a) {
    size_t n = w->max_tokens;
    uint32_t n_ff[] = {h->n_experts ? h->n_ff_exp : h->n_ff, h->n_ff_shexp};
    uint32_t largest = n_ff[0] > n_ff[1] ? n_ff[0] : n_ff[1], ff = ops->row_stride(largest);
    w->gate = mem_arena_take(a, n * ff * sizeof(float), 64);
    w->up = mem_arena_take(a, n * ff * sizeof(float), 64);
    /* in place, where a row of the one begins where a row of the other does */
    bool in_place = ops->row_stride(n_ff[0]) == n_ff[0] && ops->row_stride(n_ff[1]) == n_ff[1];
    w->act = in_place ? w->gate : mem_arena_take(a, n * largest * sizeof(float), 64);
    if (h->n_experts) model_routes_layout(&w->routes, h, ops, w->max_tokens, a);
}

/* The two halves of a layer never run at once: they lie over each other. */
static void halves_layout(model_workspace *w, const model_hparams *h, const device_ops *ops, mem_arena *a) {
    size_t begin = mem_arena_mark(a);
    attention_layout(w, h, ops, a);
    size_t end = mem_arena_mark(a);
    mem_arena_reset(a, begin);
    ffn_layout(w, h, ops, a);
    if (mem_arena_mark(a) < end) mem_arena_take(a, end - mem_arena_mark(a), 1);
}

void model_workspace_layout(model_workspace *w, const model_hparams *h, const device_ops *ops, uint32_t max_tokens,
                            uint32_t max_logits, mem_arena *a) {
    size_t n = max_tokens;
    *w = (model_workspace){
        .max_tokens = max_tokens, .max_logits = max_logits, .logits_stride = ops->row_stride(h->n_vocab)};
    w->x = mem_arena_take(a, n * h->n_embd * sizeof(float), 64);
    w->norm = w->states = mem_arena_take(a, n * h->n_embd * sizeof(float), 64);
    w->proj = mem_arena_take(a, n * ops->row_stride(h->n_embd) * sizeof(float), 64);
    halves_layout(w, h, ops, a);
    w->cos_sin = mem_arena_take(a, n * h->rot_dim * sizeof(float), 64);
    w->cos_sin_sinks = mem_arena_take(a, n * h->rot_dim * sizeof(float), 64);
    w->last = mem_arena_take(a, (size_t)max_logits * h->n_embd * sizeof(float), 64);
    w->ids = mem_arena_take(a, n * sizeof *w->ids, 64);
    for (uint32_t g = 0; g < h->kv.n_groups; g++) w->views[g] = mem_arena_take(a, n * sizeof **w->views, 64);
    w->logits = mem_arena_take(a, (size_t)max_logits * w->logits_stride * sizeof(float), 64);
}

uint32_t model_max_cols(const model_hparams *h) {
    uint32_t inputs[] = {h->n_embd, h->n_heads * h->head_dim_v, h->n_experts ? h->n_ff_exp : h->n_ff,
                         h->n_ff_shexp};
    uint32_t most = 0;
    for (size_t i = 0; i < sizeof inputs / sizeof *inputs; i++) most = inputs[i] > most ? inputs[i] : most;
    return most;
}

static void fill_cos_sin(const model *m, const model_token *tokens, uint32_t n, bool as_kept, float *out) {
    uint32_t pairs = m->h.rot_dim / 2;
    for (uint32_t i = 0; i < n; i++) {
        double position = as_kept ? tokens[i].kept_as : tokens[i].kv[0].position;
        for (uint32_t j = 0; j < pairs; j++) {
            double angle = position * (double)m->rope_freqs[j];
            *out++ = (float)cos(angle) * m->rope_mscale;
            *out++ = (float)sin(angle) * m->rope_mscale;
        }
    }
}

typedef struct step {
    const model *m;
    model_workspace *w;
    uint32_t n;
    bool keeps; /* some token sees kept ones from another position than its own */
    const _Atomic bool *cancel;
} step;

/* Asked several times a layer: so it is, too, where a step shows that it moves on. */
static bool cancelled(const step *s) {
    plat_pulse_beat();
    return s->cancel && atomic_load_explicit(s->cancel, memory_order_relaxed);
}

/* Norms of single heads, where the family has them. */
static void norm_heads(const step *s, float *x, const float *weight, uint32_t n_heads, size_t stride) {
    const model_hparams *h = &s->m->h;
    const device_ops *ops = s->m->dev->ops;
    if (!weight) return;
    if (stride == (size_t)n_heads * h->head_dim) {
        ops->rmsnorm(s->m->dev, x, weight, s->n * n_heads, h->head_dim, h->norm_eps, x);
        return;
    }
    for (uint32_t i = 0; i < s->n; i++, x += stride)
        ops->rmsnorm(s->m->dev, x, weight, n_heads, h->head_dim, h->norm_eps, x);
}

/* x += o · attend(rope(q · norm(x)), …) */
static bool attention_block(const step *s, const model_layer *l, uint32_t index) {
    const model *m = s->m;
    const model_hparams *h = &m->h;
    const device_ops *ops = m->dev->ops;
    model_workspace *w = s->w;
    size_t q_stride = ops->row_stride(l->q.rows), k_stride = ops->row_stride(l->k.rows),
           v_stride = ops->row_stride(l->v.rows);
    const device_matrix *qkv[] = {&l->q, &l->k, &l->v};
    float *outs[] = {w->q, w->k, w->v};
    size_t strides[] = {q_stride, k_stride, v_stride};
    ops->rmsnorm(m->dev, w->x, l->attn_norm, s->n, h->n_embd, h->norm_eps, w->norm);
    ops->matmul(m->dev, qkv, 3, w->norm, s->n, outs, strides);
    if (cancelled(s)) return false;

    norm_heads(s, w->q, l->q_norm, h->n_heads, q_stride);
    norm_heads(s, w->k, l->k_norm, h->n_kv_heads, k_stride);
    device_rope rope = {h->head_dim, h->rot_dim, h->arch->rope_interleaved, w->cos_sin};
    if (s->keeps) {
        device_rope rope_sinks = {h->head_dim, h->rot_dim, h->arch->rope_interleaved, w->cos_sin_sinks};
        memcpy(w->q_sinks, w->q, s->n * q_stride * sizeof *w->q);
        ops->rope(m->dev, &rope_sinks, w->q_sinks, q_stride, h->n_heads, s->n);
    }
    ops->rope(m->dev, &rope, w->q, q_stride, h->n_heads, s->n);
    ops->rope(m->dev, &rope, w->k, k_stride, h->n_kv_heads, s->n);
    const device_kv_view *views = w->views[h->kv.group_of[index]];
    device_attention a = {h->n_heads, h->n_kv_heads, h->head_dim, h->head_dim_v, h->attention_scale, h->softcap, {{0}}};
    for (int t = 0; t < KV_TYPES; t++) a.layer[t] = kv_layer_view(&h->kv, (kv_type)t, index);
    ops->kv_store(m->dev, &a, views, s->n, w->k, k_stride, w->v, v_stride);
    ops->attend(m->dev, &a, views, s->n, w->q, s->keeps ? w->q_sinks : NULL, q_stride, w->attn,
                (size_t)h->n_heads * h->head_dim_v);
    if (cancelled(s)) return false;

    const device_matrix *o[] = {&l->o};
    float *out[] = {w->proj};
    size_t stride[] = {ops->row_stride(h->n_embd)};
    ops->matmul(m->dev, o, 1, w->attn, s->n, out, stride);
    ops->add(m->dev, w->x, w->proj, stride[0], s->n, h->n_embd);
    return !cancelled(s);
}

/* proj = down · (act(gate · x) · (up · x)); each token meets the matrices of its run. */
static bool network(const step *s, const device_matrix *gate, const device_matrix *up, const device_matrix *down,
                    const float *x, const device_run *runs, uint32_t n_runs) {
    const model *m = s->m;
    const device_ops *ops = m->dev->ops;
    model_workspace *w = s->w;
    uint32_t n = runs[n_runs - 1].first + runs[n_runs - 1].n;
    size_t ff_stride = ops->row_stride(gate->rows);
    const device_matrix *gate_up[] = {gate, up};
    float *outs[] = {w->gate, w->up};
    size_t strides[] = {ff_stride, ff_stride};
    ops->matmul_runs(m->dev, gate_up, 2, x, runs, n_runs, outs, strides);
    ops->gated(m->dev, m->h.arch->activation, w->gate, w->up, ff_stride, n, gate->rows, w->act);
    if (cancelled(s)) return false;

    float *out[] = {w->proj};
    size_t stride[] = {ops->row_stride(down->rows)};
    ops->matmul_runs(m->dev, &down, 1, w->act, runs, n_runs, out, stride);
    return !cancelled(s);
}

/* x += what norm makes in the network that all tokens meet */
static bool dense_block(const step *s, const model_layer *l) {
    const model *m = s->m;
    if (!network(s, &l->gate, &l->up, &l->down, s->w->norm, &(device_run){0, 0, s->n}, 1)) return false;
    m->dev->ops->add(m->dev, s->w->x, s->w->proj, m->dev->ops->row_stride(m->h.n_embd), s->n, m->h.n_embd);
    return true;
}

/* x += share · what norm makes in the shared expert */
static bool shared_block(const step *s, const model_layer *l) {
    const model *m = s->m;
    model_workspace *w = s->w;
    model_routes_shared(l->shared_share, w->norm, s->n, m->h.n_embd, w->routes.shared_share);
    if (!network(s, &l->gate, &l->up, &l->down, w->norm, &(device_run){0, 0, s->n}, 1)) return false;
    m->dev->ops->add_weighted(m->dev, w->x, NULL, w->routes.shared_share, w->proj,
                            m->dev->ops->row_stride(m->h.n_embd), s->n, m->h.n_embd);
    return true;
}

/* x += Σ share · what norm makes in each of a token's experts. Tokens are grouped, so that an expert's weights are
 * read once for all of them, and go in waves of whole experts that the buffers hold. */
static bool experts_block(const step *s, const model_layer *l) {
    const model *m = s->m;
    const model_hparams *h = &m->h;
    const device_ops *ops = m->dev->ops;
    model_workspace *w = s->w;
    model_routes *r = &w->routes;
    const device_matrix *router[] = {&l->router};
    size_t stride[] = {ops->row_stride(h->n_experts)};
    ops->matmul(m->dev, router, 1, w->norm, s->n, &r->logits, stride);
    model_routes_fill(r, h, (uint32_t)stride[0], s->n);
    for (uint32_t run = 0, next; run < r->n_runs; run = next) {
        uint32_t slot, n;
        next = model_routes_wave(r, run, w->max_tokens, &slot, &n);
        ops->gather(m->dev, w->norm, r->slot_token + slot, n, h->n_embd, r->gathered);
        if (!network(s, &l->gate_exps, &l->up_exps, &l->down_exps, r->gathered, r->runs + run, next - run))
            return false;
        ops->add_weighted(m->dev, w->x, r->slot_token + slot, r->slot_weight + slot, w->proj,
                        ops->row_stride(h->n_embd), n, h->n_embd);
    }
    return !h->n_ff_shexp || shared_block(s, l);
}

static bool ffn_block(const step *s, const model_layer *l) {
    const model_hparams *h = &s->m->h;
    s->m->dev->ops->rmsnorm(s->m->dev, s->w->x, l->ffn_norm, s->n, h->n_embd, h->norm_eps, s->w->norm);
    return h->n_experts ? experts_block(s, l) : dense_block(s, l);
}

/* After the last norm, where any token wants it; no logits. */
static void states_block(const step *s, const model_token *tokens) {
    const model_hparams *h = &s->m->h;
    bool wanted = false;
    for (uint32_t i = 0; i < s->n; i++) wanted |= tokens[i].want_state;
    if (wanted)
        s->m->dev->ops->rmsnorm(s->m->dev, s->w->x, s->m->output_norm, s->n, h->n_embd, h->norm_eps, s->w->states);
}

/* Logits of the tokens that want them, packed in order. */
static void output_block(const step *s, const model_token *tokens) {
    const model *m = s->m;
    const model_hparams *h = &m->h;
    model_workspace *w = s->w;
    uint32_t wanted = 0;
    for (uint32_t i = 0; i < s->n; i++)
        if (tokens[i].want_logits)
            memcpy(w->last + (size_t)wanted++ * h->n_embd, w->x + (size_t)i * h->n_embd, h->n_embd * sizeof(float));
    CHECK(wanted <= w->max_logits);
    if (!wanted) return;
    m->dev->ops->rmsnorm(m->dev, w->last, m->output_norm, wanted, h->n_embd, h->norm_eps, w->last);
    for (uint32_t done = 0; done < wanted; done += w->max_tokens) { /* a device takes max_tokens at once */
        uint32_t n = wanted - done < w->max_tokens ? wanted - done : w->max_tokens;
        const device_matrix *output[] = {&m->output};
        float *out[] = {w->logits + (size_t)done * w->logits_stride};
        size_t stride[] = {w->logits_stride};
        m->dev->ops->matmul(m->dev, output, 1, w->last + (size_t)done * h->n_embd, n, out, stride);
    }
}

bool model_forward(const model *m, model_workspace *w, const model_token *tokens, uint32_t n,
                   const _Atomic bool *cancel, err *e) {
    CHECK(n > 0 && n <= w->max_tokens);
    step s = {m, w, n, false, cancel};
    for (uint32_t i = 0; i < n; i++) {
        CHECK(tokens[i].token >= 0 && (uint32_t)tokens[i].token < m->h.n_vocab);
        w->ids[i] = tokens[i].token;
        for (uint32_t g = 0; g < m->h.kv.n_groups; g++) w->views[g][i] = tokens[i].kv[g];
        s.keeps |= tokens[i].kept_as != tokens[i].kv[0].position;
    }
    fill_cos_sin(m, tokens, n, false, w->cos_sin);
    if (s.keeps) fill_cos_sin(m, tokens, n, true, w->cos_sin_sinks);
    m->dev->ops->embed(m->dev, &m->embed, w->ids, n, m->h.embed_scale, w->x);
    for (uint32_t i = 0; i < m->h.n_layers; i++)
        if (!attention_block(&s, &m->layers[i], i) || !ffn_block(&s, &m->layers[i]))
            return err_set(e, ERR_CANCELLED, "the step was cancelled");
    states_block(&s, tokens);
    output_block(&s, tokens);
    return true;
}
