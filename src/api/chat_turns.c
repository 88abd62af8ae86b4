/* Templates that want conversations of one shape get them: the list of messages is rearranged. */
#include <string.h>

#include "api/chat_fit.h"

/* Said where a template insists that someone speaks. */
#define OPENING "Hello."
#define ACKNOWLEDGED "OK."
#define GO_ON "Continue."
#define NO_RESULT "(no result)"

/* ---- the list ---- */

static chat_message *insert_after(chat *c, chat_message *before, chat_role role, str text, err *e) {
    chat_message *m = alloc_zeroed(&c->alloc, sizeof *m);
    if (!m) return chat_no_room(c, e), NULL;
    *m = (chat_message){.next = before ? before->next : c->first, .role = role, .text = text};
    if (before) before->next = m;
    else c->first = m;
    if (c->last == before) c->last = m;
    return m;
}

static void remove_after(chat *c, chat_message *before) {
    chat_message *gone = before->next;
    before->next = gone->next;
    if (c->last == gone) c->last = before;
}

static chat_message *result_of(const chat_message *from, const chat_call *call) {
    for (chat_message *m = from->next; m && m->role == CHAT_TOOL; m = m->next)
        if (str_eq(m->call_id, call->id)) return m;
    return NULL;
}

static bool add_separate(chat *c, str *to, str more, err *e) {
    if (!more.len) return true;
    return (!to->len || chat_add_text(c, to, STR("\n\n"), e)) && chat_add_text(c, to, more, e);
}

/* ---- calls as text ---- */

static bool call_as_text(chat *c, chat_message *m, const chat_call *call, err *e) {
    buf b;
    json_writer w;
    buf_init(&b, &c->alloc, SIZE_MAX / 2);
    json_begin(&w, &b);
    json_object_start(&w);
    json_put_string(&w, "name", call->name);
    json_key(&w, "arguments");
    chat_put_arguments(c, call, false, &w);
    json_object_end(&w);
    if (b.failed) return chat_no_room(c, e);
    if (m->text.len && !chat_add_text(c, &m->text, STR("\n"), e)) return false;
    return chat_add_text(c, &m->text, buf_str(&b), e);
}

static bool result_as_text(chat *c, chat_message *m, err *e) {
    str parts[] = {STR("Result of "), m->name.len ? m->name : STR("the call"), STR(":\n"), m->text};
    m->role = CHAT_USER;
    return chat_make_text(c, &m->text, parts, sizeof parts / sizeof *parts, e);
}

bool chat_calls_as_text(chat *c, bool *changed, err *e) {
    *changed = false;
    for (chat_message *m = c->first; m; m = m->next) {
        *changed |= m->calls || m->role == CHAT_TOOL;
        for (const chat_call *call = m->calls; call; call = call->next)
            if (!call_as_text(c, m, call, e)) return false;
        m->calls = m->last_call = NULL;
        if (m->role == CHAT_TOOL && !result_as_text(c, m, e)) return false;
    }
    return true;
}

/* ---- one call a turn ---- */

/* The result moves to stand right behind m. */
static void pull_up(chat *c, chat_message *m, chat_message *result) {
    chat_message *before = m;
    if (!result || m->next == result) return;
    while (before->next != result) before = before->next;
    remove_after(c, before);
    result->next = m->next;
    m->next = result;
}

/* Results are found by the calls' ids; those that name none of them stay behind the last. */
static bool split_one(chat *c, chat_message *m, err *e) {
    for (chat_call *call = m->calls; call; call = m->calls) {
        chat_call *more = call->next;
        chat_message *result = result_of(m, call);
        if (!result && m->next && m->next->role == CHAT_TOOL && !m->next->call_id.len) result = m->next;
        pull_up(c, m, result);
        if (!more) return true;
        call->next = NULL;
        chat_message *next = insert_after(c, result ? result : m, CHAT_ASSISTANT, STR(""), e);
        if (!next) return false;
        next->calls = more;
        next->last_call = m->last_call;
        m->last_call = call;
        m = next;
    }
    return true;
}

