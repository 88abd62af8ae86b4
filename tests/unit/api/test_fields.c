/* The table of fields: each type and range, null, duplicates, unknown names, values of a shape of their own. */
#include "../test.h"

#include <stdio.h>

#include "api/core/fields.h"

typedef struct target {
    bool flag;
    uint32_t count;
    int32_t offset;
    uint64_t seed;
    float ratio;
    uint32_t word, answer;
    int n_events, deepest, sum;
} target;

static bool on_list(void *ctx, const json_event *ev, int depth, err *e) {
    target *t = ctx;
    t->n_events++;
    if (depth > t->deepest) t->deepest = depth;
    if (ev->kind == JSON_INT) t->sum += (int)ev->integer;
    if (ev->kind == JSON_STRING) return err_set(e, ERR_INVALID, "'list' holds a string");
    return true;
}

static const char *const types_of_kv[] = {"f16", "q8", "q4", NULL}, *const answers[] = {"no", "yes", NULL};

#define AT(member) offsetof(target, member)
static const field table[] = {
    {"flag", FIELD_BOOL, AT(flag)},
    {"count", FIELD_U32, AT(count), 1, UINT32_MAX},
    {"offset", FIELD_I32, AT(offset), -5, INT32_MAX},
    {"seed", FIELD_U64, AT(seed), 0, 9007199254740992.0},
    {"ratio", FIELD_FLOAT, AT(ratio), 0, 2},
    {"list", FIELD_CUSTOM, .events = on_list},
    {"word", FIELD_WORD, AT(word), .words = types_of_kv},
    {"answer", FIELD_WORD, AT(answer), .words = answers},
    {"model", FIELD_IGNORED},
};
enum { N_FIELDS = sizeof table / sizeof *table };

static uint64_t seen;

static bool parse(const char *text, bool allow_unknown, target *t, err *e) {
    test_alloc a;
    test_alloc_init(&a, 0);
    *t = (target){.count = 77, .word = 9};
    *e = (err){0};
    bool ok = fields_parse(&a.alloc, str_of(text), table, N_FIELDS, allow_unknown, t, &seen, e);
    assert_int_equal(a.outstanding_bytes, 0);
    return ok;
}

static target accept(const char *text) {
    target t;
    err e;
    if (!parse(text, false, &t, &e)) fail_msg("%s: %s", text, e.message);
    return t;
}

/* Refused as a fault of the request, in words that hold the expected ones. */
static void refuse(const char *text, const char *words) {
    target t;
    err e;
    if (parse(text, false, &t, &e)) fail_msg("%s was accepted", text);
    assert_int_equal(e.code, ERR_INVALID);
    if (!strstr(e.message, words)) fail_msg("%s: '%s' does not say '%s'", text, e.message, words);
}

static void types(void **state) {
    (void)state;
    target t =
        accept("{\"flag\": true, \"count\": 4294967295, \"offset\": -5, \"seed\": 9007199254740992, \"ratio\": 0.25}");
    assert_true(t.flag);
    assert_int_equal(t.count, UINT32_MAX);
    assert_int_equal(t.offset, -5);
    assert_true(t.seed == UINT64_C(9007199254740992));
    assert_true(t.ratio == 0.25f);
    assert_int_equal(seen, 31);
    assert_true(accept("{\"ratio\": 2}").ratio == 2.0f);
    assert_int_equal(accept("{\"count\": 1e3}").count, 1000);
    assert_int_equal(accept("{\"count\": 12.0}").count, 12);
    assert_false(accept("{\"flag\": false}").flag);
}

static void wrong_types_are_named(void **state) {
    (void)state;
    static const char *const wrong[][2] = {
        {"{\"flag\": 1}", "'flag' must be a boolean, not an integer"},
        {"{\"flag\": \"true\"}", "'flag' must be a boolean, not a string"},
        {"{\"flag\": []}", "'flag' must be a boolean, not an array"},
        {"{\"count\": \"12\"}", "'count' must be an integer, not a string"},
        {"{\"count\": 12.5}", "'count' must be an integer, not a number"},
        {"{\"count\": true}", "'count' must be an integer, not a boolean"},
        {"{\"count\": {\"count\": 1}}", "'count' must be an integer, not an object"},
        {"{\"ratio\": {}}", "'ratio' must be a number, not an object"},
        {"{\"ratio\": false}", "'ratio' must be a number, not a boolean"},
        {"{\"seed\": [1]}", "'seed' must be an integer, not an array"},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) refuse(wrong[i][0], wrong[i][1]);
}

