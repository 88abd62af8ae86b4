/* States: sets of places in the code, each over the frames that lead there. All alike are one, so texts meet again.
 */
#include "base/check.h"
#include "text/grammar/internal.h"

enum {
    STRING_PLAIN = UTF8_NONE,
    STRING_ESCAPE = UTF8_STATES,
    STRING_HEX_1,
    STRING_HEX_2,
    STRING_HEX_3,
    STRING_HEX_4,
    STRING_HEX_D
};

/* ---- memory ---- */

static uint32_t mixed(uint32_t a, uint32_t b, uint32_t c) {
    uint64_t h =
        (uint64_t)a * 0x9E3779B97F4A7C15u ^ (uint64_t)b * 0xC2B2AE3D27D4EB4Fu ^ (uint64_t)c * 0x165667B19E3779F9u;
    h ^= h >> 29;
    h *= 0xBF58476D1CE4E5B9u;
    return (uint32_t)(h >> 40) % MACHINE_HEADS;
}

static uint32_t node_hash(uint32_t place, uint32_t count, uint32_t parent) { return mixed(place, count, parent); }
static uint32_t edge_hash(uint32_t from, uint8_t byte) { return mixed(from, byte, 1); }

static uint32_t state_hash(const uint32_t *members, uint32_t n) {
    uint32_t h = n;
    for (uint32_t i = 0; i < n; i++) h = (h ^ members[i]) * 0x9E3779B1u;
    return mixed(h, n, 2);
}

uint32_t machine_node_of(text_grammar_machine *m, uint32_t place, uint32_t count, uint32_t parent, bool calls,
                         bool counts) {
    uint32_t *head = &m->node_heads[node_hash(place, count, parent)];
    for (uint32_t i = *head; i; i = m->nodes[i].chain)
        if (m->nodes[i].place == place && m->nodes[i].count == count && m->nodes[i].parent == parent) return i;
    if (m->used.n_nodes == MACHINE_NODES) return m->full = true, 0;
    uint32_t id = m->used.n_nodes++;
    const machine_node *under = &m->nodes[parent];
    m->nodes[id] = (machine_node){.place = place,
                                  .count = count,
                                  .parent = parent,
                                  .chain = *head,
                                  .depth = (uint16_t)(under->depth + calls),
                                  .counted = counts || under->counted};
    return *head = id;
}

static void forget_all(text_grammar_machine *m) {
    m->used = (machine_size){1, 1, 0, 1};
    m->nodes[0] = (machine_node){0};
    m->states[0] = (machine_state){0};
    memset(m->node_heads, 0, MACHINE_HEADS * sizeof *m->node_heads);
    memset(m->state_heads, 0, MACHINE_HEADS * sizeof *m->state_heads);
    memset(m->edge_heads, 0, MACHINE_HEADS * sizeof *m->edge_heads);
    for (uint32_t i = 0; i < m->n_masks; i++) m->mask_state[i] = 0;
}

static uint32_t mask_words(const text_token_index *x) { return x ? x->n_words : 0; }

static uint32_t mask_slots(const text_token_index *x) {
    if (!x) return 0;
    size_t n = MACHINE_MASK_BYTES / (x->n_words * sizeof(uint64_t));
    return n < MACHINE_MASKS_LEAST  ? MACHINE_MASKS_LEAST
           : n > MACHINE_MASKS_MOST ? MACHINE_MASKS_MOST
                                    : (uint32_t)n;
}

static size_t rounded(size_t bytes) { return (bytes + 63) & ~(size_t)63; }

