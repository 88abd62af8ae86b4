/* The scalar reference: every operation in the order that compute.h promises, and nothing clever. */
#include <math.h>
#include <string.h>

#include "base/check.h"
#include "compute/kv.h"
#include "compute/layout.h"
#include "compute/scalar.h"
#include "compute/variants.h"

float compute_exp(float x) { return scalar_exp(x); }
uint16_t compute_f16_from_f32(float f) { return f32_to_f16(f); }
float compute_f32_from_f16(uint16_t h) { return f16_to_f32(h); }

static uint32_t smaller(uint32_t a, uint32_t b) { return a < b ? a : b; }

/* n values that share a scale. */
static void quantize_group(const float *x, uint32_t n, int8_t *q, float *scale, int32_t *sum16) {
    float most = 0;
    for (uint32_t i = 0; i < n; i++) most = fmaxf(most, fabsf(scalar_finite(x[i])));
    if (most < ACT_TINY) return;
    float inverse = 127.0f / most;
    for (uint32_t g = 0; g * COMPUTE_ACT_GROUP < n; g++) scale[g] = most / 127.0f;
    for (uint32_t i = 0; i < n; i++) {
        float rounded = (scalar_finite(x[i]) * inverse + EXP_ROUND) - EXP_ROUND;
        q[i] = (int8_t)fminf(fmaxf(rounded, -127.0f), 127.0f);
        sum16[i / COMPUTE_SUM_GROUP] += q[i];
    }
}

static void quantize(const float *x, uint32_t cols, uint32_t group_cols, compute_act *to, size_t stride) {
    for (uint32_t i = 0; i < compute_act_blocks(cols); i++) memset(&to[i * stride], 0, sizeof *to);
    for (uint32_t at = 0; at < cols; at += group_cols) {
        compute_act *block = &to[at / COMPUTE_ACT_COLS * stride];
        uint32_t in = at % COMPUTE_ACT_COLS;
        quantize_group(x + at, smaller(group_cols, cols - at), block->q + in, block->scale + in / COMPUTE_ACT_GROUP,
                       block->sum16 + in / COMPUTE_SUM_GROUP);
    }
}

/* ---- matmul --------------------------------------------------------------------------------- */

static float dot_float(dtype type, const uint8_t *panel, uint32_t cols, uint32_t lane, const float *x) {
    float total = 0;
    for (uint32_t k = 0; k < cols; k++) {
        size_t at = (size_t)k * COMPUTE_PANEL_ROWS + lane;
        uint16_t h;
        float w;
        if (type == DTYPE_F32) {
            memcpy(&w, panel + 4 * at, 4);
        } else {
            memcpy(&h, panel + 2 * at, 2);
            w = type == DTYPE_F16 ? f16_to_f32(h) : bf16_to_f32(h);
        }
        total = fmaf(w, x[k], total);
    }
    return total;
}

/* One group of 32 columns for one row and token, added to acc. */
static float dot_group(dtype type, const group_row *row, const int8_t *q, const int32_t *sum16, float acc) {
    int32_t dot[2] = {0, 0};
    for (uint32_t i = 0; i < GROUP_COLS; i++) dot[i / 16] += row->w[i] * q[i];
    if (layout_is_affine(type)) {
        acc = fmaf(row->scale[0], (float)(dot[0] + dot[1]), acc);
        return fmaf(row->min, (float)(sum16[0] + sum16[1]), acc);
    }
    for (uint32_t i = 0; i < 2; i++) dot[i] -= layout_offset(type) * sum16[i];
    if (type != DTYPE_Q6_K) return fmaf(row->scale[0], (float)(dot[0] + dot[1]), acc);
    acc = fmaf(row->scale[0], (float)dot[0], acc);
    return fmaf(row->scale[1], (float)dot[1], acc);
}

/* One row of a superblock against all tokens, added to their totals in out. */
static void row_superblock(dtype type, const superblock *s, uint32_t n_groups, uint32_t lane, uint32_t col,
                           const compute_acts *acts, float *out, size_t out_stride) {
    group_row rows[SUPER_GROUPS];
    for (uint32_t g = 0; g < n_groups; g++) layout_group(type, s, g, lane, &rows[g]);
    for (uint32_t t = 0; t < acts->n_tokens; t++) {
        const compute_act *a = &acts->acts[col / COMPUTE_ACT_COLS * acts->stride + t];
        float total = out[t * out_stride];
        float acc = 0;
        for (uint32_t g = 0; g < n_groups; g++) {
            acc = dot_group(type, &rows[g], a->q + g * GROUP_COLS, a->sum16 + 2 * g, acc);
            if (layout_is_k(type)) continue;
            total = fmaf(acc, a->scale[g], total);
            acc = 0;
        }
        out[t * out_stride] = layout_is_k(type) ? fmaf(acc, a->scale[0], total) : total;
    }
}

