#include "mem/books.h"

#include <stdatomic.h>

#include "base/saturate.h"
#include "plat/image.h"

#define MIB UINT64_C(1048576)
#define GIB UINT64_C(1073741824)

/* What `runtime` held at the start beside the program's image. A fact of the process, as the figures
 * it is taken from are. */
static _Atomic uint64_t start_bytes_beside_image;

static uint64_t kernel_bytes(const plat_process_memory *p) {
    return p->rss_anon_bytes + p->rss_shmem_bytes + p->rss_file_bytes + p->swap_bytes;
}

void mem_books_start(mem_ledger *l) {
    plat_process_memory process;
    plat_image_load_code();
    (void)plat_process_memory_read(&process); /* its constants come in: between the two figures none may */
    uint64_t image = plat_image_resident_bytes();
    (void)plat_process_memory_read(&process);
    start_bytes_beside_image = u64_less(kernel_bytes(&process), image);
    mem_ledger_measured(l, MEM_RUNTIME, start_bytes_beside_image + image);
}

/* Reserved but not yet resident is as good as used: whoever reserved it will touch it. */
uint64_t mem_books_under_line(const mem_books *b) {
    if (b->ledger.line_bytes == UINT64_MAX) return UINT64_MAX;
    uint64_t used = b->kernel_bytes > b->ledger.now_bytes ? b->kernel_bytes : b->ledger.now_bytes;
    return u64_less(b->ledger.line_bytes, used);
}

void mem_books_read(mem_ledger *l, mem_books *out) {
    mem_ledger_measured(l, MEM_RUNTIME, start_bytes_beside_image + plat_image_resident_bytes());
    mem_ledger_read(l, &out->ledger);
    (void)plat_process_memory_read(&out->process);
    bool machine_known = plat_system_memory_read(&out->system);
    plat_cgroup_memory_read(&out->cgroup);
    plat_heap_read(&out->heap);

    out->kernel_bytes = kernel_bytes(&out->process);
    mem_ledger_seen(l, &out->ledger, out->kernel_bytes);
    out->unexplained_bytes = (int64_t)(out->kernel_bytes - out->ledger.now_bytes);
    uint64_t off = (uint64_t)(out->unexplained_bytes < 0 ? -out->unexplained_bytes : out->unexplained_bytes);
    uint64_t two_percent = out->kernel_bytes / 50;
    out->tolerance_bytes = two_percent > 8 * MIB ? two_percent : 8 * MIB;
    out->balanced = off <= out->tolerance_bytes;

    uint64_t machine = machine_known ? out->system.available_bytes : UINT64_MAX;
    out->available_bytes = u64_min(mem_books_under_line(out), u64_min(machine, plat_cgroup_room(&out->cgroup)));
    const mem_watched *watched = &out->ledger.watched;
    out->reclaimable_bytes = watched->on ? watched->reclaimable_bytes : 0;
    out->level = watched->on ? (mem_level)watched->level : mem_level_of(out->available_bytes, out->ledger.line_bytes);
}

uint64_t mem_books_room(const mem_books *b) {
    uint64_t sum = b->available_bytes + b->reclaimable_bytes;
    return sum < b->available_bytes ? UINT64_MAX : sum;
}

const char *mem_level_name(mem_level level) {
    switch (level) {
    case MEM_SAFE: return "safe";
    case MEM_CAUTION: return "caution";
    case MEM_WARNING: return "warning";
    case MEM_CRITICAL: return "critical";
    case MEM_EMERGENCY: return "emergency";
    }
    return "?";
}

/* 3, 2, 1 and 0.5 GiB are these parts of 12 GiB, and stay these parts of a lower line. */
mem_level mem_level_of(uint64_t available_bytes, uint64_t line_bytes) {
    uint64_t span = u64_min(line_bytes, 12 * GIB);
    if (available_bytes > span / 4) return MEM_SAFE;
    if (available_bytes >= span / 6) return MEM_CAUTION;
    if (available_bytes >= span / 12) return MEM_WARNING;
    if (available_bytes >= span / 24) return MEM_CRITICAL;
    return MEM_EMERGENCY;
}
