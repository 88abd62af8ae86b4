/* Attention over pages of every type: against double precision, bit by bit between the variants, and blind to what
 * lies in slots outside the range. */
#include "kv_test.h"

enum { PAGES = 14, DIM_MOST = 256, HEADS_MOST = 9, K_OFFSET = 128 };

typedef struct setting {
    uint8_t *page[PAGES];
    const uint8_t *pages[PAGES];
    float *q, *q_sinks;
    compute_span span;
    compute_attend_args args;
} setting;

/* What is attended to, of how many heads of which size. */
typedef struct scene {
    compute_kv_type type;
    uint32_t dim, dim_v, heads, first, last, keep, sink_pages, ring_pages;
    float softcap;
} scene;

static float *random_floats(rng *r, size_t n, float size) {
    float *x = aligned(n * sizeof *x);
    for (size_t i = 0; i < n; i++) x[i] = random_float(r) * size;
    return x;
}

static void store_random(rng *r, const compute_kernels *k, const compute_attend_args *a, uint8_t *page, uint32_t slot) {
    float kx[DIM_MOST], vx[DIM_MOST];
    for (uint32_t d = 0; d < a->head_dim; d++) kx[d] = random_float(r);
    for (uint32_t d = 0; d < a->head_dim_v; d++) vx[d] = random_float(r);
    k->kv_store(a->type, page + a->k_offset, page + a->v_offset, kx, vx, a->head_dim, a->head_dim_v, slot);
}

/* Pages full of keys and values in [−1, 1], stored by k's own kv_store. */
static void set_up(setting *s, rng *r, const compute_kernels *k, const scene *c) {
    size_t k_bytes = compute_kv_k_bytes(c->type, c->dim);
    size_t n = (size_t)c->heads * (c->dim + 16);
    s->q = random_floats(r, n, 4);
    s->q_sinks = random_floats(r, n, 4);
    s->args = (compute_attend_args){
        .type = c->type, .q = s->q, .q_sinks = c->keep ? s->q_sinks : NULL, .n_heads = c->heads, .n_tokens = 1,
        .spans = &s->span, .q_stride = c->dim + 16, .head_dim = c->dim, .head_dim_v = c->dim_v, .scale = 1 / sqrtf((float)c->dim),
        .softcap = c->softcap, .pages = s->pages, .sink_pages = c->sink_pages, .ring_pages = c->ring_pages,
        .k_offset = K_OFFSET, .v_offset = K_OFFSET + k_bytes, .out_stride = c->dim_v,
    };
    s->span = (compute_span){c->keep, c->first, c->last};
    for (int p = 0; p < PAGES; p++) {
        s->page[p] = aligned(K_OFFSET + k_bytes + compute_kv_v_bytes(c->type, c->dim_v));
        s->pages[p] = s->page[p];
        for (uint32_t slot = 0; slot < 16; slot++) store_random(r, k, &s->args, s->page[p], slot);
    }
}

static void tear_down(setting *s) {
    for (int p = 0; p < PAGES; p++) free(s->page[p]);
    free(s->q);
    free(s->q_sinks);
}

/* ---- against double precision -------------------------------------------------------------------- */

static const uint8_t *literal_page(const compute_attend_args *a, uint32_t at) {
    uint32_t i = at / 16;
    while (a->ring_pages && i >= a->sink_pages + a->ring_pages) i -= a->ring_pages;
    return a->pages[i];
}

/* A query as the keys of a type meet it: as it is, or rotated and in whole 127ths of each group's largest. */
static void literal_query(compute_kv_type type, const float *given, uint32_t dim, double *q) {
    double plain[DIM_MOST], rotated[DIM_MOST];
    uint32_t group = literal_group(dim);
    for (uint32_t d = 0; d < dim; d++) plain[d] = (double)given[d];
    for (uint32_t d = 0; d < dim; d++) rotated[d] = literal_rotated(type, plain, dim, d);
    for (uint32_t d = 0; d < dim; d++) {
        double most = 0;
        for (uint32_t i = d / group * group; i < d / group * group + group; i++) most = fmax(most, fabs(rotated[i]));
        q[d] = type == COMPUTE_KV_F16 ? plain[d] : nearbyint(rotated[d] * (127 / most)) * (most / 127);
    }
}

