/* The same bits whatever runs beside a request: how its prompt came into memory (computed, shared, preempted, read
 * back from the spill file, forked), in what pieces, on how many threads and in what company changes no bit of its
 * logits. */
#include "../test.h"

#include <math.h>
#include <stdio.h>
#include <unistd.h>

#include "../model/model_build.h"
#include "base/log.h"
#include "engine/engine.h"

#ifdef PLIMSOLL_SANITIZED
enum { SANITIZED = 1 };
#else
enum { SANITIZED = 0 };
#endif

enum {
    N_PROMPT = 300,
    N_DECODED = SANITIZED ? 8 : 40,
    N_ROWS = N_DECODED + 1, /* the prompt's end, and after each decoded token */
    N_OTHERS = 15,
    N_CONTEXT = 512,
    N_BATCH = 640, /* a piece of the prompt and the first tokens of all others */
    N_SESSIONS = 48,
    POOL_PAGES = 128, /* of f16 */
    BROKEN_OFF = 218, /* where a session is preempted, remembered or forked: inside a page */
    DIVERGES = 77,
    WHOLE_PAGES = N_PROMPT / KV_PAGE_TOKENS * KV_PAGE_TOKENS,
    EVICTED = 4,
    WINDOW = 96,
    KEEP = 4,
    MODEL_WINDOW = 64,
};

typedef enum how { COLD, LIVE_PREFIX, REMEMBERED_PREFIX, PARKED, SPILLED, RESTARTED, FORKED, HOWS } how;
static const char *const how_names[HOWS] = {"cold",   "beside a session with the same beginning",
                                            "after a remembered session with the same prompt",
                                            "parked", "spilled", "spilled by an earlier engine", "forked"};

typedef struct subject { /* what all cases of a test have in common */
    const char *path;    /* of the model; NULL: the built-in one */
    kv_type type;
    uint32_t window, keep;
    uint32_t n_vocab;
    int32_t prompt[N_PROMPT];
    float *plain, *rows; /* N_ROWS of n_vocab: wanted, and of the case at hand */
} subject;

typedef struct loaded {
    mem_ledger ledger;
    engine *en;
    engine_plan plan;
} loaded;

/* What the cases have done in all: a case that never came about would pass unseen. */
typedef struct tally {
    uint32_t cases, shared_steps;
} tally;

static char directory[] = "/tmp/plimsoll-bits-XXXXXX", forged_path[64], sliding_path[64], mixed_path[64];
static char experts_path[64];
static char spill_path[64];

/* One more key of 96 bytes in front of the others, so that the tensors stay aligned: every n-th layer sees all. */
static void add_pattern(model_file *f, uint32_t n) {
    model_file with = {0};
    static const char padding[] = "twenty-one bytes more";
    mb_raw(&with, f->bytes, 24);
    mb_text(&with, "llama.attention.sliding_window_pattern"), mb_u32(&with, GGUF_U32), mb_u32(&with, n);
    mb_text(&with, "x"), mb_u32(&with, GGUF_STRING), mb_text(&with, padding);
    assert_int_equal(with.len, 24 + 96);
    mb_raw(&with, f->bytes + 24, f->len - 24);
    with.n_kvs = f->n_kvs + 2;
    memcpy(with.bytes + 16, &with.n_kvs, 8);
    free(f->bytes);
    f->bytes = with.bytes, f->len = with.len;
}

static void write_model(const char *path, uint32_t window, uint32_t pattern) {
    static model_file f;
    model_file_make(&f, &(model_spec){.n_vocab = 300,
                                      .n_layers = 3,
                                      .n_embd = 96,
                                      .n_heads = 6,
                                      .n_kv_heads = 3,
                                      .head_dim = 32,
                                      .n_ff = 128,
                                      .context = N_CONTEXT,
                                      .vocabulary = true,
                                      .seed = 11,
                                      .set_key = window ? "llama.attention.sliding_window" : NULL,
                                      .set_type = GGUF_U32,
                                      .set_value = window});
    if (pattern) add_pattern(&f, pattern);
    model_file_write(&f, path);
    model_file_free(&f);
}

