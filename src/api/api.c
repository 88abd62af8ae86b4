/* Start and stop, routes, errors, prompts. */
#include "api/api.h"

#include <stdio.h>
#include <string.h>

#include "api/chat.h"
#include "api/doors.h"
#include "base/check.h"
#include "base/clock.h"
#include "mem/books.h"

enum { SCRATCH_KEEP_BYTES = 1 << 20 };

/* ---- start and stop ---- */

static api *layout(const api_config *c, mem_arena *a, answer **answers, mem_timeline **timeline) {
    api *self = mem_arena_take(a, sizeof *self, 64);
    *timeline = mem_timeline_lay_out(a);
    *answers = mem_arena_take(a, c->max_active * sizeof **answers, 64);
    char *pending = mem_arena_take(a, (size_t)c->max_active * ANSWER_PENDING_BYTES, 64);
    for (uint32_t i = 0; *answers && i < c->max_active; i++)
        (*answers)[i] = (answer){.record_bytes = pending + (size_t)i * ANSWER_PENDING_BYTES};
    return self;
}

bool api_check(const api_config *c, err *e) { return doors_check(c, e); }

size_t api_plan_bytes(const api_config *c) {
    mem_arena a;
    answer *answers;
    mem_timeline *timeline;
    mem_arena_measure(&a);
    layout(c, &a, &answers, &timeline);
    return plat_vm_round(a.used);
}

api *api_start(const api_config *c, mem_ledger *l, err *e) {
    mem_arena arena = {0};
    if (!api_check(c, e) || !mem_arena_init(&arena, l, MEM_HTTP, api_plan_bytes(c), false, e)) return NULL;
    answer *answers;
    mem_timeline *timeline;
    api *a = layout(c, &arena, &answers, &timeline);
    *a = (api){.config = *c, .ledger = l, .arena = arena, .answers = answers, .timeline = timeline};
    if (!timeline_read_debug_leak(a, e)) return mem_arena_free(&arena), NULL;
    mem_timeline_init(timeline);
    mem_heap_init(&a->heap, l, MEM_QUEUE);
    for (uint32_t i = 0; i < c->max_active; i++) {
        pthread_mutex_init(&answers[i].lock, NULL);
        answers[i].a = a;
    }
    return a;
}

/* The same as long as a seed gives the same answer: of the version, the model and what it is asked with. */
static void make_fingerprint(api *a) {
    const uint64_t *content = engine_about_file(a->en)->identity;
    char text[256];
    snprintf(text, sizeof text, "%s %016llx%016llx %016llx %d %u %u", PLIMSOLL_VERSION, (unsigned long long)content[0],
             (unsigned long long)content[1], (unsigned long long)str_hash(engine_chat_template(a->en)),
             (int)engine_terms(a->en).type, a->config.window, a->config.keep);
    snprintf(a->fingerprint, sizeof a->fingerprint, "fp_%010llx", (unsigned long long)(str_hash(str_of(text)) >> 24));
}

bool api_ready(api *a, engine *en, sched *s, http_server *http, err *e) {
    a->tokens = mem_heap_take(&a->heap, engine_context(en) * sizeof *a->tokens, e);
    if (!a->tokens) return false;
    memset(a->tokens, 0, engine_context(en) * sizeof *a->tokens); /* present now, as the ledger says */
    a->en = en;
    a->sched = s;
    a->http = http;
    a->ready_ms = clock_wall_ms();
    make_fingerprint(a);
    if (!chat_model_begin(a, e) || !watchdog_start(a, e)) return false;
    api_log_notes(a);
    atomic_store(&a->state, API_READY);
    return true;
}

void api_draining(api *a) { atomic_store(&a->state, API_DRAINING); }

void api_unwatch(api *a) {
    if (a) watchdog_stop(a);
}

void api_stop(api *a) {
    if (!a) return;
    watchdog_stop(a);
    text_scratch_free(a->scratch);
    text_template_free(a->model.own);
    if (a->tokens) mem_heap_give(&a->heap, a->tokens, engine_context(a->en) * sizeof *a->tokens);
    CHECK(mem_heap_bytes(&a->heap) == 0);
    for (uint32_t i = 0; i < a->config.max_active; i++) CHECK(!a->answers[i].in_use);
    mem_timeline_free(a->timeline);
    mem_arena arena = a->arena;
    mem_arena_free(&arena);
}

/* ---- routes ---- */

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

/* OPTIONS, of a browser or not: what there is to say is in the headers. */
static void answer_options(http_request *r, const char *allowed) {
    if (*allowed) http_set_header(r, "Allow", allowed);
    http_reply(r, 204, "", STR(""));
}

