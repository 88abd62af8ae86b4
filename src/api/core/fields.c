#include "api/core/fields.h"

#include <math.h>
#include <stdio.h>

#include "base/check.h"

typedef struct reader {
    const fields_in *in;
    str source;
    const field *table;
    size_t n_fields;
    bool allow_unknown;
    void *target;
    uint64_t seen[1 + FIELDS_MORE_MAX / 64]; /* of the table's rows; of those that are shared */
    uint32_t n_unknown;
    size_t index;     /* in seen: of */
    const field *now; /* whose value is being read, and */
    void *to;         /* where it goes */
    union {
        str text;
        uint64_t number;
    } nowhere;
    size_t from;      /* where that value begins in source */
    int text_depth;   /* only FIELD_CUSTOM and FIELD_REFUSED look into what a value holds */
    bool skipping;    /* the value of an unknown or ignored field */
    bool named;       /* FIELD_NAMED: somebody has been told */
} reader;

const char *fields_kind_name(json_kind k) {
    switch (k) {
    case JSON_NULL: return "null";
    case JSON_BOOL: return "a boolean";
    case JSON_INT: return "an integer";
    case JSON_DOUBLE: return "a number";
    case JSON_STRING: return "a string";
    case JSON_OBJECT_START: return "an object";
    case JSON_ARRAY_START: return "an array";
    default: return "something else";
    }
}

json_kind fields_kind(str json) {
    switch (json.len ? json.data[0] : 0) {
    case '{': return JSON_OBJECT_START;
    case '[': return JSON_ARRAY_START;
    case '"': return JSON_STRING;
    case 't':
    case 'f': return JSON_BOOL;
    case 'n': return JSON_NULL;
    default: return JSON_INT;
    }
}

/* ---- values as they stand ---- */

/* The first byte of the value behind a key, an item, a bracket. */
static size_t skip_to_value(str s, size_t at) {
    while (at < s.len && strchr(" \t\r\n:,", s.data[at])) at++;
    return at;
}

static str slice(str s, size_t from, uint64_t end) { return (str){s.data + from, (size_t)end - from}; }

/* The text of a string: in the source itself where nothing in it is escaped. */
static bool keep_text(const fields_in *in, str json, str text, str *out, err *e) {
    CHECK(json.len >= 2);
    if (text.len == json.len - 2) {
        *out = (str){json.data + 1, text.len};
        return true;
    }
    char *copy = alloc_bytes(in->texts, text.len);
    if (!copy) return err_set_memory(e, text.len, 0, "no memory for a text of %zu bytes", text.len);
    memcpy(copy, text.data, text.len);
    *out = (str){copy, text.len};
    return true;
}

/* ---- scalars ---- */

static bool wrong_type(const reader *r, const char *wanted, json_kind got, err *e) {
    return err_set(e, ERR_INVALID, "'%s%s' must be %s, not %s", r->in->path, r->now->name, wanted,
                   fields_kind_name(got));
}

static bool in_range(const reader *r, double v, err *e) {
    const field *f = r->now;
    if (v >= f->low && v <= f->high) return true;
    if (f->kind == FIELD_FLOAT)
        return err_set(e, ERR_INVALID, "'%s%s' is %g; it must be %g to %g", r->in->path, f->name, v, f->low,
                       f->high);
    return err_set(e, ERR_INVALID, "'%s%s' is %.15g; it must be %.0f to %.0f", r->in->path, f->name, v,
                   f->low, f->high);
}

/* "f16, q8 or q4" */
static void list_words(const char *const *words, char *out, size_t size) {
    size_t n = 0;
    out[0] = 0;
    for (size_t i = 0; words[i] && n < size; i++) {
        const char *joint = i == 0 ? "" : words[i + 1] ? ", " : " or ";
        n += (size_t)snprintf(out + n, size - n, "%s%s", joint, words[i]);
    }
}

