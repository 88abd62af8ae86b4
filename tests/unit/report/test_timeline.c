/* The rings and their thinning, walking through them, baselines, and leaks by name. */
#include "../test.h"

#include "report/timeline.h"

enum { PAGE = 4096 };

typedef struct world {
    mem_ledger ledger;
    mem_arena arena;
    report_timeline *t;
    mem_books books;
    report_activity activity;
    uint64_t now_ms;
} world;

static void start(world *w) {
    err e;
    mem_arena measure;
    memset(w, 0, sizeof *w);
    mem_arena_measure(&measure);
    assert_null(report_timeline_lay_out(&measure));
    mem_ledger_init(&w->ledger, UINT64_MAX);
    assert_ok(mem_arena_init(&w->arena, &w->ledger, MEM_HTTP, measure.used, false, &e), e);
    w->t = report_timeline_lay_out(&w->arena);
    assert_non_null(w->t);
    assert_int_equal(w->arena.used, measure.used); /* plan == fact */
    assert_true(measure.used < 512 * 1024);
    report_timeline_init(w->t);
    report_activity_init(&w->activity);
    mem_ledger_read(&w->ledger, &w->books.ledger);
    w->now_ms = 1000000;
}

static void stop(world *w) {
    report_timeline_free(w->t);
    mem_arena_free(&w->arena);
    assert_true(mem_ledger_available(&w->ledger) == UINT64_MAX);
}

static void sample(world *w, uint64_t kernel_bytes) {
    w->books.kernel_bytes = kernel_bytes;
    report_timeline_sample(w->t, &w->books, &w->activity, w->now_ms);
    w->now_ms += REPORT_TIMELINE_STEP_MS;
}

static void idle(world *w) {
    w->activity.requests++;
    report_timeline_idle(w->t, &w->books.ledger, &w->activity, w->now_ms);
    w->now_ms += 20;
}

/* ---- samples ---- */

static void all_is_kept_as_it_was(void **state) {
    (void)state;
    static world w;
    start(&w);
    w.books.level = MEM_WARNING, w.books.available_bytes = 77, w.books.reclaimable_bytes = 33,
     w.books.ledger.rows[MEM_KV].now_bytes = 55;
    w.books.ledger.now_bytes = 99;
    w.activity.active = 3, w.activity.queued = 4, w.activity.requests = 5, w.activity.tokens = 6;
    sample(&w, 1234);
    report_sample s;
    assert_true(report_timeline_next(w.t, 0, &s));
    assert_true(s.time_ms == 1000000 && s.kernel_bytes == 1234 && s.ledger_bytes == 99 && s.available_bytes == 77);
    assert_true(s.reclaimable_bytes == 33);
    assert_true(s.accounts[MEM_KV] == 55 && s.active == 3 && s.queued == 4 && s.requests == 5 && s.tokens == 6);
    assert_int_equal(s.level, MEM_WARNING);
    assert_false(report_timeline_next(w.t, s.time_ms, &s));
    stop(&w);
}

static void one_a_second_however_often_it_is_called(void **state) {
    (void)state;
    static world w;
    start(&w);
    for (int i = 0; i < 100; i++) { /* ten times a second */
        report_timeline_sample(w.t, &w.books, &w.activity, w.now_ms);
        w.now_ms += 100;
    }
    assert_in_range(report_timeline_count(w.t), 10, 12);
    stop(&w);
}

