#include "report/doctor.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/check.h"
#include "base/str.h"

#define MIB UINT64_C(1048576)

static const double HEAP_LEAST_UTILISATION = 0.5;
static const uint64_t HEAP_HELD_BYTES = 32 * MIB;
/* Of remembered prompts so many times what holds them went in a minute: they go before they are used. */
static const double THRASHING_TURNS_PER_MINUTE = 2;

const char *report_severity_name(report_severity s) {
    static const char *const names[] = {"note", "warning", "alarm"};
    return s <= REPORT_ALARM ? names[s] : "?";
}

typedef struct amount { /* bytes as text, by value: printf arguments */
    char text[BYTES_TEXT_BYTES];
} amount;

static amount amount_of(double bytes) {
    amount a;
    bytes_text(bytes > 0 ? (uint64_t)bytes : 0, a.text);
    return a;
}
#define BYTES(n) amount_of((double)(n)).text

static __attribute__((format(printf, 5, 6))) report_finding *
add(report_diagnosis *d, report_severity severity, const char *code, const char *account, const char *format, ...) {
    CHECK(d->n < REPORT_FINDINGS_MAX); /* fewer kinds than room */
    report_finding *f = &d->findings[d->n++];
    *f = (report_finding){.severity = severity, .code = code, .account = account};
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(f->words, sizeof f->words, format, arguments);
    va_end(arguments);
    return f;
}

static void advise(report_finding *f, const char *advice) {
    snprintf(f->advice, sizeof f->advice, "%s", advice);
}

static void figure(report_finding *f, const char *name, double value) {
    if (f->n_figures < REPORT_FINDING_FIGURES) f->figures[f->n_figures++] = (report_figure){name, value};
}

/* ---- the rules ---- */

typedef struct bounds { /* what each leaves; UINT64_MAX: it is not there */
    uint64_t line, machine, cgroup;
} bounds;

static bounds bounds_of(const mem_books *b) {
    return (bounds){.line = mem_books_under_line(b),
                    .machine = b->system.total_bytes ? b->system.available_bytes : UINT64_MAX,
                    .cgroup = plat_cgroup_room(&b->cgroup)};
}

const char *report_doctor_bound(const mem_books *b) {
    const mem_watched *watched = &b->ledger.watched;
    if (watched->on && watched->worst) return watched->worst;
    bounds left = bounds_of(b);
    if (left.cgroup < left.line && left.cgroup < left.machine) return "cgroup";
    return left.machine < left.line ? "machine" : "line";
}

static void look_at_level(const report_snapshot *s, report_diagnosis *d) {
    const mem_books *b = s->books;
    if (b->level == MEM_SAFE) return;
    const char *bound = report_doctor_bound(b), *level = mem_level_name(b->level);
    report_severity severity = b->level >= MEM_CRITICAL  ? REPORT_ALARM
                            : b->level >= MEM_WARNING ? REPORT_WARN
                                                      : REPORT_NOTE;
    bounds left = bounds_of(b);
    report_finding *f;
    if (!strcmp(bound, "machine")) {
        f = add(d, severity, "level_machine", NULL, "level %s: the machine has %s available of %s", level,
                BYTES(left.machine), BYTES(b->system.total_bytes));
        advise(f, "other programs hold it: end some, or give this server a lower --memory so that the "
                  "machine keeps more");
        figure(f, "machine_total_bytes", (double)b->system.total_bytes);
    } else if (!strcmp(bound, "cgroup")) {
        f = add(d, severity, "level_cgroup", NULL,
                "level %s: %s are left under the control group's limit of %s", level, BYTES(left.cgroup),
                BYTES(b->cgroup.limit_bytes));
        advise(f,
               "raise the container's memory limit, or serve with a lower --memory, a smaller -c or --kv q8");
        figure(f, "cgroup_limit_bytes", (double)b->cgroup.limit_bytes);
    } else {
        f = add(d, severity, "level_line", NULL, "level %s: %s are left under the line of %s", level,
                BYTES(left.line), BYTES(b->ledger.line_bytes));
        advise(f, "raise --memory, or ask for less: a smaller -c, --kv q8, a smaller -np; remembered prompts "
                  "make way by "
                  "themselves");
        figure(f, "line_bytes", (double)b->ledger.line_bytes);
    }
    figure(f, "available_bytes", (double)b->available_bytes);
    figure(f, "reclaimable_bytes", (double)b->reclaimable_bytes);
    if (!b->ledger.watched.pressed) return;
    f = add(d, REPORT_WARN, "pressed", NULL,
            "programs wait for memory: the level stands one higher for it");
    advise(f, "the control group or the machine is short: end what else runs there, or lower --memory here");
    figure(f, "machine_available_bytes", (double)left.machine);
}

