/* What a request holds while it is read: in proportion to its body, whatever the body is made of. */
#include "../test.h"

#include "base/str.h"
#include "world.h"

/* Bytes held at the most, of a body's; beside what the least of bodies takes. */
enum { MOST_TIMES = 8, ALLOWANCE_BYTES = 64 * 1024, BODY_BYTES = 300 * 1000, LIMIT_BYTES = 1 << 20 };

/* ---- bodies ---- */

typedef struct body {
    buf text;
    uint32_t i; /* of the part being written */
} body;

typedef void body_part(body *b);

#define PUT(b, ...) buf_printf(&(b)->text, __VA_ARGS__)

static void tiny_message(body *b) { PUT(b, "{\"role\":\"%s\",\"content\":\"x\"}", b->i % 2 ? "assistant" : "user"); }
static void escaped_message(body *b) {
    PUT(b, "{\"role\":\"%s\",\"content\":\"\\\"\\n\\u00e9 %u\"}", b->i % 2 ? "assistant" : "user", b->i);
}
static void control_message(body *b) {
    PUT(b, "{\"role\":\"%s\",\"content\":\"<|im_start|> %u\"}", b->i % 2 ? "assistant" : "user", b->i);
}
static void text_part(body *b) { PUT(b, "{\"type\":\"text\",\"text\":\"a\"}"); }
static void input_part(body *b) { PUT(b, "{\"type\":\"input_text\",\"text\":\"a\"}"); }

static void openai_round(body *b) {
    PUT(b, "{\"role\":\"assistant\",\"content\":\"\",\"tool_calls\":[{\"id\":\"c%u\",\"type\":\"function\",\"function\":{\"name\":\"f\","
           "\"arguments\":\"{\\\"a\\\":%u}\"}}]},{\"role\":\"tool\",\"tool_call_id\":\"c%u\",\"content\":\"ok\"}", b->i, b->i, b->i);
}
static void anthropic_round(body *b) {
    PUT(b, "{\"role\":\"assistant\",\"content\":[{\"type\":\"tool_use\",\"id\":\"c%u\",\"name\":\"f\",\"input\":{\"a\":%u}}]},"
           "{\"role\":\"user\",\"content\":[{\"type\":\"tool_result\",\"tool_use_id\":\"c%u\",\"content\":\"ok\"}]}", b->i, b->i, b->i);
}
static void ollama_round(body *b) {
    PUT(b, "{\"role\":\"assistant\",\"content\":\"\",\"tool_calls\":[{\"function\":{\"name\":\"f\",\"arguments\":{\"a\":%u}}}]},"
           "{\"role\":\"tool\",\"tool_name\":\"f\",\"content\":\"ok\"}", b->i);
}
static void responses_round(body *b) {
    PUT(b, "{\"type\":\"function_call\",\"call_id\":\"c%u\",\"name\":\"f\",\"arguments\":\"{\\\"a\\\":%u}\"},"
           "{\"type\":\"function_call_output\",\"call_id\":\"c%u\",\"output\":\"ok\"}", b->i, b->i, b->i);
}
static void responses_message(body *b) { PUT(b, "{\"role\":\"user\",\"content\":\"x\"}"); }

static void openai_tool(body *b) {
    PUT(b, "{\"type\":\"function\",\"function\":{\"name\":\"f%u\",\"description\":\"Does it.\",\"parameters\":{\"type\":\"object\","
           "\"properties\":{\"a\":{\"type\":\"string\"}}}}}", b->i);
}
static void bare_tool(body *b) { PUT(b, "{\"type\":\"function\",\"function\":{\"name\":\"f%u\"}}", b->i); }
static void anthropic_tool(body *b) {
    PUT(b, "{\"name\":\"f%u\",\"description\":\"Does it.\",\"input_schema\":{\"type\":\"object\",\"properties\":{\"a\":{\"type\":"
           "\"string\"}}}}", b->i);
}
static void anthropic_bare_tool(body *b) { PUT(b, "{\"name\":\"f%u\",\"input_schema\":{\"type\":\"object\"}}", b->i); }
static void responses_tool(body *b) {
    PUT(b, "{\"type\":\"function\",\"name\":\"f%u\",\"parameters\":{\"type\":\"object\",\"properties\":{}}}", b->i);
}
static void custom_tool(body *b) { PUT(b, "{\"type\":\"custom\",\"name\":\"f%u\"}", b->i); }
static void chat_custom_tool(body *b) { PUT(b, "{\"type\":\"custom\",\"custom\":{\"name\":\"f%u\"}}", b->i); }
static void deep_tool(body *b) {
    PUT(b, "{\"type\":\"function\",\"function\":{\"name\":\"f%u\",\"parameters\":", b->i);
    for (int i = 0; i < 24; i++) PUT(b, "{\"items\":");
    PUT(b, "{}");
    for (int i = 0; i < 24; i++) PUT(b, "}");
    PUT(b, "}}");
}
static void enum_value(body *b) { PUT(b, "\"v%u\"", b->i); }
static void number_value(body *b) { PUT(b, "%u", b->i % 10); }
static void word(body *b) { PUT(b, "word "); }
static void letter(body *b) { PUT(b, "é"); }
static void escape(body *b) { PUT(b, "\\n"); }
static void short_text(body *b) { PUT(b, "\"x\""); }
static void ignored_member(body *b) { PUT(b, "{\"a\":[]}"); }

