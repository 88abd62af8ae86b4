/* How uncased WordPiece folds characters before words are spelled. */
#include "text/unicode/unicode.h"

#include "text/unicode/fold_tables.h"

bool unicode_is_blank(uint32_t c) {
    return c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == 0xA0 || c == 0x1680 ||
           (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 || c == 0x202F || c == 0x205F || c == 0x3000;
}

bool unicode_is_punctuation(uint32_t c) {
    bool ascii = (c >= '!' && c <= '/') || (c >= ':' && c <= '@') || (c >= '[' && c <= '`') || (c >= '{' && c <= '~');
    return ascii || (c >= 0x80 && unicode_in_ranges(punctuation, COUNT(punctuation), c));
}

bool unicode_is_cjk(uint32_t c) {
    return (c >= 0x4E00 && c <= 0x9FFF) || (c >= 0x3400 && c <= 0x4DBF) || (c >= 0x20000 && c <= 0x2A6DF) ||
           (c >= 0x2A700 && c <= 0x2CEAF) || (c >= 0xF900 && c <= 0xFAFF) || (c >= 0x2F800 && c <= 0x2FA1F);
}

/* Hangul syllables are numbered lead by vowel by tail. */
static int fold_hangul(uint32_t c, uint32_t out[3]) {
    uint32_t i = c - 0xAC00, tail = i % 28;
    out[0] = 0x1100 + i / (21 * 28);
    out[1] = 0x1161 + i / 28 % 21;
    out[2] = 0x11A7 + tail;
    return tail ? 3 : 2;
}

/* What a character becomes: up to three, or none. */
int unicode_fold(uint32_t c, uint32_t out[3]) {
    if (c < 0x80) {
        out[0] = c >= 'A' && c <= 'Z' ? c + 32 : c;
        return c >= 0x20 && c != 0x7F;
    }
    if (unicode_in_ranges(dropped, COUNT(dropped), c)) return 0;
    if (c >= 0xAC00 && c <= 0xD7A3) return fold_hangul(c, out);
    static const unicode_mapping folds = {fold_one, COUNT(fold_one), fold_many, COUNT(fold_many)};
    return (int)unicode_map(&folds, c, out);
}
