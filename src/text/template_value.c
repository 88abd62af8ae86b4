/* Values: lists and mappings, and how JavaScript compares what they hold. */
#include "text/template_internal.h"

#include <math.h>

const char *value_kind_name(const value *v) {
    static const char *const names[] = {"nothing", "an undefined value", "none", "a boolean", "an integer",
                                        "a float", "a text", "a list", "a tuple", "a mapping", "keyword arguments",
                                        "a namespace", "a function"};
    return names[v->kind];
}

/* ---- truth ---- */

bool value_raw_truth(const value *v) {
    switch (v->kind) {
    case MISSING:
    case UNDEFINED:
    case NONE: return false;
    case BOOLEAN: return v->boolean;
    case INTEGER:
    case FLOAT: return v->number != 0 && !isnan(v->number);
    case STRING: return v->bytes > 0;
    default: return true;
    }
}

bool value_truth(run *r, const value *v, bool *out) {
    if (v->kind == MISSING) return run_fail(r, "nothing is there to be true or false");
    *out = is_list(v) ? v->list->n > 0 : is_mapping(v) ? v->mapping->n > 0 : value_raw_truth(v);
    return true;
}

/* ---- equality ---- */

/* Kinds that hold the same in JavaScript: none holds its undefined. */
static int raw_kind(const value *v) {
    if (is_number(v)) return INTEGER;
    if (is_list(v)) return LIST;
    if (v->kind == NONE) return UNDEFINED;
    return has_attributes(v) ? MAPPING : (int)v->kind;
}

static bool same_function(const function *a, const function *b) {
    return a == b || (a->kind == b->kind && a->kind >= CALL_UPPER && value_same(&a->self, &b->self));
}

bool value_same(const value *a, const value *b) {
    if (raw_kind(a) != raw_kind(b)) return false;
    switch (raw_kind(a)) {
    case BOOLEAN: return a->boolean == b->boolean;
    case INTEGER: return a->number == b->number;
    case STRING: return str_eq(value_str(a), value_str(b));
    case LIST: return a->list == b->list;
    case MAPPING: return a->mapping == b->mapping;
    case FUNCTION: return same_function(a->function, b->function);
    default: return true;
    }
}

static bool to_number(run *r, const value *v, double *out) {
    if (is_numeric(v)) return *out = value_number(v), true;
    return number_of_text(r, value_str(v), out);
}

bool value_equal(run *r, const value *a, const value *b, bool *out) {
    if (a->kind == MISSING || b->kind == MISSING) return run_fail(r, "nothing is there to be compared");
    bool a_nothing = a->kind == UNDEFINED || a->kind == NONE, b_nothing = b->kind == UNDEFINED || b->kind == NONE;
    *out = false;
    if (a_nothing || b_nothing) return *out = a_nothing && b_nothing, true;
    int x = raw_kind(a), y = raw_kind(b);
    if (x == STRING && y == STRING && !run_spend_bytes(r, a->bytes)) return false;
    if (x == y) return *out = value_same(a, b), true;
    if (x == FUNCTION || y == FUNCTION || (x >= LIST && y >= LIST)) return true;
    value left = *a, right = *b; /* an object beside something plain is its text */
    if (x >= LIST && !text_of_raw(r, a, &left)) return false;
    if (y >= LIST && !text_of_raw(r, b, &right)) return false;
    if (left.kind == STRING && right.kind == STRING) return *out = value_same(&left, &right), true;
    double p, q;
    if (!to_number(r, &left, &p) || !to_number(r, &right, &q)) return false;
    return *out = p == q, true;
}

/* ---- order ---- */

bool value_compare(run *r, const value *a, const value *b, bool with_case, int *out) {
    *out = 0;
    if (a->kind == b->kind && (a->kind == NONE || a->kind == UNDEFINED)) return true;
    if (is_numeric(a) && is_numeric(b)) {
        *out = value_number(a) < value_number(b) ? -1 : value_number(a) > value_number(b);
        return true;
    }
    if (a->kind != STRING || b->kind != STRING)
        return run_fail(r, "%s cannot be put in order with %s", value_kind_name(a), value_kind_name(b));
    value x = *a, y = *b;
    if (!with_case && !text_change_case(r, value_str(a), false, &x)) return false;
    if (!with_case && !text_change_case(r, value_str(b), false, &y)) return false;
    *out = text_compare_units(value_str(&x), value_str(&y));
    return true;
}

