/* Answers that are streamed: the event thread asks for bytes, and words the jobs' records one by one. */
#include <string.h>

#include "api/core/answer.h"
#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"

enum { FEED_BYTES = 64, LONG_BYTES = 4096 };

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
    if (ev->kind == TEXT_REPLY_CALL_END && x->dialect->objects && (ev->cut || ev->broken)) progress->n_calls--;
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
        if (x->progress[i].cut) answer_cut_off(&out->finish, &out->stopped_by);
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

/* The end of a stream repeats what was said, and that was much: not for this thread. */
static bool ends_long(const answer *x, const sched_output *out) {
    const answer_kept *c = x->kept;
    return out->what == SCHED_END && c && x->dialect->keeps_all && c->items.len + c->said.len > LONG_BYTES;
}

static bool waits_for_wording(const answer *x) { return x->kept && x->kept->now.what == SCHED_END; }

/* Words the next record into to. False when there is none yet, or none for this thread. */
static bool word_next(answer *x, buf *to) {
    sched_output out;
    uint32_t i;
    if (waits_for_wording(x)) return false;
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
    if (ends_long(x, &out)) {
        x->kept->now = out;
        x->kept->now_job = i;
        return to->len > 0;
    }
    if (out.what == SCHED_TOKEN)
        word_token(x, i, &out, to);
    else
        word_end(x, i, &out, to);
    return true;
}

/* Where there is no memory for a record that repeats everything, the stream ends without it. */
static void take_large(answer *x) {
    const buf *to = &x->kept->record;
    if (to->failed)
        log_warn("api", "no memory for a record of more than %zu bytes: the answer ends early", to->len);
    x->finished |= to->failed;
    x->pending = to->failed ? STR("") : buf_str(to);
}

static bool format_large(answer *x) {
    buf_clear(&x->kept->record);
    if (!word_next(x, &x->kept->record)) return false;
    take_large(x);
    return true;
}

/* On the wording thread: the stream sleeps until it is done. */
static void word_long_end(void *ctx, http_request *r) {
    answer *x = ctx;
    answer_kept *c = x->kept;
    api_begin_wording(x->a, r);
    buf_clear(&c->record);
    word_end(x, c->now_job, &c->now, &c->record);
    c->now.what = SCHED_NOTHING;
    take_large(x);
    plat_pulse_end();
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

long answer_pull(void *ctx, char *out, size_t max) {
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
        if (!format_next(x)) break;
    }
    if (!written && waits_for_wording(x)) http_word(x->request, word_long_end, x);
    return (long)written;
}

bool answer_first(void *ctx, http_request *r) {
    answer *x = ctx;
    err why = {0};
    bool has = x->pending.len || x->finished || format_next(x);
    if (answer_failed(x, &why)) return api_refuse_late(x->a, r, x->dialect, &why), true;
    if (!has && waits_for_wording(x)) http_word(r, word_long_end, x);
    return has;
}

void answer_wake_stream(void *ctx) { http_stream_wake(((answer *)ctx)->request); }

void api_keep_alive(api *a) {
    for (uint32_t i = 0; i < a->config.max_active; i++) {
        answer *x = &a->answers[i];
        if (pthread_mutex_trylock(&x->lock)) continue;
        if (x->in_use && !x->gone && x->stream && x->n_jobs && is_silent(x)) http_stream_wake(x->request);
        pthread_mutex_unlock(&x->lock);
    }
}
