/* Requests that share one pool: common prefixes are there once, what was remembered lends its memory, more is
 * admitted than fits and nobody's answer changes for it. The whole KV cache is checked before every step. */
#include "world.h"

#include <math.h>

#include "base/check.h"

enum { CONTEXT = 4096, ENTRIES = 100 };

#ifdef PLIMSOLL_SANITIZED /* attention over long contexts takes minutes there */
enum { SHORTER = 8, WASTE_REQUESTS = 40, LEAVING_TOKENS = 200, SEEDS = 1, FITS = 200 };
#else
enum { SHORTER = 1, WASTE_REQUESTS = 500, LEAVING_TOKENS = 700, SEEDS = 3, FITS = 600 };
#endif

static int up(void **state) {
    (void)state;
    return model_up("sharing", CONTEXT);
}

static void world_up(world *w, uint32_t n_concurrent, uint32_t n_context, uint32_t n_pages, uint32_t entries) {
    world_in(w, (place){n_concurrent, n_context, n_pages, entries});
}

/* ---- watching the pool while they run ---- */

typedef struct watch {
    world *w;
    pthread_t thread;
    _Atomic bool stop;
    size_t peak_bytes;
    bool places; /* looks at them, too; of straight tables */
    uint32_t n_samples;
    uint64_t reserved, committed, in_step; /* places, summed: all; with a token; it is in the step */
    double part; /* summed over samples: of all places those not committed */
} watch;

/* Tokens of the running step: their keys and values are being written as we look. Fed once, not yet committed. */
static uint32_t tokens_in_step(const sched *s, const kv_sequence *q) {
    for (uint32_t f = 0; f < s->n_items; f++) {
        const engine_generation *g = &s->item_jobs[f]->gen;
        uint32_t n = s->items[f].n_tokens;
        bool pages_are_there = kv_pages_for(q->n_tokens + n) <= q->tables[0].end;
        if (g->session == q && s->items[f].tokens == g->tokens + q->n_tokens && pages_are_there) return n;
    }
    return 0;
}

static uint64_t tokens_of_nodes(const kv_index *x) {
    uint64_t tokens = 0;
    for (kv_node n = 0; n < x->n_nodes; n++)
        if (x->nodes[n].used && x->nodes[n].resident) tokens += x->nodes[n].n_tokens;
    return tokens;
}

static uint32_t clamp(uint32_t n, uint32_t low, uint32_t high) { return n < low ? low : n > high ? high : n; }

/* Page for page, each once: a node of the index says what its page holds, and of a sequence's those count that are
 * its alone. */
static void count_places(const world *w, watch *x) {
    kv_cache *c = engine_kv(w->en);
    kv_pool_counts pool;
    kv_pool_read(c->pool, &pool);
    uint64_t reserved = (uint64_t)pool.used_pages * KV_PAGE_TOKENS;
    uint64_t there = tokens_of_nodes(&c->index), coming = 0;
    for (uint32_t i = 0; i < c->config.n_sequences; i++) {
        const kv_sequence *s = &c->sequences[i];
        uint32_t n = s->open ? s->n_tokens : 0, n_soon = s->open ? n + tokens_in_step(w->s, s) : 0;
        for (uint32_t p = s->n_published; s->open && p < s->tables[0].end; p++) {
            if (kv_pool_refs(c->pool, s->tables[0].entries[p]) > 1) continue;
            uint32_t start = p * KV_PAGE_TOKENS, end = start + KV_PAGE_TOKENS, filled = clamp(n, start, end);
            there += filled - start, coming += clamp(n_soon, start, end) - filled;
        }
    }
    CHECK(there + coming <= reserved); /* no longjmp from this thread */
    x->reserved += reserved, x->committed += there, x->in_step += coming;
    x->part += 1 - (double)there / (double)reserved;
    x->n_samples++;
}

static void *look(void *ctx) {
    watch *x = ctx;
    while (!atomic_load(&x->stop)) {
        plat_mutex_lock(&x->w->s->lock);
        kv_cache_counts kv;
        kv_cache_read(engine_kv(x->w->en), &kv);
        if (kv.pool.used_bytes > x->peak_bytes) x->peak_bytes = kv.pool.used_bytes;
        if (x->places && kv.sequences && kv.pool.used_bytes) count_places(x->w, x);
        plat_mutex_unlock(&x->w->s->lock);
        pause_us(200);
    }
    return NULL;
}

static void watch_start(watch *x, world *w, bool places) {
    *x = (watch){.w = w, .places = places};
    assert_int_equal(engine_kv(w->en)->config.shape.n_groups, 1); /* one table a sequence */
    assert_int_equal(pthread_create(&x->thread, NULL, look, x), 0);
}

static void watch_end(watch *x) {
    atomic_store(&x->stop, true);
    pthread_join(x->thread, NULL);
}

/* ---- sharing ---- */

enum { SIXTEEN = 16, TAIL = 4, SAID = 12 };

typedef struct gate { /* the engine thread stands here, between steps, until it is opened */
    pthread_mutex_t lock;
    pthread_cond_t opened;
    bool open;
} gate;

static void stand_at_gate(void *ctx) {
    gate *g = ctx;
    pthread_mutex_lock(&g->lock);
    while (!g->open) pthread_cond_wait(&g->opened, &g->lock);
    pthread_mutex_unlock(&g->lock);
}

