#include "api/core/shared_fields.h"

#include <stdio.h>

#include "api/core/core.h"
#include "api/core/request.h"
#include "base/log.h"

/* ---- the table ---- */

#define AT(member) offsetof(api_request, member)
#define SAMPLING(member) offsetof(api_request, job.sampling.member)
#define ALSO(member) offsetof(api_request, also.member)
#define CHECKED(name, kind) {name, kind, .use = FIELD_CHECKED}
#define CHECKED_NUMBER(name) {name, FIELD_FLOAT, .low = -1e18, .high = 1e18, .use = FIELD_CHECKED}
/* All but what asks for nothing: 0 of the numbers, or those from low to high. */
#define REFUSED(name, reason) {name, FIELD_ANY, .use = FIELD_REFUSED, .why = reason}
#define REFUSED_BUT(name, from, to, reason)                                                                  \
    {name, FIELD_FLOAT, .low = from, .high = to, .use = FIELD_REFUSED, .why = reason}

/* ["text"], in any case; what else there is cannot be had. */
static bool on_modalities(void *target, const json_event *ev, int depth, err *e) {
    (void)target;
    if (depth == 0 && (ev->kind == JSON_ARRAY_START || ev->kind == JSON_ARRAY_END)) return true;
    if (depth == 0) return err_set(e, ERR_INVALID, "'modalities' must be an array of strings");
    return (depth == 1 && ev->kind == JSON_STRING && str_is(ev->text, "text")) ||
           err_set(e, ERR_INVALID, "'modalities' may hold \"text\" only: this model says nothing else");
}

/* What leaves thoughts within the text ("none", "raw") cannot be had: they come apart. */
static const char *const reasoning_formats[] = {"auto", "hidden", "parsed", "deepseek", "deepseek-legacy", NULL};

const char *const verbosities[] = {"low", "medium", "high", NULL};

