/* Calls: what is given for which parameter, macros, the bodies of call blocks. */
#include "text/template/internal.h"

const builtin *builtin_find(const builtin *table, size_t n, str name) {
    for (size_t i = 0; i < n; i++)
        if (str_is(name, table[i].name)) return &table[i];
    return NULL;
}

/* ---- builtins ---- */

/* The i-th word of "a b? c?". */
static bool parameter_at(const char *parameters, size_t i, str *name, bool *optional) {
    const char *at = parameters + (*parameters == '/');
    for (;; at++) {
        const char *end = strchrnul(at, ' ');
        if (end == at) return false;
        *optional = end[-1] == '?';
        *name = (str){at, (size_t)(end - at) - *optional};
        if (!i--) return true;
        if (!*end) return false;
        at = end;
    }
}

static bool check_keywords(run *r, const builtin *b, const mapping *keywords, size_t used) {
    if (!keywords || keywords->n == used) return true;
    for (uint32_t k = 0; k < keywords->n; k++) {
        str key = value_str(&keywords->keys[k]), name;
        bool known = false, optional;
        for (size_t i = 0; !known && parameter_at(b->parameters, i, &name, &optional); i++)
            known = str_eq(name, key);
        if (!known || *b->parameters == '/')
            return run_fail(r, "%s takes no argument '%.*s'", b->name, CLIPPED(key));
    }
    return run_fail(r, "an argument of %s is given twice", b->name);
}

/* Not when steps or memory are out. */
static bool put_off(run *r, value *out) {
    err *kept;
    if (r->why != FAILED || r->e->code != ERR_INVALID || !r->steps_left || r->memory.full) return false;
    err failure = *r->e;
    if (!list_generator(r, NULL, out) || !run_take(r, sizeof *kept, &kept)) return false;
    *kept = failure;
    *r->e = (err){0};
    out->generator->failure = kept;
    return true;
}

bool run_apply(run *r, const builtin *b, const value *self, const arguments *args, value *out) {
    value bound[PARAMETERS_MAX];
    size_t n = 0, used = 0;
    str name;
    bool optional;
    if (b->apply_all) return b->apply_all(r, self, args, out) || (b->lazy && put_off(r, out));
    for (; parameter_at(b->parameters, n, &name, &optional); n++) {
        value *named = args->keywords && *b->parameters != '/' ? mapping_get(r, args->keywords, name) : NULL;
        bound[n] = n < args->n ? args->items[n] : named ? *named : value_of(UNSET);
        used += n >= args->n && named;
        if (bound[n].kind == UNSET && !optional)
            return run_fail(r, "%s wants an argument: %.*s", b->name, CLIPPED(name));
    }
    if (args->n > n) return run_fail(r, "%s takes at most %zu %s, not %zu", b->name, n,
                                           counted(n, "argument", "arguments"), args->n);
    if (!check_keywords(r, b, args->keywords, used)) return false;
    return b->apply(r, self, bound, out) || (b->lazy && put_off(r, out));
}

/* ---- macros ---- */

bool run_define_macro(run *r, const node *n, scope *s) {
    function *f;
    if (!run_take(r, sizeof *f, &f)) return false;
    *f = (function){.node = n, .scope = s};
    return scope_set(r, s, n->a->symbol, (value){.kind = FUNCTION, .function = f});
}

static bool bind_keywords(run *r, str name, const node *n, const arguments *args, size_t used, scope *s) {
    value caller = value_undefined(STR("caller")),
          *given = args->keywords ? mapping_get(r, args->keywords, STR("caller")) : NULL;
    bool wants_caller = n->op & MACRO_CALLER;
    mapping *rest;
    if (given && wants_caller) caller = *given, used++;
    if (wants_caller && !scope_set(r, s, SYMBOL_CALLER, caller)) return false;
    uint32_t more = args->keywords ? args->keywords->n - (uint32_t)used : 0;
    if (!(n->op & MACRO_KWARGS)) {
        if (!more) return true;
        if (given && !wants_caller)
            return run_fail(r, "macro '%.*s' does not use what a call block gives it", CLIPPED(name));
        return run_fail(r, "macro '%.*s' has no such parameter, or it is given twice", CLIPPED(name));
    }
    if (!mapping_new(r, more, &rest)) return false;
    for (uint32_t k = 0; k < (args->keywords ? args->keywords->n : 0); k++) {
        const value *key = &args->keywords->keys[k];
        bool parameter = wants_caller && str_is(value_str(key), "caller");
        for (uint32_t i = 0; i < n->other.n; i++)
            parameter |= str_eq(n->other.at[i]->a->text, value_str(key));
        if (!parameter && !mapping_set(r, rest, key, args->keywords->values[k])) return false;
    }
    return scope_set(r, s, SYMBOL_KWARGS, value_mapping(rest));
}

