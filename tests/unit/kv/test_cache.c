/* The cache as a whole: sharing never shows another's bytes, what is remembered makes way and comes back, windows
 * hold what they must, and any order of operations leaves every page with as many references as it has holders. */
#include "cache_test.h"
#include "damage.h"

enum { P = KV_PAGE_TOKENS };

/* ---- sharing ---- */

static void a_common_prefix_is_held_once(void **state) {
    (void)state;
    world w;
    static seq a, b;
    int32_t one[100], two[100];
    world_up(&w, config_of(plain_shape(), 32));
    text_of(one, 100, 1, 0);
    seq_open(&w, &a, sharing());
    assert_int_equal(seq_run(&w, &a, one, 100), 0);
    assert_int_equal(used_pages(&w), 7);
    seq_open(&w, &b, sharing());
    assert_int_equal(seq_run(&w, &b, one, 100), 96); /* six pages; the rest of a's is not full yet */
    assert_int_equal(used_pages(&w), 8);
    kv_sequence_counts held;
    kv_sequence_read(w.c, b.s, &held);
    assert_int_equal(held.pages, 7);
    assert_int_equal(held.shared_bytes, 6 * 4096);
    assert_int_equal(held.hit_tokens, 96);
    size_t in_use;
    kv_params t = sharing();
    assert_int_equal(kv_cache_peek(w.c, &t, one, 100, &in_use), 96);
    assert_int_equal(in_use, 6 * 4096);
    t.tenant = 7; /* no one learns another's prompts */
    assert_int_equal(kv_cache_peek(w.c, &t, one, 100, &in_use), 0);
    t.tenant = 0, t.type = COMPUTE_KV_Q8;
    assert_int_equal(known_of(&w, t, one, 100), 0);
    t.type = COMPUTE_KV_F16, t.share = false;
    assert_int_equal(known_of(&w, t, one, 100), 0);
    seq_close(&w, &a, NULL);
    assert_int_equal(used_pages(&w), 7); /* b goes on with them */
    check_view(&w, &b, b.n);
    text_of(two, 100, 2, 50);
    seq_close(&w, &b, NULL);
    assert_int_equal(used_pages(&w), 0); /* nothing asked to be remembered */
    assert_int_equal(counts(&w).nodes, 0);
    world_down(&w);
}

static void divergence_inside_a_page_copies_that_page(void **state) {
    (void)state;
    world w;
    static seq q;
    int32_t one[100], two[100];
    world_up(&w, config_of(plain_shape(), 32));
    text_of(one, 100, 1, 40);
    text_of(two, 100, 2, 40);
    converse(&w, sharing(), one, 100, (kv_memory_of){0});
    assert_int_equal(used_pages(&w), 6); /* the last 4 tokens are not worth a page */
    seq_open(&w, &q, sharing());
    assert_int_equal(seq_recall(&w, &q, two, 99), 40); /* two pages, and half of the third */
    assert_int_equal(used_pages(&w), 6);
    assert_int_equal(counts(&w).copied_pages, 0);
    seq_feed(&w, &q, two + 40, 10);
    assert_int_equal(counts(&w).copied_pages, 1);
    assert_int_equal(used_pages(&w), 8);
    seq_feed(&w, &q, two + 50, 50);
    assert_int_equal(counts(&w).copied_pages, 1);
    seq_close(&w, &q, &(kv_memory_of){0});
    assert_int_equal(known_of(&w, sharing(), one, 100), 96);
    assert_int_equal(known_of(&w, sharing(), two, 100), 96);
    assert_int_equal(used_pages(&w), 2 + 4 + 4);
    assert_int_equal(counts(&w).hits, 3);
    world_down(&w);
}

static void the_same_page_filled_twice_is_one(void **state) {
    (void)state;
    world w;
    static seq a, b;
    int32_t text[50];
    world_up(&w, config_of(plain_shape(), 32));
    text_of(text, 50, 1, 0);
    seq_open(&w, &a, sharing());
    seq_open(&w, &b, sharing());
    seq_feed(&w, &a, text, 10);
    seq_feed(&w, &b, text, 13);
    assert_int_equal(used_pages(&w), 2);
    seq_feed(&w, &a, text + 10, 25);
    assert_int_equal(used_pages(&w), 4);
    seq_feed(&w, &b, text + 13, 22); /* fills two that a has filled */
    assert_int_equal(used_pages(&w), 4);
    assert_int_equal(counts(&w).copied_pages, 0);
    for (uint32_t i = 0; i < 2; i++)
        assert_ptr_equal(kv_sequence_view(w.c, a.s, 0, 35).pages[i], kv_sequence_view(w.c, b.s, 0, 35).pages[i]);
    seq_close(&w, &a, NULL);
    seq_feed(&w, &b, text + 35, 15);
    seq_close(&w, &b, NULL);
    world_down(&w);
}

static void a_branch_shares_until_it_writes(void **state) {
    (void)state;
    world w;
    static seq a, b;
    int32_t one[50], two[50];
    world_up(&w, config_of(plain_shape(), 32));
    text_of(one, 50, 1, 25);
    text_of(two, 50, 2, 25);
    for (int share = 0; share < 2; share++) {
        kv_params t = sharing();
        t.share = share;
        uint64_t copied = counts(&w).copied_pages;
        seq_open(&w, &a, t);
        seq_feed(&w, &a, one, 25);
        err e = {0};
        assert_ok(kv_sequence_prepare(w.c, a.s, 20, &e), e); /* these pages are a's to write in */
        seq_open(&w, &b, t);
        kv_sequence_fork(w.c, a.s, b.s);
        hold(&b, one, 25);
        assert_int_equal(used_pages(&w), 3);
        seq_feed(&w, &b, two + 25, 20);
        seq_feed(&w, &a, one + 25, 20);
        check_view(&w, &a, 45);
        check_view(&w, &b, 45);
        assert_int_equal(used_pages(&w), 1 + 2 + 2);
        assert_int_equal(counts(&w).copied_pages, copied + 1); /* the other keeps the page as its own */
        seq_close(&w, &a, NULL);
        check_view(&w, &b, 45);
        seq_close(&w, &b, NULL);
        assert_int_equal(used_pages(&w), 0);
    }
    world_down(&w);
}

/* A branch that went back and was remembered has put the page into the index that the other writes in. */
static void a_page_is_in_the_index_once(void **state) {
    (void)state;
    world w;
    static seq a, b;
    int32_t text[50];
    world_up(&w, config_of(plain_shape(), 32));
    text_of(text, 50, 1, 0);
    seq_open(&w, &a, sharing());
    seq_feed(&w, &a, text, 27);
    seq_open(&w, &b, sharing());
    kv_sequence_fork(w.c, a.s, b.s);
    hold(&b, text, 27);
    assert_int_equal(kv_sequence_rewind(w.c, b.s, 25), 25);
    b.n = 25;
    seq_close(&w, &b, &(kv_memory_of){0});
    seq_close(&w, &a, &(kv_memory_of){0});
    assert_int_equal(known_of(&w, sharing(), text, 50), 25);
    world_down(&w);
}

static void going_back(void **state) {
    (void)state;
    world w;
    static seq q;
    int32_t one[150], two[150];
    world_up(&w, config_of(plain_shape(), 32));
    text_of(one, 150, 1, 0);
    converse(&w, sharing(), one, 80, (kv_memory_of){0});
    seq_open(&w, &q, sharing());
    seq_run(&w, &q, one, 80);
    static const uint32_t stops[] = {75, 64, 63, 35, 32, 3, 0};
    for (size_t i = 0; i < sizeof stops / sizeof *stops; i++) {
        assert_int_equal(kv_sequence_rewind(w.c, q.s, stops[i]), stops[i]);
        q.n = stops[i];
        kv_cache_check(w.c);
        check_view(&w, &q, q.n);
        memcpy(two, one, sizeof two);
        for (uint32_t k = q.n; k < 150; k++) two[k] += (int32_t)(i + 5) * 1000000;
        seq_feed(&w, &q, two + q.n, 100 - q.n); /* what was remembered stays as it was */
        assert_int_equal(kv_sequence_rewind(w.c, q.s, stops[i]), stops[i]);
        q.n = stops[i];
    }
    seq_close(&w, &q, NULL);
    assert_int_equal(known_of(&w, sharing(), one, 150), 80);
    world_down(&w);

    kv_params t = sharing();
    t.publish_tokens = 30;
    world_up(&w, config_of(plain_shape(), 32));
    seq_open(&w, &q, t);
    seq_feed(&w, &q, one, 75);
    assert_int_equal(kv_sequence_rewind(w.c, q.s, 28), 28); /* into a page whose tokens nobody knows by now */
    q.n = 28;
    seq_close(&w, &q, &(kv_memory_of){0});
    memcpy(two, one, 16 * sizeof *one);
    memcpy(two + 16, one + 64, 16 * sizeof *one);
    assert_true(known_of(&w, sharing(), two, 32) <= 16);
    world_down(&w);

    world_up(&w, config_of(mixed_shape(32), 64));
    seq_open(&w, &q, sharing());
    seq_run(&w, &q, one, 150);
    assert_int_equal(kv_sequence_rewind(w.c, q.s, 149), 149);
    q.n = 149;
    check_view(&w, &q, q.n);
    assert_int_equal(kv_sequence_rewind(w.c, q.s, 50), 0); /* its window has moved on */
    q.n = 0;
    kv_cache_check(w.c);
    seq_feed(&w, &q, one, 50);
    seq_close(&w, &q, NULL);
    world_down(&w);
}

