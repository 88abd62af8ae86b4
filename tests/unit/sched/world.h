/* What the tests of the scheduler share: a small model, an engine and a scheduler over it, requests, and what comes
 * of them. */
#ifndef TESTS_UNIT_SCHED_WORLD_H
#define TESTS_UNIT_SCHED_WORLD_H

#include "../test.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "../kv/damage.h"
#include "../model/model_build.h"
#include "base/clock.h"
#include "base/rng.h"
#include "kv/internal.h"
#include "sched/internal.h"

/* The files of a test program: a group's setup and teardown. */
static char model_path[64], spill_path[64];

/* Every access of a kernel is looked at there, at many times its price: what is watched are threads, not kernels. */
#ifdef __SANITIZE_THREAD__
enum { MODEL_LAYERS = 1, MODEL_WIDTH = 32, MODEL_HEADS = 2, MODEL_KV_HEADS = 1, MODEL_FF_WIDTH = 64 };
#else
enum { MODEL_LAYERS = 2, MODEL_WIDTH = 64, MODEL_HEADS = 4, MODEL_KV_HEADS = 2, MODEL_FF_WIDTH = 96 };
#endif

/* Small, so that a job is quick, and the vocabulary has all bytes. */
static inline int model_up(const char *name, uint32_t context) {
    static model_file f;
    snprintf(model_path, sizeof model_path, "/tmp/plimsoll-%s-%d.gguf", name, (int)getpid());
    snprintf(spill_path, sizeof spill_path, "/tmp/plimsoll-%s-%d.spill", name, (int)getpid());
    model_file_make(&f, &(model_spec){.n_vocab = 300,
                                      .n_layers = MODEL_LAYERS,
                                      .n_embd = MODEL_WIDTH,
                                      .n_heads = MODEL_HEADS,
                                      .n_kv_heads = MODEL_KV_HEADS,
                                      .n_ff = MODEL_FF_WIDTH,
                                      .context = context,
                                      .type = DTYPE_Q8_0,
                                      .vocabulary = true,
                                      .seed = 5});
    model_file_write(&f, model_path);
    model_file_free(&f);
    return 0;
}

static inline int model_down(void **state) {
    (void)state;
    unlink(model_path);
    unlink(spill_path);
    return 0;
}

typedef struct world {
    mem_ledger ledger;
    engine *en;
    engine_plan plan;
    sched *s;
} world;

/* n_pages of the KV pool; 0: enough for all. */
static inline void engine_up_as(world *w, const engine_config *c, uint32_t n_pages) {
    err e = {0};
    memset(w, 0, sizeof *w);
    mem_ledger_init(&w->ledger, UINT64_MAX);
    w->plan.rows.line_bytes = UINT64_MAX;
    w->en = engine_prepare(c, &w->ledger, &e);
    if (!w->en) fail_msg("%s", e.message);
    assert_ok(engine_plan_make(w->en, &w->plan, &e), e);
    if (n_pages) w->plan.n_pages = n_pages;
    assert_ok(engine_load(w->en, &w->plan, NULL, NULL, &e), e);
}

static inline engine_config engine_of(const char *file, uint32_t n_sessions, uint32_t n_context) {
    engine_config c;
    engine_config_default(&c);
    c.model_path = file, c.n_sessions = n_sessions, c.n_context = n_context, c.n_threads = 1, c.n_batch = 64;
    return c;
}

static inline void sched_up(world *w, const sched_config *c) {
    err e = {0};
    w->s = sched_start(c, w->en, &w->ledger, &e);
    if (!w->s) fail_msg("%s", e.message);
    mem_ledger_view v;
    mem_ledger_read(&w->ledger, &v);
    assert_int_equal(v.rows[MEM_QUEUE].now_bytes, sched_plan_bytes(c, engine_context(w->en)));
}

/* Reading back is always worth it, so that the file is used; the loop's own measurements change it little. */
static inline void spill_always(world *w) {
    for (int i = 0; i < 50; i++) kv_cache_note_speed(engine_kv(w->en), 1e6);
}

typedef struct place { /* a world whose cache is checked before every step */
    uint32_t n_concurrent, n_context;
    uint32_t n_pages;    /* 0: enough for all */
    uint32_t entries;    /* 0: where each is on its own */
    uint64_t spill_bytes;
    bool cleanup;
} place;

