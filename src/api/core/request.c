#include "api/core/request.h"

#include <math.h>
#include <stdio.h>
#include <sys/random.h>

#include "api/core/core.h"
#include "api/core/thinking.h"

/* In the order of compute_kv_type. */
const char *const request_kv_types[] = {"f16", "q8", "q4", NULL};
_Static_assert(sizeof request_kv_types / sizeof *request_kv_types == COMPUTE_KV_TYPES + 1,
               "a word for each type");

/* ---- fields with a shape of their own ---- */

enum { BIAS_TEXT_BYTES = 256, BIAS_TEXT_TOKENS = 32 };

static bool add_stop(sched_request *r, const char *name, str s, err *e) {
    if (r->n_stops == GENERATION_STOPS_MAX)
        return err_set(e, ERR_INVALID, "'%s' has more than %d strings", name, GENERATION_STOPS_MAX);
    if (s.len == 0 || s.len > GENERATION_STOP_BYTES)
        return err_set(e, ERR_INVALID, "a string of '%s' must have 1 to %d bytes, not %zu", name,
                       GENERATION_STOP_BYTES, s.len);
    engine_stop *stop = &r->stops[r->n_stops++];
    stop->len = (uint16_t)s.len;
    memcpy(stop->text, s.data, s.len);
    return true;
}

typedef struct stop_reader {
    api_request *q;
    const char *name;
} stop_reader;

static bool wrong_stops(const char *name, err *e) {
    return err_set(e, ERR_INVALID, "'%s' must be a string or an array of strings", name);
}

static bool on_stop(void *ctx, const field_item *item, err *e) {
    const stop_reader *x = ctx;
    if (item->kind != JSON_STRING) return wrong_stops(x->name, e);
    return add_stop(&x->q->job, x->name, item->text, e);
}

bool request_set_stops(api_request *q, const fields_in *in, const char *name, err *e) {
    str text;
    if (!q->stops.len) return true;
    json_kind kind = fields_kind(q->stops);
    if (kind == JSON_STRING) return fields_text(in, q->stops, &text, e) && add_stop(&q->job, name, text, e);
    if (kind != JSON_ARRAY_START) return wrong_stops(name, e);
    fields_in items = {in->parser, in->texts, name};
    return fields_each(&items, q->stops, on_stop, &(stop_reader){q, name}, e);
}

/* Digits and nothing else: strtol would take blanks and signs, and stop at a NUL. */
static bool parse_token_id(str s, int32_t *id) {
    int64_t value = 0;
    if (s.len == 0 || s.len > 10) return false;
    for (size_t i = 0; i < s.len; i++) {
        if (s.data[i] < '0' || s.data[i] > '9') return false;
        value = value * 10 + (s.data[i] - '0');
    }
    *id = (int32_t)value;
    return value <= INT32_MAX;
}

static bool wrong_bias(err *e) {
    return err_set(e, ERR_INVALID,
                   "'logit_bias' must be an object of token ids and numbers, or an array of [id or text, number]");
}

static bool add_bias(engine_sampling *s, int32_t id, err *e) {
    if (s->n_bias == SAMPLER_BIAS_MAX)
        return err_set(e, ERR_INVALID, "'logit_bias' has more than %d entries", SAMPLER_BIAS_MAX);
    s->bias[s->n_bias++] = (engine_bias){id, 0};
    return true;
}

/* All tokens of a text. */
static bool add_text_bias(api_request *q, str text, err *e) {
    int32_t ids[BIAS_TEXT_TOKENS];
    uint32_t n;
    if (!text.len || text.len > BIAS_TEXT_BYTES)
        return err_set(e, ERR_INVALID, "a text of 'logit_bias' must have 1 to %d bytes", BIAS_TEXT_BYTES);
    if (!api_tokenize_word(q->a, text, ids, BIAS_TEXT_TOKENS, &n, e)) return err_prefix(e, "'logit_bias': ");
    for (uint32_t i = 0; i < n; i++)
        if (!add_bias(&q->job.sampling, ids[i], e)) return false;
    return true;
}

/* What an entry's tokens get; false: they are banned. */
static bool end_bias(api_request *q, const json_event *ev, err *e) {
    engine_sampling *s = &q->job.sampling;
    bool bans = ev->kind == JSON_BOOL && !ev->boolean;
    if (q->bias_from == s->n_bias || (!bans && ev->kind != JSON_INT && ev->kind != JSON_DOUBLE)) return wrong_bias(e);
    for (; q->bias_from < s->n_bias; q->bias_from++) s->bias[q->bias_from].bias = bans ? -INFINITY : (float)ev->number;
    return true;
}