/* What an item is sorted by. */
static value sort_key(run *r, const sort_order *order, const value *item) {
    if (order->by_path) return value_attribute(r, item, order->path);
    return order->by_pair ? item->list->items[order->pair_index] : *item;
}

/* Merges two sorted neighbours of from into to: stable. */
static bool merge_runs(run *r, const sort_order *order, const value *from, value *to, size_t a, size_t middle,
                       size_t z) {
    for (size_t i = a, j = middle, at = a; at < z; at++) {
        int compared = 0;
        if (i < middle && j < z) {
            value x = sort_key(r, order, &from[i]), y = sort_key(r, order, &from[j]);
            if (!run_spend(r, 1)) return false;
            if (!run_spend_bytes(r, x.kind == STRING ? x.bytes : 0)) return false;
            if (order->collate) compared = text_collate(value_str(&x), value_str(&y));
            else if (!value_compare(r, &x, &y, order->with_case, &compared)) return false;
            if (order->reverse) compared = -compared;
        }
        to[at] = j >= z || (i < middle && compared <= 0) ? from[i++] : from[j++];
    }
    return true;
}

bool list_sort(run *r, const list *l, const sort_order *order, value *out) {
    value *from, *to, *made;
    if (!list_new(r, l->n, out, &made) || !run_take_items(r, l->n, &to)) return false;
    from = made;
    if (l->n) memcpy(from, l->items, l->n * sizeof *from);
    for (size_t width = 1; width < l->n; width *= 2) {
        for (size_t a = 0; a < l->n; a += 2 * width) {
            size_t middle = a + width < l->n ? a + width : l->n, z = a + 2 * width < l->n ? a + 2 * width : l->n;
            if (!merge_runs(r, order, from, to, a, middle, z)) return false;
        }
        value *swap = from;
        from = to;
        to = swap;
    }
    if (from != made) memcpy(made, from, l->n * sizeof *made);
    return true;
}

/* ---- lists ---- */

bool list_new(run *r, size_t n, value *out, value **items) {
    list *l;
    if (!run_take(r, sizeof *l, &l) || !run_take_items(r, n, items)) return false;
    *l = (list){*items, n};
    return *out = value_list(l), true;
}

/* Equal ones are found in a table: by what their first bytes or numbers hash to. */
static uint64_t raw_hash(const value *v) {
    switch (raw_kind(v)) {
    case INTEGER: return str_hash((str){(const char *)&v->number, v->number == 0 ? 0 : sizeof v->number});
    case STRING: return str_hash(value_str(v));
    case LIST:
    case MAPPING: return (uint64_t)(uintptr_t)v->list >> 4;
    default: return (uint64_t)raw_kind(v);
    }
}

bool list_unique(run *r, const list *l, value *out) {
    value *items;
    uint32_t *slots;
    size_t n = 0, slot_count = 16;
    while (slot_count < 2 * l->n) slot_count *= 2;
    if (!list_new(r, l->n, out, &items) || !run_take(r, slot_count * sizeof *slots, &slots)) return false;
    memset(slots, 0, slot_count * sizeof *slots);
    for (size_t i = 0; i < l->n; i++) {
        const value *v = &l->items[i];
        if (v->kind == MISSING) return run_fail(r, "nothing is there to be compared");
        bool nan = is_number(v) && isnan(v->number);
        size_t at = (size_t)raw_hash(v) & (slot_count - 1);
        for (; slots[at]; at = (at + 1) & (slot_count - 1)) {
            const value *other = &items[slots[at] - 1];
            if (value_same(v, other) || (nan && is_number(other) && isnan(other->number))) break;
            if (!run_spend(r, 1)) return false;
        }
        if (!slots[at]) {
            items[n++] = *v;
            slots[at] = (uint32_t)n;
        }
        if (!run_spend_bytes(r, v->kind == STRING ? v->bytes : 0)) return false;
    }
    ((list *)(uintptr_t)out->list)->n = n;
    return true;
}

/* ---- mappings ---- */

bool mapping_new(run *r, uint32_t cap, mapping **out) {
    mapping *m;
    if (!run_take(r, sizeof *m, &m)) return false;
    *m = (mapping){.cap = cap};
    if (cap && !run_take(r, cap * sizeof *m->entries, &m->entries)) return false;
    return *out = m, run_spend(r, cap);
}