/* ---- what is remembered ---- */

static bool entry_of(const world *w, uint32_t tokens, kv_entry_view *v) {
    for (uint32_t at = 0; kv_cache_entries(w->c, &at, v, 1);)
        if (v->tokens == tokens) return true;
    return false;
}

static bool listed(const world *w, uint32_t tokens) {
    kv_entry_view v;
    return entry_of(w, tokens, &v);
}

static void a_conversation_is_one_entry(void **state) {
    (void)state;
    world w;
    int32_t text[200];
    kv_entry_view v;
    world_up(&w, config_of(plain_shape(), 32));
    text_of(text, 200, 1, 0);
    converse(&w, sharing(), text, 25, (kv_memory_of){0});
    converse(&w, sharing(), text, 75, (kv_memory_of){0});
    assert_int_equal(converse(&w, sharing(), text, 125, (kv_memory_of){0}), 75);
    assert_int_equal(counts(&w).entries, 1);
    assert_true(entry_of(&w, 125, &v));
    assert_int_equal(v.bytes, 8 * 4096);
    assert_int_equal(v.hits, 2);
    assert_int_equal(used_pages(&w), 8);
    converse(&w, sharing(), text, 50, (kv_memory_of){0}); /* 2 tokens of a page are not kept: it ends at 48 */
    assert_int_equal(counts(&w).entries, 2);
    converse(&w, sharing(), text, 150, (kv_memory_of){.ttl_ms = 500});
    assert_int_equal(counts(&w).entries, 3); /* the others are to stay for longer */
    tick(&w, 501);
    assert_int_equal(counts(&w).entries, 2);
    assert_int_equal(counts(&w).expired_entries, 1);
    assert_int_equal(known_of(&w, sharing(), text, 200), 125);
    converse(&w, sharing(), text, 150, (kv_memory_of){.ttl_ms = 2000});
    converse(&w, sharing(), text, 175, (kv_memory_of){.ttl_ms = 500});
    assert_int_equal(counts(&w).entries, 4);
    converse(&w, sharing(), text, 175, (kv_memory_of){.ttl_ms = 2000});
    assert_int_equal(counts(&w).entries, 3); /* what ends no later than it is part of it */
    world_down(&w);
}

static void entries_are_read_some_at_a_time(void **state) {
    (void)state;
    enum { ALL = 7, SOME = 3 };
    world w;
    int32_t text[2 * P];
    kv_entry_view v[SOME];
    kv_removed gone;
    uint64_t seen = 0, tokens = 0;
    uint32_t at = 0, n = 0;
    world_up(&w, config_of(plain_shape(), 32));
    for (int32_t i = 0; i < ALL + 1; i++) {
        text_of(text, 2 * P, i, 0);
        converse(&w, sharing(), text, 2 * P, (kv_memory_of){.preempted_for = i == 2 ? 9 : 0});
    }
    assert_int_equal(counts(&w).entry_tokens, ALL * 2 * P);
    for (uint32_t found, want = SOME; (found = kv_cache_entries(w.c, &at, v, SOME)) > 0; n += found) {
        assert_int_equal(found, want);
        for (uint32_t i = 0; i < found; i++) {
            assert_true(v[i].id < 64 && !(seen & 1ull << v[i].id)); /* none is there twice */
            seen |= 1ull << v[i].id;
            tokens += v[i].tokens;
        }
        if (n == 0) assert_true(kv_cache_remove(w.c, v[0].id, &gone));
        want = ALL - SOME - n < SOME ? ALL - SOME - n : SOME;
    }
    assert_int_equal(n, ALL);
    assert_int_equal(tokens, ALL * 2 * P);
    assert_int_equal(kv_cache_entries(w.c, &at, v, SOME), 0);
    assert_int_equal(counts(&w).entry_tokens, (ALL - 1) * 2 * P);
    world_down(&w);
}

static void time_is_up(void **state) {
    (void)state;
    world w;
    static seq q;
    int32_t one[50], two[50], three[50];
    kv_cache_config config = config_of(plain_shape(), 32);
    config.ttl_ms = 1000;
    world_up(&w, config);
    text_of(one, 50, 1, 0);
    text_of(two, 50, 2, 0);
    text_of(three, 50, 3, 0);
    converse(&w, sharing(), one, 32, (kv_memory_of){0});
    converse(&w, sharing(), two, 33, (kv_memory_of){.ttl_ms = 300});
    converse(&w, sharing(), three, 45, (kv_memory_of){.pin = true});
    tick(&w, 300);
    assert_int_equal(counts(&w).entries, 3);
    tick(&w, 1);
    assert_int_equal(counts(&w).entries, 2);
    assert_false(listed(&w, 32) && listed(&w, 33));
    tick(&w, 699);
    assert_int_equal(known_of(&w, sharing(), one, 32), 32); /* used: its time starts again */
    tick(&w, 1000);
    assert_true(listed(&w, 32));
    seq_open(&w, &q, sharing());
    assert_int_equal(seq_run(&w, &q, one, 32), 31);
    tick(&w, 1001); /* while someone uses its pages */
    assert_int_equal(counts(&w).entries, 1);
    check_view(&w, &q, 32);
    seq_close(&w, &q, NULL);
    assert_int_equal(used_pages(&w), 3); /* pins do not expire of themselves */
    tick(&w, 100000);
    assert_true(listed(&w, 45));
    converse(&w, sharing(), three, 45, (kv_memory_of){.pin = true, .ttl_ms = 10}); /* but when told so */
    tick(&w, 11);
    assert_int_equal(used_pages(&w), 0);
    world_down(&w);
}

/* What is said again to its end counts from then on, too: for who ended it, and for who was preempted there. */
static void ending_there_again_renews_the_time(void **state) {
    (void)state;
    world w;
    int32_t text[50];
    kv_cache_config config = config_of(plain_shape(), 32);
    config.ttl_ms = 1000;
    world_up(&w, config);
    text_of(text, 50, 1, 0);
    for (int i = 0; i < 4; i++, tick(&w, 800)) {
        kv_memory_of memory = {.preempted_for = i % 2 ? 5 : 0};
        static seq q;
        seq_open(&w, &q, sharing());
        seq_feed(&w, &q, text, 32); /* computed again: it takes nothing from the cache, so nothing is a hit */
        seq_close(&w, &q, &memory);
        assert_true(listed(&w, 32));
        kv_entry_view view;
        assert_int_equal(kv_cache_entries(w.c, &(uint32_t){0}, &view, 1), 1);
        assert_int_equal(view.idle_ms, 0);
        assert_int_equal(view.age_ms, i * 800);
    }
    world_down(&w);
}

static void limits(void **state) {
    (void)state;
    world w;
    int32_t text[100];
    kv_cache_config config = config_of(plain_shape(), 64);
    config.max_entries = 3;
    config.max_cached_bytes = 10 * 4096;
    world_up(&w, config);
    for (int32_t i = 1; i <= 5; i++) {
        text_of(text, 100, i, 0);
        converse(&w, sharing(), text, 32, (kv_memory_of){0});
        tick(&w, 1000);
        assert_int_equal(counts(&w).entries, i < 3 ? i : 3);
    }
    text_of(text, 100, 2, 0);
    assert_int_equal(known_of(&w, sharing(), text, 100), 0); /* the two of longest ago are gone */
    text_of(text, 100, 3, 0);
    assert_int_equal(known_of(&w, sharing(), text, 100), 32);
    text_of(text, 100, 9, 0);
    converse(&w, sharing(), text, 100, (kv_memory_of){0});
    assert_true(counts(&w).pool.evictable_bytes <= config.max_cached_bytes);
    assert_int_equal(known_of(&w, sharing(), text, 100), 96);
    assert_true(counts(&w).pool.evictable_bytes <= config.max_cached_bytes); /* after it was reclaimable, too */
    text_of(text, 100, 3, 0);
    assert_int_equal(known_of(&w, sharing(), text, 100), 32); /* used a moment before */
    text_of(text, 100, 4, 0);
    assert_int_equal(known_of(&w, sharing(), text, 100), 0);
    world_down(&w);
}

