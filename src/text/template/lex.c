/* Text to tokens, by Jinja's rules with trim_blocks and lstrip_blocks: blanks between the start of a line and
 * a tag go, so does the line's end behind one; {%- and -%} take all white space, {%+ and +%} leave it. */
#include "text/template/internal.h"

enum { BRACKETS_MAX = 256, TOKENS_MAX = 100000 };

typedef struct lexer {
    const char *text; /* NUL behind it; line ends are \n */
    size_t len, at;
    size_t counted; /* into here: */
    place here;
    region *kept, *passing;
    token *tokens;
    size_t n, cap;
    bool line_starting;
    char open[BRACKETS_MAX];
    uint32_t n_open;
    bool failed;
    err *e;
} lexer;

/* Places are asked for in ascending order. */
static place place_of(lexer *l, size_t at) {
    for (; l->counted < at && l->counted < l->len; l->counted++) {
        char c = l->text[l->counted];
        l->here.line += c == '\n';
        l->here.column = c == '\n' ? 1 : l->here.column + ((c & 0xC0) != 0x80);
    }
    return l->here;
}

static bool fail(lexer *l, size_t at, const char *what) {
    return template_fail_at(l->e, place_of(l, at), ERR_INVALID, "%s", what);
}

static bool refused(lexer *l) {
    l->failed = true;
    return err_set(l->e, ERR_MEMORY, "no memory for the template");
}

static bool push(lexer *l, token_kind kind, size_t at, str text) {
    if (l->n == TOKENS_MAX)
        return l->failed = true, fail(l, at, "the template has more than 100000 words and marks");
    if (l->n == l->cap) {
        size_t cap = l->cap ? l->cap * 2 : 256;
        token *grown = region_take(l->passing, cap * sizeof *grown);
        if (!grown) return refused(l);
        if (l->n) memcpy(grown, l->tokens, l->n * sizeof *grown);
        l->tokens = grown;
        l->cap = cap;
    }
    l->tokens[l->n++] = (token){kind, place_of(l, at), text};
    return true;
}

static bool looking_at(const lexer *l, size_t at, const char *s) {
    size_t n = strlen(s);
    return l->len >= at && l->len - at >= n && !memcmp(l->text + at, s, n);
}

static size_t space_at(const lexer *l, size_t at) {
    uint32_t cp;
    if (at >= l->len) return 0;
    int n = text_decode((str){l->text, l->len}, at, &cp);
    return text_is_space(cp) ? (size_t)n : 0;
}

static size_t skip_space(const lexer *l, size_t at) {
    for (size_t n; (n = space_at(l, at));) at += n;
    return at;
}

/* ---- what is outside of tags ---- */

/* Text before a tag. sign: behind its opening; blocks: not {{. */
static bool push_text(lexer *l, size_t from, size_t to, char sign, bool blocks) {
    str s = {l->text + from, to - from};
    if (sign == '-') {
        s = text_trim(s, false, true);
    } else if (sign != '+' && blocks) {
        size_t line = s.len;
        while (line && s.data[line - 1] != '\n') line--;
        if ((line || l->line_starting) && line < s.len &&
            !text_trim((str){s.data + line, s.len - line}, true, false).len)
            s.len = line;
    }
    return !s.len || push(l, TOKEN_TEXT, from, s);
}

/* Behind the end of a tag whose last character but the bracket stood at at: "-", "+" or none. */
static void close_tag(lexer *l, size_t at, size_t end, bool trims) {
    size_t from = end;
    if (l->text[at] == '-')
        end = skip_space(l, end);
    else if (l->text[at] != '+' && trims && end < l->len && l->text[end] == '\n')
        end++;
    l->line_starting = end > from ? l->text[end - 1] == '\n' : false;
    l->at = end;
}

static char sign_at(const lexer *l, size_t at) {
    return at < l->len && memchr("-+", l->text[at], 2) ? l->text[at] : 0;
}

static bool lex_comment(lexer *l, size_t start, bool sign) {
    size_t body = start + 2 + sign, end = body;
    while (!looking_at(l, end, "#}"))
        if (end++ >= l->len) return fail(l, start, "this comment has no end: #}");
    close_tag(l, end > body ? end - 1 : start, end + 2, true);
    return true;
}

/* A tag {% name %}: its end, 0 when this is another. */
static size_t simple_tag(const lexer *l, size_t at, const char *name, char *first, size_t *last) {
    size_t n = strlen(name);
    if (!looking_at(l, at, "{%")) return 0;
    *first = sign_at(l, at + 2);
    at = skip_space(l, at + 2 + (*first != 0));
    if (!looking_at(l, at, name)) return 0;
    at = skip_space(l, at + n);
    *last = at - 1;
    if (sign_at(l, at)) *last = at++;
    return looking_at(l, at, "%}") ? at + 2 : 0;
}

