/* The OpenAI dialect: chat completions, completions, models (developers.openai.com/api/reference). */
#include <stdio.h>
#include <string.h>

#include "api/core/custom_tools.h"
#include "api/openai/openai.h"

enum { LOGPROB_TEXT_BYTES = 128 };
enum { CALL_FUNCTION, CALL_CUSTOM }; /* block_kind */

/* ---- wording: parts ---- */

int openai_status(const err *e, int status) { return e->code == ERR_TOO_LARGE ? 400 : status; }

const char *openai_error_type(int status) {
    if (status == 401) return "authentication_error";
    return status == 429 ? "rate_limit_error" : status >= 500 ? "server_error" : "invalid_request_error";
}

void openai_error(const answer_failure *f, buf *to) {
    char name[FIELD_PATH_BYTES], words[160];
    const char *message = f->e->message;
    if (f->e->need_tokens) { /* what clients look for in it: both figures */
        snprintf(words, sizeof words,
                 "This model's maximum context length is %u tokens. However, your messages resulted in %u tokens. "
                 "Please shorten them.",
                 f->e->have_tokens, f->e->need_tokens);
        message = words;
    }
    const char *code = f->e->code == ERR_NOT_FOUND   ? "model_not_found"
                       : f->e->need_tokens           ? "context_length_exceeded"
                       : f->status == 429            ? "rate_limit_exceeded"
                                                     : NULL;
    http_error_json(to, message, openai_error_type(f->status), api_error_param(f->e, name, sizeof name),
                    code);
}

static void put_token(const text_vocab *v, int32_t token, float logprob, json_writer *w) {
    char text[TEXT_TOKEN_BYTES_MAX];
    size_t n = text_token_bytes(v, token, true, text);
    if (n > LOGPROB_TEXT_BYTES)
        n = LOGPROB_TEXT_BYTES; /* a record must fit its buffer, whatever the vocabulary */
    json_put_string(w, "token", (str){text, n});
    json_put_fixed(w, "logprob", (double)logprob, 6);
    json_key(w, "bytes");
    json_array_start(w);
    for (size_t i = 0; i < n; i++) json_uint(w, (unsigned char)text[i]);
    json_array_end(w);
}

static void put_logprob(const text_vocab *v, const engine_sample *s, uint32_t n_top, json_writer *w) {
    json_object_start(w);
    put_token(v, s->token, s->logprob, w);
    json_key(w, "top_logprobs");
    json_array_start(w);
    for (uint32_t i = 0; i < s->n_top && i < n_top; i++) {
        json_object_start(w);
        put_token(v, s->top[i].token, s->top[i].logprob, w);
        json_object_end(w);
    }
    json_array_end(w);
    json_object_end(w);
}

static void logprob_words(answer *x, const sched_output *out, json_writer *w) {
    put_logprob(engine_vocab(x->a->en), &out->sample, x->style.n_logprobs, w);
}

/* {"content":[…],"refusal":null}, or null. */
static void put_logprobs(answer *x, const sched_output *out, json_writer *w) {
    json_key(w, "logprobs");
    if (!out || !x->logprobs) {
        json_null(w);
        return;
    }
    json_object_start(w);
    json_key(w, "content");
    json_array_start(w);
    logprob_words(x, out, w);
    json_array_end(w);
    json_key(w, "refusal");
    json_null(w);
    json_object_end(w);
}

void openai_put_usage(const sched_usage *u, uint32_t reasoning_tokens, json_writer *w) {
    json_key(w, "usage");
    json_object_start(w);
    json_put_uint(w, "prompt_tokens", u->prompt_tokens);
    json_put_uint(w, "completion_tokens", u->completion_tokens);
    json_put_uint(w, "total_tokens", (uint64_t)u->prompt_tokens + u->completion_tokens);
    json_key(w, "prompt_tokens_details");
    json_object_start(w);
    json_put_uint(w, "cached_tokens", u->cached_tokens);
    json_object_end(w);
    json_key(w, "completion_tokens_details");
    json_object_start(w);
    json_put_uint(w, "reasoning_tokens", reasoning_tokens);
    json_object_end(w);
    json_object_end(w);
}

