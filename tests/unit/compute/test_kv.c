/* What kv_store writes: the same bytes from every variant, in its own slot alone, near to what it was given. */
#include "kv_test.h"

enum { DIM_MOST = 256 };

/* One head's keys and values. */
typedef struct head {
    compute_kv_type type;
    uint32_t dim;
    size_t k_bytes, v_bytes;
    uint8_t *k, *v;
} head;

static head head_of(compute_kv_type type, uint32_t dim, int filler) {
    head h = {type, dim, compute_kv_k_bytes(type, dim), compute_kv_v_bytes(type, dim)};
    h.k = aligned(h.k_bytes), h.v = aligned(h.v_bytes);
    memset(h.k, filler, h.k_bytes), memset(h.v, filler, h.v_bytes);
    return h;
}

static void head_free(head *h) {
    free(h->k);
    free(h->v);
}

static void store(const compute_kernels *k, head *h, const float *kx, const float *vx, uint32_t slot) {
    k->kv_store(h->type, h->k, h->v, kx, vx, h->dim, h->dim, slot);
}

static double gaussian(rng *r) { return sqrt(-2 * log(1 - rng_unit(r))) * cos(6.283185307179586 * rng_unit(r)); }

static void names_and_sizes(void **state) {
    (void)state;
    assert_string_equal(compute_kv_name(COMPUTE_KV_F16), "f16");
    assert_string_equal(compute_kv_name(COMPUTE_KV_Q8), "q8");
    assert_string_equal(compute_kv_name(COMPUTE_KV_Q4), "q4");
    static const uint32_t dims[][7] = {/* dim, and bytes of f16, q8, q4 keys, then of values */
                                       {64, 2048, 1056, 576, 2048, 1056, 576}, {128, 4096, 2112, 1152, 4096, 2112, 1152},
                                       {96, 3072, 1632, 960, 3072, 1632, 960}, {80, 2560, 1440, 960, 2560, 1440, 1088},
                                       {8, 256, 160, 128, 256, 160, 320},      {2, 64, 96, 128, 64, 96, 320}};
    for (size_t i = 0; i < sizeof dims / sizeof dims[0]; i++)
        for (int t = 0; t < COMPUTE_KV_TYPES; t++) {
            assert_int_equal(compute_kv_k_bytes((compute_kv_type)t, dims[i][0]), dims[i][1 + t]);
            assert_int_equal(compute_kv_v_bytes((compute_kv_type)t, dims[i][0]), dims[i][4 + t]);
        }
}

/* Ordinary, tiny, huge, equal, and not finite at all. */
static void odd_values(rng *r, int kind, uint32_t n, float *x) {
    static const float special[] = {NAN, INFINITY, -INFINITY, -0.0f, 0.0f, 1e-45f, -3e-8f, 6e4f, -7e4f, 3e38f, 1.0f};
    for (uint32_t i = 0; i < n; i++) {
        float u = random_float(r);
        switch (kind) {
        case 0: x[i] = u; break;
        case 1: x[i] = u * 1e5f; break;
        case 2: x[i] = u * 2e-6f; break; /* scales are f16's smallest */
        case 3: x[i] = -0.0f; break;
        case 4: x[i] = 0.7f; break;
        case 5: x[i] = special[rng_next(r) % 11]; break;
        case 6: x[i] = i == n / 2 ? NAN : u; break;
        default: x[i] = i % 2 ? INFINITY : NAN;
        }
    }
}
enum { KINDS = 8 };

static void variants_store_the_same_bytes(void **state) {
    (void)state;
    static const uint32_t dims[] = {2, 8, 16, 20, 48, 64, 80, 96, 128, 256};
    const compute_kernels *ref = compute_by_name("ref"), *k;
    rng r;
    rng_seed(&r, 1);
    for (int i = 0; i < 10; i++)
        for (int kind = 0; kind < KINDS; kind++)
            for (int t = 0; t < COMPUTE_KV_TYPES; t++) {
                float kx[DIM_MOST], vx[DIM_MOST];
                odd_values(&r, kind, dims[i], kx);
                odd_values(&r, kind, dims[i], vx);
                head want = head_of((compute_kv_type)t, dims[i], 0xA5);
                store(ref, &want, kx, vx, 5);
                for (int v = 1; (k = compute_variant(v)); v++) {
                    head got = head_of((compute_kv_type)t, dims[i], 0xA5);
                    store(k, &got, kx, vx, 5);
                    if (memcmp(want.k, got.k, got.k_bytes) || memcmp(want.v, got.v, got.v_bytes))
                        fail_msg("%s differs from ref: %s dim %u, values of kind %d", k->name, compute_kv_name(got.type),
                                 dims[i], kind);
                    head_free(&got);
                }
                head_free(&want);
            }
}

