/* The scheduler: every job ends once, whatever is done to it, and what it held comes back; those that nobody
 * disturbs say what they would have said alone. */
#include "world.h"

static int up(void **state) {
    (void)state;
    return model_up("sched", 256);
}

/* An engine of n_sessions sessions with n_pages KV pages (0: enough for all). */
static void engine_up(world *w, const char *file, uint32_t n_sessions, uint32_t n_context, uint32_t n_pages) {
    engine_config c = engine_of(file, n_sessions, n_context);
    engine_up_as(w, &c, n_pages);
}

/* ---- requests and what comes of them ---- */

enum { MOST_TEXT = 4096, MOST_PROMPT = 100 };

typedef struct request {
    sched_request r;
    int32_t prompt[MOST_PROMPT];
} request;

static request *new_request(const world *w, uint64_t seed) {
    request *q = calloc(1, sizeof *q);
    rng r;
    rng_seed(&r, seed);
    q->r.prompt = q->prompt;
    q->r.n_prompt = 1 + (uint32_t)(rng_next(&r) % MOST_PROMPT);
    for (uint32_t i = 0; i < q->r.n_prompt; i++)
        q->prompt[i] = (int32_t)(rng_next(&r) % engine_model_desc(w->en)->n_vocab);
    q->r.max_tokens = 1 + (uint32_t)(rng_next(&r) % 30);
    q->r.whole = rng_next(&r) % 2;
    engine_sampling_default(&q->r.sampling);
    q->r.sampling.seed = seed;
    q->r.sampling.temperature = seed % 3 ? 1 : 0;
    q->r.sampling.logprobs = seed % 4 == 0;
    q->r.sampling.top_logprobs = seed % 8 == 0 ? 3 : 0;
    if (seed % 5 == 0) q->r.n_stops = 1, q->r.stops[0] = (engine_stop){1, "t"};
    return q;
}

typedef struct outcome {
    sched_what what; /* SCHED_END or SCHED_FAILED */
    engine_finish finish;
    err failure;
    uint32_t n_tokens, n_text;
    int32_t tokens[64];
    char text[MOST_TEXT];
} outcome;

/* Takes one piece; false when there is none yet. */
static bool take(sched *s, sched_job *j, outcome *o) {
    sched_output *out = malloc(sizeof *out);
    sched_job_read(s, j, out);
    sched_what what = out->what;
    if (what == SCHED_TOKEN) {
        assert_true(o->n_tokens < 64 && o->n_text + out->text.len < MOST_TEXT);
        o->tokens[o->n_tokens++] = out->sample.token;
        memcpy(o->text + o->n_text, out->text.data, out->text.len);
        o->n_text += (uint32_t)out->text.len;
    } else if (what != SCHED_NOTHING) {
        o->what = what;
        o->finish = out->finish;
        if (what == SCHED_FAILED) o->failure = out->failure;
    }
    free(out);
    return what != SCHED_NOTHING;
}

/* Reads a job to its end, woken for each piece; then lets go. */
static void read_all(sched *s, sched_job *j, outcome *o) {
    bell b;
    bell_init(&b);
    memset(o, 0, sizeof *o);
    sched_job_listen(s, j, ring, &b);
    while (o->what == SCHED_NOTHING)
        if (!take(s, j, o)) wait_for_ring(&b);
    assert_true(sched_job_done(s, j));
    sched_what was = o->what; /* the last repeats */
    take(s, j, o);
    assert_int_equal(o->what, was);
    sched_job_release(s, j);
}

static void assert_same(const outcome *a, const outcome *b) {
    assert_int_equal(a->what, b->what);
    assert_int_equal(a->finish, b->finish);
    assert_int_equal(a->n_tokens, b->n_tokens);
    assert_memory_equal(a->tokens, b->tokens, a->n_tokens * sizeof *a->tokens);
    assert_int_equal(a->n_text, b->n_text);
    assert_memory_equal(a->text, b->text, a->n_text);
}

static sched_job *submit(world *w, const request *q) {
    err e = {0};
    sched_job *j = sched_submit(w->s, &q->r, &e);
    if (!j) fail_msg("%s", e.message);
    return j;
}

