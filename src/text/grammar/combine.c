/* Combinations of schemas said in simpler ones: not, if, dependencies, and a oneOf whose branches overlap.
 *
 * What is made allows no more than what was written. Of `not` that is what surely breaks one of its keywords.
 */
#include "text/grammar/schema.h"

enum { NEGATION_DEPTH_MAX = 12 };

static const struct {
    const char *name;
    unsigned type;
} type_names[] = {
    {"null", TYPE_NULL},     {"boolean", TYPE_BOOLEAN}, {"integer", TYPE_INTEGER}, {"number", TYPE_NUMBER},
    {"string", TYPE_STRING}, {"array", TYPE_ARRAY},     {"object", TYPE_OBJECT},
};

uint32_t schema_of_types(schema *s, uint32_t of, unsigned types) {
    uint32_t node = schema_make(s, of, JSON_OBJECT_START), list = schema_make(s, of, JSON_ARRAY_START);
    for (size_t i = 0; i < sizeof type_names / sizeof *type_names; i++)
        if (types & type_names[i].type) schema_put_text(s, list, "", str_of(type_names[i].name));
    schema_put(s, node, "type", list);
    return node;
}

static bool never(const schema *s, uint32_t node) {
    return s->nodes[node].kind == JSON_BOOL && !s->nodes[node].boolean;
}

/* ---- not ---- */

typedef struct negation {
    schema *s;
    uint32_t node;
    uint32_t ways; /* a list, of which one must hold */
    bool left_out; /* a keyword whose opposite is not known */
    int depth;
} negation;

static uint32_t negate(schema *s, uint32_t node, int depth);

static void add_way(negation *n, uint32_t way) {
    if (way && !never(n->s, way)) schema_put(n->s, n->ways, "", way);
}

static void negate_types(negation *n) {
    unsigned types = schema_types(n->s, n->node), rest = TYPE_ALL & ~types;
    if (types & (TYPE_NUMBER | TYPE_INTEGER)) rest &= ~(unsigned)(TYPE_NUMBER | TYPE_INTEGER);
    if (rest) add_way(n, schema_of_types(n->s, n->node, rest));
    if ((types & (TYPE_NUMBER | TYPE_INTEGER)) != TYPE_INTEGER) return;
    uint32_t whole = schema_make(n->s, n->node, JSON_OBJECT_START), /* numbers that are no integer */
        way = schema_of_types(n->s, n->node, TYPE_NUMBER);
    schema_put_integer(n->s, whole, "multipleOf", 1);
    schema_put(n->s, way, "not", whole);
    add_way(n, way);
}

/* Of enum, const, pattern, multipleOf: kept as they are. */
static void negate_leaf(negation *n, const char *keyword, uint32_t value) {
    schema *s = n->s;
    uint32_t leaf = schema_make(s, n->node, JSON_OBJECT_START), way;
    schema_put_str(s, leaf, s->nodes[value].key, value);
    way = !strcmp(keyword, "pattern")      ? schema_of_types(s, n->node, TYPE_STRING)
          : !strcmp(keyword, "multipleOf") ? schema_of_types(s, n->node, TYPE_NUMBER)
                                           : schema_make(s, n->node, JSON_OBJECT_START);
    schema_put(s, way, "not", leaf);
    add_way(n, way);
}

static void negate_required(negation *n, uint32_t list) {
    schema *s = n->s;
    for (uint32_t i = s->nodes[list].child; i && !s->b->failed; i = s->nodes[i].next) {
        uint32_t way = schema_of_types(s, n->node, TYPE_OBJECT), map = schema_make(s, n->node, JSON_OBJECT_START);
        schema_put_str(s, map, s->nodes[i].text, schema_make_bool(s, n->node, false));
        schema_put(s, way, "properties", map);
        add_way(n, way);
    }
}

static void negate_properties(negation *n, uint32_t map) {
    schema *s = n->s;
    for (uint32_t i = s->nodes[map].child; i && !s->b->failed; i = s->nodes[i].next) {
        uint32_t no = negate(s, i, n->depth + 1);
        if (!no || never(s, no)) continue;
        uint32_t way = schema_of_types(s, n->node, TYPE_OBJECT), list = schema_make(s, n->node, JSON_ARRAY_START),
                 own = schema_make(s, n->node, JSON_OBJECT_START);
        schema_put_text(s, list, "", s->nodes[i].key);
        schema_put(s, way, "required", list);
        schema_put_str(s, own, s->nodes[i].key, no);
        schema_put(s, way, "properties", own);
        add_way(n, way);
    }
}

