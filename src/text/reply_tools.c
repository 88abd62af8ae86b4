/* The request's tools, read where they lie. */
#include "text/reply_internal.h"

enum { REFERENCES_MAX = 8, SCHEMAS_MAX = 64 };

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

/* ---- the index ---- */

struct text_reply_slot {
    uint32_t hash, name, function; /* where they begin; of nobody where name is 0 */
};

static uint32_t count_slots(str json) {
    str function, name;
    uint32_t n = 0, slots = 2;
    for (size_t at = 0; reply_next_tool(json, &at, &function, &name);) n++;
    while (n && slots < 2 * n) slots *= 2;
    return n && json.len < UINT32_MAX ? slots : 0;
}

size_t text_reply_tools_bytes(str json) { return count_slots(json) * sizeof(struct text_reply_slot); }

static uint32_t hash_of(str name) {
    uint64_t h = str_hash(name);
    return (uint32_t)(h ^ h >> 32);
}

/* Where the tool of that name is, or is to be. */
static struct text_reply_slot *find_slot(const text_reply_tools *t, str name, uint32_t hash) {
    for (uint32_t i = hash;; i++) {
        struct text_reply_slot *s = &t->slots[i & (t->n_slots - 1)];
        size_t at = s->name;
        if (!s->name) return s;
        if (s->hash == hash && json_raw_string_is(json_raw_value(t->json, &at), name)) return s;
    }
}

/* Of two tools of the same name the first counts. */
void text_reply_tools_init(text_reply_tools *t, str json, void *memory) {
    str function, raw;
    char bytes[TEXT_REPLY_NAME_MAX];
    *t = (text_reply_tools){json, memory, count_slots(json)};
    if (t->n_slots) memset(memory, 0, t->n_slots * sizeof *t->slots);
    for (size_t at = 0; t->n_slots && reply_next_tool(json, &at, &function, &raw);) {
        str name = {bytes, 0};
        if (!json_raw_string(raw, bytes, sizeof bytes, &name.len)) continue; /* nobody can call it */
        uint32_t hash = hash_of(name);
        struct text_reply_slot *s = find_slot(t, name, hash);
        if (!s->name)
            *s = (struct text_reply_slot){hash, (uint32_t)(raw.data - json.data),
                                          (uint32_t)(function.data - json.data)};
    }
}

bool reply_find_tool(const text_reply_tools *tools, str wanted, str *schema) {
    if (!wanted.len || !tools->n_slots) return false;
    const struct text_reply_slot *s = find_slot(tools, wanted, hash_of(wanted));
    size_t at = s->function;
    if (!s->name) return false;
    *schema = json_raw_find(json_raw_value(tools->json, &at), STR("parameters"));
    return true;
}

/* ---- what arguments may be ---- */

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

typedef struct type_finder {
    str root;
    int left; /* schemas that may still be looked at: they may refer to one another without an end */
} type_finder;

static unsigned find_types(type_finder *x, str schema, int references);

static unsigned types_of_any(type_finder *x, str schemas, int references) {
    unsigned types = 0;
    str item;
    for (size_t at = 0; x->left >= 0 && json_raw_item(schemas, &at, &item);) types |= find_types(x, item, references);
    return types;
}

static unsigned find_types(type_finder *x, str schema, int references) {
    if (references > REFERENCES_MAX || --x->left < 0) return 0;
    str type = json_raw_find(schema, STR("type")), item;
    unsigned types = type.len ? type_named(type) : 0;
    for (size_t at = 0; json_raw_item(type, &at, &item);) types |= type_named(item);
    if (types) return types;
    str reference = json_raw_find(schema, STR("$ref"));
    if (reference.len) return find_types(x, follow(x->root, reference), references + 1);
    types = type_of_value(json_raw_find(schema, STR("const")));
    str values = json_raw_find(schema, STR("enum"));
    for (size_t at = 0; json_raw_item(values, &at, &item);) types |= type_of_value(item);
    static const str groups[] = {STR("anyOf"), STR("oneOf"), STR("allOf")};
    for (size_t i = 0; i < 3; i++) types |= types_of_any(x, json_raw_find(schema, groups[i]), references + 1);
    return types;
}

unsigned reply_schema_types(str root, str schema) {
    type_finder x = {root, SCHEMAS_MAX};
    unsigned types = find_types(&x, schema, 0);
    return x.left < 0 ? 0 : types;
}

unsigned reply_argument_types(str schema, str argument) {
    return reply_schema_types(schema, json_raw_find(json_raw_find(schema, STR("properties")), argument));
}
