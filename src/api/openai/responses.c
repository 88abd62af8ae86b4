/* OpenAI's newer route, POST /v1/responses: items in, items out. It keeps nothing between requests: who goes
 * on with a conversation sends all of it (store is false, previous_response_id is refused). */
#include <stdio.h>
#include <string.h>

#include "api/core/custom_tools.h"
#include "api/openai/openai.h"
#include "api/openai/responses.h"

enum { BLOCK_NONE = 0xFF, BLOCK_CUSTOM = 0xFE /* a call of a tool whose input is a text */ };

/* ---- wording: items ---- */

static const char *item_id(const answer *x, uint8_t block, uint32_t index, char out[80]) {
    const char *prefix = block == TEXT_REPLY_CONTENT     ? "msg"
                         : block == TEXT_REPLY_REASONING ? "rs"
                         : block == BLOCK_CUSTOM         ? "ctc"
                                                         : "fc";
    snprintf(out, 80, "%s_%s_%u", prefix, http_request_id(x->request), index);
    return out;
}

static uint8_t call_block(const answer *x, str name) {
    return custom_is_tool(x, name) ? BLOCK_CUSTOM : TEXT_REPLY_CALL;
}

static void put_text_part(const char *type, str text, json_writer *w) {
    json_object_start(w);
    json_put_string(w, "type", str_of(type));
    json_put_string(w, "text", text);
    if (str_is(str_of(type), "output_text")) {
        json_key(w, "annotations");
        json_raw(w, STR("[]"));
        json_key(w, "logprobs");
        json_raw(w, STR("[]"));
    }
    json_object_end(w);
}

static const char *part_type(uint8_t block) {
    return block == TEXT_REPLY_REASONING ? "reasoning_text" : "output_text";
}

typedef enum item_state { ITEM_OPEN, ITEM_DONE, ITEM_CUT } item_state;
static const char *const item_states[] = {"in_progress", "completed", "incomplete"};

/* The name that the model called, as the request has it: a function of a namespace says so. */
static void put_called(const answer *x, str name, json_writer *w) {
    str space, within;
    if (!responses_find_in_namespace(json_raw_find(x->style.echo, STR("tools")), name, &space, &within)) {
        json_put_string(w, "name", name);
        return;
    }
    json_key(w, "name");
    json_raw(w, within);
    json_key(w, "namespace");
    json_raw(w, space);
}

static void put_call(answer *x, uint8_t block, str name, uint32_t call, str said, json_writer *w) {
    char call_id[API_CALL_ID_BYTES];
    json_put_string(w, "call_id", str_of(api_call_id(x, 0, call, call_id)));
    put_called(x, name, w);
    json_put_string(w, block == BLOCK_CUSTOM ? "input" : "arguments", said);
}

/* said: its text or arguments so far; nothing yet where it has just begun. */
static void put_item(answer *x, uint8_t block, uint32_t index, str name, uint32_t call, str said, item_state state,
                     json_writer *w) {
    char id[80];
    bool is_call = block == TEXT_REPLY_CALL || block == BLOCK_CUSTOM;
    json_object_start(w);
    json_put_string(w, "id", str_of(item_id(x, block, index, id)));
    json_put_string(w, "type",
                    block == BLOCK_CUSTOM           ? STR("custom_tool_call")
                    : is_call                       ? STR("function_call")
                    : block == TEXT_REPLY_REASONING ? STR("reasoning")
                                                    : STR("message"));
    json_put_string(w, "status", str_of(item_states[state]));
    if (is_call) {
        put_call(x, block, name, call, said, w);
    } else {
        if (block == TEXT_REPLY_CONTENT)
            json_put_string(w, "role", STR("assistant"));
        else
            json_key(w, "summary"), json_raw(w, STR("[]"));
        json_key(w, "content");
        json_array_start(w);
        if (state != ITEM_OPEN) put_text_part(part_type(block), said, w);
        json_array_end(w);
    }
    json_object_end(w);
}

/* ---- wording: the response ---- */

