/* With the dot-product extension (FEAT_DotProd): sdot does a k-step of 4 rows at once. Its weights are signed, as all
 * types' are that have no more than 6 bits; of Q8_0 the sign is flipped back. */
#include "compute/arm/ops_neon.h"

#define TILE_TOKENS 4
enum { PLAIN_Q8 = 1, STEPS_TO_INT32 = 1, FEW_TOKENS = 5 };

ALWAYS_INLINE vi step_dot(bool deep, vi sum, vi w, const int8_t *q) {
    (void)deep;
    float x; /* four bytes, loaded to where sdot takes them from: the first lane */
    memcpy(&x, q, 4);
    int8x8_t four = vreinterpret_s8_f32((float32x2_t){x});
    return BOTH(vi, vdotq_lane_s32(sum.q[i], vreinterpretq_s8_s32(w.q[i]), four, 0));
}

/* Not used where STEPS_TO_INT32. */
ALWAYS_INLINE uint32_t steps_together(int most) { return (void)most, 1; }
ALWAYS_INLINE vi pairs_of(int most, vi w, vi four) { return (void)most, (void)four, w; }
ALWAYS_INLINE vi pairs_add(vi sum, vi w, vi four) { return (void)w, (void)four, sum; }
ALWAYS_INLINE vi pairs_fold(vi dot, vi sum) { return (void)sum, dot; }

#include "compute/simd/matmul_template.h"
#include "compute/simd/vector_template.h"

const compute_kernels compute_neondot = X86_KERNELS("neondot", neondot);
