/* Grammars without a model: which texts the automaton reads to their end. */
#include "../test.h"

#include <stdio.h>

#include "text/grammar/grammar.h"

static text_grammar_machine *machine;
static void *machine_memory;

static test_alloc memory;

static text_grammar *compiled(text_grammar_kind kind, const char *source) {
    err e = {0};
    text_grammar *g = text_grammar_new(kind, str_of(source), NULL, &memory.alloc, &e);
    if (!g) fail_msg("%s: %s", source, e.message);
    return g;
}

static bool reads(const text_grammar *g, const char *text) {
    text_grammar_cursor c;
    text_grammar_verdict v = text_grammar_begin(machine, g, &c);
    if (v == TEXT_GRAMMAR_OK) v = text_grammar_accept_bytes(machine, &c, str_of(text));
    return v == TEXT_GRAMMAR_OK && text_grammar_may_end(machine, &c);
}

/* texts: those to be read, then "--", then those not to be. */
static void check(text_grammar_kind kind, const char *source, const char *const *texts) {
    text_grammar *g = compiled(kind, source);
    bool good = true;
    for (; *texts; texts++) {
        if (!strcmp(*texts, "--"))
            good = false;
        else if (reads(g, *texts) != good)
            fail_msg("%s %s %s", source, good ? "does not read" : "reads", *texts);
    }
    text_grammar_free(g);
}
#define GBNF(source, ...) check(TEXT_GRAMMAR_GBNF, source, (const char *const[]){__VA_ARGS__, NULL})
#define SCHEMA(source, ...) check(TEXT_GRAMMAR_SCHEMA, source, (const char *const[]){__VA_ARGS__, NULL})

static void refused(text_grammar_kind kind, const char *source, const char *words) {
    test_alloc a;
    err e = {0};
    test_alloc_init(&a, 0);
    text_grammar *g = text_grammar_new(kind, str_of(source), NULL, &a.alloc, &e);
    if (g) fail_msg("%s is not refused", source);
    if (!strstr(e.message, words) || e.code != ERR_INVALID)
        fail_msg("%s: '%s', not '%s'", source, e.message, words);
    assert_int_equal(a.outstanding_bytes, 0);
}

static int set_up(void **state) {
    (void)state;
    test_alloc_init(&memory, 0);
    machine_memory = aligned_alloc(64, (text_grammar_machine_bytes(NULL) + 63) & ~(size_t)63);
    machine = text_grammar_machine_init(machine_memory, NULL);
    return 0;
}
static int tear_down(void **state) {
    (void)state;
    free(machine_memory);
    assert_int_equal(memory.outstanding_bytes, 0);
    return 0;
}

/* ---- GBNF ---- */

static void notation(void **state) {
    (void)state;
    GBNF("root ::= \"a\"", "a", "--", "", "b", "aa");
    GBNF("root ::= \"\"", "", "--", "a");
    GBNF("root ::= \"a\" | \"bc\"", "a", "bc", "--", "b", "abc");
    GBNF("root ::= \"a\"\n | \"b\"\n", "a", "b");
    GBNF("root ::= \"a\"* \"b\"+ \"c\"?", "b", "aabbc", "--", "a", "bcc");
    GBNF("root ::= (\"a\" | \"b\"){2,3}", "ab", "bba", "--", "a", "abab");
    GBNF("root ::= \"a\"{2} \"b\"{0,1} \"c\"{1,}", "aac", "aabccc", "--", "aab", "aabbc");
    GBNF("root ::= [a-c_] [^x\\n] .", "aé日", "_..", "--", "dab", "axb", "a\nb");
    GBNF("root ::= \"\\x41\\u00e9\\U0001F600\\\"\\\\\\t\"", "Aé😀\"\\\t");
    GBNF("# first\nroot ::= x # second\n  \nx ::= \"a\" y\ny ::= \"b\"", "ab");
    GBNF("root ::= \"(\" root \")\" | \"x\"", "x", "((x))", "--", "((x)", "x)");
    GBNF("root ::= item (\",\" item)*\nitem ::= [0-9]+", "1", "12,3,4", "--", "1,", ",1");
    GBNF("root ::= list\nlist ::= \"a\" list | \"b\"", "b",
         "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaab");
    GBNF("root ::= (\"a\"*)* (\"b\"?)+ \"c\"", "c", "aabc", "abbc");
    GBNF("root ::= %json{}", "1", "{\"a\": [1,2,null]}", "[]", "\"x\"", "--", "{a:1}", "[1,]");
    GBNF("root ::= %regex\"[a-c]+\\\\d{2}\"", "a12", "cab00", "--", "a1", "a123", "d12", "xa12", "a12\n");
    GBNF("root ::= %regex\"^(yes|no)$\" \"!\"", "yes!", "no!", "--", "yesno!", "ye!");
    GBNF("root ::= %regex\"\\\"\\\\\\\\.\\n?\\\\$\"", "\"\\x$", "\"\\x\n$", "--", "\\\"x$", "\"\\x", "\"\\\n$");
    GBNF("root ::= %regex\"[^a]\"*", "", "\"\n\t\\", "\xC3\xA9", "--", "a");
    GBNF("root ::= %json{\"type\":\"string\",\"pattern\":\"^[^a]$\"} %regex\"\\\"\"", "\"\\\"\"\"", "--", "\"\"\"\"");
    GBNF("root ::= \"<\" %json{\"type\":\"integer\"} \">\"", "<12>", "--", "<1.5>");
    GBNF("root ::= <|im_start|> \"x\"", "<|im_start|>x");
    GBNF("root ::= \"a\" {2,3}", "aa", "aaa", "--", "a");
}

