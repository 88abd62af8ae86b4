/* Golden facts: next-token distributions of forged models in every weight type, and of the built-in model,
 * against what llama.cpp said of the same files (tests/golden, recorded there). Mean KL(peer || ours) ≤ 1e-3, and
 * the same top token in ≥ 99 % of the positions where the peer's two best are clearly apart. */
#include "../test.h"

#include <math.h>
#include <stdio.h>

#include "engine/engine.h"

enum { MAX_POSITIONS = 512, MAX_VOCAB = 4096 };

typedef struct facts {
    char magic[8];
    uint32_t version, kind, positions, vocab;
    float scale;
    uint32_t zero;
    unsigned char sha256[32];
    int32_t tokens[MAX_POSITIONS];
    uint16_t *rows; /* log p = −scale · value */
} facts;

static void read_facts(const char *path, facts *f) {
    FILE *in = fopen(path, "rb");
    if (!in) fail_msg("%s cannot be read", path);
    assert_int_equal(fread(f, 64, 1, in), 1);
    assert_memory_equal(f->magic, "PLIMLOGP", 8);
    assert_int_equal(f->version, 1);
    assert_int_equal(f->kind, 1);
    assert_in_range(f->positions, 1, MAX_POSITIONS);
    assert_in_range(f->vocab, 2, MAX_VOCAB);
    assert_int_equal(fread(f->tokens, sizeof(int32_t), f->positions, in), f->positions);
    size_t n = (size_t)f->positions * f->vocab;
    f->rows = malloc(n * sizeof *f->rows);
    assert_int_equal(fread(f->rows, sizeof *f->rows, n, in), n);
    assert_int_equal(fgetc(in), EOF);
    fclose(in);
}

static void check_sha256(const char *path, const unsigned char expected[32]) {
    char command[512], hex[65] = "", wanted[65];
    snprintf(command, sizeof command, "sha256sum '%s'", path);
    FILE *p = popen(command, "r");
    assert_int_equal(fread(hex, 1, 64, p), 64);
    pclose(p);
    for (int i = 0; i < 32; i++) snprintf(wanted + 2 * i, 3, "%02x", expected[i]);
    if (strcmp(hex, wanted)) fail_msg("%s is not the file the facts were recorded from (%s, not %s): record them again", path, hex, wanted);
}

static void log_softmax(const float *logits, uint32_t n, double *out) {
    double most = (double)logits[0], sum = 0;
    for (uint32_t i = 1; i < n; i++) most = fmax(most, (double)logits[i]);
    for (uint32_t i = 0; i < n; i++) sum += exp((double)logits[i] - most);
    for (uint32_t i = 0; i < n; i++) out[i] = (double)logits[i] - most - log(sum);
}

typedef struct verdict {
    double kl_sum, kl_most;
    uint32_t clear, agree, positions;
} verdict;

static void judge(const facts *f, uint32_t position, const float *logits, verdict *v) {
    static double peer[MAX_VOCAB], ours[MAX_VOCAB];
    double total = 0, kl = 0;
    uint32_t best = 0, second = 1, our_best = 0;
    log_softmax(logits, f->vocab, ours);
    for (uint32_t i = 0; i < f->vocab; i++) {
        peer[i] = -(double)f->scale * f->rows[(size_t)position * f->vocab + i];
        total += exp(peer[i]);
    }
    for (uint32_t i = 0; i < f->vocab; i++) {
        peer[i] -= log(total);
        kl += exp(peer[i]) * (peer[i] - ours[i]);
        if (peer[i] > peer[best]) second = best, best = i;
        else if (i != best && (peer[i] > peer[second] || second == best)) second = i;
        if (ours[i] > ours[our_best]) our_best = i;
    }
    v->positions++;
    v->kl_sum += kl;
    v->kl_most = fmax(v->kl_most, kl);
    if (peer[best] - peer[second] <= 1e-2) return;
    v->clear++;
    v->agree += best == our_best;
}

