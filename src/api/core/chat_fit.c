#include "api/core/chat_fit.h"

#include <string.h>

#include "api/core/chat_table.h"
#include "base/log.h"

/* ---- what the model is known to need ---- */

enum { DUE_MAX = 64 };

static const char
    tool_words[] = "You can call these functions:\n",
    tool_form[] =
        "\nTo call one, answer with nothing but a JSON object of this form: "
        "{\"name\": \"…\", \"arguments\": {…}}. Its result comes with the next message.";

static bool tell_of_tools(chat *c, str *system, err *e) {
    str tools, function;
    buf b;
    json_writer w;
    buf_init(&b, &c->alloc, SIZE_MAX / 2);
    b.tight = true;
    for (size_t at = 0; json_raw_item(buf_str(&c->tools), &at, &function);) {
        if (b.len) buf_append_str(&b, STR(","));
        json_begin(&w, &b);
        chat_put_tool(c, function, &w);
    }
    if (b.failed) return chat_no_room(c, e);
    tools = buf_str(&b);
    str parts[] = {*system, system->len ? STR("\n\n") : STR(""), str_of(tool_words), tools, str_of(tool_form)};
    return chat_make_text(c, system, parts, sizeof parts / sizeof *parts, e);
}

static str id_of_call(const void *call) { return ((const chat_call *)call)->id; }

/* The call that a result without an id is of: the next one that is due, or the next of that name. */
static const chat_call *find_due(const chat_call *due, str name) {
    const chat_call *call = due;
    for (int n = 0; call && name.len && n < DUE_MAX && !str_eq(call->name, name); n++) call = call->next;
    return call && (!name.len || str_eq(call->name, name)) ? call : due;
}

void chat_put_tool(const chat *c, str function, json_writer *w) {
    str description = json_raw_find(function, STR("description"));
    json_object_start(w);
    json_put_string(w, "type", STR("function"));
    json_key(w, "function");
    json_object_start(w);
    json_key(w, "name");
    json_raw(w, json_raw_find(function, STR("name")));
    if (description.len || c->a->model.described)
        json_key(w, "description"), json_raw(w, description.len ? description : STR("\"\""));
    json_key(w, "parameters");
    json_raw(w, text_reply_parameters(json_raw_find(function, STR("parameters")), true));
    json_object_end(w);
    json_object_end(w);
}

/* A result says whose it is by the call's id alone; templates want the name. Of calls that share an id it is the
 * latest before the result; results without one come in the order of the calls. */
static bool name_results(chat *c, err *e) {
    size_t mark = mem_arena_mark(&c->writing), n_calls = 0;
    const chat_call *due = NULL;
    chat_table t;
    for (const chat_message *m = c->first; m; m = m->next)
        for (const chat_call *call = chat_calls(m); call; call = call->next) n_calls++;
    if (!chat_table_begin(&t, &c->writer, n_calls, id_of_call)) return chat_no_room(c, e);
    for (chat_message *m = c->first; m; m = m->next) {
        for (const chat_call *call = chat_calls(m); call; call = call->next)
            *chat_table_slot(&t, call->id) = call;
        if (m->role != CHAT_TOOL) {
            due = chat_calls(m);
            continue;
        }
        str id = chat_whose_of(m)->call_id, name = chat_whose_of(m)->name;
        const chat_call *call = id.len ? *chat_table_slot(&t, id) : find_due(due, name);
        if (call && call == due) due = due->next;
        if (!call || (id.len && name.len)) continue;
        if (!chat_set_whose(c, m, call->id, name.len ? name : call->name, e)) return false;
    }
    mem_arena_reset(&c->writing, mark);
    return true;
}

/* What stands before everything else, for templates that know no such message in the beginning of the user's
 * first. */
