/* What a model's chat template can do, tried out once with small conversations. */
#include <string.h>

#include "api/core/chat.h"
#include "base/check.h"
#include "base/log.h"

enum { CONTEXT_BYTES = 8192, OUTPUT_BYTES = 1 << 20, PROBE_STEPS = 1000000, PROBE_BYTES = 8 << 20 };
enum { TRIAL_BYTES = 2 * (CONTEXT_BYTES + OUTPUT_BYTES) + PROBE_BYTES };

/* For models that bring none: what other servers take then, too. */
static const char im_template[] =
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}";

/* Texts that no template holds. */
#define SYSTEM "{\"role\":\"system\",\"content\":\"zqsystem\"}"
#define USER "{\"role\":\"user\",\"content\":\"zquser\"}"
#define SAID "{\"role\":\"assistant\",\"content\":\"zqsaid\"}"
#define ONE_CALL(id, name, arguments)                                                                        \
    "{\"id\":\"" id "\",\"type\":\"function\",\"function\":{\"name\":\"" name "\",\"arguments\":" arguments "}}"
#define CALLS(calls) "{\"role\":\"assistant\",\"content\":\"\",\"tool_calls\":[" calls "]}"
#define CALL(arguments) CALLS(ONE_CALL("abcdefghi", "zqcall", arguments))
#define RESULT_OF(id)                                                                                        \
    "{\"role\":\"tool\",\"name\":\"zqcall\",\"tool_call_id\":\"" id "\",\"content\":\"zqresult\"}"
#define RESULT RESULT_OF("abcdefghi")
#define TWO_CALLS(one, other)                                                                                 \
    "[" USER "," CALLS(ONE_CALL("abcdefghi", "zqcall", one) "," ONE_CALL("bbcdefghi", "zqcall", other)) \
    "," RESULT "," RESULT_OF("bbcdefghi") "]"
#define LONG_ID "call_00-zqlong_id"
#define LONG_CALL(arguments) "[" USER "," CALLS(ONE_CALL(LONG_ID, "zqcall", arguments)) "," RESULT_OF(LONG_ID) "]"
#define TOOLS_OF(description)                                                                                \
    "[{\"type\":\"function\",\"function\":{\"name\":\"zqcall\"," description "\"parameters\":"                   \
    "{\"type\":\"object\",\"properties\":{\"zqword\":{\"type\":\"string\"}},\"required\":[\"zqword\"]}}}]"
#define TOOLS TOOLS_OF("\"description\":\"d\",")

typedef struct trial {
    api *a;
    mem_arena *arena;
} trial;

/* Renders; true when it does, and writes each of the wanted texts (NULL at the end). */
static bool writes(trial *t, const char *messages, const char *tools, const char *const *wanted) {
    const text_vocab *v = engine_vocab(t->a->en);
    text_token bos = text_vocab_bos(v), eos = text_vocab_eos(v);
    mem_arena_reset(t->arena, 0);
    base_alloc alloc = mem_arena_alloc(t->arena);
    text_template_limits limits;
    buf context, out;
    json_writer w;
    err e = {0};
    buf_init(&context, &alloc, CONTEXT_BYTES);
    buf_reserve(&context, CONTEXT_BYTES - 2);
    json_begin(&w, &context);
    json_object_start(&w);
    json_key(&w, "messages");
    json_raw(&w, str_of(messages));
    if (!tools && t->a->model.null_tools) tools = "null";
    if (tools) json_key(&w, "tools"), json_raw(&w, str_of(tools));
    json_put_bool(&w, "add_generation_prompt", true);
    json_put_string(&w, "bos_token", bos == TEXT_NO_TOKEN ? STR("") : text_vocab_token(v, bos));
    json_put_string(&w, "eos_token", eos == TEXT_NO_TOKEN ? STR("") : text_vocab_token(v, eos));
    json_object_end(&w);
    buf_init(&out, &alloc, OUTPUT_BYTES);
    text_template_limits_default(&limits);
    limits.steps = PROBE_STEPS;
    limits.memory_bytes = PROBE_BYTES;
    if (!text_template_render(t->a->model.template, buf_str(&context), &limits, &alloc, &out, &e))
        return false;
    for (; *wanted; wanted++)
        if (!out.len || !memmem(out.data, out.len, *wanted, strlen(*wanted))) return false;
    return true;
}

#define WRITES(t, messages, tools, ...) writes(t, messages, tools, (const char *const[]){__VA_ARGS__, NULL})

bool chat_model_probe(api *a, err *e) {
    chat_model *m = &a->model;
    mem_arena arena;
    trial of = {.a = a, .arena = &arena}, *t = &of;
    if (!mem_arena_init_growing(&arena, a->ledger, MEM_QUEUE, TRIAL_BYTES, e)) return false;
    m->null_tools = false;
    m->null_tools = WRITES(t, "[" USER "]", "null", "zquser");
    m->system = WRITES(t, "[" SYSTEM "," USER "]", NULL, "zqsystem", "zquser");
    m->late_system = WRITES(t, "[" USER "," SAID "," SYSTEM "," USER "]", NULL, "zqsystem");
    m->tools = WRITES(t, "[" USER "]", TOOLS, "zqcall", "zqword");
    m->described = m->tools && !WRITES(t, "[" USER "]", TOOLS_OF(""), "zqcall", "zqword");
    bool objects = WRITES(t, "[" USER "," CALL("{\"zqword\":1}") "," RESULT "]", TOOLS, "zqcall", "zqword\"",
                          "zqresult");
    bool texts = !objects && WRITES(t, "[" USER "," CALL("\"{\\\"zqword\\\":1}\"") "," RESULT "]", TOOLS,
                                    "zqcall", "zqword\"", "zqresult");
    m->calls = objects || texts;
    m->arguments_as_text = texts;
    const char *two = texts ? TWO_CALLS("\"{\\\"zqword\\\":1}\"", "\"{\\\"zqother\\\":1}\"")
                            : TWO_CALLS("{\"zqword\":1}", "{\"zqother\":1}");
    m->one_call = m->calls && !WRITES(t, two, TOOLS, "zqword", "zqother");
    m->long_ids = m->calls && (texts ? WRITES(t, LONG_CALL("\"{}\""), TOOLS, "zqresult")
                                     : WRITES(t, LONG_CALL("{}"), TOOLS, "zqresult"));
    m->turns = !WRITES(t, "[" USER "," USER "]", NULL, "zquser");
    mem_arena_free(&arena);
    return true;
}

bool chat_model_begin(api *a, err *e) {
    chat_model *m = &a->model;
    m->template = engine_template(a->en);
    if (!m->template) {
        m->template = m->own = text_template_new(str_of(im_template), &a->heap.alloc, e);
        if (!m->own) return false;
    }
    if (!chat_model_probe(a, e)) return false;
    text_reply_format_of(m->own ? STR("") : engine_chat_template(a->en), &m->reply);
    if (!m->tools) {
        m->reply.family = TEXT_REPLY_FAMILY_GENERIC;
        log_info("api", "the model's chat template has no place for tools: requests with tools have them described "
                        "in words in the system message");
    }
    return true;
}
