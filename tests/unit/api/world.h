/* A whole server in this process: the built-in model, a scheduler, the api, a listening socket, and a client
 * of it. */
#ifndef TESTS_UNIT_API_WORLD_H
#define TESTS_UNIT_API_WORLD_H

#include <stdio.h>

#include "../http/client.h"
#include "api/api.h"

enum { CONTEXT = 128 };

typedef struct world {
    mem_ledger ledger;
    engine *en;
    engine_plan plan;
    sched *sched;
    api *api;
    http_server *http;
    client c;
} world;

typedef struct world_config {
    uint32_t n_context, entries, max_queue, most_answers, queue_timeout_ms;
    kv_type type;
    const char *keys;
    size_t body_limit_bytes;
} world_config;

static inline void start_engine(world *w, const world_config *c, err *e) {
    engine_config config;
    engine_config_default(&config);
    config.n_context = c->n_context ? c->n_context : CONTEXT, config.n_sessions = 1, config.n_batch = CONTEXT,
    config.grammar_bytes = 4 << 20, config.n_threads = 1;
    config.cache_entries = c->entries, config.kv_type = c->type;
    w->plan.rows.line_bytes = UINT64_MAX;
    w->en = engine_prepare(&config, &w->ledger, e);
    assert_ok(w->en && engine_plan_make(w->en, &w->plan, e) && engine_load(w->en, &w->plan, NULL, NULL, e),
              *e);
}

static inline void start(world *w, world_config c) {
    err e = {0};
    memset(w, 0, sizeof *w);
    mem_ledger_init(&w->ledger, UINT64_MAX);
    start_engine(w, &c, &e);
    sched_config sched_c;
    sched_config_default(&sched_c);
    sched_c.max_concurrent = 1, sched_c.n_tenants = api_count_keys(c.keys);
    sched_c.queue_timeout_ms = c.queue_timeout_ms;
    sched_c.max_queue = c.max_queue ? c.max_queue : 32;
    assert_ok((w->sched = sched_start(&sched_c, w->en, &w->ledger, &e)), e);
    api_config api_c = {.max_active = 8, .default_max_tokens = 4, .keys = c.keys};
    api_c.body_limit_bytes = c.body_limit_bytes ? c.body_limit_bytes : 64 * 1024;
    api_c.most_answers = c.most_answers ? c.most_answers : 16, api_c.cache_entries = c.entries;
    assert_ok((w->api = api_start(&api_c, &w->ledger, &e)), e);
    http_config http_c;
    http_config_default(&http_c);
    http_c.port = 0, http_c.gate = api_gate, http_c.words = api_refusal_words,
    http_c.busy_fields = api_busy_fields;
    assert_ok((w->http = http_server_start(&http_c, &w->ledger, api_handle, w->api, &e)), e);
    assert_ok(api_ready(w->api, w->en, w->sched, w->http, &e), e);
    w->c = client_open(http_server_port(w->http));
}

static inline void stop(world *w) {
    client_close(&w->c);
    http_server_stop(w->http);
    sched_stop(w->sched);
    api_stop(w->api);
    engine_free(w->en);
    mem_ledger_view v;
    mem_ledger_read(&w->ledger, &v);
    for (mem_account i = 0; i < MEM_ACCOUNT_COUNT; i++)
        if (i != MEM_RUNTIME && v.rows[i].now_bytes) /* the page /memory measures that one anew */
            fail_msg("%s: %zu bytes are left", mem_account_name(i), (size_t)v.rows[i].now_bytes);
}

/* The answer, which the caller frees by its body. */
static inline answer_text request(world *w, const char *method, const char *path, const char *headers,
                                  const char *body) {
    char text[4096];
    answer_text a;
    snprintf(text, sizeof text, "%s %s HTTP/1.1\r\nHost: localhost\r\n%sContent-Length: %zu\r\n\r\n%s", method, path,
             headers, strlen(body), body);
    assert_true(client_text(&w->c, text));
    a = read_answer(&w->c, false);
    assert_false(a.cut);
    return a;
}

static inline uint64_t queue_bytes(world *w) {
    mem_ledger_view v;
    mem_ledger_read(&w->ledger, &v);
    return v.rows[MEM_QUEUE].now_bytes;
}

/* A client may have its answer a moment before the buffers it was worded in are given back. */
static inline void wait_for_queue_bytes(world *w, uint64_t bytes) {
    for (int i = 0; i < 10000 && queue_bytes(w) != bytes; i++) usleep(1000);
    assert_true(queue_bytes(w) == bytes);
}

/* What is held once nothing has changed for a while. */
static inline uint64_t settled_queue_bytes(world *w) {
    uint64_t bytes = queue_bytes(w);
    for (int same = 0; same < 50; usleep(1000)) {
        uint64_t now = queue_bytes(w);
        same = now == bytes ? same + 1 : 0;
        bytes = now;
    }
    return bytes;
}

#endif