static void write_experts(const char *path) {
    static model_file f;
    model_file_make(&f, &(model_spec){.arch = "qwen2moe",
                                      .n_vocab = 300,
                                      .n_layers = 2,
                                      .n_embd = 96,
                                      .n_heads = 6,
                                      .n_kv_heads = 3,
                                      .head_dim = 32,
                                      .n_ff = 128,
                                      .n_experts = 8,
                                      .n_experts_used = 3,
                                      .n_ff_exp = 64,
                                      .n_ff_shexp = 96,
                                      .type = DTYPE_Q8_0,
                                      .biases = true,
                                      .context = N_CONTEXT,
                                      .vocabulary = true,
                                      .seed = 12});
    model_file_write(&f, path);
    model_file_free(&f);
}

static int up(void **state) {
    (void)state;
    log_set_level(LOG_WARN);
    if (!mkdtemp(directory)) return -1;
    snprintf(forged_path, sizeof forged_path, "%s/forged.gguf", directory);
    snprintf(sliding_path, sizeof sliding_path, "%s/sliding.gguf", directory);
    snprintf(spill_path, sizeof spill_path, "%s/spill", directory);
    snprintf(mixed_path, sizeof mixed_path, "%s/mixed.gguf", directory);
    write_model(forged_path, 0, 0);
    write_model(sliding_path, MODEL_WINDOW, 0);
    write_model(mixed_path, MODEL_WINDOW, 2);
    snprintf(experts_path, sizeof experts_path, "%s/experts.gguf", directory);
    write_experts(experts_path);
    return 0;
}

static int down(void **state) {
    (void)state;
    unlink(forged_path), unlink(sliding_path), unlink(mixed_path), unlink(experts_path), unlink(spill_path);
    return rmdir(directory);
}

/* ---- engines with a small pool ---- */

static void load(loaded *x, const subject *sub, int n_threads, how way) {
    err e = {0};
    engine_config c;
    engine_config_default(&c);
    c.model_path = sub->path;
    c.kv_type = sub->type;
    c.n_threads = n_threads, c.n_sessions = N_SESSIONS, c.n_batch = c.n_logits = N_BATCH, c.n_context = N_CONTEXT;
    c.cache_entries = 16;
    if (way == SPILLED || way == RESTARTED) c.spill_path = spill_path, c.spill_bytes = 4 << 20;
    memset(x, 0, sizeof *x);
    mem_ledger_init(&x->ledger, UINT64_MAX);
    x->plan.rows.line_bytes = UINT64_MAX;
    if (!(x->en = engine_prepare(&c, &x->ledger, &e))) fail_msg("%s", e.message);
    assert_ok(engine_plan_make(x->en, &x->plan, &e), e);
    uint32_t wanted = (uint32_t)(POOL_PAGES / x->plan.kv_share[sub->type]);
    uint64_t line = x->plan.rows.total_bytes - (x->plan.n_pages - wanted) * x->plan.page_bytes;
    x->plan.rows.line_bytes = line + line / 63; /* some of it is left to requests */
    assert_ok(engine_plan_make(x->en, &x->plan, &e), e);
    assert_in_range(x->plan.n_pages, wanted / 2, wanted * 2);
    assert_ok(engine_load(x->en, &x->plan, NULL, NULL, &e), e);
    if (way == SPILLED || way == RESTARTED) kv_cache_note_speed(engine_kv(x->en), 1e6); /* reading pays */
}

static void unload(loaded *x) {
    mem_ledger_view books;
    engine_free(x->en);
    mem_ledger_read(&x->ledger, &books);
    assert_int_equal(books.now_bytes, 0);
}

static kv_cache_counts counts_of(const engine *en) {
    kv_cache_counts counts;
    kv_cache_read(engine_kv(en), &counts);
    return counts;
}

static kv_params terms_of(const subject *sub) {
    return (kv_params){.type = sub->type,
                      .window = sub->window,
                      .keep = sub->keep,
                      .share = true,
                      .publish_tokens = sub->window ? N_PROMPT : UINT32_MAX};
}