static void ranges(void **state) {
    (void)state;
    assert_int_equal(accept("{\"count\": 1}").count, 1);
    refuse("{\"count\": 0}", "'count' is 0; it must be 1 to");
    refuse("{\"count\": -1}", "'count'");
    refuse("{\"count\": 4294967296}", "'count'");
    refuse("{\"count\": 1e300}", "'count'");
    refuse("{\"offset\": -6}", "'offset'");
    refuse("{\"offset\": 2147483648}", "'offset'");
    refuse("{\"seed\": -1}", "'seed'");
    refuse("{\"seed\": 99999999999999999999999}", "'seed'");
    refuse("{\"ratio\": 2.0000001}", "'ratio'");
    refuse("{\"ratio\": -1e-9}", "'ratio'");
    refuse("{\"seed\": -1}", "'seed' is -1; it must be 0 to 9007199254740992");
    refuse("{\"count\": 2.5e9e}", "");
    refuse("{\"count\": 1e12}", "'count' is 1000000000000; it must be 1 to 4294967295");
    refuse("{\"ratio\": 3}", "'ratio' is 3; it must be 0 to 2");
    refuse("{\"ratio\": 1e400}", "");
    refuse("{\"ratio\": NaN}", "");
}

static void words_are_indices(void **state) {
    (void)state;
    assert_int_equal(accept("{\"word\": \"f16\"}").word, 0);
    assert_int_equal(accept("{\"word\": \"q4\"}").word, 2);
    assert_int_equal(accept("{\"answer\": \"yes\"}").answer, 1);
    assert_int_equal(accept("{\"word\": null}").word, 9);
    refuse("{\"word\": \"q5\"}", "'word' is 'q5'; it must be f16, q8 or q4");
    refuse("{\"word\": \"\"}", "'word' is ''; it must be f16, q8 or q4");
    refuse("{\"word\": \"q\"}", "'word' is 'q'");
    refuse("{\"word\": \"F16\"}", "'word' is 'F16'");
    refuse("{\"word\": \"q8 \"}", "'word' is 'q8 '");
    refuse("{\"word\": \"q8\\u0000\"}", "'word'");
    refuse("{\"word\": 0}", "'word' must be f16, q8 or q4, not an integer");
    refuse("{\"word\": [\"f16\"]}", "'word' must be f16, q8 or q4, not an array");
    refuse("{\"answer\": \"q8\"}", "'answer' is 'q8'; it must be no or yes");
    refuse("{\"word\": \"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\"}",
           "'word' is 'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa'; it"); /* what is quoted is cut */
}

static void null_means_absent(void **state) {
    (void)state;
    target t = accept("{\"count\": null, \"flag\": true, \"list\": null}");
    assert_int_equal(t.count, 77);
    assert_int_equal(t.n_events, 0);
    assert_int_equal(seen, 1);
    assert_int_equal(accept("{}").count, 77);
    assert_int_equal(seen, 0);
}

static void duplicates_are_refused(void **state) {
    (void)state;
    refuse("{\"count\": 1, \"flag\": true, \"count\": 1}", "'count' is there twice");
    refuse("{\"list\": [], \"list\": []}", "'list' is there twice");
    refuse("{\"count\": 3, \"count\": null}", "'count' is there twice");
}

static void unknown_fields(void **state) {
    (void)state;
    refuse("{\"cuont\": 1}", "unknown field 'cuont'");
    refuse("{\"\": 1}", "unknown field ''");
    target t;
    err e;
    const char *text = "{\"x\": {\"count\": [5, {\"flag\": true}]}, \"x\": 2, \"count\": 3, \"y\": null}";
    assert_ok(parse(text, true, &t, &e), e);
    assert_int_equal(t.count, 3);
    assert_false(t.flag);
    assert_int_equal(seen, 2);
}

static void ignored_fields_take_anything(void **state) {
    (void)state;
    assert_int_equal(accept("{\"model\": {\"count\": {\"list\": [1, 2]}}, \"count\": 9}").count, 9);
    accept("{\"model\": \"x\"}");
    accept("{\"model\": null}");
}

static void custom_fields_see_their_whole_value(void **state) {
    (void)state;
    target t = accept("{\"list\": [1, [2, {\"count\": 3, \"k\": null}]], \"count\": 4}");
    assert_int_equal(t.sum, 6);
    assert_int_equal(t.count, 4);
    assert_int_equal(t.deepest, 3);
    assert_int_equal(t.n_events, 2 + 1 + 2 + 1 + 2 + 2 + 2); /* two arrays, 1 and 2, an object of two keys and values */
    refuse("{\"list\": [[\"x\"]]}", "'list' holds a string");
}

