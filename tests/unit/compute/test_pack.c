/* Packed layouts and block formats: what goes in comes out, and means what the specification says. */
#include "compute_test.h"

static void packing_keeps_values(void **state) {
    (void)state;
    rng r;
    rng_seed(&r, 1);
    static const uint32_t widths[] = {32, 96, 256, 288, 512, 2048};
    for (int i = 0; i < N_TYPES; i++) {
        for (int c = 0; c < 6; c++) {
            uint32_t cols = widths[c];
            if (cols % dtype_get(all_types[i])->block_values) continue;
            for (uint32_t rows = 1; rows <= 37; rows += 4) {
                uint8_t *src = random_rows(&r, all_types[i], rows, cols), *packed = pack_rows(all_types[i], src, rows, cols);
                float *want = aligned(cols * 4), *got = aligned(cols * 4);
                for (uint32_t row = 0; row < (rows + 15) / 16 * 16; row++) {
                    if (row < rows) literal_row(all_types[i], src + row * dtype_row_bytes(all_types[i], cols), cols, want);
                    else memset(want, 0, cols * 4);
                    compute_unpack_row(all_types[i], packed, cols, row, got);
                    for (uint32_t k = 0; k < cols; k++)
                        if (got[k] != want[k])
                            fail_msg("%s row %u of %u, column %u of %u: %g, should be %g", dtype_get(all_types[i])->name,
                                     row, rows, k, cols, (double)got[k], (double)want[k]);
                }
                free(src), free(packed), free(want), free(got);
            }
        }
    }
}

static void packed_size_is_the_files(void **state) {
    (void)state;
    assert_int_equal(compute_packed_bytes(DTYPE_Q4_0, 17, 64), 32 * 36);
    assert_int_equal(compute_packed_bytes(DTYPE_Q6_K, 16, 512), 16 * 420);
    assert_int_equal(compute_packed_bytes(DTYPE_F16, 1, 10), 16 * 20);
    for (uint32_t id = 0; id < DTYPE_COUNT; id++) {
        bool ours = false;
        for (int i = 0; i < N_TYPES; i++) ours |= all_types[i] == (dtype)id;
        assert_int_equal(compute_type_supported((dtype)id), ours);
    }
}

/* Nothing is written behind a panel (the bytes after it are a neighbour's). */
static void panel_stays_inside(void **state) {
    (void)state;
    rng r;
    rng_seed(&r, 5);
    for (int i = 0; i < N_TYPES; i++) {
        size_t bytes = compute_panel_bytes(all_types[i], 256);
        uint8_t *src = random_rows(&r, all_types[i], 16, 256), *panel = aligned(bytes + 64);
        compute_pack_panel(all_types[i], 256, 16, src, panel);
        for (size_t b = bytes; b < bytes + 64; b++) assert_int_equal(panel[b], 0xA5);
        free(src), free(panel);
    }
}

static void dequantize_is_literal(void **state) {
    (void)state;
    rng r;
    rng_seed(&r, 2);
    for (int i = 0; i < N_TYPES; i++) {
        uint8_t *row = random_rows(&r, all_types[i], 1, 1024);
        float want[1024], got[1024];
        literal_row(all_types[i], row, 1024, want);
        compute_dequantize_row(all_types[i], row, 1024, got);
        for (int k = 0; k < 1024; k++) assert_true(got[k] == want[k]);
        free(row);
    }
}

