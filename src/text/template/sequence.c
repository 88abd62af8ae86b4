/* Filters of sequences. Where Python gives an iterator, a generator comes out. */
#include "text/template/internal.h"

/* ---- what is looked at of each item ---- */

/* "details.priority", "items.0", 3; with_case: texts as they are. */
typedef struct getter {
    const value *path;      /* UNSET, NONE: the item itself */
    const value *otherwise; /* NULL: undefined stays so */
    bool with_case;
} getter;

static bool step(run *r, const getter *g, str part, value *v) {
    value key = value_string(part), from = *v;
    bool digits = part.len > 0 && part.len < 18;
    for (size_t i = 0; i < part.len; i++) digits &= part.data[i] >= '0' && part.data[i] <= '9';
    if (digits) {
        key = value_integer(0);
        for (size_t i = 0; i < part.len; i++) key.integer = key.integer * 10 + (part.data[i] - '0');
    }
    if (!run_spend(r, 1) || !value_item(r, &from, &key, v)) return false;
    if (v->kind == UNDEFINED && g->otherwise) *v = *g->otherwise;
    return true;
}

static bool follow(run *r, const getter *g, str path, value *v) {
    for (bool more = true; more;) {
        const char *dot = memchr(path.data, '.', path.len);
        str part = {path.data, dot ? (size_t)(dot - path.data) : path.len};
        more = dot != NULL;
        if (dot) path = (str){dot + 1, path.len - part.len - 1};
        if (!step(r, g, part, v)) return false;
    }
    return true;
}

static bool fold(run *r, const getter *g, value *v) {
    return g->with_case || v->kind != STRING || text_change_case(r, value_str(v), false, v);
}

static bool get(run *r, const void *ctx, const value *item, value *out) {
    const getter *g = ctx;
    *out = *item;
    if (g->path->kind == UNSET || g->path->kind == NONE) return fold(r, g, out);
    if (g->path->kind != STRING) {
        if (!value_item(r, item, g->path, out)) return false;
        if (out->kind == UNDEFINED && g->otherwise) *out = *g->otherwise;
        return fold(r, g, out);
    }
    return follow(r, g, value_str(g->path), out) && fold(r, g, out);
}

/* "a,b": a list of them. */
static bool get_several(run *r, const void *ctx, const value *item, value *out) {
    const getter *g = ctx;
    list_builder b = {.r = r};
    str path = g->path->kind == STRING ? value_str(g->path) : STR("");
    if (g->path->kind != STRING) {
        value v;
        return get(r, g, item, &v) && list_add(&b, v) && list_end(&b, out);
    }
    for (size_t from = 0, end; from <= path.len; from = end + 1) {
        value v = *item;
        end = text_find(path, STR(","), from);
        if (end == SIZE_MAX) end = path.len;
        if (!follow(r, g, (str){path.data + from, end - from}, &v) || !fold(r, g, &v) || !list_add(&b, v))
            return false;
    }
    return list_end(&b, out);
}

static bool truth_or(const value *v, bool otherwise) { return v->kind == UNSET ? otherwise : value_truth(v); }

/* ---- one of them ---- */

static bool filter_first(run *r, const value *v, const value *args, value *out) {
    const list *l;
    (void)args;
    if (!value_iterate(r, v, &l)) return false;
    *out = l->n ? l->items[0] : value_undefined(STR("the first of nothing"));
    if (v->kind != GENERATOR || l->n < 2) return true;
    v->generator->spent = false; /* one has been taken */
    list *rest;
    if (!run_take(r, sizeof *rest, &rest)) return false;
    *rest = (list){l->items + 1, l->n - 1, NULL};
    return v->generator->list = rest, true;
}

static bool filter_last(run *r, const value *v, const value *args, value *out) {
    const list *l;
    (void)args;
    if (v->kind == GENERATOR) return run_fail(r, "a generator has no last item: make a list of it");
    if (!value_iterate(r, v, &l)) return false;
    return *out = l->n ? l->items[l->n - 1] : value_undefined(STR("the last of nothing")), true;
}

static bool extreme(run *r, const value *v, const value *args, bool largest, value *out) {
    getter g = {.path = &args[1], .with_case = truth_or(&args[0], false)};
    const list *l;
    value best = {0}, key;
    if (!value_iterate(r, v, &l)) return false;
    *out = value_undefined(STR("the least or most of nothing"));
    for (size_t i = 0; i < l->n; i++) {
        int order = 0;
        if (!get(r, &g, &l->items[i], &key) || (i && !value_compare(r, &key, &best, &order))) return false;
        if (i && !(largest ? order > 0 : order < 0)) continue;
        best = key;
        *out = l->items[i];
    }
    return true;
}