static engine_session *open_session(engine *en, const kv_params *params) {
    err e = {0};
    engine_session *s = engine_session_open(en, params, &e);
    if (!s) fail_msg("%s", e.message);
    return s;
}

static void random_tokens(uint32_t n_vocab, uint64_t seed, int32_t *tokens, uint32_t n) {
    rng r;
    rng_seed(&r, seed);
    for (uint32_t i = 0; i < n; i++) tokens[i] = (int32_t)(rng_next(&r) % n_vocab);
}

static void feed_alone(engine *en, engine_session *s, const int32_t *tokens, uint32_t n, uint32_t chunk) {
    err e = {0};
    for (uint32_t at = 0; at < n; at += chunk) {
        engine_batch_item item = {s, tokens + at, n - at < chunk ? n - at : chunk, ENGINE_WANT_NONE};
        assert_ok(engine_run(en, &item, &e), e);
    }
}

/* ---- company ---- */

typedef struct company {
    engine_session *sessions[N_OTHERS];
    uint32_t n; /* 0: alone */
    uint32_t steps;
} company;

/* Of every type, with and without a rotating window. */
static void invite(company *c, engine *en, const subject *sub) {
    c->n = N_OTHERS;
    for (uint32_t i = 0; i < c->n; i++) {
        kv_type type = (kv_type)((sub->type + i) % KV_TYPES);
        kv_params params = {.type = type, .share = i % 2, .publish_tokens = UINT32_MAX};
        if (i % 4 >= 2) params.window = 48, params.keep = i % 4 == 2 ? 0 : 5;
        c->sessions[i] = open_session(en, &params);
    }
}

static void send_off(company *c, engine *en) {
    for (uint32_t i = 0; i < c->n; i++)
        for (uint32_t k = 0; k < i; k++) /* their lengths differ */
            assert_int_not_equal(engine_session_length(c->sessions[i]), engine_session_length(c->sessions[k]));
    for (uint32_t i = 0; i < c->n; i++) engine_session_close(en, c->sessions[i]);
}

/* A step of ours among those of the others, a place further back each time; the logits of its last token. */
static const float *step(engine *en, const subject *sub, engine_session *s, const int32_t *tokens, uint32_t n,
                         company *c, tally *t) {
    static int32_t other_tokens[N_OTHERS][64];
    engine_batch_item items[N_OTHERS + 1];
    uint32_t n_items = 0, row = 0, mine = c->steps % (c->n + 1);
    err e = {0};
    for (uint32_t i = 0; i <= c->n; i++) {
        if (i == mine) items[n_items++] = (engine_batch_item){s, tokens, n, ENGINE_WANT_LAST};
        if (i == c->n) break;
        uint32_t n_theirs = c->steps ? 1 + 2 * (c->steps % N_OTHERS == i) : 2 + 3 * i;
        uint32_t want = i % 3; /* none, last, all */
        random_tokens(sub->n_vocab, 1000 * i + c->steps, other_tokens[i], n_theirs);
        if (i < mine) row += want == ENGINE_WANT_ALL ? n_theirs : want;
        items[n_items++] = (engine_batch_item){c->sessions[i], other_tokens[i], n_theirs, (engine_want)want};
    }
    for (uint32_t f = 0; f < n_items; f++)
        assert_ok(engine_session_reserve(en, items[f].session,
                                         engine_session_length(items[f].session) + items[f].n_tokens, &e), e);
    assert_ok(engine_step(en, items, n_items, NULL, &e), e);
    engine_step_commit(en, items, n_items);
    assert_int_equal(n_items, c->n + 1);
    t->shared_steps += n_items == N_OTHERS + 1;
    c->steps++;
    return engine_logits(en, row);
}

static int32_t greatest(const float *logits, uint32_t n) {
    uint32_t best = 0;
    for (uint32_t i = 1; i < n; i++)
        if (logits[i] > logits[best]) best = i;
    return (int32_t)best;
}

