/* engine/thought — how long a model may think.
 *
 * Owns where in a reply its thought begins and ends (by the words of its family, however they are cut into tokens), and
 * when its end is due: after so many tokens of it, at the end of a character, the request's closing tokens come next,
 * whatever the model would say. All of it follows from the tokens so far, so company, drafts and preemption change
 * nothing. Where a grammar forbids one of these tokens, the grammar holds, and the thought goes on. Callers:
 * engine/generation, token by token.
 */
#ifndef ENGINE_THOUGHT_H
#define ENGINE_THOUGHT_H

#include "text/reply/reply.h"

enum { THOUGHT_CLOSE_MAX = 96 };

typedef struct engine_thinking {
    bool limited;
    bool begun;       /* the prompt ends in a thought */
    uint32_t budget;  /* tokens of all thoughts together */
    uint32_t n_close;
    int32_t close[THOUGHT_CLOSE_MAX]; /* what ends one */
} engine_thinking;

typedef struct engine_thought {
    const engine_thinking *how;
    str open, close;
    bool anywhere;   /* one may begin in the middle of the reply */
    uint8_t phase;
    uint8_t matched; /* bytes of the tag that is waited for */
    uint8_t partial; /* bytes that the character at hand lacks */
    uint32_t n_tokens, n_closing;
} engine_thought;

/* words: the family's; NULL: nothing is a thought. */
void engine_thought_begin(engine_thought *t, const engine_thinking *how, const text_reply_format *words);
/* The token that must come next; −1: any. allowed: a bit for each token that a grammar lets come; NULL: all. */
int32_t engine_thought_due(engine_thought *t, const uint64_t *allowed);
/* That token has come: due, or sampled. */
void engine_thought_note(engine_thought *t, int32_t due, str bytes);

#endif
