/* What a fresh reading of the room costs (plat/room): build/room_bench [READINGS]. Run it in the groups to be read. */
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "plat/room.h"

static double microseconds(const plat_room *r, uint64_t enough_bytes, int n) {
    uint64_t start = clock_now_ns();
    volatile uint64_t bytes;
    for (int i = 0; i < n; i++) bytes = plat_room_in_machine(r), bytes = plat_room_in_groups(r, enough_bytes);
    (void)bytes;
    return (double)(clock_now_ns() - start) / 1000 / n;
}

int main(int argc, char **argv) {
    int n = argc > 1 ? atoi(argv[1]) : 20000;
    plat_room r;
    plat_room_open(&r, "");
    if (n < 1) n = 1;
    for (int i = 0; i < 3; i++)
        printf("%u groups: %.1f us a reading, %.1f us with pages of files looked for\n", r.n_groups, microseconds(&r, 0, n),
               microseconds(&r, UINT64_MAX, n));
    plat_room_close(&r);
    return 0;
}
