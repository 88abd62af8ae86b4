/* Writes GGUF files into memory for tests, well formed or not: a bounded byte buffer and one function
 * for each part of the format. Counts are given, not derived, so that they can lie. */
#ifndef TESTS_UNIT_FORMAT_GGUF_BUILD_H
#define TESTS_UNIT_FORMAT_GGUF_BUILD_H

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "format/gguf.h"

enum { BUILD_BYTES = 1 << 20 };

typedef struct build {
    uint8_t bytes[BUILD_BYTES];
    size_t len;
} build;

static inline void build_raw(build *b, const void *data, size_t len) {
    if (len > sizeof b->bytes - b->len) abort();
    if (len) memcpy(b->bytes + b->len, data, len);
    b->len += len;
}
static inline void build_u8(build *b, uint8_t v) { build_raw(b, &v, 1); }
static inline void build_u16(build *b, uint16_t v) { build_raw(b, &v, 2); }
static inline void build_u32(build *b, uint32_t v) { build_raw(b, &v, 4); }
static inline void build_u64(build *b, uint64_t v) { build_raw(b, &v, 8); }
static inline void build_f32(build *b, float v) { build_raw(b, &v, 4); }
static inline void build_f64(build *b, double v) { build_raw(b, &v, 8); }

static inline void build_string_of(build *b, const char *s, size_t len) {
    build_u64(b, len);
    build_raw(b, s, len);
}
static inline void build_string(build *b, const char *s) { build_string_of(b, s, strlen(s)); }

static inline void build_header(build *b, uint32_t version, uint64_t n_tensors, uint64_t n_kvs) {
    b->len = 0;
    build_raw(b, "GGUF", 4);
    build_u32(b, version);
    build_u64(b, n_tensors);
    build_u64(b, n_kvs);
}

static inline void build_key(build *b, const char *key, uint32_t type) {
    build_string(b, key);
    build_u32(b, type);
}
static inline void build_kv_u32(build *b, const char *key, uint32_t v) {
    build_key(b, key, GGUF_U32);
    build_u32(b, v);
}
static inline void build_kv_string(build *b, const char *key, const char *v) {
    build_key(b, key, GGUF_STRING);
    build_string(b, v);
}
/* the items follow */
static inline void build_kv_array(build *b, const char *key, uint32_t item_type, uint64_t n) {
    build_key(b, key, GGUF_ARRAY);
    build_u32(b, item_type);
    build_u64(b, n);
}

static inline void build_tensor_dims(build *b, const char *name, uint32_t n_dims, const uint64_t *dims, uint32_t type,
                                     uint64_t offset) {
    build_string(b, name);
    build_u32(b, n_dims);
    for (uint32_t i = 0; i < n_dims; i++) build_u64(b, dims[i]);
    build_u32(b, type);
    build_u64(b, offset);
}
static inline void build_tensor(build *b, const char *name, uint64_t d0, uint64_t d1, uint32_t type, uint64_t offset) {
    build_tensor_dims(b, name, 2, (uint64_t[]){d0, d1}, type, offset);
}

static inline void build_pad(build *b, size_t alignment) {
    while (b->len % alignment) build_u8(b, 0);
}
/* Data of n bytes that count upwards, so that each place is known by its value. */
static inline void build_data(build *b, size_t alignment, size_t n) {
    build_pad(b, alignment);
    for (size_t i = 0; i < n; i++) build_u8(b, (uint8_t)i);
}

/* A small whole file: every value type, arrays, and three tensors (f32 4 × 2, Q8_0 32 × 2, i8 5). */
static inline void build_sample(build *b, uint32_t version) {
    build_header(b, version, 3, 20);
    build_kv_string(b, "general.architecture", "sample");
    build_kv_u32(b, "general.alignment", 64);
    build_key(b, "t.u8", GGUF_U8), build_u8(b, 200);
    build_key(b, "t.i8", GGUF_I8), build_u8(b, (uint8_t)-100);
    build_key(b, "t.u16", GGUF_U16), build_u16(b, 60000);
    build_key(b, "t.i16", GGUF_I16), build_u16(b, (uint16_t)-30000);
    build_key(b, "t.u32", GGUF_U32), build_u32(b, 4000000000u);
    build_key(b, "t.i32", GGUF_I32), build_u32(b, (uint32_t)-2000000000);
    build_key(b, "t.u64", GGUF_U64), build_u64(b, UINT64_MAX);
    build_key(b, "t.i64", GGUF_I64), build_u64(b, (uint64_t)INT64_MIN);
    build_key(b, "t.f32", GGUF_F32), build_f32(b, 1.5f);
    build_key(b, "t.f64", GGUF_F64), build_f64(b, -2.25);
    build_key(b, "t.true", GGUF_BOOL), build_u8(b, 1);
    build_key(b, "t.false", GGUF_BOOL), build_u8(b, 0);
    build_kv_string(b, "t.empty", "");
    build_kv_array(b, "a.strings", GGUF_STRING, 3);
    build_string(b, "one"), build_string(b, ""), build_string(b, "three");
    build_kv_array(b, "a.f32", GGUF_F32, 2);
    build_f32(b, 0.5f), build_f32(b, -8.0f);
    build_kv_array(b, "a.i32", GGUF_I32, 2);
    build_u32(b, 7), build_u32(b, (uint32_t)-7);
    build_kv_array(b, "a.bool", GGUF_BOOL, 2);
    build_u8(b, 0), build_u8(b, 1);
    build_kv_array(b, "a.none", GGUF_U64, 0);
    build_tensor(b, "w.q8", 32, 2, DTYPE_Q8_0, 64);
    build_tensor(b, "w.f32", 4, 2, DTYPE_F32, 0);
    build_tensor_dims(b, "w.i8", 1, (uint64_t[]){5}, DTYPE_I8, 192);
    build_data(b, 64, 192 + 5);
}

#endif
