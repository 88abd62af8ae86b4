/* compute/x86/vector_template — vector operations and attention for every x86 instruction set, over the operations
 * that an ISA file defines (see matmul_template.h; here also vf_load_first/vf_store_first for fewer than WIDTH values,
 * vf_where_less(x, bound, then, otherwise), vf_add_exponent(p, z), vf_fold16, for rope vf_even_odd, vf_dup_even,
 * vf_dup_odd, vf_swap_pairs, vf_fma_sub_add, and for KV pages vf_i8_load, vf_nibbles_load(bytes, &low, &high),
 * vf_butterfly(v, half) and vf_nibble_run_load(run, d, scale, min): fma(q, scale, min) for the values from d on of
 * 16 whose first 8 are the low halves of the run's 8 bytes).
 * Operation by operation what ref.c and scalar.h do: vectors that are shorter than LANES take turns, so that
 * element i meets lane i mod 16. */
#ifndef COMPUTE_X86_VECTOR_TEMPLATE_H
#define COMPUTE_X86_VECTOR_TEMPLATE_H

#include <math.h>

#include "compute/compute.h"
#include "compute/kv.h"
#include "compute/layout.h"
#include "compute/scalar.h"
#include "compute/variants.h"

enum { TURNS = LANES / WIDTH }; /* vectors that make up the lanes */

ALWAYS_INLINE vf vf_exp(vf x) {
    vf z = vf_fma(x, vf_set1(EXP_LOG2E), vf_set1(EXP_ROUND)), n = vf_sub(z, vf_set1(EXP_ROUND));
    vf r = vf_fma(n, vf_set1(-EXP_LN2_LOW), vf_fma(n, vf_set1(-EXP_LN2_HIGH), x));
    vf p = vf_fma(vf_set1(EXP_C6), r, vf_set1(EXP_C5));
    p = vf_fma(p, r, vf_set1(EXP_C4));
    p = vf_fma(p, r, vf_set1(EXP_C3));
    p = vf_fma(p, r, vf_set1(EXP_C2));
    p = vf_fma(p, r, vf_set1(EXP_C1));
    p = vf_fma(p, r, vf_set1(EXP_C0));
    vf y = vf_where_less(x, vf_set1(EXP_LEAST), vf_zero(), vf_add_exponent(p, z));
    return vf_where_less(vf_set1(EXP_MOST), x, vf_set1(INFINITY), y);
}

ALWAYS_INLINE vf vf_silu(vf x) { return vf_div(x, vf_add(vf_set1(1), vf_exp(vf_negate(x)))); }

ALWAYS_INLINE vf vf_gelu(vf x) {
    vf u = vf_mul(x, vf_fma(vf_mul(x, x), vf_set1(GELU_CUBIC), vf_set1(GELU_LINEAR)));
    return vf_div(x, vf_add(vf_set1(1), vf_exp(vf_mul(vf_set1(-2), u))));
}

ALWAYS_INLINE vf vf_tanh(vf x) {
    vf e = vf_exp(vf_mul(vf_set1(2), x));
    return vf_sub(vf_set1(1), vf_div(vf_set1(2), vf_add(e, vf_set1(1))));
}

/* Values i … of n: a whole vector, or what is left with zeros behind. */
ALWAYS_INLINE vf load_at(const float *x, uint32_t i, uint32_t n) {
    return n - i >= WIDTH ? vf_load(x + i) : vf_load_first(x + i, n - i);
}
ALWAYS_INLINE void store_at(float *x, uint32_t i, uint32_t n, vf v) {
    if (n - i >= WIDTH) vf_store(x + i, v);
    else vf_store_first(x + i, n - i, v);
}

/* ---- activations ------------------------------------------------------------------------------- */

ALWAYS_INLINE vf finite_at(const float *x, uint32_t i, uint32_t n) {
    const float most = 0x1.fffffep+127f;
    vf v = vf_zero_if_nan(load_at(x, i, n));
    return vf_min(vf_max(v, vf_set1(-most)), vf_set1(most));
}

