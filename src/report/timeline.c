#include "report/timeline.h"

#include <string.h>

#include "base/check.h"

/* An account's row moves only by whole reservations; what the kernel holds beside them moves by itself, too (a heap
 * that grows into its arena, code that comes in). */
static const double ACCOUNT_FLOOR_BYTES = 64 * 1024, UNEXPLAINED_FLOOR_BYTES = 2 << 20;
enum { UNEXPLAINED_EVERY_MS = 60000 };

typedef struct baseline {
    uint64_t number, requests, time_ms; /* number: so many were noted before */
    double bytes[MEM_ACCOUNT_COUNT];
} baseline;

typedef struct quiet { /* the kernel's baseline */
    uint64_t number, requests, time_ms;
    double unexplained_bytes;
} quiet;

struct report_timeline {
    pthread_mutex_t lock;
    report_sample *fine, *coarse; /* rings */
    uint32_t fine_first, fine_n, coarse_first, coarse_n;
    baseline *baselines; /* oldest first */
    quiet *quiets;
    double *slopes; /* report/leak's scratch */
    uint32_t n_baselines, n_quiets;
    uint64_t baselines_noted, quiets_noted;
};

void report_activity_init(report_activity *a) {
    *a = (report_activity){0};
    for (int i = 0; i < MEM_ACCOUNT_COUNT; i++) a->held_bytes[i] = UINT64_MAX;
}

report_timeline *report_timeline_lay_out(mem_arena *a) {
    report_timeline scratch = {0}, *t = mem_arena_take(a, sizeof *t, 64), *to = t ? t : &scratch;
    to->fine = mem_arena_take(a, REPORT_TIMELINE_FINE * sizeof *to->fine, 64);
    to->coarse = mem_arena_take(a, REPORT_TIMELINE_COARSE * sizeof *to->coarse, 64);
    to->baselines = mem_arena_take(a, REPORT_LEAK_READINGS * sizeof *to->baselines, 64);
    to->quiets = mem_arena_take(a, REPORT_LEAK_READINGS * sizeof *to->quiets, 64);
    to->slopes = mem_arena_take(a, REPORT_LEAK_PAIRS * sizeof *to->slopes, 64);
    return t;
}

void report_timeline_init(report_timeline *t) {
    CHECK(pthread_mutex_init(&t->lock, NULL) == 0);
    t->fine_first = t->fine_n = t->coarse_first = t->coarse_n = 0;
    t->n_baselines = t->n_quiets = 0;
    t->baselines_noted = t->quiets_noted = 0;
}

void report_timeline_free(report_timeline *t) {
    if (t) pthread_mutex_destroy(&t->lock);
}

static void lock(report_timeline *t) { CHECK(pthread_mutex_lock(&t->lock) == 0); }
static void unlock(report_timeline *t) { CHECK(pthread_mutex_unlock(&t->lock) == 0); }

/* ---- samples ---- */

static report_sample *fine_at(const report_timeline *t, uint32_t i) {
    return &t->fine[(t->fine_first + i) % REPORT_TIMELINE_FINE];
}
static report_sample *coarse_at(const report_timeline *t, uint32_t i) {
    return &t->coarse[(t->coarse_first + i) % REPORT_TIMELINE_COARSE];
}

/* The highest of a half minute stands for it. */
static void fold(report_timeline *t, const report_sample *s) {
    report_sample *last = t->coarse_n ? coarse_at(t, t->coarse_n - 1) : NULL;
    if (last && last->time_ms / REPORT_TIMELINE_COARSE_MS == s->time_ms / REPORT_TIMELINE_COARSE_MS) {
        if (s->kernel_bytes > last->kernel_bytes) *last = *s;
        return;
    }
    if (t->coarse_n == REPORT_TIMELINE_COARSE) t->coarse_first = (t->coarse_first + 1) % REPORT_TIMELINE_COARSE;
    else t->coarse_n++;
    *coarse_at(t, t->coarse_n - 1) = *s;
}

static void add_sample(report_timeline *t, const report_sample *s) {
    if (t->fine_n == REPORT_TIMELINE_FINE) {
        fold(t, fine_at(t, 0));
        t->fine_first = (t->fine_first + 1) % REPORT_TIMELINE_FINE;
    } else {
        t->fine_n++;
    }
    *fine_at(t, t->fine_n - 1) = *s;
}

static report_sample sample_of(const mem_books *b, const report_activity *a, uint64_t now_ms) {
    report_sample s = {
        .time_ms = now_ms, .kernel_bytes = b->kernel_bytes, .ledger_bytes = b->ledger.now_bytes,
        .available_bytes = b->available_bytes, .reclaimable_bytes = b->reclaimable_bytes,
        .requests = a->requests, .tokens = a->tokens,
        .evicted_bytes = a->evicted_bytes, .active = a->active, .queued = a->queued, .level = b->level,
    };
    for (int i = 0; i < MEM_ACCOUNT_COUNT; i++) s.accounts[i] = b->ledger.rows[i].now_bytes;
    return s;
}

/* ---- baselines ---- */

/* Full: every second of the older half goes, so that the newest are dense and the oldest far back. Returns how many
 * are left. */
static uint32_t thin(void *readings, size_t size, uint32_t n) {
    char *at = readings;
    uint32_t kept = 0;
    for (uint32_t i = 0; i < n; i++)
        if (i >= n / 2 || i % 2 == 0) memmove(at + size * kept++, at + size * i, size);
    return kept;
}

