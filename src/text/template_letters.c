/* Upper and lower case; classes of characters. */
#include "text/template_internal.h"
#include "text/letter_classes.h"
#include "text/letter_tables.h"

static uint32_t change(uint32_t cp, const letter_shift *shifts, size_t n, const letter_several *several,
                       size_t n_several, uint32_t out[3]) {
    for (size_t i = 0; i < n_several && several[i].from <= cp; i++) {
        if (several[i].from != cp) continue;
        memcpy(out, several[i].to, sizeof several[i].to);
        return out[2] ? 3 : 2;
    }
    size_t low = 0, high = n;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (shifts[middle].last < cp)
            low = middle + 1;
        else
            high = middle;
    }
    bool shifted = low < n && shifts[low].first <= cp && (cp - shifts[low].first) % shifts[low].step == 0;
    out[0] = shifted ? (uint32_t)((int32_t)cp + shifts[low].delta) : cp;
    return 1;
}

#define COUNT(table) (sizeof(table) / sizeof *(table))

static uint32_t letter_upper(uint32_t cp, uint32_t out[3]) {
    if (cp < 0x80) return out[0] = cp >= 'a' && cp <= 'z' ? cp - 32 : cp, 1;
    return change(cp, upper_shifts, COUNT(upper_shifts), upper_several, COUNT(upper_several), out);
}

static uint32_t letter_lower(uint32_t cp, uint32_t out[3]) {
    if (cp < 0x80) return out[0] = cp >= 'A' && cp <= 'Z' ? cp + 32 : cp, 1;
    return change(cp, lower_shifts, COUNT(lower_shifts), lower_several, COUNT(lower_several), out);
}

static bool has_case(uint32_t cp) {
    uint32_t out[3];
    return letter_upper(cp, out) > 1 || out[0] != cp || letter_lower(cp, out) > 1 || out[0] != cp;
}

/* Marks that stand inside words without being letters. */
static bool is_passed_over(uint32_t cp) {
    static const uint32_t others[] = {'\'', '.',  ':',  '^',  '`',    0xA8,  0xAD,
                                      0xAF, 0xB4, 0xB7, 0xB8, 0x2019, 0x200D};
    for (size_t i = 0; i < COUNT(others); i++)
        if (cp == others[i]) return true;
    return cp >= 0x300 && cp < 0x370;
}

/* Sigma at the end of a word has a form of its own. */
static bool ends_word(str s, size_t at, size_t behind) {
    uint32_t cp = 0;
    bool letter_before = false;
    while (at) {
        for (at--; at && (s.data[at] & 0xC0) == 0x80; at--) continue;
        text_decode(s, at, &cp);
        if (is_passed_over(cp)) continue;
        letter_before = has_case(cp);
        break;
    }
    if (!letter_before) return false;
    while (behind < s.len) {
        behind += (size_t)text_decode(s, behind, &cp);
        if (!is_passed_over(cp)) return !has_case(cp);
    }
    return true;
}

/* How a word's first letter is written: of digraphs only their first part is large. */
static uint32_t letter_title(uint32_t cp, uint32_t out[3]) {
    bool digraph = (cp >= 0x1C4 && cp <= 0x1CC) || (cp >= 0x1F1 && cp <= 0x1F3);
    if (digraph) return out[0] = cp < 0x1F1 ? 0x1C5 + (cp - 0x1C4) / 3 * 3 : 0x1F2, 1;
    uint32_t n = letter_upper(cp, out), low[3];
    for (uint32_t i = 1; i < n; i++)
        if (letter_lower(out[i], low) == 1) out[i] = low[0];
    return n;
}

typedef enum letter_case { CASE_LOWER, CASE_UPPER, CASE_TITLE } letter_case;

static void append_case(text_builder *b, str s, size_t at, size_t n, letter_case c) {
    uint32_t cp, to[3], count;
    text_decode(s, at, &cp);
    if (cp == 0x3A3 && c == CASE_LOWER && ends_word(s, at, at + n))
        count = 1, to[0] = 0x3C2;
    else
        count = c == CASE_UPPER   ? letter_upper(cp, to)
                : c == CASE_LOWER ? letter_lower(cp, to)
                                  : letter_title(cp, to);
    for (uint32_t i = 0; i < count; i++) build_append_char(b, to[i]);
}

