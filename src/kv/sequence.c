/* Sequences: page tables, windows, copy-on-write, what is shared with the index. */
#include <string.h>

#include "base/check.h"
#include "kv/internal.h"

/* The batch being prepared lies beside a full window, both unaligned. */
uint32_t kv_table_capacity(const kv_cache_config *c) { return kv_pages_for(c->n_context + c->n_batch) + 4; }

static uint32_t n_groups(const kv_cache *c) { return c->config.shape.n_groups; }

/* Tokens that a layer of the group sees beside the kept ones; 0: all. */
static uint32_t span_of(const kv_cache *c, const kv_params *t, uint32_t group) {
    uint32_t model = c->config.shape.groups[group].window, own = t->window ? t->window - t->keep : 0;
    if (model >= c->config.n_context && !own) return 0;
    return !own || (model && model < own) ? model : own;
}

/* Layers that the model itself windows more narrowly do not see kept tokens once those are outside. */
static uint32_t kept(const kv_cache *c, const kv_params *t, uint32_t group) {
    uint32_t model = c->config.shape.groups[group].window;
    return t->window && (!model || t->window <= model) ? t->keep : 0;
}

static uint32_t first_seen(const kv_cache *c, const kv_params *t, uint32_t group, uint32_t position) {
    uint32_t span = span_of(c, t, group);
    return span && position + 1 > span ? position + 1 - span : 0;
}

static void init_table(const kv_cache *c, const kv_params *params, uint32_t group, kv_table *t) {
    uint32_t span = span_of(c, params, group);
    *t = (kv_table){.entries = t->entries};
    if (!span) return;
    t->sink_pages = kv_pages_for(kept(c, params, group));
    t->ring_pages = kv_pages_for(span + c->config.n_batch) + 1;
    CHECK(t->sink_pages + t->ring_pages <= kv_table_capacity(&c->config));
}

static uint8_t **entry(const kv_table *t, uint32_t i) {
    uint32_t at = compute_kv_entry(i, t->sink_pages, t->ring_pages);
    return &t->entries[at];
}

static uint32_t held(const kv_table *t) {
    uint32_t low = t->end < t->sink_pages ? t->end : t->sink_pages, first = t->first > low ? t->first : low;
    return low + (t->end - first);
}

static void put(const kv_cache *c, kv_sequence *s, uint32_t group, uint8_t *page) {
    kv_table *t = &s->tables[group];
    CHECK(t->ring_pages ? held(t) < t->sink_pages + t->ring_pages : t->end < kv_table_capacity(&c->config));
    *entry(t, t->end++) = page;
}

static void drop_from(kv_cache *c, kv_table *t, uint32_t n_pages) {
    while (t->end > n_pages) {
        t->end--;
        if (t->end < t->sink_pages || t->end >= t->first) kv_pool_unref(c->pool, *entry(t, t->end));
    }
    if (t->first > t->end) t->first = t->end;
}

static void drop_pages_from(kv_cache *c, kv_sequence *s, uint32_t n_pages) {
    for (uint32_t g = 0; g < n_groups(c); g++) drop_from(c, &s->tables[g], n_pages);
}

static void let_go_outside(kv_cache *c, kv_sequence *s, uint32_t group, uint32_t position) {
    kv_table *t = &s->tables[group];
    uint32_t until = first_seen(c, &s->params, group, position) / KV_PAGE_TOKENS;
    if (until > t->end) until = t->end;
    for (; t->first < until; t->first++)
        if (t->first >= t->sink_pages) kv_pool_unref(c->pool, *entry(t, t->first));
}

/* ---- open and close ---- */

static void stand_at(kv_cache *c, kv_sequence *s, kv_node node) {
    kv_node before = s->cursor;
    if (node != KV_NODE_NONE) kv_index_at(&c->index, node)->n_cursors++;
    s->cursor = node;
    if (before == KV_NODE_NONE) return;
    kv_index_at(&c->index, before)->n_cursors--;
    kv_cache_prune(c, before);
}

/* From here on the sequence is its own alone: it neither finds nor publishes. */
static void detach(kv_cache *c, kv_sequence *s) {
    stand_at(c, s, KV_NODE_NONE);
    s->n_published = 0;
}

/* A sequence with a window moves on and leaves pages behind, which the index holds as long as it stands there. */
static bool left_pages_behind(const kv_cache *c, const kv_sequence *s) {
    for (uint32_t g = 0; g < n_groups(c); g++) {
        const kv_table *t = &s->tables[g];
        if (t->ring_pages && t->first > t->sink_pages && s->n_published > t->sink_pages) return true;
    }
    return false;
}

