/* Sessions and the batch step. */
#include <string.h>

#include "base/check.h"
#include "engine/internal.h"
#include "plat/kernel.h"

const text_vocab *engine_vocab(const engine *en) { return en->vocab; }
const model_hparams *engine_hparams(const engine *en) { return &en->hparams; }
const char *engine_model_name(const engine *en) { return en->name; }
uint32_t engine_context(const engine *en) { return en->n_context; }
uint32_t engine_batch(const engine *en) { return en->config.n_batch; }
uint32_t engine_max_sessions(const engine *en) { return en->config.n_sessions; }
const char *engine_kernels(const engine *en) { return device_cpu_kernels(&en->dev); }
int engine_threads(const engine *en) { return en->config.n_threads; }
void engine_kv_counts(const engine *en, kv_pool_counts *out) { kv_pool_read(en->pool, out); }
str engine_chat_template(const engine *en) { return (str){en->chat_template, en->chat_template_bytes}; }
void engine_counters_read(const engine *en, engine_counters *out) { *out = en->counters; }

engine_session *engine_session_open(engine *en, err *e) {
    for (uint32_t i = 0; i < en->config.n_sessions; i++) {
        engine_session *s = &en->sessions[i];
        if (s->open) continue;
        s->open = true;
        s->n_tokens = s->n_pages = 0;
        return s;
    }
    err_set(e, ERR_BUSY, "all %u sessions are in use", en->config.n_sessions);
    return NULL;
}

void engine_session_close(engine *en, engine_session *s) {
    if (!s || !s->open) return;
    while (s->n_pages) kv_pool_give(en->pool, s->pages[--s->n_pages]);
    s->n_tokens = 0;
    s->open = false;
}

bool engine_session_reserve(engine *en, engine_session *s, uint32_t n_tokens, err *e) {
    CHECK(s->open);
    if (n_tokens > en->n_context)
        return err_set(e, ERR_TOO_LARGE, "%u tokens do not fit the context of %u", n_tokens, en->n_context);
    uint32_t wanted = kv_pages_for(n_tokens), before = s->n_pages;
    while (s->n_pages < wanted) {
        uint8_t *page = kv_pool_take(en->pool, e);
        if (!page) {
            while (s->n_pages > before) kv_pool_give(en->pool, s->pages[--s->n_pages]);
            return false;
        }
        s->pages[s->n_pages++] = page;
    }
    return true;
}

uint32_t engine_session_length(const engine_session *s) { return s->n_tokens; }

size_t engine_session_bytes(const engine *en, const engine_session *s) {
    kv_pool_counts counts;
    kv_pool_read(en->pool, &counts);
    return s->n_pages * counts.page_bytes;
}

void engine_session_rewind(engine_session *s, uint32_t n_tokens) {
    CHECK(n_tokens <= s->n_tokens);
    s->n_tokens = n_tokens;
}

bool engine_step(engine *en, const engine_feed *feeds, uint32_t n_feeds, const _Atomic bool *cancel, err *e) {
    uint64_t mallocs = plat_malloc_calls();
    uint32_t n = 0;
    for (uint32_t f = 0; f < n_feeds; f++) {
        const engine_feed *feed = &feeds[f];
        engine_session *s = feed->session;
        CHECK(s->open && feed->n_tokens > 0 && n + feed->n_tokens <= en->config.n_batch);
        CHECK(s->n_tokens + feed->n_tokens <= s->n_pages * KV_PAGE_TOKENS);
        for (uint32_t i = 0; i < feed->n_tokens; i++, n++) {
            bool wanted = feed->want == ENGINE_WANT_ALL || (feed->want == ENGINE_WANT_LAST && i + 1 == feed->n_tokens);
            en->batch[n] = (model_token){feed->tokens[i], {s->pages, s->n_tokens + i, 0}, wanted};
        }
    }
    if (!model_forward(&en->model, &en->step, en->batch, n, cancel, e)) return false;
    for (uint32_t f = 0; f < n_feeds; f++) feeds[f].session->n_tokens += feeds[f].n_tokens;
    en->counters.steps++;
    en->counters.tokens += n;
    en->counters.step_mallocs += plat_malloc_calls() - mallocs;
    return true;
}

const float *engine_logits(const engine *en, uint32_t row) {
    CHECK(row < en->step.max_logits);
    return en->step.logits + (size_t)row * en->step.logits_stride;
}

size_t engine_trim(engine *en, uint32_t keep_pages) { return kv_pool_trim(en->pool, keep_pages); }
