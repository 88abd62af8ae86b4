/* base/alloc — the injected allocator.
 *
 * base/, format/ and text/ never call malloc: whoever owns an object hands it one of these, so that
 * its bytes are reserved in that owner's ledger account. mem/heap and mem/arena implement it.
 */
#ifndef BASE_ALLOC_H
#define BASE_ALLOC_H

#include <stdbool.h>
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

/* Room for want items of an array, by half more than it has: false when refused, and it stands as it was. */
static inline bool alloc_grow(const base_alloc *a, void **items, size_t *cap, size_t want, size_t item_bytes) {
    if (want <= *cap) return true;
    size_t grown_cap = *cap + *cap / 2 + 64;
    if (grown_cap < want) grown_cap = want;
    void *grown = a->resize(a->ctx, *items, *cap * item_bytes, grown_cap * item_bytes);
    if (!grown) return false;
    *items = grown;
    *cap = grown_cap;
    return true;
}

#endif
