/* malloc and its relatives, counted per thread and passed on to glibc's.
 *
 * Proves that a decoded token takes no general memory, in our code or in a library's. Under a
 * sanitizer, or without glibc, nothing is replaced and plat_malloc_is_counted says so. (valgrind: give
 * --soname-synonyms=somalloc=NONE, or it does not see these.)
 */
#include "plat/kernel.h"

#if defined(__linux__)
#include <features.h>
#endif

#if defined(__GLIBC__) && !defined(PLIMSOLL_SANITIZED)

#include <errno.h>
#include <malloc.h>
#include <stdlib.h>
#include <unistd.h>

/* glibc's own, under the names it exports for this purpose */
void *__libc_malloc(size_t bytes);
void *__libc_calloc(size_t n, size_t bytes);
void *__libc_realloc(void *p, size_t bytes);
void *__libc_memalign(size_t align, size_t bytes);
void __libc_free(void *p);

/* initial-exec: reaching the counter must not itself allocate */
static _Thread_local uint64_t calls __attribute__((tls_model("initial-exec")));

bool plat_malloc_is_counted(void) { return true; }
uint64_t plat_malloc_calls(void) { return calls; }

void *malloc(size_t bytes) {
    calls++;
    return __libc_malloc(bytes);
}

void *calloc(size_t n, size_t bytes) {
    calls++;
    return __libc_calloc(n, bytes);
}

void *realloc(void *p, size_t bytes) {
    calls++;
    return __libc_realloc(p, bytes);
}

void free(void *p) {
    calls++;
    __libc_free(p);
}

void *memalign(size_t align, size_t bytes) {
    calls++;
    return __libc_memalign(align, bytes);
}

void *aligned_alloc(size_t align, size_t bytes) {
    calls++;
    return __libc_memalign(align, bytes);
}

int posix_memalign(void **out, size_t align, size_t bytes) {
    calls++;
    if (align % sizeof(void *) != 0 || align == 0 || (align & (align - 1)) != 0) return EINVAL;
    int before = errno;
    void *p = __libc_memalign(align, bytes);
    errno = before;
    if (!p) return ENOMEM;
    *out = p;
    return 0;
}

void *valloc(size_t bytes) { return memalign((size_t)sysconf(_SC_PAGESIZE), bytes); }

void *pvalloc(size_t bytes) {
    size_t mask = (size_t)sysconf(_SC_PAGESIZE) - 1;
    if (bytes > SIZE_MAX - mask) {
        errno = ENOMEM;
        return NULL;
    }
    return memalign(mask + 1, (bytes + mask) & ~mask);
}

#else

bool plat_malloc_is_counted(void) { return false; }
uint64_t plat_malloc_calls(void) { return 0; }

#endif
