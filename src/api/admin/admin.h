/* api/admin/ — the server's own pages: health, memory, its timeline and what it means, the prompt cache, help.
 *
 * They belong to no dialect and know none. Caller: routes.c.
 */
#ifndef API_ADMIN_ADMIN_H
#define API_ADMIN_ADMIN_H

#include "api/core/core.h"

/* server.c */
void server_health(api *a, http_request *r);
void server_live(api *a, http_request *r);
void server_ready(api *a, http_request *r);
void server_memory(api *a, http_request *r);
void server_cleanup(api *a, http_request *r);
void server_index(api *a, http_request *r);
void server_help(api *a, http_request *r);
/* cache.c */
void cache_list(api *a, http_request *r);
void cache_clear(api *a, http_request *r);
void cache_remove(api *a, http_request *r);
/* timeline.c */
void timeline_json(api *a, http_request *r);
void timeline_svg(api *a, http_request *r);
void timeline_doctor(api *a, http_request *r);

#endif
