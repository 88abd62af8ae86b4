#include "plat/cpu.h"

#include <ctype.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#if defined(__x86_64__)
#include <cpuid.h>
#elif defined(__aarch64__)
#include <sys/auxv.h>
#endif

#include "plat/affinity.h"
#include "plat/proc.h"

static plat_affinity affinity;
static pthread_once_t affinity_once = PTHREAD_ONCE_INIT;

static void affinity_read(void) {
    if (sched_getaffinity(0, sizeof affinity, affinity.sets) != 0) memset(&affinity, 0, sizeof affinity);
}

int plat_affinity_count(void) {
    pthread_once(&affinity_once, affinity_read);
    int n = CPU_COUNT_S(sizeof affinity, affinity.sets);
    return n > 0 ? n : 1;
}

int plat_affinity_nth(int index) {
    pthread_once(&affinity_once, affinity_read);
    for (int core = 0; core < PLAT_AFFINITY_CORES; core++)
        if (CPU_ISSET_S((size_t)core, sizeof affinity, affinity.sets) && index-- == 0) return core;
    return -1;
}

#if defined(__x86_64__)

static uint64_t xcr0(void) {
    uint32_t low, high;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return (uint64_t)high << 32 | low;
}

static bool has(uint32_t word, int bit) { return word >> bit & 1; }

/* A feature counts only when the OS also saves its registers (XCR0). */
static void features_read(plat_cpu *cpu) {
    uint32_t a, b, c, d, c1, max = (uint32_t)__get_cpuid_max(0, NULL);
    if (max < 7) return;
    __cpuid(1, a, b, c1, d);
    if (!has(c1, 27)) return; /* OSXSAVE */
    uint64_t saved = xcr0();
    bool ymm = (saved & 0x06) == 0x06, zmm = (saved & 0xE6) == 0xE6, tiles = (saved & 0x60000) == 0x60000;

    __cpuid_count(7, 0, a, b, c, d);
    uint32_t subleaves = a, a1 = 0;
    if (subleaves >= 1) {
        uint32_t b1, c2, d1;
        __cpuid_count(7, 1, a1, b1, c2, d1);
    }
    cpu->f16c = ymm && has(c1, 29);
    cpu->avx2_fma = ymm && has(c1, 28) && has(b, 5) && has(c1, 12);
    cpu->avx512 = zmm && has(b, 16) && has(b, 30) && has(b, 31) && has(b, 17); /* F BW VL DQ */
    cpu->avx512_vnni = cpu->avx512 && has(c, 11);
    cpu->avx512_bf16 = cpu->avx512 && has(a1, 5);
    cpu->amx_int8 = tiles && has(d, 24) && has(d, 25); /* a process must still ask the kernel for the tiles */
}

static void brand_read(char out[48 + 1]) {
    uint32_t words[12] = {0}, max = (uint32_t)__get_cpuid_max(0x80000000u, NULL);
    if (max >= 0x80000004u)
        for (uint32_t i = 0; i < 3; i++)
            __cpuid(0x80000002u + i, words[4 * i], words[4 * i + 1], words[4 * i + 2], words[4 * i + 3]);
    memcpy(out, words, 48);
    out[48] = 0;
}

#else

static void features_read(plat_cpu *cpu) {
#if defined(__aarch64__)
    unsigned long caps = getauxval(AT_HWCAP);
    cpu->neon = caps >> 1 & 1;          /* HWCAP_ASIMD */
    cpu->neon_dotprod = caps >> 20 & 1; /* HWCAP_ASIMDDP */
#endif
    (void)cpu;
}

static void brand_read(char out[48 + 1]) { out[0] = 0; }

#endif

/* Where the CPU does not say its name itself. */
static void brand_from_proc(char *out, size_t size) {
    plat_lines r;
    if (!plat_lines_open(&r, "/proc/cpuinfo")) return;
    for (char *line; !out[0] && (line = plat_lines_next(&r));) {
        char *colon = strchr(line, ':');
        if (colon && strncmp(line, "model name", 10) == 0) snprintf(out, size, "%s", colon + 1);
    }
    plat_lines_close(&r);
}

/* Drops blanks at the ends and doubled ones within, in place. */
static void tidy_blanks(char *s) {
    char *to = s;
    for (const char *from = s; *from; from++) {
        bool blank = isspace((unsigned char)*from);
        if (blank && (to == s || to[-1] == ' ')) continue;
        *to++ = blank ? ' ' : *from;
    }
    while (to > s && to[-1] == ' ') to--;
    *to = 0;
}

static plat_cpu detected;
static pthread_once_t detect_once = PTHREAD_ONCE_INIT;

static void detect(void) {
    features_read(&detected);
    char brand[49];
    brand_read(brand);
    memcpy(detected.model, brand, sizeof brand);
    tidy_blanks(detected.model);
    if (!detected.model[0]) brand_from_proc(detected.model, sizeof detected.model);
    tidy_blanks(detected.model);
    if (!detected.model[0]) strcpy(detected.model, "unknown");

    int cores = plat_affinity_count(), quota = plat_cgroup_cores_at("");
    detected.usable_cores = quota > 0 && quota < cores ? quota : cores;
}

const plat_cpu *plat_cpu_get(void) {
    pthread_once(&detect_once, detect);
    return &detected;
}
