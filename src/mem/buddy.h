/* mem/buddy — blocks of differing sizes out of one fixed region, without fragmentation that grows.
 *
 * Power-of-two blocks, split and merged (Knuth, TAOCP 1, 2.5). The region is the caller's, reserved and
 * present; the buddy keeps its state in a few words and one byte per smallest block. Callers: rooms whose
 * requests bring differing needs (sched/: prompts and outputs of jobs). Refuses by returning NULL.
 * Not thread-safe.
 */
#ifndef MEM_BUDDY_H
#define MEM_BUDDY_H

#include <stddef.h>
#include <stdint.h>

#include "base/hostile.h"

enum { MEM_BUDDY_LEAST_BYTES = HOSTILE(4096, 64), MEM_BUDDY_ORDERS = 32 };

typedef struct mem_buddy {
    char *base;
    size_t bytes;
    int n_orders;                       /* block sizes LEAST << 0 … LEAST << n_orders−1 */
    uint32_t free_heads[MEM_BUDDY_ORDERS]; /* first free block + 1, linked through the blocks */
    uint8_t *state;                     /* per smallest block: order | FREE or USED where a block starts */
    size_t used_bytes;
} mem_buddy;

/* bytes: a power of two, at least LEAST. state: mem_buddy_state_bytes(bytes). */
size_t mem_buddy_state_bytes(size_t bytes);
void mem_buddy_init(mem_buddy *b, void *base, size_t bytes, uint8_t *state);

void *mem_buddy_take(mem_buddy *b, size_t bytes);
void mem_buddy_give(mem_buddy *b, void *p); /* NULL is fine; CHECKs that p is a block in use */
size_t mem_buddy_block_bytes(size_t bytes); /* what a take of bytes occupies */
/* The blocks tile the region, each at a multiple of its size; the free ones are those of the lists, no two of them
 * halves of one block; used_bytes are those of the rest. Walks all blocks. */
void mem_buddy_check(const mem_buddy *b);

#endif
