/* text/grammar/internal — the code that sources are compiled to. Nobody outside src/text includes it.
 *
 * grammar.c          any JSON; the doors       grammar_build.c    code, and what is proved of it
 * grammar_gbnf.c     the notation              grammar_json.c     a schema as a tree
 * grammar_keywords.c its keywords              grammar_schema.c   its values
 * grammar_combine.c  not, if, overlapping oneOf  grammar_valid.c  whether a value satisfies one
 * grammar_object.c   its objects               grammar_array.c    its arrays
 * grammar_string.c   its strings               grammar_values.c   its enums
 * grammar_tags.c     its objects as arguments between tags       grammar_until.c    texts up to a tag
 * grammar_regex.c    its patterns              grammar_property.c \\p{…} of them
 * grammar_pattern.c  patterns as sets of strings, made of derivatives in grammar_language.c, to code by
 * grammar_automaton.c
 * grammar_number.c   its bounds, as patterns   grammar_format.c   its formats, as patterns
 * grammar_multiple.c its multipleOf, where no pattern says it
 * grammar_keys.c     which of many keys comes next
 * grammar_machine.c  states                    grammar_mask.c     masks
 * grammar_cursor.c   texts on their way       grammar_texts.c    one of many texts
 * grammar_tokens.c   a vocabulary by its bytes
 */
#ifndef TEXT_GRAMMAR_INTERNAL_H
#define TEXT_GRAMMAR_INTERNAL_H

#include "text/grammar/grammar.h"

/* A rule is code that ends in RET. Code runs over frames: CALL and REPEAT push one, RET pops it. */
typedef enum grammar_op_kind {
    OP_TEXT,   /* a: place in the texts, b: bytes */
    OP_CLASS,  /* one character. a: first of the ranges, b: how many */
    OP_STRING, /* the inside of a JSON string and its closing quote. a, b: least and most characters */
    OP_UNTIL,  /* any characters up to the text that the next op is, and that text. a, b: least and most characters */
    OP_TOKEN,  /* a: token */
    OP_MULTIPLE, /* a number. a: place of its rule in the texts, b: bytes */
    OP_KEYS,   /* a key of the list: of this op, which goes on at a, or of one of those behind it. b: its list */
    OP_SPLIT,  /* a, b: both ways */
    OP_JUMP,   /* a */
    OP_CALL,   /* a: the rule's place */
    OP_RET,
    OP_REPEAT, /* a, b: least and most times; then a JUMP behind it, then the body, which ends in RET */
    OP_FAIL,   /* nothing goes on from here. a: place of the reason in the notes, + 1 */
} grammar_op_kind;

enum { GRAMMAR_NEVER = 255 };
#define GRAMMAR_UNBOUNDED UINT32_MAX

typedef struct grammar_op {
    uint8_t kind;
    uint8_t need; /* frames of calls that must be left to get from here to RET; GRAMMAR_NEVER: cannot be */
    uint8_t loop; /* REPEAT: the first time begins so many ops later. CALL: nothing but RET comes behind it. UNTIL: of
                     these types (ARGUMENT_…) nothing may look like JSON */
    uint8_t nullable;
    uint32_t a, b; /* targets are relative while it is built, then absolute */
} grammar_op;

typedef struct grammar_range {
    uint32_t low, high; /* code points, inclusive */
} grammar_range;

typedef struct grammar_key {
    uint32_t text, len; /* in the texts */
    uint32_t index;     /* of its op, in the list's */
} grammar_key;

typedef struct grammar_list {
    uint32_t first, n; /* of the keys, in the order of their bytes */
    uint32_t base;     /* place of its first op */
} grammar_list;

struct text_grammar {
    base_alloc alloc;
    size_t bytes;
    uint32_t serial; /* no other grammar has it */
    uint32_t start;
    const grammar_op *ops;
    const grammar_range *ranges;
    const grammar_key *keys;
    const grammar_list *lists;
    const char *texts;
};

/* ---- grammar_build.c ---- */

