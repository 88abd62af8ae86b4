/* A model's shape from its header: what is read, and each way to be refused, by the name of what is wrong. */
#include "../test.h"

#include "device/cpu/cpu.h"
#include "model/model.h"
#include "model_build.h"

static const model_spec plain = {
    .n_vocab = 20, .n_layers = 2, .n_embd = 24, .n_heads = 6, .n_kv_heads = 3, .n_ff = 40, .context = 64};

static const model_spec mixtral = {.n_vocab = 20, .n_layers = 2, .n_embd = 24, .n_heads = 6, .n_kv_heads = 3,
                                   .n_ff = 40, .context = 64, .n_experts = 4, .n_experts_used = 2};

/* Feed-forward width 40, experts of 10, a shared one of 30. */
static model_spec mixture_of(const char *arch) {
    model_spec s = mixtral;
    s.arch = arch, s.n_ff_exp = 10, s.n_ff_shexp = strcmp(arch, "qwen2moe") ? 0 : 30;
    return s;
}

typedef struct opened {
    model_file file;
    test_alloc alloc;
    gguf g;
} opened;

static void open_spec(opened *o, const model_spec *s) {
    err e = {0};
    model_file_make(&o->file, s);
    test_alloc_init(&o->alloc, 0);
    assert_ok(gguf_open_memory(&o->g, o->file.bytes, o->file.len, "test", &o->alloc.alloc, &e), e);
}

static void close_spec(opened *o) {
    gguf_close(&o->g);
    assert_int_equal(o->alloc.outstanding_bytes, 0);
    model_file_free(&o->file);
}

/* Description and plan: whatever of the two refuses. */
static bool read_spec(const model_spec *s, model_desc *h, err *e) {
    static model_layer_desc layers[MODEL_MAX_LAYERS];
    opened o;
    size_t bytes;
    *e = (err){0};
    open_spec(&o, s);
    bool described = model_describe(h, &o.g.source, &o.alloc.alloc, e),
         ok = described && model_plan_bytes(&o.g.source, h, device_cpu_ops(), &bytes, e);
    if (ok) memcpy(layers, h->layers, h->n_layers * sizeof *layers);
    if (described) model_desc_free(h);
    if (ok) h->layers = layers; /* to look at until the next one */
    close_spec(&o);
    return ok;
}

static bool norms_heads(const model_desc *d) {
    bool q = false, k = false;
    for (uint32_t i = 0; i < d->layers[0].n_vectors; i++)
        q |= d->layers[0].vectors[i].slot == MODEL_Q_NORM, k |= d->layers[0].vectors[i].slot == MODEL_K_NORM;
    return q && k;
}

static void refuse(const model_spec *s, err_code code, const char *words) {
    model_desc h;
    err e;
    if (read_spec(s, &h, &e)) fail_msg("accepted; expected '%s'", words);
    if (!strstr(e.message, words)) fail_msg("'%s' does not say '%s'", e.message, words);
    assert_int_equal(e.code, code);
}

static void reads_the_shape(void **state) {
    (void)state;
    model_desc h;
    err e;
    assert_ok(read_spec(&plain, &h, &e), e);
    assert_string_equal(h.family, "llama");
    assert_int_equal(h.n_vocab, 20);
    assert_int_equal(h.n_layers, 2);
    assert_int_equal(h.n_embd, 24);
    assert_int_equal(h.layers[0].attention.n_heads, 6);
    assert_int_equal(h.layers[0].attention.n_kv_heads, 3);
    assert_int_equal(h.layers[0].attention.head_dim, 4);
    assert_int_equal(h.layers[0].attention.head_dim_v, 4);
    assert_int_equal(h.ropes[0].dims, 4);
    assert_int_equal(h.layers[0].dense.n_ff, 40);
    assert_int_equal(h.n_context_train, 64);
    assert_int_equal(h.ropes[0].scaling, MODEL_ROPE_PLAIN);
    assert_true(h.layers[0].attention.scale == 0.5f && h.ropes[0].base == 10000.0f && h.norm_eps == 1e-5f);
    kv_shape shape = h.kv;
    const kv_group *g = &shape.groups[0];
    assert_true(shape.n_layers == 2 && g->n_kv_heads == 3 && g->head_dim == 4 && g->head_dim_v == 4);
}

