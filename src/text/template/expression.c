/* Expressions, from tokens to nodes: the grammar is Jinja's, level by level. */
#include "text/template/parser.h"

static node *parse_or(parser *p);
static node *parse_unary(parser *p, bool with_filters);
static node *parse_postfix(parser *p, node *n);

/* ---- constants and names ---- */

static node *constant_node(parser *p, place at, value v) {
    node *n = parser_node(p, NODE_CONSTANT, at);
    if (n) n->constant = v;
    return n;
}

static bool is_constant_name(str s, value *v) {
    static const struct {
        const char *name;
        value is;
    } names[] = {{"true", {.kind = BOOLEAN, .boolean = true}},
                 {"True", {.kind = BOOLEAN, .boolean = true}},
                 {"false", {.kind = BOOLEAN}},
                 {"False", {.kind = BOOLEAN}},
                 {"none", {.kind = NONE}},
                 {"None", {.kind = NONE}}};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (str_is(s, names[i].name)) return *v = names[i].is, true;
    return false;
}

static node *integer_node(parser *p, const token *t) {
    unsigned base = t->text.len > 2 && t->text.data[0] == '0' ? (unsigned char)t->text.data[1] | 32u : 0;
    base = base == 'x' ? 16 : base == 'o' ? 8 : base == 'b' ? 2 : 10;
    str digits = base == 10 ? t->text : (str){t->text.data + 2, t->text.len - 2};
    if (base != 10 && digits.data[0] == '_') digits = (str){digits.data + 1, digits.len - 1};
    whole w, *kept;
    bool large;
    if (!text_to_whole(digits, base, &w, &large))
        return parser_wrong(p, t->at, large ? "a whole number of more than 127 bits" : "not a number");
    if (w == (int64_t)w) return constant_node(p, t->at, value_integer((int64_t)w));
    if (!(kept = region_take(p->kept, sizeof *kept))) return parser_refused(p);
    *kept = w;
    return constant_node(p, t->at, (value){.kind = BIG, .big = kept});
}

static node *float_node(parser *p, const token *t) {
    double d;
    bool ok;
    if (!text_to_float(p->passing, t->text, &d, &ok)) return parser_refused(p);
    return constant_node(p, t->at, value_float(d));
}

static node *string_node(parser *p, const token *t) {
    size_t len = t->text.len;
    for (const token *more = parser_here(p); more->kind == TOKEN_STRING; more++) len += more->text.len;
    if (!parser_is(p, TOKEN_STRING)) return constant_node(p, t->at, value_string(t->text));
    char *joined = region_take_text(p->kept, len), *out = joined;
    if (!joined) return parser_refused(p);
    place at = t->at;
    for (; t->kind == TOKEN_STRING; t = parser_here(p), p->at += t->kind == TOKEN_STRING) {
        memcpy(out, t->text.data, t->text.len);
        out += t->text.len;
    }
    return constant_node(p, at, value_string((str){joined, len}));
}

/* ---- several expressions ---- */

static bool tuple_ends(const parser *p, const char *end_name) {
    return parser_is(p, TOKEN_CLOSE_EXPRESSION) || parser_is(p, TOKEN_CLOSE_STATEMENT) ||
           parser_is_mark(p, ")") || (end_name && parser_is_name(p, end_name));
}

static node *parse_primary(parser *p);

static node *parse_item(parser *p, tuple_rule rule) {
    if (rule == TUPLE_TARGETS) return parse_primary(p);
    if (rule != TUPLE_NO_CONDITION) return parse_expression(p);
    return parser_enter(p) ? parser_leave(p, parse_or(p)) : NULL;
}

node *parse_tuple(parser *p, tuple_rule rule, const char *end_name) {
    size_t mark = p->n_pending;
    place at = parser_here(p)->at;
    bool several = false;
    for (size_t n = 0; !(n && !several); n++) {
        if (tuple_ends(p, end_name)) break;
        node *one = parse_item(p, rule);
        if (!one || !parser_pend(p, one)) return NULL;
        bool comma = parser_accept(p, ",");
        several |= comma;
        if (!comma && !several) return p->n_pending = mark, one;
        if (!comma) break;
    }
    if (!several && rule != TUPLE_IN_PARENTHESES) return parser_unexpected(p, "an expression");
    node *tuple = parser_node(p, NODE_TUPLE, at);
    return tuple && parser_collect(p, mark, tuple, &tuple->body) ? tuple : NULL;
}

