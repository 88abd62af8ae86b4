/* Every allocation of compiling and of rendering fails once: an error, nothing lost, no leak; what stands afterwards
 * still works. */
#include "../../unit/test.h"

#include "text/template/template.h"

static const char source[] =
    "{# every kind of thing that takes memory #}"
    "{%- macro show(x, *{}) %}{% endmacro %}";

static const char rich[] =
    "{%- macro show(x, y='\\u00e9\\n') %}[{{ x }}{{ y }}{{ kwargs }}{{ varargs }}]{% endmacro -%}"
    "{%- macro wrap() %}<{{ caller(1) }}>{% endmacro -%}"
    "{% call(n) wrap() %}{{ n }}{% endcall %}"
    "{% set ns = namespace(a=1) %}{% set ns.b = 'x' %}{% set one, two = [1, 2] %}{% set block %}b{{ one }}{% endset %}"
    "{% for m in messages if m.role != 'x' %}{% set ns.b = ns.b ~ m.content %}{{ loop.index }}{{ show(m.role, z=1) }}"
    "{% for k, v in m|dictsort %}{{ k|upper }}={{ v|tojson(indent=2, sort_keys=true) }}{% endfor %}{% endfor %}"
    "{{ messages|map(attribute='role')|unique|sort|join(', ') }}{{ ns.b.split('a')[::-1] }}{{ ns.b|replace('h', 'H') }}"
    "{{ many.k9 }}{{ (many.keys()|list)[3:1:-1] }}{{ ns.b|indent(3, true) }}{{ range(20)|list + [1.5] }}{{ (1, 2)|join }}"
    "{{ strftime_now('%Y') }}{{ '\\U0001F600' ~ d }}{{ '{:>5}|%s'.format(1) % 'x' }}{% for g in messages|groupby('role') %}{{ g }}{% endfor %}{{ 2 ** 100 }}{{ block ~ 5.25 ~ '12'|int }}{% filter title %}a b{% endfilter %}";

static const char context[] =
    "{\"messages\":[{\"role\":\"user\",\"content\":\"h\\u00e9llo\\n\"},{\"role\":\"assistant\",\"content\":\"aha\"}],"
    "\"many\":{\"k1\":1,\"k2\":2,\"k3\":3,\"k4\":4,\"k5\":5,\"k6\":6,\"k7\":7,\"k8\":8,\"k9\":9,\"k10\":[1,[2,{}]]}}";

enum { FAILURES_MAX = 1000 };

static void test_new(void **state) {
    (void)state;
    size_t fail_at = 1;
    for (; fail_at < FAILURES_MAX; fail_at++) {
        test_alloc m;
        test_alloc_init(&m, fail_at);
        err e = {0};
        text_template *t = text_template_new(str_of(rich), &m.alloc, &e);
        bool refused = m.calls >= fail_at;
        if ((t != NULL) == refused) fail_msg("allocation %zu of %zu: %s", fail_at, m.calls, e.message);
        if (!t) assert_true(e.code == ERR_MEMORY && e.message[0]);
        else assert_int_equal(text_template_bytes(t), m.outstanding_bytes);
        text_template_free(t);
        assert_int_equal(m.outstanding_bytes, 0);
        if (!refused) break;
    }
    assert_true(fail_at > 4 && fail_at < FAILURES_MAX);
    test_alloc m;
    test_alloc_init(&m, 0);
    err e = {0};
    assert_null(text_template_new(str_of(source), &m.alloc, &e)); /* wrong in itself: nothing is left either */
    assert_int_equal(e.code, ERR_INVALID);
    assert_int_equal(m.outstanding_bytes, 0);
}

static void test_render(void **state) {
    (void)state;
    test_alloc steady;
    test_alloc_init(&steady, 0);
    err e = {0};
    text_template_limits limits;
    text_template_limits_default(&limits);
    text_template *t = text_template_new(str_of(rich), &steady.alloc, &e);
    assert_ok(t, e);
    buf wanted, got;
    buf_init(&wanted, &steady.alloc, 1 << 20);
    assert_ok(text_template_render(t, str_of(context), &limits, &steady.alloc, &wanted, &e), e);
    assert_true(wanted.len > 250);
    size_t fail_at = 1;
    for (; fail_at < FAILURES_MAX; fail_at++) {
        test_alloc m;
        test_alloc_init(&m, fail_at);
        buf_init(&got, &m.alloc, 1 << 20);
        e = (err){0};
        bool ok = text_template_render(t, str_of(context), &limits, &m.alloc, &got, &e), refused = m.calls >= fail_at;
        assert_int_equal(ok, !refused);
        if (!ok) assert_true(e.code == ERR_MEMORY && e.message[0] && got.len == 0);
        if (ok) assert_true(str_eq(buf_str(&got), buf_str(&wanted)));
        /* and once memory is there again, the same buffer serves */
        if (!ok) assert_ok(text_template_render(t, str_of(context), &limits, &m.alloc, &got, &e), e);
        assert_true(str_eq(buf_str(&got), buf_str(&wanted)));
        buf_free(&got);
        assert_int_equal(m.outstanding_bytes, 0);
        if (!refused) break;
    }
    assert_true(fail_at > 8 && fail_at < FAILURES_MAX);
    buf_free(&wanted);
    text_template_free(t);
    assert_int_equal(steady.outstanding_bytes, 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_new), cmocka_unit_test(test_render)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
