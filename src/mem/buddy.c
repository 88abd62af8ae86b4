#include "mem/buddy.h"

#include <string.h>

#include "base/check.h"

enum { INSIDE = 0, FREE = 0x40, USED = 0x80, ORDER_MASK = 0x3F };
_Static_assert(MEM_BUDDY_ORDERS - 1 <= ORDER_MASK, "a block's order fits beside what it is");

typedef struct link { /* at the start of a free block; indexes of smallest blocks + 1, 0 ends the list */
    uint32_t next, prev;
} link;

_Static_assert(sizeof(link) <= MEM_BUDDY_LEAST_BYTES, "the smallest free block holds its place in a list");

static link *link_at(const mem_buddy *b, uint32_t index) {
    return (link *)(void *)(b->base + (size_t)index * MEM_BUDDY_LEAST_BYTES);
}

static void push(mem_buddy *b, uint32_t index, int order) {
    uint32_t head = b->free_heads[order];
    *link_at(b, index) = (link){head, 0};
    if (head) link_at(b, head - 1)->prev = index + 1;
    b->free_heads[order] = index + 1;
    b->state[index] = (uint8_t)(FREE | order);
}

static void unlink_block(mem_buddy *b, uint32_t index, int order) {
    link l = *link_at(b, index);
    if (l.prev) link_at(b, l.prev - 1)->next = l.next;
    else b->free_heads[order] = l.next;
    if (l.next) link_at(b, l.next - 1)->prev = l.prev;
    b->state[index] = INSIDE;
}

static int order_of(size_t bytes) {
    int order = 0;
    while (order < MEM_BUDDY_ORDERS && ((size_t)MEM_BUDDY_LEAST_BYTES << order) < bytes) order++;
    return order;
}

size_t mem_buddy_state_bytes(size_t bytes) { return bytes / MEM_BUDDY_LEAST_BYTES; }
size_t mem_buddy_block_bytes(size_t bytes) { return (size_t)MEM_BUDDY_LEAST_BYTES << order_of(bytes); }

void mem_buddy_init(mem_buddy *b, void *base, size_t bytes, uint8_t *state) {
    CHECK(bytes >= MEM_BUDDY_LEAST_BYTES && (bytes & (bytes - 1)) == 0);
    *b = (mem_buddy){.base = base, .bytes = bytes, .state = state, .n_orders = order_of(bytes) + 1};
    CHECK(b->n_orders <= MEM_BUDDY_ORDERS);
    memset(state, INSIDE, mem_buddy_state_bytes(bytes));
    push(b, 0, b->n_orders - 1);
}

void *mem_buddy_take(mem_buddy *b, size_t bytes) {
    int wanted = order_of(bytes), order = wanted;
    while (order < b->n_orders && !b->free_heads[order]) order++;
    if (order >= b->n_orders) return NULL;
    uint32_t index = b->free_heads[order] - 1;
    unlink_block(b, index, order);
    while (order > wanted) {
        order--;
        push(b, index + (1u << order), order);
    }
    b->state[index] = (uint8_t)(USED | order);
    b->used_bytes += (size_t)MEM_BUDDY_LEAST_BYTES << order;
    return link_at(b, index);
}

void mem_buddy_give(mem_buddy *b, void *p) {
    if (!p) return;
    size_t offset = (size_t)((char *)p - b->base);
    CHECK(offset < b->bytes && offset % MEM_BUDDY_LEAST_BYTES == 0);
    uint32_t index = (uint32_t)(offset / MEM_BUDDY_LEAST_BYTES);
    CHECK(b->state[index] & USED);
    int order = b->state[index] & ORDER_MASK;
    b->used_bytes -= (size_t)MEM_BUDDY_LEAST_BYTES << order;
    b->state[index] = INSIDE;
    for (; order + 1 < b->n_orders; order++) {
        uint32_t twin = index ^ (1u << order);
        if (b->state[twin] != (FREE | order)) break;
        unlink_block(b, twin, order);
        if (twin < index) index = twin;
    }
    push(b, index, order);
}

/* Of one order: so many free blocks are in its list, and each knows the one before it. */
static uint32_t count_list(const mem_buddy *b, int order) {
    uint32_t n = 0, before = 0;
    for (uint32_t at = b->free_heads[order]; at; n++) {
        CHECK(b->state[at - 1] == (FREE | order) && link_at(b, at - 1)->prev == before);
        before = at;
        at = link_at(b, at - 1)->next;
    }
    return n;
}

void mem_buddy_check(const mem_buddy *b) {
    uint32_t is_free[MEM_BUDDY_ORDERS] = {0}, n = (uint32_t)mem_buddy_state_bytes(b->bytes);
    size_t used_bytes = 0;
    for (uint32_t index = 0; index < n;) {
        int state = b->state[index], order = state & ORDER_MASK;
        uint32_t units = 1u << order, twin = index ^ units;
        CHECK(state & (FREE | USED) && order < b->n_orders && index % units == 0);
        if (state & USED) used_bytes += (size_t)MEM_BUDDY_LEAST_BYTES << order;
        else is_free[order]++;
        CHECK(state & USED || order + 1 == b->n_orders || b->state[twin] != state);
        index += units;
    }
    for (int order = 0; order < b->n_orders; order++) CHECK(count_list(b, order) == is_free[order]);
    CHECK(used_bytes == b->used_bytes);
}