static node *list_node(parser *p, place at) {
    size_t mark = p->n_pending;
    while (!parser_is_mark(p, "]")) {
        if (p->n_pending > mark && !parser_expect(p, ",")) return NULL;
        if (parser_is_mark(p, "]")) break;
        if (!parser_pend(p, parse_expression(p))) return NULL;
    }
    p->at++;
    node *n = parser_node(p, NODE_LIST, at);
    return n && parser_collect(p, mark, n, &n->body) ? n : NULL;
}

static node *mapping_node(parser *p, place at) {
    size_t mark = p->n_pending;
    while (!parser_is_mark(p, "}")) {
        if (p->n_pending > mark && !parser_expect(p, ",")) return NULL;
        if (parser_is_mark(p, "}")) break;
        if (!parser_pend(p, parse_expression(p)) || !parser_expect(p, ":") ||
            !parser_pend(p, parse_expression(p)))
            return NULL;
    }
    p->at++;
    node *n = parser_node(p, NODE_MAPPING, at);
    return n && parser_collect(p, mark, n, &n->body) ? n : NULL;
}

static node *parse_primary(parser *p) {
    const token *t = parser_next(p);
    value constant;
    node *n;
    switch (t->kind) {
    case TOKEN_INTEGER: return integer_node(p, t);
    case TOKEN_FLOAT: return float_node(p, t);
    case TOKEN_STRING: return string_node(p, t);
    case TOKEN_NAME:
        return is_constant_name(t->text, &constant) ? constant_node(p, t->at, constant) : parser_name(p, t);
    case TOKEN_OPERATOR:
        if (str_is(t->text, "[")) return list_node(p, t->at);
        if (str_is(t->text, "{")) return mapping_node(p, t->at);
        if (!str_is(t->text, "(")) break;
        n = parser_enter(p) ? parser_leave(p, parse_tuple(p, TUPLE_IN_PARENTHESES, NULL)) : NULL;
        return n && parser_expect(p, ")") ? n : NULL;
    default: break;
    }
    p->at = (size_t)(t - p->tokens);
    return parser_unexpected(p, "an expression");
}

static bool is_target(const node *n) {
    if (n->kind == NODE_NAME) return true;
    if (n->kind != NODE_TUPLE) return false;
    for (uint32_t i = 0; i < n->body.n; i++)
        if (!is_target(n->body.at[i])) return false;
    return true;
}

static bool names_loop(const node *n) {
    if (n->kind == NODE_NAME) return n->symbol == SYMBOL_LOOP;
    for (uint32_t i = 0; i < n->body.n; i++)
        if (names_loop(n->body.at[i])) return true;
    return false;
}

node *parse_target(parser *p, const char *end_name) {
    place at = parser_here(p)->at;
    node *n = parse_tuple(p, TUPLE_TARGETS, end_name);
    if (n && !is_target(n)) return parser_wrong(p, at, "this cannot be set; names can, and tuples of names");
    if (n && (p->loops || end_name) && names_loop(n))
        return parser_wrong(p, at, "in a loop 'loop' cannot be set");
    return n;
}

/* ---- calls ---- */

static node *parse_argument(parser *p, bool *named) {
    const token *t = parser_here(p);
    *named = t->kind == TOKEN_NAME && parser_is_text(p, 1, TOKEN_OPERATOR, "=");
    if (!*named) return parse_expression(p);
    p->at += 2;
    node *v = parse_expression(p), *n = v ? parser_over(p, NODE_KEYWORD, t->at, 0, NULL, v, NULL) : NULL;
    if (n) n->text = t->text;
    return n;
}

static node *parse_spread(parser *p, node_kind kind) {
    place at = parser_next(p)->at;
    node *n = parse_expression(p);
    return n ? parser_over(p, kind, at, 0, n, NULL, NULL) : NULL;
}

/* Positional ones, then at most one *list, name=value anywhere behind the former, at most one **mapping. */
static bool parse_arguments(parser *p, node *owner, nodes *out) {
    size_t mark = p->n_pending;
    bool names = false, lists = false, mappings = false;
    if (!parser_expect(p, "(")) return false;
    while (!parser_is_mark(p, ")")) {
        if (p->n_pending > mark && !parser_expect(p, ",")) return false;
        if (parser_is_mark(p, ")")) break;
        place at = parser_here(p)->at;
        bool spread = parser_is_mark(p, "*"), spreads_names = parser_is_mark(p, "**"), named = false;
        node *n = spread || spreads_names ? parse_spread(p, spread ? NODE_SPREAD : NODE_KEYWORD_SPREAD)
                                          : parse_argument(p, &named);
        bool plain = !spread && !spreads_names && !named;
        if (n && (mappings || (spread && lists) || (plain && (names || lists))))
            return parser_wrong(p, at, "this argument must come before those with names, * and **") != NULL;
        if (!parser_pend(p, n)) return false;
        names |= named;
        lists |= spread;
        mappings |= spreads_names;
    }
    return parser_collect(p, mark, owner, out) && parser_expect(p, ")");
}

