/* WordPiece ("bert", uncased): text is folded to plain lower case, cut at blanks, punctuation and CJK
 * characters; each word is spelled with the longest tokens that fit, from its start, or is unknown. */
#include "text/vocab_internal.h"

#include "text/unicode_tables.h"

#define COUNT(table) (sizeof(table) / sizeof *(table))

static bool in_ranges(const unicode_range *ranges, size_t n, uint32_t c) {
    size_t low = 0, high = n;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (ranges[middle].last < c) low = middle + 1;
        else high = middle;
    }
    return low < n && ranges[low].first <= c;
}

static bool is_blank(uint32_t c) {
    return c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == 0xA0 || c == 0x1680 ||
           (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 || c == 0x202F || c == 0x205F || c == 0x3000;
}

static bool is_punctuation(uint32_t c) {
    bool ascii = (c >= '!' && c <= '/') || (c >= ':' && c <= '@') || (c >= '[' && c <= '`') || (c >= '{' && c <= '~');
    return ascii || (c >= 0x80 && in_ranges(punctuation, COUNT(punctuation), c));
}

static bool is_cjk(uint32_t c) {
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
static int fold(uint32_t c, uint32_t out[3]) {
    if (c < 0x80) {
        out[0] = c >= 'A' && c <= 'Z' ? c + 32 : c;
        return c >= 0x20 && c != 0x7F;
    }
    if (in_ranges(dropped, COUNT(dropped), c)) return 0;
    if (c >= 0xAC00 && c <= 0xD7A3) return fold_hangul(c, out);
    size_t low = 0, high = COUNT(fold_one);
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (fold_one[middle].last < c) low = middle + 1;
        else high = middle;
    }
    const unicode_fold *f = &fold_one[low];
    out[0] = c;
    if (low < COUNT(fold_one) && f->first <= c && (c - f->first) % f->step == 0)
        out[0] = (uint32_t)((int32_t)c + f->delta);
    if (out[0] != c) return 1;
    for (low = 0, high = COUNT(fold_many); low < high;) {
        size_t middle = (low + high) / 2;
        if (fold_many[middle].from < c) low = middle + 1;
        else high = middle;
    }
    if (low == COUNT(fold_many) || fold_many[low].from != c) return 1;
    memcpy(out, fold_many[low].to, sizeof fold_many[low].to);
    return out[2] ? 3 : 2;
}

/* A word as it grows: ▁ and its characters. */
typedef struct wpm_word {
    char text[SPACE_MARK_BYTES + 4 * WPM_WORD_CHARACTERS_MAX];
    size_t bytes, characters;
} wpm_word;

static void word_start(wpm_word *w) {
    memcpy(w->text, SPACE_MARK, SPACE_MARK_BYTES);
    w->bytes = SPACE_MARK_BYTES;
    w->characters = 0;
}

static void word_add(wpm_word *w, uint32_t c) {
    if (++w->characters <= WPM_WORD_CHARACTERS_MAX) w->bytes += (size_t)utf8_encode(c, w->text + w->bytes);
}

/* Pushes the tokens that spell the word; false when none do. */
static bool spell(encoder *x, str word) {
    for (size_t at = 0; at < word.len;) {
        size_t end = word.len < at + x->vocab->longest_bytes ? word.len : at + x->vocab->longest_bytes;
        text_token t = TEXT_NO_TOKEN;
        for (; end > at; end--) {
            bool inside = end < word.len && ((unsigned char)word.data[end] & 0xC0) == 0x80;
            if (!inside && (t = text_vocab_find(x->vocab, (str){word.data + at, end - at})) != TEXT_NO_TOKEN) break;
        }
        if (t == TEXT_NO_TOKEN) return false;
        encoder_push(x, t);
        at = end;
    }
    return true;
}

static void word_end(encoder *x, wpm_word *w) {
    size_t n = x->n;
    if (w->characters && (w->characters > WPM_WORD_CHARACTERS_MAX || !spell(x, (str){w->text, w->bytes}))) {
        x->n = n;
        if (x->vocab->unk != TEXT_NO_TOKEN) encoder_push(x, x->vocab->unk);
    }
    word_start(w);
}

bool wpm_encode(encoder *x, str text) {
    wpm_word word;
    word_start(&word);
    for (size_t i = 0; i < text.len;) {
        uint32_t c = 0, folded[3];
        int bytes = utf8_decode(text.data + i, text.len - i, &c);
        i += bytes > 0 ? (size_t)bytes : 1;
        if (bytes <= 0) continue; /* malformed bytes vanish like U+FFFD */
        if (is_blank(c)) {
            word_end(x, &word);
            continue;
        }
        bool alone = is_cjk(c);
        if (alone) word_end(x, &word);
        for (int k = 0, n = fold(c, folded); k < n; k++) {
            bool cut = is_punctuation(folded[k]);
            if (cut) word_end(x, &word);
            word_add(&word, folded[k]);
            if (cut) word_end(x, &word);
        }
        if (alone) word_end(x, &word);
    }
    word_end(x, &word);
    return true;
}
