/* Packed layouts: from the file's rows and back. The blocks' own layouts are those of the GGUF
 * specification; scales are f16 unless said otherwise. */
#include <math.h>
#include <string.h>

#include "base/check.h"
#include "compute/compute.h"
#include "compute/layout.h"

enum { ROWS = COMPUTE_PANEL_ROWS };

uint32_t compute_act_group(dtype type) {
    return layout_is_float(type) ? 0 : layout_is_k(type) ? COMPUTE_ACT_GROUP_K : COMPUTE_ACT_GROUP;
}

bool compute_type_supported(dtype type) {
    switch (type) {
    case DTYPE_F32: case DTYPE_F16: case DTYPE_BF16:
    case DTYPE_Q4_0: case DTYPE_Q4_1: case DTYPE_Q5_0: case DTYPE_Q5_1: case DTYPE_Q8_0:
    case DTYPE_Q4_K: case DTYPE_Q5_K: case DTYPE_Q6_K:
        return true;
    default:
        return false;
    }
}

size_t compute_panel_bytes(dtype type, uint32_t cols) { return ROWS * (size_t)dtype_row_bytes(type, cols); }

size_t compute_packed_bytes(dtype type, uint32_t rows, uint32_t cols) {
    return ((size_t)rows + ROWS - 1) / ROWS * compute_panel_bytes(type, cols);
}

/* The rows being packed into one superblock: block i of row r is at src + r · row_bytes + i · block_bytes. */
typedef struct source {
    const uint8_t *src;
    size_t row_bytes, block_bytes;
    uint32_t n_rows, n_groups;
} source;

/* A part of a superblock that is being written; NULL where the type has none. */
static uint8_t *part(uint8_t *to, const uint8_t *at) { return at ? to + (at - to) : NULL; }

static const uint8_t *block(const source *s, uint32_t row, uint32_t i) {
    return s->src + row * s->row_bytes + i * s->block_bytes;
}

/* Four bytes of each k-step of one row: step i goes to vector i, at the row's place. */
static void scatter(uint8_t *vectors, uint32_t row, const uint8_t *bytes, uint32_t n_steps) {
    for (uint32_t i = 0; i < n_steps; i++) memcpy(vectors + i * STEP_BYTES + 4 * row, bytes + 4 * i, 4);
}

/* ORs a row's four fifth bits of a k-step into that step's 64-bit mask (bit 4·row + column). */
static void put_bits(uint8_t *mask, uint32_t row, uint32_t four) {
    mask[row / 2] = (uint8_t)(mask[row / 2] | four << 4 * (row % 2));
}

/* Q4_0, Q4_1, Q5_0, Q5_1. File block of 32 columns: d, [m,] [32 fifth bits,] 16 bytes: column j in the
 * low nibble of byte j, column j + 16 in its high one.
 * Superblock of G groups:   d     [G][16 rows] f16
 *   (Q4_1 Q5_1)             m     [G][16 rows] f16
 *   (Q5_0 Q5_1)             high  [G][8 k-steps] u64, bit 4·row + column-in-step
 *                           q     [G][4][16 rows][4 bytes]: vector i holds k-step i low, k-step i + 4 high */
static void pack_nibbles(dtype type, const source *s, uint8_t *to) {
    superblock at = layout_superblock(type, to, s->n_groups);
    uint8_t *d = to, *m = part(to, at.m), *high = part(to, at.high), *q = part(to, at.q);
    uint32_t skip_bits = at.m ? 4 : 2, skip_q = skip_bits + (at.high ? 4 : 0);
    for (uint32_t row = 0; row < s->n_rows; row++) {
        for (uint32_t g = 0; g < s->n_groups; g++) {
            const uint8_t *b = block(s, row, g);
            memcpy(d + 32 * g + 2 * row, b, 2);
            if (at.m) memcpy(m + 32 * g + 2 * row, b + 2, 2);
            for (uint32_t i = 0; at.high && i < 8; i++)
                put_bits(high + 64 * g + 8 * i, row, bits_at(b + skip_bits, i / 2, 4 * (i % 2)) & 15u);
            scatter(q + 4 * g * STEP_BYTES, row, b + skip_q, 4);
        }
    }
}

/* Q8_0. File block of 32 columns: d, 32 int8.
 * Superblock of G groups:   d     [G][16 rows] f16
 *                           q     [G][8 k-steps][16 rows][4 bytes], each value + 128 */
