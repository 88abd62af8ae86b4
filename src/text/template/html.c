/* Filters that read HTML and addresses: striptags and urlize. */
#include "text/template/html_entities.h"
#include "text/template/internal.h"
#include "text/unicode/unicode.h"

static bool is_digit(char c) { return c >= '0' && c <= '9'; }

static bool starts(str s, const char *with) { return str_starts(s, str_of(with)); }

static str cut(str s, size_t from, size_t to) { return (str){s.data + from, to - from}; }

/* ---- striptags ---- */

/* Without what begins with open and ends with close. */
static bool strip(run *r, str s, const char *open, const char *close, value *out) {
    text_builder b;
    build_begin(&b, r, s.len);
    size_t at = 0;
    for (size_t from, to; (from = text_find(s, str_of(open), at)) != SIZE_MAX; at = to + strlen(close)) {
        if ((to = text_find(s, str_of(close), from + strlen(open))) == SIZE_MAX) break;
        build_append(&b, cut(s, at, from));
    }
    build_append(&b, cut(s, at, s.len));
    return run_spend_bytes(r, 8 * s.len) && build_end(&b, out);
}

static bool single_spaces(run *r, str s, value *out) {
    text_builder b;
    uint32_t cp;
    bool gap = false;
    s = text_trim(s, true, true);
    build_begin(&b, r, s.len);
    for (size_t at = 0, n; at < s.len; at += n) {
        n = (size_t)text_decode(s, at, &cp);
        bool space = text_is_space(cp);
        if (space && !gap) build_append(&b, STR(" "));
        if (!space) build_append(&b, cut(s, at, at + n));
        gap = space;
    }
    return run_spend_bytes(r, 8 * s.len) && build_end(&b, out);
}

/* What a name of HTML 5 stands for; no text: it stands for nothing. */
static str entity(str name) {
    size_t low = 0, high = sizeof html_entities - 2; /* of an entry's \1; that behind the last */
    while (low < high) {
        size_t at = low + (high - low) / 2;
        while (html_entities[at] != 1) at--;
        const char *is = html_entities + at + 1, *ends = strchr(is, 2);
        str known = {is, (size_t)(ends - is)}, means = {ends + 1, strcspn(ends + 1, "\1")};
        int order = memcmp(name.data, known.data, name.len < known.len ? name.len : known.len);
        if (!order) order = (name.len > known.len) - (name.len < known.len);
        if (!order) return means;
        if (order < 0) high = at;
        else low = (size_t)(means.data + means.len - html_entities);
    }
    return (str){NULL, 0};
}

/* As HTML 5 has it: the characters of Windows for what would be controls, nothing for what is no character. */
static void append_numbered(text_builder *b, uint32_t cp) {
    static const uint16_t windows[32] = {
        0x20AC, 0x81,   0x201A, 0x0192, 0x201E, 0x2026, 0x2020, 0x2021, 0x02C6, 0x2030, 0x0160,
        0x2039, 0x0152, 0x8D,   0x017D, 0x8F,   0x90,   0x2018, 0x2019, 0x201C, 0x201D, 0x2022,
        0x2013, 0x2014, 0x02DC, 0x2122, 0x0161, 0x203A, 0x0153, 0x9D,   0x017E, 0x0178};
    if (cp >= 0x80 && cp < 0xA0) return build_append_char(b, windows[cp - 0x80]);
    if (cp == 0 || (cp >= 0xD800 && cp < 0xE000) || cp > 0x10FFFF) return build_append_char(b, 0xFFFD);
    bool control = (cp < 0x20 && !strchr("\t\n\f\r", (int)cp)) || cp == 0x7F;
    bool none = (cp >= 0xFDD0 && cp < 0xFDF0) || (cp & 0xFFFE) == 0xFFFE;
    if (!control && !none) build_append_char(b, cp);
}

