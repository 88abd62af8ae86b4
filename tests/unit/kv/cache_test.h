/* A cache and sequences whose pages hold bytes that tell whose they are: derived from the sequence's params, the
 * position, and every token up to it. So whatever a sequence can see can be checked against what it must be. */
#ifndef TESTS_UNIT_KV_CACHE_TEST_H
#define TESTS_UNIT_KV_CACHE_TEST_H

#include "../test.h"

#include <stdio.h>
#include <unistd.h>

#include "base/check.h"
#include "base/log.h"
#include "base/rng.h"
#include "kv/internal.h"

enum { MOST_TOKENS = 4096, MOST_SEQUENCES = 8 };

/* The file of a test program: a group's setup and teardown. */
static char spill_path[64];

static inline int spill_path_up(void **state) {
    (void)state;
    snprintf(spill_path, sizeof spill_path, "/tmp/plimsoll-%d.spill", (int)getpid());
    return 0;
}

static inline int spill_path_down(void **state) {
    (void)state;
    (void)unlink(spill_path);
    return 0;
}

typedef struct world {
    kv_cache_config config;
    mem_ledger ledger;
    kv_cache *c;
    uint64_t now_ms;
} world;

typedef struct seq {
    kv_sequence *s;
    kv_params params;
    uint32_t n; /* tokens it holds */
    int32_t tokens[MOST_TOKENS];
    uint64_t marks[MOST_TOKENS];
} seq;

/* ---- a world ---- */

static inline kv_shape plain_shape(void) { return kv_shape_make(2, 1, 32, 32, 0, NULL); } /* 4 KiB a page */
static inline kv_shape wide_shape(void) { return kv_shape_make(2, 2, 128, 128, 0, NULL); }  /* 32, 20 and 12 KiB */
static inline kv_shape mixed_shape(uint32_t window) {
    return kv_shape_make(2, 1, 32, 32, window, (const bool[]){false, true}); /* 4 KiB and 4 KiB */
}

/* Windowed layers of smaller heads beside a full one, and one that reads another's pages: 8 and 12 KiB in f16. */
static inline kv_shape unlike_shape(uint32_t window) {
    const kv_layer full = {.kind = KV_PAGED, .n_kv_heads = 1, .head_dim = 128, .head_dim_v = 128};
    const kv_layer narrow = {.kind = KV_PAGED, .n_kv_heads = 2, .head_dim = 64, .head_dim_v = 32, .window = window};
    kv_shape s;
    CHECK(kv_shape_of_layers(&s, (kv_layer[]){narrow, full, narrow, {.shares = true, .source = 1}}, 4, NULL));
    return s;
}
static inline kv_shape latent_shape(void) {
    const kv_layer latent = {.kind = KV_LATENT, .n_kv_heads = 1, .head_dim = 96, .head_dim_v = 64};
    kv_shape s;
    CHECK(kv_shape_of_layers(&s, (kv_layer[]){latent, latent}, 2, NULL));
    return s;
}

static inline kv_cache_config config_of(kv_shape shape, uint32_t n_pages) {
    return (kv_cache_config){.shape = shape,
                             .type = COMPUTE_KV_F16,
                             .pool_bytes = n_pages * kv_set_bytes(&shape, COMPUTE_KV_F16),
                             .n_sequences = MOST_SEQUENCES,
                             .n_context = 512,
                             .n_batch = 32,
                             .max_entries = 16,
                             .matmul_macs = 1e6,
                             .attend_macs = 100,
                             .identity = {1, 2}};
}

/* With a new spill file of so many slots. */
static inline kv_cache_config spilling(kv_shape shape, uint32_t n_pages, uint32_t n_slots) {
    (void)unlink(spill_path);
    kv_cache_config c = config_of(shape, n_pages);
    c.spill_path = spill_path;
    c.spill_bytes = 4096 * 3 + (n_slots + 1) * kv_set_bytes(&shape, c.type);
    return c;
}

static inline uint64_t ledger_bytes(world *w) {
    mem_ledger_view v;
    mem_ledger_read(&w->ledger, &v);
    return v.now_bytes;
}

