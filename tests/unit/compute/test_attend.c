/* Attention over pages: against double precision, bit by bit between the variants, and blind to what lies
 * in slots outside the range. */
#include "compute_test.h"

enum { PAGES = 7, DIM_MOST = 256, HEADS_MOST = 9, K_OFFSET = 128 };

typedef struct setting {
    uint8_t *page[PAGES];
    const uint8_t *pages[PAGES];
    float *q;
    compute_attend_args args;
} setting;

/* Pages full of keys and values in [−1, 1], stored by k's own kv_store. */
static void set_up(setting *s, rng *r, const compute_kernels *k, uint32_t dim, uint32_t dim_v, uint32_t heads) {
    size_t k_bytes = (size_t)dim * 32 * 2, page_bytes = K_OFFSET + k_bytes + (size_t)dim_v * 32 * 2;
    float kx[DIM_MOST], vx[DIM_MOST];
    for (int p = 0; p < PAGES; p++) {
        s->page[p] = aligned(page_bytes);
        s->pages[p] = s->page[p];
        for (uint32_t slot = 0; slot < 32; slot++) {
            for (uint32_t d = 0; d < dim; d++) kx[d] = random_float(r);
            for (uint32_t d = 0; d < dim_v; d++) vx[d] = random_float(r);
            k->kv_store(COMPUTE_KV_F16, s->page[p] + K_OFFSET, s->page[p] + K_OFFSET + k_bytes, kx, vx, dim, dim_v, slot);
        }
    }
    s->q = aligned((size_t)heads * (dim + 16) * 4);
    for (size_t i = 0; i < (size_t)heads * (dim + 16); i++) s->q[i] = random_float(r) * 4;
    s->args = (compute_attend_args){
        .q = s->q, .n_heads = heads, .q_stride = dim + 16, .head_dim = dim, .head_dim_v = dim_v,
        .scale = 1 / sqrtf((float)dim), .pages = s->pages, .k_offset = K_OFFSET, .v_offset = K_OFFSET + k_bytes,
        .out_stride = dim_v,
    };
}

static void tear_down(setting *s) {
    for (int p = 0; p < PAGES; p++) free(s->page[p]);
    free(s->q);
}

static double key(const setting *s, uint32_t at, uint32_t d) {
    return literal_half(s->page[at / 32] + s->args.k_offset + 2 * (d * 32 + at % 32));
}
static double value(const setting *s, uint32_t at, uint32_t d) {
    return literal_half(s->page[at / 32] + s->args.v_offset + 2 * (at % 32 * s->args.head_dim_v + d));
}

static void check_exact(const setting *s, const float *out) {
    const compute_attend_args *a = &s->args;
    double score[32 * PAGES];
    for (uint32_t h = 0; h < a->n_heads; h++) {
        double most = -INFINITY, sum = 0;
        for (uint32_t at = a->first; at <= a->last; at++) {
            double x = 0;
            for (uint32_t d = 0; d < a->head_dim; d++) x += (double)a->q[h * a->q_stride + d] * key(s, at, d);
            x *= (double)a->scale;
            if (a->softcap > 0) x = (double)a->softcap * tanh(x / (double)a->softcap);
            score[at] = x;
            most = fmax(most, x);
        }
        for (uint32_t at = a->first; at <= a->last; at++) sum += exp(score[at] - most);
        for (uint32_t d = 0; d < a->head_dim_v; d++) {
            double want = 0;
            for (uint32_t at = a->first; at <= a->last; at++) want += exp(score[at] - most) / sum * value(s, at, d);
            assert_close(out[h * a->out_stride + d], want, 5e-6);
        }
    }
}

static void check(rng *r, uint32_t dim, uint32_t dim_v, uint32_t heads, uint32_t first, uint32_t last, float softcap) {
    const compute_kernels *ref = compute_by_name("ref"), *k;
    float want[HEADS_MOST * DIM_MOST], got[HEADS_MOST * DIM_MOST];
    setting s;
    set_up(&s, r, ref, dim, dim_v, heads);
    s.args.first = first, s.args.last = last, s.args.softcap = softcap;
    s.args.out = want;
    ref->attend(&s.args);
    check_exact(&s, want);
    s.args.out = got;
    for (int v = 1; (k = compute_variant(v)); v++) {
        k->attend(&s.args);
        if (memcmp(want, got, heads * dim_v * 4))
            fail_msg("%s differs from ref: dim %u/%u, %u heads, %u…%u", k->name, dim, dim_v, heads, first, last);
    }
    tear_down(&s);
}

