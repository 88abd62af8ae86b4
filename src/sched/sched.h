/* sched/ — which request runs next: queue, admission, batching, cancellation, a request's life.
 *
 * Owns the engine thread (the only one that steps the engine), a fixed number of job slots, and one
 * prefaulted region in the ledger account `queue` from which each job takes one block for its prompt,
 * its tokens and its output ring. Callers: api/ (from HTTP's threads) and cli/. Knows no dialects and no
 * sockets; text only as bytes to pass on.
 *
 * A job's life:  queued → prefill → decode → finished,  with preempted beside the two in the middle, and from each of
 * them an exit (cancelled, timed out, failed). Every way out passes job_exit, which closes the session and so gives
 * its pages back. The slot is free when the exit has happened and the consumer has let go (sched_job_release).
 *
 * Order: the queue by priority, then fairly between tenants (who has had least comes first), then by arrival; with
 * max_concurrent 1 strictly by arrival. Admission: a job's worst case must fit the KV pool alone (or it is refused at
 * the door), and it is admitted when its prompt and its next steps have pages. Together the admitted may want more
 * than there is: then remembered prompts make way, and after them the job that ranks last (lowest priority,
 * youngest) is preempted. Its pages stay remembered as long as there is room; it comes back when its turn is there,
 * computes again what is gone, and goes on with the same bits. The first in rank always advances, so everyone
 * finishes. Admitted jobs share steps: every decoding job has one token in each, prompts are fed in chunks beside
 * them, sized so that a step takes at most about twice what it takes without.
 *
 * When memory is short (sched_set_pressure): from Caution on nothing more is remembered; from Critical on new requests
 * are refused, those accepted run one after another, only the first in rank goes on with its prompt, and the pool's
 * budget is what they need; in Emergency the last in rank are preempted. Nothing of it outlives the pressure.
 *
 * A job with pooling runs its prompt, says nothing and leaves one vector. It is a job like any other; only what of its
 * prompt must be seen is never taken from what is remembered, and preempted it begins again.
 *
 * Refused at the door: ERR_TOO_LARGE (what no context or pool holds), ERR_INVALID (parameters),
 * ERR_MEMORY (memory is short), ERR_BUSY (queue full, its memory full, draining): come back after sched_retry_after_s.
 */
#ifndef SCHED_SCHED_H
#define SCHED_SCHED_H

#include "engine/generation.h"
#include "mem/books.h"
#include "plat/pulse.h"

typedef struct sched_config {
    uint32_t max_concurrent;   /* jobs running at once; at most the engine's sessions; 1: strictly one after another */
    uint32_t max_queue;        /* jobs waiting */
    uint32_t queue_timeout_ms; /* a job waiting longer ends with ERR_BUSY; 0: never */
    uint32_t stall_timeout_ms; /* a consumer that reads nothing for so long loses its job */
    size_t queue_bytes;        /* the region; 0: chosen from the context */
    uint32_t n_tenants;        /* who share fairly; 0: as 1 */
    bool cleanup_after_request; /* forget what is not pinned, give back free pages and heap, before it is answered */
    bool speculate_always;      /* tests: as if drafted tokens took no time */
    bool check_every_step;      /* tests: CHECKs the whole KV cache before each step */
} sched_config;

void sched_config_default(sched_config *c);

typedef struct sched sched;
typedef struct sched_job sched_job;

/* n_context: what a session can hold. */
size_t sched_plan_bytes(const sched_config *c, uint32_t n_context);
sched *sched_start(const sched_config *c, engine *en, mem_ledger *l, err *e);
void sched_drain(sched *s); /* refuse new jobs; queued and running ones go on */
/* Waits until no job is left, up to timeout_ms; true when none is. */
bool sched_wait_idle(sched *s, uint32_t timeout_ms);
void sched_stop(sched *s); /* cancels what is left, joins the engine thread; all jobs must be released */

typedef model_pooling sched_pooling; /* engine_pooling says what the model asks for */
#define SCHED_POOL_NONE MODEL_POOL_NONE
#define SCHED_POOL_MEAN MODEL_POOL_MEAN
#define SCHED_POOL_LAST MODEL_POOL_LAST
#define SCHED_POOL_CLS MODEL_POOL_CLS

typedef struct sched_request {
    const char *id; /* what to call it when it hangs; NULL: nothing */
    const int32_t *prompt;
    uint32_t n_prompt;
    uint32_t max_tokens; /* clipped to what the context leaves; 0 with pooling */
    bool whole;          /* the consumer reads only at the end: the output must fit the ring */
    uint32_t tenant;     /* < n_tenants */
    int32_t priority;    /* higher goes first */
    kv_params params;      /* engine_kv_params to begin with; publish_tokens is set here */
    bool remember;       /* when it has finished */
    bool speculate;      /* draft what comes next, where the engine has room for drafts */
    kv_memory_of memory;
    sched_pooling pooling; /* NONE: text. Else one vector: sampling and stops are not looked at */
    bool normalize;        /* the vector, to length 1 */
    const text_reply_format *words; /* control tokens that are its words are text, too; NULL: none. Outlives the job */
    engine_sampling sampling; /* its grammar is held for the job, too, until the job's end */
    uint32_t n_stops;
    engine_stop stops[GENERATION_STOPS_MAX];
} sched_request;

/* Checks and copies the request. NULL with the reason when refused. */
sched_job *sched_submit(sched *s, const sched_request *r, err *e);

/* From now on wake(ctx) is called on the engine thread, holding no lock, when there is something to read
 * (for a whole job: when it has ended), at once if there is already. It may read the job, not release
 * it. It is never running, nor called again, once sched_job_release has returned. */
