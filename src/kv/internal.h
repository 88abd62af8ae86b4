/* kv/internal — the cache and its sequences, for the files of this room. */
#ifndef KV_INTERNAL_H
#define KV_INTERNAL_H

#include "kv/cache.h"
#include "mem/arena.h"

/* Pages of one layer group: those below sink_pages and [first, end) are held. */
typedef struct kv_table {
    uint8_t **entries;
    uint32_t sink_pages, ring_pages; /* ring_pages 0: straight */
    uint32_t first, end;
} kv_table;

struct kv_sequence {
    bool open;
    kv_params params;
    uint32_t n_tokens;
    kv_table tables[KV_GROUPS_MAX];
    int32_t tail[KV_PAGE_TOKENS]; /* the tokens of the page being filled */
    kv_node cursor;               /* the node of its last published page; NONE: not sharing */
    uint32_t n_published;
    bool asked; /* the index, for the first time */
    uint32_t hit_tokens;
    size_t shared_bytes;
};

struct kv_cache {
    kv_cache_config config;
    mem_arena arena;
    kv_pool *pool;
    kv_index index;
    kv_spill *spill;
    kv_node *node_of_slot; /* while the file is being read */
    kv_sequence *sequences;
    uint64_t now_ms;
    bool held;
    size_t held_bytes; /* while held: the most of remembered pages that nobody uses */
    double ms_per_token;
    kv_cache_counts counts; /* the running ones */
};

/* Who may share: the same tenant, storing its tokens in the same way. */
typedef struct kv_salt {
    uint64_t words[2];
} kv_salt;
static inline kv_salt kv_salt_of(const kv_params *t) {
    return (kv_salt){{t->tenant, (uint64_t)t->type | (uint64_t)t->window << 4 | (uint64_t)t->keep << 34}};
}
static inline kv_type kv_salt_type(const uint64_t words[2]) { return (kv_type)(words[1] & 15); }

/* evict.c, for sequence.c */
/* Takes from the remembered as needed: their ends first, then what sequences with a window left behind. */
uint8_t *kv_cache_take(kv_cache *c, uint32_t group, kv_type type, err *e);
bool kv_cache_drop_page(kv_cache *c, uint32_t group, const uint8_t *page); /* out of the index; false: not in it */
bool kv_cache_reload(kv_cache *c, kv_node node); /* into memory from the spill file; false: it is gone */

/* evict.c, for cache.c, too */
void kv_cache_prune(kv_cache *c, kv_node node);
void kv_cache_forget(kv_cache *c, kv_entry *entry); /* a whole entry, and what only it holds */
/* The one of least worth: a conversation, else a preempted request; or a conversation alone. False: none may go. */
bool kv_cache_forget_one(kv_cache *c);
bool kv_cache_forget_listed(kv_cache *c);
size_t kv_cache_node_bytes(const kv_cache *c, const kv_index_node *node);
size_t kv_cache_used_bytes(const kv_cache *c);
double kv_cache_read_ms(const kv_cache *c, size_t bytes); /* to read so many bytes back from the spill file */

/* cache.c, for sequence.c */
void kv_cache_remember(kv_cache *c, kv_node leaf, const kv_memory_of *memory);
void kv_cache_keep_limits(kv_cache *c);
void kv_cache_touch(kv_cache *c, kv_node node);

/* sequence.c, for both */
uint32_t kv_table_capacity(const kv_cache_config *c);
bool kv_sequence_detach_one(kv_cache *c); /* from pages it left behind; false: none has left any */
void kv_sequence_check(const kv_cache *c, const kv_sequence *s);

#endif