static void limits_spare_pins_and_parked_requests(void **state) {
    (void)state;
    world w;
    int32_t text[100];
    kv_cache_config config = config_of(plain_shape(), 64);
    config.max_entries = 1;
    config.max_cached_bytes = 4 * 4096;
    world_up(&w, config);
    text_of(text, 100, 1, 0);
    converse(&w, sharing(), text, 48, (kv_memory_of){.preempted_for = 1});
    for (int32_t i = 2; i <= 4; i++) {
        text_of(text, 100, i, 0);
        converse(&w, sharing(), text, 48, (kv_memory_of){.pin = true});
    }
    assert_int_equal(counts(&w).entries, 3);
    assert_int_equal(counts(&w).pinned_bytes, 9 * 4096);
    text_of(text, 100, 1, 0);
    assert_int_equal(kv_cache_peek(w.c, &(kv_params){.share = true}, text, 100, &(size_t){0}), 48);
    assert_true(kv_cache_unpin_one(w.c));
    assert_true(kv_cache_unpin_one(w.c));
    text_of(text + 32, 50, 9, 0);
    text_of(text, 32, 4, 0);
    converse(&w, sharing(), text, 64, (kv_memory_of){.pin = true});
    assert_int_equal(counts(&w).pinned_bytes, (3 + 2) * 4096); /* two pages are of both */
    kv_cache_unpin_one(w.c);
    tick(&w, 1);
    assert_int_equal(counts(&w).entries, 1);
    assert_true(counts(&w).pool.evictable_bytes <= config.max_cached_bytes);
    kv_cache_clear(w.c);
    world_down(&w);
}

/* The end goes first, and what was used most stays. */
static void worth_decides_what_goes(void **state) {
    (void)state;
    world w;
    int32_t often[100], rarely[100];
    world_up(&w, config_of(plain_shape(), 32));
    text_of(often, 100, 1, 0);
    text_of(rarely, 100, 2, 0);
    converse(&w, sharing(), often, 80, (kv_memory_of){0});
    for (int i = 0; i < 3; i++) known_of(&w, sharing(), often, 80);
    tick(&w, 1000);
    converse(&w, sharing(), rarely, 80, (kv_memory_of){0});
    assert_int_equal(kv_cache_evict(w.c, 7 * 4096), 3 * 4096);
    assert_int_equal(known_of(&w, sharing(), often, 100), 80);
    assert_int_equal(known_of(&w, sharing(), rarely, 100), 32);
    assert_int_equal(counts(&w).evicted_pages, 3);
    assert_true(listed(&w, 32));
    assert_int_equal(kv_cache_evict(w.c, 0), 7 * 4096);
    assert_int_equal(counts(&w).nodes, 0);
    world_down(&w);
}

/* A preempted request comes back for its pages: they are worth those of a conversation that was used eight times. */
static void what_is_parked_is_worth_more(void **state) {
    (void)state;
    int32_t preempted[100], other[100];
    text_of(preempted, 100, 1, 0);
    text_of(other, 100, 2, 0);
    for (uint32_t hits = 3; hits <= 12; hits += 9) {
        world w;
        world_up(&w, config_of(plain_shape(), 32));
        converse(&w, sharing(), preempted, 80, (kv_memory_of){.preempted_for = 1});
        converse(&w, sharing(), other, 80, (kv_memory_of){0});
        for (uint32_t i = 0; i < hits; i++) known_of(&w, sharing(), other, 80);
        size_t in_use;
        assert_int_equal(kv_cache_evict(w.c, 5 * 4096), 5 * 4096);
        kv_params t = sharing(); /* looks, and counts for nothing */
        assert_int_equal(kv_cache_peek(w.c, &t, preempted, 100, &in_use), hits == 3 ? 80 : 0);
        assert_int_equal(kv_cache_peek(w.c, &t, other, 100, &in_use), hits == 3 ? 0 : 80);
        kv_cache_forget_preempted(w.c, 1);
        world_down(&w);
    }
}

static void a_pin_holds(void **state) {
    (void)state;
    world w;
    static seq q;
    int32_t pinned[100], other[200];
    err e = {0};
    kv_cache_config config = config_of(plain_shape(), 10);
    config.max_entries = 1;
    config.max_cached_bytes = 4096;
    world_up(&w, config);
    text_of(pinned, 100, 1, 0);
    text_of(other, 200, 2, 0);
    converse(&w, sharing(), pinned, 73, (kv_memory_of){.pin = true}); /* 4 pages, and 9 tokens of one */
    converse(&w, sharing(), other, 32, (kv_memory_of){0});
    assert_int_equal(kv_cache_evict(w.c, 0), counts(&w).entries == 1 ? 0 : 4096);
    assert_int_equal(known_of(&w, sharing(), pinned, 100), 73);
    assert_int_equal(counts(&w).pinned_bytes, 5 * 4096);
    seq_open(&w, &q, sharing());
    seq_feed(&w, &q, other, 80);
    assert_false(seq_try(&w, &q, other + 80, 1, &e));
    assert_int_equal(e.code, ERR_BUSY);
    assert_int_equal(known_of(&w, sharing(), pinned, 100), 73);
    assert_true(kv_cache_unpin_one(w.c));
    assert_false(kv_cache_unpin_one(w.c));
    assert_ok(seq_try(&w, &q, other + 80, 32, &e), e);
    assert_true(known_of(&w, sharing(), pinned, 100) < 73);
    seq_close(&w, &q, NULL);
    kv_cache_clear(w.c);
    assert_int_equal(used_pages(&w), 0);
    world_down(&w);
}

/* Nothing is stored twice, and nothing of what was asked for can leave. */
static void pin_the_start_of(uint32_t n_longer, uint32_t n, bool in_file) {
    world w;
    static seq q;
    int32_t text[8 * P];
    kv_entry_view v;
    world_up(&w, spilling(plain_shape(), 32, 20));
    if (in_file) kv_cache_note_speed(w.c, 1e6);
    text_of(text, 8 * P, 1, 0);
    seq_open(&w, &q, sharing()); /* before there is anything to recall */
    converse(&w, sharing(), text, n_longer, (kv_memory_of){0});
    if (in_file) kv_cache_evict(w.c, 0);
    seq_feed(&w, &q, text, n);
    seq_close(&w, &q, &(kv_memory_of){.pin = true});
    assert_int_equal(counts(&w).pinned_bytes, kv_pages_for(n) * kv_set_bytes(&w.config.shape, w.config.type));
    kv_cache_evict(w.c, 0);
    assert_int_equal(used_pages(&w), kv_pages_for(n));
    assert_int_equal(known_of(&w, sharing(), text, n), n);
    uint32_t pins = 0;
    for (uint32_t at = 0; kv_cache_entries(w.c, &at, &v, 1);) pins += v.pinned;
    assert_int_equal(pins, 1);
    assert_true(kv_cache_unpin_one(w.c));
    assert_false(kv_cache_unpin_one(w.c));
    world_down(&w);
}

static void a_pin_holds_the_start_of_something_longer(void **state) {
    (void)state;
    for (int in_file = 0; in_file < 2; in_file++) {
        pin_the_start_of(3 * P + P - 2, 3 * P + P - 4, in_file); /* of a page that goes on */
        pin_the_start_of(6 * P, 3 * P + P - 4, in_file);         /* of a full page, and there are more */
        pin_the_start_of(P - 2, P - 4, in_file);                 /* less than a page in all */
        pin_the_start_of(3 * P, 3 * P + 3, in_file);             /* so little of a page that it would not be kept */
        pin_the_start_of(6 * P, 3, in_file);
        pin_the_start_of(6 * P, 3 * P, in_file);
    }
}

