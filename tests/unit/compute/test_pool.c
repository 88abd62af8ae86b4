/* The thread pool: every task exactly once, whatever the numbers, and nothing left running. */
#include "compute_test.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>

#include "base/clock.h"
#include "compute/pool.h"
#include "plat/thread.h"

enum { TASKS_MOST = 64 };

typedef struct job {
    uint32_t n_threads;
    _Atomic uint32_t times[TASKS_MOST];
    uint32_t plain[TASKS_MOST]; /* not atomic: the pool alone orders it (and TSan watches) */
} job;

static void count(void *ctx, uint32_t task, uint32_t thread) {
    job *j = ctx;
    assert_true(thread < j->n_threads);
    atomic_fetch_add_explicit(&j->times[task], 1, memory_order_relaxed);
    j->plain[task]++;
}

static compute_pool *start(int n_threads) {
    err e;
    compute_pool *p = compute_pool_start(aligned(compute_pool_struct_bytes(n_threads)), n_threads, &e);
    if (!p) fail_msg("%s", e.message);
    assert_int_equal(compute_pool_threads(p), n_threads);
    return p;
}

static void rounds(int n_threads, uint32_t n_rounds, uint64_t seed) {
    rng r;
    rng_seed(&r, seed);
    compute_pool *p = start(n_threads);
    job j[2] = {{.n_threads = (uint32_t)n_threads}, {.n_threads = (uint32_t)n_threads}};
    uint32_t want[2][TASKS_MOST] = {0};
    for (uint32_t i = 0; i < n_rounds; i++) {
        uint32_t n = (uint32_t)(rng_next(&r) % (rng_next(&r) % 8 ? 6 : TASKS_MOST + 1)), which = (uint32_t)(rng_next(&r) % 2);
        compute_pool_run(p, n, count, &j[which]);
        for (uint32_t t = 0; t < n; t++) want[which][t]++;
        for (uint32_t t = 0; t < TASKS_MOST; t++) {
            if (j[which].plain[t] != want[which][t] || atomic_load(&j[which].times[t]) != want[which][t])
                fail_msg("%d threads, round %u, %u tasks: task %u ran %u times, should be %u", n_threads, i, n, t,
                         j[which].plain[t], want[which][t]);
        }
    }
    compute_pool_stop(p);
    free(p);
}

#ifdef PLIMSOLL_SANITIZED
enum { ROUNDS = 5000 };
#else
enum { ROUNDS = 20000 };
#endif

static void every_task_once(void **state) {
    (void)state;
    for (int n = 1; n <= 4; n++) rounds(n, ROUNDS, (uint64_t)n);
}

static _Atomic int stop_hogs;
static void *hog(void *arg) {
    (void)arg;
    while (!atomic_load_explicit(&stop_hogs, memory_order_relaxed)) {}
    return NULL;
}

static void with_busy_neighbours(void **state) {
    (void)state;
    pthread_t hogs[3];
    atomic_store(&stop_hogs, 0);
    for (int i = 0; i < 3; i++) assert_int_equal(pthread_create(&hogs[i], NULL, hog, NULL), 0);
    rounds(2, 300, 11);
    rounds(8, 300, 12);
    atomic_store(&stop_hogs, 1);
    for (int i = 0; i < 3; i++) pthread_join(hogs[i], NULL);
}

/* Threads that have gone to sleep between runs wake for the next one. */
static void sleepers_wake(void **state) {
    (void)state;
    compute_pool *p = start(3);
    job j = {.n_threads = 3};
    for (uint32_t i = 1; i <= 50; i++) {
        struct timespec pause = {0, 400 * 1000};
        nanosleep(&pause, NULL);
        compute_pool_run(p, 5, count, &j);
        for (uint32_t t = 0; t < 5; t++) assert_int_equal(j.plain[t], i);
    }
    compute_pool_stop(p);
    free(p);
}

typedef struct meeting {
    _Atomic uint32_t arrived;
    uint32_t thread[4];
} meeting;

/* Waits for the others, but not for ever: the pool may leave out a thread whose core is busy. */
static void meet(void *ctx, uint32_t task, uint32_t thread) {
    meeting *m = ctx;
    m->thread[task] = thread;
    atomic_fetch_add(&m->arrived, 1);
    uint64_t start = clock_now_ns();
    while (atomic_load(&m->arrived) < 4 && clock_ms_since(start) < 20) sched_yield();
}

/* Four tasks that wait for each other are done by a thread each, and so they are again after runs in which the pool
 * has learnt that its threads hold each other up. */
static void threads_work_together(void **state) {
    (void)state;
    compute_pool *p = start(4);
    for (int met = 0, rounds = 0; met < 50; rounds++) {
        meeting m = {0};
        compute_pool_run(p, 4, meet, &m);
        uint32_t seen = 0;
        for (int i = 0; i < 4; i++) seen |= 1u << m.thread[i];
        met += seen == 15;
        assert_true(rounds < 5000);
    }
    compute_pool_stop(p);
    free(p);
}

/* The caller's tasks are quick, any other thread's are slow: soon the caller does them alone, yet the others are tried
 * again and again. */
static void slow_one(void *ctx, uint32_t task, uint32_t thread) {
    job *j = ctx;
    uint64_t start = clock_now_ns();
    while (clock_ms_since(start) < (thread ? 5 : 0.2)) {}
    j->plain[task] += thread ? 1u << 16 : 1u;
}

static void who_costs_more_than_he_gains_rests(void **state) {
    (void)state;
    compute_pool *p = start(2);
    job j = {.n_threads = 2};
    enum { RUNS = 800 };
    for (int i = 0; i < RUNS; i++) compute_pool_run(p, 4, slow_one, &j);
    uint32_t slow = 0;
    for (int t = 0; t < 4; t++) {
        slow += j.plain[t] >> 16;
        assert_int_equal((j.plain[t] >> 16) + (j.plain[t] & 0xFFFF), RUNS);
    }
    assert_true(slow < RUNS / 4); /* without rests one in almost every run */
    assert_true(slow > 2);
    compute_pool_stop(p);
    free(p);
}

static void start_and_stop(void **state) {
    (void)state;
    for (int i = 0; i < 50; i++) {
        compute_pool *p = start(1 + i % 6);
        if (i % 3 == 0) {
            job j = {.n_threads = (uint32_t)(1 + i % 6)};
            compute_pool_run(p, 9, count, &j);
        }
        compute_pool_stop(p);
        free(p);
    }
    assert_int_equal(compute_pool_plan_bytes(1), compute_pool_struct_bytes(1));
    assert_int_equal(compute_pool_plan_bytes(5) - compute_pool_struct_bytes(5), 4 * PLAT_THREAD_STACK_BYTES);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_task_once),       cmocka_unit_test(with_busy_neighbours), cmocka_unit_test(sleepers_wake),
        cmocka_unit_test(threads_work_together), cmocka_unit_test(who_costs_more_than_he_gains_rests),
        cmocka_unit_test(start_and_stop),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
