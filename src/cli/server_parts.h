/* cli/server_parts — the configurations of a server's parts, from the options; serve and plan share them. */
#ifndef CLI_SERVER_PARTS_H
#define CLI_SERVER_PARTS_H

#include "api/api.h"
#include "cli/cli.h"

typedef struct server_parts {
    engine_config engine;
    sched_config sched;
    http_config http;
    api_config api;
} server_parts;

server_parts server_parts_of(const cli_options *o);
/* serve.c: until SIGTERM or SIGINT, which the caller has blocked. */
void server_wait_for_signal(void);
/* serve_echo.c: --engine echo. The line is set. */
int server_echo(const cli_options *o, mem_ledger *l);
/* Sets the rows http and queue. */
void server_parts_plan(const server_parts *p, const engine *en, engine_plan *plan);

#endif
