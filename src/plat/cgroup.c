/* Finding this process's control group, in v1 and v2, and the tightest bound on the way to its root. */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "plat/proc.h"

typedef plat_group group;

/* "a,b,c" names it */
static bool listed(const char *list, size_t length, const char *name) {
    size_t n = strlen(name);
    for (const char *at = list, *end = list + length; at < end;) {
        const char *comma = memchr(at, ',', (size_t)(end - at));
        size_t item = (size_t)((comma ? comma : end) - at);
        if (item == n && memcmp(at, name, n) == 0) return true;
        at += item + 1;
    }
    return false;
}

/* Out of /proc/self/cgroup: "4:memory:/path" (v1) or "0::/path" (v2, controller ""). */
static bool own_path(const char *root, const char *controller, char out[PLAT_PATH_BYTES]) {
    char file[PLAT_PATH_BYTES];
    snprintf(file, sizeof file, "%s/proc/self/cgroup", root);
    plat_lines r;
    if (!plat_lines_open(&r, file)) return false;
    bool found = false;
    for (char *line; !found && (line = plat_lines_next(&r));) {
        char *list = strchr(line, ':'), *path = list ? strchr(list + 1, ':') : NULL;
        if (!path) continue;
        size_t length = (size_t)(path - list) - 1;
        bool match = controller[0] ? listed(list + 1, length, controller) : length == 0;
        found = match && snprintf(out, PLAT_PATH_BYTES, "%s", path + 1) < PLAT_PATH_BYTES;
    }
    plat_lines_close(&r);
    return found;
}

static bool octal_digit(char c) { return c >= '0' && c <= '7'; }

/* mountinfo writes blanks and such as \040. In place. */
static void unescape(char *s) {
    char *to = s;
    while (*s) {
        if (s[0] == '\\' && octal_digit(s[1]) && octal_digit(s[2]) && octal_digit(s[3])) {
            *to++ = (char)(((s[1] - '0') * 64 + (s[2] - '0') * 8 + (s[3] - '0')) & 0xFF);
            s += 4;
        } else {
            *to++ = *s++;
        }
    }
    *to = 0;
}

/* One line of mountinfo: id parent dev ROOT MOUNT options [tags…] - TYPE source SUPER-OPTIONS.
 * Gives MOUNT and ROOT (which directory of the hierarchy is mounted there) when it is ours. */
static bool mount_line(char *line, const char *controller, char **mount, char **mounted) {
    char *tail = strstr(line, " - "), *state = NULL, *fields[5];
    if (!tail) return false;
    *tail = 0;
    for (int i = 0; i < 5; i++) {
        fields[i] = strtok_r(i ? NULL : line, " ", &state);
        if (!fields[i]) return false;
    }
    char *type = strtok_r(tail + 3, " ", &state);
    (void)strtok_r(NULL, " ", &state);
    char *options = strtok_r(NULL, " ", &state);
    if (!type || !options || strcmp(type, controller[0] ? "cgroup" : "cgroup2") != 0) return false;
    if (controller[0] && !listed(options, strlen(options), controller)) return false;
    *mounted = fields[3];
    *mount = fields[4];
    unescape(*mounted);
    unescape(*mount);
    return true;
}

/* A container sees only the part of the hierarchy that is mounted; a path outside it ("/.." and the
 * like) leaves the mount itself as the best we can read. */
static bool join(group *g, const char *root, const char *mount, const char *mounted, const char *path) {
    size_t n = strcmp(mounted, "/") == 0 ? 0 : strlen(mounted);
    bool inside = strncmp(path, mounted, n) == 0 && (path[n] == '/' || path[n] == 0) && !strstr(path, "/..");
    const char *rest = inside && strcmp(path + n, "/") != 0 ? path + n : "";
    int mount_length = snprintf(g->dir, sizeof g->dir, "%s%s", root, mount);
    int length = snprintf(g->dir, sizeof g->dir, "%s%s%s", root, mount, rest);
    g->mount_length = (size_t)mount_length;
    return length < PLAT_PATH_BYTES;
}

static bool find_version(group *g, const char *root, const char *controller, int version) {
    char path[PLAT_PATH_BYTES], file[PLAT_PATH_BYTES];
    if (!own_path(root, controller, path)) return false;
    snprintf(file, sizeof file, "%s/proc/self/mountinfo", root);
    plat_lines r;
    if (!plat_lines_open(&r, file)) return false;
    bool found = false;
    for (char *line, *mount, *mounted; !found && (line = plat_lines_next(&r));)
        found = mount_line(line, controller, &mount, &mounted) && join(g, root, mount, mounted, path);
    plat_lines_close(&r);
    g->version = version;
    return found;
}

/* Where v1 still holds a controller, v2 does not have it. */
bool plat_group_find(group *g, const char *root, const char *controller) {
    return find_version(g, root, controller, 1) || find_version(g, root, "", 2);
}

