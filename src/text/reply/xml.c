/* Calls with an argument per tag: arguments become JSON by the types that the tool's schema gives. */
#include <stdio.h>

#include "text/grammar/argument.h"
#include "text/reply/internal.h"

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

/* Its own end, or that of something else. */
static reply_verdict ends_key(const reply_xml *x, str w) {
    const str ends[] = {x->key_close, STR("</"), x->value};
    bool more = false;
    if (w.data[0] != '<' && w.data[0] != '>') return REPLY_NO;
    for (size_t i = 0; i < 3; i++) {
        reply_verdict v = ends[i].len ? reply_begins(w, ends[i]) : REPLY_NO;
        if (v == REPLY_YES) return v;
        more |= v == REPLY_MORE;
    }
    return more ? REPLY_MORE : REPLY_NO;
}

/* <parameter=key>, or <arg_key>key</arg_key><arg_value>; *end behind it. A key has one line and no tag in it, which
 * shows where the end of its own is missing. */
static reply_verdict read_key(const reply_xml *x, str w, str *key, size_t *end) {
    size_t at = x->key.len;
    reply_verdict v = reply_begins(w, x->key);
    if (v != REPLY_YES) return v;
    v = REPLY_NO;
    while (at < w.len && w.data[at] != '\n' && (v = ends_key(x, str_from(w, at))) == REPLY_NO) at++;
    text_work += at;
    if (at - x->key.len > TEXT_REPLY_NAME_MAX) return REPLY_NO;
    if (at == w.len || v == REPLY_MORE) return REPLY_MORE;
    *key = (str){w.data + x->key.len, at - x->key.len};
    v = reply_begins(str_from(w, at), x->key_close);
    if (v == REPLY_MORE) return v;
    *end = at + (v == REPLY_YES ? x->key_close.len : 0);
    if (!x->value.len) return REPLY_YES;
    *end = json_skip_blank(w, *end);
    v = reply_begins(str_from(w, *end), x->value);
    if (v == REPLY_YES) *end += x->value.len;
    return v == REPLY_NO ? REPLY_YES : v;
}

/* Whether a key has no value: none is opened, and what follows is the next key or the call's end. */
static reply_verdict lacks_value(const reply_xml *x, str w, size_t end) {
    if (!x->value.len || str_ends(str_until(w, end), x->value)) return REPLY_NO;
    reply_verdict ends = reply_begins(str_from(w, end), x->end), next = reply_begins(str_from(w, end), x->key);
    return ends == REPLY_YES || next == REPLY_YES ? REPLY_YES : ends == REPLY_MORE ? ends : next;
}

static void put_key(text_reply *r, str key) {
    if (r->has_members) put_json(r, STR(", "));
    put_string(r, key);
    put_json(r, STR(": "));
    r->has_members = true;
}

static size_t step_between(text_reply *r, str w, bool last) {
    const reply_xml *x = xml_of(r);
    size_t at = json_skip_blank(w, 0), end = 0;
    str rest = str_from(w, at), key = {0}, outer = STR("</tool_call>");
    if (at) return at;
    reply_verdict v = reply_begins(rest, x->end), forgotten = reply_begins(rest, outer);
    if (v == REPLY_YES) return end_call(r, REPLY_AFTER), x->end.len;
    if (forgotten == REPLY_YES) return end_call(r, REPLY_AFTER), outer.len;
    reply_verdict member = read_key(x, rest, &key, &end), twice = reply_begins(rest, x->value_end);
    if (twice == REPLY_YES) return x->value_end.len;
    reply_verdict lacks = member == REPLY_YES ? lacks_value(x, rest, end) : REPLY_NO;
    if (lacks == REPLY_MORE && !last && w.len < TEXT_REPLY_HELD_MAX) return 0;
    if (member == REPLY_YES) put_key(r, key);
    if (lacks != REPLY_NO) return r->broken = true, end;
    if (member == REPLY_YES) {
        r->types = (uint8_t)argument_types(r->schema, key);
        r->state = REPLY_XML_VALUE;
        return end;
    }
    bool more = v == REPLY_MORE || forgotten == REPLY_MORE || member == REPLY_MORE || twice == REPLY_MORE;
    if (more && !last && w.len < TEXT_REPLY_HELD_MAX) return 0;
    if (more && last) reply_cut_call(r);
    else end_call(r, more ? REPLY_AFTER : REPLY_TEXT);
    return more ? w.len : 0; /* of what was cut off nothing stays */
}

/* ---- values ---- */

/* Another argument of this tool's. */
static reply_verdict begins_argument(const text_reply *r, const reply_xml *x, str w) {
    char quoted[TEXT_REPLY_NAME_MAX + 2] = {'"'};
    str key = {0};
    size_t end;
    reply_verdict v = read_key(x, w, &key, &end);
    if (v == REPLY_NO || !key.len) return v;
    memcpy(quoted + 1, key.data, key.len);
    quoted[1 + key.len] = '"';
    return str_has(r->schema, (str){quoted, key.len + 2}) ? v : REPLY_NO;
}

