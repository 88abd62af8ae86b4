/* The way every answer goes, whatever its dialect: its jobs, streamed or whole, and the shared wording. */
#include <stdio.h>
#include <string.h>

#include "api/internal.h"
#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"
#include "mem/books.h"

enum { ANSWER_BUF_LIMIT = 256 << 20, FEED_BYTES = 64 };

/* From an answer's beginning to its end on the heap. Of a chat: a parser for each job, and the token being
 * worded (a few bytes at a time, so that what comes of them fits a record). Of any: what the dialect wanted
 * copied. */
struct answer_kept {
    size_t bytes;
    sched_output now;
    uint32_t now_job, now_fed;     /* of now.text: passed to the parser */
    bool fresh;                    /* no piece of now is written yet */
    text_reply *replies;           /* [n_jobs] */
    buf record, items, said, name; /* of a dialect that keeps all */
};

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
    timeline_request_ended(x->a);
    pthread_mutex_lock(&x->lock);
    x->in_use = false;
    pthread_mutex_unlock(&x->lock);
}

/* A call that breaks off is not there to be made, whatever ended the reply: no dialect has another word for it. */
static void cut_off(engine_finish *finish, int32_t *stopped_by) {
    *finish = ENGINE_FINISH_LENGTH;
    *stopped_by = -1;
}

/* ---- a stream ---- */

typedef struct piece_writer {
    answer *x;
    uint32_t i;
    buf *to;
} piece_writer;

static void on_piece(void *ctx, const text_reply_event *ev) {
    piece_writer *p = ctx;
    answer *x = p->x;
    answer_progress *progress = &x->progress[p->i];
    if (ev->kind == TEXT_REPLY_CALL) progress->n_calls++;
    progress->last = ev->kind;
    progress->cut |= ev->cut;
    if (x->style.hide_reasoning && ev->kind == TEXT_REPLY_REASONING) return;
    x->dialect->piece(x, p->i, ev, x->kept->fresh ? &x->kept->now : NULL, p->to);
    x->kept->fresh = false;
}

/* The next few bytes of the token in hand. Where logprobs are wanted every token has a piece, if an empty
 * one. */
static void word_pieces(answer *x, buf *to) {
    answer_kept *c = x->kept;
    uint32_t i = c->now_job;
    piece_writer p = {x, i, to};
    size_t left = c->now.text.len - c->now_fed, n = left < FEED_BYTES ? left : FEED_BYTES;
    text_reply_feed(&c->replies[i], (str){c->now.text.data + c->now_fed, n}, on_piece, &p);
    c->now_fed += (uint32_t)n;
    if (c->now_fed < c->now.text.len) return;
    if (x->progress[i].last == TEXT_REPLY_REASONING) x->progress[i].reasoning_tokens++;
    if (x->logprobs && c->fresh)
        on_piece(&p, &(text_reply_event){.kind = TEXT_REPLY_CONTENT, .text = STR("")});
    c->now.what = SCHED_NOTHING;
}

static void word_token(answer *x, uint32_t i, const sched_output *out, buf *to) {
    if (!x->style.chat) {
        x->dialect->token(x, i, out, to);
        return;
    }
    x->kept->now = *out;
    x->kept->now.text.data = x->kept->now.storage; /* where it lies in out */
    x->kept->now_job = i;
    x->kept->now_fed = 0;
    x->kept->fresh = true;
    word_pieces(x, to);
}

static void word_end(answer *x, uint32_t i, sched_output *out, buf *to) {
    if (x->style.chat && out->what == SCHED_END) {
        x->kept->fresh = false;
        text_reply_finish(&x->kept->replies[i], on_piece, &(piece_writer){x, i, to});
        if (x->progress[i].cut) cut_off(&out->finish, &out->stopped_by);
    }
    x->dialect->end(x, i, out, to);
    x->ended_jobs |= 1u << i;
}

