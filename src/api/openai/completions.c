/* OpenAI's older route, POST /v1/completions: prompts go on without a conversation around them. */
#include <stdio.h>
#include <string.h>

#include "api/openai/openai.h"

enum { COMPLETION_TOKENS = 16, LOGPROBS_MOST = 5, LOGPROBS_UNSAID = UINT32_MAX, LOGPROB_TEXT_BYTES = 128 };

/* ---- wording ---- */

/* The four lists of one or several tokens. */
typedef enum logprob_list { TOKENS, TOKEN_LOGPROBS, TOP_LOGPROBS, TEXT_OFFSETS, LISTS } logprob_list;
static const char *const list_names[LISTS] = {"tokens", "token_logprobs", "top_logprobs", "text_offset"};

static str token_text(answer *x, int32_t token, char space[TEXT_TOKEN_BYTES_MAX]) {
    size_t n = text_token_bytes(engine_vocab(x->a->en), token, true, space);
    return (str){space, n < LOGPROB_TEXT_BYTES ? n : LOGPROB_TEXT_BYTES};
}

static void put_top(answer *x, const engine_sample *s, json_writer *w) {
    char text[TEXT_TOKEN_BYTES_MAX + 1];
    json_object_start(w);
    for (uint32_t i = 0; i < s->n_top && i < x->style.n_logprobs; i++) {
        str t = token_text(x, s->top[i].token, text);
        text[t.len] = 0;
        if (!utf8_valid(t)) snprintf(text, sizeof text, "bytes:token %d", s->top[i].token);
        json_put_fixed(w, text, (double)s->top[i].logprob, 6);
    }
    json_object_end(w);
}

static void put_item(answer *x, const sched_output *out, logprob_list list, uint64_t offset, json_writer *w) {
    char text[TEXT_TOKEN_BYTES_MAX];
    if (list == TOKENS) json_string(w, token_text(x, out->sample.token, text));
    if (list == TOKEN_LOGPROBS) json_fixed(w, (double)out->sample.logprob, 6);
    if (list == TOP_LOGPROBS) put_top(x, &out->sample, w);
    if (list == TEXT_OFFSETS) json_uint(w, offset);
}

static uint64_t characters(str s) {
    uint64_t n = 0;
    for (size_t i = 0; i < s.len; i++) n += ((unsigned char)s.data[i] & 0xC0) != 0x80;
    return n;
}

static void put_stream_logprobs(answer *x, uint32_t i, const sched_output *out, json_writer *w) {
    json_key(w, "logprobs");
    if (!out || !x->logprobs) {
        json_null(w);
        return;
    }
    json_object_start(w);
    for (logprob_list list = 0; list < LISTS; list++) {
        json_key(w, list_names[list]);
        json_array_start(w);
        put_item(x, out, list, x->progress[i].n_blocks, w);
        json_array_end(w);
    }
    json_object_end(w);
    x->progress[i].n_blocks += (uint32_t)characters(out->text);
}

static void put_chunk(answer *x, uint32_t i, str text, const sched_output *out, const char *finish, buf *to) {
    json_writer w;
    openai_begin_data(&w, to);
    openai_put_head(x, "cmpl-", "text_completion", &w);
    json_key(&w, "choices");
    json_array_start(&w);
    json_object_start(&w);
    json_put_uint(&w, "index", i);
    json_put_string(&w, "text", text);
    put_stream_logprobs(x, i, out, &w);
    json_key(&w, "finish_reason");
    if (finish)
        json_string(&w, str_of(finish));
    else
        json_null(&w);
    json_object_end(&w);
    json_array_end(&w);
    if (x->style.include_usage) json_key(&w, "usage"), json_null(&w);
    if (finish && !x->style.include_usage) {
        sched_usage u;
        api_sum_usage(x, i, 1, &u);
        api_put_own(x, &u, 1, &w);
    }
    openai_end_data(&w, to);
}

static void begins(answer *x, buf *to) {
    for (uint32_t i = 0; x->style.echo.len && i < x->n_jobs; i++)
        put_chunk(x, i, x->style.echo, NULL, NULL, to);
}

static void token_words(answer *x, uint32_t i, const sched_output *out, buf *to) {
    put_chunk(x, i, out->text, out, NULL, to);
}

static void ends(answer *x, uint32_t i, const sched_output *out, buf *to) {
    if (out->what == SCHED_FAILED)
        openai_put_failure(x, &out->failure, to);
    else
        put_chunk(x, i, STR(""), NULL, engine_finish_name(out->finish), to);
}

static void finishes(answer *x, buf *to) { openai_put_last(x, "cmpl-", "text_completion", to); }

/* A token of a whole answer, as an array of the four: they are sorted into their lists when all are there. */
static void logprob_words(answer *x, const sched_output *out, json_writer *w) {
    json_array_start(w);
    for (logprob_list list = 0; list < LISTS; list++) put_item(x, out, list, characters(out->text), w);
    json_array_end(w);
}

