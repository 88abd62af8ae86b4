/* Members and methods of all that is no text, and the functions of every template. Nothing can be changed
 * through them: what would do so is known, and refused when it is called. */
#include "text/template/internal.h"

#include <stdio.h>
#include <time.h>

#define METHOD(name) static bool name(run *r, const value *self, const value *args, value *out)

extern const builtin *const methods_of_texts;
extern const size_t methods_of_texts_n;

/* ---- mappings ---- */

METHOD(mapping_get_method) {
    value *found;
    if (!mapping_find(r, self->mapping, &args[0], &found)) return false;
    return *out = found ? *found : args[1].kind == UNSET ? value_of(NONE) : args[1], true;
}

METHOD(mapping_items) { return (void)args, mapping_view(r, self->mapping, VIEW_ITEMS, out); }
METHOD(mapping_keys) { return (void)args, mapping_view(r, self->mapping, VIEW_KEYS, out); }
METHOD(mapping_values) { return (void)args, mapping_view(r, self->mapping, VIEW_VALUES, out); }

METHOD(mapping_copy) {
    mapping *m;
    (void)args;
    if (!mapping_open(r, self->mapping)) return false;
    if (!mapping_new(r, self->mapping->n, &m) || !mapping_add_all(r, m, self->mapping)) return false;
    return *out = value_mapping(m), true;
}

METHOD(immutable) {
    (void)self;
    (void)args;
    (void)out;
    return run_fail(r, "a template changes no list and no mapping");
}

static const builtin of_mappings[] = {
    {"get", "/key default?", mapping_get_method, NULL},
    {"items", "/", mapping_items, NULL},
    {"keys", "/", mapping_keys, NULL},
    {"values", "/", mapping_values, NULL},
    {"copy", "/", mapping_copy, NULL},
};
static const char *const changes_of_mappings[] = {"clear", "pop", "popitem", "setdefault", "update", NULL};

/* ---- lists ---- */

METHOD(list_count) {
    int64_t n = 0;
    for (size_t i = 0; i < self->list->n; i++) {
        bool same;
        if (!value_equal(r, &self->list->items[i], &args[0], &same)) return false;
        n += same;
    }
    return *out = value_integer(n), true;
}

METHOD(list_index) {
    for (size_t i = 0; i < self->list->n; i++) {
        bool same;
        if (!value_equal(r, &self->list->items[i], &args[0], &same)) return false;
        if (same) return *out = value_integer((int64_t)i), true;
    }
    return run_fail(r, "index(): this is not in it");
}

METHOD(list_copy) {
    (void)r;
    (void)args;
    return *out = *self, true;
}

static const builtin of_lists[] = {
    {"count", "/value", list_count, NULL},
    {"index", "/value", list_index, NULL},
    {"copy", "/", list_copy, NULL},
};
static const char *const changes_of_lists[] = {"append", "clear",   "extend", "insert", "pop",
                                               "remove", "reverse", "sort",   NULL};

/* ---- numbers ---- */

METHOD(whole_bit_length) {
    int64_t n = 0;
    (void)r;
    (void)args;
    whole w = whole_of(self);
    for (unsigned __int128 rest = w < 0 ? -(unsigned __int128)w : (unsigned __int128)w; rest; rest >>= 1) n++;
    return *out = value_integer(n), true;
}

METHOD(float_is_integer) {
    (void)r;
    (void)args;
    return *out = value_boolean(self->number - (double)(int64_t)self->number == 0 || self->number > 1e18 ||
                                self->number < -1e18),
           true;
}

static const builtin of_wholes[] = {{"bit_length", "/", whole_bit_length, NULL}};
static const builtin of_floats[] = {{"is_integer", "/", float_is_integer, NULL}};

/* ---- loop ---- */

static bool loop_cycle(run *r, const value *self, const arguments *args, value *out) {
    if (!args->n) return run_fail(r, "loop.cycle() wants something to go through");
    return *out = args->items[self->loop->at % args->n], true;
}

