/* compute/x86/matmul_template — the one matmul for every type and instruction set. An ISA file defines the
 * operations listed below and includes this; `type` and the tile sizes are constants wherever they matter, so that each
 * combination becomes straight code.
 *
 *   WIDTH                            rows per vector (16 or 8)
 *   TILE_PANELS, TILE_TOKENS         a tile's sides: as many sums as the registers hold
 *   PLAIN_Q8                         Q8_0 weights are used signed (no offset)
 *   vi, vf                           vectors of WIDTH int32 / float; vi_… vf_… what their names say
 *   vf_of_u8(__m128i, half), vf_of_i8(__m128i, half)
 *   nibbles(v, high)                 four-bit weights of a k-step
 *   fifth_bits(v, mask, half)        adds 16 where the k-step's mask has a bit
 *   bit_pairs(v, high, chunk)        adds bits 2·chunk of high as weights' bits 4 and 5
 *   four_activations(q)              4 activations in every row's place
 *   STEPS_TO_INT32                   whether step_dot(sum, w, four) adds a k-step to int32 sums at once; else
 *   steps_together(most)             k-steps whose 16-bit sums of pairs cannot overflow, weights up to most:
 *   pairs_of(most, w, four) pairs_add(sum, w, four) pairs_fold(dot, sum)
 *
 * Two ways of the same arithmetic. Few tokens (decode): weights are unpacked on the way from memory to
 * the registers, one panel at a time; groups are independent up to their one FMA, so the out-of-order
 * window hides the chains. Many tokens (prefill, batched decode): a superblock of TILE_PANELS panels is
 * unpacked once into a buffer in the first-level cache and meets a block of tokens from there; each
 * broadcast activation serves all panels of the tile, because a load for every product would leave the
 * multipliers waiting for the load ports. */
#ifndef COMPUTE_X86_MATMUL_TEMPLATE_H
#define COMPUTE_X86_MATMUL_TEMPLATE_H

#include "base/check.h"
#include "compute/compute.h"
#include "compute/layout.h"

#define TILE_SUMS (TILE_PANELS * TILE_TOKENS)
#define DIRECT_TOKENS (TILE_SUMS >= 8 ? 8 : 4) /* of a tile of one panel, straight from memory: at most */
#define MOST_TOKENS 8                          /* of any tile */

enum {
    HALVES = COMPUTE_PANEL_ROWS / WIDTH,
    PREFETCH_AHEAD_BYTES = 4096,
    TOKENS_CACHE_BYTES = 768 * 1024, /* activations worked on together stay in the second-level cache */
    BLOCK_TOKENS = 96,               /* tokens that meet one unpacked superblock */
    FEW_TOKENS = TILE_SUMS >= 8 ? 32 : 5, /* up to here weights go straight to the registers */
    REST_TOKENS = 2,                 /* tile for what a block leaves over */
};

/* ---- starts: what each token brings to each group ---------------------------------------------- */

/* For group g at [2g] (Q6_K: for 16 columns at [2g], [2g + 1]): symmetric types −offset · Σq as int32,
 * affine ones Σq as float, in the same 64 bytes. */
typedef union starts {
    int32_t i[16];
    float f[16];
} starts;

ALWAYS_INLINE int start_offset(dtype type) { return PLAIN_Q8 && type == DTYPE_Q8_0 ? 0 : layout_offset(type); }

