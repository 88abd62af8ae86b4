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

static void kv_store_f16(uint8_t *k, uint8_t *v, const float *kx, const float *vx, uint32_t head_dim,
                         uint32_t head_dim_v, uint32_t slot) {
    uint16_t *to_k = (uint16_t *)(void *)k + slot, *to_v = (uint16_t *)(void *)v + (size_t)slot * head_dim_v;
    for (uint32_t d = 0; d < head_dim; d++) to_k[(size_t)d * COMPUTE_PAGE_TOKENS] = f32_to_f16(kx[d]);
    for (uint32_t d = 0; d < head_dim_v; d++) to_v[d] = f32_to_f16(vx[d]);
}

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

static float kv_dequantised(compute_kv_type type, int q, const uint8_t *scales, size_t at, uint32_t head_dim) {
    float scale = half_at(scales, at);
    if (type == COMPUTE_KV_Q8) return (float)(int8_t)q * scale;
    return fmaf((float)(q & 15), scale, half_at(scales + kv_scale_bytes(head_dim), at));
}

static float key_at(const compute_attend_args *a, const uint8_t *k, uint32_t d, uint32_t j) {
    size_t plain = (size_t)d * COMPUTE_PAGE_TOKENS + j, group = d / kv_group(a->head_dim);
    if (a->type == COMPUTE_KV_F16) return half_at(k, plain);
    int q = a->type == COMPUTE_KV_Q8 ? k[plain] : k[kv_q4_key_at(d) + j] >> kv_q4_key_shift(d);
    const uint8_t *scales = k + kv_value_bytes(a->type, a->head_dim);
    return kv_dequantised(a->type, q, scales, group * COMPUTE_PAGE_TOKENS + j, a->head_dim);
}

static float value_at(const compute_attend_args *a, const uint8_t *v, uint32_t d, uint32_t j) {
    uint32_t dim = a->head_dim_v, group = kv_group(dim);
    if (a->type == COMPUTE_KV_F16) return half_at(v, (size_t)j * dim + d);
    int q = a->type == COMPUTE_KV_Q8
                ? v[(size_t)j * dim + d]
                : v[(size_t)j * (dim / 2) + kv_q4_value_at(dim, d)] >> kv_q4_value_shift(dim, d);
    return kv_dequantised(a->type, q, v + kv_value_bytes(a->type, dim), j * (dim / group) + d / group, dim);
}

static float score(const compute_attend_args *a, const float *q, const uint8_t *k, uint32_t j) {
    float s = 0;
    for (uint32_t d = 0; d < a->head_dim; d++) s = fmaf(q[d], key_at(a, k, d, j), s);
    s *= a->scale;
    return a->softcap > 0 ? a->softcap * scalar_tanh(s / a->softcap) : s;
}

/* Slots j0 … j1−1 of one page, for one head. */
static void attend_page(const compute_attend_args *a, const float *q, const uint8_t *page, uint32_t j0, uint32_t j1,
                        float *most, float *sum, float *out) {
    const uint8_t *k = page + a->k_offset, *v = page + a->v_offset;
    float p[COMPUTE_PAGE_TOKENS] = {0}, lane[LANES], now = *most;
    for (uint32_t j = j0; j < j1; j++) {
        p[j] = score(a, q, k, j);
        now = p[j] > now ? p[j] : now;
    }
    float correction = scalar_exp(*most - now);
    for (uint32_t j = j0; j < j1; j++) p[j] = scalar_exp(p[j] - now);
    for (uint32_t i = 0; i < LANES; i++) lane[i] = p[i] + p[i + LANES];
    *sum = fmaf(*sum, correction, scalar_fold(lane));
    *most = now;
    for (uint32_t d = 0; d < a->head_dim_v; d++) {
        float o = out[d] * correction;
        for (uint32_t j = j0; j < j1; j++) o = fmaf(p[j], value_at(a, v, d, j), o);
        out[d] = o;
    }
}

typedef struct head_state {
    float most, sum, *out;
} head_state;

/* Positions first … last, seen by q; nothing when there are none. */
static void attend_range(const compute_attend_args *a, const float *q, uint32_t first, uint32_t last, head_state *h) {
    float rotated[COMPUTE_HEAD_DIM_MAX];
    memcpy(rotated, q, a->head_dim * sizeof *q);
    if (a->type != COMPUTE_KV_F16) kv_rotate(rotated, a->head_dim);
    for (uint32_t at = first; at <= last; at = (at / COMPUTE_PAGE_TOKENS + 1) * COMPUTE_PAGE_TOKENS) {
        uint32_t i = at / COMPUTE_PAGE_TOKENS, base = i * COMPUTE_PAGE_TOKENS;
        const uint8_t *page = a->pages[compute_kv_entry(i, a->keep_pages, a->ring_pages)];
        uint32_t j1 = smaller(last - base + 1, COMPUTE_PAGE_TOKENS);
        attend_page(a, rotated, page, at - base, j1, &h->most, &h->sum, h->out);
    }
}

static void attend(const compute_attend_args *a) {
    CHECK(a->type < COMPUTE_KV_TYPES && a->first <= a->last);
    CHECK(a->head_dim <= COMPUTE_HEAD_DIM_MAX && a->head_dim_v <= COMPUTE_HEAD_DIM_MAX);
    for (uint32_t h = 0; h < a->n_heads; h++) {
        head_state state = {.most = -INFINITY, .sum = 0, .out = a->out + (size_t)h * a->out_stride};
        for (uint32_t d = 0; d < a->head_dim_v; d++) state.out[d] = 0;
        size_t q = (size_t)h * a->q_stride;
        if (a->keep) attend_range(a, a->q_keep + q, 0, smaller(a->keep - 1, a->last), &state);
        attend_range(a, a->q + q, a->first > a->keep ? a->first : a->keep, a->last, &state);
        for (uint32_t d = 0; d < a->head_dim_v; d++) state.out[d] /= state.sum;
        if (a->type != COMPUTE_KV_F16) kv_rotate(state.out, a->head_dim_v);
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
