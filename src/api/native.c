/* The native dialect: POST /generate (and its alias /generate-lite), POST /fit. */
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

#include "api/internal.h"

enum { NOT_GIVEN = UINT32_MAX, CACHE_TTL_MAX_S = 1000000000, WINDOW_MAX = 1 << 30 };

typedef struct native_request {
    api *a;
    sched_request neutral;
    bool stream, has_prompt, cache;
    uint64_t seed;
    uint32_t n, kv_type, window, keep, cache_ttl_s;
} native_request;

/* ---- fields with a shape of their own ---- */

static bool on_prompt(void *target, const json_event *ev, int depth, err *e) {
    native_request *q = target;
    if (depth == 0 && ev->kind == JSON_STRING) {
        q->has_prompt = true;
        if (ev->text.len == 0) return err_set(e, ERR_INVALID, "'prompt' is empty");
        return api_tokenize(q->a, ev->text, true, &q->neutral.n_prompt, e);
    }
    if (depth == 0 && ev->kind == JSON_ARRAY_START) return q->has_prompt = true;
    if (depth == 0 && ev->kind == JSON_ARRAY_END)
        return q->neutral.n_prompt > 0 || err_set(e, ERR_INVALID, "'prompt' is an empty array");
    if (depth == 0) return err_set(e, ERR_INVALID, "'prompt' must be a string or an array of token ids");
    uint32_t n_vocab = text_vocab_size(engine_vocab(q->a->en));
    if (depth != 1 || ev->kind != JSON_INT || ev->integer < 0 || ev->integer >= n_vocab)
        return err_set(e, ERR_INVALID, "'prompt' as an array must hold token ids from 0 to %u", n_vocab - 1);
    if (q->neutral.n_prompt == engine_context(q->a->en))
        return err_set(e, ERR_TOO_LARGE, "'prompt' has more tokens than the context of %u", engine_context(q->a->en));
    q->a->tokens[q->neutral.n_prompt++] = (int32_t)ev->integer;
    return true;
}

static bool add_stop(sched_request *r, str s, err *e) {
    if (r->n_stops == GENERATION_STOPS_MAX)
        return err_set(e, ERR_INVALID, "'stop' has more than %d strings", GENERATION_STOPS_MAX);
    if (s.len == 0 || s.len > GENERATION_STOP_BYTES)
        return err_set(e, ERR_INVALID, "a 'stop' string must have 1 to %d bytes, not %zu", GENERATION_STOP_BYTES,
                       s.len);
    engine_stop *stop = &r->stops[r->n_stops++];
    stop->len = (uint16_t)s.len;
    memcpy(stop->text, s.data, s.len);
    return true;
}

