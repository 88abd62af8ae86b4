#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cli/cli.h"
#include "base/log.h"
#include "engine/speculate.h"
#include "mem/line.h"
#include "plat/kernel.h"

int cli_fail(const err *e) {
    fprintf(stderr, "plimsoll: %s\n", e->message);
    switch (e->code) {
    case ERR_USAGE:
    case ERR_FORMAT:
    case ERR_UNSUPPORTED:
    case ERR_NOT_FOUND:
    case ERR_INVALID:
    case ERR_TOO_LARGE:
    case ERR_MEMORY: return 2;
    default: return 1;
    }
}

engine_config cli_engine_config(const cli_options *o, uint32_t n_sessions) {
    engine_config c;
    engine_config_default(&c);
    c.model_path = o->model;
    c.n_context = o->context;
    c.n_sessions = n_sessions;
    c.n_batch = o->batch;
    c.kv_type = (kv_type)o->kv_type;
    c.n_threads = (int)o->threads;
    c.n_drafts = o->speculate ? SPECULATE_MOST : 0;
    c.draft_path = o->draft_model;
    return c;
}

kv_params cli_kv_params(const cli_options *o, const engine *en) {
    kv_params t = engine_kv_params(en);
    t.window = o->window;
    t.keep = o->keep;
    return t;
}

bool cli_check_window(const cli_options *o, uint32_t n_context, err *e) {
    return o->window <= n_context ||
           err_set(e, ERR_USAGE, "--window is %u; the context has %u tokens", o->window, n_context);
}

static bool within_machine(uint64_t line, const plat_system_memory *system, err *e) {
    char asked[BYTES_TEXT_BYTES], there[BYTES_TEXT_BYTES];
    if (!system->total_bytes || line <= system->total_bytes) return true;
    return err_set(e, ERR_USAGE, "--memory is %s; this machine has %s", bytes_text(line, asked),
                   bytes_text(system->total_bytes, there));
}

static void say_unreadable(void) {
    plat_cgroup_memory cgroup;
    plat_cgroup_memory_read(&cgroup);
    if (cgroup.unreadable) log_warn("memory", "the control group's limit cannot be read: it is not looked at");
}

bool cli_set_line(const cli_options *o, mem_ledger *l, bool machine, err *e) {
    plat_system_memory system = {0};
    uint64_t line = o->memory_bytes;
    if (plat_system_memory_read(&system) && o->memory_percent > 0)
        line = (uint64_t)((double)system.total_bytes * o->memory_percent / 100);
    if (machine && !within_machine(line, &system, e)) return false;
    mem_line_start(l, line, machine);
    mem_ledger_view v;
    mem_ledger_read(l, &v);
    if (v.line_bytes <= v.now_bytes) {
        char asked[BYTES_TEXT_BYTES], own[BYTES_TEXT_BYTES];
        return err_set_memory(e, v.now_bytes, v.line_bytes,
                              "the line of %s is below the %s that the program itself takes: raise --memory",
                              bytes_text(v.line_bytes, asked), bytes_text(v.now_bytes, own));
    }
    if (machine) say_unreadable();
    return true;
}

void cli_plan_begin(engine_plan *plan, mem_ledger *l) {
    mem_books books;
    engine_builtin_forget();
    mem_books_read(l, &books);
    memset(plan, 0, sizeof *plan);
    plan->rows.line_bytes = books.ledger.line_bytes;
    plan->rows.line = books.ledger.line;
    mem_plan_set(&plan->rows, MEM_RUNTIME, books.ledger.rows[MEM_RUNTIME].now_bytes);
}

static void print_row(FILE *out, const char *name, uint64_t bytes, const char *help) {
    char text[BYTES_TEXT_BYTES];
    fprintf(out, "  %-12s %10s  %s\n", name, bytes_text(bytes, text), help);
}

static void print_line(const mem_plan *rows, FILE *out) {
    char words[128] = "never passed", asked[BYTES_TEXT_BYTES];
    if (rows->line_bytes < rows->line.asked_bytes)
        snprintf(words, sizeof words, "never passed; asked were %s, the %s gives no more",
                 bytes_text(rows->line.asked_bytes, asked),
                 strcmp(rows->line.bound, "cgroup") ? "machine" : "control group");
    print_row(out, "line", rows->line_bytes, words);
}

