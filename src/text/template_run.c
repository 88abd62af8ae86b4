/* Statements. What they write goes to one buffer; what a macro or a block is to give as a text is cut off its end.
 * break and continue take back what their turn of the loop has written, as in the reference. */
#include "text/template_internal.h"

#include <stdio.h>

/* ---- failing, spending, taking ---- */

bool run_fail(run *r, const char *format, ...) {
    char what[ERR_MESSAGE_BYTES];
    va_list args;
    va_start(args, format);
    vsnprintf(what, sizeof what, format, args);
    va_end(args);
    r->why = FAILED;
    if (!r->at) return err_set(r->e, ERR_INVALID, "%s", what);
    return template_fail_at(r->e, r->at->at, ERR_INVALID, "%s", what);
}

bool run_refused(run *r) {
    r->why = FAILED;
    return err_set(r->e, ERR_MEMORY, "no memory to render the template in");
}

bool run_spend(run *r, uint64_t steps) {
    if (steps <= r->steps_left) return r->steps_left -= steps, true;
    r->steps_left = 0;
    return run_fail(r, "the template takes more than %llu steps", (unsigned long long)r->limits->steps);
}

void *run_memory(run *r, size_t bytes) {
    void *p = region_take(&r->memory, bytes);
    if (!p) run_refused(r);
    return p;
}

bool run_take_items(run *r, size_t n, value **items) {
    return run_spend(r, n / 2) && run_take(r, n * sizeof **items, items);
}

/* ---- variables ---- */

scope *scope_new(run *r, scope *parent) {
    scope *s;
    if (!run_take(r, sizeof *s, &s)) return NULL;
    *s = (scope){.parent = parent};
    return s;
}

bool scope_set(run *r, scope *s, uint32_t symbol, value v) {
    if (v.kind == MISSING) v = value_of(UNDEFINED);
    if (!s->parent) return r->globals[symbol] = v, true;
    for (uint32_t i = 0; i < s->n; i++)
        if (s->variables[i].symbol == symbol) return s->variables[i].value = v, run_spend(r, i / 16);
    if (s->n == s->cap) {
        uint32_t cap = s->cap ? s->cap * 2 : 4;
        variable *grown;
        if (!run_take(r, cap * sizeof *grown, &grown)) return false;
        if (s->n) memcpy(grown, s->variables, s->n * sizeof *grown);
        s->variables = grown;
        s->cap = cap;
    }
    s->variables[s->n++] = (variable){symbol, v};
    return run_spend(r, s->n / 16);
}

/* ---- output ---- */

static bool emit_text(run *r, str s) {
    if (s.len > r->limits->output_bytes - (r->out->len - r->out_start))
        return run_fail(r, "the template writes more than %zu bytes", r->limits->output_bytes);
    buf_append_str(r->out, s);
    return r->out->failed ? run_refused(r) : run_spend_bytes(r, s.len);
}

bool run_emit(run *r, const value *v) {
    value text;
    if (v->kind == UNDEFINED || v->kind == NONE) return true;
    return text_of_value(r, v, &text) && emit_text(r, value_str(&text));
}

bool run_capture(run *r, const nodes *body, scope *s, value *out) {
    size_t start = r->out->len;
    if (!run_block(r, body, s)) return false;
    size_t len = r->out->len - start;
    char *text = region_take_text(&r->memory, len);
    if (!text) return run_refused(r);
    if (len) memcpy(text, r->out->data + start, len);
    r->out->len = start;
    *out = value_string((str){text, r->halves ? text_join_halves(text, len) : len});
    return run_spend_bytes(r, len);
}

/* ---- set ---- */

static bool fail_at(run *r, const node *n, const char *what, const value *v) {
    r->at = n;
    return v ? run_fail(r, "%s, not %s", what, value_kind_name(v)) : run_fail(r, "%s", what);
}

static bool set_member(run *r, const node *target, scope *s, value v) {
    value object;
    if (!eval(r, target->a, s, &object)) return false;
    if (object.kind != NAMESPACE) return fail_at(r, target, "only a namespace's members can be set", &object);
    if (target->b->kind != NODE_NAME) return fail_at(r, target, "a member that is set must be a name", NULL);
    return mapping_set(r, object.mapping, target->b->text, v);
}

