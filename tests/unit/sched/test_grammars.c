/* Jobs with grammars: each holds its own until it ends, however it ends; what it says does not depend on who runs beside. */
#include "world.h"

enum { CONTEXT = 256, N_PROMPT = 24, N_JOBS = 12 };

static int up(void **state) {
    (void)state;
    return model_up("grammars", CONTEXT);
}

static void world_up(world *w, uint32_t n_concurrent, uint32_t n_pages, uint32_t n_drafts) {
    engine_config e = engine_of(model_path, n_concurrent, CONTEXT);
    e.grammar_bytes = 1 << 18;
    e.cache_entries = 16;
    e.n_drafts = n_drafts;
    engine_up_as(w, &e, n_pages);
    sched_config c;
    sched_config_default(&c);
    c.max_concurrent = n_concurrent;
    c.check_every_step = c.speculate_always = true;
    sched_up(w, &c);
}

static engine_grammar_counts grammars_of(world *w) {
    engine_grammar_counts c;
    engine_grammar_read(w->en, &c);
    return c;
}

static ask *asked(world *w, uint32_t i, const char *gbnf, uint32_t max_tokens) {
    err e = {0};
    ask *q = new_ask(w, 0, 0, i, N_PROMPT, max_tokens);
    q->r.sampling.temperature = i % 2 ? 1.0f : 0.0f;
    q->r.sampling.grammar = engine_grammar_get(w->en, TEXT_GRAMMAR_GBNF, str_of(gbnf), &e);
    if (!q->r.sampling.grammar) fail_msg("%s", e.message);
    return q;
}

static sched_job *submitted(world *w, ask *q) {
    sched_job *j = submit_ask(w, q);
    engine_grammar_release(w->en, q->r.sampling.grammar); /* the job has one of its own */
    free_ask(q);
    return j;
}

static const char *source_of(uint32_t i, char out[64]) {
    snprintf(out, 64, "root ::= [a-%c]{20,40} \"!\"", 'b' + (char)(i % 5));
    return out;
}

static void check_said(world *w, uint32_t i, const answer *a) {
    assert_int_equal(a->what, SCHED_END);
    char text[TEXT_TOKEN_BYTES_MAX];
    for (uint32_t t = 0; t < a->n; t++) {
        size_t len = text_token_bytes(engine_vocab(w->en), a->tokens[t], false, text);
        for (size_t b = 0; b < len; b++) assert_true(text[b] == '!' || (text[b] >= 'a' && text[b] <= 'b' + (char)(i % 5)));
    }
    assert_true(text_vocab_is_eog(engine_vocab(w->en), a->tokens[a->n - 1]));
    assert_int_equal(a->finish, ENGINE_FINISH_STOP);
}

static void the_same_in_any_company(void **state) {
    (void)state;
    static answer alone[N_JOBS], together[N_JOBS];
    char source[64];
    world w;
    world_up(&w, 1, 0, 0);
    for (uint32_t i = 0; i < N_JOBS; i++) {
        finish_job(&w, submitted(&w, asked(&w, i, source_of(i, source), 60)), &alone[i]);
        check_said(&w, i, &alone[i]);
    }
    assert_int_equal(grammars_of(&w).in_use, 0);
    world_down(&w);
    for (uint32_t drafts = 0; drafts < 2; drafts++) { /* few pages: some are preempted */
        sched_job *jobs[N_JOBS];
        world_up(&w, 8, 30, drafts * 8);
        for (uint32_t i = 0; i < N_JOBS; i++) {
            ask *q = asked(&w, i, source_of(i, source), 60);
            q->r.speculate = drafts > 0;
            jobs[i] = submitted(&w, q);
        }
        finish_all(&w, jobs, together, N_JOBS);
        for (uint32_t i = 0; i < N_JOBS; i++) {
            assert_same_answer(&alone[i], &together[i]);
            free_answer(&together[i]);
        }
        assert_int_equal(grammars_of(&w).in_use, 0);
        world_down(&w);
    }
    for (uint32_t i = 0; i < N_JOBS; i++) free_answer(&alone[i]);
}

