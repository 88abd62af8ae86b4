/* The doors of the scheduler: start, submit, read, release, stop. */
#include "sched/sched.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/hostile.h"
#include "base/log.h"
#include "plat/thread.h"
#include "sched/internal.h"
#include "sched/loop.h"
#include "plat/vm.h"

/* What a token of output is priced at when all of it must wait for the end: its record and, on average,
 * so many bytes of text. (Vocabularies average 4–6.) */
enum { WHOLE_TEXT_BYTES = 16, STREAM_RING_BYTES = 32 * 1024, LEAST_QUEUE_BYTES = 4 << 20 };
_Static_assert((int)STREAM_RING_BYTES >= (int)RING_LARGEST_BYTES, "an empty ring has room for whatever a step says");
_Static_assert((int)LEAST_QUEUE_BYTES % (int)MEM_BUDDY_LEAST_BYTES == 0, "the region is whole blocks");

/* A job's slot is taken from its submission until its consumer lets go, which may be long after its end: for each that
 * may wait or run there is one more for one that has ended. */
enum { SLOTS_EACH = 2 };

void sched_config_default(sched_config *c) {
    *c = (sched_config){.max_concurrent = 4, .max_queue = 64, .queue_timeout_ms = 0, .stall_timeout_ms = 60000};
}

static uint32_t ring_bytes(bool whole, uint32_t max_tokens, uint32_t top_logprobs) {
    uint64_t all =
        (uint64_t)max_tokens * (RING_RECORD_BYTES + WHOLE_TEXT_BYTES + top_logprobs * sizeof(engine_logprob)) +
        RING_LARGEST_BYTES;
    if (!whole && all > STREAM_RING_BYTES) all = STREAM_RING_BYTES;
    return (uint32_t)(all < (1u << 31) ? all : (1u << 31));
}

static size_t block_bytes(uint32_t n_prompt, uint32_t max_tokens, uint32_t n_stops, uint32_t ring) {
    return ((size_t)n_prompt + max_tokens) * sizeof(int32_t) + n_stops * sizeof(engine_stop) + ring;
}

static uint32_t ring_for(const sched_request *r, uint32_t max_tokens) {
    return ring_bytes(r->whole, max_tokens, r->sampling.logprobs ? r->sampling.top_logprobs : 0);
}

static size_t embedding_bytes(const sched *s, const sched_request *r) {
    return r->pooling ? engine_embedding_bytes(s->en) : 0;
}

static size_t block_bytes_for(const sched *s, const sched_request *r, uint32_t max_tokens) {
    return embedding_bytes(s, r) + block_bytes(r->n_prompt, max_tokens, r->n_stops, ring_for(r, max_tokens));
}

/* Room for as many of the largest plain jobs as run at once, and for some to wait: most clients say nothing of
 * max_tokens, and each of their whole answers may then be as long as the context. */
static size_t region_bytes(const sched_config *c, uint32_t n_context) {
    size_t largest = block_bytes(0, n_context, GENERATION_STOPS_MAX, ring_bytes(true, n_context, 0));
    size_t block = mem_buddy_block_bytes(largest), wanted = block * (c->max_concurrent + 1), bytes = block * 2;
    if (c->queue_bytes) wanted = c->queue_bytes;
    else if (wanted < LEAST_QUEUE_BYTES) wanted = LEAST_QUEUE_BYTES;
    while (bytes < wanted) bytes *= 2;
    return bytes;
}

typedef struct parts {
    sched *s;
    void *region;
    uint8_t *blocks_state;
} parts;