static node *parse_call(parser *p, node *callee) {
    node *n = parser_over(p, NODE_CALL, parser_here(p)->at, 0, callee, NULL, NULL);
    return n && parse_arguments(p, n, &n->body) ? n : NULL;
}

/* ---- a.b, a[b], a[b:c:d], a(b) ---- */

static bool slice_part(parser *p, node **out) {
    *out = NULL;
    bool none = parser_is_mark(p, "]") || parser_is_mark(p, ",") || parser_is_mark(p, ":");
    return none || (*out = parse_expression(p));
}

static node *parse_subscribed(parser *p, node *of, place at, bool *slice) {
    node *parts[3] = {0};
    if (!slice_part(p, &parts[0])) return NULL;
    if (!(*slice = parser_accept(p, ":"))) return parts[0] ? parts[0] : parser_unexpected(p, "an index");
    if (!slice_part(p, &parts[1])) return NULL;
    if (parser_accept(p, ":") && !slice_part(p, &parts[2])) return NULL;
    node *n = parser_over(p, NODE_SLICE, at, 0, of, NULL, NULL);
    node **kept = n ? region_take(p->kept, sizeof parts) : NULL;
    if (!n || !kept) return parser_refused(p);
    memcpy(kept, parts, sizeof parts);
    n->body = (nodes){kept, 3};
    for (int i = 0; i < 3; i++)
        if (!parser_raise(p, n, parts[i])) return NULL;
    return n;
}

static node *parse_item_of(parser *p, node *n) {
    place at = parser_next(p)->at;
    size_t mark = p->n_pending;
    bool slice = false, comma = false;
    node *one = NULL;
    while (!parser_is_mark(p, "]")) {
        if (p->n_pending > mark && !parser_expect(p, ",")) return NULL;
        if (slice) return parser_wrong(p, at, "a slice stands alone");
        if (!(one = parse_subscribed(p, n, at, &slice)) || !parser_pend(p, one)) return NULL;
        comma = p->n_pending - mark > 1;
    }
    p->at++;
    if (slice) return p->n_pending = mark, comma ? parser_wrong(p, at, "a slice stands alone") : one;
    if (one && !comma) return p->n_pending = mark, parser_over(p, NODE_ITEM, at, 0, n, one, NULL);
    node *tuple = parser_node(p, NODE_TUPLE, at);
    if (!tuple || !parser_collect(p, mark, tuple, &tuple->body)) return NULL;
    return parser_over(p, NODE_ITEM, at, 0, n, tuple, NULL);
}

static node *parse_member(parser *p, node *n) {
    place at = parser_next(p)->at;
    const token *t = parser_here(p);
    if (t->kind == TOKEN_INTEGER) {
        p->at++;
        node *index = integer_node(p, t);
        return index ? parser_over(p, NODE_ITEM, at, 0, n, index, NULL) : NULL;
    }
    if (t->kind != TOKEN_NAME) return parser_unexpected(p, "a name or a number behind '.'");
    p->at++;
    if ((n = parser_over(p, NODE_ATTRIBUTE, at, 0, n, NULL, NULL))) n->text = t->text;
    return n;
}

static node *parse_postfix(parser *p, node *n) {
    while (n) {
        if (parser_is_mark(p, "."))
            n = parse_member(p, n);
        else if (parser_is_mark(p, "["))
            n = parse_item_of(p, n);
        else if (parser_is_mark(p, "("))
            n = parse_call(p, n);
        else
            break;
    }
    return n;
}

/* ---- filters and tests ---- */

static bool dotted_name(parser *p, const char *wanted, str *name) {
    if (!parser_is(p, TOKEN_NAME)) return parser_unexpected(p, wanted) != NULL;
    *name = parser_next(p)->text;
    while (parser_is_mark(p, ".") && parser_here(p)[1].kind == TOKEN_NAME)
        p->at += 2, *name = STR("a.b"); /* none is named so */
    return true;
}

