/* Attention with AVX-512 alone: pairs of bf16 as two FMAs. */
#if defined(__x86_64__)

#include "compute/x86/ops512.h"

#define COMPUTE_KV_STORE compute_kv_store_avx512
#define COMPUTE_ATTEND compute_attend_avx512
#define NATIVE_PAIRS 0
enum { KEYS_OFFSET = 0 };

ALWAYS_INLINE vf vf_low_halves(vi words) { return _mm512_castsi512_ps(_mm512_slli_epi32(words, 16)); }
ALWAYS_INLINE vf vf_high_halves(vi words) {
    return _mm512_castsi512_ps(_mm512_and_si512(words, _mm512_set1_epi32((int)0xFFFF0000u)));
}
/* bf16 in the low half of every 32 bits: to nearest even. */
ALWAYS_INLINE vi rounded(vf v) {
    vi bits = _mm512_castps_si512(v), odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
    return _mm512_srli_epi32(_mm512_add_epi32(_mm512_add_epi32(bits, odd), _mm512_set1_epi32(0x7FFF)), 16);
}
ALWAYS_INLINE vi pairs_pack(vf first, vf second) {
    __m512i low = _mm512_castsi256_si512(_mm512_cvtepi32_epi16(rounded(first)));
    return _mm512_inserti64x4(low, _mm512_cvtepi32_epi16(rounded(second)), 1);
}
/* |keys| times activations with the keys' signs where keys may be over 127 (then given signed): no sum of two
 * overflows. */
ALWAYS_INLINE vi keys_dot(int most, vi sum, vi keys, vi four) {
    vi two = _mm512_maddubs_epi16(keys, four);
    if (most > 127) {
        vi minus = _mm512_sub_epi8(_mm512_setzero_si512(), four);
        two = _mm512_maddubs_epi16(_mm512_abs_epi8(keys), _mm512_mask_mov_epi8(four, _mm512_movepi8_mask(keys), minus));
    }
    return _mm512_add_epi32(sum, _mm512_madd_epi16(two, _mm512_set1_epi16(1)));
}

#include "compute/x86/attend_template.h"

#endif
