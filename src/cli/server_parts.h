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
/* stopping.c: before any other thread. SIGTERM or SIGINT then ends the process at once until somebody will wait for
 * it, and from then on within the drain's timeout and a second, whatever hangs; a second one at once. SIGHUP does
 * nothing. */
bool server_take_signals(uint32_t drain_timeout_ms, err *e);
void server_will_wait(void);
void server_wait_for_signal(void);
void server_has_drained(void); /* all answers are out: to end now is no failure */
/* serve_echo.c: --engine echo. The line is set. */
int server_echo(const cli_options *o, mem_ledger *l);
/* The whole plan of a server, http and queue included; refuses what serve would refuse. p stays as long as the plan is
 * made. */
bool server_parts_plan(const server_parts *p, const cli_options *o, engine *en, engine_plan *plan, err *e);

#endif
