/* http/internal — what the files of this room share. Not for other rooms.
 *
 * Threads: libmicrohttpd's one event thread (all its callbacks, hence handlers, pulls and gones), the workers (what
 * handlers hand over, and the wording of answers), the watcher (deadlines, clients that left), and whoever calls
 * http_stream_wake, http_word or http_late_reply. One lock guards connections, slots and the pool; it is never held
 * while a callback of ours runs. Order: our lock, then the library's own (suspend and resume are called under ours,
 * so that a wake can never fall between "nothing to send" and "asleep").
 */
#ifndef HTTP_INTERNAL_H
#define HTTP_INTERNAL_H

#include <microhttpd.h>
#include <stdatomic.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/hostile.h"
#include "base/json.h"
#include "base/rng.h"
#include "http/http.h"
#include "mem/arena.h"
#include "mem/heap.h"
#include "plat/mutex.h"

enum {
    HTTP_UNIT_BYTES = 256 * 1024,       /* the pool is handed out in contiguous runs of these */
    HTTP_INLINE_BYTES = 16 * 1024,      /* each slot's own buffer: small bodies and answers need no run */
    HTTP_CONNECTION_POOL_BYTES = 16 * 1024,
    HTTP_CONNECTION_BYTES = HTTP_CONNECTION_POOL_BYTES + 2048, /* the library's cost of one, and the ledger's */
    HTTP_HEADERS_LIMIT_BYTES = 12 * 1024, /* the rest of the connection's memory is for answering */
    HTTP_PATH_LIMIT_BYTES = 2048,
    HTTP_LINGER_MS = 2000,              /* how long a refused client may take to notice */
    HTTP_ANSWER_HEADERS = 8,
    HTTP_ID_BYTES = 32,
};
_Static_assert(HTTP_INLINE_BYTES < HTTP_UNIT_BYTES, "a run holds more than a slot's own buffer");
_Static_assert(HTTP_PATH_LIMIT_BYTES < HTTP_HEADERS_LIMIT_BYTES, "a path is one line of them");
_Static_assert(HTTP_HEADERS_LIMIT_BYTES < HTTP_CONNECTION_POOL_BYTES, "they leave room to answer");
_Static_assert((int)HTTP_BUSY_FIELDS <= (int)HTTP_ANSWER_HEADERS, "want of a buffer: it says when to come back");
_Static_assert(sizeof "req_0123456789abcdef012345" <= HTTP_ID_BYTES, "an id is two numbers in hex");
#ifdef PLIMSOLL_SANITIZED
enum { HTTP_WORK_STACK_BYTES = 2 * 1024 * 1024 };
#else
enum { HTTP_WORK_STACK_BYTES = 512 * 1024 }; /* nested JSON, templates and schemas within their bounds on depth */
#endif

/* ---- the pool of body buffers ---- */

typedef struct http_pool {
    char *memory;
    bool *used; /* per unit */
    uint32_t units;
    mem_heap heap; /* account http: for answers, when no run of units is free */
} http_pool;

/* A growing buffer: the slot's own bytes first, then a run of units; or a block from the heap. */
typedef struct http_buffer {
    char *data;
    size_t len, cap;
    uint32_t first_unit, units; /* units 0: the slot's own, or a block */
    bool block;
} http_buffer;

/* Keeps the content. False when no run is long enough; the buffer then stands as it was. */
bool http_buffer_reserve(http_pool *p, http_buffer *b, size_t bytes);
void http_buffer_release(http_pool *p, http_buffer *b, char *own);
/* The same for a body: an eighth of the pool is left to answers, unless nobody else holds any of it. */
bool http_buffer_reserve_body(http_pool *p, http_buffer *b, size_t bytes);
void http_buffer_trim(http_pool *p, http_buffer *b); /* gives back the units behind the content */
/* Room for so much instead of what is there, which stays as long as there is room already. Where no run is free it is a
 * block of its own; false: the line has no room for that either, or it is larger than the pool. */
bool http_buffer_fit(http_pool *p, http_buffer *b, char *own, size_t bytes);

/* ---- connections and slots ---- */

typedef enum http_phase {
    CONN_FREE,
    CONN_WAITING, /* for a request's headers to be complete */
    CONN_OUTSIDE, /* headers are complete, and there is no slot or no buffer for the body yet (admit.c) */
    CONN_BODY,    /* a slot is held, its body arrives */
    CONN_ANSWER,  /* the handler has the request, or its answer goes out */
    CONN_REFUSED, /* answered without a handler; what still arrives is dropped */
} http_phase;

