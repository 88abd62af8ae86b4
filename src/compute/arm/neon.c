/* Advanced SIMD alone: byte products summed in pairs to 16 bits, as many k-steps as cannot overflow, then to 32. */
#include "compute/arm/ops_neon.h"

#define TILE_TOKENS 4
enum { PLAIN_Q8 = 1, STEPS_TO_INT32 = 0, FEW_TOKENS = 5 };

ALWAYS_INLINE uint32_t steps_together(int most) { /* 2 · most · 127 · steps < 32768 */
    return most == 15 ? 8 : most == 31 ? 4 : most == 63 ? 2 : 1;
}
ALWAYS_INLINE vi pairs_of(int most, vi w, vi four) {
    (void)most; /* signed products: 2 · 128 · 127 is the most */
    return BOTH(vi, vreinterpretq_s32_s16(byte_pairs(w.q[i], four.q[i])));
}
ALWAYS_INLINE vi pairs_add(vi sum, vi w, vi four) {
    return BOTH(vi, vreinterpretq_s32_s16(vreinterpretq_s16_s32(sum.q[i]) + byte_pairs(w.q[i], four.q[i])));
}
ALWAYS_INLINE vi pairs_fold(vi dot, vi sum) {
    return BOTH(vi, vpadalq_s16(dot.q[i], vreinterpretq_s16_s32(sum.q[i])));
}
ALWAYS_INLINE vi step_dot(bool deep, vi sum, vi w, const int8_t *q) { /* not used */
    return (void)deep, (void)w, (void)q, sum;
}

#include "compute/simd/matmul_template.h"
#include "compute/simd/vector_template.h"

const compute_kernels compute_neon = X86_KERNELS("neon", neon);
