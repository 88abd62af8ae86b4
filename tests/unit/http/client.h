/* A raw-socket client for the tests of http/: sends bytes as they are, reads one answer at a time. */
#ifndef TESTS_UNIT_HTTP_CLIENT_H
#define TESTS_UNIT_HTTP_CLIENT_H

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdio.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

typedef struct client {
    int fd;
    char *data; /* received and not yet consumed */
    size_t len, cap;
} client;

typedef struct answer_text {
    int status;
    char head[4096];
    char *body;
    size_t len;
    bool cut; /* the connection ended before the answer did */
} answer_text;

static inline client client_open(uint16_t port) {
    client c = {.fd = socket(AF_INET, SOCK_STREAM, 0)};
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct timeval limit = {.tv_sec = 20};
    setsockopt(c.fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    setsockopt(c.fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
    assert_int_equal(connect(c.fd, (struct sockaddr *)&to, sizeof to), 0);
    return c;
}

static inline void client_close(client *c) {
    close(c->fd);
    free(c->data);
    *c = (client){.fd = -1};
}

/* False when the server ended the connection meanwhile. */
static inline bool client_send(client *c, const void *data, size_t len) {
    for (size_t done = 0; done < len;) {
        ssize_t n = send(c->fd, (const char *)data + done, len - done, MSG_NOSIGNAL);
        if (n <= 0) return false;
        done += (size_t)n;
    }
    return true;
}

static inline bool client_text(client *c, const char *text) { return client_send(c, text, strlen(text)); }

/* One more piece; false at the end (or after 20 s, which no test should see). */
static inline bool client_more(client *c) {
    if (c->cap - c->len < 65536) c->data = realloc(c->data, c->cap = c->cap * 2 + 65536);
    ssize_t n = recv(c->fd, c->data + c->len, c->cap - c->len, 0);
    if (n < 0 && errno == EAGAIN) fail_msg("no answer within 20 s");
    if (n <= 0) return false;
    c->len += (size_t)n;
    return true;
}

static inline void client_consume(client *c, size_t n) {
    memmove(c->data, c->data + n, c->len - n);
    c->len -= n;
}

static inline const char *header_of(const answer_text *a, const char *name) {
    static __thread char value[256];
    size_t len = strlen(name);
    for (const char *line = strchr(a->head, '\n'); line; line = strchr(line + 1, '\n')) {
        if (strncasecmp(line + 1, name, len) || line[1 + len] != ':') continue;
        const char *text = line + 2 + len + strspn(line + 2 + len, " ");
        snprintf(value, sizeof value, "%.*s", (int)strcspn(text, "\r\n"), text);
        return value;
    }
    return NULL;
}

static inline bool read_exactly(client *c, answer_text *a, size_t n) {
    while (c->len < n)
        if (!client_more(c)) return false;
    a->body = realloc(a->body, a->len + n + 1);
    memcpy(a->body + a->len, c->data, n);
    a->body[a->len += n] = 0;
    client_consume(c, n);
    return true;
}

/* One chunk of a chunked body; 0 at its end, -1 when the connection ended. */
static inline long read_chunk(client *c, answer_text *a) {
    char *end;
    while (!c->len || !(end = memmem(c->data, c->len, "\r\n", 2)))
        if (!client_more(c)) return -1;
    size_t n = strtoul(c->data, NULL, 16);
    client_consume(c, (size_t)(end - c->data) + 2);
    if (!read_exactly(c, a, n + 2)) return -1;
    a->body[a->len -= 2] = 0;
    return (long)n;
}

/* The head only; false when the connection ended without one. 100 Continue is passed over. */
static inline bool read_head(client *c, answer_text *a) {
    char *end;
    *a = (answer_text){.body = calloc(1, 1)};
    do {
        while (!c->len || !(end = memmem(c->data, c->len, "\r\n\r\n", 4)))
            if (!client_more(c)) return false;
        size_t n = (size_t)(end - c->data) + 4;
        assert_true(n < sizeof a->head);
        memcpy(a->head, c->data, n);
        a->head[n] = 0;
        client_consume(c, n);
        assert_int_equal(sscanf(a->head, "HTTP/1.1 %d ", &a->status), 1);
    } while (a->status == 100);
    return true;
}

static inline answer_text read_answer(client *c, bool head_request) {
    answer_text a;
    if (!read_head(c, &a)) return a.cut = true, a;
    const char *length = header_of(&a, "Content-Length"), *encoding = header_of(&a, "Transfer-Encoding");
    if (head_request) return a;
    if (encoding || !length) {
        long n = 1;
        while (encoding && n > 0) n = read_chunk(c, &a);
        a.cut = n < 0;
    } else {
        a.cut = !read_exactly(c, &a, strtoul(length, NULL, 10));
    }
    return a;
}

/* Sends text, reads one answer, frees its body; the status, or 0 when there was none. */
static inline int ask(client *c, const char *text) {
    client_text(c, text);
    answer_text a = read_answer(c, false);
    free(a.body);
    return a.cut ? 0 : a.status;
}

static inline bool is_closed(client *c) { /* waits for it */
    while (client_more(c)) continue;
    return true;
}

#endif