static void look_at_line(const report_snapshot *s, report_diagnosis *d) {
    const mem_books *b = s->books;
    uint64_t line = b->ledger.line_bytes;
    if (b->cgroup.unreadable) {
        report_finding *f = add(d, REPORT_WARN, "cgroup_unreadable", NULL,
                             "the control group has a memory limit that cannot be read: it is not looked at");
        advise(f, "give --memory below the container's limit, and let this user read its control group");
    }
    if (line == UINT64_MAX) {
        report_finding *f =
            add(d, REPORT_WARN, "no_line", NULL, "there is no line: nothing bounds what this server may take");
        advise(f, "serve with --memory SIZE");
        return;
    }
    if (b->kernel_bytes > line) {
        report_finding *f =
            add(d, REPORT_ALARM, "over_line", NULL, "the kernel counts %s, which is %s over the line",
                BYTES(b->kernel_bytes), BYTES(b->kernel_bytes - line));
        advise(f, "bytes nobody reserved are resident: see the findings on leaks, the heap and the "
                  "unexplained; report it");
        figure(f, "kernel_bytes", (double)b->kernel_bytes);
        figure(f, "line_bytes", (double)line);
    }
    if (b->cgroup.limited && b->cgroup.limit_bytes < line) {
        report_finding *f =
            add(d, REPORT_WARN, "cgroup_below_line", NULL,
                "the control group's limit of %s is below the line of %s: what it does not give is refused before "
                "the line is reached",
                BYTES(b->cgroup.limit_bytes), BYTES(line));
        advise(f, "serve with --memory below the container's limit, or raise that limit");
        figure(f, "cgroup_limit_bytes", (double)b->cgroup.limit_bytes);
        figure(f, "line_bytes", (double)line);
    }
}

static void look_at_books(const report_snapshot *s, report_diagnosis *d) {
    const mem_books *b = s->books;
    if (b->balanced) return;
    report_finding *f;
    if (b->unexplained_bytes > 0) {
        f = add(d, REPORT_WARN, "unexplained", NULL, "%s are resident that no account explains (tolerated: %s)",
                BYTES(b->unexplained_bytes), BYTES(b->tolerance_bytes));
        advise(f,
               "POST /cleanup-memory gives the heap's free pages back; what stays and grows is a leak: watch "
               "/memory/timeline.svg");
    } else {
        f = add(d, REPORT_NOTE, "not_resident", NULL,
                "%s are reserved and not resident: on disk, or never touched", BYTES(-b->unexplained_bytes));
        advise(f, "they count as used and need nothing done, unless the machine swaps");
    }
    figure(f, "unexplained_bytes", (double)b->unexplained_bytes);
    figure(f, "tolerance_bytes", (double)b->tolerance_bytes);
    figure(f, "kernel_bytes", (double)b->kernel_bytes);
    figure(f, "ledger_bytes", (double)b->ledger.now_bytes);
}

