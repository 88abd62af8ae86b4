#include "cli/client.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"

/* ---- where to ---- */

static bool parse_port(const char *text, uint16_t *port) {
    char *end;
    unsigned long v = strtoul(text, &end, 10);
    if (*text < '0' || *text > '9' || *end || v == 0 || v > 65535) return false;
    *port = (uint16_t)v;
    return true;
}

bool cli_url_parse(const char *text, cli_url *out, err *e) {
    const char *s = text;
    char rest[CLI_HOST_BYTES];
    if (!strncmp(s, "https://", 8)) return err_set(e, ERR_USAGE, "'%.80s': https is not spoken here", text);
    if (!strncmp(s, "http://", 7)) s += 7;
    size_t n = strcspn(s, "/");
    if (n >= sizeof rest || (s[n] == '/' && s[n + 1]))
        return err_set(e, ERR_USAGE, "'%.80s' is not the address of a server (http://127.0.0.1:8080)", text);
    memcpy(rest, s, n);
    rest[n] = 0;
    *out = (cli_url){.host = "127.0.0.1", .port = 8080};
    if (n && parse_port(rest, &out->port)) return true;
    struct in6_addr unused;
    bool bare = inet_pton(AF_INET6, rest, &unused) == 1; /* an IPv6 address without brackets has no port */
    char *end = *rest == '[' ? strchr(rest, ']') : NULL, *colon = bare ? NULL : strchr(end ? end : rest, ':');
    if (*rest == '[' && (!end || (end[1] && colon != end + 1)))
        return err_set(e, ERR_USAGE, "'%.80s': an IPv6 address stands in brackets: http://[::1]:8080", text);
    if (colon && !parse_port(colon + 1, &out->port))
        return err_set(e, ERR_USAGE, "'%.80s': the port must be 1 to 65535", text);
    if (colon) *colon = 0;
    if (*rest) (void)plat_url_host(rest, out->host);
    return true;
}

/* ---- an answer ---- */

void cli_answer_begin(cli_answer *a) {
    a->state = ANSWER_LINE;
    a->status = 0;
    a->closes = a->chunked = a->has_length = false;
    a->in_headers = true;
    a->left = a->body_bytes = a->line_len = 0;
}

static bool no_http(const char *what, err *e) {
    return err_set(e, ERR_INVALID, "the server's answer is not HTTP: %s", what);
}

static bool read_size(const char *text, int base, uint64_t *out) {
    char *end;
    errno = 0;
    unsigned long long v = strtoull(text, &end, base);
    while (*end == ' ' || *end == '\t') end++;
    if (end == text || *text == '-' || errno || (*end && *end != ';') || v > 1ull << 40) return false;
    *out = v;
    return true;
}

static bool status_line(cli_answer *a, err *e) {
    if (strncmp(a->line, "HTTP/1.", 7) || strlen(a->line) < 12 || a->line[8] != ' ')
        return no_http("its first line", e);
    a->status = atoi(a->line + 9);
    a->closes = a->line[7] == '0';
    return (a->status >= 100 && a->status <= 599) || no_http("its status", e);
}

static bool header_line(cli_answer *a, err *e) {
    char *colon = strchr(a->line, ':');
    if (!colon) return no_http("a header without a colon", e);
    *colon = 0;
    const char *value = colon + 1 + strspn(colon + 1, " \t");
    if (!strcasecmp(a->line, "Content-Length")) {
        a->has_length = read_size(value, 10, &a->left);
        return a->has_length || no_http("its length", e);
    }
    if (!strcasecmp(a->line, "Transfer-Encoding")) a->chunked = !strcasecmp(value, "chunked");
    if (!strcasecmp(a->line, "Connection")) a->closes = !strcasecmp(value, "close");
    return true;
}

