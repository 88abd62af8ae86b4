/* mem/arena — one block, handed out from its start, taken back all at once.
 *
 * The one way big objects lay out their memory. The same layout function runs twice: over a measuring
 * arena (no memory; pointers come back NULL, bytes are counted) to give x_plan_bytes, and over a real
 * one to give the object, so the plan equals the fact by construction and x_init asserts it.
 *
 *     static void thing_layout(thing *t, mem_arena *a, const shape *s) {
 *         t->rows = mem_arena_take(a, s->rows * sizeof *t->rows, 64);   // assign only: no writes through
 *     }
 *
 * Pages are present from the start (the kernel's figure does not creep). A marked position can be
 * returned to (per-request and per-step use). Not thread-safe.
 *
 * An arena of what nobody can size beforehand (a request's) grows instead: it has address space from the
 * start and takes pages as they are needed, each reserved first, so it holds what was asked of it and no more.
 */
#ifndef MEM_ARENA_H
#define MEM_ARENA_H

#include <stdbool.h>
#include <stddef.h>

#include "base/alloc.h"
#include "base/err.h"
#include "mem/ledger.h"

typedef struct mem_arena {
    char *base; /* NULL while measuring */
    size_t used, size;
    size_t most; /* of one that grows: its address space, up to which size may go; otherwise 0 */
    size_t high; /* most ever used */
    mem_ledger *ledger;
    mem_account account;
    bool failed; /* a take did not fit; stays until reset */
    bool full;   /* … because of most */
    bool measuring;
} mem_arena;

void mem_arena_measure(mem_arena *a); /* start counting */
/* Reserves bytes (whole pages) under account, then maps them present. huge: 2 MiB pages advised. */
bool mem_arena_init(mem_arena *a, mem_ledger *l, mem_account account, size_t bytes, bool huge, err *e);
/* Reserves address space alone; up to most_bytes of it become memory as they are taken. */
bool mem_arena_init_growing(mem_arena *a, mem_ledger *l, mem_account account, size_t most_bytes, err *e);
/* Whether what did not fit never would: the line is not to blame, but most_bytes. */
bool mem_arena_is_full(const mem_arena *a);
/* Over memory someone else holds and accounts for. */
void mem_arena_over(mem_arena *a, void *base, size_t bytes);
void mem_arena_free(mem_arena *a); /* gives back what init took; harmless on a zeroed struct */

/* align: a power of two. NULL when it does not fit (and a->failed), or while measuring. */
void *mem_arena_take(mem_arena *a, size_t bytes, size_t align);

void mem_arena_check(const mem_arena *a);

static inline size_t mem_arena_mark(const mem_arena *a) { return a->used; }
void mem_arena_reset(mem_arena *a, size_t mark); /* forgets everything taken since, and a failure */

/* As an injected allocator: frees are no-ops except for the newest block, which also grows in place. */
base_alloc mem_arena_alloc(mem_arena *a);

#endif