/* What each seed's request says when it runs alone, one after the other. */
#ifdef __SANITIZE_THREAD__ /* the built-in model takes minutes there */
enum { N_SEEDS = 12, AT_THE_BUILT_IN = 5 };
#else
enum { N_SEEDS = 30, AT_THE_BUILT_IN = 12 };
#endif
static outcome alone[N_SEEDS];

static void run_alone(world *w) {
    for (uint64_t seed = 0; seed < N_SEEDS; seed++) {
        request *q = new_request(w, seed);
        read_all(w->s, submit(w, q), &alone[seed]);
        assert_int_equal(alone[seed].what, SCHED_END);
        assert_true(alone[seed].n_tokens <= q->r.max_tokens);
        assert_true(alone[seed].n_tokens > 0);
        free(q);
    }
}

/* ---- a crowd ---- */

enum { N_THREADS = 6 };

typedef struct crowd {
    world *w;
    uint64_t seed;
    uint32_t n_jobs, accepted, refused, read, let_go;
} crowd;

/* One client: submits, then reads slowly or at once, listens or polls, or leaves in any state. */
static void one_visit(crowd *c, rng *r) {
    uint64_t seed = rng_next(r) % N_SEEDS, manner = rng_next(r) % 10;
    request *q = new_request(c->w, seed);
    err e = {0};
    sched_job *j = sched_submit(c->w->s, &q->r, &e);
    free(q); /* it was copied */
    if (!j) {
        assert_int_equal(e.code, ERR_BUSY);
        c->refused++;
        pause_us(500);
        return;
    }
    c->accepted++;
    outcome *o = calloc(1, sizeof *o);
    if (manner < 2) { /* gone at once: mostly still in the queue */
        sched_job_release(c->w->s, j);
        c->let_go++;
    } else if (manner < 5) { /* gone after a while: in prefill, in decode, or when it has ended */
        bell b;
        bell_init(&b);
        if (manner == 4) sched_job_listen(c->w->s, j, ring, &b);
        for (uint64_t n = rng_next(r) % 20; n > 0 && o->what == SCHED_NOTHING; n--)
            if (!take(c->w->s, j, o)) pause_us(rng_next(r) % 300);
        sched_job_release(c->w->s, j);
        c->let_go++;
    } else if (manner < 7) { /* polls, slowly */
        while (o->what == SCHED_NOTHING)
            if (!take(c->w->s, j, o)) pause_us(rng_next(r) % 1000);
        sched_usage u;
        sched_job_usage(c->w->s, j, &u);
        assert_int_equal(u.completion_tokens, o->n_tokens);
        assert_true(u.queue_ms + u.prefill_ms + u.decode_ms <= u.total_ms + 0.01);
        assert_true(u.peak_bytes > 0);
        sched_job_release(c->w->s, j);
        assert_same(o, &alone[seed]);
        c->read++;
    } else {
        read_all(c->w->s, j, o);
        assert_same(o, &alone[seed]);
        c->read++;
    }
    free(o);
}

static void *visit(void *ctx) {
    crowd *c = ctx;
    rng r;
    rng_seed(&r, c->seed);
    for (uint32_t i = 0; i < c->n_jobs; i++) one_visit(c, &r);
    return NULL;
}

static void hold_a_crowd(const char *file, uint32_t n_context, uint32_t n_pages, uint32_t n_jobs,
                         const sched_config *c) {
    world w;
    crowd people[N_THREADS];
    pthread_t threads[N_THREADS];
    engine_up(&w, file, c->max_concurrent, n_context, n_pages);
    sched_up(&w, c);
    run_alone(&w);
    sched_counts counts;
    for (int i = 0; i < N_THREADS; i++) {
        people[i] = (crowd){.w = &w, .seed = (uint64_t)i, .n_jobs = n_jobs};
        assert_int_equal(pthread_create(&threads[i], NULL, visit, &people[i]), 0);
    }
    uint64_t accepted = N_SEEDS, refused = 0, read = N_SEEDS, let_go = 0;
    for (int i = 0; i < N_THREADS; i++) {
        pthread_join(threads[i], NULL);
        accepted += people[i].accepted, refused += people[i].refused, read += people[i].read,
            let_go += people[i].let_go;
    }
    assert_true(sched_wait_idle(w.s, 60000));
    sched_read(w.s, &counts);
    assert_int_equal(counts.submitted, accepted);
    assert_int_equal(counts.refused, refused);
    assert_int_equal(accepted, read + let_go);
    assert_int_equal(counts.failed, 0);
    assert_true(counts.finished >= read && counts.cancelled <= let_go);
    assert_int_equal(counts.finished + counts.cancelled, accepted);
    assert_true(counts.cancelled > 0);
    kv_cache_counts kv;
    engine_counters counters;
    sched_engine_read(w.s, &kv, &counters);
    assert_int_equal(kv.pool.used_pages, 0);
    assert_int_equal(counters.step_mallocs, 0);
    world_down(&w);
}

