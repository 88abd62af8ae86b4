/* sched/ring — a job's output: records of one token each, in a fixed ring of bytes.
 *
 * One producer (the engine thread), one consumer, both under the scheduler's lock. A full ring refuses;
 * the job then waits for its reader. */
#ifndef SCHED_RING_H
#define SCHED_RING_H

#include "engine/generation.h"

enum {
    RING_RECORD_BYTES = 16, /* of a record without text and alternatives */
    RING_LARGEST_BYTES =
        RING_RECORD_BYTES + SAMPLER_TOP_LOGPROBS_MAX * (int)sizeof(engine_logprob) + GENERATION_TEXT_BYTES,
};

typedef struct sched_ring {
    char *data;
    uint32_t size;
    uint32_t head, used; /* head: the next byte to read */
} sched_ring;

bool sched_ring_has_room(const sched_ring *r, uint32_t bytes);
bool sched_ring_put(sched_ring *r, const engine_sample *sample, str text);
bool sched_ring_get(sched_ring *r, engine_sample *sample, str *text, char storage[GENERATION_TEXT_BYTES]);

#endif
