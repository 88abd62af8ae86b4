/* A schema's text as a tree. */
#include <stdio.h>

#include "text/grammar_schema.h"

typedef struct reading {
    schema *s;
    uint32_t open[JSON_MAX_DEPTH + 1]; /* by depth: the container */
    str key;
} reading;

enum { PIECE_BYTES = 4096 };

static bool keep(schema *s, str text, str *kept) {
    schema_piece *p = s->pieces;
    if (!p || p->bytes - p->used < text.len) {
        size_t bytes = sizeof *p + text.len > PIECE_BYTES ? sizeof *p + text.len : PIECE_BYTES;
        if (!(p = alloc_bytes(s->b->alloc, bytes)))
            return grammar_fail(s->b, ERR_MEMORY, "no memory to read a schema");
        *p = (schema_piece){s->pieces, bytes, sizeof *p};
        s->pieces = p;
    }
    *kept = (str){memcpy((char *)p + p->used, text.data, text.len), text.len};
    p->used += text.len;
    return true;
}

static bool on_event(void *ctx, const json_event *v, err *e) {
    reading *r = ctx;
    schema *s = r->s;
    bool ends = v->kind == JSON_OBJECT_END || v->kind == JSON_ARRAY_END, ok = grammar_step(s->b);
    if (v->kind == JSON_KEY) {
        ok = ok && keep(s, v->text, &r->key);
        s->b->steps += s->nodes[r->open[v->depth - 1]].n / 16; /* the look for a twin takes time */
        if (ok && schema_member_str(s, r->open[v->depth - 1], r->key))
            ok = grammar_fail(s->b, ERR_INVALID, "'%.*s' is there twice",
                              (int)(v->text.len < 64 ? v->text.len : 64), v->text.data);
    } else if (!ends) {
        ok = ok && grammar_grow(s->b, (void **)&s->nodes, &s->nodes_cap, s->n_nodes + 1, SCHEMA_NODES_MAX,
                                sizeof *s->nodes, "values");
        if (ok) {
            uint32_t id = (uint32_t)s->n_nodes++, parent = v->depth ? r->open[v->depth - 1] : 0;
            schema_node *n = &s->nodes[id];
            *n = (schema_node){.kind = (uint8_t)v->kind, .boolean = v->boolean, .parent = parent};
            if (parent && s->nodes[parent].kind == JSON_OBJECT_START) n->key = r->key;
            if (v->kind == JSON_STRING || v->kind == JSON_INT || v->kind == JSON_DOUBLE)
                ok = keep(s, v->text, &n->text);
            schema_node *p = &s->nodes[parent];
            if (parent) *(p->last ? &s->nodes[p->last].next : &p->child) = id, p->last = id, p->n++;
            r->open[v->depth] = id;
        }
    }
    if (!ok && e) *e = *s->b->e;
    return ok;
}

bool schema_read(schema *s, str json) {
    reading r = {.s = s};
    err e = {0};
    if (!grammar_grow(s->b, (void **)&s->nodes, &s->nodes_cap, 1, SCHEMA_NODES_MAX, sizeof *s->nodes, "values"))
        return false;
    s->nodes[0] = (schema_node){0};
    s->n_nodes = 1;
    if (json_parse(s->b->alloc, json, on_event, &r, &e)) return !s->b->failed;
    return grammar_fail(s->b, e.code, "%s", e.message);
}

void schema_free(schema *s) {
    for (schema_piece *p = s->pieces, *before; p; p = before) {
        before = p->before;
        alloc_free(s->b->alloc, p, p->bytes);
    }
    alloc_free(s->b->alloc, s->nodes, s->nodes_cap * sizeof *s->nodes);
    alloc_free(s->b->alloc, s->pending, s->pending_cap * sizeof *s->pending);
}

uint32_t schema_member_str(const schema *s, uint32_t node, str key) {
    if (s->nodes[node].kind != JSON_OBJECT_START) return 0;
    for (uint32_t i = s->nodes[node].child; i; i = s->nodes[i].next)
        if (str_eq(s->nodes[i].key, key)) return i;
    return 0;
}

uint32_t schema_member(const schema *s, uint32_t node, const char *key) {
    return schema_member_str(s, node, str_of(key));
}