/* n values (at most 256) with one scale, repeated for each 32; q may be written up to a multiple of 16. */
ALWAYS_INLINE void quantize_group(const float *x, uint32_t n, int8_t *q, float *scale, int32_t *sum16) {
    vf most_v = vf_zero();
    for (uint32_t i = 0; i < n; i += WIDTH) most_v = vf_max(vf_abs(finite_at(x, i, n)), most_v);
    float most = vf_largest(most_v);
    bool tiny = most < ACT_TINY;
    vf inverse = vf_set1(tiny ? 0 : 127.0f / most), round = vf_set1(EXP_ROUND);
    for (uint32_t g = 0; g * COMPUTE_ACT_GROUP < n; g++) scale[g] = tiny ? 0 : most / 127.0f;
    for (uint32_t i = 0; i < n; i += LANES) {
        vf v[TURNS];
        UNROLL(2)
        for (uint32_t turn = 0; turn < TURNS; turn++) {
            uint32_t at = i + turn * WIDTH;
            vf value = at < n ? finite_at(x, at, n) : vf_zero();
            value = vf_sub(vf_add(vf_mul(value, inverse), round), round);
            v[turn] = vf_min(vf_max(value, vf_set1(-127)), vf_set1(127));
            vf_store_i8(q + at, v[turn]);
        }
        sum16[i / LANES] = (int32_t)vf_fold16(v); /* whole numbers: exact in any order */
    }
}

static void quantize(const float *x, uint32_t cols, uint32_t group_cols, compute_act *to, size_t stride) {
    if (cols % COMPUTE_ACT_COLS) memset(&to[cols / COMPUTE_ACT_COLS * stride], 0, sizeof *to);
    for (uint32_t at = 0; at < cols; at += group_cols) {
        compute_act *act = &to[at / COMPUTE_ACT_COLS * stride];
        uint32_t n = cols - at < group_cols ? cols - at : group_cols, in = at % COMPUTE_ACT_COLS;
        quantize_group(x + at, n, act->q + in, act->scale + in / COMPUTE_ACT_GROUP,
                       act->sum16 + in / COMPUTE_SUM_GROUP);
    }
}

/* ---- vectors ------------------------------------------------------------------------------------- */

static void rmsnorm(const float *x, const float *w, uint32_t n, float eps, float *out) {
    vf lane[TURNS];
    UNROLL(2)
    for (uint32_t turn = 0; turn < TURNS; turn++) lane[turn] = vf_zero();
    for (uint32_t i = 0; i < n; i += LANES) {
        UNROLL(2)
        for (uint32_t turn = 0; turn < TURNS; turn++) {
            uint32_t at = i + turn * WIDTH;
            if (at >= n) break;
            vf v = load_at(x, at, n);
            lane[turn] = vf_fma(v, v, lane[turn]);
        }
    }
    vf scale = vf_set1(1.0f / sqrtf(vf_fold16(lane) / (float)n + eps));
    for (uint32_t i = 0; i < n; i += WIDTH) {
        vf v = vf_mul(load_at(x, i, n), scale);
        store_at(out, i, n, w ? vf_mul(v, load_at(w, i, n)) : v);
    }
}

static void rope_one(float *a, float *b, float c, float s) {
    float was = *a, other = *b;
    *a = fmaf(was, c, -(other * s));
    *b = fmaf(was, s, other * c);
}

/* Pairs (2i, 2i + 1): even lanes a·c − b·s, odd ones a·s + b·c. */
static void rope_paired(float *x, uint32_t half, const float *cos_sin) {
    uint32_t i = 0;
    for (; i + WIDTH / 2 <= half; i += WIDTH / 2) {
        vf v = vf_load(x + 2 * i), cs = vf_load(cos_sin + 2 * i);
        vf_store(x + 2 * i, vf_fma_sub_add(vf_dup_even(v), cs, vf_mul(vf_dup_odd(v), vf_swap_pairs(cs))));
    }
    for (; i < half; i++) rope_one(x + 2 * i, x + 2 * i + 1, cos_sin[2 * i], cos_sin[2 * i + 1]);
}

static void rope_split(float *x, uint32_t half, const float *cos_sin) {
    uint32_t i = 0;
    for (; i + WIDTH <= half; i += WIDTH) {
        vf a = vf_load(x + i), b = vf_load(x + half + i), c, s;
        vf_even_odd(vf_load(cos_sin + 2 * i), vf_load(cos_sin + 2 * i + WIDTH), &c, &s);
        vf_store(x + i, vf_fma(a, c, vf_negate(vf_mul(b, s))));
        vf_store(x + half + i, vf_fma(a, s, vf_mul(b, c)));
    }
    for (; i < half; i++) rope_one(x + i, x + half + i, cos_sin[2 * i], cos_sin[2 * i + 1]);
}

