/* The way every answer goes, whatever its dialect: its jobs, from the handler to the end, and the shared wording. */
#include <stdio.h>
#include <string.h>

#include "api/core/answer.h"
#include "base/check.h"
#include "base/clock.h"
#include "mem/books.h"

buf *api_kept_items(answer *x) { return &x->kept->items; }
buf *api_kept_said(answer *x) { return &x->kept->said; }
buf *api_kept_name(answer *x) { return &x->kept->name; }

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

static str copy_str(char **at, str s) {
    if (s.len) memcpy(*at, s.data, s.len);
    str copy = {*at, s.len};
    *at += s.len;
    return copy;
}

static bool keep(answer *x, uint32_t n, err *e) {
    answer_style *style = &x->style;
    x->kept = NULL;
    if (!style->chat && !style->echo.len) return true; /* nothing to keep */
    size_t replies = style->chat ? n * sizeof(text_reply) : 0;
    size_t index = style->chat ? text_reply_tools_bytes(style->tools) : 0;
    size_t bytes = sizeof *x->kept + replies + index + style->tools.len + style->prompt_tail.len + style->customs.len +
                   style->echo.len;
    answer_kept *c = mem_heap_take(&x->a->heap, bytes, e);
    if (!c) return false;
    *c = (answer_kept){.bytes = bytes, .replies = (text_reply *)(void *)(c + 1)};
    char *at = (char *)(c + 1) + replies + index;
    text_reply_tools tools;
    style->tools = copy_str(&at, style->tools);
    style->prompt_tail = copy_str(&at, style->prompt_tail);
    style->customs = copy_str(&at, style->customs);
    style->echo = copy_str(&at, style->echo);
    buf *const bufs[] = {&c->record, &c->items, &c->said, &c->name};
    for (size_t i = 0; i < sizeof bufs / sizeof *bufs; i++)
        buf_init(bufs[i], &x->a->heap.alloc, ANSWER_BUF_LIMIT);
    if (replies) text_reply_tools_init(&tools, style->tools, (char *)(c + 1) + replies);
    for (uint32_t i = 0; replies && i < n; i++)
        text_reply_init(&c->replies[i], &x->a->model.reply, &tools, style->prompt_tail);
    x->kept = c;
    return true;
}

static void let_go(answer *x) {
    if (!x->kept) return;
    buf *const bufs[] = {&x->kept->record, &x->kept->items, &x->kept->said, &x->kept->name};
    for (size_t i = 0; i < sizeof bufs / sizeof *bufs; i++) buf_free(bufs[i]);
    mem_heap_give(&x->a->heap, x->kept, x->kept->bytes);
    x->kept = NULL;
}

static void on_gone(void *ctx, bool completed) {
    (void)completed;
    answer *x = ctx;
    pthread_mutex_lock(&x->lock);
    x->gone = true; /* from here on no wake reads a job */
    pthread_mutex_unlock(&x->lock);
    for (uint32_t i = 0; i < x->n_jobs; i++) sched_job_release(x->a->sched, x->jobs[i]);
    let_go(x);
    sampler_request_ended(x->a);
    pthread_mutex_lock(&x->lock);
    x->in_use = false;
    pthread_mutex_unlock(&x->lock);
}

bool answer_failed(answer *x, err *why) {
    for (uint32_t i = 0; i < x->n_jobs; i++)
        if (sched_job_failed(x->a->sched, x->jobs[i], why)) return true;
    return false;
}

/* ---- begin ---- */

/* All, or none with the reason. */
static bool submit(answer *x, const sched_request *request, uint32_t n, const answer_prompts *prompts,
                   err *e) {
    sched_request one = *request;
    one.id = http_request_id(x->request);
    bool good = true;
    x->n_jobs = 0;
    for (uint32_t k = 0; good && k < prompts->n; k++) {
        good = !prompts->next || prompts->next(prompts->ctx, k, &one, e);
        for (uint32_t i = 0; good && i < n; i++) {
            one.sampling.seed = request->sampling.seed + i;
            good = (x->jobs[x->n_jobs] = sched_submit(x->a->sched, &one, e)) != NULL;
            x->n_jobs += good;
        }
    }
    while (!good && x->n_jobs) sched_job_release(x->a->sched, x->jobs[--x->n_jobs]);
    return good;
}

static void set_up(answer *x, http_request *r, const dialect *d, bool stream, const answer_style *style) {
    x->gone = x->begun = x->finished = false;
    x->dialect = d;
    x->request = r;
    x->stream = stream;
    x->style = *style;
    x->n_jobs = x->ended_jobs = x->turn = 0;
    x->pending = STR("");
    x->created_s = clock_wall_ms() / 1000;
    x->written_ns = clock_now_ns();
    memset(x->progress, 0, sizeof x->progress);
}

