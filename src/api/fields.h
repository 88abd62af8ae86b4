/* api/fields — a JSON object read by a table of fields.
 *
 * Owns the strictness that every dialect shares: a field has one type and one range, wrong ones are
 * refused by name, a known field may not come twice, null means absent. What a dialect does with
 * unknown fields is its own choice. */
#ifndef API_FIELDS_H
#define API_FIELDS_H

#include "base/json.h"

typedef enum field_kind {
    FIELD_BOOL,   /* bool */
    FIELD_U32,    /* uint32_t */
    FIELD_I32,    /* int32_t */
    FIELD_U64,    /* uint64_t */
    FIELD_FLOAT,  /* float */
    FIELD_WORD,   /* uint32_t: the index in words */
    FIELD_CUSTOM, /* events go to the row's function until the value is whole */
    FIELD_IGNORED /* any value */
} field_kind;

typedef struct field_reader field_reader;
/* depth: 0 for the value itself. */
typedef bool field_events(void *target, const json_event *event, int depth, err *e);

typedef struct field {
    const char *name;
    field_kind kind;
    size_t offset; /* of the value in target */
    double low, high;
    field_events *events;     /* FIELD_CUSTOM */
    const char *const *words; /* FIELD_WORD: all that are allowed, NULL at the end */
} field;

/* Parses text as one object into target. ERR_INVALID names field and reason. *seen: bit i for row i. */
bool fields_parse(const base_alloc *alloc, str text, const field *table, size_t n_fields, bool allow_unknown,
                  void *target, uint64_t *seen, err *e);

#endif