typedef void sched_wake(void *ctx);
void sched_job_listen(sched *s, sched_job *j, sched_wake *wake, void *ctx);

typedef enum sched_what { SCHED_NOTHING, SCHED_TOKEN, SCHED_END, SCHED_FAILED } sched_what;

typedef struct sched_usage {
    uint32_t prompt_tokens, completion_tokens, cached_tokens;
    uint32_t drafted_tokens, accepted_tokens; /* drafted and run; of these: right */
    double queue_ms, prefill_ms, decode_ms, total_ms;
    uint64_t peak_bytes; /* of this job: KV pages and its block */
    uint32_t kv_pages;   /* at its largest */
    uint64_t kv_bytes;
    uint64_t shared_bytes; /* of these: pages that the cache or others held already */
    const char *reprocess_reason; /* why a page or more of the prompt was computed; NULL when less was */
    kv_type kv_type;
    uint32_t preempted;       /* times */
} sched_usage;

typedef struct sched_output {
    sched_what what;
    engine_sample sample; /* SCHED_TOKEN */
    str text;             /* SCHED_TOKEN; in storage */
    engine_finish finish; /* SCHED_END */
    int32_t stopped_by;   /* SCHED_END: index of the stop string, or −1 */
    err failure;          /* SCHED_FAILED */
    char storage[GENERATION_TEXT_BYTES];
} sched_output;

/* The next piece of output, in order; SCHED_NOTHING when there is none yet. SCHED_END or SCHED_FAILED
 * is the last and repeats. */
void sched_job_read(sched *s, sched_job *j, sched_output *out);
/* After SCHED_END of a job with pooling: its vector, until it is released. NULL before, and for others. */
const float *sched_job_embedding(sched *s, sched_job *j, uint32_t *width);
/* After it has ended: the prompt and what was generated, until it is released. NULL before. */
const int32_t *sched_job_tokens(sched *s, sched_job *j, uint32_t *n);
bool sched_job_done(sched *s, sched_job *j); /* it has ended (output may still be unread) */
bool sched_job_failed(sched *s, sched_job *j, err *why); /* it has ended with SCHED_FAILED; reads nothing */
str sched_job_stop_text(sched *s, const sched_job *j, uint32_t which); /* valid until released */
void sched_job_usage(sched *s, sched_job *j, sched_usage *out);
/* The consumer lets go; a job that has not ended is cancelled. j is dead afterwards. Not from wake. */
void sched_job_release(sched *s, sched_job *j);

/* What the engine thread is at: "step", "mask", "sampling" or "waking", in none of which it holds a lock. */
const plat_pulse *sched_pulse(const sched *s);

typedef struct sched_counts {
    uint32_t queued, active, preempted; /* preempted ones are active, too */
    uint64_t submitted, finished, cancelled, failed, refused;
    uint64_t prompt_tokens, completion_tokens, preemptions, drafted_tokens, accepted_tokens;
    uint64_t block_bytes; /* of the queue's region: in use */
} sched_counts;
void sched_read(sched *s, sched_counts *out);
uint32_t sched_retry_after_s(sched *s); /* 1 – 59, from the backlog */

typedef struct sched_fit {
    bool ever, now;              /* could it run at all; would it be admitted at once */
    uint32_t cached_tokens, max_tokens; /* max_tokens: as clipped */
    uint64_t required_bytes, available_bytes, pool_bytes; /* of KV pages, at its largest */
    uint32_t queued;
    err reason; /* when not now */
} sched_fit;
/* What sched_submit would say, and when it would run; nothing is taken. False for a request that is wrong. */
bool sched_would_fit(sched *s, const sched_request *r, sched_fit *out, err *e);

/* ---- when memory is short: from another thread, between two steps ---- */

/* The level now, and the room it comes from (for those who are refused). hold: nothing more is remembered, even if the
 * level is Safe, because that counts what is remembered as room. */
void sched_set_pressure(sched *s, mem_level level, bool hold, uint64_t room_bytes);
/* The pool holds no more than that, whatever its budget is: the line has moved. */
void sched_limit_pool(sched *s, uint64_t bytes);
typedef struct sched_memory {
    uint64_t held_bytes, reclaimable_bytes; /* of KV pages: all; those that no request holds */
    uint32_t requests;                      /* queued and active */
    uint64_t ended;                         /* since the start */
} sched_memory;
void sched_memory_read(sched *s, sched_memory *out);
/* Each returns the bytes that the kernel has again. */
uint64_t sched_trim(sched *s);                         /* free pages */
uint64_t sched_expire(sched *s);                       /* what has outlived its time */
uint64_t sched_unpin_one(sched *s); /* the oldest pin is taken back, and its pages */
uint64_t sched_shrink_cache(sched *s, uint64_t bytes); /* so much of what is remembered, the least worth first */

/* ---- the KV cache, read and changed between two steps ---- */

void sched_engine_read(sched *s, kv_cache_counts *kv, engine_counters *counters);
/* Jobs, cache and engine of one moment. */
typedef struct sched_snapshot {
    sched_counts jobs;
    kv_cache_counts kv;
    engine_counters engine;
} sched_snapshot;
void sched_snapshot_read(sched *s, sched_snapshot *out);
uint32_t sched_cache_entries(sched *s, uint32_t *at, kv_entry_view *out, uint32_t n); /* kv_cache_entries */
kv_removed sched_cache_clear(sched *s);
bool sched_cache_remove(sched *s, uint64_t id, kv_removed *out); /* false: no such entry */

/* For tests of the leak detector: drops a page of KV (MEM_KV) or a block of the queue's region (MEM_QUEUE). */
void sched_drop(sched *s, mem_account account);

#endif
