/* Calls with an argument per tag: arguments become JSON by the types that the tool's schema gives. */
#include <stdio.h>

#include "text/argument.h"
#include "text/reply_internal.h"

static const reply_xml *xml_of(const text_reply *r) { return reply_xml_of(r->format.family); }

static void put_json(text_reply *r, str text) { reply_put_arguments(r, text); }

static bool is_plain(char c) { return (unsigned char)c >= 0x20 && c != '"' && c != '\\'; }

/* As bytes of a JSON string. */
static void put_escaped(text_reply *r, str text) {
    for (size_t at = 0; at < text.len;) {
        size_t plain = at;
        while (plain < text.len && is_plain(text.data[plain])) plain++;
        put_json(r, (str){text.data + at, plain - at});
        at = plain + 1;
        if (plain == text.len) return;
        char c = text.data[plain], escape[8] = {'\\', c};
        if (c == '\n') escape[1] = 'n';
        else if (c == '\t') escape[1] = 't';
        else if (c != '"' && c != '\\') snprintf(escape, sizeof escape, "\\u%04x", (unsigned char)c);
        put_json(r, str_of(escape));
    }
}

static void put_string(text_reply *r, str text) {
    put_json(r, STR("\""));
    put_escaped(r, text);
    put_json(r, STR("\""));
}

void reply_xml_begin(text_reply *r, str name) {
    reply_find_tool(&r->tools, name, &r->schema);
    r->has_members = r->in_value = r->in_rest = false;
    r->state = REPLY_XML;
    put_json(r, STR("{"));
}

static void end_call(text_reply *r, enum reply_state next) {
    put_json(r, STR("}"));
    reply_end_call(r, next);
}

/* ---- between arguments ---- */

/* <parameter=key>, or <arg_key>key</arg_key><arg_value>; *end behind it. */
static reply_verdict read_key(const reply_xml *x, str w, str *key, size_t *end) {
    size_t at = x->key.len;
    reply_verdict v = reply_begins(w, x->key);
    if (v != REPLY_YES) return v;
    str rest = str_from(w, at);
    size_t len = str_find(rest, x->key_close);
    if (len > TEXT_REPLY_NAME_MAX) return REPLY_NO;
    if (len == rest.len) return REPLY_MORE;
    *key = str_until(rest, len);
    *end = at + len + x->key_close.len;
    if (!x->value.len) return REPLY_YES;
    *end = reply_skip_blank(w, *end);
    v = reply_begins(str_from(w, *end), x->value);
    *end += x->value.len;
    return v;
}

static size_t step_between(text_reply *r, str w, bool last) {
    const reply_xml *x = xml_of(r);
    size_t at = reply_skip_blank(w, 0), end = 0;
    str rest = str_from(w, at), key = {0}, outer = STR("</tool_call>");
    if (at) return at;
    reply_verdict v = reply_begins(rest, x->end), forgotten = reply_begins(rest, outer);
    if (v == REPLY_YES) return end_call(r, REPLY_AFTER), x->end.len;
    if (forgotten == REPLY_YES) return end_call(r, REPLY_AFTER), outer.len;
    reply_verdict member = read_key(x, rest, &key, &end);
    if (member == REPLY_YES) {
        if (r->has_members) put_json(r, STR(", "));
        put_string(r, key);
        put_json(r, STR(": "));
        r->has_members = true;
        r->types = (uint8_t)argument_types(r->schema, key);
        r->state = REPLY_XML_VALUE;
        return end;
    }
    bool more = v == REPLY_MORE || forgotten == REPLY_MORE || member == REPLY_MORE;
    if (more && !last && w.len < TEXT_REPLY_HELD_MAX) return 0;
    if (more && last) reply_cut_call(r);
    else end_call(r, more ? REPLY_AFTER : REPLY_TEXT);
    return more ? w.len : 0; /* of what was cut off nothing stays */
}

/* ---- values ---- */

/* Where the value's end begins, with the newline before it; w.len when it is not there. */
static size_t find_end(text_reply *r, const reply_xml *x, str w) {
    uint32_t seen = r->ahead.seen;
    size_t at = seen + str_find(str_from(w, seen), x->value_end);
    if (at == w.len && at - seen >= x->value_end.len) r->ahead.seen = (uint32_t)(at - x->value_end.len + 1);
    return at < w.len && at > 0 && x->value_has_lines && w.data[at - 1] == '\n' ? at - 1 : at;
}

