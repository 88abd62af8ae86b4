/* Methods of texts. */
#include "text/template/internal.h"
#include "text/unicode/unicode.h"

static bool text_argument(run *r, const char *what, const value *v, str *out) {
    *out = STR("");
    if (v->kind == UNDEFINED) return value_fail_undefined(r, v);
    if (v->kind != STRING) return run_fail(r, "%s wants a text, not %s", what, value_kind_name(v));
    return *out = value_str(v), true;
}

static bool count_argument(run *r, const char *what, const value *v, int64_t otherwise, int64_t *out) {
    *out = otherwise;
    return v->kind == UNSET || value_index(r, what, v, out);
}

#define SELF value_str(self)
#define METHOD(name) static bool name(run *r, const value *self, const value *args, value *out)

METHOD(text_upper) { return (void)args, text_change_case(r, SELF, true, out); }
METHOD(text_lower) { return (void)args, text_change_case(r, SELF, false, out); }
METHOD(text_swapcase) { return (void)args, text_swap_case(r, SELF, out); }
METHOD(text_titled) { return (void)args, text_title(r, SELF, out); }
METHOD(text_capitalized) { return (void)args, text_capitalize(r, SELF, out); }

/* ---- strip ---- */

static bool strip(run *r, const value *self, const value *args, bool start, bool end, value *out) {
    str set;
    if (args[0].kind == UNSET || args[0].kind == NONE)
        *out = value_string(text_trim(SELF, start, end));
    else if (!text_argument(r, "strip()", &args[0], &set))
        return false;
    else
        *out = value_string(text_trim_set(SELF, set, start, end));
    return run_spend_bytes(r, self->bytes);
}

METHOD(text_strip) { return strip(r, self, args, true, true, out); }
METHOD(text_lstrip) { return strip(r, self, args, true, false, out); }
METHOD(text_rstrip) { return strip(r, self, args, false, true, out); }

static bool ends(str s, str part, bool front) {
    return s.len >= part.len &&
           (!part.len || !memcmp(front ? s.data : s.data + s.len - part.len, part.data, part.len));
}

METHOD(text_removeprefix) {
    str part;
    if (!text_argument(r, "removeprefix()", &args[0], &part)) return false;
    bool has = ends(SELF, part, true);
    return *out = value_string(has ? (str){self->text + part.len, self->bytes - part.len} : SELF), true;
}

METHOD(text_removesuffix) {
    str part;
    if (!text_argument(r, "removesuffix()", &args[0], &part)) return false;
    return *out = value_string(ends(SELF, part, false) ? (str){self->text, self->bytes - part.len} : SELF),
           true;
}

/* ---- searching, in a part of the text: start and end, as slices have them ---- */

static bool window(run *r, const value *self, const value *start, const value *end, str *out, int64_t *from) {
    int64_t n = (int64_t)text_characters(SELF), to;
    *from = 0;
    if (!(start->kind == NONE || count_argument(r, "the start", start, 0, from))) return false;
    to = n;
    if (!(end->kind == NONE || count_argument(r, "the end", end, n, &to))) return false;
    if (*from < 0) *from = *from + n < 0 ? 0 : *from + n;
    if (to < 0) to = to + n < 0 ? 0 : to + n;
    if (to > n) to = n;
    *out = (str){NULL, 0};
    if (*from > to) return true;
    size_t a = text_offset(SELF, (size_t)*from), z = text_offset(SELF, (size_t)to);
    *out = (str){self->text ? self->text + a : "", z - a};
    return run_spend_bytes(r, self->bytes);
}

static bool starts_or_ends(run *r, const value *self, const value *args, bool front, value *out) {
    str s, part;
    int64_t from;
    bool found = false;
    if (!window(r, self, &args[1], &args[2], &s, &from)) return false;
    size_t n = args[0].kind == TUPLE ? args[0].list->n : 1;
    for (size_t i = 0; i < n && !found; i++) {
        const value *one = args[0].kind == TUPLE ? &args[0].list->items[i] : &args[0];
        if (!text_argument(r, front ? "startswith()" : "endswith()", one, &part)) return false;
        found = s.data && ends(s, part, front);
    }
    return *out = value_boolean(found), true;
}

