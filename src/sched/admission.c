/* Who may run: the exact arithmetic of KV pages, and preemption. */
#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"
#include "engine/draft.h"
#include "sched/internal.h"

/* Beyond the tokens it has, a running job is promised pages for so many more; a job that comes back after it was
 * preempted must find room for more than that, so that two do not preempt each other in turns. */
enum { NEXT_STEPS_TOKENS = KV_PAGE_TOKENS, RETURN_TOKENS = 4 * KV_PAGE_TOKENS, RETURN_DOUBLINGS = 4 };
enum { STARVING_LIMIT_MS = 1000 };

bool sched_outranks(const sched_job *a, const sched_job *b) {
    return a->priority != b->priority ? a->priority > b->priority : a->number < b->number;
}

void sched_rank_running(sched *s) {
    CHECK(sched_steps(s));
    s->n_running = 0;
    for (uint32_t i = 0; i < s->n_jobs; i++) {
        sched_job *j = &s->jobs[i];
        if (!sched_job_runs(j)) continue;
        uint32_t at = s->n_running++;
        for (; at > 0 && sched_outranks(j, s->running[at - 1]); at--) s->running[at] = s->running[at - 1];
        s->running[at] = j;
    }
    CHECK(s->n_running == s->counts.active - s->counts.preempted && s->n_running <= s->config.max_concurrent);
    for (uint32_t i = 1; i < s->n_running; i++) CHECK(sched_outranks(s->running[i - 1], s->running[i]));
}

/* ---- bytes ---- */

static uint32_t known_tokens(const sched_job *j) { return j->gen.n_prompt + j->n_generated; }

static uint64_t bytes_with(const sched *s, const sched_job *j, uint32_t more_tokens) {
    uint32_t most = j->gen.n_prompt + j->gen.max_tokens, n = known_tokens(j) + more_tokens;
    return kv_cache_bytes_for(engine_kv(s->en), &j->params, n < most ? n : most);
}

/* What running jobs were promised and do not hold yet. */
static uint64_t promised_bytes(const sched *s) {
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < s->n_jobs; i++) {
        const sched_job *j = &s->jobs[i];
        if (!sched_job_runs(j)) continue;
        uint64_t wanted = bytes_with(s, j, NEXT_STEPS_TOKENS), held = engine_session_bytes(s->en, j->gen.session);
        if (wanted > held) bytes += wanted - held;
    }
    return bytes;
}

uint64_t sched_room_bytes(const sched *s) {
    CHECK(sched_locked(s));
    kv_pool_counts pool;
    kv_pool_read(kv_cache_pool(engine_kv(s->en)), &pool);
    uint64_t taken = pool.used_bytes - pool.evictable_bytes + promised_bytes(s);
    return pool.budget_bytes > taken ? pool.budget_bytes - taken : 0;
}

/* For the tokens it has and those next; pages that others are using anyway cost nothing. */
static uint64_t need_bytes(const sched *s, const sched_job *j, uint32_t more_tokens) {
    size_t in_use;
    kv_cache_peek(engine_kv(s->en), &j->params, j->gen.tokens, known_tokens(j) - 1, &in_use);
    uint64_t wanted = bytes_with(s, j, more_tokens);
    return wanted > in_use ? wanted - in_use : 0;
}

bool sched_price(const sched *s, const kv_params *t, uint32_t n_tokens, err *e) {
    uint64_t pool = kv_pool_full_bytes(kv_cache_pool(engine_kv(s->en)));
    uint64_t worst = kv_cache_bytes_for(engine_kv(s->en), t, n_tokens);
    if (worst <= pool) return true;
    char need[BYTES_TEXT_BYTES], have[BYTES_TEXT_BYTES];
    err_set_memory(e, worst, pool,
                   "%u %s would take %s of KV pages and the whole pool has %s: ask for fewer, or for a smaller "
                   "kv_type or a window",
                   n_tokens, counted(n_tokens, "token", "tokens"), bytes_text(worst, need), bytes_text(pool, have));
    e->code = ERR_TOO_LARGE;
    return false;
}

/* ---- when memory is short ---- */

uint64_t sched_worst_bytes(const sched *s, const sched_job *j) {
    return kv_cache_bytes_for(engine_kv(s->en), &j->params, j->gen.n_prompt + j->gen.max_tokens);
}

bool sched_refuse_pressed(const sched *s, const sched_job *j, err *e) {
    CHECK(sched_locked(s));
    char need[BYTES_TEXT_BYTES], have[BYTES_TEXT_BYTES];
    uint64_t worst = sched_worst_bytes(s, j);
    return err_set_memory(e, worst, s->pressed_room_bytes,
                          "memory is short (%s): this request may take %s and %s are left; it would fit later",
                          mem_level_name(s->pressure), bytes_text(worst, need),
                          bytes_text(s->pressed_room_bytes, have));
}

