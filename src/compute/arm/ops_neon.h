/* compute/arm/ops_neon — the templates' operations in ARM's Advanced SIMD: a vector is two registers, half a panel's
 * rows, so that the shapes made for ops256.h serve. Callers: this folder's files. What differs from the x86 headers in
 * an instruction's manners (greatest of NaN, conversions that saturate) is made the same here. */
#ifndef COMPUTE_ARM_OPS_NEON_H
#define COMPUTE_ARM_OPS_NEON_H

#include <arm_neon.h>

#include "compute/layout.h"

#define WIDTH 8

typedef struct vi {
    int32x4_t q[2];
} vi;
typedef struct vf {
    float32x4_t q[2];
} vf;

/* The expression for both registers; i says which, as a constant. */
#define BOTH(type, expression)                                                                               \
    ({                                                                                                       \
        type both_;                                                                                          \
        { enum { i = 0 }; both_.q[0] = (expression); }                                                       \
        { enum { i = 1 }; both_.q[1] = (expression); }                                                       \
        both_;                                                                                               \
    })
#define U8(q) vreinterpretq_u8_s32(q)
#define OF_U8(q) vreinterpretq_s32_u8(q)
#define OF_U16(q) vreinterpretq_s32_u16(q)
#define BITS(q) vreinterpretq_s32_f32(q)
#define OF_BITS(q) vreinterpretq_f32_s32(q)

/* ---- whole numbers ------------------------------------------------------------------------------- */

ALWAYS_INLINE vi vi_load(const void *p) { return BOTH(vi, OF_U8(vld1q_u8((const uint8_t *)p + 16 * i))); }
ALWAYS_INLINE void vi_store(void *p, vi v) {
    vst1q_u8((uint8_t *)p, U8(v.q[0]));
    vst1q_u8((uint8_t *)p + 16, U8(v.q[1]));
}
ALWAYS_INLINE vi vi_set1(int32_t x) { return BOTH(vi, vdupq_n_s32(x)); }
ALWAYS_INLINE vi vi_and(vi a, vi b) { return BOTH(vi, a.q[i] & b.q[i]); }
ALWAYS_INLINE vi vi_add_neighbour(vi v) { return BOTH(vi, v.q[i] + vrev64q_s32(v.q[i])); }
ALWAYS_INLINE vi vi_negated_shift(vi v, int by) { return BOTH(vi, -(v.q[i] << by)); }
ALWAYS_INLINE vi vi_flip_signs(vi v) { return BOTH(vi, OF_U8(U8(v.q[i]) ^ vdupq_n_u8(0x80))); }
ALWAYS_INLINE vi four_activations(const void *q) {
    int32_t four;
    memcpy(&four, q, 4);
    return vi_set1(four);
}

ALWAYS_INLINE vi nibbles(vi v, uint32_t high) {
    return high ? BOTH(vi, OF_U8(U8(v.q[i]) >> 4)) : BOTH(vi, OF_U8(U8(v.q[i]) & 15));
}
/* Byte j takes bit j mod 8 of the mask's byte j / 8. */
ALWAYS_INLINE vi fifth_bits(vi v, const uint8_t *mask, int half) {
    const uint8x16_t bit = vreinterpretq_u8_u64(vdupq_n_u64(0x8040201008040201u));
    const uint8_t *m = mask + 4 * half;
    return BOTH(vi, OF_U8(U8(v.q[i]) |
                          (vtstq_u8(vcombine_u8(vdup_n_u8(m[2 * i]), vdup_n_u8(m[2 * i + 1])), bit) & 16)));
}
ALWAYS_INLINE uint8x16_t bit_pairs_at(uint8x16_t high, int chunk) {
    uint8x16_t at = chunk == 0 ? high << 4 : chunk == 1 ? high << 2 : chunk == 2 ? high : high >> 2;
    return at & 0x30;
}
ALWAYS_INLINE vi bit_pairs(vi v, vi high, int chunk) {
    return BOTH(vi, OF_U8(U8(v.q[i]) | bit_pairs_at(U8(high.q[i]), chunk)));
}

/* Sums of pairs of byte products, 16 bits each. */
ALWAYS_INLINE int16x8_t byte_pairs(int32x4_t a, int32x4_t b) {
    int8x16_t x = vreinterpretq_s8_s32(a), y = vreinterpretq_s8_s32(b);
    return vpaddq_s16(vmull_s8(vget_low_s8(x), vget_low_s8(y)), vmull_high_s8(x, y));
}

/* ---- floats --------------------------------------------------------------------------------------- */

