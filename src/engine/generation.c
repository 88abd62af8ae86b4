#include "engine/generation.h"
#include "engine/draft.h"

#include <string.h>

#include "base/check.h"
#include "base/clock.h"
#include "plat/pulse.h"

void engine_generation_start(engine_generation *g) {
    CHECK(g->n_prompt > 0 && (g->embedding.pooling ? !g->max_tokens : g->max_tokens > 0));
    g->n_fed = g->n_generated = g->n_held = 0;
    g->finish = ENGINE_RUNNING;
    g->stopped_by = -1;
    engine_sampler_begin(&g->sampler, g->sampling);
    engine_thought_begin(&g->thought, &g->sampling->thinking, g->words);
    g->grammar = (text_grammar_cursor){0};
    g->n_draft = g->n_drafted = g->n_accepted = 0;
    g->holds = false;
    engine_drafter_begin(&g->drafter, g->speculate);
    text_stream_init(&g->stream, engine_vocab(g->en), false, false);
}

void engine_generation_next_item(engine_generation *g, uint32_t max_tokens, engine_batch_item *item) {
    uint32_t all = g->n_prompt + g->n_generated, left = all - g->n_fed;
    CHECK(g->finish == ENGINE_RUNNING && left > 0 && max_tokens > 0);
    uint32_t n = left < max_tokens ? left : max_tokens;
    engine_want want = g->embedding.pooling ? ENGINE_WANT_STATES : n == left ? ENGINE_WANT_LAST : ENGINE_WANT_NONE;
    *item = (engine_batch_item){g->session, g->tokens + g->n_fed, n, want};
    g->n_draft = 0;
}

void engine_generation_propose(engine_generation *g) {
    uint32_t all = g->n_prompt + g->n_generated;
    g->drafter.n_most = 0;
    if (!g->drafter.on || g->n_fed + 1 != all) return;
    if (engine_draft_name(g->en)) engine_drafter_expect(&g->drafter, all);
    else engine_drafter_look(&g->drafter, g->tokens, all);
    g->drafter.n_most = g->max_tokens - g->n_generated - 1; /* the last token is never fed */
}

void engine_generation_draft(engine_generation *g, engine_batch_item *item) {
    CHECK(item->n_tokens == 1 && g->drafter.n_wanted <= g->drafter.n_most);
    if (!g->drafter.n_wanted) return;
    g->n_draft = g->drafter.n_wanted;
    if (!engine_draft_name(g->en))
        engine_drafter_write(&g->drafter, g->tokens, g->n_prompt + g->n_generated, g->n_draft);
    item->n_tokens += g->n_draft;
    item->want = ENGINE_WANT_ALL;
}

/* Where in text the first stop string begins, or len; *which is its index. */
static uint32_t find_stop(const engine_generation *g, const char *text, uint32_t len, int32_t *which) {
    uint32_t first = len;
    for (uint32_t i = 0; i < g->n_stops; i++) {
        const char *at = memmem(text, len, g->stops[i].text, g->stops[i].len);
        if (!at || (uint32_t)(at - text) >= first) continue;
        first = (uint32_t)(at - text);
        *which = (int32_t)i;
    }
    return first;
}

/* Length of the longest end of text that begins a stop string. */
static uint32_t tail_that_may_stop(const engine_generation *g, const char *text, uint32_t len) {
    uint32_t longest = 0;
    for (uint32_t i = 0; i < g->n_stops; i++) {
        uint32_t most = g->stops[i].len - 1u;
        for (uint32_t n = most < len ? most : len; n > longest; n--)
            if (!memcmp(text + len - n, g->stops[i].text, n)) longest = n;
    }
    return longest;
}

static str release(engine_generation *g, uint32_t n) {
    memcpy(g->shown, g->held, n);
    memmove(g->held, g->held + n, g->n_held - n);
    g->n_held -= n;
    return (str){g->shown, n};
}

static str add_text(engine_generation *g, int32_t token, bool ends) {
    const text_vocab *v = g->stream.vocab;
    bool word = g->words && text_vocab_type(v, token) == TEXT_CONTROL &&
                text_reply_is_word(g->words, text_vocab_token(v, token)), shown = !ends || g->sampling->show_stop;
    g->stream.show_special = word || g->sampling->show_special;
    if (shown) g->n_held += (uint32_t)text_stream_push(&g->stream, token, g->held + g->n_held);
    if (g->finish != ENGINE_RUNNING) g->n_held += (uint32_t)text_stream_finish(&g->stream, g->held + g->n_held);
    int32_t which = -1;
    if (g->n_generated < g->sampling->min_tokens) return release(g, g->n_held);
    uint32_t stop = find_stop(g, g->held, g->n_held, &which);
    if (which >= 0) {
        g->finish = ENGINE_FINISH_STOP;
        g->stopped_by = which;
        return release(g, g->sampling->show_stop ? stop + g->stops[which].len : stop);
    }
    uint32_t keep = g->finish == ENGINE_RUNNING ? tail_that_may_stop(g, g->held, g->n_held) : 0;
    return release(g, g->n_held - keep);
}

/* The next token: what is due, or what the sampler draws. */
static void sample(engine_generation *g, const float *logits, const uint64_t *allowed, engine_sample *out) {
    char bytes[TEXT_TOKEN_BYTES_MAX];
    uint32_t all = g->n_prompt + g->n_generated;
    int32_t due = engine_thought_due(&g->thought, allowed);
    if (due >= 0) engine_sample_given(g->en, g->sampling, &g->sampler, logits, due, out);
    else engine_sample_next(g->en, g->sampling, &g->sampler, logits, allowed, g->tokens, all, out);
    if (!g->sampling->thinking.limited) return;
    size_t n = text_token_bytes(engine_vocab(g->en), out->token, true, bytes);
    engine_thought_note(&g->thought, due, (str){bytes, n});
}