/* Bounded for ever; in order; dense at the end; what is old is a half minute apart. */
static void what_is_old_is_thinned(void **state) {
    (void)state;
    static world w;
    start(&w);
    const uint64_t n = 12 * 3600;
    for (uint64_t i = 0; i < n; i++) sample(&w, i);
    assert_int_equal(report_timeline_count(w.t), REPORT_TIMELINE_FINE + REPORT_TIMELINE_COARSE);
    report_sample s;
    uint64_t at = 0, seen = 0, fine = 0;
    for (; report_timeline_next(w.t, at, &s); seen++) {
        assert_true(s.time_ms > at);
        assert_true(s.kernel_bytes == (s.time_ms - 1000000) / 1000); /* each is one that was given */
        if (at && s.time_ms - at == REPORT_TIMELINE_STEP_MS) fine++;
        else if (at) assert_true(s.time_ms - at <= 2 * REPORT_TIMELINE_COARSE_MS);
        at = s.time_ms;
    }
    assert_int_equal(seen, REPORT_TIMELINE_FINE + REPORT_TIMELINE_COARSE);
    assert_true(at == w.now_ms - REPORT_TIMELINE_STEP_MS);
    assert_in_range(fine, REPORT_TIMELINE_FINE - 1, REPORT_TIMELINE_FINE + 1);
    assert_true(report_timeline_next(w.t, 0, &s));
    uint64_t reach_s = (at - s.time_ms) / 1000;
    assert_in_range(reach_s, 6 * 3600, 6 * 3600 + 700);
    stop(&w);
}

static void a_peak_outlives_the_thinning(void **state) {
    (void)state;
    static world w;
    start(&w);
    for (int i = 0; i < 3000; i++) sample(&w, i == 1234 ? 999999 : 10);
    uint64_t highest = 0, at = 0;
    report_sample s;
    for (; report_timeline_next(w.t, at, &s); at = s.time_ms)
        if (s.kernel_bytes > highest) highest = s.kernel_bytes;
    assert_true(highest == 999999);
    stop(&w);
}

/* ---- baselines and leaks ---- */

static void a_page_with_each_request_is_named(void **state) {
    (void)state;
    static world w;
    start(&w);
    report_leak leaks[MEM_ACCOUNT_COUNT + 1];
    for (int i = 0; i < 5000; i++) {
        idle(&w);
        if (i % 50 == 0) assert_int_equal(report_timeline_leaks(w.t, leaks), 0);
    }
    int found = 0;
    for (int i = 1; i <= 50; i++) {
        w.books.ledger.rows[MEM_TOKENIZER].now_bytes += PAGE;
        idle(&w);
        if (!found && report_timeline_leaks(w.t, leaks)) found = i;
    }
    assert_in_range(found, REPORT_LEAK_LEAST, 50);
    assert_int_equal(report_timeline_leaks(w.t, leaks), 1);
    assert_string_equal(leaks[0].account, "tokenizer");
    assert_true(leaks[0].trend.slope > PAGE - 1 && leaks[0].trend.slope < PAGE + 1);
    assert_true(leaks[0].requests == leaks[0].trend.n_readings - 1);
    assert_true(leaks[0].span_ms == leaks[0].requests * 20);
    assert_int_equal(report_timeline_baselines(w.t), 5050);
    stop(&w);
}

/* A page lost inside a pool whose row stays as it is. */
static void what_is_held_counts_and_not_the_row(void **state) {
    (void)state;
    static world w;
    start(&w);
    report_leak leaks[MEM_ACCOUNT_COUNT + 1];
    w.activity.held_bytes[MEM_KV] = w.activity.held_bytes[MEM_QUEUE] = 0;
    for (int i = 0; i < 30; i++) {
        w.activity.held_bytes[MEM_KV] += 96 * 1024;
        w.books.ledger.rows[MEM_QUEUE].now_bytes += PAGE * 10; /* a pool that grows, and nobody holds it */
        idle(&w);
    }
    assert_int_equal(report_timeline_leaks(w.t, leaks), 1);
    assert_string_equal(leaks[0].account, "kv");
    stop(&w);
}

static void runtime_is_measured_and_may_grow(void **state) {
    (void)state;
    static world w;
    start(&w);
    report_leak leaks[MEM_ACCOUNT_COUNT + 1];
    for (int i = 0; i < 60; i++) {
        w.books.ledger.rows[MEM_RUNTIME].now_bytes += 100 * PAGE;
        idle(&w);
    }
    assert_int_equal(report_timeline_leaks(w.t, leaks), 0);
    stop(&w);
}

