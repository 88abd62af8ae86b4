#include "kv/pool.h"

#include "base/check.h"
#include "mem/arena.h"
#include "plat/vm.h"

struct kv_pool {
    kv_shape shape;
    mem_ledger *ledger;
    mem_arena arena; /* this struct and its tables */
    uint8_t *pages;
    size_t page_bytes;
    uint32_t n_pages, n_used, n_committed;
    /* Free pages: the committed ones as a stack (latest first, still warm), and the rest as a stack that
     * starts in address order. */
    uint32_t *free_committed, n_free_committed;
    uint32_t *free_bare, n_free_bare;
    uint8_t *in_use; /* per page: CHECKs double take and double give */
};

static size_t head_bytes(const kv_shape *s) { return (size_t)(s->head_dim + s->head_dim_v) * KV_PAGE_TOKENS * 2; }

size_t kv_page_bytes(const kv_shape *s) { return plat_vm_round(s->n_layers * s->n_kv_heads * head_bytes(s)); }

device_kv_layer kv_layer_view(const kv_shape *s, uint32_t layer) {
    size_t k_stride = (size_t)s->head_dim * KV_PAGE_TOKENS * 2, v_stride = (size_t)s->head_dim_v * KV_PAGE_TOKENS * 2;
    size_t start = layer * s->n_kv_heads * head_bytes(s);
    return (device_kv_layer){start, start + s->n_kv_heads * k_stride, k_stride, v_stride};
}

static kv_pool *layout(mem_arena *a, uint32_t n_pages) {
    kv_pool *p = mem_arena_take(a, sizeof *p, 64);
    uint32_t *committed = mem_arena_take(a, n_pages * sizeof *committed, 64);
    uint32_t *bare = mem_arena_take(a, n_pages * sizeof *bare, 64);
    uint8_t *in_use = mem_arena_take(a, n_pages, 64);
    if (p) *p = (kv_pool){.n_pages = n_pages, .free_committed = committed, .free_bare = bare, .in_use = in_use};
    return p;
}

size_t kv_pool_plan_bytes(const kv_shape *s, uint32_t n_pages) {
    (void)s;
    mem_arena a;
    mem_arena_measure(&a);
    layout(&a, n_pages);
    return plat_vm_round(a.used);
}

kv_pool *kv_pool_new(const kv_shape *s, uint32_t n_pages, mem_ledger *l, err *e) {
    mem_arena a;
    if (!mem_arena_init(&a, l, MEM_KV, kv_pool_plan_bytes(s, n_pages), false, e)) return NULL;
    size_t page_bytes = kv_page_bytes(s);
    uint8_t *pages = plat_vm_reserve(n_pages * page_bytes, e);
    if (!pages) {
        mem_arena_free(&a);
        return NULL;
    }
    kv_pool *p = layout(&a, n_pages);
    p->shape = *s;
    p->ledger = l;
    p->arena = a;
    p->pages = pages;
    p->page_bytes = page_bytes;
    for (uint32_t i = 0; i < n_pages; i++) {
        p->free_bare[i] = n_pages - 1 - i;
        p->in_use[i] = 0;
    }
    p->n_free_bare = n_pages;
    return p;
}

void kv_pool_free(kv_pool *p) {
    if (!p) return;
    CHECK(p->n_used == 0);
    kv_pool_trim(p, 0);
    plat_vm_release(p->pages, p->n_pages * p->page_bytes);
    mem_arena arena = p->arena; /* p lies in it */
    mem_arena_free(&arena);
}

size_t kv_pool_bytes(const kv_pool *p) { return p->arena.size + p->n_committed * p->page_bytes; }

static bool commit(kv_pool *p, uint32_t index, err *e) {
    if (!mem_ledger_reserve(p->ledger, MEM_KV, p->page_bytes, e)) return false;
    if (plat_vm_commit(p->pages + index * p->page_bytes, p->page_bytes, false, e)) return true;
    mem_ledger_release(p->ledger, MEM_KV, p->page_bytes);
    return false;
}

uint8_t *kv_pool_take(kv_pool *p, err *e) {
    uint32_t index;
    if (p->n_free_committed) {
        index = p->free_committed[--p->n_free_committed];
    } else if (p->n_free_bare) {
        index = p->free_bare[p->n_free_bare - 1];
        if (!commit(p, index, e)) return NULL;
        p->n_free_bare--;
        p->n_committed++;
    } else {
        err_set(e, ERR_BUSY, "all %u KV pages are in use", p->n_pages);
        return NULL;
    }
    CHECK(!p->in_use[index]);
    p->in_use[index] = 1;
    p->n_used++;
    return p->pages + index * p->page_bytes;
}

void kv_pool_give(kv_pool *p, uint8_t *page) {
    size_t offset = (size_t)(page - p->pages);
    uint32_t index = (uint32_t)(offset / p->page_bytes);
    CHECK(index < p->n_pages && offset % p->page_bytes == 0 && p->in_use[index]);
    p->in_use[index] = 0;
    p->n_used--;
    p->free_committed[p->n_free_committed++] = index;
}

size_t kv_pool_trim(kv_pool *p, uint32_t keep_pages) {
    size_t freed = 0;
    while (p->n_free_committed > keep_pages) {
        uint32_t index = p->free_committed[--p->n_free_committed];
        plat_vm_decommit(p->pages + index * p->page_bytes, p->page_bytes);
        mem_ledger_release(p->ledger, MEM_KV, p->page_bytes);
        p->free_bare[p->n_free_bare++] = index;
        p->n_committed--;
        freed += p->page_bytes;
    }
    return freed;
}

void kv_pool_read(const kv_pool *p, kv_pool_counts *out) {
    *out = (kv_pool_counts){p->n_pages, p->n_used, p->n_committed, p->page_bytes};
}
