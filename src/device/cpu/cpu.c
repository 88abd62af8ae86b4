/* The CPU device: compute/'s kernels, split over the pool's threads. */
#include <math.h>
#include <stdatomic.h>
#include <string.h>

#include "base/check.h"
#include "compute/compute.h"
#include "compute/pool.h"
#include "device/cpu/cpu.h"
#include "device/cpu/internal.h"

typedef struct cpu {
    const compute_kernels *kernels;
    compute_pool *pool;
    uint32_t max_tokens, max_cols;
    size_t bytes;
    /* activations of the matmul in flight */
    compute_act *acts;
    uint32_t *tiles; /* of the attention in flight: where each starts, and the end */
} cpu;

/* Below this many multiply-adds waking the other threads costs more than it saves. */
enum { WORTH_WAKING_MACS = 48 * 1024 };

static cpu *state(device *d) { return d->state; }

static void layout(cpu **c, void **pool_memory, const device_cpu_config *config, mem_arena *a) {
    size_t tokens = config->max_tokens;
    *c = mem_arena_take(a, sizeof **c, 64);
    *pool_memory = mem_arena_take(a, compute_pool_struct_bytes(config->n_threads), 64);
    compute_act *acts = mem_arena_take(a, tokens * compute_act_blocks(config->max_cols) * sizeof *acts, 64);
    uint32_t *tiles = mem_arena_take(a, (tokens + 1) * sizeof *tiles, 64);
    if (*c) **c = (cpu){.acts = acts, .tiles = tiles, .max_tokens = config->max_tokens, .max_cols = config->max_cols};
}

size_t device_cpu_plan_bytes(const device_cpu_config *c) {
    mem_arena a;
    mem_arena_measure(&a);
    cpu *unused;
    void *pool_memory;
    layout(&unused, &pool_memory, c, &a);
    return a.used;
}

/* ---- work split over threads ---- */

typedef struct chunked {
    uint32_t n_items, items_per_task;
    void (*run)(void *ctx, uint32_t begin, uint32_t end);
    void *ctx;
} chunked;

static void chunked_task(void *ctx, uint32_t task, uint32_t thread) {
    (void)thread;
    chunked *c = ctx;
    uint32_t begin = task * c->items_per_task;
    uint32_t end = begin + c->items_per_task < c->n_items ? begin + c->items_per_task : c->n_items;
    c->run(c->ctx, begin, end);
}

/* Runs items [0, n) in pieces; the work of all and of the heaviest, in multiply-adds, decides whether threads are
 * worth it. */
static void split_uneven(cpu *c, uint32_t n_items, uint64_t work, uint64_t heaviest,
                         void (*run)(void *, uint32_t, uint32_t), void *ctx) {
    if (n_items == 0) return;
    uint32_t threads = (uint32_t)compute_pool_threads(c->pool);
    if (threads == 1 || n_items == 1 || work < WORTH_WAKING_MACS) {
        run(ctx, 0, n_items);
        return;
    }
    /* Several pieces a thread, so that a core slowed by others does not hold up the rest, smaller ones where the
     * heaviest items would make too heavy a piece; each still long enough to be worth handing out. */
    uint64_t enough = WORTH_WAKING_MACS * (uint64_t)n_items / work + 1, as_heavy = (work + heaviest - 1) / heaviest;
    uint32_t per_task = (uint32_t)((as_heavy + threads * 8 - 1) / (threads * 8));
    if (per_task < enough) per_task = enough < n_items ? (uint32_t)enough : n_items;
    uint32_t even = (n_items + threads - 1) / threads;
    if (per_task > even) per_task = even;
    chunked pieces = {n_items, per_task, run, ctx};
    compute_pool_run(c->pool, (n_items + per_task - 1) / per_task, chunked_task, &pieces);
}

static void split(cpu *c, uint32_t n_items, uint64_t work_per_item, void (*run)(void *, uint32_t, uint32_t),
                  void *ctx) {
    if (work_per_item == 0) work_per_item = 1;
    split_uneven(c, n_items, n_items * work_per_item, work_per_item, run, ctx);
}

/* ---- weights ---- */

static size_t cpu_matrix_bytes(dtype type, uint32_t rows, uint32_t cols) {
    return compute_packed_bytes(type, rows, cols);
}

