/* 'a %s' % b and 'a {}'.format(b): fields, and how numbers are written in them. */
#include "text/template/internal.h"

#include <math.h>
#include <stdio.h>

typedef struct field_spec {
    uint32_t fill;
    char align, sign, type; /* 0: unsaid */
    bool alternate, zero;
    char group;               /* , or _ */
    int64_t width, precision; /* −1: unsaid */
} field_spec;

enum { WIDTH_MAX = 1 << 20, PRECISION_MAX = 300 };

/* ---- what is put in ---- */

/* Digits in groups of n from the right end of their whole part. */
static void append_grouped(text_builder *b, str digits, char mark, size_t n) {
    size_t end = 0;
    while (end < digits.len && ((digits.data[end] >= '0' && digits.data[end] <= '9') ||
                                (digits.data[end] >= 'a' && digits.data[end] <= 'f' && n == 4)))
        end++;
    for (size_t i = 0; i < end; i++) {
        if (mark && i && (end - i) % n == 0) build_append(b, (str){&mark, 1});
        build_append(b, (str){digits.data + i, 1});
    }
    build_append(b, (str){digits.data + end, digits.len - end});
}

static void append_padded(text_builder *b, const field_spec *f, str sign, str body, char align) {
    size_t n = text_characters(sign) + text_characters(body),
           more = f->width > (int64_t)n ? (size_t)f->width - n : 0;
    char bytes[4];
    str fill = {bytes, (size_t)utf8_encode(f->fill ? f->fill : ' ', bytes)};
    size_t left = align == '>' ? more : align == '^' ? more / 2 : 0, inside = align == '=' ? more : 0;
    build_pad(b, fill, left);
    build_append(b, sign);
    build_pad(b, fill, inside);
    build_append(b, body);
    build_pad(b, fill, more - left - inside);
}

static bool append_number(text_builder *b, const field_spec *f, bool minus, const char *prefix, str digits,
                          size_t group) {
    text_builder body;
    value made;
    char sign[8];
    build_begin(&body, b->r, digits.len + 8);
    append_grouped(&body, digits, f->group, group);
    if (!build_end(&body, &made)) return false;
    int n = snprintf(sign, sizeof sign, "%s%s",
                     minus            ? "-"
                     : f->sign == '+' ? "+"
                     : f->sign == ' ' ? " "
                                      : "",
                     prefix);
    append_padded(b, f, (str){sign, (size_t)n}, value_str(&made), f->align ? f->align : '>');
    return !b->failed;
}

static bool put_whole(text_builder *b, const field_spec *f, const value *v) {
    char text[NUMBER_TEXT_BYTES], type = f->type ? f->type : 'd';
    unsigned base = type == 'x' || type == 'X' ? 16 : type == 'o' ? 8 : type == 'b' ? 2 : 10;
    whole w = whole_of(v);
    if (f->precision >= 0) return run_fail(b->r, "whole numbers have no precision");
    if (type == 'c')
        return w >= 0 && w < 0x110000 && (w < 0xD800 || w > 0xDFFF) ? build_append_char(b, (uint32_t)w),
               true                                                 : run_fail(b->r, "no such character");
    str digits = whole_text(w < 0 ? -w : w, base, text);
    for (size_t i = 0; type == 'X' && i < digits.len; i++)
        ((char *)(uintptr_t)digits.data)[i] &= digits.data[i] >= 'a' ? ~32 : ~0;
    const char *prefix = !f->alternate ? ""
                         : type == 'x' ? "0x"
                         : type == 'X' ? "0X"
                         : type == 'o' ? "0o"
                         : type == 'b' ? "0b"
                                       : "";
    return append_number(b, f, w < 0, prefix, digits, base == 10 ? 3 : 4);
}

static bool put_float(text_builder *b, const field_spec *f, double d) {
    char text[NUMBER_TEXT_BYTES + PRECISION_MAX + 16], type = f->type, format[16];
    int precision = f->precision < 0 ? 6 : (int)f->precision;
    if (type == 'd' || type == 'x' || type == 'X' || type == 'o' || type == 'b' || type == 'c' || type == 's')
        return run_fail(b->r, "a float cannot be written as '%c'", type);
    str digits;
    double positive = fabs(d);
    if (isnan(d) || isinf(d)) {
        bool large = type == 'F' || type == 'E' || type == 'G';
        digits = isnan(d) ? large ? STR("NAN") : STR("nan") : large ? STR("INF") : STR("inf");
    } else if (!type && f->precision < 0) {
        digits = float_text(positive, text);
    } else {
        bool percent = type == '%';
        snprintf(format, sizeof format, "%%%s.*%c", f->alternate ? "#" : "",
                 percent ? 'f'
                 : type  ? type == 'n' ? 'g' : type
                         : 'g');
        int n = snprintf(text, sizeof text - 2, format, precision, percent ? positive * 100 : positive);
        if (!type && n > 0 && !strpbrk(text, ".e")) n = snprintf(text, sizeof text, "%.*f.0", 0, positive);
        if (percent) text[n++] = '%';
        digits = (str){text, (size_t)n};
    }
    return append_number(b, f, signbit(d) && !isnan(d), "", digits, 3);
}

