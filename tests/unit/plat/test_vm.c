/* Pages: what the kernel's figure says before and after each call. */
#include "../test.h"

#include <signal.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "plat/kernel.h"
#include "plat/vm.h"

#define MIB ((size_t)1 << 20)
enum { SLACK_BYTES = 512 * 1024 }; /* kernels 6.2 to 6.15 keep RSS per CPU and sum it roughly */

static size_t page;

static int64_t rss_anon(void) {
    plat_process_memory m;
    assert_true(plat_process_memory_read(&m));
    return (int64_t)m.rss_anon_bytes;
}

static long address_space_pages(void) {
    FILE *f = fopen("/proc/self/statm", "r");
    long pages = 0;
    assert_int_equal(fscanf(f, "%ld", &pages), 1);
    fclose(f);
    return pages;
}

static void assert_grew(int64_t before, size_t bytes) {
#ifdef PLIMSOLL_SANITIZED
    (void)before, (void)bytes; /* shadow memory is part of the figure */
#else
    int64_t off = rss_anon() - before - (int64_t)bytes;
    if (off < -SLACK_BYTES || off > SLACK_BYTES) fail_msg("RssAnon is %lld bytes off", (long long)off);
#endif
}

static bool all_zero(const char *p, size_t bytes) {
    for (size_t i = 0; i < bytes; i++)
        if (p[i]) return false;
    return true;
}

static void rounding(void **state) {
    (void)state;
    assert_int_equal(plat_vm_round(0), page);
    assert_int_equal(plat_vm_round(1), page);
    assert_int_equal(plat_vm_round(page), page);
    assert_int_equal(plat_vm_round(page + 1), 2 * page);
    assert_true(plat_vm_round(SIZE_MAX) % page == 0 && plat_vm_round(SIZE_MAX) > SIZE_MAX - page);
}

static void alloc_is_resident_and_free_gives_back(void **state) {
    (void)state;
    for (int huge = 0; huge < 2; huge++) {
        const size_t bytes = (huge ? 199 : 63) * MIB + 5; /* no multiples; the larger is asked for by several threads */
        int64_t before = rss_anon();
        err e;
        char *p = plat_vm_alloc(bytes, huge, &e);
        assert_ok(p, e);
        assert_grew(before, plat_vm_round(bytes));
        if (huge) assert_int_equal((uintptr_t)p % (2 * MIB), 0);
        assert_true(all_zero(p, bytes));
        memset(p, 1, bytes);
        assert_grew(before, plat_vm_round(bytes));
        plat_vm_free(p, bytes);
        assert_grew(before, 0);
    }
    plat_vm_free(NULL, 5);
    long pages = address_space_pages();
    for (int i = 0; i < 100; i++) {
        err e;
        plat_vm_free(plat_vm_alloc(page, true, &e), page);
        plat_vm_release(plat_vm_reserve(page, &e), page);
    }
    assert_true(address_space_pages() - pages < 1000); /* what was mapped for alignment's sake went back too */
}

static void reserve_takes_nothing_commit_takes_and_decommit_gives_back(void **state) {
    (void)state;
    const size_t reserved = 1024 * MIB, committed = 32 * MIB, at = 17 * MIB + page;
    int64_t before = rss_anon();
    err e;
    char *base = plat_vm_reserve(reserved, &e);
    assert_ok(base, e);
    assert_grew(before, 0);
    for (int round = 0; round < 3; round++) {
        assert_ok(plat_vm_commit(base + at, committed, round == 1, &e), e);
        assert_grew(before, committed);
        assert_true(all_zero(base + at, committed)); /* what an earlier round wrote is gone */
        memset(base + at, 0x77, committed);
        plat_vm_decommit(base + at, committed);
        assert_grew(before, 0);
    }
    plat_vm_release(base, reserved);
    assert_grew(before, 0);
}

static void commits_leave_their_neighbours_alone(void **state) {
    (void)state;
    enum { PAGES = 64 };
    err e;
    char *base = plat_vm_reserve(PAGES * page, &e);
    assert_ok(base, e);
    for (size_t i = 0; i < PAGES; i++) {
        assert_ok(plat_vm_commit(base + i * page, page, false, &e), e);
        memset(base + i * page, (int)i + 1, page);
    }
    for (size_t i = 0; i < PAGES; i += 2) plat_vm_decommit(base + i * page, page);
    for (size_t i = 1; i < PAGES; i += 2) assert_int_equal(base[i * page + page - 1], i + 1);
    assert_ok(plat_vm_commit(base + 2 * page, page, false, &e), e);
    assert_true(all_zero(base + 2 * page, page));
    assert_int_equal(base[page], 2);
    assert_int_equal(base[3 * page], 4);
    plat_vm_release(base, PAGES * page);
}

static void decommitted_memory_cannot_be_touched(void **state) {
    (void)state;
    err e;
    volatile char *base = plat_vm_reserve(4 * page, &e);
    assert_ok(base, e);
    assert_ok(plat_vm_commit((char *)(uintptr_t)base, 2 * page, false, &e), e);
    plat_vm_decommit((char *)(uintptr_t)base + page, page);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        signal(SIGSEGV, SIG_DFL);
        base[0] = 1; /* still there */
        base[page] = 1;
        _exit(0);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV);
    plat_vm_release((char *)(uintptr_t)base, 4 * page);
}

static void a_refusal_is_an_error_not_a_crash(void **state) {
    (void)state;
    const size_t sizes[] = {SIZE_MAX, SIZE_MAX - page, (size_t)1 << 60, (size_t)1 << 50};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        for (int huge = 0; huge < 2; huge++) {
            err e = {0};
            assert_null(plat_vm_alloc(sizes[i], huge, &e));
            assert_int_equal(e.code, ERR_MEMORY);
            assert_int_equal(e.need_bytes, plat_vm_round(sizes[i]));
            assert_non_null(strstr(e.message, "the kernel refuses"));
        }
        err e = {0};
        assert_null(plat_vm_reserve(sizes[i], &e));
        assert_int_equal(e.code, ERR_MEMORY);
        assert_null(plat_vm_reserve(sizes[i], NULL));
    }
}

static void decommit_of_a_hole_is_our_bug_and_stops(void **state) {
    (void)state;
    err e;
    char *base = plat_vm_alloc(8 * page, false, &e);
    assert_ok(base, e);
    plat_vm_free(base + 4 * page, page); /* a hole */
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        fclose(stderr);
        signal(SIGABRT, SIG_DFL);
        plat_vm_decommit(base + 4 * page, page);
        _exit(0);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status));
    plat_vm_free(base, 4 * page);
    plat_vm_free(base + 5 * page, 3 * page);
}

static int setup(void **state) {
    (void)state;
    page = plat_page_bytes();
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rounding),
        cmocka_unit_test(alloc_is_resident_and_free_gives_back),
        cmocka_unit_test(reserve_takes_nothing_commit_takes_and_decommit_gives_back),
        cmocka_unit_test(commits_leave_their_neighbours_alone),
        cmocka_unit_test(decommitted_memory_cannot_be_touched),
        cmocka_unit_test(a_refusal_is_an_error_not_a_crash),
        cmocka_unit_test(decommit_of_a_hole_is_our_bug_and_stops),
    };
    return cmocka_run_group_tests(tests, setup, NULL);
}
