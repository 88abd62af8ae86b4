// links: text
/* The first bytes choose the family, the prompt's end and how the text is cut; the rest is a reply, in which a byte may
 * stand for one of the words that families use. Whole and in pieces it must say the same; a call's arguments must
 * be JSON; without tools nothing is lost. The grammar of its tools is text, whatever the tools are. */
#include <stdio.h>
#include <stdlib.h>

#include "base/check.h"
#include "base/json.h"
#include "text/reply/reply.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void *heap_resize(void *ctx, void *p, size_t old_bytes, size_t new_bytes) {
    (void)ctx, (void)old_bytes;
    if (new_bytes) return realloc(p, new_bytes);
    free(p);
    return NULL;
}

static const base_alloc heap = {heap_resize, NULL};

static const char tools[] =
    "[{\"type\":\"function\",\"function\":{\"name\":\"a\",\"parameters\":{\"properties\":{\"s\":{\"type\":\"string\"},"
    "\"n\":{\"type\":\"number\"},\"l\":{\"type\":\"array\"},\"x\":{\"type\":[\"object\",\"null\",\"boolean\"]}}}}},"
    "{\"function\":{\"name\":\"b\"}}]";

static const char *const words[] = {
    "<tool_call>", "</tool_call>", "{\"name\":\"a\",\"arguments\":{", "{\"name\": \"b\"", "\"arguments\":{", "\"parameters\":{}",
    "<function=a>", "<function=b>", "<parameter=s>\n", "<parameter=n>", "<parameter=l>", "<parameter=x>", "\n</parameter>",
    "</function>", "<arg_key>s</arg_key>", "<arg_value>", "</arg_value>", "<|python_tag|>", "[TOOL_CALLS]", "a[ARGS]{",
    "<think>", "</think>", "<|channel|>", "<|message|>", "<|start|>assistant", "<|end|>", "commentary to=functions.a", "analysis",
    "<｜tool▁calls▁begin｜>", "<｜tool▁call▁begin｜>", "<｜tool▁sep｜>", "<｜tool▁call▁end｜>", "a\n```json\n{", "\n```", "{\"tool_call\":",
    "{\"tool_calls\":[", "\\ud83d", "\\ude00", "[{", "}]", "\"}}", "<|tool_call|>", "true", "1e",
    "```json\n", "\"arguments\":\"{", "\\\"n\\\":", "}\"", "<function=a>{", "a.call(", "b.call()", "s=\"", "\", l=", "n='1')", "\n</tool_call>\n<tool_call>", ",", "\"}",
};

enum { TEXT_MAX = 1 << 14, WORDS = sizeof words / sizeof *words };

typedef struct said {
    char bytes[4 * TEXT_MAX];
    size_t len;
    char arguments[4 * TEXT_MAX];
    size_t n_arguments;
    text_reply_kind kind;
    uint32_t calls;
    bool in_call;
} said;

static void say(said *s, str text) {
    CHECK(s->len + text.len <= sizeof s->bytes);
    memcpy(s->bytes + s->len, text.data, text.len);
    s->len += text.len;
}

static bool ignore(void *ctx, const json_event *ev, err *e) {
    (void)ctx, (void)ev, (void)e;
    return true;
}

/* One object; figures that no double holds and bytes that are no text are the model's own. */
static void check_arguments(const said *s, bool cut, bool broken) {
    str text = {s->arguments, s->n_arguments};
    err e;
    CHECK(text.len >= 1 + !(cut || broken) && text.data[0] == '{');
    bool whole = json_parse(&heap, text, ignore, NULL, &e);
    CHECK(cut || broken || !utf8_valid(text) || whole || strstr(e.message, "number"));
}

