/* The CPU device: its operations split over threads give what one gives, each token by itself; loads that fail say why.
 */
#include "../test.h"

#include <math.h>

#include "base/rng.h"
#include "compute/compute.h"
#include "device/cpu/cpu.h"

enum { MAX_TOKENS = 33, COLS = 96 };

typedef struct rig {
    mem_ledger ledger;
    mem_arena arena;
    device dev;
} rig;

static void up(rig *r, int n_threads) {
    err e = {0};
    mem_ledger_init(&r->ledger, UINT64_MAX);
    assert_ok(mem_arena_init(&r->arena, &r->ledger, MEM_WORKSPACE, 4 << 20, false, &e), e);
    device_cpu_config c = {n_threads, MAX_TOKENS, 4096};
    size_t before = r->arena.used;
    assert_ok(device_cpu_init(&r->dev, &c, &r->arena, &e), e);
    assert_int_equal(device_cpu_bytes(&r->dev), device_cpu_plan_bytes(&c));
    assert_int_equal(r->arena.used - before, device_cpu_plan_bytes(&c));
    assert_int_equal(r->dev.n_threads, n_threads);
}

static void down(rig *r) {
    device_cpu_stop(&r->dev);
    device_cpu_stop(&r->dev); /* twice does no harm */
    mem_arena_free(&r->arena);
}

/* ---- matrices ---- */

typedef struct rows {
    uint8_t *bytes;
    size_t row_bytes;
    uint32_t fail_at; /* this row cannot be read; UINT32_MAX: all can */
} rows;

static bool read_rows(void *ctx, uint32_t row, uint32_t n_rows, void *out, err *e) {
    rows *r = ctx;
    if (r->fail_at >= row && r->fail_at < row + n_rows) return err_set(e, ERR_IO, "row %u cannot be read", r->fail_at);
    memcpy(out, r->bytes + row * r->row_bytes, n_rows * r->row_bytes);
    return true;
}

static bool load(rig *r, device_matrix *m, rows *from, err *e) {
    const device_ops *ops = r->dev.ops;
    m->data = mem_arena_take(&r->arena, ops->matrix_bytes(m->type, m->rows, m->cols), 64);
    void *scratch = mem_arena_take(&r->arena, ops->matrix_scratch_bytes(m->type, m->cols, r->dev.n_threads), 64);
    assert_true(m->data && scratch);
    return ops->matrix_load(&r->dev, m, read_rows, from, scratch, e);
}

/* Rows of random values as the file has them; values: what they mean. */
static rows make_rows(rng *r, dtype type, uint32_t n, uint32_t cols, float *values) {
    rows from = {NULL, dtype_row_bytes(type, cols), UINT32_MAX};
    from.bytes = malloc(n * from.row_bytes);
    for (uint32_t i = 0; i < n; i++) {
        float *v = values + (size_t)i * cols;
        for (uint32_t j = 0; j < cols; j++) v[j] = (float)(rng_unit(r) - 0.5);
        compute_quantize_row(type, v, cols, from.bytes + i * from.row_bytes);
        compute_dequantize_row(type, from.bytes + i * from.row_bytes, cols, v);
    }
    return from;
}

static void random_floats(rng *r, float *x, size_t n) {
    for (size_t i = 0; i < n; i++) x[i] = (float)(2 * rng_unit(r) - 1);
}

/* Three matrices of differing rows and types at once, two with biases, against sums in double; then token by token,
 * and with other numbers of threads: the same bits. */
