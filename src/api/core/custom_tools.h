/* api/core/custom_tools — tools whose input is one text, not JSON ("type": "custom"), and tools that nobody here can
 * run.
 *
 * Owns the two ways between such a tool and what a model can call: a function of one argument, "input". A call in the
 * history becomes one of that function; the arguments that a model writes are read back to the text while they
 * stream. Callers: the dialects of OpenAI's.
 *
 * A tool that runs on somebody's servers (web search, images, …) is none that a model of ours should be told of: it is
 * left out of the prompt, and named where fields that are let pass are named.
 */
#ifndef API_CORE_CUSTOM_TOOLS_H
#define API_CORE_CUSTOM_TOOLS_H

#include "api/core/chat.h"

/* format: JSON, as the request has it; empty: any text. */
bool custom_add_tool(chat *c, str name, str description, str format, err *e);
bool custom_add_call(chat *c, chat_message *m, str id, str name, str input, err *e);
/* Whether a name that the model called is one of these tools. */
bool custom_is_tool(const answer *x, str name);

/* Appends to `to` what a piece of the call's arguments says of its input. s: zero before the first piece. */
void custom_input_feed(custom_input *s, str piece, buf *to);
/* All of it, of a whole answer's call; valid until asked again. Where memory is out api_kept_said(x) has failed. */
str custom_input_of(answer *x, str arguments);

#endif
