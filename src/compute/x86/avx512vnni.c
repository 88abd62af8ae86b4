/* AVX-512 with VNNI: vpdpbusd does a k-step of 16 rows at once; weights are unsigned as they lie. */
#if defined(__x86_64__)

#include "compute/x86/ops512.h"

#define TILE_TOKENS 12
enum { PLAIN_Q8 = 0, STEPS_TO_INT32 = 1, FEW_TOKENS = BLOCK_TOKENS };

/* The intrinsic would load the activations into a register first, which halves how far ahead the processor sees. Where
 * loops lie deep (Q6_K), GCC leaves the sums in memory beside an asm that reads memory, which costs more. */
ALWAYS_INLINE vi step_dot(bool deep, vi sum, vi w, const int8_t *q) {
    if (deep) return _mm512_dpbusd_epi32(sum, w, four_activations(q));
    __asm__ inline("vpdpbusd %2%{1to16%}, %1, %0" : "+v"(sum) : "v"(w), "m"(*(const int8_t(*)[4])q));
    return sum;
}

/* Not used where STEPS_TO_INT32. */
ALWAYS_INLINE uint32_t steps_together(int most) { return (void)most, 1; }
ALWAYS_INLINE vi pairs_of(int most, vi w, vi four) { return (void)most, (void)four, w; }
ALWAYS_INLINE vi pairs_add(vi sum, vi w, vi four) { return (void)w, (void)four, sum; }
ALWAYS_INLINE vi pairs_fold(vi dot, vi sum) { return (void)sum, dot; }

#include "compute/simd/matmul_template.h"
#include "compute/simd/vector_template.h"

const compute_kernels compute_avx512vnni = X86_KERNELS("avx512vnni", avx512vnni);

#endif