static void rope(float *x, uint32_t n_heads, uint32_t head_dim, uint32_t rot_dim, const float *cos_sin, bool paired) {
    for (uint32_t h = 0; h < n_heads; h++, x += head_dim) {
        if (paired) rope_paired(x, rot_dim / 2, cos_sin);
        else rope_split(x, rot_dim / 2, cos_sin);
    }
}

static void silu_mul(const float *gate, const float *up, uint32_t n, float *out) {
    for (uint32_t i = 0; i < n; i += WIDTH)
        store_at(out, i, n, vf_mul(vf_silu(load_at(gate, i, n)), load_at(up, i, n)));
}

static void gelu_mul(const float *gate, const float *up, uint32_t n, float *out) {
    for (uint32_t i = 0; i < n; i += WIDTH)
        store_at(out, i, n, vf_mul(vf_gelu(load_at(gate, i, n)), load_at(up, i, n)));
}

static void add(float *y, const float *x, uint32_t n) {
    for (uint32_t i = 0; i < n; i += WIDTH) store_at(y, i, n, vf_add(load_at(y, i, n), load_at(x, i, n)));
}

static void axpy(float *y, float a, const float *x, uint32_t n) {
    for (uint32_t i = 0; i < n; i += WIDTH)
        store_at(y, i, n, vf_fma(vf_set1(a), load_at(x, i, n), load_at(y, i, n)));
}

static void softmax(float *x, uint32_t n) {
    vf most_v = vf_set1(-INFINITY), lane[TURNS];
    uint32_t i = 0;
    for (; i + WIDTH <= n; i += WIDTH) most_v = vf_max(vf_load(x + i), most_v);
    float most = vf_largest(most_v);
    for (; i < n; i++) most = x[i] > most ? x[i] : most;

    UNROLL(2)
    for (uint32_t turn = 0; turn < TURNS; turn++) lane[turn] = vf_zero();
    for (i = 0; i < n; i += LANES) {
        UNROLL(2)
        for (uint32_t turn = 0; turn < TURNS; turn++) {
            uint32_t at = i + turn * WIDTH;
            if (at >= n) break;
            store_at(x, at, n, vf_exp(vf_sub(load_at(x, at, n), vf_set1(most))));
            lane[turn] = vf_add(lane[turn], load_at(x, at, n));
        }
    }
    vf sum = vf_set1(vf_fold16(lane));
    for (i = 0; i < n; i += WIDTH) store_at(x, i, n, vf_div(load_at(x, i, n), sum));
}

/* ---- attention ------------------------------------------------------------------------------------ */

static void kv_store_f16(uint8_t *k, uint8_t *v, const float *kx, const float *vx, uint32_t head_dim,
                         uint32_t head_dim_v, uint32_t slot) {
    uint16_t *to_k = (uint16_t *)(void *)k + slot, *to_v = (uint16_t *)(void *)v + (size_t)slot * head_dim_v;
    for (uint32_t d = 0; d < head_dim; d += WIDTH) {
        uint16_t h[WIDTH];
        vf_f16_store(h, load_at(kx, d, head_dim));
        for (uint32_t i = 0; i < WIDTH && d + i < head_dim; i++) to_k[(size_t)(d + i) * COMPUTE_PAGE_TOKENS] = h[i];
    }
    uint32_t d = 0;
    for (; d + WIDTH <= head_dim_v; d += WIDTH) vf_f16_store(to_v + d, vf_load(vx + d));
    for (; d < head_dim_v; d++) to_v[d] = f32_to_f16(vx[d]);
}

/* kv_rotate for one group of N vectors. */
ALWAYS_INLINE void rotate_group(const int N, float *x) {
    vf v[64 / WIDTH], scale = vf_set1(1.0f / sqrtf((float)(N * WIDTH)));
    UNROLL(8)
    for (int i = 0; i < N; i++) v[i] = vf_load(x + i * WIDTH);
    UNROLL(4)
    for (int half = N / 2; half; half /= 2) {
        UNROLL(8)
        for (int i = 0; i < N; i++) {
            if (i & half) continue;
            vf a = v[i], b = v[i + half];
            v[i] = vf_add(a, b);
            v[i + half] = vf_sub(a, b);
        }
    }
    UNROLL(8)
    for (int i = 0; i < N; i++) {
        UNROLL(4)
        for (int half = WIDTH / 2; half; half /= 2) v[i] = vf_butterfly(v[i], half);
        vf_store(x + i * WIDTH, vf_mul(v[i], scale));
    }
}

