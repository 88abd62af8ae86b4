/* Who is admitted, to the page: a scheduler made by hand, without its thread, so that nothing moves but by the call
 * that is looked at. Budgets are set to the byte: at the limit it goes, one byte below it does not. */
#include "world.h"

enum { CONTEXT = 2048, ENTRIES = 100, JOBS = 6, TENANTS = 3 };

static int up(void **state) {
    (void)state;
    return model_up("admission", CONTEXT);
}

typedef struct desk {
    world w;
    sched s;
    sched_job jobs[JOBS], *running[JOBS];
    sched_tenant tenants[TENANTS];
    engine_batch_item items[JOBS];
    sched_job *item_jobs[JOBS];
    int32_t tokens[JOBS][CONTEXT];
} desk;

static desk *desk_up(uint32_t max_concurrent, uint32_t entries) {
    desk *d = calloc(1, sizeof *d);
    engine_config c = engine_of(model_path, 4, CONTEXT);
    c.cache_entries = entries;
    engine_up_as(&d->w, &c, 0);
    d->s = (sched){.en = d->w.en,
                   .config = {.max_concurrent = max_concurrent, .n_tenants = TENANTS},
                   .jobs = d->jobs,
                   .n_jobs = JOBS,
                   .running = d->running,
                   .tenants = d->tenants,
                   .items = d->items,
                   .item_jobs = d->item_jobs,
                   .pool_limit_bytes = UINT64_MAX};
    plat_mutex_init(&d->s.lock);
    plat_mutex_lock(&d->s.lock);
    d->s.engine_thread = plat_thread_mark();
    pthread_cond_init(&d->s.idle, NULL);
    return d;
}

static kv_cache *kv_at(const desk *d) { return engine_kv(d->w.en); }

static void desk_down(desk *d) {
    for (int i = 0; i < JOBS; i++) kv_sequence_close(kv_at(d), d->jobs[i].gen.session, NULL);
    plat_mutex_unlock(&d->s.lock);
    plat_mutex_destroy(&d->s.lock);
    pthread_cond_destroy(&d->s.idle);
    engine_free(d->w.en);
    free(d);
}

/* In slot `at`, which is not what orders jobs. Its text is its own. */
static sched_job *add_job(desk *d, uint32_t at, uint64_t number, uint32_t n_prompt, uint32_t max_tokens) {
    sched_job *j = &d->jobs[at];
    assert_int_equal(j->state, JOB_FREE);
    assert_true(n_prompt + max_tokens <= CONTEXT);
    *j = (sched_job){.params = engine_kv_params(d->w.en), .block = d->tokens[at]};
    engine_sampling_default(&j->sampling);
    j->gen = (engine_generation){.en = d->w.en,
                                 .sampling = &j->sampling,
                                 .tokens = d->tokens[at],
                                 .n_prompt = n_prompt,
                                 .max_tokens = max_tokens};
    for (uint32_t i = 0; i < n_prompt; i++) d->tokens[at][i] = prompt_token(number, i);
    d->s.last_number = number - 1;
    sched_job_move(&d->s, j, JOB_QUEUED);
    return j;
}

static void prepare(desk *d, sched_job *j, uint32_t n_tokens) {
    for (uint32_t n; n_tokens > 0; n_tokens -= n) {
        n = n_tokens < 64 ? n_tokens : 64;
        err e = {0};
        assert_ok(kv_sequence_prepare(kv_at(d), j->gen.session, n, &e), e);
        kv_sequence_commit(kv_at(d), j->gen.session, j->gen.tokens + j->gen.n_fed, n);
        j->gen.n_fed += n;
    }
}

