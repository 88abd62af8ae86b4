#include "cli/guard_report.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "report/chart.h"
#include "base/json.h"

enum { STATUS_OVER = 124, STATUS_NOT_RUN = 125 };

static const char *const verdict_names[] = {"within", "over", "skipped", "failed", "stopped"};

/* ---- samples ---- */

static double total_of(const guard_report *r, uint32_t i) {
    double sum = 0;
    for (int p = 0; p < GUARD_PARTS; p++) sum += r->parts[p][i];
    return sum;
}

static void copy_sample(guard_report *r, uint32_t to, uint32_t from) {
    r->seconds[to] = r->seconds[from];
    for (int p = 0; p < GUARD_PARTS; p++) r->parts[p][to] = r->parts[p][from];
}

/* Of every two the higher stays, at its own moment. */
static void halve(guard_report *r) {
    for (uint32_t i = 0; i + 1 < r->n_samples; i += 2)
        copy_sample(r, i / 2, total_of(r, i) >= total_of(r, i + 1) ? i : i + 1);
    r->n_samples /= 2;
    r->stride *= 2;
}

void guard_sample(guard_report *r, double seconds, const plat_tree *t) {
    const double parts[GUARD_PARTS] = {(double)t->anon_bytes, (double)t->file_bytes, (double)t->shmem_bytes,
                                       (double)t->swap_bytes};
    if (!r->stride) r->stride = 1;
    bool fresh = r->pending == 0;
    if (fresh && r->n_samples == GUARD_SAMPLES) halve(r);
    if (fresh) r->n_samples++;
    r->pending = (r->pending + 1) % r->stride;
    uint32_t i = r->n_samples - 1;
    if (!fresh && total_of(r, i) >= (double)plat_tree_bytes(t)) return;
    r->seconds[i] = seconds;
    for (int p = 0; p < GUARD_PARTS; p++) r->parts[p][i] = parts[p];
}

