/* kernels_bench — how near the matrix kernels come to what this machine can do.
 *
 *   kernels_bench [--json] [--threads N] [--type NAME] [--variant NAME] [--rounds N] [--rows N] [--cols N]
 *   kernels_bench --attend [--json] [--threads N] [--variant NAME] [--rounds N]
 *
 * For each variant and type, on one weight matrix (8192 × 2048): GMAC/s for 512 tokens and GB/s of
 * weights for one token. Beside them the machine's limits, measured in the same run and between the
 * rounds: a loop of vpdpbusd that touches no memory, and a loop that reads memory. All figures are
 * medians. For one token a set of matrices larger than any cache is walked, as a model's layers are.
 *
 * With --attend: one token's attention over 4096 positions (16 layers of 8 kv heads, 4 query heads each, dimension
 * 64) for every page type, in GB/s of pages and tokens/s; the ratio is of tokens/s, to f16 pages. The types take
 * turns within a round.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/json.h"
#include "base/rng.h"
#include "compute/compute.h"
#include "compute/limits.h"
#include "compute/pool.h"
#include "plat/cpu.h"
#include "plat/vm.h"

enum {
    TOKENS = 512,
    PANELS_PER_TASK = 4,
    ROUNDS_MAX = 99,
    STREAM_BYTES = 1 << 30, /* weights walked for one token, and by the bandwidth loop */
};

typedef struct options {
    bool json, attend;
    int threads, rounds;
    uint32_t rows, cols;
    const char *type, *variant;
} options;

static void die(const char *what) {
    fprintf(stderr, "kernels_bench: %s\n", what);
    exit(2);
}

static void *take(size_t bytes) {
    err e;
    void *p = plat_vm_alloc(bytes, true, &e);
    if (!p) die(e.message);
    return p;
}

static int by_value(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *v, int n) {
    qsort(v, (size_t)n, sizeof *v, by_value);
    return v[n / 2];
}

/* ---- products --------------------------------------------------------------------------------- */

typedef struct product {
    const compute_kernels *k;
    dtype type;
    const uint8_t *packed;
    uint32_t cols, panels, panels_per_task, tasks_per_matrix;
    size_t matrix_bytes;
    const compute_acts *acts;
    float *out;
    size_t out_stride;
} product;

static void product_task(void *ctx, uint32_t task, uint32_t thread) {
    (void)thread;
    const product *j = ctx;
    uint32_t matrix = task / j->tasks_per_matrix, p0 = task % j->tasks_per_matrix * j->panels_per_task;
    uint32_t p1 = p0 + j->panels_per_task < j->panels ? p0 + j->panels_per_task : j->panels;
    j->k->matmul(j->type, j->packed + matrix * j->matrix_bytes, j->cols, p0, p1, j->acts, j->out, j->out_stride);
}

/* One pass over n_matrices with n_tokens; seconds. */
static double pass(compute_pool *pool, product *j, compute_acts *acts, uint32_t n_tokens, uint32_t n_matrices) {
    acts->n_tokens = n_tokens;
    j->acts = acts;
    uint64_t start = clock_now_ns();
    compute_pool_run(pool, n_matrices * j->tasks_per_matrix, product_task, j);
    return (double)(clock_now_ns() - start) * 1e-9;
}

static void report(const options *o, const char *variant, const char *type, const char *test, int threads, double value,
                   const char *unit, double limit) {
    if (o->json) {
        printf("{\"test\":\"%s\",\"variant\":\"%s\",\"type\":\"%s\",\"threads\":%d,\"%s\":%.2f,\"limit\":%.2f,\"ratio\":%.3f}\n",
               test, variant, type, threads, unit, value, limit, limit > 0 ? value / limit : 0);
    } else {
        printf("%-10s %-5s %-6s %d threads  %8.2f %s  %5.1f %% of %.1f\n", variant, type, test, threads, value, unit,
               limit > 0 ? 100 * value / limit : 0, limit);
    }
    fflush(stdout);
}

