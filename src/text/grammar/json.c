/* A schema's text as a tree. */
#include <stdio.h>

#include "text/grammar/schema.h"

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

/* No fewer values than there are (marks inside of strings count, too): an array that grows needs the room of two. */
static size_t values_most(str json) {
    size_t n = 2;
    for (size_t i = 0; i < json.len; i++) n += json.data[i] == ',' || json.data[i] == '[' || json.data[i] == '{';
    return n < SCHEMA_NODES_MAX ? n : SCHEMA_NODES_MAX;
}

bool schema_read(schema *s, str json) {
    reading r = {.s = s};
    err e = {0};
    if (!grammar_grow(s->b, (void **)&s->nodes, &s->nodes_cap, values_most(json), SCHEMA_NODES_MAX, sizeof *s->nodes,
                      "values"))
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
    alloc_free(s->b->alloc, s->sets, s->sets_cap * sizeof *s->sets);
    alloc_free(s->b->alloc, s->members, s->members_cap * sizeof *s->members);
    if (s->words.b) language_free(&s->words);
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
    node = schema_original(s, node);
    while (s->nodes[node].made) node = schema_original(s, s->nodes[node].parent);
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

void schema_never(schema *s, uint32_t node, const char *format, ...) {
    char reason[ERR_MESSAGE_BYTES], place[160] = "";
    bool noted = s->b->notes.len < GRAMMAR_NOTES_BYTES_MAX / 2; /* more of them cost time */
    size_t n;
    va_list args;
    va_start(args, format);
    if (noted) place_of(s, node, place, sizeof place);
    n = (size_t)snprintf(reason, sizeof reason, "at %s: ", place[0] ? place : "/");
    n += (size_t)vsnprintf(reason + n, sizeof reason - n, format, args);
    va_end(args);
    if (node && n < sizeof reason && s->nodes[schema_original(s, node)].made)
        snprintf(reason + n, sizeof reason - n, ", as far as 'not', 'if', 'oneOf' and dependencies are supported");
    if (noted) grammar_never(s->b, reason);
    else grammar_emit(s->b, OP_FAIL, 0, 0);
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

static uint32_t id_of(const schema *s, uint32_t node) {
    uint32_t id = schema_member(s, node, "$id");
    if (!id) id = schema_member(s, node, "id");
    return s->nodes[id].kind == JSON_STRING ? id : 0;
}

/* The nearest schema around it that has a name of its own: pointers begin there. */
static uint32_t base_of(const schema *s, uint32_t node) {
    for (uint32_t at = schema_original(s, node); at > 1; at = schema_original(s, s->nodes[at].parent)) {
        uint32_t id = id_of(s, at);
        if (id && s->nodes[id].text.len && s->nodes[id].text.data[0] != '#') return at;
    }
    return 1;
}

static uint32_t follow(const schema *s, uint32_t at, str pointer) {
    for (size_t i = 0; i < pointer.len && at;) {
        char name[256];
        size_t end = ++i;
        while (end < pointer.len && pointer.data[end] != '/') end++;
        str key = {name, unescape((str){pointer.data + i, end - i}, name, sizeof name)};
        at = s->nodes[at].kind == JSON_ARRAY_START ? item_at(s, at, key) : schema_member_str(s, at, key);
        i = end;
    }
    return at;
}

static str last_name(str url) {
    size_t at = url.len;
    while (at && url.data[at - 1] != '/') at--;
    return (str){url.data + at, url.len - at};
}

/* A schema that has this name: all of it, or its last part where the reference is relative. */
static uint32_t named(schema *s, str name, bool anchor) {
    for (uint32_t i = 1; i < s->n_nodes && grammar_step(s->b); i++) {
        if (s->nodes[i].kind != JSON_OBJECT_START || s->nodes[i].same) continue;
        uint32_t id = id_of(s, i), mark = schema_member(s, i, "$anchor");
        if (!mark) mark = schema_member(s, i, "$dynamicAnchor");
        str own = id ? s->nodes[id].text : STR("");
        if (own.len && own.data[own.len - 1] == '#') own.len--;
        if (anchor && ((mark && str_eq(s->nodes[mark].text, name)) ||
                       (own.len > 1 && own.data[0] == '#' && str_eq((str){own.data + 1, own.len - 1}, name))))
            return i;
        if (!anchor && own.len && (str_eq(own, name) || str_eq(last_name(own), last_name(name)))) return i;
    }
    return 0;
}

uint32_t schema_pointer(schema *s, uint32_t node, str pointer) {
    size_t hash = 0;
    while (hash < pointer.len && pointer.data[hash] != '#') hash++;
    str file = {pointer.data, hash}, place = {pointer.data + hash, pointer.len - hash};
    if (place.len) place.data++, place.len--;
    uint32_t base = file.len ? named(s, file, false) : base_of(s, node), at = base;
    if (!pointer.len) at = 1;
    if (place.len && place.data[0] != '/')
        at = base ? named(s, place, true) : 0;
    else if (at)
        at = follow(s, at, place);
    if (!at && !file.len && place.len && place.data[0] == '/') at = follow(s, 1, place);
    if (at) return schema_original(s, at);
    int shown = (int)(pointer.len < 96 ? pointer.len : 96);
    if (file.len && !base)
        schema_fail(s, node, "'$ref' is '%.*s'; only places in the same schema, #/…, can be referred to", shown,
                    pointer.data);
    else
        schema_fail(s, node, "'$ref' is '%.*s', which is not there", shown, pointer.data);
    return 0;
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

/* ---- nodes that are made ---- */

static uint32_t new_node(schema *s, schema_node n) {
    if (!grammar_step(s->b) || !grammar_grow(s->b, (void **)&s->nodes, &s->nodes_cap, s->n_nodes + 1,
                                             SCHEMA_NODES_MAX, sizeof *s->nodes, "values"))
        return 0;
    s->nodes[s->n_nodes] = n;
    return (uint32_t)s->n_nodes++;
}

uint32_t schema_make(schema *s, uint32_t of, uint8_t kind) {
    return new_node(s, (schema_node){.kind = kind, .made = true, .parent = of});
}

uint32_t schema_make_bool(schema *s, uint32_t of, bool value) {
    return new_node(s, (schema_node){.kind = JSON_BOOL, .boolean = value, .made = true, .parent = of});
}

uint32_t schema_put_str(schema *s, uint32_t into, str key, uint32_t node) {
    schema_node n = s->nodes[node];
    n.same = schema_original(s, node);
    n.key = key;
    n.next = 0;
    uint32_t id = into && node ? new_node(s, n) : 0;
    if (!id) return 0;
    schema_node *p = &s->nodes[into];
    *(p->last ? &s->nodes[p->last].next : &p->child) = id;
    p->last = id;
    p->n++;
    return id;
}

uint32_t schema_put(schema *s, uint32_t into, const char *key, uint32_t node) {
    return schema_put_str(s, into, str_of(key), node);
}

uint32_t schema_put_text(schema *s, uint32_t into, const char *key, str text) {
    uint32_t node = schema_make(s, into, JSON_STRING);
    if (node) s->nodes[node].text = text;
    return schema_put(s, into, key, node);
}

uint32_t schema_put_integer(schema *s, uint32_t into, const char *key, int64_t n) {
    char digits[24];
    str kept;
    size_t len = (size_t)snprintf(digits, sizeof digits, "%lld", (long long)n);
    uint32_t node = schema_make(s, into, JSON_INT);
    if (!node || !keep(s, (str){digits, len}, &kept)) return 0;
    s->nodes[node].text = kept;
    return schema_put(s, into, key, node);
}
