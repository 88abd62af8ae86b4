#include "text/grammar/model_json.h"

#include <stdio.h>

_Thread_local uint64_t text_work;

enum { NAME_BYTES_MAX = 256 };

typedef enum state {
    VALUE, FIRST_VALUE, FIRST_KEY, KEY, COLON, NEXT, ENDED,             /* between tokens */
    STRING, KEY_STRING, STRING_ESCAPE, KEY_ESCAPE,                      /* in strings */
    LITERAL, MINUS, ZERO, DIGITS, POINT, FRACTION, E, E_SIGN, EXPONENT, /* in scalars */
} state;

typedef enum step { TAKEN, AGAIN, WRONG } step; /* AGAIN: the state has changed, the byte is still to be taken */

typedef struct sink {
    text_json_put *put;
    void *ctx;
} sink;

void text_json_init(text_json *j, int levels_around) {
    *j = (text_json){.state = VALUE, .depth_max = (uint8_t)(TEXT_JSON_DEPTH_MAX - levels_around)};
}

static void put(const sink *s, str text) {
    if (s->put && text.len) s->put(s->ctx, text);
}
static void put_byte(const sink *s, char c) { put(s, (str){&c, 1}); }

static bool is_digit(char c) { return c >= '0' && c <= '9'; }
static bool is_simple_escape(char c) { return c && strchr("\"\\/bfnrt", c); }
static bool in_array(const text_json *j) { return j->depth && j->arrays >> (j->depth - 1) & 1; }

static void pend(text_json *j, char c) {
    if (j->n_pending < sizeof j->pending) j->pending[j->n_pending++] = c;
}

static void put_pending(text_json *j, const sink *s) {
    put(s, (str){j->pending, j->n_pending});
    j->n_pending = 0;
}

static step become(text_json *j, state next, step how) {
    j->state = (uint8_t)next;
    return how;
}

static step value_ended(text_json *j, step how) { return become(j, j->depth ? NEXT : ENDED, how); }

/* ---- strings ---- */

static uint16_t hex_unit(const char digits[4]) {
    unsigned unit = 0;
    for (int i = 0; i < 4; i++)
        unit = unit << 4 | (unsigned)(is_digit(digits[i]) ? digits[i] - '0' : (digits[i] | 0x20) - 'a' + 10);
    return (uint16_t)unit;
}

static void put_unit(const sink *s, uint16_t unit) {
    char text[8];
    snprintf(text, sizeof text, "\\u%04x", unit);
    put(s, (str){text, 6});
}

/* A high surrogate whose other half does not come is no character. */
static void drop_high(text_json *j, const sink *s) {
    if (j->high) put_unit(s, 0xFFFD);
    j->high = 0;
}

static void unit_ended(text_json *j, const sink *s) {
    uint16_t unit = hex_unit(j->pending + 2);
    bool high = unit >= 0xD800 && unit < 0xDC00, low = unit >= 0xDC00 && unit < 0xE000;
    if (low && j->high) {
        put_unit(s, j->high);
        put_unit(s, unit);
        j->high = 0;
    } else {
        drop_high(j, s);
        if (high) j->high = unit;
        else put_unit(s, low ? 0xFFFD : unit);
    }
    j->n_pending = 0;
}

/* pending holds the escape from its backslash. One that JSON does not know had a backslash that was meant ("\d"), but
 * for "\'", which other languages write. */
static step escape_byte(text_json *j, char c, const sink *s) {
    state after = j->state == KEY_ESCAPE ? KEY_STRING : STRING;
    if (j->n_pending == 1 && c == 'u') return pend(j, c), TAKEN;
    if (j->n_pending == 1 && is_simple_escape(c)) {
        drop_high(j, s);
        pend(j, c);
        put_pending(j, s);
        return become(j, after, TAKEN);
    }
    if (j->n_pending > 1 && json_is_hex(c)) {
        pend(j, c);
        if (j->n_pending < 6) return TAKEN;
        unit_ended(j, s);
        return become(j, after, TAKEN);
    }
    drop_high(j, s);
    if (j->n_pending > 1 || c != '\'') put(s, STR("\\"));
    if (j->n_pending == 1 && c == '\'') j->n_pending = 0;
    put_pending(j, s);
    return become(j, after, AGAIN);
}

static step string_byte(text_json *j, char c, const sink *s) {
    bool is_key = j->state == KEY_STRING;
    if (c == '\\') {
        pend(j, c);
        return become(j, is_key ? KEY_ESCAPE : STRING_ESCAPE, TAKEN);
    }
    drop_high(j, s);
    if ((unsigned char)c >= 0x20) put_byte(s, c);
    else if (c == '\n') put(s, STR("\\n")); /* as it stands in the code that models quote */
    else if (c == '\t') put(s, STR("\\t"));
    else put_unit(s, (unsigned char)c);
    if (c != '"') return TAKEN;
    return is_key ? become(j, COLON, TAKEN) : value_ended(j, TAKEN);
}

