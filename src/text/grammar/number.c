/* Numbers between bounds, as patterns of digits. */
#include "text/grammar/internal.h"

enum {
    DIGITS_MAX = 15,     /* of a whole number without bounds, and of the whole part of one: a double holds them */
    LARGEST_DIGITS = 18, /* where bounds ask for more */
    FRACTION_MAX = 6,
    LITERAL_DIGITS = 40,
    VALUES_MAX = 512, /* multiples that are written out */
    PATTERN_BYTES_MAX = 1 << 16,
};

/* ±0.d₁d₂d₃… × 10^exponent, d₁ not 0; no digits: zero */
typedef struct decimal {
    bool negative, cut; /* cut: there were more digits */
    int n;
    int64_t exponent;
    char digits[LITERAL_DIGITS + 1];
} decimal;

static decimal read_decimal(str s) {
    decimal d = {0};
    size_t i = 0;
    int64_t point = 0, power = 0;
    bool fraction = false, power_negative = false;
    if (i < s.len && s.data[i] == '-') d.negative = true, i++;
    for (; i < s.len && ((s.data[i] >= '0' && s.data[i] <= '9') || s.data[i] == '.'); i++) {
        if (s.data[i] == '.') {
            fraction = true;
            continue;
        }
        if (d.n || s.data[i] != '0') {
            if (d.n < LITERAL_DIGITS)
                d.digits[d.n++] = s.data[i];
            else
                d.cut |= s.data[i] != '0';
            if (!fraction) point++;
        } else if (fraction) {
            point--;
        }
    }
    if (i < s.len && (s.data[i] | 0x20) == 'e') {
        i++;
        if (i < s.len && (s.data[i] == '-' || s.data[i] == '+')) power_negative = s.data[i++] == '-';
        for (; i < s.len && power < 1000000; i++) power = power * 10 + (s.data[i] - '0');
    }
    while (d.n && d.digits[d.n - 1] == '0') d.n--;
    d.digits[d.n] = 0;
    d.exponent = d.n ? point + (power_negative ? -power : power) : 0;
    if (!d.n) d.negative = false;
    return d;
}

static int compare_size(const decimal *a, const decimal *b) {
    if (!a->n || !b->n) return (a->n > 0) - (b->n > 0);
    if (a->exponent != b->exponent) return a->exponent < b->exponent ? -1 : 1;
    int order = strcmp(a->digits, b->digits);
    return order < 0 ? -1 : order > 0;
}

int grammar_number_compare(str x, str y) {
    decimal a = read_decimal(x), b = read_decimal(y);
    if (a.negative != b.negative) return a.negative ? -1 : 1;
    return a.negative ? compare_size(&b, &a) : compare_size(&a, &b);
}

bool grammar_number_is_whole(str x) {
    decimal d = read_decimal(x);
    return !d.n || (d.exponent >= d.n && !d.cut);
}

/* Remainders digit by digit, both scaled to whole numbers. */
bool grammar_number_is_multiple(str of, str step) {
    decimal a = read_decimal(of), b = read_decimal(step);
    if (!a.n) return true;
    int64_t unit = (b.exponent - b.n < a.exponent - a.n ? b.exponent - b.n : a.exponent - a.n), zeros;
    uint64_t divisor = 0, rest = 0;
    zeros = b.exponent - b.n - unit;
    if (!b.n || a.cut || b.cut || b.n + zeros > 17 || a.exponent - unit > 400) return false;
    for (int64_t i = 0; i < b.n + zeros; i++) divisor = divisor * 10 + (uint64_t)(i < b.n ? b.digits[i] - '0' : 0);
    for (int64_t i = 0; i < a.exponent - unit; i++)
        rest = (uint64_t)(((unsigned __int128)rest * 10 + (unsigned)(i < a.n ? a.digits[i] - '0' : 0)) % divisor);
    return rest == 0;
}

int grammar_number_places(str x) {
    decimal d = read_decimal(x);
    int64_t places = d.n - d.exponent;
    return d.cut || places > LITERAL_DIGITS ? LITERAL_DIGITS : places > 0 ? (int)places : 0;
}

