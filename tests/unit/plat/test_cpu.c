/* CPU features against the kernel's own list of them. */
#include "../test.h"

#include <stdio.h>
#include <unistd.h>

#include "plat/cpu.h"

static char flags[8192]; /* " fpu vme … " of the first core; empty where /proc/cpuinfo has none */

static void flags_read(void) {
    FILE *f = fopen("/proc/cpuinfo", "r");
    if (!f) return;
    char line[8000];
    while (!flags[0] && fgets(line, sizeof line, f)) {
        if (strncmp(line, "flags", 5) && strncmp(line, "Features", 8)) continue;
        line[strcspn(line, "\n")] = 0;
        snprintf(flags, sizeof flags, "%s ", strchr(line, ':') + 1);
    }
    fclose(f);
}

static bool listed(const char *flag) {
    char padded[64];
    snprintf(padded, sizeof padded, " %s ", flag);
    return strstr(flags, padded) != NULL;
}

static void features_agree_with_the_kernel(void **state) {
    (void)state;
    flags_read();
    if (!flags[0]) skip();
    const plat_cpu *c = plat_cpu_get();
#if defined(__x86_64__)
    assert_int_equal(c->avx2_fma, listed("avx2") && listed("fma"));
    assert_int_equal(c->f16c, listed("f16c"));
    assert_int_equal(c->avx512, listed("avx512f") && listed("avx512bw") && listed("avx512vl") && listed("avx512dq"));
    assert_int_equal(c->avx512_vnni, c->avx512 && listed("avx512_vnni"));
    assert_int_equal(c->avx512_bf16, c->avx512 && listed("avx512_bf16"));
    assert_int_equal(c->amx_int8, listed("amx_tile") && listed("amx_int8"));
    assert_false(c->neon || c->neon_dotprod);
#elif defined(__aarch64__)
    assert_int_equal(c->neon, listed("asimd"));
    assert_int_equal(c->neon_dotprod, listed("asimddp"));
    assert_false(c->avx2_fma || c->avx512);
#endif
}

/* What the name says is the machine's affair: a hypervisor may tell the kernel another than the CPU tells us. */
static void name_and_cores(void **state) {
    (void)state;
    const plat_cpu *c = plat_cpu_get();
    assert_ptr_equal(c, plat_cpu_get());
    size_t n = strlen(c->model);
    assert_in_range(n, 1, sizeof c->model - 1);
    assert_true(c->model[0] != ' ' && c->model[n - 1] != ' ');
    assert_null(strstr(c->model, "  "));
    assert_in_range(c->usable_cores, 1, sysconf(_SC_NPROCESSORS_CONF));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(features_agree_with_the_kernel),
        cmocka_unit_test(name_and_cores),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
