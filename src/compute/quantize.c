/* From floats to the file's block layouts: round to nearest from the block's extremes, no search. */
#include <math.h>
#include <string.h>

#include "base/check.h"
#include "compute/compute.h"
#include "compute/layout.h"
#include "compute/scalar.h"

/* Stores v as f16, kept finite, and returns what was stored. */
static float put_half(uint8_t *to, float v) {
    uint16_t h = f32_to_f16(fminf(fmaxf(v, -65504.0f), 65504.0f));
    memcpy(to, &h, 2);
    return f16_to_f32(h);
}

/* round(x / step) + offset, within 0 … most; step 0 gives the offset. */
static uint8_t level(float x, float step, int offset, int most) {
    if (step == 0) return (uint8_t)offset;
    float v = rintf(fminf(fmaxf(x / step, -1024.0f), 1024.0f)) + (float)offset;
    return (uint8_t)fminf(fmaxf(v, 0.0f), (float)most);
}

/* The value of largest magnitude, with its sign. */
static float extreme(const float *x, uint32_t n) {
    float most = 0;
    for (uint32_t i = 0; i < n; i++)
        if (fabsf(x[i]) > fabsf(most)) most = x[i];
    return most;
}

static void range(const float *x, uint32_t n, float *least, float *most) {
    *least = *most = x[0];
    for (uint32_t i = 1; i < n; i++) {
        *least = fminf(*least, x[i]);
        *most = fmaxf(*most, x[i]);
    }
}

static void block_32(dtype type, const float *x, uint8_t *b) {
    bool five = type == DTYPE_Q5_0 || type == DTYPE_Q5_1, affine = layout_is_affine(type);
    int levels = five ? 32 : 16, offset = affine ? 0 : levels / 2;
    float least = 0, most, d;
    if (affine) {
        range(x, 32, &least, &most);
        d = put_half(b, most / (float)(levels - 1) - least / (float)(levels - 1));
        least = put_half(b + 2, least);
    } else {
        d = put_half(b, extreme(x, 32) / (float)-offset); /* the extreme gets level 0: there is one more below */
    }
    uint8_t *q = b + (affine ? 4 : 2);
    uint32_t high = 0;
    uint8_t w[32];
    for (uint32_t i = 0; i < 32; i++) {
        w[i] = level(x[i] - least, d, offset, levels - 1);
        high |= (uint32_t)(w[i] >> 4) << i;
    }
    if (five) {
        memcpy(q, &high, 4);
        q += 4;
    }
    for (uint32_t i = 0; i < 16; i++) q[i] = (uint8_t)((w[i] & 15) | w[i + 16] << 4);
}

static void block_q8_0(const float *x, uint8_t *b) {
    float d = put_half(b, fabsf(extreme(x, 32)) / 127.0f);
    for (uint32_t i = 0; i < 32; i++) b[2 + i] = (uint8_t)(level(x[i], d, 127, 254) - 127);
}

/* Eight 6-bit scales and minimums in 12 bytes. */
static void put_k_scales(uint8_t *to, const uint8_t scale[8], const uint8_t min[8]) {
    for (uint32_t g = 0; g < 4; g++) {
        to[g] = (uint8_t)(scale[g] | scale[g + 4] >> 4 << 6);
        to[g + 4] = (uint8_t)(min[g] | min[g + 4] >> 4 << 6);
        to[g + 8] = (uint8_t)((scale[g + 4] & 15) | min[g + 4] << 4);
    }
}

static void block_k(dtype type, const float *x, uint8_t *b) {
    int most_level = type == DTYPE_Q5_K ? 31 : 15;
    float step[8], drop[8], most_step = 0, most_drop = 0;
    for (uint32_t g = 0; g < 8; g++) {
        float least, most;
        range(x + 32 * g, 32, &least, &most);
        least = fminf(least, 0);
        most = fmaxf(most, least);
        step[g] = most / (float)most_level - least / (float)most_level;
        drop[g] = -least;
        most_step = fmaxf(most_step, step[g]);
        most_drop = fmaxf(most_drop, drop[g]);
    }
    float d = put_half(b, most_step / 63.0f), dmin = put_half(b + 2, most_drop / 63.0f);
    uint8_t scale[8], min[8], *high = b + 16, *q = b + 16 + (type == DTYPE_Q5_K ? 32 : 0);
    memset(high, 0, (size_t)(q - high) + 128);
    for (uint32_t g = 0; g < 8; g++) {
        scale[g] = level(step[g], d, 0, 63);
        min[g] = level(drop[g], dmin, 0, 63);
        for (uint32_t i = 0; i < 32; i++) {
            uint8_t w = level(x[32 * g + i] + dmin * (float)min[g], d * (float)scale[g], 0, most_level);
            uint8_t *to = q + 32 * (g / 2) + i;
            *to = (uint8_t)(*to | (w & 15) << 4 * (g % 2));
            if (w & 16) high[i] = (uint8_t)(high[i] | 1u << g);
        }
    }
    put_k_scales(b + 4, scale, min);
}

static void block_q6k(const float *x, uint8_t *b) {
    float step[16];
    for (uint32_t i = 0; i < 16; i++) step[i] = extreme(x + 16 * i, 16) / -32.0f;
    float d = put_half(b + 208, extreme(step, 16) / -128.0f);
    memset(b, 0, 192);
    for (uint32_t k = 0; k < 256; k++) {
        int scale = (int)level(step[k / 16], d, 128, 255) - 128;
        uint8_t w = level(x[k], d * (float)scale, 32, 63);
        uint32_t half = k / 128, c = k / 32 % 4, j = k % 32;
        uint8_t *low = b + 64 * half + 32 * (c & 1) + j, *high = b + 128 + 32 * half + j;
        *low = (uint8_t)(*low | (w & 15) << 4 * (c >> 1));
        *high = (uint8_t)(*high | w >> 4 << 2 * c);
        b[192 + k / 16] = (uint8_t)scale;
    }
}

void compute_quantize_row(dtype type, const float *x, uint32_t cols, void *row) {
    CHECK(compute_type_supported(type));
    const dtype_info *info = dtype_get(type);
    CHECK(cols % info->block_values == 0);
    uint8_t *to = row;
    for (uint32_t k = 0; k < cols; k += info->block_values, to += info->block_bytes) {
        if (layout_is_float(type)) {
            uint16_t h = type == DTYPE_F16 ? f32_to_f16(x[k]) : f32_to_bf16(x[k]);
            if (type == DTYPE_F32) memcpy(to, &x[k], 4);
            else memcpy(to, &h, 2);
            continue;
        }
        float block[256];
        for (uint32_t i = 0; i < info->block_values; i++) block[i] = scalar_finite(x[k + i]);
        switch (type) {
        case DTYPE_Q8_0:
            block_q8_0(block, to);
            break;
        case DTYPE_Q4_K: case DTYPE_Q5_K:
            block_k(type, block, to);
            break;
        case DTYPE_Q6_K:
            block_q6k(block, to);
            break;
        default:
            block_32(type, block, to);
        }
    }
}
