#include "cli/load_run.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "cli/client.h"
#include "mem/arena.h"
#include "plat/kernel.h"

enum {
    RECEIVE_BYTES = 64 * 1024,
    EVENTS_AT_ONCE = 64,
    TICK_MS = 20,
    STALLED_MS = 30 * 1000,
    BREAKS_IN_A_ROW = 64, /* connections that end without an answer: nobody is there */
    SAMPLE_NS = 20 * 1000 * 1000,
};

/* ---- memory over time ---- */

void load_track_init(load_track *t, int pid, double *seconds, double *bytes) {
    *t = (load_track){.pid = pid, .start_ns = clock_now_ns(), .every_ns = SAMPLE_NS};
    t->seconds = seconds;
    t->bytes = bytes;
}

void load_track_mark(load_track *t) {
    t->peak_bytes = 0;
    load_track_sample(t, true);
}

static void keep_every_second(load_track *t) {
    for (uint32_t i = 0; i < t->n / 2; i++) { /* of two, the higher one: no peak is lost */
        bool second = t->bytes[2 * i + 1] > t->bytes[2 * i];
        t->seconds[i] = t->seconds[2 * i + second];
        t->bytes[i] = t->bytes[2 * i + second];
    }
    t->n /= 2;
    t->every_ns *= 2;
}

/* The peak is looked for more often than the picture gets points. */
void load_track_sample(load_track *t, bool now_in_any_case) {
    uint64_t now = clock_now_ns();
    plat_process_memory m;
    if (!t->pid || (!now_in_any_case && now < t->next_ns) || !plat_process_memory_read_pid(t->pid, &m)) return;
    uint64_t bytes = m.rss_anon_bytes + m.rss_file_bytes + m.rss_shmem_bytes + m.swap_bytes;
    if (bytes > t->peak_bytes) t->peak_bytes = bytes;
    t->next_ns = now + SAMPLE_NS;
    double seconds = (double)(now - t->start_ns) / 1e9;
    bool soon = t->n && seconds - t->seconds[t->n - 1] < (double)t->every_ns / 1e9;
    if (soon) {
        if ((double)bytes > t->bytes[t->n - 1]) t->bytes[t->n - 1] = (double)bytes;
        return;
    }
    if (t->n == LOAD_SAMPLES_MAX) keep_every_second(t);
    t->seconds[t->n] = seconds;
    t->bytes[t->n++] = (double)bytes;
}

/* ---- connections ---- */

typedef struct conn {
    int fd; /* −1: none */
    bool busy, waits_to_send;
    size_t sent;
    cli_answer answer;
} conn;

typedef struct run {
    const plat_address *to;
    str request;
    uint64_t issued, requests;
    uint32_t n_conns, breaks_in_a_row;
    conn *conns;
    char *received; /* [RECEIVE_BYTES] */
    int epoll_fd;
    uint64_t moved_ns;
    load_counts *counts;
} run;

static void watch(run *x, conn *c, int how, bool to_send) {
    struct epoll_event event = {.events = EPOLLIN | (to_send ? (uint32_t)EPOLLOUT : 0u), .data.ptr = c};
    (void)epoll_ctl(x->epoll_fd, how, c->fd, &event);
    c->waits_to_send = to_send;
}