void cli_print_plan(const engine *en, const engine_plan *plan, FILE *out) {
    char a[BYTES_TEXT_BYTES], b[BYTES_TEXT_BYTES];
    fprintf(out, "%s: %s of tensors\n", engine_model_name(en), bytes_text(plan->tensor_bytes, a));
    if (engine_draft_name(en)) fprintf(out, "with %s, which guesses ahead, in the same rows\n", engine_draft_name(en));
    for (mem_account i = 0; i < MEM_ACCOUNT_COUNT; i++)
        if (plan->rows.bytes[i]) print_row(out, mem_account_name(i), plan->rows.bytes[i], mem_account_help(i));
    print_row(out, "total", plan->rows.total_bytes, plan->rows.line_bytes == UINT64_MAX ? "" : "of a line of");
    if (plan->rows.line_bytes != UINT64_MAX) print_line(&plan->rows, out);
    fprintf(out, "context %u tokens a request; KV pool %u pages of %s = %llu tokens, %s a token (%s)\n",
            plan->n_context, plan->n_pages, bytes_text(plan->page_bytes, a),
            (unsigned long long)plan->n_pages * KV_PAGE_TOKENS, bytes_text(plan->kv_bytes_per_token, b),
            compute_kv_name(engine_kv_params(en).type));
}

/* What a type promises, as a part of f16. */
static const double promised_share[KV_TYPES] = {1, 0.55, 0.30};

bool cli_context_is_odd(const engine *en, uint32_t n_context, bool asked, char *words, size_t size) {
    uint32_t trained = engine_model_desc(en)->n_context_train;
    bool less = n_context < trained && !asked;
    if (n_context > trained)
        snprintf(words, size, "the model was trained on %u tokens: answers get worse beyond that", trained);
    else if (less)
        snprintf(words, size, "the model has %u tokens of context, and more does not fit under the line", trained);
    return n_context > trained || less;
}

bool cli_kv_costs_more(const engine_plan *plan, kv_type type, char *words, size_t size) {
    if (plan->kv_share[type] <= promised_share[type]) return false;
    snprintf(words, size, "%s takes %.0f%% of f16's memory with this model, not %.0f%%: it is small",
             compute_kv_name(type), plan->kv_share[type] * 100, promised_share[type] * 100);
    return true;
}

static void show_progress(void *ctx, uint64_t done_bytes, uint64_t total_bytes) {
    int *shown = ctx, percent = total_bytes ? (int)(done_bytes * 100 / total_bytes) : 100;
    if (percent == *shown) return;
    *shown = percent;
    fprintf(stderr, "\rloading %3d%%%s", percent, percent == 100 ? "\r             \r" : "");
    fflush(stderr);
}

engine *cli_bring_up(const cli_options *o, const engine_config *c, mem_ledger *l, engine_plan *plan, err *e) {
    int shown = -1;
    engine *en = engine_prepare(c, l, e);
    if (!en) return NULL;
    bool slow_enough = isatty(STDERR_FILENO) && !o->json;
    if (engine_plan_make(en, plan, e) && engine_load(en, plan, slow_enough ? show_progress : NULL, &shown, e))
        return en;
    engine_free(en);
    return NULL;
}

bool cli_parse_list(const char *flag, const char *text, uint64_t low, uint64_t high, cli_list *out, err *e) {
    out->n = 0;
    for (const char *s = text; s; s = strchr(s, ',') ? strchr(s, ',') + 1 : NULL) {
        str item = {s, strcspn(s, ",")};
        uint64_t v;
        if (!bytes_parse(item, &v) || v < low || v > high)
            return err_set(e, ERR_USAGE, "--%s holds '%.*s'; each must be %llu to %llu", flag,
                           (int)(item.len < 40 ? item.len : 40), item.data, (unsigned long long)low,
                           (unsigned long long)high);
        if (out->n == CLI_LIST_MAX) return err_set(e, ERR_USAGE, "--%s has more than %d", flag, CLI_LIST_MAX);
        out->v[out->n++] = v;
    }
    return true;
}

enum { ARGUMENT_BYTES = 1 << 20 };

static bool read_stdin(char *text, size_t *len, err *e) {
    ssize_t n;
    while (*len < ARGUMENT_BYTES && (n = read(STDIN_FILENO, text + *len, ARGUMENT_BYTES - *len)) > 0) *len += (size_t)n;
    return *len < ARGUMENT_BYTES || err_set(e, ERR_TOO_LARGE, "stdin has more than %d bytes", ARGUMENT_BYTES);
}

bool cli_text_argument(const cli_options *o, str *text, err *e) {
    static char joined[ARGUMENT_BYTES];
    size_t len = 0;
    if (o->n_args == 0) {
        if (isatty(STDIN_FILENO)) return err_set(e, ERR_USAGE, "give a text as argument or on standard input");
        if (!read_stdin(joined, &len, e)) return false;
    }
    for (int i = 0; i < o->n_args; i++) {
        size_t n = strlen(o->args[i]);
        if (len + n + 1 >= ARGUMENT_BYTES)
            return err_set(e, ERR_TOO_LARGE, "the text has more than %d bytes", ARGUMENT_BYTES);
        if (i) joined[len++] = ' ';
        memcpy(joined + len, o->args[i], n);
        len += n;
    }
    *text = (str){joined, len};
    return len > 0 || err_set(e, ERR_INVALID, "the text is empty");
}
