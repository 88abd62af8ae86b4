#include "sched/loop.h"

#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/hostile.h"
#include "base/log.h"
#include "engine/draft.h"
#include "plat/kernel.h"
#include "plat/thread.h"
#include "sched/internal.h"

enum {
    FIRST_CHUNK = HOSTILE(8, 1), LEAST_CHUNK = 1, /* tokens of a prompt beside decodes: to begin with; at least */
    BARE_STEP_EVERY = 32,             /* such a step is the decodes alone: what they take is measured anew, */
    CHANGED_STEP_EVERY = 3,           /* and at such a one when they are more or fewer than when it was */
    TRIM_AFTER_IDLE_MS = 1000,
    TIMEOUT_CHECK_MS = 100,
    RETRY_MS = 10, /* when the system refuses memory */
    WRITE_BEHIND_PAGES = HOSTILE(8, 1),
};

/* A step with a piece of a prompt is to take so many times what the decodes alone take. The size of the piece follows
 * what steps took: down at once, up slowly, so that one lucky step does not make the next a long one. */
static const double STEP_STRETCH = 1.6, CHUNK_SHRINK = 0.5, CHUNK_GROW = 1.2;

static void wake_later(sched_job *j) { j->wake_due = j->wake != NULL; }

/* Tells consumers, holding no lock; a consumer that lets go meanwhile waits for its call to return. True when there
 * were any. */
static bool wake_consumers(sched *s) {
    bool woke = false;
    for (uint32_t i = 0; i < s->n_jobs; i++) {
        sched_job *j = &s->jobs[i];
        if (!j->wake_due) continue;
        sched_wake *wake = j->wake;
        void *wake_ctx = j->wake_ctx;
        j->wake_due = false;
        j->waking = woke = true;
        sched_unlock(s);
        plat_pulse_begin("waking", j->id, 0);
        wake(wake_ctx);
        plat_pulse_end();
        sched_lock(s);
        j->waking = false;
        pthread_cond_broadcast(&s->idle);
    }
    return woke;
}

static void account(sched *s, sched_job *j) {
    double ms = (double)(j->end_ns - j->admit_ns) / 1e6;
    s->mean_job_ms = s->mean_job_ms > 0 ? s->mean_job_ms * 0.9 + ms * 0.1 : ms;
    s->counts.prompt_tokens += j->gen.n_prompt;
    s->counts.completion_tokens += j->gen.n_generated;
    s->counts.drafted_tokens += j->gen.n_drafted;
    s->counts.accepted_tokens += j->gen.n_accepted;
}

/* The one exit. Whatever the job held of the engine goes back; the block stays until the consumer has
 * read it, or goes with a consumer who has left. */
void sched_job_exit(sched *s, sched_job *j, const err *failure) {
    bool good = !failure && !j->cancelled;
    CHECK(j->state == JOB_QUEUED ? sched_locked(s) : sched_steps(s)); /* only the queued hold nothing of the engine's */
    if (j->state == JOB_PREEMPTED) kv_cache_forget_preempted(engine_kv(s->en), j->number); /* it does not come back */
    engine_draft_end(&j->gen);
    engine_grammar_release(s->en, j->sampling.grammar);
    j->sampling.grammar = NULL;
    kv_sequence_close(engine_kv(s->en), j->gen.session, good && j->remember ? &j->memory : NULL);
    j->gen.session = NULL;
    sched_job_move(s, j, JOB_ENDED);
    if (failure) j->failure = *failure;
    if (j->cancelled) s->counts.cancelled++;
    else if (failure) s->counts.failed++;
    else s->counts.finished++;
    if (good) account(s, j);
    s->cleanup_due = s->config.cleanup_after_request;
    if (j->cancelled) sched_job_move(s, j, JOB_FREE);
    else wake_later(j);
    pthread_cond_broadcast(&s->idle);
}

static bool over(uint64_t since_ns, uint32_t limit_ms, uint64_t now_ns) {
    return limit_ms && now_ns > since_ns && (now_ns - since_ns) / 1000000 >= limit_ms;
}

/* A ring without room for the largest token holds its job back until the reader catches up. */
static bool stalled(const sched_job *j) { return !sched_ring_has_room(&j->ring, RING_LARGEST_BYTES); }

