#include "report/chart.h"

#include <float.h>
#include <math.h>

enum {
    LEFT = 84, RIGHT = 20, BOTTOM = 44, TITLE_Y = 26, LEGEND_Y = 48, ROW = 18, STRIP = 5, /* pixels */
    LEAST_WIDTH = 320, LEAST_HEIGHT = 200, MOST_PIXELS = 8192,
    LONGEST_TEXT = 48, /* characters of a label */
    CHARACTER = 7, TITLE_CHARACTER = 9, /* pixels of one, generously */
};

/* Where everything is: pixels of the plot and what they stand for. */
typedef struct frame {
    const report_chart *c;
    buf *out;
    double width, height, top, bottom, right;
    double x_from, x_to, y_to; /* y starts at 0 */
    double y_step;
    uint32_t columns; /* how many points are drawn at most */
    bool line_is_above;
} frame;

static const char *const palette[] = {
    "#2f6f9f", "#e2a03f", "#4f9d69", "#b5533c", "#7d68a8", "#6fb3c8", "#c98bab", "#8a8d3b", "#9b7653", "#5c6b73",
};

static const char *color_of(const report_chart *c, uint32_t s) {
    return c->series[s].color ? c->series[s].color : palette[s % (sizeof palette / sizeof *palette)];
}

/* ---- text ---- */

static bool xml_allows(uint32_t cp) { return cp >= 0x20 && cp != 0x7F && cp != 0xFFFE && cp != 0xFFFF; }

static size_t count_characters(const char *text) {
    size_t n = 0;
    for (; *text && n < LONGEST_TEXT; text++) n += ((unsigned char)*text & 0xC0) != 0x80;
    return n;
}

/* For elements and attributes alike. What no XML may hold, and bytes that are no UTF-8, become U+FFFD. */
static void put_cut(buf *out, const char *text, uint32_t longest) {
    size_t len = strlen(text);
    uint32_t characters = 0;
    for (size_t i = 0; i < len; characters++) {
        if (characters == longest) {
            buf_append_str(out, STR("…"));
            return;
        }
        uint32_t cp = 0;
        int n = utf8_decode(text + i, len - i, &cp);
        if (n <= 0 || !xml_allows(cp)) buf_append_str(out, STR("\xEF\xBF\xBD"));
        else if (cp == '&') buf_append_str(out, STR("&amp;"));
        else if (cp == '<') buf_append_str(out, STR("&lt;"));
        else if (cp == '>') buf_append_str(out, STR("&gt;"));
        else if (cp == '"') buf_append_str(out, STR("&quot;"));
        else if (cp == '\'') buf_append_str(out, STR("&#39;"));
        else buf_append(out, text + i, (size_t)n);
        i += n > 0 ? (size_t)n : 1;
    }
}

static void put_text(buf *out, const char *text) { put_cut(out, text, LONGEST_TEXT); }

/* ---- values to pixels ---- */

/* NaN: low */
static double clamp(double v, double low, double high) { return v > high ? high : v >= low ? v : low; }

static double x_at(const frame *f, double seconds) {
    double part = (seconds - f->x_from) / (f->x_to - f->x_from);
    return LEFT + clamp(part, 0, 1) * (f->right - LEFT);
}

static double y_at(const frame *f, double value) {
    return f->bottom - clamp(value / f->y_to, 0, 1) * (f->bottom - f->top);
}

static double value_at(const report_chart *c, uint32_t s, uint32_t i) {
    double v = c->series[s].values[i];
    return isfinite(v) && v > 0 ? v : 0;
}

/* The sum of the first series, up to and without `end`. */
static double sum_at(const report_chart *c, uint32_t end, uint32_t i) {
    double sum = 0;
    for (uint32_t s = 0; s < end; s++) sum += value_at(c, s, i);
    return sum;
}

