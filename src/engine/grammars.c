#include "engine/grammars.h"

#include <string.h>

#include "base/check.h"
#include "engine/internal.h"

struct engine_grammar {
    engine_grammar *next; /* the most recently used first */
    text_grammar *compiled;
    str source;
    size_t bytes; /* of this block: the source lies behind it */
    uint64_t hash;
    text_grammar_kind kind;
    uint32_t references;
};

/* ---- memory ---- */

static size_t region_bytes(size_t wanted) {
    size_t bytes = MEM_BUDDY_LEAST_BYTES;
    while (bytes * 2 <= wanted) bytes *= 2;
    return bytes;
}

typedef struct parts {
    void *region, *machine;
    uint8_t *state;
} parts;

static parts layout(const engine *en, mem_arena *a) {
    size_t bytes = region_bytes(en->config.grammar_bytes);
    parts p;
    p.region = mem_arena_take(a, bytes, 4096);
    p.state = mem_arena_take(a, mem_buddy_state_bytes(bytes), 64);
    p.machine = mem_arena_take(a, text_grammar_machine_bytes(en->token_index), 64);
    return p;
}

size_t engine_grammars_bytes(const engine *en) {
    mem_arena a;
    if (!en->token_index) return 0;
    mem_arena_measure(&a);
    layout(en, &a);
    return plat_vm_round(a.used);
}

static void *resize(void *ctx, void *ptr, size_t old_bytes, size_t new_bytes) {
    engine_grammars *x = ctx;
    plat_mutex_lock(&x->lock);
    void *p = NULL;
    if (!new_bytes)
        mem_buddy_give(&x->blocks, ptr);
    else if (ptr && mem_buddy_block_bytes(old_bytes) >= new_bytes)
        p = ptr;
    else if (new_bytes <= x->blocks.bytes && (p = mem_buddy_take(&x->blocks, new_bytes)) && ptr) {
        memcpy(p, ptr, old_bytes < new_bytes ? old_bytes : new_bytes);
        mem_buddy_give(&x->blocks, ptr);
    }
    plat_mutex_unlock(&x->lock);
    return p;
}

bool engine_grammars_load(engine *en, err *e) {
    engine_grammars *x = &en->grammars;
    if (!en->token_index) return true;
    if (!mem_arena_init(&x->arena, en->ledger, MEM_GRAMMAR, engine_grammars_bytes(en), false, e)) return false;
    mem_ledger_view v;
    mem_ledger_read(en->ledger, &v);
    mem_ledger_set_limit(en->ledger, MEM_GRAMMAR, v.rows[MEM_GRAMMAR].now_bytes); /* and no more, whatever comes */
    parts p = layout(en, &x->arena);
    CHECK(!x->arena.failed);
    mem_buddy_init(&x->blocks, p.region, region_bytes(en->config.grammar_bytes), p.state);
    x->machine = text_grammar_machine_init(p.machine, en->token_index);
    x->alloc = (base_alloc){resize, x};
    plat_mutex_init(&x->lock);
    return true;
}

/* ---- those that are kept ---- */

static void forget(engine_grammars *x, engine_grammar *g) {
    text_grammar_free(g->compiled);
    alloc_free(&x->alloc, g, g->bytes);
}

void engine_grammars_unload(engine *en) {
    engine_grammars *x = &en->grammars;
    if (!x->machine) return;
    mem_ledger_set_limit(en->ledger, MEM_GRAMMAR, UINT64_MAX);
    for (engine_grammar *g = x->first, *next; g; g = next) {
        next = g->next;
        CHECK(g->references == 0);
        forget(x, g);
    }
    CHECK(x->blocks.used_bytes == 0);
    mem_buddy_check(&x->blocks);
    plat_mutex_destroy(&x->lock);
    mem_arena_free(&x->arena);
    memset(x, 0, sizeof *x);
}