ALWAYS_INLINE vf vf_set1(float f) { return BOTH(vf, vdupq_n_f32(f)); }
ALWAYS_INLINE vf vf_zero(void) { return vf_set1(0); }
ALWAYS_INLINE vf vf_load(const float *p) { return BOTH(vf, vld1q_f32(p + 4 * i)); }
ALWAYS_INLINE void vf_store(float *p, vf v) {
    vst1q_f32(p, v.q[0]);
    vst1q_f32(p + 4, v.q[1]);
}
ALWAYS_INLINE vf vf_load_first(const float *p, uint32_t n) {
    float x[WIDTH] = {0};
    for (uint32_t i = 0; i < n; i++) x[i] = p[i];
    return vf_load(x);
}
ALWAYS_INLINE void vf_store_first(float *p, uint32_t n, vf v) {
    float x[WIDTH];
    vf_store(x, v);
    for (uint32_t i = 0; i < n; i++) p[i] = x[i];
}
ALWAYS_INLINE vf vf_add(vf a, vf b) { return BOTH(vf, a.q[i] + b.q[i]); }
ALWAYS_INLINE vf vf_sub(vf a, vf b) { return BOTH(vf, a.q[i] - b.q[i]); }
ALWAYS_INLINE vf vf_mul(vf a, vf b) { return BOTH(vf, a.q[i] * b.q[i]); }
ALWAYS_INLINE vf vf_div(vf a, vf b) { return BOTH(vf, a.q[i] / b.q[i]); }
ALWAYS_INLINE vf vf_fma(vf a, vf b, vf c) { return BOTH(vf, vfmaq_f32(c.q[i], a.q[i], b.q[i])); }
ALWAYS_INLINE vf vf_negate(vf v) { return BOTH(vf, vnegq_f32(v.q[i])); }
ALWAYS_INLINE vf vf_abs(vf v) { return BOTH(vf, vabsq_f32(v.q[i])); }
ALWAYS_INLINE vf vf_where_less(vf x, vf bound, vf then, vf otherwise) {
    return BOTH(vf, vbslq_f32(vcltq_f32(x.q[i], bound.q[i]), then.q[i], otherwise.q[i]));
}
ALWAYS_INLINE vf vf_max(vf a, vf b) { return vf_where_less(b, a, a, b); } /* a > b ? a : b: fmax would keep a NaN */
ALWAYS_INLINE vf vf_min(vf a, vf b) { return vf_where_less(a, b, a, b); }
ALWAYS_INLINE vf vf_zero_if_nan(vf v) {
    return BOTH(vf, OF_BITS(BITS(v.q[i]) & vreinterpretq_s32_u32(vceqq_f32(v.q[i], v.q[i]))));
}
ALWAYS_INLINE vf vf_add_exponent(vf p, vf z) {
    return BOTH(vf, vreinterpretq_f32_u32(vreinterpretq_u32_f32(p.q[i]) + (vreinterpretq_u32_f32(z.q[i]) << 23)));
}

ALWAYS_INLINE vf vf_of_vi(vi v) { return BOTH(vf, vcvtq_f32_s32(v.q[i])); }
ALWAYS_INLINE vf vf_of_words(int16x8_t v) {
    return (vf){{vcvtq_f32_s32(vmovl_s16(vget_low_s16(v))), vcvtq_f32_s32(vmovl_high_s16(v))}};
}
ALWAYS_INLINE vf vf_of_u8(bytes16 v, int half) {
    uint8x16_t b = (uint8x16_t)v;
    return vf_of_words(vreinterpretq_s16_u16(half ? vmovl_high_u8(b) : vmovl_u8(vget_low_u8(b))));
}
ALWAYS_INLINE vf vf_of_i8(bytes16 v, int half) {
    int8x16_t b = (int8x16_t)v;
    return vf_of_words(half ? vmovl_high_s8(b) : vmovl_s8(vget_low_s8(b)));
}
ALWAYS_INLINE vf vf_f16_load(const void *p) {
    uint16x8_t h = vreinterpretq_u16_u8(vld1q_u8(p));
    float16x8_t f = vreinterpretq_f16_u16(h);
    return (vf){{vcvt_f32_f16(vget_low_f16(f)), vcvt_high_f32_f16(f)}};
}
ALWAYS_INLINE void vf_f16_store(void *p, vf v) {
    vst1q_u8(p, vreinterpretq_u8_f16(vcvt_high_f16_f32(vcvt_f16_f32(v.q[0]), v.q[1])));
}
ALWAYS_INLINE vf vf_bf16_load(const void *p) {
    uint16x8_t h = vreinterpretq_u16_u8(vld1q_u8(p));
    return (vf){{vreinterpretq_f32_u32(vshll_n_u16(vget_low_u16(h), 16)),
                 vreinterpretq_f32_u32(vshll_high_n_u16(h, 16))}};
}
ALWAYS_INLINE void vf_store_i8(int8_t *q, vf v) {
    int16x8_t words = vqmovn_high_s32(vqmovn_s32(vcvtnq_s32_f32(v.q[0])), vcvtnq_s32_f32(v.q[1]));
    vst1_s8(q, vqmovn_s16(words));
}
ALWAYS_INLINE float vf_fold16(const vf lane[2]) {
    vf l8 = vf_add(lane[0], lane[1]);
    float32x4_t l4 = l8.q[0] + l8.q[1];
    float32x2_t l2 = vget_low_f32(l4) + vget_high_f32(l4);
    return l2[0] + l2[1];
}
ALWAYS_INLINE float vf_largest(vf v) { return vmaxvq_f32(vmaxq_f32(v.q[0], v.q[1])); }

