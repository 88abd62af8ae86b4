/* Filters of single values. */
#include "text/template/internal.h"
#include "text/unicode/unicode.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

static bool as_text(run *r, const value *v, str *out) {
    value text;
    if (!text_of_value(r, v, &text)) return false;
    return *out = value_str(&text), true;
}

static bool truth_or(const value *v, bool otherwise) { return v->kind == UNSET ? otherwise : value_truth(v); }

/* ---- texts ---- */

static bool filter_upper(run *r, const value *v, const value *args, value *out) {
    str s;
    (void)args;
    return as_text(r, v, &s) && text_change_case(r, s, true, out);
}

static bool filter_lower(run *r, const value *v, const value *args, value *out) {
    str s;
    (void)args;
    return as_text(r, v, &s) && text_change_case(r, s, false, out);
}

static bool filter_capitalize(run *r, const value *v, const value *args, value *out) {
    str s;
    (void)args;
    return as_text(r, v, &s) && text_capitalize(r, s, out);
}

/* Words begin behind blanks, hyphens and opening brackets. */
static bool filter_title(run *r, const value *v, const value *args, value *out) {
    str s;
    text_builder b;
    uint32_t cp;
    (void)args;
    if (!as_text(r, v, &s)) return false;
    build_begin(&b, r, s.len);
    bool first = true;
    for (size_t at = 0, n; at < s.len && !b.failed; at += n) {
        n = (size_t)text_decode(s, at, &cp);
        text_append_case(&b, s, at, n, first);
        first = text_is_space(cp) || (cp < 0x80 && strchr("-({[<", (int)cp) && cp);
    }
    return run_spend_bytes(r, 8 * s.len) && build_end(&b, out);
}

static bool filter_trim(run *r, const value *v, const value *args, value *out) {
    str s;
    if (!as_text(r, v, &s) || !run_spend_bytes(r, s.len)) return false;
    if (args[0].kind != UNSET && args[0].kind != NONE && args[0].kind != STRING)
        return run_fail(r, "trim: chars must be a text");
    *out = value_string(args[0].kind == STRING ? text_trim_set(s, value_str(&args[0]), true, true)
                                               : text_trim(s, true, true));
    return true;
}

static bool filter_replace(run *r, const value *v, const value *args, value *out) {
    str s, old, new;
    int64_t most = -1;
    if (args[2].kind != UNSET && args[2].kind != NONE && !value_index(r, "replace: count", &args[2], &most))
        return false;
    return as_text(r, v, &s) && as_text(r, &args[0], &old) && as_text(r, &args[1], &new) &&
           text_replace(r, s, old, new, most, out);
}

static bool filter_string(run *r, const value *v, const value *args, value *out) {
    (void)args;
    return text_of_value(r, v, out);
}

static bool filter_center(run *r, const value *v, const value *args, value *out) {
    str s;
    int64_t width = 80;
    text_builder b;
    if (args[0].kind != UNSET && !value_index(r, "center: width", &args[0], &width)) return false;
    if (!as_text(r, v, &s)) return false;
    int64_t n = (int64_t)text_characters(s), more = width > n ? width - n : 0,
            left = more / 2 + (more & width & 1);
    build_begin(&b, r, s.len);
    build_pad(&b, STR(" "), (size_t)left);
    build_append(&b, s);
    build_pad(&b, STR(" "), (size_t)(more - left));
    return build_end(&b, out);
}

static bool filter_indent(run *r, const value *v, const value *args, value *out) {
    text_builder b;
    str by = STR("    ");
    value spaces;
    if (v->kind == UNDEFINED) return value_fail_undefined(r, v);
    if (v->kind != STRING) return run_fail(r, "indent is for texts, not %s", value_kind_name(v));
    if (args[0].kind == STRING)
        by = value_str(&args[0]);
    else if (args[0].kind != UNSET) {
        int64_t width;
        if (!value_index(r, "indent: width", &args[0], &width) || !text_repeat(r, STR(" "), width, &spaces))
            return false;
        by = value_str(&spaces);
    }
    bool first = truth_or(&args[1], false), blank = truth_or(&args[2], false), more = false;
    str s = value_str(v);
    build_begin(&b, r, s.len);
    for (size_t at = 0, end, next = 0; !b.failed && (at < s.len || !more); at = next) {
        end = text_line_end(s, at, &next);
        str line = {s.data + at, end - at};
        if (more) build_append(&b, STR("\n"));
        if (more ? line.len || blank : first) build_append(&b, by);
        if (!run_spend_bytes(r, by.len) || !run_spend(r, 1)) return false;
        build_append(&b, line);
        more = true;
    }
    /* What ends in a line's end has one line more, which is empty. */
    bool ends = s.len && text_line_end(s, s.len - 1, &(size_t){0}) == s.len - 1;
    if (ends) build_append(&b, STR("\n"));
    if (ends && blank) build_append(&b, by);
    return build_end(&b, out);
}

