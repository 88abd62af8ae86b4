/* A call in JSON, from its arguments on: what is written as JSON, as the text of a string, or as none; and what stands
 * behind it, up to the next one. Models miscount brackets: a tag ends what is still open, and brackets that close
 * nothing are nobody's text. */
#include "text/reply/internal.h"

/* ---- the end of a call that its brackets do not show ---- */

reply_verdict reply_is_end(const text_reply *r, str w, bool last) {
    const str *begin = reply_tags_of(r->format.family)->begin;
    size_t at = json_skip_blank(w, 0);
    bool more = false;
    if (at > REPLY_BLANKS_MAX) return REPLY_NO;
    if (at == w.len) return last ? REPLY_YES : REPLY_MORE;
    for (size_t i = 0; i < REPLY_TAGS_MAX; i++) {
        reply_verdict v = begin[i].len ? reply_begins(str_from(w, at), begin[i]) : REPLY_NO;
        if (v == REPLY_YES) return v;
        more |= v == REPLY_MORE;
    }
    return more && !last ? REPLY_MORE : REPLY_NO;
}

reply_verdict reply_is_close(const text_reply *r, str w, size_t *len) {
    const str *after = reply_tags_of(r->format.family)->after;
    bool more = false;
    for (size_t i = 0; i < REPLY_TAGS_MAX && after[i].len; i++) {
        reply_verdict v = reply_begins(w, after[i]);
        *len = after[i].len;
        if (v == REPLY_YES) return v;
        more |= v == REPLY_MORE;
    }
    return more ? REPLY_MORE : REPLY_NO;
}

/* The tags that end a call whatever is open in it. */
static reply_verdict ends_broken(const text_reply *r, str w) {
    static const str harmony[] = {STR("<|call|>"), STR("<|end|>"), STR("<|return|>"), STR("<|start|>")};
    const str *begin = reply_tags_of(r->format.family)->begin;
    size_t len;
    if (w.data[0] == '`') return r->fenced ? reply_begins(w, STR("```")) : REPLY_NO;
    if (w.data[0] != '<' && w.data[0] != '[') return REPLY_NO;
    reply_verdict v = reply_is_close(r, w, &len);
    bool more = v == REPLY_MORE;
    for (size_t i = 0; v != REPLY_YES && i < 2 * REPLY_TAGS_MAX; i++) {
        str tag = i < REPLY_TAGS_MAX ? begin[i] : harmony[i - REPLY_TAGS_MAX];
        bool counts = i < REPLY_TAGS_MAX || r->format.family == TEXT_REPLY_FAMILY_HARMONY;
        v = counts && tag.len ? reply_begins(w, tag) : REPLY_NO;
        more |= v == REPLY_MORE;
    }
    return v == REPLY_YES ? v : more ? REPLY_MORE : REPLY_NO;
}

/* ---- arguments as JSON ---- */

/* From where it is no JSON on. */
static void break_call(text_reply *r) {
    text_json_cut(&r->json, reply_put_arguments, r);
    r->state = REPLY_BROKEN;
    r->broken = true;
    r->in_string = r->escaped = false;
    r->depth = r->json.depth;
}

static size_t feed_arguments(text_reply *r, str w) {
    size_t used;
    text_json_verdict v = text_json_feed(&r->json, w, &used, reply_put_arguments, r);
    if (v == TEXT_JSON_BAD) break_call(r);
    if (v == TEXT_JSON_DONE) reply_end_call(r, REPLY_AFTER);
    return used;
}

/* A call's end in a string that was never ended: on a line of its own, and nothing but another call follows. */
static reply_verdict ends_in_string(const text_reply *r, str line, bool last) {
    size_t len = 0;
    reply_verdict v = reply_is_close(r, str_from(line, 1), &len);
    return v == REPLY_YES ? reply_is_end(r, str_from(line, 1 + len), last) : v;
}

size_t reply_step_arguments(text_reply *r, str w, bool last) {
    for (size_t at = 0; (at += str_find(str_from(w, at), STR("\n"))) < w.len; at++) {
        reply_verdict v = ends_in_string(r, str_from(w, at), last);
        if (v == REPLY_NO || (v == REPLY_MORE && last)) continue;
        size_t used = at ? feed_arguments(r, str_until(w, at)) : 0;
        if (used < at || r->state != REPLY_ARGS || v == REPLY_MORE) return used;
        break_call(r);
        r->n_nested = 0;
        reply_end_call(r, REPLY_AFTER);
        return at;
    }
    return w.len ? feed_arguments(r, w) : 0;
}

