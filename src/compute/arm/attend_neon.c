/* Attention with Advanced SIMD alone: pairs of bf16 as two FMAs. */
#include "compute/arm/ops_neon.h"

#define COMPUTE_KV_STORE compute_kv_store_neon
#define COMPUTE_ATTEND compute_attend_neon
#define NATIVE_PAIRS 0
enum { KEYS_OFFSET = 0 };

ALWAYS_INLINE vi keys_dot(int most, vi sum, vi keys, vi four) {
    (void)most;
    return BOTH(vi, vpadalq_s16(sum.q[i], byte_pairs(keys.q[i], four.q[i])));
}

#include "compute/x86/attend_template.h"