static inline void world_open(world *w) {
    err e = {0};
    mem_ledger_init(&w->ledger, UINT64_MAX);
    assert_ok(w->c = kv_cache_new(&w->config, &w->ledger, &e), e);
    kv_cache_check(w->c);
    kv_cache_tick(w->c, w->now_ms += 1000);
    assert_int_equal(ledger_bytes(w), kv_cache_plan_bytes(&w->config) + kv_cache_spill_plan_bytes(&w->config) +
                                          kv_pool_bytes(kv_cache_pool(w->c)));
}

static inline void world_up(world *w, kv_cache_config config) {
    *w = (world){.config = config};
    world_open(w);
}

static inline void world_down(world *w) {
    kv_cache_check(w->c);
    kv_cache_free(w->c);
    assert_int_equal(ledger_bytes(w), 0);
}

static inline kv_cache_counts counts(const world *w) {
    kv_cache_counts c;
    kv_cache_check(w->c);
    kv_cache_read(w->c, &c);
    return c;
}

static inline uint32_t used_pages(const world *w) { return counts(w).pool.used_pages; }

static inline void tick(world *w, uint64_t more_ms) {
    kv_cache_tick(w->c, w->now_ms += more_ms);
    kv_cache_check(w->c);
}

static inline kv_params sharing(void) { return (kv_params){.share = true, .publish_tokens = UINT32_MAX}; }

/* ---- what pages hold ---- */

static inline uint64_t mark_after(uint64_t before, int32_t token) {
    uint64_t state = before ^ (uint64_t)(uint32_t)token;
    return rng_splitmix(&state);
}

static inline uint64_t mark_of_terms(const kv_params *t) {
    return mark_after(mark_after(mark_after(t->tenant, (int32_t)t->type), (int32_t)t->window), (int32_t)t->keep);
}

static inline uint8_t *strip_of(const world *w, const device_kv_view *v, uint32_t group, uint32_t position,
                                size_t *bytes) {
    uint8_t *page = v->pages[compute_kv_entry(position / KV_PAGE_TOKENS, v->sink_pages, v->ring_pages)];
    *bytes = kv_page_bytes(&w->config.shape, group, v->type) / KV_PAGE_TOKENS;
    return page + position % KV_PAGE_TOKENS * *bytes;
}

static inline void write_token(const world *w, const seq *q, uint32_t position, uint64_t mark) {
    for (uint32_t g = 0; g < w->config.shape.n_groups; g++) {
        size_t bytes;
        device_kv_view v = kv_sequence_view(w->c, q->s, g, position);
        uint8_t *strip = strip_of(w, &v, g, position, &bytes);
        uint64_t words[2] = {mark + g, ~mark};
        memcpy(strip, words, sizeof words);
        memcpy(strip + bytes - sizeof words, words, sizeof words);
    }
}

static inline void check_token(const world *w, const seq *q, const device_kv_view *v, uint32_t g,
                               uint32_t position) {
    size_t bytes;
    const uint8_t *strip = strip_of(w, v, g, position, &bytes);
    uint64_t words[2] = {q->marks[position] + g, ~q->marks[position]};
    if (memcmp(strip, words, sizeof words) || memcmp(strip + bytes - sizeof words, words, sizeof words))
        fail_msg("position %u of %u in group %u holds other bytes", position, q->n, g);
}

/* What a token at a position sees, told apart from the cache's own sums. */
static inline bool sees(const world *w, const kv_params *t, uint32_t g, uint32_t position, uint32_t other) {
    uint32_t model = w->config.shape.groups[g].window;
    bool by_model = !model || position - other < model;
    if (!t->window) return by_model;
    if (other < t->keep && (!model || t->window <= model)) return true;
    return by_model && position - other < t->window - t->keep;
}

/* Everything that a token at position would see, itself left out. */
static inline void check_view(const world *w, const seq *q, uint32_t position) {
    for (uint32_t g = 0; g < w->config.shape.n_groups; g++) {
        device_kv_view v = kv_sequence_view(w->c, q->s, g, position);
        assert_int_equal(v.position, position);
        assert_int_equal(v.type, q->params.type);
        for (uint32_t other = 0; other < position; other++) {
            bool seen = other < v.keep || other >= v.first;
            assert_int_equal(seen, sees(w, &q->params, g, position, other));
            if (seen) check_token(w, q, &v, g, other);
        }
    }
}

