/* A generation: what is fed, what is shown, how it ends. Logits are made up, so each test says which token comes. */
#include "../test.h"

#include "base/str.h"
#include "engine/generation.h"
#include "hand_engine.h"

static const char *const words[] = {"a",
                                    "b",
                                    "ab",
                                    "ba",
                                    "abc",
                                    "\xe2\x96\x81",
                                    "\xe2\x96\x81"
                                    "a",
                                    "\xc3\xa9",
                                    "\xe6\x97\xa5\xe6\x9c\xac",
                                    "STOP",
                                    "ST",
                                    "OP",
                                    "x"};
enum {
    N_WORDS = sizeof words / sizeof *words,
    A = HAND_WORDS,
    B,
    AB,
    BA,
    ABC,
    SPACE,
    SPACE_A,
    E_ACUTE,
    NIHON,
    STOP,
    ST,
    OP,
    X,
    N_VOCAB
};

static test_alloc memory;
static engine *en;

static int up(void **state) {
    (void)state;
    test_alloc_init(&memory, 0);
    en = hand_engine(N_VOCAB);
    en->vocab = hand_vocab(words, N_WORDS, &memory.alloc);
    engine_mark_eog(en);
    return 0;
}

static int down(void **state) {
    (void)state;
    hand_engine_free(en);
    assert_int_equal(memory.outstanding_bytes, 0);
    return 0;
}

/* One generation and all it has said. */
typedef struct talk {
    engine_generation g;
    engine_sampling sampling;
    engine_stop stops[GENERATION_STOPS_MAX];
    int32_t tokens[4096];
    char said[65536];
    size_t n_said;
} talk;

static void add_stop(talk *t, const char *text, size_t len) {
    engine_stop *s = &t->stops[t->g.n_stops++];
    s->len = (uint16_t)len;
    memcpy(s->text, text, len);
}

static void begin(talk *t, uint32_t n_prompt, uint32_t max_tokens) {
    engine_sampling_default(&t->sampling);
    t->sampling.temperature = 0;
    t->n_said = 0;
    for (uint32_t i = 0; i < n_prompt; i++) t->tokens[i] = A;
    uint32_t n_stops = t->g.n_stops;
    t->g = (engine_generation){.en = en,
                               .sampling = &t->sampling,
                               .stops = t->stops,
                               .n_stops = n_stops,
                               .tokens = t->tokens,
                               .n_prompt = n_prompt,
                               .max_tokens = max_tokens};
    engine_generation_start(&t->g);
}

/* Lets the model want token; returns what is shown for it. */
static str say(talk *t, int32_t token) {
    static float logits[N_VOCAB];
    engine_batch_item item;
    engine_sample sample;
    str text = STR("?");
    memset(logits, 0, sizeof logits);
    logits[token] = 9;
    do {
        engine_generation_next_item(&t->g, 64, &item);
    } while (!engine_generation_accept(&t->g, &item, item.want == ENGINE_WANT_LAST ? logits : NULL, &sample, &text));
    assert_int_equal(sample.token, token);
    assert_int_equal(t->tokens[t->g.n_prompt + t->g.n_generated - 1], token);
    assert_true(utf8_valid(text));
    assert_true(t->n_said + text.len < sizeof t->said);
    memcpy(t->said + t->n_said, text.data, text.len);
    t->n_said += text.len;
    t->said[t->n_said] = 0;
    return text;
}
#define SAYS(t, token, expected)                                                                                       \
    do {                                                                                                               \
        str said_ = say(t, token);                                                                                     \
        if (!str_is(said_, expected)) fail_msg("'%.*s', not '%s'", STR_ARG(said_), expected);                          \
    } while (0)