static bool put_text(text_builder *b, const field_spec *f, str s) {
    if (f->precision >= 0) s.len = text_offset(s, (size_t)f->precision);
    append_padded(b, f, STR(""), s, f->align ? f->align : '<');
    return run_spend_bytes(b->r, s.len) && !b->failed;
}

/* ---- % ---- */

typedef struct percent {
    run *r;
    str format;
    size_t at, used;
    const value *given;
    bool by_name;
} percent;

static bool next_given(percent *p, value *out) {
    bool tuple = p->given->kind == TUPLE;
    size_t n = tuple ? p->given->list->n : 1;
    if (p->used >= n) return run_fail(p->r, "the format wants more than %zu values", n);
    *out = tuple ? p->given->list->items[p->used] : *p->given;
    return p->used++, true;
}

static bool named_given(percent *p, value *out) {
    size_t end = text_find(p->format, STR(")"), p->at);
    if (end == SIZE_MAX) return run_fail(p->r, "the format has an open parenthesis");
    if (p->given->kind != MAPPING)
        return run_fail(p->r, "the format wants a mapping, not %s", value_kind_name(p->given));
    str name = {p->format.data + p->at + 1, end - p->at - 1};
    if (!mapping_open(p->r, p->given->mapping)) return false;
    value *found = mapping_get(p->r, p->given->mapping, name);
    if (!found) return run_fail(p->r, "the mapping has no '%.*s'", CLIPPED(name));
    p->at = end + 1;
    p->by_name = true;
    return *out = *found, true;
}

static char percent_char(const percent *p) { return p->at < p->format.len ? p->format.data[p->at] : 0; }

static bool percent_count(percent *p, int64_t most, int64_t *out) {
    value v;
    if (percent_char(p) == '*') {
        p->at++;
        if (!next_given(p, &v) || !value_index(p->r, "a width", &v, out)) return false;
    } else {
        for (*out = 0; percent_char(p) >= '0' && percent_char(p) <= '9'; p->at++)
            if (*out <= most) *out = *out * 10 + (percent_char(p) - '0');
    }
    return (*out >= -most && *out <= most) || run_fail(p->r, "a width of more than %lld", (long long)most);
}

static bool put_percent(percent *p, text_builder *b, field_spec *f, char type, const value *v) {
    value text;
    f->type = type == 'i' || type == 'u' ? 'd' : type;
    if (type == 's' || type == 'r' || type == 'a') {
        if (!(type == 's' ? text_of_value(p->r, v, &text) : text_repr(p->r, v, &text))) return false;
        f->fill = ' ';
        f->align = f->align == '<' ? '<' : '>';
        return put_text(b, f, value_str(&text));
    }
    if (type == 'c' && v->kind == STRING && text_characters(value_str(v)) == 1)
        return put_text(b, f, value_str(v));
    if (v->kind == UNDEFINED) return value_fail_undefined(p->r, v);
    if (!is_number(v)) return run_fail(p->r, "%%%c wants a number, not %s", type, value_kind_name(v));
    if (!memchr("diuxXoc", type, 7)) return put_float(b, f, number_of(v));
    value w = *v;
    if (v->kind == FLOAT && (type == 'd' || type == 'i' || type == 'u') &&
        !number_to_whole(p->r, v->number, &w))
        return false;
    if (w.kind == FLOAT) return run_fail(p->r, "%%%c wants a whole number", type);
    f->precision = -1;
    return put_whole(b, f, &w);
}

static bool one_percent(percent *p, text_builder *b) {
    field_spec f = {.width = 0, .precision = -1};
    value v = value_of(UNSET);
    p->at++;
    if (percent_char(p) == '(' && !named_given(p, &v)) return false;
    for (; percent_char(p) && memchr("-+ #0", percent_char(p), 5); p->at++) {
        char c = percent_char(p);
        if (c == '-')
            f.align = '<';
        else if (c == '#')
            f.alternate = true;
        else if (c == '0')
            f.zero = true;
        else if (c == '+' || !f.sign)
            f.sign = c;
    }
    if (!percent_count(p, WIDTH_MAX, &f.width)) return false;
    if (f.width < 0) f.align = '<', f.width = -f.width;
    if (percent_char(p) == '.' && (p->at++, !percent_count(p, PRECISION_MAX, &f.precision))) return false;
    while (percent_char(p) && memchr("hlL", percent_char(p), 3)) p->at++;
    char type = percent_char(p);
    if (type == '%') return p->at++, build_append(b, STR("%")), true;
    if (!type || !strchr("sradiuxXoceEfFgG", type))
        return run_fail(p->r, "the format has no such letter behind %%");
    if (f.zero && f.align != '<') f.fill = '0', f.align = '=';
    p->at++;
    return (v.kind != UNSET || next_given(p, &v)) && put_percent(p, b, &f, type, &v);
}

