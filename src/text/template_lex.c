/* White space around tags is settled first (as the reference does, by passes over the text), then the text is cut
 * into tokens. What kind a token is depends on the one before it. */
#include "text/template_internal.h"

typedef struct lexer {
    char *text; /* what the passes left, NUL behind it */
    size_t len, at;
    uint32_t *origin; /* of each byte, its place in the source */
    str source;
    size_t counted; /* of the source, into here */
    place here;
    region *kept, *passing;
    token *tokens;
    size_t n, cap;
    int braces;
    bool halves;
    err *e;
} lexer;

/* ---- passes over the whole text ---- */

static bool is_blank(char c) { return c == ' ' || c == '\t'; }

/* Length of the white space at s, 0 when there is none. */
static size_t space_at(const char *s, size_t len) {
    uint32_t cp;
    if (!len) return 0;
    int n = text_decode((str){s, len}, 0, &cp);
    return text_is_space(cp) ? (size_t)n : 0;
}

static bool starts_line(const char *s, size_t i) {
    if (i == 0 || s[i - 1] == '\n' || s[i - 1] == '\r') return true;
    return i >= 3 && !memcmp(s + i - 3, "\xE2\x80", 2) && (s[i - 1] == '\xA8' || s[i - 1] == '\xA9');
}

/* Blanks between the start of a line and a tag go; so does the newline behind a tag. */
static void strip_blocks(lexer *l, str s) {
    size_t out = 0;
    for (size_t i = 0; i < s.len; i++) {
        if (is_blank(s.data[i]) && starts_line(s.data, i)) {
            size_t end = i;
            while (end < s.len && is_blank(s.data[end])) end++;
            if (end + 1 < s.len && s.data[end] == '{' && memchr("#%-", s.data[end + 1], 3)) i = end;
        }
        if (s.data[i] == '\n' && i >= 2 && s.data[i - 1] == '}' && memchr("#%-", s.data[i - 2], 3)) continue;
        l->text[out] = s.data[i];
        l->origin[out++] = (uint32_t)i;
    }
    l->len = out;
}

/* {%- generation -%} and {% endgeneration %} mark what a model is trained on: they go. Returns the tag's length. */
static size_t generation_tag(const char *s, size_t len, bool *strips_before, bool *strips_behind) {
    size_t i = 2, n;
    if (len < 2 || memcmp(s, "{%", 2)) return 0;
    if ((*strips_before = i < len && s[i] == '-')) i++;
    while ((n = space_at(s + i, len - i))) i += n;
    if (len - i >= 3 && !memcmp(s + i, "end", 3)) i += 3;
    if (len - i < 10 || memcmp(s + i, "generation", 10)) return 0;
    i += 10;
    while ((n = space_at(s + i, len - i))) i += n;
    if ((*strips_behind = i < len && s[i] == '-')) i++;
    return len - i >= 2 && !memcmp(s + i, "%}", 2) ? i + 2 : 0;
}

static void cut_generation_tags(lexer *l) {
    size_t out = 0, space_start = SIZE_MAX; /* where in the new text the white space just copied starts */
    for (size_t i = 0; i < l->len;) {
        bool before, behind;
        size_t tag = generation_tag(l->text + i, l->len - i, &before, &behind), n;
        if (tag) {
            if (before && space_start != SIZE_MAX) out = space_start;
            i += tag;
            while ((n = space_at(l->text + i, l->len - i))) {
                for (size_t k = 0; k < n && !behind; k++) {
                    l->origin[out] = l->origin[i + k];
                    l->text[out++] = l->text[i + k];
                }
                i += n;
            }
            space_start = SIZE_MAX; /* that white space belongs to this tag */
            continue;
        }
        n = space_at(l->text + i, l->len - i);
        if (n && space_start == SIZE_MAX) space_start = out;
        if (!n) space_start = SIZE_MAX, n = 1;
        for (; n; n--, i++) {
            l->origin[out] = l->origin[i];
            l->text[out++] = l->text[i];
        }
    }
    l->len = out;
}

/* ---- tokens ---- */

/* Where a byte of the text stands in the source. Places are asked for in ascending order. */
static place place_of(lexer *l, size_t at) {
    size_t wanted = at < l->len ? l->origin[at] : l->source.len;
    for (; l->counted < wanted; l->counted++) {
        char c = l->source.data[l->counted];
        l->here.line += c == '\n';
        l->here.column = c == '\n' ? 1 : l->here.column + ((c & 0xC0) != 0x80);
    }
    return l->here;
}

static bool fail(lexer *l, size_t at, const char *what) {
    return template_fail_at(l->e, place_of(l, at), ERR_INVALID, "%s", what);
}

static bool refused(lexer *l) { return err_set(l->e, ERR_MEMORY, "no memory for the template"); }

