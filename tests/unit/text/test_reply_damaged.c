/* Replies as models damage them. First by hand: what each slip gives. Then every family's call with each of its bytes left out, written
 * twice or the last: whatever comes of it, no byte is invented, no tag is left of a call, and how the text is cut does
 * not show. What is no call keeps both of its tags. */
#include "../test.h"

#include <stdio.h>

#include "text/reply/reply.h"

static const char tools[] =
    "[{\"type\":\"function\",\"function\":{\"name\":\"get_weather\",\"parameters\":{\"type\":\"object\",\"properties\":{"
    "\"city\":{\"type\":\"string\"},\"days\":{\"type\":\"integer\"},\"tags\":{\"type\":\"array\"}}}}},"
    "{\"type\":\"function\",\"function\":{\"name\":\"now\"}}]";

enum { HERMES = TEXT_REPLY_FAMILY_HERMES, QWEN = TEXT_REPLY_FAMILY_QWEN_XML, LLAMA = TEXT_REPLY_FAMILY_LLAMA_JSON,
       MISTRAL = TEXT_REPLY_FAMILY_MISTRAL, HARMONY = TEXT_REPLY_FAMILY_HARMONY, DEEPSEEK = TEXT_REPLY_FAMILY_DEEPSEEK,
       GENERIC = TEXT_REPLY_FAMILY_GENERIC, GRANITE = TEXT_REPLY_FAMILY_GRANITE, GLM = TEXT_REPLY_FAMILY_GLM };

/* Content as it is, ~reasoning~, {name|arguments}; ! before the bracket: no JSON; > for it: cut. */
typedef struct line {
    char text[4096], content[4096], arguments[4096];
    size_t len, content_len, arguments_len, called_at; /* of the content: before the first call */
    bool thinking;
    uint32_t calls;
} line;

static void add(char *to, size_t *len, str s) {
    assert_true(*len + s.len < 4095);
    if (s.len) memcpy(to + *len, s.data, s.len);
    to[*len += s.len] = 0;
}

static void on_event(void *ctx, const text_reply_event *ev) {
    line *l = ctx;
    bool thinks = ev->kind == TEXT_REPLY_REASONING, calls = ev->kind == TEXT_REPLY_CALL;
    if (thinks != l->thinking) add(l->text, &l->len, STR("~"));
    l->thinking = thinks;
    if (calls && !l->calls++) l->called_at = l->content_len;
    if (calls) add(l->text, &l->len, STR("{"));
    add(l->text, &l->len, ev->text);
    if (calls) add(l->text, &l->len, STR("|"));
    if (ev->kind == TEXT_REPLY_CONTENT) add(l->content, &l->content_len, ev->text);
    if (ev->kind == TEXT_REPLY_ARGUMENTS) add(l->arguments, &l->arguments_len, ev->text);
    if (ev->kind != TEXT_REPLY_CALL_END) return;
    if (ev->broken) add(l->text, &l->len, STR("!"));
    add(l->text, &l->len, ev->cut ? STR(">") : STR("}"));
    add(l->arguments, &l->arguments_len, STR("\x01"));
}

static text_reply_format format_of(int family) {
    bool words = family != HARMONY;
    return (text_reply_format){.family = (text_reply_family)family, .thinks = true, .think_open = words ? STR("<think>") : STR(""),
                               .think_close = words ? STR("</think>") : STR("")};
}

/* piece: bytes that come at once. */
static void parse(int family, str reply, size_t piece, line *l) {
    static text_reply r;
    static text_reply_tools t;
    static char memory[1024];
    text_reply_format f = format_of(family);
    assert_true(text_reply_tools_bytes(str_of(tools)) <= sizeof memory);
    text_reply_tools_init(&t, str_of(tools), memory);
    memset(l, 0, sizeof *l);
    text_reply_init(&r, &f, &t, family == HARMONY ? STR("<|start|>assistant") : STR(""));
    text_work = 0;
    for (size_t at = 0; at < reply.len; at += piece)
        text_reply_feed(&r, (str){reply.data + at, reply.len - at < piece ? reply.len - at : piece}, on_event, l);
    text_reply_finish(&r, on_event, l);
    if (l->thinking) add(l->text, &l->len, STR("~"));
    assert_true(text_work <= 64 * (reply.len + 1024));
}

