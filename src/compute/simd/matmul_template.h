/* compute/simd/matmul_template — the one matmul for every type and instruction set. An ISA file defines the
 * operations listed below and includes this; `type` and the tile sizes are constants wherever they matter, so that each
 * combination becomes straight code.
 *
 *   WIDTH                            rows per vector (16 or 8)
 *   TILE_TOKENS                      tokens that meet a panel together: as many sums as the registers hold
 *   FEW_TOKENS                       up to here weights go straight from memory to the registers (of BLOCK_TOKENS)
 *   PLAIN_Q8                         Q8_0 weights are used signed (no offset)
 *   vi, vf                           vectors of WIDTH int32 / float; vi_… vf_… what their names say
 *   vf_of_u8(bytes16, half), vf_of_i8(bytes16, half)
 *   nibbles(v, high)                 four-bit weights of a k-step
 *   fifth_bits(v, mask, half)        adds 16 where the k-step's mask has a bit
 *   bit_pairs(v, high, chunk)        adds bits 2·chunk of high as weights' bits 4 and 5
 *   four_activations(q)              4 activations in every row's place
 *   STEPS_TO_INT32                   whether step_dot(deep, sum, w, q) adds a k-step to int32 sums at once; else
 *   steps_together(most)             k-steps whose 16-bit sums of pairs cannot overflow, weights up to most:
 *   pairs_of(most, w, four) pairs_add(sum, w, four) pairs_fold(dot, sum)
 *
 * Work goes by superblocks: a tile of tokens, whose activations for one lie together, meets a few panels. Few tokens
 * meet the weights on their way from memory to the registers; many do, too, where unpacking hides behind the products
 * (VNNI), and else meet them unpacked once into a buffer in the first-level cache. One token's arithmetic is the same
 * in every tile. */
#ifndef COMPUTE_SIMD_MATMUL_TEMPLATE_H
#define COMPUTE_SIMD_MATMUL_TEMPLATE_H

#include "base/check.h"
#include "compute/compute.h"
#include "compute/layout.h"

#define MOST_TOKENS 12 /* of any tile */

enum {
    HALVES = COMPUTE_PANEL_ROWS / WIDTH,
    PREFETCH_AHEAD_BYTES = 4096,
    IN_ORDER_TOKENS = 16,
    BLOCK_PANELS = 4, /* panels that meet a tile: unpacked, they take half the first-level cache */
};

/* ---- starts: what each token brings to each group ---------------------------------------------- */

/* For group g at [2g] (Q6_K: for 16 columns at [2g], [2g + 1]): symmetric types −offset · Σq as int32,
 * affine ones Σq as float, in the same 64 bytes. */
typedef union starts {
    int32_t i[16];
    float f[16];
} starts;

ALWAYS_INLINE int start_offset(dtype type) { return PLAIN_Q8 && type == DTYPE_Q8_0 ? 0 : layout_offset(type); }

ALWAYS_INLINE bool has_starts(dtype type) { return layout_is_affine(type) || start_offset(type); }

ALWAYS_INLINE void starts_of(dtype type, const int32_t *sum16, starts *out) {
    const int shift = type == DTYPE_Q4_0 ? 3 : type == DTYPE_Q5_0 ? 4 : type == DTYPE_Q6_K ? 5 : 7; /* of the offset */
    UNROLL(2)
    for (int i = 0; i < 16; i += WIDTH) {
        vi v = vi_load(sum16 + i);
        if (type != DTYPE_Q6_K) v = vi_add_neighbour(v);
        if (layout_is_affine(type)) vf_store(out->f + i, vf_of_vi(v));
        else vi_store(out->i + i, vi_negated_shift(v, shift));
    }
}

/* ---- weights of one group ------------------------------------------------------------------------ */

ALWAYS_INLINE int largest_weight(dtype type) {
    return type == DTYPE_Q8_0 ? 255 : type == DTYPE_Q6_K ? 63
         : type == DTYPE_Q5_0 || type == DTYPE_Q5_1 || type == DTYPE_Q5_K ? 31 : 15;
}

ALWAYS_INLINE bool has_scale_table(dtype type) {
    return type == DTYPE_Q4_K || type == DTYPE_Q5_K || type == DTYPE_Q6_K;
}

/* Groups whose unpacking differs by constants. */
ALWAYS_INLINE uint32_t groups_together(dtype type) {
    return type == DTYPE_Q6_K ? 4 : type == DTYPE_Q4_K || type == DTYPE_Q5_K ? 2 : 1;
}