static void matmul(void **state) {
    (void)state;
    static const dtype types[] = {DTYPE_F32, DTYPE_F16, DTYPE_Q8_0};
    static const uint32_t n_rows[] = {500, 17, 1};
    static float x[MAX_TOKENS * COLS], bias[500], values[3][500 * COLS], first[3][MAX_TOKENS * 512],
        again[3][MAX_TOKENS * 512];
    for (int n_threads = 1; n_threads <= 4; n_threads++) {
        rig r;
        rng random;
        err e = {0};
        up(&r, n_threads);
        rng_seed(&random, 1);
        random_floats(&random, x, MAX_TOKENS * COLS);
        random_floats(&random, bias, 500);
        device_matrix m[3];
        const device_matrix *ms[3];
        float *outs[3];
        size_t strides[3];
        for (int i = 0; i < 3; i++) {
            rows from = make_rows(&random, types[i], n_rows[i], COLS, values[i]);
            m[i] = (device_matrix){.type = types[i], .rows = n_rows[i], .cols = COLS, .bias = i < 2 ? bias : NULL};
            assert_ok(load(&r, &m[i], &from, &e), e);
            free(from.bytes);
            ms[i] = &m[i], strides[i] = r.dev.ops->row_stride(n_rows[i]);
            assert_true(strides[i] >= n_rows[i] && strides[i] <= 512);
            outs[i] = again[i];
        }
        r.dev.ops->matmul(&r.dev, ms, 3, x, MAX_TOKENS, outs, strides);
        for (int i = 0; i < 3; i++)
            for (uint32_t t = 0; t < MAX_TOKENS; t++)
                for (uint32_t row = 0; row < n_rows[i]; row++) {
                    double sum = i < 2 ? (double)bias[row] : 0;
                    for (uint32_t j = 0; j < COLS; j++)
                        sum += (double)values[i][row * COLS + j] * (double)x[t * COLS + j];
                    double got = (double)again[i][t * strides[i] + row];
                    assert_true(fabs(got - sum) < (types[i] == DTYPE_Q8_0 ? 0.1 : 1e-4));
                    if (n_threads == 1) first[i][t * strides[i] + row] = again[i][t * strides[i] + row];
                    assert_memory_equal(&first[i][t * strides[i] + row], &again[i][t * strides[i] + row], 4);
                }
        for (uint32_t t = 0; t < MAX_TOKENS; t++) {
            r.dev.ops->matmul(&r.dev, ms, 3, x + t * COLS, 1, outs, strides);
            for (int i = 0; i < 3; i++)
                assert_memory_equal(again[i], first[i] + t * strides[i], n_rows[i] * sizeof(float));
        }
        down(&r);
    }
}

/* Several matrices in one, and runs of tokens that meet one each: the bits of plain multiplications, on every thread
 * count, with gaps in the matrices and runs of all lengths. */
static void matmul_runs(void **state) {
    (void)state;
    enum { MATRICES = 5, ROWS = 40, STRIDE = 48 };
    static const device_run runs[] = {{0, 0, 1}, {1, 1, 20}, {4, 21, 5}, {2, 26, 7}};
    static const dtype types[] = {DTYPE_F32, DTYPE_Q4_0, DTYPE_Q8_0};
    static float x[MAX_TOKENS * COLS], got[2][MAX_TOKENS * STRIDE], want[2][MAX_TOKENS * STRIDE];
    rng random;
    rng_seed(&random, 3);
    random_floats(&random, x, MAX_TOKENS * COLS);
    for (int n_threads = 1; n_threads <= 3; n_threads++)
        for (size_t t = 0; t < sizeof types / sizeof *types; t++) {
            rig r;
            up(&r, n_threads);
            const device_ops *ops = r.dev.ops;
            size_t bytes = ops->matrix_bytes(types[t], ROWS, COLS), row_bytes = dtype_row_bytes(types[t], COLS);
            device_matrix m[2], single[2];
            for (int i = 0; i < 2; i++) {
                m[i] = (device_matrix){.type = types[t], .rows = ROWS, .cols = COLS};
                char *all = mem_arena_take(&r.arena, MATRICES * bytes, 64);
                for (int k = 0; k < MATRICES; k++) {
                    uint8_t *stored = calloc(ROWS, row_bytes);
                    float row[COLS];
                    for (int j = 0; j < ROWS; j++) {
                        random_floats(&random, row, COLS);
                        compute_quantize_row(types[t], row, COLS, stored + (size_t)j * row_bytes);
                    }
                    err e = {0};
                    single[i] = m[i];
                    assert_ok(load(&r, &single[i], &(rows){stored, row_bytes, UINT32_MAX}, &e), e);
                    memcpy(all + (size_t)k * bytes, single[i].data, bytes);
                    free(stored);
                }
                m[i].data = all;
            }
            const device_matrix *ms[] = {&m[0], &m[1]}, *singles[] = {&single[0], &single[1]};
            float *outs[] = {got[0], got[1]};
            size_t strides[] = {STRIDE, STRIDE};
            ops->matmul_runs(&r.dev, ms, 2, x, runs, 4, outs, strides);
            for (int k = 0; k < 4; k++) {
                float *wants[] = {want[0] + runs[k].first * STRIDE, want[1] + runs[k].first * STRIDE};
                for (int i = 0; i < 2; i++) {
                    single[i] = m[i];
                    single[i].data = (char *)m[i].data + runs[k].matrix * bytes;
                }
                ops->matmul(&r.dev, singles, 2, x + runs[k].first * COLS, runs[k].n, wants, strides);
            }
            assert_memory_equal(got, want, sizeof got);
            down(&r);
        }
}

