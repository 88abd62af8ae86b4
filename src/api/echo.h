/* api/echo — an api of its own without a model behind it: POST /generate gives back the prompt's text; /memory,
 * /health, /livez and /readyz are those of every server. Callers: cli/serve (--engine echo). */
#ifndef API_ECHO_H
#define API_ECHO_H

#include "api/api.h"

size_t echo_plan_bytes(const api_config *c);
api *echo_start(const api_config *c, mem_ledger *l, err *e);
void echo_stop(api *a); /* after the http server has stopped; not api_stop */

void echo_handle(void *api, http_request *r); /* an http_handler */

#endif
