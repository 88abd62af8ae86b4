#include "text/grammar/argument.h"

#include <string.h>
#include <strings.h>

#include "text/grammar/model_json.h"

/* ---- types ---- */

enum { DEPTH_MAX = 8, WORK_MAX = 1 << 21 };

/* One question. Schemas refer to one another, so the bytes that are looked at are counted. */
typedef struct question {
    str root;
    size_t work;
} question;

static unsigned type_named(str name) {
    static const struct {
        str name;
        unsigned type;
    } types[] = {
        {STR("string"), ARGUMENT_STRING}, {STR("number"), ARGUMENT_NUMBER}, {STR("integer"), ARGUMENT_NUMBER},
        {STR("boolean"), ARGUMENT_BOOL}, {STR("null"), ARGUMENT_NULL}, {STR("object"), ARGUMENT_OBJECT},
        {STR("array"), ARGUMENT_ARRAY},
    };
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if (json_raw_string_is(name, types[i].name)) return types[i].type;
    return 0;
}

static unsigned type_of_value(str value) {
    switch (value.len ? value.data[0] : 0) {
    case '"': return ARGUMENT_STRING;
    case '{': return ARGUMENT_OBJECT;
    case '[': return ARGUMENT_ARRAY;
    case 't':
    case 'f': return ARGUMENT_BOOL;
    case 'n': return ARGUMENT_NULL;
    case 0: return 0;
    default: return ARGUMENT_NUMBER;
    }
}

/* "#/$defs/a" within root; empty when it cannot be followed. */
static str follow(str root, str reference) {
    char path[256];
    size_t len;
    if (!json_raw_string(reference, path, sizeof path, &len) || !len || path[0] != '#') return (str){0};
    if (len > 1 && path[1] != '/') return (str){0};
    for (size_t at = 2; at < len && root.len;) {
        str rest = {path + at, len - at};
        const char *slash = memchr(rest.data, '/', rest.len);
        size_t end = slash ? (size_t)(slash - rest.data) : rest.len;
        root = json_raw_find(root, str_until(rest, end));
        at += end + 1;
    }
    return root;
}

static bool goes_on(question *q, str schema, int depth) {
    q->work += schema.len + 64;
    return depth <= DEPTH_MAX && q->work <= WORK_MAX;
}

static const str groups[] = {STR("anyOf"), STR("oneOf"), STR("allOf")};
static const str branches[] = {STR("then"), STR("else")};
enum { N_GROUPS = 3, N_BRANCHES = 2 };

static unsigned types_of(question *q, str schema, int depth) {
    if (!goes_on(q, schema, depth)) return ARGUMENT_ALL;
    str type = json_raw_find(schema, STR("type")), item;
    unsigned types = type.len ? type_named(type) : 0;
    for (size_t at = 0; json_raw_item(type, &at, &item);) types |= type_named(item);
    if (types && str_is(json_raw_find(schema, STR("nullable")), "true")) types |= ARGUMENT_NULL;
    if (types) return types;
    str reference = json_raw_find(schema, STR("$ref"));
    if (reference.len) {
        str target = follow(q->root, reference);
        return target.len ? types_of(q, target, depth + 1) : ARGUMENT_ALL;
    }
    types = type_of_value(json_raw_find(schema, STR("const")));
    str values = json_raw_find(schema, STR("enum"));
    for (size_t at = 0; json_raw_item(values, &at, &item);) types |= type_of_value(item);
    for (int i = 0; i < N_GROUPS; i++) {
        str list = json_raw_find(schema, groups[i]);
        for (size_t at = 0; json_raw_item(list, &at, &item);) types |= types_of(q, item, depth + 1);
    }
    return types;
}

/* What a schema of objects, and what it refers to and combines, says of the member; *known: something does. */
static unsigned types_of_member(question *q, str schema, str name, int depth, bool *known) {
    if (!goes_on(q, schema, depth)) return *known = true, ARGUMENT_ALL;
    str own = json_raw_find(json_raw_find(schema, STR("properties")), name), key, item;
    unsigned types = own.len ? types_of(q, own, 0) : 0;
    *known |= own.len > 0;
    str reference = json_raw_find(schema, STR("$ref")), target = reference.len ? follow(q->root, reference) : (str){0};
    if (target.len) types |= types_of_member(q, target, name, depth + 1, known);
    for (int i = 0; i < N_GROUPS; i++) {
        str list = json_raw_find(schema, groups[i]);
        for (size_t at = 0; json_raw_item(list, &at, &item);) types |= types_of_member(q, item, name, depth + 1, known);
    }
    for (int i = 0; i < N_BRANCHES; i++) {
        str branch = json_raw_find(schema, branches[i]);
        if (branch.len) types |= types_of_member(q, branch, name, depth + 1, known);
    }
    if (*known) return types;
    str patterns = json_raw_find(schema, STR("patternProperties"));
    str others = json_raw_find(schema, STR("additionalProperties"));
    for (size_t at = 0; json_raw_member(patterns, &at, &key, &item);) types |= types_of(q, item, 0);
    return others.len && others.data[0] == '{' ? types | types_of(q, others, 0) : types;
}

unsigned argument_types(str schema, str name) {
    question q = {.root = schema};
    bool known = false;
    return types_of_member(&q, schema, name, 0, &known);
}

/* ---- texts ---- */

static bool is_word(str text, const char *word) {
    return text.len == strlen(word) && !strncasecmp(text.data, word, text.len);
}

str argument_json(str text, unsigned types) {
    text = json_without_end_blanks(str_from(text, json_skip_blank(text, 0)));
    if (types & ARGUMENT_BOOL && is_word(text, "true")) return STR("true"); /* templates show Python's True */
    if (types & ARGUMENT_BOOL && is_word(text, "false")) return STR("false");
    if (types & ARGUMENT_NULL && (is_word(text, "null") || is_word(text, "none"))) return STR("null");
    unsigned type = !text.len ? 0
                    : text.data[0] == '{' ? ARGUMENT_OBJECT
                    : text.data[0] == '[' ? ARGUMENT_ARRAY
                    : text.data[0] == '-' || (text.data[0] >= '0' && text.data[0] <= '9') ? ARGUMENT_NUMBER
                                                                                         : 0;
    if (!(type & (types ? types : ARGUMENT_OBJECT | ARGUMENT_ARRAY))) return (str){0};
    text_json j;
    size_t used;
    text_json_init(&j, 1);
    text_json_verdict v = text_json_feed(&j, text, &used, NULL, NULL);
    if (v == TEXT_JSON_MORE) v = text_json_feed(&j, STR(" "), &(size_t){0}, NULL, NULL); /* a number ends here */
    return v == TEXT_JSON_DONE && used == text.len ? text : (str){0};
}
