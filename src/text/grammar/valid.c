/* Whether a value that a schema names satisfies what else it says: a validator over the schema's own text. */
#include "text/grammar/schema.h"

enum { REFERENCES_MAX = 32, VALUES_A_STEP = 16 /* that are compared */ };

static bool is_number(const schema_node *n) { return n->kind == JSON_INT || n->kind == JSON_DOUBLE; }

bool schema_equal(const schema *s, uint32_t a, uint32_t b) {
    const schema_node *x = &s->nodes[a], *y = &s->nodes[b];
    if (is_number(x) && is_number(y)) return grammar_number_compare(x->text, y->text) == 0;
    if (x->kind != y->kind || x->n != y->n || x->boolean != y->boolean) return false;
    if (x->kind == JSON_STRING) return str_eq(x->text, y->text);
    if (x->kind == JSON_OBJECT_START) {
        for (uint32_t i = x->child; i; i = s->nodes[i].next) {
            uint32_t other = schema_member_str(s, b, s->nodes[i].key);
            if (!other || !schema_equal(s, i, other)) return false;
        }
        return true;
    }
    for (uint32_t i = x->child, j = y->child; i; i = s->nodes[i].next, j = s->nodes[j].next)
        if (!schema_equal(s, i, j)) return false;
    return true;
}

unsigned schema_type_of_value(const schema *s, uint32_t value) {
    const schema_node *n = &s->nodes[value];
    switch (n->kind) {
    case JSON_NULL: return TYPE_NULL;
    case JSON_BOOL: return TYPE_BOOLEAN;
    case JSON_STRING: return TYPE_STRING;
    case JSON_ARRAY_START: return TYPE_ARRAY;
    case JSON_OBJECT_START: return TYPE_OBJECT;
    case JSON_INT: return TYPE_INTEGER | TYPE_NUMBER;
    default: return grammar_number_is_whole(n->text) ? TYPE_INTEGER | TYPE_NUMBER : TYPE_NUMBER;
    }
}

static bool accepts(schema *s, uint32_t node, uint32_t value, int depth) {
    return schema_accepts(s, (schema_part){.node = node}, value, depth + 1);
}

static bool within(schema *s, uint32_t node, const char *least, const char *most, uint32_t count) {
    uint32_t n;
    return !(schema_count(s, node, least, &n) && count < n) &&
           !(schema_count(s, node, most, &n) && count > n);
}

static bool number_fits(schema *s, uint32_t node, str v) {
    static const struct {
        const char *keyword, *strict;
        int side;
    } bounds[] = {{"minimum", "exclusiveMinimum", 1}, {"maximum", "exclusiveMaximum", -1}};
    for (int i = 0; i < 2; i++) {
        uint32_t at = schema_member(s, node, bounds[i].keyword),
                 strict = schema_member(s, node, bounds[i].strict);
        bool flag = strict && s->nodes[strict].kind == JSON_BOOL, open = flag && s->nodes[strict].boolean;
        int order = at ? grammar_number_compare(v, s->nodes[at].text) * bounds[i].side : 1;
        if (order < 0 || (order == 0 && open)) return false;
        if (strict && !flag && grammar_number_compare(v, s->nodes[strict].text) * bounds[i].side <= 0)
            return false;
    }
    uint32_t multiple = schema_member(s, node, "multipleOf");
    return !multiple || grammar_number_is_multiple(v, s->nodes[multiple].text);
}

bool schema_finds(schema *s, uint32_t node, str pattern, str in) {
    expression e = schema_words(s, node, pattern, false, false);
    return !s->b->failed && language_has(&s->words, e, in);
}

static bool string_fits(schema *s, uint32_t node, str v) {
    uint32_t characters = 0, pattern = schema_member(s, node, "pattern");
    for (size_t i = 0; i < v.len; i++) characters += (v.data[i] & 0xC0) != 0x80;
    return within(s, node, "minLength", "maxLength", characters) &&
           (!pattern || schema_finds(s, pattern, s->nodes[pattern].text, v));
}

static bool array_fits(schema *s, uint32_t node, uint32_t value, int depth) {
    uint32_t first = schema_member(s, node, "prefixItems"), items = schema_member(s, node, "items"),
             more = items, contains = schema_member(s, node, "contains"),
             unique = schema_member(s, node, "uniqueItems");
    bool found = !contains;
    if (!first && s->nodes[items].kind == JSON_ARRAY_START)
        first = items, more = schema_member(s, node, "additionalItems");
    uint32_t at = s->nodes[first].child;
    for (uint32_t v = s->nodes[value].child; v && grammar_step(s->b); v = s->nodes[v].next) {
        uint32_t own = first && at ? at : more;
        if (own && !accepts(s, own, v, depth)) return false;
        found = found || accepts(s, contains, v, depth);
        for (uint32_t o = s->nodes[v].next; unique && s->nodes[unique].boolean && o; o = s->nodes[o].next)
            if (schema_equal(s, v, o)) return false;
        at = at ? s->nodes[at].next : 0;
    }
    return found && within(s, node, "minItems", "maxItems", s->nodes[value].n);
}

