/* plimsoll run: one continuation on the terminal. */
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>
#include <unistd.h>

#include "base/log.h"
#include "cli/cli.h"
#include "engine/generation.h"
#include "mem/heap.h"

static engine_sampling sampling_of(const cli_options *o) {
    engine_sampling s;
    engine_sampling_default(&s);
    s.temperature = o->temperature;
    s.top_k = (int32_t)o->top_k;
    s.top_p = o->top_p;
    s.min_p = o->min_p;
    s.typical_p = o->typical_p;
    s.repeat_penalty = o->repeat_penalty;
    s.repeat_last_n = (int32_t)o->repeat_last_n;
    s.frequency_penalty = o->frequency_penalty;
    s.presence_penalty = o->presence_penalty;
    s.seed = o->seed;
    if (!o->seed_given && getrandom(&s.seed, sizeof s.seed, 0) < 0) s.seed = 0;
    return s;
}

static bool tokenize(engine *en, mem_heap *heap, str text, int32_t *tokens, uint32_t *n, err *e) {
    size_t n_tokens = 0;
    text_scratch *scratch = text_scratch_new(engine_vocab(en), &heap->alloc);
    if (!scratch) return err_set(e, ERR_MEMORY, "no memory to tokenize in");
    bool ok = text_encode(engine_vocab(en), scratch, text, true, true, tokens, engine_context(en) - 1, &n_tokens, e);
    text_scratch_free(scratch);
    *n = (uint32_t)n_tokens;
    return ok;
}

/* False when nobody can have it: main says so. */
static bool show(str text) {
    return fwrite(text.data, 1, text.len, stdout) == text.len && fflush(stdout) == 0;
}

static bool on_text(void *ctx, str text) {
    (void)ctx;
    return show(text);
}

/* To the end of the context; a window rotates beyond it, as far as was asked for. */
static uint32_t most_generated(const cli_options *o, const engine *en, uint32_t n_prompt) {
    uint32_t left = engine_context(en) - n_prompt;
    if (o->predict < 0) return left;
    return o->window || (uint32_t)o->predict < left ? (uint32_t)o->predict : left;
}

static bool generate(const cli_options *o, engine *en, const engine_sampling *sampling, int32_t *tokens,
                     uint32_t n_prompt, err *e) {
    static engine_generation g;
    kv_params params = cli_kv_params(o, en);
    uint32_t n = most_generated(o, en, n_prompt);
    if (n == 0) return true;
    engine_session *session = engine_session_open(en, &params, e);
    if (!session) return false;
    g = (engine_generation){.en = en,
                            .session = session,
                            .sampling = sampling,
                            .tokens = tokens,
                            .n_prompt = n_prompt,
                            .max_tokens = n,
                            .speculate = engine_drafts(en) > 0};
    bool ok = (params.window || engine_session_reserve(en, session, n_prompt + n, e)) &&
              engine_generation_run(&g, on_text, NULL, e);
    engine_session_close(en, session);
    if (ok) show(STR("\n"));
    return ok;
}

static bool run(const cli_options *o, engine *en, mem_heap *heap, int32_t *tokens, str prompt, err *e) {
    engine_sampling sampling = sampling_of(o);
    uint32_t n_prompt = 0;
    char words[160];
    if (cli_context_is_odd(en, engine_context(en), true, words, sizeof words)) log_warn("run", "%s", words);
    if (!cli_check_window(o, engine_context(en), e) || !engine_sampling_check(en, &sampling, e)) return false;
    if (!tokenize(en, heap, prompt, tokens, &n_prompt, e)) return false;
    if (!o->no_echo && !show(prompt)) return true;
    return generate(o, en, &sampling, tokens, n_prompt, e);
}

int cli_run(const cli_options *o, mem_ledger *l) {
    err e = {0};
    str prompt;
    if (!cli_text_argument(o, &prompt, &e)) return cli_fail(&e);
    if (!cli_set_line(o, l, true, &e)) return cli_fail(&e);
    engine_plan plan;
    cli_plan_begin(&plan, l);
    /* A window that rotates writes beside what it still sees: as much room again, where there is any. */
    engine_config c = cli_engine_config(o, o->window ? 2 : 1);
    engine *en = cli_bring_up(o, &c, l, &plan, &e);
    if (!en) return cli_fail(&e);
    mem_heap heap;
    mem_heap_init(&heap, l, MEM_QUEUE);
    size_t beyond = o->window && o->predict > 0 ? (size_t)o->predict : 0; /* of the context */
    size_t token_bytes = (engine_context(en) + beyond) * sizeof(int32_t);
    int32_t *tokens = mem_heap_take(&heap, token_bytes, &e);
    bool ok = tokens && run(o, en, &heap, tokens, prompt, &e);
    mem_heap_give(&heap, tokens, token_bytes);
    engine_free(en);
    return ok ? 0 : cli_fail(&e);
}
