/* text/reply/ — a model's reply, taken apart while it streams: content, reasoning, tool calls.
 *
 * Owns what the families of models are taught to write, and how one tells from a chat template which of them it
 * is. A reply is a state of fixed size that takes text as it is decoded (its words' tokens shown) and gives events;
 * how the text was cut into pieces does not show in what the events say together. Used by api/, one per choice.
 *
 * Content is passed on at once, but for a tail that may still begin a tag. A call is one only when it names a tool of
 * the request and its arguments have begun as they must: until then its text is held back, up to
 * TEXT_REPLY_HELD_MAX, and comes out as content otherwise. From then on arguments stream. Slips within strings are
 * mended; where they are no JSON they come as the model wrote them, up to the call's end, and where the reply breaks
 * off in the middle of a call they break off, too: nothing is added that the model did not say, and the call's end
 * says so.
 *
 * Models forget to end a thought before they call. A call inside of a thought is held back until it shows whether
 * the thought is ended after it: then it was only considered, else it is a call.
 *
 * However the text is cut, each of its bytes is looked at a few times at most: what has been read of what is held is
 * remembered (text_reply_ahead), and tools are found by an index of their names.
 */
#ifndef TEXT_REPLY_REPLY_H
#define TEXT_REPLY_REPLY_H

#include <stdbool.h>
#include <stdint.h>

#include "base/alloc.h"
#include "base/err.h"
#include "base/str.h"
#include "text/grammar/model_json.h"

typedef enum text_reply_kind {
    TEXT_REPLY_CONTENT,
    TEXT_REPLY_REASONING,
    TEXT_REPLY_CALL,      /* text: its name */
    TEXT_REPLY_ARGUMENTS, /* text: a piece of JSON */
    TEXT_REPLY_CALL_END,
} text_reply_kind;

typedef struct text_reply_event {
    text_reply_kind kind;
    uint32_t call; /* index, from 0 */
    bool cut;      /* TEXT_REPLY_CALL_END: the reply broke off before the call did; */
    bool broken;   /* its arguments are not JSON */
    str raw;       /* TEXT_REPLY_CALL: what was written up to the arguments; as text */
    str text;      /* valid during the call; whole characters if what is fed ends in whole ones */
} text_reply_event;

typedef void text_reply_on_event(void *ctx, const text_reply_event *ev);

typedef enum text_reply_family {
    TEXT_REPLY_FAMILY_PLAIN,      /* nothing is a call */
    TEXT_REPLY_FAMILY_HERMES,     /* <tool_call>{"name":…,"arguments":…}</tool_call>: Hermes, Qwen, MiMo */
    TEXT_REPLY_FAMILY_QWEN_XML,   /* <tool_call><function=name><parameter=key>value</parameter></function>… */
    TEXT_REPLY_FAMILY_LLAMA_JSON, /* {"name":…,"parameters":…}, perhaps behind <|python_tag|>; several with ';'; or
                                     name.call(key="value", …) */
    TEXT_REPLY_FAMILY_MISTRAL,    /* [TOOL_CALLS][{"name":…,"arguments":…,"id":…}], or [TOOL_CALLS]name[ARGS]{…} */
    TEXT_REPLY_FAMILY_HARMONY,    /* gpt-oss: channels */
    TEXT_REPLY_FAMILY_DEEPSEEK,   /* <｜tool▁calls▁begin｜>… */
    TEXT_REPLY_FAMILY_GENERIC,    /* the whole reply is {"tool_call":{"name":…,"arguments":…}} */
    TEXT_REPLY_FAMILY_GRANITE,    /* <|tool_call|>[{"name":…,"arguments":…}] */
    TEXT_REPLY_FAMILY_GLM,        /* <tool_call>name<arg_key>key</arg_key><arg_value>value</arg_value>… */
} text_reply_family;

typedef struct text_reply_format {
    text_reply_family family;
    bool thinks;      /* the template says so; a reply that begins with think_open is taken so in any case */
    bool lists_tools; /* the template tells the model of its tools; if not, someone has to, in GENERIC's words */
    bool newer;       /* MISTRAL: name[ARGS]{…}; DEEPSEEK: no ```json around arguments */
    str think_open, think_close;
} text_reply_format;

/* Which family a model's chat template speaks. An empty one: GENERIC. */
void text_reply_format_of(str template_source, text_reply_format *out);

/* Whether a control token of that text is one of the words a reply is read by. What is fed shows these; others are
 * nothing that anybody should see. */
bool text_reply_is_word(const text_reply_format *f, str token);

enum {
    TEXT_REPLY_HELD_MAX = 4096,
    TEXT_REPLY_NAME_MAX = 256,
    TEXT_REPLY_TAIL_MAX = 256, /* of a prompt's end, what is looked at */
    TEXT_REPLY_NESTED_MAX = 8,
    TEXT_REPLY_OUT_BYTES = 512,
};

