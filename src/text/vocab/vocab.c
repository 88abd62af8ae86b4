#include "text/vocab/internal.h"

uint64_t vocab_mix(uint64_t h) {
    h ^= h >> 32;
    h *= 0xD6E8FEB86659FD93u;
    h ^= h >> 32;
    h *= 0xD6E8FEB86659FD93u;
    return h ^ h >> 32;
}

/* The vocabulary's own allocator: the owner's, counted. */
static void *counted_resize(void *ctx, void *ptr, size_t old_bytes, size_t new_bytes) {
    text_vocab *v = ctx;
    void *p = v->owner.resize(v->owner.ctx, ptr, old_bytes, new_bytes);
    if (p || new_bytes == 0) v->bytes += new_bytes - old_bytes;
    return p;
}

/* PCRE2 frees without naming a size, so each of its blocks carries one. */
enum { PCRE_HEAD_BYTES = 16 };

void *vocab_pcre_malloc(size_t bytes, void *alloc) {
    char *p = bytes > SIZE_MAX / 2 ? NULL : alloc_bytes(alloc, bytes + PCRE_HEAD_BYTES);
    if (!p) return NULL;
    memcpy(p, &bytes, sizeof bytes);
    return p + PCRE_HEAD_BYTES;
}

void vocab_pcre_free(void *ptr, void *alloc) {
    if (!ptr) return;
    size_t bytes;
    memcpy(&bytes, (char *)ptr - PCRE_HEAD_BYTES, sizeof bytes);
    alloc_free(alloc, (char *)ptr - PCRE_HEAD_BYTES, bytes + PCRE_HEAD_BYTES);
}

static bool kind_by_name(str model, text_kind *kind, err *e) {
    if (str_is(model, "llama")) return *kind = TEXT_SPM, true;
    if (str_is(model, "gpt2")) return *kind = TEXT_BPE, true;
    if (str_is(model, "bert")) return *kind = TEXT_WPM, true;
    int shown = model.len < 64 ? (int)model.len : 64;
    return err_set(e, ERR_UNSUPPORTED, "tokenizer \"%.*s\" is not known; known are llama, gpt2 and bert", shown,
                   model.data ? model.data : "");
}

static bool check_spec(const text_vocab_spec *spec, err *e) {
    if (spec->n_tokens == 0) return err_set(e, ERR_FORMAT, "the vocabulary is empty");
    if (spec->n_tokens > VOCAB_TOKENS_MAX) {
        return err_set(e, ERR_FORMAT, "%u tokens are more than %d", spec->n_tokens, VOCAB_TOKENS_MAX);
    }
    const struct { const char *name; text_token id; } ids[] = {
        {"bos", spec->bos}, {"eos", spec->eos}, {"eot", spec->eot}, {"unk", spec->unk},
        {"sep", spec->sep}, {"pad", spec->pad}, {"cls", spec->cls}, {"mask", spec->mask},
    };
    for (size_t i = 0; i < sizeof ids / sizeof *ids; i++) {
        if (ids[i].id == TEXT_NO_TOKEN || (ids[i].id >= 0 && (uint32_t)ids[i].id < spec->n_tokens)) continue;
        return err_set(e, ERR_FORMAT, "the %s token %d is outside the vocabulary of %u", ids[i].name, ids[i].id,
                       spec->n_tokens);
    }
    return true;
}

static bool insert_text(text_vocab *v, uint32_t id, err *e) {
    str text = vocab_text(v, (text_token)id);
    uint32_t mask = v->slot_count - 1, i = (uint32_t)vocab_mix(str_hash(text)) & mask;
    for (int probes = 0; v->slots[i]; i = (i + 1) & mask) {
        if (str_eq(vocab_text(v, (text_token)(v->slots[i] - 1)), text)) break;
        if (++probes > VOCAB_PROBES_MAX) return err_set(e, ERR_FORMAT, "token texts collide at token %u", id);
    }
    v->slots[i] = id + 1;
    return true;
}

