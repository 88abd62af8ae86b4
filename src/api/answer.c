/* The way every answer goes, whatever its dialect: its jobs, streamed or whole, and the shared wording. */
#include <string.h>

#include "api/internal.h"
#include "base/check.h"
#include "mem/books.h"

enum { ANSWER_BUF_LIMIT = 256 << 20, LOGPROB_TEXT_BYTES = 128 };

/* One whose lock is held is in use. */
static answer *take_answer(api *a) {
    for (uint32_t i = 0; i < a->config.max_active; i++) {
        answer *x = &a->answers[i];
        if (pthread_mutex_trylock(&x->lock)) continue;
        bool taken = !x->in_use;
        if (taken) x->in_use = true;
        pthread_mutex_unlock(&x->lock);
        if (taken) return x;
    }
    return NULL;
}

static void on_gone(void *ctx, bool completed) {
    (void)completed;
    answer *x = ctx;
    pthread_mutex_lock(&x->lock);
    x->gone = true; /* from here on no wake reads a job */
    pthread_mutex_unlock(&x->lock);
    for (uint32_t i = 0; i < x->n_jobs; i++) sched_job_release(x->a->sched, x->jobs[i]);
    timeline_request_ended(x->a);
    pthread_mutex_lock(&x->lock);
    x->in_use = false;
    pthread_mutex_unlock(&x->lock);
}

/* ---- a stream ---- */

static base_alloc pending_alloc(answer *x, mem_arena *over) {
    mem_arena_over(over, x->pending_bytes, ANSWER_PENDING_BYTES);
    return mem_arena_alloc(over);
}

static void format(answer *x, uint32_t i, const sched_output *out) {
    mem_arena over;
    base_alloc alloc = pending_alloc(x, &over);
    buf to;
    buf_init(&to, &alloc, ANSWER_PENDING_BYTES);
    if (out->what == SCHED_TOKEN) {
        x->dialect->token(x, i, out, &to);
    } else {
        x->dialect->end(x, i, out, &to);
        x->ended_jobs |= 1u << i;
    }
    CHECK(!to.failed);
    if (to.data != x->pending_bytes) memmove(x->pending_bytes, to.data, to.len);
    x->pending_used = (uint32_t)to.len;
    x->pending_sent = 0;
}

/* Words the next record of the jobs, in turns, into pending. False when there is none yet. */
static bool format_next(answer *x) {
    sched_output out;
    for (uint32_t k = 0; k < x->n_jobs; k++) {
        uint32_t i = (x->turn + k) % x->n_jobs;
        if (x->ended_jobs & 1u << i) continue;
        sched_job_read(x->a->sched, x->jobs[i], &out);
        if (out.what == SCHED_NOTHING) continue;
        x->turn = i + 1;
        format(x, i, &out);
        return true;
    }
    return false;
}

static bool all_ended(const answer *x) { return x->ended_jobs == (1u << x->n_jobs) - 1; }

static long on_pull(void *ctx, char *out, size_t max) {
    answer *x = ctx;
    size_t written = 0;
    for (;;) {
        size_t left = x->pending_used - x->pending_sent, n = left < max - written ? left : max - written;
        memcpy(out + written, x->pending_bytes + x->pending_sent, n);
        x->pending_sent += (uint32_t)n;
        written += n;
        if (x->pending_sent < x->pending_used || written == max) return (long)written;
        if (all_ended(x)) return written ? (long)written : HTTP_STREAM_END;
        if (!format_next(x)) return (long)written;
    }
}

static void on_wake_stream(void *ctx) { http_stream_wake(((answer *)ctx)->request); }

/* ---- a whole answer ---- */

typedef struct wording {
    buf text, logprobs, body; /* of all jobs, one after another; what is sent */
    answer_choice choices[ANSWER_JOBS_MAX];
    err failure; /* of one of the jobs, or of the wording */
} wording;

/* Reads all of a job that has ended. The choice's strings get their lengths; where they lie is known at the end. */
static void collect(answer *x, uint32_t i, wording *all) {
    const text_vocab *v = engine_vocab(x->a->en);
    size_t text_start = all->text.len, logprobs_start = all->logprobs.len;
    sched_output out;
    json_writer w;
    json_begin(&w, &all->logprobs);
    if (x->logprobs) json_array_start(&w);
    for (;;) {
        sched_job_read(x->a->sched, x->jobs[i], &out);
        if (out.what != SCHED_TOKEN) break;
        buf_append_str(&all->text, out.text);
        if (x->logprobs) api_put_logprob(v, &out.sample, &w);
    }
    if (x->logprobs) json_array_end(&w);
    all->choices[i] = (answer_choice){.text = {NULL, all->text.len - text_start},
                                      .logprobs = {NULL, all->logprobs.len - logprobs_start},
                                      .finish = out.finish,
                                      .stopped_by = out.stopped_by};
}