static void rotate(float *x, uint32_t head_dim) {
    uint32_t group = kv_group(head_dim);
    if (group % 16) {
        kv_rotate(x, head_dim);
        return;
    }
    for (uint32_t at = 0; at < head_dim; at += group) {
        if (group == 64) rotate_group(64 / WIDTH, x + at);
        else if (group == 32) rotate_group(32 / WIDTH, x + at);
        else rotate_group(16 / WIDTH, x + at);
    }
}

/* n: a multiple of 16. */
static void kv_quantise_group(compute_kv_type type, const float *x, uint32_t n, uint8_t *q, uint8_t *scale_at,
                              uint8_t *min_at) {
    bool q8 = type == COMPUTE_KV_Q8;
    vf most_v = vf_load(x), least_v = vf_negate(most_v), round = vf_set1(EXP_ROUND);
    for (uint32_t i = WIDTH; i < n; i += WIDTH) {
        vf v = vf_load(x + i);
        most_v = vf_max(v, most_v);
        least_v = vf_max(vf_negate(v), least_v);
    }
    float most = vf_largest(most_v), least = -vf_largest(least_v);
    float min = q8 ? 0 : kv_put_f16(min_at, least + 0.0f);
    float scale = kv_put_f16(scale_at, q8 ? fmaxf(-least, most) / 127.0f : (most - least) / 15.0f);
    if (!(scale > 0)) {
        memset(q, 0, n);
        return;
    }
    vf low = vf_set1(q8 ? -127 : 0), high = vf_set1(q8 ? 127 : 15);
    for (uint32_t i = 0; i < n; i += WIDTH) {
        vf v = vf_div(vf_sub(vf_load(x + i), vf_set1(min)), vf_set1(scale));
        v = vf_sub(vf_add(v, round), round);
        vf_store_i8((int8_t *)q + i, vf_min(vf_max(v, low), high));
    }
}

static void kv_store(compute_kv_type type, uint8_t *k, uint8_t *v, const float *kx, const float *vx, uint32_t head_dim,
                     uint32_t head_dim_v, uint32_t slot) {
    if (type == COMPUTE_KV_F16) {
        kv_store_f16(k, v, kx, vx, head_dim, head_dim_v, slot);
        return;
    }
    CHECK(type < COMPUTE_KV_TYPES && head_dim <= COMPUTE_HEAD_DIM_MAX && head_dim_v <= COMPUTE_HEAD_DIM_MAX);
    if (head_dim % 16 || head_dim_v % 16) compute_ref.kv_store(type, k, v, kx, vx, head_dim, head_dim_v, slot);
    else kv_store_quantised(rotate, kv_quantise_group, type, k, v, kx, vx, head_dim, head_dim_v, slot);
}

enum {
    KEY_VECTORS = COMPUTE_PAGE_TOKENS / WIDTH,
    HEADS_TOGETHER = WIDTH == 16 ? 8 : 2, /* query heads that share one conversion of keys and values */
};

typedef struct page_view {
    const uint8_t *k, *v;
    const float *q; /* the queries as these positions see them, rotated when the keys are */
    const uint8_t *next_k, *next_v; /* of the page that is met next: pages lie far apart, nothing else foresees it */
    uint32_t first, end; /* slots */
} page_view;

enum { V_SCALES_MOST = COMPUTE_PAGE_TOKENS * (COMPUTE_HEAD_DIM_MAX / 16) };

typedef struct attend_state {
    float most[COMPUTE_GROUP_MAX], sum[COMPUTE_GROUP_MAX];
    _Alignas(64) float p[HEADS_TOGETHER][COMPUTE_PAGE_TOKENS]; /* of the heads at hand */
    float correction[HEADS_TOGETHER];
    uint32_t v_group, v_groups; /* values that share a scale; such groups in a token */
    _Alignas(64) float v_scale[V_SCALES_MOST], v_min[V_SCALES_MOST]; /* of the page at hand, widened */
} attend_state;

