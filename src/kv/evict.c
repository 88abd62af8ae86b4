/* What makes way for whom: which page is worth least, and whether it goes to the spill file or nowhere.
 *
 * A page in memory belongs to the entries whose paths pass through it. They go from their ends inwards, so what is left
 * of a conversation can be used. Its worth is what computing it again would cost × how often it was used ÷ how long
 * ago, for each byte. Where reading it back beats computing it, it is written to the spill file first, after all pages
 * before it; else it is forgotten. */
#include <string.h>

#include "base/check.h"
#include "base/log.h"
#include "kv/internal.h"

/* A request that was preempted comes back for its pages: they are worth those of a conversation used so often. */
enum { PARKED_WORTH_HITS = 8, AGE_FLOOR_MS = 1000 };

/* ---- the tree and the spill file ---- */

static void on_gone(void *ctx, const kv_index_node *node) {
    kv_cache *c = ctx;
    if (node->slot != KV_SPILL_NONE && c->spill) kv_spill_drop(c->spill, node->slot);
}

void kv_cache_prune(kv_cache *c, kv_node node) { kv_index_prune(&c->index, node, on_gone, c); }

size_t kv_cache_node_bytes(const kv_cache *c, const kv_index_node *node) {
    return kv_set_bytes(&c->config.shape, node->type);
}

/* What it would cost to compute a page again: the model on its tokens, and attention over all before them. */
static double recompute_cost(const kv_cache *c, const kv_index_node *node) {
    double seen = (double)node->depth * KV_PAGE_TOKENS;
    return node->n_tokens * (c->config.matmul_macs + c->config.attend_macs * seen);
}

static double recompute_ms(const kv_cache *c, const kv_index_node *node) {
    if (c->config.matmul_macs <= 0) return 0;
    return recompute_cost(c, node) / c->config.matmul_macs * c->ms_per_token;
}

double kv_cache_read_ms(const kv_cache *c, size_t bytes) {
    kv_spill_counts counts;
    kv_spill_read(c->spill, &counts);
    return (double)bytes / 1048576 * counts.read_ms_per_mib;
}

static bool worth_spilling(const kv_cache *c, const kv_index_node *node) {
    size_t bytes = kv_cache_node_bytes(c, node); /* of a larger type than the server's own: more than a slot holds */
    return c->spill && bytes <= kv_set_bytes(&c->config.shape, c->config.type) &&
           kv_cache_read_ms(c, bytes) < recompute_ms(c, node);
}

static int parts_of(const kv_cache *c, const kv_index_node *node, void *parts[KV_GROUPS_MAX],
                    size_t bytes[KV_GROUPS_MAX]) {
    for (uint32_t g = 0; g < c->config.shape.n_groups; g++) {
        parts[g] = node->pages[g];
        bytes[g] = kv_page_bytes(&c->config.shape, g, node->type);
    }
    return (int)c->config.shape.n_groups;
}

static kv_node root_above(const kv_cache *c, kv_node n) {
    while (kv_index_at(&c->index, n)->depth > 0) n = kv_index_at(&c->index, n)->parent;
    return n;
}

static bool forget_spilled_page(kv_cache *c);

/* Writes one node, whose parent is in the file already. */
static bool write_node(kv_cache *c, kv_node n) {
    kv_index_node *node = kv_index_at(&c->index, n);
    const kv_index_node *parent = kv_index_at(&c->index, node->parent);
    const kv_index_node *root = kv_index_at(&c->index, root_above(c, n));
    kv_spill_label label = {.salt = {root->salt[0], root->salt[1]},
                            .parent = KV_SPILL_NONE,
                            .depth = node->depth - 1,
                            .n_tokens = node->n_tokens,
                            .kind = node->type,
                            .payload_bytes = (uint32_t)kv_cache_node_bytes(c, node)};
    if (parent->depth > 0) {
        label.parent = parent->slot;
        label.parent_serial = kv_spill_serial(c->spill, parent->slot);
    }
    memcpy(label.tokens, node->tokens, node->n_tokens * sizeof *node->tokens);
    void *parts[KV_GROUPS_MAX];
    size_t bytes[KV_GROUPS_MAX];
    int n_parts = parts_of(c, node, parts, bytes);
    err e = {0};
    if (kv_spill_used(c->spill) == kv_spill_slots(c->spill) && !forget_spilled_page(c)) return false;
    node->slot = kv_spill_put(c->spill, &label, (const void *const *)parts, bytes, n_parts, &e);
    if (node->slot == KV_SPILL_NONE) {
        log_warn("kv", "a page could not be written to the spill file: %s", e.message);
        return false;
    }
    c->counts.spilled_pages++;
    return true;
}