/* Running, with so many tokens of its prompt on pages. */
static sched_job *add_running(desk *d, uint32_t at, uint64_t number, uint32_t n_prompt, uint32_t max_tokens,
                              uint32_t n_held) {
    sched_job *j = add_job(d, at, number, n_prompt, max_tokens);
    err e = {0};
    j->gen.session = engine_session_open(d->w.en, &j->params, &e);
    assert_ok(j->gen.session != NULL, e);
    sched_job_move(&d->s, j, JOB_PREFILL);
    prepare(d, j, n_held);
    return j;
}

/* Holding all that it will ever want: it only makes that the others are not alone. */
static sched_job *add_neighbour(desk *d, uint32_t at) { return add_running(d, at, 99, 17, 15, 17); }

static sched_job *add_parked(desk *d, uint32_t at, uint64_t number, uint32_t n_prompt, uint32_t times) {
    sched_job *j = add_job(d, at, number, n_prompt, CONTEXT - n_prompt);
    j->state = JOB_PREEMPTED;
    j->times_preempted = times;
    j->admit_ns = j->submit_ns;
    d->s.counts.queued--, d->s.counts.active++, d->s.counts.preempted++;
    return j;
}

/* What is in use, so many pages, and so many bytes more or less. */
static void leave_room(desk *d, uint32_t pages, int64_t bytes) {
    kv_pool *pool = kv_cache_pool(kv_at(d));
    kv_pool_counts c;
    kv_pool_read(pool, &c);
    size_t wanted = (size_t)((int64_t)(c.used_bytes - c.evictable_bytes + pages * d->w.plan.page_bytes) + bytes);
    kv_pool_resize(pool, wanted);
    kv_pool_read(pool, &c);
    assert_int_equal(c.budget_bytes, wanted);
}

static bool would_admit(desk *d, const sched_job *j, err_code code) {
    err why = {0};
    sched_job asked = *j;
    asked.state = JOB_FREE;
    bool now = sched_would_admit(&d->s, &asked, &why);
    assert_int_equal(why.code, now ? ERR_NONE : code);
    return now;
}

/* ---- room ---- */

/* At the door: what fits the empty pool to the byte could run. */
static void what_could_ever_run_is_told_to_the_page(void **state) {
    (void)state;
    desk *d = desk_up(4, 0);
    uint32_t pages = (uint32_t)(kv_pool_full_bytes(kv_cache_pool(kv_at(d))) / d->w.plan.page_bytes);
    kv_params params = engine_kv_params(d->w.en);
    err e = {0};
    assert_true(sched_price(&d->s, &params, pages * KV_PAGE_TOKENS, &e));
    assert_false(sched_price(&d->s, &params, pages * KV_PAGE_TOKENS + 1, &e));
    assert_int_equal(e.code, ERR_TOO_LARGE);
    assert_int_equal(e.need_bytes, (pages + 1) * d->w.plan.page_bytes);
    assert_int_equal(e.have_bytes, kv_pool_full_bytes(kv_cache_pool(kv_at(d))));
    desk_down(d);
}

static void room_is_what_is_neither_in_use_nor_promised(void **state) {
    (void)state;
    desk *d = desk_up(4, 0);
    uint64_t page = d->w.plan.page_bytes;
    leave_room(d, 10, 0);
    assert_int_equal(sched_room_bytes(&d->s), 10 * page);
    sched_job *j = add_running(d, 0, 1, 40, 100, 0);
    assert_int_equal(sched_room_bytes(&d->s), (10 - 4) * page); /* of 40 tokens and the next 16 */
    prepare(d, j, 30);
    assert_int_equal(sched_room_bytes(&d->s), (10 - 4) * page); /* two of them it holds */
    add_running(d, 1, 2, 40, 5, 16);
    assert_int_equal(sched_room_bytes(&d->s), (10 - 4 - 3) * page); /* it never wants more than 45 tokens */
    j->n_generated = 30;
    assert_int_equal(sched_room_bytes(&d->s), (10 - 6 - 3) * page);
    add_running(d, 2, 3, 40, 5, 0);
    assert_int_equal(sched_room_bytes(&d->s), 0); /* promised a page more than there is */
    add_job(d, 3, 4, 40, 5), add_parked(d, 4, 5, 40, 1);
    d->jobs[2].state = JOB_QUEUED; /* those that do not run are promised nothing */
    assert_int_equal(sched_room_bytes(&d->s), (10 - 6 - 3) * page);
    desk_down(d);
}

