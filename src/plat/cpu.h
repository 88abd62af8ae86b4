/* plat/cpu — instruction sets and topology of this machine. */
#ifndef PLAT_CPU_H
#define PLAT_CPU_H

#include <stdbool.h>

typedef struct plat_cpu {
    char model[64];
    bool avx2_fma, f16c, avx512, avx512_vnni, avx512_bf16, amx_int8; /* usable: CPU and OS agree */
    bool neon, neon_dotprod;
    int usable_cores; /* in this process's affinity mask, capped by the cgroup's CPU quota (at least 1) */
} plat_cpu;

const plat_cpu *plat_cpu_get(void); /* detected once */

#endif
