/* What a description can say beyond what a plain decoder is, against the plain forward pass: layers of other sizes,
 * fused tensors, norms behind blocks, blocks side by side; and what it refuses. */
#include "reference.h"

static const uint32_t widths[] = {24, 56, 40};

/* Three layers with grouped heads and biases. */
static const model_spec plain = {.n_vocab = 50, .n_layers = 3, .n_embd = 48, .n_heads = 6, .n_kv_heads = 3, .n_ff = 40,
                                 .context = 128, .type = DTYPE_F32, .biases = true, .seed = 3};

static void widths_by_layer(void **state) {
    (void)state;
    model_spec s = plain;
    s.layer_ff = widths;
    compare(&s, EXACT);
    s.type = DTYPE_Q8_0, s.n_embd = 96, s.n_heads = 3;
    static const uint32_t blocks[] = {64, 32, 96};
    s.layer_ff = blocks;
    compare(&s, 0.05);
}

static void fused_tensors(void **state) {
    (void)state;
    model_spec s = plain;
    s.fused_qkv = true;
    compare(&s, EXACT);
    s.head_dim = 10, s.head_dim_v = 6, s.biases = false; /* parts that begin and end within a panel of rows */
    compare(&s, EXACT);
}

/* A fused tensor takes what its parts would apart, and gives the same bits. */
static void fused_is_as_apart(void **state) {
    (void)state;
    float logits[2][N_TOKENS * 50];
    int32_t tokens[N_TOKENS];
    for (int i = 0; i < N_TOKENS; i++) tokens[i] = i % 50;
    for (int fused = 0; fused < 2; fused++) {
        model_spec s = plain;
        s.fused_qkv = fused, s.biases = false;
        rig r;
        rig_up(&r, &s, 2);
        for (uint32_t i = 0; fused && i < r.h.n_layers; i++)
            for (int m = MODEL_Q; m <= MODEL_V; m++) assert_int_equal(r.m.layers[i].m[m].cols, 48);
        rig_forward(&r, tokens, N_TOKENS, N_TOKENS, logits[fused]);
        rig_down(&r);
    }
    assert_memory_equal(logits[0], logits[1], sizeof logits[0]); /* the generator draws row after row: the same values */
}

static void norms_behind(void **state) {
    (void)state;
    model_spec s = plain;
    s.post_norms = true;
    compare(&s, EXACT);
    s.n_experts = 5, s.n_experts_used = 2, s.biases = false;
    compare(&s, EXACT);
}

static void blocks_side_by_side(void **state) {
    (void)state;
    model_spec s = plain;
    s.parallel = true;
    compare(&s, EXACT);
    s.post_norms = true; /* of the sum */
    compare(&s, EXACT);
}

static void refuse(const model_spec *s, const char *words) {
    model_file f;
    test_alloc alloc;
    gguf g;
    model_desc d;
    err e = {0};
    size_t bytes;
    model_file_make(&f, s);
    test_alloc_init(&alloc, 0);
    assert_ok(gguf_open_memory(&g, f.bytes, f.len, "test", &alloc.alloc, &e), e);
    bool described = model_describe(&d, &g.source, &alloc.alloc, &e);
    assert_false(described && model_plan_bytes(&g.source, &d, device_cpu_ops(), &bytes, &e));
    if (!strstr(e.message, words)) fail_msg("'%s' does not say '%s'", e.message, words);
    if (described) model_desc_free(&d);
    gguf_close(&g);
    assert_int_equal(alloc.outstanding_bytes, 0);
    model_file_free(&f);
}

static void what_is_refused(void **state) {
    (void)state;
    static const uint32_t odd[] = {24, 0, 40};
    model_spec s = plain;
    s.layer_ff = odd;
    refuse(&s, "llama.feed_forward_length is 0 in layer 1; it must be 1 to");
    s = plain;
    s.fused_qkv = true, s.bend = "blk.1.attn_qkv.weight", s.bend_type = DTYPE_F32, s.bend_n_dims = 2;
    s.bend_dims[0] = 48, s.bend_dims[1] = 95;
    refuse(&s, "blk.1.attn_qkv.weight is 48 × 95; this model's shape wants 48 × 96");
    s.bend = "blk.2.attn_qkv.bias", s.bend_n_dims = 1, s.bend_dims[0] = 95;
    refuse(&s, "blk.2.attn_qkv.bias is F32 of 95; it must be F32 of 96");
    s = plain;
    s.fused_qkv = true, s.omit = "blk.2.attn_qkv.weight"; /* then they must be there apart */
    refuse(&s, "blk.2.attn_q.weight is missing");
}

/* Every allocation can fail. */
static void without_memory(void **state) {
    (void)state;
    model_file f;
    test_alloc alloc, none;
    gguf g;
    model_desc d;
    err e = {0};
    model_file_make(&f, &plain);
    test_alloc_init(&alloc, 0);
    test_alloc_init(&none, 1);
    assert_ok(gguf_open_memory(&g, f.bytes, f.len, "test", &alloc.alloc, &e), e);
    assert_false(model_describe(&d, &g.source, &none.alloc, &e));
    assert_int_equal(e.code, ERR_MEMORY);
    gguf_close(&g);
    model_file_free(&f);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(widths_by_layer),     cmocka_unit_test(fused_tensors),   cmocka_unit_test(fused_is_as_apart),
        cmocka_unit_test(norms_behind),        cmocka_unit_test(blocks_side_by_side),
        cmocka_unit_test(what_is_refused),     cmocka_unit_test(without_memory),
    };
    return cmocka_run_group_tests_name("model_layers", tests, NULL, NULL);
}
