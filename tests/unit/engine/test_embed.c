/* A vector for a text: the arithmetic by hand; that states are what logits are made of; that no logits are made. */
#include "../test.h"

#include <math.h>
#include <stdio.h>
#include <unistd.h>

#include "../model/model_build.h"
#include "engine/generation.h"
#include "engine/internal.h"

/* ---- by hand ---- */

enum { WIDTH = 5, N_TEXT = 7 };

static double state_at(uint32_t position, uint32_t i) { return sin(1.7 * position + 0.3 * i) * (1 + position); }

static void vector_in_pieces(model_pooling pooling, bool normalize, uint32_t piece, float out[WIDTH]) {
    engine en = {.desc.n_embd = WIDTH};
    engine_embedding m;
    void *memory = malloc(engine_embedding_bytes(&en));
    memset(memory, 0xff, engine_embedding_bytes(&en));
    engine_embedding_init(&m, &en, pooling, normalize, memory);
    for (int round = 0; round < 2; round++) { /* the first breaks off: it begins again */
        for (uint32_t at = 0; at < (round ? N_TEXT : 4); at += piece) {
            uint32_t n = N_TEXT - at < piece ? N_TEXT - at : piece;
            float states[N_TEXT * WIDTH];
            for (uint32_t k = 0; k < n * WIDTH; k++)
                states[k] = (float)state_at(at + k / WIDTH, k % WIDTH) + (round ? 0 : 100);
            engine_embedding_add(&m, states, at, n, N_TEXT);
        }
    }
    memcpy(out, m.vector, sizeof(float[WIDTH]));
    free(memory);
}

static void wanted_vector(model_pooling pooling, bool normalize, double out[WIDTH]) {
    double squares = 0;
    for (uint32_t i = 0; i < WIDTH; i++) {
        double mean = 0;
        for (uint32_t p = 0; p < N_TEXT; p++) mean += state_at(p, i) / N_TEXT;
        out[i] = pooling == MODEL_POOL_MEAN ? mean : state_at(pooling == MODEL_POOL_LAST ? N_TEXT - 1 : 0, i);
        squares += out[i] * out[i];
    }
    for (uint32_t i = 0; normalize && i < WIDTH; i++) out[i] /= sqrt(squares);
}

static void states_are_pooled(void **state) {
    (void)state;
    for (model_pooling pooling = MODEL_POOL_MEAN; pooling <= MODEL_POOL_CLS; pooling++)
        for (int normalize = 0; normalize < 2; normalize++) {
            double wanted[WIDTH];
            float whole[WIDTH], pieces[WIDTH];
            wanted_vector(pooling, normalize, wanted);
            vector_in_pieces(pooling, normalize, N_TEXT, whole);
            for (uint32_t i = 0; i < WIDTH; i++) assert_true(fabs((double)whole[i] - wanted[i]) < 1e-6);
            for (uint32_t piece = 1; piece < N_TEXT; piece++) {
                vector_in_pieces(pooling, normalize, piece, pieces);
                assert_memory_equal(pieces, whole, sizeof whole);
            }
        }
}

static void zeros_stay_zeros(void **state) {
    (void)state;
    engine en = {.desc.n_embd = WIDTH};
    engine_embedding m;
    double memory[2 * WIDTH];
    float zeros[WIDTH] = {0};
    engine_embedding_init(&m, &en, MODEL_POOL_MEAN, true, memory);
    engine_embedding_add(&m, zeros, 0, 1, 1);
    assert_memory_equal(m.vector, zeros, sizeof zeros);
}

/* ---- with a model ---- */

static char path[64];

static int up(void **state) {
    (void)state;
    snprintf(path, sizeof path, "/tmp/plimsoll-embed-%d.gguf", (int)getpid());
    return 0;
}

static int down(void **state) {
    (void)state;
    unlink(path);
    return 0;
}

/* pooling_type as in the file; −1: it says none. False when it is refused. */
static bool load_asking(mem_ledger *l, engine **en, int pooling_type, err *e) {
    static model_file f;
    model_file_make(&f, &(model_spec){.n_vocab = 300,
                                      .n_layers = 2,
                                      .n_embd = 96,
                                      .n_heads = 6,
                                      .n_kv_heads = 3,
                                      .n_ff = 128,
                                      .context = 256,
                                      .type = DTYPE_Q8_0,
                                      .vocabulary = true,
                                      .seed = 3,
                                      .set_key = pooling_type >= 0 ? "llama.pooling_type" : NULL,
                                      .set_type = GGUF_U32,
                                      .set_value = pooling_type});
    model_file_write(&f, path);
    model_file_free(&f);
    engine_config c;
    engine_plan plan = {.rows.line_bytes = UINT64_MAX};
    engine_config_default(&c);
    c.model_path = path, c.n_sessions = 3, c.n_batch = 64, c.n_logits = 64, c.n_threads = 2;
    mem_ledger_init(l, UINT64_MAX);
    *en = engine_prepare(&c, l, e);
    if (!*en) return false;
    assert_ok(engine_plan_make(*en, &plan, e) && engine_load(*en, &plan, NULL, NULL, e), *e);
    return true;
}

