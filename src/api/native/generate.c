/* The native dialect: POST /generate (and its alias /generate-lite), POST /fit. */
#include <stdio.h>
#include <string.h>

#include "api/core/chat.h"
#include "api/native/native.h"

enum { LOGPROB_TEXT_BYTES = 128 };

typedef struct native_request {
    api_request q; /* first */
    chat c; /* only its memory */
    bool has_prompt;
    str grammar, schema; /* a GBNF text; a JSON schema, as it stands */
} native_request;

/* ---- fields with a shape of their own ---- */

static bool on_prompt(void *target, const json_event *ev, int depth, err *e) {
    native_request *x = target;
    api *a = x->q.a;
    if (depth == 0 && ev->kind == JSON_STRING) {
        x->has_prompt = true;
        if (ev->text.len == 0) return err_set(e, ERR_INVALID, "'prompt' is empty");
        return api_tokenize(a, ev->text, false, &x->q.job.n_prompt, e);
    }
    if (depth == 0 && ev->kind == JSON_ARRAY_START) return x->has_prompt = true;
    if (depth == 0 && ev->kind == JSON_ARRAY_END)
        return x->q.job.n_prompt > 0 ? api_check_prompt(a, x->q.job.n_prompt, e)
                                     : err_set(e, ERR_INVALID, "'prompt' is an empty array");
    if (depth == 0) return err_set(e, ERR_INVALID, "'prompt' must be a string or an array of token ids");
    if (depth != 1 || ev->kind != JSON_INT)
        return err_set(e, ERR_INVALID, "'prompt' as an array must hold token ids from 0 to %u",
                       text_vocab_size(engine_vocab(a->en)) - 1);
    return api_add_token(a, "prompt", ev->integer, &x->q.job.n_prompt, e);
}

#define AT(member) offsetof(native_request, member)

static const field fields[] = {
    {"prompt", FIELD_CUSTOM, .events = on_prompt},
    {"max_tokens", FIELD_U32, AT(q.job.max_tokens), 1, UINT32_MAX},
    REQUEST_SAMPLING_FIELDS(native_request, q),
    REQUEST_OWN_FIELDS(native_request, q),
    {"seed", FIELD_U64, AT(q.seed), 0, 9007199254740992.0},
    {"stop", FIELD_ANY, AT(q.stops)},
    {"stream", FIELD_BOOL, AT(q.stream)},
    {"logprobs", FIELD_BOOL, AT(q.job.sampling.logprobs)},
    {"top_logprobs", FIELD_U32, AT(q.job.sampling.top_logprobs), 0, SAMPLER_TOP_LOGPROBS_MAX},
    {"n", FIELD_U32, AT(q.n), 1, ANSWER_JOBS_MAX},
    {"grammar", FIELD_STRING, AT(grammar)},
    {"json_schema", FIELD_OBJECT, AT(schema)},
    {"model", FIELD_IGNORED},
};
enum { N_FIELDS = sizeof fields / sizeof *fields };

/* ---- wording ---- */

static void put_error(const err *e, buf *to) {
    char name[64];
    http_error_json(to, e->message, err_code_name(e->code), api_error_param(e, name, sizeof name), NULL);
}

static void error_words(const answer_failure *f, buf *to) { put_error(f->e, to); }

/* Long tokens are cut: a record must fit a pending buffer whatever the vocabulary holds. */
static void put_token(const text_vocab *v, int32_t token, float logprob, json_writer *w) {
    char text[TEXT_TOKEN_BYTES_MAX];
    size_t n = text_token_bytes(v, token, true, text);
    json_put_int(w, "token", token);
    json_put_string(w, "text", (str){text, n < LOGPROB_TEXT_BYTES ? n : LOGPROB_TEXT_BYTES});
    json_put_fixed(w, "logprob", (double)logprob, 6);
}

static void put_logprob(const text_vocab *v, const engine_sample *s, json_writer *w) {
    json_object_start(w);
    put_token(v, s->token, s->logprob, w);
    json_key(w, "top");
    json_array_start(w);
    for (uint32_t i = 0; i < s->n_top; i++) {
        json_object_start(w);
        put_token(v, s->top[i].token, s->top[i].logprob, w);
        json_object_end(w);
    }
    json_array_end(w);
    json_object_end(w);
}

