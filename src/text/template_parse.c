/* Tokens to nodes, by recursive descent. What the reference lets pass (commas left out, a second expression in
 * brackets) passes here. */
#include "text/template_internal.h"

enum { PARSE_DEPTH_MAX = 100 }; /* of expressions and blocks in each other; each is up to a dozen calls */

typedef struct parser {
    text_template *t;
    region *kept, *passing;
    const token *tokens;
    size_t n, at;
    node **pending; /* children of lists not finished yet */
    size_t n_pending, cap_pending;
    uint32_t depth;
    err *e;
} parser;

static node *parse_expression(parser *p);
static node *parse_unary(parser *p);
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

static bool intern(symbols *s, region *g, str name, uint32_t *id) {
    if (s->n == s->cap && !grow_symbols(s, g)) return false;
    uint32_t *slot = symbol_slot(s, name);
    if (!*slot) {
        s->names[s->n] = name;
        *slot = ++s->n;
    }
    *id = *slot - 1;
    return true;
}

/* ---- the tools of the descent: after an error, NULL or false goes all the way up ---- */

static void *refused(parser *p) { return err_set(p->e, ERR_MEMORY, "no memory for the template"), NULL; }

static const token *here(const parser *p) { return &p->tokens[p->at]; }
static bool is(const parser *p, token_kind kind) { return here(p)->kind == kind; }
static bool is_name(const parser *p, size_t ahead, const char *name) {
    const token *t = here(p);
    for (; ahead && t->kind != TOKEN_END; ahead--) t++;
    return t->kind == TOKEN_NAME && str_is(t->text, name);
}
static bool is_tag(const parser *p, const char *name) { return is(p, TOKEN_OPEN_STATEMENT) && is_name(p, 1, name); }
static const token *next(parser *p) {
    const token *t = here(p);
    if (t->kind != TOKEN_END) p->at++;
    return t;
}
static bool accept(parser *p, token_kind kind) { return is(p, kind) ? p->at++, true : false; }

static void *unexpected(parser *p, const char *wanted) {
    const token *t = here(p);
    const char *shown = t->kind == TOKEN_TEXT ? "text" : t->kind == TOKEN_COMMENT ? "a comment" : NULL;
    template_fail_at(p->e, t->at, ERR_INVALID, "expected %s, not %s%.*s%s", wanted, shown ? "" : "'",
                     shown ? 40 : (int)(t->text.len < 40 ? t->text.len : 40), shown ? shown : t->text.data,
                     shown ? "" : "'");
    return NULL;
}
static bool expect(parser *p, token_kind kind, const char *wanted) {
    return accept(p, kind) || unexpected(p, wanted);
}

static bool enter(parser *p) {
    return ++p->depth <= PARSE_DEPTH_MAX ||
           template_fail_at(p->e, here(p)->at, ERR_INVALID, "nested more than %d deep", PARSE_DEPTH_MAX);
}
static void *leave(parser *p, void *result) { return p->depth--, result; }

static node *new_node(parser *p, node_kind kind, place at) {
    node *n = region_take(p->kept, sizeof *n);
    if (!n) return refused(p);
    memset(n, 0, sizeof *n);
    n->kind = (uint8_t)kind;
    n->at = at;
    return n;
}

static bool raise_height(parser *p, node *n, const node *child) {
    if (child && child->height >= n->height) n->height = (uint16_t)(child->height + 1);
    return n->height <= TEMPLATE_HEIGHT_MAX ||
           template_fail_at(p->e, n->at, ERR_INVALID, "more than %d operations in each other", TEMPLATE_HEIGHT_MAX);
}

/* A node over up to three others, each of which must be there (or is NULL by leave). */
static node *over(parser *p, node_kind kind, place at, uint8_t op, node *a, node *b, node *c) {
    node *n = new_node(p, kind, at);
    if (!n) return NULL;
    n->op = op;
    n->a = a;
    n->b = b;
    n->c = c;
    return raise_height(p, n, a) && raise_height(p, n, b) && raise_height(p, n, c) ? n : NULL;
}