static bool bind_rest(run *r, str name, const node *n, const arguments *args, scope *s) {
    size_t more = args->n > n->other.n ? args->n - n->other.n : 0;
    value rest, *items;
    if (!(n->op & MACRO_VARARGS))
        return !more || run_fail(r, "macro '%.*s' takes at most %u %s, not %zu", CLIPPED(name), n->other.n,
                                 counted(n->other.n, "argument", "arguments"), args->n);
    if (!list_tuple(r, more, &rest, &items)) return false;
    if (more) memcpy(items, args->items + n->other.n, more * sizeof *items);
    return scope_set(r, s, SYMBOL_VARARGS, rest);
}

/* Defaults see the parameters before them; those behind are undefined yet. */
static bool bind(run *r, str name, const node *n, const arguments *args, scope *s) {
    size_t used = 0;
    for (uint32_t i = 0; i < n->other.n; i++)
        if (!scope_set(r, s, n->other.at[i]->a->symbol, value_undefined(n->other.at[i]->a->text)))
            return false;
    for (uint32_t i = 0; i < n->other.n; i++) {
        const node *parameter = n->other.at[i];
        value *named = args->keywords ? mapping_get(r, args->keywords, parameter->a->text) : NULL;
        value v = i < args->n ? args->items[i] : named ? *named : value_of(UNSET);
        used += i >= args->n && named;
        if (v.kind == UNSET && !parameter->b) continue;
        if (v.kind == UNSET && !eval(r, parameter->b, s, &v)) return false;
        if (!scope_set(r, s, parameter->a->symbol, v)) return false;
    }
    return bind_keywords(r, name, n, args, used, s) && bind_rest(r, name, n, args, s);
}

static bool call_macro(run *r, const function *f, const arguments *args, value *out) {
    scope *inner = scope_new(r, f->scope);
    const node *at = r->at;
    str name = f->caller ? STR("caller") : f->node->a->text;
    if (!inner || !bind(r, name, f->node, args, inner)) return false;
    bool ok = run_capture(r, &f->node->body, inner, out);
    if (ok) r->at = at;
    return ok;
}

bool run_call(run *r, const value *callee, const arguments *args, value *out) {
    static const builtin again = {"loop", "iterable", NULL, NULL};
    if (callee->kind == UNDEFINED) return value_fail_undefined(r, callee);
    if (callee->kind == JOINER) {
        const value *separator = &callee->cycler->items->items[0];
        *out = callee->cycler->at++ ? *separator : value_string(STR(""));
        return args->n == 0 || run_fail(r, "a joiner takes no arguments");
    }
    if (callee->kind == LOOP) {
        if (args->n != 1 || args->keywords) return run_fail(r, "%s wants one argument", again.name);
        return run_loop_again(r, callee->loop, &args->items[0], out);
    }
    if (callee->kind != FUNCTION) return run_fail(r, "%s cannot be called", value_kind_name(callee));
    const function *f = callee->function;
    return f->builtin ? run_apply(r, f->builtin, &f->self, args, out) : call_macro(r, f, args, out);
}

bool run_call_block(run *r, const node *n, scope *s, value *out) {
    function *caller;
    arguments args;
    value callee, key = value_string(STR("caller"));
    if (!run_take(r, sizeof *caller, &caller)) return false;
    *caller = (function){.node = n, .scope = s, .caller = true};
    if (!eval(r, n->a->a, s, &callee) || !eval_arguments(r, &n->a->body, s, &args)) return false;
    r->at = n;
    if (!args.keywords && !mapping_new(r, 1, &args.keywords)) return false;
    return mapping_set(r, args.keywords, &key, (value){.kind = FUNCTION, .function = caller}) &&
           run_call(r, &callee, &args, out);
}
