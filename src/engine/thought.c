#include "engine/thought.h"

enum phase { NEVER, BEFORE, WITHIN, BEHIND };

void engine_thought_begin(engine_thought *t, const engine_thinking *how, const text_reply_format *words) {
    bool harmony = words && words->family == TEXT_REPLY_FAMILY_HARMONY;
    *t = (engine_thought){.how = how, .anywhere = harmony};
    if (!how->limited || !words || !words->thinks) return;
    t->open = harmony ? STR("<|channel|>analysis<|message|>") : words->think_open;
    t->close = harmony ? STR("<|end|>") : words->think_close;
    if (t->open.len && t->close.len && how->n_close) t->phase = how->begun ? WITHIN : BEFORE;
}

static bool is_allowed(const uint64_t *allowed, int32_t token) {
    return !allowed || allowed[token / 64] >> (token % 64) & 1;
}

int32_t engine_thought_due(engine_thought *t, const uint64_t *allowed) {
    const engine_thinking *how = t->how;
    bool closing = t->n_closing > 0;
    if (!closing && (t->phase != WITHIN || t->n_tokens < how->budget || t->partial)) return -1;
    int32_t token = how->close[t->n_closing];
    if (is_allowed(allowed, token)) return token;
    if (closing) t->phase = NEVER; /* what is half said is not said again and again */
    t->n_closing = 0;
    return -1;
}

/* Over one byte of the tag that is waited for; whether it is whole. Tags do not begin again within themselves. */
static bool match(engine_thought *t, str tag, char c) {
    if (t->matched && tag.data[t->matched] != c) t->matched = 0;
    if (tag.data[t->matched] == c) t->matched++;
    if (t->matched < tag.len) return false;
    t->matched = 0;
    return true;
}

static void take_byte(engine_thought *t, char c) {
    unsigned char byte = (unsigned char)c;
    bool blank = c == ' ' || c == '\n' || c == '\r' || c == '\t';
    if (byte < 0x80 || byte >= 0xC0) t->partial = byte >= 0xF0 ? 3 : byte >= 0xE0 ? 2 : byte >= 0xC0 ? 1 : 0;
    else if (t->partial) t->partial--;
    switch ((enum phase)t->phase) {
    case BEFORE:
        if (match(t, t->open, c)) t->phase = WITHIN;
        else if (!t->anywhere && !t->matched && !blank) t->phase = BEHIND;
        break;
    case WITHIN:
        if (match(t, t->close, c)) t->phase = BEFORE; /* of another one, which would be read as one */
        break;
    default: break;
    }
}

void engine_thought_note(engine_thought *t, int32_t due, str bytes) {
    if (t->phase == NEVER) return;
    if (due >= 0 && ++t->n_closing == t->how->n_close) t->n_closing = 0;
    t->n_tokens += t->phase == WITHIN && due < 0;
    for (size_t i = 0; i < bytes.len; i++) take_byte(t, bytes.data[i]);
}