static void only_objects(void **state) {
    (void)state;
    static const char *const texts[] = {"[]", "1", "\"count\"", "true", "null", "[{\"count\": 1}]"};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) refuse(texts[i], "must be a JSON object");
    static const char *const broken[] = {
        "", "{", "{\"count\": }", "{\"count\": 1,}", "{\"count\": 1} x", "{'count': 1}", "{\"count\": 1}{}", "\xff"};
    for (size_t i = 0; i < sizeof broken / sizeof *broken; i++) refuse(broken[i], "");
}

/* Every allocation refused once: an error each time, and nothing left behind. */
static void refused_allocations(void **state) {
    (void)state;
    const char *text = "{\"flag\": true, \"count\": 5, \"list\": [1, 2, 3], \"model\": \"a long enough string, with "
                       "\\u00e4n escape\"}";
    for (size_t n = 1;; n++) {
        test_alloc a;
        target t = {0};
        err e = {0};
        test_alloc_init(&a, n);
        bool ok = fields_parse(&a.alloc, str_of(text), table, N_FIELDS, false, &t, NULL, &e);
        assert_int_equal(a.outstanding_bytes, 0);
        if (a.calls < n) {
            assert_ok(ok, e);
            assert_true(n > 1);
            return;
        }
        if (!ok) assert_int_equal(e.code, ERR_MEMORY);
        assert_true(n < 1000);
    }
}

/* ---- objects within objects ---- */

typedef struct outer {
    str name, inner, list, any;
} outer;

static const field outer_rows[] = {
    {"name", FIELD_STRING, offsetof(outer, name)},
    {"inner", FIELD_OBJECT, offsetof(outer, inner)},
    {"list", FIELD_ARRAY, offsetof(outer, list)},
    {"any", FIELD_ANY, offsetof(outer, any)},
};

typedef struct texts {
    test_alloc parser, kept;
    fields_in in;
} texts;

static fields_in *in_of(texts *t, const char *path) {
    test_alloc_init(&t->parser, 0);
    test_alloc_init(&t->kept, 0);
    t->in = (fields_in){&t->parser.alloc, &t->kept.alloc, path};
    return &t->in;
}

static outer accept_outer(texts *t, const char *json) {
    outer o = {0};
    err e = {0};
    assert_ok(fields_parse_in(in_of(t, ""), str_of(json), outer_rows, 4, false, &o, NULL, &e), e);
    return o;
}

static void refuse_outer(const char *path, const char *json, const char *words) {
    texts t;
    outer o = {0};
    err e = {0};
    assert_false(fields_parse_in(in_of(&t, path), str_of(json), outer_rows, 4, false, &o, NULL, &e));
    if (!strstr(e.message, words)) fail_msg("%s: '%s' does not say '%s'", json, e.message, words);
}

static void values_are_kept_as_they_stand(void **state) {
    (void)state;
    texts t;
    outer o = accept_outer(&t, "{ \"list\" : [1, {\"a\": []}] ,\"inner\":{\"x\": \"}\"}, \"any\": -1.5e3 , \"name\":\"plain\"}");
    assert_true(str_is(o.list, "[1, {\"a\": []}]"));
    assert_true(str_is(o.inner, "{\"x\": \"}\"}"));
    assert_true(str_is(o.any, "-1.5e3"));
    assert_true(str_is(o.name, "plain"));
    assert_int_equal(t.kept.outstanding_bytes, 0); /* nothing is escaped: the text lies in the JSON */
    assert_true(str_is(accept_outer(&t, "{\"any\": \"a\\nb\"}").any, "\"a\\nb\""));
    assert_true(str_is(accept_outer(&t, "{\"any\":[[],{}]}").any, "[[],{}]"));
    assert_int_equal(accept_outer(&t, "{\"any\": null, \"inner\": null, \"name\": null}").any.len, 0);
    o = accept_outer(&t, "{\"name\": \"a\\n\\u00e9\"}");
    assert_true(str_is(o.name, "a\n\xc3\xa9"));
    assert_true(t.kept.outstanding_bytes > 0);
    alloc_free(&t.kept.alloc, (void *)(uintptr_t)o.name.data, o.name.len);
}