static void notation_refused(void **state) {
    (void)state;
    refused(TEXT_GRAMMAR_GBNF, "", "no rule 'root'");
    refused(TEXT_GRAMMAR_GBNF, "x ::= \"a\"", "no rule 'root'");
    refused(TEXT_GRAMMAR_GBNF, "root ::= y", "line 1: there is no rule 'y'");
    refused(TEXT_GRAMMAR_GBNF, "root ::= \"a\"\nroot ::= \"b\"", "line 2: the rule 'root' is there twice");
    refused(TEXT_GRAMMAR_GBNF, "root ::= \"a", "line 1: a literal lacks its closing quote");
    refused(TEXT_GRAMMAR_GBNF, "root ::= (\"a\"", "( lacks its )");
    refused(TEXT_GRAMMAR_GBNF, "root ::= [a", "a class lacks its ]");
    refused(TEXT_GRAMMAR_GBNF, "root ::= \"\\q\"", "this escape is not known");
    refused(TEXT_GRAMMAR_GBNF, "root ::= \"a\"{3,2}", "goes backwards");
    refused(TEXT_GRAMMAR_GBNF, "root ::= \"a\"{x}", "lacks a number");
    refused(TEXT_GRAMMAR_GBNF, "root ::= root \"a\" | \"b\"", "a rule leads back to itself");
    refused(TEXT_GRAMMAR_GBNF, "root ::= x\nx ::= y? root\ny ::= \"z\"", "a rule leads back to itself");
    refused(TEXT_GRAMMAR_GBNF, "root ::= \"a\" root", "nothing satisfies it");
    refused(TEXT_GRAMMAR_GBNF, "root ::= %json{\"type\":1}", "line 1: %json: at /: 'type' must be");
    refused(TEXT_GRAMMAR_GBNF, "root ::= %json{", "a schema lacks its }");
    refused(TEXT_GRAMMAR_GBNF, "root ::= %tags \"<\" {}", "%tags lacks one of its four texts");
    refused(TEXT_GRAMMAR_GBNF, "root ::= %tags \"<\" \">\" \"</v>\" \"\" 5", "behind the texts of %tags comes a schema {…}");
    refused(TEXT_GRAMMAR_GBNF, "root ::= %tags \"<\" \">\" \"<a<\" \"\" {}", "a value's end has 2 to 15 bytes, and the first of them only once");
    refused(TEXT_GRAMMAR_GBNF, "root ::= %tags \"<012345678901234567890123456789012\" \">\" \"</v>\" \"\" {}", "a text of %tags is too long or lacks its quote");
    refused(TEXT_GRAMMAR_GBNF, "root ::= %regex\"a", "%regex\" lacks its closing quote");
    refused(TEXT_GRAMMAR_GBNF, "root ::= %regex\"a(\"", "line 1: %regex: ( lacks its )");
    refused(TEXT_GRAMMAR_GBNF, "root ::= %regex\"a\\q\"", "this escape is not known");
    refused(TEXT_GRAMMAR_GBNF, "root ::= %other", "after % comes");
    refused(TEXT_GRAMMAR_GBNF, "root ::= <[5]>", "outside the vocabulary");
    refused(TEXT_GRAMMAR_GBNF, "root ::= \"a\" )", "here a rule cannot go on");
}

/* ---- schemas ---- */

static void plain_types(void **state) {
    (void)state;
    SCHEMA("{}", "null", "{}", "[[],{\"a\":\"b\"}]", "-1.5e+3", "--", "", "nul", "01", "1.", "{ }", "[1 ,2]");
    SCHEMA("{\"type\":\"null\"}", "null", "--", "true");
    SCHEMA("{\"type\":\"boolean\"}", "true", "false", "--", "null");
    SCHEMA("{\"type\":\"integer\"}", "0", "-12", "123456789012345", "--", "1.5", "1e3", "-", "01");
    SCHEMA("{\"type\":\"number\"}", "0", "-1.25", "1e10", "2E-3", "--", ".5", "1.", "1e");
    SCHEMA("{\"type\":[\"string\",\"null\"]}", "\"\"", "null", "--", "0");
    SCHEMA("{\"type\":\"string\"}", "\"\"", "\"é\\n\\u00e9\\\"\"", "--", "\"", "\"\\q\"", "\"\n\"",
           "\"\\ud800\"", "\"\xff\"", "\"\xed\xa0\x80\"", "\"\xc0\x80\"");
    SCHEMA("{\"type\":\"string\",\"minLength\":1,\"maxLength\":2}", "\"a\"", "\"é😀\"", "\"\\u0041b\"", "--",
           "\"\"", "\"abc\"");
    SCHEMA("{\"type\":\"object\"}", "{}", "{\"a\":1, \"b\": {}}", "--", "[]", "{\"a\"}", "{\"a\":1,}");
    SCHEMA("{\"type\":\"array\"}", "[]", "[1, \"a\"]", "--", "{}");
    SCHEMA("{\"const\":{\"a\":[1,\"b\"]}}", "{\"a\":[1,\"b\"]}", "--", "{}");
    SCHEMA("{\"enum\":[\"a\",\"ab\",1,12,null,true,\"\\u00e9\\n\"]}", "\"a\"", "\"ab\"", "1", "12", "null",
           "true", "\"é\\n\"", "--", "\"abc\"", "2", "false");
    SCHEMA("{\"type\":\"string\",\"enum\":[\"x\",1,\"yy\"],\"maxLength\":1}", "\"x\"", "--", "1", "\"yy\"");
}

#define OBJECT(...) "{\"type\":\"object\"," __VA_ARGS__ "}"

static void strings(void **state) {
    (void)state;
    SCHEMA("{\"type\":\"string\",\"pattern\":\"^[a-c]{2,}$\"}", "\"ab\"", "\"abcabc\"", "--", "\"a\"",
           "\"abd\"");
    SCHEMA("{\"type\":\"string\",\"pattern\":\"b\"}", "\"b\"", "\"abc\"", "\"\\\"b\"", "--", "\"ac\"",
           "\"\"");
    SCHEMA("{\"type\":\"string\",\"pattern\":\"^a|b$\"}", "\"ax\"", "\"xb\"", "--", "\"xa\"", "\"bx\"");
    SCHEMA("{\"type\":\"string\",\"pattern\":\"^[\\\"\\\\\\\\]$\"}", "\"\\\"\"", "\"\\\\\"", "--", "\"a\"",
           "\"\"\"");
    SCHEMA("{\"pattern\":\"^\\\\d+$\",\"minLength\":3,\"maxLength\":4}", "\"123\"", "\"1234\"", "--",
           "\"12\"", "\"12345\"");
    SCHEMA("{\"pattern\":\"^.{2}$\"}", "\"é日\"", "--", "\"é\"", "\"a\\n\"");
    SCHEMA("{\"format\":\"date\"}", "\"2024-02-28\"", "--", "\"2024-13-01\"", "\"24-01-01\"",
           "\"2024-02-30\"");
    SCHEMA("{\"format\":\"ipv4\"}", "\"127.0.0.1\"", "--", "\"256.0.0.1\"", "\"1.2.3\"", "\"01.2.3.4\"");
    SCHEMA("{\"format\":\"uuid\"}", "\"123e4567-e89b-42d3-a456-426614174000\"", "--", "\"123e4567\"");
    SCHEMA("{\"format\":\"starts_with\",\"pattern\":\"^ab.*\"}", "\"abc\"", "--", "\"ba\"");
    SCHEMA("{\"format\":\"cuid2\",\"pattern\":\"^[0-9a-z]+$\"}", "\"a1\"", "--", "\"A\"");
    SCHEMA("{\"type\":\"string\",\"format\":\"colour\",\"typ\":1,\"_format\":\"date\",\"maxLength\":3}",
           "\"red\"", "--", "1");
    SCHEMA("{\"format\":\"password\",\"minLength\":1}", "\"x\"", "--", "\"\"");
}

