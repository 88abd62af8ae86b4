#include "api/fields.h"

#include <math.h>
#include <stdio.h>

#include "base/check.h"

enum { FIELDS_MAX = 64 };

typedef struct reader {
    const field *table;
    size_t n_fields;
    bool allow_unknown;
    void *target;
    uint64_t seen;
    const field *now; /* whose value is being read */
    bool skipping;    /* the value of an unknown or ignored field */
} reader;

static const char *kind_name(json_kind k) {
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

static bool wrong_type(const field *f, const char *wanted, json_kind got, err *e) {
    return err_set(e, ERR_INVALID, "'%s' must be %s, not %s", f->name, wanted, kind_name(got));
}

static bool in_range(const field *f, double v, err *e) {
    if (v >= f->low && v <= f->high) return true;
    if (f->kind == FIELD_FLOAT)
        return err_set(e, ERR_INVALID, "'%s' is %g; it must be %g to %g", f->name, v, f->low, f->high);
    return err_set(e, ERR_INVALID, "'%s' is %.15g; it must be %.0f to %.0f", f->name, v, f->low, f->high);
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

static bool set_word(const field *f, const json_event *ev, uint32_t *at, err *e) {
    char words[128];
    list_words(f->words, words, sizeof words);
    if (ev->kind != JSON_STRING) return wrong_type(f, words, ev->kind, e);
    for (uint32_t i = 0; f->words[i]; i++)
        if (str_is(ev->text, f->words[i])) return *at = i, true;
    return err_set(e, ERR_INVALID, "'%s' is '%.*s'; it must be %s", f->name,
                   (int)(ev->text.len < 32 ? ev->text.len : 32), ev->text.data, words);
}

static bool set_scalar(const field *f, const json_event *ev, void *target, err *e) {
    void *at = (char *)target + f->offset;
    switch (f->kind) {
    case FIELD_BOOL:
        if (ev->kind != JSON_BOOL) return wrong_type(f, "a boolean", ev->kind, e);
        *(bool *)at = ev->boolean;
        return true;
    case FIELD_FLOAT:
        if (ev->kind != JSON_INT && ev->kind != JSON_DOUBLE) return wrong_type(f, "a number", ev->kind, e);
        if (!in_range(f, ev->number, e)) return false;
        *(float *)at = (float)ev->number;
        return true;
    case FIELD_WORD: return set_word(f, ev, at, e);
    case FIELD_U32:
    case FIELD_I32:
    case FIELD_U64:
        if (ev->kind == JSON_DOUBLE && ev->number == floor(ev->number)) { /* 1e3, or beyond 64 bits */
            if (!in_range(f, ev->number, e)) return false;
        } else if (ev->kind != JSON_INT) {
            return wrong_type(f, "an integer", ev->kind, e);
        }
        if (!in_range(f, ev->number, e)) return false;
        int64_t v = ev->kind == JSON_INT ? ev->integer : (int64_t)ev->number;
        if (f->kind == FIELD_U32) *(uint32_t *)at = (uint32_t)v;
        else if (f->kind == FIELD_I32) *(int32_t *)at = (int32_t)v;
        else *(uint64_t *)at = (uint64_t)v;
        return true;
    default: return true;
    }
}

static bool begin_field(reader *r, str key, err *e) {
    r->now = NULL;
    for (size_t i = 0; i < r->n_fields && !r->now; i++)
        if (str_is(key, r->table[i].name)) r->now = &r->table[i];
    r->skipping = !r->now || r->now->kind == FIELD_IGNORED;
    if (!r->now)
        return r->allow_unknown ||
               err_set(e, ERR_INVALID, "unknown field '%.*s'", (int)(key.len < 64 ? key.len : 64), key.data);
    uint64_t bit = 1ull << (r->now - r->table);
    if (r->seen & bit) return err_set(e, ERR_INVALID, "'%s' is there twice", r->now->name);
    r->seen |= bit;
    return true;
}

static bool on_event(void *ctx, const json_event *ev, err *e) {
    reader *r = ctx;
    if (ev->depth == 0) {
        if (ev->kind == JSON_OBJECT_START || ev->kind == JSON_OBJECT_END) return true;
        return err_set(e, ERR_INVALID, "the body must be a JSON object, not %s", kind_name(ev->kind));
    }
    if (ev->depth == 1 && ev->kind == JSON_KEY) return begin_field(r, ev->text, e);
    if (r->skipping) return true;
    if (ev->depth == 1 && ev->kind == JSON_NULL) {
        r->seen &= ~(1ull << (r->now - r->table));
        return true;
    }
    if (r->now->kind == FIELD_CUSTOM) return r->now->events(r->target, ev, ev->depth - 1, e);
    return set_scalar(r->now, ev, r->target, e);
}

bool fields_parse(const base_alloc *alloc, str text, const field *table, size_t n_fields, bool allow_unknown,
                  void *target, uint64_t *seen, err *e) {
    CHECK(n_fields <= FIELDS_MAX);
    reader r = {.table = table, .n_fields = n_fields, .allow_unknown = allow_unknown, .target = target};
    bool ok = json_parse(alloc, text, on_event, &r, e);
    if (seen) *seen = r.seen;
    return ok;
}
