/* What memory did: samples and baselines are taken here; GET /memory/timeline, /memory/timeline.svg,
 * /memory/doctor. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "api/internal.h"
#include "base/chart.h"
#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"
#include "mem/doctor.h"
#include "plat/debug.h"

enum {
    PAGE_LIMIT_BYTES = 8 << 20,
    PICTURE_LAST_S = 3600, /* when the request does not say */
    EVICTIONS_OVER_MS = 60000,
    PLANTED_BYTES = 4096 - 16, /* a page with the heap's own share */
};

static uint64_t now_ms(void) { return clock_now_ns() / 1000000; }

/* ---- sampling ---- */

static bool serving(api *a) { return atomic_load(&a->state) != API_LOADING && a->sched && a->http; }

static void put_jobs(const sched_counts *jobs, mem_activity *out) {
    out->active = jobs->active;
    out->queued = jobs->queued;
    out->requests = jobs->finished + jobs->cancelled + jobs->failed;
    out->tokens = jobs->completion_tokens;
}

/* Of the pools what is in use, so that a page that is lost shows, though its pool stays as it is; remembered
 * and pinned pages are no loss. */
static void put_held(api *a, const sched_counts *jobs, const kv_cache_counts *kv, mem_activity *out) {
    size_t lent = kv->pool.evictable_bytes + kv->pinned_bytes;
    size_t page_bytes = kv_set_bytes(&engine_hparams(a->en)->kv, engine_terms(a->en).type);
    mem_ledger_view v;
    mem_ledger_read(a->ledger, &v);
    out->held_bytes[MEM_HTTP] = v.rows[MEM_HTTP].now_bytes;
    out->held_bytes[MEM_KV] = kv->pool.used_bytes > lent ? kv->pool.used_bytes - lent : 0;
    out->held_bytes[MEM_QUEUE] = v.rows[MEM_QUEUE].now_bytes + jobs->block_bytes;
    out->evicted_bytes = kv->evicted_pages * page_bytes;
}

/* True when nothing ran from the first to the last of the readings. */
static bool read_activity(api *a, mem_activity *out) {
    sched_counts before, jobs;
    kv_cache_counts kv;
    engine_counters unused;
    mem_activity_init(out);
    if (!serving(a)) return false;
    sched_read(a->sched, &before);
    sched_engine_read(a->sched, &kv, &unused);
    sched_read(a->sched, &jobs);
    put_jobs(&jobs, out);
    put_held(a, &jobs, &kv, out);
    return !before.active && !before.queued && before.submitted == jobs.submitted;
}

static uint32_t bit_of(const char *account) {
    for (mem_account i = 0; i < MEM_ACCOUNT_COUNT; i++)
        if (!strcmp(account, mem_account_name(i))) return 1u << i;
    return 1u << MEM_ACCOUNT_COUNT;
}

/* Each once, for as long as it goes on. */
static void report_leaks(api *a) {
    mem_leak_report leaks[MEM_ACCOUNT_COUNT + 1];
    uint32_t n = mem_timeline_leaks(a->timeline, leaks), found = 0;
    for (uint32_t i = 0; i < n; i++) {
        char rise[BYTES_TEXT_BYTES];
        uint32_t bit = bit_of(leaks[i].account);
        found |= bit;
        if (a->known_leaks & bit) continue;
        log_warn("memory",
                 "a leak is suspected: %s grew by %s over %llu %s and did not come back (GET "
                 "/memory/doctor)",
                 leaks[i].account, bytes_text((uint64_t)leaks[i].trend.rise_bytes, rise),
                 (unsigned long long)leaks[i].requests, counted(leaks[i].requests, "request", "requests"));
    }
    a->known_leaks = found;
}

void api_sample(api *a) {
    uint64_t now = now_ms();
    if (a->sampled_ms && now < a->sampled_ms + MEM_TIMELINE_STEP_MS - MEM_TIMELINE_STEP_MS / 20) return;
    a->sampled_ms = now;
    mem_books books;
    mem_activity activity;
    mem_books_read(a->ledger, &books);
    (void)read_activity(a, &activity);
    mem_timeline_sample(a->timeline, &books, &activity, now);
    report_leaks(a);
}

/* ---- the end of a request, and what tests let go wrong there ---- */

bool timeline_read_debug_leak(api *a, err *e) {
    const char *account;
    a->debug_leak = -1;
    mem_heap_init(&a->dropped, a->ledger, MEM_HTTP);
    if (!plat_debug_read("PLIMSOLL_DEBUG_LEAK", "lose memory", &account, e)) return false;
    if (!account) return true;
    static const mem_account leaky[] = {MEM_KV, MEM_QUEUE, MEM_HTTP};
    for (size_t i = 0; i < sizeof leaky / sizeof *leaky; i++)
        if (!strcmp(account, mem_account_name(leaky[i]))) a->debug_leak = (int)leaky[i];
    if (a->debug_leak < 0) return err_set(e, ERR_USAGE, "PLIMSOLL_DEBUG_LEAK is kv, queue or http");
    log_warn("memory", "PLIMSOLL_DEBUG_LEAK: account %s loses a page with each request", account);
    return true;
}

static void drop_a_page(api *a) {
    if (a->debug_leak == MEM_HTTP)
        (void)mem_heap_take_zeroed(&a->dropped, PLANTED_BYTES, NULL);
    else if (a->debug_leak >= 0)
        sched_drop(a->sched, (mem_account)a->debug_leak);
}