static void look_at_heap(const report_snapshot *s, report_diagnosis *d) {
    const plat_heap *h = &s->books->heap;
    uint64_t whole = h->arena_bytes + h->mmapped_bytes;
    uint64_t held = h->free_bytes > h->releasable_bytes ? h->free_bytes - h->releasable_bytes : 0;
    double utilisation = whole ? (double)h->in_use_bytes / (double)whole : 1;
    if (utilisation >= HEAP_LEAST_UTILISATION || held <= HEAP_HELD_BYTES) return;
    report_finding *f = add(d, REPORT_WARN, "heap_held", NULL,
                         "the heap uses %.0f %% of what it holds: %s are free, "
                         "scattered, and not given back",
                         utilisation * 100, BYTES(held));
    advise(f,
           "POST /cleanup-memory returns whole free pages; if it comes back, start with MALLOC_ARENA_MAX=2");
    figure(f, "utilisation", utilisation);
    figure(f, "free_bytes", (double)h->free_bytes);
    figure(f, "releasable_bytes", (double)h->releasable_bytes);
    figure(f, "in_use_bytes", (double)h->in_use_bytes);
}

static void look_for_swap(const report_snapshot *s, report_diagnosis *d) {
    uint64_t swapped = s->books->process.swap_bytes;
    if (!swapped) return;
    report_finding *f = add(d, swapped > 64 * MIB ? REPORT_ALARM : REPORT_WARN, "swapped", NULL,
                         "%s of this server are in swap: a token waits for the disk", BYTES(swapped));
    advise(f, "the machine is short of memory: lower --memory here or end what else runs; turn swap off for "
              "this service");
    figure(f, "swap_bytes", (double)swapped);
    figure(f, "machine_available_bytes", (double)s->books->system.available_bytes);
}

static void look_at_refusals(const report_snapshot *s, report_diagnosis *d) {
    for (mem_account a = 0; a < MEM_ACCOUNT_COUNT; a++) {
        const mem_ledger_row *row = &s->books->ledger.rows[a];
        if (!row->refused) continue;
        bool by_limit = row->limit_bytes != UINT64_MAX;
        report_finding *f = add(d, REPORT_NOTE, "refused", mem_account_name(a),
                             "account %s was refused memory %llu %s since the start (now %s)",
                             mem_account_name(a), (unsigned long long)row->refused,
                             counted(row->refused, "time", "times"), BYTES(row->now_bytes));
        advise(f,
               by_limit
                   ? "its own limit or the line was in the way; who asked was told so, and nothing was lost"
                   : "the line was in the way; raise --memory if requests were turned away for it");
        figure(f, "refused", (double)row->refused);
        figure(f, "now_bytes", (double)row->now_bytes);
        figure(f, "peak_bytes", (double)row->peak_bytes);
    }
}

static void look_for_leaks(const report_snapshot *s, report_diagnosis *d) {
    for (uint32_t i = 0; i < s->n_leaks; i++) {
        const report_leak *leak = &s->leaks[i];
        bool kernel = !strcmp(leak->account, "unexplained");
        report_finding *f =
            add(d, REPORT_ALARM, "leak", leak->account,
                "%s%s grows and does not come back: %s over the last %llu %s (%u idle readings)",
                kernel ? "what no account explains" : "account ", kernel ? "" : leak->account,
                BYTES(leak->trend.rise_bytes), (unsigned long long)leak->requests,
                counted(leak->requests, "request", "requests"), leak->trend.n_readings);
        advise(f, "a bug: report it with /memory/timeline; until then restart the server before it reaches "
                  "the line");
        figure(f, "bytes_per_reading", leak->trend.slope);
        figure(f, "at_least", leak->trend.low);
        figure(f, "at_most", leak->trend.high);
        figure(f, "rise_bytes", leak->trend.rise_bytes);
    }
}

/* Where memory is short prompts make way for that, and the level has been spoken of. */
static void look_at_evictions(const report_snapshot *s, report_diagnosis *d) {
    if (!s->cache_budget_bytes || !s->span_ms || s->books->level != MEM_SAFE) return;
    double minutes = (double)s->span_ms / 60000;
    double turns = (double)s->evicted_bytes / (double)s->cache_budget_bytes / (minutes > 1 ? minutes : 1);
    if (turns < THRASHING_TURNS_PER_MINUTE) return;
    report_finding *f = add(d, REPORT_WARN, "thrashing", "kv",
                         "remembered prompts make way before they are used again: %s in "
                         "the last %.0f s, %.1f times the pool a minute",
                         BYTES(s->evicted_bytes), (double)s->span_ms / 1000, turns);
    advise(f, "raise --memory, keep prompts smaller with --kv q8 or q4, or add a spill file (--spill-file)");
    figure(f, "evicted_bytes", (double)s->evicted_bytes);
    figure(f, "pool_bytes", (double)s->cache_budget_bytes);
    figure(f, "turns_per_minute", turns);
}

