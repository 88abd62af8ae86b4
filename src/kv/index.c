#include "kv/index.h"

#include <string.h>

#include "base/check.h"
#include "kv/spill.h"
#include "mem/arena.h"

void kv_index_layout(kv_index *x, mem_arena *a, uint32_t n_nodes, uint32_t n_entries) {
    x->nodes = mem_arena_take(a, n_nodes * sizeof *x->nodes, 64);
    x->entries = mem_arena_take(a, n_entries * sizeof *x->entries, 64);
    x->n_nodes = n_nodes;
    x->n_entries = n_entries;
}

void kv_index_init(kv_index *x, const kv_shape *shape, kv_pool *pool) {
    x->shape = shape;
    x->pool = pool;
    x->n_used = x->n_entries_used = 0;
    x->pinned_bytes = 0;
    x->next_id = 1;
    x->first_root = x->free_node = KV_NODE_NONE;
    for (uint32_t i = x->n_nodes; i-- > 0;) {
        x->nodes[i] = (kv_index_node){.next = x->free_node};
        x->free_node = i;
    }
    memset(x->entries, 0, x->n_entries * sizeof *x->entries);
}

/* ---- the tree ---- */

static kv_node *list_of(kv_index *x, kv_node parent) {
    return parent == KV_NODE_NONE ? &x->first_root : &x->nodes[parent].first_child;
}

static kv_node take_node(kv_index *x, kv_node parent) {
    kv_node n = x->free_node;
    if (n == KV_NODE_NONE) return n;
    kv_index_node *node = &x->nodes[n];
    x->free_node = node->next;
    x->n_used++;
    kv_node *list = list_of(x, parent);
    *node = (kv_index_node){.parent = parent, .first_child = KV_NODE_NONE, .next = *list, .previous = KV_NODE_NONE,
                            .slot = KV_SPILL_NONE, .used = true};
    if (*list != KV_NODE_NONE) x->nodes[*list].previous = n;
    *list = n;
    if (parent != KV_NODE_NONE) x->nodes[parent].n_children++;
    return n;
}

static void free_node(kv_index *x, kv_node n) {
    kv_index_node *node = &x->nodes[n];
    if (node->previous != KV_NODE_NONE) x->nodes[node->previous].next = node->next;
    else *list_of(x, node->parent) = node->next;
    if (node->next != KV_NODE_NONE) x->nodes[node->next].previous = node->previous;
    if (node->parent != KV_NODE_NONE) x->nodes[node->parent].n_children--;
    *node = (kv_index_node){.next = x->free_node};
    x->free_node = n;
    x->n_used--;
}

kv_node kv_index_find_root(const kv_index *x, const uint64_t salt[2]) {
    kv_node n = x->first_root;
    while (n != KV_NODE_NONE && memcmp(x->nodes[n].salt, salt, sizeof x->nodes[n].salt) != 0) n = x->nodes[n].next;
    return n;
}

kv_node kv_index_root(kv_index *x, const uint64_t salt[2], kv_type type) {
    kv_node n = kv_index_find_root(x, salt);
    if (n != KV_NODE_NONE) return n;
    n = take_node(x, KV_NODE_NONE);
    if (n == KV_NODE_NONE) return n;
    x->nodes[n].type = (uint8_t)type;
    x->nodes[n].salt[0] = salt[0];
    x->nodes[n].salt[1] = salt[1];
    return n;
}

static uint32_t in_common(const int32_t *a, const int32_t *b, uint32_t n) {
    uint32_t i = 0;
    while (i < n && a[i] == b[i]) i++;
    return i;
}

/* Of two that have as much in common: what is in memory needs no reading, and the shorter may be all of it. */
static bool handier(const kv_index_node *a, const kv_index_node *b) {
    return a->resident != b->resident ? a->resident : a->n_tokens < b->n_tokens;
}

kv_node kv_index_child(const kv_index *x, kv_node node, const int32_t *tokens, uint32_t n, uint32_t *common) {
    kv_node best = KV_NODE_NONE;
    *common = 0;
    for (kv_node c = x->nodes[node].first_child; c != KV_NODE_NONE; c = x->nodes[c].next) {
        const kv_index_node *child = &x->nodes[c];
        uint32_t same = in_common(child->tokens, tokens, n < child->n_tokens ? n : child->n_tokens);
        if (same < *common || same == 0) continue;
        if (same == *common && !handier(child, &x->nodes[best])) continue;
        *common = same;
        best = c;
        if (same == KV_PAGE_TOKENS) break;
    }
    return best;
}

