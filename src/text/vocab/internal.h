/* text/vocab/internal — what the files of the tokenizer share. Nobody outside src/text includes it.
 *
 * vocab.c   tables, token text, lookup      special.c      special tokens in text, end tokens
 * spm.c bpe.c wpm.c  one kind each          merge.c        the greedy merging that spm and bpe share
 * pretokenize.c  words of byte-level BPE    encode.c       the walk over a text; scratch
 * stream.c  ids back to text
 */
#ifndef TEXT_VOCAB_INTERNAL_H
#define TEXT_VOCAB_INTERNAL_H

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include "text/vocab/vocab.h"

enum {
    VOCAB_TOKENS_MAX = 1 << 24,
    VOCAB_PROBES_MAX = 4096,     /* a table in which a text lies farther from its place was made to be slow */
    VOCAB_ENDS_MAX = 32,
    VOCAB_PATTERNS_MAX = 6,      /* of one pre-tokenizer */
    ENCODE_TEXT_BYTES_MAX = 1 << 30,
    WPM_WORD_CHARACTERS_MAX = 100, /* longer words are unknown, as in BERT */
};

#define SPACE_MARK "\xE2\x96\x81" /* ▁ U+2581: a space in SentencePiece and WordPiece vocabularies */
enum { SPACE_MARK_BYTES = 3 };

typedef struct bpe_merge {
    text_token left, right, result;
} bpe_merge;

/* How a byte-level vocabulary wants text cut before merging. */
typedef struct pre_family {
    const char *names; /* blank-separated, as tokenizer.ggml.pre spells them */
    const char *patterns[VOCAB_PATTERNS_MAX];
    bool ignore_merges; /* a word that is a token is that token, whatever the merges say */
    bool add_bos;
} pre_family;

struct text_vocab {
    base_alloc owner;
    base_alloc alloc; /* over owner; counts into bytes */
    size_t bytes;

    text_kind kind;
    uint32_t n_tokens;
    char *pool; /* all token texts, back to back */
    size_t pool_cap;
    uint32_t *start; /* n_tokens + 1 places in pool */
    uint8_t *types;
    uint32_t longest_bytes;

    uint32_t *slots; /* hash of texts: id + 1, or 0; of tokens with equal text the last one */
    uint32_t slot_count; /* a power of two */

    text_token bos, eos, unk; /* for WordPiece bos is [CLS], eos is [SEP] */
    bool add_bos, add_eos, add_space_prefix;
    text_token ends[VOCAB_ENDS_MAX];
    uint32_t n_ends;

    text_token *specials; /* sorted by text; those starting with byte b are [special_first[b], special_first[b + 1]) */
    uint32_t n_specials;
    uint32_t special_first[257];
    bool specials_eat_space; /* phi-3: white space behind a special token belongs to it */

    text_token byte_token[256];

    uint32_t *order;      /* SPM: per token, smaller merges earlier (the score turned round; its bits until spm_load) */
    uint8_t joins[8192];  /* SPM: bit x·256 + y: some token has a character ending in x before one starting with y */

    bpe_merge *merges; /* BPE: by rank */
    uint32_t n_merges;
    uint32_t *merge_slots; /* hash of (left, right): rank + 1, or 0 */
    uint32_t merge_slot_count;
    const pre_family *pre;
    pcre2_general_context *pcre_memory;
    pcre2_code *patterns[VOCAB_PATTERNS_MAX];
    uint32_t n_patterns;
};

/* A piece of the word being merged; a doubly linked list inside an array. */
typedef struct merge_symbol {
    uint32_t prev, next, start;
    text_token token;
    uint32_t pair; /* what it and next become: SPM the token, BPE the rank; or MERGE_NONE */
} merge_symbol;

#define MERGE_NONE UINT32_MAX

struct text_scratch {
    base_alloc alloc;
    buf word;
    merge_symbol *symbols;
    size_t symbols_cap;
    uint64_t *heap; /* order << 32 | left symbol; the smallest on top */
    size_t n_heap, heap_cap;
    pcre2_general_context *pcre_memory;
    pcre2_match_data *match;
    pcre2_match_context *limits;
};

/* One text_encode on its way. */
typedef struct encoder {
    const text_vocab *vocab;
    text_scratch *scratch;
    text_token *tokens;
    size_t max_tokens, n; /* n may pass max_tokens: then encoding stops */
    err *e;
} encoder;

/* What does not fit is counted all the same. */
static inline void encoder_push(encoder *x, text_token t) {
    if (x->n < x->max_tokens) x->tokens[x->n] = t;
    x->n++;
}

/* vocab.c */
uint64_t vocab_mix(uint64_t h);
static inline str vocab_text(const text_vocab *v, text_token t) {
    return (str){v->pool + v->start[t], v->start[t + 1] - v->start[t]};
}
/* The next character of s, or its first byte when that starts none: how many bytes. */
static inline size_t text_character_bytes(str s) {
    uint32_t cp;
    int n = utf8_decode(s.data, s.len, &cp);
    return n > 0 ? (size_t)n : 1;
}
void *vocab_pcre_malloc(size_t bytes, void *alloc); /* PCRE2's view of a base_alloc */
void vocab_pcre_free(void *ptr, void *alloc);

/* special.c */
bool special_load(text_vocab *v, err *e);
void special_load_eog(text_vocab *v, text_token eot);
/* The longest special token that text starts with, or TEXT_NO_TOKEN. */
text_token special_at(const text_vocab *v, str text, bool parse_special);
size_t special_space_behind(const text_vocab *v, text_token t, str behind);

/* merge.c: symbols [0, n) of scratch, linked, with start and token set, are merged in place. */
bool merge_symbols(const text_vocab *v, text_scratch *s, str word, size_t n, err *e);
bool merge_reserve(text_scratch *s, size_t n, err *e);

/* One kind each: load what the tables lack; encode a stretch of plain text. */
bool spm_load(text_vocab *v, err *e);
bool spm_encode(encoder *x, str text, bool with_prefix);
uint32_t spm_pair(const text_vocab *v, str joined);
bool bpe_load(text_vocab *v, const text_vocab_spec *spec, err *e);
bool bpe_encode(encoder *x, str text);
uint32_t bpe_pair(const text_vocab *v, text_token left, text_token right);
bool wpm_encode(encoder *x, str text);

/* Byte-level letters: each byte is written as one printable character. */
uint32_t bpe_letter(uint8_t byte);
int bpe_letter_byte(uint32_t letter); /* −1: no letter of a byte */

/* pretokenize.c */
const pre_family *pretokenize_family(str name);
bool pretokenize_load(text_vocab *v, err *e);

typedef struct split_level {
    const char *piece, *at, *end; /* piece … end came from the level above; at … end is not yet handed out */
    const char *held;             /* end of a match at `at`, found when the gap before it was handed out */
} split_level;

typedef struct split {
    const text_vocab *vocab;
    text_scratch *scratch;
    str rest;
    bool malformed; /* the current piece is bytes that are no UTF-8: patterns do not see it */
    split_level levels[VOCAB_PATTERNS_MAX];
    err *e;
} split;

void split_begin(split *s, const text_vocab *v, text_scratch *scratch, str text, err *e);
int split_next(split *s, str *word); /* 1: a word; 0: no more; −1: failed */

#endif
