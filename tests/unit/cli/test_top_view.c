/* plimsoll top: what servers say read into figures, changes between readings, and the frame drawn from them. */
#include "../test.h"

#include <stdio.h>

#include "cli/top_view.h"

static const char health[] =
    "{\"status\":\"ok\",\"timestamp\":\"x\",\"active_jobs\":3,\"queued_jobs\":2,\"model\":\"tiny\","
    "\"memory\":{\"level\":\"caution\",\"available_bytes\":1048576,\"used_bytes\":3145728,\"line_bytes\":4194304},"
    "\"gpu_memory\":null}";

static const char memory[] =
    "{\"books\":{\"line_bytes\":4194304,\"kernel_bytes\":3145728,\"ledger_bytes\":3000000,"
    "\"ledger_peak_bytes\":3100000,\"unexplained_bytes\":-145728,"
    "\"tolerance_bytes\":8388608,\"balanced\":true,\"level\":\"caution\","
    "\"available_bytes\":1048576,\"reclaimable_bytes\":524288,\"accounts\":{"
    "\"weights\":{\"now_bytes\":1000000,\"peak_bytes\":1000000,\"limit_bytes\":null,\"refused\":0},"
    "\"kv\":{\"now_bytes\":2000000,\"peak_bytes\":2100000,\"limit_bytes\":null,\"refused\":4},"
    "\"adapters\":{\"now_bytes\":0,\"peak_bytes\":0,\"limit_bytes\":null,\"refused\":0}},"
    "\"system\":{\"total_bytes\":8589934592,\"available_bytes\":4294967296},"
    "\"cgroup\":{\"version\":2,\"limit_bytes\":null}},"
    "\"kv_pool\":{\"budget_bytes\":4000000,\"used_bytes\":2000000,\"evictable_bytes\":500000,\"waste\":0.125,"
    "\"type\":\"q8\",\"parked_jobs\":1,\"parkings\":7},"
    "\"cache\":{\"entries\":12,\"tokens\":345,\"hits\":6,\"misses\":4,\"hit_tokens\":99},"
    "\"spill\":{\"file_bytes\":1048576,\"slots\":100,\"used\":3,\"spilled_pages\":5,\"restored_pages\":2},"
    "\"jobs\":{\"submitted\":50,\"finished\":40,\"cancelled\":1,\"failed\":0,\"refused\":9},"
    "\"engine\":{\"threads\":2,\"tokens\":1000},"
    "\"timeline\":[{\"books\":{\"line_bytes\":1}},[[1]],7],\"extra\":{\"line_bytes\":5}}";

static test_alloc heap;

static int begin(void **state) {
    (void)state;
    test_alloc_init(&heap, 0);
    return 0;
}

static int nothing_is_left(void **state) {
    (void)state;
    return heap.outstanding_bytes != 0;
}

static top_snapshot both(const char *first, const char *second) {
    top_snapshot s;
    err e = {0};
    assert_ok(top_read_health(&heap.alloc, str_of(first), &s, &e), e);
    assert_ok(top_read_memory(&heap.alloc, str_of(second), &s, &e), e);
    return s;
}

static void reads_what_a_server_says(void **state) {
    (void)state;
    top_snapshot s = both(health, memory);
    assert_string_equal(s.status, "ok");
    assert_string_equal(s.model, "tiny");
    assert_string_equal(s.level, "caution");
    assert_int_equal(s.active, 3);
    assert_int_equal(s.queued, 2);
    assert_int_equal(s.preempted, 1);
    assert_int_equal(s.line_bytes, 4194304);
    assert_int_equal(s.used_bytes, 3145728);
    assert_int_equal(s.unexplained_bytes, -145728);
    assert_true(s.balanced && s.has_pool && s.has_spill && s.has_jobs && s.has_memory);
    assert_int_equal(s.n_accounts, 3);
    assert_string_equal(s.accounts[1].name, "kv");
    assert_int_equal(s.accounts[1].now_bytes, 2000000);
    assert_int_equal(s.accounts[1].refused, 4);
    assert_int_equal(s.cgroup_limit_bytes, UINT64_MAX);
    assert_true(s.pool.waste == 0.125);
    assert_int_equal(s.cache.hits, 6);
    assert_int_equal(s.jobs.refused, 9);
    assert_int_equal(s.tokens, 1000);
}

