/* From the first header to the handler: checks, body, deadlines, and the one exit of every request. */
#include <strings.h>
#include <sys/socket.h>

#include "base/check.h"
#include "http/internal.h"

/* ---- what the headers say ---- */

typedef struct headers {
    const char *cursor; /* end of what was seen last, in the library's own buffer */
    bool in_place, bad_name;
    int hosts, lengths, encodings;
    bool chunked, compressed;
    str length_text;
} headers;

static bool is_token(str s) {
    static const char others[] = "!#$%&'*+-.^_`|~";
    for (size_t i = 0; i < s.len; i++) {
        char c = s.data[i];
        bool alnum = (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
        if (!alnum && (!c || !strchr(others, c))) return false;
    }
    return s.len > 0;
}

static bool is_name(str s, const char *name) { return s.len == strlen(name) && !strncasecmp(s.data, name, s.len); }

static enum MHD_Result on_header(void *cls, enum MHD_ValueKind kind, const char *key, size_t key_len, const char *value,
                                 size_t value_len) {
    (void)kind;
    headers *h = cls;
    str name = {key, key_len}, text = {value ? value : "", value ? value_len : 0};
    h->bad_name |= !is_token(name);
    h->in_place &= key == h->cursor + 2; /* CR and LF, and nothing else, lay between */
    h->cursor = text.data + text.len;
    if (is_name(name, "Host")) h->hosts++;
    if (is_name(name, "Content-Length")) h->lengths++, h->length_text = text;
    if (is_name(name, "Transfer-Encoding")) h->encodings++, h->chunked = is_name(text, "chunked");
    if (is_name(name, "Content-Encoding")) h->compressed |= text.len && !is_name(text, "identity");
    return MHD_YES;
}

/* The library parses in place and is lenient: bare LF, NULs and folded lines leave no trace in what it
 * hands out but this one: names and values then do not lie side by side. Known of this version; later
 * ones are strict themselves. */
static bool parses_in_place(void) { return !strcmp(MHD_get_version(), "0.9.75"); }

static const http_refusal overdue = {429, "too_many_requests", "those who came before took too long to prepare"},
                          body_too_large = {413, "body_too_large", "the body is larger than --body-limit allows"};

/* A number of any size is one: what does not fit is merely too large. */
static bool length_is_number(str s, uint64_t *length) {
    *length = 0;
    for (size_t i = 0; i < s.len; i++) {
        if (s.data[i] < '0' || s.data[i] > '9') return false;
        *length = *length > UINT64_MAX / 16 ? UINT64_MAX - 1 : *length * 10 + (uint64_t)(s.data[i] - '0');
    }
    return s.len > 0;
}

/* What a request asks for: "/path", or "http://host/path" (RFC 9112, 3.2.2). False when it is neither, nor "*". */
static bool read_target(http_request *r, const char *url) {
    str path = str_of(url);
    for (const char *scheme = "https://";; scheme = "http://") {
        size_t n = strlen(scheme);
        if (path.len > n && !strncasecmp(path.data, scheme, n)) {
            const char *slash = memchr(path.data + n, '/', path.len - n), *end = path.data + path.len;
            r->authority = (str){path.data + n, (size_t)((slash ? slash : end) - path.data) - n};
            path = slash ? (str){slash, (size_t)(end - slash)} : STR("/");
            if (!r->authority.len) return false;
            break;
        }
        if (scheme[4] == ':') break;
    }
    while (path.len > 1 && path.data[path.len - 1] == '/') path.len--;
    while (path.len > 1 && path.data[1] == '/') path.data++, path.len--; /* a base URL's slash, and the path's */
    r->path = path;
    return path.data[0] == '/' || str_is(path, "*");
}

http_request http_asked_of(http_server *s, struct MHD_Connection *mhd, const char *url, const char *method) {
    http_request r = {.server = s, .mhd = mhd, .method = str_of(method)};
    if (!read_target(&r, url)) r.path = str_of(url);
    return r;
}

/* The first line is there, and no header yet. In place of what is returned the library hands out *context. */
void *http_on_line(void *cls, const char *url, struct MHD_Connection *mhd) {
    const union MHD_ConnectionInfo *info = MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    http_conn *c = info ? info->socket_context : NULL;
    (void)cls;
    if (c) c->url = url;
    return NULL;
}

/* %00 and its like, which http_unescape leaves as a control character. */
static bool has_controls(const char *url) {
    for (; *url; url++)
        if ((unsigned char)*url < 0x20 || *url == 0x7F) return true;
    return false;
}

/* NULL when the request may have a slot; body_bytes: UINT64_MAX when chunked. */
static const http_refusal *check_headers(http_server *s, struct MHD_Connection *mhd, const char *method,
                                         const char *url, const char *version, uint64_t *body_bytes) {
    static const http_refusal malformed = {400, "malformed_request", "the request's header is malformed"},
                              two_lengths = {400, "malformed_request", "more than one Content-Length"},
                              both = {400, "malformed_request", "Content-Length and Transfer-Encoding together"},
                              encoding = {400, "malformed_request", "a Transfer-Encoding other than chunked"},
                              host = {400, "malformed_request", "exactly one Host header is required"},
                              controls = {400, "malformed_request", "the path has control characters"},
                              compressed = {415, "unsupported_encoding",
                                            "compressed bodies are not read: send it without Content-Encoding",
                                            {"Accept-Encoding", "identity"}},
                              too_long = {414, "uri_too_long", "the path is longer than 2048 bytes"},
                              too_many = {431, "headers_too_large", "the headers are larger than 12 KiB"};
    headers h = {.in_place = true, .cursor = version + strlen(version)};
    MHD_get_connection_values_n(mhd, MHD_HEADER_KIND, on_header, &h);
    const union MHD_ConnectionInfo *info = MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_REQUEST_HEADER_SIZE);
    size_t header_bytes = info ? info->header_size : 0;
    h.in_place &= h.cursor + 4 == method + header_bytes;

    if (h.bad_name || (parses_in_place() && !h.in_place)) return &malformed;
    if (!read_target(&(http_request){.server = s}, url)) return &malformed;
    if (has_controls(url)) return &controls;
    if (strlen(url) > HTTP_PATH_LIMIT_BYTES) return &too_long;
    if (header_bytes > HTTP_HEADERS_LIMIT_BYTES) return &too_many;
    if (h.hosts > 1 || (h.hosts == 0 && strcmp(version, "HTTP/1.0") != 0)) return &host;
    if (h.encodings && h.lengths) return &both;
    if (h.encodings > 1 || (h.encodings && !h.chunked)) return &encoding;
    if (h.lengths > 1) return &two_lengths;
    *body_bytes = h.chunked ? UINT64_MAX : 0;
    if (h.lengths && !length_is_number(h.length_text, body_bytes)) return &malformed;
    if (h.compressed && *body_bytes) return &compressed;
    if (h.lengths && *body_bytes > s->config.body_limit_bytes) return &body_too_large;
    return NULL;
}

