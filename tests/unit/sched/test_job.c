/* The life of a job: every legal move and what it counts, every illegal one stops, and so does a job that holds what
 * its state has not, or lacks what it has. */
#include "../test.h"
#include "../stops.h"

#include "sched/internal.h"

enum { JOBS = 3, TENANTS = 2, REGION_BYTES = 8 * MEM_BUDDY_LEAST_BYTES };

typedef struct bench {
    sched s;
    sched_job jobs[JOBS];
    sched_tenant tenants[TENANTS];
    uint8_t blocks_state[REGION_BYTES / MEM_BUDDY_LEAST_BYTES];
} bench;

static _Alignas(4096) char region[REGION_BYTES];
static engine_session *const some_session = (engine_session *)(void *)region; /* nobody looks into it */

static void bench_up(bench *b) {
    *b = (bench){.s = {.config = {.max_concurrent = JOBS, .max_queue = 1, .n_tenants = TENANTS}, .n_jobs = JOBS}};
    b->s.jobs = b->jobs;
    b->s.tenants = b->tenants;
    plat_mutex_init(&b->s.lock);
    plat_mutex_lock(&b->s.lock);
    mem_buddy_init(&b->s.blocks, region, sizeof region, b->blocks_state);
}

/* Takes or gives back what the state has, then moves. */
static void go(bench *b, sched_job *j, job_state to) {
    if (to == JOB_QUEUED && !j->block) j->block = mem_buddy_take(&b->s.blocks, 1);
    if (to == JOB_DECODE) j->n_generated = 1;
    j->gen.session = to == JOB_PREFILL || to == JOB_DECODE ? some_session : NULL;
    sched_job_move(&b->s, j, to);
}

/* By the shortest way. */
static sched_job *job_in(bench *b, job_state state) {
    static const job_state ways[JOB_STATES][4] = {
        [JOB_QUEUED] = {JOB_QUEUED},
        [JOB_PREFILL] = {JOB_QUEUED, JOB_PREFILL},
        [JOB_DECODE] = {JOB_QUEUED, JOB_PREFILL, JOB_DECODE},
        [JOB_PREEMPTED] = {JOB_QUEUED, JOB_PREFILL, JOB_PREEMPTED},
        [JOB_ENDED] = {JOB_QUEUED, JOB_ENDED},
    };
    sched_job *j = b->jobs;
    for (int i = 0; ways[state][i]; i++) go(b, j, ways[state][i]);
    assert_int_equal(j->state, state);
    return j;
}

static const char *const names[JOB_STATES] = {"free", "queued", "prefill", "decode", "preempted", "ended"};

static void who_moves_how(void **state) {
    (void)state;
    static const char *const legal[JOB_STATES] = {
        "queued", "prefill ended", "decode preempted ended", "preempted ended", "prefill ended", "free"};
    for (int from = 0; from < JOB_STATES; from++)
        for (int to = 0; to < JOB_STATES; to++) {
            bench b;
            bench_up(&b);
            sched_job *j = job_in(&b, (job_state)from);
            bool may = strstr(legal[from], names[to]) != NULL;
            assert_int_equal(sched_may_move((job_state)from, (job_state)to), may);
            if (may) go(&b, j, (job_state)to);
            else assert_stops(go(&b, j, (job_state)to));
            assert_int_equal(j->state, may ? to : from);
        }
}

static void assert_counts(const bench *b, uint32_t queued, uint32_t active, uint32_t preempted, uint32_t of_tenant) {
    assert_int_equal(b->s.counts.queued, queued);
    assert_int_equal(b->s.counts.active, active);
    assert_int_equal(b->s.counts.preempted, preempted);
    assert_int_equal(b->tenants[0].n_jobs, of_tenant);
}

static void a_life_is_counted(void **state) {
    (void)state;
    static const struct {
        job_state to;
        uint32_t queued, active, preempted, of_tenant;
    } life[] = {{JOB_QUEUED, 1, 0, 0, 1}, {JOB_PREFILL, 0, 1, 0, 1},   {JOB_PREEMPTED, 0, 1, 1, 1},
                {JOB_PREFILL, 0, 1, 0, 1}, {JOB_DECODE, 0, 1, 0, 1},   {JOB_PREEMPTED, 0, 1, 1, 1},
                {JOB_PREFILL, 0, 1, 0, 1}, {JOB_PREEMPTED, 0, 1, 1, 1}, {JOB_ENDED, 0, 0, 0, 0},
                {JOB_FREE, 0, 0, 0, 0}};
    bench b;
    bench_up(&b);
    sched_job *j = b.jobs;
    uint64_t first_ns = 0;
    for (size_t i = 0; i < sizeof life / sizeof *life; i++) {
        go(&b, j, life[i].to);
        assert_counts(&b, life[i].queued, life[i].active, life[i].preempted, life[i].of_tenant);
        if (life[i].to == JOB_DECODE) first_ns = j->first_ns;
        assert_int_equal(j->first_ns, first_ns);
    }
    assert_int_equal(b.s.counts.submitted, 1);
    assert_int_equal(b.s.counts.preemptions, 3);
    assert_int_equal(j->times_preempted, 3);
    assert_int_equal(j->number, 1);
    assert_true(j->submit_ns <= j->admit_ns && j->admit_ns <= first_ns && first_ns <= j->end_ns);
    assert_int_equal(b.s.blocks.used_bytes, 0);
}