/* The rest of the prompt in pieces, then decoding; logits of the prompt's end and of each decoded token. */
static void go_on(engine *en, const subject *sub, engine_session *s, uint32_t chunk, company *c, tally *t,
                  float *rows) {
    const float *logits = NULL;
    for (uint32_t at = engine_session_length(s); at < N_PROMPT;) {
        uint32_t n = N_PROMPT - at < chunk ? N_PROMPT - at : chunk;
        logits = step(en, sub, s, sub->prompt + at, n, c, t);
        at += n;
    }
    for (uint32_t i = 0;; i++) {
        memcpy(rows + (size_t)i * sub->n_vocab, logits, sub->n_vocab * sizeof *rows);
        if (i == N_DECODED) break;
        int32_t next = greatest(logits, sub->n_vocab);
        logits = step(en, sub, s, &next, 1, c, t);
    }
    assert_int_equal(engine_session_length(s), N_PROMPT + N_DECODED);
}

/* ---- how the beginning of the prompt came to be known ---- */

/* Sessions that need pages until some that are remembered have gone. */
static void crowd_out(engine *en, const subject *sub, uint32_t n_pages) {
    err e = {0};
    kv_params params = {.type = sub->type};
    engine_session *crowd[N_SESSIONS];
    uint32_t n = 0;
    uint64_t before = counts_of(en).evicted_pages;
    while (counts_of(en).evicted_pages < before + n_pages) {
        assert_true(n < N_SESSIONS - 1);
        crowd[n] = open_session(en, &params);
        for (uint32_t held = KV_PAGE_TOKENS; held <= N_CONTEXT && counts_of(en).evicted_pages < before + n_pages;
             held += KV_PAGE_TOKENS)
            assert_ok(engine_session_reserve(en, crowd[n], held, &e), e);
        n++;
    }
    while (n-- > 0) engine_session_close(en, crowd[n]);
    assert_int_equal(counts_of(en).evicted_pages, before + n_pages);
}

static void remember(engine *en, const subject *sub, uint32_t n_shared, uint32_t n_own, kv_memory_of memory) {
    kv_params params = terms_of(sub);
    int32_t own[64];
    engine_session *s = open_session(en, &params);
    feed_alone(en, s, sub->prompt, n_shared, 48);
    random_tokens(sub->n_vocab, 5, own, n_own);
    feed_alone(en, s, own, n_own, 9);
    kv_sequence_close(engine_kv(en), s, &memory);
}

static engine_session *recall(engine *en, const subject *sub, uint32_t least, uint32_t most) {
    kv_params params = terms_of(sub);
    engine_session *s = open_session(en, &params);
    uint32_t known = kv_sequence_match_prefix(engine_kv(en), s, sub->prompt, N_PROMPT - 1);
    assert_in_range(known, least, most);
    assert_int_equal(engine_session_length(s), known);
    return s;
}

static void spill_all(engine *en) {
    kv_cache_counts before = counts_of(en), after;
    kv_cache_evict(engine_kv(en), 0);
    after = counts_of(en);
    assert_true(after.spilled_pages - before.spilled_pages >= kv_pages_for(BROKEN_OFF));
    assert_int_equal(after.pool.used_pages, 0);
}

