/* JSON: what a template is given, and what tojson writes. Lists and mappings are printed so, too. */
#include "text/template/internal.h"

#include <math.h>

#include "base/check.h"
#include "base/json.h"

/* ---- in ---- */

/* What is told is told twice: first it is only counted, so that lists and mappings are made as large as they get. */
enum { COUNTS = 1022 };
typedef struct counts {
    struct counts *next;
    uint32_t n, of[COUNTS]; /* members, container by container in the order they open */
} counts;

/* Objects with the same keys share them; alike by a hash of all their keys, found out key by key. */
enum { SHAPES = 256, SHAPE_SHIFT = 24 };
typedef struct shape {
    value *keys;
    uint32_t n;
} shape;

typedef struct open_container {
    uint32_t *count; /* while counting: members, and of an object its shape in the highest byte */
    uint32_t hash;
    bool is_list;
    shape *shape; /* where its keys are kept for those like it; NULL: of a list, or large */
    value made;
    value *items;
    size_t n;
    str key; /* under which it goes into the one it stands in */
} open_container;

typedef struct stream stream;
struct text_template_input {
    run *r;
    bool counting, ended;
    bool part;       /* of one that was closed, into made; else of all, into the globals */
    int skips;       /* containers that are open of a global which the template does not name; 0: none is skipped */
    stream *to;      /* what is put is written there, and not kept; NULL: it is kept */
    mapping *made;
    counts *first, *now;
    uint32_t next; /* in now */
    shape shapes[SHAPES];
    open_container open[JSON_MAX_DEPTH + TEXT_TEMPLATE_TOLD_DEPTH + 1];
    int depth;
    str key;
    str source;     /* of what is parsed: texts in there stay */
    bool copies;    /* of those that do not */
};

/* A text without escapes stands in what is given as it is. */
static bool keep_text(text_template_input *d, str s, str *out) {
    bool inside = s.data >= d->source.data && s.data + s.len <= d->source.data + d->source.len;
    if (!d->copies || inside || d->counting) return *out = s, true;
    char *copy = region_take_text(&d->r->memory, s.len);
    if (!copy) return run_refused(d->r);
    if (s.len) memcpy(copy, s.data, s.len);
    return *out = (str){copy, s.len}, true;
}

static bool set_global(text_template_input *d, str name, value v) {
    uint32_t symbol = symbols_find(&d->r->template->names, name);
    if (symbol != NO_SYMBOL) d->r->globals[symbol] = v;
    return true;
}

/* ---- while counting ---- */

static bool count_container(text_template_input *d, bool is_list) {
    if (d->now && d->now->n == COUNTS && d->now->next) d->now = d->now->next, d->now->n = 0; /* from a time before */
    if (!d->now || d->now->n == COUNTS) {
        counts *more;
        if (!run_take(d->r, sizeof *more, &more)) return false;
        more->next = NULL;
        more->n = 0;
        if (d->now) d->now->next = more;
        else d->first = more;
        d->now = more;
    }
    d->open[d->depth].count = &d->now->of[d->now->n++];
    d->open[d->depth].is_list = is_list;
    d->open[d->depth].hash = 0;
    *d->open[d->depth++].count = 0;
    return true;
}

static bool note_shape(text_template_input *d, const open_container *c) {
    if (!c->is_list && *c->count >> SHAPE_SHIFT) return run_fail(d->r, "an object with too many members");
    if (!c->is_list) *c->count |= c->hash % SHAPES << SHAPE_SHIFT;
    return true;
}

static bool count_value(text_template_input *d) {
    if (d->depth) ++*d->open[d->depth - 1].count;
    return run_spend(d->r, 1);
}

/* ---- while making ---- */

static bool add(text_template_input *d, value v) {
    open_container *c = &d->open[d->depth - 1];
    if (d->depth == 1 && !d->part) return set_global(d, d->key, v);
    if (c->items) return c->items[c->n++] = v, true;
    value key = value_string(d->key);
    mapping *m = c->made.mapping;
    bool alike = m->shared && m->n < m->cap && str_eq(value_str(&m->keys[m->n]), d->key);
    if (alike) return m->values[m->n++] = v, run_spend(d->r, 1);
    return mapping_set(d->r, m, &key, v);
}

static uint32_t next_count(text_template_input *d) {
    if (d->next == COUNTS) d->now = d->now->next, d->next = 0;
    return d->now->of[d->next++];
}