static bool loop_changed(run *r, const value *self, const arguments *args, value *out) {
    value now, *items;
    bool same = false;
    loop_state *loop = self->loop;
    if (!list_tuple(r, args->n, &now, &items)) return false;
    if (args->n) memcpy(items, args->items, args->n * sizeof *items);
    if (loop->last_changed.kind != UNSET && !value_equal(r, &loop->last_changed, &now, &same)) return false;
    loop->last_changed = now;
    return *out = value_boolean(!same), true;
}

static const builtin of_loops[] = {{"cycle", NULL, NULL, loop_cycle}, {"changed", NULL, NULL, loop_changed}};

static value loop_member(const loop_state *loop, str name) {
    int64_t at = (int64_t)loop->at, n = (int64_t)loop->items->n;
    const value *items = loop->items->items;
    if (str_is(name, "index")) return value_integer(at + 1);
    if (str_is(name, "index0")) return value_integer(at);
    if (str_is(name, "revindex")) return value_integer(n - at);
    if (str_is(name, "revindex0")) return value_integer(n - at - 1);
    if (str_is(name, "first")) return value_boolean(at == 0);
    if (str_is(name, "last")) return value_boolean(at == n - 1);
    if (str_is(name, "length")) return value_integer(n);
    if (str_is(name, "depth")) return value_integer(loop->depth + 1);
    if (str_is(name, "depth0")) return value_integer(loop->depth);
    if (str_is(name, "previtem"))
        return at ? items[at - 1] : value_undefined(STR("loop.previtem of the first"));
    if (str_is(name, "nextitem"))
        return at + 1 < n ? items[at + 1] : value_undefined(STR("loop.nextitem of the last"));
    return value_undefined(name);
}

/* ---- cyclers ---- */

METHOD(cycler_next) {
    cycler *c = self->cycler;
    (void)r;
    (void)args;
    *out = c->items->items[c->at];
    return c->at = (c->at + 1) % c->items->n, true;
}

METHOD(cycler_reset) {
    (void)r;
    (void)args;
    self->cycler->at = 0;
    return *out = value_of(NONE), true;
}

static const builtin of_cyclers[] = {{"next", "/", cycler_next, NULL}, {"reset", "/", cycler_reset, NULL}};

/* ---- members ---- */

#define FIND(table) builtin_find(table, sizeof table / sizeof *table, name)

static const builtin *change_find(const char *const *names, str name) {
    static const builtin refusal = {"change", "", immutable, NULL};
    for (; *names; names++)
        if (str_is(name, *names)) return &refusal;
    return NULL;
}

const builtin *method_find(const value *self, str name) {
    const builtin *b = NULL;
    switch (self->kind) {
    case STRING: return builtin_find(methods_of_texts, methods_of_texts_n, name);
    case MAPPING: return (b = FIND(of_mappings)) ? b : change_find(changes_of_mappings, name);
    case LIST: return (b = FIND(of_lists)) ? b : change_find(changes_of_lists, name);
    case TUPLE: return str_is(name, "copy") ? NULL : FIND(of_lists);
    case BOOLEAN:
    case INTEGER:
    case BIG: return FIND(of_wholes);
    case FLOAT: return FIND(of_floats);
    case LOOP: return FIND(of_loops);
    case CYCLER: return FIND(of_cyclers);
    default: return NULL;
    }
}

static bool bound_method(run *r, const value *self, const builtin *b, value *out) {
    function *f;
    if (!run_take(r, sizeof *f, &f)) return false;
    *f = (function){.builtin = b, .self = *self};
    return *out = (value){.kind = FUNCTION, .function = f}, true;
}

/* Attributes of v that are no methods; UNSET: none. */
static value plain_attribute(run *r, const value *v, str name) {
    value *found;
    if (v->kind == LOOP) return loop_member(v->loop, name);
    if (v->kind == NAMESPACE) return (found = mapping_get(r, v->mapping, name)) ? *found : value_of(UNSET);
    if (v->kind == CYCLER && str_is(name, "current")) return v->cycler->items->items[v->cycler->at];
    if (v->kind == TUPLE && v->list->n == 2 && str_is(name, "grouper")) return v->list->items[0];
    if (v->kind == TUPLE && v->list->n == 2 && str_is(name, "list")) return v->list->items[1];
    if (v->kind == FUNCTION && !v->function->builtin && str_is(name, "name") && !v->function->caller)
        return value_string(v->function->node->a->text);
    return value_of(UNSET);
}

