#include "cli/flags.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "base/str.h"
#include "cli/nearest.h"
#include "plat/vm.h"

typedef enum kind {
    KIND_FLAG, KIND_TEXT, KIND_U32, KIND_I32, KIND_U64, KIND_FLOAT, KIND_BYTES, KIND_MEMORY,
    KIND_WORD, /* uint32_t: the index in words */
    KIND_KEYS, /* text that is never shown: keys, separated by commas */
    KIND_NAMES, /* text: names, separated by commas */
} kind;

typedef struct row {
    const char *name;  /* "ctx-size": --ctx-size, PLIMSOLL_CTX_SIZE, "ctx-size = …" */
    const char *brief; /* "c", "np", or NULL */
    kind kind;
    size_t offset;
    unsigned commands;
    double low, high;
    const char *fallback; /* the default, as text; NULL: none */
    const char *unit;     /* what stands after the flag in help */
    const char *help;
    const char *const *words; /* KIND_WORD: all that are allowed, NULL at the end */
} row;

#define AT(member) offsetof(cli_options, member)

static const char *const engine_kinds[] = {"model", "echo", NULL};
static const char *const speculations[] = {"off", "lookup", "draft", NULL};
static const char *const kv_types[] = {"f16", "q8", "q4", NULL}; /* in the order of kv_type */

