#include "plat/kernel.h"

#include <malloc.h>
#include <stdio.h>
#include <string.h>

#include "plat/proc.h"

/* "Key:   123 kB" */
typedef struct field {
    const char *key;
    uint64_t *bytes;
} field;

static bool read_fields(const char *path, const field *fields, int n) {
    for (int i = 0; i < n; i++) *fields[i].bytes = 0;
    plat_lines r;
    if (!plat_lines_open(&r, path)) return false;
    for (char *line; (line = plat_lines_next(&r));) {
        char *colon = strchr(line, ':');
        if (!colon) continue;
        *colon = 0;
        uint64_t kib;
        for (int i = 0; i < n; i++)
            if (strcmp(line, fields[i].key) == 0 && plat_number_parse(colon + 1, &kib)) *fields[i].bytes = kib * 1024;
    }
    plat_lines_close(&r);
    return true;
}

bool plat_process_memory_at(const char *root, const char *pid, plat_process_memory *out) {
    char path[PLAT_PATH_BYTES];
    snprintf(path, sizeof path, "%s/proc/%s/status", root, pid);
    const field fields[] = {
        {"RssAnon", &out->rss_anon_bytes},   {"RssFile", &out->rss_file_bytes}, {"RssShmem", &out->rss_shmem_bytes},
        {"VmSwap", &out->swap_bytes},        {"VmHWM", &out->peak_rss_bytes},
    };
    return read_fields(path, fields, sizeof fields / sizeof fields[0]);
}

bool plat_process_memory_read(plat_process_memory *out) { return plat_process_memory_at("", "self", out); }

bool plat_process_memory_read_pid(int pid, plat_process_memory *out) {
    char name[16];
    snprintf(name, sizeof name, "%d", pid);
    return plat_process_memory_at("", name, out);
}

bool plat_system_memory_at(const char *root, plat_system_memory *out) {
    char path[PLAT_PATH_BYTES];
    snprintf(path, sizeof path, "%s/proc/meminfo", root);
    const field fields[] = {{"MemTotal", &out->total_bytes}, {"MemAvailable", &out->available_bytes}};
    return read_fields(path, fields, sizeof fields / sizeof fields[0]);
}

bool plat_system_memory_read(plat_system_memory *out) { return plat_system_memory_at("", out); }

void plat_heap_read(plat_heap *out) {
    *out = (plat_heap){0};
#if defined(__GLIBC__) && (__GLIBC__ > 2 || __GLIBC_MINOR__ >= 33)
    struct mallinfo2 m = mallinfo2();
    *out = (plat_heap){.arena_bytes = m.arena, .in_use_bytes = m.uordblks + m.hblkhd, .free_bytes = m.fordblks,
                       .releasable_bytes = m.keepcost, .mmapped_bytes = m.hblkhd};
#endif
}

void plat_heap_trim(void) {
#if defined(__GLIBC__)
    (void)malloc_trim(0);
#endif
}
