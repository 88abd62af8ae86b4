/* base/chart — figures over time as one SVG picture.
 *
 * Owns: the layout of the picture: axes with ticks people can read, stacked areas or lines, bands, marks, a legend
 * and the line. Takes arrays and writes into a buf; keeps nothing, allocates nothing else. Called by whoever
 * reports memory over time (api/timeline, cli/guard, cli/load).
 *
 * Every text is escaped, so names may come from anyone; there are no scripts and no references in the result. Any n
 * is drawn: none (said so), one point, or more than the picture has columns: then each column shows its highest
 * point, so no peak is lost.
 */
#ifndef BASE_CHART_H
#define BASE_CHART_H

#include <stdbool.h>
#include <stdint.h>

#include "base/str.h"

typedef struct chart_series {
    const char *name;
    const char *color;    /* as CSS has it; NULL: the next of a palette */
    const double *values; /* n of them; not finite: a gap in lines, 0 in stacks; below 0 counts as 0 */
} chart_series;

typedef struct chart_band { /* a stretch of time in which something held, shown behind the figures */
    double from, to;        /* seconds, as x */
    const char *color, *label;
} chart_band;

typedef struct chart_mark { /* a moment; labels are written where there is room for them */
    double x;
    const char *label; /* may be NULL */
} chart_mark;

typedef struct chart {
    const char *title;
    const char *y_unit; /* NULL or "bytes": ticks in KiB, MiB, GiB; otherwise plain numbers with this unit */
    uint32_t width, height; /* of the picture; 0: 960 × 420 */
    uint32_t n;
    const double *x; /* seconds, ascending */
    bool stacked;
    uint32_t n_series;
    const chart_series *series;
    double line; /* a bound, marked across the picture; NAN: none. One far above all figures is named at the top */
    const char *line_label;
    uint32_t n_bands;
    const chart_band *bands;
    uint32_t n_marks;
    const chart_mark *marks;
} chart;

/* Appends one whole SVG document. When the buf refuses, it is marked failed as ever. */
void chart_svg(const chart *c, buf *out);

#endif
