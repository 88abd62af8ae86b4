/* compute/simd/attend_template — KV pages and attention for every instruction set, ARM's too, over the operations that
 * an ISA file defines (see vector_template.h), and
 *   COMPUTE_KV_STORE, COMPUTE_ATTEND the names of the two functions
 *   KEYS_OFFSET                      128 where q8 keys are used unsigned, as they lie; else 0
 *   keys_dot(most, sum, keys, four)  sums of 4 products of keys, at most `most`, and of the bytes at four
 *   words_dot(sum, words, two)       sums of 2 products of int16, the same two everywhere
 *   words_store(to, v)               int16 of the rounded values, one after the other
 *   words_of_bytes(p, signed)        2 · WIDTH bytes, each widened to 16 bits
 *   words_of_nibbles(words)          the low four bits of every 16, less 8
 *
 * Value by value what ref.c does. The queries of a call (heads of one token, or of some tokens of a prompt) go through
 * a block of positions together: keys are brought into the form that the products want once for all of them, then
 * scores, probabilities, values. Products of q8 and q4 are of whole numbers, so that their sums are exact in any order.
 * Tiles of queries keep their sums in registers. One way for one query and for many: what a query comes to does not
 * depend on the others. */
#ifndef COMPUTE_SIMD_ATTEND_TEMPLATE_H
#define COMPUTE_SIMD_ATTEND_TEMPLATE_H

#include "base/check.h"
#include "compute/kv.h"
#include "compute/variants.h"
#include "compute/simd/elementary_template.h"

enum {
    BLOCK = COMPUTE_BLOCK_TOKENS,
    SLICE = 2 * COMPUTE_PAGE_TOKENS, /* positions whose scores are computed together */
    QUERIES_MOST = KV_QUERIES_MOST,
    QUERY_VALUES_MOST = KV_QUERY_VALUES_MOST,
    /* A tile's sides: vectors of keys (of values), and queries; as many sums as the registers hold. */
    KEY_VECTORS = 2,
    KEY_QUERIES = WIDTH == 16 ? 8 : 3,
    VALUE_VECTORS = WIDTH == 16 ? 4 : 2,
    VALUE_QUERIES = WIDTH == 16 ? 6 : 3,
    DIRECT_QUERIES = WIDTH == 16 ? 4 : 2, /* so few that one tile holds them */
    TILE_MOST = 8,
    SCORE_STRIDE = BLOCK + 16,
};

typedef struct attend_state {
    const compute_attend_args *a;
    uint32_t n;                                       /* queries */
    uint32_t end;                                     /* of the range at hand */
    uint32_t from[QUERIES_MOST], until[QUERIES_MOST]; /* what each sees of the range at hand */
    float most[QUERIES_MOST], sum[QUERIES_MOST], correction[QUERIES_MOST];
    /* the queries: as they are, or whole numbers with a scale a group */
    _Alignas(64) union {
        float plain[QUERY_VALUES_MOST];
        int8_t whole[QUERY_VALUES_MOST];
    } q;
    float q_scale[QUERY_VALUES_MOST / 16], q_whole_sum[QUERY_VALUES_MOST / 16];
    int32_t q_start[QUERY_VALUES_MOST / 16];
    _Alignas(64) union {
        float keys[COMPUTE_HEAD_DIM_MAX][SLICE];        /* f16: a slice's keys */
        uint32_t weights[QUERIES_MOST][BLOCK / 2 + 16]; /* q8, q4: probability times scale, pairs of positions */
    };
    _Alignas(64) union { /* a group of a block's values: f16's as floats, or pairs of positions */
        float plain[BLOCK][KV_GROUP_MOST];
        uint32_t pairs[BLOCK / 2][KV_GROUP_MOST];
    } values;
    float scale[BLOCK], middle[BLOCK]; /* of that group */
    /* Rows are a cache line longer than they need be, and sums lie together: else they displace each other. */
    _Alignas(64) float s[QUERIES_MOST][SCORE_STRIDE];          /* scores, then probabilities */
    _Alignas(64) float out[QUERY_VALUES_MOST];
    float weight_scale[QUERIES_MOST], middle_sum[QUERIES_MOST];
} attend_state;

/* ---- storing ------------------------------------------------------------------------------------------- */

