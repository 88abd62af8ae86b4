/* compute/kv — where the values, scales and minima of a page's keys and values lie, and how a token is brought into
 * a page's type: what compute.h describes, shared by all variants. Internal to compute/; kv.c gives the sizes to the
 * other rooms. */
#ifndef COMPUTE_KV_H
#define COMPUTE_KV_H

#include <math.h>

#include "compute/compute.h"
#include "compute/f16.h"

enum {
    KV_GROUP_MOST = 64,
    KV_QUERIES_MOST = 64, /* that attention takes through a block together, */
    KV_QUERY_VALUES_MOST = 8192, /* and their values: what the second-level cache has room for */
};

/* Values that share a scale: 64, or the largest power of two that divides head_dim. */
static inline uint32_t kv_group(uint32_t head_dim) {
    uint32_t power = head_dim & (~head_dim + 1);
    return power < KV_GROUP_MOST ? power : KV_GROUP_MOST;
}

/* Values of one token in 64 bytes of a page's keys, and bytes of two tokens' values. */
static inline uint32_t kv_key_step(compute_kv_type type) {
    return type == COMPUTE_KV_F16 ? 2 : type == COMPUTE_KV_Q8 ? 4 : 8;
}
static inline size_t kv_value_row(compute_kv_type type, uint32_t head_dim_v) {
    return type == COMPUTE_KV_F16 ? 4 * (size_t)head_dim_v
         : type == COMPUTE_KV_Q8  ? 2 * (size_t)head_dim_v : (head_dim_v + 31) / 32 * (size_t)32;
}

enum { KV_KEY_ROW = 4 * COMPUTE_PAGE_TOKENS, KV_PAGE_ROWS = COMPUTE_PAGE_TOKENS / 2 };

/* Bytes up to the scales. */
static inline size_t kv_key_bytes(compute_kv_type type, uint32_t head_dim) {
    uint32_t step = kv_key_step(type);
    return (size_t)((head_dim + step - 1) / step) * KV_KEY_ROW;
}
static inline size_t kv_value_bytes(compute_kv_type type, uint32_t head_dim_v) {
    return (kv_value_row(type, head_dim_v) * KV_PAGE_ROWS + 63) / 64 * 64;
}

/* Bytes of the scales, and again of the minima that follow them for q4. */
static inline size_t kv_scale_bytes(uint32_t head_dim) {
    return (size_t)(head_dim / kv_group(head_dim)) * COMPUTE_PAGE_TOKENS * 2;
}

/* The byte where value d of a slot lies among the keys (the values); q4: in its high half where kv_…_shift is 4. */
static inline size_t kv_key_at(compute_kv_type type, uint32_t d, uint32_t slot) {
    uint32_t step = kv_key_step(type);
    if (type == COMPUTE_KV_F16) return 2 * ((size_t)d * COMPUTE_PAGE_TOKENS + slot);
    return (size_t)(d / step) * KV_KEY_ROW + 4 * slot + d % step % 4;
}
static inline uint32_t kv_key_shift(uint32_t d) { return d % 8 / 4 * 4; }

static inline size_t kv_value_at(compute_kv_type type, uint32_t head_dim_v, uint32_t d, uint32_t slot) {
    if (type == COMPUTE_KV_F16) return 2 * ((size_t)slot * head_dim_v + d);
    size_t row = slot / 2 * kv_value_row(type, head_dim_v);
    if (type == COMPUTE_KV_Q8) return row + 2 * (size_t)d + slot % 2;
    return row + d / 32 * 32 + 2 * (d % 16) + slot % 2;
}
static inline uint32_t kv_value_shift(uint32_t d) { return d % 32 / 16 * 4; }

#define KV_MOST 65504.0f /* the largest f16: what is larger is stored as this */

static inline float kv_clamp(float x, float least, float most) { return x < least ? least : x > most ? most : x; }

/* No NaN, no infinity, and no −0, whose f16 would tell it from 0. */
static inline float kv_finite(float x) { return x == x ? kv_clamp(x, -KV_MOST, KV_MOST) + 0.0f : 0.0f; }

/* The normalised Walsh–Hadamard transform of every group of x, in place; its own inverse. The pairs that are far
 * apart meet first. */
static inline void kv_rotate(float *x, uint32_t head_dim) {
    uint32_t group = kv_group(head_dim);
    float scale = 1.0f / sqrtf((float)group);
    for (uint32_t at = 0; at < head_dim; at += group) {
        float *g = x + at;
        for (uint32_t half = group / 2; half; half /= 2)
            for (uint32_t base = 0; base < group; base += 2 * half)
                for (uint32_t i = base; i < base + half; i++) {
                    float a = g[i], b = g[i + half];
                    g[i] = a + b;
                    g[i + half] = a - b;
                }
        for (uint32_t i = 0; i < group; i++) g[i] *= scale;
    }
}