bool kv_sequence_detach_one(kv_cache *c) {
    for (uint32_t i = 0; i < c->config.n_sequences; i++) {
        kv_sequence *s = &c->sequences[i];
        if (!s->open || s->cursor == KV_NODE_NONE || !left_pages_behind(c, s)) continue;
        detach(c, s);
        return true;
    }
    return false;
}

static kv_node root_of(kv_cache *c, const kv_params *t) {
    kv_salt salt = kv_salt_of(t);
    kv_node root = kv_index_root(&c->index, salt.words, t->type);
    while (root == KV_NODE_NONE && kv_cache_forget_one(c)) root = kv_index_root(&c->index, salt.words, t->type);
    return root;
}

kv_sequence *kv_sequence_open(kv_cache *c, const kv_params *params, err *e) {
    CHECK(params->type < KV_TYPES && params->window <= c->config.n_context);
    CHECK(params->window ? params->keep < params->window : !params->keep);
    for (uint32_t i = 0; i < c->config.n_sequences; i++) {
        kv_sequence *s = &c->sequences[i];
        if (s->open) continue;
        s->open = true;
        s->params = *params;
        s->n_tokens = s->n_published = s->hit_tokens = 0;
        s->shared_bytes = 0;
        s->asked = false;
        s->cursor = KV_NODE_NONE;
        for (uint32_t g = 0; g < n_groups(c); g++) init_table(c, params, g, &s->tables[g]);
        if (params->share && c->config.max_entries) stand_at(c, s, root_of(c, params));
        c->counts.sequences++;
        return s;
    }
    err_set(e, ERR_BUSY, "%u %s in use, as many as there are", c->config.n_sequences,
            counted(c->config.n_sequences, "sequence is", "sequences are"));
    return NULL;
}

/* The i-th pages of a sequence, for the index; false when it has one of them already, as the start of another's: a
 * branch that went back and was remembered. */
static bool pages_at(const kv_cache *c, const kv_sequence *s, uint32_t i, uint8_t *pages[KV_GROUPS_MAX]) {
    bool new_there = true;
    for (uint32_t g = 0; g < n_groups(c); g++) {
        pages[g] = *entry(&s->tables[g], i);
        new_there &= !kv_pool_cached(c->pool, pages[g]);
    }
    return new_there;
}

/* The index gets a page back into memory that a sequence has computed again. */
static void give_pages(kv_cache *c, kv_node node, uint8_t *const *pages) {
    for (uint32_t g = 0; g < n_groups(c); g++) kv_pool_ref(c->pool, pages[g]);
    kv_index_set_pages(&c->index, node, pages);
}

/* The tokens of an unfinished page are worth remembering from half a page on: below, the page would mostly hold
 * nothing, and computing them again is cheap. A pin holds all of them. */
static kv_node publish_tail(kv_cache *c, kv_sequence *s, bool pin) {
    uint32_t n = s->n_tokens - s->n_published * KV_PAGE_TOKENS, common;
    if (n == 0 || n >= KV_PAGE_TOKENS || s->n_tokens > s->params.publish_tokens) return s->cursor;
    kv_node same = kv_index_child(&c->index, s->cursor, s->tail, n, &common);
    uint8_t *pages[KV_GROUPS_MAX];
    bool new_there = pages_at(c, s, s->n_published, pages), worth = pin || n >= KV_PAGE_TOKENS / 2;
    if (common == n) {
        const kv_index_node *node = kv_index_at(&c->index, same);
        if (node->n_tokens == n && !node->resident && new_there) give_pages(c, same, pages);
        /* A longer page that begins so is remembered by whoever filled it, unless this one must not leave. */
        if (node->resident && (node->n_tokens == n || pin)) return same;
        worth = pin && node->n_tokens > n;
    }
    if (!worth || !new_there) return s->cursor;
    kv_node leaf = kv_index_add(&c->index, s->cursor, s->tail, n, pages, KV_SPILL_NONE);
    return leaf == KV_NODE_NONE ? s->cursor : leaf;
}

void kv_sequence_close(kv_cache *c, kv_sequence *s, const kv_memory_of *memory) {
    if (!s || !s->open) return;
    if (memory && s->cursor != KV_NODE_NONE) {
        kv_node leaf = publish_tail(c, s, memory->pin);
        if (kv_index_at(&c->index, leaf)->depth > 0) kv_cache_remember(c, leaf, memory);
    }
    drop_pages_from(c, s, 0);
    detach(c, s);
    s->open = false;
    c->counts.sequences--;
    kv_cache_keep_limits(c); /* now that its pages are the index's alone */
}

