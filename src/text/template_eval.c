/* Expressions. */
#include "text/template_internal.h"

#include <math.h>

const char *const template_operator_names[] = {"and", "or", "not", "in", "not in", "==", "!=", "<", ">", "<=",
                                               ">=", "+", "-", "~", "*", "/", "//", "%", "**"};

static const value undefined_value = {.kind = UNDEFINED};

/* ---- names ---- */

/* The reference puts `namespace` into each scope: only the innermost can give the name another meaning. */
static bool look_up(run *r, uint32_t symbol, const scope *s, value *out) {
    static const function make_namespace = {.kind = CALL_NAMESPACE};
    static const value its_value = {.kind = FUNCTION, .function = &make_namespace};
    uint32_t looked_at = 0;
    for (; s->parent; s = s->parent) {
        for (uint32_t i = 0; i < s->n; i++)
            if (s->variables[i].symbol == symbol) return *out = s->variables[i].value, run_spend(r, looked_at / 16);
        looked_at += s->n + 1;
        if (symbol == SYMBOL_NAMESPACE) break;
    }
    *out = s->parent ? value_of(MISSING) : r->globals[symbol];
    if (out->kind == MISSING) *out = symbol == SYMBOL_NAMESPACE ? its_value : undefined_value;
    return run_spend(r, looked_at / 16);
}

/* ---- operators ---- */

static bool bad_operands(run *r, operator op, const value *a, const value *b) {
    return run_fail(r, "'%s' does not work between %s and %s", template_operator_names[op], value_kind_name(a),
                    value_kind_name(b));
}

static bool raise_to_power(run *r, const value *a, const value *b, value *out) {
    double base = value_number(a), exponent = value_number(b);
    if (base == 0 && exponent < 0) return run_fail(r, "zero cannot be raised to a negative power");
    double result = pow(base, exponent);
    if (!isfinite(result) || (fabs(base) == 1 && !isfinite(exponent)))
        return run_fail(r, "the power is not a finite real number");
    bool is_float = a->kind == FLOAT || b->kind == FLOAT || exponent < 0;
    *out = is_float ? value_float(result) : value_integer(result);
    return true;
}

static bool arithmetic(operator op, const value *left, const value *right, value *out) {
    double a = left->number, b = right->number, result;
    switch (op) {
    case OP_ADD: result = a + b; break;
    case OP_SUBTRACT: result = a - b; break;
    case OP_MULTIPLY: result = a * b; break;
    case OP_DIVIDE: return *out = value_float(a / b), true;
    case OP_FLOOR_DIVIDE: result = floor(a / b); break;
    case OP_MODULO: result = fmod(a, b); break;
    case OP_LESS: return *out = value_boolean(a < b), true;
    case OP_GREATER: return *out = value_boolean(a > b), true;
    case OP_LESS_EQUAL: return *out = value_boolean(a <= b), true;
    case OP_GREATER_EQUAL: return *out = value_boolean(a >= b), true;
    default: return false;
    }
    *out = left->kind == FLOAT || right->kind == FLOAT ? value_float(result) : value_integer(result);
    return true;
}

static bool concat_lists(run *r, const list *a, const list *b, value *out) {
    value *items;
    if (!list_new(r, a->n + b->n, out, &items)) return false;
    if (a->n) memcpy(items, a->items, a->n * sizeof *items);
    if (b->n) memcpy(items + a->n, b->items, b->n * sizeof *items);
    return true;
}

static bool concat_raw(run *r, const value *a, const value *b, value *out) {
    value left, right;
    return text_of_raw(r, a, &left) && text_of_raw(r, b, &right) &&
           text_concat(r, value_str(&left), value_str(&right), out);
}

