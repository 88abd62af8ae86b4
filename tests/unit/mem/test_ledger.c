/* The ledger: sums, limits, refusals and their figures, under one thread and under eight. */
#include "../test.h"
#include "../stops.h"

#include <pthread.h>
#include <stdatomic.h>
#include <time.h>

#include "base/rng.h"
#include "mem/ledger.h"

#define MIB (UINT64_C(1) << 20)
#define GIB (UINT64_C(1) << 30)

static void assert_consistent(const mem_ledger_view *v) {
    uint64_t sum = 0;
    for (int a = 0; a < MEM_ACCOUNT_COUNT; a++) {
        sum += v->rows[a].now_bytes;
        assert_true(v->rows[a].now_bytes <= v->rows[a].peak_bytes);
        assert_true(v->rows[a].now_bytes <= v->rows[a].limit_bytes);
        assert_true(v->rows[a].peak_bytes <= v->peak_bytes);
    }
    assert_true(sum == v->now_bytes);
    assert_true(v->now_bytes <= v->peak_bytes);
    assert_true(v->peak_bytes <= v->line_bytes);
}

static mem_ledger_view view(mem_ledger *l) {
    mem_ledger_view v;
    mem_ledger_read(l, &v);
    assert_consistent(&v);
    return v;
}

static void sums_and_peaks(void **state) {
    (void)state;
    mem_ledger l;
    err e;
    mem_ledger_init(&l, 1000);
    assert_int_equal(mem_ledger_available(&l), 1000);
    assert_ok(mem_ledger_reserve(&l, MEM_KV, 600, &e), e);
    assert_ok(mem_ledger_reserve(&l, MEM_HTTP, 400, &e), e); /* to the byte */
    assert_int_equal(mem_ledger_available(&l), 0);
    assert_ok(mem_ledger_reserve(&l, MEM_HTTP, 0, &e), e);
    assert_false(mem_ledger_reserve(&l, MEM_HTTP, 1, &e));
    mem_ledger_release(&l, MEM_KV, 500);
    assert_ok(mem_ledger_reserve(&l, MEM_KV, 200, &e), e);
    mem_ledger_view v = view(&l);
    assert_int_equal(v.now_bytes, 700);
    assert_int_equal(v.peak_bytes, 1000);
    assert_int_equal(v.rows[MEM_KV].now_bytes, 300);
    assert_int_equal(v.rows[MEM_KV].peak_bytes, 600);
    assert_int_equal(v.rows[MEM_HTTP].refused, 1);
    assert_int_equal(v.rows[MEM_KV].refused, 0);
}

static void refusal_tells_the_figures(void **state) {
    (void)state;
    mem_ledger l;
    err e = {0};
    mem_ledger_init(&l, 8 * GIB);
    assert_ok(mem_ledger_reserve(&l, MEM_WEIGHTS, 7 * GIB, &e), e);
    assert_false(mem_ledger_reserve(&l, MEM_KV, 2 * GIB, &e));
    assert_int_equal(e.code, ERR_MEMORY);
    assert_true(e.need_bytes == 2 * GIB && e.have_bytes == GIB);
    assert_string_equal(e.message, "needs 2.00 GiB, 1.00 GiB available under the line of 8.00 GiB (account kv)");

    mem_ledger_set_limit(&l, MEM_HTTP, 64 * MIB);
    assert_ok(mem_ledger_reserve(&l, MEM_HTTP, 60 * MIB, &e), e);
    assert_false(mem_ledger_reserve(&l, MEM_HTTP, 5 * MIB, &e));
    assert_true(e.need_bytes == 5 * MIB && e.have_bytes == 4 * MIB);
    assert_string_equal(e.message, "needs 5.00 MiB, 4.00 MiB available under the limit of 64.0 MiB (account http)");
    mem_ledger_set_limit(&l, MEM_HTTP, 10 * MIB); /* below what it holds: nothing more, and no wrap */
    assert_false(mem_ledger_reserve(&l, MEM_HTTP, 1, &e));
    assert_int_equal(e.have_bytes, 0);
    assert_false(mem_ledger_reserve(&l, MEM_KV, UINT64_MAX, NULL));
}

static void sums_do_not_wrap(void **state) {
    (void)state;
    mem_ledger l;
    err e;
    mem_ledger_init(&l, UINT64_MAX); /* no line */
    assert_ok(mem_ledger_reserve(&l, MEM_KV, 100, &e), e);
    assert_false(mem_ledger_reserve(&l, MEM_KV, UINT64_MAX, &e));
    assert_false(mem_ledger_reserve(&l, MEM_HTTP, UINT64_MAX - 99, &e));
    assert_ok(mem_ledger_reserve(&l, MEM_HTTP, UINT64_MAX - 100, &e), e);
    assert_false(mem_ledger_reserve(&l, MEM_QUEUE, 1, &e));
    (void)view(&l);
}

