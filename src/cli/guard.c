/* plimsoll guard: a command, or a list of them, each inside a memory budget. */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/clock.h"
#include "cli/cli.h"
#include "cli/guard_report.h"
#include "mem/heap.h"
#include "plat/cage.h"
#include "plat/kernel.h"
#include "plat/vm.h"

enum {
    LIST_BYTES = 64 * 1024, REPORT_LIMIT_BYTES = 8 << 20, MOST_ARGUMENTS = 1024, COMMAND_BYTES = 512,
    STATUS_NOT_RUN = 125, STATUS_NOT_EXECUTABLE = 126, STATUS_NOT_FOUND = 127,
    GRACE_MS = 3000,         /* between a signal that asks a command to end and the one that makes it */
    LOOK_AGAIN_MS = 200,     /* while waiting for the machine */
    STALL_WINDOW_MS = 1000, STALL_MOST_PERCENT = 10,
    LEAST_AVAILABLE_MIB = 128,
};

typedef struct guard {
    const cli_options *o;
    guard_report report;
    uint64_t start_ns;
    int asked_to_end; /* the signal */
    uint64_t stall_us, stall_ns; /* at the start of the window */
    FILE *json, *chart;
} guard;

static guard the_guard; /* too much for a stack */

static double seconds_of(const guard *g) { return clock_ms_since(g->start_ns) / 1e3; }

/* ---- what the machine can give ---- */

static uint64_t available_bytes(void) {
    plat_system_memory system = {0};
    plat_cgroup_memory group;
    plat_system_memory_read(&system);
    plat_cgroup_memory_read(&group);
    uint64_t room = plat_cgroup_room(&group);
    return room < system.available_bytes ? room : system.available_bytes;
}

/* For the rest of a list: tasks stand still for memory, or there is next to none left. */
static void look_for_trouble(guard *g) {
    if (g->report.unstable[0]) return;
    uint64_t now_ns = clock_now_ns(), us = 0, available = available_bytes();
    char text[BYTES_TEXT_BYTES];
    if (available < (uint64_t)LEAST_AVAILABLE_MIB << 20)
        snprintf(g->report.unstable, sizeof g->report.unstable, "only %s of memory were available",
                 bytes_text(available, text));
    if (!plat_stalled_us_at("", &us)) return;
    double window_ms = (double)(now_ns - g->stall_ns) / 1e6;
    if (g->stall_ns && window_ms < STALL_WINDOW_MS) return;
    double percent = g->stall_ns ? (double)(us - g->stall_us) / 10 / window_ms : 0;
    if (percent > STALL_MOST_PERCENT)
        snprintf(g->report.unstable, sizeof g->report.unstable, "all tasks waited for memory %.0f%% of the time",
                 percent);
    g->stall_us = us, g->stall_ns = now_ns;
}

/* True as soon as the budget is there; otherwise the run is skipped, with the figures. */
static bool wait_for_room(guard *g, guard_run *run) {
    uint64_t start_ns = clock_now_ns(), available;
    bool told = false;
    char need[BYTES_TEXT_BYTES], have[BYTES_TEXT_BYTES];
    plat_child nobody = {.ended = true};
    while ((available = available_bytes()) < run->budget_bytes) {
        bytes_text(run->budget_bytes, need), bytes_text(available, have);
        double waited_s = clock_ms_since(start_ns) / 1e3;
        if (waited_s >= g->o->wait_s || g->asked_to_end) {
            run->verdict = GUARD_SKIPPED;
            run->exit_status = -1;
            snprintf(run->reason, sizeof run->reason, "its budget is %s and the machine can give %s", need, have);
            if (g->o->wait_s)
                snprintf(run->reason + strlen(run->reason), sizeof run->reason - strlen(run->reason),
                         ", after waiting %.0f s", waited_s);
            return false;
        }
        if (!told) fprintf(stderr, "guard: waiting for %s; the machine can give %s\n", need, have);
        told = true;
        g->asked_to_end = plat_child_await(&nobody, LOOK_AGAIN_MS);
    }
    return true;
}

/* ---- one run ---- */

static void make_cage(const guard *g, guard_run *run, plat_cage *cage) {
    const char *where = g->o->cgroup;
    *cage = (plat_cage){0};
    if (!run->budget_bytes) return;
    if (!strcmp(where, "none")) {
        snprintf(run->watched, sizeof run->watched, "not asked for");
        return;
    }
    err e = {0};
    const char *parent = strcmp(where, "auto") != 0 ? where : NULL;
    if (!plat_cage_make(cage, "", parent, run->budget_bytes, &e))
        snprintf(run->watched, sizeof run->watched, "%.250s", e.message);
}

