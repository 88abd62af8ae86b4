/* When memory is short: who is refused, who goes on, what is given back; and nothing of it stays. */
#include "world.h"

enum { CONTEXT = 2048, ENTRIES = 100, FOUR = 4 };

#ifdef PLIMSOLL_SANITIZED
enum { LONG = 240 };
#else
enum { LONG = 400 };
#endif

static int up(void **state) {
    (void)state;
    return model_up("pressure", CONTEXT);
}

static void world_up(world *w, uint32_t n_concurrent, uint32_t entries, bool cleanup) {
    world_in(w, (place){n_concurrent, CONTEXT, .entries = entries, .cleanup = cleanup});
}

static kv_pool_counts pool_of(world *w) { return kv_of(w).pool; }

static size_t full_bytes(world *w) { return kv_pool_full_bytes(kv_cache_pool(engine_kv(w->en))); }

static ask *asking(const world *w, uint64_t seed, uint32_t n_prompt, uint32_t max_tokens) {
    ask *q = new_ask(w, 0, 0, seed, n_prompt, max_tokens);
    q->r.remember = q->r.params.share = true;
    return q;
}

static void remember(world *w, uint64_t seed, uint32_t n_prompt) {
    ask *q = asking(w, seed, n_prompt, 4);
    answer a = answer_to(w, q);
    assert_int_equal(a.what, SCHED_END);
    free_answer(&a);
    free_ask(q);
}

static void new_ones_are_refused_while_it_lasts(void **state) {
    (void)state;
    world w;
    world_up(&w, 2, ENTRIES, false);
    ask *q = asking(&w, 1, 100, 10), *never = asking(&w, 2, CONTEXT, 10);
    for (mem_level level = MEM_SAFE; level <= MEM_EMERGENCY; level++) {
        bool refused = level >= MEM_CRITICAL;
        err e = {0};
        sched_fit fit;
        sched_set_pressure(w.s, level, false, 12345);
        assert_true(sched_would_fit(w.s, &q->r, &fit, &e));
        assert_true(fit.ever);
        assert_int_equal(fit.now, !refused);
        assert_int_equal(fit.pool_bytes, full_bytes(&w));
        sched_job *j = sched_submit(w.s, &q->r, &e);
        assert_int_equal(j == NULL, refused);
        if (refused) {
            assert_int_equal(e.code, ERR_MEMORY);
            assert_int_equal(e.have_bytes, 12345);
            assert_int_equal(e.need_bytes, fit.required_bytes);
            assert_non_null(strstr(e.message, mem_level_name(level)));
        } else {
            answer a = {0};
            finish_job(&w, j, &a);
            assert_int_equal(a.what, SCHED_END);
            free_answer(&a);
        }
        assert_null(sched_submit(w.s, &never->r, &e)); /* what never fits hears that at any level */
        assert_int_equal(e.code, ERR_TOO_LARGE);
    }
    assert_true(pool_of(&w).budget_bytes < full_bytes(&w));
    sched_set_pressure(w.s, MEM_SAFE, false, UINT64_MAX);
    assert_int_equal(pool_of(&w).budget_bytes, full_bytes(&w));
    answer a = answer_to(&w, q);
    assert_int_equal(a.what, SCHED_END);
    free_answer(&a);
    free_ask(q);
    free_ask(never);
    world_down(&w);
}

typedef struct weather {
    world *w;
    pthread_t thread;
    _Atomic bool stop;
    bool changing;
} weather;

static void *blow(void *ctx) {
    weather *x = ctx;
    uint64_t seed = 3;
    while (!x->stop) {
        sched_set_pressure(x->w->s, x->changing ? (mem_level)(rng_splitmix(&seed) % 5) : MEM_EMERGENCY, false, 1);
        if (x->changing) (void)sched_expire(x->w->s);
        (void)sched_shrink_cache(x->w->s, UINT64_MAX);
        pause_us(300);
    }
    return NULL;
}

/* Says more than its ring holds, so that it is still there however late the test is: it ends only when it is read. */
static ask *asking_much(const world *w, uint64_t seed, uint32_t n_prompt) {
    ask *q = asking(w, seed, n_prompt, LONG);
    q->r.whole = false;
    q->r.sampling.top_logprobs = 20;
    return q;
}

/* Accepted before it came; entries 0: nothing can be remembered of the preempted. */
static void storm(uint32_t entries, bool changing, uint32_t *preemptions) {
    world w;
    ask *asks[FOUR];
    answer alone[FOUR], answers[FOUR] = {0};
    sched_job *jobs[FOUR];
    world_up(&w, FOUR, entries, false);
    for (uint32_t i = 0; i < FOUR; i++) asks[i] = asking_much(&w, 10 + i, 300 + 100 * i);
    ask_alone(asks, alone, FOUR, CONTEXT);
    for (uint32_t i = 0; i < FOUR; i++) jobs[i] = submit_ask(&w, asks[i]);
    until_active(&w, FOUR);
    weather x = {.w = &w, .changing = changing};
    assert_int_equal(pthread_create(&x.thread, NULL, blow, &x), 0);
    while (!changing && !counts_of(&w).preemptions) pause_us(200);
    finish_all(&w, jobs, answers, FOUR);
    x.stop = true;
    pthread_join(x.thread, NULL);
    for (uint32_t i = 0; i < FOUR; i++) assert_same_answer(&answers[i], &alone[i]);
    forget_all(asks, alone, answers, FOUR);
    *preemptions = (uint32_t)counts_of(&w).preemptions;
    sched_set_pressure(w.s, MEM_SAFE, false, UINT64_MAX);
    assert_int_equal(pool_of(&w).budget_bytes, full_bytes(&w));
    world_down(&w);
}

