/* Replies of every family, fed whole, byte by byte and cut everywhere, into a line that says what came of them. */
#include "../test.h"

#include <stdio.h>

#include "text/reply/reply.h"

static const char tools[] =
    "[{\"type\":\"function\",\"function\":{\"name\":\"get_weather\",\"description\":\"\",\"parameters\":{\"type\":\"object\","
    "\"properties\":{\"city\":{\"type\":\"string\"},\"days\":{\"type\":\"integer\"},\"metric\":{\"type\":\"boolean\"},"
    "\"tags\":{\"type\":\"array\",\"items\":{\"type\":\"string\"}},\"note\":{\"type\":[\"string\",\"null\"]},"
    "\"unit\":{\"enum\":[\"C\",\"F\"]},\"where\":{\"$ref\":\"#/$defs/place\"},\"any\":{}},\"required\":[\"city\"],"
    "\"$defs\":{\"place\":{\"type\":\"object\"}}}}},"
    "{\"type\":\"function\",\"function\":{\"name\":\"now\"}}]";

/* What events say: content as it is, ~reasoning~, {name|arguments}, {name|arguments> where it was cut,
 * ! before that where the arguments are no JSON. */
typedef struct line {
    char text[16384];
    size_t len;
    bool thinking;
    uint32_t calls;
    bool in_call;
} line;

static void add(line *l, str s) {
    assert_true(l->len + s.len + 1 < sizeof l->text);
    if (s.len) memcpy(l->text + l->len, s.data, s.len);
    l->len += s.len;
    l->text[l->len] = 0;
}

static void on_event(void *ctx, const text_reply_event *ev) {
    line *l = ctx;
    bool thinks = ev->kind == TEXT_REPLY_REASONING;
    if (thinks != l->thinking) add(l, STR("~"));
    l->thinking = thinks;
    assert_true(l->in_call == (ev->kind == TEXT_REPLY_ARGUMENTS || ev->kind == TEXT_REPLY_CALL_END));
    if (ev->kind == TEXT_REPLY_CALL) {
        assert_int_equal(ev->call, l->calls++);
        add(l, STR("{"));
        l->in_call = true;
    }
    if (l->in_call) assert_int_equal(ev->call, l->calls - 1);
    add(l, ev->text);
    if (ev->kind == TEXT_REPLY_CALL) add(l, STR("|"));
    if (ev->kind == TEXT_REPLY_CALL_END) {
        if (ev->broken) add(l, STR("!"));
        add(l, ev->cut ? STR(">") : STR("}"));
        l->in_call = false;
    }
}

static const text_reply_tools *index_of(str json) {
    static text_reply_tools t;
    static char memory[1 << 16];
    assert_true(text_reply_tools_bytes(json) <= sizeof memory);
    text_reply_tools_init(&t, json, memory);
    return &t;
}

static void parse(const text_reply_format *f, str tools_json, str tail, str reply, size_t cut, size_t piece, line *l) {
    static text_reply r;
    memset(&r, 0x5A, sizeof r);
    *l = (line){.text = ""};
    text_reply_init(&r, f, index_of(tools_json), tail);
    text_reply_feed(&r, (str){reply.data, cut}, on_event, l);
    for (size_t at = cut; at < reply.len; at += piece) {
        size_t n = reply.len - at < piece ? reply.len - at : piece;
        text_reply_feed(&r, (str){reply.data + at, n}, on_event, l);
    }
    text_reply_finish(&r, on_event, l);
    if (l->thinking) add(l, STR("~"));
    assert_false(l->in_call);
}

static void expect_with(const text_reply_format *f, const char *tools_json, const char *tail, const char *reply,
                        const char *wanted) {
    static line whole, other;
    str text = str_of(reply);
    parse(f, str_of(tools_json), str_of(tail), text, text.len, 1, &whole);
    if (strcmp(whole.text, wanted)) fail_msg("of   %s\nnot  %s\nbut  %s", reply, wanted, whole.text);
    for (size_t cut = 0; cut <= text.len; cut++) {
        parse(f, str_of(tools_json), str_of(tail), text, cut, cut ? text.len : 1, &other);
        if (strcmp(other.text, wanted)) fail_msg("of   %s\ncut at %zu: %s", reply, cut, other.text);
    }
}

static text_reply_format format_of(text_reply_family family) {
    return (text_reply_format){.family = family, .thinks = true, .think_open = STR("<think>"), .think_close = STR("</think>")};
}

static void expect(text_reply_family family, const char *reply, const char *wanted) {
    text_reply_format f = format_of(family);
    expect_with(&f, tools, "", reply, wanted);
}

#define CALL "{\"name\": \"get_weather\", \"arguments\": {\"city\": \"Rome\"}}"
#define CALLED "{get_weather|{\"city\": \"Rome\"}}"

static void test_hermes(void **state) {
    (void)state;
    const text_reply_family H = TEXT_REPLY_FAMILY_HERMES;
    expect(H, "", "");
    expect(H, "Hello\n\nWorld.\n", "Hello\n\nWorld.\n");
    expect(H, "<tool_call>\n" CALL "\n</tool_call>", CALLED);
    expect(H, "Let me see.\n\n<tool_call>\n" CALL "\n</tool_call>\n<tool_call>\n{\"name\":\"now\",\"arguments\":{}}\n</tool_call>\nDone.",
           "Let me see." CALLED "{now|{}}Done.");
    expect(H, "<tool_call>" CALL "\n" CALL "</tool_call>", CALLED CALLED);
    expect(H, "<tool_call>\n{\"name\": \"now\"}\n</tool_call>", "{now|{}}");
    expect(H, "<tool_call>\n{\"arguments\": {\"a\": [1, {}]}, \"name\": \"now\"}\n</tool_call> x", "{now|{\"a\": [1, {}]}} x");
    expect(H, "<tool_call>{\"type\":\"function\",\"function\":{\"name\":\"now\",\"arguments\":{}},\"id\":\"x\"}</tool_call>", "{now|{}}");
    expect(H, CALL, CALLED);
    expect(H, "```json\n" CALL "\n```", CALLED);
    expect(H, "It is: " CALL, "It is: " CALL);
    /* not calls */
    expect(H, "<tool_call>\n{\"name\": \"other\", \"arguments\": {}}\n</tool_call>",
           "<tool_call>\n{\"name\": \"other\", \"arguments\": {}}\n</tool_call>");
    expect(H, "a\n<tool_call> is a tag\n", "a\n<tool_call> is a tag\n");
    expect(H, "<tool_call><tool_call>\n" CALL "</tool_call>", CALLED);
    expect(H, "<tool_", "<tool_");
    expect(H, "a < b\n<", "a < b\n<");
    expect(H, "{\"name\": \"now\", \"note\": 1}", "{\"name\": \"now\", \"note\": 1}");
    expect(H, "[1, 2]", "[1, 2]");
    /* cut off, and wrong */
    expect(H, "<tool_call>\n{\"name\": \"now\", \"arguments\": {\"a\": [\"x", "{now|{\"a\": [\"x>");
    expect(H, "<tool_call>{\"name\":\"now\",\"arguments\":{\"a\":1", "{now|{\"a\":1>");
    expect(H, "<tool_call>{\"name\":\"now\",\"arguments\":", "<tool_call>{\"name\":\"now\",\"arguments\":");
    expect(H, "<tool_call>{\"name\":\"now\",\"arguments\":{", "{now|{>");
    expect(H, "<tool_call>{\"name\":\"now\",\"arguments\":{\"a\":1}", "{now|{\"a\":1}}");
    expect(H, "<tool_call>{\"name\":\"now\",\"arguments\":{\"a\":1}}\n</tool_c", "{now|{\"a\":1}}");
    expect(H, "<tool_call>{\"name\":\"now\",\"arguments\":{\"a\":1}, \"id\": \"c", "{now|{\"a\":1}}");
    expect(TEXT_REPLY_FAMILY_MISTRAL, "[TOOL_CALLS][{\"name\":\"now\",\"arguments\":{}, \"id\"", "{now|{}}");
    expect(H, "<tool_call>{\"name\":\"now\",\"arguments\":{\"a\":wrong}} <b>", "{now|{\"a\":wrong}!} <b>");
}

