/* A second model that drafts what the first will say: prepared, planned and loaded with it; its sequences follow
 * the generations as far as there are pages for them. What it says is only a draft: it cannot fail a request. */
#include "engine/draft.h"

#include "base/check.h"
#include "engine/internal.h"

/* ---- coming up ---- */

static bool same_vocabulary(const text_vocab *a, const text_vocab *b, err *e) {
    static const char why[] = ": only a model of the same vocabulary can guess for it";
    uint32_t n = text_vocab_size(a);
    if (text_vocab_size(b) != n)
        return err_set(e, ERR_INVALID, "it has %u tokens, the model %u%s", text_vocab_size(b), n, why);
    for (uint32_t i = 0; i < n; i++) {
        str x = text_vocab_token(a, (text_token)i), y = text_vocab_token(b, (text_token)i);
        if (!str_eq(x, y))
            return err_set(e, ERR_INVALID, "its token %u is '%.*s', the model's '%.*s'%s", i, STR_ARG(y), STR_ARG(x),
                           why);
    }
    return true;
}

bool engine_draft_prepare(engine *en, err *e) {
    engine_config c = en->config;
    if (c.n_batch < 2 * SPECULATE_MOST)
        return err_set(e, ERR_USAGE, "with a draft model, the batch must be %d tokens or more", 2 * SPECULATE_MOST);
    c = (engine_config){.model_path = c.draft_path, .n_context = c.n_context, .n_sessions = c.n_sessions,
                        .n_batch = c.n_batch, .n_threads = c.n_threads};
    if (!(en->draft = engine_prepare(&c, en->ledger, e))) return err_prefix(e, "draft model: ");
    en->draft->draws_ahead = true;
    if (!same_vocabulary(en->vocab, en->draft->vocab, e)) return err_prefix(e, "draft model %s: ", en->draft->name);
    text_vocab_free(en->draft->vocab);
    en->draft->vocab = NULL;
    return true;
}

/* ---- drafting ---- */

static uint32_t known(const engine_generation *g) { return g->n_prompt + g->n_generated; }

/* Runs what it has not seen, up to the last token or the one before; false when it is not there yet. */
static bool catch_up(engine *d, engine_generation *g) {
    kv_params params = engine_kv_params(d);
    if (!g->draft_session && !(g->draft_session = engine_session_open(d, &params, NULL))) return false;
    uint32_t have = engine_session_length(g->draft_session), wanted = known(g) - 1;
    if (have > wanted) have = engine_session_rewind(d, g->draft_session, wanted);
    if (have + 1 >= wanted) return true;
    uint32_t n = wanted - have < engine_batch(d) ? wanted - have : engine_batch(d);
    engine_batch_item item = {g->draft_session, g->tokens + have, n, ENGINE_WANT_NONE};
    return engine_run(d, &item, NULL) && have + n == wanted;
}

static int32_t likeliest(const float *logits, uint32_t n) {
    uint32_t best = 0;
    for (uint32_t i = 1; i < n; i++)
        if (logits[i] > logits[best]) best = i;
    return (int32_t)best;
}

/* Behind what it has seen of a generation: the rest of what is known, and `drafted` tokens. */
static bool add_item(engine *d, engine_generation *g, uint32_t drafted, engine_batch_item *item) {
    uint32_t have = engine_session_length(g->draft_session), wanted = known(g) + drafted;
    *item = (engine_batch_item){g->draft_session, g->tokens + have, wanted - have, ENGINE_WANT_LAST};
    return engine_session_reserve(d, g->draft_session, wanted, NULL);
}

void engine_draft_propose(engine *en, engine_generation *const *gs, uint32_t n) {
    engine *d = en->draft;
    engine_batch_item items[SPECULATE_MOST];
    engine_generation *of[SPECULATE_MOST];
    CHECK(n <= SPECULATE_MOST);
    for (uint32_t i = 0; i < n; i++)
        if (!catch_up(d, gs[i])) gs[i]->drafter.n_wanted = 0;
    for (uint32_t drafted = 0;; drafted++) {
        uint32_t n_items = 0;
        for (uint32_t i = 0; i < n; i++) {
            if (gs[i]->drafter.n_wanted <= drafted) continue;
            of[n_items] = gs[i];
            if (add_item(d, gs[i], drafted, &items[n_items])) n_items++;
            else gs[i]->drafter.n_wanted = drafted;
        }
        if (!n_items || !engine_step(d, items, n_items, NULL, NULL)) return;
        engine_step_commit(d, items, n_items);
        for (uint32_t f = 0; f < n_items; f++)
            of[f]->tokens[known(of[f]) + drafted] = likeliest(engine_logits(d, f), d->desc.n_vocab);
    }
}

void engine_draft_follow(engine_generation *g) {
    if (g->draft_session && engine_session_length(g->draft_session) >= known(g))
        engine_session_rewind(g->en->draft, g->draft_session, known(g) - 1);
}

void engine_draft_end(engine_generation *g) {
    if (g->draft_session) engine_session_close(g->en->draft, g->draft_session);
    g->draft_session = NULL;
}

void engine_draft_trim(engine *en) {
    if (en->draft) kv_pool_trim(kv_cache_pool(en->draft->kv), 0);
}
