#include "../test.h"

#include <math.h>
#include <stdio.h>

#include "report/chart.h"

enum { MIB = 1 << 20, MANY = 10000 };

/* ---- reading SVG: enough XML to know that it is well formed ---- */

static bool name_character(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-';
}

static const char *read_entity(const char *p) {
    static const char *const entities[] = {"&amp;", "&lt;", "&gt;", "&quot;", "&#39;"};
    for (size_t i = 0; i < sizeof entities / sizeof *entities; i++)
        if (!strncmp(p, entities[i], strlen(entities[i]))) return p + strlen(entities[i]);
    fail_msg("a bare & at: %.40s", p);
    return NULL;
}

static const char *read_attributes(const char *p) {
    while (*p == ' ') {
        for (p++; name_character(*p); p++) {}
        assert_memory_equal(p, "=\"", 2);
        for (p += 2; *p != '"';) {
            assert_true(*p && *p != '<');
            p = *p == '&' ? read_entity(p) : p + 1;
        }
        p++;
    }
    return p;
}

/* Elements closed in order, attributes quoted, entities known, every character allowed. */
static void assert_well_formed(str text) {
    char open[16][16];
    int depth = 0, roots = 0;
    assert_true(utf8_valid(text));
    assert_int_equal(strlen(text.data), text.len);
    for (const char *p = text.data; *p;) {
        assert_true((unsigned char)*p >= 0x20 || *p == '\n');
        if (*p == '&') p = read_entity(p);
        else if (*p != '<') assert_true(depth > 0 || *p == '\n'), p++;
        else if (p[1] == '/') {
            assert_true(depth > 0);
            size_t n = strlen(open[--depth]);
            assert_memory_equal(p + 2, open[depth], n);
            assert_int_equal(p[2 + n], '>');
            p += n + 3;
        } else {
            size_t n = 0;
            for (p++; name_character(*p); p++) open[depth][n < 15 ? n++ : n] = *p;
            open[depth][n] = 0;
            roots += depth == 0;
            p = read_attributes(p);
            bool empty = *p == '/';
            if (!empty) depth++;
            p += empty;
            assert_int_equal(*p++, '>');
            assert_true(depth < 16);
        }
    }
    assert_int_equal(depth, 0);
    assert_int_equal(roots, 1);
}

static void assert_holds(const buf *svg, const char *part) {
    if (!strstr(svg->data, part)) fail_msg("not in the picture: %s", part);
}

static int count(const char *text, const char *part) {
    int n = 0;
    for (; (text = strstr(text, part)); text += strlen(part)) n++;
    return n;
}

/* The points of the nth path of a class: x and y pairs as they stand in its data. */
static int read_points(const buf *svg, const char *class, int nth, double (*points)[2], int most) {
    char wanted[64];
    snprintf(wanted, sizeof wanted, "<path class=\"%s\"", class);
    const char *p = svg->data;
    for (int i = 0; i <= nth; i++) assert_non_null(p = strstr(i ? p + 1 : p, wanted));
    p = strstr(p, " d=\"") + 4;
    int n = 0, used;
    for (; *p != '"'; p++)
        if ((*p == 'M' || *p == 'L') && n < most &&
            sscanf(p + 1, "%lf %lf%n", &points[n][0], &points[n][1], &used) == 2)
            n++;
    return n;
}

static test_alloc allocator;

static buf drawn(const report_chart *c) {
    buf svg;
    test_alloc_init(&allocator, 0);
    buf_init(&svg, &allocator.alloc, 8 * MIB);
    report_chart_svg(c, &svg);
    assert_false(svg.failed);
    assert_well_formed(buf_str(&svg));
    return svg;
}

static void drop(buf *svg) {
    buf_free(svg);
    assert_int_equal(allocator.outstanding_bytes, 0);
}

/* ---- the tests ---- */

static const double three[] = {0, 10, 20};
static const double low[] = {1 * MIB, 2 * MIB, 3 * MIB}, high[] = {4 * MIB, 4 * MIB, 8 * MIB};

static void everything_named_is_there(void **state) {
    (void)state;
    const report_series series[] = {{"weights", NULL, low}, {"kv", "#123456", high}};
    const report_band bands[] = {{0, 9, "#00ff00", "safe"}, {9, 20, "#ff0000", "warning"}};
    const report_mark marks[] = {{5, "request"}, {5.001, "no room"}, {15, NULL}};
    report_chart c = {.title = "memory", .n = 3, .x = three, .stacked = true, .n_series = 2, .series = series,
               .line = 12 * MIB, .line_label = "the line", .n_bands = 2, .bands = bands, .n_marks = 3, .marks = marks};
    buf svg = drawn(&c);
    static const char *const parts[] = {">memory<", ">weights<", ">kv<", "#123456", ">the line<", ">safe<", ">warning<",
                                        ">request<", "#00ff00", ">0 MiB<", ">4 MiB<", ">12 MiB<", ">20 s<"};
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) assert_holds(&svg, parts[i]);
    assert_int_equal(count(svg.data, "class=\"area\""), 2);
    assert_int_equal(count(svg.data, "class=\"line\""), 1);
    assert_null(strstr(svg.data, "no room"));
    assert_null(strstr(svg.data, "<script"));
    drop(&svg);
}

