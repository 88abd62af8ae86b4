/* Embeddings as jobs: the same vector bit for bit whatever runs beside them, in what pieces and on how many threads;
 * what they take of the cache, and what comes of those that are preempted or whose client leaves. */
#include "world.h"

#include <math.h>

#include "base/log.h"

enum { WIDTH = MODEL_WIDTH, N_CONTEXT = 256, N_TEXTS = 24 };

static int up(void **state) {
    (void)state;
    return model_up("embed", N_CONTEXT);
}

static ask *new_text(const world *w, uint64_t text, uint32_t n_tokens, sched_pooling pooling) {
    ask *q = new_ask(w, text, n_tokens, 0, n_tokens, 0);
    q->r.pooling = pooling;
    q->r.normalize = text % 2;
    return q;
}

static void vector_of(world *w, sched_job *j, float out[WIDTH], sched_usage *usage) {
    bell b;
    uint32_t width;
    sched_output *output = malloc(sizeof *output);
    bell_init(&b);
    sched_job_listen(w->s, j, ring, &b);
    while (!sched_job_done(w->s, j)) wait_for_ring(&b);
    sched_job_read(w->s, j, output); /* it says nothing */
    if (output->what == SCHED_FAILED) fail_msg("%s", output->failure.message);
    assert_int_equal(output->what, SCHED_END);
    assert_int_equal(output->finish, ENGINE_FINISH_STOP);
    free(output);
    const float *vector = sched_job_embedding(w->s, j, &width);
    assert_non_null(vector);
    assert_int_equal(width, WIDTH);
    memcpy(out, vector, sizeof(float[WIDTH]));
    if (usage) sched_job_usage(w->s, j, usage);
    sched_job_release(w->s, j);
}

/* The engine's own states of the whole text in one step, and plain arithmetic. */
static void direct_vector(engine *en, const sched_request *r, double out[WIDTH]) {
    err e = {0};
    kv_params params = engine_kv_params(en);
    params.share = false;
    engine_session *s = engine_session_open(en, &params, &e);
    assert_ok(engine_run(en, &(engine_batch_item){s, r->prompt, r->n_prompt, ENGINE_WANT_STATES}, &e), e);
    double squares = 0;
    for (uint32_t i = 0; i < WIDTH; i++) {
        double sum = 0;
        for (uint32_t p = 0; p < r->n_prompt; p++) sum += (double)engine_state(en, p)[i];
        out[i] = r->pooling == SCHED_POOL_MEAN ? sum / r->n_prompt
                 : r->pooling == SCHED_POOL_CLS ? (double)engine_state(en, 0)[i]
                                                : (double)engine_state(en, r->n_prompt - 1)[i];
        squares += out[i] * out[i];
    }
    for (uint32_t i = 0; r->normalize && i < WIDTH; i++) out[i] /= sqrt(squares);
    engine_session_close(en, s);
}

typedef struct hall { /* a world of so many threads, with steps of so many tokens */
    uint32_t n_concurrent, n_pages, entries, n_batch;
    int n_threads;
} hall;

static void hall_up(world *w, hall h) {
    engine_config e = engine_of(model_path, h.n_concurrent, N_CONTEXT);
    e.cache_entries = h.entries, e.n_batch = h.n_batch, e.n_threads = h.n_threads;
    engine_up_as(w, &e, h.n_pages);
    sched_config c;
    sched_config_default(&c);
    c.max_concurrent = h.n_concurrent, c.check_every_step = true, c.n_tenants = 2;
    sched_up(w, &c);
}

static sched_pooling pooling_of(uint32_t text) { return (sched_pooling)(SCHED_POOL_MEAN + text % 3); }
static uint32_t tokens_of(uint32_t text) { return text ? 1 + text * 89 % N_CONTEXT : N_CONTEXT; }

static float alone[N_TEXTS][WIDTH];

static void ask_all_alone(void) {
    world w;
    hall_up(&w, (hall){.n_concurrent = 1, .n_batch = N_CONTEXT, .n_threads = 1});
    for (uint32_t i = 0; i < N_TEXTS; i++) {
        ask *q = new_text(&w, i, tokens_of(i), pooling_of(i));
        double wanted[WIDTH];
        sched_usage usage;
        vector_of(&w, submit_ask(&w, q), alone[i], &usage);
        assert_true(sched_wait_idle(w.s, 1000));
        plat_mutex_lock(&w.s->lock); /* the engine thread looks through the cache even when nothing runs */
        direct_vector(w.en, &q->r, wanted);
        plat_mutex_unlock(&w.s->lock);
        for (uint32_t k = 0; k < WIDTH; k++) assert_true(fabs((double)alone[i][k] - wanted[k]) < 1e-6);
        assert_int_equal(usage.prompt_tokens, tokens_of(i));
        assert_int_equal(usage.completion_tokens, 0);
        free_ask(q);
    }
    world_down(&w);
}