static void put_usage(const sched_usage *u, uint32_t reasoning_tokens, json_writer *w) {
    json_key(w, "usage");
    json_object_start(w);
    json_put_uint(w, "input_tokens", u->prompt_tokens);
    json_key(w, "input_tokens_details");
    json_object_start(w);
    json_put_uint(w, "cached_tokens", u->cached_tokens);
    json_object_end(w);
    json_put_uint(w, "output_tokens", u->completion_tokens);
    json_key(w, "output_tokens_details");
    json_object_start(w);
    json_put_uint(w, "reasoning_tokens", reasoning_tokens);
    json_object_end(w);
    json_put_uint(w, "total_tokens", (uint64_t)u->prompt_tokens + u->completion_tokens);
    json_object_end(w);
}

static void put_null(const char *key, json_writer *w) {
    json_key(w, key);
    json_null(w);
}

typedef enum response_state { IN_PROGRESS, COMPLETED, INCOMPLETE, FAILED } response_state;
static const char *const state_names[] = {"in_progress", "completed", "incomplete", "failed"};

static void put_outcome(response_state state, const err *failure, json_writer *w) {
    if (state == INCOMPLETE) {
        json_key(w, "incomplete_details");
        json_raw(w, STR("{\"reason\":\"max_output_tokens\"}"));
    } else {
        put_null("incomplete_details", w);
    }
    if (state != FAILED) {
        put_null("error", w);
        return;
    }
    json_key(w, "error");
    json_object_start(w);
    json_put_string(w, "code", STR("server_error"));
    json_put_string(w, "message", str_of(failure->message));
    json_object_end(w);
}

/* items: what is in the output array. The request's own values stand in style.echo, ready to be copied. */
static void put_response(answer *x, response_state state, const err *failure, str items,
                         uint32_t reasoning_tokens, json_writer *w) {
    char id[64];
    sched_usage u;
    snprintf(id, sizeof id, "resp_%s", http_request_id(x->request));
    json_object_start(w);
    json_put_string(w, "id", str_of(id));
    json_put_string(w, "object", STR("response"));
    json_put_uint(w, "created_at", x->created_s);
    json_put_string(w, "status", str_of(state_names[state]));
    json_put_bool(w, "background", false);
    put_outcome(state, failure, w);
    json_put_string(w, "model", str_of(api_model_name(x->a)));
    json_key(w, "output");
    json_array_start(w);
    if (items.len) json_raw(w, items);
    json_array_end(w);
    if (state == COMPLETED || state == INCOMPLETE) {
        api_sum_usage(x, 0, 1, &u);
        put_usage(&u, reasoning_tokens, w);
        api_put_own(x, &u, 1, w);
    } else {
        put_null("usage", w);
    }
    buf_append_str(w->out, STR(","));
    buf_append(w->out, x->style.echo.data + 1, x->style.echo.len - 2);
    json_object_end(w);
}

/* ---- a stream ---- */

static void begin_event(answer *x, const char *type, json_writer *w, buf *to) {
    buf_printf(to, "event: %s\ndata: ", type);
    json_begin(w, to);
    json_object_start(w);
    json_put_string(w, "type", str_of(type));
    json_put_uint(w, "sequence_number", x->progress[0].sequence++);
}

static void end_event(json_writer *w, buf *to) {
    json_object_end(w);
    buf_append_str(to, STR("\n\n"));
}

static void response_event(answer *x, const char *type, response_state state, const err *failure, buf *to) {
    json_writer w;
    begin_event(x, type, &w, to);
    json_key(&w, "response");
    put_response(x, state, failure, buf_str(api_kept_items(x)), x->progress[0].reasoning_tokens, &w);
    end_event(&w, to);
}

static void response_begins(answer *x, buf *to) {
    x->progress[0].block_kind = BLOCK_NONE;
    response_event(x, "response.created", IN_PROGRESS, NULL, to);
    response_event(x, "response.in_progress", IN_PROGRESS, NULL, to);
}

static uint8_t open_block(const answer *x) { return x->progress[0].block_kind; }
static bool call_is_open(const answer *x) {
    return open_block(x) == TEXT_REPLY_CALL || open_block(x) == BLOCK_CUSTOM;
}