static void negate_count(negation *n, const char *keyword, uint32_t value) {
    static const struct {
        const char *least, *most;
        unsigned type;
    } pairs[] = {
        {"minLength", "maxLength", TYPE_STRING},
        {"minItems", "maxItems", TYPE_ARRAY},
        {"minProperties", "maxProperties", TYPE_OBJECT},
    };
    for (size_t i = 0; i < 3; i++) {
        bool least = !strcmp(keyword, pairs[i].least), most = !strcmp(keyword, pairs[i].most);
        uint32_t count = 0, way;
        if ((!least && !most) || !schema_count(n->s, n->node, keyword, &count) || (least && !count)) continue;
        way = schema_of_types(n->s, n->node, pairs[i].type);
        schema_put_integer(n->s, way, least ? pairs[i].most : pairs[i].least, least ? count - 1 : count + 1);
        add_way(n, way);
    }
    (void)value;
}

static void negate_bound(negation *n, const char *keyword, uint32_t value) {
    schema *s = n->s;
    bool low = strstr(keyword, "inimum"), open = keyword[0] == 'e';
    uint32_t strict = schema_member(s, n->node, low ? "exclusiveMinimum" : "exclusiveMaximum");
    if (s->nodes[value].kind == JSON_BOOL) return; /* draft 4: said with the bound */
    if (!open && strict && s->nodes[strict].kind == JSON_BOOL) open = s->nodes[strict].boolean;
    uint32_t way = schema_of_types(s, n->node, TYPE_NUMBER);
    schema_put(s, way,
               open  ? low ? "maximum" : "minimum"
               : low ? "exclusiveMaximum"
                     : "exclusiveMinimum",
               value);
    add_way(n, way);
}

/* Strings that surely have not the format. */
static void negate_format(negation *n, uint32_t value) {
    static const struct {
        const char *format, *not_of_it;
    } opposites[] = {
        {"ipv4", "^[g-tv-zG-OQ-Z]"},
        {"ipv6", "^[g-tv-zG-OQ-Z]"},
        {"date", "^[g-tv-zG-OQ-Z]"},
        {"time", "^[g-tv-zG-OQ-Z]"},
        {"date-time", "^[g-tv-zG-OQ-Z]"},
        {"uuid", "^[g-tv-zG-OQ-Z]"},
        {"uri", "^[^:]*$"},
        {"url", "^[^:]*$"},
        {"iri", "^[^:]*$"},
        {"email", "^[^@]*$"},
        {"hostname", "^[A-Za-z]+( [A-Za-z]+)+$"},
    };
    for (size_t i = 0; i < sizeof opposites / sizeof *opposites; i++) {
        if (!str_is(n->s->nodes[value].text, opposites[i].format)) continue;
        uint32_t way = schema_of_types(n->s, n->node, TYPE_STRING);
        schema_put_text(n->s, way, "pattern", str_of(opposites[i].not_of_it));
        add_way(n, way);
    }
}

/* Each of a list is false (all), or one of them is. */
static void negate_list(negation *n, uint32_t list, bool all) {
    schema *s = n->s;
    uint32_t both = schema_make(s, n->node, JSON_OBJECT_START),
             parts = schema_make(s, n->node, JSON_ARRAY_START);
    for (uint32_t i = s->nodes[list].child; i && !s->b->failed; i = s->nodes[i].next) {
        uint32_t no = negate(s, i, n->depth + 1);
        if (!all)
            add_way(n, no);
        else if (!no || never(s, no))
            return;
        else
            schema_put(s, parts, "", no);
    }
    if (!all) return;
    schema_put(s, both, "allOf", parts);
    add_way(n, both);
}

static void negate_condition(negation *n) {
    schema *s = n->s;
    static const char *const then[] = {"then", "else"};
    uint32_t condition = schema_member(s, n->node, "if");
    for (int i = 0; i < 2; i++) {
        uint32_t branch = schema_member(s, n->node, then[i]),
                 no = branch ? negate(s, branch, n->depth + 1) : 0,
                 side = !no ? 0
                        : i ? negate(s, condition, n->depth + 1)
                            : condition;
        if (!no || !side || never(s, no) || never(s, side)) continue;
        uint32_t both = schema_make(s, n->node, JSON_OBJECT_START),
                 parts = schema_make(s, n->node, JSON_ARRAY_START);
        schema_put(s, parts, "", side);
        schema_put(s, parts, "", no);
        schema_put(s, both, "allOf", parts);
        add_way(n, both);
    }
}

