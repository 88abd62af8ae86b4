/* The keywords of schemas: which are known, what they take, which types they are about. */
#include "text/grammar/schema.h"

enum {
    IS_STRING = 1,
    IS_NUMBER = 2,
    IS_COUNT = 4,
    IS_BOOL = 8,
    IS_SCHEMA = 16,
    IS_SCHEMAS = 32,
    IS_LIST = 64,
    IS_NAMES = 128,
    IS_MAP = 256,
    IS_ANY = 512,
    IS_DEPENDENCIES = 1024, /* an object of schemas and lists of names */
};

/* Which types a keyword is about, when the schema names none. */
static const struct keyword {
    const char *name;
    unsigned takes;
    unsigned about;
} keywords[] = {
    {"type", IS_STRING | IS_NAMES, 0},
    {"enum", IS_LIST, 0},
    {"const", IS_ANY, 0},
    {"nullable", IS_BOOL, 0},
    {"$ref", IS_STRING, 0},
    {"$defs", IS_MAP, 0},
    {"definitions", IS_MAP, 0},
    {"anyOf", IS_SCHEMAS, 0},
    {"oneOf", IS_SCHEMAS, 0},
    {"allOf", IS_SCHEMAS, 0},
    {"properties", IS_MAP, TYPE_OBJECT},
    {"required", IS_NAMES, TYPE_OBJECT},
    {"additionalProperties", IS_SCHEMA, TYPE_OBJECT},
    {"patternProperties", IS_MAP, TYPE_OBJECT},
    {"propertyNames", IS_SCHEMA, TYPE_OBJECT},
    {"unevaluatedProperties", IS_BOOL, TYPE_OBJECT},
    {"items", IS_SCHEMA | IS_SCHEMAS, TYPE_ARRAY},
    {"prefixItems", IS_SCHEMAS, TYPE_ARRAY},
    {"additionalItems", IS_SCHEMA, TYPE_ARRAY},
    {"minItems", IS_COUNT, TYPE_ARRAY},
    {"maxItems", IS_COUNT, TYPE_ARRAY},
    {"uniqueItems", IS_BOOL, TYPE_ARRAY},
    {"minLength", IS_COUNT, TYPE_STRING},
    {"maxLength", IS_COUNT, TYPE_STRING},
    {"pattern", IS_STRING, TYPE_STRING},
    {"format", IS_STRING, 0},
    {"contentEncoding", IS_STRING, TYPE_STRING},
    {"minimum", IS_NUMBER, TYPE_NUMBER},
    {"maximum", IS_NUMBER, TYPE_NUMBER},
    {"exclusiveMinimum", IS_NUMBER | IS_BOOL, TYPE_NUMBER},
    {"exclusiveMaximum", IS_NUMBER | IS_BOOL, TYPE_NUMBER},
    {"multipleOf", IS_NUMBER, TYPE_NUMBER},
    {"not", IS_SCHEMA, 0},
    {"if", IS_SCHEMA, 0},
    {"then", IS_SCHEMA, 0},
    {"else", IS_SCHEMA, 0},
    {"minProperties", IS_COUNT, TYPE_OBJECT},
    {"maxProperties", IS_COUNT, TYPE_OBJECT},
    {"dependencies", IS_DEPENDENCIES, TYPE_OBJECT},
    {"dependentRequired", IS_DEPENDENCIES, TYPE_OBJECT},
    {"dependentSchemas", IS_MAP, TYPE_OBJECT},
    {"contains", IS_SCHEMA, TYPE_ARRAY},
    {"minContains", 0, TYPE_ARRAY},
    {"maxContains", 0, TYPE_ARRAY},
    {"unevaluatedItems", 0, TYPE_ARRAY},
    {"$dynamicRef", 0, 0},
    {"$recursiveRef", 0, 0},
    /* said to people, not of values */
    {"title", IS_ANY, 0},
    {"description", IS_ANY, 0},
    {"default", IS_ANY, 0},
    {"examples", IS_ANY, 0},
    {"example", IS_ANY, 0},
    {"$schema", IS_ANY, 0},
    {"$id", IS_ANY, 0},
    {"id", IS_ANY, 0},
    {"$comment", IS_ANY, 0},
    {"deprecated", IS_ANY, 0},
    {"readOnly", IS_ANY, 0},
    {"writeOnly", IS_ANY, 0},
    {"discriminator", IS_ANY, 0},
    {"$anchor", IS_ANY, 0},
    {"markdownDescription", IS_ANY, 0},
    {"contentMediaType", IS_ANY, 0},
};
enum { N_KEYWORDS = sizeof keywords / sizeof *keywords, FIRST_REMARK = N_KEYWORDS - 16 };