/* ---- sequences ---- */

static inline void seq_open(world *w, seq *q, kv_params params) {
    err e = {0};
    q->params = params;
    q->n = 0;
    assert_ok(q->s = kv_sequence_open(w->c, &params, &e), e);
    kv_cache_check(w->c);
}

static inline void hold(seq *q, const int32_t *tokens, uint32_t n) {
    for (uint32_t i = 0; i < n; i++, q->n++) {
        assert_true(q->n < MOST_TOKENS);
        q->tokens[q->n] = tokens[i];
        q->marks[q->n] = mark_after(q->n ? q->marks[q->n - 1] : mark_of_terms(&q->params), tokens[i]);
    }
}

/* tokens: the whole prompt. How many the sequence holds then. */
static inline uint32_t seq_recall(world *w, seq *q, const int32_t *tokens, uint32_t n_most) {
    uint32_t n = kv_sequence_match_prefix(w->c, q->s, tokens, n_most);
    assert_true(n >= q->n && (n <= n_most || n == q->n));
    if (n > q->n) hold(q, tokens + q->n, n - q->n);
    kv_cache_check(w->c);
    check_view(w, q, q->n);
    return n;
}

/* One batch, as the engine does it: pages, all tokens stored, each looks back, done. */
static inline bool seq_try(world *w, seq *q, const int32_t *tokens, uint32_t n, err *e) {
    uint32_t before = q->n;
    if (!kv_sequence_prepare(w->c, q->s, n, e)) {
        kv_cache_check(w->c);
        assert_int_equal(kv_sequence_tokens(q->s), before);
        check_view(w, q, before);
        return false;
    }
    kv_cache_check(w->c);
    hold(q, tokens, n);
    for (uint32_t i = before; i < q->n; i++) write_token(w, q, i, q->marks[i]);
    check_view(w, q, before);
    check_view(w, q, q->n - 1);
    kv_sequence_commit(w->c, q->s, tokens, n);
    kv_cache_check(w->c);
    assert_int_equal(kv_sequence_tokens(q->s), q->n);
    check_view(w, q, q->n);
    return true;
}

static inline void seq_feed(world *w, seq *q, const int32_t *tokens, uint32_t n) {
    for (err e = {0}; n > 0;) {
        uint32_t batch = n < w->config.n_batch ? n : w->config.n_batch;
        assert_ok(seq_try(w, q, tokens, batch, &e), e);
        tokens += batch;
        n -= batch;
    }
}

/* What the index knows, and the rest computed. */
static inline uint32_t seq_run(world *w, seq *q, const int32_t *tokens, uint32_t n) {
    uint32_t known = seq_recall(w, q, tokens, n - 1);
    seq_feed(w, q, tokens + q->n, n - q->n);
    return known;
}

static inline void seq_close(world *w, seq *q, const kv_memory_of *memory) {
    kv_sequence_close(w->c, q->s, memory);
    q->s = NULL;
    kv_cache_check(w->c);
}

/* Opens, runs, closes and remembers; returns what was known. */
static inline uint32_t converse(world *w, kv_params params, const int32_t *tokens, uint32_t n, kv_memory_of memory) {
    static seq q;
    seq_open(w, &q, params);
    uint32_t known = seq_run(w, &q, tokens, n);
    seq_close(w, &q, &memory);
    return known;
}

/* How much of a prompt comes back, without computing or keeping anything. */
static inline uint32_t known_of(world *w, kv_params params, const int32_t *tokens, uint32_t n) {
    static seq q;
    seq_open(w, &q, params);
    uint32_t known = seq_recall(w, &q, tokens, n);
    seq_close(w, &q, NULL);
    return known;
}

/* Text number `text`, which leaves that number 0 at token `from`. */
static inline void text_of(int32_t *tokens, uint32_t n, int32_t text, uint32_t from) {
    for (uint32_t i = 0; i < n; i++) tokens[i] = (int32_t)i + (i < from ? 0 : text * 1000000);
}

#endif