/* Every position's logits of the recorded tokens. */
static verdict run(const facts *f, const char *model_path) {
    mem_ledger ledger;
    err e = {0};
    engine_config c;
    engine_plan plan = {0};
    verdict v = {0};
    mem_ledger_init(&ledger, UINT64_MAX);
    engine_config_default(&c);
    c.model_path = model_path;
    c.n_sessions = 1;
    c.n_batch = c.n_logits = 64;
    c.n_context = f->positions + 1;
    plan.rows.line_bytes = UINT64_MAX;
    engine *en = engine_prepare(&c, &ledger, &e);
    if (!en) fail_msg("%s", e.message);
    assert_int_equal(engine_model_desc(en)->n_vocab, f->vocab);
    assert_ok(engine_plan_make(en, &plan, &e), e);
    assert_ok(engine_load(en, &plan, NULL, NULL, &e), e);
    engine_session *s = engine_session_open(en, NULL, &e);
    assert_ok(engine_session_reserve(en, s, f->positions, &e), e);
    for (uint32_t done = 0; done < f->positions; done += c.n_batch) {
        uint32_t n = f->positions - done < c.n_batch ? f->positions - done : c.n_batch;
        engine_batch_item item = {s, f->tokens + done, n, ENGINE_WANT_ALL};
        assert_ok(engine_run(en, &item, &e), e);
        for (uint32_t i = 0; i < n; i++) judge(f, done + i, engine_logits(en, i), &v);
    }
    engine_free(en);
    return v;
}

static void compare(const char *name, const facts *f, const char *model_path, double most_kl, double least_agreement) {
    verdict v = run(f, model_path);
    double mean = v.kl_sum / v.positions, agreement = v.clear ? (double)v.agree / v.clear : 1;
    printf("%-20s KL mean %.2e, most %.2e; same top token in %u of %u clear positions\n", name, mean, v.kl_most, v.agree, v.clear);
    assert_true(v.positions == f->positions && v.clear > v.positions / 2);
    assert_true(mean <= most_kl);
    assert_true(agreement >= least_agreement);
}

/* The facts' name: a type of the shape golden, or SHAPE-TYPE. */
static void forged_model(void **state) {
    const char *name = *state, *dash = strrchr(name, '-'), *type = dash ? dash + 1 : name;
    int shape_len = dash ? (int)(dash - name) : 6;
    char facts_path[512], file[256], command[1024];
    facts f;
    snprintf(facts_path, sizeof facts_path, TEST_DATA_DIR "/forged/%s.bin", name);
    snprintf(file, sizeof file, "golden-%s.gguf", name);
    read_facts(facts_path, &f);
    snprintf(command, sizeof command, "'%s' --shape %.*s --type %s --seed 1 -o %s 2>&1", FORGE, shape_len,
             dash ? name : "golden", type, file);
    assert_int_equal(system(command), 0);
    check_sha256(file, f.sha256);
    compare(name, &f, file, 1e-3, 0.99);
    remove(file);
    free(f.rows);
}

/* The built-in model, from inside the program. A trained model's activations have outliers: the same weights widened
 * to float are 6.2e-4 from the peer, by its own rounding alone. */
static void built_in_model(void **state) {
    (void)state;
    facts f;
    read_facts(TEST_DATA_DIR "/embedded.bin", &f);
    check_sha256(MODELS_DIR "/plimsoll-tiny.gguf", f.sha256);
    compare("built-in", &f, NULL, 1e-3, 0.97);
    free(f.rows);
}

/* The test must be able to fail: other weights of the same shape do not pass for these. */
static void another_model_is_noticed(void **state) {
    (void)state;
    facts f;
    read_facts(TEST_DATA_DIR "/forged/F32.bin", &f);
    assert_int_equal(system("'" FORGE "' --shape golden --type F32 --seed 2 -o golden-other.gguf 2>&1"), 0);
    verdict v = run(&f, "golden-other.gguf");
    assert_true(v.kl_sum / v.positions > 0.1);
    remove("golden-other.gguf");
    free(f.rows);
}

#define FORGED(type) {"forged " type, forged_model, NULL, NULL, (void *)(uintptr_t) type}

int main(void) {
    const struct CMUnitTest tests[] = {
        FORGED("F32"),  FORGED("F16"),  FORGED("BF16"), FORGED("Q4_0"), FORGED("Q4_1"), FORGED("Q5_0"),
        FORGED("Q5_1"), FORGED("Q8_0"), FORGED("Q4_K"), FORGED("Q5_K"), FORGED("Q6_K"),
        FORGED("golden-qwen3-F32"), FORGED("golden-qwen3-Q8_0"), FORGED("golden-phi3-F32"), FORGED("golden-phi3-Q8_0"),
        FORGED("golden-mixtral-F32"),  FORGED("golden-mixtral-Q8_0"),  FORGED("golden-mixtral-Q4_0"),
        FORGED("golden-qwen2moe-F32"), FORGED("golden-qwen2moe-Q8_0"), FORGED("golden-qwen2moe-Q4_0"),
        FORGED("golden-qwen3moe-F32"), FORGED("golden-qwen3moe-Q8_0"), FORGED("golden-qwen3moe-Q4_0"),
        FORGED("golden-qwen3moe-Q4_K"),
        cmocka_unit_test(built_in_model), cmocka_unit_test(another_model_is_noticed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