const field shared_fields[] = {
    /* other names of what there is */
    {"repetition_penalty", FIELD_FLOAT, ALSO(repetition_penalty), 0.01, 100},
    {"ignore_eos", FIELD_BOOL, SAMPLING(ignore_end)},
    {"n_predict", FIELD_I32, ALSO(n_predict), -2, INT32_MAX},
    {"max_new_tokens", FIELD_U32, ALSO(max_new_tokens), 1, UINT32_MAX},
    {"cache_prompt", FIELD_BOOL, AT(cache)},
    {"cache_salt", FIELD_STRING, ALSO(cache_salt)},
    {"n_probs", FIELD_U32, ALSO(n_probs), 0, SAMPLER_TOP_LOGPROBS_MAX},
    {"truncate_prompt_tokens", FIELD_LIMIT, ALSO(truncate_prompt), -1, UINT32_MAX},
    /* the conversation's end, and its template */
    {"continue_final_message", FIELD_BOOL, ALSO(continue_final)},
    {"prefill", FIELD_ANY, ALSO(prefill)},
    {"add_generation_prompt", FIELD_YES_NO, ALSO(generation_prompt)},
    {"chat_template_kwargs", FIELD_OBJECT, ALSO(template_values)},
    /* thoughts */
    {"enable_thinking", FIELD_YES_NO, ALSO(thinking)},
    {"thinking_budget_tokens", FIELD_I32, ALSO(budgets[0]), -1, INT32_MAX},
    {"thinking_token_budget", FIELD_I32, ALSO(budgets[1]), -1, INT32_MAX},
    {"thinking_budget", FIELD_I32, ALSO(budgets[2]), -1, INT32_MAX},
    {"reasoning_budget", FIELD_I32, ALSO(budgets[3]), -1, INT32_MAX},
    {"reasoning_budget_tokens", FIELD_I32, ALSO(budgets[4]), -1, INT32_MAX},
    {"reasoning_budget_message", FIELD_STRING, ALSO(budget_message)},
    {"thinking_budget_message", FIELD_STRING, ALSO(budget_message)},
    {"thinking", FIELD_OBJECT, ALSO(thinking_object)},
    {"reasoning", FIELD_OBJECT, ALSO(reasoning_object)},
    {"include_reasoning", FIELD_YES_NO, ALSO(include_reasoning)},
    {"reasoning_format", FIELD_WORD, ALSO(reasoning_format), .words = reasoning_formats},
    /* the answer's form */
    {"guided_json", FIELD_ANY, ALSO(guided_json)},
    {"guided_json_object", FIELD_BOOL, ALSO(guided_json_object)},
    {"guided_regex", FIELD_STRING, ALSO(guided_regex)},
    {"guided_choice", FIELD_ARRAY, ALSO(guided_choice)},
    {"guided_grammar", FIELD_STRING, ALSO(guided_grammar)},
    {"structured_outputs", FIELD_OBJECT, ALSO(structured)},
    {"json_schema", FIELD_ANY, ALSO(json_schema)},
    {"regex", FIELD_STRING, ALSO(regex)},
    {"choice", FIELD_ARRAY, ALSO(choice)},
    {"ebnf", FIELD_STRING, ALSO(ebnf)},
    {"response_format", FIELD_OBJECT, ALSO(response_format)},
    /* the next token */
    {"seed", FIELD_U64, AT(seed), REQUEST_SEED_LEAST, REQUEST_SEED_MOST},
    {"min_tokens", FIELD_U32, SAMPLING(min_tokens), 0, UINT32_MAX},
    {"min_new_tokens", FIELD_U32, SAMPLING(min_tokens), 0, UINT32_MAX},
    {"stop_token_ids", FIELD_ARRAY, ALSO(stop_ids)},
    {"bad_words", FIELD_ARRAY, ALSO(bad_words)},
    {"allowed_token_ids", FIELD_ARRAY, ALSO(allowed_ids)},
    {"include_stop_str_in_output", FIELD_BOOL, SAMPLING(show_stop)},
    {"no_stop_trim", FIELD_BOOL, SAMPLING(show_stop)},
    {"skip_special_tokens", FIELD_YES_NO, ALSO(skip_special)},
    {"detokenize", FIELD_YES_NO, ALSO(detokenize)},
    {"top_n_sigma", FIELD_FLOAT, SAMPLING(top_n_sigma), -1e9, 1e9},
    {"xtc_probability", FIELD_FLOAT, SAMPLING(xtc_probability), 0, 1},
    {"xtc_threshold", FIELD_FLOAT, SAMPLING(xtc_threshold), 0, 1},
    {"dynatemp_range", FIELD_FLOAT, SAMPLING(dynatemp_range), 0, 100},
    {"dynatemp_exponent", FIELD_FLOAT, SAMPLING(dynatemp_exponent), 0, 100},
    {"mirostat", FIELD_U32, SAMPLING(mirostat), 0, 2},
    {"mirostat_tau", FIELD_FLOAT, SAMPLING(mirostat_tau), 0, 100},
    {"mirostat_eta", FIELD_FLOAT, SAMPLING(mirostat_eta), 0, 10},
    {"dry_multiplier", FIELD_FLOAT, SAMPLING(dry_multiplier), 0, 1000},
    {"dry_base", FIELD_FLOAT, SAMPLING(dry_base), 1, 100},
    {"dry_allowed_length", FIELD_U32, SAMPLING(dry_allowed_length), 0, INT32_MAX},
    {"dry_penalty_last_n", FIELD_I32, SAMPLING(dry_last_n), -1, INT32_MAX},
    {"dry_sequence_breakers", FIELD_ARRAY, ALSO(dry_breakers)},
    {"samplers", FIELD_ANY, ALSO(samplers)},
    /* not here */
    REFUSED_BUT("best_of", 0, 1, "is given: this server answers with all that it computes; use 'n'"),
    REFUSED("use_beam_search", "is given: this server samples, it does not search"),
    REFUSED_BUT("beam_width", 0, 1, "is given: this server samples, it does not search"),
    REFUSED_BUT("length_penalty", 1, 1, "is given: it is of beam search, which this server has not"),
    REFUSED("early_stopping", "is given: it is of beam search, which this server has not"),
    REFUSED_BUT("diversity_penalty", 0, 0, "is given: it is of beam search, which this server has not"),
    REFUSED_BUT("prompt_logprobs", 1, 0, "is given: there are no log probabilities of the prompt here"),
    REFUSED_BUT("logprob_start_len", -1, -1, "is given: there are no log probabilities of the prompt here"),
    REFUSED("return_prompt_logprobs", "is given: there are no log probabilities of the prompt here"),
    REFUSED("logprobs", "is given: answers of this route have no log probabilities"),
    REFUSED("top_logprobs", "is given: answers of this route have no log probabilities"),
    REFUSED("post_sampling_probs", "is given: log probabilities are of the model's own distribution"),
    REFUSED("logprob_token_ids", "is given: log probabilities come with the likeliest tokens; use 'top_logprobs'"),
    REFUSED("token_ids_logprob", "is given: log probabilities come with the likeliest tokens; use 'top_logprobs'"),
    REFUSED("return_token_ids", "is given: answers have texts, not ids"),
    REFUSED("return_tokens", "is given: answers have texts, not ids"),
    REFUSED("return_tokens_as_token_ids", "is given: answers have texts, not ids"),
    REFUSED("return_hidden_states", "is given: answers have no hidden states; /v1/embeddings has vectors"),
    REFUSED("logits_processors", "is given: this server runs no code of its clients"),
    REFUSED("custom_logit_processor", "is given: this server runs no code of its clients"),
    REFUSED("custom_params", "is given: this server runs no code of its clients"),
    REFUSED("vllm_xargs", "is given: this server runs no code of its clients"),
    REFUSED("structural_tag", "is given: this server has no structural tags; use 'tools' or 'grammar'"),
    REFUSED("guided_whitespace_pattern", "is given: JSON is written without blanks here"),
    REFUSED("lora", "is given: this server has no adapters"),
    REFUSED("lora_path", "is given: this server has no adapters"),
    REFUSED("lora_request", "is given: this server has no adapters"),
    REFUSED("audio", "is given: this model says nothing but text"),
    REFUSED("images", "is given: this model does not see"),
    REFUSED("functions", "is given: say it with 'tools'"),
    REFUSED("function_call", "is given: say it with 'tool_choice'"),
    REFUSED("background", "is given: this server answers while the client waits"),
    REFUSED("conversation", "is given: nothing is kept here; send the whole conversation"),
    REFUSED("previous_response_id", "is given: nothing is kept here; send the whole conversation"),
    REFUSED("chat_template", "is given: this server takes the model's own; --chat-template gives it another"),
    REFUSED("documents", "is given: put them into the messages"),
    REFUSED("mm_processor_kwargs", "is given: this model takes text only"),
    REFUSED("input_embeds", "is given: prompts are text or token ids"),
    REFUSED("prompt_embeds", "is given: prompts are text or token ids"),
    REFUSED("kv_transfer_params", "is given: this server moves no cache from elsewhere"),
    REFUSED("min_keep", "is given: samplers keep one token at least, and need no more"),
    REFUSED_BUT("tfs_z", 1, 1, "is given: tail-free sampling has left other servers, too; use 'min_p'"),
    REFUSED_BUT("t_max_predict_ms", -1e18, 0, "is given: answers end by tokens; use 'max_tokens'"),
    REFUSED("n_indent", "is given: lines are not counted here; use 'grammar'"),
    REFUSED("input_prefix", "is given: this server does not fill in the middle"),
    REFUSED("input_suffix", "is given: this server does not fill in the middle"),
    REFUSED("input_extra", "is given: this server does not fill in the middle"),
    /* let pass, and named */
    {"web_search_options", FIELD_OBJECT, .use = FIELD_NAMED, .why = "which nobody here can run: it is left out"},
    {"verbosity", FIELD_WORD, .words = verbosities, .use = FIELD_NAMED, .why = VERBOSITY_WHY},
    {"modalities", FIELD_CUSTOM, .events = on_modalities},
    /* of no consequence for what is said */
    CHECKED("store", FIELD_BOOL),
    CHECKED("metadata", FIELD_OBJECT),
    CHECKED("user", FIELD_STRING),
    CHECKED("service_tier", FIELD_STRING),
    CHECKED("safety_identifier", FIELD_STRING),
    CHECKED("prompt_cache_key", FIELD_STRING),
    CHECKED("prompt_cache_retention", FIELD_STRING),
    CHECKED("prompt_cache_options", FIELD_OBJECT),
    CHECKED("prediction", FIELD_OBJECT),
    CHECKED("request_id", FIELD_STRING),
    CHECKED("truncation", FIELD_STRING), /* what is too long is refused, whatever it says */
    CHECKED("include", FIELD_ARRAY),
    CHECKED("stream_options", FIELD_OBJECT),
    CHECKED_NUMBER("max_tool_calls"),
    CHECKED("rid", FIELD_ANY),
    CHECKED("spaces_between_special_tokens", FIELD_BOOL),
    CHECKED("guided_decoding_backend", FIELD_STRING),
    CHECKED("guided_decoding_disable_fallback", FIELD_BOOL),
    CHECKED("guided_decoding_disable_any_whitespace", FIELD_BOOL),
    CHECKED("guided_decoding_disable_additional_properties", FIELD_BOOL),
    CHECKED_NUMBER("id_slot"),
    CHECKED_NUMBER("slot_id"),
    CHECKED_NUMBER("n_keep"),
    CHECKED_NUMBER("n_discard"),
    CHECKED_NUMBER("n_cache_reuse"),
    CHECKED_NUMBER("data_parallel_rank"),
};
const size_t shared_fields_count = sizeof shared_fields / sizeof *shared_fields;

