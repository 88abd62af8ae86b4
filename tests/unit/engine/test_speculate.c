/* Guesses: what is found earlier in a text, how much of it is worth running, and that running it gives the same tokens
 * and the same logits, bit for bit. */
#include "../test.h"

#include <unistd.h>

#include "../model/model_build.h"
#include "engine/draft.h"
#include "engine/internal.h"
#include "kv/internal.h"

/* ---- what is found ---- */

static engine_drafter looked(const int32_t *tokens, uint32_t n) {
    engine_drafter g;
    engine_drafter_begin(&g, true);
    engine_drafter_look(&g, tokens, n);
    return g;
}

static void finds_the_longest_and_latest(void **state) {
    (void)state;
    static const int32_t tokens[] = {5, 1, 2, 3, 9, 4, 2, 3, 8, 4, 2, 3, 7, 1, 2, 3};
    engine_drafter g = looked(tokens, 16);
    assert_int_equal(g.match, 3);
    assert_int_equal(g.from, 4);
    g = looked(tokens, 12); /* "4 2 3" once before; "2 3" twice */
    assert_int_equal(g.match, 3);
    assert_int_equal(g.from, 8);
    g = looked(tokens, 8);
    assert_int_equal(g.match, 2);
    assert_int_equal(g.from, 4);
    assert_int_equal(looked(tokens, 5).match, 0);
    assert_int_equal(looked(tokens, 1).match, 0);
}

/* Against a search that looks at every place. */
static void finds_what_is_there(void **state) {
    (void)state;
    static int32_t tokens[600];
    rng r;
    rng_seed(&r, 3);
    for (int round = 0; round < 2000; round++) {
        uint32_t n = 1 + (uint32_t)(rng_next(&r) % 600), kinds = 2 + (uint32_t)(rng_next(&r) % 200), best = 0, from = 0;
        for (uint32_t i = 0; i < n; i++) tokens[i] = (int32_t)(rng_next(&r) % kinds);
        for (uint32_t at = n - 1; at-- > 0;) {
            uint32_t m = 0;
            while (m <= at && m < GUESS_MATCH_MOST && tokens[at - m] == tokens[n - 1 - m]) m++;
            if (m > best) best = m, from = at + 1;
        }
        engine_drafter g = looked(tokens, n);
        assert_int_equal(g.match, best);
        if (best) assert_int_equal(g.from, from);
    }
}

static void writes_on_in_what_it_writes(void **state) {
    (void)state;
    int32_t tokens[20] = {9, 1, 2, 1, 2};
    engine_drafter g = looked(tokens, 5);
    engine_drafter_write(&g, tokens, 5, 6);
    static const int32_t wanted[] = {1, 2, 1, 2, 1, 2};
    assert_memory_equal(tokens + 5, wanted, sizeof wanted);
}

static void goes_on_while_right_and_learns(void **state) {
    (void)state;
    int32_t tokens[20] = {1, 2, 3, 4, 1};
    engine_drafter g = looked(tokens, 5);
    float before = g.right[1], longer = g.right[2];
    engine_drafter_learn(&g, tokens, 2);
    assert_true(g.right[1] > before);
    assert_int_equal(g.match, 2);
    assert_int_equal(g.from, 2);
    engine_drafter_learn(&g, tokens, 4);
    assert_true(g.right[2] < longer);
    assert_int_equal(g.match, 0);
}

/* ---- how much is worth it ---- */

/* As if each step had taken fixed_ms and token_ms for each of its tokens. */
static engine_step_cost linear(double fixed_ms, double token_ms) {
    engine_step_cost p = {.level_ms = 1};
    for (uint32_t n = 1; n <= STEP_COST_TOKENS_MOST; n++) p.share[n] = fixed_ms + token_ms * n;
    return p;
}

static uint32_t wanted_with(engine_step_cost p, uint32_t n, float right, uint32_t most) {
    engine_drafter all[32];
    engine_drafter *list[32];
    uint32_t wanted = 0;
    for (uint32_t i = 0; i < n; i++) {
        engine_drafter_begin(&all[i], true);
        all[i].match = 4, all[i].n_most = 100;
        for (int m = 1; m <= GUESS_MATCH_MOST; m++) all[i].right[m] = right;
        list[i] = &all[i];
    }
    engine_speculate(&p, list, n, most);
    for (uint32_t i = 0; i < n; i++) wanted += all[i].n_wanted;
    return wanted;
}