typedef struct list_writer {
    const fields_in *in;
    json_writer *w;
    logprob_list list;
    uint64_t offset;
} list_writer;

static bool on_value(void *ctx, const field_item *item, err *e) {
    list_writer *x = ctx;
    (void)e;
    if (item->index != (uint32_t)x->list) return true;
    if (x->list == TEXT_OFFSETS) {
        json_uint(x->w, x->offset);
        x->offset += (uint64_t)item->integer;
    } else {
        json_raw(x->w, item->json);
    }
    return true;
}

static bool on_token(void *ctx, const field_item *item, err *e) {
    list_writer *x = ctx;
    return fields_each(x->in, item->json, on_value, x, e);
}

static void put_whole_logprobs(answer *x, const answer_choice *c, json_writer *w) {
    char space[8192];
    mem_arena over; /* for texts, which nobody keeps; what does not fit is cut off by the reader's refusal */
    json_key(w, "logprobs");
    if (!x->logprobs) {
        json_null(w);
        return;
    }
    json_object_start(w);
    for (logprob_list list = 0; list < LISTS; list++) {
        mem_arena_over(&over, space, sizeof space);
        base_alloc texts = mem_arena_alloc(&over);
        fields_in in = {&x->a->heap.alloc, &texts, ""};
        json_key(w, list_names[list]);
        json_array_start(w);
        (void)fields_each(&in, c->logprobs, on_token, &(list_writer){&in, w, list, 0}, NULL);
        json_array_end(w);
    }
    json_object_end(w);
}

static void whole_words(answer *x, const answer_choice *choices, buf *to) {
    json_writer w;
    buf both;
    json_begin(&w, to);
    json_object_start(&w);
    openai_put_head(x, "cmpl-", "text_completion", &w);
    json_key(&w, "choices");
    json_array_start(&w);
    for (uint32_t i = 0; i < x->n_jobs; i++) {
        buf_init(&both, &x->a->heap.alloc, SIZE_MAX / 2);
        if (x->style.echo.len) buf_append_str(&both, x->style.echo), buf_append_str(&both, choices[i].text);
        if (both.failed) to->failed = true;
        json_object_start(&w);
        json_put_uint(&w, "index", i);
        json_put_string(&w, "text", x->style.echo.len ? buf_str(&both) : choices[i].text);
        put_whole_logprobs(x, &choices[i], &w);
        json_put_string(&w, "finish_reason", str_of(engine_finish_name(choices[i].finish)));
        json_object_end(&w);
        buf_free(&both);
    }
    json_array_end(&w);
    openai_put_whole_usage(x, choices, &w);
    json_object_end(&w);
}

static const dialect completion_dialect = {.stream_type = "text/event-stream",
                                           .keep_alive = ": keep-alive\n\n",
                                           .status = openai_status,
                                           .begin = begins,
                                           .token = token_words,
                                           .end = ends,
                                           .finish = finishes,
                                           .whole = whole_words,
                                           .logprob = logprob_words,
                                           .error = openai_error};

/* ---- the request ---- */

typedef struct completion_request {
    api_request q; /* first */
    chat *c;       /* only its memory */
    str model, user, stream_options, grammar, prompt, suffix;
    bool echo;
    uint32_t logprobs, best_of;
    uint32_t n_prompts;
    str prompts[ANSWER_JOBS_MAX]; /* JSON: a text, or an array of ids */
} completion_request;

#define AT(member) offsetof(completion_request, member)
static const field rows[] = {
    OPENAI_COMMON_FIELDS(completion_request),
    {"prompt", FIELD_ANY, AT(prompt)},
    {"suffix", FIELD_STRING, AT(suffix)},
    {"echo", FIELD_BOOL, AT(echo)},
    {"logprobs", FIELD_U32, AT(logprobs), 0, LOGPROBS_MOST},
    {"best_of", FIELD_U32, AT(best_of), 1, ANSWER_JOBS_MAX},
};

static bool wrong_prompt(err *e) {
    return err_set(e, ERR_INVALID,
                   "'prompt' must be a string, an array of strings, of token ids, or of arrays of these");
}

static bool on_prompt(void *ctx, const field_item *item, err *e) {
    completion_request *x = ctx;
    if (item->kind == JSON_INT &&
        (item->index == 0 || x->n_prompts == 1)) { /* all of the array is one prompt */
        x->prompts[0] = x->prompt;
        x->n_prompts = 1;
        return true;
    }
    if (item->kind != JSON_STRING && item->kind != JSON_ARRAY_START) return wrong_prompt(e);
    if (x->n_prompts == ANSWER_JOBS_MAX / x->q.n)
        return err_set(e, ERR_INVALID,
                       "'prompt' has more than %u prompts; with 'n' %u that makes more than %d answers",
                       x->n_prompts, x->q.n, ANSWER_JOBS_MAX);
    x->prompts[x->n_prompts++] = item->json;
    return true;
}