static void open_gate(gate *g) {
    pthread_mutex_lock(&g->lock);
    g->open = true;
    pthread_cond_signal(&g->opened);
    pthread_mutex_unlock(&g->lock);
}

typedef struct together { /* what the pool holds after steps in which all had said something */
    world *w;
    sched_job *const *jobs;
    uint32_t n_samples, least_pages, most_pages;
} together;

/* On the engine thread, between two steps. */
static void count_pages(void *ctx) {
    together *t = ctx;
    for (uint32_t i = 0; i < SIXTEEN; i++)
        if (t->jobs[i]->state != JOB_DECODE) return;
    uint32_t pages = (uint32_t)kv_of(t->w).pool.used_pages;
    if (pages > t->most_pages) t->most_pages = pages;
    if (!t->n_samples++ || pages < t->least_pages) t->least_pages = pages;
}

/* Beside the common pages each has one of its own, which no sharing can spare it: its tail and all that it says fit
 * there. Of 2,048 tokens that is 128 pages and 16, to the 128 and 1 of one alone: 1.12. All come before the first
 * runs, and their tails fill one batch: from then on all sixteen hold theirs until the last token is said. */
static void sixteen_with_one_prefix(uint32_t n_prefix) {
    world w;
    ask *asks[SIXTEEN];
    answer alone[SIXTEEN], got[SIXTEEN] = {0};
    sched_job *jobs[SIXTEEN];
    gate g = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, false};
    world_up(&w, SIXTEEN, CONTEXT, 0, ENTRIES);
    assert_int_equal(engine_batch(w.en), SIXTEEN * TAIL);
    for (uint32_t i = 0; i < SIXTEEN; i++) asks[i] = new_ask(&w, 1, n_prefix, 100 + i, n_prefix + TAIL, SAID);
    ask_alone(asks, alone, SIXTEEN, CONTEXT);

    answer first = answer_to(&w, asks[0]);
    assert_int_equal(kv_of(&w).pool.used_bytes, 0); /* nobody asked to remember it */
    ask *short_one = new_ask(&w, 0, 0, 99, 1, 1);
    sched_job *ended = submit_ask(&w, short_one);
    assert_true(sched_wait_idle(w.s, 60000));
    sched_job_listen(w.s, ended, stand_at_gate, &g);
    together all = {.w = &w, .jobs = jobs};
    for (uint32_t i = 0; i < SIXTEEN; i++) {
        asks[i]->r.whole = false; /* so that each token rings */
        jobs[i] = submit_ask(&w, asks[i]);
    }
    sched_job_listen(w.s, jobs[0], count_pages, &all);
    open_gate(&g);
    assert_true(sched_wait_idle(w.s, 600000));
    finish_all(&w, jobs, got, SIXTEEN);
    sched_job_release(w.s, ended);

    uint32_t pages = first.usage.kv_pages;
    print_message("a prefix of %u tokens: one holds %u pages, sixteen hold %u to %u at once (%u looks): %.3f\n",
                  n_prefix, pages, all.least_pages, all.most_pages, all.n_samples, (double)all.most_pages / pages);
    assert_int_equal(pages, kv_pages_for(n_prefix + TAIL + SAID - 1));
    assert_int_equal(all.n_samples, SAID - 1); /* with the last token they are gone */
    assert_int_equal(all.least_pages, n_prefix / KV_PAGE_TOKENS + SIXTEEN);
    assert_int_equal(all.most_pages, n_prefix / KV_PAGE_TOKENS + SIXTEEN);
    if (n_prefix >= 2048) assert_true(all.most_pages <= 1.15 * pages);
    assert_same_answer(&first, &alone[0]);
    for (uint32_t i = 0; i < SIXTEEN; i++) {
        assert_same_answer(&got[i], &alone[i]);
        if (i) assert_int_equal(got[i].usage.cached_tokens, n_prefix);
    }
    free_answer(&first);
    free_ask(short_one);
    forget_all(asks, alone, got, SIXTEEN);
    world_down(&w);
}

static void a_common_prefix_is_there_once(void **state) {
    (void)state;
    sixteen_with_one_prefix(2048 / SHORTER);
    sixteen_with_one_prefix(3584 / SHORTER);
}

static void remembered_conversations_share(void **state) {
    (void)state;
    enum { TEN = 10, SYSTEM = 3072 / SHORTER, LONG = 4000 / SHORTER, SAY = 40 / SHORTER };
    world w;
    world_up(&w, 2, CONTEXT, 0, ENTRIES);
    size_t one = 0;
    for (uint32_t i = 0; i < TEN; i++) {
        ask *q = new_ask(&w, 1, SYSTEM, 10 + i, LONG, SAY);
        q->r.remember = true;
        answer a = answer_to(&w, q);
        assert_int_equal(a.what, SCHED_END);
        assert_int_equal(a.usage.cached_tokens, i ? SYSTEM : 0);
        if (!i) one = kv_of(&w).pool.used_bytes;
        free_answer(&a);
        free_ask(q);
    }
    kv_cache_counts kv = kv_of(&w);
    double part = (double)kv.pool.used_bytes / (double)(TEN * one);
    print_message("ten conversations with a common start take %.1f %% of ten copies\n", part * 100);
    assert_int_equal(kv.entries, TEN);
    assert_int_equal(kv.pool.used_bytes, kv.pool.evictable_bytes);
    assert_true(part <= 0.4);
    world_down(&w);
}