static const struct keyword *find_keyword(str name) {
    for (int i = 0; i < N_KEYWORDS; i++)
        if (str_is(name, keywords[i].name)) return &keywords[i];
    return NULL;
}

static bool all_of_kind(const schema *s, uint32_t node, unsigned kinds) {
    for (uint32_t i = s->nodes[node].child; i; i = s->nodes[i].next)
        if (!(kinds >> s->nodes[i].kind & 1)) return false;
    return true;
}

enum { KIND_STRING = 1 << JSON_STRING, KIND_SCHEMA = 1 << JSON_OBJECT_START | 1 << JSON_BOOL };

static bool are_dependencies(const schema *s, uint32_t node) {
    for (uint32_t i = s->nodes[node].child; i; i = s->nodes[i].next)
        if (s->nodes[i].kind == JSON_ARRAY_START ? !all_of_kind(s, i, KIND_STRING)
                                                 : !(KIND_SCHEMA >> s->nodes[i].kind & 1))
            return false;
    return true;
}

static bool fits(const schema *s, uint32_t node, unsigned takes) {
    const schema_node *n = &s->nodes[node];
    uint32_t count;
    if (takes & IS_ANY) return true;
    switch (n->kind) {
    case JSON_STRING: return takes & IS_STRING;
    case JSON_INT:
    case JSON_DOUBLE: return (takes & IS_NUMBER) || ((takes & IS_COUNT) && grammar_number_count(n->text, &count));
    case JSON_BOOL: return takes & (IS_BOOL | IS_SCHEMA);
    case JSON_OBJECT_START:
        return (takes & IS_SCHEMA) || ((takes & IS_MAP) && all_of_kind(s, node, KIND_SCHEMA)) ||
               ((takes & IS_DEPENDENCIES) && are_dependencies(s, node));
    case JSON_ARRAY_START:
        return (takes & IS_LIST) || ((takes & IS_NAMES) && all_of_kind(s, node, KIND_STRING)) ||
               ((takes & IS_SCHEMAS) && all_of_kind(s, node, KIND_SCHEMA));
    default: return false;
    }
}

static const char *wanted(unsigned takes) {
    return takes & IS_NAMES     ? takes & IS_STRING ? "a string or a list of strings" : "a list of strings"
           : takes & IS_STRING  ? "a string"
           : takes & IS_NUMBER  ? "a number"
           : takes & IS_COUNT   ? "a whole number from 0 on"
           : takes & IS_SCHEMA  ? "a schema"
           : takes & IS_SCHEMAS ? "a list of schemas"
           : takes & IS_MAP     ? "an object of schemas"
           : takes & IS_DEPENDENCIES ? "an object of schemas or lists of strings"
           : takes & IS_BOOL    ? "true or false"
                                : "a list";
}

bool schema_check(schema *s, uint32_t node) {
    schema_node *n = &s->nodes[node];
    if (n->checked || n->kind == JSON_BOOL) return true;
    n->checked = true;
    if (n->kind != JSON_OBJECT_START) return schema_fail(s, node, "a schema is an object, true or false");
    for (uint32_t i = n->child; i && grammar_step(s->b); i = s->nodes[i].next) {
        str name = s->nodes[i].key;
        const struct keyword *k = find_keyword(name);
        if (!k) continue; /* an annotation */
        int shown = (int)(name.len < 64 ? name.len : 64);
        if (!k->takes) return schema_fail(s, node, "'%.*s' is not supported", shown, name.data);
        if (!fits(s, i, k->takes))
            return schema_fail(s, node, "'%.*s' must be %s", shown, name.data, wanted(k->takes));
    }
    return !s->b->failed;
}

