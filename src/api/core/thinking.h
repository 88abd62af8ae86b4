/* api/core/thinking — what requests say of a model's thoughts: whether, how much, and whether they are shown.
 *
 * Owns the names that servers have for it ("thinking_budget_tokens", "reasoning_budget", "thinking_budget", …), and
 * what ends a thought whose budget is spent. A budget of a model that does not think is refused by name, but for
 * Anthropic's, which clients send with every request: that one is named as ignored. Called by api/chat.
 */
#ifndef API_CORE_THINKING_H
#define API_CORE_THINKING_H

#include "api/core/chat.h"

/* Before the prompt is made: what the shared fields say, into c. */
bool thinking_read(chat *c, api_request *q, err *e);
/* Behind it: the budget and what ends a thought, into the job. */
bool thinking_set(chat *c, api_request *q, err *e);
/* Of a route without conversations: the name of what is given there, or NULL. */
const char *thinking_named(const shared_values *v);

#endif
