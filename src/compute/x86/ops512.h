/* compute/x86/ops512 — the templates' operations in AVX-512: a vector is one panel's 16 rows. */
#ifndef COMPUTE_X86_OPS512_H
#define COMPUTE_X86_OPS512_H

#include <immintrin.h>

#include "compute/layout.h"

#define WIDTH 16

typedef __m512i vi;
typedef __m512 vf;

ALWAYS_INLINE vi vi_load(const void *p) { return _mm512_loadu_si512(p); }
ALWAYS_INLINE void vi_store(void *p, vi v) { _mm512_storeu_si512(p, v); }
ALWAYS_INLINE vi vi_set1(int32_t i) { return _mm512_set1_epi32(i); }
ALWAYS_INLINE vi vi_add_neighbour(vi v) { return _mm512_add_epi32(v, _mm512_shuffle_epi32(v, _MM_PERM_CDAB)); }
ALWAYS_INLINE vi vi_negated_shift(vi v, int by) {
    return _mm512_sub_epi32(_mm512_setzero_si512(), _mm512_slli_epi32(v, (unsigned)by));
}
ALWAYS_INLINE vi vi_flip_signs(vi v) { return _mm512_xor_si512(v, _mm512_set1_epi8((char)0x80)); }
ALWAYS_INLINE vi nibbles(vi v, uint32_t high) {
    return _mm512_and_si512(high ? _mm512_srli_epi16(v, 4) : v, _mm512_set1_epi8(15));
}
ALWAYS_INLINE vi fifth_bits(vi v, const uint8_t *mask, int half) {
    (void)half;
    uint64_t m;
    memcpy(&m, mask, 8);
    return _mm512_mask_add_epi8(v, m, v, _mm512_set1_epi8(16));
}
ALWAYS_INLINE vi bit_pairs(vi v, vi high, int chunk) {
    vi at = chunk == 0 ? _mm512_slli_epi16(high, 4) : chunk == 1 ? _mm512_slli_epi16(high, 2)
          : chunk == 2 ? high : _mm512_srli_epi16(high, 2);
    return _mm512_or_si512(v, _mm512_and_si512(at, _mm512_set1_epi8(0x30)));
}