/* ---- the request's way ---- */

/* Lock let go meanwhile; without a deadline the watcher leaves the connection alone. */
static const http_refusal *ask_gate(http_conn *c, struct MHD_Connection *mhd, const char *url, const char *method) {
    http_server *s = c->server;
    const http_request asked = http_asked_of(s, mhd, url, method);
    c->deadline_ns = 0;
    http_unlock(s);
    const http_refusal *why = s->config.gate(s->ctx, &asked);
    http_lock(s);
    return why;
}

static void name_request(const http_conn *c, const char *url, const char *method) {
    http_request *r = c->request;
    if (r->method.len) return;
    r->method = str_of(method);
    (void)read_target(r, url);
}

/* All headers are in. NULL, or why the request gets no further; need_bytes: of buffers. Lock held. */
static const http_refusal *begin(http_conn *c, struct MHD_Connection *mhd, const char *url, const char *method,
                                 const char *version, uint64_t *need_bytes) {
    http_server *s = c->server;
    CHECK(c->phase == CONN_WAITING);
    s->counts.requests++;

    uint64_t body_bytes = 0;
    const http_refusal *why = check_headers(s, mhd, method, url, version, &body_bytes);
    if (why) return why;
    bool known = body_bytes != UINT64_MAX;
    *need_bytes = HTTP_INLINE_BYTES + (known ? body_bytes : 0);
    if (s->draining) return &http_draining;
    if (s->config.gate && (why = ask_gate(c, mhd, url, method))) return why;
    c->mhd = mhd;
    c->need_bytes = known ? body_bytes : 0;
    c->turned_away = NULL;
    if (!body_bytes && !http_take_slot(s, c, false)) return http_no_room(c);
    bool inside = !body_bytes || http_take_room(c);
    c->phase = inside ? CONN_BODY : CONN_OUTSIDE; /* it waits once there is something to read */
    c->deadline_ns = http_deadline_in(s->config.body_timeout_ms);
    if (inside) name_request(c, url, method);
    return NULL;
}