/* k-step i of group g (whose place among groups_together is the constant `place`). */
ALWAYS_INLINE vi step_weights(dtype type, const superblock *s, uint32_t g, uint32_t place, uint32_t i, int half) {
    const uint8_t *q = s->q + half * (STEP_BYTES / HALVES);
    vi w;
    if (type == DTYPE_Q8_0) {
        w = vi_load(q + (8 * g + i) * STEP_BYTES);
        return PLAIN_Q8 ? vi_flip_signs(w) : w;
    }
    if (type == DTYPE_Q6_K) {
        const uint8_t *high = s->high + half * (STEP_BYTES / HALVES);
        w = nibbles(vi_load(q + (4 * (g - place) + 8 * (place & 1) + i) * STEP_BYTES), place >> 1);
        return bit_pairs(w, vi_load(high + (2 * (g - place) + i) * STEP_BYTES), (int)place);
    }
    if (type == DTYPE_Q4_K || type == DTYPE_Q5_K) w = nibbles(vi_load(q + (4 * (g - place) + i) * STEP_BYTES), place);
    else w = nibbles(vi_load(q + (4 * g + i % 4) * STEP_BYTES), i / 4);
    bool five = type == DTYPE_Q5_0 || type == DTYPE_Q5_1 || type == DTYPE_Q5_K;
    return five ? fifth_bits(w, s->high + (8 * g + i) * 8, half) : w;
}

/* K types: float scales and minimums of all groups of a superblock. */
typedef struct scale_table {
    _Alignas(64) float scale[16][COMPUTE_PANEL_ROWS];
    float min[SUPER_GROUPS][COMPUTE_PANEL_ROWS];
} scale_table;

ALWAYS_INLINE bytes16 bytes16_at(const uint8_t *p) {
    bytes16 b;
    memcpy(&b, p, sizeof b);
    return b;
}

ALWAYS_INLINE void put_scales(const uint8_t *halves, bytes16 six, bool negate, float *to) {
    UNROLL(2)
    for (int half = 0; half < HALVES; half++) {
        vf v = vf_mul(vf_f16_load(halves + half * 2 * WIDTH), vf_of_u8(six, half));
        vf_store(to + half * WIDTH, negate ? vf_negate(v) : v);
    }
}

ALWAYS_INLINE void k_scales(const superblock *s, scale_table *t) {
    UNROLL(4)
    for (uint32_t g = 0; g < 4; g++) {
        bytes16 a = bytes16_at(s->sc + 16 * g), b = bytes16_at(s->sc + 16 * (g + 4));
        bytes16 c = bytes16_at(s->sc + 16 * (g + 8));
        put_scales(s->d, a & 0x3F3F, false, t->scale[g]);
        put_scales(s->m, b & 0x3F3F, true, t->min[g]);
        put_scales(s->d, (c & 0x0F0F) | (a >> 2 & 0x3030), false, t->scale[g + 4]);
        put_scales(s->m, (c >> 4 & 0x0F0F) | (b >> 2 & 0x3030), true, t->min[g + 4]);
    }
}

ALWAYS_INLINE void q6k_scales(const superblock *s, scale_table *t) {
    for (uint32_t i = 0; i < 16; i++) {
        UNROLL(2)
        for (int half = 0; half < HALVES; half++)
            vf_store(t->scale[i] + half * WIDTH, vf_mul(vf_f16_load(s->d + half * 2 * WIDTH),
                                                        vf_of_i8(bytes16_at(s->sc + 16 * i), half)));
    }
}

/* ---- a tile of T tokens and one panel, over one superblock ------------------------------------------- */

/* One panel's superblock: as packed, or with its weights unpacked (one byte each) and its scales as floats. */
typedef struct panel_source {
    superblock s;
    const uint8_t *w; /* [8 groups][8 k-steps][64], when unpacked */
    const scale_table *table;
} panel_source;

/* What a tile's tokens bring to one superblock: their blocks, one after the other, and what follows from their sums. */
typedef struct tile_acts {
    const compute_act *act;
    bool reads; /* the first tile to meet these weights: it asks for those that come next */
    _Alignas(64) starts from[MOST_TOKENS];
} tile_acts;