static void what_fits_to_the_byte_is_admitted(void **state) {
    (void)state;
    for (int less = 1; less >= 0; less--) {
        desk *d = desk_up(4, 0);
        add_neighbour(d, 0);
        sched_job *j = add_job(d, 1, 2, 20, 100); /* 20 tokens and the next 16 */
        leave_room(d, 3, -less);
        d->s.counts.queued = 0, j->state = JOB_FREE;
        assert_int_equal(would_admit(d, j, ERR_MEMORY), !less);
        d->s.counts.queued = 1, j->state = JOB_QUEUED;
        sched_admit(&d->s);
        assert_int_equal(j->state, less ? JOB_QUEUED : JOB_PREFILL);
        assert_int_equal(d->s.counts.queued, less);
        assert_int_equal(d->s.counts.active, 2 - less);
        desk_down(d);
    }
}

/* What another promises itself is not there for a third. */
static void what_is_promised_admits_nobody_else(void **state) {
    (void)state;
    desk *d = desk_up(4, 0);
    add_running(d, 0, 1, 40, 100, 0);
    sched_job *j = add_job(d, 1, 2, 20, 100);
    leave_room(d, 4 + 3, -1);
    sched_admit(&d->s);
    assert_int_equal(j->state, JOB_QUEUED);
    leave_room(d, 4 + 3, 0);
    sched_admit(&d->s);
    assert_int_equal(j->state, JOB_PREFILL);
    desk_down(d);
}

/* Pages that somebody uses anyway cost nothing; remembered ones that nobody uses do. */
static void what_others_use_is_not_needed_again(void **state) {
    (void)state;
    for (int used = 0; used < 2; used++) {
        desk *d = desk_up(4, ENTRIES);
        sched_job *other = add_running(d, 0, 1, 64, 1, 64), *j = add_job(d, 1, 2, 80, 100);
        add_neighbour(d, 2);
        memcpy(d->tokens[1], d->tokens[0], 64 * sizeof(int32_t));
        if (!used) {
            kv_sequence_close(kv_at(d), other->gen.session, &(kv_memory_of){0});
            other->gen.session = NULL;
            other->state = JOB_ENDED;
            d->s.counts.active--;
        }
        uint32_t pages = used ? 1 + 6 - 4 : 6; /* of 80 tokens and 16, less those of the common 64; and `other`'s next */
        leave_room(d, pages, -1);
        assert_false(would_admit(d, j, ERR_BUSY));
        sched_admit(&d->s);
        assert_int_equal(j->state, JOB_QUEUED);
        leave_room(d, pages, 0);
        sched_admit(&d->s);
        assert_int_equal(j->state, JOB_PREFILL);
        assert_int_equal(j->cached_tokens, 64);
        desk_down(d);
    }
}

/* Nobody is there: the rest of the pool can be taken back, and it begins however little is left. */
static void who_is_alone_has_room(void **state) {
    (void)state;
    for (int preempted = 0; preempted < 2; preempted++) {
        desk *d = desk_up(4, 0);
        sched_job *j = preempted ? add_parked(d, 0, 1, 100, 1) : add_job(d, 0, 1, 100, 100);
        leave_room(d, 0, 1);
        sched_admit(&d->s);
        assert_int_equal(j->state, JOB_PREFILL);
        assert_int_equal(d->s.counts.active, 1);
        assert_int_equal(d->s.counts.preempted, 0);
        desk_down(d);
    }
}