static uint32_t cpu_row_stride(uint32_t rows) {
    return (rows + COMPUTE_PANEL_ROWS - 1) / COMPUTE_PANEL_ROWS * COMPUTE_PANEL_ROWS;
}

static size_t scratch_per_thread(dtype type, uint32_t cols) {
    return (COMPUTE_PANEL_ROWS * dtype_row_bytes(type, cols) + 63) & ~(size_t)63;
}

static size_t cpu_matrix_scratch_bytes(dtype type, uint32_t cols, int n_threads) {
    return scratch_per_thread(type, cols) * (size_t)n_threads;
}

typedef struct load_work {
    device_matrix *m;
    device_read_rows *read;
    void *ctx;
    char *scratch;
    _Atomic bool failed;
    err failure; /* of whoever set failed first */
} load_work;

static void load_panel(void *ctx, uint32_t panel, uint32_t thread) {
    load_work *w = ctx;
    if (atomic_load_explicit(&w->failed, memory_order_relaxed)) return;
    device_matrix *m = w->m;
    char *rows = w->scratch + thread * scratch_per_thread(m->type, m->cols);
    uint32_t first = panel * COMPUTE_PANEL_ROWS;
    uint32_t n = m->rows - first < COMPUTE_PANEL_ROWS ? m->rows - first : COMPUTE_PANEL_ROWS;
    err e = {0};
    if (!w->read(w->ctx, first, n, rows, &e)) {
        if (!atomic_exchange(&w->failed, true)) w->failure = e;
        return;
    }
    compute_pack_panel(m->type, m->cols, n, rows, (char *)m->data + panel * compute_panel_bytes(m->type, m->cols));
}

static bool cpu_matrix_load(device *d, device_matrix *m, device_read_rows *read, void *ctx, void *scratch, err *e) {
    load_work work = {.m = m, .read = read, .ctx = ctx, .scratch = scratch};
    compute_pool_run(state(d)->pool, cpu_row_stride(m->rows) / COMPUTE_PANEL_ROWS, load_panel, &work);
    if (!atomic_load(&work.failed)) return true;
    if (e) *e = work.failure;
    return false;
}

/* ---- operations ---- */

static void cpu_embed(device *d, const device_matrix *table, const int32_t *tokens, uint32_t n, float scale, float *x) {
    (void)d;
    for (uint32_t i = 0; i < n; i++) {
        float *row = x + (size_t)i * table->cols;
        compute_unpack_row(table->type, table->data, table->cols, (uint32_t)tokens[i], row);
        if (scale != 1.0f)
            for (uint32_t j = 0; j < table->cols; j++) row[j] *= scale;
    }
}

typedef struct norm_work {
    const compute_kernels *k;
    const float *x, *weight;
    float *out, eps;
    uint32_t width;
} norm_work;

static void norm_run(void *ctx, uint32_t begin, uint32_t end) {
    norm_work *w = ctx;
    for (uint32_t i = begin; i < end; i++)
        w->k->rmsnorm(w->x + (size_t)i * w->width, w->weight, w->width, w->eps, w->out + (size_t)i * w->width);
}

static void cpu_rmsnorm(device *d, const float *x, const float *weight, uint32_t n, uint32_t width, float eps,
                        float *out) {
    norm_work w = {state(d)->kernels, x, weight, out, eps, width};
    split(state(d), n, width * 2, norm_run, &w);
}

/* Items are panels: of each matrix, for each run, all panels that the run meets. */
typedef struct matmul_work {
    cpu *c;
    const device_matrix *const *ms;
    uint32_t n_ms, group_cols;
    const device_run *runs;
    uint32_t first_item[DEVICE_MATMUL_MAX + 1];
    const compute_acts *acts;
    float *const *outs;
    const size_t *strides;
} matmul_work;

static void quantize_run(void *ctx, uint32_t begin, uint32_t end) {
    matmul_work *w = ctx;
    const compute_acts *a = w->acts;
    for (uint32_t i = begin; i < end; i++)
        w->c->kernels->quantize(a->x + (size_t)i * a->cols, a->cols, w->group_cols, a->acts + i, a->stride);
}

static void add_bias(const device_matrix *m, uint32_t row0, uint32_t row1, uint32_t n, float *out, size_t stride) {
    if (row1 > m->rows) row1 = m->rows;
    for (uint32_t i = 0; i < n; i++)
        for (uint32_t r = row0; r < row1; r++) out[i * stride + r] += m->bias[r];
}

