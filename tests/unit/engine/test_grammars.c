/* Grammars with the built-in model: what it says is what they ask for; the room for them is bounded; nothing else
 * changes. */
#include "../test.h"

#include <stdio.h>

#include "base/json.h"
#include "engine/generation.h"
#include "engine/internal.h"

static mem_ledger ledger;
static engine *en;
static engine_plan plan;

static int up(void **state) {
    (void)state;
    engine_config c;
    err e = {0};
    engine_config_default(&c);
    c.n_context = 1024;
    c.n_sessions = 2;
    c.n_threads = 1;
    c.n_drafts = SPECULATE_MOST;
    c.grammar_bytes = 1 << 20;
    mem_ledger_init(&ledger, UINT64_MAX);
    assert_ok(en = engine_prepare(&c, &ledger, &e), e);
    plan = (engine_plan){.rows.line_bytes = 512 << 20};
    assert_ok(engine_plan_make(en, &plan, &e), e);
    assert_ok(engine_load(en, &plan, NULL, NULL, &e), e);
    return 0;
}

static int down(void **state) {
    (void)state;
    mem_ledger_view v;
    engine_free(en);
    mem_ledger_read(&ledger, &v);
    assert_int_equal(v.now_bytes, 0);
    return 0;
}

static engine_grammar *get(text_grammar_kind kind, const char *source) {
    err e = {0};
    engine_grammar *g = engine_grammar_get(en, kind, str_of(source), &e);
    if (!g) fail_msg("%s: %s", source, e.message);
    return g;
}

/* ---- what is said ---- */

typedef struct said {
    char text[16384];
    size_t len;
    uint32_t n_tokens, n_accepted;
    engine_finish finish;
    int32_t tokens[1024];
    err failure;
} said;

static bool keep(void *ctx, str text) {
    said *s = ctx;
    memcpy(s->text + s->len, text.data, text.len);
    s->len += text.len;
    s->text[s->len] = 0;
    return true;
}

typedef struct asked {
    const char *prompt;
    engine_grammar *grammar;
    float temperature;
    uint64_t seed;
    uint32_t max_tokens;
    bool speculate, ignore_end;
    const char *stop;
} asked;

static bool say(const asked *a, said *out) {
    static const base_alloc *heap;
    static test_alloc memory;
    engine_sampling sampling;
    engine_generation g = {0};
    engine_stop stop = {0};
    err e = {0};
    size_t n;
    if (!heap) test_alloc_init(&memory, 0), heap = &memory.alloc;
    *out = (said){0};
    engine_sampling_default(&sampling);
    sampling.temperature = a->temperature;
    sampling.top_k = 0, sampling.top_p = 1, sampling.min_p = 0;
    sampling.seed = a->seed;
    sampling.grammar = a->grammar;
    sampling.ignore_end = a->ignore_end;
    text_scratch *scratch = text_scratch_new(en->vocab, heap);
    assert_ok(text_encode(en->vocab, scratch, str_of(a->prompt), true, false, out->tokens, 512, &n, &e), e);
    text_scratch_free(scratch);
    engine_session *session = engine_session_open(en, NULL, &e);
    g = (engine_generation){.en = en,
                            .session = session,
                            .sampling = &sampling,
                            .tokens = out->tokens,
                            .n_prompt = (uint32_t)n,
                            .max_tokens = a->max_tokens,
                            .speculate = a->speculate,
                            .stops = &stop};
    if (a->stop) {
        stop.len = (uint16_t)strlen(a->stop);
        memcpy(stop.text, a->stop, stop.len);
        g.n_stops = 1;
    }
    bool ok = engine_generation_run(&g, keep, out, &out->failure);
    out->n_tokens = g.n_generated;
    out->n_accepted = g.n_accepted;
    out->finish = g.finish;
    engine_session_close(en, session);
    return ok;
}

static bool ignore_event(void *ctx, const json_event *v, err *e) {
    (void)ctx, (void)v, (void)e;
    return true;
}

static void check_json(const said *s) {
    test_alloc memory;
    err e = {0};
    test_alloc_init(&memory, 0);
    if (!json_parse(&memory.alloc, (str){s->text, s->len}, ignore_event, NULL, &e))
        fail_msg("%s: %s", s->text, e.message);
    assert_int_equal(memory.outstanding_bytes, 0);
}

