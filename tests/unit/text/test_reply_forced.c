/* What a forced call's grammar lets through is what its reader takes for a call: examples that must pass, others that must
 * not, and random walks over bytes. */
#include "../test.h"

#include <stdio.h>

#include "text/grammar/grammar.h"
#include "text/reply/reply.h"

static const char tools[] =
    "[{\"type\":\"function\",\"function\":{\"name\":\"get\",\"parameters\":{\"type\":\"object\",\"properties\":"
    "{\"city\":{\"type\":\"string\",\"maxLength\":9},\"days\":{\"$ref\":\"#/$defs/d\"},\"unit\":{\"enum\":[\"C\",\"F\"]}},\"required\":[\"city\"],"
    "\"additionalProperties\":false,\"$defs\":{\"d\":{\"type\":\"integer\",\"minimum\":0,\"maximum\":99}}}}},"
    "{\"type\":\"function\",\"function\":{\"name\":\"now\"}},{\"type\":\"function\",\"function\":{\"name\":\"later on\",\"parameters\":"
    "{\"properties\":{\"a b\":{\"type\":[\"string\",\"number\",\"null\"]},\"c\":{}},\"required\":[\"a b\"],\"additionalProperties\":{\"type\":\"boolean\"}}}}]";

typedef struct forced {
    test_alloc heap;
    text_reply_format format;
    text_grammar *grammar;
    text_grammar_machine *machine;
    void *memory;
} forced;

static void begin(forced *f, text_reply_family family, bool newer, const char *named, bool parallel, const char *tail) {
    err e = {0};
    buf source;
    *f = (forced){.format = {.family = family, .newer = newer, .think_open = STR("<think>"), .think_close = STR("</think>")}};
    test_alloc_init(&f->heap, 0);
    buf_init(&source, &f->heap.alloc, 1 << 16);
    assert_ok(text_reply_tool_grammar(&f->format, str_of(tools), str_of(named), parallel, str_of(tail), &source, &f->heap.alloc, &e), e);
    f->grammar = text_grammar_new(TEXT_GRAMMAR_GBNF, buf_str(&source), NULL, &f->heap.alloc, &e);
    if (!f->grammar) fail_msg("%s\n%s", e.message, source.data);
    buf_free(&source);
    f->memory = aligned_alloc(64, (text_grammar_machine_bytes(NULL) + 63) / 64 * 64);
    f->machine = text_grammar_machine_init(f->memory, NULL);
}

static void end(forced *f) {
    text_grammar_free(f->grammar);
    free(f->memory);
    assert_int_equal(f->heap.outstanding_bytes, 0);
}

static bool accepts(forced *f, const char *text) {
    text_grammar_cursor c;
    assert_int_equal(text_grammar_begin(f->machine, f->grammar, &c), TEXT_GRAMMAR_OK);
    return text_grammar_accept_bytes(f->machine, &c, str_of(text)) == TEXT_GRAMMAR_OK && text_grammar_may_end(f->machine, &c);
}

static void expect(text_reply_family family, bool newer, const char *tail, const char *good, const char *bad) {
    forced f;
    begin(&f, family, newer, "", true, tail);
    if (!accepts(&f, good)) fail_msg("refused: %s", good);
    if (accepts(&f, bad)) fail_msg("not refused: %s", bad);
    end(&f);
}

static void test_examples(void **state) {
    (void)state;
    expect(TEXT_REPLY_FAMILY_HERMES, false, "", "<tool_call>\n{\"name\": \"get\", \"arguments\": {\"city\":\"Ulm\"}}\n</tool_call>",
           "<tool_call>\n{\"name\": \"later\", \"arguments\": {}}\n</tool_call>");
    expect(TEXT_REPLY_FAMILY_HERMES, false, "<think>\n", "a <b> </thin </think>\n\n<tool_call>\n{\"name\": \"now\", \"arguments\": {}}\n</tool_call>",
           "a</think>b</think>\n\n<tool_call>\n{\"name\": \"now\", \"arguments\": {}}\n</tool_call>");
    expect(TEXT_REPLY_FAMILY_LLAMA_JSON, false, "", "{\"name\": \"now\", \"parameters\": {}}; {\"name\": \"now\", \"parameters\": {}}", "{}");
    expect(TEXT_REPLY_FAMILY_MISTRAL, false, "", "[TOOL_CALLS][{\"name\": \"now\", \"arguments\": {}, \"id\": \"123456789\"}]", "[TOOL_CALLS][]");
    expect(TEXT_REPLY_FAMILY_MISTRAL, true, "", "[TOOL_CALLS]now[ARGS]{}[TOOL_CALLS]get[ARGS]{\"city\":\"\"}", "[TOOL_CALLS]now[ARGS]");
    expect(TEXT_REPLY_FAMILY_HARMONY, false, "", "<|channel|>commentary to=functions.now <|constrain|>json<|message|>{}", "<|channel|>final<|message|>");
    expect(TEXT_REPLY_FAMILY_HARMONY, false, "<|start|>assistant",
           "<|channel|>analysis<|message|>Hm.\n<|end|><|start|>assistant<|channel|>commentary to=functions.now <|constrain|>json<|message|>{}",
           "<|channel|>analysis<|message|>Hm.");
    expect(TEXT_REPLY_FAMILY_DEEPSEEK, false, "",
           "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>now\n```json\n{}\n```<｜tool▁call▁end｜><｜tool▁calls▁end｜>", "");
    expect(TEXT_REPLY_FAMILY_GRANITE, false, "", "<|tool_call|>[{\"name\": \"now\", \"arguments\": {}}]", "<|tool_call|>[]");
    expect(TEXT_REPLY_FAMILY_GENERIC, false, "", "{\"name\": \"now\", \"arguments\": {}}", "{\"name\": \"later\", \"arguments\": {}}");
    expect(TEXT_REPLY_FAMILY_QWEN_XML, false, "",
           "<tool_call>\n<function=get>\n<parameter=city>\nU<</para\n</parameter>\n<parameter=days>\n12\n</parameter>\n<parameter=unit>\nC\n</parameter>\n"
           "</function>\n</tool_call>",
           "<tool_call>\n<function=get>\n</function>\n</tool_call>");
    expect(TEXT_REPLY_FAMILY_GLM, false, "", "<tool_call>get\n<arg_key>city</arg_key>\n<arg_value>Ulm</arg_value>\n</tool_call>", "<tool_call>get\n</tool_call>");
}

