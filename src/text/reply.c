#include "text/reply.h"

#include "base/check.h"
#include "text/reply_internal.h"

_Static_assert(sizeof(text_reply) <= 8192, "a reply is small");

/* What is held is a window on the text: each step looks at it from its beginning and says how much is done with.
 * Every decision is the earliest that the text allows, so it does not matter how much of it is there. */

/* ---- what goes out ---- */

static void send_event(text_reply *r, text_reply_event ev) {
    ev.call = r->n_calls ? r->n_calls - 1 : 0;
    r->on(r->ctx, &ev);
}

static void flush(text_reply *r) {
    if (r->n_out) send_event(r, (text_reply_event){.kind = r->out_kind, .text = {r->out, r->n_out}});
    r->n_out = 0;
}

/* Bytes at the end of text that begin a character and do not end it. */
static size_t unfinished_bytes(str text) {
    for (size_t n = 1; n <= 3 && n < text.len; n++) {
        unsigned char c = (unsigned char)text.data[text.len - n];
        if ((c & 0xC0) == 0x80) continue;
        return c >= 0xC0 && n < (c >= 0xF0 ? 4u : c >= 0xE0 ? 3u : 2u) ? n : 0;
    }
    return 0;
}

void reply_put(text_reply *r, text_reply_kind kind, str text) {
    if (kind != r->out_kind) flush(r);
    r->out_kind = kind;
    while (text.len) {
        size_t room = sizeof r->out - r->n_out, n = text.len < room ? text.len : room;
        memcpy(r->out + r->n_out, text.data, n);
        r->n_out += (uint32_t)n;
        text = str_from(text, n);
        if (r->n_out < sizeof r->out) continue;
        size_t tail = unfinished_bytes((str){r->out, r->n_out});
        r->n_out -= (uint32_t)tail;
        flush(r);
        memmove(r->out, r->out + sizeof r->out - tail, tail);
        r->n_out = (uint32_t)tail;
    }
}

void reply_put_arguments(void *r, str piece) { reply_put(r, TEXT_REPLY_ARGUMENTS, piece); }

/* The window's first bytes as they are, without those that the prompt gave. */
static void put_plain(text_reply *r, str text) {
    text_reply_kind kind = r->state == REPLY_THOUGHT ? TEXT_REPLY_REASONING : TEXT_REPLY_CONTENT;
    reply_put(r, kind, str_from(text, r->n_given < text.len ? r->n_given : text.len));
}

static void end_call(text_reply *r, enum reply_state next, bool cut) {
    flush(r);
    send_event(r, (text_reply_event){.kind = TEXT_REPLY_CALL_END, .cut = cut, .broken = r->broken});
    r->state = (uint8_t)(next == REPLY_TEXT && r->in_thought ? REPLY_THOUGHT : next);
    r->fresh = r->trims = true;
}

void reply_end_call(text_reply *r, enum reply_state next) { end_call(r, next, false); }
void reply_cut_call(text_reply *r) { end_call(r, REPLY_AFTER, true); }

/* w: from the head on; raw: what it is written as, from its tag on. */
static void begin_call(text_reply *r, str w, str raw, const text_reply_head *h) {
    str name = {h->name, h->name_len}, early = {w.data + h->args_from, h->args_to - h->args_from};
    flush(r);
    r->n_calls++;
    r->in_thought |= r->state == REPLY_THOUGHT;
    r->broken = false;
    send_event(r, (text_reply_event){.kind = TEXT_REPLY_CALL, .text = name, .raw = raw});
    memcpy(r->nested, h->nested, sizeof r->nested);
    r->n_nested = h->n_nested;
    text_json_init(&r->json, 0);
    if (h->xml) {
        reply_xml_begin(r, name);
    } else if (h->args_follow) {
        r->state = REPLY_ARGS;
    } else {
        size_t used;
        if (early.len) text_json_feed(&r->json, early, &used, reply_put_arguments, r);
        else reply_put_arguments(r, STR("{}"));
        reply_end_call(r, REPLY_AFTER);
    }
}

/* ---- content and thoughts ---- */

typedef struct match {
    size_t skip; /* with REPLY_NO: what is plain text */
    size_t head_at, end;
    enum { CALL, THOUGHT, CONTENT } what; /* that begins behind it */
    text_reply_ahead *ahead;              /* what is known of it, and its head */
} match;

