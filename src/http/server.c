#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/check.h"
#include "base/log.h"
#include "http/internal.h"
#include "plat/address.h"
#include "plat/thread.h"
#include "plat/vm.h"

#ifdef PLIMSOLL_SANITIZED
enum { EVENT_STACK_BYTES = 2 * 1024 * 1024 };
#else
enum { EVENT_STACK_BYTES = 512 * 1024 };
#endif

/* What libmicrohttpd takes from malloc, by its version 0.9.75: per connection its memory pool and its own
 * struct (HTTP_CONNECTION_BYTES); per answer in work the response, its headers and the block for HTTP/1.0
 * streams; the daemon. All of it is held from the start, so that however short memory is a connection is
 * answered: /livez with 200, a request that finds no room with 429. */
enum {
    LIBRARY_PER_ANSWER_BYTES = 8 * 1024,
    LIBRARY_FIXED_BYTES = 64 * 1024,
    STACK_TOUCHED_BYTES = 64 * 1024,
    SPARE_CONNECTIONS = 8, /* closed ones that the library has not reported yet */
    SOCKET_RECEIVE_BYTES = 64 * 1024, /* back-pressure holds here, not in megabytes of kernel memory */
    SOCKET_SEND_BYTES = 128 * 1024,
    LISTEN_BACKLOG = 512,
};

void http_config_default(http_config *c) {
    *c = (http_config){
        .host = "127.0.0.1",
        .port = 8080,
        .max_connections = 128,
        .max_active = 64,
        .body_limit_bytes = 4 * 1024 * 1024,
        .body_pool_bytes = 16 * 1024 * 1024,
        .header_timeout_ms = 10 * 1000,
        .body_timeout_ms = 30 * 1000,
        .idle_timeout_ms = 60 * 1000,
    };
}

/* ---- memory ---- */

/* Run once over a measuring arena and once over the real one. Assigns only. */
static http_server *lay_out(mem_arena *a, const http_config *c, http_server *scratch) {
    http_server *s = mem_arena_take(a, sizeof *s, 64);
    http_server *t = s ? s : scratch;
    t->conn_count = c->max_connections + SPARE_CONNECTIONS;
    t->conns = mem_arena_take(a, t->conn_count * sizeof *t->conns, 64);
    t->slot_count = c->max_active;
    t->slots = mem_arena_take(a, t->slot_count * sizeof *t->slots, 64);
    t->pool.units = (uint32_t)(c->body_pool_bytes / HTTP_UNIT_BYTES);
    t->pool.used = mem_arena_take(a, t->pool.units * sizeof *t->pool.used, 64);
    for (uint32_t i = 0; i < t->slot_count; i++) {
        char *own = mem_arena_take(a, HTTP_INLINE_BYTES, 64);
        if (s) t->slots[i].own_bytes = own;
    }
    t->pool.memory = mem_arena_take(a, (size_t)t->pool.units * HTTP_UNIT_BYTES, 4096);
    return s;
}

static size_t arena_bytes(const http_config *c) {
    http_server scratch = {0};
    mem_arena a;
    mem_arena_measure(&a);
    lay_out(&a, c, &scratch);
    return a.used;
}

/* Of the threads' stacks, what they touch. */
static size_t library_bytes(const http_config *c) {
    return (size_t)c->max_connections * HTTP_CONNECTION_BYTES + (size_t)c->max_active * LIBRARY_PER_ANSWER_BYTES +
           LIBRARY_FIXED_BYTES + 2 * STACK_TOUCHED_BYTES + (size_t)HTTP_LANES * PLAT_THREAD_TOUCHED_BYTES;
}

size_t http_server_plan_bytes(const http_config *c) {
    return plat_vm_round(arena_bytes(c)) + library_bytes(c);
}

/* ---- the listening socket ---- */

static void set_option(int fd, int level, int option, int value) {
    (void)setsockopt(fd, level, option, &value, sizeof value);
}

static int open_listener(const http_config *c, uint16_t *port, err *e) {
    plat_address address;
    if (!plat_address_find(&address, c->host, c->port, e)) return err_prefix(e, "host: "), -1;
    int fd = socket(address.of.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) return err_set(e, ERR_IO, "cannot open a socket: %s", strerror(errno)), -1;
    set_option(fd, SOL_SOCKET, SO_REUSEADDR, 1);
    set_option(fd, SOL_SOCKET, SO_RCVBUF, SOCKET_RECEIVE_BYTES); /* accepted sockets inherit these */
    set_option(fd, SOL_SOCKET, SO_SNDBUF, SOCKET_SEND_BYTES);
    set_option(fd, IPPROTO_TCP, TCP_NODELAY, 1);
    if (bind(fd, (struct sockaddr *)&address.of, address.len) || listen(fd, LISTEN_BACKLOG) ||
        getsockname(fd, (struct sockaddr *)&address.of, &address.len)) {
        err_set(e, ERR_IO, "cannot listen on %s port %u: %s", c->host, c->port, strerror(errno));
        close(fd);
        return -1;
    }
    *port = plat_address_port(&address);
    return fd;
}

/* ---- start and stop ---- */

static void on_library_log(void *cls, const char *format, va_list args) __attribute__((format(printf, 2, 0)));
static void on_library_log(void *cls, const char *format, va_list args) {
    (void)cls;
    char line[256];
    int n = vsnprintf(line, sizeof line, format, args);
    size_t len = n < 0 ? 0 : (size_t)n < sizeof line ? (size_t)n : sizeof line - 1;
    while (len && line[len - 1] == '\n') line[--len] = 0;
    log_debug("http", "libmicrohttpd: %s", line); /* clients' faults, for the most part */
}

