/* http/ — listener, connections, bodies and streams over libmicrohttpd. Knows no language models.
 *
 * Owns: the listening socket, its event thread and two workers, a fixed number of connection slots, one prefaulted
 * pool of body buffers, response writing, and noticing that a client has gone. All of it reserved in the ledger
 * account `http` at start; nothing grows with load, but for answers that find no free buffer: each has a block of its
 * own, reserved first, as long as it goes out.
 *
 * A request's way: headers are checked (method, path length, body length, Transfer-Encoding, Host,
 * deadlines), and the gate is asked → the body arrives into a pooled buffer → the handler is called once on the event
 * thread, and answers at once (http_reply), or opens a stream (http_stream) whose bytes it is later
 * asked for, or hands over (http_hand_over) what may take long to one worker thread, which answers in the same ways.
 * Answers whose wording may take long are worded by a second one (http_word).
 * What is refused before the handler: 400, 401, 403, 408, 413, 414, 415, 429, 431, 503, 505 as JSON
 * {"error":{"message","type","code"}} (the same writer api/ uses), with Connection: close, also where the library's
 * own parser refuses (library.c). A body that finds no slot or no buffer waits for one, first come first served, as
 * long as its client stays and config.wait_timeout_ms allows (admit.c). One slot in eight is kept for requests without
 * a body, so that health and metrics answer under any load.
 *
 * Refuses to be more than it is: no TLS, and a parser that is strict only as far as can be seen from
 * outside it. On a hostile network a reverse proxy stands in front.
 */
#ifndef HTTP_HTTP_H
#define HTTP_HTTP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/str.h"
#include "mem/ledger.h"

typedef struct http_server http_server;
typedef struct http_request http_request;

/* A header of an answer; the value holds no line breaks. */
typedef struct http_field {
    char name[48], value[208];
} http_field;

/* What everything that may be asked for again (429, 503) is told beside the reason, this room's own refusals included.
 * need_bytes: of buffers here, 0 where it lacked something else. Returns how many fields it filled. Called on the event
 * thread, or by whoever gives a late answer, with no lock held. */
enum { HTTP_BUSY_FIELDS = 6 };
typedef uint32_t http_busy_fields(void *ctx, uint64_t need_bytes, http_field out[HTTP_BUSY_FIELDS]);

/* An answer instead of the handler's. */
typedef struct http_refusal {
    int status;
    const char *code, *message;
    http_field field; /* that goes with it; no name: none */
} http_refusal;

/* Asked of every request whose headers are there and say nothing wrong, before it holds anything and before any of its
 * body is read: NULL when it may come in. r lives as long as the call: its method, path, query and headers may be
 * read. Called on the event thread, with no lock held. */
typedef const http_refusal *http_gate(void *ctx, const http_request *r);

/* The body of a refusal made here, in the words of whoever the path belongs to. Returns the status it goes with. The
 * method is empty where it is not known; headers may be missing. Called with a lock held, so it takes none. */
typedef int http_refusal_words(void *ctx, const http_request *r, const http_refusal *why, const char *id, buf *to);

/* Headers that go with every answer to r, a refusal's included: who may read it (CORS). Returns how many it filled.
 * Called as http_refusal_words is. */
enum { HTTP_EXTRA_FIELDS = 12 };
typedef uint32_t http_extra_fields(void *ctx, const http_request *r, http_field out[HTTP_EXTRA_FIELDS]);

typedef struct http_config {
    const char *host; /* an address or a name: "127.0.0.1", "::1", "localhost" */
    uint16_t port;    /* 0: any free one */
    uint32_t max_connections;  /* open at once */
    uint32_t max_active;       /* bodies and answers in work at once: slots */
    size_t body_limit_bytes;   /* larger: 413 */
    size_t body_pool_bytes;    /* prefaulted; a multiple of the 256 KiB slot is used */
    uint32_t header_timeout_ms, body_timeout_ms, idle_timeout_ms; /* total deadlines */
    uint32_t wait_timeout_ms; /* for room for a body, and for the worker, then 429; 0: as long as the client stays */
    /* with the handler's context: */
    http_busy_fields *busy_fields; /* NULL: only Retry-After: 1 */
    http_gate *gate;               /* NULL: all may come in */
    http_refusal_words *words;     /* NULL: as http_error_json */
    http_extra_fields *extra_fields; /* NULL: none */
} http_config;

void http_config_default(http_config *c);

typedef void http_handler(void *ctx, http_request *r);

