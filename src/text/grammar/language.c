/* Sets of strings as expressions, and their derivatives (Brzozowski 1964). */
#include "text/grammar/language.h"

enum { NODES_MAX = 1 << 17, HEADS = 1 << 13, MEMO = 1 << 13, LIST_MAX = 1 << 15, DERIVE_DEPTH_MAX = 400 };

static bool too_complex(language *l) { return grammar_fail(l->b, ERR_INVALID, "it is too complex"); }

static uint32_t mixed(uint32_t a, uint32_t b, uint32_t c, uint32_t d) {
    uint64_t h = (a * 0x9E3779B97F4A7C15u) ^ (b * 0xC2B2AE3D27D4EB4Fu) ^ (c * 0x165667B19E3779F9u) ^ d;
    h ^= h >> 31;
    h *= 0xBF58476D1CE4E5B9u;
    return (uint32_t)(h >> 36);
}

static expression node_of(language *l, expression_node n) {
    if (l->b->failed) return LANGUAGE_NONE;
    uint32_t *head = &l->heads[mixed(n.kind, n.a, n.b, n.c) % HEADS];
    for (uint32_t i = *head; i; i = l->nodes[i].chain) {
        const expression_node *o = &l->nodes[i];
        if (o->kind == n.kind && o->a == n.a && o->b == n.b && o->c == n.c) return i;
    }
    if (!grammar_step(l->b) || !grammar_grow(l->b, (void **)&l->nodes, &l->nodes_cap, l->n_nodes + 1,
                                             NODES_MAX, sizeof *l->nodes, "parts of patterns"))
        return LANGUAGE_NONE;
    n.chain = *head;
    l->nodes[l->n_nodes] = n;
    return *head = (uint32_t)l->n_nodes++;
}

bool language_init(language *l, grammar_builder *b) {
    size_t heads = HEADS * sizeof *l->heads, memo = MEMO * sizeof *l->memo;
    *l = (language){.b = b, .heads = alloc_zeroed(b->alloc, heads), .memo = alloc_zeroed(b->alloc, memo)};
    if (!l->heads || !l->memo) return grammar_fail(b, ERR_MEMORY, "no memory to compile a grammar");
    if (!grammar_grow(b, (void **)&l->nodes, &l->nodes_cap, 3, NODES_MAX, sizeof *l->nodes,
                      "parts of patterns"))
        return false;
    l->nodes[LANGUAGE_NONE] = (expression_node){.kind = EX_NONE};
    l->nodes[LANGUAGE_EMPTY] = (expression_node){.kind = EX_EMPTY, .nullable = true};
    l->nodes[LANGUAGE_ALL] = (expression_node){.kind = EX_NOT, .nullable = true};
    l->n_nodes = 3;
    return true;
}

void language_free(language *l) {
    const base_alloc *a = l->b->alloc;
    alloc_free(a, l->nodes, l->nodes_cap * sizeof *l->nodes);
    alloc_free(a, l->ranges, l->ranges_cap * sizeof *l->ranges);
    alloc_free(a, l->list, l->list_cap * sizeof *l->list);
    alloc_free(a, l->heads, HEADS * sizeof *l->heads);
    alloc_free(a, l->memo, MEMO * sizeof *l->memo);
}

bool language_nullable(const language *l, expression a) { return l->nodes && l->nodes[a].nullable; }

/* ---- making ---- */

expression language_class(language *l, const grammar_range *r, size_t n) {
    if (!n || l->b->failed) return LANGUAGE_NONE;
    for (size_t i = 0; i + n <= l->n_ranges; i++) /* alike ones are one */
        if (!memcmp(l->ranges + i, r, n * sizeof *r))
            return node_of(l, (expression_node){.kind = EX_CLASS, .a = (uint32_t)i, .b = (uint32_t)n});
    if (!grammar_grow(l->b, (void **)&l->ranges, &l->ranges_cap, l->n_ranges + n, GRAMMAR_RANGES_MAX,
                      sizeof *l->ranges, "ranges of characters"))
        return LANGUAGE_NONE;
    memcpy(l->ranges + l->n_ranges, r, n * sizeof *r);
    l->n_ranges += n;
    return node_of(l,
                   (expression_node){.kind = EX_CLASS, .a = (uint32_t)(l->n_ranges - n), .b = (uint32_t)n});
}

