#include "cli/top_snapshot.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include "api/core/metrics.h"

/* ---- JSON into fields ---- */

typedef enum field_kind {
    FIELD_COUNT, /* uint64_t */
    FIELD_LIMIT, /* uint64_t; null is UINT64_MAX */
    FIELD_SIGNED, FIELD_NUMBER, FIELD_BOOL, FIELD_NAME,
} field_kind;

typedef struct field {
    const char *name; /* of the figure (api/core/metrics) */
    field_kind kind;
    size_t offset;
} field;

#define AT(member)                                                                                           \
    _Generic(((top_snapshot *)0)->member, uint64_t: FIELD_COUNT, int64_t: FIELD_SIGNED,                      \
             double: FIELD_NUMBER, bool: FIELD_BOOL, char *: FIELD_NAME), offsetof(top_snapshot, member)

#define LIMIT_AT(member) FIELD_LIMIT, offsetof(top_snapshot, member)

static const field fields[] = {
    {"jobs_active", AT(active)},
    {"jobs_queued", AT(queued)},
    {"jobs_preempted", AT(preempted)},
    {"memory_line_bytes", LIMIT_AT(line_bytes)},
    {"memory_used_bytes", AT(used_bytes)},
    {"memory_ledger_bytes", AT(ledger_bytes)},
    {"memory_ledger_peak_bytes", AT(ledger_peak_bytes)},
    {"memory_unexplained_bytes", AT(unexplained_bytes)},
    {"memory_tolerance_bytes", AT(tolerance_bytes)},
    {"memory_balanced", AT(balanced)},
    {"memory_level", AT(level)},
    {"memory_available_bytes", LIMIT_AT(available_bytes)},
    {"memory_reclaimable_bytes", AT(reclaimable_bytes)},
    {"machine_bytes", AT(machine_bytes)},
    {"machine_available_bytes", AT(machine_available_bytes)},
    {"cgroup_limit_bytes", LIMIT_AT(cgroup_limit_bytes)},
    {"kv_pool_budget_bytes", AT(pool.budget_bytes)},
    {"kv_pool_used_bytes", AT(pool.used_bytes)},
    {"kv_pool_evictable_bytes", AT(pool.evictable_bytes)},
    {"kv_pool_committed_bytes", AT(pool.committed_bytes)},
    {"kv_pool_tokens", AT(pool.tokens_held)},
    {"kv_pool_waste_ratio", AT(pool.waste)},
    {"kv_type", AT(pool.type)},
    {"preemptions_total", AT(pool.preemptions)},
    {"cache_entries", AT(cache.entries)},
    {"cache_tokens", AT(cache.tokens)},
    {"cache_hits_total", AT(cache.hits)},
    {"cache_misses_total", AT(cache.misses)},
    {"cache_hit_tokens_total", AT(cache.hit_tokens)},
    {"cache_evicted_pages_total", AT(cache.evicted_pages)},
    {"spill_file_bytes", AT(spill.file_bytes)},
    {"spill_slots", AT(spill.slots)},
    {"spill_used_slots", AT(spill.used)},
    {"spill_written_pages_total", AT(spill.spilled_pages)},
    {"spill_read_pages_total", AT(spill.restored_pages)},
    {"jobs_submitted_total", AT(jobs.submitted)},
    {"jobs_finished_total", AT(jobs.finished)},
    {"jobs_cancelled_total", AT(jobs.cancelled)},
    {"jobs_failed_total", AT(jobs.failed)},
    {"jobs_refused_total", AT(jobs.refused)},
    {"engine_tokens_total", AT(tokens)},
};

/* What only /health says, and is no figure. */
static const field health_words[] = {{"status", AT(status)}, {"model", AT(model)}};

static const field *field_named(const field *rows, size_t n, str name) {
    for (size_t i = 0; i < n; i++)
        if (str_is(name, rows[i].name)) return &rows[i];
    return NULL;
}

#define FIELD_OF(rows, name) field_named(rows, sizeof(rows) / sizeof *(rows), name)