/* Tokens are the inner loop: their chains are independent, and a step's weights live only as long as the step. */
ALWAYS_INLINE void dot_steps(dtype type, const bool unpacked, const int T, const panel_source *src, uint32_t g,
                             uint32_t place, int half, uint32_t first, uint32_t n, const tile_acts *a, vi dot[]) {
    const uint32_t together = steps_together(largest_weight(type));
    UNROLL(8)
    for (uint32_t i = first; i < first + n; i += together) {
        vi sum[MOST_TOKENS];
        UNROLL(8)
        for (uint32_t j = i; j < i + together; j++) {
            vi w = unpacked ? vi_load(src->w + (8 * g + j) * STEP_BYTES + half * 4 * WIDTH)
                            : step_weights(type, &src->s, g, place, j, half);
            UNROLL(MOST_TOKENS)
            for (int t = 0; t < T; t++) {
                const int8_t *four_q = a->act[t].q + g * GROUP_COLS + 4 * j;
                if (STEPS_TO_INT32) {
                    dot[t] = step_dot(type == DTYPE_Q6_K, dot[t], w, four_q);
                    continue;
                }
                vi four = four_activations(four_q);
                sum[t] = j > i ? pairs_add(sum[t], w, four) : pairs_of(largest_weight(type), w, four);
            }
        }
        if (STEPS_TO_INT32) continue;
        UNROLL(MOST_TOKENS)
        for (int t = 0; t < T; t++) dot[t] = pairs_fold(dot[t], sum[t]);
    }
}

ALWAYS_INLINE vf group_scale(dtype type, const bool unpacked, const panel_source *src, uint32_t g, uint32_t part,
                             int half) {
    if (type == DTYPE_Q6_K) return vf_load(src->table->scale[2 * g + part] + half * WIDTH);
    if (unpacked || has_scale_table(type)) return vf_load(src->table->scale[g] + half * WIDTH);
    return vf_f16_load(src->s.d + 32 * g + (uint32_t)half * 2 * WIDTH);
}

ALWAYS_INLINE vf group_min(dtype type, const bool unpacked, const panel_source *src, uint32_t g, int half) {
    if (unpacked || has_scale_table(type)) return vf_load(src->table->min[g] + half * WIDTH);
    return vf_f16_load(src->s.m + 32 * g + (uint32_t)half * 2 * WIDTH);
}

/* acc += one group. */
ALWAYS_INLINE void group_into(dtype type, const bool unpacked, const int T, const panel_source *src, uint32_t g,
                              uint32_t place, int half, const tile_acts *a, vf acc[]) {
    const uint32_t parts = type == DTYPE_Q6_K ? 2 : 1;
    const bool from_zero = layout_is_affine(type) || start_offset(type) == 0;
    UNROLL(2)
    for (uint32_t part = 0; part < parts; part++) {
        vi dot[MOST_TOKENS];
        UNROLL(MOST_TOKENS)
        for (int t = 0; t < T; t++) dot[t] = vi_set1(from_zero ? 0 : a->from[t].i[2 * g + part]);
        dot_steps(type, unpacked, T, src, g, place, half, part * 4, 8 / parts, a, dot);
        vf scale = group_scale(type, unpacked, src, g, part, half);
        UNROLL(MOST_TOKENS)
        for (int t = 0; t < T; t++) acc[t] = vf_fma(scale, vf_of_vi(dot[t]), acc[t]);
    }
    if (!layout_is_affine(type)) return;
    vf min = group_min(type, unpacked, src, g, half);
    UNROLL(MOST_TOKENS)
    for (int t = 0; t < T; t++) acc[t] = vf_fma(min, vf_set1(a->from[t].f[2 * g]), acc[t]);
}

ALWAYS_INLINE void prefetch_group(dtype type, const superblock *s, uint32_t g) {
    const char *ahead = (const char *)s->base + g * layout_group_bytes(type) + PREFETCH_AHEAD_BYTES;
    UNROLL(9)
    for (uint32_t i = 0; i < layout_group_bytes(type); i += 64) __builtin_prefetch(ahead + i);
}

ALWAYS_INLINE void zero_sums(const int n, vf acc[]) {
    UNROLL(MOST_TOKENS)
    for (int t = 0; t < n; t++) acc[t] = vf_zero();
}

ALWAYS_INLINE void scale_into(const int T, const tile_acts *a, uint32_t g, const vf acc[], vf total[]) {
    UNROLL(MOST_TOKENS)
    for (int t = 0; t < T; t++) total[t] = vf_fma(acc[t], vf_set1(a->act[t].scale[g]), total[t]);
}