static void numbers(void **state) {
    (void)state;
    SCHEMA("{\"type\":\"integer\",\"minimum\":-3,\"maximum\":12}", "-3", "-1", "0", "9", "12", "--", "-4",
           "13", "-0", "100");
    SCHEMA("{\"type\":\"integer\",\"minimum\":98,\"maximum\":1203}", "98", "99", "100", "999", "1000", "1199",
           "1203", "--", "97", "1204", "1300", "9");
    SCHEMA("{\"type\":\"integer\",\"exclusiveMinimum\":1,\"exclusiveMaximum\":4}", "2", "3", "--", "1", "4");
    SCHEMA("{\"type\":\"integer\",\"minimum\":1,\"exclusiveMinimum\":true,\"maximum\":3}", "2", "3", "--",
           "1");
    SCHEMA("{\"type\":\"integer\",\"minimum\":0.5,\"maximum\":2.5}", "1", "2", "--", "0", "3");
    SCHEMA("{\"type\":\"integer\",\"minimum\":1e2,\"maximum\":1.02e2}", "100", "102", "--", "99", "103");
    SCHEMA("{\"type\":\"integer\",\"minimum\":5}", "5", "10", "123456", "--", "4", "-5", "0");
    SCHEMA("{\"type\":\"integer\",\"maximum\":-5}", "-5", "-10", "--", "-4", "0", "5");
    SCHEMA("{\"type\":\"integer\",\"multipleOf\":3,\"minimum\":-4,\"maximum\":9}", "-3", "0", "9", "--", "-4",
           "1", "-6");
    SCHEMA("{\"type\":\"integer\",\"multipleOf\":25}", "0", "25", "-175", "1000", "--", "10", "26");
    SCHEMA("{\"type\":\"number\",\"minimum\":0,\"maximum\":1}", "0", "0.5", "1", "0.999", "--", "1.1", "-0.1",
           "2", "1e0");
    SCHEMA("{\"type\":\"number\",\"exclusiveMinimum\":0,\"exclusiveMaximum\":1}", "0.5", "0.01", "--", "0",
           "1", "0.0", "1.0");
    SCHEMA("{\"type\":\"number\",\"minimum\":-1.5,\"maximum\":2.25}", "-1.5", "-1.25", "-0.5", "0", "2.25",
           "2.2", "2", "--", "-1.6", "2.26", "2.3", "3", "-2");
    SCHEMA("{\"type\":\"number\",\"minimum\":12.3}", "12.3", "12.35", "13", "100.5", "--", "12.2", "12",
           "1.5");
    SCHEMA("{\"type\":[\"integer\",\"null\"],\"minimum\":3,\"maximum\":3}", "3", "null", "--", "4");
}

static void multiples(void **state) {
    (void)state;
    SCHEMA("{\"multipleOf\":0.01}", "12.99", "0.5", "3", "-1.25", "12.50", "0", "0.00", "9999999999999.98", "--", "0.29",
           "1.005", "1.", "01", "-0", "-0.00", "0.001", "", "-", "1e2", "99999999999999");
    SCHEMA("{\"multipleOf\":0.1,\"exclusiveMinimum\":0,\"maximum\":10}", "0.1", "10", "9.9", "0.2", "--", "0", "0.0",
           "10.1", "-1", "11");
    SCHEMA("{\"multipleOf\":0.5,\"minimum\":-1.2,\"exclusiveMaximum\":1}", "-1", "-0.5", "0.5", "0", "--", "-1.5", "1",
           "0.3");
    SCHEMA("{\"type\":\"integer\",\"multipleOf\":0.5}", "3", "-12", "--", "3.0", "3.5");
    SCHEMA("{\"type\":\"integer\",\"multipleOf\":1.5}", "3", "-12", "0", "--", "2", "1.5");
    SCHEMA("{\"multipleOf\":1.5}", "3", "1.5", "-4.5", "--", "2", "1.0");
    SCHEMA("{\"type\":\"integer\",\"multipleOf\":7}", "0", "7", "-14", "777777", "--", "8", "07");
    SCHEMA("{\"type\":\"integer\",\"multipleOf\":256,\"minimum\":2048}", "2048", "4096", "25600", "--", "256", "2049",
           "-4096");
    SCHEMA("{\"type\":\"integer\",\"multipleOf\":12,\"minimum\":12}", "12", "144", "--", "0", "13");
    SCHEMA("{\"type\":\"number\",\"multipleOf\":2.5e3}", "2500", "-5000", "--", "250", "2500.5");
    SCHEMA("{\"items\":{\"multipleOf\":0.25},\"minItems\":2.0,\"maxItems\":2e0}", "[0.25,3]", "[1, 0.75]", "--", "[1]",
           "[0.25,0.3]", "[1,2,3]");
    SCHEMA("{\"type\":\"string\",\"minLength\":1.0,\"maxLength\":18446744073709551615}", "\"a\"", "--", "\"\"");
}

