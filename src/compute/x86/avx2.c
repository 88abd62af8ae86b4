/* AVX2, FMA and F16C. Byte products as in avx512.c. */
#if defined(__x86_64__)

#include "compute/x86/ops256.h"

#define TILE_TOKENS 4
enum { PLAIN_Q8 = 1, STEPS_TO_INT32 = 0, FEW_TOKENS = 5 };

ALWAYS_INLINE uint32_t steps_together(int most) { /* 2 · most · 127 · steps < 32768 */
    return most == 15 ? 8 : most == 31 ? 4 : most == 63 ? 2 : 1;
}
ALWAYS_INLINE vi pairs_of(int most, vi w, vi four) {
    if (most <= 127) return _mm256_maddubs_epi16(w, four);
    return _mm256_maddubs_epi16(_mm256_abs_epi8(w), _mm256_sign_epi8(four, w));
}
ALWAYS_INLINE vi pairs_add(vi sum, vi w, vi four) { return _mm256_add_epi16(sum, _mm256_maddubs_epi16(w, four)); }
ALWAYS_INLINE vi pairs_fold(vi dot, vi sum) {
    return _mm256_add_epi32(dot, _mm256_madd_epi16(sum, _mm256_set1_epi16(1)));
}
ALWAYS_INLINE vi step_dot(bool deep, vi sum, vi w, const int8_t *q) { /* not used */
    return (void)deep, (void)w, (void)q, sum;
}

#include "compute/simd/matmul_template.h"
#include "compute/simd/vector_template.h"

const compute_kernels compute_avx2 = X86_KERNELS("avx2", avx2);

#endif