expression language_any(language *l) {
    static const grammar_range all[] = {{0, 0xD7FF}, {0xE000, 0x10FFFF}};
    return language_class(l, all, 2);
}

expression language_then(language *l, expression a, expression b) {
    if (l->b->failed || a == LANGUAGE_NONE || b == LANGUAGE_NONE) return LANGUAGE_NONE;
    if (a == LANGUAGE_EMPTY) return b;
    if (b == LANGUAGE_EMPTY || (a == LANGUAGE_ALL && b == LANGUAGE_ALL)) return a;
    if (l->nodes[a].kind == EX_THEN) {
        expression first = l->nodes[a].a;
        return language_then(l, first, language_then(l, l->nodes[a].b, b));
    }
    bool nullable = l->nodes[a].nullable && l->nodes[b].nullable;
    return node_of(l, (expression_node){.kind = EX_THEN, .nullable = nullable, .a = a, .b = b});
}

/* Puts an expression, or what it is a list of, into the list being gathered. */
static void gather(language *l, uint8_t kind, expression a) {
    if (l->b->failed) return;
    for (bool more = true; more && !l->b->failed;) {
        more = l->nodes[a].kind == kind;
        expression one = more ? l->nodes[a].a : a;
        if (!grammar_grow(l->b, (void **)&l->list, &l->list_cap, l->n_list + 1, LIST_MAX, sizeof *l->list,
                          "alternatives of patterns"))
            return;
        l->list[l->n_list++] = one;
        a = l->nodes[a].b;
    }
}

static void sort(uint32_t *x, size_t n) {
    for (size_t gap = n / 2; gap; gap /= 2)
        for (size_t i = gap; i < n; i++) {
            uint32_t v = x[i];
            size_t at = i;
            for (; at >= gap && x[at - gap] > v; at -= gap) x[at] = x[at - gap];
            x[at] = v;
        }
}

/* All that was gathered since `from`, as one. */
static expression gathered(language *l, uint8_t kind, size_t from) {
    expression neutral = kind == EX_OR ? LANGUAGE_NONE : LANGUAGE_ALL,
               decides = kind == EX_OR ? LANGUAGE_ALL : LANGUAGE_NONE, all = neutral;
    size_t n = l->n_list - from;
    if (l->b->failed) return l->n_list = from, LANGUAGE_NONE;
    sort(l->list + from, n);
    for (size_t i = n; i-- > 0;) {
        expression one = l->list[from + i];
        if (one == neutral || (i + 1 < n && one == l->list[from + i + 1])) continue;
        if (one == decides) {
            all = decides;
            break;
        }
        bool nullable = kind == EX_OR ? l->nodes[one].nullable || l->nodes[all].nullable
                                      : l->nodes[one].nullable && l->nodes[all].nullable;
        expression_node both = {.kind = kind, .nullable = nullable, .a = one, .b = all};
        all = all == neutral ? one : node_of(l, both);
        if (one == LANGUAGE_EMPTY && kind == EX_AND) all = nullable ? LANGUAGE_EMPTY : LANGUAGE_NONE;
    }
    l->n_list = from;
    return all;
}

size_t language_begin_or(const language *l) { return l->n_list; }
void language_add_or(language *l, expression a) { gather(l, EX_OR, a); }
expression language_end_or(language *l, size_t begun) { return gathered(l, EX_OR, begun); }

expression language_or(language *l, expression a, expression b) {
    size_t from = l->n_list;
    gather(l, EX_OR, a);
    gather(l, EX_OR, b);
    return gathered(l, EX_OR, from);
}

expression language_and(language *l, expression a, expression b) {
    size_t from = l->n_list;
    gather(l, EX_AND, a);
    gather(l, EX_AND, b);
    return gathered(l, EX_AND, from);
}

expression language_not(language *l, expression a) {
    if (l->b->failed) return LANGUAGE_NONE;
    if (l->nodes[a].kind == EX_NOT) return l->nodes[a].a;
    if (a == LANGUAGE_NONE) return LANGUAGE_ALL;
    return node_of(l, (expression_node){.kind = EX_NOT, .nullable = !l->nodes[a].nullable, .a = a});
}

