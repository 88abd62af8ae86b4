/* What holds of the scheduler whenever its lock is free. */
#include "sched/internal.h"

void sched_counts_check(const sched *s) {
    const sched_counts *c = &s->counts;
    CHECK(sched_locked(s));
    CHECK(c->preempted <= c->active && c->active <= s->config.max_concurrent);
    CHECK(c->active + c->queued <= s->config.max_concurrent + s->config.max_queue);
    CHECK(c->submitted == c->queued + c->active + c->finished + c->cancelled + c->failed); /* nobody is lost */
    CHECK(s->blocks.used_bytes <= s->blocks.bytes);
}

void sched_check(const sched *s) {
    uint32_t queued = 0, active = 0, preempted = 0, of_tenants = 0;
    uint64_t block_bytes = s->dropped_bytes;
    sched_counts_check(s);
    for (uint32_t i = 0; i < s->n_jobs; i++) {
        const sched_job *j = &s->jobs[i];
        sched_job_check(s, j);
        CHECK(j->number <= s->last_number);
        CHECK(j->state != JOB_ENDED || !j->cancelled); /* its consumer has left: it is free at once */
        queued += j->state == JOB_QUEUED;
        active += sched_job_is_active(j);
        preempted += j->state == JOB_PREEMPTED;
        if (j->state != JOB_FREE) block_bytes += j->block_bytes;
    }
    for (uint32_t i = 0; i < sched_tenants(&s->config); i++) of_tenants += s->tenants[i].n_jobs;
    CHECK(queued == s->counts.queued && active == s->counts.active && preempted == s->counts.preempted);
    CHECK(of_tenants == queued + active);
    CHECK(block_bytes == s->blocks.used_bytes);
    mem_buddy_check(&s->blocks);
}
