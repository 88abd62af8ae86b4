/* Attention with AVX-512 VNNI and BF16. */
#if defined(__x86_64__)

#include "compute/x86/ops512.h"

#define COMPUTE_KV_STORE compute_kv_store_avx512bf16
#define COMPUTE_ATTEND compute_attend_avx512bf16
#define NATIVE_PAIRS 1
enum { KEYS_OFFSET = 128 };

ALWAYS_INLINE vf vf_dot2(vf sum, vi a, vi b) { return _mm512_dpbf16_ps(sum, (__m512bh)a, (__m512bh)b); }
ALWAYS_INLINE vi pairs_pack(vf first, vf second) { return (vi)_mm512_cvtne2ps_pbh(second, first); }
ALWAYS_INLINE vi keys_dot(int most, vi sum, vi keys, vi four) {
    (void)most;
    return _mm512_dpbusd_epi32(sum, keys, four);
}

#include "compute/x86/attend_template.h"

#endif
