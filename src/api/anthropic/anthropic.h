/* api/anthropic/ — the Anthropic dialect: messages (messages.c, their answers words.c), tools, models. Callers:
 * routes.c for the handlers; the rest is what its files share. */
#ifndef API_ANTHROPIC_ANTHROPIC_H
#define API_ANTHROPIC_ANTHROPIC_H

#include "api/core/chat.h"

extern const dialect anthropic_dialect;

void anthropic_messages(api *a, http_request *r);
void anthropic_count(api *a, http_request *r);
void anthropic_models(api *a, http_request *r);
void anthropic_model(api *a, http_request *r, str name);

field_on_item anthropic_on_tool; /* ctx: a chat */
bool anthropic_read_choice(chat *c, str json, err *e);

#endif