/* Takes the one used longest ago out of the list; NULL when all are in use. Called with the lock. */
static engine_grammar *unlink_oldest(engine_grammars *x) {
    CHECK(plat_mutex_held(&x->lock));
    engine_grammar **oldest = NULL;
    for (engine_grammar **at = &x->first; *at; at = &(*at)->next)
        if (!(*at)->references) oldest = at;
    if (!oldest) return NULL;
    engine_grammar *g = *oldest;
    *oldest = g->next;
    return g;
}

/* Forgets so many of the oldest; false when all are in use. */
static bool make_room(engine_grammars *x, unsigned n) {
    bool some = false;
    while (n--) {
        plat_mutex_lock(&x->lock);
        engine_grammar *g = unlink_oldest(x);
        plat_mutex_unlock(&x->lock);
        if (!g) break;
        forget(x, g);
        some = true;
    }
    return some;
}

/* With the lock: the one of this source, now first in the list, with a reference more. */
static engine_grammar *find(engine_grammars *x, text_grammar_kind kind, uint64_t hash, str source) {
    CHECK(plat_mutex_held(&x->lock));
    for (engine_grammar **at = &x->first; *at; at = &(*at)->next) {
        engine_grammar *g = *at;
        if (g->hash != hash || g->kind != kind || !str_eq(g->source, source)) continue;
        *at = g->next;
        g->next = x->first;
        x->first = g;
        g->references++;
        return g;
    }
    return NULL;
}

static engine_grammar *compile(engine *en, text_grammar_kind kind, str source, err *e) {
    engine_grammars *x = &en->grammars;
    size_t bytes = sizeof(engine_grammar) + source.len;
    engine_grammar *g = alloc_bytes(&x->alloc, bytes);
    if (!g)
        return err_set_memory(e, bytes, x->blocks.bytes, "no room for a grammar of %zu bytes", source.len), NULL;
    *g = (engine_grammar){.bytes = bytes, .kind = kind, .references = 1, .source = {(char *)(g + 1), source.len}};
    if (source.len) memcpy(g + 1, source.data, source.len);
    if ((g->compiled = text_grammar_new(kind, source, en->vocab, &x->alloc, e))) return g;
    alloc_free(&x->alloc, g, bytes);
    return NULL;
}

static bool no_room(engine_grammars *x, err *e) {
    plat_mutex_lock(&x->lock);
    bool in_use = x->first != NULL;
    plat_mutex_unlock(&x->lock);
    if (in_use) return err_set(e, ERR_BUSY, "running requests use all of the room for grammars (--grammar-cache)");
    return err_set(e, ERR_TOO_LARGE, "the grammar does not fit into the %zu bytes for grammars: raise --grammar-cache",
                   x->blocks.bytes);
}

static void count_tries(engine_grammars *x, unsigned tries) {
    plat_mutex_lock(&x->lock);
    x->tries += tries;
    plat_mutex_unlock(&x->lock);
}

engine_grammar *engine_grammar_get(engine *en, text_grammar_kind kind, str source, err *e) {
    engine_grammars *x = &en->grammars;
    if (!x->machine)
        return err_set(e, ERR_UNSUPPORTED, "the server was started without grammars: --grammar-cache is 0"), NULL;
    if (kind == TEXT_GRAMMAR_JSON_OBJECT) source = STR("");
    uint64_t hash = str_hash(source);
    err why = {0};
    plat_mutex_lock(&x->lock);
    engine_grammar *g = find(x, kind, hash, source);
    x->found += g != NULL;
    plat_mutex_unlock(&x->lock);
    if (g) return g;
    unsigned tries = 1; /* each time twice as many make way: what fits nowhere is not tried once for each of them */
    for (; !(g = compile(en, kind, source, &why)); tries++) { /* others wait for neither this nor the lock */
        if (why.code == ERR_MEMORY && make_room(x, 1u << (tries < 16 ? tries - 1 : 15))) continue;
        if (why.code == ERR_MEMORY) no_room(x, &why);
        if (e) *e = why;
        return count_tries(x, tries), NULL;
    }
    g->hash = hash;
    plat_mutex_lock(&x->lock);
    engine_grammar *same = find(x, kind, hash, source); /* another thread was faster */
    if (!same) {
        g->next = x->first;
        x->first = g;
    }
    x->compiled++;
    x->tries += tries;
    plat_mutex_unlock(&x->lock);
    if (same) forget(x, g);
    return same ? same : g;
}