static void however_it_ends_it_lets_go(void **state) {
    (void)state;
    world w;
    answer a = {0};
    err e = {0};
    world_up(&w, 2, 0, 0);
    sched_job *left[4]; /* two run, two wait: nobody reads, and more is said than a ring holds */
    for (uint32_t i = 0; i < 4; i++) {
        ask *q = asked(&w, i, "root ::= .{500}", 200);
        q->r.whole = false;
        q->r.sampling.top_logprobs = 20;
        left[i] = submitted(&w, q);
    }
    until_active(&w, 2);
    assert_int_equal(grammars_of(&w).in_use, 1);
    for (uint32_t i = 0; i < 4; i++) sched_job_release(w.s, left[i]);
    assert_true(sched_wait_idle(w.s, 60000));
    assert_int_equal(grammars_of(&w).in_use, 0);

    finish_job(&w, submitted(&w, asked(&w, 1, "root ::= .*", 5)), &a);
    assert_int_equal(a.n, 5); /* cut */
    free_answer(&a);

    ask *q = asked(&w, 0, "root ::= \"a\"", 5);
    engine_grammar *g = q->r.sampling.grammar;
    q->r.n_prompt = 0; /* refused at the door: nothing is held */
    assert_null(sched_submit(w.s, &q->r, &e));
    engine_grammar_release(w.en, g);
    free_ask(q);
    assert_int_equal(grammars_of(&w).in_use, 0);
    world_down(&w);
}

static void too_ambiguous_is_a_failure(void **state) {
    (void)state;
    world w;
    answer a = {0}, b = {0};
    world_up(&w, 2, 0, 0);
    sched_job *stuck = submitted(&w, asked(&w, 0, "root ::= (((\"a\"|\"aa\"){1,500}){1,500}){400}", 200)),
              *beside = submitted(&w, asked(&w, 1, "root ::= \"b\"{30}", 100));
    finish_job(&w, stuck, &a);
    assert_int_equal(a.what, SCHED_FAILED);
    assert_non_null(strstr(a.failure.message, "too ambiguous"));
    finish_job(&w, beside, &b);
    assert_int_equal(b.what, SCHED_END);
    assert_int_equal(grammars_of(&w).in_use, 0);
    free_answer(&a);
    free_answer(&b);
    world_down(&w);
}

/* Many threads ask for grammars while jobs run. */
static void *compile_many(void *ctx) {
    world *w = ctx;
    char source[64];
    for (int i = 0; i < 300; i++) {
        err e = {0};
        snprintf(source, sizeof source, "{\"const\":%d}", i % 7 ? i : i % 3);
        engine_grammar *g = engine_grammar_get(w->en, TEXT_GRAMMAR_SCHEMA, str_of(source), &e);
        if (!g) return "a grammar is refused";
        engine_grammar_release(w->en, g);
    }
    return NULL;
}

static void compiled_while_others_run(void **state) {
    (void)state;
    world w;
    pthread_t threads[3];
    answer a[4] = {0};
    char source[64];
    world_up(&w, 4, 0, 0);
    sched_job *jobs[4];
    for (uint32_t i = 0; i < 4; i++) jobs[i] = submitted(&w, asked(&w, i, source_of(i, source), 60));
    for (int i = 0; i < 3; i++) pthread_create(&threads[i], NULL, compile_many, &w);
    finish_all(&w, jobs, a, 4);
    for (int i = 0; i < 3; i++) {
        void *wrong;
        pthread_join(threads[i], &wrong);
        if (wrong) fail_msg("%s", (char *)wrong);
    }
    for (uint32_t i = 0; i < 4; i++) check_said(&w, i, &a[i]), free_answer(&a[i]);
    assert_int_equal(grammars_of(&w).in_use, 0);
    world_down(&w);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_same_in_any_company),
        cmocka_unit_test(however_it_ends_it_lets_go),
        cmocka_unit_test(too_ambiguous_is_a_failure),
        cmocka_unit_test(compiled_while_others_run),
    };
    return cmocka_run_group_tests(tests, up, model_down);
}