/* From Critical on what is in use, and no less than what any accepted request may come to need: each of them will be
 * the first in rank, and that one is never refused. */
void sched_fit_pool(sched *s) {
    CHECK(sched_locked(s));
    kv_pool *pool = kv_cache_pool(engine_kv(s->en));
    kv_pool_counts now;
    kv_pool_read(pool, &now);
    size_t wanted = kv_pool_full_bytes(pool);
    if (s->pressure >= MEM_CRITICAL) {
        wanted = now.used_bytes - now.evictable_bytes;
        for (uint32_t i = 0; i < s->n_jobs; i++) {
            const sched_job *j = &s->jobs[i];
            if (j->state == JOB_FREE || j->state == JOB_ENDED) continue;
            uint64_t worst = sched_worst_bytes(s, j);
            if (worst > wanted) wanted = worst;
        }
    }
    if (wanted > s->pool_limit_bytes) wanted = s->pool_limit_bytes; /* more is not there, for the first neither */
    if (wanted != now.budget_bytes) kv_pool_resize(pool, wanted);
}

/* ---- admission ---- */

static bool comes_before(const sched *s, const sched_job *a, const sched_job *b) {
    if (s->config.max_concurrent == 1) return a->number < b->number;
    if (a->priority != b->priority) return a->priority > b->priority;
    double had_a = s->tenants[a->tenant].served, had_b = s->tenants[b->tenant].served;
    if (had_a != had_b) return had_a < had_b;
    return a->number < b->number;
}

static sched_job *first_queued(sched *s) {
    sched_job *first = NULL;
    for (uint32_t i = 0; i < s->n_jobs; i++) {
        sched_job *j = &s->jobs[i];
        if (j->state == JOB_QUEUED && (!first || comes_before(s, j, first))) first = j;
    }
    return first;
}

static sched_job *first_preempted(sched *s) {
    sched_job *first = NULL;
    for (uint32_t i = 0; i < s->n_jobs; i++) {
        sched_job *j = &s->jobs[i];
        if (j->state == JOB_PREEMPTED && (!first || sched_outranks(j, first))) first = j;
    }
    return first;
}

static uint32_t count_running(const sched *s) { return s->counts.active - s->counts.preempted; }

void sched_match_prefix(sched *s, sched_job *j) {
    CHECK(sched_steps(s));
    uint32_t known = known_tokens(j), had = j->gen.n_fed;
    j->gen.n_fed = kv_sequence_match_prefix(engine_kv(s->en), j->gen.session, j->gen.tokens, known - 1);
    if (!j->gen.n_generated && !j->times_preempted) j->cached_tokens += j->gen.n_fed - had;
}

/* Out of the queue, or back after it was preempted. */
static bool open_session(sched *s, sched_job *j) {
    err e = {0};
    j->gen.session = engine_session_open(s->en, &j->params, &e);
    if (!j->gen.session) return false; /* all are in use: one will be free when a job ends */
    j->gen.n_fed = 0;
    sched_match_prefix(s, j);
    sched_job_move(s, j, JOB_PREFILL);
    return true;
}

/* With nobody else running there always is: the rest of the pool can be taken back. When memory is short they run one
 * after another. */
static bool has_room(const sched *s, const sched_job *j, uint32_t more_tokens) {
    if (count_running(s) && s->pressure >= MEM_CRITICAL) return false;
    return !count_running(s) || need_bytes(s, j, more_tokens) <= sched_room_bytes(s);
}

static bool begin(sched *s, sched_job *j) {
    if (!has_room(s, j, NEXT_STEPS_TOKENS)) return false;
    engine_generation_start(&j->gen);
    return open_session(s, j);
}

static bool come_back(sched *s, sched_job *j) {
    uint32_t doublings = j->times_preempted < RETURN_DOUBLINGS ? j->times_preempted : RETURN_DOUBLINGS;
    if (!has_room(s, j, RETURN_TOKENS << doublings) || !open_session(s, j)) return false;
    kv_cache_forget_preempted(engine_kv(s->en), j->number);
    return true;
}

/* Nobody overtakes the first: when it does not fit yet, the others wait too. Those that were preempted were admitted
 * before, and come first unless a higher priority has arrived. */
void sched_admit(sched *s) {
    CHECK(sched_steps(s));
    for (;;) {
        sched_job *preempted = first_preempted(s);
        sched_job *queued = s->counts.active < s->config.max_concurrent ? first_queued(s) : NULL;
        bool back = preempted && !(queued && queued->priority > preempted->priority);
        if (!(back ? come_back(s, preempted) : queued && begin(s, queued))) return;
    }
}

