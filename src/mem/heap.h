/* mem/heap — the general allocator, for what lives long and is built once (tables of a tokenizer,
 * a compiled template). Every block is reserved in its account first, header included, so an account
 * shows what malloc was asked for. Not for use while serving tokens. */
#ifndef MEM_HEAP_H
#define MEM_HEAP_H

#include "base/alloc.h"
#include "mem/ledger.h"

typedef struct mem_heap {
    mem_ledger *ledger;
    mem_account account;
    base_alloc alloc; /* hand out &heap->alloc; the heap must outlive its blocks and not move */
    _Atomic uint64_t now_bytes;
    _Atomic uint64_t blocks;
} mem_heap;

void mem_heap_init(mem_heap *h, mem_ledger *l, mem_account account);
void *mem_heap_take(mem_heap *h, size_t bytes, err *e);
void *mem_heap_take_zeroed(mem_heap *h, size_t bytes, err *e);
void mem_heap_give(mem_heap *h, void *p, size_t bytes);
uint64_t mem_heap_bytes(const mem_heap *h); /* outstanding; 0 when everything was given back */

#endif