static void a_pin_outlives_those_that_do_not_ask_for_it(void **state) {
    (void)state;
    world w;
    int32_t text[2 * P];
    kv_entry_view v;
    kv_cache_config config = config_of(plain_shape(), 32);
    config.ttl_ms = 1000;
    world_up(&w, config);
    text_of(text, 2 * P, 1, 0);
    converse(&w, sharing(), text, 2 * P, (kv_memory_of){.pin = true});
    converse(&w, sharing(), text, 2 * P, (kv_memory_of){.ttl_ms = 10});
    tick(&w, 5000);
    assert_true(entry_of(&w, 2 * P, &v));
    assert_true(v.pinned);
    assert_int_equal(v.ttl_ms, 0);
    converse(&w, sharing(), text, 2 * P, (kv_memory_of){.pin = true, .ttl_ms = 3000});
    converse(&w, sharing(), text, 2 * P, (kv_memory_of){0});
    tick(&w, 2000);
    assert_true(listed(&w, 2 * P));
    tick(&w, 1001);
    assert_int_equal(used_pages(&w), 0);
    converse(&w, sharing(), text, P + 3, (kv_memory_of){.pin = true});
    converse(&w, sharing(), text, P + 3, (kv_memory_of){0});
    assert_int_equal(counts(&w).entries, 1); /* little of a page, and there all the same */
    assert_true(kv_cache_unpin_one(w.c)); /* from now on it is like others */
    tick(&w, 1001);
    assert_int_equal(used_pages(&w), 0);
    world_down(&w);
}

static void forgotten_while_in_use(void **state) {
    (void)state;
    world w;
    static seq q;
    int32_t text[100];
    kv_entry_view v;
    kv_removed gone;
    world_up(&w, config_of(plain_shape(), 32));
    text_of(text, 100, 1, 0);
    for (int how = 0; how < 3; how++) {
        converse(&w, sharing(), text, 75, (kv_memory_of){.pin = how == 2});
        seq_open(&w, &q, sharing());
        assert_int_equal(seq_recall(&w, &q, text, 73), 73); /* 9 of 11 tokens of the last page */
        assert_int_equal(kv_cache_entries(w.c, &(uint32_t){0}, &v, 1), 1);
        if (how) gone = kv_cache_clear(w.c);
        else assert_true(kv_cache_remove(w.c, v.id, &gone));
        kv_cache_check(w.c);
        assert_int_equal(gone.entries, 1);
        assert_int_equal(gone.freed_bytes, 0);
        assert_false(kv_cache_remove(w.c, v.id, &gone));
        check_view(&w, &q, q.n);
        uint64_t copied = counts(&w).copied_pages;
        seq_feed(&w, &q, text + 73, 25);
        assert_int_equal(counts(&w).copied_pages, copied); /* its own by now */
        seq_close(&w, &q, NULL);
        assert_int_equal(used_pages(&w), 0);
    }
    converse(&w, sharing(), text, 75, (kv_memory_of){0});
    gone = kv_cache_clear(w.c);
    assert_int_equal(gone.freed_bytes, 5 * 4096);
    world_down(&w);
}

static void a_parked_request_finds_its_pages(void **state) {
    (void)state;
    world w;
    static seq q;
    int32_t text[100], other[100];
    world_up(&w, config_of(plain_shape(), 32));
    text_of(text, 100, 1, 70);
    text_of(other, 100, 2, 70);
    assert_int_equal(converse(&w, sharing(), text, 75, (kv_memory_of){.preempted_for = 1}), 0);
    assert_int_equal(counts(&w).entries, 0); /* not a conversation */
    assert_int_equal(known_of(&w, sharing(), other, 100), 70); /* by another that begins so */
    kv_params t = sharing();
    seq_open(&w, &q, t);
    assert_int_equal(known_of(&w, sharing(), text, 100), 75); /* or asks for the same */
    assert_int_equal(seq_recall(&w, &q, text, 75), 75);
    kv_cache_forget_preempted(w.c, 2);
    assert_int_equal(w.c->index.n_entries_used, 1); /* that was not its number */
    kv_cache_forget_preempted(w.c, 1);
    assert_int_equal(w.c->index.n_entries_used, 0);
    check_view(&w, &q, q.n);
    seq_close(&w, &q, NULL);
    assert_int_equal(used_pages(&w), 0);
    converse(&w, sharing(), text, 75, (kv_memory_of){.preempted_for = 3});
    converse(&w, sharing(), text, 75, (kv_memory_of){0}); /* from now on it is remembered, whoever comes back */
    kv_cache_forget_preempted(w.c, 3);
    assert_true(listed(&w, 75));
    converse(&w, sharing(), text, 75, (kv_memory_of){.preempted_for = 4});
    kv_cache_forget_preempted(w.c, 4);
    assert_true(listed(&w, 75));
    for (int32_t i = 0; i < 40; i++) { /* requests that never came back give way at last */
        text_of(text, 100, i + 10, 0);
        converse(&w, sharing(), text, 16, (kv_memory_of){.preempted_for = 5});
    }
    converse(&w, sharing(), other, 100, (kv_memory_of){0});
    assert_true(listed(&w, 96));
    world_down(&w);
}

/* ---- who goes, and who does not ---- */

static uint32_t peek(const world *w, kv_params t, const int32_t *text, uint32_t n) { /* looks, and counts for nothing */
    size_t in_use;
    return kv_cache_peek(w->c, &t, text, n, &in_use);
}

/* What is left of an entry whose end has gone is another's: then it is no entry any more. */
static void an_entry_ends_where_others_part_from_it(void **state) {
    (void)state;
    world w;
    int32_t one[3 * P], two[3 * P];
    world_up(&w, config_of(plain_shape(), 32));
    text_of(one, 3 * P, 1, P);
    text_of(two, 3 * P, 2, P);
    converse(&w, sharing(), one, 2 * P, (kv_memory_of){0});
    converse(&w, sharing(), two, 2 * P, (kv_memory_of){0});
    assert_int_equal(counts(&w).entries, 2);
    assert_int_equal(kv_cache_evict(w.c, 2 * 4096), 4096); /* of two pages behind the one that both have */
    assert_int_equal(counts(&w).entries, 1);
    assert_true(listed(&w, 2 * P) && !listed(&w, P));
    world_down(&w);
}

/* Of two that were used alike the one goes whose last page costs less to compute again, or is larger. */
static void cost_and_size_count(void **state) {
    (void)state;
    world w;
    int32_t deep[6 * P], shallow[6 * P];
    kv_cache_config config = config_of(plain_shape(), 32);
    config.attend_macs = 1e6;
    world_up(&w, config);
    text_of(deep, 6 * P, 1, 0);
    text_of(shallow, 6 * P, 2, 0);
    converse(&w, sharing(), deep, 6 * P, (kv_memory_of){0});
    converse(&w, sharing(), shallow, 2 * P, (kv_memory_of){0});
    kv_cache_evict(w.c, 7 * 4096);
    assert_int_equal(peek(&w, sharing(), deep, 6 * P), 6 * P);
    assert_int_equal(peek(&w, sharing(), shallow, 6 * P), P);
    world_down(&w);

    world_up(&w, config_of(wide_shape(), 30));
    kv_params small = sharing(), large = sharing();
    small.type = COMPUTE_KV_Q4, large.type = COMPUTE_KV_F16;
    converse(&w, small, deep, 2 * P, (kv_memory_of){0});
    converse(&w, large, deep, 2 * P, (kv_memory_of){0});
    kv_cache_evict(w.c, counts(&w).pool.evictable_bytes - 1);
    assert_int_equal(peek(&w, small, deep, 6 * P), 2 * P);
    assert_int_equal(peek(&w, large, deep, 6 * P), P);
    world_down(&w);
}

static void a_pin_is_not_part_of_what_goes_on_from_it(void **state) {
    (void)state;
    world w;
    int32_t text[4 * P];
    kv_entry_view v;
    world_up(&w, config_of(plain_shape(), 32));
    text_of(text, 4 * P, 1, 0);
    converse(&w, sharing(), text, 2 * P, (kv_memory_of){.pin = true});
    converse(&w, sharing(), text, 4 * P, (kv_memory_of){0});
    assert_int_equal(counts(&w).entries, 2);
    kv_cache_evict(w.c, 0);
    assert_true(entry_of(&w, 2 * P, &v) && v.pinned);
    assert_int_equal(used_pages(&w), 2);
    kv_cache_clear(w.c);
    world_down(&w);
}

