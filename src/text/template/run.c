/* Statements. What they write goes to one buffer; what a macro or a block is to give as a text is cut off its
 * end. */
#include "text/template/internal.h"

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
    if (r->memory.full)
        return run_fail(r, "the template takes more than %zu MiB of memory", r->limits->memory_bytes >> 20);
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
    return run_spend(r, n) && run_take(r, n * sizeof **items, items);
}

/* ---- variables ---- */

scope *scope_new(run *r, scope *parent) {
    scope *s;
    if (!run_take(r, sizeof *s, &s)) return NULL;
    *s = (scope){.parent = parent};
    return s;
}

bool scope_set(run *r, scope *s, uint32_t symbol, value v) {
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

static bool emit(run *r, const value *v) {
    value text;
    if (v->kind == UNDEFINED) return true;
    return text_of_value(r, v, &text) && emit_text(r, value_str(&text));
}

bool run_capture(run *r, const nodes *body, scope *s, value *out) {
    size_t start = r->out->len;
    bool ok = run_block(r, body, s);
    if (!ok && r->why == FAILED) return false;
    size_t len = r->out->len - start;
    char *text = region_take_text(&r->memory, len);
    if (!text) return run_refused(r);
    if (len) memcpy(text, r->out->data + start, len);
    r->out->len = start;
    *out = value_string((str){text, len});
    return ok && run_spend_bytes(r, len);
}

/* ---- set, with ---- */

static bool unpack(run *r, const node *targets, const value *v, scope *s) {
    const list *items;
    r->at = targets;
    if (!value_iterate(r, v, &items)) return false;
    if (items->n != targets->body.n)
        return run_fail(r, "%u names are set from %zu values", targets->body.n, items->n);
    for (uint32_t i = 0; i < targets->body.n; i++)
        if (!run_bind_target(r, targets->body.at[i], &items->items[i], s)) return false;
    return true;
}

bool run_bind_target(run *r, const node *target, const value *v, scope *s) {
    return target->kind == NODE_NAME ? scope_set(r, s, target->symbol, *v) : unpack(r, target, v, s);
}

static bool set_member(run *r, const node *target, scope *s, value v) {
    value object, key = value_string(target->text);
    if (!eval(r, target->a, s, &object)) return false;
    r->at = target;
    if (object.kind != NAMESPACE)
        return run_fail(r, "only a namespace's members can be set, not those of %s",
                        value_kind_name(&object));
    return mapping_set(r, object.mapping, &key, v);
}

static bool run_set(run *r, const node *n, scope *s) {
    value v, written;
    if (n->op) {
        scope *inner = scope_new(r, s);
        if (!inner || !run_capture(r, &n->body, inner, &written)) return false;
        v = written;
        if (n->b && !eval_filters(r, n->b, s, &written, &v)) return false;
    } else if (!eval(r, n->b, s, &v)) {
        return false;
    }
    if (n->a->kind == NODE_ATTRIBUTE) return set_member(r, n->a, s, v);
    return run_bind_target(r, n->a, &v, s);
}

static bool run_with(run *r, const node *n, scope *s) {
    scope *inner = scope_new(r, s);
    for (uint32_t i = 0; inner && i < n->other.n; i += 2) {
        value v;
        if (!eval(r, n->other.at[i + 1], s, &v) || !scope_set(r, inner, n->other.at[i]->symbol, v))
            return false;
    }
    return inner && run_block(r, &n->body, inner);
}

/* ---- for ---- */

/* The items a loop goes over: all that its condition lets through. */
static bool select_items(run *r, const node *n, scope *s, const list **items) {
    const list *all = *items;
    list_builder kept = {.r = r};
    value out;
    if (!n->c) return true;
    scope *inner = scope_new(r, s);
    if (!inner) return false;
    for (size_t i = 0; i < all->n; i++) {
        value verdict;
        if (!run_spend(r, 1) || !run_bind_target(r, n->a, &all->items[i], inner) ||
            !eval(r, n->c, inner, &verdict))
            return false;
        if (value_truth(&verdict) && !list_add(&kept, all->items[i])) return false;
    }
    if (!list_end(&kept, &out)) return false;
    return *items = out.list, true;
}

/* One scope serves all turns, unless a macro may hold on to one. "else" is for loops of which no turn came to
 * its end. */
static bool run_turns(run *r, const node *n, loop_state *loop) {
    bool captured = n->op & FOR_CAPTURED, none = true;
    scope *s = scope_new(r, loop->outer);
    for (loop->at = 0; s && loop->at < loop->items->n; loop->at++) {
        if (captured && !(s = scope_new(r, loop->outer))) return false;
        s->n = 0;
        if (!run_spend(r, 4) || !scope_set(r, s, SYMBOL_LOOP, (value){.kind = LOOP, .loop = loop}) ||
            !run_bind_target(r, n->a, &loop->items->items[loop->at], s))
            return false;
        bool whole_turn = run_block(r, &n->body, s);
        none &= !whole_turn;
        if (whole_turn) continue;
        if (r->why == FAILED) return false;
        if (r->why == BREAK) break;
    }
    if (!s) return false;
    if (loop->at && loop->at == loop->items->n) loop->at--; /* who still holds the loop sees its last turn */
    if (!none || !n->other.n) return true;
    return (s = scope_new(r, loop->outer)) && run_block(r, &n->other, s);
}

static bool loop_over(run *r, const node *n, scope *outer, const value *iterable, uint32_t depth) {
    loop_state *loop;
    if (!run_take(r, sizeof *loop, &loop)) return false;
    *loop = (loop_state){.node = n, .outer = outer, .depth = depth};
    r->at = n->b;
    return value_iterate(r, iterable, &loop->items) && select_items(r, n, outer, &loop->items) &&
           run_turns(r, n, loop);
}

static bool run_for(run *r, const node *n, scope *outer) {
    value iterable;
    return eval(r, n->b, outer, &iterable) && loop_over(r, n, outer, &iterable, 0);
}

/* loop(children) in a recursive loop. */
bool run_loop_again(run *r, const loop_state *loop, const value *iterable, value *out) {
    size_t start = r->out->len;
    if (!(loop->node->op & FOR_RECURSIVE))
        return run_fail(r, "this loop is not recursive: {%% for … recursive %%}");
    if (r->depth >= RUN_DEPTH_MAX) return run_fail(r, "more than %d operations in each other", RUN_DEPTH_MAX);
    r->depth++;
    bool ok = loop_over(r, loop->node, loop->outer, iterable, loop->depth + 1);
    r->depth--;
    if (!ok) return false;
    size_t len = r->out->len - start;
    char *text = region_take_text(&r->memory, len);
    if (!text) return run_refused(r);
    if (len) memcpy(text, r->out->data + start, len);
    r->out->len = start;
    *out = value_string((str){text, len});
    return run_spend_bytes(r, len);
}

/* ---- all of them ---- */

static bool run_if(run *r, const node *n, scope *s) {
    value test;
    if (!eval(r, n->a, s, &test)) return false;
    return run_block(r, value_truth(&test) ? &n->body : &n->other, s);
}

static bool stop(run *r, const node *n, outcome why) {
    r->at = n;
    r->why = why;
    return false;
}

/* Whether what it takes memory for is nobody else's, once its text is put out: joined texts, JSON. */
static bool passes(const node *n) {
    if (!n) return true;
    switch (n->kind) {
    case NODE_CONSTANT:
    case NODE_NAME: return true;
    case NODE_FILTER: return n->builtin && str_is(str_of(n->builtin->name), "tojson") && !n->body.n && passes(n->a);
    case NODE_ATTRIBUTE: return passes(n->a);
    case NODE_BINARY:
    case NODE_ITEM:
    case NODE_TERNARY: return passes(n->a) && passes(n->b) && passes(n->c);
    default: return false;
    }
}

static bool run_output(run *r, const node *n, scope *s) {
    value v;
    for (uint32_t i = 0; i < n->body.n; i++) {
        const region before = r->memory;
        uint32_t grown = r->grown_last, opened = r->n_opened;
        if (!eval(r, n->body.at[i], s, &v)) return false;
        r->at = n->body.at[i];
        if (!emit(r, &v)) return false;
        bool same = r->memory.chunks == before.chunks && r->grown_last == grown && r->n_opened == opened;
        if (same && passes(n->body.at[i])) r->memory.at = before.at;
    }
    return true;
}

static bool run_filter_block(run *r, const node *n, scope *s) {
    value written, v;
    scope *inner = scope_new(r, s);
    return inner && run_capture(r, &n->body, inner, &written) && eval_filters(r, n->b, s, &written, &v) &&
           (v.kind == STRING || run_fail(r, "a filter block gives a text, not %s", value_kind_name(&v))) &&
           emit(r, &v);
}

static bool run_statement(run *r, const node *n, scope *s) {
    value v;
    scope *inner;
    switch (n->kind) {
    case NODE_TEXT: return r->at = n, emit_text(r, n->text);
    case NODE_OUTPUT: return run_output(r, n, s);
    case NODE_SET: return run_set(r, n, s);
    case NODE_IF: return run_if(r, n, s);
    case NODE_FOR: return run_for(r, n, s);
    case NODE_MACRO: return run_define_macro(r, n, s);
    case NODE_CALL_BLOCK: return run_call_block(r, n, s, &v) && emit(r, &v);
    case NODE_FILTER_BLOCK: return run_filter_block(r, n, s);
    case NODE_WITH: return run_with(r, n, s);
    case NODE_SCOPE: return (inner = scope_new(r, s)) && run_block(r, &n->body, inner);
    case NODE_BREAK: return stop(r, n, BREAK);
    default: return stop(r, n, CONTINUE);
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