static void expect(int family, const char *reply, const char *wanted) {
    static line l;
    for (size_t piece = 1; piece <= strlen(reply) + 1; piece += piece < 4 ? 1 : strlen(reply) / 3 + 1) {
        parse(family, str_of(reply), piece, &l);
        if (strcmp(l.text, wanted)) fail_msg("of   %s\nnot  %s\nbut  %s (%zu bytes at once)", reply, wanted, l.text, piece);
    }
}

#define HEAD "{\"name\": \"get_weather\", \"arguments\": "
#define CALL HEAD "{\"city\": \"Rome\"}}"
#define CALLED "{get_weather|{\"city\": \"Rome\"}}"

static void test_brackets(void **state) {
    (void)state;
    static const char *const once[] = {
        "<tool_call>\n" HEAD "{\"city\": \"Rome\"}\n</tool_call> so", "<tool_call>\n" CALL "}\n</tool_call> so",
        "<tool_call>\n" CALL "}}]\n</tool_call> so", "<tool_call>\n{" CALL "}\n</tool_call> so", "<tool_call>{" CALL "</tool_call> so",
        "<tool_call>\n[" CALL "\n</tool_call> so", "<tool_call>\n[" HEAD "{\"city\": \"Rome\"}]\n</tool_call> so",
        "<tool_call>\n" CALL ",\n</tool_call> so", "<tool_call>\n" HEAD "{\"city\": \"Rome\"},}\n</tool_call> so",
        "<tool_call>\n[" CALL ",]\n</tool_call> so", "<tool_call>\n\"name\": \"get_weather\", \"arguments\": {\"city\": \"Rome\"}}\n</tool_call> so",
        "<tool_call>\n" CALL "</tool_call>\n</tool_call> so", "<tool_call>\n\n<tool_call>\n" CALL "\n\n</tool_call> so", CALL "} so", CALL "\n</tool_call> so",
        "<tool_call>{\"arguments\": {\"city\": \"Rome\"}, \"name\": \"get_weather\"\n</tool_call> so",
    };
    for (size_t i = 0; i < sizeof once / sizeof *once; i++) expect(HERMES, once[i], CALLED " so");
    expect(HERMES, "<tool_call>\n" HEAD "{\"city\": \"Rome\"}\n</tool_call>\n<tool_call>\n" HEAD "{\"city\": \"Rome\"}\n</tool_call>", CALLED CALLED);
    expect(HERMES, "<tool_call>\n" CALL "}<tool_call>" CALL, CALLED CALLED);
    expect(HERMES, "<tool_call>[" CALL " " CALL "</tool_call>", CALLED CALLED);
    expect(HERMES, "<tool_call>{\"name\": \"now\"</tool_call>", "{now|{}}");
    expect(HERMES, "<tool_call>" CALL "<tool_call>", CALLED);
    expect(HERMES, "<tool_call>" CALL "\n<tool_call>\n{\"name\": \"no", CALLED);
    expect(HERMES, "<tool_call>\n" HEAD "{\"city\": [1}}\n</tool_call> so", "{get_weather|{\"city\": [1}}!} so");
    expect(GRANITE, "<|tool_call|>[" CALL, CALLED);
    expect(MISTRAL, "[TOOL_CALLS][" CALL "}][/TOOL_CALLS]", CALLED);
    expect(MISTRAL, "[TOOL_CALLS]get_weather[ARGS]{\"city\": \"Rome\"}}", CALLED);
    expect(LLAMA, "{\"name\": \"get_weather\", \"parameters\": {\"city\": \"Rome\"}}}; " CALL "}", CALLED CALLED);
    /* a string that is never ended swallows no other call */
    expect(HERMES, "<tool_call>\n" HEAD "{\"city\": \"Rome}}\n</tool_call>\n<tool_call>\n" CALL "\n</tool_call>", "{get_weather|{\"city\": \"Rome}}!}" CALLED);
    expect(HERMES, "<tool_call>\n" HEAD "{\"city\": \"Rome}}\n</tool_call>\n", "{get_weather|{\"city\": \"Rome}}!}");
    expect(HERMES, "<tool_call>\n" HEAD "{\"city\": \"a\n</tool_call> b\"}}\n</tool_call>", "{get_weather|{\"city\": \"a\\n</tool_call> b\"}}");
    /* what is no call stays as it is, with its tags */
    const char *other = "<tool_call>{\"name\": \"other\", \"arguments\": {}}</tool_call>";
    char reply[256], wanted[256];
    snprintf(reply, sizeof reply, "<tool_call>%s</tool_call>\n%s", CALL, other);
    snprintf(wanted, sizeof wanted, "%s%s", CALLED, other);
    expect(HERMES, reply, wanted);
}

