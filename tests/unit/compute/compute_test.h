/* What compute's tests share: random rows in every type's file layout, and the dequantisation of each
 * type in the most literal form of the GGUF specification, independent of src/compute. */
#ifndef TESTS_UNIT_COMPUTE_TEST_H
#define TESTS_UNIT_COMPUTE_TEST_H

#include "../test.h"

#include <math.h>
#include <stdio.h>

#include "base/dtype.h"
#include "base/rng.h"
#include "compute/compute.h"

static const dtype all_types[] = {DTYPE_F32,  DTYPE_F16,  DTYPE_BF16, DTYPE_Q4_0, DTYPE_Q4_1, DTYPE_Q5_0,
                                  DTYPE_Q5_1, DTYPE_Q8_0, DTYPE_Q4_K, DTYPE_Q5_K, DTYPE_Q6_K};
enum { N_TYPES = sizeof all_types / sizeof all_types[0] };

static inline void *aligned(size_t bytes) {
    void *p = aligned_alloc(64, (bytes + 63) / 64 * 64 + 64);
    assert_non_null(p);
    memset(p, 0xA5, (bytes + 63) / 64 * 64 + 64);
    return p;
}

static inline float random_float(rng *r) { return (float)(rng_unit(r) * 2 - 1); }

/* The value of a half, by its definition. */
static inline double literal_half(const uint8_t *p) {
    int bits = p[0] | p[1] << 8, exponent = bits >> 10 & 31, mantissa = bits & 1023;
    double v = exponent ? ldexp(1024 + mantissa, exponent - 25) : ldexp(mantissa, -24);
    return bits & 0x8000 ? -v : v;
}

/* Scale and minimum of sub-block s, from the 12 bytes of a K block. */
static inline void literal_k_scale(const uint8_t *sc, int s, int *scale, int *min) {
    *scale = s < 4 ? sc[s] & 63 : (sc[s + 4] & 15) + (sc[s - 4] >> 6) * 16;
    *min = s < 4 ? sc[s + 4] & 63 : (sc[s + 4] >> 4) + (sc[s] >> 6) * 16;
}

/* Value i of one block. */
static inline double literal_value(dtype type, const uint8_t *b, int i) {
    int low = i % 16, nibble_shift = i / 16 * 4, scale, min;
    switch (type) {
    case DTYPE_F32: {
        float f;
        memcpy(&f, b, 4);
        return (double)f;
    }
    case DTYPE_F16:
        return literal_half(b);
    case DTYPE_BF16: {
        uint32_t bits = (uint32_t)(b[0] | b[1] << 8) << 16;
        float f;
        memcpy(&f, &bits, 4);
        return (double)f;
    }
    case DTYPE_Q4_0:
        return literal_half(b) * ((b[2 + low] >> nibble_shift & 15) - 8);
    case DTYPE_Q4_1:
        return literal_half(b) * (b[4 + low] >> nibble_shift & 15) + literal_half(b + 2);
    case DTYPE_Q5_0:
        return literal_half(b) * ((b[6 + low] >> nibble_shift & 15) + 16 * (b[2 + i / 8] >> i % 8 & 1) - 16);
    case DTYPE_Q5_1:
        return literal_half(b) * ((b[8 + low] >> nibble_shift & 15) + 16 * (b[4 + i / 8] >> i % 8 & 1)) + literal_half(b + 2);
    case DTYPE_Q8_0:
        return literal_half(b) * (int8_t)b[2 + i];
    case DTYPE_Q4_K:
        literal_k_scale(b + 4, i / 32, &scale, &min);
        return literal_half(b) * scale * (b[16 + i / 64 * 32 + i % 32] >> i / 32 % 2 * 4 & 15) - literal_half(b + 2) * min;
    case DTYPE_Q5_K:
        literal_k_scale(b + 4, i / 32, &scale, &min);
        return literal_half(b) * scale *
                   ((b[48 + i / 64 * 32 + i % 32] >> i / 32 % 2 * 4 & 15) + 16 * (b[16 + i % 32] >> i / 32 & 1)) -
               literal_half(b + 2) * min;
    case DTYPE_Q6_K: {
        int half = i / 128, j = i % 32, chunk = i % 128 / 32;
        int four = b[half * 64 + j + (chunk % 2) * 32] >> (chunk / 2) * 4 & 15;
        int two = b[128 + half * 32 + j] >> 2 * chunk & 3;
        return literal_half(b + 208) * (int8_t)b[192 + i / 16] * (four + 16 * two - 32);
    }
    default:
        fail();
        return 0;
    }
}

