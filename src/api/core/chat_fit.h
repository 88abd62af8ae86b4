/* api/core/chat_fit — a conversation made fit for a template that does not take it as it stands.
 *
 * What a model is known to need (chat_model, probed at start) is done before the first rendering; what a template
 * refuses all the same is tried again with one change more, in the order of how little each takes away. Texts are
 * moved, split and joined, never dropped. Only chat.c calls this.
 */
#ifndef API_CORE_CHAT_FIT_H
#define API_CORE_CHAT_FIT_H

#include "api/core/chat.h"

bool chat_fit(chat *c, err *e); /* what is known to be needed */

/* The template takes no conversation with these tools, for the reason given: they are described in words. */
bool chat_tell_tools(chat *c, const err *reason, err *e);

/* After a refusal: the next change that alters anything, and *changed; when none is left *changed is false.
 * step: 0 at first. */
bool chat_fit_further(chat *c, uint32_t *step, bool *changed, err *e);

/* api/chat_turns: the changes that reshape the list of messages. */
bool chat_split_calls(chat *c, bool *changed, err *e); /* of one turn: each with its result becomes a turn */
bool chat_drop_silence(chat *c, bool *changed, err *e); /* answers without a word */
bool chat_take_turns(chat *c, bool *changed, err *e);  /* user and assistant alternate, calls have results */
bool chat_calls_as_text(chat *c, bool *changed, err *e);

/* api/chat_context: what the template is given, told from the messages as they are. What a client's text spells is
 * text: words that spell control tokens are quoted (text_encode_quoted), in copies on c->arena. */
typedef struct chat_context {
    chat *c;
    const chat_message *stop; /* this message is not in it, nor any after it */
    text_template_input *in;
    err *e;
    str json; /* being told as it stands */
} chat_context;
text_template_tell chat_tell_context;
text_template_tell_part chat_tell_part;
/* A function of c->tools as OpenAI shapes it. */
void chat_put_tool(const chat *c, str function, json_writer *w);

bool chat_is_object(const chat *c, str json);
void chat_put_arguments(const chat *c, const chat_call *call, bool as_text, json_writer *w);

static inline bool chat_has_tools(const chat *c) { return c->n_tools > 0 && c->choice != CHAT_TOOLS_NONE; }
/* To the template. */
static inline bool chat_lists_tools(const chat *c) { return chat_has_tools(c) && c->a->model.tools && !c->told_tools; }

#endif