static bool is_member(run *r, const value *a, const value *b, bool *known, bool *found) {
    *known = *found = false;
    if (is_list(b) && !is_list(a)) {
        *known = true;
        for (size_t i = 0; i < b->list->n && !*found; i++) {
            const value *item = &b->list->items[i];
            bool long_text = a->kind == STRING && item->kind == STRING && a->bytes == item->bytes;
            if (!run_spend_bytes(r, long_text ? a->bytes : 0)) return false;
            *found = value_same(a, item);
        }
        return run_spend(r, b->list->n / 8);
    }
    if (a->kind != STRING) return true;
    if ((*known = b->kind == STRING)) {
        *found = text_find(value_str(b), value_str(a), 0) != SIZE_MAX;
        return run_spend_bytes(r, b->bytes);
    }
    if ((*known = is_mapping(b))) *found = mapping_get(r, b->mapping, value_str(a)) != NULL;
    return true;
}

static bool is_nothing(const value *v) { return v->kind == MISSING || v->kind == NONE; }

static bool apply_operator(run *r, operator op, const value *a, const value *b, value *out) {
    bool known, found;
    if (op == OP_EQUAL || op == OP_UNEQUAL) {
        if (!value_equal(r, a, b, &found)) return false;
        return *out = value_boolean(found == (op == OP_EQUAL)), true;
    }
    if (a->kind == UNDEFINED || b->kind == UNDEFINED) {
        bool in = op == OP_IN || op == OP_NOT_IN; /* nothing is in what is not there */
        if (b->kind != UNDEFINED || !in) return bad_operands(r, op, a, b);
        return *out = value_boolean(op == OP_NOT_IN), true;
    }
    if (is_nothing(a) || is_nothing(b)) return bad_operands(r, op, a, b);
    if (op == OP_JOIN) return concat_raw(r, a, b, out);
    if (op == OP_POWER && is_numeric(a) && is_numeric(b)) return raise_to_power(r, a, b, out);
    if (is_number(a) && is_number(b) && arithmetic(op, a, b, out)) return true;
    if (is_list(a) && is_list(b) && op == OP_ADD) return concat_lists(r, a->list, b->list, out);
    if (op == OP_IN || op == OP_NOT_IN) {
        if (!is_member(r, a, b, &known, &found)) return false;
        if (known) return *out = value_boolean(found == (op == OP_IN)), true;
    }
    if (op == OP_ADD && (a->kind == STRING || b->kind == STRING)) return concat_raw(r, a, b, out);
    return bad_operands(r, op, a, b);
}

static __attribute__((noinline)) bool eval_binary(run *r, const node *n, scope *s, value *out) {
    value a, b;
    bool truth;
    if (!eval(r, n->a, s, &a)) return false;
    if (n->op == OP_AND || n->op == OP_OR) {
        r->at = n;
        if (!value_truth(r, &a, &truth)) return false;
        if (truth == (n->op == OP_AND)) return eval(r, n->b, s, out);
        return *out = a, true;
    }
    if (!eval(r, n->b, s, &b)) return false;
    r->at = n;
    return apply_operator(r, (operator) n->op, &a, &b, out);
}

static __attribute__((noinline)) bool eval_unary(run *r, const node *n, scope *s, value *out) {
    bool truth;
    if (!eval(r, n->a, s, out)) return false;
    r->at = n;
    if (n->op == OP_NOT) {
        if (!value_truth(r, out, &truth)) return false;
        return *out = value_boolean(!truth), true;
    }
    if (out->kind == BOOLEAN) *out = value_integer(out->boolean);
    if (!is_number(out)) return run_fail(r, "%s has no sign", value_kind_name(out));
    if (n->op == OP_SUBTRACT) out->number = -1 * out->number;
    return true;
}

/* ---- members ---- */

/* Where an index from the end, or behind it, stands; n and more: nowhere. */
static size_t place_in(double index, size_t n) {
    if (isnan(index)) index = 0;
    if (index < 0) index += (double)n;
    return index >= 0 && index < (double)n ? (size_t)index : SIZE_MAX;
}

