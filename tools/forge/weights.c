#include "weights.h"

#include <math.h>
#include <string.h>

#include "base/check.h"

/* What a block of random bits means, and where its scale fields lie. Values are scale × level, or, where
 * there is a min, scale × level − min. scale and min are a drawn fp16 (times a random sub-scale). */
typedef struct levels {
    double mean, square;         /* of a level drawn uniformly: E[q], E[q²] */
    double sub_mean, sub_square; /* of a sub-scale: E[s], E[s²] */
    int scale_at, min_at;        /* byte offsets in the block; −1: none */
} levels;

static const levels table[DTYPE_COUNT] = {
    /* Levels around 0 (slightly off, as two's complement is): the scale's sign is random too. */
    [DTYPE_Q4_0] = {0, 21.5, 1, 1, 0, -1},          /* −8…7 */
    [DTYPE_Q5_0] = {0, 85.5, 1, 1, 0, -1},          /* −16…15 */
    [DTYPE_Q8_0] = {0, 5461, 1, 1, 0, -1},          /* −127…127 */
    [DTYPE_Q3_K] = {0, 5.5, 0, 341.5, 108, -1},     /* −4…3, sub-scales −32…31 */
    [DTYPE_Q6_K] = {0, 341.5, 0, 5461.5, 208, -1},  /* −32…31, sub-scales −128…127 */
    [DTYPE_IQ4_NL] = {0, 4548, 1, 1, 0, -1},        /* 16 uneven levels from −127 to 113 */
    [DTYPE_IQ4_XS] = {0, 4548, 0, 341.5, 0, -1},    /* the same, sub-scales −32…31 */
    [DTYPE_MXFP4] = {0, 8.5625, 1, 1, -1, -1},      /* 0 ½ 1 1½ 2 3 4 6 with sign; power-of-two scale */
    /* Levels from 0 up: scale and min are drawn together and cancel, but for sub-scales and a wobble of 10 %. */
    [DTYPE_Q4_1] = {7.5, 77.5, 1, 1, 0, 2},         /* 0…15 */
    [DTYPE_Q5_1] = {15.5, 325.5, 1, 1, 0, 2},       /* 0…31 */
    [DTYPE_Q2_K] = {1.5, 3.5, 11.5, 137.5, 80, 82}, /* 0…3, sub-scales 8…15 */
    [DTYPE_Q4_K] = {7.5, 77.5, 47.5, 2341.5, 0, 2}, /* 0…15, sub-scales 32…63 */
    [DTYPE_Q5_K] = {15.5, 325.5, 47.5, 2341.5, 0, 2},
};

static bool is_float(dtype t) { return t == DTYPE_F32 || t == DTYPE_F16 || t == DTYPE_BF16; }

bool weights_can(dtype type) { return is_float(type) || (type < DTYPE_COUNT && table[type].square > 0); }

/* Round to nearest, ties to even; overflow to infinity does not occur here. */
static uint16_t to_f16(float f) {
    uint32_t bits;
    memcpy(&bits, &f, sizeof bits);
    uint16_t sign = (uint16_t)(bits >> 16 & 0x8000);
    int exponent = (int)(bits >> 23 & 0xFF) - 127;
    uint32_t mantissa = (bits & 0x7FFFFF) | 0x800000;
    CHECK(exponent < 15);
    int drop = exponent >= -14 ? 13 : 13 - 14 - exponent; /* bits of the mantissa lost; more when subnormal */
    if (drop > 24) return sign;
    uint32_t kept = mantissa >> drop, rest = mantissa & ((1u << drop) - 1), half = 1u << (drop - 1);
    kept += rest > half || (rest == half && (kept & 1));
    uint32_t base = exponent >= -14 ? (uint32_t)(exponent + 14) << 10 : 0; /* the implicit bit carries into it */
    return (uint16_t)(sign | (base + kept));
}

static uint16_t to_bf16(float f) {
    uint32_t bits;
    memcpy(&bits, &f, sizeof bits);
    return (uint16_t)((bits + 0x7FFF + (bits >> 16 & 1)) >> 16);
}

/* The sum of four random bytes is close to normal: variance 4 × (256² − 1) / 12. */
static void init_normals(weights *w, double mean, double deviation) {
    double step = deviation / sqrt(4 * 65535 / 12.0);
    for (int i = 0; i < WEIGHTS_NORMALS; i++) {
        w->normal[i] = (float)(mean + (i - 510) * step);
        w->normal16[i] = w->type == DTYPE_F16 ? to_f16(w->normal[i]) : to_bf16(w->normal[i]);
    }
}

/* Block scales differ by ±40 %, evenly: entries 0–127 from 0.6 to 1.4; 128–255 the same, negative where the
 * levels straddle zero. Mean 1, mean square 1 + 0.8²/12. Mins follow the scale of their block, 10 % too large or
 * too small in turns: were they independent, whole rows would lean to one side, and so would the model. */
