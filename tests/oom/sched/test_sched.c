/* The scheduler with the N-th reservation refused: at its start, and while it serves. */
#include "../../unit/test.h"

#include <stdio.h>
#include <unistd.h>

#include "../../unit/model/model_build.h"
#include "sched/sched.h"

static char path[64], spill_path[64];

static int up(void **state) {
    (void)state;
    static model_file f;
    snprintf(path, sizeof path, "/tmp/plimsoll-oom-sched-%d.gguf", (int)getpid());
    snprintf(spill_path, sizeof spill_path, "/tmp/plimsoll-oom-sched-%d.spill", (int)getpid());
    model_file_make(&f, &(model_spec){.n_vocab = 300,
                                      .n_layers = 1,
                                      .n_embd = 32,
                                      .n_heads = 2,
                                      .n_kv_heads = 1,
                                      .n_ff = 64,
                                      .context = 256,
                                      .type = DTYPE_Q8_0,
                                      .vocabulary = true,
                                      .seed = 1});
    model_file_write(&f, path);
    model_file_free(&f);
    return 0;
}

static int down(void **state) {
    (void)state;
    unlink(path);
    unlink(spill_path);
    return 0;
}

/* n_pages 0: enough for all. Few pages come with a cache and a spill file, which is empty at first. */
static engine *engine_up_with(mem_ledger *l, uint32_t n_pages) {
    err e = {0};
    engine_config c;
    engine_config_default(&c);
    c.model_path = path, c.n_sessions = 3, c.n_context = 256, c.n_threads = 1, c.n_batch = 64;
    if (n_pages) {
        unlink(spill_path);
        c.cache_entries = 8, c.spill_path = spill_path, c.spill_bytes = 64 << 10;
    }
    engine_plan plan = {.rows.line_bytes = UINT64_MAX};
    engine *en = engine_prepare(&c, l, &e);
    assert_ok(en && engine_plan_make(en, &plan, &e), e);
    if (n_pages) plan.n_pages = n_pages;
    assert_ok(engine_load(en, &plan, NULL, NULL, &e), e);
    for (int i = 0; n_pages && i < 50; i++) kv_cache_note_speed(engine_kv(en), 1e6); /* reading back is worth it */
    return en;
}

static engine *engine_up(mem_ledger *l) { return engine_up_with(l, 0); }

static uint64_t queue_bytes(mem_ledger *l) {
    mem_ledger_view v;
    mem_ledger_read(l, &v);
    return v.rows[MEM_QUEUE].now_bytes;
}

static void starting(void **state) {
    (void)state;
    mem_ledger l;
    err e = {0};
    sched_config c;
    sched_config_default(&c);
    c.max_concurrent = 3;
    mem_ledger_init(&l, UINT64_MAX);
    engine *en = engine_up(&l);
    uint64_t n = 0;
    for (sched *s = NULL; !s;) {
        mem_ledger_fail_nth(&l, ++n);
        s = sched_start(&c, en, &l, &e);
        mem_ledger_fail_nth(&l, 0);
        if (s) {
            sched_stop(s);
            break;
        }
        assert_int_equal(e.code, ERR_MEMORY);
        assert_int_equal(queue_bytes(&l), 0);
    }
    assert_true(n > 1);
    assert_int_equal(queue_bytes(&l), 0);
    engine_free(en);
}

enum { JOBS = 20, MOST_TOKENS = 40, WIDTH = 32 };

typedef struct answer {
    sched_what what;
    err failure;
    uint32_t n;
    int32_t tokens[MOST_TOKENS];
    float vector[WIDTH]; /* of those that are embedded */
} answer;

static bool embeds(uint32_t job) { return job % 4 == 3; }
static uint32_t max_tokens_of(uint32_t job) { return embeds(job) ? 0 : 1 + job * 37 % MOST_TOKENS; }

