#include "plat/psi.h"

#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "plat/proc.h"

_Static_assert(sizeof ((plat_psi_source *)0)->path >= PLAT_PATH_BYTES + 64, "a control group's path and a file's name");

bool plat_psi_total(const char *path, const char *kind, uint64_t *total_us) {
    plat_lines r;
    if (!plat_lines_open(&r, path)) return false;
    bool found = false;
    size_t n = strlen(kind);
    for (char *line; !found && (line = plat_lines_next(&r));) {
        char *total = strncmp(line, kind, n) == 0 && line[n] == ' ' ? strstr(line, "total=") : NULL;
        found = total && plat_number_parse(total + 6, total_us);
    }
    plat_lines_close(&r);
    return found;
}

/* Windows of 2 s are what the kernel grants to anyone. */
static int open_trigger(const char *path) {
    int fd = open(path, O_RDWR | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0) return -1;
    char text[64];
    int n = snprintf(text, sizeof text, "some %d %d", PLAT_PSI_STALL_MS * 1000, PLAT_PSI_WINDOW_MS * 1000);
    if (write(fd, text, (size_t)n + 1) == n + 1) return fd;
    close(fd);
    return -1;
}

/* real: a plain file would take the trigger's words, and not tell. */
static void add_source(plat_psi *p, const char *dir, const char *file, bool group, bool real) {
    plat_psi_source *s = &p->sources[p->n_sources];
    *s = (plat_psi_source){.trigger_fd = -1, .group = group};
    int n = snprintf(s->path, sizeof s->path, "%s/%s", dir, file);
    if (n >= (int)sizeof s->path || !plat_psi_total(s->path, "some", &s->total_us)) return;
    if (real) s->trigger_fd = open_trigger(s->path);
    p->n_sources++;
}

static bool ask_for_events(int control, int event, int level, const char *mode) {
    char text[64];
    int n = snprintf(text, sizeof text, "%d %d %s", event, level, mode);
    return write(control, text, (size_t)n + 1) == n + 1;
}

/* "Medium" is where the kernel finds little that it can take without harm; "local": of groups below ours nothing is
 * told, their limits are their own (kernels before 4.13 tell all the same). */
static int open_event(const char *dir) {
    char path[PLAT_PATH_BYTES + 64];
    snprintf(path, sizeof path, "%s/memory.pressure_level", dir);
    int event = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC), level = open(path, O_RDONLY | O_CLOEXEC);
    snprintf(path, sizeof path, "%s/cgroup.event_control", dir);
    int control = open(path, O_WRONLY | O_CLOEXEC);
    bool told = event >= 0 && level >= 0 && control >= 0;
    told = told && (ask_for_events(control, event, level, "medium,local") ||
                    ask_for_events(control, event, level, "medium"));
    if (control >= 0) close(control);
    if (level >= 0) close(level);
    if (told || event < 0) return event;
    close(event);
    return -1;
}

/* The root of v2's hierarchy is the machine: what it says of everyone is no group's of ours. */
void plat_psi_open(plat_psi *p, const char *root) {
    *p = (plat_psi){.event_fd = -1};
    plat_group g;
    bool real = !*root;
    add_source(p, root, "proc/pressure/memory", false, real);
    if (!plat_group_find(&g, root, "memory")) return;
    if (g.version == 2) add_source(p, g.dir, "memory.pressure", strlen(g.dir) > g.mount_length, real);
    else if (real) p->event_fd = open_event(g.dir);
}

static void close_fd(int *fd) {
    if (*fd >= 0) close(*fd);
    *fd = -1;
}

void plat_psi_close(plat_psi *p) {
    for (uint32_t i = 0; i < p->n_sources; i++) close_fd(&p->sources[i].trigger_fd);
    close_fd(&p->event_fd);
    p->n_sources = 0;
}

static bool triggered(plat_psi_source *s) {
    struct pollfd one = {.fd = s->trigger_fd, .events = POLLPRI};
    if (poll(&one, 1, 0) <= 0) return false;
    if (one.revents & POLLERR) close_fd(&s->trigger_fd); /* the kernel has given it up: compare from here on */
    return s->trigger_fd >= 0 && (one.revents & POLLPRI) != 0;
}

static bool stalled(plat_psi_source *s, uint64_t now_ms) {
    uint64_t total;
    if (!plat_psi_total(s->path, "some", &total)) return false;
    bool much = s->read_ms && total > s->total_us && total - s->total_us >= PLAT_PSI_STALL_MS * 1000u;
    if (much || !s->read_ms || now_ms - s->read_ms >= PLAT_PSI_WINDOW_MS) {
        s->total_us = total;
        s->read_ms = now_ms;
    }
    return much;
}

static bool lasts(uint64_t raised_ms, uint64_t now_ms) { return raised_ms && now_ms - raised_ms < PLAT_PSI_LASTS_MS; }

plat_pressed plat_psi_pressed(plat_psi *p, uint64_t now_ms) {
    uint64_t events;
    if (p->event_fd >= 0 && read(p->event_fd, &events, sizeof events) == sizeof events) p->event_ms = now_ms;
    plat_pressed now = {.group = lasts(p->event_ms, now_ms)};
    for (uint32_t i = 0; i < p->n_sources; i++) {
        plat_psi_source *s = &p->sources[i];
        if (s->trigger_fd >= 0 ? triggered(s) : stalled(s, now_ms)) s->raised_ms = now_ms;
        if (lasts(s->raised_ms, now_ms)) *(s->group ? &now.group : &now.machine) = true;
    }
    return now;
}