static const row rows[] = {
    {"model", "m", KIND_TEXT, AT(model), CLI_MODEL, 0, 0, NULL, "FILE",
     "model to load (GGUF), which may also be given bare; without it, the built-in one"},
    {"chat-template", NULL, KIND_TEXT, AT(chat_template), CLI_SERVER, 0, 0, NULL, "NAME|FILE",
     "how conversations are written, if not as the model's file says: chatml, llama3, llama2, mistral, gemma, phi3, "
     "zephyr, vicuna, plain, or a Jinja file. Without either: chatml"},
    {"memory", NULL, KIND_MEMORY, AT(memory_bytes), CLI_LOADS, 0, 0, NULL, "SIZE|PERCENT",
     "the line: never hold more than this (8G, 1500M, 60%). Default: 80% of what is available, less 1 GiB on 8 GiB "
     "and up"},
    {"ctx-size", "c", KIND_U32, AT(context), CLI_LOADS, 0, 1u << 30, "0", "TOKENS",
     "context of a request; 0: the model's own, as far as it fits"},
    {"parallel", "np", KIND_U32, AT(parallel), CLI_SERVER, 1, 4096, "4", "N",
     "requests that can be in work at once"},
    {"batch-size", "b", KIND_U32, AT(batch), CLI_LOADS, 1, 8192, "256", "TOKENS", "tokens of one step"},
    {"threads", "t", KIND_U32, AT(threads), CLI_LOADS, 0, 256, "0", "N",
     "compute threads; 0: one for each usable core"},
    {"kv", NULL, KIND_WORD, AT(kv_type), CLI_LOADS, 0, 0, "f16", "TYPE",
     "how keys and values are kept: f16 (exact), q8 (about half the memory), q4 (about a third; answers differ)",
     kv_types},
    {"window", NULL, KIND_U32, AT(window), CLI_LOADS, 0, 1u << 30, "0", "TOKENS",
     "see only so many tokens, the oldest make way: text can go on for ever; 0: off"},
    {"keep", NULL, KIND_U32, AT(keep), CLI_LOADS, 0, 1u << 30, "0", "TOKENS",
     "with --window: the first so many tokens are always seen"},
    {"speculate", NULL, KIND_WORD, AT(speculate), CLI_RUN | CLI_SERVER, 0, 0, "lookup", "HOW",
     "guess tokens ahead where that is faster: off, lookup (from what the text has said before), or draft (by "
     "--draft-model). Answers stay the same, bit for bit",
     speculations},
    {"draft-model", NULL, KIND_TEXT, AT(draft_model), CLI_RUN | CLI_SERVER, 0, 0, NULL, "FILE",
     "with --speculate draft: a smaller model (GGUF) of the same vocabulary"},
    {"no-prompt-cache", NULL, KIND_FLAG, AT(no_prompt_cache), CLI_SERVER, 0, 0, NULL, NULL,
     "requests share no pages and nothing is remembered of them"},
    {"prompt-cache-bytes", NULL, KIND_BYTES, AT(cache_bytes), CLI_SERVER, 0, 1e18, "0", "SIZE",
     "remember at most so much of earlier requests (lent: running ones take it when they need it); 0: what the "
     "KV pool has"},
    {"prompt-cache-size", NULL, KIND_U32, AT(cache_entries), CLI_SERVER, 0, 1 << 20, "1000", "N",
     "remember at most so many conversations"},
    {"prompt-cache-ttl", NULL, KIND_U32, AT(cache_ttl_s), CLI_SERVER, 0, 1e9, "0", "SECONDS",
     "forget what was not used for so long; 0: never"},
    {"grammar-cache", NULL, KIND_BYTES, AT(grammar_bytes), CLI_SERVER, 0, 1 << 30, "8M", "SIZE",
     "keep so much of compiled grammars and schemas, a power of two, taken at start; 0: no structured output"},
    {"spill-file", NULL, KIND_TEXT, AT(spill_file), CLI_SERVER, 0, 0, NULL, "FILE",
     "what is remembered moves here when memory runs short, and is there after a restart"},
    {"spill-bytes", NULL, KIND_BYTES, AT(spill_bytes), CLI_SERVER, 0, 1e18, "0", "SIZE",
     "with --spill-file: how large that file is, from the start"},
    {"cleanup-after-request", NULL, KIND_FLAG, AT(cleanup_after_request), CLI_SERVER, 0, 0, NULL, NULL,
     "after each request forget what is not pinned and give back all that is free"},
    {"level-caution", NULL, KIND_BYTES, AT(level_bytes[0]), CLI_SERVER, 0, 1e18, "0", "SIZE",
     "room at which less is remembered; 0: 3 GiB, or a quarter of a line under 12 GiB"},
    {"level-warning", NULL, KIND_BYTES, AT(level_bytes[1]), CLI_SERVER, 0, 1e18, "0", "SIZE",
     "room below which remembered prompts make way; 0: 2 GiB, or a sixth"},
    {"level-critical", NULL, KIND_BYTES, AT(level_bytes[2]), CLI_SERVER, 0, 1e18, "0", "SIZE",
     "room below which new requests are refused; 0: 1 GiB, or a twelfth"},
    {"level-emergency", NULL, KIND_BYTES, AT(level_bytes[3]), CLI_SERVER, 0, 1e18, "0", "SIZE",
     "room below which running requests are parked; 0: 512 MiB, or a twenty-fourth"},
    {"api-key", NULL, KIND_KEYS, AT(api_keys), CLI_SERVER, 0, 0, NULL, "KEY[,KEY]",
     "ask for one of these keys (Authorization: Bearer KEY, or x-api-key). Each key has a fair share and a cache of "
     "its own. On a shared machine, set PLIMSOLL_API_KEY instead"},
    {"host", NULL, KIND_TEXT, AT(host), CLI_SERVER, 0, 0, "127.0.0.1", "ADDRESS",
     "address or name to listen on (127.0.0.1, ::1, 0.0.0.0, localhost)"},
    {"allowed-host", NULL, KIND_TEXT, AT(allowed_hosts), CLI_SERVER, 0, 0, NULL, "NAME[,NAME]",
     "other names of this server (chat.example.com, *.example.com, *). Addresses, localhost and the machine's own name "
     "are local; a Host that is none of these gets 403"},
    {"cors-origin", NULL, KIND_TEXT, AT(cors_origins), CLI_SERVER, 0, 0, NULL, "ORIGIN[,ORIGIN]",
     "pages of these origins (https://chat.example.com, https://*.example.com, *) may use this server from a browser. "
     "Without it, only pages on this machine may"},
    {"port", NULL, KIND_U32, AT(port), CLI_SERVER, 0, 65535, "8080", "PORT", "port to listen on; 0: any free one"},
    {"alias", NULL, KIND_NAMES, AT(alias), CLI_SERVER, 0, 0, NULL, "NAME[,NAME]",
     "names that clients may ask for the model by, beside its own and its file's; the first is what they see"},
    {"any-model", NULL, KIND_FLAG, AT(any_model), CLI_SERVER, 0, 0, NULL, NULL,
     "whatever model a client asks for, it gets this one; otherwise a name that is not its own is 404"},
    {"keep-alive", NULL, KIND_U32, AT(keep_alive_s), CLI_SERVER, 0, 3600, "10", "SECONDS",
     "a stream that has nothing to say for so long says that; 0: never"},
    {"max-concurrent", NULL, KIND_U32, AT(max_concurrent), CLI_SERVER, 0, 4096, "0", "N",
     "requests running at once; 1: strictly one after another; 0: as --parallel"},
    {"max-queue", NULL, KIND_U32, AT(max_queue), CLI_SERVER, 0, 65536, "64", "N",
     "requests that may wait; more are refused with 429"},
    {"queue-timeout", NULL, KIND_U32, AT(queue_timeout_s), CLI_SERVER, 0, 86400, "0", "SECONDS",
     "a request waiting longer, in the queue or for a buffer, is refused; 0: never"},
    {"drain-timeout", NULL, KIND_U32, AT(drain_timeout_s), CLI_SERVER, 0, 86400, "30", "SECONDS",
     "after SIGTERM, how long running requests may take to finish"},
    {"max-connections", NULL, KIND_U32, AT(max_connections), CLI_SERVER, 1, 65536, "256", "N",
     "open connections"},
    {"max-active", NULL, KIND_U32, AT(max_active), CLI_SERVER, 1, 4096, "96", "N",
     "requests being received or answered"},
    {"body-limit", NULL, KIND_BYTES, AT(body_limit_bytes), CLI_SERVER, 1024, 1 << 30, "2M", "SIZE",
     "largest request body; larger ones are refused with 413"},
    {"body-pool", NULL, KIND_BYTES, AT(body_pool_bytes), CLI_SERVER, 0, 1e12, "0", "SIZE",
     "buffers for bodies and answers, taken at start; bodies wait for one; 0: 16M, or one body and a little"},
    {"engine", NULL, KIND_WORD, AT(engine_kind), CLI_SERVER, 0, 0, "model", "KIND",
     "model; or echo: no model, each request is answered with its own prompt (to measure the front end alone)",
     engine_kinds},
    {"predict", "n", KIND_I32, AT(predict), CLI_RUN | CLI_SERVER, -1, INT32_MAX, "256", "TOKENS",
     "tokens to generate when a request does not say; -1: to the end of the context"},
    {"temp", NULL, KIND_FLOAT, AT(temperature), CLI_RUN, 0, 100, "0.8", "T",
     "temperature; 0: always the likeliest token"},
    {"top-k", NULL, KIND_U32, AT(top_k), CLI_RUN, 0, INT32_MAX, "40", "K", "choose among the K likeliest; 0: off"},
    {"top-p", NULL, KIND_FLOAT, AT(top_p), CLI_RUN, 0, 1, "0.95", "P",
     "choose among the likeliest that hold P together; 1: off"},
    {"min-p", NULL, KIND_FLOAT, AT(min_p), CLI_RUN, 0, 1, "0.05", "P",
     "drop tokens below P of the likeliest; 0: off"},
    {"typical", NULL, KIND_FLOAT, AT(typical_p), CLI_RUN, 0, 1, "1", "P", "locally typical sampling; 1: off"},
    {"repeat-penalty", NULL, KIND_FLOAT, AT(repeat_penalty), CLI_RUN, 0.01, 100, "1", "R",
     "divide logits of recent tokens by R; 1: off"},
    {"repeat-last-n", NULL, KIND_U32, AT(repeat_last_n), CLI_RUN, 0, 4096, "64", "N",
     "how many tokens the penalties look back"},
    {"frequency-penalty", NULL, KIND_FLOAT, AT(frequency_penalty), CLI_RUN, -2, 2, "0", "F",
     "subtract F for each recent occurrence"},
    {"presence-penalty", NULL, KIND_FLOAT, AT(presence_penalty), CLI_RUN, -2, 2, "0", "F",
     "subtract F for any recent occurrence"},
    {"seed", NULL, KIND_U64, AT(seed), CLI_RUN, 0, 9007199254740992.0, NULL, "N", "for the same answer again"},
    {"no-echo", NULL, KIND_FLAG, AT(no_echo), CLI_RUN, 0, 0, NULL, NULL,
     "print only what is generated, not the prompt"},
    {"special", NULL, KIND_FLAG, AT(special), CLI_TOKENIZE, 0, 0, NULL, NULL,
     "text that spells a control token becomes that token"},
    {"template", NULL, KIND_TEXT, AT(template_file), CLI_RENDER, 0, 0, NULL, "FILE",
     "chat template to render; without it, the model's own"},
    {"messages", NULL, KIND_TEXT, AT(messages), CLI_RENDER, 0, 0, "-", "FILE",
     "JSON: a list of messages, or an object with messages, tools and whatever else the template reads; -: standard "
     "input"},
    {"ids", NULL, KIND_FLAG, AT(ids), CLI_TOKENIZE, 0, 0, NULL, NULL, "print only the ids, in one line"},
    {"pp", NULL, KIND_U32, AT(pp), CLI_BENCH, 0, 1 << 20, "512", "TOKENS", "prefill this many tokens; 0: skip"},
    {"tg", NULL, KIND_U32, AT(tg), CLI_BENCH, 0, 1 << 20, "64", "TOKENS", "then decode this many; 0: skip"},
    {"depth", NULL, KIND_TEXT, AT(depth), CLI_BENCH, 0, 0, NULL, "LIST",
     "decode after so many tokens of context (0,8192); without it, after those of the prefill"},
    {"streams", NULL, KIND_TEXT, AT(streams), CLI_BENCH, 0, 0, NULL, "LIST",
     "decode so many sequences at once, too (4,8,16), each after a prompt of 128 tokens"},
    {"reps", "r", KIND_U32, AT(reps), CLI_BENCH, 1, 1000, "3", "N", "repetitions; the median is printed"},
    {"logits", NULL, KIND_TEXT, AT(logits), CLI_BENCH, 0, 0, NULL, "FILE",
     "write the logits of every position of --token-file instead"},
    {"token-file", NULL, KIND_TEXT, AT(token_file), CLI_BENCH, 0, 0, NULL, "FILE",
     "token ids, separated by blanks or commas"},
    {"api-key", NULL, KIND_KEYS, AT(api_keys), CLI_TOP, 0, 0, NULL, "KEY",
     "for a server that asks for one. On a shared machine, set PLIMSOLL_API_KEY instead"},
    {"interval", NULL, KIND_U32, AT(interval_ms), CLI_TOP, 50, 3600000, "1000", "MS", "time between two readings"},
    {"once", NULL, KIND_FLAG, AT(once), CLI_TOP, 0, 0, NULL, NULL, "print one frame and end"},
    {"json", NULL, KIND_FLAG, AT(json), CLI_PLAN | CLI_INSPECT | CLI_TOKENIZE | CLI_BENCH, 0, 0, NULL, NULL,
     "print JSON"},
    {"concurrency", NULL, KIND_TEXT, AT(concurrency), CLI_LOAD, 0, 0, "2,4,8,16,32,64,96", "N[,N]",
     "connections at once, one row of the table each"},
    {"payload", NULL, KIND_TEXT, AT(payload), CLI_LOAD, 0, 0, "1K,200K", "SIZE[,SIZE]", "size of a request's body"},
    {"requests", NULL, KIND_U32, AT(requests), CLI_LOAD, 1, 10000000, "10000", "N", "requests of a row"},
    {"requests-scan", NULL, KIND_TEXT, AT(requests_scan), CLI_LOAD, 0, 0, NULL, "N[,N]",
     "a second table: so many requests a row, at 48 connections (or the most of --concurrency)"},
    {"pid", NULL, KIND_U32, AT(pid), CLI_LOAD, 0, 4194304, "0", "PID",
     "process whose memory is looked at; 0: as the server's /memory says"},
    {"chart", NULL, KIND_TEXT, AT(chart), CLI_LOAD, 0, 0, NULL, "FILE", "draw memory over time as SVG"},
    {"json", NULL, KIND_TEXT, AT(json_file), CLI_LOAD, 0, 0, NULL, "FILE", "write the tables as JSON"},
    {"memory", NULL, KIND_MEMORY, AT(memory_bytes), CLI_GUARD, 0, 0, NULL, "SIZE|PERCENT",
     "the budget: what the command and all it starts may hold together. Default: none, only watched"},
    {"leak", NULL, KIND_BYTES, AT(leak_bytes), CLI_GUARD, 0, 1e18, "100M", "SIZE",
     "warn when it ends with so much more than it held once started (when memory first stood still for a second)"},
    {"wait", NULL, KIND_U32, AT(wait_s), CLI_GUARD, 0, 1e9, "0", "SECONDS",
     "how long to wait for a machine that cannot give the budget; then it is not run"},
    {"interval", NULL, KIND_U32, AT(interval_ms), CLI_GUARD, 5, 60000, "100", "MS", "time between two readings"},
    {"list", NULL, KIND_TEXT, AT(list), CLI_GUARD, 0, 0, NULL, "FILE",
     "run many, the least hungry first: a name, a budget and a shell command a line"},
    {"cgroup", NULL, KIND_TEXT, AT(cgroup), CLI_GUARD, 0, 0, "auto", "DIR|auto|none",
     "the control group under which the command's own is made"},
    {"chart", NULL, KIND_TEXT, AT(chart), CLI_GUARD, 0, 0, NULL, "FILE", "draw memory over time as SVG"},
    {"json", NULL, KIND_TEXT, AT(json_file), CLI_GUARD, 0, 0, NULL, "FILE", "write the report as JSON"},
    {"log-level", NULL, KIND_TEXT, AT(log_level), CLI_ALL, 0, 0, "info", "LEVEL", "debug, info, warn or error"},
    {"config", NULL, KIND_TEXT, AT(config), CLI_ALL, 0, 0, NULL, "FILE",
     "read options from FILE: lines of name = value; # begins a comment (as --print-config writes them)"},
    {"print-config", NULL, KIND_FLAG, AT(print_config), CLI_ALL, 0, 0, NULL, NULL,
     "print every option, its value and where it came from; then stop"},
    {"help", "h", KIND_FLAG, AT(help), CLI_ALL, 0, 0, NULL, NULL, "print this"},
};
enum { N_ROWS = sizeof rows / sizeof *rows };

