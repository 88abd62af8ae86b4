/* api/core/metrics — every figure that the server says of itself: one table, and the snapshot that it is read from.
 *
 * Owns the figures of scheduler, KV pool, prompt cache, spill file and engine, beside those of the books (mem/books);
 * GET /memory is all of them in order, /health and /cache show some again, `plimsoll top` finds what it draws by name,
 * and tools/metrics.py writes docs/METRICS.md. A new figure is a row. What belongs together is read together: all that
 * the scheduler guards comes of one reading under its lock. Callers: api/admin, cli/top.
 */
#ifndef API_CORE_METRICS_H
#define API_CORE_METRICS_H

#include "base/metric.h"
#include "mem/books.h"
#include "sched/sched.h"

struct api;

typedef struct metrics_snapshot {
    mem_books books;
    int pid;
    bool serving;            /* there is a scheduler, and what follows was read */
    sched_snapshot at;
    uint64_t token_bytes;    /* of the server's KV type */
    uint64_t cache_limit_bytes;
    uint32_t cache_limit_entries, page_tokens, context;
    const char *kv_type, *kernels;
    int threads;
    bool mallocs_counted;
} metrics_snapshot;

/* What to read; the engine's is not free: it visits every cached prompt. */
enum { METRICS_BOOKS = 1, METRICS_JOBS = 2, METRICS_ENGINE = 4, METRICS_ALL = 7 };
void metrics_take(struct api *a, unsigned what, metrics_snapshot *out);

/* GET /memory: an object. */
void metrics_page_json(const metrics_snapshot *s, json_writer *w);
/* One of its sections ("cache"), as a value. */
void metrics_section_json(const char *path, const metrics_snapshot *s, json_writer *w);

/* Where a row stands: its section, and what comes before it on the page. */
typedef struct metric_place {
    uint32_t part, section, label, row; /* of the walk */
    const metric *metric;
    const metric_section *of;
    const char *page; /* "books", "" */
    size_t at;        /* of the structure that the row is about, in the snapshot */
} metric_place;
/* The next row, for each of its labels, in the order of the page; the first where *p is zeroed. */
bool metrics_next(metric_place *p);
metric_presence metrics_presence(const metric_place *p, const metrics_snapshot *s);
metric_value metrics_read(const metric_place *p, const metrics_snapshot *s);

/* The row at a place of GET /memory ("books.accounts.kv.now_bytes"), and which of its labels. NULL: none. */
const metric *metrics_at(str path, str *label);

/* What another page shows of these figures: under which key, and the figure's name. */
typedef struct metric_view {
    const char *key, *name;
} metric_view;
void metrics_view_json(const metric_view *rows, uint32_t n, const metrics_snapshot *s, json_writer *w);
extern const metric_view metrics_health[], metrics_health_memory[]; /* GET /health; its object "memory" */
extern const uint32_t metrics_health_count, metrics_health_memory_count;

#endif
