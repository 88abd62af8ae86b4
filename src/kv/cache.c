/* The cache: its making and restoring, what is remembered and for how long, readings. What makes way is in evict.c. */
#include "kv/cache.h"

#include <string.h>

#include "base/check.h"
#include "base/log.h"
#include "kv/internal.h"
#include "plat/vm.h"

/* ---- making and ending ---- */

static size_t slot_count(const kv_cache_config *c) {
    return c->spill_path ? c->spill_bytes / kv_set_bytes(&c->shape, c->type) : 0;
}

/* One node for each page the pool can hold of the common type (twice, so that a pool of smaller pages has its own),
 * one for each slot of the spill file, and one for each root. */
static uint32_t node_count(const kv_cache_config *c) {
    uint64_t pages = c->pool_bytes / kv_set_bytes(&c->shape, c->type) * 2;
    uint64_t n = c->max_entries ? pages + slot_count(c) + c->n_sequences * 2u + 64 : 1;
    return n < KV_NODE_NONE ? (uint32_t)n : KV_NODE_NONE - 1;
}

/* Beside the remembered: one for each sequence, which may be preempted. */
static uint32_t entry_count(const kv_cache_config *c) {
    return c->max_entries ? c->max_entries + c->n_sequences : 1;
}

static kv_cache *layout(const kv_cache_config *config, mem_arena *a) {
    kv_cache *c = mem_arena_take(a, sizeof *c, 64);
    kv_node *node_of_slot = mem_arena_take(a, slot_count(config) * sizeof *node_of_slot, 64);
    kv_index index;
    kv_index_layout(&index, a, node_count(config), entry_count(config));
    kv_sequence *sequences = mem_arena_take(a, config->n_sequences * sizeof *sequences, 64);
    for (uint32_t i = 0; i < config->n_sequences; i++) {
        if (sequences) memset(&sequences[i], 0, sizeof sequences[i]);
        for (uint32_t g = 0; g < config->shape.n_groups; g++) {
            uint8_t **entries = mem_arena_take(a, kv_table_capacity(config) * sizeof *entries, 64);
            if (sequences) sequences[i].tables[g].entries = entries;
        }
    }
    if (c)
        *c = (kv_cache){
            .config = *config, .index = index, .sequences = sequences, .node_of_slot = node_of_slot};
    return c;
}

size_t kv_cache_plan_bytes(const kv_cache_config *config) {
    mem_arena a;
    mem_arena_measure(&a);
    layout(config, &a);
    return plat_vm_round(a.used);
}

static kv_spill_config spill_config(const kv_cache_config *c) {
    return (kv_spill_config){.path = c->spill_path,
                             .file_bytes = c->spill_bytes,
                             .identity = {c->identity[0], c->identity[1]},
                             .page_bytes_max = kv_set_bytes(&c->shape, c->type)};
}

size_t kv_cache_spill_plan_bytes(const kv_cache_config *config) {
    kv_spill_config s = spill_config(config);
    return config->spill_path ? kv_spill_plan_bytes(&s) : 0;
}

/* A page of an earlier life of the server: known, and not in memory. */
static bool restore_label(void *ctx, uint32_t slot, const kv_spill_label *label) {
    kv_cache *c = ctx;
    kv_index *x = &c->index;
    kv_node parent = KV_NODE_NONE;
    if (slot >= slot_count(&c->config) || label->kind >= KV_TYPES || kv_salt_type(label->salt) != label->kind ||
        label->payload_bytes != kv_set_bytes(&c->config.shape, label->kind))
        return false;
    if (label->parent == KV_SPILL_NONE) {
        parent = kv_index_root(x, label->salt, label->kind);
    } else {
        parent = c->node_of_slot[label->parent]; /* told before its children */
    }
    if (parent == KV_NODE_NONE) return false;
    const kv_index_node *above = kv_index_at(x, parent);
    uint32_t common;
    kv_node same = kv_index_child(x, parent, label->tokens, label->n_tokens, &common);
    bool fits = above->type == label->kind && (above->depth == 0 || above->n_tokens == KV_PAGE_TOKENS) &&
                !(common == label->n_tokens && kv_index_at(x, same)->n_tokens == common);
    kv_node node = fits ? kv_index_add(x, parent, label->tokens, label->n_tokens, NULL, slot) : KV_NODE_NONE;
    if (node == KV_NODE_NONE) {
        kv_cache_prune(c, parent); /* a root made for this alone */
        return false;
    }
    c->node_of_slot[slot] = node;
    kv_index_at(x, node)->n_cursors = 1; /* until all are read: parents have no other holder yet */
    return true;
}

/* Its age is not known: it counts from the first tick. */
static void restore_entry(kv_cache *c, kv_node leaf) {
    kv_entry *entry = kv_index_entry_add(&c->index, leaf, c->now_ms);
    if (entry) entry->ttl_ms = c->config.ttl_ms;
    else kv_cache_prune(c, leaf);
}