static double literal_score(const compute_attend_args *a, const double *q, uint32_t at) {
    const uint8_t *k = literal_page(a, at) + a->k_offset;
    double x = 0;
    for (uint32_t d = 0; d < a->head_dim; d++)
        x += q[d] * literal_key(a->type, k, a->head_dim, at % 16, d);
    x *= (double)a->scale;
    return a->softcap > 0 ? (double)a->softcap * tanh(x / (double)a->softcap) : x;
}

/* f16 is as exact as float arithmetic. What remains of q8 and q4 is a query's step of 127 that may fall to the other
 * side (the rounding of weights, 32767 steps, is far below): within a bound for each value, and much nearer in the mean
 * (root of squares, summed up in `square`). */
static void check_exact(const compute_attend_args *a, const float *out, double *square) {
    static double score[4096], q[DIM_MOST], q_sinks[DIM_MOST];
    const compute_span *span = a->spans;
    assert_true(span->last < 4096);
    double bound = a->type == COMPUTE_KV_F16 ? 8e-6 : 0.012;
    for (uint32_t h = 0; h < a->n_heads; h++) {
        literal_query(a->type, a->q + h * a->q_stride, a->head_dim, q);
        if (span->keep) literal_query(a->type, a->q_sinks + h * a->q_stride, a->head_dim, q_sinks);
        double most = -INFINITY, sum = 0, want[DIM_MOST] = {0};
        for (uint32_t at = 0; at <= span->last; at++) {
            bool seen = at < span->keep || at >= span->first;
            score[at] = seen ? literal_score(a, at < span->keep ? q_sinks : q, at) : -INFINITY;
            most = fmax(most, score[at]);
        }
        for (uint32_t at = 0; at <= span->last; at++) {
            double p = exp(score[at] - most);
            sum += p;
            if (p == 0) continue;
            const uint8_t *v = literal_page(a, at) + a->v_offset;
            for (uint32_t d = 0; d < a->head_dim_v; d++)
                want[d] += p * literal_kv_value(a->type, v, a->head_dim_v, at % 16, d);
        }
        for (uint32_t d = 0; d < a->head_dim_v; d++) {
            double exact = literal_rotated(a->type, want, a->head_dim_v, d) / sum, got = (double)out[h * a->out_stride + d];
            if (fabs(got - exact) > bound) fail_msg("%s dim %u, %u + %u…%u: %g, not %g", compute_kv_name(a->type), a->head_dim, span->keep, span->first, span->last, got, exact);
            *square += (got - exact) * (got - exact);
        }
    }
}

static void check(rng *r, scene c) {
    const compute_kernels *ref = compute_by_name("ref"), *k;
    float want[HEADS_MOST * DIM_MOST], got[HEADS_MOST * DIM_MOST];
    double square = 0;
    setting s;
    set_up(&s, r, ref, &c);
    s.args.out = want;
    ref->attend(&s.args);
    check_exact(&s.args, want, &square);
    assert_true(sqrt(square / (c.heads * c.dim_v)) < 0.002);
    s.args.out = got;
    for (int v = 1; (k = compute_variant(v)); v++) {
        memset(got, 0xA5, sizeof got);
        k->attend(&s.args);
        if (memcmp(want, got, c.heads * c.dim_v * 4))
            fail_msg("%s differs from ref: %s dim %u/%u, %u heads, %u + %u…%u", k->name, compute_kv_name(c.type), c.dim,
                     c.dim_v, c.heads, c.keep, c.first, c.last);
    }
    tear_down(&s);
}

static void check_types(rng *r, scene c) {
    for (int t = 0; t < COMPUTE_KV_TYPES; t++) {
        c.type = (compute_kv_type)t;
        check(r, c);
    }
}

static void shapes_and_groups(void **state) {
    (void)state;
    rng r;
    rng_seed(&r, 1);
    static const uint32_t dims[] = {2, 8, 16, 32, 48, 64, 80, 96, 128, 256};
    for (int i = 0; i < 10; i++)
        for (uint32_t heads = 1; heads <= 9; heads += heads == 5 ? 3 : 1)
            check_types(&r, (scene){.dim = dims[i], .dim_v = dims[i], .heads = heads, .last = 40 + 17 * heads});
    check_types(&r, (scene){.dim = 64, .dim_v = 96, .heads = 3, .last = 70});
    check_types(&r, (scene){.dim = 48, .dim_v = 16, .heads = 3, .last = 70});
    check_types(&r, (scene){.dim = 20, .dim_v = 48, .heads = 3, .last = 70}); /* keys in groups of 4 */
    check_types(&r, (scene){.dim = 20, .dim_v = 10, .heads = 5, .first = 3, .last = 70}); /* the reference everywhere */
}