static void add_baseline(report_timeline *t, const mem_ledger_view *v, const report_activity *a, uint64_t now_ms) {
    if (t->n_baselines == REPORT_LEAK_READINGS)
        t->n_baselines = thin(t->baselines, sizeof *t->baselines, t->n_baselines);
    baseline *b = &t->baselines[t->n_baselines++];
    *b = (baseline){.number = t->baselines_noted++, .requests = a->requests, .time_ms = now_ms};
    for (int i = 0; i < MEM_ACCOUNT_COUNT; i++) {
        uint64_t held = a->held_bytes[i];
        b->bytes[i] = (double)(held == UINT64_MAX ? v->rows[i].now_bytes : held);
    }
}

static void add_quiet(report_timeline *t, const mem_books *b, const report_activity *a, uint64_t now_ms) {
    if (t->n_quiets == REPORT_LEAK_READINGS) t->n_quiets = thin(t->quiets, sizeof *t->quiets, t->n_quiets);
    t->quiets[t->n_quiets++] = (quiet){.number = t->quiets_noted++, .requests = a->requests, .time_ms = now_ms,
                                       .unexplained_bytes = (double)b->unexplained_bytes};
}

/* Nothing has run since the sample before: caches are trimmed, threads have settled. */
static bool is_quiet(const report_timeline *t, const report_sample *now) {
    if (!t->fine_n || now->active || now->queued) return false;
    const report_sample *before = fine_at(t, t->fine_n - 1);
    if (before->active || before->queued || before->requests != now->requests) return false;
    if (!t->n_quiets) return true;
    const quiet *last = &t->quiets[t->n_quiets - 1];
    return last->requests != now->requests || now->time_ms - last->time_ms >= UNEXPLAINED_EVERY_MS;
}

void report_timeline_sample(report_timeline *t, const mem_books *b, const report_activity *a, uint64_t now_ms) {
    report_sample s = sample_of(b, a, now_ms);
    lock(t);
    uint64_t least = REPORT_TIMELINE_STEP_MS - REPORT_TIMELINE_STEP_MS / 10;
    bool due = !t->fine_n || now_ms >= fine_at(t, t->fine_n - 1)->time_ms + least;
    if (due && is_quiet(t, &s)) {
        add_quiet(t, b, a, now_ms);
        add_baseline(t, &b->ledger, a, now_ms);
    }
    if (due) add_sample(t, &s);
    unlock(t);
}

void report_timeline_idle(report_timeline *t, const mem_ledger_view *v, const report_activity *a, uint64_t now_ms) {
    lock(t);
    add_baseline(t, v, a, now_ms);
    unlock(t);
}

/* ---- reading ---- */

/* How many of a ring's samples are not later than after_ms. */
static uint32_t passed(const report_timeline *t, report_sample *at(const report_timeline *, uint32_t), uint32_t n,
                       uint64_t after_ms) {
    uint32_t low = 0, high = n;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (at(t, middle)->time_ms <= after_ms) low = middle + 1;
        else high = middle;
    }
    return low;
}

bool report_timeline_next(report_timeline *t, uint64_t after_ms, report_sample *out) {
    lock(t);
    uint32_t i = passed(t, coarse_at, t->coarse_n, after_ms);
    bool found = i < t->coarse_n;
    if (found) {
        *out = *coarse_at(t, i);
    } else {
        i = passed(t, fine_at, t->fine_n, after_ms);
        found = i < t->fine_n;
        if (found) *out = *fine_at(t, i);
    }
    unlock(t);
    return found;
}

uint32_t report_timeline_count(report_timeline *t) {
    lock(t);
    uint32_t n = t->fine_n + t->coarse_n;
    unlock(t);
    return n;
}

uint64_t report_timeline_baselines(report_timeline *t) {
    lock(t);
    uint64_t n = t->baselines_noted;
    unlock(t);
    return n;
}

static bool account_leaks(report_timeline *t, int account, report_leak *out) {
    double x[REPORT_LEAK_READINGS], y[REPORT_LEAK_READINGS];
    uint32_t n = t->n_baselines;
    for (uint32_t i = 0; i < n; i++) x[i] = (double)t->baselines[i].number, y[i] = t->baselines[i].bytes[account];
    report_trend trend = report_leak_find(x, y, n, ACCOUNT_FLOOR_BYTES, t->slopes);
    if (!trend.leaks) return false;
    const baseline *first = &t->baselines[n - trend.n_readings], *last = &t->baselines[n - 1];
    *out = (report_leak){mem_account_name((mem_account)account), trend, last->requests - first->requests,
                             last->time_ms - first->time_ms};
    return true;
}

static bool kernel_leaks(report_timeline *t, report_leak *out) {
    double x[REPORT_LEAK_READINGS], y[REPORT_LEAK_READINGS];
    uint32_t n = t->n_quiets;
    for (uint32_t i = 0; i < n; i++) x[i] = (double)t->quiets[i].number, y[i] = t->quiets[i].unexplained_bytes;
    report_trend trend = report_leak_find(x, y, n, UNEXPLAINED_FLOOR_BYTES, t->slopes);
    if (!trend.leaks) return false;
    const quiet *first = &t->quiets[n - trend.n_readings], *last = &t->quiets[n - 1];
    *out = (report_leak){"unexplained", trend, last->requests - first->requests,
                             last->time_ms - first->time_ms};
    return true;
}

uint32_t report_timeline_leaks(report_timeline *t, report_leak out[MEM_ACCOUNT_COUNT + 1]) {
    uint32_t n = 0;
    lock(t);
    /* `runtime` is measured, not reserved: the program's own file comes in as it is touched, and that ends. */
    for (int a = 0; a < MEM_ACCOUNT_COUNT; a++) n += a != MEM_RUNTIME && account_leaks(t, a, &out[n]);
    n += kernel_leaks(t, &out[n]);
    unlock(t);
    return n;
}
