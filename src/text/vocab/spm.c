/* SentencePiece-style BPE ("llama"): spaces are ▁, characters are joined by score, what stays unknown
 * falls back to byte tokens. */
#include <math.h>

#include "text/vocab/internal.h"

/* Control, unknown and byte tokens never come out of plain text by merging. */
static text_token find_piece(const text_vocab *v, str text) {
    text_token t = text_vocab_find(v, text);
    if (t == TEXT_NO_TOKEN) return t;
    uint8_t type = v->types[t];
    return type == TEXT_CONTROL || type == TEXT_UNKNOWN || type == TEXT_BYTE ? TEXT_NO_TOKEN : t;
}

uint32_t spm_pair(const text_vocab *v, str joined) {
    text_token t = find_piece(v, joined);
    return t == TEXT_NO_TOKEN ? MERGE_NONE : (uint32_t)t;
}

/* Descending floats as ascending integers. */
static uint32_t order_of(float score) {
    float plain = score + 0.0f; /* −0 equals 0 */
    uint32_t bits;
    memcpy(&bits, &plain, sizeof bits);
    return ~(bits & 0x80000000u ? ~bits : bits | 0x80000000u);
}

static bool load_byte_token(text_vocab *v, text_token t, err *e) {
    str text = vocab_text(v, t);
    unsigned byte = 0;
    bool good = text.len == 6 && !memcmp(text.data, "<0x", 3) && text.data[5] == '>';
    for (int i = 3; good && i < 5; i++) {
        char c = text.data[i];
        good = (c >= '0' && c <= '9') || (c >= 'A' && c <= 'F') || (c >= 'a' && c <= 'f');
        byte = byte << 4 | (unsigned)(c <= '9' ? c - '0' : (c | 0x20) - 'a' + 10);
    }
    if (!good) return err_set(e, ERR_FORMAT, "token %d is a byte token but is not spelled <0xNN>", t);
    v->byte_token[byte] = t;
    return true;
}

static void note_joins(text_vocab *v, str text) {
    for (size_t i = text_character_bytes(text); i < text.len;) {
        unsigned pair = (unsigned)(unsigned char)text.data[i - 1] << 8 | (unsigned char)text.data[i];
        v->joins[pair >> 3] |= (uint8_t)(1u << (pair & 7));
        i += text_character_bytes((str){text.data + i, text.len - i});
    }
}

bool spm_load(text_vocab *v, err *e) {
    for (int b = 0; b < 256; b++) v->byte_token[b] = TEXT_NO_TOKEN;
    for (uint32_t i = 0; i < v->n_tokens; i++) {
        text_token t = (text_token)i;
        float score;
        memcpy(&score, &v->order[i], sizeof score);
        if (isnan(score)) return err_set(e, ERR_FORMAT, "token %u has a score that is not a number", i);
        v->order[i] = order_of(score);
        if (v->types[i] == TEXT_BYTE) {
            if (!load_byte_token(v, t, e)) return false;
        } else if (v->types[i] != TEXT_CONTROL && v->types[i] != TEXT_UNKNOWN && vocab_text(v, t).len) {
            note_joins(v, vocab_text(v, t));
        }
    }
    return true;
}

static void push_unknown(encoder *x, str character) {
    const text_vocab *v = x->vocab;
    bool spelled = true;
    for (size_t i = 0; i < character.len; i++) {
        spelled &= v->byte_token[(unsigned char)character.data[i]] != TEXT_NO_TOKEN;
    }
    if (!spelled) {
        if (v->unk != TEXT_NO_TOKEN) encoder_push(x, v->unk);
        return;
    }
    for (size_t i = 0; i < character.len; i++) encoder_push(x, v->byte_token[(unsigned char)character.data[i]]);
}

/* A stretch that no token reaches beyond. */
static bool encode_stretch(encoder *x, str word) {
    const text_vocab *v = x->vocab;
    text_scratch *s = x->scratch;
    size_t n = 0;
    for (size_t i = 0, bytes; i < word.len; i += bytes, n++) {
        if (!merge_reserve(s, n + 1, x->e)) return false;
        bytes = text_character_bytes((str){word.data + i, word.len - i});
        s->symbols[n] = (merge_symbol){.prev = n ? (uint32_t)n - 1 : MERGE_NONE, .next = (uint32_t)n + 1,
                                       .start = (uint32_t)i,
                                       .token = find_piece(v, (str){word.data + i, bytes})};
    }
    s->symbols[n - 1].next = MERGE_NONE;
    if (!merge_symbols(v, s, word, n, x->e)) return false;
    for (uint32_t i = 0; i != MERGE_NONE; i = s->symbols[i].next) {
        const merge_symbol *m = &s->symbols[i];
        size_t end = m->next == MERGE_NONE ? word.len : s->symbols[m->next].start;
        if (m->token != TEXT_NO_TOKEN) encoder_push(x, m->token);
        else push_unknown(x, (str){word.data + m->start, end - m->start});
    }
    return true;
}

static bool flush(encoder *x) {
    buf *word = &x->scratch->word;
    if (word->failed)
        return err_set_memory(x->e, word->len, 0, "no memory to tokenize a stretch of %zu bytes", word->len);
    bool ok = word->len == 0 || encode_stretch(x, buf_str(word));
    buf_clear(word);
    return ok;
}

/* Adds a character, first finishing the stretch before it when no token has the two side by side: merging
 * cannot cross such a place, so stretches stay about a word long and the result is the same. */
static bool add_character(encoder *x, str c) {
    buf *word = &x->scratch->word;
    if (word->len) {
        unsigned pair = (unsigned)(unsigned char)word->data[word->len - 1] << 8 | (unsigned char)c.data[0];
        bool joins = x->vocab->joins[pair >> 3] >> (pair & 7) & 1;
        if (!joins && !flush(x)) return false;
    }
    buf_append_str(word, c);
    return true;
}

bool spm_encode(encoder *x, str text, bool with_prefix) {
    const str mark = STR(SPACE_MARK);
    buf_clear(&x->scratch->word);
    if (with_prefix && !add_character(x, mark)) return false;
    for (size_t i = 0, bytes; i < text.len; i += bytes) {
        bytes = text_character_bytes((str){text.data + i, text.len - i});
        if (!add_character(x, text.data[i] == ' ' ? mark : (str){text.data + i, bytes})) return false;
    }
    return flush(x);
}