static void only_role(body *b) { PUT(b, "{\"role\":\"assistant\"}"); }
static void empty_text(body *b) { PUT(b, "{\"role\":\"user\",\"content\":\"\"}"); }
static void no_parts(body *b) { PUT(b, "{\"role\":\"user\",\"content\":[]}"); }
static void no_calls(body *b) { PUT(b, "{\"role\":\"assistant\",\"tool_calls\":[]}"); }
static void empty_part(body *b) { PUT(b, "{\"type\":\"text\",\"text\":\"\"}"); }
static void thought(body *b) { PUT(b, "{\"role\":\"assistant\",\"content\":\"\",\"reasoning_content\":\"t\"}"); }
static void result_alone(body *b) { PUT(b, "{\"role\":\"tool\",\"tool_call_id\":\"c\",\"content\":\"\"}"); }
static void call(body *b) {
    PUT(b, "{\"id\":\"c%u\",\"type\":\"function\",\"function\":{\"name\":\"f\",\"arguments\":\"{}\"}}", b->i);
}
static void tool_use(body *b) { PUT(b, "{\"type\":\"tool_use\",\"id\":\"c%u\",\"name\":\"f\",\"input\":{}}", b->i); }
static void tool_result(body *b) { PUT(b, "{\"type\":\"tool_result\",\"tool_use_id\":\"c%u\"}", b->i); }
static void one_letter_tool(body *b) { PUT(b, "{\"function\":{\"name\":\"f\"}}"); }
static void item_of_calls(body *b) { PUT(b, "{\"type\":\"function_call\",\"call_id\":\"c%u\",\"name\":\"f\"}", b->i); }
static void allowed(body *b) { PUT(b, "{\"type\":\"function\",\"function\":{\"name\":\"f%u\"}}", b->i); }
static void one_letter_member(body *b) { PUT(b, "\"%c%u\":{}", 'a' + (int)(b->i % 26), b->i); }
static void deep_object(body *b) {
    for (int i = 0; i < 40; i++) PUT(b, "{\"a\":");
    PUT(b, "%u", b->i);
    for (int i = 0; i < 40; i++) PUT(b, "}");
}
static void deep_list(body *b) {
    for (int i = 0; i < 40; i++) PUT(b, "[");
    for (int i = 0; i < 40; i++) PUT(b, "]");
}
static void some_ids(body *b) { PUT(b, "[1,2,3]"); }
static void bias(body *b) { PUT(b, "\"%u\":1", b->i); }

typedef struct shape {
    const char *name, *path, *head;
    body_part *part;
    const char *joint, *tail;
    double times; /* of the shortest calls there can be: what a template sees of one is longer; 0: MOST_TIMES */
} shape;

