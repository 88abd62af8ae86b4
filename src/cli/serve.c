/* plimsoll serve: bring up, answer, drain. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"
#include "cli/server_parts.h"
#include "mem/watch.h"
#include "plat/address.h"
#include "plat/debug.h"

enum { LAST_BYTES_MS = 400 };
enum { BODY_SLOT_BYTES = 256 * 1024 }; /* the pool is cut into these; one more leaves room for rounding */

server_parts server_parts_of(const cli_options *o) {
    server_parts p = {.engine = cli_engine_config(o, o->parallel)};
    p.engine.cache_entries = o->no_prompt_cache ? 0 : o->cache_entries;
    p.engine.cache_bytes = o->cache_bytes;
    p.engine.grammar_bytes = o->grammar_bytes;
    p.engine.cache_ttl_ms = o->cache_ttl_s * 1000ull;
    p.engine.spill_path = o->spill_file;
    p.engine.spill_bytes = o->spill_bytes;
    sched_config_default(&p.sched);
    p.sched.n_tenants = api_count_keys(o->api_keys);
    p.sched.max_concurrent = o->max_concurrent && o->max_concurrent < o->parallel ? o->max_concurrent : o->parallel;
    p.sched.max_queue = o->max_queue;
    p.sched.queue_timeout_ms = o->queue_timeout_s * 1000;
    p.sched.cleanup_after_request = o->cleanup_after_request;
    http_config_default(&p.http);
    p.http.busy_fields = api_busy_fields;
    p.http.gate = api_gate;
    p.http.words = api_refusal_words;
    p.http.extra_fields = api_extra_fields;
    if (o->host) p.http.host = o->host;
    p.http.port = (uint16_t)o->port;
    p.http.max_connections = o->max_connections > o->max_active ? o->max_connections : o->max_active;
    p.http.max_active = o->max_active;
    p.http.wait_timeout_ms = o->queue_timeout_s * 1000;
    p.http.body_limit_bytes = o->body_limit_bytes;
    if (o->body_pool_bytes) p.http.body_pool_bytes = o->body_pool_bytes;
    if (p.http.body_pool_bytes < o->body_limit_bytes + BODY_SLOT_BYTES)
        p.http.body_pool_bytes = o->body_limit_bytes + BODY_SLOT_BYTES;
    uint32_t predict = o->predict < 0 ? UINT32_MAX : o->predict ? (uint32_t)o->predict : 1;
    p.api = (api_config){.model_alias = o->alias,
                         .any_model = o->any_model,
                         .max_active = o->max_active,
                         .body_limit_bytes = o->body_limit_bytes,
                         .default_max_tokens = predict,
                         .most_answers = p.sched.max_concurrent + p.sched.max_queue,
                         .keep_alive_ms = o->keep_alive_s * 1000,
                         .asked_context = o->context,
                         .window = o->window,
                         .keep = o->keep,
                         .reply_limit_bytes = p.http.body_pool_bytes / 2,
                         .keys = o->api_keys,
                         .host = o->host,
                         .allowed_hosts = o->allowed_hosts,
                         .cors_origins = o->cors_origins,
                         .cache_bytes = p.engine.cache_bytes,
                         .cache_entries = p.engine.cache_entries};
    return p;
}

/* Of as many requests as may be there, and of one that is being tokenized. */
static uint64_t queue_bytes(const void *ctx, uint32_t n_context) {
    const server_parts *p = ctx;
    return sched_plan_bytes(&p->sched, n_context) + n_context * sizeof(int32_t);
}

static uint64_t beside_pool(const engine_plan *plan) {
    return plan->rows.total_bytes - (uint64_t)plan->n_pages * plan->page_bytes;
}

/* The line must leave room for requests above the level that refuses them. */
static bool check_levels(const cli_options *o, const engine_plan *plan, err *e) {
    uint64_t line = plan->rows.line_bytes, room = line - beside_pool(plan);
    mem_levels levels;
    if (!mem_levels_init(&levels, line, o->level_bytes, e)) return false;
    uint64_t critical = o->level_bytes[2];
    char asked[BYTES_TEXT_BYTES], left[BYTES_TEXT_BYTES];
    if (critical < room) return true;
    return err_set(e, ERR_USAGE,
                   "--level-critical is %s; the plan leaves %s under the line: nothing would be admitted",
                   bytes_text(critical, asked), bytes_text(room, left));
}