void openai_put_head(answer *x, const char *id_prefix, const char *object, json_writer *w) {
    char id[64];
    snprintf(id, sizeof id, "%s%s", id_prefix, http_request_id(x->request));
    json_put_string(w, "id", str_of(id));
    json_put_string(w, "object", str_of(object));
    json_put_uint(w, "created", x->created_s);
    json_put_string(w, "model", str_of(api_model_name(x->a)));
    json_put_string(w, "system_fingerprint", str_of(x->a->fingerprint));
}

static const char *finish_reason(engine_finish finish, uint32_t n_calls) {
    return finish == ENGINE_FINISH_LENGTH ? "length" : n_calls ? "tool_calls" : "stop";
}

/* ---- chat: a stream ---- */

void openai_begin_data(json_writer *w, buf *to) {
    buf_append_str(to, STR("data: "));
    json_begin(w, to);
    json_object_start(w);
}

void openai_end_data(json_writer *w, buf *to) {
    json_object_end(w);
    buf_append_str(to, STR("\n\n"));
}

/* Up to and with the opening of the delta. */
static void begin_chunk(answer *x, uint32_t i, json_writer *w, buf *to) {
    openai_begin_data(w, to);
    openai_put_head(x, "chatcmpl-", "chat.completion.chunk", w);
    json_key(w, "choices");
    json_array_start(w);
    json_object_start(w);
    json_put_uint(w, "index", i);
    json_key(w, "delta");
    json_object_start(w);
}

/* finish: NULL while it goes on. */
static void end_choice(answer *x, const sched_output *out, const char *finish, json_writer *w) {
    json_object_end(w);
    put_logprobs(x, out, w);
    json_key(w, "finish_reason");
    if (finish)
        json_string(w, str_of(finish));
    else
        json_null(w);
    json_object_end(w);
    json_array_end(w);
    if (x->style.include_usage) json_key(w, "usage"), json_null(w);
}

static void chat_begins(answer *x, buf *to) {
    json_writer w;
    for (uint32_t i = 0; i < x->n_jobs; i++) {
        begin_chunk(x, i, &w, to);
        json_put_string(&w, "role", STR("assistant"));
        json_put_string(&w, "content", STR(""));
        json_key(&w, "refusal");
        json_null(&w);
        end_choice(x, NULL, NULL, &w);
        openai_end_data(&w, to);
    }
}

/* said: arguments, or a custom tool's input. */
static void put_call_delta(answer *x, uint32_t i, const text_reply_event *ev, str said, json_writer *w) {
    char id[API_CALL_ID_BYTES];
    bool begins = ev->kind == TEXT_REPLY_CALL, custom = x->progress[i].block_kind == CALL_CUSTOM;
    json_key(w, "tool_calls");
    json_array_start(w);
    json_object_start(w);
    json_put_uint(w, "index", ev->call);
    if (begins) json_put_string(w, "id", str_of(api_call_id(x, i, ev->call, id)));
    if (begins) json_put_string(w, "type", custom ? STR("custom") : STR("function"));
    json_key(w, custom ? "custom" : "function");
    json_object_start(w);
    if (begins) json_put_string(w, "name", ev->text);
    json_put_string(w, custom ? "input" : "arguments", begins ? STR("") : said);
    json_object_end(w);
    json_object_end(w);
    json_array_end(w);
}

static void chat_piece(answer *x, uint32_t i, const text_reply_event *ev, const sched_output *out, buf *to) {
    json_writer w;
    answer_progress *p = &x->progress[i];
    API_PAGE(input, 2 * TEXT_REPLY_OUT_BYTES);
    str said = ev->text;
    if (ev->kind == TEXT_REPLY_CALL_END) return;
    if (ev->kind == TEXT_REPLY_CALL) {
        p->block_kind = custom_is_tool(x, ev->text) ? CALL_CUSTOM : CALL_FUNCTION;
        p->input = (custom_input){0};
    } else if (ev->kind == TEXT_REPLY_ARGUMENTS && p->block_kind == CALL_CUSTOM) {
        custom_input_feed(&p->input, ev->text, &input);
        said = buf_str(&input);
        if (!said.len && !(out && x->logprobs)) return;
    }
    begin_chunk(x, i, &w, to);
    if (ev->kind == TEXT_REPLY_CONTENT)
        json_put_string(&w, "content", ev->text);
    else if (ev->kind == TEXT_REPLY_REASONING)
        json_put_string(&w, "reasoning_content", ev->text);
    else
        put_call_delta(x, i, ev, said, &w);
    end_choice(x, out, NULL, &w);
    openai_end_data(&w, to);
}

