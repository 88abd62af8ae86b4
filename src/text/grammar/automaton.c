/* Sets of strings to code: their derivatives are the states of an automaton. */
#include "text/grammar/language.h"
#include "text/grammar/regex.h"

enum { STATES_MAX = 3000, WAYS_MAX = 60000, ENDS_MAX = 2048, WALK_DEPTH_MAX = 64 };

typedef struct way { /* between states, by these characters */
    uint32_t from, to;
    grammar_range by;
} way;

typedef struct automaton {
    language *l;
    expression *states;
    size_t n_states, states_cap;
    uint32_t *number; /* of expressions: which state, + 1 */
    size_t number_cap;
    way *ways; /* in the order of `from` */
    size_t n_ways, ways_cap;
    bool *live;
    size_t live_cap;
    uint32_t *places; /* of states in the code */
    size_t places_cap;
    uint32_t ends[ENDS_MAX]; /* where the class of characters changes */
    size_t n_ends;
    bool full;
} automaton;

/* ---- states ---- */

static uint32_t state_of(automaton *a, expression e) {
    grammar_builder *b = a->l->b;
    if (a->number_cap <= e) {
        size_t old = a->number_cap;
        if (!grammar_grow(b, (void **)&a->number, &a->number_cap, e + 1, SIZE_MAX / 8, sizeof *a->number,
                          "states"))
            return 0;
        memset(a->number + old, 0, (a->number_cap - old) * sizeof *a->number);
    }
    if (a->number[e]) return a->number[e] - 1;
    if (a->n_states == STATES_MAX) a->full = true;
    if (a->full || !grammar_grow(b, (void **)&a->states, &a->states_cap, a->n_states + 1, STATES_MAX,
                                 sizeof *a->states, "states"))
        return 0;
    a->states[a->n_states] = e;
    a->number[e] = (uint32_t)a->n_states + 1;
    return (uint32_t)a->n_states++;
}

static void add_end(automaton *a, uint32_t cp) {
    if (a->n_ends == ENDS_MAX)
        a->full = true;
    else
        a->ends[a->n_ends++] = cp;
}

/* The classes with which strings of e may begin. */
static void gather_ends(automaton *a, expression e, int depth) {
    const language *l = a->l;
    if (depth > WALK_DEPTH_MAX || !grammar_step(l->b)) a->full = true;
    for (; e != LANGUAGE_NONE && !a->full;) {
        const expression_node n = l->nodes[e];
        switch ((enum expression_kind)n.kind) {
        case EX_CLASS:
            for (uint32_t i = 0; i < n.b; i++) {
                add_end(a, l->ranges[n.a + i].low);
                add_end(a, l->ranges[n.a + i].high + 1);
            }
            return;
        case EX_OR:
        case EX_AND:
            gather_ends(a, n.a, depth + 1);
            e = n.b;
            continue;
        case EX_THEN:
            gather_ends(a, n.a, depth + 1);
            if (!l->nodes[n.a].nullable) return;
            e = n.b;
            continue;
        case EX_NOT:
        case EX_TIMES: e = n.a; continue;
        default: return;
        }
    }
}

static void sort_ends(automaton *a) {
    for (size_t gap = a->n_ends / 2; gap; gap /= 2)
        for (size_t i = gap; i < a->n_ends; i++) {
            uint32_t v = a->ends[i];
            size_t at = i;
            for (; at >= gap && a->ends[at - gap] > v; at -= gap) a->ends[at] = a->ends[at - gap];
            a->ends[at] = v;
        }
}

static void add_way(automaton *a, uint32_t from, uint32_t to, uint32_t low, uint32_t high) {
    way *last = a->n_ways ? &a->ways[a->n_ways - 1] : NULL;
    if (last && last->from == from && last->to == to && last->by.high + 1 == low) {
        last->by.high = high;
        return;
    }
    if (a->n_ways == WAYS_MAX) a->full = true;
    if (a->full || !grammar_grow(a->l->b, (void **)&a->ways, &a->ways_cap, a->n_ways + 1, WAYS_MAX,
                                 sizeof *a->ways, "states"))
        return;
    a->ways[a->n_ways++] = (way){from, to, {low, high}};
}

/* Any characters, so many of them: no states are needed. */
static bool is_any_times(language *l, expression e) {
    return !l->b->plain && l->nodes[e].kind == EX_TIMES && l->nodes[e].a == language_any(l);
}

static bool is_any(language *l, expression e) { return (!l->b->plain && e == LANGUAGE_ALL) || is_any_times(l, e); }

static void explore(automaton *a, expression start) {
    language *l = a->l;
    state_of(a, start);
    for (uint32_t s = 0; s < a->n_states && !a->full && grammar_step(l->b); s++) {
        expression e = a->states[s];
        if (e == LANGUAGE_NONE || is_any(l, e)) continue;
        a->n_ends = 0;
        add_end(a, 0);
        gather_ends(a, e, 0);
        add_end(a, 0xD800);
        add_end(a, 0xE000);
        add_end(a, 0x110000);
        if (a->full) return;
        sort_ends(a);
        for (size_t i = 0; i + 1 < a->n_ends && !a->full && !l->b->failed; i++) {
            uint32_t low = a->ends[i], next = a->ends[i + 1];
            if (low == next || low == 0xD800 || low > 0x10FFFF) continue;
            expression to = language_derive(l, e, low);
            if (to != LANGUAGE_NONE) add_way(a, s, state_of(a, to), low, next - 1);
        }
    }
}