/* How long a chunked body gets is known at its end: it has room for the longest, so that no two wait for each other. */
static bool has_room(http_conn *c, size_t len) {
    http_request *r = c->request;
    if (c->phase == CONN_BODY && r->buffer.len + len <= r->buffer.cap) return true;
    if (c->phase == CONN_BODY) c->need_bytes = c->server->config.body_limit_bytes;
    return http_take_room(c);
}

/* As begin. *len: what is left of data when the connection was put to sleep, to be asked again. */
static const http_refusal *take_body(http_conn *c, const char *url, const char *method, const char *data, size_t *len,
                                     uint64_t *need_bytes) {
    http_server *s = c->server;
    size_t total = (c->request ? c->request->buffer.len : 0) + *len;
    *need_bytes = HTTP_INLINE_BYTES + (c->need_bytes > total ? c->need_bytes : total);
    if (c->turned_away) return c->turned_away;
    if (total > s->config.body_limit_bytes) return &body_too_large;
    if (!has_room(c, *len)) {
        c->phase = CONN_OUTSIDE;
        http_wait_for_room(c);
        return c->turned_away;
    }
    c->phase = CONN_BODY;
    name_request(c, url, method);
    http_buffer *b = &c->request->buffer;
    if (*len) memcpy(b->data + b->len, data, *len);
    b->len = total;
    *len = 0;
    return NULL;
}

/* Lock held, but for the moment in which it is asked how busy we are: the watcher may then end the connection. */
static void refuse(http_conn *c, const http_request *asked, const http_refusal *why, uint64_t need_bytes) {
    http_server *s = c->server;
    http_busy busy = {.n = 0};
    http_unlock(s);
    if (why->status == 429 || why->status == 503) busy.n = http_ask_busy_fields(s, need_bytes, busy.fields);
    http_lock(s);
    if (c->phase != CONN_REFUSED) http_refuse(c, asked, why, &busy);
}

static enum MHD_Result run_handler(http_conn *c) {
    http_server *s = c->server;
    http_request *r = c->request;
    http_buffer_trim(&s->pool, &r->buffer);
    http_let_in(s);
    http_unlock(s);
    s->handler(s->ctx, r);
    if (r->answer != ANSWER_NONE) return http_send_answer(r);
    CHECK(r->work); /* a handler replies, streams, or hands over */
    return http_work_enqueue(r) ? MHD_YES : MHD_NO;
}

enum MHD_Result http_on_request(void *cls, struct MHD_Connection *mhd, const char *url, const char *method,
                                const char *version, const char *data, size_t *len, void **context) {
    http_server *s = cls;
    const union MHD_ConnectionInfo *info = MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    http_conn *c = info ? info->socket_context : NULL;
    if (!c) return MHD_NO;
    enum MHD_Result result = MHD_YES;
    const http_refusal *why = NULL;
    uint64_t need_bytes = 0;
    http_lock(s);
    bool ends = *context && !*len; /* all of the body is there */
    if (!*context) {
        *context = c;
        if (c->phase == CONN_REFUSED) result = MHD_NO; /* its deadline passed */
        else why = begin(c, mhd, url, method, version, &need_bytes);
    } else if (c->phase == CONN_REFUSED) {
        result = ends ? MHD_NO : MHD_YES;
        *len = 0; /* what follows a refusal is dropped */
    } else if (c->phase == CONN_ANSWER && c->request->overdue) {
        why = &overdue;
        need_bytes = HTTP_INLINE_BYTES + c->request->buffer.len;
        result = MHD_NO;
    } else if (c->phase == CONN_ANSWER) {
        http_unlock(s);
        return http_send_answer(c->request); /* a late answer was woken, or the worker has done its part */
    } else if ((why = take_body(c, url, method, data, len, &need_bytes))) {
        *len = 0;
    } else if (ends && c->phase == CONN_BODY) {
        c->phase = CONN_ANSWER;
        c->deadline_ns = 0;
        c->generation++;
        return run_handler(c);
    }
    const http_request asked = http_asked_of(s, mhd, url, method);
    if (why && c->request) http_give_slot(c->request);
    if (why) refuse(c, &asked, why, need_bytes);
    http_unlock(s);
    return result;
}