/* An event about the item that is open, up to what it says. */
static void begin_item_event(answer *x, const char *type, json_writer *w, buf *to) {
    char id[80];
    begin_event(x, type, w, to);
    json_put_string(w, "item_id", str_of(item_id(x, open_block(x), x->progress[0].n_blocks, id)));
    json_put_uint(w, "output_index", x->progress[0].n_blocks);
    if (!call_is_open(x)) json_put_uint(w, "content_index", 0);
}

static void put_part_event(answer *x, const char *type, str text, buf *to) {
    json_writer w;
    begin_item_event(x, type, &w, to);
    json_key(&w, "part");
    put_text_part(part_type(open_block(x)), text, &w);
    end_event(&w, to);
}

static void put_item_event(answer *x, const char *type, item_state state, buf *to) {
    json_writer w;
    begin_event(x, type, &w, to);
    json_put_uint(&w, "output_index", x->progress[0].n_blocks);
    json_key(&w, "item");
    put_item(x, open_block(x), x->progress[0].n_blocks, buf_str(api_kept_name(x)), x->progress[0].n_calls - 1,
             buf_str(api_kept_said(x)), state, &w);
    end_event(&w, to);
}

/* "response.output_text.done", with what was said. */
static void put_said(answer *x, str said, buf *to) {
    json_writer w;
    uint8_t block = open_block(x);
    begin_item_event(x,
                     block == BLOCK_CUSTOM           ? "response.custom_tool_call_input.done"
                     : block == TEXT_REPLY_CALL      ? "response.function_call_arguments.done"
                     : block == TEXT_REPLY_REASONING ? "response.reasoning_text.done"
                                                     : "response.output_text.done",
                     &w, to);
    if (block == TEXT_REPLY_CALL) put_called(x, buf_str(api_kept_name(x)), &w);
    json_put_string(&w, block == BLOCK_CUSTOM ? "input" : block == TEXT_REPLY_CALL ? "arguments" : "text", said);
    if (block == TEXT_REPLY_CONTENT) json_key(&w, "logprobs"), json_raw(&w, STR("[]"));
    end_event(&w, to);
}

/* Then the item is one of the output's. */
static void close_item(answer *x, item_state state, buf *to) {
    json_writer w;
    answer_progress *p = &x->progress[0];
    if (p->block_kind == BLOCK_NONE) return;
    str said = buf_str(api_kept_said(x));
    put_said(x, said, to);
    if (!call_is_open(x)) put_part_event(x, "response.content_part.done", said, to);
    put_item_event(x, "response.output_item.done", state, to);
    buf *items = api_kept_items(x);
    if (items->len) buf_append_str(items, STR(","));
    json_begin(&w, items);
    put_item(x, open_block(x), p->n_blocks, buf_str(api_kept_name(x)), p->n_calls - 1, said, state, &w);
    buf_clear(api_kept_said(x));
    p->n_blocks++;
    p->block_kind = BLOCK_NONE;
}

static void open_item(answer *x, uint8_t block, str name, buf *to) {
    answer_progress *p = &x->progress[0];
    bool is_call = block == TEXT_REPLY_CALL || block == BLOCK_CUSTOM;
    if (p->block_kind == block && !is_call) return;
    close_item(x, ITEM_DONE, to);
    p->block_kind = block;
    p->input = (custom_input){0};
    buf_clear(api_kept_name(x));
    buf_append_str(api_kept_name(x), name);
    put_item_event(x, "response.output_item.added", ITEM_OPEN, to);
    if (!is_call) put_part_event(x, "response.content_part.added", STR(""), to);
}

/* What a piece adds to the open item. */
static void add_piece(answer *x, const text_reply_event *ev, buf *to) {
    json_writer w;
    buf *said = api_kept_said(x);
    size_t before = said->len;
    uint8_t block = open_block(x);
    if (block == BLOCK_CUSTOM) custom_input_feed(&x->progress[0].input, ev->text, said);
    else buf_append_str(said, ev->text);
    if (said->failed || said->len == before) return;
    begin_item_event(x,
                     block == BLOCK_CUSTOM           ? "response.custom_tool_call_input.delta"
                     : block == TEXT_REPLY_CALL      ? "response.function_call_arguments.delta"
                     : block == TEXT_REPLY_REASONING ? "response.reasoning_text.delta"
                                                     : "response.output_text.delta",
                     &w, to);
    json_put_string(&w, "delta", (str){said->data + before, said->len - before});
    if (block == TEXT_REPLY_CONTENT) json_key(&w, "logprobs"), json_raw(&w, STR("[]"));
    end_event(&w, to);
}

