/* text/grammar_schema — a JSON schema being compiled, for the files that do it. Nobody outside src/text includes
 * it.
 *
 * A schema is a tree of nodes. What is compiled is never one of them but a list of parts, all of which a value must
 * satisfy: a schema and the branch of its anyOf that was chosen, the branches of an allOf, what a $ref stands for.
 */
#ifndef TEXT_GRAMMAR_SCHEMA_H
#define TEXT_GRAMMAR_SCHEMA_H

#include "base/json.h"
#include "text/grammar_internal.h"

/* ---- grammar_json.c ---- */

enum { SCHEMA_NODES_MAX = 1 << 16, SCHEMA_BYTES_MAX = 1 << 21 };

typedef struct schema_node { /* number 0 is none */
    uint8_t kind;            /* json_kind; of containers the START */
    bool boolean, checked;
    uint32_t parent, next, child, last;
    uint32_t n;    /* of children */
    uint32_t rule; /* + 1, once something refers to it */
    str key, text; /* text: of strings, and the literal of numbers */
} schema_node;

typedef struct schema_piece {
    struct schema_piece *before;
    size_t bytes, used; /* itself included */
} schema_piece;

typedef struct schema {
    grammar_builder *b;
    schema_node *nodes;
    size_t n_nodes, nodes_cap;
    schema_piece *pieces; /* of texts */
    uint32_t *pending;    /* nodes whose rules are to be written */
    size_t n_pending, pending_cap;
    int depth; /* of compiling */
} schema;

bool schema_read(schema *s, str json);
void schema_free(schema *s);
uint32_t schema_member(const schema *s, uint32_t node, const char *key); /* 0: none, or not an object */
uint32_t schema_member_str(const schema *s, uint32_t node, str key);
/* "at /properties/a: …". ERR_INVALID; false. */
bool schema_fail(schema *s, uint32_t node, const char *format, ...) __attribute__((format(printf, 3, 4)));
uint32_t schema_pointer(schema *s, uint32_t node, str pointer); /* what "#/…" of a $ref names; 0 after a failure */
void schema_write_value(const schema *s, uint32_t node, buf *out); /* as JSON, without blanks */

/* ---- grammar_schema.c ---- */

enum { SCHEMA_PARTS_MAX = 16, SCHEMA_DEPTH_MAX = 64 }; /* threads that compile have small stacks */

enum schema_type {
    TYPE_NULL = 1,
    TYPE_BOOLEAN = 2,
    TYPE_INTEGER = 4,
    TYPE_NUMBER = 8,
    TYPE_STRING = 16,
    TYPE_ARRAY = 32,
    TYPE_OBJECT = 64,
    TYPE_ALL = 127
};

typedef struct schema_part {
    uint32_t node;
    bool ref_done, all_done, any_done, one_done;
    uint32_t forced; /* a member of its properties that is always there: it tells this branch of a oneOf from the
                        others */
} schema_part;

typedef struct schema_parts {
    schema_part at[SCHEMA_PARTS_MAX];
    uint32_t n;
    bool never; /* one of them is false */
} schema_parts;

void schema_add(schema *s, schema_parts *p, uint32_t node);
uint32_t schema_target(schema *s, uint32_t node);             /* where its $ref leads in the end */
uint32_t schema_property(schema *s, uint32_t node, str name); /* of its target's; 0: none */
/* Emits values of all the parts. */
bool schema_emit(schema *s, const schema_parts *p);
bool schema_emit_key(schema *s, const schema_parts *p); /* strings of all the parts */

/* ---- grammar_keywords.c ---- */
bool schema_check(schema *s, uint32_t node);           /* its keywords are known and have values that fit */
unsigned schema_types(const schema *s, uint32_t node); /* of its `type` alone */
unsigned schema_types_of_parts(schema *s, const schema_parts *p);
bool schema_count(schema *s, uint32_t node, const char *keyword, uint32_t *n); /* of a whole number that is there */
/* Whether a part has keywords but remarks, those that are done, and `but` (or NULL). */
bool schema_says_more(const schema *s, const schema_part *part, const char *but);

/* ---- grammar_object.c ---- */
bool schema_emit_object(schema *s, const schema_parts *p);
bool schema_emit_array(schema *s, const schema_parts *p);

/* ---- grammar_values.c ---- */
/* Emits the values of `list`'s children (or itself, of a const) that satisfy all parts. */
bool schema_emit_values(schema *s, const schema_parts *p, uint32_t list, bool single);
/* Whether no value satisfies both. */
bool schema_disjoint(schema *s, uint32_t a, uint32_t b, int depth);
/* Emits one of these texts, whose order and repetitions do not matter. */
bool schema_emit_texts(schema *s, str *texts, size_t n);

#endif