expression language_times(language *l, expression a, uint32_t least, uint32_t most) {
    if (l->b->failed) return LANGUAGE_NONE;
    if (most == 0 || a == LANGUAGE_EMPTY) return LANGUAGE_EMPTY;
    if (least == 1 && most == 1) return a;
    if (a == LANGUAGE_NONE) return least ? LANGUAGE_NONE : LANGUAGE_EMPTY;
    if (l->nodes[a].nullable) least = 0;
    if (most == GRAMMAR_UNBOUNDED && least == 0) {
        if (a == LANGUAGE_ALL || a == language_any(l)) return LANGUAGE_ALL;
        if (l->nodes[a].kind == EX_TIMES && l->nodes[a].b == 0 && l->nodes[a].c == GRAMMAR_UNBOUNDED)
            return a;
    }
    bool nullable = least == 0 || l->nodes[a].nullable;
    return node_of(l,
                   (expression_node){.kind = EX_TIMES, .nullable = nullable, .a = a, .b = least, .c = most});
}

expression language_text(language *l, str text) {
    expression all = LANGUAGE_EMPTY;
    for (size_t end = text.len; end && grammar_step(l->b);) {
        size_t at = end - 1;
        uint32_t cp = 0;
        while (at && ((unsigned char)text.data[at] & 0xC0) == 0x80) at--;
        if (utf8_decode(text.data + at, end - at, &cp) <= 0) return LANGUAGE_NONE;
        all = language_then(l, language_class(l, &(grammar_range){cp, cp}, 1), all);
        end = at;
    }
    return all;
}

/* ---- derivatives ---- */

static bool class_has(const language *l, const expression_node *n, uint32_t cp) {
    for (const grammar_range *r = l->ranges + n->a, *end = r + n->b; r < end; r++)
        if (cp >= r->low && cp <= r->high) return true;
    return false;
}

static expression derive_list(language *l, uint8_t kind, expression a, uint32_t cp) {
    size_t from = l->n_list;
    for (bool more = true; more && !l->b->failed;) {
        more = l->nodes[a].kind == kind;
        gather(l, kind, language_derive(l, more ? l->nodes[a].a : a, cp));
        a = l->nodes[a].b;
    }
    return gathered(l, kind, from);
}

static expression derive(language *l, expression a, uint32_t cp) {
    const expression_node n = l->nodes[a];
    switch ((enum expression_kind)n.kind) {
    case EX_CLASS: return class_has(l, &n, cp) ? LANGUAGE_EMPTY : LANGUAGE_NONE;
    case EX_THEN: {
        expression first = language_then(l, language_derive(l, n.a, cp), n.b);
        return language_nullable(l, n.a) ? language_or(l, first, language_derive(l, n.b, cp)) : first;
    }
    case EX_OR: return derive_list(l, EX_OR, a, cp);
    case EX_AND: return derive_list(l, EX_AND, a, cp);
    case EX_NOT: return language_not(l, language_derive(l, n.a, cp));
    case EX_TIMES: {
        uint32_t most = n.c == GRAMMAR_UNBOUNDED ? n.c : n.c - 1;
        return language_then(l, language_derive(l, n.a, cp), language_times(l, n.a, n.b ? n.b - 1 : 0, most));
    }
    default: return LANGUAGE_NONE;
    }
}

expression language_derive(language *l, expression a, uint32_t cp) {
    if (l->b->failed || a <= LANGUAGE_EMPTY) return LANGUAGE_NONE;
    if (a == LANGUAGE_ALL) return a;
    struct language_memo *m = &l->memo[mixed(a, cp, 0, 0) % MEMO];
    if (m->of == a && m->cp == cp) return m->is;
    if (l->depth == DERIVE_DEPTH_MAX || !grammar_step(l->b)) return too_complex(l), LANGUAGE_NONE;
    l->depth++;
    expression is = derive(l, a, cp);
    l->depth--;
    *m = (struct language_memo){a, cp, is};
    return is;
}

bool language_has(language *l, expression a, str text) {
    for (size_t i = 0; i < text.len && a != LANGUAGE_NONE;) {
        uint32_t cp;
        int n = utf8_decode(text.data + i, text.len - i, &cp);
        if (n <= 0) return false;
        a = language_derive(l, a, cp);
        i += (size_t)n;
    }
    return !l->b->failed && language_nullable(l, a);
}
