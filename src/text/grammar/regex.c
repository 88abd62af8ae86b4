/* Regular expressions of schemas (ECMA-262, as far as they are regular) to the insides of JSON strings. */
#include <ctype.h>

#include "text/grammar/regex.h"

enum { DIGITS_MOST = 16 };

bool regex_wrong(regex *x, const char *what) { return grammar_fail(x->b, ERR_INVALID, "%s", what); }

int regex_peek(const regex *x, size_t ahead) {
    return x->at + ahead < x->pattern.len ? (unsigned char)x->pattern.data[x->at + ahead] : -1;
}

bool regex_take(regex *x, char c) { return regex_peek(x, 0) == (unsigned char)c ? x->at++, true : false; }
bool regex_take_text(regex *x, const char *s) {
    size_t n = strlen(s);
    if (x->pattern.len - x->at < n || memcmp(x->pattern.data + x->at, s, n) != 0) return false;
    x->at += n;
    return true;
}

/* ---- sets of characters ---- */

static void add(regex *x, char_set *s, uint32_t low, uint32_t high) {
    if (s->n == REGEX_RANGES_MAX)
        regex_wrong(x, "a class has too many characters");
    else
        s->r[s->n++] = (grammar_range){low, high};
}

void regex_add_ranges(regex *x, char_set *s, const grammar_range *r, size_t n, bool inverted) {
    char_set other = {.n = n};
    memcpy(other.r, r, n * sizeof *r);
    other.n = grammar_ranges_tidy(other.r, n, inverted);
    for (size_t i = 0; i < other.n; i++) add(x, s, other.r[i].low, other.r[i].high);
}

/* Behind a backslash: \d \w \s \p and their opposites. inverted: the set is going to be. */
static bool take_named_set(regex *x, char_set *s, bool inverted) {
    static const grammar_range digits[] = {{'0', '9'}}, words[] = {{'0', '9'}, {'A', 'Z'}, {'_', '_'}, {'a', 'z'}},
                               blanks[] = {{9, 13},          {' ', ' '},       {0xA0, 0xA0},     {0x1680, 0x1680},
                                           {0x2000, 0x200A}, {0x2028, 0x2029}, {0x202F, 0x202F}, {0x205F, 0x205F},
                                           {0x3000, 0x3000}, {0xFEFF, 0xFEFF}};
    int c = regex_peek(x, 0);
    x->at++;
    switch (c) {
    case 'd':
    case 'D': regex_add_ranges(x, s, digits, 1, c == 'D'); return true;
    case 'w':
    case 'W': regex_add_ranges(x, s, words, 4, c == 'W'); return true;
    case 's':
    case 'S': regex_add_ranges(x, s, blanks, 10, c == 'S'); return true;
    case 'p':
    case 'P': return regex_take_property(x, s, c == 'P', x->wide != inverted);
    default: x->at--; return false;
    }
}

static bool take_hex(regex *x, int least, int most, uint32_t *cp) {
    int n = 0;
    for (*cp = 0; n < most; n++, x->at++) {
        int c = regex_peek(x, 0), low = c | 0x20;
        if (c >= '0' && c <= '9')
            *cp = *cp << 4 | (uint32_t)(c - '0');
        else if (low >= 'a' && low <= 'f')
            *cp = *cp << 4 | (uint32_t)(low - 'a' + 10);
        else
            break;
    }
    if (n < least || *cp > 0x10FFFF) return regex_wrong(x, "an escape lacks hexadecimal digits");
    return true;
}

