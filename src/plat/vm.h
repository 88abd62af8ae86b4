/* plat/vm — address space and pages from the kernel.
 *
 * The only place (with mem/) that takes memory from the system. Knows nothing of budgets: mem/
 * reserves in the ledger first and then calls here. All sizes are rounded up to whole pages.
 */
#ifndef PLAT_VM_H
#define PLAT_VM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

size_t plat_page_bytes(void);
size_t plat_vm_round(size_t bytes); /* up to whole pages */

/* Anonymous memory, readable and writable, every page present when it returns (so the kernel's figure
 * is the whole at once). huge: advise 2 MiB pages, and align the start to 2 MiB. */
void *plat_vm_alloc(size_t bytes, bool huge, err *e);
void plat_vm_free(void *p, size_t bytes);

/* Address space only: nothing is resident until plat_vm_commit, and after plat_vm_decommit. */
void *plat_vm_reserve(size_t bytes, err *e);
bool plat_vm_commit(void *p, size_t bytes, bool huge, err *e); /* prefaults; contents zero */
void plat_vm_decommit(void *p, size_t bytes);                  /* gives the pages back */
void plat_vm_release(void *p, size_t bytes);                   /* undoes plat_vm_reserve */

/* A whole file, read-only, private. plat_file_forget drops its pages from this process (the file's
 * content stays mapped and is read again if touched). */
typedef struct plat_file {
    int fd;
    uint64_t bytes;
    const uint8_t *map; /* NULL for an empty file */
} plat_file;

bool plat_file_open(plat_file *f, const char *path, err *e); /* regular files only */
void plat_file_close(plat_file *f);
void plat_file_forget(const plat_file *f, uint64_t offset, uint64_t bytes);
/* Reads exactly bytes at offset with pread, bypassing the mapping. */
bool plat_file_read(const plat_file *f, uint64_t offset, void *out, size_t bytes, err *e);
bool plat_path_exists(const char *path); /* links are followed */
/* Where a symbolic link leads, one step, as a path from where we are. False: it is no link, or out is too short. */
bool plat_path_link(const char *path, char *out, size_t bytes);
/* Drops pages of a file-backed read-only range of this process (an embedded blob) from residency. */
void plat_vm_forget(const void *p, size_t bytes);

#endif
