/* The grammars that make a reply a call, as text. */
#include "../test.h"

#include <stdio.h>

#include "text/grammar/grammar.h"
#include "text/reply/reply.h"

static const char tools[] =
    "[{\"type\":\"function\",\"function\":{\"name\":\"get\",\"parameters\":{\"type\":\"object\",\"properties\":"
    "{\"city\":{\"type\":\"string\"},\"days\":{\"$ref\":\"#/$defs/d\"},\"unit\":{\"enum\":[\"C\",\"F\"]}},\"required\":[\"city\"],"
    "\"$defs\":{\"d\":{\"type\":\"integer\"}}}}},"
    "{\"type\":\"function\",\"function\":{\"name\":\"no\\\"w\",\"parameters\":{\"type\":\"object\",\"properties\":{}}}}]";

#define SCHEMA "%json{\"type\":\"object\",\"properties\":" \
    "{\"city\":{\"type\":\"string\"},\"days\":{\"$ref\":\"#/$defs/d\"},\"unit\":{\"enum\":[\"C\",\"F\"]}},\"required\":[\"city\"]," \
    "\"$defs\":{\"d\":{\"type\":\"integer\"}}} "

static const char *grammar(text_reply_family family, const char *named, bool parallel, const char *tail, bool newer) {
    static test_alloc heap;
    static char text[8192];
    text_reply_format f = {.family = family, .thinks = true, .newer = newer, .think_open = STR("<think>"), .think_close = STR("</think>")};
    buf b;
    err e = {0};
    test_alloc_init(&heap, 0);
    buf_init(&b, &heap.alloc, 1 << 16);
    bool ok = text_reply_tool_grammar(&f, str_of(tools), str_of(named), parallel, str_of(tail), &b, &heap.alloc, &e);
    snprintf(text, sizeof text, "%s", ok ? b.data : e.message);
    buf_free(&b);
    assert_int_equal(heap.outstanding_bytes, 0);
    return text;
}

#define CALL_GET(member) "call-0 ::= \"{\\\"name\\\": \" \"\\\"get\\\"\" \", \\\"\" \"" member "\" \"\\\": \" " SCHEMA

static void test_json_families(void **state) {
    (void)state;
    assert_string_equal(grammar(TEXT_REPLY_FAMILY_HERMES, "", false, "", false),
                        CALL_GET("arguments") "\"}\" \n"
                        "call-1 ::= \"{\\\"name\\\": \" \"\\\"no\\\\\\\"w\\\"\" \", \\\"\" \"arguments\" \"\\\": \" \"{}\" \"}\" \n"
                        "call ::= call-0 | call-1 \n"
                        "root ::= \"<tool_call>\\n\" call \"\\n</tool_call>\" \n");
    assert_string_equal(grammar(TEXT_REPLY_FAMILY_LLAMA_JSON, "get", true, "", false),
                        CALL_GET("parameters") "\"}\" \ncall ::= call-0 \nroot ::= call ( \"; \" call )* \n");
    assert_string_equal(grammar(TEXT_REPLY_FAMILY_GRANITE, "get", true, "", false),
                        CALL_GET("arguments") "\"}\" \ncall ::= call-0 \nroot ::= <|tool_call|> \"[\" call ( \", \" call )* \"]\" \n");
    for (int parallel = 0; parallel < 2; parallel++) /* one call, whatever is allowed: several never end */
        assert_string_equal(grammar(TEXT_REPLY_FAMILY_GENERIC, "get", parallel, "", false),
                            CALL_GET("arguments") "\"}\" \ncall ::= call-0 \nroot ::= call \n");
    assert_non_null(strstr(grammar(TEXT_REPLY_FAMILY_MISTRAL, "get", false, "", false),
                           SCHEMA "\", \\\"id\\\": \\\"\" [a-zA-Z0-9]{9} \"\\\"\" \"}\" \n"));
    /* what the prompt has begun is not said again; thinking ends first */
    assert_non_null(strstr(grammar(TEXT_REPLY_FAMILY_HERMES, "get", false, "<tool_call>\n", false), "root ::= \"\\n\" call"));
    assert_non_null(strstr(grammar(TEXT_REPLY_FAMILY_HERMES, "get", false, "<think>\n", false),
                           "root ::= thinking \"\\n\\n\" \"<tool_call>\\n\" call"));
}

