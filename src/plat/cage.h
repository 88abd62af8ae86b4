/* plat/cage — a control group with a memory limit, for one command.
 *
 * Owns: a directory plimsoll-guard-PID-N under a group where the kernel lets us make one, its limit, its removal.
 * It is made below our own (v1; v2 where that hands the memory controller down), so no limit above us is left. In v2
 * a group with processes in it hands nothing down: then one is made beside ours, if ours has no limit of its own.
 * Groups that earlier runs could not remove (they were killed) go first. Called by cli/guard.
 */
#ifndef PLAT_CAGE_H
#define PLAT_CAGE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

typedef struct plat_cage {
    int version; /* 0: none */
    char dir[1024];
} plat_cage;

/* parent: a group's directory, or NULL to find one. root: "" is this machine. False with the reason, and nothing is
 * left behind. */
bool plat_cage_make(plat_cage *c, const char *root, const char *parent, uint64_t limit_bytes, err *e);
int plat_cage_open(const plat_cage *c, err *e); /* its cgroup.procs, to write "0" into; −1 with the reason */
uint64_t plat_cage_kills(const plat_cage *c);    /* processes that the kernel ended for its limit */
bool plat_cage_remove(plat_cage *c);             /* once empty; waits a moment for the kernel to agree */

#endif
