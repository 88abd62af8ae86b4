#include "../../unit/test.h"

#include <sys/socket.h>
#include <unistd.h>

#include "cli/load_run.h"

/* A port on which nobody listens. */
static plat_address closed_port(void) {
    plat_address a;
    err e;
    assert_true(plat_address_find(&a, "127.0.0.1", 0, &e));
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_true(fd >= 0 && bind(fd, (struct sockaddr *)&a.of, a.len) == 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&a.of, &a.len), 0);
    close(fd);
    return a;
}

static void test_refused_memory_and_no_server(void **state) {
    (void)state;
    static mem_ledger l;
    load_track track;
    load_counts counts;
    err e = {0};
    mem_ledger_view v;
    plat_address to = closed_port();
    load_track_init(&track, 0, NULL, NULL);
    mem_ledger_init(&l, UINT64_MAX);
    mem_ledger_fail_nth(&l, 1);
    assert_false(load_run(&to, STR("GET / HTTP/1.1\r\n\r\n"), 4, 10, &l, &track, &counts, &e));
    assert_int_equal(e.code, ERR_MEMORY);
    assert_false(load_run(&to, STR("GET / HTTP/1.1\r\n\r\n"), 4, 10, &l, &track, &counts, &e));
    assert_int_equal(e.code, ERR_IO);
    mem_ledger_read(&l, &v);
    assert_int_equal(v.now_bytes, 0);
}

/* More samples than there is room for: fewer stay, the highest among them, in order. */
static void test_samples_are_thinned(void **state) {
    (void)state;
    static double seconds[LOAD_SAMPLES_MAX], bytes[LOAD_SAMPLES_MAX];
    load_track t;
    load_track_init(&t, getpid(), seconds, bytes);
    t.every_ns = 0;
    for (int i = 0; i < 2 * LOAD_SAMPLES_MAX && t.every_ns == 0; i++) {
        load_track_sample(&t, true);
        if (t.n == LOAD_SAMPLES_MAX) {
            bytes[101] = 1e15; /* a peak */
            t.every_ns = 1;
            load_track_sample(&t, true);
        }
    }
    assert_int_equal(t.n, LOAD_SAMPLES_MAX / 2 + 1);
    assert_int_equal(t.every_ns, 2);
    assert_true(bytes[50] == 1e15);
    for (uint32_t i = 1; i < t.n; i++) assert_true(seconds[i] >= seconds[i - 1]);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_refused_memory_and_no_server),
        cmocka_unit_test(test_samples_are_thinned),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
