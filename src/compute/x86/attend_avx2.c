/* Attention with AVX2, FMA and F16C: pairs of bf16 as two FMAs. */
#if defined(__x86_64__)

#include "compute/x86/ops256.h"

#define COMPUTE_KV_STORE compute_kv_store_avx2
#define COMPUTE_ATTEND compute_attend_avx2
#define NATIVE_PAIRS 0
enum { KEYS_OFFSET = 0 };

ALWAYS_INLINE vf vf_low_halves(vi words) { return _mm256_castsi256_ps(_mm256_slli_epi32(words, 16)); }
ALWAYS_INLINE vf vf_high_halves(vi words) {
    return _mm256_castsi256_ps(_mm256_and_si256(words, _mm256_set1_epi32((int)0xFFFF0000u)));
}
/* bf16 in the low half of every 32 bits: to nearest even. */
ALWAYS_INLINE vi rounded(vf v) {
    vi bits = _mm256_castps_si256(v), odd = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));
    return _mm256_srli_epi32(_mm256_add_epi32(_mm256_add_epi32(bits, odd), _mm256_set1_epi32(0x7FFF)), 16);
}
ALWAYS_INLINE vi pairs_pack(vf first, vf second) {
    return _mm256_permute4x64_epi64(_mm256_packus_epi32(rounded(first), rounded(second)), 0xD8);
}
/* As in attend_avx512.c. */
ALWAYS_INLINE vi keys_dot(int most, vi sum, vi keys, vi four) {
    vi two = most > 127 ? _mm256_maddubs_epi16(_mm256_abs_epi8(keys), _mm256_sign_epi8(four, keys))
                        : _mm256_maddubs_epi16(keys, four);
    return _mm256_add_epi32(sum, _mm256_madd_epi16(two, _mm256_set1_epi16(1)));
}

#include "compute/x86/attend_template.h"

#endif
