/* Tokens to nodes, by recursive descent: statements, and the tools that expressions use, too. */
#include "text/template/parser.h"

#include <stdio.h>

static bool parse_any(parser *p);

/* ---- symbols ---- */

static uint32_t *symbol_slot(const symbols *s, str name) {
    uint32_t i = (uint32_t)str_hash(name) & (s->slot_count - 1);
    while (s->slots[i] && !str_eq(s->names[s->slots[i] - 1], name)) i = (i + 1) & (s->slot_count - 1);
    return &s->slots[i];
}

uint32_t symbols_find(const symbols *s, str name) {
    uint32_t *slot = symbol_slot(s, name);
    return *slot ? *slot - 1 : NO_SYMBOL;
}

static bool grow_symbols(symbols *s, region *g) {
    uint32_t cap = s->cap ? s->cap * 2 : 64;
    str *names = region_take(g, cap * sizeof *names);
    uint32_t *slots = region_take(g, cap * 2 * sizeof *slots);
    if (!names || !slots) return false;
    if (s->n) memcpy(names, s->names, s->n * sizeof *names);
    memset(slots, 0, cap * 2 * sizeof *slots);
    s->names = names;
    s->slots = slots;
    s->cap = cap;
    s->slot_count = cap * 2;
    for (uint32_t i = 0; i < s->n; i++) *symbol_slot(s, s->names[i]) = i + 1;
    return true;
}

static bool intern(parser *p, str name, place at, uint32_t *id) {
    symbols *s = &p->t->names;
    if (s->n == s->cap && !grow_symbols(s, p->kept)) return parser_refused(p);
    uint32_t *slot = symbol_slot(s, name);
    if (!*slot) {
        if (s->n == TEMPLATE_NAMES_MAX)
            return template_fail_at(p->e, at, ERR_INVALID, "more than %d names", TEMPLATE_NAMES_MAX);
        s->names[s->n] = name;
        *slot = ++s->n;
    }
    *id = *slot - 1;
    return true;
}

node *parser_name(parser *p, const token *t) {
    node *n = parser_node(p, NODE_NAME, t->at);
    if (!n) return NULL;
    n->text = t->text;
    return intern(p, t->text, t->at, &n->symbol) ? n : NULL;
}

/* ---- the tools of the descent ---- */

void *parser_refused(parser *p) { return err_set(p->e, ERR_MEMORY, "no memory for the template"), NULL; }

void *parser_unexpected(parser *p, const char *wanted) {
    const token *t = parser_here(p);
    bool text = t->kind == TOKEN_TEXT;
    template_fail_at(p->e, t->at, ERR_INVALID, "expected %s, not %s%.*s%s", wanted, text ? "" : "'",
                     text ? 4 : (int)(t->text.len < 40 ? t->text.len : 40), text ? "text" : t->text.data,
                     text ? "" : "'");
    return NULL;
}

void *parser_wrong(parser *p, place at, const char *what) {
    return template_fail_at(p->e, at, ERR_INVALID, "%s", what), NULL;
}

bool parser_expect(parser *p, const char *mark) {
    char wanted[8];
    snprintf(wanted, sizeof wanted, "'%s'", mark);
    return parser_accept(p, mark) || parser_unexpected(p, wanted);
}

bool parser_enter(parser *p) {
    return ++p->depth <= PARSE_DEPTH_MAX || template_fail_at(p->e, parser_here(p)->at, ERR_INVALID,
                                                             "nested more than %d deep", PARSE_DEPTH_MAX);
}

node *parser_node(parser *p, node_kind kind, place at) {
    node *n = region_take(p->kept, sizeof *n);
    if (!n) return parser_refused(p);
    memset(n, 0, sizeof *n);
    n->kind = (uint8_t)kind;
    n->at = at;
    return n;
}

bool parser_raise(parser *p, node *n, const node *child) {
    if (child && child->height >= n->height) n->height = (uint16_t)(child->height + 1);
    return n->height <= TEMPLATE_HEIGHT_MAX ||
           template_fail_at(p->e, n->at, ERR_INVALID, "more than %d operations in each other",
                            TEMPLATE_HEIGHT_MAX);
}

