#include "report/leak.h"

#include <math.h>

#include "base/check.h"

static const double DEVIATIONS = 5;
enum { SHORT_LOOK = 32 };

static void swap(double *a, double *b) {
    double t = *a;
    *a = *b;
    *b = t;
}

/* The k-th smallest, in place: parts below, at and above a pivot (the library's qsort may ask malloc). */
static double select_kth(double *v, size_t n, size_t k) {
    size_t low = 0, high = n; /* it lies in v[low … high) */
    for (;;) {
        double pivot = v[low + (high - low) / 2];
        size_t below = low, at = low, above = high;
        while (at < above) {
            if (v[at] < pivot) swap(&v[below++], &v[at++]);
            else if (v[at] > pivot) swap(&v[at], &v[--above]);
            else at++;
        }
        if (k < below) high = below;
        else if (k >= above) low = above;
        else return pivot;
    }
}

static size_t pair_slopes(const double *x, const double *bytes, uint32_t n, double *slopes) {
    size_t pairs = 0;
    for (uint32_t j = 1; j < n; j++)
        for (uint32_t i = 0; i < j; i++) slopes[pairs++] = (bytes[j] - bytes[i]) / (x[j] - x[i]);
    return pairs;
}

static double median(double *v, size_t n) {
    double upper = select_kth(v, n, n / 2);
    return n % 2 ? upper : (upper + select_kth(v, n, n / 2 - 1)) / 2;
}

static double kendall_deviation(double n) { return sqrt(n * (n - 1) * (2 * n + 5) / 18); }

report_trend report_leak_fit(const double *x, const double *bytes, uint32_t n, double *slopes) {
    CHECK(n <= REPORT_LEAK_READINGS);
    report_trend t = {.n_readings = n, .low = -INFINITY, .high = INFINITY};
    if (n < 2) return t;
    size_t pairs = pair_slopes(x, bytes, n, slopes);
    t.slope = median(slopes, pairs);
    t.rise_bytes = t.slope * (x[n - 1] - x[0]);
    double outside = ((double)pairs - DEVIATIONS * kendall_deviation(n)) / 2;
    if (outside < 1) return t;
    size_t k = (size_t)outside; /* so many slopes lie on either side of the interval */
    t.low = select_kth(slopes, pairs, k - 1);
    t.high = select_kth(slopes, pairs, pairs - k);
    return t;
}

static double mean(const double *v, uint32_t n) {
    double sum = 0;
    for (uint32_t i = 0; i < n; i++) sum += v[i];
    return sum / n;
}

static bool still_rises(const double *bytes, uint32_t n) {
    uint32_t quarter = n / 4;
    return quarter && mean(bytes + n - quarter, quarter) > mean(bytes + n - 2 * quarter, quarter);
}

/* Do so many pairs rise that the interval can lie above 0? The cheap half of the question. */
static bool may_leak(const double *bytes, uint32_t n) {
    uint32_t pairs = n * (n - 1) / 2, rising = 0;
    for (uint32_t j = 1; j < n; j++)
        for (uint32_t i = 0; i < j; i++) rising += bytes[j] > bytes[i];
    return pairs - rising < ((double)pairs - DEVIATIONS * kendall_deviation(n)) / 2;
}

report_trend report_leak_find(const double *x, const double *bytes, uint32_t n, double floor_bytes, double *slopes) {
    CHECK(n <= REPORT_LEAK_READINGS);
    for (uint32_t newest = SHORT_LOOK; n; newest = newest * 2 < n ? newest * 2 : n) {
        if (newest > n) newest = n;
        uint32_t skip = n - newest;
        if (still_rises(bytes + skip, newest) && may_leak(bytes + skip, newest)) {
            report_trend t = report_leak_fit(x + skip, bytes + skip, newest, slopes);
            t.leaks = t.low > 0 && t.rise_bytes >= floor_bytes;
            if (t.leaks) return t;
        }
        if (newest == n) break;
    }
    return (report_trend){.n_readings = n};
}