static void stacks_stand_on_each_other(void **state) {
    (void)state;
    const report_series series[] = {{"a", NULL, low}, {"b", NULL, high}};
    report_chart c = {.n = 3, .x = three, .stacked = true, .n_series = 2, .series = series, .line = NAN};
    buf svg = drawn(&c);
    double a[8][2], b[8][2];
    assert_int_equal(read_points(&svg, "area", 0, a, 8), 6);
    assert_int_equal(read_points(&svg, "area", 1, b, 8), 6);
    for (int i = 0; i < 3; i++) {
        /* the upper edge of one is the lower of the next */
        assert_true(a[i][0] == b[i][0] && a[i][1] == b[5 - i][1]);
    }
    double unit = (a[5][1] - a[0][1]) / low[0]; /* pixels a byte */
    assert_true(fabs((a[5][1] - b[2][1]) / unit - 11 * MIB) < 0.02 * 11 * MIB);
    assert_true(fabs((a[5][1] - a[2][1]) / unit - 3 * MIB) < 0.02 * 3 * MIB);
    assert_int_equal(count(svg.data, "class=\"line\""), 0);
    drop(&svg);
}

static void hostile_text_is_text(void **state) {
    (void)state;
    const report_series series[] = {{"</text><script>alert('x')</script>", "red\" onload=\"x", low},
                                   {"\xFF\xC0\x01\x7F\xE2\x82", NULL, high}};
    const report_band bands[] = {{0, 20, "\"/><a", "<&>\"'"}};
    const report_mark marks[] = {{5, "]]>&<"}};
    report_chart c = {.title = "a\nb & <c>", .y_unit = "<%n%s>", .n = 3, .x = three, .n_series = 2, .series = series,
               .line = 1, .line_label = "<b>",
               .n_bands = 1, .bands = bands, .n_marks = 1, .marks = marks};
    buf svg = drawn(&c);
    assert_holds(&svg, "&lt;/text&gt;&lt;script&gt;alert(&#39;x&#39;)");
    assert_holds(&svg, "&lt;%n%s&gt;");
    assert_holds(&svg, "a\xEF\xBF\xBD" "b &amp; &lt;c&gt;");
    assert_null(strstr(svg.data, "<script"));
    assert_null(strstr(svg.data, "onload=\""));
    drop(&svg);
}

static void long_names_are_cut(void **state) {
    (void)state;
    char name[500];
    memset(name, 'n', sizeof name - 1), name[499] = 0;
    const report_series series[] = {{name, NULL, low}};
    report_chart c = {.title = name, .n = 3, .x = three, .n_series = 1, .series = series, .line = NAN};
    buf svg = drawn(&c);
    assert_int_equal(count(svg.data, "nnn…</text>"), 2); /* title and legend */
    assert_int_equal(count(svg.data, name), 1); /* the whole title, in <title>: what viewers show of a document */
    drop(&svg);
}

static void none_and_one(void **state) {
    (void)state;
    report_chart c = {.title = "empty", .line = 5 * MIB};
    buf svg = drawn(&c);
    assert_holds(&svg, "nothing was recorded");
    drop(&svg);
    const report_series series[] = {{"one", NULL, high}};
    for (int stacked = 0; stacked < 2; stacked++) {
        c = (report_chart){.title = "one", .n = 1, .x = three + 1, .stacked = stacked, .n_series = 1, .series = series,
                    .line = NAN};
        svg = drawn(&c);
        assert_holds(&svg, ">one<");
        assert_null(strstr(svg.data, "nan"));
        drop(&svg);
    }
}

static void values_that_are_no_numbers(void **state) {
    (void)state;
    const double odd[] = {NAN, -5, INFINITY}, times[] = {NAN, 1, 0.5};
    const report_series series[] = {{"odd", NULL, odd}, {"sound", NULL, high}};
    for (int stacked = 0; stacked < 2; stacked++) {
        report_chart c = {.n = 3, .x = times, .stacked = stacked, .n_series = 2, .series = series, .line = INFINITY};
        buf svg = drawn(&c);
        assert_null(strstr(svg.data, "nan"));
        assert_null(strstr(svg.data, "inf"));
        drop(&svg);
    }
}