static void reads_windows(void **state) {
    (void)state;
    model_desc h;
    err e;
    model_spec s = plain;
    s.n_layers = 6, s.window = 16;
    assert_ok(read_spec(&s, &h, &e), e);
    assert_true(h.kv.n_groups == 1 && h.kv.groups[0].window == 16 && h.kv.groups[0].n_layers == 6);
    s.window_pattern = 3; /* layers 2 and 5 see everything */
    assert_ok(read_spec(&s, &h, &e), e);
    assert_true(h.kv.n_groups == 2 && h.kv.groups[0].window == 0 && h.kv.groups[1].window == 16);
    assert_true(h.kv.groups[0].n_layers == 2 && h.kv.groups[1].n_layers == 4);
    assert_true(h.kv.group_of[2] == 0 && h.kv.row_of[2] == 0 && h.kv.group_of[5] == 0 && h.kv.row_of[5] == 1);
    assert_true(h.kv.group_of[4] == 1 && h.kv.row_of[4] == 3);
    s.window_pattern = 1;
    assert_ok(read_spec(&s, &h, &e), e);
    assert_true(h.kv.n_groups == 1 && h.kv.groups[0].window == 0);
}

static void reads_what_is_optional(void **state) {
    (void)state;
    model_desc h;
    err e;
    model_spec s = plain;
    s.n_kv_heads = 6;
    s.omit = "llama.attention.head_count_kv"; /* then every head has its own */
    assert_ok(read_spec(&s, &h, &e), e);
    assert_int_equal(h.layers[0].attention.n_kv_heads, 6);
    s = plain;
    s.head_dim = 10, s.head_dim_v = 6, s.rot_dim = 8;
    assert_ok(read_spec(&s, &h, &e), e);
    assert_true(h.layers[0].attention.head_dim == 10 && h.layers[0].attention.head_dim_v == 6 && h.ropes[0].dims == 8);
    s = plain;
    s.set_key = "llama.embedding_length", s.set_type = GGUF_U64, s.set_value = 24; /* any integer type that fits */
    assert_ok(read_spec(&s, &h, &e), e);
    assert_int_equal(h.n_embd, 24);
    s = plain;
    s.arch = "qwen2", s.biases = true;
    assert_ok(read_spec(&s, &h, &e), e);
    assert_false(h.ropes[0].interleaved);
}

static void reads_experts(void **state) {
    (void)state;
    model_desc h;
    err e;
    assert_ok(read_spec(&plain, &h, &e), e);
    assert_true(h.layers[0].experts.n == 0 && h.layers[0].experts.n_ff_shared == 0 && h.layers[0].experts.gating == DEVICE_GATING_SUM_TO_ONE);
    double dense = model_matmul_macs(&h);
    assert_ok(read_spec(&mixtral, &h, &e), e);
    assert_true(h.layers[0].experts.n == 4 && h.layers[0].experts.n_used == 2 && h.layers[0].experts.n_ff == 40 && h.layers[0].experts.n_ff_shared == 0);
    assert_true(model_matmul_macs(&h) == dense + 2 * 24 * (3 * 40 + 4)); /* a token pays for two, and for the choice */
    model_spec s = mixture_of("qwen3moe");
    assert_ok(read_spec(&s, &h, &e), e);
    assert_true(h.layers[0].experts.n_ff == 10 && h.layers[0].experts.n_ff_shared == 0 && h.layers[0].experts.gating == DEVICE_GATING_SUM_TO_ONE);
    assert_true(norms_heads(&h) && !h.ropes[0].interleaved);
    s = mixture_of("qwen2moe");
    assert_ok(read_spec(&s, &h, &e), e);
    assert_true(h.layers[0].experts.n_ff == 10 && h.layers[0].experts.n_ff_shared == 30 && h.layers[0].experts.gating == DEVICE_GATING_SOFTMAX);
    s.n_ff_shexp = 40;
    s.omit = "qwen2moe.expert_shared_feed_forward_length"; /* then as wide as feed_forward_length says */
    assert_ok(read_spec(&s, &h, &e), e);
    assert_int_equal(h.layers[0].experts.n_ff_shared, 40);
    s = mixtral;
    s.n_experts = 1, s.n_experts_used = 1; /* the one expert's last dimension may be left out */
    s.bend = "blk.0.ffn_up_exps.weight", s.bend_type = DTYPE_F32, s.bend_n_dims = 2, s.bend_dims[0] = 24,
    s.bend_dims[1] = 40;
    assert_ok(read_spec(&s, &h, &e), e);
    s = mixture_of("qwen2moe"); /* a vector may have a second dimension of one */
    s.bend = "blk.1.ffn_gate_inp_shexp.weight", s.bend_type = DTYPE_F32, s.bend_n_dims = 2, s.bend_dims[0] = 24,
    s.bend_dims[1] = 1;
    assert_ok(read_spec(&s, &h, &e), e);
}

