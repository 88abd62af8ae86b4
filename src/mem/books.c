#include "mem/books.h"

#include <stdatomic.h>
#include <stdio.h>

#include "base/clock.h"
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

static void put_or_null(json_writer *w, const char *key, uint64_t bytes) {
    json_key(w, key);
    if (bytes == UINT64_MAX) json_null(w);
    else json_uint(w, bytes);
}

static void open_object(json_writer *w, const char *key) {
    json_key(w, key);
    json_object_start(w);
}

static void accounts_json(const mem_books *b, json_writer *w) {
    open_object(w, "accounts");
    for (mem_account a = 0; a < MEM_ACCOUNT_COUNT; a++) {
        const mem_ledger_row *row = &b->ledger.rows[a];
        open_object(w, mem_account_name(a));
        json_put_uint(w, "now_bytes", row->now_bytes);
        json_put_uint(w, "peak_bytes", row->peak_bytes);
        put_or_null(w, "limit_bytes", row->limit_bytes);
        json_put_uint(w, "refused", row->refused);
        json_object_end(w);
    }
    json_object_end(w);
}

static void readings_json(const mem_books *b, json_writer *w) {
    open_object(w, "kernel");
    json_put_uint(w, "rss_anon_bytes", b->process.rss_anon_bytes);
    json_put_uint(w, "rss_file_bytes", b->process.rss_file_bytes);
    json_put_uint(w, "rss_shmem_bytes", b->process.rss_shmem_bytes);
    json_put_uint(w, "swap_bytes", b->process.swap_bytes);
    json_put_uint(w, "peak_rss_bytes", b->process.peak_rss_bytes);
    json_object_end(w);

    open_object(w, "system");
    json_put_uint(w, "total_bytes", b->system.total_bytes);
    json_put_uint(w, "available_bytes", b->system.available_bytes);
    json_object_end(w);

    open_object(w, "cgroup");
    json_put_int(w, "version", b->cgroup.version);
    put_or_null(w, "limit_bytes", b->cgroup.limited ? b->cgroup.limit_bytes : UINT64_MAX);
    json_put_uint(w, "used_bytes", b->cgroup.used_bytes);
    json_put_uint(w, "inactive_file_bytes", b->cgroup.inactive_file_bytes);
    json_object_end(w);
}

static void levels_json(const mem_watched *watched, json_writer *w) {
    json_key(w, "levels");
    if (!watched->on) {
        json_null(w);
        return;
    }
    json_object_start(w);
    for (int i = 0; i < 4; i++) {
        char key[32];
        snprintf(key, sizeof key, "%s_bytes", mem_level_name((mem_level)(MEM_CAUTION + i)));
        json_put_uint(w, key, watched->threshold_bytes[i]);
    }
    json_put_string(w, "bound", str_of(watched->worst));
    json_put_bool(w, "pressed", watched->pressed);
    json_put_uint(w, "lasted_ms", clock_now_ns() / 1000000 - watched->since_ms);
    json_put_uint(w, "changes", watched->changes);
    json_object_end(w);
}

static void heap_json(const plat_heap *h, json_writer *w) {
    uint64_t held = h->arena_bytes + h->mmapped_bytes;
    open_object(w, "heap");
    json_put_uint(w, "arena_bytes", h->arena_bytes);
    json_put_uint(w, "in_use_bytes", h->in_use_bytes);
    json_put_uint(w, "free_bytes", h->free_bytes);
    json_put_uint(w, "releasable_bytes", h->releasable_bytes);
    json_put_uint(w, "mmapped_bytes", h->mmapped_bytes);
    json_put_fixed(w, "utilisation", held ? (double)h->in_use_bytes / (double)held : 1.0, 3);
    json_object_end(w);
}

void mem_books_json(const mem_books *b, json_writer *w) {
    json_object_start(w);
    mem_line_json(b->ledger.line_bytes, &b->ledger.line, w);
    json_put_uint(w, "kernel_bytes", b->kernel_bytes);
    json_put_uint(w, "ledger_bytes", b->ledger.now_bytes);
    json_put_uint(w, "ledger_peak_bytes", b->ledger.peak_bytes);
    json_put_int(w, "unexplained_bytes", b->unexplained_bytes);
    json_put_uint(w, "tolerance_bytes", b->tolerance_bytes);
    json_put_bool(w, "balanced", b->balanced);
    json_put_string(w, "level", str_of(mem_level_name(b->level)));
    json_put_uint(w, "available_bytes", b->available_bytes);
    json_put_uint(w, "reclaimable_bytes", b->reclaimable_bytes);
    levels_json(&b->ledger.watched, w);
    accounts_json(b, w);
    readings_json(b, w);
    heap_json(&b->heap, w);
    json_object_end(w);
}