/* Behind "&#": how many bytes it has; 0: it is no number. */
static size_t numbered(str s, uint32_t *cp) {
    bool hex = s.len && (s.data[0] | 32) == 'x';
    size_t at = hex, from = at;
    for (*cp = 0; at < s.len; at++) {
        char c = s.data[at], low = (char)(c | 32);
        bool letter = hex && low >= 'a' && low <= 'f';
        if (!is_digit(c) && !letter) break;
        if (*cp <= 0x10FFFF) *cp = *cp * (hex ? 16 : 10) + (uint32_t)(letter ? low - 'a' + 10 : c - '0');
    }
    return at == from ? 0 : at + (at < s.len && s.data[at] == ';');
}

/* Behind "&": the name, of up to 32 characters and a semicolon. The longest that is known is replaced. */
static size_t append_named(text_builder *b, str s) {
    size_t at = 0;
    for (int n = 0; n < 32 && at < s.len && !memchr("\t\n\f <&#;", s.data[at], 7); n++)
        at = text_next(s, at);
    if (!at) return 0;
    if (at < s.len && s.data[at] == ';') at++;
    for (size_t n = at < 40 ? at : 40; n > 1; n--) {
        str means = entity((str){s.data, n});
        if (!means.data) continue;
        build_append(b, means);
        build_append(b, cut(s, n, at));
        return at;
    }
    build_append(b, STR("&"));
    build_append(b, cut(s, 0, at));
    return at;
}

static bool unescape(run *r, str s, value *out) {
    text_builder b;
    uint32_t cp;
    build_begin(&b, r, s.len);
    for (size_t at = 0, amp; at < s.len && !b.failed;) {
        amp = text_find(s, STR("&"), at);
        build_append(&b, cut(s, at, amp == SIZE_MAX ? s.len : amp));
        if (amp == SIZE_MAX) break;
        str rest = str_from(s, amp + 1);
        bool number = rest.len && rest.data[0] == '#';
        size_t n = number ? numbered(str_from(rest, 1), &cp) : append_named(&b, rest);
        if (number && n) append_numbered(&b, cp), n++;
        if (!n) build_append(&b, STR("&"));
        at = amp + 1 + n;
        if (!run_spend(r, number ? 1 : 100)) return false;
    }
    return build_end(&b, out);
}

bool filter_striptags(run *r, const value *v, const value *args, value *out) {
    value text;
    (void)args;
    return text_of_value(r, v, &text) && strip(r, value_str(&text), "<!--", "-->", &text) &&
           strip(r, value_str(&text), "<", ">", &text) && single_spaces(r, value_str(&text), &text) &&
           unescape(r, value_str(&text), out);
}

/* ---- urlize: what is an address ---- */

/* As Python's patterns that ignore case: four characters beside ASCII's are i, s and k, too. */
static uint32_t folded(uint32_t cp) {
    if (cp >= 'A' && cp <= 'Z') return cp + 32;
    return cp == 0x130 || cp == 0x131 ? 'i' : cp == 0x17F ? 's' : cp == 0x212A ? 'k' : cp;
}

/* Characters of a kind from at on, up to most: how many, and where they end. */
typedef enum chars { WORD, WORD_PERCENT, WORD_PERCENT_DASH, WORD_DASH_DOT, LETTERS, DECIMALS, HEX } chars;

static bool is_of(uint32_t cp, chars kind) {
    uint32_t low = folded(cp);
    switch (kind) {
    case WORD: return unicode_is_word(cp);
    case WORD_PERCENT: return cp == '%' || unicode_is_word(cp);
    case WORD_PERCENT_DASH: return cp == '%' || cp == '-' || unicode_is_word(cp);
    case WORD_DASH_DOT: return cp == '-' || cp == '.' || unicode_is_word(cp);
    case LETTERS: return low >= 'a' && low <= 'z';
    case DECIMALS: return unicode_is_decimal(cp);
    case HEX: return unicode_is_decimal(cp) || (cp < 0x80 && low >= 'a' && low <= 'f');
    }
    return false;
}

static size_t span(str s, size_t at, chars kind, size_t most, size_t *n) {
    uint32_t cp;
    for (*n = 0; at < s.len && *n < most; ++*n) {
        size_t bytes = (size_t)text_decode(s, at, &cp);
        if (!is_of(cp, kind)) break;
        at += bytes;
    }
    return at;
}