enum { PATH_BYTES = 192 };

typedef struct reading {
    top_snapshot *to;
    bool health; /* the page: /health, or /memory */
    char path[PATH_BYTES]; /* "books.accounts.kv.now_bytes" */
    size_t ends[JSON_MAX_DEPTH + 2]; /* where the path of each depth ends */
    int array_depth; /* inside an array that began at this depth; −1: in none. Nothing we show is in one */
} reading;

static uint64_t count_of(const json_event *event) {
    if (event->kind == JSON_INT) return event->integer < 0 ? 0 : (uint64_t)event->integer;
    if (event->kind != JSON_DOUBLE || !(event->number > 0)) return 0;
    return event->number >= 18446744073709551615.0 ? UINT64_MAX : (uint64_t)event->number;
}

static int64_t signed_of(const json_event *event) {
    if (event->kind == JSON_INT) return event->integer;
    if (event->kind != JSON_DOUBLE) return 0;
    return event->number >= 9e18 ? INT64_MAX : event->number <= -9e18 ? -INT64_MAX : (int64_t)event->number;
}

/* Only what takes exactly one column of any terminal goes through; the rest becomes '?'. */
static void copy_plain(char *to, size_t size, str from) {
    size_t used = 0, at = 0;
    while (at < from.len) {
        uint32_t cp = 0;
        int n = utf8_decode(from.data + at, from.len - at, &cp);
        bool plain = n > 0 && ((cp >= 0x20 && cp < 0x7F) || (cp > 0xA0 && cp < 0x300 && cp != 0xAD));
        size_t step = n > 0 ? (size_t)n : 1, take = plain ? step : 1;
        if (used + take >= size) break;
        memcpy(to + used, plain ? from.data + at : "?", take);
        used += take;
        at += step;
    }
    to[used] = 0;
}

static void copy_name(char to[TOP_NAME_BYTES], str from) { copy_plain(to, TOP_NAME_BYTES, from); }

static void set_field(top_snapshot *s, const field *f, const json_event *event) {
    char *at = (char *)s + f->offset;
    switch (f->kind) {
    case FIELD_LIMIT:
    case FIELD_COUNT: {
        bool none = event->kind == JSON_NULL && f->kind == FIELD_LIMIT;
        *(uint64_t *)(void *)at = none ? UINT64_MAX : count_of(event);
        break;
    }
    case FIELD_SIGNED: *(int64_t *)(void *)at = signed_of(event); break;
    case FIELD_NUMBER:
        *(double *)(void *)at = event->kind == JSON_INT || event->kind == JSON_DOUBLE ? event->number : 0;
        break;
    case FIELD_BOOL: *(bool *)at = event->kind == JSON_BOOL && event->boolean; break;
    case FIELD_NAME: copy_name(at, event->kind == JSON_STRING ? event->text : STR("")); break;
    }
}

static top_account *account_named(top_snapshot *s, str name) {
    char plain[TOP_NAME_BYTES];
    copy_name(plain, name);
    for (uint32_t i = 0; i < s->n_accounts; i++)
        if (!strcmp(s->accounts[i].name, plain)) return &s->accounts[i];
    if (s->n_accounts == TOP_ACCOUNTS) return NULL;
    top_account *a = &s->accounts[s->n_accounts++];
    *a = (top_account){0};
    memcpy(a->name, plain, sizeof plain);
    return a;
}

/* A figure that there is of each account. */
static void set_account(top_snapshot *s, str account, str name, const json_event *event) {
    bool now = str_is(name, "memory_account_bytes"), peak = str_is(name, "memory_account_peak_bytes");
    bool refused = str_is(name, "memory_account_refused_total");
    top_account *a = now || peak || refused ? account_named(s, account) : NULL;
    if (a) *(now ? &a->now_bytes : peak ? &a->peak_bytes : &a->refused) = count_of(event);
}

