/* What memory did: GET /memory/timeline, /memory/timeline.svg, /memory/doctor. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "api/admin/admin.h"
#include "report/chart.h"
#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"
#include "report/doctor.h"

enum {
    PAGE_LIMIT_BYTES = 8 << 20,
    PICTURE_LAST_S = 3600, /* when the request does not say */
    EVICTIONS_OVER_MS = 60000,
};

static uint64_t now_ms(void) { return clock_now_ns() / 1000000; }

/* ---- GET /memory/timeline ---- */

/* ?last=SECONDS: the moment before the first sample that is wanted. */
static bool read_last(http_request *r, uint64_t now, uint64_t otherwise_s, uint64_t *after_ms, err *e) {
    str given = http_query(r, "last");
    uint64_t seconds = 0;
    for (size_t i = 0; i < given.len; i++) {
        if (given.data[i] < '0' || given.data[i] > '9' || i >= 9)
            return err_set(e, ERR_INVALID, "last is a number of seconds");
        seconds = seconds * 10 + (uint64_t)(given.data[i] - '0');
    }
    if (!given.len) seconds = otherwise_s;
    *after_ms = now > seconds * 1000 ? now - seconds * 1000 : 0;
    return true;
}

static void put_sample(const report_sample *s, uint64_t wall_offset_ms, json_writer *w) {
    json_object_start(w);
    json_put_uint(w, "time_ms", s->time_ms + wall_offset_ms);
    json_put_string(w, "level", str_of(mem_level_name(s->level)));
    json_put_uint(w, "kernel_bytes", s->kernel_bytes);
    json_put_uint(w, "ledger_bytes", s->ledger_bytes);
    json_put_uint(w, "available_bytes", s->available_bytes);
    json_put_uint(w, "reclaimable_bytes", s->reclaimable_bytes);
    json_put_uint(w, "active", s->active);
    json_put_uint(w, "queued", s->queued);
    json_put_uint(w, "requests", s->requests);
    json_put_uint(w, "tokens", s->tokens);
    json_key(w, "accounts");
    json_array_start(w);
    for (int i = 0; i < MEM_ACCOUNT_COUNT; i++) json_uint(w, s->accounts[i]);
    json_array_end(w);
    json_object_end(w);
}

static void put_leaks(const report_leak *leaks, uint32_t n, json_writer *w) {
    json_key(w, "leaks");
    json_array_start(w);
    for (uint32_t i = 0; i < n; i++) {
        const report_trend *t = &leaks[i].trend;
        json_object_start(w);
        json_put_string(w, "account", str_of(leaks[i].account));
        json_put_fixed(w, "bytes_per_reading", t->slope, 1);
        json_put_fixed(w, "at_least", t->low, 1);
        json_put_fixed(w, "at_most", t->high, 1);
        json_put_fixed(w, "rise_bytes", t->rise_bytes, 0);
        json_put_uint(w, "readings", t->n_readings);
        json_put_uint(w, "requests", leaks[i].requests);
        json_put_fixed(w, "span_s", (double)leaks[i].span_ms / 1000, 3);
        json_object_end(w);
    }
    json_array_end(w);
}

static void put_head(api *a, uint64_t wall_ms, json_writer *w) {
    mem_ledger_view v;
    mem_ledger_read(a->ledger, &v);
    json_put_uint(w, "now_ms", wall_ms);
    json_put_uint(w, "step_ms", REPORT_TIMELINE_STEP_MS);
    json_key(w, "line_bytes");
    if (v.line_bytes == UINT64_MAX)
        json_null(w);
    else
        json_uint(w, v.line_bytes);
    json_key(w, "accounts");
    json_array_start(w);
    for (mem_account i = 0; i < MEM_ACCOUNT_COUNT; i++) json_string(w, str_of(mem_account_name(i)));
    json_array_end(w);
}

static void write_timeline(api *a, uint64_t now, uint64_t after_ms, buf *body) {
    json_writer w;
    report_sample s;
    report_leak leaks[MEM_ACCOUNT_COUNT + 1];
    uint64_t wall = clock_wall_ms();
    json_begin(&w, body);
    json_object_start(&w);
    put_head(a, wall, &w);
    json_key(&w, "samples");
    json_array_start(&w);
    for (uint64_t at = after_ms; report_timeline_next(a->timeline, at, &s); at = s.time_ms)
        put_sample(&s, wall - now, &w);
    json_array_end(&w);
    json_put_uint(&w, "baselines", report_timeline_baselines(a->timeline));
    put_leaks(leaks, report_timeline_leaks(a->timeline, leaks), &w);
    json_object_end(&w);
}

/* The page, or why there was no memory for it. */
static void reply_page(api *a, http_request *r, const char *type, buf *body) {
    err e;
    if (body->failed) {
        err_set_memory(&e, body->len, mem_ledger_available(a->ledger), "no memory to write this page");
        api_refuse_plainly(a, r, &e);
    } else {
        http_reply(r, 200, type, buf_str(body));
    }
    buf_free(body);
}