/* Weights in memory: each expert's rows are padded to whole panels of 16. */
static void experts_are_planned(void **state) {
    (void)state;
    const device_ops *ops = device_cpu_ops();
    size_t bytes[2];
    for (uint32_t i = 0; i < 2; i++) {
        opened o;
        model_desc h;
        err e = {0};
        model_spec s = mixtral;
        s.n_experts += i;
        open_spec(&o, &s);
        assert_ok(model_describe(&h, &o.g.source, &o.alloc.alloc, &e), e);
        assert_ok(model_plan_bytes(&o.g.source, &h, ops, &bytes[i], &e), e);
        model_desc_free(&h);
        close_spec(&o);
    }
    size_t expert = 2 * ops->matrix_bytes(DTYPE_F32, 40, 24) + ops->matrix_bytes(DTYPE_F32, 24, 40);
    assert_int_equal(bytes[1] - bytes[0], 2 * expert); /* in two layers; the router's rows are in one panel either way */
}

static void missing_keys(void **state) {
    (void)state;
    static const char *const keys[] = {"general.architecture",      "llama.context_length",
                                       "llama.embedding_length",    "llama.block_count",
                                       "llama.feed_forward_length", "llama.attention.head_count"};
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        model_spec s = plain;
        s.omit = keys[i];
        refuse(&s, ERR_FORMAT, keys[i]);
    }
    model_spec s = plain;
    s.n_embd = 26, s.head_dim = 4; /* 26 / 6 heads is no head size: the key must be there */
    s.omit = "llama.attention.key_length";
    refuse(&s, ERR_FORMAT, "llama.attention.key_length");
}

typedef struct wrong_value {
    const char *key;
    gguf_type type;
    double value;
} wrong_value;

/* Each of the values in a file that is right but for it: refused with the key's name. */
static void refuse_values(const model_spec *right, const wrong_value *wrong, size_t n) {
    for (size_t i = 0; i < n; i++) {
        model_spec s = *right;
        s.set_key = wrong[i].key, s.set_type = wrong[i].type, s.set_value = wrong[i].value;
        const char *tail = strncmp(wrong[i].key, "llama.rope.freq", 15) ? wrong[i].key : "rope.freq_base";
        refuse(&s, ERR_FORMAT, tail);
    }
}

