/* The forward pass against a plain one in double precision, written here without pages, panels or batches; and
 * the rotary frequencies against their formulas. */
#include "reference.h"

static void shapes(void **state) {
    (void)state;
    static const model_spec specs[] = {
        {.n_vocab = 33,
         .n_layers = 2,
         .n_embd = 60,
         .n_heads = 6,
         .n_kv_heads = 3,
         .n_ff = 100,
         .context = 128,
         .seed = 1},
        {.n_vocab = 17,
         .n_layers = 2,
         .n_embd = 64,
         .n_heads = 2,
         .n_kv_heads = 1,
         .n_ff = 48,
         .context = 128,
         .tied = true,
         .seed = 2},
        {.n_vocab = 50,
         .n_layers = 1,
         .n_embd = 30,
         .n_heads = 5,
         .n_kv_heads = 5,
         .n_ff = 7,
         .context = 128,
         .seed = 3},
        {.n_vocab = 16,
         .n_layers = 3,
         .n_embd = 40,
         .n_heads = 7,
         .n_kv_heads = 7,
         .head_dim = 12,
         .head_dim_v = 6,
         .n_ff = 33,
         .context = 128,
         .seed = 4},
        {.n_vocab = 16,
         .n_layers = 2,
         .n_embd = 32,
         .n_heads = 9,
         .n_kv_heads = 3,
         .head_dim = 32,
         .head_dim_v = 16,
         .n_ff = 64,
         .context = 128,
         .rot_dim = 10,
         .seed = 5},
        {.n_vocab = 1,
         .n_layers = 1,
         .n_embd = 2,
         .n_heads = 1,
         .n_kv_heads = 1,
         .n_ff = 1,
         .context = 128,
         .seed = 6},
    };
    for (size_t i = 0; i < sizeof specs / sizeof *specs; i++) compare(&specs[i], EXACT);
}

/* All layers, every second, all but every third seeing a window. */
static void windows(void **state) {
    (void)state;
    for (uint32_t pattern = 0; pattern <= 3; pattern++)
        compare(&(model_spec){.n_vocab = 30,
                              .n_layers = 4,
                              .n_embd = 48,
                              .n_heads = 4,
                              .n_kv_heads = 2,
                              .n_ff = 40,
                              .context = 128,
                              .window = 5 + 30 * (pattern == 2),
                              .window_pattern = pattern,
                              .seed = 20 + pattern},
                EXACT);
}

static void another_row(void **state) { /* biases, halves instead of pairs */
    (void)state;
    compare(&(model_spec){.arch = "qwen2",
                          .n_vocab = 40,
                          .n_layers = 2,
                          .n_embd = 48,
                          .n_heads = 6,
                          .n_kv_heads = 2,
                          .n_ff = 64,
                          .context = 128,
                          .rope_base = 1e6f,
                          .biases = true,
                          .tied = true,
                          .seed = 7},
            EXACT);
}

/* q, k and v in one tensor, gate and up in another, a part of each head rotated; borders within a panel of rows. */
static void fused_networks(void **state) {
    (void)state;
    model_spec s = {.arch = "phi3",
                    .n_vocab = 40,
                    .n_layers = 2,
                    .n_embd = 48,
                    .n_heads = 4,
                    .n_kv_heads = 2,
                    .n_ff = 40,
                    .context = 128,
                    .rot_dim = 8,
                    .window = 30,
                    .fused_qkv = true,
                    .seed = 36};
    compare(&s, EXACT);
    s.rot_dim = 0, s.window = 0, s.n_ff = 33, s.rope_attn_factor = 1.19f;
    compare(&s, EXACT);
    s.type = DTYPE_Q8_0, s.n_embd = 128, s.n_ff = 96;
    compare(&s, 0.05);
}

