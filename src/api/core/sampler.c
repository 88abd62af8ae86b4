/* What memory did: samples and baselines are taken here. */
#include "api/core/core.h"
#include "base/clock.h"
#include "base/log.h"
#include "plat/debug.h"

enum { PLANTED_BYTES = 4096 - 16 }; /* a page with the heap's own share */

static uint64_t now_ms(void) { return clock_now_ns() / 1000000; }

bool sampler_serving(api *a) { return atomic_load(&a->state) != API_LOADING && a->sched && a->http; }

static void put_jobs(const sched_counts *jobs, report_activity *out) {
    out->active = jobs->active;
    out->queued = jobs->queued;
    out->requests = jobs->finished + jobs->cancelled + jobs->failed;
    out->tokens = jobs->completion_tokens;
}

/* Of the pools what is in use, so that a page that is lost shows, though its pool stays as it is; remembered
 * and pinned pages are no loss. */
static void put_held(api *a, const sched_counts *jobs, const kv_cache_counts *kv, report_activity *out) {
    size_t reclaimable = kv->pool.evictable_bytes + kv->pinned_bytes;
    size_t page_bytes = kv_set_bytes(&engine_model_desc(a->en)->kv, engine_kv_params(a->en).type);
    mem_ledger_view v;
    mem_ledger_read(a->ledger, &v);
    out->held_bytes[MEM_HTTP] = v.rows[MEM_HTTP].now_bytes;
    out->held_bytes[MEM_KV] = kv->pool.used_bytes > reclaimable ? kv->pool.used_bytes - reclaimable : 0;
    out->held_bytes[MEM_QUEUE] = v.rows[MEM_QUEUE].now_bytes + jobs->block_bytes;
    out->evicted_bytes = kv->evicted_pages * page_bytes;
}

bool sampler_read(api *a, report_activity *out) {
    sched_counts before, jobs;
    kv_cache_counts kv;
    engine_counters unused;
    report_activity_init(out);
    if (!sampler_serving(a)) return false;
    sched_read(a->sched, &before);
    sched_engine_read(a->sched, &kv, &unused);
    sched_read(a->sched, &jobs);
    put_jobs(&jobs, out);
    put_held(a, &jobs, &kv, out);
    return !before.active && !before.queued && before.submitted == jobs.submitted;
}

static uint32_t bit_of(const char *account) {
    for (mem_account i = 0; i < MEM_ACCOUNT_COUNT; i++)
        if (!strcmp(account, mem_account_name(i))) return 1u << i;
    return 1u << MEM_ACCOUNT_COUNT;
}

/* Each once, for as long as it goes on. */
static void report_leaks(api *a) {
    report_leak leaks[MEM_ACCOUNT_COUNT + 1];
    uint32_t n = report_timeline_leaks(a->timeline, leaks), found = 0;
    for (uint32_t i = 0; i < n; i++) {
        char rise[BYTES_TEXT_BYTES];
        uint32_t bit = bit_of(leaks[i].account);
        found |= bit;
        if (a->known_leaks & bit) continue;
        log_warn("memory",
                 "a leak is suspected: %s grew by %s over %llu %s and did not come back (GET "
                 "/memory/doctor)",
                 leaks[i].account, bytes_text((uint64_t)leaks[i].trend.rise_bytes, rise),
                 (unsigned long long)leaks[i].requests, counted(leaks[i].requests, "request", "requests"));
    }
    a->known_leaks = found;
}

void api_sample(api *a) {
    uint64_t now = now_ms();
    if (a->sampled_ms && now < a->sampled_ms + REPORT_TIMELINE_STEP_MS - REPORT_TIMELINE_STEP_MS / 20) return;
    a->sampled_ms = now;
    mem_books books;
    report_activity activity;
    mem_books_read(a->ledger, &books);
    (void)sampler_read(a, &activity);
    report_timeline_sample(a->timeline, &books, &activity, now);
    report_leaks(a);
}

/* ---- the end of a request, and what tests let go wrong there ---- */

bool sampler_read_debug_leak(api *a, err *e) {
    const char *account;
    a->debug_leak = -1;
    mem_heap_init(&a->dropped, a->ledger, MEM_HTTP);
    if (!plat_debug_read("PLIMSOLL_DEBUG_LEAK", "lose memory", &account, e)) return false;
    if (!account) return true;
    static const mem_account leaky[] = {MEM_KV, MEM_QUEUE, MEM_HTTP};
    for (size_t i = 0; i < sizeof leaky / sizeof *leaky; i++)
        if (!strcmp(account, mem_account_name(leaky[i]))) a->debug_leak = (int)leaky[i];
    if (a->debug_leak < 0) return err_set(e, ERR_USAGE, "PLIMSOLL_DEBUG_LEAK is kv, queue or http");
    log_warn("memory", "PLIMSOLL_DEBUG_LEAK: account %s loses a page with each request", account);
    return true;
}

static void drop_a_page(api *a) {
    if (a->debug_leak == MEM_HTTP)
        (void)mem_heap_take_zeroed(&a->dropped, PLANTED_BYTES, NULL);
    else if (a->debug_leak >= 0)
        sched_drop(a->sched, (mem_account)a->debug_leak);
}

void sampler_request_ended(api *a) {
    drop_a_page(a);
    report_activity activity;
    mem_ledger_view v;
    if (!sampler_read(a, &activity)) return;
    mem_ledger_read(a->ledger, &v);
    report_timeline_idle(a->timeline, &v, &activity, now_ms());
}