/* One panel's results for a block of tokens, while they grow. */
typedef float panel_sums[BLOCK_PANELS][COMPUTE_PANEL_ROWS];

ALWAYS_INLINE void load_sums(const int T, panel_sums *sums, uint32_t panel, int half, vf total[]) {
    UNROLL(MOST_TOKENS)
    for (int t = 0; t < T; t++) total[t] = vf_load(sums[t][panel] + half * WIDTH);
}

/* sums = fma(sum, activation scale, sums), for each group; for K types, each superblock. */
ALWAYS_INLINE void tile_superblock(dtype type, const bool unpacked, const int T, const panel_source *src,
                                   uint32_t n_groups, const tile_acts *a, panel_sums *sums, uint32_t panel) {
    const uint32_t together = unpacked ? 1 : groups_together(type);
    const bool k = layout_is_k(type);
    UNROLL(2)
    for (int half = 0; half < HALVES; half++) {
        vf acc[MOST_TOKENS], total[MOST_TOKENS];
        zero_sums(T, acc);
        if (!k) load_sums(T, sums, panel, half, total);
        for (uint32_t g = 0; g < n_groups; g += together) {
            UNROLL(4)
            for (uint32_t place = 0; place < together; place++) {
                if (!unpacked && half == 0 && (T == 1 || a->reads)) prefetch_group(type, &src->s, g + place);
                group_into(type, unpacked, T, src, g + place, place, half, a, acc);
                if (k) continue;
                scale_into(T, a, g + place, acc, total);
                zero_sums(T, acc);
            }
        }
        if (k) {
            load_sums(T, sums, panel, half, total);
            scale_into(T, a, 0, acc, total);
        }
        UNROLL(MOST_TOKENS)
        for (int t = 0; t < T; t++) vf_store(sums[t][panel] + half * WIDTH, total[t]);
    }
}

/* ---- a block of tokens and a few panels ------------------------------------------------------------- */

typedef struct unpacked {
    _Alignas(64) uint8_t w[SUPER_GROUPS][8][STEP_BYTES];
    scale_table table;
} unpacked;

ALWAYS_INLINE void unpack_scales(dtype type, const superblock *s, uint32_t n_groups, scale_table *t) {
    if (type == DTYPE_Q6_K) {
        q6k_scales(s, t);
    } else if (has_scale_table(type)) {
        k_scales(s, t);
    } else {
        for (uint32_t i = 0; i < n_groups * COMPUTE_PANEL_ROWS; i += WIDTH) {
            vf_store(t->scale[0] + i, vf_f16_load(s->d + 2 * i));
            if (layout_is_affine(type)) vf_store(t->min[0] + i, vf_f16_load(s->m + 2 * i));
        }
    }
}

/* Fills u with what tiles want of a superblock; src points at the packed bytes where they are as wanted already. */
ALWAYS_INLINE void open_superblock(dtype type, const bool many, const uint8_t *at, uint32_t n_groups, unpacked *u,
                                   panel_source *src) {
    src->s = layout_superblock(type, at, n_groups);
    src->table = &u->table;
    src->w = u->w[0][0];
    if (many || has_scale_table(type)) unpack_scales(type, &src->s, n_groups, &u->table);
    if (!many) return;
    if (type == DTYPE_Q8_0 && !PLAIN_Q8) {
        src->w = src->s.q;
        return;
    }
    const uint32_t together = groups_together(type);
    for (uint32_t g = 0; g < n_groups; g += together) {
        UNROLL(4)
        for (uint32_t place = 0; place < together; place++) {
            UNROLL(8)
            for (uint32_t i = 0; i < 8; i++) {
                UNROLL(2)
                for (int half = 0; half < HALVES; half++)
                    vi_store(u->w[g + place][i] + half * 4 * WIDTH, step_weights(type, &src->s, g + place, place,
                                                                                 i, half));
            }
        }
    }
}

typedef struct block {
    const uint8_t *panel; /* the first one; the others follow */
    size_t panel_bytes;
    uint32_t n_panels;
    const compute_acts *acts;
    uint32_t t0, n; /* tokens */
    float *out;     /* of the first panel */
    size_t out_stride;
} block;