/* Where its tables lie behind it; m NULL: only how many bytes all take. */
static size_t layout(text_grammar_machine *m, const text_token_index *x) {
    size_t at = rounded(sizeof *m), slots = mask_slots(x);
#define TABLE(field, count)                                                                                        \
    do {                                                                                                           \
        if (m) m->field = (void *)((char *)m + at);                                                                \
        at += rounded((count) * sizeof *m->field);                                                                 \
    } while (0)
    TABLE(nodes, MACHINE_NODES);
    TABLE(states, MACHINE_STATES);
    TABLE(members, MACHINE_MEMBERS);
    TABLE(edges, MACHINE_EDGES);
    TABLE(node_heads, MACHINE_HEADS);
    TABLE(state_heads, MACHINE_HEADS);
    TABLE(edge_heads, MACHINE_HEADS);
    TABLE(visits, MACHINE_VISITS);
    TABLE(masks, slots * mask_words(x));
    TABLE(mask_state, slots);
    TABLE(mask_used, slots);
#undef TABLE
    return at;
}

size_t text_grammar_machine_bytes(const text_token_index *index) { return layout(NULL, index); }

text_grammar_machine *text_grammar_machine_init(void *memory, const text_token_index *index) {
    text_grammar_machine *m = memory;
    memset(m, 0, sizeof *m);
    layout(m, index);
    m->index = index;
    m->epoch = 1;
    m->n_masks = mask_slots(index);
    memset(m->mask_used, 0, m->n_masks * sizeof *m->mask_used);
    memset(m->visits, 0, MACHINE_VISITS * sizeof *m->visits);
    forget_all(m);
    return m;
}

/* ---- how long it may take ---- */

void machine_begin_work(text_grammar_machine *m) {
    m->spent = 0;
    m->most = MACHINE_WORK_LEAST + MACHINE_WORK_WALKS * (uint64_t)(m->index ? m->index->n_nodes : 0);
}

bool machine_may_go_on(text_grammar_machine *m, text_grammar_cursor *c) {
    bool within = m->spent <= m->most;
    c->spent += m->spent;
    m->spent = 0;
    return within && c->spent <= MACHINE_WORK_BURST * m->most;
}

static bool out_of_work(text_grammar_machine *m) {
    if (m->spent > m->most) m->full = true;
    return m->full;
}

/* ---- a set of nodes, on its way to a state ---- */

void machine_set_begin(text_grammar_machine *m) {
    m->n_set = m->n_visits = 0;
    m->full = false;
    if (++m->set_mark) return;
    for (uint32_t i = 0; i < MACHINE_NODES; i++) m->nodes[i].mark = 0;
    memset(m->visits, 0, MACHINE_VISITS * sizeof *m->visits);
    m->set_mark = 1;
}

void machine_set_add(text_grammar_machine *m, uint32_t node) {
    if (!node || m->nodes[node].mark == m->set_mark) return;
    if (m->n_set == MACHINE_SET_MAX) {
        m->full = true;
        return;
    }
    m->nodes[node].mark = m->set_mark;
    uint32_t i = m->n_set++;
    for (; i > 0 && m->set[i - 1] > node; i--) m->set[i] = m->set[i - 1];
    m->spent += 1 + (m->n_set - i) / 8;
    m->set[i] = node;
}

uint32_t machine_set_state(text_grammar_machine *m) {
    if (m->full || !m->n_set) return 0;
    uint32_t *head = &m->state_heads[state_hash(m->set, m->n_set)];
    for (uint32_t i = *head; i; i = m->states[i].chain)
        if (m->states[i].n == m->n_set &&
            !memcmp(m->members + m->states[i].first, m->set, m->n_set * sizeof *m->set))
            return i;
    if (m->used.n_states == MACHINE_STATES || m->used.n_members + m->n_set > MACHINE_MEMBERS)
        return m->full = true, 0;
    uint32_t id = m->used.n_states++;
    memcpy(m->members + m->used.n_members, m->set, m->n_set * sizeof *m->set);
    m->states[id] = (machine_state){.first = m->used.n_members, .n = m->n_set, .chain = *head};
    m->used.n_members += m->n_set;
    return *head = id;
}

/* ---- forgetting ---- */

