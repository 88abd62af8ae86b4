#include "api/core/chat_fit.h"
#include "api/core/thinking.h"

#include <stdio.h>
#include <string.h>

#include "base/check.h"
#include "base/clock.h"
#include "text/grammar/model_json.h"

/* What a conversation takes is about its body's size a few times over; the most is where something must be wrong. */
enum { ARENA_LEAST_BYTES = 4 << 20, ARENA_BYTES_PER_BODY_BYTE = 64, PROMPT_TAIL_BYTES = 256 };
/* A template's steps: for each byte of the conversation, beside what any template may take. */
enum { STEPS_PER_BYTE = 16 };

const char *const chat_role_names[] = {"system", "user", "assistant", "tool"};

/* ---- the parts ---- */

bool chat_begin(chat *c, api *a, size_t body_bytes, err *e) {
    memset(c, 0, sizeof *c);
    c->a = a;
    c->body_bytes = body_bytes;
    size_t most = ARENA_LEAST_BYTES + body_bytes * ARENA_BYTES_PER_BODY_BYTE;
    mem_arena *arenas[] = {&c->arena, &c->reading, &c->writing};
    for (int i = 0; i < 3; i++)
        if (!mem_arena_init_growing(arenas[i], a->ledger, MEM_QUEUE, most, e)) return chat_end(c), false;
    c->alloc = mem_arena_alloc(&c->arena);
    c->parser = mem_arena_alloc(&c->reading);
    c->writer = mem_arena_alloc(&c->writing);
    c->in = (fields_in){&c->parser, &c->alloc, ""};
    buf_init(&c->tools, &c->writer, SIZE_MAX / 2);
    c->tools.tight = true;
    buf_init(&c->customs, &c->alloc, SIZE_MAX / 2);
    c->customs.tight = true;
    return true;
}

void chat_end(chat *c) {
    mem_arena_free(&c->writing);
    mem_arena_free(&c->reading);
    mem_arena_free(&c->arena);
}

static bool read_object(const chat *c, const char *path, str json, const field *rows, size_t n, void *target,
                        const fields_more *more, err *e) {
    char prefix[FIELD_PATH_BYTES + 2];
    snprintf(prefix, sizeof prefix, "%s.", path);
    fields_in in = {&c->parser, &c->alloc, prefix, more};
    return fields_parse_in(&in, json, rows, n, true, target, NULL, e);
}

bool chat_read(const chat *c, const char *path, str json, const field *rows, size_t n, void *target, err *e) {
    return read_object(c, path, json, rows, n, target, NULL, e);
}

bool chat_read_naming(const chat *c, const char *path, str json, const field *rows, size_t n, void *target, err *e) {
    fields_more nobodys = {.unknown = shared_fields_ignore, .ctx = c->ignored};
    return read_object(c, path, json, rows, n, target, c->ignored ? &nobodys : NULL, e);
}

bool chat_each(const chat *c, const char *path, str array, field_on_item *on_item, void *ctx, err *e) {
    fields_in in = {&c->parser, &c->alloc, path};
    return fields_each(&in, array, on_item, ctx, e);
}

bool chat_no_room(const chat *c, err *e) {
    size_t held = c->arena.size + c->reading.size + c->writing.size;
    if (mem_arena_is_full(&c->arena) || mem_arena_is_full(&c->reading) || mem_arena_is_full(&c->writing))
        return err_set(e, ERR_TOO_LARGE, "this conversation takes more than %zu bytes to read", held);
    return err_set_memory(e, held, mem_ledger_available(c->a->ledger),
                          "a conversation of this size takes more than the %zu bytes that it could get", held);
}

/* As close as they fit: an allocator's blocks begin at multiples of 16. */
static void *take_node(chat *c, size_t bytes, err *e) {
    void *node = mem_arena_take(&c->arena, bytes, _Alignof(void *));
    return node ? memset(node, 0, bytes) : (chat_no_room(c, e), NULL);
}

chat_message *chat_insert(chat *c, chat_message *before, chat_role role, str text, err *e) {
    chat_message *m = take_node(c, sizeof *m, e);
    if (!m) return NULL;
    *m = (chat_message){.next = before ? before->next : c->first, .role = role, .text = text};
    if (before) before->next = m;
    else c->first = m;
    if (c->last == before) c->last = m;
    return m;
}

chat_message *chat_add(chat *c, chat_role role, err *e) { return chat_insert(c, c->last, role, STR(""), e); }

const chat_said *chat_said_of(const chat_message *m) {
    static const chat_said nothing;
    return m->role != CHAT_TOOL && m->said ? m->said : &nothing;
}

const chat_whose *chat_whose_of(const chat_message *m) {
    static const chat_whose nobodys;
    return m->role == CHAT_TOOL && m->whose ? m->whose : &nobodys;
}