static void the_oldest_pin_is_taken_back_first(void **state) {
    (void)state;
    for (int again = 0; again < 2; again++) { /* by when it was used, not when it was made */
        world w;
        int32_t one[2 * P], two[2 * P + P];
        kv_entry_view v;
        world_up(&w, config_of(plain_shape(), 32));
        text_of(one, 2 * P, 1, 0);
        text_of(two, 3 * P, 2, 0);
        converse(&w, sharing(), one, 2 * P, (kv_memory_of){.pin = true});
        tick(&w, 1000);
        converse(&w, sharing(), two, 3 * P, (kv_memory_of){.pin = true});
        tick(&w, 1000);
        if (again) known_of(&w, sharing(), one, 2 * P);
        assert_true(kv_cache_unpin_one(w.c));
        assert_true(entry_of(&w, 2 * P, &v));
        assert_int_equal(v.pinned, again);
        assert_true(entry_of(&w, 3 * P, &v));
        assert_int_equal(v.pinned, !again);
        kv_cache_clear(w.c);
        world_down(&w);
    }
}

/* While it is held, what is remembered may become other, and not more; what an eviction has taken does not come back. */
static void what_is_held_does_not_grow(void **state) {
    (void)state;
    world w;
    static seq q;
    int32_t one[5 * P], two[5 * P];
    world_up(&w, config_of(plain_shape(), 32));
    text_of(one, 5 * P, 1, 0);
    text_of(two, 5 * P, 2, 0);
    converse(&w, sharing(), one, 5 * P, (kv_memory_of){0});
    kv_cache_hold(w.c, true);
    seq_open(&w, &q, sharing());
    assert_int_equal(seq_recall(&w, &q, one, 5 * P), 5 * P);
    kv_cache_hold(w.c, true); /* said again while they are in use: what it was at first counts */
    seq_close(&w, &q, NULL);
    assert_int_equal(counts(&w).pool.evictable_bytes, 5 * 4096);
    tick(&w, 1000);
    converse(&w, sharing(), two, 3 * P, (kv_memory_of){0});
    assert_int_equal(counts(&w).pool.evictable_bytes, 5 * 4096);
    kv_cache_evict(w.c, 2 * 4096);
    converse(&w, sharing(), two, 5 * P, (kv_memory_of){0});
    assert_int_equal(counts(&w).pool.evictable_bytes, 2 * 4096);
    kv_cache_hold(w.c, false);
    converse(&w, sharing(), one, 5 * P, (kv_memory_of){0});
    assert_true(counts(&w).pool.evictable_bytes > 5 * 4096);
    world_down(&w);
}

/* Places in the table are taken from conversations before they are taken from requests that will come back; and nobody
 * removes these by a number. */
static void parked_requests_keep_their_place(void **state) {
    (void)state;
    world w;
    int32_t text[2 * P];
    kv_removed gone;
    kv_cache_config config = config_of(plain_shape(), 64);
    config.max_entries = 2;
    world_up(&w, config);
    for (int32_t i = 0; i < MOST_SEQUENCES; i++) { /* as many as can be */
        text_of(text, 2 * P, i, 0);
        converse(&w, sharing(), text, 2 * P, (kv_memory_of){.preempted_for = (uint64_t)i + 1});
    }
    tick(&w, 100000000); /* long ago: they are worth little by now */
    for (int32_t i = 0; i < 6; i++) {
        text_of(text, 2 * P, 100 + i, 0);
        converse(&w, sharing(), text, 2 * P, (kv_memory_of){0});
        assert_int_equal(counts(&w).entries, i < 2 ? i + 1 : 2);
    }
    for (int32_t i = 0; i < MOST_SEQUENCES; i++) {
        text_of(text, 2 * P, i, 0);
        assert_int_equal(peek(&w, sharing(), text, 2 * P), 2 * P);
        assert_false(kv_cache_remove(w.c, (uint64_t)i + 1, &gone));
    }
    world_down(&w);
}

/* ---- windows ---- */

static void slide(kv_shape shape, uint32_t window, uint32_t keep, uint32_t publish) {
    world w;
    static seq q;
    static int32_t text[MOST_TOKENS];
    kv_cache_config config = config_of(shape, 1);
    config.n_context = window ? window : 80;
    kv_params t = sharing();
    t.window = window, t.keep = keep, t.publish_tokens = publish;
    uint32_t n = 20 * (window ? window : shape.groups[shape.n_groups - 1].window);
    config.pool_bytes = 1 << 20; /* to ask what is needed, and then only that */
    world_up(&w, config);
    size_t most = kv_cache_bytes_for(w.c, &t, n);
    world_down(&w);
    config.pool_bytes = most;
    world_up(&w, config);
    text_of(text, n, 1, 0);
    seq_open(&w, &q, t);
    rng r;
    rng_seed(&r, window + keep);
    while (q.n < n) {
        uint32_t batch = 1 + (uint32_t)(rng_next(&r) % 32);
        if (batch > n - q.n) batch = n - q.n;
        seq_feed(&w, &q, text + q.n, batch); /* never refused: what is left behind makes way */
        kv_sequence_counts held;
        kv_sequence_read(w.c, q.s, &held);
        assert_true(held.bytes <= most && counts(&w).pool.used_bytes <= most);
    }
    seq_close(&w, &q, &(kv_memory_of){0});
    kv_cache_clear(w.c);
    assert_int_equal(used_pages(&w), 0);
    world_down(&w);
}

static void a_window_holds_what_it_shows(void **state) {
    (void)state;
    static const uint32_t windows[] = {32, 50, 80}, keeps[] = {0, 4, 17};
    for (int i = 0; i < 3; i++)
        for (int k = 0; k < 3; k++) {
            slide(plain_shape(), windows[i], keeps[k], 0);
            slide(plain_shape(), windows[i], keeps[k], 150);
            slide(mixed_shape(24), windows[i], keeps[k], 150);
            slide(mixed_shape(64), windows[i], keeps[k], UINT32_MAX);
        }
}

/* A model whose layers all have a window, or some; with all the pool would hold of the others. */
static void the_models_own_window(void **state) {
    (void)state;
    world w;
    static seq a, b;
    int32_t text[1000];
    text_of(text, 1000, 1, 0);
    kv_cache_config config = config_of(mixed_shape(32), 1);
    config.pool_bytes = (500 / P + 1 + 5) * 4096; /* all of one group, a window of the other */
    world_up(&w, config);
    for (int round = 0; round < 3; round++) {
        seq_open(&w, &a, sharing());
        uint32_t known = seq_run(&w, &a, text, 100);
        assert_int_equal(known, round ? 96 : 0);
        seq_feed(&w, &a, text + 100, 400);
        seq_close(&w, &a, NULL);
        converse(&w, sharing(), text, 100, (kv_memory_of){0}); /* an end that is then in use, its start not */
    }
    world_down(&w);

    const bool all[] = {true, true};
    config = config_of(kv_shape_make(2, 1, 32, 32, 50, all), 64);
    assert_int_equal(config.shape.n_groups, 1);
    world_up(&w, config);
    seq_open(&w, &a, sharing());
    seq_run(&w, &a, text, 250);
    seq_open(&w, &b, sharing());
    assert_int_equal(seq_run(&w, &b, text, 300), 240);
    kv_sequence_counts held;
    kv_sequence_read(w.c, b.s, &held);
    assert_true(held.pages <= (50 + 32) / P + 2);
    kv_params t = sharing();
    size_t in_use;
    assert_int_equal(kv_cache_peek(w.c, &t, text, 300, &in_use), 288);
    assert_int_equal(in_use, 0); /* none of them would be there for long */
    seq_close(&w, &a, NULL);
    seq_close(&w, &b, NULL);
    world_down(&w);
}

/* ---- a pool that is just enough ---- */

static void the_last_page_of_the_pool(void **state) {
    (void)state;
    for (int mixed = 0; mixed < 2; mixed++) {
        world w;
        static seq q;
        int32_t text[64];
        err e = {0};
        kv_cache_config config = config_of(mixed ? mixed_shape(1000) : plain_shape(), 4);
        world_up(&w, config);
        text_of(text, 64, 1, 0);
        converse(&w, sharing(), text, 60, (kv_memory_of){0});
        seq_open(&w, &q, sharing());
        assert_int_equal(seq_recall(&w, &q, text, 59), 59); /* all the pool, its last page the index's too */
        assert_ok(seq_try(&w, &q, text + 59, 5, &e), e);
        assert_int_equal(counts(&w).copied_pages, 0);
        seq_close(&w, &q, &(kv_memory_of){0});
        assert_int_equal(known_of(&w, sharing(), text, 64), 64);
        world_down(&w);
    }
}

