/* What the recorded facts do not say: places in errors, limits, hostile templates, who owns what. */
#include <stdio.h>

#include "../test.h"

#include "text/template/template.h"

static test_alloc memory;
static text_template_limits limits;
static err e;
static buf out;

static int setup(void **state) {
    (void)state;
    test_alloc_init(&memory, 0);
    text_template_limits_default(&limits);
    e = (err){0};
    buf_init(&out, &memory.alloc, 1 << 26);
    return 0;
}

static int teardown(void **state) {
    (void)state;
    buf_free(&out);
    return memory.outstanding_bytes != 0;
}

static bool render(const char *source, const char *context) {
    text_template *t = text_template_new(str_of(source), &memory.alloc, &e);
    bool ok = t && text_template_render(t, str_of(context), &limits, &memory.alloc, &out, &e);
    text_template_free(t);
    return ok;
}

static void refused(const char *source, const char *context, const char *why) {
    e = (err){0};
    if (render(source, context)) fail_msg("%.200s: rendered %zu bytes", source, out.len);
    if (!strstr(e.message, why)) fail_msg("%.200s\n  wanted: %s\n  got: %s", source, why, e.message);
    assert_int_equal(out.len, 0);
}

static void test_places(void **state) {
    (void)state;
    refused("a\nb {{ 1 +}}", "{}", "line 2, column 9: expected an expression, not '}}'");
    refused("{% if x %}", "{}", "line 1, column 4: this has no {% endif %}");
    refused("é\n\né {{ 'a\\xq' }}", "{}", "line 3, column 10: this escape wants hexadecimal");
    refused("x\n  {% if true %}\n  {{ 1 / none }}{% endif %}", "{}", "line 3, column 8: '/' does not work between");
    refused("{% if true %}\n{% endif %}\n{{ nope() }}", "{}", "line 3, column 8: 'nope' is undefined");
    refused("{# a\n b #}\n  {{ 'x'|abs }}", "{}", "line 3, column 10: abs is for numbers, not a text");
    refused("{{ 'x' is zz }}", "{}", "no test 'zz'");
    refused("{% generation %}\n{{ )", "{}", "line 2, column 4: this bracket was not opened");
    refused("{% macro m(a) %}{% endmacro %}\n{{ m(1, 2) }}", "{}", "line 2, column 5: macro 'm' takes at most 1 argument, not 2");
    refused("{% break %}", "{}", "line 1, column 4: break and continue stand in loops");
    refused("\xFF", "{}", "not valid UTF-8");
}

static void test_context(void **state) {
    (void)state;
    /* objects with the same keys share them, until one has a key twice, in another order, or within itself */
    static const char many[] = "{\"l\": [{\"a\": 1, \"b\": {\"a\": 2, \"b\": 3}}, {\"a\": 4, \"b\": 5}, {\"b\": 6, \"a\": 7}, "
                               "{\"a\": 8, \"a\": 9, \"b\": 10}, {\"a\": 11, \"b\": 12}, {}, {\"a\": 13, \"b\": 14}]}";
    if (!render("{{ l|tojson }} {{ dict(l[1], a=0, c=1)|tojson }} {{ l[1]|tojson }}", many)) fail_msg("%s", e.message);
    assert_string_equal(out.data, "[{\"a\": 1, \"b\": {\"a\": 2, \"b\": 3}}, {\"a\": 4, \"b\": 5}, {\"b\": 6, \"a\": 7}, "
                                  "{\"a\": 9, \"b\": 10}, {\"a\": 11, \"b\": 12}, {}, {\"a\": 13, \"b\": 14}] "
                                  "{\"a\": 0, \"b\": 5, \"c\": 1} {\"a\": 4, \"b\": 5}");
    buf_clear(&out);
    refused("", "[]", "must be a JSON object");
    refused("", "5", "must be a JSON object");
    refused("", "{\"a\": }", "the template's context");
    refused("", "{\"a\": 1", "the template's context");
    assert_ok(render("{{ a }}{{ o }}{{ b.c[1].d }}",
                     "{\"a\":1,\"a\":\"\\u00e9\",\"o\":{\"z\":1,\"1\":2,\"z\":3},\"b\":{\"c\":[0,{\"d\":[]}]}}"), e);
    assert_string_equal(out.data, "é{'z': 3, '1': 2}[]");
}

/* ---- objects that are told when they are looked into ---- */

static bool on_part_event(void *ctx, const json_event *ev, err *why) {
    (void)why;
    return text_template_put(ctx, ev);
}

