#include "sched/loop.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"
#include "sched/internal.h"

/* While others decode, a prompt is fed in pieces of this many tokens, so that their next token does
 * not wait for all of it. */
enum { CHUNK_BESIDE_DECODES = 64, TRIM_AFTER_IDLE_MS = 1000, TIMEOUT_CHECK_MS = 100 };

static bool running(const sched_job *j) { return j->state == JOB_PREFILL || j->state == JOB_DECODE; }

static void wake_later(sched_job *j) { j->wake_due = j->wake != NULL; }

/* Tells consumers, holding no lock; a consumer that lets go meanwhile waits for its call to return. */
static void wake_consumers(sched *s) {
    for (uint32_t i = 0; i < s->n_jobs; i++) {
        sched_job *j = &s->jobs[i];
        if (!j->wake_due) continue;
        sched_wake *wake = j->wake;
        void *wake_ctx = j->wake_ctx;
        j->wake_due = false;
        j->waking = true;
        pthread_mutex_unlock(&s->lock);
        wake(wake_ctx);
        pthread_mutex_lock(&s->lock);
        j->waking = false;
        pthread_cond_broadcast(&s->idle);
    }
}

/* The one exit. Whatever the job held of the engine goes back; the block stays until the consumer has
 * read it, or goes with a consumer who has left. */
static void job_exit(sched *s, sched_job *j, const err *failure) {
    if (j->state == JOB_QUEUED) s->counts.queued--;
    else s->counts.active--;
    engine_session_close(s->en, j->gen.session);
    j->gen.session = NULL;
    j->end_ns = clock_now_ns();
    j->state = JOB_ENDED;
    if (failure) j->failure = *failure;
    if (j->cancelled) s->counts.cancelled++;
    else if (failure) s->counts.failed++;
    else s->counts.finished++;
    if (!failure && !j->cancelled) {
        double ms = (double)(j->end_ns - j->admit_ns) / 1e6;
        s->mean_job_ms = s->mean_job_ms > 0 ? s->mean_job_ms * 0.9 + ms * 0.1 : ms;
        s->counts.prompt_tokens += j->gen.n_prompt;
        s->counts.completion_tokens += j->gen.n_generated;
    }
    if (j->cancelled) {
        mem_buddy_give(&s->blocks, j->block);
        j->block = NULL;
        j->state = JOB_FREE;
    } else {
        wake_later(j);
    }
    pthread_cond_broadcast(&s->idle);
}

static bool over(uint64_t since_ns, uint32_t limit_ms, uint64_t now_ns) {
    return limit_ms && now_ns > since_ns && (now_ns - since_ns) / 1000000 >= limit_ms;
}

/* A ring without room for the largest token holds its job back until the reader catches up. */
static bool stalled(const sched_job *j) { return !sched_ring_has_room(&j->ring, RING_LARGEST_BYTES); }

static void sweep(sched *s) {
    uint64_t now = clock_now_ns();
    err e = {0};
    for (uint32_t i = 0; i < s->n_jobs; i++) {
        sched_job *j = &s->jobs[i];
        if (j->state == JOB_FREE || j->state == JOB_ENDED) continue;
        if (j->cancelled || s->stopping) {
            err_set(&e, ERR_CANCELLED, "the server is stopping");
            job_exit(s, j, &e);
        } else if (j->state == JOB_QUEUED && over(j->submit_ns, s->config.queue_timeout_ms, now)) {
            err_set(&e, ERR_BUSY, "waited %u ms in the queue without being admitted", s->config.queue_timeout_ms);
            job_exit(s, j, &e);
        } else if (running(j) && stalled(j) && j->whole) {
            j->gen.finish =
                ENGINE_FINISH_LENGTH; /* longer texts than a job is priced for: it ends as if at max_tokens */
            job_exit(s, j, NULL);
        } else if (running(j) && stalled(j) && over(j->read_ns, s->config.stall_timeout_ms, now)) {
            err_set(&e, ERR_CANCELLED, "the client read nothing for %u ms", s->config.stall_timeout_ms);
            job_exit(s, j, &e);
        }
    }
}

static sched_job *oldest(sched *s, job_state state) {
    sched_job *first = NULL;
    for (uint32_t i = 0; i < s->n_jobs; i++)
        if (s->jobs[i].state == state && (!first || s->jobs[i].number < first->number)) first = &s->jobs[i];
    return first;
}