/* Pages hold tokens: what lies empty is the end of each conversation's last page. Places whose tokens the running
 * step computes are in use; they are shown beside. */
static void waste_of(bool remember) {
    enum { ALL = WASTE_REQUESTS, AT_ONCE = 8 };
    world w;
    watch x;
    rng r;
    rng_seed(&r, 77);
    world_up(&w, AT_ONCE, 2048, 800, ENTRIES);
    sched_job *jobs[AT_ONCE] = {0};
    watch_start(&x, &w, true);
    for (uint32_t i = 0; i < ALL + AT_ONCE; i++) {
        sched_job **j = &jobs[i % AT_ONCE];
        if (*j) {
            answer a = {0};
            finish_job(&w, *j, &a);
            assert_int_equal(a.what, SCHED_END);
            free_answer(&a);
            *j = NULL;
        }
        if (i >= ALL) continue;
        uint32_t n_prompt = (uint32_t)(20 * pow(75, rng_unit(&r))), n = 1 + (uint32_t)(rng_next(&r) % 200);
        uint32_t shared = rng_next(&r) % 3 ? 0 : n_prompt * 3 / 4;
        ask *q = new_ask(&w, rng_next(&r) % 4, shared, 1000 + i, n_prompt, n);
        q->r.remember = remember;
        *j = submit_ask(&w, q);
        free_ask(q);
    }
    watch_end(&x);
    double empty = 1 - (double)(x.committed + x.in_step) / (double)x.reserved;
    print_message("%u requests, %s: %.2f %% of the bytes in use lie empty; %.2f %% more are being computed "
                  "(%u looks; mean of looks, with both: %.2f %%)\n",
                  ALL, remember ? "remembered" : "forgotten", empty * 100,
                  (double)x.in_step / (double)x.reserved * 100, x.n_samples, x.part / x.n_samples * 100);
    assert_true(x.n_samples > 20);
    assert_true(empty < 0.04);
    if (remember) assert_true(x.part / x.n_samples < 0.04);
    world_down(&w);
}

static void little_is_wasted(void **state) {
    (void)state;
    waste_of(true);
    waste_of(false);
}

/* ---- more than fits ---- */

/* Little more than the pages of one worst case for twelve that want much. */
static void overcommitted(uint32_t entries, uint32_t seed) {
    enum { JOBS = 12, SMALL_CONTEXT = 1024 };
    world w;
    ask *asks[JOBS];
    answer alone[JOBS], got[JOBS] = {0};
    sched_job *jobs[JOBS];
    rng r;
    rng_seed(&r, seed);
    world_up(&w, 6, SMALL_CONTEXT, kv_pages_for(SMALL_CONTEXT) + 4, entries);
    for (uint32_t i = 0; i < JOBS; i++) {
        uint32_t n_prompt = 20 + (uint32_t)(rng_next(&r) % 280);
        uint32_t n = 300 + (uint32_t)(rng_next(&r) % 400);
        asks[i] = new_ask(&w, 3, i % 2 ? n_prompt / 2 : 0, seed * 50 + i, n_prompt, n);
        asks[i]->r.remember = i % 3 == 0;
    }
    ask_alone(asks, alone, JOBS, SMALL_CONTEXT);
    for (uint32_t i = 0; i < JOBS; i++) jobs[i] = submit_ask(&w, asks[i]);
    finish_all(&w, jobs, got, JOBS);
    uint32_t most = 0;
    for (uint32_t i = 0; i < JOBS; i++) {
        assert_same_answer(&got[i], &alone[i]);
        if (got[i].usage.preempted > most) most = got[i].usage.preempted;
    }
    uint64_t preemptions = counts_of(&w).preemptions;
    print_message("overcommitted, cache %s: %llu parkings, one job %u times\n", entries ? "on" : "off",
                  (unsigned long long)preemptions, most);
    assert_true(preemptions > 0);
    assert_in_range(most, 1, JOBS); /* each comes back when another has ended, or with much room: not in turns */
    forget_all(asks, alone, got, JOBS);
    world_down(&w);
}

static void more_than_fits(void **state) {
    (void)state;
    for (uint32_t seed = 1; seed <= SEEDS; seed++) {
        overcommitted(ENTRIES, seed);
        overcommitted(0, seed);
    }
}

/* The whole pool is its worst case, and the end of its prompt is remembered in a page that it has to copy first. */
static void a_known_prompt_that_fills_the_pool(void **state) {
    (void)state;
    world w;
    world_up(&w, 2, 256, 8, ENTRIES);
    ask *q = new_ask(&w, 1, 0, 2, 120, 8);
    q->r.remember = true;
    answer first = answer_to(&w, q), second = answer_to(&w, q);
    assert_int_equal(first.what, SCHED_END);
    assert_same_answer(&second, &first);
    assert_true(second.usage.cached_tokens >= 96);
    free_answer(&first), free_answer(&second);
    free_ask(q);
    world_down(&w);
}

/* ---- who goes first ---- */