/* Arguments that are the text of a string: as OpenAI has them, and some models after it. */
static void test_quoted(void **state) {
    (void)state;
#define QUOTED(text) "<tool_call>{\"name\": \"get_weather\", \"arguments\": " text "}</tool_call> so"
    expect(HERMES, QUOTED("\"{\\\"city\\\": \\\"Rome\\\"}\""), CALLED " so");
    expect(HERMES, QUOTED("\"\\n {\\\"city\\\": \\\"Rome\\\"}\\n \""), CALLED " so");
    expect(HERMES, QUOTED("\"{\"city\": \"Rome\"}\""), CALLED " so");
    expect(HERMES, QUOTED("\"{\\\"city\\\": \\\"Rome\"}"), CALLED " so");
    expect(HERMES, QUOTED("\"\""), "{get_weather|{}} so");
    expect(HERMES, QUOTED("\"{\\\"city\\\": \\\"\\u00e9\\ud83d\\ude00\\\\n\\\\\\\"\\/\\\"}\""), "{get_weather|{\"city\": \"é😀\\n\\\"/\"}} so");
    expect(HERMES, QUOTED("\"{\\\"city\\\": oops}\""), "{get_weather|{\"city\": oops}!} so");
    expect(HERMES, QUOTED("\"{\\\"days\\\": 1\""), "{get_weather|{\"days\": 1!} so");
    expect(HERMES, "<tool_call>{\"arguments\": \"{\\\"city\\\": \\\"Rome\\\"}\", \"name\": \"get_weather\"}</tool_call> so", CALLED " so");
    expect(HERMES, "<tool_call>{\"name\": \"get_weather\", \"arguments\": \"{\\\"city\\\": \\\"Ro", "{get_weather|{\"city\": \"Ro>");
    expect(HERMES, "<tool_call>{\"name\": \"get_weather\", \"arguments\": \"{\\\"city\\\": \\", "{get_weather|{\"city\": \\!>");
    expect(HERMES, QUOTED("\"Rome\""), QUOTED("\"Rome\""));
    expect(HERMES, "<think>x<tool_call>{\"name\": \"get_weather\", \"arguments\": \"{\\\"city\\\": \\\"Rome\\\"}\"}</tool_call>", "~x~" CALLED);
    expect(LLAMA, "{\"name\": \"get_weather\", \"parameters\": \"{\\\"city\\\": \\\"Rome\\\"}\"}; " CALL, CALLED CALLED);
    expect(GENERIC, "{\"tool_calls\": [{\"id\": \"1\", \"type\": \"function\", \"function\": {\"name\": \"get_weather\", \"arguments\": \"{\\\"city\\\": \\\"Rome\\\"}\"}}]}", CALLED);
}