static void objects(void **state) {
    (void)state;
    SCHEMA(OBJECT("\"properties\":{\"a\":{\"const\":1},\"b\":{\"const\":2},\"c\":{\"const\":3}},\"required\":"
                  "[\"b\"]"),
           "{\"b\":2}", "{\"a\":1,\"b\":2}", "{\"b\": 2, \"c\":3}", "{\"a\":1,\"b\":2,\"c\":3}", "--", "{}",
           "{\"a\":1}", "{\"b\":2,\"a\":1}", "{\"b\":2,}", "{,\"b\":2}", "{\"b\":2,\"d\":4}");
    SCHEMA(OBJECT("\"properties\":{\"a\":{\"const\":1},\"b\":{\"const\":2}}"), "{}", "{\"a\":1}", "{\"b\":2}",
           "{\"a\":1,\"b\":2}", "--", "{\"a\":1\"b\":2}");
    SCHEMA(OBJECT("\"properties\":{\"ab\":{\"const\":1}},\"additionalProperties\":{\"const\":2}"), "{}",
           "{\"ab\":1}", "{\"a\":2}", "{\"abc\":2,\"x\":2}", "{\"ab\":1,\"b\":2}", "{\"\":2}", "--",
           "{\"ab\":2}", "{\"x\":1}", "{\"x\":2,\"ab\":1}", "{\"\\u0061b\":2}");
    SCHEMA(OBJECT("\"additionalProperties\":false"), "{}", "--", "{\"a\":1}");
    SCHEMA(OBJECT("\"required\":[\"x\"]"), "{\"x\":[1]}", "{\"x\":1,\"y\":2}", "--", "{}",
           "{\"x\":1,\"x\":2}");
    SCHEMA(OBJECT("\"patternProperties\":{\"^k\\\\d$\":{\"const\":1}},\"additionalProperties\":false"), "{}",
           "{\"k1\":1, \"k2\":1}", "--", "{\"k\":1}", "{\"k1\":2}");
    SCHEMA(OBJECT("\"propertyNames\":{\"enum\":[\"a\",\"b\"]}"), "{\"a\":1}", "{}", "--", "{\"c\":1}");
    SCHEMA(OBJECT("\"properties\":{\"a\":false,\"b\":true}"), "{\"b\":[]}", "{}", "--", "{\"a\":1}");
}

static void arrays(void **state) {
    (void)state;
    SCHEMA("{\"items\":{\"const\":1},\"minItems\":1,\"maxItems\":3}", "[1]", "[1, 1,1]", "--", "[]",
           "[1,1,1,1]", "[2]", "[1,]");
    SCHEMA("{\"items\":{\"const\":1}}", "[]", "[1]", "[1,1,1,1,1,1]", "--", "[1,2]");
    SCHEMA("{\"prefixItems\":[{\"const\":1},{\"const\":2}],\"items\":{\"const\":3},\"maxItems\":3}", "[1,2]",
           "[1,2,3]", "--", "[1,2,3,3]", "[1,3]");
    SCHEMA("{\"prefixItems\":[{\"const\":1}],\"items\":false}", "[1]", "--", "[1,1]");
    SCHEMA("{\"items\":[{\"const\":1}],\"additionalItems\":{\"const\":2},\"minItems\":2}", "[1,2]", "[1,2,2]",
           "--", "[1]");
    SCHEMA("{\"items\":{\"items\":{\"const\":1},\"maxItems\":1},\"maxItems\":2}", "[[],[1]]", "--",
           "[[1,1]]");
}

static void combinations(void **state) {
    (void)state;
    SCHEMA("{\"anyOf\":[{\"type\":\"null\"},{\"const\":\"x\"}]}", "null", "\"x\"", "--", "1");
    SCHEMA("{\"allOf\":[{\"type\":\"integer\",\"minimum\":3},{\"maximum\":5}]}", "3", "5", "--", "2", "6");
    SCHEMA("{\"oneOf\":[{\"type\":\"null\"},{\"type\":\"boolean\"}]}", "null", "true", "--", "1");
    SCHEMA("{\"oneOf\":[" OBJECT("\"properties\":{\"k\":{\"const\":1}}") "," OBJECT(
               "\"properties\":{\"k\":{\"const\":2}}") "]}",
           "{\"k\":1}", "{\"k\":2}", "--", "{}", "{\"k\":3}");
    SCHEMA(
        "{\"$defs\":{\"n\":{\"type\":[\"object\"],\"properties\":{\"n\":{\"anyOf\":[{\"$ref\":\"#/$defs/n\"},"
        "{\"type\":\"null\"}]}},\"required\":[\"n\"]}},\"$ref\":\"#/$defs/n\"}",
        "{\"n\":null}", "{\"n\":{\"n\":{\"n\":null}}}", "--", "{}", "{\"n\":{}}");
    SCHEMA("{\"type\":\"integer\",\"nullable\":true}", "1", "null", "--", "true");
    SCHEMA("{\"properties\":{\"a\":{\"$ref\":\"#/properties/b\",\"description\":\"d\"},\"b\":{\"const\":7}}}",
           "{\"a\":7}", "--", "{\"a\":1}");
}