/* A stream that says more than its ring holds: unread, it stays where it is, in work and on its pages. */
static sched_job *submit_lasting(world *w, uint64_t own, uint32_t n_prompt) {
    ask *q = new_ask(w, 0, 0, own, n_prompt, 3000);
    q->r.whole = false;
    q->r.sampling.top_logprobs = 20;
    sched_job *j = submit_ask(w, q);
    free_ask(q);
    return j;
}

static uint32_t said(world *w, const sched_job *j) {
    plat_mutex_lock(&w->s->lock);
    uint32_t n = j->n_generated; /* j->gen is the engine thread's own */
    plat_mutex_unlock(&w->s->lock);
    return n;
}

static uint64_t admitted_at(world *w, const sched_job *j) {
    plat_mutex_lock(&w->s->lock);
    uint64_t ns = j->admit_ns;
    plat_mutex_unlock(&w->s->lock);
    return ns;
}

static void until_done(world *w, sched_job *j) {
    while (!sched_job_done(w->s, j)) pause_us(200);
}

static void the_higher_priority_goes_first(void **state) {
    (void)state;
    world w;
    world_up(&w, 2, CONTEXT, 0, ENTRIES);
    sched_job *blockers[2] = {submit_lasting(&w, 1, 10), submit_lasting(&w, 2, 10)}, *jobs[6];
    until_active(&w, 2);
    static const int32_t priority[6] = {0, -3, 5, 0, 5, 1};
    static const int order[6] = {2, 4, 5, 0, 3, 1};
    for (int i = 0; i < 6; i++) {
        ask *q = new_ask(&w, 0, 0, 10, 40, 5);
        q->r.priority = priority[i];
        jobs[i] = submit_ask(&w, q);
        free_ask(q);
    }
    sched_job_release(w.s, blockers[0]);
    for (int i = 0; i < 6; i++) until_done(&w, jobs[i]);
    for (int i = 1; i < 6; i++) assert_true(jobs[order[i]]->admit_ns >= jobs[order[i - 1]]->end_ns);
    for (int i = 0; i < 6; i++) sched_job_release(w.s, jobs[i]);
    sched_job_release(w.s, blockers[1]);
    world_down(&w);
}

static void strictly_one_after_another(void **state) {
    (void)state;
    world w;
    world_up(&w, 1, CONTEXT, 0, ENTRIES);
    sched_job *jobs[8];
    for (int i = 0; i < 8; i++) {
        ask *q = new_ask(&w, 0, 0, 10, 40, 5);
        q->r.priority = i * 5 % 7;
        q->r.tenant = (uint32_t)i % 2;
        jobs[i] = submit_ask(&w, q);
        free_ask(q);
    }
    for (int i = 0; i < 8; i++) until_done(&w, jobs[i]);
    for (int i = 1; i < 8; i++) assert_true(jobs[i]->admit_ns >= jobs[i - 1]->end_ns);
    for (int i = 0; i < 8; i++) sched_job_release(w.s, jobs[i]);
    world_down(&w);
}

/* The one that outranks all others comes last into a pool that is too small for all: they make way, never it. */
static void the_highest_is_never_parked(void **state) {
    (void)state;
    enum { JOBS = 8 };
    world w;
    world_up(&w, JOBS, 1024, 68, ENTRIES);
    ask *asks[JOBS];
    answer alone[JOBS], got[JOBS] = {0};
    sched_job *jobs[JOBS];
    for (uint32_t i = 0; i < JOBS; i++) {
        asks[i] = new_ask(&w, 0, 0, 30 + i, 60, i == JOBS - 1 ? 900 : 300);
        asks[i]->r.priority = i == JOBS - 1 ? 9 : (int32_t)i % 3;
    }
    ask_alone(asks, alone, JOBS, 1024);
    for (uint32_t i = 0; i < JOBS; i++) jobs[i] = submit_ask(&w, asks[i]);
    finish_all(&w, jobs, got, JOBS);
    for (uint32_t i = 0; i < JOBS; i++) assert_same_answer(&got[i], &alone[i]);
    assert_true(counts_of(&w).preemptions > 0);
    assert_int_equal(got[JOBS - 1].usage.preempted, 0);
    forget_all(asks, alone, got, JOBS);
    world_down(&w);
}

/* What is not in use, with room for so many pages more. */
static void leave_room(world *w, size_t pages) {
    kv_pool *pool = kv_cache_pool(engine_kv(w->en));
    kv_pool_counts c;
    kv_pool_read(pool, &c);
    kv_pool_resize(pool, c.used_bytes - c.evictable_bytes + pages * w->plan.page_bytes);
}

/* In place of the engine thread, which waits for the lock. */
static void preempt_here(sched *s, sched_job *j) {
    const void *engine_thread = s->engine_thread;
    s->engine_thread = plat_thread_mark();
    sched_preempt(s, j);
    s->engine_thread = engine_thread;
}