static void values_out_of_range(void **state) {
    (void)state;
    static const wrong_value wrong[] = {
        {"llama.context_length", GGUF_U32, 0},
        {"llama.context_length", GGUF_U32, 1073741825},
        {"llama.embedding_length", GGUF_U32, 0},
        {"llama.embedding_length", GGUF_U32, 1048577},
        {"llama.block_count", GGUF_U32, 0},
        {"llama.block_count", GGUF_U32, 513},
        {"llama.feed_forward_length", GGUF_U32, 0},
        {"llama.feed_forward_length", GGUF_U32, 4294967295.0},
        {"llama.attention.head_count", GGUF_U32, 0},
        {"llama.attention.head_count", GGUF_U32, 4097},
        {"llama.attention.head_count_kv", GGUF_U32, 0},
        {"llama.attention.head_count_kv", GGUF_U32, 7},
        {"llama.attention.key_length", GGUF_U32, 1},
        {"llama.attention.key_length", GGUF_U32, 514},
        {"llama.attention.value_length", GGUF_U32, 0},
        {"llama.attention.value_length", GGUF_U32, 514},
        {"llama.rope.dimension_count", GGUF_U32, 0},
        {"llama.rope.dimension_count", GGUF_U32, 6}, /* beyond the head */
        {"llama.attention.layer_norm_rms_epsilon", GGUF_F32, -1},
        {"llama.attention.layer_norm_rms_epsilon", GGUF_F32, NAN},
        {"llama.attention.layer_norm_rms_epsilon", GGUF_F32, INFINITY},
        {"llama.rope.freq_base", GGUF_F32, 0.5},
        {"llama.rope.freq_base", GGUF_F32, NAN},
        {"llama.rope.scaling.factor", GGUF_F32, -2},
        {"llama.rope.scaling.attn_factor", GGUF_F32, INFINITY},
        {"llama.rope.scaling.original_context_length", GGUF_U32, 0},
        /* wrong types */
        {"llama.block_count", GGUF_F32, 2},
        {"llama.block_count", GGUF_I32, -2},
        {"llama.context_length", GGUF_BOOL, 1},
        {"llama.rope.freq_base", GGUF_BOOL, 1},
        {"llama.rope.scaling.type", GGUF_U32, 1},
    };
    refuse_values(&plain, wrong, sizeof wrong / sizeof *wrong);
}

static void combinations_that_cannot_be(void **state) {
    (void)state;
    model_spec s = plain;
    s.set_key = "llama.attention.head_count_kv", s.set_type = GGUF_U32, s.set_value = 4;
    refuse(&s, ERR_FORMAT, "6 heads cannot share 4 kv heads");
    s = plain;
    s.head_dim = 5;
    refuse(&s, ERR_FORMAT, "must be even");
    s = plain;
    s.head_dim = 8, s.head_dim_v = 3;
    refuse(&s, ERR_FORMAT, "must be even");
    s = plain;
    s.head_dim = 10, s.rot_dim = 5;
    refuse(&s, ERR_FORMAT, "rope.dimension_count is 5");
    s = plain;
    s.n_heads = 12, s.n_kv_heads = 1, s.head_dim = 2, s.n_embd = 24;
    s.set_key = "llama.attention.head_count", s.set_type = GGUF_U32,
    s.set_value = 130; /* more than a group can share */
    refuse(&s, ERR_FORMAT, "130 heads");
}

static void what_is_not_supported(void **state) {
    (void)state;
    model_spec s = plain;
    s.arch = "mamba";
    refuse(&s, ERR_UNSUPPORTED, "'mamba' is not supported (known: llama, phi3, qwen2");
    s = plain;
    s.arch = "qwen2", s.set_key = "qwen2.expert_count", s.set_type = GGUF_U32, s.set_value = 8;
    refuse(&s, ERR_UNSUPPORTED, "qwen2.expert_count is 8");
    s = mixtral;
    s.bend = "blk.1.ffn_down_exps.weight", s.bend_type = DTYPE_I16, s.bend_n_dims = 3, s.bend_dims[0] = 40,
    s.bend_dims[1] = 24, s.bend_dims[2] = 4;
    refuse(&s, ERR_UNSUPPORTED, "blk.1.ffn_down_exps.weight has type I16");
    s = plain;
    s.rope_scaling = "longrope";
    refuse(&s, ERR_UNSUPPORTED, "'longrope'");
    s = plain;
    s.bend = "blk.1.ffn_up.weight", s.bend_type = DTYPE_I16, s.bend_n_dims = 2, s.bend_dims[0] = 24,
    s.bend_dims[1] = 40;
    refuse(&s, ERR_UNSUPPORTED, "blk.1.ffn_up.weight has type I16");
}