chat_said *chat_make_said(chat *c, chat_message *m, err *e) {
    CHECK(m->role != CHAT_TOOL);
    if (!m->said) m->said = take_node(c, sizeof *m->said, e);
    return m->said;
}

bool chat_set_reasoning(chat *c, chat_message *m, str reasoning, err *e) {
    if (!reasoning.len || m->role == CHAT_TOOL) return true;
    chat_said *x = chat_make_said(c, m, e);
    return x && (x->reasoning = reasoning, true);
}

bool chat_set_whose(chat *c, chat_message *m, str call_id, str name, err *e) {
    CHECK(m->role == CHAT_TOOL);
    if (!m->whose) m->whose = take_node(c, sizeof *m->whose, e);
    return m->whose && (*m->whose = (chat_whose){.name = name, .call_id = call_id}, true);
}

/* What grows lies at the end of an arena of its own, so that a text of many parts is copied once. */
bool chat_add_text(chat *c, str *to, str more, err *e) {
    if (!to->len) return *to = more, true;
    bool grows = to->data >= c->writing.base && to->data < c->writing.base + c->writing.used;
    size_t len = to->len + more.len;
    char *both = grows ? c->writer.resize(c->writer.ctx, (char *)(uintptr_t)to->data, to->len, len)
                       : alloc_bytes(&c->writer, len);
    if (!both) return chat_no_room(c, e);
    if (!grows) memcpy(both, to->data, to->len);
    if (more.len) memcpy(both + to->len, more.data, more.len);
    *to = (str){both, len};
    return true;
}

bool chat_add_placeholder(chat *c, str *to, str type, err *e) {
    str words, parts[] = {to->len ? STR("\n[") : STR("["), type, STR(": left out, this model takes text only]")};
    return chat_make_text(c, &words, parts, 3, e) && chat_add_text(c, to, words, e);
}

bool chat_add_call(chat *c, chat_message *m, str id, str name, str arguments, err *e) {
    chat_said *x = chat_make_said(c, m, e);
    chat_call *call = x ? take_node(c, sizeof *call, e) : NULL;
    if (!call) return false;
    *call = (chat_call){.id = id, .name = name, .arguments = arguments};
    if (x->last_call) x->last_call->next = call;
    else x->calls = call;
    x->last_call = call;
    return c->called = true;
}

bool chat_add_tool(chat *c, str name, str description, str parameters, err *e) {
    json_writer w;
    if (c->n_tools++) c->tools.len--; /* the closing bracket */
    buf_append_str(&c->tools, c->n_tools > 1 ? STR(",") : STR("["));
    json_begin(&w, &c->tools);
    json_object_start(&w);
    json_put_string(&w, "name", name);
    if (description.len) json_put_string(&w, "description", description);
    if (parameters.len) json_key(&w, "parameters"), json_raw(&w, parameters);
    json_object_end(&w);
    buf_append_str(&c->tools, STR("]"));
    return !c->tools.failed || chat_no_room(c, e);
}

static str text_of(const buf *b) { return buf_str(b); }

bool chat_make_text(chat *c, str *out, const str *parts, size_t n, err *e) {
    size_t len = 0;
    for (size_t i = 0; i < n; i++) len += parts[i].len;
    char *text = alloc_bytes(&c->alloc, len), *to = text;
    if (!text) return chat_no_room(c, e);
    for (size_t i = 0; i < n; to += parts[i++].len)
        if (parts[i].len) memcpy(to, parts[i].data, parts[i].len);
    *out = (str){text, len}; /* which may be one of the parts */
    return true;
}

/* ---- the prompt ---- */

/* As text. stop: the message that is not in it, nor any after it. */
static bool render(chat *c, const chat_message *stop, buf *to, err *e) {
    text_template_limits limits;
    chat_context context = {.c = c, .stop = stop};
    text_template_limits_default(&limits);
    limits.now_s = (int64_t)(clock_wall_ms() / 1000);
    limits.steps += STEPS_PER_BYTE * c->body_bytes;
    limits.memory_bytes += TEXT_TEMPLATE_MEMORY_PER_BYTE * c->body_bytes;
    buf_init(to, &c->writer, SIZE_MAX / 2);
    to->tight = true;
    if (!text_template_render_told(c->a->model.template, chat_tell_context, chat_tell_part, &context,
                                   &limits, &c->alloc, to, e)) {
        if (e->code == ERR_MEMORY) return chat_no_room(c, e);
        return err_prefix(e, "'messages' is a conversation that the chat template of the model refuses: ");
    }
    return !to->failed || chat_no_room(c, e);
}

/* ---- how the answer is to look ---- */

