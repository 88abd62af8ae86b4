/* JSON: what a template is given, and what tojson writes. Lists and mappings are printed so, too. */
#include "text/template_internal.h"

#include <math.h>

#include "base/json.h"

/* ---- in ---- */

typedef struct open_container {
    size_t start; /* of its members in pending */
    str key;
    bool is_list;
} open_container;

typedef struct reader {
    run *r;
    str text;
    entry *pending; /* members of what is not closed yet */
    size_t n, cap;
    open_container open[JSON_MAX_DEPTH + 1];
    int depth;
    str key;
} reader;

/* A text without escapes stands in the context as it is. */
static bool keep_text(reader *d, str s, str *out) {
    bool inside = s.data >= d->text.data && s.data + s.len <= d->text.data + d->text.len;
    if (inside) return *out = s, true;
    char *copy = region_take_text(&d->r->memory, s.len);
    if (!copy) return run_refused(d->r);
    if (s.len) memcpy(copy, s.data, s.len);
    return *out = (str){copy, s.len}, true;
}

static bool set_global(reader *d, str name, value v) {
    uint32_t symbol = symbols_find(&d->r->template->names, name);
    if (symbol < SYMBOLS_RESERVED) return run_fail(d->r, "the context may not name a member '%.*s'", STR_ARG(name));
    if (symbol != NO_SYMBOL) d->r->globals[symbol] = v;
    return true;
}

static bool add(reader *d, value v) {
    if (d->depth == 1) return set_global(d, d->key, v);
    if (d->n == d->cap) {
        size_t cap = d->cap * 2;
        entry *grown;
        if (!run_take(d->r, cap * sizeof *grown, &grown)) return false;
        memcpy(grown, d->pending, d->n * sizeof *grown);
        d->pending = grown;
        d->cap = cap;
    }
    d->pending[d->n++] = (entry){d->key, v};
    return run_spend(d->r, 1);
}

static bool close_list(reader *d, const entry *members, size_t n, value *out) {
    value *items;
    if (!list_new(d->r, n, out, &items)) return false;
    for (size_t i = 0; i < n; i++) items[i] = members[i].value;
    return true;
}

static bool close_mapping(reader *d, const entry *members, size_t n, value *out) {
    mapping *m;
    if (!mapping_new(d->r, (uint32_t)n, &m)) return false;
    for (size_t i = 0; i < n; i++)
        if (!mapping_set(d->r, m, members[i].key, members[i].value)) return false;
    return *out = value_mapping(m), true;
}

static bool open_one(reader *d, bool is_list) {
    if (d->depth == 0 && is_list) return run_fail(d->r, "the context must be a JSON object");
    d->open[d->depth++] = (open_container){d->n, d->key, is_list};
    return true;
}

static bool close_one(reader *d) {
    value v;
    open_container c = d->open[--d->depth];
    const entry *members = d->pending + c.start;
    if (d->depth == 0) return true;
    if (!(c.is_list ? close_list(d, members, d->n - c.start, &v) : close_mapping(d, members, d->n - c.start, &v)))
        return false;
    d->n = c.start;
    d->key = c.key;
    return add(d, v);
}

static value number_value(double d) { return isfinite(d) && d == floor(d) ? value_integer(d) : value_float(d); }

static bool on_event(void *ctx, const json_event *ev, err *e) {
    (void)e;
    reader *d = ctx;
    str text;
    bool container = ev->kind == JSON_OBJECT_START || ev->kind == JSON_ARRAY_START;
    if (d->depth == 0 && !container) return run_fail(d->r, "the context must be a JSON object");
    switch (ev->kind) {
    case JSON_NULL: return add(d, value_of(NONE));
    case JSON_BOOL: return add(d, value_boolean(ev->boolean));
    case JSON_INT:
    case JSON_DOUBLE: return add(d, number_value(ev->number));
    case JSON_STRING: return keep_text(d, ev->text, &text) && add(d, value_string(text));
    case JSON_KEY: return keep_text(d, ev->text, &d->key);
    case JSON_OBJECT_START:
    case JSON_ARRAY_START: return open_one(d, ev->kind == JSON_ARRAY_START);
    default: return close_one(d);
    }
}

