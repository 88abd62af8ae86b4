/* Attention with AVX-512 alone. */
#if defined(__x86_64__)

#include "compute/x86/ops512.h"

#define COMPUTE_KV_STORE compute_kv_store_avx512
#define COMPUTE_ATTEND compute_attend_avx512
enum { KEYS_OFFSET = 0 };

ALWAYS_INLINE vi words_dot(vi sum, vi words, const void *two) {
    return _mm512_add_epi32(sum, _mm512_madd_epi16(words, four_activations(two)));
}
/* |keys| times activations with the keys' signs where keys may be over 127 (then given signed): no sum of two
 * overflows. */
ALWAYS_INLINE vi keys_dot(int most, vi sum, vi keys, const int8_t *at) {
    vi four = four_activations(at);
    vi two = _mm512_maddubs_epi16(keys, four);
    if (most > 127) {
        vi minus = _mm512_sub_epi8(_mm512_setzero_si512(), four);
        two = _mm512_maddubs_epi16(_mm512_abs_epi8(keys), _mm512_mask_mov_epi8(four, _mm512_movepi8_mask(keys), minus));
    }
    return _mm512_add_epi32(sum, _mm512_madd_epi16(two, _mm512_set1_epi16(1)));
}

#include "compute/simd/attend_template.h"

#endif
