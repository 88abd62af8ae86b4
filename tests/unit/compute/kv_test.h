/* The layout of KV pages in its most literal form, as compute.h describes it, independent of src/compute. */
#ifndef TESTS_UNIT_KV_TEST_H
#define TESTS_UNIT_KV_TEST_H

#include "compute_test.h"

static inline uint32_t literal_group(uint32_t dim) {
    uint32_t g = 64;
    while (dim % g) g /= 2;
    return g;
}

/* What entry of a group's scales and minima, which start at `scale`, makes of a stored number. */
static inline double literal_scaled(compute_kv_type type, int q, const uint8_t *scale, uint32_t dim, uint32_t d, uint32_t slot) {
    size_t at = d / literal_group(dim) * 16 + slot;
    const uint8_t *min = scale + dim / literal_group(dim) * 32;
    return q * literal_half(scale + 2 * at) + (type == COMPUTE_KV_Q4 ? literal_half(min + 2 * at) : 0);
}

static inline double literal_key(compute_kv_type type, const uint8_t *k, uint32_t dim, uint32_t slot, uint32_t d) {
    if (type == COMPUTE_KV_F16) return literal_half(k + 2 * (d * 16 + slot));
    if (type == COMPUTE_KV_Q8)
        return literal_scaled(type, k[d / 4 * 64 + slot * 4 + d % 4] - 128, k + (dim + 3) / 4 * 64, dim, d, slot);
    int byte = k[d / 8 * 64 + slot * 4 + d % 4];
    return literal_scaled(type, d % 8 < 4 ? byte & 15 : byte >> 4, k + (dim + 7) / 8 * 64, dim, d, slot);
}

static inline double literal_kv_value(compute_kv_type type, const uint8_t *v, uint32_t dim, uint32_t slot, uint32_t d) {
    uint32_t pair = slot / 2, side = slot % 2, runs = (dim + 31) / 32;
    if (type == COMPUTE_KV_F16) return literal_half(v + 2 * (slot * dim + d));
    if (type == COMPUTE_KV_Q8)
        return literal_scaled(type, (int8_t)v[(pair * dim + d) * 2 + side], v + (dim * 16 + 63) / 64 * 64, dim, d, slot);
    int byte = v[(pair * runs + d / 32) * 32 + d % 16 * 2 + side];
    return literal_scaled(type, d % 32 < 16 ? byte & 15 : byte >> 4, v + runs * 256, dim, d, slot);
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