/* Rows picked and put together again: of a row that is met twice the first comes first. */
static void rows_by_number(void **state) {
    (void)state;
    enum { WIDTH = 200, N = 6, STRIDE = 208 };
    static const uint32_t picked[N] = {4, 0, 4, 2, 2, 3};
    static const float shares[N] = {0.5f, 1, -2, 0.25f, 3, 1e-3f};
    static float x[5 * WIDTH], gathered[N * WIDTH], y[5 * WIDTH], want[5 * WIDTH], add[N * STRIDE];
    rng random;
    rng_seed(&random, 4);
    random_floats(&random, x, 5 * WIDTH);
    random_floats(&random, add, N * STRIDE);
    for (int n_threads = 1; n_threads <= 3; n_threads++) {
        rig r;
        up(&r, n_threads);
        r.dev.ops->gather(&r.dev, x, picked, N, WIDTH, gathered);
        for (int i = 0; i < N; i++)
            assert_memory_equal(gathered + i * WIDTH, x + picked[i] * WIDTH, WIDTH * sizeof *x);
        memcpy(y, x, sizeof y), memcpy(want, x, sizeof want);
        r.dev.ops->add_weighted(&r.dev, y, picked, shares, add, STRIDE, N, WIDTH);
        for (int i = 0; i < N; i++)
            for (int j = 0; j < WIDTH; j++) {
                float *to = &want[picked[i] * WIDTH + (uint32_t)j];
                *to = fmaf(shares[i], add[i * STRIDE + j], *to);
            }
        assert_memory_equal(y, want, sizeof y);
        memcpy(y, x, sizeof y), memcpy(want, x, sizeof want);
        r.dev.ops->add_weighted(&r.dev, y, NULL, shares, add, STRIDE, 5, WIDTH);
        for (int i = 0; i < 5; i++)
            for (int j = 0; j < WIDTH; j++)
                want[i * WIDTH + j] = fmaf(shares[i], add[i * STRIDE + j], want[i * WIDTH + j]);
        assert_memory_equal(y, want, sizeof y);
        down(&r);
    }
}

static void embedding(void **state) {
    (void)state;
    static float values[40 * COLS], out[3 * COLS];
    static const int32_t tokens[] = {39, 0, 17};
    rig r;
    rng random;
    err e = {0};
    up(&r, 2);
    rng_seed(&random, 2);
    rows from = make_rows(&random, DTYPE_Q8_0, 40, COLS, values);
    device_matrix m = {.type = DTYPE_Q8_0, .rows = 40, .cols = COLS};
    assert_ok(load(&r, &m, &from, &e), e);
    free(from.bytes);
    r.dev.ops->embed(&r.dev, &m, tokens, 3, 1, out);
    for (int i = 0; i < 3; i++) assert_memory_equal(out + i * COLS, values + tokens[i] * COLS, COLS * sizeof(float));
    r.dev.ops->embed(&r.dev, &m, tokens, 3, 2.5f, out);
    for (int i = 0; i < 3 * COLS; i++) assert_true(out[i] == values[tokens[i / COLS] * COLS + i % COLS] * 2.5f);
    down(&r);
}

/* A row that cannot be read, wherever it is and whoever reads it. */
static void a_load_that_fails_says_why(void **state) {
    (void)state;
    static float values[200 * COLS];
    static const uint32_t places[] = {0, 15, 16, 130, 199};
    for (int n_threads = 1; n_threads <= 3; n_threads++)
        for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
            rig r;
            rng random;
            err e = {0};
            up(&r, n_threads);
            rng_seed(&random, 3);
            rows from = make_rows(&random, DTYPE_F32, 200, COLS, values);
            from.fail_at = places[i];
            device_matrix m = {.type = DTYPE_F32, .rows = 200, .cols = COLS};
            assert_false(load(&r, &m, &from, &e));
            assert_int_equal(e.code, ERR_IO);
            assert_non_null(strstr(e.message, "cannot be read"));
            free(from.bytes);
            down(&r);
        }
}

