/* Templates that want conversations of one shape get them: the list of messages is rearranged. */
#include <string.h>

#include "api/core/chat_fit.h"
#include "api/core/chat_table.h"

/* Said where a template insists that someone speaks. */
#define OPENING "Hello."
#define ACKNOWLEDGED "OK."
#define GO_ON "Continue."
#define NO_RESULT "(no result)"

/* ---- the list ---- */

static void remove_after(chat *c, chat_message *before) {
    chat_message *gone = before->next;
    before->next = gone->next;
    if (c->last == gone) c->last = before;
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
    str name = chat_whose_of(m)->name;
    str parts[] = {STR("Result of "), name.len ? name : STR("the call"), STR(":\n"), m->text};
    m->role = CHAT_USER;
    m->whose = NULL;
    return chat_make_text(c, &m->text, parts, sizeof parts / sizeof *parts, e);
}

bool chat_calls_as_text(chat *c, bool *changed, err *e) {
    *changed = false;
    for (chat_message *m = c->first; m; m = m->next) {
        *changed |= chat_calls(m) || m->role == CHAT_TOOL;
        for (const chat_call *call = chat_calls(m); call; call = call->next)
            if (!call_as_text(c, m, call, e)) return false;
        if (chat_calls(m)) m->said->calls = m->said->last_call = NULL;
        if (m->role == CHAT_TOOL && !result_as_text(c, m, e)) return false;
    }
    return true;
}

/* ---- results by their calls ---- */

/* The results of a turn's calls, in their order; of those with the same id each knows the next. */
typedef struct result {
    chat_message *m;
    struct result *same;
    bool taken;
} result;

typedef struct results {
    result *at;
    size_t n, left; /* the first that may not be taken yet */
    chat_table by_id;
} results;

static str id_of_result(const void *r) { return chat_whose_of(((const result *)r)->m)->call_id; }

static size_t count_calls(const chat_message *m) {
    size_t n = 0;
    for (const chat_call *call = chat_calls(m); call; call = call->next) n++;
    return n;
}

/* In c->writing, until that is reset. */
static bool find_results(chat *c, const chat_message *of, results *out, err *e) {
    size_t n = 0;
    *out = (results){0};
    for (chat_message *m = of->next; m && m->role == CHAT_TOOL; m = m->next) n++;
    out->at = alloc_zeroed(&c->writer, n * sizeof *out->at + 1);
    if (!out->at || !chat_table_begin(&out->by_id, &c->writer, n, id_of_result)) return chat_no_room(c, e);
    for (chat_message *m = of->next; out->n < n; m = m->next) out->at[out->n++].m = m;
    for (size_t i = n; i-- > 0;) { /* backwards: the first of an id is the one found */
        const void **slot = chat_table_slot(&out->by_id, id_of_result(&out->at[i]));
        out->at[i].same = (result *)(uintptr_t)*slot;
        *slot = &out->at[i];
    }
    return true;
}

/* ---- one call a turn ---- */

/* The result of this call; where none names it, the next in line if that names none either. */
static chat_message *take_result(results *all, str id) {
    const void **slot = chat_table_slot(&all->by_id, id);
    result *r = (result *)(uintptr_t)*slot;
    while (r && r->taken && r->same) *slot = r = r->same; /* those behind are gone through once */
    if (r && r->taken) r = NULL;
    while (all->left < all->n && all->at[all->left].taken) all->left++;
    if (!r && all->left < all->n && !id_of_result(&all->at[all->left]).len) r = &all->at[all->left];
    if (!r) return NULL;
    r->taken = true;
    return r->m;
}

static chat_message *turn_of_rest(chat *c, chat_message *before, chat_message *of, chat_call *call, err *e) {
    chat_message *m = chat_insert(c, before, CHAT_ASSISTANT, STR(""), e);
    chat_said *x = m ? chat_make_said(c, m, e) : NULL;
    if (!x) return NULL;
    x->calls = call->next;
    x->last_call = of->said->last_call;
    of->said->last_call = call;
    call->next = NULL;
    return m;
}

static void put_behind(chat *c, chat_message *before, chat_message *m) {
    m->next = before->next;
    before->next = m;
    if (c->last == before) c->last = m;
}