static void test_json_is_mended(void **state) {
    (void)state;
    static const struct {
        const char *written, *comes;
    } cases[] = {
        {"{\"a\": \"\\d\\'\\q\"}", "{\"a\": \"\\\\d'\\\\q\"}"},
        {"{\"a\": \"\\ud83d\\ude00\"}", "{\"a\": \"\\ud83d\\ude00\"}"},
        {"{\"a\": \"\\ud83dx\\ude00\"}", "{\"a\": \"\\ufffdx\\ufffd\"}"},
        {"{\"a\": \"\\ud83d\\ud83d\\ude00\"}", "{\"a\": \"\\ufffd\\ud83d\\ude00\"}"},
        {"{\"a\": \"\\ud83d\\n\\u00zz\"}", "{\"a\": \"\\ufffd\\n\\\\u00zz\"}"},
        {"{\"a\": \"1\n\t\x01" "2\"}", "{\"a\": \"1\\n\\t\\u00012\"}"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char reply[256], wanted[256];
        snprintf(reply, sizeof reply, "<tool_call>{\"name\": \"now\", \"arguments\": %s", cases[i].written);
        snprintf(wanted, sizeof wanted, "{now|%s}", cases[i].comes);
        expect(TEXT_REPLY_FAMILY_HERMES, reply, wanted);
    }
}

/* Arguments that are no JSON come as they were written, in every family; and the reply goes on behind them. */
static void test_arguments_that_are_no_json(void **state) {
    (void)state;
    static const struct {
        text_reply_family family;
        bool newer;
        const char *before, *behind;
    } forms[] = {
        {TEXT_REPLY_FAMILY_HERMES, false, "<tool_call>\n{\"name\": \"now\", \"arguments\": ", "}\n</tool_call>"},
        {TEXT_REPLY_FAMILY_HERMES, false, "{\"name\": \"now\", \"arguments\": ", "}"},
        {TEXT_REPLY_FAMILY_QWEN_XML, false, "<tool_call>{\"name\": \"now\", \"arguments\": ", "}</tool_call>"},
        {TEXT_REPLY_FAMILY_LLAMA_JSON, false, "{\"name\": \"now\", \"parameters\": ", "}"},
        {TEXT_REPLY_FAMILY_MISTRAL, false, "[TOOL_CALLS][{\"name\": \"now\", \"arguments\": ", ", \"id\": \"123456789\"}]"},
        {TEXT_REPLY_FAMILY_MISTRAL, true, "[TOOL_CALLS]now[ARGS]", ""},
        {TEXT_REPLY_FAMILY_DEEPSEEK, true, "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>now<｜tool▁sep｜>", "<｜tool▁call▁end｜><｜tool▁calls▁end｜>"},
        {TEXT_REPLY_FAMILY_GRANITE, false, "<|tool_call|>[{\"name\": \"now\", \"arguments\": ", "}]"},
        {TEXT_REPLY_FAMILY_GENERIC, false, "{\"tool_call\": {\"name\": \"now\", \"arguments\": ", "}}"},
        {TEXT_REPLY_FAMILY_GLM, false, "<tool_call>{\"name\": \"now\", \"arguments\": ", "}\n"},
    };
    static const char *const arguments[] = {
        "{\"a\": oops}", "{'a': 'b'}", "{\"a\": 1,}", "{\"a\": 01}", "{\"a\": tru}", "{\"a\" 1}", "{\"a\": [1, 2, ]}", "{a: {b: \"}\"}}",
        "{\"a\": -}", "{\"a\": \"\\\\\", b: \"\\\"}\"}", "{\"a\": None, \"b\": [\"]\", {}]}",
    };
    for (size_t i = 0; i < sizeof forms / sizeof *forms; i++) {
        text_reply_format f = format_of(forms[i].family);
        f.newer = forms[i].newer;
        for (size_t k = 0; k < sizeof arguments / sizeof *arguments; k++) {
            char reply[512], wanted[512];
            snprintf(reply, sizeof reply, "%s%s%s so", forms[i].before, arguments[k], forms[i].behind);
            snprintf(wanted, sizeof wanted, "{now|%s!} so", arguments[k]);
            expect_with(&f, tools, "", reply, wanted);
        }
    }
    text_reply_format harmony = {.family = TEXT_REPLY_FAMILY_HARMONY, .thinks = true};
    expect_with(&harmony, tools, "<|start|>assistant", "<|channel|>commentary to=functions.now<|message|>{\"a\": oops}<|call|>", "{now|{\"a\": oops}!}");
    expect_with(&harmony, tools, "<|start|>assistant", "<|channel|>commentary to=functions.now<|message|>{\"a\": oops<|call|>", "{now|{\"a\": oops!}");
    /* what closes a call closes what is open in it */
    const text_reply_family H = TEXT_REPLY_FAMILY_HERMES, Q = TEXT_REPLY_FAMILY_QWEN_XML;
    expect(H, "<tool_call>{\"name\":\"now\",\"arguments\":{\"a\": [1</tool_call>\n" "<tool_call>" CALL "</tool_call>", "{now|{\"a\": [1!}" CALLED);
    expect(H, "<tool_call>{\"name\":\"now\",\"arguments\":{\"a\": oops, \"<tool_call>" CALL, "{now|{\"a\": oops, \"!}" CALLED);
    expect(H, "<tool_call>{\"name\":\"now\",\"arguments\":{\"a\": oops", "{now|{\"a\": oops!>");
    expect(H, "<tool_call>{\"name\":\"now\",\"arguments\":{\"a\": oops</tool", "{now|{\"a\": oops</tool!>");
    expect(H, "<tool_call>{\"name\":\"now\",\"arguments\":{\"a\": oops}}\n</tool_call>\n<tool_call>" CALL "</tool_call>",
           "{now|{\"a\": oops}!}" CALLED);
    /* values of tags are texts where they are no JSON */
    expect(Q, "<function=get_weather><parameter=where>\n{\"a\": oops}\n</parameter>\n<parameter=days>\n 3 \n</parameter></function>",
           "{get_weather|{\"where\": \"{\\\"a\\\": oops}\", \"days\": 3}}");
    expect(Q, "<function=get_weather><parameter=tags>[]  so </parameter></function>", "{get_weather|{\"tags\": \"[]  so \"}}");
    expect(Q, "<function=get_weather><parameter=tags>[tr ue]</parameter></function>", "{get_weather|{\"tags\": \"[tr ue]\"}}");
    expect(TEXT_REPLY_FAMILY_GLM, "<tool_call>get_weather\n<arg_key>tags</arg_key>\n<arg_value>['a', </b>]</arg_value>\n</tool_call>",
           "{get_weather|{\"tags\": \"['a', </b>]\"}}");
}

/* Whatever is said, and however it is cut: what is looked at is a few times what was said. */
static void test_work(void **state) {
    (void)state;
    static char many[1 << 16], reply[3 * TEXT_REPLY_HELD_MAX];
    static const struct {
        text_reply_family family;
        const char *begin, *again;
    } hostile[] = {
        {TEXT_REPLY_FAMILY_HERMES, "<tool_call>{", "\"name\": \"tool_99\", "},
        {TEXT_REPLY_FAMILY_HERMES, "<tool_call>{", "\"x\": [{\"a\": 1}], "},
        {TEXT_REPLY_FAMILY_HERMES, "<tool_call>{\"arguments\": {\"a\": \"", "x"},
        {TEXT_REPLY_FAMILY_HERMES, "", "<tool_call>{\"name\": \"tool_999\"}"},
        {TEXT_REPLY_FAMILY_HERMES, "<tool_call>", " "},
        {TEXT_REPLY_FAMILY_HERMES, "x", "\n"},
        {TEXT_REPLY_FAMILY_HERMES, "<think>x<tool_call>{\"name\": \"tool_1\", \"arguments\": {\"a\": [", "1,"},
        {TEXT_REPLY_FAMILY_HERMES, "<think>x", "<tool_call>{\"name\": \"tool_1\", \"arguments\": {}}"},
        {TEXT_REPLY_FAMILY_HERMES, "<tool_call>{\"name\": \"tool_1\", \"arguments\": {}", "\n"},
        {TEXT_REPLY_FAMILY_HERMES, "<tool_call>{\"name\": \"tool_1\", \"arguments\": {}, \"x\": [", "\"y\", "},
        {TEXT_REPLY_FAMILY_HERMES, "<tool_call>{\"name\": \"tool_1\", \"arguments\": {oops ", "</tool_"},
        {TEXT_REPLY_FAMILY_MISTRAL, "[TOOL_CALLS]", "tool_1"},
        {TEXT_REPLY_FAMILY_MISTRAL, "[TOOL_CALLS]tool_1[CALL_ID]", "x"},
        {TEXT_REPLY_FAMILY_MISTRAL, "[TOOL_CALLS][{\"name\": \"tool_1\", \"arguments\": {}}", ", {\"id\": \"x\", \"name\": \"tool_1\"}"},
        {TEXT_REPLY_FAMILY_DEEPSEEK, "<｜tool▁call▁begin｜>", "tool_1"},
        {TEXT_REPLY_FAMILY_GENERIC, "", "<function=tool_1>{"},
        {TEXT_REPLY_FAMILY_GENERIC, "", "<function=tool_1>{}"},
        {TEXT_REPLY_FAMILY_QWEN_XML, "", "<function=a>{"},
        {TEXT_REPLY_FAMILY_QWEN_XML, "<function=", "x"},
        {TEXT_REPLY_FAMILY_QWEN_XML, "<function=tool_1>", "\n"},
        {TEXT_REPLY_FAMILY_QWEN_XML, "<function=tool_1><parameter=any>\n", "</parameter"},
        {TEXT_REPLY_FAMILY_QWEN_XML, "<function=tool_1>", "<parameter=any>1</parameter>"},
        {TEXT_REPLY_FAMILY_GLM, "<tool_call>tool_1\n", "<arg_key>a</arg_key><arg_value>1</arg_value>"},
        {TEXT_REPLY_FAMILY_LLAMA_JSON, "{", "\"type\": \"function\", "},
        {TEXT_REPLY_FAMILY_LLAMA_JSON, "", "tool_1.call(\n"},
        {TEXT_REPLY_FAMILY_LLAMA_JSON, "", "tool_1.call()"},
        {TEXT_REPLY_FAMILY_LLAMA_JSON, "", "tool_1"},
        {TEXT_REPLY_FAMILY_LLAMA_JSON, "tool_1.call(any=\"", "\", abcdefg"},
        {TEXT_REPLY_FAMILY_LLAMA_JSON, "tool_1.call(any=\"", "\"    "},
        {TEXT_REPLY_FAMILY_LLAMA_JSON, "tool_1.call(any=", "[1,"},
        {TEXT_REPLY_FAMILY_LLAMA_JSON, "tool_1.call(", "any=123456789, "},
        {TEXT_REPLY_FAMILY_LLAMA_JSON, "tool_1.call(any=", "("},
        {TEXT_REPLY_FAMILY_HARMONY, "", "<|start|>assistantassistant"},
        {TEXT_REPLY_FAMILY_HARMONY, "", "<|channel|>commentary to=functions.tool_1 "},
    };
    size_t n = (size_t)snprintf(many, sizeof many, "[");
    for (int i = 0; i < 400; i++)
        n += (size_t)snprintf(many + n, sizeof many - n, "%s{\"name\":\"tool_%d\",\"parameters\":{\"properties\":{\"any\":{}}}}", i ? "," : "", i);
    snprintf(many + n, sizeof many - n, "]");
    for (size_t i = 0; i < sizeof hostile / sizeof *hostile; i++) {
        static text_reply r;
        static line l;
        text_reply_format f = format_of(hostile[i].family);
        n = (size_t)snprintf(reply, sizeof reply, "%s", hostile[i].begin);
        while (n < sizeof reply - 100) n += (size_t)snprintf(reply + n, sizeof reply - n, "%s", hostile[i].again);
        for (size_t piece = 3; piece <= n; piece += n - 3) { /* token by token, and at once */
            l = (line){.text = ""};
            text_reply_init(&r, &f, index_of(str_of(many)), STR(""));
            text_work = 0;
            uint64_t most = 0;
            for (size_t at = 0; at < n; at += piece) {
                uint64_t before = text_work;
                text_reply_feed(&r, (str){reply + at, n - at < piece ? n - at : piece}, on_event, &l);
                if (text_work - before > most) most = text_work - before;
            }
            if (text_work > 128 * n || (piece == 3 && most > 6 * TEXT_REPLY_HELD_MAX))
                fail_msg("%s%s… in pieces of %zu: %lu bytes were looked at for %zu, %lu for one piece", hostile[i].begin,
                         hostile[i].again, piece, (unsigned long)text_work, n, (unsigned long)most);
        }
    }
}

/* A reply that breaks off in a call's arguments, anywhere in them: they come as far as they came. */
static void expect_cut(text_reply_family family, const char *before, const char *arguments) {
    static line l;
    text_reply_format f = format_of(family);
    char reply[512], wanted[512];
    for (size_t n = 1; n < strlen(arguments); n++) {
        snprintf(reply, sizeof reply, "%s%.*s", before, (int)n, arguments);
        snprintf(wanted, sizeof wanted, "{get_weather|%.*s>", (int)n, arguments);
        for (size_t piece = 1; piece < 40; piece += 13) {
            parse(&f, str_of(tools), STR(""), str_of(reply), 0, piece, &l);
            if (strcmp(l.text, wanted)) fail_msg("of   %s\nnot  %s\nbut  %s", reply, wanted, l.text);
        }
    }
}

static void test_calls_that_break_off(void **state) {
    (void)state;
    const char *arguments = "{\"city\": \"a\\n\\u00e9\\\\ } {\", \"tags\": [[{}], -1.5e3 , true, null], \"a\": {\"\": \"\"}, \"b\": 0}";
    expect_cut(TEXT_REPLY_FAMILY_HERMES, "<tool_call>\n{\"name\": \"get_weather\", \"arguments\": ", arguments);
    expect_cut(TEXT_REPLY_FAMILY_HERMES, "{\"name\": \"get_weather\", \"arguments\": ", arguments);
    expect_cut(TEXT_REPLY_FAMILY_QWEN_XML, "<tool_call>{\"name\": \"get_weather\", \"arguments\": ", arguments);
    expect_cut(TEXT_REPLY_FAMILY_LLAMA_JSON, "{\"name\": \"get_weather\", \"parameters\": ", arguments);
    expect_cut(TEXT_REPLY_FAMILY_MISTRAL, "[TOOL_CALLS][{\"name\": \"get_weather\", \"arguments\": ", arguments);
    expect_cut(TEXT_REPLY_FAMILY_MISTRAL, "[TOOL_CALLS]get_weather[ARGS]", arguments);
    expect_cut(TEXT_REPLY_FAMILY_HARMONY, "<|channel|>commentary to=functions.get_weather<|message|>", arguments);
    expect_cut(TEXT_REPLY_FAMILY_DEEPSEEK, "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>get_weather<｜tool▁sep｜>", arguments);
    expect_cut(TEXT_REPLY_FAMILY_GENERIC, "{\"tool_call\": {\"name\": \"get_weather\", \"arguments\": ", arguments);
    expect_cut(TEXT_REPLY_FAMILY_GRANITE, "<|tool_call|>[{\"name\": \"get_weather\", \"arguments\": ", arguments);
    /* whole calls before it stay whole */
    expect(TEXT_REPLY_FAMILY_HERMES, "<tool_call>" CALL "</tool_call>\n<tool_call>{\"name\": \"now\", \"arguments\": {\"a", CALLED "{now|{\"a>");
    expect(TEXT_REPLY_FAMILY_GRANITE, "<|tool_call|>[" CALL ", {\"name\": \"now\", \"arguments\": {\"a", CALLED "{now|{\"a>");
    expect(TEXT_REPLY_FAMILY_HERMES, "<tool_call>" CALL "</tool_", CALLED);
    const text_reply_family G = TEXT_REPLY_FAMILY_GLM;
    expect(G, "<tool_call>get_weather\n<arg_key>days</arg_key>\n<arg_value>1", "{get_weather|{\"days\": 1>");
    expect(G, "<tool_call>get_weather\n<arg_key>days</arg_key>\n<arg_value>12</arg_va", "{get_weather|{\"days\": 12>");
    expect(G, "<tool_call>get_weather\n<arg_key>days</arg_key>\n<arg_value>12</arg_value>\n<arg_k", "{get_weather|{\"days\": 12>");
    expect(G, "<tool_call>get_weather\n<arg_key>city</arg_key>\n<arg_value>A \"b", "{get_weather|{\"city\": \"A \\\"b>");
    expect(G, "<tool_call>get_weather\n<arg_key>city</arg_key>\n<arg_value>", "{get_weather|{\"city\": >");
    expect(G, "<tool_call>get_weather\n<arg_key>ci", "{get_weather|{>");
    expect(G, "<tool_call>get_weather", "<tool_call>get_weather");
}

static void test_calls_in_thoughts(void **state) {
    (void)state;
    const text_reply_family H = TEXT_REPLY_FAMILY_HERMES;
    expect(H, "<think>\nI must look.\n<tool_call>\n" CALL "\n</tool_call>", "~I must look.~" CALLED);
    expect(H, "<think>So <tool_call>" CALL "</tool_call>\n<tool_call>" CALL "</tool_call>\n", "~So ~" CALLED CALLED);
    expect(H, "<think>So<tool_call>" CALL "</tool_call>\nThen more", "~So~" CALLED "~Then more~");
    expect(H, "<think>So<tool_call>" CALL "</tool_call>\n</think>\n", "~So~" CALLED);
    expect(H, "<think>So<tool_call>" CALL, "~So~" CALLED);
    expect(H, "<think>So<tool_call>{\"name\": \"now\", \"arguments\": {\"a\": \"</think> x", "~So~{now|{\"a\": \"</think> x>");
    expect(H, "<think>So<tool_call>{\"name\": \"now\", \"arguments\": {\"a\": \"</think> x\"}}", "~So~{now|{\"a\": \"</think> x\"}}");
    /* considered, and not done */
    expect(H, "<think>I might <tool_call>" CALL "</tool_call> but no.\n</think>\nNo.", "~I might <tool_call>" CALL "</tool_call> but no.~No.");
    expect(H, "<think>I might <tool_call>" CALL "</tool_call></think><tool_call>" CALL "</tool_call>", "~I might <tool_call>" CALL "</tool_call>~" CALLED);
    expect(H, "<think>{\"name\": \"now\", \"arguments\": {}}", "~{\"name\": \"now\", \"arguments\": {}}~");
    expect(H, "<think>a <tool_call> is a tag", "~a <tool_call> is a tag~");
    expect(H, "<think>a <tool_call>{\"name\": \"other\", \"arguments\": {}}", "~a <tool_call>{\"name\": \"other\", \"arguments\": {}}~");
    expect(H, "Use `<tool_call>" CALL "</tool_call>` so.", "Use `<tool_call>" CALL "</tool_call>` so.");
    expect(H, "<think>Use `<tool_call>" CALL "</tool_call>`", "~Use `<tool_call>" CALL "</tool_call>`~");
    expect(H, "```\n<tool_call>" CALL "</tool_call>\n```", CALLED);
    /* ended twice */
    expect(H, "<think>a</think>\n</think>\nb", "~a~b");
    expect(H, "<think>a</think>b </think>c", "~a~b </think>c");
    expect(TEXT_REPLY_FAMILY_QWEN_XML, "<think>x\n<tool_call>\n<function=now>\n</function>\n</tool_call>", "~x~{now|{}}");
    expect(TEXT_REPLY_FAMILY_QWEN_XML, "<think>x\n<function=get_weather>\n<parameter=city>\nRome\n</parameter>\n</function>", "~x~" CALLED);
    expect(TEXT_REPLY_FAMILY_GLM, "<think>x\n<tool_call>get_weather\n<arg_key>city</arg_key>\n<arg_value>Rome</arg_value>\n</tool_call>", "~x~" CALLED);
    expect(TEXT_REPLY_FAMILY_LLAMA_JSON, "<think>x <|python_tag|>{\"name\": \"now\", \"parameters\": {}}", "~x ~{now|{}}");
    expect(TEXT_REPLY_FAMILY_MISTRAL, "<think>x[TOOL_CALLS]get_weather[ARGS]{\"city\": \"Rome\"}", "~x~" CALLED);
    expect(TEXT_REPLY_FAMILY_DEEPSEEK, "<think>x\n<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>now<｜tool▁sep｜>{}<｜tool▁call▁end｜><｜tool▁calls▁end｜>", "~x~{now|{}}");
    expect(TEXT_REPLY_FAMILY_GENERIC, "<think>x\n<tool_call>" CALL "</tool_call>", "~x~" CALLED);
    expect(TEXT_REPLY_FAMILY_GRANITE, "<think>x\n<|tool_call|>[" CALL "]", "~x~" CALLED);
    text_reply_format harmony = {.family = TEXT_REPLY_FAMILY_HARMONY, .thinks = true};
    expect_with(&harmony, tools, "<|start|>assistant",
                "<|channel|>analysis<|message|>x<|start|>assistant<|channel|>commentary to=functions.now<|message|>{}<|call|>", "~x~{now|{}}");
    text_reply_format hermes = format_of(H);
    expect_with(&hermes, tools, "assistant\n<think>\n", "x\n<tool_call>" CALL "</tool_call>", "~x~" CALLED);
    /* more than is held decides: it is a call */
    static char reply[3 * TEXT_REPLY_HELD_MAX];
    static line l;
    size_t n = (size_t)snprintf(reply, sizeof reply, "<think>x<tool_call>{\"name\": \"now\", \"arguments\": {\"a\": \"");
    memset(reply + n, 'x', 6000);
    snprintf(reply + n + 6000, 200, "\"}}</tool_call></think>Done");
    parse(&hermes, str_of(tools), STR(""), str_of(reply), 0, 7, &l);
    assert_int_equal(l.len, 6000 + strlen("~x~{now|{\"a\": \"\"}}Done"));
}

static void test_thinking(void **state) {
    (void)state;
    text_reply_format f = format_of(TEXT_REPLY_FAMILY_HERMES);
    expect(TEXT_REPLY_FAMILY_HERMES, "<think>\nHm <b>.\n</think>\n\nYes\n", "~Hm <b>.~Yes\n");
    expect(TEXT_REPLY_FAMILY_HERMES, " \n<think></think>\n<tool_call>" CALL "</tool_call>", CALLED);
    expect(TEXT_REPLY_FAMILY_HERMES, "<think>a", "~a~");
    expect(TEXT_REPLY_FAMILY_HERMES, "<think>a\n</thi", "~a\n</thi~");
    expect(TEXT_REPLY_FAMILY_HERMES, "So <think>a</think>", "So <think>a</think>");
    expect(TEXT_REPLY_FAMILY_HERMES, "<think><tool_call>" CALL "</think>ok", "~<tool_call>" CALL "~ok");
    expect_with(&f, tools, "<|im_start|>assistant\n<think>\n", "\nHm\n</think>\n\n<tool_call>" CALL "</tool_call>", "~Hm~" CALLED);
    expect_with(&f, "", "<think>", "Hm</think>\n" CALL, "~Hm~" CALL);
    expect_with(&f, "", "<think>\n\n</think>\n\n", "Hm</think>", "Hm</think>");
    expect_with(&f, tools, "assistant\n<tool_call>\n", CALL "\n</tool_call>", CALLED);
    expect_with(&f, tools, "assistant\n<tool_call>\n", "{\"no\": 1}", "{\"no\": 1}");
    text_reply_format_of(STR("{{ '[THINK]' }}[TOOL_CALLS]"), &f);
    expect_with(&f, tools, "", "[THINK]Hm[/THINK]Yes", "~Hm~Yes");
}

static void test_without_tools(void **state) {
    (void)state;
    text_reply_format f = format_of(TEXT_REPLY_FAMILY_HERMES), plain = {.family = TEXT_REPLY_FAMILY_PLAIN};
    const char *reply = "\n<tool_call>" CALL "</tool_call>\n<think>";
    expect_with(&f, "", "", reply, reply);
    expect_with(&f, "[]", "", reply, reply);
    expect_with(&plain, tools, "", reply, reply);
}

static void test_qwen_xml(void **state) {
    (void)state;
    const text_reply_family Q = TEXT_REPLY_FAMILY_QWEN_XML;
    expect(Q, "Look:\n\n<tool_call>\n<function=get_weather>\n<parameter=city>\nRome \"x\"\n</parameter>\n<parameter=days>\n3\n</parameter>\n"
              "<parameter=metric>\nTrue\n</parameter>\n<parameter=tags>\n[\"a\", \"b\"]\n</parameter>\n</function>\n</tool_call>\nDone",
           "Look:{get_weather|{\"city\": \"Rome \\\"x\\\"\", \"days\": 3, \"metric\": true, \"tags\": [\"a\", \"b\"]}}Done");
    expect(Q, "<function=now>\n</function>", "{now|{}}");
    expect(Q, "<tool_call><function=now></function></tool_call><tool_call><function=now></function></tool_call>", "{now|{}}{now|{}}");
    expect(Q, "<tool_call>\n<function=get_weather>\n<parameter=city>\n\n\n a\nb\\</c>\n\n</parameter>\n</function>\n</tool_call>",
           "{get_weather|{\"city\": \"\\n\\n a\\nb\\\\</c>\\n\"}}");
    expect(Q, "<function=get_weather><parameter=note>\nnull\n</parameter><parameter=unit>\nC\n</parameter><parameter=where>\n{\"a\": 1}\n"
              "</parameter><parameter=any>\n5\n</parameter><parameter=other>\n[1]\n</parameter></function>",
           "{get_weather|{\"note\": null, \"unit\": \"C\", \"where\": {\"a\": 1}, \"any\": \"5\", \"other\": [1]}}");
    expect(Q, "<function=get_weather><parameter=days>\nthree\n</parameter><parameter=metric>\nmaybe\n</parameter></function>",
           "{get_weather|{\"days\": \"three\", \"metric\": \"maybe\"}}");
    expect(Q, "<function=get_weather><parameter=tags>\n[1, oops] x\n</parameter><parameter=city>\n</parameter></function>",
           "{get_weather|{\"tags\": \"[1, oops] x\", \"city\": \"\"}}");
    expect(Q, "<tool_call>\n" CALL "\n</tool_call>", CALLED);
    /* cut off, and wrong */
    expect(Q, "<function=get_weather><parameter=city>\nRo", "{get_weather|{\"city\": \"Ro>");
    expect(Q, "<function=get_weather><parameter=city>\nRome\n</para", "{get_weather|{\"city\": \"Rome>");
    expect(Q, "<function=get_weather><parameter=days>\n1", "{get_weather|{\"days\": 1>");
    expect(Q, "<function=get_weather><parameter=days>\n1\n</par", "{get_weather|{\"days\": 1>");
    expect(Q, "<function=get_weather><parameter=days>\n1\n</parameter>\n", "{get_weather|{\"days\": 1>");
    expect(Q, "<function=get_weather><parameter=tags>\n[[\"a", "{get_weather|{\"tags\": [[\"a>");
    expect(Q, "<function=get_weather><parameter=days>", "{get_weather|{\"days\": >");
    expect(Q, "<function=get_weather><parameter=any>\n5", "{get_weather|{\"any\": \"5>");
    expect(Q, "<function=get_weather><parameter=metric>\nTr", "{get_weather|{\"metric\": Tr>");
    expect(Q, "<function=get_weather><parameter=days>\n1\n</parameter>\nand so on", "{get_weather|{\"days\": 1}}and so on");
    expect(Q, "<function=other>\n</function>", "<function=other>\n</function>");
    expect(Q, "<function=now> is how", "<function=now> is how");
    expect(Q, "<tool_call>\n<function=now>\n</tool_call>", "{now|{}}");
}

/* A newline beside a value is its tag's in one family and its own in the other, wherever the reply breaks off; where the
 * end of a value is missing, the newline before what ends it is no part of it in either. */
static void test_newlines_of_values(void **state) {
    (void)state;
    const text_reply_family Q = TEXT_REPLY_FAMILY_QWEN_XML, G = TEXT_REPLY_FAMILY_GLM;
#define Q_CITY "<function=get_weather><parameter=city>"
#define G_CITY "<tool_call>get_weather\n<arg_key>city</arg_key>\n<arg_value>"
    expect(Q, Q_CITY "\nRome\n</parameter></function>", CALLED);
    expect(Q, Q_CITY "Rome</parameter></function>", CALLED);
    expect(Q, Q_CITY "\n\nRome\n\n</parameter></function>", "{get_weather|{\"city\": \"\\nRome\\n\"}}");
    expect(Q, Q_CITY "\nRome\n</function>", CALLED);
    expect(Q, Q_CITY "\nRome\n\n<parameter=days>\n3\n</parameter></function>", "{get_weather|{\"city\": \"Rome\\n\", \"days\": 3}}");
    expect(Q, Q_CITY "\n\n</parameter></function>", "{get_weather|{\"city\": \"\"}}");
    expect(Q, Q_CITY "\nRome\n", "{get_weather|{\"city\": \"Rome>");
    expect(Q, Q_CITY "\nRome\n\n", "{get_weather|{\"city\": \"Rome\\n>");
    expect(Q, Q_CITY "\nRome\n</", "{get_weather|{\"city\": \"Rome>");
    expect(Q, Q_CITY "\nRome\n<b", "{get_weather|{\"city\": \"Rome\\n<b>");
    expect(Q, Q_CITY "\n", "{get_weather|{\"city\": >");
    expect(G, G_CITY "\nRome</arg_value></tool_call>", "{get_weather|{\"city\": \"\\nRome\"}}");
    expect(G, G_CITY "\nRome\n\n</arg_value></tool_call>", "{get_weather|{\"city\": \"\\nRome\\n\\n\"}}");
    expect(G, G_CITY "Rome\n\n</tool_call>", "{get_weather|{\"city\": \"Rome\\n\"}}");
    expect(G, G_CITY "Rome\n", "{get_weather|{\"city\": \"Rome\\n>");
    expect(G, G_CITY "\n", "{get_weather|{\"city\": \"\\n>");
    /* what is no string has blanks around it, and none of them */
    expect(Q, "<function=get_weather><parameter=note>\n null\n\n</parameter></function>", "{get_weather|{\"note\": null}}");
    expect(Q, "<function=get_weather><parameter=note>\nnil\n\n</parameter></function>", "{get_weather|{\"note\": \"nil\\n\"}}");
    expect(G, "<tool_call>get_weather\n<arg_key>days</arg_key>\n<arg_value>\n3\n</arg_value></tool_call>", "{get_weather|{\"days\": 3}}");
    static char reply[3 * TEXT_REPLY_HELD_MAX], wanted[3 * TEXT_REPLY_HELD_MAX];
    static line l;
    text_reply_format f = format_of(Q); /* more than is held: it goes out before its end is seen */
    snprintf(reply, sizeof reply, "<function=get_weather><parameter=tags>\n[\"%*s\"] \n \n</parameter></function> so", 2 * TEXT_REPLY_HELD_MAX, "a");
    snprintf(wanted, sizeof wanted, "{get_weather|{\"tags\": [\"%*s\"]}} so", 2 * TEXT_REPLY_HELD_MAX, "a");
    for (size_t piece = 1; piece < 300; piece += 149) {
        parse(&f, str_of(tools), STR(""), str_of(reply), 0, piece, &l);
        assert_string_equal(l.text, wanted);
    }
    expect(Q, "<function=get_weather><parameter=tags>\n[\n\"a\"\n]\n\n<parameter=days>\n3\n\n</function>", "{get_weather|{\"tags\": [\n\"a\"\n], \"days\": 3}}");
}

static void test_glm(void **state) {
    (void)state;
    expect(TEXT_REPLY_FAMILY_GLM,
           "\n<think>x</think>\n<tool_call>get_weather\n<arg_key>city</arg_key>\n<arg_value>Rome\n</arg_value>\n<arg_key>days</arg_key>\n"
           "<arg_value>2</arg_value>\n</tool_call>\n<tool_call>now\n</tool_call>",
           "~x~{get_weather|{\"city\": \"Rome\\n\", \"days\": 2}}{now|{}}");
    expect(TEXT_REPLY_FAMILY_GLM, "<tool_call>later\n</tool_call>", "<tool_call>later\n</tool_call>");
}

static void test_llama(void **state) {
    (void)state;
    const text_reply_family L = TEXT_REPLY_FAMILY_LLAMA_JSON;
    expect(L, "{\"name\": \"get_weather\", \"parameters\": {\"city\": \"Rome\"}}", CALLED);
    expect(L, "<|python_tag|>{\"type\": \"function\", \"name\": \"now\", \"parameters\": {}}", "{now|{}}");
    expect(L, "{\"name\": \"now\", \"parameters\": {}}; {\"name\": \"now\", \"parameters\": null}; so", "{now|{}}{now|{}}; so");
    expect(L, "<|python_tag|>brave.call(query=\"x\")", "<|python_tag|>brave.call(query=\"x\")");
    expect(L, "{\"answer\": 42}", "{\"answer\": 42}");
    /* built-in tools */
    expect(L, "<|python_tag|>get_weather.call(city=\"Rome\")", CALLED);
    expect(L, "get_weather.call(city=\"Rome\")", CALLED);
    expect(L, "<|python_tag|> get_weather.call( city = 'Rome' ,days=3, metric=True, note=None, tags=[\"a)\", \"b\"] )",
           "{get_weather|{\"city\": \"Rome\", \"days\": 3, \"metric\": true, \"note\": null, \"tags\": [\"a)\", \"b\"]}}");
    expect(L, "get_weather.call(days=\"3\", any=2.5, unit=\"C\")", "{get_weather|{\"days\": 3, \"any\": 2.5, \"unit\": \"C\"}}");
    expect(L, "get_weather.call(days=\"a few\", city=7)", "{get_weather|{\"days\": \"a few\", \"city\": 7}}");
    expect(L, "now.call()\nget_weather.call(city=\"Rome\")", "{now|{}}" CALLED);
    expect(L, "get_weather.call(city=\"say \"x\", \\\"y\\\"\n(z) it's\")", "{get_weather|{\"city\": \"say \\\"x\\\", \\\"y\\\"\\n(z) it's\"}}");
    expect(L, "get_weather.call(city='a \"b\" \\'c\\'')", "{get_weather|{\"city\": \"a \\\"b\\\" 'c'\"}}");
    expect(L, "get_weather.call(city=Rome, days=1) so", "{get_weather|{\"city\": Rome, days=1}!} so");
    expect(L, "get_weather.call(city=\"Rome\", \"x\") so", "{get_weather|{\"city\": \"Rome\\\", \\\"x\"}} so");
    expect(L, "get_weather.call(tags=[\"a\", True], days=1) so", "{get_weather|{\"tags\": [\"a\", True], days=1}!} so");
    expect(L, "get_weather.call(city=\"Ro", "{get_weather|{\"city\": \"Ro>");
    expect(L, "get_weather.call(city=\"Rome\"", "{get_weather|{\"city\": \"Rome\">");
    expect(L, "get_weather.call(city=\"Rome\", da", "{get_weather|{\"city\": \"Rome\">");
    expect(L, "get_weather.call(days=3", "{get_weather|{\"days\": 3>");
    expect(L, "get_weather.call(city=", "get_weather.call(city=");
    static const char *const texts[] = {
        "<|python_tag|>other.call(query=\"x\")", "other.call(query=\"x\")", "get_weather.call(1)", "get_weather.call(a == b)", "get_weather.call is it",
        "get_weather", "now.callable()", "Use get_weather.call(city=\"Rome\")", "<|python_tag|>import os\nprint(1)", "Hello", "So I say.",
    };
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) expect(L, texts[i], texts[i]);
    expect(L, "now.call()\nDone", "{now|{}}Done");
    expect(TEXT_REPLY_FAMILY_GENERIC, "<|python_tag|>now.call()", "{now|{}}");
    expect(TEXT_REPLY_FAMILY_HERMES, "now.call()", "now.call()");
    expect(L, "Sure. <|python_tag|>{\"name\": \"now\", \"parameters\": {}}", "Sure. {now|{}}");
}

