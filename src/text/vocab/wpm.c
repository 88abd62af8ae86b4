/* WordPiece ("bert", uncased): text is folded to plain lower case, cut at blanks, punctuation and CJK
 * characters; each word is spelled with the longest tokens that fit, from its start, or is unknown. */
#include "text/vocab/internal.h"

#include "text/unicode/unicode.h"

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
        if (unicode_is_blank(c)) {
            word_end(x, &word);
            continue;
        }
        bool alone = unicode_is_cjk(c);
        if (alone) word_end(x, &word);
        for (int k = 0, n = unicode_fold(c, folded); k < n; k++) {
            bool cut = unicode_is_punctuation(folded[k]);
            if (cut) word_end(x, &word);
            word_add(&word, folded[k]);
            if (cut) word_end(x, &word);
        }
        if (alone) word_end(x, &word);
    }
    word_end(x, &word);
    return true;
}
