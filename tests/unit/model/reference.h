/* The forward pass in double precision, written for clarity, and the model as it is in as much of the house as it
 * needs; both of one spec, and held against each other. */
#ifndef TESTS_UNIT_MODEL_REFERENCE_H
#define TESTS_UNIT_MODEL_REFERENCE_H

#include "../test.h"

#include "device/cpu/cpu.h"
#include "mem/heap.h"
#include "kv/pool.h"
#include "model/arch/arch.h"
#include "model/model.h"
#include "model_build.h"

enum { N_TOKENS = 70, MAX_PAGES = 8 }; /* over four page borders */

/* ---- the reference ---- */

typedef struct reference {
    const model_spec *s;
    const model_file *f;
    double *freqs, mscale;
} reference;

static const float *tensor_of(const reference *r, const char *format, uint32_t layer) {
    char name[64];
    snprintf(name, sizeof name, "%s", format);
    if (!strncmp(format, "blk", 3)) snprintf(name, sizeof name, "blk.%u.%s", layer, format + 4);
    return model_file_values(r->f, name);
}

static inline void multiply(const float *w, const float *bias, uint32_t rows, uint32_t cols, const double *x, double *out) {
    for (uint32_t i = 0; i < rows; i++) {
        double sum = 0;
        for (uint32_t j = 0; j < cols; j++) sum += (double)w[(size_t)i * cols + j] * x[j];
        out[i] = sum + (bias ? (double)bias[i] : 0);
    }
}

static inline void normalize(const float *w, uint32_t n, const double *x, double *out) {
    double sum = 0;
    for (uint32_t i = 0; i < n; i++) sum += x[i] * x[i];
    for (uint32_t i = 0; i < n; i++) out[i] = x[i] / sqrt(sum / n + 1e-5) * (double)w[i];
}

/* Norms of single heads, where there are such tensors. */
static inline void normalize_heads(const float *w, uint32_t n_heads, uint32_t d, double *x) {
    for (uint32_t h = 0; w && h < n_heads; h++) normalize(w, d, x + (size_t)h * d, x + (size_t)h * d);
}

static inline void rotate(const reference *r, double *x, uint32_t n_heads, uint32_t position) {
    bool paired = !spec_is(r->s, "qwen") && !spec_is(r->s, "phi3");
    uint32_t d = spec_head_dim(r->s), rot = r->s->rot_dim ? r->s->rot_dim : d;
    for (uint32_t h = 0; h < n_heads; h++, x += d)
        for (uint32_t i = 0; i < rot / 2; i++) {
            double c = cos(position * r->freqs[i]) * r->mscale, s = sin(position * r->freqs[i]) * r->mscale;
            double *a = paired ? &x[2 * i] : &x[i], *b = paired ? &x[2 * i + 1] : &x[i + rot / 2], was = *a;
            *a = was * c - *b * s;
            *b = was * s + *b * c;
        }
}

static inline double as_f16(double x) { return (double)compute_f32_from_f16(compute_f16_from_f32((float)x)); }

/* Attention of one token over keys [n][n_kv][d] and values [n][n_kv][dv], those before `first` left out. */
static inline void attend(const reference *r, const double *q, const double *k, const double *v, uint32_t first, uint32_t n,
                   double *out) {
    uint32_t d = spec_head_dim(r->s), dv = spec_head_dim_v(r->s), kvs = r->s->n_kv_heads, group = r->s->n_heads / kvs;
    double *p = malloc(n * sizeof *p);
    for (uint32_t h = 0; h < r->s->n_heads; h++) {
        double most = -INFINITY, total = 0;
        for (uint32_t t = first; t < n; t++) {
            p[t] = 0;
            for (uint32_t i = 0; i < d; i++) p[t] += q[h * d + i] * k[(size_t)(t * kvs + h / group) * d + i];
            p[t] /= sqrt(d);
            most = fmax(most, p[t]);
        }
        for (uint32_t t = first; t < n; t++) total += p[t] = exp(p[t] - most);
        for (uint32_t i = 0; i < dv; i++) {
            out[h * dv + i] = 0;
            for (uint32_t t = first; t < n; t++)
                out[h * dv + i] += p[t] / total * v[(size_t)(t * kvs + h / group) * dv + i];
        }
    }
    free(p);
}

/* With a pattern of n every n-th layer sees everything; without one, none does. */
static inline uint32_t first_seen(const model_spec *s, uint32_t layer, uint32_t position) {
    bool windowed = s->window && !(s->window_pattern && layer % s->window_pattern == s->window_pattern - 1);
    return windowed && position + 1 > s->window ? position + 1 - s->window : 0;
}

