/* Vector operations: against double precision, and bit by bit between the variants. */
#include "compute_test.h"

enum { N_MOST = 300 };
static const uint32_t lengths[] = {1, 2, 7, 8, 9, 15, 16, 17, 24, 31, 32, 33, 47, 64, 100, 255, 256, 257, 300};
enum { N_LENGTHS = sizeof lengths / sizeof lengths[0] };

static void fill(rng *r, float *x, uint32_t n, float size) {
    for (uint32_t i = 0; i < n; i++) x[i] = random_float(r) * size;
}

#define assert_same(k, what, a, b, bytes)                                        \
    do {                                                                         \
        if (memcmp(a, b, bytes)) fail_msg("%s differs from ref: %s", (k)->name, what); \
    } while (0)

static void half_conversions_are_exact(void **state) {
    (void)state;
    for (uint32_t h = 0; h < 65536; h++) {
        uint8_t bytes[2] = {(uint8_t)h, (uint8_t)(h >> 8)};
        float f = compute_f32_from_f16((uint16_t)h);
        uint16_t back = compute_f16_from_f32(f);
        if ((h & 0x7C00) == 0x7C00) {
            if (h & 0x3FF) assert_true(isnan(f) && (back & 0x7E00) == 0x7E00);
            else assert_true(isinf(f) && back == h);
            continue;
        }
        assert_true((double)f == literal_half(bytes));
        assert_int_equal(back, h);
    }
}

/* Every boundary between two halves: below it, on it (to even), above it. */
static void half_rounds_to_even(void **state) {
    (void)state;
    for (uint32_t h = 0; h < 0x7BFF; h++) {
        double low = (double)compute_f32_from_f16((uint16_t)h), high = (double)compute_f32_from_f16((uint16_t)(h + 1));
        float middle = (float)((low + high) / 2); /* exact: one bit more than a half has */
        uint16_t even = (uint16_t)(h & 1 ? h + 1 : h);
        assert_int_equal(compute_f16_from_f32(middle), even);
        assert_int_equal(compute_f16_from_f32(nextafterf(middle, 0)), h);
        assert_int_equal(compute_f16_from_f32(nextafterf(middle, INFINITY)), h + 1);
        assert_int_equal(compute_f16_from_f32(-middle), even | 0x8000);
    }
    assert_int_equal(compute_f16_from_f32(65519.99f), 0x7BFF);
    assert_int_equal(compute_f16_from_f32(65520.0f), 0x7C00);
    assert_int_equal(compute_f16_from_f32(-1e30f), 0xFC00);
    assert_int_equal(compute_f16_from_f32(1e-30f), 0);
}

static void exp_is_accurate(void **state) {
    (void)state;
    double worst = 0;
    for (double x = -87.3; x < 88.72; x += 0.00037) {
        float f = (float)x;
        double want = exp((double)f), got = (double)compute_exp(f);
        worst = fmax(worst, fabs(got - want) / want);
    }
    if (worst >= 2e-7) fail_msg("relative error %g", worst);
    assert_true(compute_exp(0) == 1.0f && compute_exp(-0.0f) == 1.0f);
    assert_true(compute_exp(-87.4f) == 0.0f && compute_exp(-1e30f) == 0.0f && compute_exp(-INFINITY) == 0.0f);
    assert_true(isinf(compute_exp(89.0f)) && isinf(compute_exp(INFINITY)) && isfinite(compute_exp(88.7228f)));
    assert_true(isnan(compute_exp(NAN)));
}