typedef enum source { FROM_DEFAULT, FROM_FILE, FROM_ENVIRONMENT, FROM_FLAG } source;
static const char *const source_names[] = {"default", "config file", "environment", "flag"};
static source sources[N_ROWS];
static const char *values[N_ROWS]; /* as text, for --print-config */

static const row *find_row(str name, unsigned command) {
    for (int i = 0; i < N_ROWS; i++)
        if ((rows[i].commands & command) &&
            (str_is(name, rows[i].name) || (rows[i].brief && str_is(name, rows[i].brief))))
            return &rows[i];
    return NULL;
}

/* The option of this command that was meant, as it is written; NULL: none is near. */
static const char *meant(str name, unsigned command) {
    cli_nearest n;
    cli_nearest_begin(&n, name);
    for (int i = 0; i < N_ROWS; i++)
        if (rows[i].commands & command) cli_nearest_offer(&n, rows[i].name);
    return n.best;
}

/* ---- values ---- */

static bool parse_number(const row *r, const char *text, double *v, err *e) {
    char *end;
    errno = 0;
    *v = strtod(text, &end);
    bool whole = r->kind != KIND_FLOAT;
    if (end == text || *end || !isfinite(*v) || (whole && *v != floor(*v)))
        return err_set(e, ERR_USAGE, "--%s takes %s, not '%.40s'", r->name, whole ? "a whole number" : "a number",
                       text);
    if (*v < r->low || *v > r->high)
        return err_set(e, ERR_USAGE, whole ? "--%s is %s; it must be %.0f to %.0f" : "--%s is %s; it must be %g to %g",
                       r->name, text, r->low, r->high);
    return true;
}

