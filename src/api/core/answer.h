/* api/core/answer — what the files of an answer share: its life (answer.c), streams (answer_stream.c) and whole answers
 * (answer_whole.c). Not for the dialects: they see api/internal.h.
 *
 * What is long takes its time, so it is worded on http's wording thread: all whole answers, and the end of a stream
 * that repeats what was said. The engine thread only counts who has ended, the event thread words the short records
 * of streams.
 */
#ifndef API_CORE_ANSWER_H
#define API_CORE_ANSWER_H

#include "api/core/core.h"

enum { ANSWER_BUF_LIMIT = 256 << 20 };

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

/* A call that breaks off is not there to be made, whatever ended the reply: no dialect has another word for it. */
static inline void answer_cut_off(engine_finish *finish, int32_t *stopped_by) {
    *finish = ENGINE_FINISH_LENGTH;
    *stopped_by = -1;
}

long answer_pull(void *ctx, char *out, size_t max); /* an http_pull */
bool answer_first(void *ctx, http_request *r);      /* an http_first: what fails before its first record is refused */
bool answer_failed(answer *x, err *why);            /* one of its jobs has */
/* Each a sched_wake: */
void answer_wake_stream(void *ctx);
void answer_wake_whole(void *ctx);

#endif
