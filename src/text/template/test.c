/* Tests: x is … */
#include "text/template/internal.h"
#include "text/unicode/unicode.h"

#define SAYS(name, condition)                                                                                \
    static bool name(run *r, const value *v, const value *args, value *out) {                                \
        (void)r;                                                                                             \
        (void)v;                                                                                             \
        (void)args;                                                                                          \
        return *out = value_boolean(condition), true;                                                        \
    }

static bool iterable(const value *v) {
    return v->kind == UNDEFINED || v->kind == STRING || (v->kind >= LIST && v->kind <= GENERATOR) ||
           v->kind == LOOP;
}

SAYS(is_defined, v->kind != UNDEFINED)
SAYS(is_undefined, v->kind == UNDEFINED)
SAYS(is_none, v->kind == NONE)
SAYS(is_boolean, v->kind == BOOLEAN)
SAYS(is_true, v->kind == BOOLEAN && v->boolean)
SAYS(is_false, v->kind == BOOLEAN && !v->boolean)
SAYS(is_integer, v->kind == INTEGER || v->kind == BIG)
SAYS(is_float, v->kind == FLOAT)
SAYS(is_a_number, is_number(v))
SAYS(is_string, v->kind == STRING)
SAYS(is_mapping, v->kind == MAPPING)
SAYS(is_iterable, iterable(v))
SAYS(is_sequence, v->kind == UNDEFINED || v->kind == STRING || is_list(v) || v->kind == MAPPING ||
                      (v->kind == VIEW && v->view->kind == VIEW_RANGE))
SAYS(is_callable, v->kind == FUNCTION || v->kind == UNDEFINED || v->kind == LOOP || v->kind == JOINER)
SAYS(is_escaped, v->kind == STRING && v->markup)
SAYS(is_filter, v->kind == STRING && filter_find(value_str(v)) != NULL)
SAYS(is_test, v->kind == STRING && test_find(value_str(v)) != NULL)

static bool remainder_of(run *r, const value *v, const value *by, value *out) {
    value rest;
    if (!apply_operator(r, OP_MODULO, v, by, &rest)) return false;
    if (!is_number(&rest)) return run_fail(r, "this test is for numbers, not %s", value_kind_name(v));
    return *out = rest, true;
}

static bool remains(run *r, const value *v, const value *by, int64_t wanted, value *out) {
    value rest, number = value_integer(wanted);
    bool same;
    if (!remainder_of(r, v, by, &rest) || !value_equal(r, &rest, &number, &same)) return false;
    return *out = value_boolean(same), true;
}

static bool is_odd(run *r, const value *v, const value *args, value *out) {
    value two = value_integer(2);
    (void)args;
    return remains(r, v, &two, 1, out);
}

static bool is_even(run *r, const value *v, const value *args, value *out) {
    value two = value_integer(2);
    (void)args;
    return remains(r, v, &two, 0, out);
}

static bool is_divisible(run *r, const value *v, const value *args, value *out) {
    return remains(r, v, &args[0], 0, out);
}

static bool same_case(run *r, const value *v, bool upper, value *out) {
    value text;
    uint32_t cp;
    bool some = false, all = true;
    if (!text_of_value(r, v, &text)) return false;
    for (size_t at = 0; at < text.bytes;) {
        at += (size_t)text_decode(value_str(&text), at, &cp);
        some |= upper ? unicode_is_upper(cp) : unicode_is_lower(cp);
        all &= !(upper ? unicode_is_lower(cp) : unicode_is_upper(cp));
    }
    return *out = value_boolean(some && all), run_spend_bytes(r, 8 * text.bytes);
}

static bool is_lower(run *r, const value *v, const value *args, value *out) {
    (void)args;
    return same_case(r, v, false, out);
}

static bool is_upper(run *r, const value *v, const value *args, value *out) {
    (void)args;
    return same_case(r, v, true, out);
}

static bool is_same(run *r, const value *v, const value *args, value *out) {
    bool same = false;
    if (v->kind == args[0].kind) {
        bool plain = v->kind <= STRING;
        if (plain && !value_equal(r, v, &args[0], &same)) return false;
        if (!plain) same = v->mapping == args[0].mapping;
    }
    return *out = value_boolean(same), true;
}

#define COMPARES(name, op)                                                                                   \
    static bool name(run *r, const value *v, const value *args, value *out) {                                \
        return apply_operator(r, op, v, &args[0], out);                                                      \
    }
COMPARES(is_in, OP_IN)
COMPARES(is_equal, OP_EQUAL)
COMPARES(is_unequal, OP_UNEQUAL)
COMPARES(is_less, OP_LESS)
COMPARES(is_less_equal, OP_LESS_EQUAL)
COMPARES(is_greater, OP_GREATER)
COMPARES(is_greater_equal, OP_GREATER_EQUAL)

static const builtin tests[] = {
    {"boolean", "", is_boolean, NULL},
    {"callable", "", is_callable, NULL},
    {"defined", "", is_defined, NULL},
    {"divisibleby", "num", is_divisible, NULL},
    {"escaped", "", is_escaped, NULL},
    {"even", "", is_even, NULL},
    {"false", "", is_false, NULL},
    {"filter", "", is_filter, NULL},
    {"float", "", is_float, NULL},
    {"in", "seq", is_in, NULL},
    {"integer", "", is_integer, NULL},
    {"iterable", "", is_iterable, NULL},
    {"lower", "", is_lower, NULL},
    {"mapping", "", is_mapping, NULL},
    {"none", "", is_none, NULL},
    {"number", "", is_a_number, NULL},
    {"odd", "", is_odd, NULL},
    {"sameas", "other", is_same, NULL},
    {"sequence", "", is_sequence, NULL},
    {"string", "", is_string, NULL},
    {"test", "", is_test, NULL},
    {"true", "", is_true, NULL},
    {"undefined", "", is_undefined, NULL},
    {"upper", "", is_upper, NULL},
    {"==", "/b", is_equal, NULL},
    {"eq", "/b", is_equal, NULL},
    {"equalto", "/b", is_equal, NULL},
    {"!=", "/b", is_unequal, NULL},
    {"ne", "/b", is_unequal, NULL},
    {">", "/b", is_greater, NULL},
    {"gt", "/b", is_greater, NULL},
    {"greaterthan", "/b", is_greater, NULL},
    {"ge", "/b", is_greater_equal, NULL},
    {">=", "/b", is_greater_equal, NULL},
    {"<", "/b", is_less, NULL},
    {"lt", "/b", is_less, NULL},
    {"lessthan", "/b", is_less, NULL},
    {"<=", "/b", is_less_equal, NULL},
    {"le", "/b", is_less_equal, NULL},
};

const builtin *test_find(str name) { return builtin_find(tests, sizeof tests / sizeof *tests, name); }
