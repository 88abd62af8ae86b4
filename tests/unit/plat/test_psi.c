/* Pressure: recorded figures from reading to reading; the machine's own. */
#include "../test.h"

#include "plat/proc.h"
#include "plat/psi.h"
#include "tree.h"

#define GROUP "/sys/fs/cgroup/system.slice/plimsoll.service/"

static void write_stalls(const tree *t, const char *path, unsigned long long some_us) {
    char text[256];
    snprintf(text, sizeof text,
             "some avg10=1.53 avg60=0.87 avg300=0.23 total=%llu\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=99999999\n", some_us);
    tree_write(t, path, text);
}

static void write_total(const tree *t, unsigned long long some_us) { write_stalls(t, "/proc/pressure/memory", some_us); }

static bool machine_presses(plat_psi *p, uint64_t now_ms) {
    plat_pressed now = plat_psi_pressed(p, now_ms);
    assert_false(now.group);
    return now.machine;
}

static void stalls_press_for_a_while(void **state) {
    (void)state;
    tree t;
    tree_start(&t);
    write_total(&t, 5000000);
    plat_psi p;
    plat_psi_open(&p, t.root);
    uint64_t total = 0;
    assert_int_equal(p.n_sources, 1);
    assert_true(plat_psi_total(p.sources[0].path, "some", &total));
    assert_int_equal(total, 5000000);
    assert_true(plat_psi_total(p.sources[0].path, "full", &total));
    assert_int_equal(total, 99999999);
    assert_false(plat_psi_total(p.sources[0].path, "so", &total));
    assert_false(machine_presses(&p, 1000)); /* what was before does not count */
    assert_false(machine_presses(&p, 1200));
    write_total(&t, 5000000 + PLAT_PSI_STALL_MS * 1000 - 1);
    assert_false(machine_presses(&p, 1400));
    write_total(&t, 5000000 + PLAT_PSI_STALL_MS * 1000);
    assert_true(machine_presses(&p, 1600));
    assert_true(machine_presses(&p, 1600 + PLAT_PSI_LASTS_MS - 1));
    assert_false(machine_presses(&p, 1600 + PLAT_PSI_LASTS_MS)); /* passed, and forgotten */
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
        assert_false(machine_presses(&p, 1000 + i * PLAT_PSI_WINDOW_MS / 4));
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
    assert_int_equal(p.n_sources, 0);
    assert_false(machine_presses(&p, 1000));
    plat_psi_close(&p);
    tree_write(&t, "/proc/pressure/memory", "nothing of the kind\nsome\nsome total=\n");
    plat_psi_open(&p, t.root);
    assert_int_equal(p.n_sources, 0);
    assert_false(machine_presses(&p, 1000));
    plat_psi_close(&p);
    tree_end(&t);
}

static void write_group(const tree *t) {
    tree_write(t, "/proc/self/cgroup", "0::/system.slice/plimsoll.service\n");
    tree_write(t, "/proc/self/mountinfo", "30 23 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw\n");
}

static void expect_pressed(plat_psi *p, uint64_t now_ms, bool machine, bool group) {
    plat_pressed now = plat_psi_pressed(p, now_ms);
    assert_int_equal(now.machine, machine);
    assert_int_equal(now.group, group);
}

/* Its limit may press a group while the machine has plenty; and a machine may press without any group. */
static void a_group_presses_alone(void **state) {
    (void)state;
    for (int with_machine = 0; with_machine < 2; with_machine++) {
        tree t;
        tree_start(&t);
        plat_psi p;
        write_group(&t);
        write_stalls(&t, GROUP "memory.pressure", 700);
        if (with_machine) write_total(&t, 5000000);
        plat_psi_open(&p, t.root);
        assert_int_equal(p.n_sources, 1 + with_machine);
        expect_pressed(&p, 1000, false, false);
        write_stalls(&t, GROUP "memory.pressure", 700 + PLAT_PSI_STALL_MS * 1000);
        expect_pressed(&p, 1200, false, true);
        expect_pressed(&p, 1200 + PLAT_PSI_LASTS_MS, false, false);
        if (with_machine) write_total(&t, 5000000 + PLAT_PSI_STALL_MS * 1000);
        expect_pressed(&p, 1300 + PLAT_PSI_LASTS_MS, with_machine, false);
        plat_psi_close(&p);
        tree_end(&t);
    }
}

/* A group whose figures cannot be read leaves the machine's. */
static void an_unreadable_group_is_left_out(void **state) {
    (void)state;
    tree t;
    tree_start(&t);
    plat_psi p;
    write_group(&t);
    write_total(&t, 0);
    tree_write(&t, GROUP "memory.pressure/file", "");
    plat_psi_open(&p, t.root);
    assert_int_equal(p.n_sources, 1);
    assert_false(machine_presses(&p, 1000));
    write_total(&t, PLAT_PSI_STALL_MS * 1000);
    assert_true(machine_presses(&p, 1200));
    plat_psi_close(&p);
    tree_end(&t);
}

/* What v2's root says is about everyone: the machine's, not ours. */
static void the_root_is_no_group_of_ours(void **state) {
    (void)state;
    tree t;
    tree_start(&t);
    plat_psi p;
    write_group(&t);
    tree_write(&t, "/proc/self/cgroup", "0::/\n");
    write_stalls(&t, "/sys/fs/cgroup/memory.pressure", 0);
    plat_psi_open(&p, t.root);
    expect_pressed(&p, 1000, false, false);
    write_stalls(&t, "/sys/fs/cgroup/memory.pressure", PLAT_PSI_STALL_MS * 1000);
    expect_pressed(&p, 1200, true, false);
    plat_psi_close(&p);
    tree_end(&t);
}

/* In v1, the kernel takes our wish to be told. */
static void this_machine(void **state) {
    (void)state;
    plat_psi p;
    char dir[PLAT_PATH_BYTES], control[PLAT_PATH_BYTES + 64];
    int version = 0;
    plat_psi_open(&p, "");
    if (plat_cgroup_dir_at("", dir, &version) && version == 1) {
        snprintf(control, sizeof control, "%s/cgroup.event_control", dir);
        assert_int_equal(p.event_fd >= 0, access(control, W_OK) == 0);
    }
    for (uint64_t now = 1000; now < 1500; now += 100) (void)plat_psi_pressed(&p, now);
    plat_psi_close(&p);
    assert_int_equal(p.event_fd, -1);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(stalls_press_for_a_while),
        cmocka_unit_test(slow_stalls_do_not),
        cmocka_unit_test(a_kernel_without_it_is_never_pressed),
        cmocka_unit_test(a_group_presses_alone),
        cmocka_unit_test(an_unreadable_group_is_left_out),
        cmocka_unit_test(the_root_is_no_group_of_ours),
        cmocka_unit_test(this_machine),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