static void place_choices(answer *x, wording *all) {
    const char *text = buf_str(&all->text).data, *logprobs = buf_str(&all->logprobs).data;
    for (uint32_t i = 0; i < x->n_jobs; i++) {
        all->choices[i].text.data = text;
        all->choices[i].logprobs.data = logprobs;
        text += all->choices[i].text.len;
        logprobs += all->choices[i].logprobs.len;
    }
}

static void word_choices(answer *x, wording *all) {
    for (uint32_t i = 0; i < x->n_jobs; i++) collect(x, i, all);
    if (!all->text.failed && !all->logprobs.failed) {
        place_choices(x, all);
        x->dialect->whole(x, all->choices, &all->body);
    }
    if (all->text.failed || all->logprobs.failed || all->body.failed)
        err_set_memory(&all->failure, all->text.len, mem_ledger_available(x->a->ledger),
                       "no memory to word an answer of %zu bytes", all->text.len);
}

/* The HTTP status of what is in body. */
static int word(answer *x, wording *all) {
    err *e = &all->failure;
    if (!e->code) word_choices(x, all);
    if (!e->code) return 200;
    buf_clear(&all->body);
    x->dialect->error(e, &all->body);
    return api_status(e, false);
}

static void reply(answer *x, const err *failure) {
    api *a = x->a;
    wording all = {.failure = *failure};
    buf_init(&all.text, &a->heap.alloc, ANSWER_BUF_LIMIT);
    buf_init(&all.logprobs, &a->heap.alloc, ANSWER_BUF_LIMIT);
    buf_init(&all.body, &a->heap.alloc, ANSWER_BUF_LIMIT);
    int status = word(x, &all);
    if (status != 200) api_put_error_headers(a, x->request, status, &all.failure);
    http_late_reply(x->request, status, "application/json", buf_str(&all.body));
    buf_free(&all.text);
    buf_free(&all.logprobs);
    buf_free(&all.body);
}

static bool one_failed(answer *x, err *why) {
    for (uint32_t i = 0; i < x->n_jobs; i++)
        if (sched_job_failed(x->a->sched, x->jobs[i], why)) return true;
    return false;
}

/* Each job calls once, when it has ended. The last call words them all; when one has failed that is the answer, at
 * once, and the others are let go with it. */
static void on_wake_whole(void *ctx) {
    answer *x = ctx;
    err failure = {0};
    pthread_mutex_lock(&x->lock);
    if (!x->gone && x->n_awaited) {
        x->n_awaited = one_failed(x, &failure) ? 0 : x->n_awaited - 1;
        if (!x->n_awaited) reply(x, &failure);
    }
    pthread_mutex_unlock(&x->lock);
}

/* ---- begin ---- */

/* All, or none with the reason. */
static bool submit(answer *x, const sched_request *request, uint32_t n, err *e) {
    sched_request one = *request;
    for (x->n_jobs = 0; x->n_jobs < n; x->n_jobs++) {
        one.sampling.seed = request->sampling.seed + x->n_jobs;
        if (!(x->jobs[x->n_jobs] = sched_submit(x->a->sched, &one, e))) break;
    }
    if (x->n_jobs == n) return true;
    while (x->n_jobs) sched_job_release(x->a->sched, x->jobs[--x->n_jobs]);
    return false;
}

void api_generate(api *a, http_request *r, const dialect *d, const sched_request *request, uint32_t n, bool stream) {
    CHECK(n >= 1 && n <= ANSWER_JOBS_MAX);
    err e = {0};
    answer *x = take_answer(a);
    if (!x) {
        err_set(&e, ERR_BUSY, "%u answers are in work already", a->config.max_active);
        api_refuse(a, r, d, &e);
        return;
    }
    pthread_mutex_lock(&x->lock);
    x->gone = false;
    x->dialect = d;
    x->request = r;
    x->logprobs = request->sampling.logprobs;
    x->ended_jobs = x->turn = 0;
    x->pending_used = x->pending_sent = 0;
    x->n_awaited = n;
    if (!submit(x, request, n, &e)) {
        x->in_use = false;
        api_refuse(a, r, d, &e);
    } else if (stream) {
        http_stream(r, 200, d->stream_type, on_pull, on_gone, x);
        for (uint32_t i = 0; i < n; i++) sched_job_listen(a->sched, x->jobs[i], on_wake_stream, x);
    } else {
        http_late(r, on_gone, x);
        for (uint32_t i = 0; i < n; i++) sched_job_listen(a->sched, x->jobs[i], on_wake_whole, x);
    }
    pthread_mutex_unlock(&x->lock);
}

/* ---- shared wording ---- */

