/* Coming up: header → plan → weights; and going away. */
#include <stdio.h>
#include <string.h>

#include <xxhash.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"
#include "compute/pool.h"
#include "engine/internal.h"
#include "engine/sampler.h"
#include "engine/speculate.h"
#include "plat/cpu.h"
#include "plat/kernel.h"

enum { DEFAULT_BATCH = 256, MAX_ENTRIES = 1 << 20, MAX_SESSIONS = 4096, MAX_BATCH = 8192 };

void engine_config_default(engine_config *c) { *c = (engine_config){.n_sessions = 4, .n_batch = DEFAULT_BATCH}; }

/* ---- prepare ---- */

static bool check_config(const engine_config *c, err *e) {
    if (c->n_sessions < 1 || c->n_sessions > MAX_SESSIONS)
        return err_set(e, ERR_USAGE, "sessions must be 1 to %d", MAX_SESSIONS);
    if (c->n_batch < 1 || c->n_batch > MAX_BATCH)
        return err_set(e, ERR_USAGE, "the batch must be 1 to %d tokens", MAX_BATCH);
    if (c->n_drafts > SPECULATE_MOST)
        return err_set(e, ERR_USAGE, "%u guessed tokens in a step; at most %d", c->n_drafts, SPECULATE_MOST);
    if (c->cache_entries > MAX_ENTRIES)
        return err_set(e, ERR_USAGE, "a cache of %u entries; at most %d", c->cache_entries, MAX_ENTRIES);
    if (c->spill_path && !c->spill_bytes) return err_set(e, ERR_USAGE, "a spill file needs its size: --spill-bytes");
    if (c->n_threads < 0 || c->n_threads > COMPUTE_MAX_THREADS)
        return err_set(e, ERR_USAGE, "threads must be 1 to %d", COMPUTE_MAX_THREADS);
    return true;
}

