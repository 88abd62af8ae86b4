/* engine/grammars — the compiled grammars of a server, and where each text is in its own.
 *
 * Owns one block of the ledger account `grammar`, planned and taken at load: the region that grammars are compiled
 * into, and the machine that runs them. A grammar is found again by its source; what no request uses goes, the
 * least recently used first, when another needs the room. So the account never grows, however many different
 * schemas come.
 *
 * Callers: api/ (engine_grammar_get, from its worker thread), sched/ (which holds a grammar for each of its jobs), and
 * engine/generation on the thread that steps, the only one that uses the machine.
 */
#ifndef ENGINE_GRAMMARS_H
#define ENGINE_GRAMMARS_H

#include "base/err.h"
#include "text/grammar/grammar.h"

typedef struct engine engine;
typedef struct engine_grammar engine_grammar;

/* A reference, to be given back. ERR_INVALID names what is wrong with the source; ERR_BUSY: running requests use
 * all of the room; ERR_MEMORY: it would not fit alone; ERR_UNSUPPORTED: the engine was set up without grammars. */
engine_grammar *engine_grammar_get(engine *en, text_grammar_kind kind, str source, err *e);
engine_grammar *engine_grammar_hold(engine *en, engine_grammar *g); /* one reference more; NULL is fine */
void engine_grammar_release(engine *en, engine_grammar *g);         /* NULL is fine */

typedef struct engine_grammar_counts {
    uint32_t kept, in_use; /* of those kept */
    uint64_t bytes;        /* that they hold of the region */
    uint64_t compiled, found, tries; /* tries: to compile one, also for want of room */
} engine_grammar_counts;
void engine_grammar_read(engine *en, engine_grammar_counts *out);

/* ---- on the thread that steps ---- */

/* The tokens that may come next, a bit each, after those generated so far; NULL with a failure that a person can
 * read. */
const uint64_t *engine_grammar_mask(engine *en, const engine_grammar *g, text_grammar_cursor *c,
                                    const int32_t *tokens, uint32_t n_tokens, err *e);
/* One that the mask allows. True: it ends the text. (A grammar may name a token that elsewhere ends texts, and go
 * on.) */
bool engine_grammar_accept(engine *en, text_grammar_cursor *c, int32_t token);

#endif