/* First in, first out: when the first does not fit yet, nobody overtakes it. */
static void admit(sched *s) {
    sched_job *j;
    while (s->counts.active < s->config.max_concurrent && (j = oldest(s, JOB_QUEUED))) {
        err e = {0};
        engine_session *session = engine_session_open(s->en, &e);
        if (!session) return;
        if (!engine_session_reserve(s->en, session, j->gen.n_prompt + j->gen.max_tokens, &e)) {
            engine_session_close(s->en, session);
            if (s->counts.active) return; /* their pages will come back */
            job_exit(s, j, &e);           /* alone and still refused: the line itself is in the way */
            continue;
        }
        j->gen.session = session;
        j->kv_bytes = engine_session_bytes(s->en, session);
        j->admit_ns = clock_now_ns();
        j->state = JOB_PREFILL;
        s->counts.queued--;
        s->counts.active++;
        engine_generation_start(&j->gen);
    }
}

/* Every decoding job's token, then as much of the oldest prompt as the batch takes. Returns how many feeds. */
static uint32_t compose(sched *s) {
    uint32_t n = 0, left = engine_batch(s->en);
    for (uint32_t i = 0; i < s->n_jobs && left; i++) {
        sched_job *j = &s->jobs[i];
        if (j->state != JOB_DECODE || stalled(j)) continue;
        engine_generation_feed(&j->gen, 1, &s->feeds[n]);
        s->feed_jobs[n++] = j;
        left--;
    }
    sched_job *prompt = oldest(s, JOB_PREFILL);
    if (prompt && left) {
        uint32_t most = n && left > CHUNK_BESIDE_DECODES ? CHUNK_BESIDE_DECODES : left;
        engine_generation_feed(&prompt->gen, most, &s->feeds[n]);
        s->feed_jobs[n++] = prompt;
    }
    return n;
}

static void hand_out(sched *s, uint32_t n_feeds) {
    uint32_t row = 0;
    for (uint32_t f = 0; f < n_feeds; f++) {
        sched_job *j = s->feed_jobs[f];
        engine_sample sample;
        str text;
        const float *logits = s->feeds[f].want == ENGINE_WANT_LAST ? engine_logits(s->en, row++) : NULL;
        if (!engine_generation_accept(&j->gen, &s->feeds[f], logits, &sample, &text)) continue;
        if (j->state == JOB_PREFILL) {
            j->state = JOB_DECODE;
            j->first_ns = clock_now_ns();
        }
        CHECK(sched_ring_put(&j->ring, &sample, text)); /* compose saw room for the largest */
        if (j->gen.finish != ENGINE_RUNNING) job_exit(s, j, NULL);
        else if (!j->whole) wake_later(j);
    }
}

static void step(sched *s) {
    uint32_t n = compose(s);
    if (!n) return;
    atomic_store(&s->abort_step, false);
    pthread_mutex_unlock(&s->lock);
    err e = {0};
    bool ran = engine_step(s->en, s->feeds, n, &s->abort_step, &e);
    pthread_mutex_lock(&s->lock);
    if (ran) hand_out(s, n); /* else someone in it was cancelled: the sweep takes them out, the rest run again */
}

static bool can_run(sched *s) {
    for (uint32_t i = 0; i < s->n_jobs; i++) {
        const sched_job *j = &s->jobs[i];
        if (j->state == JOB_PREFILL || (j->state == JOB_DECODE && !stalled(j))) return true;
    }
    return false;
}

static bool wakes_due(const sched *s) {
    for (uint32_t i = 0; i < s->n_jobs; i++)
        if (s->jobs[i].wake_due) return true;
    return false;
}

static bool wait_ms(sched *s, uint32_t ms) {
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_nsec += (long)(ms % 1000) * 1000000;
    until.tv_sec += ms / 1000 + until.tv_nsec / 1000000000;
    until.tv_nsec %= 1000000000;
    return pthread_cond_timedwait(&s->work, &s->lock, &until) == 0;
}

/* Nothing can run: wait for work, and when it stays away give the idle pages back. */
static void rest(sched *s) {
    if (s->counts.active || s->counts.queued) {
        wait_ms(s, TIMEOUT_CHECK_MS);
    } else if (!wait_ms(s, TRIM_AFTER_IDLE_MS) && !s->counts.queued) {
        engine_trim(s->en, 0);
        engine_kv_counts(s->en, &s->kv);
        while (!s->counts.queued && !s->stopping && !wakes_due(s)) pthread_cond_wait(&s->work, &s->lock);
    }
}

void *sched_loop(void *ctx) {
    sched *s = ctx;
    pthread_mutex_lock(&s->lock);
    for (;;) {
        sweep(s);
        if (!s->stopping) admit(s);
        engine_kv_counts(s->en, &s->kv); /* before anything waits: what the sweep gave back is to be seen */
        engine_counters_read(s->en, &s->counters);
        wake_consumers(s);
        if (s->stopping) break;
        if (can_run(s)) step(s);
        else if (!wakes_due(s)) rest(s);
    }
    pthread_mutex_unlock(&s->lock);
    return NULL;
}
