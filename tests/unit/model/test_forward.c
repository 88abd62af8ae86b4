/* The forward pass against a plain one in double precision, written here without pages, panels or batches; and
 * the rotary frequencies against their formulas. */
#include "../test.h"

#include "mem/heap.h"
#include "kv/pool.h"
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

static void multiply(const float *w, const float *bias, uint32_t rows, uint32_t cols, const double *x, double *out) {
    for (uint32_t i = 0; i < rows; i++) {
        double sum = 0;
        for (uint32_t j = 0; j < cols; j++) sum += (double)w[(size_t)i * cols + j] * x[j];
        out[i] = sum + (bias ? (double)bias[i] : 0);
    }
}

static void normalize(const float *w, uint32_t n, const double *x, double *out) {
    double sum = 0;
    for (uint32_t i = 0; i < n; i++) sum += x[i] * x[i];
    for (uint32_t i = 0; i < n; i++) out[i] = x[i] / sqrt(sum / n + 1e-5) * (double)w[i];
}

/* Norms of single heads, where there are such tensors. */
static void normalize_heads(const float *w, uint32_t n_heads, uint32_t d, double *x) {
    for (uint32_t h = 0; w && h < n_heads; h++) normalize(w, d, x + (size_t)h * d, x + (size_t)h * d);
}

static void rotate(const reference *r, double *x, uint32_t n_heads, uint32_t position) {
    bool paired = !spec_is(r->s, "qwen");
    uint32_t d = spec_head_dim(r->s), rot = r->s->rot_dim ? r->s->rot_dim : d;
    for (uint32_t h = 0; h < n_heads; h++, x += d)
        for (uint32_t i = 0; i < rot / 2; i++) {
            double c = cos(position * r->freqs[i]) * r->mscale, s = sin(position * r->freqs[i]) * r->mscale;
            double *a = paired ? &x[2 * i] : &x[i], *b = paired ? &x[2 * i + 1] : &x[i + rot / 2], was = *a;
            *a = was * c - *b * s;
            *b = was * s + *b * c;
        }
}

static double as_f16(double x) { return (double)compute_f32_from_f16(compute_f16_from_f32((float)x)); }