static void test_other_families(void **state) {
    (void)state;
    assert_string_equal(grammar(TEXT_REPLY_FAMILY_MISTRAL, "get", true, "", true),
                        "call-0 ::= \"get\" <|[ARGS]|> " SCHEMA "\ncall ::= call-0 \nroot ::= <|[TOOL_CALLS]|> call ( <|[TOOL_CALLS]|> call )* \n");
    assert_string_equal(grammar(TEXT_REPLY_FAMILY_HARMONY, "get", true, "", false),
                        "call-0 ::= \"get\" \" \" <|constrain|> \"json\" <|message|> " SCHEMA "\ncall ::= call-0 \n"
                        "root ::= <|channel|> \"commentary to=functions.\" call \n");
    assert_string_equal(grammar(TEXT_REPLY_FAMILY_DEEPSEEK, "get", false, "", false),
                        "call-0 ::= \"function\" <｜tool▁sep｜> \"get\" \"\\n```json\\n\" " SCHEMA "\"\\n```\" \ncall ::= call-0 \n"
                        "root ::= <｜tool▁calls▁begin｜> <｜tool▁call▁begin｜> call <｜tool▁call▁end｜> <｜tool▁calls▁end｜> \n");
}

static void test_xml(void **state) {
    (void)state;
    const char *schema = "{\"type\":\"object\",\"properties\":{\"city\"";
    const char *qwen = grammar(TEXT_REPLY_FAMILY_QWEN_XML, "get", false, "", false);
    assert_non_null(strstr(qwen, "call-0 ::= \"<function=\" \"get\" \">\" \"\\n\" %tags \"<parameter=\" \">\\n\" \"\\n</parameter>\" \"\\n\" {"));
    assert_non_null(strstr(qwen, schema));
    assert_non_null(strstr(grammar(TEXT_REPLY_FAMILY_QWEN_XML, "no\"w", false, "", false), "call-0 ::= \"<function=\" \"no\\\"w\" \">\" \"\\n\" \"</function>\" \n"));
    const char *glm = grammar(TEXT_REPLY_FAMILY_GLM, "get", false, "", false);
    assert_non_null(strstr(glm, "%tags \"<arg_key>\" \"</arg_key>\\n<arg_value>\" \"</arg_value>\" \"\\n\" {"));
    assert_non_null(strstr(glm, schema));
}

/* Content that follows a grammar comes behind what a model says first. */
static void test_answers(void **state) {
    (void)state;
    static test_alloc heap;
    text_reply_format harmony = {.family = TEXT_REPLY_FAMILY_HARMONY};
    text_reply_format hermes = {.family = TEXT_REPLY_FAMILY_HERMES, .think_open = STR("<t>"), .think_close = STR("</t>")};
    buf b;
    test_alloc_init(&heap, 0);
    buf_init(&b, &heap.alloc, 4096);
    assert_true(text_reply_answer_grammar(&harmony, STR(""), true, STR("<|end|><|start|>assistant"), &b));
    assert_string_equal(b.data, "root ::= ( <|channel|> \"analysis\" <|message|> [^\\x00]* <|end|> <|start|> \"assistant\" )? "
                                "( <|channel|> \"final\" <|message|> answer )\n");
    buf_clear(&b);
    assert_true(text_reply_answer_grammar(&hermes, STR(""), true, STR("<t>\n"), &b));
    assert_non_null(strstr(b.data, "thinking ::= "));
    assert_non_null(strstr(b.data, "root ::= thinking \"\\n\\n\" ( answer )\n"));
    buf_clear(&b);
    assert_false(text_reply_answer_grammar(&hermes, STR(""), true, STR("<t>\n\n</t>\n\n"), &b));
    assert_int_equal(b.len, 0);
    assert_true(text_reply_answer_grammar(&hermes, str_of(tools), false, STR(""), &b));
    assert_non_null(strstr(b.data, "root ::= ( answer | \"<tool_call>\\n\" call \"\\n</tool_call>\" )\n"));
    buf_free(&b);
}

