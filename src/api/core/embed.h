/* api/core/embed — vectors for the texts of one request, whatever its dialect.
 *
 * Owns the way from texts to vectors: all texts are tokenized before any is run, a few at a time are jobs of the
 * scheduler, and the answer is given when the last has its vector; what one cannot have is refused for all. Its memory
 * is on the heap under the account `queue`, as large as the texts and the vectors are. Callers: the dialects, on the
 * worker thread: embed_begin, embed_read or embed_add, embed_run; or embed_end instead of the last.
 *
 * Refuses more than EMBED_TEXTS_MAX texts, empty ones, those over the context unless they may be cut, and answers over
 * api_config.reply_limit_bytes.
 */
#ifndef API_CORE_EMBED_H
#define API_CORE_EMBED_H

#include "api/core/chat.h"

enum { EMBED_TEXTS_MAX = 4096 };

typedef struct embed_answer embed_answer;

/* How a dialect words vectors; status and error are those of its other answers. */
typedef struct embed_dialect {
    const dialect *errors;
    void (*whole)(const embed_answer *x, buf *to);
} embed_dialect;

typedef struct embed_vectors {
    uint32_t n, dimensions;
    uint64_t prompt_tokens;
    double queue_ms, total_ms;
    uint64_t peak_bytes; /* of the largest */
    uint32_t flavour;
} embed_vectors;

enum { EMBED_DECIMAL_BYTES = 16, EMBED_BASE64_BYTES = 6 }; /* a number takes at most, worded */

/* NULL with the reason. flavour: the dialect's own, for its wording. */
embed_answer *embed_begin(api *a, const embed_dialect *d, uint32_t flavour, err *e);
/* The texts: a string, an array of strings, of token ids, or of arrays of these. name: the field's. cut: texts over the
 * context lose their end. c: for its memory. */
bool embed_read(embed_answer *x, const chat *c, const char *name, str json, bool cut, err *e);
void embed_limit(embed_answer *x, uint32_t n_tokens); /* before the texts: none is longer, though the context is */
/* One text more. path: what errors call it. */
bool embed_add(embed_answer *x, const char *path, str text, bool cut, err *e);
/* q: finished but for the prompt. dimensions: of a vector so many, made length 1 again if q normalizes; 0: all.
 * number_bytes: as above. Replies, now or later, and frees x. */
void embed_run(embed_answer *x, http_request *r, const api_request *q, uint32_t dimensions, uint32_t number_bytes);
void embed_end(embed_answer *x);

/* While it is worded: */
const embed_vectors *embed_made(const embed_answer *x);
const float *embed_vector(const embed_answer *x, uint32_t i);
api *embed_api(const embed_answer *x);
void embed_put_vector(const embed_answer *x, uint32_t i, json_writer *w); /* an array of numbers */
void embed_put_own(const embed_answer *x, json_writer *w); /* memory and timings, as members */

#endif