bool value_attribute(run *r, const value *v, str name, value *out) {
    if (v->kind == UNDEFINED) return value_fail_undefined(r, v);
    const builtin *b = method_find(v, name);
    if (b && b->apply == immutable) return *out = value_undefined(name), true;
    if (b) return bound_method(r, v, b, out);
    *out = plain_attribute(r, v, name);
    if (out->kind != UNSET) return true;
    if (v->kind == MAPPING && !mapping_open(r, v->mapping)) return false;
    value *found = v->kind == MAPPING ? mapping_get(r, v->mapping, name) : NULL;
    *out = found ? *found : value_undefined(name);
    return true;
}

static const value *item_at(const list *l, const value *key) {
    whole i = is_whole(key) ? whole_of(key) : (whole)l->n;
    if (i < 0) i += (whole)l->n;
    return i >= 0 && i < (whole)l->n ? &l->items[i] : NULL;
}

static bool character_at(run *r, const value *v, const value *key, value *out) {
    whole i = whole_of(key), n = i < 0 ? (whole)text_characters(value_str(v)) : 0;
    *out = value_undefined(STR("a character outside of the text"));
    if (i + n < 0 || i + n >= v->bytes) return run_spend_bytes(r, v->bytes);
    size_t at = text_offset(value_str(v), (size_t)(i + n));
    if (at < v->bytes) *out = value_string((str){v->text + at, text_next(value_str(v), at) - at});
    return run_spend_bytes(r, v->bytes);
}

bool value_item(run *r, const value *v, const value *key, value *out) {
    const value *found = NULL;
    value *of_mapping;
    if (v->kind == UNDEFINED) return value_fail_undefined(r, v);
    if (is_list(v) || (v->kind == VIEW && v->view->kind == VIEW_RANGE))
        found = item_at(is_list(v) ? v->list : v->view->list, key);
    if (v->kind == STRING && is_whole(key)) return character_at(r, v, key, out);
    if (v->kind == MAPPING && key->kind != LIST && key->kind != MAPPING) {
        if (!mapping_find(r, v->mapping, key, &of_mapping)) return false;
        found = of_mapping;
    }
    if (found) return *out = *found, true;
    if (key->kind != STRING) return *out = value_undefined(STR("an item that is not there")), true;
    const builtin *b = method_find(v, value_str(key));
    if (b && b->apply != immutable) return bound_method(r, v, b, out);
    *out = plain_attribute(r, v, value_str(key));
    if (out->kind == UNSET) *out = value_undefined(value_str(key));
    return true;
}

/* ---- functions of every template ---- */

METHOD(raise_exception) {
    value text;
    (void)self;
    (void)out;
    r->why = FAILED;
    if (!text_of_value(r, &args[0], &text)) return false;
    return err_set(r->e, ERR_INVALID, "%.*s", STR_ARG(value_str(&text)));
}

METHOD(make_range) {
    int64_t part[3] = {0, 0, 1};
    value made, *items;
    view *v;
    (void)self;
    for (int i = 0; i < 3; i++)
        if (args[i].kind != UNSET && !value_index(r, "range()", &args[i], &part[i])) return false;
    if (args[1].kind == UNSET) part[1] = part[0], part[0] = 0;
    if (!part[2]) return run_fail(r, "range(): the step must not be zero");
    whole span = part[2] > 0 ? (whole)part[1] - part[0] : (whole)part[0] - part[1],
          step = part[2] > 0 ? part[2] : -part[2];
    whole n = span > 0 ? (span + step - 1) / step : 0;
    if (n > TEXT_TEMPLATE_RANGE_MAX)
        return run_fail(r, "range() of more than %d numbers", TEXT_TEMPLATE_RANGE_MAX);
    if (!list_new(r, (size_t)n, &made, &items) || !run_take(r, sizeof *v, &v)) return false;
    for (int64_t i = 0; i < (int64_t)n; i++) items[i] = value_integer(part[0] + i * part[2]);
    *v = (view){VIEW_RANGE, made.list, {part[0], part[1], part[2]}};
    return *out = (value){.kind = VIEW, .view = v}, true;
}

