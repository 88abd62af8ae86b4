/* What base/str and the JSON writer do eight bytes at a time gives what one byte at a time gives; the bounds of buffers,
 * characters and sizes. */
#include "../test.h"

#include <stdio.h>

#include "base/json.h"
#include "base/rng.h"

enum { TEXT_BYTES = 40 };

static bool valid_slowly(str s) {
    uint32_t cp;
    int n;
    for (; s.len; s.data += n, s.len -= (size_t)n)
        if ((n = utf8_decode(s.data, s.len, &cp)) <= 0) return false;
    return true;
}

static size_t quote_slowly(str s, char *out) {
    size_t used = 0;
    uint32_t cp;
    int n;
    out[used++] = '"';
    for (; s.len; s.data += n > 0 ? n : 1, s.len -= (size_t)(n > 0 ? n : 1)) {
        static const char named[] = "\"\"\\\\\nn\rr\tt\bb\ff";
        n = utf8_decode(s.data, s.len, &cp);
        const char *short_form = NULL;
        for (size_t i = 0; n == 1 && i + 1 < sizeof named; i += 2)
            if (named[i] == *s.data) short_form = &named[i + 1];
        if (short_form) used += (size_t)sprintf(out + used, "\\%c", *short_form);
        else if (n == 1 && cp < 0x20) used += (size_t)sprintf(out + used, "\\u%04x", (unsigned)cp);
        else if (n <= 0) used += (size_t)sprintf(out + used, "\xEF\xBF\xBD");
        else memcpy(out + used, s.data, (size_t)n), used += (size_t)n;
    }
    out[used++] = '"';
    return used;
}

static void check_text(str s) {
    char expected[512];
    test_alloc alloc;
    test_alloc_init(&alloc, 0);
    buf out;
    buf_init(&out, &alloc.alloc, sizeof expected);
    json_writer w;
    json_begin(&w, &out);
    json_string(&w, s);
    size_t len = quote_slowly(s, expected);
    assert_int_equal(utf8_valid(s), valid_slowly(s));
    assert_int_equal(out.len, len);
    assert_memory_equal(out.data, expected, len);
    buf_free(&out);
    assert_int_equal(alloc.outstanding_bytes, 0);
}

static void test_each_byte_at_each_place(void **state) {
    (void)state;
    char text[TEXT_BYTES];
    for (int byte = 0; byte < 256; byte++) {
        for (size_t at = 0; at < TEXT_BYTES; at++) {
            memset(text, 'a', sizeof text);
            text[at] = (char)byte;
            check_text((str){text, sizeof text});
            check_text((str){text + 3, sizeof text - 3}); /* not aligned, no whole words */
        }
    }
}

static void test_random_texts(void **state) {
    (void)state;
    static const char *const pieces[] = {"a", "plain words of some length ", "\"", "\\", "\n", "\x01", "\x1f", "\x20", "\x7f",
                                         "é", "日本", "😀", "\xc3", "\xed\xa0\x80", "\xff", "!", "[", "#", "]"};
    rng r;
    rng_seed(&r, 7);
    for (int i = 0; i < 20000; i++) {
        char text[TEXT_BYTES + 32];
        size_t len = 0;
        while (len < TEXT_BYTES && rng_next(&r) % 8) {
            const char *piece = pieces[rng_next(&r) % (sizeof pieces / sizeof *pieces)];
            memcpy(text + len, piece, strlen(piece));
            len += strlen(piece);
        }
        check_text((str){text, len});
    }
}

/* ---- a buffer's bound ---- */

/* The limit counts the NUL at the end; what does not fit is refused whole, and so is all that comes after. */
static void a_buffer_holds_one_byte_less_than_its_limit(void **state) {
    (void)state;
    for (size_t limit = 1; limit <= 200; limit++) {
        test_alloc alloc;
        buf b;
        test_alloc_init(&alloc, 0);
        buf_init(&b, &alloc.alloc, limit);
        for (size_t i = 0; i + 1 < limit; i++) {
            buf_append(&b, "x", 1);
            assert_false(b.failed);
            assert_int_equal(b.len, i + 1);
            assert_true(b.cap > b.len && !b.data[b.len]);
        }
        assert_true(buf_reserve(&b, 0) && b.cap <= limit);
        buf_append(&b, "x", 1);
        assert_true(b.failed);
        assert_int_equal(b.len, limit - 1);
        buf_append(&b, "", 0);
        assert_true(b.failed);
        buf_free(&b);

        buf_init(&b, &alloc.alloc, limit);
        buf_printf(&b, "%*s", (int)limit, "");
        assert_true(b.failed && b.len == 0);
        buf_free(&b);
        assert_int_equal(alloc.outstanding_bytes, 0);
    }
    test_alloc alloc;
    buf b;
    test_alloc_init(&alloc, 0);
    buf_init(&b, &alloc.alloc, 100);
    assert_false(buf_reserve(&b, SIZE_MAX)); /* nor does the sum run over */
    buf_free(&b);
}