ALWAYS_INLINE void block_tile(dtype type, const bool many, const int T, const block *b, const panel_source *src,
                              uint32_t n_groups, const compute_act *act, const panel_sums *first, panel_sums *sums) {
    tile_acts a;
    a.act = act;
    a.reads = sums == first;
    if (has_starts(type))
        for (int t = 0; t < T; t++) starts_of(type, act[t].sum16, &a.from[t]);
    for (uint32_t p = 0; p < b->n_panels; p++) tile_superblock(type, many, T, &src[p], n_groups, &a, sums, p);
}

/* many: whether superblocks are unpacked into a buffer; what is left of a block's tokens never needs it. */
ALWAYS_INLINE void block_panels(dtype type, const bool many, const block *b, panel_sums *sums) {
    unpacked u[BLOCK_PANELS];
    panel_source src[BLOCK_PANELS];
    memset(sums, 0, b->n * sizeof sums[0]);
    for (uint32_t col = 0; col < b->acts->cols; col += SUPER_COLS) {
        uint32_t left = b->acts->cols - col, n_groups = left < SUPER_COLS ? left / GROUP_COLS : SUPER_GROUPS, t = 0;
        size_t at = (size_t)(col / GROUP_COLS) * layout_group_bytes(type);
        const compute_act *act = b->acts->acts + col / SUPER_COLS * b->acts->stride + b->t0;
        for (uint32_t p = 0; p < b->n_panels; p++)
            open_superblock(type, many, b->panel + p * b->panel_bytes + at, n_groups, &u[p], &src[p]);
        /* 16 are two tiles of 8: what is left over would be dear */
        for (; t + TILE_TOKENS <= b->n && !(TILE_TOKENS > 8 && b->n - t == 16); t += TILE_TOKENS)
            block_tile(type, many, TILE_TOKENS, b, src, n_groups, act + t, sums, sums + t);
        for (; TILE_TOKENS > 8 && t + 8 <= b->n; t += 8)
            block_tile(type, false, 8, b, src, n_groups, act + t, sums, sums + t);
        for (; TILE_TOKENS > 4 && t + 4 <= b->n; t += 4)
            block_tile(type, false, 4, b, src, n_groups, act + t, sums, sums + t);
        for (; t + 2 <= b->n; t += 2) block_tile(type, false, 2, b, src, n_groups, act + t, sums, sums + t);
        if (t < b->n) block_tile(type, false, 1, b, src, n_groups, act + t, sums, sums + t);
    }
    for (uint32_t t = 0; t < b->n; t++)
        memcpy(b->out + (b->t0 + t) * b->out_stride, sums[t], b->n_panels * sizeof sums[t][0]);
}

/* Panels inside blocks of tokens, so that a panel is read from memory once a block. */
ALWAYS_INLINE void matmul_quantised(dtype type, const uint8_t *packed, uint32_t panel0, uint32_t panel1,
                                    const compute_acts *acts, float *out, size_t out_stride) {
    uint32_t n = acts->n_tokens, n_blocks = n / BLOCK_TOKENS + 1;
    uint32_t even = ((n + n_blocks - 1) / n_blocks + TILE_TOKENS - 1) / TILE_TOKENS * TILE_TOKENS;
    const uint32_t few = FEW_TOKENS;
    /* Few tokens wait for memory: it is read in order, and panels side by side would displace each other's lines. */
    uint32_t together = n <= IN_ORDER_TOKENS ? 1 : BLOCK_PANELS;
    _Alignas(64) panel_sums sums[BLOCK_TOKENS];
    block b = {.panel_bytes = compute_panel_bytes(type, acts->cols), .acts = acts, .out_stride = out_stride};
    for (b.t0 = 0; b.t0 < n; b.t0 += b.n) {
        b.n = n - b.t0 < even ? n - b.t0 : even;
        for (uint32_t p = panel0; p < panel1; p += together) {
            b.panel = packed + p * b.panel_bytes;
            b.n_panels = panel1 - p < together ? panel1 - p : together;
            b.out = out + (size_t)p * COMPUTE_PANEL_ROWS;
            if (few >= BLOCK_TOKENS || b.n <= few) block_panels(type, false, &b, sums);
            else block_panels(type, true, &b, sums);
        }
    }
}

/* ---- float types ------------------------------------------------------------------------------------ */

ALWAYS_INLINE vf float_weights(dtype type, const uint8_t *panel, size_t k, int half) {
    size_t at = k * COMPUTE_PANEL_ROWS + (size_t)half * WIDTH;
    if (type == DTYPE_F32) return vf_load((const float *)(const void *)panel + at);
    return type == DTYPE_F16 ? vf_f16_load(panel + 2 * at) : vf_bf16_load(panel + 2 * at);
}

