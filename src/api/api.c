/* Start, routes, and the way every answer goes, whatever its dialect. */
#include "api/api.h"

#include <stdio.h>
#include <string.h>

#include "api/internal.h"
#include "base/check.h"
#include "base/clock.h"
#include "mem/books.h"

enum {
    PARSE_EXTRA_BYTES = 128 * 1024,
    SCRATCH_KEEP_BYTES = 1 << 20,
    ANSWER_BUF_LIMIT = 256 << 20,
    LOGPROB_TEXT_BYTES = 128
};

/* ---- start and stop ---- */

static api *layout(const api_config *c, mem_arena *a, void **parse, answer **answers) {
    api *self = mem_arena_take(a, sizeof *self, 64);
    *parse = mem_arena_take(a, c->body_limit_bytes + PARSE_EXTRA_BYTES, 64);
    *answers = mem_arena_take(a, c->max_active * sizeof **answers, 64);
    char *pending = mem_arena_take(a, (size_t)c->max_active * ANSWER_PENDING_BYTES, 64);
    for (uint32_t i = 0; *answers && i < c->max_active; i++)
        (*answers)[i] = (answer){.pending_bytes = pending + (size_t)i * ANSWER_PENDING_BYTES};
    return self;
}

size_t api_plan_bytes(const api_config *c) {
    mem_arena a;
    void *parse;
    answer *answers;
    mem_arena_measure(&a);
    layout(c, &a, &parse, &answers);
    return plat_vm_round(a.used);
}

api *api_start(const api_config *c, mem_ledger *l, err *e) {
    mem_arena arena = {0};
    if (!mem_arena_init(&arena, l, MEM_HTTP, api_plan_bytes(c), false, e)) return NULL;
    void *parse;
    answer *answers;
    api *a = layout(c, &arena, &parse, &answers);
    *a = (api){.config = *c, .ledger = l, .arena = arena, .answers = answers};
    mem_arena_over(&a->parse, parse, c->body_limit_bytes + PARSE_EXTRA_BYTES);
    mem_heap_init(&a->heap, l, MEM_QUEUE);
    for (uint32_t i = 0; i < c->max_active; i++) {
        pthread_mutex_init(&answers[i].lock, NULL);
        answers[i].a = a;
    }
    return a;
}

bool api_ready(api *a, engine *en, sched *s, http_server *http, err *e) {
    a->tokens = mem_heap_take(&a->heap, engine_context(en) * sizeof *a->tokens, e);
    if (!a->tokens) return false;
    memset(a->tokens, 0, engine_context(en) * sizeof *a->tokens); /* present now, as the ledger says */
    a->en = en;
    a->sched = s;
    a->http = http;
    atomic_store(&a->state, API_READY);
    return true;
}

void api_draining(api *a) { atomic_store(&a->state, API_DRAINING); }

void api_stop(api *a) {
    if (!a) return;
    text_scratch_free(a->scratch);
    if (a->tokens) mem_heap_give(&a->heap, a->tokens, engine_context(a->en) * sizeof *a->tokens);
    CHECK(mem_heap_bytes(&a->heap) == 0);
    for (uint32_t i = 0; i < a->config.max_active; i++) CHECK(!a->answers[i].in_use);
    mem_arena arena = a->arena;
    mem_arena_free(&arena);
}

const char *api_model_name(const api *a) {
    return a->config.model_alias ? a->config.model_alias : a->en ? engine_model_name(a->en) : "";
}

/* ---- routes ---- */

typedef struct route {
    const char *method, *path;
    void (*handle)(api *a, http_request *r);
    bool while_loading;
} route;

static const route routes[] = {
    {"POST", "/generate", native_generate, false},
    {"POST", "/generate-lite", native_generate, false},
    {"GET", "/health", server_health, true},
    {"GET", "/livez", server_live, true},
    {"GET", "/readyz", server_ready, true},
    {"GET", "/memory", server_memory, true},
    {"GET", "/", server_index, true},
};