/* ---- arguments that are no JSON ---- */

/* Over one byte; whether it closes the last bracket. */
static bool closes(text_reply *r, char c) {
    bool escaped = r->escaped;
    r->escaped = r->in_string && c == '\\' && !escaped;
    if (c == '"' && !escaped) r->in_string = !r->in_string;
    if (r->in_string) return false;
    r->depth += c == '{' || c == '[';
    return (c == '}' || c == ']') && --r->depth == 0;
}

size_t reply_step_broken(text_reply *r, str w, bool last) {
    for (size_t at = 0; at < w.len; at++) {
        text_work++;
        reply_verdict tag = ends_broken(r, str_from(w, at));
        bool closed = tag == REPLY_NO && closes(r, w.data[at]);
        if (!closed && (tag == REPLY_NO || (tag == REPLY_MORE && last))) continue;
        reply_put_arguments(r, str_until(w, at + closed));
        if (tag == REPLY_MORE) return at;
        if (!closed) r->n_nested = 0; /* they have ended with it */
        reply_end_call(r, REPLY_AFTER);
        return at + closed;
    }
    reply_put_arguments(r, w);
    return w.len;
}

/* ---- arguments as the text of a string ---- */

/* The bytes that one escape is written in, of a pair of surrogates those of both; 0: more may come; 1: none, but a
 * backslash that was meant. */
static size_t escape_bytes(str w, bool last) {
    if (w.len < 2) return last;
    if (w.data[1] != 'u') return w.data[1] && strchr("\"\\/bfnrt", w.data[1]) ? 2 : 1;
    for (size_t n = 2; n < 6; n++) {
        if (n == w.len) return last;
        if (!json_is_hex(w.data[n])) return 1;
    }
    bool high = (w.data[2] | 0x20) == 'd' && w.data[3] && strchr("89abAB", w.data[3]);
    if (!high || (w.len > 6 && w.data[6] != '\\') || (w.len > 7 && w.data[7] != 'u')) return 6;
    for (size_t n = 8; n < 12 && n < w.len; n++)
        if (!json_is_hex(w.data[n])) return 6;
    return w.len >= 12 ? 12 : last ? 6 : 0;
}

/* What a piece of the string stands for. */
static str decode(str w, char out[8]) {
    char raw[16] = {'"'};
    size_t len = 0;
    if (w.len == 1) return w;
    memcpy(raw + 1, w.data, w.len);
    raw[1 + w.len] = '"';
    json_raw_string((str){raw, w.len + 2}, out, 8, &len);
    return (str){out, len};
}

/* Into the arguments. quote: it may be the string's end; where no quote can stand in an object it is. */
static void take_decoded(text_reply *r, str text, bool quote) {
    size_t used = 0;
    if (!r->broken && !r->json.depth && json_is_blank(*text.data)) return;
    text_json_verdict v = r->broken ? TEXT_JSON_BAD : text_json_feed(&r->json, text, &used, reply_put_arguments, r);
    if (v == TEXT_JSON_DONE) reply_end_call(r, REPLY_AFTER);
    if (v != TEXT_JSON_BAD) return;
    if (!r->broken) text_json_cut(&r->json, reply_put_arguments, r);
    r->broken = true;
    if (quote) reply_end_call(r, REPLY_AFTER);
    else reply_put_arguments(r, str_from(text, used));
}

size_t reply_step_quoted(text_reply *r, str w, bool last) {
    char bytes[8];
    for (size_t at = 0; at < w.len;) {
        str rest = str_from(w, at);
        size_t n = w.data[at] == '\\' ? escape_bytes(rest, last) : 1;
        text_work += n + 1;
        reply_verdict tag = r->broken ? ends_broken(r, rest) : REPLY_NO;
        if (!n || (tag == REPLY_MORE && !last)) return at;
        if (tag == REPLY_YES) {
            r->n_nested = 0;
            return reply_end_call(r, REPLY_AFTER), at;
        }
        take_decoded(r, decode(str_until(rest, n), bytes), w.data[at] == '"');
        at += n;
        if (r->state != REPLY_QUOTED) return at;
    }
    return w.len;
}

/* Behind the object, up to the string's end; of blanks, too, some are escaped. */
static size_t skip_quote(const text_reply *r, str w, size_t at) {
    at = json_skip_blank(w, at);
    while (r->quoted && reply_is_escaped_blank(str_from(w, at))) at = json_skip_blank(w, at + 2);
    return at;
}

/* ---- behind the arguments ---- */