static bool member_of(run *r, const value *object, const value *property, value *out) {
    value *found = NULL;
    *out = undefined_value;
    if (is_list(object) && property->kind == INTEGER) {
        size_t i = place_in(property->number, object->list->n);
        if (i != SIZE_MAX && object->list->items[i].kind != MISSING) *out = object->list->items[i];
        return true;
    }
    if (object->kind == STRING && property->kind == INTEGER)
        return text_unit_at(r, value_str(object), property->number, out);
    if (property->kind != STRING) return run_fail(r, "%s has no member that is %s", value_kind_name(object),
                                                  value_kind_name(property));
    if (object->kind == MISSING) return run_fail(r, "nothing is there to have members");
    if (has_attributes(object)) found = mapping_get(r, object->mapping, value_str(property));
    if (found && found->kind != MISSING) return *out = *found, true;
    return method_find(r, object, value_str(property), out);
}

static bool slice_bound(run *r, const node *n, scope *s, double *number, const double **out) {
    value v;
    *out = NULL;
    if (!n) return true;
    if (!eval(r, n, s, &v)) return false;
    if (v.kind == UNDEFINED) return true;
    r->at = n;
    if (v.kind != INTEGER) return run_fail(r, "a slice goes by whole numbers, not %s", value_kind_name(&v));
    *number = v.number;
    return *out = number, true;
}

static double least(double a, double b) { return isnan(a) || isnan(b) ? NAN : a < b ? a : b; }
static double most(double a, double b) { return isnan(a) || isnan(b) ? NAN : a > b ? a : b; }

/* Python's: where a slice of n items starts and stops. */
static void slice_ends(double n, const double *start, const double *stop, double step, double *from, double *to) {
    bool forward = !(step < 0);
    double a = start ? *start : forward ? 0 : n - 1, z = stop ? *stop : forward ? n : -1;
    double low = forward ? 0 : -1, high = forward ? n : n - 1;
    *from = a < 0 ? most(n + a, low) : least(a, high);
    *to = (forward ? z < 0 : z < -1) ? most(n + z, low) : least(z, high);
}

static bool list_slice(run *r, const list *l, const double *start, const double *stop, double step, value *out) {
    double from, to, direction = step > 0 ? 1 : step < 0 ? -1 : 0;
    slice_ends((double)l->n, start, stop, step, &from, &to);
    size_t n = 0;
    value *items;
    for (double i = from; direction * i < direction * to; i += step) n++;
    if (step == 1) {
        list *part;
        if (!run_take(r, sizeof *part, &part)) return false;
        *part = (list){n ? l->items + (size_t)from : NULL, n};
        return *out = value_list(part), run_spend(r, n / 16);
    }
    if (!list_new(r, n, out, &items)) return false;
    for (double i = from; direction * i < direction * to; i += step) *items++ = l->items[(size_t)i];
    return true;
}

static __attribute__((noinline)) bool eval_slice(run *r, const node *n, scope *s, const value *object, value *out) {
    const double *start, *stop, *step;
    double numbers[3], from, to;
    r->at = n;
    if (!is_list(object) && object->kind != STRING)
        return run_fail(r, "only lists and texts have slices, not %s", value_kind_name(object));
    if (!slice_bound(r, n->a, s, &numbers[0], &start) || !slice_bound(r, n->b, s, &numbers[1], &stop) ||
        !slice_bound(r, n->c, s, &numbers[2], &step))
        return false;
    r->at = n;
    double by = step ? *step : 1;
    if (is_list(object)) return list_slice(r, object->list, start, stop, by, out);
    slice_ends((double)text_characters(value_str(object)), start, stop, by, &from, &to);
    return run_spend_bytes(r, object->bytes) && text_slice(r, value_str(object), from, to, by, out);
}

