/* Attention with the dot-product extension. */
#include "compute/arm/ops_neon.h"

#define COMPUTE_KV_STORE compute_kv_store_neondot
#define COMPUTE_ATTEND compute_attend_neondot
enum { KEYS_OFFSET = 0 };

ALWAYS_INLINE vi keys_dot(int most, vi sum, vi keys, const int8_t *at) {
    vi four = four_activations(at);
    (void)most;
    return BOTH(vi, vdotq_s32(sum.q[i], vreinterpretq_s8_s32(keys.q[i]), vreinterpretq_s8_s32(four.q[i])));
}

#include "compute/simd/attend_template.h"