/* Element-wise operations: threads do not change a bit, and rows further apart than they are wide stay apart. */
static void element_wise(void **state) {
    (void)state;
    enum { STRIDE = 1024, WIDTH = 1000 };
    static float gate[MAX_TOKENS * STRIDE], to_add[MAX_TOKENS * STRIDE], first[2][MAX_TOKENS * WIDTH],
        out[2][MAX_TOKENS * WIDTH];
    for (int n_threads = 1; n_threads <= 4; n_threads++) {
        rig r;
        rng random;
        up(&r, n_threads);
        rng_seed(&random, 4);
        random_floats(&random, gate, MAX_TOKENS * STRIDE);
        random_floats(&random, to_add, MAX_TOKENS * STRIDE);
        r.dev.ops->gated(&r.dev, DEVICE_SILU, gate, to_add, STRIDE, MAX_TOKENS, WIDTH, out[0]);
        for (uint32_t t = 0; t < MAX_TOKENS; t++)
            for (uint32_t i = 0; i < WIDTH; i++) {
                double g = (double)gate[t * STRIDE + i];
                assert_true(fabs((double)out[0][t * WIDTH + i] - g / (1 + exp(-g)) * (double)to_add[t * STRIDE + i]) <
                            1e-6);
            }
        r.dev.ops->rmsnorm(&r.dev, out[0], gate, MAX_TOKENS, WIDTH, 1e-5f, out[1]);
        r.dev.ops->add(&r.dev, out[1], to_add, STRIDE, MAX_TOKENS, WIDTH);
        for (uint32_t t = 0; t < MAX_TOKENS; t++) {
            double square = 0;
            for (uint32_t i = 0; i < WIDTH; i++)
                square += (double)out[0][t * WIDTH + i] * (double)out[0][t * WIDTH + i];
            for (uint32_t i = 0; i < WIDTH; i++) {
                double norm = (double)out[0][t * WIDTH + i] / sqrt(square / WIDTH + 1e-5) * (double)gate[i];
                assert_true(fabs((double)out[1][t * WIDTH + i] - norm - (double)to_add[t * STRIDE + i]) < 1e-5);
            }
        }
        if (n_threads == 1) memcpy(first, out, sizeof first);
        assert_memory_equal(first, out, sizeof first);
        down(&r);
    }
}

/* ---- attention ---- */

enum { KV_HEADS = 2, HEADS = 6, DIM = 16, DIM_V = 32, VIEWS = 6, TABLE = 8, Q_STRIDE = HEADS * DIM,
       K_FLOATS = KV_HEADS * DIM, V_FLOATS = KV_HEADS * DIM_V, OUT_FLOATS = HEADS * DIM_V };

/* Six tokens of as many sequences: every page type, with a straight table and with one that goes round. */
typedef struct cache {
    uint8_t *table[VIEWS][TABLE];
    device_kv_view view[VIEWS];
    device_attention a;
} cache;

static void cache_up(cache *c) {
    c->a = (device_attention){HEADS, KV_HEADS, DIM, DIM_V, 0.25f, 0, {{0}}};
    for (int t = 0; t < COMPUTE_KV_TYPES; t++) { /* some bytes into the page, values before keys */
        device_kv_layer *l = &c->a.layer[t];
        l->k_stride = compute_kv_k_bytes((compute_kv_type)t, DIM);
        l->v_stride = compute_kv_v_bytes((compute_kv_type)t, DIM_V);
        l->v_offset = 64;
        l->k_offset = l->v_offset + KV_HEADS * l->v_stride;
    }
    for (uint32_t i = 0; i < VIEWS; i++) {
        bool ring = i >= COMPUTE_KV_TYPES;
        c->view[i] = (device_kv_view){.pages = c->table[i], .type = (compute_kv_type)(i % COMPUTE_KV_TYPES),
                                      .sink_pages = ring ? 1 : 0, .ring_pages = ring ? 7 : 0, .keep = ring ? 5 : 0};
        for (int p = 0; p < TABLE; p++) {
            c->table[i][p] = aligned_alloc(64, 1 << 15);
            memset(c->table[i][p], 0xFF, 1 << 15);
        }
    }
}

/* Stores positions 0 … last of every view; those with a straight table (the first half) end where it ends. */
static void cache_fill(cache *c, rig *r, uint32_t last) {
    static float k[VIEWS * K_FLOATS], v[VIEWS * V_FLOATS];
    rng random;
    rng_seed(&random, 9);
    for (uint32_t at = 0; at <= last; at++) {
        uint32_t skipped = at < TABLE * COMPUTE_PAGE_TOKENS ? 0 : VIEWS / 2;
        for (uint32_t i = skipped; i < VIEWS; i++) {
            c->view[i].position = at;
            c->view[i].first = at > 70 ? at - 60 : 3;
        }
        random_floats(&random, k, VIEWS * K_FLOATS);
        random_floats(&random, v, VIEWS * V_FLOATS);
        r->dev.ops->kv_store(&r->dev, &c->a, c->view + skipped, VIEWS - skipped, k, K_FLOATS, v, V_FLOATS);
    }
}

