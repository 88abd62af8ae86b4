#include "plat/room.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/saturate.h"
#include "plat/cpu.h"
#include "plat/proc.h"

#define MIB UINT64_C(1048576)

enum {
    STAT_TEXT_BYTES = 8192, /* memory.stat has 2 to 5 KB, meminfo 1.5 */
    STAT_ERROR_PAGES = 64,  /* a core: the kernel adds its cores' counts up only when they are larger */
};

_Static_assert(sizeof ((plat_room *)0)->dir == PLAT_PATH_BYTES, "a control group's path");

static int open_in(const char *dir, const char *file) {
    char path[PLAT_PATH_BYTES + 64];
    snprintf(path, sizeof path, "%s/%s", dir, file);
    return open(path, O_RDONLY | O_CLOEXEC);
}

static plat_room_group open_group(const plat_group *g) {
    if (g->version == 1)
        return (plat_room_group){.limit = open_in(g->dir, "memory.limit_in_bytes"),
                                 .high = -1,
                                 .usage = open_in(g->dir, "memory.usage_in_bytes"),
                                 .stat = open_in(g->dir, "memory.stat"),
                                 .total = true};
    return (plat_room_group){.limit = open_in(g->dir, "memory.max"),
                             .high = open_in(g->dir, "memory.high"),
                             .usage = open_in(g->dir, "memory.current"),
                             .stat = open_in(g->dir, "memory.stat")};
}

static void close_file(int fd) {
    if (fd >= 0) close(fd);
}

static void close_group(const plat_room_group *g) {
    close_file(g->limit);
    close_file(g->high);
    close_file(g->usage);
    close_file(g->stat);
}

void plat_room_open(plat_room *r, const char *root) {
    plat_group g;
    *r = (plat_room){.meminfo = open_in(root, "proc/meminfo")};
    if (!plat_group_find(&g, root, "memory")) return;
    memcpy(r->dir, g.dir, sizeof r->dir);
    do {
        plat_room_group here = open_group(&g);
        if (here.usage >= 0) r->groups[r->n_groups++] = here;
        else close_group(&here); /* v2's root, which has no limits */
    } while (r->n_groups < PLAT_ROOM_GROUPS && plat_group_ascend(&g));
}

void plat_room_close(plat_room *r) {
    for (uint32_t i = 0; i < r->n_groups; i++) close_group(&r->groups[i]);
    close_file(r->meminfo);
    *r = (plat_room){.meminfo = -1};
}

bool plat_room_moved(const plat_room *r, const char *root) {
    plat_group g;
    return strcmp(plat_group_find(&g, root, "memory") ? g.dir : "", r->dir) != 0;
}

static bool read_text(int fd, char *text, size_t size) {
    ssize_t n = fd < 0 ? -1 : pread(fd, text, size - 1, 0);
    text[n > 0 ? n : 0] = 0;
    return n > 0;
}

static uint64_t read_number(int fd, uint64_t otherwise) {
    char text[64];
    uint64_t value;
    return read_text(fd, text, sizeof text) && plat_number_parse(text, &value) ? value : otherwise;
}

/* The number behind a key at the start of a line. */
static bool read_field(int fd, const char *key, uint64_t *value) {
    char text[STAT_TEXT_BYTES];
    if (!read_text(fd, text, sizeof text)) return false;
    size_t n = strlen(key);
    for (const char *line = text; line; line = (line = strchr(line, '\n')) ? line + 1 : NULL)
        if (!strncmp(line, key, n)) return plat_number_parse(line + n, value);
    return false;
}

uint64_t plat_room_margin(uint64_t limit_bytes) { return u64_min(2 * MIB + limit_bytes / 128, 64 * MIB); }

static uint64_t limit_of(const plat_room_group *g) {
    uint64_t limit = u64_min(read_number(g->limit, UINT64_MAX), read_number(g->high, UINT64_MAX));
    return limit < PLAT_NO_LIMIT_FROM ? limit : UINT64_MAX;
}

/* As far as the kernel's own figure is exact. */
static uint64_t inactive_of(const plat_room_group *g) {
    uint64_t bytes = 0, error = (uint64_t)STAT_ERROR_PAGES * 4096 * (uint64_t)plat_cpu_get()->usable_cores;
    (void)read_field(g->stat, g->total ? "total_inactive_file " : "inactive_file ", &bytes);
    return u64_less(bytes, error);
}

uint64_t plat_room_in_groups(const plat_room *r, uint64_t enough_bytes) {
    uint64_t room = UINT64_MAX;
    for (uint32_t i = 0; i < r->n_groups; i++) {
        const plat_room_group *g = &r->groups[i];
        uint64_t limit = limit_of(g);
        if (limit == UINT64_MAX) continue;
        limit -= u64_min(limit, plat_room_margin(limit));
        uint64_t used = read_number(g->usage, 0), here = u64_less(limit, used);
        if (here < enough_bytes) here = u64_less(limit, u64_less(used, inactive_of(g)));
        room = u64_min(room, here);
    }
    return room;
}

uint64_t plat_room_in_machine(const plat_room *r) {
    uint64_t kib;
    if (!read_field(r->meminfo, "MemAvailable:", &kib)) return UINT64_MAX;
    return u64_less(kib * 1024, 16 * MIB);
}

uint64_t plat_room_limit(const plat_room *r) {
    uint64_t limit = UINT64_MAX;
    for (uint32_t i = 0; i < r->n_groups; i++) {
        uint64_t here = limit_of(&r->groups[i]);
        if (here != UINT64_MAX) limit = u64_min(limit, u64_less(here, plat_room_margin(here)));
    }
    return limit;
}
