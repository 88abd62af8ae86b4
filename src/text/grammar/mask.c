/* Which tokens may come next: the vocabulary's tree of bytes is walked along the machine's states. */
#include "base/check.h"
#include "text/grammar/internal.h"

static void set_bit(uint64_t *bits, uint32_t i) { bits[i / 64] |= UINT64_C(1) << (i % 64); }

static void merge(uint64_t *bits, const uint64_t *more, uint32_t n_words) {
    for (uint32_t i = 0; i < n_words; i++) bits[i] |= more[i];
}

/* Bytes that may come next, and perhaps a few that may not: with most, a tree's root need not be asked. */
static void likely_bytes(const text_grammar_machine *m, const text_grammar *g, uint32_t state, bool likely[256]) {
    const machine_state s = m->states[state];
    memset(likely, 0, 256);
    for (uint32_t i = 0; i < s.n; i++) {
        const machine_node *n = &m->nodes[m->members[s.first + i]];
        if (n->count == NODE_BOTTOM) continue;
        const grammar_op *o = &g->ops[n->place];
        if (o->kind == OP_TEXT) likely[(uint8_t)g->texts[o->a + n->count]] = true;
        else if (o->kind == OP_KEYS) machine_keys_likely(g, n, likely);
        else if (o->kind == OP_UNTIL) memset(likely, true, 256);
        else if (o->kind == OP_MULTIPLE) memset(likely + '-', true, '9' - '-' + 1);
        else if (o->kind == OP_STRING || (o->kind == OP_CLASS && n->count)) memset(likely + 0x20, true, 256 - 0x20);
        if (o->kind != OP_CLASS || n->count) continue;
        for (const grammar_range *r = g->ranges + o->a, *end = r + o->b; r < end; r++) {
            if (r->low < 0x80) memset(likely + r->low, true, (r->high < 0x80 ? r->high : 0x7F) - r->low + 1);
            if (r->high >= 0x80) memset(likely + 0x80, true, 0x80);
        }
    }
}

/* The subtree of one node. frugal: what the walk makes is forgotten when it comes back from there, so that one path
 * must fit, not all of them. */
static bool walk(text_grammar_machine *m, const text_grammar *g, uint32_t root, uint32_t from, bool frugal,
                 uint64_t *bits) {
    const text_token_index *x = m->index;
    uint32_t depth = 0, to = x->nodes[from].skip;
    m->path[0] = root;
    m->ends[0] = to;
    m->marks[0] = m->used;
    for (uint32_t i = from; i < to;) {
        while (i >= m->ends[depth]) depth--;
        if (frugal) machine_rewind(m, m->marks[depth]);
        uint32_t state = machine_step(m, g, m->path[depth], (uint8_t)x->nodes[i].byte);
        if (!state && m->full) return false;
        if (!state) {
            i = x->nodes[i].skip;
            continue;
        }
        for (uint32_t t = x->nodes[i].tokens; t < x->nodes[i + 1].tokens; t++) set_bit(bits, x->order[t]);
        m->path[++depth] = state;
        m->ends[depth] = x->nodes[i].skip;
        m->marks[depth] = m->used;
        i++;
    }
    return true;
}

static bool walk_tree(text_grammar_machine *m, const text_grammar *g, uint32_t root, const uint32_t first[256],
                      bool frugal, uint64_t *bits) {
    bool likely[256];
    likely_bytes(m, g, root, likely);
    for (int byte = 0; byte < 256; byte++)
        if (likely[byte] && first[byte] && !walk(m, g, root, first[byte] - 1, frugal, bits)) return false;
    return true;
}

/* Inside a JSON string every plain token may come that is not too long: they need not be walked. Others' nodes,
 * with which they must be walked, are left in the set. */