/* Each name of a tuple gets an item. */
static bool unpack(run *r, const node *targets, const value *items, scope *s) {
    for (uint32_t i = 0; i < targets->body.n; i++) {
        const node *target = targets->body.at[i];
        if (target->kind != NODE_NAME) return fail_at(r, target, "only names can be set from a list", NULL);
        if (!scope_set(r, s, target->symbol, items[i])) return false;
    }
    return true;
}

static bool check_unpack(run *r, const node *targets, size_t n) {
    r->at = targets;
    return n == targets->body.n || run_fail(r, "%u names are set from a list of %zu", targets->body.n, n);
}

static bool run_set(run *r, const node *n, scope *s) {
    value v;
    if (!(n->b ? eval(r, n->b, s, &v) : run_capture(r, &n->body, s, &v))) return false;
    switch (n->a->kind) {
    case NODE_NAME: return scope_set(r, s, n->a->symbol, v);
    case NODE_MEMBER: return set_member(r, n->a, s, v);
    case NODE_TUPLE:
        if (!is_list(&v)) return fail_at(r, n->a, "several names can only be set from a list", &v);
        return check_unpack(r, n->a, v.list->n) && unpack(r, n->a, v.list->items, s);
    default: return fail_at(r, n->a, "this cannot be set; names and members of a namespace can", NULL);
    }
}

/* ---- for ---- */

/* All turns share one mapping, which is as good as new in each while nothing but its members is looked at. */
static bool set_loop(run *r, scope *s, const list *items, size_t i, mapping **shared) {
    size_t n = items->n;
    if ((!*shared || r->loop_escaped) && !mapping_new(r, 9, shared)) return false;
    mapping *m = *shared;
    m->n = 9;
    m->entries[0] = (entry){STR("index"), value_integer((double)(i + 1))};
    m->entries[1] = (entry){STR("index0"), value_integer((double)i)};
    m->entries[2] = (entry){STR("revindex"), value_integer((double)(n - i))};
    m->entries[3] = (entry){STR("revindex0"), value_integer((double)(n - i - 1))};
    m->entries[4] = (entry){STR("first"), value_boolean(i == 0)};
    m->entries[5] = (entry){STR("last"), value_boolean(i == n - 1)};
    m->entries[6] = (entry){STR("length"), value_integer((double)n)};
    m->entries[7] = (entry){STR("previtem"), i ? items->items[i - 1] : value_of(UNDEFINED)};
    m->entries[8] = (entry){STR("nextitem"), i + 1 < n ? items->items[i + 1] : value_of(UNDEFINED)};
    return scope_set(r, s, SYMBOL_LOOP, value_mapping(m));
}

static bool bind_target(run *r, const node *target, const value *item, scope *s) {
    if (target->kind == NODE_NAME) return scope_set(r, s, target->symbol, *item);
    return unpack(r, target, item->list->items, s);
}

static bool check_item(run *r, const node *target, const value *item) {
    if (target->kind == NODE_NAME) return true;
    if (item->kind != LIST) return fail_at(r, target, "several names can only be set from a list", item);
    return check_unpack(r, target, item->list->n);
}

/* The items a loop goes over: all that its condition lets through. */
static bool select_items(run *r, const node *n, scope *s, list *items) {
    bool selects = n->b->kind == NODE_SELECT, keep;
    value v, *kept = NULL;
    if (!eval(r, selects ? n->b->a : n->b, s, &v)) return false;
    if (is_mapping(&v) && !mapping_keys(r, v.mapping, &v)) return false;
    if (!is_list(&v)) return fail_at(r, n->b, "a loop goes over a list or a mapping", &v);
    *items = *v.list;
    scope *inner = selects ? scope_new(r, s) : s;
    if (!inner || (selects && !run_take_items(r, v.list->n, &kept))) return false;
    if (n->a->kind == NODE_NAME && !selects) return true;
    size_t n_kept = 0;
    for (size_t i = 0; i < v.list->n; i++) {
        if (!run_spend(r, 1)) return false;
        if (!check_item(r, n->a, &v.list->items[i])) return false;
        if (!selects) continue;
        inner->n = 0;
        value verdict;
        if (!bind_target(r, n->a, &v.list->items[i], inner) || !eval(r, n->b->b, inner, &verdict) ||
            !value_truth(r, &verdict, &keep))
            return false;
        kept[n_kept] = v.list->items[i];
        n_kept += keep;
    }
    if (selects) *items = (list){kept, n_kept};
    return true;
}