bool template_read_context(run *r, str context_json) {
    reader *d;
    if (!run_take(r, sizeof *d, &d)) return false;
    *d = (reader){.r = r, .text = context_json, .cap = 64};
    if (!run_take(r, d->cap * sizeof *d->pending, &d->pending)) return false;
    if (context_json.len > UINT32_MAX / 2) return run_fail(r, "the context is too large");
    return json_parse(r->memory.alloc, context_json, on_event, d, r->e) ||
           err_prefix(r->e, "the template's context: ");
}

/* ---- out ---- */

static void append_unit(text_builder *b, uint32_t unit) {
    static const char hex[] = "0123456789abcdef";
    char text[6] = {'\\', 'u', hex[unit >> 12 & 15], hex[unit >> 8 & 15], hex[unit >> 4 & 15], hex[unit & 15]};
    build_append(b, (str){text, sizeof text});
}

static bool append_escape(text_builder *b, uint32_t cp, bool ascii) {
    static const char from[] = "\"\\\b\f\n\r\t", to[] = "\"\\bfnrt";
    const char *found = cp && cp < 0x80 ? memchr(from, (int)cp, sizeof from - 1) : NULL;
    if (found) {
        char text[2] = {'\\', to[found - from]};
        build_append(b, (str){text, 2});
    } else if (cp >= 0x10000 && ascii) {
        append_unit(b, 0xD800 + ((cp - 0x10000) >> 10));
        append_unit(b, 0xDC00 + ((cp - 0x10000) & 0x3FF));
    } else if (cp < 0x20 || (cp >= 0xD800 && cp < 0xE000) || (ascii && cp >= 0x7F)) {
        append_unit(b, cp);
    } else {
        return false;
    }
    return true;
}

/* Stretches that need no escape are copied whole. */
static void append_string(text_builder *b, str s, bool ascii) {
    size_t from = 0;
    uint32_t cp;
    build_append(b, STR("\""));
    for (size_t at = 0, n; at < s.len; at += n) {
        unsigned char c = (unsigned char)s.data[at];
        n = 1;
        if (c >= 0x20 && c != '"' && c != '\\' && c < (ascii ? 0x7F : 0xED)) continue;
        if (!ascii && c > 0xED) continue;
        n = (size_t)text_decode(s, at, &cp);
        size_t len = b->len;
        build_append(b, (str){s.data + from, at - from});
        if (append_escape(b, cp, ascii)) from = at + n;
        else b->len = len;
    }
    build_append(b, (str){s.data + from, s.len - from});
    build_append(b, STR("\""));
}

typedef struct writer {
    text_builder b;
    const json_style *style;
    str item_separator, key_separator;
    int depth;
} writer;

static bool write_value(writer *w, const value *v);

static bool has_indent(const writer *w) { return w->style->indent != 0 && !isnan(w->style->indent); }

static void break_line(writer *w) {
    if (!has_indent(w)) return;
    build_append(&w->b, STR("\n"));
    for (double n = floor(w->style->indent) * w->depth; n > 0 && !w->b.failed; n -= 8)
        build_append(&w->b, (str){"        ", n < 8 ? (size_t)n : 8});
}

static bool write_list(writer *w, const list *l) {
    build_append(&w->b, STR("["));
    w->depth++;
    for (size_t i = 0; i < l->n; i++) {
        if (i) build_append(&w->b, w->item_separator);
        break_line(w);
        if (!write_value(w, &l->items[i])) return false;
    }
    w->depth--;
    if (l->n) break_line(w);
    build_append(&w->b, STR("]"));
    return true;
}

static bool write_member(writer *w, str key, const value *v) {
    break_line(w);
    append_string(&w->b, key, w->style->ensure_ascii);
    build_append(&w->b, w->key_separator);
    return write_value(w, v);
}

