/* base/saturate — sums of bytes that stop at the ends instead of wrapping. Pure; UINT64_MAX stands for "no limit". */
#ifndef BASE_SATURATE_H
#define BASE_SATURATE_H

#include <stdint.h>

static inline uint64_t u64_min(uint64_t a, uint64_t b) { return a < b ? a : b; }
static inline uint64_t u64_less(uint64_t a, uint64_t b) { return a > b ? a - b : 0; }
static inline uint64_t u64_plus(uint64_t a, uint64_t b) { return a > UINT64_MAX - b ? UINT64_MAX : a + b; }

#endif