static bool parse_switch(const char *text, bool *v) {
    static const char *const words[] = {"false", "0", "no", "off", "true", "1", "yes", "on"};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (!strcmp(text, words[i])) return *v = i >= 4, true;
    return false;
}

static bool parse_memory(cli_options *o, const char *text, err *e) {
    size_t len = strlen(text);
    char *end;
    if (len && text[len - 1] == '%') {
        o->memory_percent = strtod(text, &end);
        o->memory_bytes = 0;
        if (end == text + len - 1 && o->memory_percent >= 1 && o->memory_percent <= 100) return true;
        return err_set(e, ERR_USAGE, "--memory is '%.40s'; a percentage must be 1%% to 100%%", text);
    }
    o->memory_percent = 0;
    if (bytes_parse(str_of(text), &o->memory_bytes) && o->memory_bytes >= 1 << 20) return true;
    return err_set(e, ERR_USAGE,
                   "--memory is '%.40s'; it must be a size of at least 1M (8G, 1500M) or a percentage (60%%)",
                   text);
}

static bool parse_word(const row *r, const char *text, uint32_t *v, err *e) {
    char words[128] = "";
    size_t n = 0;
    for (uint32_t i = 0; r->words[i]; i++) {
        if (!strcmp(text, r->words[i])) return *v = i, true;
        const char *joint = i == 0 ? "" : r->words[i + 1] ? ", " : " or ";
        if (n < sizeof words) n += (size_t)snprintf(words + n, sizeof words - n, "%s%s", joint, r->words[i]);
    }
    return err_set(e, ERR_USAGE, "--%s is '%.40s'; it must be %s", r->name, text, words);
}