/* A node over up to three others, each of which must be there (or is NULL by leave). */
node *parser_over(parser *p, node_kind kind, place at, uint8_t op, node *a, node *b, node *c) {
    node *n = parser_node(p, kind, at);
    if (!n) return NULL;
    n->op = op;
    n->a = a;
    n->b = b;
    n->c = c;
    return parser_raise(p, n, a) && parser_raise(p, n, b) && parser_raise(p, n, c) ? n : NULL;
}

bool parser_pend(parser *p, node *n) {
    if (!n) return false;
    if (p->n_pending == p->cap_pending) {
        size_t cap = p->cap_pending ? p->cap_pending * 2 : 64;
        node **grown = region_take(p->passing, cap * sizeof *grown);
        if (!grown) return parser_refused(p);
        if (p->n_pending) memcpy(grown, p->pending, p->n_pending * sizeof *grown);
        p->pending = grown;
        p->cap_pending = cap;
    }
    p->pending[p->n_pending++] = n;
    return true;
}

/* What was pended since mark becomes a list of owner's. */
bool parser_collect(parser *p, size_t mark, node *owner, nodes *out) {
    size_t n = p->n_pending - mark;
    node **at = region_take(p->kept, n * sizeof *at);
    if (!at) return parser_refused(p);
    for (size_t i = 0; i < n; i++) {
        at[i] = p->pending[mark + i];
        if (owner && !parser_raise(p, owner, at[i])) return false;
    }
    p->n_pending = mark;
    *out = (nodes){at, (uint32_t)n};
    return true;
}

/* ---- statements ---- */

static bool close_tag(parser *p) {
    if (!parser_is(p, TOKEN_CLOSE_STATEMENT)) return parser_unexpected(p, "'%}'") != NULL;
    return p->at++, true;
}

static bool is_tag(const parser *p, const char *name) {
    return parser_is(p, TOKEN_OPEN_STATEMENT) && parser_is_text(p, 1, TOKEN_NAME, name);
}

/* Everything up to one of these tags, whose name is then next. */
static bool parse_body(parser *p, const char *const *ends, node *owner, nodes *out) {
    size_t mark = p->n_pending;
    parser_accept(p, ":");
    if (!close_tag(p)) return false;
    for (;;) {
        for (const char *const *end = ends; *end; end++)
            if (is_tag(p, *end)) return p->at++, parser_collect(p, mark, owner, out);
        if (parser_is(p, TOKEN_END))
            return template_fail_at(p->e, owner->at, ERR_INVALID, "this has no {%% %s %%}", ends[0]);
        if (!parse_any(p)) return false;
    }
}

static bool parse_block(parser *p, const char *end, node *owner, nodes *out) {
    return parse_body(p, (const char *const[]){end, NULL}, owner, out) && (p->at++, close_tag(p));
}

/* A block with a scope of its own: what is unknown in it is so whether it is reached or not. */
static bool parse_scope(parser *p, const char *const *ends, node *owner, nodes *out) {
    bool before = p->conditional;
    p->conditional = false;
    bool ok = ends[1] ? parse_body(p, ends, owner, out) : parse_block(p, ends[0], owner, out);
    p->conditional = before;
    return ok;
}
#define ENDS(...) ((const char *const[]){__VA_ARGS__, NULL})

static node *parse_set_target(parser *p) {
    const token *t = parser_here(p);
    if (t->kind != TOKEN_NAME || !parser_is_text(p, 1, TOKEN_OPERATOR, ".")) return parse_target(p, NULL);
    p->at++;
    node *name = parser_name(p, t);
    p->at++;
    t = parser_here(p);
    if (t->kind != TOKEN_NAME) return parser_unexpected(p, "a name behind '.'");
    p->at++;
    node *n = name ? parser_over(p, NODE_ATTRIBUTE, t->at, 0, name, NULL, NULL) : NULL;
    if (n) n->text = t->text;
    return n;
}

static node *parse_set(parser *p, node *n) {
    if (!(n->a = parse_set_target(p)) || !parser_raise(p, n, n->a)) return NULL;
    if (parser_accept(p, "=")) {
        n->b = parse_tuple(p, TUPLE_PLAIN, NULL);
        return n->b && parser_raise(p, n, n->b) && close_tag(p) ? n : NULL;
    }
    if (parser_is_mark(p, "|") && (!(n->b = parse_filter(p, NULL, false)) || !parser_raise(p, n, n->b)))
        return NULL;
    n->op = 1;
    return parse_scope(p, ENDS("endset"), n, &n->body) ? n : NULL;
}

