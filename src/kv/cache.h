/* kv/cache — sequences over one pool of pages, and what is remembered of them.
 *
 * Owns the pool, the prefix index and the spill file, and the rules between them. A sequence is one running
 * conversation: tables of pages, one a layer group. Pages it has filled are published in the index as it goes, so
 * that whoever begins the same way uses the same pages; a page that several hold is copied before one of them
 * writes on in it, and nothing else is ever copied. A sequence that ends may be remembered: its pages stay, held by
 * the index alone, until their bytes are wanted. Remembered pages are reclaimable memory: a sequence that needs a page
 * takes the least valuable of them (recompute cost × uses ÷ idle time), the ends of conversations first.
 *
 * Terms say how a sequence keeps its tokens: type of the pages, a rotating window with kept first tokens, and whom
 * it may share with (the salt). Windows: a token at position p sees positions 0 … keep − 1 and the last
 * window − keep up to itself; pages outside are let go, and only the prompt of such a sequence is published. What
 * the index holds of it behind its window makes way last, and then it shares no more.
 *
 * Callers: engine/ (one thread at a time). Knows token ids as numbers; no text, no requests. A refusal for want of
 * pages (ERR_BUSY, ERR_MEMORY) leaves the sequence as it was, so that it can be tried again.
 */
#ifndef KV_CACHE_H
#define KV_CACHE_H

#include "base/json.h"
#include "kv/index.h"
#include "kv/spill.h"

typedef struct kv_cache_config {
    kv_shape shape;
    kv_type type; /* what most sequences use; sizes the tables */
    size_t pool_bytes;
    uint32_t n_sequences, n_context, n_batch; /* n_batch: most tokens prepared at once */
    uint32_t max_entries;      /* remembered conversations; 0: nothing is shared or remembered */
    size_t max_cached_bytes;   /* of remembered pages that nobody uses; 0: what the pool has */
    uint64_t ttl_ms;           /* of entries that do not say; 0: none */
    double matmul_macs;        /* of one token through the model */
    double attend_macs;        /* of one token for each token it sees */
    const char *spill_path;    /* NULL: no spill file */
    uint64_t spill_bytes;
    uint64_t identity[2];      /* of the model, for the spill file */
} kv_cache_config;

typedef struct kv_cache kv_cache;
typedef struct kv_sequence kv_sequence;

/* Rows of the plan: tables of the pool (kv), index and sequences (prompt_index), spill file (spill). */
size_t kv_cache_plan_bytes(const kv_cache_config *c);       /* account prompt_index */
size_t kv_cache_spill_plan_bytes(const kv_cache_config *c); /* account spill */
kv_cache *kv_cache_new(const kv_cache_config *config, mem_ledger *l, err *e);
void kv_cache_close_all(kv_cache *c); /* every open sequence, remembering nothing of them */
void kv_cache_free(kv_cache *c); /* all sequences must be closed; writes what is remembered to the spill file */

/* The clock for ages and expiry, and how long a prompt's token takes (measured by the caller; 0: not known). */
void kv_cache_tick(kv_cache *c, uint64_t now_ms);
void kv_cache_note_speed(kv_cache *c, double prefill_ms_per_token);

/* ---- sequences ---- */

typedef struct kv_params {
    kv_type type;
    uint32_t window, keep; /* window 0: none. keep < window ≤ n_context */
    uint64_t tenant;       /* sequences of different tenants never share */
    bool share;            /* reuse and publish */
    uint32_t publish_tokens; /* publish no page beyond these; UINT32_MAX: all */
} kv_params;

kv_sequence *kv_sequence_open(kv_cache *c, const kv_params *params, err *e); /* ERR_BUSY: all are open */

typedef struct kv_memory_of { /* how a sequence that ends is remembered */
    uint64_t ttl_ms; /* 0: the cache's */
    bool pin;
    uint64_t preempted_for; /* the number of the request that will come back for it; 0: none will */
} kv_memory_of;
/* memory NULL: nothing stays but what others use or had remembered before. */
void kv_sequence_close(kv_cache *c, kv_sequence *s, const kv_memory_of *memory);

/* The request with this number is back and has matched what was left, or will not come: what was kept for it alone
 * goes. */
void kv_cache_forget_preempted(kv_cache *c, uint64_t request);

/* Takes from the index what it knows of tokens[0 … n_most), beyond what s holds; returns how many tokens s holds.
 * tokens must begin with what s holds. */