static void negate_items(negation *n, const char *keyword, uint32_t value) {
    bool contains = !strcmp(keyword, "contains");
    uint32_t no = n->s->nodes[value].kind == JSON_ARRAY_START ? 0 : negate(n->s, value, n->depth + 1);
    if (!no || (!contains && never(n->s, no))) return;
    uint32_t way = schema_of_types(n->s, n->node, TYPE_ARRAY);
    schema_put(n->s, way, contains ? "items" : "contains", no);
    add_way(n, way);
}

static void negate_keyword(negation *n, uint32_t value) {
    schema *s = n->s;
    char keyword[32];
    str key = s->nodes[value].key;
    if (key.len >= sizeof keyword) return;
    memcpy(keyword, key.data, key.len);
    keyword[key.len] = 0;
    if (!strcmp(keyword, "type"))
        negate_types(n);
    else if (!strcmp(keyword, "enum") || !strcmp(keyword, "const") || !strcmp(keyword, "pattern") ||
             !strcmp(keyword, "multipleOf"))
        negate_leaf(n, keyword, value);
    else if (!strcmp(keyword, "required"))
        negate_required(n, value);
    else if (!strcmp(keyword, "properties"))
        negate_properties(n, value);
    else if (!strcmp(keyword, "items") || !strcmp(keyword, "contains"))
        negate_items(n, keyword, value);
    else if (!strcmp(keyword, "format"))
        negate_format(n, value);
    else if (!strcmp(keyword, "anyOf") || !strcmp(keyword, "oneOf"))
        negate_list(n, value, true);
    else if (!strcmp(keyword, "allOf"))
        negate_list(n, value, false);
    else if (!strcmp(keyword, "not"))
        add_way(n, value);
    else if (!strcmp(keyword, "if"))
        negate_condition(n);
    else if (!strcmp(keyword, "$ref")) {
        uint32_t target = schema_pointer(s, n->node, s->nodes[value].text);
        if (target) add_way(n, negate(s, target, n->depth + 1));
    } else if (!strcmp(keyword, "minimum") || !strcmp(keyword, "maximum") ||
               !strcmp(keyword, "exclusiveMinimum") || !strcmp(keyword, "exclusiveMaximum"))
        negate_bound(n, keyword, value);
    else
        negate_count(n, keyword, value);
}

static uint32_t negate(schema *s, uint32_t node, int depth) {
    node = schema_original(s, node);
    if (!schema_check(s, node) || !grammar_step(s->b) || depth > NEGATION_DEPTH_MAX) return 0;
    if (s->nodes[node].kind == JSON_BOOL) return schema_make_bool(s, node, !s->nodes[node].boolean);
    if (s->nodes[node].negated) return s->nodes[node].negated;
    negation n = {.s = s, .node = node, .ways = schema_make(s, node, JSON_ARRAY_START), .depth = depth};
    for (uint32_t i = s->nodes[node].child; i && !s->b->failed; i = s->nodes[i].next) negate_keyword(&n, i);
    uint32_t no = schema_make(s, node, JSON_OBJECT_START);
    if (s->b->failed) return 0;
    if (!s->nodes[n.ways].n)
        no = schema_make_bool(s, node, false);
    else if (s->nodes[n.ways].n == 1)
        no = schema_original(s, s->nodes[n.ways].child);
    else
        schema_put(s, no, "anyOf", n.ways);
    return s->nodes[node].negated = no;
}

uint32_t schema_negate(schema *s, uint32_t node) { return negate(s, node, 0); }

bool schema_is_leaf(const schema *s, uint32_t node) {
    if (s->nodes[node].kind != JSON_OBJECT_START || s->nodes[node].n != 1) return false;
    str key = s->nodes[s->nodes[node].child].key;
    bool made = s->nodes[schema_original(s, node)].made;
    return str_is(key, "enum") || str_is(key, "const") ||
           (made && (str_is(key, "pattern") || str_is(key, "multipleOf")));
}

/* ---- if, dependencies, oneOf ---- */

static uint32_t both_of(schema *s, uint32_t of, uint32_t a, uint32_t b) {
    uint32_t node = schema_make(s, of, JSON_OBJECT_START), list = schema_make(s, of, JSON_ARRAY_START);
    schema_put(s, list, "", a);
    if (b) schema_put(s, list, "", b);
    schema_put(s, node, "allOf", list);
    return node;
}

