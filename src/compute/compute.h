/* compute/ — kernels over packed weights, activations and KV pages; the variant is chosen once.
 *
 * Owns the packed layout of weights, the arithmetic of every operation, and its order. Callers:
 * device/cpu. Knows no model names, allocates nothing, keeps no state but the chosen variant.
 *
 * THE CONTRACT OF BITS. Every variant (scalar reference, AVX2, AVX-512, VNNI, NEON) returns the same
 * bits as compute/ref for the same input, and a result for one token does not depend on which or how
 * many tokens are computed beside it, nor on how rows are split over threads:
 *   - integer dot products are exact, so their order is free;
 *   - float accumulation over k runs in ascending groups, one fused multiply-add a group and lane;
 *   - reductions over a vector use LANES (16) partial sums, element i going to lane i mod 16, folded
 *     as ((l0+l8)+(l4+l12)) + … : halves added pairwise 16→8→4→2→1;
 *   - exp, and all that uses it, is compute_exp's polynomial, not libm's.
 * Files are compiled with -ffp-contract=off; a fused multiply-add is written as one.
 *
 * PACKED LAYOUT. A weight matrix [rows × cols] is cut into panels of 16 rows (the last one padded with
 * zero rows). Inside a panel, the blocks of the 16 rows are interleaved so that one 64-byte vector
 * holds, for 16 rows, 4 consecutive columns (a "k-step"): what vpdpbusd wants, with the activation's
 * 4 bytes broadcast. Bytes are those of the file's blocks rearranged: packed size = 16-row-padded
 * file size. Each type's layout is written above its pack function in compute/pack.c.
 *
 * ACTIVATIONS for quantised types are int8 with one float scale per 32 columns, or per 256 for K types (written
 * 8 times; the last group may be shorter): the scale's group is as wide as the weights' blocks. They lie in blocks of
 * 256 columns, and all tokens' blocks of the same columns one after the other: in the order in which matmul meets them.
 * q = round-half-even(x · (127 / max|x|)) clamped to ±127, scale = max|x| / 127, and exact sums per 16 columns. A
 * group whose max|x| is below 2^-100 has scale 0 and q 0; NaN counts as 0, infinities as the largest finite value.
 * For a group g of 32 columns (Q6_K: 16), row r and token t:
 *     symmetric types (Q4_0 off 8, Q5_0 off 16, Q8_0 off 128, Q6_K off 32):
 *       i = Σ(w+off)·q − off·Σq ; acc = fma(scale_r, (float)i, acc)
 *     affine types (Q4_1 Q5_1 Q4_K Q5_K): acc = fma(scale_r, (float)Σ(w·q), acc) ; acc = fma(min_r, (float)Σq, acc)
 *       where for K types scale_r = d·sc and min_r = −(dmin·m), each product rounded to float once
 * and total = fma(acc, act_scale, total), acc = 0, at the end of every group of 32; for K types, of every 256.
 * F32/F16/BF16: total = fma(w, x, total) over ascending k, weights widened exactly to float.
 * Weights or activations that are not finite give results that are not, whose NaNs may differ in their bits.
 */
#ifndef COMPUTE_COMPUTE_H
#define COMPUTE_COMPUTE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/dtype.h"
#include "base/err.h"

enum {
    COMPUTE_PANEL_ROWS = 16,
    COMPUTE_ACT_COLS = 256,  /* columns per block of activations */
    COMPUTE_ACT_GROUP = 32,  /* columns per entry of an activation's scales */
    COMPUTE_ACT_GROUP_K = 256, /* columns that share one scale (8 equal entries) for K types */
    COMPUTE_SUM_GROUP = 16,  /* columns per activation sum */
    COMPUTE_PAGE_TOKENS = 16,  /* tokens per KV page; see attention below */
    COMPUTE_BLOCK_TOKENS = 128 /* positions that share a step of the running maximum */
};

/* ---- packed weights ---------------------------------------------------------------------- */

/* Types that can be packed (F32 F16 BF16 Q4_0 Q4_1 Q5_0 Q5_1 Q8_0 Q4_K Q5_K Q6_K). */
bool compute_type_supported(dtype type);

