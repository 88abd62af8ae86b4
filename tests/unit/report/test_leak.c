/* The slope, its interval, and the verdict: planted rises are found, flat series never are. */
#include "../test.h"

#include <math.h>

#include "base/rng.h"
#include "report/leak.h"

enum { PAGE = 4096 };
static const double FLOOR = 64 * 1024;

static double slopes[REPORT_LEAK_PAIRS];

static double normal(rng *r) { return sqrt(-2 * log(1 - rng_unit(r))) * cos(6.283185307179586 * rng_unit(r)); }

/* A window over a series that goes on for ever, as who keeps the newest readings sees it. */
typedef struct series {
    double x[REPORT_LEAK_READINGS], y[REPORT_LEAK_READINGS];
    uint32_t n;
    double number;
} series;

static report_trend push(series *s, double bytes) {
    if (s->n == REPORT_LEAK_READINGS) {
        s->n--;
        memmove(s->x, s->x + 1, s->n * sizeof *s->x);
        memmove(s->y, s->y + 1, s->n * sizeof *s->y);
    }
    s->x[s->n] = s->number++;
    s->y[s->n++] = bytes;
    return report_leak_find(s->x, s->y, s->n, FLOOR, slopes);
}

static void the_slope_of_a_straight_line(void **state) {
    (void)state;
    double x[20], y[20];
    for (int i = 0; i < 20; i++) x[i] = i * 3, y[i] = 1e9 + 100 * x[i];
    report_trend t = report_leak_fit(x, y, 20, slopes);
    assert_true(fabs(t.slope - 100) < 1e-9 && fabs(t.low - 100) < 1e-9 && fabs(t.high - 100) < 1e-9);
    assert_true(fabs(t.rise_bytes - 100 * 57) < 1e-6);
    assert_int_equal(t.n_readings, 20);
}

static void the_median_of_all_pairs(void **state) {
    (void)state;
    const double x[] = {0, 1, 2, 3}, y[] = {0, 2, 3, 9};
    /* the slopes of the six pairs: 1, 1.5, 2, 3, 3.5, 6 */
    report_trend t = report_leak_fit(x, y, 4, slopes);
    assert_true(fabs(t.slope - 2.5) < 1e-12);
    assert_true(isinf(t.low) && t.low < 0 && isinf(t.high) && t.high > 0); /* four say nothing for sure */
}

/* Every k-th smallest against sorting: through the interval's ends on many random series. */
static int ascending(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}
static void the_interval_is_of_ranks(void **state) {
    (void)state;
    static double sorted[REPORT_LEAK_PAIRS];
    rng r;
    rng_seed(&r, 7);
    for (int round = 0; round < 200; round++) {
        double x[REPORT_LEAK_READINGS], y[REPORT_LEAK_READINGS];
        uint32_t n = 15 + (uint32_t)(rng_unit(&r) * 114), pairs = 0;
        if (n > REPORT_LEAK_READINGS) n = REPORT_LEAK_READINGS;
        double range = round % 2 ? 4 : 1e6; /* with ties, and without */
        for (uint32_t i = 0; i < n; i++) x[i] = i, y[i] = floor(rng_unit(&r) * range);
        for (uint32_t j = 1; j < n; j++)
            for (uint32_t i = 0; i < j; i++) sorted[pairs++] = (y[j] - y[i]) / (x[j] - x[i]);
        qsort(sorted, pairs, sizeof *sorted, ascending);
        size_t k = (size_t)((pairs - 5 * sqrt(n * (n - 1.0) * (2.0 * n + 5) / 18)) / 2);
        report_trend t = report_leak_fit(x, y, n, slopes);
        double middle = pairs % 2 ? sorted[pairs / 2] : (sorted[pairs / 2] + sorted[pairs / 2 - 1]) / 2;
        assert_true(fabs(t.slope - middle) < 1e-12);
        assert_true(k >= 1 && fabs(t.low - sorted[k - 1]) < 1e-12 && fabs(t.high - sorted[pairs - k]) < 1e-12);
    }
}

static void a_page_each_is_found_within_50(void **state) {
    (void)state;
    for (int flat = 0; flat <= 400; flat += 100) { /* from the start, or after a long good time */
        for (int noise_pages = 0; noise_pages <= 4; noise_pages += 2) {
            rng r;
            rng_seed(&r, (uint64_t)(flat + noise_pages + 1));
            static series s;
            s = (series){0};
            int found = 0;
            for (int i = 0; i < flat; i++)
                assert_false(push(&s, 1e8 + floor(rng_unit(&r) * noise_pages) * PAGE).leaks);
            for (int i = 1; i <= 50 && !found; i++)
                if (push(&s, 1e8 + (i + floor(rng_unit(&r) * noise_pages)) * PAGE).leaks) found = i;
            assert_in_range(found, REPORT_LEAK_LEAST, 50);
        }
    }
}