static bool all_of(str s, chars kind, size_t least, size_t most) {
    size_t n;
    return span(s, 0, kind, most, &n) == s.len && n >= least;
}

/* How many bytes this prefix has, whatever its case; 0: there is another. */
static size_t prefix(str s, const char *wanted) {
    size_t at = 0;
    uint32_t cp;
    for (; *wanted; wanted++) {
        if (at == s.len) return 0;
        size_t n = (size_t)text_decode(s, at, &cp);
        if (folded(cp) != (unsigned char)*wanted) return 0;
        at += n;
    }
    return at;
}

static bool is_same(str s, const char *wanted) { return s.len && prefix(s, wanted) == s.len; }

/* The part before the first dot, which goes from the name. */
static str next_label(str *name) {
    size_t dot = text_find(*name, STR("."), 0), end = dot == SIZE_MAX ? name->len : dot;
    str label = cut(*name, 0, end);
    *name = str_from(*name, dot == SIZE_MAX ? end : end + 1);
    return label;
}

/* Behind a scheme or www: any name. */
static bool is_name(str name) {
    size_t dot;
    while ((dot = text_find(name, STR("."), 0)) != SIZE_MAX)
        if (!all_of(next_label(&name), WORD_PERCENT_DASH, 1, SIZE_MAX)) return false;
    if (all_of(name, LETTERS, 2, 63)) return true;
    size_t idna = prefix(name, "xn--");
    return idna && all_of(str_from(name, idna), WORD_PERCENT, 2, 59);
}

/* Bare: a name below one of the domains that everybody knows. */
static bool is_known_name(str name) {
    static const char *const domains[] = {"com", "net", "int", "edu", "gov", "org", "info", "mil"};
    if (text_find(name, STR("."), 0) == SIZE_MAX) return false;
    while (text_find(name, STR("."), 0) != SIZE_MAX)
        if (!all_of(next_label(&name), WORD_PERCENT_DASH, 2, 63)) return false;
    for (size_t i = 0; i < sizeof domains / sizeof *domains; i++)
        if (is_same(name, domains[i])) return true;
    return false;
}

static bool is_ipv4(str s) {
    for (int i = 0; i < 4; i++) {
        bool dot = text_find(s, STR("."), 0) != SIZE_MAX;
        if (dot != (i < 3) || !all_of(next_label(&s), DECIMALS, 1, 3)) return false;
    }
    return true;
}

/* In its brackets: where it ends; 0: it is none. */
static size_t ipv6_end(str s) {
    size_t at = 1, n;
    if (!starts(s, "[")) return 0;
    for (int i = 0; i < 8; i++) {
        at = span(s, at, HEX, 4, &n);
        bool colon = at < s.len && s.data[at] == ':';
        if (i < 2 && !colon) return 0;
        at += colon;
        if (i > 1 && at < s.len && s.data[at] == ']') return at + 1;
    }
    return 0;
}

/* Behind the host: a port, then nothing or a path. */
static bool is_rest(str s) {
    size_t n;
    if (starts(s, ":")) {
        s = str_from(s, span(s, 1, DECIMALS, 5, &n));
        if (!n) return false;
    }
    return !s.len || memchr("/?#", s.data[0], 3);
}

static bool is_address(str s) {
    size_t scheme = prefix(s, "https://"), www = prefix(s, "www."), n;
    if (!scheme) scheme = prefix(s, "http://");
    str host = str_from(s, scheme ? scheme : www);
    size_t six = scheme ? ipv6_end(host) : 0;
    if (six && is_rest(str_from(host, six))) return true;
    for (n = 0; n < host.len && !memchr(":/?#", host.data[n], 4); n++) continue;
    str rest = str_from(host, n), all = {s.data, s.len - rest.len};
    if (!is_rest(rest)) return false;
    host.len = n;
    return ((scheme || www) && is_name(host)) || (scheme && is_ipv4(host)) || (!scheme && is_known_name(all));
}

