/* Filters and tests. Which there are depends on what they are applied to, and on whether arguments are given:
 * `x | f` and `x | f()` are not the same to the reference. */
#include "text/template_internal.h"

#include <math.h>

static bool no_filter(run *r, str name, const value *v) {
    return run_fail(r, "no filter '%.*s' for %s", CLIPPED(name), value_kind_name(v));
}

/* ---- without arguments ---- */

static bool item_or_missing(const list *l, bool last, value *v) {
    *v = l->n ? l->items[last ? l->n - 1 : 0] : value_of(MISSING);
    return true;
}

static bool reverse(run *r, const list *l, value *v) {
    value *items;
    if (!list_new(r, l->n, v, &items)) return false;
    for (size_t i = 0; i < l->n; i++) items[i] = l->items[l->n - 1 - i];
    return true;
}

static bool filter_list(run *r, str name, value *v) {
    static const sort_order order = {0};
    const list *l = v->list;
    if (str_is(name, "list")) return true;
    if (str_is(name, "first") || str_is(name, "last")) return item_or_missing(l, str_is(name, "last"), v);
    if (str_is(name, "length")) return *v = value_integer((double)l->n), true;
    if (str_is(name, "reverse")) return reverse(r, l, v);
    if (str_is(name, "sort")) return list_sort(r, l, &order, v);
    if (str_is(name, "join")) return text_join_items(r, &(value){.kind = LIST, .list = l}, STR(""), v);
    if (str_is(name, "string")) return text_of_value(r, &(value){.kind = LIST, .list = l}, v);
    if (str_is(name, "unique")) return list_unique(r, l, v);
    return no_filter(r, name, v);
}

static bool parse_number(run *r, bool whole, value *v, value otherwise) {
    double d;
    if (!(whole ? number_parse_int(r, value_str(v), &d) : number_parse_float(r, value_str(v), &d))) return false;
    *v = isnan(d) ? otherwise : whole ? value_integer(d) : value_float(d);
    return true;
}

static bool filter_text(run *r, str name, value *v) {
    str s = value_str(v);
    if (str_is(name, "trim")) {
        *v = value_string(text_trim(s, true, true));
        return run_spend_bytes(r, s.len - v->bytes);
    }
    if (str_is(name, "string") || str_is(name, "join")) return true;
    if (str_is(name, "upper") || str_is(name, "lower")) return text_change_case(r, s, str_is(name, "upper"), v);
    if (str_is(name, "title")) return text_title(r, s, v);
    if (str_is(name, "capitalize")) return text_capitalize(r, s, v);
    if (str_is(name, "indent")) return text_indent(r, s, 4, false, false, v);
    if (str_is(name, "int")) return parse_number(r, true, v, value_integer(0));
    if (str_is(name, "float")) return parse_number(r, false, v, value_float(0));
    if (!str_is(name, "length")) return no_filter(r, name, v);
    *v = value_integer((double)text_units(s));
    return run_spend_bytes(r, s.len);
}

static bool filter_number(run *r, str name, value *v) {
    if (str_is(name, "abs")) return v->number = fabs(v->number), true;
    if (str_is(name, "int")) return *v = value_integer(floor(v->number)), true;
    if (str_is(name, "float")) return *v = value_float(v->number), true;
    if (str_is(name, "string")) return text_of_value(r, &(value){.kind = v->kind, .number = v->number}, v);
    return no_filter(r, name, v);
}

static bool filter_boolean(run *r, str name, value *v) {
    if (str_is(name, "bool")) return true;
    if (str_is(name, "int")) return *v = value_integer(v->boolean), true;
    if (str_is(name, "float")) return *v = value_float(v->boolean), true;
    if (str_is(name, "string")) return *v = value_string(v->boolean ? STR("true") : STR("false")), true;
    return no_filter(r, name, v);
}

static bool filter_mapping(run *r, str name, arguments args, value *v) {
    value found;
    if (!method_find(r, v, name, &found)) return false;
    return found.kind == FUNCTION ? method_call(r, found.function, args, v) : no_filter(r, name, v);
}

static const json_style plain_json = {.undefined_is_null = true};

