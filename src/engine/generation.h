/* engine/generation — one continuation of one prompt: what to item next, when to stop, what to say.
 *
 * Owns the path from a sampled token to text that may be shown: penalties' history, the streaming
 * detokenizer, stop strings (text that could still become one is held back), the token limit and the
 * reason of the end. It does not run steps: its owner asks for the next item, runs it (alone or in a
 * batch with others), and hands the logits rows back. Memory is the owner's.
 *
 * A decode may be lengthened by drafted tokens (engine_generation_draft). Its rows are then accepted one after another
 * as long as what was sampled is what was drafted, each as if it had been run alone; the rest is as if never run.
 */
#ifndef ENGINE_GENERATION_H
#define ENGINE_GENERATION_H

#include "engine/embed.h"
#include "engine/sampler.h"
#include "engine/speculate.h"
#include "text/reply/reply.h"

enum {
    GENERATION_STOPS_MAX = 16,
    GENERATION_STOP_BYTES = 256,
    GENERATION_TEXT_BYTES = 3 * TEXT_TOKEN_BYTES_MAX + 64 + GENERATION_STOP_BYTES, /* most one token can release */
};

typedef enum engine_finish {
    ENGINE_RUNNING, ENGINE_FINISH_STOP, ENGINE_FINISH_LENGTH,
    ENGINE_FINISH_STUCK, /* the grammar lets nothing come next: a failure, in `failure` */
} engine_finish;

typedef struct engine_stop {
    uint16_t len;
    char text[GENERATION_STOP_BYTES];
} engine_stop;

typedef struct engine_generation {
    /* set by the owner before engine_generation_start */
    engine *en;
    engine_session *session;
    const engine_sampling *sampling;
    const engine_stop *stops;
    uint32_t n_stops;
    int32_t *tokens; /* [n_prompt + max_tokens]: the prompt, then what is generated */
    uint32_t n_prompt, max_tokens;
    bool speculate; /* draft what comes next */
    const text_reply_format *words; /* control tokens that are its words are text, too; NULL: none */
    engine_embedding embedding; /* with pooling: the prompt becomes a vector, and max_tokens is 0 */

    /* progress */
    uint32_t n_fed, n_generated;
    engine_finish finish;
    int32_t stopped_by; /* index of the stop string, or −1 */
    engine_sampler sampler;
    engine_thought thought;
    text_grammar_cursor grammar; /* with sampling->grammar */
    err failure;
    engine_drafter drafter;
    engine_session *draft_session; /* of the model that drafts (engine/draft.h) */
    uint32_t n_draft; /* drafted tokens of the item that are not judged yet */
    bool holds;       /* the last token sampled is the one that was drafted: the next row is good */
    uint32_t n_drafted, n_accepted; /* drafted tokens that were run; that were right */
    text_stream stream;
    uint32_t n_held;
    char held[GENERATION_TEXT_BYTES], shown[GENERATION_TEXT_BYTES];
} engine_generation;

void engine_generation_start(engine_generation *g);

/* The next tokens to run, at most max_tokens of them. want is LAST when they end the prompt or are a
 * decode step; STATES for an embedding. Call only while g->finish is ENGINE_RUNNING. */
void engine_generation_next_item(engine_generation *g, uint32_t max_tokens, engine_batch_item *item);

/* Before engine_speculate: what may be drafted behind a decode. */
void engine_generation_propose(engine_generation *g);
/* After it, with pages for them: lengthens the decode's item by the n_wanted drafted tokens. */
void engine_generation_draft(engine_generation *g, engine_batch_item *item);

/* After the item has run: result is what engine_item_result says. Samples; *text is what may now
 * be shown, possibly empty, valid until the next call. Returns false when nothing was said: still in the
 * prompt, of an embedding, or the grammar is stuck. While g->holds
 * afterwards, the next row of the item may be accepted, too. */
bool engine_generation_accept(engine_generation *g, const engine_batch_item *item, const float *result,
                              engine_sample *sample, str *text);

/* Commits those tokens of the item that count after its rows were accepted; pages taken for the others go back. */
void engine_generation_commit(engine_generation *g, engine_batch_item *item);

/* The whole generation at once, for an owner with nothing else to run beside it. on_text gets each piece that is
 * not empty; returning false stops with ERR_CANCELLED. */
typedef bool engine_on_text(void *ctx, str text);
bool engine_generation_run(engine_generation *g, engine_on_text *on_text, void *ctx, err *e);

const char *engine_finish_name(engine_finish f); /* "stop", "length" */

#endif
