/* Readings of the kernel, out of recorded files and out of this machine. */
#include "../test.h"

#include <stdio.h>
#include <sys/wait.h>

#include "plat/proc.h"
#include "tree.h"

#define MIB (UINT64_C(1) << 20)
#define GIB (UINT64_C(1) << 30)

static tree t;

static int setup(void **state) {
    (void)state;
    tree_start(&t);
    return 0;
}

static int teardown(void **state) {
    (void)state;
    tree_end(&t);
    return 0;
}

static void numbers(void **state) {
    (void)state;
    const struct { const char *text; bool ok; uint64_t value; } cases[] = {
        {"0", true, 0}, {"  123 kB", true, 123}, {"\t7", true, 7}, {"max", true, UINT64_MAX},
        {"18446744073709551615", true, UINT64_MAX}, {"18446744073709551614", true, UINT64_MAX - 1},
        {"18446744073709551616", true, UINT64_MAX}, {"99999999999999999999999", true, UINT64_MAX},
        {"", false, 0}, {"-1", false, 0}, {"kB", false, 0}, {"   ", false, 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        uint64_t value = 0;
        assert_int_equal(plat_number_parse(cases[i].text, &value), cases[i].ok);
        assert_true(value == cases[i].value);
    }
}

/* Lines of every length around the buffer's, with and without a newline at the end of the file. */
static void lines_of_any_length(void **state) {
    (void)state;
    char path[512];
    tree_path(&t, "/lines", path);
    for (int length = PLAT_LINE_BYTES - 4; length < PLAT_LINE_BYTES + 4; length++) {
        for (int ended = 0; ended < 2; ended++) {
            FILE *f = fopen(path, "w");
            fprintf(f, "first\n\n%0*d\nafter%s", length, 1, ended ? "\n" : "");
            fclose(f);
            plat_lines r;
            assert_true(plat_lines_open(&r, path));
            assert_string_equal(plat_lines_next(&r), "first");
            assert_string_equal(plat_lines_next(&r), "");
            int cut = length < PLAT_LINE_BYTES - 1 ? length : PLAT_LINE_BYTES - 1;
            assert_int_equal(strlen(plat_lines_next(&r)), cut);
            assert_string_equal(plat_lines_next(&r), "after");
            assert_null(plat_lines_next(&r));
            assert_null(plat_lines_next(&r));
            plat_lines_close(&r);
        }
    }
    plat_lines r;
    assert_false(plat_lines_open(&r, "/nowhere/at/all"));
}

static void status_of_a_process(void **state) {
    (void)state;
    char text[20000], groups[12000];
    memset(groups, '7', sizeof groups - 1); /* a user of very many groups: one very long line */
    groups[sizeof groups - 1] = 0;
    snprintf(text, sizeof text,
             "Name:\tplim: RssAnon:\nGroups:\t%s\nVmPeak:\t 30600 kB\nVmHWM:\t  17440 kB\nVmRSS:\t   9440 kB\nRssAnon:\t"
             "    112 kB\nRssFile:\t   1632 kB\nRssShmem:\t      8 kB\nVmSwap:\t       20 kB\nThreads:\t1\n", groups);
    tree_write(&t, "/proc/self/status", text);
    plat_process_memory m;
    assert_true(plat_process_memory_at(t.root, "self", &m));
    assert_int_equal(m.rss_anon_bytes, 112 * 1024);
    assert_int_equal(m.rss_file_bytes, 1632 * 1024);
    assert_int_equal(m.rss_shmem_bytes, 8 * 1024);
    assert_int_equal(m.swap_bytes, 20 * 1024);
    assert_int_equal(m.peak_rss_bytes, 17440 * 1024);
    assert_false(plat_process_memory_at(t.root, "17", &m));
    assert_int_equal(m.rss_anon_bytes, 0);
}

static void meminfo(void **state) {
    (void)state;
    tree_write(&t, "/proc/meminfo", "MemTotal:       24684096 kB\nMemFree:        24165356 kB\nMemAvailable:   24278496 kB\n");
    plat_system_memory m;
    assert_true(plat_system_memory_at(t.root, &m));
    assert_true(m.total_bytes == UINT64_C(24684096) * 1024 && m.available_bytes == UINT64_C(24278496) * 1024);
}

#define V2_MOUNTS                                                              \
    "22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw\n"                  \
    "25 22 0:21 / /proc rw,nosuid shared:12 - proc proc rw\n"                  \
    "30 23 0:26 / /sys/fs/cgroup rw,nosuid,nodev shared:4 - cgroup2 cgroup2 rw,nsdelegate,memory_recursiveprot\n"

#define V1_MOUNTS                                                              \
    "31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755\n"      \
    "32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct\n" \
    "34 31 0:31 / /sys/fs/cgroup/cpuset rw,relatime - cgroup cgroup rw,cpuset\n" \
    "35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory\n" \
    "41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n"

static plat_cgroup_memory read_cgroup(void) {
    plat_cgroup_memory m;
    plat_cgroup_memory_at(t.root, &m);
    return m;
}

static void no_cgroup_at_all(void **state) {
    (void)state;
    plat_cgroup_memory m = read_cgroup();
    assert_int_equal(m.version, 0);
    assert_false(m.limited);
    assert_true(plat_cgroup_room(&m) == UINT64_MAX);
    assert_int_equal(plat_cgroup_cores_at(t.root), 0);
}

static void v2_service(void **state) {
    (void)state;
    tree_write(&t, "/proc/self/cgroup", "0::/system.slice/plimsoll.service\n");
    tree_write(&t, "/proc/self/mountinfo", V2_MOUNTS);
    tree_write(&t, "/sys/fs/cgroup/system.slice/memory.max", "max\n");
    plat_cgroup_memory m = read_cgroup();
    assert_int_equal(m.version, 2); /* found, and no limit */
    assert_false(m.limited);

#define OWN "/sys/fs/cgroup/system.slice/plimsoll.service/"
    tree_write(&t, OWN "memory.max", "2147483648\n");
    tree_write(&t, OWN "memory.high", "max\n");
    tree_write(&t, OWN "memory.current", "1073741824\n");
    tree_write(&t, OWN "memory.stat", "anon 805306368\nfile 268435456\nkernel 123\ninactive_anon 5\nactive_anon 9\n"
                                      "inactive_file 209715200\nactive_file 58720256\n");
    m = read_cgroup();
    assert_true(m.limited);
    assert_true(m.limit_bytes == 2 * GIB && m.used_bytes == GIB && m.inactive_file_bytes == 200 * MIB);
    assert_true(plat_cgroup_room(&m) == GIB + 200 * MIB);

    tree_write(&t, OWN "memory.high", "1610612736\n"); /* throttled from here on */
    m = read_cgroup();
    assert_true(m.limit_bytes == GIB + 512 * MIB);

    /* the parent's limit is larger, but others have used it up */
    tree_write(&t, "/sys/fs/cgroup/system.slice/memory.max", "8589934592\n");
    tree_write(&t, "/sys/fs/cgroup/system.slice/memory.current", "8489271296\n");
    m = read_cgroup();
    assert_true(m.limit_bytes == 8 * GIB && plat_cgroup_room(&m) == 96 * MIB && m.inactive_file_bytes == 0);

    tree_write(&t, "/sys/fs/cgroup/system.slice/memory.current", "99999999999\n"); /* over: no room, no wrap */
    m = read_cgroup();
    assert_int_equal(plat_cgroup_room(&m), 0);
}

/* A limit that is there and says nothing is told; the bounds that can be read still count. */
static void an_unreadable_limit(void **state) {
    (void)state;
    tree_write(&t, "/proc/self/cgroup", "0::/system.slice/plimsoll.service\n");
    tree_write(&t, "/proc/self/mountinfo", V2_MOUNTS);
    tree_write(&t, "/sys/fs/cgroup/system.slice/memory.max", "8589934592\n");
    tree_write(&t, "/sys/fs/cgroup/system.slice/memory.current", "0\n");
    plat_cgroup_memory m = read_cgroup();
    assert_true(m.limited && !m.unreadable); /* not every group has a limit of its own */
    tree_write(&t, OWN "memory.max/is-a-folder", "");
    m = read_cgroup();
    assert_true(m.unreadable && m.limited && m.limit_bytes == 8 * GIB);
    tree_write(&t, "/sys/fs/cgroup/system.slice/memory.max", "");
    m = read_cgroup();
    assert_true(m.unreadable && !m.limited && plat_cgroup_room(&m) == UINT64_MAX);
}

static void v2_container_with_its_own_namespace(void **state) {
    (void)state;
    tree_write(&t, "/proc/self/cgroup", "0::/\n");
    tree_write(&t, "/proc/self/mountinfo", V2_MOUNTS);
    tree_write(&t, "/sys/fs/cgroup/memory.max", "536870912\n");
    tree_write(&t, "/sys/fs/cgroup/memory.current", "1048576\n");
    plat_cgroup_memory m = read_cgroup();
    assert_true(m.limited && m.limit_bytes == 512 * MIB && m.used_bytes == MIB);
}

/* The mount shows only our part; the path is the host's. Then a path outside of what is mounted. */
static void v2_container_without_namespace(void **state) {
    (void)state;
    tree_write(&t, "/proc/self/mountinfo",
               "30 23 0:26 /docker/abc /sys/fs/my\\040cgroup ro,nosuid - cgroup2 cgroup rw\n");
    tree_write(&t, "/sys/fs/my cgroup/memory.max", "1073741824\n");
    tree_write(&t, "/sys/fs/my cgroup/inner/memory.max", "268435456\n");
    tree_write(&t, "/sys/fs/inner/memory.max", "4096\n"); /* a neighbour that ".." would reach */
    const struct { const char *path; uint64_t limit; } cases[] = {
        {"0::/docker/abc\n", GIB}, {"0::/docker/abc/inner\n", 256 * MIB}, {"0::/docker/abcdef\n", GIB},
        {"0::/../other\n", GIB}, {"0::/docker/abc/../inner\n", GIB}, {"0::/\n", GIB},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        tree_write(&t, "/proc/self/cgroup", cases[i].path);
        plat_cgroup_memory m = read_cgroup();
        assert_true(m.limited);
        assert_true(m.limit_bytes == cases[i].limit);
    }
}

#define V1_GROUPS "9:name=systemd:/\n6:cpuset:/\n4:memory:/jobs/51c9\n3:cpu,cpuacct:/jobs\n0::/\n"

static void v1(void **state) {
    (void)state;
    tree_write(&t, "/proc/self/cgroup", V1_GROUPS);
    tree_write(&t, "/proc/self/mountinfo", V1_MOUNTS);
#define V1 "/sys/fs/cgroup/memory/"
    tree_write(&t, V1 "memory.limit_in_bytes", "9223372036854771712\n");
    tree_write(&t, V1 "jobs/memory.limit_in_bytes", "9223372036854771712\n");
    tree_write(&t, V1 "jobs/51c9/memory.limit_in_bytes", "9223372036854771712\n");
    plat_cgroup_memory m = read_cgroup();
    assert_int_equal(m.version, 1);
    assert_false(m.limited);

    tree_write(&t, V1 "jobs/memory.limit_in_bytes", "4294967296\n");
    tree_write(&t, V1 "jobs/memory.usage_in_bytes", "3221225472\n");
    tree_write(&t, V1 "jobs/memory.stat", "cache 1\nrss 2\ninactive_file 7\ntotal_cache 3\ntotal_inactive_file 1073741824\n");
    m = read_cgroup();
    assert_true(m.limited && m.limit_bytes == 4 * GIB && m.inactive_file_bytes == GIB);
    assert_true(plat_cgroup_room(&m) == 2 * GIB);
}

static void cpu_quota(void **state) {
    (void)state;
    tree_write(&t, "/proc/self/cgroup", "0::/a/b\n");
    tree_write(&t, "/proc/self/mountinfo", V2_MOUNTS);
    const struct { const char *inner, *outer; int cores; } cases[] = {
        {"max 100000\n", "max 100000\n", 0}, {"150000 100000\n", "max 100000\n", 2}, {"200000 100000\n", "max 100000\n", 2},
        {"400000 100000\n", "100000 100000\n", 1}, {"1000 100000\n", "max 100000\n", 1}, {"nonsense\n", "5 0\n", 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        tree_write(&t, "/sys/fs/cgroup/a/b/cpu.max", cases[i].inner);
        tree_write(&t, "/sys/fs/cgroup/a/cpu.max", cases[i].outer);
        assert_int_equal(plat_cgroup_cores_at(t.root), cases[i].cores);
    }
    tree_write(&t, "/proc/self/cgroup", V1_GROUPS);
    tree_write(&t, "/proc/self/mountinfo", V1_MOUNTS);
    tree_write(&t, "/sys/fs/cgroup/cpu,cpuacct/jobs/cpu.cfs_period_us", "50000\n");
    tree_write(&t, "/sys/fs/cgroup/cpu,cpuacct/jobs/cpu.cfs_quota_us", "-1\n");
    assert_int_equal(plat_cgroup_cores_at(t.root), 0);
    tree_write(&t, "/sys/fs/cgroup/cpu,cpuacct/jobs/cpu.cfs_quota_us", "150000\n");
    assert_int_equal(plat_cgroup_cores_at(t.root), 3);
}

static void broken_files_are_no_limit(void **state) {
    (void)state;
    const char *const texts[] = {"", "\n", ":", "::", "a:b", "0::", "4:memory", " - ", "1 2 3 - cgroup2", "1 2 3 4 5 - cgroup2 x",
                                 "1 2 3 / /m - cgroup2 x y", "1 2 3 / /m - cgroup x memory"};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        for (size_t j = 0; j < sizeof texts / sizeof texts[0]; j++) {
            tree_write(&t, "/proc/self/cgroup", texts[i]);
            tree_write(&t, "/proc/self/mountinfo", texts[j]);
            assert_false(read_cgroup().limited);
            assert_int_equal(plat_cgroup_cores_at(t.root), 0);
        }
    }
}

static void this_machine(void **state) {
    (void)state;
    plat_process_memory self, child_memory;
    assert_true(plat_process_memory_read(&self));
    assert_true(self.rss_anon_bytes > 0 && self.rss_file_bytes > 0);
    assert_true(self.peak_rss_bytes + MIB >= self.rss_anon_bytes + self.rss_file_bytes);
    plat_system_memory machine;
    assert_true(plat_system_memory_read(&machine));
    assert_true(machine.available_bytes > 0 && machine.available_bytes <= machine.total_bytes);
    plat_cgroup_memory group;
    plat_cgroup_memory_read(&group);
    if (group.limited) assert_true(group.limit_bytes > 0 && group.version > 0);

    assert_true(plat_process_memory_read_pid(getpid(), &self));
    int hold[2];
    assert_int_equal(pipe(hold), 0);
    pid_t child = fork();
    if (child == 0) {
        char c;
        close(hold[1]);
        (void)!read(hold[0], &c, 1);
        _exit(0);
    }
    assert_true(plat_process_memory_read_pid(child, &child_memory));
    assert_true(child_memory.rss_anon_bytes > 0);
    close(hold[0]);
    close(hold[1]);
    assert_int_equal(waitpid(child, NULL, 0), child);
    assert_false(plat_process_memory_read_pid(child, &child_memory));
}

static void readings_take_no_memory(void **state) {
    (void)state;
    if (!plat_malloc_is_counted()) skip();
    uint64_t before = plat_malloc_calls();
    plat_process_memory p;
    plat_system_memory s;
    plat_cgroup_memory c;
    plat_process_memory_read(&p);
    plat_system_memory_read(&s);
    plat_cgroup_memory_read(&c);
    assert_int_equal(plat_malloc_calls() - before, 0);
}

#define IN_A_TREE(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numbers),
        IN_A_TREE(lines_of_any_length),
        IN_A_TREE(status_of_a_process),
        IN_A_TREE(meminfo),
        IN_A_TREE(no_cgroup_at_all),
        IN_A_TREE(v2_service),
        IN_A_TREE(an_unreadable_limit),
        IN_A_TREE(v2_container_with_its_own_namespace),
        IN_A_TREE(v2_container_without_namespace),
        IN_A_TREE(v1),
        IN_A_TREE(cpu_quota),
        IN_A_TREE(broken_files_are_no_limit),
        cmocka_unit_test(this_machine),
        cmocka_unit_test(readings_take_no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