/* ---- what nobody knows ---- */

/* Each name once; when so many different ones have come that the log would fill, no more of them. */
static bool is_new(api *a, str name) {
    uint64_t hash = str_hash(name);
    for (uint32_t i = 0; i < a->n_ignored; i++)
        if (a->ignored[i] == hash) return false;
    if (a->n_ignored == API_IGNORED_MAX) return false;
    a->ignored[a->n_ignored++] = hash;
    return true;
}

static bool is_plain(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || strchr("_-.:$[]", c);
}

static bool is_listed(const ignored_names *x, const char *text) {
    size_t len = strlen(text);
    for (const char *at = x->n ? strstr(x->text, text) : NULL; at; at = strstr(at + 1, text)) {
        bool begins = at == x->text || at[-1] == ' ', ends = !at[len] || at[len] == ',';
        if (begins && ends) return true;
    }
    return false;
}

static void list(ignored_names *x, const char *path, str name, const char *what, const char *why) {
    char text[96];
    int n = snprintf(text, sizeof text, "%s%.*s", path, (int)(name.len < 48 ? name.len : 48), name.data);
    for (int i = 0; i < n && i < (int)sizeof text - 1; i++)
        if (!text[i] || !is_plain(text[i])) text[i] = '?';
    if (is_new(x->a, str_of(text)))
        log_info("api", "a request has %s '%s', %s%s", what, text, why,
                 x->a->n_ignored == API_IGNORED_MAX ? " (no more of them are logged)" : "");
    if (is_listed(x, text)) return;
    size_t len = strlen(text);
    if (x->len + len + 16 > sizeof x->text) {
        x->n_more++;
        return;
    }
    x->len += (size_t)snprintf(x->text + x->len, sizeof x->text - x->len, "%s%s", x->n++ ? ", " : "", text);
}

void shared_fields_ignore(void *ctx, const char *path, str name, const char *why) {
    list(ctx, path, name, "the field", why ? why : "which nobody here knows: it is let pass");
}

void shared_fields_leave_out(ignored_names *x, const char *where, str name) {
    list(x, where, name, "the tool or item", "which nobody here can run or look up: it is left out");
}