static parts layout(const sched_config *c, uint32_t n_context, mem_arena *a) {
    parts p;
    p.region = mem_arena_take(a, region_bytes(c, n_context), 4096);
    p.blocks_state = mem_arena_take(a, mem_buddy_state_bytes(region_bytes(c, n_context)), 64);
    p.s = mem_arena_take(a, sizeof *p.s, 64);
    uint32_t n_jobs = (c->max_queue + c->max_concurrent) * SLOTS_EACH;
    sched_job *jobs = mem_arena_take(a, n_jobs * sizeof *jobs, 64);
    engine_batch_item *items = mem_arena_take(a, c->max_concurrent * sizeof *items, 64);
    sched_job **item_jobs = mem_arena_take(a, c->max_concurrent * sizeof *item_jobs, 64);
    sched_job **running = mem_arena_take(a, c->max_concurrent * sizeof *running, 64);
    engine_drafter **drafters = mem_arena_take(a, c->max_concurrent * sizeof *drafters, 64);
    sched_tenant *tenants = mem_arena_take(a, sched_tenants(c) * sizeof *tenants, 64);
    if (p.s)
        *p.s = (sched){.jobs = jobs, .n_jobs = n_jobs, .items = items, .item_jobs = item_jobs, .running = running,
                       .drafters = drafters, .tenants = tenants};
    return p;
}

size_t sched_plan_bytes(const sched_config *c, uint32_t n_context) {
    mem_arena a;
    mem_arena_measure(&a);
    layout(c, n_context, &a);
    return plat_vm_round(a.used);
}

static bool check_config(const sched_config *c, const engine *en, err *e) {
    if (c->max_concurrent < 1 || c->max_concurrent > engine_max_sessions(en))
        return err_set(e, ERR_USAGE, "%u concurrent requests; the engine has %u %s", c->max_concurrent,
                       engine_max_sessions(en), counted(engine_max_sessions(en), "session", "sessions"));
    if (c->max_queue > 65536) return err_set(e, ERR_USAGE, "a queue of %u; at most 65536", c->max_queue);
    return true;
}

sched *sched_start(const sched_config *c, engine *en, mem_ledger *l, err *e) {
    mem_arena arena = {0};
    uint32_t n_context = engine_context(en);
    if (!check_config(c, en, e) || !mem_arena_init(&arena, l, MEM_QUEUE, sched_plan_bytes(c, n_context), false, e))
        return NULL;
    parts p = layout(c, n_context, &arena);
    sched *s = p.s;
    s->arena = arena;
    s->config = *c;
    s->en = en;
    s->pool_limit_bytes = UINT64_MAX;
    memset(s->jobs, 0, s->n_jobs * sizeof *s->jobs);
    mem_buddy_init(&s->blocks, p.region, region_bytes(c, n_context), p.blocks_state);
    plat_mutex_init(&s->lock);
    plat_cond_init(&s->work);
    plat_cond_init(&s->idle);
    memset(s->tenants, 0, sched_tenants(c) * sizeof *s->tenants);
    if (!plat_thread_start(&s->thread, "engine", sched_loop, s, e)) {
        mem_arena_free(&arena);
        return NULL;
    }
    return s;
}

void sched_drain(sched *s) {
    sched_lock(s);
    s->draining = true;
    sched_unlock(s);
}

bool sched_wait_idle(sched *s, uint32_t timeout_ms) {
    struct timespec until = plat_in_ms(timeout_ms);
    sched_lock(s);
    while ((s->counts.queued || s->counts.active) && plat_cond_wait_until(&s->idle, &s->lock, &until)) continue;
    bool idle = !s->counts.queued && !s->counts.active;
    sched_unlock(s);
    return idle;
}

void sched_stop(sched *s) {
    if (!s) return;
    sched_lock(s);
    s->stopping = s->draining = true;
    atomic_store(&s->abort_step, true);
    pthread_cond_signal(&s->work);
    sched_unlock(s);
    pthread_join(s->thread, NULL);
    for (uint32_t i = 0; i < s->n_jobs; i++) CHECK(s->jobs[i].state == JOB_FREE);
    plat_mutex_destroy(&s->lock);
    pthread_cond_destroy(&s->work);
    pthread_cond_destroy(&s->idle);
    mem_arena arena = s->arena;
    mem_arena_free(&arena);
}