kv_node kv_index_add(kv_index *x, kv_node parent, const int32_t *tokens, uint32_t n, uint8_t *const *pages,
                     uint32_t slot) {
    const kv_index_node *above = &x->nodes[parent];
    CHECK(above->used && n > 0 && n <= KV_PAGE_TOKENS);
    CHECK(above->depth == 0 || above->n_tokens == KV_PAGE_TOKENS);
    kv_node at = take_node(x, parent);
    if (at == KV_NODE_NONE) return at;
    kv_index_node *node = &x->nodes[at];
    node->depth = above->depth + 1;
    node->type = above->type;
    node->n_tokens = (uint8_t)n;
    node->slot = slot;
    memcpy(node->tokens, tokens, n * sizeof *tokens);
    if (!pages) return at;
    for (uint32_t g = 0; g < x->shape->n_groups; g++) kv_pool_ref(x->pool, pages[g]);
    kv_index_set_pages(x, at, pages);
    return at;
}

void kv_index_set_pages(kv_index *x, kv_node at, uint8_t *const *pages) {
    kv_index_node *node = &x->nodes[at];
    CHECK(!node->resident && node->depth > 0);
    for (uint32_t g = 0; g < x->shape->n_groups; g++) {
        node->pages[g] = pages[g];
        kv_pool_set_cached(x->pool, pages[g], true);
    }
    node->resident = true;
    x->nodes[node->parent].n_resident_children++;
    if (!node->n_children && !node->n_entries) return;
    for (uint32_t i = 0; i < x->n_entries; i++) x->entries[i].tail = x->entries[i].leaf; /* looked for again */
}

void kv_index_drop_pages(kv_index *x, kv_node at) {
    kv_index_node *node = &x->nodes[at];
    CHECK(node->resident && node->n_resident_children == 0);
    for (uint32_t g = 0; g < x->shape->n_groups; g++) {
        kv_pool_set_cached(x->pool, node->pages[g], false);
        kv_pool_unref(x->pool, node->pages[g]);
        node->pages[g] = NULL;
    }
    node->resident = false;
    x->nodes[node->parent].n_resident_children--;
}

bool kv_index_can_leave(const kv_index *x, kv_node at) {
    const kv_index_node *node = &x->nodes[at];
    if (!node->resident || node->n_resident_children || node->n_cursors) return false;
    for (uint32_t g = 0; g < x->shape->n_groups; g++)
        if (kv_pool_refs(x->pool, node->pages[g]) != 1) return false;
    return true;
}

kv_node kv_index_prune(kv_index *x, kv_node at, kv_index_gone *on_gone, void *ctx) {
    while (at != KV_NODE_NONE) {
        kv_index_node *node = &x->nodes[at];
        if (node->n_children || node->n_entries || node->n_cursors) return at;
        kv_node parent = node->parent;
        if (on_gone) on_gone(ctx, node);
        if (node->resident) kv_index_drop_pages(x, at);
        free_node(x, at);
        at = parent;
    }
    return at;
}

/* ---- entries ---- */

kv_entry *kv_index_entry_at(kv_index *x, kv_node leaf) {
    if (!x->nodes[leaf].n_entries) return NULL;
    for (uint32_t i = 0; i < x->n_entries; i++)
        if (x->entries[i].id && x->entries[i].leaf == leaf) return &x->entries[i];
    return NULL;
}

kv_entry *kv_index_entry_add(kv_index *x, kv_node leaf, uint64_t now_ms) {
    for (uint32_t i = 0; i < x->n_entries; i++) {
        kv_entry *entry = &x->entries[i];
        if (entry->id) continue;
        *entry = (kv_entry){.id = x->next_id++, .leaf = leaf, .tail = leaf, .made_ms = now_ms, .used_ms = now_ms};
        x->nodes[leaf].n_entries++;
        x->n_entries_used++;
        return entry;
    }
    return NULL;
}

void kv_index_entry_move(kv_index *x, kv_entry *entry, kv_node leaf) {
    CHECK(!entry->pinned);
    x->nodes[entry->leaf].n_entries--;
    x->nodes[leaf].n_entries++;
    entry->leaf = entry->tail = leaf;
}