static void test_mistral(void **state) {
    (void)state;
    const text_reply_family M = TEXT_REPLY_FAMILY_MISTRAL;
    expect(M, "[TOOL_CALLS][" CALL ", {\"name\": \"now\", \"arguments\": {}, \"id\": \"abcdefghi\"}]", CALLED "{now|{}}");
    expect(M, "[TOOL_CALLS] [{\"id\": \"abcdefghi\", \"name\": \"now\", \"arguments\": {}}] x", "{now|{}} x");
    expect(M, "Ok.[TOOL_CALLS]get_weather[ARGS]{\"city\": \"Rome\"}[TOOL_CALLS]now[CALL_ID]123456789[ARGS]{}", "Ok." CALLED "{now|{}}");
    expect(M, "[TOOL_CALLS]now{\"a\":1}", "{now|{\"a\":1}}");
    expect(M, "[" CALL "]", CALLED);
    expect(M, "[TOOL_CALLS]later[ARGS]{}", "[TOOL_CALLS]later[ARGS]{}");
    expect(M, "[1] says", "[1] says");
}

static void test_harmony(void **state) {
    (void)state;
    text_reply_format f = {.family = TEXT_REPLY_FAMILY_HARMONY, .thinks = true};
    const char *tail = "<|end|><|start|>assistant";
    expect_with(&f, tools, tail, "<|channel|>analysis<|message|>Hm.\n<|end|><|start|>assistant<|channel|>final<|message|>Yes.\n", "~Hm.\n~Yes.\n");
    expect_with(&f, tools, tail,
                "<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant<|channel|>commentary to=functions.get_weather <|constrain|>json<|message|>"
                "{\"city\": \"Rome\"}<|call|>",
                "~Hm.~" CALLED);
    /* a thought ends with its message, or where another one begins */
    expect_with(&f, tools, tail, "<|channel|>analysis<|message|>Hm.<|end|>Yes.", "~Hm.~Yes.");
    expect_with(&f, tools, tail, "<|channel|>analysis<|message|>Hm.<|channel|>final<|message|>Yes.<|return|>", "~Hm.~Yes.");
    expect_with(&f, tools, tail, "<|channel|>analysis<|message|>Hm.<|start|>assistant<|channel|>commentary<|message|>Yes.<|end|>", "~Hm.~Yes.");
    expect_with(&f, tools, tail, "<|channel|>analysis<|message|>Hm.<|return|>", "~Hm.~");
    expect_with(&f, tools, tail, "<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant<|channel|>analysis<|message|> So.<|end|>Yes", "~Hm. So.~Yes");
    expect_with(&f, tools, tail, " to=functions.now<|channel|>commentary json<|message|>{}", "{now|{}}");
    expect_with(&f, tools, tail, "<|channel|>commentary to=functions.now<|message|><|call|>", "{now|{}}");
    expect_with(&f, tools, tail, "<|channel|>commentary<|message|>I will look.<|end|><|start|>assistant<|channel|>commentary to=functions.now<|message|>{",
                "I will look.{now|{>");
    expect_with(&f, "", tail, "<|channel|>analysis<|message|>a < b", "~a < b~");
    expect_with(&f, tools, tail, "Hello <|x|>", "Hello <|x|>");
    expect_with(&f, tools, tail, "<|channel|>final<|mess", "<|channel|>final<|mess");
    expect_with(&f, tools, tail, "<|channel|>commentary to=functions.later<|message|>{}<|call|>",
                "<|channel|>commentary to=functions.later<|message|>{}");
    expect_with(&f, tools, "<|start|>assistant<|channel|>final<|message|>", "Hello", "Hello");
    expect_with(&f, tools, "<|start|>assistant<|channel|>analysis<|message|>", "Hm<|end|>", "~Hm~");
}

