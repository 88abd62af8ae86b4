/* Everything at once, at random, against a small pool: three clients that ask, read, wait and leave; priorities,
 * tenants, pins, limits of age, windows, types of pages; the cache listed, thinned and cleared beside them; a spill
 * file in half of the rounds. The whole KV cache is checked before every step, answers against what they are alone,
 * and in the end all sums. PLIMSOLL_PROPERTY_SECONDS says for how long. */
#include "world.h"

static int up(void **state) {
    (void)state;
    return model_up("property", 512);
}

enum { CLIENTS = 3, AT_ONCE = 3, QUESTIONS = 24, PAGES = 36, TENANTS = 3 };

/* Of a question all but the manner of asking is fixed, so that its answer is known. */
static ask *question(const world *w, uint32_t i) {
    rng r;
    rng_seed(&r, i + 1);
    uint32_t n_prompt = 1 + (uint32_t)(rng_next(&r) % (i % 4 ? 150 : 400)), n = 1 + (uint32_t)(rng_next(&r) % 100);
    ask *q = new_ask(w, i % 3, (uint32_t)(rng_next(&r) % 300), 500 + i, n_prompt, n);
    q->r.params.type = i % 5 == 1 ? COMPUTE_KV_Q8 : i % 5 == 2 ? COMPUTE_KV_Q4 : COMPUTE_KV_F16;
    if (i % 6 == 5) q->r.params.window = 40 + i * 4, q->r.params.keep = i % 7;
    if (i % 4 == 1) q->r.sampling.top_logprobs = 5;
    return q;
}

static answer known[QUESTIONS];

static void learn_the_answers(void) {
    world w;
    engine_config e = engine_of(model_path, 1, 512);
    engine_up_as(&w, &e, 0);
    sched_config c;
    sched_config_default(&c);
    c.max_concurrent = 1;
    sched_up(&w, &c);
    for (uint32_t i = 0; i < QUESTIONS; i++) {
        ask *q = question(&w, i);
        known[i] = answer_to(&w, q);
        assert_int_equal(known[i].what, SCHED_END);
        free_ask(q);
    }
    world_down(&w);
}

typedef struct client {
    world *w;
    uint64_t seed;
    uint32_t n_turns, accepted, refused, answered, let_go;
} client;

static void use_the_cache(world *w, rng *r) {
    kv_entry_view v;
    kv_removed gone;
    uint32_t at = 0;
    switch (rng_next(r) % 8) {
    case 0:
        sched_cache_clear(w->s);
        break;
    case 1:
        at = (uint32_t)(rng_next(r) % 4);
        if (sched_cache_entries(w->s, &at, &v, 1)) sched_cache_remove(w->s, v.id, &gone);
        break;
    default:
        while (sched_cache_entries(w->s, &at, &v, 1)) assert_true(v.id && v.tokens > 0);
        kv_of(w);
    }
}

static sched_job *ask_question(client *c, uint32_t i, rng *r) {
    world *w = c->w;
    ask *q = question(w, i);
    q->r.params.share = rng_next(r) % 8 != 0;
    q->r.tenant = (uint32_t)(rng_next(r) % TENANTS);
    q->r.params.tenant = rng_next(r) % 4 ? 0 : q->r.tenant;
    q->r.priority = (int32_t)(rng_next(r) % 3) - 1;
    q->r.whole = rng_next(r) % 2;
    q->r.remember = rng_next(r) % 3 != 0;
    q->r.memory.pin = rng_next(r) % 12 == 0;
    q->r.memory.ttl_ms = rng_next(r) % 4 ? 0 : 1 + rng_next(r) % 30;
    sched_fit fit;
    err e = {0};
    if (rng_next(r) % 4 == 0) assert_true(sched_would_fit(w->s, &q->r, &fit, &e) && fit.ever);
    sched_job *j = sched_submit(w->s, &q->r, &e);
    free_ask(q);
    if (!j) assert_int_equal(e.code, ERR_BUSY);
    *(j ? &c->accepted : &c->refused) += 1;
    return j;
}

