/* Expressions, from tokens to nodes. What the reference lets pass (commas left out, a second expression in
 * brackets) passes here. */
#include "text/template_parser.h"

static node *parse_unary(parser *p);

/* ---- operands ---- */

static node *name_node(parser *p, const token *t) {
    node *n = parser_node(p, NODE_NAME, t->at);
    if (!n) return NULL;
    n->text = t->text;
    return parser_intern(p, t, &n->symbol) ? n : NULL;
}

static node *number_node(parser *p, const token *t) {
    bool fraction = memchr(t->text.data, '.', t->text.len);
    node *n = parser_node(p, fraction ? NODE_FLOAT : NODE_INTEGER, t->at);
    return n && !number_of_digits(p->passing, t->text, &n->number) ? parser_refused(p) : n;
}

static node *string_node(parser *p, const token *t) {
    node *n = parser_node(p, NODE_STRING, t->at);
    if (!n) return NULL;
    n->text = t->text;
    size_t len = t->text.len;
    for (const token *more = parser_here(p); more->kind == TOKEN_STRING; more++) len += more->text.len;
    if (len == t->text.len && !parser_is(p, TOKEN_STRING)) return n;
    char *joined = region_take_text(p->kept, len), *out = joined;
    if (!joined) return parser_refused(p);
    for (; t->kind == TOKEN_STRING; t = parser_here(p), p->at += t->kind == TOKEN_STRING) {
        memcpy(out, t->text.data, t->text.len);
        out += t->text.len;
    }
    n->text = (str){joined, p->t->halves ? text_join_halves(joined, len) : len};
    return n;
}

node *parse_sequence(parser *p, node *(*one)(parser *p)) {
    size_t mark = p->n_pending;
    place at = parser_here(p)->at;
    node *first = one(p);
    if (!first || !parser_is(p, TOKEN_COMMA)) return first;
    if (!parser_pend(p, first)) return NULL;
    while (parser_accept(p, TOKEN_COMMA))
        if (!parser_pend(p, one(p))) return NULL;
    node *tuple = parser_node(p, NODE_TUPLE, at);
    return tuple && parser_collect(p, mark, tuple, &tuple->body) ? tuple : NULL;
}

static node *list_node(parser *p, const token *t) {
    size_t mark = p->n_pending;
    while (!parser_is(p, TOKEN_CLOSE_BRACKET)) {
        if (!parser_pend(p, parse_expression(p))) return NULL;
        parser_accept(p, TOKEN_COMMA);
    }
    p->at++;
    node *n = parser_node(p, NODE_LIST, t->at);
    return n && parser_collect(p, mark, n, &n->body) ? n : NULL;
}

static node *mapping_node(parser *p, const token *t) {
    size_t mark = p->n_pending;
    while (!parser_is(p, TOKEN_CLOSE_BRACE)) {
        if (!parser_pend(p, parse_expression(p)) || !parser_expect(p, TOKEN_COLON, "':' behind a key") ||
            !parser_pend(p, parse_expression(p)))
            return NULL;
        parser_accept(p, TOKEN_COMMA);
    }
    p->at++;
    node *n = parser_node(p, NODE_MAPPING, t->at);
    return n && parser_collect(p, mark, n, &n->body) ? n : NULL;
}

node *parse_primary(parser *p) {
    const token *t = parser_next(p);
    node *n;
    switch (t->kind) {
    case TOKEN_NUMBER: return number_node(p, t);
    case TOKEN_STRING: return string_node(p, t);
    case TOKEN_NAME: return name_node(p, t);
    case TOKEN_OPEN_PAREN:
        n = parse_sequence(p, parse_expression);
        return n && parser_expect(p, TOKEN_CLOSE_PAREN, "')'") ? n : NULL;
    case TOKEN_OPEN_BRACKET: return list_node(p, t);
    case TOKEN_OPEN_BRACE: return mapping_node(p, t);
    default: p->at = (size_t)(t - p->tokens); return parser_unexpected(p, "an expression");
    }
}

/* ---- arguments ---- */

static bool check_parameter(parser *p, const node *argument, size_t mark) {
    if (argument->kind != NODE_NAME && argument->kind != NODE_KEYWORD)
        return template_fail_at(p->e, argument->at, ERR_INVALID, "a parameter must be a name");
    const node *name = argument->kind == NODE_NAME ? argument : argument->a;
    for (size_t i = mark; i < p->n_pending; i++) {
        const node *other = p->pending[i];
        if (name->symbol == (other->kind == NODE_NAME ? other : other->a)->symbol)
            return template_fail_at(p->e, name->at, ERR_INVALID, "two parameters are named '%.*s'",
                                    CLIPPED(name->text));
    }
    return true;
}

