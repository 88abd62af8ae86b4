#include "text/reply/reply.h"

#include "base/check.h"
#include "text/reply/internal.h"

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

/* Arguments that came before the name: an object, or the text of a string that is one. */
static void put_early(text_reply *r, str early) {
    size_t used;
    if (early.len && early.data[0] == '"') {
        r->state = REPLY_QUOTED;
        reply_step_quoted(r, str_from(early, 1), true);
        if (r->state == REPLY_QUOTED) text_json_cut(&r->json, reply_put_arguments, r);
        r->broken |= r->state == REPLY_QUOTED;
        if (r->state != REPLY_QUOTED) return;
    } else if (early.len) {
        text_json_feed(&r->json, early, &used, reply_put_arguments, r);
    } else {
        reply_put_arguments(r, STR("{}"));
    }
    reply_end_call(r, REPLY_AFTER);
}

void reply_begin_call(text_reply *r, str w, str raw, const text_reply_head *h) {
    str name = {h->name, h->name_len}, early = {w.data + h->args_from, h->args_to - h->args_from};
    flush(r);
    r->n_calls++;
    r->in_thought |= r->state == REPLY_THOUGHT;
    r->broken = r->unmatched = false;
    r->quoted = h->quoted;
    r->fenced |= h->fenced;
    send_event(r, (text_reply_event){.kind = TEXT_REPLY_CALL, .text = name, .raw = raw});
    memcpy(r->nested, h->nested, sizeof r->nested);
    r->n_nested = h->n_nested;
    text_json_init(&r->json, 0);
    if (h->xml) reply_xml_begin(r, name);
    else if (h->keywords) reply_keywords_begin(r, name);
    else if (h->args_follow) r->state = h->quoted ? REPLY_QUOTED : REPLY_ARGS;
    else put_early(r, early);
}

/* ---- content and thoughts ---- */

/* Where a thought's close first stands at or behind `from`, or the window's end: what many calls in one thought ask. */
typedef struct closing {
    const char *from, *at;
} closing;

