#include "plat/pulse.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "plat/debug.h"

static _Thread_local plat_pulse *mine;
static const char *hang; /* set before any thread begins anything */

void plat_pulse_attach(plat_pulse *p) { mine = p; }

static void set_who(plat_pulse *p, const char *who) {
    uint64_t words[PLAT_PULSE_WHO_BYTES / sizeof(uint64_t)] = {0};
    size_t len = strnlen(who, sizeof words - 1);
    memcpy(words, who, len);
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) atomic_store(&p->who[i], words[i]);
}

static void hang_if_asked(const char *what) {
    if (!hang || strcmp(hang, what) != 0) return;
    log_warn("watch", "PLIMSOLL_DEBUG_HANG: this %s never comes back", what);
    for (;;) sleep(1);
}

void plat_pulse_begin(const char *what, const char *who, uint32_t more) {
    plat_pulse *p = mine;
    if (!p) return;
    uint64_t now = clock_now_ns();
    atomic_fetch_add(&p->turn, 1);
    set_who(p, who);
    atomic_store(&p->what, what);
    atomic_store(&p->more, more);
    atomic_store(&p->began_ns, now);
    atomic_store(&p->moved_ns, now);
    atomic_fetch_add(&p->turn, 1);
    hang_if_asked(what);
}

void plat_pulse_turn(const char *what) {
    if (!mine || !atomic_load_explicit(&mine->moved_ns, memory_order_relaxed)) return;
    atomic_store(&mine->what, what);
    plat_pulse_beat();
    hang_if_asked(what);
}

void plat_pulse_beat(void) {
    if (mine && atomic_load_explicit(&mine->moved_ns, memory_order_relaxed))
        atomic_store_explicit(&mine->moved_ns, clock_now_ns(), memory_order_relaxed);
}

void plat_pulse_end(void) {
    if (mine) atomic_store(&mine->moved_ns, 0);
}

bool plat_pulse_read(const plat_pulse *p, plat_pulse_view *out) {
    uint64_t before = atomic_load(&p->turn), moved = atomic_load(&p->moved_ns), now = clock_now_ns();
    uint64_t words[PLAT_PULSE_WHO_BYTES / sizeof(uint64_t)];
    *out = (plat_pulse_view){.what = atomic_load(&p->what),
                             .more = atomic_load(&p->more),
                             .began_ns = atomic_load(&p->began_ns),
                             .still_ms = now > moved ? (now - moved) / 1000000 : 0};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) words[i] = atomic_load(&p->who[i]);
    memcpy(out->who, words, sizeof words);
    out->who[sizeof words - 1] = 0;
    return moved && !(before & 1) && atomic_load(&p->turn) == before;
}

bool plat_pulse_read_debug_hang(err *e) {
    const char *what;
    if (!plat_debug_read("PLIMSOLL_DEBUG_HANG", "hang", &what, e)) return false;
    if (!what) return true;
    static const char *const known[] = {"step", "mask", "sampling", "prepare", "wording"};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (!strcmp(what, known[i])) hang = known[i];
    return hang || err_set(e, ERR_USAGE, "PLIMSOLL_DEBUG_HANG is step, mask, sampling, prepare or wording");
}