/* An elif is an if in the other branch, and its end is ours. */
static node *parse_if(parser *p, node *n) {
    bool before = p->conditional;
    p->conditional = true;
    if (!(n->a = parse_tuple(p, TUPLE_NO_CONDITION, NULL)) || !parser_raise(p, n, n->a) ||
        !parse_body(p, ENDS("endif", "elif", "else"), n, &n->body))
        return NULL;
    if (parser_accept_name(p, "endif")) return p->conditional = before, close_tag(p) ? n : NULL;
    if (parser_accept_name(p, "else")) {
        bool ok = parse_block(p, "endif", n, &n->other);
        return p->conditional = before, ok ? n : NULL;
    }
    size_t mark = p->n_pending;
    node *elif = parser_node(p, NODE_IF, parser_next(p)->at);
    if (!elif || !parser_enter(p) || !parser_leave(p, parse_if(p, elif)) || !parser_pend(p, elif))
        return NULL;
    p->conditional = before;
    return parser_collect(p, mark, n, &n->other) ? n : NULL;
}

static node *parse_for(parser *p, node *n) {
    bool captures = p->captures;
    p->captures = false;
    if (!(n->a = parse_target(p, "in")) || !parser_raise(p, n, n->a)) return NULL;
    if (!parser_accept_name(p, "in")) return parser_unexpected(p, "'in'");
    if (!(n->b = parse_tuple(p, TUPLE_NO_CONDITION, "recursive")) || !parser_raise(p, n, n->b)) return NULL;
    if (parser_accept_name(p, "if") && (!(n->c = parse_expression(p)) || !parser_raise(p, n, n->c)))
        return NULL;
    if (parser_accept_name(p, "recursive")) n->op = FOR_RECURSIVE;
    p->loops++;
    if (!parse_scope(p, ENDS("endfor", "else"), n, &n->body)) return NULL;
    p->loops--;
    bool otherwise = parser_accept_name(p, "else");
    if (!otherwise) p->at++;
    if (!(otherwise ? parse_scope(p, ENDS("endfor"), n, &n->other) : close_tag(p))) return NULL;
    if (p->captures) n->op |= FOR_CAPTURED;
    p->captures |= captures;
    return n;
}

static bool parse_macro_body(parser *p, const char *end, node *n) {
    uint32_t loops = p->loops;
    p->loops = 0;
    bool ok = parse_scope(p, ENDS(end), n, &n->body);
    p->loops = loops;
    p->captures = true;
    if (ok) n->op = template_special_arguments(&n->other, &n->body);
    return ok;
}

static node *parse_macro(parser *p, node *n) {
    const token *t = parser_here(p);
    if (t->kind != TOKEN_NAME) return parser_unexpected(p, "a macro's name");
    p->at++;
    if (!(n->a = parser_name(p, t)) || !parse_signature(p, n, &n->other)) return NULL;
    return parse_macro_body(p, "endmacro", n) ? n : NULL;
}

static node *parse_call_block(parser *p, node *n) {
    if (parser_is_mark(p, "(") && !parse_signature(p, n, &n->other)) return NULL;
    place at = parser_here(p)->at;
    if (!(n->a = parse_expression(p)) || !parser_raise(p, n, n->a)) return NULL;
    if (n->a->kind != NODE_CALL) return parser_wrong(p, at, "expected a call");
    return parse_macro_body(p, "endcall", n) ? n : NULL;
}

static node *parse_filter_block(parser *p, node *n) {
    if (!(n->b = parse_filter(p, NULL, true)) || !parser_raise(p, n, n->b)) return NULL;
    return parse_scope(p, ENDS("endfilter"), n, &n->body) ? n : NULL;
}

static node *parse_with(parser *p, node *n) {
    size_t mark = p->n_pending;
    while (!parser_is(p, TOKEN_CLOSE_STATEMENT) && !parser_is_mark(p, ":")) {
        if (p->n_pending > mark && !parser_expect(p, ",")) return NULL;
        place at = parser_here(p)->at;
        const token *t = parser_next(p);
        if (t->kind != TOKEN_NAME) return parser_wrong(p, at, "expected a name");
        if (!parser_pend(p, parser_name(p, t)) || !parser_expect(p, "=") ||
            !parser_pend(p, parse_expression(p)))
            return NULL;
    }
    if (!parser_collect(p, mark, n, &n->other)) return NULL;
    return parse_scope(p, ENDS("endwith"), n, &n->body) ? n : NULL;
}