enum {
    GRAMMAR_OPS_MAX = 1 << 17,
    GRAMMAR_RULES_MAX = 1 << 12,
    GRAMMAR_TEXT_BYTES_MAX = 1 << 20,
    GRAMMAR_NOTES_BYTES_MAX = 1 << 13,
    GRAMMAR_RANGES_MAX = 1 << 15,
    GRAMMAR_CLASSES_KNOWN = 256,
    GRAMMAR_STEPS_MAX = 1 << 20,
    GRAMMAR_OPS_A_STEP = 64, /* of code that is gone over or moved */
};

/* Code on its way. After a failure (*e is set) everything else does nothing. */
typedef struct grammar_builder {
    const base_alloc *alloc;
    const text_vocab *vocab;
    err *e;
    bool failed;
    bool plain; /* strings are texts as they are, not the insides of JSON strings */
    uint32_t steps; /* of compiling: bounds its time */
    grammar_op *ops;
    size_t n_ops, ops_cap;
    uint32_t *rules; /* each one's place, or GRAMMAR_UNBOUNDED */
    size_t n_rules, rules_cap;
    grammar_range *ranges;
    size_t n_ranges, ranges_cap;
    uint32_t classes[GRAMMAR_CLASSES_KNOWN]; /* by hash: where the ranges of a class lie */
    char *texts;
    size_t n_texts, texts_cap;
    grammar_key *keys;
    size_t n_keys, keys_cap;
    grammar_list *lists;
    size_t n_lists, lists_cap;
    buf notes; /* why nothing goes on: the first reasons, each with a 0 behind it */
    uint32_t any_value, any_object; /* rules of any JSON value; 0: not there yet */
} grammar_builder;

void grammar_builder_init(grammar_builder *b, const text_vocab *vocab, const base_alloc *alloc, err *e);
void grammar_builder_free(grammar_builder *b);
/* Rule 0 is the start. NULL when it failed, or when it fails now. */
text_grammar *grammar_builder_finish(grammar_builder *b);
bool grammar_fail(grammar_builder *b, err_code code, const char *format, ...) __attribute__((format(printf, 3, 4)));
/* Emits a FAIL. The reason is what is said where it is the reason that nothing satisfies all of the grammar. */
void grammar_never(grammar_builder *b, const char *reason);
bool grammar_step(grammar_builder *b); /* false when it has taken too long */
bool grammar_grow(grammar_builder *b, void **items, size_t *cap, size_t want, size_t most, size_t item_bytes,
                  const char *what);

uint32_t grammar_rule_new(grammar_builder *b);
void grammar_rule_begin(grammar_builder *b, uint32_t rule); /* its code follows, up to grammar_emit(OP_RET) */
uint32_t grammar_here(const grammar_builder *b);
uint32_t grammar_emit(grammar_builder *b, grammar_op_kind kind, uint32_t x, uint32_t y);
void grammar_text(grammar_builder *b, str text);
void grammar_class(grammar_builder *b, const grammar_range *ranges, size_t n);
/* Puts ranges in order; inverted: takes all that is in none. r has room for two more. */
size_t grammar_ranges_tidy(grammar_range *r, size_t n, bool inverted);
void grammar_call(grammar_builder *b, uint32_t rule);
/* What was emitted since start comes so many times (most: or GRAMMAR_UNBOUNDED). */
void grammar_repeat(grammar_builder *b, uint32_t start, uint32_t least, uint32_t most);
/* As grammar_repeat, but the first time begins at `first`: what lies before it is a separator. */
void grammar_repeat_list(grammar_builder *b, uint32_t start, uint32_t first, uint32_t least, uint32_t most);
void grammar_set_target(grammar_builder *b, uint32_t at, bool second, uint32_t target);
/* Jumps since begin that have a number + 1 in b get their targets. */
void grammar_jumps_land(grammar_builder *b, uint32_t begin, const uint32_t *places);

/* One of several: alternatives_begin; code; alternatives_next; code; …; alternatives_end. */
typedef struct grammar_alternatives {
    uint32_t start, jumps; /* of the one being written; the newest of the jumps behind the others, 0: none */
} grammar_alternatives;
grammar_alternatives grammar_alternatives_begin(const grammar_builder *b);
void grammar_alternatives_next(grammar_builder *b, grammar_alternatives *a);
void grammar_alternatives_end(grammar_builder *b, grammar_alternatives *a);

