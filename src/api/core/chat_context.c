/* The conversation as the template is given it. */
#include "api/core/chat_fit.h"

#include <string.h>

static bool put(chat_context *x, const json_event *ev) { return text_template_put(x->in, ev); }

static bool put_kind(chat_context *x, json_kind kind) { return put(x, &(json_event){.kind = kind}); }

/* What a client's text spells is text: nobody begins a message of the system's inside of his own. */
static bool quote_controls(chat_context *x, str *s) {
    const text_vocab *v = engine_vocab(x->c->a->en);
    size_t from = 0, at = text_template_is_counting(x->in) ? s->len : text_find_control(v, *s, 0);
    buf quoted;
    if (at == s->len) return true;
    buf_init(&quoted, &x->c->alloc, SIZE_MAX / 2);
    for (; at < s->len; from = at, at = text_find_control(v, *s, at + 1)) {
        buf_append(&quoted, s->data + from, at - from);
        buf_append_str(&quoted, STR(TEXT_QUOTE));
    }
    buf_append(&quoted, s->data + from, at - from);
    *s = buf_str(&quoted);
    return !quoted.failed || chat_no_room(x->c, x->e);
}

static bool put_text(chat_context *x, json_kind kind, str s) {
    return quote_controls(x, &s) && put(x, &(json_event){.kind = kind, .text = s});
}

static bool put_key(chat_context *x, const char *key) {
    return put(x, &(json_event){.kind = JSON_KEY, .text = str_of(key)});
}

static bool put_member(chat_context *x, const char *key, str s) {
    return put_key(x, key) && put_text(x, JSON_STRING, s);
}

static bool put_flag(chat_context *x, const char *key, bool value) {
    return put_key(x, key) && put(x, &(json_event){.kind = JSON_BOOL, .boolean = value});
}

/* ---- JSON as it stands ---- */

/* What was unescaped stays for this call alone. */
static bool keep(chat_context *x, str *s) {
    bool inside = s->data >= x->json.data && s->data + s->len <= x->json.data + x->json.len;
    return inside || !s->len || text_template_is_counting(x->in) || text_template_passes(x->in) ||
            chat_make_text(x->c, s, s, 1, x->e);
}

static bool on_json(void *ctx, const json_event *ev, err *e) {
    chat_context *x = ctx;
    (void)e;
    if (ev->kind != JSON_STRING && ev->kind != JSON_KEY) return put(x, ev);
    str text = ev->text;
    return keep(x, &text) && put_text(x, ev->kind, text);
}

/* An object's members alone. */
static bool on_members(void *ctx, const json_event *ev, err *e) {
    bool outermost = ev->depth == 0 && (ev->kind == JSON_OBJECT_START || ev->kind == JSON_OBJECT_END);
    return outermost || on_json(ctx, ev, e);
}

static bool put_json(chat_context *x, str json, json_on_event *how) {
    x->json = json;
    return json_parse(&x->c->parser, json, how, x, x->e);
}

/* Told when it is looked into; an empty one at once. */
static bool put_object(chat_context *x, str json) {
    str key, member;
    if (!json_raw_member(json, &(size_t){0}, &key, &member))
        return put_kind(x, JSON_OBJECT_START) && put_kind(x, JSON_OBJECT_END);
    return text_template_put_part(x->in, json);
}

/* ---- messages ---- */

/* Some templates insist on nine letters and digits: other ids become such, the same ones the same. */
static bool is_plain_id(str s) {
    if (s.len != API_CALL_ID_BYTES - 1) return false;
    for (size_t i = 0; i < s.len; i++) {
        char ch = s.data[i];
        if (!((ch >= '0' && ch <= '9') || (ch >= 'A' && ch <= 'Z') || (ch >= 'a' && ch <= 'z'))) return false;
    }
    return true;
}

static bool put_id(chat_context *x, const char *key, str id) {
    char made[API_CALL_ID_BYTES];
    bool as_it_is = x->c->a->model.long_ids ? id.len > 0 : is_plain_id(id);
    if (!as_it_is && !text_template_is_counting(x->in)) {
        str plain = str_of(api_short_id(str_hash(id), made));
        if (!chat_make_text(x->c, &id, &plain, 1, x->e)) return false;
    }
    return put_member(x, key, id);
}

/* As chat_put_arguments. */
static bool put_arguments(chat_context *x, const chat_call *call) {
    bool as_text = x->c->a->model.arguments_as_text;
    str arguments = call->arguments.len ? call->arguments : STR("{}");
    if (!as_text && chat_is_object(x->c, arguments)) return put_object(x, arguments);
    if (as_text || !x->c->wrap_arguments) return put_text(x, JSON_STRING, arguments);
    return put_kind(x, JSON_OBJECT_START) && put_member(x, "arguments", arguments) && put_kind(x, JSON_OBJECT_END);
}