static bool on_id(void *ctx, const field_item *item, err *e) {
    completion_request *x = ctx;
    if (item->kind != JSON_INT) return wrong_prompt(e);
    return api_add_token(x->q.a, "prompt", item->integer, &x->q.job.n_prompt, e);
}

/* The k-th prompt into a->tokens. */
static bool read_prompt(completion_request *x, uint32_t k, err *e) {
    str json = x->prompts[k], text;
    x->q.job.n_prompt = 0;
    if (fields_kind(json) == JSON_ARRAY_START) {
        if (!chat_each(x->c, "prompt", json, on_id, x, e)) return false;
    } else if (!fields_text(&x->c->in, json, &text, e) ||
               !api_tokenize(x->q.a, text, false, &x->q.job.n_prompt, e)) {
        return false;
    }
    request_truncate(&x->q);
    if (!x->q.job.n_prompt) return err_set(e, ERR_INVALID, "'prompt' is empty");
    return api_check_prompt(x->q.a, x->q.job.n_prompt, e);
}

static bool next_prompt(void *ctx, uint32_t k, sched_request *request, err *e) {
    completion_request *x = ctx;
    bool good = read_prompt(x, k, e);
    request->n_prompt = x->q.job.n_prompt;
    return good;
}

static bool read_prompts(completion_request *x, err *e) {
    if (!x->prompt.len) return err_set(e, ERR_INVALID, "'prompt' is missing");
    json_kind kind = fields_kind(x->prompt);
    x->prompts[0] = x->prompt;
    x->n_prompts = kind == JSON_STRING;
    if (kind != JSON_STRING && kind != JSON_ARRAY_START) return wrong_prompt(e);
    if (kind == JSON_ARRAY_START && !chat_each(x->c, "prompt", x->prompt, on_prompt, x, e)) return false;
    if (!x->n_prompts) return err_set(e, ERR_INVALID, "'prompt' is an empty array");
    for (uint32_t k = 0; k < x->n_prompts; k++) /* all, before any is taken in */
        if (!read_prompt(x, k, e)) return false;
    return true;
}

static bool check(completion_request *x, err *e) {
    if (x->suffix.len)
        return err_set(e, ERR_INVALID, "'suffix' is given; this server does not fill in the middle");
    if (x->best_of && x->best_of != x->q.n)
        return err_set(e, ERR_INVALID, "'best_of' is %u; it must be 'n', which is %u", x->best_of, x->q.n);
    if (!x->echo) return true;
    if (x->n_prompts != 1 || fields_kind(x->prompts[0]) != JSON_STRING || x->logprobs != LOGPROBS_UNSAID)
        return err_set(e, ERR_INVALID,
                       "'echo' is possible with one prompt, given as text, and without 'logprobs'");
    return fields_text(&x->c->in, x->prompts[0], &x->c->style.echo, e);
}

static bool read_request(api *a, str body, completion_request *x, err *e) {
    engine_sampling *s = &x->q.job.sampling;
    openai_begin(a, &x->q);
    x->logprobs = LOGPROBS_UNSAID;
    if (!request_read(&x->q, &x->c->in, "", body, rows, sizeof rows / sizeof *rows, e) ||
        !request_settle(&x->q, &x->c->in, ROUTE_LOGPROBS, e))
        return false;
    if (x->logprobs == LOGPROBS_UNSAID && x->q.also.n_probs) x->logprobs = x->q.also.n_probs;
    if (!api_check_model(a, x->model, e) || !read_prompts(x, e) || !check(x, e)) return false;
    s->logprobs = x->logprobs != LOGPROBS_UNSAID;
    if (s->logprobs) s->top_logprobs = x->c->style.n_logprobs = x->logprobs;
    return openai_stream_options(x->c, x->stream_options, e) &&
           request_set_stops(&x->q, &x->c->in, "stop", e) && request_finish(&x->q, COMPLETION_TOKENS, e) &&
           request_set_grammar(&x->q, TEXT_GRAMMAR_GBNF, x->grammar, "grammar", e);
}

void openai_completions(api *a, http_request *r) {
    completion_request x = {0};
    chat c;
    err e = {0};
    bool begun = chat_begin(&c, a, http_body(r).len, &e);
    x.c = &c;
    bool good = begun && read_request(a, http_body(r), &x, &e);
    request_name_ignored(&x.q, r);
    if (good)
        api_generate_all(a, r, &completion_dialect, &x.q.job, x.q.n, x.q.stream, &c.style,
                         &(answer_prompts){x.n_prompts, next_prompt, &x});
    else
        api_refuse(a, r, &completion_dialect, &e);
    request_end(&x.q);
    if (begun) chat_end(&c);
}