static void feeds_the_prompt_in_pieces(void **state) {
    (void)state;
    static talk t;
    t.g.n_stops = 0;
    begin(&t, 10, 5);
    engine_batch_item item;
    engine_sample sample;
    str text;
    static float logits[N_VOCAB];
    static const uint32_t sizes[] = {3, 3, 3, 1};
    for (uint32_t i = 0, at = 0; i < 4; at += sizes[i++]) {
        engine_generation_next_item(&t.g, 3, &item);
        assert_int_equal(item.n_tokens, sizes[i]);
        assert_ptr_equal(item.tokens, t.tokens + at);
        assert_int_equal(item.want, i == 3 ? ENGINE_WANT_LAST : ENGINE_WANT_NONE);
        assert_int_equal(engine_generation_accept(&t.g, &item, i == 3 ? logits : NULL, &sample, &text), i == 3);
    }
    assert_int_equal(t.g.n_generated, 1);
    for (uint32_t i = 0; i < 4; i++) { /* then each token that came, alone */
        engine_generation_next_item(&t.g, 3, &item);
        assert_int_equal(item.n_tokens, 1);
        assert_ptr_equal(item.tokens, t.tokens + 10 + i);
        assert_int_equal(item.want, ENGINE_WANT_LAST);
        assert_true(engine_generation_accept(&t.g, &item, logits, &sample, &text));
    }
    assert_int_equal(t.g.finish, ENGINE_FINISH_LENGTH);
    assert_string_equal(engine_finish_name(t.g.finish), "length");
    assert_int_equal(t.g.stopped_by, -1);
}

static void a_stop_across_tokens(void **state) {
    (void)state;
    static talk t;
    t.g.n_stops = 0;
    add_stop(&t, "STOP", 4);
    begin(&t, 1, 100);
    SAYS(&t, X, "x");
    SAYS(&t, ST, "");   /* could become one */
    SAYS(&t, A, "STa"); /* did not */
    SAYS(&t, ST, "");
    SAYS(&t, ST, "ST");
    SAYS(&t, OP, "");
    assert_int_equal(t.g.finish, ENGINE_FINISH_STOP);
    assert_int_equal(t.g.stopped_by, 0);
    assert_string_equal(t.said, "xSTaST");
}

static void the_earliest_stop_wins(void **state) {
    (void)state;
    static talk t;
    t.g.n_stops = 0;
    add_stop(&t, "c", 1);
    add_stop(&t, "bc", 2);
    add_stop(&t, "zz", 2);
    begin(&t, 1, 100);
    SAYS(&t, ABC, "a");
    assert_int_equal(t.g.stopped_by, 1);
    t.g.n_stops = 0;
    add_stop(&t, "ab", 2);
    add_stop(&t, "abc", 3); /* at the same place the first one named */
    begin(&t, 1, 100);
    SAYS(&t, ABC, "");
    assert_int_equal(t.g.stopped_by, 0);
}

static void held_text_is_released_at_the_end(void **state) {
    (void)state;
    static talk t;
    t.g.n_stops = 0;
    add_stop(&t, "STOP", 4);
    begin(&t, 1, 2);
    SAYS(&t, X, "x");
    SAYS(&t, ST, "ST"); /* the limit: nothing follows */
    assert_int_equal(t.g.finish, ENGINE_FINISH_LENGTH);
    begin(&t, 1, 10);
    SAYS(&t, ST, "");
    SAYS(&t, HAND_EOS, "ST"); /* the model's own end, which says nothing itself */
    assert_int_equal(t.g.finish, ENGINE_FINISH_STOP);
    assert_int_equal(t.g.stopped_by, -1);
    begin(&t, 1, 2); /* a stop in the last token allowed is a stop */
    SAYS(&t, ST, "");
    SAYS(&t, OP, "");
    assert_int_equal(t.g.finish, ENGINE_FINISH_STOP);
    assert_string_equal(engine_finish_name(t.g.finish), "stop");
}

static void characters_stay_whole(void **state) {
    (void)state;
    static talk t;
    t.g.n_stops = 0;
    begin(&t, 1, 10);
    SAYS(&t, HAND_BYTES + 0xE6, "");
    SAYS(&t, HAND_BYTES + 0x97, "");
    SAYS(&t, HAND_BYTES + 0xA5, "\xe6\x97\xa5");
    SAYS(&t, HAND_BYTES + 0xC3, "");
    SAYS(&t, X, "\xef\xbf\xbdx"); /* a beginning that nothing continued */
    begin(&t, 1, 2);
    SAYS(&t, X, "x");
    SAYS(&t, HAND_BYTES + 0xC3, "\xef\xbf\xbd"); /* and one that the limit cut */
    begin(&t, 1, 3);
    SAYS(&t, HAND_BYTES + 0xE6, "");
    SAYS(&t, HAND_EOS, "\xef\xbf\xbd");
}