METHOD(text_startswith) { return starts_or_ends(r, self, args, true, out); }
METHOD(text_endswith) { return starts_or_ends(r, self, args, false, out); }

static bool find(run *r, const value *self, const value *args, bool last, int64_t *out) {
    str s, part;
    int64_t from;
    if (!text_argument(r, "find()", &args[0], &part) || !window(r, self, &args[1], &args[2], &s, &from))
        return false;
    size_t at = !s.data ? SIZE_MAX : last ? text_find_last(s, part) : text_find(s, part, 0);
    *out = at == SIZE_MAX ? -1 : from + (int64_t)text_characters((str){s.data, at});
    return run_spend_bytes(r, s.len);
}

static bool find_value(run *r, const value *self, const value *args, bool last, bool must, value *out) {
    int64_t at;
    if (!find(r, self, args, last, &at)) return false;
    if (must && at < 0) return run_fail(r, "index(): the text is not in it");
    return *out = value_integer(at), true;
}

METHOD(text_found) { return find_value(r, self, args, false, false, out); }
METHOD(text_rfound) { return find_value(r, self, args, true, false, out); }
METHOD(text_index) { return find_value(r, self, args, false, true, out); }
METHOD(text_rindex) { return find_value(r, self, args, true, true, out); }

METHOD(text_count) {
    str s, part;
    int64_t from, n = 0;
    if (!text_argument(r, "count()", &args[0], &part) || !window(r, self, &args[1], &args[2], &s, &from))
        return false;
    if (!part.len) n = s.data ? (int64_t)text_characters(s) + 1 : 0;
    for (size_t at = 0; part.len && (at = text_find(s, part, at)) != SIZE_MAX; at += part.len) n++;
    return *out = value_integer(n), true;
}

METHOD(text_replaced) {
    str old, new;
    int64_t most;
    return text_argument(r, "replace()", &args[0], &old) && text_argument(r, "replace()", &args[1], &new) &&
           count_argument(r, "replace(): count", &args[2], -1, &most) &&
           text_replace(r, SELF, old, new, most, out);
}

/* ---- taking apart, putting together ---- */

static bool split(run *r, const value *self, const value *args, bool last, value *out) {
    int64_t most;
    str unused;
    if (args[0].kind != UNSET && args[0].kind != NONE && !text_argument(r, "split()", &args[0], &unused))
        return false;
    if (!count_argument(r, "split(): maxsplit", &args[1], -1, &most)) return false;
    return last ? text_split_last(r, SELF, &args[0], most, out) : text_split(r, SELF, &args[0], most, out);
}

METHOD(text_splits) { return split(r, self, args, false, out); }
METHOD(text_rsplits) { return split(r, self, args, true, out); }
METHOD(text_splitlines) {
    return text_split_lines(r, SELF, args[0].kind != UNSET && value_truth(&args[0]), out);
}

static bool partition(run *r, const value *self, const value *args, bool last, value *out) {
    str s = SELF, part;
    value *three;
    if (!text_argument(r, "partition()", &args[0], &part)) return false;
    if (!part.len) return run_fail(r, "the separator is empty");
    if (!list_tuple(r, 3, out, &three) || !run_spend_bytes(r, s.len)) return false;
    size_t at = last ? text_find_last(s, part) : text_find(s, part, 0);
    for (int i = 0; i < 3; i++) three[i] = value_string(STR(""));
    if (at == SIZE_MAX) return three[last ? 2 : 0] = *self, true;
    three[0] = value_string((str){s.data, at});
    three[1] = args[0];
    three[2] = value_string((str){s.data + at + part.len, s.len - at - part.len});
    return true;
}

METHOD(text_partition) { return partition(r, self, args, false, out); }
METHOD(text_rpartition) { return partition(r, self, args, true, out); }

METHOD(text_join) {
    const list *l;
    text_builder b;
    str part;
    if (args[0].kind == UNDEFINED) return *out = value_string(STR("")), true;
    if (!value_iterate(r, &args[0], &l)) return false;
    build_begin(&b, r, 0);
    for (size_t i = 0; i < l->n && !b.failed; i++) {
        if (!run_spend(r, 1) || !text_argument(r, "join()", &l->items[i], &part)) return false;
        if (i) build_append(&b, SELF);
        build_append(&b, part);
    }
    return build_end(&b, out);
}

