/* The layout of KV pages in its most literal form, as compute.h describes it, independent of src/compute. */
#ifndef TESTS_UNIT_KV_TEST_H
#define TESTS_UNIT_KV_TEST_H

#include "compute_test.h"

static inline uint32_t literal_group(uint32_t dim) {
    uint32_t g = 64;
    while (dim % g) g /= 2;
    return g;
}

/* A value of a page's head: q at `byte`, high nibble or low, with entry `at` of the scales and minima behind. */
static inline double literal_stored(compute_kv_type type, const uint8_t *p, uint32_t dim, size_t byte, bool high, size_t at) {
    if (type == COMPUTE_KV_F16) return literal_half(p + 2 * byte);
    const uint8_t *scale = p + (type == COMPUTE_KV_Q8 ? dim * 32 : (dim * 16 + 63) / 64 * 64);
    if (type == COMPUTE_KV_Q8) return (int8_t)p[byte] * literal_half(scale + 2 * at);
    const uint8_t *min = scale + dim / literal_group(dim) * 64;
    return (high ? p[byte] >> 4 : p[byte] & 15) * literal_half(scale + 2 * at) + literal_half(min + 2 * at);
}

static inline double literal_key(compute_kv_type type, const uint8_t *k, uint32_t dim, uint32_t slot, uint32_t d) {
    bool q4 = type == COMPUTE_KV_Q4;
    return literal_stored(type, k, dim, (q4 ? d / 2 : d) * 32 + slot, d % 2, d / literal_group(dim) * 32 + slot);
}

static inline double literal_kv_value(compute_kv_type type, const uint8_t *v, uint32_t dim, uint32_t slot, uint32_t d) {
    uint32_t run = dim - d / 16 * 16 < 16 ? dim % 16 : 16, i = d % 16;
    bool q4 = type == COMPUTE_KV_Q4;
    size_t byte = q4 ? slot * dim / 2 + d / 16 * 8 + i % (run / 2) : slot * dim + d;
    uint32_t g = literal_group(dim);
    return literal_stored(type, v, dim, byte, i >= run / 2, slot * (dim / g) + d / g);
}

/* Value d of x rotated by the normalised Walsh–Hadamard matrix of its group (which rotates back as well). */
static inline double literal_rotated(compute_kv_type type, const double *x, uint32_t dim, uint32_t d) {
    if (type == COMPUTE_KV_F16) return x[d];
    uint32_t g = literal_group(dim);
    double sum = 0;
    for (uint32_t i = 0; i < g; i++)
        sum += __builtin_popcount(i & (d % g)) % 2 ? -x[d / g * g + i] : x[d / g * g + i];
    return sum / sqrt(g);
}

#endif
