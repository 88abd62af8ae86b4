/* sched/internal — a job and the scheduler, for the files of this room. */
#ifndef SCHED_INTERNAL_H
#define SCHED_INTERNAL_H

#include "base/check.h"
#include "mem/arena.h"
#include "mem/buddy.h"
#include "plat/mutex.h"
#include "sched/ring.h"
#include "sched/sched.h"

/* The life of a job: what leads from the state on the left to the one above. There are no other moves, and nobody but
 * sched_job_move makes one (job.c).
 *
 *               QUEUED    PREFILL    DECODE         PREEMPTED    ENDED    FREE
 *   FREE        submit       ·          ·               ·          ·        ·
 *   QUEUED        ·        admit        ·               ·         exit      ·
 *   PREFILL       ·          ·     first token       preempt      exit      ·
 *   DECODE        ·          ·          ·            preempt      exit      ·
 *   PREEMPTED     ·        resume       ·               ·         exit      ·
 *   ENDED         ·          ·          ·               ·          ·     release
 *
 * It has a block of the queue's region in every state but FREE, and a session of the engine, with its pages, in PREFILL
 * and DECODE alone. QUEUED jobs count as queued; PREFILL, DECODE and PREEMPTED ones as active. */
typedef enum job_state { JOB_FREE, JOB_QUEUED, JOB_PREFILL, JOB_DECODE, JOB_PREEMPTED, JOB_ENDED } job_state;
enum { JOB_STATES = JOB_ENDED + 1 };

struct sched_job {
    job_state state;
    bool cancelled; /* the consumer has let go */
    uint64_t number;
    char id[PLAT_PULSE_WHO_BYTES]; /* the request's */
    engine_sampling sampling;
    engine_stop *stops;
    bool whole;
    engine_generation gen; /* of a running one n_fed and n_generated belong to the engine thread */
    uint32_t n_generated;  /* as last handed out, for others to read */
    uint32_t n_fed;        /* as n_generated */
    void *block;
    size_t block_bytes;
    sched_ring ring;
    sched_wake *wake;
    void *wake_ctx;
    bool wake_due, waking; /* to be called when the lock is next let go; being called */
    err failure; /* code ERR_NONE unless it failed */
    uint64_t submit_ns, admit_ns, first_ns, end_ns, read_ns;
    uint32_t tenant;
    int32_t priority;
    kv_params params;
    bool remember;
    kv_memory_of memory;
    uint32_t cached_tokens, times_preempted;
    uint64_t starving_ns; /* since when the system has refused pages to the first in rank; 0: not */
    uint32_t starving_tokens; /* what it could not grow to */
    kv_sequence_counts kv; /* at its largest */
};

typedef struct sched_tenant {
    double served; /* tokens, since all that are here were new */
    uint32_t n_jobs; /* queued or active */
} sched_tenant;

struct sched {
    sched_config config;
    engine *en;
    plat_mutex lock; /* of all that follows, and of the jobs, but for what says that it belongs to the engine thread */
    pthread_cond_t work, idle; /* there is something to do; a job has left */
    pthread_t thread;
    const void *engine_thread; /* its plat_thread_mark; NULL: not there yet */
    bool stopping, draining;
    _Atomic bool abort_step; /* a job in the running step was cancelled */

    mem_arena arena;
    mem_buddy blocks;
    sched_job *jobs;
    uint32_t n_jobs;
    uint64_t last_number; /* FIFO order; the first is 1 */
    uint64_t dropped_bytes; /* of blocks: sched_drop's */
    engine_batch_item *items;   /* of the step in preparation */
    sched_job **item_jobs;
    uint32_t n_items;
    engine_drafter **drafters; /* of its decodes */
    uint32_t n_drafting;   /* of these: with drafts */
    engine_step_cost step_cost;
    sched_job **running; /* prefill and decode, first in rank first */
    uint32_t n_running;
    sched_tenant *tenants;
    mem_level pressure;
    uint64_t pressed_room_bytes;
    uint64_t pool_limit_bytes; /* what the line leaves for the pool */
    bool preempt_due;    /* one, for memory's sake */
    bool cleanup_due; /* a request has ended, with cleanup_after_request */
    uint32_t turn; /* of choices that alternate */
    double decode_step_ms; /* running mean of steps without prompts, of so many decodes: */
    uint32_t decode_step_n;
    double chunk;          /* tokens of a prompt beside decodes */
    sched_counts counts;
    double mean_job_ms;
    engine_counters counters;
    plat_pulse pulse; /* of the engine thread */
};

/* ---- contracts: each function below asks for one of these at its entry ---- */

static inline bool sched_locked(const sched *s) { return plat_mutex_held(&s->lock); }
/* On the engine thread, which holds the lock. */
static inline bool sched_steps(const sched *s) { return sched_locked(s) && s->engine_thread == plat_thread_mark(); }

/* check.c: what holds whenever the lock is free. The first compares sums; the second walks jobs and blocks. Locked. */
void sched_counts_check(const sched *s);
void sched_check(const sched *s);

static inline void sched_lock(sched *s) {
    plat_mutex_lock(&s->lock);
    sched_counts_check(s);
}
static inline void sched_unlock(sched *s) {
    sched_counts_check(s);
    CHECK_SLOW(sched_check(s));
    plat_mutex_unlock(&s->lock);
}

/* job.c. Locked. */
bool sched_may_move(job_state from, job_state to);
/* CHECKs that the move is legal, counts it, and CHECKs the job as it is then: what the new state has or has not (its
 * session, its block) is taken or given back before. */
void sched_job_move(sched *s, sched_job *j, job_state to);
void sched_job_check(const sched *s, const sched_job *j);
bool sched_job_runs(const sched_job *j);      /* PREFILL, DECODE */
bool sched_job_is_active(const sched_job *j); /* and PREEMPTED */
static inline uint32_t sched_tenants(const sched_config *c) { return c->n_tenants ? c->n_tenants : 1; }

/* admission.c: who may run, by the bytes of KV pages. Locked; what changes who runs, on the engine thread. */
bool sched_outranks(const sched_job *a, const sched_job *b);
void sched_rank_running(sched *s);              /* fills s->running */
void sched_admit(sched *s); /* and lets come back who was preempted */
bool sched_would_admit(sched *s, const sched_job *j, err *why); /* j: not of the queue */
void sched_preempt(sched *s, sched_job *j);
bool sched_prepare(sched *s, sched_job *j, uint32_t n_tokens); /* pages for a step; preempts others, or j itself */
void sched_match_prefix(sched *s, sched_job *j);
void sched_preempt_last(sched *s); /* of those running, unless it is the first */
void sched_fit_pool(sched *s);  /* its budget to the pressure */
uint64_t sched_worst_bytes(const sched *s, const sched_job *j); /* of KV pages, at its largest */
bool sched_refuse_pressed(const sched *s, const sched_job *j, err *e);
bool sched_price(const sched *s, const kv_params *t, uint32_t n_tokens, err *e); /* could it ever run */
uint64_t sched_room_bytes(const sched *s);      /* of the pool: not in use, not promised */

/* loop.c. On the engine thread; for a job that is queued: locked. */
void sched_job_exit(sched *s, sched_job *j, const err *failure);

#endif
