/* The Anthropic dialect: messages, count_tokens (docs.anthropic.com/en/api). */
#include <stdio.h>
#include <string.h>

#include "api/anthropic/anthropic.h"

/* ---- the request ---- */

typedef struct anthropic_request {
    api_request q; /* first */
    str model, messages, system, tools, tool_choice, thinking, output_config, metadata, grammar;
} anthropic_request;

#define AT(member) offsetof(anthropic_request, member)
static const field request_rows[] = {
    REQUEST_SAMPLING_FIELDS(anthropic_request, q),
    REQUEST_OWN_FIELDS(anthropic_request, q),
    {"model", FIELD_STRING, AT(model)},
    {"max_tokens", FIELD_U32, AT(q.job.max_tokens), 1, UINT32_MAX},
    {"messages", FIELD_ARRAY, AT(messages)},
    {"system", FIELD_ANY, AT(system)},
    {"stop_sequences", FIELD_ARRAY, AT(q.stops)},
    {"stream", FIELD_BOOL, AT(q.stream)},
    {"tools", FIELD_ARRAY, AT(tools)},
    {"tool_choice", FIELD_OBJECT, AT(tool_choice)},
    {"thinking", FIELD_OBJECT, AT(thinking)},
    {"output_config", FIELD_OBJECT, AT(output_config)},
    {"metadata", FIELD_OBJECT, AT(metadata)},
    {"grammar", FIELD_STRING, AT(grammar)}, /* ours */
};

/* ---- messages ---- */

typedef struct block {
    str type, text, id, name, input, tool_use_id, content, thinking, source, data, tool_name, title;
    bool is_error;
} block;

#define BLOCK_AT(member) offsetof(block, member)
static const field block_rows[] = {
    {"type", FIELD_STRING, BLOCK_AT(type)},      {"text", FIELD_STRING, BLOCK_AT(text)},
    {"id", FIELD_STRING, BLOCK_AT(id)},          {"name", FIELD_STRING, BLOCK_AT(name)},
    {"input", FIELD_OBJECT, BLOCK_AT(input)},    {"tool_use_id", FIELD_STRING, BLOCK_AT(tool_use_id)},
    {"content", FIELD_ANY, BLOCK_AT(content)},   {"thinking", FIELD_STRING, BLOCK_AT(thinking)},
    {"is_error", FIELD_BOOL, BLOCK_AT(is_error)}, {"tool_name", FIELD_STRING, BLOCK_AT(tool_name)},
    {"source", FIELD_ANY, BLOCK_AT(source)},     {"title", FIELD_STRING, BLOCK_AT(title)}};
static const field source_rows[] = {
    {"type", FIELD_STRING, BLOCK_AT(type)},
    {"data", FIELD_STRING, BLOCK_AT(data)},
    {"content", FIELD_ANY, BLOCK_AT(content)}};

typedef struct block_reader {
    chat *c;
    chat_role role;
    chat_message *m; /* NULL until a block needs it */
    str *text;       /* blocks of text only go here: of the system's, of a result */
    bool result;     /* of a tool */
} block_reader;

static bool wrong_block(const field_item *item, str type, err *e) {
    return err_set(e, ERR_INVALID,
                   "'%s.type' is '%.*s'; this model takes text, tool_use, tool_result and thinking here",
                   item->path, (int)(type.len < 32 ? type.len : 32), type.data);
}

static bool add_text(chat *c, const field_item *item, str *to, str text, err *e) {
    if (!text.data) return err_set(e, ERR_INVALID, "'%s.text' is missing", item->path);
    return chat_add_text(c, to, text, e);
}

static bool read_text(chat *c, const char *path, str json, bool result, str *to, err *e);

/* Documents and what a search found, where they are text. *is_text: they are. */
static bool add_document(chat *c, const field_item *item, const block *b, str *to, bool *is_text, err *e) {
    block source = {0};
    char path[FIELD_PATH_BYTES];
    snprintf(path, sizeof path, "%s.source", item->path);
    *is_text = str_is(b->type, "search_result");
    if (str_is(b->type, "document") && b->source.len && fields_kind(b->source) == JSON_OBJECT_START &&
        !CHAT_READ(c, path, b->source, source_rows, &source, e))
        return false;
    *is_text |= str_is(source.type, "text") || str_is(source.type, "content");
    if (!*is_text) return true;
    if (b->title.len && !(chat_add_text(c, to, b->title, e) && chat_add_text(c, to, STR("\n"), e))) return false;
    if (source.data.len) return chat_add_text(c, to, source.data, e);
    snprintf(path, sizeof path, "%s.content", item->path);
    return read_text(c, path, source.content.len ? source.content : b->content, true, to, e);
}

