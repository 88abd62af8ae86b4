/* Errors on their way out: status, headers of memory and of when to come back, words. */
#include <stdio.h>

#include "api/core/core.h"
#include "mem/books.h"

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

void api_reply_json(http_request *r, int status, const buf *body) {
    http_reply(r, status, "application/json", buf_str(body));
}