/* ---- submit ---- */

static bool check_request(const sched *s, const sched_request *r, err *e) {
    uint32_t n_context = engine_context(s->en), n_vocab = text_vocab_size(engine_vocab(s->en));
    if (r->n_prompt == 0) return err_set(e, ERR_INVALID, "the prompt is empty");
    if (r->pooling && r->n_prompt > n_context)
        return err_set_tokens(e, r->n_prompt, n_context);
    if (!r->pooling && r->n_prompt >= n_context) /* one token must be left to answer with */
        return err_set_tokens(e, r->n_prompt, n_context - 1);
    if (r->params.window > n_context)
        return err_set(e, ERR_INVALID, "'window' is %u; the context has %u tokens", r->params.window, n_context);
    if (r->params.window ? r->params.keep >= r->params.window : r->params.keep > 0)
        return err_set(e, ERR_INVALID, "'keep' is %u; it must be below 'window', which is %u", r->params.keep,
                       r->params.window);
    if (r->pooling && r->max_tokens)
        return err_set(e, ERR_INVALID, "max_tokens is %u; an embedding generates nothing", r->max_tokens);
    if (!r->pooling && !r->max_tokens)
        return err_set(e, ERR_INVALID, "max_tokens is 0; it must be at least 1");
    if (r->n_stops > GENERATION_STOPS_MAX)
        return err_set(e, ERR_INVALID, "%u stop strings; at most %d", r->n_stops, GENERATION_STOPS_MAX);
    for (uint32_t i = 0; i < r->n_stops; i++)
        if (r->stops[i].len == 0 || r->stops[i].len > GENERATION_STOP_BYTES)
            return err_set(e, ERR_INVALID, "a stop string has %u bytes; it must be 1 to %d", r->stops[i].len,
                           GENERATION_STOP_BYTES);
    for (uint32_t i = 0; i < r->n_prompt; i++)
        if (r->prompt[i] < 0 || (uint32_t)r->prompt[i] >= n_vocab)
            return err_set(e, ERR_INVALID, "the prompt names token %d; the vocabulary has %u", r->prompt[i], n_vocab);
    return r->pooling || engine_sampling_check(s->en, &r->sampling, e);
}

static sched_job *free_slot(sched *s) {
    for (uint32_t i = 0; i < s->n_jobs; i++)
        if (s->jobs[i].state == JOB_FREE) return &s->jobs[i];
    return NULL;
}

/* Of a rotating window only the prompt is shared: what it lets go would stay in memory otherwise. A vector of more than
 * the last token's state needs all tokens run. */
static kv_params job_params(const sched_request *r) {
    kv_params t = r->params;
    t.publish_tokens = t.window ? r->n_prompt : UINT32_MAX;
    if (r->pooling && r->pooling != SCHED_POOL_LAST) t.share = false;
    return t;
}

static void fill_job(sched *s, sched_job *j, const sched_request *r, uint32_t max_tokens, void *block) {
    memset(j, 0, sizeof *j);
    char *at = block;
    j->block = block;
    j->block_bytes = mem_buddy_block_bytes(block_bytes_for(s, r, max_tokens));
    if (!r->pooling) j->sampling = r->sampling;
    engine_grammar_hold(s->en, j->sampling.grammar);
    j->whole = r->whole;
    void *embedding = at;
    at += embedding_bytes(s, r);
    j->gen = (engine_generation){.en = s->en,
                                 .sampling = &j->sampling,
                                 .tokens = (int32_t *)(void *)at,
                                 .n_prompt = r->n_prompt,
                                 .max_tokens = max_tokens,
                                 .words = r->words,
                                 .speculate = r->speculate && !r->pooling && engine_drafts(s->en) > 0};
    if (r->pooling) engine_embedding_init(&j->gen.embedding, s->en, r->pooling, r->normalize, embedding);
    memcpy(at, r->prompt, r->n_prompt * sizeof *r->prompt);
    at += ((size_t)r->n_prompt + max_tokens) * sizeof *r->prompt;
    j->gen.n_stops = r->n_stops;
    j->gen.stops = memcpy(at, r->stops, r->n_stops * sizeof *r->stops);
    at += r->n_stops * sizeof *r->stops;
    j->ring = (sched_ring){.data = at, .size = ring_for(r, max_tokens)};
    j->tenant = r->tenant;
    j->priority = r->priority;
    j->params = job_params(r);
    j->remember = r->remember;
    j->memory = r->memory;
    snprintf(j->id, sizeof j->id, "%s", r->id ? r->id : "");
    sched_job_move(s, j, JOB_QUEUED);
}