static void a_cleared_buffer_is_like_new(void **state) {
    (void)state;
    test_alloc alloc;
    buf b;
    test_alloc_init(&alloc, 0);
    buf_init(&b, &alloc.alloc, 8);
    buf_append_str(&b, STR("abc"));
    buf_append_str(&b, STR("much too long"));
    assert_true(b.failed);
    buf_append_str(&b, STR("d"));
    assert_string_equal(b.data, "abc"); /* a failed one takes nothing, so its writer checks once */
    buf_clear(&b);
    assert_false(b.failed);
    assert_string_equal(b.data, "");
    buf_append_str(&b, STR("again"));
    assert_false(b.failed);
    assert_string_equal(b.data, "again");
    buf_free(&b);
    assert_int_equal(alloc.outstanding_bytes, 0);
}

/* ---- UTF-8's bounds ---- */

/* All lengths, and the first and last character of each stretch that Unicode allows; beside them what is none. */
static void utf8_ends_where_unicode_does(void **state) {
    (void)state;
    static const uint32_t edges[] = {0, 0x7F, 0x80, 0x7FF, 0x800, 0xD7FF, 0xE000, 0xFFFF, 0x10000, 0x3FFFF, 0x40000, 0x10FFFF};
    static const char *const none[] = {
        "\xC0\x80", "\xC1\xBF", "\xE0\x9F\xBF", "\xF0\x8F\xBF\xBF",                    /* longer than needed */
        "\xED\xA0\x80", "\xED\xBF\xBF",                                                 /* surrogates */
        "\xF4\x90\x80\x80", "\xF4\xBF\xBF\xBF", "\xF5\x80\x80\x80", "\xFF", "\x80", "\xBF", /* beyond U+10FFFF */
    };
    uint32_t cp;
    char out[4];
    for (size_t i = 0; i < sizeof edges / sizeof *edges; i++) {
        int n = utf8_encode(edges[i], out);
        assert_int_equal(n, edges[i] < 0x80 ? 1 : edges[i] < 0x800 ? 2 : edges[i] < 0x10000 ? 3 : 4);
        assert_int_equal(utf8_decode(out, (size_t)n, &cp), n);
        assert_int_equal(cp, edges[i]);
        for (int part = 0; part < n; part++) assert_int_equal(utf8_decode(out, (size_t)part, &cp), -1);
    }
    for (size_t i = 0; i < sizeof none / sizeof *none; i++) {
        assert_int_equal(utf8_decode(none[i], strlen(none[i]), &cp), 0);
        assert_false(utf8_valid(str_of(none[i])));
    }
    assert_int_equal(utf8_decode("\xF4\x90", 2, &cp), 0); /* seen as soon as it can be */
}

/* ---- sizes ---- */

static void sizes_have_binary_units(void **state) {
    (void)state;
    static const struct {
        const char *text;
        uint64_t bytes;
    } good[] = {{"0", 0}, {"4096", 4096}, {"7b", 7}, {"1k", 1024}, {"2KiB", 2048}, {"3m", 3 << 20}, {"1.5G", 3ull << 29},
                {"2T", 2ull << 40}, {"1tib", 1ull << 40}, {"0.5TB", 1ull << 39}, {"8000000T", 8000000ull << 40}};
    static const char *const bad[] = {"", "-1", "+1", " 1", "1 ", "0x10", "inf", "nan", "1Ki2", "1P", "1TT", "T", "9000000T",
                                      "1iB", "1e30", "12345678901234567890123456789012345"};
    uint64_t bytes;
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        if (!bytes_parse(str_of(good[i].text), &bytes)) fail_msg("%s is a size", good[i].text);
        assert_true(bytes == good[i].bytes);
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        if (bytes_parse(str_of(bad[i]), &bytes)) fail_msg("'%s' is no size", bad[i]);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_each_byte_at_each_place),
        cmocka_unit_test(test_random_texts),
        cmocka_unit_test(a_buffer_holds_one_byte_less_than_its_limit),
        cmocka_unit_test(a_cleared_buffer_is_like_new),
        cmocka_unit_test(utf8_ends_where_unicode_does),
        cmocka_unit_test(sizes_have_binary_units),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
