/* mem/doctor — what the figures mean, in plain words. Pure: a snapshot in, findings out.
 *
 * Each finding says what was seen, with the figures it rests on, and what can be done about it. Nothing is read,
 * taken or changed here. Callers: api/ (GET /memory/doctor), tests.
 */
#ifndef MEM_DOCTOR_H
#define MEM_DOCTOR_H

#include "mem/timeline.h"
#include "plat/hugepages.h"

typedef struct mem_snapshot {
    const mem_books *books;
    const mem_leak_report *leaks;
    uint32_t n_leaks;
    uint64_t baselines;     /* that the leaks were looked for in */
    uint64_t evicted_bytes; /* of remembered prompts, in the last span_ms */
    uint64_t span_ms;
    uint64_t cache_budget_bytes; /* what prompts are remembered in; 0: none */
    plat_hugepages hugepages;
} mem_snapshot;

typedef enum mem_severity { MEM_NOTE, MEM_WARN, MEM_ALARM } mem_severity;
const char *mem_severity_name(mem_severity s);

enum { MEM_FINDINGS_MAX = 40, MEM_FINDING_FIGURES = 4, MEM_FINDING_WORDS_BYTES = 256 };

typedef struct mem_figure {
    const char *name;
    double value; /* bytes where the name ends so; else a plain number */
} mem_figure;

typedef struct mem_finding {
    mem_severity severity;
    const char *code;    /* for programs: "heap_held", "leak", … */
    const char *account; /* the one it is about; NULL: none */
    char words[MEM_FINDING_WORDS_BYTES], advice[MEM_FINDING_WORDS_BYTES];
    uint32_t n_figures;
    mem_figure figures[MEM_FINDING_FIGURES];
} mem_finding;

typedef struct mem_diagnosis {
    uint32_t n; /* the most severe first */
    mem_finding findings[MEM_FINDINGS_MAX];
} mem_diagnosis;

void mem_doctor(const mem_snapshot *s, mem_diagnosis *out);
void mem_doctor_json(const mem_diagnosis *d, json_writer *w); /* an object */
void mem_doctor_words(const mem_diagnosis *d, buf *out);      /* for people */

/* Which bound leaves least: "line", "machine" or "cgroup". */
const char *mem_doctor_bound(const mem_books *b);

#endif