/* Could it ever be taken in: its pages and its block. */
static bool check_size(const sched *s, const sched_request *r, uint32_t max_tokens, err *e) {
    if (!sched_price(s, &r->params, r->n_prompt + max_tokens, e)) return false;
    size_t bytes = block_bytes_for(s, r, max_tokens);
    if (mem_buddy_block_bytes(bytes) <= s->blocks.bytes) return true;
    return err_set(e, ERR_TOO_LARGE,
                   "the output of %u tokens with %u alternatives each would take %zu bytes; ask for fewer", max_tokens,
                   r->sampling.top_logprobs, bytes);
}

static sched_job *enqueue(sched *s, const sched_request *r, uint32_t max_tokens, err *e) {
    if (s->draining) return err_set(e, ERR_BUSY, "the server is shutting down"), NULL;
    if (s->counts.queued >= s->config.max_queue &&
        s->counts.active + s->counts.queued >= s->config.max_concurrent + s->config.max_queue)
        return err_set(e, ERR_BUSY, "the queue is full: %u %s", s->counts.queued,
                       counted(s->counts.queued, "request waits", "requests wait")), NULL;
    if (s->pressure >= MEM_CRITICAL) {
        sched_job asked = {.params = r->params, .gen = {.n_prompt = r->n_prompt, .max_tokens = max_tokens}};
        return sched_refuse_pressed(s, &asked, e), NULL;
    }
    size_t bytes = block_bytes_for(s, r, max_tokens);
    sched_job *j = free_slot(s);
    void *block = j ? mem_buddy_take(&s->blocks, bytes) : NULL;
    if (!block) return err_set(e, ERR_BUSY, "no room for another waiting request (%zu bytes needed)", bytes), NULL;
    fill_job(s, j, r, max_tokens, block);
    return j;
}

/* The context bounds what is answered, too, unless a window rotates in it. */
static uint32_t clip_max_tokens(const sched *s, const sched_request *r) {
    uint32_t left = (r->params.window ? (uint32_t)INT32_MAX : engine_context(s->en)) - r->n_prompt;
    return r->max_tokens < left ? r->max_tokens : left;
}

sched_job *sched_submit(sched *s, const sched_request *r, err *e) {
    if (!check_request(s, r, e)) return NULL;
    CHECK(r->tenant < sched_tenants(&s->config));
    uint32_t max_tokens = clip_max_tokens(s, r);
    sched_lock(s);
    sched_job *j = check_size(s, r, max_tokens, e) ? enqueue(s, r, max_tokens, e) : NULL;
    if (j) {
        pthread_cond_signal(&s->work);
    } else {
        s->counts.refused++;
        if (e && e->code == ERR_BUSY)
            e->need_bytes = kv_cache_bytes_for(engine_kv(s->en), &r->params, r->n_prompt + max_tokens);
    }
    sched_unlock(s);
    return j;
}

/* ---- the consumer's side ---- */

void sched_job_listen(sched *s, sched_job *j, sched_wake *wake, void *ctx) {
    sched_lock(s);
    j->wake = wake;
    j->wake_ctx = ctx;
    j->wake_due = j->state == JOB_ENDED || (j->ring.used && !j->whole);
    if (j->wake_due) pthread_cond_signal(&s->work);
    sched_unlock(s);
}