static void bench_type(const options *o, compute_pool *pool, const compute_kernels *k, dtype type, uint8_t *packed,
                       compute_acts *acts, float *out) {
    int threads = compute_pool_threads(pool);
    product j = {.k = k, .type = type, .packed = packed, .cols = o->cols, .out = out, .out_stride = o->rows};
    j.panels = o->rows / COMPUTE_PANEL_ROWS;
    j.panels_per_task = PANELS_PER_TASK;
    j.tasks_per_matrix = (j.panels + PANELS_PER_TASK - 1) / PANELS_PER_TASK;
    j.matrix_bytes = compute_packed_bytes(type, o->rows, o->cols);
    uint32_t n_matrices = (uint32_t)(STREAM_BYTES / j.matrix_bytes);
    double macs = (double)o->rows * o->cols * TOKENS, stream = (double)n_matrices * (double)j.matrix_bytes;

    /* Not the slow variants' full time: the reference gets few tokens and one matrix. */
    bool slow = !strcmp(k->name, "ref");
    uint32_t n_tokens = slow ? 4 : TOKENS;
    int rounds = slow ? 1 : o->rounds;
    double gmac[ROUNDS_MAX], peak[ROUNDS_MAX], gb[ROUNDS_MAX], limit[ROUNDS_MAX];
    for (int r = 0; r < rounds; r++) {
        compute_limits most;
        compute_limits_measure(pool, packed, STREAM_BYTES, &most);
        peak[r] = most.vnni_gmac_per_s;
        limit[r] = most.read_gb_per_s;
        gmac[r] = macs * n_tokens / TOKENS / pass(pool, &j, acts, n_tokens, 1) * 1e-9;
        gb[r] = stream / n_matrices * (slow ? 1 : n_matrices) / pass(pool, &j, acts, 1, slow ? 1 : n_matrices) * 1e-9;
    }
    report(o, k->name, dtype_get(type)->name, "gemm", threads, median(gmac, rounds), "gmac_per_s", median(peak, rounds));
    report(o, k->name, dtype_get(type)->name, "gemv", threads, median(gb, rounds), "gb_per_s", median(limit, rounds));
}

/* ---- attention ----------------------------------------------------------------------------------- */

enum { POSITIONS = 4096, HEADS = 16 * 8, QUERIES = 4, HEAD_DIM = 64, ATTEND_PAGES = POSITIONS / COMPUTE_PAGE_TOKENS };

typedef struct attention {
    const compute_kernels *k;
    compute_kv_type type;
    const uint8_t *pages[ATTEND_PAGES];
    size_t k_bytes, head_bytes;
    const float *q;
    float *out;
} attention;

static void attend_task(void *ctx, uint32_t task, uint32_t thread) {
    (void)thread;
    const attention *j = ctx;
    compute_span span = {.last = POSITIONS - 1};
    compute_attend_args args = {
        .type = j->type, .q = j->q, .n_heads = QUERIES, .n_tokens = 1, .spans = &span, .q_stride = HEAD_DIM, .head_dim = HEAD_DIM,
        .head_dim_v = HEAD_DIM, .scale = 0.125f, .pages = j->pages, .k_offset = task * j->head_bytes,
        .v_offset = task * j->head_bytes + j->k_bytes,
        .out = j->out + (size_t)task * QUERIES * HEAD_DIM, .out_stride = HEAD_DIM};
    j->k->attend(&args);
}

/* Pages of a type, every one holding the same random keys and values for all heads. */
static attention attention_of(compute_kv_type type, const float *q, float *out) {
    attention j = {.type = type, .q = q, .out = out, .k_bytes = compute_kv_k_bytes(type, HEAD_DIM)};
    j.head_bytes = j.k_bytes + compute_kv_v_bytes(type, HEAD_DIM);
    uint8_t *pages = take(j.head_bytes * HEADS * ATTEND_PAGES);
    for (uint32_t slot = 0; slot < COMPUTE_PAGE_TOKENS; slot++)
        compute_variant(0)->kv_store(type, pages, pages + j.k_bytes, q + slot * HEAD_DIM, q + slot * HEAD_DIM, HEAD_DIM,
                                     HEAD_DIM, slot);
    for (size_t i = 1; i < (size_t)HEADS * ATTEND_PAGES; i++) memcpy(pages + i * j.head_bytes, pages, j.head_bytes);
    for (size_t i = 0; i < ATTEND_PAGES; i++) j.pages[i] = pages + i * HEADS * j.head_bytes;
    return j;
}

static void bench_attend(const options *o, compute_pool *pool, const compute_kernels *k, attention *types) {
    double seconds[COMPUTE_KV_TYPES][ROUNDS_MAX], tokens[COMPUTE_KV_TYPES];
    for (int r = 0; r < o->rounds; r++)
        for (int t = 0; t < COMPUTE_KV_TYPES; t++) {
            types[t].k = k;
            uint64_t start = clock_now_ns();
            compute_pool_run(pool, HEADS, attend_task, &types[t]);
            seconds[t][r] = (double)(clock_now_ns() - start) * 1e-9;
        }
    for (int t = 0; t < COMPUTE_KV_TYPES; t++) {
        tokens[t] = 1 / median(seconds[t], o->rounds);
        double gb = tokens[t] * (double)types[t].head_bytes * HEADS * ATTEND_PAGES * 1e-9;
        const char *name = compute_kv_name((compute_kv_type)t);
        report(o, k->name, name, "attend", compute_pool_threads(pool), tokens[t], "tokens_per_s", tokens[0]);
        report(o, k->name, name, "attend", compute_pool_threads(pool), gb, "gb_per_s", 0);
    }
}

