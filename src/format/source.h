/* format/source — what a model file gives, whatever its format: keys, tensors and their bytes, a tokenizer.
 *
 * The seam between files and models: gguf fills it, and model/ and engine/ see nothing else of a file. A source is
 * part of the directory that fills it and lives as long. Keys and tensors have GGUF's names; a format that has others
 * maps them, once. What is given has been validated: names are told apart, tensors lie inside their file.
 * Refuses, by the look-ups: absent keys that are required, values of another type (ERR_FORMAT).
 */
#ifndef FORMAT_SOURCE_H
#define FORMAT_SOURCE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/dtype.h"
#include "base/err.h"
#include "base/str.h"

typedef struct format_tensor {
    str name;
    dtype type;
    uint32_t n_dims;
    uint64_t dims[4]; /* dims[0] runs fastest; unused are 1 */
    uint64_t offset;  /* from the start of its file */
    uint64_t bytes;
    uint32_t part;    /* which of the source's files */
} format_tensor;

enum { FORMAT_VOCAB_MAX = 1 << 22, FORMAT_NO_TOKEN = -1 };

typedef struct format_tokenizer {
    str model; /* "llama", "gpt2", "bert" */
    str pre;   /* the pre-tokenizer's name; empty: the default */
    uint32_t n_tokens, n_merges;
    int32_t bos, eos, eot, unk, sep, pad, cls, mask; /* FORMAT_NO_TOKEN when absent */
    int add_bos, add_eos, add_space_prefix;          /* −1: unsaid */
    /* Iterators: called with ascending i, each once; ctx: this tokenizer. type as GGUF numbers them. */
    bool (*token)(void *ctx, uint32_t i, str *text, float *score, int *type);
    bool (*merge)(void *ctx, uint32_t i, str *pair); /* "left right" */
    uintptr_t state[8];                              /* the filler's own */
} format_tokenizer;

typedef struct format_source format_source;

/* required false: what is absent leaves *out untouched, and is no failure. */
typedef struct format_source_ops {
    bool (*has)(const format_source *s, const char *key);
    bool (*u32)(const format_source *s, const char *key, bool required, uint32_t *out, err *e);
    /* a value for each of n: an array of so many numbers (or truth values), or one number for all */
    bool (*u32s)(const format_source *s, const char *key, bool required, uint32_t n, uint32_t *out, err *e);
    bool (*f32)(const format_source *s, const char *key, bool required, float *out, err *e);
    bool (*boolean)(const format_source *s, const char *key, bool required, bool *out, err *e);
    bool (*text)(const format_source *s, const char *key, bool required, str *out, err *e); /* lives with the source */
    const format_tensor *(*tensor)(const format_source *s, str name);                       /* NULL: there is none */
    /* bytes of a tensor's data from offset on, which are not mapped for it */
    bool (*read)(const format_source *s, const format_tensor *t, uint64_t offset, void *out, size_t bytes, err *e);
    bool (*tokenizer)(const format_source *s, format_tokenizer *out, err *e);
} format_source_ops;

struct format_source {
    const format_source_ops *ops;
    const format_tensor *tensors;
    uint64_t n_tensors, tensor_bytes; /* the sum over all */
    uint32_t n_files;
};

static inline bool format_has(const format_source *s, const char *key) { return s->ops->has(s, key); }
static inline bool format_u32(const format_source *s, const char *key, bool required, uint32_t *out, err *e) {
    return s->ops->u32(s, key, required, out, e);
}
static inline bool format_u32s(const format_source *s, const char *key, bool required, uint32_t n, uint32_t *out,
                               err *e) {
    return s->ops->u32s(s, key, required, n, out, e);
}
static inline bool format_f32(const format_source *s, const char *key, bool required, float *out, err *e) {
    return s->ops->f32(s, key, required, out, e);
}
static inline bool format_bool(const format_source *s, const char *key, bool required, bool *out, err *e) {
    return s->ops->boolean(s, key, required, out, e);
}
static inline bool format_str(const format_source *s, const char *key, bool required, str *out, err *e) {
    return s->ops->text(s, key, required, out, e);
}
static inline const format_tensor *format_find(const format_source *s, str name) { return s->ops->tensor(s, name); }
static inline bool format_read(const format_source *s, const format_tensor *t, uint64_t offset, void *out, size_t bytes,
                               err *e) {
    return s->ops->read(s, t, offset, out, bytes, e);
}
static inline bool format_read_tokenizer(const format_source *s, format_tokenizer *out, err *e) {
    return s->ops->tokenizer(s, out, e);
}

#endif