static bool member_fits(schema *s, uint32_t node, uint32_t v, int depth) {
    str name = s->nodes[v].key;
    uint32_t own = schema_member_str(s, schema_member(s, node, "properties"), name),
             patterns = schema_member(s, node, "patternProperties"),
             more = schema_member(s, node, "additionalProperties"),
             names = schema_member(s, node, "propertyNames");
    bool known = own != 0;
    if (own && !accepts(s, own, v, depth)) return false;
    for (uint32_t p = s->nodes[patterns].child; p; p = s->nodes[p].next) {
        if (!schema_finds(s, p, s->nodes[p].key, name)) continue;
        known = true;
        if (!accepts(s, p, v, depth)) return false;
    }
    if (names) {
        uint32_t key = schema_make(s, node, JSON_STRING);
        if (!key) return false;
        s->nodes[key].text = name;
        if (!accepts(s, names, key, depth)) return false;
    }
    return known || !more || accepts(s, more, v, depth);
}

static bool dependencies_fit(schema *s, uint32_t node, uint32_t value, int depth) {
    static const char *const keywords[] = {"dependencies", "dependentRequired", "dependentSchemas"};
    for (int k = 0; k < 3; k++) {
        uint32_t map = schema_member(s, node, keywords[k]);
        for (uint32_t i = s->nodes[map].child; i; i = s->nodes[i].next) {
            if (!schema_member_str(s, value, s->nodes[i].key)) continue;
            bool list = s->nodes[i].kind == JSON_ARRAY_START;
            for (uint32_t c = list ? s->nodes[i].child : 0; c; c = s->nodes[c].next)
                if (!schema_member_str(s, value, s->nodes[c].text)) return false;
            if (!list && !accepts(s, i, value, depth)) return false;
        }
    }
    return true;
}

static bool object_fits(schema *s, uint32_t node, uint32_t value, int depth) {
    uint32_t required = schema_member(s, node, "required");
    for (uint32_t i = s->nodes[required].child; i; i = s->nodes[i].next)
        if (!schema_member_str(s, value, s->nodes[i].text)) return false;
    for (uint32_t v = s->nodes[value].child; v && grammar_step(s->b); v = s->nodes[v].next)
        if (!member_fits(s, node, v, depth)) return false;
    return within(s, node, "minProperties", "maxProperties", s->nodes[value].n) &&
           dependencies_fit(s, node, value, depth);
}

/* How many of a list the value satisfies, from `least` to `most`. */
static bool branches_fit(schema *s, uint32_t list, uint32_t value, uint32_t least, uint32_t most, int depth) {
    uint32_t n = 0;
    for (uint32_t c = s->nodes[list].child; c && !s->b->failed; c = s->nodes[c].next)
        n += accepts(s, c, value, depth);
    return n >= least && n <= most;
}

static bool combinations_fit(schema *s, const schema_part *part, uint32_t value, int depth) {
    uint32_t node = part->node, all = schema_member(s, node, "allOf"), ref = schema_member(s, node, "$ref"),
             any = part->any_done ? 0 : schema_member(s, node, "anyOf"),
             one = part->one_done ? 0 : schema_member(s, node, "oneOf"), no = schema_member(s, node, "not"),
             condition = schema_member(s, node, "if");
    if (ref) {
        uint32_t target = schema_pointer(s, node, s->nodes[ref].text);
        if (!target || !accepts(s, target, value, depth)) return false;
    }
    if (condition) {
        uint32_t then = schema_member(s, node, accepts(s, condition, value, depth) ? "then" : "else");
        if (then && !accepts(s, then, value, depth)) return false;
    }
    return (!any || branches_fit(s, any, value, 1, UINT32_MAX, depth)) &&
           (!one || branches_fit(s, one, value, 1, 1, depth)) && (!no || !accepts(s, no, value, depth)) &&
           (!all || branches_fit(s, all, value, s->nodes[all].n, UINT32_MAX, depth));
}

bool schema_accepts(schema *s, schema_part part, uint32_t value, int depth) {
    uint32_t node = part.node;
    if (!grammar_step(s->b) || !schema_check(s, node)) return false;
    if (depth > REFERENCES_MAX)
        return schema_fail(s, node, "references go too deep beside 'enum' or 'const'");
    if (s->nodes[node].kind == JSON_BOOL) return s->nodes[node].boolean;
    unsigned type = schema_type_of_value(s, value);
    uint32_t one = schema_member(s, node, "const"), list = schema_member(s, node, "enum");
    if (!(type & schema_types(s, node)) || (one && !schema_equal(s, one, value))) return false;
    bool listed = !list || s->nodes[value].parent == list; /* mostly it is of this very list */
    if (!listed) s->b->steps += s->nodes[list].n / VALUES_A_STEP;
    for (uint32_t c = s->nodes[list].child; c && list && !listed; c = s->nodes[c].next)
        listed = schema_equal(s, c, value);
    if (!listed || !combinations_fit(s, &part, value, depth)) return false;
    switch (type) {
    case TYPE_STRING: return string_fits(s, node, s->nodes[value].text);
    case TYPE_ARRAY: return array_fits(s, node, value, depth);
    case TYPE_OBJECT: return object_fits(s, node, value, depth);
    default: return !(type & TYPE_NUMBER) || number_fits(s, node, s->nodes[value].text);
    }
}
