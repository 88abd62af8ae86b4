/* AVX-512 with VNNI: vpdpbusd does a k-step of 16 rows at once; weights are unsigned as they lie. */
#if defined(__x86_64__)

#include "compute/x86/ops512.h"

#define TILE_PANELS 2
#define TILE_TOKENS 6
enum { PLAIN_Q8 = 0, STEPS_TO_INT32 = 1 };

ALWAYS_INLINE vi step_dot(vi sum, vi w, vi four) { return _mm512_dpbusd_epi32(sum, w, four); }

/* Not used where STEPS_TO_INT32. */
ALWAYS_INLINE uint32_t steps_together(int most) { return (void)most, 1; }
ALWAYS_INLINE vi pairs_of(int most, vi w, vi four) { return (void)most, (void)four, w; }
ALWAYS_INLINE vi pairs_add(vi sum, vi w, vi four) { return (void)w, (void)four, sum; }
ALWAYS_INLINE vi pairs_fold(vi dot, vi sum) { return (void)sum, dot; }

#include "compute/x86/matmul_template.h"
#include "compute/x86/vector_template.h"

const compute_kernels compute_avx512vnni = X86_KERNELS("avx512vnni");

#endif