/* No model is meant, so no dialect may say that one was not found. */
static void refuse_path(api *a, http_request *r, const err *e) {
    const dialect *d = api_dialect_of(http_path(r), http_header(r, "anthropic-version").len > 0);
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

void api_begin_wording(api *a, const http_request *r) {
    plat_pulse_attach(&a->wording);
    plat_pulse_begin("wording", http_request_id(r), 0);
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
    api_refuse_by_path(a, r, &e);
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
    api_refuse_by_path(a, r, &e);
}

/* ---- errors ---- */

int api_status(const err *e, bool unavailable) {
    switch (e->code) {
    case ERR_INVALID: return 400;
    case ERR_NOT_FOUND: return 404;
    case ERR_USAGE: return 405;
    case ERR_TOO_LARGE: return 413;
    case ERR_UNSUPPORTED: return 400;
    case ERR_BUSY: return unavailable ? 503 : 429;
    case ERR_MEMORY: return 429;
    default: return 500;
    }
}

static void put_field(http_field *f, const char *name, const char *value) {
    snprintf(f->name, sizeof f->name, "%s", name);
    snprintf(f->value, sizeof f->value, "%s", value);
}

static void put_bytes_field(http_field *f, const char *name, uint64_t bytes) {
    char text[32];
    snprintf(text, sizeof text, "%llu", (unsigned long long)bytes);
    put_field(f, name, text);
}

enum { MEMORY_FIELDS = 3 };

/* As last looked at, where someone watches: refusing many must cost little. */
static mem_level level_and_room(api *a, uint64_t *room_bytes) {
    mem_ledger_view v;
    mem_books books;
    mem_ledger_read(a->ledger, &v);
    *room_bytes = v.watched.room_bytes;
    if (v.watched.on) return (mem_level)v.watched.level;
    mem_books_read(a->ledger, &books);
    *room_bytes = mem_books_room(&books);
    return books.level;
}

static uint32_t memory_fields(api *a, uint64_t need_bytes, http_field out[MEMORY_FIELDS]) {
    uint64_t room_bytes;
    mem_level level = level_and_room(a, &room_bytes);
    put_field(&out[0], "X-Memory-Status", mem_level_name(level));
    put_bytes_field(&out[1], "X-Memory-Available-Bytes", room_bytes);
    put_bytes_field(&out[2], "X-Memory-Required-Bytes", need_bytes);
    return MEMORY_FIELDS;
}

static uint32_t retry_after_s(api *a) {
    if (atomic_load(&a->state) == API_LOADING) return 2;
    return a->sched ? sched_retry_after_s(a->sched) : 1;
}

uint32_t api_busy_fields(void *ctx, uint64_t need_bytes, http_field out[HTTP_BUSY_FIELDS]) {
    char text[16];
    snprintf(text, sizeof text, "%u", retry_after_s(ctx));
    put_field(&out[0], "Retry-After", text);
    return 1 + memory_fields(ctx, need_bytes, out + 1);
}

/* What can never fit is held against what there is at most; the rest against what is left now. What is
 * refused before its pages are known needs as much as its body at least. */
void api_put_error_headers(api *a, http_request *r, int status, const err *e) {
    http_field fields[HTTP_BUSY_FIELDS];
    uint32_t n = 0;
    if (status == 429 || status == 503 || status == 529) {
        n = api_busy_fields(a, e->need_bytes ? e->need_bytes : http_body(r).len, fields);
    } else if (status == 413 && e->need_bytes) {
        n = memory_fields(a, e->need_bytes, fields);
        put_bytes_field(&fields[1], "X-Memory-Available-Bytes", e->have_bytes);
    }
    for (uint32_t i = 0; i < n; i++) http_set_header(r, fields[i].name, fields[i].value);
}

int api_dialect_status(const dialect *d, const err *e, bool unavailable) {
    int status = api_status(e, unavailable);
    return d->status ? d->status(e, status) : status;
}

/* reply: http_reply, or its like for a late answer. */
static void refuse_by(api *a, http_request *r, const dialect *d, const err *e, bool unavailable,
                      void (*reply)(http_request *r, int status, const char *content_type, str body)) {
    int status = api_dialect_status(d, e, unavailable);
    api_put_error_headers(a, r, status, e);
    API_PAGE(body, 4096);
    d->error(&(answer_failure){e, status, http_request_id(r)}, &body);
    reply(r, status, "application/json", buf_str(&body));
}

void api_refuse(api *a, http_request *r, const dialect *d, const err *e) {
    plat_pulse_view unused;
    bool unavailable = atomic_load(&a->state) != API_READY || watchdog_worker_stuck(a, &unused);
    refuse_by(a, r, d, e, unavailable, http_reply);
}

void api_refuse_late(api *a, http_request *r, const dialect *d, const err *e) {
    refuse_by(a, r, d, e, false, http_late_reply);
}

static void plain_error(const answer_failure *f, buf *to) {
    http_error_json(to, f->e->message, err_code_name(f->e->code), NULL, NULL);
}

void api_refuse_plainly(api *a, http_request *r, const err *e) {
    static const dialect plain = {.error = plain_error};
    api_refuse(a, r, &plain, e);
}

const dialect *api_dialect_of(str path, bool anthropic) {
    static const char *const openai_paths[] = {"/v1/",        "/chat/completions", "/completions",
                                               "/embeddings", "/responses",        "/models"};
    if (str_starts(path, STR("/v1/messages")) || (anthropic && str_starts(path, STR("/v1/models"))))
        return &anthropic_dialect;
    if (str_starts(path, STR("/api/"))) return &ollama_dialect;
    for (size_t i = 0; i < sizeof openai_paths / sizeof *openai_paths; i++)
        if (str_starts(path, str_of(openai_paths[i]))) return &openai_dialect;
    return NULL;
}

int api_refusal_words(void *ctx, const http_request *r, const http_refusal *why, const char *id, buf *to) {
    const dialect *d = api_dialect_of(http_path(r), http_header(r, "anthropic-version").len > 0);
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

void api_refuse_by_path(api *a, http_request *r, const err *e) {
    const dialect *d = api_dialect_of(http_path(r), http_header(r, "anthropic-version").len > 0);
    if (d)
        api_refuse(a, r, d, e);
    else
        api_refuse_plainly(a, r, e);
}

void api_reply_json(http_request *r, int status, const buf *body) {
    http_reply(r, status, "application/json", buf_str(body));
}

/* ---- prompts ---- */

static bool have_scratch(api *a, err *e) {
    if (a->scratch || (a->scratch = text_scratch_new(engine_vocab(a->en), &a->heap.alloc))) return true;
    return err_set_memory(e, 0, mem_ledger_available(a->ledger), "no memory to tokenize in");
}

bool api_tokenize_part(api *a, str text, bool plain, int32_t *tokens, uint32_t most, uint32_t *n, err *e) {
    size_t n_tokens = 0;
    const text_vocab *v = engine_vocab(a->en);
    if (!have_scratch(a, e) || !text_encode(v, a->scratch, text, false, !plain, tokens, most, &n_tokens, e))
        return false;
    *n = (uint32_t)n_tokens;
    return true;
}

bool api_tokenize_word(api *a, str text, int32_t *tokens, uint32_t most, uint32_t *n, err *e) {
    return api_tokenize_part(a, text, false, tokens, most, n, e);
}

bool api_tokenize(api *a, str text, bool quoted, uint32_t *n, err *e) {
    if (!have_scratch(a, e)) return false;
    size_t n_tokens = 0;
    const text_vocab *v = engine_vocab(a->en);
    text_token bos = text_vocab_bos(v);
    bool begun =
        bos != TEXT_NO_TOKEN && text_vocab_token(v, bos).len && str_starts(text, text_vocab_token(v, bos));
    uint32_t most = engine_context(a->en);
    bool ok = quoted ? text_encode_quoted(v, a->scratch, text, !begun, a->tokens, most, &n_tokens, e)
                     : text_encode(v, a->scratch, text, !begun, true, a->tokens, most, &n_tokens, e);
    if (!ok && e->code == ERR_TOO_LARGE) err_set_tokens(e, n_tokens, most);
    *n = (uint32_t)n_tokens;
    if (text.len > SCRATCH_KEEP_BYTES / 16) { /* a rare large prompt must not stay paid for */
        text_scratch_free(a->scratch);
        a->scratch = NULL;
    }
    return ok;
}

bool api_add_token(api *a, const char *name, int64_t id, uint32_t *n, err *e) {
    uint32_t n_vocab = text_vocab_size(engine_vocab(a->en));
    if (id < 0 || id >= n_vocab)
        return err_set(e, ERR_INVALID, "'%s' as an array must hold token ids from 0 to %u", name,
                       n_vocab - 1);
    if (*n < engine_context(a->en)) a->tokens[*n] = (int32_t)id;
    ++*n;
    return true;
}

bool api_check_prompt(const api *a, uint32_t n, err *e) {
    return n <= engine_context(a->en) || err_set_tokens(e, n, engine_context(a->en));
}
