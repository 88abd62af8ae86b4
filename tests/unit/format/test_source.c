/* A GGUF file through the seam that models see (format/source.h). */
#include "../test.h"

#include "format/gguf.h"
#include "gguf_build.h"

typedef struct opened {
    build b;
    test_alloc alloc;
    gguf g;
} opened;

static opened o;

static int up(void **state) {
    (void)state;
    err e = {0};
    o = (opened){0};
    build_sample(&o.b, 3);
    test_alloc_init(&o.alloc, 0);
    assert_ok(gguf_open_memory(&o.g, o.b.bytes, o.b.len, "test.gguf", &o.alloc.alloc, &e), e);
    return 0;
}

static int down(void **state) {
    (void)state;
    gguf_close(&o.g);
    assert_int_equal(o.alloc.outstanding_bytes, 0);
    return 0;
}

/* A value for each of n: of an array its items, of a number itself; what is absent and may be leaves all as it was. */
static void a_number_for_each(void **state) {
    (void)state;
    const format_source *s = &o.g.source;
    uint32_t v[3] = {1, 2, 3};
    err e = {0};
    assert_ok(format_u32s(s, "t.u8", true, 3, v, &e), e);
    assert_true(v[0] == 200 && v[1] == 200 && v[2] == 200);
    assert_ok(format_u32s(s, "a.bool", true, 2, v, &e), e);
    assert_true(v[0] == 0 && v[1] == 1 && v[2] == 200);
    assert_ok(format_u32s(s, "a.none", false, 0, v, &e), e);
    assert_ok(format_u32s(s, "nowhere", false, 3, v, &e), e);
    assert_true(v[0] == 0 && v[1] == 1 && v[2] == 200);
}

static void a_number_for_each_refused(void **state) {
    (void)state;
    static const struct {
        const char *key;
        uint32_t n;
        const char *words;
    } rows[] = {
        {"nowhere", 3, "missing key nowhere"},
        {"a.bool", 3, "key a.bool has 2 items; there must be 3"},
        {"a.none", 1, "key a.none has 0 items; there must be 1"},
        {"a.i32", 2, "key a.i32 has item 1 of -7, not from 0 to"},
        {"a.f32", 2, "key a.f32 is an array of f32, not of integers"},
        {"a.strings", 3, "key a.strings is an array of string, not of integers"},
        {"t.f32", 2, "key t.f32 is f32, not an integer"},
        {"t.i8", 2, "key t.i8 is -100, not from 0 to"},
        {"t.true", 2, "key t.true is bool, not an integer"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        uint32_t v[3];
        err e = {0};
        assert_false(format_u32s(&o.g.source, rows[i].key, true, rows[i].n, v, &e));
        assert_int_equal(e.code, ERR_FORMAT);
        if (!strstr(e.message, rows[i].words)) fail_msg("'%s' does not say '%s'", e.message, rows[i].words);
    }
}

static void what_a_source_gives(void **state) {
    (void)state;
    const format_source *s = &o.g.source;
    err e = {0};
    float f = 0;
    str text;
    bool flag = false;
    uint8_t data[4];
    assert_true(format_has(s, "t.u8") && !format_has(s, "nowhere"));
    assert_ok(format_f32(s, "t.f32", true, &f, &e) && format_str(s, "general.architecture", true, &text, &e), e);
    assert_true(f == 1.5f && str_is(text, "sample"));
    assert_ok(format_bool(s, "t.true", true, &flag, &e), e);
    assert_true(flag);
    assert_int_equal(s->n_tensors, 3);
    assert_int_equal(s->tensor_bytes, 32 + 68 + 5);
    const format_tensor *t = format_find(s, STR("w.q8"));
    assert_non_null(t);
    assert_ok(format_read(s, t, 64, data, 4, &e), e);
    for (int i = 0; i < 4; i++) assert_int_equal(data[i], 128 + i);
    assert_null(format_find(s, STR("w.q")));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_number_for_each, up, down),
        cmocka_unit_test_setup_teardown(a_number_for_each_refused, up, down),
        cmocka_unit_test_setup_teardown(what_a_source_gives, up, down),
    };
    return cmocka_run_group_tests_name("format_source", tests, NULL, NULL);
}