static void restore(kv_cache *c) {
    kv_index *x = &c->index;
    for (size_t i = 0; i < slot_count(&c->config); i++) c->node_of_slot[i] = KV_NODE_NONE;
    kv_spill_restore(c->spill, restore_label, c);
    for (kv_node n = 0; n < x->n_nodes; n++)
        if (x->nodes[n].used && x->nodes[n].depth) x->nodes[n].n_cursors = 0;
    for (kv_node n = 0; n < x->n_nodes; n++)
        if (x->nodes[n].used && x->nodes[n].depth && !x->nodes[n].n_children) restore_entry(c, n);
    if (x->n_entries_used)
        log_info("kv", "%u remembered conversations read from %s", x->n_entries_used, c->config.spill_path);
}

kv_cache *kv_cache_new(const kv_cache_config *config, mem_ledger *l, err *e) {
    mem_arena a = {0};
    if (!mem_arena_init(&a, l, MEM_PROMPT_INDEX, kv_cache_plan_bytes(config), false, e)) return NULL;
    kv_cache *c = layout(config, &a);
    c->arena = a;
    c->pool = kv_pool_new(&config->shape, config->pool_bytes, l, e);
    kv_spill_config spill = spill_config(config);
    if (c->pool && config->spill_path) c->spill = kv_spill_open(&spill, l, e);
    if (!c->pool || (config->spill_path && !c->spill)) {
        kv_pool_free(c->pool);
        mem_arena_free(&a);
        return NULL;
    }
    kv_index_init(&c->index, &c->config.shape, c->pool);
    if (c->spill && config->max_entries) restore(c);
    return c;
}

void kv_cache_close_all(kv_cache *c) {
    for (uint32_t i = 0; i < c->config.n_sequences; i++) kv_sequence_close(c, &c->sequences[i], NULL);
}

void kv_cache_free(kv_cache *c) {
    if (!c) return;
    CHECK(c->counts.sequences == 0);
    while (kv_cache_write_behind(c, 64)) {
    }
    kv_spill *spill = c->spill;
    c->spill = NULL; /* what is there stays there */
    kv_cache_clear(c);
    kv_spill_close(spill);
    kv_pool_free(c->pool);
    mem_arena arena = c->arena; /* c lies in it */
    mem_arena_free(&arena);
}

kv_pool *kv_cache_pool(const kv_cache *c) { return c->pool; }
void kv_cache_note_speed(kv_cache *c, double ms_per_token) {
    c->ms_per_token = c->ms_per_token > 0 ? c->ms_per_token * 0.9 + ms_per_token * 0.1 : ms_per_token;
}

/* ---- what is remembered ---- */

/* A conversation that went on is remembered by its end; what it passed through needs no entry of its own, unless
 * that is to stay for longer. */
static bool absorbs(const kv_entry *entry, const kv_entry *old) {
    if (old->pinned || (entry->ttl_ms && !old->ttl_ms)) return false;
    return !entry->ttl_ms || entry->used_ms + entry->ttl_ms >= old->used_ms + old->ttl_ms;
}

static void absorb_ancestors(kv_cache *c, kv_entry *entry) {
    kv_index *x = &c->index;
    for (kv_node n = entry->leaf; kv_index_at(x, n)->depth > 0; n = kv_index_at(x, n)->parent) {
        kv_node parent = kv_index_at(x, n)->parent;
        for (kv_node s = kv_index_at(x, parent)->first_child, next; s != KV_NODE_NONE; s = next) {
            const kv_index_node *side = kv_index_at(x, s), *node = kv_index_at(x, n);
            next = side->next;
            bool start = s != n && side->n_entries && side->n_tokens < KV_PAGE_TOKENS &&
                         side->n_tokens <= node->n_tokens &&
                         !memcmp(side->tokens, node->tokens, side->n_tokens * sizeof *side->tokens);
            kv_entry *old = start ? kv_index_entry_at(x, s) : NULL;
            if (!old || !absorbs(entry, old)) continue;
            entry->hits += old->hits;
            kv_cache_forget(c, old);
        }
        kv_entry *old = kv_index_at(x, parent)->depth > 0 ? kv_index_entry_at(x, parent) : NULL;
        if (!old || !absorbs(entry, old)) continue;
        entry->hits += old->hits;
        kv_index_entry_remove(x, old);
    }
}

void kv_cache_keep_limits(kv_cache *c) {
    uint32_t n = 0;
    for (uint32_t i = 0; i < c->index.n_entries; i++) n += c->index.entries[i].id && !c->index.entries[i].preempted_for;
    for (; n > c->config.max_entries && kv_cache_forget_listed(c); n--) {
    }
    if (c->config.max_cached_bytes) kv_cache_evict(c, c->config.max_cached_bytes);
    if (c->held) kv_cache_evict(c, c->held_bytes);
}