static bool filter_min(run *r, const value *v, const value *args, value *out) {
    return extreme(r, v, args, false, out);
}
static bool filter_max(run *r, const value *v, const value *args, value *out) {
    return extreme(r, v, args, true, out);
}

static bool filter_sum(run *r, const value *v, const value *args, value *out) {
    getter g = {.path = &args[0], .with_case = true};
    const list *l;
    value item, sum = args[1].kind == UNSET ? value_integer(0) : args[1];
    if (!value_iterate(r, v, &l)) return false;
    if (sum.kind == STRING) return run_fail(r, "sum is not for texts: join them");
    for (size_t i = 0; i < l->n; i++) {
        value so_far = sum;
        if (!get(r, &g, &l->items[i], &item) || !apply_operator(r, OP_ADD, &so_far, &item, &sum))
            return false;
    }
    return *out = sum, true;
}

static bool filter_join(run *r, const value *v, const value *args, value *out) {
    getter g = {.path = &args[1], .with_case = true};
    const list *l;
    value separator = value_string(STR("")), item, text;
    text_builder b;
    if (args[0].kind != UNSET && !text_of_value(r, &args[0], &separator)) return false;
    if (!value_iterate(r, v, &l)) return false;
    build_begin(&b, r, 0);
    for (size_t i = 0; i < l->n && !b.failed; i++) {
        if (!run_spend(r, 1) || !get(r, &g, &l->items[i], &item) || !text_of_value(r, &item, &text))
            return false;
        if (i) build_append(&b, value_str(&separator));
        build_append(&b, value_str(&text));
    }
    return build_end(&b, out);
}

/* ---- all of them in another order, or in groups ---- */

static bool filter_reverse(run *r, const value *v, const value *args, value *out) {
    static const value whole_of_it[3] = {{.kind = NONE}, {.kind = NONE}, {.kind = INTEGER, .integer = -1}};
    const list *l;
    value made, *items;
    (void)args;
    if (v->kind == STRING) return apply_slice(r, v, whole_of_it, out);
    if (!value_iterate(r, v, &l) || !list_new(r, l->n, &made, &items)) return false;
    for (size_t i = 0; i < l->n; i++) items[i] = l->items[l->n - 1 - i];
    if (v->kind == GENERATOR) return *out = made, true;
    return list_generator(r, made.list, out);
}

static bool filter_sort(run *r, const value *v, const value *args, value *out) {
    getter g = {.path = &args[2], .with_case = truth_or(&args[1], false)};
    sort_order order = {.reverse = truth_or(&args[0], false), .key = get_several, .ctx = &g};
    const list *l;
    return value_iterate(r, v, &l) && list_sort(r, l, &order, out);
}

static bool filter_dictsort(run *r, const value *v, const value *args, value *out) {
    value which = value_integer(0), pairs;
    getter g = {.path = &which, .with_case = truth_or(&args[0], false)};
    sort_order order = {.reverse = truth_or(&args[2], false), .key = get, .ctx = &g};
    str by = args[1].kind == STRING ? value_str(&args[1]) : STR("key");
    if (v->kind == UNDEFINED) return value_fail_undefined(r, v);
    if (v->kind != MAPPING) return run_fail(r, "dictsort is for mappings, not %s", value_kind_name(v));
    if (!str_is(by, "key") && !str_is(by, "value")) return run_fail(r, "dictsort: by must be key or value");
    which.integer = str_is(by, "value");
    return mapping_view(r, v->mapping, VIEW_ITEMS, &pairs) && list_sort(r, pairs.view->list, &order, out);
}

static bool filter_unique(run *r, const value *v, const value *args, value *out) {
    getter g = {.path = &args[1], .with_case = truth_or(&args[0], false)};
    list_builder b = {.r = r};
    const list *l;
    mapping *seen;
    value key, *found, made;
    if (!value_iterate(r, v, &l) || !mapping_new(r, 0, &seen)) return false;
    for (size_t i = 0; i < l->n; i++) {
        if (!get(r, &g, &l->items[i], &key) || !mapping_find(r, seen, &key, &found)) return false;
        if (!found && (!mapping_set(r, seen, &key, value_of(NONE)) || !list_add(&b, l->items[i])))
            return false;
    }
    return list_end(&b, &made) && list_generator(r, made.list, out);
}