static void guesses_where_it_pays(void **state) {
    (void)state;
    assert_int_equal(wanted_with(linear(10, 0.1), 1, 0.99f, 15), 15); /* waits for memory, and the text repeats */
    assert_int_equal(wanted_with(linear(10, 0.1), 1, 0.99f, 3), 3);
    assert_int_equal(wanted_with(linear(10, 0.1), 4, 0.99f, 15), 15);
    assert_int_equal(wanted_with(linear(0, 1), 1, 0.99f, 15), 0);     /* computes all the time */
    assert_int_equal(wanted_with(linear(10, 1), 32, 0.5f, 15), 0);    /* many streams */
    assert_int_equal(wanted_with(linear(10, 1), 1, 0.05f, 15), 0);    /* a text that does not repeat */
    assert_in_range(wanted_with(linear(10, 1), 1, 0.5f, 15), 1, 4);   /* in between */
    assert_int_equal(wanted_with((engine_step_cost){0}, 1, 0.99f, 15), 0); /* nothing is known yet */
    assert_int_equal(wanted_with(linear(10, 0), 32, 0.99f, 40), 15);
    assert_int_equal(wanted_with(linear(10, 0), 32, 0, 15), 0);
    /* The second token costs nothing, all others as much as the first. */
    engine_step_cost bent = linear(0, 1);
    bent.share[1] = 2;
    assert_int_equal(wanted_with(bent, 1, 0.9f, 1), 1);
    assert_int_equal(wanted_with(bent, 2, 0.9f, 15), 0);
}

static void knows_the_most(void **state) {
    (void)state;
    engine_drafter g;
    engine_step_cost p = linear(10, 0.1);
    engine_drafter_begin(&g, true);
    g.match = 8, g.n_most = 2;
    engine_speculate(&p, &(engine_drafter *){&g}, 1, 15);
    assert_int_equal(g.n_wanted, 2);
    g.match = 0;
    engine_speculate(&p, &(engine_drafter *){&g}, 1, 15);
    assert_int_equal(g.n_wanted, 0);
}

static void learns_the_pace(void **state) {
    (void)state;
    engine_step_cost p = {0};
    rng r;
    rng_seed(&r, 8);
    engine_step_cost_note(&p, 0, 1);
    engine_step_cost_note(&p, STEP_COST_TOKENS_MOST + 1, 1);
    engine_step_cost_note(&p, 1, 0);
    assert_true(p.level_ms == 0);
    for (int i = 0; i < 4000; i++) { /* every hundredth is held up; half-way, everything takes twice as long */
        uint32_t n = 1 + (uint32_t)(rng_next(&r) % 20);
        double noise = i % 100 == 50 ? 30 : 0.95 + rng_unit(&r) * 0.1;
        engine_step_cost_note(&p, n, (7 + 0.5 * n) * noise * (i < 2000 ? 1 : 2));
    }
    for (uint32_t n = 2; n <= 20; n++) {
        double ratio = engine_step_cost_share(&p, n) / engine_step_cost_share(&p, 1), wanted = (7 + 0.5 * n) / 7.5;
        assert_true(ratio > wanted * 0.85 && ratio < wanted * 1.15);
    }
}

static void fills_in_what_it_has_not_seen(void **state) {
    (void)state;
    engine_step_cost p = {.level_ms = 1};
    p.share[4] = 2, p.share[12] = 6;
    assert_float_equal(engine_step_cost_share(&p, 8), 4, 1e-9);
    assert_float_equal(engine_step_cost_share(&p, 12), 6, 1e-9);
    assert_float_equal(engine_step_cost_share(&p, 1), 0.5, 1e-9);
    assert_true(engine_step_cost_share(&p, STEP_COST_TOKENS_MOST) > 6);
}

static void tries_again_what_was_dear(void **state) {
    (void)state;
    engine_drafter g;
    engine_step_cost p = linear(1, 20);
    engine_drafter_begin(&g, true);
    g.match = 8, g.n_most = 100;
    int tries = 0;
    do engine_speculate(&p, &(engine_drafter *){&g}, 1, 15);
    while (!g.n_wanted && ++tries < 5000);
    assert_in_range(tries, 20, 4999);
}

/* ---- the same bits ---- */

enum { N_PROMPT = 48, SAID = 150, PERIOD = 6 };

typedef struct told {
    int32_t tokens[N_PROMPT + SAID];
    uint32_t n, drafted, accepted;
    float *rows; /* of all that was sampled */
} told;

