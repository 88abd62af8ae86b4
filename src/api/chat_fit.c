#include "api/chat_fit.h"

#include <string.h>

/* ---- what the model is known to need ---- */

static const char
    tool_words[] = "You can call these functions:\n",
    tool_form[] =
        "\nTo call one, answer with nothing but a JSON object of this form: "
        "{\"name\": \"…\", \"arguments\": {…}}. Its result comes with the next message.";

static bool tell_of_tools(chat *c, str *system, err *e) {
    str tools = {c->tools.data + 1, c->tools.len - 2}; /* without brackets */
    str parts[] = {*system, system->len ? STR("\n\n") : STR(""), str_of(tool_words), tools, str_of(tool_form)};
    return chat_make_text(c, system, parts, sizeof parts / sizeof *parts, e);
}

/* Calls by their ids. */
typedef struct call_table {
    const chat_call **slots;
    size_t n_slots; /* a power of two, at least twice as many as calls */
} call_table;

/* The slot of this id, or the free one where it belongs. */
static const chat_call **call_slot(const call_table *t, str id) {
    size_t i = (size_t)str_hash(id) & (t->n_slots - 1);
    while (t->slots[i] && !str_eq(t->slots[i]->id, id)) i = (i + 1) & (t->n_slots - 1);
    return &t->slots[i];
}

/* A result says whose it is by the call's id alone; templates want the name. Of calls that share an id it is the
 * latest before the result. */
static bool name_results(chat *c, err *e) {
    size_t mark = mem_arena_mark(&c->arena), n_calls = 0;
    call_table t = {.n_slots = 2};
    for (const chat_message *m = c->first; m; m = m->next)
        for (const chat_call *call = m->calls; call; call = call->next) n_calls++;
    while (t.n_slots < 2 * n_calls) t.n_slots *= 2;
    t.slots = alloc_zeroed(&c->alloc, t.n_slots * sizeof *t.slots);
    if (!t.slots) return chat_no_room(c, e);
    for (chat_message *m = c->first; m; m = m->next) {
        for (const chat_call *call = m->calls; call; call = call->next) *call_slot(&t, call->id) = call;
        if (m->role != CHAT_TOOL || m->name.len) continue;
        const chat_call *call = *call_slot(&t, m->call_id);
        if (call) m->name = call->name;
    }
    mem_arena_reset(&c->arena, mark);
    return true;
}

/* What stands before everything else, for templates that know no such message in the beginning of the user's
 * first. */
static bool put_system(chat *c, str system, err *e) {
    chat_message *user = c->first;
    if (!system.len) return true;
    while (user && user->role != CHAT_USER) user = user->next;
    if (c->a->model.system || !user) {
        chat_message *m = alloc_zeroed(&c->alloc, sizeof *m);
        if (!m) return chat_no_room(c, e);
        *m = (chat_message){
            .next = c->first, .role = c->a->model.system ? CHAT_SYSTEM : CHAT_USER, .text = system};
        c->first = m;
        if (!c->last) c->last = m;
        return true;
    }
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
    for (const chat_message *m = c->first; m && !*changed; m = m->next) *changed = m->calls != NULL;
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