/* In its cage when there is one; one that it cannot enter is given up. */
static bool start(guard_run *run, const char *const *arguments, plat_child *child, plat_cage *cage, err *e) {
    int exec_errno = 0;
    if (cage->version) {
        int procs = plat_cage_open(cage, e);
        bool started = procs >= 0 && plat_child_start(child, arguments, procs, &exec_errno, e);
        if (procs >= 0) close(procs);
        if (started) return true;
        (void)plat_cage_remove(cage);
        if (!exec_errno) snprintf(run->watched, sizeof run->watched, "%.250s", e->message);
    }
    if (!exec_errno && plat_child_start(child, arguments, -1, &exec_errno, e)) return true;
    run->verdict = GUARD_FAILED;
    run->exit_status = exec_errno == ENOENT ? STATUS_NOT_FOUND
                       : exec_errno         ? STATUS_NOT_EXECUTABLE
                                            : STATUS_NOT_RUN;
    snprintf(run->reason, sizeof run->reason, "%.250s", e->message);
    return false;
}

static void say_over(guard_run *run, uint64_t bytes, const char *what) {
    char held[BYTES_TEXT_BYTES], budget[BYTES_TEXT_BYTES];
    run->verdict = GUARD_OVER;
    snprintf(run->reason, sizeof run->reason, "it held %s of %s; %s", bytes_text(bytes, held),
             bytes_text(run->budget_bytes, budget), what);
}

/* Scales a reading in which pages shared by several processes are counted in each of them. */
static void count_shared_once(const plat_child *child, const guard_run *run, plat_tree *t) {
    uint64_t once, sum = plat_tree_bytes(t);
    if (t->processes < 2 || !run->budget_bytes || sum <= run->budget_bytes) return;
    if (!plat_child_tree_shared_once(child, &once) || once >= sum) return;
    double part = (double)once / (double)sum;
    t->anon_bytes = (uint64_t)((double)t->anon_bytes * part);
    t->file_bytes = (uint64_t)((double)t->file_bytes * part);
    t->shmem_bytes = (uint64_t)((double)t->shmem_bytes * part);
    t->swap_bytes = (uint64_t)((double)t->swap_bytes * part);
}

static uint64_t look(guard *g, guard_run *run, const plat_child *child) {
    plat_tree t;
    if (!plat_child_tree(child, &t)) return 0;
    count_shared_once(child, run, &t);
    uint64_t bytes = plat_tree_bytes(&t);
    if (bytes > run->peak_bytes) run->peak_bytes = bytes;
    if (t.processes > run->most_processes) run->most_processes = t.processes;
    if (bytes) guard_sample(&g->report, seconds_of(g), &t);
    look_for_trouble(g);
    return bytes;
}

/* Until the command itself has ended. A signal to us goes on to it; when it does not end for that, it has to. */
static void watch(guard *g, guard_run *run, plat_child *child) {
    uint64_t asked_ns = 0;
    while (!child->ended) {
        uint64_t bytes = look(g, run, child);
        if (run->budget_bytes && bytes > run->budget_bytes) { /* in a cage, too: it does not count what others read */
            say_over(run, bytes, "ended");
            (void)plat_child_end(child);
            return;
        }
        int number = plat_child_await(child, g->o->interval_ms);
        if (number) {
            bool again = g->asked_to_end != 0;
            g->asked_to_end = number;
            run->verdict = GUARD_STOPPED;
            if (!asked_ns) asked_ns = clock_now_ns();
            if (again) (void)plat_child_end(child);
            else plat_child_signal(child, number);
        }
        if (asked_ns && clock_ms_since(asked_ns) > GRACE_MS) (void)plat_child_end(child);
    }
}