/* ---- what the index knows ---- */

static void adopt(kv_cache *c, kv_sequence *s, const kv_index_node *node) {
    for (uint32_t g = 0; g < n_groups(c); g++) {
        kv_pool_ref(c->pool, node->pages[g]);
        put(c, s, g, node->pages[g]);
        s->shared_bytes += kv_pool_page_bytes(c->pool, node->pages[g]);
    }
}

/* One page further, in place of what the sequence has of that page itself. False when the index knows no more. */
static bool match_page(kv_cache *c, kv_sequence *s, const int32_t *tokens, uint32_t n_most) {
    uint32_t base = s->n_published * KV_PAGE_TOKENS, own = s->n_tokens - base, common;
    if (n_most <= base || own >= KV_PAGE_TOKENS) return false;
    uint32_t most = n_most - base < KV_PAGE_TOKENS ? n_most - base : KV_PAGE_TOKENS;
    kv_node child = kv_index_child(&c->index, s->cursor, tokens + base, most, &common);
    if (child == KV_NODE_NONE || common <= own || !kv_cache_reload(c, child)) return false;
    drop_pages_from(c, s, s->n_published);
    for (uint32_t g = 0; g < n_groups(c); g++) let_go_outside(c, s, g, base);
    adopt(c, s, kv_index_at(&c->index, child));
    s->n_tokens = base + common;
    if (common == KV_PAGE_TOKENS) {
        s->n_published++;
        stand_at(c, s, child);
        return true;
    }
    memcpy(s->tail, tokens + base, common * sizeof *tokens);
    kv_cache_touch(c, child);
    return false;
}

uint32_t kv_sequence_match_prefix(kv_cache *c, kv_sequence *s, const int32_t *tokens, uint32_t n_most) {
    uint32_t before = s->n_tokens;
    if (s->cursor == KV_NODE_NONE) return before;
    while (match_page(c, s, tokens, n_most)) {
    }
    if (!s->asked && s->n_tokens > before) c->counts.hits++;
    else if (!s->asked) c->counts.misses++;
    s->asked = true;
    if (s->n_tokens > before) {
        s->hit_tokens += s->n_tokens - before;
        c->counts.hit_tokens += s->n_tokens - before;
        if (s->n_tokens == s->n_published * KV_PAGE_TOKENS) kv_cache_touch(c, s->cursor);
    }
    return s->n_tokens;
}

/* ---- growing ---- */

/* A page that others hold too is theirs to read: this one gets its own copy to write on in. */
static bool own_last_page(kv_cache *c, kv_sequence *s, uint32_t group, err *e) {
    if (s->n_tokens % KV_PAGE_TOKENS == 0) return true;
    kv_table *t = &s->tables[group];
    uint8_t **at = entry(t, s->n_tokens / KV_PAGE_TOKENS);
    if (kv_pool_refs(c->pool, *at) == 1) return true;
    uint8_t *copy = kv_cache_take(c, group, s->params.type, e);
    if (!copy) return kv_pool_refs(c->pool, *at) == 2 && kv_cache_drop_page(c, group, *at);
    memcpy(copy, *at, kv_pool_page_bytes(c->pool, copy));
    kv_pool_unref(c->pool, *at);
    *at = copy;
    c->counts.copied_pages++;
    return true;
}

bool kv_sequence_prepare(kv_cache *c, kv_sequence *s, uint32_t n, err *e) {
    uint32_t wanted = kv_pages_for(s->n_tokens + n), before[KV_GROUPS_MAX];
    bool ok = true;
    CHECK(s->open && n > 0);
    for (uint32_t g = 0; g < n_groups(c); g++) {
        CHECK(n <= c->config.n_batch || !s->tables[g].ring_pages); /* a ring has room for one batch */
        let_go_outside(c, s, g, s->n_tokens);
        before[g] = s->tables[g].end;
    }
    for (uint32_t g = 0; ok && g < n_groups(c); g++) {
        ok = own_last_page(c, s, g, e);
        while (ok && s->tables[g].end < wanted) {
            uint8_t *page = kv_cache_take(c, g, s->params.type, e);
            if ((ok = page != NULL)) put(c, s, g, page);
        }
    }
    for (uint32_t g = 0; !ok && g < n_groups(c); g++) drop_from(c, &s->tables[g], before[g]);
    return ok;
}