/* The rule for a text up to a tag. */
static void test_until(void **state) {
    (void)state;
    assert_non_null(strstr(grammar(TEXT_REPLY_FAMILY_LLAMA_JSON, "get", false, "<think>", false),
                           "thinking-part ::= \"<\" ( \"/\" ( \"t\" ( \"h\" ( \"i\" ( \"n\" ( \"k\" )? )? )? )? )? )? \n"
                           "thinking-text ::= [^<] | thinking-part* \"<\" ( [^</] | \"/\" ( [^<t] | \"t\" ( [^<h] | \"h\" ( [^<i] | "
                           "\"i\" ( [^<n] | \"n\" ( [^<k] | \"k\" ( [^<>]) ) ) ) ) ) ) \n"
                           "thinking ::= thinking-text* thinking-part* \"</think>\" \n"));
}

static void test_refusals(void **state) {
    (void)state;
    text_reply_format f = {.family = TEXT_REPLY_FAMILY_HERMES};
    test_alloc heap;
    buf b;
    err e = {0};
    assert_string_equal(grammar(TEXT_REPLY_FAMILY_HERMES, "other", false, "", false), "no tool is called other");
    test_alloc_init(&heap, 0);
    buf_init(&b, &heap.alloc, 1 << 16);
    assert_false(text_reply_tool_grammar(&f, STR("[]"), STR(""), false, STR(""), &b, &heap.alloc, &e));
    assert_int_equal(e.code, ERR_INVALID);
    buf_free(&b);
    buf_init(&b, &heap.alloc, 20);
    assert_false(text_reply_tool_grammar(&f, str_of(tools), STR(""), false, STR(""), &b, &heap.alloc, &e));
    assert_int_equal(e.code, ERR_MEMORY);
    buf_free(&b);
}

/* All of them are grammars, and some calls are read by them to the end. */
static void test_compiled(void **state) {
    (void)state;
    static test_alloc heap;
    test_alloc_init(&heap, 0);
    for (int family = TEXT_REPLY_FAMILY_HERMES; family <= TEXT_REPLY_FAMILY_GLM; family++)
        for (int way = 0; way < 16; way++) {
            const char *gbnf = grammar((text_reply_family)family, way & 1 ? "get" : "", way & 2, way & 4 ? "<think>\n" : "", way & 8);
            err e = {0};
            text_grammar *g = text_grammar_new(TEXT_GRAMMAR_GBNF, str_of(gbnf), NULL, &heap.alloc, &e);
            if (!g) fail_msg("family %d: %s\n%s", family, e.message, gbnf);
            text_grammar_free(g);
        }
    assert_int_equal(heap.outstanding_bytes, 0);
}

static bool reads(const char *gbnf, const char *text) {
    static test_alloc heap;
    err e = {0};
    text_grammar_cursor c;
    test_alloc_init(&heap, 0);
    text_grammar *g = text_grammar_new(TEXT_GRAMMAR_GBNF, str_of(gbnf), NULL, &heap.alloc, &e);
    if (!g) fail_msg("%s", e.message);
    void *memory = aligned_alloc(64, (text_grammar_machine_bytes(NULL) + 63) & ~(size_t)63);
    text_grammar_machine *m = text_grammar_machine_init(memory, NULL);
    bool ok = text_grammar_begin(m, g, &c) == TEXT_GRAMMAR_OK &&
              text_grammar_accept_bytes(m, &c, str_of(text)) == TEXT_GRAMMAR_OK && text_grammar_may_end(m, &c);
    free(memory);
    text_grammar_free(g);
    return ok;
}

static void test_read(void **state) {
    (void)state;
    const char *call = "<tool_call>\n{\"name\": \"get\", \"arguments\": {\"city\":\"Oslo\",\"days\": 3}}\n</tool_call>";
    assert_true(reads(grammar(TEXT_REPLY_FAMILY_HERMES, "", false, "", false), call));
    assert_false(reads(grammar(TEXT_REPLY_FAMILY_HERMES, "no\"w", false, "", false), call));
    assert_false(reads(grammar(TEXT_REPLY_FAMILY_HERMES, "", false, "", false), "<tool_call>\n{\"name\": \"get\", \"arguments\": {}}\n</tool_call>"));
    const char *xml = "<tool_call>\n<function=get>\n<parameter=city>\nNew <York>\n</parameter>\n<parameter=unit>\nC\n</parameter>\n</function>\n</tool_call>";
    assert_true(reads(grammar(TEXT_REPLY_FAMILY_QWEN_XML, "get", false, "", false), xml));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_json_families), cmocka_unit_test(test_other_families), cmocka_unit_test(test_xml),
        cmocka_unit_test(test_until),         cmocka_unit_test(test_answers),        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_compiled),      cmocka_unit_test(test_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
