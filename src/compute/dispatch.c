/* Which kernel table serves this machine. A new ISA is one file and one row here. */
#include <stdlib.h>
#include <string.h>

#include "compute/variants.h"
#include "plat/cpu.h"

typedef struct variant {
    const compute_kernels *kernels;
    bool (*runs_on)(const plat_cpu *cpu);
} variant;

static bool anywhere(const plat_cpu *cpu) {
    (void)cpu;
    return true;
}

#if defined(__x86_64__)
static bool has_avx2(const plat_cpu *cpu) { return cpu->avx2_fma && cpu->f16c; }
static bool has_avx512(const plat_cpu *cpu) { return has_avx2(cpu) && cpu->avx512; }
static bool has_vnni(const plat_cpu *cpu) { return has_avx512(cpu) && cpu->avx512_vnni; }
#elif defined(__aarch64__)
static bool has_neon(const plat_cpu *cpu) { return cpu->neon; }
static bool has_neondot(const plat_cpu *cpu) { return cpu->neon && cpu->neon_dotprod; }
#endif

/* From the plainest to the fastest. */
static const variant variants[] = {
    {&compute_ref, anywhere},
#if defined(__x86_64__)
    {&compute_avx2, has_avx2},
    {&compute_avx512, has_avx512},
    {&compute_avx512vnni, has_vnni},
#elif defined(__aarch64__)
    {&compute_neon, has_neon},
    {&compute_neondot, has_neondot},
#endif
};

enum { N_VARIANTS = sizeof variants / sizeof variants[0] };

const compute_kernels *compute_variant(int i) {
    for (int v = 0; v < N_VARIANTS; v++)
        if (variants[v].runs_on(plat_cpu_get()) && i-- == 0) return variants[v].kernels;
    return NULL;
}

const compute_kernels *compute_by_name(const char *name) {
    for (int v = 0; v < N_VARIANTS; v++)
        if (!strcmp(variants[v].kernels->name, name))
            return variants[v].runs_on(plat_cpu_get()) ? variants[v].kernels : NULL;
    return NULL;
}

const compute_kernels *compute_select(err *e) {
    const char *wanted = getenv("PLIMSOLL_KERNELS");
    if (wanted && *wanted) {
        const compute_kernels *k = compute_by_name(wanted);
        if (!k) err_set(e, ERR_USAGE, "PLIMSOLL_KERNELS=%.40s: no kernels of that name run on this machine", wanted);
        return k;
    }
    const compute_kernels *best = &compute_ref;
    for (int v = 0; v < N_VARIANTS; v++)
        if (variants[v].runs_on(plat_cpu_get())) best = variants[v].kernels;
    return best;
}
