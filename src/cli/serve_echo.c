/* plimsoll serve --engine echo: the front end without a model. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "api/echo.h"
#include "base/log.h"
#include "cli/server_parts.h"
#include "mem/watch.h"
#include "plat/address.h"

static uint64_t planned_bytes(const server_parts *p) {
    return http_server_plan_bytes(&p->http) + echo_plan_bytes(&p->api);
}

/* Before anything is taken. */
static bool check_line(const cli_options *o, const server_parts *p, mem_ledger *l, err *e) {
    mem_levels levels;
    mem_ledger_view v;
    mem_ledger_read(l, &v);
    if (!mem_levels_init(&levels, v.line_bytes, o->level_bytes, e)) return false;
    uint64_t need = planned_bytes(p), have = mem_ledger_available(l);
    char a[BYTES_TEXT_BYTES], b[BYTES_TEXT_BYTES];
    log_info("serve", "echo: the front end takes %s of %s under the line", bytes_text(need, a),
             bytes_text(have, b));
    return need <= have ||
           err_set_memory(e, need, have, "the front end takes %s; %s are left under the line: raise --memory",
                          bytes_text(need, a), bytes_text(have, b));
}

/* Nothing of the front end can be reclaimed: all it does is refuse (api/echo), by the level that is noted. */
static void reclaimable(void *ctx, mem_reclaimable *out) {
    http_counts counts;
    http_server_counts(ctx, &counts);
    *out = (mem_reclaimable){.requests = counts.active, .ended = counts.requests};
}

static void pass_on_level(void *ctx, mem_level level, bool hold, uint64_t room_bytes) {
    (void)ctx, (void)level, (void)hold, (void)room_bytes;
}

static mem_watch *watch_memory(const cli_options *o, const server_parts *p, http_server *http, mem_ledger *l, err *e) {
    mem_ledger_view v;
    mem_ledger_read(l, &v);
    mem_watch_config c = {.ledger = l,
                          .planned_bytes = v.rows[MEM_RUNTIME].now_bytes + planned_bytes(p),
                          .ctx = http,
                          .reclaimable = reclaimable,
                          .level = pass_on_level};
    memcpy(c.threshold_bytes, o->level_bytes, sizeof c.threshold_bytes);
    return mem_watch_start(&c, e);
}

static void wait_for_last_answers(http_server *http) {
    http_counts counts = {.active = 1};
    for (int i = 0; i < 40 && counts.active; i++) {
        http_server_counts(http, &counts);
        if (counts.active) usleep(10000);
    }
}

int server_echo(const cli_options *o, mem_ledger *l) {
    err e = {0};
    server_parts p = server_parts_of(o);
    http_server *http = NULL;
    mem_watch *watch = NULL;
    server_will_wait();
    api *a = check_line(o, &p, l, &e) ? echo_start(&p.api, l, &e) : NULL;
    if (a) http = http_server_start(&p.http, l, echo_handle, a, &e);
    if (http) watch = watch_memory(o, &p, http, l, &e);
    if (watch) {
        char text[PLAT_URL_HOST_BYTES];
        log_info("serve", "ready: echo on http://%s:%u", plat_url_host(p.http.host, text), http_server_port(http));
        server_wait_for_signal();
        api_draining(a);
        log_info("serve", "draining: new requests are refused, those accepted go on");
        http_server_drain(http);
        wait_for_last_answers(http);
        mem_watch_stop(watch);
    }
    if (http) http_server_stop(http);
    echo_stop(a);
    if (watch) log_info("serve", "stopped");
    return watch ? 0 : cli_fail(&e);
}
