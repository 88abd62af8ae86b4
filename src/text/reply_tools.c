/* The request's tools, read where they lie. */
#include "text/reply_internal.h"

enum { REFERENCES_MAX = 8 };

bool reply_next_tool(str tools, size_t *at, str *function, str *name) {
    str item;
    while (json_raw_item(tools, at, &item)) {
        str inner = json_raw_find(item, STR("function"));
        *function = inner.len && inner.data[0] == '{' ? inner : item;
        *name = json_raw_find(*function, STR("name"));
        if (name->len > 2 && name->data[0] == '"') return true;
    }
    return false;
}

bool reply_find_tool(str tools, str wanted, str *schema) {
    str function, name;
    for (size_t at = 0; wanted.len && reply_next_tool(tools, &at, &function, &name);) {
        if (!json_raw_string_is(name, wanted)) continue;
        *schema = json_raw_find(function, STR("parameters"));
        return true;
    }
    return false;
}

static unsigned type_named(str name) {
    static const struct {
        str name;
        unsigned type;
    } types[] = {
        {STR("string"), REPLY_STRING}, {STR("number"), REPLY_NUMBER}, {STR("integer"), REPLY_NUMBER},
        {STR("boolean"), REPLY_BOOL}, {STR("null"), REPLY_NULL}, {STR("object"), REPLY_OBJECT},
        {STR("array"), REPLY_ARRAY},
    };
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if (json_raw_string_is(name, types[i].name)) return types[i].type;
    return 0;
}

static unsigned type_of_value(str value) {
    switch (value.len ? value.data[0] : 0) {
    case '"': return REPLY_STRING;
    case '{': return REPLY_OBJECT;
    case '[': return REPLY_ARRAY;
    case 't':
    case 'f': return REPLY_BOOL;
    case 'n': return REPLY_NULL;
    case 0: return 0;
    default: return REPLY_NUMBER;
    }
}

/* "#/$defs/a" within root. */
static str follow(str root, str reference) {
    str path = {reference.data + 1, reference.len - 2};
    if (reference.len < 4 || !str_starts(path, STR("#/"))) return (str){0};
    for (size_t at = 2; at < path.len && root.len;) {
        str rest = str_from(path, at);
        size_t end = str_find(rest, STR("/"));
        root = json_raw_find(root, str_until(rest, end));
        at += end + 1;
    }
    return root;
}

static unsigned schema_types(str root, str schema, int references);

static unsigned types_of_any(str root, str schemas, int references) {
    unsigned types = 0;
    str item;
    for (size_t at = 0; json_raw_item(schemas, &at, &item);) types |= schema_types(root, item, references);
    return types;
}

static unsigned schema_types(str root, str schema, int references) {
    if (references > REFERENCES_MAX) return 0;
    str type = json_raw_find(schema, STR("type")), item;
    unsigned types = type.len ? type_named(type) : 0;
    for (size_t at = 0; json_raw_item(type, &at, &item);) types |= type_named(item);
    if (types) return types;
    str reference = json_raw_find(schema, STR("$ref"));
    if (reference.len) return schema_types(root, follow(root, reference), references + 1);
    types = type_of_value(json_raw_find(schema, STR("const")));
    str values = json_raw_find(schema, STR("enum"));
    for (size_t at = 0; json_raw_item(values, &at, &item);) types |= type_of_value(item);
    static const str groups[] = {STR("anyOf"), STR("oneOf"), STR("allOf")};
    for (size_t i = 0; i < 3; i++) types |= types_of_any(root, json_raw_find(schema, groups[i]), references + 1);
    return types;
}

unsigned reply_argument_types(str schema, str argument) {
    return schema_types(schema, json_raw_find(json_raw_find(schema, STR("properties")), argument), 0);
}