static uint32_t panels_of(const device_matrix *m) { return cpu_row_stride(m->rows) / COMPUTE_PANEL_ROWS; }

static void run_panels(const matmul_work *w, uint32_t m, const device_run *run, uint32_t lo, uint32_t hi) {
    const device_matrix *mat = w->ms[m];
    const char *data = (const char *)mat->data + run->matrix * cpu_matrix_bytes(mat->type, mat->rows, mat->cols);
    float *out = w->outs[m] + run->first * w->strides[m];
    compute_acts acts = *w->acts;
    acts.n_tokens = run->n;
    acts.x += (size_t)run->first * acts.cols;
    acts.acts += run->first;
    w->c->kernels->matmul(mat->type, data, mat->cols, lo, hi, &acts, out, w->strides[m]);
    if (mat->bias) add_bias(mat, lo * COMPUTE_PANEL_ROWS, hi * COMPUTE_PANEL_ROWS, run->n, out, w->strides[m]);
}

static void panels_run(void *ctx, uint32_t begin, uint32_t end) {
    matmul_work *w = ctx;
    for (uint32_t m = 0; m < w->n_ms; m++) {
        uint32_t at = begin > w->first_item[m] ? begin : w->first_item[m], panels = panels_of(w->ms[m]);
        uint32_t stop = end < w->first_item[m + 1] ? end : w->first_item[m + 1];
        while (at < stop) {
            uint32_t lo = (at - w->first_item[m]) % panels, left = stop - at;
            uint32_t n = panels - lo < left ? panels - lo : left;
            run_panels(w, m, &w->runs[(at - w->first_item[m]) / panels], lo, lo + n);
            at += n;
        }
    }
}

/* Matrices whose types want their activations alike, in one sweep over the threads. */
static void matmul_alike(cpu *c, uint32_t group_cols, const compute_acts *acts, const device_run *runs,
                         uint32_t n_runs, const device_matrix *const *ms, uint32_t n_ms, float *const *outs,
                         const size_t *strides) {
    matmul_work w = {.c = c, .ms = ms, .n_ms = n_ms, .group_cols = group_cols, .runs = runs, .acts = acts,
                     .outs = outs, .strides = strides};
    uint64_t panel_macs = acts->cols * COMPUTE_PANEL_ROWS, longest = 0, panels = 0;
    for (uint32_t r = 0; r < n_runs; r++) longest = runs[r].n > longest ? runs[r].n : longest;
    for (uint32_t m = 0; m < n_ms; m++) {
        w.first_item[m + 1] = w.first_item[m] + n_runs * panels_of(ms[m]);
        panels += panels_of(ms[m]);
    }
    if (group_cols) split(c, acts->n_tokens, acts->cols * 2, quantize_run, &w);
    split_uneven(c, w.first_item[n_ms], panels * acts->n_tokens * panel_macs, longest * panel_macs, panels_run, &w);
}

static void cpu_matmul_runs(device *d, const device_matrix *const *ms, uint32_t n_ms, const float *x,
                            const device_run *runs, uint32_t n_runs, float *const *outs, const size_t *strides) {
    static const uint32_t groups[] = {0, COMPUTE_ACT_GROUP, COMPUTE_ACT_GROUP_K};
    cpu *c = state(d);
    uint32_t cols = ms[0]->cols, n = runs[n_runs - 1].first + runs[n_runs - 1].n;
    CHECK(n <= c->max_tokens && cols <= c->max_cols && n_ms <= DEVICE_MATMUL_MAX);
    compute_acts acts = {.n_tokens = n, .cols = cols, .x = x, .acts = c->acts, .stride = n};
    for (int g = 0; g < 3; g++) {
        const device_matrix *alike[DEVICE_MATMUL_MAX];
        float *alike_outs[DEVICE_MATMUL_MAX];
        size_t alike_strides[DEVICE_MATMUL_MAX];
        uint32_t n_alike = 0;
        for (uint32_t m = 0; m < n_ms; m++) {
            CHECK(ms[m]->cols == cols);
            if (compute_act_group(ms[m]->type) != groups[g]) continue;
            alike[n_alike] = ms[m];
            alike_outs[n_alike] = outs[m];
            alike_strides[n_alike++] = strides[m];
        }
        if (n_alike) matmul_alike(c, groups[g], &acts, runs, n_runs, alike, n_alike, alike_outs, alike_strides);
    }
}