static __attribute__((noinline)) bool eval_member(run *r, const node *n, scope *s, value *out) {
    value object, property;
    bool of_loop = n->a->kind == NODE_NAME && n->a->symbol == SYMBOL_LOOP;
    if (!(of_loop ? look_up(r, SYMBOL_LOOP, s, &object) : eval(r, n->a, s, &object))) return false;
    if (n->op && n->b->kind == NODE_SLICE) return eval_slice(r, n->b, s, &object, out);
    if (n->op && !eval(r, n->b, s, &property)) return false;
    if (!n->op) property = n->b->kind == NODE_INTEGER ? value_integer(n->b->number) : value_string(n->b->text);
    r->at = n;
    if (!member_of(r, &object, &property, out)) return false;
    r->loop_escaped |= of_loop && out->kind == FUNCTION;
    return true;
}

/* ---- calls ---- */

static bool append_argument(run *r, arguments *args, size_t *cap, value v) {
    if (args->n == *cap) {
        size_t more = *cap ? *cap * 2 : 4;
        value *grown;
        if (!run_take_items(r, more, &grown)) return false;
        if (args->n) memcpy(grown, args->items, args->n * sizeof *grown);
        args->items = grown;
        *cap = more;
    }
    args->items[args->n++] = v;
    return true;
}

static bool eval_positional(run *r, const nodes *args, scope *s, arguments *out) {
    size_t cap = args->n;
    value v;
    *out = (arguments){0};
    if (cap && !run_take_items(r, cap, &out->items)) return false;
    for (uint32_t i = 0; i < args->n; i++) {
        const node *n = args->at[i];
        if (n->kind == NODE_KEYWORD || n->kind == NODE_KEYWORD_SPREAD) continue;
        if (!eval(r, n->kind == NODE_SPREAD ? n->a : n, s, &v)) return false;
        if (n->kind != NODE_SPREAD) {
            if (!append_argument(r, out, &cap, v)) return false;
            continue;
        }
        r->at = n;
        if (!is_list(&v)) return run_fail(r, "'*' wants a list, not %s", value_kind_name(&v));
        for (size_t k = 0; k < v.list->n; k++)
            if (!append_argument(r, out, &cap, v.list->items[k])) return false;
    }
    return true;
}

static bool add_keyword(run *r, mapping *m, str key, value v) {
    if (mapping_get(r, m, key))
        return run_fail(r, "two arguments are named '%.*s'", CLIPPED(key));
    return mapping_set(r, m, key, v);
}

static bool eval_keyword(run *r, const node *n, scope *s, mapping *m) {
    value v;
    bool spread = n->kind == NODE_KEYWORD_SPREAD;
    if (!spread && n->kind != NODE_KEYWORD) return true;
    if (!eval(r, spread ? n->a : n->b, s, &v)) return false;
    r->at = n;
    if (!spread) return add_keyword(r, m, n->a->text, v);
    if (!is_mapping(&v)) return run_fail(r, "'**' wants a mapping, not %s", value_kind_name(&v));
    for (uint32_t i = 0; i < v.mapping->n; i++)
        if (!add_keyword(r, m, v.mapping->entries[i].key, v.mapping->entries[i].value)) return false;
    return true;
}

/* As in Python, all positional arguments are evaluated before any keyword. */
bool eval_keywords(run *r, const nodes *args, scope *s, arguments *positional, mapping **keywords) {
    if (!eval_positional(r, args, s, positional) || !mapping_new(r, 0, keywords)) return false;
    for (uint32_t i = 0; i < args->n; i++)
        if (!eval_keyword(r, args->at[i], s, *keywords)) return false;
    return true;
}

static bool has_keywords(const nodes *args) { /* they come last */
    const node *last = args->n ? args->at[args->n - 1] : NULL;
    return last && (last->kind == NODE_KEYWORD || last->kind == NODE_KEYWORD_SPREAD || last->kind == NODE_SPREAD);
}