ALWAYS_INLINE void starts_of(dtype type, const int32_t *sum16, uint32_t n_groups, starts *out) {
    const int shift = type == DTYPE_Q4_0 ? 3 : type == DTYPE_Q5_0 ? 4 : type == DTYPE_Q6_K ? 5 : 7; /* of the offset */
    _Alignas(64) int32_t padded[16];
    if (n_groups < SUPER_GROUPS) {
        memset(padded, 0, sizeof padded);
        memcpy(padded, sum16, n_groups * 2 * sizeof *sum16);
        sum16 = padded;
    }
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

ALWAYS_INLINE __m128i bytes16(const uint8_t *p) { return _mm_loadu_si128((const __m128i *)(const void *)p); }

ALWAYS_INLINE void put_scales(const uint8_t *halves, __m128i six, bool negate, float *to) {
    UNROLL(2)
    for (int half = 0; half < HALVES; half++) {
        vf v = vf_mul(vf_f16_load(halves + half * 2 * WIDTH), vf_of_u8(six, half));
        vf_store(to + half * WIDTH, negate ? vf_negate(v) : v);
    }
}

ALWAYS_INLINE void k_scales(const superblock *s, scale_table *t) {
    const __m128i low6 = _mm_set1_epi8(63), low4 = _mm_set1_epi8(15), high2 = _mm_set1_epi8(0x30);
    UNROLL(4)
    for (uint32_t g = 0; g < 4; g++) {
        __m128i a = bytes16(s->sc + 16 * g), b = bytes16(s->sc + 16 * (g + 4)), c = bytes16(s->sc + 16 * (g + 8));
        put_scales(s->d, _mm_and_si128(a, low6), false, t->scale[g]);
        put_scales(s->m, _mm_and_si128(b, low6), true, t->min[g]);
        __m128i a2 = _mm_and_si128(_mm_srli_epi16(a, 2), high2), b2 = _mm_and_si128(_mm_srli_epi16(b, 2), high2);
        put_scales(s->d, _mm_or_si128(_mm_and_si128(c, low4), a2), false, t->scale[g + 4]);
        put_scales(s->m, _mm_or_si128(_mm_and_si128(_mm_srli_epi16(c, 4), low4), b2), true, t->min[g + 4]);
    }
}

ALWAYS_INLINE void q6k_scales(const superblock *s, scale_table *t) {
    for (uint32_t i = 0; i < 16; i++) {
        UNROLL(2)
        for (int half = 0; half < HALVES; half++)
            vf_store(t->scale[i] + half * WIDTH, vf_mul(vf_f16_load(s->d + half * 2 * WIDTH),
                                                        vf_of_i8(bytes16(s->sc + 16 * i), half)));
    }
}

/* ---- a tile of P panels × T tokens, over one superblock ------------------------------------------ */

/* One panel's superblock: as packed, or with its weights unpacked (one byte each) and its scales as floats. */
typedef struct panel_source {
    superblock s;
    const uint8_t *w; /* [8 groups][8 k-steps][64], when unpacked */
    const scale_table *table;
} panel_source;

typedef struct token_source {
    const int8_t *q;
    const int32_t *sum16;
    const float *scale;
    float *out;
} token_source;

/* Tokens are the inner loop: their chains are independent, and a step's weights live only as long as the step. */
ALWAYS_INLINE void dot_steps(dtype type, const bool unpacked, const int P, const int T, const panel_source *src,
                             uint32_t g, uint32_t place, int half, uint32_t first, uint32_t n,
                             const int8_t *const q[], vi dot[]) {
    const uint32_t together = steps_together(largest_weight(type));
    UNROLL(8)
    for (uint32_t i = first; i < first + n; i += together) {
        vi sum[TILE_SUMS];
        UNROLL(8)
        for (uint32_t j = i; j < i + together; j++) {
            vi w[TILE_PANELS];
            UNROLL(TILE_PANELS)
            for (int p = 0; p < P; p++)
                w[p] = unpacked ? vi_load(src[p].w + (8 * g + j) * STEP_BYTES + half * 4 * WIDTH)
                                : step_weights(type, &src[p].s, g, place, j, half);
            UNROLL(MOST_TOKENS)
            for (int t = 0; t < T; t++) {
                vi four = four_activations(q[t] + g * GROUP_COLS + 4 * j);
                UNROLL(TILE_PANELS)
                for (int p = 0; p < P; p++) {
                    int at = p * T + t;
                    if (STEPS_TO_INT32) dot[at] = step_dot(dot[at], w[p], four);
                    else sum[at] = j > i ? pairs_add(sum[at], w[p], four) : pairs_of(largest_weight(type), w[p], four);
                }
            }
        }
        if (STEPS_TO_INT32) continue;
        UNROLL(TILE_SUMS)
        for (int at = 0; at < P * T; at++) dot[at] = pairs_fold(dot[at], sum[at]);
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
ALWAYS_INLINE void group_into(dtype type, const bool unpacked, const int P, const int T, const panel_source *src,
                              uint32_t g, uint32_t place, int half, const starts *from,
                              const int8_t *const q[], vf acc[]) {
    const uint32_t parts = type == DTYPE_Q6_K ? 2 : 1;
    const bool from_zero = layout_is_affine(type) || start_offset(type) == 0;
    UNROLL(2)
    for (uint32_t part = 0; part < parts; part++) {
        vi dot[TILE_SUMS];
        UNROLL(TILE_SUMS)
        for (int at = 0; at < P * T; at++) dot[at] = vi_set1(from_zero ? 0 : from[at % T].i[2 * g + part]);
        dot_steps(type, unpacked, P, T, src, g, place, half, part * 4, 8 / parts, q, dot);
        UNROLL(TILE_PANELS)
        for (int p = 0; p < P; p++) {
            vf scale = group_scale(type, unpacked, &src[p], g, part, half);
            UNROLL(MOST_TOKENS)
            for (int t = 0; t < T; t++) acc[p * T + t] = vf_fma(scale, vf_of_vi(dot[p * T + t]), acc[p * T + t]);
        }
    }
    if (!layout_is_affine(type)) return;
    UNROLL(TILE_PANELS)
    for (int p = 0; p < P; p++) {
        vf min = group_min(type, unpacked, &src[p], g, half);
        UNROLL(MOST_TOKENS)
        for (int t = 0; t < T; t++) acc[p * T + t] = vf_fma(min, vf_set1(from[t].f[2 * g]), acc[p * T + t]);
    }
}

ALWAYS_INLINE void prefetch_group(dtype type, const superblock *s, uint32_t g) {
    const char *ahead = (const char *)s->base + g * layout_group_bytes(type) + PREFETCH_AHEAD_BYTES;
    UNROLL(9)
    for (uint32_t i = 0; i < layout_group_bytes(type); i += 64) _mm_prefetch(ahead + i, _MM_HINT_T0);
}

ALWAYS_INLINE void zero_sums(const int n, vf acc[]) {
    UNROLL(TILE_SUMS)
    for (int at = 0; at < n; at++) acc[at] = vf_zero();
}

ALWAYS_INLINE void scale_into(const int P, const int T, const token_source *tokens, uint32_t g, const vf acc[],
                              vf total[]) {
    UNROLL(TILE_SUMS)
    for (int at = 0; at < P * T; at++) total[at] = vf_fma(acc[at], vf_set1(tokens[at % T].scale[g]), total[at]);
}

/* total[half][panel · T + token] = fma(sum, activation scale, total), for each group; for K types, each superblock. */
ALWAYS_INLINE void tile_superblock(dtype type, const bool unpacked, const int P, const int T, const panel_source *src,
                                   uint32_t n_groups, const token_source *tokens, vf total[HALVES][TILE_SUMS]) {
    const uint32_t together = unpacked ? 1 : groups_together(type);
    _Alignas(64) starts from[MOST_TOKENS];
    const int8_t *q[MOST_TOKENS];
    UNROLL(MOST_TOKENS)
    for (int t = 0; t < T; t++) {
        if (layout_is_affine(type) || start_offset(type)) starts_of(type, tokens[t].sum16, n_groups, &from[t]);
        q[t] = tokens[t].q;
    }
    UNROLL(2)
    for (int half = 0; half < HALVES; half++) {
        vf acc[TILE_SUMS];
        zero_sums(P * T, acc);
        for (uint32_t g = 0; g < n_groups; g += together) {
            UNROLL(4)
            for (uint32_t place = 0; place < together; place++) {
                if (!unpacked && T == 1 && half == 0) prefetch_group(type, &src->s, g + place);
                group_into(type, unpacked, P, T, src, g + place, place, half, from, q, acc);
                if (layout_is_k(type)) continue;
                scale_into(P, T, tokens, g + place, acc, total[half]);
                zero_sums(P * T, acc);
            }
        }
        if (layout_is_k(type)) scale_into(P, T, tokens, 0, acc, total[half]);
    }
}

ALWAYS_INLINE token_source token_at(const compute_acts *acts, uint32_t t, uint32_t col, float *out) {
    return (token_source){
        .q = acts->q + (size_t)t * compute_act_q_stride(acts->cols) + col,
        .sum16 = acts->sum16 + (size_t)t * compute_act_sum_stride(acts->cols) + col / COMPUTE_SUM_GROUP,
        .scale = acts->scale + (size_t)t * compute_act_scale_stride(acts->cols) + col / COMPUTE_ACT_GROUP,
        .out = out,
    };
}

ALWAYS_INLINE uint32_t groups_at(uint32_t cols, uint32_t col) {
    return cols - col < SUPER_COLS ? (cols - col) / GROUP_COLS : SUPER_GROUPS;
}

/* ---- few tokens: one panel, straight from memory ---------------------------------------------------- */

ALWAYS_INLINE void direct_tile(dtype type, const int T, const uint8_t *panel, const compute_acts *acts, uint32_t t0,
                               float *out, size_t out_stride) {
    vf total[HALVES][TILE_SUMS];
    for (int half = 0; half < HALVES; half++) {
        UNROLL(TILE_SUMS)
        for (int t = 0; t < T; t++) total[half][t] = vf_zero();
    }
    for (uint32_t col = 0; col < acts->cols; col += SUPER_COLS) {
        uint32_t n_groups = groups_at(acts->cols, col);
        scale_table table;
        panel_source src = {.table = &table};
        src.s = layout_superblock(type, panel + (size_t)(col / GROUP_COLS) * layout_group_bytes(type), n_groups);
        if (type == DTYPE_Q6_K) q6k_scales(&src.s, &table);
        else if (has_scale_table(type)) k_scales(&src.s, &table);
        token_source tokens[DIRECT_TOKENS];
        for (int t = 0; t < T; t++) tokens[t] = token_at(acts, t0 + (uint32_t)t, col, NULL);
        tile_superblock(type, false, 1, T, &src, n_groups, tokens, total);
    }
    for (int t = 0; t < T; t++)
        for (int half = 0; half < HALVES; half++)
            vf_store(out + (t0 + (uint32_t)t) * out_stride + half * WIDTH, total[half][t]);
}

ALWAYS_INLINE void matmul_direct(dtype type, const uint8_t *packed, uint32_t panel0, uint32_t panel1,
                                 const compute_acts *acts, float *out, size_t out_stride) {
    size_t panel_bytes = compute_panel_bytes(type, acts->cols);
    for (uint32_t p = panel0; p < panel1; p++) {
        const uint8_t *panel = packed + p * panel_bytes;
        float *to = out + (size_t)p * COMPUTE_PANEL_ROWS;
        uint32_t t = 0, end = acts->n_tokens;
        for (; DIRECT_TOKENS == 8 && t + 8 <= end; t += 8)
            direct_tile(type, DIRECT_TOKENS, panel, acts, t, to, out_stride);
        for (; t + 4 <= end; t += 4) direct_tile(type, 4, panel, acts, t, to, out_stride);
        if (t + 2 <= end) direct_tile(type, 2, panel, acts, t, to, out_stride), t += 2;
        if (t < end) direct_tile(type, 1, panel, acts, t, to, out_stride);
    }
}

/* ---- many tokens: a block of them against an unpacked superblock of TILE_PANELS panels ----------------- */

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

/* Fills u, or points at the packed bytes where they are as wanted already. */
ALWAYS_INLINE void unpack_superblock(dtype type, const uint8_t *at, uint32_t n_groups, unpacked *u, panel_source *src) {
    src->s = layout_superblock(type, at, n_groups);
    src->table = &u->table;
    src->w = u->w[0][0];
    unpack_scales(type, &src->s, n_groups, &u->table);
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

ALWAYS_INLINE void block_tile(dtype type, const int T, const panel_source *src, uint32_t n_groups,
                              const compute_acts *acts, uint32_t t0, uint32_t last, uint32_t col,
                              float sums[][TILE_PANELS][COMPUTE_PANEL_ROWS]) {
    vf total[HALVES][TILE_SUMS];
    token_source tokens[TILE_TOKENS];
    /* A tile that reaches past the last token does that one again, to the same result. */
    UNROLL(MOST_TOKENS)
    for (int t = 0; t < T; t++) tokens[t] = token_at(acts, t0 + (uint32_t)t < last ? t0 + (uint32_t)t : last,
                                                     col, NULL);
    for (int half = 0; half < HALVES; half++) {
        UNROLL(TILE_SUMS)
        for (int at = 0; at < TILE_PANELS * T; at++) total[half][at] = vf_load(sums[at % T][at / T] + half * WIDTH);
    }
    tile_superblock(type, true, TILE_PANELS, T, src, n_groups, tokens, total);
    for (int half = 0; half < HALVES; half++) {
        UNROLL(TILE_SUMS)
        for (int at = 0; at < TILE_PANELS * T; at++) vf_store(sums[at % T][at / T] + half * WIDTH, total[half][at]);
    }
}

/* n tokens from t0 on against the panels at panel[], which stand in columns of out. */
ALWAYS_INLINE void block_panels(dtype type, const uint8_t *const panel[TILE_PANELS], float *const to[TILE_PANELS],
                                const compute_acts *acts, uint32_t t0, uint32_t n, size_t out_stride) {
    _Alignas(64) float sums[BLOCK_TOKENS + TILE_TOKENS][TILE_PANELS][COMPUTE_PANEL_ROWS];
    unpacked u[TILE_PANELS];
    memset(sums, 0, (n + TILE_TOKENS) * sizeof sums[0]);
    for (uint32_t col = 0; col < acts->cols; col += SUPER_COLS) {
        uint32_t n_groups = groups_at(acts->cols, col), t = 0;
        panel_source src[TILE_PANELS];
        for (int p = 0; p < TILE_PANELS; p++)
            unpack_superblock(type, panel[p] + (size_t)(col / GROUP_COLS) * layout_group_bytes(type), n_groups,
                              &u[p], &src[p]);
        for (; t + TILE_TOKENS <= n; t += TILE_TOKENS)
            block_tile(type, TILE_TOKENS, src, n_groups, acts, t0 + t, t0 + n - 1, col, &sums[t]);
        for (; t < n; t += REST_TOKENS)
            block_tile(type, REST_TOKENS, src, n_groups, acts, t0 + t, t0 + n - 1, col, &sums[t]);
    }
    for (uint32_t t = 0; t < n; t++)
        for (int p = 0; p < TILE_PANELS; p++)
            memcpy(to[p] + (t0 + t) * out_stride, sums[t][p], sizeof sums[t][p]);
}

/* Tokens by chunks that stay in cache, panels inside, so that a panel is read from memory once a chunk. */
ALWAYS_INLINE void matmul_blocks(dtype type, const uint8_t *packed, uint32_t panel0, uint32_t panel1,
                                 const compute_acts *acts, float *out, size_t out_stride) {
    size_t panel_bytes = compute_panel_bytes(type, acts->cols);
    uint32_t chunk = TOKENS_CACHE_BYTES / acts->cols / BLOCK_TOKENS * BLOCK_TOKENS;
    if (chunk < BLOCK_TOKENS) chunk = BLOCK_TOKENS;
    for (uint32_t first = 0; first < acts->n_tokens; first += chunk) {
        uint32_t end = acts->n_tokens - first < chunk ? acts->n_tokens : first + chunk;
        for (uint32_t p0 = panel0; p0 < panel1; p0 += TILE_PANELS) {
            const uint8_t *panel[TILE_PANELS];
            float *to[TILE_PANELS];
            for (uint32_t i = 0; i < TILE_PANELS; i++) { /* the last one stands in for one past the end */
                uint32_t p = p0 + i < panel1 ? p0 + i : panel1 - 1;
                panel[i] = packed + p * panel_bytes;
                to[i] = out + (size_t)p * COMPUTE_PANEL_ROWS;
            }
            for (uint32_t t = first; t < end; t += BLOCK_TOKENS)
                block_panels(type, panel, to, acts, t, end - t < BLOCK_TOKENS ? end - t : BLOCK_TOKENS, out_stride);
        }
    }
}

ALWAYS_INLINE void matmul_quantised(dtype type, const uint8_t *packed, uint32_t panel0, uint32_t panel1,
                                    const compute_acts *acts, float *out, size_t out_stride) {
    if (acts->n_tokens <= FEW_TOKENS) matmul_direct(type, packed, panel0, panel1, acts, out, out_stride);
    else matmul_blocks(type, packed, panel0, panel1, acts, out, out_stride);
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
