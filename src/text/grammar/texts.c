/* One of many texts: a tree by their bytes, so that however many there are, few places wait for the next byte. */
#include "text/grammar/internal.h"

enum { TREE_DEPTH_MAX = 128 };

/* ---- order: heapsort in place ---- */

static int order(str a, str b) {
    size_t n = a.len < b.len ? a.len : b.len;
    int o = n ? memcmp(a.data, b.data, n) : 0;
    return o ? o : a.len < b.len ? -1 : a.len > b.len;
}

static void sift(str *t, size_t i, size_t n) {
    for (size_t child; (child = 2 * i + 1) < n; i = child) {
        if (child + 1 < n && order(t[child], t[child + 1]) < 0) child++;
        if (order(t[i], t[child]) >= 0) return;
        str x = t[i];
        t[i] = t[child];
        t[child] = x;
    }
}

static void sort(str *t, size_t n) {
    for (size_t i = n / 2; i-- > 0;) sift(t, i, n);
    for (size_t end = n; end > 1;) {
        str x = t[0];
        t[0] = t[--end];
        t[end] = x;
        sift(t, 0, end);
    }
}

/* ---- the tree ---- */

/* Sorted texts that are alike in their first `at` bytes: what they share, then a branch for each next byte. */
static void emit_tree(grammar_builder *b, const str *t, size_t n, size_t at, int depth) {
    if (depth > TREE_DEPTH_MAX) grammar_fail(b, ERR_INVALID, "values begin alike in more than %d ways", TREE_DEPTH_MAX);
    if (!grammar_step(b)) return;
    size_t alike = at;
    while (alike < t[0].len && t[n - 1].len > alike && t[0].data[alike] == t[n - 1].data[alike]) alike++;
    grammar_text(b, (str){t[0].data + at, alike - at});
    if (n == 1) return;
    grammar_alternatives a = grammar_alternatives_begin(b);
    for (size_t i = 0, end; i < n && !b->failed; i = end) {
        end = i + 1;
        if (i) grammar_alternatives_next(b, &a);
        if (t[i].len == alike) continue; /* ends here */
        while (end < n && t[end].data[alike] == t[i].data[alike]) end++;
        emit_tree(b, t + i, end - i, alike, depth + 1);
    }
    grammar_alternatives_end(b, &a);
}

/* ---- gathering ---- */

void grammar_texts_begin(grammar_builder *b, grammar_texts *t) {
    *t = (grammar_texts){0};
    buf_init(&t->all, b->alloc, GRAMMAR_TEXT_BYTES_MAX);
}

/* What no memory was found for is no reason to take another way: the text is not whole. */
void grammar_texts_end(grammar_builder *b, grammar_texts *t) {
    if (t->all.failed) grammar_fail(b, ERR_MEMORY, "no memory to compile a grammar");
    buf_free(&t->all);
    alloc_free(b->alloc, t->ends, t->cap * sizeof *t->ends);
}

bool grammar_texts_next(grammar_builder *b, grammar_texts *t) {
    if (!grammar_step(b) ||
        !grammar_grow(b, (void **)&t->ends, &t->cap, t->n + 1, GRAMMAR_OPS_MAX, sizeof *t->ends, "texts"))
        return false;
    t->ends[t->n++] = t->all.len;
    return true;
}

bool grammar_texts_emit(grammar_builder *b, const grammar_texts *t, bool once) {
    str *list = alloc_bytes(b->alloc, (t->n + 1) * sizeof *list);
    size_t kept = 0, n = t->n;
    const char *data = t->all.data ? t->all.data : ""; /* of empty texts alone there are no bytes */
    if (!list || t->all.failed) grammar_fail(b, ERR_MEMORY, "no memory to compile a grammar");
    for (size_t i = 0, from = 0; i < n && !b->failed; from = t->ends[i++])
        list[i] = (str){data + from, t->ends[i] - from};
    if (!b->failed) sort(list, n);
    for (size_t i = 0, same; i < n && !b->failed; i += same) {
        for (same = 1; i + same < n && str_eq(list[i], list[i + same]);) same++;
        if (same == 1 || !once) list[kept++] = list[i];
    }
    if (kept && !b->failed) emit_tree(b, list, kept, 0, 0);
    else grammar_never(b, "nothing satisfies it: no value is left of 'enum' or 'const'");
    alloc_free(b->alloc, list, (t->n + 1) * sizeof *list);
    return !b->failed;
}