static void store_f16(uint8_t *k, uint8_t *v, const float *kx, const float *vx, uint32_t head_dim, uint32_t head_dim_v,
                      uint32_t slot) {
    uint16_t h[COMPUTE_HEAD_DIM_MAX + WIDTH];
    const vf most = vf_set1(KV_MOST), least = vf_set1(-KV_MOST);
    for (uint32_t d = 0; d < head_dim; d += WIDTH)
        vf_f16_store(h + d, vf_add(vf_max(vf_min(vf_zero_if_nan(load_at(kx, d, head_dim)), most), least), vf_zero()));
    for (uint32_t d = 0; d < head_dim; d++) memcpy(k + kv_key_at(COMPUTE_KV_F16, d, slot), &h[d], 2);
    for (uint32_t d = 0; d < head_dim_v; d += WIDTH)
        vf_f16_store(h + d, vf_add(vf_max(vf_min(vf_zero_if_nan(load_at(vx, d, head_dim_v)), most), least), vf_zero()));
    for (uint32_t d = 0; d < head_dim_v; d++) memcpy(v + kv_value_at(COMPUTE_KV_F16, head_dim_v, d, slot), &h[d], 2);
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

void COMPUTE_KV_STORE(compute_kv_type type, uint8_t *k, uint8_t *v, const float *kx, const float *vx, uint32_t head_dim,
                      uint32_t head_dim_v, uint32_t slot) {
    CHECK(type < COMPUTE_KV_TYPES && head_dim <= COMPUTE_HEAD_DIM_MAX && head_dim_v <= COMPUTE_HEAD_DIM_MAX);
    if (type == COMPUTE_KV_F16) store_f16(k, v, kx, vx, head_dim, head_dim_v, slot);
    else if (head_dim % 16 || head_dim_v % 16) compute_ref.kv_store(type, k, v, kx, vx, head_dim, head_dim_v, slot);
    else kv_store_quantised(rotate, kv_quantise_group, type, k, v, kx, vx, head_dim, head_dim_v, slot);
}

/* ---- queries ------------------------------------------------------------------------------------------- */

/* One group of a rotated query, n a multiple of 16: to whole numbers; start is what sums of products begin with. */
static void quantise_query(attend_state *st, const float *x, uint32_t n, size_t at, size_t g) {
    vf most_v = vf_zero(), round = vf_set1(EXP_ROUND), lane[TURNS];
    for (uint32_t i = 0; i < n; i += WIDTH) most_v = vf_max(vf_abs(finite_at(x, i, n)), most_v);
    float most = vf_largest(most_v);
    bool tiny = !(most >= KV_TINY);
    vf inverse = vf_set1(tiny ? 0 : 127.0f / most);
    for (uint32_t turn = 0; turn < TURNS; turn++) lane[turn] = vf_zero();
    for (uint32_t i = 0; i < n; i += WIDTH) {
        vf v = vf_sub(vf_add(vf_mul(finite_at(x, i, n), inverse), round), round);
        v = vf_min(vf_max(v, vf_set1(-127)), vf_set1(127));
        vf_store_i8(st->q.whole + at + i, v);
        lane[i / WIDTH % TURNS] = vf_add(lane[i / WIDTH % TURNS], v);
    }
    float sum = vf_fold16(lane); /* whole numbers: exact in any order */
    st->q_scale[g] = tiny ? 0 : most / 127.0f;
    st->q_whole_sum[g] = sum * st->q_scale[g];
    st->q_start[g] = st->a->type == COMPUTE_KV_Q8 ? -KEYS_OFFSET * (int32_t)sum : 0;
}

/* Query i of the call becomes what the keys of this type meet. */
static void set_query(attend_state *st, uint32_t i, const float *x) {
    _Alignas(64) float rotated[COMPUTE_HEAD_DIM_MAX];
    uint32_t dim = st->a->head_dim, group = kv_group(dim);
    if (st->a->type == COMPUTE_KV_F16) {
        memcpy(st->q.plain + (size_t)i * dim, x, dim * sizeof *x);
        return;
    }
    memcpy(rotated, x, dim * sizeof *x);
    rotate(rotated, dim);
    for (uint32_t d = 0; d < dim; d += group) {
        size_t at = (size_t)i * dim + d;
        quantise_query(st, rotated + d, group, at, at / group);
    }
}

/* ---- scores --------------------------------------------------------------------------------------------- */

/* Two pages' keys, one after the other; where one of them is not seen at all, the other stands in for it. With what is
 * read after them: pages lie far apart, nothing else foresees them. */
typedef struct key_slice {
    const uint8_t *k[2], *v[2], *next_k[2];
} key_slice;

static const uint8_t *page_of(const compute_attend_args *a, uint32_t at) {
    return a->pages[compute_kv_entry(at / COMPUTE_PAGE_TOKENS, a->sink_pages, a->ring_pages)];
}

static key_slice slice_at(const attend_state *st, uint32_t base, uint32_t from, uint32_t until) {
    const compute_attend_args *a = st->a;
    bool first = base + COMPUTE_PAGE_TOKENS > from, second = base + COMPUTE_PAGE_TOKENS < until;
    const uint8_t *one = page_of(a, first ? base : base + COMPUTE_PAGE_TOKENS);
    const uint8_t *two = second ? page_of(a, base + COMPUTE_PAGE_TOKENS) : one;
    key_slice slice = {{one + a->k_offset, two + a->k_offset}, {one + a->v_offset, two + a->v_offset}, {NULL}};
    for (uint32_t i = 0; i < 2; i++) {
        uint32_t at = base + SLICE + i * COMPUTE_PAGE_TOKENS;
        slice.next_k[i] = at < st->end ? page_of(a, at) + a->k_offset : slice.k[i];
    }
    return slice;
}

/* The slice's keys as floats; its values and the next keys are asked for meanwhile. */
static void widen_keys(attend_state *st, const key_slice *slice) {
    for (int page = 0; page < 2; page++) {
        const uint8_t *k = slice->k[page];
        for (uint32_t d = 0; d < st->a->head_dim; d++) {
            size_t at = 2 * (size_t)d * COMPUTE_PAGE_TOKENS;
            if (d % 2) { /* two rows a cache line */
                __builtin_prefetch(slice->v[page] + at);
                __builtin_prefetch(slice->next_k[page] + at);
            }
            UNROLL(2)
            for (int i = 0; i < COMPUTE_PAGE_TOKENS; i += WIDTH)
                vf_store(st->keys[d] + page * COMPUTE_PAGE_TOKENS + i, vf_f16_load(k + at + 2 * i));
        }
    }
}

/* The slice's values and the next keys. */
static void ask_ahead(compute_kv_type type, const compute_attend_args *a, const key_slice *slice) {
    size_t k_bytes = kv_key_bytes(type, a->head_dim) + kv_scale_bytes(a->head_dim);
    size_t v_bytes = kv_value_bytes(type, a->head_dim_v) + kv_scale_bytes(a->head_dim_v);
    for (int page = 0; page < 2; page++) {
        for (size_t at = 0; at < k_bytes; at += 64) __builtin_prefetch(slice->next_k[page] + at);
        for (size_t at = 0; at < v_bytes; at += 64) __builtin_prefetch(slice->v[page] + at);
    }
}

ALWAYS_INLINE void store_scores(const int Q, vf s[][KEY_VECTORS], float *to) {
    UNROLL(8)
    for (int i = 0; i < Q; i++) {
        UNROLL(2)
        for (int v = 0; v < KEY_VECTORS; v++) vf_store(to + i * SCORE_STRIDE + v * WIDTH, s[i][v]);
    }
}

/* Scores of Q queries and KEY_VECTORS vectors of keys from column on. direct: the only tile of queries, for which keys
 * are widened on the way from the page to the registers. */
ALWAYS_INLINE void score_plain(const bool direct, const int Q, attend_state *st, const key_slice *slice, uint32_t q0,
                               uint32_t column, float *to) {
    uint32_t dim = st->a->head_dim;
    const float *q = st->q.plain + (size_t)q0 * dim;
    vf s[TILE_MOST][KEY_VECTORS];
    UNROLL(8)
    for (int i = 0; i < Q; i++) {
        UNROLL(2)
        for (int v = 0; v < KEY_VECTORS; v++) s[i][v] = vf_zero();
    }
    for (uint32_t d = 0; d < dim; d++) {
        vf key[KEY_VECTORS];
        UNROLL(2)
        for (uint32_t v = 0; v < KEY_VECTORS; v++) {
            uint32_t at = column + v * WIDTH, page = at / COMPUTE_PAGE_TOKENS;
            size_t row = 2 * (size_t)d * COMPUTE_PAGE_TOKENS, slot = at % COMPUTE_PAGE_TOKENS;
            key[v] = direct ? vf_f16_load(slice->k[page] + row + 2 * slot) : vf_load(st->keys[d] + at);
            if (direct && slot == 0)
                __builtin_prefetch((d % 2 ? slice->v[page] : slice->next_k[page]) + (row & ~(size_t)63));
        }
        UNROLL(8)
        for (int i = 0; i < Q; i++) {
            vf qd = vf_set1(q[(size_t)i * dim + d]);
            UNROLL(2)
            for (int v = 0; v < KEY_VECTORS; v++) s[i][v] = vf_fma(qd, key[v], s[i][v]);
        }
    }
    store_scores(Q, s, to + column);
}

/* One group's products: q8 takes 4 values a step, q4 8 of which the last 4 lie in high halves. */
ALWAYS_INLINE void score_group(const compute_kv_type T, const int Q, const uint8_t *const key[KEY_VECTORS],
                               const int8_t *q, uint32_t q_stride, uint32_t n, vi sum[][KEY_VECTORS]) {
    const int most = T == COMPUTE_KV_Q8 ? 255 : 15;
    for (uint32_t d = 0; d < n; d += T == COMPUTE_KV_Q8 ? 4 : 8) {
        size_t row = (size_t)d / (T == COMPUTE_KV_Q8 ? 4 : 8) * KV_KEY_ROW;
        for (uint32_t part = 0; part < (T == COMPUTE_KV_Q8 ? 1 : 2); part++) {
            vi w[KEY_VECTORS];
            UNROLL(2)
            for (int v = 0; v < KEY_VECTORS; v++) {
                w[v] = vi_load(key[v] + row);
                if (T == COMPUTE_KV_Q4) w[v] = nibbles(w[v], part);
                else if (!KEYS_OFFSET) w[v] = vi_flip_signs(w[v]);
            }
            UNROLL(8)
            for (int i = 0; i < Q; i++) {
                const int8_t *four = q + (size_t)i * q_stride + d + 4 * part;
                UNROLL(2)
                for (int v = 0; v < KEY_VECTORS; v++) sum[i][v] = keys_dot(most, sum[i][v], w[v], four);
            }
        }
    }
}

ALWAYS_INLINE void score_whole(const compute_kv_type T, const int Q, attend_state *st, const key_slice *slice,
                               uint32_t q0, uint32_t column, float *to) {
    uint32_t dim = st->a->head_dim, group = kv_group(dim), groups = dim / group;
    size_t key_bytes = kv_key_bytes(T, dim), scale_bytes = kv_scale_bytes(dim);
    vf s[TILE_MOST][KEY_VECTORS];
    UNROLL(8)
    for (int i = 0; i < Q; i++) {
        UNROLL(2)
        for (int v = 0; v < KEY_VECTORS; v++) s[i][v] = vf_zero();
    }
    for (uint32_t g = 0; g < groups; g++) {
        vi sum[TILE_MOST][KEY_VECTORS];
        const uint8_t *key[KEY_VECTORS], *scales[KEY_VECTORS];
        UNROLL(2)
        for (uint32_t v = 0; v < KEY_VECTORS; v++) {
            uint32_t at = column + v * WIDTH, slot = at % COMPUTE_PAGE_TOKENS;
            const uint8_t *k = slice->k[at / COMPUTE_PAGE_TOKENS];
            key[v] = k + (size_t)(g * group / kv_key_step(T)) * KV_KEY_ROW + 4 * slot;
            scales[v] = k + key_bytes + 2 * ((size_t)g * COMPUTE_PAGE_TOKENS + slot);
        }
        UNROLL(8)
        for (int i = 0; i < Q; i++) {
            UNROLL(2)
            for (int v = 0; v < KEY_VECTORS; v++) sum[i][v] = vi_set1(st->q_start[(q0 + (uint32_t)i) * groups + g]);
        }
        score_group(T, Q, key, st->q.whole + (size_t)q0 * dim + (size_t)g * group, dim, group, sum);
        UNROLL(2)
        for (int v = 0; v < KEY_VECTORS; v++) {
            vf scale = vf_f16_load(scales[v]), min = T == COMPUTE_KV_Q4 ? vf_f16_load(scales[v] + scale_bytes) : scale;
            UNROLL(8)
            for (int i = 0; i < Q; i++) {
                uint32_t at = (q0 + (uint32_t)i) * groups + g;
                s[i][v] = vf_fma(vf_mul(vf_of_vi(sum[i][v]), vf_set1(st->q_scale[at])), scale, s[i][v]);
                if (T == COMPUTE_KV_Q4) s[i][v] = vf_fma(vf_set1(st->q_whole_sum[at]), min, s[i][v]);
            }
        }
    }
    store_scores(Q, s, to + column);
}

/* Queries q0 … q0 + Q − 1 against the slice that starts at `slot` of the block. */
ALWAYS_INLINE void score_tile(const compute_kv_type T, const bool direct, const int Q, attend_state *st,
                              const key_slice *slice, uint32_t q0, uint32_t slot) {
    for (uint32_t column = 0; column < SLICE; column += KEY_VECTORS * WIDTH) {
        if (T == COMPUTE_KV_F16) score_plain(direct, Q, st, slice, q0, column, st->s[q0] + slot);
        else score_whole(T, Q, st, slice, q0, column, st->s[q0] + slot);
    }
}

ALWAYS_INLINE void score_tiles(const compute_kv_type T, const bool direct, attend_state *st, const key_slice *slice,
                               uint32_t q, uint32_t end, uint32_t slot) {
    for (; q + KEY_QUERIES <= end; q += KEY_QUERIES) score_tile(T, direct, KEY_QUERIES, st, slice, q, slot);
    if (KEY_QUERIES > 4 && q + 4 <= end) score_tile(T, direct, 4, st, slice, q, slot), q += 4;
    if (q + 2 <= end) score_tile(T, direct, 2, st, slice, q, slot), q += 2;
    if (q < end) score_tile(T, direct, 1, st, slice, q, slot);
}

ALWAYS_INLINE void score_slice(const compute_kv_type T, attend_state *st, const key_slice *slice, uint32_t q,
                               uint32_t end, uint32_t slot) {
    if (T == COMPUTE_KV_F16 && end - q <= DIRECT_QUERIES) {
        score_tiles(T, true, st, slice, q, end, slot);
        return;
    }
    if (T == COMPUTE_KV_F16) widen_keys(st, slice);
    else ask_ahead(T, st->a, slice);
    score_tiles(T, false, st, slice, q, end, slot);
}

static __attribute__((noinline)) void score_slice_f16(attend_state *st, const key_slice *slice, uint32_t q,
                                                      uint32_t end, uint32_t slot) {
    score_slice(COMPUTE_KV_F16, st, slice, q, end, slot);
}
static __attribute__((noinline)) void score_slice_q8(attend_state *st, const key_slice *slice, uint32_t q, uint32_t end,
                                                     uint32_t slot) {
    score_slice(COMPUTE_KV_Q8, st, slice, q, end, slot);
}
static __attribute__((noinline)) void score_slice_q4(attend_state *st, const key_slice *slice, uint32_t q, uint32_t end,
                                                     uint32_t slot) {
    score_slice(COMPUTE_KV_Q4, st, slice, q, end, slot);
}

/* ---- probabilities -------------------------------------------------------------------------------------- */

ALWAYS_INLINE vf vf_exp2a(vf given) {
    vf x = vf_max(given, vf_set1(KV_EXP2_LEAST)), z = vf_add(x, vf_set1(EXP_ROUND));
    vf r = vf_sub(x, vf_sub(z, vf_set1(EXP_ROUND)));
    vf p = vf_fma(vf_fma(vf_set1(KV_EXP2_C5), r, vf_set1(KV_EXP2_C4)), r, vf_set1(KV_EXP2_C3));
    p = vf_fma(vf_fma(vf_fma(p, r, vf_set1(KV_EXP2_C2)), r, vf_set1(KV_EXP2_C1)), r, vf_set1(1));
    return vf_add_exponent(p, z);
}

static float exp2a(float x) {
    _Alignas(64) float out[WIDTH];
    vf_store(out, vf_exp2a(vf_set1(x)));
    return out[0];
}

/* Slots before `from` and from `until` on get `value`. */
ALWAYS_INLINE vf masked(vf v, uint32_t slot, uint32_t from, uint32_t until, float value) {
    static const float numbers[16] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    vf at = vf_add(vf_load(numbers), vf_set1((float)slot));
    v = vf_where_less(at, vf_set1((float)from), vf_set1(value), v);
    return vf_where_less(vf_set1((float)until - 1), at, vf_set1(value), v);
}

/* Scores of slots first … end − 1 (multiples of SLICE) of a block to probabilities; from … until − 1 are seen. */
static void probabilities(attend_state *st, uint32_t q, uint32_t first, uint32_t end, uint32_t from, uint32_t until) {
    const compute_attend_args *a = st->a;
    float *s = st->s[q], softcap = a->softcap;
    bool whole = from <= first && until >= end;
    vf most_v = vf_set1(st->most[q]), c = vf_set1(a->scale * KV_LOG2E);
    for (uint32_t i = first; i < end; i += WIDTH) {
        vf x = vf_load(s + i);
        if (softcap > 0) {
            x = vf_div(vf_mul(x, vf_set1(a->scale)), vf_set1(softcap));
            x = vf_mul(vf_mul(vf_set1(softcap), vf_tanh(x)), vf_set1(KV_LOG2E));
        } else {
            x = vf_mul(x, c);
        }
        if (!whole) x = masked(x, i, from, until, -INFINITY);
        vf_store(s + i, x);
        most_v = vf_max(x, most_v);
    }
    float now = vf_largest(most_v);
    vf lane[TURNS], now_v = vf_set1(now);
    UNROLL(2)
    for (uint32_t turn = 0; turn < TURNS; turn++) lane[turn] = vf_zero();
    for (uint32_t i = first; i < end; i += LANES) {
        UNROLL(2)
        for (uint32_t turn = 0; turn < TURNS; turn++) {
            uint32_t at = i + turn * WIDTH;
            vf p = vf_exp2a(vf_sub(vf_load(s + at), now_v));
            if (!whole) p = masked(p, at, from, until, 0);
            vf_store(s + at, p);
            lane[turn] = vf_add(lane[turn], p);
        }
    }
    st->correction[q] = exp2a(st->most[q] - now);
    st->sum[q] = fmaf(st->sum[q], st->correction[q], vf_fold16(lane));
    st->most[q] = now;
}

/* ---- values ---------------------------------------------------------------------------------------------- */

/* The rows (pairs of positions) of a block, and what of their ends is seen. */
typedef struct block_span {
    uint32_t base, from, until; /* positions */
} block_span;

/* The f16 values of a position. */
ALWAYS_INLINE const uint8_t *values_at(const compute_attend_args *a, uint32_t at) {
    return page_of(a, at) + a->v_offset + kv_value_at(COMPUTE_KV_F16, a->head_dim_v, 0, at % COMPUTE_PAGE_TOKENS);
}

/* Values d … d + n − 1 of all positions, as floats; what is not seen takes no part. */
static void widen_plain(attend_state *st, const block_span *b, uint32_t d, uint32_t n) {
    for (uint32_t at = b->from; at < b->until; at++) {
        const uint8_t *v = values_at(st->a, at) + 2 * d;
        for (uint32_t i = 0; i < n; i += WIDTH) vf_store(st->values.plain[at - b->base] + i, vf_f16_load(v + 2 * i));
    }
}

/* 16 values from d on of two positions, as pairs. */
ALWAYS_INLINE void widen_row(const compute_kv_type T, const uint8_t *row, uint32_t d, uint32_t seen, uint32_t *to) {
    UNROLL(2)
    for (uint32_t i = 0; i < 16; i += WIDTH) {
        vi words;
        if (T == COMPUTE_KV_Q8) {
            words = words_of_bytes(row + 2 * (size_t)(d + i), true);
        } else {
            words = words_of_bytes(row + d / 32 * 32 + 2 * (size_t)i, false);
            words = words_of_nibbles(d % 32 ? words_shifted(words) : words);
        }
        vi_store(to + i, vi_and(words, vi_set1((int32_t)seen)));
    }
}

/* Values d … d + n − 1 of all rows; what is not seen becomes 0, whatever bytes it holds. */
ALWAYS_INLINE void widen_values(const compute_kv_type T, attend_state *st, const block_span *b, uint32_t d,
                                uint32_t n) {
    const compute_attend_args *a = st->a;
    size_t row_bytes = kv_value_row(T, a->head_dim_v);
    for (uint32_t at = b->from / 2 * 2; at < b->until; at += 2) {
        const uint8_t *row = page_of(a, at) + a->v_offset + at % COMPUTE_PAGE_TOKENS / 2 * row_bytes;
        uint32_t seen = (at >= b->from ? 0x0000FFFFu : 0) | (at + 1 < b->until ? 0xFFFF0000u : 0);
        for (uint32_t i = 0; i < n; i += 16) widen_row(T, row, d + i, seen, st->values.pairs[(at - b->base) / 2] + i);
    }
}

/* Scales (or minima) of one group of values for the block's slices; 0 for what is not seen. */
static void widen_scales(const compute_attend_args *a, const block_span *b, size_t offset, float *to) {
    uint32_t from = b->from - b->base, until = b->until - b->base;
    for (uint32_t slot = from / SLICE * SLICE; slot < (until + SLICE - 1) / SLICE * SLICE; slot += WIDTH) {
        uint32_t page = slot / COMPUTE_PAGE_TOKENS * COMPUTE_PAGE_TOKENS;
        vf v = vf_zero();
        if (page + COMPUTE_PAGE_TOKENS > from && page < until) {
            v = vf_f16_load(page_of(a, b->base + page) + a->v_offset + offset + 2 * (slot - page));
            if (slot < from || slot + WIDTH > until) v = masked(v, slot, from, until, 0);
        }
        vf_store(to + slot, v);
    }
}

/* What a stored 8 stands for: the values lie around it, so that rounding their weights shifts none of them much. */
static void widen_middles(attend_state *st, const block_span *b, size_t offset) {
    widen_scales(st->a, b, offset, st->middle);
    uint32_t from = b->from - b->base, until = b->until - b->base;
    for (uint32_t slot = from / SLICE * SLICE; slot < (until + SLICE - 1) / SLICE * SLICE; slot += WIDTH)
        vf_store(st->middle + slot, vf_fma(vf_set1(8), vf_load(st->scale + slot), vf_load(st->middle + slot)));
}

/* What the probabilities of queries q0 … q1 − 1 and the middles add up to. */
static void weigh_middles(attend_state *st, const block_span *b, uint32_t q0, uint32_t q1) {
    uint32_t first = (b->from - b->base) / SLICE * SLICE, end = b->until - b->base;
    for (uint32_t q = q0; q < q1; q++) {
        vf lane[TURNS];
        for (uint32_t turn = 0; turn < TURNS; turn++) lane[turn] = vf_zero();
        for (uint32_t i = first; i < end; i += LANES) {
            UNROLL(2)
            for (uint32_t turn = 0; turn < TURNS; turn++) {
                uint32_t at = i + turn * WIDTH;
                lane[turn] = vf_fma(vf_load(st->s[q] + at), vf_load(st->middle + at), lane[turn]);
            }
        }
        st->middle_sum[q] = vf_fold16(lane);
    }
}

/* Probabilities of queries q0 … q1 − 1 times the scales as whole numbers, and what those are scaled by. */
static void weigh(attend_state *st, const block_span *b, uint32_t q0, uint32_t q1) {
    uint32_t first = (b->from - b->base) / SLICE * SLICE, end = b->until - b->base;
    for (uint32_t q = q0; q < q1; q++) {
        vf most_v = vf_zero();
        for (uint32_t i = first; i < end; i += WIDTH)
            most_v = vf_max(vf_mul(vf_load(st->s[q] + i), vf_load(st->scale + i)), most_v);
        float most = vf_largest(most_v);
        bool tiny = !(most >= KV_TINY);
        vf inverse = vf_set1(tiny ? 0 : KV_WEIGHT_MOST / most);
        for (uint32_t i = first; i < end; i += WIDTH)
            words_store((int16_t *)st->weights[q] + i,
                        vf_mul(vf_mul(vf_load(st->s[q] + i), vf_load(st->scale + i)), inverse));
        st->weight_scale[q] = tiny ? 0 : most / KV_WEIGHT_MOST;
    }
}

/* Where a tile's values come from: widened to floats, straight from the pages' f16, or pairs of positions. */
typedef enum value_source { PLAIN, DIRECT, PAIRS } value_source;

/* The sums of a query from value d on. */
ALWAYS_INLINE float *sums_of(attend_state *st, uint32_t q, uint32_t d) {
    return st->out + (size_t)q * st->a->head_dim_v + d;
}

/* Σ weight · value of Q queries and V vectors of whole numbers: over a block it stays within int32. */
ALWAYS_INLINE void pairs_tile(const int Q, const int V, attend_state *st, const block_span *b, uint32_t q0, uint32_t d,
                              uint32_t column) {
    vi sum[TILE_MOST][VALUE_VECTORS];
    UNROLL(8)
    for (int i = 0; i < Q; i++) {
        UNROLL(4)
        for (int v = 0; v < V; v++) sum[i][v] = vi_set1(0);
    }
    for (uint32_t row = (b->from - b->base) / 2; row < (b->until - b->base + 1) / 2; row++) {
        vi value[VALUE_VECTORS];
        UNROLL(4)
        for (int v = 0; v < V; v++) value[v] = vi_load(st->values.pairs[row] + column + v * WIDTH);
        UNROLL(8)
        for (int i = 0; i < Q; i++) {
            const uint32_t *weight = &st->weights[q0 + (uint32_t)i][row];
            UNROLL(4)
            for (int v = 0; v < V; v++) sum[i][v] = words_dot(sum[i][v], value[v], weight);
        }
    }
    UNROLL(8)
    for (int i = 0; i < Q; i++) {
        uint32_t q = q0 + (uint32_t)i;
        float *out = sums_of(st, q, d);
        vf scale = vf_set1(st->weight_scale[q]);
        UNROLL(4)
        for (int v = 0; v < V; v++) {
            vf o = vf_fma(vf_load(out + v * WIDTH), vf_set1(st->correction[q]), vf_set1(st->middle_sum[q]));
            vf_store(out + v * WIDTH, vf_fma(vf_of_vi(sum[i][v]), scale, o));
        }
    }
}

/* Σ probability · value of Q queries and V vectors of floats, position after position. */
ALWAYS_INLINE void plain_tile(const value_source from, const int Q, const int V, attend_state *st, const block_span *b,
                              uint32_t q0, uint32_t d, uint32_t column) {
    vf o[TILE_MOST][VALUE_VECTORS];
    UNROLL(8)
    for (int i = 0; i < Q; i++) {
        vf correction = vf_set1(st->correction[q0 + (uint32_t)i]);
        UNROLL(4)
        for (int v = 0; v < V; v++)
            o[i][v] = vf_mul(vf_load(sums_of(st, q0 + (uint32_t)i, d) + v * WIDTH), correction);
    }
    for (uint32_t row = b->from - b->base; row < b->until - b->base; row++) {
        vf value[VALUE_VECTORS];
        const uint8_t *page = from == DIRECT ? values_at(st->a, b->base + row) + 2 * d : NULL;
        UNROLL(4)
        for (int v = 0; v < V; v++)
            value[v] = from == DIRECT ? vf_f16_load(page + v * 2 * WIDTH)
                                      : vf_load(st->values.plain[row] + column + v * WIDTH);
        UNROLL(8)
        for (int i = 0; i < Q; i++) {
            vf p = vf_set1(st->s[q0 + (uint32_t)i][row]);
            UNROLL(4)
            for (int v = 0; v < V; v++) o[i][v] = vf_fma(p, value[v], o[i][v]);
        }
    }
    UNROLL(8)
    for (int i = 0; i < Q; i++) {
        UNROLL(4)
        for (int v = 0; v < V; v++) vf_store(sums_of(st, q0 + (uint32_t)i, d) + v * WIDTH, o[i][v]);
    }
}

ALWAYS_INLINE void value_tile(const value_source from, const int Q, const int V, attend_state *st, const block_span *b,
                              uint32_t q0, uint32_t d, uint32_t column) {
    if (from == PAIRS) pairs_tile(Q, V, st, b, q0, d, column);
    else plain_tile(from, Q, V, st, b, q0, d, column);
}

/* V vectors of values for all queries. */
ALWAYS_INLINE void value_columns(const value_source from, const int V, attend_state *st, const block_span *b,
                                 uint32_t q, uint32_t end, uint32_t d, uint32_t column) {
    for (; q + VALUE_QUERIES <= end; q += VALUE_QUERIES) value_tile(from, VALUE_QUERIES, V, st, b, q, d, column);
    if (VALUE_QUERIES > 4 && q + 4 <= end) value_tile(from, 4, V, st, b, q, d, column), q += 4;
    if (q + 2 <= end) value_tile(from, 2, V, st, b, q, d, column), q += 2;
    if (q < end) value_tile(from, 1, V, st, b, q, d, column);
}

/* Values d … d + n − 1 for all queries. */
ALWAYS_INLINE void value_all(const value_source from, attend_state *st, const block_span *b, uint32_t q0, uint32_t q1,
                             uint32_t d, uint32_t n) {
    uint32_t column = 0;
    for (; column + VALUE_VECTORS * WIDTH <= n; column += VALUE_VECTORS * WIDTH)
        value_columns(from, VALUE_VECTORS, st, b, q0, q1, d + column, column);
    if (VALUE_VECTORS > 2 && column + 2 * WIDTH <= n)
        value_columns(from, 2, st, b, q0, q1, d + column, column), column += 2 * WIDTH;
    if (column < n) value_columns(from, 1, st, b, q0, q1, d + column, column);
}

static __attribute__((noinline)) void values_plain(attend_state *st, const block_span *b, uint32_t q0, uint32_t q1) {
    uint32_t dim = st->a->head_dim_v;
    if (q1 - q0 <= DIRECT_QUERIES) {
        value_all(DIRECT, st, b, q0, q1, 0, dim);
        return;
    }
    for (uint32_t d = 0; d < dim; d += KV_GROUP_MOST) {
        uint32_t n = dim - d < KV_GROUP_MOST ? dim - d : KV_GROUP_MOST;
        widen_plain(st, b, d, n);
        value_all(PLAIN, st, b, q0, q1, d, n);
    }
}

static __attribute__((noinline)) void values_quantised(attend_state *st, const block_span *b, uint32_t q0,
                                                       uint32_t q1) {
    const compute_attend_args *a = st->a;
    uint32_t dim = a->head_dim_v, group = kv_group(dim);
    size_t scales = kv_value_bytes(a->type, dim);
    for (uint32_t d = 0; d < dim; d += group, scales += 2 * (size_t)COMPUTE_PAGE_TOKENS) {
        if (a->type == COMPUTE_KV_Q8) widen_values(COMPUTE_KV_Q8, st, b, d, group);
        else widen_values(COMPUTE_KV_Q4, st, b, d, group);
        widen_scales(a, b, scales, st->scale);
        if (a->type == COMPUTE_KV_Q4) {
            widen_middles(st, b, scales + kv_scale_bytes(dim));
            weigh_middles(st, b, q0, q1);
        }
        weigh(st, b, q0, q1);
        value_all(PAIRS, st, b, q0, q1, d, group);
    }
}

/* ---- attention ------------------------------------------------------------------------------------------- */

/* Queries q0 … q1 − 1, those that see something of the block. */
static void attend_block(attend_state *st, const block_span *b, uint32_t q0, uint32_t q1) {
    uint32_t first = b->from / SLICE * SLICE, end = (b->until + SLICE - 1) / SLICE * SLICE;
    for (uint32_t at = first; at < end; at += SLICE) {
        key_slice slice = slice_at(st, at, b->from, b->until);
        if (st->a->type == COMPUTE_KV_F16) score_slice_f16(st, &slice, q0, q1, at - b->base);
        else if (st->a->type == COMPUTE_KV_Q8) score_slice_q8(st, &slice, q0, q1, at - b->base);
        else score_slice_q4(st, &slice, q0, q1, at - b->base);
    }
    for (uint32_t q = q0; q < q1; q++) {
        uint32_t from = st->from[q] > b->base ? st->from[q] - b->base : 0, until = st->until[q] - b->base;
        probabilities(st, q, first - b->base, end - b->base, from, until);
    }
    if (st->a->type == COMPUTE_KV_F16) values_plain(st, b, q0, q1);
    else values_quantised(st, b, q0, q1);
}

/* What the queries see of one range: from and until are set, and neither ever falls from one query to the next. */
static void attend_range(attend_state *st) {
    uint32_t q0 = 0, q1 = 0, until = st->until[st->n - 1];
    st->end = until;
    while (q0 < st->n && st->from[q0] >= st->until[q0]) q0++;
    if (q0 == st->n) return;
    for (uint32_t at = st->from[q0]; at < until; at = (at / BLOCK + 1) * BLOCK) {
        block_span b = {.base = at / BLOCK * BLOCK, .from = at};
        b.until = until - b.base < BLOCK ? until : b.base + BLOCK;
        while (st->until[q0] <= b.base) q0++;
        if (st->from[q0] > b.from) b.from = st->from[q0];
        for (q1 = q0; q1 < st->n && st->from[q1] < b.until; q1++) continue;
        if (q1 > q0) attend_block(st, &b, q0, q1);
    }
}

typedef enum range { KEPT, OTHERS } range;

/* Sets what query i sees of a range, and the query as that range meets it. */
static bool set_range(attend_state *st, range r) {
    const compute_attend_args *a = st->a;
    bool some = false;
    for (uint32_t i = 0; i < st->n; i++) {
        uint32_t t = i / a->n_heads, h = i % a->n_heads;
        const compute_span *span = &a->spans[t];
        uint32_t kept = span->keep < span->last + 1 ? span->keep : span->last + 1;
        st->from[i] = r == KEPT ? 0 : span->first > span->keep ? span->first : span->keep;
        st->until[i] = r == KEPT ? kept : span->last + 1;
        if (st->from[i] >= st->until[i]) continue;
        set_query(st, i, (r == KEPT ? a->q_sinks : a->q) + t * a->q_token_stride + h * a->q_stride);
        some = true;
    }
    return some;
}

/* At most QUERIES_MOST queries of QUERY_VALUES_MOST values. */
static void attend_queries(const compute_attend_args *a) {
    attend_state st;
    st.a = a;
    st.n = a->n_tokens * a->n_heads;
    for (uint32_t i = 0; i < st.n; i++) {
        st.most[i] = KV_MOST_START;
        st.sum[i] = st.middle_sum[i] = 0;
    }
    memset(st.out, 0, (size_t)st.n * a->head_dim_v * sizeof(float));
    if (set_range(&st, KEPT)) attend_range(&st);
    if (set_range(&st, OTHERS)) attend_range(&st);
    for (uint32_t i = 0; i < st.n; i++) {
        vf sum = vf_set1(st.sum[i]);
        float *out = a->out + i / a->n_heads * a->out_token_stride + i % a->n_heads * a->out_stride;
        for (uint32_t d = 0; d < a->head_dim_v; d += WIDTH)
            vf_store(out + d, vf_add(vf_div(vf_load(st.out + (size_t)i * a->head_dim_v + d), sum), vf_zero()));
        if (a->type != COMPUTE_KV_F16) rotate(out, a->head_dim_v);
    }
}

/* Heads and tokens in pieces that the state has room for. */
void COMPUTE_ATTEND(const compute_attend_args *a) {
    CHECK(a->type < COMPUTE_KV_TYPES && a->n_heads <= COMPUTE_GROUP_MAX && a->n_tokens <= COMPUTE_TOKENS_MAX);
    CHECK(a->head_dim <= COMPUTE_HEAD_DIM_MAX && a->head_dim_v <= COMPUTE_HEAD_DIM_MAX);
    if (a->head_dim % 16 || a->head_dim_v % 16) {
        compute_ref.attend(a);
        return;
    }
    uint32_t dim = a->head_dim > a->head_dim_v ? a->head_dim : a->head_dim_v;
    uint32_t heads = compute_attend_tokens(1, dim), tokens;
    if (heads > a->n_heads) heads = a->n_heads;
    tokens = compute_attend_tokens(heads, dim);
    compute_attend_args piece = *a;
    for (uint32_t t = 0; t < a->n_tokens; t += tokens)
        for (uint32_t h = 0; h < a->n_heads; h += heads) {
            size_t q_at = t * a->q_token_stride + h * a->q_stride;
            piece.n_tokens = a->n_tokens - t < tokens ? a->n_tokens - t : tokens;
            piece.n_heads = a->n_heads - h < heads ? a->n_heads - h : heads;
            piece.spans = a->spans + t;
            piece.q = a->q + q_at;
            piece.q_sinks = a->q_sinks ? a->q_sinks + q_at : NULL;
            piece.out = a->out + t * a->out_token_stride + h * a->out_stride;
            attend_queries(&piece);
        }
}

#endif