/* One who comes back wants room for more than its next step, and for twice as much each time it had to go. */
static void who_was_parked_comes_back_to_more_and_more_room(void **state) {
    (void)state;
    static const uint32_t pages[] = {4, 8, 16, 32, 64, 64, 64}; /* beside those of its prompt, by times preempted */
    for (uint32_t times = 0; times < sizeof pages / sizeof *pages; times++) {
        desk *d = desk_up(4, 0);
        add_neighbour(d, 0);
        sched_job *j = add_parked(d, 1, 2, 32, times);
        leave_room(d, 2 + pages[times], -1);
        sched_admit(&d->s);
        assert_int_equal(j->state, JOB_PREEMPTED);
        leave_room(d, 2 + pages[times], 0);
        sched_admit(&d->s);
        assert_int_equal(j->state, JOB_PREFILL);
        assert_int_equal(d->s.counts.preempted, 0);
        assert_int_equal(d->s.counts.active, 2);
        desk_down(d);
    }
}

/* ---- order ---- */

typedef struct rank {
    int32_t priority;
    uint32_t tenant;
    double served;
} rank;

static void rank_job(desk *d, sched_job *j, rank r) {
    j->priority = r.priority;
    j->tenant = r.tenant;
    d->tenants[r.tenant].served = r.served;
}

/* Two wait for one place; the second came later, and lies in the earlier slot. */
static void the_queue_is_by_priority_then_fair_then_by_arrival(void **state) {
    (void)state;
    static const struct {
        rank first, second;
        bool second_begins;
    } rows[] = {
        {{0, 0, 5}, {0, 0, 5}, false}, {{1, 0, 5}, {0, 0, 5}, false}, {{0, 0, 5}, {1, 0, 5}, true},
        {{-1, 0, 5}, {0, 0, 5}, true}, {{0, 0, 5}, {0, 1, 5}, false}, {{0, 0, 5}, {0, 1, 4}, true},
        {{0, 0, 4}, {0, 1, 5}, false}, {{0, 1, 5}, {0, 0, 4}, true},  {{1, 0, 5}, {0, 1, 4}, false},
        {{0, 0, 4}, {1, 1, 5}, true},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        desk *d = desk_up(2, 0);
        add_neighbour(d, 2);
        sched_job *second = add_job(d, 0, 3, 20, 10), *first = add_job(d, 1, 2, 20, 10);
        rank_job(d, first, rows[i].first), rank_job(d, second, rows[i].second);
        sched_admit(&d->s);
        if ((second->state == JOB_PREFILL) != rows[i].second_begins) fail_msg("row %zu", i);
        assert_int_equal((rows[i].second_begins ? first : second)->state, JOB_QUEUED);
        desk_down(d);
    }
}

/* max_concurrent 1: by arrival, whoever it is. */
static void one_at_a_time_is_by_arrival(void **state) {
    (void)state;
    desk *d = desk_up(1, 0);
    sched_job *second = add_job(d, 0, 3, 20, 10), *first = add_job(d, 1, 2, 20, 10);
    rank_job(d, first, (rank){0, 0, 9}), rank_job(d, second, (rank){5, 1, 1});
    assert_false(would_admit(d, &(sched_job){.priority = 9, .params = engine_kv_params(d->w.en)}, ERR_BUSY));
    sched_admit(&d->s);
    assert_int_equal(first->state, JOB_PREFILL);
    assert_int_equal(second->state, JOB_QUEUED);
    desk_down(d);
}

