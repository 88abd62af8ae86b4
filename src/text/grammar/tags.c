/* A tool's arguments between tags: each is a text of its own, a string as it is or other values as JSON. All that a
 * schema says of an object holds as it does of JSON (grammar_object.c writes both); what cannot be written so, because
 * the reader of the reply would take it for something else, is left out. */
#include "text/grammar/argument.h"
#include "text/grammar/schema.h"

static str end_tag(const schema *s) { /* without the newline that is no part of the value */
    str end = str_of(s->tags->value_end);
    return str_from(end, end.data[0] == '\n');
}

bool schema_tags_check(schema *s) {
    if (!s->tags) return true;
    str end = str_of(s->tags->value_end), part = end_tag(s);
    bool again = part.len && memchr(part.data + 1, part.data[0], part.len - 1),
         lines = part.len < end.len && memchr(part.data, '\n', part.len);
    if (end.len > GRAMMAR_VALUE_END_MAX || part.len < 2 || again || lines)
        return grammar_fail(s->b, ERR_INVALID, "a value's end has 2 to %d bytes, and the first of them only once",
                            GRAMMAR_VALUE_END_MAX);
    return true;
}

/* ---- names ---- */

enum { NAME_MAX = 64 };

/* Whether the reader finds the name's end where it is. */
bool schema_tag_takes_name(str name) {
    for (size_t i = 0; i < name.len; i++)
        if ((unsigned char)name.data[i] < 0x20 || name.data[i] == '<' || name.data[i] == '>') return false;
    return name.len > 0;
}

expression schema_tag_names(schema *s, expression e) {
    static const grammar_range plain[] = {{0x21, 0x3B}, {0x3D, 0x3D}, {0x3F, 0x7E}};
    language *l = &s->words;
    return language_and(l, e, language_times(l, language_class(l, plain, 3), 1, NAME_MAX));
}

/* ---- values ---- */

void schema_tag_value(schema *s, str name, const schema_parts *p) {
    s->b->steps += (uint32_t)(s->source.len / 256); /* the source is gone over for the name */
    s->types = argument_types(s->source, name);
    s->level = LEVEL_ARGUMENT;
    schema_emit(s, p);
    s->level = LEVEL_ARGUMENTS;
    s->types = 0;
}

void schema_tag_value_end(schema *s) {
    grammar_text(s->b, str_of(s->tags->value_end));
    grammar_text(s->b, str_of(s->tags->after));
}

bool schema_tag_may_be(const schema *s, unsigned type) {
    unsigned types = s->types ? s->types : ARGUMENT_STRING | ARGUMENT_OBJECT | ARGUMENT_ARRAY, wanted = 0;
    if (s->level == LEVEL_JSON) return true;
    if (s->level == LEVEL_ARGUMENTS) return type == TYPE_OBJECT;
    if (type & TYPE_NULL) wanted |= ARGUMENT_NULL;
    if (type & TYPE_BOOLEAN) wanted |= ARGUMENT_BOOL;
    if (type & (TYPE_INTEGER | TYPE_NUMBER)) wanted |= ARGUMENT_NUMBER;
    if (type & TYPE_STRING) return true; /* whatever looks like nothing else is one */
    if (type & TYPE_ARRAY) wanted |= ARGUMENT_ARRAY;
    if (type & TYPE_OBJECT) wanted |= ARGUMENT_OBJECT;
    return types & wanted;
}

/* Besides strings: what a text may be read as. */
static unsigned others(const schema *s) {
    return s->types ? s->types & ~(unsigned)ARGUMENT_STRING : ARGUMENT_OBJECT | ARGUMENT_ARRAY;
}

bool schema_tag_takes(schema *s, str text) {
    if (s->level != LEVEL_ARGUMENT) return true;
    str end = end_tag(s);
    if (text.len && memmem(text.data, text.len, end.data, end.len)) return false;
    return !others(s) || !argument_json(text, s->types).len;
}

void schema_tag_string(schema *s, grammar_lengths lengths) {
    uint32_t at = grammar_emit(s->b, OP_UNTIL, lengths.least, lengths.most);
    if (!s->b->failed) s->b->ops[at].loop = s->types ? (uint8_t)others(s) : 0; /* of 0: {} may be anything */
    schema_tag_value_end(s);
}

expression schema_tag_strings(schema *s, expression e) {
    static const struct {
        unsigned type;
        str pattern;
    } looks[] = {
        {ARGUMENT_NUMBER, STR("^[ \\t\\r\\n]*[-0-9]")},
        {ARGUMENT_OBJECT, STR("^[ \\t\\r\\n]*\\{")},
        {ARGUMENT_ARRAY, STR("^[ \\t\\r\\n]*\\[")},
        {ARGUMENT_BOOL, STR("^[ \\t\\r\\n]*([tT][rR][uU][eE]|[fF][aA][lL][sS][eE])[ \\t\\r\\n]*$")},
        {ARGUMENT_NULL, STR("^[ \\t\\r\\n]*([nN][uU][lL][lL]|[nN][oO][nN][eE])[ \\t\\r\\n]*$")},
    };
    language *l = &s->words;
    expression tag = language_then(l, language_text(l, end_tag(s)), LANGUAGE_ALL);
    expression has = language_then(l, LANGUAGE_ALL, tag);
    e = language_and(l, e, language_not(l, has));
    for (size_t i = 0; i < sizeof looks / sizeof *looks; i++)
        if (others(s) & looks[i].type)
            e = language_and(l, e, language_not(l, language_pattern(l, looks[i].pattern, false, true)));
    return e;
}