void sched_job_read(sched *s, sched_job *j, sched_output *out) {
    sched_lock(s);
    bool was_full = !sched_ring_has_room(&j->ring, RING_LARGEST_BYTES);
    j->read_ns = clock_now_ns();
    if (sched_ring_get(&j->ring, &out->sample, &out->text, out->storage)) {
        out->what = SCHED_TOKEN;
        if (was_full) pthread_cond_signal(&s->work);
    } else if (j->state != JOB_ENDED) {
        out->what = SCHED_NOTHING;
    } else if (j->failure.code) {
        out->what = SCHED_FAILED;
        out->failure = j->failure;
    } else {
        out->what = SCHED_END;
        out->finish = j->gen.finish;
        out->stopped_by = j->gen.stopped_by;
    }
    sched_unlock(s);
}

const float *sched_job_embedding(sched *s, sched_job *j, uint32_t *width) {
    sched_lock(s);
    const engine_embedding *m = &j->gen.embedding;
    bool there = j->state == JOB_ENDED && !j->failure.code && m->pooling;
    *width = there ? m->n_embd : 0;
    sched_unlock(s);
    return there ? m->vector : NULL;
}

const int32_t *sched_job_tokens(sched *s, sched_job *j, uint32_t *n) {
    sched_lock(s);
    bool there = j->state == JOB_ENDED;
    *n = there ? j->gen.n_prompt + j->gen.n_generated : 0;
    sched_unlock(s);
    return there ? j->gen.tokens : NULL;
}

bool sched_job_done(sched *s, sched_job *j) {
    sched_lock(s);
    bool done = j->state == JOB_ENDED;
    sched_unlock(s);
    return done;
}

bool sched_job_failed(sched *s, sched_job *j, err *why) {
    sched_lock(s);
    bool failed = j->state == JOB_ENDED && j->failure.code;
    if (failed) *why = j->failure;
    sched_unlock(s);
    return failed;
}

str sched_job_stop_text(sched *s, const sched_job *j, uint32_t which) {
    (void)s;
    CHECK(which < j->gen.n_stops);
    return (str){j->gen.stops[which].text, j->gen.stops[which].len};
}

static double ms_between(uint64_t from_ns, uint64_t to_ns) {
    return from_ns && to_ns > from_ns ? (double)(to_ns - from_ns) / 1e6 : 0;
}

static const char *reprocess_reason(const sched_job *j) {
    if (!j->params.share) return "disabled";
    /* What is left of less than half a page is not remembered: that is no reason. */
    if (j->cached_tokens + KV_PAGE_TOKENS / 2 >= j->gen.n_prompt) return NULL;
    return j->cached_tokens ? "diverged" : "nothing_cached";
}

void sched_job_usage(sched *s, sched_job *j, sched_usage *out) {
    sched_lock(s);
    uint64_t end = j->end_ns ? j->end_ns : clock_now_ns();
    *out = (sched_usage){
        .prompt_tokens = j->gen.n_prompt,
        .completion_tokens = j->n_generated,
        .drafted_tokens = j->gen.n_drafted,
        .accepted_tokens = j->gen.n_accepted,
        .queue_ms = ms_between(j->submit_ns, j->admit_ns ? j->admit_ns : end),
        .prefill_ms = ms_between(j->admit_ns, j->first_ns ? j->first_ns : end),
        .decode_ms = ms_between(j->first_ns, end),
        .total_ms = ms_between(j->submit_ns, end),
        .cached_tokens = j->cached_tokens,
        .peak_bytes = j->kv.bytes + j->block_bytes,
        .kv_pages = j->kv.pages,
        .kv_bytes = j->kv.bytes,
        .shared_bytes = j->kv.shared_bytes,
        .reprocess_reason = reprocess_reason(j),
        .kv_type = j->params.type,
        .preempted = j->times_preempted,
    };
    sched_unlock(s);
}

