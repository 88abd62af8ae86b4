#include "engine/generation.h"

#include <string.h>

#include "base/check.h"

void engine_generation_start(engine_generation *g) {
    CHECK(g->n_prompt > 0 && g->max_tokens > 0);
    g->n_fed = g->n_generated = g->n_held = 0;
    g->finish = ENGINE_RUNNING;
    g->stopped_by = -1;
    rng_seed(&g->random, g->sampling->seed);
    text_stream_init(&g->stream, engine_vocab(g->en), false, false);
}

void engine_generation_feed(engine_generation *g, uint32_t max_tokens, engine_feed *feed) {
    uint32_t all = g->n_prompt + g->n_generated, left = all - g->n_fed;
    CHECK(g->finish == ENGINE_RUNNING && left > 0 && max_tokens > 0);
    uint32_t n = left < max_tokens ? left : max_tokens;
    *feed = (engine_feed){g->session, g->tokens + g->n_fed, n, n == left ? ENGINE_WANT_LAST : ENGINE_WANT_NONE};
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
    if (!ends) g->n_held += (uint32_t)text_stream_push(&g->stream, token, g->held + g->n_held);
    if (g->finish != ENGINE_RUNNING) g->n_held += (uint32_t)text_stream_finish(&g->stream, g->held + g->n_held);
    int32_t which = -1;
    uint32_t stop = find_stop(g, g->held, g->n_held, &which);
    if (which >= 0) {
        g->finish = ENGINE_FINISH_STOP;
        g->stopped_by = which;
        return release(g, stop);
    }
    uint32_t keep = g->finish == ENGINE_RUNNING ? tail_that_may_stop(g, g->held, g->n_held) : 0;
    return release(g, g->n_held - keep);
}

bool engine_generation_accept(engine_generation *g, const engine_feed *feed, const float *logits,
                              engine_sample *sample, str *text) {
    g->n_fed += feed->n_tokens;
    if (feed->want == ENGINE_WANT_NONE) return false;
    uint32_t all = g->n_prompt + g->n_generated;
    engine_sample_next(g->en, g->sampling, &g->random, logits, g->tokens, all, sample);
    g->tokens[all] = sample->token;
    g->n_generated++;
    bool ends = text_vocab_is_end(engine_vocab(g->en), sample->token) && !g->sampling->ignore_end;
    if (ends) g->finish = ENGINE_FINISH_STOP;
    else if (g->n_generated == g->max_tokens) g->finish = ENGINE_FINISH_LENGTH;
    *text = add_text(g, sample->token, ends);
    return true;
}

bool engine_generation_run(engine_generation *g, engine_on_text *on_text, void *ctx, err *e) {
    engine_feed feed;
    engine_sample sample;
    str text;
    engine_generation_start(g);
    while (g->finish == ENGINE_RUNNING) {
        engine_generation_feed(g, engine_batch(g->en), &feed);
        if (!engine_run(g->en, &feed, e)) return false;
        const float *logits = feed.want == ENGINE_WANT_LAST ? engine_logits(g->en, 0) : NULL;
        if (!engine_generation_accept(g, &feed, logits, &sample, &text) || !text.len) continue;
        if (!on_text(ctx, text)) return err_set(e, ERR_CANCELLED, "stopped by the caller");
    }
    return true;
}

const char *engine_finish_name(engine_finish f) {
    return f == ENGINE_FINISH_STOP ? "stop" : f == ENGINE_FINISH_LENGTH ? "length" : "running";
}
