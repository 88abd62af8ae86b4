/* Filters for HTML and addresses. */
#include "text/template/internal.h"

static void append_escaped(text_builder *b, str s) {
    for (size_t i = 0; i < s.len; i++) switch (s.data[i]) {
        case '&': build_append(b, STR("&amp;")); break;
        case '<': build_append(b, STR("&lt;")); break;
        case '>': build_append(b, STR("&gt;")); break;
        case '\'': build_append(b, STR("&#39;")); break;
        case '"': build_append(b, STR("&#34;")); break;
        default: build_append(b, (str){s.data + i, 1});
        }
}

static bool escape_all(run *r, const value *v, value *out) {
    text_builder b;
    value text;
    if (!text_of_value(r, v, &text)) return false;
    build_begin(&b, r, text.bytes);
    append_escaped(&b, value_str(&text));
    return run_spend_bytes(r, 8 * text.bytes) && build_end(&b, out) && (out->markup = true);
}

bool escape_markup(run *r, const value *text, value *out) {
    bool done = text->kind == STRING && text->markup;
    return done ? *out = *text, true : escape_all(r, text, out);
}

static bool filter_escape(run *r, const value *v, const value *args, value *out) {
    (void)args;
    return escape_markup(r, v, out);
}

static bool filter_forceescape(run *r, const value *v, const value *args, value *out) {
    (void)args;
    return escape_all(r, v, out);
}

static void append_quoted(text_builder *b, str s, bool query) {
    static const char hex[] = "0123456789ABCDEF", kept[] = "_.-~";
    for (size_t i = 0; i < s.len; i++) {
        char c = s.data[i];
        bool plain = (c >= '0' && c <= '9') || ((c | 32) >= 'a' && (c | 32) <= 'z') ||
                     (c && strchr(kept, c)) || (c == '/' && !query);
        if (plain)
            build_append(b, (str){&c, 1});
        else if (query && c == ' ')
            build_append(b, STR("+"));
        else
            build_append(b, (str){(char[]){'%', hex[(unsigned char)c >> 4], hex[c & 15]}, 3});
    }
}

static bool filter_urlencode(run *r, const value *v, const value *args, value *out) {
    const list *pairs, *pair;
    text_builder b;
    value text, of_mapping;
    (void)args;
    build_begin(&b, r, 16);
    if (v->kind == STRING || is_number(v) || v->kind == NONE) {
        if (!text_of_value(r, v, &text)) return false;
        append_quoted(&b, value_str(&text), false);
        return run_spend_bytes(r, 8 * text.bytes) && build_end(&b, out);
    }
    if (v->kind == MAPPING && !mapping_view(r, v->mapping, VIEW_ITEMS, &of_mapping)) return false;
    if (!value_iterate(r, v->kind == MAPPING ? &of_mapping : v, &pairs)) return false;
    for (size_t i = 0; i < pairs->n; i++) {
        if (!value_iterate(r, &pairs->items[i], &pair)) return false;
        if (pair->n != 2) return run_fail(r, "urlencode wants a text, a mapping or pairs");
        for (int k = 0; k < 2; k++) {
            if (!text_of_value(r, &pair->items[k], &text)) return false;
            if (k || i) build_append(&b, k ? STR("=") : STR("&"));
            append_quoted(&b, value_str(&text), true);
        }
    }
    return build_end(&b, out);
}

static bool filter_xmlattr(run *r, const value *v, const value *args, value *out) {
    text_builder b;
    value key, text;
    if (v->kind != MAPPING) return run_fail(r, "xmlattr is for mappings, not %s", value_kind_name(v));
    if (!mapping_open(r, v->mapping)) return false;
    build_begin(&b, r, 16);
    bool space = args[0].kind == UNSET || value_truth(&args[0]);
    for (uint32_t i = 0; i < v->mapping->n; i++) {
        const entry entry_now = {v->mapping->keys[i], v->mapping->values[i]}, *e = &entry_now;
        if (e->value.kind == NONE || e->value.kind == UNDEFINED) continue;
        if (e->key.kind != STRING) return run_fail(r, "xmlattr: %s is no attribute's name", value_kind_name(&e->key));
        if (!text_of_value(r, &e->key, &key) || !text_of_value(r, &e->value, &text)) return false;
        if (space || b.len) build_append(&b, STR(" "));
        append_escaped(&b, value_str(&key));
        build_append(&b, STR("=\""));
        append_escaped(&b, value_str(&text));
        build_append(&b, STR("\""));
    }
    return build_end(&b, out);
}

const builtin filters_of_markup[] = {
    {"e", "", filter_escape, NULL},
    {"escape", "", filter_escape, NULL},
    {"forceescape", "", filter_forceescape, NULL},
    {"striptags", "", filter_striptags, NULL},
    {"urlencode", "", filter_urlencode, NULL},
    {"urlize", "trim_url_limit? nofollow? target? rel? extra_schemes?", filter_urlize, NULL},
    {"xmlattr", "autospace?", filter_xmlattr, NULL},
};
const size_t filters_of_markup_n = sizeof filters_of_markup / sizeof *filters_of_markup;