static bool pend(parser *p, node *n) {
    if (!n) return false;
    if (p->n_pending == p->cap_pending) {
        size_t cap = p->cap_pending ? p->cap_pending * 2 : 64;
        node **grown = region_take(p->passing, cap * sizeof *grown);
        if (!grown) return refused(p);
        if (p->n_pending) memcpy(grown, p->pending, p->n_pending * sizeof *grown);
        p->pending = grown;
        p->cap_pending = cap;
    }
    p->pending[p->n_pending++] = n;
    return true;
}

/* What was pended since mark becomes a list of owner's. */
static bool collect(parser *p, size_t mark, node *owner, nodes *out) {
    size_t n = p->n_pending - mark;
    node **at = region_take(p->kept, n * sizeof *at);
    if (!at) return refused(p);
    for (size_t i = 0; i < n; i++) {
        at[i] = p->pending[mark + i];
        if (owner && !raise_height(p, owner, at[i])) return false;
    }
    p->n_pending = mark;
    *out = (nodes){at, (uint32_t)n};
    return true;
}

/* ---- operands ---- */

static node *name_node(parser *p, const token *t) {
    node *n = new_node(p, NODE_NAME, t->at);
    if (!n) return NULL;
    n->text = t->text;
    return intern(&p->t->names, p->kept, t->text, &n->symbol) ? n : refused(p);
}

static node *number_node(parser *p, const token *t) {
    bool fraction = memchr(t->text.data, '.', t->text.len);
    node *n = new_node(p, fraction ? NODE_FLOAT : NODE_INTEGER, t->at);
    return n && !number_of_digits(p->passing, t->text, &n->number) ? refused(p) : n;
}

static node *string_node(parser *p, const token *t) {
    node *n = new_node(p, NODE_STRING, t->at);
    if (!n) return NULL;
    n->text = t->text;
    size_t len = t->text.len;
    for (const token *more = here(p); more->kind == TOKEN_STRING; more++) len += more->text.len;
    if (len == t->text.len && !is(p, TOKEN_STRING)) return n;
    char *joined = region_take_text(p->kept, len), *out = joined;
    if (!joined) return refused(p);
    for (; t->kind == TOKEN_STRING; t = here(p), p->at += t->kind == TOKEN_STRING) {
        memcpy(out, t->text.data, t->text.len);
        out += t->text.len;
    }
    n->text = (str){joined, p->t->halves ? text_join_halves(joined, len) : len};
    return n;
}

/* a, b, c … into a tuple; one alone stays what it is. */
static node *parse_sequence(parser *p, node *(*one)(parser *p)) {
    size_t mark = p->n_pending;
    place at = here(p)->at;
    node *first = one(p);
    if (!first || !is(p, TOKEN_COMMA)) return first;
    if (!pend(p, first)) return NULL;
    while (accept(p, TOKEN_COMMA))
        if (!pend(p, one(p))) return NULL;
    node *tuple = new_node(p, NODE_TUPLE, at);
    return tuple && collect(p, mark, tuple, &tuple->body) ? tuple : NULL;
}

static node *list_node(parser *p, const token *t) {
    size_t mark = p->n_pending;
    while (!is(p, TOKEN_CLOSE_BRACKET)) {
        if (!pend(p, parse_expression(p))) return NULL;
        accept(p, TOKEN_COMMA);
    }
    p->at++;
    node *n = new_node(p, NODE_LIST, t->at);
    return n && collect(p, mark, n, &n->body) ? n : NULL;
}

static node *mapping_node(parser *p, const token *t) {
    size_t mark = p->n_pending;
    while (!is(p, TOKEN_CLOSE_BRACE)) {
        if (!pend(p, parse_expression(p)) || !expect(p, TOKEN_COLON, "':' behind a key") ||
            !pend(p, parse_expression(p)))
            return NULL;
        accept(p, TOKEN_COMMA);
    }
    p->at++;
    node *n = new_node(p, NODE_MAPPING, t->at);
    return n && collect(p, mark, n, &n->body) ? n : NULL;
}

