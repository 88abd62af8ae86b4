/* plat/room — how much memory the kernel would still give this process, read anew in microseconds.
 *
 * Owns open files: limit, usage and statistics of every control group from ours up to the root of what we see, and
 * /proc/meminfo. A reading is a few pread calls: nothing is searched, opened or allocated. A margin stays for what
 * nobody reserves (page tables, sockets). Callers: mem/line, which holds its lock over a reading and a reopening.
 */
#ifndef PLAT_ROOM_H
#define PLAT_ROOM_H

#include <stdbool.h>
#include <stdint.h>

enum { PLAT_ROOM_GROUPS = 24 }; /* beyond so many levels the outermost are not looked at */

typedef struct plat_room_group {
    int limit, high, usage, stat; /* files; −1: this kernel has none */
    bool total;                   /* v1 */
} plat_room_group;

typedef struct plat_room {
    uint32_t n_groups;
    int meminfo;
    plat_room_group groups[PLAT_ROOM_GROUPS];
    char dir[1024]; /* of our own group; "": none */
} plat_room;

/* root: "" is this machine; tests give a folder of recorded files. */
void plat_room_open(plat_room *r, const char *root);
void plat_room_close(plat_room *r);
/* True when this process has been moved to another group since it was opened. */
bool plat_room_moved(const plat_room *r, const char *root);

/* The least that any group leaves, less its margin; UINT64_MAX without limits. Pages of files that are inactive count
 * as room; looking for them takes longest, so they are looked for only where less than enough_bytes are left. */
uint64_t plat_room_in_groups(const plat_room *r, uint64_t enough_bytes);
uint64_t plat_room_in_machine(const plat_room *r); /* MemAvailable, less a margin; UINT64_MAX where it is not told */
/* The least limit on the way, less its margin; UINT64_MAX: none. */
uint64_t plat_room_limit(const plat_room *r);

uint64_t plat_room_margin(uint64_t limit_bytes); /* kept of a group with that limit */

#endif