static void on_event(void *ctx, const text_reply_event *ev) {
    said *s = ctx;
    if (ev->kind != s->kind) say(s, (str){(const char[]){0, (char)ev->kind}, 2});
    s->kind = ev->kind;
    CHECK(s->in_call == (ev->kind == TEXT_REPLY_ARGUMENTS || ev->kind == TEXT_REPLY_CALL_END));
    if (ev->kind == TEXT_REPLY_CALL) {
        CHECK(ev->call == s->calls++ && ev->text.len > 0);
        s->in_call = true;
        s->n_arguments = 0;
    } else if (ev->kind == TEXT_REPLY_ARGUMENTS) {
        memcpy(s->arguments + s->n_arguments, ev->text.data, ev->text.len);
        s->n_arguments += ev->text.len;
    } else if (ev->kind == TEXT_REPLY_CALL_END) {
        check_arguments(s, ev->cut, ev->broken);
        s->in_call = false;
    }
    if (ev->text.len) say(s, ev->text);
}

static void read_reply(const text_reply_format *f, str tools_json, str tail, str text, uint32_t seed, said *s) {
    static text_reply r;
    s->len = s->calls = 0;
    s->kind = (text_reply_kind)99;
    s->in_call = false;
    text_reply_tools index;
    static uint32_t memory[64];
    CHECK(text_reply_tools_bytes(tools_json) <= sizeof memory);
    text_reply_tools_init(&index, tools_json, memory);
    text_reply_init(&r, f, &index, tail);
    text_work = 0;
    uint64_t fed = text.len;
    while (text.len) {
        seed = seed * 1664525 + 1013904223;
        size_t n = seed % 7 == 0 ? text.len : 1 + (seed >> 16) % 23;
        if (n > text.len) n = text.len;
        text_reply_feed(&r, (str){text.data, n}, on_event, s);
        text = (str){text.data + n, text.len - n};
    }
    text_reply_finish(&r, on_event, s);
    CHECK(!s->in_call);
    /* Each call may look once for its thought's end and once for its own in all that is held; each argument between
     * tags looks for its type in its tool's schema. */
    CHECK(text_work <= (64 + tools_json.len / 4) * (fed + 1024) + 2 * s->calls * (uint64_t)TEXT_REPLY_HELD_MAX);
}

static str spell(const uint8_t *data, size_t size, char out[TEXT_MAX]) {
    size_t len = 0;
    for (size_t i = 0; i < size && len + 64 < TEXT_MAX; i++) {
        const char *word = data[i] >= 0x80 && data[i] < 0x80 + WORDS ? words[data[i] - 0x80] : NULL;
        if (!word) out[len++] = (char)data[i];
        else len += (size_t)snprintf(out + len, 64, "%s", word);
    }
    return (str){out, len};
}

static void check_grammar(const text_reply_format *f, str tools_json, str tail) {
    buf out;
    err e;
    buf_init(&out, &heap, 1 << 20);
    bool ok = text_reply_tool_grammar(f, tools_json, STR(""), tail.len & 1, tail, &out, &heap, &e);
    CHECK(ok == (out.len > 0 && !out.failed) || e.code == ERR_MEMORY);
    buf_free(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const char *const tails[] = {"", "<think>\n", "<|start|>assistant", "<tool_call>\n", "[TOOL_CALLS]", "<|x|>"};
    static char text[TEXT_MAX];
    static said whole, pieces;
    if (size < 4) return 0;
    text_reply_format f = {
        .family = (text_reply_family)(data[0] % (TEXT_REPLY_FAMILY_GLM + 1)), .thinks = data[1] & 1, .newer = data[1] & 2,
        .think_open = data[1] & 1 ? STR("<think>") : STR(""), .think_close = STR("</think>"),
    };
    str tail = str_of(tails[data[2] % 6]), reply = spell(data + 4, size - 4, text);
    str with = data[1] & 4 ? STR("") : str_of(tools);
    read_reply(&f, with, tail, reply, 6, &whole);
    read_reply(&f, with, tail, reply, data[3], &pieces);
    CHECK(whole.len == pieces.len && !memcmp(whole.bytes, pieces.bytes, whole.len));
    if (!with.len && !f.thinks && f.family != TEXT_REPLY_FAMILY_HARMONY && data[2] % 6 != 1 && reply.len)
        CHECK(str_eq(reply, (str){whole.bytes + 2, whole.len - 2}));
    check_grammar(&f, data[1] & 8 ? reply : with, tail);
    return 0;
}