static bool open_conn(run *x, conn *c, err *e) {
    int on = 1;
    c->fd = socket(x->to->of.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (c->fd < 0) return err_set(e, ERR_IO, "cannot open a socket: %s", strerror(errno));
    if (connect(c->fd, (const struct sockaddr *)&x->to->of, x->to->len)) { /* on loopback: at once */
        int why = errno;
        close(c->fd);
        c->fd = -1;
        return err_set(e, ERR_IO, "nobody answers at port %u: %s", plat_address_port(x->to), strerror(why));
    }
    (void)setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    watch(x, c, EPOLL_CTL_ADD, false);
    return true;
}

static void close_conn(conn *c) {
    if (c->fd >= 0) close(c->fd);
    c->fd = -1;
}

/* False when the connection is broken. */
static bool send_more(run *x, conn *c) {
    while (c->sent < x->request.len) {
        ssize_t n = send(c->fd, x->request.data + c->sent, x->request.len - c->sent, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0 && errno != EAGAIN) return errno == EPIPE || errno == ECONNRESET; /* an answer may lie there */
        if (n < 0) break;
        c->sent += (size_t)n;
        x->moved_ns = clock_now_ns();
    }
    bool left = c->sent < x->request.len;
    if (left != c->waits_to_send) watch(x, c, EPOLL_CTL_MOD, left);
    return true;
}

static bool begin_next(run *x, conn *c, err *e);

static bool give_up(run *x, conn *c, err *e) {
    x->counts->failed++;
    c->busy = false;
    close_conn(c);
    if (++x->breaks_in_a_row >= BREAKS_IN_A_ROW)
        return err_set(e, ERR_IO, "%d connections in a row ended without an answer", BREAKS_IN_A_ROW);
    return begin_next(x, c, e);
}

static bool begin_next(run *x, conn *c, err *e) {
    if (x->issued == x->requests) return true;
    if (c->fd < 0 && !open_conn(x, c, e)) return false;
    x->issued++;
    c->busy = true;
    c->sent = 0;
    cli_answer_begin(&c->answer);
    return send_more(x, c) || give_up(x, c, e);
}

static bool answer_is_whole(run *x, conn *c, err *e) {
    int status = c->answer.status;
    if (status == 200) x->counts->done++;
    else if (status == 429 || status == 503) x->counts->refused++;
    else x->counts->failed++;
    x->counts->answer_bytes += c->answer.body_bytes;
    x->breaks_in_a_row = 0;
    c->busy = false;
    if (c->answer.closes || c->sent < x->request.len) close_conn(c);
    return begin_next(x, c, e);
}

static bool receive(run *x, conn *c, err *e) {
    err why;
    ssize_t n = recv(c->fd, x->received, RECEIVE_BYTES, MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) return true;
    x->moved_ns = clock_now_ns();
    if (!c->busy) return close_conn(c), true; /* an idle connection was closed */
    bool good = n > 0 ? cli_answer_feed(&c->answer, (str){x->received, (size_t)n}, NULL, &why)
                      : n == 0 && cli_answer_closed(&c->answer, &why);
    if (!good) return give_up(x, c, e);
    return c->answer.state != ANSWER_DONE || answer_is_whole(x, c, e);
}

static bool on_event(run *x, const struct epoll_event *event, err *e) {
    conn *c = event->data.ptr;
    if (c->fd < 0) return true; /* closed by an event before this one */
    if ((event->events & EPOLLOUT) && c->busy && !send_more(x, c)) return give_up(x, c, e);
    return !(event->events & (EPOLLIN | EPOLLHUP | EPOLLERR)) || receive(x, c, e);
}

static bool loop(run *x, load_track *track, err *e) {
    struct epoll_event events[EVENTS_AT_ONCE];
    const load_counts *c = x->counts;
    for (uint32_t i = 0; i < x->n_conns; i++)
        if (!begin_next(x, &x->conns[i], e)) return false;
    while (c->done + c->refused + c->failed < x->requests) {
        int n = epoll_wait(x->epoll_fd, events, EVENTS_AT_ONCE, TICK_MS);
        for (int i = 0; i < n; i++)
            if (!on_event(x, &events[i], e)) return false;
        load_track_sample(track, false);
        if (clock_now_ns() - x->moved_ns > STALLED_MS * 1000000ull)
            return err_set(e, ERR_BUSY, "nothing has moved for %d s", STALLED_MS / 1000);
    }
    return true;
}

bool load_run(const plat_address *to, str request, uint32_t concurrency, uint64_t requests, mem_ledger *l,
              load_track *track, load_counts *out, err *e) {
    uint64_t start = clock_now_ns();
    mem_arena arena;
    *out = (load_counts){0};
    run x = {.to = to, .request = request, .requests = requests, .n_conns = concurrency, .counts = out};
    x.moved_ns = start;
    if (!mem_arena_init(&arena, l, MEM_HTTP, concurrency * sizeof *x.conns + RECEIVE_BYTES + 128, false, e))
        return false;
    x.conns = mem_arena_take(&arena, concurrency * sizeof *x.conns, 64);
    x.received = mem_arena_take(&arena, RECEIVE_BYTES, 64);
    for (uint32_t i = 0; i < concurrency; i++) x.conns[i].fd = -1;
    x.epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    bool good = x.epoll_fd >= 0 ? loop(&x, track, e) : err_set(e, ERR_IO, "no epoll: %s", strerror(errno));
    load_track_sample(track, true);
    out->seconds = (double)(clock_now_ns() - start) / 1e9;
    for (uint32_t i = 0; i < concurrency; i++) close_conn(&x.conns[i]);
    if (x.epoll_fd >= 0) close(x.epoll_fd);
    mem_arena_free(&arena);
    return good;
}