static void ranges_cross_pages(void **state) {
    (void)state;
    rng r;
    rng_seed(&r, 2);
    static const uint32_t ranges[][2] = {{0, 0},   {0, 31},   {0, 32},  {31, 31},  {31, 32},
                                         {5, 9},   {17, 100}, {64, 95}, {33, 222}, {223, 223}};
    for (int i = 0; i < 10; i++)
        check_types(&r, (scene){.dim = 64, .dim_v = 64, .heads = 4, .first = ranges[i][0], .last = ranges[i][1]});
}

/* Kept first positions are met with their own queries, before the rest, whatever pages the two share. */
static void kept_positions(void **state) {
    (void)state;
    rng r;
    rng_seed(&r, 7);
    static const uint32_t ranges[][3] = { /* keep, first, last */
        {4, 100, 200}, {4, 0, 200}, {32, 32, 64}, {33, 40, 50}, {1, 31, 31},   {10, 3, 20}, {50, 5, 40},
        {64, 0, 63},   {4, 3, 3},   {4, 4, 4},    {70, 90, 95}, {40, 41, 223}, {200, 0, 0}, {31, 32, 33}};
    for (size_t i = 0; i < sizeof ranges / sizeof ranges[0]; i++)
        check_types(&r, (scene){.dim = 64, .dim_v = 64, .heads = 3, .keep = ranges[i][0], .first = ranges[i][1],
                                .last = ranges[i][2]});
    for (uint32_t heads = 1; heads <= 9; heads += 4)
        check_types(&r, (scene){.dim = 80, .dim_v = 48, .heads = heads, .keep = 5, .first = 60, .last = 99});
}

static void rotating_tables(void **state) {
    (void)state;
    rng r;
    rng_seed(&r, 8);
    uint32_t turn = 2;
    for (uint32_t i = 0; i < 20; i++) {
        assert_int_equal(compute_kv_entry(i, 2, 0), i);
        assert_int_equal(compute_kv_entry(i, 2, 3), i < 2 ? i : turn);
        if (i >= 2) turn = turn == 4 ? 2 : turn + 1;
    }
    static const uint32_t ranges[][5] = { /* keep, first, last, sink_pages, ring_pages */
        {4, 230, 320, 1, 7}, {0, 1000, 1090, 0, 8}, {40, 2000, 2100, 3, 10}, {64, 640, 700, 4, 5}, {4, 10, 60, 1, 4},
        {1, 4000, 4095, 1, 13}};
    for (size_t i = 0; i < sizeof ranges / sizeof ranges[0]; i++)
        check_types(&r, (scene){.dim = 64, .dim_v = 64, .heads = 4, .keep = ranges[i][0], .first = ranges[i][1],
                                .last = ranges[i][2], .sink_pages = ranges[i][3], .ring_pages = ranges[i][4]});
}

static void softcap(void **state) {
    (void)state;
    rng r;
    rng_seed(&r, 3);
    check_types(&r, (scene){.dim = 64, .dim_v = 64, .heads = 2, .last = 100, .softcap = 30});
    check_types(&r, (scene){.dim = 128, .dim_v = 128, .heads = 8, .first = 40, .last = 90, .softcap = 0.5f});
}

/* A head's result does not depend on the heads beside it. */
static void heads_are_independent(void **state) {
    (void)state;
    rng r;
    rng_seed(&r, 4);
    const compute_kernels *k;
    for (int v = 0; (k = compute_variant(v)); v++) {
        for (int t = 0; t < COMPUTE_KV_TYPES; t++) {
            float all[HEADS_MOST * 64], one[64];
            scene c = {.type = (compute_kv_type)t, .dim = 64, .dim_v = 64, .heads = HEADS_MOST, .first = 7, .last = 99,
                       .keep = 3};
            setting s;
            set_up(&s, &r, k, &c);
            s.args.out = all;
            k->attend(&s.args);
            for (uint32_t h = 0; h < HEADS_MOST; h++) {
                compute_attend_args a = s.args;
                a.q += h * a.q_stride, a.q_sinks += h * a.q_stride, a.n_heads = 1, a.out = one;
                k->attend(&a);
                assert_memory_equal(one, all + h * 64, sizeof one);
            }
            tear_down(&s);
        }
    }
}

