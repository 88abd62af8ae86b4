/* Answers in the words of the Anthropic dialect: streams of events, whole messages, errors. */
#include <stdio.h>
#include <string.h>

#include "api/anthropic/anthropic.h"

enum { BLOCK_NONE = 0xFF, INPUT_PIECE_BYTES = 2048 };

/* ---- wording: parts ---- */

/* Load that is shed is theirs to wait out: 529. */
static int status_of(const err *e, int status) {
    if (e->code == ERR_TOO_LARGE) return 400;
    return status == 429 ? 529 : status;
}

static const char *error_type(int status) {
    switch (status) {
    case 401: return "authentication_error";
    case 403: return "permission_error";
    case 404: return "not_found_error";
    case 413: return "request_too_large";
    case 429: return "rate_limit_error";
    case 529: return "overloaded_error";
    default: return status >= 500 ? "api_error" : "invalid_request_error";
    }
}

static void error_words(const answer_failure *f, buf *to) {
    json_writer w;
    json_begin(&w, to);
    json_object_start(&w);
    json_put_string(&w, "type", STR("error"));
    json_key(&w, "error");
    json_object_start(&w);
    json_put_string(&w, "type", str_of(error_type(f->status)));
    json_put_string(&w, "message", str_of(f->e->message));
    json_object_end(&w);
    json_put_string(&w, "request_id", str_of(f->request_id));
    json_object_end(&w);
}

static void put_usage(const sched_usage *u, bool begins, json_writer *w) {
    json_key(w, "usage");
    json_object_start(w);
    json_put_uint(w, "input_tokens", u->prompt_tokens - u->cached_tokens);
    json_put_uint(w, "cache_creation_input_tokens", 0);
    json_put_uint(w, "cache_read_input_tokens", u->cached_tokens);
    json_put_uint(w, "output_tokens", begins ? 0 : u->completion_tokens);
    json_object_end(w);
}

static void put_stop(answer *x, engine_finish finish, int32_t stopped_by, uint32_t n_calls, json_writer *w) {
    const char *reason = finish == ENGINE_FINISH_LENGTH ? "max_tokens"
                         : stopped_by >= 0              ? "stop_sequence"
                         : n_calls                      ? "tool_use"
                                                        : "end_turn";
    json_put_string(w, "stop_reason", str_of(reason));
    json_key(w, "stop_sequence");
    if (finish == ENGINE_FINISH_STOP && stopped_by >= 0)
        json_string(w, sched_job_stop_text(x->a->sched, x->jobs[0], (uint32_t)stopped_by));
    else
        json_null(w);
}

/* Up to the message's content. */
static void put_head(answer *x, json_writer *w) {
    char id[64];
    snprintf(id, sizeof id, "msg_%s", http_request_id(x->request));
    json_put_string(w, "id", str_of(id));
    json_put_string(w, "type", STR("message"));
    json_put_string(w, "role", STR("assistant"));
    json_put_string(w, "model", str_of(api_model_name(x->a)));
}

/* ---- a stream ---- */

static void begin_event(const char *type, json_writer *w, buf *to) {
    buf_printf(to, "event: %s\ndata: ", type);
    json_begin(w, to);
    json_object_start(w);
    json_put_string(w, "type", str_of(type));
}

static void end_event(json_writer *w, buf *to) {
    json_object_end(w);
    buf_append_str(to, STR("\n\n"));
}

static void message_begins(answer *x, buf *to) {
    json_writer w;
    sched_usage u;
    x->progress[0].block_kind = BLOCK_NONE;
    api_sum_usage(x, 0, 1, &u);
    begin_event("message_start", &w, to);
    json_key(&w, "message");
    json_object_start(&w);
    put_head(x, &w);
    json_key(&w, "content");
    json_array_start(&w);
    json_array_end(&w);
    json_key(&w, "stop_reason");
    json_null(&w);
    json_key(&w, "stop_sequence");
    json_null(&w);
    put_usage(&u, true, &w);
    json_object_end(&w);
    end_event(&w, to);
}