/* Of few members: more are found by an index. */
static bool open_mapping(text_template_input *d, uint32_t n, shape *alike, open_container *c) {
    mapping *m;
    bool shares = alike->keys && alike->n == n;
    if (!mapping_new(d->r, n > MAPPING_LINEAR ? n : 0, &m)) return false;
    c->made = value_mapping(m);
    if (n == 0 || n > MAPPING_LINEAR) return true;
    if (!run_take(d->r, n * sizeof *m->values, &m->values)) return false;
    if (!shares && !run_take(d->r, n * sizeof *m->keys, &m->keys)) return false;
    if (shares) m->keys = alike->keys;
    m->shared = shares;
    m->cap = n & MAPPING_CAP_MASK;
    c->shape = alike;
    return true;
}

static bool open_one(text_template_input *d, bool is_list) {
    if (d->counting) return count_container(d, is_list);
    open_container *c = &d->open[d->depth];
    uint32_t n = next_count(d);
    *c = (open_container){.key = d->key};
    if (d->depth++ == 0 && !d->part) return true;
    if (is_list) return list_new(d->r, n, &c->made, &c->items);
    return open_mapping(d, n & ((1u << SHAPE_SHIFT) - 1), &d->shapes[n >> SHAPE_SHIFT], c);
}

/* All its keys are known now; of those that are there twice there are fewer than were counted. */
static void keep_shape(const open_container *c) {
    mapping *m = c->made.mapping;
    if (!c->shape || m->shared || !m->n || m->n < m->cap) return;
    m->shared = true;
    *c->shape = (shape){m->keys, m->n};
}

static bool close_one(text_template_input *d) {
    open_container *c = &d->open[--d->depth];
    d->ended = d->depth == 0;
    if (d->ended && !d->part) return true;
    if (d->counting) return note_shape(d, c) && (d->ended || count_value(d));
    keep_shape(c);
    if (d->ended) return d->made = c->made.mapping, true;
    d->key = c->key;
    return add(d, c->made);
}

static bool number_value(text_template_input *d, const json_event *ev, value *out) {
    whole w;
    bool large, is_whole = true;
    for (size_t i = 0; i < ev->text.len; i++) is_whole &= !memchr(".eE", ev->text.data[i], 3);
    if (ev->kind == JSON_INT) return *out = value_integer(ev->integer), true;
    if (is_whole && text_to_whole(ev->text, 10, &w, &large)) return whole_value(d->r, w, out);
    return *out = value_float(ev->number), true;
}

static bool scalar(text_template_input *d, const json_event *ev) {
    str text;
    value number;
    if (d->counting) return count_value(d);
    switch (ev->kind) {
    case JSON_NULL: return add(d, value_of(NONE));
    case JSON_BOOL: return add(d, value_boolean(ev->boolean));
    case JSON_STRING: return keep_text(d, ev->text, &text) && add(d, value_string(text));
    default: return number_value(d, ev, &number) && add(d, number);
    }
}

/* Of globals that the template does not name nothing is made. */
static bool is_skipped(text_template_input *d, const json_event *ev) {
    bool starts = ev->kind == JSON_OBJECT_START || ev->kind == JSON_ARRAY_START;
    bool ends = ev->kind == JSON_OBJECT_END || ev->kind == JSON_ARRAY_END;
    if (!d->skips) {
        if (d->depth != 1 || d->part || ends || ev->kind == JSON_KEY) return false;
        if (symbols_find(&d->r->template->names, d->key) != NO_SYMBOL) return false;
    }
    d->skips += starts - ends;
    return true;
}

static bool write_event(stream *s, const json_event *ev);

bool text_template_put(text_template_input *d, const json_event *ev) {
    if (d->to) return write_event(d->to, ev);
    if (is_skipped(d, ev)) return run_spend(d->r, 1);
    bool container = ev->kind == JSON_OBJECT_START || ev->kind == JSON_ARRAY_START;
    bool fits = d->depth < JSON_MAX_DEPTH + TEXT_TEMPLATE_TOLD_DEPTH;
    if (d->depth == 0 && (ev->kind != JSON_OBJECT_START || d->ended))
        return run_fail(d->r, "the context must be a JSON object");
    if (ev->kind == JSON_KEY && d->counting)
        d->open[d->depth - 1].hash = (d->open[d->depth - 1].hash ^ (uint32_t)str_hash(ev->text)) * 16777619u;
    if (ev->kind == JSON_KEY) return keep_text(d, ev->text, &d->key);
    if (container && !fits) return run_fail(d->r, "the context is nested too deep");
    if (ev->kind == JSON_STRING && ev->text.len > UINT32_MAX / 2) return run_fail(d->r, "a text is too large");
    if (container) return open_one(d, ev->kind == JSON_ARRAY_START);
    return ev->kind == JSON_OBJECT_END || ev->kind == JSON_ARRAY_END ? close_one(d) : scalar(d, ev);
}

static bool on_event(void *ctx, const json_event *ev, err *e) {
    (void)e;
    return text_template_put(ctx, ev);
}

