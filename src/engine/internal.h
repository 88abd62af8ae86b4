/* engine/internal — the engine's parts, shared by the files of this room only. */
#ifndef ENGINE_INTERNAL_H
#define ENGINE_INTERNAL_H

#include "device/cpu/cpu.h"
#include "engine/engine.h"
#include "engine/grammars.h"
#include "format/gguf.h"
#include "mem/arena.h"
#include "mem/buddy.h"
#include "mem/heap.h"
#include "plat/mutex.h"

typedef struct engine_candidate {
    float logit;
    int32_t id;
} engine_candidate;

/* engine/grammars.c. machine NULL: there are none. */
typedef struct engine_grammars {
    mem_arena arena;
    plat_mutex lock; /* of all but the machine, which belongs to the thread that steps */
    mem_buddy blocks;
    base_alloc alloc; /* of blocks */
    engine_grammar *first;
    uint64_t compiled, found, tries;
    text_grammar_machine *machine;
} engine_grammars;

size_t engine_grammars_bytes(const engine *en);
bool engine_grammars_load(engine *en, err *e);
void engine_grammars_unload(engine *en);

struct engine {
    mem_arena self; /* holds this struct */
    engine_config config;
    mem_ledger *ledger;
    mem_heap tokenizer_heap, directory_heap;
    gguf file;
    bool file_open;
    model_desc desc;
    text_vocab *vocab;
    text_token_index *token_index; /* NULL: no grammars */
    char *chat_template;
    size_t chat_template_bytes;
    text_template *compiled_template;
    char name[128];
    engine_about about;

    /* from the plan */
    uint32_t n_context;
    size_t weights_bytes;
    kv_cache_config kv_config;
    device_cpu_config device_config;

    mem_arena weights, work;
    device dev;
    model model;
    model_workspace step;
    kv_cache *kv;
    model_token *batch;
    engine *draft;    /* drafts for this one, on this one's device */
    bool draws_ahead; /* it is one that drafts: no device, vocabulary or index of its own */

    /* for the sampler: one at a time */
    engine_candidate *candidates;
    float *adjusted;        /* by token: logits after bias and penalties, for the typical step */
    uint16_t *token_counts; /* zero between uses */
    uint64_t *ends;         /* a bit for each token that ends a text or controls: what ignore_end bans */

    engine_grammars grammars;
    engine_counters counters;
};

/* engine/sampler.c: fills ends from the vocabulary. */
void engine_mark_eog(engine *en);

/* engine/sampler_dry.c. c: by token. */
struct engine_sampling;
void engine_apply_dry(engine *en, const struct engine_sampling *s, engine_candidate *c, const int32_t *tokens,
                      uint32_t n_tokens);

/* engine/draft.c: a model that drafts. */
bool engine_draft_prepare(engine *en, err *e);

/* engine/vocab.c: the vocabulary that the file carries. */
text_vocab *engine_vocab_read(const format_source *source, const base_alloc *alloc, err *e);

#endif