bool format_percent(run *r, str format, const value *given, value *out) {
    percent p = {.r = r, .format = format, .given = given};
    text_builder b;
    build_begin(&b, r, format.len);
    while (p.at < format.len && !b.failed) {
        size_t next = text_find(format, STR("%"), p.at);
        if (next == SIZE_MAX) next = format.len;
        build_append(&b, (str){format.data + p.at, next - p.at});
        p.at = next;
        if (next < format.len && !one_percent(&p, &b)) return false;
    }
    bool all = p.by_name || given->kind == MAPPING || given->kind == LIST ||
               p.used == (given->kind == TUPLE ? given->list->n : 1);
    if (!all) return run_fail(r, "the format does not use all that it is given");
    return build_end(&b, out);
}

/* ---- {} ---- */

typedef struct braces {
    run *r;
    const arguments *args;
    size_t next;
    int numbering; /* 0: none yet, 1: by itself, 2: by hand */
    int depth;
} braces;

static bool put_braces(braces *x, text_builder *b, str format);

static bool read_spec(run *r, str s, field_spec *f) {
    size_t at = 0, n = s.len ? text_next(s, 0) : 0;
    *f = (field_spec){.precision = -1};
    if (n < s.len && memchr("<>=^", s.data[n], 4))
        text_decode(s, 0, &f->fill), f->align = s.data[n], at = n + 1;
    else if (s.len && memchr("<>=^", s.data[0], 4))
        f->align = s.data[0], at = 1;
    if (at < s.len && memchr("+- ", s.data[at], 3)) f->sign = s.data[at++];
    if (at < s.len && s.data[at] == '#') f->alternate = true, at++;
    if (at < s.len && s.data[at] == '0') f->zero = true, at++;
    for (; at < s.len && s.data[at] >= '0' && s.data[at] <= '9'; at++)
        if (f->width <= WIDTH_MAX) f->width = f->width * 10 + (s.data[at] - '0');
    if (at < s.len && memchr(",_", s.data[at], 2)) f->group = s.data[at++];
    if (at < s.len && s.data[at] == '.') {
        f->precision = 0;
        for (at++; at < s.len && s.data[at] >= '0' && s.data[at] <= '9'; at++)
            if (f->precision <= WIDTH_MAX) f->precision = f->precision * 10 + (s.data[at] - '0');
    }
    if (at < s.len) f->type = s.data[at++];
    if (at < s.len || (f->type && !strchr("sdxXobceEfFgGn%", f->type)))
        return run_fail(r, "'%.*s' is no format", CLIPPED(s));
    if (f->width > WIDTH_MAX) return run_fail(r, "a width of more than %d", WIDTH_MAX);
    return true;
}

static bool put_formatted(braces *x, text_builder *b, const value *v, str spec) {
    field_spec f;
    value text;
    if (!read_spec(x->r, spec, &f)) return false;
    bool number = is_number(v) && !(v->kind == BOOLEAN && !spec.len);
    if (f.zero && !f.align && number) f.align = '=', f.fill = f.fill ? f.fill : '0';
    if (f.zero && !f.fill) f.fill = '0';
    if (number) {
        bool as_float = v->kind == FLOAT || (f.type && strchr("eEfFgG%", f.type));
        if (f.precision > PRECISION_MAX) return run_fail(x->r, "a precision of more than %d", PRECISION_MAX);
        if (f.type == 's') return run_fail(x->r, "a number cannot be written as 's'");
        return as_float ? put_float(b, &f, number_of(v)) : put_whole(b, &f, v);
    }
    if (v->kind != STRING && spec.len)
        return v->kind == UNDEFINED ? value_fail_undefined(x->r, v)
                                    : run_fail(x->r, "%s takes no format", value_kind_name(v));
    if ((f.type && f.type != 's') || f.align == '=' || f.sign || f.group || f.alternate)
        return run_fail(x->r, "a text takes no such format");
    return text_of_value(x->r, v, &text) && put_text(b, &f, value_str(&text));
}

static bool is_number_text(str s) {
    for (size_t i = 0; i < s.len; i++)
        if (s.data[i] < '0' || s.data[i] > '9') return false;
    return s.len > 0 && s.len < 10;
}

