#include "cli/top_pen.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>

static const char *const style_codes[] = {
    [PLAIN] = "0",      [DIM] = "2",      [BOLD] = "1",           [GOOD] = "32",    [MIND] = "33",
    [WARN] = "1;33",    [BAD] = "1;31",   [WORST] = "1;97;41",    [WATER] = "34",   [HULL] = "37",
    [BOTTOM] = "31",    [BOTTOM_EDGE] = "31;44",                  [MARK] = "30;47", [BAR] = "36",
    [LENT] = "35",
};

static void pen_style(pen *p, style s) {
    if (!p->view->color || s == p->now) return;
    buf_printf(p->out, s == PLAIN ? "\033[0m" : "\033[0;%sm", style_codes[s]);
    p->now = s;
}

/* What does not fit the line is left out. */
void pen_text(pen *p, style s, const char *text) {
    size_t n, len = strlen(text);
    uint32_t cp;
    if (*text && p->column < p->columns) pen_style(p, s);
    for (size_t i = 0; i < len && p->column < p->columns; i += n, p->column++) {
        int got = utf8_decode(text + i, len - i, &cp);
        n = got > 0 ? (size_t)got : 1;
        if (got > 0 && (got == 1 || p->view->utf8)) buf_append(p->out, text + i, n);
        else buf_append(p->out, "?", 1);
    }
}

void pen_print(pen *p, style s, const char *format, ...) {
    char text[512];
    va_list list;
    va_start(list, format);
    vsnprintf(text, sizeof text, format, list);
    va_end(list);
    pen_text(p, s, text);
}

void pen_end(pen *p) {
    pen_style(p, PLAIN);
    buf_append(p->out, "\n", 1);
    p->column = 0;
    p->lines++;
}

/* Words; what does not fit the line goes on in the next, under `indent`. */
void pen_words(pen *p, style s, uint32_t indent, const char *format, ...) {
    char text[512];
    va_list list;
    va_start(list, format);
    vsnprintf(text, sizeof text, format, list);
    va_end(list);
    for (char *word = text, *next; *word; word = next) {
        next = word + strcspn(word, " ");
        next += strspn(next, " ");
        char after = *next;
        *next = 0;
        size_t len = strcspn(word, " ");
        if (p->column > indent && p->column + len > p->columns) {
            pen_end(p);
            while (p->column < indent) pen_text(p, PLAIN, " ");
        }
        pen_text(p, s, word);
        *next = after;
    }
}

void pen_repeat(pen *p, style s, const char *sign, uint32_t n) {
    while (n-- && p->column < p->columns) pen_text(p, s, sign);
}

void pen_to(pen *p, uint32_t column) {
    if (p->column < column) pen_repeat(p, PLAIN, " ", column - p->column);
}

const char *pen_either(const pen *p, const char *utf8, const char *ascii) {
    return p->view->utf8 ? utf8 : ascii;
}

/* ---- small parts ---- */

style pen_level_style(const char *level) {
    static const char *const names[] = {"safe", "caution", "warning", "critical", "emergency"};
    static const style styles[] = {GOOD, MIND, WARN, BAD, WORST};
    for (int i = 0; i < 5; i++)
        if (!strcmp(level, names[i])) return styles[i];
    return BOLD;
}

double pen_share(uint64_t part, uint64_t whole) {
    return whole && whole != UINT64_MAX ? fmin((double)part / (double)whole, 9.99) : 0;
}

/* n eighths of a cell, from below or from the left. */
const char *pen_eighths_up(const pen *p, int n) {
    static const char *const blocks[] = {" ", "▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"};
    static const char *const signs[] = {" ", ".", ".", ":", "-", "=", "+", "*", "#"};
    n = n < 0 ? 0 : n > 8 ? 8 : n;
    return pen_either(p, blocks[n], signs[n]);
}

static const char *eighths_right(const pen *p, int n) {
    static const char *const blocks[] = {"", "▏", "▎", "▍", "▌", "▋", "▊", "▉"};
    return pen_either(p, blocks[n & 7], n >= 4 ? "=" : "");
}

/* A bar of `width` cells, filled to `part`, with a tick where the peak was. */
void pen_bar(pen *p, style s, uint32_t width, double part, double peak) {
    uint32_t start = p->column, eighths = (uint32_t)lround(fmin(fmax(part, 0), 1) * width * 8);
    if (part > 0 && eighths == 0) eighths = 1;
    pen_repeat(p, s, pen_either(p, "█", "="), eighths / 8);
    pen_text(p, s, eighths_right(p, (int)(eighths % 8)));
    uint32_t tick = width ? (uint32_t)(fmin(fmax(peak, 0), 1) * (width - 1)) : 0;
    if (peak > 0 && start + tick >= p->column) {
        pen_to(p, start + tick);
        pen_text(p, DIM, pen_either(p, "│", "|"));
    }
    pen_to(p, start + width);
}

const char *pen_count_text(uint64_t n, char out[BYTES_TEXT_BYTES]) {
    if (n < 100000) snprintf(out, BYTES_TEXT_BYTES, "%llu", (unsigned long long)n);
    else if (n < 100000000) snprintf(out, BYTES_TEXT_BYTES, "%.1fk", (double)n / 1e3);
    else if (n < 100000000000) snprintf(out, BYTES_TEXT_BYTES, "%.1fM", (double)n / 1e6);
    else snprintf(out, BYTES_TEXT_BYTES, "%.3g", (double)n);
    return out;
}

const char *pen_speed_text(double v, char out[BYTES_TEXT_BYTES]) {
    if (v < 0) snprintf(out, BYTES_TEXT_BYTES, "-");
    else snprintf(out, BYTES_TEXT_BYTES, v < 9.95 ? "%.1f" : v < 1e6 ? "%.0f" : "%.2g", v);
    return out;
}

/* A figure and what it counts: the figure in bold. */
void pen_figure(pen *p, const char *value, const char *unit) {
    pen_text(p, BOLD, value);
    pen_print(p, PLAIN, " %s", unit);
}

const char *pen_size_text(const pen *p, uint64_t bytes, char out[BYTES_TEXT_BYTES]) {
    if (bytes == UINT64_MAX) snprintf(out, BYTES_TEXT_BYTES, "%s", pen_either(p, "–", "-"));
    else if (bytes >= UINT64_C(1) << 60) snprintf(out, BYTES_TEXT_BYTES, "%.3g B", (double)bytes);
    else bytes_text(bytes, out);
    return out;
}