static char *passing[1024]; /* texts that were unescaped */
static uint32_t n_passing;

static bool on_kept_event(void *ctx, const json_event *ev, err *why) {
    json_event kept = *ev;
    (void)why;
    if ((ev->kind == JSON_STRING || ev->kind == JSON_KEY) && !text_template_is_counting(ctx) && !text_template_passes(ctx)) {
        assert_true(n_passing < sizeof passing / sizeof *passing);
        kept.text.data = passing[n_passing++] = memcpy(malloc(ev->text.len + 1), ev->text.data, ev->text.len);
    }
    return text_template_put(ctx, &kept);
}

static bool tell_x(void *ctx, text_template_input *in, err *why) {
    (void)why;
    return on_part_event(in, &(json_event){.kind = JSON_OBJECT_START}, NULL) &&
           on_part_event(in, &(json_event){.kind = JSON_KEY, .text = STR("unnamed")}, NULL) &&
           on_part_event(in, &(json_event){.kind = JSON_ARRAY_START}, NULL) && text_template_put_part(in, str_of(ctx)) &&
           on_part_event(in, &(json_event){.kind = JSON_ARRAY_END}, NULL) &&
           on_part_event(in, &(json_event){.kind = JSON_KEY, .text = STR("x")}, NULL) &&
           text_template_put_part(in, str_of(ctx)) &&
           on_part_event(in, &(json_event){.kind = JSON_OBJECT_END}, NULL);
}

static bool tell_part(void *ctx, text_template_input *in, str json, err *why) {
    (void)ctx;
    return json_parse(&memory.alloc, json, on_kept_event, in, why);
}

static void same_as_taken_apart(const char *source, const char *x) {
    char *context = malloc(strlen(x) + 16), *wanted;
    sprintf(context, "{\"x\":%s}", x);
    assert_ok(render(source, context), e);
    wanted = strdup(buf_str(&out).data);
    buf_clear(&out);
    text_template *t = text_template_new(str_of(source), &memory.alloc, &e);
    assert_ok(t && text_template_render_told(t, tell_x, tell_part, (char *)(uintptr_t)x, &limits, &memory.alloc, &out, &e), e);
    if (strcmp(buf_str(&out).data, wanted)) fail_msg("%s of %.300s\n  %.300s\n  not %.300s", source, x, out.data, wanted);
    buf_clear(&out);
    text_template_free(t);
    free(wanted), free(context);
    while (n_passing) free(passing[--n_passing]);
}

static const char *many_members(uint32_t n, const char *last) {
    static char text[16 * 300];
    char *at = text;
    for (uint32_t i = 0; i < n; i++) at += sprintf(at, "%c\"k%u\":%u", i ? ',' : '{', i, i);
    sprintf(at, ",%s}", last);
    return text;
}

static void test_closed(void **state) {
    (void)state;
    static const char *const sources[] = {
        "{{ x|tojson }}", "{{ x|tojson(indent=2) }}", "{{ x|tojson(sort_keys=true) }}", "{{ [x, 1, x]|tojson }}", "{{ x }}",
        "{{ x.items()|list }}{{ x|tojson }}", "{% for k in x %}{{ k }}={{ x[k]|tojson }};{% endfor %}", "{{ x.a }}|{{ x['a'] }}",
        "{{ x|length }}{{ x == x }}{{ 'a' in x }}{{ x is mapping }}", "{{ 1 if x else 0 }}", "{{ x|dictsort }}", "{{ x.copy() }}",
        "{{ dict(x, a=0)|tojson }}", "{{ '%(a)s' % x if 'a' in x }}", "{{ x.get('a') }}{{ x|items|list }}",
        "{% set y = x|tojson %}{{ '<' ~ y ~ '>' }}{{ x|tojson }}{{ y }}", "{{ x|urlencode }}", "{{ x|xmlattr }}"};
    const char *const objects[] = {
        "{\"a\":1}", " { \"b\" : [ ] , \"a\" : { } } ", "{\"a\":[1,2.50,1e3,-0,123456789012345678901234567890,true,null]}",
        "{\"a\":\"\\u00e9\\n\\\"<b>\",\"\\u0041\":{\"z\":[{\"y\":1},{\"y\":2}],\"a\":[[[]]]}}",
        "{\"a\":1,\"b\":2,\"a\":3}", "{\"b\":{\"a\":{\"c\":1,\"c\":2}},\"a\":0}"};
    for (size_t s = 0; s < sizeof sources / sizeof *sources; s++) {
        for (size_t i = 0; i < sizeof objects / sizeof *objects; i++) same_as_taken_apart(sources[s], objects[i]);
        same_as_taken_apart(sources[s], many_members(200, "\"a\":{\"k1\":1}"));
        same_as_taken_apart(sources[s], many_members(200, "\"k7\":{\"k1\":1}")); /* one is there twice */
        same_as_taken_apart(sources[s], many_members(64, "\"k63\":1"));
    }
}