bool eval_call_arguments(run *r, const nodes *args, scope *s, bool always_keywords, arguments *out) {
    mapping *keywords;
    if (!always_keywords && !has_keywords(args)) return eval_positional(r, args, s, out);
    if (!eval_keywords(r, args, s, out, &keywords)) return false;
    if (!keywords->n && !always_keywords) return true;
    size_t cap = out->n;
    return append_argument(r, out, &cap, (value){.kind = KEYWORDS, .mapping = keywords});
}

static __attribute__((noinline)) bool eval_call(run *r, const node *n, scope *s, value *out) {
    arguments args;
    value callee;
    if (!eval_call_arguments(r, &n->body, s, false, &args) || !eval(r, n->a, s, &callee)) return false;
    r->at = n;
    return run_call(r, &callee, args, s, out);
}

/* ---- literals and the rest ---- */

static __attribute__((noinline)) bool eval_list(run *r, const node *n, scope *s, value *out) {
    value *items, made;
    if (!list_new(r, n->body.n, &made, &items)) return false;
    if (n->kind == NODE_TUPLE) made.kind = TUPLE;
    for (uint32_t i = 0; i < n->body.n; i++)
        if (!eval(r, n->body.at[i], s, &items[i])) return false;
    return *out = made, true;
}

static __attribute__((noinline)) bool eval_mapping(run *r, const node *n, scope *s, value *out) {
    mapping *m;
    value key, v;
    if (!mapping_new(r, n->body.n / 2, &m)) return false;
    for (uint32_t i = 0; i < n->body.n; i += 2) {
        if (!eval(r, n->body.at[i], s, &key)) return false;
        r->at = n->body.at[i];
        if (key.kind != STRING) return run_fail(r, "a key must be a text, not %s", value_kind_name(&key));
        if (!eval(r, n->body.at[i + 1], s, &v) || !mapping_set(r, m, value_str(&key), v)) return false;
    }
    return *out = value_mapping(m), true;
}

/* a if b else c; without c: undefined. */
static __attribute__((noinline)) bool eval_choice(run *r, const node *n, scope *s, value *out) {
    bool truth;
    if (!eval(r, n->b, s, out)) return false;
    r->at = n;
    if (!value_truth(r, out, &truth)) return false;
    if (truth) return eval(r, n->a, s, out);
    return n->kind == NODE_TERNARY ? eval(r, n->c, s, out) : (*out = undefined_value, true);
}

static __attribute__((noinline)) bool eval_tested(run *r, const node *n, scope *s, value *out) {
    bool passed;
    if (!eval(r, n->a, s, out)) return false;
    r->at = n;
    if (!eval_test(r, n->b->text, out, NULL, &passed)) return false;
    return *out = value_boolean(passed != n->op), true;
}

static bool eval_kind(run *r, const node *n, scope *s, value *out) {
    switch (n->kind) {
    case NODE_INTEGER: return *out = value_integer(n->number), true;
    case NODE_FLOAT: return *out = value_float(n->number), true;
    case NODE_STRING: return *out = value_string(n->text), true;
    case NODE_NAME: r->loop_escaped |= n->symbol == SYMBOL_LOOP; return look_up(r, n->symbol, s, out);
    case NODE_LIST:
    case NODE_TUPLE: return eval_list(r, n, s, out);
    case NODE_MAPPING: return eval_mapping(r, n, s, out);
    case NODE_UNARY: return eval_unary(r, n, s, out);
    case NODE_BINARY: return eval_binary(r, n, s, out);
    case NODE_MEMBER: return eval_member(r, n, s, out);
    case NODE_CALL: return eval_call(r, n, s, out);
    case NODE_FILTER: return eval(r, n->a, s, out) && (r->at = n, eval_filter(r, n->b, s, out));
    case NODE_TEST: return eval_tested(r, n, s, out);
    case NODE_SELECT:
    case NODE_TERNARY: return eval_choice(r, n, s, out);
    default: r->at = n; return run_fail(r, "this is no expression");
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
