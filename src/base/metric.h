/* base/metric — figures as rows of a table: what each is called, what it counts, and where it stands in a snapshot.
 *
 * Owns the form of such tables and what can be done with every row of them: its value, and its place in a JSON page.
 * A room declares the figures of its own structure once (mem/books, api/core/metrics); pages, `plimsoll top` and
 * docs/METRICS.md walk the tables, so a figure's name, unit and meaning are written in one place. A page's sections are
 * rows, too: an object each, in the order of the table. Readers look at a snapshot that its owner took; nothing here
 * locks.
 *
 * Tables are the program's own: nothing in them comes from outside, and a wrong one is a bug.
 */
#ifndef BASE_METRIC_H
#define BASE_METRIC_H

#include <stddef.h>

#include "base/json.h"

typedef enum metric_kind {
    METRIC_COUNTER, /* only grows while the process lives */
    METRIC_GAUGE,
    METRIC_STATE /* a word, or yes and no */
} metric_kind;

typedef enum metric_unit {
    METRIC_COUNT, /* of things that the help names */
    METRIC_BYTES,
    METRIC_TOKENS,
    METRIC_PAGES,
    METRIC_REQUESTS,
    METRIC_MILLISECONDS, /* seconds, for whoever wants base units */
    METRIC_RATIO
} metric_unit;

typedef enum metric_form {
    METRIC_NONE, /* of a value: there is none; JSON's null */
    METRIC_U32,
    METRIC_U64,
    METRIC_LIMIT, /* uint64_t; UINT64_MAX: none */
    METRIC_I32,
    METRIC_I64,
    METRIC_DOUBLE,
    METRIC_BOOL,
    METRIC_TEXT,  /* const char *; NULL: none */
    METRIC_COMPUTED /* metric.read says */
} metric_form;

/* form: METRIC_NONE, or one of U64, I64, DOUBLE, BOOL and TEXT. */
typedef struct metric_value {
    metric_form form;
    union {
        uint64_t u64;
        int64_t i64;
        double number;
        bool yes;
        const char *text;
    };
} metric_value;

typedef struct metric {
    const char *key;  /* in its section's object */
    const char *name; /* of the figure, the same wherever it is shown; NULL: another row's figure once more */
    metric_kind kind;
    metric_unit unit;
    metric_form form;
    size_t at; /* in the snapshot */
    const char *help; /* one plain sentence */
    int decimals;     /* METRIC_DOUBLE */
    metric_value (*read)(const void *snapshot); /* METRIC_COMPUTED */
} metric;

/* form and at of a member: the form follows from the member's type. */
#define METRIC_AT(type, member)                                                                              \
    _Generic(((type *)0)->member, bool: METRIC_BOOL, uint32_t: METRIC_U32, uint64_t: METRIC_U64,             \
             int: METRIC_I32, int64_t: METRIC_I64, double: METRIC_DOUBLE, const char *: METRIC_TEXT),        \
        offsetof(type, member)
#define METRIC_LIMIT_AT(type, member) METRIC_LIMIT, offsetof(type, member)
#define METRIC_BY_READER METRIC_COMPUTED, 0

typedef enum metric_presence { METRIC_SHOWN, METRIC_NULL, METRIC_ABSENT } metric_presence;

typedef struct metric_section {
    const char *path; /* "levels", "kv_pool"; "": the page's own members */
    const metric *rows;
    uint32_t n;
    metric_presence (*presence)(const void *snapshot); /* NULL: shown; METRIC_NULL: a null in its place */
    /* One object for each of several things: path.NAME. Those of thing i lie i × stride behind the first's. */
    const char *label; /* what they are, for whoever has labels; NULL: there is but one of these rows */
    const char *(*label_at)(uint32_t i);
    uint32_t n_labels;
    size_t stride;
} metric_section;

typedef struct metric_table {
    const metric_section *sections; /* those within an object come right behind it */
    uint32_t n;
} metric_table;

#define METRIC_ROWS(rows) rows, sizeof(rows) / sizeof *(rows)

metric_value metric_read(const metric *m, const void *snapshot);
/* The value alone, behind a key that is written. */
void metric_json(const metric *m, const void *snapshot, json_writer *w);
/* A section as a value of its own: an object, or null. */
void metric_section_json(const metric_section *s, const void *snapshot, json_writer *w);
/* All sections, as members of the object that is being written. */
void metric_table_json(const metric_table *t, const void *snapshot, json_writer *w);

/* In words: "counter", "bytes". */
const char *metric_kind_name(metric_kind k);
const char *metric_unit_name(metric_unit u);

#endif