static bool is_mail(str s) {
    size_t at = text_find_last(s, STR("@")), dot, n;
    if (at == SIZE_MAX || !at) return false;
    str domain = str_from(s, at + 1);
    dot = text_find_last(domain, STR("."));
    if (dot == SIZE_MAX || !dot || !all_of(str_from(domain, dot + 1), WORD, 1, SIZE_MAX)) return false;
    domain.len = dot;
    span(domain, 0, WORD, 1, &n);
    return n && all_of(domain, WORD_DASH_DOT, 1, SIZE_MAX);
}

/* ---- urlize: words ---- */

typedef struct links {
    text_builder *b;
    value attributes; /* rel and target */
    const list *schemes;
    bool trims;
    int64_t trim;
} links;

static void append_shown(links *l, str s) {
    int64_t n = l->trims ? (int64_t)text_characters(s) : 0;
    if (!l->trims || n <= l->trim) return build_append(l->b, s);
    int64_t keep = l->trim >= 0 ? l->trim : n + l->trim;
    build_append(l->b, cut(s, 0, keep > 0 ? text_offset(s, (size_t)keep) : 0));
    build_append(l->b, STR("..."));
}

static void append_link(links *l, const char *before, str target, str shown, bool address) {
    build_append(l->b, STR("<a href=\""));
    build_append(l->b, str_of(before));
    build_append(l->b, target);
    build_append(l->b, STR("\""));
    if (address) build_append(l->b, value_str(&l->attributes));
    build_append(l->b, STR(">"));
    if (address) append_shown(l, shown);
    else build_append(l->b, shown);
    build_append(l->b, STR("</a>"));
}

static void append_linked(links *l, str s) {
    if (is_address(s))
        return append_link(l, starts(s, "https://") || starts(s, "http://") ? "" : "https://", s, s, true);
    if (starts(s, "mailto:") && is_mail(str_from(s, 7))) return append_link(l, "", s, str_from(s, 7), false);
    if (!starts(s, "www.") && text_find(s, STR(":"), 0) == SIZE_MAX && is_mail(s))
        return append_link(l, "mailto:", s, s, false);
    for (size_t i = 0; i < l->schemes->n; i++) {
        str scheme = value_str(&l->schemes->items[i]);
        if (s.len <= scheme.len || !str_starts(s, scheme)) continue;
        links shown = *l;
        shown.trims = false;
        return append_link(&shown, "", s, s, true);
    }
    build_append(l->b, s);
}

static size_t count_of(str s, str part) {
    size_t n = 0;
    for (size_t at = 0; (at = text_find(s, part, at)) != SIZE_MAX; at += part.len) n++;
    return n;
}

/* What follows an address and is none of it: brackets, full stops, commas. */
static size_t tail_of(str s) {
    size_t end = s.len;
    for (;;) {
        str left = {s.data, end};
        size_t n = str_ends(left, STR("&gt;")) ? 4 : end && memchr(")>.,", s.data[end - 1], 4);
        if (!n) return end;
        end -= n;
    }
}

static bool append_word(links *l, str s) {
    static const char *const pairs[][2] = {{"(", ")"}, {"<", ">"}, {"&lt;", "&gt;"}};
    size_t head = 0;
    for (size_t n = 1; n; head += n) {
        str left = str_from(s, head);
        n = starts(left, "&lt;") ? 4 : starts(left, "(") || starts(left, "<");
    }
    str rest = str_from(s, head);
    size_t end = tail_of(rest);
    for (size_t i = 0; i < 3; i++) { /* what is opened in the address is closed in it */
        str open = str_of(pairs[i][0]), close = str_of(pairs[i][1]);
        size_t opened = count_of(cut(rest, 0, end), open), closed = count_of(cut(rest, 0, end), close);
        if (opened <= closed) continue;
        for (size_t at; opened && (at = text_find(rest, close, end)) != SIZE_MAX; opened--) end = at + close.len;
    }
    build_append(l->b, cut(s, 0, head));
    append_linked(l, cut(rest, 0, end));
    build_append(l->b, str_from(rest, end));
    return run_spend_bytes(l->b->r, 64 * s.len) && !l->b->failed;
}

