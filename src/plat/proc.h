/* plat/proc — /proc and /sys as text, read without allocating. Within plat/ and its tests only.
 *
 * Each reading exists as …_at(root): root "" is this machine, tests give a folder that holds recorded
 * files at the same paths.
 */
#ifndef PLAT_PROC_H
#define PLAT_PROC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "plat/kernel.h"

enum { PLAT_PATH_BYTES = 1024, PLAT_LINE_BYTES = 2048 };
/* A kernel writes "no limit" in v1 as a number near 2^63; nothing real is that large. */
#define PLAT_NO_LIMIT_FROM (UINT64_C(1) << 60)

/* Line by line out of a file of any length; a longer line comes cut to PLAT_LINE_BYTES − 1. */
typedef struct plat_lines {
    int fd;
    size_t start, end; /* what was read and not yet handed out */
    bool skipping;     /* inside the rest of a cut line */
    char text[PLAT_LINE_BYTES];
} plat_lines;

bool plat_lines_open(plat_lines *r, const char *path);
char *plat_lines_next(plat_lines *r); /* without its newline; NULL at the end */
void plat_lines_close(plat_lines *r);

/* The decimal number that text begins with (after blanks); saturates; "max" is UINT64_MAX. */
bool plat_number_parse(const char *text, uint64_t *value);

bool plat_process_memory_at(const char *root, const char *pid, plat_process_memory *out);
bool plat_system_memory_at(const char *root, plat_system_memory *out);
void plat_cgroup_memory_at(const char *root, plat_cgroup_memory *out);
/* A control group on the way from ours to the root of what we see; plat/room walks it too. */
typedef struct plat_group {
    int version;
    size_t mount_length; /* dir never gets shorter: that is the hierarchy's root as we see it */
    char dir[PLAT_PATH_BYTES];
} plat_group;
bool plat_group_find(plat_group *g, const char *root, const char *controller);
bool plat_group_ascend(plat_group *g); /* to its parent; false when it was the root */
/* The directory of the group that accounts this process's memory, and whether that is v1 or v2. */
bool plat_cgroup_dir_at(const char *root, char out[PLAT_PATH_BYTES], int *version);
int plat_cgroup_cores_at(const char *root); /* CPU quota in cores, rounded up; 0 when there is none */

#endif