static void a_measured_figure_is_not_refused(void **state) {
    (void)state;
    mem_ledger l;
    mem_ledger_init(&l, 1000);
    mem_ledger_measured(&l, MEM_RUNTIME, 1500);
    assert_int_equal(mem_ledger_available(&l), 0);
    err e;
    assert_false(mem_ledger_reserve(&l, MEM_KV, 1, &e));
    assert_int_equal(e.have_bytes, 0);
    mem_ledger_measured(&l, MEM_RUNTIME, 400);
    assert_int_equal(mem_ledger_available(&l), 600);
    mem_ledger_view v;
    mem_ledger_read(&l, &v);
    assert_int_equal(v.rows[MEM_RUNTIME].now_bytes, 400);
    assert_int_equal(v.rows[MEM_RUNTIME].peak_bytes, 1500);
    assert_int_equal(v.now_bytes, 400);
}

static void releasing_what_is_not_held_stops(void **state) {
    (void)state;
    mem_ledger l;
    err e;
    mem_ledger_init(&l, 1000);
    assert_ok(mem_ledger_reserve(&l, MEM_KV, 100, &e), e);
    assert_ok(mem_ledger_reserve(&l, MEM_HTTP, 100, &e), e);
    assert_stops(mem_ledger_release(&l, MEM_KV, 101)); /* the sum would cover it, the row does not */
}

static void what_does_not_add_up_stops(void **state) {
    (void)state;
    mem_ledger l;
    mem_ledger_init(&l, 1000);
    assert_true(mem_ledger_reserve(&l, MEM_KV, 100, NULL));
    assert_stops(mem_ledger_check(&l)); /* without the lock */
    assert_stops((l.now_bytes++, mem_ledger_available(&l)));
    assert_stops((l.rows[MEM_HTTP].now_bytes++, mem_ledger_available(&l)));
    assert_stops((l.rows[MEM_KV].peak_bytes--, mem_ledger_available(&l)));
    assert_stops((l.peak_bytes--, mem_ledger_available(&l)));
    assert_int_equal(mem_ledger_available(&l), 900);
}

static void the_nth_is_refused_once(void **state) {
    (void)state;
    for (uint64_t n = 0; n <= 10; n++) {
        mem_ledger l;
        mem_ledger_init(&l, 1000);
        mem_ledger_fail_nth(&l, n);
        uint64_t held = 0;
        for (uint64_t i = 1; i <= 10; i++) {
            err e = {0};
            bool ok = mem_ledger_reserve(&l, MEM_KV, 10, &e);
            assert_int_equal(ok, i != n);
            if (ok) held += 10;
            else assert_non_null(strstr(e.message, "for a test"));
        }
        assert_int_equal(view(&l).now_bytes, held);
        assert_int_equal(view(&l).rows[MEM_KV].refused, n > 0);
    }
    mem_ledger l;
    mem_ledger_init(&l, 1000);
    mem_ledger_fail_nth(&l, 1);
    mem_ledger_fail_nth(&l, 0);
    assert_true(mem_ledger_reserve(&l, MEM_KV, 10, NULL));
}

enum { THREADS = 8, STEPS = 20000 };
static mem_ledger shared;
static atomic_int running;
static _Atomic uint64_t refusals;

/* Each thread keeps its own books per account; what it was refused it must not hold. */
static void *churn(void *arg) {
    rng r;
    rng_seed(&r, *(uint64_t *)arg);
    uint64_t held[MEM_ACCOUNT_COUNT] = {0};
    for (int i = 0; i < STEPS; i++) {
        mem_account a = (mem_account)(rng_next(&r) % MEM_ACCOUNT_COUNT);
        uint64_t bytes = rng_next(&r) % 2000;
        if (rng_next(&r) & 1) {
            if (mem_ledger_reserve(&shared, a, bytes, NULL)) held[a] += bytes;
            else refusals++;
        } else {
            if (bytes > held[a]) bytes = held[a];
            mem_ledger_release(&shared, a, bytes);
            held[a] -= bytes;
        }
    }
    for (mem_account a = 0; a < MEM_ACCOUNT_COUNT; a++) mem_ledger_release(&shared, a, held[a]);
    running--;
    return NULL;
}

static void eight_threads(void **state) {
    (void)state;
    mem_ledger_init(&shared, 300000);
    mem_ledger_set_limit(&shared, MEM_QUEUE, 5000);
    pthread_t threads[THREADS];
    uint64_t seeds[THREADS];
    running = THREADS;
    for (uint64_t i = 0; i < THREADS; i++) {
        seeds[i] = 100 + i;
        assert_int_equal(pthread_create(&threads[i], NULL, churn, &seeds[i]), 0);
    }
    while (running > 0) (void)view(&shared); /* every reading is whole and under the line */
    for (int i = 0; i < THREADS; i++) pthread_join(threads[i], NULL);
    mem_ledger_view v = view(&shared);
    assert_int_equal(v.now_bytes, 0);
    assert_true(v.peak_bytes > 0);
    uint64_t refused = 0;
    for (int a = 0; a < MEM_ACCOUNT_COUNT; a++) refused += v.rows[a].refused;
    assert_true(refused == refusals && refused > 0); /* the line and the limit were both reached for */
    assert_true(v.rows[MEM_QUEUE].refused > 0);
}

