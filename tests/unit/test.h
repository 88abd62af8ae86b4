/* What every cmocka program includes: the headers it wants, in the order it wants them. */
#ifndef TESTS_UNIT_TEST_H
#define TESTS_UNIT_TEST_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "base/err.h"

/* An allocator over malloc that refuses the n-th request (0: never) and knows what is outstanding. */
typedef struct test_alloc {
    base_alloc alloc;
    size_t outstanding_bytes, peak_bytes, calls, fail_at;
} test_alloc;

static void *test_alloc_resize(void *ctx, void *ptr, size_t old_bytes, size_t new_bytes) {
    test_alloc *t = ctx;
    if (new_bytes == 0) {
        t->outstanding_bytes -= old_bytes;
        free(ptr);
        return NULL;
    }
    if (++t->calls == t->fail_at) return NULL;
    void *p = malloc(new_bytes); /* always moves, so that stale pointers show */
    if (!p) return NULL;
    memset(p, 0xA5, new_bytes);
    if (ptr) memcpy(p, ptr, old_bytes < new_bytes ? old_bytes : new_bytes);
    free(ptr);
    t->outstanding_bytes += new_bytes - old_bytes;
    if (t->outstanding_bytes > t->peak_bytes) t->peak_bytes = t->outstanding_bytes;
    return p;
}

static inline void test_alloc_init(test_alloc *t, size_t fail_at) {
    *t = (test_alloc){.alloc = {test_alloc_resize, NULL}, .fail_at = fail_at};
    t->alloc.ctx = t;
}

#define assert_ok(call, e)                                                              \
    do {                                                                                \
        if (!(call)) fail_msg("%s: %s", #call, (e).message);                            \
    } while (0)

#endif
