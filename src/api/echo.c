/* The front end without a model: POST /generate answers with the prompt's own text, through the same slots, pools
 * and parser as any answer. For measuring the front end alone. It has no tokens, so its usage counts bytes and says
 * so; a stream is written at once, in pieces. */
#include "api/echo.h"

#include "api/admin/admin.h"
#include "base/check.h"
#include "plat/vm.h"

enum {
    PARSE_EXTRA_BYTES = 128 * 1024, /* the JSON reader's own state, and rounding when its text grows */
    ENVELOPE_BYTES = 16 * 1024,
    PIECE_BYTES = 4096, /* of text in one event of a stream */
};

static size_t answer_bytes(const api_config *c) {
    return c->body_limit_bytes + c->body_limit_bytes / 4 + ENVELOPE_BYTES;
}

/* ---- start and stop ---- */

typedef struct echo {
    api api; /* first: the pages of server.c see only this */
    mem_arena parse, answer;
    char *text; /* [body_limit_bytes] the prompt of the request in hand */
} echo;

static echo *lay_out(const api_config *c, mem_arena *a, void **parse, void **out, char **text) {
    echo *self = mem_arena_take(a, sizeof *self, 64);
    *parse = mem_arena_take(a, c->body_limit_bytes + PARSE_EXTRA_BYTES, 64);
    *out = mem_arena_take(a, answer_bytes(c), 64);
    *text = mem_arena_take(a, c->body_limit_bytes, 64);
    return self;
}

size_t echo_plan_bytes(const api_config *c) {
    mem_arena a;
    void *parse, *out;
    char *text;
    mem_arena_measure(&a);
    lay_out(c, &a, &parse, &out, &text);
    return plat_vm_round(a.used);
}

api *echo_start(const api_config *c, mem_ledger *l, err *e) {
    mem_arena arena = {0};
    if (!mem_arena_init(&arena, l, MEM_HTTP, echo_plan_bytes(c), false, e)) return NULL;
    void *parse, *out;
    char *text;
    echo *x = lay_out(c, &arena, &parse, &out, &text);
    CHECK(x && !arena.failed);
    x->api = (api){.config = *c, .ledger = l, .arena = arena, .state = API_READY};
    if (!c->model_alias) x->api.config.model_alias = "echo";
    x->text = text;
    mem_arena_over(&x->parse, parse, c->body_limit_bytes + PARSE_EXTRA_BYTES);
    mem_arena_over(&x->answer, out, answer_bytes(c));
    return &x->api;
}

void echo_stop(api *a) {
    if (!a) return;
    mem_arena arena = a->arena; /* holds this very struct */
    mem_arena_free(&arena);
}

/* ---- POST /generate ---- */

typedef struct echo_request {
    echo *x;
    str prompt;
    bool has_prompt, stream;
} echo_request;

static bool on_prompt(void *target, const json_event *event, int depth, err *e) {
    echo_request *q = target;
    if (event->kind != JSON_STRING || depth != 0) return err_set(e, ERR_INVALID, "'prompt' must be a text");
    CHECK(event->text.len <= q->x->api.config.body_limit_bytes);
    memcpy(q->x->text, event->text.data, event->text.len);
    q->prompt = (str){q->x->text, event->text.len};
    q->has_prompt = true;
    return true;
}

/* What else a request says is for a model. */
static const field fields[] = {
    {"prompt", FIELD_CUSTOM, .events = on_prompt},
    {"stream", FIELD_BOOL, offsetof(echo_request, stream)},
};

static void put_usage(json_writer *w, size_t bytes) {
    json_put_string(w, "finish_reason", STR("stop"));
    json_key(w, "usage");
    json_object_start(w);
    json_put_string(w, "unit", STR("bytes"));
    json_put_uint(w, "prompt_bytes", bytes);
    json_put_uint(w, "completion_bytes", bytes);
    json_object_end(w);
}

static void put_whole(const echo_request *q, buf *to) {
    json_writer w;
    json_begin(&w, to);
    json_object_start(&w);
    json_put_string(&w, "model", str_of(api_model_name(&q->x->api)));
    json_put_string(&w, "text", q->prompt);
    put_usage(&w, q->prompt.len);
    json_object_end(&w);
}

