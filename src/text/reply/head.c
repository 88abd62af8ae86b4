/* How a call begins, in each family's words: decided from the left, as soon as can be. */
#include "text/reply/internal.h"

enum { HEADER_BYTES_MAX = 300, ROLE_BYTES_MAX = 32, FENCE_WORD_MAX = 16 };

/* ---- JSON ---- */

reply_verdict reply_go_over(text_reply_ahead *a, str text) {
    size_t used;
    if (!a->in_value) {
        text_json_init(&a->value, 0);
        a->from = a->at = (uint32_t)json_skip_blank(text, a->at);
        a->in_value = true;
    }
    text_json_verdict v = text_json_feed(&a->value, str_from(text, a->at), &used, NULL, NULL);
    a->at += (uint32_t)used;
    a->in_value = v == TEXT_JSON_MORE;
    return v == TEXT_JSON_DONE ? REPLY_YES : v == TEXT_JSON_MORE ? REPLY_MORE : REPLY_NO;
}

/* The next byte that is not blank, at *at. */
static reply_verdict peek(str text, size_t *at, char *c) {
    *at = json_skip_blank(text, *at);
    if (*at == text.len) return REPLY_MORE;
    *c = text.data[*at];
    return REPLY_YES;
}

static reply_verdict peek_ahead(str text, text_reply_ahead *a, char *c) {
    size_t at = a->at;
    reply_verdict v = peek(text, &at, c);
    a->at = (uint32_t)at;
    return v;
}

static reply_verdict go_over_string(text_reply_ahead *a, str text, char out[TEXT_REPLY_NAME_MAX], size_t *len) {
    reply_verdict v = reply_go_over(a, text);
    if (v != REPLY_YES) return v;
    str raw = {text.data + a->from, a->at - a->from};
    return json_raw_string(raw, out, TEXT_REPLY_NAME_MAX, len) ? REPLY_YES : REPLY_NO;
}

/* An object is read in steps; the next one is in text_reply_ahead.phase. */
enum phase {
    NOT_BEGUN, BRACKETS, MEMBER, COLON, VALUE, LIST,        /* these look at the byte that comes next, */
    IN_KEY, IN_NAME, IN_ARGUMENTS, IN_OTHER, OBJECT_HAS_ENDED, /* these go over a value */
};
enum key { KEY_NONE, KEY_OTHER, KEY_NAME, KEY_FUNCTION, KEY_ARGUMENTS, KEY_INPUT, KEY_CALL, KEY_CALLS, KEY_META };

static reply_verdict go_to(text_reply_ahead *a, enum phase next) {
    a->phase = (uint8_t)next;
    return REPLY_YES;
}

/* Over a bracket around what comes next. */
static reply_verdict nest(text_reply_ahead *a, char bracket, enum phase next) {
    text_reply_head *h = &a->head;
    if (h->n_nested == TEXT_REPLY_NESTED_MAX) return REPLY_NO;
    h->nested[h->n_nested++] = bracket;
    a->at++;
    return go_to(a, next);
}

static enum key key_of(str key) {
    static const struct {
        const char *name;
        enum key key;
    } keys[] = {{"name", KEY_NAME},           {"tool_name", KEY_NAME},     {"function", KEY_FUNCTION},
                {"arguments", KEY_ARGUMENTS}, {"parameters", KEY_ARGUMENTS}, {"args", KEY_INPUT},
                {"input", KEY_INPUT},         {"tool_input", KEY_INPUT},   {"params", KEY_INPUT},
                {"tool_call", KEY_CALL},      {"tool_calls", KEY_CALLS},   {"type", KEY_META},
                {"index", KEY_META},          {"id", KEY_META},            {"tool_call_id", KEY_META}};
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
        if (str_is(key, keys[i].name)) return keys[i].key;
    return KEY_OTHER;
}

/* A string at `at` that has an object for a text; *empty: none at all. */
static reply_verdict quotes_object(str text, size_t at, bool *empty) {
    size_t from = at++;
    do at = json_skip_blank(text, at);
    while (at - from <= REPLY_BLANKS_MAX && reply_is_escaped_blank(str_from(text, at)) && (at += 2));
    if (at - from > REPLY_BLANKS_MAX) return REPLY_NO;
    if (at == text.len || (text.data[at] == '\\' && at + 1 == text.len)) return REPLY_MORE;
    *empty = text.data[at] == '"';
    return *empty || text.data[at] == '{' ? REPLY_YES : REPLY_NO;
}

