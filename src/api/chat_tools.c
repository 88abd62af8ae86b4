/* Tools and which of them to call, as OpenAI shapes them and others do after it. */
#include <stdio.h>

#include "api/chat.h"

typedef struct tool_fields {
    str type, function, name, description, parameters;
} tool_fields;

static const field tool_rows[] = {{"type", FIELD_STRING, offsetof(tool_fields, type)},
                                  {"function", FIELD_OBJECT, offsetof(tool_fields, function)}};
static const field function_rows[] = {{"name", FIELD_STRING, offsetof(tool_fields, name)},
                                      {"description", FIELD_STRING, offsetof(tool_fields, description)},
                                      {"parameters", FIELD_OBJECT, offsetof(tool_fields, parameters)}};

static bool check_type(const char *path, str type, err *e) {
    if (!type.data || str_is(type, "function")) return true;
    return err_set(e, ERR_INVALID, "'%s.type' is '%.*s'; it must be function", path,
                   (int)(type.len < 32 ? type.len : 32), type.data);
}

static bool on_tool(void *ctx, const field_item *item, err *e) {
    chat *c = ctx;
    tool_fields f = {0};
    char path[FIELD_PATH_BYTES];
    snprintf(path, sizeof path, "%s.function", item->path);
    if (!CHAT_READ(c, item->path, item->json, tool_rows, &f, e)) return false;
    if (!check_type(item->path, f.type, e)) return false;
    if (!f.function.len) return err_set(e, ERR_INVALID, "'%s' is missing", path);
    if (!CHAT_READ(c, path, f.function, function_rows, &f, e)) return false;
    if (f.name.len < 1 || f.name.len > CHAT_TOOL_NAME_MAX)
        return err_set(e, ERR_INVALID, "'%s.name' must have 1 to %d bytes", path, CHAT_TOOL_NAME_MAX);
    return chat_add_tool(c, f.name, f.description, f.parameters, e);
}

bool chat_read_tools(chat *c, str json, err *e) { return !json.len || chat_each(c, "tools", json, on_tool, c, e); }

bool chat_read_tool_choice(chat *c, str json, err *e) {
    static const char *const words[] = {"auto", "none", "required"};
    tool_fields f = {0};
    str word;
    if (!json.len) return true;
    if (fields_kind(json) == JSON_STRING) {
        if (!fields_text(&c->in, json, &word, e)) return false;
        for (uint32_t i = 0; i < 3; i++)
            if (str_is(word, words[i])) return c->choice = (chat_tool_choice)i, true;
    } else if (fields_kind(json) == JSON_OBJECT_START) {
        if (!CHAT_READ(c, "tool_choice", json, tool_rows, &f, e)) return false;
        if (!check_type("tool_choice", f.type, e)) return false;
        if (f.function.len && !CHAT_READ(c, "tool_choice.function", f.function, function_rows, &f, e))
            return false;
        c->choice = CHAT_TOOLS_NAMED;
        c->named = f.name;
        return f.name.len || err_set(e, ERR_INVALID, "'tool_choice.function.name' is missing");
    }
    return err_set(e, ERR_INVALID,
                   "'tool_choice' must be none, auto, required or {\"type\":\"function\",\"function\":"
                   "{\"name\":…}}");
}
