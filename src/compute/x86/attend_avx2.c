/* Attention with AVX2, FMA and F16C. */
#if defined(__x86_64__)

#include "compute/x86/ops256.h"

#define COMPUTE_KV_STORE compute_kv_store_avx2
#define COMPUTE_ATTEND compute_attend_avx2
enum { KEYS_OFFSET = 0 };

ALWAYS_INLINE vi words_dot(vi sum, vi words, const void *two) {
    return _mm256_add_epi32(sum, _mm256_madd_epi16(words, four_activations(two)));
}
/* As in attend_avx512.c. */
ALWAYS_INLINE vi keys_dot(int most, vi sum, vi keys, const int8_t *at) {
    vi four = four_activations(at);
    vi two = most > 127 ? _mm256_maddubs_epi16(_mm256_abs_epi8(keys), _mm256_sign_epi8(four, keys))
                        : _mm256_maddubs_epi16(keys, four);
    return _mm256_add_epi32(sum, _mm256_madd_epi16(two, _mm256_set1_epi16(1)));
}

#include "compute/simd/attend_template.h"

#endif