/* Who has left, and who waits for a reader in vain. */
static void sweep(sched *s) {
    uint64_t now = clock_now_ns();
    err e = {0};
    for (uint32_t i = 0; i < s->n_jobs; i++) {
        sched_job *j = &s->jobs[i];
        if (j->state == JOB_FREE || j->state == JOB_ENDED) continue;
        if (j->cancelled || s->stopping) {
            err_set(&e, ERR_CANCELLED, "the server is stopping");
            sched_job_exit(s, j, &e);
        } else if (sched_job_is_active(j) && stalled(j) && j->whole) {
            j->gen.finish = ENGINE_FINISH_LENGTH; /* longer texts than a job is priced for: as if at max_tokens */
            sched_job_exit(s, j, NULL);
        } else if (sched_job_is_active(j) && stalled(j) && over(j->read_ns, s->config.stall_timeout_ms, now)) {
            err_set(&e, ERR_CANCELLED, "the client read nothing for %u ms", s->config.stall_timeout_ms);
            sched_job_exit(s, j, &e);
        }
    }
}

static void expire_queued(sched *s) {
    uint64_t now = clock_now_ns();
    err e = {0};
    for (uint32_t i = 0; i < s->n_jobs; i++) {
        sched_job *j = &s->jobs[i];
        if (j->state != JOB_QUEUED || !over(j->submit_ns, s->config.queue_timeout_ms, now)) continue;
        err_set(&e, ERR_BUSY, "waited %u ms in the queue without being admitted", s->config.queue_timeout_ms);
        e.need_bytes = sched_worst_bytes(s, j);
        sched_job_exit(s, j, &e);
    }
}

/* ---- a step ---- */

static uint32_t tokens_left(const sched_job *j) { return j->gen.n_prompt + j->gen.n_generated - j->gen.n_fed; }

static bool may_step(const sched_job *j, job_state state) {
    return j->state == state && !(stalled(j) && !j->cancelled) && j->gen.finish == ENGINE_RUNNING;
}

static void add_item(sched *s, sched_job *j, uint32_t n_tokens) {
    engine_generation_next_item(&j->gen, n_tokens, &s->items[s->n_items]);
    s->item_jobs[s->n_items++] = j;
}

/* One token of each decoding job, first in rank first. A batch smaller than their number takes them in turns. */
static uint32_t add_decodes(sched *s, uint32_t left) {
    uint32_t n = s->n_running, start = n > left ? s->turn % n : 0;
    for (uint32_t i = 0; i < n && s->n_items < left; i++) {
        sched_job *j = s->running[(start + i) % n];
        if (may_step(j, JOB_DECODE) && sched_prepare(s, j, 1)) add_item(s, j, 1);
    }
    return s->n_items;
}

static uint32_t chunk_beside(const sched *s, uint32_t n_decodes, uint32_t left) {
    if (!n_decodes) return left;
    bool changed = n_decodes != s->decode_step_n;
    if (s->turn % (changed ? CHANGED_STEP_EVERY : BARE_STEP_EVERY) == 0 || s->decode_step_ms <= 0) return 0;
    return s->chunk < left ? (uint32_t)s->chunk : left;
}

/* Its next page is being computed in this step already, by one that begins the same way: it waits and shares. */
static bool will_be_known(const sched *s, const sched_job *j) {
    for (uint32_t f = 0; f < s->n_items; f++) {
        const sched_job *other = s->item_jobs[f];
        if (other->state != JOB_PREFILL || other->gen.n_fed != j->gen.n_fed || !j->params.share || !other->params.share)
            continue;
        uint32_t n = s->items[f].n_tokens < KV_PAGE_TOKENS ? s->items[f].n_tokens : KV_PAGE_TOKENS;
        if (j->params.tenant == other->params.tenant && j->params.type == other->params.type && tokens_left(j) > n &&
            !memcmp(j->gen.tokens + j->gen.n_fed, s->items[f].tokens, n * sizeof(int32_t)))
            return true;
    }
    return false;
}

static bool in_step(const sched *s, const sched_job *j) {
    for (uint32_t f = 0; f < s->n_items; f++)
        if (s->item_jobs[f] == j) return true;
    return false;
}

/* When memory is short, prompts wait for whoever is before them. */
static bool waits_for_memory(const sched *s, uint32_t rank) {
    if (s->pressure < MEM_CRITICAL) return false;
    for (uint32_t i = 0; i < rank; i++)
        if (may_step(s->running[i], JOB_PREFILL) || may_step(s->running[i], JOB_DECODE)) return true;
    return false;
}

