/* Values: lists and mappings, equality, order, iteration, as Python has them. */
#include "text/template/internal.h"

#include <math.h>

const char *value_kind_name(const value *v) {
    static const char *const names[] = {"nothing",        "an undefined value",
                                        "none",           "a boolean",
                                        "a whole number", "a whole number",
                                        "a float",        "a text",
                                        "a list",         "a tuple",
                                        "a mapping",      "a view",
                                        "a generator",    "a namespace",
                                        "a loop",         "a cycler",
                                        "a joiner",       "a function"};
    return names[v->kind];
}

bool value_fail_undefined(run *r, const value *v) {
    return run_fail(r, "'%.*s' is undefined", CLIPPED(value_str(v)));
}

bool value_truth(const value *v) {
    switch (v->kind) {
    case UNSET:
    case UNDEFINED:
    case NONE: return false;
    case BOOLEAN: return v->boolean;
    case INTEGER: return v->integer != 0;
    case FLOAT: return v->number != 0;
    case STRING: return v->bytes > 0;
    case LIST:
    case TUPLE: return v->list->n > 0;
    case MAPPING: return v->mapping->n > 0;
    case VIEW: return v->view->list->n > 0;
    default: return true;
    }
}

/* ---- equality and order ---- */

static bool enter(run *r) {
    if (r->value_depth >= VALUE_DEPTH_MAX)
        return run_fail(r, "values nested more than %d deep", VALUE_DEPTH_MAX);
    return r->value_depth++, true;
}

static bool lists_equal(run *r, const list *a, const list *b, bool *out) {
    *out = a->n == b->n;
    if (!*out || a == b) return true;
    if (!enter(r)) return false;
    bool ok = true;
    for (size_t i = 0; ok && *out && i < a->n; i++) ok = value_equal(r, &a->items[i], &b->items[i], out);
    r->value_depth--;
    return ok;
}

static bool mappings_equal(run *r, const mapping *a, const mapping *b, bool *out) {
    if (!mapping_open(r, a) || !mapping_open(r, b)) return false;
    *out = a->n == b->n;
    if (!*out || a == b) return true;
    if (!enter(r)) return false;
    bool ok = true;
    for (uint32_t i = 0; ok && *out && i < a->n; i++) {
        value *other;
        ok = mapping_find(r, b, &a->keys[i], &other);
        if (ok && !(*out = other != NULL)) break;
        if (ok) ok = value_equal(r, &a->values[i], other, out);
    }
    r->value_depth--;
    return ok;
}

int compare_numbers(const value *a, const value *b, bool *unordered) {
    *unordered = false;
    if (is_whole(a) && is_whole(b)) {
        whole x = whole_of(a), y = whole_of(b);
        return x < y ? -1 : x > y;
    }
    double x = number_of(a), y = number_of(b);
    *unordered = isnan(x) || isnan(y);
    return x < y ? -1 : x > y;
}

bool value_equal(run *r, const value *a, const value *b, bool *out) {
    bool unordered;
    if (!run_spend(r, 1)) return false;
    if (is_number(a) && is_number(b)) {
        int order = compare_numbers(a, b, &unordered);
        return *out = order == 0 && !unordered, true;
    }
    *out = false;
    if (a->kind != b->kind) return true;
    switch (a->kind) {
    case UNDEFINED:
    case NONE: return *out = true, true;
    case STRING: return *out = str_eq(value_str(a), value_str(b)), run_spend_bytes(r, *out ? a->bytes : 0);
    case LIST:
    case TUPLE: return lists_equal(r, a->list, b->list, out);
    case MAPPING: return mappings_equal(r, a->mapping, b->mapping, out);
    case VIEW:
        return a->view->kind == b->view->kind && a->view->kind == VIEW_RANGE
                   ? lists_equal(r, a->view->list, b->view->list, out)
                   : true;
    case FUNCTION:
        return *out = a->function == b->function ||
                      (a->function->builtin && a->function->builtin == b->function->builtin),
               true;
    default: return *out = a->mapping == b->mapping, true;
    }
}