static size_t number_in(str s) {
    size_t n = 0;
    for (size_t i = 0; i < s.len; i++) n = n * 10 + (size_t)(s.data[i] - '0');
    return n;
}

static bool first_value(braces *x, str name, value *out) {
    if (!name.len || is_number_text(name)) {
        int numbering = name.len ? 2 : 1;
        if (x->numbering && x->numbering != numbering)
            return run_fail(x->r, "fields are numbered all or none");
        x->numbering = numbering;
        size_t i = name.len ? number_in(name) : x->next++;
        if (i >= x->args->n) return run_fail(x->r, "the format wants more than %zu values", x->args->n);
        return *out = x->args->items[i], true;
    }
    value *found = x->args->keywords ? mapping_get(x->r, x->args->keywords, name) : NULL;
    return found ? *out = *found, true : run_fail(x->r, "the format wants '%.*s'", CLIPPED(name));
}

/* name, then .attribute and [key]. */
static bool field_value(braces *x, str path, value *out) {
    size_t end = 0;
    while (end < path.len && path.data[end] != '.' && path.data[end] != '[') end++;
    if (!first_value(x, (str){path.data, end}, out)) return false;
    while (end < path.len) {
        bool item = path.data[end] == '[';
        size_t start = end + 1;
        for (end = start; end < path.len &&
                          (item ? path.data[end] != ']' : path.data[end] != '.' && path.data[end] != '[');)
            end++;
        str part = {path.data + start, end - start};
        value key = is_number_text(part) ? value_integer((int64_t)number_in(part)) : value_string(part),
              from = *out;
        if (item && end++ >= path.len) return run_fail(x->r, "the format has an open bracket");
        if (!(item ? value_item(x->r, &from, &key, out) : value_attribute(x->r, &from, part, out)))
            return false;
        if (out->kind == UNDEFINED) return value_fail_undefined(x->r, out);
    }
    return true;
}

static bool put_field(braces *x, text_builder *b, str field) {
    size_t name_end = 0;
    bool bracket = false;
    value v, text, spec = value_string(STR(""));
    for (; name_end < field.len && (bracket || !memchr(":!", field.data[name_end], 2)); name_end++)
        bracket = field.data[name_end] == '[' || (bracket && field.data[name_end] != ']');
    char conversion = name_end < field.len && field.data[name_end] == '!' && name_end + 1 < field.len
                          ? field.data[name_end + 1]
                          : 0;
    size_t behind = name_end + (conversion ? 2 : 0);
    if (behind < field.len && field.data[behind] != ':') return run_fail(x->r, "expected ':' in a field");
    if (!field_value(x, (str){field.data, name_end}, &v)) return false;
    if (conversion && !strchr("sra", conversion))
        return run_fail(x->r, "no such conversion: !%c", conversion);
    if (conversion && !(conversion == 's' ? text_of_value(x->r, &v, &text) : text_repr(x->r, &v, &text)))
        return false;
    if (behind < field.len) {
        text_builder inner;
        build_begin(&inner, x->r, 16);
        if (x->depth >= 2) return run_fail(x->r, "fields in fields in fields");
        x->depth++;
        bool ok = put_braces(x, &inner, (str){field.data + behind + 1, field.len - behind - 1}) &&
                  build_end(&inner, &spec);
        x->depth--;
        if (!ok) return false;
    }
    return put_formatted(x, b, conversion ? &text : &v, value_str(&spec));
}

static bool put_braces(braces *x, text_builder *b, str format) {
    for (size_t at = 0; at < format.len && !b->failed; at++) {
        char c = format.data[at];
        size_t start = at + 1;
        if ((c == '{' || c == '}') && start < format.len && format.data[start] == c) {
            build_append(b, (str){&format.data[at++], 1});
        } else if (c == '{') {
            int open = 1;
            for (at = start; at < format.len; at++) {
                open += (format.data[at] == '{') - (format.data[at] == '}');
                if (!open) break;
            }
            if (open) return run_fail(x->r, "the format has an open '{'");
            if (!run_spend(x->r, 1) || !put_field(x, b, (str){format.data + start, at - start})) return false;
        } else if (c == '}') {
            return run_fail(x->r, "the format has a '}' that is not open");
        } else {
            build_append(b, (str){&format.data[at], 1});
        }
    }
    return !b->failed;
}

bool format_braces(run *r, str format, const arguments *args, value *out) {
    braces x = {.r = r, .args = args};
    text_builder b;
    build_begin(&b, r, format.len);
    return run_spend_bytes(r, 8 * format.len) && put_braces(&x, &b, format) && build_end(&b, out);
}