static void many_points_are_thinned_and_keep_their_peak(void **state) {
    (void)state;
    static double x[MANY], flat[MANY];
    for (int i = 0; i < MANY; i++) x[i] = i / 10.0, flat[i] = MIB;
    flat[7777] = 64 * MIB;
    const report_series series[] = {{"flat", NULL, flat}};
    for (int stacked = 0; stacked < 2; stacked++) {
        report_chart c = {.width = 800, .n = MANY, .x = x, .stacked = stacked, .n_series = 1, .series = series,
                   .line = NAN};
        buf svg = drawn(&c);
        static double points[4000][2];
        int n = read_points(&svg, stacked ? "area" : "curve", 0, points, 4000);
        assert_in_range(n, 300, 1600);
        assert_true(svg.len < 64 * 1024);
        double least_y = 1e9, first = 1e9, last = 0;
        for (int i = stacked ? 0 : 1; i < n; i++) {
            least_y = fmin(least_y, points[i][1]);
            first = fmin(first, points[i][0]), last = fmax(last, points[i][0]);
        }
        assert_true(points[1][1] - least_y > 150); /* the one high point, of 10,000 */
        assert_true(fabs(first - 84) < 0.2 && fabs(last - 780) < 0.2);
        drop(&svg);
    }
}

static void a_line_far_above_is_named_at_the_top(void **state) {
    (void)state;
    const report_series series[] = {{"a", NULL, low}};
    report_chart c = {.n = 3, .x = three, .n_series = 1, .series = series, .line = 1000.0 * MIB, .line_label = "budget"};
    buf svg = drawn(&c);
    assert_holds(&svg, "↑ budget");
    assert_holds(&svg, ">2 MiB<");
    assert_int_equal(count(svg.data, "class=\"line\""), 0);
    drop(&svg);
}

static void ticks_suit_their_unit(void **state) {
    (void)state;
    const double gib[] = {1.5 * 1024 * MIB, 2.0 * 1024 * MIB, 3.5 * 1024 * MIB};
    const double hours[] = {0, 3600, 4 * 3600}, minutes[] = {0, 60, 600};
    const report_series bytes[] = {{"a", NULL, gib}};
    report_chart c = {.n = 3, .x = hours, .n_series = 1, .series = bytes, .line = NAN};
    buf svg = drawn(&c);
    assert_holds(&svg, ">1 GiB<");
    assert_holds(&svg, ">2:00 h<");
    drop(&svg);
    const double rates[] = {10, 20, 47};
    const report_series plain[] = {{"rate", NULL, rates}};
    c = (report_chart){.y_unit = "tok/s", .n = 3, .x = minutes, .n_series = 1, .series = plain, .line = NAN};
    svg = drawn(&c);
    assert_holds(&svg, ">40 tok/s<");
    assert_holds(&svg, ">4:00<");
    drop(&svg);
    for (double top = 1; top < 1e18; top *= 7) { /* always some ticks, never a wall of them */
        const double values[] = {0, top, top / 2};
        const report_series s[] = {{"a", NULL, values}};
        c = (report_chart){.n = 3, .x = three, .n_series = 1, .series = s, .line = NAN};
        svg = drawn(&c);
        assert_in_range(count(svg.data, "class=\"grid\""), 2, 7);
        drop(&svg);
    }
}

static void tiny_sizes_and_long_legends(void **state) {
    (void)state;
    report_series series[40];
    char names[40][24];
    for (int i = 0; i < 40; i++) {
        snprintf(names[i], sizeof names[i], "account %d", i);
        series[i] = (report_series){names[i], NULL, low};
    }
    report_chart c = {.width = 1, .height = 1, .n = 3, .x = three, .stacked = true, .n_series = 40, .series = series,
               .line = NAN};
    buf svg = drawn(&c);
    assert_holds(&svg, ">account 39<");
    drop(&svg);
}

static void a_refused_buffer_says_so(void **state) {
    (void)state;
    const report_series series[] = {{"a", NULL, low}};
    report_chart c = {.n = 3, .x = three, .n_series = 1, .series = series, .line = NAN};
    for (size_t fail_at = 1; fail_at < 5; fail_at++) {
        test_alloc_init(&allocator, fail_at);
        buf svg;
        buf_init(&svg, &allocator.alloc, 8 * MIB);
        report_chart_svg(&c, &svg);
        assert_true(svg.failed);
        drop(&svg);
    }
    test_alloc_init(&allocator, 0);
    buf svg;
    buf_init(&svg, &allocator.alloc, 500);
    report_chart_svg(&c, &svg);
    assert_true(svg.failed);
    drop(&svg);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(everything_named_is_there),
        cmocka_unit_test(stacks_stand_on_each_other),
        cmocka_unit_test(hostile_text_is_text),
        cmocka_unit_test(long_names_are_cut),
        cmocka_unit_test(none_and_one),
        cmocka_unit_test(values_that_are_no_numbers),
        cmocka_unit_test(many_points_are_thinned_and_keep_their_peak),
        cmocka_unit_test(a_line_far_above_is_named_at_the_top),
        cmocka_unit_test(ticks_suit_their_unit),
        cmocka_unit_test(tiny_sizes_and_long_legends),
        cmocka_unit_test(a_refused_buffer_says_so),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
