/* The engine: plan and fact, the same bits however tokens are batched, sessions and their pages, and going away. */
#include "../test.h"

#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "../model/model_build.h"
#include "engine/internal.h"
#include "plat/kernel.h"

/* ---- models ---- */

static char odd_path[64], k_path[64], long_path[64], half_path[64], experts_path[64];

static void write_model(char path[64], const char *name, const model_spec *s) {
    static model_file f;
    snprintf(path, 64, "/tmp/plimsoll-engine-%d-%s.gguf", (int)getpid(), name);
    model_file_make(&f, s);
    model_file_write(&f, path);
    model_file_free(&f);
}

static int up(void **state) {
    (void)state;
    write_model(odd_path, "odd",
                &(model_spec){.n_vocab = 300,
                              .n_layers = 2,
                              .n_embd = 60,
                              .n_heads = 6,
                              .n_kv_heads = 3,
                              .n_ff = 100,
                              .context = 256,
                              .vocabulary = true,
                              .seed = 1});
    write_model(k_path, "k",
                &(model_spec){.n_vocab = 300,
                              .n_layers = 2,
                              .n_embd = 256,
                              .n_heads = 8,
                              .n_kv_heads = 2,
                              .n_ff = 512,
                              .context = 256,
                              .type = DTYPE_Q4_K,
                              .tied = true,
                              .vocabulary = true,
                              .seed = 2});
    write_model(half_path, "half",
                &(model_spec){.n_vocab = 300,
                              .n_layers = 2,
                              .n_embd = 96,
                              .n_heads = 3,
                              .n_kv_heads = 1,
                              .n_ff = 64,
                              .context = 256,
                              .type = DTYPE_F16,
                              .vocabulary = true,
                              .seed = 3});
    write_model(experts_path, "experts",
                &(model_spec){.arch = "qwen2moe",
                              .n_vocab = 300,
                              .n_layers = 2,
                              .n_embd = 60,
                              .n_heads = 6,
                              .n_kv_heads = 3,
                              .n_ff = 100,
                              .n_experts = 5,
                              .n_experts_used = 3,
                              .n_ff_exp = 33,
                              .n_ff_shexp = 50,
                              .context = 256,
                              .vocabulary = true,
                              .seed = 5});
    write_model(long_path, "long",
                &(model_spec){.n_vocab = 300,
                              .n_layers = 1,
                              .n_embd = 32,
                              .n_heads = 2,
                              .n_kv_heads = 2,
                              .n_ff = 32,
                              .context = 1 << 17,
                              .vocabulary = true,
                              .seed = 4});
    return 0;
}

static int down(void **state) {
    (void)state;
    unlink(odd_path), unlink(k_path), unlink(half_path), unlink(long_path), unlink(experts_path);
    return 0;
}

/* ---- a loaded engine and its ledger ---- */

typedef struct loaded {
    mem_ledger ledger;
    engine *en;
    engine_plan plan;
} loaded;

static mem_ledger_view books(mem_ledger *l) {
    mem_ledger_view v;
    mem_ledger_read(l, &v);
    return v;
}

static void assert_empty(mem_ledger *l) {
    mem_ledger_view v = books(l);
    for (int a = 0; a < MEM_ACCOUNT_COUNT; a++)
        if (v.rows[a].now_bytes)
            fail_msg("%s holds %llu", mem_account_name((mem_account)a), (unsigned long long)v.rows[a].now_bytes);
    assert_int_equal(v.now_bytes, 0);
}

static void load(loaded *x, const engine_config *c) {
    err e = {0};
    memset(&x->plan, 0, sizeof x->plan);
    mem_ledger_init(&x->ledger, UINT64_MAX);
    x->plan.rows.line_bytes = UINT64_MAX;
    x->en = engine_prepare(c, &x->ledger, &e);
    if (!x->en) fail_msg("%s", e.message);
    assert_ok(engine_plan_make(x->en, &x->plan, &e), e);
    assert_ok(engine_load(x->en, &x->plan, NULL, NULL, &e), e);
}

static void unload(loaded *x) {
    engine_free(x->en);
    assert_empty(&x->ledger);
}

static engine_config config_of(const char *path) {
    engine_config c;
    engine_config_default(&c);
    c.model_path = path;
    c.n_threads = 1, c.n_sessions = 8, c.n_batch = 160, c.n_logits = 160, c.n_context = 128;
    return c;
}