/* What a header can carry; the message names no key. */
static bool check_keys(const row *r, const char *text, err *e) {
    size_t len = 0;
    for (const char *p = text;; p++) {
        if ((*p == ',' || !*p) && len == 0)
            return err_set(e, ERR_USAGE, "--%s holds an empty key; keys are separated by single commas", r->name);
        if (!*p) return true;
        if (*p != ',' && (*p <= 0x20 || *p >= 0x7F))
            return err_set(e, ERR_USAGE, "--%s holds a blank or a character outside ASCII", r->name);
        len = *p == ',' ? 0 : len + 1;
    }
}

/* A name may hold blanks, as files' do, and not begin or end with one. */
static bool check_names(const row *r, const char *text, err *e) {
    for (const char *at = text;; at++) {
        size_t len = strcspn(at, ",");
        if (!len || *at == ' ' || at[len - 1] == ' ')
            return err_set(e, ERR_USAGE, "--%s is '%.40s'; names are separated by single commas, without blanks around "
                                         "them, and none is empty", r->name, text);
        for (size_t i = 0; i < len; i++)
            if ((unsigned char)at[i] < 0x20 || at[i] == 0x7F)
                return err_set(e, ERR_USAGE, "--%s holds a control character", r->name);
        if (!*(at += len)) return true;
    }
}

