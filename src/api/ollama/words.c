/* How the Ollama dialect words its answers: a line for each piece, or one object. */
#include "api/ollama/ollama.h"

#include <stdio.h>

#include "base/clock.h"

/* A record must fit its buffer, whatever the vocabulary and however long the text. */
enum { LOGPROB_TEXT_BYTES = 128, CONTEXT_MOST_TOKENS = 4096 };

/* ---- wording: parts ---- */

static int status_of(const err *e, int status) { return e->code == ERR_TOO_LARGE ? 400 : status; }

static void error_words(const answer_failure *f, buf *to) {
    json_writer w;
    char words[128];
    if (f->e->need_tokens)
        snprintf(words, sizeof words, "the input length exceeds the context length: %u tokens, and %u fit",
                 f->e->need_tokens, f->e->have_tokens);
    json_begin(&w, to);
    json_object_start(&w);
    json_put_string(&w, "error", str_of(f->e->need_tokens ? words : f->e->message));
    json_object_end(&w);
}

void ollama_put_head(api *a, json_writer *w) {
    char stamp[CLOCK_STAMP_BYTES];
    json_put_string(w, "model", str_of(api_model_name(a)));
    json_put_string(w, "created_at", str_of(clock_stamp(clock_wall_ms(), stamp)));
}

static void put_token(const text_vocab *v, int32_t token, float logprob, json_writer *w) {
    char text[TEXT_TOKEN_BYTES_MAX];
    size_t n = text_token_bytes(v, token, true, text);
    if (n > LOGPROB_TEXT_BYTES) n = LOGPROB_TEXT_BYTES;
    json_put_string(w, "token", (str){text, n});
    json_put_fixed(w, "logprob", (double)logprob, 6);
    json_key(w, "bytes");
    json_array_start(w);
    for (size_t i = 0; i < n; i++) json_uint(w, (unsigned char)text[i]);
    json_array_end(w);
}

static void logprob_words(answer *x, const sched_output *out, json_writer *w) {
    const text_vocab *v = engine_vocab(x->a->en);
    const engine_sample *s = &out->sample;
    json_object_start(w);
    put_token(v, s->token, s->logprob, w);
    if (x->style.n_logprobs) {
        json_key(w, "top_logprobs");
        json_array_start(w);
        for (uint32_t i = 0; i < s->n_top && i < x->style.n_logprobs; i++) {
            json_object_start(w);
            put_token(v, s->top[i].token, s->top[i].logprob, w);
            json_object_end(w);
        }
        json_array_end(w);
    }
    json_object_end(w);
}

void ollama_begin_message(json_writer *w) {
    json_key(w, "message");
    json_object_start(w);
    json_put_string(w, "role", STR("assistant"));
}

static void put_said(answer *x, str text, str reasoning, json_writer *w) {
    bool in_chat = x->style.flavour == OLLAMA_CHAT;
    if (in_chat) ollama_begin_message(w);
    json_put_string(w, in_chat ? "content" : "response", text);
    if (reasoning.len) json_put_string(w, "thinking", reasoning);
    if (in_chat) json_object_end(w);
}

static uint64_t nanoseconds(double ms) { return ms > 0 ? (uint64_t)(ms * 1e6) : 0; }

/* The ids that "context" of a next request may bring back. */
static void put_context(answer *x, json_writer *w) {
    uint32_t n;
    const int32_t *tokens = sched_job_tokens(x->a->sched, x->jobs[0], &n);
    if (n > CONTEXT_MOST_TOKENS) return;
    json_key(w, "context");
    json_array_start(w);
    for (uint32_t i = 0; i < n; i++) json_int(w, tokens[i]);
    json_array_end(w);
}

static void put_end(answer *x, engine_finish finish, json_writer *w) {
    sched_usage u;
    api_sum_usage(x, 0, 1, &u);
    json_put_bool(w, "done", true);
    json_put_string(w, "done_reason", str_of(engine_finish_name(finish)));
    if (x->style.flavour == OLLAMA_GENERATE) put_context(x, w);
    json_put_uint(w, "total_duration", nanoseconds(u.total_ms));
    json_put_uint(w, "load_duration", 0); /* the model is there before anyone asks */
    json_put_uint(w, "prompt_eval_count", u.prompt_tokens);
    json_put_uint(w, "prompt_eval_duration", nanoseconds(u.prefill_ms));
    json_put_uint(w, "eval_count", u.completion_tokens);
    json_put_uint(w, "eval_duration", nanoseconds(u.decode_ms));
    api_put_own(x, &u, 1, w);
}

/* ---- a stream: a line for each piece ---- */

static void begin_line(answer *x, json_writer *w, buf *to) {
    json_begin(w, to);
    json_object_start(w);
    ollama_put_head(x->a, w);
}

static void end_line(json_writer *w, buf *to) {
    json_object_end(w);
    buf_append_str(to, STR("\n"));
}

static void put_line(answer *x, str text, str reasoning, const sched_output *out, buf *to) {
    json_writer w;
    begin_line(x, &w, to);
    put_said(x, text, reasoning, &w);
    json_put_bool(&w, "done", false);
    if (out && x->logprobs) {
        json_key(&w, "logprobs");
        json_array_start(&w);
        logprob_words(x, out, &w);
        json_array_end(&w);
    }
    end_line(&w, to);
}

