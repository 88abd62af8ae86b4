/* The cache as a whole: sharing never shows another's bytes, what is remembered makes way and comes back, windows hold
 * what they must, and any order of operations leaves every page with as many references as it has holders. */
#include "cache_test.h"

#include <fcntl.h>
#include <sys/stat.h>

static char path[64];

/* ---- any order of operations ---- */

typedef struct life {
    world w;
    rng r;
    seq seqs[MOST_SEQUENCES];
    uint32_t limit[MOST_SEQUENCES]; /* tokens it may come to */
    int32_t text[MOST_SEQUENCES];
    uint32_t from[MOST_SEQUENCES];
    uint64_t refusals, hits;
} life;

static uint32_t below(life *l, uint32_t n) { return (uint32_t)(rng_next(&l->r) % n); }

static kv_terms terms_by_chance(life *l) {
    kv_terms t = sharing();
    t.tenant = below(l, 8) == 0;
    t.type = below(l, 6) ? COMPUTE_KV_F16 : (kv_type)below(l, KV_TYPES);
    t.share = below(l, 10) > 0;
    if (below(l, 4) == 0) t.window = 64 + below(l, 2) * 50, t.keep = below(l, 2) * 33;
    if (t.window || below(l, 6) == 0) t.publish_tokens = below(l, 400);
    return t;
}

static void text_at(life *l, uint32_t i, int32_t *tokens) { text_of(tokens, MOST_TOKENS, l->text[i], l->from[i]); }

static void begin(life *l, uint32_t i) {
    static int32_t tokens[MOST_TOKENS];
    seq *q = &l->seqs[i];
    kv_terms t = terms_by_chance(l);
    l->text[i] = (int32_t)below(l, 4);
    l->from[i] = below(l, 250);
    l->limit[i] = t.window ? 900 : 40 + below(l, 300);
    text_at(l, i, tokens);
    seq_open(&l->w, q, t);
    size_t in_use;
    uint32_t most = l->limit[i] - 1, peeked = kv_cache_peek(l->w.c, &t, tokens, most, &in_use);
    uint32_t known = seq_recall(&l->w, q, tokens, most);
    assert_true(known <= peeked); /* what cannot be brought back is computed */
    l->hits += known > 0;
}

static bool alone(life *l, const seq *q) {
    for (uint32_t i = 0; i < MOST_SEQUENCES; i++)
        if (l->seqs[i].s && &l->seqs[i] != q) return false;
    return true;
}

static void go_on(life *l, uint32_t i) {
    static int32_t tokens[MOST_TOKENS];
    seq *q = &l->seqs[i];
    text_at(l, i, tokens);
    if (q->n && below(l, 4) == 0) seq_recall(&l->w, q, tokens, l->limit[i] - 1);
    uint32_t most = l->limit[i] - q->n, n = below(l, 64) + 1;
    if (most == 0) return;
    if (n > most) n = most;
    err e = {0};
    kv_pool_counts pool;
    kv_pool_read(kv_cache_pool(l->w.c), &pool);
    bool must = alone(l, q) && !counts(&l->w).pinned_bytes &&
                kv_cache_bytes_for(l->w.c, &q->terms, q->n + n) <= pool.budget_bytes;
    if (seq_try(&l->w, q, tokens + q->n, n, &e)) return;
    assert_true(e.code == ERR_BUSY || e.code == ERR_MEMORY);
    assert_false(must); /* whoever is alone gets what the pool has */
    l->refusals++;
}

static void end(life *l, uint32_t i) {
    kv_memory_of m = {.pin = below(l, 12) == 0, .parked = below(l, 5) == 0};
    if (below(l, 3) == 0) m.ttl_ms = 1 + below(l, 5000);
    seq_close(&l->w, &l->seqs[i], below(l, 4) ? &m : NULL);
}

static void branch(life *l, uint32_t i) {
    for (uint32_t to = 0; to < MOST_SEQUENCES; to++) {
        seq *q = &l->seqs[to], *from = &l->seqs[i];
        if (q->s) continue;
        seq_open(&l->w, q, from->terms);
        kv_sequence_fork(l->w.c, from->s, q->s);
        hold(q, from->tokens, from->n);
        l->text[to] = (int32_t)below(l, 4);
        l->from[to] = q->n > l->from[i] ? q->n : l->from[i];
        if (q->n > l->from[i]) l->text[to] = l->text[i], l->from[to] = l->from[i];
        l->limit[to] = l->limit[i];
        kv_cache_check(l->w.c);
        check_view(&l->w, q, q->n);
        return;
    }
}