void openai_put_failure(answer *x, const err *e, buf *to) {
    buf_append_str(to, STR("data: "));
    openai_error(&(answer_failure){e, openai_status(e, api_status(e, false)), http_request_id(x->request)},
                 to);
    buf_append_str(to, STR("\n\n"));
}

static uint32_t reasoning_tokens(const answer *x) {
    uint32_t sum = 0;
    for (uint32_t i = 0; i < x->n_jobs; i++) sum += x->progress[i].reasoning_tokens;
    return sum;
}

static void chat_ends(answer *x, uint32_t i, const sched_output *out, buf *to) {
    json_writer w;
    if (out->what == SCHED_FAILED) {
        openai_put_failure(x, &out->failure, to);
        return;
    }
    sched_usage u;
    begin_chunk(x, i, &w, to);
    end_choice(x, NULL, finish_reason(out->finish, x->progress[i].n_calls), &w);
    api_sum_usage(x, i, 1, &u);
    if (!x->style.include_usage) api_put_own(x, &u, 1, &w);
    openai_end_data(&w, to);
}

/* The last chunk, with what all of it took, where that is asked for. */
void openai_put_last(answer *x, const char *id_prefix, const char *object, buf *to) {
    json_writer w;
    sched_usage u;
    if (x->style.include_usage) {
        openai_begin_data(&w, to);
        openai_put_head(x, id_prefix, object, &w);
        json_key(&w, "choices");
        json_array_start(&w);
        json_array_end(&w);
        api_sum_usage(x, 0, x->n_jobs, &u);
        openai_put_usage(&u, reasoning_tokens(x), &w);
        api_put_own(x, &u, x->n_jobs, &w);
        openai_end_data(&w, to);
    }
    buf_append_str(to, STR("data: [DONE]\n\n"));
}

static void chat_finishes(answer *x, buf *to) {
    openai_put_last(x, "chatcmpl-", "chat.completion.chunk", to);
}

/* ---- chat: whole ---- */

static void put_calls(answer *x, uint32_t i, const answer_choice *c, json_writer *w) {
    const char *at = c->calls.data;
    json_key(w, "tool_calls");
    json_array_start(w);
    for (uint32_t k = 0; k < c->n_calls; k++) {
        char id[API_CALL_ID_BYTES];
        str arguments, name = answer_next_call(&at, &arguments);
        json_object_start(w);
        json_put_string(w, "id", str_of(api_call_id(x, i, k, id)));
        bool custom = custom_is_tool(x, name);
        json_put_string(w, "type", custom ? STR("custom") : STR("function"));
        json_key(w, custom ? "custom" : "function");
        json_object_start(w);
        json_put_string(w, "name", name);
        json_put_string(w, custom ? "input" : "arguments", custom ? custom_input_of(x, arguments) : arguments);
        json_object_end(w);
        json_object_end(w);
    }
    json_array_end(w);
}

static void put_whole_logprobs(answer *x, const answer_choice *c, json_writer *w) {
    json_key(w, "logprobs");
    if (!x->logprobs) {
        json_null(w);
        return;
    }
    json_object_start(w);
    json_key(w, "content");
    json_raw(w, c->logprobs);
    json_key(w, "refusal");
    json_null(w);
    json_object_end(w);
}

static void put_message_choice(answer *x, uint32_t i, const answer_choice *c, json_writer *w) {
    json_object_start(w);
    json_put_uint(w, "index", i);
    json_key(w, "message");
    json_object_start(w);
    json_put_string(w, "role", STR("assistant"));
    json_key(w, "content");
    if (c->n_calls && !c->text.len)
        json_null(w);
    else
        json_string(w, c->text);
    json_key(w, "refusal");
    json_null(w);
    if (c->reasoning.len) json_put_string(w, "reasoning_content", c->reasoning);
    if (c->n_calls) put_calls(x, i, c, w);
    json_object_end(w);
    put_whole_logprobs(x, c, w);
    json_put_string(w, "finish_reason", str_of(finish_reason(c->finish, c->n_calls)));
    json_object_end(w);
}