/* Two quiet samples after each request: the kernel's baseline. */
static void the_unexplained_is_looked_at_when_all_is_quiet(void **state) {
    (void)state;
    static world w;
    start(&w);
    report_leak leaks[MEM_ACCOUNT_COUNT + 1];
    for (int i = 0; i < 40; i++) {
        w.activity.requests++;
        w.activity.active = 1;
        w.books.unexplained_bytes = 50000000 - i * 1000000; /* while busy: anything */
        sample(&w, 0);
        w.activity.active = 0;
        sample(&w, 0);
        w.books.unexplained_bytes = i * 100000;
        sample(&w, 0);
        sample(&w, 0); /* not a second time */
    }
    assert_int_equal(report_timeline_leaks(w.t, leaks), 1);
    assert_string_equal(leaks[0].account, "unexplained");
    assert_int_equal(report_timeline_baselines(w.t), 40);
    assert_true(leaks[0].trend.slope > 99000 && leaks[0].trend.slope < 101000);
    stop(&w);
}

/* Quiet: nobody runs or waits, in this sample and the one before, and none came and went between them. */
static void all_must_be_quiet_for_two_samples(void **state) {
    (void)state;
    static world w;
    start(&w);
    sample(&w, 0);
    assert_int_equal(report_timeline_baselines(w.t), 0); /* what was before is not known */
    sample(&w, 0);
    assert_int_equal(report_timeline_baselines(w.t), 1);
    for (int i = 0; i < 3; i++) {
        uint32_t *who = i == 0 ? &w.activity.active : i == 1 ? &w.activity.queued : NULL;
        w.activity.requests++;
        sample(&w, 0);
        if (who) *who = 1, sample(&w, 0);
        if (who) *who = 0, sample(&w, 0);
        assert_int_equal(report_timeline_baselines(w.t), i + 1);
        sample(&w, 0); /* at once, however long ago the last one was */
        assert_int_equal(report_timeline_baselines(w.t), i + 2);
    }
    uint64_t last = w.now_ms - REPORT_TIMELINE_STEP_MS;
    while (w.now_ms - last < 60000) sample(&w, 0);
    assert_int_equal(report_timeline_baselines(w.t), 4);
    sample(&w, 0); /* and without requests a minute after it */
    assert_int_equal(report_timeline_baselines(w.t), 5);
    stop(&w);
}

/* A server that nobody asks: a reading a minute. */
static void growth_without_requests_is_seen(void **state) {
    (void)state;
    static world w;
    start(&w);
    report_leak leaks[MEM_ACCOUNT_COUNT + 1];
    for (int i = 0; i < 3600; i++) {
        w.books.ledger.rows[MEM_SPILL].now_bytes += PAGE;
        sample(&w, 0);
    }
    assert_in_range(report_timeline_baselines(w.t), 58, 61);
    assert_int_equal(report_timeline_leaks(w.t, leaks), 1);
    assert_string_equal(leaks[0].account, "spill");
    assert_true(leaks[0].requests == 0);
    stop(&w);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_is_kept_as_it_was),
        cmocka_unit_test(one_a_second_however_often_it_is_called),
        cmocka_unit_test(what_is_old_is_thinned),
        cmocka_unit_test(a_peak_outlives_the_thinning),
        cmocka_unit_test(a_page_with_each_request_is_named),
        cmocka_unit_test(what_is_held_counts_and_not_the_row),
        cmocka_unit_test(runtime_is_measured_and_may_grow),
        cmocka_unit_test(the_unexplained_is_looked_at_when_all_is_quiet),
        cmocka_unit_test(all_must_be_quiet_for_two_samples),
        cmocka_unit_test(growth_without_requests_is_seen),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