static bool all_ended(const answer *x) { return x->ended_jobs == (1u << x->n_jobs) - 1; }

/* The next output of the jobs, in turns. */
static bool read_next(answer *x, sched_output *out, uint32_t *job) {
    for (uint32_t k = 0; k < x->n_jobs; k++) {
        uint32_t i = (x->turn + k) % x->n_jobs;
        if (x->ended_jobs & 1u << i) continue;
        sched_job_read(x->a->sched, x->jobs[i], out);
        if (out->what == SCHED_NOTHING) continue;
        x->turn = i + 1;
        *job = i;
        return true;
    }
    return false;
}

static bool is_silent(const answer *x) {
    uint64_t limit_ns = x->a->config.keep_alive_ms * 1000000ull;
    return limit_ns && x->dialect->keep_alive && clock_now_ns() - x->written_ns >= limit_ns;
}

/* Words the next record into to. False when there is none yet. */
static bool word_next(answer *x, buf *to) {
    sched_output out;
    uint32_t i;
    if (x->style.chat && x->kept->now.what == SCHED_TOKEN) return word_pieces(x, to), true;
    if (all_ended(x)) {
        if (x->dialect->finish) x->dialect->finish(x, to);
        return x->finished = true;
    }
    if (!read_next(x, &out, &i)) {
        if (is_silent(x)) buf_append_str(to, str_of(x->dialect->keep_alive));
        return to->len > 0;
    }
    if (!x->begun && x->dialect->begin) x->dialect->begin(x, to);
    x->begun = true;
    if (out.what == SCHED_TOKEN)
        word_token(x, i, &out, to);
    else
        word_end(x, i, &out, to);
    return true;
}

/* Where there is no memory for a record that repeats everything, the stream ends without it. */
static bool format_large(answer *x) {
    buf *to = &x->kept->record;
    buf_clear(to);
    if (!word_next(x, to)) return false;
    if (to->failed)
        log_warn("api", "no memory for a record of more than %zu bytes: the answer ends early", to->len);
    x->finished |= to->failed;
    x->pending = to->failed ? STR("") : buf_str(to);
    return true;
}

static bool format_next(answer *x) {
    mem_arena over;
    if (x->dialect->keeps_all && x->kept) return format_large(x);
    mem_arena_over(&over, x->record_bytes, ANSWER_PENDING_BYTES);
    base_alloc alloc = mem_arena_alloc(&over);
    buf to;
    buf_init(&to, &alloc, ANSWER_PENDING_BYTES);
    if (!word_next(x, &to)) return false;
    CHECK(!to.failed);
    x->pending = buf_str(&to);
    return true;
}

static long on_pull(void *ctx, char *out, size_t max) {
    answer *x = ctx;
    size_t written = 0;
    for (;;) {
        size_t n = x->pending.len < max - written ? x->pending.len : max - written;
        if (n) memcpy(out + written, x->pending.data, n);
        x->pending = (str){x->pending.data + n, x->pending.len - n};
        written += n;
        if (n) x->written_ns = clock_now_ns();
        if (x->pending.len || written == max) return (long)written;
        if (x->finished) return written ? (long)written : HTTP_STREAM_END;
        if (!format_next(x)) return (long)written;
    }
}

static void on_wake_stream(void *ctx) { http_stream_wake(((answer *)ctx)->request); }

void api_keep_alive(api *a) {
    for (uint32_t i = 0; i < a->config.max_active; i++) {
        answer *x = &a->answers[i];
        if (pthread_mutex_trylock(&x->lock)) continue;
        if (x->in_use && !x->gone && x->stream && x->n_jobs && is_silent(x)) http_stream_wake(x->request);
        pthread_mutex_unlock(&x->lock);
    }
}

/* ---- a whole answer ---- */