static bool set_value(cli_options *o, const row *r, const char *text, source from, err *e) {
    void *at = (char *)o + r->offset;
    double v = 0;
    if (r->kind == KIND_U32 || r->kind == KIND_I32 || r->kind == KIND_U64 || r->kind == KIND_FLOAT)
        if (!parse_number(r, text, &v, e)) return false;
    switch (r->kind) {
    case KIND_FLAG:
        if (!parse_switch(text, at))
            return err_set(e, ERR_USAGE, "--%s takes true or false (yes, no, on, off, 1, 0), not '%.40s'", r->name,
                           text);
        break;
    case KIND_TEXT: *(const char **)at = text; break;
    case KIND_KEYS:
    case KIND_NAMES:
        if (!(r->kind == KIND_KEYS ? check_keys : check_names)(r, text, e)) return false;
        *(const char **)at = text;
        break;
    case KIND_WORD:
        if (!parse_word(r, text, at, e)) return false;
        break;
    case KIND_U32: *(uint32_t *)at = (uint32_t)v; break;
    case KIND_I32: *(int32_t *)at = (int32_t)v; break;
    case KIND_U64: *(uint64_t *)at = (uint64_t)v; break;
    case KIND_FLOAT: *(float *)at = (float)v; break;
    case KIND_BYTES:
        if (!bytes_parse(str_of(text), (uint64_t *)at))
            return err_set(e, ERR_USAGE, "--%s takes a size (200K, 2M), not '%.40s'", r->name, text);
        if ((double)*(uint64_t *)at < r->low || (double)*(uint64_t *)at > r->high)
            return err_set(e, ERR_USAGE, "--%s is %s; it must be %.0f to %.0f bytes", r->name, text, r->low, r->high);
        break;
    case KIND_MEMORY:
        if (!parse_memory(o, text, e)) return false;
        break;
    }
    if (r->offset == AT(seed)) o->seed_given = true;
    sources[r - rows] = from;
    values[r - rows] = text;
    return true;
}

/* ---- sources, weakest first ---- */

static bool read_defaults(cli_options *o, err *e) {
    for (int i = 0; i < N_ROWS; i++)
        if (rows[i].fallback && !set_value(o, &rows[i], rows[i].fallback, FROM_DEFAULT, e)) return false;
    return true;
}

static char *trim(char *s) {
    while (isspace((unsigned char)*s)) s++;
    for (char *end = s + strlen(s); end > s && isspace((unsigned char)end[-1]);) *--end = 0;
    return s;
}

enum { CONFIG_BYTES = 64 * 1024 };

/* A comment at the value's end is none of it: a # behind a blank begins one. */
static char *without_comment(char *value) {
    for (char *at = value; *at; at++)
        if (*at == '#' && (at == value || isspace((unsigned char)at[-1]))) *at = 0;
    return trim(value);
}

/* Lines of "name = value"; # begins a comment. A name that belongs to another command is passed over. */
static bool read_config(cli_options *o, unsigned command, const char *path, err *e) {
    static char text[CONFIG_BYTES]; /* options point into it as long as the program runs */
    plat_file f;
    if (!plat_file_open(&f, path, e)) return err_prefix(e, "--config: ");
    bool ok = f.bytes < sizeof text ? plat_file_read(&f, 0, text, f.bytes, e)
                                    : err_set(e, ERR_USAGE, "%s is larger than %d bytes", path, CONFIG_BYTES);
    text[ok ? f.bytes : 0] = 0;
    plat_file_close(&f);
    int number = 0;
    for (char *line = text, *next; ok && line && *line; line = next) {
        number++;
        if ((next = strchr(line, '\n'))) *next++ = 0;
        char *name = trim(line), *equals = strchr(name, '=');
        if (!*name || *name == '#') continue;
        if (!equals) return err_set(e, ERR_USAGE, "%s:%d: expected name = value", path, number);
        *equals = 0;
        name = trim(name);
        const char *near = meant(str_of(name), CLI_ALL);
        if (!find_row(str_of(name), CLI_ALL))
            return err_set(e, ERR_USAGE, "%s:%d: unknown option '%.40s'%s%s%s", path, number, name,
                           near ? "; did you mean '" : "", near ? near : "", near ? "'?" : "");
        const row *r = find_row(str_of(name), command);
        if (r && !set_value(o, r, without_comment(equals + 1), FROM_FILE, e))
            return err_prefix(e, "%s:%d: ", path, number);
    }
    return ok;
}

enum { PREFIX_BYTES = sizeof "PLIMSOLL_" - 1 };

static const char *environment_name(const char *option, char out[64]) {
    int n = snprintf(out, 64, "PLIMSOLL_%s", option);
    for (int i = 0; i < n; i++) out[i] = out[i] == '-' ? '_' : (char)toupper((unsigned char)out[i]);
    return out;
}

/* Kubernetes tells every container of each service near it: of one called plimsoll as PLIMSOLL_PORT=tcp://10.0.0.7:80,
 * PLIMSOLL_SERVICE_HOST, PLIMSOLL_PORT_80_TCP_ADDR, …. These are not ours. */
static bool tells_of_a_service(const char *name, const char *value) {
    bool address = !strncmp(value, "tcp://", 6) || !strncmp(value, "udp://", 6) || !strncmp(value, "sctp://", 7);
    if (!strcmp(name, "PORT")) return address;
    return !strncmp(name, "SERVICE_", 8) || (!strncmp(name, "PORT_", 5) && isdigit((unsigned char)name[5]));
}

