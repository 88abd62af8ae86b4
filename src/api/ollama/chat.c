/* The Ollama dialect: POST /api/chat and /api/generate (github.com/ollama/ollama, docs/api.md). */
#include "api/ollama/ollama.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/core/chat_table.h"

/* ---- how long it is remembered ---- */

/* A number and a unit each: "1h30m", "1.5s", "-1m"; seconds. */
static bool parse_duration(const char *s, double *seconds) {
    static const struct unit {
        const char *name;
        double seconds;
    } units[] = {{"ns", 1e-9}, {"us", 1e-6}, {"\xC2\xB5s", 1e-6}, {"ms", 1e-3}, {"s", 1}, {"m", 60}, {"h", 3600}};
    double sign = *s == '-' ? -1 : 1, sum = 0;
    if (*s == '-' || *s == '+') s++;
    if (!strcmp(s, "0")) return *seconds = 0, true;
    if (!*s) return false;
    while (*s) {
        char *rest;
        const struct unit *u = NULL;
        size_t digits = strspn(s, "0123456789.");
        if (!digits || (digits == 1 && *s == '.')) return false;
        double value = strtod(s, &rest);
        if (rest != s + digits) return false;
        size_t letters = strcspn(rest, "0123456789.");
        for (size_t i = 0; i < sizeof units / sizeof *units; i++)
            if (strlen(units[i].name) == letters && !memcmp(rest, units[i].name, letters)) u = &units[i];
        if (!u) return false;
        sum += value * u->seconds;
        s = rest + letters;
    }
    *seconds = sign * sum;
    return true;
}

bool ollama_read_keep_alive(const fields_in *in, str json, ollama_keep *out, err *e) {
    char text[64];
    char *rest;
    str s = json;
    *out = (ollama_keep){.given = json.len > 0};
    if (!json.len) return true;
    json_kind kind = fields_kind(json);
    if (kind == JSON_STRING && !fields_text(in, json, &s, e)) return false;
    snprintf(text, sizeof text, "%.*s", (int)(s.len < sizeof text ? s.len : sizeof text - 1), s.data);
    if (kind == JSON_STRING && strlen(text) == s.len && parse_duration(text, &out->seconds)) return true;
    if (kind == JSON_INT) {
        out->seconds = strtod(text, &rest);
        if (!*rest && isfinite(out->seconds)) return true;
    }
    return err_set(e, ERR_INVALID, "'keep_alive' must be a number of seconds or a text like \"5m\" or \"1h30m\"");
}

void ollama_set_keep_alive(api_request *q, const ollama_keep *k) {
    if (!k->given || q->cache_ttl_s != REQUEST_NOT_GIVEN) return;
    if (k->seconds == 0) q->job.remember = false;
    else if (k->seconds < 0 || k->seconds > REQUEST_TTL_MAX_S) q->job.memory.ttl_ms = UINT64_MAX;
    else q->job.memory.ttl_ms = (uint64_t)ceil(k->seconds * 1000);
}

/* ---- the request ---- */

typedef struct ollama_request {
    api_request q; /* first */
    chat *c;
    str model, messages, tools, tool_choice, prompt, system, suffix, template_text, context, images;
    str format, options, keep_alive, think, template_values, grammar;
    bool raw;
    int32_t num_predict, last_n;
    uint32_t num_ctx, max_output_tokens;
    int32_t idle_number; /* of options that mean nothing here; their types are checked */
    bool idle_flag;
    ollama_keep keep;
    uint32_t n_context; /* tokens of context */
    const chat_call *due; /* the call whose result comes next, of calls: */
    const chat_call *calls;
    chat_table by_name; /* of them, once it is asked for */
    uint32_t n_ids;
} ollama_request;

enum { LAST_N_UNSAID = INT32_MIN };

