/* Sessions and the batch step. */
#include <string.h>

#include "base/check.h"
#include "engine/internal.h"
#include "plat/kernel.h"

const text_vocab *engine_vocab(const engine *en) { return en->vocab; }
const model_desc *engine_model_desc(const engine *en) { return &en->desc; }
const char *engine_model_name(const engine *en) { return en->name; }

str engine_model_stem(const engine *en) {
    const char *path = en->config.model_path ? en->config.model_path : "";
    const char *slash = strrchr(path, '/'), *dot;
    str stem = str_of(slash ? slash + 1 : path);
    dot = stem.len ? strrchr(stem.data, '.') : NULL;
    if (dot && dot > stem.data) stem.len = (size_t)(dot - stem.data);
    return stem;
}
const engine_about *engine_about_file(const engine *en) { return &en->about; }
uint32_t engine_context(const engine *en) { return en->n_context; }
uint32_t engine_batch(const engine *en) { return en->config.n_batch; }
uint32_t engine_max_sessions(const engine *en) { return en->config.n_sessions; }
uint32_t engine_drafts(const engine *en) { return en->config.n_drafts; }
const char *engine_draft_name(const engine *en) { return en->draft ? en->draft->name : NULL; }
const char *engine_kernels(const engine *en) { return device_cpu_kernels(&en->dev); }
int engine_threads(const engine *en) { return en->config.n_threads; }
kv_cache *engine_kv(const engine *en) { return en->kv; }
model_pooling engine_pooling(const engine *en) {
    return en->desc.pooling ? en->desc.pooling : MODEL_POOL_MEAN;
}
const text_template *engine_template(const engine *en) { return en->compiled_template; }
str engine_chat_template(const engine *en) { return (str){en->chat_template, en->chat_template_bytes}; }
void engine_counters_read(const engine *en, engine_counters *out) { *out = en->counters; }

double engine_token_macs(const engine *en) {
    return model_matmul_macs(&en->desc) + (double)en->desc.n_vocab * en->desc.n_embd;
}

size_t engine_token_bytes(const engine *en) {
    const device_matrix *table = &en->model.embed; /* of which a token reads one row, unless it is the output, too */
    size_t rows = en->model.tied ? 0 : device_cpu_ops()->matrix_bytes(table->type, table->rows, table->cols);
    return en->model.bytes - rows - model_idle_bytes(&en->model);
}

void engine_limits(engine *en, compute_limits *out) {
    device_cpu_limits(&en->dev, en->weights.base, en->weights.used, out);
}

kv_params engine_kv_params(const engine *en) {
    return (kv_params){
        .type = en->config.kv_type, .share = en->config.cache_entries > 0, .publish_tokens = UINT32_MAX};
}

engine_session *engine_session_open(engine *en, const kv_params *params, err *e) {
    kv_params plain = engine_kv_params(en);
    return kv_sequence_open(en->kv, params ? params : &plain, e);
}

void engine_session_close(engine *en, engine_session *s) { kv_sequence_close(en->kv, s, NULL); }

bool engine_session_reserve(engine *en, engine_session *s, uint32_t n_tokens, err *e) {
    uint32_t have = kv_sequence_tokens(s);
    if (n_tokens > en->n_context && !kv_sequence_params(s)->window)
        return err_set(e, ERR_TOO_LARGE, "%u %s not fit the context of %u", n_tokens,
                       counted(n_tokens, "token does", "tokens do"), en->n_context);
    return n_tokens <= have || kv_sequence_prepare(en->kv, s, n_tokens - have, e);
}

uint32_t engine_session_length(const engine_session *s) { return kv_sequence_tokens(s); }

size_t engine_session_bytes(const engine *en, const engine_session *s) {
    kv_sequence_counts counts;
    kv_sequence_read(en->kv, s, &counts);
    return counts.bytes;
}

uint32_t engine_session_rewind(engine *en, engine_session *s, uint32_t n_tokens) {
    return kv_sequence_rewind(en->kv, s, n_tokens);
}

/* In a rotating window the kept tokens are seen from where a sequence that long would end. */
static uint32_t kept_as(const kv_params *t, uint32_t position) {
    return t->window && t->keep && position >= t->window ? t->window - 1 : position;
}

static void put_token(engine *en, const engine_batch_item *item, uint32_t i, model_token *out) {
    const engine_session *s = item->session;
    uint32_t position = kv_sequence_tokens(s) + i;
    bool last = i + 1 == item->n_tokens;
    *out = (model_token){.token = item->tokens[i],
                         .want_logits = item->want == ENGINE_WANT_ALL || (item->want == ENGINE_WANT_LAST && last),
                         .want_state = item->want == ENGINE_WANT_STATES,
                         .kept_as = kept_as(kv_sequence_params(s), position)};
    for (uint32_t g = 0; g < en->desc.kv.n_groups; g++) out->kv[g] = kv_sequence_view(en->kv, s, g, position);
}

bool engine_step(engine *en, const engine_batch_item *items, uint32_t n_items, const _Atomic bool *cancel, err *e) {
    uint64_t mallocs = plat_malloc_calls();
    uint32_t n = 0;
    for (uint32_t f = 0; f < n_items; f++) {
        const engine_batch_item *item = &items[f];
        CHECK(item->n_tokens > 0 && n + item->n_tokens <= en->config.n_batch);
        for (uint32_t i = 0; i < item->n_tokens; i++, n++) put_token(en, item, i, &en->batch[n]);
    }
    if (!model_forward(&en->model, &en->step, en->batch, n, cancel, e)) return false;
    en->counters.steps++;
    en->counters.tokens += n;
    en->counters.step_mallocs += plat_malloc_calls() - mallocs;
    return true;
}

void engine_step_commit(engine *en, const engine_batch_item *items, uint32_t n_items) {
    for (uint32_t f = 0; f < n_items; f++)
        kv_sequence_commit(en->kv, items[f].session, items[f].tokens, items[f].n_tokens);
}

bool engine_run(engine *en, const engine_batch_item *item, err *e) {
    if (!engine_session_reserve(en, item->session, kv_sequence_tokens(item->session) + item->n_tokens, e)) return false;
    if (!engine_step(en, item, 1, NULL, e)) return false;
    engine_step_commit(en, item, 1);
    return true;
}

static const float *read_back(const engine *en, const float *x, uint32_t n) {
    device *dev = en->model.dev;
    return dev->ops->read(dev, x, n);
}

const float *engine_logits(const engine *en, uint32_t row) {
    CHECK(row < en->step.max_logits);
    return read_back(en, en->step.logits + (size_t)row * en->step.logits_stride, en->desc.n_vocab);
}

const float *engine_state(const engine *en, uint32_t token) {
    CHECK(token < en->step.max_tokens);
    return read_back(en, en->step.states + (size_t)token * en->desc.n_embd, en->desc.n_embd);
}

const float *engine_item_result(const engine *en, const engine_batch_item *item, uint32_t token, uint32_t row) {
    if (item->want == ENGINE_WANT_STATES) return engine_state(en, token);
    return item->want ? engine_logits(en, row) : NULL;
}
