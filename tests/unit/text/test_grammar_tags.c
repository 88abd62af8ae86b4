/* Arguments between tags: which texts the grammar of a tool's schema lets through. Each must be what the reader of replies
 * makes a valid argument of. */
#include "../test.h"

#include <stdio.h>

#include "text/grammar/argument.h"
#include "text/grammar/grammar.h"

/* Whether <k=NAME>…</v> texts obey the schema. lines: a newline before the value's end is not its own. */
static bool obeys(const char *schema, const char *text, bool lines) {
    static test_alloc heap;
    char source[4096];
    err e = {0};
    text_grammar_cursor c;
    test_alloc_init(&heap, 0);
    snprintf(source, sizeof source, "root ::= %%tags \"<k=\" \">\" \"%s</v>\" \"\" %s", lines ? "\\n" : "", schema);
    text_grammar *g = text_grammar_new(TEXT_GRAMMAR_GBNF, str_of(source), NULL, &heap.alloc, &e);
    if (!g) fail_msg("%s: %s", schema, e.message);
    void *memory = aligned_alloc(64, (text_grammar_machine_bytes(NULL) + 63) & ~(size_t)63);
    text_grammar_machine *m = text_grammar_machine_init(memory, NULL);
    bool ok = text_grammar_begin(m, g, &c) == TEXT_GRAMMAR_OK && text_grammar_accept_bytes(m, &c, str_of(text)) == TEXT_GRAMMAR_OK &&
              text_grammar_may_end(m, &c);
    free(memory);
    text_grammar_free(g);
    assert_int_equal(heap.outstanding_bytes, 0);
    return ok;
}

static void yes(const char *schema, const char *text) {
    if (!obeys(schema, text, false)) fail_msg("%s: refused: %s", schema, text);
}

static void no(const char *schema, const char *text) {
    if (obeys(schema, text, false)) fail_msg("%s: not refused: %s", schema, text);
}

/* Not compiled, for that reason. */
static void never(const char *schema, const char *words) {
    char source[4096];
    test_alloc heap;
    err e = {0};
    test_alloc_init(&heap, 0);
    snprintf(source, sizeof source, "root ::= %%tags \"<k=\" \">\" \"</v>\" \"\" %s", schema);
    text_grammar *g = text_grammar_new(TEXT_GRAMMAR_GBNF, str_of(source), NULL, &heap.alloc, &e);
    if (g || !strstr(e.message, words)) fail_msg("%s: %s", schema, g ? "not refused" : e.message);
    assert_int_equal(heap.outstanding_bytes, 0);
}

#define V(schema) "{\"properties\":{\"v\":" schema "},\"required\":[\"v\"]}"

static void test_strings(void **state) {
    (void)state;
    const char *any = V("{\"type\":\"string\"}"), *few = V("{\"type\":\"string\",\"minLength\":2,\"maxLength\":4}");
    yes(any, "<k=v></v>");
    yes(any, "<k=v>\"a\" \\ \n5 < </ </x\xC3\xA9</v>");
    no(any, "<k=v>a</v></v>");
    no(any, "<k=v>\xC3(</v>");
    yes(few, "<k=v>a\xC3\xA9</v>");
    yes(few, "<k=v><</v</v>");
    no(few, "<k=v>a</v>");
    no(few, "<k=v></v>");
    yes(few, "<k=v></v</v>");
    no(few, "<k=v>abcde</v>");
    no(few, "<k=v>abc</x</v>");
    no(any, "");
    no(any, "<k=w>a</v>");
}

/* The end with a newline: that is not the value's, and the end without one is not in it either. */
static void test_lines(void **state) {
    (void)state;
    const char *three = V("{\"type\":\"string\",\"maxLength\":3}");
    assert_true(obeys(three, "<k=v>abc\n</v>", true));
    assert_true(obeys(three, "<k=v>\n\n\n\n</v>", true));
    assert_true(obeys(three, "<k=v>\n</\n</v>", true));
    assert_true(obeys(three, "<k=v>\n</v>", true));
    assert_false(obeys(three, "<k=v>\n\n\n\n\n</v>", true));
    assert_false(obeys(three, "<k=v>abcd\n</v>", true));
    assert_false(obeys(three, "<k=v>abc</v>", true));
    assert_false(obeys(V("{\"type\":\"string\"}"), "<k=v>a</v>b\n</v>", true));
    assert_false(obeys(V("{\"type\":\"string\"}"), "<k=v>\n\n</</v>\n</v>", true));
}

