/* Regular expressions as sets of strings: all that is regular in them, looking around and anchors anywhere
 * included. */
#include "text/grammar/language.h"
#include "text/grammar/regex.h"

enum piece_kind {
    PIECE_SET,
    PIECE_ROW,
    PIECE_CHOICE,
    PIECE_TIMES,
    PIECE_START,
    PIECE_END,
    PIECE_EDGE,
    PIECE_LOOK
};
enum { PIECES_MAX = 1 << 14, TIMES_UNROLLED_MAX = 16 };

typedef struct piece { /* number 0 is none */
    uint8_t kind;
    bool negated, behind;
    bool looks; /* it, or one within, is no set of strings by itself */
    uint32_t child, next;
    uint32_t least, most;
    expression set;
} piece;

typedef struct pattern {
    regex x;
    language *l;
    piece *pieces;
    size_t n_pieces, cap;
    bool at_start; /* what is being built begins where the string does */
} pattern;

/* ---- reading ---- */

static uint32_t piece_of(pattern *p, piece it) {
    if (!grammar_grow(p->l->b, (void **)&p->pieces, &p->cap, p->n_pieces + 1, PIECES_MAX, sizeof *p->pieces,
                      "parts of a pattern"))
        return 0;
    p->pieces[p->n_pieces] = it;
    return (uint32_t)p->n_pieces++;
}

static uint32_t read_choice(pattern *p);

static uint32_t read_group(pattern *p) {
    regex *x = &p->x;
    piece it = {.kind = PIECE_ROW};
    if (regex_take_text(x, "?="))
        it.kind = PIECE_LOOK;
    else if (regex_take_text(x, "?!"))
        it.kind = PIECE_LOOK, it.negated = true;
    else if (regex_take_text(x, "?<="))
        it.kind = PIECE_LOOK, it.behind = true;
    else if (regex_take_text(x, "?<!"))
        it.kind = PIECE_LOOK, it.behind = it.negated = true;
    else if (regex_take_text(x, "?<"))
        while (regex_peek(x, 0) >= 0 && !regex_take(x, '>')) x->at++;
    else if (!regex_take_text(x, "?:") && regex_peek(x, 0) == '?')
        regex_wrong(x, "a group (?… is not known");
    if (++x->nesting > REGEX_NESTING_MAX) regex_wrong(x, "groups go too deep");
    bool wide = x->wide;
    if (it.kind == PIECE_LOOK && it.negated) x->wide = !wide;
    it.child = x->b->failed ? 0 : read_choice(p);
    x->wide = wide;
    x->nesting--;
    if (!x->b->failed && !regex_take(x, ')')) regex_wrong(x, "( lacks its )");
    it.looks = it.kind == PIECE_LOOK || (it.child && p->pieces[it.child].looks);
    return piece_of(p, it);
}

static uint32_t read_atom(pattern *p) {
    regex *x = &p->x;
    char_set s;
    if (regex_take(x, '(')) return read_group(p);
    if (regex_take(x, '^')) return piece_of(p, (piece){.kind = PIECE_START, .looks = true});
    if (regex_take(x, '$')) return piece_of(p, (piece){.kind = PIECE_END, .looks = true});
    if (regex_take_text(x, "\\b")) return piece_of(p, (piece){.kind = PIECE_EDGE, .looks = true});
    if (regex_take_text(x, "\\B"))
        return piece_of(p, (piece){.kind = PIECE_EDGE, .looks = true, .negated = true});
    if (!regex_take_set(x, &s)) return 0;
    s.n = grammar_ranges_tidy(s.r, s.n, false);
    return piece_of(p, (piece){.kind = PIECE_SET, .set = language_class(p->l, s.r, s.n)});
}

static uint32_t read_row(pattern *p) {
    regex *x = &p->x;
    piece row = {.kind = PIECE_ROW};
    uint32_t last = 0;
    for (int c; (c = regex_peek(x, 0)) >= 0 && c != '|' && c != ')' && grammar_step(x->b);) {
        uint32_t at = read_atom(p), least, most;
        bool looks = p->pieces[at].looks;
        if (!x->b->failed && regex_take_times(x, &least, &most))
            at = piece_of(
                p, (piece){.kind = PIECE_TIMES, .child = at, .least = least, .most = most, .looks = looks});
        if (last)
            p->pieces[last].next = at;
        else
            row.child = at;
        last = at;
        row.looks |= looks;
    }
    return piece_of(p, row);
}

static uint32_t read_choice(pattern *p) {
    piece choice = {.kind = PIECE_CHOICE};
    uint32_t last = choice.child = read_row(p);
    choice.looks = p->pieces[last].looks;
    while (!p->l->b->failed && regex_take(&p->x, '|')) {
        uint32_t at = read_row(p);
        p->pieces[last].next = at;
        choice.looks |= p->pieces[at].looks;
        last = at;
    }
    return piece_of(p, choice);
}

