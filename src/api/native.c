/* The native dialect: POST /generate (and its alias /generate-lite). */
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

#include "api/internal.h"

typedef struct native_request {
    api *a;
    sched_request neutral;
    bool stream, has_prompt;
    uint64_t seed;
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

static void put_end(answer *x, const sched_output *out, json_writer *w) {
    json_put_string(w, "finish_reason", str_of(engine_finish_name(out->finish)));
    json_key(w, "stop_index");
    if (out->stopped_by < 0) json_null(w);
    else json_int(w, out->stopped_by);
    api_put_usage(x->a, x->job, w);
}

static void token_words(answer *x, const sched_output *out, buf *to) {
    json_writer w;
    buf_append_str(to, STR("data: "));
    json_begin(&w, to);
    json_object_start(&w);
    json_put_string(&w, "text", out->text);
    json_put_int(&w, "token", out->sample.token);
    if (x->logprobs) {
        json_key(&w, "logprobs");
        api_put_logprob(engine_vocab(x->a->en), &out->sample, &w);
    }
    json_object_end(&w);
    buf_append_str(to, STR("\n\n"));
}

static void end_words(answer *x, const sched_output *out, buf *to) {
    json_writer w;
    buf_append_str(to, STR("data: "));
    if (out->what == SCHED_FAILED) {
        error_words(&out->failure, to);
    } else {
        json_begin(&w, to);
        json_object_start(&w);
        json_put_bool(&w, "done", true);
        put_end(x, out, &w);
        json_object_end(&w);
    }
    buf_append_str(to, STR("\n\n"));
}

static void whole_words(answer *x, const sched_output *out, str text, str logprobs, buf *to) {
    json_writer w;
    json_begin(&w, to);
    json_object_start(&w);
    json_put_string(&w, "model", str_of(api_model_name(x->a)));
    json_put_string(&w, "text", text);
    if (x->logprobs) {
        json_key(&w, "logprobs");
        json_raw(&w, logprobs);
    }
    put_end(x, out, &w);
    json_object_end(&w);
}

static const dialect native = {"text/event-stream", token_words, end_words, whole_words, error_words};

/* ---- the route ---- */

static bool parse(api *a, str body, native_request *q, err *e) {
    memset(q, 0, sizeof *q);
    q->a = a;
    engine_sampling_default(&q->neutral.sampling);
    q->neutral.max_tokens = a->config.default_max_tokens;
    mem_arena_reset(&a->parse, 0);
    base_alloc alloc = mem_arena_alloc(&a->parse);
    uint64_t seen = 0;
    if (!fields_parse(&alloc, body, fields, N_FIELDS, false, q, &seen, e)) return false;
    if (!q->has_prompt) return err_set(e, ERR_INVALID, "'prompt' is missing");
    if (q->neutral.sampling.top_logprobs) q->neutral.sampling.logprobs = true;
    if (!(seen & 1ull << FIELD_SEED) && getrandom(&q->seed, sizeof q->seed, 0) < 0) q->seed = (uint64_t)(uintptr_t)q;
    q->neutral.sampling.seed = q->seed;
    q->neutral.whole = !q->stream;
    q->neutral.prompt = a->tokens;
    return true;
}

void native_generate(api *a, http_request *r) {
    native_request q;
    err e = {0};
    if (parse(a, http_body(r), &q, &e)) api_generate(a, r, &native, &q.neutral, q.stream);
    else api_refuse(a, r, &native, &e);
}
