/* The server's own pages: is it up, what does it hold. */
#include <stdio.h>
#include <string.h>

#include "api/admin/admin.h"
#include "api/core/metrics.h"
#include "base/clock.h"
#include "mem/watch.h"

enum { PAGE_BYTES = 16 * 1024 };

static const char *status_name(api *a) {
    plat_pulse_view unused;
    if (watchdog_stuck(a, &unused)) return "stuck";
    switch (atomic_load(&a->state)) {
    case API_LOADING: return "loading";
    case API_DRAINING: return "draining";
    default: return "ok";
    }
}

static bool is_ready(api *a) {
    plat_pulse_view unused;
    return atomic_load(&a->state) == API_READY && !watchdog_stuck(a, &unused);
}

static void say_later(api *a, http_request *r) { api_put_error_headers(a, r, 503, &(err){.code = ERR_BUSY}); }

void server_health(api *a, http_request *r) {
    API_PAGE(body, PAGE_BYTES);
    json_writer w;
    char stamp[CLOCK_STAMP_BYTES];
    metrics_snapshot s;
    bool ready = is_ready(a);
    metrics_take(a, METRICS_BOOKS | METRICS_JOBS, &s);
    json_begin(&w, &body);
    json_object_start(&w);
    json_put_string(&w, "status", str_of(status_name(a)));
    watchdog_put(a, &w);
    json_put_string(&w, "timestamp", str_of(clock_stamp(clock_wall_ms(), stamp)));
    metrics_view_json(metrics_health, metrics_health_count, &s, &w);
    json_put_string(&w, "model", str_of(api_model_name(a)));
    json_key(&w, "memory");
    json_object_start(&w);
    metrics_view_json(metrics_health_memory, metrics_health_memory_count, &s, &w);
    json_object_end(&w);
    api_put_notes(a, &w);
    json_put_bool(&w, "gpu_available", false);
    json_key(&w, "gpu_memory");
    json_null(&w);
    json_object_end(&w);
    if (!ready) say_later(a, r);
    api_reply_json(r, ready ? 200 : 503, &body);
}

void server_live(api *a, http_request *r) {
    (void)a;
    http_reply(r, 200, "text/plain", STR("ok\n"));
}

void server_ready(api *a, http_request *r) {
    bool ready = is_ready(a);
    if (!ready) say_later(a, r);
    http_reply(r, ready ? 200 : 503, "text/plain", ready ? STR("ready\n") : STR("not ready\n"));
}

void server_memory(api *a, http_request *r) {
    API_PAGE(body, PAGE_BYTES);
    json_writer w;
    metrics_snapshot s;
    metrics_take(a, METRICS_ALL, &s);
    json_begin(&w, &body);
    metrics_page_json(&s, &w);
    api_reply_json(r, 200, &body);
}

static void put_cleanup_side(json_writer *w, const char *key, const mem_books *b, const sched_memory *m) {
    json_key(w, key);
    json_object_start(w);
    json_put_string(w, "level", str_of(mem_level_name(b->level)));
    json_put_uint(w, "used_bytes", b->kernel_bytes);
    json_put_uint(w, "available_bytes", b->available_bytes);
    json_put_uint(w, "kv_bytes", m->held_bytes);
    json_put_uint(w, "reclaimable_bytes", m->reclaimable_bytes);
    json_put_uint(w, "heap_bytes", b->heap.arena_bytes);
    json_object_end(w);
}

/* What nobody needs now goes back to the kernel: remembered prompts that are not pinned, free pages, the heap's free
 * end. Requests in work are not touched. */
void server_cleanup(api *a, http_request *r) {
    API_PAGE(body, PAGE_BYTES);
    json_writer w;
    mem_books before, after;
    sched_memory held = {0}, left = {0};
    uint64_t freed = 0;
    mem_books_read(a->ledger, &before);
    if (a->sched) { /* none where nothing is generated */
        sched_memory_read(a->sched, &held);
        freed = sched_trim(a->sched);
        freed += sched_shrink_cache(a->sched, UINT64_MAX);
        sched_memory_read(a->sched, &left);
    }
    freed += mem_trim_heap();
    mem_books_read(a->ledger, &after);
    char text[BYTES_TEXT_BYTES], message[96];
    snprintf(message, sizeof message, "%s given back%s", bytes_text(freed, text), freed ? "" : ": nothing was free");
    json_begin(&w, &body);
    json_object_start(&w);
    json_put_string(&w, "status", STR("success"));
    json_put_string(&w, "message", str_of(message));
    json_put_uint(&w, "freed_bytes", freed);
    put_cleanup_side(&w, "before", &before, &held);
    put_cleanup_side(&w, "after", &after, &left);
    json_put_uint(&w, "gpu_memory_allocated_mb", 0);
    json_put_uint(&w, "gpu_memory_reserved_mb", 0);
    json_object_end(&w);
    api_reply_json(r, 200, &body);
}

void server_help(api *a, http_request *r) {
    API_PAGE(body, PAGE_BYTES);
    buf_printf(&body,
               "Plimsoll " PLIMSOLL_VERSION " · %s · %s\n\n"
               "POST /generate        {\"prompt\": …, \"max_tokens\", \"temperature\", \"top_k\", \"top_p\", "
               "\"min_p\", \"seed\", \"stop\", \"stream\", \"n\", \"priority\", \"kv_type\", \"window\", \"keep\", "
               "\"cache\", …}\n"
               "POST /v1/chat/completions  /v1/completions  /v1/responses  /v1/embeddings   as OpenAI has them\n"
               "GET  /v1/models\n"
               "POST /v1/messages  /v1/messages/count_tokens                               as Anthropic has them\n"
               "POST /api/chat  /api/generate  /api/embed  /api/show, GET /api/tags …      as Ollama has them\n"
               "POST /fit             the same body as /generate: would it fit, and now? Nothing is run\n"
               "GET  /cache           the prompts that are remembered\n"
               "DELETE /cache[/ID]    forget all of them, or one\n"
               "GET  /health          status, jobs, memory\n"
               "GET  /livez  /readyz  for balancers\n"
               "GET  /memory          where every byte is\n"
               "GET  /memory/timeline /memory/timeline.svg  where it was (?last=SECONDS)\n"
               "GET  /memory/doctor   what that means, in words (Accept: text/plain) or JSON\n"
               "POST /cleanup-memory  give back now what nobody needs\n",
               api_model_name(a), status_name(a));
    http_reply(r, 200, "text/plain; charset=utf-8", buf_str(&body));
}

/* Ollama's clients look here whether it is up; browsers say that they take HTML. */
void server_index(api *a, http_request *r) {
    str accept = http_header(r, "Accept");
    if (accept.len && memmem(accept.data, accept.len, "text/html", 9)) server_help(a, r);
    else http_reply(r, 200, "text/plain; charset=utf-8", STR("Ollama is running"));
}