size_t http_server_plan_bytes(const http_config *c);
http_server *http_server_start(const http_config *c, mem_ledger *l, http_handler *handler, void *ctx, err *e);
uint16_t http_server_port(const http_server *s);
/* New requests get 503 and their connection is closed; running answers go on. */
void http_server_drain(http_server *s);
/* Ends all streams and joins the threads. */
void http_server_stop(http_server *s);

typedef struct http_counts {
    uint32_t connections, active, worked_for; /* worked_for: waits for a worker, or is in its hands */
    uint64_t requests, disconnects, refused;
} http_counts;
void http_server_counts(http_server *s, http_counts *out);

/* ---- inside the handler, and until the answer ends ---- */
str http_method(const http_request *r);
str http_path(const http_request *r); /* without the query, and without slashes at its end */
str http_host(const http_request *r); /* whom it is for: of a target "http://host/path", else the header Host */
str http_body(const http_request *r); /* valid until the answer is begun (http_reply / http_stream) */
/* Empty when absent. Valid until the answer ends. */
str http_header(const http_request *r, const char *name);
str http_query(const http_request *r, const char *name);
const char *http_request_id(const http_request *r); /* "req_…", also sent as x-request-id */

/* Extra response headers, before the answer is begun (a late one: before http_late_reply). At most 8; values
 * are copied, cut at 207 bytes, and hold no line breaks. */
void http_set_header(http_request *r, const char *name, const char *value);

/* Instead of an answer: work(ctx, r) will be called once on the worker thread, when it has done what was handed over
 * before (of long bodies perhaps after short ones that came later), and answers as a handler does. The event thread
 * does not touch r meanwhile, so no pull and no gone is called before work has returned. One whose client leaves, or
 * whose time is over, before its turn comes is never called. */
void http_hand_over(http_request *r, http_handler *work, void *ctx);

/* A whole answer. The body is copied, into the request's own buffer or the pool: 429 instead when none is
 * free, 500 when it is larger than the pool. */
void http_reply(http_request *r, int status, const char *content_type, str body);

/* For streams and late answers: open the answer first, then let other threads know of r.
 *
 * A streamed answer. The event thread calls pull whenever the socket can take bytes: it fills out and
 * returns how many bytes it wrote, 0 when there is nothing yet (the connection then sleeps until
 * http_stream_wake), or HTTP_STREAM_END. gone is called exactly once when the answer is over, however
 * it ended: completed is false when the client left or the server stopped. After gone, r is dead.
 * A client that leaves is noticed within 50 ms even while the stream sleeps (one that closes only its
 * sending side counts as having left). pull and gone are called on the event thread, with no lock held;
 * a wake that crosses gone on its way does no harm. */
enum { HTTP_STREAM_END = -1 };
typedef long http_pull(void *ctx, char *out, size_t max);
typedef void http_gone(void *ctx, bool completed);
void http_stream(http_request *r, int status, const char *content_type, http_pull *pull, http_gone *gone, void *ctx);
/* From any thread, any number of times, until gone has been called. */
void http_stream_wake(http_request *r);

/* A late whole answer: as http_stream, but status and headers are not sent until http_late_reply is
 * called (from any thread, once; body is copied) — for non-streaming generations. gone as above. */
void http_late(http_request *r, http_gone *gone, void *ctx);
void http_late_reply(http_request *r, int status, const char *content_type, str body);

/* A stream that may yet be refused: late, until first(ctx, r), which is called on the event thread after every wake,
 * returns true. Either it has given a late reply, or the stream begins, with status 200. Never called when the client
 * has left. pull and gone as above. */
typedef bool http_first(void *ctx, http_request *r);
void http_late_stream(http_request *r, const char *content_type, http_first *first, http_pull *pull, http_gone *gone,
                      void *ctx);

/* Of a late answer, from any thread, or of a stream, from a pull that then returns 0: word(ctx, r) will be called
 * once on the second worker thread, when it has done what it was asked for before; it gives the late reply, or makes
 * what the next pull hands out. Not before a handler that was handed over has returned, and no pull and no gone is
 * called until it has. One whose client leaves, or whose server stops, before its turn comes is never called. */
void http_word(http_request *r, http_handler *word, void *ctx);

/* {"error":{"message":…,"type":…,"param":…,"code":…}} into out. param, code may be NULL (written as null). */
void http_error_json(buf *out, const char *message, const char *type, const char *param, const char *code);

#endif
