/* cli/client — a small HTTP/1.1 client, for commands that ask a running server: top, load.
 *
 * Owns: URLs as people type them, one request over one socket with a deadline, and the reading of an answer as its
 * bytes arrive (Content-Length, chunks, or until the connection closes). No TLS,
 * no redirects. Whatever the other side sends is a stranger's: every length is bounded, and what is not HTTP is an
 * error in words.
 */
#ifndef CLI_CLIENT_H
#define CLI_CLIENT_H


#include "base/err.h"
#include "base/str.h"
#include "plat/address.h"

enum { CLI_HOST_BYTES = PLAT_URL_HOST_BYTES, CLI_LINE_BYTES = 1024 };

typedef struct cli_url {
    char host[CLI_HOST_BYTES];
    uint16_t port;
} cli_url;

/* "http://host:port", "host:port", "host", ":port", "port"; no path after it. Defaults: 127.0.0.1, 8080. An IPv6
 * address stands in brackets, also in *out. */
bool cli_url_parse(const char *text, cli_url *out, err *e);

/* One request on a connection of its own. The whole exchange ends within timeout_ms. The answer's body is appended
 * to *answer, whose limit bounds it. */
bool cli_http(const char *host, uint16_t port, const char *method, const char *path, str body, uint32_t timeout_ms,
              int *status, buf *answer, err *e);

/* From now on requests carry this key (Authorization: Bearer); of several, separated by commas, the first. */
bool cli_http_use_key(const char *keys, err *e);

/* ---- an answer, read as it arrives ---- */

typedef enum cli_answer_state {
    ANSWER_LINE,      /* status, headers, sizes of chunks and what ends them */
    ANSWER_BODY,      /* `left` bytes of it, or of a chunk */
    ANSWER_TO_CLOSE,  /* a body that ends with the connection */
    ANSWER_DONE,
} cli_answer_state;

typedef struct cli_answer {
    cli_answer_state state;
    int status; /* 0: its line has not come */
    bool closes, chunked, in_headers, has_length;
    uint64_t left, body_bytes;
    char line[CLI_LINE_BYTES];
    size_t line_len;
} cli_answer;

void cli_answer_begin(cli_answer *a);
/* All of the bytes belong to this answer, or it is an error (one request at a time). body NULL: only counted. */
bool cli_answer_feed(cli_answer *a, str bytes, buf *body, err *e);
/* The other side has closed: true when the answer is whole by that. */
bool cli_answer_closed(cli_answer *a, err *e);

#endif