static const char person[] =
    "{\"type\":\"object\",\"properties\":{\"name\":{\"type\":\"string\",\"maxLength\":12},\"age\":{\"type\":"
    "\"integer\",\"minimum\":0,"
    "\"maximum\":130},\"kind\":{\"enum\":[\"cat\",\"dog\",\"bird\"]},\"tags\":{\"type\":\"array\",\"items\":{"
    "\"type\":\"string\","
    "\"maxLength\":5},\"maxItems\":3}},\"required\":[\"name\",\"age\",\"kind\"],\"additionalProperties\":false}";

static void what_is_said_is_what_was_asked(void **state) {
    (void)state;
    engine_grammar *g = get(TEXT_GRAMMAR_SCHEMA, person);
    for (uint64_t seed = 0; seed < 10; seed++) {
        static said s;
        asked a = {"Once upon a time", g, seed ? 1.0f : 0.0f, seed, 200, false, seed % 2 == 1, NULL};
        assert_ok(say(&a, &s), s.failure);
        assert_int_equal(s.finish, ENGINE_FINISH_STOP);
        check_json(&s);
        assert_non_null(strstr(s.text, "\"kind\":"));
    }
    engine_grammar_release(en, g);
}

static void guesses_change_nothing(void **state) {
    (void)state;
    engine_grammar *g =
        get(TEXT_GRAMMAR_SCHEMA,
            "{\"type\":\"array\",\"items\":{\"type\":\"object\",\"properties\":{\"first_name\":{\"enum\":"
            "[\"Lily\",\"Tom\"]},\"happy\":{\"type\":\"boolean\"}},\"required\":[\"first_name\",\"happy\"],"
            "\"additionalProperties\":false},\"minItems\":12,\"maxItems\":12}");
    uint32_t accepted = 0;
    for (uint64_t seed = 0; seed < 4; seed++) {
        static said with, without;
        asked a = {"Once", g, seed ? 1.0f : 0.0f, seed, 600, false, false, NULL};
        assert_ok(say(&a, &without), without.failure);
        a.speculate = true;
        assert_ok(say(&a, &with), with.failure);
        assert_string_equal(with.text, without.text);
        accepted += with.n_accepted;
        check_json(&with);
    }
    assert_true(accepted > 0);
    engine_grammar_release(en, g);
}

static void forgetting_changes_nothing(void **state) {
    (void)state;
    engine_grammar *g = get(TEXT_GRAMMAR_SCHEMA, person);
    static said first, second;
    asked a = {"Once", g, 1, 7, 200, false, false, NULL};
    assert_ok(say(&a, &first), first.failure);
    (void)text_grammar_machine_init(en->grammars.machine, en->token_index); /* all states and masks are gone */
    assert_ok(say(&a, &second), second.failure);
    assert_string_equal(first.text, second.text);
    engine_grammar_release(en, g);
}

static void ends(void **state) {
    (void)state;
    static said s;
    engine_grammar *g = get(TEXT_GRAMMAR_GBNF, "root ::= \"yes\" | \"no\"");
    asked a = {"Once", g, 1, 3, 50, false, false, NULL};
    assert_ok(say(&a, &s), s.failure);
    assert_true(!strcmp(s.text, "yes") || !strcmp(s.text, "no"));
    assert_int_equal(s.finish, ENGINE_FINISH_STOP);
    a.ignore_end = true; /* nothing but the end is possible */
    assert_ok(say(&a, &s), s.failure);
    assert_true(!strcmp(s.text, "yes") || !strcmp(s.text, "no"));
    engine_grammar_release(en, g);

    g = get(TEXT_GRAMMAR_GBNF, "root ::= [a-z ]{400}");
    a = (asked){"Once", g, 1, 3, 20, false, false, NULL};
    assert_ok(say(&a, &s), s.failure); /* cut */
    assert_int_equal(s.finish, ENGINE_FINISH_LENGTH);
    engine_grammar_release(en, g);

    g = get(TEXT_GRAMMAR_GBNF, "root ::= \"one two three four\"");
    a = (asked){"Once", g, 0, 3, 50, false, false, " three"};
    assert_ok(say(&a, &s), s.failure);
    assert_string_equal(s.text, "one two");
    engine_grammar_release(en, g);
}

