/* text/template_internal — what the files of the template interpreter share. Nobody outside src/text includes it.
 *
 * template.c          the face; the region all memory comes from
 * template_lex.c      white space control, then text to tokens
 * template_parse.c    tokens to nodes: statements      template_expression.c  tokens to nodes: expressions
 * template_macro.c    what a macro's body asks of its call
 * template_run.c      runs statements                  template_eval.c        gives expressions their values
 * template_filter.c   filters and tests                template_method.c      methods; functions of every template
 * template_value.c    lists, mappings, comparing       template_text.c        texts: parts, searching, building
 * template_letters.c  upper and lower case             template_number.c      numbers as text and back
 * template_json.c     JSON in and out
 *
 * Texts are UTF-8 in which half of a surrogate pair may stand alone (as three bytes), for JavaScript's strings,
 * which the reference's are, can be cut there.
 */
#ifndef TEXT_TEMPLATE_INTERNAL_H
#define TEXT_TEMPLATE_INTERNAL_H

#include "text/template.h"

/* ---- memory: handed out from chunks, given back all at once ---- */

typedef struct region_chunk {
    struct region_chunk *next;
    size_t bytes; /* this header included */
} region_chunk;

typedef struct region {
    const base_alloc *alloc;
    region_chunk *chunks;
    char *at, *end;
    size_t next_bytes, total_bytes;
} region;

void region_init(region *g, const base_alloc *alloc);
void region_free(region *g);
void *region_take(region *g, size_t bytes);      /* NULL when refused; aligned to 8 */
char *region_take_text(region *g, size_t bytes); /* not aligned */

/* ---- tokens ---- */

typedef enum token_kind {
    TOKEN_TEXT, TOKEN_NUMBER, TOKEN_STRING, TOKEN_NAME, TOKEN_EQUALS, TOKEN_OPEN_PAREN, TOKEN_CLOSE_PAREN,
    TOKEN_OPEN_STATEMENT, TOKEN_CLOSE_STATEMENT, TOKEN_OPEN_EXPRESSION, TOKEN_CLOSE_EXPRESSION,
    TOKEN_OPEN_BRACKET, TOKEN_CLOSE_BRACKET, TOKEN_OPEN_BRACE, TOKEN_CLOSE_BRACE, TOKEN_COMMA, TOKEN_DOT,
    TOKEN_COLON, TOKEN_PIPE, TOKEN_ADDITIVE, TOKEN_MULTIPLICATIVE, TOKEN_POWER, TOKEN_COMPARISON, TOKEN_UNARY,
    TOKEN_COMMENT, TOKEN_END,
} token_kind;

typedef struct place {
    uint32_t line, column; /* from 1, in characters of the source as it was given */
} place;

typedef struct token {
    token_kind kind;
    place at;
    str text;
} token;

/* Token texts live in kept, the tokens themselves (with one TOKEN_END behind them) in passing. halves: a text
 * holds half of a surrogate pair. */
bool template_lex(str source, region *kept, region *passing, token **tokens, size_t *n, bool *halves, err *e);

