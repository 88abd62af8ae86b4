/* Expressions. */
#include "text/template/internal.h"

/* ---- names ---- */

static bool look_up(run *r, const node *n, const scope *s, value *out) {
    uint32_t looked_at = 0;
    for (; s->parent; s = s->parent) {
        for (uint32_t i = 0; i < s->n; i++)
            if (s->variables[i].symbol == n->symbol)
                return *out = s->variables[i].value, run_spend(r, looked_at / 16);
        looked_at += s->n + 1;
    }
    *out = r->globals[n->symbol];
    if (out->kind != UNSET) return run_spend(r, looked_at / 16);
    const builtin *b = global_find(n->text);
    *out = value_undefined(n->text);
    if (!b) return run_spend(r, looked_at / 16);
    function *f;
    if (!run_take(r, sizeof *f, &f)) return false;
    *f = (function){.builtin = b};
    return *out = (value){.kind = FUNCTION, .function = f}, run_spend(r, looked_at / 16);
}

/* ---- operators ---- */

static __attribute__((noinline)) bool eval_binary(run *r, const node *n, scope *s, value *out) {
    value a, b;
    if (!eval(r, n->a, s, &a)) return false;
    if (n->op == OP_AND || n->op == OP_OR) {
        if (value_truth(&a) == (n->op == OP_AND)) return eval(r, n->b, s, out);
        return *out = a, true;
    }
    if (!eval(r, n->b, s, &b)) return false;
    r->at = n;
    return apply_operator(r, (operator)n->op, &a, &b, out);
}

static __attribute__((noinline)) bool eval_unary(run *r, const node *n, scope *s, value *out) {
    value v;
    if (!eval(r, n->a, s, &v)) return false;
    if (n->op == OP_NOT) return *out = value_boolean(!value_truth(&v)), true;
    r->at = n;
    return apply_sign(r, (operator)n->op, &v, out);
}

/* a < b < c: each with its neighbour, as far as they hold. */
static __attribute__((noinline)) bool eval_compare(run *r, const node *n, scope *s, value *out) {
    value left, right;
    if (!eval(r, n->a, s, &left)) return false;
    for (uint32_t i = 0; i < n->other.n; i++) {
        if (!eval(r, n->other.at[i]->a, s, &right)) return false;
        r->at = n->other.at[i];
        if (!apply_operator(r, (operator)n->other.at[i]->op, &left, &right, out)) return false;
        if (!value_truth(out)) return true;
        left = right;
    }
    return true;
}

/* ---- arguments ---- */

static bool add_keyword(run *r, arguments *args, const value *key, value v) {
    value *found;
    if (!args->keywords && !mapping_new(r, 4, &args->keywords)) return false;
    if (!mapping_find(r, args->keywords, key, &found)) return false;
    if (found) return run_fail(r, "an argument is given twice");
    return mapping_set(r, args->keywords, key, v);
}

static bool add_keywords_of(run *r, arguments *args, const value *v) {
    if (v->kind != MAPPING)
        return run_fail(r, "what stands behind ** must be a mapping, not %s", value_kind_name(v));
    if (!mapping_open(r, v->mapping)) return false;
    for (uint32_t i = 0; i < v->mapping->n; i++) {
        if (v->mapping->keys[i].kind != STRING) return run_fail(r, "names of arguments must be texts");
        if (!add_keyword(r, args, &v->mapping->keys[i], v->mapping->values[i])) return false;
    }
    return true;
}

bool eval_arguments(run *r, const nodes *given, scope *s, arguments *out) {
    list_builder b = {.r = r};
    value v;
    *out = (arguments){0};
    for (uint32_t i = 0; i < given->n; i++) {
        const node *n = given->at[i];
        bool special = n->kind == NODE_SPREAD || n->kind == NODE_KEYWORD_SPREAD;
        const list *items;
        if (!eval(r, n->kind == NODE_KEYWORD ? n->b : special ? n->a : n, s, &v)) return false;
        r->at = n;
        if (n->kind == NODE_KEYWORD) {
            value key = value_string(n->text);
            if (!add_keyword(r, out, &key, v)) return false;
        } else if (n->kind == NODE_KEYWORD_SPREAD) {
            if (!add_keywords_of(r, out, &v)) return false;
        } else if (n->kind == NODE_SPREAD) {
            if (!value_iterate(r, &v, &items)) return false;
            for (size_t k = 0; k < items->n; k++)
                if (!list_add(&b, items->items[k])) return false;
        } else if (!list_add(&b, v)) {
            return false;
        }
    }
    out->items = b.items;
    out->n = b.n;
    return true;
}

static __attribute__((noinline)) bool eval_call(run *r, const node *n, scope *s, value *out) {
    value callee;
    arguments args;
    if (!eval(r, n->a, s, &callee) || !eval_arguments(r, &n->body, s, &args)) return false;
    r->at = n;
    return run_call(r, &callee, &args, out);
}

/* ---- filters and tests ---- */