bool text_template_is_counting(const text_template_input *d) { return d->counting; }
bool text_template_passes(const text_template_input *d) { return d->to != NULL; }

bool text_template_put_part(text_template_input *d, str json) {
    mapping *m;
    CHECK(d->depth > 0 && !d->to && json.len);
    if (is_skipped(d, &(json_event){.kind = JSON_NULL})) return run_spend(d->r, 1);
    if (json.len > UINT32_MAX / 2) return run_fail(d->r, "an object is too large");
    if (d->counting) return count_value(d);
    if (!run_take(d->r, sizeof *m, &m)) return false;
    *m = (mapping){.part = json.data, .n = (uint32_t)json.len, .closed = true};
    return add(d, value_mapping(m));
}

/* Once counted, once made. */
static bool take(text_template_input *d, text_template_tell *tell, void *ctx) {
    d->counting = true;
    d->ended = false;
    d->depth = 0;
    d->now = d->first;
    if (d->now) d->now->n = 0;
    if (!tell(ctx, d, d->r->e)) return false;
    d->counting = d->ended = false;
    d->depth = 0;
    d->now = d->first;
    d->next = 0;
    return tell(ctx, d, d->r->e);
}

static bool tell_part(void *ctx, text_template_input *d, err *e) {
    const mapping *m = ctx;
    return d->r->tell_part(d->r->tell_ctx, d, (str){m->part, m->n}, e);
}

bool template_open_part(run *r, mapping *m) {
    text_template_input *d = r->input;
    d->part = true;
    r->n_opened++;
    if (!take(d, tell_part, m)) return r->why = FAILED, false;
    *m = *d->made;
    return true;
}

bool template_take_input(run *r, text_template_tell *tell, void *ctx, bool copies, str source) {
    text_template_input *d;
    if (!run_take(r, sizeof *d, &d)) return false;
    *d = (text_template_input){.r = r, .copies = copies, .source = source};
    r->input = d;
    return take(d, tell, ctx);
}

/* ---- JSON as it stands ---- */

typedef struct json_told {
    const base_alloc *alloc;
    str json;
} json_told;

static bool tell_json(void *ctx, text_template_input *in, err *e) {
    const json_told *j = ctx;
    return json_parse(j->alloc, j->json, on_event, in, e) || err_prefix(e, "the template's context: ");
}