static void look_at_pages(const report_snapshot *s, report_diagnosis *d) {
    if (s->hugepages == PLAT_HUGEPAGES_NEVER) {
        report_finding *f = add(d, REPORT_NOTE, "huge_pages_never", NULL,
                             "2 MiB pages are turned off on this machine: weights "
                             "are read through 4 KiB pages, which costs speed, not memory");
        advise(f, "echo madvise > /sys/kernel/mm/transparent_hugepage/enabled");
    } else if (s->hugepages == PLAT_HUGEPAGES_ALWAYS) {
        report_finding *f = add(d, REPORT_NOTE, "huge_pages_always", NULL,
                             "the kernel uses 2 MiB pages wherever they fit: it may "
                             "make resident what nobody touched, at the ends of the heap and of stacks");
        advise(f, "echo madvise > /sys/kernel/mm/transparent_hugepage/enabled keeps the kernel's figure "
                  "nearer to the books");
    }
}

static void worst_first(report_diagnosis *d) {
    for (uint32_t i = 1; i < d->n; i++) { /* in place, and of one severity in the order found */
        report_finding f = d->findings[i];
        uint32_t j = i;
        for (; j && d->findings[j - 1].severity < f.severity; j--) d->findings[j] = d->findings[j - 1];
        d->findings[j] = f;
    }
}

void report_doctor(const report_snapshot *s, report_diagnosis *out) {
    out->n = 0;
    look_at_line(s, out);
    look_for_leaks(s, out);
    look_at_level(s, out);
    look_at_books(s, out);
    look_for_swap(s, out);
    look_at_heap(s, out);
    look_at_evictions(s, out);
    look_at_refusals(s, out);
    look_at_pages(s, out);
    worst_first(out);
}

/* ---- wording ---- */

static void put_figures(const report_finding *f, json_writer *w) {
    json_key(w, "figures");
    json_object_start(w);
    for (uint32_t i = 0; i < f->n_figures; i++) {
        json_key(w, f->figures[i].name);
        json_double(w, f->figures[i].value);
    }
    json_object_end(w);
}

static void put_finding(const report_finding *f, json_writer *w) {
    json_object_start(w);
    json_put_string(w, "severity", str_of(report_severity_name(f->severity)));
    json_put_string(w, "code", str_of(f->code));
    json_key(w, "account");
    if (f->account)
        json_string(w, str_of(f->account));
    else
        json_null(w);
    json_put_string(w, "words", str_of(f->words));
    json_put_string(w, "advice", str_of(f->advice));
    put_figures(f, w);
    json_object_end(w);
}

static bool is_well(const report_diagnosis *d) { return !d->n || d->findings[0].severity == REPORT_NOTE; }

void report_doctor_json(const report_diagnosis *d, json_writer *w) {
    json_object_start(w);
    json_put_bool(w, "well", is_well(d));
    json_key(w, "findings");
    json_array_start(w);
    for (uint32_t i = 0; i < d->n; i++) put_finding(&d->findings[i], w);
    json_array_end(w);
    json_object_end(w);
}

void report_doctor_words(const report_diagnosis *d, buf *out) {
    buf_printf(out, "%s\n", is_well(d) ? "All is well." : "Something needs attention.");
    for (uint32_t i = 0; i < d->n; i++) {
        const report_finding *f = &d->findings[i];
        buf_printf(out, "\n[%s] %s.\n    %s.\n", report_severity_name(f->severity), f->words, f->advice);
    }
}
