/* A vocabulary's tokens as a tree of bytes, in one array. */
#include "base/check.h"
#include "text/grammar/internal.h"

/* The tree on its way: brothers in the order of their bytes, linked. */
typedef struct twig {
    uint32_t child, brother;
    uint32_t token; /* the newest that ends here, + 1 */
    uint8_t byte;
} twig;

typedef struct growth {
    const base_alloc *alloc;
    twig *twigs;
    size_t n_twigs, cap;
    uint32_t *same; /* by token: the one before it of the same bytes, + 1 */
    err *e;
} growth;

static bool no_memory(err *e) { return err_set(e, ERR_MEMORY, "no memory for the index of the tokens"); }

static bool new_twig(growth *w, uint8_t byte, uint32_t brother, uint32_t *id) {
    if (w->n_twigs == INDEX_NODES_MAX)
        return err_set(w->e, ERR_UNSUPPORTED, "the vocabulary is too large for grammars: over %d bytes in all",
                       INDEX_NODES_MAX);
    if (!alloc_grow(w->alloc, (void **)&w->twigs, &w->cap, w->n_twigs + 1, sizeof *w->twigs))
        return no_memory(w->e);
    w->twigs[w->n_twigs] = (twig){.byte = byte, .brother = brother};
    *id = (uint32_t)w->n_twigs++;
    return true;
}

static bool add_token(growth *w, uint32_t root, uint32_t token, str bytes) {
    uint32_t at = root;
    for (size_t i = 0; i < bytes.len; i++) {
        uint8_t byte = (uint8_t)bytes.data[i];
        uint32_t before = 0, next = w->twigs[at].child, made;
        while (next && w->twigs[next].byte < byte) before = next, next = w->twigs[next].brother;
        if (!next || w->twigs[next].byte != byte) {
            if (!new_twig(w, byte, next, &made)) return false;
            *(before ? &w->twigs[before].brother : &w->twigs[at].child) = made;
            next = made;
        }
        at = next;
    }
    w->same[token] = w->twigs[at].token;
    w->twigs[at].token = token + 1;
    return true;
}

/* How many characters, when each stands for itself inside a JSON string; 0: not all do. */
static uint32_t plain_characters(str s) {
    uint32_t n = 0, cp;
    for (size_t i = 0; i < s.len; n++) {
        int bytes = utf8_decode(s.data + i, s.len - i, &cp);
        if (bytes <= 0 || cp < 0x20 || cp == '"' || cp == '\\') return 0;
        i += (size_t)bytes;
    }
    return n;
}

static str spelled(const text_vocab *v, uint32_t token, char text[TEXT_TOKEN_BYTES_MAX]) {
    text_token_type type = text_vocab_type(v, (text_token)token);
    bool shown = type == TEXT_NORMAL || type == TEXT_USER_DEFINED || type == TEXT_BYTE;
    if (!shown || text_vocab_is_eog(v, (text_token)token)) return STR("");
    return (str){text, text_token_bytes(v, (text_token)token, false, text)};
}

enum { ROOT_PLAIN = 1, ROOT_OTHERS = 2 }; /* twig 0 is none */

static bool grow(text_token_index *x, growth *w) {
    uint32_t unused;
    for (int i = 0; i < 3; i++)
        if (!new_twig(w, 0, 0, &unused)) return false;
    for (uint32_t t = 0; t < x->n_tokens; t++) {
        char text[TEXT_TOKEN_BYTES_MAX];
        str s = spelled(x->vocab, t, text);
        if (text_vocab_is_eog(x->vocab, (text_token)t)) x->ends[t / 64] |= UINT64_C(1) << (t % 64);
        if (!s.len) continue;
        uint32_t n = plain_characters(s);
        if (!add_token(w, n ? ROOT_PLAIN : ROOT_OTHERS, t, s)) return false;
        if (s.len > x->longest_bytes) x->longest_bytes = (uint32_t)s.len;
        if (n > x->longest_plain) x->longest_plain = n;
        for (uint32_t k = n; n && k < INDEX_PLAIN_STEPS; k++)
            x->plain[(size_t)k * x->n_words + t / 64] |= UINT64_C(1) << (t % 64);
        if (n) x->plain[(size_t)INDEX_PLAIN_STEPS * x->n_words + t / 64] |= UINT64_C(1) << (t % 64);
        x->n_order++;
    }
    return true;
}

