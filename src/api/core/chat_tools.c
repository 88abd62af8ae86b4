/* Tools and which of them to call, as OpenAI shapes them and others do after it. */
#include <stdio.h>

#include "api/core/custom_tools.h"

typedef struct tool_fields {
    str type, function, custom, name, description, parameters, format, allowed, mode, tools;
} tool_fields;

static const field tool_rows[] = {{"type", FIELD_STRING, offsetof(tool_fields, type)},
                                  {"function", FIELD_OBJECT, offsetof(tool_fields, function)},
                                  {"custom", FIELD_OBJECT, offsetof(tool_fields, custom)},
                                  {"allowed_tools", FIELD_OBJECT, offsetof(tool_fields, allowed)}};
static const field function_rows[] = {{"name", FIELD_STRING, offsetof(tool_fields, name)},
                                      {"description", FIELD_STRING, offsetof(tool_fields, description)},
                                      {"parameters", FIELD_OBJECT, offsetof(tool_fields, parameters)},
                                      {"format", FIELD_OBJECT, offsetof(tool_fields, format)}};
static const field allowed_rows[] = {{"mode", FIELD_STRING, offsetof(tool_fields, mode)},
                                     {"tools", FIELD_ARRAY, offsetof(tool_fields, tools)}};

void chat_leave_out(const chat *c, const char *where, str name) {
    if (c->ignored) shared_fields_leave_out(c->ignored, where, name);
}

bool chat_leave_out_tool(const chat *c, const char *path, str type, bool is_described, const char *must, err *e) {
    if (!type.len || is_described)
        return err_set(e, ERR_INVALID, "'%s.type' is '%.*s'; of a tool with a name it must be %s", path,
                       (int)(type.len < 32 ? type.len : 32), type.data, must);
    chat_leave_out(c, "tools.", type);
    return true;
}

static bool is_named(str names, str name) {
    str item;
    for (size_t at = 0; json_raw_item(names, &at, &item);)
        if (item.len == name.len && !memcmp(item.data, name.data, name.len)) return true;
    return false;
}

/* Names of both are written by the same writer. */
bool chat_keep_tools(chat *c, str names, err *e) {
    buf kept;
    str item;
    buf_init(&kept, &c->alloc, SIZE_MAX / 2);
    c->n_tools = 0;
    for (size_t at = 0; json_raw_item(buf_str(&c->tools), &at, &item);) {
        if (!is_named(names, json_raw_find(item, STR("name")))) continue;
        buf_append_str(&kept, c->n_tools++ ? STR(",") : STR("["));
        buf_append_str(&kept, item);
    }
    if (c->n_tools) buf_append_str(&kept, STR("]"));
    c->tools = kept;
    return !kept.failed || chat_no_room(c, e);
}

/* The object that a tool, or a choice of one, has its name in; its path. */
static str inner_of(const tool_fields *f, const char *outer, char path[FIELD_PATH_BYTES]) {
    bool custom = str_is(f->type, "custom");
    snprintf(path, FIELD_PATH_BYTES, "%s.%s", outer, custom ? "custom" : "function");
    return custom ? f->custom : f->function;
}

static bool is_callable(str type) { return !type.data || str_is(type, "function") || str_is(type, "custom"); }

static bool on_tool(void *ctx, const field_item *item, err *e) {
    chat *c = ctx;
    tool_fields f = {0};
    char path[FIELD_PATH_BYTES];
    if (!CHAT_READ(c, item->path, item->json, tool_rows, &f, e)) return false;
    if (!is_callable(f.type))
        return chat_leave_out_tool(c, item->path, f.type, f.function.len, "function or custom", e);
    str inner = inner_of(&f, item->path, path);
    if (!inner.len) return err_set(e, ERR_INVALID, "'%s' is missing", path);
    if (!CHAT_READ(c, path, inner, function_rows, &f, e)) return false;
    if (f.name.len < 1 || f.name.len > CHAT_TOOL_NAME_MAX)
        return err_set(e, ERR_INVALID, "'%s.name' must have 1 to %d bytes", path, CHAT_TOOL_NAME_MAX);
    if (str_is(f.type, "custom")) return custom_add_tool(c, f.name, f.description, f.format, e);
    return chat_add_tool(c, f.name, f.description, f.parameters, e);
}

