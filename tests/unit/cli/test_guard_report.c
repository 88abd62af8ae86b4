#include "../test.h"

#include <stdio.h>

#include "cli/guard_report.h"

enum { MIB = 1 << 20 };

static guard_report r;

static void fill(const uint64_t *mib, int n, double step_s) {
    memset(&r, 0, sizeof r);
    r.leak_bytes = 10 * MIB;
    for (int i = 0; i < n; i++) guard_sample(&r, i * step_s, &(plat_tree){.anon_bytes = mib[i] * MIB, .processes = 1});
}

static void expect_measured(uint64_t baseline, uint64_t end, uint64_t growth, bool leaks) {
    guard_run run = {.from_s = 0, .to_s = r.seconds[r.n_samples - 1]};
    guard_measure(&r, &run);
    assert_int_equal(run.baseline_bytes, baseline * MIB);
    assert_int_equal(run.end_bytes, end * MIB);
    assert_int_equal(run.growth_bytes, growth * MIB);
    assert_int_equal(run.leaks, leaks);
}

static void growth_is_from_settled_to_end(void **state) {
    (void)state;
    fill((const uint64_t[]){1, 50, 90, 100, 100, 100, 100, 115, 115}, 9, 0.5); /* loading is not growth */
    expect_measured(100, 115, 15, true);
    fill((const uint64_t[]){1, 50, 90, 100, 100, 100, 100, 100, 2}, 9, 0.5); /* the last one fell into the end */
    expect_measured(100, 100, 0, false);
    fill((const uint64_t[]){100, 100, 100, 30, 30, 30}, 6, 0.5);
    expect_measured(100, 30, 0, false);
    uint64_t long_one[100];
    for (int i = 0; i < 100; i++) long_one[i] = i < 50 ? 60 : i < 96 ? 90 : 20; /* it tidied up before it ended */
    fill(long_one, 100, 0.1);
    expect_measured(60, 90, 30, true);
    fill((const uint64_t[]){5, 20, 20}, 3, 0.1); /* short: from half of its time */
    expect_measured(20, 20, 0, false);
    fill((const uint64_t[]){7}, 1, 0.1);
    expect_measured(7, 7, 0, false);
}

/* However long it takes; what comes after is growth all the same, slow or fast. */
static void a_slow_start_is_no_growth(void **state) {
    (void)state;
    uint64_t mib[100];
    for (uint64_t i = 0; i < 100; i++) mib[i] = i < 40 ? 2 * i : 80; /* 20 MiB a second for four seconds */
    fill(mib, 100, 0.1);
    expect_measured(80, 80, 0, false);
    for (uint64_t i = 90; i < 100; i++) mib[i] = 95;
    fill(mib, 100, 0.1);
    expect_measured(80, 95, 15, true);
    for (uint64_t i = 0; i < 100; i++) mib[i] = 10 + i / 5; /* 2 MiB a second to its end: not settled before half of it */
    fill(mib, 100, 0.1);
    expect_measured(20, 29, 9, false);
    for (uint64_t i = 0; i < 100; i++) mib[i] = 10 + i / 6; /* 1.7 a second with 16 MiB of --leak: from its first on */
    fill(mib, 100, 0.1);
    r.leak_bytes = 16 * MIB;
    expect_measured(11, 25, 14, false);
    for (uint64_t i = 0; i < 100; i++) mib[i] = i < 3 ? 50 : 20 + i / 60 * 20; /* what a start gives back hides nothing */
    fill(mib, 100, 0.1);
    expect_measured(20, 40, 20, true);
    fill((const uint64_t[]){1, 50, 90, 90, 90}, 5, 3); /* readings further apart than a second */
    expect_measured(90, 90, 0, false);
}

static void a_run_is_measured_by_its_own_samples(void **state) {
    (void)state;
    fill((const uint64_t[]){500, 500, 500, 10, 11, 12, 900, 900}, 8, 1);
    guard_run run = {.from_s = 2.5, .to_s = 5.5};
    guard_measure(&r, &run);
    assert_int_equal(run.baseline_bytes, 11 * MIB);
    assert_int_equal(run.end_bytes, 11 * MIB);
    guard_run none = {.from_s = 100, .to_s = 101};
    guard_measure(&r, &none);
    assert_int_equal(none.baseline_bytes | none.end_bytes, 0);
}

static void more_samples_than_there_is_room_for(void **state) {
    (void)state;
    memset(&r, 0, sizeof r);
    int n = 10 * GUARD_SAMPLES + 3, at = 3 * GUARD_SAMPLES + 1;
    for (int i = 0; i < n; i++)
        guard_sample(&r, i, &(plat_tree){.file_bytes = i == at ? 99 * MIB : MIB, .swap_bytes = 1, .processes = 1});
    assert_in_range(r.n_samples, GUARD_SAMPLES / 2, GUARD_SAMPLES);
    bool found = false;
    for (uint32_t i = 0; i < r.n_samples; i++) {
        if (i) assert_true(r.seconds[i] > r.seconds[i - 1]);
        found |= r.parts[1][i] == 99 * MIB && r.seconds[i] == at;
    }
    assert_true(found); /* the one high reading, at its moment */
    assert_true(r.seconds[r.n_samples - 1] > n - 2 * (double)r.stride);
}

static void statuses(void **state) {
    (void)state;
    assert_int_equal(guard_status(&(guard_run){.verdict = GUARD_WITHIN, .exit_status = 3}), 3);
    assert_int_equal(guard_status(&(guard_run){.verdict = GUARD_WITHIN, .exit_status = -1, .signal = 11}), 139);
    assert_int_equal(guard_status(&(guard_run){.verdict = GUARD_OVER, .exit_status = 0}), 124);
    assert_int_equal(guard_status(&(guard_run){.verdict = GUARD_SKIPPED, .exit_status = -1}), 125);
    assert_int_equal(guard_status(&(guard_run){.verdict = GUARD_FAILED, .exit_status = 127}), 127);
    assert_int_equal(guard_status(&(guard_run){.verdict = GUARD_STOPPED, .exit_status = -1, .signal = 15}), 143);
}

static void reports_of_nothing_and_of_hostile_names(void **state) {
    (void)state;
    test_alloc a;
    for (int with = 0; with < 2; with++) {
        memset(&r, 0, sizeof r);
        if (with) r.runs[r.n_runs++] = (guard_run){.name = "<a&\"\n", .command = "\xFF'\\", .budget_bytes = MIB, .to_s = 1};
        if (with) guard_sample(&r, 0.5, &(plat_tree){.anon_bytes = MIB, .processes = 1});
        test_alloc_init(&a, 0);
        buf out;
        buf_init(&out, &a.alloc, 1 << 20);
        guard_json(&r, &out);
        assert_false(out.failed);
        assert_null(strchr(out.data, '\xFF'));
        assert_true(!with || strstr(out.data, "\"<a&\\\"\\n\""));
        buf_clear(&out);
        guard_chart(&r, &out);
        assert_false(out.failed);
        assert_non_null(strstr(out.data, "</svg>"));
        buf_free(&out);
        assert_int_equal(a.outstanding_bytes, 0);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(growth_is_from_settled_to_end),
        cmocka_unit_test(a_slow_start_is_no_growth),
        cmocka_unit_test(a_run_is_measured_by_its_own_samples),
        cmocka_unit_test(more_samples_than_there_is_room_for),
        cmocka_unit_test(statuses),
        cmocka_unit_test(reports_of_nothing_and_of_hostile_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
