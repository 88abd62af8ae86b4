/* The counter of malloc's calls: exact, and of the calling thread alone. */
#include "../test.h"

#include <errno.h>
#include <malloc.h>
#include <pthread.h>
#include <stdio.h>
#include <time.h>

#include "plat/kernel.h"

static void *volatile kept; /* so that no pair of calls is optimised away */

#define COUNTS(n, ...)                                      \
    do {                                                    \
        uint64_t before = plat_malloc_calls();              \
        __VA_ARGS__;                                        \
        assert_int_equal(plat_malloc_calls() - before, n);  \
    } while (0)

static void counts_every_kind_exactly(void **state) {
    (void)state;
    if (!plat_malloc_is_counted()) skip();
    COUNTS(0, (void)0);
    COUNTS(1, kept = malloc(10));
    COUNTS(1, kept = realloc(kept, 100000));
    COUNTS(1, free(kept));
    COUNTS(1, kept = calloc(3, 7));
    for (int i = 0; i < 21; i++) assert_int_equal(((char *)kept)[i], 0);
    COUNTS(1, free(kept));
    COUNTS(1, kept = aligned_alloc(64, 128));
    assert_int_equal((uintptr_t)kept % 64, 0);
    free(kept);
    COUNTS(1, kept = memalign(4096, 10));
    assert_int_equal((uintptr_t)kept % 4096, 0);
    free(kept);
    void *p = NULL;
    COUNTS(1, assert_int_equal(posix_memalign(&p, 256, 10), 0));
    assert_int_equal((uintptr_t)p % 256, 0);
    free(p);
    COUNTS(1, assert_int_equal(posix_memalign(&p, 24, 10), EINVAL));
    COUNTS(1, assert_int_equal(posix_memalign(&p, 4, 10), EINVAL));
    COUNTS(2, { kept = strdup("a library's call counts as well"); free(kept); });
    COUNTS(1000, for (int i = 0; i < 500; i++) { kept = malloc(32); free(kept); });
    COUNTS(0, { char text[32]; snprintf(text, sizeof text, "%d", 5); });
}

static void *elsewhere(void *arg) {
    uint64_t before = plat_malloc_calls();
    for (int i = 0; i < 100; i++) {
        void *volatile p = malloc(10);
        free(p);
    }
    __atomic_store_n((uint64_t *)arg, plat_malloc_calls() - before, __ATOMIC_RELEASE);
    return NULL;
}

static void other_threads_do_not_count_here(void **state) {
    (void)state;
    if (!plat_malloc_is_counted()) skip();
    pthread_t thread;
    uint64_t theirs = 0;
    assert_int_equal(pthread_create(&thread, NULL, elsewhere, &theirs), 0);
    COUNTS(0, {
        struct timespec wait = {0, 1000000};
        while (__atomic_load_n(&theirs, __ATOMIC_ACQUIRE) == 0) nanosleep(&wait, NULL);
    });
    pthread_join(thread, NULL);
    assert_int_equal(theirs, 200);
}

static void says_when_it_does_not_count(void **state) {
    (void)state;
    if (plat_malloc_is_counted()) skip();
    kept = malloc(10);
    free(kept);
    assert_int_equal(plat_malloc_calls(), 0);
}

static void heap_reading_follows_malloc(void **state) {
    (void)state;
    if (!plat_malloc_is_counted()) skip();
    plat_heap before, during, after;
    enum { BLOCKS = 1000, BYTES = 4096 };
    static void *blocks[BLOCKS];
    plat_heap_read(&before);
    for (int i = 0; i < BLOCKS; i++) blocks[i] = malloc(BYTES);
    plat_heap_read(&during);
    assert_in_range(during.in_use_bytes - before.in_use_bytes, BLOCKS * BYTES, BLOCKS * (BYTES + 64));
    for (int i = 0; i < BLOCKS; i++) free(blocks[i]);
    plat_heap_trim();
    plat_heap_read(&after);
    assert_int_equal(after.in_use_bytes, before.in_use_bytes);
    assert_true(after.arena_bytes < during.arena_bytes);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(counts_every_kind_exactly),
        cmocka_unit_test(other_threads_do_not_count_here),
        cmocka_unit_test(says_when_it_does_not_count),
        cmocka_unit_test(heap_reading_follows_malloc),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
