/* Attention with the dot-product extension: pairs of bf16 as two FMAs, for FEAT_BF16's bfdot rounds otherwise than
 * compute.h promises. */
#include "compute/arm/ops_neon.h"

#define COMPUTE_KV_STORE compute_kv_store_neondot
#define COMPUTE_ATTEND compute_attend_neondot
#define NATIVE_PAIRS 0
enum { KEYS_OFFSET = 0 };

ALWAYS_INLINE vi keys_dot(int most, vi sum, vi keys, vi four) {
    (void)most;
    return BOTH(vi, vdotq_s32(sum.q[i], vreinterpretq_s8_s32(keys.q[i]), vreinterpretq_s8_s32(four.q[i])));
}

#include "compute/x86/attend_template.h"