static size_t place_of(const schema *s, uint32_t node, char *out, size_t size) {
    const schema_node *n = &s->nodes[node];
    if (!n->parent) return 0;
    size_t len = place_of(s, n->parent, out, size);
    if (len >= size - 1) return len;
    int more;
    if (s->nodes[n->parent].kind == JSON_OBJECT_START) {
        more = snprintf(out + len, size - len, "/%.*s", (int)(n->key.len < 64 ? n->key.len : 64), n->key.data);
    } else {
        uint32_t index = 0;
        for (uint32_t i = s->nodes[n->parent].child; i != node; i = s->nodes[i].next) index++;
        more = snprintf(out + len, size - len, "/%u", index);
    }
    return len + (size_t)more < size ? len + (size_t)more : size - 1;
}

bool schema_fail(schema *s, uint32_t node, const char *format, ...) {
    char place[160] = "", what[ERR_MESSAGE_BYTES];
    va_list args;
    va_start(args, format);
    vsnprintf(what, sizeof what, format, args);
    va_end(args);
    place_of(s, node, place, sizeof place);
    return grammar_fail(s->b, ERR_INVALID, "at %s: %s", place[0] ? place : "/", what);
}

/* One name of a pointer: ~1 is /, ~0 is ~; %XX as in URLs. */
static size_t unescape(str name, char *out, size_t size) {
    size_t n = 0;
    for (size_t i = 0; i < name.len && n < size; i++) {
        unsigned byte;
        char hex[3] = "";
        if (name.data[i] == '~' && i + 1 < name.len) {
            out[n++] = name.data[++i] == '1' ? '/' : '~';
        } else if (name.data[i] == '%' && i + 2 < name.len &&
                   (memcpy(hex, name.data + i + 1, 2), sscanf(hex, "%2x", &byte) == 1)) {
            out[n++] = (char)byte;
            i += 2;
        } else {
            out[n++] = name.data[i];
        }
    }
    return n;
}

static uint32_t item_at(const schema *s, uint32_t node, str index) {
    uint32_t i = s->nodes[node].child, n = 0;
    for (size_t c = 0; c < index.len; c++) {
        if (index.data[c] < '0' || index.data[c] > '9' || n > SCHEMA_NODES_MAX) return 0;
        n = n * 10 + (uint32_t)(index.data[c] - '0');
    }
    for (; i && n; n--) i = s->nodes[i].next;
    return i;
}

uint32_t schema_pointer(schema *s, uint32_t node, str pointer) {
    uint32_t at = 1;
    int shown = (int)(pointer.len < 96 ? pointer.len : 96);
    if (!pointer.len || pointer.data[0] != '#' || (pointer.len > 1 && pointer.data[1] != '/'))
        return schema_fail(s, node, "'$ref' is '%.*s'; only places in the same schema, #/…, can be referred to",
                           shown, pointer.data),
               0;
    for (size_t i = 1; i < pointer.len && at;) {
        char name[256];
        size_t end = ++i;
        while (end < pointer.len && pointer.data[end] != '/') end++;
        str key = {name, unescape((str){pointer.data + i, end - i}, name, sizeof name)};
        at = s->nodes[at].kind == JSON_ARRAY_START ? item_at(s, at, key) : schema_member_str(s, at, key);
        i = end;
    }
    if (!at) schema_fail(s, node, "'$ref' is '%.*s', which is not there", shown, pointer.data);
    return at;
}

static void write_string(str text, buf *out) {
    json_writer w;
    json_begin(&w, out);
    json_string(&w, text);
}

void schema_write_value(const schema *s, uint32_t node, buf *out) {
    const schema_node *n = &s->nodes[node];
    bool object = n->kind == JSON_OBJECT_START;
    switch (n->kind) {
    case JSON_NULL: buf_append_str(out, STR("null")); return;
    case JSON_BOOL: buf_append_str(out, n->boolean ? STR("true") : STR("false")); return;
    case JSON_STRING: write_string(n->text, out); return;
    case JSON_INT:
    case JSON_DOUBLE: buf_append_str(out, n->text); return;
    default: break;
    }
    buf_append_str(out, object ? STR("{") : STR("["));
    for (uint32_t i = n->child; i; i = s->nodes[i].next) {
        if (i != n->child) buf_append_str(out, STR(","));
        if (object) write_string(s->nodes[i].key, out), buf_append_str(out, STR(":"));
        schema_write_value(s, i, out);
    }
    buf_append_str(out, object ? STR("}") : STR("]"));
}
