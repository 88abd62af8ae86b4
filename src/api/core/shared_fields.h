/* api/core/shared_fields — fields that every dialect takes beside its own: the names that vLLM, SGLang, llama.cpp and
 * OpenAI's other models have for what a request can ask.
 *
 * Owns one table of them, looked at after a dialect's own. Each works, or is of no consequence for what is said (its
 * type is checked), or is refused by name unless it asks for nothing. What is in neither table is let pass and named:
 * in the response header X-Plimsoll-Ignored, and once in the log. Only the native dialect, whose fields are all ours,
 * refuses it. Callers: api/request and the dialects.
 */
#ifndef API_CORE_SHARED_FIELDS_H
#define API_CORE_SHARED_FIELDS_H

#include "api/core/fields.h"

struct api;

/* Names that were let pass, for a response header. */
typedef struct ignored_names {
    struct api *a;
    uint32_t n, n_more; /* listed; that had no room */
    size_t len;
    char text[192];
} ignored_names;

/* For fields_more.unknown; ctx: an ignored_names. why: "which …"; NULL: nobody here knows the name. */
void shared_fields_ignore(void *ctx, const char *path, str name, const char *why);

/* A tool or an item that is left out of the prompt: where: "tools.", "input.". */
void shared_fields_leave_out(ignored_names *x, const char *where, str name);

/* reasoning_format: ours is the third; thoughts are left out with HIDDEN. */
enum { SHARED_BUDGETS = 5, BUDGET_UNSAID = INT32_MIN, REASONING_HIDDEN = 1 };

/* What the shared fields come to that has no place in the job. */
typedef struct shared_values {
    uint32_t generation_prompt, thinking; /* as FIELD_YES_NO */
    uint32_t include_reasoning, reasoning_format; /* as FIELD_YES_NO; as its words, 0: unsaid */
    int32_t budgets[SHARED_BUDGETS];              /* of thinking, by each of its names; -1: none */
    str budget_message, thinking_object, reasoning_object;
    bool continue_final;
    int32_t n_predict;
    uint32_t max_new_tokens, n_probs, truncate_prompt;
    float repetition_penalty;
    uint32_t skip_special, detokenize; /* as FIELD_YES_NO */
    str prefill, template_values, cache_salt;
    str guided_json, guided_regex, guided_choice, guided_grammar, structured, json_schema, regex, choice, ebnf,
        response_format;
    bool guided_json_object;
    str stop_ids, bad_words, allowed_ids, dry_breakers, samplers; /* JSON */
} shared_values;

extern const char *const verbosities[];
#define VERBOSITY_WHY "which has no effect: ask the model for short or long answers in words"

extern const field shared_fields[];
extern const size_t shared_fields_count;

#endif