static int by_size(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* The middle one of the last tenth of these samples, of three at least: what a program gives back on its way out is
 * not what it held. */
static uint64_t held_at_end(const guard_report *r, uint32_t first, uint32_t last) {
    static double held[GUARD_SAMPLES / 10 + 3];
    uint32_t all = last - first + 1, n = all / 10 > 3 ? all / 10 : all < 3 ? all : 3;
    for (uint32_t i = 0; i < n; i++) held[i] = total_of(r, last - i);
    qsort(held, n, sizeof *held, by_size);
    return (uint64_t)held[n / 2];
}

enum { RISE_SHARE = 8 }; /* of --leak: what may come and go in a program that has started */

/* The sample at the end of the window that begins with this one (and holds one more at least); UINT32_MAX when memory
 * rises in it. */
static uint32_t settled_at(const guard_report *r, uint32_t from, uint32_t last, double window_s) {
    double most = total_of(r, from) + (double)r->leak_bytes / RISE_SHARE;
    uint32_t end = from;
    for (uint32_t i = from + 1; i <= last && (end == from || r->seconds[i] <= r->seconds[from] + window_s); i++) {
        if (total_of(r, i) > most) return UINT32_MAX;
        end = i;
    }
    return end;
}

void guard_measure(const guard_report *r, guard_run *run) {
    double half = (run->to_s - run->from_s) / 2;
    uint32_t first = r->n_samples, last = 0, base = UINT32_MAX;
    for (uint32_t i = 0; i < r->n_samples; i++) {
        if (r->seconds[i] < run->from_s || r->seconds[i] > run->to_s) continue;
        if (first == r->n_samples) first = i;
        last = i;
    }
    if (first == r->n_samples) return;
    for (uint32_t i = first; base == UINT32_MAX; i++) {
        bool latest = i == last || r->seconds[i] >= run->from_s + half;
        base = settled_at(r, i, last, fmin(1, half));
        if (latest && base == UINT32_MAX) base = i;
    }
    run->baseline_bytes = (uint64_t)total_of(r, base);
    run->end_bytes = held_at_end(r, first, last);
    run->growth_bytes = run->end_bytes > run->baseline_bytes ? run->end_bytes - run->baseline_bytes : 0;
    run->leaks = run->growth_bytes > r->leak_bytes || run->left_bytes > r->leak_bytes;
}

int guard_status(const guard_run *run) {
    switch (run->verdict) {
    case GUARD_OVER: return STATUS_OVER;
    case GUARD_SKIPPED: return STATUS_NOT_RUN;
    case GUARD_FAILED: return run->exit_status > 0 ? run->exit_status : STATUS_NOT_RUN;
    case GUARD_WITHIN:
    case GUARD_STOPPED: break;
    }
    return run->signal ? 128 + run->signal : run->exit_status;
}

/* ---- words ---- */

static void say_peak(const guard_run *run, FILE *out) {
    char peak[BYTES_TEXT_BYTES], budget[BYTES_TEXT_BYTES];
    fprintf(out, "peak %s", bytes_text(run->peak_bytes, peak));
    if (run->budget_bytes) fprintf(out, " of %s", bytes_text(run->budget_bytes, budget));
    fprintf(out, ", %u process%s at most, %.1f s, ", run->most_processes, run->most_processes == 1 ? "" : "es",
            run->to_s - run->from_s);
    if (run->signal) fprintf(out, "ended by signal %d (%s)\n", run->signal, strsignal(run->signal));
    else fprintf(out, "exit status %d\n", run->exit_status);
}

void guard_say(const guard_report *r, const guard_run *run, FILE *out) {
    static const char *const heads[] = {"within the budget", "OVER THE BUDGET", "not run", "cannot run", "stopped"};
    char a[BYTES_TEXT_BYTES], b[BYTES_TEXT_BYTES], c[BYTES_TEXT_BYTES], d[BYTES_TEXT_BYTES], head[128];
    snprintf(head, sizeof head, "guard: %.60s%s", run->name ? run->name : "", run->name ? ": " : "");
    bool ran = run->verdict != GUARD_SKIPPED && run->verdict != GUARD_FAILED, bounded = run->budget_bytes > 0;
    bool watched = bounded && !run->cage_version;
    fprintf(out, "%s%s%s%s", head, run->verdict == GUARD_WITHIN && !bounded ? "no budget" : heads[run->verdict],
            run->reason[0] ? ": " : "", run->reason);
    if (!ran) {
        fputc('\n', out);
        return;
    }
    fputs("; ", out);
    say_peak(run, out);
    fprintf(out, "%sheld %s once started, %s at its end%s%s\n", head, bytes_text(run->baseline_bytes, a),
            bytes_text(run->end_bytes, b), watched ? "; watched, in no control group: " : "",
            watched ? run->watched : "");
    if (run->growth_bytes > r->leak_bytes)
        fprintf(out, "%swarning: it grew by %s, over the %s of --leak\n", head, bytes_text(run->growth_bytes, c),
                bytes_text(r->leak_bytes, d));
    if (run->left_processes)
        fprintf(out, "%swarning: it left %u process%s with %s behind; ended\n", head, run->left_processes,
                run->left_processes == 1 ? "" : "es", bytes_text(run->left_bytes, c));
}

/* ---- JSON ---- */

static void put_run(const guard_run *run, json_writer *w) {
    json_object_start(w);
    if (run->name) json_put_string(w, "name", str_of(run->name));
    json_put_string(w, "command", str_of(run->command));
    json_put_string(w, "verdict", str_of(verdict_names[run->verdict]));
    if (run->reason[0]) json_put_string(w, "reason", str_of(run->reason));
    json_put_uint(w, "budget_bytes", run->budget_bytes);
    json_put_int(w, "status", guard_status(run));
    json_put_int(w, "exit_status", run->exit_status);
    json_put_int(w, "signal", run->signal);
    json_put_fixed(w, "from_s", run->from_s, 3);
    json_put_fixed(w, "to_s", run->to_s, 3);
    json_put_uint(w, "peak_bytes", run->peak_bytes);
    json_put_uint(w, "baseline_bytes", run->baseline_bytes);
    json_put_uint(w, "end_bytes", run->end_bytes);
    json_put_uint(w, "growth_bytes", run->growth_bytes);
    json_put_bool(w, "leak", run->leaks);
    json_put_uint(w, "processes", run->most_processes);
    json_put_uint(w, "left_processes", run->left_processes);
    json_put_uint(w, "left_bytes", run->left_bytes);
    json_put_string(w, "held_by", str_of(run->cage_version == 2   ? "cgroup v2"
                                         : run->cage_version == 1 ? "cgroup v1"
                                                                  : "watching"));
    if (run->watched[0]) json_put_string(w, "no_cgroup", str_of(run->watched));
    json_object_end(w);
}

void guard_json(const guard_report *r, buf *out) {
    static const char *const part_names[GUARD_PARTS] = {"anon_bytes", "file_bytes", "shared_bytes", "swap_bytes"};
    json_writer w;
    json_begin(&w, out);
    json_object_start(&w);
    json_put_uint(&w, "interval_ms", r->interval_ms);
    json_put_uint(&w, "leak_bytes", r->leak_bytes);
    if (r->unstable[0]) json_put_string(&w, "stopped_climbing", str_of(r->unstable));
    json_key(&w, "runs");
    json_array_start(&w);
    for (uint32_t i = 0; i < r->n_runs; i++) put_run(&r->runs[i], &w);
    json_array_end(&w);
    json_key(&w, "samples");
    json_object_start(&w);
    json_key(&w, "seconds");
    json_array_start(&w);
    for (uint32_t i = 0; i < r->n_samples; i++) json_fixed(&w, r->seconds[i], 3);
    json_array_end(&w);
    for (int p = 0; p < GUARD_PARTS; p++) {
        json_key(&w, part_names[p]);
        json_array_start(&w);
        for (uint32_t i = 0; i < r->n_samples; i++) json_fixed(&w, r->parts[p][i], 0);
        json_array_end(&w);
    }
    json_object_end(&w);
    json_object_end(&w);
    buf_append_str(out, STR("\n"));
}

/* ---- the picture ---- */

void guard_chart(const guard_report *r, buf *out) {
    static const char *const part_names[GUARD_PARTS] = {"anonymous", "files", "shared memory", "swap"};
    static const char *const colors[] = {"#4f9d69", "#b3261e", "#93a1aa", "#93a1aa", "#e2a03f"}; /* of a verdict */
    static report_band bands[GUARD_RUNS]; /* too much for a stack */
    report_series series[GUARD_PARTS];
    uint32_t n_bands = 0;
    bool single = r->n_runs == 1;
    char title[256], label[64], budget[BYTES_TEXT_BYTES];
    for (int p = 0; p < GUARD_PARTS; p++) series[p] = (report_series){part_names[p], NULL, r->parts[p]};
    for (uint32_t i = 0; i < r->n_runs; i++) {
        const guard_run *run = &r->runs[i];
        if (run->to_s <= run->from_s) continue;
        const char *words = run->name ? run->name : verdict_names[run->verdict];
        bands[n_bands++] = (report_band){run->from_s, run->to_s, colors[run->verdict], words};
    }
    snprintf(title, sizeof title, "%.200s", single ? r->runs[0].command : "plimsoll guard --list");
    bool bounded = single && r->runs[0].budget_bytes;
    snprintf(label, sizeof label, "budget %s", bytes_text(bounded ? r->runs[0].budget_bytes : 0, budget));
    report_chart c = {.title = title, .n = r->n_samples, .x = r->seconds, .stacked = true, .n_series = GUARD_PARTS,
               .series = series, .line = bounded ? (double)r->runs[0].budget_bytes : NAN, .line_label = label,
               .n_bands = n_bands, .bands = bands};
    report_chart_svg(&c, out);
}