static double highest(const report_chart *c) {
    double most = 0;
    for (uint32_t i = 0; i < c->n; i++) {
        if (c->stacked) most = fmax(most, sum_at(c, c->n_series, i));
        for (uint32_t s = 0; !c->stacked && s < c->n_series; s++) most = fmax(most, value_at(c, s, i));
    }
    return fmin(most, DBL_MAX / 16);
}

/* ---- thinning ---- */

static uint32_t n_drawn(const frame *f) { return f->c->n < f->columns ? f->c->n : f->columns; }

/* The point that stands for column k: the highest of those that fall into it; the ends stand for themselves. */
static uint32_t point_of(const frame *f, uint32_t k, uint32_t series) {
    const report_chart *c = f->c;
    uint32_t n = n_drawn(f);
    if (c->n == n || k == 0) return k;
    if (k == n - 1) return c->n - 1;
    uint32_t from = (uint32_t)((uint64_t)k * c->n / n), to = (uint32_t)((uint64_t)(k + 1) * c->n / n), best = from;
    double most = -1;
    for (uint32_t i = from; i < to; i++) {
        double v = c->stacked ? sum_at(c, c->n_series, i) : value_at(c, series, i);
        if (v > most) most = v, best = i;
    }
    return best;
}

/* ---- ticks ---- */

static bool in_bytes(const report_chart *c) { return !c->y_unit || !strcmp(c->y_unit, "bytes"); }

/* The least of 1, 2, 5 × 10^k (or 2^k for bytes) that makes at most six steps. */
static double nice_step(double range, bool binary) {
    double want = range / 6;
    if (binary) return exp2(ceil(log2(fmax(want, 1))));
    double ten = pow(10, floor(log10(want)));
    return want <= ten ? ten : want <= 2 * ten ? 2 * ten : want <= 5 * ten ? 5 * ten : 10 * ten;
}

static void put_value(const frame *f, double v) {
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB"};
    if (!in_bytes(f->c)) {
        buf_printf(f->out, "%.6g ", v);
        put_text(f->out, f->c->y_unit);
        return;
    }
    int u = 0;
    for (double top = f->y_to; top >= 1024 && u < 5; top /= 1024) v /= 1024, u++;
    buf_printf(f->out, "%.4g %s", v, units[u]);
}

static double time_step(double range) {
    static const double steps[] = {1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800,
                                   3600, 7200, 14400, 21600, 43200};
    if (range / 8 <= 1) return nice_step(range * 6 / 8, false);
    for (size_t i = 0; i < sizeof steps / sizeof *steps; i++)
        if (range / 8 <= steps[i]) return steps[i];
    return 86400 * ceil(range / 8 / 86400);
}

static void put_time(const frame *f, double t) {
    double range = f->x_to - f->x_from;
    uint64_t s = (uint64_t)fabs(t);
    const char *sign = t < 0 ? "−" : "";
    unsigned hours = (unsigned)(s / 3600), minutes = (unsigned)(s / 60 % 60), seconds = (unsigned)(s % 60);
    if (range <= 120) buf_printf(f->out, "%s%.4g s", sign, fabs(t) < 1e-9 ? 0 : fabs(t));
    else if (range <= 7200 && !hours) buf_printf(f->out, "%s%u:%02u", sign, minutes, seconds);
    else if (range <= 7200) buf_printf(f->out, "%s%u:%02u:%02u", sign, hours, minutes, seconds);
    else buf_printf(f->out, "%s%u:%02u h", sign, hours, minutes);
}