static inline void world_in(world *w, place p) {
    engine_config e = engine_of(model_path, p.n_concurrent, p.n_context);
    e.cache_entries = p.entries;
    if (p.spill_bytes) e.spill_path = spill_path, e.spill_bytes = p.spill_bytes;
    engine_up_as(w, &e, p.n_pages);
    if (p.spill_bytes) spill_always(w);
    sched_config c;
    sched_config_default(&c);
    c.max_concurrent = p.n_concurrent, c.n_tenants = 2;
    c.check_every_step = true, c.cleanup_after_request = p.cleanup;
    sched_up(w, &c);
}

static inline kv_cache_counts kv_of(world *w) {
    kv_cache_counts kv;
    engine_counters counters;
    sched_engine_read(w->s, &kv, &counters);
    return kv;
}

static inline sched_counts counts_of(world *w) {
    sched_counts c;
    sched_read(w->s, &c);
    return c;
}

/* Stops it all; by then no block is in use, no page but remembered ones, and without those none. */
static inline void world_end(world *w, bool drop_in_order) {
    assert_true(sched_wait_idle(w->s, 60000));
    sched_counts counts = counts_of(w);
    assert_int_equal(counts.active, 0);
    assert_int_equal(counts.queued, 0);
    assert_int_equal(counts.preempted, 0);
    assert_int_equal(counts.submitted, counts.finished + counts.cancelled + counts.failed);
    assert_int_equal(w->s->blocks.used_bytes, 0);
    kv_cache_counts kv = kv_of(w);
    assert_int_equal(kv.sequences, 0);
    assert_int_equal(kv.entries, engine_kv(w->en)->index.n_entries_used); /* nothing is kept for a preempted one */
    plat_mutex_lock(&w->s->lock);
    while (kv_cache_unpin_one(engine_kv(w->en))) {
    }
    kv_cache_read(engine_kv(w->en), &kv);
    assert_int_equal(kv.pool.used_bytes, kv.pool.evictable_bytes);
    if (drop_in_order) kv_cache_evict(engine_kv(w->en), 0); /* what may go can be found */
    else kv_cache_clear(engine_kv(w->en));
    kv_cache_check(engine_kv(w->en));
    kv_cache_read(engine_kv(w->en), &kv);
    assert_int_equal(kv.pool.used_bytes, 0);
    plat_mutex_unlock(&w->s->lock);
    sched_stop(w->s);
    mem_ledger_view v;
    mem_ledger_read(&w->ledger, &v);
    assert_int_equal(v.rows[MEM_QUEUE].now_bytes, 0);
    engine_free(w->en);
    mem_ledger_read(&w->ledger, &v);
    assert_int_equal(v.now_bytes, 0);
}

static inline void world_down(world *w) { world_end(w, true); }

static inline void pause_us(uint64_t us) { nanosleep(&(struct timespec){0, (long)us * 1000}, NULL); }

/* They must last until they are seen: such as submit_lasting, or whole ones that say more than a ring holds. */
static inline void until_active(world *w, uint32_t n) {
    while (counts_of(w).active != n) pause_us(200);
}

/* Its ring has no room for one more token. */
static inline bool is_stalled(world *w, const sched_job *j) {
    plat_mutex_lock(&w->s->lock);
    bool full = !sched_ring_has_room(&j->ring, RING_LARGEST_BYTES);
    plat_mutex_unlock(&w->s->lock);
    return full;
}

/* ---- waking ---- */

typedef struct bell {
    pthread_mutex_t lock;
    pthread_cond_t rung;
    int rings;
} bell;

static inline void ring(void *ctx) {
    bell *b = ctx;
    pthread_mutex_lock(&b->lock);
    b->rings++;
    pthread_cond_signal(&b->rung);
    pthread_mutex_unlock(&b->lock);
}

static inline void bell_init(bell *b) {
    pthread_mutex_init(&b->lock, NULL);
    pthread_cond_init(&b->rung, NULL);
    b->rings = 0;
}

static inline void wait_for_ring(bell *b) {
    pthread_mutex_lock(&b->lock);
    while (!b->rings) pthread_cond_wait(&b->rung, &b->lock);
    b->rings = 0;
    pthread_mutex_unlock(&b->lock);
}

/* ---- requests of any length, and all that they say ---- */

typedef struct ask {
    sched_request r;
    int32_t *prompt;
} ask;

/* Tokens of a text that everyone with the same seed begins with. */
static inline int32_t prompt_token(uint64_t seed, uint32_t i) {
    uint64_t state = seed * 1000003 + i;
    return (int32_t)(3 + rng_splitmix(&state) % 297);
}