static bool filter_by_name(run *r, str name, value *v) {
    value operand = *v;
    if (str_is(name, "safe")) return true;
    if (str_is(name, "tojson")) return json_of_value(r, &operand, &plain_json, v);
    if (is_list(v)) return filter_list(r, name, v);
    if (v->kind == STRING) return filter_text(r, name, v);
    if (is_number(v)) return filter_number(r, name, v);
    if (v->kind == BOOLEAN) return filter_boolean(r, name, v);
    if (!is_mapping(v)) return no_filter(r, name, v);
    if (str_is(name, "length")) return *v = value_integer(v->mapping->n), true;
    return filter_mapping(r, name, (arguments){0}, v);
}

/* ---- with arguments ---- */

typedef struct call {
    run *r;
    str name;
    arguments args;
    const mapping *keywords;
} call;

static value argument(const call *c, size_t i, const char *name, value otherwise) {
    if (i < c->args.n && c->args.items[i].kind != MISSING) return c->args.items[i];
    value *named = mapping_get(c->r, c->keywords, str_of(name));
    return named && named->kind != MISSING ? *named : otherwise;
}
enum { BY_NAME_ONLY = 1000 };

static bool wrong(const call *c, const char *name, const char *wanted, const value *v) {
    return run_fail(c->r, "%.*s: %s must be %s, not %s", CLIPPED(c->name), name, wanted, value_kind_name(v));
}

static bool flag(const call *c, size_t i, const char *name, bool *out) {
    value v = argument(c, i, name, value_boolean(false));
    if (v.kind != BOOLEAN) return wrong(c, name, "a boolean", &v);
    return *out = v.boolean, true;
}

static bool call_tojson(const call *c, value *v) {
    json_style style = plain_json;
    value operand = *v, indent = argument(c, BY_NAME_ONLY, "indent", value_of(NONE));
    value separators = argument(c, BY_NAME_ONLY, "separators", value_of(NONE));
    if (indent.kind != INTEGER && indent.kind != NONE) return wrong(c, "indent", "a whole number", &indent);
    if (!flag(c, BY_NAME_ONLY, "ensure_ascii", &style.ensure_ascii) ||
        !flag(c, BY_NAME_ONLY, "sort_keys", &style.sort_keys))
        return false;
    style.indent = indent.kind == INTEGER ? indent.number : 0;
    if (separators.kind != NONE) {
        const value *two = is_list(&separators) && separators.list->n == 2 ? separators.list->items : NULL;
        if (!two || two[0].kind != STRING || two[1].kind != STRING)
            return wrong(c, "separators", "two texts", &separators);
        style.custom = true;
        style.item_separator = value_str(&two[0]);
        style.key_separator = value_str(&two[1]);
    }
    return json_of_value(c->r, &operand, &style, v);
}

static bool call_join(const call *c, value *v) {
    value operand = *v, separator = argument(c, 0, "separator", value_string(STR("")));
    if (operand.kind != STRING && !is_list(&operand)) return no_filter(c->r, c->name, v);
    if (separator.kind != STRING) return wrong(c, "the separator", "a text", &separator);
    return text_join_items(c->r, &operand, value_str(&separator), v);
}

static bool call_number(const call *c, value *v) {
    bool whole = str_is(c->name, "int");
    value otherwise = argument(c, 0, "default", whole ? value_integer(0) : value_float(0));
    if (v->kind == STRING) return parse_number(c->r, whole, v, otherwise);
    if (v->kind == BOOLEAN) return *v = whole ? value_integer(v->boolean) : value_float(v->boolean), true;
    return is_number(v) || no_filter(c->r, c->name, v);
}

static bool call_default(const call *c, value *v) {
    value otherwise = c->args.n && c->args.items[0].kind != MISSING ? c->args.items[0] : value_string(STR(""));
    bool also_false, truth = true;
    if (!flag(c, 1, "boolean", &also_false)) return false;
    if (also_false && v->kind != UNDEFINED && !value_truth(c->r, v, &truth)) return false;
    if (v->kind == UNDEFINED || !truth) *v = otherwise;
    return true;
}

static bool call_sort(const call *c, value *v) {
    sort_order order = {0};
    value attribute = argument(c, 2, "attribute", value_of(NONE)), path;
    if (!flag(c, 0, "reverse", &order.reverse) || !flag(c, 1, "case_sensitive", &order.with_case)) return false;
    if (attribute.kind != STRING && attribute.kind != INTEGER && attribute.kind != NONE)
        return wrong(c, "attribute", "a text or a whole number", &attribute);
    if (attribute.kind != NONE) {
        if (!text_of_value(c->r, &attribute, &path)) return false;
        order.by_path = true;
        order.path = value_str(&path);
    }
    return list_sort(c->r, v->list, &order, v);
}

