/* compute/kv — where the values, scales and minima of a page's keys and values lie, and how a token is brought into
 * q8 and q4: what compute.h describes, shared by all variants. Internal to compute/; kv.c gives the sizes to the
 * other rooms. */
#ifndef COMPUTE_KV_H
#define COMPUTE_KV_H

#include <math.h>

#include "compute/compute.h"
#include "compute/f16.h"

/* Values that share a scale: 64, or the largest power of two that divides head_dim. */
static inline uint32_t kv_group(uint32_t head_dim) {
    uint32_t power = head_dim & (~head_dim + 1);
    return power < 64 ? power : 64;
}

/* Bytes of one head's quantised values in a page; the scales follow. */
static inline size_t kv_value_bytes(compute_kv_type type, uint32_t head_dim) {
    size_t n = (size_t)head_dim * COMPUTE_PAGE_TOKENS;
    return type == COMPUTE_KV_F16 ? 2 * n : type == COMPUTE_KV_Q8 ? n : (n / 2 + 63) / 64 * 64;
}

/* Bytes of n of a token's values. */
static inline size_t kv_value_row(compute_kv_type type, uint32_t n) {
    return type == COMPUTE_KV_F16 ? 2 * (size_t)n : type == COMPUTE_KV_Q8 ? n : n / 2;
}

/* Bytes of the scales, and again of the minima that follow them for q4. */
static inline size_t kv_scale_bytes(uint32_t head_dim) {
    return (size_t)(head_dim / kv_group(head_dim)) * COMPUTE_PAGE_TOKENS * 2;
}

/* The byte of q4 keys that holds d of slot 0 (slots follow), and the byte of a token's q4 values that holds d. */
static inline size_t kv_q4_key_at(uint32_t d) { return (size_t)(d / 2) * COMPUTE_PAGE_TOKENS; }
static inline uint32_t kv_q4_key_shift(uint32_t d) { return d % 2 * 4; }

/* Values lie in runs of 16 (the last may be shorter): low halves of the bytes the first half of the run. */
static inline uint32_t kv_q4_run(uint32_t head_dim, uint32_t d) {
    uint32_t left = head_dim - d / 16 * 16;
    return left < 16 ? left : 16;
}
static inline size_t kv_q4_value_at(uint32_t head_dim, uint32_t d) {
    return d / 16 * 8 + d % 16 % (kv_q4_run(head_dim, d) / 2);
}
static inline uint32_t kv_q4_value_shift(uint32_t head_dim, uint32_t d) {
    return d % 16 / (kv_q4_run(head_dim, d) / 2) * 4;
}

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

/* One token's keys or values, ready to be laid out: q a byte each; scales and minima are `stride` bytes apart. */
static inline void kv_quantise(kv_quantiser *quantise, compute_kv_type type, const float *x, uint32_t head_dim,
                               uint8_t *q, uint8_t *scale, size_t stride) {
    uint32_t group = kv_group(head_dim);
    uint8_t *min = scale + kv_scale_bytes(head_dim);
    for (uint32_t at = 0; at < head_dim; at += group, scale += stride, min += stride)
        quantise(type, x + at, group, q + at, scale, min);
}

static inline void kv_store_quantised(kv_rotator *rotate, kv_quantiser *quantise, compute_kv_type type, uint8_t *k,
                                      uint8_t *v, const float *kx, const float *vx, uint32_t head_dim,
                                      uint32_t head_dim_v, uint32_t slot) {
    _Alignas(64) float x[COMPUTE_HEAD_DIM_MAX];
    _Alignas(64) uint8_t q[COMPUTE_HEAD_DIM_MAX];
    for (uint32_t d = 0; d < head_dim; d++) x[d] = kv_finite(kx[d]);
    rotate(x, head_dim);
    kv_quantise(quantise, type, x, head_dim, q, k + kv_value_bytes(type, head_dim) + 2 * slot,
                2 * COMPUTE_PAGE_TOKENS);
    if (type == COMPUTE_KV_Q8)
        for (uint32_t d = 0; d < head_dim; d++) k[d * COMPUTE_PAGE_TOKENS + slot] = q[d];
    else
        for (uint32_t d = 0; d < head_dim; d += 2) k[kv_q4_key_at(d) + slot] = (uint8_t)(q[d] | q[d + 1] << 4);

    uint32_t groups = head_dim_v / kv_group(head_dim_v);
    for (uint32_t d = 0; d < head_dim_v; d++) x[d] = kv_finite(vx[d]);
    rotate(x, head_dim_v);
    kv_quantise(quantise, type, x, head_dim_v, q, v + kv_value_bytes(type, head_dim_v) + 2 * slot * groups, 2);
    if (type == COMPUTE_KV_Q8) {
        memcpy(v + (size_t)slot * head_dim_v, q, head_dim_v);
        return;
    }
    v += (size_t)slot * (head_dim_v / 2);
    for (uint32_t run = 0; run < head_dim_v; run += 16) {
        uint32_t half = kv_q4_run(head_dim_v, run) / 2;
        for (uint32_t i = 0; i < half; i++) v[run / 2 + i] = (uint8_t)(q[run + i] | q[run + half + i] << 4);
    }
}

#endif