/* ---- numbers, true, false, null ---- */

static step literal_byte(text_json *j, char c, const sink *s) {
    if (c != *j->rest) return WRONG;
    put_byte(s, c);
    return *++j->rest ? TAKEN : value_ended(j, TAKEN);
}

static state number_after(state now, char c) {
    bool digit = is_digit(c), e = c == 'e' || c == 'E';
    switch (now) {
    case MINUS: return c == '0' ? ZERO : digit ? DIGITS : ENDED;
    case ZERO: return c == '.' ? POINT : e ? E : ENDED;
    case DIGITS: return digit ? DIGITS : c == '.' ? POINT : e ? E : ENDED;
    case POINT: return digit ? FRACTION : ENDED;
    case FRACTION: return digit ? FRACTION : e ? E : ENDED;
    case E: return digit ? EXPONENT : c == '+' || c == '-' ? E_SIGN : ENDED;
    case E_SIGN:
    case EXPONENT: return digit ? EXPONENT : ENDED;
    default: return ENDED;
    }
}

static bool number_is_whole(state s) { return s == ZERO || s == DIGITS || s == FRACTION || s == EXPONENT; }

static step number_byte(text_json *j, char c, const sink *s) {
    state next = number_after((state)j->state, c);
    if (next != ENDED) {
        put_byte(s, c);
        return become(j, next, TAKEN);
    }
    return number_is_whole((state)j->state) ? value_ended(j, AGAIN) : WRONG;
}

/* ---- between ---- */

static step open_level(text_json *j, char c, const sink *s) {
    if (j->depth >= j->depth_max) return WRONG;
    uint64_t bit = 1ull << j->depth++;
    j->arrays = c == '[' ? j->arrays | bit : j->arrays & ~bit;
    put_byte(s, c);
    return become(j, c == '[' ? FIRST_VALUE : FIRST_KEY, TAKEN);
}

static step close_level(text_json *j, char c, const sink *s) {
    if (!j->depth || c != (in_array(j) ? ']' : '}')) return WRONG;
    j->depth--;
    put_byte(s, c);
    return value_ended(j, TAKEN);
}

static step begin_value(text_json *j, char c, const sink *s) {
    if (c == '{' || c == '[') {
        if (j->depth < j->depth_max) put_pending(j, s);
        return open_level(j, c, s);
    }
    const char *literal = c == 't' ? "true" : c == 'f' ? "false" : c == 'n' ? "null" : NULL;
    if (c != '"' && c != '-' && !is_digit(c) && !literal) return WRONG;
    put_pending(j, s);
    put_byte(s, c);
    if (literal) j->rest = literal + 1;
    return become(j, c == '"' ? STRING : c == '-' ? MINUS : c == '0' ? ZERO : literal ? LITERAL : DIGITS, TAKEN);
}

static step begin_key(text_json *j, char c, const sink *s) {
    if (c != '"') return WRONG;
    put_pending(j, s);
    put_byte(s, c);
    return become(j, KEY_STRING, TAKEN);
}

static step between_byte(text_json *j, char c, const sink *s) {
    if (json_is_blank(c)) {
        if (j->n_pending) pend(j, c);
        else put_byte(s, c);
        return TAKEN;
    }
    switch ((state)j->state) {
    case FIRST_VALUE: return c == ']' ? close_level(j, c, s) : begin_value(j, c, s);
    case VALUE: return begin_value(j, c, s);
    case FIRST_KEY: return c == '}' ? close_level(j, c, s) : begin_key(j, c, s);
    case KEY: return begin_key(j, c, s);
    case COLON:
        if (c != ':') return WRONG;
        put_byte(s, c);
        return become(j, VALUE, TAKEN);
    default: /* NEXT */
        if (c != ',') return close_level(j, c, s);
        pend(j, c);
        return become(j, in_array(j) ? VALUE : KEY, TAKEN);
    }
}

static step take_byte(text_json *j, char c, const sink *s) {
    switch ((state)j->state) {
    case STRING:
    case KEY_STRING: return string_byte(j, c, s);
    case STRING_ESCAPE:
    case KEY_ESCAPE: return escape_byte(j, c, s);
    case LITERAL: return literal_byte(j, c, s);
    case VALUE:
    case FIRST_VALUE:
    case FIRST_KEY:
    case KEY:
    case COLON:
    case NEXT: return between_byte(j, c, s);
    case ENDED: return WRONG;
    default: return number_byte(j, c, s);
    }
}