static void close_block(answer *x, buf *to) {
    answer_progress *p = &x->progress[0];
    json_writer w;
    if (p->block_kind == BLOCK_NONE) return;
    begin_event("content_block_stop", &w, to);
    json_put_uint(&w, "index", p->n_blocks++);
    end_event(&w, to);
    p->block_kind = BLOCK_NONE;
}

static void put_block_start(answer *x, text_reply_kind kind, const text_reply_event *ev, json_writer *w) {
    char id[API_CALL_ID_BYTES];
    json_key(w, "content_block");
    json_object_start(w);
    if (kind == TEXT_REPLY_CALL) {
        json_put_string(w, "type", STR("tool_use"));
        json_put_string(w, "id", str_of(api_call_id(x, 0, ev->call, id)));
        json_put_string(w, "name", ev->text);
        json_key(w, "input");
        json_raw(w, STR("{}"));
    } else if (kind == TEXT_REPLY_REASONING) {
        json_put_string(w, "type", STR("thinking"));
        json_put_string(w, "thinking", STR(""));
        json_put_string(w, "signature", STR(""));
    } else {
        json_put_string(w, "type", STR("text"));
        json_put_string(w, "text", STR(""));
    }
    json_object_end(w);
}

static void open_block(answer *x, text_reply_kind kind, const text_reply_event *ev, buf *to) {
    answer_progress *p = &x->progress[0];
    json_writer w;
    if (p->block_kind == kind && kind != TEXT_REPLY_CALL) return;
    close_block(x, to);
    begin_event("content_block_start", &w, to);
    json_put_uint(&w, "index", p->n_blocks);
    put_block_start(x, kind, ev, &w);
    end_event(&w, to);
    p->block_kind = (uint8_t)kind;
}

static void put_delta(answer *x, text_reply_kind kind, str text, buf *to) {
    static const char *const types[][2] = {[TEXT_REPLY_CONTENT] = {"text_delta", "text"},
                                           [TEXT_REPLY_REASONING] = {"thinking_delta", "thinking"},
                                           [TEXT_REPLY_ARGUMENTS] = {"input_json_delta", "partial_json"}};
    json_writer w;
    if (!text.len) return;
    begin_event("content_block_delta", &w, to);
    json_put_uint(&w, "index", x->progress[0].n_blocks);
    json_key(&w, "delta");
    json_object_start(&w);
    json_put_string(&w, "type", str_of(types[kind][0]));
    json_put_string(&w, types[kind][1], text);
    json_object_end(&w);
    end_event(&w, to);
}

/* Anthropic's clients throw where pieces of an input are no JSON, and act on what is half of one: a call is kept until
 * it is whole, as Anthropic keeps the values of an input. One that breaks off or is no JSON is the text that was
 * written. */
static void begin_call(answer *x, const text_reply_event *ev) {
    buf *const bufs[] = {api_kept_name(x), api_kept_said(x), api_kept_items(x)};
    for (size_t i = 0; i < sizeof bufs / sizeof *bufs; i++) buf_clear(bufs[i]);
    buf_append_str(api_kept_name(x), ev->text);
    buf_append_str(api_kept_items(x), ev->raw);
}

static void end_call(answer *x, const text_reply_event *ev, buf *to) {
    buf *name = api_kept_name(x), *said = api_kept_said(x), *head = api_kept_items(x);
    str input = buf_str(said);
    to->failed |= name->failed || said->failed || head->failed;
    if (ev->cut || ev->broken) {
        open_block(x, TEXT_REPLY_CONTENT, ev, to);
        put_delta(x, TEXT_REPLY_CONTENT, buf_str(head), to);
        put_delta(x, TEXT_REPLY_CONTENT, input, to);
        return;
    }
    open_block(x, TEXT_REPLY_CALL, &(text_reply_event){.call = ev->call, .text = buf_str(name)}, to);
    for (size_t n; input.len; input = str_from(input, n)) {
        n = input.len < INPUT_PIECE_BYTES ? input.len : INPUT_PIECE_BYTES;
        while (n < input.len && ((unsigned char)input.data[n] & 0xC0) == 0x80) n++; /* whole characters */
        put_delta(x, TEXT_REPLY_ARGUMENTS, str_until(input, n), to);
    }
    close_block(x, to);
}