ALWAYS_INLINE vf vf_zero(void) { return _mm512_setzero_ps(); }
ALWAYS_INLINE vf vf_set1(float f) { return _mm512_set1_ps(f); }
ALWAYS_INLINE vf vf_load(const float *p) { return _mm512_loadu_ps(p); }
ALWAYS_INLINE void vf_store(float *p, vf v) { _mm512_storeu_ps(p, v); }
ALWAYS_INLINE __mmask16 first_lanes(uint32_t n) { return (__mmask16)((1u << n) - 1); }
ALWAYS_INLINE vf vf_load_first(const float *p, uint32_t n) { return _mm512_maskz_loadu_ps(first_lanes(n), p); }
ALWAYS_INLINE void vf_store_first(float *p, uint32_t n, vf v) { _mm512_mask_storeu_ps(p, first_lanes(n), v); }
ALWAYS_INLINE vf vf_add(vf a, vf b) { return _mm512_add_ps(a, b); }
ALWAYS_INLINE vf vf_sub(vf a, vf b) { return _mm512_sub_ps(a, b); }
ALWAYS_INLINE vf vf_mul(vf a, vf b) { return _mm512_mul_ps(a, b); }
ALWAYS_INLINE vf vf_div(vf a, vf b) { return _mm512_div_ps(a, b); }
ALWAYS_INLINE vf vf_fma(vf a, vf b, vf c) { return _mm512_fmadd_ps(a, b, c); }
ALWAYS_INLINE vf vf_max(vf a, vf b) { return _mm512_max_ps(a, b); } /* a > b ? a : b */
ALWAYS_INLINE vf vf_min(vf a, vf b) { return _mm512_min_ps(a, b); }
ALWAYS_INLINE vf vf_negate(vf v) { return _mm512_xor_ps(v, _mm512_set1_ps(-0.0f)); }
ALWAYS_INLINE vf vf_abs(vf v) { return _mm512_abs_ps(v); }
ALWAYS_INLINE vf vf_of_vi(vi v) { return _mm512_cvtepi32_ps(v); }
ALWAYS_INLINE vf vf_of_u8(bytes16 v, int half) {
    (void)half;
    return _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32((__m128i)v));
}
ALWAYS_INLINE vf vf_of_i8(bytes16 v, int half) {
    (void)half;
    return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32((__m128i)v));
}
ALWAYS_INLINE vi vi_and(vi a, vi b) { return _mm512_and_si512(a, b); }
ALWAYS_INLINE __m256i load256(const void *p) { return _mm256_loadu_si256((const __m256i *)p); }
ALWAYS_INLINE vi words_of_bytes(const void *p, bool with_signs) {
    return with_signs ? _mm512_cvtepi8_epi16(load256(p)) : _mm512_cvtepu8_epi16(load256(p));
}
ALWAYS_INLINE vi words_shifted(vi words) { return _mm512_srli_epi16(words, 4); }
ALWAYS_INLINE vi words_of_nibbles(vi words) {
    return _mm512_sub_epi16(_mm512_and_si512(words, _mm512_set1_epi16(15)), _mm512_set1_epi16(8));
}
ALWAYS_INLINE void words_store(int16_t *to, vf v) {
    _mm256_storeu_si256((__m256i *)(void *)to, _mm512_cvtepi32_epi16(_mm512_cvtps_epi32(v)));
}
ALWAYS_INLINE vf vf_f16_load(const void *p) { return _mm512_cvtph_ps(load256(p)); }
ALWAYS_INLINE void vf_f16_store(void *p, vf v) {
    _mm256_storeu_si256((__m256i *)p, _mm512_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
}
/* Lanes i and i + half, half < WIDTH, become their sum and difference. */
ALWAYS_INLINE vf vf_butterfly(vf v, int half) {
    vf other = half == 1 ? _mm512_permute_ps(v, 0xB1) : half == 2 ? _mm512_permute_ps(v, 0x4E)
             : half == 4 ? _mm512_shuffle_f32x4(v, v, 0xB1) : _mm512_shuffle_f32x4(v, v, 0x4E);
    __mmask16 upper = half == 1 ? 0xAAAA : half == 2 ? 0xCCCC : half == 4 ? 0xF0F0 : 0xFF00;
    return _mm512_mask_sub_ps(_mm512_add_ps(v, other), upper, other, v);
}
ALWAYS_INLINE vf vf_bf16_load(const void *p) {
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(load256(p)), 16));
}
ALWAYS_INLINE vf vf_zero_if_nan(vf v) { return _mm512_maskz_mov_ps(_mm512_cmp_ps_mask(v, v, _CMP_ORD_Q), v); }
ALWAYS_INLINE vf vf_where_less(vf x, vf bound, vf then, vf otherwise) {
    return _mm512_mask_mov_ps(otherwise, _mm512_cmp_ps_mask(x, bound, _CMP_LT_OQ), then);
}
ALWAYS_INLINE vf vf_add_exponent(vf p, vf z) {
    return _mm512_castsi512_ps(_mm512_add_epi32(_mm512_castps_si512(p), _mm512_slli_epi32(_mm512_castps_si512(z), 23)));
}
ALWAYS_INLINE void vf_store_i8(int8_t *q, vf v) {
    _mm_storeu_si128((__m128i *)(void *)q, _mm512_cvtsepi32_epi8(_mm512_cvtps_epi32(v)));
}
ALWAYS_INLINE float vf_fold16(const vf lane[1]) {
    __m256 l8 = _mm256_add_ps(_mm512_castps512_ps256(lane[0]), _mm512_extractf32x8_ps(lane[0], 1));
    __m128 l4 = _mm_add_ps(_mm256_castps256_ps128(l8), _mm256_extractf128_ps(l8, 1));
    __m128 l2 = _mm_add_ps(l4, _mm_movehl_ps(l4, l4));
    return _mm_cvtss_f32(_mm_add_ss(l2, _mm_movehdup_ps(l2)));
}
ALWAYS_INLINE float vf_largest(vf v) { return _mm512_reduce_max_ps(v); }

ALWAYS_INLINE vf vf_dup_even(vf v) { return _mm512_moveldup_ps(v); }
ALWAYS_INLINE vf vf_dup_odd(vf v) { return _mm512_movehdup_ps(v); }
ALWAYS_INLINE vf vf_swap_pairs(vf v) { return _mm512_permute_ps(v, 0xB1); }
ALWAYS_INLINE vf vf_fma_sub_add(vf a, vf b, vf c) { return _mm512_fmaddsub_ps(a, b, c); } /* even: −c */
ALWAYS_INLINE void vf_even_odd(vf low, vf high, vf *even, vf *odd) {
    const __m512i at = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
    *even = _mm512_permutex2var_ps(low, at, high);
    *odd = _mm512_permutex2var_ps(low, _mm512_add_epi32(at, _mm512_set1_epi32(1)), high);
}

/* Four activations, in every row's place. */
ALWAYS_INLINE vi four_activations(const void *q) {
    int32_t four;
    memcpy(&four, q, 4);
    return _mm512_set1_epi32(four);
}

#endif