/* The slot of a key, or the free one where it belongs. */
static uint32_t *mapping_slot(run *r, const mapping *m, str key) {
    uint32_t i = (uint32_t)str_hash(key) & (m->slot_count - 1);
    while (m->slots[i] && !str_eq(m->entries[m->slots[i] - 1].key, key)) {
        i = (i + 1) & (m->slot_count - 1);
        if (r->steps_left) r->steps_left--; /* keys may be chosen so that they meet */
        else break;
    }
    return &m->slots[i];
}

static bool mapping_index(run *r, mapping *m) {
    m->slot_count = 4 * MAPPING_LINEAR;
    while (m->slot_count < 4 * m->n) m->slot_count *= 2;
    if (!run_take(r, m->slot_count * sizeof *m->slots, &m->slots)) return false;
    memset(m->slots, 0, m->slot_count * sizeof *m->slots);
    for (uint32_t i = 0; i < m->n; i++) *mapping_slot(r, m, m->entries[i].key) = i + 1;
    return run_spend(r, m->n);
}

value *mapping_get(run *r, const mapping *m, str key) {
    uint64_t cost = key.len / 32 + (m->slots ? 0 : m->n / 8);
    r->steps_left -= cost < r->steps_left ? cost : r->steps_left;
    if (m->slots) {
        uint32_t *slot = mapping_slot(r, m, key);
        return *slot && str_eq(m->entries[*slot - 1].key, key) ? &m->entries[*slot - 1].value : NULL;
    }
    for (uint32_t i = 0; i < m->n; i++)
        if (str_eq(m->entries[i].key, key)) return &m->entries[i].value;
    return NULL;
}

bool mapping_set(run *r, mapping *m, str key, value v) {
    if (!run_spend(r, 1)) return false;
    value *found = mapping_get(r, m, key);
    if (found) return *found = v, true;
    if (m->n == m->cap) {
        uint32_t cap = m->cap ? m->cap * 2 : 4;
        entry *grown;
        if (!run_take(r, cap * sizeof *grown, &grown)) return false;
        if (m->n) memcpy(grown, m->entries, m->n * sizeof *grown);
        m->entries = grown;
        m->cap = cap;
    }
    m->entries[m->n++] = (entry){key, v};
    if (m->n <= MAPPING_LINEAR) return true;
    if (!m->slots || m->slot_count < 2 * m->n) return mapping_index(r, m);
    *mapping_slot(r, m, key) = m->n;
    return true;
}

bool mapping_items(run *r, const mapping *m, value *out) {
    value *items, *pair;
    if (!list_new(r, m->n, out, &items)) return false;
    for (uint32_t i = 0; i < m->n; i++) {
        if (!list_new(r, 2, &items[i], &pair)) return false;
        pair[0] = value_string(m->entries[i].key);
        pair[1] = m->entries[i].value;
    }
    return true;
}

bool mapping_keys(run *r, const mapping *m, value *out) {
    value *items;
    if (!list_new(r, m->n, out, &items)) return false;
    for (uint32_t i = 0; i < m->n; i++) items[i] = value_string(m->entries[i].key);
    return true;
}

/* parseInt of a part of a path. */
static size_t path_index(str part, size_t n) {
    part = text_trim(part, true, false);
    bool signed_plus = part.len && part.data[0] == '+';
    size_t i = signed_plus, index = 0;
    if (i == part.len || part.data[i] < '0' || part.data[i] > '9') return SIZE_MAX;
    for (; i < part.len && part.data[i] >= '0' && part.data[i] <= '9' && index < n; i++)
        index = index * 10 + (size_t)(part.data[i] - '0');
    return index < n ? index : SIZE_MAX;
}

/* "details.priority", "items.0": undefined where it leads nowhere. */
value value_attribute(run *r, const value *item, str path) {
    value v = *item;
    for (bool more = true; more;) {
        const char *dot = memchr(path.data, '.', path.len);
        str part = {path.data, dot ? (size_t)(dot - path.data) : path.len};
        more = dot != NULL;
        if (dot) path = (str){dot + 1, path.len - part.len - 1};
        if (has_attributes(&v)) {
            value *found = mapping_get(r, v.mapping, part);
            v = found && found->kind != MISSING ? *found : value_of(UNDEFINED);
        } else {
            size_t i = is_list(&v) ? path_index(part, v.list->n) : SIZE_MAX;
            if (i == SIZE_MAX) return value_of(UNDEFINED);
            v = v.list->items[i];
        }
    }
    return v;
}
