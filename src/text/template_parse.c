/* Tokens to nodes, by recursive descent: statements, and the tools that expressions use, too. */
#include "text/template_parser.h"

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

bool parser_intern(parser *p, const token *name, uint32_t *id) {
    symbols *s = &p->t->names;
    if (s->n == s->cap && !grow_symbols(s, p->kept)) return parser_refused(p);
    uint32_t *slot = symbol_slot(s, name->text);
    if (!*slot) {
        if (s->n == TEMPLATE_NAMES_MAX)
            return template_fail_at(p->e, name->at, ERR_INVALID, "more than %d names", TEMPLATE_NAMES_MAX);
        s->names[s->n] = name->text;
        *slot = ++s->n;
    }
    *id = *slot - 1;
    return true;
}

/* ---- the tools of the descent ---- */

void *parser_refused(parser *p) { return err_set(p->e, ERR_MEMORY, "no memory for the template"), NULL; }

void *parser_unexpected(parser *p, const char *wanted) {
    const token *t = parser_here(p);
    const char *shown = t->kind == TOKEN_TEXT ? "text" : t->kind == TOKEN_COMMENT ? "a comment" : NULL;
    template_fail_at(p->e, t->at, ERR_INVALID, "expected %s, not %s%.*s%s", wanted, shown ? "" : "'",
                     shown ? 40 : (int)(t->text.len < 40 ? t->text.len : 40), shown ? shown : t->text.data,
                     shown ? "" : "'");
    return NULL;
}

bool parser_expect(parser *p, token_kind kind, const char *wanted) {
    return parser_accept(p, kind) || parser_unexpected(p, wanted);
}