/* Each of these is right in another state. */
static void a_state_has_what_it_has(void **state) {
    (void)state;
    bench b;
    bench_up(&b);
    sched_job *j = job_in(&b, JOB_QUEUED);
    sched_job_check(&b.s, j);
    assert_stops(sched_job_move(&b.s, j, JOB_PREFILL)); /* without a session */
    go(&b, j, JOB_PREFILL);
    assert_stops(sched_job_move(&b.s, j, JOB_PREEMPTED)); /* with one */
    assert_stops(sched_job_move(&b.s, j, JOB_ENDED));
    assert_stops((j->block = NULL, sched_job_check(&b.s, j)));
    assert_stops((j->end_ns = j->admit_ns, sched_job_check(&b.s, j)));
    assert_stops((j->wake_due = true, sched_job_check(&b.s, j))); /* who listens to nothing is told */
    assert_stops((j->tenant = TENANTS, sched_job_check(&b.s, j)));
    assert_stops((j->ring.used = j->ring.size + 1, sched_job_check(&b.s, j)));
    j->sampling.grammar = (engine_grammar *)(void *)region;
    assert_stops(go(&b, j, JOB_ENDED)); /* it would never be let go */
    j->sampling.grammar = NULL;
    go(&b, j, JOB_ENDED);
    assert_stops((j->gen.session = some_session, sched_job_check(&b.s, j)));
    go(&b, j, JOB_FREE);
    sched_job_check(&b.s, j);
    assert_stops((j->block = region, sched_job_check(&b.s, j)));
}

/* Whatever is said twice is said the same. */
static void what_does_not_add_up_stops(void **state) {
    (void)state;
    bench b;
    bench_up(&b);
    sched *s = &b.s;
    sched_job *j = job_in(&b, JOB_PREEMPTED);
    go(&b, &b.jobs[1], JOB_QUEUED);
    for (int i = 0; i < 2; i++) b.jobs[i].block_bytes = MEM_BUDDY_LEAST_BYTES;
    sched_check(s);
    assert_stops((s->counts.submitted++, sched_counts_check(s)));
    assert_stops((s->counts.preempted++, sched_counts_check(s)));
    assert_stops((s->config.max_concurrent = 0, sched_counts_check(s)));
    assert_stops((s->counts.queued--, s->counts.active++, sched_check(s)));
    assert_stops((s->counts.preempted--, sched_check(s)));
    assert_stops((b.tenants[1].n_jobs++, sched_check(s)));
    assert_stops((j->block_bytes *= 2, sched_check(s)));
    assert_stops((mem_buddy_take(&s->blocks, 1), sched_check(s)));
    assert_stops((s->last_number--, sched_check(s)));
    assert_stops((j->gen.session = some_session, sched_check(s)));
    j->cancelled = true;
    sched_check(s);
    go(&b, j, JOB_ENDED);
    s->counts.cancelled++;
    assert_stops(sched_check(s)); /* it stays, and nobody will let it go */
    go(&b, j, JOB_FREE);
    sched_check(s);
}

/* Who may not be here: without the lock; with it, but not on the engine thread. */
static void who_calls_without_the_lock_stops(void **state) {
    (void)state;
    bench b;
    bench_up(&b);
    sched_job *j = job_in(&b, JOB_PREFILL), *queued = &b.jobs[1];
    go(&b, queued, JOB_QUEUED);
    assert_true(sched_locked(&b.s) && !sched_steps(&b.s));
    assert_stops(sched_rank_running(&b.s));
    assert_stops(sched_admit(&b.s));
    assert_stops(sched_preempt(&b.s, j));
    assert_stops(sched_prepare(&b.s, j, 1));
    assert_stops(sched_match_prefix(&b.s, j));
    assert_stops(sched_job_exit(&b.s, j, NULL));
    assert_stops(sched_read(&b.s, &(sched_counts){0})); /* it takes the lock itself */
    b.s.engine_thread = plat_thread_mark();
    assert_true(sched_steps(&b.s));
    sched_job *running[JOBS];
    b.s.running = running;
    sched_rank_running(&b.s);
    assert_ptr_equal(running[0], j);
    assert_stops((b.s.counts.active++, sched_rank_running(&b.s)));
    plat_mutex_unlock(&b.s.lock);
    assert_stops(sched_rank_running(&b.s));
    assert_stops(sched_room_bytes(&b.s));
    assert_stops(sched_fit_pool(&b.s));
    assert_stops(sched_check(&b.s));
    assert_stops(sched_job_move(&b.s, queued, JOB_ENDED));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(who_moves_how),
        cmocka_unit_test(a_life_is_counted),
        cmocka_unit_test(a_state_has_what_it_has),
        cmocka_unit_test(what_does_not_add_up_stops),
        cmocka_unit_test(who_calls_without_the_lock_stops),
    };
    return cmocka_run_group_tests_name("sched_job", tests, NULL, NULL);
}