static engine *load_plain(mem_ledger *l) {
    err e = {0};
    engine *en;
    assert_ok(load_asking(l, &en, -1, &e), e);
    return en;
}

static engine_session *open_session(engine *en) {
    err e = {0};
    engine_session *s = engine_session_open(en, NULL, &e);
    if (!s) fail_msg("%s", e.message);
    return s;
}

enum { N_OTHERS = 5, N_TOKENS = 40 };

/* The states of a item among others, times the output matrix, are the logits of the same tokens alone. */
static void logits_are_made_of_states(void **state) {
    (void)state;
    mem_ledger l;
    err e = {0};
    engine *en = load_plain(&l);
    uint32_t width = engine_model_desc(en)->n_embd, stride = en->step.logits_stride;
    int32_t tokens[N_TOKENS];
    for (int i = 0; i < N_TOKENS; i++) tokens[i] = 3 + i * 7 % 290;
    engine_session *a = open_session(en), *b = open_session(en), *c = open_session(en);
    assert_ok(engine_run(en, &(engine_batch_item){c, tokens, N_TOKENS, ENGINE_WANT_ALL}, &e), e);
    size_t bytes = N_TOKENS * stride * sizeof(float);
    float *logits = malloc(bytes), *again = malloc(bytes), *states = malloc(N_TOKENS * width * sizeof *states);
    memcpy(logits, engine_logits(en, 0), bytes);

    engine_batch_item items[] = {{a, tokens, N_OTHERS, ENGINE_WANT_LAST}, {b, tokens, N_TOKENS, ENGINE_WANT_STATES}};
    for (int f = 0; f < 2; f++) assert_ok(engine_session_reserve(en, items[f].session, items[f].n_tokens, &e), e);
    assert_ok(engine_step(en, items, 2, NULL, &e), e);
    engine_step_commit(en, items, 2);
    assert_ptr_equal(engine_item_result(en, &items[1], N_OTHERS, 1), engine_state(en, N_OTHERS));
    assert_ptr_equal(engine_item_result(en, &items[0], 0, 0), engine_logits(en, 0));
    memcpy(states, engine_state(en, N_OTHERS), N_TOKENS * width * sizeof *states);
    const device_matrix *output[] = {&en->model.output};
    en->dev.ops->matmul(&en->dev, output, 1, states, N_TOKENS, &again, &(size_t){stride});
    for (uint32_t i = 0; i < N_TOKENS; i++)
        assert_memory_equal(again + (size_t)i * stride, logits + (size_t)i * stride, 300 * sizeof(float));
    free(logits), free(again), free(states);
    engine_free(en);
}

static void no_logits_are_made(void **state) {
    (void)state;
    mem_ledger l;
    err e = {0};
    engine *en = load_plain(&l);
    size_t bytes = (size_t)en->step.max_logits * en->step.logits_stride * sizeof(float);
    int32_t tokens[N_TOKENS] = {4};
    memset(en->step.logits, 0x5a, bytes);
    engine_session *s = open_session(en);
    assert_ok(engine_run(en, &(engine_batch_item){s, tokens, N_TOKENS, ENGINE_WANT_STATES}, &e), e);
    for (size_t i = 0; i < bytes; i++) assert_int_equal(((unsigned char *)en->step.logits)[i], 0x5a);
    assert_ok(engine_run(en, &(engine_batch_item){s, tokens, 1, ENGINE_WANT_LAST}, &e), e);
    assert_int_not_equal(((unsigned char *)en->step.logits)[0], 0x5a);
    engine_free(en);
}

static void the_file_says_how_to_pool(void **state) {
    (void)state;
    static const model_pooling wanted[] = {MODEL_POOL_MEAN, MODEL_POOL_MEAN, MODEL_POOL_CLS, MODEL_POOL_LAST};
    mem_ledger l;
    err e = {0};
    engine *en;
    for (int type = -1; type < 4; type++) {
        assert_ok(load_asking(&l, &en, type, &e), e);
        assert_int_equal(engine_pooling(en), type < 0 ? MODEL_POOL_MEAN : wanted[type]);
        engine_free(en);
    }
    assert_false(load_asking(&l, &en, 4, &e));
    assert_int_equal(e.code, ERR_FORMAT);
    assert_non_null(strstr(e.message, "pooling_type"));
}

