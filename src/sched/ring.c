#include "sched/ring.h"

#include <string.h>

typedef struct record {
    int32_t token;
    float logprob;
    uint32_t n_top;
    uint32_t text_bytes;
} record;

_Static_assert(sizeof(record) == RING_RECORD_BYTES, "the record's size is part of a job's price");

bool sched_ring_has_room(const sched_ring *r, uint32_t bytes) { return r->size - r->used >= bytes; }

static void put_bytes(sched_ring *r, const void *data, uint32_t len) {
    uint32_t at = (uint32_t)(((uint64_t)r->head + r->used) % r->size), first = r->size - at < len ? r->size - at : len;
    memcpy(r->data + at, data, first);
    memcpy(r->data, (const char *)data + first, len - first);
    r->used += len;
}

static void get_bytes(sched_ring *r, void *out, uint32_t len) {
    uint32_t first = r->size - r->head < len ? r->size - r->head : len;
    memcpy(out, r->data + r->head, first);
    memcpy((char *)out + first, r->data, len - first);
    r->head = (uint32_t)(((uint64_t)r->head + len) % r->size);
    r->used -= len;
}

bool sched_ring_put(sched_ring *r, const engine_sample *sample, str text) {
    record rec = {sample->token, sample->logprob, sample->n_top, (uint32_t)text.len};
    uint32_t top_bytes = sample->n_top * (uint32_t)sizeof *sample->top;
    if (!sched_ring_has_room(r, (uint32_t)sizeof rec + top_bytes + rec.text_bytes)) return false;
    put_bytes(r, &rec, sizeof rec);
    put_bytes(r, sample->top, top_bytes);
    put_bytes(r, text.data, rec.text_bytes);
    return true;
}

bool sched_ring_get(sched_ring *r, engine_sample *sample, str *text, char storage[GENERATION_TEXT_BYTES]) {
    if (!r->used) return false;
    record rec;
    get_bytes(r, &rec, sizeof rec);
    *sample = (engine_sample){.token = rec.token, .logprob = rec.logprob, .n_top = rec.n_top};
    get_bytes(r, sample->top, rec.n_top * (uint32_t)sizeof *sample->top);
    get_bytes(r, storage, rec.text_bytes);
    *text = (str){storage, rec.text_bytes};
    return true;
}