static void a_front_end_without_a_model_has_only_books(void **state) {
    (void)state;
    top_snapshot s = both(health, "{\"books\":{\"line_bytes\":null,\"level\":\"safe\"},\"spill\":null}");
    assert_false(s.has_pool || s.has_spill || s.has_jobs);
    assert_int_equal(s.line_bytes, UINT64_MAX);
    assert_int_equal(s.n_accounts, 0);
}

static void hostile_answers_do_no_harm(void **state) {
    (void)state;
    static const char *const broken[] = {
        "", "{", "nonsense", "{\"status\":\"ok\"", "{}{}", "{\"a\":1e}", "\"\xff\"",
    };
    top_snapshot s;
    err e = {0};
    for (size_t i = 0; i < sizeof broken / sizeof *broken; i++)
        assert_false(top_read_health(&heap.alloc, str_of(broken[i]), &s, &e));
    static const char *const odd[] = {
        "7", "null", "[[[{\"books\":{\"line_bytes\":9}}]]]", "{\"books\":7,\"kv_pool\":[1],\"\":{\"\":1},\".\":2}",
        "{\"books\":{\"accounts\":{\"\":{\"now_bytes\":1},\"a.b\":{\"now_bytes\":2},\"x\":3,\"y\":[4]}}}",
        "{\"books\":{\"line_bytes\":\"text\",\"level\":{\"a\":1},\"balanced\":17,\"unexplained_bytes\":-1e300}}",
    };
    for (size_t i = 0; i < sizeof odd / sizeof *odd; i++) s = both("{}", odd[i]);
    s = both("{\"status\":7,\"active_jobs\":-5,\"queued_jobs\":1e300,"
             "\"model\":\"a\\u001b[2J\\n\\u202e\\u4e2d\\u00e9b\"}",
             "{\"books\":{\"kernel_bytes\":1e30,\"unexplained_bytes\":1e30}}");
    assert_string_equal(s.status, "");
    assert_int_equal(s.active, 0);
    assert_int_equal(s.queued, UINT64_MAX);
    assert_string_equal(s.model, "a?[2J???\u00e9b");
    assert_int_equal(s.used_bytes, UINT64_MAX);
    assert_int_equal(s.unexplained_bytes, INT64_MAX);
}

static void long_names_and_many_accounts_are_cut(void **state) {
    (void)state;
    static char text[64 * 1024];
    size_t n = (size_t)snprintf(text, sizeof text, "{\"books\":{\"accounts\":{");
    for (int i = 0; i < 100; i++)
        n += (size_t)snprintf(text + n, sizeof text - n, "%s\"%0*d\":{\"now_bytes\":%d}", i ? "," : "", 1 + i * 3,
                              i, i);
    snprintf(text + n, sizeof text - n, "}}}");
    top_snapshot s = both("{}", text);
    assert_int_equal(s.n_accounts, TOP_ACCOUNTS);
    for (uint32_t i = 0; i < s.n_accounts; i++) assert_true(strlen(s.accounts[i].name) < TOP_NAME_BYTES);
}

static void refused_allocations_are_errors(void **state) {
    (void)state;
    for (size_t n = 1; n < 20; n++) {
        test_alloc_init(&heap, n);
        top_snapshot s;
        err e = {0};
        bool ok = top_read_health(&heap.alloc, str_of(health), &s, &e);
        assert_true(ok || e.message[0]);
        assert_int_equal(heap.outstanding_bytes, 0);
        if (ok) return;
    }
    fail_msg("never enough memory");
}

static void the_doctor_says_the_worst_first(void **state) {
    (void)state;
    top_snapshot s = both(health, memory);
    err e = {0};
    assert_ok(top_read_doctor(&heap.alloc, STR("{\"well\":true,\"findings\":[]}"), &s, &e), e);
    assert_string_equal(s.finding, "");
    str two = STR("{\"other\":[{\"severity\":\"bad\",\"words\":\"no\"}],\"findings\":[{\"severity\":\"note\","
                  "\"words\":\"a\"},"
                  "{\"severity\":\"warning\",\"figures\":{\"words\":1,\"x\":{}},\"words\":\"it leaks\\u0007\"},"
                  "{\"severity\":\"warning\",\"words\":\"c\"}]}");
    assert_ok(top_read_doctor(&heap.alloc, two, &s, &e), e);
    assert_string_equal(s.finding, "it leaks?");
    assert_ok(top_read_doctor(&heap.alloc, STR("{\"findings\":[[{}],7,{\"words\":[1]},null]}"), &s, &e), e);
    assert_string_equal(s.finding, "");
    assert_false(top_read_doctor(&heap.alloc, STR("{\"findings\":["), &s, &e));
}

/* ---- over time ---- */