static void cpu_matmul(device *d, const device_matrix *const *ms, uint32_t n_ms, const float *x, uint32_t n,
                       float *const *outs, const size_t *strides) {
    cpu_matmul_runs(d, ms, n_ms, x, &(device_run){0, 0, n}, 1, outs, strides);
}

typedef struct rows_work {
    const compute_kernels *k;
    const float *x, *shares;
    const uint32_t *rows;
    float *out;
    size_t x_stride;
    uint32_t n, width;
} rows_work;

static void gather_run(void *ctx, uint32_t begin, uint32_t end) {
    rows_work *w = ctx;
    for (uint32_t i = begin; i < end; i++)
        memcpy(w->out + (size_t)i * w->width, w->x + (size_t)w->rows[i] * w->width, w->width * sizeof *w->x);
}

static void cpu_gather(device *d, const float *x, const uint32_t *rows, uint32_t n, uint32_t width, float *out) {
    rows_work w = {.x = x, .rows = rows, .out = out, .width = width};
    split(state(d), n, width, gather_run, &w);
}

enum { WEIGHTED_COLS = 64 };

/* Items are columns, WEIGHTED_COLS at a time: rows may meet in one. */
static void weighted_run(void *ctx, uint32_t begin, uint32_t end) {
    rows_work *w = ctx;
    uint32_t at = begin * WEIGHTED_COLS, stop = end * WEIGHTED_COLS < w->width ? end * WEIGHTED_COLS : w->width;
    for (uint32_t i = 0; i < w->n; i++) {
        float *to = w->out + (size_t)(w->rows ? w->rows[i] : i) * w->width;
        w->k->axpy(to + at, w->shares[i], w->x + i * w->x_stride + at, stop - at);
    }
}

static void cpu_add_weighted(device *d, float *y, const uint32_t *rows, const float *shares, const float *x,
                           size_t x_stride, uint32_t n, uint32_t width) {
    rows_work w = {state(d)->kernels, x, shares, rows, y, x_stride, n, width};
    split(state(d), (width + WEIGHTED_COLS - 1) / WEIGHTED_COLS, (uint64_t)n * WEIGHTED_COLS, weighted_run, &w);
}

typedef struct rope_work {
    const compute_kernels *k;
    const device_rope *rope;
    float *x;
    size_t stride;
    uint32_t n_heads;
} rope_work;

static void rope_run(void *ctx, uint32_t begin, uint32_t end) {
    rope_work *w = ctx;
    for (uint32_t i = begin; i < end; i++)
        w->k->rope(w->x + i * w->stride, w->n_heads, w->rope->head_dim, w->rope->rot_dim,
                   w->rope->cos_sin + (size_t)i * w->rope->rot_dim, w->rope->paired);
}

static void cpu_rope(device *d, const device_rope *rope, float *x, size_t stride, uint32_t n_heads, uint32_t n) {
    rope_work w = {state(d)->kernels, rope, x, stride, n_heads};
    split(state(d), n, (uint64_t)n_heads * rope->rot_dim * 2, rope_run, &w);
}

typedef struct kv_work {
    const compute_kernels *k;
    const device_attention *a;
    const device_kv_view *views;
    const uint32_t *tiles;
    const float *in, *in_v, *q_sinks;
    size_t in_stride, in_v_stride;
    float *out;
    size_t out_stride;
} kv_work;

static void kv_store_run(void *ctx, uint32_t begin, uint32_t end) {
    kv_work *w = ctx;
    const device_attention *a = w->a;
    for (uint32_t i = begin; i < end; i++) {
        const device_kv_view *view = &w->views[i];
        const device_kv_layer *layer = &a->layer[view->type];
        uint32_t position = view->position, page_at = position / COMPUTE_PAGE_TOKENS;
        uint8_t *page = view->pages[compute_kv_entry(page_at, view->sink_pages, view->ring_pages)];
        for (uint32_t h = 0; h < a->n_kv_heads; h++)
            w->k->kv_store(view->type, page + layer->k_offset + h * layer->k_stride,
                           page + layer->v_offset + h * layer->v_stride,
                           w->in + i * w->in_stride + (size_t)h * a->head_dim,
                           w->in_v + i * w->in_v_stride + (size_t)h * a->head_dim_v, a->head_dim, a->head_dim_v,
                           position % COMPUTE_PAGE_TOKENS);
    }
}