static int compare_texts(str a, str b) {
    int order = memcmp(a.data ? a.data : "", b.data ? b.data : "", a.len < b.len ? a.len : b.len);
    return order ? order : a.len < b.len ? -1 : a.len > b.len;
}

bool value_compare(run *r, const value *a, const value *b, int *out) {
    bool unordered, equal = true, ok = true;
    if (!run_spend(r, 1)) return false;
    if (is_number(a) && is_number(b)) return *out = compare_numbers(a, b, &unordered), true;
    if (a->kind == STRING && b->kind == STRING)
        return *out = compare_texts(value_str(a), value_str(b)),
               run_spend_bytes(r, a->bytes < b->bytes ? a->bytes : b->bytes);
    if (a->kind == UNDEFINED) return value_fail_undefined(r, a);
    if (b->kind == UNDEFINED) return value_fail_undefined(r, b);
    if (!is_list(a) || a->kind != b->kind)
        return run_fail(r, "%s cannot be put in order with %s", value_kind_name(a), value_kind_name(b));
    const list *x = a->list, *y = b->list;
    if (!enter(r)) return false;
    size_t i = 0;
    for (; ok && equal && i < x->n && i < y->n; i += ok && equal)
        ok = value_equal(r, &x->items[i], &y->items[i], &equal);
    if (ok && equal)
        *out = x->n < y->n ? -1 : x->n > y->n;
    else if (ok)
        ok = value_compare(r, &x->items[i], &y->items[i], out);
    r->value_depth--;
    return ok;
}

/* ---- iteration ---- */

bool value_iterate(run *r, const value *v, const list **out) {
    static const list empty = {0};
    value keys;
    *out = &empty;
    switch (v->kind) {
    case UNDEFINED: return true;
    case LIST:
    case TUPLE: return *out = v->list, true;
    case VIEW: return *out = v->view->list, true;
    case STRING: return text_list(r, value_str(v), out);
    case MAPPING:
        if (!mapping_view(r, v->mapping, VIEW_KEYS, &keys)) return false;
        return *out = keys.view->list, true;
    case GENERATOR:
        if (v->generator->failure) return r->why = FAILED, *r->e = *v->generator->failure, false;
        if (!v->generator->spent) *out = v->generator->list;
        return v->generator->spent = true, true;
    default: return run_fail(r, "a loop cannot go over %s", value_kind_name(v));
    }
}

bool value_length(run *r, const value *v, size_t *n) {
    switch (v->kind) {
    case UNDEFINED: return *n = 0, true;
    case STRING: return *n = text_characters(value_str(v)), run_spend_bytes(r, v->bytes);
    case LIST:
    case TUPLE: return *n = v->list->n, true;
    case MAPPING: return mapping_open(r, v->mapping) && (*n = v->mapping->n, true);
    case VIEW: return *n = v->view->list->n, true;
    case LOOP: return *n = v->loop->items->n, true;
    default: return run_fail(r, "%s has no length", value_kind_name(v));
    }
}

bool value_contains(run *r, const value *container, const value *item, bool *out) {
    const list *items;
    value *found;
    *out = false;
    if (container->kind == STRING) {
        if (item->kind == UNDEFINED) return value_fail_undefined(r, item);
        if (item->kind != STRING)
            return run_fail(r, "only a text can be in a text, not %s", value_kind_name(item));
        *out = text_find(value_str(container), value_str(item), 0) != SIZE_MAX;
        return run_spend_bytes(r, container->bytes);
    }
    if (container->kind == MAPPING) {
        if (!mapping_find(r, container->mapping, item, &found)) return false;
        return *out = found != NULL, true;
    }
    if (!value_iterate(r, container, &items)) return false;
    for (size_t i = 0; i < items->n && !*out; i++)
        if (!value_equal(r, item, &items->items[i], out)) return false;
    return true;
}

/* ---- lists ---- */