static void test_exception(void **state) {
    (void)state;
    refused("{{ raise_exception('Roles must alternate: ' ~ n) }}", "{\"n\": 5}", "Roles must alternate: 5");
    assert_int_equal(e.code, ERR_INVALID);
    assert_string_equal(e.message, "Roles must alternate: 5");
}

/* What was there before stays, also after a failure. */
static void test_appends(void **state) {
    (void)state;
    buf_append(&out, "kept ", 5);
    assert_ok(render("{{ 'a' }}", "{}"), e);
    assert_string_equal(out.data, "kept a");
    assert_false(render("lost{{ nope() }}", "{}"));
    assert_string_equal(out.data, "kept a");
}

static void test_limits(void **state) {
    (void)state;
    const char *loop = "{% for a in range(1000) %}{% for b in range(1000) %}{% for c in range(1000) %}"
                       "{% endfor %}{% endfor %}{% endfor %}";
    limits.memory_bytes = 0;
    refused(loop, "{}", "the template takes more than 10000000 steps");
    limits.memory_bytes = 32 << 20;
    const char *grows[] = {
        "{% set ns = namespace(l=[]) %}{% for i in range(100000) %}{% set ns.l = [ns.l, i] + [i] * 50 %}{% endfor %}",
        "{% set ns = namespace(l=[1]) %}{% for i in range(100) %}{% set ns.l = ns.l + ns.l %}{% endfor %}",
        "{% set ns = namespace(d={}) %}{% for i in range(100000) %}{% set ns.d = dict(ns.d, a=1, **{i|string: i}) %}{% endfor %}",
        "{% macro m(a) %}{{ a ~ a }}{% endmacro %}{% set ns = namespace(t='xxxxxxxx') %}{% for i in range(40) %}{% set ns.t = m(ns.t) %}"
        "{% endfor %}"};
    for (size_t i = 0; i < sizeof grows / sizeof *grows; i++) {
        memory.peak_bytes = 0;
        refused(grows[i], "{}", "the template ");
        assert_true(memory.peak_bytes < (64u << 20));
    }
    assert_ok(render("{% set ns = namespace(l=[]) %}{% for i in range(50000) %}{% set ns.l = ns.l + [i] %}{% endfor %}{{ ns.l|length }}", "{}"), e);
    assert_string_equal(out.data, "50000");
    buf_clear(&out);
    limits.output_bytes = 1000;
    refused("{% for a in range(101) %}0123456789{% endfor %}", "{}", "writes more than 1000 bytes");
    refused("{% set ns = namespace(t='x') %}{% for a in range(20) %}{% set ns.t = ns.t ~ ns.t %}{% endfor %}", "{}",
            "a text of more than 1000 bytes");
    refused("{{ 'a' * 1001 }}", "{}", "a text of more than 1000 bytes");
    refused("{{ '%1001d' % 1 }}{{ '{:>1001}'.format(1) }}", "{}", "a text of more than 1000 bytes");
    refused("{{ [1] * 100000000 }}", "{}", "a list of more than");
    refused("{{ 2 ** 9999999999999 }}", "{}", "a whole number of more than 127 bits");
    refused("{{ 'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa'.replace('', '0123456789012345678901234567890')|length }}", "{}",
            "a text of more than 1000 bytes");
    refused("{{ 'a\nb'|indent(100000) }}", "{}", "a text of more than 1000 bytes");
    refused("{{ [1]|tojson(indent=100000) }}", "{}", "a text of more than 1000 bytes");
    refused("{{ range(100001) }}", "{}", "range() of more than 100000 numbers");
    limits.steps = 50;
    refused("{{ x|length }}", "{\"x\": \"0123456789012345678901234567890123456789\", \"y\": [1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,"
            "18,19,20,21,22,23,24,25,26,27,28,29,30,31,32,33,34,35,36,37,38,39,40,41,42,43,44,45,46,47,48,49,50,51]}",
            "takes more than 50 steps");
}

static void repeat(char *to, const char *what, int n) {
    for (*to = 0; n; n--) to = stpcpy(to, what);
}

