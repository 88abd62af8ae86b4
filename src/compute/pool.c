/* The job of a run is published under a ticket: generation in the high half, next task in the low. A
 * thread takes task i of generation g by moving the ticket from (g, i) to (g, i + 1); that can only
 * succeed while the job it has just read is still the one of g, so a thread that slept through several
 * runs does no harm and no run waits for a thread that has taken no task.
 *
 * Idle threads watch `wake_word` for SPIN_NS and then sleep on it; the caller does the same on
 * `done`. A spinner that finds itself off the processor for longer than PREEMPTED_NS shares its core
 * with somebody: for the next CROWDED_RUNS runs nobody spins, because the time spent spinning is taken
 * off the share that the work itself would get.
 *
 * Such a core takes a thread off for milliseconds with a task in hand, and the run waits for it. So the caller
 * reckons, run by run, what the others gained it: the time it would have needed alone, judged by the tasks it did
 * itself, less the time that the run took. A thread that has cost more than it gained rests, and the work goes on
 * with one less; after a while it is tried again, later each time that ends the same way. */
#include "compute/pool.h"

#include <stdio.h>
#include <string.h>

#include "base/check.h"
#include "base/clock.h"
#include "plat/cpu.h"
#include "plat/thread.h"

enum {
    SPIN_NS = 50 * 1000,
    PAUSES_PER_LOOK = 32,            /* pauses between looks at the clock */
    PREEMPTED_NS = 500 * 1000,       /* a thread that was away for so long was taken off its core */
    CROWDED_RUNS = 256,              /* after a spinner was, nobody spins in so many */
    WATCHED_RUNS = 256,              /* after a caller may have been, so many are timed by its processor clock */
    LOSS_NS = 6 * 1000 * 1000,       /* a thread that has cost so much more than it gained rests */
    GAIN_MOST_NS = 20 * 1000 * 1000, /* what earlier runs may set against it */
    REST_LEAST_NS = 8 * 1000 * 1000,
    REST_MOST_NS = 128 * 1000 * 1000,
};

#define CLOSED 0xFFFFFFFFu

typedef struct worker {
    compute_pool *pool;
    pthread_t thread;
    uint32_t index;
    _Atomic uint32_t resting; /* set and cleared by the caller */
    uint64_t rest_ns, rested_at_ns; /* the caller's: how long, and when it began (or, not resting, ended) */
} worker;

struct compute_pool {
    int n_threads, n_started;
    bool pinned;
    /* the caller's */
    uint32_t generation, n_resting, watched_runs;
    int64_t score_ns; /* gained by the other threads since one last rested, at most GAIN_MOST_NS */

    _Alignas(64) _Atomic uint64_t ticket;
    _Alignas(64) _Atomic(compute_task *) fn;
    _Atomic(void *) ctx;
    _Atomic uint32_t n_tasks;

    _Alignas(64) _Atomic uint32_t done; /* tasks of this generation finished */
    _Atomic uint32_t caller_sleeps;
    _Atomic uint32_t last_thread; /* that finished the last task */

    _Alignas(64) _Atomic uint32_t wake_word; /* changes with every run, and to stop */
    _Atomic uint32_t sleepers;
    _Atomic uint32_t stopping;
    _Atomic uint32_t crowded; /* runs left in which nobody spins */

    _Alignas(64) worker workers[];
};

size_t compute_pool_struct_bytes(int n_threads) {
    size_t bytes = sizeof(compute_pool) + (size_t)n_threads * sizeof(worker);
    return (bytes + 63) / 64 * 64;
}

size_t compute_pool_plan_bytes(int n_threads) {
    return compute_pool_struct_bytes(n_threads) + (size_t)(n_threads - 1) * PLAT_THREAD_STACK_BYTES;
}

int compute_pool_threads(const compute_pool *p) { return p->n_threads; }

/* Takes tasks until there are none, and returns how many; what is read between the ticket's two sights belongs to
 * it. */