static void activations_are_quantised_as_promised(void **state) {
    (void)state;
    const compute_kernels *ref = compute_by_name("ref"), *k;
    rng r;
    rng_seed(&r, 1);
    static const uint32_t widths[] = {1, 16, 31, 32, 96, 255, 256, 288, 300, 896, 2048};
    for (int c = 0; c < 22; c++) {
        uint32_t group = c < 11 ? COMPUTE_ACT_GROUP : COMPUTE_ACT_GROUP_K;
        uint32_t cols = widths[c % 11], n_blocks = compute_act_blocks(cols), end_col = 256 * n_blocks;
        enum { STRIDE = 2 }; /* another token's block lies between two of ours */
        size_t bytes = n_blocks * STRIDE * sizeof(compute_act);
        float *x = aligned(cols * 4);
        compute_act *want = aligned(bytes), *got = aligned(bytes);
        memset(want, 0x55, bytes);
        fill(&r, x, cols, 3);
        if (c % 11 == 10) memset(x + 256, 0, 256 * 4), x[600] = NAN, x[601] = INFINITY, x[1000] = 1e-40f, x[1300] = 3e38f;
        ref->quantize(x, cols, group, want, STRIDE);
        for (uint32_t g = 0; 32 * g < cols; g++) {
            const compute_act *a = &want[g / 8 * STRIDE];
            uint32_t begin = 32 * g / group * group, end = begin + group < cols ? begin + group : cols;
            double most = 0;
            for (uint32_t i = begin; i < end; i++) most = fmax(most, isnan(x[i]) ? 0 : fmin(fabs((double)x[i]), 3.402823466e38));
            assert_close(a->scale[g % 8], most / 127, most * 1e-7);
            for (uint32_t i = begin; i < end; i++) {
                double v = isnan(x[i]) ? 0 : fmax(fmin((double)x[i], 3.402823466e38), -3.402823466e38), exact = most > 0 ? v * 127 / most : 0;
                assert_true(fabs(exact - want[i / 256 * STRIDE].q[i % 256]) <= 0.50001 && want[i / 256 * STRIDE].q[i % 256] >= -127);
            }
        }
        for (uint32_t s = 0; s < end_col / 16; s++) {
            const compute_act *a = &want[s / 16 * STRIDE];
            int32_t sum = 0;
            for (uint32_t i = 0; i < 16; i++) sum += a->q[16 * (s % 16) + i];
            assert_int_equal(a->sum16[s % 16], sum);
        }
        for (uint32_t i = cols; i < end_col; i++) assert_int_equal(want[i / 256 * STRIDE].q[i % 256], 0);
        for (uint32_t g = (cols + 31) / 32; g < end_col / 32; g++) assert_true(want[g / 8 * STRIDE].scale[g % 8] == 0);
        for (int v = 1; (k = compute_variant(v)); v++) {
            memset(got, 0x55, bytes);
            k->quantize(x, cols, group, got, STRIDE);
            assert_same(k, "quantize", want, got, bytes);
        }
        free(x), free(want), free(got);
    }
}

static void known_activations(void **state) {
    (void)state;
    const compute_kernels *k;
    for (int v = 0; (k = compute_variant(v)); v++) {
        float x[32] = {1, -1, 0.5f, 1.0f / 254, 3.0f / 254, -5.0f / 254}, zero[32] = {0}; /* halves go to even */
        compute_act a;
        k->quantize(x, 32, COMPUTE_ACT_GROUP, &a, 1);
        assert_true(a.scale[0] == 1.0f / 127);
        static const int8_t want[6] = {127, -127, 64, 0, 2, -2};
        assert_memory_equal(a.q, want, 6);
        assert_true(a.sum16[0] == 64 && a.sum16[1] == 0);
        k->quantize(zero, 32, COMPUTE_ACT_GROUP, &a, 1);
        assert_true(a.scale[0] == 0 && a.q[0] == 0 && a.sum16[0] == 0);
    }
}