static bool read_environment(cli_options *o, unsigned command, err *e) {
    char name[64];
    for (int i = 0; i < N_ROWS; i++) {
        const char *text = rows[i].commands & command ? getenv(environment_name(rows[i].name, name)) : NULL;
        if (text && tells_of_a_service(name + PREFIX_BYTES, text)) continue;
        if (text && !set_value(o, &rows[i], text, FROM_ENVIRONMENT, e)) return err_prefix(e, "%s: ", name);
    }
    return true;
}

/* Variables of ours that no option reads: those of developers, and what is mistyped. */
void cli_flags_warn_of_environment(char **environment) {
    static const char *const others[] = {"KERNELS",       "TEST",             "DEBUG_",
                                         "TEMPLATES_DIR", "PROPERTY_SECONDS", "SCHEMA_SAMPLES"};
    for (char **at = environment; at && *at; at++) {
        const char *equals = strchr(*at, '='), *own = *at + PREFIX_BYTES;
        if (!equals || strncmp(*at, "PLIMSOLL_", PREFIX_BYTES)) continue;
        char name[64], option[64], wanted[64];
        size_t n = 0;
        for (; own + n < equals && n + 1 < sizeof name; n++) {
            name[n] = own[n];
            option[n] = own[n] == '_' ? '-' : (char)tolower((unsigned char)own[n]);
        }
        name[n] = option[n] = 0;
        const row *r = find_row(str_of(option), CLI_ALL);
        bool known = tells_of_a_service(name, equals + 1) ||
                     (r && own + n == equals && !strcmp(environment_name(r->name, wanted) + PREFIX_BYTES, name));
        for (size_t i = 0; !known && i < sizeof others / sizeof *others; i++)
            known = !strncmp(name, others[i], strlen(others[i]));
        if (known) continue;
        const char *near = r ? r->name : meant(str_of(option), CLI_ALL);
        str_make_printable(name);
        if (near) log_warn("cli", "PLIMSOLL_%s is ignored: did you mean %s?", name, environment_name(near, wanted));
        else log_warn("cli", "PLIMSOLL_%s is ignored: no option has that name", name);
    }
}

static bool unknown_flag(const char *flag, str name, unsigned command, err *e) {
    const char *near = meant(name, command);
    if (find_row(name, CLI_ALL))
        return err_set(e, ERR_USAGE, "%.40s is not an option of this command (--help lists them)", flag);
    if (near) return err_set(e, ERR_USAGE, "unknown option %.40s: did you mean --%s? (--help lists all)", flag, near);
    return err_set(e, ERR_USAGE, "unknown option %.40s (--help lists them)", flag);
}

static bool read_flags(cli_options *o, unsigned command, int argc, const char **argv, err *e) {
    static const char *args[1024];
    bool only_args = false;
    o->args = args;
    o->n_args = 0;
    for (int i = 0; i < argc; i++) {
        const char *a = argv[i];
        if (only_args || a[0] != '-' || !a[1]) {
            if (o->n_args == (int)(sizeof args / sizeof *args)) return err_set(e, ERR_USAGE, "too many arguments");
            args[o->n_args++] = a;
            continue;
        }
        if (!strcmp(a, "--")) {
            only_args = true;
            continue;
        }
        const char *name = a + (a[1] == '-' ? 2 : 1), *equals = strchr(name, '=');
        str key = {name, equals ? (size_t)(equals - name) : strlen(name)};
        const row *r = find_row(key, command);
        if (!r) return unknown_flag(a, key, command, e);
        const char *text = equals ? equals + 1 : r->kind == KIND_FLAG ? "true" : i + 1 < argc ? argv[++i] : NULL;
        if (!text) return err_set(e, ERR_USAGE, "%s needs a value: %s", a, r->unit);
        if (!set_value(o, r, text, FROM_FLAG, e)) return false;
    }
    return true;
}

/* What no single row can see. */
static bool check_together(const cli_options *o, err *e) {
    if (o->keep && !o->window) return err_set(e, ERR_USAGE, "--keep needs --window");
    if (o->window && o->keep >= o->window)
        return err_set(e, ERR_USAGE, "--keep is %u; it must be below --window, which is %u", o->keep, o->window);
    if (o->context && o->window > o->context)
        return err_set(e, ERR_USAGE, "--window is %u; it must be at most --ctx-size, which is %u", o->window,
                       o->context);
    if ((o->speculate == 2) != (o->draft_model != NULL))
        return err_set(e, ERR_USAGE, o->draft_model ? "--draft-model needs --speculate draft"
                                                    : "--speculate draft needs --draft-model");
    if (o->spill_file && !o->spill_bytes) return err_set(e, ERR_USAGE, "--spill-file needs --spill-bytes");
    if (o->spill_bytes && !o->spill_file) return err_set(e, ERR_USAGE, "--spill-bytes needs --spill-file");
    if (o->spill_file && (o->no_prompt_cache || !o->cache_entries))
        return err_set(e, ERR_USAGE, "--spill-file holds what the prompt cache remembers, and that is off");
    return true;
}