static void cpu_kv_store(device *d, const device_attention *a, const device_kv_view *views, uint32_t n,
                         const float *k, size_t k_stride, const float *v, size_t v_stride) {
    kv_work w = {.k = state(d)->kernels,
                 .a = a,
                 .views = views,
                 .in = k,
                 .in_stride = k_stride,
                 .in_v = v,
                 .in_v_stride = v_stride};
    split(state(d), n, (uint64_t)a->n_kv_heads * (a->head_dim + a->head_dim_v) * 4, kv_store_run, &w);
}

/* Cuts the tokens into tiles: runs of one sequence, in ascending positions, that meet its pages together. Tile i is
 * tokens starts[i] … starts[i + 1] − 1; returns how many there are. */
static uint32_t cut_tiles(const device_kv_view *views, uint32_t n, uint32_t tokens_most, uint32_t *starts) {
    uint32_t n_tiles = 0;
    for (uint32_t i = 0; i < n; i++) {
        bool next = i && views[i].pages == views[i - 1].pages && views[i].type == views[i - 1].type &&
                    views[i].position > views[i - 1].position && i - starts[n_tiles - 1] < tokens_most;
        if (!next) starts[n_tiles++] = i;
    }
    starts[n_tiles] = n;
    return n_tiles;
}

/* n tokens of one sequence from i on, one kv head. */
static void attend_tile(kv_work *w, uint32_t i, uint32_t n, uint32_t kv_head) {
    const device_attention *a = w->a;
    const device_kv_view *view = &w->views[i];
    const device_kv_layer *layer = &a->layer[view->type];
    uint32_t group = a->n_heads / a->n_kv_heads;
    size_t q_at = i * w->in_stride + (size_t)kv_head * group * a->head_dim;
    compute_span spans[COMPUTE_TOKENS_MAX];
    for (uint32_t t = 0; t < n; t++) spans[t] = (compute_span){view[t].keep, view[t].first, view[t].position};
    compute_attend_args args = {
        .type = view->type,
        .q = w->in + q_at,
        .q_sinks = w->q_sinks ? w->q_sinks + q_at : w->in + q_at,
        .n_heads = group,
        .n_tokens = n,
        .spans = spans,
        .q_stride = a->head_dim,
        .q_token_stride = w->in_stride,
        .head_dim = a->head_dim,
        .head_dim_v = a->head_dim_v,
        .scale = a->scale,
        .softcap = a->softcap,
        .pages = (const uint8_t *const *)view->pages,
        .sink_pages = view->sink_pages,
        .ring_pages = view->ring_pages,
        .k_offset = layer->k_offset + kv_head * layer->k_stride,
        .v_offset = layer->v_offset + kv_head * layer->v_stride,
        .out = w->out + i * w->out_stride + (size_t)kv_head * group * a->head_dim_v,
        .out_stride = a->head_dim_v,
        .out_token_stride = w->out_stride,
    };
    w->k->attend(&args);
}

/* Items are (tile of tokens, kv head) pairs. */
static void attend_items(void *ctx, uint32_t begin, uint32_t end) {
    kv_work *w = ctx;
    for (uint32_t item = begin; item < end; item++) {
        const uint32_t *tile = w->tiles + item / w->a->n_kv_heads;
        attend_tile(w, tile[0], tile[1] - tile[0], item % w->a->n_kv_heads);
    }
}

static void cpu_attend(device *d, const device_attention *a, const device_kv_view *views, uint32_t n,
                       const float *q, const float *q_sinks, size_t q_stride, float *out, size_t out_stride) {
    cpu *c = state(d);
    CHECK(n <= c->max_tokens);
    uint32_t group = a->n_heads / a->n_kv_heads;
    uint32_t n_tiles = cut_tiles(views, n, compute_attend_tokens(group, a->head_dim), c->tiles);
    kv_work w = {.k = c->kernels,
                 .a = a,
                 .views = views,
                 .tiles = c->tiles,
                 .in = q,
                 .q_sinks = q_sinks,
                 .in_stride = q_stride,
                 .out = out,
                 .out_stride = out_stride};
    uint64_t keys = 0;
    for (uint32_t i = 0; i < n; i++) keys += views[i].position - views[i].first + 1 + views[i].keep;
    split(c, n_tiles * a->n_kv_heads, keys / n_tiles * group * (a->head_dim + a->head_dim_v), attend_items, &w);
}

