/* The filters wordwrap, as Python's textwrap breaks lines, and filesizeformat. */
#include "text/template/internal.h"
#include "text/unicode/unicode.h"

#include <math.h>
#include <stdio.h>

/* ---- pieces between which a line may end ---- */

static bool is_blank(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }

static bool is_letter(uint32_t cp) { return unicode_is_word(cp) && !unicode_is_decimal(cp); }

static uint32_t char_at(str s, size_t at) {
    uint32_t cp = 0;
    if (at < s.len) text_decode(s, at, &cp);
    return cp;
}

/* The character before at, whose place *at becomes; 0: there is none. */
static uint32_t char_before(str s, size_t *at) {
    if (!*at) return 0;
    do --*at;
    while (*at && ((unsigned char)s.data[*at] & 0xC0) == 0x80);
    return char_at(s, *at);
}

/* What a dash may follow. */
static bool ends_phrase(str s, size_t at) {
    uint32_t cp = char_before(s, &at);
    return unicode_is_word(cp) || (cp && cp < 0x80 && strchr("!\"'&.,?", (int)cp));
}

/* Two hyphens or more, and a word behind them: where that begins; 0: something else. */
static size_t dash_end(str s, size_t at) {
    size_t end = at;
    while (end < s.len && s.data[end] == '-') end++;
    return end - at >= 2 && unicode_is_word(char_at(s, end)) ? end : 0;
}

/* A hyphen with two letters before it (or one, a hyphen and one), and two behind it. */
static bool joins_words(str s, size_t at) {
    size_t back = at, ahead = at + 1;
    if (!is_letter(char_before(s, &back))) return false;
    uint32_t second = char_before(s, &back);
    if (!is_letter(second) && (second != '-' || !is_letter(char_before(s, &back)))) return false;
    if (!is_letter(char_at(s, ahead))) return false;
    ahead = text_next(s, ahead);
    if (ahead < s.len && s.data[ahead] == '-') ahead++;
    return is_letter(char_at(s, ahead));
}

typedef struct piece {
    size_t at, end, n; /* n: characters */
} piece;

/* The piece that begins at p->end. Blanks, a dash between words, or a word up to its end, a hyphen of it or a dash. */
static void next_piece(str s, bool hyphens, piece *p) {
    size_t at = p->at = p->end, end = at;
    if (at < s.len && is_blank(s.data[at])) {
        while (end < s.len && is_blank(s.data[end])) end++;
    } else if (hyphens && at < s.len && s.data[at] == '-' && ends_phrase(s, at) && dash_end(s, at)) {
        end = dash_end(s, at);
    } else {
        while (end < s.len && !is_blank(s.data[end])) {
            bool hyphen = hyphens && end > at && s.data[end] == '-';
            if (hyphen && joins_words(s, end)) {
                end++;
                break;
            }
            if (hyphen && ends_phrase(s, end) && dash_end(s, end)) break;
            end = text_next(s, end);
        }
    }
    p->end = end;
    p->n = text_characters((str){s.data + at, end - at});
}

/* ---- lines ---- */

typedef struct wrapping {
    text_builder *b;
    str between; /* lines */
    size_t width, n_lines;
    bool breaks_words, hyphens, split_at_hyphens;
} wrapping;

static bool is_space(str s, size_t from, size_t to) {
    return text_trim((str){s.data + from, to - from}, true, true).len == 0;
}

/* How many characters of a word that is longer than a line go on this one: behind its last hyphen where it has any. */
static size_t broken_at(const wrapping *w, str s, const piece *p, size_t left) {
    str fits = {s.data + p->at, text_offset((str){s.data + p->at, p->end - p->at}, left)};
    size_t hyphen = w->hyphens && p->n > left ? text_find_last(fits, STR("-")) : SIZE_MAX, others = 0;
    if (hyphen == SIZE_MAX || !hyphen) return left;
    for (size_t i = 0; i < hyphen; i++) others += fits.data[i] != '-';
    return others ? text_characters((str){fits.data, hyphen + 1}) : left;
}

/* One line from p on, which becomes the piece behind it. In textwrap's order, whose oddities show. */
static void wrap_line(wrapping *w, str s, piece *p) {
    size_t start = p->at, end = start, last = start, used = 0, pieces = 0;
    while (p->at < s.len && used + p->n <= w->width) {
        last = p->at;
        end = p->end;
        used += p->n;
        pieces++;
        next_piece(s, w->split_at_hyphens, p);
    }
    if (p->at < s.len && p->n > w->width && w->breaks_words) {
        size_t n = broken_at(w, s, p, w->width - used);
        last = end = p->at;
        end += text_offset((str){s.data + p->at, p->end - p->at}, n);
        p->at = end;
        p->n -= n;
        pieces++;
    } else if (p->at < s.len && p->n > w->width && !pieces) {
        end = p->end;
        pieces++;
        next_piece(s, w->split_at_hyphens, p);
    }
    if (pieces && is_space(s, last, end)) end = last, pieces--;
    if (!pieces) return;
    if (w->n_lines++) build_append(w->b, w->between);
    build_append(w->b, (str){s.data + start, end - start});
}

