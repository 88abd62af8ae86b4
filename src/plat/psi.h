/* plat/psi — the kernel's pressure figures: do tasks wait for memory?
 *
 * Looks at the whole machine (/proc/pressure/memory) and at our own control group, whose limit may press us alone: in
 * v2 its memory.pressure, in v1 the events of its memory.pressure_level. Asks the kernel to tell (a trigger: some task
 * stalled for 150 ms within 2 s; v1: reclaiming has become hard); where it refuses a trigger, the sum of stalls is
 * compared from reading to reading. What a kernel does not have never presses. No allocation. One thread at a time.
 */
#ifndef PLAT_PSI_H
#define PLAT_PSI_H

#include <stdbool.h>
#include <stdint.h>

enum { PLAT_PSI_STALL_MS = 150, PLAT_PSI_WINDOW_MS = 2000, PLAT_PSI_LASTS_MS = 1000, PLAT_PSI_SOURCES = 2 };

typedef struct plat_psi_source {
    int trigger_fd;             /* −1: readings are compared */
    bool group;                 /* else the machine */
    uint64_t total_us, read_ms; /* at the start of the window being looked at */
    uint64_t raised_ms;         /* last time; 0: never */
    char path[1088];
} plat_psi_source;

typedef struct plat_psi {
    plat_psi_source sources[PLAT_PSI_SOURCES];
    uint32_t n_sources;
    int event_fd;       /* v1's; −1: none */
    uint64_t event_ms;  /* last time; 0: never */
} plat_psi;

/* root: "" is this machine; tests give a folder with proc/… and the control group's files in it. */
void plat_psi_open(plat_psi *p, const char *root);
void plat_psi_close(plat_psi *p);
/* Each true from a stall on, until none has come for PLAT_PSI_LASTS_MS. The machine's stalls may be those of another
 * group at its own limit: whoever asks looks whether the machine is short. */
typedef struct plat_pressed {
    bool machine, group;
} plat_pressed;
plat_pressed plat_psi_pressed(plat_psi *p, uint64_t now_ms);

/* Microseconds for which tasks have waited for memory, out of such a file: kind "some" or "full" of them at once. */
bool plat_psi_total(const char *path, const char *kind, uint64_t *total_us);

#endif