static void a_crowd(void **state) {
    (void)state;
    sched_config c = {.max_concurrent = 5, .max_queue = 64, .stall_timeout_ms = 60000};
    hold_a_crowd(model_path, 256, 0, 150, &c);
}

static void a_crowd_at_the_built_in_model(void **state) {
    (void)state;
    sched_config c = {.max_concurrent = 4, .max_queue = 16, .stall_timeout_ms = 60000};
    hold_a_crowd(NULL, 256, 0, AT_THE_BUILT_IN, &c);
}

/* Pages for little more than one job, room for three in the queue: most are refused or wait, and the rest is as ever.
 */
static void a_crowd_in_a_small_place(void **state) {
    (void)state;
    sched_config c = {.max_concurrent = 4, .max_queue = 3, .stall_timeout_ms = 60000};
    hold_a_crowd(model_path, 256, 18, 150, &c);
}

/* ---- one thing at a time ---- */

static request *plain_request(const world *w, uint32_t n_prompt, uint32_t max_tokens, bool whole) {
    request *q = new_request(w, 1);
    q->r.n_prompt = n_prompt, q->r.max_tokens = max_tokens, q->r.whole = whole, q->r.n_stops = 0;
    q->r.sampling.temperature = 0, q->r.sampling.ignore_end = true;
    for (uint32_t i = 0; i < n_prompt; i++) q->prompt[i] = (int32_t)(i * 7 % 300);
    return q;
}

static sched_config plain_config(void) {
    sched_config c;
    sched_config_default(&c);
    return c;
}

/* A stream that says more than its ring holds: unread, it stays where it is, in work and on its pages. */
static request *lasting_request(const world *w) {
    request *q = plain_request(w, 4, 1000, false);
    q->r.sampling.logprobs = true, q->r.sampling.top_logprobs = 20; /* 176 bytes a token */
    return q;
}

static sched_job *submit_lasting(world *w) {
    request *q = lasting_request(w);
    sched_job *j = submit(w, q);
    free(q);
    return j;
}

static void read_and_forget(sched *s, sched_job *j) {
    sched_output *out = malloc(sizeof *out);
    for (sched_job_read(s, j, out); out->what < SCHED_END; sched_job_read(s, j, out))
        if (out->what == SCHED_NOTHING) pause_us(200);
    assert_int_equal(out->what, SCHED_END);
    free(out);
}

/* One after another: admitted in the order they came, whatever their priority, the next not before the last has gone. */
static void first_in_first_out(void **state) {
    (void)state;
    world w;
    sched_config c = plain_config();
    c.max_concurrent = 1;
    engine_up(&w, model_path, 4, 256, 0);
    sched_up(&w, &c);
    enum { JOBS = 8 };
    sched_job *jobs[JOBS];
    request *q = plain_request(&w, 40, 20, true);
    for (int i = 0; i < JOBS; i++) {
        q->r.priority = i * 10;
        jobs[i] = submit(&w, q);
    }
    assert_true(sched_wait_idle(w.s, 60000));
    double least_ms = 1e300, most_ms = 0;
    for (int i = 0; i < JOBS; i++) {
        assert_true(sched_job_done(w.s, jobs[i]));
        double ms = (double)(jobs[i]->end_ns - jobs[i]->admit_ns) / 1e6;
        least_ms = ms < least_ms ? ms : least_ms, most_ms = ms > most_ms ? ms : most_ms;
        assert_true(jobs[i]->submit_ns <= jobs[i]->admit_ns && jobs[i]->admit_ns <= jobs[i]->first_ns);
        assert_true(jobs[i]->first_ns <= jobs[i]->end_ns);
        if (i) assert_true(jobs[i]->admit_ns >= jobs[i - 1]->end_ns);
    }
    assert_true(w.s->mean_job_ms >= least_ms * 0.999 && w.s->mean_job_ms <= most_ms * 1.001);
    for (int i = 0; i < JOBS; i++) sched_job_release(w.s, jobs[i]);
    free(q);
    world_down(&w);
}