static bool put_system(chat *c, str system, err *e) {
    chat_message *user = c->first;
    if (!system.len) return true;
    while (user && user->role != CHAT_USER) user = user->next;
    if (c->a->model.system || !user)
        return chat_insert(c, NULL, c->a->model.system ? CHAT_SYSTEM : CHAT_USER, system, e);
    str parts[] = {system, STR("\n\n"), user->text};
    return chat_make_text(c, &user->text, parts, sizeof parts / sizeof *parts, e);
}

/* Messages of the system's that stand in the beginning are taken off, as one text. */
static bool take_system(chat *c, str *system, err *e) {
    *system = STR("");
    for (; c->first && c->first->role == CHAT_SYSTEM; c->first = c->first->next) {
        if (system->len && c->first->text.len && !chat_add_text(c, system, STR("\n\n"), e)) return false;
        if (c->first->text.len && !chat_add_text(c, system, c->first->text, e)) return false;
    }
    if (!c->first) c->last = NULL;
    return true;
}

bool chat_fit(chat *c, err *e) {
    const chat_model *m = &c->a->model;
    bool changed;
    str system;
    if (!take_system(c, &system, e)) return false;
    if (chat_has_tools(c) && !m->tools && !tell_of_tools(c, &system, e)) return false;
    if (!name_results(c, e)) return false;
    for (chat_message *x = c->first; x; x = x->next)
        if (x->role == CHAT_SYSTEM && !m->late_system) x->role = CHAT_USER;
    if (!m->calls && !chat_calls_as_text(c, &changed, e)) return false;
    if (m->calls && m->one_call && !chat_split_calls(c, &changed, e)) return false;
    return put_system(c, system, e) && (!m->turns || chat_take_turns(c, &changed, e));
}

/* ---- what helps where the template still refuses ---- */

bool chat_tell_tools(chat *c, const err *reason, err *e) {
    chat_model *m = &c->a->model;
    str system;
    if (!m->refused_tools)
        log_warn("api", "the model's chat template refuses the tools of a request, which are described in words in the "
                        "system message instead: %s", reason->message);
    m->refused_tools = c->told_tools = true;
    return take_system(c, &system, e) && tell_of_tools(c, &system, e) && put_system(c, system, e);
}

static bool only_object(void *unused, const json_event *ev, err *e) {
    (void)unused;
    return ev->depth > 0 || ev->kind == JSON_OBJECT_START || ev->kind == JSON_OBJECT_END ||
           err_set(e, ERR_INVALID, "arguments that are no object");
}

bool chat_is_object(const chat *c, str json) {
    err e;
    return json_parse(&c->parser, json, only_object, NULL, &e);
}

/* A model may have written what is no JSON; its answer is part of the conversation all the same: as a text, or,
 * where a template wants to go through an object's members, as the only member of one. */
void chat_put_arguments(const chat *c, const chat_call *call, bool as_text, json_writer *w) {
    str arguments = call->arguments.len ? call->arguments : STR("{}");
    if (!as_text && chat_is_object(c, arguments)) {
        json_raw(w, arguments);
    } else if (as_text || !c->wrap_arguments) {
        json_string(w, arguments);
    } else {
        json_object_start(w);
        json_put_string(w, "arguments", arguments);
        json_object_end(w);
    }
}

static bool wrap_arguments(chat *c, bool *changed, err *e) {
    (void)e;
    *changed = false;
    for (const chat_message *m = c->first; m && !*changed; m = m->next) *changed = chat_calls(m) != NULL;
    c->wrap_arguments = true;
    return true;
}

static bool calls_as_text_in_turns(chat *c, bool *changed, err *e) {
    bool turns;
    return chat_calls_as_text(c, changed, e) && (!*changed || chat_take_turns(c, &turns, e));
}

bool chat_fit_further(chat *c, uint32_t *step, bool *changed, err *e) {
    static bool (*const steps[])(chat *, bool *, err *) = {wrap_arguments, chat_split_calls, chat_drop_silence,
                                                           chat_take_turns, calls_as_text_in_turns};
    for (*changed = false; !*changed && *step < sizeof steps / sizeof *steps;)
        if (!steps[(*step)++](c, changed, e)) return false;
    return true;
}