static node *parse_primary(parser *p) {
    const token *t = next(p);
    node *n;
    switch (t->kind) {
    case TOKEN_NUMBER: return number_node(p, t);
    case TOKEN_STRING: return string_node(p, t);
    case TOKEN_NAME: return name_node(p, t);
    case TOKEN_OPEN_PAREN:
        n = parse_sequence(p, parse_expression);
        return n && expect(p, TOKEN_CLOSE_PAREN, "')'") ? n : NULL;
    case TOKEN_OPEN_BRACKET: return list_node(p, t);
    case TOKEN_OPEN_BRACE: return mapping_node(p, t);
    default: p->at = (size_t)(t - p->tokens); return unexpected(p, "an expression");
    }
}

/* ---- arguments ---- */

static bool check_parameter(parser *p, const node *argument, size_t mark) {
    if (argument->kind != NODE_NAME && argument->kind != NODE_KEYWORD)
        return template_fail_at(p->e, argument->at, ERR_INVALID, "a parameter must be a name");
    str name = argument->kind == NODE_NAME ? argument->text : argument->a->text;
    for (size_t i = mark; i < p->n_pending; i++) {
        const node *other = p->pending[i];
        if (str_eq(name, other->kind == NODE_NAME ? other->text : other->a->text))
            return template_fail_at(p->e, argument->at, ERR_INVALID, "two parameters are named '%.*s'",
                                    CLIPPED(name));
    }
    return true;
}

static node *parse_spread(parser *p, node_kind kind) {
    place at = next(p)->at;
    node *n = parse_expression(p);
    return n ? over(p, kind, at, 0, n, NULL, NULL) : NULL;
}

static node *parse_argument(parser *p) {
    place at = here(p)->at;
    node *n = parse_expression(p), *v;
    if (!n || !accept(p, TOKEN_EQUALS)) return n;
    if (n->kind != NODE_NAME)
        return template_fail_at(p->e, at, ERR_INVALID, "what stands before '=' must be a name"), NULL;
    return (v = parse_expression(p)) ? over(p, NODE_KEYWORD, at, 0, n, v, NULL) : NULL;
}

/* Positional ones, then at most one *list, then name=value, then at most one **mapping. */
static bool parse_arguments(parser *p, bool parameters, node *owner, nodes *out) {
    size_t mark = p->n_pending;
    bool keywords = false, spread = false;
    if (!expect(p, TOKEN_OPEN_PAREN, "'('")) return false;
    while (!is(p, TOKEN_CLOSE_PAREN)) {
        bool named = is(p, TOKEN_POWER), starred = is(p, TOKEN_MULTIPLICATIVE) && str_is(here(p)->text, "*");
        place at = here(p)->at;
        if (parameters && (named || starred))
            return template_fail_at(p->e, at, ERR_INVALID, "a parameter may not have a '*'");
        if (named) {
            if (!pend(p, parse_spread(p, NODE_KEYWORD_SPREAD))) return false;
            accept(p, TOKEN_COMMA);
            if (!is(p, TOKEN_CLOSE_PAREN)) return unexpected(p, "')' behind a ** argument");
            break;
        }
        if (starred && spread) return template_fail_at(p->e, at, ERR_INVALID, "only one * argument is allowed");
        node *n = starred ? parse_spread(p, NODE_SPREAD) : parse_argument(p);
        if (!n || (parameters && !check_parameter(p, n, mark))) return false;
        if (!starred) {
            if (n->kind == NODE_KEYWORD) keywords = true;
            else if (keywords || spread)
                return template_fail_at(p->e, at, ERR_INVALID, "an argument without a name must come before %s",
                                        keywords ? "those with one" : "the * argument");
        }
        spread |= starred;
        if (!pend(p, n)) return false;
        accept(p, TOKEN_COMMA);
    }
    return collect(p, mark, owner, out) && expect(p, TOKEN_CLOSE_PAREN, "')'");
}

static node *parse_call_of(parser *p, node *callee) {
    node *n = over(p, NODE_CALL, here(p)->at, 0, callee, NULL, NULL);
    return n && parse_arguments(p, false, n, &n->body) ? n : NULL;
}

/* ---- a.b, a[b], a[b:c:d], a(b) ---- */