static void norms_of_heads(void **state) { /* a head size that is not width / heads, rows with and without padding */
    (void)state;
    for (uint32_t heads = 2; heads <= 4; heads += 2)
        compare(&(model_spec){.arch = "qwen3",
                              .n_vocab = 40,
                              .n_layers = 2,
                              .n_embd = 48,
                              .n_heads = heads,
                              .n_kv_heads = 2,
                              .head_dim = heads == 2 ? 24 : 20,
                              .n_ff = 64,
                              .context = 128,
                              .seed = 30 + heads},
                EXACT);
}

/* More slots than the buffers hold: in waves. */
static const model_spec mixtures[] = {
    {.n_experts = 4, .n_experts_used = 2, .n_ff = 48, .seed = 41},
    {.n_experts = 7, .n_experts_used = 3, .n_ff = 21, .seed = 42},
    {.n_experts = 3, .n_experts_used = 3, .n_ff = 16, .seed = 43},
    {.n_experts = 1, .n_experts_used = 1, .n_ff = 40, .seed = 44},
    {.arch = "qwen3moe", .n_experts = 40, .n_experts_used = 8, .n_ff = 99, .n_ff_exp = 16, .seed = 45},
    {.arch = "qwen3moe", .n_experts = 5, .n_experts_used = 1, .n_ff = 9, .n_ff_exp = 30, .head_dim = 20,
     .seed = 46},
    {.arch = "qwen2moe", .n_experts = 6, .n_experts_used = 2, .n_ff = 60, .n_ff_exp = 17,
     .n_ff_shexp = 50, .biases = true, .seed = 47},
    {.arch = "qwen2moe", .n_experts = 8, .n_experts_used = 4, .n_ff = 32, .n_ff_exp = 16,
     .n_ff_shexp = 16, .biases = true, .seed = 48},
};
enum { N_MIXTURES = sizeof mixtures / sizeof *mixtures };

static model_spec mixture(int i) {
    model_spec s = mixtures[i];
    s.n_vocab = 40, s.n_layers = 2, s.n_embd = 48, s.n_heads = 4, s.n_kv_heads = 2, s.context = 128;
    return s;
}

static void experts(void **state) {
    (void)state;
    for (int i = 0; i < N_MIXTURES; i++) {
        model_spec s = mixture(i);
        compare(&s, EXACT);
    }
}

/* What the device is asked to read of experts' weights. */
static struct {
    uint32_t reads, tokens, twice;
    const void *seen[256];
} reading;

static void reading_matmul_runs(device *d, const device_matrix *const *ms, uint32_t n_ms, const float *x,
                                const device_run *runs, uint32_t n_runs, float *const *outs, const size_t *strides) {
    for (uint32_t m = 0; m < n_ms; m++)
        for (uint32_t r = 0; r < n_runs; r++) {
            size_t bytes = device_cpu_ops()->matrix_bytes(ms[m]->type, ms[m]->rows, ms[m]->cols);
            const void *at = (const char *)ms[m]->data + runs[r].matrix * bytes;
            for (uint32_t i = 0; i < reading.reads; i++) reading.twice += reading.seen[i] == at;
            assert_true(reading.reads < sizeof reading.seen / sizeof *reading.seen);
            reading.seen[reading.reads++] = at;
            reading.tokens += runs[r].n;
        }
    device_cpu_ops()->matmul_runs(d, ms, n_ms, x, runs, n_runs, outs, strides);
}

static void each_expert_is_read_once_a_step(void **state) {
    (void)state;
    model_spec s = mixture(0);
    rig r;
    int32_t tokens[16];
    float *logits = calloc(16 * s.n_vocab, sizeof *logits);
    s.n_experts = 8;
    rig_up(&r, &s, 2);
    device_ops ops = *r.dev.ops;
    ops.matmul_runs = reading_matmul_runs;
    r.dev.ops = &ops;
    for (int i = 0; i < 16; i++) tokens[i] = (int32_t)((unsigned)i * 7 % s.n_vocab);
    memset(&reading, 0, sizeof reading);
    rig_forward(&r, tokens, 16, 16, logits);
    assert_int_equal(reading.twice, 0);
    assert_int_equal(reading.tokens, 3 * 2 * s.n_layers * 16); /* 3 matrices, 2 experts, 16 tokens */
    assert_in_range(reading.reads, 1, 3 * 8 * s.n_layers);
    memset(&reading, 0, sizeof reading);
    rig_forward(&r, tokens, 16, 1, logits); /* token by token each reads its own */
    assert_int_equal(reading.reads, 3 * 2 * s.n_layers * 16);
    free(logits);
    rig_down(&r);
}