static bool filter_groupby(run *r, const value *v, const value *args, value *out) {
    getter g = {.path = &args[0],
                .otherwise = args[1].kind == UNSET || args[1].kind == NONE ? NULL : &args[1],
                .with_case = truth_or(&args[2], false)};
    getter exact = {.path = g.path, .otherwise = g.otherwise, .with_case = true};
    sort_order order = {.key = get, .ctx = &g};
    list_builder groups = {.r = r}, group = {.r = r};
    const list *l;
    value sorted, key, last = {0}, *pair, made;
    if (!value_iterate(r, v, &l) || !list_sort(r, l, &order, &sorted)) return false;
    for (size_t i = 0; i <= sorted.list->n; i++) {
        bool same = false, end = i == sorted.list->n;
        if (!end && (!get(r, &g, &sorted.list->items[i], &key) || (i && !value_equal(r, &key, &last, &same))))
            return false;
        if (i && !same) {
            if (!list_tuple(r, 2, &made, &pair) || !get(r, &exact, &group.items[0], &pair[0]) ||
                !list_end(&group, &pair[1]) || !list_add(&groups, made))
                return false;
            group = (list_builder){.r = r};
        }
        last = key;
        if (!end && !list_add(&group, sorted.list->items[i])) return false;
    }
    return list_end(&groups, out);
}

static bool filter_batch(run *r, const value *v, const value *args, value *out) {
    list_builder rows = {.r = r}, row = {.r = r};
    const list *l;
    int64_t n;
    value made;
    if (!value_index(r, "batch: linecount", &args[0], &n) || !value_iterate(r, v, &l)) return false;
    for (size_t i = 0; i < l->n; i++) {
        if ((int64_t)row.n == n && (!list_end(&row, &made) || !list_add(&rows, made))) return false;
        if ((int64_t)row.n == n) row = (list_builder){.r = r};
        if (!list_add(&row, l->items[i])) return false;
    }
    bool fills = args[1].kind != UNSET && args[1].kind != NONE;
    while (fills && row.n && (int64_t)row.n < n)
        if (!list_add(&row, args[1])) return false;
    if (row.n && (!list_end(&row, &made) || !list_add(&rows, made))) return false;
    return list_end(&rows, &made) && list_generator(r, made.list, out);
}

static bool filter_slice(run *r, const value *v, const value *args, value *out) {
    list_builder slices = {.r = r};
    const list *l;
    int64_t n;
    size_t at = 0;
    value made;
    if (!value_index(r, "slice: slices", &args[0], &n) || !value_iterate(r, v, &l)) return false;
    if (n < 1) return run_fail(r, "slice: there must be one at least");
    for (int64_t i = 0; i < n; i++) {
        list_builder one = {.r = r};
        bool extra = i < (int64_t)l->n % n;
        size_t end = at + l->n / (size_t)n + extra;
        for (; at < end; at++)
            if (!list_add(&one, l->items[at])) return false;
        bool fills = args[1].kind != UNSET && args[1].kind != NONE && !extra;
        if ((fills && !list_add(&one, args[1])) || !list_end(&one, &made) || !list_add(&slices, made))
            return false;
    }
    return list_end(&slices, &made) && list_generator(r, made.list, out);
}

/* ---- map, select, reject ---- */

/* What is false has no items, none included. */
static bool items_or_none(run *r, const value *v, const list **l) {
    static const list empty = {0};
    *l = &empty;
    return !value_truth(v) || value_iterate(r, v, l);
}

static bool map_attribute(run *r, const list *l, const arguments *args, value *out) {
    list_builder b = {.r = r};
    const value *path = mapping_get(r, args->keywords, STR("attribute")),
                *otherwise = mapping_get(r, args->keywords, STR("default"));
    getter g = {.path = path,
                .otherwise = otherwise && otherwise->kind != NONE ? otherwise : NULL,
                .with_case = true};
    if (args->keywords->n > 1u + (otherwise != NULL))
        return run_fail(r, "map takes attribute and default, or a filter");
    for (size_t i = 0; i < l->n; i++) {
        value v;
        if (!get(r, &g, &l->items[i], &v) || !list_add(&b, v)) return false;
    }
    return list_end(&b, out);
}