/* What is still there when the command has ended; and what the kernel knows of it that no reading saw. */
static void look_back(guard_run *run, plat_child *child, const plat_cage *cage) {
    plat_tree left;
    if (plat_child_tree(child, &left) && left.processes) {
        run->left_processes = left.processes;
        run->left_bytes = plat_tree_bytes(&left);
    }
    (void)plat_child_end(child);
    struct rusage own;
    getrusage(RUSAGE_SELF, &own); /* a fork begins with our own figure: one that is not above it says nothing */
    uint64_t own_bytes = (uint64_t)own.ru_maxrss * 1024;
    if (child->peak_rss_bytes > run->peak_bytes && child->peak_rss_bytes > own_bytes)
        run->peak_bytes = child->peak_rss_bytes;
    if (!run->peak_bytes) run->peak_bytes = child->peak_rss_bytes; /* too short to be read: no more than that */
    if (!run->most_processes) run->most_processes = 1;
    bool unseen = run->budget_bytes && run->peak_bytes > run->budget_bytes && run->peak_bytes > own_bytes;
    if (plat_cage_kills(cage)) say_over(run, run->peak_bytes, "the kernel ended it at its control group's limit");
    else if (run->verdict == GUARD_WITHIN && unseen)
        say_over(run, run->peak_bytes, "it had ended before that was seen");
}

static void run_one(guard *g, guard_run *run, const char *const *arguments) {
    plat_child child;
    plat_cage cage;
    err e = {0};
    run->exit_status = -1;
    run->from_s = run->to_s = seconds_of(g);
    if (!wait_for_room(g, run)) return;
    make_cage(g, run, &cage);
    run->from_s = run->to_s = seconds_of(g);
    if (!start(run, arguments, &child, &cage, &e)) return;
    run->cage_version = cage.version;
    watch(g, run, &child);
    run->to_s = seconds_of(g);
    look_back(run, &child, &cage);
    run->exit_status = child.exit_status;
    run->signal = child.signal;
    guard_measure(&g->report, run);
    if (!plat_cage_remove(&cage)) fprintf(stderr, "guard: cannot remove the control group %s\n", cage.dir);
}

/* ---- lists ---- */

static char *word_of(char **rest) {
    char *word = *rest + strspn(*rest, " \t");
    char *end = word + strcspn(word, " \t");
    *rest = end + strspn(end, " \t");
    *end = 0;
    return word;
}

/* "name budget command…"; a budget of - is none, and goes last. */
static bool read_entry(guard_report *r, char *line, int number, const char *path, err *e) {
    if (r->n_runs == GUARD_RUNS) return err_set(e, ERR_USAGE, "%s has more than %d commands", path, GUARD_RUNS);
    guard_run *run = &r->runs[r->n_runs];
    *run = (guard_run){.name = word_of(&line)};
    const char *budget = word_of(&line);
    run->command = line;
    bool none = !strcmp(budget, "-");
    if (!*budget || !*line)
        return err_set(e, ERR_USAGE, "%s:%d: expected a name, a budget and a command", path, number);
    if (!none && (!bytes_parse(str_of(budget), &run->budget_bytes) || run->budget_bytes < 1 << 20))
        return err_set(e, ERR_USAGE, "%s:%d: '%.40s' is no budget; it must be a size of at least 1M, or -", path,
                       number, budget);
    r->n_runs++;
    return true;
}

static int by_hunger(const void *left, const void *right) {
    const guard_run *a = left, *b = right;
    uint64_t x = a->budget_bytes - 1, y = b->budget_bytes - 1; /* none: the most */
    if (x != y) return x < y ? -1 : 1;
    return a->name < b->name ? -1 : a->name > b->name; /* as they stand in the file */
}

static bool read_list(guard_report *r, const char *path, err *e) {
    static char text[LIST_BYTES]; /* names and commands point into it */
    plat_file f;
    if (!plat_file_open(&f, path, e)) return err_prefix(e, "--list: ");
    bool ok = f.bytes < sizeof text ? plat_file_read(&f, 0, text, f.bytes, e)
                                    : err_set(e, ERR_USAGE, "%s is larger than %d bytes", path, LIST_BYTES);
    text[ok ? f.bytes : 0] = 0;
    plat_file_close(&f);
    int number = 0;
    for (char *line = text, *next; ok && line; line = next) {
        number++;
        if ((next = strchr(line, '\n'))) *next++ = 0;
        line[strcspn(line, "\r")] = 0;
        line += strspn(line, " \t");
        if (*line && *line != '#') ok = read_entry(r, line, number, path, e);
    }
    if (!ok) return false;
    if (!r->n_runs) return err_set(e, ERR_USAGE, "%s names no command", path);
    qsort(r->runs, r->n_runs, sizeof *r->runs, by_hunger);
    return true;
}

