/* AVX-512 without VNNI: byte products summed in pairs to 16 bits, as many k-steps as cannot overflow, then
 * to 32. Weights over 127 (Q8_0) are used signed: |w| · (q with w's sign), at most 2 · 128 · 127. */
#if defined(__x86_64__)

#include "compute/x86/ops512.h"

#define TILE_TOKENS 8
enum { PLAIN_Q8 = 1, STEPS_TO_INT32 = 0, FEW_TOKENS = 24 };

ALWAYS_INLINE uint32_t steps_together(int most) { /* 2 · most · 127 · steps < 32768 */
    return most == 15 ? 8 : most == 31 ? 4 : most == 63 ? 2 : 1;
}
ALWAYS_INLINE vi pairs_of(int most, vi w, vi four) {
    if (most <= 127) return _mm512_maddubs_epi16(w, four);
    vi minus = _mm512_sub_epi8(_mm512_setzero_si512(), four);
    return _mm512_maddubs_epi16(_mm512_abs_epi8(w), _mm512_mask_mov_epi8(four, _mm512_movepi8_mask(w), minus));
}
ALWAYS_INLINE vi pairs_add(vi sum, vi w, vi four) { return _mm512_add_epi16(sum, _mm512_maddubs_epi16(w, four)); }
ALWAYS_INLINE vi pairs_fold(vi dot, vi sum) {
    return _mm512_add_epi32(dot, _mm512_madd_epi16(sum, _mm512_set1_epi16(1)));
}
ALWAYS_INLINE vi step_dot(bool deep, vi sum, vi w, const int8_t *q) { /* not used */
    return (void)deep, (void)w, (void)q, sum;
}

#include "compute/simd/matmul_template.h"
#include "compute/simd/vector_template.h"

const compute_kernels compute_avx512 = X86_KERNELS("avx512", avx512);

#endif
