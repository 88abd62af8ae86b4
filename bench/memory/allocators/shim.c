/* Puts another allocator under plimsoll for a measurement.
 *
 * plimsoll's malloc counts and passes on to __libc_malloc and its relatives, so an allocator that is only preloaded is never
 * asked. These are those names, and mallinfo2 and malloc_trim, answered by jemalloc (-DJEMALLOC) or mimalloc. What is in use
 * is counted here, what is held the allocator says, where it knows. run.py builds it and preloads it before the allocator
 * itself, whose headers it does not need.
 */
#include <malloc.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

static _Atomic size_t in_use_bytes;

#ifdef JEMALLOC

enum { ZERO = 0x40 };
void *mallocx(size_t bytes, int flags);
void *rallocx(void *p, size_t bytes, int flags);
void dallocx(void *p, int flags);
int mallctl(const char *name, void *old, size_t *old_bytes, void *new_value, size_t new_bytes);

static void *take(size_t bytes, size_t align) { return mallocx(bytes + !bytes, __builtin_ctzll(align)); }
static void *take_zeroed(size_t bytes) { return mallocx(bytes + !bytes, ZERO); }
static void *resize(void *p, size_t bytes) { return rallocx(p, bytes + !bytes, 0); }
static void give(void *p) { dallocx(p, 0); }
static void purge(void) { mallctl("arena.4096.purge", NULL, NULL, NULL, 0); }

static size_t held(void) {
    uint64_t epoch = 1;
    size_t bytes = 0, n = sizeof bytes;
    mallctl("epoch", NULL, NULL, &epoch, sizeof epoch);
    mallctl("stats.resident", &bytes, &n, NULL, 0);
    return bytes;
}

#else

void *mi_malloc_aligned(size_t bytes, size_t align);
void *mi_zalloc(size_t bytes);
void *mi_realloc(void *p, size_t bytes);
void mi_free(void *p);
void mi_collect(bool force);

static void *take(size_t bytes, size_t align) { return mi_malloc_aligned(bytes, align); }
static void *take_zeroed(size_t bytes) { return mi_zalloc(bytes); }
static void *resize(void *p, size_t bytes) { return mi_realloc(p, bytes); }
static void give(void *p) { mi_free(p); }
static void purge(void) { mi_collect(true); }

static size_t held(void) { return 0; } /* it says what it committed, not what of it is resident */

#endif

static void *counted(void *p) {
    if (p) atomic_fetch_add_explicit(&in_use_bytes, malloc_usable_size(p), memory_order_relaxed);
    return p;
}

static void uncounted(size_t bytes) { atomic_fetch_sub_explicit(&in_use_bytes, bytes, memory_order_relaxed); }

void *__libc_malloc(size_t bytes) { return counted(take(bytes, 16)); }
void *__libc_memalign(size_t align, size_t bytes) { return counted(take(bytes, align)); }

void *__libc_calloc(size_t n, size_t bytes) {
    size_t all;
    return __builtin_mul_overflow(n, bytes, &all) ? NULL : counted(take_zeroed(all));
}

void __libc_free(void *p) {
    if (!p) return;
    uncounted(malloc_usable_size(p));
    give(p);
}

void *__libc_realloc(void *p, size_t bytes) {
    if (!p) return __libc_malloc(bytes);
    size_t before = malloc_usable_size(p);
    void *q = resize(p, bytes);
    if (q) {
        uncounted(before);
        counted(q);
    }
    return q;
}

struct mallinfo2 mallinfo2(void) {
    size_t used = atomic_load_explicit(&in_use_bytes, memory_order_relaxed), all = held();
    return (struct mallinfo2){.arena = all, .uordblks = used, .fordblks = all > used ? all - used : 0};
}

int malloc_trim(size_t pad) {
    (void)pad;
    purge();
    return 1;
}
