#include "plat/psi.h"

#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "plat/proc.h"

bool plat_psi_total(const plat_psi *p, uint64_t *total_us) {
    plat_lines r;
    if (!plat_lines_open(&r, p->path)) return false;
    bool found = false;
    for (char *line; !found && (line = plat_lines_next(&r));) {
        char *total = strncmp(line, "some ", 5) == 0 ? strstr(line, "total=") : NULL;
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

void plat_psi_open(plat_psi *p, const char *root) {
    *p = (plat_psi){.trigger_fd = -1};
    int n = snprintf(p->path, sizeof p->path, "%s/proc/pressure/memory", root);
    p->known = n < (int)sizeof p->path && plat_psi_total(p, &p->total_us);
    if (p->known && !*root) p->trigger_fd = open_trigger(p->path); /* a plain file would take the words, and not tell */
}

void plat_psi_close(plat_psi *p) {
    if (p->trigger_fd >= 0) close(p->trigger_fd);
    p->trigger_fd = -1;
    p->known = false;
}

static bool triggered(plat_psi *p) {
    struct pollfd one = {.fd = p->trigger_fd, .events = POLLPRI};
    if (poll(&one, 1, 0) <= 0) return false;
    if (!(one.revents & POLLERR)) return (one.revents & POLLPRI) != 0;
    close(p->trigger_fd); /* the kernel has given it up: compare from here on */
    p->trigger_fd = -1;
    return false;
}

static bool stalled(plat_psi *p, uint64_t now_ms) {
    uint64_t total;
    if (!plat_psi_total(p, &total)) return false;
    bool much = p->read_ms && total > p->total_us && total - p->total_us >= PLAT_PSI_STALL_MS * 1000u;
    if (much || !p->read_ms || now_ms - p->read_ms >= PLAT_PSI_WINDOW_MS) {
        p->total_us = total;
        p->read_ms = now_ms;
    }
    return much;
}

bool plat_psi_pressed(plat_psi *p, uint64_t now_ms) {
    if (!p->known) return false;
    if (p->trigger_fd >= 0 ? triggered(p) : stalled(p, now_ms)) p->raised_ms = now_ms;
    return p->raised_ms && now_ms - p->raised_ms < PLAT_PSI_LASTS_MS;
}