static top_track track;
static void all_kinds_of_terminals(bool with_memory_figures);

static const char *last_event(void) {
    return track.n_events ? track.events[(track.n_events - 1) % TOP_EVENTS].text : "";
}

static void speeds_are_differences(void **state) {
    (void)state;
    top_snapshot s = both(health, memory);
    top_track_init(&track);
    top_track_reading(&track, &s, 1000, "12:00:00");
    assert_true(track.tokens_per_s < 0);
    s.tokens += 500, s.jobs.finished += 3, s.jobs.cancelled += 1;
    top_track_reading(&track, &s, 3000, "12:00:02");
    assert_true(track.tokens_per_s == 250 && track.requests_per_s == 2);
    top_track_reading(&track, &s, 4000, "12:00:03"); /* still at work: it fades */
    assert_true(track.tokens_per_s > 0 && track.tokens_per_s < 250);
    s.active = s.queued = 0;
    top_track_reading(&track, &s, 4000, "12:00:03"); /* no time has passed */
    assert_true(track.tokens_per_s == 0);
    assert_int_equal(track.n_events, 0);
}

static void changes_are_events(void **state) {
    (void)state;
    top_snapshot s = both(health, memory);
    top_track_init(&track);
    top_track_reading(&track, &s, 1000, "12:00:00");
    s.jobs.refused += 2;
    top_track_reading(&track, &s, 2000, "12:00:01");
    assert_non_null(strstr(last_event(), "2 requests refused"));
    s.jobs.refused += 3;
    top_track_reading(&track, &s, 2500, "12:00:01");
    assert_non_null(strstr(last_event(), "5 requests refused")); /* a run of them is one event */
    assert_int_equal(track.n_events, 1);
    s.accounts[1].refused++;
    top_track_reading(&track, &s, 3000, "12:00:02");
    assert_non_null(strstr(last_event(), "account kv: 1 reservation refused"));
    s.jobs.refused++;
    top_track_reading(&track, &s, 3500, "12:00:02");
    assert_non_null(strstr(last_event(), "1 request refused"));
    snprintf(s.level, sizeof s.level, "critical");
    top_track_reading(&track, &s, 4000, "12:00:03");
    assert_non_null(strstr(last_event(), "from caution to critical"));
    for (int i = 0; i < 100; i++) top_track_event(&track, "12:00:04", "event %d \033[2J", i);
    assert_string_equal(last_event(), "event 99 ?[2J");
}

static void history_begins_with_the_servers_timeline(void **state) {
    (void)state;
    err e = {0};
    str timeline = STR("{\"samples\":[{\"time_ms\":0,\"kernel_bytes\":9,\"tokens\":1},"
                       "{\"time_ms\":30000,\"kernel_bytes\":5,\"tokens\":100,\"accounts\":[1,2]},"
                       "{\"time_ms\":31000,\"kernel_bytes\":7,\"tokens\":300},"
                       "{\"time_ms\":32000,\"kernel_bytes\":-1,"
                       "\"tokens\":1e300}],\"baselines\":[{\"time_ms\":1}]}");
    top_track_init(&track);
    assert_ok(top_read_timeline(&heap.alloc, timeline, &track, &e), e);
    assert_int_equal(track.n_history, 3); /* since the last gap */
    assert_true(track.history[0].used_bytes == 5 && track.history[0].tokens_per_s == 0);
    assert_true(track.history[1].used_bytes == 7 && track.history[1].tokens_per_s == 200);
    assert_true(track.history[2].used_bytes == 0);
    top_snapshot s = both(health, memory);
    top_track_reading(&track, &s, 1000, "12:00:00");
    assert_int_equal(track.n_history, 4);
    all_kinds_of_terminals(true);
}

static void a_server_may_go_and_come_back(void **state) {
    (void)state;
    top_snapshot s = both(health, memory);
    top_track_init(&track);
    top_track_trouble(&track, "nobody there", "12:00:00");
    assert_false(track.any);
    assert_int_equal(track.n_events, 0); /* it was never there: the title says it */
    top_track_reading(&track, &s, 1000, "12:00:01");
    top_track_trouble(&track, "it is gone", "12:00:02");
    top_track_trouble(&track, "it is gone", "12:00:03");
    assert_int_equal(track.n_events, 1);
    assert_true(track.any && !track.connected);
    s.tokens = 0, s.jobs = (top_jobs){0};
    top_track_reading(&track, &s, 5000, "12:00:05");
    assert_string_equal(last_event(), "the server is back, started anew");
    assert_true(track.connected && track.tokens_per_s < 0);
}