static void run_list(guard *g) {
    guard_report *r = &g->report;
    for (uint32_t i = 0; i < r->n_runs; i++) {
        guard_run *run = &r->runs[i];
        const char *const arguments[] = {"/bin/sh", "-c", run->command, NULL};
        if (r->unstable[0] || g->asked_to_end) {
            run->verdict = GUARD_SKIPPED;
            run->exit_status = -1;
            snprintf(run->reason, sizeof run->reason, "%.200s",
                     g->asked_to_end ? "asked to end" : "the machine became unstable");
        } else {
            fprintf(stderr, "guard: %s: %s\n", run->name, run->command);
            run_one(g, run, arguments);
        }
        guard_say(r, run, stderr);
    }
    if (r->unstable[0]) fprintf(stderr, "guard: stopped climbing: %s\n", r->unstable);
}

/* 1 when any went wrong, else 125 when any was not run. */
static int list_status(const guard_report *r) {
    int status = 0;
    for (uint32_t i = 0; i < r->n_runs; i++) {
        int s = guard_status(&r->runs[i]);
        if (s && r->runs[i].verdict != GUARD_SKIPPED) return 1;
        if (s) status = s;
    }
    return status;
}

/* ---- one command ---- */

static const char *joined(const cli_options *o) {
    static char text[COMMAND_BYTES];
    size_t n = 0;
    for (int i = 0; i < o->n_args && n < sizeof text; i++)
        n += (size_t)snprintf(text + n, sizeof text - n, "%s%s", i ? " " : "", o->args[i]);
    return text;
}

static void run_command(guard *g) {
    static const char *arguments[MOST_ARGUMENTS + 1]; /* with a NULL at the end */
    guard_run *run = &g->report.runs[g->report.n_runs++];
    plat_system_memory system = {0};
    memcpy(arguments, g->o->args, (size_t)g->o->n_args * sizeof *arguments);
    *run = (guard_run){.command = joined(g->o), .budget_bytes = g->o->memory_bytes};
    if (g->o->memory_percent > 0 && plat_system_memory_read(&system))
        run->budget_bytes = (uint64_t)((double)system.total_bytes * g->o->memory_percent / 100);
    run_one(g, run, arguments);
    guard_say(&g->report, run, stderr);
}

/* ---- the whole ---- */

static bool open_report(const char *flag, const char *path, FILE **f, err *e) {
    if (!path) return true;
    *f = fopen(path, "we");
    return *f || err_set(e, ERR_IO, "--%s: cannot write %.200s: %s", flag, path, strerror(errno));
}

static bool write_report(guard *g, FILE *f, void (*make)(const guard_report *, buf *), mem_ledger *l, err *e) {
    if (!f) return true;
    mem_heap heap;
    buf out;
    mem_heap_init(&heap, l, MEM_QUEUE);
    buf_init(&out, &heap.alloc, REPORT_LIMIT_BYTES);
    make(&g->report, &out);
    bool good = !out.failed && fwrite(out.data, 1, out.len, f) == out.len;
    good = fclose(f) == 0 && good;
    buf_free(&out);
    return good || err_set(e, ERR_IO, "cannot write the report: %s", out.failed ? "no memory" : strerror(errno));
}

static bool prepare(guard *g, err *e) {
    const cli_options *o = g->o;
    bool budget = o->memory_bytes || o->memory_percent > 0;
    if (o->list && o->n_args) return err_set(e, ERR_USAGE, "give a command or --list, not both");
    if (!o->list && !o->n_args)
        return err_set(e, ERR_USAGE, "give a command: plimsoll guard --memory 2G -- COMMAND…");
    if (o->list && budget) return err_set(e, ERR_USAGE, "with --list, each command has its own budget");
    if (o->list && !read_list(&g->report, o->list, e)) return false;
    return open_report("json", o->json_file, &g->json, e) && open_report("chart", o->chart, &g->chart, e);
}

int cli_guard(const cli_options *o, mem_ledger *l) {
    guard *g = &the_guard;
    err e = {0};
    g->o = o;
    g->start_ns = clock_now_ns();
    g->report.leak_bytes = o->leak_bytes;
    g->report.interval_ms = o->interval_ms;
    if (!prepare(g, &e)) return cli_fail(&e);
    if (o->list) run_list(g);
    else run_command(g);
    bool written = write_report(g, g->json, guard_json, l, &e);
    written = write_report(g, g->chart, guard_chart, l, &e) && written;
    if (!written) return cli_fail(&e), STATUS_NOT_RUN;
    return o->list ? list_status(&g->report) : guard_status(&g->report.runs[0]);
}