bool chat_read_tools(chat *c, str json, err *e) { return !json.len || chat_each(c, "tools", json, on_tool, c, e); }

typedef struct allowed_reader {
    chat *c;
    buf names; /* JSON, as in an array */
} allowed_reader;

static bool on_allowed(void *ctx, const field_item *item, err *e) {
    allowed_reader *x = ctx;
    tool_fields f = {0};
    json_writer w;
    char path[FIELD_PATH_BYTES];
    if (!CHAT_READ(x->c, item->path, item->json, tool_rows, &f, e)) return false;
    str inner = inner_of(&f, item->path, path);
    if (!inner.len && is_callable(f.type)) return err_set(e, ERR_INVALID, "'%s' is missing", path);
    if (!inner.len) return true; /* one that was left out */
    if (!CHAT_READ(x->c, path, inner, function_rows, &f, e)) return false;
    if (x->names.len) buf_append_str(&x->names, STR(","));
    json_begin(&w, &x->names);
    json_string(&w, f.name);
    return true;
}

static bool read_allowed(chat *c, str json, err *e) {
    tool_fields f = {0};
    allowed_reader x = {.c = c};
    buf_init(&x.names, &c->alloc, SIZE_MAX / 2);
    if (!json.len) return err_set(e, ERR_INVALID, "'tool_choice.allowed_tools' is missing");
    if (!CHAT_READ(c, "tool_choice.allowed_tools", json, allowed_rows, &f, e)) return false;
    if (!f.tools.len) return err_set(e, ERR_INVALID, "'tool_choice.allowed_tools.tools' is missing");
    if (f.mode.len && !str_is(f.mode, "auto") && !str_is(f.mode, "required"))
        return err_set(e, ERR_INVALID, "'tool_choice.allowed_tools.mode' must be auto or required");
    c->choice = str_is(f.mode, "required") ? CHAT_TOOLS_REQUIRED : CHAT_TOOLS_AUTO;
    if (!chat_each(c, "tool_choice.allowed_tools.tools", f.tools, on_allowed, &x, e)) return false;
    str all, parts[] = {STR("["), buf_str(&x.names), STR("]")};
    return chat_make_text(c, &all, parts, 3, e) && chat_keep_tools(c, all, e);
}

static bool read_named(chat *c, str json, err *e) {
    tool_fields f = {0};
    char path[FIELD_PATH_BYTES];
    if (!CHAT_READ(c, "tool_choice", json, tool_rows, &f, e)) return false;
    if (str_is(f.type, "allowed_tools")) return read_allowed(c, f.allowed, e);
    if (!is_callable(f.type))
        return err_set(e, ERR_INVALID,
                       "'tool_choice.type' is '%.*s', which this server does not run; it must be function, custom or "
                       "allowed_tools",
                       (int)(f.type.len < 32 ? f.type.len : 32), f.type.data);
    str inner = inner_of(&f, "tool_choice", path);
    if (inner.len && !CHAT_READ(c, path, inner, function_rows, &f, e)) return false;
    c->choice = CHAT_TOOLS_NAMED;
    c->named = f.name;
    return f.name.len || err_set(e, ERR_INVALID, "'%s.name' is missing", path);
}

bool chat_read_tool_choice(chat *c, str json, err *e) {
    static const char *const words[] = {"auto", "none", "required"};
    str word;
    if (!json.len) return true;
    if (fields_kind(json) == JSON_OBJECT_START) return read_named(c, json, e);
    if (fields_kind(json) == JSON_STRING) {
        if (!fields_text(&c->in, json, &word, e)) return false;
        for (uint32_t i = 0; i < 3; i++)
            if (str_is(word, words[i])) return c->choice = (chat_tool_choice)i, true;
    }
    return err_set(e, ERR_INVALID,
                   "'tool_choice' must be none, auto, required or {\"type\":\"function\",\"function\":"
                   "{\"name\":…}}");
}