static void test_deepseek(void **state) {
    (void)state;
    const text_reply_family D = TEXT_REPLY_FAMILY_DEEPSEEK;
    expect(D, "<think>\nHm\n</think>\n\nOk.\n<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>get_weather\n```json\n{\"city\": \"Rome\"}\n```<｜tool▁call▁end｜>\n"
              "<｜tool▁call▁begin｜>function<｜tool▁sep｜>now\n```json\n{}\n```<｜tool▁call▁end｜><｜tool▁calls▁end｜>",
           "~Hm~Ok." CALLED "{now|{}}");
    expect(D, "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>now<｜tool▁sep｜>{}<｜tool▁call▁end｜><｜tool▁call▁begin｜>now<｜tool▁sep｜>{\"a\":1}<｜tool▁call▁end｜><｜tool▁calls▁end｜>.",
           "{now|{}}{now|{\"a\":1}}.");
    expect(D, "<｜tool▁call▁begin｜>function<｜tool▁sep｜>later\n```json\n{}", "<｜tool▁call▁begin｜>function<｜tool▁sep｜>later\n```json\n{}");
}

static void test_granite_and_generic(void **state) {
    (void)state;
    expect(TEXT_REPLY_FAMILY_GRANITE, "<|tool_call|>[" CALL ", {\"name\":\"now\",\"arguments\":{}}]", CALLED "{now|{}}");
    expect(TEXT_REPLY_FAMILY_GRANITE, "<tool_call>[" CALL "]", CALLED);
    expect(TEXT_REPLY_FAMILY_GENERIC, "{\"tool_call\": " CALL "}", CALLED);
    expect(TEXT_REPLY_FAMILY_GENERIC, " {\"tool_calls\": [" CALL ", " CALL "]}\n", CALLED CALLED);
    expect(TEXT_REPLY_FAMILY_GENERIC, "```json\n{\"tool_call\": " CALL "}\n```\nThere.", CALLED "There.");
    expect(TEXT_REPLY_FAMILY_GENERIC, "[" CALL "]", CALLED);
    expect(TEXT_REPLY_FAMILY_GENERIC, "{\"tool_call\": null}", "{\"tool_call\": null}");
    expect(TEXT_REPLY_FAMILY_GENERIC, "```json\n{\"a\": 1}\n```", "```json\n{\"a\": 1}\n```");
}

