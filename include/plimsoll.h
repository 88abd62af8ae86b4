/* plimsoll.h — the engine as a library: a model inside a memory line, in your own process.
 *
 * One plimsoll holds one model; it is used by one thread at a time. Errors come back as text in a buffer
 * of the caller's, and as a status. Nothing is printed. Link with libplimsoll's archives (see docs/ARCHITECTURE.md).
 */
#ifndef PLIMSOLL_H
#define PLIMSOLL_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct plimsoll plimsoll;

typedef enum plimsoll_status {
    PLIMSOLL_OK = 0,
    PLIMSOLL_INVALID,   /* an argument is wrong */
    PLIMSOLL_BAD_MODEL, /* the file is missing, malformed, or of a kind that is not supported */
    PLIMSOLL_NO_MEMORY, /* the line does not hold it; the message says what would fit */
    PLIMSOLL_TOO_LONG,  /* the prompt does not fit the context */
    PLIMSOLL_STOPPED,   /* the callback asked to stop */
    PLIMSOLL_FAILED     /* anything else */
} plimsoll_status;

typedef struct plimsoll_config {
    const char *model_path;  /* NULL: the built-in model */
    uint64_t memory_bytes;   /* the line; 0: 80 % of what is available */
    uint32_t context_tokens; /* 0: the model's own, as far as it fits */
    int threads;             /* 0: all usable cores */
} plimsoll_config;

typedef struct plimsoll_options {
    uint32_t max_tokens;
    float temperature; /* 0: greedy */
    int32_t top_k;     /* 0: off */
    float top_p;       /* 1: off */
    float min_p;       /* 0: off */
    uint64_t seed;
} plimsoll_options;

/* Pieces of whole UTF-8 characters, as they come. Return nonzero to stop. */
typedef int plimsoll_on_text(void *ctx, const char *text, size_t len);

/* NULL on failure; *status and message (cut to message_bytes, may be NULL) say why. */
plimsoll *plimsoll_open(const plimsoll_config *config, plimsoll_status *status, char *message, size_t message_bytes);
void plimsoll_close(plimsoll *p);

void plimsoll_options_default(plimsoll_options *o);
plimsoll_status plimsoll_generate(plimsoll *p, const char *prompt, const plimsoll_options *options, plimsoll_on_text *on_text, void *ctx,
                                  char *message, size_t message_bytes);

/* The ledger beside the kernel's figure, as JSON. Returns the length it has; cut to bytes. */
size_t plimsoll_memory_json(plimsoll *p, char *json, size_t bytes);

#ifdef __cplusplus
}
#endif

#endif