static node *parse_spread(parser *p, node_kind kind) {
    place at = parser_next(p)->at;
    node *n = parse_expression(p);
    return n ? parser_over(p, kind, at, 0, n, NULL, NULL) : NULL;
}

static node *parse_argument(parser *p) {
    place at = parser_here(p)->at;
    node *n = parse_expression(p), *v;
    if (!n || !parser_accept(p, TOKEN_EQUALS)) return n;
    if (n->kind != NODE_NAME)
        return template_fail_at(p->e, at, ERR_INVALID, "what stands before '=' must be a name"), NULL;
    return (v = parse_expression(p)) ? parser_over(p, NODE_KEYWORD, at, 0, n, v, NULL) : NULL;
}

/* Positional ones, then at most one *list, then name=value, then at most one **mapping. */
bool parse_arguments(parser *p, bool parameters, node *owner, nodes *out) {
    size_t mark = p->n_pending;
    bool keywords = false, spread = false;
    if (!parser_expect(p, TOKEN_OPEN_PAREN, "'('")) return false;
    while (!parser_is(p, TOKEN_CLOSE_PAREN)) {
        bool named = parser_is(p, TOKEN_POWER);
        bool starred = parser_is(p, TOKEN_MULTIPLICATIVE) && str_is(parser_here(p)->text, "*");
        place at = parser_here(p)->at;
        if (parameters && (named || starred))
            return template_fail_at(p->e, at, ERR_INVALID, "a parameter may not have a '*'");
        if (named) {
            if (!parser_pend(p, parse_spread(p, NODE_KEYWORD_SPREAD))) return false;
            parser_accept(p, TOKEN_COMMA);
            if (!parser_is(p, TOKEN_CLOSE_PAREN)) return parser_unexpected(p, "')' behind a ** argument");
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
        if (!parser_pend(p, n)) return false;
        parser_accept(p, TOKEN_COMMA);
    }
    return parser_collect(p, mark, owner, out) && parser_expect(p, TOKEN_CLOSE_PAREN, "')'");
}

node *parse_call_of(parser *p, node *callee) {
    node *n = parser_over(p, NODE_CALL, parser_here(p)->at, 0, callee, NULL, NULL);
    return n && parse_arguments(p, false, n, &n->body) ? n : NULL;
}

/* ---- a.b, a[b], a[b:c:d], a(b) ---- */

static node *parse_subscript(parser *p) {
    node *parts[3] = {0}, *n = NULL;
    place at = parser_here(p)->at;
    size_t count = 0;
    bool slice = false;
    for (; !parser_is(p, TOKEN_CLOSE_BRACKET); count++) {
        if (parser_accept(p, TOKEN_COLON)) {
            slice = true;
            continue;
        }
        if (!(n = parse_expression(p))) return NULL;
        if (count < 3) parts[count] = n;
        slice |= parser_accept(p, TOKEN_COLON);
    }
    if (!count) return parser_unexpected(p, "an index");
    if (!slice) return parts[0];
    if (count > 3) return template_fail_at(p->e, at, ERR_INVALID, "a slice has at most three parts"), NULL;
    return parser_over(p, NODE_SLICE, at, 0, parts[0], parts[1], parts[2]);
}

static node *parse_members(parser *p, node *n) {
    while (n && (parser_is(p, TOKEN_DOT) || parser_is(p, TOKEN_OPEN_BRACKET))) {
        bool computed = parser_is(p, TOKEN_OPEN_BRACKET);
        place at = parser_next(p)->at;
        node *part = computed ? parse_subscript(p) : parse_primary(p);
        if (!part || (computed && !parser_expect(p, TOKEN_CLOSE_BRACKET, "']'"))) return NULL;
        if (!computed && part->kind != NODE_NAME && part->kind != NODE_INTEGER)
            return template_fail_at(p->e, part->at, ERR_INVALID, "expected a name or a number behind '.'"), NULL;
        n = parser_over(p, NODE_MEMBER, at, computed, n, part, NULL);
    }
    return n;
}

/* What follows a callee in parentheses: calls of calls, too. */
node *parse_calls(parser *p, node *n) {
    while (n && parser_is(p, TOKEN_OPEN_PAREN)) n = parse_members(p, parse_call_of(p, n));
    return n;
}

/* ---- operators, the strongest first ---- */

static node *parse_signed(parser *p) {
    const token *t = parser_here(p);
    bool sign = (t->kind == TOKEN_UNARY || t->kind == TOKEN_ADDITIVE) && !str_is(t->text, "~");
    if (!sign) {
        node *n = parse_primary(p);
        return n ? parse_calls(p, parse_members(p, n)) : NULL;
    }
    p->at++;
    node *n = parser_enter(p) ? parser_leave(p, parse_signed(p)) : NULL;
    operator op = t->text.data[0] == '-' ? OP_SUBTRACT : OP_ADD;
    return n ? parser_over(p, NODE_UNARY, t->at, (uint8_t)op, n, NULL, NULL) : NULL;
}

static node *parse_filters(parser *p) {
    node *n = parse_signed(p);
    while (n && parser_accept(p, TOKEN_PIPE)) {
        place at = parser_here(p)->at;
        node *filter = parse_primary(p);
        if (filter && filter->kind != NODE_NAME)
            return template_fail_at(p->e, at, ERR_INVALID, "expected the name of a filter"), NULL;
        if (!filter || !(filter = parse_calls(p, filter))) return NULL;
        n = parser_over(p, NODE_FILTER, at, 0, n, filter, NULL);
    }
    return n;
}

static node *parse_tests(parser *p) {
    node *n = parse_filters(p);
    while (n && parser_is_name(p, 0, "is")) {
        p->at++;
        bool negated = parser_is_name(p, 0, "not");
        p->at += negated;
        place at = parser_here(p)->at;
        node *test = parse_primary(p);
        if (test && test->kind != NODE_NAME)
            return template_fail_at(p->e, at, ERR_INVALID, "expected the name of a test"), NULL;
        n = test ? parser_over(p, NODE_TEST, at, negated, n, test, NULL) : NULL;
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
    const token *t = parser_here(p);
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (str_is(t->text, known[i].text)) return *op = known[i].op, true;
    return false;
}

/* Operators of one strength, from left to right. The weaker ones are levels further up. */
enum { LEVEL_OR, LEVEL_AND, LEVEL_NOT, LEVEL_COMPARE, LEVEL_ADD, LEVEL_MULTIPLY, LEVEL_POWER, LEVEL_TEST };

static bool take_operator(parser *p, int level, operator *op, place *at) {
    static const token_kind kinds[] = {TOKEN_NAME, TOKEN_NAME, TOKEN_NAME, TOKEN_COMPARISON, TOKEN_ADDITIVE,
                                       TOKEN_MULTIPLICATIVE, TOKEN_POWER};
    *at = parser_here(p)->at;
    bool here_is = level == LEVEL_OR    ? parser_is_name(p, 0, "or")
                   : level == LEVEL_AND ? parser_is_name(p, 0, "and")
                                        : parser_is(p, kinds[level]);
    if (level == LEVEL_COMPARE && parser_is_name(p, 0, "not") && parser_is_name(p, 1, "in")) {
        p->at += 2;
        return *op = OP_NOT_IN, true;
    }
    if (level == LEVEL_COMPARE && parser_is_name(p, 0, "in")) here_is = true;
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
        n = right ? parser_over(p, NODE_BINARY, at, (uint8_t)op, n, right, NULL) : NULL;
    }
    return n;
}

static node *parse_unary(parser *p) {
    if (!parser_is_name(p, 0, "not")) return parse_level(p, LEVEL_COMPARE);
    place at = parser_next(p)->at;
    node *n = parser_enter(p) ? parser_leave(p, parse_unary(p)) : NULL;
    return n ? parser_over(p, NODE_UNARY, at, OP_NOT, n, NULL, NULL) : NULL;
}

static node *parse_conditional(parser *p) {
    place at = parser_here(p)->at;
    node *a = parse_level(p, LEVEL_OR), *test, *otherwise;
    if (!a || !parser_is_name(p, 0, "if")) return a;
    p->at++;
    if (!(test = parse_level(p, LEVEL_OR))) return NULL;
    if (!parser_is_name(p, 0, "else")) return parser_over(p, NODE_SELECT, at, 0, a, test, NULL);
    p->at++;
    otherwise = parse_expression(p);
    return otherwise ? parser_over(p, NODE_TERNARY, at, 0, a, test, otherwise) : NULL;
}

node *parse_expression(parser *p) { return parser_enter(p) ? parser_leave(p, parse_conditional(p)) : NULL; }