/* Seconds, as the library counts; ours are the deadlines, this one ends readers who take nothing more. */
static unsigned stalled_after_s(const http_config *c) {
    uint32_t most = c->idle_timeout_ms;
    if (c->header_timeout_ms > most) most = c->header_timeout_ms;
    if (c->body_timeout_ms > most) most = c->body_timeout_ms;
    return most / 1000 + 2;
}

static bool start_library(http_server *s, err *e) {
    int fd = open_listener(&s->config, &s->port, e);
    if (fd < 0) return false;
    http_library_begin();
    s->daemon = MHD_start_daemon(
        MHD_USE_EPOLL_INTERNAL_THREAD | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_TURBO | MHD_USE_ERROR_LOG, 0, NULL, NULL,
        http_on_request, s,
        MHD_OPTION_EXTERNAL_LOGGER, on_library_log, NULL, /* first, so that it hears of all others */
        MHD_OPTION_LISTEN_SOCKET, fd,
        MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)HTTP_CONNECTION_POOL_BYTES,
        MHD_OPTION_CONNECTION_LIMIT, (unsigned)s->config.max_connections,
        MHD_OPTION_CONNECTION_TIMEOUT, stalled_after_s(&s->config),
        MHD_OPTION_THREAD_STACK_SIZE, (size_t)EVENT_STACK_BYTES,
        MHD_OPTION_NOTIFY_COMPLETED, http_on_completed, s,
        MHD_OPTION_NOTIFY_CONNECTION, http_on_connection, s,
        MHD_OPTION_UNESCAPE_CALLBACK, http_unescape, NULL,
        MHD_OPTION_URI_LOG_CALLBACK, http_on_line, NULL,
        MHD_OPTION_END);
    if (s->daemon) return true;
    close(fd);
    return err_set(e, ERR_IO, "cannot start the HTTP event thread: %s", strerror(errno));
}

static bool check_config(const http_config *c, err *e) {
    if (c->max_active < 1 || c->max_connections < c->max_active)
        return err_set(e, ERR_USAGE, "max_connections (%u) must be at least max_active (%u), and that at least 1",
                       c->max_connections, c->max_active);
    if (c->body_limit_bytes > c->body_pool_bytes)
        return err_set(e, ERR_USAGE, "body_limit_bytes (%zu) is larger than body_pool_bytes (%zu)", c->body_limit_bytes,
                       c->body_pool_bytes);
    return true;
}

/* Everything that was taken, in reverse; also for a server that came up only in part. */
static void tear_down(http_server *s) {
    if (s->daemon) MHD_stop_daemon(s->daemon);
    http_watch_stop(s);
    plat_mutex_destroy(&s->lock);
    mem_ledger *l = s->ledger;
    size_t reserved = s->library_bytes;
    mem_arena arena = s->arena; /* the server itself lies in it */
    mem_arena_free(&arena);
    mem_ledger_release(l, MEM_HTTP, reserved);
}

http_server *http_server_start(const http_config *c, mem_ledger *l, http_handler *handler, void *ctx, err *e) {
    if (!check_config(c, e)) return NULL;
    size_t library = library_bytes(c);
    if (!mem_ledger_reserve(l, MEM_HTTP, library, e)) return NULL;
    mem_arena arena;
    if (!mem_arena_init(&arena, l, MEM_HTTP, arena_bytes(c), false, e)) {
        mem_ledger_release(l, MEM_HTTP, library);
        return NULL;
    }
    http_server *s = lay_out(&arena, c, NULL);
    CHECK(s && !arena.failed && arena.size + library == http_server_plan_bytes(c));
    s->arena = arena;
    s->config = *c;
    s->ledger = l;
    mem_heap_init(&s->pool.heap, l, MEM_HTTP);
    s->library_bytes = library;
    s->handler = handler;
    s->ctx = ctx;
    s->epoll_fd = s->poke_fd = -1;
    plat_mutex_init(&s->lock);
    for (uint32_t i = 0; i < s->slot_count; i++) s->slots[i].server = s;
    uint64_t seed = 0;
    (void)!getrandom(&seed, sizeof seed, 0);
    rng_seed(&s->ids, seed);

    if (http_watch_start(s, e) && http_work_start(s, e) && start_library(s, e)) return s;
    http_lock(s); /* threads have begun */
    s->stopping = true;
    http_unlock(s);
    http_work_stop(s);
    tear_down(s);
    return NULL;
}

uint16_t http_server_port(const http_server *s) { return s->port; }

void http_server_drain(http_server *s) {
    http_lock(s);
    s->draining = true;
    while (s->first_in_line) http_turn_away(s->first_in_line, &http_draining);
    http_unlock(s);
}

void http_server_stop(http_server *s) {
    http_lock(s);
    s->draining = s->stopping = true;
    for (uint32_t i = 0; i < s->slot_count; i++) /* the library must not be stopped with sleepers */
        if (s->slots[i].work_state == WORK_WAITS) http_work_drop(&s->slots[i], false);
        else if (s->slots[i].conn) http_wake_locked(&s->slots[i]);
    while (s->first_in_line) http_turn_away(s->first_in_line, &http_draining);
    http_unlock(s);
    http_work_stop(s);
    tear_down(s);
}

void http_server_counts(http_server *s, http_counts *out) {
    http_lock(s);
    *out = s->counts;
    out->active = s->slots_used;
    for (uint32_t i = 0; i < s->slot_count; i++) out->worked_for += s->slots[i].work_state != WORK_NONE;
    http_unlock(s);
}