static void differs_by_text(void **state) {
    (void)state;
    for (uint32_t i = 0; i < N_TEXTS; i++)
        for (uint32_t k = 0; k < i; k++) assert_memory_not_equal(alone[i], alone[k], sizeof alone[i]);
}

/* The last in rank is preempted time and again until all have ended. */
static void park_now_and_then(world *w) {
    while (counts_of(w).active + counts_of(w).queued) {
        sched_set_pressure(w->s, MEM_EMERGENCY, false, 0);
        pause_us(200);
        sched_set_pressure(w->s, MEM_SAFE, false, 0);
        pause_us(1000);
    }
}

/* All texts at once, an answer beside each of them; how often texts were preempted. */
static uint32_t ask_in_company(hall h, bool preempt) {
    world w;
    hall_up(&w, h);
    sched_job *jobs[N_TEXTS], *others[N_TEXTS];
    uint32_t preemptions = 0;
    for (uint32_t i = 0; i < N_TEXTS; i++) {
        ask *q = new_text(&w, i, tokens_of(i), pooling_of(i));
        ask *other = new_ask(&w, i, 40, 1000 + i, 60, 20 + i);
        q->r.remember = other->r.remember = true;
        others[i] = submit_ask(&w, other);
        jobs[i] = submit_ask(&w, q);
        free_ask(q), free_ask(other);
    }
    if (preempt) park_now_and_then(&w);
    for (uint32_t i = 0; i < N_TEXTS; i++) {
        answer a = {0};
        float vector[WIDTH];
        sched_usage usage;
        vector_of(&w, jobs[i], vector, &usage);
        assert_memory_equal(vector, alone[i], sizeof vector);
        preemptions += usage.preempted;
        finish_job(&w, others[i], &a);
        assert_int_equal(a.n, 20 + i);
        free_answer(&a);
    }
    world_down(&w);
    return preemptions;
}

static void the_same_bits_in_company(void **state) {
    (void)state;
    ask_in_company((hall){.n_concurrent = 6, .n_batch = 64, .n_threads = 1}, false);
    ask_in_company((hall){.n_concurrent = 6, .entries = 32, .n_batch = N_CONTEXT, .n_threads = 3}, false);
    ask_in_company((hall){.n_concurrent = 3, .entries = 32, .n_batch = 7, .n_threads = 2}, false);
}

static void the_same_bits_after_parking(void **state) {
    (void)state;
    assert_true(ask_in_company((hall){.n_concurrent = 6, .entries = 32, .n_batch = 8, .n_threads = 1}, true) > 0);
    assert_true(ask_in_company((hall){.n_concurrent = 6, .n_batch = 8, .n_threads = 2}, true) > 0);
}

/* ---- the cache ---- */

static void what_is_taken_of_the_cache(void **state) {
    (void)state;
    world w;
    hall_up(&w, (hall){.n_concurrent = 2, .entries = 8, .n_batch = 64, .n_threads = 1});
    float first[WIDTH], again[WIDTH];
    sched_usage usage;
    for (sched_pooling pooling = SCHED_POOL_MEAN; pooling <= SCHED_POOL_CLS; pooling++) {
        ask *q = new_text(&w, pooling, 160, pooling);
        q->r.remember = true;
        bool last = pooling == SCHED_POOL_LAST;
        for (int round = 0; round < 2; round++) {
            sched_fit fit;
            err e = {0};
            assert_ok(sched_would_fit(w.s, &q->r, &fit, &e), e);
            assert_true(fit.ever && fit.now);
            vector_of(&w, submit_ask(&w, q), round ? again : first, &usage);
            assert_int_equal(usage.cached_tokens, fit.cached_tokens);
            if (round && last) assert_in_range(usage.cached_tokens, 144, 159);
            else assert_int_equal(usage.cached_tokens, 0);
        }
        assert_memory_equal(first, again, sizeof first);
        assert_int_equal(kv_of(&w).entries, last);
        free_ask(q);
        (void)sched_cache_clear(w.s);
    }
    /* What a conversation has left is not taken either. */
    ask *talk = new_ask(&w, 1, 160, 0, 160, 5), *q = new_text(&w, 1, 160, SCHED_POOL_MEAN);
    talk->r.remember = true;
    answer a = answer_to(&w, talk);
    assert_int_equal(a.what, SCHED_END);
    vector_of(&w, submit_ask(&w, q), again, &usage);
    assert_int_equal(usage.cached_tokens, 0);
    free_answer(&a), free_ask(talk), free_ask(q);
    world_down(&w);
}

