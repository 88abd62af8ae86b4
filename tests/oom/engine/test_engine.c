/* The engine's whole life with the N-th reservation refused, for every N until none is left to refuse. */
#include "../../unit/test.h"

#include <stdio.h>
#include <unistd.h>

#include "../../unit/model/model_build.h"
#include "engine/draft.h"

static char path[64], experts_path[64];

static int up(void **state) {
    (void)state;
    static model_file f;
    snprintf(path, sizeof path, "/tmp/plimsoll-oom-engine-%d.gguf", (int)getpid());
    model_file_make(&f, &(model_spec){.n_vocab = 300,
                                      .n_layers = 1,
                                      .n_embd = 16,
                                      .n_heads = 2,
                                      .n_kv_heads = 1,
                                      .n_ff = 24,
                                      .context = 128,
                                      .vocabulary = true,
                                      .seed = 1});
    model_file_write(&f, path);
    model_file_free(&f);
    snprintf(experts_path, sizeof experts_path, "/tmp/plimsoll-oom-experts-%d.gguf", (int)getpid());
    model_file_make(&f, &(model_spec){.arch = "qwen2moe",
                                      .n_vocab = 300,
                                      .n_layers = 1,
                                      .n_embd = 16,
                                      .n_heads = 2,
                                      .n_kv_heads = 1,
                                      .n_ff = 24,
                                      .n_experts = 4,
                                      .n_experts_used = 2,
                                      .n_ff_exp = 8,
                                      .n_ff_shexp = 24,
                                      .context = 128,
                                      .vocabulary = true,
                                      .seed = 2});
    model_file_write(&f, experts_path);
    model_file_free(&f);
    return 0;
}

static int down(void **state) {
    (void)state;
    unlink(path), unlink(experts_path);
    return 0;
}

static const int32_t tokens[100] = {1, 260, 261, 262};

static bool use_session(engine *en, err *e) {
    engine_session *s = engine_session_open(en, NULL, e);
    if (!s) return false;
    bool ok = engine_session_reserve(en, s, 100, e); /* seven pages, or none */
    kv_pool_counts kv;
    kv_pool_read(kv_cache_pool(engine_kv(en)), &kv);
    assert_int_equal(kv.used_pages, ok ? kv_pages_for(100) : 0);
    engine_batch_item item = {s, tokens, 100, ENGINE_WANT_LAST};
    ok = ok && engine_run(en, &item, e);
    engine_session_close(en, s);
    kv_pool_trim(kv_cache_pool(engine_kv(en)), 0);
    return ok;
}

/* From nothing to a step and back. */
static bool live(const char *file, mem_ledger *l, err *e) {
    engine_config c;
    engine_config_default(&c);
    c.model_path = file, c.n_sessions = 2, c.n_batch = 128, c.n_context = 128, c.n_threads = 2, c.grammar_bytes = 1 << 16;
    engine *en = engine_prepare(&c, l, e);
    if (!en) return false;
    engine_plan plan = {.rows.line_bytes = UINT64_MAX};
    bool ok = engine_plan_make(en, &plan, e) && engine_load(en, &plan, NULL, NULL, e) && use_session(en, e);
    engine_free(en);
    return ok;
}

/* With a model that drafts: its load is refused whole; its pages may be refused, and nothing that is said changes. */
static int32_t said[100];

static void say(engine *en, engine_session *s) {
    static engine_generation g;
    engine_sampling greedy = {.temperature = 0, .repeat_penalty = 1, .ignore_end = true};
    memcpy(said, tokens, sizeof said);
    g = (engine_generation){.en = en, .session = s, .sampling = &greedy, .tokens = said, .n_prompt = 40,
                            .max_tokens = 60, .speculate = true};
    engine_generation_start(&g);
    while (g.finish == ENGINE_RUNNING) { /* drafts in every step, whatever they take */
        engine_batch_item item;
        engine_sample sample;
        str text;
        engine_generation_next_item(&g, 128, &item);
        engine_generation_propose(&g);
        g.drafter.n_wanted = !g.n_generated ? 0 : g.drafter.n_most < 5 ? g.drafter.n_most : 5;
        if (g.drafter.n_wanted) engine_draft_propose(en, &(engine_generation *){&g}, 1);
        if (g.n_generated) engine_generation_draft(&g, &item);
        assert_true(engine_step(en, &item, 1, NULL, NULL));
        for (uint32_t row = 0; !row || g.holds; row++)
            engine_generation_accept(&g, &item, engine_logits(en, row), &sample, &text);
        engine_generation_commit(&g, &item);
    }
    engine_draft_end(&g);
}

