/* plat/hugepages — what the kernel does with 2 MiB pages for this machine's anonymous memory. A reading only. */
#ifndef PLAT_HUGEPAGES_H
#define PLAT_HUGEPAGES_H

typedef enum plat_hugepages {
    PLAT_HUGEPAGES_UNKNOWN, /* the kernel does not say */
    PLAT_HUGEPAGES_NEVER,
    PLAT_HUGEPAGES_MADVISE, /* where a program asks for them */
    PLAT_HUGEPAGES_ALWAYS,  /* wherever they fit, asked for or not */
} plat_hugepages;

plat_hugepages plat_hugepages_read(void);
plat_hugepages plat_hugepages_at(const char *root); /* for tests: as in plat/proc */

#endif