typedef struct gated_work {
    void (*act)(const float *, const float *, uint32_t, float *);
    const float *gate, *up;
    float *out;
    size_t stride;
    uint32_t width;
} gated_work;

static void gated_run(void *ctx, uint32_t begin, uint32_t end) {
    gated_work *w = ctx;
    for (uint32_t i = begin; i < end; i++)
        w->act(w->gate + i * w->stride, w->up + i * w->stride, w->width, w->out + (size_t)i * w->width);
}

static void cpu_gated(device *d, device_activation act, const float *gate, const float *up, size_t stride,
                      uint32_t n, uint32_t width, float *out) {
    const compute_kernels *k = state(d)->kernels;
    gated_work w = {act == DEVICE_GELU ? k->gelu_mul : k->silu_mul, gate, up, out, stride, width};
    split(state(d), n, width * 8, gated_run, &w);
}

static void cpu_add(device *d, float *y, const float *x, size_t x_stride, uint32_t n, uint32_t width) {
    for (uint32_t i = 0; i < n; i++) state(d)->kernels->add(y + (size_t)i * width, x + i * x_stride, width);
}

static void cpu_zero(device *d, float *x, size_t n) {
    (void)d;
    memset(x, 0, n * sizeof *x);
}

static void cpu_copy(device *d, const float *x, size_t n, float *out) {
    (void)d;
    memcpy(out, x, n * sizeof *x);
}

static const float *cpu_read(device *d, const float *x, size_t n) {
    (void)d, (void)n;
    return x;
}

static void cpu_rope_angles(device *d, const float *freqs, float mscale, const uint32_t *positions, uint32_t n,
                            uint32_t pairs, float *cos_sin) {
    (void)d;
    for (uint32_t i = 0; i < n; i++)
        for (uint32_t j = 0; j < pairs; j++) {
            double angle = positions[i] * (double)freqs[j];
            *cos_sin++ = (float)cos(angle) * mscale;
            *cos_sin++ = (float)sin(angle) * mscale;
        }
}

static const device_ops cpu_ops = {
    .name = "cpu",
    .supports = compute_type_supported,
    .matrix_bytes = cpu_matrix_bytes,
    .row_stride = cpu_row_stride,
    .matrix_scratch_bytes = cpu_matrix_scratch_bytes,
    .matrix_load = cpu_matrix_load,
    .embed = cpu_embed,
    .rmsnorm = cpu_rmsnorm,
    .matmul = cpu_matmul,
    .matmul_runs = cpu_matmul_runs,
    .zero = cpu_zero,
    .copy = cpu_copy,
    .read = cpu_read,
    .sigmoid_dot = cpu_sigmoid_dot,
    .route = cpu_route,
    .gather = cpu_gather,
    .add_weighted = cpu_add_weighted,
    .rope_angles = cpu_rope_angles,
    .rope = cpu_rope,
    .kv_store = cpu_kv_store,
    .attend = cpu_attend,
    .gated = cpu_gated,
    .add = cpu_add,
};

const device_ops *device_cpu_ops(void) { return &cpu_ops; }

bool device_cpu_init(device *d, const device_cpu_config *config, mem_arena *a, err *e) {
    const compute_kernels *kernels = compute_select(e);
    if (!kernels) return false;
    size_t before = a->used;
    cpu *c;
    void *pool_memory;
    layout(&c, &pool_memory, config, a);
    if (a->failed) return err_set(e, ERR_MEMORY, "the workspace is smaller than its plan");
    c->kernels = kernels;
    c->bytes = a->used - before;
    c->pool = compute_pool_start(pool_memory, config->n_threads, e);
    if (!c->pool) return false;
    *d = (device){.ops = &cpu_ops, .n_threads = config->n_threads, .state = c};
    return true;
}

size_t device_cpu_bytes(const device *d) { return ((const cpu *)d->state)->bytes; }
const char *device_cpu_kernels(const device *d) { return ((const cpu *)d->state)->kernels->name; }

void device_cpu_limits(device *d, const void *bytes, size_t n_bytes, compute_limits *out) {
    compute_limits_measure(state(d)->pool, bytes, n_bytes, out);
}

void device_cpu_stop(device *d) {
    if (!d->state) return;
    compute_pool_stop(((cpu *)d->state)->pool);
    d->state = NULL;
}