/* f as f16, kept finite; returns what was stored. */
static inline float kv_put_f16(uint8_t *to, float f) {
    uint16_t h = f32_to_f16(kv_clamp(f, -KV_MOST, KV_MOST));
    memcpy(to, &h, 2);
    return f16_to_f32(h);
}

/* One group of finite values: to one whole number a byte, and a scale (and for q4 a minimum) stored as f16. */
typedef void kv_quantiser(compute_kv_type type, const float *x, uint32_t n, uint8_t *q, uint8_t *scale, uint8_t *min);

typedef void kv_rotator(float *x, uint32_t head_dim); /* kv_rotate, or what does the same */

/* One token's keys or values, ready to be laid out: q a byte each. scale: of this slot in the first group. */
static inline void kv_quantise(kv_rotator *rotate, kv_quantiser *quantise, compute_kv_type type, const float *given,
                               uint32_t head_dim, uint8_t *q, uint8_t *scale) {
    _Alignas(64) float x[COMPUTE_HEAD_DIM_MAX];
    for (uint32_t d = 0; d < head_dim; d++) x[d] = kv_finite(given[d]);
    rotate(x, head_dim);
    uint32_t group = kv_group(head_dim);
    uint8_t *min = scale + kv_scale_bytes(head_dim);
    for (uint32_t at = 0; at < head_dim; at += group, scale += 2 * COMPUTE_PAGE_TOKENS, min += 2 * COMPUTE_PAGE_TOKENS)
        quantise(type, x + at, group, q + at, scale, min);
}

/* The low half comes first, and clears the high one. */
static inline void kv_put_nibble(uint8_t *to, uint32_t shift, uint8_t nibble) {
    uint32_t low = shift ? *to : 0u;
    *to = (uint8_t)(low | (uint32_t)nibble << shift);
}

static inline void kv_lay_out_keys(compute_kv_type type, const uint8_t *q, uint32_t head_dim, uint32_t slot,
                                   uint8_t *k) {
    for (uint32_t d = 0; d < head_dim; d++) {
        uint8_t *to = k + kv_key_at(type, d, slot);
        if (type == COMPUTE_KV_Q8) *to = (uint8_t)(q[d] + 128);
        else kv_put_nibble(to, kv_key_shift(d), q[d]);
    }
}

static inline void kv_lay_out_values(compute_kv_type type, const uint8_t *q, uint32_t head_dim_v, uint32_t slot,
                                     uint8_t *v) {
    for (uint32_t d = 0; d < head_dim_v; d++) {
        uint8_t *to = v + kv_value_at(type, head_dim_v, d, slot);
        if (type == COMPUTE_KV_Q8) *to = q[d];
        else kv_put_nibble(to, kv_value_shift(d), q[d]);
    }
}

static inline void kv_store_quantised(kv_rotator *rotate, kv_quantiser *quantise, compute_kv_type type, uint8_t *k,
                                      uint8_t *v, const float *kx, const float *vx, uint32_t head_dim,
                                      uint32_t head_dim_v, uint32_t slot) {
    _Alignas(64) uint8_t q[COMPUTE_HEAD_DIM_MAX];
    kv_quantise(rotate, quantise, type, kx, head_dim, q, k + kv_key_bytes(type, head_dim) + 2 * slot);
    kv_lay_out_keys(type, q, head_dim, slot, k);
    kv_quantise(rotate, quantise, type, vx, head_dim_v, q, v + kv_value_bytes(type, head_dim_v) + 2 * slot);
    kv_lay_out_values(type, q, head_dim_v, slot, v);
}

static inline void kv_store_f16(uint8_t *k, uint8_t *v, const float *kx, const float *vx, uint32_t head_dim,
                                uint32_t head_dim_v, uint32_t slot) {
    for (uint32_t d = 0; d < head_dim; d++) kv_put_f16(k + kv_key_at(COMPUTE_KV_F16, d, slot), kv_finite(kx[d]));
    for (uint32_t d = 0; d < head_dim_v; d++)
        kv_put_f16(v + kv_value_at(COMPUTE_KV_F16, head_dim_v, d, slot), kv_finite(vx[d]));
}

/* ---- attention's own arithmetic, one value at a time ---- */

#define KV_LOG2E 0x1.715476p+0f
#define KV_EXP2_C1 0.693146978f /* least relative error, 9.1e-08, of 1 + … to 2^r for |r| ≤ ½ */
#define KV_EXP2_C2 0.240222421f
#define KV_EXP2_C3 0.0555073375f
#define KV_EXP2_C4 0.00967151297f
#define KV_EXP2_C5 0.00132647274f
#define KV_EXP2_LEAST -100.0f
#define KV_MOST_START -1e30f /* the running maximum before the first block */
#define KV_TINY 0x1p-100f /* a group of a query, or a block's weights, that is less counts as 0 */
#define KV_WEIGHT_MOST 32767.0f /* Σ over a block of weights and int8 values stays within int32: 128 · 32767 · 127 */

#endif
