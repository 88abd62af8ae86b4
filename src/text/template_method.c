/* Methods of texts and mappings, and the functions every template has. */
#include "text/template_internal.h"

#include <math.h>
#include <time.h>

/* ---- finding them ---- */

static const struct {
    const char *name;
    function_kind kind;
} text_methods[] = {
    {"upper", CALL_UPPER}, {"lower", CALL_LOWER}, {"strip", CALL_STRIP}, {"lstrip", CALL_LSTRIP},
    {"rstrip", CALL_RSTRIP}, {"title", CALL_TITLE}, {"capitalize", CALL_CAPITALIZE},
    {"startswith", CALL_STARTSWITH}, {"endswith", CALL_ENDSWITH}, {"split", CALL_SPLIT}, {"replace", CALL_REPLACE},
}, mapping_methods[] = {
    {"get", CALL_GET}, {"items", CALL_ITEMS}, {"keys", CALL_KEYS}, {"values", CALL_VALUES},
    {"dictsort", CALL_DICTSORT},
};

#define COUNT(table) (sizeof(table) / sizeof *(table))

static bool bind_method(run *r, function_kind kind, const value *self, value *out) {
    function *f;
    if (!run_take(r, sizeof *f, &f)) return false;
    *f = (function){.kind = kind, .self = *self};
    return *out = (value){.kind = FUNCTION, .function = f}, true;
}

bool method_find(run *r, const value *self, str name, value *out) {
    *out = value_of(UNDEFINED);
    if (is_list(self) && str_is(name, "length")) return *out = value_integer((double)self->list->n), true;
    if (is_mapping(self)) {
        for (size_t i = 0; i < COUNT(mapping_methods); i++)
            if (str_is(name, mapping_methods[i].name)) return bind_method(r, mapping_methods[i].kind, self, out);
    }
    if (self->kind != STRING) return true;
    if (str_is(name, "length")) {
        *out = value_integer((double)text_units(value_str(self)));
        return run_spend_bytes(r, self->bytes);
    }
    for (size_t i = 0; i < COUNT(text_methods); i++)
        if (str_is(name, text_methods[i].name)) return bind_method(r, text_methods[i].kind, self, out);
    return true;
}

/* ---- texts ---- */

static value argument(arguments args, size_t i) { return i < args.n ? args.items[i] : value_of(MISSING); }

static bool starts_or_ends(str s, str part, bool end) {
    if (!end) return str_starts(s, part);
    return s.len >= part.len && str_eq((str){s.data + s.len - part.len, part.len}, part);
}

static bool call_starts_or_ends(run *r, const function *f, arguments args, value *out) {
    bool end = f->kind == CALL_ENDSWITH, found = false;
    const char *name = end ? "endswith" : "startswith";
    value what = argument(args, 0);
    if (what.kind != STRING && !is_list(&what))
        return run_fail(r, "%s() wants a text, or a list of texts, not %s", name, value_kind_name(&what));
    const value *parts = is_list(&what) ? what.list->items : &what;
    size_t n = is_list(&what) ? what.list->n : 1;
    for (size_t i = 0; i < n && !found; i++) {
        if (parts[i].kind != STRING)
            return run_fail(r, "%s() wants texts, not %s", name, value_kind_name(&parts[i]));
        found = starts_or_ends(value_str(&f->self), value_str(&parts[i]), end);
        if (!run_spend(r, 1) || !run_spend_bytes(r, parts[i].bytes)) return false;
    }
    return *out = value_boolean(found), true;
}

static bool call_split(run *r, const function *f, arguments args, value *out) {
    value separator = argument(args, 0), most = argument(args, 1);
    if (separator.kind != STRING && separator.kind != NONE && separator.kind != MISSING)
        return run_fail(r, "split() wants a text to split at, not %s", value_kind_name(&separator));
    if (most.kind != INTEGER && most.kind != MISSING)
        return run_fail(r, "split() wants a whole number of splits, not %s", value_kind_name(&most));
    return text_split(r, value_str(&f->self), &separator, most.kind == INTEGER ? most.number : -1, out);
}

static bool call_replace(run *r, const function *f, arguments args, value *out) {
    value old = argument(args, 0), new = argument(args, 1), count = argument(args, 2);
    if (old.kind != STRING || new.kind != STRING) return run_fail(r, "replace() wants two texts");
    if (count.kind == KEYWORDS) {
        value *named = mapping_get(r, count.mapping, STR("count"));
        count = named ? *named : value_of(NONE);
    }
    if (count.kind != INTEGER && count.kind != NONE && (count.kind != MISSING || args.n > 2))
        return run_fail(r, "replace() wants a whole number of times, not %s", value_kind_name(&count));
    double most = count.kind == INTEGER ? count.number : -1;
    return text_replace(r, value_str(&f->self), value_str(&old), value_str(&new), isnan(most) ? 0 : most, out);
}