static bool call_map(const call *c, value *v) {
    value *attribute = mapping_get(c->r, c->keywords, STR("attribute")), *items;
    value *otherwise = mapping_get(c->r, c->keywords, STR("default"));
    const list *l = v->list;
    if (!attribute) return run_fail(c->r, "map wants attribute='…'");
    if (attribute->kind != STRING) return wrong(c, "attribute", "a text", attribute);
    if (!list_new(c->r, l->n, v, &items)) return false;
    for (size_t i = 0; i < l->n; i++) {
        if (!has_attributes(&l->items[i])) return wrong(c, "each item", "a mapping", &l->items[i]);
        if (!run_spend(c->r, 1)) return false;
        items[i] = value_attribute(c->r, &l->items[i], value_str(attribute));
        if (items[i].kind == UNDEFINED && otherwise) items[i] = *otherwise;
    }
    return true;
}

/* selectattr and rejectattr: their arguments are literals. */
static bool call_select(const call *c, const node *filter, value *v) {
    bool select = str_is(c->name, "selectattr"), passed, tests = filter->body.n > 1, compares = filter->body.n > 2;
    const nodes *args = &filter->body;
    const list *l = v->list;
    value *items, other = {0};
    size_t n = 0;
    for (size_t i = 0; i < l->n; i++)
        if (!has_attributes(&l->items[i])) return wrong(c, "each item", "a mapping", &l->items[i]);
    for (uint32_t i = 0; i < args->n; i++)
        if (args->at[i]->kind != NODE_STRING) return run_fail(c->r, "the arguments must be texts in quotes");
    if (l->n && !args->n) return run_fail(c->r, "the name of an attribute is missing");
    str test_name = tests ? args->at[1]->text : STR("");
    if (compares) other = value_string(args->at[2]->text);
    if (!list_new(c->r, l->n, v, &items)) return false;
    if (tests && !eval_test(c->r, test_name, NULL, NULL, &passed)) return false; /* is there such a test? */
    for (size_t i = 0; i < l->n; i++) {
        value *attribute = mapping_get(c->r, l->items[i].mapping, args->at[0]->text);
        passed = attribute && attribute->kind != MISSING;
        if (!run_spend(c->r, 1)) return false;
        if (passed && !(tests ? eval_test(c->r, test_name, attribute, compares ? &other : NULL, &passed)
                              : value_truth(c->r, attribute, &passed)))
            return false;
        if (passed == select) items[n++] = l->items[i];
    }
    ((list *)(uintptr_t)v->list)->n = n;
    return true;
}

static bool call_indent(const call *c, value *v) {
    value width = argument(c, 0, "width", value_integer(4)), no = value_boolean(false);
    value first = argument(c, 1, "first", no), blank = argument(c, 2, "blank", no);
    if (width.kind != INTEGER) return wrong(c, "width", "a whole number", &width);
    return text_indent(c->r, value_str(v), width.number, value_raw_truth(&first), value_raw_truth(&blank), v);
}

/* As the method, which finds its keywords in a last argument. */
static bool call_as_method(const call *c, bool always_keywords, value *v) {
    arguments args = c->args;
    value self = *v, found, *items;
    if (!method_find(c->r, &self, c->name, &found)) return false;
    if (found.kind != FUNCTION) return no_filter(c->r, c->name, v);
    if (c->keywords->n || always_keywords) {
        if (!run_take_items(c->r, args.n + 1, &items)) return false;
        if (args.n) memcpy(items, args.items, args.n * sizeof *items);
        items[args.n] = (value){.kind = KEYWORDS, .mapping = (mapping *)(uintptr_t)c->keywords};
        args = (arguments){items, args.n + 1};
    }
    return method_call(c->r, found.function, args, v);
}