static bool read_token(text_vocab *v, const text_vocab_spec *spec, uint32_t i, float *score, err *e) {
    str text = {NULL, 0};
    int type = TEXT_NORMAL;
    *score = 0;
    if (!spec->token(spec->ctx, i, &text, score, &type)) return err_set(e, ERR_FORMAT, "token %u cannot be read", i);
    if (text.len > TEXT_TOKEN_BYTES_MAX) {
        return err_set(e, ERR_FORMAT, "token %u has %zu bytes, more than %d", i, text.len, TEXT_TOKEN_BYTES_MAX);
    }
    if (type < 0 || type > TEXT_BYTE) return err_set(e, ERR_FORMAT, "token %u has type %d; types are 1 to 6", i, type);
    size_t end = v->start[i] + text.len;
    if (end > UINT32_MAX) return err_set(e, ERR_FORMAT, "the tokens' texts pass 4 GiB");
    if (!alloc_grow(&v->alloc, (void **)&v->pool, &v->pool_cap, end ? end : 1, 1)) {
        return err_set(e, ERR_MEMORY, "no memory for the texts of %u tokens", spec->n_tokens);
    }
    if (text.len) memcpy(v->pool + v->start[i], text.data, text.len);
    v->start[i + 1] = (uint32_t)end;
    v->types[i] = (uint8_t)(type ? type : TEXT_NORMAL); /* 0: the file says it does not know */
    if (text.len > v->longest_bytes) v->longest_bytes = (uint32_t)text.len;
    return true;
}

static bool alloc_tables(text_vocab *v, uint32_t n, err *e) {
    v->slot_count = 16;
    while (v->slot_count < n * 3ull / 2) v->slot_count *= 2;
    v->start = alloc_zeroed(&v->alloc, (n + 1) * sizeof *v->start);
    v->types = alloc_bytes(&v->alloc, n);
    v->slots = alloc_zeroed(&v->alloc, v->slot_count * sizeof *v->slots);
    if (v->kind == TEXT_SPM) v->order = alloc_bytes(&v->alloc, n * sizeof *v->order);
    v->n_tokens = n;
    if (v->start && v->types && v->slots && (v->order || v->kind != TEXT_SPM)) return true;
    return err_set(e, ERR_MEMORY, "no memory for a vocabulary of %u tokens", n);
}

/* order holds the scores' bits until spm_load turns them into an order. */
static bool read_tokens(text_vocab *v, const text_vocab_spec *spec, err *e) {
    for (uint32_t i = 0; i < v->n_tokens; i++) {
        float score;
        if (!read_token(v, spec, i, &score, e)) return false;
        if (v->order) memcpy(&v->order[i], &score, sizeof score);
    }
    size_t used = v->start[v->n_tokens];
    char *exact = used ? v->alloc.resize(v->alloc.ctx, v->pool, v->pool_cap, used) : NULL;
    if (exact) {
        v->pool = exact;
        v->pool_cap = used;
    }
    for (uint32_t i = 0; i < v->n_tokens; i++) {
        if (v->start[i + 1] > v->start[i] && !insert_text(v, i, e)) return false;
    }
    return true;
}

static text_token first_known(text_token a, text_token b, text_token c) {
    return a != TEXT_NO_TOKEN ? a : b != TEXT_NO_TOKEN ? b : c;
}

/* Files leave out what their kind always has. */
static void choose_specials(text_vocab *v, const text_vocab_spec *spec) {
    bool wpm = v->kind == TEXT_WPM, spm = v->kind == TEXT_SPM;
    v->bos = spec->bos;
    v->eos = spec->eos;
    v->unk = spec->unk;
    if (wpm) {
        v->bos = first_known(spec->cls, spec->bos, text_vocab_find(v, STR("[CLS]")));
        v->eos = first_known(spec->sep, spec->eos, text_vocab_find(v, STR("[SEP]")));
        v->unk = first_known(spec->unk, text_vocab_find(v, STR("[UNK]")), TEXT_NO_TOKEN);
    } else if (spm) {
        v->bos = first_known(spec->bos, text_vocab_find(v, STR("<s>")), TEXT_NO_TOKEN);
        v->eos = first_known(spec->eos, text_vocab_find(v, STR("</s>")), TEXT_NO_TOKEN);
        v->unk = first_known(spec->unk, text_vocab_find(v, STR("<unk>")), TEXT_NO_TOKEN);
    }
    v->add_bos = spec->add_bos >= 0 ? spec->add_bos > 0 : spm || wpm || (v->pre && v->pre->add_bos);
    v->add_eos = spec->add_eos >= 0 ? spec->add_eos > 0 : wpm;
    v->add_space_prefix = spm && spec->add_space_prefix != 0;
}