/* Whether a value ends where w begins with '<': *len bytes of it are its own end. Where that is missing, what can only
 * stand behind a value ends it: the tool's next argument, or the call's end if nothing but another call follows. */
static reply_verdict ends_value(const text_reply *r, const reply_xml *x, str w, bool last, size_t *len) {
    const str call_ends[] = {x->end, STR("</tool_call>")};
    reply_verdict v = reply_begins(w, x->value_end);
    bool more = v == REPLY_MORE;
    *len = v == REPLY_YES ? x->value_end.len : 0;
    if (v == REPLY_YES || (v = begins_argument(r, x, w)) == REPLY_YES) return v;
    more |= v == REPLY_MORE;
    for (size_t i = 0; i < sizeof call_ends / sizeof *call_ends; i++) {
        v = reply_begins(w, call_ends[i]);
        str rest = str_from(w, v == REPLY_YES ? call_ends[i].len : 0);
        size_t at = v == REPLY_YES ? json_skip_blank(rest, 0) : 0;
        reply_verdict outer = v == REPLY_YES && !i ? reply_begins(str_from(rest, at), call_ends[1]) : REPLY_NO;
        if (v == REPLY_YES && outer != REPLY_YES) v = reply_is_end(r, rest, last);
        if (v == REPLY_YES || outer == REPLY_YES) return REPLY_YES;
        more |= v == REPLY_MORE || outer == REPLY_MORE;
    }
    return more ? REPLY_MORE : REPLY_NO;
}

/* The newline before what ends a value is the tag's, where the family has it, or the value's own end is missing. */
static bool takes_newline(const reply_xml *x, size_t len) { return x->value_has_lines || !len; }

/* Where what ends the value begins; w.len when it is not there. */
static size_t find_end(text_reply *r, const reply_xml *x, str w, bool last) {
    size_t at = r->ahead.seen, len;
    for (; (at += str_find(str_from(w, at), STR("<"))) < w.len; at++) {
        reply_verdict v = ends_value(r, x, str_from(w, at), last, &len);
        r->ahead.seen = (uint32_t)at;
        if (v == REPLY_YES) return at;
        if (v == REPLY_MORE) return w.len;
    }
    r->ahead.seen = (uint32_t)w.len;
    return w.len;
}

static str trim_blank(str s) {
    return json_without_end_blanks(str_from(s, json_skip_blank(s, 0)));
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
    size_t at = json_skip_blank(w, 0), end = find_end(r, x, w, last);
    char first = at < w.len ? w.data[at] : 0;
    bool nests = (first == '{' && r->types & ARGUMENT_OBJECT) || (first == '[' && r->types & ARGUMENT_ARRAY);
    bool unseen = end == w.len && (last || w.len >= TEXT_REPLY_HELD_MAX); /* what is no JSON after all is a string */
    if (nests && unseen && !(r->types & ARGUMENT_STRING)) {
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
    if (!r->in_rest) text = str_from(text, json_skip_blank(text, 0));
    if (!text.len) return;
    r->in_rest = r->broken = true;
    reply_put_arguments(r, text);
}

/* Up to the value's end, with what may be its beginning held back; string: as its bytes. */
static size_t step_to_end(text_reply *r, str w, bool string, bool last) {
    const reply_xml *x = xml_of(r);
    void (*put)(text_reply *, str) = string ? put_escaped : put_rest;
    for (size_t at = 0; at < w.len; at++) {
        text_work++;
        bool line = w.data[at] == '\n';
        size_t len = 0;
        if (!line && w.data[at] != '<') continue;
        str rest = str_from(w, at + line);
        reply_verdict v = !last || x->value_has_lines ? REPLY_MORE : REPLY_NO; /* where this newline is all there is */
        if (rest.len) v = *rest.data == '<' ? ends_value(r, x, rest, last, &len) : REPLY_NO;
        if (v == REPLY_NO || (v == REPLY_YES && line && !takes_newline(x, len))) continue;
        put(r, str_until(w, at));
        if (v == REPLY_MORE) return at;
        if (string) put_json(r, STR("\""));
        end_value(r);
        return at + line + len;
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
    case REPLY_XML_STRING: return step_to_end(r, w, true, last);
    case REPLY_XML_JSON: return step_json(r, w);
    default: return step_to_end(r, w, false, last);
    }
}

void reply_xml_cut(text_reply *r) {
    str held = {r->held, r->n_held};
    /* Of a value that is no string it is not known yet whether it was one; a half tag behind it is none of it. */
    if (r->state == REPLY_XML_VALUE) put_json(r, trim_blank(str_until(held, str_find(held, STR("<")))));
    if (r->state == REPLY_XML_JSON) text_json_cut(&r->json, reply_put_arguments, r);
    reply_cut_call(r);
}