/* One is preempted and one of a higher priority waits: the room that comes is the latter's. */
static void the_higher_priority_goes_before_the_parked(void **state) {
    (void)state;
    world w;
    world_up(&w, 3, CONTEXT, 0, ENTRIES);
    sched_job *a = submit_lasting(&w, 1, 500), *b = submit_lasting(&w, 2, 500);
    while (!is_stalled(&w, a) || !is_stalled(&w, b)) pause_us(1000);
    plat_mutex_lock(&w.s->lock);
    preempt_here(w.s, b);
    leave_room(&w, 640 / KV_PAGE_TOKENS);
    plat_mutex_unlock(&w.s->lock);
    ask *q = new_ask(&w, 0, 0, 5, 900, 100);
    q->r.priority = 1;
    sched_job *high = submit_ask(&w, q);
    pause_us(250000);
    assert_int_equal(counts_of(&w).preempted, 1);
    assert_int_equal(counts_of(&w).queued, 1);
    plat_mutex_lock(&w.s->lock);
    leave_room(&w, 1120 / KV_PAGE_TOKENS); /* enough for either */
    plat_mutex_unlock(&w.s->lock);
    while (counts_of(&w).preempted && counts_of(&w).queued) pause_us(200);
    assert_true(admitted_at(&w, high));
    until_done(&w, high);
    while (counts_of(&w).preempted) pause_us(200);
    sched_job_release(w.s, high), sched_job_release(w.s, a), sched_job_release(w.s, b);
    free_ask(q);
    world_down(&w);
}

/* A has forty waiting when B comes with five: B need not wait for all of A's. */
static void tenants_take_turns(void **state) {
    (void)state;
    enum { OF_A = 40, OF_B = 5 };
    world w;
    world_up(&w, 2, CONTEXT, 0, ENTRIES);
    sched_job *a[OF_A], *b[OF_B];
    ask *q = new_ask(&w, 0, 0, 6, 60, 20);
    for (int i = 0; i < OF_A; i++) a[i] = submit_ask(&w, q);
    q->r.tenant = 1;
    uint64_t came_ns = clock_now_ns(), last_ns = 0;
    for (int i = 0; i < OF_B; i++) b[i] = submit_ask(&w, q);
    for (int i = 0; i < OF_B; i++) until_done(&w, b[i]);
    for (int i = 0; i < OF_B; i++) last_ns = b[i]->end_ns > last_ns ? b[i]->end_ns : last_ns;
    for (int i = 0; i < OF_A; i++) until_done(&w, a[i]);
    int between = 0;
    for (int i = 0; i < OF_A; i++) between += a[i]->end_ns > came_ns && a[i]->end_ns < last_ns;
    print_message("%d of A's ended while B's five ran\n", between);
    assert_in_range(between, 0, OF_B + 4);
    for (int i = 0; i < OF_A; i++) sched_job_release(w.s, a[i]);
    for (int i = 0; i < OF_B; i++) sched_job_release(w.s, b[i]);
    free_ask(q);
    world_down(&w);
}

typedef struct first_token { /* rings on the engine thread, the only one that changes jobs */
    const sched_job *other;
    uint32_t other_said;
} first_token;

static void note_first_token(void *ctx) {
    first_token *f = ctx;
    if (!f->other_said) f->other_said = f->other->gen.n_generated;
}

/* Beside a decoding job a long prompt is fed in pieces, and a short one that comes later need not wait for it. */
static void a_long_prompt_stalls_nobody(void **state) {
    (void)state;
    world w;
    world_up(&w, 3, CONTEXT, 0, ENTRIES);
    enum { LONG = 3000 / SHORTER };
    ask *decoding = new_ask(&w, 0, 0, 7, 10, 4000), *longer = new_ask(&w, 0, 0, 8, LONG, 4),
        *brief = new_ask(&w, 0, 0, 9, 30, 4);
    longer->r.whole = false; /* woken at its first token */
    sched_job *d = submit_ask(&w, decoding);
    while (said(&w, d) < 20) pause_us(200);
    sched_job *l = submit_ask(&w, longer);
    first_token first = {.other = d};
    sched_job_listen(w.s, l, note_first_token, &first);
    while (!admitted_at(&w, l)) pause_us(50);
    uint32_t before = said(&w, d);
    sched_job *b = submit_ask(&w, brief);
    until_done(&w, b);
    until_done(&w, l);
    assert_false(sched_job_done(w.s, d));
    assert_true(b->first_ns < l->first_ns);
    sched_job_release(w.s, l); /* it rings no more */
    print_message("beside %u tokens of a prompt the decoding job had %u\n", LONG, first.other_said - before);
    assert_true(first.other_said - before >= LONG / 64 * 2);
    sched_job_release(w.s, d), sched_job_release(w.s, b);
    free_ask(decoding), free_ask(longer), free_ask(brief);
    world_down(&w);
}

/* ---- leaving ---- */