uint32_t kv_sequence_match_prefix(kv_cache *c, kv_sequence *s, const int32_t *tokens, uint32_t n_most);
/* Pages for n more tokens, of its own to write in. */
bool kv_sequence_prepare(kv_cache *c, kv_sequence *s, uint32_t n, err *e);
/* The n tokens have been computed into the prepared pages. */
void kv_sequence_commit(kv_cache *c, kv_sequence *s, const int32_t *tokens, uint32_t n);
/* Forgets all after the first n_tokens; returns how many are left: n_tokens, or 0 where a window has let go of
 * pages that would be seen again. */
uint32_t kv_sequence_rewind(kv_cache *c, kv_sequence *s, uint32_t n_tokens);
/* to, newly opened on the same params, becomes a branch of from: same tokens, shared pages. */
void kv_sequence_fork(kv_cache *c, const kv_sequence *from, kv_sequence *to);

uint32_t kv_sequence_tokens(const kv_sequence *s);
const kv_params *kv_sequence_params(const kv_sequence *s);
device_kv_view kv_sequence_view(const kv_cache *c, const kv_sequence *s, uint32_t group, uint32_t position);

typedef struct kv_sequence_counts {
    uint32_t pages;
    size_t bytes, shared_bytes; /* shared: held with the index's past or with others when it was matched */
    uint32_t hit_tokens;
} kv_sequence_counts;
void kv_sequence_read(const kv_cache *c, const kv_sequence *s, kv_sequence_counts *out);

/* ---- sums for admission, in bytes ---- */

/* What a sequence on these params holds at most once it has n_tokens (prepared n_batch at a time). */
size_t kv_cache_bytes_for(const kv_cache *c, const kv_params *params, uint32_t n_tokens);
/* Of a prompt not yet begun: how much the index knows, and how much of that someone is using right now (so that
 * using it too takes nothing). */
uint32_t kv_cache_peek(const kv_cache *c, const kv_params *params, const int32_t *tokens, uint32_t n_most,
                       size_t *in_use_bytes);

typedef struct kv_cache_counts {
    kv_pool_counts pool;
    size_t filled_bytes; /* of the pool's used bytes: those that hold tokens */
    uint32_t entries, sequences, nodes;
    uint64_t entry_tokens; /* of all entries; what they share counts in each */
    size_t pinned_bytes;
    uint64_t hits, misses, hit_tokens, evicted_pages, expired_entries, copied_pages;
    uint64_t spilled_pages, restored_pages, bad_pages;
    bool spilling;
    kv_spill_counts spill;
    double read_ms_per_page, recompute_ms_per_page; /* 0: not measured */
} kv_cache_counts;
void kv_cache_read(const kv_cache *c, kv_cache_counts *out);

/* ---- what is remembered ---- */

typedef struct kv_entry_view {
    uint64_t id, age_ms, idle_ms, ttl_ms;
    uint32_t tokens, hits;
    size_t bytes, spilled_bytes;
    bool pinned;
    kv_type type;
} kv_entry_view;
/* The next entries, at most n; *at is 0 to begin with, and moved on. Returns how many: 0 when there are no more. Parked
 * requests are not listed. What goes or comes between two calls may be missing; what stays is there once. */
uint32_t kv_cache_entries(const kv_cache *c, uint32_t *at, kv_entry_view *out, uint32_t n);

typedef struct kv_removed {
    uint32_t entries;
    size_t freed_bytes;
} kv_removed;
kv_removed kv_cache_clear(kv_cache *c);
bool kv_cache_remove(kv_cache *c, uint64_t id, kv_removed *out);

/* Lets go of remembered pages (to the spill file where that is worth it) until at most keep_bytes of the pool are
 * evictable; returns bytes. */
size_t kv_cache_evict(kv_cache *c, size_t keep_bytes);
/* While held, what is remembered may not grow beyond what it was when that began; less after an eviction. */
void kv_cache_hold(kv_cache *c, bool hold);
/* When nothing else makes room for the first in line: the oldest pin is taken back. */
bool kv_cache_unpin_one(kv_cache *c);
/* Writes up to n remembered pages to the spill file ahead of need; true while there are more. */
bool kv_cache_write_behind(kv_cache *c, uint32_t n);

kv_pool *kv_cache_pool(const kv_cache *c);

/* For tests: CHECKs every page's references against its holders, and all sums. */
void kv_cache_check(const kv_cache *c);

#endif
