/* Signals that end a server. A thread of its own takes them, so that nothing that hangs keeps the process. */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <unistd.h>

#include "base/log.h"
#include "cli/server_parts.h"
#include "plat/thread.h"

enum { AFTER_DRAIN_MS = 800 }; /* for what the process does behind the drain */

static struct {
    uint32_t drain_timeout_ms;
    _Atomic bool waits; /* somebody does, and drains then */
    _Atomic int status; /* when it must end at once */
    pthread_mutex_t lock;
    pthread_cond_t asked_for;
    bool asked;
} stopping = {.status = 1, .lock = PTHREAD_MUTEX_INITIALIZER, .asked_for = PTHREAD_COND_INITIALIZER};

static void set_of(sigset_t *set) {
    sigemptyset(set);
    sigaddset(set, SIGTERM);
    sigaddset(set, SIGINT);
}

static void tell(void) {
    pthread_mutex_lock(&stopping.lock);
    stopping.asked = true;
    pthread_cond_broadcast(&stopping.asked_for);
    pthread_mutex_unlock(&stopping.lock);
}

static struct timespec time_of(uint64_t ms) {
    return (struct timespec){(time_t)(ms / 1000), (long)(ms % 1000) * 1000000};
}

static void *take_signals(void *unused) {
    (void)unused;
    sigset_t set;
    int number;
    set_of(&set);
    sigwait(&set, &number);
    if (!atomic_load(&stopping.waits)) { /* nobody is served yet: nothing to wait for */
        log_info("serve", "signal %d: ends before it was ready", number);
        _exit(0);
    }
    log_info("serve", "signal %d", number);
    tell();
    struct timespec left = time_of((uint64_t)stopping.drain_timeout_ms + AFTER_DRAIN_MS);
    while ((number = sigtimedwait(&set, NULL, &left)) < 0 && errno == EINTR) {} /* a second one does not wait */
    if (number < 0) log_error("serve", "something does not end: the process ends without it");
    _exit(number < 0 ? atomic_load(&stopping.status) : 1);
}

bool server_take_signals(uint32_t drain_timeout_ms, err *e) {
    pthread_t thread;
    sigset_t set;
    set_of(&set);
    stopping.drain_timeout_ms = drain_timeout_ms;
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGHUP, SIG_IGN); /* a closed terminal ends nobody's answer; there is nothing to read again */
    if (!plat_thread_start(&thread, "signals", take_signals, NULL, e)) return false;
    pthread_detach(thread);
    return true;
}

void server_will_wait(void) { atomic_store(&stopping.waits, true); }

void server_wait_for_signal(void) {
    server_will_wait();
    pthread_mutex_lock(&stopping.lock);
    while (!stopping.asked) pthread_cond_wait(&stopping.asked_for, &stopping.lock);
    pthread_mutex_unlock(&stopping.lock);
}

void server_has_drained(void) { atomic_store(&stopping.status, 0); }