/* Alone, beside others, in pieces of any size, on one thread and two: the same bits. */
static void experts_bits(void **state) {
    (void)state;
    static const dtype kinds[] = {DTYPE_F32, DTYPE_Q8_0};
    static const uint32_t chunks[] = {1, 16, 33, N_TOKENS};
    for (int i = 0; i < N_MIXTURES; i++)
        for (int kind = 0; kind < 2; kind++) {
            model_spec s = mixture(i);
            s.n_embd = 64, s.type = kinds[kind], s.n_ff_exp = s.n_ff_exp ? 64 : 0, s.n_ff = 64;
            if (s.n_ff_shexp) s.n_ff_shexp = 96;
            if (s.head_dim) s.head_dim = 32;
            int32_t tokens[N_TOKENS];
            for (int t = 0; t < N_TOKENS; t++) tokens[t] = (int32_t)((unsigned)t * 11 % s.n_vocab);
            size_t bytes = (size_t)N_TOKENS * s.n_vocab * sizeof(float);
            float *want = calloc(1, bytes), *got = calloc(1, bytes);
            for (int n_threads = 1; n_threads <= 2; n_threads++) {
                rig r;
                rig_up(&r, &s, n_threads);
                if (n_threads == 1) rig_forward(&r, tokens, N_TOKENS, 1, want);
                for (int c = 0; c < 4; c++) {
                    memset(got, 0, bytes);
                    rig_forward(&r, tokens, N_TOKENS, chunks[c], got);
                    assert_memory_equal(got, want, bytes);
                }
                rig_down(&r);
            }
            free(want), free(got);
        }
}

static void types(void **state) {
    (void)state;
    model_spec s = {.n_vocab = 64,
                    .n_layers = 2,
                    .n_embd = 256,
                    .n_heads = 8,
                    .n_kv_heads = 2,
                    .n_ff = 512,
                    .context = 128,
                    .seed = 8};
    static const struct {
        dtype type;
        double tolerance;
    } wanted[] = {
        {DTYPE_F32, EXACT},
        {DTYPE_F16, EXACT},
        {DTYPE_BF16, EXACT},
        /* Here the activations are rounded, too: to 8 bits of the largest of 256. */
        {DTYPE_Q8_0, 0.12},
        {DTYPE_Q4_0, 0.12},
        {DTYPE_Q4_K, 0.12},
        {DTYPE_Q6_K, 0.12},
    };
    for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++) {
        s.type = wanted[i].type;
        compare(&s, wanted[i].tolerance);
    }
}

static void rope_scalings(void **state) {
    (void)state;
    static const float factors[] = {1, 1.5f, 2, 4, 8, 8.5f, 9, 32};
    const model_spec plain = {.n_vocab = 20,
                              .n_layers = 1,
                              .n_embd = 32,
                              .n_heads = 2,
                              .n_kv_heads = 1,
                              .n_ff = 16,
                              .context = 4096,
                              .seed = 9};
    model_spec s = plain;
    s.rope_base = 500000;
    compare(&s, EXACT);
    s.rope_factors = factors;
    compare(&s, EXACT);
    s = plain;
    s.rope_scaling = "linear", s.rope_factor = 4;
    compare(&s, EXACT);
    s.rope_scaling = NULL; /* a factor alone means linear */
    compare(&s, EXACT);
    s.rope_scaling = "none";
    compare(&s, EXACT);
    s.rope_scaling = "yarn", s.rope_factor = 8, s.rope_original = 512;
    compare(&s, EXACT);
    s.rope_attn_factor = 0.7f;
    s.rope_original = 0; /* then the context it was trained for */
    compare(&s, EXACT);
    s.rope_factors = factors;
    compare(&s, EXACT);
}