typedef struct http_conn http_conn;
struct http_conn {
    http_server *server;
    int fd;
    http_phase phase;
    bool watched;         /* leaving is noticed */
    bool used_before;     /* a request was completed on it: waiting is idling */
    uint64_t deadline_ns; /* of the phase; 0: none */
    uint32_t generation;  /* counts answers and waits, so that a late event of the watcher finds no stranger */
    http_request *request;
    struct MHD_Connection *mhd; /* of the request in hand */
    const char *url;            /* its path, in the library's buffer, once its first line is there */
    size_t need_bytes;          /* of buffer, before more of its body is read */
    bool in_line;               /* suspended in the library until there is room for its body; then: */
    http_conn *next_in_line;
    const http_refusal *turned_away; /* why there will be none */
};

/* Of what a worker is asked for. Out of the library's hands from WAITS on until the work has been done. */
typedef enum http_work_state { WORK_NONE, WORK_WAITS, WORK_RUNS } http_work_state;
typedef enum http_lane { HTTP_PREPARING, HTTP_WORDING, HTTP_LANES } http_lane; /* whose */

typedef enum http_answer { ANSWER_NONE, ANSWER_WHOLE, ANSWER_STREAM, ANSWER_LATE } http_answer;

struct http_request {
    http_server *server;
    http_conn *conn; /* NULL: the slot is free */
    struct MHD_Connection *mhd;
    char id[HTTP_ID_BYTES];
    str method, path, authority; /* the last of a target "http://authority/path" */
    char *own_bytes; /* HTTP_INLINE_BYTES */
    http_buffer buffer; /* the body; from http_reply on the answer */

    http_answer answer;
    int status;
    char content_type[96];
    http_field headers[HTTP_ANSWER_HEADERS];
    uint32_t header_count;
    http_pull *pull;
    http_first *first; /* of a late stream, until it has said yes */
    http_gone *gone;
    void *ctx;
    http_handler *work; /* handed over; NULL: the handler answered itself */
    void *work_ctx;

    /* under the server's lock */
    http_work_state work_state;
    http_lane lane;
    http_request *next_work; /* that waits behind it */
    http_handler *word;      /* asked for and not begun */
    void *word_ctx;
    bool overdue;     /* its turn did not come in time */
    bool asleep;      /* suspended in the library */
    bool woken;       /* since the last pull began */
    bool client_gone; /* seen by the watcher */
    bool has_reply;   /* http_late_reply was called */
    bool ended;       /* nothing more is to come from the answerer */
};

typedef struct http_work {
    http_server *server;
    pthread_t thread;
    bool started;
    pthread_cond_t wanted;
    http_request *first; /* of those that wait, in order of arrival */
    uint32_t overtaking; /* so many since the first had its turn */
} http_work;

struct http_server {
    plat_mutex lock;
    http_config config;
    mem_ledger *ledger;
    mem_arena arena;
    size_t library_bytes; /* reserved for what libmicrohttpd takes itself */
    struct MHD_Daemon *daemon;
    uint16_t port;
    http_handler *handler;
    void *ctx;

    http_conn *conns;
    uint32_t conn_count;
    http_request *slots;
    uint32_t slot_count, slots_used;
    http_pool pool;
    http_conn *first_in_line, *last_in_line; /* for a slot and a buffer */
    rng ids;
    bool draining, stopping;
    http_counts counts;

    http_work work[HTTP_LANES];
    pthread_t watcher;
    bool watching;
    int epoll_fd, poke_fd;
};

/* check.c: what holds whenever the lock is free. The first compares counts; the second walks slots, connections, the
 * pool and the lists. Lock held. */
void http_counts_check(const http_server *s);
void http_server_check(const http_server *s);

static inline bool http_locked(const http_server *s) { return plat_mutex_held(&s->lock); }
static inline void http_lock(http_server *s) {
    plat_mutex_lock(&s->lock);
    http_counts_check(s);
}
static inline void http_unlock(http_server *s) {
    http_counts_check(s);
    CHECK_SLOW(http_server_check(s));
    plat_mutex_unlock(&s->lock);
}

/* ---- request.c: from the first header to the handler ---- */
enum MHD_Result http_on_request(void *cls, struct MHD_Connection *mhd, const char *url, const char *method,
                                const char *version, const char *data, size_t *len, void **context);