/* ---- the frame ---- */

static char frame_text[1 << 20];

/* The frame without its colours; asserts that it keeps to its columns and rows and that nothing else is in it. */
static const char *frame_of(const top_view *v) {
    buf out;
    uint32_t lines = 0, column = 0, cp;
    size_t n = 0;
    buf_init(&out, &heap.alloc, sizeof frame_text);
    top_view_frame(v, &track, &out);
    assert_false(out.failed);
    assert_true(out.len > 0 && out.data[out.len - 1] == '\n');
    for (size_t i = 0; i < out.len;) {
        if (out.data[i] == '\033') {
            assert_true(v->color && out.data[i + 1] == '[');
            size_t end = i + 2 + strspn(out.data + i + 2, "0123456789;");
            assert_int_equal(out.data[end], 'm');
            i = end + 1;
            continue;
        }
        int step = utf8_decode(out.data + i, out.len - i, &cp);
        assert_true(step > 0 && (step == 1 || v->utf8));
        memcpy(frame_text + n, out.data + i, (size_t)step);
        n += (size_t)step;
        i += (size_t)step;
        if (cp == '\n') lines++, column = 0;
        else assert_true(cp >= 0x20 && cp != 0x7F && ++column <= v->columns);
    }
    frame_text[n] = 0;
    assert_true(!v->rows || lines <= v->rows);
    buf_free(&out);
    return frame_text;
}

static void all_kinds_of_terminals(bool with_memory_figures) {
    static const uint32_t columns[] = {20, 40, 71, 72, 80, 101, 102, 120, 200, 400};
    static const uint32_t rows[] = {0, 1, 2, 5, 10, 16, 24, 50};
    for (size_t c = 0; c < sizeof columns / sizeof *columns; c++)
        for (size_t r = 0; r < sizeof rows / sizeof *rows; r++)
            for (int kind = 0; kind < 4; kind++) {
                top_view v = {columns[c], rows[r], kind & 1, kind & 2, true, (uint32_t)(c + r), "http://x:1",
                              "12:00:00"};
                const char *text = frame_of(&v);
                if (with_memory_figures && columns[c] >= 72 && (!rows[r] || rows[r] >= 5))
                    assert_non_null(strstr(text, "caution"));
            }
}

static void frames_keep_to_the_terminal(void **state) {
    (void)state;
    top_snapshot s = both(health, memory);
    top_track_init(&track);
    all_kinds_of_terminals(false); /* nothing read yet */
    for (uint64_t i = 0; i < 300; i++) {
        s.tokens += i % 7 * 100;
        s.used_bytes += 1000;
        top_track_reading(&track, &s, 1000 + i * 1000, "12:00:00");
    }
    for (int i = 0; i < 10; i++) top_track_event(&track, "12:00:00", "something with a long story %0100d", i);
    all_kinds_of_terminals(true);
    top_track_trouble(&track, "connection refused", "12:09:00");
    all_kinds_of_terminals(true);
    top_view v = {80, 24, false, true, true, 0, "http://x:1", "12:00:00"};
    assert_non_null(strstr(frame_of(&v), "connection refused"));
}

static void a_frame_says_what_was_read(void **state) {
    (void)state;
    static const char *const wanted[] = {
        "tiny", "http://x:1", "3.00 MiB of 4.00 MiB, 75 %", "caution", "3 active, 2 queued, 1 parked",
        "weights", "kv", "1.43 MiB in use", "waste 12.5 %", "12 prompts", "6 hits of 10", "3 of 100 pages",
        "9 refused", "within 8.00 MiB", "1.00 MiB, 512 KiB reclaimable", "⊖",
    };
    top_snapshot s = both(health, memory);
    top_track_init(&track);
    top_track_reading(&track, &s, 1000, "12:00:00");
    top_view v = {80, 0, false, true, false, 0, "http://x:1", "12:00:00"};
    const char *text = frame_of(&v);
    for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++)
        if (!strstr(text, wanted[i])) fail_msg("no '%s' in:\n%s", wanted[i], text);
    assert_null(strstr(text, "adapters")); /* never held a byte */
}