/* Behind a backslash: one character. */
static bool take_escape(regex *x, uint32_t *cp) {
    int c = regex_peek(x, 0);
    x->at++;
    switch (c) {
    case 't': *cp = '\t'; return true;
    case 'n': *cp = '\n'; return true;
    case 'r': *cp = '\r'; return true;
    case 'f': *cp = '\f'; return true;
    case 'v': *cp = '\v'; return true;
    case '0': *cp = 0; return true;
    case 'x': return take_hex(x, 2, 2, cp);
    case 'u':
        if (regex_take(x, '{'))
            return take_hex(x, 1, 6, cp) && (regex_take(x, '}') || regex_wrong(x, "\\u{ lacks its }"));
        if (!take_hex(x, 4, 4, cp)) return false;
        if (*cp >= 0xD800 && *cp <= 0xDBFF && regex_take_text(x, "\\u")) {
            uint32_t low;
            if (!take_hex(x, 4, 4, &low)) return false;
            *cp = 0x10000 + ((*cp - 0xD800) << 10) + (low - 0xDC00);
        }
        return *cp <= 0x10FFFF || regex_wrong(x, "an escape names no character");
    case 'b':
    case 'B': return regex_wrong(x, "word boundaries (\\b) are not supported");
    case 'k': return regex_wrong(x, "backreferences are not supported");
    case -1: return regex_wrong(x, "it ends in a backslash");
    default:
        if (c >= '1' && c <= '9') return regex_wrong(x, "backreferences are not supported");
        if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z')) return regex_wrong(x, "an escape is not known");
        *cp = (uint32_t)c;
        return true;
    }
}

static bool take_character(regex *x, uint32_t *cp) {
    int n = utf8_decode(x->pattern.data + x->at, x->pattern.len - x->at, cp);
    x->at += n > 0 ? (size_t)n : 1;
    return n > 0 || regex_wrong(x, "it is not valid UTF-8");
}

/* One end of a range; named: it was a set, which is added. */
static bool class_atom(regex *x, char_set *s, bool inverted, uint32_t *cp, bool *named) {
    *named = false;
    if (!regex_take(x, '\\')) return take_character(x, cp);
    if (take_named_set(x, s, inverted)) return *named = true;
    if (x->b->failed) return false;
    if (regex_take(x, 'b')) return *cp = '\b', true;
    return take_escape(x, cp);
}

static bool take_class(regex *x, char_set *s) {
    bool inverted = regex_take(x, '^'), named;
    while (!x->b->failed && regex_peek(x, 0) != ']') {
        uint32_t low, high;
        if (regex_peek(x, 0) < 0) return regex_wrong(x, "a class lacks its ]");
        if (!class_atom(x, s, inverted, &low, &named)) return false;
        high = low;
        if (!named && regex_peek(x, 0) == '-' && regex_peek(x, 1) != ']' && regex_peek(x, 1) >= 0) {
            x->at++;
            if (!class_atom(x, s, inverted, &high, &named)) return false;
            if (named || high < low) return regex_wrong(x, "a range of a class goes backwards");
        }
        if (!named) add(x, s, low, high);
    }
    x->at++;
    s->n = grammar_ranges_tidy(s->r, s->n, inverted);
    return !x->b->failed;
}

/* ---- inside a JSON string ---- */

static bool holds(const char_set *s, uint32_t cp) {
    for (size_t i = 0; i < s->n; i++)
        if (cp >= s->r[i].low && cp <= s->r[i].high) return true;
    return false;
}

/* A character as it is, or behind a backslash where it must be. Other control characters are left out. */
void regex_emit_set(regex *x, const char_set *s) {
    if (x->b->plain) {
        char_set all = *s;
        all.n = grammar_ranges_tidy(all.r, all.n, false);
        grammar_class(x->b, all.r, all.n);
        return;
    }
    static const grammar_range plain[] = {{0x20, 0x21}, {0x23, 0x5B}, {0x5D, 0xD7FF}, {0xE000, 0x10FFFF}};
    static const struct {
        uint32_t cp;
        char letter;
    } escapes[] = {{'"', '"'}, {'\\', '\\'}, {'\n', 'n'}, {'\r', 'r'}, {'\t', 't'}};
    grammar_range own[4 * REGEX_RANGES_MAX], letters[8];
    size_t n = 0, n_letters = 0;
    for (size_t i = 0; i < s->n; i++)
        for (size_t p = 0; p < 4; p++) {
            uint32_t low = s->r[i].low > plain[p].low ? s->r[i].low : plain[p].low,
                     high = s->r[i].high < plain[p].high ? s->r[i].high : plain[p].high;
            if (low <= high) own[n++] = (grammar_range){low, high};
        }
    for (size_t i = 0; i < 5; i++)
        if (holds(s, escapes[i].cp))
            letters[n_letters++] = (grammar_range){(uint8_t)escapes[i].letter, (uint8_t)escapes[i].letter};
    n_letters = grammar_ranges_tidy(letters, n_letters, false);
    grammar_alternatives a = grammar_alternatives_begin(x->b);
    if (n || !n_letters) grammar_class(x->b, own, n);
    if (n && n_letters) grammar_alternatives_next(x->b, &a);
    if (n_letters) {
        grammar_text(x->b, STR("\\"));
        grammar_class(x->b, letters, n_letters);
    }
    grammar_alternatives_end(x->b, &a);
}