static reply_verdict match_harmony(const text_reply *r, str w, match *m) {
    static const str ends[] = {STR("<|end|>"), STR("<|return|>"), STR("<|call|>")};
    static const str begins[] = {STR("<|start|>"), STR("<|channel|>")};
    bool more = false;
    m->what = CONTENT;
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
        reply_verdict v = reply_begins(w, ends[i]);
        m->end = ends[i].len;
        if (v == REPLY_YES) return v;
        more |= v == REPLY_MORE;
    }
    for (size_t i = 0; i < sizeof begins / sizeof *begins; i++) {
        reply_verdict v = reply_begins(w, begins[i]);
        text_reply_kind kind = TEXT_REPLY_CONTENT;
        if (v == REPLY_YES) {
            m->skip = begins[i].len;
            v = reply_read_channel(&r->tools, w, &kind, &m->ahead->head);
            m->end = m->ahead->head.end;
        }
        m->what = kind == TEXT_REPLY_CALL ? CALL : kind == TEXT_REPLY_REASONING ? THOUGHT : CONTENT;
        if (v == REPLY_YES) return v;
        more |= v == REPLY_MORE;
    }
    return more ? REPLY_MORE : REPLY_NO;
}

static reply_verdict match_call(const text_reply *r, str w, size_t which, str tag, match *m) {
    text_reply_ahead *a = m->ahead;
    if (!a->tag) {
        reply_verdict v = reply_begins(w, tag);
        if (v != REPLY_YES) return v;
        *a = (text_reply_ahead){.seen = a->seen, .tag = (uint8_t)(which + 1)};
    }
    if (tag.len) m->skip = tag.len;
    if (!a->has_head) {
        reply_verdict v = reply_read_head(&r->format, &r->tools, tag, str_from(w, tag.len), a);
        if (v != REPLY_YES) return v;
    }
    m->what = CALL;
    m->head_at = tag.len;
    m->end = tag.len + a->head.end;
    return REPLY_YES;
}

/* Whether the thought in which w begins with a call goes on behind it: the model ends it, and then says something. */
static reply_verdict is_considered(const text_reply *r, str w, const match *m) {
    text_reply_ahead *a = m->ahead;
    str close = r->format.think_close;
    if (!a->has_head) {
        a->has_head = true;
        a->has_args = !a->head.args_follow;
        a->in_value = false;
        a->at = (uint32_t)m->end;
    }
    if (!a->has_args && reply_go_over(a, w) == REPLY_MORE) return REPLY_MORE;
    a->has_args = true;
    if (!a->has_close) {
        size_t at = a->at + str_find(str_from(w, a->at), close);
        a->has_close = at < w.len;
        if (!a->has_close && w.len - a->at >= close.len) a->at = (uint32_t)(w.len - close.len + 1);
        if (!a->has_close) return REPLY_MORE;
        a->at = (uint32_t)(at + close.len);
    }
    a->at = (uint32_t)reply_skip_blank(w, a->at);
    return a->at < w.len ? REPLY_YES : REPLY_MORE;
}

/* The tags of thoughts. One that ends a thought again, before anything else is said, is none of the answer's text. */
static reply_verdict match_thought(const text_reply *r, str w, match *m) {
    const text_reply_format *f = &r->format;
    bool thinks = r->state == REPLY_THOUGHT;
    if (!f->think_open.len || !(thinks || r->fresh)) return REPLY_NO;
    reply_verdict closes = reply_begins(w, f->think_close), opens = thinks ? REPLY_NO : reply_begins(w, f->think_open);
    m->what = opens == REPLY_YES ? THOUGHT : CONTENT;
    m->end = opens == REPLY_YES ? f->think_open.len : f->think_close.len;
    if (closes == REPLY_YES || opens == REPLY_YES) return REPLY_YES;
    return closes == REPLY_MORE || opens == REPLY_MORE ? REPLY_MORE : REPLY_NO;
}

/* A call that prose quotes, `<tool_call>…`, as against one in a fence. */
static bool is_quoted(const text_reply *r, str w, size_t at) {
    char one = at ? w.data[at - 1] : r->before[1], two = at > 1 ? w.data[at - 2] : r->before[at ? 1 : 0];
    return one == '`' && two != '`';
}

/* A call's beginning at w, behind tag. must: an answer is due. */
static reply_verdict match_call_here(const text_reply *r, str w, size_t which, str tag, bool must, match *m) {
    reply_verdict v = match_call(r, w, which, tag, m);
    if (v == REPLY_YES && r->state == REPLY_THOUGHT) {
        reply_verdict considered = is_considered(r, w, m);
        if (considered == REPLY_MORE && !must) return REPLY_MORE;
        if (considered == REPLY_YES) v = REPLY_NO;
    }
    if (v == REPLY_NO) m->ahead->tag = 0;
    return v;
}

