#include "base/log.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>

#include "base/clock.h"

static _Atomic int least_level = LOG_INFO;

void log_set_level(log_level least) { atomic_store(&least_level, (int)least); }

void log_write(log_level level, const char *room, const char *format, ...) {
    if ((int)level < atomic_load(&least_level)) return;
    static const char *const names[] = {"debug", "info", "warn", "error"};
    char stamp[CLOCK_STAMP_BYTES], line[1024];
    int n = snprintf(line, sizeof line, "%s %s %s: ", clock_stamp(clock_wall_ms(), stamp),
                     names[level], room);
    va_list args;
    va_start(args, format);
    vsnprintf(line + n, sizeof line - (size_t)n, format, args);
    va_end(args);
    fprintf(stderr, "%s\n", line); /* one call, so that lines of two threads do not interleave */
}