static bool on_stop(void *target, const json_event *ev, int depth, err *e) {
    native_request *q = target;
    if (ev->kind == JSON_STRING && depth <= 1) return add_stop(&q->neutral, ev->text, e);
    if (depth == 0 && (ev->kind == JSON_ARRAY_START || ev->kind == JSON_ARRAY_END)) return true;
    return err_set(e, ERR_INVALID, "'stop' must be a string or an array of strings");
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

/* {"token id": bias, …} */
static bool on_logit_bias(void *target, const json_event *ev, int depth, err *e) {
    native_request *q = target;
    engine_sampling *s = &q->neutral.sampling;
    if (depth == 0 && (ev->kind == JSON_OBJECT_START || ev->kind == JSON_OBJECT_END)) return true;
    if (depth == 1 && ev->kind == JSON_KEY) {
        int32_t id;
        if (s->n_bias == SAMPLER_BIAS_MAX)
            return err_set(e, ERR_INVALID, "'logit_bias' has more than %d entries", SAMPLER_BIAS_MAX);
        if (!parse_token_id(ev->text, &id))
            return err_set(e, ERR_INVALID, "'logit_bias' has the key '%.*s'; keys are token ids",
                           (int)(ev->text.len < 32 ? ev->text.len : 32), ev->text.data);
        s->bias[s->n_bias++] = (engine_bias){id, 0};
        return true;
    }
    if (depth == 1 && (ev->kind == JSON_INT || ev->kind == JSON_DOUBLE)) {
        s->bias[s->n_bias - 1].bias = (float)ev->number;
        return true;
    }
    return err_set(e, ERR_INVALID, "'logit_bias' must be an object of token ids and numbers");
}

/* In the order of compute_kv_type. */
static const char *const kv_types[] = {"f16", "q8", "q4", NULL};
_Static_assert(sizeof kv_types / sizeof *kv_types == COMPUTE_KV_TYPES + 1, "a word for each type");

#define AT(member) offsetof(native_request, member)

static const field fields[] = {
    {"prompt", FIELD_CUSTOM, .events = on_prompt},
    {"max_tokens", FIELD_U32, AT(neutral.max_tokens), 1, UINT32_MAX},
    {"temperature", FIELD_FLOAT, AT(neutral.sampling.temperature), 0, 100},
    {"top_k", FIELD_I32, AT(neutral.sampling.top_k), 0, INT32_MAX},
    {"top_p", FIELD_FLOAT, AT(neutral.sampling.top_p), 0, 1},
    {"min_p", FIELD_FLOAT, AT(neutral.sampling.min_p), 0, 1},
    {"typical_p", FIELD_FLOAT, AT(neutral.sampling.typical_p), 0, 1},
    {"repeat_penalty", FIELD_FLOAT, AT(neutral.sampling.repeat_penalty), 0.01, 100},
    {"repeat_last_n", FIELD_I32, AT(neutral.sampling.repeat_last_n), 0, SAMPLER_LAST_N_MAX},
    {"frequency_penalty", FIELD_FLOAT, AT(neutral.sampling.frequency_penalty), -2, 2},
    {"presence_penalty", FIELD_FLOAT, AT(neutral.sampling.presence_penalty), -2, 2},
    {"logit_bias", FIELD_CUSTOM, .events = on_logit_bias},
    {"seed", FIELD_U64, AT(seed), 0, 9007199254740992.0},
    {"stop", FIELD_CUSTOM, .events = on_stop},
    {"stream", FIELD_BOOL, AT(stream)},
    {"logprobs", FIELD_BOOL, AT(neutral.sampling.logprobs)},
    {"top_logprobs", FIELD_U32, AT(neutral.sampling.top_logprobs), 0, SAMPLER_TOP_LOGPROBS_MAX},
    {"ignore_end", FIELD_BOOL, AT(neutral.sampling.ignore_end)},
    {"n", FIELD_U32, AT(n), 1, ANSWER_JOBS_MAX},
    {"priority", FIELD_I32, AT(neutral.priority), -100, 100},
    {"kv_type", FIELD_WORD, AT(kv_type), .words = kv_types},
    {"window", FIELD_U32, AT(window), 0, WINDOW_MAX},
    {"keep", FIELD_U32, AT(keep), 0, WINDOW_MAX},
    {"cache", FIELD_BOOL, AT(cache)},
    {"speculate", FIELD_BOOL, AT(neutral.speculate)},
    {"cache_ttl", FIELD_U32, AT(cache_ttl_s), 0, CACHE_TTL_MAX_S},
    {"pin", FIELD_BOOL, AT(neutral.memory.pin)},
    {"model", FIELD_IGNORED},
};
enum { N_FIELDS = sizeof fields / sizeof *fields, FIELD_SEED = 12 };

/* ---- wording ---- */

static void error_words(const err *e, buf *to) {
    const char *param = NULL;
    char name[64];
    const char *open = strchr(e->message, '\''), *close = open ? strchr(open + 1, '\'') : NULL;
    if (e->code == ERR_INVALID && close && close - open - 1 < (long)sizeof name) {
        snprintf(name, sizeof name, "%.*s", (int)(close - open - 1), open + 1);
        param = name;
    }
    http_error_json(to, e->message, err_code_name(e->code), param, NULL);
}

static void put_finish(engine_finish finish, int32_t stopped_by, json_writer *w) {
    json_put_string(w, "finish_reason", str_of(engine_finish_name(finish)));
    json_key(w, "stop_index");
    if (stopped_by < 0) json_null(w);
    else json_int(w, stopped_by);
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
        api_put_logprob(engine_vocab(x->a->en), &out->sample, &w);
    }
    json_object_end(&w);
    buf_append_str(to, STR("\n\n"));
}

/* The envelope of an error, with the answer's index when there are several: one fails, the others go on. */
static void put_failure(answer *x, uint32_t i, const err *e, buf *to) {
    size_t start = to->len;
    char index[32];
    error_words(e, to);
    if (x->n_jobs == 1 || to->failed) return;
    int n = snprintf(index, sizeof index, "{\"index\":%u,", i);
    buf_append(to, index, (size_t)n - 1); /* only for its room: the brace that opens the envelope is there */
    memmove(to->data + start + n, to->data + start + 1, to->len - start - (size_t)n);
    memcpy(to->data + start, index, (size_t)n);
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
        api_put_usage(x, i, 1, &w);
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
    api_put_usage(x, 0, x->n_jobs, &w);
    json_object_end(&w);
}

static const dialect native = {"text/event-stream", token_words, end_words, whole_words, error_words};

/* ---- the route ---- */

static void set_defaults(api *a, native_request *q) {
    memset(q, 0, sizeof *q);
    q->a = a;
    q->n = 1;
    q->cache = q->neutral.speculate = true;
    engine_sampling_default(&q->neutral.sampling);
    q->neutral.terms = engine_terms(a->en);
    q->kv_type = q->neutral.terms.type;
    q->window = q->keep = q->cache_ttl_s = NOT_GIVEN;
}

