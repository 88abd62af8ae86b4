#include "plat/mutex.h"

#include <stdatomic.h>

#include "base/check.h"

const void *plat_thread_mark(void) {
    static _Thread_local char mark;
    return &mark;
}

/* Relaxed: a thread asks only whether it is itself, and what it wrote it reads. */
static void set_owner(plat_mutex *m, const void *owner) {
    atomic_store_explicit(&m->owner, owner, memory_order_relaxed);
}

bool plat_mutex_held(const plat_mutex *m) {
    return atomic_load_explicit(&m->owner, memory_order_relaxed) == plat_thread_mark();
}

void plat_mutex_init(plat_mutex *m) {
    CHECK(pthread_mutex_init(&m->lock, NULL) == 0);
    set_owner(m, NULL);
}

void plat_mutex_destroy(plat_mutex *m) {
    CHECK(!atomic_load_explicit(&m->owner, memory_order_relaxed));
    CHECK(pthread_mutex_destroy(&m->lock) == 0);
}

void plat_mutex_lock(plat_mutex *m) {
    CHECK(!plat_mutex_held(m));
    CHECK(pthread_mutex_lock(&m->lock) == 0);
    set_owner(m, plat_thread_mark());
}

void plat_mutex_unlock(plat_mutex *m) {
    CHECK(plat_mutex_held(m));
    set_owner(m, NULL);
    CHECK(pthread_mutex_unlock(&m->lock) == 0);
}

void plat_cond_wait(pthread_cond_t *cond, plat_mutex *m) {
    CHECK(plat_mutex_held(m));
    set_owner(m, NULL);
    CHECK(pthread_cond_wait(cond, &m->lock) == 0);
    set_owner(m, plat_thread_mark());
}

bool plat_cond_wait_until(pthread_cond_t *cond, plat_mutex *m, const struct timespec *until) {
    CHECK(plat_mutex_held(m));
    set_owner(m, NULL);
    int rc = pthread_cond_timedwait(cond, &m->lock, until);
    set_owner(m, plat_thread_mark());
    return rc == 0;
}
