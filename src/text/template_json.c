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
    d->pending[d->n++] = (entry){value_string(d->key), v};
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
        if (!mapping_set(d->r, m, &members[i].key, members[i].value)) return false;
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
    if (!(c.is_list ? close_list(d, members, d->n - c.start, &v)
                    : close_mapping(d, members, d->n - c.start, &v)))
        return false;
    d->n = c.start;
    d->key = c.key;
    return add(d, v);
}

static bool number_value(reader *d, const json_event *ev, value *out) {
    whole w;
    bool large, is_whole = true;
    for (size_t i = 0; i < ev->text.len; i++) is_whole &= !memchr(".eE", ev->text.data[i], 3);
    if (ev->kind == JSON_INT) return *out = value_integer(ev->integer), true;
    if (is_whole && text_to_whole(ev->text, 10, &w, &large)) return whole_value(d->r, w, out);
    return *out = value_float(ev->number), true;
}

static bool on_event(void *ctx, const json_event *ev, err *e) {
    (void)e;
    reader *d = ctx;
    str text;
    value number;
    bool container = ev->kind == JSON_OBJECT_START || ev->kind == JSON_ARRAY_START;
    if (d->depth == 0 && !container) return run_fail(d->r, "the context must be a JSON object");
    switch (ev->kind) {
    case JSON_NULL: return add(d, value_of(NONE));
    case JSON_BOOL: return add(d, value_boolean(ev->boolean));
    case JSON_INT:
    case JSON_DOUBLE: return number_value(d, ev, &number) && add(d, number);
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

/* ---- out, as json.dumps writes ---- */

static void append_unit(text_builder *b, uint32_t unit) {
    static const char hex[] = "0123456789abcdef";
    char text[6] = {'\\',          'u', hex[unit >> 12 & 15], hex[unit >> 8 & 15], hex[unit >> 4 & 15],
                    hex[unit & 15]};
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
    } else if (cp < 0x20 || (ascii && cp >= 0x7F)) {
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
        if (c >= 0x20 && c != '"' && c != '\\' && (c < 0x7F || !ascii)) continue;
        n = (size_t)text_decode(s, at, &cp);
        size_t len = b->len;
        build_append(b, (str){s.data + from, at - from});
        if (append_escape(b, cp, ascii))
            from = at + n;
        else
            b->len = len;
    }
    build_append(b, (str){s.data + from, s.len - from});
    build_append(b, STR("\""));
}

typedef struct writer {
    text_builder b;
    const json_style *style;
    size_t depth;
} writer;

static bool write_value(writer *w, const value *v);

static void break_line(writer *w) {
    if (!w->style->indents) return;
    build_append(&w->b, STR("\n"));
    build_pad(&w->b, w->style->indent, w->depth);
}

static bool write_list(writer *w, const list *l) {
    if (!l->n) return build_append(&w->b, STR("[]")), true;
    build_append(&w->b, STR("["));
    w->depth++;
    for (size_t i = 0; i < l->n; i++) {
        if (i) build_append(&w->b, w->style->item_separator);
        break_line(w);
        if (!write_value(w, &l->items[i])) return false;
    }
    w->depth--;
    break_line(w);
    build_append(&w->b, STR("]"));
    return true;
}

static bool write_key(writer *w, const value *key) {
    char number[NUMBER_TEXT_BYTES];
    str text;
    switch (key->kind) {
    case STRING: text = value_str(key); break;
    case NONE: text = STR("null"); break;
    case BOOLEAN: text = key->boolean ? STR("true") : STR("false"); break;
    case INTEGER:
    case BIG:
    case FLOAT: text = number_text(key, number); break;
    default: return run_fail(w->b.r, "%s cannot be a key in JSON", value_kind_name(key));
    }
    append_string(&w->b, text, w->style->ensure_ascii);
    return true;
}

static bool key_of_pair(run *r, const void *ctx, const value *pair, value *out) {
    (void)r;
    (void)ctx;
    return *out = pair->list->items[0], true;
}

static bool write_mapping(writer *w, const mapping *m) {
    value pairs = {0};
    sort_order order = {.key = key_of_pair};
    bool sort = w->style->sort_keys;
    if (!m->n) return build_append(&w->b, STR("{}")), true;
    if (sort && (!mapping_view(w->b.r, m, VIEW_ITEMS, &pairs) ||
                 !list_sort(w->b.r, pairs.view->list, &order, &pairs)))
        return false;
    build_append(&w->b, STR("{"));
    w->depth++;
    for (uint32_t i = 0; i < m->n; i++) {
        const value *pair = sort ? pairs.list->items[i].list->items : NULL;
        if (i) build_append(&w->b, w->style->item_separator);
        break_line(w);
        if (!write_key(w, pair ? pair : &m->entries[i].key)) return false;
        build_append(&w->b, w->style->key_separator);
        if (!write_value(w, pair ? pair + 1 : &m->entries[i].value)) return false;
    }
    w->depth--;
    break_line(w);
    build_append(&w->b, STR("}"));
    return true;
}

static str float_json(double d, char out[NUMBER_TEXT_BYTES]) {
    str s = float_text(d, out);
    if (str_is(s, "nan")) return STR("NaN");
    return str_is(s, "inf") ? STR("Infinity") : str_is(s, "-inf") ? STR("-Infinity") : s;
}

static bool write_value(writer *w, const value *v) {
    char number[NUMBER_TEXT_BYTES];
    if (w->b.failed || !run_spend(w->b.r, 1)) return false;
    if (w->depth >= VALUE_DEPTH_MAX)
        return run_fail(w->b.r, "values nested more than %d deep", VALUE_DEPTH_MAX);
    switch (v->kind) {
    case NONE: return build_append(&w->b, STR("null")), true;
    case BOOLEAN: return build_append(&w->b, v->boolean ? STR("true") : STR("false")), true;
    case INTEGER:
    case BIG: return build_append(&w->b, number_text(v, number)), true;
    case FLOAT: return build_append(&w->b, float_json(v->number, number)), true;
    case STRING:
        append_string(&w->b, value_str(v), w->style->ensure_ascii);
        return run_spend_bytes(w->b.r, v->bytes);
    case LIST:
    case TUPLE: return write_list(w, v->list);
    case MAPPING: return write_mapping(w, v->mapping);
    case UNDEFINED: return value_fail_undefined(w->b.r, v);
    default: return run_fail(w->b.r, "%s has no JSON form", value_kind_name(v));
    }
}

bool json_of_value(run *r, const value *v, const json_style *style, value *out) {
    writer w = {.style = style};
    build_begin(&w.b, r, v->kind == STRING ? v->bytes + 2 : 0);
    return write_value(&w, v) && build_end(&w.b, out);
}