/* ---- what the pieces stand for ---- */

/* Strings that begin with the piece and go on with one of `rest`. before: what lies before it, where a row at
 * the pattern's own level asks; it is then part of the strings. */
static expression build(pattern *p, uint32_t at, expression rest);
static expression build_row(pattern *p, uint32_t at, expression rest);

static expression words(language *l) {
    static const grammar_range r[] = {{'0', '9'}, {'A', 'Z'}, {'_', '_'}, {'a', 'z'}};
    return language_class(l, r, 4);
}

static expression only_empty(language *l, expression rest) {
    return language_nullable(l, rest) ? LANGUAGE_EMPTY : LANGUAGE_NONE;
}

static expression build_look(pattern *p, const piece *it, expression rest) {
    bool at_start = p->at_start;
    expression ahead = build(p, it->child, LANGUAGE_ALL);
    p->at_start = at_start;
    return language_and(p->l, it->negated ? language_not(p->l, ahead) : ahead, rest);
}

static bool is_zero_width(const pattern *p, uint32_t at) {
    const piece *it = &p->pieces[at];
    if (it->kind == PIECE_ROW || it->kind == PIECE_CHOICE) {
        for (uint32_t c = it->child; c; c = p->pieces[c].next)
            if (!is_zero_width(p, c)) return false;
        return true;
    }
    return it->kind >= PIECE_START;
}

/* Whether characters of a set are of words: 1; are not: −1; or some are: 0. */
static int side_of(pattern *p, uint32_t at) {
    const piece *it = &p->pieces[at];
    if (it->kind == PIECE_TIMES && it->least) it = &p->pieces[it->child];
    if (it->kind != PIECE_SET || p->l->b->failed) return 0;
    language *l = p->l;
    expression set = it->set, both = language_and(l, set, words(l));
    const expression_node n = l->nodes[set];
    bool all = true, none = true;
    for (uint32_t i = 0; i < n.b; i++) {
        grammar_range r = l->ranges[n.a + i];
        for (uint32_t cp = r.low; cp <= r.high && cp < 0x80; cp++) {
            bool word = language_derive(l, both, cp) == LANGUAGE_EMPTY;
            all &= word;
            none &= !word;
        }
        all &= r.high < 0x80;
    }
    return all ? 1 : none ? -1 : 0;
}

/* An edge behind a character of which it is known whether it is one of words: what follows is not, or is. */
static expression build_edge(pattern *p, uint32_t edge, int side, expression rest) {
    language *l = p->l;
    expression begins = language_then(l, words(l), LANGUAGE_ALL),
               behind = build_row(p, p->pieces[edge].next, rest);
    bool goes_on = (side < 0) != p->pieces[edge].negated;
    return language_and(l, behind, goes_on ? begins : language_not(l, begins));
}

static expression build_row(pattern *p, uint32_t at, expression rest) {
    if (!at) return rest;
    uint32_t next = p->pieces[at].next;
    int side = next && p->pieces[next].kind == PIECE_EDGE ? side_of(p, at) : 0;
    if (side) return build(p, at, build_edge(p, next, side, rest));
    bool at_start = p->at_start;
    p->at_start = at_start && is_zero_width(p, at);
    expression behind = build_row(p, p->pieces[at].next, rest);
    p->at_start = at_start;
    return build(p, at, behind);
}

/* Something that looks, again and again: (?:(?!X)C)* keeps X away from all that follows. */
static expression build_looking_times(pattern *p, const piece *it, expression rest) {
    language *l = p->l;
    if (it->most <= TIMES_UNROLLED_MAX) {
        expression all = rest;
        for (uint32_t i = it->most; i > 0; i--) {
            all = build(p, it->child, all);
            if (i > it->least) all = language_or(l, all, rest);
        }
        return all;
    }
    const piece *group = &p->pieces[it->child], *choice = &p->pieces[group->child],
                *row = &p->pieces[choice->child], *look = &p->pieces[row->child],
                *set = &p->pieces[look->next];
    bool tempered = group->kind == PIECE_ROW && choice->kind == PIECE_CHOICE && !row->next && row->child &&
                    look->kind == PIECE_LOOK && look->negated && !look->behind && look->next && !set->looks &&
                    !set->next && !p->x.wide;
    if (!tempered)
        return grammar_fail(l->b, ERR_INVALID, "looking around inside a repetition is not supported"),
               LANGUAGE_NONE;
    expression kept_away = language_then(l, LANGUAGE_ALL, build(p, look->child, LANGUAGE_ALL)),
               row_of = language_times(l, build(p, row->child ? look->next : 0, LANGUAGE_EMPTY), it->least,
                                       it->most);
    return language_and(l, language_then(l, row_of, rest), language_not(l, kept_away));
}