void api_generate_all(api *a, http_request *r, const dialect *d, const sched_request *request, uint32_t n,
                      bool stream, const answer_style *style, const answer_prompts *prompts) {
    uint32_t n_jobs = n * prompts->n;
    CHECK(n_jobs >= 1 && n_jobs <= ANSWER_JOBS_MAX);
    err e = {0};
    answer *x = take_answer(a);
    if (!x) {
        uint32_t most = a->config.max_active;
        err_set(&e, ERR_BUSY, "%u %s in work already", most, most == 1 ? "answer is" : "answers are");
        api_refuse(a, r, d, &e);
        return;
    }
    pthread_mutex_lock(&x->lock);
    set_up(x, r, d, stream, style);
    x->logprobs = request->sampling.logprobs;
    x->n_awaited = n_jobs;
    x->n_each = n;
    if (!keep(x, n_jobs, &e) || !submit(x, request, n, prompts, &e)) {
        let_go(x);
        x->in_use = false;
        api_refuse(a, r, d, &e);
    } else if (stream) {
        if (request->sampling.grammar) /* whether anything can come by it shows with the first token */
            http_late_stream(r, d->stream_type, answer_first, answer_pull, on_gone, x);
        else http_stream(r, 200, d->stream_type, answer_pull, on_gone, x);
        for (uint32_t i = 0; i < n_jobs; i++) sched_job_listen(a->sched, x->jobs[i], answer_wake_stream, x);
    } else {
        http_late(r, on_gone, x);
        for (uint32_t i = 0; i < n_jobs; i++) sched_job_listen(a->sched, x->jobs[i], answer_wake_whole, x);
    }
    pthread_mutex_unlock(&x->lock);
}

void api_generate(api *a, http_request *r, const dialect *d, const sched_request *request, uint32_t n,
                  bool stream, const answer_style *style) {
    api_generate_all(a, r, d, request, n, stream, style, &(answer_prompts){.n = 1});
}

/* ---- shared wording ---- */

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
    to->preempted += u->preempted;
}

static void put_cache_stats(const sched_usage *u, json_writer *w) {
    json_key(w, "cache_stats");
    json_object_start(w);
    json_put_uint(w, "pages", u->kv_pages);
    json_put_uint(w, "bytes", u->kv_bytes);
    json_put_uint(w, "shared_bytes", u->shared_bytes);
    json_put_uint(w, "hit_tokens", u->cached_tokens);
    json_put_string(w, "kv_type", str_of(compute_kv_name(u->kv_type)));
    json_key(w, "reprocess_reason");
    if (u->reprocess_reason)
        json_string(w, str_of(u->reprocess_reason));
    else
        json_null(w);
    json_put_uint(w, "parked", u->preempted);
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

/* A prompt's tokens count once, however many answer it. */
void api_sum_usage(answer *x, uint32_t first, uint32_t n, sched_usage *sum) {
    sched_usage one;
    sched_job_usage(x->a->sched, x->jobs[first], sum);
    for (uint32_t i = 1; i < n; i++) {
        sched_job_usage(x->a->sched, x->jobs[first + i], &one);
        if ((first + i) % x->n_each == 0) {
            sum->prompt_tokens += one.prompt_tokens;
            sum->cached_tokens += one.cached_tokens;
            one.cached_tokens = sum->cached_tokens;
        }
        add_usage(sum, &one);
    }
}

void api_put_own(answer *x, const sched_usage *sum, uint32_t n, json_writer *w) {
    put_cache_stats(sum, w);
    put_timings(sum, n, w);
    mem_books books;
    mem_books_read(x->a->ledger, &books);
    json_key(w, "memory");
    json_object_start(w);
    json_put_uint(w, "peak_bytes", sum->peak_bytes);
    json_put_string(w, "level", str_of(mem_level_name(books.level)));
    json_object_end(w);
}

static uint64_t mix(uint64_t h) {
    h = (h ^ h >> 31) * 0x7FB5D329728EA185ull;
    h = (h ^ h >> 27) * 0x81DADEF4BC2DD44Dull;
    return h ^ h >> 33;
}

const char *api_short_id(uint64_t of, char out[API_CALL_ID_BYTES]) {
    static const char letters[] = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    uint64_t h = mix(of);
    for (int k = 0; k < API_CALL_ID_BYTES - 1; k++, h /= 62) out[k] = letters[h % 62];
    out[API_CALL_ID_BYTES - 1] = 0;
    return out;
}

const char *api_call_id(const answer *x, uint32_t i, uint32_t call, char out[API_CALL_ID_BYTES]) {
    return api_short_id(str_hash(str_of(http_request_id(x->request))) + i * 1000003ull + call, out);
}

const char *api_error_param(const err *e, char *name, size_t size) {
    const char *open = strchr(e->message, '\''), *close = open ? strchr(open + 1, '\'') : NULL;
    if ((e->code != ERR_INVALID && e->code != ERR_UNSUPPORTED) || !close || close - open - 1 >= (long)size) return NULL;
    snprintf(name, size, "%.*s", (int)(close - open - 1), open + 1);
    return name;
}