void timeline_request_ended(api *a) {
    drop_a_page(a);
    mem_activity activity;
    mem_ledger_view v;
    if (!read_activity(a, &activity)) return;
    mem_ledger_read(a->ledger, &v);
    mem_timeline_idle(a->timeline, &v, &activity, now_ms());
}

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

static void put_sample(const mem_sample *s, uint64_t wall_offset_ms, json_writer *w) {
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

static void put_leaks(const mem_leak_report *leaks, uint32_t n, json_writer *w) {
    json_key(w, "leaks");
    json_array_start(w);
    for (uint32_t i = 0; i < n; i++) {
        const mem_trend *t = &leaks[i].trend;
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
    json_put_uint(w, "step_ms", MEM_TIMELINE_STEP_MS);
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
    mem_sample s;
    mem_leak_report leaks[MEM_ACCOUNT_COUNT + 1];
    uint64_t wall = clock_wall_ms();
    json_begin(&w, body);
    json_object_start(&w);
    put_head(a, wall, &w);
    json_key(&w, "samples");
    json_array_start(&w);
    for (uint64_t at = after_ms; mem_timeline_next(a->timeline, at, &s); at = s.time_ms)
        put_sample(&s, wall - now, &w);
    json_array_end(&w);
    json_put_uint(&w, "baselines", mem_timeline_baselines(a->timeline));
    put_leaks(leaks, mem_timeline_leaks(a->timeline, leaks), &w);
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
enum { LAYER_LENT = MEM_ACCOUNT_COUNT, LAYER_UNEXPLAINED, N_LAYERS };

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
    {LAYER_LENT, "kv: remembered or free", "#f0c596"},
    {LAYER_UNEXPLAINED, "unexplained", "#c0392b"},
};

static double layer_bytes(int layer, const mem_sample *s) {
    uint64_t kv = s->accounts[MEM_KV], lent = s->reclaimable_bytes < kv ? s->reclaimable_bytes : kv;
    int account = layers[layer].account;
    if (account == MEM_KV) return (double)(kv - lent);
    if (account == LAYER_LENT) return (double)lent;
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
    chart_series *series; /* [N_LAYERS] */
    chart_band *bands;    /* [room] */
    chart_mark *marks;    /* [room] */
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
    p->bands[p->n_bands++] = (chart_band){x, x, level_colors[level], mem_level_name(level)};
}

/* A mark where work begins, with how many requests ended until it was over. */
static void add_mark(picture *p, const mem_sample *s, const mem_sample *before, bool *busy, uint64_t *since) {
    bool works = s->active || s->queued || (p->n && s->requests > before->requests);
    if (works && !*busy) {
        *since = p->n ? before->requests : s->requests;
        p->marks[p->n_marks] = (chart_mark){p->x[p->n], p->labels[p->n_marks]};
        p->n_marks++;
    }
    *busy = works;
    if (!works) return;
    uint64_t n = s->requests - *since;
    snprintf(p->labels[p->n_marks - 1], sizeof p->labels[0], "%llu request%s", (unsigned long long)n,
             n == 1 ? "" : "s");
}

static void collect_picture(api *a, uint64_t now, uint64_t after_ms, picture *p) {
    mem_sample s, before = {0};
    bool busy = false;
    uint64_t since = 0;
    while (p->n < p->room && mem_timeline_next(a->timeline, after_ms, &s)) {
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
        p->series[p->n_series++] = (chart_series){layer_name(i), layers[i].color, p->values[i]};
    }
    bool line = v.line_bytes != UINT64_MAX;
    char label[48], bytes[BYTES_TEXT_BYTES];
    snprintf(label, sizeof label, "the line: %s", line ? bytes_text(v.line_bytes, bytes) : "none");
    chart c = {.title = "Memory by account",
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
    chart_svg(&c, out);
}

void timeline_svg(api *a, http_request *r) {
    uint64_t now = now_ms(), after_ms;
    err e;
    if (!read_last(r, now, PICTURE_LAST_S, &after_ms, &e)) {
        api_refuse_plainly(a, r, &e);
        return;
    }
    picture p = {.room = mem_timeline_count(a->timeline) + 1};
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
static void put_evictions(api *a, const mem_activity *activity, uint64_t now, mem_snapshot *s) {
    mem_sample first;
    uint64_t after_ms = now > EVICTIONS_OVER_MS ? now - EVICTIONS_OVER_MS : 0;
    if (!serving(a) || !mem_timeline_next(a->timeline, after_ms, &first)) return;
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
    mem_activity activity;
    mem_leak_report leaks[MEM_ACCOUNT_COUNT + 1];
    mem_diagnosis found;
    mem_books_read(a->ledger, &books);
    (void)read_activity(a, &activity);
    mem_snapshot s = {.books = &books, .leaks = leaks, .hugepages = plat_hugepages_read()};
    s.n_leaks = mem_timeline_leaks(a->timeline, leaks);
    s.baselines = mem_timeline_baselines(a->timeline);
    put_evictions(a, &activity, now_ms(), &s);
    mem_doctor(&s, &found);
    buf body;
    json_writer w;
    buf_init(&body, &a->heap.alloc, PAGE_LIMIT_BYTES);
    json_begin(&w, &body);
    if (wants_words(r))
        mem_doctor_words(&found, &body);
    else
        mem_doctor_json(&found, &w);
    reply_page(a, r, wants_words(r) ? "text/plain; charset=utf-8" : "application/json", &body);
}