void kv_cache_remember(kv_cache *c, kv_node leaf, const kv_memory_of *memory) {
    kv_entry *entry = kv_index_entry_at(&c->index, leaf);
    if (entry && memory->preempted_for) { /* kept for someone already */
        entry->used_ms = c->now_ms;
        return;
    }
    if (!entry && !(entry = kv_index_entry_add(&c->index, leaf, c->now_ms))) {
        kv_index_at(&c->index, leaf)->n_cursors++; /* forgetting another must not take it along */
        if (kv_cache_forget_one(c)) entry = kv_index_entry_add(&c->index, leaf, c->now_ms);
        kv_index_at(&c->index, leaf)->n_cursors--;
        if (!entry) {
            kv_cache_prune(c, leaf);
            return;
        }
    }
    entry->used_ms = c->now_ms;
    entry->preempted_for = memory->preempted_for;
    if (entry->preempted_for) return;
    if (memory->pin) kv_index_entry_pin(&c->index, entry, true);
    if (memory->pin || !entry->pinned) /* how long a pin holds is for those to say who ask for it */
        entry->ttl_ms = memory->ttl_ms || memory->pin ? memory->ttl_ms : c->config.ttl_ms;
    absorb_ancestors(c, entry);
}

void kv_cache_forget_preempted(kv_cache *c, uint64_t request) {
    for (uint32_t i = 0; request && i < c->index.n_entries; i++) {
        kv_entry *entry = &c->index.entries[i];
        if (entry->id && entry->preempted_for == request) kv_cache_forget(c, entry);
    }
}

void kv_cache_touch(kv_cache *c, kv_node n) {
    while (kv_index_at(&c->index, n)->depth > 0 && !kv_index_at(&c->index, n)->n_entries &&
           kv_index_at(&c->index, n)->first_child != KV_NODE_NONE)
        n = kv_index_at(&c->index, n)->first_child;
    kv_entry *entry = kv_index_entry_at(&c->index, n);
    if (!entry) return;
    entry->hits++;
    entry->used_ms = c->now_ms;
}

void kv_cache_tick(kv_cache *c, uint64_t now_ms) {
    bool first = c->now_ms == 0;
    c->now_ms = now_ms;
    for (uint32_t i = 0; i < c->index.n_entries; i++) {
        kv_entry *entry = &c->index.entries[i];
        if (first) entry->made_ms = entry->used_ms = now_ms; /* read from the spill file before there was a clock */
        if (!entry->id || !entry->ttl_ms || now_ms - entry->used_ms <= entry->ttl_ms) continue;
        kv_cache_forget(c, entry);
        c->counts.expired_entries++;
    }
    kv_cache_keep_limits(c);
}

static kv_entry_view view_of(const kv_cache *c, const kv_entry *entry) {
    const kv_index *x = &c->index;
    kv_entry_view view = {.id = entry->id,
                          .age_ms = c->now_ms - entry->made_ms,
                          .idle_ms = c->now_ms - entry->used_ms,
                          .ttl_ms = entry->ttl_ms,
                          .tokens = kv_index_tokens(x, entry->leaf),
                          .hits = entry->hits,
                          .pinned = entry->pinned,
                          .type = (kv_type)kv_index_at(x, entry->leaf)->type};
    for (kv_node n = entry->leaf; kv_index_at(x, n)->depth > 0; n = kv_index_at(x, n)->parent) {
        const kv_index_node *node = kv_index_at(x, n);
        *(node->resident ? &view.bytes : &view.spilled_bytes) += kv_cache_node_bytes(c, node);
    }
    return view;
}

uint32_t kv_cache_entries(const kv_cache *c, uint32_t *at, kv_entry_view *out, uint32_t n) {
    uint32_t found = 0;
    for (; *at < c->index.n_entries && found < n; ++*at) {
        const kv_entry *entry = &c->index.entries[*at];
        if (entry->id && !entry->preempted_for) out[found++] = view_of(c, entry);
    }
    return found;
}

kv_removed kv_cache_clear(kv_cache *c) {
    kv_removed removed = {0};
    size_t before = kv_cache_used_bytes(c);
    for (uint32_t i = 0; i < c->index.n_entries; i++) {
        kv_entry *entry = &c->index.entries[i];
        if (!entry->id) continue;
        removed.entries += !entry->preempted_for;
        kv_cache_forget(c, entry);
    }
    removed.freed_bytes = before - kv_cache_used_bytes(c);
    return removed;
}