/* Twenty jobs of differing lengths at once, every fourth embeds its text; what each said. */
static void serve(sched *s, answer answers[JOBS]) {
    sched_job *jobs[JOBS];
    sched_request *r = calloc(1, sizeof *r);
    sched_output *out = malloc(sizeof *out);
    int32_t prompt[200];
    for (int i = 0; i < 200; i++) prompt[i] = i;
    for (uint32_t i = 0; i < JOBS; i++) {
        err e = {0};
        *r = (sched_request){
            .prompt = prompt, .n_prompt = 1 + i * 9, .max_tokens = max_tokens_of(i), .whole = i % 2};
        if (embeds(i)) r->pooling = SCHED_POOL_MEAN;
        engine_sampling_default(&r->sampling);
        r->sampling.seed = i;
        jobs[i] = sched_submit(s, r, &e);
        if (!jobs[i]) fail_msg("%s", e.message);
    }
    assert_true(sched_wait_idle(s, 60000)); /* all end, whatever is refused */
    for (uint32_t i = 0; i < JOBS; i++) {
        answer *a = &answers[i];
        *a = (answer){0};
        for (sched_job_read(s, jobs[i], out); out->what == SCHED_TOKEN; sched_job_read(s, jobs[i], out))
            a->tokens[a->n++] = out->sample.token;
        a->what = out->what;
        if (a->what == SCHED_FAILED) a->failure = out->failure;
        uint32_t width;
        const float *vector = sched_job_embedding(s, jobs[i], &width);
        if (vector) memcpy(a->vector, vector, width * sizeof *vector);
        sched_job_release(s, jobs[i]);
    }
    free(out), free(r);
}

/* The N-th page is refused while they run: at most that one job fails, in words; the others say what they always say.
 */
static void serving(void **state) {
    (void)state;
    static answer wanted[JOBS], got[JOBS];
    for (uint64_t n = 0;; n++) {
        mem_ledger l;
        err e = {0};
        sched_config c;
        sched_config_default(&c);
        c.max_concurrent = 3;
        mem_ledger_init(&l, UINT64_MAX);
        engine *en = engine_up(&l);
        sched *s = sched_start(&c, en, &l, &e);
        assert_non_null(s);
        mem_ledger_fail_nth(&l, n);
        serve(s, n ? got : wanted);
        for (uint32_t i = 0; n && i < JOBS; i++) { /* who was taken in finishes, as if nothing had been refused */
            assert_int_equal(got[i].what, SCHED_END);
            assert_int_equal(got[i].n, wanted[i].n);
            assert_memory_equal(got[i].tokens, wanted[i].tokens, wanted[i].n * sizeof(int32_t));
            assert_memory_equal(got[i].vector, wanted[i].vector, sizeof wanted[i].vector);
            assert_int_equal(wanted[i].vector[0] != 0, embeds(i));
        }
        kv_pool_counts kv;
        kv_pool_read(kv_cache_pool(engine_kv(en)), &kv);
        assert_int_equal(kv.used_pages, 0);
        mem_ledger_view v;
        mem_ledger_read(&l, &v);
        bool was_refused = v.rows[MEM_KV].refused > 0;
        sched_stop(s);
        engine_free(en);
        mem_ledger_read(&l, &v);
        assert_int_equal(v.now_bytes, 0);
        if (n && !was_refused) break;
        assert_true(n < 200);
    }
}

enum { POOL_PAGES = 18, TALKS = 9, TALK_SAID = 90 };

typedef struct talk {
    sched_what what;
    uint32_t n;
    int32_t tokens[TALK_SAID];
} talk;

/* More than the pool holds, all with one start, twice: the second time remembered. */
static void converse(sched *s, talk talks[2 * TALKS]) {
    sched_job *jobs[TALKS];
    sched_request *r = calloc(1, sizeof *r);
    sched_output *out = malloc(sizeof *out);
    int32_t prompt[128];
    for (uint32_t i = 0; i < 2 * TALKS; i++) {
        err e = {0};
        for (uint32_t k = 0; k < 128; k++) prompt[k] = (int32_t)(k < 64 ? k : (k * 7 + i % TALKS * 31) % 300);
        *r = (sched_request){.prompt = prompt,
                             .n_prompt = 66 + i % TALKS * 7,
                             .max_tokens = TALK_SAID,
                             .whole = true,
                             .remember = i % 2,
                             .params = {.share = true}};
        engine_sampling_default(&r->sampling);
        r->sampling.seed = i % TALKS;
        r->sampling.ignore_end = true;
        jobs[i % TALKS] = sched_submit(s, r, &e);
        if (!jobs[i % TALKS]) fail_msg("%s", e.message);
        if (i % TALKS < TALKS - 1) continue;
        assert_true(sched_wait_idle(s, 60000));
        for (uint32_t k = 0; k < TALKS; k++) {
            talk *t = &talks[i + 1 - TALKS + k];
            *t = (talk){0};
            for (sched_job_read(s, jobs[k], out); out->what == SCHED_TOKEN; sched_job_read(s, jobs[k], out))
                t->tokens[t->n++] = out->sample.token;
            t->what = out->what;
            if (t->what == SCHED_FAILED) fail_msg("%s", out->failure.message);
            sched_job_release(s, jobs[k]);
        }
    }
    free(out), free(r);
}

