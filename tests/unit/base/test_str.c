/* What base/str and the JSON writer do eight bytes at a time gives what one byte at a time gives. */
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

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_each_byte_at_each_place),
        cmocka_unit_test(test_random_texts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