static bool draft(const char *file, mem_ledger *l, err *e) {
    engine_config c;
    engine_config_default(&c);
    c.model_path = c.draft_path = file, c.n_drafts = SPECULATE_MOST;
    c.n_sessions = 2, c.n_batch = 128, c.n_context = 128, c.n_threads = 2;
    engine *en = engine_prepare(&c, l, e);
    if (!en) return false;
    engine_plan plan = {.rows.line_bytes = UINT64_MAX};
    bool ok = engine_plan_make(en, &plan, e) && engine_load(en, &plan, NULL, NULL, e);
    engine_session *s = ok ? engine_session_open(en, NULL, e) : NULL;
    ok = s && engine_session_reserve(en, s, 100, e);
    if (ok) say(en, s);
    if (s) engine_session_close(en, s);
    engine_free(en);
    return ok;
}

static void assert_empty(mem_ledger *l, uint64_t n) {
    mem_ledger_view v;
    mem_ledger_read(l, &v);
    for (int a = 0; a < MEM_ACCOUNT_COUNT; a++)
        if (v.rows[a].now_bytes)
            fail_msg("reservation %llu refused: account %s is left with %llu bytes", (unsigned long long)n,
                     mem_account_name((mem_account)a), (unsigned long long)v.rows[a].now_bytes);
    assert_int_equal(v.now_bytes, 0);
}

static bool was_refused(mem_ledger *l) {
    mem_ledger_view v;
    mem_ledger_read(l, &v);
    for (int a = 0; a < MEM_ACCOUNT_COUNT; a++)
        if (v.rows[a].refused) return true;
    return false;
}

/* Every N. A refusal gives ERR_MEMORY in words, and everything goes back. */
static uint64_t refuse_each(const char *file, bool (*run)(const char *, mem_ledger *, err *)) {
    for (uint64_t n = 1;; n++) {
        mem_ledger l;
        err e = {0};
        mem_ledger_init(&l, UINT64_MAX);
        mem_ledger_fail_nth(&l, n);
        bool ok = run(file, &l, &e);
        assert_empty(&l, n);
        if (!was_refused(&l)) {
            assert_ok(ok, e);
            return n - 1;
        }
        if (ok) fail_msg("reservation %llu was refused and nobody noticed", (unsigned long long)n);
        if (e.code != ERR_MEMORY)
            fail_msg("reservation %llu refused: %s (%s)", (unsigned long long)n, e.message, err_code_name(e.code));
        assert_true(strlen(e.message) > 10);
        assert_null(strchr(e.message, '\n'));
    }
}

static void a_small_model(void **state) {
    (void)state;
    assert_true(refuse_each(path, live) > 10);
    assert_true(refuse_each(experts_path, live) > 10);
}

static void a_model_that_guesses(void **state) {
    (void)state;
    int32_t wanted[100];
    mem_ledger l;
    err e = {0};
    mem_ledger_init(&l, UINT64_MAX);
    assert_ok(draft(path, &l, &e), e);
    memcpy(wanted, said, sizeof wanted);
    uint32_t said_anyway = 0;
    for (uint64_t n = 1;; n++) {
        mem_ledger_init(&l, UINT64_MAX);
        mem_ledger_fail_nth(&l, n);
        bool ok = draft(path, &l, &e);
        assert_empty(&l, n);
        if (!ok) assert_int_equal(e.code, ERR_MEMORY);
        else assert_memory_equal(said, wanted, sizeof wanted);
        if (!was_refused(&l)) break;
        said_anyway += ok;
    }
    assert_true(said_anyway > 0);
}