typedef struct match {
    size_t skip; /* with REPLY_NO: what is plain text */
    size_t head_at, end;
    enum { CALL, THOUGHT, CONTENT, STRAY } what; /* that begins behind it; STRAY: a tag without a call */
    bool last;                                   /* nothing comes behind it */
    bool fenced, tagged;                         /* ```json before it; text that has a call's tag, and is no call */
    text_reply_ahead *ahead;                     /* what is known of it, and its head */
    closing *closing;
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

static size_t find_close(str w, size_t at, str close, closing *c) {
    const char *from = w.data + at;
    if (!c->from || from < c->from || from > c->at) *c = (closing){from, from + str_find(str_from(w, at), close)};
    return (size_t)(c->at - w.data);
}

/* Whether the thought in which w begins with a call goes on behind it: the model ends it, and then says something. */
static reply_verdict is_considered(const text_reply *r, str w, const match *m) {
    text_reply_ahead *a = m->ahead;
    str close = r->format.think_close;
    if (!a->has_head) {
        a->has_head = true;
        a->has_args = !a->head.args_follow;
        a->in_value = false;
        a->at = (uint32_t)m->end - a->head.quoted;
    }
    if (!a->has_args && reply_go_over(a, w) == REPLY_MORE) return REPLY_MORE;
    a->has_args = true;
    if (!a->has_close) {
        size_t at = find_close(w, a->at, close, m->closing);
        a->has_close = at < w.len;
        if (!a->has_close && w.len - a->at >= close.len) a->at = (uint32_t)(w.len - close.len + 1);
        if (!a->has_close) return REPLY_MORE;
        a->at = (uint32_t)(at + close.len);
    }
    a->at = (uint32_t)json_skip_blank(w, a->at);
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

/* A tag that another one follows at once. */
static reply_verdict is_doubled(const text_reply *r, str w, str tag) {
    const str *begin = reply_tags_of(r->format.family)->begin;
    size_t at = json_skip_blank(w, tag.len);
    bool more = false;
    for (size_t i = 0; tag.len && at - tag.len <= REPLY_BLANKS_MAX && i < REPLY_TAGS_MAX; i++) {
        reply_verdict v = begin[i].len ? reply_begins(str_from(w, at), begin[i]) : REPLY_NO;
        if (v == REPLY_YES) return v;
        more |= v == REPLY_MORE;
    }
    return more ? REPLY_MORE : REPLY_NO;
}

/* A call's beginning at w, behind tag. must: an answer is due. A tag before another one, and behind a call one that
 * half a call or nothing follows, is none of the text. */
static reply_verdict match_call_here(const text_reply *r, str w, size_t which, str tag, bool must, match *m) {
    reply_verdict v = match_call(r, w, which, tag, m);
    if (v == REPLY_YES && r->state == REPLY_THOUGHT) {
        reply_verdict considered = is_considered(r, w, m);
        if (considered == REPLY_MORE && !must) return REPLY_MORE;
        if (considered == REPLY_YES) v = REPLY_NO;
    }
    bool tagged = tag.len && m->ahead->tag, half = v == REPLY_MORE && must && !m->last && r->n_calls;
    reply_verdict doubled = tagged && v == REPLY_NO ? is_doubled(r, w, tag) : REPLY_NO;
    if (doubled == REPLY_MORE && !must) return doubled;
    if (tagged && (half || doubled == REPLY_YES)) {
        m->what = STRAY;
        m->end = tag.len;
        return REPLY_YES;
    }
    m->tagged |= v == REPLY_NO && tagged;
    if (v == REPLY_NO) m->ahead->tag = 0;
    return v;
}

/* In a fence at a line's beginning a call may stand anywhere in a reply. */
static reply_verdict match_fence(const text_reply *r, str all, size_t at, size_t *len) {
    char before = at ? all.data[at - 1] : r->before[1];
    if (all.data[at] != '`' || !(r->fresh || before == '\n')) return REPLY_NO;
    return reply_read_fence(str_from(all, at), len);
}

static reply_verdict match_calls(const text_reply *r, str w, bool bare, bool must, match *m) {
    const reply_tags *tags = reply_tags_of(r->format.family);
    bool more = false;
    for (size_t i = m->ahead->tag ? m->ahead->tag - 1u : 0; i < REPLY_TAGS_MAX + (size_t)bare; i++) {
        str tag = i < REPLY_TAGS_MAX ? tags->begin[i] : (str){0};
        reply_verdict v = i < REPLY_TAGS_MAX && !tag.len ? REPLY_NO : match_call_here(r, w, i, tag, must, m);
        if (v == REPLY_YES || (v == REPLY_MORE && m->ahead->tag && !more)) return v; /* no tag begins as another */
        if (v == REPLY_MORE && more) m->ahead->tag = 0;                              /* a bare object may */
        more |= v == REPLY_MORE;
    }
    return more ? REPLY_MORE : REPLY_NO;
}

/* What closes a call that has ended already. */
static reply_verdict match_close(const text_reply *r, str w, match *m) {
    size_t len = 0;
    if (!r->n_calls || r->unmatched || m->ahead->tag) return REPLY_NO;
    reply_verdict v = reply_is_close(r, w, &len);
    if (v != REPLY_YES) return v;
    m->what = STRAY;
    m->end = len;
    return v;
}

static bool begins_bare(const text_reply *r, char c) {
    return c == '{' || c == '[' || (r->format.family == TEXT_REPLY_FAMILY_LLAMA_JSON && reply_is_identifier(c));
}

/* Whether all[at …] begins with something that is not text. */
static reply_verdict match_tag(const text_reply *r, str all, size_t at, bool must, match *m) {
    str w = str_from(all, at);
    size_t fence = 0;
    bool thinks = r->state == REPLY_THOUGHT, bare = !thinks && reply_tags_of(r->format.family)->bare;
    if (r->format.family == TEXT_REPLY_FAMILY_HARMONY) return match_harmony(r, w, m);
    reply_verdict v = m->ahead->tag ? REPLY_NO : match_thought(r, w, m);
    bool more = v == REPLY_MORE;
    if (v == REPLY_YES || !r->tools.n_slots || is_quoted(r, all, at)) return v;
    if ((v = match_close(r, w, m)) == REPLY_YES) return v;
    more |= v == REPLY_MORE;
    if ((v = match_fence(r, all, at, &fence)) == REPLY_MORE) return v;
    m->fenced = v == REPLY_YES;
    if (m->fenced) w = str_from(w, fence);
    bare &= (m->fenced || r->fresh) && begins_bare(r, w.data[0]);
    v = match_calls(r, w, bare, must, m);
    if (v == REPLY_YES) m->head_at += fence, m->end += fence;
    if (v == REPLY_NO && m->fenced) m->skip = 1;
    if (v == REPLY_MORE && more) m->ahead->tag = 0; /* it may still be another */
    return v == REPLY_NO && more ? REPLY_MORE : v;
}

static void apply(text_reply *r, str w, const match *m) {
    r->fresh = true;
    r->trims = r->format.family != TEXT_REPLY_FAMILY_HARMONY;
    if (m->what == CALL) {
        r->fenced |= m->fenced;
        reply_begin_call(r, str_from(w, m->head_at), str_until(w, m->end), &m->ahead->head);
    } else if (m->what != STRAY) {
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
    return c == '\n' || (r->fresh && r->state == REPLY_TEXT && json_is_blank(c));
}

/* Behind the blanks from `at` on that belong to a tag if one comes. */
static size_t skip_gap(const text_reply *r, str w, size_t at, text_reply_ahead *a) {
    size_t tag = at + a->seen;
    while (tag < w.len && is_gap(r, w.data[tag])) tag++;
    text_work += tag - at - a->seen + 1;
    a->seen = (uint32_t)(tag - at);
    return tag;
}

/* Where a reply that has said something breaks off in the beginning of another call, or of a message's header. */
static bool is_half(const text_reply *r, str w, size_t tag, const match *m) {
    bool in_header = r->format.family == TEXT_REPLY_FAMILY_HARMONY && m->skip > 1 && (tag > r->n_given || r->before[1]);
    bool is_word = tag < w.len && reply_is_identifier(w.data[tag]); /* which may have been all there was to say */
    return tag < w.len && (in_header || (r->n_calls && !is_word && (r->fresh || m->ahead->tag)));
}

/* What is known ahead is known of the window's beginning; what is found elsewhere is looked at again there. */
static size_t step_text(text_reply *r, str w, bool last) {
    text_reply_ahead other;
    closing close = {0};
    size_t at = 0;
    while (r->trims && at < w.len && w.data[at] == '\n') at++;
    if (at) return at;
    if (w.len) r->trims = false;
    while (at < w.len && has_tags(r)) {
        match m = {.skip = 1, .last = last, .ahead = at ? &other : &r->ahead, .closing = &close};
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
        if (v == REPLY_MORE && last && is_half(r, w, tag, &m)) return put_plain(r, str_until(w, at)), w.len;
        if (tag < w.len) r->fresh = r->fenced = false;
        r->unmatched |= m.tagged;
        if (v == REPLY_MORE && full) break; /* too long for what it might be */
        at = tag == w.len ? tag : tag + m.skip;
    }
    put_plain(r, w);
    return w.len;
}

/* ---- the window ---- */

/* One step. last: no more text will come. */
static size_t step(text_reply *r, str w, bool last) {
    switch ((enum reply_state)r->state) {
    case REPLY_TEXT:
    case REPLY_THOUGHT: return step_text(r, w, last);
    case REPLY_ARGS: return reply_step_arguments(r, w, last);
    case REPLY_QUOTED: return reply_step_quoted(r, w, last);
    case REPLY_BROKEN: return reply_step_broken(r, w, last);
    case REPLY_AFTER: return reply_step_after(r, w, last);
    default: return (r->state >= REPLY_KEYWORD ? reply_keywords_step : reply_xml_step)(r, w, last);
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

/* A step may look through all that is held, and short calls are many steps: what comes whole is taken in pieces. */
enum { PIECE = 128 };

void text_reply_feed(text_reply *r, str text, text_reply_on_event *on, void *ctx) {
    r->on = on;
    r->ctx = ctx;
    while (text.len) {
        size_t room = sizeof r->held - r->n_held, n = text.len < PIECE ? text.len : PIECE;
        CHECK(room > 0);
        if (n > room) n = room;
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
    if (r->state == REPLY_ARGS || r->state == REPLY_QUOTED || r->state == REPLY_BROKEN) {
        if (r->state != REPLY_BROKEN && !r->broken) text_json_cut(&r->json, reply_put_arguments, r);
        reply_cut_call(r);
    } else if (r->state >= REPLY_KEYWORD) {
        reply_keywords_cut(r);
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
    tail = json_without_end_blanks(tail);
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