/* s += q[d] · key for H heads. */
ALWAYS_INLINE void meet_key(const int H, const float *q, uint32_t q_stride, const vf key[KEY_VECTORS],
                            vf s[][KEY_VECTORS]) {
    UNROLL(8)
    for (int h = 0; h < H; h++) {
        vf qd = vf_set1(q[(size_t)h * q_stride]);
        UNROLL(4)
        for (int i = 0; i < KEY_VECTORS; i++) s[h][i] = vf_fma(qd, key[i], s[h][i]);
    }
}

/* The keys of one group of dimensions, from d on; scales: of this group. */
ALWAYS_INLINE void group_scores(const compute_kv_type T, const int H, const compute_attend_args *a, const float *q,
                                const page_view *page, uint32_t d, uint32_t end, const uint8_t *scales,
                                vf s[][KEY_VECTORS]) {
    const uint8_t *k = page->k;
    vf scale[KEY_VECTORS], min[KEY_VECTORS], key[KEY_VECTORS], next[KEY_VECTORS];
    UNROLL(4)
    for (uint32_t i = 0; i < KEY_VECTORS; i++) {
        scale[i] = vf_f16_load(scales + 2 * i * WIDTH);
        if (T == COMPUTE_KV_Q4) min[i] = vf_f16_load(scales + kv_scale_bytes(a->head_dim) + 2 * i * WIDTH);
    }
    for (; d < end; d += T == COMPUTE_KV_Q4 ? 2 : 1) {
        __builtin_prefetch(page->next_k + (T == COMPUTE_KV_Q4 ? kv_q4_key_at(d) : (size_t)d * COMPUTE_PAGE_TOKENS));
        UNROLL(4)
        for (uint32_t i = 0; i < KEY_VECTORS; i++) {
            if (T == COMPUTE_KV_Q8) {
                key[i] = vf_mul(vf_i8_load(k + d * COMPUTE_PAGE_TOKENS + i * WIDTH), scale[i]);
            } else {
                vf_nibbles_load(k + kv_q4_key_at(d) + i * WIDTH, &key[i], &next[i]);
                key[i] = vf_fma(key[i], scale[i], min[i]);
                next[i] = vf_fma(next[i], scale[i], min[i]);
            }
        }
        meet_key(H, q + d, a->q_stride, key, s);
        if (T == COMPUTE_KV_Q4) meet_key(H, q + d + 1, a->q_stride, next, s);
    }
}

/* Scores of H heads against a page's 32 keys. */
ALWAYS_INLINE void page_scores(const compute_kv_type T, const int H, const compute_attend_args *a, const float *q,
                               const page_view *page, vf s[][KEY_VECTORS]) {
    const uint8_t *k = page->k;
    UNROLL(8)
    for (int h = 0; h < H; h++) {
        UNROLL(4)
        for (int i = 0; i < KEY_VECTORS; i++) s[h][i] = vf_zero();
    }
    if (T == COMPUTE_KV_F16) {
        for (uint32_t d = 0; d < a->head_dim; d++) {
            vf key[KEY_VECTORS];
            __builtin_prefetch(page->next_k + (size_t)d * 2 * COMPUTE_PAGE_TOKENS);
            UNROLL(4)
            for (uint32_t i = 0; i < KEY_VECTORS; i++)
                key[i] = vf_f16_load(k + 2 * (d * COMPUTE_PAGE_TOKENS + i * WIDTH));
            meet_key(H, q + d, a->q_stride, key, s);
        }
        return;
    }
    const uint8_t *scales = k + kv_value_bytes(T, a->head_dim);
    uint32_t group = kv_group(a->head_dim);
    for (uint32_t d = 0; d < a->head_dim; d += group, scales += 2 * COMPUTE_PAGE_TOKENS)
        group_scores(T, H, a, q, page, d, d + group, scales, s);
}

/* Slots outside first … end − 1 get `value`. */
ALWAYS_INLINE void mask_slots(const page_view *page, float value, vf s[KEY_VECTORS]) {
    static const float slot[COMPUTE_PAGE_TOKENS] = {0,  1,  2,  3,  4,  5,  6,  7,  8,  9,  10, 11, 12, 13, 14, 15,
                                                    16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31};
    if (page->first == 0 && page->end == COMPUTE_PAGE_TOKENS) return;
    vf first = vf_set1((float)page->first), last = vf_set1((float)page->end - 1);
    for (int i = 0; i < KEY_VECTORS; i++) {
        vf at = vf_load(slot + i * WIDTH);
        s[i] = vf_where_less(at, first, vf_set1(value), s[i]);
        s[i] = vf_where_less(last, at, vf_set1(value), s[i]);
    }
}

