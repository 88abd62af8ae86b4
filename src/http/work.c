/* The worker: one thread for handlers that may take long, so that whatever a body asks for, the event thread is free.
 *
 * A request that was handed over sleeps in the library until its work has been done, also where the answer is begun or
 * woken meanwhile. While it waits for its turn it may be dropped (the client has left, the server stops) or refused
 * (its time is over); once its work runs it is let run. The queue is a list through the slots: it cannot be longer
 * than they are many. */
#include "base/check.h"
#include "http/internal.h"
#include "plat/thread.h"

/* Lock held, as in all of the below but the thread itself. */
static void append(http_work *w, http_request *r) {
    http_request **end = &w->first;
    while (*end) end = &(*end)->next_work;
    *end = r;
    r->next_work = NULL;
}

static void take_out(http_work *w, http_request *r) {
    http_request **at = &w->first;
    while (*at != r) at = &(*at)->next_work;
    *at = r->next_work;
    r->conn->deadline_ns = 0;
}

static void resume(http_request *r) {
    r->work_state = WORK_NONE;
    r->asleep = false;
    MHD_resume_connection(r->mhd);
}

bool http_work_enqueue(http_request *r) {
    http_server *s = r->server;
    http_lock(s);
    bool taken = !s->stopping;
    if (taken) {
        r->work_state = WORK_WAITS;
        r->conn->deadline_ns = http_wait_deadline(s);
        append(&s->work, r);
        http_watch_client(r->conn);
        r->asleep = true;
        MHD_suspend_connection(r->mhd);
        pthread_cond_signal(&s->work.wanted);
    }
    http_unlock(s);
    return taken;
}

void http_work_drop(http_request *r, bool overdue) {
    take_out(&r->server->work, r);
    r->overdue = overdue;
    resume(r);
}

static void *work(void *ctx) {
    http_server *s = ctx;
    plat_thread_touch_stack();
    http_lock(s);
    for (;;) {
        while (!s->work.first && !s->stopping) pthread_cond_wait(&s->work.wanted, &s->lock);
        http_request *r = s->work.first;
        if (!r) break;
        take_out(&s->work, r);
        r->work_state = WORK_RUNS;
        http_unlock(s);
        r->work(r->work_ctx, r);
        CHECK(r->answer != ANSWER_NONE); /* it replies or streams, as a handler does */
        http_lock(s);
        resume(r);
    }
    http_unlock(s);
    return NULL;
}

bool http_work_start(http_server *s, err *e) {
    pthread_cond_init(&s->work.wanted, NULL);
    return s->work.started = plat_thread_start_with(&s->work.thread, "http worker", HTTP_WORK_STACK_BYTES, work, s, e);
}

void http_work_stop(http_server *s) {
    if (!s->work.started) return;
    http_lock(s);
    pthread_cond_signal(&s->work.wanted);
    http_unlock(s);
    pthread_join(s->work.thread, NULL);
    pthread_cond_destroy(&s->work.wanted);
}