void http_on_completed(void *cls, struct MHD_Connection *mhd, void **context, enum MHD_RequestTerminationCode why);
void http_on_connection(void *cls, struct MHD_Connection *mhd, void **context,
                        enum MHD_ConnectionNotificationCode what);
size_t http_unescape(void *cls, struct MHD_Connection *mhd, char *text);
void *http_on_line(void *cls, const char *url, struct MHD_Connection *mhd);
/* The request as far as it is there, for whoever is asked about it before it has a slot, or never gets one. */
http_request http_asked_of(http_server *s, struct MHD_Connection *mhd, const char *url, const char *method);

/* ---- admit.c: slots and buffers, first come first served. Lock held ---- */
http_request *http_take_slot(http_server *s, http_conn *c, bool has_body);
void http_give_slot(http_request *r);
/* Room for c->need_bytes of body, now or never: false when others are before it, or there is none. */
bool http_take_room(http_conn *c);
/* Event thread. To the end of the line, asleep; when it is woken it has room, or c->turned_away says why not. That is
 * said at once where no more may wait. */
void http_wait_for_room(http_conn *c);
void http_turn_away(http_conn *c, const http_refusal *why); /* out of the line, and woken */
void http_leave_line(http_conn *c);                         /* its client has gone; as above */
void http_let_in(http_server *s);                           /* something was given back: whoever it does for comes in */
const http_refusal *http_no_room(const http_conn *c);       /* what it is that c lacks */
extern const http_refusal http_draining;
static inline uint64_t http_deadline_in(uint32_t ms) { return clock_now_ns() + ms * 1000000ull; }
uint64_t http_wait_deadline(const http_server *s); /* of what begins to wait now, for room or for the worker; 0: none */

/* ---- work.c: what may take long, off the event thread ---- */
bool http_work_start(http_server *s, err *e);
void http_work_stop(http_server *s); /* stopping is set, and nothing waits: joins them when their last work is done */
/* To sleep until the worker has done r->work. Event thread; false: the server stops. */
bool http_work_enqueue(http_request *r);
/* One that waits is woken without its work having been done. Lock held. */
void http_work_drop(http_request *r, bool overdue);

/* ---- library.c: what the library says by itself ---- */
/* MHD_queue_response, for answers of ours. */
enum MHD_Result http_queue_response(struct MHD_Connection *mhd, unsigned status, struct MHD_Response *response);
void http_library_begin(void); /* before the first of them */

/* ---- refuse.c: answers to what never reaches the handler ---- */
void http_make_id(http_server *s, char out[HTTP_ID_BYTES]); /* lock held */
/* What goes with a refusal that passes. Lock not held. */
uint32_t http_ask_busy_fields(http_server *s, uint64_t need_bytes, http_field out[HTTP_BUSY_FIELDS]);
/* What a refusal says where nobody else words it; r: NULL where the request has no path yet. Returns the status. */
enum { HTTP_REFUSAL_BYTES = 1024 };
_Static_assert((int)HTTP_REFUSAL_BYTES <= (int)HTTP_INLINE_BYTES, "want of a buffer: said in the slot's own bytes");
int http_word_refusal(http_server *s, const http_request *r, const http_refusal *why, const char *id, buf *to);
/* Sends the whole answer past the library (which could not answer before the body's end), says that nothing follows,
 * and leaves the connection to be drained for HTTP_LINGER_MS. It is worded for asked, with the fields that say who may
 * read it (CORS); asked NULL: nothing is known of the request. busy: what http_ask_busy_fields has filled; NULL:
 * nothing. Lock held. */
typedef struct http_busy {
    http_field fields[HTTP_BUSY_FIELDS];
    uint32_t n;
} http_busy;
void http_refuse(http_conn *c, const http_request *asked, const http_refusal *why, const http_busy *busy);

/* ---- stream.c: answers ---- */
/* Hands the request's answer, as far as there is one, to the library. Event thread. */
enum MHD_Result http_send_answer(http_request *r);
void http_wake_locked(http_request *r);

/* ---- watch.c ---- */
bool http_watch_start(http_server *s, err *e);
void http_watch_stop(http_server *s);
void http_watch_poke(http_server *s); /* a deadline was set where there was none */
/* From now until http_unwatch_client leaving is noticed; harmless where it is already. Lock held. */
void http_watch_client(http_conn *c);
void http_unwatch_client(http_conn *c);

#endif
