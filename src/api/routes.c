/* Which handler a request is for, on which thread, and in whose words it is refused before it has one. */
#include <stdio.h>
#include <string.h>

#include "api/admin/admin.h"
#include "api/anthropic/anthropic.h"
#include "api/core/doors.h"
#include "api/native/native.h"
#include "api/ollama/ollama.h"
#include "api/openai/openai.h"
#include "base/check.h"

/* OpenAI's list and Anthropic's share a path. */
static bool is_anthropic(const http_request *r) { return http_header(r, "anthropic-version").len > 0; }

static void models_list(api *a, http_request *r) { is_anthropic(r) ? anthropic_models(a, r) : openai_models(a, r); }

/* /v1/models/ID, /models/ID: names may hold slashes. */
static void models_one(api *a, http_request *r) {
    str path = http_path(r), prefix = str_starts(path, STR("/v1")) ? STR("/v1/models/") : STR("/models/");
    str name = str_from(path, prefix.len);
    is_anthropic(r) ? anthropic_model(a, r, name) : openai_model(a, r, name);
}

typedef struct route {
    const char *method, *path; /* one that ends in / stands for all that begin so, and go on */
    void (*handle)(api *a, http_request *r);
    bool while_loading, open; /* open: needs no key */
} route;

static const route routes[] = {
    {"POST", "/generate", native_generate, false, false},
    {"POST", "/generate-lite", native_generate, false, false},
    {"POST", "/fit", native_fit, false, false},
    {"POST", "/v1/chat/completions", openai_chat, false, false},
    {"POST", "/chat/completions", openai_chat, false, false},
    {"POST", "/v1/completions", openai_completions, false, false},
    {"POST", "/completions", openai_completions, false, false},
    {"POST", "/v1/responses", openai_responses, false, false},
    {"POST", "/responses", openai_responses, false, false},
    {"POST", "/v1/embeddings", openai_embeddings, false, false},
    {"POST", "/embeddings", openai_embeddings, false, false},
    {"GET", "/v1/models", models_list, false, false},
    {"GET", "/models", models_list, false, false},
    {"GET", "/v1/models/", models_one, false, false},
    {"GET", "/models/", models_one, false, false},
    {"POST", "/v1/messages", anthropic_messages, false, false},
    {"POST", "/v1/messages/count_tokens", anthropic_count, false, false},
    {"POST", "/api/chat", ollama_chat, false, false},
    {"POST", "/api/generate", ollama_generate, false, false},
    {"POST", "/api/embed", ollama_embed, false, false},
    {"POST", "/api/embeddings", ollama_embeddings, false, false},
    {"GET", "/api/version", ollama_version, true, false},
    {"GET", "/api/tags", ollama_tags, false, false},
    {"GET", "/api/ps", ollama_ps, false, false},
    {"POST", "/api/show", ollama_show, false, false},
    {"POST", "/api/pull", ollama_pull, false, false},
    {"POST", "/api/push", ollama_cannot, false, false},
    {"POST", "/api/create", ollama_cannot, false, false},
    {"POST", "/api/copy", ollama_cannot, false, false},
    {"DELETE", "/api/delete", ollama_cannot, false, false},
    {"POST", "/api/blobs/", ollama_cannot, false, false},
    {"GET", "/cache", cache_list, false, false},
    {"DELETE", "/cache", cache_clear, false, false},
    {"DELETE", "/cache/", cache_remove, false, false},
    {"POST", "/cleanup-memory", server_cleanup, false, false},
    {"GET", "/memory", server_memory, true, false},
    {"GET", "/memory/timeline", timeline_json, true, false},
    {"GET", "/memory/timeline.svg", timeline_svg, true, false},
    {"GET", "/memory/doctor", timeline_doctor, true, false},
    {"GET", "/health", server_health, true, true},
    {"GET", "/livez", server_live, true, true},
    {"GET", "/readyz", server_ready, true, true},
    {"GET", "/help", server_help, true, true},
    {"GET", "/", server_index, true, true},
};
enum { N_ROUTES = sizeof routes / sizeof *routes };

static bool leads_to(const route *way, str path) {
    str prefix = str_of(way->path);
    bool many = prefix.len > 1 && prefix.data[prefix.len - 1] == '/';
    return many ? path.len > prefix.len && str_starts(path, prefix) : str_eq(path, prefix);
}

/* HEAD goes with GET, and OPTIONS with everything. */
static void add_allowed(char *allowed, size_t size, const char *method) {
    size_t n = strlen(allowed);
    snprintf(allowed + n, size - n, "%s%s%s", n ? ", " : "", method, strcmp(method, "GET") ? "" : ", HEAD");
}

enum { ALLOWED_BYTES = 64 };

/* NULL when no route takes this method; allowed then lists those that the path takes. */
static const route *find_route(str method, str path, bool *open, char *allowed, size_t size) {
    const route *found = NULL;
    *open = str_is(method, "OPTIONS"); /* browsers ask without a key whether they may ask with one */
    allowed[0] = 0;
    for (size_t i = 0; i < N_ROUTES; i++) {
        if (!leads_to(&routes[i], path)) continue;
        *open |= routes[i].open;
        if (str_is(method, routes[i].method)) found = &routes[i];
        add_allowed(allowed, size, routes[i].method);
    }
    if (*allowed) add_allowed(allowed, size, "OPTIONS");
    return found;
}