bool template_fail_at(err *e, place at, err_code code, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

/* ---- nodes ---- */

typedef enum node_kind {
    NODE_TEXT, NODE_COMMENT, NODE_SET, NODE_IF, NODE_FOR, NODE_MACRO, NODE_CALL_BLOCK, NODE_FILTER_BLOCK,
    NODE_BREAK, NODE_CONTINUE,
    NODE_INTEGER, NODE_FLOAT, NODE_STRING, NODE_NAME, NODE_LIST, NODE_TUPLE, NODE_MAPPING, NODE_UNARY, NODE_BINARY,
    NODE_MEMBER, NODE_CALL, NODE_FILTER, NODE_TEST, NODE_SELECT, NODE_TERNARY, NODE_SLICE, NODE_KEYWORD,
    NODE_SPREAD, NODE_KEYWORD_SPREAD,
} node_kind;

typedef enum operator {
    OP_AND, OP_OR, OP_NOT, OP_IN, OP_NOT_IN, OP_EQUAL, OP_UNEQUAL, OP_LESS, OP_GREATER, OP_LESS_EQUAL,
    OP_GREATER_EQUAL, OP_ADD, OP_SUBTRACT, OP_JOIN, OP_MULTIPLY, OP_DIVIDE, OP_FLOOR_DIVIDE, OP_MODULO, OP_POWER,
} operator;
extern const char *const template_operator_names[];

typedef struct node node;
typedef struct nodes {
    node **at;
    uint32_t n;
} nodes;

struct node {
    uint8_t kind;    /* node_kind */
    uint8_t op;      /* of an operator: which; member: computed; test: negated; macro, call block: MACRO_… */
    uint16_t height; /* of the tree below */
    uint32_t symbol; /* of a name */
    place at;
    union {
        str text;        /* text, string, name */
        double number;   /* integer, float */
        struct {
            node *a, *b, *c;
        };
    };
    /* What a, b, c, body and other are:
     *   set           a = b, or a = body          if         a: test; body; other
     *   for           a: targets, b: iterable; body; other: else
     *   macro         a: name; body; other: parameters
     *   call block    a: the call; body; other: parameters (of caller)
     *   filter block  b: filter; body             filter     a | b
     *   unary, spread a                           binary     a, b
     *   member        a.b, a[b]                   call       a(body)
     *   test          a is b                      select     a if b
     *   ternary       a if b else c               slice      a:b:c, each may be NULL
     *   keyword       a=b                         mapping    body: key, value, key, value …
     *   list, tuple   body */
    nodes body, other;
};

enum { MACRO_KWARGS = 1, MACRO_VARARGS = 2 };

/* Names are interned; these have fixed numbers. */
#define TEMPLATE_SYMBOLS(X)                                                                           \
    X(NAMESPACE, "namespace") X(FALSE, "false") X(TRUE, "true") X(NONE, "none")                       \
    X(RAISE_EXCEPTION, "raise_exception") X(RANGE, "range") X(STRFTIME_NOW, "strftime_now")           \
    X(TRUE_TITLE, "True") X(FALSE_TITLE, "False") X(NONE_TITLE, "None")                               \
    X(LOOP, "loop") X(CALLER, "caller") X(KWARGS, "kwargs") X(VARARGS, "varargs")
enum {
#define X(ident, name) SYMBOL_##ident,
    TEMPLATE_SYMBOLS(X)
#undef X
    SYMBOLS_FIXED
};
enum { SYMBOLS_RESERVED = SYMBOL_NONE_TITLE + 1 }; /* globals that a context may not name */

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
    bool halves;
};

bool template_parse(text_template *t, region *passing, const token *tokens, size_t n, err *e);
/* Which of kwargs and varargs a body reads before it has set them itself. */
uint8_t template_special_arguments(const nodes *parameters, const nodes *body);

/* ---- values ---- */

typedef enum value_kind {
    MISSING, /* the reference's own undefined, behind its undefined value: [] | first. Good for nearly nothing */
    UNDEFINED, NONE, BOOLEAN, INTEGER, FLOAT, STRING, LIST, TUPLE, MAPPING, KEYWORDS, NAMESPACE, FUNCTION,
} value_kind;

typedef struct value value;
typedef struct list {
    value *items;
    size_t n;
} list;
typedef struct mapping mapping;
typedef struct function function;

struct value {
    value_kind kind;
    uint32_t bytes; /* of a string */
    union {
        bool boolean;
        double number; /* integers too, as in JavaScript */
        const char *text;
        const list *list;
        mapping *mapping; /* mapping, keywords, namespace */
        const function *function;
    };
};

typedef struct entry {
    str key;
    value value;
} entry;
struct mapping { /* in the order of insertion */
    entry *entries;
    uint32_t n, cap;
    uint32_t *slots; /* from MAPPING_LINEAR entries on: entry + 1, or 0 */
    uint32_t slot_count;
};
enum { MAPPING_LINEAR = 8 };

typedef struct variable {
    uint32_t symbol;
    value value;
} variable;
typedef struct scope {
    struct scope *parent; /* the outermost, whose variables are run.globals: NULL */
    variable *variables;
    uint32_t n, cap;
} scope;

typedef enum function_kind {
    CALL_MACRO, CALL_CALLER, CALL_NAMESPACE, CALL_RAISE_EXCEPTION, CALL_RANGE, CALL_STRFTIME_NOW,
    CALL_UPPER, CALL_LOWER, CALL_STRIP, CALL_LSTRIP, CALL_RSTRIP, CALL_TITLE, CALL_CAPITALIZE, CALL_STARTSWITH,
    CALL_ENDSWITH, CALL_SPLIT, CALL_REPLACE, CALL_GET, CALL_ITEMS, CALL_KEYS, CALL_VALUES, CALL_DICTSORT,
} function_kind;
struct function {
    function_kind kind;
    value self;       /* of a method */
    const node *node; /* of a macro, of a call block */
    scope *scope;     /* of a call block */
};