bool kv_cache_remove(kv_cache *c, uint64_t id, kv_removed *out) {
    kv_entry *entry = kv_index_entry_by_id(&c->index, id);
    if (!entry || entry->preempted_for) return false;
    size_t before = kv_cache_used_bytes(c);
    kv_cache_forget(c, entry);
    *out = (kv_removed){1, before - kv_cache_used_bytes(c)};
    return true;
}

/* ---- readings ---- */

static size_t filled_bytes(const kv_cache *c) {
    size_t filled = 0;
    for (kv_node n = 0; n < c->index.n_nodes; n++) {
        const kv_index_node *node = &c->index.nodes[n];
        if (node->used && node->resident) filled += kv_cache_node_bytes(c, node) / KV_PAGE_TOKENS * node->n_tokens;
    }
    for (uint32_t i = 0; i < c->config.n_sequences; i++) {
        const kv_sequence *s = &c->sequences[i];
        if (!s->open) continue;
        uint32_t own = s->n_tokens - s->n_published * KV_PAGE_TOKENS; /* the published ones are nodes' */
        kv_sequence_counts counts;
        kv_sequence_read(c, s, &counts);
        size_t own_bytes = kv_set_bytes(&c->config.shape, s->params.type) / KV_PAGE_TOKENS * own;
        filled += own_bytes < counts.bytes ? own_bytes : counts.bytes;
    }
    return filled;
}

void kv_cache_read(const kv_cache *c, kv_cache_counts *out) {
    *out = c->counts;
    kv_pool_read(c->pool, &out->pool);
    out->filled_bytes = filled_bytes(c);
    if (out->filled_bytes > out->pool.used_bytes) out->filled_bytes = out->pool.used_bytes;
    out->nodes = c->index.n_used;
    out->pinned_bytes = c->index.pinned_bytes;
    for (uint32_t i = 0; i < c->index.n_entries; i++) {
        const kv_entry *entry = &c->index.entries[i];
        if (!entry->id || entry->preempted_for) continue;
        out->entries++;
        out->entry_tokens += kv_index_tokens(&c->index, entry->leaf);
    }
    if (!c->spill) return;
    kv_spill_read(c->spill, &out->spill);
    size_t page_set = kv_set_bytes(&c->config.shape, c->config.type);
    out->read_ms_per_page = kv_cache_read_ms(c, page_set);
    out->recompute_ms_per_page = c->ms_per_token * KV_PAGE_TOKENS;
    out->spilling = out->read_ms_per_page < out->recompute_ms_per_page;
}

static void check_node(const kv_cache *c, kv_node n) {
    const kv_index_node *node = kv_index_at(&c->index, n);
    uint32_t standing = 0;
    for (uint32_t i = 0; i < c->config.n_sequences; i++)
        standing += c->sequences[i].open && c->sequences[i].cursor == n;
    CHECK(node->n_cursors == standing);
    if (node->slot == KV_SPILL_NONE || !c->spill) return;
    const kv_index_node *parent = kv_index_at(&c->index, node->parent);
    CHECK(kv_spill_serial(c->spill, node->slot) > 0 && (parent->depth == 0 || parent->slot != KV_SPILL_NONE));
}

/* Below an entry's tail nothing is in memory, or it could never leave. */
static void check_tail(const kv_cache *c, const kv_entry *entry) {
    kv_node n = entry->leaf;
    for (; n != entry->tail; n = kv_index_at(&c->index, n)->parent)
        CHECK(kv_index_at(&c->index, n)->depth > 0 && !kv_index_at(&c->index, n)->resident);
}

void kv_cache_check(const kv_cache *c) {
    uint32_t slots = 0;
    kv_pool_check_begin(c->pool);
    kv_index_check(&c->index);
    for (kv_node n = 0; n < c->index.n_nodes; n++) {
        const kv_index_node *node = &c->index.nodes[n];
        if (!node->used) continue;
        check_node(c, n);
        slots += node->slot != KV_SPILL_NONE;
        for (uint32_t g = 0; node->resident && g < c->config.shape.n_groups; g++)
            kv_pool_see(c->pool, node->pages[g]);
    }
    for (uint32_t i = 0; i < c->index.n_entries; i++) {
        const kv_entry *entry = &c->index.entries[i];
        if (!entry->id) continue;
        check_tail(c, entry);
        if (!entry->pinned) continue;
        for (kv_node n = entry->leaf; kv_index_at(&c->index, n)->depth > 0; n = kv_index_at(&c->index, n)->parent)
            for (uint32_t g = 0; g < c->config.shape.n_groups; g++)
                kv_pool_see(c->pool, kv_index_at(&c->index, n)->pages[g]);
    }
    for (uint32_t i = 0; i < c->config.n_sequences; i++)
        if (c->sequences[i].open) kv_sequence_check(c, &c->sequences[i]);
    CHECK(!c->spill || slots == kv_spill_used(c->spill));
    kv_pool_check_end(c->pool);
}