/* ---- lengths ---- */

static uint32_t times(uint32_t a, uint32_t b) {
    if (a == 0 || b == 0) return 0;
    if (a == GRAMMAR_UNBOUNDED || b == GRAMMAR_UNBOUNDED || (uint64_t)a * b >= GRAMMAR_UNBOUNDED)
        return GRAMMAR_UNBOUNDED;
    return a * b;
}

static uint32_t plus(uint32_t a, uint32_t b) {
    return (uint64_t)a + b >= GRAMMAR_UNBOUNDED ? GRAMMAR_UNBOUNDED : a + b;
}

static grammar_lengths repeat(regex *x, uint32_t start, grammar_lengths l, uint32_t least, uint32_t most) {
    if (most > x->most_times && most > least) most = x->most_times > least ? x->most_times : least;
    if (x->more_times && most > least && l.least > 0) {
        uint32_t more = most - least < x->more_times ? most - least : x->more_times;
        least += more;
        x->more_times -= more;
    }
    grammar_repeat(x->b, start, least, most);
    return (grammar_lengths){times(l.least, least), times(l.most, most)};
}

/* ---- the expression ---- */

static grammar_lengths alternation(regex *x, bool top);

static grammar_lengths anything(regex *x) {
    static const grammar_range surrogates = {0xD800, 0xDFFF};
    char_set all = {.n = 0};
    uint32_t start = grammar_here(x->b);
    regex_add_ranges(x, &all, &surrogates, 1, true);
    regex_emit_set(x, &all);
    return repeat(x, start, (grammar_lengths){1, 1}, 0, GRAMMAR_UNBOUNDED);
}

static bool take_count(regex *x, uint32_t *n) {
    uint32_t digits = 0;
    for (*n = 0; regex_peek(x, 0) >= '0' && regex_peek(x, 0) <= '9' && digits < 7; digits++)
        *n = *n * 10 + (uint32_t)(x->pattern.data[x->at++] - '0');
    return digits > 0 && digits < 7;
}

bool regex_take_times(regex *x, uint32_t *least, uint32_t *most) {
    *least = 0;
    *most = GRAMMAR_UNBOUNDED;
    if (regex_take(x, '*')) {
    } else if (regex_take(x, '+')) {
        *least = 1;
    } else if (regex_take(x, '?')) {
        *most = 1;
    } else if (regex_take(x, '{')) {
        bool ok = take_count(x, least);
        *most = *least;
        if (ok && regex_take(x, ',')) {
            *most = GRAMMAR_UNBOUNDED;
            ok = regex_peek(x, 0) == '}' || take_count(x, most);
        }
        if (!ok || !regex_take(x, '}') || *most < *least) return regex_wrong(x, "a repetition {m,n} is malformed");
    } else {
        return false;
    }
    regex_take(x, '?'); /* as few as can be: the same texts */
    return true;
}

static grammar_lengths group(regex *x) {
    if (regex_take_text(x, "?=") || regex_take_text(x, "?!") || regex_take_text(x, "?<=") || regex_take_text(x, "?<!"))
        regex_wrong(x, "looking around ((?=, (?!, (?<=, (?<!) is not supported");
    if (regex_take_text(x, "?<"))
        while (regex_peek(x, 0) >= 0 && !regex_take(x, '>')) x->at++;
    else if (!regex_take_text(x, "?:") && regex_peek(x, 0) == '?')
        regex_wrong(x, "a group (?… is not known");
    if (++x->nesting > REGEX_NESTING_MAX) regex_wrong(x, "groups go too deep");
    grammar_lengths l = x->b->failed ? (grammar_lengths){0, 0} : alternation(x, false);
    x->nesting--;
    if (!x->b->failed && !regex_take(x, ')')) regex_wrong(x, "( lacks its )");
    return l;
}

