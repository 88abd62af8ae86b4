/* Speculation changes nothing that is said: whatever runs beside, however answers are chosen and cut, each says what it
 * says without, to the last bit, and what was taken for drafts that were wrong is given back. */
#include "world.h"

enum { N_KINDS = 9, EACH = 3, N_ASKS = N_KINDS * EACH, CONTEXT = 256, N_PROMPT = 60, SAID = 120, PERIOD = 7, ENTRIES = 16 };

static int up(void **state) {
    (void)state;
    return model_up("speculate", CONTEXT);
}

static const char *draft_path; /* of a model that drafts; NULL: drafts are looked up */

static void world_up(world *w, uint32_t n_concurrent, uint32_t n_pages, uint32_t n_drafts) {
    engine_config e = engine_of(model_path, n_concurrent, CONTEXT);
    e.cache_entries = ENTRIES;
    e.n_drafts = n_drafts;
    e.draft_path = n_drafts ? draft_path : NULL;
    engine_up_as(w, &e, n_pages);
    sched_config c;
    sched_config_default(&c);
    c.max_concurrent = n_concurrent;
    c.max_queue = N_ASKS;
    c.check_every_step = c.speculate_always = true;
    sched_up(w, &c);
}

/* A prompt that repeats itself, and every way to choose and to end. */
static ask *make(const world *w, uint32_t i) {
    ask *q = new_ask(w, 0, 0, i, N_PROMPT, SAID);
    engine_sampling *s = &q->r.sampling;
    for (uint32_t t = PERIOD; t < N_PROMPT; t++) q->prompt[t] = q->prompt[t - PERIOD];
    s->temperature = i % EACH == 0 ? 0 : i % EACH == 1 ? 0.2f : 1;
    switch (i / EACH) {
    case 1: s->top_logprobs = 5; break;
    case 2: s->repeat_penalty = 1.1f, s->presence_penalty = 0.5f; break;
    case 3: q->r.n_stops = 1, q->r.stops[0] = (engine_stop){1, "t"}; break;
    case 4: s->ignore_end = false; break;
    case 5: q->r.params.type = COMPUTE_KV_Q8; break;
    case 6: q->r.params.window = 48, q->r.params.keep = 4, q->r.max_tokens = 3 * CONTEXT; break;
    case 7: q->r.max_tokens = 1 + i % EACH; break;
    case 8: q->r.remember = true; break;
    default: break;
    }
    return q;
}

static void make_all(const world *w, ask **asks, bool speculate) {
    for (uint32_t i = 0; i < N_ASKS; i++) {
        asks[i] = make(w, i);
        asks[i]->r.speculate = speculate;
    }
}

static answer plain[N_ASKS]; /* of an engine that has no room for drafts, one after the other */

static void answer_plainly(void **state) {
    (void)state;
    world w;
    ask *asks[N_ASKS];
    world_up(&w, 1, 0, 0);
    make_all(&w, asks, true);
    for (uint32_t i = 0; i < N_ASKS; i++) {
        plain[i] = answer_to(&w, asks[i]);
        assert_int_equal(plain[i].usage.drafted_tokens, 0);
        free_ask(asks[i]);
    }
    world_down(&w);
}

static uint32_t least_right = SAID + 1;

/* All at once, or so many at once that they preempt each other; drafts were made, and were right and wrong. */
static void answer_ranked(uint32_t n_concurrent, uint32_t n_pages, bool must_park, bool rising) {
    world w;
    ask *asks[N_ASKS];
    sched_job *jobs[N_ASKS];
    uint32_t drafted = 0, accepted = 0;
    world_up(&w, n_concurrent, n_pages, SPECULATE_MOST);
    make_all(&w, asks, true);
    for (uint32_t i = 0; i < N_ASKS; i++) {
        asks[i]->r.priority = rising ? (int32_t)i : 0;
        jobs[i] = submit_ask(&w, asks[i]);
    }
    for (uint32_t i = 0; i < N_ASKS; i++) {
        answer a = {0};
        finish_job(&w, jobs[i], &a);
        assert_same_answer(&a, &plain[i]);
        assert_true(a.usage.accepted_tokens <= a.usage.drafted_tokens && a.usage.accepted_tokens < a.n);
        drafted += a.usage.drafted_tokens;
        accepted += a.usage.accepted_tokens;
        free_answer(&a);
        free_ask(asks[i]);
    }
    sched_counts counts = counts_of(&w);
    print_message("%u guessed, %u right, %llu parkings\n", drafted, accepted, (unsigned long long)counts.preemptions);
    assert_true(accepted >= least_right && drafted > accepted);
    assert_int_equal(counts.drafted_tokens, drafted);
    assert_int_equal(counts.accepted_tokens, accepted);
    if (must_park) assert_true(counts.preemptions > 0);
    world_down(&w);
}

