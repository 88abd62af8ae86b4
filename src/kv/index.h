/* kv/index — which token sequences the pool remembers: a radix tree over token ids, a page a node.
 *
 * Owns nodes (up to 16 tokens and the pages that hold their K and V), the roots they hang from (one for each salt:
 * who asked, how it is stored), and entries: the ends of remembered conversations. A node is a page of a shared
 * prefix once, whoever uses it. A full node may have children; a node of fewer tokens is always a leaf. Each page
 * in the tree has one reference of the pool's for that. What is kept and what goes is kv/cache's to decide; this
 * is the structure and its rules:
 *
 *   - a node goes when it has no children, no entry ends there and no sequence stands there (kv_index_prune);
 *   - only nodes whose children are out of memory can leave memory themselves, so what is in memory hangs together;
 *   - a node out of memory has a slot in the spill file.
 *
 * Radix trees for prefix reuse: Zheng et al. 2023 (arXiv 2312.07104). One thread at a time. Fixed tables: a full
 * table refuses, and the caller forgets something first.
 */
#ifndef KV_INDEX_H
#define KV_INDEX_H

#include "kv/pool.h"

typedef uint32_t kv_node;
enum { KV_NODE_NONE = UINT32_MAX };

typedef struct kv_index_node {
    kv_node parent, first_child, next, previous; /* next: of its siblings, or of the free list */
    uint32_t n_children, n_resident_children, n_entries, n_cursors;
    uint32_t slot;     /* in the spill file, or KV_SPILL_NONE */
    uint32_t depth;    /* pages from the root, itself included; 0: a root */
    uint32_t n_pins;   /* pinned entries that end here or below */
    uint8_t n_tokens;  /* 0: a root; otherwise 1 … KV_PAGE_TOKENS */
    uint8_t type;      /* kv_type of its pages */
    bool used, resident;
    uint8_t *pages[KV_GROUPS_MAX];
    union {
        int32_t tokens[KV_PAGE_TOKENS];
        uint64_t salt[2]; /* of a root */
    };
} kv_index_node;

typedef struct kv_entry {
    uint64_t id; /* 0: free */
    kv_node leaf, tail; /* tail: no node of the path below it is in memory */
    uint64_t made_ms, used_ms;
    uint64_t ttl_ms; /* 0: none */
    uint32_t hits;
    bool pinned; /* its pages have one more reference each */
    uint64_t preempted_for; /* not a conversation to list: this request will come back; 0: none */
} kv_entry;

typedef struct kv_index {
    const kv_shape *shape;
    kv_pool *pool;
    kv_index_node *nodes;
    uint32_t n_nodes, n_used;
    kv_node free_node, first_root;
    kv_entry *entries;
    uint32_t n_entries, n_entries_used;
    uint64_t next_id;
    size_t pinned_bytes; /* of pages; what several pin counts once */
} kv_index;

/* Takes its tables from the arena (which may be measuring). */
void kv_index_layout(kv_index *x, mem_arena *a, uint32_t n_nodes, uint32_t n_entries);
void kv_index_init(kv_index *x, const kv_shape *shape, kv_pool *pool);

static inline kv_index_node *kv_index_at(const kv_index *x, kv_node n) { return &x->nodes[n]; }

/* The root for a salt, made when there is none; KV_NODE_NONE when the table is full. */
kv_node kv_index_find_root(const kv_index *x, const uint64_t salt[2]); /* KV_NODE_NONE: there is none */
kv_node kv_index_root(kv_index *x, const uint64_t salt[2], kv_type type);

/* The child of node that goes on like tokens (n of them), and how many it has in common: 16 when all of a full
 * node, else the longest start of any child; of several such one in memory, then the shortest. KV_NODE_NONE and 0
 * when none begins so. */
kv_node kv_index_child(const kv_index *x, kv_node node, const int32_t *tokens, uint32_t n, uint32_t *common);

/* A new node below parent; takes a reference of each page (pages NULL: it is only in the spill file, at slot).
 * KV_NODE_NONE when the table is full. */
kv_node kv_index_add(kv_index *x, kv_node parent, const int32_t *tokens, uint32_t n, uint8_t *const *pages,
                     uint32_t slot);

/* Into and out of memory. */
void kv_index_set_pages(kv_index *x, kv_node node, uint8_t *const *pages); /* takes over the caller's references */
void kv_index_drop_pages(kv_index *x, kv_node node);

/* May leave memory: it is there, its children are not, and no one but the tree holds its pages. */
bool kv_index_can_leave(const kv_index *x, kv_node node);

/* Removes node and then its ancestors as long as nothing needs them. on_gone hears of each (its slot is to be
 * freed) before it goes. Returns the first that stays. */
typedef void kv_index_gone(void *ctx, const kv_index_node *node);
kv_node kv_index_prune(kv_index *x, kv_node node, kv_index_gone *on_gone, void *ctx);

/* ---- entries ---- */

kv_entry *kv_index_entry_at(kv_index *x, kv_node leaf);               /* NULL when none ends there */
kv_entry *kv_index_entry_add(kv_index *x, kv_node leaf, uint64_t now_ms); /* NULL when the table is full */
void kv_index_entry_move(kv_index *x, kv_entry *entry, kv_node leaf);
void kv_index_entry_remove(kv_index *x, kv_entry *entry); /* unpins; the nodes stay until pruned */
kv_entry *kv_index_entry_by_id(kv_index *x, uint64_t id);
void kv_index_entry_pin(kv_index *x, kv_entry *entry, bool pinned); /* all its nodes must be in memory */
uint32_t kv_index_tokens(const kv_index *x, kv_node leaf);
/* The deepest node of the entry's path that is in memory; KV_NODE_NONE when none is. */
kv_node kv_index_entry_tail(kv_index *x, kv_entry *entry);

/* For tests: CHECKs every link and count. */
void kv_index_check(const kv_index *x);

#endif
