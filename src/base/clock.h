/* base/clock — monotonic and wall time. */
#ifndef BASE_CLOCK_H
#define BASE_CLOCK_H

#include <stdint.h>

enum { CLOCK_STAMP_BYTES = 32 };

uint64_t clock_now_ns(void);  /* monotonic */
uint64_t clock_thread_ns(void); /* processor time of the calling thread */
uint64_t clock_wall_ms(void); /* since 1970, UTC */

static inline double clock_ms_since(uint64_t start_ns) {
    return (double)(clock_now_ns() - start_ns) / 1e6;
}

/* RFC 3339 UTC with milliseconds into out; returns out. */
const char *clock_stamp(uint64_t wall_ms, char out[CLOCK_STAMP_BYTES]);

#endif
