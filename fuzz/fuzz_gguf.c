// links: format
/* The GGUF directory over arbitrary bytes: whatever is accepted is walked to its last byte. */
#include <stdlib.h>

#include "base/check.h"
#include "format/gguf.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static volatile uint64_t sink; /* so that no read is optimised away */
static uint64_t outstanding_bytes;

static void *resize(void *ctx, void *ptr, size_t old_bytes, size_t new_bytes) {
    (void)ctx;
    outstanding_bytes += new_bytes - old_bytes;
    if (new_bytes) return realloc(ptr, new_bytes);
    free(ptr);
    return NULL;
}

static void touch(const void *p, uint64_t n) {
    const uint8_t *bytes = p;
    uint64_t sum = 0;
    for (uint64_t i = 0; i < n; i++) sum += bytes[i];
    sink += sum;
}

/* As a caller does: by name, through the typed look-ups, whatever the type. */
static void walk_key(const gguf *g, const gguf_kv *kv) {
    char *key = malloc(kv->key.len + 1);
    memcpy(key, kv->key.data, kv->key.len);
    key[kv->key.len] = 0;
    CHECK(gguf_find(g, key) == kv);

    err e;
    uint32_t u;
    float f;
    bool flag;
    str s;
    gguf_strings it;
    uint64_t n;
    const uint8_t *items;
    (void)gguf_u32(g, key, true, &u, &e);
    (void)gguf_f32(g, key, true, &f, &e);
    (void)gguf_bool(g, key, true, &flag, &e);
    sink += (uint64_t)(gguf_number(kv) != 0);
    if (gguf_str(g, key, true, &s, &e)) touch(s.data, s.len);
    if (gguf_string_array(g, key, true, &it, &n, &e)) {
        for (; gguf_strings_next(&it, &s); n--) touch(s.data, s.len);
        CHECK(n == 0);
    }
    if (gguf_number_array(g, key, GGUF_F64, true, &items, &n, &e)) touch(items, 8 * n);
    if (gguf_number_array(g, key, GGUF_F32, true, &items, &n, &e))
        for (uint64_t i = 0; i < n; i++) sink += gguf_f32_at(items, i) > 0;
    if (gguf_number_array(g, key, GGUF_I32, true, &items, &n, &e))
        for (uint64_t i = 0; i < n; i++) CHECK(kv->item_type == GGUF_I32 || gguf_i32_at(items, i) >= 0);
    free(key);
}

static void walk_tensor(const gguf *g, const format_tensor *t) {
    CHECK(gguf_find_tensor(g, t->name) == t);
    CHECK(t->bytes > 0 && t->offset % 8 == g->data_offset % 8);
    uint8_t part[64];
    err e;
    for (uint64_t at = 0; at < t->bytes; at += sizeof part) {
        uint64_t n = t->bytes - at < sizeof part ? t->bytes - at : sizeof part;
        CHECK(gguf_tensor_read(g, t, at, part, (size_t)n, &e));
        touch(part, n);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    base_alloc alloc = {resize, NULL};
    gguf g;
    err e = {0};
    if (gguf_open_memory(&g, data, size, "fuzz", &alloc, &e)) {
        uint64_t tensor_bytes = 0;
        for (uint64_t i = 0; i < g.n_kvs; i++) walk_key(&g, &g.kvs[i]);
        for (uint64_t i = 0; i < g.n_tensors; i++) {
            walk_tensor(&g, &g.tensors[i]);
            tensor_bytes += g.tensors[i].bytes;
        }
        CHECK(tensor_bytes == g.tensor_bytes && tensor_bytes <= size);
        CHECK(outstanding_bytes <= 8 * size + 64); /* memory in proportion to the file */
    } else {
        CHECK(e.code != ERR_NONE && e.message[0]);
    }
    gguf_close(&g);
    CHECK(outstanding_bytes == 0);
    return 0;
}
