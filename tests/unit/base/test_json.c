#include "../test.h"

#include <math.h>
#include <stdio.h>

#include "base/json.h"

/* Events as one line each: what a reader saw, comparable as text. */
typedef struct trace {
    char text[16384];
    size_t len;
    int stop_after; /* 0: never */
    int events;
} trace;

static bool on_event(void *ctx, const json_event *v, err *e) {
    trace *t = ctx;
    static const char *const names[] = {"null", "bool", "int", "double", "string", "{", "key", "}", "[", "]"};
    assert_true(t->len + 64 < sizeof t->text);
    t->len += (size_t)sprintf(t->text + t->len, "%d %s", v->depth, names[v->kind]);
    if (v->kind == JSON_BOOL) t->len += (size_t)sprintf(t->text + t->len, " %d", v->boolean);
    if (v->kind == JSON_INT) t->len += (size_t)sprintf(t->text + t->len, " %lld", (long long)v->integer);
    if (v->kind == JSON_DOUBLE) t->len += (size_t)sprintf(t->text + t->len, " %.17g", v->number);
    if (v->kind == JSON_INT) assert_true(v->number == (double)v->integer);
    if (v->kind == JSON_STRING || v->kind == JSON_KEY) {
        t->text[t->len++] = ' ';
        for (size_t i = 0; i < v->text.len && t->len + 8 < sizeof t->text; i++)
            t->len += (size_t)sprintf(t->text + t->len, v->text.data[i] > 0x20 ? "%c" : "<%02x>",
                                      v->text.data[i] > 0x20 ? v->text.data[i] : (unsigned char)v->text.data[i]);
    }
    t->text[t->len++] = '\n';
    t->text[t->len] = 0;
    if (++t->events == t->stop_after) return err_set(e, ERR_TOO_LARGE, "enough");
    return true;
}

static bool parse(str text, trace *t, err *e) {
    test_alloc a;
    test_alloc_init(&a, 0);
    *t = (trace){0};
    bool good = json_parse(&a.alloc, text, on_event, t, e);
    assert_int_equal(a.outstanding_bytes, 0);
    return good;
}

#define T(literal) {literal, sizeof(literal) - 1}

static const str valid_texts[] = {
    T("[]"), T("{}"), T("null"), T("true"), T("false"), T("0"), T("-0"), T("42"), T("\"\""), T(" [] "), T("\t\r\n[\t1\r,\n2 ] "),
    T("[[]   ]"), T("[\"\"]"), T("[false]"), T("[null, 1, \"1\", {}]"), T("[1\n]"), T(" [1]"), T("[1,null,null,null,2]"),
    T("[2] "), T("\"asd\""), T("-1"), T("[123e65]"), T("[0e+1]"), T("[0e1]"), T("[ 4]"), T("[20e1]"), T("[1E22]"), T("[1E-2]"),
    T("[1E+2]"), T("[123e45]"), T("[123.456e78]"), T("[1e-2]"), T("[1e+2]"), T("[123]"), T("[123.456789]"), T("[-123]"),
    T("[-0.000000000000000000000000000000000000000000000000000000000000000000000000000001]"),
    T("[9223372036854775807, -9223372036854775808, 9223372036854775808, 100000000000000000000]"),
    T("{\"asd\":\"sdf\", \"dfg\":\"fgh\"}"), T("{\"a\":\"b\",\"a\":\"c\"}"), T("{\"\":0}"), T("{\"foo\\u0000bar\": 42}"),
    T("{\"a\":[]}"), T("{\"title\":\"\\u041f\\u043e\"}"), T("{\n\"a\": \"b\"\n}"), T("{ \"min\": -1.0e+28, \"max\": 1.0e+28 }"),
    T("[\"\\u0060\\u012a\\u12AB\"]"), T("[\"\\uD801\\udc37\"]"), T("[\"\\ud83d\\ude39\\ud83d\\udc8d\"]"),
    T("[\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"]"), T("[\"\\\\u0000\"]"), T("[\"\\\"\"]"), T("[\"a/*b*/c/*d//e\"]"), T("[\"\\\\a\"]"),
    T("[\"\\\\n\"]"), T("[\"\\u0012\"]"), T("[\"\\uFFFF\"]"), T("[\"\\uDBFF\\uDFFF\"]"), T("[\"new\\u00A0line\"]"),
    T("[\"\\u0000\"]"), T("[\"\\u002c\"]"), T("[\"\\u0123\"]"), T("[\"\xe2\x82\xac\xf0\x9d\x84\x9e\"]"), T("[\"\x7f\"]"),
    T("[\"\xef\xbf\xbf\"]"), T("[\"\xf4\x8f\xbf\xbf\"]"), T("[\"\xe2\x80\xa8\xe2\x80\xa9\"]"), T("[\"\\uD834\\uDd1e\"]"),
    T("[\"\\uFDD0\\uFFFE\\uD83F\\uDFFE\"]"), T("[\"\\u0061\\u30af\\u30EA\\u30b9\"]"), T("[\"\\uA66D\\\"\\u0022\\u005C\"]"),
    T("{\"a\":1,\"b\":{\"c\":[{\"d\":null},[[1.5]]]},\"e\":true}"), T("[1e-999]"),
};

