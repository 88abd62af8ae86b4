/* Special tokens inside text, and the tokens that end a generation. */
#include "text/vocab/internal.h"

static bool is_special(const text_vocab *v, text_token t) {
    uint8_t type = v->types[t];
    return (type == TEXT_CONTROL || type == TEXT_USER_DEFINED || type == TEXT_UNKNOWN) && vocab_text(v, t).len > 0;
}

static int compare(str a, str b) {
    size_t n = a.len < b.len ? a.len : b.len;
    int c = memcmp(a.data, b.data, n);
    return c ? c : (a.len > b.len) - (a.len < b.len);
}

static void sift_down(const text_vocab *v, text_token *t, uint32_t i, uint32_t n) {
    for (uint32_t child; (child = 2 * i + 1) < n; i = child) {
        if (child + 1 < n && compare(vocab_text(v, t[child]), vocab_text(v, t[child + 1])) < 0) child++;
        if (compare(vocab_text(v, t[i]), vocab_text(v, t[child])) >= 0) return;
        text_token swap = t[i];
        t[i] = t[child];
        t[child] = swap;
    }
}

/* Heap sort: qsort may take memory of its own. */
static void sort_by_text(const text_vocab *v, text_token *t, uint32_t n) {
    for (uint32_t i = n / 2; i-- > 0;) sift_down(v, t, i, n);
    for (uint32_t end = n; end > 1;) {
        text_token swap = t[0];
        t[0] = t[--end];
        t[end] = swap;
        sift_down(v, t, 0, end);
    }
}

bool special_load(text_vocab *v, err *e) {
    uint32_t n = 0;
    for (uint32_t i = 0; i < v->n_tokens; i++) n += is_special(v, (text_token)i);
    v->specials = alloc_bytes(&v->alloc, n * sizeof *v->specials);
    if (!v->specials) return err_set(e, ERR_MEMORY, "no memory for %u special tokens", n);
    v->n_specials = n;
    for (uint32_t i = 0, at = 0; i < v->n_tokens; i++) {
        if (is_special(v, (text_token)i)) v->specials[at++] = (text_token)i;
    }
    sort_by_text(v, v->specials, n);
    for (uint32_t b = 0, at = 0; b < 256; b++) {
        v->special_first[b] = at;
        while (at < n && (unsigned char)v->pool[v->start[v->specials[at]]] == b) at++;
    }
    v->special_first[256] = n;
    /* Phi-3's special tokens swallow the white space behind them. Its files do not say so; its
     * placeholders tell it. */
    v->specials_eat_space = v->kind == TEXT_SPM && text_vocab_find(v, STR("<|placeholder1|>")) != TEXT_NO_TOKEN &&
                            text_vocab_find(v, STR("<|end|>")) != TEXT_NO_TOKEN;
    return true;
}

/* The first of specials [low, high), all equal in their first `depth` bytes, whose next byte is at least c;
 * a text that ends there counts as smaller than any. */
static uint32_t lower_bound(const text_vocab *v, uint32_t low, uint32_t high, size_t depth, int c) {
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        str text = vocab_text(v, v->specials[middle]);
        int byte = text.len > depth ? (unsigned char)text.data[depth] : -1;
        if (byte < c) low = middle + 1;
        else high = middle;
    }
    return low;
}

text_token special_at(const text_vocab *v, str text, bool parse_special) {
    unsigned char first = (unsigned char)text.data[0];
    uint32_t low = v->special_first[first], high = v->special_first[first + 1];
    text_token best = TEXT_NO_TOKEN;
    for (size_t depth = 1; low < high; depth++) {
        str shortest = vocab_text(v, v->specials[low]);
        if (shortest.len == depth) {
            text_token t = text_vocab_find(v, shortest); /* of equal texts, the one that counts */
            if (is_special(v, t) && (parse_special || v->types[t] == TEXT_USER_DEFINED)) best = t;
        }
        if (depth == text.len) break;
        int c = (unsigned char)text.data[depth];
        low = lower_bound(v, low, high, depth, c);
        high = lower_bound(v, low, high, depth, c + 1);
    }
    return best;
}

size_t special_space_behind(const text_vocab *v, text_token t, str behind) {
    if (!v->specials_eat_space || t == v->unk || t == v->bos || str_is(vocab_text(v, t), "<|endoftext|>")) return 0;
    size_t n = 0;
    while (n < behind.len && memchr(" \t\n\v\f\r", behind.data[n], 6)) n++;
    return n;
}

static void add_end(text_vocab *v, text_token t) {
    if (t != TEXT_NO_TOKEN && v->n_ends < VOCAB_ENDS_MAX && !text_vocab_is_eog(v, t)) v->ends[v->n_ends++] = t;
}

void special_load_eog(text_vocab *v, text_token eot) {
    static const char *const ends[] = {
        "<|eot_id|>", "<|eom_id|>", "<|end_of_text|>",   /* llama 3 */
        "<|im_end|>",                                    /* ChatML: qwen, yi, smollm */
        "<|endoftext|>",                                 /* gpt-2, phi, falcon, qwen */
        "<|return|>", "<|call|>",                        /* gpt-oss */
        "<end_of_turn>",                                 /* gemma */
        "<|eot|>",                                       /* llama 4 */
        "<|END_OF_TURN_TOKEN|>",                         /* command-r */
        "<\xEF\xBD\x9C\x65nd\xE2\x96\x81of\xE2\x96\x81sentence\xEF\xBD\x9C>", /* deepseek */
        "<|EOT|>", "<EOT>", "<end_of_utterance>",
    };
    add_end(v, v->eos);
    add_end(v, eot);
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
        text_token t = text_vocab_find(v, str_of(ends[i]));
        if (t == TEXT_NO_TOKEN) continue;
        if (v->types[t] != TEXT_USER_DEFINED) v->types[t] = TEXT_CONTROL; /* some files call them normal */
        add_end(v, t);
    }
    /* <|end|> ends a turn of phi-3, but only a channel of gpt-oss. */
    text_token end = text_vocab_find(v, STR("<|end|>"));
    if (end == TEXT_NO_TOKEN || text_vocab_find(v, STR("<|return|>")) != TEXT_NO_TOKEN) return;
    if (v->types[end] != TEXT_USER_DEFINED) v->types[end] = TEXT_CONTROL;
    add_end(v, end);
}