/* Ours, with the beginning of the prompt; *donor, where there is one, stays open beside it and goes its own way. */
static engine_session *begin(loaded *x, const subject *sub, how way, int n_threads, engine_session **donor) {
    kv_params params = terms_of(sub);
    int32_t own[64];
    kv_cache_counts before = counts_of(x->en);
    engine_session *s;
    random_tokens(sub->n_vocab, 6, own, 64);
    switch (way) {
    case COLD:
        return recall(x->en, sub, 0, 0);
    case LIVE_PREFIX: /* another conversation parts from ours inside a page, and is still going on */
        *donor = open_session(x->en, &params);
        feed_alone(x->en, *donor, sub->prompt, DIVERGES, 48);
        feed_alone(x->en, *donor, own, 64, 9);
        s = recall(x->en, sub, DIVERGES, DIVERGES);
        assert_true(counts_of(x->en).hits > before.hits);
        return s;
    case REMEMBERED_PREFIX: /* all of the prompt is known but the token whose logits are wanted */
        remember(x->en, sub, N_PROMPT, 40, (kv_memory_of){0});
        if (sub->window) return recall(x->en, sub, WHOLE_PAGES, WHOLE_PAGES);
        return recall(x->en, sub, N_PROMPT - 1, N_PROMPT - 1);
    case PARKED:
        remember(x->en, sub, BROKEN_OFF, 0, (kv_memory_of){.preempted_for = 1});
        crowd_out(x->en, sub, EVICTED);
        return recall(x->en, sub, 1, (kv_pages_for(BROKEN_OFF) - EVICTED) * KV_PAGE_TOKENS);
    case SPILLED:
        remember(x->en, sub, BROKEN_OFF, 0, (kv_memory_of){0});
        spill_all(x->en);
        s = recall(x->en, sub, BROKEN_OFF, BROKEN_OFF);
        assert_int_equal(counts_of(x->en).restored_pages - before.restored_pages, kv_pages_for(BROKEN_OFF));
        assert_int_equal(counts_of(x->en).bad_pages, 0);
        return s;
    case RESTARTED:
        remember(x->en, sub, BROKEN_OFF, 0, (kv_memory_of){0});
        unload(x);
        load(x, sub, n_threads, way);
        s = recall(x->en, sub, BROKEN_OFF, BROKEN_OFF);
        assert_int_equal(counts_of(x->en).restored_pages, kv_pages_for(BROKEN_OFF));
        return s;
    default: /* a branch; where it came from goes on with something else in the same page */
        *donor = open_session(x->en, &params);
        feed_alone(x->en, *donor, sub->prompt, BROKEN_OFF, 48);
        s = open_session(x->en, &params);
        kv_sequence_fork(engine_kv(x->en), *donor, s);
        assert_int_equal(engine_session_length(s), BROKEN_OFF);
        feed_alone(x->en, *donor, own, 40, 9);
        assert_true(counts_of(x->en).copied_pages > before.copied_pages);
        return s;
    }
}

/* ---- the cases ---- */

static void one_case(loaded *x, const subject *sub, how way, int n_threads, uint32_t chunk, bool among, float *rows,
                     tally *t) {
    company c = {0};
    engine_session *donor = NULL, *s = begin(x, sub, way, n_threads, &donor);
    if (among) invite(&c, x->en, sub);
    go_on(x->en, sub, s, chunk, &c, t, rows);
    kv_cache_check(engine_kv(x->en));
    send_off(&c, x->en);
    engine_session_close(x->en, s);
    if (donor) engine_session_close(x->en, donor);
    kv_cache_clear(engine_kv(x->en));
    kv_cache_check(engine_kv(x->en));
    assert_int_equal(counts_of(x->en).pool.used_pages, 0);
    t->cases++;
}

static void plain_case(subject *sub) {
    loaded x;
    tally t = {0};
    load(&x, sub, 1, COLD);
    sub->n_vocab = engine_model_desc(x.en)->n_vocab;
    random_tokens(sub->n_vocab, 7, sub->prompt, N_PROMPT);
    sub->plain = calloc((size_t)N_ROWS * sub->n_vocab, sizeof *sub->plain);
    sub->rows = calloc((size_t)N_ROWS * sub->n_vocab, sizeof *sub->rows);
    one_case(&x, sub, COLD, 1, 256, false, sub->plain, &t);
    for (size_t i = 0; i < (size_t)N_ROWS * sub->n_vocab; i++) assert_true(isfinite(sub->plain[i]));
    unload(&x);
}

static void compare(const subject *sub, how way, int n_threads, uint32_t chunk, bool among) {
    for (uint32_t i = 0; i < N_ROWS; i++) {
        size_t at = (size_t)i * sub->n_vocab, bytes = sub->n_vocab * sizeof(float);
        if (memcmp(sub->rows + at, sub->plain + at, bytes))
            fail_msg("%s, pieces of %u, %d threads, %s, %s: other bits than alone at position %u", how_names[way],
                     chunk, n_threads, among ? "among 16" : "alone", compute_kv_name(sub->type), N_PROMPT - 1 + i);
    }
}

