/* Recorded vectors of real vocabularies (tests/golden/vocab, written by tools/record_vocab_facts.py). */
#include "../test.h"

#include "facts.h"
#include "vocab_build.h"

enum { IDS_MAX = 4096, TEXT_MAX = 8192 };

typedef struct fact {
    char *text;
    size_t len;
    float score;
    int type;
} fact;

typedef struct facts {
    char *data; /* the file; texts are unescaped in place */
    fact *tokens;
    char **merges;
    size_t merges_cap;
    text_vocab_spec spec;
} facts;

static void set_field(text_vocab_spec *s, const char *key, char *value) {
    const struct { const char *key; int *to; } ints[] = {
        {"bos", &s->bos}, {"eos", &s->eos}, {"eot", &s->eot}, {"unknown", &s->unk}, {"seperator", &s->sep},
        {"padding", &s->pad}, {"cls", &s->cls}, {"mask", &s->mask}, {"add_bos_token", &s->add_bos},
        {"add_eos_token", &s->add_eos}, {"add_space_prefix", &s->add_space_prefix}, {"n_tokens", (int *)&s->n_tokens},
    };
    if (!strcmp(key, "model")) s->model = str_of(value);
    if (!strcmp(key, "pre")) s->pre = str_of(value);
    for (size_t i = 0; i < sizeof ints / sizeof *ints; i++) {
        if (!strcmp(key, ints[i].key)) *ints[i].to = atoi(value);
    }
}

static bool fact_token(void *ctx, uint32_t i, str *text, float *score, int *type) {
    const fact *t = &((facts *)ctx)->tokens[i];
    *text = (str){t->text, t->len};
    *score = t->score;
    *type = t->text ? t->type : TEXT_UNUSED; /* a hole: no text */
    return true;
}

static bool fact_merge(void *ctx, uint32_t i, str *pair) { return *pair = str_of(((facts *)ctx)->merges[i]), true; }

/* Reads tables; calls on_case for each test case line. */
typedef void on_case(void *ctx, bool special, str text, const text_token *ids, size_t n);

static void add_fact(facts *f, char *fields[FACTS_FIELDS_MAX], int n) {
    if (!strcmp(fields[0], "set")) {
        set_field(&f->spec, fields[1], fields[2]);
        if (!strcmp(fields[1], "n_tokens")) f->tokens = calloc(f->spec.n_tokens, sizeof *f->tokens);
    } else if (!strcmp(fields[0], "token")) {
        assert_int_equal(n, 5);
        fact *t = &f->tokens[atoi(fields[1])];
        *t = (fact){.text = fields[4], .len = facts_unescape(fields[4]), .score = strtof(fields[3], NULL), .type = atoi(fields[2])};
    } else if (!strcmp(fields[0], "merge")) {
        if (f->spec.n_merges == f->merges_cap) {
            f->merges_cap = f->merges_cap ? 2 * f->merges_cap : 256;
            f->merges = realloc(f->merges, f->merges_cap * sizeof *f->merges);
        }
        fields[2][-1] = ' '; /* the tab between the two becomes the space of a merge */
        facts_unescape(fields[1]);
        f->merges[f->spec.n_merges++] = fields[1];
    }
}

static size_t parse_ids(char *text, text_token *ids) {
    size_t n = 0;
    for (char *end; *text && n < IDS_MAX; text = end) {
        ids[n++] = (text_token)strtol(text, &end, 10);
        assert_true(end > text);
    }
    return n;
}

static void load_facts(facts *f, const char *name) {
    char path[64];
    snprintf(path, sizeof path, "vocab/%s.facts", name);
    *f = (facts){.data = facts_read(path), .spec = {.token = fact_token, .merge = fact_merge, BUILD_IDS}};
    f->spec.ctx = f;
}

/* Walks the file; case lines follow all tables, so the vocabulary exists by the first of them. */
static size_t run_cases(facts *f, text_vocab **v, const base_alloc *alloc, on_case *call, void *ctx) {
    static text_token ids[IDS_MAX];
    size_t cases = 0;
    err e = {0};
    for (char *rest = f->data, *line; (line = strsep(&rest, "\n")) && *line;) {
        char *fields[FACTS_FIELDS_MAX];
        int n = facts_split(line, fields);
        bool special = !strcmp(fields[0], "special");
        if (!special && strcmp(fields[0], "plain")) {
            add_fact(f, fields, n);
            continue;
        }
        if (!*v) assert_ok(*v = text_vocab_new(&f->spec, alloc, &e), e);
        size_t len = facts_unescape(fields[1]);
        call(ctx, special, (str){fields[1], len}, ids, parse_ids(fields[2], ids));
        cases++;
    }
    return cases;
}

typedef struct run {
    const char *name;
    text_vocab *vocab;
    text_scratch *scratch;
    test_alloc memory;
} run;

static void check_case(void *ctx, bool special, str text, const text_token *want, size_t n_want) {
    run *r = ctx;
    static text_token got[IDS_MAX];
    static char back[16 * TEXT_MAX];
    size_t n;
    err e = {0};
    if (!r->scratch) r->scratch = text_scratch_new(r->vocab, &r->memory.alloc);
    assert_ok(text_encode(r->vocab, r->scratch, text, false, special, got, IDS_MAX, &n, &e), e);
    for (size_t i = 0; i < n || i < n_want; i++) {
        if (i < n && i < n_want && got[i] == want[i]) continue;
        fail_msg("%s: \"%.*s\": token %zu is %d, should be %d (%zu of %zu tokens)", r->name, STR_ARG(text), i,
                 i < n ? got[i] : -1, i < n_want ? want[i] : -1, n, n_want);
    }
    if (special || text_vocab_kind(r->vocab) == TEXT_WPM) return;
    size_t len = decode_all(r->vocab, got, n, back);
    if (!str_eq((str){back, len}, text)) fail_msg("%s: \"%.*s\" comes back as \"%.*s\"", r->name, STR_ARG(text), (int)len, back);
}

static void check_vocabulary(const char *name, size_t want_cases) {
    facts f;
    run r = {.name = name};
    test_alloc_init(&r.memory, 0);
    load_facts(&f, name);
    size_t cases = run_cases(&f, &r.vocab, &r.memory.alloc, check_case, &r);
    assert_int_equal(cases, want_cases);
    text_scratch_free(r.scratch);
    assert_int_equal(text_vocab_bytes(r.vocab), r.memory.outstanding_bytes);
    text_vocab_free(r.vocab);
    assert_int_equal(r.memory.outstanding_bytes, 0);
    free(f.tokens);
    free(f.merges);
    free(f.data);
}

/* 46 common texts, then those recorded from an independent implementation, each plain and special. */
static void test_llama_spm(void **state) { (void)state, check_vocabulary("llama-spm", 46 + 2 * 13); }
static void test_phi_3(void **state) { (void)state, check_vocabulary("phi-3", 46 + 2 * 14); }
static void test_gpt_2(void **state) { (void)state, check_vocabulary("gpt-2", 46 + 2 * 13); }
static void test_falcon(void **state) { (void)state, check_vocabulary("falcon", 46 + 2 * 12); }
static void test_deepseek_llm(void **state) { (void)state, check_vocabulary("deepseek-llm", 46 + 2 * 13); }
static void test_bert_bge(void **state) { (void)state, check_vocabulary("bert-bge", 46 + 2 * 13); }

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_llama_spm), cmocka_unit_test(test_phi_3),        cmocka_unit_test(test_gpt_2),
        cmocka_unit_test(test_falcon),    cmocka_unit_test(test_deepseek_llm), cmocka_unit_test(test_bert_bge),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