/* x += share · down · (silu(gate · norm) · (up · norm)), of matrix i of a tensor of several. */
static inline void reference_network(const reference *r, uint32_t layer, const char *kind, uint32_t i, uint32_t ff,
                              double share, const double *norm, double *x) {
    uint32_t w = r->s->n_embd;
    char name[3][64];
    static const char *const parts[] = {"gate", "up", "down"};
    for (int p = 0; p < 3; p++) snprintf(name[p], 64, "blk.ffn_%s%s.weight", parts[p], kind);
    size_t at = (size_t)i * w * ff, up_at = at;
    if (spec_is(r->s, "phi3")) memcpy(name[0], name[1], 64), up_at += (size_t)w * ff; /* one tensor, gate first */
    double *gate = calloc(ff, 8), *up = calloc(ff, 8), *out = calloc(w, 8);
    multiply(tensor_of(r, name[0], layer) + at, NULL, ff, w, norm, gate);
    multiply(tensor_of(r, name[1], layer) + up_at, NULL, ff, w, norm, up);
    for (uint32_t j = 0; j < ff; j++) gate[j] = gate[j] / (1 + exp(-gate[j])) * up[j];
    multiply(tensor_of(r, name[2], layer) + at, NULL, w, ff, gate, out);
    for (uint32_t j = 0; j < w; j++) x[j] += share * out[j];
    free(gate), free(up), free(out);
}

/* A softmax over all experts; the most likely ones, one after the other; their shares scaled to one, or not. */
static inline void reference_experts(const reference *r, uint32_t layer, const double *norm, double *x) {
    const model_spec *s = r->s;
    uint32_t chosen[64], ff = s->n_ff_exp ? s->n_ff_exp : s->n_ff;
    double p[64], total = 0, all = 0, share;
    multiply(tensor_of(r, "blk.ffn_gate_inp.weight", layer), NULL, s->n_experts, s->n_embd, norm, p);
    for (uint32_t i = 0; i < s->n_experts; i++) all += p[i] = exp(p[i]);
    for (uint32_t k = 0; k < s->n_experts_used; k++) {
        uint32_t best = UINT32_MAX;
        for (uint32_t i = 0; i < s->n_experts; i++) {
            bool taken = false;
            for (uint32_t j = 0; j < k; j++) taken |= chosen[j] == i;
            if (!taken && (best == UINT32_MAX || p[i] > p[best])) best = i;
        }
        chosen[k] = best;
        total += p[best];
    }
    if (spec_is(s, "qwen2")) total = all;
    for (uint32_t k = 0; k < s->n_experts_used; k++)
        reference_network(r, layer, "_exps", chosen[k], ff, p[chosen[k]] / total, norm, x);
    if (!s->n_ff_shexp) return;
    multiply(tensor_of(r, "blk.ffn_gate_inp_shexp.weight", layer), NULL, 1, s->n_embd, norm, &share);
    reference_network(r, layer, "_shexp", 0, s->n_ff_shexp, 1 / (1 + exp(-share)), norm, x);
}

/* Rows of a tensor of their own, or of attn_qkv from a row on. */
static inline void project(const reference *r, uint32_t layer, const char *own, uint32_t row, uint32_t rows,
                           const double *norm, double *out) {
    char weight[64], bias[64];
    const char *name = r->s->fused_qkv ? "attn_qkv" : own;
    uint32_t first = r->s->fused_qkv ? row : 0;
    snprintf(weight, sizeof weight, "blk.%s.weight", name);
    snprintf(bias, sizeof bias, "blk.%s.bias", name);
    const float *w = tensor_of(r, weight, layer), *b = tensor_of(r, bias, layer);
    multiply(w + (size_t)first * r->s->n_embd, b ? b + first : NULL, rows, r->s->n_embd, norm, out);
}

/* x + attention's out + what the channel makes of x: as it is after attention, or of parallel blocks as it was before;
 * each result, or their sum, normed where there are norms behind. */
