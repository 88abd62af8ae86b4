/* api/core/request — what a request for an answer comes to, whatever its dialect; and the fields that dialects
 * share.
 *
 * Every dialect's own struct begins with an api_request, so that shared rows and functions find it. */
#ifndef API_CORE_REQUEST_H
#define API_CORE_REQUEST_H

#include "api/api.h"
#include "api/core/fields.h"
#include "api/core/shared_fields.h"
#include "engine/grammars.h"

/* What the answer is to look like, as the shared fields say it. */
typedef struct request_form {
    const char *name; /* of the field; NULL: nothing is said, or somebody has taken it */
    str source;       /* GBNF: what a rule is, or where is_grammar all of a grammar */
    bool is_grammar;
} request_form;

typedef struct api_request {
    api *a;
    sched_request job;
    bool stream, cache;
    uint64_t seed; /* REQUEST_NO_SEED: any */
    uint32_t n, kv_type, window, keep, cache_ttl_s;
    str adapter;
    str stops; /* JSON: a string or an array of them */
    uint32_t bias_from; /* of logit_bias, while it is read: entries whose number has not come; */
    bool bias_is_array, bias_whole; /* an entry of the array has all it can have */
    shared_values also;
    request_form form;
    ignored_names ignored;
} api_request;

/* What the route that a request came by has: fields of what it has not are refused. */
enum { ROUTE_CHAT = 1, ROUTE_LOGPROBS = 2 };

/* Our own fields, the same in every dialect. type: the dialect's struct; at: its api_request. */
#define REQUEST_OWN_FIELDS(type, at)                                                                         \
    {"priority", FIELD_I32, offsetof(type, at.job.priority), -100, 100},                                     \
        {"kv_type", FIELD_WORD, offsetof(type, at.kv_type), .words = request_kv_types},                      \
        {"window", FIELD_U32, offsetof(type, at.window), 0, REQUEST_WINDOW_MAX},                             \
        {"keep", FIELD_U32, offsetof(type, at.keep), 0, REQUEST_WINDOW_MAX},                                 \
        {"cache", FIELD_BOOL, offsetof(type, at.cache)},                                                     \
        {"speculate", FIELD_BOOL, offsetof(type, at.job.speculate)},                                         \
        {"cache_ttl", FIELD_U32, offsetof(type, at.cache_ttl_s), 0, REQUEST_TTL_MAX_S},                      \
        {"pin", FIELD_BOOL, offsetof(type, at.job.memory.pin)}, {                                            \
        "adapter", FIELD_STRING, offsetof(type, at.adapter)                                                  \
    }

/* What makes the next token, by the names that most use. */
#define REQUEST_SAMPLING_FIELDS(type, at)                                                                    \
    {"temperature", FIELD_FLOAT, offsetof(type, at.job.sampling.temperature), 0, 100},                       \
        {"top_k", FIELD_I32, offsetof(type, at.job.sampling.top_k), -1, INT32_MAX},                           \
        {"top_p", FIELD_FLOAT, offsetof(type, at.job.sampling.top_p), 0, 1},                                 \
        {"min_p", FIELD_FLOAT, offsetof(type, at.job.sampling.min_p), 0, 1},                                 \
        {"typical_p", FIELD_FLOAT, offsetof(type, at.job.sampling.typical_p), 0, 1},                         \
        {"repeat_penalty", FIELD_FLOAT, offsetof(type, at.job.sampling.repeat_penalty), 0.01, 100},          \
        {"repeat_last_n", FIELD_I32, offsetof(type, at.job.sampling.repeat_last_n), -1, SAMPLER_LAST_N_MAX},  \
        {"frequency_penalty", FIELD_FLOAT, offsetof(type, at.job.sampling.frequency_penalty), -2, 2},        \
        {"presence_penalty", FIELD_FLOAT, offsetof(type, at.job.sampling.presence_penalty), -2, 2},          \
        {"logit_bias", FIELD_CUSTOM, .events = request_on_logit_bias}, {                                     \
        "ignore_end", FIELD_BOOL, offsetof(type, at.job.sampling.ignore_end)                                 \
    }

enum { REQUEST_NOT_GIVEN = UINT32_MAX, REQUEST_TTL_MAX_S = 1000000000, REQUEST_WINDOW_MAX = 1 << 30 };
#define REQUEST_NO_SEED 0x8000000000000000ull
/* Where a seed is any 64 bits, but the one that stands for none: the range of its field. */
#define REQUEST_SEED_LEAST (-9223372036854774784.0)
#define REQUEST_SEED_MOST 9223372036854774784.0
extern const char *const request_kv_types[]; /* in the order of kv_type */

/* target: an api_request. */
field_events request_on_logit_bias;

/* The server's defaults for what nobody says. */
void request_begin(api *a, api_request *q);
/* Reads an object by a dialect's own rows and by those that all share; q: the first of the dialect's struct. Unknown
 * fields pass, and are noted. path: as in fields_in. */
bool request_read(api_request *q, const fields_in *in, const char *path, str json, const field *rows, size_t n, err *e);
/* What the shared fields say, once all is read; before the prompt is made. */
bool request_settle(api_request *q, const fields_in *in, uint32_t route, err *e);
/* forms.c: into q->form. */
bool request_read_form(api_request *q, const fields_in *in, err *e);
/* sampling_fields.c: the shared fields that are lists, into the job. */
bool request_set_sampling(api_request *q, const fields_in *in, err *e);
/* Of a prompt in a->tokens that is to be cut, the end. */
void request_truncate(api_request *q);
/* Names in the answer's headers what was let pass. */
void request_name_ignored(const api_request *q, http_request *r);
/* q->stops into the job; name: as the dialect calls the field. */
bool request_set_stops(api_request *q, const fields_in *in, const char *name, err *e);
/* Everything that follows from several fields; the prompt is in a->tokens. default_tokens: where max_tokens
 * is 0; REQUEST_NOT_GIVEN: to the end of the context. */
bool request_finish(api_request *q, uint32_t default_tokens, err *e);
/* The job's output is to follow a grammar (source empty: none). name: of the field it came in. */
bool request_set_grammar(api_request *q, text_grammar_kind kind, str source, const char *name, err *e);
/* Gives back what the request held beside its job; harmless after any of the above, done or failed. */
void request_end(api_request *q);

#endif
