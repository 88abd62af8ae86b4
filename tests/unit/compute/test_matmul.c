/* Products of packed weights: against double precision, and bit by bit between the variants. */
#include "compute_test.h"

static uint32_t padded(uint32_t rows) { return (rows + 15) / 16 * 16; }

/* Σ of dequantised weight × dequantised activation, in double; *size: Σ of magnitudes. */
static double exact(dtype type, const float *w, const compute_acts *a, uint32_t t, double *size) {
    double sum = 0;
    *size = 0;
    for (uint32_t k = 0; k < a->cols; k++) {
        double x = (double)a->x[(size_t)t * a->cols + k];
        if (dtype_get(type)->quantised)
            x = (double)act_at(a, t, k)->q[k % 256] * (double)act_at(a, t, k)->scale[k % 256 / 32];
        sum += (double)w[k] * x;
        *size += fabs((double)w[k] * x);
    }
    return sum;
}

static void check_ref(rng *r, dtype type, uint32_t rows, uint32_t cols, uint32_t n_tokens) {
    const compute_kernels *ref = compute_by_name("ref");
    uint8_t *src = random_rows(r, type, rows, cols), *packed = pack_rows(type, src, rows, cols);
    compute_acts a = random_acts(r, ref, type, n_tokens, cols);
    size_t stride = padded(rows) + 16;
    float *out = aligned(n_tokens * stride * 4), *w = aligned(cols * 4);
    ref->matmul(type, packed, cols, 0, padded(rows) / 16, &a, out, stride);
    for (uint32_t row = 0; row < rows; row++) {
        literal_row(type, src + row * dtype_row_bytes(type, cols), cols, w);
        for (uint32_t t = 0; t < n_tokens; t++) {
            double size, want = exact(type, w, &a, t, &size);
            /* affine types: Σ w·q and the minimum's part may cancel; both are within 32 × the magnitudes */
            assert_close(out[t * stride + row], want, size * 3e-6 + 1e-6);
        }
    }
    for (uint32_t row = rows; row < padded(rows); row++)
        for (uint32_t t = 0; t < n_tokens; t++) assert_true(out[t * stride + row] == 0.0f);
    free(src), free(packed), free(out), free(w);
    free_acts(&a);
}

static const uint32_t widths[] = {32, 64, 96, 256, 288, 512, 896, 2048};
enum { N_WIDTHS = sizeof widths / sizeof widths[0] };

static void ref_is_right(void **state) {
    (void)state;
    rng r;
    rng_seed(&r, 1);
    for (int i = 0; i < N_TYPES; i++)
        for (int c = 0; c < N_WIDTHS; c++)
            if (widths[c] % dtype_get(all_types[i])->block_values == 0) check_ref(&r, all_types[i], 21, widths[c], 3);
}

/* All of a matrix at once by ref; the same bits from k, whole and in parts of rows and of tokens. */
static void check_same(rng *r, const compute_kernels *k, dtype type, uint32_t rows, uint32_t cols, uint32_t n_tokens) {
    const compute_kernels *ref = compute_by_name("ref");
    uint8_t *src = random_rows(r, type, rows, cols), *packed = pack_rows(type, src, rows, cols);
    compute_acts a = random_acts(r, ref, type, n_tokens, cols);
    uint32_t panels = padded(rows) / 16, cut = panels / 2, first = n_tokens / 3;
    size_t stride = padded(rows), bytes = n_tokens * stride * 4;
    float *want = aligned(bytes), *got = aligned(bytes);
    ref->matmul(type, packed, cols, 0, panels, &a, want, stride);

    k->matmul(type, packed, cols, 0, panels, &a, got, stride);
    if (memcmp(want, got, bytes))
        fail_msg("%s differs from ref: %s, %u rows, %u columns, %u tokens", k->name, dtype_get(type)->name, rows, cols, n_tokens);

    memset(got, 0xA5, bytes);
    k->matmul(type, packed, cols, cut, panels, &a, got, stride);
    k->matmul(type, packed, cols, 0, cut, &a, got, stride);
    assert_memory_equal(want, got, bytes);

    memset(got, 0xA5, bytes);
    for (uint32_t t = 0, n; t < n_tokens; t += n) {
        n = t < first ? first : n_tokens - t;
        compute_acts part = a;
        part.n_tokens = n;
        part.x += (size_t)t * cols;
        part.acts += t;
        k->matmul(type, packed, cols, 0, panels, &part, got + t * stride, stride);
    }
    assert_memory_equal(want, got, bytes);
    free(src), free(packed), free(want), free(got);
    free_acts(&a);
}