bool server_parts_plan(const server_parts *p, const cli_options *o, engine *en, engine_plan *plan, err *e) {
    mem_plan_set(&plan->rows, MEM_HTTP, http_server_plan_bytes(&p->http) + api_plan_bytes(&p->api));
    plan->queue_bytes = queue_bytes;
    plan->queue_ctx = p;
    return engine_plan_make(en, plan, e) && cli_check_window(o, plan->n_context, e) && check_levels(o, plan, e);
}

typedef struct server {
    const cli_options *options;
    server_parts parts;
    mem_ledger *ledger;
    api *api;
    http_server *http;
    engine *en;
    engine_plan plan;
    sched *sched;
    mem_watch *watch;
} server;

/* ---- when memory is short ---- */

static void reclaimable(void *ctx, mem_reclaimable *out) {
    sched_memory m;
    sched_memory_read(((server *)ctx)->sched, &m);
    *out = (mem_reclaimable){m.held_bytes, m.reclaimable_bytes, m.requests, m.ended};
}

static void pass_on_level(void *ctx, mem_level level, bool hold, uint64_t room_bytes) {
    sched_set_pressure(((server *)ctx)->sched, level, hold, room_bytes);
    api_sample(((server *)ctx)->api);
    api_keep_alive(((server *)ctx)->api);
}

static uint64_t trim(void *ctx, uint64_t wanted_bytes) {
    (void)wanted_bytes;
    return sched_trim(((server *)ctx)->sched);
}

static uint64_t expire(void *ctx, uint64_t wanted_bytes) {
    (void)wanted_bytes;
    return sched_expire(((server *)ctx)->sched);
}

static uint64_t evict(void *ctx, uint64_t wanted_bytes) {
    return sched_shrink_cache(((server *)ctx)->sched, wanted_bytes);
}

static uint64_t unpin(void *ctx, uint64_t wanted_bytes) {
    (void)wanted_bytes;
    return sched_unpin_one(((server *)ctx)->sched);
}

/* What comes after these (a smaller pool, prompts that wait, refusals, preemption) the scheduler does by the level. */
static const mem_rung ladder[] = {
    {"free pages", MEM_SAFE, trim},
    {"what had outlived its time", MEM_CAUTION, expire},
    {"the prompt cache", MEM_SAFE, evict},
    {"a pinned prompt", MEM_EMERGENCY, unpin},
};

/* The pool is what gives way to a line that has been lowered. */
static void pass_on_line(void *ctx, uint64_t line_bytes) {
    const server *s = ctx;
    uint64_t beside = beside_pool(&s->plan);
    sched_limit_pool(s->sched, line_bytes > beside ? line_bytes - beside : 0);
}

static bool watch_memory(server *s, err *e) {
    mem_watch_config c = {.ledger = s->ledger,
                          .planned_bytes = beside_pool(&s->plan),
                          .ctx = s,
                          .reclaimable = reclaimable,
                          .level = pass_on_level,
                          .line = pass_on_line,
                          .rungs = ladder,
                          .n_rungs = sizeof ladder / sizeof *ladder};
    memcpy(c.threshold_bytes, s->options->level_bytes, sizeof c.threshold_bytes);
    s->watch = mem_watch_start(&c, e);
    return s->watch != NULL;
}

/* Before anything is taken or the port opened: a file that is no model, or a line too low for it, is refused whole. */
static bool plan(server *s, err *e) {
    const char *path = s->parts.engine.model_path;
    if (!cli_chat_template(s->options, &s->parts.engine.chat_template, e)) return false;
    s->en = engine_prepare(&s->parts.engine, s->ledger, e);
    if (!s->en) return false;
    cli_plan_begin(&s->plan, s->ledger);
    if (!server_parts_plan(&s->parts, s->options, s->en, &s->plan, e)) return false;
    if (path) log_info("serve", "model: %s, from %s", engine_model_name(s->en), path);
    else log_info("serve", "model: %s, the built-in toy: no file was given", engine_model_name(s->en));
    cli_print_plan(s->en, &s->plan, stderr);
    char words[160];
    if (cli_kv_costs_more(&s->plan, s->parts.engine.kv_type, words, sizeof words)) log_warn("serve", "%s", words);
    return true;
}