bool list_new(run *r, size_t n, value *out, value **items) {
    list *l;
    if (!run_take(r, sizeof *l, &l) || !run_take_items(r, n, items)) return false;
    *l = (list){*items, n, NULL};
    return *out = value_list(l), true;
}

bool list_tuple(run *r, size_t n, value *out, value **items) {
    if (!list_new(r, n, out, items)) return false;
    return out->kind = TUPLE, true;
}

bool list_of_items(run *r, value *items, size_t n, value *out) {
    list *l;
    if (!run_take(r, sizeof *l, &l)) return false;
    *l = (list){items, n, NULL};
    return *out = value_list(l), true;
}

bool list_generator(run *r, const list *l, value *out) {
    generator *g;
    if (!run_take(r, sizeof *g, &g)) return false;
    *g = (generator){.list = l};
    return *out = (value){.kind = GENERATOR, .generator = g}, true;
}

bool list_add(list_builder *b, value v) {
    if (b->n == b->cap) {
        size_t cap = b->cap ? b->cap * 2 : 8;
        value *grown;
        if (!run_take(b->r, cap * sizeof *grown, &grown)) return false;
        if (b->n) memcpy(grown, b->items, b->n * sizeof *grown);
        b->items = grown;
        b->cap = cap;
    }
    b->items[b->n++] = v;
    return run_spend(b->r, 1);
}

bool list_end(list_builder *b, value *out) { return list_of_items(b->r, b->items, b->n, out); }

enum { GROWING_FROM_ITEMS = 16 };

/* What is added to a list's end goes into the room behind it, where nobody else has put something. */
bool list_concat(run *r, const value *a, const value *b, value *out) {
    const list *x = a->list, *y = b->list;
    growing_list *room = x->room;
    value *items;
    list *l;
    size_t n = x->n + y->n;
    if (!run_take(r, sizeof *l, &l)) return false;
    if (!room || room->used != x->n || room->cap < n) {
        size_t cap = x->n >= GROWING_FROM_ITEMS ? 2 * n : n;
        if (!run_take(r, sizeof *room, &room) || !run_take(r, cap * sizeof *items, &items) ||
            !run_spend(r, x->n))
            return false;
        if (x->n) memcpy(items, x->items, x->n * sizeof *items);
        *room = (growing_list){items, x->n, cap};
    }
    if (y->n) memcpy(room->items + x->n, y->items, y->n * sizeof *items);
    room->used = n;
    *l = (list){room->items, n, room};
    *out = (value){.kind = a->kind, .list = l};
    return run_spend(r, y->n + 1);
}

bool list_repeat(run *r, const list *l, whole times, value_kind kind, value *out) {
    value *items;
    size_t n = times <= 0 || !l->n ? 0 : times > (1 << 24) ? SIZE_MAX : l->n * (size_t)times;
    if (n > 1 << 24) return run_fail(r, "a list of more than %d items", 1 << 24);
    if (!list_new(r, n, out, &items)) return false;
    for (size_t i = 0; i < n; i++) items[i] = l->items[i % l->n];
    out->kind = kind;
    return true;
}

static bool merge_runs(run *r, const sort_order *order, const entry *from, entry *to, size_t a, size_t middle,
                       size_t z) {
    for (size_t i = a, j = middle, at = a; at < z; at++) {
        int compared = 0;
        if (i < middle && j < z && !value_compare(r, &from[i].key, &from[j].key, &compared)) return false;
        if (order->reverse) compared = -compared;
        to[at] = j >= z || (i < middle && compared <= 0) ? from[i++] : from[j++];
    }
    return true;
}