/* Long tokens are cut: a record must fit a pending buffer whatever the vocabulary holds. */
static void put_token(const text_vocab *v, int32_t token, float logprob, json_writer *w) {
    char text[TEXT_TOKEN_BYTES_MAX];
    size_t n = text_token_bytes(v, token, true, text);
    json_put_int(w, "token", token);
    json_put_string(w, "text", (str){text, n < LOGPROB_TEXT_BYTES ? n : LOGPROB_TEXT_BYTES});
    json_put_fixed(w, "logprob", (double)logprob, 6);
}

void api_put_logprob(const text_vocab *v, const engine_sample *s, json_writer *w) {
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

static double longer(double a, double b) { return a > b ? a : b; }

static void add_usage(sched_usage *to, const sched_usage *u) {
    to->completion_tokens += u->completion_tokens;
    to->drafted_tokens += u->drafted_tokens;
    to->accepted_tokens += u->accepted_tokens;
    if (u->cached_tokens < to->cached_tokens) { /* the one that computed what the others found */
        to->cached_tokens = u->cached_tokens;
        to->reprocess_reason = u->reprocess_reason;
    }
    to->queue_ms = longer(to->queue_ms, u->queue_ms);
    to->prefill_ms = longer(to->prefill_ms, u->prefill_ms);
    to->decode_ms = longer(to->decode_ms, u->decode_ms);
    to->total_ms = longer(to->total_ms, u->total_ms);
    to->peak_bytes += u->peak_bytes;
    to->kv_pages += u->kv_pages;
    to->kv_bytes += u->kv_bytes;
    to->shared_bytes += u->shared_bytes;
    to->parked += u->parked;
}

static void put_counts(const sched_usage *u, json_writer *w) {
    json_key(w, "usage");
    json_object_start(w);
    json_put_uint(w, "prompt_tokens", u->prompt_tokens);
    json_put_uint(w, "completion_tokens", u->completion_tokens);
    json_put_uint(w, "total_tokens", (uint64_t)u->prompt_tokens + u->completion_tokens);
    json_put_uint(w, "cached_tokens", u->cached_tokens);
    json_object_end(w);
    json_key(w, "cache_stats");
    json_object_start(w);
    json_put_uint(w, "pages", u->kv_pages);
    json_put_uint(w, "bytes", u->kv_bytes);
    json_put_uint(w, "shared_bytes", u->shared_bytes);
    json_put_uint(w, "hit_tokens", u->cached_tokens);
    json_put_string(w, "kv_type", str_of(compute_kv_name(u->kv_type)));
    json_key(w, "reprocess_reason");
    if (u->reprocess_reason) json_string(w, str_of(u->reprocess_reason));
    else json_null(w);
    json_put_uint(w, "parked", u->parked);
    json_put_bool(w, "lossy", u->kv_type != COMPUTE_KV_F16);
    json_object_end(w);
}

static void put_timings(const sched_usage *u, uint32_t n_jobs, json_writer *w) {
    uint32_t computed = u->prompt_tokens - u->cached_tokens;
    /* the first token of each job ends its prefill */
    uint32_t decoded = u->completion_tokens > n_jobs ? u->completion_tokens - n_jobs : 0;
    json_key(w, "timings");
    json_object_start(w);
    json_put_fixed(w, "queue_ms", u->queue_ms, 3);
    json_put_fixed(w, "prefill_ms", u->prefill_ms, 3);
    json_put_fixed(w, "decode_ms", u->decode_ms, 3);
    json_put_fixed(w, "total_ms", u->total_ms, 3);
    json_put_fixed(w, "prefill_tokens_per_s", u->prefill_ms > 0 ? computed * 1000.0 / u->prefill_ms : 0, 2);
    json_put_fixed(w, "decode_tokens_per_s", u->decode_ms > 0 ? decoded * 1000.0 / u->decode_ms : 0, 2);
    json_put_uint(w, "drafted_tokens", u->drafted_tokens);
    json_put_uint(w, "accepted_tokens", u->accepted_tokens);
    json_object_end(w);
}

void api_put_usage(answer *x, uint32_t first, uint32_t n, json_writer *w) {
    sched_usage sum, one;
    sched_job_usage(x->a->sched, x->jobs[first], &sum);
    for (uint32_t i = 1; i < n; i++) {
        sched_job_usage(x->a->sched, x->jobs[first + i], &one);
        add_usage(&sum, &one);
    }
    put_counts(&sum, w);
    put_timings(&sum, n, w);
    mem_books books;
    mem_books_read(x->a->ledger, &books);
    json_key(w, "memory");
    json_object_start(w);
    json_put_uint(w, "peak_bytes", sum.peak_bytes);
    json_put_string(w, "level", str_of(mem_level_name(books.level)));
    json_object_end(w);
}
