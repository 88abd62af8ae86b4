/* plimsoll bench: how fast a model loads, reads prompts and decodes here, and how near that is to what the machine
 * can do. Every figure stands beside a limit measured right after it, on the same threads and over the same weights. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/clock.h"
#include "base/rng.h"
#include "cli/cli.h"
#include "mem/heap.h"
#include "plat/kernel.h"

enum {
    MAX_REPS = 1000, MAX_LOGIT_TOKENS = 65536, MAX_STREAMS = 256,
    STREAM_PROMPT = 128, WARM_TOKENS = 512, LIMIT_LOOKS = 3,
};

typedef struct bench {
    const cli_options *o;
    engine *en;
    engine_session *session;
    engine_session *streams[MAX_STREAMS];
    int32_t *tokens; /* random ones: speed does not depend on which */
    uint32_t n_tokens;
    const engine_plan *plan;
    cli_list depths, widths; /* contexts to decode after, sequences to decode at once */
    uint32_t depth, width;   /* of the test that runs */
    uint64_t start_ns;
    double speeds[MAX_REPS];
} bench;

/* What a test gave, and what one of its tokens costs the machine. */
typedef struct figure {
    char name[48];
    double tokens_per_s, least, most;
    double bytes_per_token, macs_per_token;
    bool reading; /* its limit is reading, not multiplying */
} figure;

static bool item(bench *b, engine_session *s, const int32_t *tokens, uint32_t n, engine_want last, err *e) {
    for (uint32_t done = 0; done < n;) {
        uint32_t piece = n - done < engine_batch(b->en) ? n - done : engine_batch(b->en);
        engine_batch_item f = {s, tokens + done, piece, done + piece == n ? last : ENGINE_WANT_NONE};
        if (!engine_run(b->en, &f, e)) return false;
        done += piece;
    }
    return true;
}

/* Back to the first n tokens, or on to them. A window that has rotated cannot go back: it begins anew, or goes on
 * from where it is, which takes as long. */
static bool go_to(bench *b, uint32_t n, err *e) {
    if (!b->o->window) {
        uint32_t have = engine_session_length(b->session);
        /* 0 tokens are left where the model's own windows have let go */
        uint32_t left = engine_session_rewind(b->en, b->session, have < n ? have : n);
        return left == n || item(b, b->session, b->tokens + left, n - left, ENGINE_WANT_NONE, e);
    }
    if (n > 0) return true;
    kv_params params = cli_kv_params(b->o, b->en);
    engine_session_close(b->en, b->session);
    return (b->session = engine_session_open(b->en, &params, e)) != NULL;
}

static bool prefill_some(bench *b, uint32_t n, double *tokens_per_s, err *e) {
    if (!go_to(b, 0, e)) return false;
    uint64_t start = clock_now_ns();
    if (!item(b, b->session, b->tokens, n, ENGINE_WANT_LAST, e)) return false;
    *tokens_per_s = n * 1000.0 / clock_ms_since(start);
    return true;
}

static bool prefill(bench *b, bool warm_up, double *tokens_per_s, err *e) {
    return prefill_some(b, warm_up && b->o->pp > WARM_TOKENS ? WARM_TOKENS : b->o->pp, tokens_per_s, e);
}

/* After whatever context is there: each token by itself, with its logits, as a generation does it. */
static bool decode(bench *b, bool warm_up, double *tokens_per_s, err *e) {
    uint32_t n = warm_up && b->o->tg > 4 ? 4 : b->o->tg;
    if (!go_to(b, b->depth, e)) return false;
    uint64_t start = clock_now_ns();
    for (uint32_t i = 0; i < n; i++)
        if (!item(b, b->session, b->tokens + i, 1, ENGINE_WANT_LAST, e)) return false;
    *tokens_per_s = n * 1000.0 / clock_ms_since(start);
    return true;
}

/* One token of each stream a step, and its logits; all streams' tokens count. */
static bool decode_together(bench *b, bool warm_up, double *tokens_per_s, err *e) {
    uint32_t n = warm_up && b->o->tg > 4 ? 4 : b->o->tg;
    engine_batch_item items[MAX_STREAMS];
    for (uint32_t s = 0; s < b->width; s++) {
        if (engine_session_rewind(b->en, b->streams[s], STREAM_PROMPT) != STREAM_PROMPT)
            return err_set(e, ERR_INVALID, "--streams: this model's windows cannot go back");
        if (!engine_session_reserve(b->en, b->streams[s], STREAM_PROMPT + b->o->tg, e)) return false;
    }
    uint64_t start = clock_now_ns();
    for (uint32_t i = 0; i < n; i++) {
        for (uint32_t s = 0; s < b->width; s++)
            items[s] = (engine_batch_item){b->streams[s], b->tokens + (i + s) % b->n_tokens, 1, ENGINE_WANT_LAST};
        if (!engine_step(b->en, items, b->width, NULL, e)) return false;
        engine_step_commit(b->en, items, b->width);
    }
    *tokens_per_s = n * b->width * 1000.0 / clock_ms_since(start);
    return true;
}

