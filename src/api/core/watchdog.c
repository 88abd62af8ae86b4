/* Notices what never comes back: a step, a mask, the sampling, the preparing of a request or the wording of its answer.
 * By a thread that waits for none of them, and reads what they are at without a lock. It says so, and ends nobody:
 * /health names the request, /readyz turns balancers away, and SIGTERM ends the process all the same. */
#include <errno.h>
#include <stdio.h>

#include "api/core/core.h"
#include "base/log.h"
#include "plat/thread.h"

enum { LOOK_MS = 500, STUCK_MS = 4000 }; /* steps beat with every layer: none takes so long on what it is run */

static bool is_stuck(const plat_pulse *p, plat_pulse_view *out) {
    return plat_pulse_read(p, out) && out->still_ms >= STUCK_MS;
}

bool watchdog_worker_stuck(api *a, plat_pulse_view *out) {
    return is_stuck(&a->preparing, out) || is_stuck(&a->wording, out);
}

bool watchdog_stuck(api *a, plat_pulse_view *out) {
    return watchdog_worker_stuck(a, out) || (a->sched && is_stuck(sched_pulse(a->sched), out));
}

void watchdog_put(api *a, json_writer *w) {
    plat_pulse_view v;
    json_key(w, "stuck");
    if (!watchdog_stuck(a, &v)) {
        json_null(w);
        return;
    }
    json_object_start(w);
    json_put_string(w, "in", str_of(v.what));
    json_put_string(w, "request", str_of(v.who));
    json_put_uint(w, "others", v.more);
    json_put_uint(w, "for_ms", v.still_ms);
    json_object_end(w);
}

static void look(api *a, uint64_t *said_ns) {
    plat_pulse_view v;
    if (!watchdog_stuck(a, &v)) {
        if (*said_ns) log_warn("watch", "it goes on");
        *said_ns = 0;
    } else if (*said_ns != v.began_ns) {
        *said_ns = v.began_ns; /* once */
        char others[32] = "";
        if (v.more) snprintf(others, sizeof others, " and %u %s", v.more, counted(v.more, "other", "others"));
        log_error("watch",
                  "the %s of request %s%s has not moved on for %llu ms; if it never does, only a restart helps", v.what,
                  *v.who ? v.who : "(unnamed)", others, (unsigned long long)v.still_ms);
    }
}

static void *watch(void *arg) {
    api *a = arg;
    uint64_t said_ns = 0;
    pthread_mutex_lock(&a->watchdog.lock);
    while (!a->watchdog.stopping) {
        struct timespec until = plat_in_ms(LOOK_MS);
        if (pthread_cond_timedwait(&a->watchdog.stop, &a->watchdog.lock, &until) == ETIMEDOUT) look(a, &said_ns);
    }
    pthread_mutex_unlock(&a->watchdog.lock);
    return NULL;
}

bool watchdog_start(api *a, err *e) {
    pthread_mutex_init(&a->watchdog.lock, NULL);
    plat_cond_init(&a->watchdog.stop);
    return a->watchdog.started = plat_thread_start(&a->watchdog.thread, "watchdog", watch, a, e);
}

void watchdog_stop(api *a) {
    if (!a->watchdog.started) return;
    pthread_mutex_lock(&a->watchdog.lock);
    a->watchdog.stopping = true;
    pthread_cond_signal(&a->watchdog.stop);
    pthread_mutex_unlock(&a->watchdog.lock);
    pthread_join(a->watchdog.thread, NULL);
    a->watchdog.started = false;
}