#define AT(member) offsetof(ollama_request, member)
static const field rows[] = {
    REQUEST_OWN_FIELDS(ollama_request, q),
    {"model", FIELD_STRING, AT(model)},
    {"stream", FIELD_BOOL, AT(q.stream)},
    {"format", FIELD_ANY, AT(format)},
    {"options", FIELD_OBJECT, AT(options)},
    {"keep_alive", FIELD_ANY, AT(keep_alive)},
    {"think", FIELD_ANY, AT(think)},
    {"logprobs", FIELD_BOOL, AT(q.job.sampling.logprobs)},
    {"top_logprobs", FIELD_U32, AT(q.job.sampling.top_logprobs), 0, SAMPLER_TOP_LOGPROBS_MAX},
    {"messages", FIELD_ARRAY, AT(messages)}, /* chat */
    {"tools", FIELD_ARRAY, AT(tools)},
    {"prompt", FIELD_STRING, AT(prompt)}, /* generate */
    {"system", FIELD_STRING, AT(system)},
    {"suffix", FIELD_STRING, AT(suffix)},
    {"template", FIELD_STRING, AT(template_text)},
    {"context", FIELD_ARRAY, AT(context)},
    {"images", FIELD_ARRAY, AT(images)},
    {"raw", FIELD_BOOL, AT(raw)},
    /* What some clients put beside: Ollama takes no notice of it, and a client that says so means it. */
    {"temperature", FIELD_FLOAT, AT(q.job.sampling.temperature), 0, 100},
    {"top_p", FIELD_FLOAT, AT(q.job.sampling.top_p), 0, 1},
    {"max_output_tokens", FIELD_U32, AT(max_output_tokens), 1, UINT32_MAX},
    {"tool_choice", FIELD_ANY, AT(tool_choice)},
    {"chat_template_kwargs", FIELD_OBJECT, AT(template_values)},
    {"grammar", FIELD_STRING, AT(grammar)},
};

/* Of other machines, or of ways to sample that are no more. */
#define IDLE_NUMBER(name) {name, FIELD_I32, AT(idle_number), INT32_MIN, INT32_MAX}
#define IDLE_FLAG(name) {name, FIELD_BOOL, AT(idle_flag)}

static const field option_rows[] = {
    {"repeat_last_n", FIELD_I32, AT(last_n), -1, INT32_MAX}, /* −1: all; before the shared row of that name */
    REQUEST_SAMPLING_FIELDS(ollama_request, q),
    {"num_predict", FIELD_I32, AT(num_predict), -2, INT32_MAX},
    {"num_ctx", FIELD_U32, AT(num_ctx), 1, UINT32_MAX},
    {"seed", FIELD_U64, AT(q.seed), REQUEST_SEED_LEAST, REQUEST_SEED_MOST},
    {"stop", FIELD_ANY, AT(q.stops)},
    IDLE_NUMBER("num_keep"), IDLE_NUMBER("num_batch"), IDLE_NUMBER("num_gpu"), IDLE_NUMBER("main_gpu"),
    IDLE_NUMBER("num_thread"), IDLE_FLAG("numa"), IDLE_FLAG("low_vram"), IDLE_FLAG("f16_kv"),
    IDLE_FLAG("logits_all"), IDLE_FLAG("vocab_only"), IDLE_FLAG("use_mmap"), IDLE_FLAG("use_mlock"),
    IDLE_FLAG("embedding_only"), IDLE_FLAG("penalize_newline"),
};

/* Ollama's own, but for repetition: the same text must come of every dialect. */
static void begin_request(api *a, ollama_request *x, chat *c) {
    *x = (ollama_request){.c = c, .last_n = LAST_N_UNSAID};
    request_begin(a, &x->q);
    c->ignored = &x->q.ignored;
    engine_sampling *s = &x->q.job.sampling;
    s->temperature = 0.8f;
    s->top_k = 40;
    s->top_p = 0.9f;
    s->min_p = 0;
    x->q.stream = true;
}

/* ---- messages ---- */

typedef struct message_fields {
    uint32_t role;
    str content, thinking, images, tool_calls, tool_name, tool_call_id;
} message_fields;

