/* What a thread says it is at, read by another. */
#include "../test.h"

#include <pthread.h>

#include "plat/pulse.h"

static void tells_what_and_for_whom(void **state) {
    (void)state;
    static plat_pulse p;
    plat_pulse_view v;
    plat_pulse_begin("step", "nobody listens", 0); /* not attached: nothing */
    plat_pulse_attach(&p);
    assert_false(plat_pulse_read(&p, &v));
    plat_pulse_turn("sampling"); /* of nothing */
    plat_pulse_beat();
    assert_false(plat_pulse_read(&p, &v));
    plat_pulse_begin("mask", "req_0123456789abcdef", 2);
    assert_true(plat_pulse_read(&p, &v));
    assert_string_equal(v.what, "mask");
    assert_string_equal(v.who, "req_0123456789abcdef");
    assert_int_equal(v.more, 2);
    uint64_t began = v.began_ns;
    plat_pulse_turn("sampling");
    assert_true(plat_pulse_read(&p, &v));
    assert_string_equal(v.what, "sampling");
    assert_int_equal(v.began_ns, began);
    plat_pulse_begin("step", "a name that is longer than there is room for, by far", 0);
    assert_true(plat_pulse_read(&p, &v));
    assert_int_equal(strlen(v.who), PLAT_PULSE_WHO_BYTES - 1);
    plat_pulse_end();
    assert_false(plat_pulse_read(&p, &v));
    plat_pulse_attach(NULL);
}

static void *tell(void *arg) {
    plat_pulse_attach(arg);
    for (int i = 0; i < 20000; i++) plat_pulse_begin("step", i % 2 ? "aaaaaaaaaaaaaaaa" : "bbbbbbbbbbbbbbbb", 0);
    plat_pulse_end();
    return NULL;
}

static void never_reads_half_of_it(void **state) {
    (void)state;
    static plat_pulse p;
    pthread_t thread;
    plat_pulse_view v;
    assert_int_equal(pthread_create(&thread, NULL, tell, &p), 0);
    for (int i = 0; i < 20000; i++)
        if (plat_pulse_read(&p, &v))
            assert_true(!strcmp(v.who, "aaaaaaaaaaaaaaaa") || !strcmp(v.who, "bbbbbbbbbbbbbbbb"));
    pthread_join(thread, NULL);
}

static void hanging_is_for_tests(void **state) {
    (void)state;
    err e = {0};
    unsetenv("PLIMSOLL_TESTS");
    unsetenv("PLIMSOLL_DEBUG_HANG");
    assert_true(plat_pulse_read_debug_hang(&e));
    setenv("PLIMSOLL_DEBUG_HANG", "step", 1);
    assert_false(plat_pulse_read_debug_hang(&e));
    assert_non_null(strstr(e.message, "PLIMSOLL_TESTS=1"));
    setenv("PLIMSOLL_TESTS", "1", 1);
    setenv("PLIMSOLL_DEBUG_HANG", "sleep", 1);
    assert_false(plat_pulse_read_debug_hang(&e));
    assert_non_null(strstr(e.message, "step, mask"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tells_what_and_for_whom),
        cmocka_unit_test(never_reads_half_of_it),
        cmocka_unit_test(hanging_is_for_tests),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