/* What stands in a result and is no text says that it was there. */
static bool add_other(block_reader *x, const field_item *item, const block *b, err *e) {
    bool is_text;
    if (!add_document(x->c, item, b, x->text, &is_text, e) || is_text) return !e->code;
    if (!str_is(b->type, "tool_reference")) return chat_add_placeholder(x->c, x->text, b->type, e);
    str words, parts[] = {x->text->len ? STR("\nThe tool ") : STR("The tool "), b->tool_name,
                          STR(" can be called now.")};
    return chat_make_text(x->c, &words, parts, 3, e) && chat_add_text(x->c, x->text, words, e);
}

/* Who pays for a request is of no use to a model; and it would be another prompt each time. */
static bool is_bookkeeping(str text) { return str_starts(text, STR("x-anthropic-billing-header:")); }

static bool on_text_block(void *ctx, const field_item *item, err *e) {
    block_reader *x = ctx;
    block b = {0};
    if (!CHAT_READ(x->c, item->path, item->json, block_rows, &b, e)) return false;
    if (!b.type.len) return err_set(e, ERR_INVALID, "'%s.type' is missing", item->path);
    if (!str_is(b.type, "text")) return x->result ? add_other(x, item, &b, e) : wrong_block(item, b.type, e);
    return (!x->result && is_bookkeeping(b.text)) || add_text(x->c, item, x->text, b.text, e);
}

/* A string, or an array of text blocks. */
static bool read_text(chat *c, const char *path, str json, bool result, str *to, err *e) {
    if (!json.len) return true;
    if (fields_kind(json) == JSON_STRING) return fields_text(&c->in, json, to, e);
    if (fields_kind(json) == JSON_ARRAY_START)
        return chat_each(c, path, json, on_text_block, &(block_reader){.c = c, .text = to, .result = result}, e);
    return err_set(e, ERR_INVALID, "'%s' must be a string or an array of blocks, not %s", path,
                   fields_kind_name(fields_kind(json)));
}

static bool add_result(chat *c, const field_item *item, const block *b, err *e) {
    char path[FIELD_PATH_BYTES];
    snprintf(path, sizeof path, "%s.content", item->path);
    if (!b->tool_use_id.len) return err_set(e, ERR_INVALID, "'%s.tool_use_id' is missing", item->path);
    chat_message *m = chat_add(c, CHAT_TOOL, e);
    return m && chat_set_whose(c, m, b->tool_use_id, STR(""), e) && read_text(c, path, b->content, true, &m->text, e);
}

/* What tools of Anthropic's own servers leave in an answer: server_tool_use, web_search_tool_result, mcp_tool_use, … */
static bool is_of_elsewhere(str type) {
    static const str ends[] = {STR("_tool_use"), STR("_tool_result"), STR("container_upload"), STR("compaction")};
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++)
        if (type.len >= ends[i].len && str_eq((str){type.data + type.len - ends[i].len, ends[i].len}, ends[i]))
            return true;
    return false;
}

static bool add_thinking(block_reader *x, str text, err *e) {
    chat_said *said = chat_make_said(x->c, x->m, e);
    return said && chat_add_text(x->c, &said->reasoning, text, e);
}