static bool filter_map(run *r, const value *v, const arguments *args, value *out) {
    list_builder b = {.r = r};
    const list *l;
    value made;
    if (!items_or_none(r, v, &l)) return false;
    if (!l->n) return list_generator(r, l, out);
    if (!args->n && args->keywords && mapping_get(r, args->keywords, STR("attribute")))
        return map_attribute(r, l, args, &made) && list_generator(r, made.list, out);
    if (!args->n || args->items[0].kind != STRING)
        return run_fail(r, "map wants the name of a filter, or attribute='…'");
    const builtin *filter = filter_find(value_str(&args->items[0]));
    if (!filter) return run_fail(r, "no filter '%.*s'", CLIPPED(value_str(&args->items[0])));
    arguments rest = {args->items + 1, args->n - 1, args->keywords};
    for (size_t i = 0; i < l->n; i++) {
        value one;
        if (!run_spend(r, 1) || !run_apply(r, filter, &l->items[i], &rest, &one) || !list_add(&b, one))
            return false;
    }
    return list_end(&b, &made) && list_generator(r, made.list, out);
}

static bool choose(run *r, const value *v, const arguments *args, bool by_attribute, bool keep, value *out) {
    list_builder b = {.r = r};
    const list *l;
    value made, looked_at;
    if (!items_or_none(r, v, &l)) return false;
    if (!l->n) return list_generator(r, l, out);
    if (by_attribute && !args->n) return run_fail(r, "the name of an attribute is missing");
    getter g = {.path = by_attribute ? &args->items[0] : &(value){.kind = UNSET}, .with_case = true};
    const builtin *test = NULL;
    arguments rest = {NULL, 0, args->keywords};
    if (args->n > by_attribute) {
        const value *name = &args->items[by_attribute];
        test = name->kind == STRING ? test_find(value_str(name)) : NULL;
        if (!test)
            return run_fail(r, "no test '%.*s'", CLIPPED(name->kind == STRING ? value_str(name) : STR("")));
        rest = (arguments){args->items + by_attribute + 1, args->n - by_attribute - 1, args->keywords};
    }
    for (size_t i = 0; i < l->n; i++) {
        value verdict;
        if (!run_spend(r, 1) || !get(r, &g, &l->items[i], &looked_at)) return false;
        if (!test)
            verdict = looked_at;
        else if (!run_apply(r, test, &looked_at, &rest, &verdict))
            return false;
        if (value_truth(&verdict) == keep && !list_add(&b, l->items[i])) return false;
    }
    return list_end(&b, &made) && list_generator(r, made.list, out);
}

static bool filter_select(run *r, const value *v, const arguments *a, value *out) {
    return choose(r, v, a, false, true, out);
}
static bool filter_reject(run *r, const value *v, const arguments *a, value *out) {
    return choose(r, v, a, false, false, out);
}
static bool filter_selectattr(run *r, const value *v, const arguments *a, value *out) {
    return choose(r, v, a, true, true, out);
}
static bool filter_rejectattr(run *r, const value *v, const arguments *a, value *out) {
    return choose(r, v, a, true, false, out);
}

const builtin filters_of_sequences[] = {
    {"batch", "linecount fill_with?", filter_batch, NULL, true},
    {"dictsort", "case_sensitive? by? reverse?", filter_dictsort, NULL},
    {"first", "", filter_first, NULL},
    {"groupby", "attribute default? case_sensitive?", filter_groupby, NULL},
    {"join", "d? attribute?", filter_join, NULL},
    {"last", "", filter_last, NULL},
    {"map", NULL, NULL, filter_map, true},
    {"max", "case_sensitive? attribute?", filter_max, NULL},
    {"min", "case_sensitive? attribute?", filter_min, NULL},
    {"reject", NULL, NULL, filter_reject, true},
    {"rejectattr", NULL, NULL, filter_rejectattr, true},
    {"reverse", "", filter_reverse, NULL},
    {"select", NULL, NULL, filter_select, true},
    {"selectattr", NULL, NULL, filter_selectattr, true},
    {"slice", "slices fill_with?", filter_slice, NULL, true},
    {"sort", "reverse? case_sensitive? attribute?", filter_sort, NULL},
    {"sum", "attribute? start?", filter_sum, NULL},
    {"unique", "case_sensitive? attribute?", filter_unique, NULL, true},
};
const size_t filters_of_sequences_n = sizeof filters_of_sequences / sizeof *filters_of_sequences;
