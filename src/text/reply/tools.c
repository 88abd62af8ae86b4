/* The request's tools, read where they lie. */
#include "text/reply/internal.h"

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

str text_reply_parameters(str parameters, bool told) {
    if (!parameters.len) return STR("{\"type\":\"object\",\"properties\":{}}");
    if (!str_is(parameters, TEXT_REPLY_TEXT)) return parameters;
#define OF_TEXT "{\"type\":\"object\",\"properties\":{\"input\":{\"type\":\"string\"}},\"required\":[\"input\"]"
    return told ? STR(OF_TEXT "}") : STR(OF_TEXT ",\"additionalProperties\":false}");
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
    *schema = text_reply_parameters(json_raw_find(json_raw_value(tools->json, &at), STR("parameters")), false);
    return true;
}