static bool filter_truncate(run *r, const value *v, const value *args, value *out) {
    str s, end = STR("...");
    int64_t length = 255, leeway = 5;
    if (args[0].kind != UNSET && !value_index(r, "truncate: length", &args[0], &length)) return false;
    if (args[2].kind != UNSET && !as_text(r, &args[2], &end)) return false;
    if (args[3].kind != UNSET && args[3].kind != NONE &&
        !value_index(r, "truncate: leeway", &args[3], &leeway))
        return false;
    int64_t n_end = (int64_t)text_characters(end);
    size_t n;
    if (v->kind != STRING) {
        if (!value_length(r, v, &n)) return false;
        return (int64_t)n <= length + leeway
               ? *out = *v,
                 true : run_fail(r, "truncate is for texts, not %s", value_kind_name(v));
    }
    if (!as_text(r, v, &s)) return false;
    if (length < n_end || leeway < 0) return run_fail(r, "truncate: the length must have room for the end");
    if ((int64_t)text_characters(s) <= length + leeway) return *out = value_string(s), true;
    s.len = text_offset(s, (size_t)(length - n_end));
    size_t space = truth_or(&args[1], false) ? SIZE_MAX : text_find_last(s, STR(" "));
    if (space != SIZE_MAX) s.len = space;
    return run_spend_bytes(r, s.len) && text_concat(r, s, end, out);
}

static bool filter_wordcount(run *r, const value *v, const value *args, value *out) {
    str s;
    uint32_t cp;
    int64_t n = 0;
    bool inside = false;
    (void)args;
    if (!as_text(r, v, &s)) return false;
    for (size_t at = 0; at < s.len;) {
        at += (size_t)text_decode(s, at, &cp);
        bool word = unicode_is_word(cp);
        n += word && !inside;
        inside = word;
    }
    return *out = value_integer(n), run_spend_bytes(r, 8 * s.len);
}

static bool filter_format(run *r, const value *v, const arguments *args, value *out) {
    str s;
    value given, *items;
    if (!as_text(r, v, &s)) return false;
    if (args->keywords && args->n) return run_fail(r, "format takes values by place or by name, not both");
    if (args->keywords)
        given = value_mapping(args->keywords);
    else if (!list_tuple(r, args->n, &given, &items))
        return false;
    else if (args->n)
        memcpy(items, args->items, args->n * sizeof *items);
    return format_percent(r, s, &given, out);
}

/* ---- numbers ---- */

static bool filter_abs(run *r, const value *v, const value *args, value *out) {
    (void)args;
    if (v->kind == UNDEFINED) return value_fail_undefined(r, v);
    if (!is_number(v)) return run_fail(r, "abs is for numbers, not %s", value_kind_name(v));
    if (v->kind == FLOAT) return *out = value_float(fabs(v->number)), true;
    whole w = whole_of(v);
    return whole_value(r, w < 0 && w != WHOLE_MIN ? -w : w, out);
}

static bool filter_int(run *r, const value *v, const value *args, value *out) {
    int64_t base = 10;
    double d;
    bool large, ok;
    whole w;
    *out = args[0].kind == UNSET ? value_integer(0) : args[0];
    if (args[1].kind != UNSET && !value_index(r, "int: base", &args[1], &base)) return false;
    if (base != 0 && (base < 2 || base > 36)) return run_fail(r, "int: base must be 0 or from 2 to 36");
    if (is_whole(v)) return whole_value(r, whole_of(v), out);
    if (v->kind == FLOAT) return !isfinite(v->number) || number_to_whole(r, v->number, out);
    if (v->kind == UNDEFINED) return value_fail_undefined(r, v);
    if (v->kind != STRING) return true;
    if (!run_spend_bytes(r, 8 * v->bytes)) return false;
    if (text_to_whole(value_str(v), (unsigned)base, &w, &large)) return whole_value(r, w, out);
    if (large) return run_fail(r, "a whole number of more than 127 bits");
    if (!text_to_float(&r->memory, value_str(v), &d, &ok)) return run_refused(r);
    return !ok || !isfinite(d) || number_to_whole(r, d, out);
}