enum { ROLE_UNSAID = UINT32_MAX };
#define MESSAGE_AT(member) offsetof(message_fields, member)
static const char *const roles[] = {"system", "user", "assistant", "tool", NULL}; /* chat_role */
static const field message_rows[] = {{"role", FIELD_WORD, MESSAGE_AT(role), .words = roles},
                                     {"content", FIELD_STRING, MESSAGE_AT(content)},
                                     {"thinking", FIELD_STRING, MESSAGE_AT(thinking)},
                                     {"images", FIELD_ARRAY, MESSAGE_AT(images)},
                                     {"tool_calls", FIELD_ARRAY, MESSAGE_AT(tool_calls)},
                                     {"tool_name", FIELD_STRING, MESSAGE_AT(tool_name)},
                                     {"tool_call_id", FIELD_STRING, MESSAGE_AT(tool_call_id)}};

typedef struct call_fields {
    str id, function, name, arguments;
} call_fields;

static const field call_rows[] = {{"id", FIELD_STRING, offsetof(call_fields, id)},
                                  {"function", FIELD_OBJECT, offsetof(call_fields, function)}};
static const field called_rows[] = {{"name", FIELD_STRING, offsetof(call_fields, name)},
                                    {"arguments", FIELD_OBJECT, offsetof(call_fields, arguments)}};

/* Ollama's calls had no ids for long. */
static bool make_id(ollama_request *x, str *id, err *e) {
    char *text = mem_arena_take(&x->c->arena, API_CALL_ID_BYTES, 1);
    if (!text) return chat_no_room(x->c, e);
    *id = str_of(api_short_id(++x->n_ids, text));
    return true;
}

typedef struct call_reader {
    ollama_request *x;
    chat_message *m;
} call_reader;

static bool on_call(void *ctx, const field_item *item, err *e) {
    call_reader *r = ctx;
    chat *c = r->x->c;
    call_fields f = {0};
    char path[FIELD_PATH_BYTES];
    snprintf(path, sizeof path, "%s.function", item->path);
    if (!CHAT_READ(c, item->path, item->json, call_rows, &f, e)) return false;
    if (!f.function.len) return err_set(e, ERR_INVALID, "'%s' is missing", path);
    if (!CHAT_READ(c, path, f.function, called_rows, &f, e)) return false;
    if (!f.name.len) return err_set(e, ERR_INVALID, "'%s.name' is missing", path);
    if (!f.id.len && !make_id(r->x, &f.id, e)) return false;
    return chat_add_call(c, r->m, f.id, f.name, f.arguments.len ? f.arguments : STR("{}"), e);
}

static str name_of_call(const void *call) { return ((const chat_call *)call)->name; }

/* The first of this turn's calls of that name. */
static bool find_call(ollama_request *x, str name, const chat_call **call, err *e) {
    uint32_t n = 0;
    if (!x->by_name.slots) {
        for (const chat_call *c = x->calls; c; c = c->next) n++;
        if (!chat_table_begin(&x->by_name, &x->c->alloc, n, name_of_call)) return chat_no_room(x->c, e);
        for (const chat_call *c = x->calls; c; c = c->next) {
            const void **slot = chat_table_slot(&x->by_name, c->name);
            if (!*slot) *slot = c;
        }
    }
    *call = *chat_table_slot(&x->by_name, name);
    return true;
}

/* A result names its call, or only the function, or nothing: then results come in the order of the calls. */
static bool set_call_of_result(ollama_request *x, const message_fields *f, chat_message *m, err *e) {
    const chat_call *call = x->due;
    if (f->tool_call_id.len) return chat_set_whose(x->c, m, f->tool_call_id, f->tool_name, e);
    bool other = f->tool_name.len && call && !str_eq(call->name, f->tool_name);
    if (other && !find_call(x, f->tool_name, &call, e)) return false;
    if (call) x->due = call->next;
    return chat_set_whose(x->c, m, call ? call->id : STR(""), f->tool_name, e);
}

static bool no_images(const char *path, str images, err *e) {
    if (images.len <= 2) return true; /* [] */
    return err_set(e, ERR_INVALID, "'%s' are given; this model does not see", path);
}