void openai_put_whole_usage(answer *x, const answer_choice *choices, json_writer *w) {
    sched_usage u;
    uint32_t reasoning = 0;
    for (uint32_t i = 0; i < x->n_jobs; i++) reasoning += choices[i].reasoning_tokens;
    api_sum_usage(x, 0, x->n_jobs, &u);
    openai_put_usage(&u, reasoning, w);
    api_put_own(x, &u, x->n_jobs, w);
}

static void chat_whole(answer *x, const answer_choice *choices, buf *to) {
    json_writer w;
    json_begin(&w, to);
    json_object_start(&w);
    openai_put_head(x, "chatcmpl-", "chat.completion", &w);
    json_key(&w, "choices");
    json_array_start(&w);
    for (uint32_t i = 0; i < x->n_jobs; i++) put_message_choice(x, i, &choices[i], &w);
    json_array_end(&w);
    openai_put_whole_usage(x, choices, &w);
    json_object_end(&w);
    if (api_kept_said(x)->failed) to->failed = true;
}

const dialect openai_dialect = {.stream_type = "text/event-stream",
                                .keep_alive = ": keep-alive\n\n",
                                .status = openai_status,
                                .begin = chat_begins,
                                .piece = chat_piece,
                                .end = chat_ends,
                                .finish = chat_finishes,
                                .whole = chat_whole,
                                .logprob = logprob_words,
                                .error = openai_error};

/* ---- chat: the request ---- */

typedef struct openai_request {
    api_request q; /* first */
    chat *c;
    str model, user, messages, response_format, tools, tool_choice, stream_options, template_values, grammar;
    uint32_t effort, max_completion_tokens;
    bool parallel;
} openai_request;

enum { EFFORT_UNSAID = UINT32_MAX };
const char *const openai_efforts[] = {"none", "minimal", "low", "medium", "high", "xhigh", NULL};

#define AT(member) offsetof(openai_request, member)
static const field chat_fields[] = {
    OPENAI_COMMON_FIELDS(openai_request),
    {"response_format", FIELD_OBJECT, AT(response_format)},
    {"messages", FIELD_ARRAY, AT(messages)},
    {"max_completion_tokens", FIELD_LIMIT, AT(max_completion_tokens), -1, UINT32_MAX},
    {"logprobs", FIELD_BOOL, AT(q.job.sampling.logprobs)},
    {"top_logprobs", FIELD_U32, AT(q.job.sampling.top_logprobs), 0, SAMPLER_TOP_LOGPROBS_MAX},
    {"tools", FIELD_ARRAY, AT(tools)},
    {"tool_choice", FIELD_ANY, AT(tool_choice)},
    {"parallel_tool_calls", FIELD_BOOL, AT(parallel)},
    {"reasoning_effort", FIELD_WORD, AT(effort), .words = openai_efforts},
    {"chat_template_kwargs", FIELD_OBJECT, AT(template_values)},
};

/* ---- the answer's form ---- */

typedef struct format_fields {
    uint32_t type;
    str json_schema, schema, name, description;
    bool strict;
} format_fields;

static const char *const formats[] = {"text", "json_object", "json_schema", NULL};
static const field format_rows[] = {{"type", FIELD_WORD, offsetof(format_fields, type), .words = formats},
                                    {"json_schema", FIELD_OBJECT, offsetof(format_fields, json_schema)},
                                    {"schema", FIELD_OBJECT, offsetof(format_fields, schema)}};
static const field schema_rows[] = {{"schema", FIELD_OBJECT, offsetof(format_fields, schema)},
                                    {"name", FIELD_STRING, offsetof(format_fields, name)},
                                    {"description", FIELD_STRING, offsetof(format_fields, description)},
                                    {"strict", FIELD_BOOL, offsetof(format_fields, strict)}};

