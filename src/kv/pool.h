/* kv/pool — one pool of fixed-size pages for the keys and values of every session.
 *
 * Owns the address space of the pool, which pages are committed, free or used, and the ledger account
 * `kv`. A page holds KV_PAGE_TOKENS tokens of all layers. It is reserved in the ledger when the kernel
 * is asked for it (on first use) and released when it is given back (kv_pool_trim), so the account is
 * what is resident. Callers: engine/. Knows shapes, not requests or architectures. One thread.
 *
 * Page layout: layer after layer; in a layer all K heads, then all V heads: K as f16 [head_dim][32],
 * V as f16 [32][head_dim_v] (compute.h says why).
 */
#ifndef KV_POOL_H
#define KV_POOL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "device/device.h"
#include "mem/ledger.h"

enum { KV_PAGE_TOKENS = 32 };

typedef struct kv_shape {
    uint32_t n_layers, n_kv_heads, head_dim, head_dim_v;
} kv_shape;

size_t kv_page_bytes(const kv_shape *s); /* whole 4 KiB pages */
device_kv_layer kv_layer_view(const kv_shape *s, uint32_t layer);
static inline uint32_t kv_pages_for(uint32_t n_tokens) { return (n_tokens + KV_PAGE_TOKENS - 1) / KV_PAGE_TOKENS; }

typedef struct kv_pool kv_pool;

/* The pool's own tables; the pages beside them are n_pages · kv_page_bytes. */
size_t kv_pool_plan_bytes(const kv_shape *s, uint32_t n_pages);
/* Tables come from the ledger account `kv` at once; pages as they are used. */
kv_pool *kv_pool_new(const kv_shape *s, uint32_t n_pages, mem_ledger *l, err *e);
void kv_pool_free(kv_pool *p); /* CHECKs that every page came back */
size_t kv_pool_bytes(const kv_pool *p); /* tables and committed pages: equals the ledger row */

/* A page with undefined content. ERR_BUSY when all are in use; ERR_MEMORY when the line or the kernel refuses. */
uint8_t *kv_pool_take(kv_pool *p, err *e);
void kv_pool_give(kv_pool *p, uint8_t *page);

/* Gives free committed pages back to the kernel until at most keep_pages of them stay; returns bytes. */
size_t kv_pool_trim(kv_pool *p, uint32_t keep_pages);

typedef struct kv_pool_counts {
    uint32_t n_pages, used, committed;
    size_t page_bytes;
} kv_pool_counts;
void kv_pool_read(const kv_pool *p, kv_pool_counts *out);

#endif