ALWAYS_INLINE vf vf_dup_even(vf v) { return BOTH(vf, vtrn1q_f32(v.q[i], v.q[i])); }
ALWAYS_INLINE vf vf_dup_odd(vf v) { return BOTH(vf, vtrn2q_f32(v.q[i], v.q[i])); }
ALWAYS_INLINE vf vf_swap_pairs(vf v) { return BOTH(vf, vrev64q_f32(v.q[i])); }
ALWAYS_INLINE vf vf_fma_sub_add(vf a, vf b, vf c) { /* even: −c */
    const int32x4_t even = vreinterpretq_s32_u64(vdupq_n_u64(0x80000000u));
    return BOTH(vf, vfmaq_f32(OF_BITS(BITS(c.q[i]) ^ even), a.q[i], b.q[i]));
}
ALWAYS_INLINE void vf_even_odd(vf low, vf high, vf *even, vf *odd) {
    *even = (vf){{vuzp1q_f32(low.q[0], low.q[1]), vuzp1q_f32(high.q[0], high.q[1])}};
    *odd = (vf){{vuzp2q_f32(low.q[0], low.q[1]), vuzp2q_f32(high.q[0], high.q[1])}};
}
/* Lanes i and i + half, half < WIDTH, become their sum and difference. */
ALWAYS_INLINE vf vf_butterfly(vf v, int half) {
    if (half == 4) return (vf){{v.q[0] + v.q[1], v.q[0] - v.q[1]}};
    const uint32x4_t upper = half == 1 ? vreinterpretq_u32_u64(vdupq_n_u64(0xFFFFFFFF00000000u))
                                       : vcombine_u32(vdup_n_u32(0), vdup_n_u32(0xFFFFFFFFu));
    vf other = half == 1 ? vf_swap_pairs(v) : BOTH(vf, vextq_f32(v.q[i], v.q[i], 2));
    return BOTH(vf, vbslq_f32(upper, other.q[i] - v.q[i], v.q[i] + other.q[i]));
}

/* ---- attention: pairs of int16 in 32 bits ------------------------------------------------------------ */

#define S16(q) vreinterpretq_s16_s32(q)
#define OF_S16(q) vreinterpretq_s32_s16(q)

ALWAYS_INLINE vi words_dot(vi sum, vi words, const void *two) {
    vi b = four_activations(two);
    return BOTH(vi, sum.q[i] + vpaddq_s32(vmull_s16(vget_low_s16(S16(words.q[i])), vget_low_s16(S16(b.q[i]))),
                                          vmull_high_s16(S16(words.q[i]), S16(b.q[i]))));
}
ALWAYS_INLINE void words_store(int16_t *to, vf v) {
    vst1q_s16(to, vqmovn_high_s32(vqmovn_s32(vcvtnq_s32_f32(v.q[0])), vcvtnq_s32_f32(v.q[1])));
}
ALWAYS_INLINE vi words_of_bytes(const void *p, bool with_signs) {
    uint8x16_t b = vld1q_u8(p);
    int8x16_t s = vreinterpretq_s8_u8(b);
    return with_signs ? (vi){{OF_S16(vmovl_s8(vget_low_s8(s))), OF_S16(vmovl_high_s8(s))}}
                      : (vi){{OF_U16(vmovl_u8(vget_low_u8(b))), OF_U16(vmovl_high_u8(b))}};
}
ALWAYS_INLINE vi words_shifted(vi words) {
    return BOTH(vi, OF_U16(vshrq_n_u16(vreinterpretq_u16_s32(words.q[i]), 4)));
}
ALWAYS_INLINE vi words_of_nibbles(vi words) {
    return BOTH(vi, OF_S16((S16(words.q[i]) & 15) - 8));
}

#endif