static void put_axes(const frame *f) {
    for (uint32_t i = 0; f->y_step * i <= f->y_to * 1.0001; i++) {
        double v = f->y_step * i, y = y_at(f, v);
        buf_printf(f->out, "<path class=\"grid\" d=\"M%d %.1fH%.1f\"/><text class=\"tick\" x=\"%d\" y=\"%.1f\" "
                           "text-anchor=\"end\">", LEFT, y, f->right, LEFT - 8, y + 4);
        put_value(f, v);
        buf_append_str(f->out, STR("</text>\n"));
    }
    double step = time_step(f->x_to - f->x_from);
    double first = ceil(f->x_from / step - 1e-9);
    for (uint32_t i = 0; i < 16 && (first + i) * step <= f->x_to + step * 1e-6; i++) {
        double t = (first + i) * step, x = x_at(f, t);
        buf_printf(f->out, "<path class=\"axis\" d=\"M%.1f %.1fv5\"/><text class=\"tick\" x=\"%.1f\" y=\"%.1f\" "
                           "text-anchor=\"middle\">", x, f->bottom, x, f->bottom + 19);
        put_time(f, t);
        buf_append_str(f->out, STR("</text>\n"));
    }
    buf_printf(f->out, "<path class=\"axis\" d=\"M%d %.1fH%.1f\"/>\n", LEFT, f->bottom, f->right);
}

/* ---- what is shown ---- */

static void put_bands(const frame *f) {
    for (uint32_t i = 0; i < f->c->n_bands; i++) {
        const report_band *b = &f->c->bands[i];
        double x = x_at(f, b->from), width = x_at(f, b->to) - x;
        const char *label = b->label ? b->label : "";
        if (!(b->to >= f->x_from && b->from <= f->x_to) || width < 0) continue;
        if (width < 1) width = 1;
        buf_printf(f->out, "<g fill=\"");
        put_text(f->out, b->color ? b->color : "#888888");
        buf_printf(f->out, "\"><title>");
        put_text(f->out, label);
        buf_printf(f->out, "</title><rect x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\" "
                           "fill-opacity=\".14\"/>"
                           "<rect x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%d\"/></g>",
                   x, f->top, width, f->bottom - f->top, x, f->top - STRIP, width, STRIP);
        if ((double)(count_characters(label) * CHARACTER + 8) <= width) {
            buf_printf(f->out, "<text class=\"note\" x=\"%.1f\" y=\"%.1f\">", x + 4, f->top + 13);
            put_text(f->out, label);
            buf_printf(f->out, "</text>");
        }
        buf_append_str(f->out, STR("\n"));
    }
}

static void open_path(const frame *f, uint32_t s, const char *kind, const char *paint) {
    buf_printf(f->out, "<path class=\"%s\" %s=\"", kind, paint);
    put_text(f->out, color_of(f->c, s));
    buf_append_str(f->out, STR("\" d=\""));
}

static void close_path(const frame *f, uint32_t s) {
    buf_printf(f->out, "\"><title>");
    put_text(f->out, f->c->series[s].name);
    buf_printf(f->out, "</title></path>\n");
}

/* Along the upper edge, and back along the lower one. A single point becomes as wide as the plot. */
static void put_area(const frame *f, uint32_t s) {
    const report_chart *c = f->c;
    uint32_t n = n_drawn(f);
    open_path(f, s, "area", "fill");
    for (uint32_t k = 0; k < n; k++) {
        uint32_t i = point_of(f, k, s);
        buf_printf(f->out, "%c%.1f %.1f", k ? 'L' : 'M', x_at(f, c->x[i]), y_at(f, sum_at(c, s + 1, i)));
    }
    if (n == 1) buf_printf(f->out, "H%.1fV%.1f", f->right, y_at(f, sum_at(c, s, 0)));
    for (uint32_t k = n; k-- > 0;) {
        uint32_t i = point_of(f, k, s);
        buf_printf(f->out, "L%.1f %.1f", x_at(f, c->x[i]), y_at(f, sum_at(c, s, i)));
    }
    buf_printf(f->out, "Z");
    close_path(f, s);
}