/* In turns the first in rank and the one that has least to go: long prompts get on, short ones do not wait for
 * them. */
static sched_job *next_prompt(sched *s) {
    sched_job *next = NULL;
    for (uint32_t i = 0; i < s->n_running; i++) {
        sched_job *j = s->running[i];
        if (!may_step(j, JOB_PREFILL) || in_step(s, j) || will_be_known(s, j) || waits_for_memory(s, i))
            continue;
        if (!next) next = j;
        else if (s->turn % 2 && j->priority == next->priority && tokens_left(j) < tokens_left(next)) next = j;
    }
    return next;
}

static void add_prompts(sched *s, uint32_t left) {
    sched_job *j;
    while (left && s->n_items < s->config.max_concurrent && (j = next_prompt(s))) {
        sched_match_prefix(s, j);
        uint32_t n = tokens_left(j) < left ? tokens_left(j) : left;
        if (!sched_prepare(s, j, n)) {
            if (sched_job_runs(j) && j->starving_ns) return; /* the system has no page for it now */
            continue;                                 /* preempted, or gone */
        }
        add_item(s, j, n);
        left -= n;
    }
}

/* Guessed tokens behind the decodes of a step that has nothing else. They take pages as long as there are any, from
 * nobody who runs, and never more than the job was promised for its next steps. */
static void add_drafts(sched *s, uint32_t left) {
    uint32_t n = s->n_items, most = engine_drafts(s->en);
    for (uint32_t f = 0; f < n; f++) {
        s->drafters[f] = &s->item_jobs[f]->gen.drafter;
        engine_generation_propose(&s->item_jobs[f]->gen);
    }
    if (!n || s->turn % SPECULATE_BARE_EVERY == 0 || s->pressure >= MEM_CRITICAL) return;
    engine_step_cost free_of_cost = {.level_ms = 1, .share = {[1] = 1, [STEP_COST_TOKENS_MOST] = 1}};
    engine_speculate(s->config.speculate_always ? &free_of_cost : &s->step_cost, s->drafters, n,
                     most < left ? most : left);
    for (uint32_t f = 0; f < n; f++) {
        engine_generation *g = &s->item_jobs[f]->gen;
        uint32_t wanted = g->drafter.n_wanted;
        if (wanted && !kv_sequence_prepare(engine_kv(s->en), g->session, 1 + wanted, NULL)) g->drafter.n_wanted = 0;
        else if (wanted) s->n_drafting++;
    }
}

/* Their number says nothing: a prompt that needs pages may have preempted a decode of this step. */
static bool only_decodes(const sched *s) {
    for (uint32_t f = 0; f < s->n_items; f++)
        if (s->item_jobs[f]->state != JOB_DECODE) return false;
    return true;
}

/* Without the lock: a model that drafts takes its time. */
static void draft(sched *s) {
    engine_generation *drafting[SPECULATE_MOST];
    uint32_t n = 0;
    for (uint32_t f = 0; f < s->n_items; f++)
        if (s->item_jobs[f]->gen.drafter.n_wanted) {
            CHECK(n < SPECULATE_MOST); /* engine_speculate gives each of them one token at least of so many */
            drafting[n++] = &s->item_jobs[f]->gen;
        }
    if (engine_draft_name(s->en)) engine_draft_propose(s->en, drafting, n);
    for (uint32_t f = 0; f < s->n_items; f++) engine_generation_draft(&s->item_jobs[f]->gen, &s->items[f]);
}

/* What goes to the engine: who runs, each once, no more tokens than a batch has. */
static void check_step(const sched *s) {
    uint32_t tokens = 0;
    CHECK(s->n_items <= s->config.max_concurrent);
    for (uint32_t f = 0; f < s->n_items; f++) {
        sched_job_check(s, s->item_jobs[f]);
        CHECK(sched_job_runs(s->item_jobs[f]) && s->items[f].session == s->item_jobs[f]->gen.session);
        for (uint32_t g = 0; g < f; g++) CHECK(s->item_jobs[g] != s->item_jobs[f]);
        tokens += s->items[f].n_tokens;
    }
    CHECK(tokens <= engine_batch(s->en));
}