/* Arguments of a call as the reference passes them: keywords, if any, are one last item. */
typedef struct arguments {
    value *items;
    size_t n;
} arguments;

enum {
    TEMPLATE_HEIGHT_MAX = 160, /* of the tree of nodes */
    RUN_DEPTH_MAX = 400,       /* of nodes being evaluated */
    VALUE_DEPTH_MAX = 100,     /* of values in values, when they are walked */
};

typedef enum outcome { FAILED, BREAK, CONTINUE } outcome; /* why something returned false */

/* A text with room behind it: what is added to it again and again is not copied each time. */
typedef struct growing_text {
    char *data;
    size_t len, cap;
} growing_text;
enum { GROWING_TEXTS = 4, GROWING_FROM_BYTES = 4096 };

typedef struct run {
    const text_template *template;
    const text_template_limits *limits;
    region memory;
    value *globals; /* by symbol; MISSING: not there */
    buf *out;       /* what blocks write; captured parts are cut off its end */
    size_t out_start;
    growing_text growing[GROWING_TEXTS];
    uint32_t grown_last;
    uint64_t steps_left;
    uint32_t depth;
    bool loop_escaped; /* someone may hold a loop's variable: each turn has a new one from now on */
    bool halves; /* texts may hold half of a surrogate pair: they are joined with care */
    outcome why;
    const node *at;
    err *e;
} run;

/* All that can fail returns false and leaves *r->e, or r->why. */
bool run_fail(run *r, const char *format, ...) __attribute__((format(printf, 2, 3))); /* with the place */
bool run_refused(run *r);                 /* memory */
bool run_spend(run *r, uint64_t steps);
static inline bool run_spend_bytes(run *r, size_t bytes) { return bytes < 32 || run_spend(r, bytes / 32); }
void *run_memory(run *r, size_t bytes); /* NULL: refused, and said so */
#define run_take(r, bytes, pointer) ((*(pointer) = run_memory(r, bytes)) != NULL)
bool run_take_items(run *r, size_t n, value **items);

bool run_block(run *r, const nodes *body, scope *s); /* to r->out */
bool run_capture(run *r, const nodes *body, scope *s, value *out);
bool run_emit(run *r, const value *v);
bool run_call(run *r, const value *callee, arguments args, scope *s, value *out);
bool run_bind_arguments(run *r, str name, const node *n, arguments args, scope *s);
bool eval(run *r, const node *n, scope *s, value *out);
bool eval_call_arguments(run *r, const nodes *args, scope *s, bool always_keywords, arguments *out);
bool eval_keywords(run *r, const nodes *args, scope *s, arguments *positional, mapping **keywords);
bool eval_filter(run *r, const node *filter, scope *s, value *operand_and_result);
bool eval_test(run *r, str name, const value *operand, const value *other, bool *out);
scope *scope_new(run *r, scope *parent);
bool scope_set(run *r, scope *s, uint32_t symbol, value v);

static inline value value_of(value_kind kind) { return (value){.kind = kind}; }
static inline value value_boolean(bool b) { return (value){.kind = BOOLEAN, .boolean = b}; }
static inline value value_integer(double d) { return (value){.kind = INTEGER, .number = d}; }
static inline value value_float(double d) { return (value){.kind = FLOAT, .number = d}; }
static inline value value_string(str s) {
    return (value){.kind = STRING, .bytes = (uint32_t)s.len, .text = s.data};
}
static inline value value_list(const list *l) { return (value){.kind = LIST, .list = l}; }
static inline value value_mapping(mapping *m) { return (value){.kind = MAPPING, .mapping = m}; }
static inline str value_str(const value *v) { return (str){v->text, v->bytes}; }
static inline bool is_list(const value *v) { return v->kind == LIST || v->kind == TUPLE; }
static inline bool is_mapping(const value *v) { return v->kind == MAPPING || v->kind == KEYWORDS; }
static inline bool has_attributes(const value *v) { return is_mapping(v) || v->kind == NAMESPACE; }
static inline bool is_number(const value *v) { return v->kind == INTEGER || v->kind == FLOAT; }
static inline bool is_numeric(const value *v) { return is_number(v) || v->kind == BOOLEAN; }
static inline double value_number(const value *v) { return v->kind == BOOLEAN ? v->boolean : v->number; }

