/* What is remembered of earlier requests: GET /cache, DELETE /cache, DELETE /cache/ID. */
#include "api/admin/admin.h"
#include "api/core/metrics.h"

enum { PAGE_LIMIT_BYTES = 256 << 20, ID_DIGITS = 20, AT_ONCE = 64 };

static void put_seconds(json_writer *w, const char *key, uint64_t ms) {
    json_put_fixed(w, key, (double)ms / 1000, 3);
}

static void put_entry(const kv_entry_view *entry, json_writer *w) {
    json_object_start(w);
    json_put_uint(w, "id", entry->id);
    json_put_uint(w, "tokens", entry->tokens);
    json_put_uint(w, "bytes", entry->bytes);
    put_seconds(w, "age_s", entry->age_ms);
    put_seconds(w, "idle_s", entry->idle_ms);
    json_put_uint(w, "hits", entry->hits);
    json_put_bool(w, "pinned", entry->pinned);
    json_put_string(w, "type", str_of(compute_kv_name(entry->type)));
    if (entry->ttl_ms && entry->ttl_ms != UINT64_MAX) put_seconds(w, "ttl_s", entry->ttl_ms);
    else json_key(w, "ttl_s"), json_null(w);
    json_put_uint(w, "spilled_bytes", entry->spilled_bytes);
    json_object_end(w);
}

/* Entries are read some at a time, so that the engine does not wait for long ones. */
static void put_entries(api *a, json_writer *w) {
    kv_entry_view some[AT_ONCE];
    json_array_start(w);
    for (uint32_t at = 0, n; (n = sched_cache_entries(a->sched, &at, some, AT_ONCE)) > 0;)
        for (uint32_t i = 0; i < n; i++) put_entry(&some[i], w);
    json_array_end(w);
}

void cache_list(api *a, http_request *r) {
    buf body;
    json_writer w;
    metrics_snapshot s;
    buf_init(&body, &a->heap.alloc, PAGE_LIMIT_BYTES);
    json_begin(&w, &body);
    json_object_start(&w);
    json_key(&w, "entries");
    put_entries(a, &w);
    metrics_take(a, METRICS_ENGINE, &s);
    json_key(&w, "totals");
    metrics_section_json("cache", &s, &w);
    json_key(&w, "spill");
    metrics_section_json("spill", &s, &w);
    json_object_end(&w);
    err e;
    if (body.failed) {
        err_set_memory(&e, body.len, mem_ledger_available(a->ledger), "no memory to list %u entries", s.at.kv.entries);
        api_refuse_plainly(a, r, &e);
    } else {
        api_reply_json(r, 200, &body);
    }
    buf_free(&body);
}

static void reply_removed(http_request *r, kv_removed removed) {
    API_PAGE(body, 256);
    json_writer w;
    json_begin(&w, &body);
    json_object_start(&w);
    json_put_uint(&w, "removed", removed.entries);
    json_put_uint(&w, "freed_bytes", removed.freed_bytes);
    json_object_end(&w);
    api_reply_json(r, 200, &body);
}

void cache_clear(api *a, http_request *r) { reply_removed(r, sched_cache_clear(a->sched)); }

/* Digits only; 0 (no entry's id) for anything else. */
static uint64_t parse_id(str s) {
    uint64_t id = 0;
    if (s.len == 0 || s.len > ID_DIGITS) return 0;
    for (size_t i = 0; i < s.len; i++) {
        if (s.data[i] < '0' || s.data[i] > '9') return 0;
        if (__builtin_mul_overflow(id, 10u, &id) || __builtin_add_overflow(id, (uint64_t)(s.data[i] - '0'), &id))
            return 0;
    }
    return id;
}

void cache_remove(api *a, http_request *r) {
    str path = http_path(r), name = {path.data + 7, path.len - 7}; /* after "/cache/" */
    kv_removed removed;
    uint64_t id = parse_id(name);
    err e;
    if (id && sched_cache_remove(a->sched, id, &removed)) {
        reply_removed(r, removed);
        return;
    }
    err_set(&e, ERR_NOT_FOUND, "no cache entry %.*s; GET /cache lists them", (int)(name.len < 32 ? name.len : 32),
            name.data);
    api_refuse_plainly(a, r, &e);
}