static inline void reference_channel(const reference *r, uint32_t layer, double *x, double *out, double *norm) {
    const model_spec *s = r->s;
    const float *post = tensor_of(r, "blk.post_attention_norm.weight", layer),
                *post_ffw = tensor_of(r, "blk.post_ffw_norm.weight", layer);
    uint32_t w = s->n_embd;
    double *sum = calloc(w, 8);
    if (!s->parallel) {
        if (post) normalize(post, w, out, out);
        for (uint32_t i = 0; i < w; i++) x[i] += out[i];
        memset(out, 0, w * sizeof *out);
    }
    normalize(tensor_of(r, "blk.ffn_norm.weight", layer), w, x, norm);
    if (s->n_experts) reference_experts(r, layer, norm, sum);
    else reference_network(r, layer, "", 0, spec_ff(s, layer), 1, norm, sum);
    for (uint32_t i = 0; i < w; i++) sum[i] += out[i];
    if (s->parallel ? post : post_ffw) normalize(s->parallel ? post : post_ffw, w, sum, sum);
    for (uint32_t i = 0; i < w; i++) x[i] += sum[i];
    free(sum);
}

/* x of all tokens through one layer. */
static inline void reference_layer(const reference *r, uint32_t layer, double *x, uint32_t n) {
    const model_spec *s = r->s;
    uint32_t d = spec_head_dim(s), dv = spec_head_dim_v(s), w = s->n_embd, kw = s->n_kv_heads * d,
             vw = s->n_kv_heads * dv;
    double *norm = calloc(w, 8), *q = calloc(s->n_heads * d, 8), *k = calloc((size_t)n * kw, 8),
           *v = calloc((size_t)n * vw, 8);
    double *mix = calloc(s->n_heads * dv, 8), *out = calloc(w, 8);
    for (uint32_t t = 0; t < n; t++, x += w) {
        double *kt = k + (size_t)t * kw, *vt = v + (size_t)t * vw;
        normalize(tensor_of(r, "blk.attn_norm.weight", layer), w, x, norm);
        project(r, layer, "attn_q", 0, s->n_heads * d, norm, q);
        project(r, layer, "attn_k", s->n_heads * d, kw, norm, kt);
        project(r, layer, "attn_v", s->n_heads * d + kw, vw, norm, vt);
        normalize_heads(tensor_of(r, "blk.attn_q_norm.weight", layer), s->n_heads, d, q);
        normalize_heads(tensor_of(r, "blk.attn_k_norm.weight", layer), s->n_kv_heads, d, kt);
        rotate(r, q, s->n_heads, t);
        rotate(r, kt, s->n_kv_heads, t);
        for (uint32_t i = 0; i < kw; i++) kt[i] = as_f16(kt[i]);
        for (uint32_t i = 0; i < vw; i++) vt[i] = as_f16(vt[i]);
        attend(r, q, k, v, first_seen(s, layer, t), t + 1, mix);
        multiply(tensor_of(r, "blk.attn_output.weight", layer), NULL, w, s->n_heads * dv, mix, out);
        reference_channel(r, layer, x, out, norm);
    }
    free(norm), free(q), free(k), free(v), free(mix), free(out);
}

/* Logits [n][n_vocab] of every position. */
static inline void reference_forward(const reference *r, const int32_t *tokens, uint32_t n, double *logits) {
    const model_spec *s = r->s;
    uint32_t w = s->n_embd;
    double *x = calloc((size_t)n * w, 8), *norm = calloc(w, 8);
    const float *embed = tensor_of(r, "token_embd.weight", 0),
                *output = s->tied ? embed : tensor_of(r, "output.weight", 0);
    for (uint32_t t = 0; t < n; t++)
        for (uint32_t i = 0; i < w; i++) x[(size_t)t * w + i] = (double)embed[(size_t)tokens[t] * w + i];
    for (uint32_t layer = 0; layer < s->n_layers; layer++) reference_layer(r, layer, x, n);
    for (uint32_t t = 0; t < n; t++) {
        normalize(tensor_of(r, "output_norm.weight", 0), w, x + (size_t)t * w, norm);
        multiply(output, NULL, s->n_vocab, w, norm, logits + (size_t)t * s->n_vocab);
    }
    free(x), free(norm);
}

/* ---- the model as it is, in as much of the house as it needs ---- */

typedef struct rig {
    model_file file;
    mem_ledger ledger;
    mem_heap heap;
    gguf g;
    model_desc h;
    mem_arena weights, work;
    device dev;
    model m;
    model_workspace w;
    kv_pool *pool;
    uint8_t *pages[KV_GROUPS_MAX][MAX_PAGES];
} rig;