static void answer_with(uint32_t n_concurrent, uint32_t n_pages, bool must_park) {
    answer_ranked(n_concurrent, n_pages, must_park, false);
}

static void alone(void **state) { (void)state, answer_with(1, 0, false); }
static void beside_others(void **state) { (void)state, answer_with(8, 0, false); }
static void preempted(void **state) { (void)state, answer_with(6, 28, true); }

/* Each that comes ranks above those that run: its prompt preempts decodes that are in the step being composed. */
static void parked_by_prompts(void **state) {
    (void)state;
    for (uint32_t n_pages = 24; n_pages <= 40; n_pages += 4) answer_ranked(6, n_pages, false, true);
}

/* Clients that leave at any time, in the middle of drafts: the others do not notice. */
static void beside_some_who_leave(void **state) {
    (void)state;
    world w;
    ask *asks[N_ASKS];
    sched_job *jobs[N_ASKS];
    world_up(&w, 6, 80, SPECULATE_MOST);
    make_all(&w, asks, true);
    for (int round = 0; round < 3; round++) {
        for (uint32_t i = 0; i < N_ASKS; i++) jobs[i] = submit_ask(&w, asks[i]);
        for (uint32_t i = 0; i < N_ASKS; i++) {
            answer a = {0};
            if ((i + (uint32_t)round) % 3 == 0) {
                pause_us(700 * (uint64_t)(1 + round));
                sched_job_release(w.s, jobs[i]);
                continue;
            }
            finish_job(&w, jobs[i], &a);
            assert_same_answer(&a, &plain[i]);
            free_answer(&a);
        }
    }
    for (uint32_t i = 0; i < N_ASKS; i++) free_ask(asks[i]);
    world_down(&w);
}

/* A model that drafts: this one itself, which is right wherever the likeliest is taken, and another, which is not. */
static void with_itself_to_guess(void **state) {
    (void)state;
    draft_path = model_path;
    answer_with(1, 0, false);
    answer_with(8, 0, false);
    answer_with(6, 14, true);
}

static void with_another_to_guess(void **state) {
    static model_file f;
    char other[80];
    snprintf(other, sizeof other, "%s.other", model_path);
    model_file_make(&f, &(model_spec){.n_vocab = 300,
                                      .n_layers = 1,
                                      .n_embd = 2 * MODEL_WIDTH,
                                      .n_heads = 2,
                                      .n_kv_heads = 1,
                                      .n_ff = 160,
                                      .context = CONTEXT / 2,
                                      .type = DTYPE_Q8_0,
                                      .vocabulary = true,
                                      .seed = 6});
    model_file_write(&f, other);
    model_file_free(&f);
    draft_path = other;
    least_right = 0; /* another model is right by chance alone */
    answer_with(6, 14, true);
    beside_some_who_leave(state);
    draft_path = NULL;
    unlink(other);
}

static void off_for_a_request(void **state) {
    (void)state;
    world w;
    world_up(&w, 1, 0, SPECULATE_MOST);
    ask *q = make(&w, 0);
    answer a = answer_to(&w, q);
    assert_same_answer(&a, &plain[0]);
    assert_int_equal(a.usage.drafted_tokens, 0);
    free_answer(&a);
    free_ask(q);
    world_down(&w);
}

static void forget_plain(void **state) {
    (void)state;
    for (uint32_t i = 0; i < N_ASKS; i++) free_answer(&plain[i]);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(answer_plainly),
        cmocka_unit_test(alone),
        cmocka_unit_test(beside_others),
        cmocka_unit_test(preempted),
        cmocka_unit_test(parked_by_prompts),
        cmocka_unit_test(off_for_a_request),
        cmocka_unit_test(beside_some_who_leave),
        cmocka_unit_test(with_itself_to_guess),
        cmocka_unit_test(with_another_to_guess),
        cmocka_unit_test(forget_plain),
    };
    return cmocka_run_group_tests_name("sched_speculate", tests, up, model_down);
}
