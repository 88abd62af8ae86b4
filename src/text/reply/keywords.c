/* Calls as Llama 3 writes those of its built-in tools: brave_search.call(query="…"). Any tool of the request's may be
 * called so. Its templates show values between quotes, whatever stands in them: a quote ends a value only where the
 * next keyword or the call's end follows. */
#include "text/grammar/argument.h"
#include "text/reply/internal.h"

enum { LITERAL_MAX = 64 }; /* of what is no string, list or object */

bool reply_is_identifier(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '-';
}

static size_t identifier_end(str w, size_t at) {
    size_t from = at;
    while (at < w.len && at - from <= TEXT_REPLY_NAME_MAX && reply_is_identifier(w.data[at])) at++;
    text_work += at - from;
    return at;
}

/* key= at *at, which is then behind the blanks that follow it. */
static reply_verdict read_keyword(str w, size_t *at, str *key) {
    size_t from = json_skip_blank(w, *at), end = identifier_end(w, from), sign = json_skip_blank(w, end);
    if (from - *at > REPLY_BLANKS_MAX || end - from > TEXT_REPLY_NAME_MAX || sign - end > REPLY_BLANKS_MAX)
        return REPLY_NO;
    if (sign == w.len) return REPLY_MORE;
    if (end == from || w.data[sign] != '=') return REPLY_NO;
    size_t value = json_skip_blank(w, sign + 1);
    if (value - sign > REPLY_BLANKS_MAX) return REPLY_NO;
    if (value == w.len) return REPLY_MORE;
    *key = (str){w.data + from, end - from};
    *at = value;
    return w.data[value] == '=' ? REPLY_NO : REPLY_YES;
}

reply_verdict reply_read_keywords(const text_reply_tools *tools, str text, text_reply_head *h) {
    static const str call = STR(".call(");
    size_t from = json_skip_blank(text, 0), at = identifier_end(text, from);
    str key;
    if (at - from > TEXT_REPLY_NAME_MAX || from > REPLY_BLANKS_MAX) return REPLY_NO;
    if (at == text.len) return REPLY_MORE;
    reply_verdict v = reply_begins(str_from(text, at), call);
    if (v == REPLY_NO || reply_take_name(tools, (str){text.data + from, at - from}, h) == REPLY_NO) return REPLY_NO;
    if (v == REPLY_MORE) return v;
    h->end = (uint32_t)(at += call.len);
    h->keywords = true;
    size_t first = json_skip_blank(text, at);
    if (first - at > REPLY_BLANKS_MAX) return REPLY_NO;
    if (first < text.len && text.data[first] == ')') return REPLY_YES;
    return read_keyword(text, &at, &key);
}

void reply_keywords_begin(text_reply *r, str name) {
    reply_find_tool(&r->tools, name, &r->schema);
    r->has_members = false;
    r->state = REPLY_KEYWORD;
    reply_put_arguments(r, STR("{"));
}

/* From where it is no call on, all that is written up to its end comes as it is. */
static size_t give_up(text_reply *r, size_t used) {
    r->state = REPLY_KEYWORD_REST;
    r->broken = true;
    r->in_string = r->escaped = false;
    r->depth = 0;
    return used;
}

static void put_key(text_reply *r, str key) {
    if (r->has_members) reply_put_arguments(r, STR(", "));
    reply_put_arguments(r, STR("\""));
    reply_put_arguments(r, key);
    reply_put_arguments(r, STR("\": "));
    r->has_members = true;
}

static size_t end_call(text_reply *r) {
    reply_put_arguments(r, STR("}"));
    reply_end_call(r, REPLY_AFTER);
    return 1;
}

/* ---- values ---- */

/* Whether a quote before w is the end of a value. */
static reply_verdict ends_value(str w) {
    size_t at = json_skip_blank(w, 0);
    str key;
    if (at > REPLY_BLANKS_MAX) return REPLY_NO;
    if (at == w.len) return REPLY_MORE;
    if (w.data[at] != ',') return w.data[at] == ')' ? REPLY_YES : REPLY_NO;
    at++;
    return read_keyword(w, &at, &key);
}

static bool feed(text_reply *r, str text) {
    size_t used;
    text_json_verdict v = text.len ? text_json_feed(&r->json, text, &used, reply_put_arguments, r) : TEXT_JSON_MORE;
    return v == TEXT_JSON_DONE;
}