void sched_job_release(sched *s, sched_job *j) {
    sched_lock(s);
    j->wake = NULL;
    j->wake_due = false;
    while (j->waking) plat_cond_wait(&s->idle, &s->lock);
    if (j->state == JOB_ENDED) {
        sched_job_move(s, j, JOB_FREE);
    } else {
        j->cancelled = true;
        if (j->state == JOB_QUEUED) sched_job_exit(s, j, NULL); /* it holds nothing of the engine's */
        else atomic_store(&s->abort_step, true); /* the engine thread takes it out, at once when it is in the step */
        pthread_cond_signal(&s->work);
    }
    sched_unlock(s);
}

/* ---- readings ---- */

const plat_pulse *sched_pulse(const sched *s) { return &s->pulse; }

static void read_jobs(const sched *s, sched_counts *out) {
    *out = s->counts;
    out->block_bytes = s->blocks.used_bytes;
}

void sched_read(sched *s, sched_counts *out) {
    sched_lock(s);
    read_jobs(s, out);
    sched_unlock(s);
}

uint32_t sched_retry_after_s(sched *s) {
    sched_lock(s);
    double ms = s->mean_job_ms * (s->counts.queued + s->counts.active) / s->config.max_concurrent;
    sched_unlock(s);
    double seconds = ms / 1000 + 1;
    return seconds > 59 ? 59 : (uint32_t)seconds;
}

void sched_engine_read(sched *s, kv_cache_counts *kv, engine_counters *counters) {
    sched_lock(s);
    kv_cache_read(engine_kv(s->en), kv);
    *counters = s->counters;
    sched_unlock(s);
}

void sched_snapshot_read(sched *s, sched_snapshot *out) {
    sched_lock(s);
    read_jobs(s, &out->jobs);
    kv_cache_read(engine_kv(s->en), &out->kv);
    out->engine = s->counters;
    sched_unlock(s);
}

bool sched_would_fit(sched *s, const sched_request *r, sched_fit *out, err *e) {
    *out = (sched_fit){0};
    if (!check_request(s, r, e)) {
        out->reason = *e;
        return e->code == ERR_TOO_LARGE;
    }
    kv_cache *kv = engine_kv(s->en);
    sched_job j = {.params = job_params(r), .priority = r->priority};
    j.gen.tokens = (int32_t *)(uintptr_t)r->prompt;
    j.gen.n_prompt = r->n_prompt;
    j.gen.max_tokens = out->max_tokens = clip_max_tokens(s, r);
    sched_lock(s);
    size_t in_use;
    out->cached_tokens = kv_cache_peek(kv, &j.params, r->prompt, r->n_prompt - 1, &in_use);
    out->required_bytes = kv_cache_bytes_for(kv, &r->params, r->n_prompt + out->max_tokens);
    out->available_bytes = sched_room_bytes(s);
    out->pool_bytes = kv_pool_full_bytes(kv_cache_pool(kv));
    out->queued = s->counts.queued;
    out->ever = check_size(s, r, out->max_tokens, &out->reason);
    out->now = out->ever && sched_would_admit(s, &j, &out->reason);
    sched_unlock(s);
    return true;
}

/* ---- when memory is short ---- */

enum { SHRINK_AT_ONCE_BYTES = HOSTILE(32 << 20, 1) }; /* then the lock is let go */

void sched_set_pressure(sched *s, mem_level level, bool hold, uint64_t room_bytes) {
    sched_lock(s);
    bool changed = s->pressure != level;
    s->pressure = level;
    s->pressed_room_bytes = room_bytes;
    s->preempt_due = level == MEM_EMERGENCY;
    kv_cache_hold(engine_kv(s->en), hold || level >= MEM_CAUTION);
    sched_fit_pool(s);
    if (changed) pthread_cond_signal(&s->work);
    sched_unlock(s);
}

