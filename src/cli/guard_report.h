/* cli/guard_report — what a guard saw: samples over time, a result for each command, in words, JSON and a picture.
 *
 * Owns no process and reads nothing from the kernel: cli/guard fills it. Memory is fixed: when the samples are full,
 * every two become one, the higher, and the next stand for twice the time.
 */
#ifndef CLI_GUARD_REPORT_H
#define CLI_GUARD_REPORT_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "base/err.h"
#include "base/str.h"
#include "plat/child.h"

enum { GUARD_SAMPLES = 4096, GUARD_RUNS = 256, GUARD_PARTS = 4, GUARD_REASON_BYTES = 256 };

typedef enum guard_verdict {
    GUARD_WITHIN,   /* ended by itself, never over its budget (or without one) */
    GUARD_OVER,     /* over its budget: ended for it, or seen too late */
    GUARD_SKIPPED,  /* not run: the machine cannot give it */
    GUARD_FAILED,   /* could not be run */
    GUARD_STOPPED,  /* we were asked to end */
} guard_verdict;

typedef struct guard_run {
    const char *name;      /* NULL: the only one */
    const char *command;
    uint64_t budget_bytes; /* 0: none */
    guard_verdict verdict;
    char reason[GUARD_REASON_BYTES]; /* skipped, failed, over: why */
    char watched[GUARD_REASON_BYTES]; /* not in a control group: why */
    int cage_version;                /* 1, 2: held by the kernel; 0: watched */
    int exit_status, signal;
    double from_s, to_s; /* since the guard's start */
    uint64_t peak_bytes, baseline_bytes, end_bytes, growth_bytes, left_bytes;
    uint32_t most_processes, left_processes;
    bool leaks;
} guard_run;

typedef struct guard_report {
    uint64_t leak_bytes;
    uint32_t interval_ms, stride, pending; /* readings in a sample, and how many the last one has */
    uint32_t n_samples, n_runs;
    double seconds[GUARD_SAMPLES], parts[GUARD_PARTS][GUARD_SAMPLES]; /* anon, file, shared, swap */
    guard_run runs[GUARD_RUNS];
    char unstable[GUARD_REASON_BYTES]; /* why a list was not climbed further; "" otherwise */
} guard_report;

void guard_sample(guard_report *r, double seconds, const plat_tree *t);
/* baseline, end and growth of a run from its samples. The baseline is what it held once started: at the end of its
 * first second in which memory did not rise (by more than an eighth of --leak), looked for up to half of its time; so a
 * start is no growth however long it takes. The end is the middle one of the last tenth of the samples. */
void guard_measure(const guard_report *r, guard_run *run);
/* The status to end with for one run: its own, 128 + signal, 124 over, 125 not run, 126 and 127 as a shell's. */
int guard_status(const guard_run *run);

void guard_say(const guard_report *r, const guard_run *run, FILE *out);
void guard_json(const guard_report *r, buf *out);
void guard_chart(const guard_report *r, buf *out);

#endif
