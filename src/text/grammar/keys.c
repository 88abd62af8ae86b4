/* Which of many keys comes next. One place stands for all that may: not one for each, of which a set would be too
 * large. A chain of KEYS, one for each key in the schema's order, each with the way that goes on behind its key: at
 * one of them its own key and all behind it may come. */
#include "base/check.h"
#include "text/grammar/internal.h"

enum { KEY_BYTES_BITS = 16, KEYS_BITS = 15, KEYS_A_UNIT = 8 }; /* of work */

/* ---- building ---- */

uint32_t grammar_keys_begin(const grammar_builder *b) { return (uint32_t)b->n_keys; }

void grammar_keys_add(grammar_builder *b, str text, uint32_t index) {
    if (text.len >> KEY_BYTES_BITS || index >> KEYS_BITS) {
        grammar_fail(b, ERR_INVALID, "it is too large: more than %d members, or a name of more than %d bytes",
                     1 << KEYS_BITS, 1 << KEY_BYTES_BITS);
        return;
    }
    if (!grammar_grow(b, (void **)&b->keys, &b->keys_cap, b->n_keys + 1, GRAMMAR_OPS_MAX, sizeof *b->keys, "members") ||
        !grammar_grow(b, (void **)&b->texts, &b->texts_cap, b->n_texts + text.len, GRAMMAR_TEXT_BYTES_MAX, 1,
                      "bytes of text"))
        return;
    memcpy(b->texts + b->n_texts, text.data, text.len);
    b->keys[b->n_keys++] = (grammar_key){(uint32_t)b->n_texts, (uint32_t)text.len, index};
    b->n_texts += text.len;
}

static str key_text(const char *texts, const grammar_key *k) { return (str){texts + k->text, k->len}; }

static bool before(const char *texts, const grammar_key *x, const grammar_key *y) {
    size_t n = x->len < y->len ? x->len : y->len;
    int order = memcmp(texts + x->text, texts + y->text, n);
    return order ? order < 0 : x->len < y->len;
}

/* A heap's order from i down. */
static void sink(const char *texts, grammar_key *k, size_t i, size_t n) {
    for (size_t child; (child = 2 * i + 1) < n; i = child) {
        if (child + 1 < n && before(texts, &k[child], &k[child + 1])) child++;
        if (!before(texts, &k[i], &k[child])) return;
        grammar_key x = k[i];
        k[i] = k[child];
        k[child] = x;
    }
}

void grammar_keys_end(grammar_builder *b, uint32_t first) {
    size_t n = b->n_keys - first;
    grammar_key *k = b->keys + first;
    if (b->failed) return;
    for (size_t i = n / 2; i-- > 0;) sink(b->texts, k, i, n);
    for (size_t end = n; end-- > 1;) {
        grammar_key x = k[0];
        k[0] = k[end];
        k[end] = x;
        sink(b->texts, k, 0, end);
    }
    b->steps += (uint32_t)n;
}

uint32_t grammar_keys_emit(grammar_builder *b, uint32_t first, uint32_t n_keys, uint32_t n) {
    uint32_t start = grammar_here(b), list = (uint32_t)b->n_lists;
    if (!grammar_grow(b, (void **)&b->lists, &b->lists_cap, b->n_lists + 1, GRAMMAR_OPS_MAX, sizeof *b->lists, "lists"))
        return 0;
    b->lists[b->n_lists++] = (grammar_list){.first = first, .n = n_keys, .base = GRAMMAR_UNBOUNDED};
    for (uint32_t i = 0; i < n; i++) grammar_set_target(b, grammar_emit(b, OP_KEYS, 0, list), false, start + n);
    grammar_emit(b, OP_FAIL, 0, 0);
    return start;
}

/* ---- reading ---- */

/* Keys from `from` on are alike in their first `at` bytes: the first of them whose next byte (−1: none) is not below
 * `byte`, or that is not alike. */
static uint32_t first_not_below(const text_grammar *g, const grammar_list *l, uint32_t from, uint32_t at, int byte) {
    str like = key_text(g->texts, &g->keys[l->first + from]);
    uint32_t to = l->n;
    while (from < to) {
        uint32_t middle = from + (to - from) / 2;
        str k = key_text(g->texts, &g->keys[l->first + middle]);
        bool alike = k.len >= at && !memcmp(k.data, like.data, at);
        if (alike && (k.len == at ? -1 : (uint8_t)k.data[at]) < byte) from = middle + 1;
        else to = middle;
    }
    return from;
}

/* Whether a key may come: it stands at the node's place or behind it, and what follows it can be ended. */
static bool may_come(const text_grammar_machine *m, const text_grammar *g, machine_node n, const grammar_list *l,
                     uint32_t i) {
    uint32_t place = l->base + g->keys[l->first + i].index;
    return place >= n.place && m->nodes[n.parent].depth + g->ops[g->ops[place].a].need <= GRAMMAR_DEPTH_MAX;
}

void machine_keys_step(text_grammar_machine *m, const text_grammar *g, machine_node n, uint8_t byte) {
    const grammar_list *l = &g->lists[g->ops[n.place].b];
    if (!l->n) return;
    uint32_t known = n.count >> KEY_BYTES_BITS, at = n.count & ((1u << KEY_BYTES_BITS) - 1);
    uint32_t from = first_not_below(g, l, known, at, byte);
    const grammar_key *k = &g->keys[l->first + from];
    str like = key_text(g->texts, &g->keys[l->first + known]);
    m->spent++;
    if (from == l->n || k->len <= at || memcmp(g->texts + k->text, like.data, at) ||
        (uint8_t)g->texts[k->text + at] != byte)
        return;
    uint32_t to = first_not_below(g, l, from, at, byte + 1), i = to;
    if (k->len == at + 1) {
        if (may_come(m, g, n, l, from)) machine_reach(m, g, g->ops[l->base + k->index].a, n.parent);
        from++;
    }
    while (i > from && !may_come(m, g, n, l, i - 1)) i--;
    m->spent += (to - i) / KEYS_A_UNIT;
    if (i == from) return;
    machine_set_add(m, machine_node_of(m, n.place, from << KEY_BYTES_BITS | (at + 1), n.parent, false, false));
}

void machine_keys_likely(const text_grammar *g, const machine_node *n, bool likely[256]) {
    const grammar_list *l = &g->lists[g->ops[n->place].b];
    if (!l->n) return;
    uint32_t from = n->count >> KEY_BYTES_BITS, at = n->count & ((1u << KEY_BYTES_BITS) - 1);
    str like = key_text(g->texts, &g->keys[l->first + from]);
    for (uint32_t i = from; i < l->n; i++) {
        str k = key_text(g->texts, &g->keys[l->first + i]);
        if (k.len < at || memcmp(k.data, like.data, at)) return;
        if (k.len > at) likely[(uint8_t)k.data[at]] = true;
    }
}