/* Of a path whose end is not in the file: the first page that is not. */
static kv_node first_unwritten(const kv_cache *c, kv_node n) {
    for (kv_node up = kv_index_at(&c->index, n)->parent;
         kv_index_at(&c->index, up)->depth > 0 && kv_index_at(&c->index, up)->slot == KV_SPILL_NONE;
         up = kv_index_at(&c->index, up)->parent)
        n = up;
    return n;
}

/* A page is in the file only if all before it are: what is there can be used whenever the server ends. */
static bool write_path(kv_cache *c, kv_node n) {
    while (kv_index_at(&c->index, n)->slot == KV_SPILL_NONE)
        if (!write_node(c, first_unwritten(c, n))) return false;
    return true;
}

/* The whole of a subtree that cannot be read back; entries that end in it end above it now. */
static void drop_subtree(kv_cache *c, kv_node top) {
    kv_node above = kv_index_at(&c->index, top)->parent;
    for (uint32_t i = 0; i < c->index.n_entries; i++) {
        kv_entry *entry = &c->index.entries[i];
        if (!entry->id) continue;
        kv_node at = entry->leaf;
        while (at != KV_NODE_NONE && at != top) at = kv_index_at(&c->index, at)->parent;
        if (at != top) continue;
        if (kv_index_at(&c->index, above)->depth == 0 || kv_index_at(&c->index, above)->n_entries)
            kv_index_entry_remove(&c->index, entry);
        else kv_index_entry_move(&c->index, entry, above);
    }
    for (kv_node n = KV_NODE_NONE; n != top;) {
        for (n = top; kv_index_at(&c->index, n)->first_child != KV_NODE_NONE;)
            n = kv_index_at(&c->index, n)->first_child;
        kv_index_node *parent = kv_index_at(&c->index, kv_index_at(&c->index, n)->parent);
        CHECK(!kv_index_at(&c->index, n)->n_entries && !kv_index_at(&c->index, n)->n_cursors);
        parent->n_cursors++; /* one at a time, from the ends */
        kv_cache_prune(c, n);
        parent->n_cursors--;
    }
    kv_cache_prune(c, above);
}

static uint8_t *take(kv_cache *c, uint32_t group, kv_type type, bool (*make_way)(kv_cache *c), err *e);
static bool evict_page(kv_cache *c);

bool kv_cache_reload(kv_cache *c, kv_node n) {
    kv_index_node *node = kv_index_at(&c->index, n);
    if (node->resident) return true;
    uint8_t *pages[KV_GROUPS_MAX] = {0};
    err e = {0};
    uint32_t g = 0;
    node->n_cursors++; /* making room must not forget it */
    for (; g < c->config.shape.n_groups; g++)
        if (!(pages[g] = take(c, g, node->type, evict_page, &e))) break;
    node->n_cursors--;
    bool have_pages = g == c->config.shape.n_groups, good = false;
    if (have_pages) {
        void *parts[KV_GROUPS_MAX];
        size_t bytes[KV_GROUPS_MAX];
        int n_parts = parts_of(c, node, parts, bytes);
        for (int i = 0; i < n_parts; i++) parts[i] = pages[i];
        good = kv_spill_get(c->spill, node->slot, parts, bytes, n_parts, &e);
    }
    if (good) {
        kv_index_set_pages(&c->index, n, pages);
        c->counts.restored_pages++;
        return true;
    }
    while (g-- > 0) kv_pool_unref(c->pool, pages[g]);
    if (!have_pages) return false;
    log_warn("kv", "a page of the spill file cannot be used (%s): it will be computed again", e.message);
    c->counts.bad_pages++;
    drop_subtree(c, n);
    return false;
}