static inline void rig_up(rig *r, const model_spec *s, int n_threads) {
    err e = {0};
    size_t bytes;
    memset(r, 0, sizeof *r);
    model_file_make(&r->file, s);
    mem_ledger_init(&r->ledger, UINT64_MAX);
    mem_heap_init(&r->heap, &r->ledger, MEM_TOKENIZER);
    assert_ok(gguf_open_memory(&r->g, r->file.bytes, r->file.len, "test", &r->heap.alloc, &e), e);
    assert_ok(model_describe(&r->h, &r->g.source, &r->heap.alloc, &e), e);
    for (uint32_t i = 0; i < r->h.n_layers; i++) { /* traits that a family would set */
        model_layer_desc *l = &r->h.layers[i];
        l->blocks[1].joined = s->parallel;
        if (s->post_norms) arch_vector(l, MODEL_POST_NORM + 0, "post_attention_norm", s->n_embd);
        if (s->post_norms && !s->parallel) arch_vector(l, MODEL_POST_NORM + 1, "post_ffw_norm", s->n_embd);
    }
    assert_ok(model_plan_bytes(&r->g.source, &r->h, device_cpu_ops(), &bytes, &e), e);
    assert_ok(mem_arena_init(&r->weights, &r->ledger, MEM_WEIGHTS, bytes, false, &e), e);
    assert_ok(mem_arena_init(&r->work, &r->ledger, MEM_WORKSPACE, 16 << 20, false, &e), e);
    device_cpu_config config = {n_threads, N_TOKENS, model_max_cols(&r->h)};
    assert_ok(device_cpu_init(&r->dev, &config, &r->work, &e), e);
    assert_int_equal(device_cpu_bytes(&r->dev), device_cpu_plan_bytes(&config));
    size_t mark = mem_arena_mark(&r->work);
    size_t scratch_bytes = model_load_scratch_bytes(&r->g.source, device_cpu_ops(), n_threads);
    assert_ok(model_init(&r->m, &r->g.source, &r->h, &r->dev, &r->weights, &r->work, NULL, NULL, &e), e);
    assert_true(r->work.high - mark <= scratch_bytes);
    assert_int_equal(r->m.bytes, bytes);
    assert_int_equal(r->weights.used, bytes);
    assert_int_equal(r->m.tied, s->tied);
    assert_true((r->m.output.data == r->m.embed.data) == s->tied);
    mem_arena_reset(&r->work, mark);
    model_workspace_layout(&r->w, &r->h, device_cpu_ops(), N_TOKENS, N_TOKENS, &r->work);
    assert_false(r->work.failed);
    r->pool = kv_pool_new(&r->h.kv, MAX_PAGES * kv_set_bytes(&r->h.kv, COMPUTE_KV_F16), &r->ledger, &e);
    assert_non_null(r->pool);
    for (uint32_t g = 0; g < r->h.kv.n_groups; g++) {
        for (int i = 0; i < MAX_PAGES; i++) {
            r->pages[g][i] = kv_pool_take(r->pool, g, COMPUTE_KV_F16, &e);
            /* NaNs, as an earlier user may leave behind */
            memset(r->pages[g][i], 0xFF, kv_page_bytes(&r->h.kv, g, COMPUTE_KV_F16));
        }
    }
}

static inline void rig_down(rig *r) {
    for (uint32_t g = 0; g < r->h.kv.n_groups; g++)
        for (int i = 0; i < MAX_PAGES; i++) kv_pool_unref(r->pool, r->pages[g][i]);
    kv_pool_free(r->pool);
    device_cpu_stop(&r->dev);
    mem_arena_free(&r->work);
    mem_arena_free(&r->weights);
    model_desc_free(&r->h);
    gguf_close(&r->g);
    assert_int_equal(mem_heap_bytes(&r->heap), 0);
    mem_ledger_view v;
    mem_ledger_read(&r->ledger, &v);
    assert_int_equal(v.now_bytes, 0);
    model_file_free(&r->file);
}

/* Feeds tokens in pieces of chunk; logits [n][n_vocab]. */
static inline void rig_forward(rig *r, const int32_t *tokens, uint32_t n, uint32_t chunk, float *logits) {
    model_token batch[N_TOKENS];
    err e = {0};
    for (uint32_t at = 0; at < n; at += chunk) {
        uint32_t take = n - at < chunk ? n - at : chunk;
        for (uint32_t i = 0; i < take; i++) {
            batch[i] = (model_token){.token = tokens[at + i], .want_logits = true, .kept_as = at + i};
            for (uint32_t g = 0; g < r->h.kv.n_groups; g++) {
                uint32_t window = r->h.kv.groups[g].window, seen = at + i + 1;
                uint32_t first = window && seen > window ? seen - window : 0;
                batch[i].kv[g] = (device_kv_view){.pages = r->pages[g], .position = at + i, .first = first};
            }
        }
        assert_ok(model_forward(&r->m, &r->w, batch, take, NULL, &e), e);
        for (uint32_t i = 0; i < take; i++)
            memcpy(logits + (size_t)(at + i) * r->h.n_vocab, r->w.logits + (size_t)i * r->w.logits_stride,
                   r->h.n_vocab * sizeof(float));
    }
}

