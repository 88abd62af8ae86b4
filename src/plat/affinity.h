/* plat/affinity — the cores this process may run on, as found at the first look. Within plat/ only.
 *
 * Kept apart from the calling thread's own mask: a pinned thread sees one core, its process has more. */
#ifndef PLAT_AFFINITY_H
#define PLAT_AFFINITY_H

#include <sched.h>

enum { PLAT_AFFINITY_CORES = 8192 }; /* the kernel's own maximum on x86 */

typedef struct plat_affinity {
    cpu_set_t sets[PLAT_AFFINITY_CORES / CPU_SETSIZE];
} plat_affinity;

int plat_affinity_count(void);        /* at least 1 */
int plat_affinity_nth(int index);     /* core number, or -1 when there are not so many */

#endif