static void matmul(dtype type, const void *packed, uint32_t cols, uint32_t panel0, uint32_t panel1,
                   const compute_acts *acts, float *out, size_t out_stride) {
    CHECK(compute_type_supported(type) && acts->cols == cols);
    size_t panel_bytes = compute_panel_bytes(type, cols);
    for (uint32_t p = panel0; p < panel1; p++) {
        const uint8_t *panel = (const uint8_t *)packed + p * panel_bytes;
        float *to = out + (size_t)p * COMPUTE_PANEL_ROWS;
        for (uint32_t lane = 0; lane < COMPUTE_PANEL_ROWS; lane++) {
            if (layout_is_float(type)) {
                for (uint32_t t = 0; t < acts->n_tokens; t++)
                    to[t * out_stride + lane] = dot_float(type, panel, cols, lane, acts->x + (size_t)t * cols);
                continue;
            }
            for (uint32_t t = 0; t < acts->n_tokens; t++) to[t * out_stride + lane] = 0;
            for (uint32_t col = 0; col < cols; col += SUPER_COLS) {
                uint32_t n_groups = smaller(SUPER_COLS, cols - col) / GROUP_COLS;
                superblock s = layout_superblock(type, panel + col / GROUP_COLS * layout_group_bytes(type), n_groups);
                row_superblock(type, &s, n_groups, lane, col, acts, to + lane, out_stride);
            }
        }
    }
}

/* ---- vectors -------------------------------------------------------------------------------- */

static void rmsnorm(const float *x, const float *w, uint32_t n, float eps, float *out) {
    float lane[LANES] = {0};
    for (uint32_t i = 0; i < n; i++) lane[i % LANES] = fmaf(x[i], x[i], lane[i % LANES]);
    float scale = 1.0f / sqrtf(scalar_fold(lane) / (float)n + eps);
    for (uint32_t i = 0; i < n; i++) out[i] = w ? x[i] * scale * w[i] : x[i] * scale;
}

static void rope(float *x, uint32_t n_heads, uint32_t head_dim, uint32_t rot_dim, const float *cos_sin, bool paired) {
    uint32_t half = rot_dim / 2, step = paired ? 1 : half;
    for (uint32_t h = 0; h < n_heads; h++, x += head_dim) {
        for (uint32_t i = 0; i < half; i++) {
            float *at = x + (paired ? 2 * i : i), a = at[0], b = at[step];
            float c = cos_sin[2 * i], s = cos_sin[2 * i + 1];
            at[0] = fmaf(a, c, -(b * s));
            at[step] = fmaf(a, s, b * c);
        }
    }
}

static void silu_mul(const float *gate, const float *up, uint32_t n, float *out) {
    for (uint32_t i = 0; i < n; i++) out[i] = scalar_silu(gate[i]) * up[i];
}

static void gelu_mul(const float *gate, const float *up, uint32_t n, float *out) {
    for (uint32_t i = 0; i < n; i++) out[i] = scalar_gelu(gate[i]) * up[i];
}

static void add(float *y, const float *x, uint32_t n) {
    for (uint32_t i = 0; i < n; i++) y[i] += x[i];
}

static void axpy(float *y, float a, const float *x, uint32_t n) {
    for (uint32_t i = 0; i < n; i++) y[i] = fmaf(a, x[i], y[i]);
}

static void softmax(float *x, uint32_t n) {
    float most = -INFINITY, lane[LANES] = {0};
    for (uint32_t i = 0; i < n; i++) most = x[i] > most ? x[i] : most;
    for (uint32_t i = 0; i < n; i++) {
        x[i] = scalar_exp(x[i] - most);
        lane[i % LANES] += x[i];
    }
    float sum = scalar_fold(lane);
    for (uint32_t i = 0; i < n; i++) x[i] /= sum;
}

/* ---- attention ------------------------------------------------------------------------------ */

static uint8_t kv_whole(float x, float least, float most) {
    return (uint8_t)(int8_t)kv_clamp((x + EXP_ROUND) - EXP_ROUND, least, most);
}