enum { GGUF_MAGIC_BYTES = 4 };

static bool is_file(const char *path, bool *is_model) {
    char magic[GGUF_MAGIC_BYTES];
    struct stat s;
    size_t len = strlen(path);
    *is_model = len > 5 && !strcmp(path + len - 5, ".gguf");
    if (stat(path, &s)) return false;
    int fd = !*is_model && S_ISREG(s.st_mode) ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    *is_model |= fd >= 0 && read(fd, magic, sizeof magic) == GGUF_MAGIC_BYTES && !memcmp(magic, "GGUF", sizeof magic);
    if (fd >= 0) close(fd);
    return true;
}

/* A model file may be given bare: `serve model.gguf`. What is left then is the text of run and tokenize; the others
 * take nothing more, so that no slip of the hand becomes a server of the built-in model. */
static bool take_model(cli_options *o, unsigned command, err *e) {
    const row *model = find_row(STR("model"), command);
    bool text = command & (CLI_RUN | CLI_TOKENIZE), is_model;
    if (!(command & CLI_MODEL) || !o->n_args) return true;
    const char *first = o->args[0];
    bool exists = is_file(first, &is_model), given = sources[model - rows] == FROM_FLAG;
    if (!given && (is_model || !text)) {
        if (!exists)
            return err_set(e, ERR_NOT_FOUND, "there is no file '%.120s': a model is a GGUF file, given bare or with -m",
                           first);
        if (!set_value(o, model, first, FROM_FLAG, e)) return false;
        o->args++, o->n_args--;
    }
    if (text || !o->n_args) return true;
    return err_set(e, ERR_USAGE, "unexpected argument '%.120s': beside its options this command takes one model file",
                   o->args[0]);
}

bool cli_flags_read(cli_options *o, unsigned command, int argc, const char **argv, err *e) {
    memset(o, 0, sizeof *o);
    cli_options early = {0};
    if (!read_flags(&early, command, argc, argv, e)) return false; /* --config itself, from flags or environment */
    const char *config = early.config ? early.config : getenv("PLIMSOLL_CONFIG");
    memset(sources, 0, sizeof sources);
    memset(values, 0, sizeof values);
    return read_defaults(o, e) && (!config || read_config(o, command, config, e)) && read_environment(o, command, e) &&
           read_flags(o, command, argc, argv, e) && (o->help || take_model(o, command, e)) && check_together(o, e);
}

/* ---- what the table says to people ---- */

enum { HELP_LEFT = 36, HELP_COLUMNS = 100 };

/* A word of the right column, on a line of its own where this one is full. The column after it. */
static int put_word(FILE *out, int column, const char *word, int len) {
    if (column > HELP_LEFT && column + 1 + len > HELP_COLUMNS) column = fprintf(out, "\n%*s", HELP_LEFT, "") - 1;
    return column + fprintf(out, column > HELP_LEFT ? " %.*s" : "%.*s", len, word);
}

static int put_words(FILE *out, int column, const char *text) {
    for (; *text; text += strspn(text, " ")) {
        int len = (int)strcspn(text, " ");
        column = put_word(out, column, text, len);
        text += len;
    }
    return column;
}

void cli_flags_help(unsigned command, FILE *out) {
    for (int i = 0; i < N_ROWS; i++) {
        const row *r = &rows[i];
        if (!(r->commands & command)) continue;
        char left[64];
        int n = r->brief ? snprintf(left, sizeof left, "  -%s, --%s", r->brief, r->name)
                         : snprintf(left, sizeof left, "      --%s", r->name);
        if (r->unit) snprintf(left + n, sizeof left - (size_t)n, " %s", r->unit);
        int column = put_words(out, fprintf(out, "%-*s ", HELP_LEFT - 1, left), r->help);
        char fallback[64];
        if (r->fallback && strcmp(r->fallback, "0"))
            put_word(out, column, fallback, snprintf(fallback, sizeof fallback, "[%s]", r->fallback));
        fputc('\n', out);
    }
}

void cli_flags_print_config(const cli_options *o, unsigned command, FILE *out) {
    (void)o;
    for (int i = 0; i < N_ROWS; i++) {
        const row *r = &rows[i];
        if (!(r->commands & command) || r->offset == AT(help) || r->offset == AT(print_config)) continue;
        bool shown = values[i] && r->kind != KIND_KEYS; /* what is not can be no line of a --config file */
        fprintf(out, "%s%s = %s  # %s\n", shown ? "" : "# ", r->name, shown ? values[i] : values[i] ? "***" : "",
                source_names[sources[i]]);
    }
}