static node *parse_subscript(parser *p) {
    node *parts[3] = {0}, *n = NULL;
    place at = here(p)->at;
    size_t count = 0;
    bool slice = false;
    for (; !is(p, TOKEN_CLOSE_BRACKET); count++) {
        if (accept(p, TOKEN_COLON)) {
            slice = true;
            continue;
        }
        if (!(n = parse_expression(p))) return NULL;
        if (count < 3) parts[count] = n;
        slice |= accept(p, TOKEN_COLON);
    }
    if (!count) return unexpected(p, "an index");
    if (!slice) return parts[0];
    if (count > 3) return template_fail_at(p->e, at, ERR_INVALID, "a slice has at most three parts"), NULL;
    return over(p, NODE_SLICE, at, 0, parts[0], parts[1], parts[2]);
}

static node *parse_members(parser *p, node *n) {
    while (n && (is(p, TOKEN_DOT) || is(p, TOKEN_OPEN_BRACKET))) {
        bool computed = is(p, TOKEN_OPEN_BRACKET);
        place at = next(p)->at;
        node *part = computed ? parse_subscript(p) : parse_primary(p);
        if (!part || (computed && !expect(p, TOKEN_CLOSE_BRACKET, "']'"))) return NULL;
        if (!computed && part->kind != NODE_NAME && part->kind != NODE_INTEGER)
            return template_fail_at(p->e, part->at, ERR_INVALID, "expected a name or a number behind '.'"), NULL;
        n = over(p, NODE_MEMBER, at, computed, n, part, NULL);
    }
    return n;
}

/* What follows a callee in parentheses: calls of calls, too. */
static node *parse_calls(parser *p, node *n) {
    while (n && is(p, TOKEN_OPEN_PAREN)) n = parse_members(p, parse_call_of(p, n));
    return n;
}

/* ---- operators, the strongest first ---- */

static node *parse_signed(parser *p) {
    const token *t = here(p);
    bool sign = (t->kind == TOKEN_UNARY || t->kind == TOKEN_ADDITIVE) && !str_is(t->text, "~");
    if (!sign) {
        node *n = parse_primary(p);
        return n ? parse_calls(p, parse_members(p, n)) : NULL;
    }
    p->at++;
    node *n = enter(p) ? leave(p, parse_signed(p)) : NULL;
    return n ? over(p, NODE_UNARY, t->at, t->text.data[0] == '-' ? OP_SUBTRACT : OP_ADD, n, NULL, NULL) : NULL;
}

static node *parse_filters(parser *p) {
    node *n = parse_signed(p);
    while (n && accept(p, TOKEN_PIPE)) {
        place at = here(p)->at;
        node *filter = parse_primary(p);
        if (filter && filter->kind != NODE_NAME)
            return template_fail_at(p->e, at, ERR_INVALID, "expected the name of a filter"), NULL;
        if (!filter || !(filter = parse_calls(p, filter))) return NULL;
        n = over(p, NODE_FILTER, at, 0, n, filter, NULL);
    }
    return n;
}

static node *parse_tests(parser *p) {
    node *n = parse_filters(p);
    while (n && is_name(p, 0, "is")) {
        p->at++;
        bool negated = is_name(p, 0, "not");
        p->at += negated;
        place at = here(p)->at;
        node *test = parse_primary(p);
        if (test && test->kind != NODE_NAME)
            return template_fail_at(p->e, at, ERR_INVALID, "expected the name of a test"), NULL;
        n = test ? over(p, NODE_TEST, at, negated, n, test, NULL) : NULL;
    }
    return n;
}

static bool operator_here(const parser *p, operator *op) {
    static const struct {
        const char *text;
        operator op;
    } known[] = {
        {"<", OP_LESS}, {">", OP_GREATER}, {"<=", OP_LESS_EQUAL}, {">=", OP_GREATER_EQUAL}, {"==", OP_EQUAL},
        {"!=", OP_UNEQUAL}, {"+", OP_ADD}, {"-", OP_SUBTRACT}, {"~", OP_JOIN}, {"*", OP_MULTIPLY},
        {"/", OP_DIVIDE}, {"//", OP_FLOOR_DIVIDE}, {"%", OP_MODULO}, {"**", OP_POWER}, {"or", OP_OR},
        {"and", OP_AND}, {"in", OP_IN},
    };
    const token *t = here(p);
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (str_is(t->text, known[i].text)) return *op = known[i].op, true;
    return false;
}

