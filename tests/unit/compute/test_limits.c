/* The machine's limits: there where the instructions are, and in proportion. */
#include "compute_test.h"

#include "compute/limits.h"
#include "plat/cpu.h"

enum { BYTES = 8 << 20 };

static void limits_fit_the_processor(void **state) {
    (void)state;
    err e;
    const plat_cpu *cpu = plat_cpu_get();
    uint8_t *bytes = aligned(BYTES);
    memset(bytes, 1, BYTES);
    for (int n_threads = 1; n_threads <= 2; n_threads++) {
        compute_pool *p = compute_pool_start(aligned(compute_pool_struct_bytes(n_threads)), n_threads, &e);
        assert_non_null(p);
        compute_limits l = {.read_gb_per_s = -1, .vnni_gmac_per_s = -1};
        compute_limits_measure(p, bytes, BYTES, &l);
        assert_true(l.read_gb_per_s > 0);
        assert_int_equal(l.vnni_gmac_per_s > 0, cpu->avx512_vnni);
        assert_int_equal(l.bf16_gmac_per_s > 0, cpu->avx512_bf16);
        assert_int_equal(l.fma_gmac_per_s > 0, cpu->avx512 || cpu->avx2_fma);
        compute_limits_measure(p, bytes, 100, &l); /* too few to say anything of memory */
        assert_true(l.read_gb_per_s == 0);
        compute_pool_stop(p);
        free(p);
    }
    free(bytes);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(limits_fit_the_processor)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