static void response_piece(answer *x, uint32_t i, const text_reply_event *ev, const sched_output *out,
                           buf *to) {
    (void)i, (void)out;
    if (ev->kind == TEXT_REPLY_CALL_END) {
        close_item(x, ev->cut ? ITEM_CUT : ITEM_DONE, to);
    } else if (ev->kind == TEXT_REPLY_CALL) {
        open_item(x, call_block(x, ev->text), ev->text, to);
    } else if (ev->text.len) {
        if (ev->kind != TEXT_REPLY_ARGUMENTS) open_item(x, (uint8_t)ev->kind, STR(""), to);
        add_piece(x, ev, to);
    }
}

static void response_ends(answer *x, uint32_t i, const sched_output *out, buf *to) {
    if (out->what == SCHED_FAILED) {
        response_event(x, "response.failed", FAILED, &out->failure, to);
        return;
    }
    if (!x->progress[i].n_blocks && x->progress[i].block_kind == BLOCK_NONE)
        open_item(x, TEXT_REPLY_CONTENT, STR(""), to);
    bool cut = out->finish == ENGINE_FINISH_LENGTH;
    close_item(x, cut ? ITEM_CUT : ITEM_DONE, to);
    response_event(x, cut ? "response.incomplete" : "response.completed", cut ? INCOMPLETE : COMPLETED, NULL,
                   to);
}

/* ---- whole ---- */

static void put_items(answer *x, const answer_choice *c, buf *items) {
    json_writer w;
    uint32_t n = 0;
    const char *at = c->calls.data;
    item_state last = c->finish == ENGINE_FINISH_LENGTH && !c->n_calls ? ITEM_CUT : ITEM_DONE;
    json_begin(&w, items);
    if (c->reasoning.len)
        put_item(x, TEXT_REPLY_REASONING, n++, STR(""), 0, c->reasoning, c->text.len ? ITEM_DONE : last, &w);
    if (c->text.len || !c->n_calls) {
        if (n) buf_append_str(items, STR(","));
        json_begin(&w, items);
        put_item(x, TEXT_REPLY_CONTENT, n++, STR(""), 0, c->text, last, &w);
    }
    for (uint32_t k = 0; k < c->n_calls; k++) {
        str arguments, name = answer_next_call(&at, &arguments);
        if (n) buf_append_str(items, STR(","));
        json_begin(&w, items);
        uint8_t block = call_block(x, name);
        if (block == BLOCK_CUSTOM) arguments = custom_input_of(x, arguments);
        bool cut = c->cut && k + 1 == c->n_calls;
        put_item(x, block, n++, name, k, arguments, cut ? ITEM_CUT : ITEM_DONE, &w);
    }
    if (api_kept_said(x)->failed) items->failed = true;
}

static void response_whole(answer *x, const answer_choice *c, buf *to) {
    json_writer w;
    buf *items = api_kept_items(x);
    put_items(x, c, items);
    json_begin(&w, to);
    put_response(x, c->finish == ENGINE_FINISH_LENGTH ? INCOMPLETE : COMPLETED, NULL, buf_str(items),
                 c->reasoning_tokens, &w);
    if (items->failed) to->failed = true;
}

static const dialect response_dialect = {.stream_type = "text/event-stream",
                                         .keep_alive = ": keep-alive\n\n",
                                         .keeps_all = true,
                                         .status = openai_status,
                                         .begin = response_begins,
                                         .piece = response_piece,
                                         .end = response_ends,
                                         .whole = response_whole,
                                         .error = openai_error};

/* ---- the request ---- */

typedef struct response_request {
    api_request q; /* first */
    str model, user, input, instructions, tools, tool_choice, text, reasoning, previous, metadata, grammar;
    bool parallel;
} response_request;