static bool start(server *s, err *e) {
    if (!plan(s, e)) return false;
    s->api = api_start(&s->parts.api, s->ledger, e);
    if (!s->api) return false;
    s->http = http_server_start(&s->parts.http, s->ledger, api_handle, s->api, e);
    if (!s->http || !engine_load(s->en, &s->plan, NULL, NULL, e)) return false;
    s->sched = sched_start(&s->parts.sched, s->en, s->ledger, e);
    if (!s->sched || !watch_memory(s, e)) return false;
    server_will_wait();
    return api_ready(s->api, s->en, s->sched, s->http, e);
}

static void stop(server *s) {
    mem_watch_stop(s->watch);
    if (s->http) http_server_stop(s->http); /* every answer is gone now */
    api_unwatch(s->api); /* it reads what the scheduler is at */
    sched_stop(s->sched);
    server_has_drained();
    api_stop(s->api);
    engine_free(s->en);
}

static void say_ready(const server *s) {
    char text[PLAT_URL_HOST_BYTES];
    const char *host = plat_url_host(s->parts.http.host, text);
    uint16_t port = http_server_port(s->http);
    log_info("serve", "ready: %s on http://%s:%u, kernels %s, %d threads", engine_model_name(s->en), host, port,
             engine_kernels(s->en), engine_threads(s->en));
    fprintf(stderr,
            "\nTry:  curl -N http://%s:%u/generate -d '{\"prompt\": \"Once upon a time\", \"stream\": true}'\n"
            "Base URL of OpenAI clients: http://%s:%u/v1; of Anthropic's and Ollama's: http://%s:%u\n\n",
            host, port, host, port, host, port);
}

static void drain(server *s, uint32_t timeout_ms) {
    api_draining(s->api);
    sched_drain(s->sched);
    log_info("serve", "draining: new requests are refused, those accepted go on");
    if (!sched_wait_idle(s->sched, timeout_ms))
        log_warn("serve", "requests still running after %u ms are cancelled", timeout_ms);
    http_server_drain(s->http);
    uint64_t begin_ns = clock_now_ns();
    http_counts counts = {.active = 1};
    for (int i = 0; counts.active && i < LAST_BYTES_MS / 10; usleep(10000)) { /* of the last answers */
        http_server_counts(s->http, &counts);
        bool refusing = counts.worked_for && clock_ms_since(begin_ns) < timeout_ms; /* that takes its turn, too */
        i += !refusing;
    }
}

static void check_books(mem_ledger *l) {
    mem_ledger_view v;
    mem_ledger_read(l, &v);
    for (mem_account a = 0; a < MEM_ACCOUNT_COUNT; a++)
        if (a != MEM_RUNTIME && v.rows[a].now_bytes)
            log_error("serve", "%llu bytes are still in account %s", (unsigned long long)v.rows[a].now_bytes,
                      mem_account_name(a));
}

/* How often drafts pay depends on the machine and what else runs on it: tests make them pay always. */
static bool read_debug_speculate(sched_config *c, err *e) {
    const char *how;
    if (!plat_debug_read("PLIMSOLL_DEBUG_SPECULATE", "guess tokens that do not pay", &how, e)) return false;
    c->speculate_always = how && !strcmp(how, "always");
    return !how || c->speculate_always || err_set(e, ERR_USAGE, "PLIMSOLL_DEBUG_SPECULATE is always");
}

int cli_serve(const cli_options *o, mem_ledger *l) {
    err e = {0};
    if (!plat_pulse_read_debug_hang(&e) || !server_take_signals(o->drain_timeout_s * 1000, &e)) return cli_fail(&e);
    if (!cli_set_line(o, l, true, &e)) return cli_fail(&e);
    if (o->engine_kind) return server_echo(o, l);
    server s = {.options = o, .parts = server_parts_of(o), .ledger = l};
    bool ok = read_debug_speculate(&s.parts.sched, &e) && start(&s, &e);
    if (ok) {
        say_ready(&s);
        server_wait_for_signal();
        drain(&s, o->drain_timeout_s * 1000);
    }
    stop(&s);
    check_books(l);
    if (ok) log_info("serve", "stopped");
    return ok ? 0 : cli_fail(&e);
}
