/* api/ — dialects over one neutral request, and the server's own pages (health, memory).
 *
 * Owns the table of routes, who may use them (API keys), parsing of bodies (each field once, by table, with its type
 * and range checked), the contexts of running answers, and their wording. Callers: http/ (the handler), cli/.
 * Knows no tensors, and of KV only what requests may say and readings show; dialects do not know each other.
 */
#ifndef API_API_H
#define API_API_H

#include "engine/engine.h"
#include "http/http.h"
#include "sched/sched.h"

typedef struct api api;

typedef struct api_config {
    const char *model_alias; /* names beside the model's own, separated by commas; NULL: none */
    bool any_model;          /* other names are as good */
    uint32_t max_active;     /* answers in work at once: the http slots */
    size_t body_limit_bytes;
    uint32_t default_max_tokens; /* UINT32_MAX: to the end of the context */
    uint32_t most_answers;       /* of one request: what the queue can hold; at most 16 */
    uint32_t keep_alive_ms;  /* a stream that is silent for so long says so; 0: never */
    uint32_t asked_context;      /* 0: nobody asked, the plan chose */
    uint32_t window, keep;       /* of requests that name none; 0: no window */
    size_t reply_limit_bytes;    /* of one answer that is not generated text; 0: none */
    const char *keys;            /* who may ask, separated by commas; NULL: everyone */
    const char *host;            /* as listened on: a name that counts as local (doors.h) */
    const char *allowed_hosts, *cors_origins; /* lists, separated by commas; NULL: none */
    size_t cache_bytes;          /* the limits of what is remembered, for GET /cache; 0: what the pool has */
    uint32_t cache_entries;
} api_config;

/* Each key is a tenant (sched_config.n_tenants): its requests share fairly with others', and no pages with them. */
uint32_t api_count_keys(const char *keys);

bool api_check(const api_config *c, err *e); /* ERR_USAGE: an option's value is none; api_start asks, too */
size_t api_plan_bytes(const api_config *c);
/* Answers at once (health: loading; everything else 503) until api_ready. */
api *api_start(const api_config *c, mem_ledger *l, err *e);
bool api_ready(api *a, engine *en, sched *s, http_server *http, err *e);
void api_draining(api *a);
void api_unwatch(api *a); /* before the scheduler goes: the watchdog reads what it is at */
void api_stop(api *a); /* after the http server has stopped: no answer is running */

void api_handle(void *api, http_request *r); /* an http_handler; with api_gate before it */
/* http_config.extra_fields: CORS. */
uint32_t api_extra_fields(void *api, const http_request *r, http_field out[HTTP_EXTRA_FIELDS]);
/* http_config.gate: names in Host, origins, API keys. */
const http_refusal *api_gate(void *api, const http_request *r);
/* http_config.words: refusals before the handler, as the dialect of their path says them. */
int api_refusal_words(void *api, const http_request *r, const http_refusal *why, const char *id, buf *to);
/* http_config.busy_fields: Retry-After from the backlog, and how memory stands. */
uint32_t api_busy_fields(void *api, uint64_t need_bytes, http_field out[HTTP_BUSY_FIELDS]);

/* Takes a sample of the books for the timeline; one a second, however often it is called. By one thread. */
void api_sample(api *a);
/* Wakes streams that have been silent for long, to say that they are alive. As often. */
void api_keep_alive(api *a);

#endif