static void test_depth(void **state) {
    (void)state;
    static char text[1 << 20], part[1 << 19];
    static const struct {
        const char *before, *again, *middle, *back, *behind;
    } nests[] = {
        {"{{ ", "(", "1", ")", " }}"}, {"{{ ", "[", "1", "]", " }}"}, {"{{ ", "{'a':", "1", "}", " }}"},
        {"{{ ", "not ", "1", "", " }}"}, {"{{ ", "- ", "1", "", " }}"}, {"{{ x", "[", "1", "]", " }}"},
        {"{{ ", "x(", "1", ")", " }}"}, {"", "{% if 1 %}", "", "{% endif %}", ""}, {"{{ 1", " + 1", "", "", " }}"},
        {"", "{% for x in [1] %}", "", "{% endfor %}", ""}, {"{{ x", ".y", "", "", " }}"}, {"{{ x", "|trim", "", "", " }}"},
        {"{{ ", "(", "x", ") is defined", " }}"}, {"{{ x", "()", "", "", " }}"}, {"{{ ", "1 if 1 else ", "1", "", " }}"},
        {"{% if 1 %}", "{% elif 1 %}", "", "", "{% endif %}"}, {"", "{% filter trim %}", "", "{% endfilter %}", ""},
        {"", "{% macro x() %}", "", "{% endmacro %}", ""}, {"", "{% set x %}", "", "{% endset %}", ""},
    };
    for (size_t i = 0; i < sizeof nests / sizeof *nests; i++) {
        char *at = stpcpy(text, nests[i].before);
        repeat(part, nests[i].again, 5000);
        at = stpcpy(stpcpy(at, part), nests[i].middle);
        repeat(part, nests[i].back, 5000);
        stpcpy(stpcpy(at, part), nests[i].behind);
        e = (err){0};
        assert_false(render(text, "{}"));
        if (!strstr(e.message, "deep") && !strstr(e.message, "in each other")) fail_msg("%s: %s", nests[i].again, e.message);
    }
    refused("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", "{}", "operations in each other");
    refused("{% macro m() %}{% call m() %}{{ caller() }}{% endcall %}{{ caller() }}{% endmacro %}{{ m() }}", "{}", "operations in each other");
    refused("{% set ns = namespace() %}{% set ns.x = ns %}{{ ns }}", "{}", "nested more than");
    refused("{% set ns = namespace(x=[]) %}{% for i in range(9000) %}{% set ns.x = [ns.x] %}{% endfor %}{{ ns.x ~ '' }}",
            "{}", "nested more than");
}

/* Keys that hash alike, long lists, texts added to: time is steps, and those are bounded. */
static void test_costs(void **state) {
    (void)state;
    assert_ok(render("{% set ns = namespace(t='') %}{% for i in range(50000) %}{% set ns.t = ns.t ~ 'abc' %}"
                     "{% endfor %}{{ ns.t|length }}", "{}"), e);
    assert_string_equal(out.data, "150000");
    buf_clear(&out);
    assert_ok(render("{% for i in range(3000) %}{% for m in messages %}{{ '' if messages[loop.index0] == m }}"
                     "{% endfor %}{% endfor %}",
                     "{\"messages\": [1,2,3,4,5,6,7,8]}"), e);
    refused("{% for i in range(100000) %}{{ x|upper|lower|length }}{% endfor %}",
            "{\"x\": \"abcdefghijabcdefghijabcdefghijabcdefghijabcdefghijabcdefghijabcdefghijabcdefghijabcdefghijabcdefghij........"
            "abcdefghijabcdefghijabcdefghijabcdefghijabcdefghijabcdefghijabcdefghijabcdefghijabcdefghijabcdefghij........\"}",
            "steps");
}

static void test_time(void **state) {
    (void)state;
    limits.now_s = 951782400 + 3600 * 23 + 59 * 60; /* 29 February 2000 */
    assert_ok(render("{{ strftime_now('%d %b %Y %H:%M %B %m') }}", "{}"), e);
    assert_string_equal(out.data, "29 Feb 2000 23:59 February 02");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_places, setup, teardown),
        cmocka_unit_test_setup_teardown(test_context, setup, teardown),
        cmocka_unit_test_setup_teardown(test_closed, setup, teardown),
        cmocka_unit_test_setup_teardown(test_exception, setup, teardown),
        cmocka_unit_test_setup_teardown(test_appends, setup, teardown),
        cmocka_unit_test_setup_teardown(test_limits, setup, teardown),
        cmocka_unit_test_setup_teardown(test_depth, setup, teardown),
        cmocka_unit_test_setup_teardown(test_costs, setup, teardown),
        cmocka_unit_test_setup_teardown(test_time, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