/* ---- grammar_texts.c ---- */
typedef struct grammar_texts {
    buf all; /* one behind the other */
    size_t *ends;
    size_t n, cap;
} grammar_texts;
void grammar_texts_begin(grammar_builder *b, grammar_texts *t);
bool grammar_texts_next(grammar_builder *b, grammar_texts *t); /* what was appended to `all` is one */
/* Emits any one of them. once: of those that are there once. */
bool grammar_texts_emit(grammar_builder *b, const grammar_texts *t, bool once);
void grammar_texts_end(grammar_builder *b, grammar_texts *t);

/* ---- grammar_keys.c ---- */
/* keys_begin; any number of keys_add; keys_end(what begin said): keys in their order. Then keys_emit, any number of
 * times, of those n_keys: n ops, whose targets (grammar_set_target) are FAIL until they are set. */
uint32_t grammar_keys_begin(const grammar_builder *b);
void grammar_keys_add(grammar_builder *b, str text, uint32_t index);
void grammar_keys_end(grammar_builder *b, uint32_t first);
uint32_t grammar_keys_emit(grammar_builder *b, uint32_t first, uint32_t n_keys, uint32_t n);

/* ---- any JSON ---- */
void grammar_json_separator(grammar_builder *b, char mark); /* ':' or ',', and a blank if the model likes */
void grammar_any_value(grammar_builder *b);
void grammar_any_object(grammar_builder *b);
void grammar_string(grammar_builder *b, uint32_t least, uint32_t most);
void grammar_any_number(grammar_builder *b, bool whole);

/* ---- grammar_regex.c ---- */
typedef struct grammar_lengths {
    uint32_t least, most; /* characters; GRAMMAR_UNBOUNDED */
} grammar_lengths;
/* Emits the inside of a JSON string that matches the pattern, in characters within lengths. whole: as if anchored
 * at both ends. ERR_INVALID says what about the pattern is not supported; the caller puts the place in front. */
bool grammar_regex(grammar_builder *b, str pattern, bool whole, grammar_lengths lengths);

/* The whole of a text outside of strings: our own patterns, without escapes; any, where b is plain. */
bool grammar_regex_bare(grammar_builder *b, str pattern);

/* ---- grammar_format.c ---- */
const char *grammar_format_pattern(str name);              /* NULL: not known; empty: any string */
const char *grammar_format_wider(str name);                /* what else it allows; NULL: nothing that is known */
bool grammar_format_is_its_pattern(str name);              /* says no more than the pattern that comes with it */
const char *grammar_format_both(str format, str pattern);  /* for strings that satisfy both; NULL: not known */

/* ---- grammar_number.c ---- */
enum { GRAMMAR_NO_MULTIPLES_MAX = 4 };
typedef struct grammar_bounds { /* literals of JSON numbers; empty: none */
    str low, high, multiple;
    bool low_open, high_open; /* exclusive */
    str no_multiple[GRAMMAR_NO_MULTIPLES_MAX];
    uint32_t n_no_multiples;
} grammar_bounds;
bool grammar_number(grammar_builder *b, const grammar_bounds *bounds, bool whole); /* emits numbers within them */
bool grammar_number_is_whole(str literal);
int grammar_number_compare(str a, str b); /* of literals, exactly: −1, 0, 1 */
bool grammar_number_is_multiple(str of, str step);
int grammar_number_places(str literal); /* behind the point; many: more than are of use */
/* In units of so many places: rounded up, or down; open: not the bound itself. False: more digits than 17. */
bool grammar_number_in_units(str literal, int places, bool up, bool open, int64_t *out);
/* A count as keywords have it: 3, 3.0, 3e0. What is too large is 999999999. False: it is none. */
bool grammar_number_count(str literal, uint32_t *n);

/* ---- grammar_multiple.c ---- */
bool grammar_multiple(grammar_builder *b, const grammar_bounds *bounds, bool whole);