static void a_token_that_is_named(void **state) {
    (void)state;
    static said s;
    char source[64];
    text_token end = text_vocab_eos(en->vocab), control = TEXT_NO_TOKEN;
    for (uint32_t t = 0; t < text_vocab_size(en->vocab); t++)
        if (text_vocab_type(en->vocab, (text_token)t) == TEXT_CONTROL &&
            !text_vocab_is_eog(en->vocab, (text_token)t))
            control = (text_token)t;
    assert_true(end >= 0);
    if (control == TEXT_NO_TOKEN) skip();
    snprintf(source, sizeof source, "root ::= \"a\" <[%d]> \"b\"", control);
    engine_grammar *g = get(TEXT_GRAMMAR_GBNF, source);
    asked a = {"Once", g, 1, 3, 50, false, false, NULL};
    assert_ok(say(&a, &s), s.failure);
    assert_int_equal(s.finish, ENGINE_FINISH_STOP);
    engine_grammar_release(en, g);
}

static void an_end_that_is_named_may_stand_inside(void **state) {
    (void)state;
    static said s;
    char source[96];
    int32_t end = text_vocab_eos(en->vocab);
    snprintf(source, sizeof source, "root ::= \"a\" <[%d]> \"b\" <[%d]>", end, end);
    engine_grammar *g = get(TEXT_GRAMMAR_GBNF, source);
    asked a = {"Once", g, 1, 3, 50, true, false, NULL};
    assert_ok(say(&a, &s), s.failure);
    assert_int_equal(s.finish, ENGINE_FINISH_STOP);
    assert_int_equal(s.n_tokens, 4); /* the second one is the text's end, too */
    assert_true(s.text[0] == 'a' && s.text[s.len - 1] == 'b');
    engine_grammar_release(en, g);
}

/* ---- the room ---- */

static void many_schemas_stay_bounded(void **state) {
    (void)state;
    mem_ledger_view before, after;
    engine_grammar_counts counts;
    mem_ledger_read(&ledger, &before);
    engine_grammar_read(en, &counts);
    uint64_t compiled = counts.compiled;
    for (int i = 0; i < 10000; i++) {
        char source[256];
        snprintf(source, sizeof source,
                 "{\"type\":\"object\",\"properties\":{\"field_%d\":{\"type\":\"integer\"},\"b\":{\"enum\":[\"x%"
                 "d\",\"y\"]}}}",
                 i, i * 7);
        engine_grammar_release(en, get(TEXT_GRAMMAR_SCHEMA, source));
    }
    mem_ledger_read(&ledger, &after);
    engine_grammar_read(en, &counts);
    assert_int_equal(counts.compiled - compiled, 10000);
    assert_int_equal(counts.in_use, 0);
    assert_true(counts.kept > 10 && counts.bytes <= 1 << 20);
    assert_int_equal(after.now_bytes, before.now_bytes);
    assert_int_equal(after.rows[MEM_GRAMMAR].now_bytes, plan.rows.bytes[MEM_GRAMMAR]);
    assert_int_equal(after.rows[MEM_GRAMMAR].peak_bytes, plan.rows.bytes[MEM_GRAMMAR]);
    engine_grammar *a = get(TEXT_GRAMMAR_SCHEMA, "{}"), *b = get(TEXT_GRAMMAR_SCHEMA, "{}");
    assert_ptr_equal(a, b);
    engine_grammar_release(en, a);
    engine_grammar_release(en, b);
}