static const char *file_name(const char *path) {
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

static bool open_file(engine *en, err *e) {
    if (en->config.model_path)
        return en->file_open = gguf_open(&en->file, en->config.model_path, &en->directory_heap.alloc, e);
    const void *bytes;
    size_t len;
    engine_builtin(&bytes, &len);
    return en->file_open = gguf_open_memory(&en->file, bytes, len, "built-in model", &en->directory_heap.alloc, e);
}

/* A template that cannot be compiled costs its model nothing but its own form of conversation. */
static bool compile_template(engine *en, err *e) {
    str source = {en->chat_template, en->chat_template_bytes};
    en->compiled_template = text_template_new(source, &en->tokenizer_heap.alloc, e);
    if (en->compiled_template || e->code == ERR_MEMORY) return en->compiled_template != NULL;
    if (en->config.chat_template.len) return err_prefix(e, "--chat-template: ");
    log_warn("engine", "the model's chat template is not used: %s", e->message);
    *e = (err){0};
    return true;
}

static bool read_name_and_template(engine *en, err *e) {
    const char *path = en->config.model_path ? en->config.model_path : "built-in";
    str name = str_of(file_name(path)), chat = STR("");
    if (!format_str(&en->file.source, "general.name", false, &name, e)) return false;
    if (!format_str(&en->file.source, "tokenizer.chat_template", false, &chat, e)) return false;
    if (name.len == 0) name = str_of(file_name(path));
    snprintf(en->name, sizeof en->name, "%.*s", (int)(name.len < sizeof en->name ? name.len : sizeof en->name - 1),
             name.data);
    str_make_printable(en->name);
    if (en->config.chat_template.len) chat = en->config.chat_template;
    if (chat.len == 0) return true;
    en->chat_template = mem_heap_take(&en->tokenizer_heap, chat.len, e);
    if (!en->chat_template) return false;
    memcpy(en->chat_template, chat.data, chat.len);
    en->chat_template_bytes = chat.len;
    return compile_template(en, e);
}

enum { IDENTITY_SAMPLES = 64, IDENTITY_SAMPLE_BYTES = 16 * 1024 };

static XXH128_hash_t hash_file(const gguf *g, XXH128_hash_t before, bool *read, err *e) {
    const uint8_t *bytes = g->base;
    XXH128_hash_t hash = XXH3_128bits_withSeed(bytes, g->data_offset, g->bytes ^ before.low64 ^ before.high64);
    uint64_t data = g->bytes - g->data_offset;
    *read = true;
    for (uint64_t i = 0; *read && i < IDENTITY_SAMPLES; i++) {
        static _Thread_local uint8_t sample[IDENTITY_SAMPLE_BYTES];
        uint64_t at = g->data_offset + data / IDENTITY_SAMPLES * i, left = g->bytes - at;
        size_t n = left < sizeof sample ? (size_t)left : sizeof sample;
        if (g->file.fd < 0) memcpy(sample, bytes + at, n);
        else *read = plat_file_read(&g->file, at, sample, n, e);
        hash = XXH3_128bits_withSeed(sample, n, hash.low64 ^ hash.high64); /* each on top of those before */
    }
    return hash;
}

/* What tells this model from another, also for pages that outlive the process: its header, its size, and samples of
 * its tensors, of each file that it is in. */
static bool read_identity(engine *en, err *e) {
    XXH128_hash_t hash = {0};
    bool read = true;
    for (uint32_t i = 0; read && i <= en->file.n_parts; i++) hash = hash_file(gguf_part(&en->file, i), hash, &read, e);
    en->about.identity[0] = hash.low64;
    en->about.identity[1] = hash.high64;
    return read;
}

static bool read_about(engine *en, err *e) {
    const gguf *g = &en->file;
    uint64_t bytes[DTYPE_COUNT] = {0};
    dtype most = DTYPE_F32;
    for (uint32_t i = 0; i <= g->n_parts; i++) en->about.file_bytes += gguf_part(g, i)->bytes;
    for (uint64_t i = 0; i < g->n_tensors; i++) {
        const format_tensor *t = &g->tensors[i];
        en->about.parameters += t->dims[0] * t->dims[1] * t->dims[2] * t->dims[3];
        bytes[t->type] += t->bytes;
        if (bytes[t->type] > bytes[most]) most = t->type;
    }
    en->about.weight_type = dtype_get(most)->name;
    return read_identity(en, e);
}

static bool read_header(engine *en, bool whole, err *e) {
    if (whole && !model_describe(&en->desc, &en->file.source, &en->directory_heap.alloc, e)) return false;
    if (whole && !model_plan_bytes(&en->file.source, &en->desc, device_cpu_ops(), &en->weights_bytes, e))
        return false;
    if (!(en->vocab = engine_vocab_read(&en->file.source, &en->tokenizer_heap.alloc, e))) return false;
    if (whole && text_vocab_size(en->vocab) != en->desc.n_vocab)
        return err_set(e, ERR_FORMAT, "the tokenizer has %u tokens, the embedding %u rows",
                       text_vocab_size(en->vocab), en->desc.n_vocab);
    if (whole && en->config.grammar_bytes &&
        !(en->token_index = text_token_index_new(en->vocab, &en->tokenizer_heap.alloc, e)))
        return false;
    if (!read_name_and_template(en, e)) return false;
    if (whole && !read_about(en, e)) return false;
    /* The strings have been copied out: the header's pages need not stay resident. */
    for (uint32_t i = 0; i <= en->file.n_parts; i++) {
        const gguf *part = gguf_part(&en->file, i);
        if (part->file.fd >= 0) plat_file_forget(&part->file, 0, part->data_offset);
        else plat_vm_forget(part->base, part->bytes);
    }
    return true;
}

static engine *prepare(const engine_config *c, bool whole, mem_ledger *l, err *e) {
    if (!check_config(c, e)) return NULL;
    mem_arena self = {0};
    if (!mem_arena_init(&self, l, MEM_WORKSPACE, sizeof(engine), false, e)) return NULL;
    engine *en = mem_arena_take(&self, sizeof *en, 64);
    memset(en, 0, sizeof *en);
    en->self = self;
    en->config = *c;
    en->ledger = l;
    if (!en->config.n_threads) en->config.n_threads = plat_cpu_get()->usable_cores;
    if (!en->config.n_logits) en->config.n_logits = c->n_sessions;
    mem_heap_init(&en->tokenizer_heap, l, MEM_TOKENIZER);
    mem_heap_init(&en->directory_heap, l, MEM_TOKENIZER);
    if (open_file(en, e)) {
        if (!read_header(en, whole, e))
            err_prefix(e, "%s: ", c->model_path ? file_name(c->model_path) : "built-in model");
        else if (!whole || !c->draft_path || engine_draft_prepare(en, e)) return en;
    }
    engine_free(en);
    return NULL;
}

engine *engine_prepare(const engine_config *c, mem_ledger *l, err *e) { return prepare(c, true, l, e); }

engine *engine_prepare_tokenizer(const engine_config *c, mem_ledger *l, err *e) { return prepare(c, false, l, e); }

/* ---- plan ---- */

static void work_layout(engine *en, model_workspace *step, mem_arena *a) {
    uint32_t n_vocab = en->desc.n_vocab;
    model_workspace_layout(step, &en->desc, device_cpu_ops(), en->config.n_batch,
                           en->config.n_logits + en->config.n_drafts, a);
    en->batch = mem_arena_take(a, en->config.n_batch * sizeof *en->batch, 64);
    en->candidates = mem_arena_take(a, n_vocab * sizeof *en->candidates, 64);
    en->adjusted = mem_arena_take(a, n_vocab * sizeof *en->adjusted, 64);
    en->token_counts = mem_arena_take(a, n_vocab * sizeof *en->token_counts, 64);
    en->ends = mem_arena_take(a, (n_vocab + 63) / 64 * sizeof *en->ends, 64);
}

static size_t work_bytes(engine *en) {
    mem_arena a;
    model_workspace unused;
    mem_arena_measure(&a);
    work_layout(en, &unused, &a);
    size_t load_scratch = model_load_scratch_bytes(&en->file.source, device_cpu_ops(), en->config.n_threads);
    if (a.used < load_scratch) a.used = load_scratch; /* the load borrows the same bytes before the first step */
    a.used = (a.used + 63) & ~(size_t)63;
    return a.used + (en->draws_ahead ? 0 : (device_cpu_plan_bytes(&en->device_config) + 63) & ~(size_t)63);
}

/* The row of the plan: the arena, and the engine's own struct. */
static uint64_t workspace_row(engine *en) {
    return plat_vm_round(work_bytes(en)) + plat_vm_round(sizeof *en);
}

/* The cache for a context and a pool of so many pages. */
static kv_cache_config kv_config(const engine *en, uint32_t n_context, uint32_t n_pages) {
    const engine_config *c = &en->config;
    return (kv_cache_config){.shape = en->desc.kv,
                             .type = c->kv_type,
                             .pool_bytes = n_pages * kv_set_bytes(&en->desc.kv, c->kv_type),
                             .n_sequences = c->n_sessions,
                             .n_context = n_context,
                             .n_batch = c->n_batch,
                             .max_entries = c->cache_entries,
                             .max_cached_bytes = c->cache_bytes,
                             .ttl_ms = c->cache_ttl_ms,
                             .matmul_macs = model_matmul_macs(&en->desc),
                             .attend_macs = model_attend_macs(&en->desc),
                             .spill_path = c->spill_path,
                             .spill_bytes = c->spill_bytes,
                             .identity = {en->about.identity[0], en->about.identity[1]}};
}

/* The pool of a model that drafts: as many tokens as the other's, and no more than all its sessions can hold. */
static kv_cache_config draft_kv_config(const engine *draft, uint32_t n_context, uint32_t n_pages) {
    uint64_t most = (uint64_t)kv_pages_for(n_context) * draft->config.n_sessions;
    return kv_config(draft, n_context, n_pages < most ? n_pages : (uint32_t)most);
}

static void add_row(engine_plan *plan, mem_account a, uint64_t bytes) {
    mem_plan_set(&plan->rows, a, plan->rows.bytes[a] + bytes);
}

static void add_draft_rows(engine *draft, engine_plan *plan, uint32_t n_context, uint32_t n_pages) {
    draft->kv_config = draft_kv_config(draft, n_context, n_pages);
    add_row(plan, MEM_WORKSPACE, workspace_row(draft));
    add_row(plan, MEM_KV, kv_pool_plan_bytes(&draft->desc.kv, draft->kv_config.pool_bytes) +
                              draft->kv_config.pool_bytes);
    add_row(plan, MEM_PROMPT_INDEX, kv_cache_plan_bytes(&draft->kv_config));
}

/* Sets the rows that follow from a context and a pool; the whole plan's bytes. */
static uint64_t total_with(engine *en, engine_plan *plan, uint32_t n_context, uint32_t n_pages) {
    en->kv_config = kv_config(en, n_context, n_pages);
    mem_plan_set(&plan->rows, MEM_WORKSPACE, workspace_row(en));
    mem_plan_set(&plan->rows, MEM_KV,
                 kv_pool_plan_bytes(&en->desc.kv, en->kv_config.pool_bytes) + en->kv_config.pool_bytes);
    mem_plan_set(&plan->rows, MEM_PROMPT_INDEX, kv_cache_plan_bytes(&en->kv_config));
    mem_plan_set(&plan->rows, MEM_SPILL, kv_cache_spill_plan_bytes(&en->kv_config));
    if (plan->queue_bytes) mem_plan_set(&plan->rows, MEM_QUEUE, plan->queue_bytes(plan->queue_ctx, n_context));
    if (en->draft) add_draft_rows(en->draft, plan, n_context, n_pages);
    return plan->rows.total_bytes;
}

/* The longest context, in pages up to most, of which one fits under a line. */
static uint32_t context_that_fits(engine *en, engine_plan *plan, uint32_t most, uint64_t line_bytes) {
    uint32_t low = 0, high = most;
    while (low < high) {
        uint32_t middle = low + (high - low + 1) / 2;
        if (total_with(en, plan, middle * KV_PAGE_TOKENS, middle) <= line_bytes) low = middle;
        else high = middle - 1;
    }
    return low;
}

/* The largest pool, from least pages (which fit) to most. Beyond the least it leaves a little of the line to what
 * requests take for a moment: long answers being worded, prompts being tokenized. */
static uint32_t pool_that_fits(engine *en, engine_plan *plan, uint32_t least, uint64_t most) {
    uint32_t low = least, high = most < UINT32_MAX ? (uint32_t)most : UINT32_MAX;
    uint64_t line = plan->rows.line_bytes;
    if (line != UINT64_MAX && en->config.cache_entries) line -= line / 64;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2 + 1;
        if (total_with(en, plan, plan->n_context, middle) <= line) low = middle;
        else high = middle - 1;
    }
    return low;
}