#define USER "{\"role\":\"user\",\"content\":\"x\"}"
static const shape shapes[] = {
    {"openai: tiny messages", "/v1/chat/completions", "{\"messages\":[", tiny_message, ",", "]}"},
    {"openai: escaped messages", "/v1/chat/completions", "{\"messages\":[", escaped_message, ",", "]}"},
    {"openai: control words", "/v1/chat/completions", "{\"messages\":[", control_message, ",", "]}"},
    {"openai: parts of a text", "/v1/chat/completions",
     "{\"messages\":[{\"role\":\"user\",\"content\":[", text_part, ",", "]}]}"},
    {"openai: rounds", "/v1/chat/completions", "{\"messages\":[" USER ",", openai_round, ",", "]}"},
    {"openai: tools", "/v1/chat/completions", "{\"messages\":[" USER "],\"tools\":[", openai_tool, ",", "]}"},
    {"openai: bare tools", "/v1/chat/completions", "{\"messages\":[" USER "],\"tools\":[", bare_tool, ",", "]}"},
    {"openai: custom tools", "/v1/chat/completions",
     "{\"messages\":[" USER "],\"tools\":[", chat_custom_tool, ",", "]}"},
    {"openai: deep tools", "/v1/chat/completions", "{\"messages\":[" USER "],\"tools\":[", deep_tool, ",", "]}"},
    {"openai: required tools", "/v1/chat/completions",
     "{\"messages\":[" USER "],\"tool_choice\":\"required\",\"tools\":[", openai_tool, ",", "]}"},
    {"openai: enum", "/v1/chat/completions",
     "{\"messages\":[" USER "],\"response_format\":{\"type\":\"json_schema\",\"json_schema\":{"
     "\"name\":\"x\",\"schema\":{\"enum\":[", enum_value, ",", "]}}}}"},
    {"openai: template values", "/v1/chat/completions",
     "{\"messages\":[" USER "],\"chat_template_kwargs\":{\"x\":[", number_value, ",", "]}}"},
    {"openai: long text", "/v1/chat/completions",
     "{\"messages\":[{\"role\":\"user\",\"content\":\"", word, "", "\"}]}"},
    {"openai: long text of two-byte letters", "/v1/chat/completions",
     "{\"messages\":[{\"role\":\"user\",\"content\":\"", letter, "", "\"}]}"},
    {"openai: long text of escapes", "/v1/chat/completions",
     "{\"messages\":[{\"role\":\"user\",\"content\":\"", escape, "", "\"}]}"},
    {"openai: what nobody knows", "/v1/chat/completions",
     "{\"messages\":[" USER "],\"what\":[", ignored_member, ",", "]}"},
    {"completions: text", "/v1/completions", "{\"prompt\":\"", word, "", "\"}"},
    {"completions: ids", "/v1/completions", "{\"prompt\":[", number_value, ",", "]}"},
    {"responses: rounds", "/v1/responses", "{\"input\":[" USER ",", responses_round, ",", "]}"},
    {"responses: tiny messages", "/v1/responses", "{\"input\":[", responses_message, ",", "]}"},
    {"responses: parts of a text", "/v1/responses",
     "{\"input\":[{\"role\":\"user\",\"content\":[", input_part, ",", "]}]}"},
    {"responses: tools", "/v1/responses", "{\"input\":\"x\",\"tools\":[", responses_tool, ",", "]}"},
    {"responses: custom tools", "/v1/responses", "{\"input\":\"x\",\"tools\":[", custom_tool, ",", "]}"},
    {"anthropic: tiny messages", "/v1/messages/count_tokens", "{\"messages\":[", tiny_message, ",", "]}"},
    {"anthropic: parts of a text", "/v1/messages/count_tokens",
     "{\"messages\":[{\"role\":\"user\",\"content\":[", text_part, ",", "]}]}"},
    {"anthropic: system parts", "/v1/messages/count_tokens",
     "{\"messages\":[" USER "],\"system\":[", text_part, ",", "]}"},
    {"anthropic: rounds", "/v1/messages/count_tokens", "{\"messages\":[" USER ",", anthropic_round, ",", "]}"},
    {"anthropic: tools", "/v1/messages/count_tokens",
     "{\"messages\":[" USER "],\"tools\":[", anthropic_tool, ",", "]}"},
    {"anthropic: bare tools", "/v1/messages/count_tokens",
     "{\"messages\":[" USER "],\"tools\":[", anthropic_bare_tool, ",", "]}"},
    {"ollama: tiny messages", "/api/chat", "{\"messages\":[", tiny_message, ",", "]}"},
    {"ollama: rounds", "/api/chat", "{\"messages\":[" USER ",", ollama_round, ",", "]}"},
    {"ollama: tools", "/api/chat", "{\"messages\":[" USER "],\"tools\":[", openai_tool, ",", "]}"},
    {"ollama: format", "/api/generate", "{\"prompt\":\"x\",\"format\":{\"enum\":[", enum_value, ",", "]}}"},
    {"ollama: prompt", "/api/generate", "{\"prompt\":\"", word, "", "\"}"},
    {"native: text", "/generate", "{\"prompt\":\"", word, "", "\"}"},
    {"native: ids", "/generate", "{\"prompt\":[", number_value, ",", "]}"},
    {"native: schema", "/generate", "{\"prompt\":\"x\",\"json_schema\":{\"enum\":[", enum_value, ",", "]}}"},
    {"openai: roles alone", "/v1/chat/completions", "{\"messages\":[" USER ",", only_role, ",", "]}"},
    {"openai: empty texts", "/v1/chat/completions", "{\"messages\":[" USER ",", empty_text, ",", "]}"},
    {"openai: messages of no parts", "/v1/chat/completions", "{\"messages\":[" USER ",", no_parts, ",", "]}"},
    {"openai: messages of no calls", "/v1/chat/completions", "{\"messages\":[" USER ",", no_calls, ",", "]}"},
    {"openai: thoughts", "/v1/chat/completions", "{\"messages\":[" USER ",", thought, ",", "]}"},
    {"openai: results of no call", "/v1/chat/completions", "{\"messages\":[" USER ",", result_alone, ",", "]}"},
    {"openai: empty parts", "/v1/chat/completions", "{\"messages\":[{\"role\":\"user\",\"content\":[", empty_part, ",", "]}]}"},
    {"openai: calls of one turn", "/v1/chat/completions", "{\"messages\":[" USER ",{\"role\":\"assistant\",\"tool_calls\":[", call, ",", "]}]}"},
    {"openai: tools of one letter", "/v1/chat/completions", "{\"messages\":[" USER "],\"tools\":[", one_letter_tool, ",", "]}"},
    {"openai: numbers of a tool", "/v1/chat/completions",
     "{\"messages\":[" USER "],\"tools\":[{\"function\":{\"name\":\"f\",\"parameters\":{\"enum\":[", number_value, ",", "]}}}]}"},
    {"openai: members of a tool", "/v1/chat/completions",
     "{\"messages\":[" USER "],\"tools\":[{\"function\":{\"name\":\"f\",\"parameters\":{\"properties\":{", one_letter_member, ",", "}}}}]}"},
    {"openai: deep objects of a tool", "/v1/chat/completions",
     "{\"messages\":[" USER "],\"tools\":[{\"function\":{\"name\":\"f\",\"parameters\":{\"enum\":[", deep_object, ",", "]}}}]}"},
    {"openai: deep lists of a tool", "/v1/chat/completions",
     "{\"messages\":[" USER "],\"tools\":[{\"function\":{\"name\":\"f\",\"parameters\":{\"enum\":[", deep_list, ",", "]}}}]}"},
    {"openai: allowed tools", "/v1/chat/completions",
     "{\"messages\":[" USER "],\"tools\":[{\"function\":{\"name\":\"f\"}}],\"tool_choice\":{\"type\":\"allowed_tools\","
     "\"allowed_tools\":{\"tools\":[", allowed, ",", "]}}}"},
    {"openai: stops", "/v1/chat/completions", "{\"messages\":[" USER "],\"stop\":[", short_text, ",", "]}"},
    {"openai: biases", "/v1/chat/completions", "{\"messages\":[" USER "],\"logit_bias\":{", bias, ",", "}}"},
    {"openai: metadata", "/v1/chat/completions", "{\"messages\":[" USER "],\"metadata\":{", one_letter_member, ",", "}}"},
    {"openai: deep template values", "/v1/chat/completions",
     "{\"messages\":[" USER "],\"chat_template_kwargs\":{\"x\":[", deep_list, ",", "]}}"},
    {"completions: texts", "/v1/completions", "{\"prompt\":[", short_text, ",", "]}"},
    {"completions: lists of ids", "/v1/completions", "{\"prompt\":[", some_ids, ",", "]}"},
    {"responses: calls", "/v1/responses", "{\"input\":[" USER ",", item_of_calls, ",", "]}"},
    {"responses: metadata", "/v1/responses", "{\"input\":\"x\",\"metadata\":{", one_letter_member, ",", "}}"},
    {"anthropic: calls of one turn", "/v1/messages/count_tokens",
     "{\"messages\":[" USER ",{\"role\":\"assistant\",\"content\":[", tool_use, ",", "]}]}"},
    {"anthropic: results of one turn", "/v1/messages/count_tokens",
     "{\"messages\":[{\"role\":\"user\",\"content\":[", tool_result, ",", "]}]}"},
    {"anthropic: numbers of a call", "/v1/messages/count_tokens",
     "{\"messages\":[" USER ",{\"role\":\"assistant\",\"content\":[{\"type\":\"tool_use\",\"id\":\"c\",\"name\":\"f\",\"input\":"
     "{\"a\":[", number_value, ",", "]}}]}]}"},
    {"ollama: calls of one turn", "/api/chat",
     "{\"messages\":[" USER ",{\"role\":\"assistant\",\"tool_calls\":[", one_letter_tool, ",", "]}]}", 14},
    {"ollama: context", "/api/generate", "{\"prompt\":\"x\",\"context\":[", number_value, ",", "]}"},
    {"embeddings: ids", "/v1/embeddings", "{\"input\":[", number_value, ",", "]}"},
    {"embeddings: too many texts", "/v1/embeddings", "{\"input\":[", short_text, ",", "]}"},
    {"ollama embeddings: texts", "/api/embed", "{\"input\":[", short_text, ",", "]}"},
};