static void ranks_are_by_priority_then_by_arrival(void **state) {
    (void)state;
    static const struct {
        uint64_t number;
        int32_t priority;
        uint32_t place;
    } rows[4] = {{2, 0, 2}, {3, 1, 1}, {4, 0, 3}, {1, 1, 0}};
    desk *d = desk_up(4, 0);
    for (uint32_t i = 0; i < 4; i++) {
        sched_job *j = add_running(d, i, rows[i].number, 20, 10, 0);
        rank_job(d, j, (rank){rows[i].priority, i % TENANTS, 10 - i});
    }
    add_parked(d, 4, 9, 20, 1);
    sched_rank_running(&d->s);
    assert_int_equal(d->s.n_running, 4);
    for (uint32_t i = 0; i < 4; i++) assert_ptr_equal(d->running[rows[i].place], &d->jobs[i]);
    static const uint32_t last_first[4] = {2, 0, 1, 3};
    for (uint32_t i = 0; i < 4; i++) {
        sched_preempt_last(&d->s);
        assert_int_equal(d->jobs[last_first[i]].state, i < 3 ? JOB_PREEMPTED : JOB_PREFILL); /* never the first */
    }
    assert_int_equal(d->s.counts.preemptions, 3);
    desk_down(d);
}

/* There is room for one of two jobs, the older of which was preempted: the younger was too, or waits. */
static void room_for_one_of_two(job_state younger_is) {
    for (int32_t priority = -1; priority <= 1; priority++) {
        desk *d = desk_up(4, 0);
        add_neighbour(d, 2);
        bool both = younger_is == JOB_PREEMPTED;
        sched_job *younger = both ? add_parked(d, 0, 3, 16, 0) : add_job(d, 0, 2, 50, 100),
                  *older = add_parked(d, 1, both ? 2 : 3, 16, 0);
        younger->priority = priority;
        leave_room(d, 5, 0);
        sched_admit(&d->s);
        assert_int_equal(younger->state, priority > 0 ? JOB_PREFILL : younger_is);
        assert_int_equal(older->state, priority > 0 ? JOB_PREEMPTED : JOB_PREFILL);
        desk_down(d);
    }
}

static void who_ranks_first_comes_back_first(void **state) {
    (void)state;
    room_for_one_of_two(JOB_PREEMPTED);
}

static void the_parked_come_before_their_equals(void **state) {
    (void)state;
    room_for_one_of_two(JOB_QUEUED);
}

/* Whoever is asked about comes after its equals, be they waiting or preempted, however much room there is. */
static void who_comes_now_waits_behind_its_equals(void **state) {
    (void)state;
    for (int preempted = 0; preempted < 2; preempted++) {
        desk *d = desk_up(4, 0);
        add_neighbour(d, 2);
        sched_job *before = preempted ? add_parked(d, 0, 2, 16, 0) : add_job(d, 0, 2, 16, 10);
        sched_job asked = {.priority = 1, .params = engine_kv_params(d->w.en)};
        asked.gen.tokens = d->tokens[1], asked.gen.n_prompt = 16, asked.gen.max_tokens = 10;
        for (int32_t priority = 0; priority <= 2; priority++) {
            before->priority = priority;
            assert_int_equal(would_admit(d, &asked, ERR_BUSY), priority < 1);
        }
        desk_down(d);
    }
}

/* As many as may at once; preempted ones count. */
static void no_more_than_may_at_once(void **state) {
    (void)state;
    desk *d = desk_up(3, 0);
    add_neighbour(d, 2);
    sched_job *a = add_job(d, 0, 2, 16, 10), *b = add_job(d, 1, 3, 16, 10), *p = add_parked(d, 3, 4, 16, 0);
    a->priority = b->priority = 1; /* before the preempted one, which stays among the three */
    leave_room(d, 2 + 2 + 1, 0);
    sched_admit(&d->s);
    assert_int_equal(a->state, JOB_PREFILL);
    assert_int_equal(b->state, JOB_QUEUED);
    assert_int_equal(p->state, JOB_PREEMPTED);
    assert_false(would_admit(d, &(sched_job){.priority = 9, .params = engine_kv_params(d->w.en)}, ERR_BUSY));
    desk_down(d);
}

/* ---- pages for a step ---- */

