/* api/ollama/ — the Ollama dialect: chat and generate (chat.c, their answers words.c), vectors (embed.c), what there is
 * and what cannot be (models.c). Callers: routes.c for the handlers; the rest is what its files share. */
#ifndef API_OLLAMA_OLLAMA_H
#define API_OLLAMA_OLLAMA_H

#include "api/core/chat.h"

extern const dialect ollama_dialect;

void ollama_chat(api *a, http_request *r);
void ollama_generate(api *a, http_request *r);
void ollama_embed(api *a, http_request *r);
void ollama_embeddings(api *a, http_request *r);
void ollama_version(api *a, http_request *r);
void ollama_tags(api *a, http_request *r);
void ollama_ps(api *a, http_request *r);
void ollama_show(api *a, http_request *r);
void ollama_pull(api *a, http_request *r);
void ollama_cannot(api *a, http_request *r);

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