static void write_body(const shape *s, body *b) {
    PUT(b, "{\"model\":\"plimsoll-tiny\",%s", s->head + 1);
    for (b->i = 0; b->text.len < BODY_BYTES; b->i++) {
        if (b->i) PUT(b, "%s", s->joint);
        s->part(b);
    }
    PUT(b, "%s", s->tail);
    assert_false(b->text.failed);
}

/* ---- what they hold ---- */

/* Beside it are buffers planned at start, which a request takes nothing more for: its body, its tokens, grammars. */
static uint64_t begin_peak(world *w) {
    plat_mutex_lock(&w->ledger.lock);
    uint64_t now = w->ledger.rows[MEM_QUEUE].peak_bytes = w->ledger.rows[MEM_QUEUE].now_bytes;
    plat_mutex_unlock(&w->ledger.lock);
    return now;
}

static uint64_t peak_bytes(world *w) {
    mem_ledger_view v;
    mem_ledger_read(&w->ledger, &v);
    return v.rows[MEM_QUEUE].peak_bytes;
}

static answer_text post(world *w, const char *path, str text) {
    char head[256];
    snprintf(head, sizeof head, "POST %s HTTP/1.1\r\nHost: localhost\r\nContent-Length: %zu\r\n\r\n", path, text.len);
    assert_true(client_text(&w->c, head) && client_send(&w->c, text.data, text.len));
    return read_answer(&w->c, false);
}