bool grammar_number_in_units(str x, int places, bool up, bool open, int64_t *out) {
    decimal d = read_decimal(x);
    int64_t digits = d.n ? d.exponent + places : 0, v = 0;
    if (digits > 17) return false;
    for (int64_t i = 0; i < digits; i++) v = v * 10 + (i < d.n ? d.digits[i] - '0' : 0);
    bool rest = d.cut || d.n > digits;
    if (d.negative) v = -v;
    if (rest ? d.negative != up : open) v += up ? 1 : -1; /* towards 0 is what cutting off does */
    *out = v;
    return true;
}

bool grammar_number_count(str x, uint32_t *n) {
    decimal d = read_decimal(x);
    int64_t v = 0;
    if (d.negative || !grammar_number_is_whole(x)) return false;
    bool large = d.exponent > 9 || !grammar_number_in_units(x, 0, true, false, &v);
    *n = large ? 999999999 : (uint32_t)v;
    return true;
}

/* A bound without its sign: a whole part and the digits of a fraction, which end in no 0. */
typedef struct split_number {
    uint64_t whole;
    char fraction[LITERAL_DIGITS + 1];
    bool open, none;
} split_number;

static bool split_decimal(grammar_builder *b, const decimal *d, bool open, split_number *out) {
    *out = (split_number){.open = open};
    if (!d->n) return true;
    if (d->exponent > LARGEST_DIGITS) {
        out->none = true;
        return true;
    }
    int64_t whole_digits = d->exponent > 0 ? d->exponent : 0, zeros = d->exponent < 0 ? -d->exponent : 0;
    if (zeros + d->n - (d->exponent > 0 ? d->exponent : 0) > LARGEST_DIGITS || d->cut)
        return grammar_fail(b, ERR_INVALID, "a bound has too many digits");
    for (int64_t i = 0; i < whole_digits; i++)
        out->whole = out->whole * 10 + (uint64_t)(i < d->n ? d->digits[i] - '0' : 0);
    int64_t n = 0;
    for (; n < zeros; n++) out->fraction[n] = '0';
    for (int64_t i = whole_digits; i < d->n; i++) out->fraction[n++] = d->digits[i];
    return true;
}

/* ---- patterns ---- */

static int count_digits(uint64_t v) {
    int n = 1;
    while (v /= 10) n++;
    return n;
}

static uint64_t power_of_ten(int n) {
    uint64_t p = 1;
    while (n-- > 0) p *= 10;
    return p;
}

static void any_digits(buf *p, int n) {
    if (n > 0) buf_printf(p, "[0-9]{%d}", n);
}

static bool all_are(const char *s, int n, char c) {
    for (int i = 0; i < n; i++)
        if (s[i] != c) return false;
    return true;
}

/* Texts of n digits from low to high. */
static void same_length(buf *p, const char *low, const char *high, int n) {
    while (n && *low == *high) buf_append(p, low, 1), low++, high++, n--;
    if (!n) return;
    char first = *low, last = *high;
    bool from_zeros = all_are(low + 1, n - 1, '0'), to_nines = all_are(high + 1, n - 1, '9');
    char zeros[LITERAL_DIGITS], nines[LITERAL_DIGITS];
    memset(zeros, '0', sizeof zeros);
    memset(nines, '9', sizeof nines);
    bool some = false;
    buf_append_str(p, STR("("));
    if (!from_zeros) {
        buf_append(p, low, 1);
        same_length(p, low + 1, nines, n - 1);
        first++;
        some = true;
    }
    if (!to_nines) last--;
    if (first <= last) {
        buf_printf(p, "%s[%c-%c]", some ? "|" : "", first, last);
        any_digits(p, n - 1);
        some = true;
    }
    if (!to_nines) {
        buf_printf(p, "%s%c", some ? "|" : "", *high);
        same_length(p, zeros, high + 1, n - 1);
    }
    buf_append_str(p, STR(")"));
}

static void bar(buf *p, bool *some) {
    if (*some) buf_append_str(p, STR("|"));
    *some = true;
}

