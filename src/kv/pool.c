#include "kv/pool.h"

#include "base/check.h"
#include "mem/arena.h"
#include "plat/vm.h"

enum { CLASSES = KV_GROUPS_MAX * KV_TYPES };

typedef struct page_state {
    uint32_t refs; /* 0: free */
    uint32_t seen; /* by a check */
    uint8_t cached, committed;
} page_state;

typedef struct page_class {
    uint8_t *base;
    size_t page_bytes;
    uint32_t n_pages;
    page_state *pages;
    /* Free pages: the committed ones as a stack (latest first, still warm), and the rest as a stack that starts
     * in address order. */
    uint32_t *free_committed, n_free_committed;
    uint32_t *free_bare, n_free_bare;
} page_class;

struct kv_pool {
    kv_shape shape;
    mem_ledger *ledger;
    mem_arena arena; /* this struct and its tables */
    size_t full_budget_bytes;
    kv_pool_counts counts;
    page_class classes[CLASSES];
};

static uint32_t n_classes(const kv_shape *s) { return s->n_groups * KV_TYPES; }

static kv_pool *layout(mem_arena *a, const kv_shape *s, size_t budget_bytes) {
    kv_pool *p = mem_arena_take(a, sizeof *p, 64);
    for (uint32_t c = 0; c < n_classes(s); c++) {
        page_class k = {.page_bytes = kv_page_bytes(s, c / KV_TYPES, (kv_type)(c % KV_TYPES))};
        size_t n = budget_bytes / k.page_bytes;
        k.n_pages = n < UINT32_MAX ? (uint32_t)n : UINT32_MAX;
        k.pages = mem_arena_take(a, k.n_pages * sizeof *k.pages, 64);
        k.free_committed = mem_arena_take(a, k.n_pages * sizeof *k.free_committed, 64);
        k.free_bare = mem_arena_take(a, k.n_pages * sizeof *k.free_bare, 64);
        if (p) p->classes[c] = k;
    }
    return p;
}

size_t kv_pool_plan_bytes(const kv_shape *s, size_t budget_bytes) {
    mem_arena a;
    mem_arena_measure(&a);
    layout(&a, s, budget_bytes);
    return plat_vm_round(a.used);
}

static void release_ranges(kv_pool *p) {
    for (uint32_t c = 0; c < n_classes(&p->shape); c++) {
        page_class *k = &p->classes[c];
        if (k->base) plat_vm_release(k->base, k->n_pages * k->page_bytes);
    }
    mem_arena arena = p->arena; /* p lies in it */
    mem_arena_free(&arena);
}

static bool reserve_ranges(kv_pool *p, err *e) {
    for (uint32_t c = 0; c < n_classes(&p->shape); c++) {
        page_class *k = &p->classes[c];
        if (k->n_pages && !(k->base = plat_vm_reserve(k->n_pages * k->page_bytes, e))) return false;
        for (uint32_t i = 0; i < k->n_pages; i++) {
            k->free_bare[i] = k->n_pages - 1 - i;
            k->pages[i] = (page_state){0};
        }
        k->n_free_bare = k->n_pages;
    }
    return true;
}

kv_pool *kv_pool_new(const kv_shape *s, size_t budget_bytes, mem_ledger *l, err *e) {
    mem_arena a = {0};
    if (!mem_arena_init(&a, l, MEM_KV, kv_pool_plan_bytes(s, budget_bytes), false, e)) return NULL;
    kv_pool *p = layout(&a, s, budget_bytes);
    p->shape = *s;
    p->ledger = l;
    p->arena = a;
    p->full_budget_bytes = budget_bytes;
    p->counts = (kv_pool_counts){.full_bytes = budget_bytes, .budget_bytes = budget_bytes};
    if (reserve_ranges(p, e)) return p;
    release_ranges(p);
    return NULL;
}

void kv_pool_free(kv_pool *p) {
    if (!p) return;
    CHECK(p->counts.used_pages == 0 && p->counts.used_bytes == 0 && p->counts.evictable_bytes == 0);
    kv_pool_trim(p, 0);
    release_ranges(p);
}

size_t kv_pool_bytes(const kv_pool *p) { return p->arena.size + p->counts.committed_bytes; }