/* What a model is trained on is marked by {% generation %}: nothing to us. */
static node *parse_generation(parser *p, node *n) {
    return parse_scope(p, ENDS("endgeneration"), n, &n->body) ? n : NULL;
}

static node *parse_print(parser *p, node *n) {
    size_t mark = p->n_pending;
    while (!parser_is(p, TOKEN_CLOSE_STATEMENT)) {
        if (p->n_pending > mark && !parser_expect(p, ",")) return NULL;
        if (!parser_pend(p, parse_expression(p))) return NULL;
    }
    return close_tag(p) && parser_collect(p, mark, n, &n->body) ? n : NULL;
}

static node *parse_leave_turn(parser *p, node *n) {
    if (!p->loops) return parser_wrong(p, n->at, "break and continue stand in loops");
    return close_tag(p) ? n : NULL;
}

static node *parse_statement(parser *p) {
    static const struct {
        const char *name;
        node_kind kind;
        node *(*parse)(parser *p, node *n);
    } statements[] = {
        {"set", NODE_SET, parse_set},
        {"if", NODE_IF, parse_if},
        {"for", NODE_FOR, parse_for},
        {"macro", NODE_MACRO, parse_macro},
        {"call", NODE_CALL_BLOCK, parse_call_block},
        {"filter", NODE_FILTER_BLOCK, parse_filter_block},
        {"with", NODE_WITH, parse_with},
        {"generation", NODE_SCOPE, parse_generation},
        {"print", NODE_OUTPUT, parse_print},
        {"break", NODE_BREAK, parse_leave_turn},
        {"continue", NODE_CONTINUE, parse_leave_turn},
    };
    static const char *const others[] = {"include", "import", "from", "extends", "block"};
    p->at++;
    for (size_t i = 0; i < sizeof statements / sizeof *statements; i++) {
        if (!parser_is_name(p, statements[i].name)) continue;
        node *n = parser_node(p, statements[i].kind, parser_next(p)->at);
        return n ? statements[i].parse(p, n) : NULL;
    }
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        if (parser_is_name(p, others[i]))
            return parser_wrong(
                p, parser_here(p)->at,
                "a chat template stands alone: there are no others to include, import or extend");
    return parser_unexpected(p,
                             "set, if, for, macro, call, filter, with, generation, print, break or continue");
}

static node *parse_output(parser *p) {
    size_t mark = p->n_pending;
    node *n = parser_node(p, NODE_OUTPUT, parser_next(p)->at);
    if (!n || !parser_pend(p, parse_tuple(p, TUPLE_PLAIN, NULL)) || !parser_collect(p, mark, n, &n->body))
        return NULL;
    if (!parser_is(p, TOKEN_CLOSE_EXPRESSION)) return parser_unexpected(p, "'}}'");
    return p->at++, n;
}

static node *parse_one(parser *p) {
    const token *t = parser_here(p);
    node *n;
    switch (t->kind) {
    case TOKEN_OPEN_STATEMENT: return parse_statement(p);
    case TOKEN_OPEN_EXPRESSION: return parse_output(p);
    case TOKEN_TEXT:
        p->at++;
        if ((n = parser_node(p, NODE_TEXT, t->at))) n->text = t->text;
        return n;
    default: return parser_unexpected(p, "text or a tag");
    }
}

static bool parse_any(parser *p) { return parser_enter(p) && parser_pend(p, parser_leave(p, parse_one(p))); }

bool template_parse(text_template *t, region *passing, const token *tokens, size_t n, err *e) {
    static const char *const fixed[] = {
#define X(ident, name) name,
        TEMPLATE_SYMBOLS(X)
#undef X
    };
    parser p = {.t = t, .kept = &t->kept, .passing = passing, .tokens = tokens, .n = n, .e = e};
    for (uint32_t i = 0, id; i < SYMBOLS_FIXED; i++)
        if (!intern(&p, str_of(fixed[i]), (place){0}, &id)) return false;
    while (!parser_is(&p, TOKEN_END))
        if (!parse_any(&p)) return false;
    if (p.unknown)
        return template_fail_at(e, p.unknown->at, ERR_INVALID, "no %s '%.*s'",
                                p.unknown->kind == NODE_TEST ? "test" : "filter", CLIPPED(p.unknown->text));
    return parser_collect(&p, 0, NULL, &t->body);
}