static void resize_pool(world *w, size_t free_pages) {
    kv_pool *pool = kv_cache_pool(engine_kv(w->en));
    kv_pool_counts kv;
    plat_mutex_lock(&w->s->lock);
    kv_pool_read(pool, &kv);
    kv_pool_resize(pool, kv.used_bytes + free_pages * w->plan.page_bytes);
    plat_mutex_unlock(&w->s->lock);
}

/* A large job at the head waits for pages; a small one that came later does not overtake it. */
static void nobody_overtakes(void **state) {
    (void)state;
    world w;
    sched_config c = plain_config();
    engine_up(&w, model_path, 4, 1024, 68);
    sched_up(&w, &c);
    request *talker = plain_request(&w, 20, 900, false);
    talker->r.sampling.logprobs = true, talker->r.sampling.top_logprobs = 20; /* soon fills its unread ring */
    request *large = plain_request(&w, 100, 30, true), *small = plain_request(&w, 2, 2, true);
    sched_job *a = submit(&w, talker);
    while (!is_stalled(&w, a)) pause_us(1000);
    resize_pool(&w, 3); /* of these the talker is promised one, or two at the end of a page */
    sched_job *b = submit(&w, large), *d = submit(&w, small);
    pause_us(250000);
    assert_int_equal(counts_of(&w).queued, 2);
    resize_pool(&w, kv_pages_for(20 + 900)); /* the talker is first in rank: its worst case must fit */
    read_and_forget(w.s, a);
    assert_true(sched_wait_idle(w.s, 60000));
    assert_true(d->admit_ns >= b->admit_ns);
    sched_job_release(w.s, a), sched_job_release(w.s, b), sched_job_release(w.s, d);
    free(talker), free(large), free(small);
    world_down(&w);
}

static void refuse(world *w, const request *q, err_code code, const char *words) {
    err e = {0};
    uint64_t before = counts_of(w).submitted;
    assert_null(sched_submit(w->s, &q->r, &e));
    if (!strstr(e.message, words)) fail_msg("'%s' does not say '%s'", e.message, words);
    assert_int_equal(e.code, code);
    assert_int_equal(counts_of(w).submitted, before);
}

static void refused_at_the_door(void **state) {
    (void)state;
    world w;
    sched_config c = plain_config();
    engine_up(&w, model_path, 4, 64, 0);
    sched_up(&w, &c);
    request *q = plain_request(&w, 64, 1, true);
    refuse(&w, q, ERR_TOO_LARGE, "prompt is too long: 64 tokens > 63 maximum");
    q->r.n_prompt = 0;
    refuse(&w, q, ERR_INVALID, "empty");
    q->r.n_prompt = 5, q->r.max_tokens = 0;
    refuse(&w, q, ERR_INVALID, "max_tokens");
    q->r.max_tokens = 5, q->prompt[3] = 300;
    refuse(&w, q, ERR_INVALID, "token 300");
    q->prompt[3] = -1;
    refuse(&w, q, ERR_INVALID, "token -1");
    q->prompt[3] = 3, q->r.sampling.top_p = 2;
    refuse(&w, q, ERR_INVALID, "top_p");
    q->r.sampling.top_p = 1, q->r.n_stops = GENERATION_STOPS_MAX + 1;
    refuse(&w, q, ERR_INVALID, "stop strings");
    q->r.n_stops = 1, q->r.stops[0].len = 0;
    refuse(&w, q, ERR_INVALID, "stop string has 0 bytes");
    q->r.stops[0].len = GENERATION_STOP_BYTES + 1;
    refuse(&w, q, ERR_INVALID, "stop string");
    q->r.n_stops = 0;
    q->r.max_tokens = UINT32_MAX; /* clipped to what the context leaves */
    q->r.n_prompt = 60;
    outcome o;
    read_all(w.s, submit(&w, q), &o);
    assert_int_equal(o.n_tokens, 4);
    assert_int_equal(o.finish, ENGINE_FINISH_LENGTH);
    q->r.n_prompt = 63;
    read_all(w.s, submit(&w, q), &o);
    assert_int_equal(o.n_tokens, 1);
    free(q);
    world_down(&w);
}