/* ---- between free and committed ---- */

static bool commit(kv_pool *p, page_class *k, uint32_t index, err *e) {
    if (!mem_ledger_reserve(p->ledger, MEM_KV, k->page_bytes, e)) return false;
    if (!plat_vm_commit(k->base + index * k->page_bytes, k->page_bytes, false, e)) {
        mem_ledger_release(p->ledger, MEM_KV, k->page_bytes);
        return false;
    }
    mem_ledger_arrived(p->ledger, MEM_KV, k->page_bytes);
    k->pages[index].committed = 1;
    p->counts.committed_bytes += k->page_bytes;
    p->counts.committed_pages++;
    return true;
}

static void decommit(kv_pool *p, page_class *k, uint32_t index) {
    plat_vm_decommit(k->base + index * k->page_bytes, k->page_bytes);
    mem_ledger_release(p->ledger, MEM_KV, k->page_bytes);
    k->pages[index].committed = 0;
    k->free_bare[k->n_free_bare++] = index;
    p->counts.committed_bytes -= k->page_bytes;
    p->counts.committed_pages--;
}

static size_t free_committed_bytes(const kv_pool *p) { return p->counts.committed_bytes - p->counts.used_bytes; }

/* Gives back free pages of any class until `stop_at` of the committed bytes, or of the free ones, are left. */
static size_t give_back(kv_pool *p, size_t keep_free_bytes, size_t keep_committed_bytes) {
    size_t before = p->counts.committed_bytes;
    for (uint32_t c = 0; c < n_classes(&p->shape); c++) {
        page_class *k = &p->classes[c];
        while (k->n_free_committed && free_committed_bytes(p) > keep_free_bytes &&
               p->counts.committed_bytes > keep_committed_bytes)
            decommit(p, k, k->free_committed[--k->n_free_committed]);
    }
    return before - p->counts.committed_bytes;
}

size_t kv_pool_trim(kv_pool *p, size_t keep_bytes) { return give_back(p, keep_bytes, 0); }

void kv_pool_resize(kv_pool *p, size_t budget_bytes) {
    p->counts.budget_bytes = budget_bytes < p->full_budget_bytes ? budget_bytes : p->full_budget_bytes;
    give_back(p, 0, p->counts.budget_bytes);
}

size_t kv_pool_full_bytes(const kv_pool *p) { return p->full_budget_bytes; }

/* ---- pages ---- */

static page_class *class_of(const kv_pool *p, const uint8_t *page, uint32_t *index) {
    for (uint32_t c = 0; c < n_classes(&p->shape); c++) {
        const page_class *k = &p->classes[c];
        if (!k->base || page < k->base || page >= k->base + k->n_pages * k->page_bytes) continue;
        size_t offset = (size_t)(page - k->base);
        CHECK(offset % k->page_bytes == 0);
        *index = (uint32_t)(offset / k->page_bytes);
        return (page_class *)(uintptr_t)k;
    }
    CHECK(!"a page of this pool");
    return NULL;
}

static page_state *state_of(const kv_pool *p, const uint8_t *page, size_t *bytes) {
    uint32_t index;
    page_class *k = class_of(p, page, &index);
    *bytes = k->page_bytes;
    CHECK(k->pages[index].refs > 0);
    return &k->pages[index];
}

static bool evictable(const page_state *s) { return s->cached && s->refs == 1; }

uint8_t *kv_pool_take(kv_pool *p, uint32_t group, kv_type type, err *e) {
    page_class *k = &p->classes[group * KV_TYPES + type];
    if (p->counts.used_bytes + k->page_bytes > p->counts.budget_bytes) {
        err_set(e, ERR_BUSY, "all %zu bytes of KV pages are in use", p->counts.budget_bytes);
        return NULL;
    }
    uint32_t index;
    if (k->n_free_committed) {
        index = k->free_committed[--k->n_free_committed];
    } else {
        CHECK(k->n_free_bare > 0); /* a class has as many pages as the whole budget holds */
        if (p->counts.committed_bytes + k->page_bytes > p->counts.budget_bytes)
            give_back(p, 0, p->counts.budget_bytes - k->page_bytes);
        index = k->free_bare[k->n_free_bare - 1];
        /* Refused by the line or the kernel: free pages of other classes may make way for it. */
        if (!commit(p, k, index, e) && (!give_back(p, 0, 0) || !commit(p, k, index, e))) return NULL;
        k->n_free_bare--;
    }
    CHECK(k->pages[index].refs == 0 && !k->pages[index].cached);
    k->pages[index].refs = 1;
    p->counts.used_bytes += k->page_bytes;
    p->counts.used_pages++;
    return k->base + index * k->page_bytes;
}

