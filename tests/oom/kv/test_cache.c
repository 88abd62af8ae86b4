/* The KV cache with the N-th reservation refused, for every N of a life with a spill file: an error where there must
 * be one, nothing leaked, and what goes on goes on right. */
#include "../../unit/kv/cache_test.h"

static kv_cache_config config(void) {
    kv_cache_config c = spilling(mixed_shape(32), 20, 18);
    c.max_entries = 4;
    return c;
}

/* A batch that is refused is tried once more: the refusal was one. */
static uint32_t feed(world *w, seq *q, const int32_t *tokens, uint32_t n) {
    uint32_t refused = 0;
    for (uint32_t done = 0; done < n; done += KV_PAGE_TOKENS) {
        err e = {0};
        if (seq_try(w, q, tokens + done, KV_PAGE_TOKENS, &e)) continue;
        assert_int_equal(e.code, ERR_MEMORY);
        refused++;
        assert_ok(seq_try(w, q, tokens + done, KV_PAGE_TOKENS, &e), e);
    }
    return refused;
}

/* Two conversations that share, a branch, eviction to the file and back, pages of another type. */
static uint32_t live(world *w) {
    static seq a, b;
    int32_t one[160], two[160];
    uint32_t refused = 0;
    text_of(one, 160, 1, 50);
    text_of(two, 160, 2, 50);
    kv_cache_note_speed(w->c, 1e6);
    seq_open(w, &a, sharing());
    refused += feed(w, &a, one, 80);
    seq_open(w, &b, sharing());
    uint32_t known = seq_recall(w, &b, two, 79);
    assert_true(known == 50 || !w->ledger.fail_countdown); /* a refusal may have cost what lay behind a's window */
    refused += feed(w, &b, two + known, 32);
    seq_close(w, &a, &(kv_memory_of){0});
    seq_open(w, &a, b.params);
    kv_sequence_fork(w->c, b.s, a.s);
    hold(&a, two, b.n);
    refused += feed(w, &a, two + a.n, 32);
    seq_close(w, &a, &(kv_memory_of){.pin = true});
    seq_close(w, &b, &(kv_memory_of){.preempted_for = 1});
    kv_cache_evict(w->c, 0);
    kv_pool_trim(kv_cache_pool(w->c), 0);
    seq_open(w, &a, sharing());
    known = seq_recall(w, &a, one, 80); /* read back; a page that finds no memory ends it */
    refused += feed(w, &a, one + known, 80 - known / KV_PAGE_TOKENS * KV_PAGE_TOKENS);
    kv_params t = sharing();
    t.type = COMPUTE_KV_Q4;
    seq_open(w, &b, t);
    refused += feed(w, &b, two, 32);
    seq_close(w, &a, &(kv_memory_of){0});
    seq_close(w, &b, NULL);
    return refused;
}

static void starting(void **state) {
    (void)state;
    kv_cache_config c = config();
    uint64_t n = 0;
    for (kv_cache *cache = NULL; !cache;) {
        mem_ledger l;
        err e = {0};
        mem_ledger_init(&l, UINT64_MAX);
        mem_ledger_fail_nth(&l, ++n);
        cache = kv_cache_new(&c, &l, &e);
        mem_ledger_fail_nth(&l, 0);
        mem_ledger_view v;
        if (!cache) assert_int_equal(e.code, ERR_MEMORY);
        kv_cache_free(cache);
        mem_ledger_read(&l, &v);
        assert_int_equal(v.now_bytes, 0);
    }
    assert_int_equal(n, 4); /* the index, the pool, the spill file, and then none */
}

static void living(void **state) {
    (void)state;
    uint32_t refused = 0, n = 0;
    for (bool reached = true; reached;) {
        world w;
        world_up(&w, config());
        mem_ledger_fail_nth(&w.ledger, ++n);
        refused += live(&w);
        reached = w.ledger.fail_countdown == 0;
        mem_ledger_fail_nth(&w.ledger, 0);
        world_down(&w);
    }
    assert_true(n > 20); /* pages are what is refused after the start */
    assert_true(refused > 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(starting),
        cmocka_unit_test(living),
    };
    log_set_level(LOG_ERROR);
    return cmocka_run_group_tests_name("kv_cache", tests, spill_path_up, spill_path_down);
}