/* Stable. */
bool list_sort(run *r, const list *l, const sort_order *order, value *out) {
    entry *from, *to;
    value *items;
    if (!list_new(r, l->n, out, &items) || !run_take(r, l->n * sizeof *from, &from) ||
        !run_take(r, l->n * sizeof *to, &to))
        return false;
    for (size_t i = 0; i < l->n; i++) {
        from[i] = (entry){l->items[i], l->items[i]};
        if (order->key && !order->key(r, order->ctx, &l->items[i], &from[i].key)) return false;
    }
    for (size_t width = 1; width < l->n; width *= 2) {
        for (size_t a = 0; a < l->n; a += 2 * width) {
            size_t middle = a + width < l->n ? a + width : l->n,
                   z = a + 2 * width < l->n ? a + 2 * width : l->n;
            if (!merge_runs(r, order, from, to, a, middle, z)) return false;
        }
        entry *swap = from;
        from = to;
        to = swap;
    }
    for (size_t i = 0; i < l->n; i++) items[i] = from[i].value;
    return true;
}

/* ---- mappings ---- */

bool mapping_new(run *r, uint32_t cap, mapping **out) {
    mapping *m;
    if (!run_take(r, sizeof *m, &m)) return false;
    *m = (mapping){.cap = cap & MAPPING_CAP_MASK};
    if (cap && (!run_take(r, cap * sizeof *m->values, &m->values) || !run_take(r, cap * sizeof *m->keys, &m->keys)))
        return false;
    return *out = m, run_spend(r, cap);
}

/* Equal values hash alike: 1, 1.0 and true. */
static bool hash_of(run *r, const value *v, uint64_t *out) {
    uint64_t h = 1469598103934665603ull, one;
    switch (v->kind) {
    case STRING: return *out = str_hash(value_str(v)), run_spend_bytes(r, v->bytes);
    case TUPLE:
        for (size_t i = 0; i < v->list->n; i++) {
            if (!enter(r)) return false;
            bool ok = hash_of(r, &v->list->items[i], &one);
            r->value_depth--;
            if (!ok) return false;
            h = (h ^ one) * 1099511628211ull;
        }
        return *out = h, run_spend(r, v->list->n);
    case LIST:
    case MAPPING: return run_fail(r, "%s cannot be a key", value_kind_name(v));
    case NONE:
    case UNDEFINED: return *out = v->kind, true;
    default: break;
    }
    if (!is_number(v)) return *out = (uint64_t)(uintptr_t)v->mapping >> 4, true;
    double d = number_of(v);
    return *out = d == 0 ? 0 : str_hash((str){(const char *)&d, sizeof d}), true;
}

/* The slot of a key, or the free one where it belongs. */
static bool mapping_slot(run *r, const mapping *m, const value *key, uint64_t hash, uint32_t **out) {
    mapping_index *x = m->index;
    uint32_t i = (uint32_t)hash & (x->slot_count - 1);
    for (bool same = false; x->slots[i]; i = (i + 1) & (x->slot_count - 1)) {
        if (!value_equal(r, &m->keys[x->slots[i] - 1], key, &same))
            return false; /* keys may be chosen so that they meet */
        if (same) break;
    }
    return *out = &x->slots[i], true;
}

static bool index_mapping(run *r, mapping *m) {
    uint32_t room = m->n < m->cap ? m->cap : m->n; /* what is read is as large as it gets: indexed once */
    uint32_t n_slots = 4 * MAPPING_LINEAR;
    while (n_slots < 2 * room) n_slots *= 2;
    if (!run_take(r, sizeof *m->index + n_slots * sizeof *m->index->slots, &m->index)) return false;
    memset(m->index, 0, sizeof *m->index + n_slots * sizeof *m->index->slots);
    m->index->slot_count = n_slots;
    for (uint32_t i = 0; i < m->n; i++) {
        uint64_t hash;
        uint32_t *slot;
        if (!hash_of(r, &m->keys[i], &hash) || !mapping_slot(r, m, &m->keys[i], hash, &slot))
            return false;
        *slot = i + 1;
    }
    return run_spend(r, m->n);
}