/* What fits nowhere is refused after few tries, however many make way for it; then there is room again. */
static void too_large_for_all_of_the_room(void **state) {
    (void)state;
    static char source[1 << 18];
    engine_grammar_counts counts;
    for (int i = 0; i < 200; i++) {
        snprintf(source, sizeof source, "{\"const\":%d}", i);
        engine_grammar_release(en, get(TEXT_GRAMMAR_SCHEMA, source));
    }
    engine_grammar_read(en, &counts);
    uint64_t tries = counts.tries;
    assert_true(counts.kept >= 40);
    size_t n = (size_t)snprintf(source, sizeof source, "{\"enum\":[0");
    for (int i = 1; n < sizeof source - 32; i++) n += (size_t)snprintf(source + n, sizeof source - n, ",\"%d\"", i * 7919);
    snprintf(source + n, sizeof source - n, "]}");
    err e = {0};
    assert_null(engine_grammar_get(en, TEXT_GRAMMAR_SCHEMA, str_of(source), &e));
    assert_int_equal(e.code, ERR_TOO_LARGE);
    engine_grammar_read(en, &counts);
    assert_true(counts.tries > tries && counts.tries - tries <= 9);
    assert_int_equal(counts.kept, 0);
    engine_grammar_release(en, get(TEXT_GRAMMAR_SCHEMA, "{\"const\":1}"));
}

/* What was compiled as one kind is no grammar of another kind, whatever its text. */
static void kinds_are_told_apart(void **state) {
    (void)state;
    static const char *const texts[] = {"", "{}", "{\"type\":\"string\"}", "root ::= \"a\""};
    engine_grammar_release(en, get(TEXT_GRAMMAR_JSON_OBJECT, "of this nothing is read"));
    engine_grammar_release(en, get(TEXT_GRAMMAR_SCHEMA, texts[1]));
    engine_grammar_release(en, get(TEXT_GRAMMAR_SCHEMA, texts[2]));
    engine_grammar_release(en, get(TEXT_GRAMMAR_GBNF, texts[3]));
    for (int i = 0; i < 4; i++) {
        for (text_grammar_kind kind = TEXT_GRAMMAR_GBNF; kind <= TEXT_GRAMMAR_SCHEMA; kind++) {
            err e = {0};
            engine_grammar *g = engine_grammar_get(en, kind, str_of(texts[i]), &e);
            bool is = kind == TEXT_GRAMMAR_GBNF ? i == 3 : i == 1 || i == 2;
            if (is != (g != NULL)) fail_msg("'%s' as kind %d: %s", texts[i], (int)kind, g ? "taken" : e.message);
            if (!g) assert_int_equal(e.code, ERR_INVALID);
            engine_grammar_release(en, g);
        }
    }
    engine_grammar *any = get(TEXT_GRAMMAR_JSON_OBJECT, "{}"), *schema = get(TEXT_GRAMMAR_SCHEMA, "{}");
    assert_true(any != schema && any == get(TEXT_GRAMMAR_JSON_OBJECT, "{\"type\":\"string\"}"));
    engine_grammar_release(en, any), engine_grammar_release(en, any), engine_grammar_release(en, schema);
}

/* Two texts of the same length and the same hash: each is compiled, found again as itself, and says its own. */
static void texts_of_one_hash_are_told_apart(void **state) {
    (void)state;
    static const char *const words[] = {"JvlXKC8jidC", "yhXLmp0_oYO"};
    engine_grammar *found[2];
    char source[2][64];
    for (int i = 0; i < 2; i++) snprintf(source[i], sizeof source[i], "root ::= \"%s\"", words[i]);
    assert_true(str_hash(str_of(source[0])) == str_hash(str_of(source[1])));
    for (int i = 0; i < 2; i++) found[i] = get(TEXT_GRAMMAR_GBNF, source[i]);
    assert_ptr_not_equal(found[0], found[1]);
    for (int i = 0; i < 4; i++) {
        static said s;
        engine_grammar *g = get(TEXT_GRAMMAR_GBNF, source[i % 2]);
        assert_ptr_equal(g, found[i % 2]);
        asked a = {"Once", g, 0, 3, 50, false, false, NULL};
        assert_ok(say(&a, &s), s.failure);
        assert_string_equal(s.text, words[i % 2]);
        engine_grammar_release(en, g);
    }
    for (int i = 0; i < 2; i++) engine_grammar_release(en, found[i]);
}

