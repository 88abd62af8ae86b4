/* forge/out — the metadata of a GGUF file, written into a growing buffer. */
#ifndef FORGE_OUT_H
#define FORGE_OUT_H

#include <stdint.h>

#include "base/str.h"
#include "format/gguf.h"

typedef struct out {
    buf bytes;
    uint64_t n_kvs;
} out;

static inline void out_u32(out *o, uint32_t v) { buf_append(&o->bytes, &v, 4); }
static inline void out_u64(out *o, uint64_t v) { buf_append(&o->bytes, &v, 8); }
static inline void out_f32(out *o, float v) { buf_append(&o->bytes, &v, 4); }
static inline void out_str(out *o, str s) {
    out_u64(o, s.len);
    buf_append_str(&o->bytes, s);
}

static inline void out_key(out *o, const char *key, gguf_type type) {
    out_str(o, str_of(key));
    out_u32(o, type);
    o->n_kvs++;
}
static inline void out_kv_u32(out *o, const char *key, uint32_t v) {
    out_key(o, key, GGUF_U32);
    out_u32(o, v);
}
static inline void out_kv_u16(out *o, const char *key, uint16_t v) {
    out_key(o, key, GGUF_U16);
    buf_append(&o->bytes, &v, 2);
}
static inline void out_kv_f32(out *o, const char *key, float v) {
    out_key(o, key, GGUF_F32);
    out_f32(o, v);
}
static inline void out_kv_bool(out *o, const char *key, bool v) {
    out_key(o, key, GGUF_BOOL);
    buf_append(&o->bytes, &(uint8_t){v}, 1);
}
static inline void out_kv_str(out *o, const char *key, const char *v) {
    out_key(o, key, GGUF_STRING);
    out_str(o, str_of(v));
}
/* n items follow */
static inline void out_kv_array(out *o, const char *key, gguf_type item_type, uint64_t n) {
    out_key(o, key, GGUF_ARRAY);
    out_u32(o, item_type);
    out_u64(o, n);
}

#endif