static bool filter_float(run *r, const value *v, const value *args, value *out) {
    double d;
    bool ok;
    *out = args[0].kind == UNSET ? value_float(0) : args[0];
    if (is_number(v)) return *out = value_float(number_of(v)), true;
    if (v->kind == UNDEFINED) return value_fail_undefined(r, v);
    if (v->kind != STRING) return true;
    if (!run_spend_bytes(r, 8 * v->bytes)) return false;
    if (!text_to_float(&r->memory, value_str(v), &d, &ok)) return run_refused(r);
    if (ok) *out = value_float(d);
    return true;
}

static double round_to(double d, int64_t digits) {
    char text[420];
    int exponent;
    if (!isfinite(d) || digits > 300) return d;
    frexp(d, &exponent);
    if ((double)digits + floor((exponent - 1) * 0.30103) > 17) return d; /* so many digits read back as they were */
    if (digits >= 0) return snprintf(text, sizeof text, "%.*f", (int)digits, d), strtod(text, NULL);
    double scale = pow(10, (double)-digits);
    return isfinite(scale) ? rint(d / scale) * scale : 0;
}

static bool round_whole(run *r, whole w, int64_t digits, value *out) {
    whole scale = 1;
    for (; digits < 0 && scale <= WHOLE_MAX / 100; digits++) scale *= 10;
    if (digits < 0) return *out = value_integer(0), true;
    whole rest = w % scale, base = w - rest, half = scale / 2;
    if (rest < 0) rest += scale, base -= scale;
    bool up = scale > 1 && (rest > half || (rest == half && (base / scale) % 2));
    return whole_value(r, up ? base + scale : base, out);
}

static bool filter_round(run *r, const value *v, const value *args, value *out) {
    int64_t digits = 0;
    str method = args[1].kind == STRING ? value_str(&args[1]) : STR("common");
    bool ceils = str_is(method, "ceil");
    if (args[0].kind != UNSET && !value_index(r, "round: precision", &args[0], &digits)) return false;
    if (!ceils && !str_is(method, "floor") && !str_is(method, "common"))
        return run_fail(r, "round: method must be common, ceil or floor");
    if (v->kind == UNDEFINED) return value_fail_undefined(r, v);
    if (!is_number(v)) return run_fail(r, "round is for numbers, not %s", value_kind_name(v));
    if (str_is(method, "common")) {
        if (is_whole(v)) return round_whole(r, whole_of(v), digits, out);
        return *out = value_float(round_to(v->number, digits)), run_spend(r, FLOAT_TEXT_STEPS);
    }
    double scale = pow(10, (double)digits), d = number_of(v) * scale;
    if (!isfinite(d)) return run_fail(r, "round: this has no whole part");
    return *out = value_float((ceils ? ceil(d) : floor(d)) / scale), true;
}

/* ---- whatever it is ---- */

static bool filter_default(run *r, const value *v, const value *args, value *out) {
    (void)r;
    bool missing = v->kind == UNDEFINED || (truth_or(&args[1], false) && !value_truth(v));
    *out = !missing ? *v : args[0].kind == UNSET ? value_string(STR("")) : args[0];
    return true;
}

static bool filter_length(run *r, const value *v, const value *args, value *out) {
    size_t n;
    (void)args;
    if (!value_length(r, v, &n)) return false;
    return *out = value_integer((int64_t)n), true;
}

static bool filter_safe(run *r, const value *v, const value *args, value *out) {
    (void)args;
    return text_of_value(r, v, out) && (out->markup = true);
}

static bool filter_attr(run *r, const value *v, const value *args, value *out) {
    str name;
    if (!as_text(r, &args[0], &name)) return false;
    if (v->kind != MAPPING || method_find(v, name)) return value_attribute(r, v, name, out);
    return *out = value_undefined(name), true;
}

