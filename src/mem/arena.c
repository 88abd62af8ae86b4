#include "mem/arena.h"

#include <stdint.h>
#include <string.h>

#include "base/check.h"
#include "base/hostile.h"
#include "plat/vm.h"

/* A real base is page-aligned and a measuring one is 0: with align at most a page, padding is the same. */
enum { MAX_ALIGN_BYTES = 4096 };

/* One that grows takes a little of what it has, so that it asks the kernel rarely and holds little too much. */
enum { GROW_LEAST_BYTES = HOSTILE(16 * 1024, 1), GROW_SHARE = 32 };

void mem_arena_check(const mem_arena *a) {
    CHECK(a->used <= a->high && a->used <= a->size);
    CHECK(!a->most || a->size <= a->most);
    CHECK(a->measuring ? !a->base && !a->ledger : a->base || !a->size);
    CHECK(!a->full || a->most); /* one that does not grow is never said to be */
}

void mem_arena_measure(mem_arena *a) { *a = (mem_arena){.size = SIZE_MAX, .measuring = true}; }

bool mem_arena_init(mem_arena *a, mem_ledger *l, mem_account account, size_t bytes, bool huge, err *e) {
    *a = (mem_arena){0};
    bytes = plat_vm_round(bytes);
    if (!mem_ledger_reserve(l, account, bytes, e)) return false;
    void *base = plat_vm_alloc(bytes, huge, e);
    if (!base) {
        mem_ledger_release(l, account, bytes);
        return false;
    }
    mem_ledger_arrived(l, account, bytes);
    *a = (mem_arena){.base = base, .size = bytes, .ledger = l, .account = account};
    return true;
}

bool mem_arena_init_growing(mem_arena *a, mem_ledger *l, mem_account account, size_t most_bytes, err *e) {
    *a = (mem_arena){0};
    most_bytes = plat_vm_round(most_bytes);
    void *base = plat_vm_reserve(most_bytes, e);
    if (!base) return false;
    *a = (mem_arena){.base = base, .most = most_bytes, .ledger = l, .account = account};
    return true;
}

void mem_arena_over(mem_arena *a, void *base, size_t bytes) { *a = (mem_arena){.base = base, .size = bytes}; }

void mem_arena_free(mem_arena *a) {
    if (a->ledger) {
        if (a->most) plat_vm_release(a->base, a->most);
        else plat_vm_free(a->base, a->size);
        mem_ledger_release(a->ledger, a->account, a->size);
    }
    *a = (mem_arena){0};
}

static bool take_pages(mem_arena *a, size_t bytes) {
    if (!mem_ledger_reserve(a->ledger, a->account, bytes, NULL)) return false;
    if (!plat_vm_commit(a->base + a->size, bytes, false, NULL)) {
        mem_ledger_release(a->ledger, a->account, bytes);
        return false;
    }
    a->size += bytes;
    return true;
}

/* Room for a block that ends at `end`. */
static bool grow(mem_arena *a, size_t end) {
    if (end <= a->size) return true;
    if (end > a->most) return a->full = a->most > 0, false;
    size_t need = plat_vm_round(end - a->size), wanted = plat_vm_round(a->size / GROW_SHARE + GROW_LEAST_BYTES);
    if (wanted > a->most - a->size) wanted = a->most - a->size;
    return (wanted > need && take_pages(a, wanted)) || take_pages(a, need);
}

static void *does_not_fit(mem_arena *a) {
    a->failed = true;
    if (a->measuring) a->used = a->high = SIZE_MAX; /* a plan nobody can grant */
    return NULL;
}

void *mem_arena_take(mem_arena *a, size_t bytes, size_t align) {
    CHECK(align > 0 && (align & (align - 1)) == 0 && align <= MAX_ALIGN_BYTES);
    size_t padding = (size_t)(-((uintptr_t)a->base + a->used) & (align - 1));
    size_t left = (a->most ? a->most : a->size) - a->used;
    if (padding > left || bytes > left - padding) return a->full = a->most > 0, does_not_fit(a);
    if (!grow(a, a->used + padding + bytes)) return does_not_fit(a);
    char *p = a->measuring ? NULL : a->base + a->used + padding;
    a->used += padding + bytes;
    if (a->used > a->high) a->high = a->used;
    mem_arena_check(a);
    return p;
}

void mem_arena_reset(mem_arena *a, size_t mark) {
    mem_arena_check(a);
    CHECK(mark <= a->high);
    if (mark < a->used) a->used = mark; /* a freed newest block may have gone below the mark already */
    a->failed = a->full = false;
}

bool mem_arena_is_full(const mem_arena *a) { return a->full; }

static bool is_newest(const mem_arena *a, const char *p, size_t bytes) { return p + bytes == a->base + a->used; }

static void *arena_resize(void *ctx, void *ptr, size_t old_bytes, size_t new_bytes) {
    mem_arena *a = ctx;
    CHECK(!a->measuring);
    if (!ptr) return new_bytes ? mem_arena_take(a, new_bytes, 16) : NULL;

    bool newest = is_newest(a, ptr, old_bytes);
    size_t start = (size_t)((char *)ptr - a->base);
    CHECK(old_bytes <= a->used && start <= a->used - old_bytes);
    if (new_bytes <= old_bytes) {
        if (newest) a->used = start + new_bytes;
        return new_bytes ? ptr : NULL;
    }
    if (newest) {
        if (new_bytes > (a->most ? a->most : a->size) - start) return a->full = a->most > 0, does_not_fit(a);
        if (!grow(a, start + new_bytes)) return does_not_fit(a);
        a->used = start + new_bytes;
        if (a->used > a->high) a->high = a->used;
        return ptr;
    }
    void *moved = mem_arena_take(a, new_bytes, 16);
    return moved ? memcpy(moved, ptr, old_bytes) : NULL;
}

base_alloc mem_arena_alloc(mem_arena *a) { return (base_alloc){arena_resize, a}; }
