#include "mem/heap.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"

/* Charged for each block: what malloc keeps beside it. Builds with slow checks put a header of our own
 * there, which remembers the size that was asked for. */
enum { BLOCK_OVERHEAD_BYTES = 16 };

#ifdef PLIMSOLL_SLOW_CHECKS
enum { HEADER_BYTES = BLOCK_OVERHEAD_BYTES };

static void *sealed(void *block, size_t bytes) {
    memcpy(block, &bytes, sizeof bytes);
    return (char *)block + HEADER_BYTES;
}
static void *unsealed(void *p, size_t bytes) {
    void *block = (char *)p - HEADER_BYTES;
    size_t asked;
    memcpy(&asked, block, sizeof asked);
    CHECK(asked == bytes);
    return block;
}
#else
enum { HEADER_BYTES = 0 };
static void *sealed(void *block, size_t bytes) {
    (void)bytes;
    return block;
}
static void *unsealed(void *p, size_t bytes) {
    (void)bytes;
    return p;
}
#endif

static bool reserve(mem_heap *h, size_t bytes, err *e) {
    if (!mem_ledger_reserve(h->ledger, h->account, bytes, e)) return false;
    h->now_bytes += bytes;
    return true;
}

static void release(mem_heap *h, size_t bytes) {
    CHECK(h->now_bytes >= bytes);
    h->now_bytes -= bytes;
    mem_ledger_release(h->ledger, h->account, bytes);
}

static bool no_memory(size_t bytes, err *e) {
    return err_set_memory(e, bytes, 0, "the system refuses %zu bytes", bytes);
}

void *mem_heap_take(mem_heap *h, size_t bytes, err *e) {
    if (bytes > SIZE_MAX / 2) return no_memory(bytes, e), NULL;
    if (!reserve(h, bytes + BLOCK_OVERHEAD_BYTES, e)) return NULL;
    void *block = malloc(bytes + HEADER_BYTES + (bytes + HEADER_BYTES == 0));
    if (!block) {
        release(h, bytes + BLOCK_OVERHEAD_BYTES);
        return no_memory(bytes, e), NULL;
    }
    h->blocks++;
    return sealed(block, bytes);
}

void *mem_heap_take_zeroed(mem_heap *h, size_t bytes, err *e) {
    void *p = mem_heap_take(h, bytes, e);
    return p ? memset(p, 0, bytes) : NULL;
}

void mem_heap_give(mem_heap *h, void *p, size_t bytes) {
    if (!p) return;
    CHECK(h->blocks > 0);
    free(unsealed(p, bytes));
    h->blocks--;
    release(h, bytes + BLOCK_OVERHEAD_BYTES);
}

/* The difference is reserved before a block grows and released after it has shrunk. */
static void *heap_regrow(mem_heap *h, void *p, size_t old_bytes, size_t new_bytes) {
    if (new_bytes > SIZE_MAX / 2) return NULL;
    bool grows = new_bytes > old_bytes;
    if (grows && !reserve(h, new_bytes - old_bytes, NULL)) return NULL;
    void *block = realloc(unsealed(p, old_bytes), new_bytes + HEADER_BYTES);
    if (!block) {
        if (grows) release(h, new_bytes - old_bytes);
        return NULL;
    }
    if (!grows) release(h, old_bytes - new_bytes);
    return sealed(block, new_bytes);
}

static void *heap_resize(void *ctx, void *ptr, size_t old_bytes, size_t new_bytes) {
    mem_heap *h = ctx;
    if (new_bytes == 0) {
        mem_heap_give(h, ptr, old_bytes);
        return NULL;
    }
    return ptr ? heap_regrow(h, ptr, old_bytes, new_bytes) : mem_heap_take(h, new_bytes, NULL);
}

void mem_heap_init(mem_heap *h, mem_ledger *l, mem_account account) {
    *h = (mem_heap){.ledger = l, .account = account, .alloc = {heap_resize, h}};
}

uint64_t mem_heap_bytes(const mem_heap *h) { return h->now_bytes; }