static void every_type_in_one_pool(void **state) {
    (void)state;
    world w;
    static seq q[KV_TYPES];
    int32_t text[160];
    err e = {0};
    kv_shape shape = wide_shape();
    world_up(&w, config_of(shape, 30));
    text_of(text, 160, 1, 0);
    size_t sum = 0;
    for (uint32_t i = 0; i < KV_TYPES; i++) {
        kv_params t = sharing();
        t.type = (kv_type)i;
        seq_open(&w, &q[i], t);
        assert_int_equal(seq_run(&w, &q[i], text, 160), 0);
        sum += 10 * kv_set_bytes(&shape, t.type);
        assert_int_equal(counts(&w).pool.used_bytes, sum);
        assert_int_equal(kv_cache_bytes_for(w.c, &t, 160), 10 * kv_set_bytes(&shape, t.type));
    }
    assert_int_equal(counts(&w).filled_bytes, counts(&w).pool.used_bytes); /* full pages: no waste */
    for (uint32_t i = 0; i < KV_TYPES; i++) {
        check_view(&w, &q[i], 160);
        seq_close(&w, &q[i], NULL);
    }
    assert_int_equal(counts(&w).pool.committed_bytes, sum); /* free, still there */
    kv_params t = sharing();
    t.share = false;
    seq_open(&w, &q[0], t);
    text_of(text, 160, 2, 0);
    for (uint32_t i = 0; i < 3; i++) seq_feed(&w, &q[0], text, 160); /* the whole budget in one type */
    assert_int_equal(counts(&w).pool.used_bytes, w.config.pool_bytes);
    assert_false(seq_try(&w, &q[0], text, 1, &e));
    assert_int_equal(e.code, ERR_BUSY);
    assert_int_equal(counts(&w).pool.committed_bytes, w.config.pool_bytes);
    seq_close(&w, &q[0], NULL);
    seq_open(&w, &q[0], t);
    seq_feed(&w, &q[0], text, 8);
    assert_int_equal(counts(&w).filled_bytes, counts(&w).pool.used_bytes / 2);
    seq_close(&w, &q[0], NULL);
    world_down(&w);
}

/* The line refuses: free pages of another type go before anything remembered does. */
static void the_line_is_near(void **state) {
    (void)state;
    world w;
    static seq q;
    int32_t text[160], other[160];
    kv_shape shape = wide_shape();
    world_up(&w, config_of(shape, 30));
    text_of(text, 160, 1, 0);
    text_of(other, 160, 2, 0);
    kv_params t = sharing();
    t.type = COMPUTE_KV_Q8;
    converse(&w, t, text, 80, (kv_memory_of){0});
    seq_open(&w, &q, t);
    seq_feed(&w, &q, other, 160);
    seq_close(&w, &q, NULL);
    mem_ledger_view v;
    mem_ledger_read(&w.ledger, &v);
    mem_ledger_set_line(&w.ledger, v.now_bytes, NULL);
    seq_open(&w, &q, sharing());
    seq_feed(&w, &q, other, 96); /* 6 · 32 KiB in place of 10 · 20 KiB */
    assert_int_equal(counts(&w).evicted_pages, 0);
    seq_feed(&w, &q, other + 96, 32);
    assert_true(counts(&w).evicted_pages > 0);
    seq_close(&w, &q, NULL);
    world_down(&w);
}

/* ---- the spill file ---- */

static void evicted_pages_come_back(void **state) {
    (void)state;
    for (int mixed = 0; mixed < 2; mixed++) {
        world w;
        int32_t text[100], other[200];
        world_up(&w, spilling(mixed ? mixed_shape(32) : plain_shape(), 24, 20));
        kv_cache_note_speed(w.c, 1e6);
        text_of(text, 100, 1, 35);
        text_of(other, 200, 2, 35);
        converse(&w, sharing(), text, 90, (kv_memory_of){0});
        assert_true(kv_cache_evict(w.c, 0) > 0);
        assert_int_equal(used_pages(&w), 0);
        assert_int_equal(counts(&w).spilled_pages, 6);
        kv_entry_view v;
        assert_true(entry_of(&w, 90, &v));
        assert_int_equal(v.bytes, 0);
        assert_int_equal(v.spilled_bytes, 6 * kv_set_bytes(&w.config.shape, w.config.type));
        assert_int_equal(known_of(&w, sharing(), other, 200), 35); /* three pages of it */
        assert_int_equal(counts(&w).restored_pages, 3);
        kv_cache_evict(w.c, 0);
        assert_int_equal(counts(&w).spilled_pages, 6); /* they are in the file still */
        assert_int_equal(known_of(&w, sharing(), text, 100), 90);
        assert_int_equal(counts(&w).bad_pages, 0);
        converse(&w, sharing(), other, 150, (kv_memory_of){0});
        kv_cache_evict(w.c, 0);
        assert_int_equal(converse(&w, sharing(), text, 95, (kv_memory_of){.pin = true}), 90);
        assert_int_equal(kv_cache_clear(w.c).entries, 2);
        assert_int_equal(counts(&w).spill.used, 0);
        world_down(&w);
    }
}

static void a_restart_remembers(void **state) {
    (void)state;
    world w;
    int32_t text[100], other[100], third[100];
    kv_cache_config config = spilling(plain_shape(), 32, 20);
    config.ttl_ms = 100000;
    world_up(&w, config);
    kv_cache_note_speed(w.c, 1e6);
    text_of(text, 100, 1, 0);
    text_of(other, 100, 2, 35);
    text_of(third, 100, 3, 0);
    converse(&w, sharing(), text, 90, (kv_memory_of){.pin = true});
    kv_params t = sharing();
    t.tenant = 5, t.type = COMPUTE_KV_Q4;
    converse(&w, t, other, 75, (kv_memory_of){0});
    converse(&w, t, third, 32, (kv_memory_of){.preempted_for = 1});
    world_down(&w);
    w.now_ms += 1000000;
    world_open(&w);
    assert_int_equal(counts(&w).entries, 2);
    kv_entry_view v;
    assert_true(entry_of(&w, 90, &v));
    assert_int_equal(v.idle_ms, 0);
    assert_int_equal(v.ttl_ms, 100000);
    assert_false(v.pinned);
    assert_int_equal(known_of(&w, sharing(), text, 100), 90);
    assert_int_equal(known_of(&w, sharing(), other, 100), 0);
    assert_int_equal(known_of(&w, t, other, 100), 75);
    tick(&w, 100001);
    assert_int_equal(counts(&w).entries, 0);
    assert_int_equal(counts(&w).spill.used, 0);
    world_down(&w);

    world_up(&w, spilling(plain_shape(), 64, 40));
    kv_cache_note_speed(w.c, 1e6);
    for (int32_t i = 1; i <= 10; i++) {
        text_of(text, 100, i, 0);
        converse(&w, sharing(), text, 48, (kv_memory_of){0});
    }
    world_down(&w);
    w.config.max_entries = 4; /* a smaller server after it */
    w.config.pool_bytes = 8 * 4096;
    world_open(&w);
    assert_int_equal(counts(&w).entries, 4);
    assert_int_equal(counts(&w).spill.used, 12);
    for (int32_t i = 1; i <= 10; i++) {
        text_of(text, 100, i, 0);
        converse(&w, sharing(), text, 100, (kv_memory_of){0});
    }
    world_down(&w);
}

static void what_is_damaged_is_computed_again(void **state) {
    (void)state;
    world w;
    static seq q;
    int32_t text[100];
    world_up(&w, spilling(plain_shape(), 32, 20));
    kv_cache_note_speed(w.c, 1e6);
    text_of(text, 100, 1, 0);
    converse(&w, sharing(), text, 32, (kv_memory_of){0});
    kv_cache_evict(w.c, 0);
    converse(&w, sharing(), text, 90, (kv_memory_of){0});
    kv_cache_evict(w.c, 0);
    damage_slots(spill_path, 4096, 20, 3);
    seq_open(&w, &q, sharing());
    assert_int_equal(seq_recall(&w, &q, text, 100), 48);
    assert_int_equal(counts(&w).bad_pages, 1);
    assert_true(listed(&w, 48)); /* what is left of it */
    assert_int_equal(counts(&w).spill.used, 3);
    seq_feed(&w, &q, text + 48, 42);
    seq_close(&w, &q, &(kv_memory_of){0});
    assert_int_equal(counts(&w).entries, 1);
    assert_int_equal(known_of(&w, sharing(), text, 100), 90);
    kv_cache_evict(w.c, 0);
    assert_int_equal(known_of(&w, sharing(), text, 100), 90);
    kv_cache_evict(w.c, 0);
    damage_slots(spill_path, 4096, 20, 0);
    assert_int_equal(known_of(&w, sharing(), text, 100), 0); /* from its first page on */
    assert_int_equal(counts(&w).bad_pages, 2);
    assert_int_equal(counts(&w).nodes, 0);
    world_down(&w);
}

