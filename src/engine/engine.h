/* engine/ — a loaded model: the load plan, sessions over the KV pool, and the batch step.
 *
 * Owns the weights, the tokenizer, the workspace and the KV pool, all reserved in one ledger. Callers:
 * sched/ (the server), cli/ (run, bench), and programs that link the library (include/plimsoll.h). One
 * thread at a time steps an engine; text_vocab may be used from any thread. Knows no sockets, no
 * dialects, no queues: whoever calls decides what runs next.
 *
 * Coming up has two halves. engine_prepare reads the header and builds the tokenizer; engine_plan
 * says exactly what the rest will take; engine_load takes it, once, or gives everything back.
 */
#ifndef ENGINE_ENGINE_H
#define ENGINE_ENGINE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/json.h"
#include "compute/limits.h"
#include "kv/cache.h"
#include "mem/ledger.h"
#include "mem/plan.h"
#include "model/model.h"
#include "text/template/template.h"
#include "text/vocab/vocab.h"

typedef struct engine_config {
    const char *model_path; /* NULL: the built-in model */
    const char *draft_path; /* a smaller model of the same vocabulary that drafts; NULL: drafts are looked up */
    uint32_t n_context;     /* tokens a session can hold; 0: what the model was trained for, as far as it fits */
    uint32_t n_sessions;    /* at once */
    kv_type kv_type;        /* of sessions that do not say */
    uint32_t cache_entries; /* remembered conversations; 0: sessions share nothing, nothing is remembered */
    size_t cache_bytes;     /* of remembered pages that nobody uses; 0: what the pool has */
    uint64_t cache_ttl_ms;  /* of what is remembered; 0: none */
    const char *spill_path; /* NULL: no spill file */
    uint64_t spill_bytes;
    uint32_t n_batch;       /* tokens of one step */
    uint32_t n_logits;      /* logits rows of one step; 0: n_sessions */
    uint32_t n_drafts;      /* drafted tokens of one step, each with a row of its own; 0: nothing is drafted */
    int n_threads;          /* 0: all usable cores */
    str chat_template;      /* instead of the file's; empty: that. Outlives the engine */
    size_t grammar_bytes;   /* for compiled grammars; 0: none can be used */
} engine_config;

void engine_config_default(engine_config *c);

typedef struct engine engine;
typedef kv_sequence engine_session;

/* Opens and validates the file, builds the tokenizer. Errors name the file. */
engine *engine_prepare(const engine_config *c, mem_ledger *l, err *e);
/* Only the tokenizer: for files that hold nothing else, too. Such an engine cannot be planned or loaded. */
engine *engine_prepare_tokenizer(const engine_config *c, mem_ledger *l, err *e);
/* The built-in model's file, as it is in the program. */
void engine_builtin(const void **bytes, size_t *len);
/* Its pages go: kernels that map files in large pieces bring some of it in beside our constants. */
void engine_builtin_forget(void);

typedef struct engine_plan {
    mem_plan rows;         /* weights, kv, workspace, tokenizer, …, plus what the caller had set */
    uint64_t tensor_bytes; /* of the file */
    uint32_t n_context;
    uint32_t n_pages;      /* of the server's type (of all layer groups) that the pool holds */
    size_t page_bytes, kv_bytes_per_token;
    double kv_share[KV_TYPES]; /* bytes of a token by type, as a part of f16's */
    /* Set by the caller: what row queue comes to with a context, so that it is no larger than the one chosen; NULL: it
     * stays as it was set. */
    uint64_t (*queue_bytes)(const void *ctx, uint32_t n_context);
    const void *queue_ctx;
} engine_plan;

/* Fills the rows this engine will take beside those already set in plan->rows (http, queue, runtime),
 * and chooses context and pool within plan->rows.line_bytes. ERR_MEMORY, saying what would fit, when
 * not even one context of the wanted size does. */
bool engine_plan_make(engine *en, engine_plan *plan, err *e);

bool engine_load(engine *en, const engine_plan *plan, model_progress *progress, void *ctx, err *e);
void engine_free(engine *en); /* at any stage; everything is back in the ledger */

