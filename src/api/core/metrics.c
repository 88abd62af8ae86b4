#include "api/core/metrics.h"

#include <unistd.h>

#include "api/core/core.h"
#include "base/check.h"

#define AT(member) METRIC_AT(metrics_snapshot, member)

/* ---- the snapshot ---- */

static void read_facts(api *a, metrics_snapshot *s) {
    kv_type type = engine_kv_params(a->en).type;
    s->token_bytes = kv_set_bytes(&engine_model_desc(a->en)->kv, type) / KV_PAGE_TOKENS;
    s->cache_limit_bytes = a->config.cache_bytes ? a->config.cache_bytes : s->at.kv.pool.full_bytes;
    s->cache_limit_entries = a->config.cache_entries;
    s->page_tokens = KV_PAGE_TOKENS;
    s->context = engine_context(a->en);
    s->kv_type = compute_kv_name(type);
    s->kernels = engine_kernels(a->en);
    s->threads = engine_threads(a->en);
    s->mallocs_counted = plat_malloc_is_counted();
}

void metrics_take(api *a, unsigned what, metrics_snapshot *out) {
    *out = (metrics_snapshot){.pid = getpid(), .serving = a->sched != NULL};
    if (what & METRICS_BOOKS) mem_books_read(a->ledger, &out->books);
    if (!a->sched) return;
    if (what & METRICS_ENGINE) {
        sched_snapshot_read(a->sched, &out->at);
        read_facts(a, out);
    } else if (what & METRICS_JOBS) {
        sched_read(a->sched, &out->at.jobs);
    }
}

/* ---- what follows from several figures ---- */

static metric_value of_u64(uint64_t v) { return (metric_value){.form = METRIC_U64, .u64 = v}; }

/* As many of the server's type as the filled bytes would hold. */
static metric_value read_tokens_held(const void *of) {
    const metrics_snapshot *s = of;
    return of_u64(s->token_bytes ? s->at.kv.filled_bytes / s->token_bytes : 0);
}

static metric_value read_waste(const void *of) {
    const kv_cache_counts *c = &((const metrics_snapshot *)of)->at.kv;
    double filled = c->pool.used_bytes ? (double)c->filled_bytes / (double)c->pool.used_bytes : 1;
    return (metric_value){.form = METRIC_DOUBLE, .number = filled < 1 ? 1 - filled : 0};
}

static metric_value read_cache_bytes(const void *of) {
    const kv_cache_counts *c = &((const metrics_snapshot *)of)->at.kv;
    return of_u64(c->pool.evictable_bytes + c->pinned_bytes);
}

static metric_value read_bad_pages(const void *of) {
    const kv_cache_counts *c = &((const metrics_snapshot *)of)->at.kv;
    return of_u64(c->bad_pages + c->spill.bad_pages);
}

/* ---- the table ---- */

static const metric process_rows[] = {
    {"pid", "process_id", METRIC_GAUGE, METRIC_COUNT, AT(pid), "The number of the server's process."},
};

static const metric pool_rows[] = {
    {"budget_bytes", "kv_pool_budget_bytes", METRIC_GAUGE, METRIC_BYTES, AT(at.kv.pool.budget_bytes),
     "What KV pages may take now."},
    {"full_bytes", "kv_pool_full_bytes", METRIC_GAUGE, METRIC_BYTES, AT(at.kv.pool.full_bytes),
     "What KV pages may take when memory is not short."},
    {"used_bytes", "kv_pool_used_bytes", METRIC_GAUGE, METRIC_BYTES, AT(at.kv.pool.used_bytes),
     "KV pages that requests or the prompt cache hold."},
    {"evictable_bytes", "kv_pool_evictable_bytes", METRIC_GAUGE, METRIC_BYTES, AT(at.kv.pool.evictable_bytes),
     "Of the used pages, those that only the prompt cache holds and that are not pinned."},
    {"committed_bytes", "kv_pool_committed_bytes", METRIC_GAUGE, METRIC_BYTES, AT(at.kv.pool.committed_bytes),
     "KV pages that the kernel has given, used or free."},
    {"used_pages", "kv_pool_used_pages", METRIC_GAUGE, METRIC_PAGES, AT(at.kv.pool.used_pages),
     "KV pages in use, of every layer group."},
    {"committed_pages", "kv_pool_committed_pages", METRIC_GAUGE, METRIC_PAGES, AT(at.kv.pool.committed_pages),
     "KV pages that the kernel has given, of every layer group."},
    {"page_tokens", "kv_page_tokens", METRIC_GAUGE, METRIC_TOKENS, AT(page_tokens), "Tokens that a KV page holds."},
    {"tokens_held", "kv_pool_tokens", METRIC_GAUGE, METRIC_TOKENS, METRIC_BY_READER,
     "Tokens that the filled part of the pool would hold in the server's KV type.", .read = read_tokens_held},
    {"waste", "kv_pool_waste_ratio", METRIC_GAUGE, METRIC_RATIO, METRIC_BY_READER,
     "The share of the used pages that holds no token: the ends of last pages.", 4, read_waste},
    {"context", "context_tokens", METRIC_GAUGE, METRIC_TOKENS, AT(context),
     "The most tokens that one request may have, prompt and answer together."},
    {"type", "kv_type", METRIC_STATE, METRIC_COUNT, AT(kv_type), "The server's KV type: f16, q8 or q4."},
    {"parked_jobs", "jobs_preempted", METRIC_GAUGE, METRIC_REQUESTS, AT(at.jobs.preempted),
     "Of the active requests, those that are preempted and wait for KV pages."},
    {"parkings", "preemptions_total", METRIC_COUNTER, METRIC_COUNT, AT(at.jobs.preemptions),
     "How often a running request was preempted for lack of KV pages."},
};

