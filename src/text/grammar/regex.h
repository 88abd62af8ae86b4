/* text/grammar/regex — the reading of regular expressions, for the two files that compile them. Nobody else includes
 * it. */
#ifndef TEXT_GRAMMAR_REGEX_H
#define TEXT_GRAMMAR_REGEX_H

#include "text/grammar/internal.h"

enum { REGEX_RANGES_MAX = 160, REGEX_NESTING_MAX = 24 };

typedef struct regex {
    grammar_builder *b;
    str pattern;
    size_t at;
    int nesting;
    bool whole;
    bool wide;           /* where a class is not known exactly: more rather than fewer */
    uint32_t most_times; /* repetitions are cut to these */
    uint32_t more_times; /* and these are added to the least of the first that can bear it */
} regex;

typedef struct char_set {
    grammar_range r[REGEX_RANGES_MAX + 2];
    size_t n;
} char_set;

bool regex_wrong(regex *x, const char *what);
int regex_peek(const regex *x, size_t ahead); /* −1 behind the end */
bool regex_take(regex *x, char c);
bool regex_take_text(regex *x, const char *s);
/* One character or class; false where it is none: an anchor, a group. */
bool regex_take_set(regex *x, char_set *s);
bool regex_take_times(regex *x, uint32_t *least, uint32_t *most);
/* Emits a character of the set inside a JSON string. */
void regex_emit_set(regex *x, const char_set *s);
void regex_add_ranges(regex *x, char_set *s, const grammar_range *r, size_t n, bool inverted);

/* ---- grammar_property.c ---- */
/* Behind \p or \P: {Lu} and others. wide: all that may be meant; else what surely is. */
bool regex_take_property(regex *x, char_set *s, bool inverted, bool wide);

#endif
