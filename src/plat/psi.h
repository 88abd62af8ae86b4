/* plat/psi — the kernel's pressure stall figures: do tasks wait for memory?
 *
 * Asks the kernel to tell (a trigger on /proc/pressure/memory: some task stalled for 150 ms within 2 s); where it
 * refuses that, the sum of stalls is compared from reading to reading. A kernel without these figures is never under
 * pressure. No allocation. One thread at a time.
 */
#ifndef PLAT_PSI_H
#define PLAT_PSI_H

#include <stdbool.h>
#include <stdint.h>

enum { PLAT_PSI_STALL_MS = 150, PLAT_PSI_WINDOW_MS = 2000, PLAT_PSI_LASTS_MS = 1000 };

typedef struct plat_psi {
    bool known;
    int trigger_fd; /* −1: readings are compared */
    uint64_t total_us, read_ms; /* at the start of the window being looked at */
    uint64_t raised_ms;         /* last time; 0: never */
    char path[256];
} plat_psi;

/* root: "" is this machine; tests give a folder with proc/pressure/memory in it. */
void plat_psi_open(plat_psi *p, const char *root);
void plat_psi_close(plat_psi *p);
/* True from a stall on, until none has come for PLAT_PSI_LASTS_MS. */
bool plat_psi_pressed(plat_psi *p, uint64_t now_ms);
/* Microseconds in which some task waited for memory, since the machine started; false where that is not known. */
bool plat_psi_total(const plat_psi *p, uint64_t *total_us);

#endif