/* [[15043, -1.5], ["text", false], …] */
static bool on_bias_item(api_request *q, const json_event *ev, int depth, err *e) {
    bool ends = ev->kind == JSON_ARRAY_END, first = q->bias_from == q->job.sampling.n_bias && !q->bias_whole;
    if (depth == 1 && (ev->kind == JSON_ARRAY_START || ends)) {
        if (ends && !q->bias_whole) return wrong_bias(e);
        return q->bias_whole = false, true;
    }
    if (depth != 2 || q->bias_whole) return wrong_bias(e);
    if (!first) return end_bias(q, ev, e) && (q->bias_whole = true);
    if (ev->kind == JSON_STRING) return add_text_bias(q, ev->text, e);
    bool id = ev->kind == JSON_INT && ev->integer >= 0 && ev->integer <= INT32_MAX;
    return id ? add_bias(&q->job.sampling, (int32_t)ev->integer, e) : wrong_bias(e);
}

/* {"token id": bias, …}, or llama.cpp's array */
bool request_on_logit_bias(void *target, const json_event *ev, int depth, err *e) {
    api_request *q = target;
    if (depth == 0) {
        q->bias_is_array = ev->kind == JSON_ARRAY_START || ev->kind == JSON_ARRAY_END;
        return q->bias_is_array || ev->kind == JSON_OBJECT_START || ev->kind == JSON_OBJECT_END || wrong_bias(e);
    }
    if (q->bias_is_array) return on_bias_item(q, ev, depth, e);
    if (depth == 1 && ev->kind == JSON_KEY) {
        int32_t id;
        if (parse_token_id(ev->text, &id)) return add_bias(&q->job.sampling, id, e);
        return err_set(e, ERR_INVALID, "'logit_bias' has the key '%.*s'; keys are token ids",
                       (int)(ev->text.len < 32 ? ev->text.len : 32), ev->text.data);
    }
    return depth == 1 ? end_bias(q, ev, e) : wrong_bias(e);
}

/* ---- before and after the fields ---- */

void request_begin(api *a, api_request *q) {
    memset(q, 0, sizeof *q);
    q->a = a;
    q->n = 1;
    q->seed = REQUEST_NO_SEED;
    q->cache = q->job.speculate = true;
    engine_sampling_default(&q->job.sampling);
    q->job.params = engine_kv_params(a->en);
    q->kv_type = q->job.params.type;
    q->window = q->keep = q->cache_ttl_s = REQUEST_NOT_GIVEN;
    q->ignored.a = a;
    for (int i = 0; i < SHARED_BUDGETS; i++) q->also.budgets[i] = BUDGET_UNSAID;
}

bool request_read(api_request *q, const fields_in *in, const char *path, str json, const field *rows, size_t n,
                  err *e) {
    fields_more more = {shared_fields, shared_fields_count, q, shared_fields_ignore, &q->ignored};
    fields_in with = {in->parser, in->texts, path, &more};
    return fields_parse_in(&with, json, rows, n, true, q, NULL, e);
}

void request_name_ignored(const api_request *q, http_request *r) {
    const ignored_names *x = &q->ignored;
    char text[sizeof x->text + 8];
    if (!x->n && !x->n_more) return;
    snprintf(text, sizeof text, "%s%s", x->text, x->n_more ? ", ..." : "");
    http_set_header(r, "X-Plimsoll-Ignored", text);
}

/* ---- the shared fields ---- */

/* vLLM's counts all of the text; ours the last repeat_last_n: all that can be, unless somebody says otherwise. */
static void set_repetition(api_request *q) {
    engine_sampling standard, *s = &q->job.sampling;
    if (!q->also.repetition_penalty) return;
    engine_sampling_default(&standard);
    s->repeat_penalty = q->also.repetition_penalty;
    if (s->repeat_last_n == standard.repeat_last_n) s->repeat_last_n = SAMPLER_LAST_N_MAX;
}

static bool only_chat(const api_request *q, err *e) {
    const shared_values *v = &q->also;
    const char *name = v->continue_final      ? "continue_final_message"
                       : v->prefill.len       ? "prefill"
                       : v->generation_prompt ? "add_generation_prompt"
                       : v->template_values.len > 2 ? "chat_template_kwargs"
                                                    : thinking_named(v);
    return !name || err_set(e, ERR_INVALID, "'%s' is given; this route has no conversation: use one of chats", name);
}

/* Without a conversation the answer is the form alone. */
static bool set_form(api_request *q, const fields_in *in, err *e) {
    request_form *f = &q->form;
    buf b;
    if (!f->name) return true;
    buf_init(&b, in->texts, SIZE_MAX / 2);
    if (!f->is_grammar) buf_append_str(&b, STR("root ::= "));
    buf_append_str(&b, f->source);
    if (b.failed) return err_set_memory(e, b.len, 0, "no memory for the form of the answer");
    return request_set_grammar(q, TEXT_GRAMMAR_GBNF, buf_str(&b), f->name, e);
}

