#include "plat/cage.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "plat/proc.h"

enum { REMOVE_TRIES = 200 };

#define NAME "plimsoll-guard-"

static void path_in(const char *dir, const char *file, char out[PLAT_PATH_BYTES + 64]) {
    snprintf(out, PLAT_PATH_BYTES + 64, "%s/%s", dir, file);
}

/* O_CREAT has no effect on a kernel's files, which are all there. */
static bool put(const char *dir, const char *file, const char *text, err *e) {
    char path[PLAT_PATH_BYTES + 64];
    path_in(dir, file, path);
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    ssize_t n = fd < 0 ? -1 : write(fd, text, strlen(text));
    int reason = errno;
    if (fd >= 0) close(fd);
    return n == (ssize_t)strlen(text) || err_set(e, ERR_IO, "%.200s: %s", path, strerror(reason));
}

static bool there(const char *dir, const char *file) {
    char path[PLAT_PATH_BYTES + 64];
    path_in(dir, file, path);
    return access(path, F_OK) == 0;
}

static bool first_line(const char *dir, const char *file, char out[128]) {
    char path[PLAT_PATH_BYTES + 64], *line;
    plat_lines r;
    path_in(dir, file, path);
    if (!plat_lines_open(&r, path)) return false;
    line = plat_lines_next(&r);
    if (line) snprintf(out, 128, "%.127s", line);
    plat_lines_close(&r);
    return line != NULL;
}

static bool hands_memory_down(const char *dir) {
    char line[128];
    return first_line(dir, "cgroup.subtree_control", line) && strstr(line, "memory");
}

/* In v2: ours, or the one above it. */
static bool choose_v2(char dir[PLAT_PATH_BYTES], err *e) {
    char line[128];
    if (hands_memory_down(dir)) return true;
    bool unlimited = first_line(dir, "memory.max", line) && !strncmp(line, "max", 3);
    char *slash = strrchr(dir, '/');
    if (unlimited && slash) {
        *slash = 0;
        if (hands_memory_down(dir)) return true;
    }
    return err_set(e, ERR_UNSUPPORTED, "the control group of this process hands no memory limits down");
}

static bool choose(const char *root, const char *parent, char dir[PLAT_PATH_BYTES], int *version, err *e) {
    if (!parent) {
        if (!plat_cgroup_dir_at(root, dir, version))
            return err_set(e, ERR_UNSUPPORTED, "this machine has no control groups for memory");
        return *version == 1 || choose_v2(dir, e);
    }
    snprintf(dir, PLAT_PATH_BYTES, "%s", parent);
    *version = there(dir, "cgroup.controllers") ? 2 : there(dir, "memory.limit_in_bytes") ? 1 : 0;
    if (*version) return true;
    return err_set(e, ERR_NOT_FOUND, "%.200s is not a control group with memory limits that can be read", parent);
}

/* What is left of runs whose process is gone. A group with processes in it stays: the kernel sees to that. */
static void sweep(const char *dir) {
    DIR *d = opendir(dir);
    if (!d) return;
    char path[PLAT_PATH_BYTES + 64];
    for (struct dirent *entry; (entry = readdir(d));) {
        if (strncmp(entry->d_name, NAME, sizeof NAME - 1) != 0) continue;
        int pid = atoi(entry->d_name + sizeof NAME - 1);
        if (pid <= 0 || kill(pid, 0) == 0 || errno != ESRCH) continue;
        snprintf(path, sizeof path, "%.1000s/%.60s", dir, entry->d_name);
        (void)rmdir(path);
    }
    closedir(d);
}

/* Swap counts, as it does in the guard's own figure; where the kernel does not account it, the limit is of memory
 * alone. */
static bool set_limit(const plat_cage *c, uint64_t limit_bytes, err *e) {
    char number[32];
    snprintf(number, sizeof number, "%llu", (unsigned long long)limit_bytes);
    if (!put(c->dir, c->version == 2 ? "memory.max" : "memory.limit_in_bytes", number, e)) return false;
    if (c->version == 2 && there(c->dir, "memory.swap.max")) (void)put(c->dir, "memory.swap.max", "0", NULL);
    if (c->version == 2 && there(c->dir, "memory.oom.group")) (void)put(c->dir, "memory.oom.group", "1", NULL);
    if (c->version == 1 && there(c->dir, "memory.memsw.limit_in_bytes"))
        (void)put(c->dir, "memory.memsw.limit_in_bytes", number, NULL);
    return true;
}

bool plat_cage_make(plat_cage *c, const char *root, const char *parent, uint64_t limit_bytes, err *e) {
    static int made; /* a run of a list has one after the other */
    *c = (plat_cage){0};
    char dir[PLAT_PATH_BYTES];
    int version = 0;
    if (!choose(root, parent, dir, &version, e)) return false;
    sweep(dir);
    int length = snprintf(c->dir, sizeof c->dir, "%s/" NAME "%d-%d", dir, (int)getpid(), made++);
    if (length >= (int)sizeof c->dir) return err_set(e, ERR_IO, "the control group's path is too long");
    if (mkdir(c->dir, 0700)) return err_set(e, ERR_IO, "no control group %.200s: %s", c->dir, strerror(errno));
    c->version = version;
    if (set_limit(c, limit_bytes, e)) return true;
    (void)plat_cage_remove(c);
    return false;
}

int plat_cage_open(const plat_cage *c, err *e) {
    char path[PLAT_PATH_BYTES + 64];
    path_in(c->dir, "cgroup.procs", path);
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0) err_set(e, ERR_IO, "%.200s: %s", path, strerror(errno));
    return fd;
}

uint64_t plat_cage_kills(const plat_cage *c) {
    char path[PLAT_PATH_BYTES + 64];
    plat_lines r;
    uint64_t kills = 0;
    path_in(c->dir, c->version == 2 ? "memory.events" : "memory.oom_control", path);
    if (!c->version || !plat_lines_open(&r, path)) return 0;
    for (char *line; (line = plat_lines_next(&r));)
        if (!strncmp(line, "oom_kill ", 9)) (void)plat_number_parse(line + 9, &kills);
    plat_lines_close(&r);
    return kills;
}

bool plat_cage_remove(plat_cage *c) {
    const struct timespec moment = {0, 10000000};
    if (!c->version) return true;
    for (int i = 0; i < REMOVE_TRIES; i++) {
        if (rmdir(c->dir) == 0 || errno == ENOENT) return c->version = 0, true;
        if (errno != EBUSY) return false;
        (void)nanosleep(&moment, NULL);
    }
    return false;
}
