/* Answers: whole, streamed, late. */
#include <stdio.h>

#include "base/check.h"
#include "http/internal.h"

/* HTTP/1.0 clients get no chunks, so the library needs a buffer of its own for their streams. */
enum { STREAM_BLOCK_BYTES = HOSTILE(4096, 64) };

void http_set_header(http_request *r, const char *name, const char *value) {
    CHECK(r->header_count < HTTP_ANSWER_HEADERS);
    CHECK(strlen(name) < sizeof r->headers[0].name);
    snprintf(r->headers[r->header_count].name, sizeof r->headers[0].name, "%s", name);
    snprintf(r->headers[r->header_count].value, sizeof r->headers[0].value, "%s", value);
    for (char *p = r->headers[r->header_count].value; *p; p++)
        if ((unsigned char)*p < 0x20 || *p == 0x7F) *p = ' '; /* no value may begin a header of its own */
    r->header_count++;
}

static void begin_answer(http_request *r, http_answer kind, int status, const char *content_type) {
    CHECK(r->answer == ANSWER_NONE); /* one answer for each request */
    r->answer = kind;
    r->status = status;
    snprintf(r->content_type, sizeof r->content_type, "%s", content_type);
}

/* It may lie in the buffer already. */
static void put_content(http_request *r, str body) {
    if (body.len) memmove(r->buffer.data, body.data, body.len);
    r->buffer.len = body.len;
}

/* The buffer is back in the slot's own bytes, and so is what is said here. */
static void say_no_buffer(http_request *r, size_t body_bytes) {
    static const http_refusal busy = {429, "too_many_requests", "no buffer is free for this answer"},
                              never = {500, "answer_too_large", "the answer is larger than this server's buffers"};
    http_server *s = r->server;
    bool ever = body_bytes <= (size_t)s->pool.units * HTTP_UNIT_BYTES;
    mem_arena arena;
    mem_arena_over(&arena, r->own_bytes, HTTP_INLINE_BYTES);
    base_alloc alloc = mem_arena_alloc(&arena);
    buf json;
    buf_init(&json, &alloc, HTTP_INLINE_BYTES);
    r->status = http_word_refusal(s, r, ever ? &busy : &never, r->id, &json);
    r->header_count = ever ? http_ask_busy_fields(s, body_bytes, r->headers) : 0;
    snprintf(r->content_type, sizeof r->content_type, "application/json");
    CHECK(!json.failed);
    put_content(r, buf_str(&json));
}

/* The body's buffer becomes the answer's. Megabytes are copied without the lock. */
static void set_content(http_request *r, str body) {
    http_lock(r->server);
    bool fits = http_buffer_fit(&r->server->pool, &r->buffer, r->own_bytes, body.len);
    http_unlock(r->server);
    if (fits) put_content(r, body);
    http_lock(r->server);
    http_buffer_trim(&r->server->pool, &r->buffer);
    http_let_in(r->server);
    http_unlock(r->server);
    if (!fits) say_no_buffer(r, body.len);
}

void http_reply(http_request *r, int status, const char *content_type, str body) {
    begin_answer(r, ANSWER_WHOLE, status, content_type);
    set_content(r, body);
    http_lock(r->server);
    r->has_reply = r->ended = true;
    http_unlock(r->server);
}

void http_hand_over(http_request *r, http_handler *work, void *ctx) {
    CHECK(work && !r->work && r->answer == ANSWER_NONE);
    r->work = work;
    r->work_ctx = ctx;
}

void http_stream(http_request *r, int status, const char *content_type, http_pull *pull, http_gone *gone, void *ctx) {
    CHECK(pull && gone);
    begin_answer(r, ANSWER_STREAM, status, content_type);
    r->pull = pull;
    r->gone = gone;
    r->ctx = ctx;
    http_lock(r->server);
    http_buffer_release(&r->server->pool, &r->buffer, r->own_bytes); /* the body has been read */
    http_let_in(r->server);
    http_watch_client(r->conn);
    http_unlock(r->server);
}

static void begin_late(http_request *r, const char *content_type, http_gone *gone, void *ctx) {
    CHECK(gone);
    begin_answer(r, ANSWER_LATE, 0, content_type);
    r->gone = gone;
    r->ctx = ctx;
    http_lock(r->server);
    http_buffer_release(&r->server->pool, &r->buffer, r->own_bytes);
    http_let_in(r->server);
    http_watch_client(r->conn);
    http_unlock(r->server);
}

void http_late(http_request *r, http_gone *gone, void *ctx) { begin_late(r, "", gone, ctx); }

void http_late_stream(http_request *r, const char *content_type, http_first *first, http_pull *pull, http_gone *gone,
                      void *ctx) {
    CHECK(first && pull);
    r->first = first;
    r->pull = pull;
    begin_late(r, content_type, gone, ctx);
}

