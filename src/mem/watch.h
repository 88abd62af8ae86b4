/* mem/watch — a thread that looks at memory ten times a second, says the level, and sees that something is done.
 *
 * Owns the levels of the process and the ladder: what gives memory back, as callbacks in the order in which they are
 * tried, each logged with what it gave. What the ladder is after is room that the kernel sees (machine or control
 * group): enough to be back in Caution; in Emergency all there is. Under the line nothing need be chased: the ledger
 * refuses in time. What it saw is noted in the ledger, where every reading of the books shows it.
 *
 * Callers: cli/serve starts and stops it; callbacks run on its thread, holding no lock.
 */
#ifndef MEM_WATCH_H
#define MEM_WATCH_H

#include "mem/levels.h"
#include "plat/psi.h"

/* What the process holds that is not missing. */
typedef struct mem_reclaimable {
    uint64_t held_bytes;        /* of the pool, for whatever use: by plan */
    uint64_t reclaimable_bytes; /* of these: nobody needs them */
    uint32_t requests;          /* waiting and running */
    uint64_t ended;             /* requests, since the start */
} mem_reclaimable;

typedef struct mem_rung {
    const char *name;
    mem_level from; /* tried at this level and worse; MEM_SAFE: whenever the kernel's room is short */
    uint64_t (*give)(void *ctx, uint64_t wanted_bytes); /* returns bytes that the kernel has again */
} mem_rung;

typedef struct mem_watch_config {
    mem_ledger *ledger;
    uint64_t threshold_bytes[MEM_LEVEL_STEPS]; /* 0: the default */
    uint64_t planned_bytes; /* what the plan takes beside the pool, be it there yet or not */
    void *ctx;
    void (*reclaimable)(void *ctx, mem_reclaimable *out);
    /* After each look. hold: what can be reclaimed must not grow: the kernel's own room would be Caution. */
    void (*level)(void *ctx, mem_level level, bool hold, uint64_t room_bytes);
    /* The line, whenever it has moved; NULL is fine. */
    void (*line)(void *ctx, uint64_t line_bytes);
    const mem_rung *rungs;
    uint32_t n_rungs;
} mem_watch_config;

typedef struct mem_watch mem_watch;

/* Static storage: one a process. The first look has been taken when it returns. */
mem_watch *mem_watch_start(const mem_watch_config *c, err *e);
void mem_watch_stop(mem_watch *w); /* NULL is fine */

/* Pure, for tests: the room under each bound out of one reading. */
void mem_rooms_of(const mem_books *b, const mem_reclaimable *reclaimable, uint64_t planned_bytes, mem_rooms *out);
/* Pure: do stalls count? Our own group's do. The machine's may be a stranger's at its own limit, which nothing that we
 * give back relieves: they count while the machine itself has little left. */
bool mem_pressed_by(const mem_books *b, const mem_levels *l, plat_pressed stalls);

/* Pure: how much the kernel lacks until it is out of what would be this level if nothing could be reclaimed. */
uint64_t mem_lacking_of(const mem_books *b, const mem_levels *l, mem_level level);

/* Trims the general heap; returns by how much the kernel's figure fell. */
uint64_t mem_trim_heap(void);

#endif