bool template_read_context(run *r, str context_json) {
    json_told j = {r->memory.alloc, context_json};
    if (context_json.len > UINT32_MAX / 2) return run_fail(r, "the context is too large");
    return template_take_input(r, tell_json, &j, true, context_json);
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

static bool write_closed(writer *w, const mapping *m, bool *written);

static bool write_mapping(writer *w, const mapping *m) {
    value pairs = {0};
    sort_order order = {.key = key_of_pair};
    bool sort = w->style->sort_keys, written = false;
    if (m->closed && !sort && !write_closed(w, m, &written)) return false;
    if (written) return true;
    if (!mapping_open(w->b.r, m)) return false;
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
        if (!write_key(w, pair ? pair : &m->keys[i])) return false;
        build_append(&w->b, w->style->key_separator);
        if (!write_value(w, pair ? pair + 1 : &m->values[i])) return false;
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
    case FLOAT:
        build_append(&w->b, float_json(v->number, number));
        return run_spend(w->b.r, FLOAT_TEXT_STEPS);
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

/* ---- out, of what nobody has looked into: as it is told ---- */

/* Keys of the objects that are open, by their hashes: an object where one is twice has to be taken apart. Of an object
 * with many they are in a table, which all large ones share, each with a number of its own in its hashes. */
enum { STREAM_KEYS = 1024, STREAM_KEYS_OF_ONE = 64 };

typedef struct stream_level {
    uint32_t n, keys_from;
    uint64_t number;
    bool is_list, large;
} stream_level;

struct stream {
    writer *w;
    bool gives_up;
    int depth;
    uint32_t n_keys;
    stream_level levels[JSON_MAX_DEPTH + TEXT_TEMPLATE_TOLD_DEPTH + 1];
    uint64_t keys[STREAM_KEYS];
    uint64_t objects; /* so far */
    uint64_t *table;
    size_t table_size, table_used, json_bytes;
};

/* In proportion to what is written; an object of more keys than that, all short, is taken apart. */
static bool is_in_table(stream *s, uint64_t hash) {
    if (!s->table) {
        for (s->table_size = 64; s->table_size * 8 <= s->json_bytes;) s->table_size *= 2;
        if (!run_take(s->w->b.r, s->table_size * sizeof *s->table, &s->table)) return true;
        memset(s->table, 0, s->table_size * sizeof *s->table);
    }
    size_t i = (hash ^ hash >> 32) & (s->table_size - 1);
    while (s->table[i] && s->table[i] != hash) i = (i + 1) & (s->table_size - 1);
    if (s->table[i] || ++s->table_used > s->table_size / 4 * 3) return true;
    s->table[i] = hash;
    return false;
}

static bool is_known(stream *s, const stream_level *l, uint64_t hash) {
    if (l->large) return is_in_table(s, (hash ^ l->number * 0x9E3779B97F4A7C15ull) | 1);
    for (uint32_t i = l->keys_from; i < s->n_keys; i++)
        if (s->keys[i] == hash) return true;
    s->keys[s->n_keys++] = hash;
    return false;
}

/* The keys of an object that turns out to be large, into the table. */
static bool move_keys(stream *s, stream_level *l) {
    for (uint32_t i = l->keys_from; i < s->n_keys; i++)
        if (is_in_table(s, (s->keys[i] ^ l->number * 0x9E3779B97F4A7C15ull) | 1)) return false;
    s->n_keys = l->keys_from;
    return l->large = true;
}

static void begin_item(stream *s, stream_level *l) {
    if (l->n++) build_append(&s->w->b, s->w->style->item_separator);
    break_line(s->w);
}

static bool stream_key(stream *s, str key) {
    stream_level *l = &s->levels[s->depth - 1];
    uint64_t hash = str_hash(key);
    value text = value_string(key);
    bool grows = !l->large && (s->n_keys == STREAM_KEYS || l->n == STREAM_KEYS_OF_ONE);
    if ((grows && !move_keys(s, l)) || is_known(s, l, hash)) return s->gives_up = true, false;
    begin_item(s, l);
    if (!write_key(s->w, &text)) return false;
    build_append(&s->w->b, s->w->style->key_separator);
    return true;
}

static bool stream_open(stream *s, bool is_list) {
    if (s->depth == sizeof s->levels / sizeof *s->levels || s->w->depth >= VALUE_DEPTH_MAX)
        return run_fail(s->w->b.r, "values nested more than %d deep", VALUE_DEPTH_MAX);
    s->levels[s->depth++] = (stream_level){.is_list = is_list, .keys_from = s->n_keys, .number = ++s->objects};
    s->w->depth++;
    build_append(&s->w->b, is_list ? STR("[") : STR("{"));
    return run_spend(s->w->b.r, 1);
}

static bool stream_close(stream *s) {
    const stream_level *l = &s->levels[--s->depth];
    s->n_keys = l->keys_from;
    s->w->depth--;
    if (l->n) break_line(s->w);
    build_append(&s->w->b, l->is_list ? STR("]") : STR("}"));
    return true;
}

static bool stream_scalar(stream *s, const json_event *ev) {
    text_template_input *d = s->w->b.r->input;
    value v = value_of(NONE);
    if (ev->kind == JSON_BOOL) v = value_boolean(ev->boolean);
    else if (ev->kind == JSON_STRING) v = value_string(ev->text);
    else if (ev->kind != JSON_NULL && !number_value(d, ev, &v)) return false;
    return write_value(s->w, &v);
}

static bool write_event(stream *s, const json_event *ev) {
    if (s->w->b.failed) return false;
    switch (ev->kind) {
    case JSON_KEY: return stream_key(s, ev->text);
    case JSON_OBJECT_END:
    case JSON_ARRAY_END: return stream_close(s);
    default: break;
    }
    if (s->depth && s->levels[s->depth - 1].is_list) begin_item(s, &s->levels[s->depth - 1]);
    bool array = ev->kind == JSON_ARRAY_START;
    if (ev->kind == JSON_OBJECT_START || array) return stream_open(s, array);
    return stream_scalar(s, ev);
}

/* *written is false where it has to be taken apart first. */
static bool write_closed(writer *w, const mapping *m, bool *written) {
    run *r = w->b.r;
    size_t len = w->b.len, depth = w->depth;
    stream s = {.w = w, .json_bytes = m->n};
    err before = *r->e;
    r->input->to = &s;
    bool good = r->tell_part(r->tell_ctx, r->input, (str){m->part, m->n}, r->e);
    r->input->to = NULL;
    *written = good;
    if (good) return true;
    if (!s.gives_up) return r->why = FAILED, false;
    *r->e = before;
    w->b.len = len;
    w->depth = depth;
    return true;
}

bool json_of_value(run *r, const value *v, const json_style *style, value *out) {
    writer w = {.style = style};
    size_t closed = v->kind == MAPPING && v->mapping->closed ? v->mapping->n : 0;
    build_begin(&w.b, r, v->kind == STRING ? v->bytes + 2 : closed ? closed + closed / 2 + 256 : 0);
    return write_value(&w, v) && build_end(&w.b, out);
}