static void test_names_and_fences(void **state) {
    (void)state;
    static const char *const keys[] = {"parameters", "args", "input", "params", "tool_input"};
    char reply[256];
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        snprintf(reply, sizeof reply, "<tool_call>{\"name\": \"get_weather\", \"%s\": {\"city\": \"Rome\"}}</tool_call> so", keys[i]);
        expect(HERMES, reply, CALLED " so");
    }
    static const char *const once[] = {
        "```json\n" CALL "\n```\nso", "```\n" CALL "\n```\nso", "```tool_call\n" CALL "\n```\nso", "```json\n<tool_call>\n" CALL "\n</tool_call>\n```\nso",
        "<tool_call>\n```json\n" CALL "\n```\n</tool_call>\nso", "```xml\n<tool_call>\n\n" CALL "\n\n</tool_call>\n\n```\nso",
        "<tool_call>\n<function=get_weather>\n<parameter=city>\nRome\n</parameter>\n</function>\n</tool_call>\nso",
        "<function=get_weather>{\"city\": \"Rome\"}</function>\nso", "<tool_call><function=get_weather>{\"city\": \"Rome\"}</function></tool_call>\nso",
    };
    for (size_t i = 0; i < sizeof once / sizeof *once; i++) {
        expect(HERMES, once[i], CALLED "so");
        expect(QWEN, once[i], CALLED "so");
        expect(GENERIC, once[i], CALLED "so");
    }
    expect(HERMES, "I look:\n```json\n" CALL "\n```", "I look:" CALLED);
    expect(HERMES, "```json\n" CALL "\n```\n\n```json\n" CALL "\n```\n```c\nx\n```", CALLED CALLED "```c\nx\n```");
    expect(HERMES, CALL "\n\n```c\nx\n```", CALLED "```c\nx\n```");
    expect(HERMES, "I look: ```json\n" CALL "\n```", "I look: ```json\n" CALL "\n```");
    expect(HERMES, "```json\n{\"name\": \"package\", \"version\": 1}\n```", "```json\n{\"name\": \"package\", \"version\": 1}\n```");
    expect(HERMES, "a\n```\n```\nb", "a\n```\n```\nb");
    /* whatever a model was taught, where its template does not say */
    expect(GENERIC, "[TOOL_CALLS][" CALL "]", CALLED);
    expect(GENERIC, "[TOOL_CALLS]get_weather[ARGS]{\"city\": \"Rome\"}", CALLED);
    expect(GENERIC, "<|python_tag|>{\"name\": \"get_weather\", \"parameters\": {\"city\": \"Rome\"}}", CALLED);
    expect(LLAMA, "<|python_tag|>```json\n" CALL "\n```", CALLED);
}