static bool set_rule(chat *c, api_request *q, err *e) {
    buf b;
    buf_init(&b, &c->alloc, SIZE_MAX / 2);
    const text_reply_format *f = &c->a->model.reply;
    bool among = text_reply_answer_grammar(f, c->style.tools, !c->no_parallel, c->style.prompt_tail, &b);
    buf_append_str(&b, among ? STR("answer ::= ") : STR("root ::= "));
    buf_append_str(&b, c->format_source);
    if (b.failed) return chat_no_room(c, e);
    return request_set_grammar(q, TEXT_GRAMMAR_GBNF, text_of(&b), c->format_name, e);
}

static bool set_format(chat *c, api_request *q, err *e) {
    buf b;
    buf_init(&b, &c->alloc, SIZE_MAX / 2);
    if (!c->format_source.len && c->format != TEXT_GRAMMAR_JSON_OBJECT) return true;
    if (c->format_is_rule) return set_rule(c, q, e);
    if (c->format == TEXT_GRAMMAR_GBNF ||
        !text_reply_answer_grammar(&c->a->model.reply, c->style.tools, !c->no_parallel, c->style.prompt_tail, &b))
        return request_set_grammar(q, c->format, c->format_source, c->format_name, e);
    buf_append_str(&b, STR("answer ::= %json"));
    buf_append_str(&b, c->format == TEXT_GRAMMAR_SCHEMA ? c->format_source : STR("{\"type\":\"object\"}"));
    if (b.failed) return chat_no_room(c, e);
    return request_set_grammar(q, TEXT_GRAMMAR_GBNF, text_of(&b), c->format_name, e);
}

enum { TOOLS_ASKED_MAX = 128 };

/* The grammar of all tools was refused: whose parameters it was is found by compiling each one's alone. */
static bool name_the_tool(const chat *c, api_request *q, err *e) {
    str tool, tools = c->style.tools;
    size_t at = 0;
    for (int i = 0; i < TOOLS_ASKED_MAX && json_raw_item(tools, &at, &tool); i++) {
        char name[CHAT_TOOL_NAME_MAX + 1];
        size_t len = 0;
        err why = {0};
        str schema = json_raw_find(tool, STR("parameters"));
        if (!schema.len || !json_raw_string(json_raw_find(tool, STR("name")), name, sizeof name, &len)) continue;
        engine_grammar *g = engine_grammar_get(q->a->en, TEXT_GRAMMAR_SCHEMA, schema, &why);
        engine_grammar_release(q->a->en, g);
        if (g || why.code != ERR_INVALID) continue;
        *e = why;
        return err_prefix(e, "'tools': the parameters of '%.*s': ", (int)len, name);
    }
    return false;
}

static bool set_call(chat *c, api_request *q, err *e) {
    buf b;
    buf_init(&b, &c->alloc, SIZE_MAX / 2);
    str named = c->choice == CHAT_TOOLS_NAMED ? c->named : STR("");
    if (!c->n_tools) return err_set(e, ERR_INVALID, "'tool_choice' asks for a call; there are no 'tools'");
    if (!text_reply_tool_grammar(&c->a->model.reply, c->style.tools, named, !c->no_parallel && !named.len,
                                 c->style.prompt_tail, &b, &c->alloc, e))
        return e->code == ERR_INVALID ? err_prefix(e, "'tool_choice': ") : false;
    if (b.failed) return chat_no_room(c, e);
    return request_set_grammar(q, TEXT_GRAMMAR_GBNF, text_of(&b), "tools", e) ||
           (e->code == ERR_INVALID && !q->form.name && name_the_tool(c, q, e));
}

static bool set_style(chat *c, str prompt, err *e) {
    size_t tail = prompt.len < PROMPT_TAIL_BYTES ? prompt.len : PROMPT_TAIL_BYTES;
    str end = {prompt.data + prompt.len - tail, tail};
    c->style.chat = true;
    if (!chat_make_text(c, &c->style.prompt_tail, &end, 1, e)) return false;
    if (!chat_has_tools(c)) return true;
    str customs[] = {STR("["), text_of(&c->customs), STR("]")};
    if (c->customs.len && !chat_make_text(c, &c->style.customs, customs, 3, e)) return false;
    c->style.tools = text_of(&c->tools);
    return true;
}

/* The last message, when it is the beginning of the answer. */
static const chat_message *begun_answer(const chat *c) {
    bool can = c->last->role == CHAT_ASSISTANT && !chat_calls(c->last) && c->last != c->first;
    return can && (c->continue_last || c->continue_name) ? c->last : NULL;
}