enum {
    LEAST_OWN_CONTEXT = 512, /* a context that nobody asked for is not made smaller than this */
    MOST_CONTEXTS = 64,      /* a pool takes what the line leaves, but not more than this for a small model */
    /* What the program itself takes differs a little from start to start; advice is to hold at the next one. */
    ADVICE_SLACK_BYTES = 256 << 10,
};

static bool refuse_plan(engine *en, engine_plan *plan, uint32_t fitting_pages, err *e) {
    if (fitting_pages && plan->rows.line_bytes > ADVICE_SLACK_BYTES) {
        uint32_t surely = context_that_fits(en, plan, fitting_pages, plan->rows.line_bytes - ADVICE_SLACK_BYTES);
        if (surely * KV_PAGE_TOKENS >= LEAST_OWN_CONTEXT) fitting_pages = surely;
    }
    char need[BYTES_TEXT_BYTES], line[BYTES_TEXT_BYTES], fixed[BYTES_TEXT_BYTES];
    uint64_t wanted = total_with(en, plan, plan->n_context, kv_pages_for(plan->n_context));
    bytes_text(wanted, need);
    bytes_text(plan->rows.line_bytes, line);
    bytes_text(total_with(en, plan, 0, 0), fixed);
    if (fitting_pages > 0)
        return err_set_memory(e, wanted, plan->rows.line_bytes,
                              "a context of %u %s needs %s and the line is %s: with -c %u it would fit "
                              "(%s are taken before any context)",
                              plan->n_context, counted(plan->n_context, "token", "tokens"), need, line,
                              fitting_pages * KV_PAGE_TOKENS, fixed);
    return err_set_memory(e, wanted, plan->rows.line_bytes,
                          "this needs %s and the line is %s: %s are taken before any context; "
                          "raise --memory%s, or take a smaller model",
                          need, line, fixed, en->config.n_batch > 64 ? ", lower -b or -np" : "");
}