/* Results are messages of their own; what a user says beside them follows. */
static bool on_block(void *ctx, const field_item *item, err *e) {
    block_reader *x = ctx;
    block b = {0};
    if (!CHAT_READ(x->c, item->path, item->json, block_rows, &b, e)) return false;
    if (!b.type.len) return err_set(e, ERR_INVALID, "'%s.type' is missing", item->path);
    bool assistant = x->role == CHAT_ASSISTANT, is_text = false;
    if (str_is(b.type, "tool_result") && !assistant) {
        x->m = NULL;
        return add_result(x->c, item, &b, e);
    }
    if (!x->m && !(x->m = chat_add(x->c, x->role, e))) return false;
    if (str_is(b.type, "text")) return add_text(x->c, item, &x->m->text, b.text, e);
    if (str_is(b.type, "thinking") && assistant) return add_thinking(x, b.thinking, e);
    if (str_is(b.type, "redacted_thinking") && assistant) return true;
    if (is_of_elsewhere(b.type)) return chat_leave_out(x->c, "messages.", b.type), true;
    if (!assistant && !add_document(x->c, item, &b, &x->m->text, &is_text, e)) return false;
    if (is_text) return true;
    if (!str_is(b.type, "tool_use") || !assistant) return wrong_block(item, b.type, e);
    if (!b.name.len) return err_set(e, ERR_INVALID, "'%s.name' is missing", item->path);
    return chat_add_call(x->c, x->m, b.id, b.name, b.input.len ? b.input : STR("{}"), e);
}

typedef struct message_fields {
    uint32_t role;
    str content;
} message_fields;

static const char *const roles[] = {"system", "user", "assistant", NULL}; /* in the order of chat_role */
static const field message_rows[] = {{"role", FIELD_WORD, offsetof(message_fields, role), .words = roles},
                                     {"content", FIELD_ANY, offsetof(message_fields, content)}};

static bool on_message(void *ctx, const field_item *item, err *e) {
    chat *c = ctx;
    message_fields f = {.role = UINT32_MAX};
    char path[FIELD_PATH_BYTES];
    if (!CHAT_READ(c, item->path, item->json, message_rows, &f, e)) return false;
    if (f.role == UINT32_MAX) return err_set(e, ERR_INVALID, "'%s.role' is missing", item->path);
    if (!f.content.len) return err_set(e, ERR_INVALID, "'%s.content' is missing", item->path);
    snprintf(path, sizeof path, "%s.content", item->path);
    if (fields_kind(f.content) == JSON_ARRAY_START)
        return chat_each(c, path, f.content, on_block, &(block_reader){.c = c, .role = (chat_role)f.role}, e);
    chat_message *m = chat_add(c, (chat_role)f.role, e);
    return m && read_text(c, path, f.content, false, &m->text, e);
}

static bool add_system(chat *c, str json, err *e) {
    if (!json.len) return true;
    chat_message *m = chat_add(c, CHAT_SYSTEM, e);
    return m && read_text(c, "system", json, false, &m->text, e);
}

/* ---- thinking, the answer's form ---- */

typedef struct thinking_fields {
    uint32_t type, budget_tokens, display;
} thinking_fields;

static const char *const thinkings[] = {"disabled", "enabled", "adaptive", NULL};
static const char *const displays[] = {"summarized", "omitted", NULL};
static const field thinking_rows[] = {
    {"type", FIELD_WORD, offsetof(thinking_fields, type), .words = thinkings},
    {"budget_tokens", FIELD_U32, offsetof(thinking_fields, budget_tokens), 1, UINT32_MAX},
    {"display", FIELD_WORD, offsetof(thinking_fields, display), .words = displays}};

static bool read_thinking(chat *c, str json, err *e) {
    thinking_fields f = {.type = UINT32_MAX};
    c->thinking = CHAT_THINKING_OFF;
    if (!json.len) return true;
    if (!CHAT_READ(c, "thinking", json, thinking_rows, &f, e)) return false;
    if (f.type == UINT32_MAX) return err_set(e, ERR_INVALID, "'thinking.type' is missing");
    c->thinking = f.type ? CHAT_THINKING_ON : CHAT_THINKING_OFF;
    if (f.type && f.budget_tokens) c->budget = 1 + (uint64_t)f.budget_tokens;
    c->style.hide_reasoning = f.display == 1;
    return true;
}

typedef struct output_fields {
    uint32_t effort, type;
    str format, schema;
} output_fields;

static const char *const efforts[] = {"low", "medium", "high", "xhigh", "max", NULL};
static const char *const formats[] = {"json_schema", NULL};
static const field output_rows[] = {{"effort", FIELD_WORD, offsetof(output_fields, effort), .words = efforts},
                                    {"format", FIELD_OBJECT, offsetof(output_fields, format)}};
static const field format_rows[] = {{"type", FIELD_WORD, offsetof(output_fields, type), .words = formats},
                                    {"schema", FIELD_OBJECT, offsetof(output_fields, schema)}};