/* A window of the request's own stands instead of the server's, with what it keeps. */
static bool set_terms(native_request *q, err *e) {
    const api_config *c = &q->a->config;
    kv_terms *t = &q->neutral.terms;
    t->type = (kv_type)q->kv_type;
    t->window = q->window == NOT_GIVEN ? c->window : q->window;
    t->keep = q->keep != NOT_GIVEN ? q->keep : q->window == NOT_GIVEN ? c->keep : 0;
    if (t->keep && !t->window) return err_set(e, ERR_INVALID, "'keep' is %u, and there is no 'window'", t->keep);
    t->tenant = api_tenant_salt(q->a);
    t->share = t->share && q->cache;
    if (q->neutral.memory.pin && !q->cache)
        return err_set(e, ERR_INVALID, "'pin' asks to remember what \"cache\": false forbids");
    q->neutral.remember = t->share;
    if (q->cache_ttl_s != NOT_GIVEN) /* 0 seconds: never; not, as in the cache, its own default */
        q->neutral.memory.ttl_ms = q->cache_ttl_s ? q->cache_ttl_s * 1000ull : UINT64_MAX;
    return true;
}

/* A window has no end: there, too, an answer that nothing was said about ends where the context would. */
static void set_max_tokens(native_request *q) {
    if (q->neutral.max_tokens) return;
    uint32_t context = engine_context(q->a->en), n_prompt = q->neutral.n_prompt;
    q->neutral.max_tokens = q->a->config.default_max_tokens;
    if (q->neutral.max_tokens == UINT32_MAX && n_prompt < context) q->neutral.max_tokens = context - n_prompt;
}

static bool parse(api *a, str body, native_request *q, err *e) {
    set_defaults(a, q);
    mem_arena_reset(&a->parse, 0);
    base_alloc alloc = mem_arena_alloc(&a->parse);
    uint64_t seen = 0;
    if (!fields_parse(&alloc, body, fields, N_FIELDS, false, q, &seen, e)) return false;
    if (!q->has_prompt) return err_set(e, ERR_INVALID, "'prompt' is missing");
    if (q->n > a->config.most_answers)
        return err_set(e, ERR_INVALID, "'n' is %u; the queue of this server holds %u", q->n, a->config.most_answers);
    if (!set_terms(q, e)) return false;
    set_max_tokens(q);
    if (q->neutral.sampling.top_logprobs) q->neutral.sampling.logprobs = true;
    if (!(seen & 1ull << FIELD_SEED) && getrandom(&q->seed, sizeof q->seed, 0) < 0) q->seed = (uint64_t)(uintptr_t)q;
    q->neutral.sampling.seed = q->seed;
    q->neutral.whole = !q->stream;
    q->neutral.tenant = a->tenant;
    q->neutral.prompt = a->tokens;
    return true;
}

void native_generate(api *a, http_request *r) {
    native_request q;
    err e = {0};
    if (parse(a, http_body(r), &q, &e)) api_generate(a, r, &native, &q.neutral, q.n, q.stream);
    else api_refuse(a, r, &native, &e);
}

/* ---- would it fit ---- */

static void put_fit(api *a, const native_request *q, const sched_fit *fit, json_writer *w) {
    json_object_start(w);
    json_put_bool(w, "fits", fit->ever);
    json_put_bool(w, "now", fit->now);
    json_put_uint(w, "prompt_tokens", q->neutral.n_prompt);
    json_put_uint(w, "cached_tokens", fit->cached_tokens);
    json_put_uint(w, "required_bytes", fit->required_bytes);
    json_put_uint(w, "available_bytes", fit->available_bytes);
    json_put_uint(w, "pool_bytes", fit->pool_bytes);
    json_put_uint(w, "queued", fit->queued);
    json_put_uint(w, "retry_after_s", fit->ever && !fit->now ? sched_retry_after_s(a->sched) : 0);
    json_key(w, "reason");
    if (fit->now) json_null(w);
    else json_string(w, str_of(fit->reason.message));
    json_object_end(w);
}

/* A prompt over the context was not read to its end: n_prompt is what it has at least. */
static void fits_never(api *a, native_request *q, const err *e, sched_fit *fit) {
    kv_cache_counts kv;
    engine_counters unused;
    sched_counts jobs;
    sched_engine_read(a->sched, &kv, &unused);
    sched_read(a->sched, &jobs);
    *fit = (sched_fit){.pool_bytes = kv.pool.full_bytes,
                       .available_bytes = kv.pool.budget_bytes - kv.pool.used_bytes + kv.pool.evictable_bytes,
                       .queued = jobs.queued,
                       .reason = *e};
    if (q->neutral.n_prompt < engine_context(a->en)) q->neutral.n_prompt = engine_context(a->en);
}

/* For one answer; when a request asks for n, each by itself. */
void native_fit(api *a, http_request *r) {
    native_request q;
    sched_fit fit;
    err e = {0};
    bool good = parse(a, http_body(r), &q, &e);
    if (good) good = sched_would_fit(a->sched, &q.neutral, &fit, &e);
    else if (e.code == ERR_TOO_LARGE) fits_never(a, &q, &e, &fit), good = true;
    if (!good) {
        api_refuse(a, r, &native, &e);
        return;
    }
    API_PAGE(body, 2048);
    json_writer w;
    json_begin(&w, &body);
    put_fit(a, &q, &fit, &w);
    api_reply_json(r, 200, &body);
}
