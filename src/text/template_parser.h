/* text/template_parser — what the two halves of the template parser share: template_parse.c (statements) and
 * template_expression.c. After an error NULL or false goes all the way up. */
#ifndef TEXT_TEMPLATE_PARSER_H
#define TEXT_TEMPLATE_PARSER_H

#include "text/template_internal.h"

enum {
    PARSE_DEPTH_MAX = 100, /* of expressions and blocks in each other; each is up to a dozen calls */
    TEMPLATE_NAMES_MAX = 4096, /* different ones: names may be chosen to have one hash */
};

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

node *parse_expression(parser *p);
node *parse_primary(parser *p);
node *parse_sequence(parser *p, node *(*one)(parser *p)); /* a, b, c … is a tuple; one alone stays what it is */
bool parse_arguments(parser *p, bool parameters, node *owner, nodes *out);
node *parse_call_of(parser *p, node *callee);
node *parse_calls(parser *p, node *callee); /* all that follow it in parentheses */

static inline const token *parser_here(const parser *p) { return &p->tokens[p->at]; }
static inline bool parser_is(const parser *p, token_kind kind) { return parser_here(p)->kind == kind; }
static inline bool parser_is_name(const parser *p, size_t ahead, const char *name) {
    const token *t = parser_here(p);
    for (; ahead && t->kind != TOKEN_END; ahead--) t++;
    return t->kind == TOKEN_NAME && str_is(t->text, name);
}
static inline const token *parser_next(parser *p) {
    const token *t = parser_here(p);
    if (t->kind != TOKEN_END) p->at++;
    return t;
}
static inline bool parser_accept(parser *p, token_kind kind) { return parser_is(p, kind) ? p->at++, true : false; }

void *parser_refused(parser *p); /* memory */
void *parser_unexpected(parser *p, const char *wanted);
bool parser_expect(parser *p, token_kind kind, const char *wanted);
bool parser_enter(parser *p); /* one deeper */
static inline void *parser_leave(parser *p, void *result) { return p->depth--, result; }
node *parser_node(parser *p, node_kind kind, place at);
bool parser_raise(parser *p, node *n, const node *child); /* n is over child; NULL is nothing */
node *parser_over(parser *p, node_kind kind, place at, uint8_t op, node *a, node *b, node *c);
bool parser_pend(parser *p, node *n);
bool parser_collect(parser *p, size_t mark, node *owner, nodes *out); /* what was pended since mark */
bool parser_intern(parser *p, const token *name, uint32_t *id);

#endif