/* ---- width ---- */

static bool pad(run *r, const value *self, const value *args, char where, value *out) {
    str with = STR(" ");
    int64_t width, n = (int64_t)text_characters(SELF);
    text_builder b;
    if (!value_index(r, "a width", &args[0], &width)) return false;
    if (args[1].kind != UNSET && !text_argument(r, "a fill", &args[1], &with)) return false;
    if (text_characters(with) != 1) return run_fail(r, "a fill has one character");
    int64_t more = width > n ? width - n : 0, left = where == '>'   ? more
                                                     : where == '^' ? more / 2 + (more & width & 1)
                                                                    : 0;
    build_begin(&b, r, self->bytes);
    build_pad(&b, with, (size_t)left);
    build_append(&b, SELF);
    build_pad(&b, with, (size_t)(more - left));
    return build_end(&b, out);
}

METHOD(text_ljust) { return pad(r, self, args, '<', out); }
METHOD(text_rjust) { return pad(r, self, args, '>', out); }
METHOD(text_centered) { return pad(r, self, args, '^', out); }

METHOD(text_zfill) {
    str s = SELF;
    int64_t width, n = (int64_t)text_characters(s);
    text_builder b;
    if (!value_index(r, "zfill()", &args[0], &width)) return false;
    size_t sign = s.len && (s.data[0] == '-' || s.data[0] == '+');
    build_begin(&b, r, s.len);
    build_append(&b, (str){s.data, sign});
    build_pad(&b, STR("0"), width > n ? (size_t)(width - n) : 0);
    build_append(&b, (str){s.data + sign, s.len - sign});
    return build_end(&b, out);
}

METHOD(text_expandtabs) {
    int64_t size, column = 0;
    uint32_t cp;
    text_builder b;
    if (!count_argument(r, "expandtabs()", &args[0], 8, &size)) return false;
    build_begin(&b, r, self->bytes);
    for (size_t at = 0, n; at < self->bytes && !b.failed; at += n) {
        n = (size_t)text_decode(SELF, at, &cp);
        int64_t more = cp == '\t' ? size > 0 ? size - column % size : 0 : 1;
        if (cp == '\t')
            build_pad(&b, STR(" "), (size_t)more);
        else
            build_append(&b, (str){self->text + at, n});
        column = cp == '\n' || cp == '\r' ? 0 : column + more;
    }
    return build_end(&b, out);
}

static bool text_format(run *r, const value *self, const arguments *args, value *out) {
    return format_braces(r, SELF, args, out);
}

METHOD(text_format_map) {
    if (args[0].kind != MAPPING)
        return run_fail(r, "format_map() wants a mapping, not %s", value_kind_name(&args[0]));
    return format_braces(r, SELF, &(arguments){.keywords = args[0].mapping}, out);
}

/* ---- what its characters are ---- */

static bool all_are(const value *self, bool (*is)(uint32_t cp), bool of_nothing, value *out) {
    uint32_t cp;
    bool all = self->bytes > 0 || of_nothing;
    for (size_t at = 0; at < self->bytes && all;) {
        at += (size_t)text_decode(SELF, at, &cp);
        all = is(cp);
    }
    return *out = value_boolean(all), true;
}

static bool alnum(uint32_t cp) { return unicode_is_alpha(cp) || unicode_is_numeric(cp); }
static bool ascii(uint32_t cp) { return cp < 0x80; }
static bool word(uint32_t cp) { return cp == '_' || alnum(cp); }

METHOD(text_isalpha) {
    return (void)args, run_spend_bytes(r, 8 * self->bytes) && all_are(self, unicode_is_alpha, false, out);
}
METHOD(text_isalnum) {
    return (void)args, run_spend_bytes(r, 8 * self->bytes) && all_are(self, alnum, false, out);
}
METHOD(text_isdigit) {
    return (void)args, run_spend_bytes(r, 8 * self->bytes) && all_are(self, unicode_is_digit, false, out);
}
METHOD(text_isnumeric) {
    return (void)args, run_spend_bytes(r, 8 * self->bytes) && all_are(self, unicode_is_numeric, false, out);
}
METHOD(text_isspace) {
    return (void)args, run_spend_bytes(r, self->bytes) && all_are(self, text_is_space, false, out);
}
METHOD(text_isascii) {
    return (void)args, run_spend_bytes(r, self->bytes) && all_are(self, ascii, true, out);
}
METHOD(text_isprintable) {
    return (void)args, run_spend_bytes(r, 8 * self->bytes) && all_are(self, unicode_is_printable, true, out);
}

