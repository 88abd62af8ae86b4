#include <stdio.h>
#include <sys/socket.h>

#include "base/clock.h"
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
    return status == 429 ? "rate_limit_error" : status >= 500 ? "server_error" : "invalid_request_error";
}

void http_make_id(http_server *s, char out[HTTP_ID_BYTES]) {
    snprintf(out, HTTP_ID_BYTES, "req_%016llx%06llx", (unsigned long long)rng_next(&s->ids),
             (unsigned long long)(rng_next(&s->ids) & 0xFFFFFF));
}

static size_t write_refusal(char *text, size_t size, const char *id, int status, const char *code, const char *message,
                            bool without_body) {
    char memory[1024];
    mem_arena arena;
    mem_arena_over(&arena, memory, sizeof memory);
    base_alloc alloc = mem_arena_alloc(&arena);
    buf json;
    buf_init(&json, &alloc, sizeof memory);
    http_error_json(&json, message, error_type(status), NULL, code);
    bool busy = status == 429 || status == 503;
    int n =
        snprintf(text, size,
                 "HTTP/1.1 %d %s\r\nx-request-id: %s\r\nContent-Type: application/json\r\nContent-Length: %zu\r\n"
                 "%sConnection: close\r\n\r\n%s",
                 status, MHD_get_reason_phrase_for((unsigned)status), id, json.len,
                 busy ? "Retry-After: 1\r\n" : "", without_body ? "" : buf_str(&json).data);
    return n < 0 ? 0 : (size_t)n < size ? (size_t)n : size - 1;
}

void http_refuse(http_conn *c, int status, const char *code, const char *message, bool without_body) {
    char text[1536], id[HTTP_ID_BYTES];
    http_make_id(c->server, id);
    size_t len = write_refusal(text, sizeof text, id, status, code, message, without_body);
    /* Nothing of ours waits in this socket, so a short text goes in whole; if the client left, so be it. */
    (void)!send(c->fd, text, len, MSG_DONTWAIT | MSG_NOSIGNAL);
    (void)shutdown(c->fd, SHUT_WR);
    c->phase = CONN_REFUSED;
    c->deadline_ns = clock_now_ns() + HTTP_LINGER_MS * 1000000ull;
    c->server->counts.refused++;
}