/* rel: the words that are asked for and noopener, in order, each once. */
static bool link_attributes(run *r, const value *nofollow, const value *rel, const value *target, value *out) {
    value asked = value_string(STR("")), words, sorted, one, text;
    text_builder b;
    list_builder all = {.r = r};
    bool given = rel->kind != UNSET && value_truth(rel);
    if (given && rel->kind != STRING) return run_fail(r, "urlize: rel must be a text");
    if (given) asked = *rel;
    if (!text_split(r, value_str(&asked), &(value){.kind = NONE}, -1, &words)) return false;
    for (size_t i = 0; i < words.list->n; i++)
        if (!list_add(&all, words.list->items[i])) return false;
    bool follow = nofollow->kind == UNSET || !value_truth(nofollow);
    if (!follow && !list_add(&all, value_string(STR("nofollow")))) return false;
    if (!list_add(&all, value_string(STR("noopener"))) || !list_end(&all, &words)) return false;
    if (!list_sort(r, words.list, &(sort_order){.reverse = false}, &sorted)) return false;
    build_begin(&b, r, 64);
    build_append(&b, STR(" rel=\""));
    for (size_t i = 0; i < sorted.list->n; i++) {
        const value *now = &sorted.list->items[i];
        if (i && str_eq(value_str(now), value_str(now - 1))) continue;
        one = value_string(value_str(now)); /* escaped, whatever it was cut from */
        if (!escape_markup(r, &one, &text)) return false;
        if (i) build_append(&b, STR(" "));
        build_append(&b, value_str(&text));
    }
    build_append(&b, STR("\""));
    if (target->kind != UNSET && value_truth(target)) {
        if (!escape_markup(r, target, &text)) return false;
        build_append(&b, STR(" target=\""));
        build_append(&b, value_str(&text));
        build_append(&b, STR("\""));
    }
    return build_end(&b, out);
}

/* WORDS: or WORDS:/ or WORDS:// */
static bool check_scheme(run *r, const value *v) {
    str s = v->kind == STRING ? value_str(v) : STR("");
    size_t colon = text_find(s, STR(":"), 0), n = 0, at = 0;
    uint32_t cp;
    if (colon == SIZE_MAX) colon = 0;
    for (; at < colon; n++) {
        size_t bytes = (size_t)text_decode(s, at, &cp);
        if (!is_of(cp, WORD_DASH_DOT) && cp != '+') break;
        at += bytes;
    }
    str slashes = str_from(s, colon + (colon > 0));
    bool good = at == colon && n > 1 && (!slashes.len || str_is(slashes, "/") || str_is(slashes, "//"));
    return good || run_fail(r, "urlize: '%.*s' is no scheme, like 'app:' or 'app://'", CLIPPED(s));
}

/* args: trim_url_limit, nofollow, target, rel, extra_schemes */
bool filter_urlize(run *r, const value *v, const value *args, value *out) {
    static const list none = {0};
    text_builder b;
    links l = {.b = &b, .schemes = &none};
    value text;
    uint32_t cp;
    l.trims = args[0].kind != UNSET && args[0].kind != NONE;
    if (l.trims && !value_index(r, "urlize: trim_url_limit", &args[0], &l.trim)) return false;
    if (!link_attributes(r, &args[1], &args[3], &args[2], &l.attributes)) return false;
    bool schemes = args[4].kind != UNSET && args[4].kind != NONE;
    if (schemes && !value_iterate(r, &args[4], &l.schemes)) return false;
    for (size_t i = 0; i < l.schemes->n; i++)
        if (!check_scheme(r, &l.schemes->items[i])) return false;
    if (!escape_markup(r, v, &text)) return false;
    str s = value_str(&text);
    build_begin(&b, r, 2 * s.len);
    for (size_t at = 0, from, n = 0; at < s.len; at += n) {
        for (from = at; at < s.len; at += n) {
            n = (size_t)text_decode(s, at, &cp);
            if (text_is_space(cp)) break;
        }
        if (at > from && (!run_spend(r, 1 + l.schemes->n) || !append_word(&l, cut(s, from, at)))) return false;
        if (at < s.len) build_append(&b, cut(s, at, at + n));
    }
    return build_end(&b, out);
}