void timeline_json(api *a, http_request *r) {
    uint64_t now = now_ms(), after_ms;
    err e;
    if (!read_last(r, now, UINT32_MAX, &after_ms, &e)) {
        api_refuse_plainly(a, r, &e);
        return;
    }
    buf body;
    buf_init(&body, &a->heap.alloc, PAGE_LIMIT_BYTES);
    write_timeline(a, now, after_ms, &body);
    reply_page(a, r, "application/json", &body);
}

/* ---- GET /memory/timeline.svg ---- */

/* From what never moves to what does, so that movement is seen at the top. Of kv what requests hold, and above it
 * what goes back when it is needed; last what no account explains. */
enum { LAYER_RECLAIMABLE = MEM_ACCOUNT_COUNT, LAYER_UNEXPLAINED, N_LAYERS };

static const struct {
    int account; /* or LAYER_… */
    const char *name, *color;
} layers[N_LAYERS] = {
    {MEM_RUNTIME, NULL, "#c3ccd2"},
    {MEM_WEIGHTS, NULL, "#2f5d8a"},
    {MEM_ADAPTERS, NULL, "#4f7fb0"},
    {MEM_TOKENIZER, NULL, "#7ba3c9"},
    {MEM_GRAMMAR, NULL, "#a9c4dd"},
    {MEM_WORKSPACE, NULL, "#3d8b83"},
    {MEM_HTTP, NULL, "#6fb3a6"},
    {MEM_QUEUE, NULL, "#a5d3c6"},
    {MEM_SPILL, NULL, "#8e7bb5"},
    {MEM_PROMPT_INDEX, NULL, "#b6a7d3"},
    {MEM_KV, NULL, "#d9813d"},
    {LAYER_RECLAIMABLE, "kv: remembered or free", "#f0c596"},
    {LAYER_UNEXPLAINED, "unexplained", "#c0392b"},
};

static double layer_bytes(int layer, const report_sample *s) {
    uint64_t kv = s->accounts[MEM_KV], reclaimable = s->reclaimable_bytes < kv ? s->reclaimable_bytes : kv;
    int account = layers[layer].account;
    if (account == MEM_KV) return (double)(kv - reclaimable);
    if (account == LAYER_RECLAIMABLE) return (double)reclaimable;
    if (account == LAYER_UNEXPLAINED)
        return s->kernel_bytes > s->ledger_bytes ? (double)(s->kernel_bytes - s->ledger_bytes) : 0;
    return (double)s->accounts[account];
}

static const char *layer_name(int layer) {
    return layers[layer].name ? layers[layer].name : mem_account_name((mem_account)layers[layer].account);
}

static const char *const level_colors[] = {NULL, "#eec643", "#f29f4b", "#e4603f", "#b5202c"};

typedef struct picture { /* of at most `room` samples, in one block */
    uint32_t room, n, n_series, n_bands, n_marks;
    double *x, *values[N_LAYERS];
    report_series *series; /* [N_LAYERS] */
    report_band *bands;    /* [room] */
    report_mark *marks;    /* [room] */
    char (*labels)[32];   /* [room] */
} picture;

static void lay_out_picture(picture *p, mem_arena *a) {
    p->x = mem_arena_take(a, p->room * sizeof *p->x, 16);
    for (int i = 0; i < N_LAYERS; i++) p->values[i] = mem_arena_take(a, p->room * sizeof *p->x, 16);
    p->series = mem_arena_take(a, N_LAYERS * sizeof *p->series, 16);
    p->bands = mem_arena_take(a, p->room * sizeof *p->bands, 16);
    p->marks = mem_arena_take(a, p->room * sizeof *p->marks, 16);
    p->labels = mem_arena_take(a, p->room * sizeof *p->labels, 16);
}

static void add_band(picture *p, mem_level level, mem_level before) {
    double x = p->x[p->n];
    if (p->n && before != MEM_SAFE) p->bands[p->n_bands - 1].to = x;
    if (level == MEM_SAFE || (p->n && level == before)) return;
    p->bands[p->n_bands++] = (report_band){x, x, level_colors[level], mem_level_name(level)};
}

/* A mark where work begins, with how many requests ended until it was over. */
static void add_mark(picture *p, const report_sample *s, const report_sample *before, bool *busy, uint64_t *since) {
    bool works = s->active || s->queued || (p->n && s->requests > before->requests);
    if (works && !*busy) {
        *since = p->n ? before->requests : s->requests;
        p->marks[p->n_marks] = (report_mark){p->x[p->n], p->labels[p->n_marks]};
        p->n_marks++;
    }
    *busy = works;
    if (!works) return;
    uint64_t n = s->requests - *since;
    snprintf(p->labels[p->n_marks - 1], sizeof p->labels[0], "%llu request%s", (unsigned long long)n,
             n == 1 ? "" : "s");
}