/* Arguments that begin with c. */
static reply_verdict meet_arguments(str text, text_reply_ahead *a, char c) {
    text_reply_head *h = &a->head;
    bool empty = false;
    reply_verdict v = c == '"' ? quotes_object(text, a->at, &empty) : c == '{' || c == 'n' ? REPLY_YES : REPLY_NO;
    if (v != REPLY_YES) return v; /* nothing that could be arguments */
    a->has_args = true;
    if (c == 'n' || empty) return go_to(a, IN_OTHER);
    h->args_follow = a->named;
    h->quoted = a->named && c == '"';
    h->end = a->at + h->quoted;
    if (a->named) return go_to(a, OBJECT_HAS_ENDED);
    h->args_from = h->args_to = a->at;
    return go_to(a, IN_ARGUMENTS);
}

/* A value of a->key's that begins with c. */
static reply_verdict meet_value(str text, text_reply_ahead *a, bool strictly, char c) {
    bool function = a->key == KEY_FUNCTION;
    if ((a->key == KEY_NAME || function) && c == '"' && !a->named) return go_to(a, IN_NAME);
    if ((a->key == KEY_ARGUMENTS || (a->key == KEY_INPUT && !strictly)) && !a->has_args)
        return meet_arguments(text, a, c);
    if ((a->key == KEY_CALL || function) && c == '{' && !a->named) return nest(a, c, MEMBER);
    if (a->key == KEY_CALLS && c == '[' && !a->named) return nest(a, c, LIST);
    return strictly && a->key != KEY_META ? REPLY_NO : go_to(a, IN_OTHER);
}

/* Where an object's member, or its end, is due. A bracket too many before it, or a tag that ends all, is no end of the
 * call where its own tag has said that it is one. */
static reply_verdict meet_member(str text, text_reply_ahead *a, bool strictly, char c) {
    text_reply_head *h = &a->head;
    str before = json_without_end_blanks(str_until(text, a->at));
    bool first = before.len && before.data[before.len - 1] == '{';
    if (c == ',') return a->at++, REPLY_YES;
    if (c == '"') return go_to(a, IN_KEY);
    if (c == '{' && first && !strictly) return nest(a, c, MEMBER);
    bool ends = c == '}' || (c == '<' && !strictly);
    if (!ends || !a->named || (strictly && !a->has_args)) return REPLY_NO;
    if (c == '}') h->n_nested--;
    h->end = a->at + (c == '}');
    return go_to(a, OBJECT_HAS_ENDED);
}

static reply_verdict meet(str text, text_reply_ahead *a, bool strictly, char c) {
    switch ((enum phase)a->phase) {
    case BRACKETS:
        if (c == '"' && !strictly) return a->at--, nest(a, '{', MEMBER); /* its bracket is missing */
        return c == '{' ? nest(a, c, MEMBER) : c == '[' ? nest(a, c, BRACKETS) : REPLY_NO;
    case LIST: return c == '{' ? nest(a, c, MEMBER) : REPLY_NO;
    case COLON: return c == ':' ? (a->at++, go_to(a, VALUE)) : REPLY_NO;
    case VALUE: return meet_value(text, a, strictly, c);
    default: return meet_member(text, a, strictly, c);
    }
}

static reply_verdict go_over_value(const text_reply_tools *tools, str text, text_reply_ahead *a) {
    char bytes[TEXT_REPLY_NAME_MAX];
    str key = {bytes, 0}, schema, name;
    size_t name_len = 0;
    reply_verdict v;
    switch ((enum phase)a->phase) {
    case IN_KEY:
        if ((v = go_over_string(a, text, bytes, &key.len)) != REPLY_YES) return v;
        a->key = (uint8_t)key_of(key);
        return go_to(a, COLON);
    case IN_NAME:
        if ((v = go_over_string(a, text, a->head.name, &name_len)) != REPLY_YES) return v;
        a->head.name_len = (uint32_t)name_len;
        name = (str){a->head.name, name_len};
        a->named = reply_find_tool(tools, name, &schema);
        return a->named ? go_to(a, MEMBER) : REPLY_NO;
    case IN_ARGUMENTS:
        if ((v = reply_go_over(a, text)) != REPLY_YES) return v;
        a->head.args_to = a->at;
        return go_to(a, MEMBER);
    default: return (v = reply_go_over(a, text)) == REPLY_YES ? go_to(a, MEMBER) : v;
    }
}