/* What was made last goes first, so it is at the head of its chain. */
void machine_rewind(text_grammar_machine *m, machine_size to) {
    while (m->used.n_edges > to.n_edges) {
        const machine_edge *x = &m->edges[--m->used.n_edges];
        m->edge_heads[edge_hash(x->from, x->byte)] = x->chain;
    }
    while (m->used.n_states > to.n_states) {
        const machine_state *s = &m->states[--m->used.n_states];
        m->state_heads[state_hash(m->members + s->first, s->n)] = s->chain;
        if (s->mask) m->mask_state[s->mask - 1] = 0;
    }
    m->used.n_members = to.n_members;
    while (m->used.n_nodes > to.n_nodes) {
        const machine_node *n = &m->nodes[--m->used.n_nodes];
        m->node_heads[node_hash(n->place, n->count, n->parent)] = n->chain;
    }
}

/* Parents are older than their children: one pass down marks what is needed, one pass up moves it together. */
uint32_t machine_keep_only(text_grammar_machine *m, uint32_t state) {
    machine_set_begin(m);
    uint32_t n_nodes = m->used.n_nodes, *moved_to = (uint32_t *)(void *)m->edges; /* those are forgotten */
    m->n_set = m->states[state].n;
    memcpy(m->set, m->members + m->states[state].first, m->n_set * sizeof *m->set);
    for (uint32_t i = 0; i < m->n_set; i++) m->nodes[m->set[i]].mark = m->set_mark;
    for (uint32_t i = n_nodes; i-- > 1;)
        if (m->nodes[i].mark == m->set_mark) m->nodes[m->nodes[i].parent].mark = m->set_mark;
    forget_all(m);
    m->epoch++;
    m->spent += m->most / MACHINE_WORK_FORGET; /* other texts are read again */
    moved_to[0] = 0;
    for (uint32_t i = 1; i < n_nodes; i++) {
        if (m->nodes[i].mark != m->set_mark) continue;
        uint32_t to = moved_to[i] = m->used.n_nodes++;
        machine_node *n = &m->nodes[to];
        *n = m->nodes[i];
        n->parent = moved_to[n->parent];
        uint32_t *head = &m->node_heads[node_hash(n->place, n->count, n->parent)];
        n->chain = *head;
        *head = to;
    }
    for (uint32_t i = 0; i < m->n_set; i++) m->set[i] = moved_to[m->set[i]];
    return machine_set_state(m);
}

/* ---- from a place, over all that takes no text, to places that wait for some ---- */

/* Where a place over a frame is noted, or would be. */
static machine_visit *visit(text_grammar_machine *m, uint32_t place, uint32_t parent) {
    uint32_t at = place * 0x9E3779B1u ^ parent * 0x85EBCA77u;
    for (at ^= at >> 15;; at++) {
        machine_visit *v = &m->visits[at % MACHINE_VISITS];
        if (v->mark != m->set_mark || (v->place == place && v->parent == parent)) return v;
    }
}

static bool visited(text_grammar_machine *m, uint32_t place, uint32_t parent) {
    return visit(m, place, parent)->mark == m->set_mark;
}

/* Nothing is gone through twice on the way to one set: so a way that takes no text comes to an end, however loops that
 * may be empty lie inside one another, and many ways to one place count once. */
static void push(text_grammar_machine *m, uint32_t place, uint32_t parent) {
    if (m->full) return; /* also when the parent could not be made */
    machine_visit *v = visit(m, place, parent);
    if (v->mark == m->set_mark) return;
    if (m->n_work == MACHINE_WORK_MAX || m->n_visits == MACHINE_VISITS_MAX) {
        m->full = true;
        return;
    }
    *v = (machine_visit){place, parent, m->set_mark};
    m->n_visits++;
    m->work[m->n_work].place = place;
    m->work[m->n_work++].parent = parent;
}

/* One time more of what may be empty, and was: it says what the time before it says, and leaves fewer to come. (A
 * list's first time is not like the others: it has no separator.) */
static bool went_in_vain(text_grammar_machine *m, const grammar_op *o, const machine_node *f, uint32_t frame) {
    return o->b != GRAMMAR_UNBOUNDED && o[2].nullable && (f->count || !o->loop) && visited(m, f->place + 2, frame);
}

