/* How a call begins, in each family's words: decided from the left, as soon as can be. */
#include "text/reply_internal.h"

enum { HEADER_BYTES_MAX = 300 };

/* ---- JSON ---- */

reply_verdict reply_skip_value(str text, size_t *at) {
    text_json j;
    text_json_init(&j, 0);
    size_t used;
    text_json_verdict v = text_json_feed(&j, str_from(text, *at), &used, NULL, NULL);
    if (v == TEXT_JSON_DONE) *at += used;
    return v == TEXT_JSON_DONE ? REPLY_YES : v == TEXT_JSON_MORE ? REPLY_MORE : REPLY_NO;
}

/* The next byte that is not blank, at *at. */
static reply_verdict peek(str text, size_t *at, char *c) {
    *at = reply_skip_blank(text, *at);
    if (*at == text.len) return REPLY_MORE;
    *c = text.data[*at];
    return REPLY_YES;
}

static reply_verdict read_string(str text, size_t *at, char out[TEXT_REPLY_NAME_MAX], size_t *len) {
    size_t from = *at;
    reply_verdict v = reply_skip_value(text, at);
    if (v != REPLY_YES) return v;
    return json_raw_string((str){text.data + from, *at - from}, out, TEXT_REPLY_NAME_MAX, len) ? REPLY_YES : REPLY_NO;
}

static bool nest(reply_head *h, char bracket, size_t *at) {
    if (h->n_nested == TEXT_REPLY_NESTED_MAX) return false;
    h->nested[h->n_nested++] = bracket;
    ++*at;
    return true;
}

typedef struct object_reader {
    str tools, text;
    size_t at;
    bool strictly, named, has_args;
    reply_head *h;
} object_reader;

static reply_verdict read_arguments(object_reader *o, char c) {
    reply_head *h = o->h;
    if (c != '{') { /* null, or nothing that could be arguments */
        o->has_args = true;
        return c == 'n' ? reply_skip_value(o->text, &o->at) : REPLY_NO;
    }
    h->args_follow = o->named;
    h->end = o->at;
    if (o->named) return REPLY_YES;
    h->args_from = o->at;
    reply_verdict v = reply_skip_value(o->text, &o->at);
    h->args_to = v == REPLY_YES ? o->at : h->args_from;
    o->has_args = true;
    return v;
}

static reply_verdict read_name(object_reader *o) {
    str schema;
    reply_verdict v = read_string(o->text, &o->at, o->h->name, &o->h->name_len);
    if (v != REPLY_YES) return v;
    o->named = reply_find_tool(o->tools, (str){o->h->name, o->h->name_len}, &schema);
    return o->named ? REPLY_YES : REPLY_NO;
}

/* {"tool_calls":[{ : over the second bracket. */
static reply_verdict enter_list(object_reader *o) {
    char c;
    if (!nest(o->h, '[', &o->at)) return REPLY_NO;
    reply_verdict v = peek(o->text, &o->at, &c);
    return v != REPLY_YES ? v : c == '{' && nest(o->h, '{', &o->at) ? REPLY_YES : REPLY_NO;
}

static reply_verdict read_member(object_reader *o) {
    char key_bytes[TEXT_REPLY_NAME_MAX], c;
    str key = {key_bytes, 0};
    reply_verdict v = read_string(o->text, &o->at, key_bytes, &key.len);
    if (v != REPLY_YES || (v = peek(o->text, &o->at, &c)) != REPLY_YES) return v;
    if (c != ':') return REPLY_NO;
    o->at++;
    if ((v = peek(o->text, &o->at, &c)) != REPLY_YES) return v;
    bool function = str_is(key, "function");
    if ((str_is(key, "name") || function) && c == '"') return read_name(o);
    if (str_is(key, "arguments") || str_is(key, "parameters")) return read_arguments(o, c);
    if ((str_is(key, "tool_call") || function) && c == '{' && !o->named)
        return nest(o->h, '{', &o->at) ? REPLY_YES : REPLY_NO;
    if (str_is(key, "tool_calls") && c == '[' && !o->named) return enter_list(o);
    if (o->strictly && !str_is(key, "type") && !str_is(key, "id") && !str_is(key, "index")) return REPLY_NO;
    return reply_skip_value(o->text, &o->at);
}