bool mapping_find(run *r, const mapping *m, const value *key, value **found) {
    uint64_t hash;
    uint32_t *slot;
    *found = NULL;
    if (!mapping_open(r, m)) return false;
    if (m->index) {
        if (!hash_of(r, key, &hash) || !mapping_slot(r, m, key, hash, &slot)) return false;
        if (*slot) *found = &m->values[*slot - 1];
        return true;
    }
    if (key->kind != STRING && !hash_of(r, key, &hash)) return false;
    for (uint32_t i = 0; i < m->n && !*found; i++) {
        const value *other = &m->keys[i];
        bool same = key->kind == STRING && other->kind == STRING && str_eq(value_str(other), value_str(key));
        if (key->kind != STRING && !value_equal(r, other, key, &same)) return false;
        if (same) *found = &m->values[i];
    }
    return run_spend_bytes(r, key->kind == STRING ? key->bytes : 0);
}

value *mapping_get(run *r, const mapping *m, str key) {
    value v = value_string(key), *found;
    return mapping_find(r, m, &v, &found) ? found : NULL;
}

/* Room for as many as there is for values. */
bool mapping_own_keys(run *r, mapping *m) {
    value *keys;
    if (!run_take(r, m->cap * sizeof *keys, &keys)) return false;
    if (m->n) memcpy(keys, m->keys, m->n * sizeof *keys);
    m->keys = keys;
    m->shared = false;
    return true;
}

bool mapping_set(run *r, mapping *m, const value *key, value v) {
    value *found;
    if (!run_spend(r, 1) || !mapping_find(r, m, key, &found)) return false;
    if (found) return *found = v, true;
    if (m->n == m->cap) {
        uint32_t cap = m->cap ? m->cap * 2 : 4;
        value *values;
        if (!run_take(r, cap * sizeof *values, &values)) return false;
        if (m->n) memcpy(values, m->values, m->n * sizeof *values);
        m->values = values;
        m->cap = cap & MAPPING_CAP_MASK;
        if (!mapping_own_keys(r, m)) return false;
    }
    if (m->shared && !mapping_own_keys(r, m)) return false;
    m->keys[m->n] = *key;
    m->values[m->n++] = v;
    if (m->n <= MAPPING_LINEAR) return true;
    if (!m->index || m->index->slot_count < 2 * m->n) return index_mapping(r, m);
    uint64_t hash;
    uint32_t *slot;
    if (!hash_of(r, key, &hash) || !mapping_slot(r, m, key, hash, &slot)) return false;
    return *slot = m->n, true;
}

bool mapping_view(run *r, const mapping *m, view_kind kind, value *out) {
    value made, *items, *pair;
    view *v;
    if (!mapping_open(r, m)) return false;
    if (!run_take(r, sizeof *v, &v) || !list_new(r, m->n, &made, &items)) return false;
    for (uint32_t i = 0; i < m->n; i++) {
        items[i] = kind == VIEW_KEYS ? m->keys[i] : m->values[i];
        if (kind != VIEW_ITEMS) continue;
        if (!list_tuple(r, 2, &items[i], &pair)) return false;
        pair[0] = m->keys[i];
        pair[1] = m->values[i];
    }
    *v = (view){.kind = kind, .list = made.list};
    return *out = (value){.kind = VIEW, .view = v}, true;
}

bool mapping_add_all(run *r, mapping *to, const mapping *from) {
    if (!mapping_open(r, from)) return false;
    for (uint32_t i = 0; i < from->n; i++)
        if (!mapping_set(r, to, &from->keys[i], from->values[i])) return false;
    return true;
}

bool mapping_add_pairs(run *r, mapping *to, const value *pairs) {
    const list *all, *pair;
    if (pairs->kind == MAPPING) return mapping_add_all(r, to, pairs->mapping);
    if (!value_iterate(r, pairs, &all)) return false;
    for (size_t i = 0; i < all->n; i++) {
        if (!value_iterate(r, &all->items[i], &pair)) return false;
        if (pair->n != 2) return run_fail(r, "a mapping is made of pairs, not of %zu values", pair->n);
        if (!mapping_set(r, to, &pair->items[0], pair->items[1])) return false;
    }
    return true;
}