/* Whether all[at …] begins with something that is not text. */
static reply_verdict match_tag(const text_reply *r, str all, size_t at, bool must, match *m) {
    str w = str_from(all, at);
    const reply_tags *tags = reply_tags_of(r->format.family);
    bool thinks = r->state == REPLY_THOUGHT, bare = !thinks && r->fresh && tags->bare && memchr("{[`", w.data[0], 3);
    if (r->format.family == TEXT_REPLY_FAMILY_HARMONY) return match_harmony(r, w, m);
    reply_verdict thought = m->ahead->tag ? REPLY_NO : match_thought(r, w, m);
    if (thought == REPLY_YES) return thought;
    bool more = thought == REPLY_MORE;
    size_t n = !r->tools.n_slots || is_quoted(r, all, at) ? 0 : REPLY_TAGS_MAX + (size_t)bare;
    for (size_t i = m->ahead->tag ? m->ahead->tag - 1u : 0; i < n; i++) {
        str tag = i < REPLY_TAGS_MAX ? tags->begin[i] : (str){0};
        reply_verdict v = i < REPLY_TAGS_MAX && !tag.len ? REPLY_NO : match_call_here(r, w, i, tag, must, m);
        if (v == REPLY_YES) return v;
        if (v == REPLY_MORE && more) m->ahead->tag = 0; /* it may still be another */
        more |= v == REPLY_MORE;
    }
    return more ? REPLY_MORE : REPLY_NO;
}

static void apply(text_reply *r, str w, const match *m) {
    r->fresh = true;
    r->trims = r->format.family != TEXT_REPLY_FAMILY_HARMONY;
    if (m->what == CALL) {
        begin_call(r, str_from(w, m->head_at), str_until(w, m->end), &m->ahead->head);
    } else {
        r->state = m->what == CONTENT ? REPLY_TEXT : REPLY_THOUGHT;
        r->in_thought = false;
    }
}

static bool has_tags(const text_reply *r) {
    return r->state == REPLY_THOUGHT || r->format.family == TEXT_REPLY_FAMILY_HARMONY || r->tools.n_slots ||
           (r->format.think_open.len && r->fresh);
}

/* Newlines before a tag belong to it, and all blanks where nothing has been said. gpt-oss writes none. */
static bool is_gap(const text_reply *r, char c) {
    if (r->format.family == TEXT_REPLY_FAMILY_HARMONY) return false;
    return c == '\n' || (r->fresh && r->state == REPLY_TEXT && reply_is_blank(c));
}

/* Behind the blanks from `at` on that belong to a tag if one comes. */
static size_t skip_gap(const text_reply *r, str w, size_t at, text_reply_ahead *a) {
    size_t tag = at + a->seen;
    while (tag < w.len && is_gap(r, w.data[tag])) tag++;
    text_reply_work += tag - at - a->seen + 1;
    a->seen = (uint32_t)(tag - at);
    return tag;
}

/* What is known ahead is known of the window's beginning; what is found elsewhere is looked at again there. */
static size_t step_text(text_reply *r, str w, bool last) {
    text_reply_ahead other;
    size_t at = 0;
    while (r->trims && at < w.len && w.data[at] == '\n') at++;
    if (at) return at;
    if (w.len) r->trims = false;
    while (at < w.len && has_tags(r)) {
        match m = {.skip = 1, .ahead = at ? &other : &r->ahead};
        if (at) other.seen = other.tag = other.has_head = false;
        size_t tag = skip_gap(r, w, at, m.ahead);
        bool full = at == 0 && w.len == TEXT_REPLY_HELD_MAX, must = last || full;
        reply_verdict v = tag == w.len ? REPLY_MORE : match_tag(r, w, tag, must, &m);
        if (v == REPLY_YES) {
            put_plain(r, str_until(w, at));
            apply(r, str_from(w, tag), &m);
            return tag + m.end;
        }
        if (v == REPLY_MORE && !must) {
            put_plain(r, str_until(w, at));
            return at;
        }
        if (tag < w.len) r->fresh = false;
        if (v == REPLY_MORE && full) break; /* too long for what it might be */
        at = tag == w.len ? tag : tag + m.skip;
    }
    put_plain(r, w);
    return w.len;
}

/* ---- calls in JSON ---- */

/* From where it is no JSON on. */
static void break_call(text_reply *r) {
    text_json_cut(&r->json, reply_put_arguments, r);
    r->state = REPLY_BROKEN;
    r->broken = true;
    r->in_string = r->escaped = false;
    r->depth = r->json.depth;
}