/* Worked out by hand from the block definitions. */
static void known_blocks(void **state) {
    (void)state;
    float out[256];
    uint8_t q4_0[18] = {0x00, 0x40, 0x1F}; /* d = 2; byte 0: column 0 = 15, column 16 = 1 */
    compute_dequantize_row(DTYPE_Q4_0, q4_0, 32, out);
    assert_true(out[0] == 14.0f && out[16] == -14.0f && out[1] == -16.0f && out[31] == -16.0f);

    uint8_t q4_1[20] = {0x00, 0x3C, 0x00, 0xC4, 0xA3}; /* d = 1, m = −4 */
    compute_dequantize_row(DTYPE_Q4_1, q4_1, 32, out);
    assert_true(out[0] == -1.0f && out[16] == 6.0f && out[2] == -4.0f);

    uint8_t q5_0[22] = {0x00, 0x38, 0x01, 0x00, 0x02, 0x00, 0x52}; /* d = 0.5; fifth bits of columns 0 and 17 */
    compute_dequantize_row(DTYPE_Q5_0, q5_0, 32, out);
    assert_true(out[0] == 1.0f && out[16] == -5.5f && out[17] == 0.0f && out[1] == -8.0f);

    uint8_t q5_1[24] = {0x00, 0x3C, 0x00, 0x3C, 0x00, 0x00, 0x00, 0x80, 0x0F}; /* d = m = 1; fifth bit of column 31 */
    compute_dequantize_row(DTYPE_Q5_1, q5_1, 32, out);
    assert_true(out[0] == 16.0f && out[31] == 17.0f && out[16] == 1.0f);

    uint8_t q8_0[34] = {0x00, 0x34, 0x80, 0x7F}; /* d = 0.25 */
    compute_dequantize_row(DTYPE_Q8_0, q8_0, 32, out);
    assert_true(out[0] == -32.0f && out[1] == 31.75f && out[2] == 0.0f);

    /* d = 1, dmin = 0.5; sub-block 0: scale 3, min 4; sub-block 4: scale 2 + 16·1, min 5 + 16·2 */
    uint8_t q4_k[144] = {0x00, 0x3C, 0x00, 0x38, 3 | 1 << 6, 0, 0, 0, 4 | 2 << 6, 0, 0, 0, 2 | 5 << 4};
    q4_k[16] = 0x07;          /* column 0 = 7 */
    q4_k[16 + 64] = 0x09;     /* column 128 (sub-block 4) = 9 */
    compute_dequantize_row(DTYPE_Q4_K, q4_k, 256, out);
    assert_true(out[0] == 19.0f && out[1] == -2.0f && out[32] == 0.0f);
    assert_true(out[128] == 18.0f * 9 - 18.5f && out[129] == -18.5f);

    uint8_t q5_k[176] = {0x00, 0x3C, 0x00, 0x38, 3 | 1 << 6, 0, 0, 0, 4 | 2 << 6, 0, 0, 0, 2 | 5 << 4};
    q5_k[16] = 1 << 0 | 1 << 4; /* column 0 of sub-blocks 0 and 4 */
    q5_k[48] = 0x07;
    compute_dequantize_row(DTYPE_Q5_K, q5_k, 256, out);
    assert_true(out[0] == 3.0f * 23 - 2 && out[1] == -2.0f && out[128] == 18.0f * 16 - 18.5f);

    uint8_t q6_k[210] = {0x21}; /* byte 0: columns 0 (low 1) and 64 (high 2) */
    q6_k[128] = 3 << 0 | 1 << 4; /* column 0: +48, column 64: +16 */
    q6_k[192] = 2;               /* columns 0–15 */
    q6_k[192 + 4] = (uint8_t)-1; /* columns 64–79 */
    q6_k[209] = 0x3C;            /* d = 1 */
    compute_dequantize_row(DTYPE_Q6_K, q6_k, 256, out);
    assert_true(out[0] == 2.0f * (49 - 32) && out[1] == -64.0f && out[64] == 14.0f && out[16] == 0.0f);
}

