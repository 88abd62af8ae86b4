/* compute/x86/ops256 — the templates' operations in AVX2, FMA and F16C: a vector is half a panel's rows. */
#ifndef COMPUTE_X86_OPS256_H
#define COMPUTE_X86_OPS256_H

#include <immintrin.h>

#include "compute/layout.h"

#define WIDTH 8

typedef __m256i vi;
typedef __m256 vf;

ALWAYS_INLINE vi vi_load(const void *p) { return _mm256_loadu_si256((const __m256i *)p); }
ALWAYS_INLINE void vi_store(void *p, vi v) { _mm256_storeu_si256((__m256i *)p, v); }
ALWAYS_INLINE vi vi_set1(int32_t i) { return _mm256_set1_epi32(i); }
ALWAYS_INLINE vi vi_add_neighbour(vi v) { return _mm256_add_epi32(v, _mm256_shuffle_epi32(v, 0xB1)); }
ALWAYS_INLINE vi vi_negated_shift(vi v, int by) { return _mm256_sub_epi32(_mm256_setzero_si256(),
                                                                          _mm256_slli_epi32(v, by)); }
ALWAYS_INLINE vi vi_flip_signs(vi v) { return _mm256_xor_si256(v, _mm256_set1_epi8((char)0x80)); }
ALWAYS_INLINE vi nibbles(vi v, uint32_t high) {
    return _mm256_and_si256(high ? _mm256_srli_epi16(v, 4) : v, _mm256_set1_epi8(15));
}
/* Bytes take the mask's byte i / 8 and keep its bit i mod 8. */
ALWAYS_INLINE vi fifth_bits(vi v, const uint8_t *mask, int half) {
    int32_t m;
    memcpy(&m, mask + 4 * half, 4);
    const vi byte = _mm256_setr_epi8(0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1, 2, 2, 2, 2, 2, 2, 2, 2, 3,
                                     3, 3, 3, 3, 3, 3, 3);
    const vi bit = _mm256_set1_epi64x((long long)0x8040201008040201u);
    vi bits = _mm256_and_si256(_mm256_shuffle_epi8(_mm256_set1_epi32(m), byte), bit);
    return _mm256_or_si256(v, _mm256_and_si256(_mm256_cmpeq_epi8(bits, bit), _mm256_set1_epi8(16)));
}
ALWAYS_INLINE vi bit_pairs(vi v, vi high, int chunk) {
    vi at = chunk == 0 ? _mm256_slli_epi16(high, 4) : chunk == 1 ? _mm256_slli_epi16(high, 2)
          : chunk == 2 ? high : _mm256_srli_epi16(high, 2);
    return _mm256_or_si256(v, _mm256_and_si256(at, _mm256_set1_epi8(0x30)));
}