/* One runs and two wait, one at a time: three jobs of the mean length, and a second. */
static void check_retry_after(world *w) {
    static const struct {
        double mean_job_ms;
        uint32_t after_s;
    } rows[] = {{0, 1}, {300, 1}, {400, 2}, {4000, 13}, {19000, 58}, {25000, 59}, {1e9, 59}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        plat_mutex_lock(&w->s->lock);
        w->s->mean_job_ms = rows[i].mean_job_ms;
        plat_mutex_unlock(&w->s->lock);
        assert_int_equal(sched_retry_after_s(w->s), rows[i].after_s);
    }
}

static void a_full_queue_refuses(void **state) {
    (void)state;
    world w;
    sched_config c = plain_config();
    c.max_concurrent = 1, c.max_queue = 2;
    engine_up(&w, model_path, 1, 1024, 0);
    sched_up(&w, &c);
    request *q = plain_request(&w, 5, 5, true);
    sched_job *jobs[3];
    jobs[0] = submit_lasting(&w);
    until_active(&w, 1);
    jobs[1] = submit(&w, q);
    jobs[2] = submit(&w, q);
    assert_int_equal(counts_of(&w).queued, 2);
    refuse(&w, q, ERR_BUSY, "the queue is full: 2");
    check_retry_after(&w);
    sched_job_release(w.s, jobs[1]); /* one leaves the queue: there is room again */
    while (counts_of(&w).queued == 2) pause_us(100);
    jobs[1] = submit(&w, q);
    for (int i = 2; i >= 0; i--) sched_job_release(w.s, jobs[i]);
    assert_true(sched_wait_idle(w.s, 60000));
    assert_int_equal(counts_of(&w).cancelled, 4);
    free(q);
    world_down(&w);
}

/* A queue of none: what cannot run at once is refused. */
static void no_queue(void **state) {
    (void)state;
    world w;
    sched_config c = plain_config();
    c.max_concurrent = 2, c.max_queue = 0;
    engine_up(&w, model_path, 2, 1024, 0);
    sched_up(&w, &c);
    request *q = plain_request(&w, 5, 3, true);
    sched_job *a = submit_lasting(&w), *b = submit_lasting(&w);
    refuse(&w, q, ERR_BUSY, "queue");
    sched_job_release(w.s, a), sched_job_release(w.s, b);
    assert_true(sched_wait_idle(w.s, 60000));
    outcome o;
    read_all(w.s, submit(&w, q), &o);
    assert_int_equal(o.n_tokens, 3);
    free(q);
    world_down(&w);
}

/* The region of blocks is full before the queue is: refused, and free again when they have gone. */
static void the_queues_memory_is_bounded(void **state) {
    (void)state;
    world w;
    sched_config c = plain_config();
    c.max_queue = 1000, c.queue_bytes = 1;
    engine_up(&w, model_path, 4, 256, 0);
    sched_up(&w, &c);
    request *q = plain_request(&w, 50, 200, true);
    static sched_job *jobs[2000];
    uint32_t n = 0;
    for (int round = 0; round < 2; round++) {
        err e = {0};
        n = 0;
        while (n < 2000 && (jobs[n] = sched_submit(w.s, &q->r, &e))) n++;
        assert_in_range(n, 2, 1500);
        assert_int_equal(e.code, ERR_BUSY);
        assert_true(w.s->blocks.used_bytes <= w.s->blocks.bytes);
        while (n > 0) sched_job_release(w.s, jobs[--n]);
        assert_true(sched_wait_idle(w.s, 60000));
        assert_int_equal(w.s->blocks.used_bytes, 0);
    }
    free(q);
    world_down(&w);
}

