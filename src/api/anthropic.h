/* api/anthropic — what the files of the Anthropic dialect share: messages (anthropic.c), tools (anthropic_tools.c). */
#ifndef API_ANTHROPIC_H
#define API_ANTHROPIC_H

#include "api/chat.h"

field_on_item anthropic_on_tool; /* ctx: a chat */
bool anthropic_read_choice(chat *c, str json, err *e);

#endif
