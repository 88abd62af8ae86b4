/* mem/levels — how short memory is: five levels with thresholds and hysteresis.
 *
 * A state machine over readings: nothing here reads the kernel or acts (mem/watch does). Three bounds are looked at,
 * and the worst of them is the level: room under the line, in the machine, in the control group. What can be given
 * back at once (evictable cache, free pages) is room already.
 *
 * Thresholds are those of a line of 12 GiB (3, 2, 1 and 0.5 GiB), in proportion for a lower line, or as the operator
 * says. A server that never had that much room, by its plan or because its machine is small, is not in need for that:
 * thresholds that were not given are at most the same parts (1/4, 1/6, 1/12, 1/24) of the most room that bound has
 * shown. So what is ready is safe, and what is idle under its own line admits.
 *
 * Up at once; down only when the room has been above the threshold by an eighth for 500 ms. Pressure that has passed
 * leaves nothing behind. Callers: mem/watch, tests. Not thread-safe.
 */
#ifndef MEM_LEVELS_H
#define MEM_LEVELS_H

#include "mem/books.h"

enum { MEM_LEVEL_STEPS = 4, MEM_CALM_MS = 500 }; /* steps: into caution, warning, critical, emergency */

typedef enum mem_bound { MEM_UNDER_LINE, MEM_OF_MACHINE, MEM_IN_CGROUP, MEM_BOUND_COUNT } mem_bound;
const char *mem_bound_name(mem_bound b);

typedef struct mem_rooms {
    uint64_t bytes[MEM_BOUND_COUNT]; /* UINT64_MAX: no such bound */
    bool pressed; /* the kernel sees tasks wait for memory: one level more while it lasts */
    bool idle;    /* no request is there: the line alone, which is kept byte by byte by the ledger, refuses nobody */
} mem_rooms;

typedef struct mem_levels {
    uint64_t threshold_bytes[MEM_LEVEL_STEPS]; /* [0]: at or below is caution; the others: below */
    bool given[MEM_LEVEL_STEPS];               /* by the operator: taken literally */
    uint64_t most_bytes[MEM_BOUND_COUNT];      /* the most room each bound has shown */
    mem_level level;
    mem_bound worst;                           /* the bound that the level comes from */
    uint64_t since_ms, changes;
    bool calming;
    mem_level calm_level; /* the worst since it became calm */
    uint64_t calm_since_ms;
} mem_levels;

/* given: 0 for the default. ERR_USAGE unless they descend and lie below the line. */
bool mem_levels_init(mem_levels *l, uint64_t line_bytes, const uint64_t given[MEM_LEVEL_STEPS], err *e);
/* The line has moved: thresholds that were not given follow it, and the most room under it is learnt anew. */
void mem_levels_set_line(mem_levels *l, uint64_t line_bytes);
mem_level mem_levels_update(mem_levels *l, const mem_rooms *rooms, uint64_t now_ms);

/* What applies to a bound now. */
uint64_t mem_levels_threshold(const mem_levels *l, mem_bound b, int step);

#endif