static void init_scales(weights *w, const levels *l, double deviation) {
    const double jitter_square = 1 + 0.64 / 12, wobble = 0.1;
    double level_variance = l->square - l->mean * l->mean;
    double offset_square = (2 + wobble * wobble) * l->sub_square - 2 * l->sub_mean * l->sub_mean;
    double unit_square = jitter_square * (l->sub_square * level_variance + l->mean * l->mean * offset_square);
    double unit = deviation / sqrt(unit_square);
    bool min_subtracted = l->sub_square > 1; /* with sub-scales; the plain types add it */
    for (int i = 0; i < WEIGHTS_SCALES; i++) {
        double jitter = 0.6 + 0.8 * (i % 128 + 0.5) / 128;
        double sign = l->min_at < 0 && i >= 128 ? -1 : 1;
        double min = l->mean * unit * jitter * (i % 2 ? 1 + wobble : 1 - wobble);
        w->scale[i] = to_f16((float)(sign * unit * jitter));
        w->min[i] = to_f16((float)(min_subtracted ? min : -min));
    }
}

/* Powers of two: the two nearest below and above, in the mixture that has the wanted mean square. */
static void init_exponents(weights *w, const levels *l, double deviation) {
    double wanted = deviation / sqrt(l->square);
    int low = 127;
    double scale = 1;
    for (; scale > wanted; scale /= 2) low--;
    for (; 2 * scale <= wanted; scale *= 2) low++;
    double share = (wanted * wanted / (scale * scale) - 1) / 3; /* of the higher: share × 4 + (1 − share) */
    for (int i = 0; i < WEIGHTS_SCALES; i++) w->exponent[i] = (uint8_t)(low + (i < share * WEIGHTS_SCALES));
}

void weights_init(weights *w, dtype type, double deviation) {
    CHECK(weights_can(type));
    memset(w, 0, sizeof *w);
    w->type = type;
    if (is_float(type)) init_normals(w, 0, deviation);
    else if (type == DTYPE_MXFP4) init_exponents(w, &table[type], deviation);
    else init_scales(w, &table[type], deviation);
}

void weights_init_vector(weights *w, double mean, double swing, double deviation) {
    memset(w, 0, sizeof *w);
    w->type = DTYPE_F32;
    w->swing = (float)swing;
    init_normals(w, mean, deviation);
}

static void fill_random(rng *r, uint8_t *out, uint64_t bytes) {
    for (uint64_t i = 0; i < bytes; i += 8) {
        uint64_t v = rng_next(r);
        memcpy(out + i, &v, 8);
    }
}

static uint32_t byte_sum(uint32_t v) { return (v & 0xFF) + (v >> 8 & 0xFF) + (v >> 16 & 0xFF) + (v >> 24); }

static void fill_floats(const weights *w, rng *r, uint64_t n, uint8_t *out) {
    for (uint64_t i = 0; i < n; i += 2) {
        uint64_t v = rng_next(r);
        uint32_t a = byte_sum((uint32_t)v), b = byte_sum((uint32_t)(v >> 32));
        if (w->type == DTYPE_F32) {
            float side = a % 2 ? w->swing : -w->swing; /* a pair lies on both sides: they balance */
            float pair[2] = {w->normal[a] + side, w->normal[b] - side};
            memcpy(out + 4 * i, pair, sizeof pair);
        } else {
            memcpy(out + 2 * i, &w->normal16[a], 2);
            memcpy(out + 2 * i + 2, &w->normal16[b], 2);
        }
    }
}

static void finish_block(const weights *w, const levels *l, uint8_t *block) {
    uint8_t pick = l->scale_at < 0 ? block[0] : block[l->scale_at]; /* the random bits there choose the scale */
    if (l->scale_at >= 0) memcpy(block + l->scale_at, &w->scale[pick], 2);
    if (l->min_at >= 0) memcpy(block + l->min_at, &w->min[pick], 2);
    switch (w->type) {
    case DTYPE_Q8_0: /* −128 is never written by quantisers */
        for (int i = 2; i < 34; i++) block[i] = (uint8_t)(block[i] + (block[i] == 0x80));
        break;
    case DTYPE_Q2_K: /* high bit of each 4-bit sub-scale and sub-min */
        for (int i = 0; i < 16; i++) block[i] |= 0x88;
        break;
    case DTYPE_Q4_K:
    case DTYPE_Q5_K: /* bit 5 of each 6-bit sub-scale and sub-min: four sit whole in bits 0–5, four by their top in 6–7 */
        for (int i = 4; i < 12; i++) block[i] |= 0xA0;
        break;
    case DTYPE_MXFP4: block[0] = w->exponent[pick]; break;
    default: break;
    }
}

void weights_fill(const weights *w, rng *r, uint64_t n, uint8_t *out) {
    if (is_float(w->type)) {
        fill_floats(w, r, n, out);
        return;
    }
    uint32_t block_bytes = dtype_get(w->type)->block_bytes;
    uint64_t bytes = dtype_row_bytes(w->type, n);
    fill_random(r, out, bytes);
    for (uint64_t at = 0; at < bytes; at += block_bytes) finish_block(w, &table[w->type], out + at);
}
