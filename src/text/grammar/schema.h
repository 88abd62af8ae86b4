/* text/grammar/schema — a JSON schema being compiled, for the files that do it. Nobody outside src/text includes
 * it.
 *
 * A schema is a tree of nodes. What is compiled is never one of them but a list of parts, all of which a value must
 * satisfy: a schema and the branch of its anyOf that was chosen, the branches of an allOf, what a $ref stands for.
 */
#ifndef TEXT_GRAMMAR_SCHEMA_H
#define TEXT_GRAMMAR_SCHEMA_H

#include "base/json.h"
#include "text/grammar/language.h"

/* ---- grammar_json.c ---- */

enum { SCHEMA_NODES_MAX = 1 << 16, SCHEMA_BYTES_MAX = 1 << 21 };

typedef struct schema_node { /* number 0 is none */
    uint8_t kind;            /* json_kind; of containers the START */
    bool boolean, checked;
    bool made;               /* by us, of its parent */
    uint32_t same;           /* the node that it is a copy of, or 0 */
    uint32_t negated;        /* its opposite, once it was made */
    uint32_t apart;          /* of a list of oneOf: the anyOf of it, once it was made */
    uint32_t words;          /* of patterns: the expression + 1 */
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
    struct schema_pending {
        uint32_t node, set, rule; /* a node, or a set of parts + 1 */
        unsigned types;
        uint8_t level;
    } *pending;                   /* rules that are to be written */
    size_t n_pending, pending_cap;
    struct schema_set {
        uint32_t first, n, hash, rule; /* rule + 1, once it came twice */
        unsigned types;
        uint8_t level;
    } *sets;                           /* lists of parts that were compiled */
    size_t n_sets, sets_cap;
    struct schema_part *members; /* of the sets */
    size_t n_members, members_cap;
    language words; /* of patterns; words.b is NULL until there is one */
    int depth;      /* of compiling */
    str source;
    const grammar_tags *tags; /* NULL: all is JSON */
    uint8_t level;            /* schema_level of what is being compiled */
    unsigned types;           /* of an argument: what its text may be read as (ARGUMENT_…) */
} schema;

/* Where a schema's object is written as arguments between tags: that object, and an argument's value with its end. */
enum schema_level { LEVEL_JSON, LEVEL_ARGUMENTS, LEVEL_ARGUMENT };

bool schema_read(schema *s, str json);
void schema_free(schema *s);
uint32_t schema_member(const schema *s, uint32_t node, const char *key); /* 0: none, or not an object */
uint32_t schema_member_str(const schema *s, uint32_t node, str key);
/* "at /properties/a: …". ERR_INVALID; false. */
bool schema_fail(schema *s, uint32_t node, const char *format, ...) __attribute__((format(printf, 3, 4)));
/* The same, where it may be that nothing needs what is there: emits a FAIL that says so. */
void schema_never(schema *s, uint32_t node, const char *format, ...) __attribute__((format(printf, 3, 4)));
uint32_t schema_pointer(schema *s, uint32_t node, str pointer); /* what "#/…" of a $ref names; 0 after a failure */
void schema_write_value(const schema *s, uint32_t node, buf *out); /* as JSON, without blanks */
/* Nodes that are made: of a place in the schema, for error messages. 0 after a failure. */
uint32_t schema_make(schema *s, uint32_t of, uint8_t kind);
uint32_t schema_make_bool(schema *s, uint32_t of, bool value);
uint32_t schema_put(schema *s, uint32_t into, const char *key, uint32_t node); /* a copy of it; returns that */
uint32_t schema_put_str(schema *s, uint32_t into, str key, uint32_t node);
uint32_t schema_put_text(schema *s, uint32_t into, const char *key, str text); /* kept by the caller */
uint32_t schema_put_integer(schema *s, uint32_t into, const char *key, int64_t n);
static inline uint32_t schema_original(const schema *s, uint32_t node) {
    return s->nodes[node].same ? s->nodes[node].same : node;
}

/* ---- grammar_schema.c ---- */

enum { SCHEMA_PARTS_MAX = 32, SCHEMA_DEPTH_MAX = 64 }; /* threads that compile have small stacks */

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
    bool ref_done, all_done, any_done, one_done, more_done; /* more: not, if, dependencies */
    uint32_t forced; /* a member of its properties that is always there: it tells this branch of a oneOf from the
                        others */
} schema_part;

typedef struct schema_parts {
    schema_part at[SCHEMA_PARTS_MAX];
    uint32_t n;
    bool never;     /* one of them is false: */
    uint32_t false_at; /* that, or 0 */
} schema_parts;

