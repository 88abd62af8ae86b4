#include "base/json.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/check.h"

void json_begin(json_writer *w, buf *out) { *w = (json_writer){.out = out}; }

static void put(json_writer *w, const char *text) { buf_append(w->out, text, strlen(text)); }

/* The comma in front of an item, where one is due. */
static void begin_item(json_writer *w) {
    if (w->after_key) {
        w->after_key = false;
        return;
    }
    if (w->depth == 0) return;
    uint32_t level = (uint32_t)w->depth - 1;
    uint64_t *word = &w->has_items[level / 64], bit = 1ull << level % 64;
    if (*word & bit) put(w, ",");
    *word |= bit;
}

static void open_level(json_writer *w, const char *bracket) {
    begin_item(w);
    CHECK(w->depth < JSON_MAX_DEPTH);
    w->has_items[w->depth / 64] &= ~(1ull << w->depth % 64);
    w->depth++;
    put(w, bracket);
}

static void close_level(json_writer *w, const char *bracket) {
    CHECK(w->depth > 0 && !w->after_key);
    w->depth--;
    put(w, bracket);
}

void json_object_start(json_writer *w) { open_level(w, "{"); }
void json_object_end(json_writer *w) { close_level(w, "}"); }
void json_array_start(json_writer *w) { open_level(w, "["); }
void json_array_end(json_writer *w) { close_level(w, "]"); }

static void put_escaped(json_writer *w, unsigned char c) {
    switch (c) {
    case '"': put(w, "\\\""); break;
    case '\\': put(w, "\\\\"); break;
    case '\n': put(w, "\\n"); break;
    case '\r': put(w, "\\r"); break;
    case '\t': put(w, "\\t"); break;
    case '\b': put(w, "\\b"); break;
    case '\f': put(w, "\\f"); break;
    default: buf_printf(w->out, "\\u%04x", c);
    }
}

/* Whether eight bytes are ASCII of which none is escaped. (x − b·01…) & ~x & 80… is not 0 when a byte of x is below
 * b; where it says so of a byte wrongly, one before it was. */
static bool is_plain(uint64_t word) {
    const uint64_t ones = 0x0101010101010101u, tops = 0x8080808080808080u;
    uint64_t quote = word ^ ones * '"', backslash = word ^ ones * '\\';
    uint64_t below = ((word - ones * 0x20) & ~word) | ((quote - ones) & ~quote) | ((backslash - ones) & ~backslash);
    return ((below | word) & tops) == 0;
}

static size_t plain_words(str s, size_t i) {
    size_t start = i;
    for (uint64_t word; i + sizeof word <= s.len; i += sizeof word) {
        memcpy(&word, s.data + i, sizeof word);
        if (!is_plain(word)) break;
    }
    return i - start;
}

static void put_quoted(json_writer *w, str s) {
    put(w, "\"");
    size_t start = 0, i = 0; /* s[start..i) goes out as it is */
    while (i < s.len) {
        i += plain_words(s, i);
        if (i == s.len) break;
        unsigned char c = (unsigned char)s.data[i];
        uint32_t cp;
        int n = c < 0x80 ? 1 : utf8_decode(s.data + i, s.len - i, &cp);
        if (n > 0 && c >= 0x20 && c != '"' && c != '\\') {
            i += (size_t)n;
            continue;
        }
        buf_append(w->out, s.data + start, i - start);
        if (n > 0) put_escaped(w, c);
        else put(w, "\xEF\xBF\xBD"); /* one U+FFFD for each byte that fits nowhere */
        start = ++i;
    }
    buf_append(w->out, s.data + start, i - start);
    put(w, "\"");
}

void json_key(json_writer *w, const char *key) {
    CHECK(w->depth > 0 && !w->after_key);
    begin_item(w);
    put_quoted(w, str_of(key));
    put(w, ":");
    w->after_key = true;
}

void json_string(json_writer *w, str s) {
    begin_item(w);
    put_quoted(w, s);
}

void json_int(json_writer *w, int64_t v) {
    begin_item(w);
    buf_printf(w->out, "%lld", (long long)v);
}

void json_uint(json_writer *w, uint64_t v) {
    begin_item(w);
    buf_printf(w->out, "%llu", (unsigned long long)v);
}

void json_double(json_writer *w, double v) {
    if (!isfinite(v)) return json_null(w);
    char text[40];
    snprintf(text, sizeof text, "%.15g", v);
    if (strtod(text, NULL) != v) snprintf(text, sizeof text, "%.17g", v);
    begin_item(w);
    put(w, text);
}

void json_fixed(json_writer *w, double v, int decimals) {
    if (!isfinite(v)) return json_null(w);
    begin_item(w);
    buf_printf(w->out, "%.*f", decimals, v);
}

void json_bool(json_writer *w, bool v) { json_raw(w, v ? STR("true") : STR("false")); }
void json_null(json_writer *w) { json_raw(w, STR("null")); }

void json_raw(json_writer *w, str json) {
    begin_item(w);
    buf_append_str(w->out, json);
}

void json_put_string(json_writer *w, const char *key, str s) {
    json_key(w, key);
    json_string(w, s);
}

void json_put_int(json_writer *w, const char *key, int64_t v) {
    json_key(w, key);
    json_int(w, v);
}

void json_put_uint(json_writer *w, const char *key, uint64_t v) {
    json_key(w, key);
    json_uint(w, v);
}

void json_put_fixed(json_writer *w, const char *key, double v, int decimals) {
    json_key(w, key);
    json_fixed(w, v, decimals);
}

void json_put_bool(json_writer *w, const char *key, bool v) {
    json_key(w, key);
    json_bool(w, v);
}
