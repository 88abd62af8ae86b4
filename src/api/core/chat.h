/* api/core/chat — a conversation, whatever dialect it came in: its messages and tools, and how the answer is to
 * look. Of these it makes the prompt (by the model's own template), the grammar, and what the answer's parser
 * must know.
 *
 * What a template cannot do is done for it (api/chat_fit): one without tools is told of them in words, one that
 * insists on turns gets turns. Callers: the dialects, on the worker thread, one conversation at a time:
 * chat_begin, messages and tools, chat_finish, chat_end. Its memory is arenas that grow, for as long as that
 * takes, under the account `queue`: a few times the body, whatever the body is made of.
 *
 * Refuses a conversation without a message, what the template itself refuses (in its words), prompts over the
 * context.
 */
#ifndef API_CORE_CHAT_H
#define API_CORE_CHAT_H

#include "api/core/core.h"
#include "api/core/request.h"

typedef enum chat_role { CHAT_SYSTEM, CHAT_USER, CHAT_ASSISTANT, CHAT_TOOL } chat_role;
extern const char *const chat_role_names[]; /* "system", … */

typedef enum chat_tool_choice {
    CHAT_TOOLS_AUTO,
    CHAT_TOOLS_NONE,
    CHAT_TOOLS_REQUIRED,
    CHAT_TOOLS_NAMED
} chat_tool_choice;
typedef enum chat_thinking { CHAT_THINKING_DEFAULT, CHAT_THINKING_OFF, CHAT_THINKING_ON } chat_thinking;

typedef struct chat_call {
    struct chat_call *next;
    str id, name, arguments; /* arguments: the JSON of an object, or any text where a model wrote nonsense */
} chat_call;

/* What few messages have: most are a role and a text, and there may be many of them. */
typedef struct chat_said {
    str reasoning;
    chat_call *calls, *last_call;
} chat_said;
typedef struct chat_whose {
    str name, call_id;
} chat_whose;

typedef struct chat_message {
    struct chat_message *next;
    union { /* NULL: nothing of it. Read with chat_said_of, chat_whose_of */
        chat_said *said;
        chat_whose *whose; /* CHAT_TOOL: the call's, of which this is the result */
    };
    str text;
    chat_role role;
} chat_message;

typedef struct chat {
    api *a;
    size_t body_bytes;
    mem_arena arena, reading, writing; /* what is kept; readers of the body; what grows while the others do */
    base_alloc alloc, parser, writer;
    fields_in in; /* for reading the body: texts last as long as the chat */
    chat_message *first, *last;
    buf tools; /* a JSON array of functions (text/reply); empty without tools */
    uint32_t n_tools;
    buf customs; /* the same of names of custom tools that are held to a form (api/core/custom_tools) */
    ignored_names *ignored; /* of the request: for tools that are left out */
    bool called;            /* some message has a call */

    /* set by the dialect before chat_finish */
    chat_tool_choice choice;
    str named; /* CHAT_TOOLS_NAMED */
    bool no_parallel;
    text_grammar_kind format; /* of format_source */
    str format_source;        /* empty: free text */
    const char *format_name;  /* of the field it came in */
    bool format_is_rule;      /* GBNF that is not all of a grammar, but what a rule is */
    chat_thinking thinking;
    uint64_t budget;     /* 1 + tokens of thinking; 0: no bound */
    str effort;          /* "low", "medium", "high"; empty: unsaid */
    str template_values; /* JSON object: more for the template */
    bool continue_last;  /* a last message of the assistant's is the beginning of the answer, where there is one */
    const char *continue_name; /* of the field that asks for it, and is refused where there is none; NULL: none */
    bool no_generation_prompt;

    /* from chat_finish */
    answer_style style;
    bool wrap_arguments; /* of calls that are no JSON: in an object */
    bool told_tools;     /* in words, because the template refuses these */
} chat;

enum { CHAT_TOOL_NAME_MAX = 128 };

/* body_bytes: of the request, from which follows what it may take at most. */
bool chat_begin(chat *c, api *a, size_t body_bytes, err *e);
void chat_end(chat *c);

/* Reads an object of the body by a table; path: its name, for errors. Unknown fields pass. */
bool chat_read(const chat *c, const char *path, str json, const field *rows, size_t n, void *target, err *e);
#define CHAT_READ(c, path, json, rows, target, e)                                                            \
    chat_read(c, path, json, rows, sizeof(rows) / sizeof *(rows), target, e)
/* The same for objects that decide what is said: unknown fields are named to the client, as those of the body. */
bool chat_read_naming(const chat *c, const char *path, str json, const field *rows, size_t n, void *target, err *e);
#define CHAT_READ_NAMING(c, path, json, rows, target, e)                                                     \
    chat_read_naming(c, path, json, rows, sizeof(rows) / sizeof *(rows), target, e)
bool chat_each(const chat *c, const char *path, str array, field_on_item *on_item, void *ctx, err *e);

/* A message at the end. NULL with the reason when memory is out. */
chat_message *chat_add(chat *c, chat_role role, err *e);
/* The same in front of the first, or behind `before`. */
chat_message *chat_insert(chat *c, chat_message *before, chat_role role, str text, err *e);
const chat_said *chat_said_of(const chat_message *m);
const chat_whose *chat_whose_of(const chat_message *m);
static inline chat_call *chat_calls(const chat_message *m) { return chat_said_of(m)->calls; }
/* To be written to; not of a result. */
chat_said *chat_make_said(chat *c, chat_message *m, err *e);
bool chat_set_reasoning(chat *c, chat_message *m, str reasoning, err *e);
bool chat_set_whose(chat *c, chat_message *m, str call_id, str name, err *e); /* of a result */
/* Text behind what the message has. */
bool chat_add_text(chat *c, str *to, str more, err *e);
/* The parts one after another. */
bool chat_make_text(chat *c, str *out, const str *parts, size_t n, err *e);
bool chat_no_room(const chat *c, err *e);
/* In the place of what the model cannot take: an image in a tool's result. type: as the request calls it. */
bool chat_add_placeholder(chat *c, str *to, str type, err *e);
bool chat_add_call(chat *c, chat_message *m, str id, str name, str arguments, err *e);
/* parameters: as text/reply has them. */
bool chat_add_tool(chat *c, str name, str description, str parameters, err *e);

/* What this server can do nothing with, and tells the model nothing of; where: "tools.", "input." */
void chat_leave_out(const chat *c, const char *where, str name);
/* A tool of a type that is not `must`: refused where the request describes something to be called. */
bool chat_leave_out_tool(const chat *c, const char *path, str type, bool is_described, const char *must, err *e);
/* Of the tools only those that are named, in a JSON array. */
bool chat_keep_tools(chat *c, str names, err *e);
/* The fields "tools" and "tool_choice" as OpenAI shapes them; nothing where they are empty. */
bool chat_read_tools(chat *c, str json, err *e);
bool chat_read_tool_choice(chat *c, str json, err *e);

/* The prompt into a->tokens and q->job; grammar, stops of the format, style. */
bool chat_finish(chat *c, api_request *q, err *e);

/* What the model's template can do, tried out once. */
bool chat_model_begin(api *a, err *e);
bool chat_model_probe(api *a, err *e); /* of a->model.template */

#endif
