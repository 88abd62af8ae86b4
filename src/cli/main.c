/* The table of commands. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "cli/cli.h"
#include "cli/nearest.h"
#include "mem/books.h"

typedef struct command {
    const char *name;
    unsigned bit;
    int (*run)(const cli_options *o, mem_ledger *l);
    const char *arguments, *help;
} command;

static const command commands[] = {
    {"serve", CLI_SERVE, cli_serve, "[FILE]", "serve a model over HTTP, inside a memory line"},
    {"run", CLI_RUN, cli_run, "[FILE] TEXT…", "continue a text on the terminal"},
    {"plan", CLI_PLAN, cli_plan, "[FILE]", "what serving a model would take, without loading it"},
    {"bench", CLI_BENCH, cli_bench, "[FILE]",
     "load, prefill and decode speed of a model here, beside the machine's limits"},
    {"top", CLI_TOP, cli_top, "[URL]", "watch a running server: the ship and her line, accounts, requests"},
    {"load", CLI_LOAD, cli_load, "URL", "requests to a server on this machine, and what memory they take"},
    {"guard", CLI_GUARD, cli_guard, "-- COMMAND…",
     "run a command inside a memory budget, and report what it and all it starts held"},
    {"inspect", CLI_INSPECT, cli_inspect, "[FILE]", "a model file's metadata and tensors"},
    {"tokenize", CLI_TOKENIZE, cli_tokenize, "[FILE] TEXT…", "the tokens of a text"},
    {"render", CLI_RENDER, cli_render, "[FILE]", "the prompt that a chat template makes of a conversation"},
};
enum { N_COMMANDS = sizeof commands / sizeof *commands };

static void print_usage(FILE *out) {
    fprintf(out, "Plimsoll " PLIMSOLL_VERSION
                 " — an LLM server that is told how much memory it may use, and never uses more.\n\n"
                 "usage: plimsoll COMMAND [options]\n\n");
    for (int i = 0; i < N_COMMANDS; i++) fprintf(out, "  %-10s %s\n", commands[i].name, commands[i].help);
    fprintf(out, "\nplimsoll COMMAND --help lists a command's options. "
                 "Without a model file, the built-in one is used:\n"
                 "  plimsoll run \"Once upon a time\"\n"
                 "  plimsoll serve --memory 2G model.gguf\n");
}

static void print_help(const command *c) {
    printf("usage: plimsoll %s [options] %s\n\n%s\n\n", c->name, c->arguments, c->help);
    cli_flags_help(c->bit, stdout);
    if (c->bit & CLI_MODEL)
        printf("\nFILE is the model (GGUF), as with -m; without either, the built-in one is used.\n");
    printf("\nEvery option can also be set as PLIMSOLL_NAME in the environment, or as name = value in a --config\n"
           "file.\n");
}

static bool set_log_level(const char *name, err *e) {
    static const char *const names[] = {"debug", "info", "warn", "error"};
    for (int i = 0; i < 4; i++)
        if (!strcmp(name, names[i])) return log_set_level((log_level)i), true;
    return err_set(e, ERR_USAGE, "--log-level is '%.20s'; it must be debug, info, warn or error", name);
}

static const command *find_command(const char *name) {
    for (int i = 0; i < N_COMMANDS; i++)
        if (!strcmp(name, commands[i].name)) return &commands[i];
    return NULL;
}

static int refuse_command(const char *name) {
    cli_nearest near;
    cli_nearest_begin(&near, str_of(name));
    for (int i = 0; i < N_COMMANDS; i++) cli_nearest_offer(&near, commands[i].name);
    fprintf(stderr, "plimsoll: unknown command '%.40s'", name);
    if (near.best) return fprintf(stderr, ": did you mean '%s'?\n", near.best), 2;
    fprintf(stderr, "\n\n");
    print_usage(stderr);
    return 2;
}

/* `help COMMAND` is `COMMAND --help`. */
static int help_with(const char *name) {
    const command *c = name ? find_command(name) : NULL;
    if (name && !c) return refuse_command(name);
    if (c) print_help(c);
    else print_usage(stdout);
    return 0;
}

static int run_command(int argc, char **argv) {
    static mem_ledger ledger;
    mem_ledger_init(&ledger, UINT64_MAX);
    mem_books_start(&ledger);
    const char *name = argc > 1 ? argv[1] : "";
    if (!*name) return print_usage(stderr), 2;
    if (!strcmp(name, "--version") || !strcmp(name, "version")) return puts("plimsoll " PLIMSOLL_VERSION), 0;
    if (!strcmp(name, "--help") || !strcmp(name, "-h") || !strcmp(name, "help")) return help_with(argv[2]);
    const command *c = find_command(name);
    if (!c) return refuse_command(name);
    err e = {0};
    cli_options o;
    if (!cli_flags_read(&o, c->bit, argc - 2, (const char **)argv + 2, &e) || !set_log_level(o.log_level, &e))
        return cli_fail(&e);
    if (o.help) return print_help(c), 0;
    cli_flags_warn_of_environment(environ);
    if (o.print_config) return cli_flags_print_config(&o, c->bit, stdout), 0;
    return c->run(&o, &ledger);
}

/* What was printed must have arrived, whichever command printed it: a full disk is no success. */
static int check_output(int status) {
    bool failed = ferror(stdout) != 0;
    errno = 0;
    failed |= fflush(stdout) != 0;
    if (!failed) return status;
    fprintf(stderr, "plimsoll: cannot write to standard output%s%s\n", errno ? ": " : "", errno ? strerror(errno) : "");
    return status ? status : 1;
}

int main(int argc, char **argv) { return check_output(run_command(argc, argv)); }