static str trim_blank(str s) {
    return reply_without_end_blanks(str_from(s, reply_skip_blank(s, 0)));
}

static size_t begin_string(text_reply *r) {
    put_json(r, STR("\""));
    r->state = REPLY_XML_STRING;
    return 0;
}

/* What the value is, and whether it can stream. */
static size_t step_value(text_reply *r, str w, bool last) {
    const reply_xml *x = xml_of(r);
    if (w.len == 0) return 0;
    if (x->value_has_lines && !r->in_value && w.data[0] == '\n') return r->in_value = true, 1;
    r->in_value = true;
    if (r->types == ARGUMENT_STRING) return begin_string(r);
    size_t at = reply_skip_blank(w, 0), end = find_end(r, x, w);
    char first = at < w.len ? w.data[at] : 0;
    bool nests = (first == '{' && r->types & ARGUMENT_OBJECT) || (first == '[' && r->types & ARGUMENT_ARRAY);
    if (nests && !(r->types & ARGUMENT_STRING)) {
        text_json_init(&r->json, 1);
        r->state = REPLY_XML_JSON;
        return at;
    }
    if (end == w.len && !last && w.len < TEXT_REPLY_HELD_MAX) return 0;
    if (end == w.len && last && r->types && !(r->types & ARGUMENT_STRING)) return 0; /* reply_xml_cut */
    str json = end < w.len ? argument_json(str_until(w, end), r->types) : (str){0};
    if (!json.len) return begin_string(r);
    text_json j;
    size_t used;
    text_json_init(&j, 1);
    text_json_feed(&j, json, &used, reply_put_arguments, r);
    r->state = REPLY_XML_REST;
    return end;
}

static void end_value(text_reply *r) {
    r->state = REPLY_XML;
    r->in_value = r->in_rest = false;
}

/* What stands between a value that is JSON and its end; blanks mean nothing. */
static void put_rest(text_reply *r, str text) {
    if (!r->in_rest) text = str_from(text, reply_skip_blank(text, 0));
    if (!text.len) return;
    r->in_rest = r->broken = true;
    reply_put_arguments(r, text);
}

/* Up to the value's end, with what may be its beginning held back; string: as its bytes. */
static size_t step_to_end(text_reply *r, str w, bool string) {
    const reply_xml *x = xml_of(r);
    void (*put)(text_reply *, str) = string ? put_escaped : put_rest;
    text_reply_work += w.len;
    for (size_t at = 0; at < w.len; at++) {
        bool line = x->value_has_lines && w.data[at] == '\n';
        if (!line && w.data[at] != x->value_end.data[0]) continue;
        reply_verdict v = reply_begins(str_from(w, at + line), x->value_end);
        if (v == REPLY_NO) continue;
        put(r, str_until(w, at));
        if (v == REPLY_MORE) return at;
        if (string) put_json(r, STR("\""));
        end_value(r);
        return at + line + x->value_end.len;
    }
    put(r, w);
    return w.len;
}

static size_t step_json(text_reply *r, str w) {
    size_t used;
    text_json_verdict v = text_json_feed(&r->json, w, &used, reply_put_arguments, r);
    if (v == TEXT_JSON_BAD) {
        text_json_cut(&r->json, reply_put_arguments, r);
        r->in_rest = r->broken = true;
    }
    if (v != TEXT_JSON_MORE) r->state = REPLY_XML_REST;
    return used;
}

size_t reply_xml_step(text_reply *r, str w, bool last) {
    switch ((enum reply_state)r->state) {
    case REPLY_XML: return step_between(r, w, last);
    case REPLY_XML_VALUE: return step_value(r, w, last);
    case REPLY_XML_STRING: return step_to_end(r, w, true);
    case REPLY_XML_JSON: return step_json(r, w);
    default: return step_to_end(r, w, false);
    }
}

void reply_xml_cut(text_reply *r) {
    str held = {r->held, r->n_held};
    /* Of a value that is no string it is not known yet whether it was one; a half tag behind it is none of it. */
    if (r->state == REPLY_XML_VALUE) put_json(r, trim_blank(str_until(held, str_find(held, STR("<")))));
    if (r->state == REPLY_XML_JSON) text_json_cut(&r->json, reply_put_arguments, r);
    reply_cut_call(r);
}