/* ---- what makes way ---- */

static double worth(const kv_cache *c, const kv_entry *entry, const kv_index_node *node) {
    double uses = 1.0 + entry->hits + (entry->preempted_for ? PARKED_WORTH_HITS : 0);
    double idle = (double)(c->now_ms - entry->used_ms) + AGE_FLOOR_MS;
    return recompute_cost(c, node) * uses / idle / (double)kv_cache_node_bytes(c, node);
}

/* The entry ends a page earlier, or is no more when what is left of it is another's too. Frees its leaf. */
static void shorten(kv_cache *c, kv_entry *entry) {
    kv_node leaf = entry->leaf, parent = kv_index_at(&c->index, leaf)->parent;
    const kv_index_node *above = kv_index_at(&c->index, parent);
    if (above->depth == 0 || above->n_children > 1 || above->n_entries)
        kv_index_entry_remove(&c->index, entry);
    else kv_index_entry_move(&c->index, entry, parent);
    kv_cache_prune(c, leaf);
}

static kv_entry *least_worth(kv_cache *c, bool (*fits)(kv_cache *c, kv_entry *entry, kv_node *node)) {
    kv_entry *least = NULL;
    double least_value = 0;
    for (uint32_t i = 0; i < c->index.n_entries; i++) {
        kv_entry *entry = &c->index.entries[i];
        kv_node node;
        if (!entry->id || entry->pinned || !fits(c, entry, &node)) continue;
        double value = worth(c, entry, kv_index_at(&c->index, node));
        if (least && value >= least_value) continue;
        least = entry;
        least_value = value;
    }
    return least;
}

static bool ends_in_memory(kv_cache *c, kv_entry *entry, kv_node *node) {
    *node = kv_index_entry_tail(&c->index, entry);
    return *node != KV_NODE_NONE && kv_index_can_leave(&c->index, *node);
}

static bool ends_in_file(kv_cache *c, kv_entry *entry, kv_node *node) {
    const kv_index_node *leaf = kv_index_at(&c->index, entry->leaf);
    *node = entry->leaf;
    return !leaf->resident && leaf->slot != KV_SPILL_NONE && !leaf->n_children && !leaf->n_cursors;
}

static bool any(kv_cache *c, kv_entry *entry, kv_node *node) {
    (void)c;
    *node = entry->leaf;
    return true;
}

static bool listed(kv_cache *c, kv_entry *entry, kv_node *node) { return any(c, entry, node) && !entry->preempted_for; }

static bool holds_unused_pages(kv_cache *c, kv_entry *entry, kv_node *node) {
    *node = entry->leaf;
    const kv_index_node *at = kv_index_at(&c->index, entry->leaf);
    for (; at->depth > 0; at = kv_index_at(&c->index, at->parent))
        for (uint32_t g = 0; at->resident && g < c->config.shape.n_groups; g++)
            if (kv_pool_refs(c->pool, at->pages[g]) == 1) return true;
    return false;
}

static bool forget_spilled_page(kv_cache *c) {
    kv_entry *entry = least_worth(c, ends_in_file);
    if (!entry) return false;
    shorten(c, entry);
    return true;
}

static bool evict_page(kv_cache *c) {
    kv_entry *entry = least_worth(c, ends_in_memory);
    if (!entry) return false;
    kv_node tail = kv_index_entry_tail(&c->index, entry);
    kv_index_node *node = kv_index_at(&c->index, tail);
    c->counts.evicted_pages++;
    node->n_cursors++; /* making room in the file must not forget it */
    bool in_file = c->spill && (node->slot != KV_SPILL_NONE || (worth_spilling(c, node) && write_path(c, tail)));
    node->n_cursors--;
    if (in_file || node->n_children) kv_index_drop_pages(&c->index, tail);
    else shorten(c, entry);
    return true;
}

static uint8_t *take(kv_cache *c, uint32_t group, kv_type type, bool (*make_way)(kv_cache *c), err *e) {
    for (;;) {
        uint8_t *page = kv_pool_take(c->pool, group, type, e);
        if (page || !make_way(c)) return page;
    }
}

