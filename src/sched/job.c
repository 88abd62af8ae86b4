/* The life of a job: the moves it may make, what each of them counts, and what holds in each state. The table is drawn
 * in sched/internal.h. */
#include "base/check.h"
#include "base/clock.h"
#include "sched/internal.h"

/* ---- what a move does, before the state changes ---- */

/* Whoever comes back after a while starts level with those who are here, not ahead of them. */
static void enter_tenant(sched *s, uint32_t tenant) {
    double least = -1;
    for (uint32_t i = 0; i < sched_tenants(&s->config); i++)
        if (s->tenants[i].n_jobs && (least < 0 || s->tenants[i].served < least)) least = s->tenants[i].served;
    sched_tenant *t = &s->tenants[tenant];
    if (!t->n_jobs++ && t->served < least) t->served = least;
}

static void submit(sched *s, sched_job *j) {
    j->number = ++s->last_number;
    j->submit_ns = j->read_ns = clock_now_ns();
    enter_tenant(s, j->tenant);
    s->counts.submitted++;
    s->counts.queued++;
}

static void admit(sched *s, sched_job *j) {
    j->admit_ns = clock_now_ns();
    s->counts.queued--;
    s->counts.active++;
}

/* One that was preempted says its first token once more when it goes on: only the first of all is noted. */
static void speak(sched *s, sched_job *j) {
    (void)s;
    if (!j->first_ns) j->first_ns = clock_now_ns();
}

static void preempt(sched *s, sched_job *j) {
    j->times_preempted++;
    s->counts.preempted++;
    s->counts.preemptions++;
}

static void resume(sched *s, sched_job *j) {
    (void)j;
    s->counts.preempted--;
}

static void end(sched *s, sched_job *j) {
    CHECK(s->tenants[j->tenant].n_jobs > 0);
    j->end_ns = clock_now_ns();
    s->tenants[j->tenant].n_jobs--;
    if (j->state == JOB_QUEUED) s->counts.queued--;
    else s->counts.active--;
    if (j->state == JOB_PREEMPTED) s->counts.preempted--;
}

static void release(sched *s, sched_job *j) {
    mem_buddy_give(&s->blocks, j->block);
    j->block = NULL;
}

/* ---- the table ---- */

typedef void sched_move(sched *s, sched_job *j);

static sched_move *const moves[JOB_STATES][JOB_STATES] = {
    [JOB_FREE] = {[JOB_QUEUED] = submit},
    [JOB_QUEUED] = {[JOB_PREFILL] = admit, [JOB_ENDED] = end},
    [JOB_PREFILL] = {[JOB_DECODE] = speak, [JOB_PREEMPTED] = preempt, [JOB_ENDED] = end},
    [JOB_DECODE] = {[JOB_PREEMPTED] = preempt, [JOB_ENDED] = end},
    [JOB_PREEMPTED] = {[JOB_PREFILL] = resume, [JOB_ENDED] = end},
    [JOB_ENDED] = {[JOB_FREE] = release},
};

bool sched_may_move(job_state from, job_state to) { return moves[from][to] != NULL; }

void sched_job_move(sched *s, sched_job *j, job_state to) {
    CHECK(sched_locked(s) && sched_may_move(j->state, to));
    moves[j->state][to](s, j);
    j->state = to;
    sched_job_check(s, j);
}

bool sched_job_runs(const sched_job *j) { return j->state == JOB_PREFILL || j->state == JOB_DECODE; }
bool sched_job_is_active(const sched_job *j) { return sched_job_runs(j) || j->state == JOB_PREEMPTED; }

/* ---- what holds ---- */

static void check_times(const sched_job *j) {
    CHECK(j->submit_ns && j->read_ns >= j->submit_ns);
    CHECK(!sched_job_is_active(j) || j->admit_ns >= j->submit_ns);
    CHECK(j->state != JOB_DECODE || j->first_ns >= j->admit_ns);
    CHECK((j->state == JOB_ENDED) == (j->end_ns > 0));
}

void sched_job_check(const sched *s, const sched_job *j) {
    CHECK(j >= s->jobs && j < s->jobs + s->n_jobs);
    CHECK(j->wake || !j->wake_due);                            /* nobody is told who does not listen */
    CHECK((j->gen.session != NULL) == sched_job_runs(j));      /* a place in the engine and its pages: while it runs */
    CHECK((j->block != NULL) == (j->state != JOB_FREE));       /* its block of the queue's region: until it is let go */
    if (j->state == JOB_FREE) {
        CHECK(!j->wake && !j->waking);
        return;
    }
    CHECK(j->number && j->tenant < sched_tenants(&s->config));
    CHECK(j->ring.used <= j->ring.size && j->ring.head <= j->ring.size);
    CHECK(j->state != JOB_ENDED || !j->sampling.grammar);
    CHECK(j->state != JOB_PREEMPTED || j->times_preempted);
    CHECK(j->state != JOB_QUEUED || (!j->n_generated && !j->times_preempted && !j->ring.used));
    check_times(j);
}
