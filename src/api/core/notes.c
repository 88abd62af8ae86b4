/* What a server should tell its people about how it was started: in the log once, and in /health. */
#include <stdio.h>

#include "api/core/core.h"
#include "base/log.h"

enum { NOTES_MOST = 3, NOTE_BYTES = 200 };

/* After api_ready has begun: the engine is loaded. */
static uint32_t gather(const api *a, char out[NOTES_MOST][NOTE_BYTES]) {
    uint32_t n = 0, context = engine_context(a->en), trained = engine_model_desc(a->en)->n_context_train;
    if (context > trained)
        snprintf(out[n++], NOTE_BYTES,
                 "the context is %u tokens, and the model was trained on %u: answers get worse beyond that", context,
                 trained);
    if (context < trained && !a->config.asked_context)
        snprintf(out[n++], NOTE_BYTES,
                 "the context is %u of the model's %u tokens: more does not fit under the line (--memory, --kv q8, a "
                 "smaller -np)", context, trained);
    if (a->model.own)
        snprintf(out[n++], NOTE_BYTES,
                 "the model's file has no chat template that can be used: ChatML's is used (--chat-template gives "
                 "another)");
    return n;
}

void api_log_notes(const api *a) {
    char notes[NOTES_MOST][NOTE_BYTES];
    uint32_t n = gather(a, notes);
    for (uint32_t i = 0; i < n; i++) log_warn("serve", "%s", notes[i]);
}

void api_put_notes(const api *a, json_writer *w) {
    char notes[NOTES_MOST][NOTE_BYTES];
    bool loaded = a->en && atomic_load(&((api *)(uintptr_t)a)->state) != API_LOADING;
    uint32_t n = loaded ? gather(a, notes) : 0;
    json_key(w, "warnings");
    json_array_start(w);
    for (uint32_t i = 0; i < n; i++) json_string(w, str_of(notes[i]));
    json_array_end(w);
}