/* False: nothing is said. */
static bool accept_states(engine_generation *g, const engine_batch_item *item, const float *states) {
    engine_embedding_add(&g->embedding, states, g->n_fed, item->n_tokens, g->n_prompt);
    g->n_fed += item->n_tokens;
    if (g->n_fed == g->n_prompt) g->finish = ENGINE_FINISH_STOP;
    return false;
}

bool engine_generation_accept(engine_generation *g, const engine_batch_item *item, const float *result,
                              engine_sample *next, str *text) {
    g->holds = false;
    if (item->want == ENGINE_WANT_STATES) return accept_states(g, item, result);
    g->n_fed += item->want == ENGINE_WANT_ALL ? 1 : item->n_tokens;
    if (item->want == ENGINE_WANT_NONE) return false;
    uint32_t all = g->n_prompt + g->n_generated;
    const uint64_t *allowed = NULL;
    if (g->sampling->grammar) {
        allowed = engine_grammar_mask(g->en, g->sampling->grammar, &g->grammar, g->tokens + g->n_prompt, g->n_generated,
                                      &g->failure);
        if (!allowed) {
            if (g->sampling->grammar_name) err_prefix(&g->failure, "'%s': ", g->sampling->grammar_name);
            g->n_draft = 0;
            g->finish = ENGINE_FINISH_STUCK;
            return false;
        }
    }
    plat_pulse_turn("sampling");
    sample(g, result, allowed, next);
    if (g->n_draft || !engine_draft_name(g->en)) engine_drafter_learn(&g->drafter, g->tokens, next->token);
    bool drafted = g->n_draft && g->tokens[all] == next->token;
    g->n_draft = drafted ? g->n_draft - 1 : 0;
    g->tokens[all] = next->token;
    g->n_generated++;
    bool ends = allowed ? engine_grammar_accept(g->en, &g->grammar, next->token)
                        : !g->sampling->ignore_end && text_vocab_is_eog(engine_vocab(g->en), next->token);
    ends |= engine_sampling_stops(g->sampling, next->token) && g->n_generated >= g->sampling->min_tokens;
    if (ends) g->finish = ENGINE_FINISH_STOP;
    else if (g->n_generated == g->max_tokens) g->finish = ENGINE_FINISH_LENGTH;
    *text = add_text(g, next->token, ends);
    g->holds = drafted && g->finish == ENGINE_RUNNING;
    return true;
}

void engine_generation_commit(engine_generation *g, engine_batch_item *item) {
    uint32_t ran = item->n_tokens;
    item->n_tokens = g->n_fed - (uint32_t)(item->tokens - g->tokens);
    if (item->want == ENGINE_WANT_ALL) {
        g->n_drafted += ran - 1;
        g->n_accepted += item->n_tokens - 1;
    }
    engine_step_commit(g->en, item, 1);
    if (item->n_tokens < ran) engine_session_rewind(g->en, g->session, engine_session_length(g->session));
    engine_draft_follow(g);
}

/* Draft, run, sample what holds, commit. */
static bool run_step(engine_generation *g, engine_step_cost *step_cost, uint32_t turn, engine_on_text *on_text,
                     void *ctx, err *e) {
    engine_batch_item item;
    engine_sample sample;
    str text;
    engine_generation_next_item(g, engine_batch(g->en), &item);
    bool decode = g->n_generated > 0;
    uint64_t start = clock_now_ns();
    if (decode) engine_generation_propose(g);
    if (decode && turn % SPECULATE_BARE_EVERY) {
        uint32_t left = engine_batch(g->en) - 1, most = engine_drafts(g->en);
        engine_speculate(step_cost, &(engine_drafter *){&g->drafter}, 1, most < left ? most : left);
        if (g->drafter.n_wanted && engine_draft_name(g->en)) engine_draft_propose(g->en, &g, 1);
        engine_generation_draft(g, &item);
    }
    uint32_t held = engine_session_length(g->session);
    if (!engine_session_reserve(g->en, g->session, held + item.n_tokens, e)) return false;
    if (!engine_step(g->en, &item, 1, NULL, e)) return false;
    if (decode) engine_step_cost_note(step_cost, item.n_tokens, clock_ms_since(start));
    bool wanted = true;
    for (uint32_t row = 0; !row || g->holds; row++) {
        if (!engine_generation_accept(g, &item, engine_item_result(g->en, &item, 0, row), &sample, &text)) break;
        if (text.len && !(wanted = on_text(ctx, text))) break;
    }
    engine_generation_commit(g, &item);
    if (g->finish == ENGINE_FINISH_STUCK) {
        if (e) *e = g->failure;
        return false;
    }
    return wanted || err_set(e, ERR_CANCELLED, "stopped by the caller");
}

bool engine_generation_run(engine_generation *g, engine_on_text *on_text, void *ctx, err *e) {
    engine_step_cost step_cost = {0};
    bool ok = true;
    engine_generation_start(g);
    for (uint32_t turn = 0; ok && g->finish == ENGINE_RUNNING; turn++)
        ok = run_step(g, &step_cost, turn, on_text, ctx, e);
    engine_draft_end(g);
    return ok;
}

const char *engine_finish_name(engine_finish f) {
    return f == ENGINE_FINISH_STOP ? "stop" : f == ENGINE_FINISH_LENGTH ? "length" : "running";
}