static void put_finish(engine_finish finish, int32_t stopped_by, json_writer *w) {
    json_put_string(w, "finish_reason", str_of(engine_finish_name(finish)));
    json_key(w, "stop_index");
    if (stopped_by < 0)
        json_null(w);
    else
        json_int(w, stopped_by);
}

static void put_index(answer *x, uint32_t i, json_writer *w) {
    if (x->n_jobs > 1) json_put_uint(w, "index", i);
}

static void token_words(answer *x, uint32_t i, const sched_output *out, buf *to) {
    json_writer w;
    buf_append_str(to, STR("data: "));
    json_begin(&w, to);
    json_object_start(&w);
    put_index(x, i, &w);
    json_put_string(&w, "text", out->text);
    json_put_int(&w, "token", out->sample.token);
    if (x->logprobs) {
        json_key(&w, "logprobs");
        put_logprob(engine_vocab(x->a->en), &out->sample, &w);
    }
    json_object_end(&w);
    buf_append_str(to, STR("\n\n"));
}

/* The envelope of an error, with the answer's index when there are several: one fails, the others go on. */
static void put_failure(answer *x, uint32_t i, const err *e, buf *to) {
    size_t start = to->len;
    char index[32];
    put_error(e, to);
    if (x->n_jobs == 1 || to->failed) return;
    int n = snprintf(index, sizeof index, "{\"index\":%u,", i);
    buf_append(to, index, (size_t)n - 1); /* only for its room: the brace that opens the envelope is there */
    memmove(to->data + start + n, to->data + start + 1, to->len - start - (size_t)n);
    memcpy(to->data + start, index, (size_t)n);
}

static void put_usage(answer *x, uint32_t first, uint32_t n, json_writer *w) {
    sched_usage u;
    api_sum_usage(x, first, n, &u);
    json_key(w, "usage");
    json_object_start(w);
    json_put_uint(w, "prompt_tokens", u.prompt_tokens);
    json_put_uint(w, "completion_tokens", u.completion_tokens);
    json_put_uint(w, "total_tokens", (uint64_t)u.prompt_tokens + u.completion_tokens);
    json_put_uint(w, "cached_tokens", u.cached_tokens);
    json_object_end(w);
    api_put_own(x, &u, n, w);
}

static void end_words(answer *x, uint32_t i, const sched_output *out, buf *to) {
    json_writer w;
    buf_append_str(to, STR("data: "));
    if (out->what == SCHED_FAILED) {
        put_failure(x, i, &out->failure, to);
    } else {
        json_begin(&w, to);
        json_object_start(&w);
        json_put_bool(&w, "done", true);
        put_index(x, i, &w);
        put_finish(out->finish, out->stopped_by, &w);
        put_usage(x, i, 1, &w);
        json_object_end(&w);
    }
    buf_append_str(to, STR("\n\n"));
}

static void put_choice(answer *x, const answer_choice *c, json_writer *w) {
    json_put_string(w, "text", c->text);
    if (x->logprobs) {
        json_key(w, "logprobs");
        json_raw(w, c->logprobs);
    }
    put_finish(c->finish, c->stopped_by, w);
}

static void whole_words(answer *x, const answer_choice *choices, buf *to) {
    json_writer w;
    json_begin(&w, to);
    json_object_start(&w);
    json_put_string(&w, "model", str_of(api_model_name(x->a)));
    put_choice(x, &choices[0], &w);
    if (x->n_jobs > 1) {
        json_key(&w, "choices");
        json_array_start(&w);
        for (uint32_t i = 0; i < x->n_jobs; i++) {
            json_object_start(&w);
            json_put_uint(&w, "index", i);
            put_choice(x, &choices[i], &w);
            json_object_end(&w);
        }
        json_array_end(&w);
    }
    put_usage(x, 0, x->n_jobs, &w);
    json_object_end(&w);
}

static void logprob_words(answer *x, const sched_output *out, json_writer *w) {
    put_logprob(engine_vocab(x->a->en), &out->sample, w);
}

static const dialect native = {.stream_type = "text/event-stream",
                               .keep_alive = ": keep-alive\n\n",
                               .token = token_words,
                               .end = end_words,
                               .whole = whole_words,
                               .logprob = logprob_words,
                               .error = error_words};