/* A whole entry, to free a node or a place in the table. */
void kv_cache_forget(kv_cache *c, kv_entry *entry) {
    kv_node leaf = entry->leaf;
    kv_index_entry_remove(&c->index, entry);
    kv_cache_prune(c, leaf);
}

static bool forget_least(kv_cache *c, bool (*fits)(kv_cache *c, kv_entry *entry, kv_node *node)) {
    kv_entry *entry = least_worth(c, fits);
    if (entry) kv_cache_forget(c, entry);
    return entry != NULL;
}

bool kv_cache_forget_listed(kv_cache *c) { return forget_least(c, listed); }

bool kv_cache_forget_one(kv_cache *c) { return kv_cache_forget_listed(c) || forget_least(c, any); }

/* When no end can leave: a sequence with a window holds an end, and not what lies before it. */
static bool make_way(kv_cache *c) {
    return evict_page(c) || kv_sequence_detach_one(c) || forget_least(c, holds_unused_pages);
}

uint8_t *kv_cache_take(kv_cache *c, uint32_t group, kv_type type, err *e) {
    return take(c, group, type, make_way, e);
}

bool kv_cache_drop_page(kv_cache *c, uint32_t group, const uint8_t *page) {
    for (kv_node n = 0; n < c->index.n_nodes; n++) {
        const kv_index_node *node = kv_index_at(&c->index, n);
        if (!node->used || !node->resident || node->pages[group] != page) continue;
        drop_subtree(c, n);
        return true;
    }
    return false;
}

static size_t evictable_bytes(const kv_cache *c) {
    kv_pool_counts counts;
    kv_pool_read(c->pool, &counts);
    return counts.evictable_bytes;
}

size_t kv_cache_used_bytes(const kv_cache *c) {
    kv_pool_counts counts;
    kv_pool_read(c->pool, &counts);
    return counts.used_bytes;
}

size_t kv_cache_evict(kv_cache *c, size_t keep_bytes) {
    size_t before = kv_cache_used_bytes(c);
    while (evictable_bytes(c) > keep_bytes && evict_page(c)) {
    }
    if (c->held && keep_bytes < c->held_bytes) c->held_bytes = keep_bytes;
    return before - kv_cache_used_bytes(c);
}

void kv_cache_hold(kv_cache *c, bool hold) {
    if (hold && !c->held) c->held_bytes = evictable_bytes(c);
    c->held = hold;
}

bool kv_cache_unpin_one(kv_cache *c) {
    kv_entry *oldest = NULL;
    for (uint32_t i = 0; i < c->index.n_entries; i++) {
        kv_entry *entry = &c->index.entries[i];
        if (entry->id && entry->pinned && (!oldest || entry->used_ms < oldest->used_ms)) oldest = entry;
    }
    if (!oldest) return false;
    log_warn("kv", "a pinned conversation of %u tokens is no longer pinned: a request needs its memory",
             kv_index_tokens(&c->index, oldest->leaf));
    kv_index_entry_pin(&c->index, oldest, false);
    if (!oldest->ttl_ms) oldest->ttl_ms = c->config.ttl_ms; /* as for any that does not say */
    return true;
}

bool kv_cache_write_behind(kv_cache *c, uint32_t n) {
    if (!c->spill) return false;
    for (uint32_t i = 0; i < c->index.n_entries && kv_spill_used(c->spill) < kv_spill_slots(c->spill); i++) {
        kv_entry *entry = &c->index.entries[i];
        if (!entry->id || entry->preempted_for) continue;
        while (kv_index_at(&c->index, entry->leaf)->slot == KV_SPILL_NONE) {
            if (n == 0) return true;
            kv_node next = first_unwritten(c, entry->leaf);
            const kv_index_node *node = kv_index_at(&c->index, next);
            if (!worth_spilling(c, node) || kv_spill_used(c->spill) == kv_spill_slots(c->spill)) break;
            if (!write_node(c, next)) return false;
            n--;
        }
    }
    return false;
}