static engine_session *open_session(engine *en, uint32_t n_tokens) {
    err e = {0};
    engine_session *s = engine_session_open(en, NULL, &e);
    if (!s) fail_msg("%s", e.message);
    assert_ok(engine_session_reserve(en, s, n_tokens, &e), e);
    return s;
}

static void random_tokens(const engine *en, uint64_t seed, int32_t *tokens, uint32_t n) {
    rng r;
    rng_seed(&r, seed);
    for (uint32_t i = 0; i < n; i++) tokens[i] = (int32_t)(rng_next(&r) % engine_model_desc(en)->n_vocab);
}

/* ---- promise 7: the same answer ---- */

#ifdef PLIMSOLL_SANITIZED
enum { SANITIZED = 1 };
#else
enum { SANITIZED = 0 };
#endif

enum { N = 70, N_OTHERS = 7, OTHER_TOKENS = 40 };

/* Feeds tokens in pieces of chunk and keeps all logits; others, when given, are one to n tokens of other
 * sessions before and behind it in each step. */
static void run(engine *en, const int32_t *tokens, uint32_t chunk, bool others, float *logits) {
    err e = {0};
    uint32_t n_vocab = engine_model_desc(en)->n_vocab;
    engine_session *s = open_session(en, N), *other[N_OTHERS];
    static int32_t other_tokens[N_OTHERS][OTHER_TOKENS];
    uint32_t fed[N_OTHERS] = {0};
    for (uint32_t i = 0; others && i < N_OTHERS; i++) {
        other[i] = open_session(en, OTHER_TOKENS);
        random_tokens(en, 100 + i, other_tokens[i], OTHER_TOKENS);
    }
    for (uint32_t at = 0, step = 0; at < N; at += chunk, step++) {
        engine_batch_item items[N_OTHERS + 1];
        uint32_t n_items = 0, row = 0, take = N - at < chunk ? N - at : chunk, left = engine_batch(en) - take;
        for (uint32_t i = 0; i <= N_OTHERS; i++) {
            if (i == step % (N_OTHERS + 1)) items[n_items++] = (engine_batch_item){s, tokens + at, take, ENGINE_WANT_ALL};
            if (!others || i == N_OTHERS) continue;
            uint32_t n = 1 + (i * 5 + step) % 6, wants = i % 3; /* none, last, all */
            if (fed[i] + n > OTHER_TOKENS || n > left) continue;
            if (i < step % (N_OTHERS + 1)) row += wants == ENGINE_WANT_ALL ? n : wants; /* rows before ours */
            items[n_items++] = (engine_batch_item){other[i], other_tokens[i] + fed[i], n, (engine_want)wants};
            fed[i] += n, left -= n;
        }
        assert_ok(engine_step(en, items, n_items, NULL, &e), e);
        engine_step_commit(en, items, n_items);
        for (uint32_t i = 0; i < take; i++)
            memcpy(logits + (size_t)(at + i) * n_vocab, engine_logits(en, row + i), n_vocab * sizeof(float));
    }
    assert_int_equal(engine_session_length(s), N);
    engine_session_close(en, s);
    for (uint32_t i = 0; others && i < N_OTHERS; i++) {
        assert_int_equal(engine_session_length(other[i]), fed[i]);
        engine_session_close(en, other[i]);
    }
}

static void same_bits(const char *path) {
    float *wanted = NULL, *got = NULL;
    for (int v = 0; compute_variant(v); v++) {
        setenv("PLIMSOLL_KERNELS", compute_variant(v)->name, 1);
        for (int n_threads = 1; n_threads <= 3; n_threads++) {
            if (SANITIZED && wanted && n_threads < 3) continue;
            loaded x;
            int32_t tokens[N];
            engine_config c = config_of(path);
            c.n_threads = n_threads;
            load(&x, &c);
            assert_string_equal(engine_kernels(x.en), compute_variant(v)->name);
            size_t n = (size_t)N * engine_model_desc(x.en)->n_vocab;
            random_tokens(x.en, 7, tokens, N);
            if (!wanted) {
                wanted = calloc(n, sizeof *wanted), got = calloc(n, sizeof *got);
                run(x.en, tokens, N, false, wanted);
                for (size_t i = 0; i < n; i++) assert_true(isfinite(wanted[i]));
            }
            static const struct {
                uint32_t chunk;
                bool others;
            } ways[] = {{N, false}, {1, false}, {7, false}, {64, false}, {7, true}, {1, true}, {N, true}};
            for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) {
                if (v == 0 && (n_threads == 2 || i < 3 || i > 4)) continue; /* the scalar kernels take their time */
                if (SANITIZED && (n_threads < 3 || i != 4)) continue;
                memset(got, 0, n * sizeof *got);
                run(x.en, tokens, ways[i].chunk, ways[i].others, got);
                if (memcmp(got, wanted, n * sizeof *got))
                    fail_msg("%s kernels, %d threads, pieces of %u%s: other logits than alone in one piece",
                             engine_kernels(x.en), n_threads, ways[i].chunk, ways[i].others ? " beside others" : "");
            }
            unload(&x);
        }
    }
    unsetenv("PLIMSOLL_KERNELS");
    free(wanted), free(got);
}