/* At most PIECE_BYTES, not ending inside a character. */
static str next_piece(str *rest) {
    size_t n = rest->len < PIECE_BYTES ? rest->len : PIECE_BYTES;
    while (n < rest->len && ((unsigned char)rest->data[n] & 0xC0) == 0x80) n--;
    str piece = {rest->data, n};
    rest->data += n;
    rest->len -= n;
    return piece;
}

static void put_event(const echo_request *q, const str *piece, buf *to) {
    json_writer w;
    buf_append_str(to, STR("data: "));
    json_begin(&w, to);
    json_object_start(&w);
    if (piece) {
        json_put_string(&w, "text", *piece);
    } else {
        json_put_bool(&w, "done", true);
        put_usage(&w, q->prompt.len);
    }
    json_object_end(&w);
    buf_append_str(to, STR("\n\n"));
}

static void put_stream(const echo_request *q, buf *to) {
    for (str rest = q->prompt; rest.len;) {
        str piece = next_piece(&rest);
        put_event(q, &piece, to);
    }
    put_event(q, NULL, to);
}

static bool read_request(echo_request *q, str body, err *e) {
    uint64_t seen;
    mem_arena_reset(&q->x->parse, 0);
    base_alloc alloc = mem_arena_alloc(&q->x->parse);
    if (!fields_parse(&alloc, body, fields, sizeof fields / sizeof *fields, true, q, &seen, e)) return false;
    return q->has_prompt || err_set(e, ERR_INVALID, "'prompt' is missing");
}

/* From Critical on, as with a model: what it would take is its body once more, and as much again as an answer. */
static bool may_answer(api *a, size_t body_bytes, err *e) {
    mem_ledger_view v;
    mem_ledger_read(a->ledger, &v);
    mem_level level = (mem_level)v.watched.level;
    if (!v.watched.on || level < MEM_CRITICAL) return true;
    char left[BYTES_TEXT_BYTES];
    return err_set_memory(e, 2 * body_bytes, v.watched.room_bytes, "memory is short (%s): %s are left; come back later",
                          mem_level_name(level), bytes_text(v.watched.room_bytes, left));
}

static void generate(api *a, http_request *r) {
    echo_request q = {.x = (echo *)a};
    err e = {0};
    if (!may_answer(a, http_body(r).len, &e) || !read_request(&q, http_body(r), &e))
        return api_refuse_plainly(a, r, &e);
    mem_arena_reset(&q.x->answer, 0);
    base_alloc alloc = mem_arena_alloc(&q.x->answer);
    buf out;
    buf_init(&out, &alloc, answer_bytes(&a->config));
    buf_reserve(&out, q.prompt.len + ENVELOPE_BYTES / 2);
    if (q.stream) put_stream(&q, &out);
    else put_whole(&q, &out);
    if (out.failed) {
        err_set(&e, ERR_TOO_LARGE, "the answer would be larger than this server's buffers");
        return api_refuse_plainly(a, r, &e);
    }
    http_reply(r, 200, q.stream ? "text/event-stream" : "application/json", buf_str(&out));
}

static void on_worker(void *ctx, http_request *r) { generate(ctx, r); }

static void hand_over(api *a, http_request *r) { http_hand_over(r, on_worker, a); }

/* ---- routes ---- */

static const struct {
    const char *method, *path;
    void (*handle)(api *a, http_request *r);
} routes[] = {
    {"POST", "/generate", hand_over}, {"GET", "/memory", server_memory}, {"GET", "/health", server_health},
    {"GET", "/livez", server_live},  {"GET", "/readyz", server_ready},
};

void echo_handle(void *ctx, http_request *r) {
    api *a = ctx;
    str method = str_is(http_method(r), "HEAD") ? STR("GET") : http_method(r);
    err e;
    for (size_t i = 0; i < sizeof routes / sizeof *routes; i++) {
        if (!str_is(http_path(r), routes[i].path)) continue;
        if (str_eq(method, str_of(routes[i].method))) return routes[i].handle(a, r);
        http_set_header(r, "Allow", routes[i].method);
        if (str_is(method, "OPTIONS")) return http_reply(r, 204, "", STR(""));
        err_set(&e, ERR_USAGE, "%s takes %s", routes[i].path, routes[i].method);
        return api_refuse_plainly(a, r, &e);
    }
    err_set(&e, ERR_NOT_FOUND, "the echo engine has POST /generate, GET /memory, /health, /livez and /readyz");
    api_refuse_plainly(a, r, &e);
}