static void every_case(subject *sub) {
    tally t = {0};
    plain_case(sub);
    for (int n_threads = SANITIZED ? 2 : 1; n_threads <= 2; n_threads++)
        for (how way = COLD; way < HOWS; way++) {
            loaded x;
            if (SANITIZED && !sub->path && way != COLD && way != SPILLED) continue; /* kernels take their time */
            load(&x, sub, n_threads, way);
            for (int i = SANITIZED ? 1 : 0; i < (SANITIZED ? 2 : 4); i++) {
                uint32_t chunk = i / 2 ? 256 : 64;
                bool among = i % 2;
                memset(sub->rows, 0, (size_t)N_ROWS * sub->n_vocab * sizeof *sub->rows);
                one_case(&x, sub, way, n_threads, chunk, among, sub->rows, &t);
                compare(sub, way, n_threads, chunk, among);
            }
            unload(&x);
            unlink(spill_path);
        }
    assert_int_equal(t.cases, SANITIZED ? (sub->path ? HOWS : 2) : HOWS * 2 * 4);
    assert_true(t.shared_steps >= t.cases / 2 * N_ROWS);
    free(sub->plain), free(sub->rows);
}

static void built_in_f16(void **state) { (void)state, every_case(&(subject){.type = COMPUTE_KV_F16}); }
static void built_in_q8(void **state) { (void)state, every_case(&(subject){.type = COMPUTE_KV_Q8}); }
static void built_in_q4(void **state) { (void)state, every_case(&(subject){.type = COMPUTE_KV_Q4}); }

static void windows(void **state) {
    (void)state;
    for (kv_type type = COMPUTE_KV_F16; type < (SANITIZED ? 1 : KV_TYPES); type++)
        every_case(&(subject){.path = forged_path, .type = type, .window = WINDOW, .keep = KEEP});
}

/* Layers that the model itself windows: pages go, and none are kept. */
static void a_models_own_window(void **state) {
    (void)state;
    loaded x;
    subject sub = {.path = sliding_path, .type = COMPUTE_KV_Q8};
    load(&x, &sub, 1, COLD);
    assert_int_equal(engine_model_desc(x.en)->kv.groups[0].window, MODEL_WINDOW);
    unload(&x);
    every_case(&sub);
}

/* Two groups of pages for one sequence, of which one goes as the window moves; a window of its own over both. */
static void layers_with_and_without_a_window(void **state) {
    (void)state;
    loaded x;
    subject sub = {.path = mixed_path, .type = COMPUTE_KV_Q8}, windowed = {.path = mixed_path, .window = WINDOW};
    load(&x, &sub, 1, COLD);
    assert_int_equal(engine_model_desc(x.en)->kv.n_groups, 2);
    unload(&x);
    every_case(&sub);
    windowed.keep = KEEP;
    if (!SANITIZED) every_case(&windowed);
}

/* Tokens meet those of others at their experts, in groups of all sizes. */
static void experts(void **state) {
    (void)state;
    every_case(&(subject){.path = experts_path, .type = COMPUTE_KV_F16});
}

/* The comparison must be able to fail: other pages give other bits, and so does another window. */
static void other_terms_are_noticed(void **state) {
    (void)state;
    subject plain = {.path = forged_path, .type = COMPUTE_KV_F16};
    plain_case(&plain);
    for (int i = 0; i < 3; i++) {
        subject other = {.path = forged_path, .type = i == 0 ? COMPUTE_KV_Q8 : COMPUTE_KV_F16};
        if (i > 0) other.window = WINDOW, other.keep = i == 1 ? KEEP : 0;
        plain_case(&other);
        assert_memory_not_equal(plain.plain, other.plain, plain.n_vocab * sizeof(float));
        free(other.plain), free(other.rows);
    }
    free(plain.plain), free(plain.rows);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(built_in_f16), cmocka_unit_test(built_in_q8), cmocka_unit_test(built_in_q4),
        cmocka_unit_test(windows),      cmocka_unit_test(a_models_own_window),
        cmocka_unit_test(layers_with_and_without_a_window), cmocka_unit_test(experts),
        cmocka_unit_test(other_terms_are_noticed),
    };
    return cmocka_run_group_tests_name("bits", tests, up, down);
}