static void refusals(void **state) {
    (void)state;
    static const struct {
        const char *schema, *words;
    } cases[] = {
        {"{\"items\":{\"type\":\"integer\",\"minimum\":0,\"maximum\":99},\"uniqueItems\":true}", "schema at /: 'uniqueItems'"},
        {"{\"properties\":{\"a\":{\"uniqueItems\":true}}}",
         "schema at /properties/a: 'uniqueItems' is supported of items that have an 'enum', are booleans"},
        {"{\"not\":{\"uniqueItems\":true}}", "schema at /: 'not' is supported of types"},
        {"{\"not\":{}}", "nothing satisfies it"},
        {"{\"anyOf\":[{},{\"items\":{\"unevaluatedItems\":false}}]}", "'unevaluatedItems' is not supported"},
        {"{\"dependentRequired\":{\"a\":[1]}}", "'dependentRequired' must be an object of"},
        {"{\"minProperties\":3}", "'minProperties' is supported up to"},
        {"{\"type\":\"text\"}", "schema at /: the type 'text' is not known"},
        {"{\"type\":5}", "'type' must be a string or a list of strings"},
        {"{\"minLength\":-1}", "'minLength' must be a whole number"},
        {"{\"maxItems\":\"3\"}", "'maxItems' must be a whole number"},
        {"{\"minimum\":\"3\"}", "'minimum' must be a number"},
        {"{\"properties\":[]}", "'properties' must be an object of schemas"},
        {"{\"properties\":{\"a\":5}}", "'properties' must be an object of schemas"},
        {"{\"required\":[1]}", "'required' must be a list of strings"},
        {"{\"enum\":3}", "'enum' must be a list"},
        {"{\"anyOf\":{}}", "'anyOf' must be a list of schemas"},
        {"{\"pattern\":\"(a)\\\\1\"}", "backreferences are not supported"},
        {"{\"pattern\":\"\\\\p{Sc}\"}", "Unicode properties"},
        {"{\"pattern\":\"a{2,1}\"}", "malformed"},
        {"{\"pattern\":\"(a\"}", "( lacks its )"},
        {"{\"pattern\":\"a)\"}", ") has no ("},
        {"{\"pattern\":\"[a\"}", "a class lacks its ]"},
        {"{\"pattern\":\"^abc$\",\"maxLength\":2}", "nothing satisfies it"},
        {"{\"pattern\":\"^abc$\",\"minLength\":4}", "nothing satisfies it"},
        {"{\"multipleOf\":-0.5,\"type\":\"number\"}", "at /: 'multipleOf' must be above 0"},
        {"{\"multipleOf\":0.0,\"type\":\"number\"}", "at /: 'multipleOf' must be above 0"},
        {"{\"multipleOf\":1e-9,\"type\":\"number\"}", "at /: 'multipleOf' is supported from 1e-8"},
        {"{\"multipleOf\":0.25,\"minimum\":1e17}", "at /: 'multipleOf' with bounds of more than 15 digits"},
        {"{\"multipleOf\":0.4,\"minimum\":0.5,\"maximum\":0.7}", "at /: no number of at most 18 digits satisfies"},
        {"{\"minLength\":1.5}", "at /: 'minLength' must be a whole number from 0 on"},
        {"{\"maxItems\":-1.0}", "at /: 'maxItems' must be a whole number from 0 on"},
        {OBJECT("\"properties\":{\"a\":{\"type\":\"array\",\"minItems\":3,\"maxItems\":2}},\"required\":[\"a\"]"),
         "at /properties/a: nothing satisfies it: 'minItems' is above 'maxItems'"},
        {OBJECT("\"properties\":{\"a\":{\"minLength\":3,\"maxLength\":2,\"type\":\"string\"}},\"required\":[\"a\"]"),
         "at /properties/a: nothing satisfies it: 'minLength' is above 'maxLength'"},
        {OBJECT("\"properties\":{\"a\":{\"pattern\":\"^a+$\",\"allOf\":[{\"pattern\":\"b\"}]}},\"required\":[\"a\"]"),
         "at /properties/a/pattern: nothing satisfies it: no string has all of"},
        {OBJECT("\"properties\":{\"a\":{\"enum\":[1,2],\"minimum\":3}},\"required\":[\"a\"]"),
         "at /properties/a/enum: nothing satisfies it: no value of 'enum'"},
        {OBJECT("\"properties\":{\"a\":false},\"required\":[\"a\"]"), "at /properties/a: nothing satisfies it: false"},
        {OBJECT("\"required\":[\"a\"],\"maxProperties\":0"), "at /: nothing satisfies it: 'maxProperties' is below"},
        {"{\"type\":\"array\",\"not\":{\"const\":[1]}}", "at /: 'not' of a list that has items is not supported"},
        {OBJECT("\"properties\":{\"a\":{\"$ref\":\"#\"}},\"required\":[\"a\"]"), "leads back to itself without an end"},
        {"{\"$ref\":\"#/$defs/x\"}", "'$ref' is '#/$defs/x', which is not there"},
        {"{\"$ref\":\"http://x/y\"}", "only places in the same schema"},
        {"{\"$ref\":\"#\"}", "back to itself"},
        {"{\"type\":\"integer\",\"minimum\":3,\"maximum\":2}", "nothing satisfies it"},
        {"{\"type\":\"string\",\"enum\":[1]}", "nothing satisfies it"},
        {"{\"enum\":[]}", "nothing satisfies it"},
        {"{\"minLength\":3,\"maxLength\":2}", "nothing satisfies it"},
        {"false", "nothing satisfies it"},
        {"{\"allOf\":[{\"type\":\"null\"},{\"type\":\"string\"}]}", "nothing satisfies it"},
        {"{\"properties\":{\"a\":false},\"required\":[\"a\"]}", "nothing satisfies it"},
        {"{\"properties\":{\"a\":{\"$ref\":\"#\"}},\"required\":[\"a\"]}", "nothing satisfies it"},
        {"{\"a\":1,\"a\":2}", "'a' is there twice"},
        {"{\"type\":", "schema"},
        {"5", "a schema is an object, true or false"},
        {"", "schema"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        refused(TEXT_GRAMMAR_SCHEMA, cases[i].schema, cases[i].words);
}

static void opposites_and_conditions(void **state) {
    (void)state;
    SCHEMA("{\"type\":[\"string\",\"integer\",\"null\"],\"not\":{\"enum\":[\"a\",5,null]}}", "\"ab\"", "\"\"",
           "\"b\"", "4", "6", "-5", "55", "--", "\"a\"", "5", "null");
    SCHEMA(
        OBJECT(
            "\"properties\":{\"a\":{\"const\":1},\"b\":{\"const\":2}},\"not\":{\"required\":[\"a\",\"b\"]}"),
        "{\"a\":1}", "{\"b\":2}", "{}", "--", "{\"a\":1,\"b\":2}");
    SCHEMA("{\"type\":\"string\",\"not\":{\"pattern\":\"^a\"}}", "\"ba\"", "\"\"", "--", "\"a\"", "\"ab\"");
    SCHEMA("{\"type\":\"integer\",\"not\":{\"minimum\":3}}", "2", "-9", "--", "3", "4");
    SCHEMA(OBJECT("\"properties\":{\"k\":{\"enum\":[\"x\",\"y\"]},\"v\":{\"type\":[\"integer\",\"null\"]}},"
                  "\"required\":[\"k\",\"v\"],\"if\":{\"properties\":{\"k\":{\"const\":\"x\"}}},"
                  "\"then\":{\"properties\":{\"v\":{\"type\":\"integer\"}}},"
                  "\"else\":{\"properties\":{\"v\":{\"type\":\"null\"}}}"),
           "{\"k\":\"x\",\"v\":1}", "{\"k\":\"y\",\"v\":null}", "--", "{\"k\":\"x\",\"v\":null}",
           "{\"k\":\"y\",\"v\":1}");
    SCHEMA(
        OBJECT(
            "\"properties\":{\"a\":{\"const\":1},\"b\":{\"const\":2}},\"dependentRequired\":{\"a\":[\"b\"]}"),
        "{}", "{\"b\":2}", "{\"a\":1,\"b\":2}", "--", "{\"a\":1}");
    SCHEMA(
        OBJECT("\"properties\":{\"a\":{\"const\":1},\"b\":{\"const\":2}},\"oneOf\":[{\"required\":[\"a\"]},"
               "{\"required\":[\"b\"]}]"),
        "{\"a\":1}", "{\"b\":2}", "--", "{}", "{\"a\":1,\"b\":2}");
    SCHEMA("{\"oneOf\":[{\"type\":\"integer\"},{\"type\":\"number\",\"minimum\":10}]}", "3", "--", "10",
           "11");
    SCHEMA("{\"enum\":[1,2,3,4,\"a\",\"ab\"],\"not\":{\"const\":3},\"multipleOf\":2,\"pattern\":\"b\"}", "2",
           "4", "\"ab\"", "--", "1", "3", "\"a\"");
}

static void counts_and_keys(void **state) {
    (void)state;
    SCHEMA(OBJECT("\"properties\":{\"a\":{\"const\":1},\"b\":{\"const\":2},\"c\":{\"const\":3}},"
                  "\"minProperties\":1,\"maxProperties\":2"),
           "{\"a\":1}", "{\"a\":1,\"c\":3}", "{\"b\":2,\"c\":3}", "--", "{}", "{\"a\":1,\"b\":2,\"c\":3}");
    SCHEMA(OBJECT("\"additionalProperties\":{\"const\":1},\"minProperties\":1"), "{\"a\":1}",
           "{\"a\":1,\"b\":1}", "--", "{}");
    SCHEMA(OBJECT("\"properties\":{\"a\":{\"const\":1}},\"patternProperties\":{\"^x\":{\"const\":2},\"y$\":{"
                  "\"type\":"
                  "\"integer\"}},\"additionalProperties\":false"),
           "{}", "{\"a\":1,\"x1\":2}", "{\"xy\":2}", "{\"by\":7}", "--", "{\"xy\":3}", "{\"b\":1}",
           "{\"a\":2}");
    SCHEMA(OBJECT("\"propertyNames\":{\"pattern\":\"^[a-c]{2}$\"},\"additionalProperties\":{\"const\":1}"),
           "{\"ab\":1}", "--", "{\"abc\":1}", "{\"d\":1}");
    SCHEMA("{\"items\":{\"type\":\"boolean\"},\"uniqueItems\":true}", "[]", "[true]", "[false,true]", "--", "[true,true]",
           "[true,false,true]", "[null]");
    SCHEMA("{\"items\":{\"type\":\"integer\",\"minimum\":-1,\"exclusiveMaximum\":3},\"uniqueItems\":true}", "[]", "[-1,2]", "[0,1,2]",
           "--", "[0,0]", "[3]", "[-2]");
    SCHEMA("{\"items\":{\"type\":\"integer\",\"minimum\":0,\"maximum\":9,\"multipleOf\":4},\"uniqueItems\":true}", "[0,4,8]", "--", "[1]", "[4,4]");
    SCHEMA("{\"items\":{\"type\":[\"boolean\",\"null\"]},\"uniqueItems\":true,\"minItems\":3}", "[null,false,true]", "--", "[null]");
    SCHEMA("{\"items\":{\"anyOf\":[{\"const\":\"a\"},{\"enum\":[1,\"b\"]}]},\"uniqueItems\":true}", "[\"a\",\"b\"]", "[1]", "--",
           "[\"a\",\"a\"]", "[2]");
    SCHEMA("{\"items\":{\"oneOf\":[{\"const\":\"a\"},{\"enum\":[\"a\",\"b\"]},{\"const\":3}]},\"uniqueItems\":true}", "[\"b\",3]", "--",
           "[\"a\"]", "[3,3]");
    SCHEMA("{\"items\":{\"enum\":[\"a\",\"b\",\"c\"]},\"uniqueItems\":true,\"minItems\":2}", "[\"a\",\"c\"]",
           "[\"a\",\"b\",\"c\"]", "--", "[\"a\"]", "[\"a\",\"a\"]", "[]");
    SCHEMA("{\"items\":{\"type\":\"integer\",\"maximum\":9},\"contains\":{\"const\":7}}", "[7]", "[7,1]",
           "--", "[]", "[1]");
    SCHEMA("{\"$id\":\"http://x/y\",\"$defs\":{\"a/"
           "b\":{\"const\":1},\"c\":{\"$anchor\":\"n\",\"const\":2}},\"items\":"
           "{\"anyOf\":[{\"$ref\":\"#/$defs/a~1b\"},{\"$ref\":\"#n\"}]}}",
           "[1,2]", "--", "[3]");
}

static void patterns(void **state) {
    (void)state;
    SCHEMA("{\"pattern\":\"^(?!ab)[a-c]+$\"}", "\"ac\"", "\"ba\"", "--", "\"ab\"", "\"abc\"", "\"d\"");
    SCHEMA("{\"pattern\":\"^[a-c-]+(?<!-)$\"}", "\"a-b\"", "--", "\"a-\"", "\"-\"");
    SCHEMA("{\"pattern\":\"\\\\bx\"}", "\"x\"", "\"a x\"", "--", "\"ax\"");
    SCHEMA("{\"pattern\":\"(^a|b$)\"}", "\"ax\"", "\"xb\"", "--", "\"xa\"", "\"bx\"");
    SCHEMA("{\"pattern\":\"^((?!--).)*$\"}", "\"a-b\"", "\"\"", "--", "\"a--b\"");
    SCHEMA("{\"allOf\":[{\"pattern\":\"a\"},{\"pattern\":\"b\"}],\"maxLength\":3}", "\"ab\"", "\"bca\"", "--",
           "\"aa\"", "\"accb\"");
    SCHEMA("{\"oneOf\":[{\"type\":\"number\"},{\"type\":\"integer\"}]}", "1.5", "-0.25", "--", "1", "1.0", "-3");
    SCHEMA("{\"oneOf\":[{\"type\":\"integer\",\"multipleOf\":3},{\"type\":\"integer\",\"multipleOf\":5}]}", "3", "-10", "--", "15",
           "1", "0");
    SCHEMA("{\"type\":\"number\",\"not\":{\"multipleOf\":0.5},\"minimum\":0}", "0.25", "--", "1.5", "2", "-0.1");
    SCHEMA("{\"type\":\"integer\",\"not\":{\"multipleOf\":1.5},\"minimum\":3}", "4", "--", "3", "6", "1");
    SCHEMA("{\"pattern\":\"^mailto:\",\"format\":\"uri\"}", "\"mailto:a@b.c\"", "--", "\"mailto: a\"", "\"http://a.bc\"");
    SCHEMA("{\"pattern\":\"^#\",\"format\":\"uri-reference\"}", "\"#/a\"", "--", "\"# \"", "\"/a\"");
    SCHEMA("{\"pattern\":\"^2024\",\"format\":\"date\"}", "\"2024-02-03\"", "--", "\"2023-02-03\"",
           "\"2024\"");
    SCHEMA("{\"pattern\":\"^\\\\p{Lu}\\\\p{L}*$\"}", "\"Été\"", "--", "\"été\"", "\"E1\"");
    SCHEMA("{\"pattern\":\"^[a-z]+(-[a-z]+)*$\",\"minLength\":3,\"maxLength\":5}", "\"a-b\"", "--", "\"ab\"", "\"a-b-cd\"", "\"a--b\"");
}

/* ---- bounds ---- */

static void depth_is_bounded(void **state) {
    (void)state;
    text_grammar *g = compiled(TEXT_GRAMMAR_GBNF, "root ::= \"(\" [a-z]* root \")\" | \"x\"");
    for (int depth = 40; depth <= 60; depth += 20) { /* deeper than it goes is refused where it would begin */
        text_grammar_cursor c;
        int opened = 0;
        assert_int_equal(text_grammar_begin(machine, g, &c), TEXT_GRAMMAR_OK);
        while (opened < depth && text_grammar_accept_bytes(machine, &c, STR("(")) == TEXT_GRAMMAR_OK)
            opened++;
        assert_int_equal(opened, depth == 40 ? 40 : GRAMMAR_DEPTH_MAX);
        assert_int_equal(text_grammar_accept_bytes(machine, &c, STR("x")), TEXT_GRAMMAR_OK);
        for (int i = 0; i < opened; i++)
            assert_int_equal(text_grammar_accept_bytes(machine, &c, STR(")")), TEXT_GRAMMAR_OK);
        assert_true(text_grammar_may_end(machine, &c));
    }
    text_grammar_free(g);
}

/* ---- thousands of texts ---- */

enum { MANY = 20000, MANY_BYTES = 64 * MANY };

/* Texts that begin differently and alike: the i-th of so many. */
static size_t nth_text(int i, char *out) {
    return (size_t)sprintf(out, i % 2 ? "value %d of many" : "%08x-it", i % 2 ? i : (int)((unsigned)i * 2654435761u));
}

static char *many_texts(const char *head, const char *before, const char *behind, const char *between, const char *tail) {
    char *source = malloc(MANY_BYTES), text[64];
    size_t n = (size_t)sprintf(source, "%s", head);
    for (int i = 0; i < MANY; i++) {
        size_t len = nth_text(i, text);
        n += (size_t)sprintf(source + n, "%s%s%.*s%s", i ? between : "", before, (int)len, text, behind);
    }
    sprintf(source + n, "%s", tail);
    return source;
}

static void reads_each_of_many(text_grammar_kind kind, char *source, const char *quote) {
    text_grammar *g = compiled(kind, source);
    char text[64], said[80];
    for (int i = 0; i < MANY; i += 997) {
        size_t len = nth_text(i, text);
        sprintf(said, "%s%.*s%s", quote, (int)len, text, quote);
        if (!reads(g, said)) fail_msg("%.40s… does not read %s", source, said);
        sprintf(said, "%s%.*s%s", quote, (int)len - 1, text, quote);
        if (reads(g, said)) fail_msg("%.40s… reads %s", source, said);
    }
    text_grammar_free(g);
    free(source);
}

static void one_of_thousands_of_texts(void **state) {
    (void)state;
    reads_each_of_many(TEXT_GRAMMAR_GBNF, many_texts("root ::= (", "\"", "\"", " | ", ")"), "");
    reads_each_of_many(TEXT_GRAMMAR_GBNF, many_texts("root ::= x\nx ::= ", "\"", "\"", "\n | ", "\n"), "");
    reads_each_of_many(TEXT_GRAMMAR_GBNF, many_texts("root ::= %regex\"(", "", "", "|", ")\""), "");
    reads_each_of_many(TEXT_GRAMMAR_GBNF, many_texts("root ::= %regex\"", "", "", "|", "\""), "");
    reads_each_of_many(TEXT_GRAMMAR_SCHEMA, many_texts("{\"pattern\":\"^(?:", "", "", "|", ")$\"}"), "\"");
    reads_each_of_many(TEXT_GRAMMAR_SCHEMA, many_texts("{\"pattern\":\"", "^", "$", "|", "\"}"), "\"");
    reads_each_of_many(TEXT_GRAMMAR_SCHEMA, many_texts("{\"enum\":[", "\"", "\"", ",", "]}"), "\"");
    reads_each_of_many(TEXT_GRAMMAR_SCHEMA, many_texts("{\"anyOf\":[", "{\"const\":\"", "\"}", ",", "]}"), "\"");
    reads_each_of_many(TEXT_GRAMMAR_SCHEMA,
                       many_texts("{\"oneOf\":[", "{\"const\":\"", "\",\"title\":\"x\"}", ",", "]}"), "\"");
}

/* Branches that a member tells apart are one of them for objects alone. */
static void branches_told_apart_by_a_member(void **state) {
    (void)state;
    SCHEMA("{\"type\":[\"object\",\"null\"],\"oneOf\":[{\"properties\":{\"k\":{\"enum\":[\"a\"]}}},{\"properties\":{\"k\":{\"enum\":[\"b\"]}}}]}",
           "{\"k\":\"a\"}", "{\"k\":\"b\"}", "--", "null", "{}");
    SCHEMA("{\"oneOf\":[{\"type\":\"string\"},{\"type\":\"object\",\"properties\":{\"k\":{\"const\":1}}},"
           "{\"type\":\"object\",\"properties\":{\"k\":{\"const\":2}}}]}",
           "\"x\"", "{\"k\":1}", "{\"k\":2}", "--", "{}", "null");
}

static void texts_beside_others(void **state) {
    (void)state;
    GBNF("root ::= (\"a\" | \"ab\" | \"\" | \"\\\"q\") \"!\"", "!", "a!", "ab!", "\"q!", "--", "b!", "a");
    GBNF("root ::= \"a\" | \"b\" \"c\" | \"d\"*", "a", "bc", "", "ddd", "--", "b", "ad");
    GBNF("root ::= (\"a\" | \"b\")+ | \"c\"", "abba", "c", "--", "cc", "");
    GBNF("root ::= %regex\"a|bc|\\\\.\\\\|\"", "a", "bc", ".|", "--", "", "b");
    GBNF("root ::= %regex\"(x|y.|z)w\"", "xw", "y.w", "yaw", "zw", "--", "yw");
    SCHEMA("{\"pattern\":\"^(a\\\"|b\\\\\\\\|c\\\\n|é)$\"}", "\"a\\\"\"", "\"b\\\\\"", "\"c\\n\"", "\"é\"", "--",
           "\"a\"", "\"cn\"");
    SCHEMA("{\"pattern\":\"^a$|^b$|c$\"}", "\"a\"", "\"xc\"", "--", "\"xa\"", "\"d\"");
    SCHEMA("{\"pattern\":\"^(a|bcd|ef)$\",\"minLength\":2}", "\"bcd\"", "\"ef\"", "--", "\"a\"");
    SCHEMA("{\"anyOf\":[{\"const\":1},{\"enum\":[\"a\",2]},{\"const\":null,\"title\":\"t\"}],\"type\":[\"integer\",\"null\"]}", "1",
           "2", "null", "--", "\"a\"", "12");
    SCHEMA("{\"oneOf\":[{\"const\":\"a\"},{\"enum\":[\"a\",\"b\",3]},{\"type\":\"string\",\"const\":4},{\"const\":4}]}", "\"b\"",
           "3", "4", "--", "\"a\"");
    SCHEMA("{\"oneOf\":[{\"const\":1},{\"const\":1.0},{\"const\":2}]}", "2", "--", "1", "1.0");
}

/* Far more states than a machine holds: it forgets, and goes on; another text is read again. */
static void a_full_machine_goes_on(void **state) {
    (void)state;
    text_grammar *g = compiled(TEXT_GRAMMAR_GBNF, "root ::= ([a-z]{1,300000} \"!\"){2}");
    text_grammar_cursor c, other;
    assert_int_equal(text_grammar_begin(machine, g, &c), TEXT_GRAMMAR_OK);
    other = c;
    assert_int_equal(text_grammar_accept_bytes(machine, &other, STR("abc")), TEXT_GRAMMAR_OK);
    for (int i = 0; i < 100000; i++)
        assert_int_equal(text_grammar_accept_bytes(machine, &c, STR("abc")), TEXT_GRAMMAR_OK);
    assert_int_equal(text_grammar_accept_bytes(machine, &c, STR("a")), TEXT_GRAMMAR_REFUSED);
    assert_int_equal(text_grammar_accept_bytes(machine, &c, STR("!z!")), TEXT_GRAMMAR_OK);
    assert_true(text_grammar_may_end(machine, &c));
    assert_false(text_grammar_known(machine, &other));
    text_grammar_free(g);
}

static void ambiguity_is_bounded(void **state) {
    (void)state;
    text_grammar *g = compiled(TEXT_GRAMMAR_GBNF, "root ::= ((\"a\" | \"aa\"){1,2000}){1,2000}");
    text_grammar_cursor c;
    text_grammar_verdict v = text_grammar_begin(machine, g, &c);
    for (int i = 0; i < 3000 && v == TEXT_GRAMMAR_OK; i++)
        v = text_grammar_accept_bytes(machine, &c, STR("a"));
    assert_int_equal(v, TEXT_GRAMMAR_TOO_COMPLEX);
    text_grammar_free(g);
}

static void large_sources_are_bounded(void **state) {
    (void)state;
    char *source = malloc(GRAMMAR_SOURCE_BYTES_MAX + 16);
    memset(source, '#', GRAMMAR_SOURCE_BYTES_MAX + 1);
    source[GRAMMAR_SOURCE_BYTES_MAX + 1] = 0;
    refused(TEXT_GRAMMAR_GBNF, source, "at most 1048576");
    size_t n = 0;
    for (int i = 0; i < 70; i++) n += (size_t)sprintf(source + n, "{\"anyOf\":[");
    refused(TEXT_GRAMMAR_SCHEMA, source, "schema");
    n = (size_t)sprintf(source, "root ::= ");
    while (n < 900000) n += (size_t)sprintf(source + n, "\"a\" ");
    refused(TEXT_GRAMMAR_GBNF, source, "it is too large");
    n = (size_t)sprintf(source, "root ::= ");
    for (int i = 0; i < 100; i++) n += (size_t)sprintf(source + n, "(");
    refused(TEXT_GRAMMAR_GBNF, source, "deeper than 64 levels");
    n = (size_t)sprintf(source, "{\"allOf\":[");
    for (int i = 0; i < 40; i++) n += (size_t)sprintf(source + n, "%s{\"minimum\":%d}", i ? "," : "", i);
    sprintf(source + n, "]}");
    refused(TEXT_GRAMMAR_SCHEMA, source, "more than 32 schemas");
    n = 0; /* 2^20 ways through it */
    for (int i = 0; i < 20; i++)
        n += (size_t)sprintf(source + n, "%s{\"anyOf\":[{\"minimum\":%d},{\"maximum\":%d}]}",
                             i ? "," : "{\"allOf\":[", i, 100 + i);
    sprintf(source + n, "]}");
    refused(TEXT_GRAMMAR_SCHEMA, source, "schema");
    free(source);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(notation),
        cmocka_unit_test(notation_refused),
        cmocka_unit_test(plain_types),
        cmocka_unit_test(strings),
        cmocka_unit_test(numbers),
        cmocka_unit_test(multiples),
        cmocka_unit_test(objects),
        cmocka_unit_test(arrays),
        cmocka_unit_test(opposites_and_conditions),
        cmocka_unit_test(counts_and_keys),
        cmocka_unit_test(patterns),
        cmocka_unit_test(combinations),
        cmocka_unit_test(refusals),
        cmocka_unit_test(depth_is_bounded),
        cmocka_unit_test(one_of_thousands_of_texts),
        cmocka_unit_test(branches_told_apart_by_a_member),
        cmocka_unit_test(texts_beside_others),
        cmocka_unit_test(a_full_machine_goes_on),
        cmocka_unit_test(ambiguity_is_bounded),
        cmocka_unit_test(large_sources_are_bounded),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