static void return_to(text_grammar_machine *m, const text_grammar *g, uint32_t frame) {
    const machine_node f = m->nodes[frame];
    if (f.count == NODE_BOTTOM) {
        machine_set_add(m, frame);
        return;
    }
    const grammar_op *o = &g->ops[f.place];
    if (o->kind == OP_CALL) {
        push(m, f.place + 1, f.parent);
        return;
    }
    if (went_in_vain(m, o, &f, frame)) return;
    uint32_t count = f.count + 1;
    if (o->b == GRAMMAR_UNBOUNDED && count > o->a) count = o->a;
    if (count >= o->a) push(m, f.place + 1, f.parent);
    if (f.count + 1 < o->b) push(m, f.place + 2, machine_node_of(m, f.place, count, f.parent, false, true));
}

static void enter(text_grammar_machine *m, const text_grammar *g, uint32_t place, uint32_t parent) {
    const grammar_op *o = &g->ops[place];
    if (m->nodes[parent].depth + o->need > GRAMMAR_DEPTH_MAX) return;
    switch ((grammar_op_kind)o->kind) {
    case OP_SPLIT:
        push(m, o->b, parent);
        push(m, o->a, parent);
        return;
    case OP_JUMP: push(m, o->a, parent); return;
    case OP_CALL: /* a call before RET needs no frame */
        push(m, o->a, o->loop ? parent : machine_node_of(m, place, 0, parent, true, false));
        return;
    case OP_RET: return_to(m, g, parent); return;
    case OP_REPEAT:
        if (o->a == 0) push(m, place + 1, parent);
        push(m, place + 2 + o->loop, machine_node_of(m, place, 0, parent, false, true));
        return;
    case OP_FAIL: return;
    case OP_STRING: machine_set_add(m, machine_node_of(m, place, 0, parent, false, true)); return;
    case OP_UNTIL:
        machine_set_add(m, machine_node_of(m, place, machine_until_begin(o), parent, false, true));
        return;
    default: machine_set_add(m, machine_node_of(m, place, 0, parent, false, false)); return;
    }
}

void machine_reach(text_grammar_machine *m, const text_grammar *g, uint32_t place, uint32_t parent) {
    m->n_work = 0;
    push(m, place, parent);
    while (m->n_work && !out_of_work(m)) {
        m->n_work--;
        m->spent++;
        enter(m, g, m->work[m->n_work].place, m->work[m->n_work].parent);
    }
}

/* ---- one byte ---- */

/* A character on its way, in a node's count: 2 bits how many bytes are to come, 2 bits how many it has in all, then
 * what is known of it. 0: not begun. */
static bool class_has(const text_grammar *g, const grammar_op *o, uint32_t low, uint32_t high) {
    const grammar_range *r = g->ranges + o->a;
    uint32_t from = 0, to = o->b;
    while (from < to) { /* the first range that ends at low or later */
        uint32_t middle = (from + to) / 2;
        if (r[middle].high < low)
            from = middle + 1;
        else
            to = middle;
    }
    return from < o->b && r[from].low <= high;
}

static void step_class(text_grammar_machine *m, const text_grammar *g, machine_node n, uint8_t byte) {
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    const grammar_op *o = &g->ops[n.place];
    uint32_t left = n.count >> 30, all = (n.count >> 28 & 3) + 1, cp = n.count & 0x1FFFFF;
    if (left) {
        if ((byte & 0xC0) != 0x80) return;
        cp = cp << 6 | (byte & 0x3F);
        left--;
    } else if (byte < 0x80) {
        all = 1, cp = byte;
    } else {
        all = byte >= 0xF0 ? 4 : byte >= 0xE0 ? 3 : 2;
        if (byte < 0xC2 || byte > 0xF4) return;
        cp = byte & (0x7Fu >> all);
        left = all - 1;
    }
    uint32_t low = cp << 6 * left, high = low | ((1u << 6 * left) - 1);
    if (low < least[all]) low = least[all];
    if (low > high || (low >= 0xD800 && high <= 0xDFFF) || !class_has(g, o, low, high)) return;
    if (left)
        machine_set_add(m, machine_node_of(m, n.place, left << 30 | (all - 1) << 28 | cp, n.parent, false, false));
    else
        machine_reach(m, g, n.place + 1, n.parent);
}

