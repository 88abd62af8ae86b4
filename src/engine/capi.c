/* The public C API over the engine. */
#include "plimsoll.h"

#include <stdio.h>
#include <string.h>

#include "engine/generation.h"
#include "mem/arena.h"
#include "mem/heap.h"
#include "mem/line.h"
#include "plat/vm.h"

struct plimsoll {
    mem_arena self;
    mem_ledger ledger;
    mem_heap heap;
    engine *en;
    engine_generation gen;
    int32_t *tokens; /* [context] */
};

static plimsoll_status status_of(const err *e) {
    switch (e->code) {
    case ERR_NONE: return PLIMSOLL_OK;
    case ERR_USAGE:
    case ERR_INVALID: return PLIMSOLL_INVALID;
    case ERR_FORMAT:
    case ERR_UNSUPPORTED:
    case ERR_NOT_FOUND: return PLIMSOLL_BAD_MODEL;
    case ERR_MEMORY: return PLIMSOLL_NO_MEMORY;
    case ERR_TOO_LARGE: return PLIMSOLL_TOO_LONG;
    case ERR_CANCELLED: return PLIMSOLL_STOPPED;
    default: return PLIMSOLL_FAILED;
    }
}

static plimsoll_status tell(const err *e, char *message, size_t message_bytes) {
    if (message && message_bytes) snprintf(message, message_bytes, "%s", e->code ? e->message : "");
    return status_of(e);
}

static bool bring_up(plimsoll *p, const plimsoll_config *c, err *e) {
    engine_config config;
    engine_config_default(&config);
    config.model_path = c->model_path;
    config.n_context = c->context_tokens;
    config.n_sessions = 1;
    config.n_threads = c->threads;
    if (!(p->en = engine_prepare(&config, &p->ledger, e))) return false;
    engine_plan plan = {0};
    mem_ledger_view v;
    mem_ledger_read(&p->ledger, &v);
    plan.rows.line_bytes = v.line_bytes;
    mem_plan_set(&plan.rows, MEM_RUNTIME, v.rows[MEM_RUNTIME].now_bytes);
    if (!engine_plan_make(p->en, &plan, e) || !engine_load(p->en, &plan, NULL, NULL, e)) return false;
    return (p->tokens = mem_heap_take(&p->heap, engine_context(p->en) * sizeof *p->tokens, e)) != NULL;
}

plimsoll *plimsoll_open(const plimsoll_config *config, plimsoll_status *status, char *message, size_t message_bytes) {
    err e = {0};
    mem_arena self = {0};
    mem_ledger unlimited; /* only for the struct itself, before it has a ledger of its own */
    mem_ledger_init(&unlimited, UINT64_MAX);
    plimsoll *p = NULL;
    if (mem_arena_init(&self, &unlimited, MEM_WORKSPACE, sizeof *p, false, &e)) {
        p = mem_arena_take(&self, sizeof *p, 64);
        memset(p, 0, sizeof *p);
        mem_ledger_init(&p->ledger, UINT64_MAX);
        mem_books_start(&p->ledger);
        mem_line_start(&p->ledger, config->memory_bytes, true);
        mem_heap_init(&p->heap, &p->ledger, MEM_QUEUE);
        p->self = self;
        p->self.ledger = NULL;
        if (!bring_up(p, config, &e)) plimsoll_close(p), p = NULL;
    }
    *status = tell(&e, message, message_bytes);
    return p;
}

void plimsoll_close(plimsoll *p) {
    if (!p) return;
    if (p->tokens) mem_heap_give(&p->heap, p->tokens, engine_context(p->en) * sizeof *p->tokens);
    engine_free(p->en);
    plat_vm_free(p->self.base, p->self.size);
}

void plimsoll_options_default(plimsoll_options *o) {
    *o = (plimsoll_options){.max_tokens = 256, .temperature = 0.8f, .top_k = 40, .top_p = 0.95f, .min_p = 0.05f};
}

typedef struct caller {
    plimsoll_on_text *on_text;
    void *ctx;
} caller;

static bool pass_on(void *ctx, str text) {
    caller *c = ctx;
    return c->on_text(c->ctx, text.data, text.len) == 0;
}

static bool run(plimsoll *p, str prompt, const plimsoll_options *o, plimsoll_on_text *on_text, void *ctx, err *e) {
    engine_sampling s;
    engine_sampling_default(&s);
    s.temperature = o->temperature;
    s.top_k = o->top_k;
    s.top_p = o->top_p;
    s.min_p = o->min_p;
    s.seed = o->seed;
    if (!engine_sampling_check(p->en, &s, e)) return false;
    if (!o->max_tokens) return err_set(e, ERR_INVALID, "max_tokens is 0; it must be at least 1");
    size_t n = 0;
    text_scratch *scratch = text_scratch_new(engine_vocab(p->en), &p->heap.alloc);
    if (!scratch) return err_set(e, ERR_MEMORY, "no memory to tokenize in");
    bool ok =
        text_encode(engine_vocab(p->en), scratch, prompt, true, true, p->tokens, engine_context(p->en) - 1, &n, e);
    text_scratch_free(scratch);
    if (!ok) return false;
    if (n == 0) return err_set(e, ERR_INVALID, "the prompt is empty");
    uint32_t left = engine_context(p->en) - (uint32_t)n, most = o->max_tokens < left ? o->max_tokens : left;
    engine_session *session = engine_session_open(p->en, NULL, e);
    if (!session) return false;
    p->gen = (engine_generation){.en = p->en,
                                 .session = session,
                                 .sampling = &s,
                                 .tokens = p->tokens,
                                 .n_prompt = (uint32_t)n,
                                 .max_tokens = most};
    ok = engine_session_reserve(p->en, session, (uint32_t)n + most, e) &&
         engine_generation_run(&p->gen, pass_on, &(caller){on_text, ctx}, e);
    engine_session_close(p->en, session);
    return ok;
}

plimsoll_status plimsoll_generate(plimsoll *p, const char *prompt, const plimsoll_options *options,
                                  plimsoll_on_text *on_text, void *ctx, char *message, size_t message_bytes) {
    err e = {0};
    run(p, str_of(prompt), options, on_text, ctx, &e);
    return tell(&e, message, message_bytes);
}

size_t plimsoll_memory_json(plimsoll *p, char *json, size_t bytes) {
    mem_books books;
    buf out;
    json_writer w;
    mem_books_read(&p->ledger, &books);
    buf_init(&out, &p->heap.alloc, 1 << 16);
    json_begin(&w, &out);
    mem_books_json(&books, &w);
    size_t len = out.len;
    if (bytes) snprintf(json, bytes, "%.*s", (int)out.len, out.data ? out.data : "");
    buf_free(&out);
    return len;
}