static void plain_error(const err *e, buf *to) {
    http_error_json(to, e->message, err_code_name(e->code), NULL, NULL);
}
static const dialect plain = {.error = plain_error};

void api_handle(void *ctx, http_request *r) {
    api *a = ctx;
    str method = http_method(r), path = http_path(r);
    if (str_is(method, "HEAD")) method = STR("GET");
    char allowed[32] = "";
    for (size_t i = 0; i < sizeof routes / sizeof *routes; i++) {
        if (!str_is(path, routes[i].path)) continue;
        if (!str_is(method, routes[i].method)) {
            snprintf(allowed, sizeof allowed, "%s", routes[i].method);
            continue;
        }
        if (routes[i].while_loading || atomic_load(&a->state) != API_LOADING) {
            routes[i].handle(a, r);
            return;
        }
        err e;
        err_set(&e, ERR_BUSY, "the model is loading");
        api_refuse(a, r, &plain, &e);
        return;
    }
    err e;
    if (*allowed) {
        http_set_header(r, "Allow", allowed);
        err_set(&e, ERR_USAGE, "%.*s takes %s, not %.*s", STR_ARG(path), allowed, STR_ARG(method));
    } else {
        err_set(&e, ERR_NOT_FOUND, "nothing at %.*s; GET / lists what there is",
                (int)(path.len < 128 ? path.len : 128), path.data);
    }
    api_refuse(a, r, &plain, &e);
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

static void put_memory_headers(api *a, http_request *r, const err *e) {
    char text[32];
    mem_books books;
    mem_books_read(a->ledger, &books);
    http_set_header(r, "X-Memory-Status", mem_level_name(books.level));
    snprintf(text, sizeof text, "%llu", (unsigned long long)books.available_bytes);
    http_set_header(r, "X-Memory-Available-Bytes", text);
    if (e->code != ERR_MEMORY) return;
    snprintf(text, sizeof text, "%llu", (unsigned long long)e->need_bytes);
    http_set_header(r, "X-Memory-Required-Bytes", text);
}

static void put_retry_headers(api *a, http_request *r, const err *e) {
    char text[16];
    snprintf(text, sizeof text, "%u", a->sched ? sched_retry_after_s(a->sched) : 2);
    http_set_header(r, "Retry-After", text);
    put_memory_headers(a, r, e);
}

void api_refuse(api *a, http_request *r, const dialect *d, const err *e) {
    int status = api_status(e, atomic_load(&a->state) != API_READY);
    if (status == 429 || status == 503) put_retry_headers(a, r, e);
    char bytes[4096];
    mem_arena over;
    mem_arena_over(&over, bytes, sizeof bytes);
    base_alloc alloc = mem_arena_alloc(&over);
    buf body;
    buf_init(&body, &alloc, sizeof bytes);
    d->error(e, &body);
    http_reply(r, status, "application/json", buf_str(&body));
}

void api_reply_json(http_request *r, int status, const buf *body) {
    http_reply(r, status, "application/json", buf_str(body));
}

/* ---- prompts ---- */

bool api_tokenize(api *a, str text, bool parse_special, uint32_t *n, err *e) {
    if (!a->scratch && !(a->scratch = text_scratch_new(engine_vocab(a->en), &a->heap.alloc)))
        return err_set_memory(e, 0, mem_ledger_available(a->ledger), "no memory to tokenize in");
    size_t n_tokens = 0;
    bool ok = text_encode(engine_vocab(a->en), a->scratch, text, true, parse_special, a->tokens,
                          engine_context(a->en), &n_tokens, e);
    *n = (uint32_t)n_tokens;
    if (text.len > SCRATCH_KEEP_BYTES / 16) { /* a rare large prompt must not stay paid for */
        text_scratch_free(a->scratch);
        a->scratch = NULL;
    }
    return ok;
}

/* ---- answers ---- */

static answer *take_answer(api *a) {
    for (uint32_t i = 0; i < a->config.max_active; i++) {
        answer *x = &a->answers[i];
        pthread_mutex_lock(&x->lock);
        bool taken = !x->in_use;
        if (taken) x->in_use = true;
        pthread_mutex_unlock(&x->lock);
        if (taken) return x;
    }
    return NULL;
}

static void on_gone(void *ctx, bool completed) {
    (void)completed;
    answer *x = ctx;
    pthread_mutex_lock(&x->lock);
    sched_job_release(x->a->sched, x->job);
    x->in_use = false;
    pthread_mutex_unlock(&x->lock);
}

static base_alloc pending_alloc(answer *x, mem_arena *over) {
    mem_arena_over(over, x->pending_bytes, ANSWER_PENDING_BYTES);
    return mem_arena_alloc(over);
}

/* Words the next record into pending. False when there is none yet. */
static bool format_next(answer *x) {
    sched_output out;
    sched_job_read(x->a->sched, x->job, &out);
    if (out.what == SCHED_NOTHING) return false;
    mem_arena over;
    base_alloc alloc = pending_alloc(x, &over);
    buf to;
    buf_init(&to, &alloc, ANSWER_PENDING_BYTES);
    if (out.what == SCHED_TOKEN) {
        x->dialect->token(x, &out, &to);
    } else {
        x->dialect->end(x, &out, &to);
        x->ended = true;
    }
    CHECK(!to.failed);
    if (to.data != x->pending_bytes) memmove(x->pending_bytes, to.data, to.len);
    x->pending_used = (uint32_t)to.len;
    x->pending_sent = 0;
    return true;
}

static long on_pull(void *ctx, char *out, size_t max) {
    answer *x = ctx;
    size_t written = 0;
    for (;;) {
        size_t left = x->pending_used - x->pending_sent, n = left < max - written ? left : max - written;
        memcpy(out + written, x->pending_bytes + x->pending_sent, n);
        x->pending_sent += (uint32_t)n;
        written += n;
        if (x->pending_sent < x->pending_used || written == max) return (long)written;
        if (x->ended) return written ? (long)written : HTTP_STREAM_END;
        if (!format_next(x)) return (long)written;
    }
}

static void on_wake_stream(void *ctx) { http_stream_wake(((answer *)ctx)->request); }

/* ---- a whole answer ---- */

/* Reads all of a job that has ended; returns the last record. */
static void collect(answer *x, sched_output *out, buf *text, json_writer *w) {
    const text_vocab *v = engine_vocab(x->a->en);
    for (;;) {
        sched_job_read(x->a->sched, x->job, out);
        if (out->what != SCHED_TOKEN) return;
        buf_append_str(text, out->text);
        if (x->logprobs) api_put_logprob(v, &out->sample, w);
    }
}

static void on_wake_whole(void *ctx) {
    answer *x = ctx;
    api *a = x->a;
    buf text, logprobs, body;
    buf_init(&text, &a->heap.alloc, ANSWER_BUF_LIMIT);
    buf_init(&logprobs, &a->heap.alloc, ANSWER_BUF_LIMIT);
    buf_init(&body, &a->heap.alloc, ANSWER_BUF_LIMIT);
    sched_output out;
    json_writer w;
    json_begin(&w, &logprobs);
    if (x->logprobs) json_array_start(&w);
    collect(x, &out, &text, &w);
    if (x->logprobs) json_array_end(&w);
    int status = 200;
    if (out.what == SCHED_FAILED) {
        status = api_status(&out.failure, false);
        x->dialect->error(&out.failure, &body);
    } else {
        x->dialect->whole(x, &out, buf_str(&text), buf_str(&logprobs), &body);
    }
    if (text.failed || logprobs.failed || body.failed) {
        err e;
        err_set_memory(&e, text.len, mem_ledger_available(a->ledger), "no memory to word an answer of %zu bytes",
                       text.len);
        buf_clear(&body);
        status = api_status(&e, false);
        x->dialect->error(&e, &body);
    }
    if (status == 429) put_retry_headers(a, x->request, &out.failure);
    http_late_reply(x->request, status, "application/json", buf_str(&body));
    buf_free(&text);
    buf_free(&logprobs);
    buf_free(&body);
}

void api_generate(api *a, http_request *r, const dialect *d, const sched_request *request, bool stream) {
    err e = {0};
    answer *x = take_answer(a);
    if (!x) {
        err_set(&e, ERR_BUSY, "%u answers are in work already", a->config.max_active);
        api_refuse(a, r, d, &e);
        return;
    }
    pthread_mutex_lock(&x->lock);
    x->dialect = d;
    x->request = r;
    x->logprobs = request->sampling.logprobs;
    x->n_stops = request->n_stops;
    x->ended = false;
    x->pending_used = x->pending_sent = 0;
    x->job = sched_submit(a->sched, request, &e);
    if (!x->job) {
        x->in_use = false;
        api_refuse(a, r, d, &e);
    } else if (stream) {
        http_stream(r, 200, d->stream_type, on_pull, on_gone, x);
        sched_job_listen(a->sched, x->job, on_wake_stream, x);
    } else {
        http_late(r, on_gone, x);
        sched_job_listen(a->sched, x->job, on_wake_whole, x);
    }
    pthread_mutex_unlock(&x->lock);
}

/* ---- shared wording ---- */

/* Long tokens are cut: a record must fit a pending buffer whatever the vocabulary holds. */
static void put_token(const text_vocab *v, int32_t token, float logprob, json_writer *w) {
    char text[TEXT_TOKEN_BYTES_MAX];
    size_t n = text_token_bytes(v, token, true, text);
    json_put_int(w, "token", token);
    json_put_string(w, "text", (str){text, n < LOGPROB_TEXT_BYTES ? n : LOGPROB_TEXT_BYTES});
    json_put_fixed(w, "logprob", (double)logprob, 6);
}

void api_put_logprob(const text_vocab *v, const engine_sample *s, json_writer *w) {
    json_object_start(w);
    put_token(v, s->token, s->logprob, w);
    json_key(w, "top");
    json_array_start(w);
    for (uint32_t i = 0; i < s->n_top; i++) {
        json_object_start(w);
        put_token(v, s->top[i].token, s->top[i].logprob, w);
        json_object_end(w);
    }
    json_array_end(w);
    json_object_end(w);
}

void api_put_usage(api *a, sched_job *j, json_writer *w) {
    sched_usage u;
    sched_job_usage(a->sched, j, &u);
    json_key(w, "usage");
    json_object_start(w);
    json_put_uint(w, "prompt_tokens", u.prompt_tokens);
    json_put_uint(w, "completion_tokens", u.completion_tokens);
    json_put_uint(w, "total_tokens", (uint64_t)u.prompt_tokens + u.completion_tokens);
    json_put_uint(w, "cached_tokens", u.cached_tokens);
    json_object_end(w);
    json_key(w, "timings");
    json_object_start(w);
    json_put_fixed(w, "queue_ms", u.queue_ms, 3);
    json_put_fixed(w, "prefill_ms", u.prefill_ms, 3);
    json_put_fixed(w, "decode_ms", u.decode_ms, 3);
    json_put_fixed(w, "total_ms", u.total_ms, 3);
    json_put_fixed(w, "prefill_tokens_per_s", u.prefill_ms > 0 ? u.prompt_tokens * 1000.0 / u.prefill_ms : 0, 2);
    uint32_t decoded = u.completion_tokens ? u.completion_tokens - 1 : 0; /* the first token ends the prefill */
    json_put_fixed(w, "decode_tokens_per_s", u.decode_ms > 0 ? decoded * 1000.0 / u.decode_ms : 0, 2);
    json_object_end(w);
    mem_books books;
    mem_books_read(a->ledger, &books);
    json_key(w, "memory");
    json_object_start(w);
    json_put_uint(w, "peak_bytes", u.peak_bytes);
    json_put_string(w, "level", str_of(mem_level_name(books.level)));
    json_object_end(w);
}