static void bad_rope_factors(void **state) {
    (void)state;
    static const float wrong[][2] = {{1, 0}, {-1, 1}, {NAN, 1}, {1, INFINITY}};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        model_spec s = {.n_vocab = 9,
                        .n_layers = 1,
                        .n_embd = 4,
                        .n_heads = 1,
                        .n_kv_heads = 1,
                        .n_ff = 8,
                        .context = 128,
                        .rope_factors = wrong[i]};
        model_file f;
        test_alloc alloc;
        gguf g;
        model_desc d;
        model m;
        err e = {0};
        mem_ledger l;
        mem_arena weights, work;
        device dev;
        model_file_make(&f, &s);
        test_alloc_init(&alloc, 0);
        mem_ledger_init(&l, UINT64_MAX);
        device_cpu_config config = {1, 1, 8};
        assert_ok(gguf_open_memory(&g, f.bytes, f.len, "test", &alloc.alloc, &e), e);
        assert_ok(model_describe(&d, &g.source, &alloc.alloc, &e), e);
        assert_ok(mem_arena_init(&weights, &l, MEM_WEIGHTS, 1 << 20, false, &e) &&
                      mem_arena_init(&work, &l, MEM_WORKSPACE, 1 << 20, false, &e),
                  e);
        assert_ok(device_cpu_init(&dev, &config, &work, &e), e);
        assert_false(model_init(&m, &g.source, &d, &dev, &weights, &work, NULL, NULL, &e));
        assert_int_equal(e.code, ERR_FORMAT);
        assert_non_null(strstr(e.message, "rope_freqs.weight"));
        device_cpu_stop(&dev);
        mem_arena_free(&work);
        mem_arena_free(&weights);
        model_desc_free(&d);
        gguf_close(&g);
        model_file_free(&f);
    }
}

typedef struct progress {
    uint64_t last, total;
    int calls;
} progress;

static void on_progress(void *ctx, uint64_t done, uint64_t total) {
    progress *p = ctx;
    assert_true(done > p->last && done <= total);
    p->last = done, p->total = total, p->calls++;
}

/* The load tells how far it is, and is all the file's tensors at its end. */
static void progress_reaches_the_end(void **state) {
    (void)state;
    model_spec s = {.n_vocab = 30,
                    .n_layers = 2,
                    .n_embd = 32,
                    .n_heads = 2,
                    .n_kv_heads = 2,
                    .n_ff = 48,
                    .context = 128,
                    .seed = 1};
    rig r;
    err e = {0};
    rig_up(&r, &s, 1);
    mem_arena weights;
    progress p = {0};
    model again;
    size_t mark = mem_arena_mark(&r.work);
    assert_ok(mem_arena_init(&weights, &r.ledger, MEM_WEIGHTS, r.m.bytes, false, &e), e);
    assert_ok(model_init(&again, &r.g.source, &r.h, &r.dev, &weights, &r.work, on_progress, &p, &e), e);
    assert_int_equal(p.total, r.g.tensor_bytes);
    assert_true(p.last <= p.total && p.calls == 2 + 2 * 7);
    mem_arena_reset(&r.work, mark);
    mem_arena_free(&weights);
    rig_down(&r);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(shapes),        cmocka_unit_test(windows), cmocka_unit_test(another_row),      cmocka_unit_test(types),
        cmocka_unit_test(fused_networks), cmocka_unit_test(norms_of_heads), cmocka_unit_test(experts), cmocka_unit_test(experts_bits),
        cmocka_unit_test(each_expert_is_read_once_a_step),
        cmocka_unit_test(rope_scalings), cmocka_unit_test(bad_rope_factors), cmocka_unit_test(progress_reaches_the_end),
    };
    return cmocka_run_group_tests_name("model_forward", tests, NULL, NULL);
}