static bool push(lexer *l, token_kind kind, size_t at, str text) {
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

static token_kind last_kind(const lexer *l) { return l->n ? l->tokens[l->n - 1].kind : TOKEN_END; }

static bool looking_at(const lexer *l, const char *s) {
    size_t n = strlen(s);
    return l->len - l->at >= n && !memcmp(l->text + l->at, s, n);
}

static void skip_space(lexer *l) {
    size_t n;
    while ((n = space_at(l->text + l->at, l->len - l->at))) l->at += n;
}

static void strip_last_text(lexer *l) {
    if (!l->n || l->tokens[l->n - 1].kind != TOKEN_TEXT) return;
    token *t = &l->tokens[l->n - 1];
    t->text = text_trim(t->text, false, true);
    if (!t->text.len) l->n--;
}

static bool is_digit(char c) { return c >= '0' && c <= '9'; }
static bool is_word(char c) { return is_digit(c) || c == '_' || ((c | 32) >= 'a' && (c | 32) <= 'z'); }

static bool lex_text(lexer *l) {
    size_t start = l->at;
    while (l->at < l->len && !(l->text[l->at] == '{' && l->at + 1 < l->len && memchr("%{#", l->text[l->at + 1], 3)))
        l->at++;
    return l->at == start || push(l, TOKEN_TEXT, start, (str){l->text + start, l->at - start});
}

static bool lex_comment(lexer *l) {
    size_t start = l->at;
    l->at += 2;
    bool strips_before = l->text[l->at] == '-';
    if (strips_before) l->at++;
    size_t body = l->at;
    while (!(l->text[l->at] == '#' && l->text[l->at + 1] == '}' && l->at + 1 < l->len))
        if (l->at + 2 >= l->len) return fail(l, start, "this comment has no end: #}");
        else l->at++;
    bool strips_behind = l->at > body && l->text[l->at - 1] == '-';
    if (strips_before) strip_last_text(l);
    if (!push(l, TOKEN_COMMENT, start, STR(""))) return false;
    l->at += 2;
    if (strips_behind) skip_space(l);
    return true;
}

static int hex_value(char c) {
    if (is_digit(c)) return c - '0';
    return (c | 32) >= 'a' && (c | 32) <= 'f' ? (c | 32) - 'a' + 10 : -1;
}

static bool lex_hex(lexer *l, int digits, char **out) {
    uint32_t cp = 0;
    for (int i = 0; i < digits; i++, l->at++) {
        int v = l->at < l->len ? hex_value(l->text[l->at]) : -1;
        if (v < 0) return fail(l, l->at, "this escape wants hexadecimal digits, two behind \\x, four behind \\u");
        cp = cp * 16 + (uint32_t)v;
    }
    if (cp >= 0xD800 && cp < 0xE000) l->halves = true;
    *out += text_encode_unit(cp, *out);
    return true;
}

static bool lex_escape(lexer *l, char **out) {
    static const char names[] = "ntrbfv'\"\\", meant[] = "\n\t\r\b\f\v'\"\\";
    l->at++;
    if (l->at >= l->len) return fail(l, l->at, "the template ends in a string");
    char c = l->text[l->at++];
    if (c == 'x' || c == 'u') return lex_hex(l, c == 'x' ? 2 : 4, out);
    const char *known = memchr(names, c, sizeof names - 1);
    if (!known)
        return fail(l, l->at - 2, "no such escape; there are \\n \\t \\r \\b \\f \\v \\' \\\" \\\\ \\x \\u");
    *(*out)++ = meant[known - names];
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
        char *into = region_take_text(l->kept, text.len), *out = into; /* no escape is longer than what it means */
        if (!into) return refused(l);
        while (l->at < end)
            if (l->text[l->at] != '\\') *out++ = l->text[l->at++];
            else if (!lex_escape(l, &out)) return false;
        text = (str){into, text_join_halves(into, (size_t)(out - into))};
    }
    l->at = end + 1;
    return push(l, TOKEN_STRING, start, text);
}

static void skip_number(lexer *l, bool with_fraction) {
    while (is_digit(l->text[l->at])) l->at++;
    if (!with_fraction || l->text[l->at] != '.' || !is_digit(l->text[l->at + 1])) return;
    for (l->at++; is_digit(l->text[l->at]); l->at++) continue;
}

/* A sign that has nothing to its left is part of the number, or an operator of its own. */
static bool lex_sign(lexer *l) {
    size_t start = l->at++;
    skip_number(l, is_digit(l->text[l->at]));
    return push(l, l->at > start + 1 ? TOKEN_NUMBER : TOKEN_UNARY, start, (str){l->text + start, l->at - start});
}

static bool ends_operand(token_kind k) {
    return k == TOKEN_NAME || k == TOKEN_NUMBER || k == TOKEN_STRING || k == TOKEN_CLOSE_PAREN ||
           k == TOKEN_CLOSE_BRACKET;
}

