/* The shared fields of sampling that are lists: ids, words, texts, and the names of samplers. */
#include <stdio.h>
#include <string.h>

#include "api/core/core.h"
#include "api/core/request.h"

typedef struct list_reader {
    api_request *q;
    const fields_in *in;
    const char *name;
    uint32_t *count; /* of sampling.ids: of this list */
    int last_sampler;
    uint32_t samplers; /* a bit for each that is named */
} list_reader;

static bool each(list_reader *x, const char *name, str json, field_on_item *on_item, err *e) {
    fields_in items = {x->in->parser, x->in->texts, name, NULL};
    x->name = name;
    return !json.len || fields_each(&items, json, on_item, x, e);
}

/* ---- ids ---- */

static int32_t *ids_end(engine_sampling *s) { return s->ids + s->n_stop_ids + s->n_bad_ids + s->n_allowed; }

static bool take_ids(list_reader *x, const int32_t *ids, uint32_t n, err *e) {
    engine_sampling *s = &x->q->job.sampling;
    int32_t *end = ids_end(s);
    if (end + n > s->ids + SAMPLER_IDS_MAX)
        return err_set(e, ERR_INVALID,
                       "'%s' has too many entries: there is room for %d ids in 'stop_token_ids', 'bad_words' and "
                       "'allowed_token_ids'",
                       x->name, SAMPLER_IDS_MAX);
    memcpy(end, ids, n * sizeof *ids);
    *x->count += n;
    return true;
}

static bool read_id(const list_reader *x, const field_item *item, int32_t *id, err *e) {
    uint32_t n_vocab = text_vocab_size(engine_vocab(x->q->a->en));
    if (item->kind != JSON_INT || item->integer < 0 || item->integer >= n_vocab)
        return err_set(e, ERR_INVALID, "'%s' must be an array of token ids from 0 to %u", x->name, n_vocab - 1);
    *id = (int32_t)item->integer;
    return true;
}

static bool on_id(void *ctx, const field_item *item, err *e) {
    int32_t id;
    return read_id(ctx, item, &id, e) && take_ids(ctx, &id, 1, e);
}

/* Rising, each once. */
static bool on_allowed(void *ctx, const field_item *item, err *e) {
    list_reader *x = ctx;
    engine_sampling *s = &x->q->job.sampling;
    int32_t id, *first = s->ids + s->n_stop_ids + s->n_bad_ids;
    if (!read_id(x, item, &id, e)) return false;
    for (uint32_t i = 0; i < s->n_allowed; i++)
        if (first[i] == id) return true;
    if (!take_ids(x, &id, 1, e)) return false;
    int32_t *at = ids_end(s) - 1;
    for (; at > first && at[-1] > id; at--) *at = at[-1];
    *at = id;
    return true;
}

/* ---- words ---- */

enum { WORD_TOKENS_MAX = 64, BAD_WORD_BYTES = 255 };

typedef struct word_tokens {
    int32_t ids[1 + WORD_TOKENS_MAX]; /* how many, then they: as in engine_sampling.ids */
} word_tokens;

/* The tokens of a word behind a lead (" ", a line's end), without those of the lead where it has its own. */
static bool tokens_behind(api *a, str lead, bool keep_lead, str word, word_tokens *out, err *e) {
    char text[BAD_WORD_BYTES + 2];
    int32_t own[8];
    uint32_t n = 0, n_lead = 0, from = 0;
    memcpy(text, lead.data, lead.len);
    memcpy(text + lead.len, word.data, word.len);
    *out = (word_tokens){0};
    if (!api_tokenize_word(a, (str){text, lead.len + word.len}, out->ids + 1, WORD_TOKENS_MAX, &n, e)) return false;
    if (!keep_lead) {
        if (!api_tokenize_word(a, lead, own, 8, &n_lead, e)) return false;
        bool apart = n_lead < n && !memcmp(own, out->ids + 1, n_lead * sizeof *own);
        if (!apart) n = 0;
        else from = n_lead;
    }
    if (n) memmove(out->ids + 1, out->ids + 1 + from, (n - from) * sizeof *own);
    out->ids[0] = (int32_t)(n - from);
    return true;
}

/* As it stands alone, behind a blank, and within a text: most vocabularies have other tokens for each. */
static bool on_bad_word(void *ctx, const field_item *item, err *e) {
    list_reader *x = ctx;
    api *a = x->q->a;
    word_tokens ways[3];
    str word = item->text;
    if (item->kind != JSON_STRING || !word.len || word.len > BAD_WORD_BYTES)
        return err_set(e, ERR_INVALID, "'bad_words' must be an array of strings of 1 to %d bytes", BAD_WORD_BYTES);
    while (word.len > 1 && word.data[0] == ' ') word = (str){word.data + 1, word.len - 1};
    if (!tokens_behind(a, STR(""), true, word, &ways[0], e) || !tokens_behind(a, STR(" "), true, word, &ways[1], e) ||
        !tokens_behind(a, STR("\n"), false, word, &ways[2], e))
        return err_prefix(e, "'bad_words': ");
    for (int i = 0; i < 3; i++) {
        uint32_t n = (uint32_t)ways[i].ids[0];
        bool known = !n;
        for (int k = 0; k < i; k++) known |= !memcmp(ways[k].ids, ways[i].ids, (n + 1) * sizeof(int32_t));
        if (!known && !take_ids(x, ways[i].ids, n + 1, e)) return false;
    }
    return true;
}

