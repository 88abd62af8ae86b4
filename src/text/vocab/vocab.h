/* text/vocab/ — a vocabulary and its tokenizer: text to token ids and back.
 *
 * Owns tables built once from a vocab_spec (which engine/ fills from a model file; this room does not
 * know files). Immutable after text_vocab_new: encode and decode may run on any thread, each with
 * its own scratch. Kinds: SentencePiece-style BPE with byte fallback ("llama"), byte-level BPE with a
 * pre-tokenizer ("gpt2"), WordPiece ("bert").
 */
#ifndef TEXT_VOCAB_VOCAB_H
#define TEXT_VOCAB_VOCAB_H

#include <stdbool.h>
#include <stdint.h>

#include "base/alloc.h"
#include "base/err.h"
#include "base/str.h"

typedef int32_t text_token;
enum { TEXT_NO_TOKEN = -1, TEXT_TOKEN_BYTES_MAX = 1024 };

typedef enum text_kind { TEXT_SPM, TEXT_BPE, TEXT_WPM } text_kind;

typedef enum text_token_type { /* as GGUF numbers them */
    TEXT_NORMAL = 1, TEXT_UNKNOWN = 2, TEXT_CONTROL = 3, TEXT_USER_DEFINED = 4, TEXT_UNUSED = 5, TEXT_BYTE = 6
} text_token_type;

typedef struct text_vocab_spec {
    str model; /* "llama", "gpt2", "bert" (tokenizer.ggml.model) */
    str pre;   /* tokenizer.ggml.pre; empty: default */
    uint32_t n_tokens;
    /* Iterators: called with ascending i, each once. */
    bool (*token)(void *ctx, uint32_t i, str *text, float *score, int *type);
    uint32_t n_merges;
    bool (*merge)(void *ctx, uint32_t i, str *pair); /* "left right" */
    void *ctx;
    text_token bos, eos, eot, unk, sep, pad, cls, mask; /* TEXT_NO_TOKEN when absent */
    int add_bos, add_eos, add_space_prefix;             /* −1: the kind's default */
} text_vocab_spec;

typedef struct text_vocab text_vocab;

/* Everything (hash tables, compiled pattern, token text) comes from alloc. Refuses unknown kinds and
 * pre-tokenizers by name, special ids beyond the vocabulary, tokens longer than
 * TEXT_TOKEN_BYTES_MAX, merges of unknown tokens, an empty vocabulary. */
text_vocab *text_vocab_new(const text_vocab_spec *spec, const base_alloc *alloc, err *e);
void text_vocab_free(text_vocab *v);
size_t text_vocab_bytes(const text_vocab *v); /* what it took from alloc */

uint32_t text_vocab_size(const text_vocab *v);
text_kind text_vocab_kind(const text_vocab *v);
str text_vocab_token(const text_vocab *v, text_token t); /* as stored (with ▁ or byte-level letters) */
text_token_type text_vocab_type(const text_vocab *v, text_token t);
text_token text_vocab_find(const text_vocab *v, str stored_text); /* TEXT_NO_TOKEN when absent */
text_token text_vocab_bos(const text_vocab *v);
text_token text_vocab_eos(const text_vocab *v);
/* Ends a generation: eos, eot, and control tokens that families use so (<|im_end|>, <|eot_id|>, <|end|>, …). */
bool text_vocab_is_eog(const text_vocab *v, text_token t);
/* Whether the model wants a start token in front of a prompt (add_bos_token, or the kind's default);
 * for bert also what encode adds with add_special: [CLS] … [SEP]. */
bool text_vocab_adds_bos(const text_vocab *v);

/* Scratch for one encode at a time, grown from its allocator and kept. */
typedef struct text_scratch text_scratch;
text_scratch *text_scratch_new(const text_vocab *v, const base_alloc *alloc);
void text_scratch_free(text_scratch *s);

/* Where text, from there on, first spells a control token; its length when it does not. */
size_t text_find_control(const text_vocab *v, str text, size_t from);

/* Text (any bytes; malformed UTF-8 is taken byte by byte) to ids. add_special: put bos (eos, cls, sep)
 * where the model wants them. parse_special: text that spells a control token becomes that token;
 * otherwise it is plain text. Fails with ERR_TOO_LARGE when more than max_tokens come out (*n then says how
 * many; the first max_tokens stand in tokens), ERR_MEMORY when scratch cannot grow. Linear-ish time: n log n. */
bool text_encode(const text_vocab *v, text_scratch *s, str text, bool add_special, bool parse_special,
                 text_token *tokens, size_t max_tokens, size_t *n, err *e);

/* The same with parse_special, but for what stands behind a TEXT_QUOTE: that is plain text even if it spells a control
 * token. The quote itself (U+FDD0, a character that no text has) becomes nothing. */
#define TEXT_QUOTE "\xEF\xB7\x90"
bool text_encode_quoted(const text_vocab *v, text_scratch *s, str text, bool add_special, text_token *tokens,
                        size_t max_tokens, size_t *n, err *e);

/* The bytes of one token, as they appear in running text (▁ → space, byte tokens → the byte); control
 * tokens give their text only when show_special. Up to TEXT_TOKEN_BYTES_MAX bytes; returns how many. */
size_t text_token_bytes(const text_vocab *v, text_token t, bool show_special, char out[TEXT_TOKEN_BYTES_MAX]);

/* Streaming decode: tokens in, whole UTF-8 characters out. Keeps at most 3 bytes back; bytes that can
 * never become a character come out as U+FFFD. */
typedef struct text_stream {
    const text_vocab *vocab;
    bool show_special;
    bool at_start; /* SPM: the prefix space of the first word is dropped */
    uint8_t n_held;
    char held[4];
} text_stream;

void text_stream_init(text_stream *s, const text_vocab *v, bool show_special, bool strip_first_space);
/* out must hold 3·TEXT_TOKEN_BYTES_MAX + 16 bytes. Returns bytes written (0 while a character is incomplete). */
size_t text_stream_push(text_stream *s, text_token t, char *out);
size_t text_stream_finish(text_stream *s, char *out); /* held bytes as U+FFFD */

#endif
