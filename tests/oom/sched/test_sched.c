/* The scheduler with the N-th reservation refused: at its start, and while it serves. */
#include "../../unit/test.h"

#include <stdio.h>
#include <unistd.h>

#include "../../unit/model/model_build.h"
#include "sched/sched.h"

static char path[64];

static int up(void **state) {
    (void)state;
    static model_file f;
    snprintf(path, sizeof path, "/tmp/plimsoll-oom-sched-%d.gguf", (int)getpid());
    model_file_make(&f, &(model_spec){.n_vocab = 300,
                                      .n_layers = 1,
                                      .width = 32,
                                      .n_heads = 2,
                                      .n_kv_heads = 1,
                                      .ff_width = 64,
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
    return 0;
}

static engine *engine_up(mem_ledger *l) {
    err e = {0};
    engine_config c;
    engine_config_default(&c);
    c.model_path = path, c.n_sessions = 3, c.n_context = 256, c.n_threads = 1, c.n_batch = 64;
    engine_plan plan = {.rows.line_bytes = UINT64_MAX};
    engine *en = engine_prepare(&c, l, &e);
    assert_ok(en && engine_plan_make(en, &plan, &e) && engine_load(en, &plan, NULL, NULL, &e), e);
    return en;
}

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

enum { JOBS = 20, MOST_TOKENS = 40 };

typedef struct answer {
    sched_what what;
    err failure;
    uint32_t n;
    int32_t tokens[MOST_TOKENS];
} answer;

/* Twenty jobs of differing lengths at once; what each said. */
static void serve(sched *s, answer answers[JOBS]) {
    sched_job *jobs[JOBS];
    sched_request *r = calloc(1, sizeof *r);
    sched_output *out = malloc(sizeof *out);
    int32_t prompt[200];
    for (int i = 0; i < 200; i++) prompt[i] = i;
    for (uint32_t i = 0; i < JOBS; i++) {
        err e = {0};
        *r = (sched_request){
            .prompt = prompt, .n_prompt = 1 + i * 9, .max_tokens = 1 + i * 37 % MOST_TOKENS, .whole = i % 2};
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
    mem_ledger_set_limit(&l, MEM_KV, v.rows[MEM_KV].now_bytes + 3 * kv_set_bytes(&engine_hparams(en)->kv, COMPUTE_KV_F16));
    serve(s, got);
    for (uint32_t i = 0; i < JOBS; i++) {
        uint32_t pages = kv_pages_for(1 + i * 9 + 1 + i * 37 % MOST_TOKENS);
        assert_int_equal(got[i].what, pages <= 3 ? SCHED_END : SCHED_FAILED);
        if (pages > 3) assert_int_equal(got[i].failure.code, ERR_MEMORY);
    }
    sched_stop(s);
    engine_free(en);
    mem_ledger_read(&l, &v);
    assert_int_equal(v.now_bytes, 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(starting),
        cmocka_unit_test(serving),
        cmocka_unit_test(a_line_too_low_for_some),
    };
    return cmocka_run_group_tests_name("oom_sched", tests, up, down);
}