static void flatten(text_token_index *x, const growth *w, uint32_t root, uint32_t first[256], uint32_t *n_order) {
    uint32_t path[TEXT_TOKEN_BYTES_MAX + 1], at[TEXT_TOKEN_BYTES_MAX + 1], depth = 0;
    path[0] = w->twigs[root].child;
    for (;;) {
        uint32_t t = path[depth];
        if (!t) {
            if (!depth--) return;
            x->nodes[at[depth]].skip = x->n_nodes & INDEX_NODES_MAX;
            path[depth] = w->twigs[path[depth]].brother;
            continue;
        }
        at[depth] = x->n_nodes;
        if (!depth) first[w->twigs[t].byte] = x->n_nodes + 1;
        x->nodes[x->n_nodes++] = (token_node){.byte = w->twigs[t].byte, .tokens = *n_order};
        for (uint32_t token = w->twigs[t].token; token; token = w->same[token - 1])
            x->order[(*n_order)++] = token - 1;
        path[++depth] = w->twigs[t].child;
    }
}

static bool build(text_token_index *x, err *e) {
    growth w = {.alloc = &x->alloc, .e = e};
    size_t same_bytes = x->n_tokens * sizeof *w.same;
    bool ok = (w.same = alloc_bytes(w.alloc, same_bytes)) ? grow(x, &w) : no_memory(e);
    if (ok) {
        x->nodes = alloc_bytes(&x->alloc, (w.n_twigs - 2) * sizeof *x->nodes); /* no roots; one behind the last */
        x->order = alloc_bytes(&x->alloc, x->n_order * sizeof *x->order);
        x->bytes = (w.n_twigs - 2) * sizeof *x->nodes;
        ok = x->nodes && x->order ? true : no_memory(e);
    }
    if (ok) {
        uint32_t n_order = 0;
        flatten(x, &w, ROOT_PLAIN, x->first_plain, &n_order);
        flatten(x, &w, ROOT_OTHERS, x->first_other, &n_order);
        x->nodes[x->n_nodes] = (token_node){.tokens = n_order};
        CHECK(n_order == x->n_order && x->n_nodes + 3 == w.n_twigs);
    }
    alloc_free(w.alloc, w.same, same_bytes);
    alloc_free(w.alloc, w.twigs, w.cap * sizeof *w.twigs);
    return ok;
}

static size_t plain_bytes(const text_token_index *x) {
    return (size_t)(INDEX_PLAIN_STEPS + 1) * x->n_words * sizeof *x->plain;
}

text_token_index *text_token_index_new(const text_vocab *v, const base_alloc *alloc, err *e) {
    text_token_index *x = alloc_zeroed(alloc, sizeof *x);
    if (!x) return no_memory(e), NULL;
    x->alloc = *alloc;
    x->vocab = v;
    x->n_tokens = text_vocab_size(v);
    x->n_words = (x->n_tokens + 63) / 64;
    x->ends = alloc_zeroed(alloc, x->n_words * sizeof *x->ends);
    x->plain = alloc_zeroed(alloc, plain_bytes(x));
    if (x->ends && x->plain ? build(x, e) : no_memory(e)) return x;
    text_token_index_free(x);
    return NULL;
}

void text_token_index_free(text_token_index *x) {
    if (!x) return;
    base_alloc alloc = x->alloc;
    alloc_free(&alloc, x->nodes, x->bytes);
    alloc_free(&alloc, x->order, x->n_order * sizeof *x->order);
    alloc_free(&alloc, x->ends, x->n_words * sizeof *x->ends);
    alloc_free(&alloc, x->plain, plain_bytes(x));
    alloc_free(&alloc, x, sizeof *x);
}