static void rmsnorm_works(void **state) {
    (void)state;
    const compute_kernels *ref = compute_by_name("ref"), *k;
    rng r;
    rng_seed(&r, 2);
    float x[N_MOST], w[N_MOST], want[N_MOST], got[N_MOST];
    for (int l = 0; l < N_LENGTHS; l++) {
        uint32_t n = lengths[l];
        fill(&r, x, n, 4), fill(&r, w, n, 1);
        for (int weighted = 0; weighted < 2; weighted++) {
            ref->rmsnorm(x, weighted ? w : NULL, n, 1e-5f, want);
            double sum = 0;
            for (uint32_t i = 0; i < n; i++) sum += (double)x[i] * (double)x[i];
            for (uint32_t i = 0; i < n; i++)
                assert_close(want[i], (double)x[i] / sqrt(sum / n + 1e-5) * (weighted ? (double)w[i] : 1), 2e-6);
            for (int v = 1; (k = compute_variant(v)); v++) {
                k->rmsnorm(x, weighted ? w : NULL, n, 1e-5f, got);
                assert_same(k, "rmsnorm", want, got, n * 4);
            }
        }
    }
}

static void rope_works(void **state) {
    (void)state;
    const compute_kernels *ref = compute_by_name("ref"), *k;
    rng r;
    rng_seed(&r, 3);
    static const uint32_t dims[][2] = {{64, 64}, {96, 96}, {128, 128}, {80, 32}, {48, 20}, {6, 2}, {256, 256}};
    for (int i = 0; i < 7; i++) {
        uint32_t dim = dims[i][0], rot = dims[i][1];
        for (int paired = 0; paired < 2; paired++) {
            float x[3 * 256], want[3 * 256], got[3 * 256], cs[256];
            fill(&r, x, 3 * dim, 2);
            for (uint32_t j = 0; j < rot / 2; j++) {
                double angle = 37 * pow(10000, -2.0 * j / rot);
                cs[2 * j] = (float)cos(angle), cs[2 * j + 1] = (float)sin(angle);
            }
            memcpy(want, x, sizeof x);
            ref->rope(want, 3, dim, rot, cs, paired);
            for (uint32_t h = 0; h < 3; h++) {
                for (uint32_t j = 0; j < rot / 2; j++) {
                    uint32_t at = h * dim + (paired ? 2 * j : j), other = at + (paired ? 1 : rot / 2);
                    double a = (double)x[at], b = (double)x[other], c = (double)cs[2 * j], s = (double)cs[2 * j + 1];
                    assert_close(want[at], a * c - b * s, 1e-6);
                    assert_close(want[other], a * s + b * c, 1e-6);
                }
                assert_memory_equal(want + h * dim + rot, x + h * dim + rot, (dim - rot) * 4);
            }
            for (int v = 1; (k = compute_variant(v)); v++) {
                memcpy(got, x, sizeof x);
                k->rope(got, 3, dim, rot, cs, paired);
                assert_same(k, paired ? "rope, paired" : "rope, split", want, got, 3 * dim * 4);
            }
        }
    }
}

static void gates_work(void **state) {
    (void)state;
    const compute_kernels *ref = compute_by_name("ref"), *k;
    rng r;
    rng_seed(&r, 4);
    float g[N_MOST], u[N_MOST], want[N_MOST], got[N_MOST];
    for (int l = 0; l < N_LENGTHS; l++) {
        uint32_t n = lengths[l];
        fill(&r, g, n, l % 2 ? 120 : 6), fill(&r, u, n, 1);
        ref->silu_mul(g, u, n, want);
        for (uint32_t i = 0; i < n; i++) {
            double x = (double)g[i];
            assert_close(want[i], x / (1 + exp(-x)) * (double)u[i], 3e-7 * fabs(x) + 1e-30);
        }
        for (int v = 1; (k = compute_variant(v)); v++) {
            k->silu_mul(g, u, n, got);
            assert_same(k, "silu_mul", want, got, n * 4);
        }
        ref->gelu_mul(g, u, n, want);
        for (uint32_t i = 0; i < n; i++) {
            double x = (double)g[i];
            assert_close(want[i], x / 2 * (1 + tanh(0.7978845608028654 * (x + 0.044715 * x * x * x))) * (double)u[i], 2e-6 * fabs(x) + 1e-30);
        }
        for (int v = 1; (k = compute_variant(v)); v++) {
            k->gelu_mul(g, u, n, got);
            assert_same(k, "gelu_mul", want, got, n * 4);
        }
    }
}