/* Operators of one strength, from left to right. The weaker ones are levels further up. */
enum { LEVEL_OR, LEVEL_AND, LEVEL_NOT, LEVEL_COMPARE, LEVEL_ADD, LEVEL_MULTIPLY, LEVEL_POWER, LEVEL_TEST };

static bool take_operator(parser *p, int level, operator *op, place *at) {
    static const token_kind kinds[] = {TOKEN_NAME, TOKEN_NAME, TOKEN_NAME, TOKEN_COMPARISON, TOKEN_ADDITIVE,
                                       TOKEN_MULTIPLICATIVE, TOKEN_POWER};
    *at = here(p)->at;
    bool here_is = level == LEVEL_OR    ? is_name(p, 0, "or")
                   : level == LEVEL_AND ? is_name(p, 0, "and")
                                        : is(p, kinds[level]);
    if (level == LEVEL_COMPARE && is_name(p, 0, "not") && is_name(p, 1, "in")) {
        p->at += 2;
        return *op = OP_NOT_IN, true;
    }
    if (level == LEVEL_COMPARE && is_name(p, 0, "in")) here_is = true;
    if (!here_is || !operator_here(p, op)) return false;
    p->at++;
    return true;
}

static node *parse_level(parser *p, int level) {
    if (level == LEVEL_TEST) return parse_tests(p);
    if (level == LEVEL_NOT) return parse_unary(p);
    node *n = parse_level(p, level + 1);
    operator op;
    place at;
    while (n && take_operator(p, level, &op, &at)) {
        node *right = parse_level(p, level + 1);
        n = right ? over(p, NODE_BINARY, at, (uint8_t)op, n, right, NULL) : NULL;
    }
    return n;
}

static node *parse_unary(parser *p) {
    if (!is_name(p, 0, "not")) return parse_level(p, LEVEL_COMPARE);
    place at = next(p)->at;
    node *n = enter(p) ? leave(p, parse_unary(p)) : NULL;
    return n ? over(p, NODE_UNARY, at, OP_NOT, n, NULL, NULL) : NULL;
}

static node *parse_conditional(parser *p) {
    place at = here(p)->at;
    node *a = parse_level(p, LEVEL_OR), *test, *otherwise;
    if (!a || !is_name(p, 0, "if")) return a;
    p->at++;
    if (!(test = parse_level(p, LEVEL_OR))) return NULL;
    if (!is_name(p, 0, "else")) return over(p, NODE_SELECT, at, 0, a, test, NULL);
    p->at++;
    otherwise = parse_expression(p);
    return otherwise ? over(p, NODE_TERNARY, at, 0, a, test, otherwise) : NULL;
}

static node *parse_expression(parser *p) { return enter(p) ? leave(p, parse_conditional(p)) : NULL; }

/* ---- statements ---- */

static bool close_tag(parser *p) { return expect(p, TOKEN_CLOSE_STATEMENT, "'%}'"); }