/* A byte is a slot's own when storing there makes it the same whatever it was before. */
static void mark_owned(const head *a, const head *b, uint8_t *owned) {
    for (size_t i = 0; i < a->k_bytes; i++) owned[i] = (uint8_t)(owned[i] + (a->k[i] == b->k[i]));
    for (size_t i = 0; i < a->v_bytes; i++) owned[a->k_bytes + i] = (uint8_t)(owned[a->k_bytes + i] + (a->v[i] == b->v[i]));
}

static void slots_share_no_byte(void **state) {
    (void)state;
    static const uint32_t dims[] = {2, 20, 64, 96};
    const compute_kernels *k;
    rng r;
    rng_seed(&r, 2);
    for (int v = 0; (k = compute_variant(v)); v++)
        for (int i = 0; i < 4; i++)
            for (int t = 0; t < COMPUTE_KV_TYPES; t++) {
                uint8_t owned[2 * 96 * 64] = {0};
                float kx[DIM_MOST], vx[DIM_MOST];
                size_t bytes = 0, n_owned = 0;
                for (uint32_t slot = 0; slot < 16; slot++) {
                    head a = head_of((compute_kv_type)t, dims[i], 0x5A), b = head_of((compute_kv_type)t, dims[i], 0xA5);
                    odd_values(&r, 0, dims[i], kx);
                    odd_values(&r, 0, dims[i], vx);
                    store(k, &a, kx, vx, slot);
                    store(k, &b, kx, vx, slot);
                    mark_owned(&a, &b, owned);
                    bytes = a.k_bytes + a.v_bytes;
                    head_free(&a);
                    head_free(&b);
                }
                for (size_t at = 0; at < bytes; at++) {
                    assert_true(owned[at] <= 1);
                    n_owned += owned[at];
                }
                /* Rows hold 4 values of q8's keys (8 of q4's), 32 of q4's values: what is left of the last is padding. */
                size_t padding = t == COMPUTE_KV_Q8 ? -dims[i] % 4 * 16 + (64 - dims[i] * 16 % 64) % 64 : 0;
                if (t == COMPUTE_KV_Q4 && dims[i] % 8 && dims[i] % 8 < 4) padding += (4 - dims[i] % 8) * 16;
                if (t == COMPUTE_KV_Q4 && dims[i] % 32 && dims[i] % 32 < 16) padding += (16 - dims[i] % 32) * 16;
                assert_int_equal(n_owned, bytes - padding);
            }
}

/* f16 values are rounded to nearest even; those that f16 cannot hold become its largest. */
static void f16_rounds(void **state) {
    (void)state;
    const compute_kernels *k;
    rng r;
    rng_seed(&r, 6);
    for (int v = 0; (k = compute_variant(v)); v++) {
        float kx[96], vx[96];
        head h = head_of(COMPUTE_KV_F16, 96, 0xA5);
        for (uint32_t d = 0; d < 96; d++) kx[d] = random_float(&r), vx[d] = random_float(&r) * 1e5f;
        store(k, &h, kx, vx, 5);
        for (uint32_t d = 0; d < 96; d++) {
            uint16_t key, value;
            memcpy(&key, h.k + 2 * (d * 16 + 5), 2);
            memcpy(&value, h.v + 2 * (5 * 96 + d), 2);
            assert_int_equal(key, compute_f16_from_f32(kx[d]));
            assert_int_equal(value, compute_f16_from_f32(fminf(fmaxf(vx[d], -65504), 65504)));
        }
        head_free(&h);
    }
}

/* No stored value is further off than half a step and the rounding of scale and minimum allow. */
static void values_are_within_half_a_step(void **state) {
    (void)state;
    static const uint32_t dims[] = {8, 48, 64, 96, 128};
    rng r;
    rng_seed(&r, 3);
    for (int i = 0; i < 5; i++)
        for (int t = COMPUTE_KV_Q8; t < COMPUTE_KV_TYPES; t++) {
            uint32_t dim = dims[i], group = literal_group(dim);
            head h = head_of((compute_kv_type)t, dim, 0xA5);
            float given[DIM_MOST];
            double plain[DIM_MOST], x[DIM_MOST];
            for (uint32_t d = 0; d < dim; d++) plain[d] = (double)(given[d] = (float)gaussian(&r));
            for (uint32_t d = 0; d < dim; d++) x[d] = literal_rotated(h.type, plain, dim, d);
            store(compute_by_name("ref"), &h, given, given, 9);
            for (uint32_t g = 0; g < dim; g += group) {
                double least = INFINITY, most = -INFINITY, magnitude;
                for (uint32_t d = g; d < g + group; d++) least = fmin(least, x[d]), most = fmax(most, x[d]);
                magnitude = fmax(-least, most);
                double step = t == COMPUTE_KV_Q8 ? magnitude / 127 : (most - least) / 15;
                for (uint32_t d = g; d < g + group; d++) {
                    assert_close(literal_kv_value(h.type, h.v, dim, 9, d), x[d], step * 0.5 + magnitude / 900);
                    assert_close(literal_key(h.type, h.k, dim, 9, d), x[d], step * 0.5 + magnitude / 900);
                }
            }
            head_free(&h);
        }
}