static void storm_that_parks(uint32_t entries) {
    uint32_t preemptions;
    storm(entries, false, &preemptions);
    print_message("parked %u times\n", preemptions);
}

static void the_accepted_finish_in_an_emergency(void **state) {
    (void)state;
    storm_that_parks(ENTRIES);
    storm_that_parks(0);
}

static void the_accepted_finish_in_changing_weather(void **state) {
    (void)state;
    uint32_t preemptions;
    storm(ENTRIES, true, &preemptions);
    print_message("parked %u times\n", preemptions);
}

/* Or where what is remembered is all the room there is. */
static void no_more_is_remembered_at(mem_level level) {
    world w;
    world_up(&w, 2, ENTRIES, false);
    for (uint64_t i = 0; i < 4; i++) remember(&w, i, 200);
    size_t before = pool_of(&w).evictable_bytes;
    assert_true(before > 0);
    sched_set_pressure(w.s, level, level == MEM_SAFE, 1);
    for (uint64_t i = 10; i < 20; i++) {
        remember(&w, i, 300);
        assert_true(pool_of(&w).evictable_bytes <= before);
    }
    assert_true(pool_of(&w).evictable_bytes > before / 2); /* the new take the place of the old */
    assert_true(sched_shrink_cache(w.s, before / 2) > 0);
    size_t after = pool_of(&w).evictable_bytes;
    for (uint64_t i = 20; i < 24; i++) remember(&w, i, 300);
    assert_true(pool_of(&w).evictable_bytes <= after); /* and what has gone does not come back either */
    sched_set_pressure(w.s, MEM_SAFE, false, UINT64_MAX);
    for (uint64_t i = 30; i < 38; i++) remember(&w, i, 300);
    assert_true(pool_of(&w).evictable_bytes > before);
    world_down(&w);
}

static void in_caution_no_more_is_remembered(void **state) {
    (void)state;
    no_more_is_remembered_at(MEM_CAUTION);
    no_more_is_remembered_at(MEM_SAFE);
}

static void what_is_given_back_is_counted(void **state) {
    (void)state;
    world w;
    sched_memory m;
    world_up(&w, 2, ENTRIES, false);
    for (uint64_t i = 0; i < 8; i++) remember(&w, i, 200);
    sched_memory_read(w.s, &m);
    kv_pool_counts pool = pool_of(&w);
    assert_int_equal(m.held_bytes, pool.committed_bytes);
    assert_int_equal(m.reclaimable_bytes, pool.committed_bytes); /* nobody is here */
    assert_int_equal(m.requests, 0);
    assert_int_equal(m.ended, 8);
    mem_ledger_view before, after;
    mem_ledger_read(&w.ledger, &before);
    uint64_t freed = sched_trim(w.s);
    freed += sched_shrink_cache(w.s, pool.committed_bytes / 4);
    mem_ledger_read(&w.ledger, &after);
    assert_int_equal(before.now_bytes - after.now_bytes, freed);
    assert_true(freed > 0 && pool_of(&w).evictable_bytes > 0);
    freed = sched_shrink_cache(w.s, UINT64_MAX);
    assert_true(freed > 0);
    sched_memory_read(w.s, &m);
    assert_int_equal(m.held_bytes, 0);
    assert_int_equal(sched_shrink_cache(w.s, UINT64_MAX), 0);
    world_down(&w);
}

static void nothing_stays_after_a_request(void **state) {
    (void)state;
    world w;
    world_up(&w, 2, ENTRIES, true);
    for (uint64_t i = 0; i < 4; i++) {
        remember(&w, 1, 200); /* by the time it is told, it has been cleaned up after */
        assert_int_equal(pool_of(&w).committed_bytes, 0);
        assert_int_equal(kv_of(&w).entries, 0);
    }
    world_down(&w);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(new_ones_are_refused_while_it_lasts),
        cmocka_unit_test(the_accepted_finish_in_an_emergency),
        cmocka_unit_test(the_accepted_finish_in_changing_weather),
        cmocka_unit_test(in_caution_no_more_is_remembered),
        cmocka_unit_test(what_is_given_back_is_counted),
        cmocka_unit_test(nothing_stays_after_a_request),
    };
    return cmocka_run_group_tests_name("sched_pressure", tests, up, model_down);
}