static const metric cache_rows[] = {
    {"entries", "cache_entries", METRIC_GAUGE, METRIC_COUNT, AT(at.kv.entries), "Prompts in the prompt cache."},
    {"tokens", "cache_tokens", METRIC_GAUGE, METRIC_TOKENS, AT(at.kv.entry_tokens),
     "Tokens of all cached prompts; what several share counts in each."},
    {"bytes", "cache_bytes", METRIC_GAUGE, METRIC_BYTES, METRIC_BY_READER,
     "KV pages that only the prompt cache holds.", .read = read_cache_bytes},
    {"pinned_bytes", "cache_pinned_bytes", METRIC_GAUGE, METRIC_BYTES, AT(at.kv.pinned_bytes),
     "Of these, pages of pinned prompts."},
    {"limit_bytes", "cache_limit_bytes", METRIC_GAUGE, METRIC_BYTES, AT(cache_limit_bytes),
     "What the prompt cache may hold."},
    {"limit_entries", "cache_limit_entries", METRIC_GAUGE, METRIC_COUNT, AT(cache_limit_entries),
     "How many prompts the prompt cache may hold."},
    {"hits", "cache_hits_total", METRIC_COUNTER, METRIC_REQUESTS, AT(at.kv.hits),
     "Requests whose prompt began with something cached."},
    {"misses", "cache_misses_total", METRIC_COUNTER, METRIC_REQUESTS, AT(at.kv.misses),
     "Requests for whose prompt nothing was cached."},
    {"hit_tokens", "cache_hit_tokens_total", METRIC_COUNTER, METRIC_TOKENS, AT(at.kv.hit_tokens),
     "Tokens of prompts that the cache held, so that they were not computed."},
    {"evicted_pages", "cache_evicted_pages_total", METRIC_COUNTER, METRIC_PAGES, AT(at.kv.evicted_pages),
     "Cached pages that were evicted."},
    {"expired_entries", "cache_expired_entries_total", METRIC_COUNTER, METRIC_COUNT, AT(at.kv.expired_entries),
     "Cached prompts that outlived their time."},
};

static const metric spill_rows[] = {
    {"file_bytes", "spill_file_bytes", METRIC_GAUGE, METRIC_BYTES, AT(at.kv.spill.file_bytes),
     "Size of the spill file."},
    {"slots", "spill_slots", METRIC_GAUGE, METRIC_PAGES, AT(at.kv.spill.slots), "Pages that the spill file holds."},
    {"used", "spill_used_slots", METRIC_GAUGE, METRIC_PAGES, AT(at.kv.spill.used), "Pages that are in the spill file."},
    {"direct", "spill_direct", METRIC_STATE, METRIC_COUNT, AT(at.kv.spill.direct),
     "Whether the spill file is read and written past the page cache."},
    {"spilling", "spill_active", METRIC_STATE, METRIC_COUNT, AT(at.kv.spilling),
     "Whether evicted pages are spilled, because reading one back takes less than computing it again."},
    {"read_ms_per_page", "spill_read_page_seconds", METRIC_GAUGE, METRIC_MILLISECONDS, AT(at.kv.read_ms_per_page),
     "What reading a page back takes, as measured; 0 where it is not.", 4},
    {"recompute_ms_per_page", "spill_recompute_page_seconds", METRIC_GAUGE, METRIC_MILLISECONDS,
     AT(at.kv.recompute_ms_per_page), "What computing a page's tokens again takes, as measured; 0 where it is not.", 4},
    {"spilled_pages", "spill_written_pages_total", METRIC_COUNTER, METRIC_PAGES, AT(at.kv.spilled_pages),
     "Pages that were written to the spill file."},
    {"restored_pages", "spill_read_pages_total", METRIC_COUNTER, METRIC_PAGES, AT(at.kv.restored_pages),
     "Pages that were read back from it."},
    {"bad_pages", "spill_bad_pages_total", METRIC_COUNTER, METRIC_PAGES, METRIC_BY_READER,
     "Pages in it that were not what was written, and were dropped.", .read = read_bad_pages},
};