static void kv_quantise_group(compute_kv_type type, const float *x, uint32_t n, uint8_t *q, uint8_t *scale_at,
                              uint8_t *min_at) {
    float least = x[0], most = x[0];
    for (uint32_t i = 1; i < n; i++) least = fminf(least, x[i]), most = fmaxf(most, x[i]);
    bool q8 = type == COMPUTE_KV_Q8;
    float min = q8 ? 0 : kv_put_f16(min_at, least + 0.0f);
    float scale = kv_put_f16(scale_at, q8 ? fmaxf(-least, most) / 127.0f : (most - least) / 15.0f);
    for (uint32_t i = 0; i < n; i++)
        q[i] = scale > 0 ? kv_whole((x[i] - min) / scale, q8 ? -127 : 0, q8 ? 127 : 15) : 0;
}

static void kv_store(compute_kv_type type, uint8_t *k, uint8_t *v, const float *kx, const float *vx, uint32_t head_dim,
                     uint32_t head_dim_v, uint32_t slot) {
    CHECK(type < COMPUTE_KV_TYPES && head_dim <= COMPUTE_HEAD_DIM_MAX && head_dim_v <= COMPUTE_HEAD_DIM_MAX);
    if (type == COMPUTE_KV_F16) kv_store_f16(k, v, kx, vx, head_dim, head_dim_v, slot);
    else kv_store_quantised(kv_rotate, kv_quantise_group, type, k, v, kx, vx, head_dim, head_dim_v, slot);
}

static float half_at(const uint8_t *p, size_t i) {
    uint16_t h;
    memcpy(&h, p + 2 * i, 2);
    return f16_to_f32(h);
}

static float exp2a(float given) {
    float x = given > KV_EXP2_LEAST ? given : KV_EXP2_LEAST, z = x + EXP_ROUND, r = x - (z - EXP_ROUND);
    float p = fmaf(fmaf(fmaf(KV_EXP2_C5, r, KV_EXP2_C4), r, KV_EXP2_C3), r, KV_EXP2_C2);
    p = fmaf(fmaf(p, r, KV_EXP2_C1), r, 1.0f);
    return f32_of_bits(f32_bits(p) + (f32_bits(z) << 23));
}

/* One query of a range: as the keys meet it, and what has come of it so far. */
typedef struct query {
    const compute_attend_args *a;
    float x[COMPUTE_HEAD_DIM_MAX];     /* rotated for q8 and q4 */
    int32_t whole[COMPUTE_HEAD_DIM_MAX];
    float scale[COMPUTE_HEAD_DIM_MAX]; /* of each group; and Σ whole · scale */
    float whole_sum[COMPUTE_HEAD_DIM_MAX];
    float most, sum, *out;
} query;

static void query_group(query *q, uint32_t g, uint32_t group) {
    const float *x = q->x + (size_t)g * group;
    float most = 0;
    int32_t sum = 0;
    for (uint32_t i = 0; i < group; i++) most = fmaxf(most, fabsf(x[i]));
    bool tiny = !(most >= KV_TINY);
    float inverse = tiny ? 0 : 127.0f / most;
    q->scale[g] = tiny ? 0 : most / 127.0f;
    for (uint32_t i = 0; i < group; i++) {
        float whole = (x[i] * inverse + EXP_ROUND) - EXP_ROUND;
        sum += q->whole[g * group + i] = (int32_t)kv_clamp(whole, -127, 127);
    }
    q->whole_sum[g] = (float)sum * q->scale[g];
}

static void query_set(query *q, const float *x) {
    uint32_t dim = q->a->head_dim, group = kv_group(dim);
    for (uint32_t d = 0; d < dim; d++) q->x[d] = x[d];
    if (q->a->type == COMPUTE_KV_F16) return;
    kv_rotate(q->x, dim);
    for (uint32_t d = 0; d < dim; d++) q->x[d] = scalar_finite(q->x[d]);
    for (uint32_t g = 0; g < dim / group; g++) query_group(q, g, group);
}

static const uint8_t *page_of(const compute_attend_args *a, uint32_t at) {
    return a->pages[compute_kv_entry(at / COMPUTE_PAGE_TOKENS, a->sink_pages, a->ring_pages)];
}

static int key_whole(compute_kv_type type, const uint8_t *k, uint32_t d, uint32_t slot) {
    uint8_t byte = k[kv_key_at(type, d, slot)];
    return type == COMPUTE_KV_Q8 ? byte - 128 : byte >> kv_key_shift(d) & 15;
}

