/* api/openai/ — the OpenAI dialect: chat completions (chat.c, messages.c), completions, responses, embeddings, models.
 * Callers: routes.c for the handlers; the rest is what its files share. */
#ifndef API_OPENAI_OPENAI_H
#define API_OPENAI_OPENAI_H

#include "api/core/chat.h"

#define OPENAI_COMMON_FIELDS(type)                                                                           \
    REQUEST_SAMPLING_FIELDS(type, q), REQUEST_OWN_FIELDS(type, q),                                           \
        {"model", FIELD_STRING, offsetof(type, model)}, {"user", FIELD_STRING, offsetof(type, user)},        \
        {"max_tokens", FIELD_LIMIT, offsetof(type, q.job.max_tokens), -1, UINT32_MAX},                         \
        {"seed", FIELD_U64, offsetof(type, q.seed), REQUEST_SEED_LEAST, REQUEST_SEED_MOST},                  \
        {"stop", FIELD_ANY, offsetof(type, q.stops)}, {"stream", FIELD_BOOL, offsetof(type, q.stream)},      \
        {"stream_options", FIELD_OBJECT, offsetof(type, stream_options)},                                    \
        {"n", FIELD_U32, offsetof(type, q.n), 1, ANSWER_JOBS_MAX}, {                                         \
        "grammar", FIELD_STRING, offsetof(type, grammar)                                                     \
    }

extern const dialect openai_dialect;
const char *openai_error_type(int status);

void openai_chat(api *a, http_request *r);
void openai_completions(api *a, http_request *r);
void openai_responses(api *a, http_request *r);
void openai_embeddings(api *a, http_request *r);
void openai_models(api *a, http_request *r);
void openai_model(api *a, http_request *r, str name);

void openai_begin(api *a, api_request *q); /* the defaults that OpenAI documents */
/* The text of a string or of an array of parts; path: the field's. */
bool openai_content(chat *c, const char *path, str json, str *to, err *e);
/* The same of a tool's result: what is no text says only that it was there. */
bool openai_result(chat *c, const char *path, str json, str *to, err *e);
field_on_item openai_on_message; /* ctx: the chat */
extern const char *const openai_efforts[];
void openai_set_thinking(chat *c, uint32_t effort); /* UINT32_MAX: unsaid */
bool openai_stream_options(chat *c, str json, err *e);

int openai_status(const err *e, int status);
void openai_error(const answer_failure *f, buf *to);
/* id, object, created, model of the object being written. */
void openai_put_head(answer *x, const char *id_prefix, const char *object, json_writer *w);
void openai_put_usage(const sched_usage *u, uint32_t reasoning_tokens, json_writer *w);
void openai_put_whole_usage(answer *x, const answer_choice *choices, json_writer *w);
/* A stream's record: "data: {" … "}". */
void openai_begin_data(json_writer *w, buf *to);
void openai_end_data(json_writer *w, buf *to);
void openai_put_failure(answer *x, const err *e, buf *to);
/* Its end: what all of it took, where that was asked for, and [DONE]. */
void openai_put_last(answer *x, const char *id_prefix, const char *object, buf *to);

#endif