/* Of phi3 the lists of factors are all that says so, and either is enough. */
static void longrope_is_not_supported(void **state) {
    (void)state;
    model_desc h;
    err e;
    model_spec s = plain;
    s.arch = "phi3", s.fused_qkv = true;
    assert_ok(read_spec(&s, &h, &e), e);
    assert_true(!h.ropes[0].interleaved && h.layers[0].dense.n_ff == 40);
    s.extra = "rope_factors_long.weight";
    refuse(&s, ERR_UNSUPPORTED, "tensor rope_factors_long.weight: ");
    s.extra = "rope_factors_short.weight";
    refuse(&s, ERR_UNSUPPORTED, "tensor rope_factors_short.weight: ");
    s.extra = NULL, s.rope_scaling = "longrope";
    refuse(&s, ERR_UNSUPPORTED, "'longrope'");
    s.rope_scaling = NULL;
    s.bend = "blk.1.ffn_up.weight", s.bend_type = DTYPE_F32, s.bend_n_dims = 2, s.bend_dims[0] = 24, s.bend_dims[1] = 40;
    refuse(&s, ERR_FORMAT, "blk.1.ffn_up.weight is 24 × 40; this model's shape wants 24 × 80");
}

static void experts_that_cannot_be(void **state) {
    (void)state;
    static const wrong_value wrong[] = {
        {"qwen2moe.expert_count", GGUF_U32, 4097},
        {"qwen2moe.expert_count", GGUF_F32, 4},
        {"qwen2moe.expert_count", GGUF_I32, -4},
        {"qwen2moe.expert_used_count", GGUF_U32, 0},
        {"qwen2moe.expert_used_count", GGUF_U32, 5}, /* of 4 */
        {"qwen2moe.expert_used_count", GGUF_U32, 4294967295.0},
        {"qwen2moe.expert_feed_forward_length", GGUF_U32, 0},
        {"qwen2moe.expert_feed_forward_length", GGUF_U32, 4294967295.0},
        {"qwen2moe.expert_shared_feed_forward_length", GGUF_U32, 0},
        {"qwen2moe.expert_shared_feed_forward_length", GGUF_U32, 4194305},
    };
    model_spec s = mixture_of("qwen2moe");
    refuse_values(&s, wrong, sizeof wrong / sizeof *wrong);
    s.omit = "qwen2moe.expert_used_count";
    refuse(&s, ERR_FORMAT, s.omit);
    s = mixtral; /* experts counted, but of a model that has none, and the other way round */
    s.n_experts = 0, s.set_key = "llama.expert_count", s.set_type = GGUF_U32, s.set_value = 4;
    refuse(&s, ERR_FORMAT, "blk.0.ffn_gate_inp.weight is missing");
    s = mixtral;
    s.set_key = "llama.expert_count", s.set_type = GGUF_U32, s.set_value = 0;
    refuse(&s, ERR_FORMAT, "blk.0.ffn_gate.weight is missing");
    s = mixtral;
    s.set_key = "llama.expert_count", s.set_type = GGUF_U32, s.set_value = 3;
    refuse(&s, ERR_FORMAT, "blk.0.ffn_gate_inp.weight is 24 × 4; this model's shape wants 24 × 3");
}

static void missing_tensors_of_experts(void **state) {
    (void)state;
    static const char *const names[] = {
        "blk.0.ffn_gate_inp.weight",  "blk.1.ffn_gate_exps.weight",      "blk.1.ffn_up_exps.weight",
        "blk.0.ffn_down_exps.weight", "blk.0.ffn_gate_inp_shexp.weight", "blk.0.ffn_gate_shexp.weight",
        "blk.1.ffn_up_shexp.weight",  "blk.1.ffn_down_shexp.weight",
    };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        model_spec s = mixture_of("qwen2moe");
        s.omit = names[i];
        refuse(&s, ERR_FORMAT, names[i]);
    }
    model_spec s = mixture_of("qwen3moe");
    s.omit = "blk.1.attn_k_norm.weight";
    refuse(&s, ERR_FORMAT, s.omit);
}

