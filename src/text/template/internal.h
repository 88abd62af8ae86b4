/* text/template/internal — what the files of the template interpreter share. Nobody outside src/text includes
 * it.
 *
 * template.c          the face; the region all memory comes from
 * template_lex.c      text to tokens; white space around tags
 * template_parse.c    tokens to nodes: statements      template_expression.c  tokens to nodes: expressions
 * template_macro.c    what a macro's body asks of its call
 * template_run.c      runs statements                  template_call.c        macros, calls, arguments
 * template_eval.c     gives expressions their values   template_operator.c    operators
 * template_value.c    equality, order, iteration, lists, mappings
 * template_number.c   whole numbers and floats         template_print.c       str() and repr()
 * template_text.c     texts: parts, searching          template_letters.c     upper and lower case, classes
 * template_format.c   %, format() and their numbers    template_json.c        JSON in and out
 * template_filter.c, _sequence.c, _markup.c, _html.c, _wrap.c  filters      template_test.c  tests
 * template_method.c   methods of texts                 template_object.c      of all else; global functions
 *
 * Values behave as Python's do. Texts are well-formed UTF-8; their places are counted in characters.
 */
#ifndef TEXT_TEMPLATE_INTERNAL_H
#define TEXT_TEMPLATE_INTERNAL_H

#include "text/template/template.h"

/* ---- memory: handed out from chunks, given back all at once ---- */

typedef struct region_chunk {
    struct region_chunk *next;
    size_t bytes; /* this header included */
} region_chunk;

typedef struct region {
    const base_alloc *alloc;
    region_chunk *chunks;
    char *at, *end;
    size_t next_bytes, total_bytes, most_bytes; /* most: 0 is no bound */
    bool full;                                  /* most was what refused */
} region;

void region_init(region *g, const base_alloc *alloc);
void region_free(region *g);
void *region_take(region *g, size_t bytes);      /* NULL when refused; aligned to 16 */
char *region_take_text(region *g, size_t bytes); /* not aligned */

/* ---- values ---- */

typedef __int128 whole; /* Python's whole numbers, as far as they go here */

typedef enum value_kind {
    UNSET, /* nothing: an argument not given, a variable not there */
    UNDEFINED,
    NONE,
    BOOLEAN,
    INTEGER,
    BIG,
    FLOAT,
    STRING,
    LIST,
    TUPLE,
    MAPPING,
    VIEW,
    GENERATOR,
    NAMESPACE,
    LOOP,
    CYCLER,
    JOINER,
    FUNCTION,
} value_kind;

typedef struct value value;
typedef struct list list;
typedef struct mapping mapping;
typedef struct view view;
typedef struct generator generator;
typedef struct loop_state loop_state;
typedef struct cycler cycler;
typedef struct function function;

struct value {
    value_kind kind : 8;
    bool markup : 1; /* of a string: what |safe and |e gave; what is added to it is escaped */
    uint32_t bytes; /* of a string; of the name of what is undefined */
    union {
        bool boolean;
        int64_t integer;
        const whole *big;
        double number;
        const char *text;
        const list *list;
        mapping *mapping; /* mapping, namespace */
        const view *view;
        generator *generator;
        loop_state *loop;
        cycler *cycler; /* joiner, too */
        const function *function;
    };
};

/* Items behind which there may be room: a list that is added to again and again is not copied each time. */
typedef struct growing_list {
    value *items;
    size_t used, cap;
} growing_list;
struct list {
    value *items;
    size_t n;
    growing_list *room;
};
typedef enum view_kind { VIEW_ITEMS, VIEW_KEYS, VIEW_VALUES, VIEW_RANGE } view_kind;
struct view {
    view_kind kind;
    const list *list;
    int64_t range[3];
};
struct generator { /* what has been taken from it is gone */
    const list *list;
    const err *failure; /* what going through it comes to; NULL: its items */
    bool spent;
};
struct cycler {
    const list *items; /* of a joiner: one, the separator */
    size_t at;
};

typedef struct entry {
    value key, value;
} entry;
typedef struct mapping_index {
    uint32_t slot_count, slots[]; /* entry + 1, or 0 */
} mapping_index;
struct mapping { /* in the order of insertion */
    union {
        value *values;
        const char *part; /* of n bytes, while it is closed: nobody has looked into it (mapping_open) */
    };
    value *keys; /* shared: of mappings read with the same keys, and then not written to */
    uint32_t n, cap : 30, shared : 1, closed : 1;
    mapping_index *index; /* from MAPPING_LINEAR entries on */
};
enum { MAPPING_LINEAR = 8, MAPPING_CAP_MASK = (1 << 30) - 1 };