static inline void literal_row(dtype type, const uint8_t *row, uint32_t cols, float *out) {
    const dtype_info *info = dtype_get(type);
    for (uint32_t i = 0; i < cols; i++)
        out[i] = (float)literal_value(type, row + i / info->block_values * info->block_bytes, (int)(i % info->block_values));
}

/* Every bit pattern of the weights may occur; scales are finite halves of modest size. */
static inline void random_row(rng *r, dtype type, uint32_t cols, uint8_t *row) {
    const dtype_info *info = dtype_get(type);
    uint8_t *end = row + dtype_row_bytes(type, cols);
    if (!info->quantised) {
        for (uint32_t i = 0; i < cols; i++) {
            float f = random_float(r);
            compute_quantize_row(type, &f, 1, row + (size_t)i * info->block_bytes);
        }
        return;
    }
    for (uint8_t *b = row; b < end; b += info->block_bytes) {
        for (uint32_t i = 0; i < info->block_bytes; i++) b[i] = (uint8_t)rng_next(r);
        uint16_t d = compute_f16_from_f32(random_float(r) * 0.1f), m = compute_f16_from_f32(random_float(r) * 0.1f);
        memcpy(b + (type == DTYPE_Q6_K ? 208 : 0), &d, 2);
        if (type == DTYPE_Q4_1 || type == DTYPE_Q5_1 || type == DTYPE_Q4_K || type == DTYPE_Q5_K) memcpy(b + 2, &m, 2);
    }
}

/* rows × cols of random weights, in file layout. */
static inline uint8_t *random_rows(rng *r, dtype type, uint32_t rows, uint32_t cols) {
    size_t row_bytes = (size_t)dtype_row_bytes(type, cols);
    uint8_t *all = aligned(rows * row_bytes);
    for (uint32_t i = 0; i < rows; i++) random_row(r, type, cols, all + i * row_bytes);
    return all;
}

static inline uint8_t *pack_rows(dtype type, const uint8_t *src, uint32_t rows, uint32_t cols) {
    uint8_t *packed = aligned(compute_packed_bytes(type, rows, cols));
    size_t row_bytes = (size_t)dtype_row_bytes(type, cols), panel_bytes = compute_panel_bytes(type, cols);
    for (uint32_t i = 0; i < rows; i += COMPUTE_PANEL_ROWS) {
        uint32_t n = rows - i < COMPUTE_PANEL_ROWS ? rows - i : COMPUTE_PANEL_ROWS;
        compute_pack_panel(type, cols, n, src + i * row_bytes, packed + i / COMPUTE_PANEL_ROWS * panel_bytes);
    }
    return packed;
}

/* Activations with a few large values, quantised by k for weights of a type. */
static inline compute_acts random_acts(rng *r, const compute_kernels *k, dtype type, uint32_t n_tokens, uint32_t cols) {
    uint32_t group = compute_act_group(type) ? compute_act_group(type) : COMPUTE_ACT_GROUP;
    float *x = aligned((size_t)n_tokens * cols * 4);
    for (size_t i = 0; i < (size_t)n_tokens * cols; i++) x[i] = random_float(r) * (rng_next(r) % 50 ? 1.0f : 9.0f);
    size_t stride = n_tokens + 1;
    compute_acts a = {n_tokens, cols, x, aligned(stride * compute_act_blocks(cols) * sizeof(compute_act)), stride};
    for (uint32_t t = 0; t < n_tokens; t++) k->quantize(x + (size_t)t * cols, cols, group, a.acts + t, stride);
    return a;
}

/* What a token brings to column k. */
static inline compute_act *act_at(const compute_acts *a, uint32_t t, uint32_t k) {
    return &a->acts[k / COMPUTE_ACT_COLS * a->stride + t];
}

static inline void free_acts(compute_acts *a) {
    free((void *)(uintptr_t)a->x);
    free(a->acts);
}

#define assert_close(got, want, tolerance)                                                                  \
    do {                                                                                                    \
        double got_ = (double)(got), want_ = (double)(want);                                                \
        if (!(fabs(got_ - want_) <= (double)(tolerance))) fail_msg("%s = %.9g, should be %.9g", #got, got_, want_); \
    } while (0)

#endif