void text_append_case(text_builder *b, str s, size_t at, size_t n, bool upper) {
    append_case(b, s, at, n, upper ? CASE_UPPER : CASE_LOWER);
}

static bool changes(str s, bool upper) {
    char low = upper ? 'a' : 'A', high = upper ? 'z' : 'Z';
    for (size_t i = 0; i < s.len; i++)
        if ((s.data[i] >= low && s.data[i] <= high) || (unsigned char)s.data[i] >= 0x80) return true;
    return false;
}

typedef letter_case (*choose_case)(uint32_t cp, bool letter_before);

static bool change_each(run *r, str s, choose_case choose, value *out) {
    text_builder b;
    uint32_t cp;
    bool letter_before = false;
    build_begin(&b, r, s.len);
    for (size_t at = 0, n; at < s.len && !b.failed; at += n) {
        n = (size_t)text_decode(s, at, &cp);
        append_case(&b, s, at, n, choose(cp, letter_before));
        letter_before = has_case(cp);
    }
    return run_spend_bytes(r, 32 * s.len) && build_end(&b, out);
}

static letter_case always_upper(uint32_t cp, bool before) { return (void)cp, (void)before, CASE_UPPER; }
static letter_case always_lower(uint32_t cp, bool before) { return (void)cp, (void)before, CASE_LOWER; }
static letter_case the_other(uint32_t cp, bool before) {
    return (void)before, letter_is_upper(cp) ? CASE_LOWER : CASE_UPPER;
}
static letter_case title(uint32_t cp, bool before) { return (void)cp, before ? CASE_LOWER : CASE_TITLE; }

bool text_change_case(run *r, str s, bool upper, value *out) {
    if (!run_spend_bytes(r, s.len)) return false;
    if (!changes(s, upper)) return *out = value_string(s), true;
    return change_each(r, s, upper ? always_upper : always_lower, out);
}

bool text_swap_case(run *r, str s, value *out) { return change_each(r, s, the_other, out); }
bool text_title(run *r, str s, value *out) { return change_each(r, s, title, out); }

bool text_capitalize(run *r, str s, value *out) {
    text_builder b;
    build_begin(&b, r, s.len);
    for (size_t at = 0, next; at < s.len && !b.failed; at = next) {
        next = text_next(s, at);
        append_case(&b, s, at, next - at, at ? CASE_LOWER : CASE_TITLE);
    }
    return run_spend_bytes(r, 8 * s.len) && build_end(&b, out);
}

/* ---- classes ---- */

static bool in_ranges(const letter_range *ranges, size_t n, uint32_t cp) {
    size_t low = 0, high = n;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (ranges[middle].last < cp)
            low = middle + 1;
        else
            high = middle;
    }
    return low < n && ranges[low].first <= cp;
}

bool letter_is_printable(uint32_t cp) {
    return cp < 0x7F ? cp >= 0x20 : in_ranges(printable_ranges, COUNT(printable_ranges), cp);
}
bool letter_is_alpha(uint32_t cp) { return in_ranges(alpha_ranges, COUNT(alpha_ranges), cp); }
bool letter_is_numeric(uint32_t cp) { return in_ranges(numeric_ranges, COUNT(numeric_ranges), cp); }
bool letter_is_decimal(uint32_t cp) { return in_ranges(decimal_ranges, COUNT(decimal_ranges), cp); }
bool letter_is_digit(uint32_t cp) { return in_ranges(digit_ranges, COUNT(digit_ranges), cp); }

bool letter_is_word(uint32_t cp) { return cp == '_' || letter_is_alpha(cp) || letter_is_numeric(cp); }

bool letter_is_upper(uint32_t cp) {
    uint32_t out[3];
    return (letter_lower(cp, out) > 1 || out[0] != cp) && letter_upper(cp, out) == 1 && out[0] == cp;
}

bool letter_is_lower(uint32_t cp) {
    uint32_t out[3];
    if (cp == 0xAA || cp == 0xBA) return true;
    return (letter_upper(cp, out) > 1 || out[0] != cp) && letter_lower(cp, out) == 1 && out[0] == cp;
}