typedef struct wording {
    buf text, reasoning, calls, logprobs, body; /* of all jobs, one after another; body: what is sent */
    answer_choice choices[ANSWER_JOBS_MAX];
    buf head;         /* of the call in hand: what was written before its arguments */
    size_t call_from; /* in calls: where it begins */
    bool call_open, cut, objects;
    text_reply_kind last;
    uint32_t n_calls; /* of the job in hand */
    err failure;      /* of one of the jobs, or of the wording */
} wording;

static void close_call(wording *all) {
    if (all->call_open) buf_append_str(&all->calls, (str){"", 1});
    all->call_open = false;
}

/* Where arguments are objects what is none is no call: what was written is text. */
static void take_back_call(wording *all) {
    const char *name = all->calls.data + all->call_from, *arguments = name + strlen(name) + 1;
    buf_append_str(&all->text, buf_str(&all->head));
    buf_append(&all->text, arguments, (size_t)(all->calls.data + all->calls.len - arguments));
    all->calls.len = all->call_from;
    all->call_open = false;
    all->n_calls--;
}

static void on_whole_piece(void *ctx, const text_reply_event *ev) {
    wording *all = ctx;
    all->last = ev->kind;
    switch (ev->kind) {
    case TEXT_REPLY_CONTENT: buf_append_str(&all->text, ev->text); break;
    case TEXT_REPLY_REASONING: buf_append_str(&all->reasoning, ev->text); break;
    case TEXT_REPLY_CALL:
        close_call(all);
        all->call_from = all->calls.len;
        buf_clear(&all->head);
        buf_append_str(&all->head, ev->raw);
        buf_append_str(&all->calls, ev->text);
        buf_append_str(&all->calls, (str){"", 1});
        all->call_open = true;
        all->n_calls++;
        break;
    case TEXT_REPLY_ARGUMENTS: buf_append_str(&all->calls, ev->text); break;
    case TEXT_REPLY_CALL_END:
        all->cut = ev->cut;
        if (all->objects && (ev->cut || ev->broken) && !all->calls.failed) take_back_call(all);
        else close_call(all);
        break;
    }
}

/* Reads all of a job that has ended. The choice's strings get their lengths; where they lie is known at the
 * end. */
static void collect(answer *x, uint32_t i, wording *all) {
    size_t text_start = all->text.len, reasoning_start = all->reasoning.len, calls_start = all->calls.len;
    size_t logprobs_start = all->logprobs.len;
    text_reply *reply = x->style.chat ? &x->kept->replies[i] : NULL;
    uint32_t reasoning_tokens = 0;
    sched_output out;
    json_writer w;
    all->n_calls = 0;
    all->cut = false;
    all->last = TEXT_REPLY_CONTENT;
    json_begin(&w, &all->logprobs);
    if (x->logprobs) json_array_start(&w);
    for (;;) {
        sched_job_read(x->a->sched, x->jobs[i], &out);
        if (out.what != SCHED_TOKEN) break;
        if (reply)
            text_reply_feed(reply, out.text, on_whole_piece, all);
        else
            buf_append_str(&all->text, out.text);
        if (reply && all->last == TEXT_REPLY_REASONING) reasoning_tokens++;
        if (x->logprobs) x->dialect->logprob(x, &out, &w);
    }
    if (x->logprobs) json_array_end(&w);
    if (reply) text_reply_finish(reply, on_whole_piece, all);
    close_call(all);
    if (x->style.hide_reasoning) all->reasoning.len = reasoning_start;
    if (all->cut) cut_off(&out.finish, &out.stopped_by);
    all->choices[i] = (answer_choice){.text = {NULL, all->text.len - text_start},
                                      .reasoning = {NULL, all->reasoning.len - reasoning_start},
                                      .calls = {NULL, all->calls.len - calls_start},
                                      .logprobs = {NULL, all->logprobs.len - logprobs_start},
                                      .n_calls = all->n_calls,
                                      .reasoning_tokens = reasoning_tokens,
                                      .cut = all->cut,
                                      .finish = out.finish,
                                      .stopped_by = out.stopped_by};
}