static void the_longest_stops(void **state) {
    (void)state;
    static talk t;
    char text[GENERATION_STOP_BYTES];
    t.g.n_stops = 0;
    memset(text, 'a', sizeof text);
    add_stop(&t, text, sizeof text);
    begin(&t, 1, 1000);
    for (int i = 0; i < 255; i++) SAYS(&t, A, "");
    SAYS(&t, B, (memset(text, 'a', 255), text[255] = 0, strcat(memcpy((char[300]){0}, text, 256), "b")));
    for (int i = 0; i < 255; i++) SAYS(&t, A, "");
    SAYS(&t, A, "");
    assert_int_equal(t.g.finish, ENGINE_FINISH_STOP);
    assert_int_equal(t.n_said, 256);
}

static void ignoring_the_end(void **state) {
    (void)state;
    static talk t;
    static float logits[N_VOCAB];
    engine_batch_item item;
    engine_sample sample;
    str text;
    t.g.n_stops = 0;
    begin(&t, 1, 3);
    t.sampling.ignore_end = true;
    logits[HAND_EOS] = 9, logits[X] = 8;
    for (int i = 0; i < 3; i++) {
        assert_int_equal(t.g.finish, ENGINE_RUNNING);
        engine_generation_next_item(&t.g, 1, &item);
        engine_generation_accept(&t.g, &item, logits, &sample, &text);
        assert_int_equal(sample.token, X);
    }
    assert_int_equal(t.g.finish, ENGINE_FINISH_LENGTH);
}

static void stop_tokens_end_the_text(void **state) {
    (void)state;
    static talk t;
    for (int shown = 0; shown < 2; shown++) {
        t.g.n_stops = 0;
        begin(&t, 1, 9);
        t.sampling.n_stop_ids = 1, t.sampling.ids[0] = X, t.sampling.show_stop = shown;
        SAYS(&t, A, "a");
        SAYS(&t, X, shown ? "x" : "");
        assert_int_equal(t.g.finish, ENGINE_FINISH_STOP);
        assert_int_equal(t.g.stopped_by, -1);
    }
}

/* Neither an end nor a stop before so many tokens; a stop does not reach back before them. */
static void min_tokens(void **state) {
    (void)state;
    static talk t;
    t.g.n_stops = 0;
    add_stop(&t, "ab", 2);
    begin(&t, 1, 9);
    t.sampling.min_tokens = 3;
    SAYS(&t, A, "a");
    SAYS(&t, B, "b");
    SAYS(&t, A, "");
    SAYS(&t, B, "");
    assert_int_equal(t.g.finish, ENGINE_FINISH_STOP);
    assert_int_equal(t.g.stopped_by, 0);
    assert_string_equal(t.said, "ab");
}

static void a_stop_may_be_shown(void **state) {
    (void)state;
    static talk t;
    t.g.n_stops = 0;
    add_stop(&t, "bc", 2);
    begin(&t, 1, 9);
    t.sampling.show_stop = true;
    SAYS(&t, A, "a");
    SAYS(&t, ABC, "abc");
    assert_int_equal(t.g.finish, ENGINE_FINISH_STOP);
    t.g.n_stops = 0;
    begin(&t, 1, 9);
    t.sampling.show_special = true;
    SAYS(&t, HAND_BOS, "<s>");
    SAYS(&t, HAND_EOS, "");
    assert_int_equal(t.g.finish, ENGINE_FINISH_STOP);
}

/* ---- the whole, against a definition ---- */

/* Where in the text the first stop begins; the text's length when there is none. */
static size_t first_stop(const talk *t, const char *text, size_t len) {
    for (size_t at = 0; at < len; at++)
        for (uint32_t i = 0; i < t->g.n_stops; i++)
            if (t->stops[i].len <= len - at && !memcmp(text + at, t->stops[i].text, t->stops[i].len)) return at;
    return len;
}

/* How much of the end of the text could still become a stop. */
static size_t held_back(const talk *t, const char *text, size_t len) {
    for (size_t n = len < GENERATION_STOP_BYTES ? len : GENERATION_STOP_BYTES; n > 0; n--)
        for (uint32_t i = 0; i < t->g.n_stops; i++)
            if (n < t->stops[i].len && !memcmp(text + len - n, t->stops[i].text, n)) return n;
    return 0;
}