static void headers_end(cli_answer *a) {
    if (a->status < 200) { /* an interim one; the answer follows */
        cli_answer_begin(a);
        return;
    }
    a->in_headers = false;
    if (a->status == 204 || a->status == 304) a->state = ANSWER_DONE;
    else if (a->chunked) a->left = 0;
    else if (a->has_length) a->state = a->left ? ANSWER_BODY : ANSWER_DONE;
    else a->state = ANSWER_TO_CLOSE, a->closes = true;
}

/* Between chunks. `has_length` says here that the last chunk came: what follows are trailers. */
static bool chunk_line(cli_answer *a, err *e) {
    if (a->has_length) {
        if (a->line_len == 0) a->state = ANSWER_DONE;
        return true;
    }
    if (a->line_len == 0 && a->body_bytes) return true; /* what ends a chunk */
    if (!read_size(a->line, 16, &a->left)) return no_http("the size of a chunk", e);
    if (a->left) a->state = ANSWER_BODY;
    else a->has_length = true;
    return true;
}

static bool line_is_whole(cli_answer *a, err *e) {
    if (a->line_len && a->line[a->line_len - 1] == '\r') a->line_len--;
    a->line[a->line_len] = 0;
    bool good = true;
    if (!a->status) good = status_line(a, e);
    else if (!a->in_headers) good = chunk_line(a, e);
    else if (a->line_len) good = header_line(a, e);
    else {
        if (a->chunked) a->has_length = false;
        headers_end(a);
    }
    a->line_len = 0;
    return good;
}

static bool feed_line(cli_answer *a, str *bytes, err *e) {
    const char *end = memchr(bytes->data, '\n', bytes->len);
    size_t n = end ? (size_t)(end - bytes->data) : bytes->len;
    if (a->line_len + n >= sizeof a->line) return no_http("a line of more than 1023 bytes", e);
    memcpy(a->line + a->line_len, bytes->data, n);
    a->line_len += n;
    bytes->data += n + (end != NULL);
    bytes->len -= n + (end != NULL);
    return !end || line_is_whole(a, e);
}

static bool feed_body(cli_answer *a, str *bytes, buf *body, err *e) {
    size_t n = bytes->len;
    if (a->state == ANSWER_BODY && n > a->left) n = (size_t)a->left;
    if (body) buf_append(body, bytes->data, n);
    if (body && body->failed)
        return err_set(e, ERR_TOO_LARGE, "the server's answer has more than %zu bytes", body->limit);
    a->body_bytes += n;
    bytes->data += n;
    bytes->len -= n;
    if (a->state == ANSWER_BODY && !(a->left -= n)) a->state = a->chunked ? ANSWER_LINE : ANSWER_DONE;
    return true;
}

bool cli_answer_feed(cli_answer *a, str bytes, buf *body, err *e) {
    while (bytes.len) {
        if (a->state == ANSWER_DONE) return no_http("something follows it", e);
        bool good = a->state == ANSWER_LINE ? feed_line(a, &bytes, e) : feed_body(a, &bytes, body, e);
        if (!good) return false;
    }
    return true;
}

bool cli_answer_closed(cli_answer *a, err *e) {
    if (a->state == ANSWER_TO_CLOSE) a->state = ANSWER_DONE;
    if (a->state == ANSWER_DONE) return true;
    return err_set(e, ERR_IO, a->status ? "the server closed the connection inside its answer"
                                        : "the server closed the connection without an answer");
}

/* ---- one request ---- */

typedef struct exchange {
    int fd;
    uint64_t end_ns;
    const char *host;
    uint16_t port;
} exchange;

static bool wait_for(const exchange *x, short events, const char *what, err *e) {
    struct pollfd p = {.fd = x->fd, .events = events};
    for (;;) {
        uint64_t now = clock_now_ns();
        int left_ms = now < x->end_ns ? (int)((x->end_ns - now + 999999) / 1000000) : 0;
        int n = poll(&p, 1, left_ms);
        if (n > 0) return true;
        if (n == 0) return err_set(e, ERR_BUSY, "http://%s:%u: %s took too long", x->host, x->port, what);
        if (errno != EINTR) return err_set(e, ERR_IO, "cannot wait for a socket: %s", strerror(errno));
    }
}