/* Round to nearest: the error is at most half a step (and what rounding the scales adds). */
static void quantize_is_near(void **state) {
    (void)state;
    rng r;
    rng_seed(&r, 3);
    static const double steps[DTYPE_COUNT] = {
        [DTYPE_F32] = 0, [DTYPE_F16] = 1.0 / 2048, [DTYPE_BF16] = 1.0 / 256, [DTYPE_Q4_0] = 1.0 / 8, [DTYPE_Q4_1] = 1.0 / 15,
        [DTYPE_Q5_0] = 1.0 / 16, [DTYPE_Q5_1] = 1.0 / 31, [DTYPE_Q8_0] = 0.5 / 127, [DTYPE_Q4_K] = 1.0 / 15 + 2.0 / 63,
        [DTYPE_Q5_K] = 1.0 / 31 + 2.0 / 63, [DTYPE_Q6_K] = 1.0 / 32 + 1.0 / 128,
    };
    for (int i = 0; i < N_TYPES; i++) {
        float x[1024], y[1024];
        uint8_t row[4096];
        for (int k = 0; k < 1024; k++) x[k] = random_float(&r);
        compute_quantize_row(all_types[i], x, 1024, row);
        literal_row(all_types[i], row, 1024, y);
        double worst = 0;
        for (int k = 0; k < 1024; k++) worst = fmax(worst, fabs((double)x[k] - (double)y[k]));
        if (worst > steps[all_types[i]] * 1.01)
            fail_msg("%s: error %g, step %g", dtype_get(all_types[i])->name, worst, steps[all_types[i]]);
    }
}

/* What a block can hold exactly comes back exactly. */
static void quantize_round_trip(void **state) {
    (void)state;
    float x[256], y[256];
    uint8_t row[1024];
    for (int k = 0; k < 256; k++) x[k] = (float)(k % 16 - 8) * 0.5f;
    for (int i = 0; i < N_TYPES; i++) {
        if (all_types[i] == DTYPE_Q8_0 || all_types[i] == DTYPE_Q4_K || all_types[i] == DTYPE_Q5_K) continue;
        compute_quantize_row(all_types[i], x, 256, row);
        literal_row(all_types[i], row, 256, y);
        bool exact = all_types[i] != DTYPE_Q5_1 && all_types[i] != DTYPE_Q6_K;
        for (int k = 0; exact && k < 256; k++)
            if (x[k] != y[k]) fail_msg("%s: %g became %g", dtype_get(all_types[i])->name, (double)x[k], (double)y[k]);
    }
    for (int k = 0; k < 256; k++) x[k] = (float)(k % 255 - 127);
    x[0] = 127; /* the largest magnitude of each block of 32 must be 127 for the step to be 1 */
    for (int b = 0; b < 8; b++) x[32 * b] = 127;
    compute_quantize_row(DTYPE_Q8_0, x, 256, row);
    literal_row(DTYPE_Q8_0, row, 256, y);
    for (int k = 0; k < 256; k++) assert_true(x[k] == y[k]);
}

static void quantize_takes_anything(void **state) {
    (void)state;
    float x[256] = {0}, y[256];
    uint8_t row[1024];
    for (int i = 3; i < N_TYPES; i++) { /* zeros stay zeros */
        compute_quantize_row(all_types[i], x, 256, row);
        compute_dequantize_row(all_types[i], row, 256, y);
        for (int k = 0; k < 256; k++) assert_true(y[k] == 0.0f);
    }
    x[3] = NAN, x[40] = INFINITY, x[41] = -INFINITY, x[100] = 3e38f, x[101] = 1e-45f, x[200] = -3e38f;
    for (int i = 3; i < N_TYPES; i++) {
        compute_quantize_row(all_types[i], x, 256, row);
        compute_dequantize_row(all_types[i], row, 256, y);
        for (int k = 0; k < 256; k++) assert_true(isfinite(y[k]));
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(packing_keeps_values), cmocka_unit_test(packed_size_is_the_files),
        cmocka_unit_test(panel_stays_inside),   cmocka_unit_test(dequantize_is_literal),
        cmocka_unit_test(known_blocks),         cmocka_unit_test(quantize_is_near),
        cmocka_unit_test(quantize_round_trip),  cmocka_unit_test(quantize_takes_anything),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
