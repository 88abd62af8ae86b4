/* plat/mutex — a lock that knows who has it, so that a function can say at its entry what it asks of its caller.
 *
 * Owns a pthread mutex and the mark of the thread that holds it. Callers: every room whose functions run with or
 * without a lock; CHECK(plat_mutex_held(&x->lock)) is how such a contract is written. Refuses, by CHECK: to be taken
 * twice by one thread, to be let go or waited with by another, to be destroyed while it is held. */
#ifndef PLAT_MUTEX_H
#define PLAT_MUTEX_H

#include <pthread.h>
#include <stdbool.h>
#include <time.h>

typedef struct plat_mutex {
    pthread_mutex_t lock;
    const void *_Atomic owner; /* plat_thread_mark of who holds it; NULL: nobody */
} plat_mutex;

#define PLAT_MUTEX_INITIALIZER {.lock = PTHREAD_MUTEX_INITIALIZER}

void plat_mutex_init(plat_mutex *m);
void plat_mutex_destroy(plat_mutex *m);
void plat_mutex_lock(plat_mutex *m);
void plat_mutex_unlock(plat_mutex *m);
bool plat_mutex_held(const plat_mutex *m); /* by the calling thread */

/* On a condition of plat_cond_init. False: the time has come (plat_in_ms). */
void plat_cond_wait(pthread_cond_t *cond, plat_mutex *m);
bool plat_cond_wait_until(pthread_cond_t *cond, plat_mutex *m, const struct timespec *until);

/* An address that no two living threads share; never NULL. */
const void *plat_thread_mark(void);

#endif