static const str invalid_texts[] = {
    T(""), T(" "), T("["), T("]"), T("{"), T("}"), T("[1"), T("[1,"), T("[,1]"), T("[1,]"), T("[1,,2]"), T("[1,,]"), T("[\"\",]"),
    T("[1 true]"), T("[a"), T("[a]"), T("[\"a\" \"b\"]"), T("[\"x\"]]"), T("[\"x\""), T("[x"), T("[3[4]]"), T("[,]"), T("[-]"),
    T("[   , \"\"]"), T("[\"a\",\n4\n,1,"), T("[1:2]"), T("[*]"), T("[\"\": 1]"), T("[][]"), T("1]"), T("[}"), T("{]"), T("{}}"),
    T("[fals]"), T("[nul]"), T("[tru]"), T("[True]"), T("nulll"), T("truefalse"), T("NaN"), T("[NaN]"), T("[-NaN]"), T("Infinity"),
    T("[-Infinity]"), T("[+1]"), T("[++1]"), T("[+Inf]"), T("[-01]"), T("[-1.0.]"), T("[-2.]"), T("[.-1]"), T("[.2e-3]"),
    T("[0.1.2]"), T("[0.3e+]"), T("[0.3e]"), T("[0.e1]"), T("[0E+]"), T("[0E]"), T("[0e+]"), T("[1.0e+]"), T("[1.0e-]"), T("[1.0e]"),
    T("[1 000.0]"), T("[1eE2]"), T("[2.e+3]"), T("[2.e3]"), T("[2.]"), T("[9.e+]"), T("[1+2]"), T("[0x1]"), T("[0x42]"), T("[1ea]"),
    T("[- 1]"), T("[-012]"), T("[-.123]"), T("[-1x]"), T("[.123]"), T("[1.2a-3]"), T("[1.8011670033376514H-308]"), T("[012]"),
    T("[\xef\xbc\x91]"), T("[123\xe5]"), T("[0\xe5]"), T("[1e1\xe5]"), T("[\xff]"), T("{\"x\", null}"), T("{\"x\"::\"b\"}"),
    T("{[: \"x\"}\n"), T("{\"a\" b}"), T("{:\"b\"}"), T("{\"a\" \"b\"}"), T("{\"a\":"), T("{\"a\""), T("{1:1}"), T("{9999E9999:1}"),
    T("{null:null}"), T("{\"id\":0,,,,,}"), T("{'a':0}"), T("{\"id\":0,}"), T("{\"a\":\"b\"}/**/"), T("{\"a\":\"b\"}/**//"),
    T("{\"a\":\"b\"}//"), T("{\"a\":\"b\",,\"c\":\"d\"}"), T("{a: \"b\"}"), T("{\"a\":\"a"), T("{ \"foo\" : \"bar\", \"a\" }"),
    T("{\"a\":\"b\"}#"), T("{\"a\":true} \"x\""), T("{true:1}"), T("[\"\\uD800\\\"]"), T("[\"\\uD800\\u\"]"), T("[\"\\uD800\\u1\"]"),
    T("[\"\\uD800\\u1x\"]"), T("[\xc3\xa9]"), T("[\"\\\xf0\x9f\x8c\x80\"]"), T("[\"\\\"]"), T("[\"\\a\"]"), T("[\"\\u00A\"]"),
    T("[\"\\uqqqq\"]"), T("[\"\\\x00\"]"), T("[\"\\x00\"]"), T("[\"\\\\\\\"]"), T("[\"\\\t\"]"), T("[\"a\x00""a\"]"), T("[\"new\nline\"]"),
    T("[\"\t\"]"), T("\"\\UA66D\""), T("\""), T("['x']"), T("\"x"), T("abc"), T("[\\n]"), T("\"\"x"), T("<.>"), T("[<null>]"),
    T("[1]x"), T("[\"asd]"), T("aa"), T("[true"), T("[\x0c]"), T("[\x0b]"), T("\x0c[]"), T("[\"\x0c\"]"), T("1\x0b"), T("[\xe2\x81\xa0]"), T("\xe2\x81\xa0"), T("\xef\xbb\xbf{}"), T("\xef\xbb\xbf"),
    T("123\x00"), T("[1]\x00"), T("*"), T("2@"), T("//x\n1"), T("/*x*/1"), T("1 2"), T("{}{}"),
    /* what yajl lets pass */
    T("[\"\\uD800\"]"), T("[\"\\uDC00\"]"), T("[\"\\uDADA\"]"), T("[\"\\uD888\\u1234\"]"), T("[\"\\uD800\\n\"]"), T("[\"\\uD800abc\"]"),
    T("[\"\\uD800\\uD800\\n\"]"), T("[\"\\uDd1ea\"]"), T("[\"\\uDd1e\\uD834\"]"), T("{\"\\uDFAA\":0}"), T("[\"\\uD83D\\uDE39\\uDE39\"]"),
    T("[\"\xed\xa0\x80\"]"), T("[\"\xc0\xaf\"]"), T("[\"\xe0\x80\xaf\"]"), T("[\"\xf0\x80\x80\xaf\"]"), T("[\"\xfc\x83\xbf\xbf\xbf\xbf\"]"),
    T("[\"\xf4\xbf\xbf\xbf\"]"), T("[\"\xff\"]"), T("[\"\x81\"]"), T("[\"\xe6\x97\xa5\xd1\x88\xfa\"]"), T("[\"\xe9\"]"), T("[\"\xc3\"]"),
    T("{\"\xff\":1}"), T("[1e999]"), T("[-1e999]"),
};