static bool set_word(const reader *r, const json_event *ev, uint32_t *at, err *e) {
    char words[128];
    list_words(r->now->words, words, sizeof words);
    if (ev->kind != JSON_STRING) return wrong_type(r, words, ev->kind, e);
    for (uint32_t i = 0; r->now->words[i]; i++)
        if (str_is(ev->text, r->now->words[i])) return *at = i, true;
    return err_set(e, ERR_INVALID, "'%s%s' is '%.*s'; it must be %s", r->in->path, r->now->name,
                   (int)(ev->text.len < 32 ? ev->text.len : 32), ev->text.data, words);
}

static bool set_integer(const reader *r, const json_event *ev, void *at, err *e) {
    if (ev->kind == JSON_DOUBLE && ev->number == floor(ev->number)) { /* 1e3, or beyond 64 bits */
        if (!in_range(r, ev->number, e)) return false;
    } else if (ev->kind != JSON_INT) {
        return wrong_type(r, "an integer", ev->kind, e);
    }
    if (!in_range(r, ev->number, e)) return false;
    int64_t v = ev->kind == JSON_INT ? ev->integer : (int64_t)ev->number;
    if (r->now->kind == FIELD_LIMIT && v == 0)
        return err_set(e, ERR_INVALID, "'%s%s' is 0; it must be 1 or more, or -1 for no limit", r->in->path,
                       r->now->name);
    if (r->now->kind == FIELD_U32 || r->now->kind == FIELD_LIMIT)
        *(uint32_t *)at = v < 0 ? UINT32_MAX : (uint32_t)v;
    else if (r->now->kind == FIELD_I32)
        *(int32_t *)at = (int32_t)v;
    else
        *(uint64_t *)at = (uint64_t)v;
    return true;
}

static bool set_scalar(const reader *r, const json_event *ev, err *e) {
    void *at = r->to;
    switch (r->now->kind) {
    case FIELD_YES_NO:
    case FIELD_BOOL:
        if (ev->kind != JSON_BOOL) return wrong_type(r, "a boolean", ev->kind, e);
        if (r->now->kind == FIELD_BOOL)
            *(bool *)at = ev->boolean;
        else
            *(uint32_t *)at = ev->boolean ? 2 : 1;
        return true;
    case FIELD_FLOAT:
        if (ev->kind != JSON_INT && ev->kind != JSON_DOUBLE) return wrong_type(r, "a number", ev->kind, e);
        if (!in_range(r, ev->number, e)) return false;
        *(float *)at = (float)ev->number;
        return true;
    case FIELD_WORD: return set_word(r, ev, at, e);
    case FIELD_STRING:
        if (ev->kind != JSON_STRING) return wrong_type(r, "a string", ev->kind, e);
        return keep_text(r->in, slice(r->source, r->from, ev->end), ev->text, at, e);
    default: return set_integer(r, ev, at, e);
    }
}

/* ---- objects ---- */

static const field *find_row(const field *rows, size_t n, str key) {
    for (size_t i = 0; i < n; i++)
        if (str_is(key, rows[i].name)) return &rows[i];
    return NULL;
}

static bool pass_unknown(reader *r, str key, err *e) {
    const fields_more *more = r->in->more;
    if (!r->allow_unknown)
        return err_set(e, ERR_INVALID, "unknown field '%s%.*s'", r->in->path, (int)(key.len < 64 ? key.len : 64),
                       key.data);
    if (!more) return true;
    if (++r->n_unknown > FIELDS_UNKNOWN_MAX)
        return err_set(e, ERR_INVALID, "the body has more than %d fields that are not known", FIELDS_UNKNOWN_MAX);
    if (more->unknown) more->unknown(more->ctx, r->in->path, key, NULL);
    return true;
}