static void variants_give_the_same_bits(void **state) {
    (void)state;
    rng r;
    rng_seed(&r, 2);
    const compute_kernels *k;
    for (int v = 0; (k = compute_variant(v)); v++) {
        for (int i = 0; i < N_TYPES; i++) {
            for (int c = 0; c < N_WIDTHS; c++) {
                if (widths[c] % dtype_get(all_types[i])->block_values) continue;
                check_same(&r, k, all_types[i], 1 + (uint32_t)(rng_next(&r) % 70), widths[c], 1 + (uint32_t)(rng_next(&r) % 19));
            }
            for (uint32_t n = 1; n <= 29; n++) check_same(&r, k, all_types[i], 3 * n + 13, 256, n);
        }
    }
}

/* More tokens than are worked on together; columns of float types may be any number. */
static void odd_sizes(void **state) {
    (void)state;
    rng r;
    rng_seed(&r, 3);
    const compute_kernels *k;
    for (int v = 1; (k = compute_variant(v)); v++) {
        check_same(&r, k, DTYPE_Q4_0, 16, 1024, 300);
        check_same(&r, k, DTYPE_Q6_K, 70, 512, 45);
        for (uint32_t cols = 1; cols < 40; cols += 7)
            for (int i = 0; i < 3; i++) check_same(&r, k, all_types[i], 70, cols, 5);
    }
}

/* The largest magnitudes that the types can hold: integer sums must not saturate. */
static void extremes(void **state) {
    (void)state;
    const compute_kernels *ref = compute_by_name("ref"), *k;
    enum { COLS = 512, TOKENS = 5 };
    for (int i = 3; i < N_TYPES; i++) {
        dtype type = all_types[i];
        for (int fill = 0; fill < 3; fill++) {
            rng r;
            rng_seed(&r, 4);
            uint8_t *src = random_rows(&r, type, 16, COLS);
            const dtype_info *info = dtype_get(type);
            for (size_t b = 0; b < 16 * COLS / info->block_values; b++)
                memset(src + b * info->block_bytes + (type == DTYPE_Q6_K ? 0 : 4), fill == 0 ? 0xFF : fill == 1 ? 0x80 : 0,
                       info->block_bytes - (type == DTYPE_Q6_K ? 18 : 4));
            uint8_t *packed = pack_rows(type, src, 16, COLS);
            compute_acts a = random_acts(&r, ref, type, TOKENS, COLS);
            for (uint32_t t = 0; t < TOKENS; t++) {
                for (uint32_t c = 0; c < COLS; c++) {
                    compute_act *act = act_at(&a, t, c);
                    act->q[c % 256] = (int8_t)(t == 0 ? 127 : t == 1 ? -127 : rng_next(&r) % 2 ? 127 : -127);
                    if (c % 16 == 0) act->sum16[c % 256 / 16] = 0;
                    act->sum16[c % 256 / 16] += act->q[c % 256];
                }
            }
            float want[TOKENS * 16], got[TOKENS * 16], w[COLS];
            ref->matmul(type, packed, COLS, 0, 1, &a, want, 16);
            for (uint32_t row = 0; row < 16; row++) {
                literal_row(type, src + row * dtype_row_bytes(type, COLS), COLS, w);
                for (uint32_t t = 0; t < TOKENS; t++) {
                    double size, sum = exact(type, w, &a, t, &size);
                    assert_close(want[t * 16 + row], sum, size * 3e-6 + 1e-6);
                }
            }
            for (int v = 1; (k = compute_variant(v)); v++) {
                k->matmul(type, packed, COLS, 0, 1, &a, got, 16);
                if (memcmp(want, got, sizeof want)) fail_msg("%s differs from ref: %s, fill %d", k->name, info->name, fill);
            }
            free(src), free(packed);
            free_acts(&a);
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ref_is_right),
        cmocka_unit_test(variants_give_the_same_bits),
        cmocka_unit_test(odd_sizes),
        cmocka_unit_test(extremes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