/* ---- grammar_schema.c ---- */

/* How a call is written that has an argument per tag: around an argument's name, behind its value, behind all that. */
enum { GRAMMAR_TAG_MAX = 32, GRAMMAR_VALUE_END_MAX = 15 };
typedef struct grammar_tags {
    char key[GRAMMAR_TAG_MAX], key_end[GRAMMAR_TAG_MAX], value_end[GRAMMAR_TAG_MAX], after[GRAMMAR_TAG_MAX];
} grammar_tags;

/* Emits the rule: values of the schema, and all that it refers to. tags: of an object, as arguments between them
 * instead of JSON; or NULL. */
bool grammar_schema(grammar_builder *b, uint32_t rule, str json, const grammar_tags *tags);
/* ---- grammar_gbnf.c ---- */
bool grammar_gbnf(grammar_builder *b, str source);

/* ---- grammar_tokens.c ---- */
enum { INDEX_PLAIN_STEPS = 24 };

typedef struct token_node { /* in the order of bytes; a subtree is what lies before `skip` */
    uint32_t skip : 24, byte : 8;
    uint32_t tokens; /* place in order; up to the next node's */
} token_node;
enum { INDEX_NODES_MAX = (1 << 24) - 1 };

struct text_token_index {
    base_alloc alloc;
    const text_vocab *vocab;
    uint32_t n_tokens, n_words; /* of a mask */
    /* Tokens of whole characters that stand for themselves inside a JSON string come first, then the others. */
    token_node *nodes;
    uint32_t n_nodes;
    uint32_t first_plain[256], first_other[256]; /* by the first byte: the node + 1, or 0 */
    uint32_t *order;
    uint32_t n_order;
    uint32_t longest_bytes, longest_plain; /* characters of a plain one */
    uint64_t *ends;
    uint64_t
        *plain;   /* [INDEX_PLAIN_STEPS + 1][n_words]: plain tokens of at most so many characters; the last: all */
    size_t bytes; /* of nodes */
};

/* ---- grammar_machine.c ---- */
enum {
    MACHINE_NODES = 1 << 15,
    MACHINE_STATES = 1 << 14,
    MACHINE_MEMBERS = 1 << 16,
    MACHINE_EDGES = 1 << 15,
    MACHINE_HEADS = 1 << 13,
    MACHINE_SET_MAX = 1024,
    MACHINE_WORK_MAX = 4096,
    MACHINE_VISITS = 1 << 14, /* a power of 2 */
    MACHINE_VISITS_MAX = MACHINE_VISITS / 4 * 3,
    MACHINE_MASK_BYTES = 1 << 20,
    MACHINE_WORK_LEAST = 1 << 18, /* for a call, and as much as MACHINE_WORK_WALKS walks over the whole vocabulary */
    MACHINE_WORK_WALKS = 4,
    MACHINE_WORK_FORGET = 8, /* to forget costs 1 in so many parts of a call's */
    MACHINE_WORK_BURST = 16, /* so many calls' work may a text have taken beyond its due: for each token a share */
    MACHINE_WORK_SHARE = 16, /* of 1 in so many */
    MACHINE_MASKS_LEAST = 32,
    MACHINE_MASKS_MOST = 512,
};

typedef struct machine_node { /* a place in the code over the frames that lead there; all alike are one */
    uint32_t place, count, parent;
    uint32_t chain;
    uint32_t mark;
    uint16_t depth; /* of calls */
    bool counted;   /* it, or a frame under it, counts */
} machine_node;

typedef struct machine_state { /* a set of nodes */
    uint32_t first, n, chain;
    uint32_t normal; /* the state that has the same mask; 0: not known */
    uint32_t mask;   /* slot + 1, or 0 */
} machine_state;

typedef struct machine_edge {
    uint32_t from, to, chain;
    uint8_t byte;
} machine_edge;

typedef struct machine_visit { /* a place over a frame that was gone through on the way to this set */
    uint32_t place, parent, mark;
} machine_visit;