static bool begin_field(reader *r, const json_event *ev, err *e) {
    const fields_more *more = r->in->more;
    void *target = r->target;
    r->text_depth = 1;
    r->named = false;
    r->from = skip_to_value(r->source, (size_t)ev->end);
    r->now = find_row(r->table, r->n_fields, ev->text);
    if (r->now) {
        r->index = (size_t)(r->now - r->table);
    } else if (more && (r->now = find_row(more->rows, more->n_rows, ev->text))) {
        r->index = 64 + (size_t)(r->now - more->rows);
        target = more->target;
    }
    r->skipping = !r->now || r->now->kind == FIELD_IGNORED;
    if (!r->now) return pass_unknown(r, ev->text, e);
    r->to = r->now->use == FIELD_WORKS ? (char *)target + r->now->offset : (void *)&r->nowhere;
    if (r->now->kind == FIELD_CUSTOM) r->to = target;
    uint64_t bit = 1ull << r->index % 64, *seen = &r->seen[r->index / 64];
    if (*seen & bit) return err_set(e, ERR_INVALID, "'%s%s' is there twice", r->in->path, r->now->name);
    *seen |= bit;
    if (r->now->kind == FIELD_CUSTOM || r->now->use == FIELD_REFUSED) r->text_depth = JSON_MAX_DEPTH;
    return true;
}

/* What asks for nothing may stand there: clients send whole sets of defaults. */
static bool check_refused(const reader *r, const json_event *ev, err *e) {
    const field *f = r->now;
    bool starts = ev->kind == JSON_OBJECT_START || ev->kind == JSON_ARRAY_START;
    bool ends = ev->kind == JSON_OBJECT_END || ev->kind == JSON_ARRAY_END;
    bool number = ev->kind == JSON_INT || ev->kind == JSON_DOUBLE;
    bool nothing = ev->depth == 1 && (starts || ends || (ev->kind == JSON_BOOL && !ev->boolean) ||
                                      (ev->kind == JSON_STRING && !ev->text.len) ||
                                      (number && ev->number >= f->low && ev->number <= f->high));
    if (f->kind == FIELD_FLOAT && !number) return wrong_type(r, "a number", ev->kind, e);
    return nothing || err_set(e, ERR_INVALID, "'%s%s' %s", r->in->path, f->name, f->why);
}

/* One of the kinds that are kept as text: its first event is checked, its last ends it. */
static bool keep_json(reader *r, const json_event *ev, err *e) {
    json_kind wanted = r->now->kind == FIELD_OBJECT ? JSON_OBJECT_START : JSON_ARRAY_START;
    bool starts = ev->kind == JSON_OBJECT_START || ev->kind == JSON_ARRAY_START;
    bool ends = ev->kind == JSON_OBJECT_END || ev->kind == JSON_ARRAY_END;
    if (ev->depth > 1) return true;
    if (!ends && r->now->kind != FIELD_ANY && ev->kind != wanted)
        return wrong_type(r, fields_kind_name(wanted), ev->kind, e);
    if (!starts) *(str *)r->to = slice(r->source, r->from, ev->end);
    return true;
}

static void name_field(reader *r) {
    const fields_more *more = r->in->more;
    r->named = true;
    if (more && more->unknown) more->unknown(more->ctx, r->in->path, str_of(r->now->name), r->now->why);
}

static bool on_event(void *ctx, const json_event *ev, err *e) {
    reader *r = ctx;
    if (ev->depth == 0) {
        if (ev->kind == JSON_OBJECT_START || ev->kind == JSON_OBJECT_END) return true;
        size_t n = strlen(r->in->path);
        if (!n)
            return err_set(e, ERR_INVALID, "the body must be a JSON object, not %s",
                           fields_kind_name(ev->kind));
        return err_set(e, ERR_INVALID, "'%.*s' must be an object, not %s", (int)n - 1, r->in->path,
                       fields_kind_name(ev->kind));
    }
    if (ev->depth == 1 && ev->kind == JSON_KEY) return begin_field(r, ev, e);
    if (r->skipping) return true;
    if (ev->depth == 1 && ev->kind == JSON_NULL) {
        r->seen[r->index / 64] &= ~(1ull << r->index % 64);
        return true;
    }
    if (r->now->use == FIELD_REFUSED) return check_refused(r, ev, e);
    if (r->now->use == FIELD_NAMED && !r->named) name_field(r);
    switch (r->now->kind) {
    case FIELD_CUSTOM: return r->now->events(r->to, ev, ev->depth - 1, e);
    case FIELD_OBJECT:
    case FIELD_ARRAY:
    case FIELD_ANY: return keep_json(r, ev, e);
    default: return set_scalar(r, ev, e);
    }
}