static void compose(sched *s) {
    CHECK(sched_steps(s));
    uint32_t batch = engine_batch(s->en);
    s->n_items = s->n_drafting = 0;
    s->turn++;
    sched_rank_running(s);
    uint32_t n_decodes = add_decodes(s, batch);
    add_prompts(s, chunk_beside(s, n_decodes, batch - n_decodes));
    if (only_decodes(s)) add_drafts(s, batch - s->n_items);
    check_step(s);
}

static void fit_chunk(sched *s, uint32_t prompt_tokens, double ms) {
    double factor = STEP_STRETCH * s->decode_step_ms / ms;
    if (factor < CHUNK_SHRINK) factor = CHUNK_SHRINK;
    if (factor > CHUNK_GROW) factor = CHUNK_GROW;
    if (factor < 1) s->chunk = prompt_tokens * factor;
    else if (prompt_tokens >= (uint32_t)s->chunk) s->chunk *= factor; /* else the prompt ended, not the piece */
    if (s->chunk < LEAST_CHUNK) s->chunk = LEAST_CHUNK;
    if (s->chunk > engine_batch(s->en)) s->chunk = engine_batch(s->en);
}

/* Decodes alone say what is to be kept to; steps with a piece beside them, how far it was; prompts alone, how fast
 * prompts are. */
static void measure(sched *s, double ms) {
    uint32_t decodes = 0, drafted = 0, prompt_tokens = 0;
    for (uint32_t f = 0; f < s->n_items; f++) {
        bool decode = s->item_jobs[f]->state == JOB_DECODE;
        decodes += decode;
        if (decode) drafted += s->items[f].n_tokens - 1;
        else prompt_tokens += s->items[f].n_tokens;
    }
    if (!prompt_tokens) engine_step_cost_note(&s->step_cost, decodes + drafted, ms);
    if (drafted) return;
    bool as_before = s->decode_step_ms > 0 && decodes == s->decode_step_n;
    if (!prompt_tokens) {
        s->decode_step_ms = as_before ? s->decode_step_ms * 0.8 + ms * 0.2 : ms;
        s->decode_step_n = decodes;
    } else if (decodes) {
        if (as_before) fit_chunk(s, prompt_tokens, ms);
    } else if (prompt_tokens >= KV_PAGE_TOKENS) {
        kv_cache_note_speed(engine_kv(s->en), ms / prompt_tokens);
    }
}

static void serve_tenants(sched *s) {
    for (uint32_t f = 0; f < s->n_items; f++) s->tenants[s->item_jobs[f]->tenant].served += s->items[f].n_tokens;
}

/* Without the lock: what may come next, and which of it does, takes its time; others come, go and read meanwhile. */
static bool sample_next(sched *s, sched_job *j, engine_batch_item *item, const float *result, engine_sample *sample,
                        str *text) {
    sched_unlock(s);
    plat_pulse_begin(j->sampling.grammar ? "mask" : "sampling", j->id, 0);
    bool said = engine_generation_accept(&j->gen, item, result, sample, text);
    plat_pulse_end();
    sched_lock(s);
    j->n_generated = j->gen.n_generated, j->n_fed = j->gen.n_fed;
    return said;
}

/* Rows from `row` on: as many as hold what was drafted, and as the reader has room for. Or the states of the step's
 * tokens from `token` on. */
static void hand_out_to(sched *s, sched_job *j, engine_batch_item *item, uint32_t token, uint32_t row) {
    engine_sample sample;
    str text;
    bool said = false;
    do {
        const float *result = engine_item_result(s->en, item, token, row++);
        if (!sample_next(s, j, item, result, &sample, &text)) break;
        CHECK(sched_ring_put(&j->ring, &sample, text)); /* compose saw room for the largest */
        said = true;
    } while (j->gen.holds && !stalled(j));
    engine_generation_commit(&j->gen, item);
    if (said && j->state == JOB_PREFILL) sched_job_move(s, j, JOB_DECODE);
    if (j->gen.finish == ENGINE_FINISH_STUCK) sched_job_exit(s, j, &j->gen.failure);
    else if (j->gen.finish != ENGINE_RUNNING) sched_job_exit(s, j, NULL);
    else if (said && !j->whole) wake_later(j);
}

