/* cli/load_run — many requests over a fixed number of connections, and the memory of who answers them.
 *
 * Owns the connections of one run (epoll, one thread, keep-alive) and the samples of a process's memory while it
 * lasts. All requests are the same bytes; answers are counted, not kept: the generator holds a few hundred bytes a
 * connection, whatever the payload. Caller: cli/load.
 */
#ifndef CLI_LOAD_RUN_H
#define CLI_LOAD_RUN_H

#include "base/err.h"
#include "base/str.h"
#include "mem/ledger.h"
#include "plat/address.h"

enum { LOAD_SAMPLES_MAX = 16384 };

/* Memory of the process over the whole command; when full, every second sample is dropped and they come half as
 * often. */
typedef struct load_track {
    int pid; /* 0: nobody is looked at */
    uint64_t start_ns, every_ns, next_ns;
    uint32_t n;
    double *seconds, *bytes; /* [LOAD_SAMPLES_MAX] */
    uint64_t peak_bytes;     /* since load_track_mark */
} load_track;

void load_track_init(load_track *t, int pid, double *seconds, double *bytes);
void load_track_mark(load_track *t); /* a new peak begins */
void load_track_sample(load_track *t, bool now); /* now: even if it is not yet time */

typedef struct load_counts {
    uint64_t done, refused, failed; /* 200; 429 and 503; anything else, connections that broke included */
    uint64_t answer_bytes;
    double seconds;
} load_counts;

/* Bytes that the connections take, reserved under `http` for the time of the run. ERR_BUSY when nothing moves for
 * 30 s, ERR_IO when nobody answers. */
bool load_run(const plat_address *to, str request, uint32_t concurrency, uint64_t requests, mem_ledger *l,
              load_track *track, load_counts *out, err *e);

#endif