ALWAYS_INLINE vf vf_zero(void) { return _mm256_setzero_ps(); }
ALWAYS_INLINE vf vf_set1(float f) { return _mm256_set1_ps(f); }
ALWAYS_INLINE vf vf_load(const float *p) { return _mm256_loadu_ps(p); }
ALWAYS_INLINE void vf_store(float *p, vf v) { _mm256_storeu_ps(p, v); }
ALWAYS_INLINE vi first_lanes(uint32_t n) {
    return _mm256_cmpgt_epi32(_mm256_set1_epi32((int)n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}
ALWAYS_INLINE vf vf_load_first(const float *p, uint32_t n) { return _mm256_maskload_ps(p, first_lanes(n)); }
ALWAYS_INLINE void vf_store_first(float *p, uint32_t n, vf v) { _mm256_maskstore_ps(p, first_lanes(n), v); }
ALWAYS_INLINE vf vf_add(vf a, vf b) { return _mm256_add_ps(a, b); }
ALWAYS_INLINE vf vf_sub(vf a, vf b) { return _mm256_sub_ps(a, b); }
ALWAYS_INLINE vf vf_mul(vf a, vf b) { return _mm256_mul_ps(a, b); }
ALWAYS_INLINE vf vf_div(vf a, vf b) { return _mm256_div_ps(a, b); }
ALWAYS_INLINE vf vf_fma(vf a, vf b, vf c) { return _mm256_fmadd_ps(a, b, c); }
ALWAYS_INLINE vf vf_max(vf a, vf b) { return _mm256_max_ps(a, b); } /* a > b ? a : b */
ALWAYS_INLINE vf vf_min(vf a, vf b) { return _mm256_min_ps(a, b); }
ALWAYS_INLINE vf vf_negate(vf v) { return _mm256_xor_ps(v, _mm256_set1_ps(-0.0f)); }
ALWAYS_INLINE vf vf_abs(vf v) { return _mm256_andnot_ps(_mm256_set1_ps(-0.0f), v); }
ALWAYS_INLINE vf vf_of_vi(vi v) { return _mm256_cvtepi32_ps(v); }
ALWAYS_INLINE vf vf_of_u8(bytes16 v, int half) {
    return _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(half ? _mm_srli_si128((__m128i)v, 8) : (__m128i)v));
}
ALWAYS_INLINE vf vf_of_i8(bytes16 v, int half) {
    return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(half ? _mm_srli_si128((__m128i)v, 8) : (__m128i)v));
}
ALWAYS_INLINE __m128i load128(const void *p) { return _mm_loadu_si128((const __m128i *)p); }
ALWAYS_INLINE vi vi_and(vi a, vi b) { return _mm256_and_si256(a, b); }
ALWAYS_INLINE vi words_of_bytes(const void *p, bool with_signs) {
    return with_signs ? _mm256_cvtepi8_epi16(load128(p)) : _mm256_cvtepu8_epi16(load128(p));
}
ALWAYS_INLINE vi words_shifted(vi words) { return _mm256_srli_epi16(words, 4); }
ALWAYS_INLINE vi words_of_nibbles(vi words) {
    return _mm256_sub_epi16(_mm256_and_si256(words, _mm256_set1_epi16(15)), _mm256_set1_epi16(8));
}
ALWAYS_INLINE void words_store(int16_t *to, vf v) {
    vi i = _mm256_cvtps_epi32(v);
    _mm_storeu_si128((__m128i *)(void *)to, _mm_packs_epi32(_mm256_castsi256_si128(i), _mm256_extracti128_si256(i, 1)));
}
ALWAYS_INLINE vf vf_f16_load(const void *p) { return _mm256_cvtph_ps(load128(p)); }
ALWAYS_INLINE void vf_f16_store(void *p, vf v) {
    _mm_storeu_si128((__m128i *)p, _mm256_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
}
/* Lanes i and i + half, half < WIDTH, become their sum and difference. */
ALWAYS_INLINE vf vf_butterfly(vf v, int half) {
    vf other = half == 1 ? _mm256_permute_ps(v, 0xB1) : half == 2 ? _mm256_permute_ps(v, 0x4E)
             : _mm256_permute2f128_ps(v, v, 1);
    vf sum = _mm256_add_ps(v, other), difference = _mm256_sub_ps(other, v);
    return half == 1 ? _mm256_blend_ps(sum, difference, 0xAA) : half == 2 ? _mm256_blend_ps(sum, difference, 0xCC)
         : _mm256_blend_ps(sum, difference, 0xF0);
}
ALWAYS_INLINE vf vf_bf16_load(const void *p) {
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(load128(p)), 16));
}
ALWAYS_INLINE vf vf_zero_if_nan(vf v) { return _mm256_and_ps(v, _mm256_cmp_ps(v, v, _CMP_ORD_Q)); }
ALWAYS_INLINE vf vf_where_less(vf x, vf bound, vf then, vf otherwise) {
    return _mm256_blendv_ps(otherwise, then, _mm256_cmp_ps(x, bound, _CMP_LT_OQ));
}
ALWAYS_INLINE vf vf_add_exponent(vf p, vf z) {
    return _mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(p), _mm256_slli_epi32(_mm256_castps_si256(z), 23)));
}
ALWAYS_INLINE void vf_store_i8(int8_t *q, vf v) {
    vi i = _mm256_cvtps_epi32(v);
    __m128i words = _mm_packs_epi32(_mm256_castsi256_si128(i), _mm256_extracti128_si256(i, 1));
    _mm_storel_epi64((__m128i *)(void *)q, _mm_packs_epi16(words, words));
}
ALWAYS_INLINE float vf_fold16(const vf lane[2]) {
    vf l8 = _mm256_add_ps(lane[0], lane[1]);
    __m128 l4 = _mm_add_ps(_mm256_castps256_ps128(l8), _mm256_extractf128_ps(l8, 1));
    __m128 l2 = _mm_add_ps(l4, _mm_movehl_ps(l4, l4));
    return _mm_cvtss_f32(_mm_add_ss(l2, _mm_movehdup_ps(l2)));
}
ALWAYS_INLINE float vf_largest(vf v) {
    __m128 m = _mm_max_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    m = _mm_max_ps(m, _mm_movehl_ps(m, m));
    return _mm_cvtss_f32(_mm_max_ss(m, _mm_movehdup_ps(m)));
}

ALWAYS_INLINE vf vf_dup_even(vf v) { return _mm256_moveldup_ps(v); }
ALWAYS_INLINE vf vf_dup_odd(vf v) { return _mm256_movehdup_ps(v); }
ALWAYS_INLINE vf vf_swap_pairs(vf v) { return _mm256_permute_ps(v, 0xB1); }
ALWAYS_INLINE vf vf_fma_sub_add(vf a, vf b, vf c) { return _mm256_fmaddsub_ps(a, b, c); } /* even: −c */
ALWAYS_INLINE void vf_even_odd(vf low, vf high, vf *even, vf *odd) {
    const vi order = _mm256_setr_epi32(0, 1, 4, 5, 2, 3, 6, 7);
    *even = _mm256_permutevar8x32_ps(_mm256_shuffle_ps(low, high, 0x88), order);
    *odd = _mm256_permutevar8x32_ps(_mm256_shuffle_ps(low, high, 0xDD), order);
}

ALWAYS_INLINE vi four_activations(const void *q) {
    int32_t four;
    memcpy(&four, q, 4);
    return _mm256_set1_epi32(four);
}

#endif
