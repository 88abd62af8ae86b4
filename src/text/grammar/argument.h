/* text/grammar/argument — what the text of a tool's argument stands for, in the forms of calls that write arguments as
 * texts between tags instead of JSON. The reader of replies decides by it what is a string and what is JSON; the
 * grammar that holds a model to a tool's schema allows nothing that would be read as something else. Owns nothing.
 * Nobody outside src/text includes it.
 */
#ifndef TEXT_GRAMMAR_ARGUMENT_H
#define TEXT_GRAMMAR_ARGUMENT_H

#include "base/str.h"

enum {
    ARGUMENT_STRING = 1,
    ARGUMENT_NUMBER = 2,
    ARGUMENT_BOOL = 4,
    ARGUMENT_NULL = 8,
    ARGUMENT_OBJECT = 16,
    ARGUMENT_ARRAY = 32,
    ARGUMENT_ALL = 63,
};

/* What values of that argument may be by the parameters' schema (as JSON text): ARGUMENT_… or-ed; 0: nobody says.
 * Bounded work whatever the schema is: one that is too tangled gives ARGUMENT_ALL. */
unsigned argument_types(str schema, str name);
/* The JSON that text stands for under these types; empty: it is a string. Of types 0 only objects and arrays are. */
str argument_json(str text, unsigned types);

#endif