static void errors_name_the_way(void **state) {
    (void)state;
    refuse_outer("", "{\"name\": 1}", "'name' must be a string, not an integer");
    refuse_outer("messages[2].", "{\"name\": []}", "'messages[2].name' must be a string, not an array");
    refuse_outer("a.", "{\"inner\": []}", "'a.inner' must be an object, not an array");
    refuse_outer("a.", "{\"inner\": \"{}\"}", "'a.inner' must be an object, not a string");
    refuse_outer("a.", "{\"list\": {}}", "'a.list' must be an array, not an object");
    refuse_outer("a.", "{\"list\": 3}", "'a.list' must be an array, not an integer");
    refuse_outer("a.", "{\"lost\": 3}", "unknown field 'a.lost'");
    refuse_outer("a.", "{\"list\": [], \"list\": []}", "'a.list' is there twice");
    refuse_outer("a[1].", "[]", "'a[1]' must be an object, not an array");
    refuse_outer("a.", "{\"list\": [}", "at byte");
}

typedef struct seen_items {
    uint32_t n;
    char said[256];
    uint32_t stop_at;
} seen_items;

static bool on_item(void *ctx, const field_item *item, err *e) {
    seen_items *s = ctx;
    size_t n = strlen(s->said);
    assert_int_equal(item->index, s->n++);
    snprintf(s->said + n, sizeof s->said - n, "%s=%.*s;", item->path, STR_ARG(item->json));
    if (item->kind == JSON_STRING) assert_true(item->text.len + 2 <= item->json.len);
    return s->n != s->stop_at || err_set(e, ERR_INVALID, "'%s' is enough", item->path);
}

static void arrays_item_by_item(void **state) {
    (void)state;
    texts t;
    seen_items s = {0};
    err e = {0};
    assert_ok(fields_each(in_of(&t, "x"), STR("[1 , \"a]\",[2,[3]], {\"k\":[4]},null,true]"), on_item, &s, &e), e);
    assert_string_equal(s.said, "x[0]=1;x[1]=\"a]\";x[2]=[2,[3]];x[3]={\"k\":[4]};x[4]=null;x[5]=true;");
    s = (seen_items){0};
    assert_ok(fields_each(in_of(&t, "x"), STR("[ ]"), on_item, &s, &e), e);
    assert_int_equal(s.n, 0);
    s = (seen_items){.stop_at = 2};
    assert_false(fields_each(in_of(&t, "x"), STR("[1,2,3]"), on_item, &s, &e));
    assert_string_equal(e.message, "'x[1]' is enough");
}

static void a_text_by_itself(void **state) {
    (void)state;
    texts t;
    str out;
    err e = {0};
    assert_ok(fields_text(in_of(&t, ""), STR("\"abc\""), &out, &e), e);
    assert_true(str_is(out, "abc"));
    assert_int_equal(fields_kind(STR("{}")), JSON_OBJECT_START);
    assert_int_equal(fields_kind(STR("[1]")), JSON_ARRAY_START);
    assert_int_equal(fields_kind(STR("\"\"")), JSON_STRING);
    assert_int_equal(fields_kind(STR("false")), JSON_BOOL);
}

/* Rows that objects share: after their own, with a target of their own; names in neither are told of. */
typedef struct shared_target {
    uint32_t count, choice;
    str text;
    int n_unknown;
    char unknown[64];
} shared_target;

static void on_unknown(void *ctx, const char *path, str name, const char *why) {
    assert_null(why);
    shared_target *s = ctx;
    s->n_unknown++;
    snprintf(s->unknown, sizeof s->unknown, "%s%.*s", path, (int)name.len, name.data);
}

#define SHARED_AT(member) offsetof(shared_target, member)
static const field shared_rows[] = {
    {"count", FIELD_U32, SHARED_AT(count), 0, 9}, /* never reached: the table has its own */
    {"more", FIELD_U32, SHARED_AT(count), 0, 9},
    {"choice", FIELD_YES_NO, SHARED_AT(choice)},
    {"text", FIELD_STRING, SHARED_AT(text)},
    {"user", FIELD_STRING, .use = FIELD_CHECKED},
    {"tags", FIELD_ARRAY, .use = FIELD_CHECKED},
    {"beams", FIELD_ANY, .low = 0, .high = 1, .use = FIELD_REFUSED, .why = "is given: there are none"},
};

static bool parse_shared(const char *text, target *t, shared_target *s, err *e) {
    test_alloc a;
    test_alloc_init(&a, 0);
    *t = (target){0}, *s = (shared_target){0}, *e = (err){0};
    fields_more more = {shared_rows, sizeof shared_rows / sizeof *shared_rows, s, on_unknown, s};
    fields_in in = {&a.alloc, &a.alloc, "options.", &more};
    return fields_parse_in(&in, str_of(text), table, N_FIELDS, true, t, &seen, e);
}