node *parse_filter(parser *p, node *n, bool inline_start) {
    while (inline_start || parser_accept(p, "|")) {
        place at = parser_here(p)->at;
        str name;
        inline_start = false;
        if (!dotted_name(p, "the name of a filter", &name)) return NULL;
        if (!(n = parser_over(p, NODE_FILTER, at, 0, n, NULL, NULL))) return NULL;
        n->text = name;
        n->builtin = filter_find(name);
        if (!n->builtin && !p->conditional && !p->unknown) p->unknown = n;
        if (parser_is_mark(p, "(") && !parse_arguments(p, n, &n->body)) return NULL;
    }
    return n;
}

static bool has_test_argument(const parser *p) {
    const token *t = parser_here(p);
    if (t->kind == TOKEN_NAME)
        return !str_is(t->text, "else") && !str_is(t->text, "or") && !str_is(t->text, "and");
    return t->kind == TOKEN_STRING || t->kind == TOKEN_INTEGER || t->kind == TOKEN_FLOAT ||
           parser_is_mark(p, "[") || parser_is_mark(p, "{");
}

static node *parse_test(parser *p, node *n) {
    place at = parser_next(p)->at;
    bool negated = parser_accept_name(p, "not");
    str name;
    if (!dotted_name(p, "the name of a test", &name)) return NULL;
    if (!(n = parser_over(p, NODE_TEST, at, 0, n, NULL, NULL))) return NULL;
    n->text = name;
    n->builtin = test_find(name);
    if (!n->builtin && !p->conditional && !p->unknown) p->unknown = n;
    if (parser_is_mark(p, "(")) {
        if (!parse_arguments(p, n, &n->body)) return NULL;
    } else if (has_test_argument(p)) {
        size_t mark = p->n_pending;
        if (parser_is_name(p, "is"))
            return parser_unexpected(p, "the end of the test: 'is' twice is not possible");
        if (!parser_pend(p, parse_postfix(p, parse_primary(p))) || !parser_collect(p, mark, n, &n->body))
            return NULL;
    }
    return negated ? parser_over(p, NODE_UNARY, at, OP_NOT, n, NULL, NULL) : n;
}

static node *parse_filters(parser *p, node *n) {
    while (n) {
        if (parser_is_mark(p, "|"))
            n = parse_filter(p, n, false);
        else if (parser_is_name(p, "is"))
            n = parse_test(p, n);
        else if (parser_is_mark(p, "("))
            n = parse_call(p, n);
        else
            break;
    }
    return n;
}

/* ---- operators, the strongest first ---- */

static node *parse_unary(parser *p, bool with_filters) {
    const token *t = parser_here(p);
    node *n;
    if (parser_is_mark(p, "-") || parser_is_mark(p, "+")) {
        p->at++;
        n = parser_enter(p) ? parser_leave(p, parse_unary(p, false)) : NULL;
        operator op = t->text.data[0] == '-' ? OP_SUBTRACT : OP_ADD;
        n = n ? parser_over(p, NODE_UNARY, t->at, (uint8_t)op, n, NULL, NULL) : NULL;
    } else {
        n = parse_primary(p);
    }
    n = parse_postfix(p, n);
    return with_filters ? parse_filters(p, n) : n;
}

enum { LEVEL_ADD, LEVEL_JOIN, LEVEL_MULTIPLY, LEVEL_POWER, LEVEL_UNARY };

static bool take_operator(parser *p, int level, operator* op) {
    static const struct {
        const char *mark;
        int level;
        operator op;
    } marks[] = {{"+", LEVEL_ADD, OP_ADD},         {"-", LEVEL_ADD, OP_SUBTRACT},
                 {"~", LEVEL_JOIN, OP_JOIN},       {"*", LEVEL_MULTIPLY, OP_MULTIPLY},
                 {"/", LEVEL_MULTIPLY, OP_DIVIDE}, {"//", LEVEL_MULTIPLY, OP_FLOOR_DIVIDE},
                 {"%", LEVEL_MULTIPLY, OP_MODULO}, {"**", LEVEL_POWER, OP_POWER}};
    for (size_t i = 0; i < sizeof marks / sizeof *marks; i++)
        if (marks[i].level == level && parser_accept(p, marks[i].mark)) return *op = marks[i].op, true;
    return false;
}

static node *parse_level(parser *p, int level) {
    if (level == LEVEL_UNARY) return parse_unary(p, true);
    node *n = parse_level(p, level + 1);
    operator op;
    while (n) {
        place at = parser_here(p)->at;
        if (!take_operator(p, level, &op)) break;
        node *right = parse_level(p, level + 1);
        n = right ? parser_over(p, NODE_BINARY, at, (uint8_t)op, n, right, NULL) : NULL;
    }
    return n;
}