/* What could be read as a value of another type is no string. */
static void test_mixed(void **state) {
    (void)state;
    const char *maybe = V("{\"type\":[\"string\",\"null\"],\"maxLength\":6}"), *number = V("{\"type\":[\"string\",\"integer\"],\"maximum\":9}"),
               *flag = V("{\"anyOf\":[{\"type\":\"string\",\"pattern\":\"^[a-z]+$\"},{\"type\":\"boolean\"}]}");
    yes(maybe, "<k=v>null</v>");
    yes(maybe, "<k=v>nul</v>");
    yes(maybe, "<k=v>nullx</v>");
    yes(maybe, "<k=v>noon</v>");
    yes(maybe, "<k=v>No</v>");
    yes(maybe, "<k=v>5</v>");
    yes(maybe, "<k=v></v>");
    no(maybe, "<k=v>None</v>");
    no(maybe, "<k=v>NULL</v>");
    no(maybe, "<k=v> null</v>");
    no(maybe, "<k=v>null </v>");
    no(maybe, "<k=v>nothing</v>");
    yes(number, "<k=v>9</v>");
    yes(number, "<k=v>a10</v>");
    no(number, "<k=v>10</v>");
    no(number, "<k=v> 10</v>");
    yes(flag, "<k=v>true</v>");
    yes(flag, "<k=v>truer</v>");
    no(flag, "<k=v>TRUE</v>");
    assert_true(obeys(V("{\"type\":[\"string\",\"null\"]}"), "<k=v>no\nnull\n</v>", true));
    assert_false(obeys(V("{\"type\":[\"string\",\"null\"]}"), "<k=v>\nnull\n</v>", true));
    assert_true(obeys(V("{\"type\":[\"string\",\"null\"]}"), "<k=v>\n</v>", true));
    no(V("{\"enum\":[\"1\",\"a\",2]}"), "<k=v>1</v>"); /* it would be read as a number */
    yes(V("{\"enum\":[\"1\",\"a\",2]}"), "<k=v>a</v>");
    yes(V("{\"enum\":[\"1\",\"a\",2]}"), "<k=v>2</v>");
}

/* A text that a pattern lets through is no string when it would be read as something else, in whatever letters. */
static void test_mixed_patterns(void **state) {
    (void)state;
    const char *flag = V("{\"anyOf\":[{\"type\":\"string\",\"pattern\":\"^[A-Za-z]+$\"},{\"type\":\"boolean\"}]}"),
               *maybe = V("{\"anyOf\":[{\"type\":\"string\",\"pattern\":\"^[A-Za-z]+$\"},{\"type\":\"null\"}]}"),
               *number = V("{\"anyOf\":[{\"type\":\"string\",\"pattern\":\"^-?[0-9]+$\"},{\"type\":\"integer\",\"minimum\":0}]}");
    static const char *const flags[] = {"True", "TRUE", "tRuE", "False", "FALSE", "fAlSe"}, *const nones[] = {"None", "NONE", "nOnE", "Null", "NULL", "nUlL"};
    char text[64];
    for (size_t i = 0; i < 6; i++) {
        snprintf(text, sizeof text, "<k=v>%s</v>", flags[i]), no(flag, text), yes(maybe, text);
        snprintf(text, sizeof text, "<k=v>%sx</v>", flags[i]), yes(flag, text);
        snprintf(text, sizeof text, "<k=v>%s</v>", nones[i]), no(maybe, text), yes(flag, text);
        snprintf(text, sizeof text, "<k=v>%sx</v>", nones[i]), yes(maybe, text);
    }
    yes(flag, "<k=v>false</v>");
    yes(maybe, "<k=v>null</v>");
    no(V("{\"enum\":[\"a</v>b\",\"c\"]}"), "<k=v>a</v>b</v>"); /* the value would end before its end */
    yes(V("{\"enum\":[\"a</v>b\",\"c\"]}"), "<k=v>c</v>");
    no(V("{\"type\":\"string\",\"pattern\":\"^[a-z<>/]+$\"}"), "<k=v>a</v>b</v>");
    yes(V("{\"type\":\"string\",\"pattern\":\"^[a-z<>/]+$\"}"), "<k=v>a</v</v>");
    yes(number, "<k=v>5</v>");
    no(number, "<k=v>-5</v>"); /* the string -5 would be read as the number */
}

/* What the reader could not find the end of is no name, and what is called with is an object. */
static void test_names(void **state) {
    (void)state;
    no("{\"properties\":{\"a>b\":{\"type\":\"integer\"}}}", "<k=a>b>5</v>");
    no("{\"properties\":{\"a<b\":{\"type\":\"integer\"}}}", "<k=a<b>5</v>");
    no("{\"properties\":{\"a\\nb\":{\"type\":\"integer\"}}}", "<k=a\nb>5</v>");
    no("{\"properties\":{\"\":{\"type\":\"integer\"}}}", "<k=>5</v>");
    never("{\"properties\":{\"a>b\":{},\"c\":{}},\"required\":[\"a>b\"]}", "'a>b' is required, and no tag can hold that name");
    never("{\"properties\":{\"c\":{}},\"required\":[\"c\",\"\"]}", "'' is required");
    no("{\"additionalProperties\":{\"type\":\"integer\"}}", "<k=>5</v>");
    yes("{\"additionalProperties\":{\"type\":\"integer\"}}", "<k=a>5</v>");
    yes("{\"type\":[\"object\",\"null\",\"string\"]}", "");
    no("{\"type\":[\"object\",\"null\",\"string\"]}", "null");
    no("{\"type\":[\"object\",\"null\",\"string\"]}", "a</v>");
}