/* More than is held: it is content, and what comes after is seen. */
static void test_long(void **state) {
    (void)state;
    static char reply[3 * TEXT_REPLY_HELD_MAX];
    static line l, bytes;
    text_reply_format f = format_of(TEXT_REPLY_FAMILY_HERMES);
    size_t n = (size_t)snprintf(reply, sizeof reply, "<tool_call>{\"arguments\": {\"a\": \"");
    memset(reply + n, 'x', 5000);
    snprintf(reply + n + 5000, 200, "\"}, \"name\": \"now\"}</tool_call>\n<tool_call>" CALL "</tool_call>");
    parse(&f, str_of(tools), STR(""), str_of(reply), strlen(reply), 1, &l);
    parse(&f, str_of(tools), STR(""), str_of(reply), 0, 1, &bytes);
    assert_string_equal(l.text, bytes.text);
    assert_true(strlen(l.text) == strlen(reply) - strlen("\n<tool_call>" CALL "</tool_call>") + strlen(CALLED));
    /* arguments stream, however long; deeper than anyone reads they are closed */
    n = (size_t)snprintf(reply, sizeof reply, "<tool_call>{\"name\": \"now\", \"arguments\": {\"a\": \"");
    memset(reply + n, 'x', 9000);
    snprintf(reply + n + 9000, 200, "\"}}</tool_call>");
    parse(&f, str_of(tools), STR(""), str_of(reply), 0, 7, &l);
    assert_true(strlen(l.text) == 9000 + strlen("{now|{\"a\": \"\"}}"));
    n = (size_t)snprintf(reply, sizeof reply, "<tool_call>{\"name\": \"now\", \"arguments\": {\"a\": ");
    memset(reply + n, '[', 100);
    reply[n + 100] = 0;
    parse(&f, str_of(tools), STR(""), str_of(reply), 0, 7, &l);
    assert_int_equal(strlen(l.text), strlen("{now|{\"a\": !>") + 100);
    /* a run of newlines */
    memset(reply, '\n', 6000);
    snprintf(reply + 6000, 100, "x");
    parse(&f, str_of(tools), STR(""), str_of(reply), 0, 7, &l);
    assert_int_equal(l.len, 6001);
}