static bool lex_raw(lexer *l, size_t open, size_t start, size_t last) {
    size_t at, close_last, close;
    char sign;
    close_tag(l, last, start, false);
    if (l->text[last] != '-') l->at = start;
    for (at = l->at; !(close = simple_tag(l, at, "endraw", &sign, &close_last)); at++)
        if (at >= l->len) return fail(l, open, "this has no {% endraw %}");
    if (!push_text(l, l->at, at, sign, true)) return false;
    close_tag(l, close_last, close, true);
    return true;
}

static bool lex_root(lexer *l, token_kind *inside) {
    size_t from = l->at, at = from, last, raw;
    while (at < l->len && !(l->text[at] == '{' && at + 1 < l->len && memchr("%{#", l->text[at + 1], 3))) at++;
    if (at >= l->len) {
        l->at = l->len;
        return from == at || push(l, TOKEN_TEXT, from, (str){l->text + from, at - from});
    }
    char what = l->text[at + 1], sign = sign_at(l, at + 2), unused;
    if (!push_text(l, from, at, sign, what != '{')) return false;
    if (what == '#') return lex_comment(l, at, sign != 0);
    if (what == '%' && (raw = simple_tag(l, at, "raw", &unused, &last)) && l->text[last] != '+')
        return lex_raw(l, at, raw, last);
    *inside = what == '%' ? TOKEN_OPEN_STATEMENT : TOKEN_OPEN_EXPRESSION;
    l->at = at + 2 + (sign != 0);
    l->line_starting = false;
    return push(l, *inside, at, (str){l->text + at, 2});
}

/* ---- strings ---- */

static int hex_value(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    return (c | 32) >= 'a' && (c | 32) <= 'f' ? (c | 32) - 'a' + 10 : -1;
}

static bool lex_hex(lexer *l, size_t digits, char **out) {
    uint32_t cp = 0;
    for (size_t i = 0; i < digits; i++, l->at++) {
        int v = l->at < l->len ? hex_value(l->text[l->at]) : -1;
        if (v < 0)
            return fail(
                l, l->at,
                "this escape wants hexadecimal digits: two behind \\x, four behind \\u, eight behind \\U");
        if (cp > 0x10FFFF) break;
        cp = cp * 16 + (uint32_t)v;
    }
    if (cp > 0x10FFFF || (cp >= 0xD800 && cp < 0xE000)) return fail(l, l->at, "this escape is no character");
    *out += utf8_encode(cp, *out);
    return true;
}

/* A backslash before what is no escape stays. */
static bool lex_escape(lexer *l, char **out) {
    static const char names[] = "\\'\"abfnrtv", meant[] = "\\'\"\a\b\f\n\r\t\v";
    char c = l->text[++l->at];
    const char *known = c ? memchr(names, c, sizeof names - 1) : NULL;
    if (c == 'x' || c == 'u' || c == 'U') return l->at++, lex_hex(l, c == 'x' ? 2 : c == 'u' ? 4 : 8, out);
    if (c == 'N') return fail(l, l->at - 1, "characters by name (\\N) are not supported; \\u is");
    if (c == '\n') return l->at++, true;
    if (known) return *(*out)++ = meant[known - names], l->at++, true;
    if (c >= '0' && c <= '7') {
        uint32_t cp = 0;
        for (int i = 0; i < 3 && l->text[l->at] >= '0' && l->text[l->at] <= '7'; i++)
            cp = cp * 8 + (uint32_t)(l->text[l->at++] - '0');
        *out += utf8_encode(cp, *out);
        return true;
    }
    *(*out)++ = '\\';
    return true;
}

static bool lex_string(lexer *l, char quote) {
    size_t start = l->at++, end = l->at;
    bool escapes = false;
    for (; end < l->len && l->text[end] != quote; end++)
        if (l->text[end] == '\\') escapes = true, end++;
    if (end >= l->len) return fail(l, start, "this string has no end");
    str text = {l->text + l->at, end - l->at};
    if (escapes) {
        char *into = region_take_text(l->kept, text.len + 4),
             *out = into; /* no escape is longer than what it means */
        if (!into) return refused(l);
        while (l->at < end)
            if (l->text[l->at] != '\\')
                *out++ = l->text[l->at++];
            else if (!lex_escape(l, &out))
                return false;
        text = (str){into, (size_t)(out - into)};
    }
    l->at = end + 1;
    return push(l, TOKEN_STRING, start, text);
}

/* ---- numbers, names, operators ---- */

static bool is_digit(char c) { return c >= '0' && c <= '9'; }
static bool is_word(char c) {
    return is_digit(c) || c == '_' || ((c | 32) >= 'a' && (c | 32) <= 'z') || (c & 0x80);
}

/* Digits, with single _ between. */
static size_t digits_end(const lexer *l, size_t at, unsigned base) {
    for (;; at++) {
        int v = hex_value(l->text[at]);
        if (v >= 0 && (unsigned)v < base) continue;
        int next = l->text[at] == '_' ? hex_value(l->text[at + 1]) : -1;
        if (next < 0 || (unsigned)next >= base) return at;
    }
}