const text_vocab *engine_vocab(const engine *en);
const model_desc *engine_model_desc(const engine *en);
const char *engine_model_name(const engine *en); /* general.name, else the file's name */
str engine_model_stem(const engine *en);         /* the file's name without its ending; empty: built in */
/* Of the model's file. */
typedef struct engine_about {
    uint64_t file_bytes, parameters;
    const char *weight_type;      /* that most of its bytes have: "Q4_0" */
    uint64_t identity[2];         /* of its content */
} engine_about;
const engine_about *engine_about_file(const engine *en);
uint32_t engine_context(const engine *en);       /* after engine_load */
uint32_t engine_batch(const engine *en);
uint32_t engine_max_sessions(const engine *en);
uint32_t engine_drafts(const engine *en); /* drafted tokens that a step has room for */
const char *engine_draft_name(const engine *en); /* of the model that drafts; NULL: none */
const char *engine_kernels(const engine *en);
int engine_threads(const engine *en);
kv_cache *engine_kv(const engine *en); /* for whoever decides what is kept and what goes */
str engine_chat_template(const engine *en); /* empty when the model has none */
const text_template *engine_template(const engine *en); /* compiled; NULL where there is none that can be */
model_pooling engine_pooling(const engine *en); /* for embeddings that do not say: the model's, else the mean */

/* ---- sessions: sequences of the KV cache ---- */

kv_params engine_kv_params(const engine *en); /* the server's type, no window, shared with all who have no tenant */
/* params NULL: engine_kv_params. ERR_BUSY when all are open. */
engine_session *engine_session_open(engine *en, const kv_params *params, err *e);
void engine_session_close(engine *en, engine_session *s); /* forgets it; kv_sequence_close can remember */
/* Takes pages so that the session can hold n_tokens: from then on no step of it can fail for memory.
 * ERR_TOO_LARGE beyond the context; ERR_BUSY when others hold the pages; all as it was then. */
bool engine_session_reserve(engine *en, engine_session *s, uint32_t n_tokens, err *e);
uint32_t engine_session_length(const engine_session *s);
size_t engine_session_bytes(const engine *en, const engine_session *s);       /* of KV pages held */
/* Forgets all after the first n; returns what is left: 0 where a window has let go of what would be needed. */
uint32_t engine_session_rewind(engine *en, engine_session *s, uint32_t n_tokens);

/* ---- a step ---- */

/* Logits of none of the tokens, the last, all; or of each its state after the model's last norm, and no logits. */
typedef enum engine_want { ENGINE_WANT_NONE, ENGINE_WANT_LAST, ENGINE_WANT_ALL, ENGINE_WANT_STATES } engine_want;

typedef struct engine_batch_item {
    engine_session *session;
    const int32_t *tokens;
    uint32_t n_tokens;
    engine_want want;
} engine_batch_item;

static inline uint32_t engine_item_rows(const engine_batch_item *f) {
    return f->want == ENGINE_WANT_ALL ? f->n_tokens : f->want == ENGINE_WANT_LAST;
}

/* Runs the items as one batch (sum of tokens ≤ engine_batch, wanted rows ≤ n_logits + n_drafts; sessions must hold
 * the pages: kv_sequence_prepare). Logits rows follow the order of items. On ERR_CANCELLED the sessions are as before;
 * else engine_step_commit must follow, once for each item, before the next step: only then do the tokens count, as
 * many as the item then has. (The two are apart so that a step can run while others read the cache.) */
bool engine_step(engine *en, const engine_batch_item *items, uint32_t n_items, const _Atomic bool *cancel, err *e);
void engine_step_commit(engine *en, const engine_batch_item *items, uint32_t n_items);
/* Pages, step and commit at once, for an owner of a single session. */
bool engine_run(engine *en, const engine_batch_item *item, err *e);
/* Row i of the last step: n_vocab floats, valid until the next. */
const float *engine_logits(const engine *en, uint32_t row);
/* Of the last step's token i (counted over all items), if its item wanted states: n_embd floats, valid
 * until the next; those of the item's other tokens follow. */
const float *engine_state(const engine *en, uint32_t token);
/* What a item wanted: its first token's state, if token is that token's place in the step, or the step's row. */
const float *engine_item_result(const engine *en, const engine_batch_item *item, uint32_t token, uint32_t row);

/* What a decoded token reads of the weights and multiplies, whatever its context; and what the machine could do at
 * most, measured now, over the same weights. The thread that steps asks. */
size_t engine_token_bytes(const engine *en);
double engine_token_macs(const engine *en);
void engine_limits(engine *en, compute_limits *out);

/* malloc calls made by the thread that steps, during steps and samplings so far (promise: 0 per token). */
typedef struct engine_counters {
    uint64_t steps, tokens, step_mallocs;
} engine_counters;
void engine_counters_read(const engine *en, engine_counters *out);

#endif
