/* Values as text: str() and repr(). */
#include "text/template/internal.h"
#include "text/unicode/unicode.h"

#include <stdio.h>

static void append_escape(text_builder *b, uint32_t cp) {
    char text[16];
    const char *format = cp < 0x100 ? "\\x%02x" : cp < 0x10000 ? "\\u%04x" : "\\U%08x";
    build_append(b, (str){text, (size_t)snprintf(text, sizeof text, format, cp)});
}

static void append_quoted(text_builder *b, str s) {
    bool single = s.len && memchr(s.data, '\'', s.len), other = s.len && memchr(s.data, '"', s.len);
    char quote = single && !other ? '"' : '\'';
    build_append(b, (str){&quote, 1});
    uint32_t cp;
    for (size_t at = 0, n; at < s.len && !b->failed; at += n) {
        n = (size_t)text_decode(s, at, &cp);
        const char *named = cp && cp < 0x80 ? memchr("\\\n\r\t", (int)cp, 4) : NULL;
        if (named)
            build_append(b, named[0] == '\\'   ? STR("\\\\")
                            : named[0] == '\n' ? STR("\\n")
                            : named[0] == '\r' ? STR("\\r")
                                               : STR("\\t"));
        else if (cp == (uint32_t)quote)
            build_append(b, STR("\\'"));
        else if (!unicode_is_printable(cp))
            append_escape(b, cp);
        else
            build_append(b, (str){s.data + at, n});
    }
    build_append(b, (str){&quote, 1});
}

static void append_items(text_builder *b, const list *l, const char *open, const char *close, bool tuple) {
    build_append(b, str_of(open));
    for (size_t i = 0; i < l->n && !b->failed; i++) {
        if (i) build_append(b, STR(", "));
        repr_append(b, &l->items[i]);
    }
    if (tuple && l->n == 1) build_append(b, STR(","));
    build_append(b, str_of(close));
}

static void append_mapping(text_builder *b, const mapping *m) {
    if (!mapping_open(b->r, m)) return (void)(b->failed = true);
    build_append(b, STR("{"));
    for (uint32_t i = 0; i < m->n && !b->failed; i++) {
        if (i) build_append(b, STR(", "));
        repr_append(b, &m->keys[i]);
        build_append(b, STR(": "));
        repr_append(b, &m->values[i]);
    }
    build_append(b, STR("}"));
}

static void append_view(text_builder *b, const view *v) {
    char text[96];
    static const char *const opens[] = {"dict_items([", "dict_keys([", "dict_values(["};
    if (v->kind != VIEW_RANGE) return append_items(b, v->list, opens[v->kind], "])", false);
    int n = snprintf(text, sizeof text, v->range[2] == 1 ? "range(%lld, %lld)" : "range(%lld, %lld, %lld)",
                     (long long)v->range[0], (long long)v->range[1], (long long)v->range[2]);
    build_append(b, (str){text, (size_t)n});
}

static void append_kind(text_builder *b, const value *v) {
    char number[NUMBER_TEXT_BYTES];
    switch (v->kind) {
    case UNDEFINED: return build_append(b, STR("Undefined"));
    case NONE: return build_append(b, STR("None"));
    case BOOLEAN:
    case INTEGER:
    case BIG:
    case FLOAT:
        b->failed |= v->kind == FLOAT && !run_spend(b->r, FLOAT_TEXT_STEPS);
        return build_append(b, number_text(v, number));
    case STRING:
        if (v->markup) build_append(b, STR("Markup("));
        append_quoted(b, value_str(v));
        return build_append(b, v->markup ? STR(")") : STR(""));
    case LIST: return append_items(b, v->list, "[", "]", false);
    case TUPLE: return append_items(b, v->list, "(", ")", true);
    case MAPPING: return append_mapping(b, v->mapping);
    case VIEW: return append_view(b, v->view);
    case NAMESPACE:
        build_append(b, STR("<Namespace "));
        append_mapping(b, v->mapping);
        return build_append(b, STR(">"));
    case LOOP: {
        int n = snprintf(number, sizeof number, "<LoopContext %zu/%zu>", v->loop->at + 1, v->loop->items->n);
        return build_append(b, (str){number, (size_t)n});
    }
    default: b->failed = !run_fail(b->r, "%s has no text form", value_kind_name(v));
    }
}

void repr_append(text_builder *b, const value *v) {
    run *r = b->r;
    if (b->failed || !run_spend(r, 1) || (v->kind == STRING && !run_spend_bytes(r, v->bytes)))
        return (void)(b->failed = true);
    if (r->value_depth >= VALUE_DEPTH_MAX)
        return (void)(b->failed = !run_fail(r, "values nested more than %d deep", VALUE_DEPTH_MAX));
    r->value_depth++;
    append_kind(b, v);
    r->value_depth--;
}

bool text_repr(run *r, const value *v, value *out) {
    text_builder b;
    build_begin(&b, r, v->kind == STRING ? v->bytes + 2 : 0);
    repr_append(&b, v);
    return build_end(&b, out);
}

bool text_of_value(run *r, const value *v, value *out) {
    if (v->kind == STRING) return *out = *v, true;
    if (v->kind == UNDEFINED) return *out = value_string(STR("")), true;
    return text_repr(r, v, out);
}
