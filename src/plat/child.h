/* plat/child — a command as a process group of its own, and the memory of everything it starts.
 *
 * Owns: starting it, the walk over /proc that finds its tree, ending the tree. Called by cli/guard only; one thread.
 * The caller becomes the reaper of orphans (prctl), so what leaves its parent or its group is still found here.
 * SIGCHLD, SIGINT, SIGTERM, SIGHUP and SIGQUIT are blocked from the first start on and taken with plat_child_await;
 * the command gets the mask that was there before.
 */
#ifndef PLAT_CHILD_H
#define PLAT_CHILD_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

typedef struct plat_child {
    int pid; /* and process group */
    bool ended;
    int exit_status;         /* when it ended by itself, else −1 */
    int signal;              /* that ended it, or 0 */
    uint64_t peak_rss_bytes; /* the kernel's own figure for its largest process; known once it has ended */
} plat_child;

/* Sums over all processes below the caller and in the child's group; all 0 when there are none. */
typedef struct plat_tree {
    uint64_t anon_bytes, file_bytes, shmem_bytes, swap_bytes;
    uint32_t processes;
} plat_tree;

static inline uint64_t plat_tree_bytes(const plat_tree *t) {
    return t->anon_bytes + t->file_bytes + t->shmem_bytes + t->swap_bytes;
}

/* arguments: NULL at the end. procs_fd: cgroup.procs of the group it is to enter before it runs, or −1. On failure
 * *exec_errno is that of the exec, or 0 when it did not come that far. */
bool plat_child_start(plat_child *c, const char *const *arguments, int procs_fd, int *exec_errno, err *e);
/* Sleeps at most so long; returns early when a child has ended (0 then) or with a signal that asks us to end. */
int plat_child_await(plat_child *c, uint32_t at_most_ms);
void plat_child_signal(const plat_child *c, int number); /* to its group */
bool plat_child_tree(const plat_child *c, plat_tree *out);
/* As above, with what several processes share counted once (slower: the kernel walks their pages). False where it
 * does not tell. */
bool plat_child_tree_shared_once(const plat_child *c, uint64_t *bytes);
/* SIGKILL to all of them until none is left; false when some will not go within a few seconds. */
bool plat_child_end(plat_child *c);

/* The time in which all tasks waited for memory, since the machine started; false where the kernel does not say. */
bool plat_stalled_us_at(const char *root, uint64_t *total_us);

#endif
