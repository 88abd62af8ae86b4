/* api/core/fields — JSON objects and arrays read by tables of fields.
 *
 * Owns the strictness that every dialect shares: a field has one type and one range, wrong ones are
 * refused by name, a known field may not come twice, null means absent. What a dialect does with
 * unknown fields is its own choice; those of other servers that change what is said are rows like its own
 * (FIELD_REFUSED where they cannot be had): none is ignored in silence. Objects within objects are read from
 * their text (FIELD_OBJECT, fields_each), each by a table of its own; errors name the way ('messages[2].role'). */
#ifndef API_CORE_FIELDS_H
#define API_CORE_FIELDS_H

#include "base/json.h"

typedef enum field_kind {
    FIELD_BOOL,   /* bool */
    FIELD_YES_NO, /* uint32_t: 1 for false, 2 for true; what it was where nothing is said */
    FIELD_U32,    /* uint32_t */
    FIELD_LIMIT,  /* uint32_t: 1 and more, or −1, which many clients say for none: UINT32_MAX */
    FIELD_I32,    /* int32_t */
    FIELD_U64,    /* uint64_t */
    FIELD_FLOAT,  /* float */
    FIELD_WORD,   /* uint32_t: the index in words */
    FIELD_STRING, /* str: the text itself; stays valid as long as the JSON and fields_in.texts */
    FIELD_OBJECT, /* str: its JSON, as it stands */
    FIELD_ARRAY,  /* str: the same */
    FIELD_ANY,    /* str: the same of any value, null aside */
    FIELD_CUSTOM, /* events go to the row's function until the value is whole */
    FIELD_IGNORED /* any value */
} field_kind;

typedef enum field_use {
    FIELD_WORKS,
    FIELD_CHECKED, /* of no consequence for what is said: its type is checked, its value goes nowhere */
    FIELD_NAMED,   /* as that, but what it asks for is not done: whoever is told of unknown names is told why */
    FIELD_REFUSED, /* unless it asks for nothing: a number from low to high, and of FIELD_ANY null, false, "", [], {} */
} field_use;

/* depth: 0 for the value itself. */
typedef bool field_events(void *target, const json_event *event, int depth, err *e);

typedef struct field {
    const char *name;
    field_kind kind;
    size_t offset; /* of the value in target */
    double low, high;
    field_events *events;     /* FIELD_CUSTOM */
    const char *const *words; /* FIELD_WORD: all that are allowed, NULL at the end */
    field_use use;
    const char *why; /* FIELD_REFUSED, FIELD_NAMED: what is said of it, behind its name */
} field;

enum { FIELDS_MAX = 64, FIELDS_MORE_MAX = 192, FIELDS_UNKNOWN_MAX = 1024, FIELD_PATH_BYTES = 96 };

/* Rows that several tables share, looked at after an object's own; and who is told of names that are in neither, of
 * which there may be FIELDS_UNKNOWN_MAX at most, and of FIELD_NAMED; why: NULL of the former. */
typedef struct fields_more {
    const field *rows;
    size_t n_rows;
    void *target;
    void (*unknown)(void *ctx, const char *path, str name, const char *why);
    void *ctx;
} fields_more;

typedef struct fields_in {
    const base_alloc *parser; /* its state, only while it reads */
    const base_alloc *texts;  /* of FIELD_STRING with escapes; given back by whoever owns it */
    const char *path;         /* what stands before names in errors: "messages[2]."; "" for the outermost */
    const fields_more *more;  /* NULL: the object's own rows are all */
} fields_in;

/* Parses text as one object into target. ERR_INVALID names field and reason. *seen: bit i for row i of the table. */
bool fields_parse_in(const fields_in *in, str text, const field *table, size_t n_fields, bool allow_unknown,
                     void *target, uint64_t *seen, err *e);
/* The same for an outermost object without FIELD_STRING. */
bool fields_parse(const base_alloc *alloc, str text, const field *table, size_t n_fields, bool allow_unknown,
                  void *target, uint64_t *seen, err *e);

typedef struct field_item {
    const char *path; /* "messages[2]" */
    uint32_t index;
    json_kind kind;  /* of the value; containers by their START */
    str json;        /* the value as it stands */
    str text;        /* of a string, as FIELD_STRING */
    int64_t integer; /* of JSON_INT */
} field_item;

/* Calls on_item for each value of a JSON array, until it returns false (with the reason). in->path: the
 * array's own name, "messages". */
typedef bool field_on_item(void *ctx, const field_item *item, err *e);
bool fields_each(const fields_in *in, str array, field_on_item *on_item, void *ctx, err *e);

/* The text of a JSON string that stands by itself, as FIELD_STRING. */
bool fields_text(const fields_in *in, str json, str *out, err *e);

/* What a value is, from its text; and the words for it ("an array"). */
json_kind fields_kind(str json);
const char *fields_kind_name(json_kind k);

#endif