size_t compute_panel_bytes(dtype type, uint32_t cols);
size_t compute_packed_bytes(dtype type, uint32_t rows, uint32_t cols);

/* Packs n_rows (1–16) consecutive rows in the file's layout into one panel; missing rows become 0.
 * src and panel must not overlap. panel: 64-byte aligned. */
void compute_pack_panel(dtype type, uint32_t cols, uint32_t n_rows, const void *src, void *panel);

/* The exact values of one row of a packed matrix, as floats (embedding look-up; tests). */
void compute_unpack_row(dtype type, const void *packed, uint32_t cols, uint32_t row, float *out);

/* A row in the file's block layout to floats, and back with round-to-nearest (plain absmax/minmax
 * rounding, no search). For quantize, forge, tests; not hot. */
void compute_dequantize_row(dtype type, const void *row, uint32_t cols, float *out);
void compute_quantize_row(dtype type, const float *x, uint32_t cols, void *row);

uint16_t compute_f16_from_f32(float f); /* round to nearest even, IEEE half */
float compute_f32_from_f16(uint16_t h);
float compute_exp(float x); /* the polynomial every variant uses; 0 below −87.3, relative error < 2e-7 */

/* ---- activations ------------------------------------------------------------------------- */

/* One token's activations for 256 columns of quantised weights; what lies beyond the last column is 0. */
typedef struct compute_act {
    _Alignas(32) int8_t q[COMPUTE_ACT_COLS];
    int32_t sum16[COMPUTE_ACT_COLS / COMPUTE_SUM_GROUP];
    float scale[COMPUTE_ACT_COLS / COMPUTE_ACT_GROUP];
} compute_act;

/* n_tokens rows of activations. For float weight types only `x` is read; for quantised ones only `acts`. */
typedef struct compute_acts {
    uint32_t n_tokens, cols;
    const float *x;    /* [n_tokens][cols] */
    compute_act *acts; /* [ceil(cols / 256)][stride], of which the first n_tokens are filled */
    size_t stride;
} compute_acts;

/* Columns that share a scale in the activations that weights of this type meet; 0: they meet floats. */
uint32_t compute_act_group(dtype type);

static inline uint32_t compute_act_blocks(uint32_t cols) { return (cols + COMPUTE_ACT_COLS - 1) / COMPUTE_ACT_COLS; }