static void set_path(reading *r, const json_event *event) {
    size_t at = r->ends[event->depth - 1];
    if (at && at < PATH_BYTES) r->path[at++] = '.';
    for (size_t i = 0; i < event->text.len && at < PATH_BYTES; i++) r->path[at++] = event->text.data[i];
    r->ends[event->depth] = at; /* one that was cut has all PATH_BYTES, and is nobody's */
}

static const char *health_figure(str path) {
    str memory = STR("memory.");
    for (uint32_t i = 0; i < metrics_health_count; i++)
        if (str_is(path, metrics_health[i].key)) return metrics_health[i].name;
    for (uint32_t i = 0; str_starts(path, memory) && i < metrics_health_memory_count; i++)
        if (str_is(str_from(path, memory.len), metrics_health_memory[i].key)) return metrics_health_memory[i].name;
    return NULL;
}

static void set_value(reading *r, const json_event *event) {
    str path = {r->path, r->ends[event->depth]}, account = STR("");
    if (path.len == 0 || path.len == PATH_BYTES) return;
    const metric *m = r->health ? NULL : metrics_at(path, &account);
    const char *name = r->health ? health_figure(path) : m ? m->name : NULL;
    const field *f = name ? FIELD_OF(fields, str_of(name)) : r->health ? FIELD_OF(health_words, path) : NULL;
    if (account.len) set_account(r->to, account, str_of(name), event);
    else if (f) set_field(r->to, f, event);
}

static void note_object(reading *r, const json_event *event) {
    str path = {r->path, r->ends[event->depth]};
    r->to->has_pool |= str_is(path, "kv_pool");
    r->to->has_spill |= str_is(path, "spill");
    r->to->has_jobs |= str_is(path, "jobs");
}

static bool on_event(void *ctx, const json_event *event, err *e) {
    reading *r = ctx;
    (void)e;
    if (r->array_depth >= 0) {
        if (event->kind == JSON_ARRAY_END && event->depth == r->array_depth) r->array_depth = -1;
        return true;
    }
    switch (event->kind) {
    case JSON_KEY: set_path(r, event); break;
    case JSON_ARRAY_START: r->array_depth = event->depth; break;
    case JSON_OBJECT_START: note_object(r, event); break;
    case JSON_OBJECT_END:
    case JSON_ARRAY_END: break;
    default: set_value(r, event);
    }
    return true;
}

static bool read_page(const base_alloc *alloc, str json, bool health, top_snapshot *s, err *e) {
    reading r = {.to = s, .health = health, .array_depth = -1};
    return json_parse(alloc, json, on_event, &r, e);
}

bool top_read_health(const base_alloc *alloc, str json, top_snapshot *s, err *e) {
    *s = (top_snapshot){.line_bytes = UINT64_MAX, .cgroup_limit_bytes = UINT64_MAX};
    return read_page(alloc, json, true, s, e) || err_prefix(e, "GET /health: ");
}

bool top_read_memory(const base_alloc *alloc, str json, top_snapshot *s, err *e) {
    s->has_memory = read_page(alloc, json, false, s, e);
    return s->has_memory || err_prefix(e, "GET /memory: ");
}

/* ---- lists of objects: {"samples": [{…}, …]} ---- */

typedef struct list_item {
    double time_ms, used_bytes, tokens;
    char severity[TOP_NAME_BYTES], words[TOP_EVENT_BYTES];
} list_item;

typedef struct list_reading {
    const char *name;
    bool inside;
    double *number; /* where the value that comes next goes, if anywhere */
    char *text;
    size_t text_bytes;
    list_item item;
    void (*on_item)(void *ctx, const list_item *item);
    void *ctx;
} list_reading;

static void list_key(list_reading *r, str key) {
    r->number = str_is(key, "time_ms")        ? &r->item.time_ms
                : str_is(key, "kernel_bytes") ? &r->item.used_bytes
                : str_is(key, "tokens")       ? &r->item.tokens
                                              : NULL;
    bool words = str_is(key, "words");
    r->text = words ? r->item.words : str_is(key, "severity") ? r->item.severity : NULL;
    r->text_bytes = words ? sizeof r->item.words : sizeof r->item.severity;
}

