/* Pressure: recorded figures from reading to reading; the machine's own. */
#include "../test.h"

#include "plat/psi.h"
#include "tree.h"

static void write_total(const tree *t, unsigned long long some_us) {
    char text[256];
    snprintf(text, sizeof text,
             "some avg10=1.53 avg60=0.87 avg300=0.23 total=%llu\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=99999999\n", some_us);
    tree_write(t, "/proc/pressure/memory", text);
}

static void stalls_press_for_a_while(void **state) {
    (void)state;
    tree t;
    tree_start(&t);
    write_total(&t, 5000000);
    plat_psi p;
    plat_psi_open(&p, t.root);
    uint64_t total = 0;
    assert_true(plat_psi_total(&p, &total));
    assert_int_equal(total, 5000000);
    assert_false(plat_psi_pressed(&p, 1000)); /* what was before does not count */
    assert_false(plat_psi_pressed(&p, 1200));
    write_total(&t, 5000000 + PLAT_PSI_STALL_MS * 1000 - 1);
    assert_false(plat_psi_pressed(&p, 1400));
    write_total(&t, 5000000 + PLAT_PSI_STALL_MS * 1000);
    assert_true(plat_psi_pressed(&p, 1600));
    assert_true(plat_psi_pressed(&p, 1600 + PLAT_PSI_LASTS_MS - 1));
    assert_false(plat_psi_pressed(&p, 1600 + PLAT_PSI_LASTS_MS)); /* passed, and forgotten */
    plat_psi_close(&p);
    tree_end(&t);
}

/* As much in all, spread over several windows: that is nothing. */
static void slow_stalls_do_not(void **state) {
    (void)state;
    tree t;
    tree_start(&t);
    write_total(&t, 0);
    plat_psi p;
    plat_psi_open(&p, t.root);
    for (unsigned i = 0; i < 100; i++) {
        write_total(&t, i * 10000);
        assert_false(plat_psi_pressed(&p, 1000 + i * PLAT_PSI_WINDOW_MS / 4));
    }
    plat_psi_close(&p);
    tree_end(&t);
}

static void a_kernel_without_it_is_never_pressed(void **state) {
    (void)state;
    tree t;
    tree_start(&t);
    plat_psi p;
    plat_psi_open(&p, t.root);
    assert_false(p.known);
    assert_false(plat_psi_pressed(&p, 1000));
    plat_psi_close(&p);
    tree_write(&t, "/proc/pressure/memory", "nothing of the kind\nsome\nsome total=\n");
    plat_psi_open(&p, t.root);
    assert_false(p.known);
    assert_false(plat_psi_pressed(&p, 1000));
    plat_psi_close(&p);
    tree_end(&t);
}

static void this_machine(void **state) {
    (void)state;
    plat_psi p;
    plat_psi_open(&p, "");
    for (uint64_t now = 1000; now < 1500; now += 100) (void)plat_psi_pressed(&p, now);
    plat_psi_close(&p);
    assert_int_equal(p.trigger_fd, -1);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(stalls_press_for_a_while),
        cmocka_unit_test(slow_stalls_do_not),
        cmocka_unit_test(a_kernel_without_it_is_never_pressed),
        cmocka_unit_test(this_machine),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