static void same_bits_of_the_built_in_model(void **state) { (void)state, same_bits(NULL); }
static void same_bits_of_an_odd_shape(void **state) { (void)state, same_bits(odd_path); }
static void same_bits_of_k_quants(void **state) { (void)state, same_bits(k_path); }
static void same_bits_of_halves(void **state) { (void)state, same_bits(half_path); }
static void same_bits_of_experts(void **state) { (void)state, same_bits(experts_path); }

/* ---- sessions ---- */

static kv_pool_counts pool_of(const engine *en) {
    kv_pool_counts counts;
    kv_pool_read(kv_cache_pool(engine_kv(en)), &counts);
    return counts;
}

static void sessions_take_and_give_pages(void **state) {
    (void)state;
    loaded x;
    err e = {0};
    engine_config c = config_of(odd_path);
    c.n_sessions = 3;
    load(&x, &c);
    engine_session *s[3];
    assert_int_equal(x.plan.n_pages, 3 * 8);
    assert_int_equal(pool_of(x.en).budget_bytes, x.plan.n_pages * x.plan.page_bytes);
    for (int i = 0; i < 3; i++) s[i] = open_session(x.en, 0);
    assert_null(engine_session_open(x.en, NULL, &e));
    assert_int_equal(e.code, ERR_BUSY);
    assert_int_equal(pool_of(x.en).used_pages, 0);
    assert_ok(engine_session_reserve(x.en, s[0], 1, &e), e);
    assert_int_equal(pool_of(x.en).used_pages, 1);
    assert_int_equal(engine_session_bytes(x.en, s[0]), x.plan.page_bytes);
    assert_ok(engine_session_reserve(x.en, s[0], KV_PAGE_TOKENS, &e), e); /* what is held already costs nothing */
    assert_int_equal(pool_of(x.en).used_pages, 1);
    assert_ok(engine_session_reserve(x.en, s[0], 128, &e), e);
    assert_int_equal(pool_of(x.en).used_pages, 8);
    assert_false(engine_session_reserve(x.en, s[1], 129, &e));
    assert_int_equal(e.code, ERR_TOO_LARGE);
    assert_non_null(strstr(e.message, "129"));
    assert_non_null(strstr(e.message, "128"));
    assert_int_equal(pool_of(x.en).used_pages, 8);
    engine_session_close(x.en, s[0]);
    assert_int_equal(pool_of(x.en).used_pages, 0);
    engine_session_close(x.en, s[0]); /* twice does no harm */
    mem_ledger_view before = books(&x.ledger);
    assert_int_equal(kv_pool_trim(kv_cache_pool(engine_kv(x.en)), x.plan.page_bytes), 7 * x.plan.page_bytes);
    assert_int_equal(pool_of(x.en).committed_pages, 1);
    assert_int_equal(books(&x.ledger).now_bytes, before.now_bytes - 7 * x.plan.page_bytes);
    unload(&x); /* with two sessions still open */
}