/* ---- bounds, and clients that leave ---- */

static void assert_refused(world *w, const sched_request *r, err_code code, const char *part) {
    err e = {0};
    assert_null(sched_submit(w->s, r, &e));
    assert_int_equal(e.code, code);
    if (!strstr(e.message, part)) fail_msg("'%s' does not say '%s'", e.message, part);
}

static void bounds(void **state) {
    (void)state;
    world w;
    hall_up(&w, (hall){.n_concurrent = 2, .n_batch = 64, .n_threads = 1});
    ask *q = new_text(&w, 1, N_CONTEXT + 1, SCHED_POOL_MEAN);
    assert_refused(&w, &q->r, ERR_TOO_LARGE, "257 tokens > 256 maximum");
    q->r.n_prompt = N_CONTEXT; /* there is nothing to answer: the whole context */
    memset(&q->r.sampling, 0xff, sizeof q->r.sampling); /* nor to sample */
    q->r.sampling.logprobs = false;
    float vector[WIDTH];
    vector_of(&w, submit_ask(&w, q), vector, NULL);
    q->r.max_tokens = 1;
    assert_refused(&w, &q->r, ERR_INVALID, "generates nothing");
    q->r.max_tokens = 0, q->r.pooling = SCHED_POOL_NONE, q->r.n_prompt = 5;
    assert_refused(&w, &q->r, ERR_INVALID, "max_tokens is 0");
    free_ask(q);

    uint32_t width = 1; /* a job of text has no vector */
    ask *talk = new_ask(&w, 1, 10, 0, 10, 3);
    sched_job *j = submit_ask(&w, talk);
    assert_null(sched_job_embedding(w.s, j, &width));
    assert_int_equal(width, 0);
    while (!sched_job_done(w.s, j)) pause_us(200);
    uint32_t n;
    const int32_t *tokens = sched_job_tokens(w.s, j, &n);
    int32_t said[3];
    assert_int_equal(n, 10 + 3);
    assert_memory_equal(tokens, talk->prompt, 10 * sizeof *tokens);
    memcpy(said, tokens + 10, sizeof said);
    answer a = {0};
    finish_job(&w, j, &a);
    assert_memory_equal(said, a.tokens, sizeof said);
    free_answer(&a), free_ask(talk);
    world_down(&w);
}

/* Wherever they are when it happens, nothing is left of those whose client goes; the others' bits are as ever. */
static void clients_leave(void **state) {
    (void)state;
    world w;
    hall_up(&w, (hall){.n_concurrent = 3, .n_pages = 24, .entries = 8, .n_batch = 16, .n_threads = 2});
    rng r;
    rng_seed(&r, 7);
    for (int round = 0; round < 20; round++) {
        sched_job *jobs[6];
        float vector[WIDTH];
        for (uint32_t i = 0; i < 6; i++) {
            uint32_t text = ((uint32_t)round + i) % N_TEXTS;
            ask *q = new_text(&w, text, tokens_of(text), pooling_of(text));
            jobs[i] = submit_ask(&w, q);
            free_ask(q);
        }
        pause_us(rng_next(&r) % 3000);
        for (uint32_t i = 0; i < 6; i += 2) sched_job_release(w.s, jobs[i]);
        for (uint32_t i = 1; i < 6; i += 2) {
            vector_of(&w, jobs[i], vector, NULL);
            assert_memory_equal(vector, alone[((uint32_t)round + i) % N_TEXTS], sizeof vector);
        }
    }
    assert_true(sched_wait_idle(w.s, 10000));
    assert_true(counts_of(&w).cancelled > 0);
    assert_int_equal(counts_of(&w).completion_tokens, 0);
    world_down(&w);
}

static int setup(void **state) {
    int rc = up(state);
    log_set_level(LOG_ERROR);
    ask_all_alone();
    return rc;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(differs_by_text),
        cmocka_unit_test(the_same_bits_in_company),
        cmocka_unit_test(the_same_bits_after_parking),
        cmocka_unit_test(what_is_taken_of_the_cache),
        cmocka_unit_test(bounds),
        cmocka_unit_test(clients_leave),
    };
    return cmocka_run_group_tests(tests, setup, model_down);
}
