/* api/ollama — what the files of the Ollama dialect share: chat and generate (ollama.c, their answers
 * ollama_words.c), vectors (ollama_embed.c), what there is and what cannot be (ollama_models.c). */
#ifndef API_OLLAMA_H
#define API_OLLAMA_H

#include "api/chat.h"

extern const dialect ollama_dialect;

/* model and created_at of the object being written. */
void ollama_put_head(api *a, json_writer *w);
enum { OLLAMA_CHAT, OLLAMA_GENERATE }; /* flavours */
/* "message" of a chat, up to its role. */
void ollama_begin_message(json_writer *w);

/* Options beside what is no conversation: they are looked at as those of one, and what counts of them is num_ctx. */
bool ollama_read_context(chat *c, api_request *q, str options, uint32_t *num_ctx, err *e);

/* How long what was said is remembered: seconds, or "5m", "1h30m" as Go writes them; negative: for ever. */
typedef struct ollama_keep {
    bool given;
    double seconds;
} ollama_keep;
bool ollama_read_keep_alive(const fields_in *in, str json, ollama_keep *out, err *e);
/* After request_finish; a cache_ttl of the request's own stands. */
void ollama_set_keep_alive(api_request *q, const ollama_keep *k);

#endif