static bool write_mapping(writer *w, const mapping *m) {
    value pairs = {0};
    if (w->style->sort_keys) {
        sort_order order = {.by_pair = true, .collate = true};
        if (!mapping_items(w->b.r, m, &pairs) || !list_sort(w->b.r, pairs.list, &order, &pairs)) return false;
    }
    build_append(&w->b, STR("{"));
    w->depth++;
    for (uint32_t i = 0; i < m->n; i++) {
        const value *pair = w->style->sort_keys ? pairs.list->items[i].list->items : NULL;
        if (i) build_append(&w->b, w->item_separator);
        if (!write_member(w, pair ? value_str(pair) : m->entries[i].key, pair ? pair + 1 : &m->entries[i].value))
            return false;
    }
    w->depth--;
    if (m->n) break_line(w);
    build_append(&w->b, STR("}"));
    return true;
}

static bool write_container(writer *w, const value *v) {
    if (w->depth >= VALUE_DEPTH_MAX) return run_fail(w->b.r, "values nested more than %d deep", VALUE_DEPTH_MAX);
    if (has_indent(w) && (w->style->indent < 0 || isinf(w->style->indent)))
        return run_fail(w->b.r, "the indent must not be negative");
    return v->kind == LIST ? write_list(w, v->list) : write_mapping(w, v->mapping);
}

static bool write_value(writer *w, const value *v) {
    char number[NUMBER_TEXT_BYTES];
    if (w->b.failed || !run_spend(w->b.r, 1)) return false;
    switch (v->kind) {
    case NONE: build_append(&w->b, STR("null")); return true;
    case UNDEFINED: build_append(&w->b, w->style->undefined_is_null ? STR("null") : STR("undefined")); return true;
    case BOOLEAN: build_append(&w->b, v->boolean ? STR("true") : STR("false")); return true;
    case INTEGER:
    case FLOAT:
        build_append(&w->b, isfinite(v->number) ? number_text(v->number, number) : STR("null"));
        return true;
    case STRING:
        append_string(&w->b, value_str(v), w->style->ensure_ascii);
        return run_spend_bytes(w->b.r, v->bytes);
    case LIST:
    case MAPPING:
    case NAMESPACE: return write_container(w, v);
    default: return run_fail(w->b.r, "%s has no JSON form", value_kind_name(v));
    }
}

bool json_of_value(run *r, const value *v, const json_style *style, value *out) {
    writer w = {.style = style, .item_separator = style->item_separator, .key_separator = style->key_separator};
    if (!style->custom) {
        w.item_separator = has_indent(&w) ? STR(",") : STR(", ");
        w.key_separator = STR(": ");
    }
    build_begin(&w.b, r, v->kind == STRING ? v->bytes + 2 : 0);
    return write_value(&w, v) && build_end(&w.b, out);
}

/* ---- values as text ---- */

static bool keep_number(run *r, str text, value *out) {
    text_builder b;
    build_begin(&b, r, text.len);
    build_append(&b, text);
    return build_end(&b, out);
}

bool text_of_value(run *r, const value *v, value *out) {
    char number[NUMBER_TEXT_BYTES];
    static const json_style plain = {0};
    switch (v->kind) {
    case STRING: return *out = *v, true;
    case BOOLEAN: return *out = value_string(v->boolean ? STR("true") : STR("false")), true;
    case INTEGER: return keep_number(r, number_text(v->number, number), out);
    case FLOAT: return keep_number(r, number_float_text(v->number, number), out);
    case LIST:
    case MAPPING:
    case NAMESPACE: return json_of_value(r, v, &plain, out);
    default: return run_fail(r, "%s has no text form", value_kind_name(v));
    }
}

bool text_of_raw(run *r, const value *v, value *out) {
    char number[NUMBER_TEXT_BYTES];
    if (is_number(v)) return keep_number(r, number_text(v->number, number), out);
    if (has_attributes(v)) return *out = value_string(STR("[object Map]")), true;
    if (!is_list(v)) return text_of_value(r, v, out);
    text_builder b;
    build_begin(&b, r, 0);
    for (size_t i = 0; i < v->list->n && !b.failed; i++) {
        const value *item = &v->list->items[i];
        value text = value_string(item->kind == MISSING ? STR("") : STR("undefined"));
        bool plain = item->kind == NONE || item->kind == UNDEFINED || item->kind == MISSING;
        if (!run_spend(r, 1) || (!plain && !text_of_value(r, item, &text))) return false;
        if (i) build_append(&b, STR(","));
        build_append(&b, value_str(&text));
    }
    return build_end(&b, out);
}