void kv_index_entry_remove(kv_index *x, kv_entry *entry) {
    kv_index_entry_pin(x, entry, false);
    x->nodes[entry->leaf].n_entries--;
    x->n_entries_used--;
    entry->id = 0;
}

kv_entry *kv_index_entry_by_id(kv_index *x, uint64_t id) {
    for (uint32_t i = 0; id && i < x->n_entries; i++)
        if (x->entries[i].id == id) return &x->entries[i];
    return NULL;
}

void kv_index_entry_pin(kv_index *x, kv_entry *entry, bool pinned) {
    if (entry->pinned == pinned) return;
    entry->pinned = pinned;
    for (kv_node n = entry->leaf; x->nodes[n].depth > 0; n = x->nodes[n].parent) {
        kv_index_node *node = &x->nodes[n];
        size_t bytes = kv_set_bytes(x->shape, node->type);
        CHECK(node->resident);
        if (pinned && node->n_pins++ == 0) x->pinned_bytes += bytes;
        if (!pinned && --node->n_pins == 0) x->pinned_bytes -= bytes;
        for (uint32_t g = 0; g < x->shape->n_groups; g++) {
            if (pinned) kv_pool_ref(x->pool, node->pages[g]);
            else kv_pool_unref(x->pool, node->pages[g]);
        }
    }
}

uint32_t kv_index_tokens(const kv_index *x, kv_node leaf) {
    const kv_index_node *node = &x->nodes[leaf];
    return node->depth ? (node->depth - 1) * KV_PAGE_TOKENS + node->n_tokens : 0;
}

kv_node kv_index_entry_tail(kv_index *x, kv_entry *entry) {
    while (x->nodes[entry->tail].depth > 0 && !x->nodes[entry->tail].resident)
        entry->tail = x->nodes[entry->tail].parent;
    return x->nodes[entry->tail].depth > 0 ? entry->tail : KV_NODE_NONE;
}

/* ---- check ---- */

static void check_node(const kv_index *x, kv_node at) {
    const kv_index_node *node = &x->nodes[at];
    uint32_t children = 0, resident = 0, entries = 0, pins = 0;
    for (kv_node c = node->first_child; c != KV_NODE_NONE; c = x->nodes[c].next) {
        const kv_index_node *child = &x->nodes[c];
        for (kv_node d = child->next; d != KV_NODE_NONE; d = x->nodes[d].next)
            CHECK(x->nodes[d].n_tokens != child->n_tokens ||
                  in_common(x->nodes[d].tokens, child->tokens, child->n_tokens) < child->n_tokens);
        CHECK(child->used && child->parent == at && child->depth == node->depth + 1 && child->type == node->type);
        CHECK(child->next == KV_NODE_NONE || x->nodes[child->next].previous == c);
        children++;
        resident += child->resident;
        pins += child->n_pins;
    }
    for (uint32_t i = 0; i < x->n_entries; i++) {
        bool here = x->entries[i].id && x->entries[i].leaf == at;
        entries += here;
        pins += here && x->entries[i].pinned;
    }
    CHECK(children == node->n_children && resident == node->n_resident_children && entries == node->n_entries);
    CHECK(pins == node->n_pins || node->depth == 0);
    CHECK(node->depth == 0 || node->n_tokens == KV_PAGE_TOKENS || children == 0);
    CHECK(node->depth == 0 || node->resident || (node->slot != KV_SPILL_NONE && resident == 0));
    CHECK(children || node->n_entries || node->n_cursors); /* nothing is there for no one */
}

void kv_index_check(const kv_index *x) {
    uint32_t used = 0, entries = 0, is_free = 0;
    size_t pinned_bytes = 0;
    for (kv_node n = 0; n < x->n_nodes; n++) {
        if (!x->nodes[n].used) continue;
        used++;
        if (x->nodes[n].n_pins) pinned_bytes += kv_set_bytes(x->shape, x->nodes[n].type);
        check_node(x, n);
    }
    CHECK(pinned_bytes == x->pinned_bytes);
    for (kv_node n = x->free_node; n != KV_NODE_NONE; n = x->nodes[n].next) is_free++;
    for (uint32_t i = 0; i < x->n_entries; i++) entries += x->entries[i].id != 0;
    CHECK(used == x->n_used && is_free == x->n_nodes - used && entries == x->n_entries_used);
}