static void message_piece(answer *x, uint32_t i, const text_reply_event *ev, const sched_output *out,
                          buf *to) {
    (void)i, (void)out;
    switch (ev->kind) {
    case TEXT_REPLY_CALL: begin_call(x, ev); break;
    case TEXT_REPLY_ARGUMENTS: buf_append_str(api_kept_said(x), ev->text); break;
    case TEXT_REPLY_CALL_END: end_call(x, ev, to); break;
    default:
        if (ev->text.len) open_block(x, ev->kind, ev, to);
        put_delta(x, ev->kind, ev->text, to);
    }
}

static void message_ends(answer *x, uint32_t i, const sched_output *out, buf *to) {
    json_writer w;
    sched_usage u;
    if (out->what == SCHED_FAILED) {
        int status = status_of(&out->failure, api_status(&out->failure, false));
        buf_append_str(to, STR("event: error\ndata: "));
        error_words(&(answer_failure){&out->failure, status, http_request_id(x->request)}, to);
        buf_append_str(to, STR("\n\n"));
        return;
    }
    if (!x->progress[i].n_blocks &&
        x->progress[i].block_kind == BLOCK_NONE) /* an answer has a block, if an empty one */
        open_block(x, TEXT_REPLY_CONTENT, &(text_reply_event){0}, to);
    close_block(x, to);
    begin_event("message_delta", &w, to);
    json_key(&w, "delta");
    json_object_start(&w);
    put_stop(x, out->finish, out->stopped_by, x->progress[i].n_calls, &w);
    json_object_end(&w);
    api_sum_usage(x, 0, 1, &u);
    put_usage(&u, false, &w);
    api_put_own(x, &u, 1, &w);
    end_event(&w, to);
    begin_event("message_stop", &w, to);
    end_event(&w, to);
}

/* ---- whole ---- */

static void put_block(json_writer *w, const char *type, const char *key, str text) {
    json_object_start(w);
    json_put_string(w, "type", str_of(type));
    json_put_string(w, key, text);
    if (str_is(str_of(type), "thinking")) json_put_string(w, "signature", STR(""));
    json_object_end(w);
}

static void put_content(answer *x, const answer_choice *c, json_writer *w) {
    const char *at = c->calls.data;
    if (c->reasoning.len && !x->style.hide_reasoning) put_block(w, "thinking", "thinking", c->reasoning);
    if (c->text.len || !c->n_calls) put_block(w, "text", "text", c->text);
    for (uint32_t k = 0; k < c->n_calls; k++) {
        char id[API_CALL_ID_BYTES];
        str arguments, name = answer_next_call(&at, &arguments);
        json_object_start(w);
        json_put_string(w, "type", STR("tool_use"));
        json_put_string(w, "id", str_of(api_call_id(x, 0, k, id)));
        json_put_string(w, "name", name);
        json_key(w, "input");
        json_raw(w, arguments.len ? arguments : STR("{}"));
        json_object_end(w);
    }
}

static void message_whole(answer *x, const answer_choice *c, buf *to) {
    json_writer w;
    sched_usage u;
    json_begin(&w, to);
    json_object_start(&w);
    put_head(x, &w);
    json_key(&w, "content");
    json_array_start(&w);
    put_content(x, c, &w);
    json_array_end(&w);
    put_stop(x, c->finish, c->stopped_by, c->n_calls, &w);
    api_sum_usage(x, 0, 1, &u);
    put_usage(&u, false, &w);
    api_put_own(x, &u, 1, &w);
    json_object_end(&w);
}

const dialect anthropic_dialect = {.stream_type = "text/event-stream",
                                   .objects = true,
                                   .keeps_all = true,
                                   .keep_alive = "event: ping\ndata: {\"type\":\"ping\"}\n\n",
                                   .status = status_of,
                                   .begin = message_begins,
                                   .piece = message_piece,
                                   .end = message_ends,
                                   .whole = message_whole,
                                   .error = error_words};
