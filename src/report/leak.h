/* report/leak — does a series of idle readings grow, and by how much? Pure arithmetic.
 *
 * The slope is Theil and Sen's: the median of the slopes between all pairs, which a third of wild readings cannot
 * move. Its interval comes from Kendall's S (Sen 1968) at five standard deviations, so that a flat series that is
 * looked at after every reading for ever raises no alarm. A leak is a slope whose interval lies above 0, whose
 * rise over the readings passes a floor, and which has not ended: the newest quarter lies above the one before.
 * Callers: report/timeline. Nothing here knows where readings come from.
 */
#ifndef REPORT_LEAK_H
#define REPORT_LEAK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    REPORT_LEAK_READINGS = 128, /* the most that are looked at together */
    REPORT_LEAK_LEAST = 15,     /* below these not even an unbroken rise lies five deviations from chance */
    REPORT_LEAK_PAIRS = REPORT_LEAK_READINGS * (REPORT_LEAK_READINGS - 1) / 2,
};

typedef struct report_trend {
    uint32_t n_readings;
    double slope, low, high; /* bytes per step of x; low and high: the interval (infinite for few readings) */
    double rise_bytes;       /* slope × the steps looked at */
    bool leaks;
} report_trend;

/* x rising strictly; n ≤ REPORT_LEAK_READINGS; slopes: room for REPORT_LEAK_PAIRS. leaks is left false. */
report_trend report_leak_fit(const double *x, const double *bytes, uint32_t n, double *slopes);

/* Looks at the newest 32, 64 and all readings, so that a leak that begins late is seen as soon as one that was
 * there from the start. The trend of the fewest that leak; nothing but their number when none do. */
report_trend report_leak_find(const double *x, const double *bytes, uint32_t n, double floor_bytes, double *slopes);

#endif
