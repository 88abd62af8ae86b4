/* kv/pool — one pool of pages for the keys and values of every sequence and of the prompt cache.
 *
 * Owns the address space, which pages are committed, free or used, how many hold each (reference counts), and the
 * ledger account `kv`. Pages come in classes (layer group × type), each of one size and with an address range of
 * its own; what they share is the budget in bytes. A page is reserved in the ledger when the kernel is asked for
 * it (on first use) and released when it is given back, so the account is what is resident. A free page of one
 * class makes way when another class needs its bytes. Callers: the rest of kv/, tests. One thread at a time.
 */
#ifndef KV_POOL_H
#define KV_POOL_H

#include "base/err.h"
#include "kv/shape.h"
#include "mem/ledger.h"

typedef struct kv_pool kv_pool;

/* The pool's own tables; the pages beside them are at most budget_bytes. */
size_t kv_pool_plan_bytes(const kv_shape *s, size_t budget_bytes);
/* Tables come from the ledger account `kv` at once; pages as they are used. */
kv_pool *kv_pool_new(const kv_shape *s, size_t budget_bytes, mem_ledger *l, err *e);
void kv_pool_free(kv_pool *p);          /* CHECKs that every page came back */
size_t kv_pool_bytes(const kv_pool *p); /* tables and committed pages: equals the ledger row */

/* A page with undefined content and one reference. ERR_BUSY when the budget is in use; ERR_MEMORY when the line or
 * the kernel refuses. */
uint8_t *kv_pool_take(kv_pool *p, uint32_t group, kv_type type, err *e);
void kv_pool_ref(kv_pool *p, uint8_t *page);
void kv_pool_unref(kv_pool *p, uint8_t *page); /* the last one frees it */
uint32_t kv_pool_refs(const kv_pool *p, const uint8_t *page);
size_t kv_pool_page_bytes(const kv_pool *p, const uint8_t *page);

/* Marks that one of the page's references is the cache's: while it is the only one, the page is evictable. */
void kv_pool_set_cached(kv_pool *p, uint8_t *page, bool cached);
bool kv_pool_cached(const kv_pool *p, const uint8_t *page);

/* Gives free committed pages back to the kernel until at most keep_bytes of them stay; returns bytes. */
size_t kv_pool_trim(kv_pool *p, size_t keep_bytes);
/* A smaller or larger budget, at most the one it was made with. Pages in use above it stay until they are freed. */
void kv_pool_resize(kv_pool *p, size_t budget_bytes);
size_t kv_pool_full_bytes(const kv_pool *p); /* the budget it was made with */

typedef struct kv_pool_counts {
    size_t full_bytes; /* the budget it was made with */
    size_t budget_bytes, used_bytes, evictable_bytes, committed_bytes;
    uint32_t used_pages, committed_pages;
} kv_pool_counts;
void kv_pool_read(const kv_pool *p, kv_pool_counts *out);

/* For tests: CHECKs the pool against itself, and every page's references against how often it was seen since
 * kv_pool_check_begin. */
void kv_pool_check_begin(kv_pool *p);
void kv_pool_see(kv_pool *p, const uint8_t *page);
void kv_pool_check_end(const kv_pool *p);

#endif