/* From one head's scores to probabilities, updating its running maximum and sum. */
ALWAYS_INLINE void page_softmax(const compute_attend_args *a, const page_view *page, vf s[KEY_VECTORS], float *most,
                                float *sum, float *correction, float *p) {
    UNROLL(4)
    for (int i = 0; i < KEY_VECTORS; i++) {
        s[i] = vf_mul(s[i], vf_set1(a->scale));
        if (a->softcap > 0) s[i] = vf_mul(vf_set1(a->softcap), vf_tanh(vf_div(s[i], vf_set1(a->softcap))));
    }
    mask_slots(page, -INFINITY, s);
    vf most_v = vf_set1(*most);
    UNROLL(4)
    for (int i = 0; i < KEY_VECTORS; i++) most_v = vf_max(s[i], most_v);
    float now = vf_largest(most_v);
    *correction = scalar_exp(*most - now);
    *most = now;
    UNROLL(4)
    for (int i = 0; i < KEY_VECTORS; i++) s[i] = vf_exp(vf_sub(s[i], vf_set1(now)));
    mask_slots(page, 0, s);
    vf lane[TURNS];
    UNROLL(4)
    for (int i = 0; i < KEY_VECTORS; i++) vf_store(p + i * WIDTH, s[i]);
    UNROLL(2)
    for (int i = 0; i < TURNS; i++) lane[i] = vf_add(s[i], s[i + TURNS]);
    *sum = fmaf(*sum, *correction, vf_fold16(lane));
}

/* WIDTH values of slot j from d on; scale: of slot 0 for the group that d is in. */
ALWAYS_INLINE vf load_values(const compute_kv_type T, const compute_attend_args *a, const page_view *page,
                             const attend_state *st, uint32_t j, uint32_t d, uint32_t scale) {
    size_t dim = a->head_dim_v;
    if (T == COMPUTE_KV_F16) return vf_f16_load(page->v + 2 * (j * dim + d));
    scale += j * st->v_groups;
    if (T == COMPUTE_KV_Q8) return vf_mul(vf_i8_load(page->v + j * dim + d), vf_set1(st->v_scale[scale]));
    const uint8_t *run = page->v + j * (dim / 2) + d / 16 * 8;
    return vf_nibble_run_load(run, d, vf_set1(st->v_scale[scale]), vf_set1(st->v_min[scale]));
}

/* out = out · correction + Σ p[j] · V[j], for H heads and B vectors of the value from d0 on; one_group: all B share
 * a scale. */
ALWAYS_INLINE void values_block(const compute_kv_type T, const int H, const int B, const bool one_group,
                                const compute_attend_args *a, const page_view *page, const attend_state *st,
                                uint32_t d0, float *out) {
    vf o[16];
    size_t row_bytes = kv_value_row(T, a->head_dim_v), next = page->first * row_bytes + kv_value_row(T, d0);
    uint32_t scale[4];
    UNROLL(4)
    for (int b = 0; b < B; b++)
        scale[b] = T == COMPUTE_KV_F16 ? 0 : b && one_group ? scale[0] : (d0 + (uint32_t)b * WIDTH) / st->v_group;
    UNROLL(8)
    for (int h = 0; h < H; h++) {
        vf correction = vf_set1(st->correction[h]);
        UNROLL(4)
        for (int b = 0; b < B; b++)
            o[h * B + b] = vf_mul(vf_load(out + (size_t)h * a->out_stride + d0 + (uint32_t)b * WIDTH), correction);
    }
    for (uint32_t j = page->first; j < page->end; j++) {
        vf v[4];
        __builtin_prefetch(page->next_v + next);
        if (T == COMPUTE_KV_F16 && B * WIDTH > 32) __builtin_prefetch(page->next_v + next + 64);
        next += row_bytes;
        UNROLL(4)
        for (int b = 0; b < B; b++) v[b] = load_values(T, a, page, st, j, d0 + (uint32_t)b * WIDTH, scale[b]);
        UNROLL(8)
        for (int h = 0; h < H; h++) {
            vf p = vf_set1(st->p[h][j]);
            UNROLL(4)
            for (int b = 0; b < B; b++) o[h * B + b] = vf_fma(p, v[b], o[h * B + b]);
        }
    }
    UNROLL(8)
    for (int h = 0; h < H; h++) {
        UNROLL(4)
        for (int b = 0; b < B; b++)
            vf_store(out + (size_t)h * a->out_stride + d0 + (uint32_t)b * WIDTH, o[h * B + b]);
    }
}