/* In whatever state a job is let go: what it held is back, and its neighbour says what it always says. */
static void leaving_in(job_state when) {
    world w;
    world_up(&w, when == JOB_QUEUED ? 1 : 2, CONTEXT, 0, ENTRIES);
    ask *neighbour = new_ask(&w, 1, 200, 11, 300, 700), *victim = new_ask(&w, 1, 200, 12, 3500, 500);
    answer alone, got = {0};
    ask_alone(&neighbour, &alone, 1, CONTEXT);
    if (when == JOB_DECODE || when == JOB_PREEMPTED) victim->r.n_prompt = 250;
    sched_job *n = submit_ask(&w, neighbour);
    while (!said(&w, n)) pause_us(50);
    sched_job *v = submit_ask(&w, victim);
    if (when == JOB_PREFILL)
        while (!admitted_at(&w, v)) pause_us(50);
    if (when == JOB_DECODE || when == JOB_PREEMPTED)
        while (said(&w, v) < 3) pause_us(50);
    for (bool preempted = when != JOB_PREEMPTED; !preempted;) { /* it has been running beside the other until now */
        plat_mutex_lock(&w.s->lock);
        leave_room(&w, 0);
        preempted = v->state == JOB_PREEMPTED;
        plat_mutex_unlock(&w.s->lock);
        pause_us(50);
    }
    sched_job_release(w.s, v);
    while (!counts_of(&w).cancelled) pause_us(50);
    plat_mutex_lock(&w.s->lock);
    assert_int_equal(engine_kv(w.en)->index.n_entries_used, 0);
    kv_pool_counts pool;
    kv_cache_counts kv;
    kv_pool_read(kv_cache_pool(engine_kv(w.en)), &pool);
    kv_cache_read(engine_kv(w.en), &kv);
    assert_int_equal(pool.evictable_bytes, 0);
    if (n->state == JOB_DECODE) {
        assert_int_equal(kv.sequences, 1);
        assert_int_equal(pool.used_bytes, engine_session_bytes(w.en, n->gen.session));
    }
    kv_pool_resize(kv_cache_pool(engine_kv(w.en)), w.plan.n_pages * w.plan.page_bytes);
    plat_mutex_unlock(&w.s->lock);
    finish_job(&w, n, &got);
    assert_same_answer(&got, &alone);
    free_answer(&got), free_answer(&alone);
    free_ask(neighbour), free_ask(victim);
    world_down(&w);
}

static void leaving_in_any_state(void **state) {
    (void)state;
    leaving_in(JOB_QUEUED);
    leaving_in(JOB_PREFILL);
    leaving_in(JOB_DECODE);
    leaving_in(JOB_PREEMPTED);
}

/* A neighbour of someone who leaves. It rings on the engine thread, after each step it had a token in. */
typedef struct neighbour {
    world *w;
    sched_job *stays;
    sched_job *_Atomic leaves; /* on the next ring */
    _Atomic bool leaving, alone;
    _Atomic uint64_t left_at, alone_at; /* steps by then */
} neighbour;

/* Called while the lock is let go: other threads submit and release meanwhile. */
static bool has_it_all(const neighbour *n) {
    kv_cache_counts kv;
    plat_mutex_lock(&n->w->s->lock);
    kv_cache_read(engine_kv(n->w->en), &kv);
    bool all = kv.sequences == 1 && kv.pool.used_bytes == engine_session_bytes(n->w->en, n->stays->gen.session) &&
               n->w->s->blocks.used_bytes == n->stays->block_bytes;
    plat_mutex_unlock(&n->w->s->lock);
    return all;
}

static void look_around(void *ctx) {
    neighbour *n = ctx;
    engine_counters so_far;
    engine_counters_read(n->w->en, &so_far);
    if (n->leaves) {
        n->left_at = so_far.steps;
        sched_job_release(n->w->s, n->leaves);
        n->leaves = NULL;
    } else if (n->leaving && !n->alone && has_it_all(n)) {
        n->alone_at = so_far.steps;
        n->alone = true;
    }
}

static bool is_in(world *w, const sched_job *j, job_state when) {
    plat_mutex_lock(&w->s->lock);
    bool there = j->state == when && (when == JOB_QUEUED || j->n_fed > 200) && (when != JOB_DECODE || j->first_ns);
    plat_mutex_unlock(&w->s->lock);
    return there;
}

static uint64_t steps_so_far(world *w) {
    kv_cache_counts kv;
    engine_counters so_far;
    sched_engine_read(w->s, &kv, &so_far);
    return so_far.steps;
}

/* Between two steps, or from another thread while one may be running: it is not in the one after. */
static void leave_within_a_step(job_state when, bool between) {
    world w;
    world_up(&w, when == JOB_QUEUED ? 1 : 2, CONTEXT, 0, ENTRIES);
    ask *stays = new_ask(&w, 1, 200, 11, 300, LEAVING_TOKENS), *leaves = new_ask(&w, 1, 200, 12, 3500, 500);
    stays->r.whole = false;
    if (when == JOB_DECODE) leaves->r.n_prompt = 250;
    answer alone, got = {0};
    ask_alone(&stays, &alone, 1, CONTEXT);
    neighbour n = {.w = &w, .stays = submit_ask(&w, stays)};
    while (!said(&w, n.stays)) pause_us(50);
    sched_job_listen(w.s, n.stays, look_around, &n);
    for (int round = 0; round < 10 && said(&w, n.stays) < LEAVING_TOKENS / 2; round++) {
        sched_job *v = submit_ask(&w, leaves);
        while (!is_in(&w, v, when)) pause_us(50);
        n.alone = false;
        n.leaving = true;
        if (between) {
            n.leaves = v;
        } else {
            sched_job_release(w.s, v);
            n.left_at = steps_so_far(&w);
        }
        while (!n.alone && !sched_job_done(w.s, n.stays)) pause_us(50);
        assert_true(n.alone);
        n.leaving = false;
        if (n.alone_at > n.left_at + 1) fail_msg("%d steps later", (int)(n.alone_at - n.left_at));
    }
    finish_job(&w, n.stays, &got);
    assert_same_answer(&got, &alone);
    free_answer(&got), free_answer(&alone);
    free_ask(stays), free_ask(leaves);
    world_down(&w);
}