static void shapes_and_groups(void **state) {
    (void)state;
    rng r;
    rng_seed(&r, 1);
    static const uint32_t dims[] = {32, 64, 96, 128, 256};
    for (int i = 0; i < 5; i++)
        for (uint32_t heads = 1; heads <= 9; heads++) check(&r, dims[i], dims[i], heads, 0, 40 + 17 * heads, 0);
    check(&r, 64, 96, 3, 0, 70, 0);
    check(&r, 48, 16, 3, 0, 70, 0);
    check(&r, 20, 10, 5, 3, 70, 0); /* no multiple of 16: the reference everywhere */
}

static void ranges_cross_pages(void **state) {
    (void)state;
    rng r;
    rng_seed(&r, 2);
    static const uint32_t ranges[][2] = {{0, 0}, {0, 31}, {0, 32}, {31, 31}, {31, 32}, {5, 9}, {17, 100}, {64, 95}, {33, 222}, {223, 223}};
    for (int i = 0; i < 10; i++) check(&r, 64, 64, 4, ranges[i][0], ranges[i][1], 0);
}

static void softcap(void **state) {
    (void)state;
    rng r;
    rng_seed(&r, 3);
    check(&r, 64, 64, 2, 0, 100, 30);
    check(&r, 128, 128, 8, 40, 90, 0.5f);
}

/* A head's result does not depend on the heads beside it. */
static void heads_are_independent(void **state) {
    (void)state;
    rng r;
    rng_seed(&r, 4);
    const compute_kernels *k;
    for (int v = 0; (k = compute_variant(v)); v++) {
        float all[HEADS_MOST * 64], one[64];
        setting s;
        set_up(&s, &r, k, 64, 64, HEADS_MOST);
        s.args.first = 7, s.args.last = 99, s.args.out = all;
        k->attend(&s.args);
        for (uint32_t h = 0; h < HEADS_MOST; h++) {
            compute_attend_args a = s.args;
            a.q += h * a.q_stride, a.n_heads = 1, a.out = one;
            k->attend(&a);
            assert_memory_equal(one, all + h * 64, sizeof one);
        }
        tear_down(&s);
    }
}

/* A page may hold an earlier request's bytes in the slots that are not attended to: even NaN. */
static void other_slots_do_not_matter(void **state) {
    (void)state;
    rng r;
    rng_seed(&r, 5);
    const compute_kernels *k;
    for (int v = 0; (k = compute_variant(v)); v++) {
        float before[3 * 64], after[3 * 64], nan[64];
        for (int i = 0; i < 64; i++) nan[i] = i % 2 ? NAN : INFINITY;
        setting s;
        set_up(&s, &r, k, 64, 64, 3);
        s.args.first = 40, s.args.last = 70, s.args.out = before;
        k->attend(&s.args);
        for (uint32_t at = 32; at < 96; at++)
            if (at < 40 || at > 70)
                k->kv_store(COMPUTE_KV_F16, s.page[at / 32] + s.args.k_offset, s.page[at / 32] + s.args.v_offset, nan, nan, 64, 64, at % 32);
        s.args.out = after;
        k->attend(&s.args);
        assert_memory_equal(before, after, sizeof before);
        tear_down(&s);
    }
}

static void kv_store_is_the_same(void **state) {
    (void)state;
    const compute_kernels *k;
    rng r;
    rng_seed(&r, 6);
    static const uint32_t dims[] = {2, 20, 64, 96};
    for (int i = 0; i < 4; i++) {
        uint32_t dim = dims[i];
        for (int v = 0; (k = compute_variant(v)); v++) {
            uint16_t kp[96 * 32], vp[96 * 32];
            float kx[96], vx[96];
            memset(kp, 0xA5, sizeof kp), memset(vp, 0xA5, sizeof vp);
            for (uint32_t d = 0; d < dim; d++) kx[d] = random_float(&r), vx[d] = random_float(&r) * 1e5f;
            k->kv_store(COMPUTE_KV_F16, (uint8_t *)kp, (uint8_t *)vp, kx, vx, dim, dim, 5);
            for (uint32_t d = 0; d < dim; d++) {
                assert_int_equal(kp[d * 32 + 5], compute_f16_from_f32(kx[d]));
                assert_int_equal(vp[5 * dim + d], compute_f16_from_f32(vx[d]));
                kp[d * 32 + 5] = vp[5 * dim + d] = 0xA5A5;
            }
            for (size_t j = 0; j < 96 * 32; j++) assert_true(kp[j] == 0xA5A5 && vp[j] == 0xA5A5);
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(shapes_and_groups),     cmocka_unit_test(ranges_cross_pages),
        cmocka_unit_test(softcap),               cmocka_unit_test(heads_are_independent),
        cmocka_unit_test(other_slots_do_not_matter), cmocka_unit_test(kv_store_is_the_same),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
