/* plat/pulse — what a thread is at, for whom, and since when it has not moved on: told by the thread itself, read by
 * any other without a lock, so that one that never comes back can be named while it holds whatever it holds.
 *
 * A thread that wants to be watched attaches a pulse; what it then calls of the below goes there, and of any other
 * thread nowhere. Costs a reading of the clock. Knows nothing of what is done, and ends nobody. */
#ifndef PLAT_PULSE_H
#define PLAT_PULSE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

enum { PLAT_PULSE_WHO_BYTES = 32 };

typedef struct plat_pulse {
    _Atomic uint64_t moved_ns; /* 0: at rest */
    _Atomic uint64_t began_ns;
    _Atomic uint64_t turn; /* odd while it is written */
    _Atomic(const char *) what;
    _Atomic uint32_t more;
    _Atomic uint64_t who[PLAT_PULSE_WHO_BYTES / sizeof(uint64_t)];
} plat_pulse;

void plat_pulse_attach(plat_pulse *p); /* of the calling thread; zeroed before */
/* what: a string that stays. who: copied, cut; more: so many others with it. */
void plat_pulse_begin(const char *what, const char *who, uint32_t more);
void plat_pulse_turn(const char *what); /* to something else, for the same */
void plat_pulse_beat(void);             /* it moves on */
void plat_pulse_end(void);

typedef struct plat_pulse_view {
    const char *what;
    char who[PLAT_PULSE_WHO_BYTES];
    uint32_t more;
    uint64_t still_ms, began_ns; /* since it moved last; when it began */
} plat_pulse_view;
bool plat_pulse_read(const plat_pulse *p, plat_pulse_view *out); /* false: at rest, or just turning */

/* PLIMSOLL_DEBUG_HANG=WHAT, for tests: whoever begins that, or turns to it, never comes back. ERR_USAGE without
 * PLIMSOLL_TESTS=1. */
bool plat_pulse_read_debug_hang(err *e);

#endif