typedef struct heard {
    unsigned calls, ends;
    bool content;
    char arguments[4096];
    size_t n;
} heard;

static void on_event(void *ctx, const text_reply_event *ev) {
    heard *h = ctx;
    h->calls += ev->kind == TEXT_REPLY_CALL;
    h->ends += ev->kind == TEXT_REPLY_CALL_END;
    h->content |= ev->kind == TEXT_REPLY_CONTENT;
    if (ev->kind == TEXT_REPLY_ARGUMENTS && h->n + ev->text.len < sizeof h->arguments) {
        memcpy(h->arguments + h->n, ev->text.data, ev->text.len);
        h->n += ev->text.len;
    }
}

/* Random bytes among those that are allowed, preferring to end; then the reader must hear calls and nothing else. False when
 * the walk did not come to an end: some texts may be long. */
static bool walk(forced *f, const char *tail, unsigned seed) {
    static text_reply r;
    text_grammar_cursor c;
    char text[2048];
    size_t n = 0;
    assert_int_equal(text_grammar_begin(f->machine, f->grammar, &c), TEXT_GRAMMAR_OK);
    while (n < sizeof text && !(text_grammar_may_end(f->machine, &c) && seed % 3)) {
        unsigned tried = 0;
        for (; tried < 4000; tried++) {
            seed = seed * 1664525 + 1013904223;
            char byte = (char)(0x20 + (seed >> 20) % 95);
            if ((seed >> 8) % 40 == 0 || tried > 1000) byte = (char)(seed >> 16);
            if (text_grammar_accept_bytes(f->machine, &c, (str){&byte, 1}) == TEXT_GRAMMAR_OK) {
                text[n++] = byte;
                break;
            }
        }
        if (tried == 4000) break;
    }
    if (!text_grammar_may_end(f->machine, &c)) return false;
    heard h = {0};
    text_reply_tools index;
    static uint32_t memory[1024];
    assert_true(text_reply_tools_bytes(str_of(tools)) <= sizeof memory);
    text_reply_tools_init(&index, str_of(tools), memory);
    text_reply_init(&r, &f->format, &index, str_of(tail));
    text_reply_feed(&r, (str){text, n}, on_event, &h);
    text_reply_finish(&r, on_event, &h);
    bool good = h.calls > 0 && h.calls == h.ends && !h.content && h.n > 0 && h.arguments[0] == '{' && h.arguments[h.n - 1] == '}';
    if (!good) fail_msg("%u calls, %s, of: %.*s", h.calls, h.content ? "content" : "no content", (int)n, text);
    return true;
}

static void test_walks(void **state) {
    (void)state;
    unsigned ended = 0;
    for (int family = TEXT_REPLY_FAMILY_HERMES; family <= TEXT_REPLY_FAMILY_GLM; family++) {
        for (unsigned i = 0; i < 12; i++) {
            const char *tail = family == TEXT_REPLY_FAMILY_HARMONY ? "<|start|>assistant" : "";
            forced f;
            begin(&f, (text_reply_family)family, i & 1, i & 2 ? "get" : "", i & 4, tail);
            for (unsigned seed = 0; seed < 4; seed++) ended += walk(&f, tail, i * 100 + seed);
            end(&f);
        }
    }
    assert_true(ended > 9 * 12 * 4 / 2);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_examples), cmocka_unit_test(test_walks)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