static void waiting_too_long(void **state) {
    (void)state;
    world w;
    sched_config c = plain_config();
    c.max_concurrent = 1, c.queue_timeout_ms = 50;
    engine_up(&w, model_path, 1, 1024, 0);
    sched_up(&w, &c);
    request *q = plain_request(&w, 5, 5, true);
    sched_job *a = submit_lasting(&w);
    uint32_t too_slow = 0; /* a machine that is busy elsewhere may leave even this one waiting too long */
    while (counts_of(&w).active == 0) {
        if (sched_job_done(w.s, a)) sched_job_release(w.s, a), a = submit_lasting(&w), too_slow++;
        pause_us(200);
    }
    outcome *o = calloc(1, sizeof *o);
    read_all(w.s, submit(&w, q), o);
    assert_int_equal(o->what, SCHED_FAILED);
    assert_int_equal(o->failure.code, ERR_BUSY);
    assert_int_equal(o->n_tokens, 0);
    assert_int_equal(counts_of(&w).failed, 1 + too_slow);
    sched_job_release(w.s, a);
    free(o), free(q);
    world_down(&w);
}

/* A consumer that reads nothing holds up no one else, and after a while loses its job. */
static void a_stalled_reader(void **state) {
    (void)state;
    world w;
    sched_config c = plain_config();
    c.stall_timeout_ms = 300;
    engine_up(&w, model_path, 4, 1024, 0);
    sched_up(&w, &c);
    sched_job *a = submit_lasting(&w);
    outcome *o = calloc(1, sizeof *o);
    request *other = plain_request(&w, 10, 40, true);
    read_all(w.s, submit(&w, other), o);
    assert_int_equal(o->n_tokens, 40);
    while (!sched_job_done(w.s, a)) pause_us(1000);
    kv_cache_counts kv;
    engine_counters counters;
    sched_engine_read(w.s, &kv, &counters);
    sched_output *out = malloc(sizeof *out);
    uint32_t n = 0; /* what was said before is still there to be read */
    for (sched_job_read(w.s, a, out); out->what == SCHED_TOKEN; sched_job_read(w.s, a, out)) n++;
    assert_true(n > 50 && n < 1000);
    assert_int_equal(out->what, SCHED_FAILED);
    assert_int_equal(out->failure.code, ERR_CANCELLED);
    sched_job_release(w.s, a);
    free(out), free(o), free(other);
    world_down(&w);
}

/* A stream whose ring is small goes on when its reader catches up, and loses nothing. */
static void a_slow_reader_loses_nothing(void **state) {
    (void)state;
    world w;
    sched_config c = plain_config();
    engine_up(&w, model_path, 4, 1024, 0);
    sched_up(&w, &c);
    request *q = plain_request(&w, 4, 600, true);
    q->r.sampling.logprobs = true, q->r.sampling.top_logprobs = 20;
    sched_output *out = malloc(sizeof *out);
    static int32_t whole[600], streamed[600];
    uint32_t n_whole = 0, n_streamed = 0;
    sched_job *a = submit(&w, q);
    while (!sched_job_done(w.s, a)) pause_us(1000);
    for (sched_job_read(w.s, a, out); out->what == SCHED_TOKEN; sched_job_read(w.s, a, out))
        whole[n_whole++] = out->sample.token;
    assert_int_equal(out->what, SCHED_END);
    assert_int_equal(n_whole, 600);
    sched_job_release(w.s, a);
    q->r.whole = false;
    a = submit(&w, q);
    for (;;) {
        sched_job_read(w.s, a, out);
        if (out->what == SCHED_TOKEN) {
            assert_int_equal(out->sample.n_top, 20);
            streamed[n_streamed++] = out->sample.token;
        } else if (out->what != SCHED_NOTHING) {
            break;
        } else {
            pause_us(3000);
        }
    }
    assert_int_equal(n_streamed, 600);
    assert_memory_equal(whole, streamed, sizeof whole);
    sched_job_release(w.s, a);
    free(out), free(q);
    world_down(&w);
}