static void tensors_of_experts_of_another_shape(void **state) {
    (void)state;
    static const struct {
        const char *name;
        uint32_t n_dims;
        uint64_t dims[3];
    } bent[] = {
        {"blk.0.ffn_gate_inp.weight", 2, {24, 5}},        {"blk.0.ffn_gate_inp.weight", 1, {24}},
        {"blk.0.ffn_gate_inp.weight", 3, {24, 4, 2}},     {"blk.1.ffn_gate_exps.weight", 3, {24, 10, 3}},
        {"blk.1.ffn_gate_exps.weight", 3, {24, 10, 5}},   {"blk.1.ffn_gate_exps.weight", 2, {24, 10}},
        {"blk.1.ffn_gate_exps.weight", 2, {24, 40}},      {"blk.0.ffn_up_exps.weight", 3, {24, 4, 10}},
        {"blk.0.ffn_up_exps.weight", 3, {10, 24, 4}},     {"blk.0.ffn_down_exps.weight", 3, {24, 10, 4}},
        {"blk.1.ffn_down_exps.weight", 3, {10, 25, 4}},   {"blk.1.ffn_gate_inp_shexp.weight", 1, {23}},
        {"blk.1.ffn_gate_inp_shexp.weight", 2, {24, 2}},  {"blk.1.ffn_gate_inp_shexp.weight", 2, {1, 24}},
        {"blk.0.ffn_gate_shexp.weight", 2, {24, 10}},     {"blk.0.ffn_up_shexp.weight", 3, {24, 30, 4}},
        {"blk.0.ffn_down_shexp.weight", 2, {24, 30}},
    };
    for (size_t i = 0; i < sizeof bent / sizeof *bent; i++) {
        model_spec s = mixture_of("qwen2moe");
        s.bend = bent[i].name, s.bend_type = DTYPE_F32, s.bend_n_dims = bent[i].n_dims;
        memcpy(s.bend_dims, bent[i].dims, sizeof s.bend_dims);
        refuse(&s, ERR_FORMAT, bent[i].name);
    }
    model_spec s = mixture_of("qwen3moe");
    s.bend = "blk.0.attn_q_norm.weight", s.bend_type = DTYPE_F32, s.bend_n_dims = 1, s.bend_dims[0] = 24;
    refuse(&s, ERR_FORMAT, s.bend);
}

static void missing_tensors(void **state) {
    (void)state;
    static const char *const names[] = {
        "token_embd.weight",     "output_norm.weight",  "blk.0.attn_norm.weight", "blk.1.ffn_norm.weight",
        "blk.0.attn_q.weight",   "blk.0.attn_k.weight", "blk.0.attn_v.weight",    "blk.1.attn_output.weight",
        "blk.1.ffn_gate.weight", "blk.1.ffn_up.weight", "blk.1.ffn_down.weight",
    };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        model_spec s = plain;
        s.omit = names[i];
        refuse(&s, ERR_FORMAT, names[i]);
    }
}

static void tensors_of_another_shape(void **state) {
    (void)state;
    static const struct {
        const char *name;
        dtype type;
        uint32_t n_dims;
        uint64_t dims[3];
    } bent[] = {
        {"token_embd.weight", DTYPE_F32, 1, {24}},
        {"token_embd.weight", DTYPE_F32, 2, {20, 24}},
        {"output.weight", DTYPE_F32, 2, {24, 19}},
        {"output.weight", DTYPE_F32, 2, {25, 20}},
        {"output_norm.weight", DTYPE_F32, 1, {23}},
        {"output_norm.weight", DTYPE_F16, 1, {24}},
        {"output_norm.weight", DTYPE_F32, 2, {24, 2}},
        {"blk.0.attn_q.weight", DTYPE_F32, 2, {24, 12}},
        {"blk.0.attn_k.weight", DTYPE_F32, 2, {24, 24}},
        {"blk.1.attn_v.weight", DTYPE_F32, 2, {12, 24}},
        {"blk.1.attn_output.weight", DTYPE_F32, 2, {24, 23}},
        {"blk.1.ffn_gate.weight", DTYPE_F32, 2, {24, 41}},
        {"blk.1.ffn_up.weight", DTYPE_F32, 3, {24, 40, 2}},
        {"blk.1.ffn_down.weight", DTYPE_F32, 2, {24, 40}},
        {"blk.0.attn_norm.weight", DTYPE_F32, 1, {48}},
        {"blk.1.attn_q.bias", DTYPE_F32, 1, {23}},
        {"blk.1.attn_q.bias", DTYPE_F16, 1, {24}},
    };
    for (size_t i = 0; i < sizeof bent / sizeof *bent; i++) {
        model_spec s = plain;
        s.biases = true;
        s.bend = bent[i].name, s.bend_type = bent[i].type, s.bend_n_dims = bent[i].n_dims;
        memcpy(s.bend_dims, bent[i].dims, sizeof s.bend_dims);
        refuse(&s, ERR_FORMAT, bent[i].name);
    }
}

