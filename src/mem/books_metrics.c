/* The books' figures, each once: what GET /memory calls "books", and whoever else shows one of them. */
#include "base/clock.h"
#include "mem/books.h"

#define AT(member) METRIC_AT(mem_books, member)
#define LIMIT_AT(member) METRIC_LIMIT_AT(mem_books, member)

static metric_presence line_origin_presence(const void *of) {
    return ((const mem_books *)of)->ledger.line.bound ? METRIC_SHOWN : METRIC_ABSENT;
}

static metric_presence levels_presence(const void *of) {
    return ((const mem_books *)of)->ledger.watched.on ? METRIC_SHOWN : METRIC_NULL;
}

static metric_value read_level(const void *of) {
    return (metric_value){.form = METRIC_TEXT, .text = mem_level_name(((const mem_books *)of)->level)};
}

static metric_value read_lasted(const void *of) {
    uint64_t since_ms = ((const mem_books *)of)->ledger.watched.since_ms;
    return (metric_value){.form = METRIC_U64, .u64 = clock_now_ns() / 1000000 - since_ms};
}

static metric_value read_cgroup_limit(const void *of) {
    const plat_cgroup_memory *c = &((const mem_books *)of)->cgroup;
    return (metric_value){.form = c->limited && c->limit_bytes != UINT64_MAX ? METRIC_U64 : METRIC_NONE,
                          .u64 = c->limit_bytes};
}

static metric_value read_utilisation(const void *of) {
    const plat_heap *h = &((const mem_books *)of)->heap;
    uint64_t held = h->arena_bytes + h->mmapped_bytes;
    return (metric_value){.form = METRIC_DOUBLE, .number = held ? (double)h->in_use_bytes / (double)held : 1.0};
}

static const metric line_rows[] = {
    {"line_bytes", "memory_line_bytes", METRIC_GAUGE, METRIC_BYTES, LIMIT_AT(ledger.line_bytes),
     "The line: what the process may use at most."},
};

static const metric line_origin_rows[] = {
    {"line_asked_bytes", "memory_line_asked_bytes", METRIC_GAUGE, METRIC_BYTES, LIMIT_AT(ledger.line.asked_bytes),
     "The line that was asked for, or the default, before control group and machine lowered it."},
    {"line_bound", "memory_line_bound", METRIC_STATE, METRIC_COUNT, AT(ledger.line.bound),
     "What decides the line: what was asked, the control group, or the machine."},
};

static const metric sum_rows[] = {
    {"kernel_bytes", "memory_used_bytes", METRIC_GAUGE, METRIC_BYTES, AT(kernel_bytes),
     "What the process uses as the kernel counts it: resident memory and swap."},
    {"ledger_bytes", "memory_ledger_bytes", METRIC_GAUGE, METRIC_BYTES, AT(ledger.now_bytes),
     "What all accounts of the ledger hold together."},
    {"ledger_peak_bytes", "memory_ledger_peak_bytes", METRIC_GAUGE, METRIC_BYTES, AT(ledger.peak_bytes),
     "The most that all accounts held together since the start."},
    {"unexplained_bytes", "memory_unexplained_bytes", METRIC_GAUGE, METRIC_BYTES, AT(unexplained_bytes),
     "What the kernel counts more than the ledger; negative where reserved bytes are not resident yet."},
    {"tolerance_bytes", "memory_tolerance_bytes", METRIC_GAUGE, METRIC_BYTES, AT(tolerance_bytes),
     "How much may be unexplained while the books still count as balanced."},
    {"balanced", "memory_balanced", METRIC_STATE, METRIC_COUNT, AT(balanced),
     "Whether ledger and kernel agree within the tolerance."},
    {"level", "memory_level", METRIC_STATE, METRIC_COUNT, METRIC_BY_READER,
     "How much room is left, in a word: safe, caution, warning, critical or emergency.", .read = read_level},
    {"available_bytes", "memory_available_bytes", METRIC_GAUGE, METRIC_BYTES, AT(available_bytes),
     "What can still be taken under the line, in the control group and on the machine, whichever is least."},
    {"reclaimable_bytes", "memory_reclaimable_bytes", METRIC_GAUGE, METRIC_BYTES, AT(reclaimable_bytes),
     "What the process holds and gives back at once where it is needed: cached and free pages."},
};

static const metric level_rows[] = {
    {"caution_bytes", "memory_level_caution_bytes", METRIC_GAUGE, METRIC_BYTES, AT(ledger.watched.threshold_bytes[0]),
     "The room at and below which the level is caution."},
    {"warning_bytes", "memory_level_warning_bytes", METRIC_GAUGE, METRIC_BYTES, AT(ledger.watched.threshold_bytes[1]),
     "The room below which the level is warning."},
    {"critical_bytes", "memory_level_critical_bytes", METRIC_GAUGE, METRIC_BYTES,
     AT(ledger.watched.threshold_bytes[2]), "The room below which the level is critical."},
    {"emergency_bytes", "memory_level_emergency_bytes", METRIC_GAUGE, METRIC_BYTES,
     AT(ledger.watched.threshold_bytes[3]), "The room below which the level is emergency."},
    {"bound", "memory_level_bound", METRIC_STATE, METRIC_COUNT, AT(ledger.watched.worst),
     "What the level comes from: the line, the control group, or the machine."},
    {"pressed", "memory_pressed", METRIC_STATE, METRIC_COUNT, AT(ledger.watched.pressed),
     "Whether the kernel says that tasks wait for memory, which raises the level early."},
    {"lasted_ms", "memory_level_lasted_seconds", METRIC_GAUGE, METRIC_MILLISECONDS, METRIC_BY_READER,
     "How long the level has been what it is.", .read = read_lasted},
    {"changes", "memory_level_changes_total", METRIC_COUNTER, METRIC_COUNT, AT(ledger.watched.changes),
     "Changes of the level since the start."},
};