/* Nor does a token's on the tokens beside it, wherever they begin and end, in a straight table or one that goes round. */
static void tokens_are_independent(void **state) {
    (void)state;
    enum { TOKENS = 24, HEADS = 4, DIM = 64, ONE = HEADS * DIM };
    static float q[TOKENS * ONE], q_sinks[TOKENS * ONE], all[TOKENS * ONE], one[ONE];
    static const uint32_t ranges[][5] = { /* position of the first token, keep, window, sink_pages, ring_pages */
        {0, 0, 4096, 0, 0}, {100, 0, 4096, 0, 0}, {190, 3, 4096, 0, 0}, {2, 10, 20, 0, 0},
        {117, 0, 7, 0, 0},  {140, 20, 50, 0, 0},  {1000, 4, 100, 1, 9}, {120, 0, 1, 0, 0}};
    rng r;
    rng_seed(&r, 11);
    for (int i = 0; i < TOKENS * ONE; i++) q[i] = random_float(&r) * 4, q_sinks[i] = random_float(&r) * 4;
    const compute_kernels *k;
    for (int v = 0; (k = compute_variant(v)); v++)
        for (size_t i = 0; i < 3 * sizeof ranges / sizeof ranges[0]; i++) {
            const uint32_t *range = ranges[i / 3];
            scene c = {.type = (compute_kv_type)(i % 3), .dim = DIM, .dim_v = DIM, .heads = HEADS, .keep = range[1],
                       .sink_pages = range[3], .ring_pages = range[4]};
            compute_span spans[TOKENS];
            setting s;
            set_up(&s, &r, k, &c);
            for (uint32_t t = 0; t < TOKENS; t++) {
                uint32_t last = range[0] + t;
                spans[t] = (compute_span){range[1], last + 1 > range[2] ? last + 1 - range[2] : 0, last};
            }
            s.args.q = q, s.args.q_sinks = q_sinks, s.args.q_stride = DIM, s.args.q_token_stride = ONE;
            s.args.spans = spans, s.args.n_tokens = TOKENS, s.args.out = all, s.args.out_token_stride = ONE;
            k->attend(&s.args);
            for (uint32_t t = 0; t < TOKENS; t++) {
                compute_attend_args a = s.args;
                a.q += t * ONE, a.q_sinks += t * ONE, a.spans += t, a.n_tokens = 1, a.out = one;
                k->attend(&a);
                assert_memory_equal(one, all + t * ONE, sizeof one);
            }
            tear_down(&s);
        }
}

/* A page may hold an earlier request's bytes in the slots that are not attended to: even NaN. */
static void other_slots_do_not_matter(void **state) {
    (void)state;
    const compute_kernels *k;
    static const uint8_t filler[] = {0x00, 0xFF, 0x7C};
    for (int v = 0; (k = compute_variant(v)); v++) {
        for (int t = 0; t < COMPUTE_KV_TYPES; t++) {
            float out[3][3 * 80];
            for (int f = 0; f < 3; f++) {
                scene c = {.type = (compute_kv_type)t, .dim = 80, .dim_v = 80, .heads = 3, .keep = 2, .first = 40, .last = 70};
                rng r;
                rng_seed(&r, 5);
                setting s;
                set_up(&s, &r, k, &c);
                for (int p = 0; p < PAGES; p++)
                    memset(s.page[p], filler[f], s.args.v_offset + compute_kv_v_bytes(c.type, c.dim_v));
                for (uint32_t at = 0; at <= c.last; at++)
                    if (at < c.keep || at >= c.first) store_random(&r, k, &s.args, s.page[at / 16], at % 16);
                s.args.out = out[f];
                k->attend(&s.args);
                tear_down(&s);
            }
            for (int i = 0; i < 3 * 80; i++) assert_true(isfinite(out[0][i]));
            assert_memory_equal(out[0], out[1], sizeof out[0]);
            assert_memory_equal(out[0], out[2], sizeof out[0]);
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(shapes_and_groups),     cmocka_unit_test(ranges_cross_pages),
        cmocka_unit_test(kept_positions),        cmocka_unit_test(rotating_tables),
        cmocka_unit_test(softcap),               cmocka_unit_test(heads_are_independent),
        cmocka_unit_test(tokens_are_independent),
        cmocka_unit_test(other_slots_do_not_matter),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