/* Whoever needs a page takes it of the last in rank, who leaves the step; where there is none behind it, it goes itself. */
static void the_last_in_rank_makes_way(void **state) {
    (void)state;
    desk *d = desk_up(4, 0);
    sched_job *third = add_running(d, 0, 3, 100, 900, 16), *first = add_running(d, 1, 1, 100, 900, 16),
              *second = add_running(d, 2, 2, 100, 900, 16), *in_step[] = {second, third, first};
    leave_room(d, 0, 0);
    sched_rank_running(&d->s);
    for (uint32_t i = 0; i < 3; i++) d->item_jobs[i] = in_step[i], d->items[i].session = in_step[i]->gen.session;
    d->s.n_items = 3;
    assert_true(sched_prepare(&d->s, second, 16));
    assert_int_equal(third->state, JOB_PREEMPTED);
    assert_int_equal(third->times_preempted, 1);
    assert_null(third->gen.session);
    assert_int_equal(d->s.n_items, 2);
    assert_true(d->item_jobs[0] == second && d->item_jobs[1] == first);
    assert_true(d->items[0].session == second->gen.session && d->items[1].session == first->gen.session);
    assert_false(sched_prepare(&d->s, second, 32));
    assert_int_equal(second->state, JOB_PREEMPTED);
    assert_int_equal(first->state, JOB_PREFILL);
    assert_int_equal(d->s.n_items, 1);
    assert_ptr_equal(d->item_jobs[0], first);
    assert_true(sched_prepare(&d->s, first, 32));
    assert_int_equal(first->starving_ns, 0);
    assert_int_equal(d->s.counts.preempted, 2);
    assert_int_equal(d->s.counts.preemptions, 2);
    desk_down(d);
}

/* The first in rank waits for pages that nobody can give, and for a second at most: until it has what it lacked. */
static void the_first_in_rank_starves_for_a_second(void **state) {
    (void)state;
    desk *d = desk_up(4, 0);
    sched_job *j = add_running(d, 0, 1, 200, 100, 16);
    leave_room(d, 1, 0);
    sched_rank_running(&d->s);
    assert_false(sched_prepare(&d->s, j, 48));
    assert_int_equal(j->state, JOB_PREFILL);
    uint64_t since = j->starving_ns;
    assert_true(since);
    assert_true(sched_prepare(&d->s, j, 16)); /* less is not what it lacked */
    assert_int_equal(j->starving_ns, since);
    leave_room(d, 2, 0);
    assert_true(sched_prepare(&d->s, j, 48));
    assert_int_equal(j->starving_ns, 0);
    assert_false(sched_prepare(&d->s, j, 64));
    assert_true(j->starving_ns);
    j->starving_ns = clock_now_ns() - 2000000000u;
    d->s.tenants[0].n_jobs = 1;
    assert_false(sched_prepare(&d->s, j, 64));
    assert_int_equal(j->state, JOB_ENDED);
    assert_int_equal(j->failure.code, ERR_BUSY);
    assert_int_equal(d->s.counts.failed, 1);
    desk_down(d);
}

/* What is said of a job's size is what it was at its largest. */
static void the_largest_size_is_remembered(void **state) {
    (void)state;
    desk *d = desk_up(4, 0);
    sched_job *j = add_running(d, 0, 1, 200, 100, 0);
    sched_rank_running(&d->s);
    assert_true(sched_prepare(&d->s, j, 64));
    kv_sequence_commit(kv_at(d), j->gen.session, j->gen.tokens, 64);
    assert_int_equal(kv_sequence_rewind(kv_at(d), j->gen.session, 10), 10);
    assert_true(sched_prepare(&d->s, j, 6));
    assert_int_equal(engine_session_bytes(d->w.en, j->gen.session), d->w.plan.page_bytes);
    assert_int_equal(j->kv.pages, 4);
    assert_int_equal(j->kv.bytes, 4 * d->w.plan.page_bytes);
    desk_down(d);
}

