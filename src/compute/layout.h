/* compute/layout — where things lie inside a packed panel. Internal to compute/.
 *
 * A panel of a quantised type is a row of superblocks, each holding 256 columns of 16 rows (the last
 * one may be shorter: n_groups groups of 32 columns). Each superblock holds its parts one after the
 * other, so that the vectors of a full one start on cache lines. The parts are described above each
 * type's pack function in pack.c; this file only says where they start, and decodes one row of one
 * group for the scalar code. Float types are [column][16 rows].
 */
#ifndef COMPUTE_LAYOUT_H
#define COMPUTE_LAYOUT_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "base/dtype.h"
#include "compute/f16.h"

#define ALWAYS_INLINE static inline __attribute__((always_inline))

/* Unrolls the loop behind it, so that arrays of vectors become registers. Not in sanitizer builds: every
 * access would be instrumented many times over, for minutes of compilation. */
#define PRAGMA(x) _Pragma(#x)
#if defined(PLIMSOLL_SANITIZED)
#define UNROLL(n)
#elif defined(__clang__)
#define UNROLL(n) PRAGMA(clang loop unroll_count(n))
#else
#define UNROLL(n) PRAGMA(GCC unroll n)
#endif

typedef uint16_t bytes16 __attribute__((vector_size(16))); /* 16 bytes, shifted two by two */

enum {
    GROUP_COLS = 32,
    SUPER_GROUPS = 8, /* groups in a full superblock */
    SUPER_COLS = SUPER_GROUPS * GROUP_COLS,
    BLOCK_TOKENS = 264, /* tokens that meet a superblock while it is in cache: a multiple of every tile's */
    STEP_BYTES = 64,  /* one k-step: 16 rows × 4 columns, a byte each (or a nibble of two k-steps) */
};

typedef struct superblock {
    const uint8_t *base;
    const uint8_t *d;    /* f16[16] scales: one per group, or one per superblock (K types) */
    const uint8_t *m;    /* f16[16] minimums, alike (Q4_1 Q5_1), or dmin (Q4_K Q5_K) */
    const uint8_t *sc;   /* K types: [12][16] packed scales and minimums; Q6_K: int8 [16][16] */
    const uint8_t *high; /* Q5*: u64 masks per k-step; Q6_K: two-bit vectors */
    const uint8_t *q;    /* nibbles or bytes */
} superblock;

ALWAYS_INLINE bool layout_is_float(dtype t) { return t == DTYPE_F32 || t == DTYPE_F16 || t == DTYPE_BF16; }
/* Superblocks of 256 columns in the file; their activations have one scale per 256. */
ALWAYS_INLINE bool layout_is_k(dtype t) { return t == DTYPE_Q4_K || t == DTYPE_Q5_K || t == DTYPE_Q6_K; }

ALWAYS_INLINE bool layout_is_affine(dtype t) {
    return t == DTYPE_Q4_1 || t == DTYPE_Q5_1 || t == DTYPE_Q4_K || t == DTYPE_Q5_K;
}
/* What the stored unsigned weight exceeds the real one by. */
ALWAYS_INLINE int layout_offset(dtype t) {
    return t == DTYPE_Q4_0 ? 8 : t == DTYPE_Q5_0 ? 16 : t == DTYPE_Q8_0 ? 128 : t == DTYPE_Q6_K ? 32 : 0;
}

/* Bytes of 16 rows of one group. */
ALWAYS_INLINE uint32_t layout_group_bytes(dtype t) {
    return t == DTYPE_Q4_0 ? 16 * 18 : t == DTYPE_Q4_1 ? 16 * 20 : t == DTYPE_Q5_0 ? 16 * 22
         : t == DTYPE_Q5_1 ? 16 * 24 : t == DTYPE_Q8_0 ? 16 * 34 : t == DTYPE_Q4_K ? 16 * 18
         : t == DTYPE_Q5_K ? 16 * 22 : /* Q6_K: */ 16 * 210 / 8;
}

ALWAYS_INLINE superblock layout_superblock(dtype t, const uint8_t *base, uint32_t n_groups) {
    superblock s = {.base = base};
    uint32_t halves = n_groups * 32; /* one f16 per row and group */
    switch (t) {
    case DTYPE_Q4_0:
        s.d = base, s.q = base + halves;
        break;
    case DTYPE_Q8_0:
        s.d = base, s.q = base + halves;
        break;
    case DTYPE_Q4_1:
        s.d = base, s.m = base + halves, s.q = base + 2 * halves;
        break;
    case DTYPE_Q5_0:
        s.d = base, s.high = base + halves, s.q = s.high + n_groups * 64;
        break;
    case DTYPE_Q5_1:
        s.d = base, s.m = base + halves, s.high = base + 2 * halves, s.q = s.high + n_groups * 64;
        break;
    case DTYPE_Q4_K:
        s.d = base, s.m = base + 32, s.sc = base + 64, s.q = base + 256;
        break;
    case DTYPE_Q5_K:
        s.d = base, s.m = base + 32, s.sc = base + 64, s.high = base + 256, s.q = base + 256 + 512;
        break;
    case DTYPE_Q6_K:
        s.q = base, s.high = base + 2048, s.sc = base + 3072, s.d = base + 3328;
        break;
    default:
        __builtin_unreachable();
    }
    return s;
}

