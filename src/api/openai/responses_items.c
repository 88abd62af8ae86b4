#include "api/openai/responses.h"

#include <stdio.h>

#include "api/core/custom_tools.h"
#include "api/openai/openai.h"

enum { TOLD_NAME_MAX = TEXT_REPLY_NAME_MAX };

/* ---- names within namespaces ---- */

/* As the model is told of it; empty where it is too long. */
static str told_name(str space, str name, char out[TOLD_NAME_MAX + 1]) {
    bool apart = space.len && space.data[space.len - 1] != '_' && space.data[space.len - 1] != '.';
    size_t n = space.len + (apart ? 2 : 0) + name.len;
    if (!space.len) return name;
    if (n > TOLD_NAME_MAX) return STR("");
    return (str){out, (size_t)snprintf(out, TOLD_NAME_MAX + 1, "%.*s%s%.*s", STR_ARG(space), apart ? "__" : "",
                                       STR_ARG(name))};
}

static bool is_told(str space, str name, str told) {
    char space_text[TOLD_NAME_MAX], name_text[TOLD_NAME_MAX], out[TOLD_NAME_MAX + 1];
    str s = {space_text, 0}, n = {name_text, 0};
    return json_raw_string(space, space_text, sizeof space_text, &s.len) &&
           json_raw_string(name, name_text, sizeof name_text, &n.len) && str_eq(told_name(s, n, out), told);
}

bool responses_find_in_namespace(str tools, str told, str *space, str *name) {
    str tool, inner;
    for (size_t at = 0; json_raw_item(tools, &at, &tool);) {
        str list = json_raw_find(tool, STR("tools"));
        *space = json_raw_find(tool, STR("name"));
        for (size_t within = 0; list.len && json_raw_item(list, &within, &inner);) {
            *name = json_raw_find(inner, STR("name"));
            if (is_told(*space, *name, told)) return true;
        }
    }
    return false;
}

static bool keep_name(chat *c, str space, str name, str *out, err *e) {
    char bytes[TOLD_NAME_MAX + 1];
    *out = told_name(space, name, bytes);
    return out->data != bytes || chat_make_text(c, out, out, 1, e);
}

/* ---- items ---- */

typedef struct item_fields {
    uint32_t role;
    str type, content, call_id, name, space, arguments, input, output;
} item_fields;

static const char *const roles[] = {"system", "user", "assistant", "developer", NULL};

#define ITEM_AT(member) offsetof(item_fields, member)
static const field item_rows[] = {{"role", FIELD_WORD, ITEM_AT(role), .words = roles},
                                  {"type", FIELD_STRING, ITEM_AT(type)},
                                  {"content", FIELD_ANY, ITEM_AT(content)},
                                  {"call_id", FIELD_STRING, ITEM_AT(call_id)},
                                  {"name", FIELD_STRING, ITEM_AT(name)},
                                  {"namespace", FIELD_STRING, ITEM_AT(space)},
                                  {"arguments", FIELD_ANY, ITEM_AT(arguments)},
                                  {"input", FIELD_ANY, ITEM_AT(input)},
                                  {"output", FIELD_ANY, ITEM_AT(output)}};

static bool read_text(chat *c, const char *path, const char *name, str json, str *text, err *e) {
    if (!json.len) return true;
    if (fields_kind(json) == JSON_STRING) return fields_text(&c->in, json, text, e);
    return err_set(e, ERR_INVALID, "'%s.%s' must be a string, not %s", path, name, fields_kind_name(fields_kind(json)));
}

/* A call belongs to the assistant's message before it; without one it begins one. */
static bool add_call(chat *c, const item_fields *f, const char *path, bool custom, err *e) {
    str name, text = {0};
    if (!f->call_id.len || !f->name.len)
        return err_set(e, ERR_INVALID, "'%s.%s' is missing", path, f->call_id.len ? "name" : "call_id");
    if (!keep_name(c, f->space, f->name, &name, e)) return false;
    if (!read_text(c, path, custom ? "input" : "arguments", custom ? f->input : f->arguments, &text, e)) return false;
    bool goes_on = c->last && c->last->role == CHAT_ASSISTANT;
    chat_message *m = goes_on ? c->last : chat_add(c, CHAT_ASSISTANT, e);
    if (!m) return false;
    return custom ? custom_add_call(c, m, f->call_id, name, text, e) : chat_add_call(c, m, f->call_id, name, text, e);
}

