/* api/openai/responses — what /v1/responses takes: its items and tools, read into a conversation (responses_items.c).
 *
 * Owns what a model cannot be told in the shape it came in. Functions of a namespace are called NAMESPACE__NAME; custom
 * tools are functions of one text (api/core/custom_tools). What runs on somebody else's servers is left out and named
 * in the answer's headers: such tools, the items that they left in the history, and references to items that were
 * never kept here. Caller: responses.c.
 */
#ifndef API_OPENAI_RESPONSES_H
#define API_OPENAI_RESPONSES_H

#include "api/core/chat.h"

/* For chat_each; ctx: a chat. */
field_on_item responses_on_item, responses_on_tool;
bool responses_read_choice(chat *c, str json, err *e);

/* The function of a namespace that the model knows by the name `told`: both names as JSON strings of the request's
 * tools. False for any other tool. */
bool responses_find_in_namespace(str tools, str told, str *space, str *name);

#endif