/* A label may be whole and yet not be true: its pages are of another size than those who would find it use. */
static void a_label_that_lies(void **state) {
    (void)state;
    for (int lie = 0; lie < 4; lie++) {
        world w;
        err e = {0};
        mem_ledger l;
        kv_cache_config config = spilling(wide_shape(), 32, 20);
        size_t most = kv_set_bytes(&config.shape, config.type), bytes = kv_set_bytes(&config.shape, COMPUTE_KV_Q8);
        kv_spill_config file = {.path = spill_path, .file_bytes = config.spill_bytes, .identity = {1, 2},
                                .page_bytes_max = most};
        kv_spill_label label = {.salt = {0, COMPUTE_KV_Q8}, .parent = KV_SPILL_NONE, .n_tokens = P,
                                .kind = COMPUTE_KV_Q8};
        if (lie == 1) label.salt[1] = COMPUTE_KV_F16;
        if (lie == 2) label.kind = 9;
        if (lie == 3) bytes = most;
        mem_ledger_init(&l, UINT64_MAX);
        kv_spill *s = kv_spill_open(&file, &l, &e);
        assert_ok(s, e);
        void *page = calloc(1, most);
        assert_int_not_equal(kv_spill_put(s, &label, (const void *[]){page}, &bytes, 1, &e), KV_SPILL_NONE);
        free(page);
        kv_spill_close(s);
        world_up(&w, config);
        assert_int_equal(counts(&w).entries, lie == 0);
        assert_int_equal(counts(&w).spill.used, lie == 0);
        world_down(&w);
    }
}

/* Pages of a path, as the file's labels say: what cannot follow there, or is there already, is not taken. */
static void labels_that_do_not_fit_together(void **state) {
    (void)state;
    static const struct {
        uint32_t parent, n_tokens;
        int32_t first;
        bool taken;
    } rows[] = {
        {KV_SPILL_NONE, P, 0, true},  {0, P, 100, true},      {0, P - 4, 100, true}, /* the same, and less of it */
        {0, P, 100, false},           {0, P - 4, 100, false}, /* a second time */
        {2, P, 200, false},           /* behind a page that is not full */
        {KV_SPILL_NONE, P, 300, true},
    };
    enum { N = sizeof rows / sizeof *rows };
    world w;
    err e = {0};
    mem_ledger l;
    uint32_t slots[N], taken = 0;
    kv_cache_config config = spilling(plain_shape(), 32, 20);
    size_t bytes = kv_set_bytes(&config.shape, config.type);
    kv_spill_config file = {.path = spill_path, .file_bytes = config.spill_bytes, .identity = {1, 2}, .page_bytes_max = bytes};
    mem_ledger_init(&l, UINT64_MAX);
    kv_spill *s = kv_spill_open(&file, &l, &e);
    assert_ok(s, e);
    void *page = calloc(1, bytes);
    for (size_t i = 0; i < N; i++) {
        bool root = rows[i].parent == KV_SPILL_NONE;
        kv_spill_label label = {.salt = {0, COMPUTE_KV_F16}, .parent = KV_SPILL_NONE, .kind = COMPUTE_KV_F16,
                                .n_tokens = (uint8_t)rows[i].n_tokens, .payload_bytes = (uint32_t)bytes};
        if (!root) {
            label.parent = slots[rows[i].parent];
            label.parent_serial = kv_spill_serial(s, label.parent);
            label.depth = rows[i].parent == 2 ? 2 : 1;
        }
        for (uint32_t k = 0; k < rows[i].n_tokens; k++) label.tokens[k] = rows[i].first + (int32_t)k;
        slots[i] = kv_spill_put(s, &label, (const void *[]){page}, &bytes, 1, &e);
        assert_int_not_equal(slots[i], KV_SPILL_NONE);
        taken += rows[i].taken;
    }
    free(page);
    kv_spill_close(s);
    world_up(&w, config);
    assert_int_equal(counts(&w).spill.used, taken);
    assert_int_equal(counts(&w).entries, 3); /* the ends: 2 P, 2 P - 4, and P alone */
    assert_true(listed(&w, 2 * P) && listed(&w, 2 * P - 4) && listed(&w, P));
    world_down(&w);
}

static void not_worth_the_disk(void **state) {
    (void)state;
    world w;
    int32_t text[100];
    world_up(&w, spilling(plain_shape(), 32, 20));
    text_of(text, 100, 1, 0);
    for (int known_speed = 0; known_speed < 2; known_speed++) {
        if (known_speed) kv_cache_note_speed(w.c, 1e-9);
        converse(&w, sharing(), text, 90, (kv_memory_of){0});
        assert_false(counts(&w).spilling);
        assert_int_equal(kv_cache_evict(w.c, 0), 6 * 4096);
        assert_int_equal(counts(&w).spilled_pages, 0);
        assert_int_equal(counts(&w).entries, 0);
        assert_false(kv_cache_write_behind(w.c, 9));
    }
    world_down(&w);
}

/* A slot holds a page of the server's own type: of larger ones nothing is written. */
static void larger_pages_than_slots(void **state) {
    (void)state;
    world w;
    int32_t text[3 * P];
    kv_cache_config config = config_of(wide_shape(), 32);
    (void)unlink(spill_path);
    config.type = COMPUTE_KV_Q8;
    config.spill_path = spill_path;
    config.spill_bytes = 4096 * 3 + 20 * kv_set_bytes(&config.shape, COMPUTE_KV_Q8);
    world_up(&w, config);
    kv_cache_note_speed(w.c, 1e6);
    kv_params larger = sharing(), own = sharing(), smaller = sharing();
    larger.type = COMPUTE_KV_F16, own.type = COMPUTE_KV_Q8, smaller.type = COMPUTE_KV_Q4;
    text_of(text, 3 * P, 1, 0);
    converse(&w, larger, text, 2 * P, (kv_memory_of){0});
    assert_false(kv_cache_write_behind(w.c, 9));
    kv_cache_evict(w.c, 0);
    assert_int_equal(counts(&w).spilled_pages, 0);
    assert_int_equal(counts(&w).entries, 0);
    converse(&w, own, text, 2 * P, (kv_memory_of){0});
    converse(&w, smaller, text, 2 * P, (kv_memory_of){0});
    kv_cache_evict(w.c, 0);
    assert_int_equal(counts(&w).spilled_pages, 4);
    assert_int_equal(known_of(&w, own, text, 3 * P), 2 * P);
    assert_int_equal(known_of(&w, smaller, text, 3 * P), 2 * P);
    world_down(&w);
}

/* How long a token takes follows what is measured, a tenth at a time: one slow step does not fill the disk. */
static void the_speed_is_smoothed(void **state) {
    (void)state;
    world w;
    world_up(&w, spilling(plain_shape(), 32, 20));
    kv_cache_note_speed(w.c, 10);
    assert_true(counts(&w).recompute_ms_per_page == 10.0 * P);
    kv_cache_note_speed(w.c, 20);
    double ms = counts(&w).recompute_ms_per_page / P;
    assert_true(ms > 10.99 && ms < 11.01);
    world_down(&w);
}

/* More is remembered than the file holds: the least worth goes from there, too. */
static void a_full_file(void **state) {
    (void)state;
    world w;
    int32_t text[100];
    world_up(&w, spilling(plain_shape(), 12, 10));
    kv_cache_note_speed(w.c, 1e6);
    for (int32_t i = 1; i <= 8; i++) {
        text_of(text, 100, i, 0);
        converse(&w, sharing(), text, 48, (kv_memory_of){0});
        tick(&w, 1000);
        kv_cache_evict(w.c, 0);
    }
    assert_true(counts(&w).spilled_pages >= 8 * 3);
    assert_int_equal(counts(&w).spill.used, counts(&w).spill.slots);
    assert_int_equal(known_of(&w, sharing(), text, 100), 48);
    world_down(&w);
}