reply_verdict reply_read_object(str tools, str text, size_t at, bool strictly, reply_head *h) {
    object_reader o = {.tools = tools, .text = text, .at = at, .strictly = strictly, .h = h};
    char c;
    reply_verdict v;
    do { /* the brackets around */
        if ((v = peek(text, &o.at, &c)) != REPLY_YES) return v;
        if (!(c == '[' || c == '{') || !nest(h, c, &o.at)) return REPLY_NO;
    } while (c != '{');
    for (;;) {
        if ((v = peek(text, &o.at, &c)) != REPLY_YES) return v;
        if (c == '}') {
            h->n_nested--;
            h->end = o.at + 1;
            return o.named && (o.has_args || !strictly) ? REPLY_YES : REPLY_NO;
        }
        if (c == ',') o.at++;
        else if (c != '"') return REPLY_NO;
        else if ((v = read_member(&o)) != REPLY_YES || h->args_follow) return v;
    }
}

/* ---- the others ---- */

static bool is_name(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || (c && strchr("_-.:/", c)) ||
           (unsigned char)c >= 0x80;
}

static reply_verdict take_name(str tools, str name, reply_head *h) {
    str schema;
    if (name.len > TEXT_REPLY_NAME_MAX || !reply_find_tool(tools, name, &schema)) return REPLY_NO;
    memcpy(h->name, name.data, name.len);
    h->name_len = name.len;
    return REPLY_YES;
}

/* The name that begins at *at, once what follows it is there. */
static reply_verdict read_bare_name(str tools, str text, size_t *at, reply_head *h) {
    size_t from = *at;
    while (*at < text.len && is_name(text.data[*at])) ++*at;
    if (*at - from > TEXT_REPLY_NAME_MAX) return REPLY_NO;
    if (*at == text.len) return REPLY_MORE;
    return take_name(tools, (str){text.data + from, *at - from}, h);
}

static reply_verdict expect(str text, size_t *at, str tag) {
    *at = reply_skip_blank(text, *at);
    reply_verdict v = reply_begins(str_from(text, *at), tag);
    if (v == REPLY_YES) *at += tag.len;
    return v;
}

static reply_verdict expect_arguments(str text, size_t at, reply_head *h) {
    reply_verdict v = expect(text, &at, STR("{"));
    h->args_follow = v == REPLY_YES;
    h->end = at - h->args_follow;
    return v;
}

/* name[ARGS]{…}, name[CALL_ID]id[ARGS]{…}, name{…} */
static reply_verdict read_mistral(str tools, str text, reply_head *h) {
    char c;
    size_t at = 0;
    reply_verdict v = peek(text, &at, &c);
    if (v != REPLY_YES) return v;
    if (c == '[' || c == '{') return reply_read_object(tools, text, 0, false, h);
    if ((v = read_bare_name(tools, text, &at, h)) != REPLY_YES) return v;
    if ((v = expect(text, &at, STR("[CALL_ID]"))) == REPLY_MORE) return v;
    for (bool id = v == REPLY_YES; id && at < text.len && is_name(text.data[at]);) at++;
    if ((v = expect(text, &at, STR("[ARGS]"))) == REPLY_MORE) return v;
    return expect_arguments(text, at, h);
}

/* function<｜tool▁sep｜>name\n```json\n{…}, or name<｜tool▁sep｜>{…} */
static reply_verdict read_deepseek(str tools, str tag, str text, reply_head *h) {
    static const str call = STR("<｜tool▁call▁begin｜>"), separator = STR("<｜tool▁sep｜>");
    size_t at = 0;
    reply_verdict v = REPLY_YES;
    if (!str_eq(tag, call) && (v = expect(text, &at, call)) != REPLY_YES) return v;
    at = reply_skip_blank(text, at);
    size_t first = at;
    while (at < text.len && is_name(text.data[at])) at++;
    str kind = {text.data + first, at - first};
    if (at - first > TEXT_REPLY_NAME_MAX) return REPLY_NO;
    if ((v = expect(text, &at, separator)) != REPLY_YES) return v;
    if ((v = expect_arguments(text, at, h)) != REPLY_NO) return v == REPLY_YES ? take_name(tools, kind, h) : v;
    if ((v = read_bare_name(tools, text, &at, h)) != REPLY_YES) return v;
    if ((v = expect(text, &at, STR("```json"))) == REPLY_MORE) return v;
    return expect_arguments(text, at, h);
}