/* Results that name none of the calls stay behind the last. */
static bool split_one(chat *c, chat_message *m, err *e) {
    size_t mark = mem_arena_mark(&c->writing);
    results all;
    if (!find_results(c, m, &all, e)) return false;
    chat_message *end = all.n ? all.at[all.n - 1].m : m;
    if (c->last == end) c->last = m;
    m->next = end->next;
    for (chat_call *call = chat_calls(m); call; call = chat_calls(m)) {
        chat_message *before = m, *found = take_result(&all, call->id);
        if (found) put_behind(c, m, found), before = found;
        if (!call->next) {
            m = before;
            break;
        }
        if (!(m = turn_of_rest(c, before, m, call, e))) return false;
    }
    for (size_t i = all.left; i < all.n; i++)
        if (!all.at[i].taken) put_behind(c, m, all.at[i].m), m = all.at[i].m;
    mem_arena_reset(&c->writing, mark);
    return true;
}

bool chat_split_calls(chat *c, bool *changed, err *e) {
    *changed = false;
    for (chat_message *m = c->first; m; m = m->next) {
        if (count_calls(m) < 2) continue;
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
        bool silent = n->role == CHAT_ASSISTANT && !chat_calls(n) && !n->text.len && !chat_said_of(n)->reasoning.len;
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
        if (m->role != CHAT_TOOL) called = chat_calls(m) != NULL;
        else if (!called && (*changed = true) && !result_as_text(c, m, e)) return false;
    }
    return true;
}

static bool join_said(chat *c, chat_message *m, const chat_said *more, err *e) {
    if (!more->calls && !more->reasoning.len) return true;
    chat_said *x = chat_make_said(c, m, e);
    if (!x || !add_separate(c, &x->reasoning, more->reasoning, e)) return false;
    if (x->calls) x->last_call->next = more->calls;
    else x->calls = more->calls;
    if (more->calls) x->last_call = more->last_call;
    return true;
}

static bool join_neighbours(chat *c, bool *changed, err *e) {
    for (chat_message *m = c->first; m;) {
        chat_message *n = m->next;
        bool same = n && n->role == m->role && m->role != CHAT_TOOL &&
                    (!chat_calls(m) || (chat_calls(n) && !n->text.len));
        if (!same) {
            m = n;
            continue;
        }
        *changed = true;
        if (!add_separate(c, &m->text, n->text, e) || !join_said(c, m, chat_said_of(n), e)) return false;
        remove_after(c, m);
    }
    return true;
}

/* A call that was broken off, and the conversation went on. */
static bool answer_calls_of(chat *c, chat_message *m, size_t n_missing, bool *changed, err *e) {
    size_t mark = mem_arena_mark(&c->writing);
    results all;
    if (!find_results(c, m, &all, e)) return false;
    chat_message *last = all.n ? all.at[all.n - 1].m : m;
    for (const chat_call *call = chat_calls(m); call && n_missing; call = call->next) {
        if (*chat_table_slot(&all.by_id, call->id)) continue;
        if (!(last = chat_insert(c, last, CHAT_TOOL, STR(NO_RESULT), e))) return false;
        if (!chat_set_whose(c, last, call->id, call->name, e)) return false;
        n_missing--;
        *changed = true;
    }
    mem_arena_reset(&c->writing, mark);
    return true;
}

static bool answer_calls(chat *c, bool *changed, err *e) {
    for (chat_message *m = c->first; m && m->next; m = m->next) {
        size_t n_calls = count_calls(m), n_results = 0; /* results are gone through once, from their call on */
        for (const chat_message *r = m->next; n_calls && r && r->role == CHAT_TOOL; r = r->next) n_results++;
        if (n_results < n_calls && !answer_calls_of(c, m, n_calls - n_results, changed, e)) return false;
    }
    return true;
}

/* Calls and their results stand between, and are nobody's turn. */
static bool alternate(chat *c, bool *changed, err *e) {
    chat_message *before = NULL, *m = c->first;
    chat_role last = CHAT_ASSISTANT;
    for (; m && m->role == CHAT_SYSTEM; m = m->next) before = m;
    if (!m || m->role != CHAT_USER) {
        if (!(before = chat_insert(c, before, CHAT_USER, STR(OPENING), e))) return false;
        last = CHAT_USER;
        *changed = true;
    }
    for (; m; before = m, m = m->next) {
        if (m->role != CHAT_USER && (m->role != CHAT_ASSISTANT || chat_calls(m))) continue;
        bool user = m->role == CHAT_USER;
        if (m->role == last) {
            *changed = true;
            if (!chat_insert(c, before, user ? CHAT_ASSISTANT : CHAT_USER, user ? STR(ACKNOWLEDGED) : STR(GO_ON), e))
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
