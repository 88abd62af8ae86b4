/* plat/kernel — what the kernel says about memory: this process, this machine, our cgroup.
 *
 * Readings only, no policy. Fields a kernel does not offer are 0 with the matching has_ flag false.
 */
#ifndef PLAT_KERNEL_H
#define PLAT_KERNEL_H

#include <stdbool.h>
#include <stdint.h>

typedef struct plat_process_memory { /* /proc/self/status */
    uint64_t rss_anon_bytes, rss_file_bytes, rss_shmem_bytes, swap_bytes, peak_rss_bytes;
} plat_process_memory;

typedef struct plat_system_memory { /* /proc/meminfo */
    uint64_t total_bytes, available_bytes;
} plat_system_memory;

typedef struct plat_cgroup_memory { /* v2 memory.max/memory.current, or v1 limit/usage */
    bool limited;
    bool unreadable; /* the group was found, and its limit is there and does not tell */
    int version; /* 1, 2, or 0 when not found */
    uint64_t limit_bytes, used_bytes, inactive_file_bytes;
} plat_cgroup_memory;

typedef struct plat_heap { /* mallinfo2 */
    uint64_t arena_bytes, in_use_bytes, free_bytes, releasable_bytes, mmapped_bytes;
} plat_heap;

/* No allocation; safe from any thread; false only when /proc is not there (or the pid is gone). */
bool plat_process_memory_read(plat_process_memory *out);
bool plat_process_memory_read_pid(int pid, plat_process_memory *out);
bool plat_system_memory_read(plat_system_memory *out);
void plat_cgroup_memory_read(plat_cgroup_memory *out); /* of our group and its parents, the one with least room */
/* limit − used + inactive file pages (reclaimed before anyone is killed); UINT64_MAX when not limited. */
uint64_t plat_cgroup_room(const plat_cgroup_memory *c);
void plat_heap_read(plat_heap *out);
void plat_heap_trim(void);

/* Calls of malloc, calloc, realloc, free made by the calling thread since it started: everyone's,
 * libraries included (the process's malloc is wrapped; in sanitizer builds the counter stands at 0 and
 * plat_malloc_is_counted says so). */
bool plat_malloc_is_counted(void);
uint64_t plat_malloc_calls(void);

#endif