/* Relative error, root mean square and in percent, of the products of a query with stored keys (or of the stored
 * values), of data that is gaussian or has a channel that stands out. */
static double error_percent(compute_kv_type type, uint32_t dim, bool keys, bool outliers) {
    enum { TOKENS = 2048 };
    rng r;
    rng_seed(&r, 4);
    double wrong = 0, whole = 0;
    for (uint32_t token = 0; token < TOKENS; token++) {
        head h = head_of(type, dim, 0xA5);
        float given[DIM_MOST];
        double q[DIM_MOST], v[DIM_MOST], exact = 0, stored = 0;
        for (uint32_t d = 0; d < dim; d++) {
            given[d] = (float)(gaussian(&r) * (outliers && d % 64 == 5 ? 15 : 1));
            q[d] = gaussian(&r);
        }
        store(compute_by_name("ref"), &h, given, given, token % 16);
        for (uint32_t d = 0; d < dim; d++) {
            exact += q[d] * (double)given[d];
            stored += literal_rotated(type, q, dim, d) * literal_key(type, h.k, dim, token % 16, d);
            v[d] = literal_kv_value(type, h.v, dim, token % 16, d);
        }
        if (keys) wrong += (stored - exact) * (stored - exact), whole += exact * exact;
        for (uint32_t d = 0; d < dim && !keys; d++) {
            double off = literal_rotated(type, v, dim, d) - (double)given[d];
            wrong += off * off, whole += (double)given[d] * (double)given[d];
        }
        head_free(&h);
    }
    return 100 * sqrt(wrong / whole);
}

static void errors_are_small(void **state) {
    (void)state;
    static const double bound[COMPUTE_KV_TYPES] = {0.05, 1, 12}; /* percent */
    for (int t = 0; t < COMPUTE_KV_TYPES; t++)
        for (uint32_t dim = 64; dim <= 128; dim += 32)
            for (int outliers = 0; outliers < 2; outliers++) {
                double k = error_percent((compute_kv_type)t, dim, true, outliers);
                double v = error_percent((compute_kv_type)t, dim, false, outliers);
                print_message("  %s dim %u%s: q·K off by %.3f %%, V by %.3f %%\n", compute_kv_name((compute_kv_type)t), dim,
                              outliers ? " with outliers" : "", k, v);
                assert_true(k < bound[t] && v < bound[t]);
            }
}

/* NaN is stored as 0, what no f16 can hold as the largest that it can; what comes back is finite. */
static void values_that_are_not_finite(void **state) {
    (void)state;
    rng r;
    rng_seed(&r, 5);
    for (int t = 0; t < COMPUTE_KV_TYPES; t++)
        for (int kind = 0; kind < KINDS; kind++) {
            float x[64], tame[64];
            odd_values(&r, kind, 64, x);
            for (int i = 0; i < 64; i++) tame[i] = isnan(x[i]) ? 0 : fminf(fmaxf(x[i], -65504), 65504);
            head a = head_of((compute_kv_type)t, 64, 0xA5), b = head_of((compute_kv_type)t, 64, 0xA5);
            store(compute_by_name("ref"), &a, x, x, 15);
            store(compute_by_name("ref"), &b, tame, tame, 15);
            assert_memory_equal(a.k, b.k, a.k_bytes);
            assert_memory_equal(a.v, b.v, a.v_bytes);
            double v[64];
            for (uint32_t d = 0; d < 64; d++) {
                v[d] = literal_kv_value(a.type, a.v, 64, 15, d);
                assert_true(isfinite(literal_key(a.type, a.k, 64, 15, d)) && isfinite(v[d]));
            }
            for (uint32_t d = 0; d < 64; d++) {
                if (kind == 3) assert_true(literal_rotated(a.type, v, 64, d) == 0);
                if (kind == 4) assert_close(literal_rotated(a.type, v, 64, d), 0.7, 0.7 / 1000);
            }
            head_free(&a);
            head_free(&b);
        }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_and_sizes),
        cmocka_unit_test(variants_store_the_same_bytes),
        cmocka_unit_test(slots_share_no_byte),
        cmocka_unit_test(f16_rounds),
        cmocka_unit_test(values_are_within_half_a_step),
        cmocka_unit_test(errors_are_small),
        cmocka_unit_test(values_that_are_not_finite),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
