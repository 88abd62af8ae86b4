/* compute/simd/vector_template — vector operations for every instruction set, over the operations that an ISA file
 * defines (see matmul_template.h; here also vf_load_first/vf_store_first for fewer than WIDTH values,
 * vf_where_less(x, bound, then, otherwise), vf_add_exponent(p, z), vf_fold16, and for rope vf_even_odd, vf_dup_even,
 * vf_dup_odd, vf_swap_pairs, vf_fma_sub_add). Operation by operation what ref.c and scalar.h do. */
#ifndef COMPUTE_SIMD_VECTOR_TEMPLATE_H
#define COMPUTE_SIMD_VECTOR_TEMPLATE_H

#include "compute/compute.h"
#include "compute/variants.h"
#include "compute/simd/elementary_template.h"

/* ---- activations ------------------------------------------------------------------------------- */

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

/* The next block of a token, and what it is written to: blocks of one token lie far apart. */
ALWAYS_INLINE void ask_for_next_block(const float *x, const compute_act *to) {
    for (uint32_t i = 0; i < COMPUTE_ACT_COLS; i += 16) __builtin_prefetch(x + i);
    for (size_t i = 0; i < sizeof *to; i += 64) __builtin_prefetch((const char *)to + i, 1);
}

static void quantize(const float *x, uint32_t cols, uint32_t group_cols, compute_act *to, size_t stride) {
    if (cols % COMPUTE_ACT_COLS) memset(&to[cols / COMPUTE_ACT_COLS * stride], 0, sizeof *to);
    for (uint32_t at = 0; at < cols; at += group_cols) {
        compute_act *act = &to[at / COMPUTE_ACT_COLS * stride];
        if (at % COMPUTE_ACT_COLS == 0 && cols - at > COMPUTE_ACT_COLS)
            ask_for_next_block(x + at + COMPUTE_ACT_COLS, act + stride);
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
static void rope_interleaved(float *x, uint32_t half, const float *cos_sin) {
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
        if (paired) rope_interleaved(x, rot_dim / 2, cos_sin);
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

/* attention: the attend_… file whose kernels go with these */
#define X86_KERNELS(title, attention)                                                                      \
    {                                                                                                      \
        .name = title, .quantize = quantize, .matmul = matmul, .rmsnorm = rmsnorm, .rope = rope,           \
        .silu_mul = silu_mul, .gelu_mul = gelu_mul, .add = add, .axpy = axpy, .softmax = softmax,          \
        .kv_store = compute_kv_store_##attention, .attend = compute_attend_##attention,                    \
    }

#endif
