/* cli/ — the commands. One file each; main.c has the table.
 *
 * A command gets its options and returns the exit status: 0 done, 1 failed, 2 refused (usage, a file
 * that is not what it should be, a plan that does not fit). */
#ifndef CLI_CLI_H
#define CLI_CLI_H

#include "cli/flags.h"
#include "engine/engine.h"
#include "mem/ledger.h"

int cli_run(const cli_options *o, mem_ledger *l);
int cli_serve(const cli_options *o, mem_ledger *l);
int cli_plan(const cli_options *o, mem_ledger *l);
int cli_inspect(const cli_options *o, mem_ledger *l);
int cli_guard(const cli_options *o, mem_ledger *l);
int cli_tokenize(const cli_options *o, mem_ledger *l);
int cli_render(const cli_options *o, mem_ledger *l);
int cli_bench(const cli_options *o, mem_ledger *l);
int cli_load(const cli_options *o, mem_ledger *l);
int cli_top(const cli_options *o, mem_ledger *l);

/* ---- what several commands share (common.c) ---- */

/* Prints "plimsoll: message" and gives the exit status for it. */
int cli_fail(const err *e);

/* chat_templates.c: the text of --chat-template, by name or from a file; empty without it. Static storage. */
bool cli_chat_template(const cli_options *o, str *out, err *e);

engine_config cli_engine_config(const cli_options *o, uint32_t n_sessions);
/* The engine's, with --window and --keep. */
kv_params cli_kv_params(const cli_options *o, const engine *en);
bool cli_check_window(const cli_options *o, uint32_t n_context, err *e);
/* By --memory, and no more than the control groups give. machine: nor than this machine has available (a plan may be
 * for another). False when the line is below what the program itself takes, or the machine is smaller than it. */
bool cli_set_line(const cli_options *o, mem_ledger *l, bool machine, err *e);
/* The plan so far: the line and what the process holds already. */
void cli_plan_begin(engine_plan *plan, mem_ledger *l);
void cli_print_plan(const engine *en, const engine_plan *plan, FILE *out);
/* True with a sentence when a type saves less with this model than it does with most. */
/* Words for a context that one may not expect; asked: by an option. */
bool cli_context_is_odd(const engine *en, uint32_t n_context, bool asked, char *words, size_t size);
bool cli_kv_costs_more(const engine_plan *plan, kv_type type, char *words, size_t size);

/* Prepare, plan, load; progress on a terminal. n_logits 0: as sessions. NULL with *e. */
engine *cli_bring_up(const cli_options *o, const engine_config *c, mem_ledger *l, engine_plan *plan, err *e);

/* The prompt of a command line: its arguments joined by blanks, or what stands on stdin. Static storage. */
bool cli_text_argument(const cli_options *o, str *text, err *e);

/* Numbers (or sizes) separated by commas, each low … high. The flag is named in errors. */
enum { CLI_LIST_MAX = 32 };
typedef struct cli_list {
    uint64_t v[CLI_LIST_MAX];
    uint32_t n;
} cli_list;
bool cli_parse_list(const char *flag, const char *text, uint64_t low, uint64_t high, cli_list *out, err *e);

#endif
