/* plimsoll serve --engine echo: the front end without a model. */
#include <stdio.h>
#include <unistd.h>

#include "api/echo.h"
#include "base/log.h"
#include "cli/server_parts.h"

static bool check_line(const server_parts *p, mem_ledger *l, err *e) {
    uint64_t need = http_server_plan_bytes(&p->http) + echo_plan_bytes(&p->api), have = mem_ledger_available(l);
    char a[BYTES_TEXT_BYTES], b[BYTES_TEXT_BYTES];
    log_info("serve", "echo: the front end takes %s of %s under the line", bytes_text(need, a),
             bytes_text(have, b));
    return need <= have ||
           err_set_memory(e, need, have, "the front end takes %s; %s are left under the line: raise --memory",
                          bytes_text(need, a), bytes_text(have, b));
}

static void wait_for_last_answers(http_server *http) {
    http_counts counts = {.active = 1};
    for (int i = 0; i < 200 && counts.active; i++) {
        http_server_counts(http, &counts);
        if (counts.active) usleep(10000);
    }
}

int server_echo(const cli_options *o, mem_ledger *l) {
    err e = {0};
    server_parts p = server_parts_of(o);
    http_server *http = NULL;
    api *a = check_line(&p, l, &e) ? echo_start(&p.api, l, &e) : NULL;
    if (a) http = http_server_start(&p.http, l, echo_handle, a, &e);
    if (http) {
        log_info("serve", "ready: echo on http://%s:%u", p.http.host, http_server_port(http));
        server_wait_for_signal();
        api_draining(a);
        http_server_drain(http);
        wait_for_last_answers(http);
        http_server_stop(http);
    }
    echo_stop(a);
    if (http) log_info("serve", "stopped");
    return http ? 0 : cli_fail(&e);
}
