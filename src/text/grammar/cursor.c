/* Texts on their way through a machine. */
#include "base/check.h"
#include "text/grammar/internal.h"

static uint32_t start_state(text_grammar_machine *m, const text_grammar *g) {
    machine_set_begin(m);
    machine_reach(m, g, g->start, machine_node_of(m, g->serial, NODE_BOTTOM, 0, false, false));
    return machine_set_state(m);
}

text_grammar_verdict text_grammar_begin(text_grammar_machine *m, const text_grammar *g, text_grammar_cursor *c) {
    *c = (text_grammar_cursor){.grammar = g};
    machine_begin_work(m);
    if (!(c->state = start_state(m, g)) && m->full) {
        (void)machine_keep_only(m, 0);
        machine_begin_work(m);
        c->state = start_state(m, g);
    }
    c->epoch = m->epoch;
    return c->state ? TEXT_GRAMMAR_OK : m->full ? TEXT_GRAMMAR_TOO_COMPLEX : TEXT_GRAMMAR_REFUSED;
}

bool text_grammar_known(const text_grammar_machine *m, const text_grammar_cursor *c) {
    return c->state && c->epoch == m->epoch;
}

/* The cursor's own state must outlive what is forgotten half-way: it is kept until all bytes are read. */
static text_grammar_verdict step_all(text_grammar_machine *m, text_grammar_cursor *c, str bytes) {
    uint32_t state = c->state;
    for (size_t i = 0; i < bytes.len && state; i++)
        state = machine_step(m, c->grammar, state, (uint8_t)bytes.data[i]);
    if (!state) return m->full ? TEXT_GRAMMAR_TOO_COMPLEX : TEXT_GRAMMAR_REFUSED;
    c->state = state;
    return TEXT_GRAMMAR_OK;
}

static void forget_others(text_grammar_machine *m, text_grammar_cursor *c) {
    c->state = machine_keep_only(m, c->state);
    c->epoch = m->epoch;
}

/* A text that goes on may take its share. */
static void credit(const text_grammar_machine *m, text_grammar_cursor *c) {
    uint64_t due = m->most / MACHINE_WORK_SHARE;
    c->spent -= c->spent < due ? c->spent : due;
}

text_grammar_verdict text_grammar_accept_bytes(text_grammar_machine *m, text_grammar_cursor *c, str bytes) {
    CHECK(text_grammar_known(m, c));
    text_grammar_verdict v = TEXT_GRAMMAR_OK;
    machine_begin_work(m);
    credit(m, c);
    for (size_t at = 0, n; at < bytes.len && v == TEXT_GRAMMAR_OK; at += n) {
        n = bytes.len - at < TEXT_TOKEN_BYTES_MAX ? bytes.len - at : TEXT_TOKEN_BYTES_MAX;
        str piece = {bytes.data + at, n};
        m->full = false;
        v = step_all(m, c, piece);
        if (!machine_may_go_on(m, c)) return TEXT_GRAMMAR_TOO_COMPLEX;
        if (v != TEXT_GRAMMAR_TOO_COMPLEX) continue;
        forget_others(m, c);
        v = step_all(m, c, piece);
        if (!machine_may_go_on(m, c)) return TEXT_GRAMMAR_TOO_COMPLEX;
    }
    return v;
}

static bool waits_for_token(const text_grammar_machine *m, const text_grammar_cursor *c, text_token t) {
    const machine_state s = m->states[c->state];
    for (uint32_t i = 0; i < s.n; i++) {
        const machine_node *n = &m->nodes[m->members[s.first + i]];
        if (n->count == NODE_BOTTOM) continue;
        const grammar_op *o = &c->grammar->ops[n->place];
        if (o->kind == OP_TOKEN && o->a == (uint32_t)t) return true;
    }
    return false;
}

/* As that token; and as its bytes, where it has some: whichever goes on. */
static text_grammar_verdict step_token(text_grammar_machine *m, text_grammar_cursor *c, text_token t, str bytes) {
    text_grammar_cursor spelled = *c;
    m->full = false;
    text_grammar_verdict v = bytes.len ? step_all(m, &spelled, bytes) : TEXT_GRAMMAR_REFUSED;
    if (v == TEXT_GRAMMAR_TOO_COMPLEX) return v;
    machine_set_begin(m);
    const machine_state s = m->states[c->state];
    for (uint32_t i = 0; i < s.n; i++) {
        const machine_node n = m->nodes[m->members[s.first + i]];
        if (n.count == NODE_BOTTOM) continue;
        const grammar_op *o = &c->grammar->ops[n.place];
        if (o->kind == OP_TOKEN && o->a == (uint32_t)t) machine_reach(m, c->grammar, n.place + 1, n.parent);
    }
    const machine_state also = m->states[v == TEXT_GRAMMAR_OK ? spelled.state : 0];
    for (uint32_t i = 0; i < also.n; i++) machine_set_add(m, m->members[also.first + i]);
    uint32_t to = machine_set_state(m);
    if (!to) return m->full ? TEXT_GRAMMAR_TOO_COMPLEX : TEXT_GRAMMAR_REFUSED;
    c->state = to;
    return TEXT_GRAMMAR_OK;
}

text_grammar_verdict text_grammar_accept(text_grammar_machine *m, text_grammar_cursor *c, text_token t) {
    CHECK(text_grammar_known(m, c) && m->index);
    char text[TEXT_TOKEN_BYTES_MAX];
    bool ends = text_vocab_is_eog(m->index->vocab, t); /* never meant as text */
    str bytes = {text, ends ? 0 : text_token_bytes(m->index->vocab, t, false, text)};
    if (!waits_for_token(m, c, t)) return bytes.len ? text_grammar_accept_bytes(m, c, bytes) : TEXT_GRAMMAR_REFUSED;
    machine_begin_work(m);
    credit(m, c);
    text_grammar_verdict v = step_token(m, c, t, bytes);
    if (!machine_may_go_on(m, c)) return TEXT_GRAMMAR_TOO_COMPLEX;
    if (v != TEXT_GRAMMAR_TOO_COMPLEX) return v;
    forget_others(m, c);
    return step_token(m, c, t, bytes);
}

bool text_grammar_may_end(const text_grammar_machine *m, const text_grammar_cursor *c) {
    const machine_state s = m->states[c->state];
    for (uint32_t i = 0; i < s.n; i++)
        if (m->nodes[m->members[s.first + i]].count == NODE_BOTTOM) return true;
    return false;
}
