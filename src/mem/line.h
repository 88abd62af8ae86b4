/* mem/line — the line: what the operator asked for, and never more than the machine and its control groups can give.
 *
 * Owns the files by which the kernel is asked (plat/room), one set for the process. At the start the line is the least
 * of what was asked, what the groups leave beside what is in them already, and what the machine has available; so a
 * plan under it can be kept to. From then on the ledger asks the kernel before every reservation, and the line follows
 * a group's limit that is lowered or raised, never above what was asked. Callers: cli/ at the start, engine/capi,
 * mem/watch at each look.
 */
#ifndef MEM_LINE_H
#define MEM_LINE_H

#include "mem/books.h"

/* asked_bytes 0: mem_line_default. machine: it counts, too (a plan may be for another). Sets the ledger's line and its
 * room, and logs what was cut off. */
void mem_line_start(mem_ledger *l, uint64_t asked_bytes, bool machine);
/* To limits as they are now; true when the line has moved. */
bool mem_line_follow(mem_ledger *l);

/* The line when the operator names none: 80 % of the smaller of MemAvailable and of the room under the
 * cgroup's limit, less 1 GiB where the machine (or that limit) is 8 GiB or more. */
uint64_t mem_line_default(void);
uint64_t mem_line_for(const plat_system_memory *system, const plat_cgroup_memory *cgroup); /* pure */

/* Pure: the line of a moment, and which bound it is. own_bytes: of this process, that the kernel counts in the rooms;
 * rooms and limit UINT64_MAX: there is none. Fills origin. */
uint64_t mem_line_clamp(uint64_t asked_bytes, uint64_t own_bytes, uint64_t in_groups, uint64_t in_machine,
                        uint64_t limit_bytes, mem_line_origin *origin);

#endif
