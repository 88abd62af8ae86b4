/* Ids back to text. */
#include "text/vocab/internal.h"

#define REPLACEMENT "\xEF\xBF\xBD" /* U+FFFD */

static size_t copy(char *out, str text) {
    memcpy(out, text.data, text.len);
    return text.len;
}

static size_t unmark_spaces(str text, char *out) {
    size_t n = 0;
    for (size_t i = 0; i < text.len;) {
        bool mark = str_starts((str){text.data + i, text.len - i}, STR(SPACE_MARK));
        out[n++] = mark ? ' ' : text.data[i];
        i += mark ? SPACE_MARK_BYTES : 1;
    }
    return n;
}

static size_t bytes_of_letters(str text, char *out) {
    size_t n = 0;
    for (size_t i = 0, used; i < text.len; i += used) {
        uint32_t cp = 0;
        str rest = {text.data + i, text.len - i};
        int bytes = utf8_decode(rest.data, rest.len, &cp);
        int byte = bytes > 0 ? bpe_letter_byte(cp) : -1;
        used = bytes > 0 ? (size_t)bytes : 1;
        if (byte >= 0) out[n++] = (char)byte;
        else n += copy(out + n, (str){rest.data, used}); /* no letter of a byte: stands for itself */
    }
    return n;
}

static unsigned hex_digit(char c) { return (unsigned)(c <= '9' ? c - '0' : (c | 0x20) - 'a' + 10); }

size_t text_token_bytes(const text_vocab *v, text_token t, bool show_special, char out[TEXT_TOKEN_BYTES_MAX]) {
    str text = text_vocab_token(v, t);
    if (text.len == 0) return 0;
    switch (text_vocab_type(v, t)) {
    case TEXT_CONTROL:
    case TEXT_UNKNOWN:
    case TEXT_UNUSED:
        return show_special ? copy(out, text) : 0;
    case TEXT_USER_DEFINED:
        return copy(out, text);
    case TEXT_BYTE:
        if (v->kind == TEXT_SPM) return out[0] = (char)(hex_digit(text.data[3]) << 4 | hex_digit(text.data[4])), 1;
        break;
    case TEXT_NORMAL:
        break;
    }
    return v->kind == TEXT_BPE ? bytes_of_letters(text, out) : unmark_spaces(text, out);
}

void text_stream_init(text_stream *s, const text_vocab *v, bool show_special, bool strip_first_space) {
    bool has_prefix = v->kind == TEXT_WPM || v->add_space_prefix;
    *s = (text_stream){.vocab = v, .show_special = show_special, .at_start = strip_first_space && has_prefix};
}

/* Whole characters of bytes to out; what may yet become a character is held. */
static size_t put_characters(text_stream *s, str bytes, char *out) {
    size_t n = 0;
    while (bytes.len) {
        uint32_t cp;
        int used = utf8_decode(bytes.data, bytes.len, &cp);
        if (used < 0) break;
        n += copy(out + n, used ? (str){bytes.data, (size_t)used} : STR(REPLACEMENT));
        size_t step = used ? (size_t)used : 1;
        bytes = (str){bytes.data + step, bytes.len - step};
    }
    s->n_held = (uint8_t)bytes.len; /* at most 3: longer beginnings are characters or malformed */
    copy(s->held, bytes);
    return n;
}

size_t text_stream_push(text_stream *s, text_token t, char *out) {
    char bytes[sizeof s->held + TEXT_TOKEN_BYTES_MAX];
    size_t n = copy(bytes, (str){s->held, s->n_held}), held = n;
    n += text_token_bytes(s->vocab, t, s->show_special, bytes + n);
    if (n == held) return 0;
    bool drop_space = s->at_start && held == 0 && bytes[0] == ' ';
    s->at_start = false;
    return put_characters(s, (str){bytes + drop_space, n - drop_space}, out);
}

size_t text_stream_finish(text_stream *s, char *out) {
    size_t n = 0;
    for (; s->n_held; s->n_held--) n += copy(out + n, STR(REPLACEMENT));
    return n;
}
