/* api/native/ — Plimsoll's own dialect: POST /generate and /fit. Caller: routes.c. */
#ifndef API_NATIVE_NATIVE_H
#define API_NATIVE_NATIVE_H

#include "api/core/core.h"

void native_generate(api *a, http_request *r);
void native_fit(api *a, http_request *r);

#endif
