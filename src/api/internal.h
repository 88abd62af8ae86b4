/* api/internal — what the dialects of this room share. */
#ifndef API_INTERNAL_H
#define API_INTERNAL_H

#include <pthread.h>

#include "api/api.h"
#include "api/fields.h"
#include "base/json.h"
#include "mem/arena.h"
#include "mem/heap.h"
#include "mem/timeline.h"

enum { ANSWER_PENDING_BYTES = 64 * 1024, ANSWER_JOBS_MAX = 16 };

/* Declares `body`, a buf for a page of at most `bytes`, over memory on the stack. */
#define API_PAGE(body, bytes)                                \
    char body##_bytes[bytes];                                \
    mem_arena body##_over;                                   \
    mem_arena_over(&body##_over, body##_bytes, (bytes));     \
    base_alloc body##_alloc = mem_arena_alloc(&body##_over); \
    buf body;                                                \
    buf_init(&body, &body##_alloc, (bytes))

typedef struct answer answer;

/* What one job of a whole answer came to. */
typedef struct answer_choice {
    str text, logprobs; /* logprobs: JSON, an array */
    engine_finish finish;
    int32_t stopped_by;
} answer_choice;

/* How a dialect words an answer. i: which job of it. */
typedef struct dialect {
    const char *stream_type; /* content type of a stream */
    void (*token)(answer *x, uint32_t i, const sched_output *out, buf *to); /* one token's record of a stream */
    void (*end)(answer *x, uint32_t i, const sched_output *out, buf *to); /* a job's last: SCHED_END, SCHED_FAILED */
    void (*whole)(answer *x, const answer_choice *choices, buf *to);      /* x->n_jobs of them */
    void (*error)(const err *e, buf *to);                                 /* the error envelope */
} dialect;

/* One running answer: from the handler until the http layer says it is gone. Wakes come from the engine thread:
 * one that words a whole answer reads all its jobs, so it holds the lock and looks at gone first; jobs are released
 * without it, because releasing waits for a running wake. */
struct answer {
    api *a;
    bool in_use, gone;
    pthread_mutex_t lock;
    const dialect *dialect;
    http_request *request;
    sched_job *jobs[ANSWER_JOBS_MAX];
    uint32_t n_jobs;
    uint32_t n_awaited;  /* whole: jobs that have not ended; 0 once it is answered */
    uint32_t ended_jobs; /* stream: a bit for each whose last record is written */
    uint32_t turn;       /* stream: whose record is next, if it has one */
    bool logprobs;
    char *pending_bytes; /* [ANSWER_PENDING_BYTES] a formatted record that did not fit the last pull */
    uint32_t pending_used, pending_sent;
};

typedef enum api_state { API_LOADING, API_READY, API_DRAINING } api_state;

struct api {
    api_config config;
    mem_ledger *ledger;
    _Atomic int state;
    engine *en;
    sched *sched;
    http_server *http;
    mem_arena arena;      /* this struct, the answers, the parse region */
    mem_arena parse;      /* over part of it: one body at a time (one event thread) */
    mem_heap heap;        /* account queue: tokenizer scratch, whole answers being worded */
    text_scratch *scratch;
    int32_t *tokens;      /* [context]: the prompt being parsed */
    answer *answers;
    uint32_t tenant; /* whose request is being handled: the index of its key */

    mem_timeline *timeline; /* in the arena */
    uint64_t sampled_ms;    /* the sampler's own, as is: */
    uint32_t known_leaks;   /* a bit for each account, and for the unexplained, that has been reported */
    int debug_leak;         /* PLIMSOLL_DEBUG_LEAK: the account that loses a page with each request, or −1 */
    mem_heap dropped;       /* … of account http */
};

int api_status(const err *e, bool draining); /* HTTP status of an error */
/* Replies with the error in the dialect's words, with Retry-After and memory headers where they apply. */
void api_refuse(api *a, http_request *r, const dialect *d, const err *e);
void api_refuse_plainly(api *a, http_request *r, const err *e); /* for pages that belong to no dialect */
void api_put_error_headers(api *a, http_request *r, int status, const err *e);

/* The index of the key that the request carries, or −1; 0 where none are asked for. */
int api_find_caller(const api *a, const http_request *r);
const http_refusal *api_refuse_key(const http_request *r);
/* The index of the key that `given` is, or −1. Takes as long for a wrong one as for a right one. */
int api_find_key(const char *keys, str given);

/* Tokenizes into a->tokens. */
bool api_tokenize(api *a, str text, bool parse_special, uint32_t *n, err *e);

/* Submits n jobs (seed, seed + 1, …) and begins the answer (stream or whole); replies with the refusal when there
 * is one. */
void api_generate(api *a, http_request *r, const dialect *d, const sched_request *request, uint32_t n, bool stream);

/* 64 bits that tell the caller's key from others; 0 when there are no keys. */
uint64_t api_tenant_salt(const api *a);

void api_reply_json(http_request *r, int status, const buf *body);
const char *api_model_name(const api *a);

void api_put_logprob(const text_vocab *v, const engine_sample *s, json_writer *w);
/* usage, cache_stats, timings and memory of jobs first … first + n − 1 together, as members of the object being
 * written: of a prompt that several share, its tokens once; what they generated, held and waited for added up, or
 * the longest. */
void api_put_usage(answer *x, uint32_t first, uint32_t n, json_writer *w);
/* The limits and sums of what is remembered, and the spill file (null without one). */
void api_put_cache_totals(api *a, const kv_cache_counts *c, json_writer *w);
void api_put_spill(const kv_cache_counts *c, json_writer *w);

/* native.c */
void native_generate(api *a, http_request *r);
void native_fit(api *a, http_request *r);
/* cache.c */
void cache_list(api *a, http_request *r);
void cache_clear(api *a, http_request *r);
void cache_remove(api *a, http_request *r);
/* timeline.c */
bool timeline_read_debug_leak(api *a, err *e);
void timeline_request_ended(api *a); /* on the event thread, when an answer is over and its jobs are released */
void timeline_json(api *a, http_request *r);
void timeline_svg(api *a, http_request *r);
void timeline_doctor(api *a, http_request *r);
/* server.c */
void server_health(api *a, http_request *r);
void server_live(api *a, http_request *r);
void server_ready(api *a, http_request *r);
void server_memory(api *a, http_request *r);
void server_cleanup(api *a, http_request *r);
void server_index(api *a, http_request *r);

#endif