/* Rows that no context changes; and a device for both. */
static void plan_draft(engine *en, engine_plan *plan) {
    engine *d = en->draft;
    uint32_t cols = model_max_cols(&d->desc);
    if (cols > en->device_config.max_cols) en->device_config.max_cols = cols;
    add_row(plan, MEM_WEIGHTS, plat_vm_round(d->weights_bytes));
    add_row(plan, MEM_TOKENIZER, mem_heap_bytes(&d->tokenizer_heap) + mem_heap_bytes(&d->directory_heap));
}

bool engine_plan_make(engine *en, engine_plan *plan, err *e) {
    const model_desc *d = &en->desc;
    en->device_config = (device_cpu_config){en->config.n_threads, en->config.n_batch, model_max_cols(d)};
    plan->tensor_bytes = en->file.tensor_bytes;
    plan->page_bytes = kv_set_bytes(&d->kv, en->config.kv_type);
    plan->kv_bytes_per_token = plan->page_bytes / KV_PAGE_TOKENS;
    for (int t = 0; t < KV_TYPES; t++)
        plan->kv_share[t] = (double)kv_set_bytes(&d->kv, (kv_type)t) / (double)kv_set_bytes(&d->kv, COMPUTE_KV_F16);
    plan->n_context = en->config.n_context ? en->config.n_context : d->n_context_train;
    mem_plan_set(&plan->rows, MEM_WEIGHTS, plat_vm_round(en->weights_bytes));
    mem_plan_set(&plan->rows, MEM_TOKENIZER, mem_heap_bytes(&en->tokenizer_heap) + mem_heap_bytes(&en->directory_heap));
    if (engine_grammars_bytes(en)) mem_plan_set(&plan->rows, MEM_GRAMMAR, engine_grammars_bytes(en));
    if (en->draft) plan_draft(en, plan);

    uint32_t one = kv_pages_for(plan->n_context);
    if (total_with(en, plan, plan->n_context, one) > plan->rows.line_bytes) {
        uint32_t fit = context_that_fits(en, plan, one - 1, plan->rows.line_bytes);
        if (en->config.n_context || fit * KV_PAGE_TOKENS < LEAST_OWN_CONTEXT) return refuse_plan(en, plan, fit, e);
        plan->n_context = fit * KV_PAGE_TOKENS; /* no size was asked for: the largest that fits */
        one = fit;
    }
    uint32_t contexts = en->config.cache_entries && en->config.n_sessions < MOST_CONTEXTS ? MOST_CONTEXTS
                                                                                         : en->config.n_sessions;
    plan->n_pages = pool_that_fits(en, plan, one, (uint64_t)one * contexts);
    total_with(en, plan, plan->n_context, plan->n_pages);
    return mem_plan_check(&plan->rows, e);
}