/* What compilation takes moves where it does not fit any more, and what was in it moves with it. */
static void the_room_keeps_what_is_in_it(void **state) {
    (void)state;
    enum { BLOCKS = 4, MOST = 1 << 16 };
    const base_alloc *a = &en->grammars.alloc;
    unsigned char *blocks[BLOCKS] = {NULL};
    size_t bytes = 0;
    uint64_t before = en->grammars.blocks.used_bytes;
    for (size_t next = 100; next <= MOST; bytes = next, next += next / 3) { /* some fit into their block, some do not */
        for (size_t i = 0; i < BLOCKS; i++) {
            blocks[i] = a->resize(a->ctx, blocks[i], bytes, next);
            assert_non_null(blocks[i]);
            for (size_t k = 0; k < bytes; k++)
                if (blocks[i][k] != (unsigned char)(k * 31 + i)) fail_msg("byte %zu of %zu, grown to %zu", k, bytes, next);
            for (size_t k = 0; k < next; k++) blocks[i][k] = (unsigned char)(k * 31 + i);
        }
    }
    assert_null(a->resize(a->ctx, blocks[0], bytes, (size_t)1 << 30)); /* and stays where there is no room for more */
    for (size_t k = 0; k < bytes; k++) assert_int_equal(blocks[0][k], (unsigned char)(k * 31));
    assert_ptr_equal(a->resize(a->ctx, blocks[0], bytes, bytes / 2), blocks[0]);
    for (size_t k = 0; k < bytes / 2; k++) assert_int_equal(blocks[0][k], (unsigned char)(k * 31));
    for (size_t i = 0; i < BLOCKS; i++) assert_null(a->resize(a->ctx, blocks[i], bytes, 0));
    assert_int_equal(en->grammars.blocks.used_bytes, before);
}

static void those_in_use_stay(void **state) {
    (void)state;
    static engine_grammar *held[1000];
    err e = {0};
    uint32_t n = 0;
    for (; n < 1000; n++) {
        char source[64];
        snprintf(source, sizeof source, "{\"const\":%u}", n);
        if (!(held[n] = engine_grammar_get(en, TEXT_GRAMMAR_SCHEMA, str_of(source), &e))) break;
    }
    assert_true(n > 20 && n < 1000);
    assert_int_equal(e.code, ERR_BUSY);
    engine_grammar_release(en, held[0]);
    held[0] = get(TEXT_GRAMMAR_SCHEMA, "{\"const\":\"again\"}");
    for (uint32_t i = 0; i < n; i++) engine_grammar_release(en, held[i]);

    size_t len = (1 << 20) - 64; /* larger than all of the room, compiled */
    char *large = malloc(len + 16);
    size_t at = (size_t)sprintf(large, "root ::= ");
    while (at < len) at += (size_t)sprintf(large + at, "\"a\" ");
    assert_null(engine_grammar_get(en, TEXT_GRAMMAR_GBNF, (str){large, at}, &e));
    assert_true(e.code == ERR_TOO_LARGE || e.code == ERR_INVALID);
    free(large);
    assert_null(engine_grammar_get(en, TEXT_GRAMMAR_SCHEMA, STR("{\"uniqueItems\":true}"), &e));
    assert_string_equal(e.message, "schema at /: 'uniqueItems' is supported of items that have an 'enum', are booleans, constants or integers of a small range, and of one item at most ('maxItems': 1)");
    assert_int_equal(e.code, ERR_INVALID);
}

/* What was used last stays, whatever comes; what is found is not compiled. */
static void the_one_used_longest_ago_goes(void **state) {
    (void)state;
    engine_grammar_counts before, after;
    engine_grammar_read(en, &before);
    uint32_t n = 0;
    for (bool full = false; n < 600; n++) {
        char source[64];
        engine_grammar_release(en, get(TEXT_GRAMMAR_SCHEMA, "{\"const\":\"used all the time\"}"));
        snprintf(source, sizeof source, "{\"const\":\"%u once\"}", n);
        engine_grammar_read(en, &after);
        uint32_t kept = after.kept;
        engine_grammar_release(en, get(TEXT_GRAMMAR_SCHEMA, source));
        engine_grammar_read(en, &after);
        full |= after.kept <= kept; /* something made way */
        if (n >= 400) assert_true(full);
    }
    assert_int_equal(after.compiled - before.compiled, n + 1);
    assert_int_equal(after.found - before.found, n - 1);
    for (uint32_t i = n - 20; i < n; i++) { /* and the newest are there, too */
        char source[64];
        snprintf(source, sizeof source, "{\"const\":\"%u once\"}", i);
        engine_grammar_release(en, get(TEXT_GRAMMAR_SCHEMA, source));
    }
    engine_grammar_read(en, &after);
    assert_int_equal(after.compiled - before.compiled, n + 1);
}