/* Activations of every row, with the variant's own quantisation. */
static compute_acts activations(const compute_kernels *k, uint32_t cols) {
    float *x = take((size_t)TOKENS * cols * 4);
    rng r;
    rng_seed(&r, 7);
    for (size_t i = 0; i < (size_t)TOKENS * cols; i++) x[i] = (float)(rng_unit(&r) * 2 - 1);
    compute_acts a = {TOKENS, cols, x, take((size_t)TOKENS * compute_act_blocks(cols) * sizeof *a.acts), TOKENS};
    for (size_t t = 0; t < TOKENS; t++) k->quantize(x + t * cols, cols, COMPUTE_ACT_GROUP, a.acts + t, TOKENS);
    return a;
}

static options parse(int argc, char **argv) {
    options o = {.threads = 0, .rounds = 5, .rows = 8192, .cols = 2048};
    for (int i = 1; i < argc; i++) {
        const char *value = i + 1 < argc ? argv[i + 1] : "";
        if (!strcmp(argv[i], "--json")) {
            o.json = true;
            continue;
        }
        if (!strcmp(argv[i], "--attend")) {
            o.attend = true;
            continue;
        }
        if (!strcmp(argv[i], "--threads")) o.threads = atoi(value);
        else if (!strcmp(argv[i], "--rounds")) o.rounds = atoi(value);
        else if (!strcmp(argv[i], "--rows")) o.rows = (uint32_t)atoi(value);
        else if (!strcmp(argv[i], "--cols")) o.cols = (uint32_t)atoi(value);
        else if (!strcmp(argv[i], "--type")) o.type = value;
        else if (!strcmp(argv[i], "--variant")) o.variant = value;
        else die("usage: kernels_bench [--attend] [--json] [--threads N] [--type NAME] [--variant NAME] [--rounds N] [--rows N] [--cols N]");
        i++;
    }
    if (o.rounds < 1 || o.rounds > ROUNDS_MAX || o.rows % 16 || !o.rows || o.rows > 65536 || o.cols % 256 || !o.cols || o.cols > 65536)
        die("rounds 1-99, rows a multiple of 16, columns of 256");
    if (o.type && dtype_by_name(str_of(o.type)) == DTYPE_COUNT) die("unknown type");
    if (o.variant && !compute_by_name(o.variant)) die("no such variant here");
    return o;
}

static compute_pool *start_pool(int threads) {
    err e;
    compute_pool *pool = compute_pool_start(take(compute_pool_struct_bytes(threads)), threads, &e);
    if (!pool) die(e.message);
    return pool;
}

static int attend_main(const options *o) {
    enum { N = COMPUTE_PAGE_TOKENS * HEAD_DIM };
    float *q = take(N * sizeof *q), *out = take((size_t)HEADS * QUERIES * HEAD_DIM * sizeof *out);
    rng r;
    rng_seed(&r, 1);
    for (int i = 0; i < N; i++) q[i] = (float)(rng_unit(&r) * 2 - 1);
    attention types[COMPUTE_KV_TYPES];
    for (int t = 0; t < COMPUTE_KV_TYPES; t++) types[t] = attention_of((compute_kv_type)t, q, out);
    compute_pool *pool = start_pool(o->threads ? o->threads : 1);
    const compute_kernels *k;
    for (int v = 0; (k = compute_variant(v)); v++)
        if (o->variant ? !strcmp(k->name, o->variant) : v > 0) bench_attend(o, pool, k, types);
    compute_pool_stop(pool);
    return 0;
}

int main(int argc, char **argv) {
    static const dtype types[] = {DTYPE_Q4_0, DTYPE_Q4_1, DTYPE_Q5_0, DTYPE_Q5_1, DTYPE_Q8_0, DTYPE_Q4_K,
                                  DTYPE_Q5_K, DTYPE_Q6_K, DTYPE_F16,  DTYPE_BF16, DTYPE_F32};
    options o = parse(argc, argv);
    if (o.attend) return attend_main(&o);
    uint8_t *packed = take(STREAM_BYTES);
    rng r;
    rng_seed(&r, 1);
    /* Bytes of 0x38 … 0x3B: every half or float that they form is a normal number below 1. */
    for (size_t i = 0; i < STREAM_BYTES; i += 8) {
        uint64_t v = (rng_next(&r) & 0x0303030303030303u) | 0x3838383838383838u;
        memcpy(packed + i, &v, 8);
    }
    compute_acts acts = activations(compute_variant(0), o.cols);
    float *out = take((size_t)TOKENS * o.rows * 4);
    int most = o.threads ? o.threads : plat_cpu_get()->usable_cores;
    for (int threads = o.threads ? o.threads : 1; threads <= most; threads += most - threads ? most - threads : 1) {
        compute_pool *pool = start_pool(threads);
        const compute_kernels *k;
        for (int v = 0; (k = compute_variant(v)); v++) {
            if (o.variant ? strcmp(k->name, o.variant) : v == 0) continue; /* the reference only when asked for */
            for (size_t t = 0; t < sizeof types / sizeof types[0]; t++)
                if (!o.type || types[t] == dtype_by_name(str_of(o.type))) bench_type(&o, pool, k, types[t], packed, &acts, out);
        }
        compute_pool_stop(pool);
    }
    return 0;
}