void kv_pool_ref(kv_pool *p, uint8_t *page) {
    size_t bytes;
    page_state *s = state_of(p, page, &bytes);
    if (evictable(s)) p->counts.evictable_bytes -= bytes;
    s->refs++;
}

void kv_pool_unref(kv_pool *p, uint8_t *page) {
    uint32_t index;
    page_class *k = class_of(p, page, &index);
    page_state *s = &k->pages[index];
    CHECK(s->refs > 0 && !(s->refs == 1 && s->cached)); /* the cache unmarks before it lets go */
    s->refs--;
    if (evictable(s)) p->counts.evictable_bytes += k->page_bytes;
    if (s->refs) return;
    p->counts.used_bytes -= k->page_bytes;
    p->counts.used_pages--;
    k->free_committed[k->n_free_committed++] = index;
    if (p->counts.committed_bytes > p->counts.budget_bytes) give_back(p, 0, p->counts.budget_bytes);
}

uint32_t kv_pool_refs(const kv_pool *p, const uint8_t *page) {
    size_t bytes;
    return state_of(p, page, &bytes)->refs;
}

size_t kv_pool_page_bytes(const kv_pool *p, const uint8_t *page) {
    uint32_t index;
    return class_of(p, page, &index)->page_bytes;
}

void kv_pool_set_cached(kv_pool *p, uint8_t *page, bool cached) {
    size_t bytes;
    page_state *s = state_of(p, page, &bytes);
    CHECK(s->cached != cached);
    if (evictable(s)) p->counts.evictable_bytes -= bytes;
    s->cached = cached;
    if (evictable(s)) p->counts.evictable_bytes += bytes;
}

bool kv_pool_cached(const kv_pool *p, const uint8_t *page) {
    size_t bytes;
    return state_of(p, page, &bytes)->cached;
}

void kv_pool_read(const kv_pool *p, kv_pool_counts *out) { *out = p->counts; }

void kv_pool_check_begin(kv_pool *p) {
    for (uint32_t c = 0; c < n_classes(&p->shape); c++)
        for (uint32_t i = 0; i < p->classes[c].n_pages; i++) p->classes[c].pages[i].seen = 0;
}

void kv_pool_see(kv_pool *p, const uint8_t *page) {
    size_t bytes;
    state_of(p, page, &bytes)->seen++;
}

void kv_pool_check_end(const kv_pool *p) {
    kv_pool_counts sum = {.budget_bytes = p->counts.budget_bytes};
    for (uint32_t c = 0; c < n_classes(&p->shape); c++) {
        const page_class *k = &p->classes[c];
        uint32_t used = 0, committed = 0;
        for (uint32_t i = 0; i < k->n_pages; i++) {
            used += k->pages[i].refs > 0;
            committed += k->pages[i].committed;
            CHECK(!k->pages[i].refs || k->pages[i].committed);
            CHECK(k->pages[i].refs == k->pages[i].seen);
            if (evictable(&k->pages[i])) sum.evictable_bytes += k->page_bytes;
        }
        CHECK(k->n_free_committed == committed - used && k->n_free_bare == k->n_pages - committed);
        for (uint32_t i = 0; i < k->n_free_committed; i++) CHECK(k->pages[k->free_committed[i]].refs == 0);
        sum.used_pages += used;
        sum.used_bytes += used * k->page_bytes;
        sum.committed_pages += committed;
        sum.committed_bytes += committed * k->page_bytes;
    }
    CHECK(sum.used_bytes == p->counts.used_bytes && sum.used_pages == p->counts.used_pages);
    CHECK(sum.committed_bytes == p->counts.committed_bytes && sum.committed_pages == p->counts.committed_pages);
    CHECK(sum.evictable_bytes == p->counts.evictable_bytes);
}
