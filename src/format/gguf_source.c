/* A GGUF directory as a source, and its tokenizer.ggml.… keys as a tokenizer. */
#include "base/check.h"
#include "format/gguf_internal.h"

static const gguf *of(const format_source *s) { return (const gguf *)(const void *)s; }
_Static_assert(offsetof(gguf, source) == 0, "a source is where its directory begins");

static bool has(const format_source *s, const char *key) { return gguf_find(of(s), key) != NULL; }
static bool u32(const format_source *s, const char *key, bool required, uint32_t *out, err *e) {
    return gguf_u32(of(s), key, required, out, e);
}
/* Item i of an array, as a value by itself. */
static gguf_kv item_of(const gguf_kv *array, uint64_t i) {
    return (gguf_kv){.type = array->item_type, .data = array->data + i * gguf_scalar_bytes(array->item_type)};
}

static bool u32s(const format_source *s, const char *key, bool required, uint32_t n, uint32_t *out, err *e) {
    const gguf_kv *kv = gguf_find(of(s), key);
    if (!kv || kv->type != GGUF_ARRAY) {
        uint32_t all = 0;
        if (!gguf_u32(of(s), key, required, &all, e)) return false;
        for (uint32_t i = 0; kv && i < n; i++) out[i] = all;
        return true;
    }
    if (kv->n_items != n)
        return err_set(e, ERR_FORMAT, "key %s has %llu items; there must be %u", key, (unsigned long long)kv->n_items,
                       n);
    if (kv->item_type == GGUF_STRING || kv->item_type == GGUF_F32 || kv->item_type == GGUF_F64)
        return err_set(e, ERR_FORMAT, "key %s is an array of %s, not of integers", key, gguf_type_name(kv->item_type));
    for (uint32_t i = 0; i < n; i++) {
        gguf_kv item = item_of(kv, i);
        double value = gguf_number(&item);
        if (value < 0 || value > UINT32_MAX)
            return err_set(e, ERR_FORMAT, "key %s has item %u of %g, not from 0 to %u", key, i, value, UINT32_MAX);
        out[i] = (uint32_t)value;
    }
    return true;
}
static bool f32(const format_source *s, const char *key, bool required, float *out, err *e) {
    return gguf_f32(of(s), key, required, out, e);
}
static bool boolean(const format_source *s, const char *key, bool required, bool *out, err *e) {
    return gguf_bool(of(s), key, required, out, e);
}
static bool text(const format_source *s, const char *key, bool required, str *out, err *e) {
    return gguf_str(of(s), key, required, out, e);
}
static const format_tensor *tensor(const format_source *s, str name) { return gguf_find_tensor(of(s), name); }
static bool read_bytes(const format_source *s, const format_tensor *t, uint64_t offset, void *out, size_t bytes,
                       err *e) {
    return gguf_tensor_read(of(s), t, offset, out, bytes, e);
}

/* ---- the tokenizer ---- */

typedef struct arrays {
    gguf_strings tokens, merges;
    const uint8_t *scores, *types;
} arrays;
_Static_assert(sizeof(arrays) <= sizeof((format_tokenizer){0}.state), "the arrays' places fit");

static arrays *arrays_of(void *tokenizer) { return (arrays *)(void *)((format_tokenizer *)tokenizer)->state; }

static bool next_token(void *ctx, uint32_t i, str *out, float *score, int *type) {
    arrays *a = arrays_of(ctx);
    *score = a->scores ? gguf_f32_at(a->scores, i) : 0.0f;
    *type = a->types ? gguf_i32_at(a->types, i) : GGUF_TOKEN_NORMAL;
    return gguf_strings_next(&a->tokens, out);
}

static bool next_merge(void *ctx, uint32_t i, str *pair) {
    (void)i;
    return gguf_strings_next(&arrays_of(ctx)->merges, pair);
}