static bool on_list_event(void *ctx, const json_event *event, err *e) {
    list_reading *r = ctx;
    (void)e;
    if (event->depth == 1 && event->kind == JSON_KEY) r->inside = str_is(event->text, r->name);
    if (!r->inside) return true;
    if (event->depth == 2 && event->kind == JSON_OBJECT_START) r->item = (list_item){0};
    if (event->depth == 2 && event->kind == JSON_OBJECT_END) r->on_item(r->ctx, &r->item);
    if (event->depth != 3) return true;
    if (event->kind == JSON_KEY) {
        list_key(r, event->text);
    } else {
        bool number = event->kind == JSON_INT || event->kind == JSON_DOUBLE;
        if (r->number && number) *r->number = event->number > 0 ? event->number : 0;
        if (r->text && event->kind == JSON_STRING) copy_plain(r->text, r->text_bytes, event->text);
        r->number = NULL;
        r->text = NULL;
    }
    return true;
}

static void take_finding(void *ctx, const list_item *item) {
    top_snapshot *s = ctx;
    if (!*s->finding && *item->words && strcmp(item->severity, "note"))
        memcpy(s->finding, item->words, sizeof s->finding);
}

bool top_read_doctor(const base_alloc *alloc, str json, top_snapshot *s, err *e) {
    list_reading r = {.name = "findings", .on_item = take_finding, .ctx = s};
    s->finding[0] = 0;
    return json_parse(alloc, json, on_list_event, &r, e) || err_prefix(e, "GET /memory/doctor: ");
}

typedef struct timeline_reading {
    top_track *track;
    list_item last;
} timeline_reading;

enum { HISTORY_STEP_MS = 1500 }; /* older samples stand for longer: they begin the history anew */

static void take_sample(void *ctx, const list_item *item) {
    timeline_reading *r = ctx;
    double ms = item->time_ms - r->last.time_ms, tokens = item->tokens - r->last.tokens;
    bool follows = ms > 0 && ms <= HISTORY_STEP_MS;
    if (!follows) r->track->n_history = 0;
    r->track->history[r->track->n_history++ % TOP_HISTORY] =
        (top_sample){item->used_bytes, follows && tokens > 0 ? tokens * 1000 / ms : 0};
    r->last = *item;
}

bool top_read_timeline(const base_alloc *alloc, str json, top_track *t, err *e) {
    timeline_reading over = {.track = t};
    list_reading r = {.name = "samples", .on_item = take_sample, .ctx = &over};
    return json_parse(alloc, json, on_list_event, &r, e) || err_prefix(e, "GET /memory/timeline: ");
}

/* ---- over time ---- */

void top_track_init(top_track *t) { *t = (top_track){.tokens_per_s = -1, .requests_per_s = -1}; }

void top_track_event(top_track *t, const char *clock, const char *format, ...) {
    top_event *event = &t->events[t->n_events++ % TOP_EVENTS];
    snprintf(event->clock, sizeof event->clock, "%s", clock);
    va_list list;
    va_start(list, format);
    vsnprintf(event->text, sizeof event->text, format, list);
    va_end(list);
    str_make_printable(event->text);
}

/* Counters only grow while a server lives. */
static bool began_anew(const top_snapshot *was, const top_snapshot *is) {
    return is->tokens < was->tokens || is->jobs.submitted < was->jobs.submitted ||
           is->jobs.finished < was->jobs.finished || is->cache.misses < was->cache.misses;
}

static const top_account *same_account(const top_snapshot *s, const top_account *a) {
    for (uint32_t i = 0; i < s->n_accounts; i++)
        if (!strcmp(s->accounts[i].name, a->name)) return &s->accounts[i];
    return NULL;
}

static const char *plural(uint64_t n) { return n == 1 ? "" : "s"; }