/* Of its prompt what was known, at the beginning or while it was run, counts once; what it finds when it comes back was
 * its own, and is kept no longer than until then. */
static void cached_tokens_are_those_of_others(void **state) {
    (void)state;
    desk *d = desk_up(4, ENTRIES);
    sched_job *other = add_running(d, 0, 1, 200, 1, 32), *j = add_running(d, 1, 2, 200, 100, 0);
    memcpy(d->tokens[1], d->tokens[0], sizeof d->tokens[1]);
    sched_match_prefix(&d->s, j);
    assert_int_equal(j->cached_tokens, 32);
    prepare(d, other, 32);
    sched_match_prefix(&d->s, j);
    assert_int_equal(j->gen.n_fed, 64);
    assert_int_equal(j->cached_tokens, 64);
    prepare(d, j, 64);
    sched_preempt(&d->s, j);
    assert_true(kv_at(d)->index.n_entries_used > 0);
    sched_admit(&d->s);
    assert_int_equal(j->state, JOB_PREFILL);
    assert_int_equal(j->gen.n_fed, 128);
    assert_int_equal(j->cached_tokens, 64);
    assert_int_equal(kv_at(d)->index.n_entries_used, 0);
    desk_down(d);
}

/* ---- when memory is short ---- */

static void when_memory_is_short_they_run_one_after_another(void **state) {
    (void)state;
    desk *d = desk_up(4, 0);
    sched_job *running = add_neighbour(d, 2), *waits = add_job(d, 0, 2, 16, 10);
    d->s.pressure = MEM_CRITICAL;
    sched_admit(&d->s);
    assert_int_equal(waits->state, JOB_QUEUED);
    kv_sequence_close(kv_at(d), running->gen.session, NULL);
    running->gen.session = NULL, running->state = JOB_ENDED;
    d->s.counts.active--;
    sched_admit(&d->s);
    assert_int_equal(waits->state, JOB_PREFILL);
    desk_down(d);
}

/* The pool is what is in use, and what the largest of those accepted may come to need. */
static void the_pool_is_fit_to_the_largest(void **state) {
    (void)state;
    desk *d = desk_up(4, 0);
    kv_pool *pool = kv_cache_pool(kv_at(d));
    size_t page = d->w.plan.page_bytes, full = kv_pool_full_bytes(pool);
    kv_pool_counts now;
    add_running(d, 0, 1, 100, 60, 80); /* 10 pages; five it holds */
    sched_job *preempted = add_parked(d, 1, 2, 16, 1), *waits = add_job(d, 2, 3, 200, 120), *ended = add_job(d, 3, 4, 900, 9);
    preempted->gen.max_tokens = 224; /* 15 pages; the one that waits 20 */
    ended->state = JOB_ENDED;
    const struct {
        mem_level pressure;
        uint64_t limit;
        size_t budget;
    } rows[] = {
        {MEM_SAFE, UINT64_MAX, full},          {MEM_WARNING, UINT64_MAX, full}, {MEM_CRITICAL, UINT64_MAX, 20 * page},
        {MEM_EMERGENCY, UINT64_MAX, 20 * page}, {MEM_CRITICAL, 7 * page, 7 * page}, {MEM_SAFE, 7 * page, 7 * page},
        {MEM_SAFE, UINT64_MAX, full},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        d->s.pressure = rows[i].pressure, d->s.pool_limit_bytes = rows[i].limit;
        sched_fit_pool(&d->s);
        kv_pool_read(pool, &now);
        assert_int_equal(now.budget_bytes, rows[i].budget);
    }
    d->s.pressure = MEM_CRITICAL;
    waits->state = JOB_FREE;
    sched_fit_pool(&d->s), kv_pool_read(pool, &now);
    assert_int_equal(now.budget_bytes, 15 * page);
    preempted->state = JOB_ENDED;
    sched_fit_pool(&d->s), kv_pool_read(pool, &now);
    assert_int_equal(now.budget_bytes, 10 * page);
    d->jobs[0].gen.max_tokens = 1; /* less than what is in use and promised to nobody */
    add_running(d, 4, 5, 64, 1, 64);
    sched_fit_pool(&d->s), kv_pool_read(pool, &now);
    assert_int_equal(now.budget_bytes, (5 + 4) * page);
    desk_down(d);
}