METHOD(text_isidentifier) {
    bool digit = self->bytes && self->text[0] >= '0' && self->text[0] <= '9';
    (void)args;
    if (digit) return *out = value_boolean(false), true;
    return run_spend_bytes(r, 8 * self->bytes) && all_are(self, word, false, out);
}

METHOD(text_islower) { return (void)args, run_apply(r, test_find(STR("lower")), self, &(arguments){0}, out); }
METHOD(text_isupper) { return (void)args, run_apply(r, test_find(STR("upper")), self, &(arguments){0}, out); }

METHOD(text_istitle) {
    value titled;
    bool some = false;
    uint32_t cp;
    (void)args;
    if (!text_title(r, SELF, &titled)) return false;
    for (size_t at = 0; at < self->bytes;) {
        at += (size_t)text_decode(SELF, at, &cp);
        some |= unicode_is_upper(cp);
    }
    return *out = value_boolean(some && str_eq(SELF, value_str(&titled))), true;
}

static const builtin methods[] = {
    {"capitalize", "", text_capitalized, NULL},
    {"casefold", "", text_lower, NULL},
    {"center", "/width fill?", text_centered, NULL},
    {"count", "/sub start? end?", text_count, NULL},
    {"endswith", "/suffix start? end?", text_endswith, NULL},
    {"expandtabs", "tabsize?", text_expandtabs, NULL},
    {"find", "/sub start? end?", text_found, NULL},
    {"format", NULL, NULL, text_format},
    {"format_map", "/mapping", text_format_map, NULL},
    {"index", "/sub start? end?", text_index, NULL},
    {"isalnum", "/", text_isalnum, NULL},
    {"isalpha", "/", text_isalpha, NULL},
    {"isascii", "/", text_isascii, NULL},
    {"isdecimal", "/", text_isdigit, NULL},
    {"isdigit", "/", text_isdigit, NULL},
    {"isidentifier", "/", text_isidentifier, NULL},
    {"islower", "/", text_islower, NULL},
    {"isnumeric", "/", text_isnumeric, NULL},
    {"isprintable", "/", text_isprintable, NULL},
    {"isspace", "/", text_isspace, NULL},
    {"istitle", "/", text_istitle, NULL},
    {"isupper", "/", text_isupper, NULL},
    {"join", "/iterable", text_join, NULL},
    {"ljust", "/width fill?", text_ljust, NULL},
    {"lower", "/", text_lower, NULL},
    {"lstrip", "/chars?", text_lstrip, NULL},
    {"partition", "/sep", text_partition, NULL},
    {"removeprefix", "/prefix", text_removeprefix, NULL},
    {"removesuffix", "/suffix", text_removesuffix, NULL},
    {"replace", "/old new count?", text_replaced, NULL},
    {"rfind", "/sub start? end?", text_rfound, NULL},
    {"rindex", "/sub start? end?", text_rindex, NULL},
    {"rjust", "/width fill?", text_rjust, NULL},
    {"rpartition", "/sep", text_rpartition, NULL},
    {"rsplit", "sep? maxsplit?", text_rsplits, NULL},
    {"rstrip", "/chars?", text_rstrip, NULL},
    {"split", "sep? maxsplit?", text_splits, NULL},
    {"splitlines", "keepends?", text_splitlines, NULL},
    {"startswith", "/prefix start? end?", text_startswith, NULL},
    {"strip", "/chars?", text_strip, NULL},
    {"swapcase", "/", text_swapcase, NULL},
    {"title", "/", text_titled, NULL},
    {"upper", "/", text_upper, NULL},
    {"zfill", "/width", text_zfill, NULL},
};
const builtin *const methods_of_texts = methods;
const size_t methods_of_texts_n = sizeof methods / sizeof *methods;