static void note_refusals(top_track *t, const top_snapshot *is, const char *clock) {
    const top_snapshot *was = &t->now;
    char left[BYTES_TEXT_BYTES];
    uint64_t n = is->jobs.refused > was->jobs.refused ? is->jobs.refused - was->jobs.refused : 0;
    if (n) {
        bool goes_on = t->refused_event && t->refused_event == t->n_events; /* one event for a run of them */
        if (goes_on) t->n_events--;
        n = t->refused_run = goes_on ? t->refused_run + n : n;
        top_track_event(t, clock, "%llu request%s refused (%s, %s available, %llu queued)",
                        (unsigned long long)n, plural(n), is->level, bytes_text(is->available_bytes, left),
                        (unsigned long long)is->queued);
        t->refused_event = t->n_events;
    }
    for (uint32_t i = 0; i < is->n_accounts; i++) {
        const top_account *a = &is->accounts[i], *b = same_account(was, a);
        uint64_t more = b && a->refused > b->refused ? a->refused - b->refused : 0;
        if (more)
            top_track_event(t, clock, "account %s: %llu reservation%s refused", a->name, (unsigned long long)more,
                            plural(more));
    }
}

static void note_changes(top_track *t, const top_snapshot *is, const char *clock) {
    const top_snapshot *was = &t->now;
    if (strcmp(was->level, is->level)) top_track_event(t, clock, "level: from %s to %s", was->level, is->level);
    if (strcmp(was->status, is->status)) top_track_event(t, clock, "the server says: %s", is->status);
    if (is->has_memory && was->has_memory) note_refusals(t, is, clock);
}

static double per_second(uint64_t was, uint64_t is, uint64_t ms) {
    return is < was ? 0 : (double)(is - was) * 1000 / (double)ms;
}

/* Speeds fade over a few readings, so that figures can be read; an idle server stands still at once. */
static double settle(double shown, double measured, bool idle) {
    return shown < 0 || (idle && measured <= 0) ? measured : shown * 0.6 + measured * 0.4;
}

static void note_speeds(top_track *t, const top_snapshot *is, uint64_t now_ms) {
    uint64_t ms = now_ms > t->now_ms ? now_ms - t->now_ms : 1;
    const top_jobs *a = &t->now.jobs, *b = &is->jobs;
    uint64_t done_before = a->finished + a->cancelled + a->failed, done = b->finished + b->cancelled + b->failed;
    bool idle = !is->active && !is->queued;
    t->tokens_per_s = settle(t->tokens_per_s, per_second(t->now.tokens, is->tokens, ms), idle);
    t->requests_per_s = is->has_jobs ? settle(t->requests_per_s, per_second(done_before, done, ms), idle) : -1;
}

void top_track_reading(top_track *t, const top_snapshot *s, uint64_t now_ms, const char *clock) {
    bool anew = t->any && t->now.has_memory && s->has_memory && began_anew(&t->now, s);
    if (t->any && !t->connected)
        top_track_event(t, clock, anew ? "the server is back, started anew" : "the server is back");
    else if (anew) top_track_event(t, clock, "the server was started anew");
    if (t->any && !anew) note_changes(t, s, clock);
    if (anew || !s->has_memory) t->tokens_per_s = t->requests_per_s = -1;
    else if (t->any && t->connected && t->now.has_memory) note_speeds(t, s, now_ms);
    t->history[t->n_history++ % TOP_HISTORY] =
        (top_sample){(double)s->used_bytes, t->tokens_per_s > 0 ? t->tokens_per_s : 0};
    t->now = *s;
    t->now_ms = now_ms;
    t->any = t->connected = true;
    t->trouble[0] = 0;
}

void top_track_trouble(top_track *t, const char *why, const char *clock) {
    if (t->connected) top_track_event(t, clock, "%s", why);
    snprintf(t->trouble, sizeof t->trouble, "%s", why);
    str_make_printable(t->trouble);
    t->connected = false;
    t->tokens_per_s = t->requests_per_s = -1;
}
