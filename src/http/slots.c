#include "http/internal.h"

static uint32_t units_for(size_t bytes) { return (uint32_t)((bytes + HTTP_UNIT_BYTES - 1) / HTTP_UNIT_BYTES); }

static bool is_free(const http_pool *p, uint32_t first, uint32_t units) {
    if (units > p->units || first > p->units - units) return false;
    for (uint32_t i = first; i < first + units; i++)
        if (p->used[i]) return false;
    return true;
}

static void mark(http_pool *p, uint32_t first, uint32_t units, bool used) {
    for (uint32_t i = first; i < first + units; i++) p->used[i] = used;
}

/* First fit; false when there is no such run. */
static bool find_run(const http_pool *p, uint32_t units, uint32_t *first) {
    for (uint32_t i = 0; i + units <= p->units; i++) {
        if (!is_free(p, i, units)) continue;
        *first = i;
        return true;
    }
    return false;
}

static bool grow_in_place(http_pool *p, http_buffer *b, uint32_t units) {
    if (b->units == 0 || !is_free(p, b->first_unit + b->units, units - b->units)) return false;
    mark(p, b->first_unit + b->units, units - b->units, true);
    b->units = units;
    b->cap = (size_t)units * HTTP_UNIT_BYTES;
    return true;
}

bool http_buffer_reserve(http_pool *p, http_buffer *b, size_t bytes) {
    if (bytes <= b->cap) return true;
    if (bytes > (size_t)p->units * HTTP_UNIT_BYTES) return false;
    uint32_t units = units_for(bytes), first;
    if (grow_in_place(p, b, units)) return true;
    if (!find_run(p, units, &first)) return false;
    char *data = p->memory + (size_t)first * HTTP_UNIT_BYTES;
    if (b->len) memcpy(data, b->data, b->len);
    mark(p, b->first_unit, b->units, false);
    mark(p, first, units, true);
    *b = (http_buffer){data, b->len, (size_t)units * HTTP_UNIT_BYTES, first, units};
    return true;
}

static uint32_t count_free(const http_pool *p) {
    uint32_t n = 0;
    for (uint32_t i = 0; i < p->units; i++) n += !p->used[i];
    return n;
}

bool http_buffer_reserve_body(http_pool *p, http_buffer *b, size_t bytes) {
    if (bytes <= b->cap) return true;
    uint32_t units = units_for(bytes), can = count_free(p) + b->units;
    bool alone = can == p->units;
    return (alone || units + p->units / 8 <= can) && http_buffer_reserve(p, b, bytes);
}

void http_buffer_trim(http_pool *p, http_buffer *b) {
    uint32_t units = units_for(b->len);
    if (units >= b->units) return;
    if (!units) units = 1;
    mark(p, b->first_unit + units, b->units - units, false);
    b->units = units;
    b->cap = (size_t)units * HTTP_UNIT_BYTES;
}

void http_buffer_release(http_pool *p, http_buffer *b, char *own) {
    mark(p, b->first_unit, b->units, false);
    if (b->block) mem_heap_give(&p->heap, b->data, b->cap);
    *b = (http_buffer){.data = own, .cap = HTTP_INLINE_BYTES};
}

static bool take_block(http_pool *p, http_buffer *b, size_t bytes) {
    err e; /* it is told as any lack of a buffer is */
    char *data = bytes <= (size_t)p->units * HTTP_UNIT_BYTES ? mem_heap_take(&p->heap, bytes, &e) : NULL;
    if (data) *b = (http_buffer){.data = data, .cap = bytes, .block = true};
    return data;
}

bool http_buffer_fit(http_pool *p, http_buffer *b, char *own, size_t bytes) {
    if (bytes <= b->cap) return true; /* else what is to be put there does not lie in here */
    http_buffer_release(p, b, own);
    return http_buffer_reserve(p, b, bytes) || take_block(p, b, bytes);
}
