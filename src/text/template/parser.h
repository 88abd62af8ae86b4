/* text/template/parser — what the two halves of the template parser share: template_parse.c (statements) and
 * template_expression.c. After an error NULL or false goes all the way up. */
#ifndef TEXT_TEMPLATE_PARSER_H
#define TEXT_TEMPLATE_PARSER_H

#include "text/template/internal.h"

enum {
    PARSE_DEPTH_MAX = 100,     /* of expressions and blocks in each other; each is up to a dozen calls */
    TEMPLATE_NAMES_MAX = 4096, /* different ones: names may be chosen to have one hash */
};

typedef struct parser {
    text_template *t;
    region *kept, *passing;
    const token *tokens;
    size_t n, at;
    node **pending; /* children of lists not finished yet */
    size_t n_pending, cap_pending;
    uint32_t depth, loops;
    bool conditional; /* here an unknown filter is an error only when it is reached; elsewhere: */
    const node *unknown;
    bool captures; /* a macro or call block was in what was just parsed */
    err *e;
} parser;

typedef enum tuple_rule { TUPLE_PLAIN, TUPLE_NO_CONDITION, TUPLE_TARGETS, TUPLE_IN_PARENTHESES } tuple_rule;

node *parse_expression(parser *p);
node *parse_tuple(parser *p, tuple_rule rule, const char *end_name); /* one alone stays what it is */
node *parse_target(parser *p, const char *end_name);             /* what a for, set or with gives values to */
node *parse_filter(parser *p, node *operand, bool inline_start); /* what follows '|' */
bool parse_signature(parser *p, node *owner, nodes *out);

static inline const token *parser_here(const parser *p) { return &p->tokens[p->at]; }
static inline bool parser_is(const parser *p, token_kind kind) { return parser_here(p)->kind == kind; }
static inline bool parser_is_text(const parser *p, size_t ahead, token_kind kind, const char *text) {
    const token *t = parser_here(p);
    for (; ahead && t->kind != TOKEN_END; ahead--) t++;
    return t->kind == kind && str_is(t->text, text);
}
static inline bool parser_is_name(const parser *p, const char *name) {
    return parser_is_text(p, 0, TOKEN_NAME, name);
}
static inline bool parser_is_mark(const parser *p, const char *mark) {
    return parser_is_text(p, 0, TOKEN_OPERATOR, mark);
}
static inline const token *parser_next(parser *p) {
    const token *t = parser_here(p);
    if (t->kind != TOKEN_END) p->at++;
    return t;
}
static inline bool parser_accept(parser *p, const char *mark) {
    return parser_is_mark(p, mark) ? p->at++, true : false;
}
static inline bool parser_accept_name(parser *p, const char *name) {
    return parser_is_name(p, name) ? p->at++, true : false;
}

void *parser_refused(parser *p); /* memory */
void *parser_unexpected(parser *p, const char *wanted);
void *parser_wrong(parser *p, place at, const char *what);
bool parser_expect(parser *p, const char *mark);
bool parser_enter(parser *p); /* one deeper */
static inline void *parser_leave(parser *p, void *result) { return p->depth--, result; }
node *parser_node(parser *p, node_kind kind, place at);
bool parser_raise(parser *p, node *n, const node *child); /* n is over child; NULL is nothing */
node *parser_over(parser *p, node_kind kind, place at, uint8_t op, node *a, node *b, node *c);
bool parser_pend(parser *p, node *n);
bool parser_collect(parser *p, size_t mark, node *owner, nodes *out); /* what was pended since mark */
node *parser_name(parser *p, const token *name);

#endif