static void pack_bytes(const source *s, uint8_t *to) {
    superblock at = layout_superblock(DTYPE_Q8_0, to, s->n_groups);
    uint8_t *q = part(to, at.q);
    for (uint32_t row = 0; row < s->n_rows; row++) {
        for (uint32_t g = 0; g < s->n_groups; g++) {
            const uint8_t *b = block(s, row, g);
            memcpy(to + 32 * g + 2 * row, b, 2);
            scatter(q + 8 * g * STEP_BYTES, row, b + 2, 8);
        }
    }
    for (size_t i = 0; i < (size_t)s->n_groups * 8 * STEP_BYTES; i++) q[i] ^= 0x80;
}

/* Q4_K, Q5_K. File block of 256 columns: d, dmin, 12 bytes of 6-bit scales and minimums for 8 sub-blocks
 * of 32, [32 bytes: bit s of byte j is the fifth bit of column j of sub-block s,] 128 bytes: nibbles of
 * sub-block 2c low and 2c + 1 high in bytes 32c … 32c + 31.
 * Superblock:               d     [16 rows] f16
 *                           m     [16 rows] f16 (dmin)
 *                           sc    [12][16 rows], the file's bytes
 *   (Q5_K)                  high  [8 sub-blocks][8 k-steps] u64, bit 4·row + column-in-step
 *                           q     [4][8 k-steps][16 rows][4 bytes] */
static void pack_k(dtype type, const source *s, uint8_t *to) {
    superblock at = layout_superblock(type, to, SUPER_GROUPS);
    uint8_t *sc = part(to, at.sc), *high = part(to, at.high), *q = part(to, at.q);
    for (uint32_t row = 0; row < s->n_rows; row++) {
        const uint8_t *b = block(s, row, 0);
        memcpy(to + 2 * row, b, 2);
        memcpy(to + 32 + 2 * row, b + 2, 2);
        for (uint32_t i = 0; i < 12; i++) sc[16 * i + row] = b[4 + i];
        for (uint32_t step = 0; at.high && step < 8; step++) {
            uint32_t bytes;
            memcpy(&bytes, b + 16 + 4 * step, 4);
            for (uint32_t g = 0; g < SUPER_GROUPS; g++) {
                uint32_t y = bytes >> g & 0x01010101u;
                put_bits(high + 64 * g + 8 * step, row, (y | y >> 7 | y >> 14 | y >> 21) & 15u);
            }
        }
        scatter(q, row, b + (at.high ? 48 : 16), 32);
    }
}

/* Q6_K. File block of 256 columns: 128 bytes of low nibbles, 64 of high bit pairs, 16 int8 scales, d. Per
 * half of 128 columns, chunk c of 32: nibble c/2 of bytes 32·(c mod 2) + j, bits 2c of high byte j.
 * Superblock:               q     [2 halves][16][16 rows][4 bytes]
 *                           high  [2 halves][8][16 rows][4 bytes]
 *                           sc    [16][16 rows] int8, one for 16 columns
 *                           d     [16 rows] f16 */
static void pack_q6k(const source *s, uint8_t *to) {
    superblock at = layout_superblock(DTYPE_Q6_K, to, SUPER_GROUPS);
    uint8_t *high = part(to, at.high), *sc = part(to, at.sc), *d = part(to, at.d);
    for (uint32_t row = 0; row < s->n_rows; row++) {
        const uint8_t *b = block(s, row, 0);
        scatter(to, row, b, 32);
        scatter(high, row, b + 128, 16);
        for (uint32_t i = 0; i < 16; i++) sc[16 * i + row] = b[192 + i];
        memcpy(d + 2 * row, b + 208, 2);
    }
}

/* F32, F16, BF16: [column][16 rows], by tiles of columns so that both sides stay in cache. */
static void pack_float(size_t bytes, uint32_t cols, uint32_t n_rows, const uint8_t *src, uint8_t *panel) {
    enum { TILE = 64 };
    for (uint32_t k0 = 0; k0 < cols; k0 += TILE) {
        uint32_t k1 = cols - k0 < TILE ? cols : k0 + TILE;
        for (uint32_t row = 0; row < n_rows; row++) {
            const uint8_t *from = src + row * (size_t)cols * bytes;
            uint8_t *to = panel + row * bytes;
            if (bytes == 4) {
                for (uint32_t k = k0; k < k1; k++) memcpy(to + (size_t)k * ROWS * 4, from + (size_t)k * 4, 4);
            } else {
                for (uint32_t k = k0; k < k1; k++) memcpy(to + (size_t)k * ROWS * 2, from + (size_t)k * 2, 2);
            }
        }
    }
}