METHOD(strftime_now) {
    time_t now = (time_t)r->limits->now_s;
    struct tm parts;
    char text[64];
    (void)self;
    if (args[0].kind != STRING)
        return run_fail(r, "strftime_now() wants a format, not %s", value_kind_name(&args[0]));
    gmtime_r(&now, &parts);
    str s = value_str(&args[0]);
    text_builder b;
    build_begin(&b, r, s.len + 16);
    for (size_t i = 0; i < s.len; i++) {
        bool dash = i + 2 < s.len && s.data[i + 1] == '-';
        char letter = s.data[i] == '%' && i + 1 < s.len ? s.data[i + 1 + dash] : 0;
        bool known = letter && strchr("aAbBcdDeFHIjklmMnpPrRsSTuUVwWxXyYzZ%hgGCt", letter);
        const char one[] = {'%', dash ? '-' : letter, dash ? letter : 0, 0};
        if (known)
            build_append(&b, (str){text, strftime(text, sizeof text, one, &parts)});
        else
            build_append(&b, (str){s.data + i, 1});
        i += known ? 1u + dash : 0;
    }
    return build_end(&b, out);
}

static bool make_mapping(run *r, const arguments *args, mapping **m) {
    if (args->n > 1) return run_fail(r, "this takes one mapping, and names");
    if (!mapping_new(r, 4, m) || (args->n && !mapping_add_pairs(r, *m, &args->items[0]))) return false;
    return !args->keywords || mapping_add_all(r, *m, args->keywords);
}

static bool make_namespace(run *r, const value *self, const arguments *args, value *out) {
    mapping *m;
    (void)self;
    if (!make_mapping(r, args, &m)) return false;
    return *out = (value){.kind = NAMESPACE, .mapping = m}, true;
}

static bool make_dict(run *r, const value *self, const arguments *args, value *out) {
    mapping *m;
    (void)self;
    if (!make_mapping(r, args, &m)) return false;
    return *out = value_mapping(m), true;
}

static bool make_cycler(run *r, const value *self, const arguments *args, value *out) {
    value items;
    cycler *c;
    (void)self;
    if (!args->n) return run_fail(r, "cycler() wants something to go through");
    if (!list_of_items(r, args->items, args->n, &items) || !run_take(r, sizeof *c, &c)) return false;
    *c = (cycler){items.list, 0};
    return *out = (value){.kind = CYCLER, .cycler = c}, true;
}

METHOD(make_joiner) {
    value *kept, items;
    cycler *c;
    (void)self;
    if (!list_new(r, 1, &items, &kept) || !run_take(r, sizeof *c, &c)) return false;
    kept[0] = args[0].kind == UNSET ? value_string(STR(", ")) : args[0];
    *c = (cycler){items.list, 0};
    return *out = (value){.kind = JOINER, .cycler = c}, true;
}

METHOD(lipsum) {
    (void)self, (void)args, (void)out;
    return run_fail(r, "lipsum() is not supported: a template gives the same text each time");
}

static const builtin globals[] = {
    {"raise_exception", "message", raise_exception, NULL},
    {"range", "/start stop? step?", make_range, NULL},
    {"strftime_now", "format", strftime_now, NULL},
    {"namespace", NULL, NULL, make_namespace},
    {"dict", NULL, NULL, make_dict},
    {"cycler", NULL, NULL, make_cycler},
    {"joiner", "sep?", make_joiner, NULL},
    {"lipsum", "n? html? min? max?", lipsum, NULL},
};

const builtin *global_find(str name) { return builtin_find(globals, sizeof globals / sizeof *globals, name); }
