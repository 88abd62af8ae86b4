/* Operators: arithmetic, order, slices. */
#include "text/template/internal.h"

#include <math.h>

const char *const template_operator_names[] = {"and", "or", "not", "in", "not in", "==", "!=", "<", ">", "<=",
                                               ">=",  "+",  "-",   "~",  "*",      "/",  "//", "%", "**"};

static bool bad_operands(run *r, operator op, const value *a, const value *b) {
    if (a->kind == UNDEFINED) return value_fail_undefined(r, a);
    if (b->kind == UNDEFINED) return value_fail_undefined(r, b);
    return run_fail(r, "'%s' does not work between %s and %s", template_operator_names[op],
                    value_kind_name(a), value_kind_name(b));
}

static bool too_large(run *r) { return run_fail(r, "a whole number of more than 127 bits"); }

/* ---- whole numbers ---- */

static whole floor_divide(whole a, whole b) { return a / b - (a % b != 0 && (a < 0) != (b < 0)); }

static bool whole_power(run *r, whole base, whole exponent, value *out) {
    whole result = 1;
    for (bool odd; exponent; exponent >>= 1) {
        odd = exponent & 1;
        if (odd && __builtin_mul_overflow(result, base, &result)) return too_large(r);
        if (exponent > 1 && __builtin_mul_overflow(base, base, &base)) return too_large(r);
    }
    return whole_value(r, result, out);
}

static bool whole_arithmetic(run *r, operator op, whole a, whole b, value *out) {
    whole result;
    if (b == 0 && (op == OP_FLOOR_DIVIDE || op == OP_MODULO)) return run_fail(r, "division by zero");
    if (a == WHOLE_MIN && b == -1) return too_large(r);
    switch (op) {
    case OP_ADD: return __builtin_add_overflow(a, b, &result) ? too_large(r) : whole_value(r, result, out);
    case OP_SUBTRACT:
        return __builtin_sub_overflow(a, b, &result) ? too_large(r) : whole_value(r, result, out);
    case OP_MULTIPLY:
        return __builtin_mul_overflow(a, b, &result) ? too_large(r) : whole_value(r, result, out);
    case OP_FLOOR_DIVIDE: return whole_value(r, floor_divide(a, b), out);
    default: return whole_value(r, a - floor_divide(a, b) * b, out);
    }
}

/* ---- floats ---- */

static double float_modulo(double a, double b) {
    double m = fmod(a, b);
    if (m != 0 ? (m < 0) != (b < 0) : false) m += b;
    return m == 0 ? copysign(0, b) : m;
}

static bool float_power(run *r, double a, double b, value *out) {
    if (a == 0 && b < 0) return run_fail(r, "zero cannot be raised to a negative power");
    double result = pow(a, b);
    if (isnan(result) && !isnan(a) && !isnan(b)) return run_fail(r, "the power is no real number");
    if (isinf(result) && !isinf(a) && !isinf(b)) return run_fail(r, "the power is too large");
    return *out = value_float(result), true;
}

static bool float_arithmetic(run *r, operator op, double a, double b, value *out) {
    if (b == 0 && (op == OP_DIVIDE || op == OP_FLOOR_DIVIDE || op == OP_MODULO))
        return run_fail(r, "division by zero");
    switch (op) {
    case OP_ADD: return *out = value_float(a + b), true;
    case OP_SUBTRACT: return *out = value_float(a - b), true;
    case OP_MULTIPLY: return *out = value_float(a * b), true;
    case OP_DIVIDE: return *out = value_float(a / b), true;
    case OP_MODULO: return *out = value_float(float_modulo(a, b)), true;
    case OP_FLOOR_DIVIDE: {
        double q = (a - float_modulo(a, b)) / b, f = floor(q);
        return *out = value_float(q - f > 0.5 ? f + 1 : f), true;
    }
    default: return float_power(r, a, b, out);
    }
}

static bool arithmetic(run *r, operator op, const value *a, const value *b, value *out) {
    bool wholes = is_whole(a) && is_whole(b);
    if (wholes && op == OP_POWER && whole_of(b) >= 0) return whole_power(r, whole_of(a), whole_of(b), out);
    if (wholes && op != OP_DIVIDE && op != OP_POWER)
        return whole_arithmetic(r, op, whole_of(a), whole_of(b), out);
    return float_arithmetic(r, op, number_of(a), number_of(b), out);
}

/* ---- all ---- */

static bool in_order(run *r, operator op, const value *a, const value *b, value *out) {
    int order = 0;
    bool unordered = false;
    if (is_number(a) && is_number(b))
        order = compare_numbers(a, b, &unordered);
    else if (!value_compare(r, a, b, &order))
        return false;
    bool holds = op == OP_LESS         ? order < 0
                 : op == OP_GREATER    ? order > 0
                 : op == OP_LESS_EQUAL ? order <= 0
                                       : order >= 0;
    return *out = value_boolean(holds && !unordered), true;
}

