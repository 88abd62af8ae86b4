/* compute/simd/elementary_template — the elementary functions and the loading of short rows for every instruction
 * set, over the operations that an ISA file defines (see vector_template.h): operation by operation what scalar.h does.
 * Vectors that are shorter than LANES take turns, so that element i meets lane i mod 16. */
#ifndef COMPUTE_SIMD_ELEMENTARY_TEMPLATE_H
#define COMPUTE_SIMD_ELEMENTARY_TEMPLATE_H

#include <math.h>

#include "compute/layout.h"
#include "compute/scalar.h"

enum { TURNS = LANES / WIDTH }; /* vectors that make up the lanes */

ALWAYS_INLINE vf vf_exp(vf x) {
    vf z = vf_fma(x, vf_set1(EXP_LOG2E), vf_set1(EXP_ROUND)), n = vf_sub(z, vf_set1(EXP_ROUND));
    vf r = vf_fma(n, vf_set1(-EXP_LN2_LOW), vf_fma(n, vf_set1(-EXP_LN2_HIGH), x));
    vf p = vf_fma(vf_set1(EXP_C6), r, vf_set1(EXP_C5));
    p = vf_fma(p, r, vf_set1(EXP_C4));
    p = vf_fma(p, r, vf_set1(EXP_C3));
    p = vf_fma(p, r, vf_set1(EXP_C2));
    p = vf_fma(p, r, vf_set1(EXP_C1));
    p = vf_fma(p, r, vf_set1(EXP_C0));
    vf y = vf_where_less(x, vf_set1(EXP_LEAST), vf_zero(), vf_add_exponent(p, z));
    return vf_where_less(vf_set1(EXP_MOST), x, vf_set1(INFINITY), y);
}

ALWAYS_INLINE vf vf_silu(vf x) { return vf_div(x, vf_add(vf_set1(1), vf_exp(vf_negate(x)))); }

ALWAYS_INLINE vf vf_gelu(vf x) {
    vf u = vf_mul(x, vf_fma(vf_mul(x, x), vf_set1(GELU_CUBIC), vf_set1(GELU_LINEAR)));
    return vf_div(x, vf_add(vf_set1(1), vf_exp(vf_mul(vf_set1(-2), u))));
}

ALWAYS_INLINE vf vf_tanh(vf x) {
    vf e = vf_exp(vf_mul(vf_set1(2), x));
    return vf_sub(vf_set1(1), vf_div(vf_set1(2), vf_add(e, vf_set1(1))));
}

/* Values i … of n: a whole vector, or what is left with zeros behind. */
ALWAYS_INLINE vf load_at(const float *x, uint32_t i, uint32_t n) {
    return n - i >= WIDTH ? vf_load(x + i) : vf_load_first(x + i, n - i);
}
ALWAYS_INLINE void store_at(float *x, uint32_t i, uint32_t n, vf v) {
    if (n - i >= WIDTH) vf_store(x + i, v);
    else vf_store_first(x + i, n - i, v);
}

ALWAYS_INLINE vf finite_at(const float *x, uint32_t i, uint32_t n) {
    const float most = 0x1.fffffep+127f;
    vf v = vf_zero_if_nan(load_at(x, i, n));
    return vf_min(vf_max(v, vf_set1(-most)), vf_set1(most));
}

#endif