#define AT(member) offsetof(response_request, member)
static const field request_rows[] = {
    REQUEST_SAMPLING_FIELDS(response_request, q),
    REQUEST_OWN_FIELDS(response_request, q),
    {"model", FIELD_STRING, AT(model)},
    {"user", FIELD_STRING, AT(user)},
    {"input", FIELD_ANY, AT(input)},
    {"instructions", FIELD_STRING, AT(instructions)},
    {"max_output_tokens", FIELD_LIMIT, AT(q.job.max_tokens), -1, UINT32_MAX},
    {"stream", FIELD_BOOL, AT(q.stream)},
    {"tools", FIELD_ARRAY, AT(tools)},
    {"tool_choice", FIELD_ANY, AT(tool_choice)},
    {"parallel_tool_calls", FIELD_BOOL, AT(parallel)},
    {"text", FIELD_OBJECT, AT(text)},
    {"reasoning", FIELD_OBJECT, AT(reasoning)},
    {"previous_response_id", FIELD_STRING, AT(previous)},
    {"metadata", FIELD_OBJECT, AT(metadata)},
    {"grammar", FIELD_STRING, AT(grammar)}, /* ours */
    {"prompt", FIELD_ANY, .use = FIELD_REFUSED, .why = "is given: no prompts are kept here; send 'input'"},
};

static bool read_input(chat *c, const response_request *x, err *e) {
    if (!x->input.len) return err_set(e, ERR_INVALID, "'input' is missing");
    if (x->instructions.len) {
        chat_message *m = chat_add(c, CHAT_SYSTEM, e);
        if (!m) return false;
        m->text = x->instructions;
    }
    if (fields_kind(x->input) == JSON_ARRAY_START)
        return chat_each(c, "input", x->input, responses_on_item, c, e) &&
               (c->first || err_set(e, ERR_INVALID, "'input' is empty; there must be one item at least"));
    if (fields_kind(x->input) != JSON_STRING)
        return err_set(e, ERR_INVALID, "'input' must be a string or an array of items, not %s",
                       fields_kind_name(fields_kind(x->input)));
    chat_message *m = chat_add(c, CHAT_USER, e);
    return m && fields_text(&c->in, x->input, &m->text, e);
}

typedef struct form_fields {
    uint32_t type, effort;
    str format, schema, name, description;
    bool strict;
} form_fields;

static const char *const formats[] = {"text", "json_object", "json_schema", NULL};
static const field text_rows[] = {
    {"format", FIELD_OBJECT, offsetof(form_fields, format)},
    {"verbosity", FIELD_WORD, .words = verbosities, .use = FIELD_NAMED, .why = VERBOSITY_WHY}};
static const field format_rows[] = {{"type", FIELD_WORD, offsetof(form_fields, type), .words = formats},
                                    {"schema", FIELD_OBJECT, offsetof(form_fields, schema)},
                                    {"name", FIELD_STRING, offsetof(form_fields, name)},
                                    {"description", FIELD_STRING, offsetof(form_fields, description)},
                                    {"strict", FIELD_BOOL, offsetof(form_fields, strict)}};
static const field reasoning_rows[] = {
    {"effort", FIELD_WORD, offsetof(form_fields, effort), .words = openai_efforts}};

static bool read_form(chat *c, const response_request *x, err *e) {
    form_fields f = {.type = UINT32_MAX, .effort = UINT32_MAX};
    c->format = TEXT_GRAMMAR_GBNF;
    c->format_source = x->grammar;
    c->format_name = "grammar";
    if (x->reasoning.len && !CHAT_READ(c, "reasoning", x->reasoning, reasoning_rows, &f, e)) return false;
    openai_set_thinking(c, f.effort);
    if (!x->text.len) return true;
    if (!CHAT_READ_NAMING(c, "text", x->text, text_rows, &f, e)) return false;
    if (!f.format.len) return true;
    if (!CHAT_READ_NAMING(c, "text.format", f.format, format_rows, &f, e)) return false;
    if (f.type == UINT32_MAX) return err_set(e, ERR_INVALID, "'text.format.type' is missing");
    if (f.type == 0) return true;
    if (f.type == 2 && !f.schema.len) return err_set(e, ERR_INVALID, "'text.format.schema' is missing");
    if (x->grammar.len) return err_set(e, ERR_INVALID, "'grammar' and 'text.format' are both given");
    c->format = f.type == 2 ? TEXT_GRAMMAR_SCHEMA : TEXT_GRAMMAR_JSON_OBJECT;
    c->format_source = f.type == 2 ? f.schema : STR("{}");
    c->format_name = "text.format.schema";
    return true;
}

