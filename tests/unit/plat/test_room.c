/* What control groups and the machine leave, out of recorded files that change under open descriptors. */
#include "../test.h"

#include "plat/cpu.h"
#include "plat/proc.h"
#include "plat/room.h"
#include "tree.h"

#define MIB (UINT64_C(1) << 20)
#define GIB (UINT64_C(1) << 30)
#define INNER "/sys/fs/cgroup/a/b/"
#define OUTER "/sys/fs/cgroup/a/"

static void put(const tree *t, const char *path, uint64_t value) {
    char text[64];
    snprintf(text, sizeof text, "%llu\n", (unsigned long long)value);
    tree_write(t, path, text);
}

static void put_stat(const tree *t, const char *path, const char *key, uint64_t value) {
    char text[512];
    snprintf(text, sizeof text, "anon 5\nsock 123\nfile_inactive_file 77\n%s %llu\nactive_file 99\n", key,
             (unsigned long long)value);
    tree_write(t, path, text);
}

static void start_v2(tree *t) {
    tree_start(t);
    tree_write(t, "/proc/self/cgroup", "0::/a/b\n");
    tree_write(t, "/proc/self/mountinfo", "30 23 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw\n");
    tree_write(t, "/proc/meminfo", "MemTotal: 8388608 kB\nMemFree: 5 kB\nMemAvailable:    4194304 kB\n");
    tree_write(t, INNER "memory.max", "max\n");
    tree_write(t, INNER "memory.high", "max\n");
    put(t, INNER "memory.current", 50 * MIB);
    put_stat(t, INNER "memory.stat", "inactive_file", 0);
    put(t, OUTER "memory.current", 60 * MIB);
    tree_write(t, OUTER "memory.max", "max\n");
}

static void the_least_on_the_way_counts_and_is_read_anew(void **state) {
    (void)state;
    tree t;
    plat_room r;
    start_v2(&t);
    plat_room_open(&r, t.root);
    assert_true(plat_room_in_machine(&r) == 4 * GIB - 16 * MIB);
    assert_true(plat_room_in_groups(&r, 1) == UINT64_MAX && plat_room_limit(&r) == UINT64_MAX);
    put(&t, OUTER "memory.max", GIB); /* a limit that was not there when the files were opened */
    uint64_t margin = plat_room_margin(GIB);
    assert_true(margin >= 2 * MIB && margin < GIB / 64);
    assert_true(plat_room_in_groups(&r, 1) == GIB - margin - 60 * MIB && plat_room_limit(&r) == GIB - margin);
    put(&t, INNER "memory.high", 256 * MIB); /* above it the kernel throttles: a bound as well */
    margin = plat_room_margin(256 * MIB);
    assert_true(plat_room_in_groups(&r, 1) == 206 * MIB - margin && plat_room_limit(&r) == 256 * MIB - margin);
    put(&t, INNER "memory.current", 300 * MIB); /* over: no room, no wrap */
    assert_int_equal(plat_room_in_groups(&r, 1), 0);
    put(&t, INNER "memory.max", 5); /* smaller than its margin */
    assert_int_equal(plat_room_limit(&r), 0);
    plat_room_close(&r);
    tree_end(&t);
}

/* Pages of files make way, as far as the kernel's figure of them is exact; they are looked for when they are needed. */
static void inactive_files_are_room(void **state) {
    (void)state;
    uint64_t error = (uint64_t)plat_cpu_get()->usable_cores * 64 * 4096, margin = plat_room_margin(GIB);
    tree t;
    plat_room r;
    start_v2(&t);
    put(&t, OUTER "memory.max", GIB);
    put(&t, OUTER "memory.current", 900 * MIB);
    put_stat(&t, OUTER "memory.stat", "inactive_file", 400 * MIB + error);
    plat_room_open(&r, t.root);
    assert_true(plat_room_in_groups(&r, MIB) == 124 * MIB - margin);
    assert_true(plat_room_in_groups(&r, GIB) == 524 * MIB - margin);
    put_stat(&t, OUTER "memory.stat", "inactive_file", error / 2);
    assert_true(plat_room_in_groups(&r, GIB) == 124 * MIB - margin);
    plat_room_close(&r);
    tree_end(&t);
}

static void v1_counts_with_all_below(void **state) {
    (void)state;
    uint64_t error = (uint64_t)plat_cpu_get()->usable_cores * 64 * 4096;
    tree t;
    plat_room r;
    tree_start(&t);
    tree_write(&t, "/proc/self/cgroup", "4:memory:/jobs\n");
    tree_write(&t, "/proc/self/mountinfo", "35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory\n");
    put(&t, "/sys/fs/cgroup/memory/jobs/memory.limit_in_bytes", GIB);
    put(&t, "/sys/fs/cgroup/memory/jobs/memory.usage_in_bytes", GIB - MIB);
    put_stat(&t, "/sys/fs/cgroup/memory/jobs/memory.stat", "total_inactive_file", 300 * MIB + error);
    put(&t, "/sys/fs/cgroup/memory/memory.limit_in_bytes", INT64_MAX); /* the root's: none */
    put(&t, "/sys/fs/cgroup/memory/memory.usage_in_bytes", 5 * GIB);
    plat_room_open(&r, t.root);
    assert_true(plat_room_in_groups(&r, GIB) == 301 * MIB - plat_room_margin(GIB));
    assert_true(plat_room_in_machine(&r) == UINT64_MAX); /* no meminfo */
    assert_false(plat_room_moved(&r, t.root));
    tree_write(&t, "/proc/self/cgroup", "4:memory:/jobs/inner\n");
    assert_true(plat_room_moved(&r, t.root));
    plat_room_close(&r);
    assert_true(plat_room_in_groups(&r, GIB) == UINT64_MAX);
    tree_end(&t);
}

static void without_groups_there_is_no_limit(void **state) {
    (void)state;
    tree t;
    plat_room r;
    tree_start(&t);
    plat_room_open(&r, t.root);
    assert_true(plat_room_in_groups(&r, GIB) == UINT64_MAX && plat_room_in_machine(&r) == UINT64_MAX);
    assert_false(plat_room_moved(&r, t.root));
    plat_room_close(&r);
    tree_end(&t);
}

/* Two MiB and a 128th, at most 64 MiB: what the kernel may take between a reading and the next. */
static void the_margin_grows_with_the_limit(void **state) {
    (void)state;
    assert_int_equal(plat_room_margin(0), 2 * MIB);
    assert_int_equal(plat_room_margin(128 * MIB), 3 * MIB);
    assert_int_equal(plat_room_margin(GIB), 10 * MIB);
    assert_int_equal(plat_room_margin(62 * 128 * MIB), 64 * MIB);
    assert_int_equal(plat_room_margin(62 * 128 * MIB - 128), 64 * MIB - 1);
    assert_int_equal(plat_room_margin(UINT64_MAX), 64 * MIB);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_least_on_the_way_counts_and_is_read_anew),
        cmocka_unit_test(inactive_files_are_room),
        cmocka_unit_test(v1_counts_with_all_below),
        cmocka_unit_test(without_groups_there_is_no_limit),
        cmocka_unit_test(the_margin_grows_with_the_limit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
