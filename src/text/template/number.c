/* Numbers as Python writes and reads them. */
#include "text/template/internal.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

whole whole_of(const value *v) {
    return v->kind == BOOLEAN ? v->boolean : v->kind == INTEGER ? v->integer : *v->big;
}

bool whole_value(run *r, whole w, value *out) {
    whole *kept;
    if (w == (int64_t)w) return *out = value_integer((int64_t)w), true;
    if (!run_take(r, sizeof *kept, &kept)) return false;
    *kept = w;
    return *out = (value){.kind = BIG, .big = kept}, true;
}

double number_of(const value *v) { return v->kind == FLOAT ? v->number : (double)whole_of(v); }

str whole_text(whole w, unsigned base, char out[NUMBER_TEXT_BYTES]) {
    unsigned __int128 rest = w < 0 ? -(unsigned __int128)w : (unsigned __int128)w;
    char *at = out + NUMBER_TEXT_BYTES;
    for (; rest > UINT64_MAX; rest /= base) *--at = "0123456789abcdef"[rest % base];
    uint64_t low = (uint64_t)rest; /* divides in a tenth of the time */
    do *--at = "0123456789abcdef"[low % base];
    while (low /= base);
    if (w < 0) *--at = '-';
    return (str){at, (size_t)(out + NUMBER_TEXT_BYTES - at)};
}

/* The fewest digits that read back, and the power of ten of the first. Fifteen digits survive any double that is not
 * tiny: when fewer would do, they end in zeros. */
static int shortest_digits(double d, char digits[32], int *power) {
    char text[40];
    for (int precision = d < 1e-290 ? 0 : 14; precision < 17; precision++) {
        snprintf(text, sizeof text, "%.*e", precision, d);
        if (strtod(text, NULL) == d) break;
    }
    int n = 0;
    const char *at = text;
    for (; *at != 'e'; at++)
        if (*at != '.') digits[n++] = *at;
    *power = atoi(at + 1);
    while (n > 1 && digits[n - 1] == '0') n--;
    digits[n] = 0;
    return n;
}

str float_text(double d, char out[NUMBER_TEXT_BYTES]) {
    char digits[32];
    int power, n, len;
    if (isnan(d)) return STR("nan");
    if (isinf(d)) return d > 0 ? STR("inf") : STR("-inf");
    const char *sign = signbit(d) ? "-" : "";
    n = shortest_digits(fabs(d), digits, &power);
    if (power >= 0 && power < 16 && n <= power + 1)
        len = snprintf(out, NUMBER_TEXT_BYTES, "%s%s%.*s.0", sign, digits, power + 1 - n, "0000000000000000");
    else if (power >= 0 && power < 16)
        len = snprintf(out, NUMBER_TEXT_BYTES, "%s%.*s.%s", sign, power + 1, digits, digits + power + 1);
    else if (power < 0 && power >= -4)
        len = snprintf(out, NUMBER_TEXT_BYTES, "%s0.%.*s%s", sign, -power - 1, "0000", digits);
    else
        len = snprintf(out, NUMBER_TEXT_BYTES, "%s%.1s%s%se%c%02d", sign, digits, n > 1 ? "." : "",
                       digits + 1, power < 0 ? '-' : '+', abs(power));
    return (str){out, (size_t)len};
}

str number_text(const value *v, char out[NUMBER_TEXT_BYTES]) {
    if (v->kind == BOOLEAN) return v->boolean ? STR("True") : STR("False");
    return v->kind == FLOAT ? float_text(v->number, out) : whole_text(whole_of(v), 10, out);
}

bool number_to_whole(run *r, double d, value *out) {
    if (!(fabs(d) < 1.7e38))
        return run_fail(r, "%s is no whole number of up to 127 bits", isnan(d) ? "nan" : "this float");
    return whole_value(r, (whole)d, out);
}

static int digit_of(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    return (c | 32) >= 'a' && (c | 32) <= 'z' ? (c | 32) - 'a' + 10 : 99;
}

bool text_to_whole(str s, unsigned base, whole *out, bool *too_large) {
    s = text_trim(s, true, true);
    bool minus = s.len && s.data[0] == '-', sign = minus || (s.len && s.data[0] == '+');
    s = (str){s.data + sign, s.len - sign};
    *out = 0;
    *too_large = false;
    char mark = s.len > 2 && s.data[0] == '0' ? (char)(s.data[1] | 32) : 0;
    unsigned prefix = mark == 'x' ? 16 : mark == 'o' ? 8 : mark == 'b' ? 2 : 0;
    if (prefix && (prefix == base || base == 0)) s = (str){s.data + 2, s.len - 2}, base = prefix;
    if (base == 0) base = 10;
    for (size_t i = 0; i < s.len; i++) {
        int digit = digit_of(s.data[i]);
        if (s.data[i] == '_' && i && i + 1 < s.len && s.data[i - 1] != '_') continue;
        if (digit >= (int)base) return false;
        if (__builtin_mul_overflow(*out, (whole)base, out) || __builtin_add_overflow(*out, (whole)digit, out))
            *too_large = true;
    }
    if (minus) *out = -*out;
    return s.len > 0 && !*too_large;
}

static bool decimal(const char *s) {
    size_t digits = 0;
    s += *s == '-' || *s == '+';
    for (; (*s >= '0' && *s <= '9'); s++) digits++;
    if (*s == '.')
        for (s++; *s >= '0' && *s <= '9'; s++) digits++;
    if (!digits) return false;
    if ((*s | 32) != 'e') return !*s;
    s++;
    s += *s == '-' || *s == '+';
    if (!*s) return false;
    while (*s >= '0' && *s <= '9') s++;
    return !*s;
}

static bool named_float(const char *s, double *out) {
    bool minus = *s == '-';
    s += minus || *s == '+';
    if (!strcasecmp(s, "inf") || !strcasecmp(s, "infinity")) return *out = minus ? -INFINITY : INFINITY, true;
    if (strcasecmp(s, "nan")) return false;
    return *out = NAN, true;
}

bool text_to_float(region *g, str s, double *out, bool *ok) {
    s = text_trim(s, true, true);
    char *copy = region_take_text(g, s.len + 1);
    size_t n = 0;
    if (!copy) return false;
    for (size_t i = 0; i < s.len; i++) {
        bool between = i && i + 1 < s.len && digit_of(s.data[i - 1]) < 10 && digit_of(s.data[i + 1]) < 10;
        if (s.data[i] != '_' || !between) copy[n++] = s.data[i];
    }
    copy[n] = 0;
    if (strlen(copy) != n) return *ok = false, true;
    if ((*ok = named_float(copy, out))) return true;
    if ((*ok = decimal(copy))) *out = strtod(copy, NULL);
    return true;
}

bool value_index(run *r, const char *what, const value *v, int64_t *out) {
    if (v->kind == UNDEFINED) return value_fail_undefined(r, v);
    if (!is_whole(v)) return run_fail(r, "%s must be a whole number, not %s", what, value_kind_name(v));
    whole w = whole_of(v);
    if (w != (int64_t)w || w == INT64_MIN) return run_fail(r, "%s is too large", what);
    return *out = (int64_t)w, true;
}