static void go_back(life *l, uint32_t i) {
    seq *q = &l->seqs[i];
    uint32_t to = below(l, q->n + 1), left = kv_sequence_rewind(l->w.c, q->s, to);
    bool windowed = q->terms.window || l->w.config.shape.n_groups > 1;
    assert_true(left == to || (windowed && left == 0));
    assert_int_equal(kv_sequence_tokens(q->s), left);
    q->n = left;
    kv_cache_check(l->w.c);
    check_view(&l->w, q, q->n);
}

/* All others end and nothing is pinned: whoever is left gets all that the pool has. */
static void have_it_all(life *l, uint32_t i) {
    for (uint32_t other = 0; other < MOST_SEQUENCES; other++)
        if (other != i && l->seqs[other].s) end(l, other);
    while (kv_cache_unpin_one(l->w.c)) {
    }
    for (uint64_t before = l->refusals; l->seqs[i].n < l->limit[i] && l->refusals == before;) go_on(l, i);
}

static void manage(life *l) {
    kv_cache *c = l->w.c;
    kv_pool_counts pool;
    kv_pool_read(kv_cache_pool(c), &pool);
    kv_removed gone;
    kv_entry_view v;
    switch (below(l, 12)) {
    case 0: kv_cache_evict(c, (size_t)below(l, 40) * 4096); break;
    case 1: if (below(l, 20) == 0) kv_cache_clear(c); break;
    case 2: kv_cache_unpin_one(c); break;
    case 3: kv_pool_resize(kv_cache_pool(c), (size_t)(30 + below(l, 60)) * 4096); break;
    case 4: kv_pool_trim(kv_cache_pool(c), (size_t)below(l, 20) * 4096); break;
    case 5: if (kv_cache_entry(c, below(l, 8), &v)) assert_true(kv_cache_remove(c, v.id, &gone)); break;
    case 6: kv_cache_write_behind(c, below(l, 4)); break;
    default: tick(&l->w, below(l, 700));
    }
    kv_cache_check(c);
}

static void live(uint64_t seed, kv_cache_config config, int operations) {
    static life l;
    memset(&l, 0, sizeof l);
    rng_seed(&l.r, seed);
    world_up(&l.w, config);
    if (seed % 2) kv_cache_note_speed(l.w.c, 1e6); /* anything is better read than computed */
    for (int i = 0; i < operations; i++) {
        uint32_t at = below(&l, MOST_SEQUENCES), what = below(&l, 100);
        if (!l.seqs[at].s) begin(&l, at);
        else if (what < 55) go_on(&l, at);
        else if (what < 70) end(&l, at);
        else if (what < 75) branch(&l, at);
        else if (what < 80) go_back(&l, at);
        else if (what < 82) have_it_all(&l, at);
        else manage(&l);
    }
    for (uint32_t i = 0; i < MOST_SEQUENCES; i++)
        if (l.seqs[i].s) end(&l, i);
    kv_cache_counts end_counts = counts(&l.w);
    if (getenv("KV_LIFE"))
        print_message("seed %d: %d refused, %d hits, %d evicted, %d copied, %d spilled, %d restored\n", (int)seed,
                      (int)l.refusals, (int)l.hits, (int)end_counts.evicted_pages, (int)end_counts.copied_pages,
                      (int)end_counts.spilled_pages, (int)end_counts.restored_pages);
    world_down(&l.w);
}

static kv_cache_config small_life(kv_shape shape, uint32_t pool_pages, bool spill) {
    kv_cache_config c = config_of(shape, 1);
    c.pool_bytes = pool_pages * (size_t)4096;
    c.n_context = 512;
    c.max_entries = 6;
    c.ttl_ms = 20000;
    if (spill) c.spill_path = path, c.spill_bytes = (uint64_t)30 * kv_set_bytes(&shape, c.type) + 16384;
    return c;
}

static void any_order(void **state) {
    (void)state;
    const char *more = getenv("KV_LIFE");
    uint64_t first = more ? strtoull(more, NULL, 10) : 1, last = more ? first + 20 : 3;
    for (uint64_t seed = first; seed <= last; seed++) {
        (void)unlink(path);
        live(seed, small_life(plain_shape(), 80, false), 2000);
        live(seed, small_life(plain_shape(), 80, true), 2000);
        live(seed, small_life(mixed_shape(64), 80, false), 1500);
        live(seed, small_life(mixed_shape(40), 70, true), 1500);
        live(seed, small_life(plain_shape(), 24, true), 1000);
        live(seed, small_life(mixed_shape(64), 36, seed % 4 < 2), 1000);
        live(seed, small_life(wide_shape(), 90, false), 500);
    }
}

static int start(void **state) {
    (void)state;
    snprintf(path, sizeof path, "/tmp/plimsoll-kv-cache-%d", (int)getpid());
    return 0;
}

static int finish(void **state) {
    (void)state;
    (void)unlink(path);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(any_order),
    };
    log_set_level(LOG_ERROR);
    return cmocka_run_group_tests_name("kv_cache", tests, start, finish);
}