/* The one exit: the answer has gone out, or the connection has ended some other way. */
void http_on_completed(void *cls, struct MHD_Connection *mhd, void **context, enum MHD_RequestTerminationCode why) {
    (void)mhd;
    http_server *s = cls;
    http_conn *c = *context;
    *context = NULL;
    if (!c) return;
    http_lock(s);
    c->url = NULL;
    http_request *r = c->request;
    CHECK(!r || r->work_state == WORK_NONE); /* it sleeps as long as a worker has it */
    bool completed = r && why == MHD_REQUEST_TERMINATED_COMPLETED_OK && !r->client_gone;
    if (r && !completed) s->counts.disconnects++;
    if (r) {
        http_unwatch_client(c);
        r->ended = true;
        http_unlock(s);
        if (r->gone) r->gone(r->ctx, completed); /* whoever wakes this stream still finds it, and does no harm */
        http_lock(s);
        http_give_slot(r);
    }
    if (c->phase != CONN_REFUSED) {
        c->phase = CONN_WAITING;
        c->used_before = true;
        c->deadline_ns = http_deadline_in(s->config.idle_timeout_ms);
    }
    http_unlock(s);
}

void http_on_connection(void *cls, struct MHD_Connection *mhd, void **context,
                        enum MHD_ConnectionNotificationCode what) {
    http_server *s = cls;
    http_lock(s);
    if (what == MHD_CONNECTION_NOTIFY_CLOSED) {
        http_conn *c = *context;
        if (c) {
            c->phase = CONN_FREE;
            s->counts.connections--;
        }
        http_unlock(s);
        return;
    }
    http_conn *c = NULL;
    for (uint32_t i = 0; i < s->conn_count && !c; i++)
        if (s->conns[i].phase == CONN_FREE) c = &s->conns[i];
    CHECK(c); /* there is one for each connection that the library may hold */
    const union MHD_ConnectionInfo *info = MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_CONNECTION_FD);
    *c = (http_conn){.server = s, .fd = info->connect_fd, .phase = CONN_WAITING, .generation = c->generation + 1,
                     .deadline_ns = http_deadline_in(s->config.header_timeout_ms)};
    *context = c;
    bool first = s->counts.connections++ == 0;
    http_unlock(s);
    if (first) http_watch_poke(s);
}

static int hex_value(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* %00 becomes another control character, so that no text is cut short; what is no escape stays as it is. */
size_t http_unescape(void *cls, struct MHD_Connection *mhd, char *text) {
    (void)cls, (void)mhd;
    char *out = text;
    for (const char *in = text; *in;) {
        int high = *in == '%' ? hex_value(in[1]) : -1, low = high >= 0 ? hex_value(in[2]) : -1;
        if (low >= 0) {
            *out++ = (char)(high + low ? high << 4 | low : 1);
            in += 3;
        } else {
            *out++ = *in++;
        }
    }
    *out = 0;
    return (size_t)(out - text);
}

/* ---- what a handler may ask ---- */

str http_method(const http_request *r) { return r->method; }
str http_path(const http_request *r) { return r->path; }
str http_host(const http_request *r) { return r->authority.len ? r->authority : http_header(r, "Host"); }
str http_body(const http_request *r) { return (str){r->buffer.data, r->buffer.len}; }
const char *http_request_id(const http_request *r) { return r->id; }

static str look_up(const http_request *r, enum MHD_ValueKind kind, const char *name) {
    const char *value = NULL;
    size_t len = 0;
    if (MHD_lookup_connection_value_n(r->mhd, kind, name, strlen(name), &value, &len) == MHD_NO || !value)
        return STR("");
    return (str){value, len};
}

str http_header(const http_request *r, const char *name) { return look_up(r, MHD_HEADER_KIND, name); }
str http_query(const http_request *r, const char *name) { return look_up(r, MHD_GET_ARGUMENT_KIND, name); }