static bool multiply_sequence(run *r, const value *a, const value *b, value *out) {
    const value *sequence = is_whole(a) ? b : a, *times = is_whole(a) ? a : b;
    if (sequence->kind == STRING) return text_repeat(r, value_str(sequence), whole_of(times), out);
    return list_repeat(r, sequence->list, whole_of(times), sequence->kind, out);
}

static bool add_texts(run *r, const value *a, const value *b, value *out) {
    bool markup = a->markup || b->markup;
    value left = *a, right = *b;
    if (markup && (!escape_markup(r, a, &left) || !escape_markup(r, b, &right))) return false;
    if (!text_concat(r, value_str(&left), value_str(&right), out)) return false;
    return out->markup = markup, true;
}

bool apply_operator(run *r, operator op, const value *a, const value *b, value *out) {
    bool found, sequence_a = a->kind == STRING || is_list(a), sequence_b = b->kind == STRING || is_list(b);
    value left, right;
    switch (op) {
    case OP_EQUAL:
    case OP_UNEQUAL:
        if (!value_equal(r, a, b, &found)) return false;
        return *out = value_boolean(found == (op == OP_EQUAL)), true;
    case OP_IN:
    case OP_NOT_IN:
        if (!value_contains(r, b, a, &found)) return false;
        return *out = value_boolean(found == (op == OP_IN)), true;
    case OP_JOIN:
        return text_of_value(r, a, &left) && text_of_value(r, b, &right) &&
               text_concat(r, value_str(&left), value_str(&right), out);
    case OP_LESS:
    case OP_GREATER:
    case OP_LESS_EQUAL:
    case OP_GREATER_EQUAL: return in_order(r, op, a, b, out);
    default: break;
    }
    if (is_number(a) && is_number(b)) return arithmetic(r, op, a, b, out);
    if (op == OP_MODULO && a->kind == STRING) return format_percent(r, value_str(a), b, out);
    if (op == OP_ADD && a->kind == STRING && b->kind == STRING) return add_texts(r, a, b, out);
    if (op == OP_ADD && is_list(a) && a->kind == b->kind) return list_concat(r, a, b, out);
    if (op == OP_MULTIPLY && ((sequence_a && is_whole(b)) || (is_whole(a) && sequence_b)))
        return multiply_sequence(r, a, b, out);
    return bad_operands(r, op, a, b);
}

bool apply_sign(run *r, operator op, const value *v, value *out) {
    if (v->kind == UNDEFINED) return value_fail_undefined(r, v);
    if (!is_number(v)) return run_fail(r, "%s has no sign", value_kind_name(v));
    if (v->kind == FLOAT) return *out = value_float(op == OP_SUBTRACT ? -v->number : v->number), true;
    whole w = whole_of(v);
    if (op == OP_SUBTRACT && w == WHOLE_MIN) return too_large(r);
    return whole_value(r, op == OP_SUBTRACT ? -w : w, out);
}

/* ---- slices ---- */

static bool slice_bound(run *r, const value *v, int64_t n, bool down, int64_t otherwise, int64_t *out) {
    int64_t low = down ? -1 : 0, high = down ? n - 1 : n;
    if (v->kind == NONE) return *out = otherwise, true;
    if (!is_whole(v))
        return v->kind == UNDEFINED
                   ? value_fail_undefined(r, v)
                   : run_fail(r, "a slice goes from and to whole numbers, not %s", value_kind_name(v));
    whole w = whole_of(v);
    if (w < 0) w += n;
    *out = w < low ? low : w > high ? high : (int64_t)w;
    return true;
}

bool apply_slice(run *r, const value *v, const value parts[3], value *out) {
    int64_t from, to, step = 1;
    const list *l = v->kind == VIEW && v->view->kind == VIEW_RANGE ? v->view->list
                    : is_list(v)                                   ? v->list
                                                                   : NULL;
    if (v->kind == UNDEFINED) return value_fail_undefined(r, v);
    if (!l && v->kind != STRING) return run_fail(r, "%s cannot be sliced", value_kind_name(v));
    int64_t n = l ? (int64_t)l->n : (int64_t)text_characters(value_str(v));
    if (parts[2].kind != NONE && !value_index(r, "the step of a slice", &parts[2], &step)) return false;
    if (step == 0) return run_fail(r, "the step of a slice must not be zero");
    bool down = step < 0;
    if (!slice_bound(r, &parts[0], n, down, down ? n - 1 : 0, &from) ||
        !slice_bound(r, &parts[1], n, down, down ? -1 : n, &to))
        return false;
    if (!l) return text_slice(r, value_str(v), from, to, step, out);
    list_builder b = {.r = r};
    for (int64_t i = from; down ? i > to : i < to; i += step) {
        if (!list_add(&b, l->items[i])) return false;
        if (step > n || step < -n) break;
    }
    if (!list_end(&b, out)) return false;
    if (v->kind == TUPLE) out->kind = TUPLE;
    return true;
}