static bool on_message(void *ctx, const field_item *item, err *e) {
    ollama_request *x = ctx;
    chat *c = x->c;
    message_fields f = {.role = ROLE_UNSAID};
    char path[FIELD_PATH_BYTES];
    if (!CHAT_READ(c, item->path, item->json, message_rows, &f, e)) return false;
    if (f.role == ROLE_UNSAID) return err_set(e, ERR_INVALID, "'%s.role' is missing", item->path);
    if (f.role != CHAT_ASSISTANT && !f.content.data)
        return err_set(e, ERR_INVALID, "'%s.content' is missing", item->path);
    snprintf(path, sizeof path, "%s.images", item->path);
    if (!no_images(path, f.images, e)) return false;
    chat_message *m = chat_add(c, (chat_role)f.role, e);
    if (!m) return false;
    m->text = f.content;
    if (!chat_set_reasoning(c, m, f.thinking, e)) return false;
    if (m->role == CHAT_TOOL && !set_call_of_result(x, &f, m, e)) return false;
    if (m->role != CHAT_ASSISTANT || !f.tool_calls.len) return true;
    snprintf(path, sizeof path, "%s.tool_calls", item->path);
    if (!chat_each(c, path, f.tool_calls, on_call, &(call_reader){x, m}, e)) return false;
    x->due = x->calls = chat_calls(m);
    x->by_name = (chat_table){0};
    return true;
}

/* ---- what else is asked for ---- */

bool ollama_read_context(chat *c, api_request *q, str options, uint32_t *num_ctx, err *e) {
    ollama_request x;
    if (!options.len) return true;
    begin_request(q->a, &x, c);
    x.q.ignored = q->ignored;
    bool ok = request_read(&x.q, &c->in, "options.", options, option_rows, sizeof option_rows / sizeof *option_rows, e);
    q->ignored = x.q.ignored;
    c->ignored = &q->ignored;
    *num_ctx = x.num_ctx;
    request_end(&x.q);
    return ok;
}

static bool read_options(ollama_request *x, err *e) {
    engine_sampling *s = &x->q.job.sampling;
    if (x->options.len && !request_read(&x->q, &x->c->in, "options.", x->options, option_rows,
                                        sizeof option_rows / sizeof *option_rows, e))
        return false;
    if (!request_settle(&x->q, &x->c->in, ROUTE_LOGPROBS | (x->raw ? 0 : ROUTE_CHAT), e)) return false;
    if (x->last_n != LAST_N_UNSAID)
        s->repeat_last_n = x->last_n >= 0 && x->last_n < SAMPLER_LAST_N_MAX ? x->last_n : SAMPLER_LAST_N_MAX;
    if (x->q.seed == UINT64_MAX) x->q.seed = REQUEST_NO_SEED; /* −1 */
    if (s->top_logprobs && !s->logprobs)
        return err_set(e, ERR_INVALID, "'top_logprobs' is given, and 'logprobs' is not true");
    x->c->style.n_logprobs = s->top_logprobs;
    if (x->num_predict > 0) x->q.job.max_tokens = (uint32_t)x->num_predict;
    else if (x->max_output_tokens) x->q.job.max_tokens = x->max_output_tokens;
    fields_in in = x->c->in;
    return ollama_read_keep_alive(&in, x->keep_alive, &x->keep, e) &&
           request_set_stops(&x->q, &in, "options.stop", e);
}

static bool read_format(ollama_request *x, err *e) {
    chat *c = x->c;
    str word = STR("");
    c->format = TEXT_GRAMMAR_GBNF;
    c->format_source = x->grammar;
    c->format_name = "grammar";
    if (!x->format.len) return true;
    json_kind kind = fields_kind(x->format);
    if (kind == JSON_STRING && !fields_text(&c->in, x->format, &word, e)) return false;
    if (kind == JSON_STRING && !word.len) return true;
    if (kind != JSON_OBJECT_START && !str_is(word, "json"))
        return err_set(e, ERR_INVALID, "'format' must be \"json\" or a JSON schema");
    if (x->grammar.len) return err_set(e, ERR_INVALID, "'grammar' and 'format' are both given");
    c->format = kind == JSON_STRING ? TEXT_GRAMMAR_JSON_OBJECT : TEXT_GRAMMAR_SCHEMA;
    c->format_source = kind == JSON_STRING ? STR("{}") : x->format;
    c->format_name = "format";
    return true;
}