/* ---- figures ---- */

static int by_value(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

/* The best of some looks: what the machine can do is not what it did while somebody interrupted. */
static compute_limits limits_now(bench *b) {
    compute_limits most = {0};
    for (int i = 0; i < LIMIT_LOOKS; i++) {
        compute_limits l;
        engine_limits(b->en, &l);
        if (l.read_gb_per_s > most.read_gb_per_s) most.read_gb_per_s = l.read_gb_per_s;
        if (l.vnni_gmac_per_s > most.vnni_gmac_per_s) most.vnni_gmac_per_s = l.vnni_gmac_per_s;
        if (l.bf16_gmac_per_s > most.bf16_gmac_per_s) most.bf16_gmac_per_s = l.bf16_gmac_per_s;
        if (l.fma_gmac_per_s > most.fma_gmac_per_s) most.fma_gmac_per_s = l.fma_gmac_per_s;
    }
    return most;
}

static void print_figure(bench *b, const figure *f) {
    compute_limits l = limits_now(b);
    double gb = f->tokens_per_s * f->bytes_per_token * 1e-9, gmac = f->tokens_per_s * f->macs_per_token * 1e-9;
    double most = f->reading ? l.read_gb_per_s : l.vnni_gmac_per_s > 0 ? l.vnni_gmac_per_s : l.fma_gmac_per_s;
    double share = most > 0 ? (f->reading ? gb : gmac) / most : 0;
    plat_process_memory memory = {0};
    plat_process_memory_read(&memory);
    if (b->o->json)
        printf("{\"test\":\"%s\",\"tokens_per_s\":%.3f,\"min\":%.3f,\"max\":%.3f,\"reps\":%u,"
               "\"gb_per_s\":%.3f,\"gmac_per_s\":%.3f,\"limit\":\"%s\",\"share\":%.4f,"
               "\"read_limit_gb_per_s\":%.3f,\"vnni_limit_gmac_per_s\":%.3f,"
               "\"bf16_limit_gmac_per_s\":%.3f,\"fma_limit_gmac_per_s\":%.3f,"
               "\"model_bytes\":%llu,\"rss_bytes\":%llu,\"peak_bytes\":%llu,"
               "\"threads\":%d,\"kernels\":\"%s\",\"kv\":\"%s\"}\n",
               f->name, f->tokens_per_s, f->least, f->most, b->o->reps, gb, gmac, f->reading ? "read" : "products",
               share, l.read_gb_per_s, l.vnni_gmac_per_s, l.bf16_gmac_per_s, l.fma_gmac_per_s,
               (unsigned long long)b->plan->tensor_bytes,
               (unsigned long long)(memory.rss_anon_bytes + memory.rss_file_bytes + memory.rss_shmem_bytes),
               (unsigned long long)memory.peak_rss_bytes, engine_threads(b->en), engine_kernels(b->en),
               compute_kv_name(engine_kv_params(b->en).type));
    else
        printf("%-14s %9.2f tokens/s  (%.2f – %.2f over %u)  %6.1f %s, %3.0f %% of %.1f\n", f->name, f->tokens_per_s,
               f->least, f->most, b->o->reps, f->reading ? gb : gmac, f->reading ? "GB/s" : "GMAC/s", share * 100,
               most);
    fflush(stdout);
}

static bool measure(bench *b, figure *f, bool (*test)(bench *, bool, double *, err *), err *e) {
    double unused;
    if (!test(b, true, &unused, e)) return false;
    for (uint32_t r = 0; r < b->o->reps; r++)
        if (!test(b, false, &b->speeds[r], e)) return false;
    qsort(b->speeds, b->o->reps, sizeof *b->speeds, by_value);
    f->tokens_per_s = b->speeds[b->o->reps / 2];
    f->least = b->speeds[0];
    f->most = b->speeds[b->o->reps - 1];
    print_figure(b, f);
    return true;
}

/* From the start of the command to a model that is ready, and to the row of logits after one token. */
static bool measure_load(bench *b, err *e) {
    double ready_ms = clock_ms_since(b->start_ns);
    if (!item(b, b->session, b->tokens, 1, ENGINE_WANT_LAST, e)) return false;
    double first_ms = clock_ms_since(b->start_ns);
    plat_process_memory memory = {0};
    plat_process_memory_read(&memory);
    if (b->o->json)
        printf("{\"test\":\"load\",\"ready_ms\":%.1f,\"first_token_ms\":%.1f,\"model_bytes\":%llu,"
               "\"peak_bytes\":%llu}\n",
               ready_ms, first_ms, (unsigned long long)b->plan->tensor_bytes,
               (unsigned long long)memory.peak_rss_bytes);
    else
        printf("%-14s %9.0f ms to ready, %.0f ms to the first token\n", "load", ready_ms, first_ms);
    return true;
}

static bool measure_prefill(bench *b, err *e) {
    figure f = {.macs_per_token = model_matmul_macs(engine_model_desc(b->en))};
    if (b->o->pp == 0) return true;
    snprintf(f.name, sizeof f.name, "pp%u", b->o->pp);
    f.bytes_per_token = (double)engine_token_bytes(b->en) / b->o->pp;
    return measure(b, &f, prefill, e);
}

/* Of the keys and values that a decoded token reads, on average over a test that begins at this depth. */
static double kv_bytes(const bench *b, uint32_t depth) {
    return (double)b->plan->kv_bytes_per_token * (depth + b->o->tg / 2.0);
}

static bool measure_decode(bench *b, bool named, uint32_t depth, err *e) {
    figure f = {.macs_per_token = engine_token_macs(b->en), .reading = true};
    if (b->o->tg == 0) return true;
    b->depth = depth;
    snprintf(f.name, sizeof f.name, named ? "tg%u@%u" : "tg%u", b->o->tg, depth);
    f.bytes_per_token = (double)engine_token_bytes(b->en) + kv_bytes(b, depth);
    return measure(b, &f, decode, e);
}

static bool open_streams(bench *b, uint32_t n, err *e) {
    for (uint32_t s = 0; s < n; s++) {
        if (b->streams[s]) continue;
        if (!(b->streams[s] = engine_session_open(b->en, NULL, e))) return false;
        if (!item(b, b->streams[s], b->tokens, STREAM_PROMPT, ENGINE_WANT_NONE, e)) return false;
    }
    return true;
}

static bool measure_together(bench *b, uint32_t width, err *e) {
    figure f = {.macs_per_token = engine_token_macs(b->en), .reading = width <= 4};
    if (b->o->tg == 0) return true;
    b->width = width;
    snprintf(f.name, sizeof f.name, "tg%ux%u", b->o->tg, width);
    f.bytes_per_token = (double)engine_token_bytes(b->en) / width + kv_bytes(b, STREAM_PROMPT);
    return open_streams(b, width, e) && measure(b, &f, decode_together, e);
}

static bool run_speed(bench *b, err *e) {
    rng r;
    rng_seed(&r, 1);
    for (uint32_t i = 0; i < b->n_tokens; i++)
        b->tokens[i] = (int32_t)(rng_next(&r) % text_vocab_size(engine_vocab(b->en)));
    if (!measure_load(b, e) || !measure_prefill(b, e)) return false;
    if (b->depths.n == 0 && !measure_decode(b, false, b->o->pp, e)) return false;
    for (uint32_t i = 0; i < b->depths.n; i++)
        if (!measure_decode(b, true, (uint32_t)b->depths.v[i], e)) return false;
    for (uint32_t i = 0; i < b->widths.n; i++)
        if (!measure_together(b, (uint32_t)b->widths.v[i], e)) return false;
    return true;
}

/* ---- logits of given tokens, for comparison with another implementation ---- */

static bool read_tokens(bench *b, err *e) {
    FILE *f = fopen(b->o->token_file, "r");
    if (!f) return err_set(e, ERR_NOT_FOUND, "%s: cannot be read", b->o->token_file);
    uint32_t n_vocab = text_vocab_size(engine_vocab(b->en));
    b->n_tokens = 0;
    int c;
    while ((c = fgetc(f)) != EOF) {
        if (c < '0' || c > '9') continue;
        ungetc(c, f);
        unsigned id;
        if (fscanf(f, "%u", &id) != 1 || id >= n_vocab || b->n_tokens == MAX_LOGIT_TOKENS) {
            fclose(f);
            return err_set(e, ERR_INVALID, "%s: token %u is beyond the vocabulary of %u, or too many",
                           b->o->token_file, id, n_vocab);
        }
        b->tokens[b->n_tokens++] = (int32_t)id;
    }
    fclose(f);
    return b->n_tokens > 0 || err_set(e, ERR_INVALID, "%s holds no token ids", b->o->token_file);
}

/* Raw float32 rows, one for each position. */
static bool write_logits(bench *b, err *e) {
    FILE *f = fopen(b->o->logits, "wb");
    if (!f) return err_set(e, ERR_IO, "%s: cannot be written", b->o->logits);
    uint32_t n_vocab = text_vocab_size(engine_vocab(b->en));
    bool ok = true;
    for (uint32_t done = 0; ok && done < b->n_tokens;) {
        uint32_t piece = b->n_tokens - done < engine_batch(b->en) ? b->n_tokens - done : engine_batch(b->en);
        engine_batch_item feed_all = {b->session, b->tokens + done, piece, ENGINE_WANT_ALL};
        ok = engine_run(b->en, &feed_all, e);
        for (uint32_t i = 0; ok && i < piece; i++)
            ok = fwrite(engine_logits(b->en, i), sizeof(float), n_vocab, f) == n_vocab;
        done += piece;
    }
    return (fclose(f) == 0 && ok) || (e->code ? false : err_set(e, ERR_IO, "%s: cannot be written", b->o->logits));
}

/* ---- */

static uint32_t most_of(const cli_list *l) {
    uint64_t most = 0;
    for (uint32_t i = 0; i < l->n; i++) most = l->v[i] > most ? l->v[i] : most;
    return (uint32_t)most;
}

/* The most tokens that a sequence of this run holds. */
static uint32_t most_tokens(const bench *b) {
    uint32_t context = b->o->pp > most_of(&b->depths) ? b->o->pp : most_of(&b->depths);
    if (b->widths.n && context < STREAM_PROMPT) context = STREAM_PROMPT;
    return context + b->o->tg + 1;
}

static bool run_all(bench *b, err *e) {
    bool logits = b->o->logits != NULL;
    if (logits && !read_tokens(b, e)) return false;
    kv_params params = cli_kv_params(b->o, b->en);
    uint32_t n_most = logits ? b->n_tokens : most_tokens(b);
    char words[160];
    if (cli_context_is_odd(b->en, engine_context(b->en), true, words, sizeof words)) log_warn("bench", "%s", words);
    if (!cli_check_window(b->o, engine_context(b->en), e)) return false;
    if (!(b->session = engine_session_open(b->en, &params, e))) return false;
    if (!params.window && !engine_session_reserve(b->en, b->session, n_most, e)) return false;
    return logits ? write_logits(b, e) : run_speed(b, e);
}

static bool read_options(bench *b, err *e) {
    const cli_options *o = b->o;
    if (o->logits && !o->token_file) return err_set(e, ERR_USAGE, "--logits needs --token-file");
    if (o->depth && !cli_parse_list("depth", o->depth, 0, 1 << 20, &b->depths, e)) return false;
    if (o->streams && !cli_parse_list("streams", o->streams, 1, MAX_STREAMS, &b->widths, e)) return false;
    if (o->window && (o->depth || o->streams))
        return err_set(e, ERR_USAGE, "--depth and --streams measure without --window");
    return most_of(&b->widths) <= o->batch ||
           err_set(e, ERR_USAGE, "--streams holds %u; a step has %u tokens: raise -b",
                   most_of(&b->widths), o->batch);
}

static engine_config config_of(const bench *b) {
    const cli_options *o = b->o;
    uint32_t n_streams = most_of(&b->widths);
    engine_config c = cli_engine_config(o, n_streams ? 1 + n_streams : o->window ? 2 : 1); /* as run */
    if (!c.n_context && !o->logits) c.n_context = most_tokens(b);
    if (!o->context && c.n_context && c.n_context < o->window) c.n_context = o->window;
    if (o->logits) c.n_logits = c.n_batch = o->batch < 64 ? o->batch : 64;
    return c;
}

int cli_bench(const cli_options *o, mem_ledger *l) {
    err e = {0};
    static bench b;
    b = (bench){.o = o, .start_ns = clock_now_ns()};
    if (!read_options(&b, &e) || !cli_set_line(o, l, true, &e)) return cli_fail(&e);
    engine_plan plan;
    cli_plan_begin(&plan, l);
    engine_config c = config_of(&b);
    b.plan = &plan;
    b.en = cli_bring_up(o, &c, l, &plan, &e);
    if (!b.en) return cli_fail(&e);
    mem_heap heap;
    mem_heap_init(&heap, l, MEM_QUEUE);
    b.n_tokens = most_tokens(&b);
    size_t bytes = (o->logits ? MAX_LOGIT_TOKENS : b.n_tokens + 1) * sizeof *b.tokens;
    b.tokens = mem_heap_take(&heap, bytes, &e);
    bool ok = b.tokens && run_all(&b, &e);
    mem_heap_give(&heap, b.tokens, bytes);
    engine_free(b.en);
    return ok ? 0 : cli_fail(&e);
}