/* A page that was computed again, while the file had it: its conversation can be evicted as before. */
static void computed_again_while_in_the_file(void **state) {
    (void)state;
    world w;
    static seq a, b;
    int32_t text[100];
    world_up(&w, spilling(plain_shape(), 32, 20));
    kv_cache_note_speed(w.c, 1e6);
    text_of(text, 100, 1, 0);
    seq_open(&w, &a, sharing()); /* before there was anything to recall */
    converse(&w, sharing(), text, 73, (kv_memory_of){0});
    kv_cache_evict(w.c, 0);
    seq_feed(&w, &a, text, 73);
    assert_int_equal(counts(&w).restored_pages, 0);
    seq_close(&w, &a, &(kv_memory_of){.pin = true}); /* its last page was only in the file */
    seq_open(&w, &b, sharing());
    assert_int_equal(seq_recall(&w, &b, text, 100), 73);
    seq_close(&w, &b, NULL);
    assert_int_equal(counts(&w).pinned_bytes, 5 * 4096);
    assert_true(kv_cache_unpin_one(w.c));
    assert_int_equal(kv_cache_evict(w.c, 0), 5 * 4096);
    assert_int_equal(counts(&w).spilled_pages, 5);
    world_down(&w);
}

/* ---- any order of operations ---- */

typedef struct life {
    world w;
    rng r;
    seq seqs[MOST_SEQUENCES];
    uint32_t limit[MOST_SEQUENCES]; /* tokens it may come to */
    int32_t text[MOST_SEQUENCES];
    uint32_t from[MOST_SEQUENCES];
    uint64_t refusals, hits, n_parked;
} life;

static uint32_t below(life *l, uint32_t n) { return (uint32_t)(rng_next(&l->r) % n); }

static kv_params terms_by_chance(life *l) {
    kv_params t = sharing();
    t.tenant = below(l, 8) == 0;
    t.type = below(l, 6) ? COMPUTE_KV_F16 : (kv_type)below(l, KV_TYPES);
    t.share = below(l, 10) > 0;
    if (below(l, 4) == 0) t.window = 32 + below(l, 2) * 25, t.keep = below(l, 2) * 17;
    if (t.window || below(l, 6) == 0) t.publish_tokens = below(l, 200);
    return t;
}

static void text_at(life *l, uint32_t i, int32_t *tokens) { text_of(tokens, MOST_TOKENS, l->text[i], l->from[i]); }

static void begin(life *l, uint32_t i) {
    static int32_t tokens[MOST_TOKENS];
    seq *q = &l->seqs[i];
    kv_params t = terms_by_chance(l);
    l->text[i] = (int32_t)below(l, 4);
    l->from[i] = below(l, 125);
    l->limit[i] = t.window ? 450 : 20 + below(l, 150);
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
    uint32_t most = l->limit[i] - q->n, n = below(l, 32) + 1;
    if (most == 0) return;
    if (n > most) n = most;
    err e = {0};
    kv_pool_counts pool;
    kv_pool_read(kv_cache_pool(l->w.c), &pool);
    bool must = alone(l, q) && !counts(&l->w).pinned_bytes &&
                kv_cache_bytes_for(l->w.c, &q->params, q->n + n) <= pool.budget_bytes;
    if (seq_try(&l->w, q, tokens + q->n, n, &e)) return;
    assert_true(e.code == ERR_BUSY || e.code == ERR_MEMORY);
    assert_false(must); /* whoever is alone gets what the pool has */
    l->refusals++;
}

static void end(life *l, uint32_t i) {
    kv_memory_of m = {.pin = below(l, 12) == 0, .preempted_for = below(l, 5) ? 0 : ++l->n_parked};
    if (below(l, 3) == 0) m.ttl_ms = 1 + below(l, 5000);
    seq_close(&l->w, &l->seqs[i], below(l, 4) ? &m : NULL);
}

static void branch(life *l, uint32_t i) {
    for (uint32_t to = 0; to < MOST_SEQUENCES; to++) {
        seq *q = &l->seqs[to], *from = &l->seqs[i];
        if (q->s) continue;
        seq_open(&l->w, q, from->params);
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
    bool windowed = q->params.window || l->w.config.shape.n_groups > 1;
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
    switch (below(l, 13)) {
    case 0: kv_cache_evict(c, (size_t)below(l, 40) * 4096); break;
    case 1: if (below(l, 20) == 0) kv_cache_clear(c); break;
    case 2: kv_cache_unpin_one(c); break;
    case 3: kv_pool_resize(kv_cache_pool(c), (size_t)(30 + below(l, 60)) * 4096); break;
    case 4: kv_pool_trim(kv_cache_pool(c), (size_t)below(l, 20) * 4096); break;
    case 5: if (kv_cache_entries(c, &(uint32_t){below(l, 8)}, &v, 1)) assert_true(kv_cache_remove(c, v.id, &gone)); break;
    case 6: kv_cache_write_behind(c, below(l, 4)); break;
    case 7: kv_cache_forget_preempted(c, below(l, (uint32_t)l->n_parked + 1)); break;
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
    c.n_context = 256;
    c.max_entries = 6;
    c.ttl_ms = 20000;
    if (spill) c.spill_path = spill_path, c.spill_bytes = (uint64_t)30 * kv_set_bytes(&shape, c.type) + 16384;
    return c;
}

static void any_order(void **state) {
    (void)state;
    const char *more = getenv("KV_LIFE");
    uint64_t first = more ? strtoull(more, NULL, 10) : 1, last = more ? first + 20 : 3;
    for (uint64_t seed = first; seed <= last; seed++) {
        (void)unlink(spill_path);
        live(seed, small_life(plain_shape(), 80, false), 2000);
        live(seed, small_life(plain_shape(), 80, true), 2000);
        live(seed, small_life(mixed_shape(32), 80, false), 1500);
        live(seed, small_life(mixed_shape(20), 70, true), 1500);
        live(seed, small_life(plain_shape(), 24, true), 1000);
        live(seed, small_life(mixed_shape(32), 36, seed % 4 < 2), 1000);
        live(seed, small_life(wide_shape(), 90, false), 500);
        live(seed, small_life(unlike_shape(32), 120, seed % 2), 700);
        live(seed, small_life(latent_shape(), 60, seed % 2), 700);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_common_prefix_is_held_once),
        cmocka_unit_test(divergence_inside_a_page_copies_that_page),
        cmocka_unit_test(the_same_page_filled_twice_is_one),
        cmocka_unit_test(a_branch_shares_until_it_writes),
        cmocka_unit_test(a_page_is_in_the_index_once),
        cmocka_unit_test(going_back),
        cmocka_unit_test(a_conversation_is_one_entry),
        cmocka_unit_test(entries_are_read_some_at_a_time),
        cmocka_unit_test(time_is_up),
        cmocka_unit_test(ending_there_again_renews_the_time),
        cmocka_unit_test(limits),
        cmocka_unit_test(limits_spare_pins_and_parked_requests),
        cmocka_unit_test(worth_decides_what_goes),
        cmocka_unit_test(what_is_parked_is_worth_more),
        cmocka_unit_test(a_pin_holds),
        cmocka_unit_test(a_pin_holds_the_start_of_something_longer),
        cmocka_unit_test(a_pin_outlives_those_that_do_not_ask_for_it),
        cmocka_unit_test(forgotten_while_in_use),
        cmocka_unit_test(a_parked_request_finds_its_pages),
        cmocka_unit_test(a_window_holds_what_it_shows),
        cmocka_unit_test(the_models_own_window),
        cmocka_unit_test(the_last_page_of_the_pool),
        cmocka_unit_test(every_type_in_one_pool),
        cmocka_unit_test(the_line_is_near),
        cmocka_unit_test(evicted_pages_come_back),
        cmocka_unit_test(a_restart_remembers),
        cmocka_unit_test(what_is_damaged_is_computed_again),
        cmocka_unit_test(a_label_that_lies),
        cmocka_unit_test(not_worth_the_disk),
        cmocka_unit_test(a_full_file),
        cmocka_unit_test(computed_again_while_in_the_file),
        cmocka_unit_test(any_order),
        cmocka_unit_test(an_entry_ends_where_others_part_from_it),
        cmocka_unit_test(cost_and_size_count),
        cmocka_unit_test(a_pin_is_not_part_of_what_goes_on_from_it),
        cmocka_unit_test(the_oldest_pin_is_taken_back_first),
        cmocka_unit_test(what_is_held_does_not_grow),
        cmocka_unit_test(parked_requests_keep_their_place),
        cmocka_unit_test(larger_pages_than_slots),
        cmocka_unit_test(the_speed_is_smoothed),
        cmocka_unit_test(labels_that_do_not_fit_together),
    };
    log_set_level(LOG_ERROR);
    return cmocka_run_group_tests_name("kv_cache", tests, spill_path_up, spill_path_down);
}