/* Between quotes. Of which kind they are does not matter to JSON, only that those within are escaped. */
static size_t step_string(text_reply *r, str w, bool last) {
    size_t from = 0;
    for (size_t at = 0; at < w.len; at++) {
        text_work++;
        bool quote = w.data[at] == r->quote, escape = w.data[at] == '\\';
        if (!quote && !escape && w.data[at] != '"') continue;
        reply_verdict v = quote ? ends_value(str_from(w, at + 1)) : REPLY_NO;
        if (v == REPLY_MORE && last) v = REPLY_YES;
        bool waits = v == REPLY_MORE || (escape && at + 1 == w.len && !last);
        if (escape && !waits) at += at + 1 < w.len;
        if (escape && !waits) continue;
        feed(r, (str){w.data + from, at - from});
        if (waits) return at;
        if (v == REPLY_YES) return feed(r, STR("\"")), r->state = REPLY_KEYWORD, at + 1;
        if (w.data[at] == '"') feed(r, STR("\\\""));
        from = at + (w.data[at] == '"');
    }
    feed(r, str_from(w, from));
    return w.len;
}

static size_t step_list(text_reply *r, str w) {
    size_t used;
    text_json_verdict v = text_json_feed(&r->json, w, &used, reply_put_arguments, r);
    if (v == TEXT_JSON_DONE) r->state = REPLY_KEYWORD;
    if (v != TEXT_JSON_BAD) return used;
    uint32_t depth = r->json.depth;
    text_json_cut(&r->json, reply_put_arguments, r);
    give_up(r, used);
    r->depth = depth;
    return used;
}

/* The end of a value that is short, and has no list in it: behind its quote, or before what separates it. */
static reply_verdict short_end(str w, size_t from, bool quoted, size_t *end) {
    for (*end = from + quoted; *end < w.len && *end - from <= LITERAL_MAX; ++*end) {
        char c = w.data[*end];
        if (quoted ? c == w.data[from] : c == ',' || c == ')') return REPLY_YES;
    }
    text_work += *end - from;
    return *end - from > LITERAL_MAX ? REPLY_NO : REPLY_MORE;
}

static size_t begin_list(text_reply *r, str key, size_t at, enum reply_state next) {
    put_key(r, key);
    text_json_init(&r->json, 1);
    r->state = (uint8_t)next;
    return at;
}

static size_t begin_value(text_reply *r, str w, str key, size_t at, bool last) {
    unsigned types = argument_types(r->schema, key);
    char c = w.data[at];
    bool quoted = c == '"' || c == '\'';
    size_t end = at;
    if (c == '[' || c == '{') return begin_list(r, key, at, REPLY_KEYWORD_LIST);
    bool text = quoted && (!types || types & ARGUMENT_STRING);
    reply_verdict v = text ? REPLY_NO : short_end(w, at, quoted, &end);
    if (v == REPLY_MORE && !last) return 0;
    str value = {w.data + at + quoted, end - at - (end > at && quoted)};
    str json = v == REPLY_NO ? (str){0} : argument_json(value, types);
    if (!json.len && v != REPLY_NO && !quoted) json = argument_json(value, ARGUMENT_ALL);
    if (quoted && !json.len) {
        r->quote = c;
        begin_list(r, key, at + 1, REPLY_KEYWORD_STRING);
        feed(r, STR("\""));
        return at + 1;
    }
    put_key(r, key);
    if (!json.len) return give_up(r, at);
    reply_put_arguments(r, json);
    return end + (quoted && v == REPLY_YES);
}

/* ---- between values ---- */

static size_t step_between(text_reply *r, str w, bool last) {
    size_t at = json_skip_blank(w, 0);
    str key;
    if (at || !w.len) return at;
    if (w.data[0] == ')') return end_call(r);
    if (w.data[0] == ',' && r->has_members) return 1;
    reply_verdict v = read_keyword(w, &at, &key);
    if (v == REPLY_YES) return begin_value(r, w, key, at, last);
    if (v == REPLY_MORE) return last ? w.len : 0; /* of half a key nothing stays */
    return give_up(r, 0);
}

/* Up to the bracket that closes the call. */
static size_t step_rest(text_reply *r, str w) {
    for (size_t at = 0; at < w.len; at++) {
        char c = w.data[at];
        bool escaped = r->escaped, closes = c == ')' || c == ']' || c == '}';
        r->escaped = c == '\\' && !escaped && r->in_string;
        if (c == '"' && !escaped) r->in_string = !r->in_string;
        if (r->in_string) continue;
        if (c == ')' && !r->depth) return reply_put_arguments(r, str_until(w, at)), at + end_call(r);
        r->depth += c == '(' || c == '[' || c == '{';
        r->depth -= closes && r->depth;
    }
    text_work += w.len;
    reply_put_arguments(r, w);
    return w.len;
}

size_t reply_keywords_step(text_reply *r, str w, bool last) {
    switch ((enum reply_state)r->state) {
    case REPLY_KEYWORD_STRING: return step_string(r, w, last);
    case REPLY_KEYWORD_LIST: return step_list(r, w);
    case REPLY_KEYWORD_REST: return step_rest(r, w);
    default: return step_between(r, w, last);
    }
}

void reply_keywords_cut(text_reply *r) {
    if (r->state == REPLY_KEYWORD_STRING || r->state == REPLY_KEYWORD_LIST)
        text_json_cut(&r->json, reply_put_arguments, r);
    reply_cut_call(r);
}
