/* base/err — the one error type.
 *
 * An operation that can fail returns bool (or a pointer) and takes `err *e` last. On failure it fills
 * *e once, at the place where the reason is known, and every caller passes it up unchanged or adds
 * context in front with err_prefix. The code decides what a face does with it (exit status, HTTP
 * status); the message is for a person: one line, no trailing full stop, what was found, what would
 * have been right.
 */
#ifndef BASE_ERR_H
#define BASE_ERR_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum err_code {
    ERR_NONE = 0,
    ERR_USAGE,       /* the caller's own arguments: flags, option values */
    ERR_INVALID,     /* a request that is wrong in itself (type, range, combination) */
    ERR_FORMAT,      /* a file that is not what it claims to be */
    ERR_UNSUPPORTED, /* well formed, but nothing here can do it */
    ERR_NOT_FOUND,   /* a named thing does not exist */
    ERR_IO,          /* the system refused a read, write, bind, map */
    ERR_MEMORY,      /* the memory line or an account's limit refused a reservation */
    ERR_TOO_LARGE,   /* can never fit: prompt over the context, body over the limit */
    ERR_BUSY,        /* would fit later: queue full, draining */
    ERR_CANCELLED,   /* whoever asked has gone, or a deadline passed */
} err_code;

enum { ERR_MESSAGE_BYTES = 384 };

typedef struct err {
    err_code code;
    uint64_t need_bytes; /* with ERR_MEMORY: what it would have taken, and what there was */
    uint64_t have_bytes;
    uint32_t need_tokens; /* with ERR_TOO_LARGE of a prompt: what it has, and what there may be; otherwise 0 */
    uint32_t have_tokens;
    char message[ERR_MESSAGE_BYTES];
} err;

/* Fills *e (which may be NULL) and returns false, so that `return err_set(e, …)` reads well. */
bool err_set(err *e, err_code code, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* As err_set for ERR_MEMORY, carrying the two figures. */
bool err_set_memory(err *e, uint64_t need_bytes, uint64_t have_bytes, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

/* A prompt over what there may be, in words that do; whoever has words of his own takes the two figures. */
bool err_set_tokens(err *e, uint64_t need_tokens, uint32_t have_tokens);

/* Puts text in front of a message: "file.gguf: " + "…". Returns false. */
bool err_prefix(err *e, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Short lower-case name of a code ("format", "memory"), for logs and JSON. */
const char *err_code_name(err_code code);

#endif