/* ---- the route ---- */

static bool set_grammar(native_request *x, err *e) {
    if (x->grammar.len && x->schema.len)
        return err_set(e, ERR_INVALID, "'grammar' and 'json_schema' are both given; one is possible");
    return request_set_grammar(&x->q, x->schema.len ? TEXT_GRAMMAR_SCHEMA : TEXT_GRAMMAR_GBNF,
                               x->schema.len ? x->schema : x->grammar,
                               x->schema.len ? "json_schema" : "grammar", e);
}

static bool parse(api *a, str body, native_request *x, err *e) {
    request_begin(a, &x->q);
    fields_more more = {shared_fields, shared_fields_count, &x->q, shared_fields_ignore, &x->q.ignored};
    fields_in in = {x->c.in.parser, x->c.in.texts, "", &more};
    if (!fields_parse_in(&in, body, fields, N_FIELDS, false, x, NULL, e)) return false;
    in.more = NULL;
    if (!request_settle(&x->q, &in, ROUTE_LOGPROBS, e)) return false;
    if (!x->has_prompt) return err_set(e, ERR_INVALID, "'prompt' is missing");
    return request_set_stops(&x->q, &in, "stop", e) &&
           request_finish(&x->q, a->config.default_max_tokens, e) && set_grammar(x, e);
}

void native_generate(api *a, http_request *r) {
    native_request x = {0};
    err e = {0};
    bool begun = chat_begin(&x.c, a, http_body(r).len, &e), good = begun && parse(a, http_body(r), &x, &e);
    request_name_ignored(&x.q, r);
    if (good)
        api_generate(a, r, &native, &x.q.job, x.q.n, x.q.stream, &(answer_style){0});
    else
        api_refuse(a, r, &native, &e);
    request_end(&x.q);
    if (begun) chat_end(&x.c);
}

/* ---- would it fit ---- */

static void put_fit(api *a, const api_request *q, const sched_fit *fit, json_writer *w) {
    json_object_start(w);
    json_put_bool(w, "fits", fit->ever);
    json_put_bool(w, "now", fit->now);
    json_put_uint(w, "prompt_tokens", q->job.n_prompt);
    json_put_uint(w, "cached_tokens", fit->cached_tokens);
    json_put_uint(w, "required_bytes", fit->required_bytes);
    json_put_uint(w, "available_bytes", fit->available_bytes);
    json_put_uint(w, "pool_bytes", fit->pool_bytes);
    json_put_uint(w, "queued", fit->queued);
    json_put_uint(w, "retry_after_s", fit->ever && !fit->now ? sched_retry_after_s(a->sched) : 0);
    json_key(w, "reason");
    if (fit->now)
        json_null(w);
    else
        json_string(w, str_of(fit->reason.message));
    json_object_end(w);
}

static void fits_never(api *a, const err *e, sched_fit *fit) {
    kv_cache_counts kv;
    engine_counters unused;
    sched_counts jobs;
    sched_engine_read(a->sched, &kv, &unused);
    sched_read(a->sched, &jobs);
    *fit = (sched_fit){.pool_bytes = kv.pool.full_bytes,
                       .available_bytes = kv.pool.budget_bytes - kv.pool.used_bytes + kv.pool.evictable_bytes,
                       .queued = jobs.queued,
                       .reason = *e};
}

/* For one answer; when a request asks for n, each by itself. */
void native_fit(api *a, http_request *r) {
    native_request x = {0};
    sched_fit fit;
    err e = {0};
    bool begun = chat_begin(&x.c, a, http_body(r).len, &e), good = begun && parse(a, http_body(r), &x, &e);
    if (good)
        good = sched_would_fit(a->sched, &x.q.job, &fit, &e);
    else if (e.code == ERR_TOO_LARGE)
        fits_never(a, &e, &fit), good = true;
    request_end(&x.q);
    if (begun) chat_end(&x.c);
    if (!good) {
        api_refuse(a, r, &native, &e);
        return;
    }
    API_PAGE(body, 2048);
    json_writer w;
    json_begin(&w, &body);
    put_fit(a, &x.q, &fit, &w);
    api_reply_json(r, 200, &body);
}
