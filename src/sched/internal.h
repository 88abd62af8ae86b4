/* sched/internal — a job and the scheduler, for the files of this room. */
#ifndef SCHED_INTERNAL_H
#define SCHED_INTERNAL_H

#include <pthread.h>

#include "mem/arena.h"
#include "mem/buddy.h"
#include "sched/ring.h"
#include "sched/sched.h"

typedef enum job_state { JOB_FREE, JOB_QUEUED, JOB_PREFILL, JOB_DECODE, JOB_ENDED } job_state;

struct sched_job {
    job_state state;
    bool cancelled; /* the consumer has let go */
    uint64_t number;
    engine_sampling sampling;
    engine_stop *stops;
    bool whole;
    engine_generation gen;
    void *block;
    size_t block_bytes;
    sched_ring ring;
    sched_wake *wake;
    void *wake_ctx;
    bool wake_due, waking; /* to be called when the lock is next let go; being called */
    err failure; /* code ERR_NONE unless it failed */
    uint64_t submit_ns, admit_ns, first_ns, end_ns, read_ns;
    uint64_t kv_bytes;
};

struct sched {
    sched_config config;
    engine *en;
    pthread_mutex_t lock;
    pthread_cond_t work, idle; /* there is something to do; a job has left */
    pthread_t thread;
    bool stopping, draining;
    _Atomic bool abort_step; /* a job in the running step was cancelled */

    mem_arena arena;
    mem_buddy blocks;
    sched_job *jobs;
    uint32_t n_jobs;
    uint64_t next_number; /* FIFO order */
    engine_feed *feeds;   /* of the step in preparation */
    sched_job **feed_jobs;
    sched_counts counts;
    double mean_job_ms;
    kv_pool_counts kv;
    engine_counters counters;
};

#endif