static size_t step_arguments(text_reply *r, str w) {
    size_t used;
    text_json_verdict v = text_json_feed(&r->json, w, &used, reply_put_arguments, r);
    if (v == TEXT_JSON_BAD) break_call(r);
    if (v == TEXT_JSON_DONE) reply_end_call(r, REPLY_AFTER);
    return used;
}

/* The tags that end a call whatever is open in it. */
static reply_verdict ends_broken(const text_reply *r, str w) {
    static const str harmony[] = {STR("<|call|>"), STR("<|end|>"), STR("<|return|>"), STR("<|start|>")};
    const reply_tags *tags = reply_tags_of(r->format.family);
    bool more = false;
    if (w.data[0] != '<' && w.data[0] != '[') return REPLY_NO;
    for (size_t i = 0; i < 3 * REPLY_TAGS_MAX; i++) {
        size_t k = i % REPLY_TAGS_MAX;
        str tag = i < REPLY_TAGS_MAX ? tags->after[k] : i < 2 * REPLY_TAGS_MAX ? tags->begin[k] : harmony[k];
        bool counts = i < 2 * REPLY_TAGS_MAX || r->format.family == TEXT_REPLY_FAMILY_HARMONY;
        reply_verdict v = counts && tag.len ? reply_begins(w, tag) : REPLY_NO;
        if (v == REPLY_YES) return v;
        more |= v == REPLY_MORE;
    }
    return more ? REPLY_MORE : REPLY_NO;
}

/* Over one byte of what is no JSON; whether it closes the last bracket. */
static bool closes(text_reply *r, char c) {
    bool escaped = r->escaped;
    r->escaped = r->in_string && c == '\\' && !escaped;
    if (c == '"' && !escaped) r->in_string = !r->in_string;
    if (r->in_string) return false;
    r->depth += c == '{' || c == '[';
    return (c == '}' || c == ']') && --r->depth == 0;
}