static expression build(pattern *p, uint32_t at, expression rest) {
    language *l = p->l;
    const piece it = p->pieces[at];
    if (!at || !grammar_step(l->b)) return rest;
    switch ((enum piece_kind)it.kind) {
    case PIECE_SET: return language_then(l, it.set, rest);
    case PIECE_ROW: return build_row(p, it.child, rest);
    case PIECE_CHOICE: {
        size_t begun = language_begin_or(l);
        for (uint32_t c = it.child; c; c = p->pieces[c].next) language_add_or(l, build(p, c, rest));
        return language_end_or(l, begun);
    }
    case PIECE_TIMES:
        if (it.looks) return build_looking_times(p, &it, rest);
        return language_then(l, language_times(l, build(p, it.child, LANGUAGE_EMPTY), it.least, it.most),
                             rest);
    case PIECE_START: return p->at_start ? rest : LANGUAGE_NONE;
    case PIECE_END: return only_empty(l, rest);
    default: break;
    }
    if (it.kind == PIECE_LOOK && !it.behind) return build_look(p, &it, rest);
    return grammar_fail(l->b, ERR_INVALID,
                        "looking back ((?<=, (?<!, \\b) is supported only outside of groups"),
           LANGUAGE_NONE;
}

/* An edge of a word, or what must stand before: `before` has all that comes before it. */
static expression build_back(pattern *p, const piece *it, expression before, expression rest) {
    language *l = p->l;
    if (it->kind == PIECE_LOOK) {
        expression behind = language_then(l, LANGUAGE_ALL, build(p, it->child, LANGUAGE_EMPTY));
        return language_then(l, language_and(l, before, it->negated ? language_not(l, behind) : behind),
                             rest);
    }
    expression word = words(l), ends = language_then(l, LANGUAGE_ALL, word),
               begins = language_then(l, word, LANGUAGE_ALL),
               ends_not = language_and(l, before, language_not(l, ends)),
               goes_not = language_and(l, rest, language_not(l, begins));
    ends = language_and(l, before, ends);
    begins = language_and(l, rest, begins);
    return it->negated ? language_or(l, language_then(l, ends, begins), language_then(l, ends_not, goes_not))
                       : language_or(l, language_then(l, ends, goes_not), language_then(l, ends_not, begins));
}

/* A row at the pattern's own level, with what lies before the match. */
static expression build_top_row(pattern *p, uint32_t first, expression before, expression rest) {
    for (uint32_t at = first, last = 0; at && !p->l->b->failed; last = at, at = p->pieces[at].next) {
        piece it = p->pieces[at];
        bool back = it.kind == PIECE_EDGE || (it.kind == PIECE_LOOK && it.behind);
        if (!back) continue;
        if (last && it.kind == PIECE_EDGE && side_of(p, last)) continue; /* build_row knows */
        bool at_start = p->at_start;
        if (last) p->pieces[last].next = 0;
        expression up_to =
            language_then(p->l, before, last ? build_row(p, first, LANGUAGE_EMPTY) : LANGUAGE_EMPTY);
        if (last) p->pieces[last].next = at;
        p->at_start = false;
        /* what follows may look back, too: as far as here it is known */
        expression behind = build_row(p, it.next, rest);
        p->at_start = at_start;
        return build_back(p, &it, up_to, behind);
    }
    return language_then(p->l, before, build_row(p, first, rest));
}

static expression build_top(pattern *p, uint32_t choice, bool whole) {
    language *l = p->l;
    expression all = LANGUAGE_NONE, rest = whole ? LANGUAGE_EMPTY : LANGUAGE_ALL,
               some = language_then(l, language_any(l), LANGUAGE_ALL);
    for (uint32_t row = p->pieces[choice].child; row && !l->b->failed; row = p->pieces[row].next) {
        p->at_start = true;
        all = language_or(l, all, build_top_row(p, p->pieces[row].child, LANGUAGE_EMPTY, rest));
        p->at_start = false;
        if (!whole) all = language_or(l, all, build_top_row(p, p->pieces[row].child, some, rest));
    }
    return all;
}

expression language_pattern(language *l, str text, bool whole, bool wide) {
    pattern p = {.x = {.b = l->b, .pattern = text, .whole = whole, .wide = wide}, .l = l};
    piece_of(&p, (piece){0});
    if (!p.pieces) return LANGUAGE_NONE;
    uint32_t choice = read_choice(&p);
    if (!l->b->failed && p.x.at < text.len) regex_wrong(&p.x, ") has no (");
    expression all = l->b->failed ? LANGUAGE_NONE : build_top(&p, choice, whole);
    alloc_free(l->b->alloc, p.pieces, p.cap * sizeof *p.pieces);
    return all;
}

bool grammar_pattern_finds(grammar_builder *b, str text, str in) {
    language l;
    bool found = language_init(&l, b) && language_has(&l, language_pattern(&l, text, false, false), in);
    language_free(&l);
    return found && !b->failed;
}