/* Which states lead to an end. */
static bool find_live(automaton *a) {
    if (!grammar_grow(a->l->b, (void **)&a->live, &a->live_cap, a->n_states, SIZE_MAX, 1, "states"))
        return false;
    for (size_t i = 0; i < a->n_states; i++)
        a->live[i] = language_nullable(a->l, a->states[i]) || is_any_times(a->l, a->states[i]);
    for (bool changed = true; changed && grammar_step(a->l->b);) {
        changed = false;
        for (size_t i = a->n_ways; i-- > 0;)
            if (a->live[a->ways[i].to] && !a->live[a->ways[i].from])
                changed = a->live[a->ways[i].from] = true;
    }
    return a->live[0];
}

static void automaton_free(automaton *a) {
    const base_alloc *m = a->l->b->alloc;
    alloc_free(m, a->states, a->states_cap * sizeof *a->states);
    alloc_free(m, a->number, a->number_cap * sizeof *a->number);
    alloc_free(m, a->ways, a->ways_cap * sizeof *a->ways);
    alloc_free(m, a->live, a->live_cap);
    alloc_free(m, a->places, a->places_cap * sizeof *a->places);
}

/* ---- code ---- */

/* Characters of all ways from a state to another; the next ways to it are marked as done. */
static void emit_way(automaton *a, regex *x, size_t at, size_t end) {
    char_set s = {.n = 0};
    uint32_t to = a->ways[at].to;
    for (size_t i = at; i < end; i++) {
        if (a->ways[i].to != to || a->ways[i].by.low > a->ways[i].by.high) continue;
        if (s.n == REGEX_RANGES_MAX) break; /* fewer characters than could be */
        s.r[s.n++] = a->ways[i].by;
        a->ways[i].by = (grammar_range){1, 0};
    }
    regex_emit_set(x, &s);
}

/* A state: one of its ways, each with a jump to where it leads; or the end. Jumps get their targets later. */
static void emit_state(automaton *a, uint32_t s, size_t *at, uint32_t *ends) {
    language *l = a->l;
    grammar_builder *b = l->b;
    regex x = {.b = b};
    expression e = a->states[s];
    size_t first = *at, end = first;
    while (end < a->n_ways && a->ways[end].from == s) end++;
    *at = end;
    a->places[s] = grammar_here(b);
    if (!a->live[s]) return;
    if (is_any(l, e)) {
        expression_node n = l->nodes[e];
        grammar_emit(b, OP_STRING, e == LANGUAGE_ALL ? 0 : n.b, e == LANGUAGE_ALL ? GRAMMAR_UNBOUNDED : n.c);
        *ends = grammar_emit(b, OP_JUMP, *ends, 0);
        return;
    }
    bool ending = language_nullable(l, e);
    for (size_t i = first; i < end && !b->failed; i++) {
        way w = a->ways[i];
        if (w.by.low > w.by.high || !a->live[w.to]) continue;
        uint32_t split = grammar_emit(b, OP_SPLIT, 0, 0);
        grammar_set_target(b, split, false, split + 1);
        emit_way(a, &x, i, end);
        uint32_t jump = grammar_emit(b, OP_JUMP, 0, 0);
        if (!b->failed) b->ops[jump].b = w.to + 1; /* until all places are known */
        grammar_set_target(b, split, true, grammar_here(b));
    }
    if (!ending) {
        grammar_emit(b, OP_FAIL, 0, 0);
        return;
    }
    if (!b->plain) grammar_text(b, STR("\""));
    *ends = grammar_emit(b, OP_JUMP, *ends, 0);
}

static void emit_all(automaton *a) {
    grammar_builder *b = a->l->b;
    uint32_t begin = grammar_here(b), ends = 0;
    size_t at = 0;
    if (!grammar_grow(b, (void **)&a->places, &a->places_cap, a->n_states, SIZE_MAX / 8, sizeof *a->places,
                      "states"))
        return;
    for (uint32_t s = 0; s < a->n_states && grammar_step(b); s++) emit_state(a, s, &at, &ends);
    uint32_t here = grammar_here(b);
    for (uint32_t before; ends && !b->failed; ends = before) {
        before = b->ops[ends].a;
        grammar_set_target(b, ends, false, here);
    }
    grammar_jumps_land(b, begin, a->places);
}

static bool try_emit(language *l, expression e, bool *none, bool *full, size_t *n_states) {
    automaton *a = alloc_zeroed(l->b->alloc, sizeof *a);
    if (!a) return grammar_fail(l->b, ERR_MEMORY, "no memory to compile a grammar");
    a->l = l;
    explore(a, e);
    *full = a->full;
    *n_states = a->n_states;
    *none = false;
    if (!a->full && !l->b->failed) {
        *none = !find_live(a);
        if (*none)
            grammar_emit(l->b, OP_FAIL, 0, 0);
        else
            emit_all(a);
    }
    automaton_free(a);
    alloc_free(l->b->alloc, a, sizeof *a);
    return !l->b->failed;
}

bool language_emit(language *l, expression e, grammar_lengths lengths, bool *none) {
    bool full = false, bounded = lengths.least > 0 || lengths.most < GRAMMAR_UNBOUNDED;
    size_t n_states = 0;
    if (l->b->failed) return false;
    for (uint32_t most = lengths.most;;) {
        expression kept =
            bounded ? language_and(l, e, language_times(l, language_any(l), lengths.least, most)) : e;
        if (!try_emit(l, kept, none, &full, &n_states)) return false;
        if (!full) return true;
        uint32_t less = most > 2048 ? 1024 : most / 2; /* strings may be shorter than they could */
        if (!bounded || less < lengths.least || less < 8)
            return grammar_fail(l->b, ERR_INVALID, "it is too complex, with all that is said of the string");
        most = less;
    }
}
