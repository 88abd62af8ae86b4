/* forge/vocab — a made-up vocabulary that tokenizes any text.
 *
 * Every byte has a token; on top come pieces of two to four letters, each the join of two earlier ones,
 * in the same order for both kinds (as merges, or as falling scores). English comes out at two to four
 * letters a token.
 */
#ifndef FORGE_VOCAB_H
#define FORGE_VOCAB_H

#include "out.h"
#include "shapes.h"

/* Writes all tokenizer.* keys. */
void vocab_write(out *o, const shape *s);

#endif