static const metric account_rows[] = {
    {"now_bytes", "memory_account_bytes", METRIC_GAUGE, METRIC_BYTES, AT(ledger.rows[0].now_bytes),
     "What the account holds now."},
    {"peak_bytes", "memory_account_peak_bytes", METRIC_GAUGE, METRIC_BYTES, AT(ledger.rows[0].peak_bytes),
     "The most that the account held since the start."},
    {"limit_bytes", "memory_account_limit_bytes", METRIC_GAUGE, METRIC_BYTES, LIMIT_AT(ledger.rows[0].limit_bytes),
     "What the account may hold at most; none where only the line limits it."},
    {"refused", "memory_account_refused_total", METRIC_COUNTER, METRIC_COUNT, AT(ledger.rows[0].refused),
     "Reservations of the account that were turned down."},
};

static const char *account_label(uint32_t i) { return mem_account_name((mem_account)i); }

static const metric kernel_rows[] = {
    {"rss_anon_bytes", "process_anonymous_bytes", METRIC_GAUGE, METRIC_BYTES, AT(process.rss_anon_bytes),
     "Resident memory of the process that no file stands behind."},
    {"rss_file_bytes", "process_file_bytes", METRIC_GAUGE, METRIC_BYTES, AT(process.rss_file_bytes),
     "Resident pages of files that the process has mapped."},
    {"rss_shmem_bytes", "process_shared_bytes", METRIC_GAUGE, METRIC_BYTES, AT(process.rss_shmem_bytes),
     "Resident shared memory of the process."},
    {"swap_bytes", "process_swap_bytes", METRIC_GAUGE, METRIC_BYTES, AT(process.swap_bytes),
     "Memory of the process that the kernel has swapped out."},
    {"peak_rss_bytes", "process_peak_bytes", METRIC_GAUGE, METRIC_BYTES, AT(process.peak_rss_bytes),
     "The most that was resident at once since the process began."},
};

static const metric system_rows[] = {
    {"total_bytes", "machine_bytes", METRIC_GAUGE, METRIC_BYTES, AT(system.total_bytes), "Memory of the machine."},
    {"available_bytes", "machine_available_bytes", METRIC_GAUGE, METRIC_BYTES, AT(system.available_bytes),
     "Memory of the machine that the kernel could give without swapping."},
};

static const metric cgroup_rows[] = {
    {"version", "cgroup_version", METRIC_GAUGE, METRIC_COUNT, AT(cgroup.version),
     "The version of the control group that was found, 1 or 2; 0 where there is none."},
    {"limit_bytes", "cgroup_limit_bytes", METRIC_GAUGE, METRIC_BYTES, METRIC_BY_READER,
     "The limit of the control group with the least room.", .read = read_cgroup_limit},
    {"used_bytes", "cgroup_used_bytes", METRIC_GAUGE, METRIC_BYTES, AT(cgroup.used_bytes),
     "What that control group uses, with all processes in it."},
    {"inactive_file_bytes", "cgroup_inactive_file_bytes", METRIC_GAUGE, METRIC_BYTES, AT(cgroup.inactive_file_bytes),
     "Of that, pages of files that the kernel takes back first."},
};

static const metric heap_rows[] = {
    {"arena_bytes", "heap_arena_bytes", METRIC_GAUGE, METRIC_BYTES, AT(heap.arena_bytes),
     "What the allocator's arenas hold."},
    {"in_use_bytes", "heap_in_use_bytes", METRIC_GAUGE, METRIC_BYTES, AT(heap.in_use_bytes),
     "What of the allocator's memory is in use."},
    {"free_bytes", "heap_free_bytes", METRIC_GAUGE, METRIC_BYTES, AT(heap.free_bytes),
     "What of the allocator's arenas is free."},
    {"releasable_bytes", "heap_releasable_bytes", METRIC_GAUGE, METRIC_BYTES, AT(heap.releasable_bytes),
     "What of that lies at the end of an arena, so that trimming gives it back."},
    {"mmapped_bytes", "heap_mmapped_bytes", METRIC_GAUGE, METRIC_BYTES, AT(heap.mmapped_bytes),
     "Large blocks that the allocator took from the kernel one by one."},
    {"utilisation", "heap_utilisation_ratio", METRIC_GAUGE, METRIC_RATIO, METRIC_BY_READER,
     "The share of the allocator's memory that is in use.", 3, read_utilisation},
};

static const metric_section sections[] = {
    {"", METRIC_ROWS(line_rows)},
    {"", METRIC_ROWS(line_origin_rows), line_origin_presence},
    {"", METRIC_ROWS(sum_rows)},
    {"levels", METRIC_ROWS(level_rows), levels_presence},
    {"accounts", METRIC_ROWS(account_rows), NULL, "account", account_label, MEM_ACCOUNT_COUNT, sizeof(mem_ledger_row)},
    {"kernel", METRIC_ROWS(kernel_rows)},
    {"system", METRIC_ROWS(system_rows)},
    {"cgroup", METRIC_ROWS(cgroup_rows)},
    {"heap", METRIC_ROWS(heap_rows)},
};

const metric_table mem_books_metrics = {METRIC_ROWS(sections)};

void mem_books_json(const mem_books *b, json_writer *w) {
    json_object_start(w);
    metric_table_json(&mem_books_metrics, b, w);
    json_object_end(w);
}
