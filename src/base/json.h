/* base/json — JSON events in, JSON text out. The seam around yajl.
 *
 * Reading: feed bytes as they arrive; each value reaches one callback with its place. No tree is
 * built; memory is the parser's state plus the longest string that spans two feeds. Refused, beyond
 * what RFC 8259 refuses: nesting over JSON_MAX_DEPTH, lone surrogates, anything after the value,
 * a string over the reader's limit. Duplicate keys are the consumer's to refuse (it knows which
 * keys it knows).
 *
 * Writing: into a buf; commas and escapes are the writer's business. Numbers that are not finite are
 * written as null.
 */
#ifndef BASE_JSON_H
#define BASE_JSON_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/str.h"

enum { JSON_MAX_DEPTH = 256 };

typedef enum json_kind {
    JSON_NULL, JSON_BOOL, JSON_INT, JSON_DOUBLE, JSON_STRING,
    JSON_OBJECT_START, JSON_KEY, JSON_OBJECT_END, JSON_ARRAY_START, JSON_ARRAY_END,
} json_kind;

/* depth: 0 for the outermost value; a key has the depth of its value. text: strings (unescaped, valid
 * UTF-8), keys, and the literal of numbers; valid only during the call. An integer literal outside
 * int64 arrives as JSON_DOUBLE. */
typedef struct json_event {
    json_kind kind;
    int depth;
    bool boolean;
    int64_t integer;
    double number; /* set for JSON_INT too */
    str text;
    uint64_t end; /* bytes fed up to the end of what this event says: of its literal, key, bracket */
} json_event;

/* Returns false to stop; fill *e with the reason. */
typedef bool json_on_event(void *ctx, const json_event *event, err *e);

typedef struct json_reader json_reader;

/* NULL when the allocator refuses. Callback errors and syntax errors come back from feed/finish as
 * ERR_INVALID: syntax errors say where ("at byte N: …"), the callback's own stand as it put them. */
json_reader *json_reader_new(const base_alloc *alloc, size_t string_limit_bytes, json_on_event *on_event, void *ctx);
bool json_reader_feed(json_reader *r, str bytes, err *e);
bool json_reader_finish(json_reader *r, err *e);
void json_reader_free(json_reader *r);

/* A whole text at once. */
bool json_parse(const base_alloc *alloc, str text, json_on_event *on_event, void *ctx, err *e);
/* The same without the texts and keys that stand deeper than *text_depth: they are checked, and there are no events
 * for them. Whoever keeps inner values as they stand need not pay for their being unescaped. on_event may change it. */
bool json_parse_outer(const base_alloc *alloc, str text, const int *text_depth, json_on_event *on_event, void *ctx,
                      err *e);

typedef struct json_writer {
    buf *out;
    uint64_t has_items[JSON_MAX_DEPTH / 64]; /* bit per depth: something was written at this level */
    int depth;
    bool after_key;
} json_writer;

void json_begin(json_writer *w, buf *out);
void json_object_start(json_writer *w);
void json_object_end(json_writer *w);
void json_array_start(json_writer *w);
void json_array_end(json_writer *w);
void json_key(json_writer *w, const char *key);
void json_string(json_writer *w, str s); /* malformed UTF-8 becomes U+FFFD */
void json_int(json_writer *w, int64_t v);
void json_uint(json_writer *w, uint64_t v);
void json_double(json_writer *w, double v); /* shortest of %.15g/%.17g that reads back */
void json_fixed(json_writer *w, double v, int decimals);
void json_bool(json_writer *w, bool v);
void json_null(json_writer *w);
void json_raw(json_writer *w, str json); /* an already written value */

/* key and value in one call */
void json_put_string(json_writer *w, const char *key, str s);
void json_put_int(json_writer *w, const char *key, int64_t v);
void json_put_uint(json_writer *w, const char *key, uint64_t v);
void json_put_fixed(json_writer *w, const char *key, double v, int decimals);
void json_put_bool(json_writer *w, const char *key, bool v);

#endif