/* Reads it to its end, or leaves at once, after a while, or when it has ended. */
static void hear_out(client *c, sched_job *j, uint32_t i, rng *r) {
    answer a = {0};
    uint64_t manner = rng_next(r) % 10;
    if (manner < 4) {
        for (uint64_t n = manner ? rng_next(r) % 40 : 0; n > 0 && a.what == SCHED_NOTHING; n--)
            if (!take_piece(c->w, j, &a)) pause_us(rng_next(r) % 400);
        sched_job_release(c->w->s, j);
        c->let_go++;
    } else {
        finish_job(c->w, j, &a);
        assert_same_answer(&a, &known[i]);
        c->answered++;
    }
    free_answer(&a);
}

static void ask_some(client *c, rng *r) {
    uint32_t which[AT_ONCE];
    sched_job *jobs[AT_ONCE];
    for (int k = 0; k < AT_ONCE; k++) {
        which[k] = (uint32_t)(rng_next(r) % QUESTIONS);
        jobs[k] = ask_question(c, which[k], r);
    }
    for (int k = 0; k < AT_ONCE; k++)
        if (jobs[k]) hear_out(c, jobs[k], which[k], r);
        else pause_us(200);
}

static void *visit(void *ctx) {
    client *c = ctx;
    rng r;
    rng_seed(&r, c->seed);
    for (uint32_t i = 0; i < c->n_turns; i++) {
        if (rng_next(&r) % 4 == 0) use_the_cache(c->w, &r);
        ask_some(c, &r);
    }
    return NULL;
}

static void one_round(uint64_t seed, uint64_t *preemptions, uint64_t *restored) {
    world w;
    client clients[CLIENTS];
    pthread_t threads[CLIENTS];
    engine_config e = engine_of(model_path, 5, 512);
    e.cache_entries = seed % 3 ? 20 : 4;
    if (seed % 2) e.spill_path = spill_path, e.spill_bytes = 1 << 20;
    if (seed % 5 == 0) e.cache_bytes = 64 << 10;
    engine_up_as(&w, &e, PAGES);
    if (e.spill_path) spill_always(&w);
    sched_config c;
    sched_config_default(&c);
    c.max_concurrent = seed % 7 == 6 ? 1 : 5, c.max_queue = 4, c.n_tenants = TENANTS, c.check_every_step = true;
    sched_up(&w, &c);
    for (uint32_t i = 0; i < CLIENTS; i++) {
        clients[i] = (client){.w = &w, .seed = seed * CLIENTS + i, .n_turns = 15};
        assert_int_equal(pthread_create(&threads[i], NULL, visit, &clients[i]), 0);
    }
    uint32_t accepted = 0, refused = 0, answered = 0, let_go = 0;
    for (uint32_t i = 0; i < CLIENTS; i++) {
        pthread_join(threads[i], NULL);
        accepted += clients[i].accepted, refused += clients[i].refused;
        answered += clients[i].answered, let_go += clients[i].let_go;
    }
    assert_true(sched_wait_idle(w.s, 60000));
    sched_counts counts = counts_of(&w);
    assert_int_equal(accepted, answered + let_go);
    assert_int_equal(counts.submitted, accepted);
    assert_int_equal(counts.refused, refused);
    assert_int_equal(counts.failed, 0);
    assert_true(counts.finished >= answered && counts.cancelled <= let_go);
    *preemptions += counts.preemptions;
    *restored += kv_of(&w).restored_pages;
    world_end(&w, seed % 4 < 2);
}

static void everything_at_once(void **state) {
    (void)state;
    const char *text = getenv("PLIMSOLL_PROPERTY_SECONDS");
    double seconds = text ? strtod(text, NULL) : 5;
    uint64_t until_ns = clock_now_ns() + (uint64_t)(seconds * 1e9), seed = 0, preemptions = 0, restored = 0;
    learn_the_answers();
    for (; seed < 2 || clock_now_ns() < until_ns; seed++) one_round(seed, &preemptions, &restored);
    print_message("%llu rounds, %llu parkings, %llu pages read back\n", (unsigned long long)seed,
                  (unsigned long long)preemptions, (unsigned long long)restored);
    assert_true(preemptions > 0 && restored > 0);
    for (uint32_t i = 0; i < QUESTIONS; i++) free_answer(&known[i]);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(everything_at_once),
    };
    return cmocka_run_group_tests_name("sched_property", tests, up, model_down);
}