static void test_valid_texts(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof valid_texts / sizeof *valid_texts; i++) {
        trace t;
        err e = {0};
        if (!parse(valid_texts[i], &t, &e)) fail_msg("%.*s: %s", STR_ARG(valid_texts[i]), e.message);
        assert_true(t.events > 0);
    }
}

static void test_invalid_texts(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof invalid_texts / sizeof *invalid_texts; i++) {
        trace t;
        err e = {0};
        if (parse(invalid_texts[i], &t, &e)) fail_msg("accepted: %.*s", STR_ARG(invalid_texts[i]));
        assert_int_equal(e.code, ERR_INVALID);
        if (strncmp(e.message, "at byte ", 8) || strchr(e.message, '\n')) fail_msg("bad message: %s", e.message);
    }
}

static void test_events(void **state) {
    (void)state;
    trace t;
    err e = {0};
    str text = STR("{\"a\\n\":[1,-2.5,\"x\\ud83d\\ude39\",true,null],\"b\":{},\"c\":9223372036854775808,\"d\":-9223372036854775808}");
    assert_ok(parse(text, &t, &e), e);
    assert_string_equal(t.text, "0 {\n1 key a<0a>\n1 [\n2 int 1\n2 double -2.5\n"
                                "2 string x<f0><9f><98><b9>\n2 bool 1\n2 null\n1 ]\n1 key b\n1 {\n1 }\n"
                                "1 key c\n1 double 9.2233720368547758e+18\n1 key d\n1 int -9223372036854775808\n0 }\n");
    test_alloc a;
    test_alloc_init(&a, 0);
    assert_true(json_parse(&a.alloc, STR("1"), on_event, &t, NULL)); /* err may be NULL */
    assert_false(json_parse(&a.alloc, STR("1e999"), on_event, &t, NULL));
}