uint32_t api_extra_fields(void *ctx, const http_request *r, http_field out[HTTP_EXTRA_FIELDS]) {
    char allowed[ALLOWED_BYTES];
    bool open;
    (void)find_route(http_method(r), http_path(r), &open, allowed, sizeof allowed);
    return doors_fields(&((const api *)ctx)->config, r, allowed, out);
}

const http_refusal *api_gate(void *ctx, const http_request *r) {
    char allowed[ALLOWED_BYTES];
    bool open;
    const http_refusal *why = doors_refuse(&((const api *)ctx)->config, r);
    if (why) return why;
    (void)find_route(http_method(r), http_path(r), &open, allowed, sizeof allowed);
    return open || api_find_caller(ctx, r) >= 0 ? NULL : api_refuse_key(r);
}

/* ---- refusals by path ---- */

static const dialect *dialect_of(const http_request *r) {
    static const char *const openai_paths[] = {"/v1/",        "/chat/completions", "/completions",
                                               "/embeddings", "/responses",        "/models"};
    str path = http_path(r);
    if (str_starts(path, STR("/v1/messages")) || (is_anthropic(r) && str_starts(path, STR("/v1/models"))))
        return &anthropic_dialect;
    if (str_starts(path, STR("/api/"))) return &ollama_dialect;
    for (size_t i = 0; i < sizeof openai_paths / sizeof *openai_paths; i++)
        if (str_starts(path, str_of(openai_paths[i]))) return &openai_dialect;
    return NULL;
}

int api_refusal_words(void *ctx, const http_request *r, const http_refusal *why, const char *id, buf *to) {
    const dialect *d = dialect_of(r);
    err e;
    (void)ctx;
    if (!d || d == &openai_dialect) {
        http_error_json(to, why->message, openai_error_type(why->status), NULL, why->code);
        return why->status;
    }
    err_set(&e, why->status == 429 ? ERR_BUSY : ERR_INVALID, "%s", why->message);
    int status = d->status ? d->status(&e, why->status) : why->status;
    d->error(&(answer_failure){&e, status, id}, to);
    return status;
}

static void refuse_by_path(api *a, http_request *r, const err *e) {
    const dialect *d = dialect_of(r);
    if (d)
        api_refuse(a, r, d, e);
    else
        api_refuse_plainly(a, r, e);
}

/* ---- handling ---- */

/* OPTIONS, of a browser or not: what there is to say is in the headers. */
static void answer_options(http_request *r, const char *allowed) {
    if (*allowed) http_set_header(r, "Allow", allowed);
    http_reply(r, 204, "", STR(""));
}

/* No model is meant, so no dialect may say that one was not found. */
static void refuse_path(api *a, http_request *r, const err *e) {
    const dialect *d = dialect_of(r);
    if (d && d != &openai_dialect) api_refuse(a, r, d, e);
    else api_refuse_plainly(a, r, e);
}

/* On the worker thread: the only one that uses what the api has for one body at a time (tokens, scratch, tenant,
 * the names of what was ignored). */
static void prepare(void *ctx, http_request *r) {
    api *a = ctx;
    char allowed[ALLOWED_BYTES];
    bool open;
    const route *way = find_route(http_method(r), http_path(r), &open, allowed, sizeof allowed);
    int caller = api_find_caller(a, r);
    a->tenant = caller > 0 ? (uint32_t)caller : 0;
    plat_pulse_attach(&a->preparing);
    plat_pulse_begin("prepare", http_request_id(r), 0);
    way->handle(a, r);
    plat_pulse_end();
}

/* Behind one that hangs nobody waits for his turn. */
static void hand_over(api *a, http_request *r) {
    err e;
    plat_pulse_view v;
    if (!watchdog_worker_stuck(a, &v)) {
        http_hand_over(r, prepare, a);
        return;
    }
    err_set(&e, ERR_BUSY, "the %s of another request hangs: only a restart of the server helps", v.what);
    refuse_by_path(a, r, &e);
}

void api_handle(void *ctx, http_request *r) {
    api *a = ctx;
    str method = http_method(r), path = http_path(r);
    char allowed[ALLOWED_BYTES];
    bool open;
    const route *way =
        find_route(str_is(method, "HEAD") ? STR("GET") : method, path, &open, allowed, sizeof allowed);
    CHECK(open || api_find_caller(a, r) >= 0); /* or the gate would not have let it in */
    err e;
    if (str_is(method, "OPTIONS") && (*allowed || str_is(path, "*") || doors_is_preflight(r))) {
        answer_options(r, allowed);
        return;
    }
    if (way && (way->while_loading || atomic_load(&a->state) != API_LOADING)) {
        if (!strcmp(way->method, "GET")) way->handle(a, r);
        else hand_over(a, r);
        return;
    }
    if (way) {
        err_set(&e, ERR_BUSY, "the model is loading");
    } else if (*allowed) {
        http_set_header(r, "Allow", allowed);
        err_set(&e, ERR_USAGE, "%.*s takes %s, not %.*s", (int)(path.len < 128 ? path.len : 128), path.data,
                allowed, STR_ARG(method));
    } else {
        err_set(&e, ERR_NOT_FOUND, "nothing at %.*s; GET /help lists what there is",
                (int)(path.len < 128 ? path.len : 128), path.data);
        refuse_path(a, r, &e);
        return;
    }
    refuse_by_path(a, r, &e);
}