/* A matrix of one row, written with one dimension, is not one: nothing prices its load. */
static void a_row_is_not_a_matrix(void **state) {
    (void)state;
    model_spec s = plain;
    s.n_ff = 1;
    s.bend = "blk.0.ffn_gate.weight", s.bend_type = DTYPE_F32, s.bend_n_dims = 1, s.bend_dims[0] = 24;
    refuse(&s, ERR_FORMAT, "blk.0.ffn_gate.weight");
}

/* A header with a few bytes changed is refused with words, or means a model of what lies in the file: no plan is
 * beyond the file's bytes, padded to panels of 16 rows. */
static void bytes_changed_at_random(void **state) {
    (void)state;
    model_spec s = mixture_of("qwen2moe");
    model_file f;
    rng random;
    uint32_t accepted = 0, refused = 0;
    rng_seed(&random, 1);
    model_file_make(&f, &s);
    uint8_t *bytes = malloc(f.len);
    uint64_t data_bytes = 0;
    for (uint32_t i = 0; i < f.n_tensors; i++) data_bytes += mb_aligned(f.tensors[i].bytes);
    for (int turn = 0; turn < 20000; turn++) {
        test_alloc alloc;
        gguf g;
        model_desc h;
        size_t plan = 0;
        err e = {0};
        memcpy(bytes, f.bytes, f.len);
        for (uint64_t n = 1 + rng_next(&random) % 3; n > 0; n--)
            bytes[rng_next(&random) % (f.len - data_bytes)] = (uint8_t)(rng_next(&random) >> (rng_next(&random) % 8));
        test_alloc_init(&alloc, 0);
        bool open = gguf_open_memory(&g, bytes, f.len, "test", &alloc.alloc, &e);
        bool described = open && model_describe(&h, &g.source, &alloc.alloc, &e),
             ok = described && model_plan_bytes(&g.source, &h, device_cpu_ops(), &plan, &e);
        if (described) model_desc_free(&h);
        if (ok) assert_true(plan <= 32 * f.len);
        else assert_true(e.code != ERR_NONE && strlen(e.message) > 10);
        if (open) gguf_close(&g);
        assert_int_equal(alloc.outstanding_bytes, 0);
        accepted += ok, refused += !ok;
    }
    assert_true(accepted > 100 && refused > 100);
    free(bytes);
    model_file_free(&f);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_the_shape),
        cmocka_unit_test(reads_windows), cmocka_unit_test(reads_what_is_optional),
        cmocka_unit_test(missing_keys),
        cmocka_unit_test(values_out_of_range),
        cmocka_unit_test(combinations_that_cannot_be),
        cmocka_unit_test(what_is_not_supported),
        cmocka_unit_test(longrope_is_not_supported),
        cmocka_unit_test(missing_tensors),
        cmocka_unit_test(tensors_of_another_shape),
        cmocka_unit_test(a_row_is_not_a_matrix),
        cmocka_unit_test(reads_experts),
        cmocka_unit_test(bytes_changed_at_random),
        cmocka_unit_test(experts_are_planned),
        cmocka_unit_test(experts_that_cannot_be),
        cmocka_unit_test(missing_tensors_of_experts),
        cmocka_unit_test(tensors_of_experts_of_another_shape),
    };
    return cmocka_run_group_tests_name("model_desc", tests, NULL, NULL);
}
