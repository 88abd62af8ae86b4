/* Texts in upper and lower case. */
#include "text/template/internal.h"
#include "text/unicode/unicode.h"

/* Marks that stand inside words without being letters. */
static bool is_passed_over(uint32_t cp) {
    static const uint32_t others[] = {'\'', '.',  ':',  '^',  '`',    0xA8,  0xAD,
                                      0xAF, 0xB4, 0xB7, 0xB8, 0x2019, 0x200D};
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
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
        letter_before = unicode_has_case(cp);
        break;
    }
    if (!letter_before) return false;
    while (behind < s.len) {
        behind += (size_t)text_decode(s, behind, &cp);
        if (!is_passed_over(cp)) return !unicode_has_case(cp);
    }
    return true;
}

typedef enum letter_case { CASE_LOWER, CASE_UPPER, CASE_TITLE } letter_case;

static void append_case(text_builder *b, str s, size_t at, size_t n, letter_case c) {
    uint32_t cp, to[3], count;
    text_decode(s, at, &cp);
    if (cp == 0x3A3 && c == CASE_LOWER && ends_word(s, at, at + n))
        count = 1, to[0] = 0x3C2;
    else
        count = c == CASE_UPPER   ? unicode_upper(cp, to)
                : c == CASE_LOWER ? unicode_lower(cp, to)
                                  : unicode_title(cp, to);
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
        letter_before = unicode_has_case(cp);
    }
    return run_spend_bytes(r, 32 * s.len) && build_end(&b, out);
}

static letter_case always_upper(uint32_t cp, bool before) { return (void)cp, (void)before, CASE_UPPER; }
static letter_case always_lower(uint32_t cp, bool before) { return (void)cp, (void)before, CASE_LOWER; }
static letter_case the_other(uint32_t cp, bool before) {
    return (void)before, unicode_is_upper(cp) ? CASE_LOWER : CASE_UPPER;
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