static bool run_for(run *r, const node *n, scope *outer) {
    list items = {0};
    mapping *loop = NULL;
    bool none = true;
    scope *s = scope_new(r, outer);
    if (!s || !select_items(r, n, s, &items)) return false;
    for (size_t i = 0; i < items.n; i++) {
        size_t start = r->out->len;
        if (!run_spend(r, 4) || !set_loop(r, s, &items, i, &loop) || !bind_target(r, n->a, &items.items[i], s))
            return false;
        if (run_block(r, &n->body, s)) {
            none = false;
            continue;
        }
        if (r->why == FAILED) return false;
        r->out->len = start;
        if (r->why == BREAK) break;
    }
    return !none || run_block(r, &n->other, s);
}

/* ---- macros ---- */

static bool define_macro(run *r, const node *n, scope *s) {
    function *f;
    if (!run_take(r, sizeof *f, &f)) return false;
    *f = (function){.kind = CALL_MACRO, .node = n};
    return scope_set(r, s, n->a->symbol, (value){.kind = FUNCTION, .function = f});
}

/* The keyword of that name is taken out. */
static bool take_keyword(run *r, mapping *keywords, str name, value *out) {
    value *found = keywords ? mapping_get(r, keywords, name) : NULL;
    if (!found || found->kind == MISSING) return false;
    *out = *found;
    entry *e = (entry *)((char *)found - offsetof(entry, value));
    memmove(e, e + 1, (size_t)(keywords->entries + keywords->n - (e + 1)) * sizeof *e);
    keywords->n--;
    keywords->slots = NULL; /* looked through from now on */
    return true;
}

static bool copy_keywords(run *r, const mapping *from, mapping **to) {
    if (!mapping_new(r, from->n, to)) return false;
    for (uint32_t i = 0; i < from->n; i++)
        if (!mapping_set(r, *to, from->entries[i].key, from->entries[i].value)) return false;
    return true;
}

static bool bind_rest(run *r, str name, const node *n, arguments args, mapping *keywords, scope *s) {
    size_t n_parameters = n->other.n;
    if (n->op & MACRO_KWARGS) {
        if (!keywords && !mapping_new(r, 0, &keywords)) return false;
        if (!scope_set(r, s, SYMBOL_KWARGS, value_mapping(keywords))) return false;
    } else if (keywords && keywords->n) {
        str key = keywords->entries[0].key;
        return run_fail(r, "macro '%.*s' has no parameter '%.*s'", CLIPPED(name), CLIPPED(key));
    }
    if (n->op & MACRO_VARARGS) {
        value rest, *items;
        size_t more = args.n > n_parameters ? args.n - n_parameters : 0;
        if (!list_new(r, more, &rest, &items)) return false;
        if (more) memcpy(items, args.items + n_parameters, more * sizeof *items);
        return scope_set(r, s, SYMBOL_VARARGS, rest);
    }
    return args.n <= n_parameters || run_fail(r, "macro '%.*s' takes at most %zu arguments, not %zu",
                                              CLIPPED(name), n_parameters, args.n);
}