/* ---- attention over KV pages --------------------------------------------------------------
 * A page holds COMPUTE_PAGE_TOKENS tokens, as f16, q8 or q4. For one layer and kv head, at an offset inside the page:
 *   f16:  K, transposed: [head_dim][16];  V: [16][head_dim_v]
 *   q8:   K: bytes [head_dim / 4][16][4], each 128 more than the value;  V: int8 [8][head_dim_v][2]
 *   q4:   K: bytes [head_dim / 8][16][4]: the first four of eight values in the low halves, the others in the high ones
 *         V: bytes [8][head_dim_v / 32][16][2]: 16 values of two tokens in the low halves, the next 16 in the high ones
 *         (counts rounded up), padded to a multiple of 64 bytes; then, of q8 and q4, scales f16 [groups][16], and of q4
 *         as many minima. A token's bytes are its own: neighbours may be written by another thread.
 * A group is 64 values of one token, or the largest power of two that divides head_dim when 64 does not.
 *
 * Storing: NaN counts as 0 and ±65504 is the most, so that what is stored is finite always. For q8 and q4 a token's K
 * and V are each rotated: every group by the normalised Walsh–Hadamard transform (kv_rotate in compute/kv.h: sums and
 * differences of values group/2 apart, then group/4, … 1; then times 1 / sqrtf(group)), which spreads what stands out
 * in one dimension over all. Then
 *   q8: scale = f16(max|x| / 127), q = round-half-even(x / scale) within ±127
 *   q4: min = f16(min x), scale = f16((max x − min x) / 15), q = round-half-even((x − min) / scale) within 0 … 15
 * where dividing is by the scale, and subtracting of the min, as stored; q is 0 where the scale is. Attention to them
 * rotates the queries the same way, so that products come out as if nothing were rotated, and rotates its result back.
 *
 * A query sees up to two ranges of positions: the kept first ones, met with q_sinks, then the others, met with q. A
 * range is walked in blocks of COMPUTE_BLOCK_TOKENS positions (block b: positions 128·b …) with a running maximum
 * ("online softmax"). Of one block, with m = −1e30 and sum = out = 0 before the first:
 *   f16:     s[j] = Σ q[d]·K[j][d], one chain of FMAs over ascending d
 *   q8, q4:  the query's groups become int8: q' = round-half-even(q · (127 / max|q|)), t = max|q| / 127 (all 0 where
 *            that is below 2^-100). Over ascending groups, i = Σ q'·value, exact:
 *            s[j] = fma((float)i · t, scale[j], s[j]), and for q4 then s[j] = fma((float)Σq' · t, min[j], s[j])
 *   x[j] = s[j] · (scale · log2 e); with a softcap c > 0, x[j] = c·tanh(s[j]·scale / c) · log2 e,
 *   tanh(u) = 1 − 2 / (exp(2u) + 1)
 *   m' = max(m, max x[j]); correction = exp2a(m − m'); p[j] = exp2a(x[j] − m'), 0 for what is not attended
 *   exp2a(x): r = x − n for n the whole number nearest to x = max(x, −100);
 *             (1 + r·(C1 + r·(C2 + …r·C5))) · 2^n, by FMAs
 *   sum = fma(sum, correction, fold(lanes)), lane l: Σ p[j] over j = l, l + 16, …
 *   f16:     out[d] = out[d] · correction, then FMAs of p[j] and V[j][d] over ascending j
 *   q8, q4:  out[d] = fma(out[d], correction, c), c = 0 for q8, for q4 fold(lanes), lane l: FMAs of p[j] and
 *            fma(8, scale[j], min[j]) over j = l, l + 16, …; then with w[j] = p[j] · scale[j] and W = max w[j], weights
 *            w'[j] = round-half-even(w[j] · (32767 / W)), all 0 where W is below 2^-100:
 *            out[d] = fma((float)Σ w'[j]·value[j][d], W / 32767, out[d]), the sum exact (q4: values less 8)
 * Finally out = out / sum + 0. A block in which a query attends to nothing changes nothing, so it matters not which
 * queries are computed together. Slots that no query of the call attends to take no part: whatever bytes they hold, the
 * result is the same. */
typedef enum compute_kv_type { COMPUTE_KV_F16, COMPUTE_KV_Q8, COMPUTE_KV_Q4, COMPUTE_KV_TYPES } compute_kv_type;
const char *compute_kv_name(compute_kv_type type); /* "f16", "q8", "q4" */
/* Bytes that one kv head's keys (values) take in a page; head_dim: even, at most COMPUTE_HEAD_DIM_MAX. */
size_t compute_kv_k_bytes(compute_kv_type type, uint32_t head_dim);
size_t compute_kv_v_bytes(compute_kv_type type, uint32_t head_dim_v);

/* Which entry of a page table holds positions 16·i … 16·i + 15. A rotating table keeps its first pages and goes
 * round in the rest; ring_pages 0: a straight table. */
static inline uint32_t compute_kv_entry(uint32_t i, uint32_t sink_pages, uint32_t ring_pages) {
    return i < sink_pages || !ring_pages ? i : sink_pages + (i - sink_pages) % ring_pages;
}

/* What one token attends to: positions 0 … min(keep − 1, last) with q_sinks, then max(first, keep) … last with q. */
typedef struct compute_span {
    uint32_t keep, first, last;
} compute_span;

enum { COMPUTE_HEAD_DIM_MAX = 512, COMPUTE_GROUP_MAX = 64, COMPUTE_TOKENS_MAX = 64 };