/* Heads h0 … h0 + H − 1 against one page. */
ALWAYS_INLINE void heads_page(const compute_kv_type T, const int H, const compute_attend_args *a,
                              const page_view *page, uint32_t h0, attend_state *st) {
    vf s[HEADS_TOGETHER][KEY_VECTORS];
    page_scores(T, H, a, page->q + (size_t)h0 * a->q_stride, page, s);
    UNROLL(8)
    for (int h = 0; h < H; h++)
        page_softmax(a, page, s[h], &st->most[h0 + (uint32_t)h], &st->sum[h0 + (uint32_t)h], &st->correction[h],
                     st->p[h]);
    const int B = H == 8 ? 2 : 4;
    float *out = a->out + (size_t)h0 * a->out_stride;
    uint32_t d = 0;
    if (T == COMPUTE_KV_Q4 && st->v_group >= (uint32_t)B * WIDTH)
        for (; d + (uint32_t)B * WIDTH <= a->head_dim_v; d += (uint32_t)B * WIDTH)
            values_block(T, H, B, true, a, page, st, d, out);
    for (; d + (uint32_t)B * WIDTH <= a->head_dim_v; d += (uint32_t)B * WIDTH)
        values_block(T, H, B, false, a, page, st, d, out);
    for (; d < a->head_dim_v; d += WIDTH) values_block(T, H, 1, true, a, page, st, d, out);
}

typedef void heads_page_kernel(const compute_attend_args *a, const page_view *page, uint32_t h, attend_state *st);

#define HEADS_PAGE(name, T, H)                                                                                  \
    static __attribute__((noinline)) void heads_page_##name##_##H(const compute_attend_args *a,                 \
                                                                  const page_view *page, uint32_t h,            \
                                                                  attend_state *st) {                           \
        heads_page(T, H, a, page, h, st);                                                                       \
    }
#define HEADS_PAGE_TYPES(H)                                                                                     \
    HEADS_PAGE(f16, COMPUTE_KV_F16, H)                                                                          \
    HEADS_PAGE(q8, COMPUTE_KV_Q8, H)                                                                            \
    HEADS_PAGE(q4, COMPUTE_KV_Q4, H)                                                                            \
    static heads_page_kernel *const heads_page_##H[COMPUTE_KV_TYPES] = {heads_page_f16_##H, heads_page_q8_##H,  \
                                                                        heads_page_q4_##H};
HEADS_PAGE_TYPES(1)
HEADS_PAGE_TYPES(2)
#if WIDTH == 16
HEADS_PAGE_TYPES(4)
HEADS_PAGE_TYPES(8)
#endif

static void widen_v_scales(const compute_attend_args *a, const page_view *page, attend_state *st) {
    const uint8_t *scales = page->v + kv_value_bytes(a->type, a->head_dim_v);
    uint32_t bytes = (uint32_t)kv_scale_bytes(a->head_dim_v);
    for (uint32_t i = 0; i < bytes / 2; i += WIDTH) {
        vf_store(st->v_scale + i, vf_f16_load(scales + 2 * i));
        if (a->type == COMPUTE_KV_Q4) vf_store(st->v_min + i, vf_f16_load(scales + bytes + 2 * i));
    }
}

static void attend_one_page(const compute_attend_args *a, const page_view *page, attend_state *st) {
    uint32_t h = 0, n = a->n_heads;
    if (a->type != COMPUTE_KV_F16) widen_v_scales(a, page, st);
#if WIDTH == 16
    for (; h + 8 <= n; h += 8) heads_page_8[a->type](a, page, h, st);
    if (h + 4 <= n) heads_page_4[a->type](a, page, h, st), h += 4;
#endif
    for (; h + 2 <= n; h += 2) heads_page_2[a->type](a, page, h, st);
    if (h < n) heads_page_1[a->type](a, page, h, st);
}