static bool call_text_method(run *r, const function *f, arguments args, value *out) {
    str s = value_str(&f->self);
    switch (f->kind) {
    case CALL_UPPER: return text_change_case(r, s, true, out);
    case CALL_LOWER: return text_change_case(r, s, false, out);
    case CALL_STRIP:
    case CALL_LSTRIP:
    case CALL_RSTRIP:
        *out = value_string(text_trim(s, f->kind != CALL_RSTRIP, f->kind != CALL_LSTRIP));
        return run_spend_bytes(r, s.len - out->bytes);
    case CALL_TITLE: return text_title(r, s, out);
    case CALL_CAPITALIZE: return text_capitalize(r, s, out);
    case CALL_SPLIT: return call_split(r, f, args, out);
    case CALL_REPLACE: return call_replace(r, f, args, out);
    default: return call_starts_or_ends(r, f, args, out);
    }
}

/* ---- mappings ---- */

static bool call_get(run *r, const mapping *m, arguments args, value *out) {
    value key = argument(args, 0), otherwise = argument(args, 1);
    if (key.kind != STRING) return run_fail(r, "get() wants a text, not %s", value_kind_name(&key));
    value *found = mapping_get(r, m, value_str(&key));
    if (found && found->kind != MISSING) return *out = *found, true;
    return *out = otherwise.kind == MISSING ? value_of(NONE) : otherwise, true;
}

/* The i-th positional argument, or the keyword of that name, or otherwise. */
static value named_argument(run *r, arguments args, size_t i, const mapping *keywords, str name, value otherwise) {
    value v = argument(args, i);
    if (v.kind != MISSING) return v;
    value *named = keywords ? mapping_get(r, keywords, name) : NULL;
    return named && named->kind != MISSING ? *named : otherwise;
}

static bool call_dictsort(run *r, const mapping *m, arguments args, value *out) {
    const mapping *keywords = NULL;
    value *positional;
    size_t n = 0;
    if (!run_take_items(r, args.n, &positional)) return false;
    for (size_t i = 0; i < args.n; i++) {
        if (args.items[i].kind == KEYWORDS) keywords = args.items[i].mapping;
        else positional[n++] = args.items[i];
    }
    args = (arguments){positional, n};
    value with_case = named_argument(r, args, 0, keywords, STR("case_sensitive"), value_boolean(false));
    value by = named_argument(r, args, 1, keywords, STR("by"), value_string(STR("key")));
    value reverse = named_argument(r, args, 2, keywords, STR("reverse"), value_boolean(false)), pairs;
    if (with_case.kind != BOOLEAN || reverse.kind != BOOLEAN)
        return run_fail(r, "dictsort's case_sensitive and reverse must be booleans");
    bool by_key = by.kind == STRING && str_is(value_str(&by), "key");
    if (!by_key && (by.kind != STRING || !str_is(value_str(&by), "value")))
        return run_fail(r, "dictsort's by must be 'key' or 'value'");
    sort_order order = {.by_pair = true, .pair_index = !by_key, .with_case = with_case.boolean,
                        .reverse = reverse.boolean};
    return mapping_items(r, m, &pairs) && list_sort(r, pairs.list, &order, out);
}

static bool call_values(run *r, const mapping *m, value *out) {
    value *items;
    if (!list_new(r, m->n, out, &items)) return false;
    for (uint32_t i = 0; i < m->n; i++) items[i] = m->entries[i].value;
    return true;
}

/* ---- functions ---- */

bool function_raise(run *r, arguments args) {
    value what = argument(args, 0), text;
    if (what.kind == MISSING || what.kind == UNDEFINED || what.kind == NONE)
        return run_fail(r, "the template refuses this conversation");
    if (!text_of_raw(r, &what, &text)) return false;
    r->why = FAILED;
    int shown = text.bytes < ERR_MESSAGE_BYTES ? (int)text.bytes : ERR_MESSAGE_BYTES;
    return err_set(r->e, ERR_INVALID, "%.*s", shown, text.text);
}

/* What JavaScript makes a number of; NaN is beyond nothing. */
static bool range_number(run *r, const value *v, double *out) {
    value text = *v;
    *out = NAN;
    if (is_numeric(v)) return *out = value_number(v), true;
    if (is_list(v) && !text_of_raw(r, v, &text)) return false;
    return text.kind != STRING || number_of_text(r, value_str(&text), out);
}

static value number_of_kind(double d) { return isfinite(d) && d == floor(d) ? value_integer(d) : value_float(d); }

static bool is_absent(const value *v) { return v->kind == MISSING || v->kind == UNDEFINED || v->kind == NONE; }