static void leaving_takes_a_step_at_most(void **state) {
    (void)state;
    for (int between = 0; between < 2; between++) {
        leave_within_a_step(JOB_QUEUED, between);
        leave_within_a_step(JOB_PREFILL, between);
        leave_within_a_step(JOB_DECODE, between);
    }
}

/* ---- coming back ---- */

/* What it left is in the file, and not all of it is whole: it computes that again, and nothing stays of what it left. */
static void a_parked_request_finds_damage(void **state) {
    (void)state;
    world w;
    world_in(&w, (place){2, CONTEXT, .entries = ENTRIES, .spill_bytes = 1 << 20});
    ask *q = new_ask(&w, 0, 0, 1, 500, 400);
    q->r.whole = false, q->r.sampling.top_logprobs = 20; /* more than its ring holds */
    answer alone, got = {0};
    ask_alone(&q, &alone, 1, CONTEXT);
    sched_job *j = submit_ask(&w, q);
    while (!is_stalled(&w, j)) pause_us(200);
    plat_mutex_lock(&w.s->lock);
    kv_cache *kv = engine_kv(w.en);
    kv_cache_counts counts;
    preempt_here(w.s, j);
    kv_cache_evict(kv, 0);
    kv_cache_read(kv, &counts);
    assert_int_equal(counts.pool.used_pages, 0);
    assert_true(counts.spilled_pages >= kv_pages_for(500));
    damage_slots(spill_path, w.plan.page_bytes, counts.spill.slots, 3);
    plat_mutex_unlock(&w.s->lock);
    finish_job(&w, j, &got);
    assert_same_answer(&got, &alone);
    assert_int_equal(kv_of(&w).restored_pages, 3);
    assert_int_equal(kv_of(&w).bad_pages, 1);
    free_answer(&got), free_answer(&alone);
    free_ask(q);
    world_down(&w);
}

/* ---- pins and windows ---- */

static bool is_pinned_there(world *w) {
    kv_entry_view v;
    for (uint32_t at = 0; sched_cache_entries(w->s, &at, &v, 1);)
        if (v.pinned) return true;
    return false;
}

static void a_pin_gives_way_last(void **state) {
    (void)state;
    enum { PAGES = 68 };
    world w;
    world_up(&w, 4, 1024, PAGES, ENTRIES);
    ask *pinned = new_ask(&w, 0, 0, 20, 310, 10), *all = new_ask(&w, 0, 0, 21, 700, 320);
    pinned->r.remember = pinned->r.memory.pin = true;
    answer a = answer_to(&w, pinned);
    free_answer(&a);
    assert_true(is_pinned_there(&w));
    ask *asks[12];
    answer alone[12], got[12] = {0};
    sched_job *jobs[12];
    for (uint32_t i = 0; i < 12; i++) { /* pressure: what is remembered goes, runners are preempted, the pin stays */
        asks[i] = new_ask(&w, 0, 0, 50 + i, 200, 400);
        asks[i]->r.remember = true;
    }
    ask_alone(asks, alone, 12, 1024);
    for (uint32_t i = 0; i < 12; i++) jobs[i] = submit_ask(&w, asks[i]);
    finish_all(&w, jobs, got, 12);
    for (uint32_t i = 0; i < 12; i++) assert_same_answer(&got[i], &alone[i]);
    assert_true(counts_of(&w).preemptions > 0);
    assert_true(kv_of(&w).evicted_pages > 0);
    assert_true(is_pinned_there(&w));
    a = answer_to(&w, pinned); /* and it is of use */
    assert_int_equal(a.usage.cached_tokens, 309);
    free_answer(&a);
    a = answer_to(&w, all); /* nearly the whole pool */
    assert_int_equal(a.what, SCHED_END);
    assert_int_equal(a.n, 320);
    assert_false(is_pinned_there(&w));
    free_answer(&a);
    free_ask(pinned), free_ask(all);
    forget_all(asks, alone, got, 12);
    world_down(&w);
}

static void a_window_takes_no_more(void **state) {
    (void)state;
    enum { WINDOW = 64, KEEP = 4 };
    for (kv_type type = 0; type < KV_TYPES; type++) {
        world w;
        watch x;
        world_up(&w, 2, 512, 128, ENTRIES);
        ask *q = new_ask(&w, 0, 0, 22, 30, 20 * WINDOW);
        q->r.params.window = WINDOW, q->r.params.keep = KEEP, q->r.params.type = type;
        size_t most = kv_cache_bytes_for(engine_kv(w.en), &q->r.params, UINT32_MAX / 2);
        watch_start(&x, &w, false);
        answer a = answer_to(&w, q);
        watch_end(&x);
        assert_int_equal(a.what, SCHED_END);
        assert_int_equal(a.n, 20 * WINDOW);
        assert_in_range(a.usage.kv_bytes, 1, most);
        assert_in_range(x.peak_bytes, 1, most + kv_set_bytes(&engine_model_desc(w.en)->kv, type));
        free_answer(&a);
        free_ask(q);
        world_down(&w);
    }
}