int machine_utf8_begin(uint8_t c) {
    if (c < 0x80) return UTF8_NONE;
    if (c < 0xC2 || c > 0xF4) return -1;
    if (c < 0xE0) return UTF8_1;
    if (c < 0xF0) return c == 0xE0 ? UTF8_E0 : c == 0xED ? UTF8_ED : UTF8_2;
    return c == 0xF0 ? UTF8_F0 : c == 0xF4 ? UTF8_F4 : UTF8_3;
}

int machine_utf8_go_on(int inside, uint8_t c) {
    switch (inside) {
    case UTF8_1: return (c & 0xC0) == 0x80 ? UTF8_NONE : -1;
    case UTF8_2: return (c & 0xC0) == 0x80 ? UTF8_1 : -1;
    case UTF8_3: return (c & 0xC0) == 0x80 ? UTF8_2 : -1;
    case UTF8_E0: return c >= 0xA0 && c <= 0xBF ? UTF8_1 : -1;
    case UTF8_ED: return c >= 0x80 && c <= 0x9F ? UTF8_1 : -1; /* no surrogates */
    case UTF8_F0: return c >= 0x90 && c <= 0xBF ? UTF8_2 : -1;
    case UTF8_F4: return c >= 0x80 && c <= 0x8F ? UTF8_2 : -1;
    default: return -1;
    }
}

static bool is_hex(uint8_t c) { return (c >= '0' && c <= '9') || ((c | 0x20) >= 'a' && (c | 0x20) <= 'f'); }

/* The first byte of a character of a JSON string: what follows; −1: none begins so. */
static int string_begin(uint8_t c) {
    if (c < 0x20 || c == '"') return -1;
    if (c == '\\') return STRING_ESCAPE;
    return machine_utf8_begin(c);
}

static int string_go_on(int inside, uint8_t c) {
    switch (inside) {
    case STRING_ESCAPE: return c == 'u' ? STRING_HEX_1 : c && strchr("\"\\/bfnrt", c) ? STRING_PLAIN : -1;
    case STRING_HEX_1: return !is_hex(c) ? -1 : (c | 0x20) == 'd' ? STRING_HEX_D : STRING_HEX_2;
    case STRING_HEX_D: return c >= '0' && c <= '7' ? STRING_HEX_3 : -1; /* nor escaped ones */
    case STRING_HEX_2: return is_hex(c) ? STRING_HEX_3 : -1;
    case STRING_HEX_3: return is_hex(c) ? STRING_HEX_4 : -1;
    case STRING_HEX_4: return is_hex(c) ? STRING_PLAIN : -1;
    default: return machine_utf8_go_on(inside, c);
    }
}

static void step_string(text_grammar_machine *m, const text_grammar *g, machine_node n, uint8_t byte) {
    const grammar_op *o = &g->ops[n.place];
    uint32_t count = n.count >> STRING_COUNT_SHIFT;
    int inside = (int)(n.count & ((1 << STRING_COUNT_SHIFT) - 1));
    if (inside == STRING_PLAIN && byte == '"') {
        if (count >= o->a) machine_reach(m, g, n.place + 1, n.parent);
        return;
    }
    if (inside == STRING_PLAIN) {
        inside = count < o->b ? string_begin(byte) : -1;
        if (o->b != GRAMMAR_UNBOUNDED || count < o->a) count++; /* without a most, only the least is counted */
    } else {
        inside = string_go_on(inside, byte);
    }
    if (inside < 0) return;
    machine_set_add(
        m, machine_node_of(m, n.place, count << STRING_COUNT_SHIFT | (uint32_t)inside, n.parent, false, true));
}