typedef struct compute_attend_args {
    compute_kv_type type;
    /* The queries that share this kv head: n_tokens tokens of one sequence, positions ascending, n_heads heads each. */
    const float *q; /* token t, head h: q + t · q_token_stride + h · q_stride */
    const float *q_sinks; /* the same as seen by the kept positions; read only where a span keeps some */
    uint32_t n_heads, n_tokens; /* at most COMPUTE_GROUP_MAX, COMPUTE_TOKENS_MAX */
    const compute_span *spans;  /* [n_tokens] */
    size_t q_stride, q_token_stride;
    uint32_t head_dim, head_dim_v; /* even; unless both are multiples of 16, ref does the work */
    float scale, softcap;
    const uint8_t *const *pages; /* page base addresses; compute_kv_entry says which holds what */
    uint32_t sink_pages, ring_pages;
    size_t k_offset, v_offset;   /* bytes from a page's base to this layer's and head's K and V */
    float *out;                  /* token t, head h: head_dim_v values at out + t · out_token_stride + h · out_stride */
    size_t out_stride, out_token_stride;
} compute_attend_args;

/* How many tokens of so many heads a call takes without cutting them up: no more than the caches hold. */
uint32_t compute_attend_tokens(uint32_t n_heads, uint32_t head_dim);

/* ---- the kernel table ---------------------------------------------------------------------- */

typedef struct compute_kernels {
    const char *name; /* "ref", "avx2", "avx512", "avx512vnni"; on ARM "neon", "neondot" */

    /* One token's activations, to[0], to[stride], to[2 · stride] …; group_cols: COMPUTE_ACT_GROUP or
     * COMPUTE_ACT_GROUP_K columns share a scale. */
    void (*quantize)(const float *x, uint32_t cols, uint32_t group_cols, compute_act *to, size_t stride);

    /* out[t * out_stride + 16·p + lane] for panels p in [panel0, panel1) and all tokens of acts: the
     * dot products of 16 rows with each token. out is indexed by absolute row. Padded rows are
     * written too: out_stride ≥ rows rounded up to 16. */
    void (*matmul)(dtype type, const void *packed, uint32_t cols, uint32_t panel0, uint32_t panel1,
                   const compute_acts *acts, float *out, size_t out_stride);

    /* out = (x · r) · w, r = 1 / sqrtf(fold(x²) / n + eps); w may be NULL (all ones). */
    void (*rmsnorm)(const float *x, const float *w, uint32_t n, float eps, float *out);

    /* In-place rotation of n_heads vectors. cos_sin: [rot_dim/2][2] for this position. paired: pairs
     * (2i, 2i+1), the "norm" style; otherwise (i, i + rot_dim/2), the "neox" style.
     * a' = a·cos − b·sin, b' = fma(a, sin, b·cos) with a' = fma(a, cos, −(b·sin)). */
    void (*rope)(float *x, uint32_t n_heads, uint32_t head_dim, uint32_t rot_dim, const float *cos_sin, bool paired);

    void (*silu_mul)(const float *gate, const float *up, uint32_t n,
                     float *out); /* silu(gate)·up; silu(x)=x/(1+exp(−x)) */
    /* gelu(gate)·up, the tanh form written as x/(1+exp(−2u)), u = x·fma(x², √(2/π)·0.044715, √(2/π)). */
    void (*gelu_mul)(const float *gate, const float *up, uint32_t n, float *out);
    void (*add)(float *y, const float *x, uint32_t n);                            /* y += x */
    void (*axpy)(float *y, float a, const float *x, uint32_t n);                  /* y = fma(a, x, y) */
    void (*softmax)(float *x, uint32_t n); /* in place: max, exp, fold-sum, divide */

    /* Writes one token's K and V of one kv head into a page at slot (0–15), rounding to the type. */
    void (*kv_store)(compute_kv_type type, uint8_t *k, uint8_t *v, const float *kx, const float *vx, uint32_t head_dim,
                     uint32_t head_dim_v, uint32_t slot);
    void (*attend)(const compute_attend_args *args);
} compute_kernels;

/* The best variant this machine can run, or the one named in the environment variable
 * PLIMSOLL_KERNELS (a name unknown or not runnable here is an error). */
const compute_kernels *compute_select(err *e);
/* By name; NULL when unknown or not runnable here. "ref" always is. */
const compute_kernels *compute_by_name(const char *name);
/* The i-th variant runnable here, ref first; NULL past the end. */
const compute_kernels *compute_variant(int i);

#endif