/* Twice in use is one in use. */
static void those_in_use_are_counted_once(void **state) {
    (void)state;
    engine_grammar_counts counts;
    engine_grammar *a = get(TEXT_GRAMMAR_SCHEMA, "{\"const\":1}"), *b = get(TEXT_GRAMMAR_SCHEMA, "{\"const\":1}");
    engine_grammar *c = engine_grammar_hold(en, get(TEXT_GRAMMAR_SCHEMA, "{\"const\":2}"));
    engine_grammar_read(en, &counts);
    assert_int_equal(counts.in_use, 2);
    engine_grammar_release(en, a), engine_grammar_release(en, c), engine_grammar_release(en, c);
    engine_grammar_read(en, &counts);
    assert_int_equal(counts.in_use, 1);
    engine_grammar_release(en, b);
}

/* The room is a power of two: the largest that is no more than what was given. */
static void the_room_is_rounded_down(void **state) {
    (void)state;
    uint64_t given = en->config.grammar_bytes;
    size_t whole = engine_grammars_bytes(en);
    en->config.grammar_bytes = given + given / 2;
    assert_int_equal(engine_grammars_bytes(en), whole);
    en->config.grammar_bytes = 2 * given;
    assert_true(engine_grammars_bytes(en) > whole + given / 2);
    en->config.grammar_bytes = given;
}

/* What a text has spent is its own: it stays when its states are forgotten, and another text begins with nothing. A
 * token that does not fit is found out before the next mask. */
static void the_account_is_the_texts(void **state) {
    (void)state;
    enum { SPENT = 1000000 };
    engine_grammar *one = get(TEXT_GRAMMAR_SCHEMA, person), *two = get(TEXT_GRAMMAR_GBNF, "root ::= [a-z]+");
    text_grammar_cursor c = {.spent = SPENT};
    err e = {0};
    assert_non_null(engine_grammar_mask(en, two, &c, NULL, 0, &e));
    assert_true(c.spent < SPENT);
    c.spent = SPENT, c.state = 0; /* as if its state were forgotten */
    assert_non_null(engine_grammar_mask(en, two, &c, NULL, 0, &e));
    assert_true(c.spent >= SPENT);
    assert_non_null(engine_grammar_mask(en, one, &c, NULL, 0, &e));
    assert_true(c.spent < SPENT);

    const uint64_t *mask = engine_grammar_mask(en, two, &c, NULL, 0, &e);
    int32_t wrong = 0;
    while (mask[wrong / 64] >> wrong % 64 & 1) wrong++;
    assert_false(text_vocab_is_eog(en->vocab, wrong));
    assert_false(engine_grammar_accept(en, &c, wrong));
    assert_null(engine_grammar_mask(en, two, &c, &wrong, 1, &e));
    engine_grammar_release(en, one), engine_grammar_release(en, two);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_room_keeps_what_is_in_it), /* first: no grammar lies in it yet */
        cmocka_unit_test(what_is_said_is_what_was_asked), cmocka_unit_test(guesses_change_nothing),
        cmocka_unit_test(forgetting_changes_nothing),     cmocka_unit_test(ends),
        cmocka_unit_test(a_token_that_is_named),          cmocka_unit_test(an_end_that_is_named_may_stand_inside),
        cmocka_unit_test(many_schemas_stay_bounded),      cmocka_unit_test(those_in_use_stay),
        cmocka_unit_test(too_large_for_all_of_the_room), cmocka_unit_test(kinds_are_told_apart),
        cmocka_unit_test(the_one_used_longest_ago_goes), cmocka_unit_test(those_in_use_are_counted_once),
        cmocka_unit_test(the_room_is_rounded_down), cmocka_unit_test(the_account_is_the_texts),
        cmocka_unit_test(texts_of_one_hash_are_told_apart),
    };
    return cmocka_run_group_tests(tests, up, down);
}
