/* Greedy merging: of all neighbours that some rule joins, the pair with the smallest order goes first, the
 * leftmost of equals; a heap keeps this n log n. A heap entry is not removed when its pair changes: it is
 * recognised by its order no longer being the order of what its symbol would merge into. */
#include "text/vocab/internal.h"

bool merge_reserve(text_scratch *s, size_t n, err *e) {
    if (alloc_grow(&s->alloc, (void **)&s->symbols, &s->symbols_cap, n, sizeof *s->symbols)) return true;
    return err_set_memory(e, n * sizeof *s->symbols, 0, "no memory to tokenize a stretch of %zu characters", n);
}

static bool heap_push(text_scratch *s, uint64_t entry) {
    if (!alloc_grow(&s->alloc, (void **)&s->heap, &s->heap_cap, s->n_heap + 1, sizeof *s->heap)) return false;
    size_t i = s->n_heap++;
    for (; i > 0 && s->heap[(i - 1) / 2] > entry; i = (i - 1) / 2) s->heap[i] = s->heap[(i - 1) / 2];
    s->heap[i] = entry;
    return true;
}

static uint64_t heap_pop(text_scratch *s) {
    uint64_t top = s->heap[0], last = s->heap[--s->n_heap];
    size_t i = 0;
    for (size_t child; (child = 2 * i + 1) < s->n_heap; i = child) {
        if (child + 1 < s->n_heap && s->heap[child + 1] < s->heap[child]) child++;
        if (s->heap[child] >= last) break;
        s->heap[i] = s->heap[child];
    }
    s->heap[i] = last;
    return top;
}

static uint32_t pair_order(const text_vocab *v, uint32_t pair) { return v->kind == TEXT_SPM ? v->order[pair] : pair; }

static bool look_at_pair(const text_vocab *v, text_scratch *s, str word, uint32_t left) {
    merge_symbol *l = &s->symbols[left];
    l->pair = MERGE_NONE;
    if (l->next == MERGE_NONE) return true;
    const merge_symbol *r = &s->symbols[l->next];
    size_t end = r->next == MERGE_NONE ? word.len : s->symbols[r->next].start;
    l->pair = v->kind == TEXT_SPM ? spm_pair(v, (str){word.data + l->start, end - l->start})
                                  : bpe_pair(v, l->token, r->token);
    return l->pair == MERGE_NONE || heap_push(s, (uint64_t)pair_order(v, l->pair) << 32 | left);
}

static bool merge_all(const text_vocab *v, text_scratch *s, str word, size_t n) {
    s->n_heap = 0;
    for (uint32_t i = 0; i < n; i++) {
        if (!look_at_pair(v, s, word, i)) return false;
    }
    while (s->n_heap) {
        uint64_t top = heap_pop(s);
        uint32_t left = (uint32_t)top;
        merge_symbol *l = &s->symbols[left];
        if (l->pair == MERGE_NONE || pair_order(v, l->pair) != top >> 32) continue;
        merge_symbol *r = &s->symbols[l->next];
        l->token = v->kind == TEXT_SPM ? (text_token)l->pair : v->merges[l->pair].result;
        l->next = r->next;
        r->pair = MERGE_NONE; /* gone: no entry of it is valid any more */
        if (l->next != MERGE_NONE) s->symbols[l->next].prev = left;
        if (!look_at_pair(v, s, word, left)) return false;
        if (l->prev != MERGE_NONE && !look_at_pair(v, s, word, l->prev)) return false;
    }
    return true;
}

bool merge_symbols(const text_vocab *v, text_scratch *s, str word, size_t n, err *e) {
    if (merge_all(v, s, word, n)) return true;
    return err_set_memory(e, s->heap_cap * 2 * sizeof *s->heap, 0, "no memory to tokenize a stretch of %zu bytes",
                          word.len);
}