static bool filter_tojson(run *r, const value *v, const value *args, value *out) {
    json_style style = {.item_separator = STR(", "), .key_separator = STR(": ")};
    value spaces;
    style.ensure_ascii = truth_or(&args[0], false);
    style.sort_keys = truth_or(&args[3], false);
    if (args[1].kind == STRING) {
        style.indents = true;
        style.indent = value_str(&args[1]);
    } else if (args[1].kind != UNSET && args[1].kind != NONE) {
        int64_t width;
        if (!value_index(r, "tojson: indent", &args[1], &width) || !text_repeat(r, STR(" "), width, &spaces))
            return false;
        style.indents = true;
        style.indent = value_str(&spaces);
    }
    if (style.indents) style.item_separator = STR(",");
    if (args[2].kind != UNSET && args[2].kind != NONE) {
        const value *two = is_list(&args[2]) && args[2].list->n == 2 ? args[2].list->items : NULL;
        if (!two || two[0].kind != STRING || two[1].kind != STRING)
            return run_fail(r, "tojson: separators must be two texts");
        style.item_separator = value_str(&two[0]);
        style.key_separator = value_str(&two[1]);
    }
    return json_of_value(r, v, &style, out);
}

static bool filter_list(run *r, const value *v, const value *args, value *out) {
    const list *l;
    value *items;
    (void)args;
    if (!value_iterate(r, v, &l) || !list_new(r, l->n, out, &items)) return false;
    if (l->n) memcpy(items, l->items, l->n * sizeof *items);
    return true;
}

static bool filter_items(run *r, const value *v, const value *args, value *out) {
    static const list empty = {0};
    value pairs;
    (void)args;
    if (v->kind == UNDEFINED) return list_generator(r, &empty, out);
    if (v->kind != MAPPING) return run_fail(r, "items is for mappings, not %s", value_kind_name(v));
    return mapping_view(r, v->mapping, VIEW_ITEMS, &pairs) && list_generator(r, pairs.view->list, out);
}

static bool filter_pprint(run *r, const value *v, const value *args, value *out) {
    (void)args;
    return text_repr(r, v, out);
}

/* A prompt is the same each time, or nothing of it is found in the cache. */
static bool filter_random(run *r, const value *v, const value *args, value *out) {
    (void)v, (void)args, (void)out;
    return run_fail(r, "the filter random is not supported: a template gives the same text each time");
}

static const builtin filters[] = {
    {"abs", "", filter_abs, NULL},
    {"attr", "name", filter_attr, NULL},
    {"capitalize", "", filter_capitalize, NULL},
    {"center", "width?", filter_center, NULL},
    {"count", "", filter_length, NULL},
    {"d", "default_value? boolean?", filter_default, NULL},
    {"default", "default_value? boolean?", filter_default, NULL},
    {"filesizeformat", "binary?", filter_filesizeformat, NULL},
    {"float", "default?", filter_float, NULL},
    {"format", NULL, NULL, filter_format},
    {"indent", "width? first? blank?", filter_indent, NULL},
    {"int", "default? base?", filter_int, NULL},
    {"items", "", filter_items, NULL, true},
    {"length", "", filter_length, NULL},
    {"list", "", filter_list, NULL},
    {"lower", "", filter_lower, NULL},
    {"pprint", "", filter_pprint, NULL},
    {"random", "", filter_random, NULL},
    {"replace", "old new count?", filter_replace, NULL},
    {"round", "precision? method?", filter_round, NULL},
    {"safe", "", filter_safe, NULL},
    {"string", "", filter_string, NULL},
    {"title", "", filter_title, NULL},
    {"tojson", "ensure_ascii? indent? separators? sort_keys?", filter_tojson, NULL},
    {"trim", "chars?", filter_trim, NULL},
    {"truncate", "length? killwords? end? leeway?", filter_truncate, NULL},
    {"upper", "", filter_upper, NULL},
    {"wordcount", "", filter_wordcount, NULL},
    {"wordwrap", "width? break_long_words? wrapstring? break_on_hyphens?", filter_wordwrap, NULL},
};

const builtin *filter_find(str name) {
    const builtin *b = builtin_find(filters, sizeof filters / sizeof *filters, name);
    if (!b) b = builtin_find(filters_of_sequences, filters_of_sequences_n, name);
    return b ? b : builtin_find(filters_of_markup, filters_of_markup_n, name);
}