/* A request's tools, by name. */
typedef struct text_reply_tools {
    str json;
    struct text_reply_slot *slots;
    uint32_t n_slots; /* a power of two; 0: no tools, nothing is a call */
} text_reply_tools;

/* How a call begins. */
typedef struct text_reply_head {
    uint32_t end; /* behind what was read; where arguments begin if they follow */
    char name[TEXT_REPLY_NAME_MAX];
    uint32_t name_len;
    bool args_follow, xml, keywords;
    bool quoted; /* arguments are the text of a string, whose quote has been read */
    bool fenced; /* ```json around it */
    uint32_t args_from, args_to; /* arguments that came before the name; equal: none */
    char nested[TEXT_REPLY_NESTED_MAX];
    uint8_t n_nested;
} text_reply_head;

/* What is known of the beginning of what is held: it is gone on with when more has come. */
typedef struct text_reply_ahead {
    uint32_t seen;  /* bytes that need not be looked at again */
    uint8_t tag;    /* that a call begins with, from 1; 0: none is there yet */
    bool has_head;  /* head has been read; it is seen where its thought ends */
    bool has_close; /* the thought has */
    uint8_t phase;  /* of an object: reply_head.c's */
    uint8_t key;
    bool in_value, named, has_args;
    uint32_t at, from; /* in it: how far; where the value began that is */
    text_json value;
    text_reply_head head;
} text_reply_ahead;

typedef struct text_reply {
    text_reply_format format;
    text_reply_tools tools;
    text_reply_on_event *on;
    void *ctx;
    uint8_t state;
    bool fresh;       /* no content has come since the reply, or what belongs to it, began */
    bool in_thought;  /* a call's text lies in a thought that has not ended */
    char before[2];   /* the bytes before what is held */
    bool trims;       /* newlines that come now belong to a tag before them */
    bool has_members; /* XML: an argument has gone out */
    bool in_value;    /* XML: its first newline has been looked at */
    bool quoted;      /* the arguments of the call at hand are written as the text of a string */
    bool fenced;      /* a fence before it waits for its end */
    bool unmatched;   /* a call's tag went out as text: what closes it does, too */
    bool broken;      /* the arguments of the call at hand are no JSON: from there on, */
    bool in_rest;            /* XML: of a value; */
    char quote;              /* keywords: around the value; */
    bool in_string, escaped; /* JSON: in a string of them, behind a backslash; */
    uint32_t depth;          /* of brackets that are open */
    uint8_t types;    /* XML: what the value may be */
    uint32_t n_calls;
    str schema; /* XML: of the call's arguments */
    text_json json;
    char nested[TEXT_REPLY_NESTED_MAX]; /* brackets around the call that are still open */
    uint8_t n_nested;
    text_reply_kind out_kind;
    uint32_t n_held, n_given, n_out;
    text_reply_ahead ahead;
    char held[TEXT_REPLY_HELD_MAX];
    char out[TEXT_REPLY_OUT_BYTES];
} text_reply;

/* Tools are a JSON array, of functions ({"name", "description", "parameters"}) or of OpenAI's objects around them.
 * Parameters may be left out, of a tool that takes nothing, or be TEXT_REPLY_TEXT, of one whose input is one text:
 * there may be thousands of these. What stands for both: */
#define TEXT_REPLY_TEXT "\"text\""
/* told: to a model, to which strictness says nothing. */
str text_reply_parameters(str parameters, bool told);

/* json: as above, outlives t; empty: no tools. memory: of text_reply_tools_bytes. */
size_t text_reply_tools_bytes(str json);
void text_reply_tools_init(text_reply_tools *t, str json, void *memory);
/* tools: what they lie in outlives r. prompt_tail: the end of the rendered prompt, which tells whether the reply begins
 * inside of thinking or of a call. */
void text_reply_init(text_reply *r, const text_reply_format *f, const text_reply_tools *tools, str prompt_tail);
void text_reply_feed(text_reply *r, str text, text_reply_on_event *on, void *ctx);
/* The reply has ended: what is held comes out, a call that is open ends as cut. */
void text_reply_finish(text_reply *r, text_reply_on_event *on, void *ctx);

/* Whether a reply to a prompt that ends so begins inside of thinking. */
bool text_reply_is_thinking(const text_reply_format *f, str prompt_tail);

/* GBNF (with %json{schema} and <|token|>) that makes the reply a call in the family's own words: of any of the
 * tools, or of the one named; parallel: one or several. Thinks first where the prompt has begun so. Refuses a name
 * that tools_json does not have, and an empty tools_json. */
bool text_reply_tool_grammar(const text_reply_format *f, str tools_json, str named, bool parallel, str prompt_tail,
                             buf *gbnf, const base_alloc *scratch, err *e);

/* A reply whose content follows a grammar, `answer`, which the caller defines: what comes before it, and calls
 * instead of it where there are tools. False, and nothing written, where the content is all. */
bool text_reply_answer_grammar(const text_reply_format *f, str tools_json, bool parallel, str prompt_tail, buf *gbnf);

#endif