/* ---- when to come again ---- */

/* Those that run and those that wait, as many at once as may. */
static void retry_after_is_the_backlogs_length(void **state) {
    enum { JOBS_MOST = 96 };
    (void)state;
    static const struct {
        uint32_t queued, active, at_once, after_s;
        double mean_job_ms;
    } rows[] = {{0, 0, 4, 1, 9000},  {1, 0, 1, 10, 9000}, {0, 1, 1, 10, 9000}, {6, 2, 4, 19, 9000}, {5, 3, 4, 19, 9000},
                {6, 2, 2, 37, 9000}, {6, 2, 8, 10, 9000}, {8, 0, 4, 2, 999},   {90, 4, 4, 59, 9000}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        static sched_job jobs[JOBS_MOST];
        uint32_t n_jobs = rows[i].queued + rows[i].active;
        sched_tenant all = {.n_jobs = n_jobs};
        for (uint32_t k = 0; k < n_jobs; k++) {
            jobs[k] = (sched_job){.state = JOB_QUEUED, .block = jobs, .submit_ns = 1, .read_ns = 1, .number = k + 1};
            if (k < rows[i].active)
                jobs[k].state = JOB_PREFILL, jobs[k].admit_ns = 1, jobs[k].gen.session = (engine_session *)(void *)jobs;
        }
        sched s = {.config = {.max_concurrent = rows[i].at_once, .max_queue = JOBS_MOST},
                   .jobs = jobs,
                   .n_jobs = n_jobs,
                   .last_number = n_jobs,
                   .tenants = &all,
                   .counts = {.submitted = n_jobs,
                              .queued = rows[i].queued,
                              .active = rows[i].active},
                   .mean_job_ms = rows[i].mean_job_ms};
        plat_mutex_init(&s.lock);
        assert_int_equal(sched_retry_after_s(&s), rows[i].after_s);
        plat_mutex_destroy(&s.lock);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_could_ever_run_is_told_to_the_page),
        cmocka_unit_test(room_is_what_is_neither_in_use_nor_promised),
        cmocka_unit_test(what_fits_to_the_byte_is_admitted),
        cmocka_unit_test(what_is_promised_admits_nobody_else),
        cmocka_unit_test(what_others_use_is_not_needed_again),
        cmocka_unit_test(who_is_alone_has_room),
        cmocka_unit_test(who_was_parked_comes_back_to_more_and_more_room),
        cmocka_unit_test(the_queue_is_by_priority_then_fair_then_by_arrival),
        cmocka_unit_test(one_at_a_time_is_by_arrival),
        cmocka_unit_test(ranks_are_by_priority_then_by_arrival),
        cmocka_unit_test(who_ranks_first_comes_back_first),
        cmocka_unit_test(the_parked_come_before_their_equals),
        cmocka_unit_test(who_comes_now_waits_behind_its_equals),
        cmocka_unit_test(no_more_than_may_at_once),
        cmocka_unit_test(the_last_in_rank_makes_way),
        cmocka_unit_test(the_first_in_rank_starves_for_a_second),
        cmocka_unit_test(the_largest_size_is_remembered),
        cmocka_unit_test(cached_tokens_are_those_of_others),
        cmocka_unit_test(when_memory_is_short_they_run_one_after_another),
        cmocka_unit_test(the_pool_is_fit_to_the_largest),
        cmocka_unit_test(retry_after_is_the_backlogs_length),
    };
    return cmocka_run_group_tests_name("sched_admission", tests, up, model_down);
}