/* The prompt alone is more than the pool; the window is not. */
static void a_window_over_a_long_prompt(void **state) {
    (void)state;
    world w;
    world_up(&w, 2, 2048, 24, ENTRIES);
    ask *q = new_ask(&w, 0, 0, 23, 1500, 20);
    q->r.params.window = 64, q->r.params.keep = 4;
    answer alone;
    ask_alone(&q, &alone, 1, 2048);
    for (int round = 0; round < 2; round++) {
        answer a = answer_to(&w, q);
        assert_same_answer(&a, &alone);
        free_answer(&a);
        q->r.remember = true;
    }
    free_answer(&alone);
    free_ask(q);
    world_down(&w);
}

/* ---- would it fit ---- */

static void fit_says_what_submit_does(void **state) {
    (void)state;
    world w;
    rng r;
    rng_seed(&r, 4);
    world_up(&w, 3, 1024, 80, ENTRIES);
    sched_job *busy[3] = {0};
    uint32_t n_busy = 0, n_never = 0, n_now = 0, n_later = 0;
    for (int i = 0; i < FITS; i++) {
        if (i % (FITS / 10) == 0) { /* another number of jobs that stand still */
            while (n_busy > 0) sched_job_release(w.s, busy[--n_busy]);
            assert_true(sched_wait_idle(w.s, 60000));
            for (; n_busy < (uint32_t)i / (FITS / 10) % 4; n_busy++) {
                ask *q = new_ask(&w, 0, 0, 60 + n_busy, 1 + (uint32_t)(rng_next(&r) % 200), 700);
                q->r.whole = false, q->r.sampling.top_logprobs = 20;
                busy[n_busy] = submit_ask(&w, q);
                while (!is_stalled(&w, busy[n_busy]) && counts_of(&w).preempted == 0) pause_us(200);
                free_ask(q);
            }
            pause_us(2000);
        }
        ask *q = new_ask(&w, rng_next(&r) % 3, (uint32_t)(rng_next(&r) % 300), 70 + rng_next(&r) % 5,
                         1 + (uint32_t)(rng_next(&r) % 1100), (uint32_t)(rng_next(&r) % 900));
        q->r.remember = rng_next(&r) % 2;
        q->r.params.type = (kv_type)(rng_next(&r) % KV_TYPES);
        if (rng_next(&r) % 4 == 0) q->r.params.window = 32 + (uint32_t)(rng_next(&r) % 1200), q->r.params.keep = 5;
        if (rng_next(&r) % 8 == 0) q->r.max_tokens = UINT32_MAX;
        if (rng_next(&r) % 8 == 0) q->r.sampling.top_logprobs = 20;
        sched_fit fit;
        err asked = {0}, told = {0};
        bool right = sched_would_fit(w.s, &q->r, &fit, &asked);
        sched_job *j = sched_submit(w.s, &q->r, &told);
        assert_int_equal(right, j || told.code != ERR_INVALID);
        if (right && fit.ever != (j != NULL)) fail_msg("%d: ever %d; %s", i, fit.ever, told.message);
        n_never += right && !fit.ever;
        if (right && !fit.ever) assert_int_equal(fit.reason.code, ERR_TOO_LARGE);
        if (j && fit.now) {
            n_now++;
            while (!admitted_at(&w, j)) pause_us(50);
            if (!n_busy) until_done(&w, j); /* beside those that stand still it may wait for ever */
            plat_mutex_lock(&w.s->lock);
            assert_int_equal(j->cached_tokens, fit.cached_tokens);
            plat_mutex_unlock(&w.s->lock);
        } else if (j) {
            n_later++;
            assert_true(fit.reason.code == ERR_BUSY || fit.reason.code == ERR_MEMORY);
            pause_us(2000);
            assert_false(admitted_at(&w, j));
        }
        if (j) sched_job_release(w.s, j);
        for (sched_counts c = counts_of(&w); c.queued || c.active != n_busy; c = counts_of(&w)) pause_us(50);
        free_ask(q);
    }
    print_message("%u never, %u now, %u later\n", n_never, n_now, n_later);
    assert_true(n_never > FITS / 20 && n_now > FITS / 20 && n_later > FITS / 20);
    while (n_busy > 0) sched_job_release(w.s, busy[--n_busy]);
    world_down(&w);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_common_prefix_is_there_once),
        cmocka_unit_test(remembered_conversations_share),
        cmocka_unit_test(little_is_wasted),
        cmocka_unit_test(more_than_fits),
        cmocka_unit_test(a_known_prompt_that_fills_the_pool),
        cmocka_unit_test(the_higher_priority_goes_first),
        cmocka_unit_test(strictly_one_after_another),
        cmocka_unit_test(the_highest_is_never_parked),
        cmocka_unit_test(the_higher_priority_goes_before_the_parked),
        cmocka_unit_test(tenants_take_turns),
        cmocka_unit_test(a_long_prompt_stalls_nobody),
        cmocka_unit_test(leaving_in_any_state),
        cmocka_unit_test(leaving_takes_a_step_at_most),
        cmocka_unit_test(a_parked_request_finds_damage),
        cmocka_unit_test(a_pin_gives_way_last),
        cmocka_unit_test(a_window_takes_no_more),
        cmocka_unit_test(a_window_over_a_long_prompt),
        cmocka_unit_test(fit_says_what_submit_does),
    };
    return cmocka_run_group_tests_name("sched_sharing", tests, up, model_down);
}
