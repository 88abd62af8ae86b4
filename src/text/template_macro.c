/* kwargs and varargs exist in a macro only when its body reads them before it has set them. The order of the walk
 * is Jinja's. */
#include "text/template_internal.h"

typedef struct walk {
    uint8_t declared, read;
} walk;

static uint8_t special_bit(const node *n) {
    if (n->kind != NODE_NAME) return 0;
    return n->symbol == SYMBOL_KWARGS ? MACRO_KWARGS : n->symbol == SYMBOL_VARARGS ? MACRO_VARARGS : 0;
}

static void visit(walk *w, const node *n);

static void visit_all(walk *w, const nodes *all) {
    for (uint32_t i = 0; i < all->n; i++) visit(w, all->at[i]);
}

static void declare(walk *w, const node *target) {
    w->declared |= special_bit(target);
    for (uint32_t i = 0; target->kind == NODE_TUPLE && i < target->body.n; i++) declare(w, target->body.at[i]);
}

static void declare_parameters(walk *w, const nodes *parameters) {
    for (uint32_t i = 0; i < parameters->n; i++) {
        const node *n = parameters->at[i];
        declare(w, n->kind == NODE_KEYWORD ? n->a : n);
    }
}

static void visit_macro(walk *w, const node *n) {
    declare_parameters(w, &n->other);
    for (uint32_t i = 0; i < n->other.n; i++)
        if (n->other.at[i]->kind == NODE_KEYWORD) visit(w, n->other.at[i]->b);
    visit_all(w, &n->body);
}

static void visit_filter(walk *w, const node *filter) { /* its name is no variable */
    if (filter->kind == NODE_CALL) visit_all(w, &filter->body);
}

static void visit_loop(walk *w, const node *n) { /* a loop's condition comes last */
    bool selects = n->b->kind == NODE_SELECT;
    declare(w, n->a);
    visit(w, selects ? n->b->a : n->b);
    visit_all(w, &n->body);
    visit_all(w, &n->other);
    if (selects) visit(w, n->b->b);
}

static void visit(walk *w, const node *n) {
    if (!n) return;
    switch (n->kind) {
    case NODE_TEXT:
    case NODE_COMMENT:
    case NODE_STRING:
    case NODE_INTEGER:
    case NODE_FLOAT:
    case NODE_BREAK:
    case NODE_CONTINUE: return;
    case NODE_NAME: w->read |= special_bit(n) & (uint8_t)~w->declared; return;
    case NODE_FOR: visit_loop(w, n); return;
    case NODE_SET:
        declare(w, n->a);
        visit(w, n->b);
        visit_all(w, &n->body);
        return;
    case NODE_MACRO: visit_macro(w, n); return;
    case NODE_CALL_BLOCK:
        visit(w, n->a);
        visit_macro(w, n);
        return;
    case NODE_FILTER_BLOCK:
        visit_all(w, &n->body);
        visit_filter(w, n->b);
        return;
    case NODE_MEMBER:
        visit(w, n->a);
        if (n->op) visit(w, n->b);
        return;
    case NODE_FILTER:
        visit(w, n->a);
        visit_filter(w, n->b);
        return;
    case NODE_TEST: visit(w, n->a); return;
    case NODE_KEYWORD: visit(w, n->b); return;
    case NODE_SELECT:
    case NODE_TERNARY: /* the condition first */
        visit(w, n->b);
        visit(w, n->a);
        visit(w, n->c);
        return;
    default: /* statements with a test, operators, calls, lists */
        visit(w, n->a);
        visit(w, n->b);
        visit(w, n->c);
        visit_all(w, &n->body);
        visit_all(w, &n->other);
    }
}

uint8_t template_special_arguments(const nodes *parameters, const nodes *body) {
    walk w = {0};
    declare_parameters(&w, parameters);
    visit_all(&w, body);
    return w.read;
}
