#include "plat/proc.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

bool plat_lines_open(plat_lines *r, const char *path) {
    r->start = r->end = 0;
    r->skipping = false;
    do r->fd = open(path, O_RDONLY | O_CLOEXEC);
    while (r->fd < 0 && errno == EINTR);
    return r->fd >= 0;
}

void plat_lines_close(plat_lines *r) {
    if (r->fd >= 0) close(r->fd);
    r->fd = -1;
}

/* Moves what is left to the front and reads behind it. False at the end of the file. */
static bool refill(plat_lines *r) {
    memmove(r->text, r->text + r->start, r->end - r->start);
    r->end -= r->start;
    r->start = 0;
    ssize_t n;
    do n = read(r->fd, r->text + r->end, sizeof r->text - 1 - r->end);
    while (n < 0 && errno == EINTR);
    if (n <= 0) return false;
    r->end += (size_t)n;
    return true;
}

static char *hand_out(plat_lines *r, size_t length, size_t consumed) {
    char *line = r->text + r->start;
    line[length] = 0;
    r->start += consumed;
    return line;
}

char *plat_lines_next(plat_lines *r) {
    for (;;) {
        size_t left = r->end - r->start;
        char *newline = memchr(r->text + r->start, '\n', left);
        bool full = left == sizeof r->text - 1, skipping = r->skipping;
        if (newline) {
            size_t length = (size_t)(newline - r->text) - r->start;
            r->skipping = false;
            if (!skipping) return hand_out(r, length, length + 1);
            r->start += length + 1;
        } else if (skipping || full) {
            r->skipping = true;
            if (!skipping) return hand_out(r, left, left);
            r->start = r->end;
            if (!refill(r)) return NULL;
        } else if (!refill(r)) {
            return left ? hand_out(r, left, left) : NULL;
        }
    }
}

bool plat_number_parse(const char *text, uint64_t *value) {
    while (*text == ' ' || *text == '\t') text++;
    if (strncmp(text, "max", 3) == 0) {
        *value = UINT64_MAX;
        return true;
    }
    if (*text < '0' || *text > '9') return false;
    uint64_t v = 0;
    for (; *text >= '0' && *text <= '9'; text++) {
        uint64_t digit = (uint64_t)(*text - '0');
        if (v > (UINT64_MAX - digit) / 10) v = UINT64_MAX; /* and so it stays */
        else v = v * 10 + digit;
    }
    *value = v;
    return true;
}