/* Attention of one token over keys [n][n_kv][d] and values [n][n_kv][dv], those before `first` left out. */
static void attend(const reference *r, const double *q, const double *k, const double *v, uint32_t first, uint32_t n,
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
static uint32_t first_seen(const model_spec *s, uint32_t layer, uint32_t position) {
    bool windowed = s->window && !(s->window_pattern && layer % s->window_pattern == s->window_pattern - 1);
    return windowed && position + 1 > s->window ? position + 1 - s->window : 0;
}

/* x += share · down · (silu(gate · norm) · (up · norm)), of matrix i of a tensor of several. */
static void reference_network(const reference *r, uint32_t layer, const char *kind, uint32_t i, uint32_t ff,
                              double share, const double *norm, double *x) {
    uint32_t w = r->s->n_embd;
    char name[3][64];
    static const char *const parts[] = {"gate", "up", "down"};
    for (int p = 0; p < 3; p++) snprintf(name[p], 64, "blk.ffn_%s%s.weight", parts[p], kind);
    size_t at = (size_t)i * w * ff;
    double *gate = calloc(ff, 8), *up = calloc(ff, 8), *out = calloc(w, 8);
    multiply(tensor_of(r, name[0], layer) + at, NULL, ff, w, norm, gate);
    multiply(tensor_of(r, name[1], layer) + at, NULL, ff, w, norm, up);
    for (uint32_t j = 0; j < ff; j++) gate[j] = gate[j] / (1 + exp(-gate[j])) * up[j];
    multiply(tensor_of(r, name[2], layer) + at, NULL, w, ff, gate, out);
    for (uint32_t j = 0; j < w; j++) x[j] += share * out[j];
    free(gate), free(up), free(out);
}

/* A softmax over all experts; the most likely ones, one after the other; their shares scaled to one, or not. */
static void reference_experts(const reference *r, uint32_t layer, const double *norm, double *x) {
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

/* x of all tokens through one layer. */
static void reference_layer(const reference *r, uint32_t layer, double *x, uint32_t n) {
    const model_spec *s = r->s;
    uint32_t d = spec_head_dim(s), dv = spec_head_dim_v(s), w = s->n_embd, kw = s->n_kv_heads * d,
             vw = s->n_kv_heads * dv;
    double *norm = calloc(w, 8), *q = calloc(s->n_heads * d, 8), *k = calloc((size_t)n * kw, 8),
           *v = calloc((size_t)n * vw, 8);
    double *mix = calloc(s->n_heads * dv, 8), *out = calloc(w, 8);
    for (uint32_t t = 0; t < n; t++, x += w) {
        double *kt = k + (size_t)t * kw, *vt = v + (size_t)t * vw;
        normalize(tensor_of(r, "blk.attn_norm.weight", layer), w, x, norm);
        multiply(tensor_of(r, "blk.attn_q.weight", layer), tensor_of(r, "blk.attn_q.bias", layer), s->n_heads * d, w,
                 norm, q);
        multiply(tensor_of(r, "blk.attn_k.weight", layer), tensor_of(r, "blk.attn_k.bias", layer), kw, w, norm, kt);
        multiply(tensor_of(r, "blk.attn_v.weight", layer), tensor_of(r, "blk.attn_v.bias", layer), vw, w, norm, vt);
        normalize_heads(tensor_of(r, "blk.attn_q_norm.weight", layer), s->n_heads, d, q);
        normalize_heads(tensor_of(r, "blk.attn_k_norm.weight", layer), s->n_kv_heads, d, kt);
        rotate(r, q, s->n_heads, t);
        rotate(r, kt, s->n_kv_heads, t);
        for (uint32_t i = 0; i < kw; i++) kt[i] = as_f16(kt[i]);
        for (uint32_t i = 0; i < vw; i++) vt[i] = as_f16(vt[i]);
        attend(r, q, k, v, first_seen(s, layer, t), t + 1, mix);
        multiply(tensor_of(r, "blk.attn_output.weight", layer), NULL, w, s->n_heads * dv, mix, out);
        for (uint32_t i = 0; i < w; i++) x[i] += out[i];
        normalize(tensor_of(r, "blk.ffn_norm.weight", layer), w, x, norm);
        if (s->n_experts) reference_experts(r, layer, norm, x);
        else reference_network(r, layer, "", 0, s->n_ff, 1, norm, x);
    }
    free(norm), free(q), free(k), free(v), free(mix), free(out);
}

/* Logits [n][n_vocab] of every position. */
static void reference_forward(const reference *r, const int32_t *tokens, uint32_t n, double *logits) {
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

static void rig_up(rig *r, const model_spec *s, int n_threads) {
    err e = {0};
    size_t bytes;
    memset(r, 0, sizeof *r);
    model_file_make(&r->file, s);
    mem_ledger_init(&r->ledger, UINT64_MAX);
    mem_heap_init(&r->heap, &r->ledger, MEM_TOKENIZER);
    assert_ok(gguf_open_memory(&r->g, r->file.bytes, r->file.len, "test", &r->heap.alloc, &e), e);
    assert_ok(model_describe(&r->h, &r->g.source, &r->heap.alloc, &e), e);
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

static void rig_down(rig *r) {
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
static void rig_forward(rig *r, const int32_t *tokens, uint32_t n, uint32_t chunk, float *logits) {
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

static double yarn_share(double pair, double rot, double base, double original) { /* how much of the interpolated one */
    double low = floor(rot * log(original / (32 * 2 * M_PI)) / (2 * log(base)));
    double high = ceil(rot * log(original / (1 * 2 * M_PI)) / (2 * log(base)));
    low = fmax(low, 0), high = fmin(high, rot - 1);
    return fmin(1, fmax(0, (pair - low) / fmax(high - low, 0.001)));
}

static void reference_freqs(reference *r) {
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

static double worst(const float *got, const double *want, size_t n) {
    double most = 0, square = 0;
    for (size_t i = 0; i < n; i++) {
        if (!isfinite(got[i])) return INFINITY;
        most = fmax(most, fabs((double)got[i] - want[i]));
        square += want[i] * want[i];
    }
    return most / sqrt(square / (double)n);
}

/* The worst difference of any logit is at most tolerance times their root mean square. */
static void compare(const model_spec *s, double tolerance) {
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

static void shapes(void **state) {
    (void)state;
    static const model_spec specs[] = {
        {.n_vocab = 33,
         .n_layers = 2,
         .n_embd = 60,
         .n_heads = 6,
         .n_kv_heads = 3,
         .n_ff = 100,
         .context = 128,
         .seed = 1},
        {.n_vocab = 17,
         .n_layers = 2,
         .n_embd = 64,
         .n_heads = 2,
         .n_kv_heads = 1,
         .n_ff = 48,
         .context = 128,
         .tied = true,
         .seed = 2},
        {.n_vocab = 50,
         .n_layers = 1,
         .n_embd = 30,
         .n_heads = 5,
         .n_kv_heads = 5,
         .n_ff = 7,
         .context = 128,
         .seed = 3},
        {.n_vocab = 16,
         .n_layers = 3,
         .n_embd = 40,
         .n_heads = 7,
         .n_kv_heads = 7,
         .head_dim = 12,
         .head_dim_v = 6,
         .n_ff = 33,
         .context = 128,
         .seed = 4},
        {.n_vocab = 16,
         .n_layers = 2,
         .n_embd = 32,
         .n_heads = 9,
         .n_kv_heads = 3,
         .head_dim = 32,
         .head_dim_v = 16,
         .n_ff = 64,
         .context = 128,
         .rot_dim = 10,
         .seed = 5},
        {.n_vocab = 1,
         .n_layers = 1,
         .n_embd = 2,
         .n_heads = 1,
         .n_kv_heads = 1,
         .n_ff = 1,
         .context = 128,
         .seed = 6},
    };
    for (size_t i = 0; i < sizeof specs / sizeof *specs; i++) compare(&specs[i], EXACT);
}

/* All layers, every second, all but every third seeing a window. */
static void windows(void **state) {
    (void)state;
    for (uint32_t pattern = 0; pattern <= 3; pattern++)
        compare(&(model_spec){.n_vocab = 30,
                              .n_layers = 4,
                              .n_embd = 48,
                              .n_heads = 4,
                              .n_kv_heads = 2,
                              .n_ff = 40,
                              .context = 128,
                              .window = 5 + 30 * (pattern == 2),
                              .window_pattern = pattern,
                              .seed = 20 + pattern},
                EXACT);
}

static void another_row(void **state) { /* biases, halves instead of pairs */
    (void)state;
    compare(&(model_spec){.arch = "qwen2",
                          .n_vocab = 40,
                          .n_layers = 2,
                          .n_embd = 48,
                          .n_heads = 6,
                          .n_kv_heads = 2,
                          .n_ff = 64,
                          .context = 128,
                          .rope_base = 1e6f,
                          .biases = true,
                          .tied = true,
                          .seed = 7},
            EXACT);
}

static void norms_of_heads(void **state) { /* a head size that is not width / heads, rows with and without padding */
    (void)state;
    for (uint32_t heads = 2; heads <= 4; heads += 2)
        compare(&(model_spec){.arch = "qwen3",
                              .n_vocab = 40,
                              .n_layers = 2,
                              .n_embd = 48,
                              .n_heads = heads,
                              .n_kv_heads = 2,
                              .head_dim = heads == 2 ? 24 : 20,
                              .n_ff = 64,
                              .context = 128,
                              .seed = 30 + heads},
                EXACT);
}

/* More slots than the buffers hold: in waves. */
static const model_spec mixtures[] = {
    {.n_experts = 4, .n_experts_used = 2, .n_ff = 48, .seed = 41},
    {.n_experts = 7, .n_experts_used = 3, .n_ff = 21, .seed = 42},
    {.n_experts = 3, .n_experts_used = 3, .n_ff = 16, .seed = 43},
    {.n_experts = 1, .n_experts_used = 1, .n_ff = 40, .seed = 44},
    {.arch = "qwen3moe", .n_experts = 40, .n_experts_used = 8, .n_ff = 99, .n_ff_exp = 16, .seed = 45},
    {.arch = "qwen3moe", .n_experts = 5, .n_experts_used = 1, .n_ff = 9, .n_ff_exp = 30, .head_dim = 20,
     .seed = 46},
    {.arch = "qwen2moe", .n_experts = 6, .n_experts_used = 2, .n_ff = 60, .n_ff_exp = 17,
     .n_ff_shexp = 50, .biases = true, .seed = 47},
    {.arch = "qwen2moe", .n_experts = 8, .n_experts_used = 4, .n_ff = 32, .n_ff_exp = 16,
     .n_ff_shexp = 16, .biases = true, .seed = 48},
};
enum { N_MIXTURES = sizeof mixtures / sizeof *mixtures };

static model_spec mixture(int i) {
    model_spec s = mixtures[i];
    s.n_vocab = 40, s.n_layers = 2, s.n_embd = 48, s.n_heads = 4, s.n_kv_heads = 2, s.context = 128;
    return s;
}

static void experts(void **state) {
    (void)state;
    for (int i = 0; i < N_MIXTURES; i++) {
        model_spec s = mixture(i);
        compare(&s, EXACT);
    }
}

/* What the device is asked to read of experts' weights. */
static struct {
    uint32_t reads, tokens, twice;
    const void *seen[256];
} reading;

static void reading_matmul_runs(device *d, const device_matrix *const *ms, uint32_t n_ms, const float *x,
                                const device_run *runs, uint32_t n_runs, float *const *outs, const size_t *strides) {
    for (uint32_t m = 0; m < n_ms; m++)
        for (uint32_t r = 0; r < n_runs; r++) {
            size_t bytes = device_cpu_ops()->matrix_bytes(ms[m]->type, ms[m]->rows, ms[m]->cols);
            const void *at = (const char *)ms[m]->data + runs[r].matrix * bytes;
            for (uint32_t i = 0; i < reading.reads; i++) reading.twice += reading.seen[i] == at;
            assert_true(reading.reads < sizeof reading.seen / sizeof *reading.seen);
            reading.seen[reading.reads++] = at;
            reading.tokens += runs[r].n;
        }
    device_cpu_ops()->matmul_runs(d, ms, n_ms, x, runs, n_runs, outs, strides);
}

static void each_expert_is_read_once_a_step(void **state) {
    (void)state;
    model_spec s = mixture(0);
    rig r;
    int32_t tokens[16];
    float *logits = calloc(16 * s.n_vocab, sizeof *logits);
    s.n_experts = 8;
    rig_up(&r, &s, 2);
    device_ops ops = *r.dev.ops;
    ops.matmul_runs = reading_matmul_runs;
    r.dev.ops = &ops;
    for (int i = 0; i < 16; i++) tokens[i] = (int32_t)((unsigned)i * 7 % s.n_vocab);
    memset(&reading, 0, sizeof reading);
    rig_forward(&r, tokens, 16, 16, logits);
    assert_int_equal(reading.twice, 0);
    assert_int_equal(reading.tokens, 3 * 2 * s.n_layers * 16); /* 3 matrices, 2 experts, 16 tokens */
    assert_in_range(reading.reads, 1, 3 * 8 * s.n_layers);
    memset(&reading, 0, sizeof reading);
    rig_forward(&r, tokens, 16, 1, logits); /* token by token each reads its own */
    assert_int_equal(reading.reads, 3 * 2 * s.n_layers * 16);
    free(logits);
    rig_down(&r);
}

/* Alone, beside others, in pieces of any size, on one thread and two: the same bits. */
static void experts_bits(void **state) {
    (void)state;
    static const dtype kinds[] = {DTYPE_F32, DTYPE_Q8_0};
    static const uint32_t chunks[] = {1, 16, 33, N_TOKENS};
    for (int i = 0; i < N_MIXTURES; i++)
        for (int kind = 0; kind < 2; kind++) {
            model_spec s = mixture(i);
            s.n_embd = 64, s.type = kinds[kind], s.n_ff_exp = s.n_ff_exp ? 64 : 0, s.n_ff = 64;
            if (s.n_ff_shexp) s.n_ff_shexp = 96;
            if (s.head_dim) s.head_dim = 32;
            int32_t tokens[N_TOKENS];
            for (int t = 0; t < N_TOKENS; t++) tokens[t] = (int32_t)((unsigned)t * 11 % s.n_vocab);
            size_t bytes = (size_t)N_TOKENS * s.n_vocab * sizeof(float);
            float *want = calloc(1, bytes), *got = calloc(1, bytes);
            for (int n_threads = 1; n_threads <= 2; n_threads++) {
                rig r;
                rig_up(&r, &s, n_threads);
                if (n_threads == 1) rig_forward(&r, tokens, N_TOKENS, 1, want);
                for (int c = 0; c < 4; c++) {
                    memset(got, 0, bytes);
                    rig_forward(&r, tokens, N_TOKENS, chunks[c], got);
                    assert_memory_equal(got, want, bytes);
                }
                rig_down(&r);
            }
            free(want), free(got);
        }
}

static void types(void **state) {
    (void)state;
    model_spec s = {.n_vocab = 64,
                    .n_layers = 2,
                    .n_embd = 256,
                    .n_heads = 8,
                    .n_kv_heads = 2,
                    .n_ff = 512,
                    .context = 128,
                    .seed = 8};
    static const struct {
        dtype type;
        double tolerance;
    } wanted[] = {
        {DTYPE_F32, EXACT},
        {DTYPE_F16, EXACT},
        {DTYPE_BF16, EXACT},
        /* Here the activations are rounded, too: to 8 bits of the largest of 256. */
        {DTYPE_Q8_0, 0.12},
        {DTYPE_Q4_0, 0.12},
        {DTYPE_Q4_K, 0.12},
        {DTYPE_Q6_K, 0.12},
    };
    for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++) {
        s.type = wanted[i].type;
        compare(&s, wanted[i].tolerance);
    }
}

static void rope_scalings(void **state) {
    (void)state;
    static const float factors[] = {1, 1.5f, 2, 4, 8, 8.5f, 9, 32};
    const model_spec plain = {.n_vocab = 20,
                              .n_layers = 1,
                              .n_embd = 32,
                              .n_heads = 2,
                              .n_kv_heads = 1,
                              .n_ff = 16,
                              .context = 4096,
                              .seed = 9};
    model_spec s = plain;
    s.rope_base = 500000;
    compare(&s, EXACT);
    s.rope_factors = factors;
    compare(&s, EXACT);
    s = plain;
    s.rope_scaling = "linear", s.rope_factor = 4;
    compare(&s, EXACT);
    s.rope_scaling = NULL; /* a factor alone means linear */
    compare(&s, EXACT);
    s.rope_scaling = "none";
    compare(&s, EXACT);
    s.rope_scaling = "yarn", s.rope_factor = 8, s.rope_original = 512;
    compare(&s, EXACT);
    s.rope_attn_factor = 0.7f;
    s.rope_original = 0; /* then the context it was trained for */
    compare(&s, EXACT);
    s.rope_factors = factors;
    compare(&s, EXACT);
}

static void bad_rope_factors(void **state) {
    (void)state;
    static const float wrong[][2] = {{1, 0}, {-1, 1}, {NAN, 1}, {1, INFINITY}};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        model_spec s = {.n_vocab = 9,
                        .n_layers = 1,
                        .n_embd = 4,
                        .n_heads = 1,
                        .n_kv_heads = 1,
                        .n_ff = 8,
                        .context = 128,
                        .rope_factors = wrong[i]};
        model_file f;
        test_alloc alloc;
        gguf g;
        model_desc d;
        model m;
        err e = {0};
        mem_ledger l;
        mem_arena weights, work;
        device dev;
        model_file_make(&f, &s);
        test_alloc_init(&alloc, 0);
        mem_ledger_init(&l, UINT64_MAX);
        device_cpu_config config = {1, 1, 8};
        assert_ok(gguf_open_memory(&g, f.bytes, f.len, "test", &alloc.alloc, &e), e);
        assert_ok(model_describe(&d, &g.source, &alloc.alloc, &e), e);
        assert_ok(mem_arena_init(&weights, &l, MEM_WEIGHTS, 1 << 20, false, &e) &&
                      mem_arena_init(&work, &l, MEM_WORKSPACE, 1 << 20, false, &e),
                  e);
        assert_ok(device_cpu_init(&dev, &config, &work, &e), e);
        assert_false(model_init(&m, &g.source, &d, &dev, &weights, &work, NULL, NULL, &e));
        assert_int_equal(e.code, ERR_FORMAT);
        assert_non_null(strstr(e.message, "rope_freqs.weight"));
        device_cpu_stop(&dev);
        mem_arena_free(&work);
        mem_arena_free(&weights);
        model_desc_free(&d);
        gguf_close(&g);
        model_file_free(&f);
    }
}

typedef struct progress {
    uint64_t last, total;
    int calls;
} progress;

static void on_progress(void *ctx, uint64_t done, uint64_t total) {
    progress *p = ctx;
    assert_true(done > p->last && done <= total);
    p->last = done, p->total = total, p->calls++;
}

/* The load tells how far it is, and is all the file's tensors at its end. */
static void progress_reaches_the_end(void **state) {
    (void)state;
    model_spec s = {.n_vocab = 30,
                    .n_layers = 2,
                    .n_embd = 32,
                    .n_heads = 2,
                    .n_kv_heads = 2,
                    .n_ff = 48,
                    .context = 128,
                    .seed = 1};
    rig r;
    err e = {0};
    rig_up(&r, &s, 1);
    mem_arena weights;
    progress p = {0};
    model again;
    size_t mark = mem_arena_mark(&r.work);
    assert_ok(mem_arena_init(&weights, &r.ledger, MEM_WEIGHTS, r.m.bytes, false, &e), e);
    assert_ok(model_init(&again, &r.g.source, &r.h, &r.dev, &weights, &r.work, on_progress, &p, &e), e);
    assert_int_equal(p.total, r.g.tensor_bytes);
    assert_true(p.last <= p.total && p.calls == 2 + 2 * 7);
    mem_arena_reset(&r.work, mark);
    mem_arena_free(&weights);
    rig_down(&r);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(shapes),        cmocka_unit_test(windows), cmocka_unit_test(another_row),      cmocka_unit_test(types),
        cmocka_unit_test(norms_of_heads), cmocka_unit_test(experts), cmocka_unit_test(experts_bits),
        cmocka_unit_test(each_expert_is_read_once_a_step),
        cmocka_unit_test(rope_scalings), cmocka_unit_test(bad_rope_factors), cmocka_unit_test(progress_reaches_the_end),
    };
    return cmocka_run_group_tests_name("model_forward", tests, NULL, NULL);
}