/* Positions first … last, seen by q; nothing when there are none. */
static void attend_range(const compute_attend_args *a, const float *q, uint32_t first, uint32_t last,
                         attend_state *st) {
    for (uint32_t at = first; at <= last; at = (at / COMPUTE_PAGE_TOKENS + 1) * COMPUTE_PAGE_TOKENS) {
        uint32_t i = at / COMPUTE_PAGE_TOKENS, base = i * COMPUTE_PAGE_TOKENS;
        const uint8_t *p = a->pages[compute_kv_entry(i, a->keep_pages, a->ring_pages)];
        page_view page = {.k = p + a->k_offset, .v = p + a->v_offset, .q = q, .first = at - base};
        page.end = last - base < COMPUTE_PAGE_TOKENS ? last - base + 1 : COMPUTE_PAGE_TOKENS;
        if (last - base >= COMPUTE_PAGE_TOKENS) p = a->pages[compute_kv_entry(i + 1, a->keep_pages, a->ring_pages)];
        page.next_k = p + a->k_offset, page.next_v = p + a->v_offset;
        attend_one_page(a, &page, st);
    }
}

enum { HEADS_ROTATED = 8 }; /* query heads whose rotated queries are held at once */

/* The queries as the keys of this type want them: as they are, or rotated into `rotated`. */
static const float *queries(const compute_attend_args *a, const float *q, float *rotated) {
    if (a->type == COMPUTE_KV_F16) return q;
    for (uint32_t h = 0; h < a->n_heads; h++) {
        float *to = rotated + (size_t)h * a->head_dim;
        memcpy(to, q + (size_t)h * a->q_stride, a->head_dim * sizeof *q);
        rotate(to, a->head_dim);
    }
    return rotated;
}

static void attend_heads(const compute_attend_args *heads, attend_state *st) {
    _Alignas(64) float rotated[HEADS_ROTATED * COMPUTE_HEAD_DIM_MAX];
    compute_attend_args a = *heads;
    if (a.type != COMPUTE_KV_F16) a.q_stride = a.head_dim;
    for (uint32_t h = 0; h < a.n_heads; h++) {
        st->most[h] = -INFINITY;
        st->sum[h] = 0;
        memset(a.out + (size_t)h * a.out_stride, 0, a.head_dim_v * sizeof(float));
    }
    uint32_t keep_end = a.keep < a.last + 1 ? a.keep : a.last + 1, first = a.first > a.keep ? a.first : a.keep;
    if (keep_end) attend_range(&a, queries(heads, a.q_keep, rotated), 0, keep_end - 1, st);
    if (first <= a.last) attend_range(&a, queries(heads, a.q, rotated), first, a.last, st);
    for (uint32_t h = 0; h < a.n_heads; h++) {
        float *out = a.out + (size_t)h * a.out_stride;
        vf sum = vf_set1(st->sum[h]);
        for (uint32_t d = 0; d < a.head_dim_v; d += WIDTH) vf_store(out + d, vf_div(vf_load(out + d), sum));
        if (a.type != COMPUTE_KV_F16) rotate(out, a.head_dim_v);
    }
}

static void attend(const compute_attend_args *a) {
    CHECK(a->type < COMPUTE_KV_TYPES && a->first <= a->last && a->n_heads <= COMPUTE_GROUP_MAX);
    CHECK(a->head_dim <= COMPUTE_HEAD_DIM_MAX && a->head_dim_v <= COMPUTE_HEAD_DIM_MAX);
    if (a->head_dim_v % 16) {
        compute_ref.attend(a);
        return;
    }
    attend_state st;
    st.v_group = kv_group(a->head_dim_v), st.v_groups = a->head_dim_v / st.v_group;
    compute_attend_args heads = *a;
    uint32_t together = a->type == COMPUTE_KV_F16 ? a->n_heads : HEADS_ROTATED;
    for (uint32_t h = 0; h < a->n_heads; h += together) {
        heads.n_heads = a->n_heads - h < together ? a->n_heads - h : together;
        heads.q = a->q + (size_t)h * a->q_stride;
        if (a->keep) heads.q_keep = a->q_keep + (size_t)h * a->q_stride;
        heads.out = a->out + (size_t)h * a->out_stride;
        attend_heads(&heads, &st);
    }
}

#define X86_KERNELS(title)                                                                                 \
    {                                                                                                      \
        .name = title, .quantize = quantize, .matmul = matmul, .rmsnorm = rmsnorm, .rope = rope,           \
        .silu_mul = silu_mul, .gelu_mul = gelu_mul, .add = add, .axpy = axpy, .softmax = softmax,          \
        .kv_store = kv_store, .attend = attend,                                                            \
    }

#endif