reply_verdict reply_read_object(const text_reply_tools *tools, str text, size_t at, bool strictly,
                                text_reply_ahead *a) {
    if (a->phase == NOT_BEGUN) {
        a->at = (uint32_t)at;
        a->phase = BRACKETS;
        a->key = KEY_NONE;
    }
    while (a->phase != OBJECT_HAS_ENDED) {
        char c = 0;
        bool looks = a->phase < IN_KEY;
        reply_verdict v = looks ? peek_ahead(text, a, &c) : go_over_value(tools, text, a);
        if (v == REPLY_YES && looks) v = meet(text, a, strictly, c);
        if (v != REPLY_YES) return v;
    }
    return REPLY_YES;
}

bool reply_may_be_call(const text_reply_ahead *a) { return a->named || a->key != KEY_OTHER; }

reply_verdict reply_skip_member(str text, size_t at, text_reply_ahead *a) {
    reply_verdict v;
    char c;
    if (a->phase == NOT_BEGUN) {
        a->at = (uint32_t)at;
        a->phase = IN_KEY;
    }
    if (a->phase == IN_KEY) {
        if ((v = reply_go_over(a, text)) != REPLY_YES) return v;
        a->phase = COLON;
    }
    if (a->phase == COLON) {
        if ((v = peek_ahead(text, a, &c)) != REPLY_YES) return v;
        if (c != ':') return REPLY_NO;
        a->at++;
        a->phase = IN_OTHER;
    }
    return reply_go_over(a, text);
}

/* ---- the others ---- */

static bool is_name(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || (c && strchr("_-.:/ ", c)) ||
           (unsigned char)c >= 0x80; /* a blank, too: no family ends a name with one */
}

static size_t skip_name(str text, size_t at) {
    size_t from = at;
    while (at < text.len && at - from <= TEXT_REPLY_NAME_MAX && is_name(text.data[at])) at++;
    text_work += at - from;
    return at;
}

reply_verdict reply_take_name(const text_reply_tools *tools, str name, text_reply_head *h) {
    str schema;
    if (name.len > TEXT_REPLY_NAME_MAX || !reply_find_tool(tools, name, &schema)) return REPLY_NO;
    memcpy(h->name, name.data, name.len);
    h->name_len = (uint32_t)name.len;
    return REPLY_YES;
}

/* The name that begins at *at, once what follows it is there. */
static reply_verdict read_bare_name(const text_reply_tools *tools, str text, size_t *at, text_reply_head *h) {
    size_t from = *at;
    *at = skip_name(text, *at);
    if (*at - from > TEXT_REPLY_NAME_MAX) return REPLY_NO;
    if (*at == text.len) return REPLY_MORE;
    return reply_take_name(tools, json_without_end_blanks((str){text.data + from, *at - from}), h);
}

static bool skip_blanks(str text, size_t *at) {
    size_t from = *at;
    *at = json_skip_blank(text, from);
    return *at - from <= REPLY_BLANKS_MAX;
}

static reply_verdict expect(str text, size_t *at, str tag) {
    if (!skip_blanks(text, at)) return REPLY_NO;
    reply_verdict v = reply_begins(str_from(text, *at), tag);
    if (v == REPLY_YES) *at += tag.len;
    return v;
}

static reply_verdict expect_arguments(str text, size_t at, text_reply_head *h) {
    reply_verdict v = expect(text, &at, STR("{"));
    h->args_follow = v == REPLY_YES;
    h->end = (uint32_t)at - h->args_follow;
    return v;
}