/* What was run before anyone asked is not to be seen. */
static void warming_up_leaves_no_trace(void **state) {
    (void)state;
    mem_ledger l;
    engine *en = load_plain(&l);
    engine_counters counters;
    kv_cache_counts kv;
    engine_counters_read(en, &counters);
    kv_cache_read(engine_kv(en), &kv);
    assert_int_equal(counters.steps + counters.tokens + counters.step_mallocs, 0);
    assert_int_equal(kv.pool.committed_bytes + kv.pool.used_bytes, 0);
    assert_int_equal(kv.sequences + kv.entries + kv.nodes, 0);
    assert_int_equal(kv.hits + kv.misses + kv.hit_tokens, 0);
    bool ran = false;
    for (uint32_t i = 0; i < en->step.logits_stride; i++) ran |= en->step.logits[i] != 0;
    assert_true(ran);
    engine_free(en);
}

/* ---- the peer ---- */

enum { FACTS_TOKENS = 512, FACTS_WIDTH = 256 };

static void embed_built_in(engine *en, model_pooling pooling, const int32_t *tokens, uint32_t n, float *out) {
    err e = {0};
    int32_t text[FACTS_TOKENS];
    void *memory = malloc(engine_embedding_bytes(en));
    memcpy(text, tokens, n * sizeof *tokens);
    engine_generation g = {.en = en, .session = open_session(en), .tokens = text, .n_prompt = n};
    engine_sampling sampling = {0};
    g.sampling = &sampling;
    engine_embedding_init(&g.embedding, en, pooling, false, memory);
    assert_ok(engine_generation_run(&g, NULL, NULL, &e), e);
    assert_int_equal(g.finish, ENGINE_FINISH_STOP);
    memcpy(out, g.embedding.vector, g.embedding.n_embd * sizeof *out);
    engine_session_close(en, g.session);
    free(memory);
}

static double product(const float *a, const float *b, uint32_t n) {
    double sum = 0;
    for (uint32_t i = 0; i < n; i++) sum += (double)a[i] * (double)b[i];
    return sum;
}

static double length_of(const float *a, uint32_t n) { return sqrt(product(a, a, n)); }

static double cosine(const float *a, const float *b, uint32_t n) {
    return product(a, b, n) / (length_of(a, n) * length_of(b, n));
}

static model_pooling pooling_named(const char *name) {
    return !strcmp(name, "mean") ? MODEL_POOL_MEAN : !strcmp(name, "cls") ? MODEL_POOL_CLS : MODEL_POOL_LAST;
}

/* Vectors of the built-in model as llama.cpp makes them: the same direction and length; and not those of another text. */
static void as_the_peer_says(void **state) {
    (void)state;
    mem_ledger l;
    err e = {0};
    engine_config c;
    engine_plan plan = {.rows.line_bytes = UINT64_MAX};
    engine_config_default(&c);
    c.n_context = FACTS_TOKENS, c.n_threads = 2, c.n_sessions = 1, c.n_batch = 50;
    mem_ledger_init(&l, UINT64_MAX);
    engine *en = engine_prepare(&c, &l, &e);
    assert_ok(en && engine_plan_make(en, &plan, &e) && engine_load(en, &plan, NULL, NULL, &e), e);
    char name[8];
    int32_t tokens[FACTS_TOKENS];
    float wanted[FACTS_WIDTH], got[FACTS_WIDTH], before[FACTS_WIDTH] = {0};
    uint32_t n, width, cases = 0;
    FILE *in = fopen(TEST_DATA_DIR "/embeddings.facts", "r");
    assert_non_null(in);
    assert_int_equal(fscanf(in, "%*[^\n] %*s"), 0);
    while (fscanf(in, "%7s %u", name, &n) == 2) {
        assert_in_range(n, 1, FACTS_TOKENS - 1);
        for (uint32_t i = 0; i < n; i++) assert_int_equal(fscanf(in, "%d", &tokens[i]), 1);
        assert_int_equal(fscanf(in, "%u", &width), 1);
        assert_int_equal(width, FACTS_WIDTH);
        assert_int_equal(engine_model_desc(en)->n_embd, FACTS_WIDTH);
        for (uint32_t i = 0; i < width; i++) assert_int_equal(fscanf(in, "%f", &wanted[i]), 1);
        embed_built_in(en, pooling_named(name), tokens, n, got);
        double same = cosine(got, wanted, width), longer = length_of(got, width) / length_of(wanted, width);
        printf("%-4s of %2u tokens: cosine %.6f, length %.4f of the peer's\n", name, n, same, longer);
        assert_true(same >= 0.999 && fabs(longer - 1) < 0.01);
        if (cases % 3) assert_true(pooling_named(name) == MODEL_POOL_CLS || cosine(before, wanted, width) < 0.99);
        memcpy(before, got, sizeof got);
        cases++;
    }
    assert_int_equal(cases, 9);
    fclose(in);
    engine_free(en);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(states_are_pooled),
        cmocka_unit_test(zeros_stay_zeros),
        cmocka_unit_test(logits_are_made_of_states),
        cmocka_unit_test(no_logits_are_made),
        cmocka_unit_test(the_file_says_how_to_pool),
        cmocka_unit_test(warming_up_leaves_no_trace),
        cmocka_unit_test(as_the_peer_says),
    };
    return cmocka_run_group_tests(tests, up, down);
}