/* <function=name>, or name alone, and then an argument's tag or the call's end. */
static reply_verdict read_xml(const reply_xml *x, str tools, str tag, str text, reply_head *h) {
    size_t at = 0;
    reply_verdict v = REPLY_YES;
    if (x->call.len && !str_eq(tag, x->call) && (v = expect(text, &at, x->call)) != REPLY_YES) return v;
    at = reply_skip_blank(text, at);
    if ((v = read_bare_name(tools, text, &at, h)) != REPLY_YES) return v;
    if (x->call_close.len && (v = expect(text, &at, x->call_close)) != REPLY_YES) return v;
    h->xml = true;
    h->end = at;
    size_t end = at, key = at;
    reply_verdict ends = expect(text, &end, x->end);
    if (ends != REPLY_NO) return ends;
    return expect(text, &key, x->key);
}

/* Without a tag; small models like to fence what is JSON. */
static reply_verdict read_bare(str tools, str text, reply_head *h) {
    size_t at = 0;
    reply_verdict fence = expect(text, &at, STR("```json"));
    return fence == REPLY_MORE ? fence : reply_read_object(tools, text, fence == REPLY_YES ? at : 0, true, h);
}

reply_verdict reply_read_head(const text_reply_format *f, str tools, str tag, str text, reply_head *h) {
    char c = 0;
    size_t at = 0;
    *h = (reply_head){0};
    if (!tag.len) return read_bare(tools, text, h);
    switch (f->family) {
    case TEXT_REPLY_FAMILY_MISTRAL: return read_mistral(tools, text, h);
    case TEXT_REPLY_FAMILY_DEEPSEEK: return read_deepseek(tools, tag, text, h);
    case TEXT_REPLY_FAMILY_QWEN_XML:
    case TEXT_REPLY_FAMILY_GLM:
        if (peek(text, &at, &c) == REPLY_YES && c == '{') return reply_read_object(tools, text, 0, false, h);
        return read_xml(reply_xml_of(f->family), tools, tag, text, h);
    default: return reply_read_object(tools, text, 0, false, h);
    }
}

/* ---- gpt-oss ---- */

/* The word behind mark in a header. */
static str header_word(str header, str mark) {
    size_t at = str_find(header, mark), end;
    if (at == header.len) return (str){0};
    for (end = at += mark.len; end < header.len && header.data[end] != ' ' && header.data[end] != '<';) end++;
    return (str){header.data + at, end - at};
}

/* "<|start|>assistant" goes on with a space or a tag, else it is no header. */
static reply_verdict header_begins(str text) {
    size_t at = reply_begins(text, STR("<|start|>")) == REPLY_YES ? STR("<|start|>").len : 0;
    if (!at) return REPLY_YES;
    while (at < text.len && text.data[at] >= 'a' && text.data[at] <= 'z') at++;
    if (at == text.len) return REPLY_MORE;
    return text.data[at] == ' ' || text.data[at] == '<' ? REPLY_YES : REPLY_NO;
}

reply_verdict reply_read_channel(str tools, str text, text_reply_kind *kind, reply_head *h) {
    static const str message = STR("<|message|>");
    *h = (reply_head){0};
    reply_verdict v = header_begins(text);
    if (v != REPLY_YES) return v;
    str start = str_until(text, text.len < HEADER_BYTES_MAX ? text.len : HEADER_BYTES_MAX);
    size_t at = str_find(start, message);
    if (memchr(start.data, '\n', at)) return REPLY_NO;
    if (at == start.len) return text.len < HEADER_BYTES_MAX ? REPLY_MORE : REPLY_NO;
    str header = str_until(text, at), name = header_word(header, STR(" to=functions."));
    h->end = at + message.len;
    *kind = str_is(header_word(header, STR("<|channel|>")), "analysis") ? TEXT_REPLY_REASONING : TEXT_REPLY_CONTENT;
    if (!name.len || !tools.len) return REPLY_YES;
    *kind = TEXT_REPLY_CALL;
    if ((v = take_name(tools, name, h)) != REPLY_YES) return v;
    if ((v = expect_arguments(text, h->end, h)) != REPLY_NO) return v;
    size_t end = h->end;
    return expect(text, &end, STR("<|")); /* no arguments: {} */
}