/* All that is said of objects holds. */
static void test_members(void **state) {
    (void)state;
    const char *more = "{\"properties\":{\"a b\":{\"const\":\"x\"}},\"additionalProperties\":{\"type\":\"integer\"}}",
               *either = "{\"$ref\":\"#/$defs/o\",\"$defs\":{\"o\":{\"anyOf\":[{\"properties\":{\"a\":{\"enum\":[\"x\"]}},\"required\":[\"a\"]},"
                         "{\"properties\":{\"b\":{\"$ref\":\"#/$defs/o/anyOf/0\"}},\"required\":[\"b\"]}]}}}";
    yes(more, "");
    yes(more, "<k=a b>x</v>");
    yes(more, "<k=a b>x</v><k=c>5</v><k=d>-1</v>");
    no(more, "<k=a b>y</v>");
    no(more, "<k=c>x</v>");
    no(more, "<k=c>5</v><k=a b>5</v>");
    no(more, "<k=c<>5</v>");
    yes(either, "<k=a>x</v>");
    yes(either, "<k=b>{\"a\": \"x\"}</v>");
    no(either, "<k=b>x</v>");
    no(either, "");
    yes("{\"properties\":{\"na\\u00efve\":{\"type\":\"integer\"}},\"required\":[\"na\\u00efve\"]}", "<k=na\xC3\xAFve>5</v>");
    no("{\"properties\":{\"a\":{},\"b\":{}},\"minProperties\":2}", "<k=a>1</v>");
    no("{\"properties\":{\"a\":{},\"b\":{}},\"dependentRequired\":{\"a\":[\"b\"]}}", "<k=a>1</v>");
}

static void test_types(void **state) {
    (void)state;
    static const struct {
        const char *schema;
        unsigned types;
    } cases[] = {
        {V("{\"type\":\"string\"}"), ARGUMENT_STRING},
        {V("{\"type\":[\"integer\",\"null\"]}"), ARGUMENT_NUMBER | ARGUMENT_NULL},
        {V("{\"type\":\"string\",\"nullable\":true}"), ARGUMENT_STRING | ARGUMENT_NULL},
        {V("{\"enum\":[1,\"a\",null,true,[],{}]}"), ARGUMENT_ALL},
        {V("{\"const\":\"a\"}"), ARGUMENT_STRING},
        {V("{}"), 0},
        {V("true"), 0},
        {V("{\"$ref\":\"#nowhere\"}"), ARGUMENT_ALL},
        {V("{\"$ref\":\"#/properties/v\"}"), ARGUMENT_ALL}, /* for ever */
        {"{\"$ref\":\"#/$defs/o\",\"$defs\":{\"o\":{\"properties\":{\"v\":{\"type\":\"array\"}}}}}", ARGUMENT_ARRAY},
        {"{\"allOf\":[{\"properties\":{\"v\":{\"type\":\"object\"}}}]}", ARGUMENT_OBJECT},
        {"{\"additionalProperties\":{\"type\":\"number\"}}", ARGUMENT_NUMBER},
        {"{\"patternProperties\":{\"^v\":{\"type\":\"boolean\"}}}", ARGUMENT_BOOL},
        {"5", 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        if (argument_types(str_of(cases[i].schema), STR("v")) != cases[i].types)
            fail_msg("%s: %#x", cases[i].schema, argument_types(str_of(cases[i].schema), STR("v")));
}

/* Schemas that refer to one another a hundred ways on each of many levels: the answer comes, though it is not exact. */
static void test_tangled(void **state) {
    (void)state;
    static char schema[1 << 16];
    size_t n = (size_t)snprintf(schema, sizeof schema, "{\"properties\":{\"v\":{\"$ref\":\"#/$defs/a\"}},\"$defs\":{\"a\":{\"anyOf\":[");
    for (int i = 0; i < 200; i++) n += (size_t)snprintf(schema + n, sizeof schema - n, "%s{\"$ref\":\"#/$defs/a\"}", i ? "," : "");
    snprintf(schema + n, sizeof schema - n, "]}}}");
    assert_int_equal(argument_types(str_of(schema), STR("v")), ARGUMENT_ALL);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_strings), cmocka_unit_test(test_lines), cmocka_unit_test(test_mixed),
        cmocka_unit_test(test_members), cmocka_unit_test(test_types), cmocka_unit_test(test_tangled),
        cmocka_unit_test(test_mixed_patterns), cmocka_unit_test(test_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