static int32_t random_token(rng *r) {
    uint64_t what = rng_next(r) % 40;
    if (what == 0) return HAND_BYTES + (int32_t)(rng_next(r) % 256); /* any byte: often half a character */
    if (what == 1) return HAND_BYTES + 0xC3;
    if (what == 2) return HAND_BYTES + 0xA9;
    if (what == 3 && rng_next(r) % 20 == 0) return HAND_EOS;
    return A + (int32_t)(rng_next(r) % N_WORDS);
}

static void random_stops(talk *t, rng *r) {
    static const char *const letters[] = {"a",           "b", "c", " ", "ST", "O", "P", "\xc3\xa9", "\xe6\x97\xa5",
                                          "\xef\xbf\xbd"};
    t->g.n_stops = 0;
    for (uint64_t n = rng_next(r) % 5; n > 0; n--) {
        char text[64] = "";
        for (uint64_t k = 1 + rng_next(r) % 6; k > 0; k--) strcat(text, letters[rng_next(r) % 10]);
        add_stop(t, text, strlen(text));
    }
}

static void what_is_shown_is_the_text_up_to_the_stop(void **state) {
    (void)state;
    static talk t;
    static char all[65536];
    int by_stop = 0, by_end = 0, by_length = 0;
    rng r;
    rng_seed(&r, 1);
    for (int round = 0; round < 3000; round++) {
        text_stream stream;
        size_t n = 0;
        random_stops(&t, &r);
        uint32_t max_tokens = 1 + (uint32_t)(rng_next(&r) % 60);
        begin(&t, 1 + (uint32_t)(rng_next(&r) % 5), max_tokens);
        text_stream_init(&stream, en->vocab, false, false);
        while (t.g.finish == ENGINE_RUNNING) {
            int32_t token = random_token(&r);
            say(&t, token);
            if (token != HAND_EOS) n += text_stream_push(&stream, token, all + n);
            bool last = token == HAND_EOS || t.g.n_generated == max_tokens;
            if (last) n += text_stream_finish(&stream, all + n);
            size_t stop = first_stop(&t, all, n);
            assert_int_equal(t.g.finish != ENGINE_RUNNING, last || stop < n);
            assert_int_equal(t.g.stopped_by >= 0, stop < n);
            assert_int_equal(t.n_said, stop < n ? stop : last ? n : n - held_back(&t, all, n));
            assert_memory_equal(t.said, all, t.n_said);
            if (stop < n)
                by_stop++;
            else if (last && token == HAND_EOS)
                by_end++;
            else if (last)
                by_length++;
        }
    }
    assert_true(by_stop > 300 && by_end > 50 && by_length > 300);
}

/* ---- how long it may think ---- */

static const text_reply_format thinker = {.family = TEXT_REPLY_FAMILY_HERMES, .thinks = true, .think_open = STR("ST"), .think_close = STR("OP")};

static void begin_thinking(talk *t, bool begun, uint32_t budget) {
    t->g.n_stops = 0;
    begin(t, 2, 40);
    t->sampling.thinking = (engine_thinking){.limited = true, .begun = begun, .budget = budget, .n_close = 3, .close = {X, OP, X}};
    t->g.words = &thinker;
    engine_generation_start(&t->g);
}

/* Lets the model want token, and another come. */
static void comes(talk *t, int32_t token, int32_t instead) {
    static float logits[N_VOCAB];
    engine_batch_item item;
    engine_sample sample;
    str text;
    memset(logits, 0, sizeof logits);
    logits[token] = 9;
    engine_generation_next_item(&t->g, 64, &item);
    assert_true(engine_generation_accept(&t->g, &item, logits, &sample, &text));
    assert_int_equal(sample.token, instead);
}

static void a_thought_ends_when_its_budget_is_spent(void **state) {
    (void)state;
    static talk t;
    begin_thinking(&t, true, 2);
    comes(&t, A, A), comes(&t, B, B);
    comes(&t, A, X), comes(&t, A, OP), comes(&t, A, X);
    for (int i = 0; i < 5; i++) comes(&t, A, A);
    begin_thinking(&t, true, 0); /* none at all */
    comes(&t, A, X), comes(&t, B, OP), comes(&t, A, X), comes(&t, B, B);
    begin_thinking(&t, false, 1); /* it begins itself; blanks may come before */
    comes(&t, SPACE, SPACE), comes(&t, ST, ST), comes(&t, A, A), comes(&t, A, X), comes(&t, A, OP), comes(&t, A, X), comes(&t, A, A);
    begin_thinking(&t, false, 1); /* what stands later is none */
    comes(&t, A, A), comes(&t, ST, ST);
    for (int i = 0; i < 5; i++) comes(&t, A, A);
    begin_thinking(&t, true, 3); /* it ends in time, in pieces or whole */
    comes(&t, A, A), comes(&t, STOP, STOP);
    for (int i = 0; i < 5; i++) comes(&t, B, B);
    begin_thinking(&t, true, 1);
    t.g.words = NULL; /* no words, no thoughts */
    engine_generation_start(&t.g);
    for (int i = 0; i < 5; i++) comes(&t, B, B);
}

