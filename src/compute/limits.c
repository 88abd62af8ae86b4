#include "compute/limits.h"

#include <string.h>

#include "base/clock.h"
#include "plat/cpu.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

enum {
    TASKS_PER_THREAD = 4, /* a core that others slow down does not hold up the end */
    STEPS = 250 * 1000,
    CHAINS = 12,          /* products in flight: enough to hide their latency */
    READ_PIECE_BYTES = 1 << 20,
};

static double per_ns(double work, uint64_t start_ns) { return work / (double)(clock_now_ns() - start_ns); }

/* ---- products from registers ---- */

#if defined(__x86_64__)
#define ALL(X) X(0) X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8) X(9) X(10) X(11)
#define KEEP(i) __asm__ volatile("" : "+v"(acc##i));

#define PRODUCT_TASK(name, isa, vector, start, ONE)                                          \
    __attribute__((target(isa))) static void name(void *ctx, uint32_t task, uint32_t thread) { \
        (void)ctx, (void)task, (void)thread;                                                 \
        vector a0 = start;                                                                   \
        vector acc0 = a0, acc1 = a0, acc2 = a0, acc3 = a0, acc4 = a0, acc5 = a0, acc6 = a0,  \
               acc7 = a0, acc8 = a0, acc9 = a0, acc10 = a0, acc11 = a0;                      \
        for (int step = 0; step < STEPS; step++) {                                           \
            ALL(ONE)                                                                         \
            ALL(KEEP)                                                                        \
        }                                                                                    \
    }

#define VNNI_ONE(i) acc##i = _mm512_dpbusd_epi32(acc##i, a0, a0);
#define BF16_ONE(i) acc##i = _mm512_dpbf16_ps(acc##i, (__m512bh)a0, (__m512bh)a0);
#define FMA512_ONE(i) acc##i = _mm512_fmadd_ps(acc##i, a0, a0);
#define FMA256_ONE(i) acc##i = _mm256_fmadd_ps(acc##i, a0, a0);
PRODUCT_TASK(vnni_task, "avx512f,avx512vnni", __m512i, _mm512_set1_epi8(1), VNNI_ONE)
PRODUCT_TASK(bf16_task, "avx512f,avx512bf16", __m512, _mm512_set1_ps(0.5f), BF16_ONE)
PRODUCT_TASK(fma512_task, "avx512f", __m512, _mm512_set1_ps(0.5f), FMA512_ONE)
PRODUCT_TASK(fma256_task, "avx2,fma", __m256, _mm256_set1_ps(0.5f), FMA256_ONE)

static double gmac_per_s(compute_pool *p, bool here, compute_task *task, int products_per_step) {
    if (!here) return 0;
    uint32_t n = (uint32_t)compute_pool_threads(p) * TASKS_PER_THREAD;
    uint64_t start = clock_now_ns();
    compute_pool_run(p, n, task, NULL);
    return per_ns((double)n * STEPS * CHAINS * products_per_step, start);
}

static void measure_products(compute_pool *p, compute_limits *out) {
    const plat_cpu *cpu = plat_cpu_get();
    out->vnni_gmac_per_s = gmac_per_s(p, cpu->avx512_vnni, vnni_task, 64);
    out->bf16_gmac_per_s = gmac_per_s(p, cpu->avx512_bf16, bf16_task, 32);
    out->fma_gmac_per_s = cpu->avx512 ? gmac_per_s(p, true, fma512_task, 16)
                                      : gmac_per_s(p, cpu->avx2_fma, fma256_task, 8);
}
#else
static void measure_products(compute_pool *p, compute_limits *out) { (void)p, (void)out; }
#endif

/* ---- reading ---- */

typedef struct read_job {
    const uint8_t *p;
    volatile uint64_t sink[COMPUTE_MAX_THREADS];
} read_job;

/* Four vectors in flight, of the width that the machine has. */
#define READ_TASK(name, isa, bytes)                                                                    \
    isa static void name(void *ctx, uint32_t task, uint32_t thread) {                                  \
        typedef uint64_t wide __attribute__((vector_size(bytes), aligned(8)));                         \
        read_job *job = ctx;                                                                           \
        const uint8_t *p = job->p + (size_t)task * READ_PIECE_BYTES;                                   \
        wide s0 = {0}, s1 = {0}, s2 = {0}, s3 = {0};                                                   \
        for (size_t i = 0; i < READ_PIECE_BYTES; i += 256) {                                           \
            for (int line = 0; line < 256; line += 64) __builtin_prefetch(p + i + 4096 + line);        \
            for (size_t at = i; at < i + 256; at += 4 * sizeof(wide)) {                                \
                const wide *v = (const wide *)(const void *)(p + at);                                  \
                s0 ^= v[0], s1 ^= v[1], s2 ^= v[2], s3 ^= v[3];                                        \
            }                                                                                          \
        }                                                                                              \
        s0 ^= s1 ^ s2 ^ s3;                                                                            \
        job->sink[thread] ^= s0[0] ^ s0[1];                                                            \
    }
READ_TASK(read_task, , 16)
#if defined(__x86_64__)
READ_TASK(read_task_512, __attribute__((target("avx512f"))), 64)
#endif

static double read_gb_per_s(compute_pool *p, const void *bytes, size_t n_bytes) {
    static read_job job;
    job.p = bytes;
    compute_task *task = read_task;
#if defined(__x86_64__)
    if (plat_cpu_get()->avx512) task = read_task_512;
#endif
    uint32_t n = (uint32_t)(n_bytes / READ_PIECE_BYTES);
    if (n == 0) return 0;
    uint64_t start = clock_now_ns();
    compute_pool_run(p, n, task, &job);
    return per_ns((double)n * READ_PIECE_BYTES, start);
}

void compute_limits_measure(compute_pool *p, const void *bytes, size_t n_bytes, compute_limits *out) {
    *out = (compute_limits){.read_gb_per_s = read_gb_per_s(p, bytes, n_bytes)};
    measure_products(p, out);
}