/* ---- load ---- */

static bool load_work(engine *en, err *e) {
    if (!mem_arena_init(&en->work, en->ledger, MEM_WORKSPACE, work_bytes(en), true, e)) return false;
    return en->draws_ahead || device_cpu_init(&en->dev, &en->device_config, &en->work, e);
}

static bool load_weights(engine *en, model_progress *progress, void *ctx, err *e) {
    if (!mem_arena_init(&en->weights, en->ledger, MEM_WEIGHTS, en->weights_bytes, true, e)) return false;
    size_t mark = mem_arena_mark(&en->work);
    bool ok = model_init(&en->model, &en->file.source, &en->desc, &en->dev, &en->weights, &en->work, progress, ctx,
                         e);
    mem_arena_reset(&en->work, mark);
    if (en->file.file.fd < 0) plat_vm_forget(en->file.base, en->file.bytes); /* one copy: the packed one */
    return ok || err_prefix(e, "%s: ", en->config.model_path ? file_name(en->config.model_path) : "built-in model");
}

static void sample_once(engine *en) {
    engine_sampling sampling;
    engine_sample sample;
    engine_sampler sampler;
    engine_sampling_default(&sampling);
    engine_sampler_begin(&sampler, &sampling);
    engine_sample_next(en, &sampling, &sampler, engine_logits(en, 0), NULL, NULL, 0, &sample);
}