/* The page just filled becomes the index's too; when another filled the same meanwhile, both use that one's. */
static void publish_page(kv_cache *c, kv_sequence *s) {
    uint8_t *pages[KV_GROUPS_MAX];
    uint32_t i = s->n_published, common;
    bool new_there = pages_at(c, s, i, pages);
    kv_node node = kv_index_child(&c->index, s->cursor, s->tail, KV_PAGE_TOKENS, &common);
    if (common == KV_PAGE_TOKENS && kv_index_at(&c->index, node)->resident) {
        for (uint32_t g = 0; g < n_groups(c); g++) {
            uint8_t *theirs = kv_index_at(&c->index, node)->pages[g];
            kv_pool_ref(c->pool, theirs);
            kv_pool_unref(c->pool, pages[g]);
            *entry(&s->tables[g], i) = theirs;
        }
    } else if (!new_there) {
        return;
    } else if (common == KV_PAGE_TOKENS) {
        give_pages(c, node, pages);
    } else {
        do node = kv_index_add(&c->index, s->cursor, s->tail, KV_PAGE_TOKENS, pages, KV_SPILL_NONE);
        while (node == KV_NODE_NONE && kv_cache_forget_one(c));
        if (node == KV_NODE_NONE) return; /* no room in the index: from here on it is this sequence's alone */
    }
    s->n_published++;
    stand_at(c, s, node);
}

void kv_sequence_commit(kv_cache *c, kv_sequence *s, const int32_t *tokens, uint32_t n) {
    CHECK(kv_pages_for(s->n_tokens + n) <= s->tables[0].end);
    for (uint32_t i = 0; i < n; i++) {
        uint32_t slot = s->n_tokens % KV_PAGE_TOKENS, page = s->n_tokens / KV_PAGE_TOKENS;
        s->tail[slot] = tokens[i];
        s->n_tokens++;
        if (slot + 1 == KV_PAGE_TOKENS && s->cursor != KV_NODE_NONE && page == s->n_published &&
            s->n_tokens <= s->params.publish_tokens)
            publish_page(c, s);
    }
}

/* Pages that the next token would see again and that are let go. */
static bool misses_pages(const kv_cache *c, const kv_sequence *s, uint32_t n_tokens) {
    for (uint32_t g = 0; g < n_groups(c); g++) {
        const kv_table *t = &s->tables[g];
        uint32_t page = first_seen(c, &s->params, g, n_tokens) / KV_PAGE_TOKENS;
        if (page < t->sink_pages) page = t->sink_pages;
        if (page < t->first && page < kv_pages_for(n_tokens)) return true;
    }
    return false;
}

uint32_t kv_sequence_rewind(kv_cache *c, kv_sequence *s, uint32_t n_tokens) {
    CHECK(n_tokens <= s->n_tokens);
    if (misses_pages(c, s, n_tokens)) n_tokens = 0;
    uint32_t page = n_tokens / KV_PAGE_TOKENS;
    bool tail_is_known = page == s->n_tokens / KV_PAGE_TOKENS || n_tokens % KV_PAGE_TOKENS == 0;
    while (s->cursor != KV_NODE_NONE && s->n_published > page) {
        const kv_index_node *node = kv_index_at(&c->index, s->cursor);
        memcpy(s->tail, node->tokens, sizeof s->tail); /* of the last page taken back, in the end */
        s->n_published--;
        tail_is_known = true;
        stand_at(c, s, node->parent);
    }
    if (!tail_is_known) detach(c, s); /* its page was never published: nor will it be */
    drop_pages_from(c, s, kv_pages_for(n_tokens));
    return s->n_tokens = n_tokens;
}

void kv_sequence_fork(kv_cache *c, const kv_sequence *from, kv_sequence *to) {
    const kv_salt a = kv_salt_of(&from->params), b = kv_salt_of(&to->params);
    CHECK(to->open && to->n_tokens == 0 && !memcmp(&a, &b, sizeof a));
    for (uint32_t g = 0; g < n_groups(c); g++) {
        const kv_table *from_table = &from->tables[g];
        kv_table *t = &to->tables[g];
        drop_from(c, t, 0);
        t->first = from_table->first;
        t->end = kv_pages_for(from->n_tokens); /* what is prepared beyond is from's to write in */
        for (uint32_t i = 0; i < t->end; i++) {
            if (i >= t->sink_pages && i < t->first) continue;
            *entry(t, i) = *entry(from_table, i);
            kv_pool_ref(c->pool, *entry(t, i));
            to->shared_bytes += kv_pool_page_bytes(c->pool, *entry(t, i));
        }
    }
    to->n_tokens = from->n_tokens;
    to->n_published = from->n_published;
    memcpy(to->tail, from->tail, sizeof to->tail);
    stand_at(c, to, from->cursor);
}