bool parser_enter(parser *p) {
    return ++p->depth <= PARSE_DEPTH_MAX ||
           template_fail_at(p->e, parser_here(p)->at, ERR_INVALID, "nested more than %d deep", PARSE_DEPTH_MAX);
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
           template_fail_at(p->e, n->at, ERR_INVALID, "more than %d operations in each other", TEMPLATE_HEIGHT_MAX);
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

static bool close_tag(parser *p) { return parser_expect(p, TOKEN_CLOSE_STATEMENT, "'%}'"); }

static bool is_tag(const parser *p, const char *name) {
    return parser_is(p, TOKEN_OPEN_STATEMENT) && parser_is_name(p, 1, name);
}

/* Everything up to one of these tags. */
static bool parse_body(parser *p, const char *const *ends, node *owner, nodes *out) {
    size_t mark = p->n_pending;
    for (;;) {
        for (const char *const *end = ends; *end; end++)
            if (is_tag(p, *end)) return parser_collect(p, mark, owner, out);
        if (parser_is(p, TOKEN_END))
            return template_fail_at(p->e, owner->at, ERR_INVALID, "this has no {%% %s %%}", ends[0]);
        if (!parse_any(p)) return false;
    }
}

static bool skip_tag(parser *p) { /* {% name %}, whose start is_tag has seen */
    p->at += 2;
    return close_tag(p);
}

static bool parse_block(parser *p, const char *end, node *owner, nodes *out) {
    return parse_body(p, (const char *const[]){end, NULL}, owner, out) && skip_tag(p);
}

static node *parse_set(parser *p, node *n) {
    if (!(n->a = parse_sequence(p, parse_expression)) || !parser_raise(p, n, n->a)) return NULL;
    if (!parser_accept(p, TOKEN_EQUALS)) return close_tag(p) && parse_block(p, "endset", n, &n->body) ? n : NULL;
    n->b = parse_sequence(p, parse_expression);
    return n->b && parser_raise(p, n, n->b) && close_tag(p) ? n : NULL;
}

/* An elif is an if in the other branch, and its end is ours. */
static node *parse_if(parser *p, node *n) {
    if (!(n->a = parse_expression(p)) || !parser_raise(p, n, n->a) || !close_tag(p) ||
        !parse_body(p, (const char *const[]){"endif", "elif", "else", NULL}, n, &n->body))
        return NULL;
    if (is_tag(p, "endif")) return skip_tag(p) ? n : NULL;
    if (is_tag(p, "else")) return skip_tag(p) && parse_block(p, "endif", n, &n->other) ? n : NULL;
    size_t mark = p->n_pending;
    p->at++;
    node *elif = parser_node(p, NODE_IF, parser_next(p)->at);
    if (!elif || !parser_enter(p) || !parser_leave(p, parse_if(p, elif)) || !parser_pend(p, elif)) return NULL;
    return parser_collect(p, mark, n, &n->other) ? n : NULL;
}

static node *parse_for(parser *p, node *n) {
    place at = parser_here(p)->at;
    if (!(n->a = parse_sequence(p, parse_primary))) return NULL;
    if (n->a->kind != NODE_NAME && n->a->kind != NODE_TUPLE)
        return template_fail_at(p->e, at, ERR_INVALID, "a loop sets a name, or names with commas between"), NULL;
    if (!parser_is_name(p, 0, "in")) return parser_unexpected(p, "'in'");
    p->at++;
    if (!(n->b = parse_expression(p)) || !parser_raise(p, n, n->b) || !close_tag(p) ||
        !parse_body(p, (const char *const[]){"endfor", "else", NULL}, n, &n->body))
        return NULL;
    if (is_tag(p, "endfor")) return skip_tag(p) ? n : NULL;
    return skip_tag(p) && parse_block(p, "endfor", n, &n->other) ? n : NULL;
}

static node *parse_macro(parser *p, node *n) {
    if (!(n->a = parse_primary(p))) return NULL;
    if (n->a->kind != NODE_NAME)
        return template_fail_at(p->e, n->a->at, ERR_INVALID, "a macro needs a name"), NULL;
    if (!parse_arguments(p, true, n, &n->other) || !close_tag(p) || !parse_block(p, "endmacro", n, &n->body))
        return NULL;
    n->op = template_special_arguments(&n->other, &n->body);
    return n;
}

static node *parse_call_block(parser *p, node *n) {
    if (parser_is(p, TOKEN_OPEN_PAREN) && !parse_arguments(p, true, n, &n->other)) return NULL;
    node *callee = parse_primary(p);
    if (!callee) return NULL;
    if (callee->kind != NODE_NAME)
        return template_fail_at(p->e, callee->at, ERR_INVALID, "expected a macro's name"), NULL;
    if (!(n->a = parse_call_of(p, callee)) || !parser_raise(p, n, n->a) || !close_tag(p) ||
        !parse_block(p, "endcall", n, &n->body))
        return NULL;
    n->op = template_special_arguments(&n->other, &n->body);
    return n;
}

static node *parse_filter_block(parser *p, node *n) {
    if (!(n->b = parse_primary(p))) return NULL;
    if (n->b->kind == NODE_NAME && !(n->b = parse_calls(p, n->b))) return NULL;
    return parser_raise(p, n, n->b) && close_tag(p) && parse_block(p, "endfilter", n, &n->body) ? n : NULL;
}

static node *parse_nothing(parser *p, node *n) { return close_tag(p) ? n : NULL; }

static node *parse_statement(parser *p) {
    static const struct {
        const char *name;
        node_kind kind;
        node *(*parse)(parser *p, node *n);
    } statements[] = {
        {"set", NODE_SET, parse_set}, {"if", NODE_IF, parse_if}, {"for", NODE_FOR, parse_for},
        {"macro", NODE_MACRO, parse_macro}, {"call", NODE_CALL_BLOCK, parse_call_block},
        {"filter", NODE_FILTER_BLOCK, parse_filter_block}, {"break", NODE_BREAK, parse_nothing},
        {"continue", NODE_CONTINUE, parse_nothing},
    };
    p->at++;
    for (size_t i = 0; i < sizeof statements / sizeof *statements; i++) {
        if (!parser_is_name(p, 0, statements[i].name)) continue;
        node *n = parser_node(p, statements[i].kind, parser_next(p)->at);
        return n ? statements[i].parse(p, n) : NULL;
    }
    return parser_unexpected(p, "set, if, for, macro, call, filter, break or continue");
}

static node *parse_output(parser *p) {
    p->at++;
    node *n = parse_expression(p);
    return n && parser_expect(p, TOKEN_CLOSE_EXPRESSION, "'}}'") ? n : NULL;
}

static node *parse_one(parser *p) {
    const token *t = parser_here(p);
    node *n;
    switch (t->kind) {
    case TOKEN_OPEN_STATEMENT: return parse_statement(p);
    case TOKEN_OPEN_EXPRESSION: return parse_output(p);
    case TOKEN_TEXT:
    case TOKEN_COMMENT:
        p->at++;
        if ((n = parser_node(p, t->kind == TOKEN_TEXT ? NODE_TEXT : NODE_COMMENT, t->at))) n->text = t->text;
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
        if (!parser_intern(&p, &(token){.text = str_of(fixed[i])}, &id)) return false;
    while (!parser_is(&p, TOKEN_END))
        if (!parse_any(&p)) return false;
    return parser_collect(&p, 0, NULL, &t->body);
}
