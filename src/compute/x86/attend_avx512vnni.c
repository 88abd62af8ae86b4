/* Attention with AVX-512 and VNNI: one instruction for a step of products. */
#if defined(__x86_64__)

#include "compute/x86/ops512.h"

#define COMPUTE_KV_STORE compute_kv_store_avx512vnni
#define COMPUTE_ATTEND compute_attend_avx512vnni
enum { KEYS_OFFSET = 128 };

/* As in avx512vnni.c: the intrinsics would load what is broadcast into a register first. */
ALWAYS_INLINE vi words_dot(vi sum, vi words, const void *two) {
    __asm__ inline("vpdpwssd %2%{1to16%}, %1, %0" : "+v"(sum) : "v"(words), "m"(*(const int8_t(*)[4])two));
    return sum;
}
ALWAYS_INLINE vi keys_dot(int most, vi sum, vi keys, const int8_t *four) {
    (void)most;
    __asm__ inline("vpdpbusd %2%{1to16%}, %1, %0" : "+v"(sum) : "v"(keys), "m"(*(const int8_t(*)[4])four));
    return sum;
}

#include "compute/simd/attend_template.h"

#endif