/* ---- tokens ---- */

typedef enum token_kind {
    TOKEN_TEXT,
    TOKEN_NAME,
    TOKEN_INTEGER,
    TOKEN_FLOAT,
    TOKEN_STRING,
    TOKEN_OPERATOR,
    TOKEN_OPEN_STATEMENT,
    TOKEN_CLOSE_STATEMENT,
    TOKEN_OPEN_EXPRESSION,
    TOKEN_CLOSE_EXPRESSION,
    TOKEN_END,
} token_kind;

typedef struct place {
    uint32_t line, column; /* from 1, in characters of the source */
} place;

typedef struct token {
    token_kind kind;
    place at;
    str text;
} token;

/* Token texts live in kept, the tokens themselves (with one TOKEN_END behind them) in passing. */
bool template_lex(str source, region *kept, region *passing, token **tokens, size_t *n, err *e);

bool template_fail_at(err *e, place at, err_code code, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

/* ---- nodes ---- */

typedef enum node_kind {
    NODE_TEXT,
    NODE_OUTPUT,
    NODE_SET,
    NODE_IF,
    NODE_FOR,
    NODE_MACRO,
    NODE_CALL_BLOCK,
    NODE_FILTER_BLOCK,
    NODE_WITH,
    NODE_SCOPE,
    NODE_BREAK,
    NODE_CONTINUE,
    NODE_CONSTANT,
    NODE_NAME,
    NODE_LIST,
    NODE_TUPLE,
    NODE_MAPPING,
    NODE_UNARY,
    NODE_BINARY,
    NODE_COMPARE,
    NODE_ATTRIBUTE,
    NODE_ITEM,
    NODE_SLICE,
    NODE_CALL,
    NODE_FILTER,
    NODE_TEST,
    NODE_TERNARY,
    NODE_KEYWORD,
    NODE_SPREAD,
    NODE_KEYWORD_SPREAD,
} node_kind;

typedef enum operator{
    OP_AND,
    OP_OR,
    OP_NOT,
    OP_IN,
    OP_NOT_IN,
    OP_EQUAL,
    OP_UNEQUAL,
    OP_LESS,
    OP_GREATER,
    OP_LESS_EQUAL,
    OP_GREATER_EQUAL,
    OP_ADD,
    OP_SUBTRACT,
    OP_JOIN,
    OP_MULTIPLY,
    OP_DIVIDE,
    OP_FLOOR_DIVIDE,
    OP_MODULO,
    OP_POWER,
}
operator;
extern const char *const template_operator_names[];

typedef struct node node;
typedef struct nodes {
    node **at;
    uint32_t n;
} nodes;
typedef struct builtin builtin;

struct node {
    uint8_t kind;    /* node_kind */
    uint8_t op;      /* of an operator: which; macro, call block: MACRO_…; for: FOR_… */
    uint16_t height; /* of the tree below */
    uint32_t symbol; /* of a name */
    place at;
    union {
        str text;       /* text, name, attribute, keyword, filter, test */
        value constant; /* NODE_CONSTANT */
    };
    const builtin *builtin; /* filter, test; NULL: there is none, which is said when it is asked for */
    node *a, *b, *c;
    /* What a, b, c, body and other are:
     *   output        body                        set        a = b, or a = body, through the filters b
     *   if            a: test; body; other        for        a: target, b: iterable, c: condition; body;
     * other: else macro         a: name; body; other: parameters call block    a: the call; body; other:
     * parameters (of caller) filter block  b: filters; body            with       other: target, value,
     * target, value …; body scope         body                        filter     a | text(body); a NULL: what
     * a block wrote unary         a                           binary     a, b compare       a; other:
     * operands, each a unary node with its operator attribute     a.text                      item       a[b]
     *   slice         a[body]: three, each may be NULL
     *   call          a(body)                     test       a is text(body)
     *   ternary       a if b else c (or NULL)     keyword    text=b
     *   spread        a                           mapping    body: key, value, key, value …
     *   list, tuple   body */
    nodes body, other;
};

enum { MACRO_KWARGS = 1, MACRO_VARARGS = 2, MACRO_CALLER = 4 };
enum { FOR_RECURSIVE = 1, FOR_CAPTURED = 2 }; /* captured: a macro in it may hold its variables */

/* Names are interned; these have fixed numbers. */
#define TEMPLATE_SYMBOLS(X) X(LOOP, "loop") X(CALLER, "caller") X(KWARGS, "kwargs") X(VARARGS, "varargs")
enum {
#define X(ident, name) SYMBOL_##ident,
    TEMPLATE_SYMBOLS(X)
#undef X
        SYMBOLS_FIXED
};

typedef struct symbols {
    str *names;
    uint32_t n, cap;
    uint32_t *slots; /* hash of names: symbol + 1, or 0 */
    uint32_t slot_count;
} symbols;
#define CLIPPED(s) (int)((s).len < 60 ? (s).len : 60), (s).data /* for "%.*s" */
enum { NO_SYMBOL = UINT32_MAX };
uint32_t symbols_find(const symbols *s, str name); /* NO_SYMBOL when absent */

struct text_template {
    base_alloc alloc;
    region kept;
    symbols names;
    nodes body;
};

bool template_parse(text_template *t, region *passing, const token *tokens, size_t n, err *e);
/* Which of kwargs, varargs and caller a body reads before it has set them itself. */
uint8_t template_special_arguments(const nodes *parameters, const nodes *body);

/* ---- running ---- */

typedef struct variable {
    uint32_t symbol;
    value value;
} variable;
typedef struct scope {
    struct scope *parent; /* the outermost, whose variables are run.globals: NULL */
    variable *variables;
    uint32_t n, cap;
} scope;

typedef struct arguments {
    value *items;
    size_t n;
    mapping *keywords; /* NULL: none */
} arguments;

typedef struct run run;

/* Filters, tests, methods, functions. parameters: their names, "a b? c?" (? may be left out; a first '/': not
 * by name), which args then holds in that order, UNSET where not given; or NULL: apply_all takes what comes.
 */
struct builtin {
    const char *name, *parameters;
    bool (*apply)(run *r, const value *self, const value *args, value *out);
    bool (*apply_all)(run *r, const value *self, const arguments *args, value *out);
    bool lazy; /* gives a generator: what is wrong shows when it is gone through */
};
enum { PARAMETERS_MAX = 8 };

struct function {
    const builtin *builtin; /* NULL: a macro, or a call block's body */
    value self;             /* of a method */
    const node *node;
    scope *scope; /* where it was made */
    bool caller;
};

struct loop_state {
    const node *node;
    scope *outer;
    const list *items;
    size_t at;
    uint32_t depth;
    value last_changed; /* UNSET: nothing yet */
};

enum {
    TEMPLATE_HEIGHT_MAX = 160, /* of the tree of nodes */
    RUN_DEPTH_MAX = 400,       /* of nodes being evaluated */
    VALUE_DEPTH_MAX = 270,     /* of values in values, when they are walked */
};

typedef enum outcome { FAILED, BREAK, CONTINUE } outcome; /* why something returned false */

typedef struct growing_text {
    char *data;
    size_t len, cap;
} growing_text;
enum { GROWING_TEXTS = 4, GROWING_FROM_BYTES = 4096 };

struct run {
    const text_template *template;
    const text_template_limits *limits;
    region memory;
    value *globals; /* by symbol; UNSET: not there */
    buf *out;       /* what blocks write; captured parts are cut off its end */
    size_t out_start;
    growing_text growing[GROWING_TEXTS];
    uint32_t grown_last;
    uint64_t steps_left;
    uint32_t depth, value_depth;
    outcome why;
    const node *at;
    text_template_input *input; /* what tells */
    text_template_tell_part *tell_part;
    void *tell_ctx;
    uint32_t n_opened; /* mappings that were closed */
    err *e;
};

/* All that can fail returns false and leaves *r->e, or r->why. */
bool run_fail(run *r, const char *format, ...) __attribute__((format(printf, 2, 3))); /* with the place */
bool run_refused(run *r);                                                             /* memory */
bool run_spend(run *r, uint64_t steps);
static inline bool run_spend_bytes(run *r, size_t bytes) { return bytes < 32 || run_spend(r, bytes / 32); }
void *run_memory(run *r, size_t bytes); /* NULL: refused, and said so */
#define run_take(r, bytes, pointer) ((*(pointer) = run_memory(r, bytes)) != NULL)
bool run_take_items(run *r, size_t n, value **items);

bool run_block(run *r, const nodes *body, scope *s); /* to r->out */
bool run_capture(run *r, const nodes *body, scope *s, value *out);
bool run_bind_target(run *r, const node *target, const value *v, scope *s);
bool run_loop_again(run *r, const loop_state *loop, const value *iterable, value *out);
bool run_call(run *r, const value *callee, const arguments *args, value *out);
bool run_call_block(run *r, const node *n, scope *s, value *out);
bool run_define_macro(run *r, const node *n, scope *s);
bool escape_markup(run *r, const value *text, value *out); /* <, >, &, ' and "; what is escaped stays so */
bool run_apply(run *r, const builtin *b, const value *self, const arguments *args, value *out);
bool eval(run *r, const node *n, scope *s, value *out);
bool eval_arguments(run *r, const nodes *args, scope *s, arguments *out);
bool eval_filters(run *r, const node *n, scope *s, const value *written, value *out);
bool apply_operator(run *r, operator op, const value *a, const value *b, value *out);
bool apply_sign(run *r, operator op, const value *v, value *out);
bool apply_slice(run *r, const value *v, const value parts[3], value *out);
bool value_attribute(run *r, const value *v, str name, value *out);    /* v.name */
bool value_item(run *r, const value *v, const value *key, value *out); /* v[key] */
scope *scope_new(run *r, scope *parent);
bool scope_set(run *r, scope *s, uint32_t symbol, value v);

const builtin *builtin_find(const builtin *table, size_t n, str name);
const builtin *filter_find(str name);
const builtin *test_find(str name);
const builtin *method_find(const value *self, str name);
const builtin *global_find(str name);
extern const builtin filters_of_sequences[], filters_of_markup[];
extern const size_t filters_of_sequences_n, filters_of_markup_n;
typedef bool apply_filter(run *r, const value *v, const value *args, value *out);
apply_filter filter_striptags, filter_urlize, filter_wordwrap, filter_filesizeformat;

/* ---- values ---- */

static inline value value_of(value_kind kind) { return (value){.kind = kind}; }
static inline value value_undefined(str name) {
    return (value){.kind = UNDEFINED, .bytes = (uint32_t)name.len, .text = name.data};
}
static inline value value_boolean(bool b) { return (value){.kind = BOOLEAN, .boolean = b}; }
static inline value value_integer(int64_t i) { return (value){.kind = INTEGER, .integer = i}; }
static inline value value_float(double d) { return (value){.kind = FLOAT, .number = d}; }
static inline value value_string(str s) {
    return (value){.kind = STRING, .bytes = (uint32_t)s.len, .text = s.data};
}
static inline value value_list(const list *l) { return (value){.kind = LIST, .list = l}; }
static inline value value_mapping(mapping *m) { return (value){.kind = MAPPING, .mapping = m}; }
static inline str value_str(const value *v) { return (str){v->text, v->bytes}; }
static inline bool is_list(const value *v) { return v->kind == LIST || v->kind == TUPLE; }
static inline bool is_whole(const value *v) {
    return v->kind == INTEGER || v->kind == BIG || v->kind == BOOLEAN;
}
static inline bool is_number(const value *v) { return is_whole(v) || v->kind == FLOAT; }

const char *value_kind_name(const value *v); /* "a text", "an undefined value" */
bool value_fail_undefined(run *r, const value *v);
bool value_truth(const value *v);
bool value_equal(run *r, const value *a, const value *b, bool *out);
bool value_compare(run *r, const value *a, const value *b, int *out); /* order */
bool value_length(run *r, const value *v, size_t *n);
bool value_contains(run *r, const value *container, const value *item, bool *out);
/* All that a loop over v would see. A generator is spent by it. */
bool value_iterate(run *r, const value *v, const list **out);
bool list_new(run *r, size_t n, value *out, value **items);
bool list_of_items(run *r, value *items, size_t n, value *out);
bool list_tuple(run *r, size_t n, value *out, value **items);
bool list_generator(run *r, const list *l, value *out);
bool list_concat(run *r, const value *a, const value *b, value *out);
bool list_repeat(run *r, const list *l, whole times, value_kind kind, value *out);
typedef struct sort_order {
    bool reverse;
    bool (*key)(run *r, const void *ctx, const value *item, value *out);
    const void *ctx;
} sort_order;
bool list_sort(run *r, const list *l, const sort_order *order, value *out);
bool mapping_new(run *r, uint32_t cap, mapping **out);
bool template_open_part(run *r, mapping *m);
/* Before its members are looked at: keys, values, and how many there are (more than none they are, closed, too). */
static inline bool mapping_open(run *r, const mapping *m) {
    return !m->closed || template_open_part(r, (mapping *)(uintptr_t)m);
}
bool mapping_own_keys(run *r, mapping *m);
bool mapping_set(run *r, mapping *m, const value *key, value v);
bool mapping_find(run *r, const mapping *m, const value *key, value **found); /* NULL: absent */
value *mapping_get(run *r, const mapping *m, str key);
bool mapping_view(run *r, const mapping *m, view_kind kind, value *out);
bool mapping_add_all(run *r, mapping *to, const mapping *from);
bool mapping_add_pairs(run *r, mapping *to, const value *pairs); /* a mapping, or pairs */

/* A list that is filled item by item. */
typedef struct list_builder {
    run *r;
    value *items;
    size_t n, cap;
} list_builder;
bool list_add(list_builder *b, value v);
bool list_end(list_builder *b, value *out);

/* ---- numbers ---- */

enum { NUMBER_TEXT_BYTES = 400, FLOAT_TEXT_STEPS = 64 };
#define WHOLE_MAX ((whole)((~(unsigned __int128)0) >> 1))
#define WHOLE_MIN (-WHOLE_MAX - 1)
whole whole_of(const value *v);
bool whole_value(run *r, whole w, value *out);
double number_of(const value *v);
str number_text(const value *v, char out[NUMBER_TEXT_BYTES]);
str float_text(double d, char out[NUMBER_TEXT_BYTES]); /* repr() */
str whole_text(whole w, unsigned base, char out[NUMBER_TEXT_BYTES]);
bool number_to_whole(run *r, double d, value *out);
bool text_to_whole(str s, unsigned base, whole *out, bool *too_large);    /* as int(), false: none */
bool text_to_float(region *g, str s, double *out, bool *ok);              /* as float(); false: memory */
bool value_index(run *r, const char *what, const value *v, int64_t *out); /* a whole number that fits */
int compare_numbers(const value *a, const value *b, bool *unordered);

/* ---- texts ---- */

typedef struct text_builder {
    run *r;
    char *data;
    size_t len, cap;
    bool failed;
} text_builder;
void build_begin(text_builder *b, run *r, size_t expected_bytes);
void build_append(text_builder *b, str s);
void build_append_char(text_builder *b, uint32_t cp);
void build_pad(text_builder *b, str with, size_t times);
bool build_end(text_builder *b, value *out);

int text_decode(str s, size_t at, uint32_t *cp); /* its bytes; s is well-formed */
bool text_is_space(uint32_t cp);
size_t text_characters(str s);
size_t text_next(str s, size_t at); /* of the character behind the one at at */
size_t text_offset(str s, size_t character);
str text_trim(str s, bool start, bool end);
str text_trim_set(str s, str set, bool start, bool end);
size_t text_find(str s, str part, size_t from); /* SIZE_MAX: not there */
size_t text_find_last(str s, str part);
bool text_concat(run *r, str a, str b, value *out);
bool text_repeat(run *r, str s, whole times, value *out);
bool text_split(run *r, str s, const value *separator, int64_t most, value *out);
bool text_split_last(run *r, str s, const value *separator, int64_t most, value *out);
bool text_split_lines(run *r, str s, bool keep_ends, value *out);
bool text_replace(run *r, str s, str old, str new, int64_t most, value *out);
bool text_slice(run *r, str s, int64_t from, int64_t to, int64_t step,
                value *out);                            /* of characters, in bounds */
bool text_list(run *r, str s, const list **out);        /* of characters */
size_t text_line_end(str s, size_t from, size_t *next); /* as splitlines() */

bool text_change_case(run *r, str s, bool upper, value *out);
bool text_swap_case(run *r, str s, value *out);
bool text_title(run *r, str s, value *out); /* str.title() */
bool text_capitalize(run *r, str s, value *out);
void text_append_case(text_builder *b, str s, size_t at, size_t n, bool upper);

/* ---- values as text ---- */

bool text_of_value(run *r, const value *v, value *out); /* str() */
bool text_repr(run *r, const value *v, value *out);
void repr_append(text_builder *b, const value *v);
bool format_percent(run *r, str format, const value *given, value *out);
bool format_braces(run *r, str format, const arguments *args, value *out);

typedef struct json_style {
    str indent; /* of one level */
    bool indents, ensure_ascii, sort_keys;
    str item_separator, key_separator;
} json_style;
bool json_of_value(run *r, const value *v, const json_style *style, value *out);
bool template_read_context(run *r, str context_json);
/* Fills r->globals with what is told. copies: of texts that are not in source; otherwise all stay where they are. */
bool template_take_input(run *r, text_template_tell *tell, void *ctx, bool copies, str source);

#endif