static void shared_rows_come_after_a_tables_own(void **state) {
    (void)state;
    target t;
    shared_target s;
    err e;
    assert_true(parse_shared("{\"count\":3,\"more\":4,\"choice\":true,\"text\":\"ab\",\"what\":[{\"x\":1}]}", &t, &s, &e));
    assert_int_equal(t.count, 3);
    assert_int_equal(s.count, 4);
    assert_int_equal(s.choice, 2);
    assert_int_equal(s.text.len, 2);
    assert_int_equal(s.n_unknown, 1);
    assert_string_equal(s.unknown, "options.what");
    assert_int_equal(seen, 2); /* of the table's rows only */
    assert_true(parse_shared("{\"choice\":false,\"more\":null,\"more\":1}", &t, &s, &e));
    assert_int_equal(s.choice, 1);
    assert_false(parse_shared("{\"more\":1,\"more\":1}", &t, &s, &e));
    assert_string_equal(e.message, "'options.more' is there twice");
    assert_false(parse_shared("{\"more\":10}", &t, &s, &e));
    assert_false(parse_shared("{\"choice\":1}", &t, &s, &e));
    assert_string_equal(e.message, "'options.choice' must be a boolean, not an integer");
}

static void fields_of_no_consequence_have_their_type(void **state) {
    (void)state;
    target t;
    shared_target s, nothing = {0};
    err e;
    assert_true(parse_shared("{\"user\":\"a\",\"tags\":[1,[2]]}", &t, &s, &e));
    assert_memory_equal(&s, &nothing, sizeof s);
    assert_false(parse_shared("{\"user\":5}", &t, &s, &e));
    assert_string_equal(e.message, "'options.user' must be a string, not an integer");
    assert_false(parse_shared("{\"tags\":{}}", &t, &s, &e));
}

static void what_cannot_be_had_may_be_asked_for_as_nothing(void **state) {
    (void)state;
    static const char *const nothing[] = {"null", "false", "\"\"", "[]", "{}", "0", "1", "0.5", "1.0"},
                             *const wanted[] = {"true", "\"x\"", "[0]", "[null]", "[[]]", "{\"a\":null}", "[\"x\"]", "2", "-1", "1.5"};
    target t;
    shared_target s;
    err e;
    char text[64];
    for (size_t i = 0; i < sizeof nothing / sizeof *nothing; i++) {
        snprintf(text, sizeof text, "{\"beams\":%s,\"more\":7}", nothing[i]);
        if (!parse_shared(text, &t, &s, &e)) fail_msg("%s: %s", text, e.message);
        assert_int_equal(s.count, 7);
    }
    for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++) {
        snprintf(text, sizeof text, "{\"beams\":%s}", wanted[i]);
        if (parse_shared(text, &t, &s, &e)) fail_msg("%s was accepted", text);
        assert_int_equal(e.code, ERR_INVALID);
        assert_string_equal(e.message, "'options.beams' is given: there are none");
    }
}

static void unknown_names_have_a_limit(void **state) {
    (void)state;
    static char text[FIELDS_UNKNOWN_MAX * 12 + 64];
    size_t n = 1;
    target t;
    shared_target s;
    err e;
    text[0] = '{';
    for (int i = 0; i < FIELDS_UNKNOWN_MAX; i++) n += (size_t)sprintf(text + n, "\"u%d\":0,", i);
    strcpy(text + n, "\"count\":1}");
    assert_true(parse_shared(text, &t, &s, &e));
    assert_int_equal(s.n_unknown, FIELDS_UNKNOWN_MAX);
    strcpy(text + n, "\"one more\":1}");
    assert_false(parse_shared(text, &t, &s, &e));
    assert_int_equal(e.code, ERR_INVALID);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(types),
        cmocka_unit_test(wrong_types_are_named),
        cmocka_unit_test(ranges),
        cmocka_unit_test(words_are_indices),
        cmocka_unit_test(null_means_absent),
        cmocka_unit_test(duplicates_are_refused),
        cmocka_unit_test(unknown_fields),
        cmocka_unit_test(ignored_fields_take_anything),
        cmocka_unit_test(custom_fields_see_their_whole_value),
        cmocka_unit_test(only_objects),
        cmocka_unit_test(refused_allocations),
        cmocka_unit_test(values_are_kept_as_they_stand),
        cmocka_unit_test(errors_name_the_way),
        cmocka_unit_test(arrays_item_by_item),
        cmocka_unit_test(a_text_by_itself),
        cmocka_unit_test(shared_rows_come_after_a_tables_own),
        cmocka_unit_test(fields_of_no_consequence_have_their_type),
        cmocka_unit_test(what_cannot_be_had_may_be_asked_for_as_nothing),
        cmocka_unit_test(unknown_names_have_a_limit),
    };
    return cmocka_run_group_tests_name("api_fields", tests, NULL, NULL);
}
