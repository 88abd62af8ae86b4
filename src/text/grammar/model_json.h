/* text/grammar/model_json — JSON as models write it, without memory of its own.
 *
 * Two halves. text_json lets one value pass byte by byte, and mends what models get wrong inside of strings. The
 * json_raw_… functions find their way in a text that lies there whole (a request's tools, already parsed by someone
 * else): damaged text gives wrong answers, never a read out of bounds.
 */
#ifndef TEXT_GRAMMAR_MODEL_JSON_H
#define TEXT_GRAMMAR_MODEL_JSON_H

#include <stdbool.h>
#include <stdint.h>

#include "base/str.h"

enum { TEXT_JSON_DEPTH_MAX = 64 };

typedef struct text_json {
    uint64_t arrays; /* a bit a level: 1 where an array is open */
    uint8_t depth, depth_max;
    uint8_t state;
    uint8_t n_pending; /* held back: a comma and blanks, or an escape that has not ended */
    char pending[14];
    uint16_t high; /* a surrogate that waits for its other half */
    const char *rest; /* of a literal */
} text_json;

typedef void text_json_put(void *ctx, str piece);

typedef enum text_json_verdict { TEXT_JSON_MORE, TEXT_JSON_DONE, TEXT_JSON_BAD } text_json_verdict;

/* Expects one value. levels_around: how deep whoever reads it has nested already. */
void text_json_init(text_json *j, int levels_around);
/* Takes bytes until the value has ended or cannot be one; *used says how many, without the one that is wrong.
 * What passes reaches put (NULL: nobody), in pieces. */
text_json_verdict text_json_feed(text_json *j, str text, size_t *used, text_json_put *put, void *ctx);
/* Puts what is held back as it came: the text ends in the middle of the value. */
void text_json_cut(text_json *j, text_json_put *put, void *ctx);

/* Bytes that this thread has looked at, here and in replies: tests hold them against the text's length. */
extern _Thread_local uint64_t text_work;

static inline bool json_is_blank(char c) { return c == ' ' || c == '\n' || c == '\r' || c == '\t'; }
static inline size_t json_skip_blank(str s, size_t at) {
    size_t from = at;
    while (at < s.len && json_is_blank(s.data[at])) at++;
    text_work += at - from;
    return at;
}
static inline str json_without_end_blanks(str s) {
    while (s.len && json_is_blank(s.data[s.len - 1])) s.len--;
    return s;
}

static inline bool json_is_hex(char c) {
    return (c >= '0' && c <= '9') || ((c | 0x20) >= 'a' && (c | 0x20) <= 'f');
}

/* A value of text at *at (blanks before it are skipped); *at then stands behind it. Empty at the text's end. */
str json_raw_value(str text, size_t *at);
/* The members of an object, the items of an array, in turn; *at begins with 0. key as it is written, in quotes. */
bool json_raw_member(str object, size_t *at, str *key, str *value);
bool json_raw_item(str array, size_t *at, str *value);
/* The member of that name; empty when there is none or this is no object. */
str json_raw_find(str object, str name);
/* The string's bytes without quotes and escapes; false when it is none or does not fit. */
bool json_raw_string(str raw, char *out, size_t cap, size_t *len);
bool json_raw_string_is(str raw, str text);

#endif
