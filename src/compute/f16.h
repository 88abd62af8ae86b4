/* compute/f16 — half and bfloat16 conversions, as the hardware does them. Internal to compute/. */
#ifndef COMPUTE_F16_H
#define COMPUTE_F16_H

#include <stdint.h>
#include <string.h>

static inline uint32_t f32_bits(float f) {
    uint32_t u;
    memcpy(&u, &f, 4);
    return u;
}

static inline float f32_of_bits(uint32_t u) {
    float f;
    memcpy(&f, &u, 4);
    return f;
}

/* Exact; a signalling NaN comes back quiet, as vcvtph2ps has it. */
static inline float f16_to_f32(uint16_t h) {
    uint32_t sign = (uint32_t)(h & 0x8000u) << 16, exponent = h >> 10 & 31u, mantissa = h & 0x3FFu;
    if (exponent == 0) return f32_of_bits(sign | f32_bits((float)mantissa * 0x1p-24f));
    if (exponent == 31) return f32_of_bits(sign | 0x7F800000u | mantissa << 13 | (mantissa ? 0x400000u : 0));
    return f32_of_bits(sign | (exponent + 112) << 23 | mantissa << 13);
}

/* Round to nearest even; too large becomes infinity. */
static inline uint16_t f32_to_f16(float f) {
    uint32_t bits = f32_bits(f), sign = bits >> 16 & 0x8000u, a = bits & 0x7FFFFFFFu;
    if (a > 0x7F800000u) return (uint16_t)(sign | 0x7E00u | (a >> 13 & 0x3FFu));
    if (a >= 0x477FF000u) return (uint16_t)(sign | 0x7C00u); /* 65520: half-way to the first that is none */
    if (a < 0x38800000u) { /* below 2^-14: adding 0.5 rounds to multiples of 2^-24 */
        return (uint16_t)(sign | (f32_bits(f32_of_bits(a) + 0.5f) - 0x3F000000u));
    }
    return (uint16_t)(sign | (a - (112u << 23) + 0xFFFu + (a >> 13 & 1u)) >> 13);
}

static inline float bf16_to_f32(uint16_t h) { return f32_of_bits((uint32_t)h << 16); }

static inline uint16_t f32_to_bf16(float f) {
    uint32_t bits = f32_bits(f);
    if ((bits & 0x7FFFFFFFu) > 0x7F800000u) return (uint16_t)(bits >> 16 | 0x40u);
    return (uint16_t)((bits + 0x7FFFu + (bits >> 16 & 1u)) >> 16);
}

#endif