static void collect_picture(api *a, uint64_t now, uint64_t after_ms, picture *p) {
    report_sample s, before = {0};
    bool busy = false;
    uint64_t since = 0;
    while (p->n < p->room && report_timeline_next(a->timeline, after_ms, &s)) {
        p->x[p->n] = -(double)(now > s.time_ms ? now - s.time_ms : 0) / 1000;
        for (int i = 0; i < N_LAYERS; i++) p->values[i][p->n] = layer_bytes(i, &s);
        add_band(p, s.level, before.level);
        add_mark(p, &s, &before, &busy, &since);
        before = s;
        after_ms = s.time_ms;
        p->n++;
    }
}

static bool is_empty(const double *values, uint32_t n) {
    for (uint32_t i = 0; i < n; i++)
        if (values[i] > 0) return false;
    return true;
}

static void draw(api *a, picture *p, buf *out) {
    mem_ledger_view v;
    mem_ledger_read(a->ledger, &v);
    for (int i = 0; i < N_LAYERS; i++) {
        if (is_empty(p->values[i], p->n)) continue;
        p->series[p->n_series++] = (report_series){layer_name(i), layers[i].color, p->values[i]};
    }
    bool line = v.line_bytes != UINT64_MAX;
    char label[48], bytes[BYTES_TEXT_BYTES];
    snprintf(label, sizeof label, "the line: %s", line ? bytes_text(v.line_bytes, bytes) : "none");
    report_chart c = {.title = "Memory by account",
               .n = p->n,
               .x = p->x,
               .stacked = true,
               .n_series = p->n_series,
               .series = p->series,
               .line = line ? (double)v.line_bytes : NAN,
               .line_label = label,
               .n_bands = p->n_bands,
               .bands = p->bands,
               .n_marks = p->n_marks,
               .marks = p->marks};
    report_chart_svg(&c, out);
}

void timeline_svg(api *a, http_request *r) {
    uint64_t now = now_ms(), after_ms;
    err e;
    if (!read_last(r, now, PICTURE_LAST_S, &after_ms, &e)) {
        api_refuse_plainly(a, r, &e);
        return;
    }
    picture p = {.room = report_timeline_count(a->timeline) + 1};
    mem_arena measure, over;
    mem_arena_measure(&measure);
    lay_out_picture(&p, &measure);
    void *block = mem_heap_take_zeroed(&a->heap, measure.used, &e);
    if (!block) {
        api_refuse_plainly(a, r, &e);
        return;
    }
    mem_arena_over(&over, block, measure.used);
    lay_out_picture(&p, &over);
    CHECK(!over.failed);
    collect_picture(a, now, after_ms, &p);
    buf body;
    buf_init(&body, &a->heap.alloc, PAGE_LIMIT_BYTES);
    draw(a, &p, &body);
    mem_heap_give(&a->heap, block, measure.used);
    reply_page(a, r, "image/svg+xml", &body);
}

/* ---- GET /memory/doctor ---- */

/* What made way in the last minute, as far as samples reach. */
static void put_evictions(api *a, const report_activity *activity, uint64_t now, report_snapshot *s) {
    report_sample first;
    uint64_t after_ms = now > EVICTIONS_OVER_MS ? now - EVICTIONS_OVER_MS : 0;
    if (!sampler_serving(a) || !report_timeline_next(a->timeline, after_ms, &first)) return;
    kv_cache_counts kv;
    engine_counters unused;
    sched_engine_read(a->sched, &kv, &unused);
    s->evicted_bytes =
        activity->evicted_bytes > first.evicted_bytes ? activity->evicted_bytes - first.evicted_bytes : 0;
    s->span_ms = now - first.time_ms;
    s->cache_budget_bytes = kv.pool.budget_bytes;
}

static bool wants_words(const http_request *r) {
    str accept = http_header(r, "Accept");
    return memmem(accept.data, accept.len, "text/plain", 10) != NULL;
}

void timeline_doctor(api *a, http_request *r) {
    mem_books books;
    report_activity activity;
    report_leak leaks[MEM_ACCOUNT_COUNT + 1];
    report_diagnosis found;
    mem_books_read(a->ledger, &books);
    (void)sampler_read(a, &activity);
    report_snapshot s = {.books = &books, .leaks = leaks, .hugepages = plat_hugepages_read()};
    s.n_leaks = report_timeline_leaks(a->timeline, leaks);
    s.baselines = report_timeline_baselines(a->timeline);
    put_evictions(a, &activity, now_ms(), &s);
    report_doctor(&s, &found);
    buf body;
    json_writer w;
    buf_init(&body, &a->heap.alloc, PAGE_LIMIT_BYTES);
    json_begin(&w, &body);
    if (wants_words(r))
        report_doctor_words(&found, &body);
    else
        report_doctor_json(&found, &w);
    reply_page(a, r, wants_words(r) ? "text/plain; charset=utf-8" : "application/json", &body);
}