static reply_verdict next_object(text_reply *r, str w, size_t *at) {
    text_reply_ahead *a = &r->ahead;
    bool separated = w.data[*at] == ',' || w.data[*at] == ';';
    if (!a->phase) {
        a->head = (text_reply_head){.n_nested = r->n_nested, .fenced = r->fenced};
        memcpy(a->head.nested, r->nested, sizeof r->nested);
    }
    reply_verdict v = reply_read_object(&r->tools, w, *at + separated, false, a);
    *at = v == REPLY_YES ? a->head.end : 0;
    if (v == REPLY_YES) reply_begin_call(r, w, str_until(w, *at), &a->head);
    return v;
}

static reply_verdict skip_member(text_reply *r, str w, size_t *at) {
    reply_verdict v = reply_skip_member(w, *at + 1, &r->ahead);
    *at = v == REPLY_YES ? r->ahead.at : 0;
    return v;
}

/* A tag that belongs to the call, or a fence that was opened before it: what was open in it has ended. */
static reply_verdict skip_close(text_reply *r, str w, size_t *at) {
    size_t len = 0;
    str rest = str_from(w, *at);
    reply_verdict v = reply_is_close(r, rest, &len);
    if (v == REPLY_NO && r->fenced && (v = reply_begins(rest, STR("```"))) == REPLY_YES) {
        len = 3;
        r->fenced = false;
    }
    if (v != REPLY_YES) return v;
    r->n_nested = 0;
    *at += len;
    return v;
}

/* A bracket that closes: the ones around the call from the inside out, or none that is open. */
static void close_bracket(text_reply *r, char c) {
    uint8_t n = r->n_nested;
    char open = c == '}' ? '{' : '[';
    while (n && r->nested[n - 1] != open) n--;
    if (n) r->n_nested = n - 1;
}

/* Behind a call's arguments: the rest of what is around it, and the next call. */
static reply_verdict read_after(text_reply *r, str w, size_t *at) {
    *at = skip_quote(r, w, r->ahead.seen);
    r->ahead.seen = (uint32_t)*at;
    if (*at == w.len || (r->quoted && *at + 1 == w.len && w.data[*at] == '\\')) return REPLY_MORE;
    char c = w.data[*at], top = r->n_nested ? r->nested[r->n_nested - 1] : 0;
    if (r->quoted && c == '"') return r->quoted = false, ++*at, REPLY_YES;
    if (c == '}' || c == ']') return close_bracket(r, c), ++*at, REPLY_YES;
    reply_verdict v = skip_close(r, w, at);
    if (v != REPLY_NO) return v;
    if (c == ',' && !r->ahead.phase) { /* one too many? */
        size_t next = json_skip_blank(w, *at + 1), len;
        bool few = next - *at <= REPLY_BLANKS_MAX;
        if (next == w.len && few) return REPLY_MORE;
        bool closed = w.data[next] == '}' || w.data[next] == ']';
        v = !few ? REPLY_NO : closed ? REPLY_YES : reply_is_close(r, str_from(w, next), &len);
        if (v == REPLY_YES) *at = next;
        if (v != REPLY_NO) return v;
    }
    if (top == '{') return c == ',' ? skip_member(r, w, at) : REPLY_NO;
    bool begins = c == '{' || c == ',' || (!top && c == ';');
    return begins ? next_object(r, w, at) : REPLY_NO;
}

/* Half a tag, or half an escape. */
static bool is_half(text_reply *r, str w, size_t at) {
    return at == w.len || skip_close(r, w, &at) == REPLY_MORE || (r->quoted && w.data[at] == '\\');
}

/* Half of the next call, or what separates it from this one. */
static bool is_half_next(const text_reply *r) { return !r->ahead.phase || reply_may_be_call(&r->ahead); }

size_t reply_step_after(text_reply *r, str w, bool last) {
    size_t at;
    reply_verdict v = read_after(r, w, &at);
    if (v == REPLY_YES) return at;
    if (v == REPLY_MORE && !last && w.len < TEXT_REPLY_HELD_MAX) return 0;
    /* A reply that breaks off in the call's other members has said all of the call. */
    bool in_member = w.len < TEXT_REPLY_HELD_MAX && r->n_nested && r->nested[r->n_nested - 1] == '{';
    if (v == REPLY_MORE && (in_member || is_half(r, w, at) || (last && is_half_next(r)))) return w.len;
    r->state = r->in_thought ? REPLY_THOUGHT : REPLY_TEXT;
    r->fresh = r->trims = true;
    r->quoted = false;
    return 0;
}
