/* Byte-level BPE ("gpt2"): text is cut into words, each byte of a word is a token, ranked merges join them. */
#include "text/vocab/internal.h"

/* Printable Latin-1 stands for itself; the other 68 bytes are written as U+0100 and following, in order. */
uint32_t bpe_letter(uint8_t byte) {
    if (byte <= 32) return 256u + byte;
    if (byte >= 127 && byte <= 160) return 256u + 33 + byte - 127;
    return byte == 173 ? 323u : byte;
}

int bpe_letter_byte(uint32_t letter) {
    if (letter > 323) return -1;
    if (letter == 323) return 173;
    if (letter >= 289) return (int)letter - 289 + 127;
    if (letter >= 256) return (int)letter - 256;
    return bpe_letter((uint8_t)letter) == letter ? (int)letter : -1;
}

static uint64_t pair_hash(text_token left, text_token right) {
    return vocab_mix((uint64_t)(uint32_t)left << 32 | (uint32_t)right);
}

uint32_t bpe_pair(const text_vocab *v, text_token left, text_token right) {
    if (left == TEXT_NO_TOKEN || right == TEXT_NO_TOKEN) return MERGE_NONE;
    uint32_t mask = v->merge_slot_count - 1;
    for (uint32_t i = (uint32_t)pair_hash(left, right) & mask;; i = (i + 1) & mask) {
        uint32_t rank = v->merge_slots[i] - 1; /* an empty slot gives MERGE_NONE */
        if (rank == MERGE_NONE) return rank;
        if (v->merges[rank].left == left && v->merges[rank].right == right) return rank;
    }
}

/* Of equal pairs the first one counts, as in llama.cpp, whose files these are (in HF tokenizers it is the last). */
static bool insert_merge(text_vocab *v, uint32_t rank, err *e) {
    const bpe_merge *m = &v->merges[rank];
    uint32_t mask = v->merge_slot_count - 1, i = (uint32_t)pair_hash(m->left, m->right) & mask;
    for (int probes = 0; v->merge_slots[i]; i = (i + 1) & mask) {
        const bpe_merge *other = &v->merges[v->merge_slots[i] - 1];
        if (other->left == m->left && other->right == m->right) return true;
        if (++probes > VOCAB_PROBES_MAX) return err_set(e, ERR_FORMAT, "merges collide at merge %u", rank);
    }
    v->merge_slots[i] = rank + 1;
    return true;
}

static bool read_merge(text_vocab *v, const text_vocab_spec *spec, uint32_t rank, err *e) {
    str pair;
    if (!spec->merge(spec->ctx, rank, &pair)) return err_set(e, ERR_FORMAT, "merge %u cannot be read", rank);
    if (pair.len > 2 * TEXT_TOKEN_BYTES_MAX + 1)
        return err_set(e, ERR_FORMAT, "merge %u has %zu bytes", rank, pair.len);
    const char *space = pair.len > 1 ? memchr(pair.data + 1, ' ', pair.len - 1) : NULL;
    if (!space) return err_set(e, ERR_FORMAT, "merge %u is not two tokens with a space between", rank);
    str left = {pair.data, (size_t)(space - pair.data)}, right = {space + 1, pair.len - left.len - 1};
    char joined[2 * TEXT_TOKEN_BYTES_MAX + 1];
    memcpy(joined, left.data, left.len);
    if (right.len) memcpy(joined + left.len, right.data, right.len);
    bpe_merge *m = &v->merges[rank];
    m->left = text_vocab_find(v, left);
    m->right = text_vocab_find(v, right);
    m->result = text_vocab_find(v, (str){joined, left.len + right.len});
    if (m->left == TEXT_NO_TOKEN || m->right == TEXT_NO_TOKEN || m->result == TEXT_NO_TOKEN) {
        return err_set(e, ERR_FORMAT, "merge %u names or makes a token that is not in the vocabulary", rank);
    }
    return true;
}

static void load_byte_tokens(text_vocab *v) {
    for (int b = 0; b < 256; b++) {
        char letter[4];
        int n = utf8_encode(bpe_letter((uint8_t)b), letter);
        v->byte_token[b] = text_vocab_find(v, (str){letter, (size_t)n});
    }
}

bool bpe_load(text_vocab *v, const text_vocab_spec *spec, err *e) {
    if (spec->n_merges > VOCAB_TOKENS_MAX)
        return err_set(e, ERR_FORMAT, "%u merges are more than %d", spec->n_merges, VOCAB_TOKENS_MAX);
    v->merge_slot_count = 16;
    while (v->merge_slot_count < spec->n_merges * 3ull / 2) v->merge_slot_count *= 2;
    v->merge_slots = alloc_zeroed(&v->alloc, v->merge_slot_count * sizeof *v->merge_slots);
    v->merges = alloc_bytes(&v->alloc, spec->n_merges * sizeof *v->merges);
    if (v->merges) v->n_merges = spec->n_merges;
    if (!v->merge_slots || !v->merges) return err_set(e, ERR_MEMORY, "no memory for %u merges", spec->n_merges);
    for (uint32_t i = 0; i < spec->n_merges; i++) {
        if (!read_merge(v, spec, i, e) || !insert_merge(v, i, e)) return false;
    }
    load_byte_tokens(v);
    return pretokenize_load(v, e);
}

/* The token that a whole word is, if it is one. */
static text_token find_word(encoder *x, str word) {
    buf *letters = &x->scratch->word;
    buf_clear(letters);
    if (word.len > x->vocab->longest_bytes) return TEXT_NO_TOKEN;
    for (size_t i = 0; i < word.len; i++) {
        char letter[4];
        buf_append(letters, letter, (size_t)utf8_encode(bpe_letter((uint8_t)word.data[i]), letter));
    }
    text_token t = letters->failed ? TEXT_NO_TOKEN : text_vocab_find(x->vocab, buf_str(letters));
    return t != TEXT_NO_TOKEN && x->vocab->types[t] == TEXT_CONTROL ? TEXT_NO_TOKEN : t;
}

static bool encode_word(encoder *x, str word) {
    const text_vocab *v = x->vocab;
    text_scratch *s = x->scratch;
    if (word.len > 1 && v->pre->ignore_merges) {
        text_token whole = find_word(x, word);
        if (s->word.failed) return err_set(x->e, ERR_MEMORY, "no memory to tokenize a word of %zu bytes", word.len);
        if (whole != TEXT_NO_TOKEN) return encoder_push(x, whole), true;
    }
    if (!merge_reserve(s, word.len, x->e)) return false;
    for (uint32_t i = 0; i < word.len; i++) {
        s->symbols[i] = (merge_symbol){.prev = i ? i - 1 : MERGE_NONE, .next = i + 1, .start = i,
                                       .token = v->byte_token[(unsigned char)word.data[i]]};
    }
    s->symbols[word.len - 1].next = MERGE_NONE;
    if (word.len > 1 && !merge_symbols(v, s, word, word.len, x->e)) return false;
    for (uint32_t i = 0; i != MERGE_NONE; i = s->symbols[i].next) {
        text_token t = s->symbols[i].token != TEXT_NO_TOKEN ? s->symbols[i].token : v->unk;
        if (t != TEXT_NO_TOKEN) encoder_push(x, t);
    }
    return true;
}

bool bpe_encode(encoder *x, str text) {
    split words;
    split_begin(&words, x->vocab, x->scratch, text, x->e);
    str word;
    int more;
    while ((more = split_next(&words, &word)) != 0) {
        if (more < 0 || !encode_word(x, word)) return false;
    }
    return true;
}