static void test_tags(void **state) {
    (void)state;
#define TAGGED(members) "<tool_call>\n<function=get_weather>\n" members
#define CITY "<parameter=city>\nRome\n"
#define DAYS "<parameter=days>\n3\n"
    const char *both = "{get_weather|{\"city\": \"Rome\", \"days\": 3}} so";
    expect(QWEN, TAGGED(CITY DAYS "</parameter>\n</function>\n</tool_call> so"), both);
    expect(QWEN, TAGGED(CITY "</parameter>\n" DAYS "</function>\n</tool_call> so"), both);
    expect(QWEN, TAGGED(CITY "</parameter>\n" DAYS "</parameter>\n</tool_call> so"), both);
    expect(QWEN, TAGGED(CITY "</parameter>\n</parameter>\n" DAYS "</parameter>\n</function>\n</function>\n</tool_call>\n</tool_call> so"), both);
    expect(QWEN, TAGGED(CITY "</function>\n</tool_call> so"), CALLED " so");
    expect(QWEN, TAGGED(CITY "</tool_call>\n"), CALLED);
    expect(QWEN, TAGGED(CITY "</tool_call>\n" "<tool_call>\n<function=now>\n</tool_call>"), CALLED "{now|{}}");
    expect(QWEN, TAGGED(CITY "</function>\n<function=now>\n</function>\n</tool_call>"), CALLED "{now|{}}");
    expect(QWEN, TAGGED(CITY "</parameter>\n<tool_call>\n<function=now>\n</function>"), CALLED "{now|{}}");
    expect(QWEN, "<tool_call>\n<function=get_weather\n<parameter=city\nRome\n</parameter>\n</function>", CALLED);
    expect(QWEN, TAGGED("<parameter=a<b>\nx\n</parameter>\n</function>"), "{get_weather|{\"a<b\": \"x\"}}");
    expect(QWEN, TAGGED("<parameter=tags>\n[\"a\"\n</parameter>\n</function>"), "{get_weather|{\"tags\": \"[\\\"a\\\"\"}}");
    expect(QWEN, TAGGED("<parameter=tags>\n[\"a\"]\n" DAYS "</function>"), "{get_weather|{\"tags\": [\"a\"], \"days\": 3}}");
    /* a text may speak of tags */
    expect(QWEN, TAGGED("<parameter=city>\na </function> b </tool_call> c <parameter=other>\nd</parameter>\n</function>"),
           "{get_weather|{\"city\": \"a </function> b </tool_call> c <parameter=other>\\nd\"}}");
#define KEY(name) "<arg_key>" name "</arg_key>\n"
    expect(GLM, "<tool_call>get_weather\n" KEY("city") "<arg_value>Rome\n" KEY("days") "<arg_value>3</arg_value>\n</tool_call> so", both);
    expect(GLM, "<tool_call>get_weather\n" KEY("city") "<arg_value>Rome</arg_value>\n" KEY("days") "<arg_value>3\n</tool_call>", "{get_weather|{\"city\": \"Rome\", \"days\": 3}}");
    expect(GLM, "<tool_call>get_weather\n<arg_key>city\n<arg_value>Rome</arg_value>\n</tool_call></tool_call> so", CALLED " so");
    expect(GLM, "<tool_call>get_weather\n" KEY("city") "Rome</arg_value>\n</tool_call> so", CALLED " so");
    expect(GLM, "<tool_call>get_weather\n" KEY("city") "<arg_value>Rome</arg_value>\n<tool_call>now</tool_call> so", CALLED "{now|{}} so");
    /* a key without a value, of which none is invented */
    expect(GLM, "<tool_call>get_weather\n" KEY("city") "</tool_call> so", "{get_weather|{\"city\": }!} so");
    expect(GLM, "<tool_call>get_weather\n<arg_key>city\n</tool_call> so", "{get_weather|{\"city\": }!} so");
    expect(GLM, "<tool_call>get_weather\n" KEY("days") KEY("city") "<arg_value>Rome</arg_value>\n</tool_call> so", "{get_weather|{\"days\": , \"city\": \"Rome\"}!} so");
    expect(GLM, "<tool_call>get_weather\n" KEY("city") "</tool_call>\n<tool_call>now</tool_call>", "{get_weather|{\"city\": }!}{now|{}}");
    expect(GLM, "<tool_call>get_weather\n" KEY("city") "</tool_", "{get_weather|{\"city\": !>");
    static char padded[8192];
    static line l;
    for (int n = TEXT_REPLY_HELD_MAX - 64; n <= TEXT_REPLY_HELD_MAX; n++) { /* whatever the window is full of */
        snprintf(padded, sizeof padded, "<tool_call>get_weather\n" KEY("city") "%*s</tool_call> so", n, "");
        parse(GLM, str_of(padded), 128, &l);
    }
    expect(GLM, "<tool_call>get_weather\n" KEY("city") "<arg_value></arg_value></tool_call> so", "{get_weather|{\"city\": \"\"}} so");
    expect(GLM, "<tool_call>get_weather\n{\"city\": \"Rome\"}\n</tool_call> so", CALLED " so");
    expect(GLM, "<tool_call>get_weather\n" KEY("city") "<arg_value>a </tool_call> b</arg_value>\n</tool_call>", "{get_weather|{\"city\": \"a </tool_call> b\"}}");
}

/* ---- every byte ---- */

