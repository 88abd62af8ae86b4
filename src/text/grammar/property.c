/* Classes of Unicode properties (\p{L}), as far as patterns of schemas name them. What is written with them
 * are characters that surely have the property; what is kept away from are all that may have it. */
#include "text/grammar/regex.h"

static const grammar_range letters[] = {
    {'A', 'Z'},       {'a', 'z'},       {0xAA, 0xAA},     {0xB5, 0xB5},     {0xBA, 0xBA},
    {0xC0, 0xD6},     {0xD8, 0xF6},     {0xF8, 0x2C1},    {0x370, 0x373},   {0x388, 0x38A},
    {0x38E, 0x3A1},   {0x3A3, 0x3F5},   {0x400, 0x481},   {0x48A, 0x52F},   {0x531, 0x556},
    {0x561, 0x586},   {0x5D0, 0x5EA},   {0x620, 0x64A},   {0x671, 0x6D3},   {0x905, 0x939},
    {0xE01, 0xE30},   {0x10D0, 0x10FA}, {0x1E00, 0x1F15}, {0x3041, 0x3096}, {0x30A1, 0x30FA},
    {0x3400, 0x4DBF}, {0x4E00, 0x9FFF}, {0xAC00, 0xD7A3},
};
static const grammar_range no_letters[] = {
    {0, '@'},         {'[', '`'},       {'{', 0xA9},        {0xAB, 0xB4},     {0xB6, 0xB9},
    {0xBB, 0xBF},     {0xD7, 0xD7},     {0xF7, 0xF7},       {0x2000, 0x2070}, {0x20A0, 0x20CF},
    {0x2190, 0x2BFF}, {0x3000, 0x3004}, {0x1F000, 0x1FAFF},
};
static const grammar_range upper[] = {{'A', 'Z'}, {0xC0, 0xD6}, {0xD8, 0xDE}, {0x391, 0x3A1}, {0x410, 0x42F}};
static const grammar_range no_upper[] = {
    {0, '@'},       {'[', 0xBF},      {0xD7, 0xD7},     {0xDF, 0xFF},     {0x3B1, 0x3C9},
    {0x430, 0x44F}, {0x2000, 0x2070}, {0x3000, 0x9FFF}, {0xAC00, 0xD7A3}, {0x1F000, 0x1FAFF},
};
static const grammar_range lower[] = {{'a', 'z'}, {0xDF, 0xF6}, {0xF8, 0xFF}, {0x3B1, 0x3C9}, {0x430, 0x44F}};
static const grammar_range no_lower[] = {
    {0, '`'},       {'{', 0xA9},    {0xAB, 0xB4},     {0xB6, 0xB9},     {0xBB, 0xDE},     {0xF7, 0xF7},
    {0x391, 0x3A1}, {0x410, 0x42F}, {0x2000, 0x2070}, {0x3000, 0x9FFF}, {0xAC00, 0xD7A3}, {0x1F000, 0x1FAFF},
};
static const grammar_range digits[] = {{'0', '9'}};
static const grammar_range no_digits[] = {
    {0, '/'},         {':', 0xB1},      {0xB4, 0xB8},     {0xBA, 0xBB},       {0xBF, 0x5FF},
    {0x1E00, 0x206F}, {0x3040, 0x318F}, {0xAC00, 0xD7A3}, {0x1F200, 0x1FAFF},
};

#define OF(x) x, sizeof x / sizeof *x
static const struct property {
    const char *name;
    const grammar_range *surely;
    size_t n_surely;
    const grammar_range *surely_not;
    size_t n_surely_not;
} properties[] = {
    {"L", OF(letters), OF(no_letters)},
    {"Letter", OF(letters), OF(no_letters)},
    {"Alphabetic", OF(letters), OF(no_letters)},
    {"Lu", OF(upper), OF(no_upper)},
    {"Uppercase", OF(upper), OF(no_upper)},
    {"Uppercase_Letter", OF(upper), OF(no_upper)},
    {"Ll", OF(lower), OF(no_lower)},
    {"Lowercase", OF(lower), OF(no_lower)},
    {"Lowercase_Letter", OF(lower), OF(no_lower)},
    {"N", OF(digits), OF(no_digits)},
    {"Nd", OF(digits), OF(no_digits)},
    {"Number", OF(digits), OF(no_digits)},
};

bool regex_take_property(regex *x, char_set *s, bool inverted, bool wide) {
    if (!regex_take(x, '{')) return regex_wrong(x, "\\p lacks its {");
    if (!regex_take_text(x, "gc=")) regex_take_text(x, "General_Category=");
    size_t begin = x->at;
    while (regex_peek(x, 0) >= 0 && regex_peek(x, 0) != '}') x->at++;
    str name = {x->pattern.data + begin, x->at - begin};
    if (!regex_take(x, '}')) return regex_wrong(x, "\\p{ lacks its }");
    for (size_t i = 0; i < sizeof properties / sizeof *properties; i++) {
        const struct property *p = &properties[i];
        if (!str_is(name, p->name)) continue;
        if (inverted) /* what surely has not the property; or all but what surely has it */
            regex_add_ranges(x, s, wide ? p->surely : p->surely_not, wide ? p->n_surely : p->n_surely_not,
                             wide);
        else
            regex_add_ranges(x, s, wide ? p->surely_not : p->surely, wide ? p->n_surely_not : p->n_surely,
                             wide);
        return !x->b->failed;
    }
    return regex_wrong(x,
                       "of the classes of Unicode properties only \\p{L}, {Lu}, {Ll} and {N} are supported");
}