/* Pieces end where characters do. */
typedef struct pieces {
    size_t n, bytes;
} pieces;

static void on_piece(void *ctx, const text_reply_event *ev) {
    pieces *p = ctx;
    assert_true(utf8_valid(ev->text));
    p->n++;
    p->bytes += ev->text.len;
}

static void test_pieces(void **state) {
    (void)state;
    static text_reply r;
    static char text[3001];
    text_reply_format f = format_of(TEXT_REPLY_FAMILY_HERMES);
    pieces p = {0};
    for (size_t at = 0; at < 3000; at += 3) memcpy(text + at, "€", 4);
    text_reply_init(&r, &f, index_of(str_of(tools)), STR(""));
    text_reply_feed(&r, STR("a"), on_piece, &p);
    assert_int_equal(p.n, 1); /* at once */
    text_reply_feed(&r, str_of(text), on_piece, &p);
    assert_int_equal(p.bytes, 3001);
    text_reply_feed(&r, STR("b\n"), on_piece, &p);
    assert_int_equal(p.bytes, 3002);
    text_reply_feed(&r, STR("<tool_call>{\"name\":\"now\",\"arguments\":{\"a"), on_piece, &p);
    assert_int_equal(p.bytes, 3002 + strlen("now") + strlen("{\"a"));
    text_reply_finish(&r, on_piece, &p);
}