static bool on_breaker(void *ctx, const field_item *item, err *e) {
    list_reader *x = ctx;
    engine_sampling *s = &x->q->job.sampling;
    if (item->kind != JSON_STRING || !item->text.len || item->text.len > SAMPLER_BREAKER_BYTES)
        return err_set(e, ERR_INVALID, "'dry_sequence_breakers' must be an array of strings of 1 to %d bytes",
                       SAMPLER_BREAKER_BYTES);
    if (s->n_breakers == SAMPLER_BREAKERS_MAX)
        return err_set(e, ERR_INVALID, "'dry_sequence_breakers' has more than %d strings", SAMPLER_BREAKERS_MAX);
    s->breakers[s->n_breakers].len = (uint8_t)item->text.len;
    memcpy(s->breakers[s->n_breakers++].text, item->text.data, item->text.len);
    return true;
}

/* ---- samplers ---- */

typedef struct sampler_name {
    char letter;
    const char *name, *other;
} sampler_name;

/* In the order of engine/sampler. */
static const sampler_name samplers[] = {{'e', "penalties", "repetition"},    {'d', "dry", "dry"},
                                        {'s', "top_n_sigma", "top_n_sigma"}, {'k', "top_k", "top_k"},
                                        {'y', "typ_p", "typical_p"},         {'p', "top_p", "top_p"},
                                        {'m', "min_p", "min_p"},             {'x', "xtc", "xtc"},
                                        {'t', "temperature", "temp"}};
enum { N_SAMPLERS = sizeof samplers / sizeof *samplers };

static bool take_sampler(list_reader *x, str name, err *e) {
    int found = -1;
    for (int i = 0; i < N_SAMPLERS; i++) {
        bool letter = name.len == 1 && name.data[0] == samplers[i].letter;
        if (letter || str_is(name, samplers[i].name) || str_is(name, samplers[i].other)) found = i;
    }
    if (found > x->last_sampler) {
        x->last_sampler = found;
        x->samplers |= 1u << found;
        return true;
    }
    return err_set(e, ERR_INVALID,
                   "'samplers' has '%.*s', which %s; those that there are come in the order penalties, dry, "
                   "top_n_sigma, top_k, typ_p, top_p, min_p, xtc, temperature",
                   (int)(name.len < 32 ? name.len : 32), name.data,
                   found < 0 ? "is not known" : "cannot come after the one before it");
}

static bool on_sampler(void *ctx, const field_item *item, err *e) {
    if (item->kind != JSON_STRING) return err_set(e, ERR_INVALID, "'samplers' must be an array of strings");
    return take_sampler(ctx, item->text, e);
}

/* What is not named is off, whatever its own field says. */
static void turn_off(engine_sampling *s, uint32_t named) {
    if (!(named & 1)) s->repeat_penalty = 1, s->frequency_penalty = s->presence_penalty = 0;
    if (!(named & 2)) s->dry_multiplier = 0;
    if (!(named & 4)) s->top_n_sigma = 0;
    if (!(named & 8)) s->top_k = 0;
    if (!(named & 16)) s->typical_p = 1;
    if (!(named & 32)) s->top_p = 1;
    if (!(named & 64)) s->min_p = 0;
    if (!(named & 128)) s->xtc_probability = 0;
    if (!(named & 256)) s->temperature = 1, s->dynatemp_range = 0;
}

/* llama.cpp's: an array of names, or a string of their letters. */
static bool read_samplers(list_reader *x, str json, err *e) {
    str letters;
    json_kind kind = json.len ? fields_kind(json) : JSON_NULL;
    if (kind == JSON_NULL || json.len <= 2) return true; /* [] and "" */
    if (kind == JSON_ARRAY_START) {
        if (!each(x, "samplers", json, on_sampler, e)) return false;
    } else {
        if (kind != JSON_STRING)
            return err_set(e, ERR_INVALID, "'samplers' must be an array of strings, or a string of letters");
        if (!fields_text(x->in, json, &letters, e)) return false;
        for (size_t i = 0; i < letters.len; i++)
            if (!take_sampler(x, (str){letters.data + i, 1}, e)) return false;
    }
    turn_off(&x->q->job.sampling, x->samplers);
    return true;
}

bool request_set_sampling(api_request *q, const fields_in *in, err *e) {
    const shared_values *v = &q->also;
    engine_sampling *s = &q->job.sampling;
    list_reader x = {.q = q, .in = in, .count = &s->n_stop_ids, .last_sampler = -1};
    static const str usual = STR("[\"\\n\",\":\",\"\\\"\",\"*\"]"); /* llama.cpp's */
    if (s->repeat_last_n < 0) s->repeat_last_n = SAMPLER_LAST_N_MAX;
    if (!each(&x, "stop_token_ids", v->stop_ids, on_id, e)) return false;
    x.count = &s->n_bad_ids;
    if (!each(&x, "bad_words", v->bad_words, on_bad_word, e)) return false;
    x.count = &s->n_allowed;
    if (!each(&x, "allowed_token_ids", v->allowed_ids, on_allowed, e)) return false;
    str breakers = v->dry_breakers.len ? v->dry_breakers : s->dry_multiplier > 0 ? usual : STR("");
    return each(&x, "dry_sequence_breakers", breakers, on_breaker, e) && read_samplers(&x, v->samplers, e);
}