bool function_range(run *r, arguments args, value *out) {
    value first = argument(args, 0), second = argument(args, 1), third = argument(args, 2), *items;
    double start = 0, stop, step = 1;
    if (first.kind == MISSING) first.kind = UNDEFINED;
    bool one = is_absent(&second), has_step = !is_absent(&third);
    if (!range_number(r, one ? &first : &second, &stop) || (!one && !range_number(r, &first, &start)) ||
        (has_step && !range_number(r, &third, &step)))
        return false;
    if (!one && first.kind >= STRING)
        return run_fail(r, "range() wants a number to start from, not %s", value_kind_name(&first));
    if (step == 0) return run_fail(r, "range()'s step must not be zero");
    size_t n = 0;
    for (double i = start; (step > 0 ? i < stop : i > stop) && n <= TEXT_TEMPLATE_RANGE_MAX; i += step) n++;
    if (n > TEXT_TEMPLATE_RANGE_MAX) return run_fail(r, "range() of more than %d numbers", TEXT_TEMPLATE_RANGE_MAX);
    if (!list_new(r, n, out, &items)) return false;
    for (size_t k = 0; k < n; k++, start += step) items[k] = number_of_kind(start);
    if (n && !one && first.kind == BOOLEAN) items[0] = first; /* the reference gives back what it was given */
    return true;
}

/* Only what the reference knows: %Y %m %d %b %B %H %M %%. */
bool function_strftime_now(run *r, arguments args, value *out) {
    value format = argument(args, 0);
    time_t now = (time_t)r->limits->now_s;
    struct tm parts;
    char text[64];
    if (format.kind != STRING)
        return run_fail(r, "strftime_now() wants a format, not %s", value_kind_name(&format));
    gmtime_r(&now, &parts);
    str s = value_str(&format);
    text_builder b;
    build_begin(&b, r, s.len + 16);
    for (size_t i = 0; i < s.len; i++) {
        bool known = s.data[i] == '%' && i + 1 < s.len && memchr("YmdbBHM%", s.data[i + 1], 8);
        const char one[] = {'%', known ? s.data[i + 1] : '%', 0};
        if (known) build_append(&b, (str){text, strftime(text, sizeof text, one, &parts)});
        else build_append(&b, (str){s.data + i, 1});
        i += known;
    }
    return build_end(&b, out);
}

/* A pair may be a text of two characters. */
static bool add_pair(run *r, mapping *m, const value *pair) {
    value first, second;
    if (is_list(pair) && pair->list->n == 2) {
        first = pair->list->items[0];
        second = pair->list->items[1];
    } else if (pair->kind == STRING && text_characters(value_str(pair)) == 2) {
        if (!text_slice(r, value_str(pair), 0, 1, 1, &first) || !text_slice(r, value_str(pair), 1, 2, 1, &second))
            return false;
    } else {
        return run_fail(r, "namespace() wants a mapping, or a list of pairs");
    }
    if (first.kind != STRING)
        return run_fail(r, "a namespace's keys must be texts, not %s", value_kind_name(&first));
    return mapping_set(r, m, value_str(&first), second);
}

static bool add_all(run *r, mapping *to, const mapping *from) {
    for (uint32_t i = 0; i < from->n; i++)
        if (!mapping_set(r, to, from->entries[i].key, from->entries[i].value)) return false;
    return true;
}

bool function_namespace(run *r, arguments args, value *out) {
    mapping *m;
    const mapping *keywords = NULL;
    if (args.n && args.items[args.n - 1].kind == KEYWORDS) keywords = args.items[--args.n].mapping;
    if (args.n > 1) return run_fail(r, "namespace() wants at most one argument, not %zu", args.n);
    if (!mapping_new(r, 0, &m)) return false;
    if (args.n) {
        const value *source = &args.items[0];
        if (!is_mapping(source) && !is_list(source))
            return run_fail(r, "namespace() wants a mapping, or a list of pairs, not %s", value_kind_name(source));
        if (is_mapping(source) && !add_all(r, m, source->mapping)) return false;
        for (size_t i = 0; is_list(source) && i < source->list->n; i++)
            if (!add_pair(r, m, &source->list->items[i])) return false;
    }
    if (keywords && !add_all(r, m, keywords)) return false;
    return *out = (value){.kind = NAMESPACE, .mapping = m}, true;
}

bool method_call(run *r, const function *f, arguments args, value *out) {
    switch (f->kind) {
    case CALL_NAMESPACE: return function_namespace(r, args, out);
    case CALL_RAISE_EXCEPTION: return function_raise(r, args);
    case CALL_RANGE: return function_range(r, args, out);
    case CALL_STRFTIME_NOW: return function_strftime_now(r, args, out);
    case CALL_GET: return call_get(r, f->self.mapping, args, out);
    case CALL_ITEMS: return mapping_items(r, f->self.mapping, out);
    case CALL_KEYS: return mapping_keys(r, f->self.mapping, out);
    case CALL_VALUES: return call_values(r, f->self.mapping, out);
    case CALL_DICTSORT: return call_dictsort(r, f->self.mapping, args, out);
    default: return call_text_method(r, f, args, out);
    }
}