engine_grammar *engine_grammar_hold(engine *en, engine_grammar *g) {
    if (!g) return NULL;
    plat_mutex_lock(&en->grammars.lock);
    g->references++;
    plat_mutex_unlock(&en->grammars.lock);
    return g;
}

void engine_grammar_release(engine *en, engine_grammar *g) {
    if (!g) return;
    plat_mutex_lock(&en->grammars.lock);
    CHECK(g->references > 0);
    g->references--;
    plat_mutex_unlock(&en->grammars.lock);
}

void engine_grammar_read(engine *en, engine_grammar_counts *out) {
    engine_grammars *x = &en->grammars;
    *out = (engine_grammar_counts){0};
    if (!x->machine) return;
    plat_mutex_lock(&x->lock);
    for (const engine_grammar *g = x->first; g; g = g->next) out->kept++, out->in_use += g->references > 0;
    out->bytes = x->blocks.used_bytes;
    out->compiled = x->compiled;
    out->found = x->found;
    out->tries = x->tries;
    plat_mutex_unlock(&x->lock);
}

/* ---- on the thread that steps ---- */

static bool say(text_grammar_verdict v, err *e) {
    if (v == TEXT_GRAMMAR_TOO_COMPLEX)
        return err_set(e, ERR_UNSUPPORTED,
                       "the grammar is too ambiguous: what may come next takes too long to find, or does not fit into "
                       "its memory");
    return err_set(e, ERR_UNSUPPORTED, "the grammar asks for text that this model's vocabulary cannot spell");
}

/* The cursor may be of a state that was forgotten: then the text is read again. */
static text_grammar_verdict catch_up(engine *en, const engine_grammar *g, text_grammar_cursor *c,
                                     const int32_t *tokens, uint32_t n_tokens) {
    text_grammar_machine *m = en->grammars.machine;
    if (c->grammar == g->compiled && text_grammar_known(m, c)) return TEXT_GRAMMAR_OK;
    uint64_t spent = c->grammar == g->compiled ? c->spent : 0;
    text_grammar_verdict v = text_grammar_begin(m, g->compiled, c);
    c->spent = spent;
    for (uint32_t i = 0; i < n_tokens && v == TEXT_GRAMMAR_OK; i++) v = text_grammar_accept(m, c, tokens[i]);
    return v;
}

const uint64_t *engine_grammar_mask(engine *en, const engine_grammar *g, text_grammar_cursor *c,
                                    const int32_t *tokens, uint32_t n_tokens, err *e) {
    const uint64_t *mask = NULL;
    text_grammar_verdict v = catch_up(en, g, c, tokens, n_tokens);
    if (v == TEXT_GRAMMAR_OK) v = text_grammar_mask(en->grammars.machine, c, &mask);
    if (v == TEXT_GRAMMAR_OK) return mask;
    say(v, e);
    return NULL;
}

bool engine_grammar_accept(engine *en, text_grammar_cursor *c, int32_t token) {
    text_grammar_machine *m = en->grammars.machine;
    text_grammar_verdict v = text_grammar_accept(m, c, token);
    if (text_vocab_is_eog(en->vocab, token)) return v != TEXT_GRAMMAR_OK || text_grammar_may_end(m, c);
    if (v != TEXT_GRAMMAR_OK) c->state = 0; /* what does not fit now is read again before the next mask */
    return false;
}