static bool add_result(chat *c, const item_fields *f, const char *path, err *e) {
    char at[FIELD_PATH_BYTES];
    snprintf(at, sizeof at, "%s.output", path);
    if (!f->call_id.len) return err_set(e, ERR_INVALID, "'%s.call_id' is missing", path);
    chat_message *m = chat_add(c, CHAT_TOOL, e);
    return m && chat_set_whose(c, m, f->call_id, STR(""), e) && openai_result(c, at, f->output, &m->text, e);
}

/* What other servers' tools, and a server that keeps conversations, leave in them. */
static bool is_of_elsewhere(str type) {
    static const str words[] = {STR("item_reference"),       STR("compaction"),        STR("compaction_summary"),
                                STR("context_compaction"),   STR("compaction_trigger"), STR("mcp_list_tools"),
                                STR("mcp_approval_request"), STR("mcp_approval_response"), STR("tool_search_output")};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (str_eq(type, words[i])) return true;
    return str_ends(type, STR("_call")) || str_ends(type, STR("_call_output"));
}

/* An item that says something, by a type that may be mistyped, or that stands where it cannot be read. */
static bool says_something(const item_fields *f) {
    bool part = str_starts(f->type, STR("input_")) || str_starts(f->type, STR("output_")) || str_is(f->type, "text");
    return part || !f->type.len || f->role != UINT32_MAX || f->content.len || f->arguments.len || f->input.len ||
           f->output.len;
}

static bool add_message(chat *c, const item_fields *f, const char *path, err *e) {
    char at[FIELD_PATH_BYTES];
    if (f->role == UINT32_MAX) return err_set(e, ERR_INVALID, "'%s.role' is missing", path);
    if (!f->content.len) return err_set(e, ERR_INVALID, "'%s.content' is missing", path);
    chat_message *m = chat_add(c, f->role > CHAT_ASSISTANT ? CHAT_SYSTEM : (chat_role)f->role, e);
    snprintf(at, sizeof at, "%s.content", path);
    return m && openai_content(c, at, f->content, &m->text, e);
}

bool responses_on_item(void *ctx, const field_item *item, err *e) {
    chat *c = ctx;
    item_fields f = {.role = UINT32_MAX};
    if (!CHAT_READ(c, item->path, item->json, item_rows, &f, e)) return false;
    if (!f.type.data || str_is(f.type, "message")) return add_message(c, &f, item->path, e);
    if (str_is(f.type, "function_call")) return add_call(c, &f, item->path, false, e);
    if (str_is(f.type, "custom_tool_call")) return add_call(c, &f, item->path, true, e);
    if (str_is(f.type, "function_call_output") || str_is(f.type, "custom_tool_call_output"))
        return add_result(c, &f, item->path, e);
    if (str_is(f.type, "reasoning")) return true; /* thoughts of earlier turns are not shown again */
    if (is_of_elsewhere(f.type) || !says_something(&f)) return chat_leave_out(c, "input.", f.type), true;
    return err_set(e, ERR_INVALID,
                   "'%s.type' is '%.*s'; it must be message, function_call, custom_tool_call, an output of one, "
                   "reasoning, or what another server's tool has left",
                   item->path, (int)(f.type.len < 32 ? f.type.len : 32), f.type.data);
}

/* ---- tools ---- */

typedef struct tool_fields {
    str type, name, space, description, parameters, format, tools, mode;
} tool_fields;

#define TOOL_AT(member) offsetof(tool_fields, member)
static const field tool_rows[] = {
    {"type", FIELD_STRING, TOOL_AT(type)},           {"name", FIELD_STRING, TOOL_AT(name)},
    {"namespace", FIELD_STRING, TOOL_AT(space)},     {"description", FIELD_STRING, TOOL_AT(description)},
    {"parameters", FIELD_OBJECT, TOOL_AT(parameters)}, {"format", FIELD_OBJECT, TOOL_AT(format)},
    {"tools", FIELD_ARRAY, TOOL_AT(tools)},          {"mode", FIELD_STRING, TOOL_AT(mode)}};

typedef struct tool_reader {
    chat *c;
    str space;
} tool_reader;