static bool is_within(world *w, const shape *s) {
    body b = {0};
    test_alloc alloc;
    test_alloc_init(&alloc, 0);
    buf_init(&b.text, &alloc.alloc, SIZE_MAX / 2);
    write_body(s, &b);
    settled_queue_bytes(w);
    uint64_t before = begin_peak(w);
    answer_text a = post(w, s->path, buf_str(&b.text));
    uint64_t held = peak_bytes(w) - before;
    double most = (s->times > 0 ? s->times : MOST_TIMES) * (double)b.text.len + ALLOWANCE_BYTES;
    bool good = (double)held <= most && a.status < 500 && a.status != 429;
    print_message("%-40s %3d: %8zu bytes of body, %9zu held, %5.1f times%s\n", s->name, a.status, b.text.len, (size_t)held,
                  (double)held / (double)b.text.len, good ? "" : "  TOO MUCH");
    if (!a.body || strstr(a.body, "is missing")) fail_msg("%s is no request: %s", s->name, a.body);
    if (a.cut || strstr(a.head, "onnection: close")) client_close(&w->c), w->c = client_open(http_server_port(w->http));
    free(a.body);
    buf_free(&b.text);
    return good;
}

static void test_held_per_byte(void **state) {
    (void)state;
    world w;
    bool good = true;
    start(&w, (world_config){.body_limit_bytes = LIMIT_BYTES});
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) good &= is_within(&w, &shapes[i]);
    stop(&w);
    assert_true(good);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_held_per_byte)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