static void step_until(text_grammar_machine *m, const text_grammar *g, machine_node n, uint8_t byte) {
    int64_t count = machine_until_step(g, &g->ops[n.place], n.count, byte);
    if (count == UNTIL_DONE) machine_reach(m, g, n.place + 2, n.parent);
    if (count >= 0) machine_set_add(m, machine_node_of(m, n.place, (uint32_t)count, n.parent, false, true));
}

static void step_node(text_grammar_machine *m, const text_grammar *g, uint32_t node, uint8_t byte) {
    const machine_node n = m->nodes[node];
    if (n.count == NODE_BOTTOM) return;
    const grammar_op *o = &g->ops[n.place];
    if (o->kind == OP_CLASS)
        step_class(m, g, n, byte);
    else if (o->kind == OP_STRING)
        step_string(m, g, n, byte);
    else if (o->kind == OP_UNTIL)
        step_until(m, g, n, byte);
    else if (o->kind == OP_MULTIPLE)
        machine_multiple_step(m, g, node, byte);
    else if (o->kind == OP_KEYS)
        machine_keys_step(m, g, n, byte);
    else if (o->kind == OP_TEXT && (uint8_t)g->texts[o->a + n.count] == byte) {
        if (n.count + 1 < o->b)
            machine_set_add(m, machine_node_of(m, n.place, n.count + 1, n.parent, false, false));
        else
            machine_reach(m, g, n.place + 1, n.parent);
    }
}

uint32_t machine_step(text_grammar_machine *m, const text_grammar *g, uint32_t state, uint8_t byte) {
    m->spent++;
    if (out_of_work(m)) return 0;
    uint32_t *head = &m->edge_heads[edge_hash(state, byte)];
    for (uint32_t i = *head; i; i = m->edges[i].chain)
        if (m->edges[i].from == state && m->edges[i].byte == byte) return m->edges[i].to;
    machine_set_begin(m);
    const machine_state s = m->states[state];
    for (uint32_t i = 0; i < s.n; i++) step_node(m, g, m->members[s.first + i], byte);
    m->spent += s.n;
    uint32_t to = machine_set_state(m);
    if (to && m->used.n_edges < MACHINE_EDGES) {
        m->edges[m->used.n_edges] = (machine_edge){.from = state, .to = to, .byte = byte, .chain = *head};
        *head = m->used.n_edges++;
    }
    return to;
}

/* ---- the state that has the same mask ---- */

/* No token is long enough to tell counts apart that are far from both bounds. */
static uint32_t normal_count(const text_grammar_machine *m, const grammar_op *o, uint32_t count) {
    uint32_t reach_most = m->index->longest_bytes + (o->kind == OP_UNTIL ? GRAMMAR_TAG_MAX : 0); /* not yet counted */
    if (count < o->a) return o->a - count > reach_most ? 0 : count;
    return o->b == GRAMMAR_UNBOUNDED || o->b - count > reach_most ? o->a : count;
}

static uint32_t normal_node(text_grammar_machine *m, const text_grammar *g, uint32_t node) {
    const machine_node n = m->nodes[node];
    if (!n.counted || m->full) return node;
    const grammar_op *o = &g->ops[n.place];
    uint32_t parent = normal_node(m, g, n.parent), count = n.count;
    int shift = o->kind == OP_STRING ? STRING_COUNT_SHIFT : o->kind == OP_UNTIL ? UNTIL_COUNT_SHIFT : 0;
    bool counts = shift || o->kind == OP_REPEAT;
    if (counts) count = normal_count(m, o, count >> shift) << shift | (count & ((1u << shift) - 1));
    return machine_node_of(m, n.place, count, parent, o->kind == OP_CALL, counts);
}

uint32_t machine_normal(text_grammar_machine *m, const text_grammar *g, uint32_t state) {
    if (m->states[state].normal) return m->states[state].normal;
    machine_set_begin(m);
    const machine_state s = m->states[state];
    for (uint32_t i = 0; i < s.n && !m->full; i++) machine_set_add(m, normal_node(m, g, m->members[s.first + i]));
    uint32_t normal = machine_set_state(m);
    if (normal) m->states[state].normal = m->states[normal].normal = normal;
    return normal;
}