/* The built-in model, about a text that repeats itself, with n_most drafts in each step; every row is kept. */
static void tell(engine *en, float temperature, uint32_t n_most, told *t) {
    static engine_generation g;
    engine_sampling s;
    err e = {0};
    uint32_t n_vocab = engine_model_desc(en)->n_vocab;
    engine_sampling_default(&s);
    s.temperature = temperature, s.seed = 4, s.ignore_end = true;
    for (uint32_t i = 0; i < N_PROMPT; i++) t->tokens[i] = i < PERIOD ? (int32_t)(300 + 31 * i) : t->tokens[i - PERIOD];
    g = (engine_generation){.en = en, .session = engine_session_open(en, NULL, &e), .sampling = &s, .tokens = t->tokens,
                            .n_prompt = N_PROMPT, .max_tokens = SAID, .speculate = true};
    t->rows = malloc((size_t)SAID * n_vocab * sizeof *t->rows);
    engine_generation_start(&g);
    while (g.finish == ENGINE_RUNNING) {
        engine_batch_item item;
        engine_sample sample;
        str text;
        engine_generation_next_item(&g, engine_batch(en), &item);
        if (g.n_generated) {
            engine_generation_propose(&g);
            g.drafter.n_wanted = !g.drafter.match ? 0 : n_most < g.drafter.n_most ? n_most : g.drafter.n_most;
            if (engine_draft_name(en) && g.drafter.n_wanted) engine_draft_propose(en, &(engine_generation *){&g}, 1);
            engine_generation_draft(&g, &item);
        }
        assert_ok(engine_session_reserve(en, g.session, engine_session_length(g.session) + item.n_tokens, &e), e);
        assert_ok(engine_step(en, &item, 1, NULL, &e), e);
        for (uint32_t row = 0; !row || g.holds; row++) {
            memcpy(t->rows + (size_t)g.n_generated * n_vocab, engine_logits(en, row), n_vocab * sizeof(float));
            bool sampled = engine_generation_accept(&g, &item, engine_logits(en, row), &sample, &text);
            assert_int_equal(sampled, item.want != ENGINE_WANT_NONE);
        }
        engine_generation_commit(&g, &item);
        uint32_t length = engine_session_length(g.session); /* nothing is held but what holds tokens */
        if (g.n_generated) assert_int_equal(length, g.n_prompt + g.n_generated - 1);
        assert_int_equal(engine_session_bytes(en, g.session),
                         kv_cache_bytes_for(engine_kv(en), kv_sequence_params(g.session), length));
    }
    t->n = g.n_generated, t->drafted = g.n_drafted, t->accepted = g.n_accepted;
    engine_draft_end(&g);
    engine_session_close(en, g.session);
}

static void says_the_same_bits(void **state) {
    (void)state;
    err e = {0};
    mem_ledger ledger;
    engine_plan plan = {.rows.line_bytes = UINT64_MAX};
    engine_config c;
    engine_config_default(&c);
    c.n_sessions = 1, c.n_context = 256, c.n_threads = 1, c.n_drafts = SPECULATE_MOST;
    mem_ledger_init(&ledger, UINT64_MAX);
    engine *en = engine_prepare(&c, &ledger, &e);
    if (!en) fail_msg("%s", e.message);
    assert_ok(engine_plan_make(en, &plan, &e), e);
    assert_ok(engine_load(en, &plan, NULL, NULL, &e), e);
    static told without, with;
    uint32_t n_vocab = engine_model_desc(en)->n_vocab;
    for (int hot = 0; hot < 2; hot++) {
        tell(en, hot ? 0.7f : 0, 0, &without);
        for (uint32_t most = 1; most <= SPECULATE_MOST; most += 7) {
            tell(en, hot ? 0.7f : 0, most, &with);
            assert_int_equal(with.n, SAID);
            assert_memory_equal(with.tokens, without.tokens, sizeof with.tokens);
            assert_memory_equal(with.rows, without.rows, (size_t)SAID * n_vocab * sizeof *with.rows);
            assert_true(with.accepted > 0 && with.drafted > with.accepted);
            free(with.rows);
        }
        free(without.rows);
    }
    engine_free(en);
}

/* ---- a model that drafts ---- */

#define TINY MODELS_DIR "/plimsoll-tiny.gguf"