static bool wrap_paragraph(wrapping *w, str s) {
    piece p = {0};
    w->n_lines = 0;
    next_piece(s, w->split_at_hyphens, &p);
    while (p.at < s.len && !w->b->failed) {
        if (w->n_lines && is_space(s, p.at, p.end)) next_piece(s, w->split_at_hyphens, &p);
        if (!run_spend(w->b->r, 1)) return false;
        if (p.at < s.len) wrap_line(w, s, &p);
    }
    return run_spend_bytes(w->b->r, 64 * s.len);
}

/* args: width, break_long_words, wrapstring, break_on_hyphens */
bool filter_wordwrap(run *r, const value *v, const value *args, value *out) {
    text_builder b;
    wrapping w = {.b = &b, .between = STR("\n")};
    int64_t width = 79;
    if (v->kind == UNDEFINED) return value_fail_undefined(r, v);
    if (v->kind != STRING) return run_fail(r, "wordwrap is for texts, not %s", value_kind_name(v));
    if (args[0].kind != UNSET && !value_index(r, "wordwrap: width", &args[0], &width)) return false;
    if (args[2].kind == STRING) w.between = value_str(&args[2]);
    else if (args[2].kind != UNSET && args[2].kind != NONE)
        return run_fail(r, "wordwrap: wrapstring must be a text");
    str s = value_str(v);
    if (width <= 0 && s.len) return run_fail(r, "wordwrap: width must be more than 0");
    w.width = width > UINT32_MAX ? UINT32_MAX : (size_t)width;
    w.breaks_words = args[1].kind == UNSET || value_truth(&args[1]);
    w.hyphens = args[3].kind == UNSET || value_truth(&args[3]);
    /* textwrap asks whether it is True in one place, and whether it is true in the other. */
    w.split_at_hyphens = w.hyphens && (args[3].kind == UNSET || args[3].kind == BOOLEAN);
    build_begin(&b, r, s.len + s.len / 8);
    for (size_t at = 0, next; at < s.len && !b.failed; at = next) {
        size_t end = text_line_end(s, at, &next);
        if (at) build_append(&b, w.between);
        if (!wrap_paragraph(&w, (str){s.data + at, end - at})) return false;
    }
    return build_end(&b, out);
}

/* ---- sizes ---- */

bool filter_filesizeformat(run *r, const value *v, const value *args, value *out) {
    static const char prefixes[] = "kMGTPEZY";
    bool binary = args[0].kind != UNSET && value_truth(&args[0]), ok = true;
    double bytes, base = binary ? 1024 : 1000;
    char text[NUMBER_TEXT_BYTES];
    str s = {text, 0};
    value given;
    if (v->kind == UNDEFINED) return value_fail_undefined(r, v);
    if (v->kind != STRING && !is_number(v))
        return run_fail(r, "filesizeformat is for numbers, not %s", value_kind_name(v));
    if (v->kind != STRING) bytes = number_of(v);
    else if (!text_to_float(&r->memory, value_str(v), &bytes, &ok)) return run_refused(r);
    if (!ok) return run_fail(r, "filesizeformat: this is no number");
    if (bytes == 1) return *out = value_string(STR("1 Byte")), true;
    if (bytes < base) {
        if (!isfinite(bytes)) return run_fail(r, "filesizeformat: this has no whole part");
        return number_to_whole(r, bytes, &given) && text_of_value(r, &given, &given) &&
               text_concat(r, value_str(&given), STR(" Bytes"), out);
    }
    /* 1e24 is a little less than 10^24. */
    static const double thousands[] = {1e6, 1e9, 1e12, 1e15, 1e18, 1e21, 1e24, 1e27};
    double unit = base;
    int i = 0;
    for (; i < 8; i++) {
        unit = binary ? unit * base : thousands[i];
        if (i == 7 || bytes < unit || (i == 6 && !binary && bytes <= unit)) break;
    }
    char letter = binary && !i ? 'K' : prefixes[i];
    s.len = (size_t)snprintf(text, sizeof text, "%.1f %c%sB", fabs(base * bytes / unit), letter, binary ? "i" : "");
    return text_concat(r, s, STR(""), out);
}