/* ---- types ---- */

static const struct {
    const char *name;
    unsigned type;
} type_names[] = {
    {"null", TYPE_NULL},       {"boolean", TYPE_BOOLEAN},
    {"integer", TYPE_INTEGER}, {"number", TYPE_NUMBER | TYPE_INTEGER},
    {"string", TYPE_STRING},   {"array", TYPE_ARRAY},
    {"object", TYPE_OBJECT},
};

static unsigned type_of(schema *s, uint32_t node) {
    for (size_t i = 0; i < sizeof type_names / sizeof *type_names; i++)
        if (str_is(s->nodes[node].text, type_names[i].name)) return type_names[i].type;
    schema_fail(s, s->nodes[node].parent, "the type '%.*s' is not known",
                (int)(s->nodes[node].text.len < 40 ? s->nodes[node].text.len : 40), s->nodes[node].text.data);
    return 0;
}

unsigned schema_types(const schema *s, uint32_t node) {
    uint32_t type = schema_member(s, node, "type"), nullable = schema_member(s, node, "nullable");
    if (!type) return TYPE_ALL;
    unsigned types = nullable && s->nodes[nullable].boolean ? TYPE_NULL : 0;
    if (s->nodes[type].kind == JSON_STRING) return types | type_of((schema *)(uintptr_t)s, type);
    for (uint32_t i = s->nodes[type].child; i; i = s->nodes[i].next) types |= type_of((schema *)(uintptr_t)s, i);
    return types;
}

/* A schema that names no type is taken to be about that of its keywords. */
static unsigned types_of_keywords(const schema *s, const schema_parts *p) {
    unsigned types = 0;
    for (uint32_t i = 0; i < p->n; i++)
        for (uint32_t k = s->nodes[p->at[i].node].child; k; k = s->nodes[k].next) {
            const struct keyword *found = find_keyword(s->nodes[k].key);
            types |= found ? found->about : 0;
            if (found && !strcmp(found->name, "format")) types |= TYPE_STRING;
        }
    return types & TYPE_NUMBER ? types | TYPE_INTEGER : types ? types : TYPE_ALL;
}

unsigned schema_types_of_parts(schema *s, const schema_parts *p) {
    unsigned types = TYPE_ALL;
    bool named = false;
    for (uint32_t i = 0; i < p->n; i++) {
        types &= schema_types(s, p->at[i].node);
        named |= schema_member(s, p->at[i].node, "type") != 0;
    }
    return named ? types : types_of_keywords(s, p);
}

bool schema_count(schema *s, uint32_t node, const char *keyword, uint32_t *n) {
    uint32_t at = schema_member(s, node, keyword);
    if (!at) return false;
    grammar_number_count(s->nodes[at].text, n);
    return true;
}

bool schema_is_said(str key) {
    const struct keyword *k = find_keyword(key);
    return k && k - keywords < FIRST_REMARK && !str_is(key, "$defs") && !str_is(key, "definitions");
}

bool schema_says_more(const schema *s, const schema_part *part, const char *but) {
    for (uint32_t i = s->nodes[part->node].child; i; i = s->nodes[i].next) {
        str name = s->nodes[i].key;
        if (!schema_is_said(name)) continue;
        bool more = str_is(name, "if") || str_is(name, "then") || str_is(name, "else") ||
                    str_is(name, "dependencies") || str_is(name, "dependentRequired") ||
                    str_is(name, "dependentSchemas") || (str_is(name, "not") && !schema_is_leaf(s, i));
        bool done = (part->more_done && more) || (part->ref_done && str_is(name, "$ref")) ||
                    (part->all_done && str_is(name, "allOf")) ||
                    (part->any_done && str_is(name, "anyOf")) || (part->one_done && str_is(name, "oneOf"));
        if (!done && !(but && str_is(name, but))) return true;
    }
    return part->forced != 0;
}
