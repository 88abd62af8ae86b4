#include "../test.h"

#include "plat/cage.h"
#include "plat/child.h"
#include "plat/proc.h"
#include "tree.h"

/* Folders with files in them, as control groups look: what is made, written and removed, and where. */

static void read_back(const char *dir, const char *file, char out[128]) {
    char path[1200];
    snprintf(path, sizeof path, "%.1000s/%s", dir, file);
    FILE *f = fopen(path, "r");
    if (!f) fail_msg("no %s", path);
    size_t n = fread(out, 1, 127, f);
    out[n] = 0;
    fclose(f);
}

/* The kernel's files go with their group; ours must be taken away first. */
static void empty(const char *dir) {
    static const char *const files[] = {"memory.max", "memory.swap.max", "memory.limit_in_bytes", "cgroup.procs",
                                        "memory.events", "memory.oom_control"};
    char path[1300];
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        snprintf(path, sizeof path, "%.1200s/%s", dir, files[i]);
        (void)unlink(path);
    }
}

static bool is_there(const char *path) { return access(path, F_OK) == 0; }

static void below_a_group_that_was_named(void **state) {
    (void)state;
    static const struct {
        const char *mark, *limit, *kills_file;
        int version;
    } kinds[] = {{"/g/cgroup.controllers", "memory.max", "memory.events", 2},
                 {"/g/memory.limit_in_bytes", "memory.limit_in_bytes", "memory.oom_control", 1}};
    for (int k = 0; k < 2; k++) {
        tree t;
        plat_cage c;
        err e = {0};
        char parent[512], text[128], path[1200];
        tree_start(&t);
        tree_write(&t, kinds[k].mark, "memory\n");
        tree_path(&t, "/g", parent);
        assert_ok(plat_cage_make(&c, "", parent, 123456789, &e), e);
        assert_int_equal(c.version, kinds[k].version);
        assert_memory_equal(c.dir, parent, strlen(parent));
        read_back(c.dir, kinds[k].limit, text);
        assert_string_equal(text, "123456789");
        int fd = plat_cage_open(&c, &e);
        assert_true(fd >= 0);
        close(fd);
        assert_int_equal(plat_cage_kills(&c), 0);
        char inside[256];
        snprintf(inside, sizeof inside, "%.200s/%s", c.dir + strlen(t.root), kinds[k].kills_file);
        tree_write(&t, inside, "low 0\noom 5\noom_kill 3\noom_group_kill 1\n");
        assert_int_equal(plat_cage_kills(&c), 3);
        snprintf(path, sizeof path, "%s", c.dir);
        assert_false(plat_cage_remove(&c)); /* something is still in it: said, not waited for */
        empty(path);
        assert_true(plat_cage_remove(&c));
        assert_false(is_there(path));
        assert_true(plat_cage_remove(&c)); /* none: nothing to do */
        tree_end(&t);
    }
}

static void what_is_no_group_is_refused(void **state) {
    (void)state;
    tree t;
    plat_cage c;
    err e = {0};
    char parent[512];
    tree_start(&t);
    tree_write(&t, "/plain/file", "");
    tree_path(&t, "/plain", parent);
    assert_false(plat_cage_make(&c, "", parent, 1 << 20, &e));
    assert_int_equal(e.code, ERR_NOT_FOUND);
    assert_int_equal(c.version, 0);
    assert_false(plat_cage_make(&c, "", "/no/such", 1 << 20, &e));
    assert_false(plat_cage_make(&c, t.root, NULL, 1 << 20, &e)); /* no /proc/self/cgroup there */
    assert_int_equal(e.code, ERR_UNSUPPORTED);
    assert_int_equal(plat_cage_kills(&c), 0);
    assert_true(plat_cage_remove(&c));
    tree_end(&t);
}

static void write_v2(tree *t) {
    tree_start(t);
    tree_write(t, "/proc/self/cgroup", "0::/user/job\n");
    tree_write(t, "/proc/self/mountinfo", "30 23 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n");
    tree_write(t, "/sys/fs/cgroup/user/job/memory.max", "max\n");
    tree_write(t, "/sys/fs/cgroup/user/job/cgroup.subtree_control", "\n");
    tree_write(t, "/sys/fs/cgroup/user/cgroup.subtree_control", "cpu memory pids\n");
}