text_json_verdict text_json_feed(text_json *j, str text, size_t *used, text_json_put *on_piece, void *ctx) {
    sink s = {on_piece, ctx};
    for (*used = 0; *used < text.len && j->state != ENDED;) {
        step how = take_byte(j, text.data[*used], &s);
        if (how == WRONG) return TEXT_JSON_BAD;
        *used += how == TAKEN;
    }
    text_work += *used;
    return j->state == ENDED ? TEXT_JSON_DONE : TEXT_JSON_MORE;
}

void text_json_cut(text_json *j, text_json_put *on_piece, void *ctx) {
    sink s = {on_piece, ctx};
    if (j->high) put_unit(&s, j->high);
    j->high = 0;
    put_pending(j, &s);
    j->state = ENDED;
}

/* ---- texts that lie there whole ---- */

static size_t string_end(str text, size_t at) {
    for (at++; at < text.len && text.data[at] != '"'; at++) at += text.data[at] == '\\';
    return at < text.len ? at + 1 : text.len;
}

str json_raw_value(str text, size_t *at) {
    size_t from = json_skip_blank(text, *at), to = from;
    for (size_t depth = 0; to < text.len;) {
        char c = text.data[to];
        if (c == '"') to = string_end(text, to);
        else if (c == '}' || c == ']' ? depth == 0 : depth == 0 && (c == ',' || c == ':' || json_is_blank(c))) break;
        else {
            depth += c == '{' || c == '[';
            depth -= c == '}' || c == ']';
            to++;
        }
        if (depth == 0 && (c == '"' || c == '}' || c == ']')) break;
    }
    text_work += to - from;
    *at = to;
    return (str){text.data + from, to - from};
}

/* Over the opening bracket, or the comma before the next one. */
static bool enter(str text, size_t *at, char bracket) {
    size_t i = json_skip_blank(text, *at);
    if (i >= text.len || text.data[i] != (*at == 0 ? bracket : ',')) return false;
    *at = i + 1;
    return true;
}

bool json_raw_item(str array, size_t *at, str *value) {
    if (!enter(array, at, '[')) return false;
    *value = json_raw_value(array, at);
    return value->len > 0;
}

bool json_raw_member(str object, size_t *at, str *key, str *value) {
    if (!enter(object, at, '{')) return false;
    *key = json_raw_value(object, at);
    *at = json_skip_blank(object, *at);
    if (!key->len || key->data[0] != '"' || *at >= object.len || object.data[*at] != ':') return false;
    ++*at;
    *value = json_raw_value(object, at);
    return value->len > 0;
}

str json_raw_find(str object, str name) {
    str key, value;
    for (size_t at = 0; json_raw_member(object, &at, &key, &value);)
        if (json_raw_string_is(key, name)) return value;
    return (str){0};
}

static uint32_t escaped_character(str raw, size_t *at) {
    static const char names[] = "bfnrt", bytes[] = "\b\f\n\r\t";
    char c = raw.data[++*at];
    const char *name = strchr(names, c);
    ++*at;
    if (c != 'u' || *at + 4 >= raw.len) return (uint32_t)(unsigned char)(name && c ? bytes[name - names] : c);
    uint32_t unit = hex_unit(raw.data + *at);
    *at += 4;
    if (unit < 0xD800 || unit >= 0xE000) return unit;
    if (unit >= 0xDC00 || *at + 6 >= raw.len || raw.data[*at] != '\\' || raw.data[*at + 1] != 'u') return 0xFFFD;
    uint32_t low = hex_unit(raw.data + *at + 2);
    if (low < 0xDC00 || low >= 0xE000) return 0xFFFD;
    *at += 6;
    return 0x10000 + ((unit - 0xD800) << 10) + (low - 0xDC00);
}

bool json_raw_string(str raw, char *out, size_t cap, size_t *len) {
    *len = 0;
    if (raw.len < 2 || raw.data[0] != '"' || raw.data[raw.len - 1] != '"') return false;
    for (size_t at = 1; at < raw.len - 1;) {
        char bytes[4] = {raw.data[at]};
        size_t n = 1;
        if (raw.data[at] != '\\') at++;
        else n = (size_t)utf8_encode(escaped_character(raw, &at), bytes);
        if (*len + n > cap) return false;
        memcpy(out + *len, bytes, n);
        *len += n;
    }
    return true;
}

bool json_raw_string_is(str raw, str text) {
    char bytes[NAME_BYTES_MAX];
    size_t len;
    if (raw.len < 2 || raw.data[0] != '"') return false;
    if (!memchr(raw.data, '\\', raw.len)) return str_eq(text, (str){raw.data + 1, raw.len - 2});
    return json_raw_string(raw, bytes, sizeof bytes, &len) && str_eq(text, (str){bytes, len});
}
