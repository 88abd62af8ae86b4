/* compute/scalar — the elementary functions, one value at a time: the definition that every vector
 * variant repeats operation by operation, and what they use for the values left over at an end.
 * Internal to compute/. */
#ifndef COMPUTE_SCALAR_H
#define COMPUTE_SCALAR_H

#include <math.h>
#include <stdint.h>

#include "compute/f16.h"

enum { LANES = 16 };

/* exp(x) = 2^n · e^r, n = round(x / ln 2), r = x − n·ln 2 in two steps, |r| ≤ ln 2 / 2. The polynomial
 * interpolates e^r at the 7 Chebyshev nodes. ROUND adds 1.5 · 2^23, which leaves n in the low bits. */
#define EXP_LOG2E 0x1.715476p+0f
#define EXP_ROUND 0x1.8p+23f
#define EXP_LN2_HIGH 0x1.62ep-1f /* 12 bits: n · high is exact */
#define EXP_LN2_LOW 0x1.0bfbe8p-15f
#define EXP_C6 0.0013941119f
#define EXP_C5 0.00837513432f
#define EXP_C4 0.0416663513f
#define EXP_C3 0.166664153f
#define EXP_C2 0.5f
#define EXP_C1 1.0f
#define EXP_C0 1.0f
#define EXP_LEAST -87.3f     /* below: 0 */
#define EXP_MOST 88.72283f   /* above: infinity */

static inline float scalar_exp(float x) {
    float z = fmaf(x, EXP_LOG2E, EXP_ROUND), n = z - EXP_ROUND;
    float r = fmaf(n, -EXP_LN2_LOW, fmaf(n, -EXP_LN2_HIGH, x));
    float p = fmaf(EXP_C6, r, EXP_C5);
    p = fmaf(p, r, EXP_C4);
    p = fmaf(p, r, EXP_C3);
    p = fmaf(p, r, EXP_C2);
    p = fmaf(p, r, EXP_C1);
    p = fmaf(p, r, EXP_C0);
    float y = f32_of_bits(f32_bits(p) + (f32_bits(z) << 23));
    if (x < EXP_LEAST) return 0;
    return x > EXP_MOST ? INFINITY : y;
}

static inline float scalar_silu(float x) { return x / (1.0f + scalar_exp(-x)); }

/* x/2 · (1 + tanh u) = x / (1 + exp(−2u)), u = √(2/π)·(x + 0.044715·x³) */
#define GELU_LINEAR 0.797884561f
#define GELU_CUBIC 0.0356774081f /* √(2/π) · 0.044715 */
static inline float scalar_gelu(float x) {
    float u = x * fmaf(x * x, GELU_CUBIC, GELU_LINEAR);
    return x / (1.0f + scalar_exp(-2.0f * u));
}

static inline float scalar_tanh(float x) { return 1.0f - 2.0f / (scalar_exp(2.0f * x) + 1.0f); }

/* Folds 16 partial sums: halves added pairwise. */
static inline float scalar_fold(const float lane[LANES]) {
    float l[LANES / 2];
    for (int i = 0; i < 8; i++) l[i] = lane[i] + lane[i + 8];
    for (int half = 4; half; half /= 2)
        for (int i = 0; i < half; i++) l[i] += l[i + half];
    return l[0];
}

#define ACT_TINY 0x1p-100f /* a group whose largest magnitude is less counts as zero */

/* Activations that are not finite: NaN counts as 0, infinity as the largest finite value. */
static inline float scalar_finite(float x) {
    if (x != x) return 0;
    return fminf(fmaxf(x, -0x1.fffffep+127f), 0x1.fffffep+127f);
}

#endif
