/* api/internal — what the dialects of this room share. */
#ifndef API_INTERNAL_H
#define API_INTERNAL_H

#include <pthread.h>

#include "api/api.h"
#include "api/fields.h"
#include "base/json.h"
#include "mem/arena.h"
#include "mem/heap.h"

enum { ANSWER_PENDING_BYTES = 64 * 1024 };

typedef struct answer answer;

/* How a dialect words an answer. */
typedef struct dialect {
    const char *stream_type; /* content type of a stream */
    void (*token)(answer *x, const sched_output *out, buf *to); /* one token's record of a stream */
    void (*end)(answer *x, const sched_output *out, buf *to);   /* the last record; SCHED_END or SCHED_FAILED */
    void (*whole)(answer *x, const sched_output *out, str text, str logprobs, buf *to); /* a whole answer */
    void (*error)(const err *e, buf *to); /* the error envelope */
} dialect;

/* One running answer: from the handler until the http layer says it is gone. */
struct answer {
    api *a;
    bool in_use;
    pthread_mutex_t lock; /* the handler finishes setting up before gone may take down */
    const dialect *dialect;
    http_request *request;
    sched_job *job;
    bool logprobs, ended;
    uint32_t n_stops;
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
};

int api_status(const err *e, bool draining); /* HTTP status of an error */
/* Replies with the error in the dialect's words, with Retry-After and memory headers where they apply. */
void api_refuse(api *a, http_request *r, const dialect *d, const err *e);

/* Tokenizes into a->tokens. */
bool api_tokenize(api *a, str text, bool parse_special, uint32_t *n, err *e);

/* Submits and begins the answer (stream or whole); replies with the refusal when there is one. */
void api_generate(api *a, http_request *r, const dialect *d, const sched_request *request, bool stream);

void api_reply_json(http_request *r, int status, const buf *body);
const char *api_model_name(const api *a);

void api_put_logprob(const text_vocab *v, const engine_sample *s, json_writer *w);
/* usage, timings and memory of a job, as members of the object being written */
void api_put_usage(api *a, sched_job *j, json_writer *w);

/* native.c */
void native_generate(api *a, http_request *r);
/* server.c */
void server_health(api *a, http_request *r);
void server_live(api *a, http_request *r);
void server_ready(api *a, http_request *r);
void server_memory(api *a, http_request *r);
void server_index(api *a, http_request *r);

#endif