static bool load(text_vocab *v, const text_vocab_spec *spec, err *e) {
    if (v->kind == TEXT_BPE && !(v->pre = pretokenize_family(spec->pre))) {
        int shown = spec->pre.len < 64 ? (int)spec->pre.len : 64;
        return err_set(e, ERR_UNSUPPORTED, "pre-tokenizer \"%.*s\" is not known", shown, spec->pre.data);
    }
    if (!alloc_tables(v, spec->n_tokens, e) || !read_tokens(v, spec, e)) return false;
    choose_specials(v, spec);
    special_load_eog(v, spec->eot);
    if (!special_load(v, e)) return false;
    if (v->kind == TEXT_SPM) return spm_load(v, e);
    return v->kind == TEXT_WPM || bpe_load(v, spec, e);
}

text_vocab *text_vocab_new(const text_vocab_spec *spec, const base_alloc *alloc, err *e) {
    text_kind kind = TEXT_SPM;
    if (!kind_by_name(spec->model, &kind, e) || !check_spec(spec, e)) return NULL;
    text_vocab *v = alloc_zeroed(alloc, sizeof *v);
    if (!v) return err_set(e, ERR_MEMORY, "no memory for a vocabulary"), NULL;
    v->owner = *alloc;
    v->alloc = (base_alloc){counted_resize, v};
    v->bytes = sizeof *v;
    v->kind = kind;
    if (load(v, spec, e)) return v;
    text_vocab_free(v);
    return NULL;
}

void text_vocab_free(text_vocab *v) {
    if (!v) return;
    for (uint32_t i = 0; i < v->n_patterns; i++) pcre2_code_free(v->patterns[i]);
    pcre2_general_context_free(v->pcre_memory);
    alloc_free(&v->alloc, v->merge_slots, v->merge_slot_count * sizeof *v->merge_slots);
    alloc_free(&v->alloc, v->merges, v->n_merges * sizeof *v->merges);
    alloc_free(&v->alloc, v->order, v->n_tokens * sizeof *v->order);
    alloc_free(&v->alloc, v->specials, v->n_specials * sizeof *v->specials);
    alloc_free(&v->alloc, v->slots, v->slot_count * sizeof *v->slots);
    alloc_free(&v->alloc, v->types, v->n_tokens);
    alloc_free(&v->alloc, v->start, (v->n_tokens + 1) * sizeof *v->start);
    alloc_free(&v->alloc, v->pool, v->pool_cap);
    base_alloc owner = v->owner;
    alloc_free(&owner, v, sizeof *v);
}

size_t text_vocab_bytes(const text_vocab *v) { return v->bytes; }
uint32_t text_vocab_size(const text_vocab *v) { return v->n_tokens; }
text_kind text_vocab_kind(const text_vocab *v) { return v->kind; }
text_token text_vocab_bos(const text_vocab *v) { return v->bos; }
text_token text_vocab_eos(const text_vocab *v) { return v->eos; }
bool text_vocab_adds_bos(const text_vocab *v) { return v->add_bos && v->bos != TEXT_NO_TOKEN; }

static bool in_range(const text_vocab *v, text_token t) { return t >= 0 && (uint32_t)t < v->n_tokens; }

str text_vocab_token(const text_vocab *v, text_token t) { return in_range(v, t) ? vocab_text(v, t) : STR(""); }

text_token_type text_vocab_type(const text_vocab *v, text_token t) {
    return in_range(v, t) ? (text_token_type)v->types[t] : TEXT_UNKNOWN;
}

text_token text_vocab_find(const text_vocab *v, str text) {
    if (text.len == 0 || text.len > v->longest_bytes) return TEXT_NO_TOKEN;
    uint32_t mask = v->slot_count - 1;
    for (uint32_t i = (uint32_t)vocab_mix(str_hash(text)) & mask; v->slots[i]; i = (i + 1) & mask) {
        text_token t = (text_token)(v->slots[i] - 1);
        if (str_eq(vocab_text(v, t), text)) return t;
    }
    return TEXT_NO_TOKEN;
}

bool text_vocab_is_eog(const text_vocab *v, text_token t) {
    for (uint32_t i = 0; i < v->n_ends; i++) {
        if (v->ends[i] == t) return true;
    }
    return false;
}