/* Every parameter is bound before a default is evaluated: none is looked up further out. */
bool run_bind_arguments(run *r, str name, const node *n, arguments args, scope *s) {
    mapping *keywords = NULL;
    bool *wants_default, named = args.n && args.items[args.n - 1].kind == KEYWORDS;
    if (named && !copy_keywords(r, args.items[--args.n].mapping, &keywords)) return false;
    if (!run_take(r, n->other.n, &wants_default)) return false;
    for (uint32_t i = 0; i < n->other.n; i++) {
        const node *parameter = n->other.at[i], *id = parameter->kind == NODE_KEYWORD ? parameter->a : parameter;
        value v = i < args.n ? args.items[i] : value_of(MISSING);
        if (v.kind == MISSING) take_keyword(r, keywords, id->text, &v);
        wants_default[i] = v.kind == MISSING && parameter->kind == NODE_KEYWORD;
        if (!scope_set(r, s, id->symbol, v)) return false;
    }
    if (!bind_rest(r, name, n, args, keywords, s)) return false;
    for (uint32_t i = 0; i < n->other.n; i++) {
        value v;
        if (!wants_default[i]) continue;
        const node *parameter = n->other.at[i];
        if (!eval(r, parameter->b, s, &v) || !scope_set(r, s, parameter->a->symbol, v)) return false;
    }
    return true;
}

static bool run_call_block(run *r, const node *n, scope *s, value *out) {
    function *caller;
    arguments args;
    value callee;
    if (!run_take(r, sizeof *caller, &caller)) return false;
    *caller = (function){.kind = CALL_CALLER, .node = n, .scope = s};
    if (!eval_call_arguments(r, &n->a->body, s, true, &args) || !eval(r, n->a->a, s, &callee)) return false;
    scope *inner = scope_new(r, s);
    if (!inner || !scope_set(r, inner, SYMBOL_CALLER, (value){.kind = FUNCTION, .function = caller})) return false;
    r->at = n;
    return run_call(r, &callee, args, inner, out);
}

bool run_call(run *r, const value *callee, arguments args, scope *s, value *out) {
    if (callee->kind != FUNCTION) return run_fail(r, "%s cannot be called", value_kind_name(callee));
    const function *f = callee->function;
    bool caller = f->kind == CALL_CALLER;
    if (f->kind != CALL_MACRO && !caller) return method_call(r, f, args, out);
    scope *inner = scope_new(r, caller ? f->scope : s);
    str name = caller ? STR("caller") : f->node->a->text;
    return inner && run_bind_arguments(r, name, f->node, args, inner) && run_capture(r, &f->node->body, inner, out);
}

/* ---- all of them ---- */

static bool run_if(run *r, const node *n, scope *s) {
    value test;
    bool truth;
    if (!eval(r, n->a, s, &test)) return false;
    r->at = n;
    return value_truth(r, &test, &truth) && run_block(r, truth ? &n->body : &n->other, s);
}

static bool stop(run *r, const node *n, outcome why) {
    r->at = n;
    r->why = why;
    return false;
}

static bool emit_result(run *r, const node *n, scope *s) {
    value v;
    bool ok;
    if (n->kind == NODE_CALL_BLOCK) ok = run_call_block(r, n, s, &v);
    else if (n->kind == NODE_FILTER_BLOCK) ok = run_capture(r, &n->body, s, &v) && eval_filter(r, n->b, s, &v);
    else ok = eval(r, n, s, &v);
    r->at = ok ? n : r->at;
    return ok && run_emit(r, &v);
}

static bool run_statement(run *r, const node *n, scope *s) {
    switch (n->kind) {
    case NODE_TEXT: return r->at = n, emit_text(r, n->text);
    case NODE_COMMENT: return true;
    case NODE_SET: return run_set(r, n, s);
    case NODE_IF: return run_if(r, n, s);
    case NODE_FOR: return run_for(r, n, s);
    case NODE_MACRO: return define_macro(r, n, s);
    case NODE_BREAK: return stop(r, n, BREAK);
    case NODE_CONTINUE: return stop(r, n, CONTINUE);
    default: return emit_result(r, n, s);
    }
}

bool run_block(run *r, const nodes *body, scope *s) {
    if (r->depth >= RUN_DEPTH_MAX) return run_fail(r, "more than %d operations in each other", RUN_DEPTH_MAX);
    r->depth++;
    bool ok = true;
    for (uint32_t i = 0; i < body->n && ok; i++) ok = run_spend(r, 1) && run_statement(r, body->at[i], s);
    r->depth--;
    return ok;
}