static void test_formats(void **state) {
    (void)state;
    static const struct {
        const char *source;
        text_reply_family family;
        bool thinks, lists_tools, newer;
    } cases[] = {
        {"", TEXT_REPLY_FAMILY_GENERIC, false, false, false},
        {"{% for m in messages %}<|im_start|>{% endfor %}", TEXT_REPLY_FAMILY_GENERIC, false, false, false},
        {"{%- if tools %}<tool_call>\\n<think>", TEXT_REPLY_FAMILY_HERMES, true, true, false},
        {"{%- if tools -%}<tool_call>\\n<function=x>\\n<parameter=y>", TEXT_REPLY_FAMILY_QWEN_XML, false, true, false},
        {"{% for tool in tools %}<tool_call>{f}\\n<arg_key>", TEXT_REPLY_FAMILY_GLM, false, true, false},
        {"{%- if tools is not none %}[TOOL_CALLS]", TEXT_REPLY_FAMILY_MISTRAL, false, true, false},
        {"{%- if tools is not none %}[TOOL_CALLS]x[ARGS]", TEXT_REPLY_FAMILY_MISTRAL, false, true, true},
        {"<|channel|>", TEXT_REPLY_FAMILY_HARMONY, true, false, false},
        {"message['tool_calls']<｜tool▁calls▁begin｜>```json</think>", TEXT_REPLY_FAMILY_DEEPSEEK, true, false, false},
        {"<｜tool▁calls▁begin｜>", TEXT_REPLY_FAMILY_DEEPSEEK, false, false, true},
        {"{%- if not tools %} <|python_tag|> <function=", TEXT_REPLY_FAMILY_LLAMA_JSON, false, true, false},
        {"with <|tool_call|> {% if tools and x %}", TEXT_REPLY_FAMILY_GRANITE, false, true, false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        text_reply_format f;
        text_reply_format_of(str_of(cases[i].source), &f);
        bool same = f.family == cases[i].family && f.thinks == cases[i].thinks && f.lists_tools == cases[i].lists_tools &&
                    f.newer == cases[i].newer;
        if (!same) fail_msg("%s: %d %d %d %d", cases[i].source, f.family, f.thinks, f.lists_tools, f.newer);
    }
}

static void test_words(void **state) {
    (void)state;
    text_reply_format f = format_of(TEXT_REPLY_FAMILY_MISTRAL), plain = {.family = TEXT_REPLY_FAMILY_PLAIN};
    assert_true(text_reply_is_word(&f, STR("[TOOL_CALLS]")) && text_reply_is_word(&f, STR("[ARGS]")));
    assert_true(text_reply_is_word(&f, STR("</think>")));
    assert_false(text_reply_is_word(&f, STR("<s>")) || text_reply_is_word(&f, STR("<|channel|>")) || text_reply_is_word(&f, STR("")));
    f = format_of(TEXT_REPLY_FAMILY_HARMONY);
    assert_true(text_reply_is_word(&f, STR("<|channel|>")));
    assert_false(text_reply_is_word(&plain, STR("<tool_call>")) || text_reply_is_word(&plain, STR("")));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_hermes), cmocka_unit_test(test_json_is_mended), cmocka_unit_test(test_thinking),
        cmocka_unit_test(test_calls_that_break_off), cmocka_unit_test(test_calls_in_thoughts),
        cmocka_unit_test(test_without_tools), cmocka_unit_test(test_qwen_xml), cmocka_unit_test(test_newlines_of_values), cmocka_unit_test(test_glm),
        cmocka_unit_test(test_llama), cmocka_unit_test(test_mistral), cmocka_unit_test(test_harmony),
        cmocka_unit_test(test_deepseek), cmocka_unit_test(test_granite_and_generic), cmocka_unit_test(test_long),
        cmocka_unit_test(test_arguments_that_are_no_json), cmocka_unit_test(test_work),
        cmocka_unit_test(test_pieces), cmocka_unit_test(test_formats), cmocka_unit_test(test_words),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
