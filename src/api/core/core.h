/* api/core/ — what the dialects of this room share. */
#ifndef API_CORE_CORE_H
#define API_CORE_CORE_H

#include <pthread.h>

#include "api/api.h"
#include "api/core/fields.h"
#include "base/json.h"
#include "mem/arena.h"
#include "mem/heap.h"
#include "report/timeline.h"
#include "text/reply/reply.h"
#include "text/template/template.h"

enum { ANSWER_PENDING_BYTES = 64 * 1024, ANSWER_JOBS_MAX = 16, API_IGNORED_MAX = 128 };

/* Declares `body`, a buf for a page of at most `bytes`, over memory on the stack. */
#define API_PAGE(body, bytes)                                                                                \
    char body##_bytes[bytes];                                                                                \
    mem_arena body##_over;                                                                                   \
    mem_arena_over(&body##_over, body##_bytes, (bytes));                                                     \
    base_alloc body##_alloc = mem_arena_alloc(&body##_over);                                                 \
    buf body;                                                                                                \
    buf_init(&body, &body##_alloc, (bytes))

typedef struct answer answer;

/* What one job of a whole answer came to. Without a chat all of it is text. */
typedef struct answer_choice {
    str text, reasoning;
    str calls;    /* n_calls times a name, NUL, its arguments (JSON), NUL */
    str logprobs; /* JSON, an array of what dialect.logprob wrote */
    uint32_t n_calls, reasoning_tokens;
    bool cut; /* the last call breaks off: its arguments are what there is of them (dialect.objects: it is text),
               * and the finish is length */
    engine_finish finish;
    int32_t stopped_by;
} answer_choice;

/* The call that *at points to in a choice's calls, which then points behind it. Returns its name. */
str answer_next_call(const char **at, str *arguments);

/* An error on its way out. */
typedef struct answer_failure {
    const err *e;
    int status; /* of HTTP, as sent or as it would have been */
    const char *request_id;
} answer_failure;

/* How a dialect words an answer. i: which job of it. What may be NULL is then not written. */
typedef struct dialect {
    const char *stream_type; /* content type of a stream */
    bool keeps_all; /* a chat's records repeat what was said before: they are of any size, items are kept */
    bool objects; /* arguments of calls are objects: a call that breaks off or is no JSON is text in a whole answer */
    const char *keep_alive;                  /* written where nothing else was for a while; NULL: silence */
    int (*status)(const err *e, int status); /* NULL: as it is; what HTTP status it gives an error */
    void (*begin)(answer *x,
                  buf *to); /* NULL; before a stream's first record: prompts are computed by then */
    void (*token)(answer *x, uint32_t i, const sched_output *out,
                  buf *to); /* without a chat: one token's record */
    /* In a chat: a piece of it. out: the token behind it, with the first piece of each only. */
    void (*piece)(answer *x, uint32_t i, const text_reply_event *ev, const sched_output *out, buf *to);
    void (*end)(answer *x, uint32_t i, const sched_output *out,
                buf *to);               /* a job's last: SCHED_END, SCHED_FAILED */
    void (*finish)(answer *x, buf *to); /* NULL; when all jobs have ended */
    void (*whole)(answer *x, const answer_choice *choices, buf *to);     /* x->n_jobs of them */
    void (*logprob)(answer *x, const sched_output *out, json_writer *w); /* one token's, of a whole answer */
    void (*error)(const answer_failure *f, buf *to);                     /* the error envelope */
} dialect;

/* Where a custom tool's input is in the JSON of its call (api/core/custom_tools). */
typedef struct custom_input {
    uint8_t state, n; /* n: digits of unit */
    uint16_t unit, high;
} custom_input;

/* What a stream's wording has come to, job by job. For the dialect to use. */
typedef struct answer_progress {
    uint32_t n_calls, reasoning_tokens;
    text_reply_kind last; /* of its pieces */
    bool cut;             /* the reply broke off in a call */
    uint8_t block_kind;   /* the dialect's own: */
    uint32_t n_blocks, sequence;
    custom_input input;
} answer_progress;

/* What the dialect wants to know again when it words. */
typedef struct answer_style {
    bool chat;          /* tokens pass the reply parser */
    bool include_usage; /* in a stream */
    bool hide_reasoning;
    uint32_t flavour;       /* the dialect's own: which of its routes */
    uint32_t n_logprobs;    /* as asked */
    str tools, prompt_tail; /* chat: for the parser; copied */
    str customs;            /* chat: names of tools whose input is a text, a JSON array; copied */
    str echo;               /* the dialect's own: some text of the request; copied */
} answer_style;

typedef struct answer_kept answer_kept; /* answer.h: parsers, and what is copied */

/* One running answer: from the handler until the http layer says it is gone. Wakes come from the engine
 * thread: they look at the jobs, so they hold the lock and look at gone first; jobs are released without it, because
 * releasing waits for a running wake. While it is worded on the wording thread, it is not gone. */
struct answer {
    api *a;
    bool in_use, gone, begun, finished;
    pthread_mutex_t lock;
    const dialect *dialect;
    http_request *request;
    sched_job *jobs[ANSWER_JOBS_MAX];
    uint32_t n_jobs, n_each; /* all; of each prompt */
    uint32_t n_awaited;      /* whole: jobs that have not ended; 0 once it is answered */
    uint32_t ended_jobs;     /* stream: a bit for each whose last record is written */
    uint32_t turn;           /* stream: whose record is next, if it has one */
    bool stream, logprobs;
    uint64_t created_s;
    _Atomic uint64_t written_ns; /* a stream's last bytes; the keeper of silent streams looks, too */
    answer_style style;
    answer_kept *kept; /* NULL: neither chat nor echo */
    answer_progress progress[ANSWER_JOBS_MAX];
    char *record_bytes; /* [ANSWER_PENDING_BYTES] where records are worded, */
    str pending;        /* what is left of the last one */
};

/* What this model's template can do by itself (api/chat.c finds out), and how its answers are to be read. */
typedef struct chat_model {
    const text_template *template; /* its own, or one that does for a model without */
    text_template *own;            /* the latter: to be freed */
    text_reply_format reply;
    bool system, late_system; /* messages of this role: at the start; anywhere */
    bool tools, calls;        /* lists of tools; calls and their results in the conversation */
    bool refused_tools;       /* of a request: has been logged */
    bool described;           /* insists on a description of every tool, be it empty */
    bool arguments_as_text;   /* of calls: not as objects */
    bool turns;               /* insists on user and assistant in turns */
    bool one_call;            /* in a turn */
    bool null_tools;          /* without tools there is a null, as its makers tried it */
    bool long_ids;            /* of calls: any, not only nine letters and digits */
} chat_model;

typedef enum api_state { API_LOADING, API_READY, API_DRAINING } api_state;

struct api {
    api_config config;
    mem_ledger *ledger;
    _Atomic int state;
    engine *en;
    sched *sched;
    http_server *http;
    mem_arena arena; /* this struct, the answers */
    mem_heap heap;   /* account queue: tokenizer scratch, whole answers being worded */
    text_scratch *scratch;
    chat_model model;
    int32_t *tokens; /* [context]: the prompt being parsed */
    answer *answers;
    uint32_t tenant; /* whose request is being handled: the index of its key */

    uint64_t ignored[API_IGNORED_MAX]; /* hashes of unknown fields that the log has named */
    uint32_t n_ignored;
    char fingerprint[16]; /* of all that decides what is said */

    uint64_t ready_ms;      /* since 1970 */
    plat_pulse preparing, wording; /* of the worker threads */
    struct {
        pthread_t thread;
        pthread_mutex_t lock;
        pthread_cond_t stop;
        bool started, stopping;
    } watchdog;
    report_timeline *timeline; /* in the arena */
    uint64_t sampled_ms;    /* the sampler's own, as is: */
    uint32_t known_leaks;   /* a bit for each account, and for the unexplained, that has been reported */
    int debug_leak;   /* PLIMSOLL_DEBUG_LEAK: the account that loses a page with each request, or −1 */
    mem_heap dropped; /* … of account http */
};

int api_status(const err *e, bool draining); /* HTTP status of an error */
int api_dialect_status(const dialect *d, const err *e, bool unavailable);
/* Replies with the error in the dialect's words, with Retry-After and memory headers where they apply. */
void api_refuse(api *a, http_request *r, const dialect *d, const err *e);
void api_refuse_late(api *a, http_request *r, const dialect *d, const err *e); /* one whose answer is late */
void api_refuse_plainly(api *a, http_request *r, const err *e); /* for pages that belong to no dialect */
void api_put_error_headers(api *a, http_request *r, int status, const err *e);

/* First thing of what http_word calls; at its end plat_pulse_end. */
void api_begin_wording(api *a, const http_request *r);

/* The index of the key that the request carries, or −1; 0 where none are asked for. */
int api_find_caller(const api *a, const http_request *r);
const http_refusal *api_refuse_key(const http_request *r);
/* The index of the key that `given` is, or −1. Takes as long for a wrong one as for a right one. */
int api_find_key(const char *keys, str given);

/* Tokenizes into a->tokens, behind the start token where the model wants one and the text does not begin with
 * it. quoted: as text_encode_quoted. */
bool api_tokenize(api *a, str text, bool quoted, uint32_t *n, err *e);
/* The tokens of a word by itself, in memory of the caller's. */
bool api_tokenize_word(api *a, str text, int32_t *tokens, uint32_t most, uint32_t *n, err *e);
/* The same of a part of a text. plain: what spells a control token is text. */
bool api_tokenize_part(api *a, str text, bool plain, int32_t *tokens, uint32_t most, uint32_t *n, err *e);
/* Puts one more id of a prompt given as ids there. name: the field's. What the context does not hold is only counted:
 * when all ids are there, api_check_prompt says whether they fit. */
bool api_add_token(api *a, const char *name, int64_t id, uint32_t *n, err *e);
bool api_check_prompt(const api *a, uint32_t n, err *e);

/* Submits n jobs (seed, seed + 1, …) and begins the answer (stream or whole); replies with the refusal when
 * there is one. */
void api_generate(api *a, http_request *r, const dialect *d, const sched_request *request, uint32_t n,
                  bool stream, const answer_style *style);
/* The same for several prompts, n answers to each: the k-th is asked for just before it is submitted. */
typedef struct answer_prompts {
    uint32_t n;
    bool (*next)(void *ctx, uint32_t k, sched_request *request, err *e);
    void *ctx;
} answer_prompts;
void api_generate_all(api *a, http_request *r, const dialect *d, const sched_request *request, uint32_t n,
                      bool stream, const answer_style *style, const answer_prompts *prompts);

/* 64 bits that tell the caller's key from others; 0 when there are no keys. */
uint64_t api_tenant_salt(const api *a);

/* Of a dialect that keeps all: the items that are done (JSON, as in an array), and of the one that is open
 * what it said and its name. */
buf *api_kept_items(answer *x);
buf *api_kept_said(answer *x);
buf *api_kept_name(answer *x);

void api_reply_json(http_request *r, int status, const buf *body);
const char *
api_model_name(const api *a); /* the first of --alias, else the model's own; valid until asked again */
/* ERR_NOT_FOUND unless the name is one of ours, perhaps with Ollama's ":latest"; empty is whatever there is.
 */
bool api_check_model(const api *a, str name, err *e);

/* What jobs first … first + n − 1 took together: what they generated, held and waited for added up, or the
 * longest. */
void api_sum_usage(answer *x, uint32_t first, uint32_t n, sched_usage *sum);
/* What every dialect carries beside its own usage, as members of the object being written: cache_stats,
 * timings, memory. n: jobs in the sum. */
void api_put_own(answer *x, const sched_usage *sum, uint32_t n, json_writer *w);
/* A call's id: nine letters and digits (some templates take no other), the same whenever it is asked for. */
enum { API_CALL_ID_BYTES = 10 };
const char *api_call_id(const answer *x, uint32_t i, uint32_t call, char out[API_CALL_ID_BYTES]);
const char *api_short_id(uint64_t of, char out[API_CALL_ID_BYTES]);
/* What http_error_json wants of an error: the field it names, in memory of the caller's. */
const char *api_error_param(const err *e, char *name, size_t size);

/* sampler.c */
bool sampler_serving(api *a);
/* What goes on now. True when nothing ran from the first to the last of the readings. */
bool sampler_read(api *a, report_activity *out);
bool sampler_read_debug_leak(api *a, err *e);
void sampler_request_ended(
    api *a); /* on the event thread, when an answer is over and its jobs are released */
/* notes.c: what was started is not what one may expect. */
void api_log_notes(const api *a);
void api_put_notes(const api *a, json_writer *w); /* a member "warnings" */
/* watchdog.c */
bool watchdog_start(api *a, err *e);
void watchdog_stop(api *a);
bool watchdog_stuck(api *a, plat_pulse_view *out); /* something has not moved on for long: what, and whose */
bool watchdog_worker_stuck(api *a, plat_pulse_view *out); /* the preparing or the wording of a request, as above */
void watchdog_put(api *a, json_writer *w);         /* the same as a member: "stuck", null where nothing is */

#endif