/* The first n_shared tokens are of text `shared`, the rest of text `own`. A whole one; sampled; never ends early. */
static inline ask *new_ask(const world *w, uint64_t shared, uint32_t n_shared, uint64_t own, uint32_t n_prompt,
                           uint32_t max_tokens) {
    ask *q = calloc(1, sizeof *q);
    q->prompt = malloc(n_prompt * sizeof *q->prompt);
    for (uint32_t i = 0; i < n_prompt; i++) q->prompt[i] = prompt_token(i < n_shared ? shared : own, i);
    q->r = (sched_request){.prompt = q->prompt,
                           .n_prompt = n_prompt,
                           .max_tokens = max_tokens,
                           .whole = true,
                           .params = engine_kv_params(w->en)};
    engine_sampling_default(&q->r.sampling);
    q->r.sampling.seed = own;
    q->r.sampling.logprobs = q->r.sampling.ignore_end = true;
    return q;
}

static inline void free_ask(ask *q) {
    free(q->prompt);
    free(q);
}

typedef struct answer {
    sched_what what; /* SCHED_END or SCHED_FAILED; SCHED_NOTHING: not yet */
    engine_finish finish;
    err failure;
    sched_usage usage;
    uint32_t n, room;
    int32_t *tokens;
    float *logprobs;
} answer;

static inline void free_answer(answer *a) {
    free(a->tokens);
    free(a->logprobs);
    *a = (answer){0};
}

static inline sched_job *submit_ask(world *w, const ask *q) {
    err e = {0};
    sched_job *j = sched_submit(w->s, &q->r, &e);
    if (!j) fail_msg("%s", e.message);
    return j;
}

/* Takes one piece; false when there is none yet. */
static inline bool take_piece(world *w, sched_job *j, answer *a) {
    sched_output out;
    sched_job_read(w->s, j, &out);
    if (out.what == SCHED_TOKEN) {
        if (a->n == a->room) {
            a->room = a->room * 2 + 64;
            a->tokens = realloc(a->tokens, a->room * sizeof *a->tokens);
            a->logprobs = realloc(a->logprobs, a->room * sizeof *a->logprobs);
        }
        a->tokens[a->n] = out.sample.token;
        a->logprobs[a->n++] = out.sample.logprob;
    } else if (out.what != SCHED_NOTHING) {
        a->what = out.what;
        a->finish = out.finish;
        if (out.what == SCHED_FAILED) a->failure = out.failure;
    }
    return out.what != SCHED_NOTHING;
}

/* Reads a job to its end, then lets go. */
static inline void finish_job(world *w, sched_job *j, answer *a) {
    bell b;
    bell_init(&b);
    sched_job_listen(w->s, j, ring, &b);
    while (a->what == SCHED_NOTHING)
        if (!take_piece(w, j, a)) wait_for_ring(&b);
    sched_job_usage(w->s, j, &a->usage);
    sched_job_release(w->s, j);
}

static inline answer answer_to(world *w, const ask *q) {
    answer a = {0};
    finish_job(w, submit_ask(w, q), &a);
    return a;
}

static inline void finish_all(world *w, sched_job *const *jobs, answer *answers, uint32_t n) {
    for (uint32_t i = 0; i < n; i++) finish_job(w, jobs[i], &answers[i]);
}

/* What each says when nobody is there and nothing is known. */
static inline void ask_alone(ask *const *asks, answer *answers, uint32_t n, uint32_t n_context) {
    world w;
    world_in(&w, (place){1, n_context});
    for (uint32_t i = 0; i < n; i++) {
        ask q = *asks[i];
        q.r.params.share = false;
        q.r.remember = false;
        answers[i] = answer_to(&w, &q);
        assert_int_equal(answers[i].what, SCHED_END);
        assert_int_equal(answers[i].usage.cached_tokens, 0);
    }
    world_down(&w);
}

static inline void forget_all(ask **asks, answer *a, answer *b, uint32_t n) {
    for (uint32_t i = 0; i < n; i++) {
        free_ask(asks[i]);
        free_answer(&a[i]);
        free_answer(&b[i]);
    }
}

/* Bit for bit. */
static inline void assert_same_answer(const answer *a, const answer *b) {
    if (a->what == SCHED_FAILED) fail_msg("it failed: %s", a->failure.message);
    assert_int_equal(a->what, b->what);
    assert_int_equal(a->finish, b->finish);
    assert_int_equal(a->n, b->n);
    assert_memory_equal(a->tokens, b->tokens, a->n * sizeof *a->tokens);
    assert_memory_equal(a->logprobs, b->logprobs, a->n * sizeof *a->logprobs);
}

#endif