bool plat_cgroup_dir_at(const char *root, char out[PLAT_PATH_BYTES], int *version) {
    group g;
    if (!plat_group_find(&g, root, "memory")) return false;
    memcpy(out, g.dir, sizeof g.dir);
    *version = g.version;
    return true;
}

bool plat_group_ascend(group *g) {
    char *slash = strrchr(g->dir + g->mount_length, '/');
    if (!slash) return false;
    *slash = 0;
    return true;
}

static bool read_line(const group *g, const char *file, plat_lines *r, char **line) {
    char path[PLAT_PATH_BYTES + 64];
    snprintf(path, sizeof path, "%s/%s", g->dir, file);
    if (!plat_lines_open(r, path)) return false;
    *line = plat_lines_next(r);
    plat_lines_close(r);
    return *line != NULL;
}

static bool exists(const group *g, const char *file) {
    char path[PLAT_PATH_BYTES + 64];
    snprintf(path, sizeof path, "%s/%s", g->dir, file);
    return access(path, F_OK) == 0;
}

static bool read_number(const group *g, const char *file, uint64_t *value) {
    plat_lines r;
    char *line;
    return read_line(g, file, &r, &line) && plat_number_parse(line, value);
}

static uint64_t read_stat(const group *g, const char *key) {
    char path[PLAT_PATH_BYTES + 64];
    snprintf(path, sizeof path, "%s/memory.stat", g->dir);
    plat_lines r;
    if (!plat_lines_open(&r, path)) return 0;
    uint64_t value = 0;
    size_t n = strlen(key);
    for (char *line; (line = plat_lines_next(&r));)
        if (strncmp(line, key, n) == 0 && line[n] == ' ' && plat_number_parse(line + n, &value)) break;
    plat_lines_close(&r);
    return value;
}

/* One group's own bound. memory.high counts as one: above it the kernel throttles us to a crawl. */
static bool read_bound(const group *g, plat_cgroup_memory *out) {
    bool v2 = g->version == 2;
    const char *file = v2 ? "memory.max" : "memory.limit_in_bytes";
    uint64_t limit = UINT64_MAX, high = UINT64_MAX;
    *out = (plat_cgroup_memory){0};
    out->unreadable = !read_number(g, file, &limit) && exists(g, file);
    if (v2) (void)read_number(g, "memory.high", &high);
    if (high < limit) limit = high;
    if (limit >= PLAT_NO_LIMIT_FROM) return false;
    *out = (plat_cgroup_memory){
        .limited = true, .unreadable = out->unreadable, .version = g->version, .limit_bytes = limit};
    (void)read_number(g, v2 ? "memory.current" : "memory.usage_in_bytes", &out->used_bytes);
    out->inactive_file_bytes = read_stat(g, v2 ? "inactive_file" : "total_inactive_file");
    return true;
}

void plat_cgroup_memory_at(const char *root, plat_cgroup_memory *out) {
    *out = (plat_cgroup_memory){0};
    group g;
    if (!plat_group_find(&g, root, "memory")) return;
    out->version = g.version;
    uint64_t least = UINT64_MAX;
    do {
        plat_cgroup_memory here;
        bool bound = read_bound(&g, &here);
        out->unreadable |= here.unreadable;
        here.unreadable = out->unreadable;
        if (!bound) continue;
        uint64_t room = plat_cgroup_room(&here);
        if (room < least) {
            least = room;
            *out = here;
        }
    } while (plat_group_ascend(&g));
}

uint64_t plat_cgroup_room(const plat_cgroup_memory *c) {
    if (!c->limited) return UINT64_MAX;
    uint64_t held = c->used_bytes > c->inactive_file_bytes ? c->used_bytes - c->inactive_file_bytes : 0;
    return c->limit_bytes > held ? c->limit_bytes - held : 0;
}

void plat_cgroup_memory_read(plat_cgroup_memory *out) { plat_cgroup_memory_at("", out); }

/* v2: "150000 100000" or "max 100000"; v1: two files, quota −1 for none. */
static bool read_quota(const group *g, uint64_t *quota, uint64_t *period) {
    if (g->version == 1)
        return read_number(g, "cpu.cfs_quota_us", quota) && read_number(g, "cpu.cfs_period_us", period);
    plat_lines r;
    char *line, *blank;
    if (!read_line(g, "cpu.max", &r, &line) || !(blank = strchr(line, ' '))) return false;
    return plat_number_parse(line, quota) && plat_number_parse(blank, period);
}

int plat_cgroup_cores_at(const char *root) {
    group g;
    if (!plat_group_find(&g, root, "cpu")) return 0;
    uint64_t least = 0;
    do {
        uint64_t quota, period;
        if (!read_quota(&g, &quota, &period) || quota >= PLAT_NO_LIMIT_FROM || period == 0) continue;
        uint64_t cores = quota / period + (quota % period != 0);
        if (least == 0 || cores < least) least = cores;
    } while (plat_group_ascend(&g));
    return least > 1 << 20 ? 0 : (int)least;
}