/* A pool smaller than all contexts: the others hold the pages, and a refused reservation takes none. */
static void pages_run_out(void **state) {
    (void)state;
    loaded x = {0};
    err e = {0};
    engine_config c = config_of(odd_path);
    mem_ledger_init(&x.ledger, UINT64_MAX);
    x.en = engine_prepare(&c, &x.ledger, &e);
    x.plan.rows.line_bytes = UINT64_MAX;
    assert_ok(engine_plan_make(x.en, &x.plan, &e), e);
    assert_int_equal(x.plan.n_pages, 8 * 8);
    x.plan.rows.line_bytes = x.plan.rows.total_bytes - x.plan.page_bytes * 50;
    assert_ok(engine_plan_make(x.en, &x.plan, &e), e);
    assert_int_equal(x.plan.n_pages, 14);
    assert_ok(engine_load(x.en, &x.plan, NULL, NULL, &e), e);
    engine_session *a = open_session(x.en, 128), *b = open_session(x.en, 33), *last = open_session(x.en, 1);
    engine_session_close(x.en, last);
    last = open_session(x.en, 0);
    assert_int_equal(pool_of(x.en).used_pages, 11);
    assert_false(engine_session_reserve(x.en, last, 49, &e));
    assert_int_equal(e.code, ERR_BUSY);
    assert_int_equal(engine_session_bytes(x.en, last), 0);
    assert_int_equal(pool_of(x.en).used_pages, 11);
    assert_false(engine_session_reserve(x.en, b, 128, &e)); /* keeps what it had */
    assert_int_equal(engine_session_bytes(x.en, b), 3 * x.plan.page_bytes);
    engine_session_close(x.en, a);
    assert_ok(engine_session_reserve(x.en, last, 128, &e), e);
    unload(&x);
}

static void item(engine *en, engine_session *s, const int32_t *tokens, uint32_t n, float *last) {
    err e = {0};
    engine_batch_item f = {s, tokens, n, ENGINE_WANT_LAST};
    assert_ok(engine_run(en, &f, &e), e);
    memcpy(last, engine_logits(en, 0), engine_model_desc(en)->n_vocab * sizeof(float));
}

static void rewinding_forgets(void **state) {
    (void)state;
    loaded x;
    engine_config c = config_of(odd_path);
    load(&x, &c);
    float a[300], b[300];
    int32_t tokens[100], others[100];
    random_tokens(x.en, 1, tokens, 100);
    random_tokens(x.en, 2, others, 100);
    engine_session *s = open_session(x.en, 100);
    item(x.en, s, tokens, 100, a);
    engine_session_rewind(x.en, s, 37);
    assert_int_equal(engine_session_length(s), 37);
    item(x.en, s, others + 37, 50, b);
    assert_true(memcmp(a, b, sizeof a) != 0);
    engine_session_rewind(x.en, s, 37);
    item(x.en, s, tokens + 37, 63, b);
    assert_memory_equal(a, b, sizeof a);
    engine_session_rewind(x.en, s, 0);
    item(x.en, s, tokens, 100, b);
    assert_memory_equal(a, b, sizeof a);
    engine_session_close(x.en, s);
    s = open_session(x.en, 100); /* pages that others have written */
    item(x.en, s, tokens, 100, b);
    assert_memory_equal(a, b, sizeof a);
    unload(&x);
}

/* ---- cancelling ---- */

static void a_cancelled_step_has_not_been(void **state) {
    (void)state;
    loaded x;
    err e = {0};
    engine_config c = config_of(odd_path);
    load(&x, &c);
    float a[300], b[300];
    int32_t tokens[128];
    random_tokens(x.en, 3, tokens, 128);
    engine_session *s = open_session(x.en, 128), *t = open_session(x.en, 128);
    item(x.en, s, tokens, 128, a);
    engine_session_rewind(x.en, s, 0);
    item(x.en, s, tokens, 50, b);
    item(x.en, t, tokens, 10, b);
    _Atomic bool cancel = true;
    engine_batch_item f[] = {{s, tokens + 50, 78, ENGINE_WANT_LAST}, {t, tokens + 10, 20, ENGINE_WANT_ALL}};
    engine_counters before, after;
    engine_counters_read(x.en, &before);
    assert_false(engine_step(x.en, f, 2, &cancel, &e));
    assert_int_equal(e.code, ERR_CANCELLED);
    assert_int_equal(engine_session_length(s), 50);
    assert_int_equal(engine_session_length(t), 10);
    engine_counters_read(x.en, &after);
    assert_int_equal(after.tokens, before.tokens);
    item(x.en, s, tokens + 50, 78, b);
    assert_memory_equal(a, b, sizeof a);
    unload(&x);
}

typedef struct late_cancel {
    _Atomic bool cancel, go;
    long delay_ns;
} late_cancel;

static void *cancel_late(void *ctx) {
    late_cancel *c = ctx;
    while (!atomic_load(&c->go)) continue;
    nanosleep(&(struct timespec){0, c->delay_ns}, NULL);
    atomic_store(&c->cancel, true);
    return NULL;
}

enum { CUT_TOKENS = SANITIZED ? 40 : 128 }; /* in one step */