static bool read_think(ollama_request *x, err *e) {
    static const char *const efforts[] = {"low", "medium", "high"};
    chat *c = x->c;
    str word = STR("");
    if (!x->think.len) return true;
    json_kind kind = fields_kind(x->think);
    if (kind == JSON_STRING && !fields_text(&c->in, x->think, &word, e)) return false;
    for (int i = 0; i < 3; i++)
        if (str_is(word, efforts[i])) c->effort = str_of(efforts[i]);
    if (kind != JSON_BOOL && !c->effort.len)
        return err_set(e, ERR_INVALID, "'think' must be a boolean, or low, medium or high");
    c->thinking = kind == JSON_STRING || x->think.data[0] == 't' ? CHAT_THINKING_ON : CHAT_THINKING_OFF;
    if (c->thinking == CHAT_THINKING_ON && !x->q.a->model.reply.thinks)
        return err_set(e, ERR_INVALID, "'think' is asked for; \"%s\" does not support thinking",
                       api_model_name(x->q.a));
    return true;
}

static bool refuse_what_cannot_be(const ollama_request *x, err *e) {
    if (x->suffix.len) return err_set(e, ERR_INVALID, "'suffix' is given; this server does not fill in the middle");
    if (x->template_text.len)
        return err_set(e, ERR_INVALID, "'template' is given; this server takes the model's own (or \"raw\": true)");
    return no_images("images", x->images, e);
}

static bool on_context_id(void *ctx, const field_item *item, err *e) {
    ollama_request *x = ctx;
    if (item->kind != JSON_INT) return err_set(e, ERR_INVALID, "'context' must be an array of token ids");
    return api_add_token(x->q.a, "context", item->integer, &x->n_context, e);
}

/* The ids of what was said before go in front of the prompt that stands in a->tokens. */
static bool put_context_before(ollama_request *x, err *e) {
    api *a = x->q.a;
    uint32_t n = x->q.job.n_prompt, context = engine_context(a->en);
    text_token bos = text_vocab_bos(engine_vocab(a->en));
    if (!x->context.len || x->context.len <= 2) return true;
    size_t bytes = n * sizeof(int32_t);
    int32_t *prompt = alloc_bytes(&x->c->alloc, bytes);
    if (!prompt) return err_set_memory(e, bytes, mem_ledger_available(a->ledger), "no memory for a prompt");
    memcpy(prompt, a->tokens, bytes);
    if (!chat_each(x->c, "context", x->context, on_context_id, x, e)) return false;
    uint32_t from = x->n_context && n && bos != TEXT_NO_TOKEN && prompt[0] == (int32_t)bos; /* it begins but once */
    if (x->n_context + n - from > context)
        return err_set_tokens(e, x->n_context + n - from, context);
    memcpy(a->tokens + x->n_context, prompt + from, (n - from) * sizeof *prompt);
    x->q.job.n_prompt = x->n_context + n - from;
    return true;
}

/* What there is to answer with: the server's context, or less where num_ctx says so. Nothing is cut off in silence. */
static bool finish_request(ollama_request *x, err *e) {
    uint32_t n = x->q.job.n_prompt, left = REQUEST_NOT_GIVEN;
    if (x->num_ctx && n >= x->num_ctx)
        return err_set(e, ERR_TOO_LARGE, "the prompt has %u tokens, and 'options.num_ctx' is %u", n, x->num_ctx);
    if (x->num_ctx && x->num_ctx < engine_context(x->q.a->en)) left = x->num_ctx - n;
    if (x->q.job.max_tokens > left) x->q.job.max_tokens = left;
    if (!request_finish(&x->q, left, e)) return false;
    ollama_set_keep_alive(&x->q, &x->keep);
    return true;
}

