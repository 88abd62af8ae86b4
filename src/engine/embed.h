/* engine/embed — one vector for a text: the states of its tokens, pooled.
 *
 * Owns the arithmetic from states to a vector. States come in pieces, in the order of the text, and are added one after
 * another in double: no bit depends on the pieces. A text that begins again (its first token comes once more) begins
 * anew. Memory is the owner's. Callers: engine/generation, and whoever lays out its block.
 */
#ifndef ENGINE_EMBED_H
#define ENGINE_EMBED_H

#include "engine/engine.h"

typedef struct engine_embedding {
    model_pooling pooling; /* NONE: no embedding */
    bool normalize;        /* to length 1 */
    uint32_t n_embd;
    double *sum;   /* [n_embd] */
    float *vector; /* [n_embd]: there when the last token's state has come */
} engine_embedding;

/* Of n_embd values; what it needs beside the struct, to be aligned like a double. */
size_t engine_embedding_bytes(const engine *en);
void engine_embedding_init(engine_embedding *m, const engine *en, model_pooling pooling, bool normalize, void *memory);
/* States of tokens first … first + n − 1 of a text of n_text. Of LAST only the last token's need come, of CLS only the
 * first's and the last's. */
void engine_embedding_add(engine_embedding *m, const float *states, uint32_t first, uint32_t n, uint32_t n_text);

#endif