/* Whole numbers from low to high. Lengths of which all numbers are meant go together. */
static void whole_range(buf *p, uint64_t low, uint64_t high, bool *some) {
    for (int n = count_digits(low); low <= high && n <= count_digits(high);) {
        uint64_t least = n == 1 ? 0 : power_of_ten(n - 1), most = power_of_ten(n) - 1;
        int last = n;
        if (low <= least && n > 1)
            while (last < LARGEST_DIGITS && power_of_ten(last + 1) - 1 <= high) last++;
        if (low <= least && n > 1 && power_of_ten(last) - 1 <= high) {
            bar(p, some);
            buf_printf(p, "[1-9][0-9]{%d,%d}", n - 1, last - 1);
            n = last + 1;
            continue;
        }
        char from[24], to[24];
        uint64_t f = low > least ? low : least, t = high < most ? high : most;
        for (int i = n; i-- > 0; f /= 10, t /= 10) from[i] = (char)('0' + f % 10), to[i] = (char)('0' + t % 10);
        bar(p, some);
        same_length(p, from, to, n);
        n++;
    }
}

/* Behind "." : fractions from f upward, in at most `most` digits. */
static void fraction_from(buf *p, const char *f, int most, bool open) {
    if (!*f) {
        if (open)
            buf_printf(p, "[0-9]{0,%d}[1-9]", most - 1);
        else if (most > 0)
            buf_printf(p, "[0-9]{0,%d}", most);
        return;
    }
    buf_append_str(p, STR("("));
    if (*f < '9') buf_printf(p, "[%c-9][0-9]{0,%d}|", *f + 1, most - 1);
    buf_append(p, f, 1);
    fraction_from(p, f + 1, most - 1, open);
    buf_append_str(p, STR(")"));
}

/* Fractions up to f, which has digits; each may end early. */
static void fraction_to(buf *p, const char *f, int most, bool open) {
    bool last = !f[1];
    buf_append_str(p, STR("("));
    if (*f > '0') buf_printf(p, "[0-%c][0-9]{0,%d}", *f - 1, most - 1);
    if (!last || !open) {
        buf_printf(p, "%s%c", *f > '0' ? "|" : "", *f);
        if (!last) {
            fraction_to(p, f + 1, most - 1, open);
            buf_append_str(p, STR("?"));
        }
    }
    buf_append_str(p, STR(")"));
}

static void pad(char out[LITERAL_DIGITS + 1], const char *f, int n, int add) {
    int len = (int)strlen(f);
    for (int i = 0; i < n; i++) out[i] = i < len ? f[i] : '0';
    out[n] = 0;
    for (int i = n; add && i-- > 0;) {
        if (out[i] != (add > 0 ? '9' : '0')) {
            out[i] = (char)(out[i] + add);
            return;
        }
        out[i] = add > 0 ? '0' : '9';
    }
}

/* Between two of the same whole part: in just so many digits. */
static void fraction_between(buf *p, const split_number *low, const split_number *high, int n, bool *some) {
    char from[LITERAL_DIGITS + 1], to[LITERAL_DIGITS + 1], limit[LITERAL_DIGITS + 1];
    pad(from, low->fraction, n, low->open ? 1 : 0);
    pad(to, high->fraction, n, 0);
    memcpy(limit, to, sizeof to);
    if (high->open) pad(to, high->fraction, n, -1);
    if (strcmp(to, limit) > 0 || strcmp(from, to) > 0) return; /* nothing is below 0 */
    if (low->open && all_are(from, n, '0')) return;            /* nor above 9 */
    bar(p, some);
    buf_printf(p, "%llu", (unsigned long long)low->whole);
    if (!all_are(to, n, '0')) {
        buf_append_str(p, STR("\\."));
        same_length(p, from, to, n);
    }
}