/* name[ARGS]{…}, name[CALL_ID]id[ARGS]{…}, name{…} */
static reply_verdict read_mistral(const text_reply_tools *tools, str text, text_reply_ahead *a) {
    text_reply_head *h = &a->head;
    size_t at = 0;
    if (!skip_blanks(text, &at)) return REPLY_NO;
    if (at == text.len) return REPLY_MORE;
    if (text.data[at] == '[' || text.data[at] == '{') return reply_read_object(tools, text, at, false, a);
    reply_verdict v = read_bare_name(tools, text, &at, h);
    if (v != REPLY_YES || (v = expect(text, &at, STR("[CALL_ID]"))) == REPLY_MORE) return v;
    if (v == REPLY_YES) at = skip_name(text, at);
    if ((v = expect(text, &at, STR("[ARGS]"))) == REPLY_MORE) return v;
    return expect_arguments(text, at, h);
}

/* function<｜tool▁sep｜>name\n```json\n{…}, or name<｜tool▁sep｜>{…} */
static reply_verdict read_deepseek(const text_reply_tools *tools, str tag, str text, text_reply_head *h) {
    static const str call = STR("<｜tool▁call▁begin｜>"), separator = STR("<｜tool▁sep｜>");
    size_t at = 0;
    reply_verdict v = REPLY_YES;
    if (!str_eq(tag, call) && (v = expect(text, &at, call)) != REPLY_YES) return v;
    if (!skip_blanks(text, &at)) return REPLY_NO;
    size_t first = at;
    at = skip_name(text, at);
    str kind = {text.data + first, at - first};
    if (at - first > TEXT_REPLY_NAME_MAX) return REPLY_NO;
    if ((v = expect(text, &at, separator)) != REPLY_YES) return v;
    if ((v = expect_arguments(text, at, h)) != REPLY_NO) return v == REPLY_YES ? reply_take_name(tools, kind, h) : v;
    if ((v = read_bare_name(tools, text, &at, h)) != REPLY_YES) return v;
    if ((v = expect(text, &at, STR("```json"))) == REPLY_MORE) return v;
    h->fenced = v == REPLY_YES;
    return expect_arguments(text, at, h);
}

/* <function=name>, or name alone, and then an argument's tag or the call's end; or an object. Of the name's tag the
 * bracket may be missing at a line's end. */
static reply_verdict read_xml(const reply_xml *x, const text_reply_tools *tools, str tag, str text,
                              text_reply_head *h) {
    size_t at = 0;
    reply_verdict v = REPLY_YES;
    if (x->call.len && !str_eq(tag, x->call) && (v = expect(text, &at, x->call)) != REPLY_YES) return v;
    if (!skip_blanks(text, &at)) return REPLY_NO;
    if ((v = read_bare_name(tools, text, &at, h)) != REPLY_YES) return v;
    bool line = text.data[at] == '\n';
    if (x->call_close.len && (v = expect(text, &at, x->call_close)) == REPLY_MORE) return v;
    if (x->call_close.len && v == REPLY_NO && !line) return v;
    h->end = (uint32_t)at;
    if ((v = expect_arguments(text, at, h)) != REPLY_NO) return v;
    const str next[] = {x->end, x->key, STR("</tool_call>")};
    bool more = false;
    for (size_t i = 0; i < sizeof next / sizeof *next; i++) {
        size_t end = at;
        v = expect(text, &end, next[i]);
        h->xml = v == REPLY_YES;
        if (h->xml) return h->end = (uint32_t)at, v;
        more |= v == REPLY_MORE;
    }
    return more ? REPLY_MORE : REPLY_NO;
}

static bool is_fence_word(char c) { return c == '_' || (c >= 'a' && c <= 'z'); }

reply_verdict reply_read_fence(str text, size_t *len) {
    reply_verdict v = reply_begins(text, STR("```"));
    size_t at = 3;
    if (v != REPLY_YES) return v;
    while (at < text.len && at < 3 + FENCE_WORD_MAX && is_fence_word(text.data[at])) at++;
    if (!skip_blanks(text, &at)) return REPLY_NO;
    *len = at;
    return at == text.len ? REPLY_MORE : REPLY_YES;
}

/* Behind a tag: an object, perhaps in a fence, or the words of another family, which models mix up. */
static reply_verdict read_tagged(const text_reply_tools *tools, str tag, str text, text_reply_ahead *a) {
    static const str function = STR("<function=");
    size_t at = 0, fence = 0;
    if (str_eq(tag, function)) return read_xml(reply_xml_of(TEXT_REPLY_FAMILY_QWEN_XML), tools, tag, text, &a->head);
    if (!skip_blanks(text, &at)) return REPLY_NO;
    if (at == text.len) return REPLY_MORE;
    if (text.data[at] == '<') return read_xml(reply_xml_of(TEXT_REPLY_FAMILY_QWEN_XML), tools, tag, text, &a->head);
    if (text.data[at] == '`') {
        reply_verdict v = reply_read_fence(str_from(text, at), &fence);
        if (v != REPLY_YES) return v;
        a->head.fenced = true;
    }
    return reply_read_object(tools, text, at + fence, false, a);
}

