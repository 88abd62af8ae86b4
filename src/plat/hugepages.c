#include "plat/hugepages.h"

#include <stdio.h>
#include <string.h>

#include "plat/proc.h"

/* "always [madvise] never" */
plat_hugepages plat_hugepages_at(const char *root) {
    char path[PLAT_PATH_BYTES];
    snprintf(path, sizeof path, "%s/sys/kernel/mm/transparent_hugepage/enabled", root);
    plat_lines r;
    if (!plat_lines_open(&r, path)) return PLAT_HUGEPAGES_UNKNOWN;
    const char *line = plat_lines_next(&r);
    plat_hugepages found = PLAT_HUGEPAGES_UNKNOWN;
    if (line && strstr(line, "[never]")) found = PLAT_HUGEPAGES_NEVER;
    else if (line && strstr(line, "[madvise]")) found = PLAT_HUGEPAGES_MADVISE;
    else if (line && strstr(line, "[always]")) found = PLAT_HUGEPAGES_ALWAYS;
    plat_lines_close(&r);
    return found;
}

plat_hugepages plat_hugepages_read(void) { return plat_hugepages_at(""); }
