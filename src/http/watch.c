/* The watcher: deadlines, and clients that leave while their answer is in work.
 *
 * libmicrohttpd does not look at a suspended connection's socket, and its own timeout starts anew with
 * every byte. So a second epoll waits for EPOLLRDHUP on the sockets of answers in work, and every tick
 * looks for phases that have taken too long as a whole.
 *
 * A client that closes only its sending side looks the same as one that has left, and is treated so:
 * no HTTP client does that while it waits, and stopping a generation at once matters more.
 */
#include <errno.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "http/internal.h"
#include "plat/thread.h"

enum { TICK_MS = 50, EVENTS_AT_ONCE = HOSTILE(32, 1) };
static const uint64_t POKED = UINT64_MAX;

void http_watch_poke(http_server *s) {
    uint64_t one = 1;
    (void)!write(s->poke_fd, &one, sizeof one);
}

void http_watch_client(http_conn *c) {
    CHECK(http_locked(c->server));
    if (c->watched) return;
    c->watched = true;
    uint64_t index = (uint64_t)(c - c->server->conns);
    struct epoll_event event = {.events = EPOLLRDHUP | EPOLLONESHOT, .data.u64 = index << 32 | c->generation};
    (void)epoll_ctl(c->server->epoll_fd, EPOLL_CTL_ADD, c->fd, &event);
}

void http_unwatch_client(http_conn *c) {
    CHECK(http_locked(c->server));
    if (c->watched) (void)epoll_ctl(c->server->epoll_fd, EPOLL_CTL_DEL, c->fd, NULL);
    c->watched = false;
}

/* The socket is shut so that the library, too, sees the end wherever it stands; the rest is http_on_completed's. */
static void client_left(http_server *s, uint64_t handle) {
    http_conn *c = &s->conns[handle >> 32];
    http_lock(s);
    http_request *r = c->request;
    bool same = c->generation == (uint32_t)handle;
    if (same && c->in_line) {
        (void)shutdown(c->fd, SHUT_RDWR);
        http_leave_line(c);
    } else if (same && c->phase == CONN_ANSWER && r && !r->ended) {
        r->client_gone = true;
        (void)shutdown(c->fd, SHUT_RDWR);
        if (r->work_state == WORK_WAITS) http_work_drop(r, false);
        else http_wake_locked(r);
    }
    http_unlock(s);
}

/* Lock held. */
static void deadline_passed(http_conn *c) {
    CHECK(http_locked(c->server));
    if (c->phase == CONN_ANSWER) { /* still waits for the worker */
        http_work_drop(c->request, true);
        return;
    }
    static const http_refusal late = {408, "request_timeout", "the request took too long to arrive"};
    if (c->in_line) {
        http_turn_away(c, http_no_room(c));
        return;
    }
    bool waits_for_headers = c->phase == CONN_WAITING && !c->used_before;
    bool waits_for_body = c->phase == CONN_BODY || c->phase == CONN_OUTSIDE;
    if (waits_for_headers) http_refuse(c, NULL, &late, NULL); /* these are the event thread's while they arrive */
    if (waits_for_body) {
        const http_request asked = http_asked_of(c->server, c->mhd, c->url ? c->url : "", "");
        http_refuse(c, c->request ? c->request : c->url ? &asked : NULL, &late, NULL);
    }
    (void)shutdown(c->fd, SHUT_RDWR);
    c->deadline_ns = 0;
}

/* False when no connection is open: nothing to wait for. */
static bool look_for_deadlines(http_server *s) {
    http_lock(s);
    uint64_t now = clock_now_ns();
    for (uint32_t i = 0; i < s->conn_count; i++) {
        http_conn *c = &s->conns[i];
        if (c->phase != CONN_FREE && c->deadline_ns && now >= c->deadline_ns) deadline_passed(c);
    }
    bool open = s->counts.connections > 0;
    http_unlock(s);
    return open;
}

static void *watch(void *arg) {
    http_server *s = arg;
    struct epoll_event events[EVENTS_AT_ONCE];
    uint64_t ignored;
    for (bool stopping = false; !stopping;) {
        int timeout_ms = look_for_deadlines(s) ? TICK_MS : -1;
        int n = epoll_wait(s->epoll_fd, events, EVENTS_AT_ONCE, timeout_ms);
        for (int i = 0; i < n; i++) {
            if (events[i].data.u64 == POKED) (void)!read(s->poke_fd, &ignored, sizeof ignored);
            else client_left(s, events[i].data.u64);
        }
        http_lock(s);
        stopping = s->stopping;
        http_unlock(s);
    }
    return NULL;
}

bool http_watch_start(http_server *s, err *e) {
    s->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    s->poke_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    struct epoll_event event = {.events = EPOLLIN, .data.u64 = POKED};
    if (s->epoll_fd < 0 || s->poke_fd < 0 || epoll_ctl(s->epoll_fd, EPOLL_CTL_ADD, s->poke_fd, &event))
        return err_set(e, ERR_IO, "cannot watch connections: %s", strerror(errno));
    return s->watching = plat_thread_start(&s->watcher, "http watch", watch, s, e);
}

void http_watch_stop(http_server *s) {
    if (s->watching) {
        http_watch_poke(s);
        pthread_join(s->watcher, NULL);
    }
    if (s->epoll_fd >= 0) close(s->epoll_fd);
    if (s->poke_fd >= 0) close(s->poke_fd);
}
