/* api/core/doors — from where the server may be used: names in Host, and the origins of pages in a browser.
 *
 * Two ways lead from a page that a user merely visits to a server that only this machine should reach. Its name can
 * be made to point here (DNS rebinding): the browser then takes us for a part of that page, but the header Host still
 * has its name, and only local names and those of --allowed-host are taken. Or it sends requests across origins: the
 * browser lets them out, with an Origin, and keeps answers from it unless we say otherwise (CORS); so what changes
 * something is refused unless the origin is our own, this machine's, or one of --cors-origin. Programs send no Origin
 * and are not held up.
 *
 * Local are: no name, localhost and all below it, IP addresses (nobody can make those point elsewhere), this
 * machine's name, and what --host says. Callers: api.c. */
#ifndef API_CORE_DOORS_H
#define API_CORE_DOORS_H

#include "api/api.h"

/* The lists of --allowed-host and --cors-origin. */
bool doors_check(const api_config *c, err *e);
/* NULL, or why the request may not come in: 400, 403. What it returns is good until it is called again. */
const http_refusal *doors_refuse(const api_config *c, const http_request *r);
/* A browser that asks whether a page may send what it wants to. */
bool doors_is_preflight(const http_request *r);
/* CORS: what says who may read the answer, and to a preflight what may be sent; methods: that the path takes. */
uint32_t doors_fields(const api_config *c, const http_request *r, const char *methods,
                      http_field out[HTTP_EXTRA_FIELDS]);

#endif