bool request_settle(api_request *q, const fields_in *in, uint32_t route, err *e) {
    const shared_values *v = &q->also;
    engine_sampling *s = &q->job.sampling;
    if (!(route & ROUTE_CHAT) && !only_chat(q, e)) return false;
    if (v->n_probs && !(route & ROUTE_LOGPROBS))
        return err_set(e, ERR_INVALID, "'n_probs' is given: answers of this route have no log probabilities");
    if (v->n_probs) s->logprobs = true;
    if (v->n_probs > s->top_logprobs) s->top_logprobs = v->n_probs;
    set_repetition(q);
    if (v->detokenize == 1) return err_set(e, ERR_INVALID, "'detokenize' is false; answers have texts here, not ids");
    s->show_special = v->skip_special == 1;
    if (!request_set_sampling(q, in, e) || !request_read_form(q, in, e)) return false;
    if (!(route & ROUTE_CHAT) && !set_form(q, in, e)) return false;
    if (!q->job.max_tokens && v->n_predict > 0) q->job.max_tokens = (uint32_t)v->n_predict;
    if (!q->job.max_tokens) q->job.max_tokens = v->max_new_tokens;
    return true;
}

/* A window of the request's own stands instead of the server's, with what it keeps. */
static bool set_params(api_request *q, err *e) {
    const api_config *c = &q->a->config;
    kv_params *t = &q->job.params;
    t->type = (kv_type)q->kv_type;
    t->window = q->window == REQUEST_NOT_GIVEN ? c->window : q->window;
    t->keep = q->keep != REQUEST_NOT_GIVEN ? q->keep : q->window == REQUEST_NOT_GIVEN ? c->keep : 0;
    if (t->keep && !t->window)
        return err_set(e, ERR_INVALID, "'keep' is %u, and there is no 'window'", t->keep);
    t->tenant = api_tenant_salt(q->a);
    if (q->also.cache_salt.len) t->tenant ^= str_hash(q->also.cache_salt) | 1;
    t->share = t->share && q->cache;
    if (q->job.memory.pin && !q->cache)
        return err_set(e, ERR_INVALID, "'pin' asks to remember what \"cache\": false forbids");
    q->job.remember = t->share;
    if (q->cache_ttl_s != REQUEST_NOT_GIVEN) /* 0 seconds: never; not, as in the cache, its own default */
        q->job.memory.ttl_ms = q->cache_ttl_s ? q->cache_ttl_s * 1000ull : UINT64_MAX;
    return true;
}

/* A window has no end: there, too, an answer that nothing was said about ends where the context would. */
static void set_max_tokens(api_request *q, uint32_t default_tokens) {
    if (q->job.max_tokens) return;
    uint32_t context = engine_context(q->a->en), n_prompt = q->job.n_prompt;
    q->job.max_tokens = default_tokens;
    if (default_tokens == REQUEST_NOT_GIVEN && n_prompt < context) q->job.max_tokens = context - n_prompt;
}

void request_truncate(api_request *q) {
    uint32_t most = q->also.truncate_prompt, n = q->job.n_prompt;
    if (!most || n <= most || n > engine_context(q->a->en)) return; /* beyond the context ids are only counted */
    memmove(q->a->tokens, q->a->tokens + (n - most), most * sizeof *q->a->tokens);
    q->job.n_prompt = most;
}

bool request_finish(api_request *q, uint32_t default_tokens, err *e) {
    request_truncate(q);
    if (q->n > q->a->config.most_answers)
        return err_set(e, ERR_INVALID, "'n' is %u; the queue of this server holds %u", q->n,
                       q->a->config.most_answers);
    if (q->adapter.len)
        return err_set(e, ERR_INVALID, "'adapter' is '%.*s'; this server has no adapters",
                       (int)(q->adapter.len < 64 ? q->adapter.len : 64), q->adapter.data);
    if (!set_params(q, e)) return false;
    set_max_tokens(q, default_tokens);
    if (q->job.sampling.top_logprobs) q->job.sampling.logprobs = true;
    if (q->seed == REQUEST_NO_SEED && getrandom(&q->seed, sizeof q->seed, 0) < 0)
        q->seed = (uint64_t)(uintptr_t)q;
    q->job.sampling.seed = q->seed;
    q->job.whole = !q->stream;
    q->job.tenant = q->a->tenant;
    q->job.prompt = q->a->tokens;
    return true;
}

bool request_set_grammar(api_request *q, text_grammar_kind kind, str source, const char *name, err *e) {
    if (!source.len) return true;
    if (q->job.sampling.grammar && q->form.name)
        return err_set(e, ERR_INVALID, "'%s' and '%s' are both given; one is possible", name, q->form.name);
    q->job.sampling.grammar = engine_grammar_get(q->a->en, kind, source, e);
    q->job.sampling.grammar_name = name;
    return q->job.sampling.grammar || (e->code == ERR_INVALID ? err_prefix(e, "'%s': ", name) : false);
}

void request_end(api_request *q) {
    if (q->job.sampling.grammar) engine_grammar_release(q->a->en, q->job.sampling.grammar);
    q->job.sampling.grammar = NULL;
}