static bool lex_mark(lexer *l, bool *found) {
    static const struct {
        const char *text;
        token_kind kind;
    } marks[] = { /* in the order they are tried */
        {"{%", TOKEN_OPEN_STATEMENT}, {"%}", TOKEN_CLOSE_STATEMENT}, {"{{", TOKEN_OPEN_EXPRESSION},
        {"}}", TOKEN_CLOSE_EXPRESSION}, {"(", TOKEN_OPEN_PAREN}, {")", TOKEN_CLOSE_PAREN}, {"{", TOKEN_OPEN_BRACE},
        {"}", TOKEN_CLOSE_BRACE}, {"[", TOKEN_OPEN_BRACKET}, {"]", TOKEN_CLOSE_BRACKET}, {",", TOKEN_COMMA},
        {".", TOKEN_DOT}, {":", TOKEN_COLON}, {"|", TOKEN_PIPE}, {"<=", TOKEN_COMPARISON}, {">=", TOKEN_COMPARISON},
        {"==", TOKEN_COMPARISON}, {"!=", TOKEN_COMPARISON}, {"<", TOKEN_COMPARISON}, {">", TOKEN_COMPARISON},
        {"+", TOKEN_ADDITIVE}, {"-", TOKEN_ADDITIVE}, {"~", TOKEN_ADDITIVE}, {"**", TOKEN_POWER},
        {"*", TOKEN_MULTIPLICATIVE}, {"//", TOKEN_MULTIPLICATIVE}, {"/", TOKEN_MULTIPLICATIVE},
        {"%", TOKEN_MULTIPLICATIVE}, {"=", TOKEN_EQUALS},
    };
    *found = false;
    for (size_t i = 0; i < sizeof marks / sizeof *marks && !*found; i++) {
        if (!looking_at(l, marks[i].text)) continue;
        if (marks[i].kind == TOKEN_CLOSE_EXPRESSION && l->braces > 0) continue; /* ends two mappings */
        *found = true;
        if (marks[i].kind == TOKEN_OPEN_EXPRESSION) l->braces = 0;
        l->braces += (marks[i].kind == TOKEN_OPEN_BRACE) - (marks[i].kind == TOKEN_CLOSE_BRACE);
        size_t n = strlen(marks[i].text);
        l->at += n;
        if (!push(l, marks[i].kind, l->at - n, (str){l->text + l->at - n, n})) return false;
    }
    return true;
}

/* {%- and {{-: what stands before loses the white space at its end. */
static bool lex_opening(lexer *l, token_kind kind) {
    strip_last_text(l);
    if (kind == TOKEN_OPEN_EXPRESSION) l->braces = 0;
    l->at += 3;
    return push(l, kind, l->at - 3, (str){l->text + l->at - 3, 2});
}

static bool lex_closing(lexer *l, token_kind kind) {
    l->at += 3;
    if (!push(l, kind, l->at - 3, (str){l->text + l->at - 2, 2})) return false;
    skip_space(l);
    return true;
}

static bool lex_one(lexer *l) {
    token_kind k = last_kind(l);
    bool found;
    if (k == TOKEN_END || k == TOKEN_CLOSE_STATEMENT || k == TOKEN_CLOSE_EXPRESSION || k == TOKEN_COMMENT) {
        size_t n = l->n;
        if (!lex_text(l)) return false;
        if (l->n > n) return true;
    }
    if (looking_at(l, "{#")) return lex_comment(l);
    if (looking_at(l, "{%-")) return lex_opening(l, TOKEN_OPEN_STATEMENT);
    if (looking_at(l, "{{-")) return lex_opening(l, TOKEN_OPEN_EXPRESSION);
    skip_space(l);
    if (l->at >= l->len) return fail(l, l->at, "the template ends inside a tag");
    if (looking_at(l, "-%}")) return lex_closing(l, TOKEN_CLOSE_STATEMENT);
    if (looking_at(l, "-}}")) return lex_closing(l, TOKEN_CLOSE_EXPRESSION);
    char c = l->text[l->at];
    if ((c == '-' || c == '+') && !ends_operand(last_kind(l))) return lex_sign(l);
    if (!lex_mark(l, &found)) return false;
    if (found) return true;
    if (c == '\'' || c == '"') return lex_string(l, c);
    size_t start = l->at;
    if (is_digit(c)) {
        skip_number(l, last_kind(l) != TOKEN_DOT);
        return push(l, TOKEN_NUMBER, start, (str){l->text + start, l->at - start});
    }
    if (!is_word(c)) return fail(l, l->at, "this character has no meaning in a tag");
    while (is_word(l->text[l->at])) l->at++;
    return push(l, TOKEN_NAME, start, (str){l->text + start, l->at - start});
}

bool template_lex(str source, region *kept, region *passing, token **tokens, size_t *n, bool *halves, err *e) {
    lexer l = {.source = source, .here = {1, 1}, .kept = kept, .passing = passing, .e = e};
    l.text = region_take_text(kept, source.len + 2);
    l.origin = region_take(passing, (source.len + 1) * sizeof *l.origin);
    if (!l.text || !l.origin) return refused(&l);
    if (source.len && source.data[source.len - 1] == '\n') source.len--;
    strip_blocks(&l, source);
    cut_generation_tags(&l);
    l.text[l.len] = l.text[l.len + 1] = 0;
    while (l.at < l.len)
        if (!lex_one(&l)) return false;
    if (!push(&l, TOKEN_END, l.len, STR("the end"))) return false;
    *tokens = l.tokens;
    *n = l.n;
    *halves = l.halves;
    return true;
}