const char *value_kind_name(const value *v); /* "a text", "an undefined value" */
bool value_truth(run *r, const value *v, bool *out);
bool value_raw_truth(const value *v); /* JavaScript's */
bool value_same(const value *a, const value *b);                           /* JavaScript's === of what they hold */
bool value_equal(run *r, const value *a, const value *b, bool *out);       /* and its == */
bool value_compare(run *r, const value *a, const value *b, bool with_case, int *out);
bool list_new(run *r, size_t n, value *out, value **items);
bool list_unique(run *r, const list *l, value *out);
bool mapping_new(run *r, uint32_t cap, mapping **out);
bool mapping_set(run *r, mapping *m, str key, value v);
value *mapping_get(run *r, const mapping *m, str key); /* NULL: absent. Spends, and leaves failing to the next */
bool mapping_items(run *r, const mapping *m, value *out);
bool mapping_keys(run *r, const mapping *m, value *out);
value value_attribute(run *r, const value *item, str path);

typedef struct sort_order {
    bool by_pair, by_path, with_case, reverse;
    bool collate; /* texts as localeCompare does */
    uint32_t pair_index;
    str path;
} sort_order;
bool list_sort(run *r, const list *l, const sort_order *order, value *out);

/* ---- texts ---- */

typedef struct text_builder {
    run *r;
    char *data;
    size_t len, cap;
    bool failed;
} text_builder;
void build_begin(text_builder *b, run *r, size_t expected_bytes);
void build_append(text_builder *b, str s);
bool build_end(text_builder *b, value *out);

size_t text_join_halves(char *s, size_t len);          /* surrogate pairs become characters; the new length */
void text_replace_halves(char *s, size_t len);         /* halves that are left become U+FFFD */
int text_decode(str s, size_t at, uint32_t *cp);       /* its bytes; s is well-formed but for halves */
int text_encode_unit(uint32_t cp, char out[4]);        /* halves too */
bool text_is_space(uint32_t cp);                       /* JavaScript's */
size_t text_units(str s);                              /* UTF-16 */
size_t text_characters(str s);
str text_trim(str s, bool start, bool end);
size_t text_find(str s, str part, size_t from);        /* SIZE_MAX: not there */
bool text_concat(run *r, str a, str b, value *out);
bool text_of_value(run *r, const value *v, value *out);     /* as it is printed */
bool text_of_raw(run *r, const value *v, value *out);       /* JavaScript's toString of what it holds */
bool text_change_case(run *r, str s, bool upper, value *out);
bool text_title(run *r, str s, value *out);
bool text_capitalize(run *r, str s, value *out);
bool text_split(run *r, str s, const value *separator, double most, value *out);
bool text_replace(run *r, str s, str old, str new, double most, value *out);
bool text_indent(run *r, str s, double width, bool first, bool blank, value *out);
bool text_slice(run *r, str s, double from, double to, double step, value *out); /* of characters */
bool text_unit_at(run *r, str s, double index, value *out);
bool text_join_items(run *r, const value *operand, str separator, value *out);
int text_compare_units(str a, str b); /* as UTF-16 */
int text_collate(str a, str b);
uint32_t letter_upper(uint32_t cp, uint32_t out[3]); /* how many */
uint32_t letter_lower(uint32_t cp, uint32_t out[3]);

/* ---- numbers ---- */

enum { NUMBER_TEXT_BYTES = 352 };
str number_text(double d, char out[NUMBER_TEXT_BYTES]);       /* JavaScript's String() */
str number_float_text(double d, char out[NUMBER_TEXT_BYTES]); /* 1.0 for 1 */
bool number_parse_int(run *r, str s, double *out);            /* NaN when there is none */
bool number_parse_float(run *r, str s, double *out);
bool number_of_text(run *r, str s, double *out);              /* Number() */
bool number_of_digits(region *g, str s, double *out);         /* false: memory */

/* ---- JSON ---- */

typedef struct json_style {
    double indent;
    bool ensure_ascii, sort_keys, undefined_is_null, custom;
    str item_separator, key_separator;
} json_style;
bool json_of_value(run *r, const value *v, const json_style *style, value *out);
bool template_read_context(run *r, str context_json);

/* ---- methods ---- */

bool method_find(run *r, const value *self, str name, value *out); /* UNDEFINED when there is none */
bool method_call(run *r, const function *f, arguments args, value *out);
bool function_raise(run *r, arguments args);
bool function_range(run *r, arguments args, value *out);
bool function_strftime_now(run *r, arguments args, value *out);
bool function_namespace(run *r, arguments args, value *out);

#endif
