/* Upper and lower case, and classes of characters, as Python has them: what chat templates ask. */
#include "text/unicode/unicode.h"

#include "text/unicode/letter_classes.h"
#include "text/unicode/letter_tables.h"

static const unicode_mapping upper = {upper_shifts, COUNT(upper_shifts), upper_several, COUNT(upper_several)};
static const unicode_mapping lower = {lower_shifts, COUNT(lower_shifts), lower_several, COUNT(lower_several)};

uint32_t unicode_upper(uint32_t cp, uint32_t out[3]) {
    if (cp < 0x80) return out[0] = cp >= 'a' && cp <= 'z' ? cp - 32 : cp, 1;
    return unicode_map(&upper, cp, out);
}

uint32_t unicode_lower(uint32_t cp, uint32_t out[3]) {
    if (cp < 0x80) return out[0] = cp >= 'A' && cp <= 'Z' ? cp + 32 : cp, 1;
    return unicode_map(&lower, cp, out);
}

bool unicode_has_case(uint32_t cp) {
    uint32_t out[3];
    return unicode_upper(cp, out) > 1 || out[0] != cp || unicode_lower(cp, out) > 1 || out[0] != cp;
}

/* How a word's first letter is written: of digraphs only their first part is large. */
uint32_t unicode_title(uint32_t cp, uint32_t out[3]) {
    bool digraph = (cp >= 0x1C4 && cp <= 0x1CC) || (cp >= 0x1F1 && cp <= 0x1F3);
    if (digraph) return out[0] = cp < 0x1F1 ? 0x1C5 + (cp - 0x1C4) / 3 * 3 : 0x1F2, 1;
    uint32_t n = unicode_upper(cp, out), low[3];
    for (uint32_t i = 1; i < n; i++)
        if (unicode_lower(out[i], low) == 1) out[i] = low[0];
    return n;
}

/* ---- classes ---- */

bool unicode_is_printable(uint32_t cp) {
    return cp < 0x7F ? cp >= 0x20 : unicode_in_ranges(printable_ranges, COUNT(printable_ranges), cp);
}
bool unicode_is_alpha(uint32_t cp) { return unicode_in_ranges(alpha_ranges, COUNT(alpha_ranges), cp); }
bool unicode_is_numeric(uint32_t cp) { return unicode_in_ranges(numeric_ranges, COUNT(numeric_ranges), cp); }
bool unicode_is_decimal(uint32_t cp) { return unicode_in_ranges(decimal_ranges, COUNT(decimal_ranges), cp); }
bool unicode_is_digit(uint32_t cp) { return unicode_in_ranges(digit_ranges, COUNT(digit_ranges), cp); }

bool unicode_is_word(uint32_t cp) { return cp == '_' || unicode_is_alpha(cp) || unicode_is_numeric(cp); }

bool unicode_is_upper(uint32_t cp) {
    uint32_t out[3];
    return (unicode_lower(cp, out) > 1 || out[0] != cp) && unicode_upper(cp, out) == 1 && out[0] == cp;
}

bool unicode_is_lower(uint32_t cp) {
    uint32_t out[3];
    if (cp == 0xAA || cp == 0xBA) return true;
    return (unicode_upper(cp, out) > 1 || out[0] != cp) && unicode_lower(cp, out) == 1 && out[0] == cp;
}