static size_t step_broken(text_reply *r, str w, bool last) {
    text_reply_work += w.len;
    for (size_t at = 0; at < w.len; at++) {
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

static reply_verdict next_object(text_reply *r, str w, size_t *at) {
    text_reply_ahead *a = &r->ahead;
    if (!a->phase) {
        a->head = (text_reply_head){.n_nested = r->n_nested};
        memcpy(a->head.nested, r->nested, sizeof r->nested);
    }
    reply_verdict v = reply_read_object(&r->tools, w, *at + (w.data[*at] != '{'), false, a);
    *at = v == REPLY_YES ? a->head.end : 0;
    if (v == REPLY_YES) begin_call(r, w, str_until(w, *at), &a->head);
    return v;
}

static reply_verdict skip_member(text_reply *r, str w, size_t *at) {
    reply_verdict v = reply_skip_member(w, *at + 1, &r->ahead);
    *at = v == REPLY_YES ? r->ahead.at : 0;
    return v;
}

static reply_verdict skip_after(const text_reply *r, str w, size_t *at) {
    const str *after = reply_tags_of(r->format.family)->after;
    bool more = false;
    for (size_t i = 0; i < REPLY_TAGS_MAX && after[i].len; i++) {
        reply_verdict v = reply_begins(str_from(w, *at), after[i]);
        if (v == REPLY_YES) return *at += after[i].len, v;
        more |= v == REPLY_MORE;
    }
    return more ? REPLY_MORE : REPLY_NO;
}

/* Behind a call's arguments: the rest of what is around it, and the next call. */
static reply_verdict read_after(text_reply *r, str w, size_t *at) {
    char top = 0, c;
    *at = reply_skip_blank(w, r->ahead.seen);
    r->ahead.seen = (uint32_t)*at;
    if (*at == w.len) return REPLY_MORE;
    c = w.data[*at];
    if (r->n_nested) top = r->nested[r->n_nested - 1];
    if (top && c == (top == '{' ? '}' : ']')) return r->n_nested--, ++*at, REPLY_YES;
    if (top == '{') return c == ',' ? skip_member(r, w, at) : REPLY_NO;
    if (c == ',' || (!top && (c == ';' || c == '{'))) return next_object(r, w, at);
    return top ? REPLY_NO : skip_after(r, w, at);
}

static size_t step_after(text_reply *r, str w, bool last) {
    size_t at;
    reply_verdict v = read_after(r, w, &at);
    if (v == REPLY_YES) return at;
    if (v == REPLY_MORE && !last && w.len < TEXT_REPLY_HELD_MAX) return 0;
    /* A reply that breaks off in the call's other members has said all of the call. */
    bool in_member = w.len < TEXT_REPLY_HELD_MAX && r->n_nested && r->nested[r->n_nested - 1] == '{';
    if (v == REPLY_MORE && in_member) return w.len;
    if (v == REPLY_MORE && (at == w.len || skip_after(r, w, &at) == REPLY_MORE)) return w.len; /* blanks, half a tag */
    r->state = r->in_thought ? REPLY_THOUGHT : REPLY_TEXT;
    r->fresh = r->trims = true;
    return 0;
}

/* ---- the window ---- */

/* One step. last: no more text will come. */
static size_t step(text_reply *r, str w, bool last) {
    switch ((enum reply_state)r->state) {
    case REPLY_TEXT:
    case REPLY_THOUGHT: return step_text(r, w, last);
    case REPLY_ARGS: return step_arguments(r, w);
    case REPLY_BROKEN: return step_broken(r, w, last);
    case REPLY_AFTER: return step_after(r, w, last);
    default: return reply_xml_step(r, w, last);
    }
}

static void forget_ahead(text_reply *r) {
    r->ahead.seen = r->ahead.tag = r->ahead.phase = 0;
    r->ahead.has_head = r->ahead.has_close = r->ahead.in_value = r->ahead.named = r->ahead.has_args = false;
}

static void run(text_reply *r, bool last) {
    for (size_t at = 0;;) {
        uint8_t before = r->state;
        size_t used = step(r, (str){r->held + at, r->n_held - at}, last);
        at += used;
        if (used) r->before[0] = used > 1 ? r->held[at - 2] : r->before[1];
        if (used) r->before[1] = r->held[at - 1];
        if (used || r->state != before) forget_ahead(r);
        r->n_given -= used < r->n_given ? (uint32_t)used : r->n_given;
        if (used == 0 && r->state == before) {
            memmove(r->held, r->held + at, r->n_held - at);
            r->n_held -= (uint32_t)at;
            return;
        }
    }
}

void text_reply_feed(text_reply *r, str text, text_reply_on_event *on, void *ctx) {
    r->on = on;
    r->ctx = ctx;
    while (text.len) {
        size_t room = sizeof r->held - r->n_held, n = text.len < room ? text.len : room;
        CHECK(n > 0);
        memcpy(r->held + r->n_held, text.data, n);
        r->n_held += (uint32_t)n;
        text = str_from(text, n);
        run(r, false);
    }
    flush(r);
}

void text_reply_finish(text_reply *r, text_reply_on_event *on, void *ctx) {
    r->on = on;
    r->ctx = ctx;
    run(r, true);
    if (r->state == REPLY_ARGS || r->state == REPLY_BROKEN) {
        if (r->state == REPLY_ARGS) text_json_cut(&r->json, reply_put_arguments, r);
        reply_cut_call(r);
    } else if (r->state >= REPLY_XML) {
        reply_xml_cut(r);
    }
    flush(r);
}

static void give(text_reply *r, str tag) {
    memcpy(r->held, tag.data, tag.len);
    r->n_held = r->n_given = (uint32_t)tag.len;
}

/* What the prompt has begun. */
static void read_tail(text_reply *r, str tail) {
    size_t start = 0;
    if (tail.len > TEXT_REPLY_TAIL_MAX) tail = str_from(tail, tail.len - TEXT_REPLY_TAIL_MAX);
    if (r->format.family == TEXT_REPLY_FAMILY_HARMONY) {
        str begin = STR("<|start|>");
        for (size_t at = 0; (at += str_find(str_from(tail, at), begin)) < tail.len; at += begin.len) start = at + 1;
        if (start) give(r, str_from(tail, start - 1));
        return;
    }
    if (text_reply_is_thinking(&r->format, tail)) {
        r->state = REPLY_THOUGHT;
        r->trims = true;
        return;
    }
    tail = reply_without_end_blanks(tail);
    const str *begin = reply_tags_of(r->format.family)->begin;
    for (size_t i = 0; r->tools.n_slots && i < REPLY_TAGS_MAX && begin[i].len; i++)
        if (str_ends(tail, begin[i])) give(r, begin[i]);
}

void text_reply_init(text_reply *r, const text_reply_format *f, const text_reply_tools *tools, str prompt_tail) {
    memset(r, 0, offsetof(text_reply, held));
    r->format = *f;
    r->fresh = true;
    r->state = REPLY_TEXT;
    if (f->family != TEXT_REPLY_FAMILY_PLAIN) r->tools = *tools;
    read_tail(r, prompt_tail);
}