static void put_call_head(answer *x, uint32_t i, str name, uint32_t call, json_writer *w) {
    char id[API_CALL_ID_BYTES];
    json_object_start(w);
    json_put_string(w, "id", str_of(api_call_id(x, i, call, id)));
    json_key(w, "function");
    json_object_start(w);
    json_put_uint(w, "index", call);
    json_put_string(w, "name", name);
    json_key(w, "arguments");
}

/* A call is one line, with an object for its arguments: it is kept until it is whole. */
static void begin_call(answer *x, const text_reply_event *ev) {
    buf *const bufs[] = {api_kept_name(x), api_kept_said(x), api_kept_items(x)};
    for (size_t i = 0; i < sizeof bufs / sizeof *bufs; i++) buf_clear(bufs[i]);
    buf_append_str(api_kept_name(x), ev->text);
    buf_append_str(api_kept_items(x), ev->raw);
}

static void end_call(answer *x, uint32_t i, const text_reply_event *ev, buf *to) {
    json_writer w;
    buf *name = api_kept_name(x), *said = api_kept_said(x), *head = api_kept_items(x);
    if (name->failed || said->failed || head->failed) to->failed = true;
    if (to->failed) return;
    if (ev->cut || ev->broken) { /* no object: it is what was written */
        put_line(x, buf_str(head), STR(""), NULL, to);
        put_line(x, buf_str(said), STR(""), NULL, to);
        return;
    }
    for (size_t k = 0; k < said->len; k++) /* between the values: none stands in a string */
        if (said->data[k] == '\n' || said->data[k] == '\r') said->data[k] = ' ';
    begin_line(x, &w, to);
    json_put_bool(&w, "done", false);
    ollama_begin_message(&w);
    json_put_string(&w, "content", STR(""));
    json_key(&w, "tool_calls");
    json_array_start(&w);
    put_call_head(x, i, buf_str(name), ev->call, &w);
    json_raw(&w, said->len ? buf_str(said) : STR("{}"));
    buf_append_str(to, STR("}}]}}\n"));
}

static void piece_words(answer *x, uint32_t i, const text_reply_event *ev, const sched_output *out, buf *to) {
    switch (ev->kind) {
    case TEXT_REPLY_CONTENT: put_line(x, ev->text, STR(""), out, to); break;
    case TEXT_REPLY_REASONING: put_line(x, STR(""), ev->text, out, to); break;
    case TEXT_REPLY_CALL: begin_call(x, ev); break;
    case TEXT_REPLY_ARGUMENTS: buf_append_str(api_kept_said(x), ev->text); break;
    case TEXT_REPLY_CALL_END: end_call(x, i, ev, to); break;
    }
}

static void token_words(answer *x, uint32_t i, const sched_output *out, buf *to) {
    (void)i;
    if (out->text.len || x->logprobs) put_line(x, out->text, STR(""), out, to);
}

static void end_words(answer *x, uint32_t i, const sched_output *out, buf *to) {
    json_writer w;
    (void)i;
    if (out->what == SCHED_FAILED) {
        error_words(&(answer_failure){.e = &out->failure}, to);
        buf_append_str(to, STR("\n"));
        return;
    }
    begin_line(x, &w, to);
    put_said(x, STR(""), STR(""), &w);
    put_end(x, out->finish, &w);
    end_line(&w, to);
}

/* ---- a whole answer ---- */

static void put_calls(answer *x, const answer_choice *c, uint32_t n, json_writer *w) {
    const char *at = c->calls.data;
    json_key(w, "tool_calls");
    json_array_start(w);
    for (uint32_t k = 0; k < n; k++) {
        str arguments, name = answer_next_call(&at, &arguments);
        put_call_head(x, 0, name, k, w);
        json_raw(w, arguments.len ? arguments : STR("{}"));
        json_object_end(w);
        json_object_end(w);
    }
    json_array_end(w);
}

static void whole_words(answer *x, const answer_choice *choices, buf *to) {
    const answer_choice *c = &choices[0];
    uint32_t n_calls = c->n_calls;
    json_writer w;
    json_begin(&w, to);
    json_object_start(&w);
    ollama_put_head(x->a, &w);
    if (n_calls) {
        ollama_begin_message(&w);
        json_put_string(&w, "content", c->text);
        if (c->reasoning.len) json_put_string(&w, "thinking", c->reasoning);
        put_calls(x, c, n_calls, &w);
        json_object_end(&w);
    } else {
        put_said(x, c->text, c->reasoning, &w);
    }
    if (x->logprobs) json_key(&w, "logprobs"), json_raw(&w, c->logprobs);
    put_end(x, c->finish, &w);
    json_object_end(&w);
}

const dialect ollama_dialect = {.stream_type = "application/x-ndjson",
                                .keeps_all = true,
                                .objects = true,
                                .status = status_of,
                                .token = token_words,
                                .piece = piece_words,
                                .end = end_words,
                                .whole = whole_words,
                                .logprob = logprob_words,
                                .error = error_words};
