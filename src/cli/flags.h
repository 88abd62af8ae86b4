/* cli/flags — every option, declared once: flag, environment variable, config key, range, help.
 *
 * Owns the table and the reading of it, in this order of strength: flags > PLIMSOLL_* environment >
 * config file > defaults. --help, --print-config and the documentation come from the same rows. */
#ifndef CLI_FLAGS_H
#define CLI_FLAGS_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "base/err.h"

typedef struct cli_options {
    const char *model, *host, *alias, *config, *logits, *token_file, *log_level, *spill_file, *api_keys;
    bool any_model;
    const char *allowed_hosts, *cors_origins, *chat_template;
    uint64_t memory_bytes; /* 0: by itself */
    double memory_percent; /* 0: not given as a percentage */
    uint64_t body_limit_bytes, cache_bytes, spill_bytes;
    uint64_t level_bytes[4]; /* caution, warning, critical, emergency; 0: the default */
    uint32_t speculate; /* 0: off, 1: lookup, 2: draft */
    const char *draft_model;
    uint32_t kv_type, window, keep, cache_entries, cache_ttl_s;
    uint64_t grammar_bytes;
    uint32_t context, parallel, batch, threads, port;
    uint32_t max_concurrent, max_queue, max_connections, max_active, queue_timeout_s, keep_alive_s, drain_timeout_s;
    int32_t predict;
    float temperature, top_p, min_p, typical_p, repeat_penalty, frequency_penalty, presence_penalty;
    uint32_t top_k, repeat_last_n;
    uint64_t seed;
    bool seed_given;
    uint32_t pp, tg, reps;
    const char *streams, *depth; /* bench: lists */
    uint32_t interval_ms;
    bool once;
    const char *concurrency, *payload, *requests_scan, *chart, *json_file; /* load */
    uint32_t requests, pid;
    uint64_t body_pool_bytes; /* 0: the default */
    uint32_t engine_kind;     /* 0: the model's; 1: echo */
    const char *list, *cgroup; /* guard */
    uint64_t leak_bytes;
    uint32_t wait_s;
    bool cleanup_after_request;
    bool no_prompt_cache, json, no_echo, special, ids, print_config, help;
    const char *template_file, *messages; /* render */
    const char **args; /* what is left: prompt, file */
    int n_args;
} cli_options;

/* Which commands a row belongs to. */
enum {
    CLI_RUN = 1, CLI_SERVE = 2, CLI_PLAN = 4, CLI_INSPECT = 8, CLI_TOKENIZE = 16, CLI_BENCH = 32, CLI_LOAD = 64,
    CLI_TOP = 128, CLI_GUARD = 256, CLI_RENDER = 512,
    CLI_SERVER = CLI_SERVE | CLI_PLAN, /* plan takes the line of serve as it stands */
    CLI_LOADS = CLI_RUN | CLI_SERVE | CLI_PLAN | CLI_BENCH,
    CLI_MODEL = 63 | CLI_RENDER, /* those that read a model file */
    CLI_ALL = 1023,
};

/* argv after the command. False with ERR_USAGE. Strings point into argv, the environment or a config
 * text that stays mapped. */
bool cli_flags_read(cli_options *o, unsigned command, int argc, const char **argv, err *e);
/* Into the log: PLIMSOLL_… variables that are no option's, with the name that was meant. Values are not shown. */
void cli_flags_warn_of_environment(char **environment);
void cli_flags_help(unsigned command, FILE *out);
void cli_flags_print_config(const cli_options *o, unsigned command, FILE *out);

#endif