static void a_page_now_and_then_is_found_in_time(void **state) {
    (void)state;
    static series s;
    int found = 0;
    for (int i = 0; i < 1000 && !found; i++)
        if (push(&s, 1e8 + i / 4 * PAGE).leaks) found = i;
    assert_in_range(found, REPORT_LEAK_LEAST, 128);
}

typedef double shape(rng *r, int i);
static double constant(rng *r, int i) { return (void)r, (void)i, 5e8; }
static double even(rng *r, int i) { return (void)i, 5e8 + rng_unit(r) * 1e6; }
static double bell(rng *r, int i) { return (void)i, 5e8 + normal(r) * 4e5; }
static double two_levels(rng *r, int i) { return (void)i, rng_unit(r) < 0.5 ? 5e8 : 5.1e8; }
static double spikes(rng *r, int i) { return (void)i, rng_unit(r) < 0.1 ? 9e8 : 5e8 + rng_unit(r) * 1e5; }
static double slow_wave(rng *r, int i) { return 5e8 + 2e5 * sin(i / 3.0) + normal(r) * 1e5; }
static double saw(rng *r, int i) { return (void)r, 5e8 + i % 10 * 3e4; }
static double grown_once(rng *r, int i) { return 5e8 + (i > 700 ? 5e7 : 0) + normal(r) * 1e5; }
static double shrinks(rng *r, int i) { return 5e9 - i * 1e4 + rng_unit(r) * 1e4; }

static void flat_series_raise_no_alarm(void **state) {
    (void)state;
    shape *const shapes[] = {constant, even, bell, two_levels, spikes, slow_wave, saw, shrinks};
    for (size_t k = 0; k < sizeof shapes / sizeof *shapes; k++) {
        rng r;
        rng_seed(&r, k + 1);
        static series s;
        s = (series){0};
        for (int i = 0; i < 5000; i++)
            if (push(&s, shapes[k](&r, i)).leaks) fail_msg("shape %zu: an alarm after %d readings", k, i + 1);
    }
}

/* What steps up once and stays (a scratch that found its size) may look like a rise while it is new; not after. */
static void a_step_is_not_a_leak_for_long(void **state) {
    (void)state;
    rng r;
    rng_seed(&r, 3);
    static series s;
    for (int i = 0; i < 5000; i++) {
        bool leaks = push(&s, grown_once(&r, i)).leaks;
        if (leaks && (i < 700 || i > 700 + REPORT_LEAK_READINGS)) fail_msg("an alarm at %d", i);
    }
}

/* Growth that has ended: a pool that filled up. */
static void growth_that_has_ended_is_none(void **state) {
    (void)state;
    static series s;
    for (int i = 0; i < 40; i++) (void)push(&s, 1e8 + i * PAGE);
    bool leaks = true;
    for (int i = 0; i < REPORT_LEAK_READINGS; i++) leaks = push(&s, 1e8 + 39 * PAGE).leaks;
    assert_false(leaks);
}

static void below_the_floor_is_none(void **state) {
    (void)state;
    static series s;
    for (int i = 0; i < REPORT_LEAK_READINGS; i++) assert_false(push(&s, 1e8 + i * 16).leaks);
}

static void few_readings_say_nothing(void **state) {
    (void)state;
    static series s;
    for (int i = 1; i < REPORT_LEAK_LEAST; i++) assert_false(push(&s, 1e8 + i * 1e6).leaks);
    assert_true(push(&s, 1e8 + REPORT_LEAK_LEAST * 1e6).leaks);
    report_trend none = report_leak_find(s.x, s.y, 0, FLOOR, slopes);
    assert_false(none.leaks);
    assert_int_equal(none.n_readings, 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_slope_of_a_straight_line),
        cmocka_unit_test(the_median_of_all_pairs),
        cmocka_unit_test(the_interval_is_of_ranks),
        cmocka_unit_test(a_page_each_is_found_within_50),
        cmocka_unit_test(a_page_now_and_then_is_found_in_time),
        cmocka_unit_test(flat_series_raise_no_alarm),
        cmocka_unit_test(a_step_is_not_a_leak_for_long),
        cmocka_unit_test(growth_that_has_ended_is_none),
        cmocka_unit_test(below_the_floor_is_none),
        cmocka_unit_test(few_readings_say_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