/* What is JSON, but not to be read: the value at hand is why. Broken JSON has no field to be blamed. */
static bool is_beyond_reading(const err *e) {
    return e->code == ERR_INVALID && !strncmp(e->message, "at byte", 7) &&
           (strstr(e->message, ": nested deeper") || strstr(e->message, ": number out of range"));
}

bool fields_parse_in(const fields_in *in, str text, const field *table, size_t n_fields, bool allow_unknown,
                     void *target, uint64_t *seen, err *e) {
    CHECK(n_fields <= FIELDS_MAX && (!in->more || in->more->n_rows <= FIELDS_MORE_MAX));
    reader r = {.in = in,
                .source = text,
                .table = table,
                .n_fields = n_fields,
                .allow_unknown = allow_unknown,
                .target = target,
                .text_depth = 1};
    bool ok = json_parse_outer(in->parser, text, &r.text_depth, on_event, &r, e);
    if (!ok && r.now && is_beyond_reading(e)) err_prefix(e, "'%s%s': ", in->path, r.now->name);
    if (seen) *seen = r.seen[0];
    return ok;
}

bool fields_parse(const base_alloc *alloc, str text, const field *table, size_t n_fields, bool allow_unknown,
                  void *target, uint64_t *seen, err *e) {
    fields_in in = {alloc, alloc, "", NULL};
    return fields_parse_in(&in, text, table, n_fields, allow_unknown, target, seen, e);
}

/* ---- arrays ---- */

typedef struct items {
    const fields_in *in;
    str source;
    size_t from;
    field_item now;
    char path[FIELD_PATH_BYTES];
    field_on_item *on_item;
    void *ctx;
} items;

static bool begin_item(items *x, const json_event *ev, err *e) {
    x->now.kind = ev->kind;
    x->now.text = STR("");
    x->now.integer = ev->integer;
    snprintf(x->path, sizeof x->path, "%s[%u]", x->in->path, x->now.index);
    if (ev->kind != JSON_STRING) return true;
    return keep_text(x->in, slice(x->source, x->from, ev->end), ev->text, &x->now.text, e);
}

static bool on_item_event(void *ctx, const json_event *ev, err *e) {
    items *x = ctx;
    bool starts = ev->kind == JSON_OBJECT_START || ev->kind == JSON_ARRAY_START;
    bool ends = ev->kind == JSON_OBJECT_END || ev->kind == JSON_ARRAY_END;
    if (ev->depth > 1) return true;
    if (ev->depth == 0) {
        CHECK(starts || ends); /* whoever calls knows that it is an array */
        x->from = skip_to_value(x->source, (size_t)ev->end);
        return true;
    }
    if (!ends && !begin_item(x, ev, e)) return false;
    if (starts) return true;
    x->now.json = slice(x->source, x->from, ev->end);
    if (!x->on_item(x->ctx, &x->now, e)) return false;
    x->now.index++;
    x->from = skip_to_value(x->source, (size_t)ev->end);
    return true;
}

bool fields_each(const fields_in *in, str array, field_on_item *on_item, void *ctx, err *e) {
    CHECK(fields_kind(array) == JSON_ARRAY_START);
    items x = {.in = in, .source = array, .on_item = on_item, .ctx = ctx};
    const int text_depth = 1;
    x.now.path = x.path;
    return json_parse_outer(in->parser, array, &text_depth, on_item_event, &x, e);
}

typedef struct lone_text {
    const fields_in *in;
    str json, out;
} lone_text;

static bool on_text(void *ctx, const json_event *ev, err *e) {
    lone_text *x = ctx;
    CHECK(ev->kind == JSON_STRING);
    return keep_text(x->in, x->json, ev->text, &x->out, e);
}

bool fields_text(const fields_in *in, str json, str *out, err *e) {
    lone_text x = {in, json, STR("")};
    if (!json_parse(in->parser, json, on_text, &x, e)) return false;
    *out = x.out;
    return true;
}