void sched_limit_pool(sched *s, uint64_t bytes) {
    sched_lock(s);
    s->pool_limit_bytes = bytes;
    sched_fit_pool(s);
    pthread_cond_signal(&s->work);
    sched_unlock(s);
}

void sched_memory_read(sched *s, sched_memory *out) {
    kv_pool_counts pool;
    sched_lock(s);
    kv_pool_read(kv_cache_pool(engine_kv(s->en)), &pool);
    *out = (sched_memory){.held_bytes = pool.committed_bytes,
                          .reclaimable_bytes = pool.committed_bytes - pool.used_bytes + pool.evictable_bytes,
                          .requests = s->counts.queued + s->counts.active,
                          .ended = s->counts.finished + s->counts.cancelled + s->counts.failed};
    sched_unlock(s);
}

uint64_t sched_trim(sched *s) {
    sched_lock(s);
    uint64_t bytes = kv_pool_trim(kv_cache_pool(engine_kv(s->en)), 0);
    sched_unlock(s);
    return bytes;
}

uint64_t sched_expire(sched *s) {
    kv_cache *kv = engine_kv(s->en);
    kv_pool_counts before;
    sched_lock(s);
    kv_pool_read(kv_cache_pool(kv), &before);
    kv_cache_tick(kv, clock_now_ns() / 1000000);
    uint64_t bytes = kv_pool_trim(kv_cache_pool(kv), before.committed_bytes - before.used_bytes);
    sched_unlock(s);
    return bytes;
}

static uint64_t shrink_some(sched *s, uint64_t wanted_bytes) {
    kv_cache *kv = engine_kv(s->en);
    kv_pool_counts pool;
    sched_lock(s);
    kv_pool_read(kv_cache_pool(kv), &pool);
    size_t most = wanted_bytes < SHRINK_AT_ONCE_BYTES ? (size_t)wanted_bytes : SHRINK_AT_ONCE_BYTES;
    (void)kv_cache_evict(kv, pool.evictable_bytes > most ? pool.evictable_bytes - most : 0);
    uint64_t bytes = kv_pool_trim(kv_cache_pool(kv), 0);
    sched_unlock(s);
    return bytes;
}

uint64_t sched_shrink_cache(sched *s, uint64_t wanted_bytes) {
    uint64_t freed = 0;
    while (freed < wanted_bytes) {
        uint64_t some = shrink_some(s, wanted_bytes - freed);
        if (!some) break;
        freed += some;
    }
    return freed;
}

uint64_t sched_unpin_one(sched *s) {
    sched_lock(s);
    bool unpinned = kv_cache_unpin_one(engine_kv(s->en));
    sched_unlock(s);
    return unpinned ? sched_shrink_cache(s, UINT64_MAX) : 0;
}

uint32_t sched_cache_entries(sched *s, uint32_t *at, kv_entry_view *out, uint32_t n) {
    sched_lock(s);
    uint32_t found = kv_cache_entries(engine_kv(s->en), at, out, n);
    sched_unlock(s);
    return found;
}

kv_removed sched_cache_clear(sched *s) {
    sched_lock(s);
    kv_removed removed = kv_cache_clear(engine_kv(s->en));
    sched_unlock(s);
    return removed;
}

bool sched_cache_remove(sched *s, uint64_t id, kv_removed *out) {
    sched_lock(s);
    bool there = kv_cache_remove(engine_kv(s->en), id, out);
    sched_unlock(s);
    return there;
}

void sched_drop(sched *s, mem_account account) {
    CHECK(account == MEM_KV || account == MEM_QUEUE);
    sched_lock(s);
    if (account == MEM_KV) (void)kv_pool_take(kv_cache_pool(engine_kv(s->en)), 0, engine_kv_params(s->en).type, NULL);
    else if (mem_buddy_take(&s->blocks, MEM_BUDDY_LEAST_BYTES)) s->dropped_bytes += MEM_BUDDY_LEAST_BYTES;
    sched_unlock(s);
}
