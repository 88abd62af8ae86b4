/* report/timeline — what the books said, second by second, and the quiet levels between requests.
 *
 * Owns two rings of samples (10 minutes a second apart; the 6 hours before them a half minute apart, each the
 * highest of its half minute, so that a peak outlives the thinning), and two series of baselines: the accounts
 * whenever the last running request has gone, and the kernel's unexplained bytes after a quiet second. All of it
 * lies in the caller's arena, so plan == fact. Callers: api/ (its arena, account http: these are the server's
 * pages), which samples once a second and notes every idle moment. Any thread: one short lock. Refuses nothing:
 * what is old makes way.
 */
#ifndef REPORT_TIMELINE_H
#define REPORT_TIMELINE_H

#include "mem/arena.h"
#include "mem/books.h"
#include "report/leak.h"

enum {
    REPORT_TIMELINE_FINE = 600,
    REPORT_TIMELINE_COARSE = 720,
    REPORT_TIMELINE_STEP_MS = 1000,
    REPORT_TIMELINE_COARSE_MS = 30000,
};

typedef struct report_activity { /* what the server did, beside what it held */
    uint32_t active, queued;
    uint64_t requests, tokens; /* ended and generated so far */
    uint64_t evicted_bytes;    /* of remembered prompts that made way, so far */
    uint64_t held_bytes[MEM_ACCOUNT_COUNT]; /* in use inside pools that stay reserved; UINT64_MAX: the row itself */
} report_activity;

void report_activity_init(report_activity *a); /* nothing done, every row as it is */

typedef struct report_sample {
    uint64_t time_ms; /* of the clock the caller uses, never going back */
    uint64_t kernel_bytes, ledger_bytes, available_bytes, reclaimable_bytes;
    uint64_t accounts[MEM_ACCOUNT_COUNT];
    uint64_t requests, tokens, evicted_bytes;
    uint32_t active, queued;
    mem_level level;
} report_sample;

typedef struct report_timeline report_timeline;

/* Takes it out of a measuring or a real arena; NULL while measuring. */
report_timeline *report_timeline_lay_out(mem_arena *a);
void report_timeline_init(report_timeline *t);
void report_timeline_free(report_timeline *t); /* its lock; the memory is the arena's. NULL is fine */

/* A sample; one that comes sooner than STEP_MS (less a tenth) after the last is dropped. Notes the kernel's
 * baseline when nothing ran since the last sample, and something since the last baseline (or a minute passed). */
void report_timeline_sample(report_timeline *t, const mem_books *b, const report_activity *a, uint64_t now_ms);
/* The accounts at a moment without requests. Cheap: no reading of the kernel. */
void report_timeline_idle(report_timeline *t, const mem_ledger_view *v, const report_activity *a, uint64_t now_ms);

/* The first sample later than after_ms; false when there is none. So a reader walks through what other threads
 * write. The coarse samples come first and end where the fine ones begin. */
bool report_timeline_next(report_timeline *t, uint64_t after_ms, report_sample *out);
uint32_t report_timeline_count(report_timeline *t);

typedef struct report_leak {
    const char *account; /* "unexplained" for the kernel's */
    report_trend trend;
    uint64_t requests, span_ms; /* that the readings looked at cover */
} report_leak;

/* Of every account and the unexplained, the trends of those that leak; at most MEM_ACCOUNT_COUNT + 1. */
uint32_t report_timeline_leaks(report_timeline *t, report_leak out[MEM_ACCOUNT_COUNT + 1]);
uint64_t report_timeline_baselines(report_timeline *t); /* noted so far, of the accounts */

#endif