static void draining_finishes_what_there_is(void **state) {
    (void)state;
    world w;
    sched_config c = plain_config();
    c.max_concurrent = 2;
    engine_up(&w, model_path, 2, 1024, 0);
    sched_up(&w, &c);
    request *q = plain_request(&w, 20, 60, true);
    sched_job *first = submit_lasting(&w), *jobs[6];
    for (int i = 0; i < 6; i++) jobs[i] = submit(&w, q);
    assert_false(sched_wait_idle(w.s, 20));
    sched_drain(w.s);
    refuse(&w, q, ERR_BUSY, "shutting down");
    outcome o;
    for (int i = 0; i < 6; i++) {
        read_all(w.s, jobs[i], &o);
        assert_int_equal(o.what, SCHED_END);
        assert_int_equal(o.n_tokens, 60);
    }
    assert_false(sched_wait_idle(w.s, 0));
    read_and_forget(w.s, first);
    sched_job_release(w.s, first);
    free(q);
    world_down(&w);
}

/* Stopping waits for no one: jobs that were let go in any state are gone with it. */
static void stopping_at_any_moment(void **state) {
    (void)state;
    for (int round = 0; round < 5; round++) {
        world w;
        sched_config c = plain_config();
        c.max_concurrent = 2;
        engine_up(&w, model_path, 2, 1024, 0);
        sched_up(&w, &c);
        sched_job *jobs[5];
        for (int i = 0; i < 5; i++) jobs[i] = submit_lasting(&w);
        if (round) until_active(&w, 2);
        pause_us((uint64_t)round * 700);
        for (int i = 0; i < 5; i++) sched_job_release(w.s, jobs[i]);
        sched_stop(w.s);
        engine_free(w.en);
        mem_ledger_view v;
        mem_ledger_read(&w.ledger, &v);
        assert_int_equal(v.now_bytes, 0);
    }
}

/* ---- waking ---- */

typedef struct counted_wake {
    _Atomic int calls;
    _Atomic bool dead;
    sched *s;
    sched_job *j;
} counted_wake;

static void count_wake(void *ctx) {
    counted_wake *c = ctx;
    assert_false(atomic_load(&c->dead));
    atomic_fetch_add(&c->calls, 1);
    pause_us(200);
    assert_false(atomic_load(&c->dead));
}

/* After release has returned no wake runs, though one may have been running when it was called. */
static void no_wake_after_release(void **state) {
    (void)state;
    world w;
    sched_config c = plain_config();
    engine_up(&w, model_path, 4, 256, 0);
    sched_up(&w, &c);
    rng r;
    rng_seed(&r, 9);
    int called = 0;
    for (int i = 0; i < 150; i++) {
        request *q = plain_request(&w, 1 + (uint32_t)(rng_next(&r) % 10), 30, i % 3 == 0);
        sched_job *j = submit(&w, q);
        counted_wake *wake = calloc(1, sizeof *wake);
        sched_job_listen(w.s, j, count_wake, wake);
        pause_us(rng_next(&r) % 1500);
        sched_job_release(w.s, j);
        called += atomic_load(&wake->calls);
        atomic_store(&wake->dead, true);
        free(wake);
        free(q);
    }
    assert_true(called > 0);
    world_down(&w);
}

/* Listening to a job that has ended, or that has something to say, rings at once. */
static void listening_late_is_told(void **state) {
    (void)state;
    world w;
    sched_config c = plain_config();
    engine_up(&w, model_path, 4, 256, 0);
    sched_up(&w, &c);
    for (int whole = 0; whole < 2; whole++) {
        request *q = plain_request(&w, 3, 5, whole);
        sched_job *j = submit(&w, q);
        while (!sched_job_done(w.s, j)) pause_us(100);
        bell b;
        bell_init(&b);
        sched_job_listen(w.s, j, ring, &b);
        wait_for_ring(&b);
        sched_job_release(w.s, j);
        free(q);
    }
    world_down(&w);
}

/* Idle pages go back to the kernel after a while, and come again when there is work. */
static void idle_pages_go_back(void **state) {
    (void)state;
    world w;
    sched_config c = plain_config();
    engine_up(&w, model_path, 4, 256, 0);
    sched_up(&w, &c);
    mem_ledger_view v;
    mem_ledger_read(&w.ledger, &v);
    uint64_t tables_bytes = v.rows[MEM_KV].now_bytes;
    kv_cache_counts kv;
    engine_counters counters;
    outcome o;
    request *q = plain_request(&w, 20, 20, true);
    read_all(w.s, submit(&w, q), &o);
    do {
        pause_us(50000);
        sched_engine_read(w.s, &kv, &counters);
    } while (kv.pool.committed_pages > 0);
    mem_ledger_read(&w.ledger, &v);
    assert_int_equal(v.rows[MEM_KV].now_bytes, tables_bytes);
    read_all(w.s, submit(&w, q), &o);
    assert_int_equal(o.n_tokens, 20);
    free(q);
    world_down(&w);
}