/* written: what a block wrote, for a filter that has no operand. */
bool eval_filters(run *r, const node *n, scope *s, const value *written, value *out) {
    value v;
    arguments args;
    if (!n->a)
        v = *written;
    else if (!(n->a->kind == NODE_FILTER ? eval_filters(r, n->a, s, written, &v) : eval(r, n->a, s, &v)))
        return false;
    r->at = n;
    if (!n->builtin) return run_fail(r, "no filter '%.*s'", CLIPPED(n->text));
    if (!run_spend(r, 1) || !eval_arguments(r, &n->body, s, &args)) return false;
    r->at = n;
    return run_apply(r, n->builtin, &v, &args, out);
}

static __attribute__((noinline)) bool eval_test(run *r, const node *n, scope *s, value *out) {
    value v;
    arguments args;
    if (!eval(r, n->a, s, &v)) return false;
    r->at = n;
    if (!n->builtin) return run_fail(r, "no test '%.*s'", CLIPPED(n->text));
    if (!eval_arguments(r, &n->body, s, &args)) return false;
    r->at = n;
    return run_apply(r, n->builtin, &v, &args, out);
}

/* ---- members ---- */

static __attribute__((noinline)) bool eval_attribute(run *r, const node *n, scope *s, value *out) {
    value v;
    if (!eval(r, n->a, s, &v)) return false;
    r->at = n;
    return value_attribute(r, &v, n->text, out);
}

static __attribute__((noinline)) bool eval_item(run *r, const node *n, scope *s, value *out) {
    value v, key;
    if (!eval(r, n->a, s, &v) || !eval(r, n->b, s, &key)) return false;
    r->at = n;
    return value_item(r, &v, &key, out);
}

static __attribute__((noinline)) bool eval_slice(run *r, const node *n, scope *s, value *out) {
    value v, parts[3];
    if (!eval(r, n->a, s, &v)) return false;
    for (int i = 0; i < 3; i++) {
        parts[i] = value_of(NONE);
        if (n->body.at[i] && !eval(r, n->body.at[i], s, &parts[i])) return false;
    }
    r->at = n;
    return apply_slice(r, &v, parts, out);
}

/* ---- the rest ---- */

static __attribute__((noinline)) bool eval_list(run *r, const node *n, scope *s, value *out) {
    value *items, made;
    bool tuple = n->kind == NODE_TUPLE;
    if (!(tuple ? list_tuple(r, n->body.n, &made, &items) : list_new(r, n->body.n, &made, &items)))
        return false;
    for (uint32_t i = 0; i < n->body.n; i++)
        if (!eval(r, n->body.at[i], s, &items[i])) return false;
    return *out = made, true;
}

static __attribute__((noinline)) bool eval_mapping(run *r, const node *n, scope *s, value *out) {
    mapping *m;
    if (!mapping_new(r, n->body.n / 2, &m)) return false;
    for (uint32_t i = 0; i < n->body.n; i += 2) {
        value key, v;
        if (!eval(r, n->body.at[i], s, &key) || !eval(r, n->body.at[i + 1], s, &v)) return false;
        r->at = n->body.at[i];
        if (!mapping_set(r, m, &key, v)) return false;
    }
    return *out = value_mapping(m), true;
}

static __attribute__((noinline)) bool eval_ternary(run *r, const node *n, scope *s, value *out) {
    value test;
    if (!eval(r, n->b, s, &test)) return false;
    const node *chosen = value_truth(&test) ? n->a : n->c;
    if (chosen) return eval(r, chosen, s, out);
    return *out = value_undefined(STR("what stands behind a missing else")), true;
}

static bool eval_kind(run *r, const node *n, scope *s, value *out) {
    switch (n->kind) {
    case NODE_CONSTANT: return *out = n->constant, true;
    case NODE_NAME: return look_up(r, n, s, out);
    case NODE_LIST:
    case NODE_TUPLE: return eval_list(r, n, s, out);
    case NODE_MAPPING: return eval_mapping(r, n, s, out);
    case NODE_UNARY: return eval_unary(r, n, s, out);
    case NODE_BINARY: return eval_binary(r, n, s, out);
    case NODE_COMPARE: return eval_compare(r, n, s, out);
    case NODE_ATTRIBUTE: return eval_attribute(r, n, s, out);
    case NODE_ITEM: return eval_item(r, n, s, out);
    case NODE_SLICE: return eval_slice(r, n, s, out);
    case NODE_CALL: return eval_call(r, n, s, out);
    case NODE_FILTER: return eval_filters(r, n, s, NULL, out);
    case NODE_TEST: return eval_test(r, n, s, out);
    default: return eval_ternary(r, n, s, out);
    }
}

bool eval(run *r, const node *n, scope *s, value *out) {
    r->at = n;
    if (r->depth >= RUN_DEPTH_MAX) return run_fail(r, "more than %d operations in each other", RUN_DEPTH_MAX);
    if (!run_spend(r, 1)) return false;
    r->depth++;
    bool ok = eval_kind(r, n, s, out);
    r->depth--;
    return ok;
}