/* The built-in vocabulary takes many reservations: the first hundred, then one in a few, and the last ones. */
static void the_built_in_model(void **state) {
    (void)state;
    mem_ledger l;
    err e = {0};
    mem_ledger_init(&l, UINT64_MAX);
    mem_ledger_fail_nth(&l, UINT64_MAX);
    assert_ok(live(NULL, &l, &e), e);
    uint64_t all = UINT64_MAX - l.fail_countdown, stride = 1;
    assert_true(all > 10);
    for (uint64_t n = 1; n <= all; n += stride) {
        stride = n < 40 || n + 20 > all ? 1 : all / 40 + 1;
        if (n + stride > all - 20 && n < all - 20) stride = all - 20 - n;
        mem_ledger_init(&l, UINT64_MAX);
        mem_ledger_fail_nth(&l, n);
        assert_false(live(NULL, &l, &e));
        assert_int_equal(e.code, ERR_MEMORY);
        assert_empty(&l, n);
    }
}

static bool only_tokenizer(const char *file, mem_ledger *l, err *e) {
    engine_config c;
    engine_config_default(&c);
    c.model_path = file;
    engine *en = engine_prepare_tokenizer(&c, l, e);
    engine_free(en);
    return en != NULL;
}

static void the_tokenizer_alone(void **state) {
    (void)state;
    assert_true(refuse_each(path, only_tokenizer) > 5);
}

/* A line, not a count: each size of line either refuses somewhere or holds. */
static void any_line(void **state) {
    (void)state;
    mem_ledger l;
    err e = {0};
    mem_ledger_init(&l, UINT64_MAX);
    assert_ok(live(path, &l, &e), e);
    mem_ledger_view v;
    mem_ledger_read(&l, &v);
    for (uint64_t line = 0; line <= v.peak_bytes; line += v.peak_bytes / 50) {
        mem_ledger_init(&l, line);
        assert_false(live(path, &l, &e) && line < v.peak_bytes);
        if (line < v.peak_bytes) assert_int_equal(e.code, ERR_MEMORY);
        assert_empty(&l, 0);
    }
    mem_ledger_init(&l, v.peak_bytes);
    assert_ok(live(path, &l, &e), e);
}

/* A session that is refused a page in its middle keeps what it had, and gets it later. */
static void growing_sessions(void **state) {
    (void)state;
    mem_ledger l;
    err e = {0};
    mem_ledger_init(&l, UINT64_MAX);
    engine_config c;
    engine_config_default(&c);
    c.model_path = path, c.n_sessions = 1, c.n_batch = 128, c.n_context = 128, c.n_threads = 1;
    engine *en = engine_prepare(&c, &l, &e);
    engine_plan plan = {.rows.line_bytes = UINT64_MAX};
    assert_ok(en && engine_plan_make(en, &plan, &e) && engine_load(en, &plan, NULL, NULL, &e), e);
    engine_session *s = engine_session_open(en, NULL, &e);
    assert_ok(engine_session_reserve(en, s, KV_PAGE_TOKENS, &e), e);
    for (uint64_t n = 1; n <= 3; n++) {
        mem_ledger_fail_nth(&l, n);
        assert_false(engine_session_reserve(en, s, 128, &e));
        assert_int_equal(e.code, ERR_MEMORY);
        assert_int_equal(engine_session_bytes(en, s), plan.page_bytes);
        kv_pool_trim(kv_cache_pool(engine_kv(en)), 0);
    }
    mem_ledger_fail_nth(&l, 0);
    assert_ok(engine_session_reserve(en, s, 128, &e), e);
    engine_free(en);
    assert_empty(&l, 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_small_model), cmocka_unit_test(the_built_in_model), cmocka_unit_test(the_tokenizer_alone),
        cmocka_unit_test(any_line),      cmocka_unit_test(growing_sessions),
        cmocka_unit_test(a_model_that_guesses),
    };
    return cmocka_run_group_tests_name("oom_engine", tests, up, down);
}