/* Numbers of no sign from low to high (none: no such bound). */
static void size_range(buf *p, const split_number *low, const split_number *high, bool *some) {
    uint64_t most = high->none
                        ? power_of_ten(low->whole >= power_of_ten(DIGITS_MAX) ? LARGEST_DIGITS : DIGITS_MAX) - 1
                        : high->whole;
    if (low->none || low->whole > most) return;
    int digits = count_digits(most), n = (int)strlen(low->fraction), m = (int)strlen(high->fraction);
    int room = digits >= DIGITS_MAX ? 0 : DIGITS_MAX - digits < FRACTION_MAX ? DIGITS_MAX - digits : FRACTION_MAX;
    if (high->none) room = FRACTION_MAX; /* what is cut off then never crosses a bound */
    if (room < n + 1 && n) room = n + 1;
    if (room < m) room = m;
    if (!high->none && low->whole == high->whole) {
        fraction_between(p, low, high, room > n + 2 && room > m + 2 ? (n > m ? n : m) + 2 : room, some);
        return;
    }
    if (*low->fraction || (low->open && room > 0)) {
        bar(p, some);
        buf_printf(p, "%llu\\.", (unsigned long long)low->whole);
        fraction_from(p, low->fraction, room, low->open);
    }
    uint64_t first = low->whole + (*low->fraction || low->open ? 1 : 0), last = high->none ? most : most - 1;
    if (first <= last) {
        bool inner = false;
        bar(p, some);
        buf_append_str(p, STR("("));
        whole_range(p, first, last, &inner);
        buf_append_str(p, STR(")"));
        if (room) buf_printf(p, "(\\.[0-9]{1,%d})?", room);
    }
    if (high->none || (high->open && !*high->fraction)) return;
    bar(p, some);
    buf_printf(p, "%llu", (unsigned long long)high->whole);
    if (!*high->fraction) return;
    buf_append_str(p, STR("(\\."));
    fraction_to(p, high->fraction, room, high->open);
    buf_append_str(p, STR(")?"));
}

static bool any_range(grammar_builder *b, const grammar_bounds *n, buf *p, bool *some) {
    decimal low = read_decimal(n->low), high = read_decimal(n->high);
    split_number l, h, nothing = {.none = true}, zero = {0};
    if (!split_decimal(b, &low, n->low_open, &l) || !split_decimal(b, &high, n->high_open, &h)) return false;
    bool no_low = !n->low.len || (l.none && low.negative), no_high = !n->high.len || (h.none && !high.negative);
    if ((l.none && !low.negative && n->low.len) || (h.none && high.negative)) return true; /* out of reach */
    bool below = no_low || low.negative, above = no_high || !high.negative;
    if (below) {
        size_t before = p->len;
        bool inner = false;
        buf_printf(p, "%s-(", *some ? "|" : "");
        split_number nearest = zero;
        if (!above)
            nearest = h;
        else
            nearest.open = true; /* no −0 */
        size_range(p, &nearest, no_low ? &nothing : &l, &inner);
        buf_append_str(p, STR(")"));
        if (inner)
            *some = true;
        else
            p->len = before;
    }
    if (above) size_range(p, no_low || low.negative ? &zero : &l, no_high ? &nothing : &h, some);
    return true;
}

/* ---- whole numbers ---- */

/* The whole number at or beyond the bound, towards the inside. */
static bool whole_bound(grammar_builder *b, str literal, bool open, bool is_low, int64_t fallback, int64_t *out) {
    decimal d = read_decimal(literal);
    split_number s;
    *out = fallback;
    if (!literal.len) return true;
    if (!split_decimal(b, &d, open, &s)) return false;
    if (s.none) {
        *out = d.negative ? -(int64_t)power_of_ten(LARGEST_DIGITS) : (int64_t)power_of_ten(LARGEST_DIGITS);
        return true;
    }
    int64_t v = d.negative ? -(int64_t)s.whole : (int64_t)s.whole;
    bool exact = !*s.fraction;
    if (is_low)
        *out = exact ? v + open : d.negative ? v : v + 1;
    else
        *out = exact ? v - open : d.negative ? v - 1 : v;
    return true;
}

static void whole_pattern(buf *p, int64_t low, int64_t high, bool *some) {
    if (low < 0) {
        bool inner = false;
        buf_append_str(p, STR("-("));
        whole_range(p, high < 0 ? (uint64_t)-high : 1, (uint64_t)-low, &inner);
        buf_append_str(p, STR(")"));
        *some = true;
    }
    if (high >= 0) whole_range(p, low > 0 ? (uint64_t)low : 0, (uint64_t)high, some);
}

