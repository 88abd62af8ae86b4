/* report/chart — figures over time as one SVG picture.
 *
 * Owns: the layout of the picture: axes with ticks people can read, stacked areas or lines, bands, marks, a legend
 * and the line. Takes arrays and writes into a buf; keeps nothing, allocates nothing else. Called by whoever
 * reports memory over time (api/timeline, cli/guard, cli/load).
 *
 * Every text is escaped, so names may come from anyone; there are no scripts and no references in the result. Any n
 * is drawn: none (said so), one point, or more than the picture has columns: then each column shows its highest
 * point, so no peak is lost.
 */
#ifndef REPORT_CHART_H
#define REPORT_CHART_H

#include <stdbool.h>
#include <stdint.h>

#include "base/str.h"

typedef struct report_series {
    const char *name;
    const char *color;    /* as CSS has it; NULL: the next of a palette */
    const double *values; /* n of them; not finite: a gap in lines, 0 in stacks; below 0 counts as 0 */
} report_series;

typedef struct report_band { /* a stretch of time in which something held, shown behind the figures */
    double from, to;        /* seconds, as x */
    const char *color, *label;
} report_band;

typedef struct report_mark { /* a moment; labels are written where there is room for them */
    double x;
    const char *label; /* may be NULL */
} report_mark;

typedef struct report_chart {
    const char *title;
    const char *y_unit; /* NULL or "bytes": ticks in KiB, MiB, GiB; otherwise plain numbers with this unit */
    uint32_t width, height; /* of the picture; 0: 960 × 420 */
    uint32_t n;
    const double *x; /* seconds, ascending */
    bool stacked;
    uint32_t n_series;
    const report_series *series;
    double line; /* a bound, marked across the picture; NAN: none. One far above all figures is named at the top */
    const char *line_label;
    uint32_t n_bands;
    const report_band *bands;
    uint32_t n_marks;
    const report_mark *marks;
} report_chart;

/* Appends one whole SVG document. When the buf refuses, it is marked failed as ever. */
void report_chart_svg(const report_chart *c, buf *out);

#endif
