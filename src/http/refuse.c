#include <stdio.h>
#include <sys/socket.h>

#include "base/check.h"
#include "http/internal.h"

void http_error_json(buf *out, const char *message, const char *type, const char *param, const char *code) {
    const struct {
        const char *key, *value;
    } rows[] = {{"message", message}, {"type", type}, {"param", param}, {"code", code}};
    json_writer w;
    json_begin(&w, out);
    json_object_start(&w);
    json_key(&w, "error");
    json_object_start(&w);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        json_key(&w, rows[i].key);
        if (rows[i].value) json_string(&w, str_of(rows[i].value));
        else json_null(&w);
    }
    json_object_end(&w);
    json_object_end(&w);
}

static const char *error_type(int status) {
    if (status == 401) return "unauthorized";
    return status == 429 ? "rate_limit_error" : status >= 500 ? "server_error" : "invalid_request_error";
}

void http_make_id(http_server *s, char out[HTTP_ID_BYTES]) {
    CHECK(http_locked(s));
    snprintf(out, HTTP_ID_BYTES, "req_%016llx%06llx", (unsigned long long)rng_next(&s->ids),
             (unsigned long long)(rng_next(&s->ids) & 0xFFFFFF));
}

uint32_t http_ask_busy_fields(http_server *s, uint64_t need_bytes, http_field out[HTTP_BUSY_FIELDS]) {
    if (s->config.busy_fields) return s->config.busy_fields(s->ctx, need_bytes, out);
    out[0] = (http_field){"Retry-After", "1"};
    return 1;
}

int http_word_refusal(http_server *s, const http_request *r, const http_refusal *why, const char *id, buf *to) {
    if (r && s->config.words) return s->config.words(s->ctx, r, why, id, to);
    http_error_json(to, why->message, error_type(why->status), NULL, why->code);
    return why->status;
}

static void put_head(buf *out, int status, const char *id, size_t body_bytes) {
    buf_printf(out,
               "HTTP/1.1 %d %s\r\nx-request-id: %s\r\nContent-Type: application/json\r\nContent-Length: %zu\r\n"
               "Connection: close\r\n",
               status, MHD_get_reason_phrase_for((unsigned)status), id, body_bytes);
}

static void put_fields(buf *out, const http_field *fields, uint32_t n) {
    for (uint32_t i = 0; i < n; i++) buf_printf(out, "%s: %s\r\n", fields[i].name, fields[i].value);
}

/* A refusal as it goes out, and the memory it is worded in. */
enum {
    HEAD_BYTES = 256,                                              /* the status line and the fields that all have */
    FIELD_BYTES = sizeof(http_field) + sizeof ": \r\n",
    FIELDS_MOST = HTTP_BUSY_FIELDS + HTTP_EXTRA_FIELDS + 1,        /* when to come back; CORS; the refusal's own */
    TEXT_BYTES = 8 * 1024,
    REFUSAL_MEMORY_BYTES = 12 * 1024,
};
_Static_assert(HEAD_BYTES + FIELDS_MOST * FIELD_BYTES + HTTP_REFUSAL_BYTES <= TEXT_BYTES, "all of it goes in");
_Static_assert(HTTP_REFUSAL_BYTES + TEXT_BYTES + 64 <= REFUSAL_MEMORY_BYTES, "the body, then the whole, aligned");

void http_refuse(http_conn *c, const http_request *asked, const http_refusal *why, const http_busy *busy) {
    CHECK(http_locked(c->server));
    http_server *s = c->server;
    http_field extra[HTTP_EXTRA_FIELDS];
    char memory[REFUSAL_MEMORY_BYTES], id[HTTP_ID_BYTES];
    mem_arena arena;
    mem_arena_over(&arena, memory, sizeof memory);
    base_alloc alloc = mem_arena_alloc(&arena);
    buf json, text;
    buf_init(&json, &alloc, HTTP_REFUSAL_BYTES);
    buf_reserve(&json, HTTP_REFUSAL_BYTES - 2);
    http_make_id(s, id);
    int status = http_word_refusal(s, asked, why, id, &json);
    uint32_t n = asked && s->config.extra_fields ? s->config.extra_fields(s->ctx, asked, extra) : 0;
    buf_init(&text, &alloc, TEXT_BYTES);
    buf_reserve(&text, TEXT_BYTES - 2);
    put_head(&text, status, id, json.len);
    if (busy) put_fields(&text, busy->fields, busy->n);
    put_fields(&text, extra, n);
    if (*why->field.name) put_fields(&text, &why->field, 1);
    buf_append_str(&text, STR("\r\n"));
    if (!asked || !str_is(asked->method, "HEAD")) buf_append_str(&text, buf_str(&json));
    CHECK(!text.failed);
    /* Nothing of ours waits in this socket, so a short text goes in whole; if the client left, so be it. */
    (void)!send(c->fd, text.data, text.len, MSG_DONTWAIT | MSG_NOSIGNAL);
    (void)shutdown(c->fd, SHUT_WR);
    c->phase = CONN_REFUSED;
    c->deadline_ns = http_deadline_in(HTTP_LINGER_MS);
    s->counts.refused++;
}
