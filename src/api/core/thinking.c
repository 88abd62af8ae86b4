#include "api/core/thinking.h"

#include <stdio.h>
#include <string.h>

/* In the order of shared_values.budgets. */
static const char *const budget_names[SHARED_BUDGETS] = {"thinking_budget_tokens", "thinking_token_budget",
                                                         "thinking_budget", "reasoning_budget",
                                                         "reasoning_budget_tokens"};

/* "thinking" and "reasoning" as OpenAI's dialect has them from others. */
typedef struct thinking_object {
    uint32_t type, enabled; /* enabled: as FIELD_YES_NO */
    int32_t budget;
    bool exclude;
    str effort;
} thinking_object;

static const char *const types[] = {"disabled", "enabled", "adaptive", "auto", NULL};
enum { DISABLED, TYPE_UNSAID = 9 };
#define AT(member) offsetof(thinking_object, member)
static const field object_rows[] = {
    {"type", FIELD_WORD, AT(type), .words = types},
    {"enabled", FIELD_YES_NO, AT(enabled)},
    {"budget_tokens", FIELD_I32, AT(budget), -1, INT32_MAX},
    {"max_tokens", FIELD_I32, AT(budget), -1, INT32_MAX},
    {"effort", FIELD_STRING, AT(effort)},
    {"exclude", FIELD_BOOL, AT(exclude)},
};

static bool read_object(chat *c, const char *name, str json, int32_t *budget, const char **budget_name, err *e) {
    thinking_object o = {.type = TYPE_UNSAID, .budget = BUDGET_UNSAID};
    if (!json.len) return true;
    if (!CHAT_READ(c, name, json, object_rows, &o, e)) return false;
    bool none = str_is(o.effort, "none");
    if (o.type != TYPE_UNSAID) c->thinking = o.type == DISABLED ? CHAT_THINKING_OFF : CHAT_THINKING_ON;
    if (o.enabled || none) c->thinking = o.enabled == 1 || none ? CHAT_THINKING_OFF : CHAT_THINKING_ON;
    if (o.effort.len && !none) {
        c->thinking = CHAT_THINKING_ON;
        c->effort = o.effort;
    }
    if (o.exclude) c->style.hide_reasoning = true;
    if (o.budget != BUDGET_UNSAID && *budget == BUDGET_UNSAID) *budget = o.budget, *budget_name = name;
    return true;
}

const char *thinking_named(const shared_values *v) {
    for (int i = 0; i < SHARED_BUDGETS; i++)
        if (v->budgets[i] != BUDGET_UNSAID && v->budgets[i] != -1) return budget_names[i];
    return v->thinking                    ? "enable_thinking"
           : v->thinking_object.len       ? "thinking"
           : v->reasoning_object.len      ? "reasoning"
           : v->reasoning_format          ? "reasoning_format"
           : v->include_reasoning == 1    ? "include_reasoning"
           : v->budget_message.len        ? "reasoning_budget_message"
                                          : NULL;
}

bool thinking_read(chat *c, api_request *q, err *e) {
    const shared_values *v = &q->also;
    const char *name = "thinking.budget_tokens"; /* the dialect's own */
    int32_t budget = BUDGET_UNSAID;
    if (v->thinking) c->thinking = (chat_thinking)v->thinking;
    for (int i = 0; i < SHARED_BUDGETS; i++)
        if (v->budgets[i] != BUDGET_UNSAID) budget = v->budgets[i], name = budget_names[i];
    if (!read_object(c, "thinking", v->thinking_object, &budget, &name, e) ||
        !read_object(c, "reasoning", v->reasoning_object, &budget, &name, e))
        return false;
    if (v->include_reasoning == 1 || v->reasoning_format == REASONING_HIDDEN) c->style.hide_reasoning = true;
    bool thinks = c->a->model.reply.thinks, own = budget == BUDGET_UNSAID;
    if (!own) c->budget = budget < 0 ? 0 : (uint64_t)budget + 1;
    if (!c->budget) return true;
    if (!thinks && own && c->ignored)
        shared_fields_ignore(c->ignored, "", str_of(name), "which has no effect: this model does not think");
    if (!thinks && !own && c->budget > 1)
        return err_set(e, ERR_INVALID, "'%s' is given; this model does not think", name);
    if (!thinks) c->budget = 0;
    else if (c->budget == 1) c->thinking = CHAT_THINKING_OFF;
    else if (c->thinking == CHAT_THINKING_DEFAULT) c->thinking = CHAT_THINKING_ON;
    return true;
}

/* Tokens behind those that there are. plain: what spells a control token is text. */
static bool add(chat *c, engine_thinking *t, str text, bool plain, err *e) {
    char first[TEXT_TOKEN_BYTES_MAX];
    uint32_t n;
    if (!text.len) return true;
    if (!api_tokenize_part(c->a, text, plain, t->close + t->n_close, THOUGHT_CLOSE_MAX - t->n_close, &n, e)) {
        if (e->code != ERR_TOO_LARGE) return false;
        return err_set(e, ERR_INVALID, "'reasoning_budget_message' is more than %d tokens", THOUGHT_CLOSE_MAX);
    }
    /* some vocabularies begin every text with a blank; this is the middle of one */
    size_t len = n ? text_token_bytes(engine_vocab(c->a->en), t->close[t->n_close], true, first) : 0;
    if (len == 1 && first[0] == ' ' && text.data[0] != ' ')
        memmove(t->close + t->n_close, t->close + t->n_close + 1, --n * sizeof *t->close);
    t->n_close += n;
    return true;
}

bool thinking_set(chat *c, api_request *q, err *e) {
    const text_reply_format *f = &c->a->model.reply;
    engine_thinking *t = &q->job.sampling.thinking;
    char close[64];
    bool harmony = f->family == TEXT_REPLY_FAMILY_HARMONY, calls = c->style.tools.len > 0;
    if (!c->budget) return true;
    t->limited = true;
    t->budget = (uint32_t)(c->budget - 1);
    t->begun = text_reply_is_thinking(f, c->style.prompt_tail);
    if (harmony) /* where there are tools the model chooses what comes then */
        snprintf(close, sizeof close, "<|end|><|start|>assistant<|channel|>%s", calls ? "" : "final<|message|>");
    else
        snprintf(close, sizeof close, "\n%.*s\n\n", (int)f->think_close.len, f->think_close.data);
    return add(c, t, q->also.budget_message, true, e) && add(c, t, str_of(close), false, e);
}