bool regex_take_set(regex *x, char_set *s) {
    static const grammar_range line_ends[] = {{'\n', '\n'}, {'\r', '\r'}, {0x2028, 0x2029}};
    uint32_t cp = 0;
    s->n = 0;
    int c = regex_peek(x, 0);
    if (c < 0 || c == '(' || c == '^' || c == '$') return false;
    if (regex_take(x, '[')) return take_class(x, s);
    if (regex_take(x, '.')) {
        regex_add_ranges(x, s, line_ends, 3, true);
    } else if (regex_take(x, '\\')) {
        if (!take_named_set(x, s, false) && !x->b->failed && take_escape(x, &cp)) add(x, s, cp, cp);
    } else if (strchr("*+?{", c)) {
        regex_wrong(x, "a repetition repeats nothing");
    } else if (take_character(x, &cp)) {
        add(x, s, cp, cp);
    }
    return !x->b->failed;
}

static grammar_lengths atom(regex *x) {
    char_set s;
    if (regex_take(x, '(')) return group(x);
    if (regex_take_set(x, &s))
        regex_emit_set(x, &s);
    else
        regex_wrong(x, "anchors (^, $) are supported only at both ends");
    return (grammar_lengths){1, 1};
}

static bool ends_here(const regex *x) {
    int c = regex_peek(x, 0);
    return c < 0 || c == '|' || c == ')';
}

static grammar_lengths sequence(regex *x, bool top) {
    grammar_lengths sum = {0, 0};
    bool ended = x->whole || !top;
    if (top && !x->whole && !regex_take(x, '^')) sum = anything(x);
    while (!ends_here(x) && grammar_step(x->b)) {
        if (top && !x->whole && regex_peek(x, 0) == '$' && (regex_peek(x, 1) < 0 || regex_peek(x, 1) == '|')) {
            x->at++;
            ended = true;
            break;
        }
        uint32_t start = grammar_here(x->b), least, most;
        size_t begins = x->at;
        grammar_lengths l = atom(x);
        str said = {x->pattern.data + begins, x->at - begins};
        if (!x->b->failed && regex_take_times(x, &least, &most)) {
            bool digits = str_is(said, "\\d") || str_is(said, "[0-9]"); /* as numbers: a model may go on for ever */
            if (digits && most == GRAMMAR_UNBOUNDED) most = least > DIGITS_MOST ? least : DIGITS_MOST;
            l = repeat(x, start, l, least, most);
        }
        sum = (grammar_lengths){plus(sum.least, l.least), plus(sum.most, l.most)};
    }
    if (ended || x->b->failed) return sum;
    grammar_lengths l = anything(x);
    return (grammar_lengths){plus(sum.least, l.least), plus(sum.most, l.most)};
}

/* ---- alternatives that are texts alone ---- */

/* One character as it is, or one that is escaped; false: something else. */
static bool take_plain(regex *x, uint32_t *cp) {
    int c = regex_peek(x, 0);
    if (c < 0x20 || strchr("()[].*+?{|^$", c)) return false;
    if (!regex_take(x, '\\')) return take_character(x, cp);
    c = regex_peek(x, 0);
    return (c == 'n' || c == 'r' || c == 't' || (c > 0x20 && !isalnum(c) && c < 0x7F)) && take_escape(x, cp);
}

static void append_plain(const regex *x, buf *to, uint32_t cp) {
    char text[4];
    bool letter = cp == '\n' || cp == '\r' || cp == '\t';
    if (!x->b->plain && (letter || cp == '"' || cp == '\\')) buf_append_str(to, STR("\\"));
    if (!x->b->plain && letter) cp = cp == '\n' ? 'n' : cp == '\r' ? 'r' : 't';
    buf_append(to, text, (size_t)utf8_encode(cp, text));
}

