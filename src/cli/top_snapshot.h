/* cli/top_snapshot — what a running server said of itself, and what changed since it last did.
 *
 * Owns the reading of GET /health and GET /memory into plain figures, and the track over readings: speeds,
 * a short history, events. Callers: cli/top. Nothing here trusts the server: unknown members are skipped,
 * missing ones stay 0, numbers out of range are cut to it, names are made fit for a terminal. */
#ifndef CLI_TOP_SNAPSHOT_H
#define CLI_TOP_SNAPSHOT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/str.h"

enum {
    TOP_NAME_BYTES = 48, TOP_ACCOUNTS = 16, TOP_HISTORY = 256, TOP_EVENTS = 8, TOP_EVENT_BYTES = 120,
    TOP_CLOCK_BYTES = 9, /* "12:03:44" */
};

typedef struct top_account {
    char name[TOP_NAME_BYTES];
    uint64_t now_bytes, peak_bytes, refused;
} top_account;

typedef struct top_pool {
    uint64_t budget_bytes, used_bytes, evictable_bytes, committed_bytes, tokens_held, preemptions;
    double waste;
    char type[TOP_NAME_BYTES];
} top_pool;

typedef struct top_cache {
    uint64_t entries, tokens, hits, misses, hit_tokens, evicted_pages;
} top_cache;

typedef struct top_spill {
    uint64_t file_bytes, slots, used, spilled_pages, restored_pages;
} top_spill;

typedef struct top_jobs { /* totals since the server started */
    uint64_t submitted, finished, cancelled, failed, refused;
} top_jobs;

typedef struct top_snapshot {
    bool has_memory; /* /memory answered; without it there is only what /health says */
    char status[TOP_NAME_BYTES], model[TOP_NAME_BYTES], level[TOP_NAME_BYTES];
    uint64_t active, queued, preempted;
    uint64_t used_bytes; /* the kernel's figure */
    uint64_t line_bytes; /* UINT64_MAX: no line */
    uint64_t reclaimable_bytes; /* not available, but given back when it is asked for */
    uint64_t available_bytes, ledger_bytes, ledger_peak_bytes, tolerance_bytes;
    int64_t unexplained_bytes;
    bool balanced;
    uint64_t machine_bytes, machine_available_bytes, cgroup_limit_bytes; /* UINT64_MAX: none */
    top_account accounts[TOP_ACCOUNTS];
    uint32_t n_accounts;
    bool has_pool, has_spill, has_jobs;
    top_pool pool;
    top_cache cache;
    top_spill spill;
    top_jobs jobs;
    uint64_t tokens; /* computed since the server started */
    char finding[TOP_EVENT_BYTES]; /* the doctor's worst; "" when all is well */
} top_snapshot;

/* Begins *s anew. False when the text is no JSON; *s then holds what came before the damage. */
bool top_read_health(const base_alloc *alloc, str json, top_snapshot *s, err *e);
/* Adds to *s what /memory says. */
bool top_read_memory(const base_alloc *alloc, str json, top_snapshot *s, err *e);

/* Adds what /memory/doctor finds worst. */
bool top_read_doctor(const base_alloc *alloc, str json, top_snapshot *s, err *e);

typedef struct top_event {
    char clock[TOP_CLOCK_BYTES], text[TOP_EVENT_BYTES];
} top_event;

typedef struct top_sample {
    double used_bytes, tokens_per_s;
} top_sample;

typedef struct top_track {
    top_snapshot now;     /* the last that was read */
    bool any, connected;  /* any: now is filled; connected: the last try reached the server */
    uint64_t now_ms;
    double tokens_per_s, requests_per_s; /* below 0: not known yet */
    top_sample history[TOP_HISTORY];     /* a ring; the newest is (n_history − 1) % TOP_HISTORY */
    uint64_t n_history;
    top_event events[TOP_EVENTS]; /* a ring, too */
    uint64_t n_events;
    uint64_t refused_event, refused_run; /* n_events after the last that told of refusals, and of how many */
    char trouble[TOP_EVENT_BYTES]; /* why the last try failed */
} top_track;

void top_track_init(top_track *t);
/* Fills the history of a track without readings from /memory/timeline. */
bool top_read_timeline(const base_alloc *alloc, str json, top_track *t, err *e);
/* A reading at now_ms (monotonic); clock is what a wall clock shows. */
void top_track_reading(top_track *t, const top_snapshot *s, uint64_t now_ms, const char *clock);
/* A try that did not reach the server. */
void top_track_trouble(top_track *t, const char *why, const char *clock);
void top_track_event(top_track *t, const char *clock, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

#endif
