/* Answers that are given whole: when the last job has ended all are read and worded, on the wording thread. */
#include <string.h>

#include "api/core/answer.h"
#include "base/clock.h"

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
        plat_pulse_beat();
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
    if (all->cut) answer_cut_off(&out.finish, &out.stopped_by);
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

/* On the wording thread: nobody else is at the answer, and it is not gone before this has returned. */
static void reply(void *ctx, http_request *r) {
    answer *x = ctx;
    api *a = x->a;
    wording all = {.objects = x->dialect->objects};
    api_begin_wording(a, r);
    (void)answer_failed(x, &all.failure);
    buf *const bufs[] = {&all.text, &all.reasoning, &all.calls, &all.head, &all.logprobs, &all.body};
    for (size_t i = 0; i < sizeof bufs / sizeof *bufs; i++)
        buf_init(bufs[i], &a->heap.alloc, ANSWER_BUF_LIMIT);
    int status = word(x, &all);
    if (status != 200) api_put_error_headers(a, r, status, &all.failure);
    http_late_reply(r, status, "application/json", buf_str(&all.body));
    for (size_t i = 0; i < sizeof bufs / sizeof *bufs; i++) buf_free(bufs[i]);
    plat_pulse_end();
}

/* Each job calls once, when it has ended. With the last call all are worded; when one has failed that is the
 * answer, at once, and the others are let go with it. */
void answer_wake_whole(void *ctx) {
    answer *x = ctx;
    err failure = {0};
    pthread_mutex_lock(&x->lock);
    if (!x->gone && x->n_awaited) {
        x->n_awaited = answer_failed(x, &failure) ? 0 : x->n_awaited - 1;
        if (!x->n_awaited) http_word(x->request, reply, x);
    }
    pthread_mutex_unlock(&x->lock);
}