static const metric job_rows[] = {
    {"active", "jobs_active", METRIC_GAUGE, METRIC_REQUESTS, AT(at.jobs.active), "Requests that are being answered."},
    {"queued", "jobs_queued", METRIC_GAUGE, METRIC_REQUESTS, AT(at.jobs.queued), "Requests that wait in the queue."},
    {"parked", NULL, METRIC_GAUGE, METRIC_REQUESTS, AT(at.jobs.preempted), "The same as kv_pool.parked_jobs."},
    {"submitted", "jobs_submitted_total", METRIC_COUNTER, METRIC_REQUESTS, AT(at.jobs.submitted),
     "Requests that the queue took in."},
    {"finished", "jobs_finished_total", METRIC_COUNTER, METRIC_REQUESTS, AT(at.jobs.finished),
     "Requests that were answered to their end."},
    {"cancelled", "jobs_cancelled_total", METRIC_COUNTER, METRIC_REQUESTS, AT(at.jobs.cancelled),
     "Requests whose client left before the end."},
    {"failed", "jobs_failed_total", METRIC_COUNTER, METRIC_REQUESTS, AT(at.jobs.failed),
     "Requests that ended with an error after they were taken in."},
    {"refused", "jobs_refused_total", METRIC_COUNTER, METRIC_REQUESTS, AT(at.jobs.refused),
     "Requests that the queue turned away."},
    {"prompt_tokens", "prompt_tokens_total", METRIC_COUNTER, METRIC_TOKENS, AT(at.jobs.prompt_tokens),
     "Tokens of the prompts of ended requests."},
    {"completion_tokens", "completion_tokens_total", METRIC_COUNTER, METRIC_TOKENS, AT(at.jobs.completion_tokens),
     "Tokens that were generated for ended requests."},
    {"drafted_tokens", "drafted_tokens_total", METRIC_COUNTER, METRIC_TOKENS, AT(at.jobs.drafted_tokens),
     "Tokens that were drafted and run for ended requests."},
    {"accepted_tokens", "accepted_tokens_total", METRIC_COUNTER, METRIC_TOKENS, AT(at.jobs.accepted_tokens),
     "Of the drafted tokens, those that were right."},
};

static const metric engine_rows[] = {
    {"kernels", "engine_kernels", METRIC_STATE, METRIC_COUNT, AT(kernels),
     "The kernels that compute, by instruction set."},
    {"threads", "engine_threads", METRIC_GAUGE, METRIC_COUNT, AT(threads), "Threads that compute."},
    {"steps", "engine_steps_total", METRIC_COUNTER, METRIC_COUNT, AT(at.engine.steps),
     "Forward passes since the start."},
    {"tokens", "engine_tokens_total", METRIC_COUNTER, METRIC_TOKENS, AT(at.engine.tokens),
     "Tokens that these passes computed, of prompts and of answers."},
    {"mallocs_counted", "engine_mallocs_counted", METRIC_STATE, METRIC_COUNT, AT(mallocs_counted),
     "Whether this build counts calls of malloc."},
    {"step_mallocs", "engine_step_mallocs_total", METRIC_COUNTER, METRIC_COUNT, AT(at.engine.step_mallocs),
     "Calls of malloc during forward passes and sampling: none per token."},
};

static metric_presence serving_presence(const void *of) {
    return ((const metrics_snapshot *)of)->serving ? METRIC_SHOWN : METRIC_ABSENT;
}

static metric_presence spill_presence(const void *of) {
    const metrics_snapshot *s = of;
    return !s->serving ? METRIC_ABSENT : s->at.kv.spill.slots ? METRIC_SHOWN : METRIC_NULL;
}

static const metric_section process_sections[] = {{"", METRIC_ROWS(process_rows)}};
static const metric_section engine_sections[] = {
    {"kv_pool", METRIC_ROWS(pool_rows), serving_presence}, {"cache", METRIC_ROWS(cache_rows), serving_presence},
    {"spill", METRIC_ROWS(spill_rows), spill_presence},    {"jobs", METRIC_ROWS(job_rows), serving_presence},
    {"engine", METRIC_ROWS(engine_rows), serving_presence},
};
static const metric_table process_table = {METRIC_ROWS(process_sections)};
static const metric_table engine_table = {METRIC_ROWS(engine_sections)};