static bool token_id(const gguf *g, const char *key, uint32_t n_tokens, int32_t *out, err *e) {
    uint32_t id = UINT32_MAX;
    *out = FORMAT_NO_TOKEN;
    if (!gguf_u32(g, key, false, &id, e)) return false;
    if (id == UINT32_MAX) return true; /* absent, or the customary "none" */
    if (id >= n_tokens) return err_set(e, ERR_FORMAT, "%s is %u, beyond the vocabulary of %u", key, id, n_tokens);
    *out = (int32_t)id;
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

static bool read_arrays(const gguf *g, format_tokenizer *t, err *e) {
    arrays *a = arrays_of(t);
    uint64_t n_tokens = 0, n_merges = 0, n = 0;
    if (!gguf_string_array(g, "tokenizer.ggml.tokens", true, &a->tokens, &n_tokens, e)) return false;
    if (n_tokens == 0 || n_tokens > FORMAT_VOCAB_MAX)
        return err_set(e, ERR_FORMAT, "tokenizer.ggml.tokens has %llu entries", (unsigned long long)n_tokens);
    if (!gguf_string_array(g, "tokenizer.ggml.merges", false, &a->merges, &n_merges, e)) return false;
    if (n_merges > 4 * (uint64_t)FORMAT_VOCAB_MAX)
        return err_set(e, ERR_FORMAT, "tokenizer.ggml.merges has %llu entries", (unsigned long long)n_merges);
    if (!gguf_number_array(g, "tokenizer.ggml.scores", GGUF_F32, false, &a->scores, &n, e)) return false;
    if (a->scores && n != n_tokens)
        return err_set(e, ERR_FORMAT, "%llu token scores for %llu tokens", (unsigned long long)n,
                       (unsigned long long)n_tokens);
    if (!gguf_number_array(g, "tokenizer.ggml.token_type", GGUF_I32, false, &a->types, &n, e)) return false;
    if (a->types && n != n_tokens)
        return err_set(e, ERR_FORMAT, "%llu token types for %llu tokens", (unsigned long long)n,
                       (unsigned long long)n_tokens);
    t->n_tokens = (uint32_t)n_tokens;
    t->n_merges = (uint32_t)n_merges;
    return true;
}

static bool tokenizer(const format_source *s, format_tokenizer *t, err *e) {
    const gguf *g = of(s);
    *t = (format_tokenizer){.token = next_token, .merge = next_merge, .pre = STR("")};
    if (!gguf_str(g, "tokenizer.ggml.model", true, &t->model, e) ||
        !gguf_str(g, "tokenizer.ggml.pre", false, &t->pre, e) || !read_arrays(g, t, e))
        return false;
    if (str_is(t->model, "gpt2") && t->n_merges == 0)
        return err_set(e, ERR_FORMAT, "a byte-level BPE tokenizer without tokenizer.ggml.merges");
    const struct {
        const char *key;
        int32_t *out;
    } ids[] = {
        {"tokenizer.ggml.bos_token_id", &t->bos},       {"tokenizer.ggml.eos_token_id", &t->eos},
        {"tokenizer.ggml.eot_token_id", &t->eot},       {"tokenizer.ggml.unknown_token_id", &t->unk},
        {"tokenizer.ggml.seperator_token_id", &t->sep}, {"tokenizer.ggml.padding_token_id", &t->pad},
        {"tokenizer.ggml.cls_token_id", &t->cls},       {"tokenizer.ggml.mask_token_id", &t->mask},
    };
    for (size_t i = 0; i < sizeof ids / sizeof *ids; i++)
        if (!token_id(g, ids[i].key, t->n_tokens, ids[i].out, e)) return false;
    return flag(g, "tokenizer.ggml.add_bos_token", &t->add_bos, e) &&
           flag(g, "tokenizer.ggml.add_eos_token", &t->add_eos, e) &&
           flag(g, "tokenizer.ggml.add_space_prefix", &t->add_space_prefix, e);
}

void gguf_fill_source(gguf *g) {
    static const format_source_ops ops = {has, u32, u32s, f32, boolean, text, tensor, read_bytes, tokenizer};
    g->source = (format_source){&ops, g->tensors, g->n_tensors, g->tensor_bytes, g->n_parts + 1};
}