static const struct {
    int family;
    const char *reply;
    const char *tags[3]; /* that close calls */
} samples[] = {
    {HERMES, "<think>\nHm\n</think>\n\nOk.\n<tool_call>\n" CALL "\n</tool_call>\n<tool_call>\n{\"name\": \"now\", \"arguments\": {}}\n</tool_call>", {"</tool_call>"}},
    {HERMES, "<think>\nHm\n<tool_call>\n" CALL "\n</tool_call>", {"</tool_call>"}},
    {HERMES, "<tool_call>\n```json\n[" CALL ", " CALL "]\n```\n</tool_call>", {"</tool_call>"}},
    {HERMES, "<tool_call>{\"name\": \"get_weather\", \"arguments\": \"{'city': 1}\"}</tool_call>", {"</tool_call>"}},
    {QWEN, TAGGED(CITY "</parameter>\n" DAYS "</parameter>\n<parameter=tags>\n[\"a\", 1]\n</parameter>\n</function>\n</tool_call>"), {"</tool_call>"}},
    {LLAMA, "{\"name\": \"get_weather\", \"parameters\": {\"city\": \"Rome\"}}; {\"name\": \"now\", \"parameters\": {}}", {"</function>"}},
    {LLAMA, "<|python_tag|>{\"name\": \"get_weather\", \"parameters\": {\"city\": \"Rome\"}}", {"</function>"}},
    {LLAMA, "<|python_tag|>get_weather.call(city=\"Rome\", days=3)", {"</function>"}},
    {MISTRAL, "Ok.[TOOL_CALLS][{\"name\": \"get_weather\", \"arguments\": {\"city\": \"Rome\"}, \"id\": \"abcdefghi\"}]", {"[/TOOL_CALLS]"}},
    {MISTRAL, "[TOOL_CALLS]get_weather[ARGS]{\"city\": \"Rome\"}[TOOL_CALLS]now[ARGS]{}", {"[/TOOL_CALLS]"}},
    {HARMONY, "<|channel|>analysis<|message|>Hm<|end|><|start|>assistant<|channel|>commentary to=functions.get_weather <|constrain|>json<|message|>{\"city\": \"Rome\"}<|call|>",
     {"<|call|>"}},
    {DEEPSEEK, "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>get_weather\n```json\n{\"city\": \"Rome\"}\n```<｜tool▁call▁end｜><｜tool▁calls▁end｜>",
     {"<｜tool▁call▁end｜>", "<｜tool▁calls▁end｜>"}},
    {GENERIC, "{\"tool_call\": " CALL "}", {"</tool_call>"}},
    {GENERIC, "```json\n{\"tool_calls\": [" CALL ", " CALL "]}\n```", {"</tool_call>"}},
    {GRANITE, "<|tool_call|>[" CALL ", " CALL "]", {"</tool_call>"}},
    {GLM, "<tool_call>get_weather\n" KEY("city") "<arg_value>Rome</arg_value>\n" KEY("days") "<arg_value>3</arg_value>\n</tool_call>", {"</tool_call>"}},
};

/* Each argument text, of calls in JSON, and each string, of calls in tags, stands in the reply, with its newlines or those
 * as a string has them. */
static bool is_said(int family, char *arguments, const char *reply) {
    char escaped[2048], *rest = arguments, *to = escaped;
    const char *ends = family == QWEN || family == GLM || strstr(reply, ".call") ? "\"{}[]:,\\\n\x01" : "\x01";
    for (const char *from = reply; *from; from++) {
        if (*from == '\n') *to++ = '\\';
        *to++ = *from == '\n' ? 'n' : *from;
    }
    *to = 0;
    for (const char *part = strtok_r(arguments, ends, &rest); part; part = strtok_r(NULL, ends, &rest)) {
        part += *part == ' '; /* behind a colon */
        bool ours = !strcmp(part, "{}") || !*part;
        if (!ours && !strstr(reply, part) && !strstr(escaped, part)) return false;
    }
    return true;
}

static void check(int family, const char *const *tags, const char *reply) {
    static line whole, pieces;
    parse(family, str_of(reply), strlen(reply) + 1, &whole);
    for (size_t piece = 1; piece < 12; piece += 5) {
        parse(family, str_of(reply), piece, &pieces);
        if (strcmp(whole.text, pieces.text)) fail_msg("of       %s\nat once  %s\nin parts %s (%zu)", reply, whole.text, pieces.text, piece);
    }
    for (size_t i = 0; tags && whole.calls && i < 3 && tags[i]; i++)
        if (strstr(whole.content + whole.called_at, tags[i]) && !strstr(whole.content + whole.called_at, "<tool_call>")) fail_msg("of  %s\nleft %s in %s", reply, tags[i], whole.text);
    if (tags && !is_said(family, whole.arguments, reply)) fail_msg("of  %s\nnobody said %s", reply, whole.text);
}

static void test_every_byte(void **state) {
    (void)state;
    char reply[1024];
    for (size_t i = 0; i < sizeof samples / sizeof *samples; i++) {
        const char *good = samples[i].reply;
        size_t len = strlen(good);
        for (size_t at = 0; at < len; at++) {
            snprintf(reply, sizeof reply, "%.*s", (int)at, good);
            check(samples[i].family, samples[i].tags, reply);
            snprintf(reply, sizeof reply, "%.*s%s", (int)at, good, good + at + 1);
            check(samples[i].family, samples[i].tags, reply);
            snprintf(reply, sizeof reply, "%.*s%c%s", (int)at, good, good[at], good + at);
            check(samples[i].family, samples[i].tags, reply);
            snprintf(reply, sizeof reply, "%.*s%.30s%s", (int)at, good, good + at, good + at);
            check(samples[i].family, NULL, reply);
        }
    }
}