static bool add_tool(tool_reader *x, const field_item *item, const tool_fields *f, err *e) {
    str name;
    if (f->name.len < 1 || f->name.len > CHAT_TOOL_NAME_MAX)
        return err_set(e, ERR_INVALID, "'%s.name' must have 1 to %d bytes", item->path, CHAT_TOOL_NAME_MAX);
    if (!keep_name(x->c, x->space, f->name, &name, e)) return false;
    if (!name.len)
        return err_set(e, ERR_INVALID, "'%s.name' has more than %d bytes with its namespace", item->path,
                       TOLD_NAME_MAX);
    if (str_is(f->type, "custom")) return custom_add_tool(x->c, name, f->description, f->format, e);
    return chat_add_tool(x->c, name, f->description, f->parameters, e);
}

static bool on_tool_within(void *ctx, const field_item *item, err *e) {
    tool_reader *x = ctx;
    tool_fields f = {0};
    if (!CHAT_READ(x->c, item->path, item->json, tool_rows, &f, e)) return false;
    if (!f.type.len) return err_set(e, ERR_INVALID, "'%s.type' is missing", item->path);
    if (str_is(f.type, "function") || str_is(f.type, "custom")) return add_tool(x, item, &f, e);
    if (!str_is(f.type, "namespace") || x->space.len)
        return chat_leave_out_tool(x->c, item->path, f.type, f.name.len, "function, custom or namespace", e);
    char path[FIELD_PATH_BYTES];
    snprintf(path, sizeof path, "%s.tools", item->path);
    if (!f.name.len) return err_set(e, ERR_INVALID, "'%s.name' is missing", item->path);
    return !f.tools.len || chat_each(x->c, path, f.tools, on_tool_within, &(tool_reader){x->c, f.name}, e);
}

bool responses_on_tool(void *ctx, const field_item *item, err *e) {
    return on_tool_within(&(tool_reader){.c = ctx}, item, e);
}

/* ---- which to call ---- */

typedef struct allowed_reader {
    chat *c;
    buf names; /* JSON, as in an array */
} allowed_reader;

static bool on_allowed(void *ctx, const field_item *item, err *e) {
    allowed_reader *x = ctx;
    tool_fields f = {0};
    json_writer w;
    str name;
    if (!CHAT_READ(x->c, item->path, item->json, tool_rows, &f, e)) return false;
    if (!f.name.len) return true; /* one that was left out */
    if (!keep_name(x->c, f.space, f.name, &name, e)) return false;
    buf_append_str(&x->names, x->names.len ? STR(",") : STR("["));
    json_begin(&w, &x->names);
    json_string(&w, name);
    return !x->names.failed || chat_no_room(x->c, e);
}

static bool read_allowed(chat *c, const tool_fields *f, err *e) {
    allowed_reader x = {.c = c};
    buf_init(&x.names, &c->alloc, SIZE_MAX / 2);
    if (!f->tools.len) return err_set(e, ERR_INVALID, "'tool_choice.tools' is missing");
    if (f->mode.len && !str_is(f->mode, "auto") && !str_is(f->mode, "required"))
        return err_set(e, ERR_INVALID, "'tool_choice.mode' must be auto or required");
    c->choice = str_is(f->mode, "required") ? CHAT_TOOLS_REQUIRED : CHAT_TOOLS_AUTO;
    if (!chat_each(c, "tool_choice.tools", f->tools, on_allowed, &x, e)) return false;
    buf_append_str(&x.names, x.names.len ? STR("]") : STR("[]"));
    return chat_keep_tools(c, buf_str(&x.names), e);
}

bool responses_read_choice(chat *c, str json, err *e) {
    tool_fields f = {0};
    if (!json.len || fields_kind(json) != JSON_OBJECT_START) return chat_read_tool_choice(c, json, e);
    if (!CHAT_READ(c, "tool_choice", json, tool_rows, &f, e)) return false;
    if (str_is(f.type, "allowed_tools")) return read_allowed(c, &f, e);
    if (f.type.len && !str_is(f.type, "function") && !str_is(f.type, "custom"))
        return err_set(e, ERR_INVALID,
                       "'tool_choice.type' is '%.*s', which this server does not run; it must be function, custom or "
                       "allowed_tools",
                       (int)(f.type.len < 32 ? f.type.len : 32), f.type.data);
    if (!f.name.len) return err_set(e, ERR_INVALID, "'tool_choice.name' is missing");
    c->choice = CHAT_TOOLS_NAMED;
    return keep_name(c, f.space, f.name, &c->named, e);
}