reply_verdict reply_read_head(const text_reply_format *f, const text_reply_tools *tools, str tag, str text,
                              text_reply_ahead *a) {
    size_t at = 0;
    if (a->phase) return reply_read_object(tools, text, 0, !tag.len, a);
    a->head = (text_reply_head){0};
    bool llama = f->family == TEXT_REPLY_FAMILY_LLAMA_JSON || str_is(tag, "<|python_tag|>");
    size_t first = llama ? json_skip_blank(text, 0) : text.len;
    if (first < text.len && reply_is_identifier(text.data[first])) return reply_read_keywords(tools, text, &a->head);
    if (!tag.len) return reply_read_object(tools, text, 0, true, a);
    if (str_is(tag, "[TOOL_CALLS]")) return read_mistral(tools, text, a);
    switch (f->family) {
    case TEXT_REPLY_FAMILY_DEEPSEEK: return read_deepseek(tools, tag, text, &a->head);
    case TEXT_REPLY_FAMILY_GLM:
        if (skip_blanks(text, &at) && at < text.len && strchr("{[\"`", text.data[at])) break;
        return read_xml(reply_xml_of(f->family), tools, tag, text, &a->head);
    default: break;
    }
    return read_tagged(tools, tag, text, a);
}

/* ---- gpt-oss ---- */

/* What is behind mark in a header, up to the next of the ends. */
static str header_words(str header, str mark, const char *ends) {
    size_t at = str_find(header, mark), end;
    if (at == header.len) return (str){0};
    for (end = at += mark.len; end < header.len && !strchr(ends, header.data[end]);) end++;
    return (str){header.data + at, end - at};
}

/* "<|start|>assistant" goes on with a space or a tag, else it is no header. */
static reply_verdict header_begins(str text) {
    size_t at = reply_begins(text, STR("<|start|>")) == REPLY_YES ? STR("<|start|>").len : 0;
    if (!at) return REPLY_YES;
    size_t from = at;
    while (at < text.len && at - from < ROLE_BYTES_MAX && text.data[at] >= 'a' && text.data[at] <= 'z') at++;
    if (at == text.len) return REPLY_MORE;
    return text.data[at] == ' ' || text.data[at] == '<' ? REPLY_YES : REPLY_NO;
}

reply_verdict reply_read_channel(const text_reply_tools *tools, str text, text_reply_kind *kind, text_reply_head *h) {
    static const str message = STR("<|message|>");
    *h = (text_reply_head){0};
    reply_verdict v = header_begins(text);
    if (v != REPLY_YES) return v;
    str start = str_until(text, text.len < HEADER_BYTES_MAX ? text.len : HEADER_BYTES_MAX);
    size_t at = str_find(start, message);
    if (memchr(start.data, '\n', at)) return REPLY_NO;
    if (at == start.len) return text.len < HEADER_BYTES_MAX ? REPLY_MORE : REPLY_NO;
    str header = str_until(text, at), to = STR(" to=functions."), name = header_words(header, to, "< ");
    h->end = (uint32_t)(at + message.len);
    bool analysis = str_is(header_words(header, STR("<|channel|>"), "< "), "analysis");
    *kind = analysis ? TEXT_REPLY_REASONING : TEXT_REPLY_CONTENT;
    if (!name.len || !tools->n_slots) return REPLY_YES;
    *kind = TEXT_REPLY_CALL;
    if ((v = reply_take_name(tools, name, h)) != REPLY_YES) /* blanks may be in it */
        v = reply_take_name(tools, json_without_end_blanks(header_words(header, to, "<")), h);
    if (v != REPLY_YES || (v = expect_arguments(text, h->end, h)) != REPLY_NO) return v;
    size_t end = h->end;
    return expect(text, &end, STR("<|")); /* no arguments: {} */
}
