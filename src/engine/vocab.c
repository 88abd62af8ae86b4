/* From a GGUF's tokenizer keys to a text_vocab. */
#include "engine/internal.h"

typedef struct source {
    gguf_strings tokens, merges;
    const uint8_t *scores, *types;
} source;

static bool next_token(void *ctx, uint32_t i, str *text, float *score, int *type) {
    source *s = ctx;
    *score = s->scores ? gguf_f32_at(s->scores, i) : 0.0f;
    *type = s->types ? gguf_i32_at(s->types, i) : TEXT_NORMAL;
    return gguf_strings_next(&s->tokens, text);
}

static bool next_merge(void *ctx, uint32_t i, str *pair) {
    (void)i;
    return gguf_strings_next(&((source *)ctx)->merges, pair);
}

static bool token_id(const gguf *g, const char *key, uint32_t n_tokens, text_token *out, err *e) {
    uint32_t id = UINT32_MAX;
    *out = TEXT_NO_TOKEN;
    if (!gguf_u32(g, key, false, &id, e)) return false;
    if (id == UINT32_MAX) return true; /* absent, or the customary "none" */
    if (id >= n_tokens) return err_set(e, ERR_FORMAT, "%s is %u, beyond the vocabulary of %u", key, id, n_tokens);
    *out = (text_token)id;
    return true;
}

static bool flag(const gguf *g, const char *key, int *out, err *e) {
    bool value = false;
    *out = -1;
    if (!gguf_find(g, key)) return true;
    if (!gguf_bool(g, key, true, &value, e)) return false;
    *out = value;
    return true;
}

static bool read_arrays(const gguf *g, text_vocab_spec *spec, source *s, err *e) {
    uint64_t n_tokens = 0, n_merges = 0, n = 0;
    if (!gguf_string_array(g, "tokenizer.ggml.tokens", true, &s->tokens, &n_tokens, e)) return false;
    if (n_tokens == 0 || n_tokens > MODEL_MAX_VOCAB)
        return err_set(e, ERR_FORMAT, "tokenizer.ggml.tokens has %llu entries", (unsigned long long)n_tokens);
    if (!gguf_string_array(g, "tokenizer.ggml.merges", false, &s->merges, &n_merges, e)) return false;
    if (n_merges > 4 * (uint64_t)MODEL_MAX_VOCAB)
        return err_set(e, ERR_FORMAT, "tokenizer.ggml.merges has %llu entries", (unsigned long long)n_merges);
    if (!gguf_number_array(g, "tokenizer.ggml.scores", GGUF_F32, false, &s->scores, &n, e)) return false;
    if (s->scores && n != n_tokens)
        return err_set(e, ERR_FORMAT, "%llu token scores for %llu tokens", (unsigned long long)n,
                       (unsigned long long)n_tokens);
    if (!gguf_number_array(g, "tokenizer.ggml.token_type", GGUF_I32, false, &s->types, &n, e)) return false;
    if (s->types && n != n_tokens)
        return err_set(e, ERR_FORMAT, "%llu token types for %llu tokens", (unsigned long long)n,
                       (unsigned long long)n_tokens);
    spec->n_tokens = (uint32_t)n_tokens;
    spec->n_merges = (uint32_t)n_merges;
    return true;
}

text_vocab *engine_vocab_read(const gguf *g, const base_alloc *alloc, err *e) {
    source s = {0};
    text_vocab_spec spec = {.token = next_token, .merge = next_merge, .ctx = &s, .pre = STR("")};
    if (!gguf_str(g, "tokenizer.ggml.model", true, &spec.model, e) ||
        !gguf_str(g, "tokenizer.ggml.pre", false, &spec.pre, e))
        return NULL;
    if (!read_arrays(g, &spec, &s, e)) return NULL;
    if (str_is(spec.model, "gpt2") && spec.n_merges == 0)
        return err_set(e, ERR_FORMAT, "a byte-level BPE tokenizer without tokenizer.ggml.merges"), NULL;
    const struct {
        const char *key;
        text_token *out;
    } ids[] = {
        {"tokenizer.ggml.bos_token_id", &spec.bos},       {"tokenizer.ggml.eos_token_id", &spec.eos},
        {"tokenizer.ggml.eot_token_id", &spec.eot},       {"tokenizer.ggml.unknown_token_id", &spec.unk},
        {"tokenizer.ggml.seperator_token_id", &spec.sep}, {"tokenizer.ggml.padding_token_id", &spec.pad},
        {"tokenizer.ggml.cls_token_id", &spec.cls},       {"tokenizer.ggml.mask_token_id", &spec.mask},
    };
    for (size_t i = 0; i < sizeof ids / sizeof *ids; i++)
        if (!token_id(g, ids[i].key, spec.n_tokens, ids[i].out, e)) return NULL;
    if (!flag(g, "tokenizer.ggml.add_bos_token", &spec.add_bos, e) ||
        !flag(g, "tokenizer.ggml.add_eos_token", &spec.add_eos, e) ||
        !flag(g, "tokenizer.ggml.add_space_prefix", &spec.add_space_prefix, e))
        return NULL;
    return text_vocab_new(&spec, alloc, e);
}