static void put_curve(const frame *f, uint32_t s) {
    const report_chart *c = f->c;
    bool drawing = false;
    open_path(f, s, "curve", "stroke");
    buf_printf(f->out, "M%d %.1f", LEFT, f->bottom); /* so that a path of gaps alone is still a path */
    for (uint32_t k = 0; k < n_drawn(f); k++) {
        uint32_t i = point_of(f, k, s);
        bool there = isfinite(c->series[s].values[i]);
        if (there)
            buf_printf(f->out, "%c%.1f %.1f", drawing ? 'L' : 'M', x_at(f, c->x[i]), y_at(f, value_at(c, s, i)));
        if (there && !drawing) buf_printf(f->out, "h.1"); /* with round ends, a point by itself is a dot */
        drawing = there;
    }
    close_path(f, s);
}

static void put_line(const frame *f) {
    const report_chart *c = f->c;
    if (!isfinite(c->line)) return;
    double y = f->line_is_above ? f->top : y_at(f, c->line);
    if (!f->line_is_above)
        buf_printf(f->out, "<path class=\"halo\" d=\"M%d %.1fH%.1f\"/><path class=\"line\" d=\"M%d %.1fH%.1f\"/>",
                   LEFT, y, f->right, LEFT, y, f->right);
    buf_printf(f->out, "<text class=\"line-label\" x=\"%.1f\" y=\"%.1f\" text-anchor=\"end\">%s", f->right - 4,
               y < f->top + 28 ? y + 15 : y - 6, f->line_is_above ? "↑ " : "");
    put_text(f->out, c->line_label ? c->line_label : "line");
    buf_append_str(f->out, STR("</text>\n"));
}

/* Short strokes above the axis, not two in a column; labels beside them while they do not run into each other. */
static void put_marks(const frame *f) {
    double last_x = -1, label_end = LEFT;
    for (uint32_t i = 0; i < f->c->n_marks; i++) {
        const report_mark *m = &f->c->marks[i];
        if (!(m->x >= f->x_from && m->x <= f->x_to)) continue;
        double x = x_at(f, m->x);
        double width = m->label ? (double)(count_characters(m->label) * CHARACTER) : 0;
        bool labelled = width > 0 && x >= label_end && x + 4 + width <= f->right;
        if (!labelled && x < last_x + 1 && x >= last_x) continue;
        last_x = x;
        double length = labelled ? 16 : 9;
        buf_printf(f->out, "<path class=\"mark\" d=\"M%.1f %.1fV%.1f\"/>", x, f->bottom, f->bottom - length);
        if (labelled) {
            buf_printf(f->out, "<text class=\"note\" x=\"%.1f\" y=\"%.1f\">", x + 4, f->bottom - 6);
            put_text(f->out, m->label);
            buf_printf(f->out, "</text>");
            label_end = x + 12 + width;
        }
        buf_append_str(f->out, STR("\n"));
    }
}

/* Draws the legend, or only counts its rows: the plot begins below them. */
static uint32_t put_legend(const report_chart *c, double right, buf *out) {
    double x = LEFT;
    uint32_t rows = c->n_series > 0;
    for (uint32_t s = 0; s < c->n_series; s++) {
        double width = (double)(count_characters(c->series[s].name) * CHARACTER) + 30;
        if (x > LEFT && x + width > right) x = LEFT, rows++;
        if (out) {
            double y = LEGEND_Y + (double)((rows - 1) * ROW);
            buf_printf(out, "<rect x=\"%.1f\" y=\"%.1f\" width=\"11\" height=\"11\" rx=\"2\" fill=\"", x, y - 10);
            put_text(out, color_of(c, s));
            buf_printf(out, "\"/><text class=\"key\" x=\"%.1f\" y=\"%.1f\">", x + 16, y);
            put_text(out, c->series[s].name);
            buf_append_str(out, STR("</text>\n"));
        }
        x += width;
    }
    return rows;
}

