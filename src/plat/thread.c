#include "plat/thread.h"

#include <limits.h>
#include <linux/futex.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "plat/affinity.h"

#ifdef PLIMSOLL_SANITIZED
enum { STACK_BYTES = 4 * PLAT_THREAD_STACK_BYTES }; /* instrumented frames are several times larger */
#else
enum { STACK_BYTES = PLAT_THREAD_STACK_BYTES };
#endif

bool plat_thread_start(pthread_t *thread, const char *name, void *(*fn)(void *), void *arg, err *e) {
    return plat_thread_start_with(thread, name, STACK_BYTES, fn, arg, e);
}

bool plat_thread_start_with(pthread_t *thread, const char *name, size_t stack_bytes, void *(*fn)(void *), void *arg,
                            err *e) {
    pthread_attr_t attr;
    int failure = pthread_attr_init(&attr);
    if (failure) return err_set(e, ERR_IO, "cannot start thread %s: %s", name, strerror(failure));
    failure = pthread_attr_setstacksize(&attr, stack_bytes);
    if (!failure) failure = pthread_attr_setguardsize(&attr, (size_t)sysconf(_SC_PAGESIZE));
    if (!failure) failure = pthread_create(thread, &attr, fn, arg);
    pthread_attr_destroy(&attr);
    if (failure) return err_set(e, ERR_IO, "cannot start thread %s: %s", name, strerror(failure));

    char short_name[16]; /* the kernel keeps 15 characters */
    snprintf(short_name, sizeof short_name, "%s", name);
    (void)pthread_setname_np(*thread, short_name);
    return true;
}

__attribute__((noinline)) void plat_thread_touch_stack(void) {
    volatile char stack[PLAT_THREAD_TOUCHED_BYTES];
    for (size_t at = 0; at < sizeof stack; at += 4096) stack[at] = 0;
}

void plat_thread_pin(int index) {
    int core = plat_affinity_nth(index);
    if (core < 0) return;
    plat_affinity one;
    memset(&one, 0, sizeof one);
    CPU_SET_S((size_t)core, sizeof one, one.sets);
    (void)sched_setaffinity(0, sizeof one, one.sets);
}

void plat_cond_init(pthread_cond_t *cond) {
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(cond, &attr);
    pthread_condattr_destroy(&attr);
}

struct timespec plat_in_ms(uint32_t ms) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    t.tv_nsec += (long)(ms % 1000) * 1000000;
    t.tv_sec += ms / 1000 + t.tv_nsec / 1000000000;
    t.tv_nsec %= 1000000000;
    return t;
}

void plat_futex_wait(_Atomic uint32_t *word, uint32_t seen) {
    (void)syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, seen, NULL, NULL, 0);
}

void plat_futex_wake(_Atomic uint32_t *word, int n) {
    (void)syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, n, NULL, NULL, 0);
}