static void hand_out(sched *s) {
    uint32_t token = 0, row = 0;
    for (uint32_t f = 0; f < s->n_items; f++) {
        uint32_t tokens = s->items[f].n_tokens, rows = engine_item_rows(&s->items[f]); /* before some are taken back */
        hand_out_to(s, s->item_jobs[f], &s->items[f], token, row);
        token += tokens, row += rows;
    }
}

/* False when nothing could be run. */
static bool step(sched *s) {
    compose(s);
    if (!s->n_items) return false;
    atomic_store(&s->abort_step, false);
    for (uint32_t f = 0; f < s->n_items; f++)
        if (s->item_jobs[f]->cancelled) return true; /* since it was composed: sweep first */
    sched_unlock(s);
    err e = {0};
    uint64_t start = clock_now_ns();
    plat_pulse_begin("step", s->item_jobs[0]->id, s->n_items - 1);
    if (s->n_drafting) draft(s);
    bool ran = engine_step(s->en, s->items, s->n_items, &s->abort_step, &e);
    double ms = (double)(clock_now_ns() - start) / 1e6;
    plat_pulse_end();
    sched_lock(s);
    if (!ran) return true; /* cancelled: the sweep takes out who asked, and the others' tokens are run again */
    measure(s, ms);
    serve_tenants(s);
    hand_out(s);
    return true;
}

static bool can_run(const sched *s) {
    for (uint32_t i = 0; i < s->n_jobs; i++)
        if (may_step(&s->jobs[i], JOB_PREFILL) || may_step(&s->jobs[i], JOB_DECODE)) return true;
    return false;
}

static bool wakes_due(const sched *s) {
    for (uint32_t i = 0; i < s->n_jobs; i++)
        if (s->jobs[i].wake_due) return true;
    return false;
}

static bool wait_ms(sched *s, uint32_t ms) {
    struct timespec until = plat_in_ms(ms);
    return plat_cond_wait_until(&s->work, &s->lock, &until);
}

static uint64_t now_ms(void) { return clock_now_ns() / 1000000; }

static void cleanup(sched *s) {
    kv_cache *kv = engine_kv(s->en);
    s->cleanup_due = false;
    if (!s->counts.preempted) kv_cache_evict(kv, 0);
    kv_pool_trim(kv_cache_pool(kv), 0);
    engine_draft_trim(s->en);
    plat_heap_trim();
}

/* Nothing can run: wait for work, and when it stays away write remembered pages to the spill file and give free
 * ones back. */
static void rest(sched *s) {
    kv_cache *kv = engine_kv(s->en);
    if (s->counts.active || s->counts.queued) {
        wait_ms(s, TIMEOUT_CHECK_MS);
        return;
    }
    if (wait_ms(s, TRIM_AFTER_IDLE_MS)) return;
    engine_draft_trim(s->en);
    kv_pool_trim(kv_cache_pool(kv), 0);
    while (!s->counts.queued && !s->stopping && !wakes_due(s)) {
        kv_cache_tick(kv, now_ms()); /* what has outlived its time goes while nobody is there, too */
        if (kv_cache_write_behind(kv, WRITE_BEHIND_PAGES)) {
            sched_unlock(s);
            sched_lock(s);
        } else {
            wait_ms(s, TRIM_AFTER_IDLE_MS);
        }
        kv_pool_trim(kv_cache_pool(kv), 0);
    }
}

void *sched_loop(void *ctx) {
    sched *s = ctx;
    plat_thread_touch_stack();
    plat_pulse_attach(&s->pulse);
    sched_lock(s);
    s->engine_thread = plat_thread_mark();
    s->chunk = FIRST_CHUNK;
    for (;;) {
        kv_cache_tick(engine_kv(s->en), now_ms());
        sweep(s);
        if (s->cleanup_due) cleanup(s); /* before anyone hears that it has ended */
        if (s->preempt_due) sched_preempt_last(s);
        s->preempt_due = false;
        if (!s->stopping) {
            sched_admit(s);
            expire_queued(s);
        }
        engine_counters_read(s->en, &s->counters);
        if (s->config.check_every_step) kv_cache_check(engine_kv(s->en)), sched_check(s);
        if (wake_consumers(s)) continue; /* whoever came or went meanwhile found nobody waiting to be told */
        if (s->stopping) break;
        if (can_run(s)) {
            if (!step(s)) wait_ms(s, RETRY_MS);
        } else if (!wakes_due(s)) {
            rest(s);
        }
    }
    sched_unlock(s);
    return NULL;
}