/* What a response repeats of its request, as an object. */
static bool make_echo(chat *c, const response_request *x, err *e) {
    buf b;
    json_writer w;
    buf_init(&b, &c->writer, SIZE_MAX / 2); /* in the place of the prompt's text */
    b.tight = true;
    json_begin(&w, &b);
    json_object_start(&w);
    json_key(&w, "instructions");
    if (x->instructions.len)
        json_string(&w, x->instructions);
    else
        json_null(&w);
    json_key(&w, "max_output_tokens");
    if (x->q.job.max_tokens)
        json_uint(&w, x->q.job.max_tokens);
    else
        json_null(&w);
    json_key(&w, "metadata");
    json_raw(&w, x->metadata.len ? x->metadata : STR("{}"));
    json_put_bool(&w, "parallel_tool_calls", x->parallel);
    put_null("previous_response_id", &w);
    json_key(&w, "reasoning");
    json_raw(&w, x->reasoning.len ? x->reasoning : STR("{\"effort\":null,\"summary\":null}"));
    json_put_bool(&w, "store", false);
    json_put_fixed(&w, "temperature", (double)x->q.job.sampling.temperature, 4);
    json_key(&w, "text");
    json_raw(&w, x->text.len ? x->text : STR("{\"format\":{\"type\":\"text\"}}"));
    json_key(&w, "tool_choice");
    json_raw(&w, x->tool_choice.len ? x->tool_choice : STR("\"auto\""));
    json_key(&w, "tools");
    json_raw(&w, x->tools.len ? x->tools : STR("[]"));
    json_put_fixed(&w, "top_p", (double)x->q.job.sampling.top_p, 4);
    json_put_string(&w, "truncation", STR("disabled"));
    put_null("user", &w);
    json_object_end(&w);
    if (b.failed)
        return err_set_memory(e, b.len, 0, "no memory for what the response repeats of its request");
    c->style.echo = buf_str(&b);
    return true;
}

static bool read_request(api *a, str body, response_request *x, chat *c, err *e) {
    openai_begin(a, &x->q);
    x->parallel = true;
    c->ignored = &x->q.ignored;
    if (!request_read(&x->q, &c->in, "", body, request_rows, sizeof request_rows / sizeof *request_rows, e) ||
        !request_settle(&x->q, &c->in, ROUTE_CHAT, e))
        return false;
    if (!api_check_model(a, x->model, e)) return false;
    if (x->previous.len)
        return err_set(e, ERR_INVALID,
                       "'previous_response_id' is given; nothing is kept here: send the whole input");
    if (!read_input(c, x, e)) return false;
    if (x->tools.len && !chat_each(c, "tools", x->tools, responses_on_tool, c, e)) return false;
    if (!responses_read_choice(c, x->tool_choice, e) || !read_form(c, x, e)) return false;
    c->no_parallel = !x->parallel;
    return chat_finish(c, &x->q, e) && make_echo(c, x, e) && request_finish(&x->q, REQUEST_NOT_GIVEN, e);
}

void openai_responses(api *a, http_request *r) {
    response_request x = {0};
    chat c;
    err e = {0};
    bool begun = chat_begin(&c, a, http_body(r).len, &e);
    bool good = begun && read_request(a, http_body(r), &x, &c, &e);
    request_name_ignored(&x.q, r);
    if (good)
        api_generate(a, r, &response_dialect, &x.q.job, 1, x.q.stream, &c.style);
    else
        api_refuse(a, r, &response_dialect, &e);
    request_end(&x.q);
    if (begun) chat_end(&c);
}
