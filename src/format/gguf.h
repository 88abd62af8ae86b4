/* format/gguf — a GGUF file (v2, v3; little endian) as a validated directory.
 *
 * Owns the mapping of one file and a directory of its metadata and tensors. Nothing is copied: strings
 * and arrays are views into the mapping and live until gguf_close. gguf_open checks everything a later
 * reader relies on (the list in docs/formats.md): counts, lengths, offsets, alignment, overflow,
 * duplicates, nesting, that every tensor's data lies inside the file. What it accepts can be read
 * without further bounds checks; what it refuses is one line naming the file and the reason. A model in several files
 * (PREFIX-00001-of-00003.gguf, …) is opened by the first, and is one directory then.
 * Knows no architectures: which keys a model needs is model/'s business.
 */
#ifndef FORMAT_GGUF_H
#define FORMAT_GGUF_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "base/alloc.h"
#include "base/err.h"
#include "base/str.h"
#include "format/source.h"
#include "plat/vm.h"

typedef enum gguf_type {
    GGUF_U8, GGUF_I8, GGUF_U16, GGUF_I16, GGUF_U32, GGUF_I32, GGUF_F32, GGUF_BOOL,
    GGUF_STRING, GGUF_ARRAY, GGUF_U64, GGUF_I64, GGUF_F64, GGUF_TYPE_COUNT
} gguf_type;

typedef struct gguf_kv {
    str key;
    gguf_type type;
    gguf_type item_type; /* arrays */
    uint64_t n_items;    /* arrays */
    const uint8_t *data; /* the value's bytes: scalar, string length + bytes, or the array's first item */
} gguf_kv;

enum { GGUF_TOKEN_NORMAL = 1 }; /* of tokenizer.ggml.token_type */

typedef struct gguf {
    format_source source; /* what models see of it */
    plat_file file; /* fd −1 when opened over memory */
    const uint8_t *base;
    uint64_t bytes;
    uint32_t version, alignment;
    uint64_t data_offset; /* where tensor data begins */
    gguf_kv *kvs;
    uint64_t n_kvs;
    format_tensor *tensors;
    uint64_t n_tensors;
    uint64_t tensor_bytes; /* sum over all tensors */
    const base_alloc *alloc;
    void *index; /* name → position tables */
    size_t index_bytes;
    struct gguf *parts; /* of a model in several files those behind the first, without directories of their own */
    uint32_t n_parts;
} gguf;

/* Files whose tensor data is a hole (forge --header-only) open like any other. */
bool gguf_open(gguf *g, const char *path, const base_alloc *alloc, err *e);
/* Over bytes that outlive the directory (the embedded model; fuzzing). name appears in errors. */
bool gguf_open_memory(gguf *g, const void *bytes, size_t len, const char *name, const base_alloc *alloc, err *e);
void gguf_close(gguf *g);

/* The i-th file, from 0 to n_parts; the first is g itself, whose bytes and data_offset are those of that file alone. */
static inline const gguf *gguf_part(const gguf *g, uint32_t i) { return i ? &g->parts[i - 1] : g; }

const gguf_kv *gguf_find(const gguf *g, const char *key);
const format_tensor *gguf_find_tensor(const gguf *g, str name);

/* Typed look-ups. Absent: *out untouched and true when !required, else ERR_FORMAT "missing key …".
 * Present with another type (any integer type is accepted where it fits): ERR_FORMAT. */
bool gguf_u32(const gguf *g, const char *key, bool required, uint32_t *out, err *e);
bool gguf_f32(const gguf *g, const char *key, bool required, float *out, err *e);
bool gguf_bool(const gguf *g, const char *key, bool required, bool *out, err *e);
bool gguf_str(const gguf *g, const char *key, bool required, str *out, err *e);

/* Arrays: item i of a string array is found by walking, so callers iterate. */
typedef struct gguf_strings {
    const uint8_t *at;
    uint64_t left;
} gguf_strings;
bool gguf_string_array(const gguf *g, const char *key, bool required, gguf_strings *out, uint64_t *n, err *e);
bool gguf_strings_next(gguf_strings *it, str *out);
/* Items as float or int32 (u32 accepted), unaligned storage: read with gguf_f32_at / gguf_i32_at. */
bool gguf_number_array(const gguf *g, const char *key, gguf_type item_type, bool required, const uint8_t **items,
                       uint64_t *n, err *e);
static inline float gguf_f32_at(const uint8_t *items, uint64_t i) {
    float v;
    memcpy(&v, items + 4 * i, sizeof v);
    return v;
}
static inline int32_t gguf_i32_at(const uint8_t *items, uint64_t i) {
    int32_t v;
    memcpy(&v, items + 4 * i, sizeof v);
    return v;
}

/* A scalar number of any type as double (inspect). */
double gguf_number(const gguf_kv *kv);
const char *gguf_type_name(gguf_type t);

/* Reads bytes of a tensor's data without mapping them (pread, or memcpy over memory). */
bool gguf_tensor_read(const gguf *g, const format_tensor *t, uint64_t offset, void *out, size_t bytes, err *e);

#endif