static const char style[] =
    "<style>text{font:12px system-ui,-apple-system,'Segoe UI',sans-serif;fill:#33424d}"
    ".title{font-size:16px;font-weight:600;fill:#16222b}.tick{fill:#66757f;font-size:11px}"
    ".note{font-size:11px;fill:#33424d;paint-order:stroke;stroke:#fff;stroke-width:3px;stroke-opacity:.75}"
    ".grid{stroke:#e3e8eb;fill:none}.axis{stroke:#93a1aa;fill:none}"
    ".area{fill-opacity:.88;stroke:#fff;stroke-width:.5}"
    ".curve{fill:none;stroke-width:2;stroke-linejoin:round;stroke-linecap:round}"
    ".line{stroke:#b3261e;stroke-width:2;fill:none;stroke-dasharray:8 4}"
    ".halo{stroke:#fff;stroke-width:4;stroke-opacity:.8;fill:none}"
    ".line-label{fill:#b3261e;font-weight:600;paint-order:stroke;stroke:#fff;stroke-width:3px}"
    ".mark{stroke:#16222b;fill:none;stroke-width:1.2}</style>\n";

static void put_head(const frame *f) {
    const char *title = f->c->title ? f->c->title : "";
    buf_printf(f->out, "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %.0f %.0f\" width=\"%.0f\" "
                       "height=\"%.0f\" role=\"img\">\n<title>", f->width, f->height, f->width, f->height);
    put_cut(f->out, title, UINT32_MAX);
    buf_append_str(f->out, STR("</title>\n"));
    buf_append_str(f->out, str_of(style));
    buf_printf(f->out, "<rect width=\"100%%\" height=\"100%%\" fill=\"#fff\"/>\n"
                       "<text class=\"title\" x=\"%d\" y=\"%d\">", LEFT, TITLE_Y);
    put_cut(f->out, title, (uint32_t)((f->right - LEFT) / TITLE_CHARACTER));
    buf_append_str(f->out, STR("</text>\n"));
}

static double limit_pixels(uint32_t given, uint32_t usual, uint32_t least) {
    return given == 0 ? usual : clamp(given, least, MOST_PIXELS);
}

static frame frame_of(const report_chart *c, buf *out) {
    frame f = {.c = c, .out = out};
    f.width = limit_pixels(c->width, 960, LEAST_WIDTH);
    f.height = limit_pixels(c->height, 420, LEAST_HEIGHT);
    f.right = f.width - RIGHT;
    f.top = LEGEND_Y + (double)(put_legend(c, f.right, NULL) * ROW) - 2;
    f.bottom = f.height - BOTTOM;
    if (f.top > f.bottom - 60) f.bottom = f.top + 60, f.height = f.bottom + BOTTOM; /* a long legend */
    f.columns = (uint32_t)(f.right - LEFT);
    f.x_from = c->n && isfinite(c->x[0]) ? c->x[0] : 0;
    f.x_to = c->n && isfinite(c->x[c->n - 1]) ? c->x[c->n - 1] : f.x_from;
    if (!(f.x_to > f.x_from)) f.x_to = f.x_from + 1;
    double most = highest(c);
    bool has_line = isfinite(c->line) && c->line > 0;
    f.line_is_above = has_line && most > 0 && c->line > 8 * most;
    if (has_line && !f.line_is_above) most = fmax(most, c->line);
    most = most > 0 ? most * 1.06 : in_bytes(c) ? 1 << 20 : 1;
    f.y_step = nice_step(most, in_bytes(c));
    f.y_to = most;
    return f;
}

void report_chart_svg(const report_chart *c, buf *out) {
    frame f = frame_of(c, out);
    put_head(&f);
    put_legend(c, f.right, out);
    put_bands(&f);
    put_axes(&f);
    for (uint32_t s = 0; c->n && s < c->n_series; s++) c->stacked ? put_area(&f, s) : put_curve(&f, s);
    put_marks(&f);
    put_line(&f);
    if (!c->n)
        buf_printf(out, "<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"middle\">nothing was recorded</text>\n",
                   (LEFT + f.right) / 2, (f.top + f.bottom) / 2);
    buf_append_str(out, STR("</svg>\n"));
}