static uint32_t work(compute_pool *p, uint32_t thread) {
    uint32_t taken = 0;
    uint64_t ticket = atomic_load_explicit(&p->ticket, memory_order_acquire);
    for (;;) {
        compute_task *fn = atomic_load_explicit(&p->fn, memory_order_acquire);
        void *ctx = atomic_load_explicit(&p->ctx, memory_order_acquire);
        uint32_t n_tasks = atomic_load_explicit(&p->n_tasks, memory_order_acquire), task = (uint32_t)ticket;
        if (task >= n_tasks) return taken; /* CLOSED too */
        if (!atomic_compare_exchange_strong_explicit(&p->ticket, &ticket, ticket + 1, memory_order_acq_rel,
                                                     memory_order_acquire)) continue;
        fn(ctx, task, thread);
        taken++;
        atomic_store_explicit(&p->last_thread, thread, memory_order_relaxed);
        if (atomic_fetch_add(&p->done, 1) + 1 == n_tasks && atomic_load(&p->caller_sleeps))
            plat_futex_wake(&p->done, 1);
        ticket = atomic_load_explicit(&p->ticket, memory_order_acquire);
    }
}

/* Spins until *word differs from seen (true) or it is time to sleep (false). */
static bool spin(compute_pool *p, _Atomic uint32_t *word, uint32_t seen, uint32_t wanted) {
    if (atomic_load_explicit(&p->crowded, memory_order_relaxed)) return false;
    uint64_t start = clock_now_ns(), last = start;
    for (;;) {
        for (int i = 0; i < PAUSES_PER_LOOK; i++) {
            uint32_t now = atomic_load_explicit(word, memory_order_acquire);
            if (wanted ? now == wanted : now != seen) return true;
            plat_cpu_relax();
        }
        uint64_t now_ns = clock_now_ns();
        if (now_ns - last > PREEMPTED_NS) atomic_store_explicit(&p->crowded, CROWDED_RUNS, memory_order_relaxed);
        if (now_ns - start > SPIN_NS) return false;
        last = now_ns;
    }
}

static void *worker_main(void *arg) {
    worker *w = arg;
    compute_pool *p = w->pool;
    plat_thread_touch_stack();
    if (p->pinned) plat_thread_pin((int)w->index);
    uint32_t seen = 0;
    for (;;) {
        while (atomic_load(&w->resting)) plat_futex_wait(&w->resting, 1);
        if (!spin(p, &p->wake_word, seen, 0)) {
            atomic_fetch_add(&p->sleepers, 1);
            while (atomic_load(&p->wake_word) == seen) plat_futex_wait(&p->wake_word, seen);
            atomic_fetch_sub(&p->sleepers, 1);
        }
        seen = atomic_load(&p->wake_word);
        if (atomic_load(&p->stopping)) return NULL;
        if (!atomic_load(&w->resting)) work(p, w->index);
    }
}

/* Makes every idle thread look. */
static void wake(compute_pool *p) {
    atomic_fetch_add(&p->wake_word, 1);
    if (atomic_load(&p->sleepers)) plat_futex_wake(&p->wake_word, p->n_threads);
}

compute_pool *compute_pool_start(void *memory, int n_threads, err *e) {
    CHECK(n_threads >= 1 && n_threads <= COMPUTE_MAX_THREADS && (uintptr_t)memory % 64 == 0);
    compute_pool *p = memory;
    memset(p, 0, compute_pool_struct_bytes(n_threads));
    p->n_threads = n_threads;
    p->pinned = n_threads <= plat_cpu_get()->usable_cores;
    atomic_init(&p->ticket, CLOSED);
    for (int i = 1; i < n_threads; i++) {
        worker *w = &p->workers[i];
        w->pool = p;
        w->index = (uint32_t)i;
        char name[16];
        snprintf(name, sizeof name, "compute-%d", i);
        if (!plat_thread_start(&w->thread, name, worker_main, w, e)) {
            compute_pool_stop(p);
            return NULL;
        }
        p->n_started = i;
    }
    return p;
}

static void wait_done(compute_pool *p, uint32_t n_tasks) {
    if (spin(p, &p->done, 0, n_tasks)) return;
    atomic_store(&p->caller_sleeps, 1);
    for (uint32_t done; (done = atomic_load(&p->done)) != n_tasks;) plat_futex_wait(&p->done, done);
    atomic_store(&p->caller_sleeps, 0);
}

/* ---- who works and who rests: the caller's alone ---- */

static void begin_rest(compute_pool *p, worker *w, uint64_t now_ns) {
    bool soon = now_ns - w->rested_at_ns < w->rest_ns; /* it did not work for as long as it had rested */
    uint64_t longer = soon ? 2 * w->rest_ns : REST_LEAST_NS;
    w->rest_ns = longer < REST_MOST_NS ? longer : REST_MOST_NS;
    w->rested_at_ns = now_ns;
    atomic_store(&w->resting, 1);
    p->n_resting++;
    p->score_ns = 0;
}