/* A reply that breaks off between two calls, or in what the second begins with: none of it is content, and the first
 * is as it was. */
static void test_half_of_the_next_call(void **state) {
    (void)state;
#define PARAMETERS "{\"name\": \"get_weather\", \"parameters\": {\"city\": \"Rome\"}}"
#define HARMONY_CALL "<|channel|>commentary to=functions.get_weather <|constrain|>json<|message|>{\"city\": \"Rome\"}<|call|>"
#define DEEPSEEK_CALL "<｜tool▁call▁begin｜>function<｜tool▁sep｜>get_weather\n```json\n{\"city\": \"Rome\"}\n```<｜tool▁call▁end｜>"
#define GLM_CALL "<tool_call>get_weather\n" KEY("city") "<arg_value>Rome</arg_value>\n</tool_call>"
    static const struct {
        int family;
        const char *first, *second;
    } cases[] = {
        {MISTRAL, "[TOOL_CALLS][" CALL, ", " CALL "]"},
        {MISTRAL, "[TOOL_CALLS][{\"name\": \"get_weather\", \"arguments\": {\"city\": \"Rome\"}", ", \"id\": \"abcdefghi\"}, " CALL "]"},
        {MISTRAL, "[TOOL_CALLS]get_weather[ARGS]{\"city\": \"Rome\"}", "[TOOL_CALLS]now[CALL_ID]abcdefghi[ARGS]{}"},
        {GRANITE, "<|tool_call|>[" CALL, ", " CALL "]"},
        {HERMES, "<tool_call>\n" CALL, "\n</tool_call>\n<tool_call>\n" CALL "\n</tool_call>"},
        {HERMES, "<tool_call>\n" CALL, "\n" CALL "\n</tool_call>"},
        {HERMES, "```json\n[" CALL, ", " CALL "]\n```\n```json\n" CALL "\n```"},
        {HERMES, CALL, "\n[" CALL "]"},
        {QWEN, TAGGED(CITY "</parameter>\n</function>"), "\n</tool_call>\n<tool_call>\n<function=get_weather>\n<parameter=city>\n</parameter>\n</function>"},
        {LLAMA, PARAMETERS, "; " PARAMETERS},
        {LLAMA, "<|python_tag|>" PARAMETERS, "<|python_tag|>" PARAMETERS},
        {HARMONY, HARMONY_CALL, "<|start|>assistant" HARMONY_CALL},
        {DEEPSEEK, "<｜tool▁calls▁begin｜>" DEEPSEEK_CALL, "\n" DEEPSEEK_CALL "<｜tool▁calls▁end｜>"},
        {GENERIC, "{\"tool_calls\": [" CALL, ", " CALL "]}"},
        {GLM, GLM_CALL, "\n" GLM_CALL},
    };
    expect(HARMONY, "<|channel|>analysis<|message|>Hm<|end|><|start|>assistant<|channel|>fin", "~Hm~");
    /* what is no call after all, and what says something before it */
    expect(HERMES, "<tool_call>\n" CALL "\n</tool_call>\n{\"answer\": \"half", CALLED "{\"answer\": \"half");
    expect(HERMES, "<tool_call>\n" CALL "\n</tool_call>\nSo <", CALLED "So <");
    expect(MISTRAL, "[TOOL_CALLS][{\"na", "[TOOL_CALLS][{\"na");
    char reply[1024];
    static line l;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        for (size_t n = 0; n <= strlen(cases[i].second); n++) {
            snprintf(reply, sizeof reply, "%s%.*s", cases[i].first, (int)n, cases[i].second);
            for (size_t piece = 1; piece <= 1024; piece += 1023) {
                parse(cases[i].family, str_of(reply), piece, &l);
                bool kept = str_starts(str_of(l.text), str_of(CALLED));
                if (l.content_len || !kept) fail_msg("of   %s\nbut  %s (%zu bytes at once)", reply, l.text, piece);
            }
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_brackets), cmocka_unit_test(test_quoted), cmocka_unit_test(test_names_and_fences),
        cmocka_unit_test(test_tags), cmocka_unit_test(test_every_byte),
        cmocka_unit_test(test_half_of_the_next_call),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