static float score(const query *q, uint32_t at) {
    const compute_attend_args *a = q->a;
    const uint8_t *k = page_of(a, at) + a->k_offset, *scales = k + kv_key_bytes(a->type, a->head_dim);
    uint32_t slot = at % COMPUTE_PAGE_TOKENS, group = kv_group(a->head_dim);
    float s = 0;
    if (a->type == COMPUTE_KV_F16) {
        for (uint32_t d = 0; d < a->head_dim; d++) s = fmaf(q->x[d], half_at(k + kv_key_at(a->type, d, slot), 0), s);
        return s;
    }
    for (uint32_t g = 0; g < a->head_dim / group; g++) {
        int32_t i = 0;
        size_t entry = (size_t)g * COMPUTE_PAGE_TOKENS + slot;
        for (uint32_t d = g * group; d < (g + 1) * group; d++) i += q->whole[d] * key_whole(a->type, k, d, slot);
        s = fmaf((float)i * q->scale[g], half_at(scales, entry), s);
        if (a->type == COMPUTE_KV_Q4)
            s = fmaf(q->whole_sum[g], half_at(scales + kv_scale_bytes(a->head_dim), entry), s);
    }
    return s;
}

static float exponent(const compute_attend_args *a, float s) {
    if (!(a->softcap > 0)) return s * (a->scale * KV_LOG2E);
    return a->softcap * scalar_tanh(s * a->scale / a->softcap) * KV_LOG2E;
}

/* A group of q8 or q4 values of a block's positions: whole numbers, what they are scaled by, and (q4) what 8 stands
 * for. */
typedef struct value_group {
    int32_t whole[COMPUTE_BLOCK_TOKENS][KV_GROUP_MOST];
    float scale[COMPUTE_BLOCK_TOKENS], middle[COMPUTE_BLOCK_TOKENS];
} value_group;

/* Slot j of the group, from the values from d on at position `at`. */
static void value_slot(const compute_attend_args *a, uint32_t d, uint32_t at, value_group *g) {
    const uint8_t *v = page_of(a, at) + a->v_offset, *scales = v + kv_value_bytes(a->type, a->head_dim_v);
    uint32_t slot = at % COMPUTE_PAGE_TOKENS, j = at % COMPUTE_BLOCK_TOKENS, group = kv_group(a->head_dim_v);
    uint32_t entry = d / group * COMPUTE_PAGE_TOKENS + slot;
    g->scale[j] = half_at(scales, entry);
    for (uint32_t i = 0; i < group; i++) {
        uint8_t byte = v[kv_value_at(a->type, a->head_dim_v, d + i, slot)];
        g->whole[j][i] = a->type == COMPUTE_KV_Q8 ? (int8_t)byte : (byte >> kv_value_shift(d + i) & 15) - 8;
    }
    if (a->type == COMPUTE_KV_Q4)
        g->middle[j] = fmaf(8, g->scale[j], half_at(scales + kv_scale_bytes(a->head_dim_v), entry));
}

/* Probabilities times scales as whole numbers; returns what those are scaled by. */
static float weigh(const float *p, const value_group *g, int32_t *weight) {
    float most = 0;
    for (uint32_t j = 0; j < COMPUTE_BLOCK_TOKENS; j++) most = fmaxf(most, p[j] * g->scale[j]);
    bool tiny = !(most >= KV_TINY);
    float inverse = tiny ? 0 : KV_WEIGHT_MOST / most;
    for (uint32_t j = 0; j < COMPUTE_BLOCK_TOKENS; j++)
        weight[j] = (int32_t)(((p[j] * g->scale[j]) * inverse + EXP_ROUND) - EXP_ROUND);
    return tiny ? 0 : most / KV_WEIGHT_MOST;
}

/* f16 values. */
static void add_plain(query *q, uint32_t from, uint32_t until, const float *p, float correction) {
    const compute_attend_args *a = q->a;
    for (uint32_t d = 0; d < a->head_dim_v; d++) {
        float o = q->out[d] * correction;
        for (uint32_t at = from; at < until; at++) {
            const uint8_t *v = page_of(a, at) + a->v_offset;
            size_t value = kv_value_at(a->type, a->head_dim_v, d, at % COMPUTE_PAGE_TOKENS);
            o = fmaf(p[at % COMPUTE_BLOCK_TOKENS], half_at(v + value, 0), o);
        }
        q->out[d] = o;
    }
}

