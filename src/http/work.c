/* The workers: two threads for what may take long, so that neither the event thread nor whoever computes answers does
 * it. One prepares (handlers that were handed over), the other words (whole answers, long records of streams): an
 * answer that is there does not wait behind a request that is still being read.
 *
 * A request that is worked for sleeps in the library until its work has been done, also where the answer is begun or
 * woken meanwhile; a late answer sleeps on until its reply is there. While it waits for its turn it may be dropped
 * (the client has left, the server stops) or refused (its time is over); once its work runs it is let run, and only
 * then the request may end. The queues are lists through the slots: together they cannot be longer than these are
 * many. */
#include "base/check.h"
#include "http/internal.h"
#include "plat/thread.h"

enum { OVERTAKING_MOST = 16 }; /* in a row: then the first has its turn, whatever comes */

/* Lock held, as in all of the below but the thread itself. */
static void append(http_request *r, http_lane lane) {
    CHECK(http_locked(r->server));
    http_work *w = &r->server->work[lane];
    http_request **end = &w->first;
    while (*end) end = &(*end)->next_work;
    *end = r;
    r->next_work = NULL;
    r->lane = lane;
    r->work_state = WORK_WAITS;
    pthread_cond_signal(&w->wanted);
}

static void take_out(http_request *r) {
    CHECK(http_locked(r->server));
    http_request **at = &r->server->work[r->lane].first;
    while (*at != r) at = &(*at)->next_work;
    *at = r->next_work;
    r->conn->deadline_ns = 0;
}

static bool is_short(const http_request *r) { return r->buffer.len <= HTTP_INLINE_BYTES; } /* its body */

/* In order of arrival, but short bodies overtake long ones: many of these must not keep everyone else waiting. */
static http_request *next_of(http_work *w) {
    http_request *next = w->first;
    if (!next || is_short(next) || w->overtaking == OVERTAKING_MOST) return w->overtaking = 0, next;
    while (next && !is_short(next)) next = next->next_work;
    w->overtaking = next ? w->overtaking + 1 : 0;
    return next ? next : w->first;
}

/* Out of the worker's hands, and awake where the event thread has something to do. */
static void let_go(http_request *r) {
    CHECK(http_locked(r->server));
    bool over = r->client_gone || r->overdue || r->server->stopping;
    r->work_state = WORK_NONE;
    if (over) r->word = NULL;
    if (r->word) append(r, HTTP_WORDING);
    else if (over || r->answer != ANSWER_LATE || r->has_reply || r->first) http_wake_locked(r);
}

bool http_work_enqueue(http_request *r) {
    http_server *s = r->server;
    http_lock(s);
    bool taken = !s->stopping;
    if (taken) {
        r->conn->deadline_ns = http_wait_deadline(s);
        append(r, HTTP_PREPARING);
        http_watch_client(r->conn);
        r->asleep = true;
        MHD_suspend_connection(r->mhd);
    }
    http_unlock(s);
    return taken;
}

void http_word(http_request *r, http_handler *word, void *ctx) {
    http_server *s = r->server;
    http_lock(s);
    CHECK(!r->word && (r->answer == ANSWER_LATE || r->answer == ANSWER_STREAM));
    r->word = word;
    r->word_ctx = ctx;
    bool over = r->client_gone || s->stopping;
    if (r->work_state == WORK_NONE && !over) append(r, HTTP_WORDING); /* else: once it has been prepared, or never */
    http_unlock(s);
}

void http_work_drop(http_request *r, bool overdue) {
    take_out(r);
    r->overdue = overdue;
    let_go(r);
}

/* Lock let go meanwhile. */
static void do_work(http_request *r) {
    http_server *s = r->server;
    bool prepares = r->lane == HTTP_PREPARING;
    http_handler *work = prepares ? r->work : r->word;
    void *ctx = prepares ? r->work_ctx : r->word_ctx;
    if (!prepares) r->word = NULL;
    r->work_state = WORK_RUNS;
    http_unlock(s);
    work(ctx, r);
    CHECK(r->answer != ANSWER_NONE); /* it replies or streams, as a handler does */
    http_lock(s);
    let_go(r);
}

static void *run(void *arg) {
    http_work *w = arg;
    http_server *s = w->server;
    plat_thread_touch_stack();
    http_lock(s);
    for (;;) {
        while (!w->first && !s->stopping) plat_cond_wait(&w->wanted, &s->lock);
        http_request *r = next_of(w);
        if (!r) break;
        take_out(r);
        do_work(r);
    }
    http_unlock(s);
    return NULL;
}

bool http_work_start(http_server *s, err *e) {
    static const char *const names[HTTP_LANES] = {"http worker", "http wording"};
    bool good = true;
    for (int i = 0; i < HTTP_LANES && good; i++) {
        http_work *w = &s->work[i];
        w->server = s;
        pthread_cond_init(&w->wanted, NULL);
        good = w->started = plat_thread_start_with(&w->thread, names[i], HTTP_WORK_STACK_BYTES, run, w, e);
    }
    return good;
}

void http_work_stop(http_server *s) {
    for (int i = 0; i < HTTP_LANES; i++) {
        http_work *w = &s->work[i];
        if (!w->started) continue;
        http_lock(s);
        pthread_cond_signal(&w->wanted);
        http_unlock(s);
        pthread_join(w->thread, NULL);
        pthread_cond_destroy(&w->wanted);
    }
}