static bool filter_by_call(run *r, const node *filter, scope *s, value *v) {
    static const struct {
        const char *name;
        bool (*apply)(const call *c, value *v);
        bool any, list, text; /* what it is for */
    } filters[] = {
        {"tojson", call_tojson, true, false, false}, {"join", call_join, true, false, false},
        {"int", call_number, true, false, false}, {"float", call_number, true, false, false},
        {"default", call_default, true, false, false}, {"sort", call_sort, false, true, false},
        {"map", call_map, false, true, false}, {"indent", call_indent, false, false, true},
    };
    call c = {.r = r, .name = filter->a->text};
    mapping *keywords;
    bool selects = str_is(c.name, "selectattr") || str_is(c.name, "rejectattr"), is_text = v->kind == STRING;
    if (selects && is_list(v)) return call_select(&c, filter, v);
    if (!eval_keywords(r, &filter->body, s, &c.args, &keywords)) return false;
    c.keywords = keywords;
    r->at = filter;
    for (size_t i = 0; i < sizeof filters / sizeof *filters; i++) {
        bool fits = filters[i].any || (filters[i].list && is_list(v)) || (filters[i].text && is_text);
        if (fits && str_is(c.name, filters[i].name)) return filters[i].apply(&c, v);
    }
    if (is_mapping(v)) return call_as_method(&c, false, v);
    if (is_text && str_is(c.name, "replace")) return call_as_method(&c, true, v);
    return no_filter(r, c.name, v);
}

bool eval_filter(run *r, const node *filter, scope *s, value *operand_and_result) {
    r->at = filter;
    if (filter->kind == NODE_NAME) return filter_by_name(r, filter->text, operand_and_result);
    if (filter->kind == NODE_CALL && filter->a->kind == NODE_NAME)
        return filter_by_call(r, filter, s, operand_and_result);
    return run_fail(r, "this is no filter");
}

/* ---- tests ---- */

static bool same_case(run *r, const value *v, bool upper, bool *out) {
    value changed;
    *out = false;
    if (v->kind != STRING) return true;
    if (!text_change_case(r, value_str(v), upper, &changed)) return false;
    return *out = value_same(v, &changed), true;
}

typedef enum test {
    TEST_BOOLEAN, TEST_CALLABLE, TEST_ODD, TEST_EVEN, TEST_FALSE, TEST_TRUE, TEST_NONE, TEST_STRING, TEST_NUMBER,
    TEST_INTEGER, TEST_ITERABLE, TEST_MAPPING, TEST_SEQUENCE, TEST_LOWER, TEST_UPPER, TEST_DEFINED, TEST_UNDEFINED,
    TEST_EQUALTO, TEST_EQ, TESTS,
} test;

static test find_test(str name) {
    static const char *const names[] = {"boolean", "callable", "odd", "even", "false", "true", "none", "string",
                                        "number", "integer", "iterable", "mapping", "sequence", "lower", "upper",
                                        "defined", "undefined", "equalto", "eq"};
    for (int i = 0; i < TESTS; i++)
        if (str_is(name, names[i])) return (test)i;
    return TESTS;
}

/* operand NULL: only whether there is such a test. */
bool eval_test(run *r, str name, const value *operand, const value *other, bool *out) {
    test t = find_test(name);
    if (t == TESTS) return run_fail(r, "no test '%.*s'", CLIPPED(name));
    if (!operand) return true;
    const value *v = operand;
    if (v->kind == MISSING) return run_fail(r, "nothing is there to be tested");
    switch (t) {
    case TEST_BOOLEAN: *out = v->kind == BOOLEAN; break;
    case TEST_CALLABLE: *out = v->kind == FUNCTION; break;
    case TEST_ODD:
    case TEST_EVEN:
        if (v->kind != INTEGER) return run_fail(r, "only an integer is odd or even, not %s", value_kind_name(v));
        *out = (fmod(v->number, 2) == 0) == (t == TEST_EVEN);
        break;
    case TEST_FALSE:
    case TEST_TRUE: *out = v->kind == BOOLEAN && v->boolean == (t == TEST_TRUE); break;
    case TEST_NONE: *out = v->kind == NONE; break;
    case TEST_STRING: *out = v->kind == STRING; break;
    case TEST_NUMBER: *out = is_number(v); break;
    case TEST_INTEGER: *out = v->kind == INTEGER; break;
    case TEST_ITERABLE: *out = v->kind == LIST || v->kind == STRING; break;
    case TEST_MAPPING: *out = is_mapping(v); break;
    case TEST_SEQUENCE: *out = is_list(v) || is_mapping(v) || v->kind == STRING; break;
    case TEST_LOWER:
    case TEST_UPPER: return same_case(r, v, t == TEST_UPPER, out);
    case TEST_DEFINED: *out = v->kind != UNDEFINED; break;
    case TEST_UNDEFINED: *out = v->kind == UNDEFINED; break;
    default:
        if (!other) return run_fail(r, "this test wants something to compare with");
        *out = value_same(v, other);
    }
    return true;
}