/* Whether it takes not even a word of a user's with these tools. */
static bool refuses_tools(chat *c) {
    chat_message word = {.role = CHAT_USER, .text = STR("Hello.")}, *first = c->first;
    size_t mark = mem_arena_mark(&c->arena), written = mem_arena_mark(&c->writing);
    buf prompt;
    err e = {0};
    if (!chat_lists_tools(c)) return false;
    c->first = &word;
    bool refused = !render(c, NULL, &prompt, &e) && e.code == ERR_INVALID;
    c->first = first;
    mem_arena_reset(&c->arena, mark);
    mem_arena_reset(&c->writing, written);
    return refused;
}

/* A refusal is not the end while the conversation can be given another shape; the first reason is the one told. */
static bool make_prompt(chat *c, buf *prompt, err *e) {
    err further;
    uint32_t step = 0;
    bool changed;
    if (!chat_fit(c, e)) return false;
    for (err *reason = e;; reason = &further) {
        size_t mark = mem_arena_mark(&c->arena), written = mem_arena_mark(&c->writing);
        const chat_message *begun = begun_answer(c);
        if (render(c, begun, prompt, reason)) {
            mem_arena_reset(&c->arena, mark);
            if (begun) buf_append_str(prompt, begun->text);
            return !prompt->failed || chat_no_room(c, e);
        }
        if (reason->code != ERR_INVALID) return *e = *reason, false;
        mem_arena_reset(&c->arena, mark);
        mem_arena_reset(&c->writing, written);
        if (!step && refuses_tools(c)) {
            if (!chat_tell_tools(c, reason, &further)) return *e = further, false;
            continue;
        }
        if (!chat_fit_further(c, &step, &changed, &further)) return *e = further, false;
        if (!changed) return false;
    }
}

/* A text that the answer is to begin with becomes a message like those that clients add themselves. */
static bool read_prefill(chat *c, str json, err *e) {
    json_kind kind = json.len ? fields_kind(json) : JSON_NULL;
    if (kind == JSON_BOOL && json.data[0] == 't') c->continue_name = "prefill";
    if (kind == JSON_BOOL || kind == JSON_NULL) return true;
    if (kind != JSON_STRING) return err_set(e, ERR_INVALID, "'prefill' must be a boolean or a string");
    chat_message *m = chat_add(c, CHAT_ASSISTANT, e);
    c->continue_name = "prefill";
    return m && fields_text(&c->in, json, &m->text, e);
}

static bool read_shared(chat *c, const shared_values *v, err *e) {
    if (!c->template_values.len) c->template_values = v->template_values;
    if (v->continue_final) c->continue_name = "continue_final_message";
    if (!read_prefill(c, v->prefill, e)) return false;
    c->no_generation_prompt = v->generation_prompt == 1 && !c->continue_name;
    if (c->continue_name && v->generation_prompt == 2)
        return err_set(e, ERR_INVALID, "'add_generation_prompt' and '%s' are both true; one is possible",
                       c->continue_name);
    return true;
}

static bool take_form(chat *c, request_form *f, err *e) {
    if (!f->name) return true;
    if (c->format_source.len)
        return err_set(e, ERR_INVALID, "'%s' and '%s' are both given; one is possible", c->format_name, f->name);
    c->format = TEXT_GRAMMAR_GBNF;
    c->format_source = f->source;
    c->format_name = f->name;
    c->format_is_rule = !f->is_grammar;
    f->name = NULL;
    return true;
}

static bool check_begun(const chat *c, err *e) {
    if (!c->continue_name || begun_answer(c)) return true;
    return err_set(e, ERR_INVALID,
                   "'%s' is true; the last message must be a text of the assistant's, and not the only one",
                   c->continue_name);
}

bool chat_finish(chat *c, api_request *q, err *e) {
    api *a = c->a;
    buf prompt;
    if (!read_shared(c, &q->also, e) || !thinking_read(c, q, e) || !take_form(c, &q->form, e)) return false;
    if (!c->first) return err_set(e, ERR_INVALID, "'messages' is empty; there must be one at least");
    if (!check_begun(c, e)) return false;
    /* A form is asked for at once: thoughts before it only where someone wants them. */
    if (c->format_source.len && c->thinking == CHAT_THINKING_DEFAULT && a->model.reply.thinks)
        c->thinking = CHAT_THINKING_OFF;
    if (!make_prompt(c, &prompt, e)) return false;
    if (!set_style(c, text_of(&prompt), e)) return false;
    if (!api_tokenize(a, text_of(&prompt), true, &q->job.n_prompt, e)) return false;
    buf_free(&prompt); /* the newest of what it lies among: others may have its place */
    request_truncate(q);
    q->job.words = &a->model.reply;
    if (!thinking_set(c, q, e)) return false;
    bool must_call = c->choice == CHAT_TOOLS_REQUIRED || c->choice == CHAT_TOOLS_NAMED;
    return must_call ? set_call(c, q, e) : set_format(c, q, e);
}
