/* plat/thread — threads with small known stacks, waits with a limit, and sleeping on a word. */
#ifndef PLAT_THREAD_H
#define PLAT_THREAD_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include "base/err.h"

enum { PLAT_THREAD_STACK_BYTES = 256 * 1024 };

/* What plat_thread_touch_stack makes present. */
enum { PLAT_THREAD_TOUCHED_BYTES = PLAT_THREAD_STACK_BYTES / 4 * 3 };

/* Starts fn(arg) with the stack size above, or another, named for ps and gdb. Join with pthread_join. */
bool plat_thread_start_with(pthread_t *thread, const char *name, size_t stack_bytes, void *(*fn)(void *), void *arg,
                            err *e);
bool plat_thread_start(pthread_t *thread, const char *name, void *(*fn)(void *), void *arg, err *e);

/* Makes so much of the calling thread's stack present, as planned: what it holds does not grow with use. */
void plat_thread_touch_stack(void);

/* Binds the calling thread to the index-th usable core. Failure is not an error. */
void plat_thread_pin(int index);

/* A condition to wait for by the monotonic clock, and what that clock will say so many ms from now. */
void plat_cond_init(pthread_cond_t *cond);
struct timespec plat_in_ms(uint32_t ms);

/* Sleeps while *word == seen (may wake early); wakes up to n sleepers. */
void plat_futex_wait(_Atomic uint32_t *word, uint32_t seen);
void plat_futex_wake(_Atomic uint32_t *word, int n);

static inline void plat_cpu_relax(void) {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

#endif
