/* Numbers as JavaScript writes and reads them. */
#include "text/template_internal.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

/* The fewest digits that read back: "d.ddde±xx" into digits and the power of ten of the first. */
static int shortest_digits(double d, char digits[32], int *power) {
    char text[40];
    for (int precision = 0; precision < 17; precision++) {
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

str number_text(double d, char out[NUMBER_TEXT_BYTES]) {
    char digits[32];
    int power, n, len;
    if (isnan(d)) return STR("NaN");
    if (isinf(d)) return d > 0 ? STR("Infinity") : STR("-Infinity");
    if (d == floor(d) && fabs(d) < 9007199254740992.0)
        return (str){out, (size_t)snprintf(out, NUMBER_TEXT_BYTES, "%lld", (long long)d)};
    const char *sign = d < 0 ? "-" : "";
    n = shortest_digits(fabs(d), digits, &power);
    if (power >= 0 && power < 21 && n <= power + 1)
        len = snprintf(out, NUMBER_TEXT_BYTES, "%s%s%.*s", sign, digits, power + 1 - n, "000000000000000000000");
    else if (power >= 0 && power < 21)
        len = snprintf(out, NUMBER_TEXT_BYTES, "%s%.*s.%s", sign, power + 1, digits, digits + power + 1);
    else if (power < 0 && power >= -6)
        len = snprintf(out, NUMBER_TEXT_BYTES, "%s0.%.*s%s", sign, -power - 1, "000000", digits);
    else
        len = snprintf(out, NUMBER_TEXT_BYTES, "%s%.1s%s%se%+d", sign, digits, n > 1 ? "." : "", digits + 1, power);
    return (str){out, (size_t)len};
}

str number_float_text(double d, char out[NUMBER_TEXT_BYTES]) {
    if (d == 0 && signbit(d)) return STR("-0.0");
    if (isinf(d) || d != floor(d) || fabs(d) >= 1e21) return number_text(d, out); /* NaN, too */
    return (str){out, (size_t)snprintf(out, NUMBER_TEXT_BYTES, "%.1f", d)};
}

bool number_of_digits(region *g, str s, double *out) {
    char *copy = region_take_text(g, s.len + 1);
    if (!copy) return false;
    memcpy(copy, s.data, s.len);
    copy[s.len] = 0;
    *out = strtod(copy, NULL);
    return true;
}

static bool is_digit(str s, size_t i) { return i < s.len && s.data[i] >= '0' && s.data[i] <= '9'; }

static size_t skip_digits(str s, size_t i) {
    while (is_digit(s, i)) i++;
    return i;
}

static size_t skip_sign(str s) { return s.len && (s.data[0] == '-' || s.data[0] == '+'); }

static bool read_digits(run *r, str s, double *out) {
    if (!run_spend_bytes(r, s.len)) return false;
    return number_of_digits(&r->memory, s, out) || run_refused(r);
}

bool number_parse_int(run *r, str s, double *out) {
    s = text_trim(s, true, false);
    size_t start = skip_sign(s), end = skip_digits(s, start);
    if (end == start) return *out = NAN, true;
    return read_digits(r, (str){s.data, end}, out);
}

/* Length of the decimal number that s starts with; 0: none. */
static size_t decimal_length(str s) {
    size_t start = skip_sign(s), i = skip_digits(s, start), digits = i - start;
    if (i < s.len && s.data[i] == '.') {
        size_t end = skip_digits(s, i + 1);
        digits += end - i - 1;
        i = end;
    }
    if (!digits) return 0;
    if (i < s.len && (s.data[i] | 32) == 'e') {
        size_t exponent = i + 1 + (i + 1 < s.len && (s.data[i + 1] == '-' || s.data[i + 1] == '+'));
        if (is_digit(s, exponent)) i = skip_digits(s, exponent);
    }
    return i;
}

static bool is_infinity(str s, double *out) {
    size_t start = skip_sign(s);
    *out = start && s.data[0] == '-' ? -INFINITY : INFINITY;
    return str_starts((str){s.data + start, s.len - start}, STR("Infinity"));
}

bool number_parse_float(run *r, str s, double *out) {
    s = text_trim(s, true, false);
    if (is_infinity(s, out)) return true;
    size_t n = decimal_length(s);
    if (!n) return *out = NAN, true;
    return read_digits(r, (str){s.data, n}, out);
}

static double number_of_base(str s, unsigned base) {
    double d = s.len ? 0 : NAN;
    for (size_t i = 0; i < s.len; i++) {
        char c = s.data[i];
        bool letter = (c | 32) >= 'a' && (c | 32) <= 'z';
        unsigned v = is_digit(s, i) ? (unsigned)(c - '0') : letter ? (unsigned)((c | 32) - 'a') + 10 : 99;
        d = v < base ? d * base + v : NAN;
    }
    return d;
}

bool number_of_text(run *r, str s, double *out) {
    s = text_trim(s, true, true);
    if (!s.len) return *out = 0, true;
    if (s.len > 2 && s.data[0] == '0') {
        char mark = (char)(s.data[1] | 32);
        unsigned base = mark == 'x' ? 16 : mark == 'o' ? 8 : mark == 'b' ? 2 : 0;
        if (base) return *out = number_of_base((str){s.data + 2, s.len - 2}, base), run_spend_bytes(r, s.len);
    }
    if (is_infinity(s, out) && s.len == 8 + skip_sign(s)) return true;
    if (decimal_length(s) != s.len) return *out = NAN, true;
    return read_digits(r, s, out);
}