/* The page in order: tables, under which key each is an object of its own ("": in the page's), and where its structure
 * lies in the snapshot. */
static const struct part {
    const char *page;
    const metric_table *table;
    size_t at;
} parts[] = {{"", &process_table, 0},
             {"books", &mem_books_metrics, offsetof(metrics_snapshot, books)},
             {"", &engine_table, 0}};
enum { N_PARTS = sizeof parts / sizeof *parts };

#define VIEW_COUNT(rows) sizeof(rows) / sizeof *(rows)
const metric_view metrics_health[] = {{"active_jobs", "jobs_active"}, {"queued_jobs", "jobs_queued"}};
const uint32_t metrics_health_count = VIEW_COUNT(metrics_health);
const metric_view metrics_health_memory[] = {
    {"level", "memory_level"},
    {"available_bytes", "memory_available_bytes"},
    {"reclaimable_bytes", "memory_reclaimable_bytes"},
    {"used_bytes", "memory_used_bytes"},
    {"line_bytes", "memory_line_bytes"},
    {"line_asked_bytes", "memory_line_asked_bytes"},
    {"line_bound", "memory_line_bound"},
};
const uint32_t metrics_health_memory_count = VIEW_COUNT(metrics_health_memory);

/* ---- walking it ---- */

void metrics_page_json(const metrics_snapshot *s, json_writer *w) {
    json_object_start(w);
    for (int i = 0; i < N_PARTS; i++) {
        const void *of = (const char *)s + parts[i].at;
        if (*parts[i].page) json_key(w, parts[i].page), json_object_start(w);
        metric_table_json(parts[i].table, of, w);
        if (*parts[i].page) json_object_end(w);
    }
    json_object_end(w);
}

void metrics_section_json(const char *path, const metrics_snapshot *s, json_writer *w) {
    const metric_section *found = NULL;
    for (uint32_t i = 0; i < engine_table.n; i++)
        if (!strcmp(engine_table.sections[i].path, path)) found = &engine_table.sections[i];
    CHECK(found);
    metric_section_json(found, s, w);
}

bool metrics_next(metric_place *p) {
    if (p->metric) p->row++;
    for (; p->part < N_PARTS; p->part++, p->section = 0) {
        const struct part *part = &parts[p->part];
        for (; p->section < part->table->n; p->section++, p->label = 0) {
            p->of = &part->table->sections[p->section];
            for (; p->label < (p->of->label ? p->of->n_labels : 1); p->label++, p->row = 0) {
                if (p->row == p->of->n) continue;
                p->metric = &p->of->rows[p->row];
                p->page = part->page;
                p->at = part->at + p->label * p->of->stride;
                return true;
            }
        }
    }
    return false;
}

metric_presence metrics_presence(const metric_place *p, const metrics_snapshot *s) {
    return p->of->presence ? p->of->presence((const char *)s + parts[p->part].at) : METRIC_SHOWN;
}

metric_value metrics_read(const metric_place *p, const metrics_snapshot *s) {
    return metric_read(p->metric, (const char *)s + p->at);
}

static bool take_prefix(str *path, const char *prefix) {
    if (!*prefix) return true;
    size_t n = strlen(prefix);
    if (path->len <= n || memcmp(path->data, prefix, n) || path->data[n] != '.') return false;
    *path = str_from(*path, n + 1);
    return true;
}

const metric *metrics_at(str path, str *label) {
    for (metric_place p = {0}; metrics_next(&p);) {
        str rest = path;
        if (p.label || !take_prefix(&rest, p.page) || !take_prefix(&rest, p.of->path)) continue;
        const char *dot = p.of->label && rest.len ? memrchr(rest.data, '.', rest.len) : NULL;
        if (p.of->label && !dot) continue;
        *label = dot ? (str){rest.data, (size_t)(dot - rest.data)} : STR("");
        if (dot) rest = str_from(rest, label->len + 1);
        if (str_is(rest, p.metric->key)) return p.metric;
    }
    return NULL;
}

void metrics_view_json(const metric_view *rows, uint32_t n, const metrics_snapshot *s, json_writer *w) {
    for (uint32_t i = 0; i < n; i++) {
        metric_place p = {0};
        while (metrics_next(&p) && (!p.metric->name || strcmp(p.metric->name, rows[i].name))) {}
        CHECK(p.part < N_PARTS);
        /* Where nothing is served there are no jobs: 0; but a line that nobody set has no story. */
        if (p.of->presence && *p.page && metrics_presence(&p, s) == METRIC_ABSENT) continue;
        json_key(w, rows[i].key);
        metric_json(p.metric, (const char *)s + p.at, w);
    }
}
