#include "mem/line.h"

#include "base/log.h"
#include "base/saturate.h"
#include "base/str.h"
#include "plat/mutex.h"
#include "plat/room.h"

#define GIB UINT64_C(1073741824)

/* ---- the default ---- */

/* The buffer is for a machine (or a container: its limit is all the machine it has) that can spare it. */
uint64_t mem_line_for(const plat_system_memory *system, const plat_cgroup_memory *cgroup) {
    uint64_t available = u64_min(system->available_bytes, plat_cgroup_room(cgroup));
    uint64_t machine = u64_min(system->total_bytes, cgroup->limited ? cgroup->limit_bytes : UINT64_MAX);
    uint64_t line = available / 100 * 80;
    return machine >= 8 * GIB ? u64_less(line, GIB) : line;
}

uint64_t mem_line_default(void) {
    plat_system_memory system;
    plat_cgroup_memory cgroup;
    if (!plat_system_memory_read(&system)) return UINT64_MAX; /* nothing to go by: no line */
    plat_cgroup_memory_read(&cgroup);
    return mem_line_for(&system, &cgroup);
}

/* ---- the kernel's files ---- */

static plat_mutex files_lock = PLAT_MUTEX_INITIALIZER;
static plat_room files;
static bool files_open;

static void open_files(void) {
    plat_mutex_lock(&files_lock);
    if (files_open && plat_room_moved(&files, "")) {
        plat_room_close(&files);
        files_open = false;
    }
    if (!files_open) plat_room_open(&files, "");
    files_open = true;
    plat_mutex_unlock(&files_lock);
}

static uint64_t room_now(uint64_t enough_bytes) {
    plat_mutex_lock(&files_lock);
    uint64_t bytes = u64_min(plat_room_in_machine(&files), plat_room_in_groups(&files, enough_bytes));
    plat_mutex_unlock(&files_lock);
    return bytes;
}

static uint64_t limit_now(void) {
    plat_mutex_lock(&files_lock);
    uint64_t bytes = plat_room_limit(&files);
    plat_mutex_unlock(&files_lock);
    return bytes;
}

/* ---- the line ---- */

static uint64_t bounded(mem_line_origin *t, uint64_t by_groups, uint64_t by_machine) {
    t->bound = by_groups < t->asked_bytes && by_groups <= by_machine ? "cgroup"
               : by_machine < t->asked_bytes                         ? "machine"
                                                                     : "asked";
    return u64_min(t->asked_bytes, u64_min(by_groups, by_machine));
}

uint64_t mem_line_clamp(uint64_t asked_bytes, uint64_t own_bytes, uint64_t in_groups, uint64_t in_machine,
                        uint64_t limit_bytes, mem_line_origin *origin) {
    uint64_t by_groups = u64_plus(own_bytes, in_groups);
    *origin = (mem_line_origin){.asked_bytes = asked_bytes,
                              .beside_bytes = limit_bytes == UINT64_MAX ? 0 : u64_less(limit_bytes, by_groups)};
    return bounded(origin, by_groups, u64_plus(own_bytes, in_machine));
}

static void say_cut(uint64_t line, const mem_line_origin *t) {
    char asked[BYTES_TEXT_BYTES], given[BYTES_TEXT_BYTES];
    bytes_text(t->asked_bytes, asked);
    bytes_text(line, given);
    if (t->bound[0] == 'c')
        log_warn("memory", "the line of %s is above what the control group can give: it is %s", asked, given);
    else if (t->bound[0] == 'm')
        log_warn("memory", "the line of %s is above what this machine has available: it is %s", asked, given);
}

void mem_line_start(mem_ledger *l, uint64_t asked_bytes, bool machine) {
    plat_process_memory own = {0};
    mem_line_origin origin;
    if (!asked_bytes) asked_bytes = mem_line_default();
    open_files();
    (void)plat_process_memory_read(&own);
    /* Pages of files may be in another's account: what the process surely has of the group is the rest. */
    uint64_t own_bytes = own.rss_anon_bytes + own.rss_shmem_bytes, in_groups, in_machine = UINT64_MAX;
    plat_mutex_lock(&files_lock);
    in_groups = plat_room_in_groups(&files, UINT64_MAX);
    if (machine) in_machine = plat_room_in_machine(&files);
    plat_mutex_unlock(&files_lock);
    uint64_t line = mem_line_clamp(asked_bytes, own_bytes, in_groups, in_machine, limit_now(), &origin);
    say_cut(line, &origin);
    mem_ledger_set_line(l, line, &origin);
    if (machine) mem_ledger_set_room(l, room_now);
}

bool mem_line_follow(mem_ledger *l) {
    mem_ledger_view v;
    mem_ledger_read(l, &v);
    if (!v.line.bound || v.line.asked_bytes == UINT64_MAX) return false;
    open_files();
    mem_line_origin origin = v.line;
    uint64_t limit = limit_now();
    /* What the machine has available changes all the time: each reservation asks for it. */
    uint64_t line = bounded(&origin, limit == UINT64_MAX ? limit : u64_less(limit, origin.beside_bytes), UINT64_MAX);
    if (line == v.line_bytes) return false;
    char before[BYTES_TEXT_BYTES], now[BYTES_TEXT_BYTES];
    log_warn("memory", "the line is %s now, was %s: %s", bytes_text(line, now), bytes_text(v.line_bytes, before),
             origin.bound[0] == 'c' ? "a control group's limit has changed" : "as asked");
    mem_ledger_set_line(l, line, &origin);
    return true;
}