/* The N-th page is refused while requests share, are remembered, preempted and read back: all say what they always say.
 */
static void serving_from_a_cache(void **state) {
    (void)state;
    static talk wanted[2 * TALKS], got[2 * TALKS];
    for (uint64_t n = 0;; n++) {
        mem_ledger l;
        err e = {0};
        sched_config c;
        sched_config_default(&c);
        c.max_concurrent = 3, c.check_every_step = true;
        mem_ledger_init(&l, UINT64_MAX);
        engine *en = engine_up_with(&l, POOL_PAGES);
        sched *s = sched_start(&c, en, &l, &e);
        assert_non_null(s);
        mem_ledger_fail_nth(&l, n);
        converse(s, n ? got : wanted);
        for (uint32_t i = 0; i < 2 * TALKS; i++) {
            const talk *t = n ? &got[i] : &wanted[i], *same = &wanted[i % TALKS];
            assert_int_equal(t->what, SCHED_END);
            assert_int_equal(t->n, TALK_SAID);
            assert_memory_equal(t->tokens, same->tokens, sizeof same->tokens);
        }
        sched_counts counts;
        kv_cache_counts kv;
        engine_counters counters;
        sched_read(s, &counts);
        sched_engine_read(s, &kv, &counters);
        assert_true(counts.preemptions > 0 && kv.hits > 0 && kv.spilled_pages > 0);
        assert_int_equal(kv.pool.used_bytes, kv.pool.evictable_bytes);
        mem_ledger_view v;
        mem_ledger_read(&l, &v);
        bool was_refused = v.rows[MEM_KV].refused > 0;
        sched_stop(s);
        engine_free(en);
        mem_ledger_read(&l, &v);
        assert_int_equal(v.now_bytes, 0);
        if (n && !was_refused) break;
        assert_true(n < 200);
    }
}

/* The line itself in the way of every job but small ones: each large one is told, none waits for ever. */
static void a_line_too_low_for_some(void **state) {
    (void)state;
    static answer got[JOBS];
    mem_ledger l;
    err e = {0};
    sched_config c;
    sched_config_default(&c);
    c.max_concurrent = 3;
    mem_ledger_init(&l, UINT64_MAX);
    engine *en = engine_up(&l);
    sched *s = sched_start(&c, en, &l, &e);
    mem_ledger_view v;
    mem_ledger_read(&l, &v);
    mem_ledger_set_limit(&l, MEM_KV, v.rows[MEM_KV].now_bytes + 3 * kv_set_bytes(&engine_model_desc(en)->kv, COMPUTE_KV_F16));
    serve(s, got);
    for (uint32_t i = 0; i < JOBS; i++) {
        uint32_t pages = kv_pages_for(1 + i * 9 + max_tokens_of(i));
        assert_int_equal(got[i].what, pages <= 3 ? SCHED_END : SCHED_FAILED);
        if (pages > 3) assert_int_equal(got[i].failure.code, ERR_MEMORY);
    }
    mem_ledger_read(&l, &v);
    assert_in_range(v.rows[MEM_KV].refused, JOBS / 2, 20000); /* tried again now and then, not without end */
    sched_stop(s);
    engine_free(en);
    mem_ledger_read(&l, &v);
    assert_int_equal(v.now_bytes, 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(starting),
        cmocka_unit_test(serving),
        cmocka_unit_test(serving_from_a_cache),
        cmocka_unit_test(a_line_too_low_for_some),
    };
    return cmocka_run_group_tests_name("oom_sched", tests, up, down);
}