/* The same by the reference kernel, head by head. */
static void attend_by_head(const cache *c, const float *q, const float *q_sinks, float *out) {
    for (uint32_t i = 0; i < VIEWS; i++) {
        const device_kv_view *view = &c->view[i];
        const device_kv_layer *l = &c->a.layer[view->type];
        for (uint32_t h = 0; h < HEADS; h++) {
            size_t at = i * Q_STRIDE + h * DIM, kv_head = h / (HEADS / KV_HEADS);
            compute_span span = {view->keep, view->first, view->position};
            compute_attend_args args = {
                .type = view->type, .q = q + at, .q_sinks = q_sinks + at, .n_heads = 1, .n_tokens = 1, .spans = &span,
                .q_stride = DIM, .head_dim = DIM,
                .head_dim_v = DIM_V, .scale = c->a.scale, .pages = (const uint8_t *const *)view->pages,
                .sink_pages = view->sink_pages, .ring_pages = view->ring_pages,
                .k_offset = l->k_offset + kv_head * l->k_stride, .v_offset = l->v_offset + kv_head * l->v_stride,
                .out = out + i * OUT_FLOATS + h * DIM_V, .out_stride = DIM_V};
            compute_by_name("ref")->attend(&args);
        }
    }
}

static void attention(void **state) {
    (void)state;
    static float q[VIEWS * Q_STRIDE], q_sinks[VIEWS * Q_STRIDE], want[VIEWS * OUT_FLOATS], got[VIEWS * OUT_FLOATS];
    for (int n_threads = 1; n_threads <= 3; n_threads++) {
        rig r;
        cache c;
        rng random;
        rng_seed(&random, 10);
        random_floats(&random, q, VIEWS * Q_STRIDE);
        random_floats(&random, q_sinks, VIEWS * Q_STRIDE);
        up(&r, n_threads);
        cache_up(&c);
        cache_fill(&c, &r, 300);
        attend_by_head(&c, q, q_sinks, want);
        r.dev.ops->attend(&r.dev, &c.a, c.view, VIEWS, q, q_sinks, Q_STRIDE, got, OUT_FLOATS);
        for (int i = 0; i < VIEWS * OUT_FLOATS; i++) assert_true(isfinite(got[i]));
        assert_memory_equal(want, got, sizeof got);
        attend_by_head(&c, q, q, want); /* without q_sinks the kept are met with q */
        r.dev.ops->attend(&r.dev, &c.a, c.view, VIEWS, q, NULL, Q_STRIDE, got, OUT_FLOATS);
        assert_memory_equal(want, got, sizeof got);
        for (int i = 0; i < VIEWS; i++)
            for (int p = 0; p < TABLE; p++) free(c.table[i][p]);
        down(&r);
    }
}

static void kernels_by_name(void **state) {
    (void)state;
    rig r;
    for (int i = 0; compute_variant(i); i++) {
        setenv("PLIMSOLL_KERNELS", compute_variant(i)->name, 1);
        up(&r, 1);
        assert_string_equal(device_cpu_kernels(&r.dev), compute_variant(i)->name);
        down(&r);
    }
    setenv("PLIMSOLL_KERNELS", "abacus", 1);
    err e = {0};
    device dev;
    device_cpu_config c = {1, 1, 16};
    mem_ledger_init(&r.ledger, UINT64_MAX);
    assert_ok(mem_arena_init(&r.arena, &r.ledger, MEM_WORKSPACE, 1 << 20, false, &e), e);
    assert_false(device_cpu_init(&dev, &c, &r.arena, &e));
    assert_non_null(strstr(e.message, "abacus"));
    unsetenv("PLIMSOLL_KERNELS");
    mem_arena_free(&r.arena);
    assert_ok(mem_arena_init(&r.arena, &r.ledger, MEM_WORKSPACE, 64, false, &e), e);
    c.max_tokens = 1000, c.max_cols = 1000; /* an arena that is too small is refused, too */
    assert_false(device_cpu_init(&dev, &c, &r.arena, &e));
    assert_int_equal(e.code, ERR_MEMORY);
    mem_arena_free(&r.arena);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(matmul_runs),  cmocka_unit_test(rows_by_number),
        cmocka_unit_test(matmul),       cmocka_unit_test(embedding),       cmocka_unit_test(a_load_that_fails_says_why),
        cmocka_unit_test(element_wise), cmocka_unit_test(attention),       cmocka_unit_test(kernels_by_name),
    };
    return cmocka_run_group_tests_name("device_cpu", tests, NULL, NULL);
}