static size_t float_end(const lexer *l, size_t at) {
    if (at && l->text[at - 1] == '.') return 0;
    size_t whole_end = digits_end(l, at, 10), end = whole_end;
    if (l->text[end] == '.' && is_digit(l->text[end + 1])) end = digits_end(l, end + 1, 10);
    if ((l->text[end] | 32) == 'e') {
        size_t exponent = end + 1 + (l->text[end + 1] == '+' || l->text[end + 1] == '-');
        if (is_digit(l->text[exponent])) return digits_end(l, exponent, 10);
    }
    return end > whole_end ? end : 0;
}

static size_t integer_end(const lexer *l, size_t at) {
    const char *s = l->text + at;
    unsigned base = s[0] != '0'          ? 10
                    : (s[1] | 32) == 'x' ? 16
                    : (s[1] | 32) == 'o' ? 8
                    : (s[1] | 32) == 'b' ? 2
                                         : 1;
    if (base == 10) return digits_end(l, at, 10);
    if (base == 1) return digits_end(l, at, 1); /* 00 */
    size_t start = at + 2 + (s[2] == '_'), end = digits_end(l, start, base);
    return end > start ? end : at + 1;
}

static bool lex_operator(lexer *l) {
    static const char *const all[] = {"//", "**", "==", "!=", ">=", "<=", "+", "-", "/", "*", "%", "~", "[",
                                      "]",  "(",  ")",  "{",  "}",  ">",  "<", "=", ".", ":", "|", ",", ";"};
    size_t i = 0, start = l->at;
    while (i < sizeof all / sizeof *all && !looking_at(l, start, all[i])) i++;
    if (i == sizeof all / sizeof *all) return fail(l, start, "this character has no meaning in a tag");
    char c = l->text[start];
    const char *opens = strchr("([{", c);
    if (opens) {
        if (l->n_open == BRACKETS_MAX) return fail(l, start, "brackets nested too deep");
        l->open[l->n_open++] = ")]}"[opens - "([{"];
    } else if (strchr(")]}", c) && (!l->n_open || l->open[--l->n_open] != c)) {
        return fail(l, start, "this bracket was not opened");
    }
    l->at += strlen(all[i]);
    return push(l, TOKEN_OPERATOR, start, (str){l->text + start, l->at - start});
}

static bool close_inside(lexer *l, token_kind *inside) {
    bool statement = *inside == TOKEN_OPEN_STATEMENT;
    const char *mark = statement ? "%}" : "}}";
    size_t sign = l->text[l->at] == '-' || (statement && l->text[l->at] == '+');
    if (l->n_open || !looking_at(l, l->at + sign, mark)) return false;
    push(l, statement ? TOKEN_CLOSE_STATEMENT : TOKEN_CLOSE_EXPRESSION, l->at,
         (str){l->text + l->at + sign, 2});
    size_t end = l->at + sign + 2;
    if (statement || sign)
        close_tag(l, l->at, end, statement);
    else
        l->at = end, l->line_starting = false;
    *inside = TOKEN_TEXT;
    return true;
}

static bool lex_inside(lexer *l, token_kind *inside) {
    l->at = skip_space(l, l->at);
    if (l->at >= l->len) return fail(l, l->at, "the template ends inside a tag");
    if (close_inside(l, inside)) return true;
    size_t start = l->at, end;
    char c = l->text[start];
    if (c == '\'' || c == '"') return lex_string(l, c);
    if (is_digit(c)) {
        bool fraction = (end = float_end(l, start)) != 0;
        l->at = fraction ? end : (end = integer_end(l, start));
        return push(l, fraction ? TOKEN_FLOAT : TOKEN_INTEGER, start, (str){l->text + start, end - start});
    }
    if (!is_word(c)) return lex_operator(l);
    while (is_word(l->text[l->at])) l->at++;
    return push(l, TOKEN_NAME, start, (str){l->text + start, l->at - start});
}

bool template_lex(str source, region *kept, region *passing, token **tokens, size_t *n, err *e) {
    lexer l = {.here = {1, 1}, .kept = kept, .passing = passing, .line_starting = true, .e = e};
    token_kind inside = TOKEN_TEXT;
    char *text = region_take_text(kept, source.len + 4);
    if (!text) return refused(&l);
    for (size_t i = 0; i < source.len; i++) {
        if (source.data[i] == '\r' && i + 1 < source.len && source.data[i + 1] == '\n') continue;
        text[l.len++] = source.data[i] == '\r' ? '\n' : source.data[i];
    }
    if (l.len && text[l.len - 1] == '\n') l.len--;
    memset(text + l.len, 0, 4);
    l.text = text;
    while (l.at < l.len || inside != TOKEN_TEXT)
        if (!(inside == TOKEN_TEXT ? lex_root(&l, &inside) : lex_inside(&l, &inside)) || l.failed)
            return false;
    if (!push(&l, TOKEN_END, l.len, STR("the end"))) return false;
    *tokens = l.tokens;
    *n = l.n;
    return true;
}
