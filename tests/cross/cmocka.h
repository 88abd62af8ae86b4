/* As much of cmocka as compute's unit tests use, for where there is none: cross-compiled, run by an emulator. A failed
 * assertion says what differed and ends its test; the exit status is how many tests failed. */
#ifndef TESTS_CROSS_CMOCKA_H
#define TESTS_CROSS_CMOCKA_H

#include <setjmp.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

struct CMUnitTest {
    const char *name;
    void (*run)(void **state);
};

static jmp_buf test_ended;

#define print_message(...) printf(__VA_ARGS__)
#define fail_msg(...)                                     \
    do {                                                  \
        printf("FAIL %s:%d: ", __FILE__, __LINE__);       \
        printf(__VA_ARGS__);                              \
        printf("\n");                                     \
        longjmp(test_ended, 1);                           \
    } while (0)
#define fail() fail_msg("not to be reached")

#define assert_true(x)                                    \
    do {                                                  \
        if (!(x)) fail_msg("%s is not so", #x);           \
    } while (0)
#define assert_null(p) assert_true((p) == NULL)
#define assert_non_null(p) assert_true((p) != NULL)
#define assert_string_equal(a, b) assert_true(strcmp(a, b) == 0)
#define assert_memory_equal(a, b, bytes) assert_true(memcmp(a, b, bytes) == 0)
#define assert_int_equal(a, b)                            \
    do {                                                  \
        long long a_ = (long long)(a), b_ = (long long)(b); \
        if (a_ != b_) fail_msg("%s is %lld, not %lld", #a, a_, b_); \
    } while (0)

#define cmocka_unit_test(function) {#function, function}
#define cmocka_run_group_tests(tests, set_up, tear_down) run_tests(tests, sizeof(tests) / sizeof((tests)[0]))

static inline bool test_passes(const struct CMUnitTest *test) {
    void *state = NULL;
    if (setjmp(test_ended)) return false;
    test->run(&state);
    return true;
}

static inline int run_tests(const struct CMUnitTest *tests, size_t n) {
    int n_failed = 0;
    for (size_t i = 0; i < n; i++) {
        bool passed = test_passes(&tests[i]);
        printf("%s %s\n", passed ? "ok    " : "FAILED", tests[i].name);
        fflush(stdout);
        n_failed += !passed;
    }
    return n_failed;
}

#endif
