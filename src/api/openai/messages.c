/* The messages of a chat as the OpenAI dialect has them: contents, calls, results. */
#include <stdio.h>

#include "api/core/custom_tools.h"
#include "api/openai/openai.h"

typedef struct content_reader {
    chat *c;
    str *to;
    bool result; /* of a tool */
} content_reader;

typedef struct content_part {
    str type, text, refusal;
} content_part;

static const field part_fields[] = {{"type", FIELD_STRING, offsetof(content_part, type)},
                                    {"text", FIELD_STRING, offsetof(content_part, text)},
                                    {"refusal", FIELD_STRING, offsetof(content_part, refusal)}};

static bool on_part(void *ctx, const field_item *item, err *e) {
    content_reader *x = ctx;
    content_part p = {0};
    if (!CHAT_READ(x->c, item->path, item->json, part_fields, &p, e)) return false;
    if (!p.type.len) return err_set(e, ERR_INVALID, "'%s.type' is missing", item->path);
    if (str_is(p.type, "text") || str_is(p.type, "input_text") || str_is(p.type, "output_text"))
        return p.text.data ? chat_add_text(x->c, x->to, p.text, e)
                           : err_set(e, ERR_INVALID, "'%s.text' is missing", item->path);
    if (str_is(p.type, "refusal")) return chat_add_text(x->c, x->to, p.refusal, e);
    if (x->result) return chat_add_placeholder(x->c, x->to, p.type, e);
    return err_set(e, ERR_INVALID, "'%s.type' is '%.*s'; this model takes text only", item->path,
                   (int)(p.type.len < 32 ? p.type.len : 32), p.type.data);
}

static bool read_content(chat *c, const char *path, str json, bool result, str *to, err *e) {
    if (!json.len) return true;
    json_kind kind = fields_kind(json);
    if (kind == JSON_STRING) return fields_text(&c->in, json, to, e);
    if (kind != JSON_ARRAY_START)
        return err_set(e, ERR_INVALID, "'%s' must be a string or an array of parts, not %s", path,
                       fields_kind_name(kind));
    return chat_each(c, path, json, on_part, &(content_reader){c, to, result}, e);
}

bool openai_content(chat *c, const char *path, str json, str *to, err *e) {
    return read_content(c, path, json, false, to, e);
}

bool openai_result(chat *c, const char *path, str json, str *to, err *e) {
    return read_content(c, path, json, true, to, e);
}

typedef struct call_fields {
    str id, type, function, custom, name, arguments, input;
} call_fields;

static const field call_rows[] = {{"id", FIELD_STRING, offsetof(call_fields, id)},
                                  {"type", FIELD_STRING, offsetof(call_fields, type)},
                                  {"function", FIELD_OBJECT, offsetof(call_fields, function)},
                                  {"custom", FIELD_OBJECT, offsetof(call_fields, custom)}};
static const field called_rows[] = {{"name", FIELD_STRING, offsetof(call_fields, name)},
                                    {"input", FIELD_STRING, offsetof(call_fields, input)},
                                    {"arguments", FIELD_STRING, offsetof(call_fields, arguments)}};

typedef struct call_reader {
    chat *c;
    chat_message *m;
} call_reader;

static bool on_call(void *ctx, const field_item *item, err *e) {
    call_reader *x = ctx;
    call_fields f = {0};
    char path[FIELD_PATH_BYTES];
    if (!CHAT_READ(x->c, item->path, item->json, call_rows, &f, e)) return false;
    bool custom = str_is(f.type, "custom");
    snprintf(path, sizeof path, "%s.%s", item->path, custom ? "custom" : "function");
    str called = custom ? f.custom : f.function;
    if (!called.len) return err_set(e, ERR_INVALID, "'%s' is missing", path);
    if (!CHAT_READ(x->c, path, called, called_rows, &f, e)) return false;
    if (!f.name.len) return err_set(e, ERR_INVALID, "'%s.name' is missing", path);
    if (custom) return custom_add_call(x->c, x->m, f.id, f.name, f.input, e);
    return chat_add_call(x->c, x->m, f.id, f.name, f.arguments, e);
}

typedef struct message_fields {
    uint32_t role;
    str content, name, tool_calls, tool_call_id, reasoning;
    bool prefix;
} message_fields;

enum { ROLE_UNSAID = UINT32_MAX };
static const char *const roles[] = {"system", "user", "assistant", "tool", "developer", NULL};

#define MESSAGE_AT(member) offsetof(message_fields, member)
static const field message_rows[] = {{"role", FIELD_WORD, MESSAGE_AT(role), .words = roles},
                                     {"content", FIELD_ANY, MESSAGE_AT(content)},
                                     {"name", FIELD_STRING, MESSAGE_AT(name)},
                                     {"tool_calls", FIELD_ARRAY, MESSAGE_AT(tool_calls)},
                                     {"tool_call_id", FIELD_STRING, MESSAGE_AT(tool_call_id)},
                                     {"reasoning_content", FIELD_STRING, MESSAGE_AT(reasoning)},
                                     /* Mistral's and DeepSeek's word for it, Moonshot's, and others' */
                                     {"prefix", FIELD_BOOL, MESSAGE_AT(prefix)},
                                     {"partial", FIELD_BOOL, MESSAGE_AT(prefix)},
                                     {"prefill", FIELD_BOOL, MESSAGE_AT(prefix)}};

bool openai_on_message(void *ctx, const field_item *item, err *e) {
    chat *c = ctx;
    message_fields f = {.role = ROLE_UNSAID};
    char path[FIELD_PATH_BYTES];
    if (!CHAT_READ(c, item->path, item->json, message_rows, &f, e)) return false;
    if (f.role == ROLE_UNSAID) return err_set(e, ERR_INVALID, "'%s.role' is missing", item->path);
    if (c->continue_name)
        return err_set(e, ERR_INVALID, "'%s' follows a message with \"prefix\": that is for the last one", item->path);
    if (f.prefix) c->continue_name = "messages[].prefix";
    chat_message *m = chat_add(c, f.role > CHAT_TOOL ? CHAT_SYSTEM : (chat_role)f.role, e);
    if (!m) return false;
    /* A function that gives nothing back has a null for a result. */
    if (m->role != CHAT_ASSISTANT && m->role != CHAT_TOOL && !f.content.len)
        return err_set(e, ERR_INVALID, "'%s.content' is missing", item->path);
    if (m->role == CHAT_TOOL && !f.tool_call_id.len && !c->called)
        return err_set(e, ERR_INVALID, "'%s.tool_call_id' is missing, and no call stands before it", item->path);
    if (!chat_set_reasoning(c, m, f.reasoning, e)) return false;
    if (m->role == CHAT_TOOL && !chat_set_whose(c, m, f.tool_call_id, f.name, e)) return false;
    snprintf(path, sizeof path, "%s.content", item->path);
    if (!read_content(c, path, f.content, m->role == CHAT_TOOL, &m->text, e)) return false;
    if (!f.tool_calls.len || m->role != CHAT_ASSISTANT) return true;
    snprintf(path, sizeof path, "%s.tool_calls", item->path);
    return chat_each(c, path, f.tool_calls, on_call, &(call_reader){c, m}, e);
}
