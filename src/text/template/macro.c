/* kwargs and varargs exist in a macro only when its body reads them before it has set them. The order of the
 * walk is Jinja's. */
#include "text/template/internal.h"

typedef struct walk {
    uint8_t declared, read;
} walk;

static uint8_t special_bit(const node *n) {
    if (n->kind != NODE_NAME) return 0;
    return n->symbol == SYMBOL_KWARGS    ? MACRO_KWARGS
           : n->symbol == SYMBOL_VARARGS ? MACRO_VARARGS
           : n->symbol == SYMBOL_CALLER  ? MACRO_CALLER
                                         : 0;
}

static void visit(walk *w, const node *n);

static void visit_all(walk *w, const nodes *all) {
    for (uint32_t i = 0; i < all->n; i++) visit(w, all->at[i]);
}

static void declare(walk *w, const node *target) {
    w->declared |= special_bit(target);
    for (uint32_t i = 0; target->kind == NODE_TUPLE && i < target->body.n; i++)
        declare(w, target->body.at[i]);
}

/* A scope's own names are gone behind it. */
static void visit_scope(walk *w, const node *n) {
    walk inner = *w;
    if (n->kind == NODE_FOR) declare(&inner, n->a);
    for (uint32_t i = 0; n->kind != NODE_FOR && i < n->other.n; i++)
        if (n->other.at[i]->kind == NODE_KEYWORD) {
            declare(&inner, n->other.at[i]->a);
            visit(&inner, n->other.at[i]->b);
        } else {
            if (n->other.at[i]->kind == NODE_NAME)
                declare(&inner, n->other.at[i]);
            else
                visit(&inner, n->other.at[i]);
        }
    visit_all(&inner, &n->body);
    if (n->kind == NODE_FOR) visit_all(&inner, &n->other), visit(&inner, n->c);
    w->read |= inner.read;
}

static void visit(walk *w, const node *n) {
    if (!n) return;
    switch (n->kind) {
    case NODE_NAME: w->read |= special_bit(n) & (uint8_t)~w->declared; return;
    case NODE_FOR:
        visit(w, n->b);
        visit_scope(w, n);
        return;
    case NODE_CALL_BLOCK:
        visit(w, n->a);
        visit_scope(w, n);
        return;
    case NODE_SET:
        visit(w, n->b);
        if (n->a->kind == NODE_NAME || n->a->kind == NODE_TUPLE) declare(w, n->a);
        visit_all(w, &n->body);
        return;
    case NODE_MACRO: /* its own kwargs are another's */
    case NODE_WITH:
    case NODE_SCOPE:
    case NODE_FILTER_BLOCK:
        visit(w, n->b);
        visit_scope(w, n);
        return;
    default:
        visit(w, n->a);
        visit(w, n->b);
        visit(w, n->c);
        visit_all(w, &n->body);
        visit_all(w, &n->other);
    }
}

uint8_t template_special_arguments(const nodes *parameters, const nodes *body) {
    walk w = {0};
    for (uint32_t i = 0; i < parameters->n; i++) declare(&w, parameters->at[i]->a);
    visit_all(&w, body);
    return w.read;
}