static void expect_made_in(tree *t, const char *where) {
    plat_cage c;
    err e = {0};
    char wanted[512], dir[1100];
    tree_path(t, where, wanted);
    assert_ok(plat_cage_make(&c, t->root, NULL, 1 << 20, &e), e);
    assert_memory_equal(c.dir, wanted, strlen(wanted));
    assert_string_not_equal(c.dir, wanted);
    assert_null(strchr(c.dir + strlen(wanted) + 1, '/'));
    snprintf(dir, sizeof dir, "%s", c.dir);
    empty(dir);
    assert_true(plat_cage_remove(&c));
}

static void where_v2_lets_us(void **state) {
    (void)state;
    tree t;
    plat_cage c;
    err e = {0};
    write_v2(&t);
    expect_made_in(&t, "/sys/fs/cgroup/user"); /* ours hands nothing down and has no limit: beside it */
    tree_write(&t, "/sys/fs/cgroup/user/job/memory.max", "1073741824\n");
    assert_false(plat_cage_make(&c, t.root, NULL, 1 << 20, &e)); /* beside it would be outside its limit */
    assert_int_equal(e.code, ERR_UNSUPPORTED);
    tree_write(&t, "/sys/fs/cgroup/user/job/cgroup.subtree_control", "memory\n");
    expect_made_in(&t, "/sys/fs/cgroup/user/job");
    tree_end(&t);
}

static void below_our_own_in_v1(void **state) {
    (void)state;
    tree t;
    tree_start(&t);
    tree_write(&t, "/proc/self/cgroup", "4:memory:/job\n1:cpu:/\n");
    tree_write(&t, "/proc/self/mountinfo", "31 23 0:27 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n");
    tree_write(&t, "/sys/fs/cgroup/memory/job/memory.limit_in_bytes", "9223372036854771712\n");
    expect_made_in(&t, "/sys/fs/cgroup/memory/job");
    tree_end(&t);
}

static void groups_of_the_dead_are_swept(void **state) {
    (void)state;
    tree t;
    plat_cage c;
    err e = {0};
    char parent[512], dead[512], own[512], other[512], text[64];
    tree_start(&t);
    tree_write(&t, "/g/cgroup.controllers", "memory\n");
    tree_path(&t, "/g", parent);
    tree_path(&t, "/g/plimsoll-guard-999999999-0", dead); /* above what a kernel numbers */
    snprintf(text, sizeof text, "/g/plimsoll-guard-%d-77", (int)getpid());
    tree_path(&t, text, own);
    tree_path(&t, "/g/plimsoll-guard-x", other);
    assert_int_equal(mkdir(dead, 0700) | mkdir(own, 0700) | mkdir(other, 0700), 0);
    assert_ok(plat_cage_make(&c, "", parent, 1 << 20, &e), e);
    assert_false(is_there(dead));
    assert_true(is_there(own) && is_there(other));
    tree_end(&t);
}

static void the_time_all_stood_still(void **state) {
    (void)state;
    tree t;
    uint64_t us = 7;
    tree_start(&t);
    assert_false(plat_stalled_us_at(t.root, &us));
    tree_write(&t, "/proc/pressure/memory", "some avg10=9.00 avg60=0.00 avg300=0.00 total=999\n"
                                            "full avg10=1.00 avg60=0.00 avg300=0.00 total=12345\n");
    assert_true(plat_stalled_us_at(t.root, &us));
    assert_int_equal(us, 12345);
    tree_write(&t, "/proc/pressure/memory", "full nothing\n");
    assert_false(plat_stalled_us_at(t.root, &us));
    tree_end(&t);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(below_a_group_that_was_named),
        cmocka_unit_test(what_is_no_group_is_refused),
        cmocka_unit_test(where_v2_lets_us),
        cmocka_unit_test(below_our_own_in_v1),
        cmocka_unit_test(groups_of_the_dead_are_swept),
        cmocka_unit_test(the_time_all_stood_still),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