static void bad_configurations(void **state) {
    (void)state;
    world w;
    err e = {0};
    engine_up(&w, model_path, 4, 256, 0);
    sched_config c = plain_config();
    c.max_concurrent = 5;
    assert_null(sched_start(&c, w.en, &w.ledger, &e));
    assert_int_equal(e.code, ERR_USAGE);
    assert_non_null(strstr(e.message, "4 sessions"));
    c.max_concurrent = 0;
    assert_null(sched_start(&c, w.en, &w.ledger, &e));
    c = plain_config(), c.max_queue = 65537;
    assert_null(sched_start(&c, w.en, &w.ledger, &e));
    engine_free(w.en);
    mem_ledger_view v;
    mem_ledger_read(&w.ledger, &v);
    assert_int_equal(v.now_bytes, 0);
}

/* ---- a consumer that asks again when it is told ---- */

enum { CHAIN = 20 };

typedef struct chain {
    world *w;
    const request *q;
    sched_job *jobs[CHAIN];
    _Atomic uint32_t n; /* submitted */
    bell b;
} chain;

static void ask_again(void *ctx);

static void submit_link(chain *c) {
    c->jobs[c->n] = submit(c->w, c->q);
    sched_job_listen(c->w->s, c->jobs[c->n++], ask_again, c);
}

static void ask_again(void *ctx) {
    chain *c = ctx;
    if (!sched_job_done(c->w->s, c->jobs[c->n - 1])) return;
    if (c->n < CHAIN) submit_link(c);
    else ring(&c->b);
}

static double run_chain(world *w, const request *q) {
    chain c = {.w = w, .q = q};
    bell_init(&c.b);
    uint64_t start = clock_now_ns();
    submit_link(&c);
    wait_for_ring(&c.b);
    double ms = clock_ms_since(start);
    for (int i = 0; i < CHAIN; i++) sched_job_release(w->s, c.jobs[i]);
    return ms;
}

/* On the engine thread itself, between its look for new jobs and its rest: as soon as from another. */
static void what_is_asked_while_told_is_not_left_lying(void **state) {
    (void)state;
    world w;
    sched_config c;
    engine_up(&w, model_path, 1, 128, 0);
    sched_config_default(&c);
    c.max_concurrent = 1;
    sched_up(&w, &c);
    request *q = new_request(&w, 1);
    q->r.whole = true;
    outcome o;
    uint64_t start = clock_now_ns();
    for (int i = 0; i < CHAIN; i++) read_all(w.s, submit(&w, q), &o);
    double from_outside_ms = clock_ms_since(start), ms = run_chain(&w, q);
    if (ms > 10 * from_outside_ms) fail_msg("%.1f ms for %d in a chain, %.1f ms one by one", ms, CHAIN, from_outside_ms);
    free(q);
    world_down(&w);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_crowd),
        cmocka_unit_test(a_crowd_in_a_small_place),
        cmocka_unit_test(a_crowd_at_the_built_in_model),
        cmocka_unit_test(first_in_first_out),
        cmocka_unit_test(nobody_overtakes),
        cmocka_unit_test(refused_at_the_door),
        cmocka_unit_test(a_full_queue_refuses),
        cmocka_unit_test(no_queue),
        cmocka_unit_test(the_queues_memory_is_bounded),
        cmocka_unit_test(waiting_too_long),
        cmocka_unit_test(a_stalled_reader),
        cmocka_unit_test(a_slow_reader_loses_nothing),
        cmocka_unit_test(draining_finishes_what_there_is),
        cmocka_unit_test(stopping_at_any_moment),
        cmocka_unit_test(no_wake_after_release),
        cmocka_unit_test(listening_late_is_told),
        cmocka_unit_test(what_is_asked_while_told_is_not_left_lying),
        cmocka_unit_test(idle_pages_go_back),
        cmocka_unit_test(bad_configurations),
    };
    return cmocka_run_group_tests_name("sched", tests, up, model_down);
}