static bool open_connection(exchange *x, err *e) {
    plat_address address;
    if (!plat_address_find(&address, x->host, x->port, e)) return false;
    x->fd = socket(address.of.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (x->fd < 0) return err_set(e, ERR_IO, "cannot open a socket: %s", strerror(errno));
    int failed = connect(x->fd, (struct sockaddr *)&address.of, address.len) ? errno : 0;
    if (failed == EINPROGRESS) {
        socklen_t size = sizeof failed;
        if (!wait_for(x, POLLOUT, "the connection", e)) return false;
        (void)getsockopt(x->fd, SOL_SOCKET, SO_ERROR, &failed, &size);
    }
    return !failed || err_set(e, ERR_IO, "nobody answers at http://%s:%u: %s", x->host, x->port, strerror(failed));
}

static bool send_all(const exchange *x, str bytes, err *e) {
    while (bytes.len) {
        ssize_t n = send(x->fd, bytes.data, bytes.len, MSG_NOSIGNAL);
        if (n < 0 && errno == EPIPE) return true; /* it may have answered all the same */
        if (n < 0 && errno != EAGAIN && errno != EINTR)
            return err_set(e, ERR_IO, "http://%s:%u: %s", x->host, x->port, strerror(errno));
        if (n < 0 && !wait_for(x, POLLOUT, "sending", e)) return false;
        if (n > 0) bytes.data += n, bytes.len -= (size_t)n;
    }
    return true;
}

static bool receive(const exchange *x, cli_answer *a, buf *body, err *e) {
    char bytes[16 * 1024];
    while (a->state != ANSWER_DONE) {
        ssize_t n = recv(x->fd, bytes, sizeof bytes, 0);
        if (n == 0) return cli_answer_closed(a, e);
        if (n > 0 && !cli_answer_feed(a, (str){bytes, (size_t)n}, body, e)) return false;
        if (n < 0 && errno != EAGAIN && errno != EINTR)
            return err_set(e, ERR_IO, "http://%s:%u: %s", x->host, x->port, strerror(errno));
        if (n < 0 && !wait_for(x, POLLIN, "the answer", e)) return false;
    }
    return true;
}

enum { KEY_BYTES = 256 };
static char authorization[KEY_BYTES + 32]; /* a header line, or nothing */

bool cli_http_use_key(const char *keys, err *e) {
    size_t n = strcspn(keys, ",");
    for (size_t i = 0; i < n; i++)
        if (n >= KEY_BYTES || keys[i] < 0x21 || keys[i] == 0x7F)
            return err_set(e, ERR_USAGE, "--api-key is no key: it has blanks, controls or more than %d bytes",
                           KEY_BYTES - 1);
    authorization[0] = 0;
    if (n) snprintf(authorization, sizeof authorization, "Authorization: Bearer %.*s\r\n", (int)n, keys);
    return true;
}

bool cli_http(const char *host, uint16_t port, const char *method, const char *path, str body, uint32_t timeout_ms,
              int *status, buf *answer, err *e) {
    exchange x = {.fd = -1, .end_ns = clock_now_ns() + timeout_ms * 1000000ull, .host = host, .port = port};
    char head[CLI_LINE_BYTES];
    cli_answer a;
    cli_answer_begin(&a);
    int n = snprintf(head, sizeof head,
                     "%s %s HTTP/1.1\r\nHost: %s:%u\r\nConnection: close\r\nContent-Type: application/json\r\n"
                     "Content-Length: %zu\r\n%s\r\n",
                     method, path, host, port, body.len, authorization);
    if (n < 0 || (size_t)n >= sizeof head) return err_set(e, ERR_USAGE, "the path is too long");
    bool good = open_connection(&x, e) && send_all(&x, (str){head, (size_t)n}, e) && send_all(&x, body, e) &&
                receive(&x, &a, answer, e);
    if (x.fd >= 0) close(x.fd);
    *status = a.status;
    return good;
}