/* ---- readings ---- */

uint32_t kv_sequence_tokens(const kv_sequence *s) { return s->n_tokens; }
const kv_params *kv_sequence_params(const kv_sequence *s) { return &s->params; }

device_kv_view kv_sequence_view(const kv_cache *c, const kv_sequence *s, uint32_t group, uint32_t position) {
    const kv_table *t = &s->tables[group];
    return (device_kv_view){.pages = t->entries,
                            .sink_pages = t->sink_pages,
                            .ring_pages = t->ring_pages,
                            .position = position,
                            .first = first_seen(c, &s->params, group, position),
                            .keep = kept(c, &s->params, group),
                            .type = s->params.type};
}

void kv_sequence_read(const kv_cache *c, const kv_sequence *s, kv_sequence_counts *out) {
    *out = (kv_sequence_counts){.shared_bytes = s->shared_bytes, .hit_tokens = s->hit_tokens};
    for (uint32_t g = 0; g < n_groups(c); g++) {
        uint32_t n = held(&s->tables[g]);
        out->pages += n;
        out->bytes += n * kv_page_bytes(&c->config.shape, g, s->params.type);
    }
}

/* Of a rotating table only the kept pages stay: the others will be replaced, whoever shares them now. */
static bool stays(const kv_cache *c, const kv_params *params, uint32_t group, uint32_t i) {
    kv_table t = {0};
    init_table(c, params, group, &t);
    return !t.ring_pages || i < t.sink_pages;
}

uint32_t kv_cache_peek(const kv_cache *c, const kv_params *params, const int32_t *tokens, uint32_t n_most,
                       size_t *in_use_bytes) {
    kv_salt salt = kv_salt_of(params);
    kv_node n = params->share ? kv_index_find_root(&c->index, salt.words) : KV_NODE_NONE;
    uint32_t known = 0, common = KV_PAGE_TOKENS;
    *in_use_bytes = 0;
    while (n != KV_NODE_NONE && common == KV_PAGE_TOKENS && known < n_most) {
        uint32_t most = n_most - known < KV_PAGE_TOKENS ? n_most - known : KV_PAGE_TOKENS;
        n = kv_index_child(&c->index, n, tokens + known, most, &common);
        known += common;
        if (common < KV_PAGE_TOKENS) break;
        const kv_index_node *node = kv_index_at(&c->index, n);
        for (uint32_t g = 0; node->resident && g < n_groups(c); g++)
            if (stays(c, params, g, node->depth - 1) && kv_pool_refs(c->pool, node->pages[g]) > 1)
                *in_use_bytes += kv_pool_page_bytes(c->pool, node->pages[g]);
    }
    return known;
}

size_t kv_cache_bytes_for(const kv_cache *c, const kv_params *params, uint32_t n_tokens) {
    size_t bytes = 0;
    for (uint32_t g = 0; g < n_groups(c); g++) {
        kv_table t = {0};
        init_table(c, params, g, &t);
        uint32_t pages = kv_pages_for(n_tokens), most = t.sink_pages + t.ring_pages;
        if (t.ring_pages && pages > most) pages = most;
        bytes += pages * kv_page_bytes(&c->config.shape, g, params->type);
    }
    return bytes;
}

void kv_sequence_check(const kv_cache *c, const kv_sequence *s) {
    for (uint32_t g = 0; g < n_groups(c); g++) {
        const kv_table *t = &s->tables[g];
        CHECK(t->first <= t->end && t->end >= kv_pages_for(s->n_tokens));
        for (uint32_t i = 0; i < t->end; i++)
            if (i < t->sink_pages || i >= t->first) kv_pool_see(c->pool, *entry(t, i));
    }
    CHECK(s->n_published * KV_PAGE_TOKENS <= s->n_tokens);
    if (s->cursor == KV_NODE_NONE) return;
    const kv_index_node *node = kv_index_at(&c->index, s->cursor);
    CHECK(node->used && node->depth == s->n_published && (node->depth == 0 || node->resident));
}