/* One row's share of one group: unsigned weights with the offset still in, and their scales. */
typedef struct group_row {
    uint8_t w[GROUP_COLS];
    float scale[2]; /* per 16 columns; both the same but for Q6_K */
    float min;      /* affine types only, else 0 */
} group_row;

static inline float layout_f16_at(const uint8_t *p, uint32_t lane) {
    uint16_t h;
    memcpy(&h, p + 2 * lane, 2);
    return f16_to_f32(h);
}

/* The 6-bit scale and minimum of sub-block g, from the 12 packed bytes of lane's row. */
static inline void layout_k_scale(const uint8_t *sc, uint32_t g, uint32_t lane, uint32_t *scale, uint32_t *min) {
    const uint8_t *b = sc + lane; /* byte i of the row is b[16 i] */
    if (g < 4) {
        *scale = b[16 * g] & 63u;
        *min = b[16 * (g + 4)] & 63u;
    } else {
        *scale = (b[16 * (g + 4)] & 15u) | (uint32_t)(b[16 * (g - 4)] >> 6) << 4;
        *min = (uint32_t)(b[16 * (g + 4)] >> 4) | (uint32_t)(b[16 * g] >> 6) << 4;
    }
}

static inline void layout_scales(dtype t, const superblock *s, uint32_t g, uint32_t lane, group_row *out) {
    uint32_t scale, min;
    out->min = 0;
    switch (t) {
    case DTYPE_Q4_K:
    case DTYPE_Q5_K:
        layout_k_scale(s->sc, g, lane, &scale, &min);
        out->scale[0] = out->scale[1] = layout_f16_at(s->d, lane) * (float)scale;
        out->min = -(layout_f16_at(s->m, lane) * (float)min);
        break;
    case DTYPE_Q6_K:
        for (uint32_t i = 0; i < 2; i++)
            out->scale[i] = layout_f16_at(s->d, lane) * (float)(int8_t)s->sc[16 * (2 * g + i) + lane];
        break;
    default:
        out->scale[0] = out->scale[1] = layout_f16_at(s->d + 32 * g, lane);
        if (s->m) out->min = layout_f16_at(s->m + 32 * g, lane);
    }
}

static inline uint32_t bits_at(const uint8_t *p, uint32_t i, uint32_t shift) { return (uint32_t)p[i] >> shift; }

static inline void layout_group(dtype t, const superblock *s, uint32_t g, uint32_t lane, group_row *out) {
    layout_scales(t, s, g, lane, out);
    for (uint32_t i = 0; i < GROUP_COLS; i++) {
        uint32_t step = i / 4, at = 4 * lane + i % 4, w;
        switch (t) {
        case DTYPE_Q8_0:
            w = s->q[(8 * g + step) * STEP_BYTES + at];
            break;
        case DTYPE_Q4_K:
        case DTYPE_Q5_K: /* sub-blocks 2c and 2c+1 share bytes: low and high nibbles */
            w = bits_at(s->q + (8 * (g / 2) + step) * STEP_BYTES, at, 4 * (g % 2)) & 15u;
            break;
        case DTYPE_Q6_K: { /* per 128 columns: 32-column chunks 0 1 are low nibbles, 2 3 the same bytes' high */
            uint32_t half = g / 4, c = g % 4;
            w = bits_at(s->q + (16 * half + 8 * (c & 1) + step) * STEP_BYTES, at, 4 * (c >> 1)) & 15u;
            w |= (bits_at(s->high + (8 * half + step) * STEP_BYTES, at, 2 * c) & 3u) << 4;
            break;
        }
        default: /* columns 0–15 are low nibbles, 16–31 the same bytes' high ones */
            w = bits_at(s->q + (4 * g + step % 4) * STEP_BYTES, at, 4 * (step / 4)) & 15u;
        }
        if (s->high && t != DTYPE_Q6_K) w |= (bits_at(s->high + (8 * g + step) * 8, at / 8, at % 8) & 1u) << 4;
        out->w[i] = (uint8_t)w;
    }
}

#endif