void schema_add(schema *s, schema_parts *p, uint32_t node);
uint32_t schema_target(schema *s, uint32_t node);             /* where its $ref leads in the end */
uint32_t schema_property(schema *s, uint32_t node, str name); /* of its target's; 0: none */
/* Emits values of all the parts. */
bool schema_emit(schema *s, const schema_parts *p);
bool schema_call(schema *s, const schema_parts *p);     /* the same, by a rule that others may call */
/* References, allOf, not, if and dependencies are replaced by what they stand for. */
void schema_unfold(schema *s, schema_parts *p);

/* ---- grammar_combine.c ---- */
/* A schema of these types; what else it says is put into it. */
uint32_t schema_of_types(schema *s, uint32_t of, unsigned types);
uint32_t schema_negate(schema *s, uint32_t node);         /* what is surely not of it, as a schema */
uint32_t schema_conditional(schema *s, uint32_t node);    /* its if, then, else, as a schema */
uint32_t schema_dependencies(schema *s, uint32_t node, uint32_t list); /* likewise */
uint32_t schema_exactly_one(schema *s, uint32_t list);    /* a oneOf's list as one of anyOf */
bool schema_is_leaf(const schema *s, uint32_t not_of);    /* nothing but enum, const or pattern */

/* ---- grammar_valid.c ---- */
/* Whether a value of the schema's own text satisfies the part (its branches that are done were chosen already). */
bool schema_accepts(schema *s, schema_part part, uint32_t value, int depth);
bool schema_equal(const schema *s, uint32_t a, uint32_t b);
unsigned schema_type_of_value(const schema *s, uint32_t value);
bool schema_finds(schema *s, uint32_t pattern, str pattern_text, str in); /* node: where the expression is kept */

/* ---- grammar_string.c ---- */
bool schema_emit_string(schema *s, const schema_parts *p);
expression schema_words(schema *s, uint32_t node, str pattern, bool whole, bool wide); /* kept at the node */
bool schema_words_begin(schema *s);
/* All strings of the schema; where that cannot be said exactly fewer, or more with `wide`. */
expression schema_strings(schema *s, uint32_t node, bool wide, int depth);

/* ---- grammar_keywords.c ---- */
bool schema_check(schema *s, uint32_t node);           /* its keywords are known and have values that fit */
unsigned schema_types(const schema *s, uint32_t node); /* of its `type` alone */
unsigned schema_types_of_parts(schema *s, const schema_parts *p);
bool schema_count(schema *s, uint32_t node, const char *keyword, uint32_t *n); /* of a whole number that is there */
bool schema_is_said(str key); /* a keyword that says something of values */
/* Whether a part has keywords but remarks, those that are done, and `but` (or NULL). */
bool schema_says_more(const schema *s, const schema_part *part, const char *but);

/* ---- grammar_tags.c ---- */
bool schema_tags_check(schema *s);
bool schema_tag_takes_name(str name); /* as a key */
void schema_tag_value(schema *s, str name, const schema_parts *p); /* name: empty for those that nobody names */
void schema_tag_value_end(schema *s); /* what stands behind an argument's value */
bool schema_tag_may_be(const schema *s, unsigned type); /* TYPE_…: an argument's text may be read as such */
bool schema_tag_takes(schema *s, str text);             /* as a string */
void schema_tag_string(schema *s, grammar_lengths lengths);
expression schema_tag_strings(schema *s, expression e); /* those of e that are read as they are */
expression schema_tag_names(schema *s, expression e);   /* those of e that a key may be */

/* ---- grammar_object.c ---- */
bool schema_emit_object(schema *s, const schema_parts *p);
/* ---- grammar_array.c ---- */
bool schema_emit_array(schema *s, const schema_parts *p);

/* ---- grammar_values.c ---- */
/* Emits the values of `list`'s children (or itself, of a const) that satisfy all parts. */
bool schema_emit_values(schema *s, const schema_parts *p, uint32_t list, bool single);
/* Whether no value satisfies both. */
bool schema_disjoint(schema *s, uint32_t a, uint32_t b, int depth);
/* Branches of an anyOf, or of a oneOf, that name values and say nothing else: written as those of one enum. */
bool schema_branches_are_values(schema *s, uint32_t list, bool one_of);
bool schema_emit_branches_values(schema *s, const schema_parts *p, uint32_t list, bool one_of);
/* Emits `least` to `most` of them in their order, with commas. */
void schema_emit_distinct(schema *s, const str *texts, uint32_t n, uint32_t least, uint32_t most);

#endif