static bool read_body(api *a, str body, ollama_request *x, chat *c, err *e) {
    begin_request(a, x, c);
    if (!request_read(&x->q, &c->in, "", body, rows, sizeof rows / sizeof *rows, e)) return false;
    if (!x->model.len) return err_set(e, ERR_INVALID, "'model' is missing");
    c->template_values = x->template_values;
    return api_check_model(a, x->model, e) && read_options(x, e) && read_format(x, e) && read_think(x, e);
}

static bool read_chat(ollama_request *x, err *e) {
    chat *c = x->c;
    c->style.flavour = OLLAMA_CHAT;
    if (!x->messages.len) return true;
    if (!chat_each(c, "messages", x->messages, on_message, x, e) || !c->first) return !e->code;
    if (!chat_read_tools(c, x->tools, e) || !chat_read_tool_choice(c, x->tool_choice, e)) return false;
    return chat_finish(c, &x->q, e) && finish_request(x, e);
}

static bool read_raw(ollama_request *x, err *e) {
    chat *c = x->c;
    return api_tokenize(x->q.a, x->prompt, false, &x->q.job.n_prompt, e) &&
           request_set_grammar(&x->q, c->format, c->format_source, c->format_name, e);
}

static bool read_templated(ollama_request *x, err *e) {
    chat *c = x->c;
    chat_message *m;
    if (x->system.len) {
        if (!(m = chat_add(c, CHAT_SYSTEM, e))) return false;
        m->text = x->system;
    }
    if (!(m = chat_add(c, CHAT_USER, e))) return false;
    m->text = x->prompt;
    return chat_finish(c, &x->q, e);
}

static bool read_generate(ollama_request *x, err *e) {
    x->c->style.flavour = OLLAMA_GENERATE;
    if (!refuse_what_cannot_be(x, e)) return false;
    if (!x->prompt.len && x->context.len <= 2) return true;
    return (x->raw ? read_raw(x, e) : read_templated(x, e)) && put_context_before(x, e) && finish_request(x, e);
}

/* Nothing is asked: clients do so to have the model loaded, or unloaded. */
static void answer_nothing(const ollama_request *x, http_request *r) {
    API_PAGE(body, 1024);
    json_writer w;
    json_begin(&w, &body);
    json_object_start(&w);
    ollama_put_head(x->q.a, &w);
    if (x->c->style.flavour == OLLAMA_CHAT) {
        ollama_begin_message(&w);
        json_put_string(&w, "content", STR(""));
        json_object_end(&w);
    } else {
        json_put_string(&w, "response", STR(""));
    }
    json_put_bool(&w, "done", true);
    json_put_string(&w, "done_reason", STR("load"));
    json_object_end(&w);
    if (x->q.stream) buf_append_str(&body, STR("\n"));
    http_reply(r, 200, x->q.stream ? ollama_dialect.stream_type : "application/json", buf_str(&body));
}

static bool keeps_model(const ollama_request *x, err *e) {
    if (!x->keep.given || x->keep.seconds != 0) return true;
    return err_set(e, ERR_INVALID, "'keep_alive' is 0 and nothing is asked: this server keeps its one model until it "
                                   "is stopped");
}

static void handle(api *a, http_request *r, bool (*read)(ollama_request *x, err *e)) {
    ollama_request x = {0};
    chat c;
    err e = {0};
    bool begun = chat_begin(&c, a, http_body(r).len, &e);
    bool good = begun && read_body(a, http_body(r), &x, &c, &e) && read(&x, &e);
    request_name_ignored(&x.q, r);
    if (good && x.q.job.n_prompt) api_generate(a, r, &ollama_dialect, &x.q.job, 1, x.q.stream, &c.style);
    else if (good && keeps_model(&x, &e)) answer_nothing(&x, r);
    else api_refuse(a, r, &ollama_dialect, &e);
    request_end(&x.q);
    if (begun) chat_end(&c);
}

void ollama_chat(api *a, http_request *r) { handle(a, r, read_chat); }
void ollama_generate(api *a, http_request *r) { handle(a, r, read_generate); }