typedef struct machine_size {
    uint32_t n_nodes, n_states, n_members, n_edges;
} machine_size;

struct text_grammar_machine {
    const text_token_index *index;
    uint32_t epoch;
    bool full;
    machine_size used;
    machine_node *nodes; /* number 0 is none; so with states: 0 is dead */
    machine_state *states;
    uint32_t *members;
    machine_edge *edges;
    uint32_t *node_heads, *state_heads, *edge_heads;
    machine_visit *visits; /* by hash */

    uint32_t set[MACHINE_SET_MAX]; /* the next state, being gathered */
    uint32_t n_set, set_mark;
    struct {
        uint32_t place, parent;
    } work[MACHINE_WORK_MAX];
    uint32_t n_work, n_visits;
    uint64_t spent, most; /* work since machine_begin_work, about 10 ns each; what it may come to */

    uint64_t *masks;
    uint32_t n_masks;
    uint32_t *mask_state;
    uint64_t *mask_used, clock;
    uint32_t path[TEXT_TOKEN_BYTES_MAX + 1], ends[TEXT_TOKEN_BYTES_MAX + 1];
    machine_size marks[TEXT_TOKEN_BYTES_MAX + 1];
};

#define NODE_BOTTOM UINT32_MAX /* count of the node under all frames; its place is the grammar's serial */
enum { STRING_COUNT_SHIFT = 4, UNTIL_COUNT_SHIFT = 6 };

/* Characters of a string on their way: what of UTF-8 is to come. */
enum machine_utf8 { UTF8_NONE, UTF8_1, UTF8_2, UTF8_E0, UTF8_ED, UTF8_F0, UTF8_3, UTF8_F4, UTF8_STATES };
int machine_utf8_begin(uint8_t c); /* −1: no character begins so */
int machine_utf8_go_on(int inside, uint8_t c);

/* ---- grammar_multiple.c ---- */
void machine_multiple_step(text_grammar_machine *m, const text_grammar *g, uint32_t node, uint8_t byte);

/* ---- grammar_keys.c ---- */
void machine_keys_step(text_grammar_machine *m, const text_grammar *g, machine_node n, uint8_t byte);
void machine_keys_likely(const text_grammar *g, const machine_node *n, bool likely[256]);

/* ---- grammar_until.c ---- */
/* The count with which an UNTIL begins, and what it is after a byte. UNTIL_DONE: the text at its end is complete. */
enum { UNTIL_DONE = -1, UNTIL_WRONG = -2 };
uint32_t machine_until_begin(const grammar_op *o);
int64_t machine_until_step(const text_grammar *g, const grammar_op *o, uint32_t count, uint8_t byte);

/* What every call into the machine begins with: a budget of work. When it is spent the machine is full. */
void machine_begin_work(text_grammar_machine *m);
/* Puts what was spent on the text's account, and begins again. False: that call's budget, or what all calls of this
 * text may take, was spent; so nobody's steps wait for one whose every token takes long. */
bool machine_may_go_on(text_grammar_machine *m, text_grammar_cursor *c);
/* 0: nothing goes on so, or m->full. */
uint32_t machine_step(text_grammar_machine *m, const text_grammar *g, uint32_t state, uint8_t byte);
/* Adds to the set what can be waited for from a place on. */
void machine_reach(text_grammar_machine *m, const text_grammar *g, uint32_t place, uint32_t parent);
/* The node of its kind; 0: m->full. */
uint32_t machine_node_of(text_grammar_machine *m, uint32_t place, uint32_t count, uint32_t parent, bool calls,
                         bool counts);
/* One that has the same mask; many states share it. */
uint32_t machine_normal(text_grammar_machine *m, const text_grammar *g, uint32_t state);
void machine_set_begin(text_grammar_machine *m);
void machine_set_add(text_grammar_machine *m, uint32_t node);
uint32_t machine_set_state(text_grammar_machine *m);
/* Forgets all but this state; returns what it is now. */
uint32_t machine_keep_only(text_grammar_machine *m, uint32_t state);
void machine_rewind(text_grammar_machine *m, machine_size to);

#endif