/* Multiples of m: written out where they are few; by their last digits where these decide. False: neither. */
static bool multiples(buf *p, uint64_t m, int64_t low, int64_t high, bool bounded, bool *some) {
    int64_t first = low >= 0 ? (low + (int64_t)m - 1) / (int64_t)m : -(-low / (int64_t)m),
            last = high >= 0 ? high / (int64_t)m : -((-high + (int64_t)m - 1) / (int64_t)m);
    if (bounded && last - first < VALUES_MAX) {
        for (int64_t k = first; k <= last; k++) {
            bar(p, some);
            buf_printf(p, "%lld", (long long)(k * (int64_t)m));
        }
        return true;
    }
    int n = 1;
    while (n <= 3 && power_of_ten(n) % m) n++;
    bool all_low = low <= -(int64_t)(power_of_ten(DIGITS_MAX) - 1), from_zero = low == 0,
         all_high = high >= (int64_t)(power_of_ten(DIGITS_MAX) - 1);
    if (n > 3 || !all_high || !(all_low || from_zero)) return false;
    *some = true;
    buf_append_str(p, all_low ? STR("0|-?(") : STR("0|("));
    bool inner = false;
    for (uint64_t k = m; k < power_of_ten(n); k += m) {
        bar(p, &inner);
        buf_printf(p, "%llu", (unsigned long long)k);
    }
    bar(p, &inner);
    buf_printf(p, "[1-9][0-9]{0,%d}(", DIGITS_MAX - 1 - n);
    inner = false;
    for (uint64_t k = 0; k < power_of_ten(n); k += m) {
        bar(p, &inner);
        buf_printf(p, "%0*llu", n, (unsigned long long)k);
    }
    buf_append_str(p, STR("))"));
    return true;
}

/* beyond: no pattern says it. */
static bool whole_numbers(grammar_builder *b, const grammar_bounds *n, buf *p, bool *some, bool *beyond) {
    int64_t reach_most = (int64_t)power_of_ten(DIGITS_MAX) - 1, low, high;
    uint64_t m = 1;
    if (n->multiple.len) {
        decimal d = read_decimal(n->multiple);
        split_number s;
        if (d.negative || !d.n) return grammar_fail(b, ERR_INVALID, "'multipleOf' must be above 0");
        *beyond = d.cut || d.exponent < d.n || d.exponent > 9;
        if (*beyond) return true;
        if (!split_decimal(b, &d, false, &s)) return false;
        m = s.whole;
    }
    if (!whole_bound(b, n->low, n->low_open, true, -reach_most, &low) ||
        !whole_bound(b, n->high, n->high_open, false, reach_most, &high))
        return false;
    if (!n->high.len && low > high) high = (int64_t)power_of_ten(LARGEST_DIGITS) - 1;
    if (!n->low.len && low > high) low = -((int64_t)power_of_ten(LARGEST_DIGITS) - 1);
    int64_t edge = (int64_t)power_of_ten(LARGEST_DIGITS) - 1;
    if (low < -edge) low = -edge;
    if (high > edge) high = edge;
    if (low > high) return true;
    if (m > 1) return *beyond = !multiples(p, m, low, high, n->low.len && n->high.len, some), true;
    whole_pattern(p, low, high, some);
    return true;
}

bool grammar_number(grammar_builder *b, const grammar_bounds *n, bool whole) {
    if (n->n_no_multiples) return grammar_multiple(b, n, whole);
    if (!n->low.len && !n->high.len && !n->multiple.len) {
        grammar_any_number(b, whole);
        return !b->failed;
    }
    buf p;
    bool some = false;
    buf_init(&p, b->alloc, PATTERN_BYTES_MAX);
    bool beyond = false,
         ok = whole || n->multiple.len ? whole_numbers(b, n, &p, &some, &beyond) : any_range(b, n, &p, &some);
    if (ok && p.failed) ok = grammar_fail(b, ERR_MEMORY, "no memory to compile a grammar");
    if (ok && beyond)
        ok = grammar_multiple(b, n, whole);
    else if (ok && some)
        ok = grammar_regex_bare(b, buf_str(&p));
    else if (ok)
        grammar_emit(b, OP_FAIL, 0, 0);
    buf_free(&p);
    return ok && !b->failed;
}