static void take_strings(text_grammar_machine *m, const text_grammar *g, uint32_t state, uint64_t *bits) {
    const text_token_index *x = m->index;
    const machine_state s = m->states[state];
    machine_set_begin(m);
    for (uint32_t i = 0; i < s.n; i++) {
        uint32_t node = m->members[s.first + i];
        const machine_node *n = &m->nodes[node];
        const grammar_op *o = n->count == NODE_BOTTOM ? NULL : &g->ops[n->place];
        bool between = o && o->kind == OP_STRING && !(n->count & ((1u << STRING_COUNT_SHIFT) - 1));
        uint32_t left = between ? o->b - (n->count >> STRING_COUNT_SHIFT) : 0;
        if (between && (o->b == GRAMMAR_UNBOUNDED || left >= x->longest_plain))
            left = INDEX_PLAIN_STEPS;
        else if (!between || left >= INDEX_PLAIN_STEPS) {
            machine_set_add(m, node);
            continue;
        }
        merge(bits, x->plain + (size_t)left * x->n_words, x->n_words);
    }
}

static void take_single_tokens(text_grammar_machine *m, const text_grammar *g, uint32_t state, uint64_t *bits) {
    const machine_state s = m->states[state];
    for (uint32_t i = 0; i < s.n; i++) {
        const machine_node *n = &m->nodes[m->members[s.first + i]];
        if (n->count == NODE_BOTTOM)
            merge(bits, m->index->ends, m->index->n_words);
        else if (g->ops[n->place].kind == OP_TOKEN)
            set_bit(bits, g->ops[n->place].a);
    }
}

static bool fill(text_grammar_machine *m, const text_grammar *g, uint32_t state, bool frugal, uint64_t *bits) {
    const text_token_index *x = m->index;
    memset(bits, 0, x->n_words * sizeof *bits);
    take_single_tokens(m, g, state, bits);
    take_strings(m, g, state, bits);
    uint32_t others = machine_set_state(m);
    if (!others && m->full) return false;
    if (others && !walk_tree(m, g, others, x->first_plain, frugal, bits)) return false;
    return walk_tree(m, g, state, x->first_other, frugal, bits);
}

static uint32_t oldest_slot(const text_grammar_machine *m) {
    uint32_t oldest = 0;
    for (uint32_t i = 1; i < m->n_masks && m->mask_state[oldest]; i++)
        if (!m->mask_state[i] || m->mask_used[i] < m->mask_used[oldest]) oldest = i;
    return oldest;
}

/* The slot of the cursor's mask, + 1. 0: the machine is full. */
static uint32_t slot_of(text_grammar_machine *m, const text_grammar_cursor *c, bool frugal) {
    m->full = false;
    uint32_t normal = machine_normal(m, c->grammar, c->state);
    if (!normal) return 0;
    if (m->states[normal].mask) return m->states[normal].mask;
    uint32_t slot = oldest_slot(m);
    if (m->mask_state[slot]) m->states[m->mask_state[slot]].mask = 0;
    m->mask_state[slot] = 0;
    if (!fill(m, c->grammar, normal, frugal, m->masks + (size_t)slot * m->index->n_words)) return 0;
    m->mask_state[slot] = normal;
    return m->states[normal].mask = slot + 1;
}

text_grammar_verdict text_grammar_mask(text_grammar_machine *m, text_grammar_cursor *c, const uint64_t **mask) {
    CHECK(text_grammar_known(m, c) && m->index);
    machine_begin_work(m);
    uint32_t slot = slot_of(m, c, false), n_words = m->index->n_words;
    if (!slot && machine_may_go_on(m, c)) {
        c->state = machine_keep_only(m, c->state);
        c->epoch = m->epoch;
        slot = slot_of(m, c, true);
    }
    if (!slot || !machine_may_go_on(m, c)) return TEXT_GRAMMAR_TOO_COMPLEX;
    m->mask_used[slot - 1] = ++m->clock;
    *mask = m->masks + (size_t)(slot - 1) * n_words;
    uint64_t any = 0;
    for (uint32_t i = 0; i < n_words && !any; i++) any = (*mask)[i];
    return any ? TEXT_GRAMMAR_OK : TEXT_GRAMMAR_REFUSED;
}