static void place(str *s, const char **at) {
    s->data = *at;
    *at += s->len;
}

static void place_choices(answer *x, wording *all) {
    const char *text = buf_str(&all->text).data, *reasoning = buf_str(&all->reasoning).data;
    const char *calls = buf_str(&all->calls).data, *logprobs = buf_str(&all->logprobs).data;
    for (uint32_t i = 0; i < x->n_jobs; i++) {
        place(&all->choices[i].text, &text);
        place(&all->choices[i].reasoning, &reasoning);
        place(&all->choices[i].calls, &calls);
        place(&all->choices[i].logprobs, &logprobs);
    }
}

str answer_next_call(const char **at, str *arguments) {
    str name = str_of(*at);
    *arguments = str_of(*at + name.len + 1);
    *at += name.len + arguments->len + 2;
    return name;
}

static void word_choices(answer *x, wording *all) {
    buf *const bufs[] = {&all->text, &all->reasoning, &all->calls, &all->head, &all->logprobs};
    bool failed = false;
    for (uint32_t i = 0; i < x->n_jobs; i++) collect(x, i, all);
    for (size_t k = 0; k < sizeof bufs / sizeof *bufs; k++) failed |= bufs[k]->failed;
    if (!failed) {
        place_choices(x, all);
        x->dialect->whole(x, all->choices, &all->body);
    }
    if (failed || all->body.failed)
        err_set_memory(&all->failure, all->text.len, mem_ledger_available(x->a->ledger),
                       "no memory to word an answer of %zu bytes", all->text.len);
}

/* The HTTP status of what is in body. */
static int word(answer *x, wording *all) {
    err *e = &all->failure;
    if (!e->code) word_choices(x, all);
    if (!e->code) return 200;
    buf_clear(&all->body);
    int status = api_dialect_status(x->dialect, e, false);
    x->dialect->error(&(answer_failure){e, status, http_request_id(x->request)}, &all->body);
    return status;
}

static void reply(answer *x, const err *failure) {
    api *a = x->a;
    wording all = {.failure = *failure, .objects = x->dialect->objects};
    buf *const bufs[] = {&all.text, &all.reasoning, &all.calls, &all.head, &all.logprobs, &all.body};
    for (size_t i = 0; i < sizeof bufs / sizeof *bufs; i++)
        buf_init(bufs[i], &a->heap.alloc, ANSWER_BUF_LIMIT);
    int status = word(x, &all);
    if (status != 200) api_put_error_headers(a, x->request, status, &all.failure);
    http_late_reply(x->request, status, "application/json", buf_str(&all.body));
    for (size_t i = 0; i < sizeof bufs / sizeof *bufs; i++) buf_free(bufs[i]);
}

static bool one_failed(answer *x, err *why) {
    for (uint32_t i = 0; i < x->n_jobs; i++)
        if (sched_job_failed(x->a->sched, x->jobs[i], why)) return true;
    return false;
}

/* Each job calls once, when it has ended. The last call words them all; when one has failed that is the
 * answer, at once, and the others are let go with it. */
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
        err_set(&e, ERR_BUSY, "%u answers are in work already", a->config.max_active);
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
        http_stream(r, 200, d->stream_type, on_pull, on_gone, x);
        for (uint32_t i = 0; i < n_jobs; i++) sched_job_listen(a->sched, x->jobs[i], on_wake_stream, x);
    } else {
        http_late(r, on_gone, x);
        for (uint32_t i = 0; i < n_jobs; i++) sched_job_listen(a->sched, x->jobs[i], on_wake_whole, x);
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
    to->parked += u->parked;
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
    if (e->code != ERR_INVALID || !close || close - open - 1 >= (long)size) return NULL;
    snprintf(name, size, "%.*s", (int)(close - open - 1), open + 1);
    return name;
}