static uint32_t any_of(schema *s, uint32_t of, uint32_t a, uint32_t b) {
    uint32_t node = schema_make(s, of, JSON_OBJECT_START), list = schema_make(s, of, JSON_ARRAY_START);
    if (a && !never(s, a)) schema_put(s, list, "", a);
    if (b && !never(s, b)) schema_put(s, list, "", b);
    schema_put(s, node, "anyOf", list);
    return node;
}

uint32_t schema_conditional(schema *s, uint32_t node) {
    uint32_t condition = schema_member(s, node, "if"), then = schema_member(s, node, "then"),
             other = schema_member(s, node, "else");
    if (!condition || (!then && !other)) return schema_make_bool(s, node, true);
    uint32_t no = negate(s, condition, 0);
    if (s->b->failed) return 0;
    return any_of(s, node, both_of(s, node, condition, then), no ? both_of(s, node, no, other) : 0);
}

/* For each of its members: either it is not there, or what it asks for holds. */
uint32_t schema_dependencies(schema *s, uint32_t node, uint32_t map) {
    uint32_t all = schema_make(s, node, JSON_OBJECT_START), list = schema_make(s, node, JSON_ARRAY_START);
    for (uint32_t i = s->nodes[map].child; i && !s->b->failed; i = s->nodes[i].next) {
        uint32_t absent = schema_make(s, node, JSON_OBJECT_START),
                 own = schema_make(s, node, JSON_OBJECT_START),
                 there = schema_make(s, node, JSON_OBJECT_START),
                 asked = schema_make(s, node, JSON_ARRAY_START);
        bool names_only = s->nodes[i].kind == JSON_ARRAY_START;
        schema_put_str(s, own, s->nodes[i].key, schema_make_bool(s, node, false));
        schema_put(s, absent, "properties", own);
        schema_put_text(s, asked, "", s->nodes[i].key);
        for (uint32_t c = names_only ? s->nodes[i].child : 0; c; c = s->nodes[c].next)
            schema_put(s, asked, "", c);
        schema_put(s, there, "required", asked);
        schema_put(s, list, "", any_of(s, node, absent, names_only ? there : both_of(s, node, there, i)));
    }
    schema_put(s, all, "allOf", list);
    return all;
}

enum { NAMES_APART_MAX = 32 };

/* Values of one branch that are not of another: those that break it, or have a member that it does not allow.
 */
static uint32_t apart_from(schema *s, uint32_t branch, uint32_t other) {
    uint32_t no = negate(s, other, 0), mine = schema_target(s, branch), closed = schema_target(s, other);
    if (s->b->failed) return 0;
    uint32_t more = schema_member(s, closed, "additionalProperties"),
             members = schema_member(s, mine, "properties"), list = schema_make(s, branch, JSON_ARRAY_START),
             any = schema_make(s, branch, JSON_OBJECT_START);
    if (!more || !never(s, more) || schema_member(s, closed, "patternProperties")) return no;
    if (no && !never(s, no)) schema_put(s, list, "", no);
    for (uint32_t i = s->nodes[members].child; i && s->nodes[list].n < NAMES_APART_MAX; i = s->nodes[i].next) {
        if (schema_property(s, other, s->nodes[i].key)) continue;
        uint32_t way = schema_of_types(s, branch, TYPE_OBJECT), asked = schema_make(s, branch, JSON_ARRAY_START);
        schema_put_text(s, asked, "", s->nodes[i].key);
        schema_put(s, way, "required", asked);
        schema_put(s, list, "", way);
    }
    if (!s->nodes[list].n) return no;
    schema_put(s, any, "anyOf", list);
    return any;
}

uint32_t schema_exactly_one(schema *s, uint32_t list) {
    list = schema_original(s, list);
    if (s->nodes[list].apart) return s->nodes[list].apart;
    uint32_t any = schema_make(s, list, JSON_ARRAY_START);
    for (uint32_t i = s->nodes[list].child; i && !s->b->failed; i = s->nodes[i].next) {
        uint32_t node = schema_make(s, list, JSON_OBJECT_START),
                 parts = schema_make(s, list, JSON_ARRAY_START);
        bool possible = true;
        schema_put(s, parts, "", i);
        for (uint32_t other = s->nodes[list].child; other && possible; other = s->nodes[other].next) {
            if (other == i || schema_disjoint(s, i, other, 0)) continue;
            uint32_t no = apart_from(s, i, other);
            possible = no && !never(s, no) && schema_put(s, parts, "", no);
        }
        schema_put(s, node, "allOf", parts);
        if (possible) schema_put(s, any, "", node);
    }
    return s->b->failed ? 0 : (s->nodes[list].apart = any);
}