static bool read_output(chat *c, str json, str grammar, err *e) {
    output_fields f = {.effort = UINT32_MAX, .type = UINT32_MAX};
    c->format = TEXT_GRAMMAR_GBNF;
    c->format_source = grammar;
    c->format_name = "grammar";
    if (!json.len) return true;
    if (!CHAT_READ_NAMING(c, "output_config", json, output_rows, &f, e)) return false;
    if (f.effort != UINT32_MAX) c->effort = str_of(efforts[f.effort]);
    if (!f.format.len) return true;
    if (!CHAT_READ_NAMING(c, "output_config.format", f.format, format_rows, &f, e)) return false;
    if (f.type == UINT32_MAX) return err_set(e, ERR_INVALID, "'output_config.format.type' is missing");
    if (!f.schema.len) return err_set(e, ERR_INVALID, "'output_config.format.schema' is missing");
    if (grammar.len) return err_set(e, ERR_INVALID, "'grammar' and 'output_config.format' are both given");
    c->format = TEXT_GRAMMAR_SCHEMA;
    c->format_source = f.schema;
    c->format_name = "output_config.format.schema";
    return true;
}

/* ---- the routes ---- */

static bool read_request(api *a, str body, anthropic_request *x, chat *c, err *e) {
    request_begin(a, &x->q);
    engine_sampling *s = &x->q.job.sampling; /* as Anthropic documents them */
    s->temperature = s->top_p = 1;
    s->top_k = 0;
    s->min_p = 0;
    c->continue_last = true;
    c->ignored = &x->q.ignored;
    if (!request_read(&x->q, &c->in, "", body, request_rows, sizeof request_rows / sizeof *request_rows, e) ||
        !request_settle(&x->q, &c->in, ROUTE_CHAT, e))
        return false;
    if (!x->model.len) return err_set(e, ERR_INVALID, "'model' is missing");
    if (!api_check_model(a, x->model, e)) return false;
    if (!x->messages.len) return err_set(e, ERR_INVALID, "'messages' is missing");
    if (!add_system(c, x->system, e) || !chat_each(c, "messages", x->messages, on_message, c, e))
        return false;
    if (x->tools.len && !chat_each(c, "tools", x->tools, anthropic_on_tool, c, e)) return false;
    return anthropic_read_choice(c, x->tool_choice, e) && read_thinking(c, x->thinking, e) &&
           read_output(c, x->output_config, x->grammar, e) && request_set_stops(&x->q, &c->in, "stop_sequences", e) &&
           chat_finish(c, &x->q, e);
}

static bool read_message(api *a, str body, anthropic_request *x, chat *c, err *e) {
    if (!read_request(a, body, x, c, e)) return false;
    if (!x->q.job.max_tokens) return err_set(e, ERR_INVALID, "'max_tokens' is missing");
    return request_finish(&x->q, REQUEST_NOT_GIVEN, e);
}

void anthropic_messages(api *a, http_request *r) {
    anthropic_request x = {0};
    chat c;
    err e = {0};
    http_set_header(r, "request-id", http_request_id(r));
    bool begun = chat_begin(&c, a, http_body(r).len, &e);
    bool good = begun && read_message(a, http_body(r), &x, &c, &e);
    request_name_ignored(&x.q, r);
    if (good)
        api_generate(a, r, &anthropic_dialect, &x.q.job, 1, x.q.stream, &c.style);
    else
        api_refuse(a, r, &anthropic_dialect, &e);
    request_end(&x.q);
    if (begun) chat_end(&c);
}

void anthropic_count(api *a, http_request *r) {
    anthropic_request x = {0};
    chat c;
    err e = {0};
    http_set_header(r, "request-id", http_request_id(r));
    bool begun = chat_begin(&c, a, http_body(r).len, &e);
    bool good = begun && read_request(a, http_body(r), &x, &c, &e);
    if (e.need_tokens) good = true; /* more than the context holds is a number, too */
    uint32_t n = e.need_tokens ? e.need_tokens : x.q.job.n_prompt;
    request_name_ignored(&x.q, r);
    request_end(&x.q);
    if (begun) chat_end(&c);
    if (!good) {
        api_refuse(a, r, &anthropic_dialect, &e);
        return;
    }
    API_PAGE(body, 256);
    buf_printf(&body, "{\"input_tokens\":%u}", n);
    api_reply_json(r, 200, &body);
}