void http_wake_locked(http_request *r) {
    CHECK(http_locked(r->server));
    r->woken = true;
    if (!r->asleep || r->work_state != WORK_NONE) return; /* the end of its work wakes it */
    r->asleep = false;
    MHD_resume_connection(r->mhd);
}

void http_stream_wake(http_request *r) {
    http_lock(r->server);
    http_wake_locked(r);
    http_unlock(r->server);
}

void http_late_reply(http_request *r, int status, const char *content_type, str body) {
    CHECK(r->answer == ANSWER_LATE && !r->has_reply);
    r->status = status;
    snprintf(r->content_type, sizeof r->content_type, "%s", content_type);
    set_content(r, body);
    http_lock(r->server);
    r->has_reply = r->ended = true;
    http_wake_locked(r);
    http_unlock(r->server);
}

/* Lock held. Event thread. */
static bool is_over(const http_request *r) { return r->client_gone || r->server->stopping; }

/* Asleep until woken, unless something happened since the last look; in any case while a worker has it in hand. Lock
 * held. Event thread. */
static bool fall_asleep(http_request *r) {
    CHECK(http_locked(r->server));
    if (r->work_state == WORK_WAITS && is_over(r)) http_work_drop(r, false);
    if (r->work_state == WORK_NONE && (r->woken || is_over(r))) return false;
    r->asleep = true;
    MHD_suspend_connection(r->mhd);
    return true;
}

static ssize_t on_pull(void *cls, uint64_t at, char *out, size_t max) {
    (void)at;
    http_request *r = cls;
    http_server *s = r->server;
    for (;;) {
        http_lock(s);
        r->woken = false;
        bool over = is_over(r);
        http_unlock(s);
        if (over) return MHD_CONTENT_READER_END_WITH_ERROR;

        long n = r->pull(r->ctx, out, max);
        CHECK(n <= (long)max && (n == 0 || !r->word));
        if (n > 0) return (ssize_t)n;
        http_lock(s);
        if (n == HTTP_STREAM_END) r->ended = true;
        bool asleep = n == 0 && fall_asleep(r);
        http_unlock(s);
        if (n == HTTP_STREAM_END) return MHD_CONTENT_READER_END_OF_STREAM;
        if (asleep) return 0;
    }
}

static enum MHD_Result queue(http_request *r, struct MHD_Response *response) {
    if (!response) return MHD_NO;
    bool good = MHD_add_response_header(response, "x-request-id", r->id) == MHD_YES;
    if (r->content_type[0]) good &= MHD_add_response_header(response, "Content-Type", r->content_type) == MHD_YES;
    for (uint32_t i = 0; i < r->header_count; i++)
        good &= MHD_add_response_header(response, r->headers[i].name, r->headers[i].value) == MHD_YES;
    http_field extra[HTTP_EXTRA_FIELDS];
    uint32_t n = r->server->config.extra_fields ? r->server->config.extra_fields(r->server->ctx, r, extra) : 0;
    for (uint32_t i = 0; i < n; i++)
        good &= MHD_add_response_header(response, extra[i].name, extra[i].value) == MHD_YES;
    enum MHD_Result result = good ? http_queue_response(r->mhd, (unsigned)r->status, response) : MHD_NO;
    MHD_destroy_response(response);
    return result;
}

/* Whether a late stream has begun or been refused; otherwise it is asleep, or over. */
static bool is_decided(http_request *r, bool *asleep) {
    for (*asleep = false;;) {
        http_lock(r->server);
        r->woken = false;
        bool over = is_over(r);
        http_unlock(r->server);
        if (over) return false;
        bool decided = r->first(r->ctx, r);
        http_lock(r->server);
        if (decided) r->first = NULL;
        if (decided && !r->has_reply) r->answer = ANSWER_STREAM, r->status = 200;
        *asleep = !decided && fall_asleep(r);
        http_unlock(r->server);
        if (decided || *asleep) return decided;
    }
}

enum MHD_Result http_send_answer(http_request *r) {
    bool sleeps;
    if (r->answer == ANSWER_NONE) return MHD_NO; /* dropped while it waited for the worker */
    if (r->first && !is_decided(r, &sleeps)) return sleeps ? MHD_YES : MHD_NO;
    if (r->answer == ANSWER_STREAM)
        return queue(r, MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, STREAM_BLOCK_BYTES, on_pull, r, NULL));
    http_lock(r->server);
    r->woken = r->has_reply; /* no other wake is news */
    bool asleep = fall_asleep(r), ready = r->has_reply;
    http_unlock(r->server);
    if (asleep) return MHD_YES;
    if (!ready) return MHD_NO;
    return queue(r, MHD_create_response_from_buffer(r->buffer.len, r->buffer.data, MHD_RESPMEM_PERSISTENT));
}