static void extreme_figures_fit(void **state) {
    (void)state;
    top_snapshot s = both(health, memory);
    uint64_t *const counts[] = {&s.active, &s.queued, &s.preempted, &s.used_bytes, &s.available_bytes, &s.ledger_bytes,
                                &s.machine_bytes, &s.pool.budget_bytes, &s.pool.used_bytes, &s.pool.evictable_bytes,
                                &s.cache.entries, &s.cache.hits, &s.cache.misses, &s.jobs.refused, &s.tokens,
                                &s.accounts[0].now_bytes, &s.accounts[1].peak_bytes, &s.spill.slots, &s.line_bytes};
    static const uint64_t extremes[] = {0, 1, UINT64_MAX - 1, UINT64_MAX};
    for (size_t x = 0; x < sizeof extremes / sizeof *extremes; x++) {
        for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) *counts[i] = extremes[x];
        s.unexplained_bytes = x % 2 ? INT64_MIN : INT64_MAX;
        s.pool.waste = x % 2 ? -1e300 : 1e300;
        top_track_init(&track);
        top_track_reading(&track, &s, 1, "12:00:00");
        s.jobs.finished = UINT64_MAX;
        top_track_reading(&track, &s, 2, "12:00:00");
        all_kinds_of_terminals(true);
    }
}

/* The rows of the picture in which water stands beside the ship, from the left edge. */
static int wet_rows(uint64_t used, uint64_t line) {
    top_snapshot s = both(health, memory);
    s.used_bytes = used, s.line_bytes = line;
    top_track_init(&track);
    top_track_reading(&track, &s, 1000, "12:00:00");
    top_view v = {80, 0, false, false, false, 0, "http://x:1", "12:00:00"};
    int wet = 0;
    for (const char *at = frame_of(&v); *at; at = strchr(at, '\n') + 1) wet += *at == '~' || *at == '.';
    return wet;
}

static void the_ship_sits_deeper_the_more_is_used(void **state) {
    (void)state;
    assert_int_equal(wet_rows(0, 100), wet_rows(0, UINT64_MAX));
    for (uint64_t used = 0; used < 200; used += 10) assert_true(wet_rows(used, 100) <= wet_rows(used + 10, 100));
    assert_true(wet_rows(0, 100) < wet_rows(50, 100));
    assert_true(wet_rows(50, 100) < wet_rows(100, 100));
    assert_int_equal(wet_rows(100, 100), 5); /* up to the row of the mark, and the sea under the keel */
    assert_true(wet_rows(125, 100) > wet_rows(100, 100));
    assert_int_equal(wet_rows(1000, 100), wet_rows(UINT64_MAX, 1));
}

static void a_line_for_where_there_is_no_terminal(void **state) {
    (void)state;
    buf out;
    top_snapshot s = both(health, memory);
    top_track_init(&track);
    top_track_trouble(&track, "nobody there", "12:00:00");
    top_view v = {80, 24, false, false, false, 0, "http://x:1", "12:00:00"};
    buf_init(&out, &heap.alloc, 4096);
    top_view_line(&v, &track, &out);
    assert_string_equal(out.data, "12:00:00  nobody there\n");
    buf_clear(&out);
    top_track_reading(&track, &s, 1000, "12:00:01");
    top_view_line(&v, &track, &out);
    assert_string_equal(out.data, "12:00:00  ok caution  used 3.00 MiB of 4.00 MiB  available 1.00 MiB"
                                  "  active 3 queued 2 parked 1  9 refused so far\n");
    buf_free(&out);
}

static void a_frame_without_memory_fails_its_buffer(void **state) {
    (void)state;
    top_snapshot s = both(health, memory);
    top_track_init(&track);
    top_track_reading(&track, &s, 1000, "12:00:00");
    top_view v = {80, 24, true, true, true, 0, "http://x:1", "12:00:00"};
    for (size_t limit = 1; limit < 8000; limit = limit * 3 + 1) {
        buf out;
        buf_init(&out, &heap.alloc, limit);
        top_view_frame(&v, &track, &out);
        assert_true(out.failed || out.len < limit);
        buf_free(&out);
    }
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, begin, nothing_is_left)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(reads_what_a_server_says), TEST(a_front_end_without_a_model_has_only_books),
        TEST(hostile_answers_do_no_harm), TEST(long_names_and_many_accounts_are_cut),
        TEST(refused_allocations_are_errors), TEST(the_doctor_says_the_worst_first),
        TEST(history_begins_with_the_servers_timeline), TEST(speeds_are_differences), TEST(changes_are_events),
        TEST(a_server_may_go_and_come_back), TEST(frames_keep_to_the_terminal), TEST(a_frame_says_what_was_read),
        TEST(extreme_figures_fit), TEST(the_ship_sits_deeper_the_more_is_used),
        TEST(a_line_for_where_there_is_no_terminal), TEST(a_frame_without_memory_fails_its_buffer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
