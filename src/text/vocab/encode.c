/* The walk over a text: start token, plain stretches and special tokens in turn, end token. */
#include "text/vocab/internal.h"

text_scratch *text_scratch_new(const text_vocab *v, const base_alloc *alloc) {
    text_scratch *s = alloc_zeroed(alloc, sizeof *s);
    if (!s) return NULL;
    s->alloc = *alloc;
    buf_init(&s->word, &s->alloc, 4ull * ENCODE_TEXT_BYTES_MAX);
    if (v->kind != TEXT_BPE) return s;
    s->pcre_memory = pcre2_general_context_create(vocab_pcre_malloc, vocab_pcre_free, &s->alloc);
    if (s->pcre_memory) s->match = pcre2_match_data_create(1, s->pcre_memory);
    if (s->match) s->limits = pcre2_match_context_create(s->pcre_memory);
    if (s->limits) return s;
    text_scratch_free(s);
    return NULL;
}

void text_scratch_free(text_scratch *s) {
    if (!s) return;
    pcre2_match_context_free(s->limits);
    pcre2_match_data_free(s->match);
    pcre2_general_context_free(s->pcre_memory);
    alloc_free(&s->alloc, s->heap, s->heap_cap * sizeof *s->heap);
    alloc_free(&s->alloc, s->symbols, s->symbols_cap * sizeof *s->symbols);
    buf_free(&s->word);
    base_alloc owner = s->alloc;
    alloc_free(&owner, s, sizeof *s);
}

/* A search may step over its whole text a few times, no more. */
static void set_limits(text_scratch *s, size_t text_bytes) {
    if (!s->limits) return;
    size_t steps = 1000000 + 32 * text_bytes;
    pcre2_set_match_limit(s->limits, steps < UINT32_MAX ? (uint32_t)steps : UINT32_MAX);
    pcre2_set_heap_limit(s->limits, 65536); /* KiB */
}

static bool encode_plain(encoder *x, str text, bool with_prefix) {
    if (text.len == 0) return true;
    switch (x->vocab->kind) {
    case TEXT_SPM: return spm_encode(x, text, with_prefix);
    case TEXT_BPE: return bpe_encode(x, text);
    case TEXT_WPM: return wpm_encode(x, text);
    }
    return true;
}

static bool encode_all(encoder *x, str text, bool parse_special, bool quotes) {
    const text_vocab *v = x->vocab;
    bool with_prefix = v->add_space_prefix; /* at the start and behind each special token */
    size_t plain = 0, at = 0, quote = sizeof TEXT_QUOTE - 1;
    bool quoted = false;
    while (at < text.len) {
        if (quotes && str_starts((str){text.data + at, text.len - at}, STR(TEXT_QUOTE))) {
            if (!encode_plain(x, (str){text.data + plain, at - plain}, with_prefix)) return false;
            if (at > plain) with_prefix = false;
            plain = at += quote;
            quoted = true;
            continue;
        }
        if (quoted) { /* no special token begins here */
            quoted = false;
            at++;
            continue;
        }
        text_token t = special_at(v, (str){text.data + at, text.len - at}, parse_special);
        if (t == TEXT_NO_TOKEN) {
            at++;
            continue;
        }
        if (!encode_plain(x, (str){text.data + plain, at - plain}, with_prefix)) return false;
        encoder_push(x, t);
        with_prefix = v->add_space_prefix;
        at += vocab_text(v, t).len;
        at += special_space_behind(v, t, (str){text.data + at, text.len - at});
        plain = at;
    }
    if (plain >= text.len) return true;
    return encode_plain(x, (str){text.data + plain, text.len - plain}, with_prefix);
}

size_t text_find_control(const text_vocab *v, str text, size_t from) {
    for (size_t at = from; at < text.len; at++) {
        text_token t = special_at(v, (str){text.data + at, text.len - at}, true);
        if (t != TEXT_NO_TOKEN && v->types[t] == TEXT_CONTROL) return at;
    }
    return text.len;
}

static bool encode(const text_vocab *v, text_scratch *s, str text, bool add_special, bool parse_special, bool quotes,
                   text_token *tokens, size_t max_tokens, size_t *n, err *e) {
    encoder x = {.vocab = v, .scratch = s, .tokens = tokens, .max_tokens = max_tokens, .e = e};
    *n = 0;
    if (text.len > ENCODE_TEXT_BYTES_MAX) {
        *n = max_tokens + 1;
        return err_set(e, ERR_TOO_LARGE, "a text of %zu bytes cannot be tokenized; at most %d can", text.len,
                       ENCODE_TEXT_BYTES_MAX);
    }
    set_limits(s, text.len);
    if (add_special && text_vocab_adds_bos(v)) encoder_push(&x, v->bos);
    bool ok = encode_all(&x, text, parse_special, quotes);
    if (ok && add_special && v->add_eos && v->eos != TEXT_NO_TOKEN) encoder_push(&x, v->eos);
    *n = x.n;
    if (!ok || x.n <= max_tokens) return ok;
    return err_set(e, ERR_TOO_LARGE, "the text has %zu tokens, more than %zu", x.n, max_tokens);
}

bool text_encode(const text_vocab *v, text_scratch *s, str text, bool add_special, bool parse_special,
                 text_token *tokens, size_t max_tokens, size_t *n, err *e) {
    return encode(v, s, text, add_special, parse_special, false, tokens, max_tokens, n, e);
}

bool text_encode_quoted(const text_vocab *v, text_scratch *s, str text, bool add_special, text_token *tokens,
                        size_t max_tokens, size_t *n, err *e) {
    return encode(v, s, text, add_special, true, true, tokens, max_tokens, n, e);
}