bool chat_split_calls(chat *c, bool *changed, err *e) {
    *changed = false;
    for (chat_message *m = c->first; m; m = m->next) {
        if (!m->calls || !m->calls->next) continue;
        *changed = true;
        if (!split_one(c, m, e)) return false;
    }
    return true;
}

/* ---- turns ---- */

bool chat_drop_silence(chat *c, bool *changed, err *e) {
    (void)e;
    *changed = false;
    for (chat_message *m = c->first; m && m->next;) {
        const chat_message *n = m->next;
        bool silent = n->role == CHAT_ASSISTANT && !n->calls && !n->text.len && !n->reasoning.len;
        *changed |= silent;
        if (silent) remove_after(c, m);
        else m = m->next;
    }
    return true;
}

/* A result that no call stands before is something the user says. */
static bool place_results(chat *c, bool *changed, err *e) {
    bool called = false;
    for (chat_message *m = c->first; m; m = m->next) {
        if (m->role != CHAT_TOOL) called = m->calls != NULL;
        else if (!called && (*changed = true) && !result_as_text(c, m, e)) return false;
    }
    return true;
}

static bool join_neighbours(chat *c, bool *changed, err *e) {
    for (chat_message *m = c->first; m;) {
        chat_message *n = m->next;
        bool same = n && n->role == m->role && m->role != CHAT_TOOL && (!m->calls || (n->calls && !n->text.len));
        if (!same) {
            m = n;
            continue;
        }
        *changed = true;
        if (!add_separate(c, &m->text, n->text, e) || !add_separate(c, &m->reasoning, n->reasoning, e)) return false;
        if (m->calls) m->last_call->next = n->calls;
        else m->calls = n->calls;
        if (n->calls) m->last_call = n->last_call;
        remove_after(c, m);
    }
    return true;
}

/* A call that was broken off, and the conversation went on. */
static bool answer_calls(chat *c, bool *changed, err *e) {
    for (chat_message *m = c->first; m && m->next; m = m->next) {
        chat_message *last = m;
        uint32_t n_calls = 0, n_results = 0;
        if (!m->calls) continue; /* results are gone through once, from their call on */
        for (const chat_call *call = m->calls; call; call = call->next) n_calls++;
        for (; last->next && last->next->role == CHAT_TOOL; last = last->next) n_results++;
        for (const chat_call *call = m->calls; call && n_results < n_calls; call = call->next) {
            if (result_of(m, call)) continue;
            if (!(last = insert_after(c, last, CHAT_TOOL, STR(NO_RESULT), e))) return false;
            last->call_id = call->id;
            last->name = call->name;
            n_results++;
            *changed = true;
        }
    }
    return true;
}

/* Calls and their results stand between, and are nobody's turn. */
static bool alternate(chat *c, bool *changed, err *e) {
    chat_message *before = NULL, *m = c->first;
    chat_role last = CHAT_ASSISTANT;
    for (; m && m->role == CHAT_SYSTEM; m = m->next) before = m;
    if (!m || m->role != CHAT_USER) {
        if (!(before = insert_after(c, before, CHAT_USER, STR(OPENING), e))) return false;
        last = CHAT_USER;
        *changed = true;
    }
    for (; m; before = m, m = m->next) {
        if (m->role != CHAT_USER && (m->role != CHAT_ASSISTANT || m->calls)) continue;
        bool user = m->role == CHAT_USER;
        if (m->role == last) {
            *changed = true;
            if (!insert_after(c, before, user ? CHAT_ASSISTANT : CHAT_USER, user ? STR(ACKNOWLEDGED) : STR(GO_ON), e))
                return false;
        }
        last = m->role;
    }
    return true;
}

bool chat_take_turns(chat *c, bool *changed, err *e) {
    *changed = false;
    return place_results(c, changed, e) && join_neighbours(c, changed, e) && answer_calls(c, changed, e) &&
           alternate(c, changed, e);
}
