/* Attention with Advanced SIMD alone. */
#include "compute/arm/ops_neon.h"

#define COMPUTE_KV_STORE compute_kv_store_neon
#define COMPUTE_ATTEND compute_attend_neon
enum { KEYS_OFFSET = 0 };

ALWAYS_INLINE vi keys_dot(int most, vi sum, vi keys, const int8_t *at) {
    vi four = four_activations(at);
    (void)most;
    return BOTH(vi, vpadalq_s16(sum.q[i], byte_pairs(keys.q[i], four.q[i])));
}

#include "compute/simd/attend_template.h"