bool sched_would_admit(sched *s, const sched_job *j, err *why) {
    CHECK(sched_locked(s));
    const sched_job *preempted = first_preempted(s), *queued = first_queued(s);
    if (s->pressure >= MEM_CRITICAL) return sched_refuse_pressed(s, j, why);
    if (s->counts.active >= s->config.max_concurrent)
        return err_set(why, ERR_BUSY, "%u %s running, as many as may at once", s->counts.active,
                       counted(s->counts.active, "request is", "requests are"));
    if (queued && (s->config.max_concurrent == 1 || queued->priority >= j->priority))
        return err_set(why, ERR_BUSY, "%u %s before it", s->counts.queued,
                       counted(s->counts.queued, "request waits", "requests wait"));
    if (preempted && preempted->priority >= j->priority)
        return err_set(why, ERR_BUSY, "%u %s before it", s->counts.preempted,
                       counted(s->counts.preempted, "request that was parked comes", "requests that were parked come"));
    if (has_room(s, j, NEXT_STEPS_TOKENS)) return true;
    return err_set_memory(why, need_bytes(s, j, NEXT_STEPS_TOKENS), sched_room_bytes(s),
                          "running requests hold the pages it would begin with");
}

/* ---- preemption ---- */

static void note_size(sched *s, sched_job *j) {
    kv_sequence_counts now;
    kv_sequence_read(engine_kv(s->en), j->gen.session, &now);
    if (now.bytes > j->kv.bytes) j->kv.bytes = now.bytes, j->kv.pages = now.pages;
    if (now.shared_bytes > j->kv.shared_bytes) j->kv.shared_bytes = now.shared_bytes;
}

static void take_out_of_step(sched *s, const sched_job *j) {
    for (uint32_t i = 0; i < s->n_items; i++) {
        if (s->item_jobs[i] != j) continue;
        for (s->n_items--; i < s->n_items; i++) {
            s->item_jobs[i] = s->item_jobs[i + 1];
            s->items[i] = s->items[i + 1];
        }
    }
}

void sched_preempt(sched *s, sched_job *j) {
    CHECK(sched_steps(s));
    note_size(s, j);
    take_out_of_step(s, j);
    engine_draft_end(&j->gen);
    kv_sequence_close(engine_kv(s->en), j->gen.session, &(kv_memory_of){.preempted_for = j->number});
    j->gen.session = NULL;
    sched_job_move(s, j, JOB_PREEMPTED);
}

void sched_preempt_last(sched *s) {
    CHECK(sched_steps(s));
    sched_rank_running(s);
    if (s->n_running < 2) return;
    log_info("sched", "parking a request: memory is at %s", mem_level_name(s->pressure));
    sched_preempt(s, s->running[s->n_running - 1]);
}

/* The last in rank of those that run after j. */
static sched_job *victim_for(sched *s, const sched_job *j) {
    for (uint32_t i = s->n_running; i-- > 0;) {
        sched_job *v = s->running[i];
        if (v == j) return NULL;
        if (sched_job_runs(v)) return v;
    }
    return NULL;
}

static bool first_in_rank(const sched *s, const sched_job *j) {
    for (uint32_t i = 0; i < s->n_running; i++)
        if (sched_job_runs(s->running[i])) return s->running[i] == j;
    return false;
}

/* The first in rank, alone, and still refused: not by the pool, which holds its worst case, but by the system. It is
 * tried again for a while. */
static void starve(sched *s, sched_job *j, uint32_t wanted_tokens, const err *e) {
    uint64_t now = clock_now_ns();
    if (!j->starving_ns) j->starving_ns = now;
    j->starving_tokens = wanted_tokens;
    if ((now - j->starving_ns) / 1000000 < STARVING_LIMIT_MS) return;
    log_error("sched", "a request cannot go on: %s", e->message);
    sched_job_exit(s, j, e);
}

bool sched_prepare(sched *s, sched_job *j, uint32_t n_tokens) {
    CHECK(sched_steps(s));
    kv_cache *kv = engine_kv(s->en);
    err e = {0};
    uint32_t wanted = kv_sequence_tokens(j->gen.session) + n_tokens;
    while (!kv_sequence_prepare(kv, j->gen.session, n_tokens, &e)) {
        sched_job *victim = victim_for(s, j);
        if (victim) {
            sched_preempt(s, victim);
        } else if (!first_in_rank(s, j)) {
            sched_preempt(s, j);
            return false;
        } else if (!kv_cache_unpin_one(kv)) {
            starve(s, j, wanted, &e);
            return false;
        }
    }
    if (wanted >= j->starving_tokens) j->starving_ns = 0;
    note_size(s, j);
    return true;
}
