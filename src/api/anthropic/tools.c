/* Anthropic's tools, and which of them to call. */
#include "api/anthropic/anthropic.h"

typedef struct tool_fields {
    str type, name, description, input_schema;
} tool_fields;

static const field tool_rows[] = {{"type", FIELD_STRING, offsetof(tool_fields, type)},
                                  {"name", FIELD_STRING, offsetof(tool_fields, name)},
                                  {"description", FIELD_STRING, offsetof(tool_fields, description)},
                                  {"input_schema", FIELD_OBJECT, offsetof(tool_fields, input_schema)}};

/* Tools that clients run themselves, of an input that Anthropic's models know without being told. Others of its own
 * run on its servers. */
static bool know_schema(tool_fields *f) {
    static const struct {
        str type, schema, description;
    } known[] = {
        {STR("bash_20"),
         STR("{\"type\":\"object\",\"properties\":{\"command\":{\"type\":\"string\"},"
             "\"restart\":{\"type\":\"boolean\"}}}"),
         STR("Runs a command in a shell that goes on between calls; restart begins a new one.")},
        {STR("text_editor_20"),
         STR("{\"type\":\"object\",\"properties\":{"
             "\"command\":{\"type\":\"string\",\"enum\":[\"view\",\"create\",\"str_replace\",\"insert\"]},"
             "\"path\":{\"type\":\"string\"},\"file_text\":{\"type\":\"string\"},"
             "\"old_str\":{\"type\":\"string\"},\"new_str\":{\"type\":\"string\"},"
             "\"insert_line\":{\"type\":\"integer\"},\"insert_text\":{\"type\":\"string\"},"
             "\"view_range\":{\"type\":\"array\",\"items\":{\"type\":\"integer\"}}},"
             "\"required\":[\"command\",\"path\"]}"),
         STR("Looks at text files, creates them, replaces one text in them by another, inserts text behind a line.")},
    };
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        if (!str_starts(f->type, known[i].type)) continue;
        f->input_schema = known[i].schema;
        f->description = known[i].description;
        return true;
    }
    return false;
}

bool anthropic_on_tool(void *ctx, const field_item *item, err *e) {
    chat *c = ctx;
    tool_fields f = {0};
    if (!CHAT_READ(c, item->path, item->json, tool_rows, &f, e)) return false;
    if (f.type.data && !str_is(f.type, "custom") && !know_schema(&f))
        return chat_leave_out_tool(c, item->path, f.type, f.input_schema.len, "custom", e);
    if (f.name.len < 1 || f.name.len > CHAT_TOOL_NAME_MAX)
        return err_set(e, ERR_INVALID, "'%s.name' must have 1 to %d bytes", item->path, CHAT_TOOL_NAME_MAX);
    return chat_add_tool(c, f.name, f.description, f.input_schema, e);
}

typedef struct choice_fields {
    uint32_t type;
    str name;
    bool no_parallel;
} choice_fields;

static const char *const choices[] = {"auto", "none", "any", "tool",
                                      NULL}; /* in the order of chat_tool_choice */
static const field choice_rows[] = {
    {"type", FIELD_WORD, offsetof(choice_fields, type), .words = choices},
    {"name", FIELD_STRING, offsetof(choice_fields, name)},
    {"disable_parallel_tool_use", FIELD_BOOL, offsetof(choice_fields, no_parallel)}};

bool anthropic_read_choice(chat *c, str json, err *e) {
    choice_fields f = {.type = UINT32_MAX};
    if (!json.len) return true;
    if (!CHAT_READ(c, "tool_choice", json, choice_rows, &f, e)) return false;
    if (f.type == UINT32_MAX) return err_set(e, ERR_INVALID, "'tool_choice.type' is missing");
    c->choice = (chat_tool_choice)f.type;
    c->named = f.name;
    c->no_parallel = f.no_parallel;
    return c->choice != CHAT_TOOLS_NAMED || f.name.len ||
           err_set(e, ERR_INVALID, "'tool_choice.name' is missing");
}