/* Thousands of them are written as a tree. False where one is more than a text; then nothing was read. */
static bool texts_alone(regex *x, bool anchored, grammar_lengths *all) {
    size_t before = x->at;
    grammar_texts t;
    bool only = true, more = true;
    *all = (grammar_lengths){GRAMMAR_UNBOUNDED, 0};
    grammar_texts_begin(x->b, &t);
    while (only && more) {
        uint32_t n = 0, cp;
        only = !anchored || regex_take(x, '^');
        for (; only && take_plain(x, &cp); n++) append_plain(x, &t.all, cp);
        only = only && (!anchored || regex_take(x, '$')) && ends_here(x) && grammar_texts_next(x->b, &t);
        all->least = n < all->least ? n : all->least;
        all->most = n > all->most ? n : all->most;
        more = only && regex_take(x, '|');
    }
    only = only && t.n > 1 && !x->b->failed;
    if (only) grammar_texts_emit(x->b, &t, false);
    else x->at = before;
    grammar_texts_end(x->b, &t);
    return only;
}

static grammar_lengths alternation(regex *x, bool top) {
    grammar_lengths texts;
    if (texts_alone(x, top && !x->whole, &texts) || x->b->failed) return texts;
    grammar_alternatives a = grammar_alternatives_begin(x->b);
    grammar_lengths all = sequence(x, top);
    while (!x->b->failed && regex_take(x, '|')) {
        grammar_alternatives_next(x->b, &a);
        grammar_lengths l = sequence(x, top);
        if (l.least < all.least) all.least = l.least;
        if (l.most > all.most) all.most = l.most;
    }
    grammar_alternatives_end(x->b, &a);
    return all;
}

static grammar_lengths compile(grammar_builder *b, str pattern, bool whole, uint32_t most_times,
                               uint32_t more_times) {
    regex x = {.b = b, .pattern = pattern, .whole = whole, .most_times = most_times, .more_times = more_times};
    grammar_lengths l = alternation(&x, true);
    if (!b->failed && x.at < pattern.len) regex_wrong(&x, ") has no (");
    return l;
}

typedef struct mark {
    size_t n_ops, n_ranges, n_texts;
} mark;

static grammar_lengths compile_again(grammar_builder *b, mark m, str pattern, bool whole, uint32_t most,
                                     uint32_t more) {
    b->n_ops = m.n_ops;
    b->n_ranges = m.n_ranges;
    b->n_texts = m.n_texts;
    return compile(b, pattern, whole, most, more);
}

/* Lengths that the pattern alone does not keep to are kept to by repeating less, and more. */
bool grammar_regex(grammar_builder *b, str pattern, bool whole, grammar_lengths wanted) {
    mark m = {b->n_ops, b->n_ranges, b->n_texts};
    uint32_t most = GRAMMAR_UNBOUNDED;
    grammar_lengths l = compile(b, pattern, whole, most, 0);
    if (l.most > wanted.most && !b->failed) {
        uint32_t low = 0, high = wanted.most; /* none repeats more often than there are characters */
        while (low < high && !b->failed) {
            most = low + (high - low + 1) / 2;
            if (compile_again(b, m, pattern, whole, most, 0).most <= wanted.most)
                low = most;
            else
                high = most - 1;
        }
        l = compile_again(b, m, pattern, whole, most = low, 0);
    }
    if (l.least < wanted.least && !b->failed) l = compile_again(b, m, pattern, whole, most, wanted.least - l.least);
    if (l.most > wanted.most) return grammar_fail(b, ERR_INVALID, "'maxLength' with this pattern is not supported");
    if (l.least < wanted.least)
        return grammar_fail(b, ERR_INVALID, "'minLength' with this pattern is not supported");
    grammar_text(b, STR("\""));
    return !b->failed;
}

bool grammar_regex_bare(grammar_builder *b, str pattern) {
    compile(b, pattern, true, GRAMMAR_UNBOUNDED, 0);
    return !b->failed;
}