static engine *up_with_draft(mem_ledger *l, uint64_t line_bytes, const char *draft, uint32_t n_batch, err *e) {
    engine_config c;
    engine_config_default(&c);
    c.n_sessions = 2, c.n_context = 256, c.n_threads = 2, c.n_batch = n_batch, c.n_drafts = SPECULATE_MOST;
    c.draft_path = draft;
    mem_ledger_init(l, line_bytes);
    engine_plan plan = {.rows.line_bytes = line_bytes};
    engine *en = engine_prepare(&c, l, e);
    if (!en) return NULL;
    if (engine_plan_make(en, &plan, e) && engine_load(en, &plan, NULL, NULL, e)) {
        mem_ledger_view v;
        mem_ledger_read(l, &v);
        assert_int_equal(v.rows[MEM_WEIGHTS].now_bytes, plan.rows.bytes[MEM_WEIGHTS]);
        assert_int_equal(v.rows[MEM_WORKSPACE].now_bytes, plan.rows.bytes[MEM_WORKSPACE]);
        assert_int_equal(v.rows[MEM_PROMPT_INDEX].now_bytes, plan.rows.bytes[MEM_PROMPT_INDEX]);
        return en;
    }
    engine_free(en);
    return NULL;
}

/* Of a model that is its own draft, greedy: nearly all drafts are right (it may draft the end, which is banned here).
 * The prompt is longer than a batch. */
static void its_own_draft_is_right(void **state) {
    (void)state;
    mem_ledger l;
    err e = {0};
    static told without, with;
    for (int draft = 0; draft < 2; draft++) {
        engine *en = up_with_draft(&l, UINT64_MAX, draft ? TINY : NULL, 32, &e);
        if (!en) fail_msg("%s", e.message);
        assert_true(draft ? str_is(str_of(engine_draft_name(en)), "plimsoll-tiny") : !engine_draft_name(en));
        tell(en, 0, draft ? 6 : 0, draft ? &with : &without);
        if (draft) assert_int_equal(engine_kv(en->draft)->counts.sequences, 0);
        engine_free(en);
    }
    assert_memory_equal(with.tokens, without.tokens, sizeof with.tokens);
    assert_true(with.accepted > SAID / 2 && with.accepted * 10 > with.drafted * 8);
    free(with.rows), free(without.rows);
    mem_ledger_view v;
    mem_ledger_read(&l, &v);
    assert_int_equal(v.now_bytes, 0);
}

static void refuses_what_cannot_guess(void **state) {
    (void)state;
    mem_ledger l;
    err e = {0};
    char path[80];
    static model_file f;
    snprintf(path, sizeof path, "/tmp/plimsoll-draft-%d.gguf", (int)getpid());
    model_file_make(&f, &(model_spec){.n_vocab = 300, .n_layers = 1, .n_embd = 16, .n_heads = 2, .n_kv_heads = 1,
                                      .n_ff = 24, .context = 128, .vocabulary = true, .seed = 1});
    model_file_write(&f, path);
    model_file_free(&f);
    assert_null(up_with_draft(&l, UINT64_MAX, path, 64, &e));
    assert_non_null(strstr(e.message, "it has 300 tokens, the model 2048"));
    assert_null(up_with_draft(&l, UINT64_MAX, "/nowhere/draft.gguf", 64, &e));
    assert_non_null(strstr(e.message, "draft model: "));
    assert_null(up_with_draft(&l, UINT64_MAX, TINY, 8, &e));
    assert_int_equal(e.code, ERR_USAGE);
    assert_null(up_with_draft(&l, 12 << 20, TINY, 64, &e)); /* enough for one of the two */
    assert_int_equal(e.code, ERR_MEMORY);
    engine *one = up_with_draft(&l, 12 << 20, NULL, 64, &e);
    assert_non_null(one);
    engine_free(one);
    unlink(path);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(finds_the_longest_and_latest),
        cmocka_unit_test(finds_what_is_there),
        cmocka_unit_test(writes_on_in_what_it_writes),
        cmocka_unit_test(goes_on_while_right_and_learns),
        cmocka_unit_test(guesses_where_it_pays),
        cmocka_unit_test(knows_the_most),
        cmocka_unit_test(learns_the_pace),
        cmocka_unit_test(fills_in_what_it_has_not_seen),
        cmocka_unit_test(tries_again_what_was_dear),
        cmocka_unit_test(says_the_same_bits),
        cmocka_unit_test(its_own_draft_is_right),
        cmocka_unit_test(refuses_what_cannot_guess),
    };
    return cmocka_run_group_tests_name("engine_speculate", tests, NULL, NULL);
}