static void end_rest(compute_pool *p, worker *w, uint64_t now_ns) {
    w->rested_at_ns = now_ns;
    p->n_resting--;
    atomic_store(&w->resting, 0);
    plat_futex_wake(&w->resting, 1);
}

static void end_rests(compute_pool *p, uint64_t now_ns) {
    for (int i = 1; i <= p->n_started; i++) {
        worker *w = &p->workers[i];
        if (atomic_load_explicit(&w->resting, memory_order_relaxed) && now_ns - w->rested_at_ns >= w->rest_ns)
            end_rest(p, w, now_ns);
    }
}

/* The one that finished last. When that was the caller, somebody is on its core, too: any other, so that a core is
 * free for it. */
static worker *who_rests(compute_pool *p) {
    uint32_t last = atomic_load_explicit(&p->last_thread, memory_order_relaxed);
    if (last > 0 && !atomic_load_explicit(&p->workers[last].resting, memory_order_relaxed)) return &p->workers[last];
    for (int i = p->n_started; i > 0; i--)
        if (!atomic_load_explicit(&p->workers[i].resting, memory_order_relaxed)) return &p->workers[i];
    return NULL;
}

static void reckon(compute_pool *p, uint64_t own_ns, uint32_t own_tasks, uint64_t run_ns, uint32_t n_tasks,
                   uint64_t now_ns) {
    if (own_tasks == 0) return;
    p->score_ns += (int64_t)(own_ns * n_tasks / own_tasks) - (int64_t)run_ns;
    if (p->score_ns > GAIN_MOST_NS) p->score_ns = GAIN_MOST_NS;
    if (p->score_ns > -LOSS_NS) return;
    worker *w = who_rests(p);
    if (w) begin_rest(p, w, now_ns);
}

/* ---- */

static void publish(compute_pool *p, uint32_t n_tasks, compute_task *fn, void *ctx) {
    /* The ticket is closed before the job changes: whoever reads a new field cannot take an old task. */
    atomic_store_explicit(&p->ticket, (uint64_t)p->generation << 32 | CLOSED, memory_order_relaxed);
    atomic_store_explicit(&p->fn, fn, memory_order_release);
    atomic_store_explicit(&p->ctx, ctx, memory_order_release);
    atomic_store_explicit(&p->n_tasks, n_tasks, memory_order_release);
    atomic_store_explicit(&p->done, 0, memory_order_release);
    p->generation++;
    atomic_store_explicit(&p->ticket, (uint64_t)p->generation << 32, memory_order_release);
}

void compute_pool_run(compute_pool *p, uint32_t n_tasks, compute_task *fn, void *ctx) {
    CHECK(n_tasks < CLOSED);
    if (p->n_threads == 1 || n_tasks <= 1) {
        for (uint32_t i = 0; i < n_tasks; i++) fn(ctx, i, 0);
        return;
    }
    uint64_t start = clock_now_ns();
    if (p->n_resting) end_rests(p, start);
    if ((int)p->n_resting == p->n_started) {
        for (uint32_t i = 0; i < n_tasks; i++) fn(ctx, i, 0);
        return;
    }
    uint32_t crowded = atomic_load_explicit(&p->crowded, memory_order_relaxed);
    if (crowded) atomic_store_explicit(&p->crowded, crowded - 1, memory_order_relaxed);
    bool watched = p->watched_runs > 0;
    uint64_t cpu = watched ? clock_thread_ns() : 0;
    publish(p, n_tasks, fn, ctx);
    wake(p);
    uint32_t own_tasks = work(p, 0);
    uint64_t own_ns = clock_now_ns() - start;
    if (watched) p->watched_runs--;
    if (own_ns > PREEMPTED_NS) {
        if (watched) own_ns = clock_thread_ns() - cpu;
        p->watched_runs = WATCHED_RUNS;
    }
    wait_done(p, n_tasks);
    uint64_t now = clock_now_ns();
    reckon(p, own_ns, own_tasks, now - start, n_tasks, now);
}

void compute_pool_stop(compute_pool *p) {
    atomic_store(&p->stopping, 1);
    for (int i = 1; i <= p->n_started; i++)
        if (atomic_load(&p->workers[i].resting)) end_rest(p, &p->workers[i], 0);
    wake(p);
    for (int i = 1; i <= p->n_started; i++) pthread_join(p->workers[i].thread, NULL);
}