static void every_account_has_a_name_and_help(void **state) {
    (void)state;
    for (mem_account a = 0; a < MEM_ACCOUNT_COUNT; a++) {
        assert_true(strlen(mem_account_name(a)) > 1 && strlen(mem_account_help(a)) > 5);
        for (mem_account b = 0; b < a; b++) assert_string_not_equal(mem_account_name(a), mem_account_name(b));
    }
    assert_string_equal(mem_account_name(MEM_PROMPT_INDEX), "prompt_index");
    assert_string_equal(mem_account_name(MEM_ACCOUNT_COUNT), "?");
}

/* ---- what the kernel would still give ---- */

static uint64_t kernel_room, room_readings;

static uint64_t told_room(uint64_t enough_bytes) {
    (void)enough_bytes;
    room_readings++;
    return kernel_room;
}

static void wait_for_a_new_reading(void) { nanosleep(&(struct timespec){0, 3000000}, NULL); }

static void no_reservation_passes_what_the_kernel_has_left(void **state) {
    (void)state;
    mem_ledger l;
    err e = {0};
    mem_ledger_init(&l, GIB);
    mem_ledger_set_room(&l, told_room);
    kernel_room = 100;
    assert_false(mem_ledger_reserve(&l, MEM_KV, 101, &e));
    assert_int_equal(e.code, ERR_MEMORY);
    assert_true(e.need_bytes == 101 && e.have_bytes == 100);
    assert_non_null(strstr(e.message, "in this machine and its control groups"));
    assert_ok(mem_ledger_reserve(&l, MEM_KV, 60, &e), e);
    assert_false(mem_ledger_reserve(&l, MEM_KV, 60, &e)); /* not there yet: the kernel counts it as free */
    mem_ledger_arrived(&l, MEM_KV, 60);
    kernel_room = 40;
    assert_ok(mem_ledger_reserve(&l, MEM_KV, 40, &e), e);
    mem_ledger_arrived(&l, MEM_KV, 40);
    kernel_room = 1000; /* somebody else has left: seen at once where it is needed */
    assert_ok(mem_ledger_reserve(&l, MEM_KV, 900, &e), e);
    kernel_room = 5; /* somebody else has come: seen at the next reading */
    wait_for_a_new_reading();
    assert_false(mem_ledger_reserve(&l, MEM_HTTP, 6, &e));
    mem_ledger_release(&l, MEM_KV, 1000);
    kernel_room = 1000;
    assert_ok(mem_ledger_reserve(&l, MEM_HTTP, 1000, &e), e); /* what was released is not awaited */
    assert_true(mem_ledger_available(&l) == GIB - 1000);
}

/* Blocks of the heap become resident when they are used: until then the books' comparison counts them. */
static void what_is_reserved_and_not_resident_is_not_free(void **state) {
    (void)state;
    mem_ledger l;
    err e = {0};
    mem_ledger_init(&l, GIB);
    mem_ledger_set_room(&l, told_room);
    kernel_room = 1000;
    assert_ok(mem_ledger_reserve(&l, MEM_QUEUE, 600, &e), e);
    mem_ledger_view v = view(&l);
    mem_ledger_seen(&l, &v, 250); /* 350 of it are still to come */
    kernel_room = 750;
    assert_false(mem_ledger_reserve(&l, MEM_KV, 401, &e));
    assert_true(e.have_bytes == 400);
    v = view(&l);
    mem_ledger_seen(&l, &v, 600);
    assert_ok(mem_ledger_reserve(&l, MEM_KV, 700, &e), e);
}

static void a_reading_serves_many_reservations(void **state) {
    (void)state;
    mem_ledger l;
    err e = {0};
    mem_ledger_init(&l, GIB);
    mem_ledger_set_room(&l, told_room);
    kernel_room = MIB;
    room_readings = 0;
    for (int i = 0; i < 1000; i++) assert_ok(mem_ledger_reserve(&l, MEM_KV, 1000, &e), e);
    assert_true(room_readings < 500);
    for (int i = 0; i < 48; i++) assert_ok(mem_ledger_reserve(&l, MEM_KV, 1000, &e), e);
    assert_false(mem_ledger_reserve(&l, MEM_KV, 1000, &e)); /* and never more than it said */
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sums_and_peaks),
        cmocka_unit_test(refusal_tells_the_figures),
        cmocka_unit_test(sums_do_not_wrap),
        cmocka_unit_test(a_measured_figure_is_not_refused),
        cmocka_unit_test(releasing_what_is_not_held_stops),
        cmocka_unit_test(what_does_not_add_up_stops),
        cmocka_unit_test(the_nth_is_refused_once),
        cmocka_unit_test(eight_threads),
        cmocka_unit_test(no_reservation_passes_what_the_kernel_has_left),
        cmocka_unit_test(what_is_reserved_and_not_resident_is_not_free),
        cmocka_unit_test(a_reading_serves_many_reservations),
        cmocka_unit_test(every_account_has_a_name_and_help),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
