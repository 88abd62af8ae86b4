/* Prompts as tokens. */
#include "api/core/core.h"

enum { SCRATCH_KEEP_BYTES = 1 << 20 };

static bool have_scratch(api *a, err *e) {
    if (a->scratch || (a->scratch = text_scratch_new(engine_vocab(a->en), &a->heap.alloc))) return true;
    return err_set_memory(e, 0, mem_ledger_available(a->ledger), "no memory to tokenize in");
}

bool api_tokenize_part(api *a, str text, bool plain, int32_t *tokens, uint32_t most, uint32_t *n, err *e) {
    size_t n_tokens = 0;
    const text_vocab *v = engine_vocab(a->en);
    if (!have_scratch(a, e) || !text_encode(v, a->scratch, text, false, !plain, tokens, most, &n_tokens, e))
        return false;
    *n = (uint32_t)n_tokens;
    return true;
}

bool api_tokenize_word(api *a, str text, int32_t *tokens, uint32_t most, uint32_t *n, err *e) {
    return api_tokenize_part(a, text, false, tokens, most, n, e);
}

bool api_tokenize(api *a, str text, bool quoted, uint32_t *n, err *e) {
    if (!have_scratch(a, e)) return false;
    size_t n_tokens = 0;
    const text_vocab *v = engine_vocab(a->en);
    text_token bos = text_vocab_bos(v);
    bool begun =
        bos != TEXT_NO_TOKEN && text_vocab_token(v, bos).len && str_starts(text, text_vocab_token(v, bos));
    uint32_t most = engine_context(a->en);
    bool ok = quoted ? text_encode_quoted(v, a->scratch, text, !begun, a->tokens, most, &n_tokens, e)
                     : text_encode(v, a->scratch, text, !begun, true, a->tokens, most, &n_tokens, e);
    if (!ok && e->code == ERR_TOO_LARGE) err_set_tokens(e, n_tokens, most);
    *n = (uint32_t)n_tokens;
    if (text.len > SCRATCH_KEEP_BYTES / 16) { /* a rare large prompt must not stay paid for */
        text_scratch_free(a->scratch);
        a->scratch = NULL;
    }
    return ok;
}

bool api_add_token(api *a, const char *name, int64_t id, uint32_t *n, err *e) {
    uint32_t n_vocab = text_vocab_size(engine_vocab(a->en));
    if (id < 0 || id >= n_vocab)
        return err_set(e, ERR_INVALID, "'%s' as an array must hold token ids from 0 to %u", name,
                       n_vocab - 1);
    if (*n < engine_context(a->en)) a->tokens[*n] = (int32_t)id;
    ++*n;
    return true;
}

bool api_check_prompt(const api *a, uint32_t n, err *e) {
    return n <= engine_context(a->en) || err_set_tokens(e, n, engine_context(a->en));
}