/* Somewhere in the middle: either it ran or it did not, and the next attempt gives the same bits. */
static void cancelled_anywhere(void **state) {
    (void)state;
    loaded x;
    err e = {0};
    engine_config c = config_of(NULL);
    c.n_threads = 2;
    load(&x, &c);
    uint32_t n_vocab = engine_model_desc(x.en)->n_vocab;
    float *a = calloc(n_vocab, sizeof *a), *b = calloc(n_vocab, sizeof *b);
    int32_t tokens[CUT_TOKENS];
    random_tokens(x.en, 4, tokens, CUT_TOKENS);
    engine_session *s = open_session(x.en, CUT_TOKENS);
    uint64_t began = 0;
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    began = (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
    item(x.en, s, tokens, CUT_TOKENS, a);
    clock_gettime(CLOCK_MONOTONIC, &now);
    uint64_t step_ns = (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec - began;
    int cut = 0;
    for (int round = 0; round < 12 || (cut == 0 && round < 500); round++) {
        late_cancel late = {.delay_ns = (long)(step_ns * (uint64_t)(round % 12) / 14)};
        pthread_t thread;
        engine_session_rewind(x.en, s, 0);
        assert_ok(engine_session_reserve(x.en, s, CUT_TOKENS, &e), e);
        assert_int_equal(pthread_create(&thread, NULL, cancel_late, &late), 0);
        engine_batch_item f = {s, tokens, CUT_TOKENS, ENGINE_WANT_LAST};
        atomic_store(&late.go, true);
        bool ran = engine_step(x.en, &f, 1, &late.cancel, &e);
        pthread_join(thread, NULL);
        if (ran) engine_step_commit(x.en, &f, 1);
        assert_int_equal(engine_session_length(s), ran ? CUT_TOKENS : 0);
        cut += !ran;
        if (!ran) item(x.en, s, tokens, CUT_TOKENS, b);
        assert_memory_equal(a, ran ? engine_logits(x.en, 0) : b, n_vocab * sizeof(float));
    }
    assert_true(cut > 0);
    free(a), free(b);
    unload(&x);
}

/* ---- plan and fact ---- */

static void assert_plan_is_fact(const char *path, uint32_t n_threads, uint32_t n_batch, uint32_t n_sessions,
                                uint32_t n_context) {
    loaded x;
    err e = {0};
    engine_config c = config_of(path);
    c.n_threads = (int)n_threads, c.n_batch = n_batch, c.n_sessions = n_sessions, c.n_context = n_context,
    c.n_logits = 0;
    load(&x, &c);
    mem_ledger_view v = books(&x.ledger);
    assert_int_equal(v.rows[MEM_WEIGHTS].now_bytes, x.plan.rows.bytes[MEM_WEIGHTS]);
    assert_int_equal(v.rows[MEM_WORKSPACE].now_bytes, x.plan.rows.bytes[MEM_WORKSPACE]);
    assert_true(v.rows[MEM_TOKENIZER].now_bytes > 0 &&
                v.rows[MEM_TOKENIZER].now_bytes <= x.plan.rows.bytes[MEM_TOKENIZER]);
    assert_int_equal(engine_context(x.en), x.plan.n_context);
    assert_int_equal(x.plan.n_pages, n_sessions * kv_pages_for(x.plan.n_context));
    for (uint32_t i = 0; i < n_sessions; i++) open_session(x.en, engine_context(x.en)); /* everything at once */
    assert_int_equal(pool_of(x.en).used_pages, x.plan.n_pages);
    v = books(&x.ledger);
    assert_int_equal(v.rows[MEM_KV].now_bytes, x.plan.rows.bytes[MEM_KV]);
    assert_true(v.peak_bytes <= x.plan.rows.total_bytes);
    (void)e;
    unload(&x);
}

static void plan_equals_fact(void **state) {
    (void)state;
    assert_plan_is_fact(NULL, 1, 256, 4, 0);
    assert_plan_is_fact(NULL, 3, 1, 1, 33);
    assert_plan_is_fact(odd_path, 2, 7, 5, 100);
    assert_plan_is_fact(k_path, 1, 8192, 1, 1);
    assert_plan_is_fact(half_path, 16, 2, 64, 0);
    assert_plan_is_fact(experts_path, 2, 1, 3, 90);
    assert_plan_is_fact(experts_path, 1, 300, 2, 0);
}

/* Any line is either refused, with advice that holds, or kept to the byte. */
static void lines(const char *path, uint32_t n_context) {
    loaded x = {0};
    err e = {0};
    engine_config c = config_of(path);
    c.n_sessions = 4, c.n_batch = 64, c.n_logits = 0, c.n_context = n_context;
    mem_ledger_init(&x.ledger, UINT64_MAX);
    x.en = engine_prepare(&c, &x.ledger, &e);
    x.plan.rows.line_bytes = UINT64_MAX;
    mem_plan_set(&x.plan.rows, MEM_RUNTIME, 1 << 20); /* what the caller has set is counted, too */
    assert_ok(engine_plan_make(x.en, &x.plan, &e), e);
    uint64_t all = x.plan.rows.total_bytes;
    uint32_t wanted_context = x.plan.n_context;
    engine_free(x.en);
    int refused = 0, advised = 0, smaller = 0, whole = 0;
    for (int i = 1; i <= 17; i++) {
        uint64_t line = i < 17 ? all * (uint64_t)i / 16 - 1 : all; /* one byte short of all, and all */
        loaded y = {0};
        mem_ledger_init(&y.ledger, line);
        y.plan.rows.line_bytes = line;
        mem_plan_set(&y.plan.rows, MEM_RUNTIME, 1 << 20);
        mem_ledger_measured(&y.ledger, MEM_RUNTIME, 1 << 20);
        c.n_context = n_context;
        y.en = engine_prepare(&c, &y.ledger, &e);
        if (!y.en) {
            assert_int_equal(e.code, ERR_MEMORY);
            continue;
        }
        if (!engine_plan_make(y.en, &y.plan, &e)) {
            refused++;
            assert_int_equal(e.code, ERR_MEMORY);
            assert_true(e.need_bytes > e.have_bytes && e.have_bytes == line);
            const char *advice = strstr(e.message, "with -c ");
            engine_free(y.en);
            if (!advice) continue;
            advised++;
            c.n_context = (uint32_t)strtoul(advice + 8, NULL, 10);
            assert_in_range(c.n_context, 32, wanted_context - 1);
            y.en = engine_prepare(&c, &y.ledger, &e);
            assert_non_null(y.en);
            memset(&y.plan, 0, sizeof y.plan);
            y.plan.rows.line_bytes = line;
            mem_plan_set(&y.plan.rows, MEM_RUNTIME, 1 << 20);
            assert_ok(engine_plan_make(y.en, &y.plan, &e), e);
        }
        assert_true(y.plan.rows.total_bytes <= line);
        smaller += y.plan.n_context < wanted_context;
        whole += y.plan.rows.total_bytes == all;
        assert_ok(engine_load(y.en, &y.plan, NULL, NULL, &e), e);
        for (uint32_t left = y.plan.n_pages; left > 0;) { /* the first session gets one whole context */
            uint32_t n = left < kv_pages_for(engine_context(y.en)) ? left * KV_PAGE_TOKENS : engine_context(y.en);
            open_session(y.en, n);
            left -= kv_pages_for(n);
        }
        assert_int_equal(pool_of(y.en).used_pages, y.plan.n_pages);
        assert_true(pool_of(y.en).used_pages >= kv_pages_for(engine_context(y.en)));
        assert_true(books(&y.ledger).peak_bytes <= line);
        engine_free(y.en);
        mem_ledger_measured(&y.ledger, MEM_RUNTIME, 0);
        assert_empty(&y.ledger);
    }
    assert_int_equal(whole, 1); /* not a byte of the line is asked for in vain */
    if (n_context)
        assert_true(advised > 0);
    else
        assert_true(smaller > 0 || refused > 0);
}

static void lines_of_the_built_in_model(void **state) {
    (void)state;
    lines(NULL, 0);
    lines(NULL, 512);
}

static void lines_of_a_long_context(void **state) {
    (void)state;
    lines(long_path, 0);
    lines(long_path, 25000);
}

/* A context so long that the sessions' page tables alone pass the line: a smaller one is still found. */
static void a_context_beyond_all_measure(void **state) {
    (void)state;
    loaded x = {0};
    err e = {0};
    engine_config c = config_of(long_path);
    c.n_context = 1u << 30, c.n_sessions = 64;
    mem_ledger_init(&x.ledger, UINT64_MAX);
    x.plan.rows.line_bytes = 64 << 20;
    x.en = engine_prepare(&c, &x.ledger, &e);
    assert_false(engine_plan_make(x.en, &x.plan, &e));
    assert_int_equal(e.code, ERR_MEMORY);
    assert_non_null(strstr(e.message, "with -c "));
    engine_free(x.en);
    c.n_context = (uint32_t)strtoul(strstr(e.message, "with -c ") + 8, NULL, 10);
    x.en = engine_prepare(&c, &x.ledger, &e);
    assert_ok(engine_plan_make(x.en, &x.plan, &e), e);
    engine_free(x.en);
    assert_empty(&x.ledger);
}

/* ---- coming up and going away ---- */

static void freed_at_every_stage(void **state) {
    (void)state;
    for (int stage = 0; stage < 4; stage++) {
        loaded x = {0};
        err e = {0};
        engine_config c = config_of(NULL);
        mem_ledger_init(&x.ledger, UINT64_MAX);
        x.plan.rows.line_bytes = UINT64_MAX;
        x.en = stage == 3 ? engine_prepare_tokenizer(&c, &x.ledger, &e) : engine_prepare(&c, &x.ledger, &e);
        assert_non_null(x.en);
        assert_true(text_vocab_size(engine_vocab(x.en)) > 0);
        assert_true(strlen(engine_model_name(x.en)) > 0);
        if (stage == 1 || stage == 2) assert_ok(engine_plan_make(x.en, &x.plan, &e), e);
        if (stage == 2) assert_ok(engine_load(x.en, &x.plan, NULL, NULL, &e), e);
        unload(&x);
    }
    engine_free(NULL);
}

/* A load that the line refuses gives back what it took; with a wider line the same engine loads. */
static void a_refused_load_can_be_tried_again(void **state) {
    (void)state;
    loaded x = {0};
    err e = {0};
    engine_config c = config_of(odd_path);
    mem_ledger_init(&x.ledger, UINT64_MAX);
    x.plan.rows.line_bytes = UINT64_MAX;
    x.en = engine_prepare(&c, &x.ledger, &e);
    assert_ok(engine_plan_make(x.en, &x.plan, &e), e);
    uint64_t before = books(&x.ledger).now_bytes;
    mem_ledger_set_limit(&x.ledger, MEM_WEIGHTS, 4096);
    assert_false(engine_load(x.en, &x.plan, NULL, NULL, &e));
    assert_int_equal(e.code, ERR_MEMORY);
    assert_int_equal(books(&x.ledger).now_bytes, before);
    mem_ledger_set_limit(&x.ledger, MEM_WEIGHTS, UINT64_MAX);
    assert_ok(engine_load(x.en, &x.plan, NULL, NULL, &e), e);
    unload(&x);
}

static void bad_configurations(void **state) {
    (void)state;
    mem_ledger l;
    err e = {0};
    engine_config c;
    mem_ledger_init(&l, UINT64_MAX);
    for (int i = 0; i < 6; i++) {
        c = config_of(odd_path);
        if (i == 0) c.n_sessions = 0;
        if (i == 1) c.n_sessions = 4097;
        if (i == 2) c.n_batch = 0;
        if (i == 3) c.n_batch = 8193;
        if (i == 4) c.n_threads = -1;
        if (i == 5) c.n_threads = 257;
        assert_null(engine_prepare(&c, &l, &e));
        assert_int_equal(e.code, ERR_USAGE);
        assert_empty(&l);
    }
    c = config_of("/nowhere/model.gguf");
    assert_null(engine_prepare(&c, &l, &e));
    assert_non_null(strstr(e.message, "model.gguf"));
    assert_empty(&l);
}

/* Files that open but are no models: one line that names file and reason. */
static void files_that_are_no_models(void **state) {
    (void)state;
    static const struct {
        const char *omit, *words;
    } wrong[] = {{"llama.block_count", "block_count"},
                 {"tokenizer.ggml.model", "tokenizer.ggml.model"},
                 {"blk.0.ffn_up.weight", "blk.0.ffn_up.weight"}};
    mem_ledger l;
    mem_ledger_init(&l, UINT64_MAX);
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        char path[64];
        err e = {0};
        write_model(path, "wrong",
                    &(model_spec){.n_vocab = 300,
                                  .n_layers = 1,
                                  .n_embd = 8,
                                  .n_heads = 1,
                                  .n_kv_heads = 1,
                                  .n_ff = 8,
                                  .context = 64,
                                  .vocabulary = true,
                                  .omit = wrong[i].omit});
        engine_config c = config_of(path);
        assert_null(engine_prepare(&c, &l, &e));
        assert_int_equal(e.code, ERR_FORMAT);
        if (!strstr(e.message, wrong[i].words) || !strstr(e.message, "wrong.gguf")) fail_msg("%s", e.message);
        assert_empty(&l);
        unlink(path);
    }
    char path[64]; /* an embedding that is larger than the vocabulary */
    err e = {0};
    write_model(path, "wrong",
                &(model_spec){.n_vocab = 300,
                              .n_layers = 1,
                              .n_embd = 8,
                              .n_heads = 1,
                              .n_kv_heads = 1,
                              .n_ff = 8,
                              .context = 64,
                              .vocabulary = true,
                              .bend = "token_embd.weight",
                              .bend_n_dims = 2,
                              .bend_dims = {8, 301},
                              .tied = true});
    engine_config c = config_of(path);
    assert_null(engine_prepare(&c, &l, &e));
    assert_non_null(strstr(e.message, "the tokenizer has 300 tokens, the embedding 301"));
    assert_empty(&l);
    unlink(path);
}

static void no_malloc_in_a_step(void **state) {
    (void)state;
    if (!plat_malloc_is_counted()) skip();
    loaded x;
    engine_config c = config_of(NULL);
    c.n_threads = 2;
    load(&x, &c);
    float *last = calloc(engine_model_desc(x.en)->n_vocab, sizeof *last);
    int32_t tokens[128];
    random_tokens(x.en, 5, tokens, 128);
    engine_session *s = open_session(x.en, 128);
    item(x.en, s, tokens, 64, last);
    for (int i = 64; i < 128; i++) item(x.en, s, tokens + i, 1, last);
    engine_counters counters;
    engine_counters_read(x.en, &counters);
    assert_int_equal(counters.steps, 65);
    assert_int_equal(counters.tokens, 128);
    assert_int_equal(counters.step_mallocs, 0);
    free(last);
    unload(&x);
}

/* What the file is, by its own count: other weights of the same shape are another file. */
static void about_the_file(void **state) {
    (void)state;
    static model_file f;
    engine_about first = {0};
    for (uint64_t seed = 1; seed <= 2; seed++) {
        mem_ledger l;
        err e = {0};
        uint64_t parameters = 0;
        char path[64];
        snprintf(path, sizeof path, "/tmp/plimsoll-about-%d.gguf", (int)getpid());
        model_file_make(&f, &(model_spec){.n_vocab = 300, .n_layers = 2, .n_embd = 64, .n_heads = 4, .n_kv_heads = 2,
                                          .n_ff = 96, .context = 64, .type = DTYPE_Q8_0, .vocabulary = true,
                                          .seed = seed});
        for (uint32_t i = 0; i < f.n_tensors; i++)
            parameters += f.tensors[i].dims[0] * (f.tensors[i].n_dims > 1 ? f.tensors[i].dims[1] : 1);
        model_file_write(&f, path);
        engine_config c = config_of(path);
        mem_ledger_init(&l, UINT64_MAX);
        engine *en = engine_prepare(&c, &l, &e);
        if (!en) fail_msg("%s", e.message);
        const engine_about *about = engine_about_file(en);
        assert_int_equal(about->file_bytes, f.len);
        assert_int_equal(about->parameters, parameters);
        assert_string_equal(about->weight_type, "Q8_0");
        assert_int_equal(memcmp(about->identity, first.identity, sizeof first.identity) == 0, 0);
        first = *about;
        engine_free(en);
        unlink(path);
        model_file_free(&f);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(same_bits_of_the_built_in_model),
        cmocka_unit_test(same_bits_of_an_odd_shape),
        cmocka_unit_test(same_bits_of_k_quants),
        cmocka_unit_test(same_bits_of_halves), cmocka_unit_test(same_bits_of_experts),
        cmocka_unit_test(sessions_take_and_give_pages),
        cmocka_unit_test(pages_run_out),
        cmocka_unit_test(rewinding_forgets),
        cmocka_unit_test(a_cancelled_step_has_not_been),
        cmocka_unit_test(cancelled_anywhere),
        cmocka_unit_test(plan_equals_fact),
        cmocka_unit_test(lines_of_the_built_in_model),
        cmocka_unit_test(lines_of_a_long_context),
        cmocka_unit_test(a_context_beyond_all_measure),
        cmocka_unit_test(freed_at_every_stage),
        cmocka_unit_test(a_refused_load_can_be_tried_again),
        cmocka_unit_test(bad_configurations),
        cmocka_unit_test(files_that_are_no_models),
        cmocka_unit_test(about_the_file),
        cmocka_unit_test(no_malloc_in_a_step),
    };
    return cmocka_run_group_tests_name("engine", tests, up, down);
}