/* Everything up to one of these tags. */
static bool parse_body(parser *p, const char *const *ends, node *owner, nodes *out) {
    size_t mark = p->n_pending;
    for (;;) {
        for (const char *const *end = ends; *end; end++)
            if (is_tag(p, *end)) return collect(p, mark, owner, out);
        if (is(p, TOKEN_END))
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
    if (!(n->a = parse_sequence(p, parse_expression)) || !raise_height(p, n, n->a)) return NULL;
    if (!accept(p, TOKEN_EQUALS)) return close_tag(p) && parse_block(p, "endset", n, &n->body) ? n : NULL;
    n->b = parse_sequence(p, parse_expression);
    return n->b && raise_height(p, n, n->b) && close_tag(p) ? n : NULL;
}

/* An elif is an if in the other branch, and its end is ours. */
static node *parse_if(parser *p, node *n) {
    if (!(n->a = parse_expression(p)) || !raise_height(p, n, n->a) || !close_tag(p) ||
        !parse_body(p, (const char *const[]){"endif", "elif", "else", NULL}, n, &n->body))
        return NULL;
    if (is_tag(p, "endif")) return skip_tag(p) ? n : NULL;
    if (is_tag(p, "else")) return skip_tag(p) && parse_block(p, "endif", n, &n->other) ? n : NULL;
    size_t mark = p->n_pending;
    p->at++;
    node *elif = new_node(p, NODE_IF, next(p)->at);
    if (!elif || !enter(p) || !leave(p, parse_if(p, elif)) || !pend(p, elif)) return NULL;
    return collect(p, mark, n, &n->other) ? n : NULL;
}

static node *parse_for(parser *p, node *n) {
    place at = here(p)->at;
    if (!(n->a = parse_sequence(p, parse_primary))) return NULL;
    if (n->a->kind != NODE_NAME && n->a->kind != NODE_TUPLE)
        return template_fail_at(p->e, at, ERR_INVALID, "a loop's variable must be a name, or names with commas"), NULL;
    if (!is_name(p, 0, "in")) return unexpected(p, "'in'");
    p->at++;
    if (!(n->b = parse_expression(p)) || !raise_height(p, n, n->b) || !close_tag(p) ||
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
    if (is(p, TOKEN_OPEN_PAREN) && !parse_arguments(p, true, n, &n->other)) return NULL;
    node *callee = parse_primary(p);
    if (!callee) return NULL;
    if (callee->kind != NODE_NAME)
        return template_fail_at(p->e, callee->at, ERR_INVALID, "expected a macro's name"), NULL;
    if (!(n->a = parse_call_of(p, callee)) || !raise_height(p, n, n->a) || !close_tag(p) ||
        !parse_block(p, "endcall", n, &n->body))
        return NULL;
    n->op = template_special_arguments(&n->other, &n->body);
    return n;
}

static node *parse_filter_block(parser *p, node *n) {
    if (!(n->b = parse_primary(p))) return NULL;
    if (n->b->kind == NODE_NAME && !(n->b = parse_calls(p, n->b))) return NULL;
    return raise_height(p, n, n->b) && close_tag(p) && parse_block(p, "endfilter", n, &n->body) ? n : NULL;
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
        if (!is_name(p, 0, statements[i].name)) continue;
        node *n = new_node(p, statements[i].kind, next(p)->at);
        return n ? statements[i].parse(p, n) : NULL;
    }
    return unexpected(p, "set, if, for, macro, call, filter, break or continue");
}

static node *parse_output(parser *p) {
    p->at++;
    node *n = parse_expression(p);
    return n && expect(p, TOKEN_CLOSE_EXPRESSION, "'}}'") ? n : NULL;
}

static node *parse_one(parser *p) {
    const token *t = here(p);
    node *n;
    switch (t->kind) {
    case TOKEN_OPEN_STATEMENT: return parse_statement(p);
    case TOKEN_OPEN_EXPRESSION: return parse_output(p);
    case TOKEN_TEXT:
    case TOKEN_COMMENT:
        p->at++;
        if ((n = new_node(p, t->kind == TOKEN_TEXT ? NODE_TEXT : NODE_COMMENT, t->at))) n->text = t->text;
        return n;
    default: return unexpected(p, "text or a tag");
    }
}

static bool parse_any(parser *p) { return enter(p) && pend(p, leave(p, parse_one(p))); }

bool template_parse(text_template *t, region *passing, const token *tokens, size_t n, err *e) {
    static const char *const fixed[] = {
#define X(ident, name) name,
        TEMPLATE_SYMBOLS(X)
#undef X
    };
    parser p = {.t = t, .kept = &t->kept, .passing = passing, .tokens = tokens, .n = n, .e = e};
    for (uint32_t i = 0, id; i < SYMBOLS_FIXED; i++)
        if (!intern(&t->names, p.kept, str_of(fixed[i]), &id)) return refused(&p);
    while (!is(&p, TOKEN_END))
        if (!parse_any(&p)) return false;
    return collect(&p, 0, NULL, &t->body);
}