/* Steps before anyone asks, so that what a step and a sampling touch is present by then. With a spill file they also
 * say how long a prompt's token takes, to weigh reading a page back against computing it again. No trace is left. */
static bool warm_up(engine *en, err *e) {
    int32_t tokens[KV_PAGE_TOKENS] = {0};
    uint32_t n = en->config.n_batch < KV_PAGE_TOKENS ? en->config.n_batch : KV_PAGE_TOKENS;
    uint32_t n_measured = en->config.spill_path ? 2 : 0;
    kv_params params = engine_kv_params(en);
    params.share = false;
    engine_session *s = engine_session_open(en, &params, e);
    if (!s) return false;
    bool ok = engine_run(en, &(engine_batch_item){s, tokens, 1, ENGINE_WANT_LAST}, e);
    if (ok && !en->draws_ahead) sample_once(en);
    for (uint32_t i = 0; ok && i < n_measured; i++) {
        engine_session_rewind(en, s, 0);
        uint64_t start = clock_now_ns();
        ok = engine_run(en, &(engine_batch_item){s, tokens, n, ENGINE_WANT_NONE}, e);
        kv_cache_note_speed(en->kv, clock_ms_since(start) / n);
    }
    engine_session_close(en, s);
    kv_pool_trim(kv_cache_pool(en->kv), 0);
    en->counters = (engine_counters){0};
    return ok;
}

static bool load(engine *en, model_progress *progress, void *ctx, err *e) {
    if (!load_work(en, e) || !load_weights(en, progress, ctx, e)) return false;
    work_layout(en, &en->step, &en->work);
    CHECK(!en->work.failed);
    memset(en->token_counts, 0, en->desc.n_vocab * sizeof *en->token_counts);
    if (!en->draws_ahead) engine_mark_eog(en);
    if (!engine_grammars_load(en, e)) return false;
    if (!(en->kv = kv_cache_new(&en->kv_config, en->ledger, e))) return false;
    return warm_up(en, e);
}

static void unload(engine *en) {
    if (en->draft) unload(en->draft);
    engine_grammars_unload(en);
    kv_cache_free(en->kv);
    en->kv = NULL;
    if (!en->draws_ahead) device_cpu_stop(&en->dev);
    mem_arena_free(&en->work);
    mem_arena_free(&en->weights);
}

static bool load_draft(engine *en, const engine_plan *plan, model_progress *progress, void *ctx, err *e) {
    engine *d = en->draft;
    d->n_context = plan->n_context;
    d->kv_config = draft_kv_config(d, plan->n_context, plan->n_pages);
    d->dev = en->dev;
    if (!load(d, progress, ctx, e)) return false;
    gguf_close(&d->file);
    d->file_open = false;
    return true;
}

bool engine_load(engine *en, const engine_plan *plan, model_progress *progress, void *ctx, err *e) {
    en->n_context = plan->n_context;
    en->kv_config = kv_config(en, plan->n_context, plan->n_pages);
    if (!load(en, progress, ctx, e) || (en->draft && !load_draft(en, plan, progress, ctx, e))) {
        unload(en);
        return false;
    }
    gguf_close(&en->file);
    en->file_open = false;
    return true;
}

void engine_free(engine *en) {
    if (!en) return;
    if (en->draft && en->draft->kv) kv_cache_close_all(en->draft->kv);
    if (en->kv) kv_cache_close_all(en->kv);
    unload(en);
    engine_free(en->draft);
    if (en->file_open) gguf_close(&en->file);
    model_desc_free(&en->desc);
    text_token_index_free(en->token_index);
    text_template_free(en->compiled_template);
    text_vocab_free(en->vocab);
    mem_heap_give(&en->tokenizer_heap, en->chat_template, en->chat_template_bytes);
    CHECK(mem_heap_bytes(&en->tokenizer_heap) == 0 && mem_heap_bytes(&en->directory_heap) == 0);
    mem_arena self = en->self;
    mem_arena_free(&self);
}
