/* format/gguf_internal — what gguf.c (one file) and gguf_split.c (a model in several) share. Not for other rooms. */
#ifndef FORMAT_GGUF_INTERNAL_H
#define FORMAT_GGUF_INTERNAL_H

#include "format/gguf.h"

enum { GGUF_KVS_MAX = 1 << 16, GGUF_TENSORS_MAX = 1 << 17 };

bool gguf_open_one(gguf *g, const char *path, const base_alloc *alloc, err *e);
/* For n_kvs and n_tensors: the block that holds both lists and their orders. */
bool gguf_take_directory(gguf *g, err *e);
bool gguf_index_keys(gguf *g, err *e);
bool gguf_index_tensors(gguf *g, err *e);
const gguf_kv *gguf_find_key(const gguf *g, str key);
uint32_t gguf_scalar_bytes(gguf_type t); /* of numbers */
bool gguf_same_value(const gguf_kv *a, const gguf_kv *b); /* of one type, and byte for byte */
void gguf_fill_source(gguf *g);
bool gguf_name_file(err *e, const char *path); /* puts it before the message; returns false */
/* False when the file is one of several: for those that cannot look for the others. */
bool gguf_check_whole(const gguf *g, err *e);

#endif
