/* base/alloc — the injected allocator.
 *
 * base/, format/ and text/ never call malloc: whoever owns an object hands it one of these, so that
 * its bytes are reserved in that owner's ledger account. mem/heap and mem/arena implement it.
 */
#ifndef BASE_ALLOC_H
#define BASE_ALLOC_H

#include <stddef.h>
#include <string.h>

typedef struct base_alloc {
    /* new_bytes 0 frees and returns NULL; ptr NULL (old_bytes 0) allocates; otherwise the first
     * min(old, new) bytes are kept. Returns NULL when refused: the old block then stands. Blocks are
     * aligned to 16 bytes and their content is undefined. */
    void *(*resize)(void *ctx, void *ptr, size_t old_bytes, size_t new_bytes);
    void *ctx;
} base_alloc;

static inline void *alloc_bytes(const base_alloc *a, size_t bytes) {
    return a->resize(a->ctx, NULL, 0, bytes ? bytes : 1);
}

static inline void *alloc_zeroed(const base_alloc *a, size_t bytes) {
    void *p = alloc_bytes(a, bytes);
    return p ? memset(p, 0, bytes) : NULL;
}

/* bytes must be what was asked for. */
static inline void alloc_free(const base_alloc *a, void *ptr, size_t bytes) {
    if (ptr) a->resize(a->ctx, ptr, bytes ? bytes : 1, 0);
}

#endif