static void sums_work(void **state) {
    (void)state;
    const compute_kernels *k;
    rng r;
    rng_seed(&r, 5);
    float x[N_MOST], y[N_MOST], got[N_MOST];
    for (int l = 0; l < N_LENGTHS; l++) {
        uint32_t n = lengths[l];
        fill(&r, x, n, 1), fill(&r, y, n, 1);
        for (int v = 0; (k = compute_variant(v)); v++) {
            memcpy(got, y, n * 4);
            k->add(got, x, n);
            for (uint32_t i = 0; i < n; i++) assert_true(got[i] == y[i] + x[i]);
            memcpy(got, y, n * 4);
            k->axpy(got, 0.3f, x, n);
            for (uint32_t i = 0; i < n; i++) assert_true(got[i] == fmaf(0.3f, x[i], y[i]));
        }
    }
}

static void softmax_works(void **state) {
    (void)state;
    const compute_kernels *ref = compute_by_name("ref"), *k;
    rng r;
    rng_seed(&r, 6);
    float x[N_MOST], want[N_MOST], got[N_MOST];
    for (int l = 0; l < N_LENGTHS; l++) {
        uint32_t n = lengths[l];
        fill(&r, x, n, l % 3 == 0 ? 80 : 5);
        memcpy(want, x, n * 4);
        ref->softmax(want, n);
        double most = -INFINITY, sum = 0;
        for (uint32_t i = 0; i < n; i++) most = fmax(most, (double)x[i]);
        for (uint32_t i = 0; i < n; i++) sum += exp((double)x[i] - most);
        for (uint32_t i = 0; i < n; i++) assert_close(want[i], exp((double)x[i] - most) / sum, 1e-6);
        for (int v = 1; (k = compute_variant(v)); v++) {
            memcpy(got, x, n * 4);
            k->softmax(got, n);
            assert_same(k, "softmax", want, got, n * 4);
        }
    }
}

/* Infinities and NaN may give what they like, but nothing may trap or write outside. */
static void bad_numbers_do_no_harm(void **state) {
    (void)state;
    const compute_kernels *k;
    float x[40], y[40];
    for (int i = 0; i < 40; i++) x[i] = i % 5 == 0 ? NAN : i % 5 == 1 ? INFINITY : i % 5 == 2 ? -INFINITY : (float)i;
    for (int v = 0; (k = compute_variant(v)); v++) {
        for (int i = 0; i < 40; i++) y[i] = 7;
        k->silu_mul(x, x, 33, y), k->gelu_mul(x, x, 33, y), k->rmsnorm(x, x, 33, 1e-5f, y);
        memcpy(y, x, 33 * 4);
        k->softmax(y, 33);
        for (int i = 33; i < 40; i++) assert_true(y[i] == 7);
    }
}

static void selection(void **state) {
    (void)state;
    err e;
    unsetenv("PLIMSOLL_KERNELS");
    assert_non_null(compute_select(&e));
    setenv("PLIMSOLL_KERNELS", "ref", 1);
    assert_string_equal(compute_select(&e)->name, "ref");
    setenv("PLIMSOLL_KERNELS", "abacus", 1);
    assert_null(compute_select(&e));
    assert_int_equal(e.code, ERR_USAGE);
    unsetenv("PLIMSOLL_KERNELS");
    assert_string_equal(compute_variant(0)->name, "ref");
    assert_null(compute_variant(99));
    assert_null(compute_by_name("abacus"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(half_conversions_are_exact), cmocka_unit_test(half_rounds_to_even),
        cmocka_unit_test(exp_is_accurate),            cmocka_unit_test(activations_are_quantised_as_promised),
        cmocka_unit_test(known_activations),          cmocka_unit_test(rmsnorm_works),
        cmocka_unit_test(rope_works),                 cmocka_unit_test(gates_work),
        cmocka_unit_test(sums_work),                  cmocka_unit_test(softmax_works),
        cmocka_unit_test(bad_numbers_do_no_harm),     cmocka_unit_test(selection),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