static bool put_call(chat_context *x, const chat_call *call) {
    return put_kind(x, JSON_OBJECT_START) && put_id(x, "id", call->id) && put_member(x, "type", STR("function")) &&
           put_key(x, "function") && put_kind(x, JSON_OBJECT_START) && put_member(x, "name", call->name) &&
           put_key(x, "arguments") && put_arguments(x, call) && put_kind(x, JSON_OBJECT_END) &&
           put_kind(x, JSON_OBJECT_END);
}

static bool put_calls(chat_context *x, const chat_call *call) {
    if (!call) return true;
    if (!put_key(x, "tool_calls") || !put_kind(x, JSON_ARRAY_START)) return false;
    for (; call; call = call->next)
        if (!put_call(x, call)) return false;
    return put_kind(x, JSON_ARRAY_END);
}

static bool put_message(chat_context *x, const chat_message *m) {
    if (!put_kind(x, JSON_OBJECT_START) || !put_member(x, "role", str_of(chat_role_names[m->role])) ||
        !put_member(x, "content", m->text))
        return false;
    const chat_said *said = chat_said_of(m);
    const chat_whose *whose = chat_whose_of(m);
    if (said->reasoning.len && !put_member(x, "reasoning_content", said->reasoning)) return false;
    if (whose->name.len && !put_member(x, "name", whose->name)) return false;
    if (m->role == CHAT_TOOL && !put_id(x, "tool_call_id", whose->call_id)) return false;
    return put_calls(x, said->calls) && put_kind(x, JSON_OBJECT_END);
}

static bool put_messages(chat_context *x) {
    if (!put_key(x, "messages") || !put_kind(x, JSON_ARRAY_START)) return false;
    for (const chat_message *m = x->c->first; m != x->stop; m = m->next)
        if (!put_message(x, m)) return false;
    return put_kind(x, JSON_ARRAY_END);
}

/* ---- the whole ---- */

static bool put_tools(chat_context *x) {
    const chat *c = x->c;
    if (chat_lists_tools(c)) {
        str function;
        if (!put_key(x, "tools") || !put_kind(x, JSON_ARRAY_START)) return false;
        for (size_t at = 0; json_raw_item(buf_str(&c->tools), &at, &function);)
            if (!text_template_put_part(x->in, function)) return false;
        return put_kind(x, JSON_ARRAY_END);
    }
    return !c->a->model.null_tools || (put_key(x, "tools") && put_kind(x, JSON_NULL));
}

static bool put_token(chat_context *x, const char *key, text_token t) {
    str text = t == TEXT_NO_TOKEN ? STR("") : text_vocab_token(engine_vocab(x->c->a->en), t);
    return put_key(x, key) && put(x, &(json_event){.kind = JSON_STRING, .text = text});
}

/* As chat_put_tool. */
static bool put_tool(chat_context *x, str function) {
    str name = json_raw_find(function, STR("name")), description = json_raw_find(function, STR("description"));
    if (!description.len && x->c->a->model.described) description = STR("\"\"");
    str parameters = text_reply_parameters(json_raw_find(function, STR("parameters")), true);
    return put_kind(x, JSON_OBJECT_START) && put_member(x, "type", STR("function")) && put_key(x, "function") &&
           put_kind(x, JSON_OBJECT_START) && put_key(x, "name") && put_json(x, name, on_json) &&
           (!description.len || (put_key(x, "description") && put_json(x, description, on_json))) &&
           put_key(x, "parameters") && put_json(x, parameters, on_json) && put_kind(x, JSON_OBJECT_END) &&
           put_kind(x, JSON_OBJECT_END);
}

bool chat_tell_part(void *ctx, text_template_input *in, str json, err *e) {
    chat_context *x = ctx;
    const buf *tools = &x->c->tools;
    x->in = in;
    x->e = e;
    bool is_tool = tools->len && json.data >= tools->data && json.data < tools->data + tools->len;
    return is_tool ? put_tool(x, json) : put_json(x, json, on_json);
}

bool chat_tell_context(void *ctx, text_template_input *in, err *e) {
    chat_context *x = ctx;
    const chat *c = x->c;
    const text_vocab *v = engine_vocab(c->a->en);
    x->in = in;
    x->e = e;
    return put_kind(x, JSON_OBJECT_START) && put_messages(x) && put_tools(x) &&
           put_flag(x, "add_generation_prompt", !c->no_generation_prompt) &&
           put_token(x, "bos_token", text_vocab_bos(v)) && put_token(x, "eos_token", text_vocab_eos(v)) &&
           (!c->thinking || put_flag(x, "enable_thinking", c->thinking == CHAT_THINKING_ON)) &&
           (!c->effort.len || put_member(x, "reasoning_effort", c->effort)) &&
           (!c->template_values.len || put_json(x, c->template_values, on_members)) && put_kind(x, JSON_OBJECT_END);
}
