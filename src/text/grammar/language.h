/* text/grammar/language — sets of strings: regular expressions with "and" and "not". Nobody outside src/text includes
 * it.
 *
 * An expression is a number. Alike ones are one, so the derivatives of an expression (what may follow once a character
 * was read) are few, and are the states of an automaton. That is how several patterns for one string, what looks
 * around, lengths, and keys that match no pattern are kept to. After a failure (the builder's) all of it does nothing.
 */
#ifndef TEXT_GRAMMAR_LANGUAGE_H
#define TEXT_GRAMMAR_LANGUAGE_H

#include "text/grammar/internal.h"

typedef uint32_t expression;
enum { LANGUAGE_NONE = 0, LANGUAGE_EMPTY = 1, LANGUAGE_ALL = 2 }; /* no string; "" alone; every string */

enum expression_kind { EX_NONE, EX_EMPTY, EX_CLASS, EX_THEN, EX_OR, EX_AND, EX_NOT, EX_TIMES };

typedef struct expression_node {
    uint8_t kind;
    bool nullable;
    /* CLASS: first range, how many. TIMES: of a, least b, most c. OR, AND: a, then one, or a list of its kind, b. */
    uint32_t a, b, c;
    uint32_t chain;
} expression_node;

typedef struct language {
    grammar_builder *b;
    expression_node *nodes;
    size_t n_nodes, nodes_cap;
    uint32_t *heads;
    grammar_range *ranges;
    size_t n_ranges, ranges_cap;
    struct language_memo { /* derivatives that are known */
        uint32_t of, cp, is;
    } *memo;
    uint32_t *list; /* of expressions being gathered */
    size_t n_list, list_cap;
    int depth;
} language;

bool language_init(language *l, grammar_builder *b);
void language_free(language *l);

expression language_class(language *l, const grammar_range *r, size_t n);
expression language_any(language *l); /* one character */
expression language_then(language *l, expression a, expression b);
expression language_or(language *l, expression a, expression b);
/* Of many, in one go. */
size_t language_begin_or(const language *l);
void language_add_or(language *l, expression a);
expression language_end_or(language *l, size_t begun);
expression language_and(language *l, expression a, expression b);
expression language_not(language *l, expression a);
expression language_times(language *l, expression a, uint32_t least, uint32_t most);
expression language_text(language *l, str text);
bool language_nullable(const language *l, expression a);
expression language_derive(language *l, expression a, uint32_t cp);
bool language_has(language *l, expression a, str text);

/* ---- grammar_pattern.c ---- */
/* Strings in which the pattern is found (whole: which it matches from end to end). Where that cannot be said exactly,
 * fewer, or with `wide` more. ERR_INVALID as grammar_regex. */
expression language_pattern(language *l, str pattern, bool whole, bool wide);
/* Whether the pattern is found in the text. */
bool grammar_pattern_finds(grammar_builder *b, str pattern, str text);

/* ---- grammar_automaton.c ---- */
/* Emits the inside of JSON strings of the language, in characters within lengths, and the closing quote (of a plain
 * builder the strings alone); FAIL where there are none, and *none. */
bool language_emit(language *l, expression a, grammar_lengths lengths, bool *none);

#endif