/* The group of values from d on of positions from … until − 1, all of one block. */
static void add_whole(query *q, uint32_t d, uint32_t from, uint32_t until, const float *p, float correction) {
    enum { BLOCK = COMPUTE_BLOCK_TOKENS };
    value_group g = {0};
    int32_t weight[BLOCK];
    float lane[LANES] = {0};
    for (uint32_t at = from; at < until; at++) value_slot(q->a, d, at, &g);
    for (uint32_t j = 0; j < BLOCK; j++) lane[j % LANES] = fmaf(p[j], g.middle[j], lane[j % LANES]);
    float scale = weigh(p, &g, weight), middle = scalar_fold(lane);
    for (uint32_t i = 0; i < kv_group(q->a->head_dim_v); i++) {
        int32_t sum = 0;
        for (uint32_t j = 0; j < BLOCK; j++) sum += weight[j] * g.whole[j][i];
        q->out[d + i] = fmaf((float)sum, scale, fmaf(q->out[d + i], correction, middle));
    }
}

/* Positions from … until − 1, all of one block. */
static void attend_block(query *q, uint32_t from, uint32_t until) {
    enum { BLOCK = COMPUTE_BLOCK_TOKENS };
    float p[BLOCK] = {0}, lane[LANES] = {0}, now = q->most;
    for (uint32_t at = from; at < until; at++) {
        p[at % BLOCK] = exponent(q->a, score(q, at));
        now = p[at % BLOCK] > now ? p[at % BLOCK] : now;
    }
    float correction = exp2a(q->most - now);
    for (uint32_t at = from; at < until; at++) p[at % BLOCK] = exp2a(p[at % BLOCK] - now);
    for (uint32_t j = 0; j < BLOCK; j++) lane[j % LANES] += p[j];
    q->sum = fmaf(q->sum, correction, scalar_fold(lane));
    q->most = now;
    if (q->a->type == COMPUTE_KV_F16) add_plain(q, from, until, p, correction);
    uint32_t step = kv_group(q->a->head_dim_v), end = q->a->type == COMPUTE_KV_F16 ? 0 : q->a->head_dim_v;
    for (uint32_t d = 0; d < end; d += step) add_whole(q, d, from, until, p, correction);
}

/* Positions first … last as seen by x; nothing when there are none. */
static void attend_range(query *q, const float *x, uint32_t first, uint32_t last) {
    query_set(q, x);
    for (uint32_t at = first; at <= last; at = (at / COMPUTE_BLOCK_TOKENS + 1) * COMPUTE_BLOCK_TOKENS) {
        uint32_t end = (at / COMPUTE_BLOCK_TOKENS + 1) * COMPUTE_BLOCK_TOKENS;
        attend_block(q, at, smaller(end - 1, last) + 1);
    }
}

static void attend_query(const compute_attend_args *a, const compute_span *span, const float *x, const float *x_keep,
                         float *out) {
    query q = {.a = a, .most = KV_MOST_START, .out = out};
    for (uint32_t d = 0; d < a->head_dim_v; d++) out[d] = 0;
    if (span->keep) attend_range(&q, x_keep, 0, smaller(span->keep - 1, span->last));
    attend_range(&q, x, span->first > span->keep ? span->first : span->keep, span->last);
    for (uint32_t d = 0; d < a->head_dim_v; d++) out[d] = out[d] / q.sum + 0.0f;
    if (a->type != COMPUTE_KV_F16) kv_rotate(out, a->head_dim_v);
}

static void attend(const compute_attend_args *a) {
    CHECK(a->type < COMPUTE_KV_TYPES && a->n_heads <= COMPUTE_GROUP_MAX && a->n_tokens <= COMPUTE_TOKENS_MAX);
    CHECK(a->head_dim <= COMPUTE_HEAD_DIM_MAX && a->head_dim_v <= COMPUTE_HEAD_DIM_MAX);
    for (uint32_t t = 0; t < a->n_tokens; t++) {
        CHECK(a->spans[t].first <= a->spans[t].last);
        for (uint32_t h = 0; h < a->n_heads; h++) {
            size_t at = t * a->q_token_stride + h * a->q_stride;
            attend_query(a, &a->spans[t], a->q + at, a->spans[t].keep ? a->q_sinks + at : NULL,
                         a->out + t * a->out_token_stride + h * a->out_stride);
        }
    }
}

const compute_kernels compute_ref = {
    .name = "ref",
    .quantize = quantize,
    .matmul = matmul,
    .rmsnorm = rmsnorm,
    .rope = rope,
    .silu_mul = silu_mul,
    .gelu_mul = gelu_mul,
    .add = add,
    .axpy = axpy,
    .softmax = softmax,
    .kv_store = kv_store,
    .attend = attend,
};
