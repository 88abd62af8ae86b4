/* report/doctor — what the figures mean, in plain words. Pure: a snapshot in, findings out.
 *
 * Each finding says what was seen, with the figures it rests on, and what can be done about it. Nothing is read,
 * taken or changed here. Callers: api/ (GET /memory/doctor), tests.
 */
#ifndef REPORT_DOCTOR_H
#define REPORT_DOCTOR_H

#include "report/timeline.h"
#include "plat/hugepages.h"

typedef struct report_snapshot {
    const mem_books *books;
    const report_leak *leaks;
    uint32_t n_leaks;
    uint64_t baselines;     /* that the leaks were looked for in */
    uint64_t evicted_bytes; /* of remembered prompts, in the last span_ms */
    uint64_t span_ms;
    uint64_t cache_budget_bytes; /* what prompts are remembered in; 0: none */
    plat_hugepages hugepages;
} report_snapshot;

typedef enum report_severity { REPORT_NOTE, REPORT_WARN, REPORT_ALARM } report_severity;
const char *report_severity_name(report_severity s);

enum { REPORT_FINDINGS_MAX = 40, REPORT_FINDING_FIGURES = 4, REPORT_FINDING_WORDS_BYTES = 256 };

typedef struct report_figure {
    const char *name;
    double value; /* bytes where the name ends so; else a plain number */
} report_figure;

typedef struct report_finding {
    report_severity severity;
    const char *code;    /* for programs: "heap_held", "leak", … */
    const char *account; /* the one it is about; NULL: none */
    char words[REPORT_FINDING_WORDS_BYTES], advice[REPORT_FINDING_WORDS_BYTES];
    uint32_t n_figures;
    report_figure figures[REPORT_FINDING_FIGURES];
} report_finding;

typedef struct report_diagnosis {
    uint32_t n; /* the most severe first */
    report_finding findings[REPORT_FINDINGS_MAX];
} report_diagnosis;

void report_doctor(const report_snapshot *s, report_diagnosis *out);
void report_doctor_json(const report_diagnosis *d, json_writer *w); /* an object */
void report_doctor_words(const report_diagnosis *d, buf *out);      /* for people */

/* Which bound leaves least: "line", "machine" or "cgroup". */
const char *report_doctor_bound(const mem_books *b);

#endif