static bool read_format(chat *c, const openai_request *x, err *e) {
    format_fields f = {.type = UINT32_MAX};
    c->format = TEXT_GRAMMAR_GBNF;
    c->format_source = x->grammar;
    c->format_name = "grammar";
    if (!x->response_format.len) return true;
    if (!CHAT_READ_NAMING(c, "response_format", x->response_format, format_rows, &f, e)) return false;
    if (f.type == UINT32_MAX) return err_set(e, ERR_INVALID, "'response_format.type' is missing");
    if (f.type == 0) return true;
    if (x->grammar.len) return err_set(e, ERR_INVALID, "'grammar' and 'response_format' are both given");
    if (f.type == 2 && (f.json_schema.len || !f.schema.len)) { /* the schema may stand without its envelope */
        if (!f.json_schema.len) return err_set(e, ERR_INVALID, "'response_format.json_schema' is missing");
        f.schema = STR("");
        if (!CHAT_READ_NAMING(c, "response_format.json_schema", f.json_schema, schema_rows, &f, e)) return false;
        if (!f.schema.len) return err_set(e, ERR_INVALID, "'response_format.json_schema.schema' is missing");
    }
    c->format = f.schema.len ? TEXT_GRAMMAR_SCHEMA : TEXT_GRAMMAR_JSON_OBJECT;
    c->format_source = f.schema.len ? f.schema : STR("{}");
    c->format_name = f.type == 2 ? "response_format.json_schema.schema" : "response_format";
    return true;
}

void openai_begin(api *a, api_request *q) {
    request_begin(a, q);
    engine_sampling *s = &q->job.sampling; /* as OpenAI documents them */
    s->temperature = 1;
    s->top_p = 1;
    s->top_k = 0;
    s->min_p = 0;
}

bool openai_stream_options(chat *c, str json, err *e) {
    static const field rows[] = {{"include_usage", FIELD_BOOL, offsetof(answer_style, include_usage)}};
    return !json.len || CHAT_READ(c, "stream_options", json, rows, &c->style, e);
}

void openai_set_thinking(chat *c, uint32_t effort) {
    if (effort == EFFORT_UNSAID) return;
    c->thinking = effort == 0 ? CHAT_THINKING_OFF : CHAT_THINKING_ON;
    if (effort) c->effort = str_of(openai_efforts[effort]);
}

static void begin_request(api *a, openai_request *x, chat *c) {
    *x = (openai_request){.c = c, .effort = EFFORT_UNSAID, .parallel = true};
    openai_begin(a, &x->q);
    c->ignored = &x->q.ignored;
}

static bool read_chat(api *a, str body, openai_request *x, chat *c, err *e) {
    begin_request(a, x, c);
    if (!request_read(&x->q, &c->in, "", body, chat_fields, sizeof chat_fields / sizeof *chat_fields, e) ||
        !request_settle(&x->q, &c->in, ROUTE_CHAT | ROUTE_LOGPROBS, e))
        return false;
    if (!api_check_model(a, x->model, e)) return false;
    if (!x->messages.len) return err_set(e, ERR_INVALID, "'messages' is missing");
    if (!chat_each(c, "messages", x->messages, openai_on_message, c, e)) return false;
    if (!chat_read_tools(c, x->tools, e)) return false;
    if (!chat_read_tool_choice(c, x->tool_choice, e) || !read_format(c, x, e) ||
        !openai_stream_options(c, x->stream_options, e))
        return false;
    if (x->max_completion_tokens) x->q.job.max_tokens = x->max_completion_tokens;
    if (x->q.job.sampling.top_logprobs && !x->q.job.sampling.logprobs)
        return err_set(e, ERR_INVALID, "'top_logprobs' is given, and 'logprobs' is not true");
    c->no_parallel = !x->parallel;
    c->template_values = x->template_values;
    c->style.n_logprobs = x->q.job.sampling.top_logprobs;
    openai_set_thinking(c, x->effort);
    return request_set_stops(&x->q, &c->in, "stop", e) && chat_finish(c, &x->q, e) &&
           request_finish(&x->q, REQUEST_NOT_GIVEN, e);
}

void openai_chat(api *a, http_request *r) {
    openai_request x = {0};
    chat c;
    err e = {0};
    bool begun = chat_begin(&c, a, http_body(r).len, &e), good = begun && read_chat(a, http_body(r), &x, &c, &e);
    request_name_ignored(&x.q, r);
    if (good)
        api_generate(a, r, &openai_dialect, &x.q.job, x.q.n, x.q.stream, &c.style);
    else
        api_refuse(a, r, &openai_dialect, &e);
    request_end(&x.q);
    if (begun) chat_end(&c);
}