/* ---- frequencies by their formulas (RoPE; linear interpolation; YaRN, section 3.2 and appendix A.2) ---- */

static inline double yarn_share(double pair, double rot, double base, double original) { /* how much of the interpolated one */
    double low = floor(rot * log(original / (32 * 2 * M_PI)) / (2 * log(base)));
    double high = ceil(rot * log(original / (1 * 2 * M_PI)) / (2 * log(base)));
    low = fmax(low, 0), high = fmin(high, rot - 1);
    return fmin(1, fmax(0, (pair - low) / fmax(high - low, 0.001)));
}

static inline void reference_freqs(reference *r) {
    const model_spec *s = r->s;
    uint32_t rot = s->rot_dim ? s->rot_dim : spec_head_dim(s);
    double base = s->rope_base != 0 ? (double)s->rope_base : 10000,
           factor = s->rope_factor != 0 ? (double)s->rope_factor : 1;
    bool yarn = s->rope_scaling && !strcmp(s->rope_scaling, "yarn"),
         none = s->rope_scaling && !strcmp(s->rope_scaling, "none");
    r->mscale = s->rope_attn_factor != 0 ? (double)s->rope_attn_factor : 1;
    if (yarn) r->mscale *= 0.1 * log(factor) + 1;
    r->freqs = calloc(rot / 2, sizeof *r->freqs);
    for (uint32_t i = 0; i < rot / 2; i++) {
        double f = pow(base, -2.0 * i / rot) / (s->rope_factors ? (double)s->rope_factors[i] : 1);
        double share = yarn ? yarn_share(i, rot, base, s->rope_original ? s->rope_original : s->context) : none ? 0 : 1;
        r->freqs[i] = f / factor * share + f * (1 - share);
    }
}

/* ---- comparisons ---- */

static inline double worst(const float *got, const double *want, size_t n) {
    double most = 0, square = 0;
    for (size_t i = 0; i < n; i++) {
        if (!isfinite(got[i])) return INFINITY;
        most = fmax(most, fabs((double)got[i] - want[i]));
        square += want[i] * want[i];
    }
    return most / sqrt(square / (double)n);
}

/* The worst difference of any logit is at most tolerance times their root mean square. */
static inline void compare(const model_spec *s, double tolerance) {
    rig r;
    rig_up(&r, s, 2);
    reference ref = {.s = s, .f = &r.file};
    reference_freqs(&ref);
    assert_true(fabs((double)r.m.ropes[0].mscale / ref.mscale - 1) < 1e-6);
    for (uint32_t i = 0; i < r.h.ropes[0].dims / 2; i++)
        assert_true(fabs((double)r.m.ropes[0].freqs[i] / ref.freqs[i] - 1) < 1e-6);
    int32_t tokens[N_TOKENS];
    rng random;
    rng_seed(&random, s->seed + 1);
    for (int i = 0; i < N_TOKENS; i++) tokens[i] = (int32_t)(rng_next(&random) % s->n_vocab);
    size_t n = (size_t)N_TOKENS * s->n_vocab;
    double *want = calloc(n, sizeof *want);
    float *got = calloc(n, sizeof *got), *pieces = calloc(n, sizeof *pieces);
    reference_forward(&ref, tokens, N_TOKENS, want);
    rig_forward(&r, tokens, N_TOKENS, N_TOKENS, got);
    double difference = worst(got, want, n);
    if (!(difference <= tolerance))
        fail_msg("%s: differs by %g of the root mean square; %g allowed", dtype_get(s->type)->name, difference,
                 tolerance);
    rig_forward(&r, tokens, N_TOKENS, 9, pieces); /* writes the same pages once more */
    assert_memory_equal(pieces, got, n * sizeof *got);
    free(want), free(got), free(pieces), free(ref.freqs);
    rig_down(&r);
}

/* K and V are rounded to f16: where float and double fall on either side of a half-way point, the logits
 * part by about 1e-4. A wrong head, pair, norm or page is of order 1. */
#define EXACT 5e-4

#endif
