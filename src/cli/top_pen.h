/* cli/top_pen — writes lines for a terminal: a pen that knows its column, its colours, and the small parts that are
 * drawn with it (bars, figures, sizes).
 *
 * What does not fit the line's columns is left out, so no line is ever broken by the terminal; without UTF-8 it draws
 * with ASCII, without colours it writes no control. Callers: cli/top_view. */
#ifndef CLI_TOP_PEN_H
#define CLI_TOP_PEN_H

#include "cli/top_view.h"

typedef enum style {
    PLAIN, DIM, BOLD, GOOD, MIND, WARN, BAD, WORST, WATER, HULL, BOTTOM, BOTTOM_EDGE, MARK, BAR, LENT,
} style;

typedef struct pen {
    const top_view *view;
    buf *out;
    uint32_t columns, column, lines;
    style now;
} pen;

void pen_text(pen *p, style s, const char *text);
void pen_print(pen *p, style s, const char *format, ...) __attribute__((format(printf, 3, 4)));
void pen_end(pen *p);
/* Words; what does not fit the line goes on in the next, under `indent`. */
void pen_words(pen *p, style s, uint32_t indent, const char *format, ...) __attribute__((format(printf, 4, 5)));
void pen_repeat(pen *p, style s, const char *sign, uint32_t n);
void pen_to(pen *p, uint32_t column); /* blanks up to there */
const char *pen_either(const pen *p, const char *utf8, const char *ascii);

style pen_level_style(const char *level);
double pen_share(uint64_t part, uint64_t whole);
/* n eighths of a cell, from below. */
const char *pen_eighths_up(const pen *p, int n);
/* A bar of `width` cells, filled to `part`, with a tick where the peak was. */
void pen_bar(pen *p, style s, uint32_t width, double part, double peak);
const char *pen_count_text(uint64_t n, char out[BYTES_TEXT_BYTES]);
const char *pen_speed_text(double v, char out[BYTES_TEXT_BYTES]);
/* A figure and what it counts: the figure in bold. */
void pen_figure(pen *p, const char *value, const char *unit);
const char *pen_size_text(const pen *p, uint64_t bytes, char out[BYTES_TEXT_BYTES]);

#endif