static bool take_comparison(parser *p, operator* op) {
    static const struct {
        const char *mark;
        operator op;
    } marks[] = {{"==", OP_EQUAL},      {"!=", OP_UNEQUAL}, {"<", OP_LESS},
                 {"<=", OP_LESS_EQUAL}, {">", OP_GREATER},  {">=", OP_GREATER_EQUAL}};
    for (size_t i = 0; i < sizeof marks / sizeof *marks; i++)
        if (parser_accept(p, marks[i].mark)) return *op = marks[i].op, true;
    if (parser_accept_name(p, "in")) return *op = OP_IN, true;
    if (!parser_is_name(p, "not") || !parser_is_text(p, 1, TOKEN_NAME, "in")) return false;
    p->at += 2;
    return *op = OP_NOT_IN, true;
}

static node *parse_compare(parser *p) {
    size_t mark = p->n_pending;
    place at = parser_here(p)->at, here = at;
    node *first = parse_level(p, LEVEL_ADD);
    operator op;
    while (first && (here = parser_here(p)->at, take_comparison(p, &op))) {
        node *right = parse_level(p, LEVEL_ADD);
        if (!right || !parser_pend(p, parser_over(p, NODE_UNARY, here, (uint8_t)op, right, NULL, NULL)))
            return NULL;
    }
    if (!first || p->n_pending == mark) return first;
    node *n = parser_over(p, NODE_COMPARE, at, 0, first, NULL, NULL);
    return n && parser_collect(p, mark, n, &n->other) ? n : NULL;
}

static node *parse_not(parser *p) {
    if (!parser_is_name(p, "not")) return parse_compare(p);
    place at = parser_next(p)->at;
    node *n = parser_enter(p) ? parser_leave(p, parse_not(p)) : NULL;
    return n ? parser_over(p, NODE_UNARY, at, OP_NOT, n, NULL, NULL) : NULL;
}

static node *parse_words(parser *p, const char *word, operator op, node *(*part)(parser *p)) {
    node *n = part(p);
    while (n && parser_is_name(p, word)) {
        place at = parser_next(p)->at;
        node *right = part(p);
        n = right ? parser_over(p, NODE_BINARY, at, (uint8_t)op, n, right, NULL) : NULL;
    }
    return n;
}

static node *parse_and(parser *p) { return parse_words(p, "and", OP_AND, parse_not); }
static node *parse_or(parser *p) { return parse_words(p, "or", OP_OR, parse_and); }

static node *parse_conditional(parser *p) {
    bool before = p->conditional;
    const node *unknown = p->unknown;
    node *n = parse_or(p);
    while (n && parser_is_name(p, "if")) {
        place at = parser_next(p)->at;
        p->conditional = true;
        p->unknown = unknown; /* what stands before the if is conditional, too */
        node *test = parse_or(p), *otherwise = NULL;
        if (!test) return NULL;
        if (parser_accept_name(p, "else") && !(otherwise = parse_expression(p))) return NULL;
        p->conditional = before;
        n = parser_over(p, NODE_TERNARY, at, 0, n, test, otherwise);
    }
    return n;
}

node *parse_expression(parser *p) { return parser_enter(p) ? parser_leave(p, parse_conditional(p)) : NULL; }

bool parse_signature(parser *p, node *owner, nodes *out) {
    size_t mark = p->n_pending;
    bool defaults = false;
    if (!parser_expect(p, "(")) return false;
    while (!parser_is_mark(p, ")")) {
        if (p->n_pending > mark && !parser_expect(p, ",")) return false;
        const token *t = parser_here(p);
        value unused;
        if (t->kind != TOKEN_NAME || is_constant_name(t->text, &unused))
            return parser_unexpected(p, "a parameter's name") != NULL;
        p->at++;
        node *name = parser_name(p, t), *otherwise = NULL;
        for (size_t i = mark; name && i < p->n_pending; i++)
            if (p->pending[i]->a->symbol == name->symbol)
                return parser_wrong(p, t->at, "two parameters have this name") != NULL;
        if (name && parser_accept(p, "=") && !(otherwise = parse_expression(p))) return false;
        if (name && defaults && !otherwise)
            return parser_wrong(p, t->at, "this parameter needs a default, too") != NULL;
        defaults |= otherwise != NULL;
        if (!name || !parser_pend(p, parser_over(p, NODE_KEYWORD, t->at, 0, name, otherwise, NULL)))
            return false;
    }
    return parser_collect(p, mark, owner, out) && parser_expect(p, ")");
}