/* P panels × T tokens, each with its own chain of FMAs. */
ALWAYS_INLINE void float_tile(dtype type, const int P, const int T, const uint8_t *panel, size_t panel_bytes,
                              const compute_acts *acts, uint32_t t0, float *out, size_t out_stride) {
    const float *x = acts->x + (size_t)t0 * acts->cols;
    for (int half = 0; half < HALVES; half++) {
        vf total[16];
        UNROLL(16)
        for (int i = 0; i < P * T; i++) total[i] = vf_zero();
        for (uint32_t k = 0; k < acts->cols; k++) {
            UNROLL(4)
            for (int p = 0; p < P; p++) {
                vf w = float_weights(type, panel + (size_t)p * panel_bytes, k, half);
                UNROLL(8)
                for (int t = 0; t < T; t++)
                    total[p * T + t] = vf_fma(w, vf_set1(x[(size_t)t * acts->cols + k]), total[p * T + t]);
            }
        }
        UNROLL(16)
        for (int i = 0; i < P * T; i++)
            vf_store(out + (t0 + (uint32_t)(i % T)) * out_stride + i / T * COMPUTE_PANEL_ROWS + half * WIDTH, total[i]);
    }
}

/* P panels against tokens from t on, TILE_TOKENS at a time. */
ALWAYS_INLINE void float_panels(dtype type, const int P, const uint8_t *panel, size_t panel_bytes,
                                const compute_acts *acts, float *out, size_t out_stride) {
    uint32_t t = 0, end = acts->n_tokens;
    for (; t + 4 <= end; t += 4) float_tile(type, P, 4, panel, panel_bytes, acts, t, out, out_stride);
    for (; t < end; t++) float_tile(type, P, 1, panel, panel_bytes, acts, t, out, out_stride);
}

ALWAYS_INLINE void matmul_float(dtype type, const uint8_t *packed, uint32_t panel0, uint32_t panel1,
                                const compute_acts *acts, float *out, size_t out_stride) {
    enum { TOGETHER = WIDTH == 16 ? 4 : 2 };
    size_t panel_bytes = compute_panel_bytes(type, acts->cols);
    uint32_t p = panel0;
    for (; p + TOGETHER <= panel1; p += TOGETHER)
        float_panels(type, TOGETHER, packed + p * panel_bytes, panel_bytes, acts,
                     out + (size_t)p * COMPUTE_PANEL_ROWS, out_stride);
    for (; p < panel1; p++)
        float_panels(type, 1, packed + p * panel_bytes, panel_bytes, acts, out + (size_t)p * COMPUTE_PANEL_ROWS,
                     out_stride);
}

/* ---- one function for each type, so that each is optimised by itself --------------------------------- */

#define MATMUL(kind, name)                                                                                      \
    static __attribute__((noinline)) void matmul_##name(const uint8_t *packed, uint32_t panel0, uint32_t panel1, \
                                                        const compute_acts *acts, float *out, size_t stride) {  \
        matmul_##kind(DTYPE_##name, packed, panel0, panel1, acts, out, stride);                                 \
    }
MATMUL(float, F32)
MATMUL(float, F16)
MATMUL(float, BF16)
MATMUL(quantised, Q4_0)
MATMUL(quantised, Q4_1)
MATMUL(quantised, Q5_0)
MATMUL(quantised, Q5_1)
MATMUL(quantised, Q8_0)
MATMUL(quantised, Q4_K)
MATMUL(quantised, Q5_K)
MATMUL(quantised, Q6_K)
#undef MATMUL

static void matmul(dtype type, const void *packed, uint32_t cols, uint32_t panel0, uint32_t panel1,
                   const compute_acts *acts, float *out, size_t out_stride) {
    CHECK(acts->cols == cols && cols > 0);
    switch (type) {
#define CASE(name) \
    case DTYPE_##name: matmul_##name(packed, panel0, panel1, acts, out, out_stride); return;
        CASE(F32) CASE(F16) CASE(BF16) CASE(Q4_0) CASE(Q4_1) CASE(Q5_0) CASE(Q5_1) CASE(Q8_0)
        CASE(Q4_K) CASE(Q5_K) CASE(Q6_K)
#undef CASE
    default:
        CHECK(false); /* a type that compute_type_supported refuses */
    }
}

#endif