/* A function of the tokens alone: within a character nothing is cut, and where a grammar forbids it nothing is forced. */
static void the_end_of_a_thought_waits_for_what_may_be(void **state) {
    (void)state;
    engine_thinking how = {.limited = true, .begun = true, .budget = 1, .n_close = 2, .close = {3, 70}};
    engine_thought t;
    uint64_t all[2] = {~0ull, ~0ull}, not_first[2] = {~8ull, ~0ull}, not_second[2] = {~0ull, ~64ull};
    engine_thought_begin(&t, &how, &thinker);
    assert_int_equal(engine_thought_due(&t, all), -1);
    engine_thought_note(&t, -1, STR("\xE6\x97"));
    assert_int_equal(engine_thought_due(&t, all), -1);
    engine_thought_note(&t, -1, STR("\xA5"));
    assert_int_equal(engine_thought_due(&t, not_first), -1);
    assert_int_equal(engine_thought_due(&t, all), 3);
    engine_thought_note(&t, 3, STR("\n"));
    assert_int_equal(engine_thought_due(&t, not_second), -1); /* and never again */
    engine_thought_note(&t, -1, STR("a"));
    assert_int_equal(engine_thought_due(&t, all), -1);
    engine_thought_begin(&t, &how, &thinker); /* one that begins again before anything is said is spent already */
    engine_thought_note(&t, -1, STR("Hm\nOP\n \nST"));
    assert_int_equal(engine_thought_due(&t, NULL), 3);
    engine_thought_note(&t, 3, STR("OP")), engine_thought_note(&t, 70, STR("\n"));
    assert_int_equal(engine_thought_due(&t, NULL), -1);
    engine_thought_note(&t, -1, STR("said ST")); /* and later there is none */
    assert_int_equal(engine_thought_due(&t, NULL), -1);
    text_reply_format harmony = {.family = TEXT_REPLY_FAMILY_HARMONY, .thinks = true};
    how.begun = false;
    engine_thought_begin(&t, &how, &harmony); /* thoughts begin anywhere, and one budget is for all of them */
    engine_thought_note(&t, -1, STR("<|channel|>"));
    engine_thought_note(&t, -1, STR("analysis"));
    engine_thought_note(&t, -1, STR("<|message|>"));
    engine_thought_note(&t, -1, STR("Hm"));
    assert_int_equal(engine_thought_due(&t, NULL), 3);
    engine_thought_note(&t, 3, STR("<|end|>"));
    assert_int_equal(engine_thought_due(&t, NULL), 70);
    engine_thought_note(&t, 70, STR("<|start|>assistant<|channel|>"));
    assert_int_equal(engine_thought_due(&t, NULL), -1);
    engine_thought_note(&t, -1, STR("analysis<|message|>"));
    assert_int_equal(engine_thought_due(&t, NULL), 3);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_thought_ends_when_its_budget_is_spent), cmocka_unit_test(the_end_of_a_thought_waits_for_what_may_be),
        cmocka_unit_test(feeds_the_prompt_in_pieces), cmocka_unit_test(a_stop_across_tokens),
        cmocka_unit_test(the_earliest_stop_wins),     cmocka_unit_test(held_text_is_released_at_the_end),
        cmocka_unit_test(characters_stay_whole),      cmocka_unit_test(the_longest_stops),
        cmocka_unit_test(stop_tokens_end_the_text),   cmocka_unit_test(min_tokens),
        cmocka_unit_test(a_stop_may_be_shown),
        cmocka_unit_test(ignoring_the_end),           cmocka_unit_test(what_is_shown_is_the_text_up_to_the_stop),
    };
    return cmocka_run_group_tests_name("engine_generation", tests, up, down);
}