static void test_errors_name_their_place(void **state) {
    (void)state;
    static const struct {
        str text;
        const char *message;
    } rows[] = {
        {T("[1,2,x]"), "at byte 6: lexical error: invalid char in json text"},
        {T("[1] 2"), "at byte 5: parse error: trailing garbage"},
        {T("[1"), "at byte 2: parse error: premature EOF"},
        {T(""), "at byte 0: parse error: premature EOF"},
        {T("[\"\\ud800x\"]"), "at byte 9: lone surrogate in a string"},
        {T("[\"\\udc00\"]"), "at byte 8: lone surrogate in a string"},
        {T("[1e999]"), "at byte 6: number out of range"},
        {T("[\"\xc3\"]"), "at byte 4: string is not valid UTF-8"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        trace t;
        err e = {0};
        assert_false(parse(rows[i].text, &t, &e));
        assert_string_equal(e.message, rows[i].message);
    }
}

static bool parse_split(str text, size_t split, trace *t, err *e) {
    test_alloc a;
    test_alloc_init(&a, 0);
    *t = (trace){0};
    json_reader *r = json_reader_new(&a.alloc, 4096, on_event, t);
    assert_non_null(r);
    bool good = json_reader_feed(r, (str){text.data, split}, e) &&
                json_reader_feed(r, (str){text.data + split, text.len - split}, e) && json_reader_finish(r, e);
    json_reader_free(r);
    assert_int_equal(a.outstanding_bytes, 0);
    return good;
}

static bool parse_bytewise(str text, trace *t, err *e) {
    test_alloc a;
    test_alloc_init(&a, 0);
    *t = (trace){0};
    json_reader *r = json_reader_new(&a.alloc, 4096, on_event, t);
    bool good = true;
    for (size_t i = 0; i < text.len && good; i++) good = json_reader_feed(r, (str){text.data + i, 1}, e);
    good = good && json_reader_finish(r, e);
    json_reader_free(r);
    assert_int_equal(a.outstanding_bytes, 0);
    return good;
}

/* The same events, and the same verdict, wherever the text is cut. */
static void test_split_anywhere(void **state) {
    (void)state;
    const str *tables[] = {valid_texts, invalid_texts};
    size_t counts[] = {sizeof valid_texts / sizeof *valid_texts, sizeof invalid_texts / sizeof *invalid_texts};
    for (int k = 0; k < 2; k++) {
        for (size_t i = 0; i < counts[k]; i++) {
            trace whole, parts;
            err e = {0};
            assert_int_equal(parse(tables[k][i], &whole, &e), k == 0);
            for (size_t split = 0; split <= tables[k][i].len; split++) {
                if (parse_split(tables[k][i], split, &parts, &e) != (k == 0))
                    fail_msg("%.*s cut at %zu: %s", STR_ARG(tables[k][i]), split, e.message);
                assert_string_equal(parts.text, whole.text);
            }
            assert_int_equal(parse_bytewise(tables[k][i], &parts, &e), k == 0);
            assert_string_equal(parts.text, whole.text);
        }
    }
}

static void test_depth(void **state) {
    (void)state;
    trace t;
    err e = {0};
    for (int objects = 0; objects < 2; objects++) {
        for (int depth = JSON_MAX_DEPTH - 1; depth <= JSON_MAX_DEPTH + 1; depth++) {
            buf b;
            test_alloc a;
            test_alloc_init(&a, 0);
            buf_init(&b, &a.alloc, 4096);
            for (int i = 0; i < depth; i++) buf_append_str(&b, !objects ? STR("[") : i ? STR("\"\":{") : STR("{"));
            for (int i = 0; i < depth; i++) buf_append_str(&b, objects ? STR("}") : STR("]"));
            assert_int_equal(parse(buf_str(&b), &t, &e), depth <= JSON_MAX_DEPTH);
            if (depth > JSON_MAX_DEPTH) assert_non_null(strstr(e.message, "nested deeper than 256"));
            buf_free(&b);
        }
    }
    /* A hundred thousand brackets, closed or not, end at the first too deep. */
    char *many = malloc(100000);
    memset(many, '[', 100000);
    assert_false(parse((str){many, 100000}, &t, &e));
    assert_int_equal(t.events, JSON_MAX_DEPTH);
    free(many);
}

/* As deep as is read: two items a level, and none in the last, so that one which took another's comma would show. */
static void test_depth_written(void **state) {
    (void)state;
    trace t;
    err e = {0};
    buf b, wanted;
    test_alloc a;
    json_writer w;
    test_alloc_init(&a, 0);
    buf_init(&b, &a.alloc, 8192), buf_init(&wanted, &a.alloc, 8192);
    json_begin(&w, &b);
    for (int i = 1; i < JSON_MAX_DEPTH; i++) json_array_start(&w), json_int(&w, 1);
    json_array_start(&w), json_array_end(&w);
    for (int i = 1; i < JSON_MAX_DEPTH; i++) json_int(&w, 2), json_array_end(&w);
    for (int i = 1; i < JSON_MAX_DEPTH; i++) buf_append_str(&wanted, STR("[1,"));
    buf_append_str(&wanted, STR("[]"));
    for (int i = 1; i < JSON_MAX_DEPTH; i++) buf_append_str(&wanted, STR(",2]"));
    assert_int_equal(buf_str(&b).len, buf_str(&wanted).len);
    assert_memory_equal(buf_str(&b).data, buf_str(&wanted).data, buf_str(&b).len);
    assert_ok(parse(buf_str(&b), &t, &e), e);
    buf_free(&b), buf_free(&wanted);
}

static bool feed_string(size_t limit, size_t len, size_t step, const char *unit, test_alloc *a, err *e) {
    trace t = {0};
    size_t unit_len = strlen(unit), total = len * unit_len + 2;
    char *text = malloc(total);
    for (size_t i = 0; i < len; i++) memcpy(text + 1 + i * unit_len, unit, unit_len);
    text[0] = text[total - 1] = '"';
    json_reader *r = json_reader_new(&a->alloc, limit, on_event, &t);
    bool good = true;
    for (size_t i = 0; i < total && good; i += step)
        good = json_reader_feed(r, (str){text + i, step < total - i ? step : total - i}, e);
    good = good && json_reader_finish(r, e);
    json_reader_free(r);
    free(text);
    return good;
}

static void test_string_limit(void **state) {
    (void)state;
    static const char *const units[] = {"x", "\\u0041", "\\n"};
    for (size_t u = 0; u < 3; u++) {
        for (size_t step = 1; step < 10000; step = step * 7 + 1) {
            test_alloc a;
            test_alloc_init(&a, 0);
            err e = {0};
            assert_ok(feed_string(3000, 3000, step, units[u], &a, &e), e);
            assert_false(feed_string(3000, 3001, step, units[u], &a, &e));
            assert_int_equal(e.code, ERR_TOO_LARGE);
            assert_int_equal(a.outstanding_bytes, 0);
        }
    }
}

/* Memory does not follow what is fed: a string without an end is refused when it is too long for its limit. */
static bool no_event(void *ctx, const json_event *v, err *e) { return (void)ctx, (void)v, (void)e, true; }

static void test_endless_string_is_bounded(void **state) {
    (void)state;
    test_alloc a;
    test_alloc_init(&a, 0);
    err e = {0};
    json_reader *r = json_reader_new(&a.alloc, 1000, no_event, NULL);
    assert_true(json_reader_feed(r, STR("[\""), &e));
    size_t fed = 0, most = 0;
    while (fed < 10 * 1000 * 1000 && json_reader_feed(r, STR("0123456789abcdef"), &e)) {
        fed += 16;
        if (a.outstanding_bytes > most) most = a.outstanding_bytes;
    }
    assert_int_equal(e.code, ERR_TOO_LARGE);
    assert_true(fed < 20 * 1000);
    assert_true(most < 64 * 1024);
    assert_false(json_reader_feed(r, STR("\"]"), &e)); /* dead from then on */
    assert_false(json_reader_finish(r, &e));
    json_reader_free(r);
    assert_int_equal(a.outstanding_bytes, 0);
}

static void test_long_number(void **state) {
    (void)state;
    char text[600];
    trace t;
    err e = {0};
    memset(text, '1', sizeof text);
    assert_false(parse((str){text, 513}, &t, &e));
    assert_non_null(strstr(e.message, "number of more than 512"));
    memset(text, '0', 512);
    text[1] = '.';
    text[511] = '5';
    assert_ok(parse((str){text, 512}, &t, &e), e);
}

static void test_consumer_stops(void **state) {
    (void)state;
    test_alloc a;
    test_alloc_init(&a, 0);
    trace t = {.stop_after = 3};
    err e = {0};
    json_reader *r = json_reader_new(&a.alloc, 100, on_event, &t);
    assert_false(json_reader_feed(r, STR("[1,2,3,4]"), &e));
    assert_string_equal(e.message, "enough");
    assert_int_equal(e.code, ERR_TOO_LARGE); /* the consumer's own code stands */
    assert_int_equal(t.events, 3);
    json_reader_free(r);
    assert_int_equal(a.outstanding_bytes, 0);
}

static void test_oom_everywhere(void **state) {
    (void)state;
    str text = STR("[\"long enough to be decoded \\u00e9\\n\",{\"key\":[1,2,[3.5,[[[[null]]]]]]},\"and more\"] x");
    size_t n = 1;
    for (bool good = false; !good; n++) {
        assert_true(n < 1000);
        test_alloc a;
        test_alloc_init(&a, n);
        trace t = {0};
        err e = {0};
        json_reader *r = json_reader_new(&a.alloc, 4096, on_event, &t);
        if (r) {
            bool read = true;
            for (size_t i = 0; i < text.len && read; i += 5)
                read = json_reader_feed(r, (str){text.data + i, i + 5 < text.len ? 5 : text.len - i}, &e);
            assert_false(read); /* of the trailing garbage at the latest */
            assert_int_equal(e.code, a.calls >= n ? ERR_MEMORY : ERR_INVALID);
            assert_true(e.code != ERR_MEMORY || strstr(e.message, "no memory left to read JSON with; try again"));
            good = a.calls < n;
            json_reader_free(r);
        }
        assert_int_equal(a.outstanding_bytes, 0);
    }
    test_alloc none;
    err e = {0};
    test_alloc_init(&none, 1);
    assert_false(json_parse(&none.alloc, STR("[]"), on_event, &(trace){0}, &e));
    assert_int_equal(e.code, ERR_MEMORY);
    assert_true(strstr(e.message, "no memory left to read JSON with; try again"));
    assert_true(n > 4); /* the reader, its buffer, what that grows by */
}

/* What stands further in is checked and not told. */
static void test_only_outer_texts(void **state) {
    (void)state;
    test_alloc a;
    test_alloc_init(&a, 0);
    trace t = {0};
    err e = {0};
    const int depth = 1;
    str text = STR("{\"a\":\"x\",\"b\":{\"c\":\"y\",\"d\":[\"z\",1]},\"e\":[\"w\"]}");
    assert_ok(json_parse_outer(&a.alloc, text, &depth, on_event, &t, &e), e);
    assert_int_equal(t.events, 2 + 3 + 1 + 2 + 2 + 1 + 2); /* braces, keys, x, those of b, of d, 1, those of e */
    assert_false(json_parse_outer(&a.alloc, STR("[[\"\xff\"]]"), &depth, on_event, &t, &e));
    assert_false(json_parse_outer(&a.alloc, STR("[[\"\\ud800\"]]"), &depth, on_event, &t, &e));
    assert_false(json_parse_outer(&a.alloc, STR("[[\"\\x\"]]"), &depth, on_event, &t, &e));
    assert_int_equal(a.outstanding_bytes, 0);
}

/* ---- writing ---- */

static void test_writer(void **state) {
    (void)state;
    test_alloc a;
    test_alloc_init(&a, 0);
    buf b;
    json_writer w;
    buf_init(&b, &a.alloc, 4096);
    json_begin(&w, &b);
    json_object_start(&w);
    json_put_string(&w, "s\"", STR("a\"\\\n\x01\xc3\xa9\xff/\xe2\x82"));
    json_put_int(&w, "i", INT64_MIN);
    json_put_uint(&w, "u", UINT64_MAX);
    json_put_fixed(&w, "f", 1.0 / 3, 3);
    json_put_fixed(&w, "inf", INFINITY, 3);
    json_put_bool(&w, "b", false);
    json_key(&w, "list");
    json_array_start(&w);
    json_double(&w, 0.1);
    json_double(&w, 1.0 / 3);
    json_double(&w, NAN);
    json_double(&w, 1e300);
    json_null(&w);
    json_array_start(&w);
    json_array_end(&w);
    json_object_start(&w);
    json_object_end(&w);
    json_raw(&w, STR("{\"x\":1}"));
    json_bool(&w, true);
    json_array_end(&w);
    json_key(&w, "last");
    json_object_start(&w);
    json_key(&w, "k");
    json_array_start(&w);
    json_int(&w, 1);
    json_array_end(&w);
    json_object_end(&w);
    json_object_end(&w);
    assert_string_equal(b.data, "{\"s\\\"\":\"a\\\"\\\\\\n\\u0001\xc3\xa9\xef\xbf\xbd/\xef\xbf\xbd\xef\xbf\xbd\",\"i\":-9223372036854775808,"
                                "\"u\":18446744073709551615,\"f\":0.333,\"inf\":null,\"b\":false,"
                                "\"list\":[0.1,0.33333333333333331,null,1e+300,null,[],{},{\"x\":1},true],\"last\":{\"k\":[1]}}");
    trace t;
    err e = {0};
    assert_ok(parse(buf_str(&b), &t, &e), e);
    buf_free(&b);
    assert_int_equal(a.outstanding_bytes, 0);
}

/* Every byte value, alone and after each other, survives being written and read (or becomes U+FFFD). */
static void test_strings_round_trip(void **state) {
    (void)state;
    test_alloc a;
    test_alloc_init(&a, 0);
    for (int first = 0; first < 256; first++) {
        for (int second = 0; second < 256; second++) {
            char raw[3] = {(char)first, (char)second, 'z'};
            buf b;
            json_writer w;
            buf_init(&b, &a.alloc, 256);
            json_begin(&w, &b);
            json_string(&w, (str){raw, 3});
            trace t, same;
            err e = {0};
            assert_ok(parse(buf_str(&b), &t, &e), e);
            if (utf8_valid((str){raw, 3})) {
                same = (trace){0};
                on_event(&same, &(json_event){.kind = JSON_STRING, .text = {raw, 3}}, &e);
                assert_string_equal(t.text, same.text);
            } else {
                assert_non_null(strstr(b.data, "\xef\xbf\xbd"));
            }
            buf_free(&b);
        }
    }
}

static void test_full_buffer_is_no_crash(void **state) {
    (void)state;
    for (size_t n = 1; n < 4; n++) {
        test_alloc a;
        test_alloc_init(&a, n);
        buf b;
        json_writer w;
        buf_init(&b, &a.alloc, 200);
        json_begin(&w, &b);
        json_array_start(&w);
        for (int i = 0; i < 100; i++) json_string(&w, STR("words\n"));
        json_array_end(&w);
        assert_true(b.failed);
        buf_free(&b);
        assert_int_equal(a.outstanding_bytes, 0);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_valid_texts), cmocka_unit_test(test_invalid_texts), cmocka_unit_test(test_events),
        cmocka_unit_test(test_errors_name_their_place), cmocka_unit_test(test_split_anywhere), cmocka_unit_test(test_depth),
        cmocka_unit_test(test_depth_written),
        cmocka_unit_test(test_string_limit), cmocka_unit_test(test_endless_string_is_bounded), cmocka_unit_test(test_long_number),
        cmocka_unit_test(test_consumer_stops), cmocka_unit_test(test_oom_everywhere), cmocka_unit_test(test_only_outer_texts), cmocka_unit_test(test_writer),
        cmocka_unit_test(test_strings_round_trip), cmocka_unit_test(test_full_buffer_is_no_crash),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