void compute_pack_panel(dtype type, uint32_t cols, uint32_t n_rows, const void *src, void *panel) {
    CHECK(compute_type_supported(type) && n_rows >= 1 && n_rows <= ROWS);
    const dtype_info *info = dtype_get(type);
    if (n_rows < ROWS || layout_is_float(type) == false) memset(panel, 0, compute_panel_bytes(type, cols));
    if (layout_is_float(type)) {
        pack_float(info->block_bytes, cols, n_rows, src, panel);
        return;
    }
    uint8_t *to = panel;
    source s = {src, (size_t)dtype_row_bytes(type, cols), info->block_bytes, n_rows, SUPER_GROUPS};
    for (uint32_t col = 0; col < cols; col += SUPER_COLS) {
        if (cols - col < SUPER_COLS) s.n_groups = (cols - col) / GROUP_COLS;
        switch (type) {
        case DTYPE_Q8_0:
            pack_bytes(&s, to);
            break;
        case DTYPE_Q4_K: case DTYPE_Q5_K:
            pack_k(type, &s, to);
            break;
        case DTYPE_Q6_K:
            pack_q6k(&s, to);
            break;
        default:
            pack_nibbles(type, &s, to);
        }
        s.src += SUPER_COLS / info->block_values * info->block_bytes;
        to += s.n_groups * layout_group_bytes(type);
    }
}

static void unpack_float_row(dtype type, const uint8_t *panel, uint32_t cols, uint32_t lane, float *out) {
    for (uint32_t k = 0; k < cols; k++) {
        size_t at = (size_t)k * ROWS + lane;
        uint16_t h;
        if (type == DTYPE_F32) {
            memcpy(&out[k], panel + 4 * at, 4);
        } else {
            memcpy(&h, panel + 2 * at, 2);
            out[k] = type == DTYPE_F16 ? f16_to_f32(h) : bf16_to_f32(h);
        }
    }
}

/* A weight's value: scale · w is exact for every type here, so an affine one is rounded once. */
static float group_value(dtype type, const group_row *g, uint32_t i) {
    float w = (float)((int)g->w[i] - layout_offset(type));
    return layout_is_affine(type) ? g->scale[i / 16] * w + g->min : g->scale[i / 16] * w;
}

void compute_unpack_row(dtype type, const void *packed, uint32_t cols, uint32_t row, float *out) {
    CHECK(compute_type_supported(type));
    const uint8_t *panel = (const uint8_t *)packed + row / ROWS * compute_panel_bytes(type, cols);
    uint32_t lane = row % ROWS;
    if (layout_is_float(type)) {
        unpack_float_row(type, panel, cols, lane, out);
        return;
    }
    for (uint32_t col = 0; col < cols; col += SUPER_COLS) {
        uint32_t left = cols - col, n_groups = left < SUPER_COLS ? left / GROUP_COLS : SUPER_GROUPS;
        superblock s = layout_superblock(type, panel, n_groups);
        for (uint32_t g = 0; g < n_groups; g++) {
            group_row values;
            layout_group(type, &s, g, lane, &values);
            for (uint32_t i = 0; i < GROUP_COLS; i++) out[col + g * GROUP_COLS + i] = group_value(type, &values, i);
        }
        panel += n_groups * layout_group_bytes(type);
    }
}

void compute_dequantize_row(dtype type, const void *row, uint32_t cols, float *out) {
    CHECK(compute_type_supported(type));
    const dtype_info *info = dtype_get(type);
    if (layout_is_float(type)) {
        for (uint32_t k = 0; k < cols; k++) {
            const uint8_t *p = (const uint8_t *)row + (size_t)k * info->block_bytes;
            uint16_t h;
            if (type == DTYPE_F32) {
                memcpy(&out[k], p, 4);
            } else {
                memcpy(&h, p, 2);
                out[k] = type == DTYPE_F16 ? f16_to_f32(h) : bf16_to_f32(h);
            }
        }
        return;
    }
    /* By way of a one-block panel: one description of each type's bits is enough. */
    _Alignas(64) uint8_t panel[ROWS * 512];
    for (uint32_t k = 0; k < cols; k += info->block_values, out += info->block_values) {
        const uint8_t *block_at = (const uint8_t *)row + (size_t)k / info->block_values * info->block_bytes;
        compute_pack_panel(type, info->block_values, 1, block_at, panel);
        compute_unpack_row(type, panel, info->block_values, 0, out);
    }
}
