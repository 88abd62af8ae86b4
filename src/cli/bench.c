/* plimsoll bench: prefill and decode speed, side by side with nothing but the clock. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/rng.h"
#include "cli/cli.h"
#include "mem/heap.h"
#include "plat/kernel.h"

enum { MAX_REPS = 1000, MAX_LOGIT_TOKENS = 65536 };

typedef struct bench {
    const cli_options *o;
    engine *en;
    engine_session *session;
    int32_t *tokens; /* random ones: speed does not depend on which */
    uint32_t n_tokens;
    const engine_plan *plan;
    double speeds[MAX_REPS];
} bench;

static bool feed(bench *b, const int32_t *tokens, uint32_t n, engine_want last, err *e) {
    for (uint32_t done = 0; done < n;) {
        uint32_t piece = n - done < engine_batch(b->en) ? n - done : engine_batch(b->en);
        engine_feed f = {b->session, tokens + done, piece, done + piece == n ? last : ENGINE_WANT_NONE};
        if (!engine_run(b->en, &f, e)) return false;
        done += piece;
    }
    return true;
}

/* Back to the first n tokens. A window that has rotated cannot go back: it begins anew, or goes on from where it is,
 * which takes as long. */
static bool go_back(bench *b, uint32_t n, err *e) {
    if (!b->o->window) {
        uint32_t left = engine_session_rewind(b->en, b->session, n);
        return left == n || feed(b, b->tokens + left, n - left, ENGINE_WANT_NONE, e); /* the model's own windows */
    }
    if (n > 0) return true;
    kv_terms terms = cli_terms(b->o, b->en);
    engine_session_close(b->en, b->session);
    return (b->session = engine_session_open(b->en, &terms, e)) != NULL;
}

static bool prefill(bench *b, double *tokens_per_s, err *e) {
    if (!go_back(b, 0, e)) return false;
    uint64_t start = clock_now_ns();
    if (!feed(b, b->tokens, b->o->pp, ENGINE_WANT_LAST, e)) return false;
    *tokens_per_s = b->o->pp * 1000.0 / clock_ms_since(start);
    return true;
}

/* After whatever context is there: each token by itself, with its logits, as a generation does it. */
static bool decode(bench *b, double *tokens_per_s, err *e) {
    if (!go_back(b, b->o->pp, e)) return false;
    uint64_t start = clock_now_ns();
    for (uint32_t i = 0; i < b->o->tg; i++)
        if (!feed(b, b->tokens + i, 1, ENGINE_WANT_LAST, e)) return false;
    *tokens_per_s = b->o->tg * 1000.0 / clock_ms_since(start);
    return true;
}

static int by_value(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static bool measure(bench *b, const char *kind, uint32_t n, bool (*test)(bench *, double *, err *), err *e) {
    double unused;
    if (n == 0) return true;
    if (!test(b, &unused, e)) return false; /* warm-up */
    for (uint32_t r = 0; r < b->o->reps; r++)
        if (!test(b, &b->speeds[r], e)) return false;
    qsort(b->speeds, b->o->reps, sizeof *b->speeds, by_value);
    double median = b->speeds[b->o->reps / 2], least = b->speeds[0], most = b->speeds[b->o->reps - 1];
    plat_process_memory memory = {0};
    plat_process_memory_read(&memory);
    if (b->o->json)
        printf("{\"test\":\"%s%u\",\"tokens_per_s\":%.3f,\"min\":%.3f,\"max\":%.3f,\"reps\":%u,\"model_bytes\":%"
               "llu,\"peak_bytes\":%llu,"
               "\"threads\":%d,\"kernels\":\"%s\",\"kv\":\"%s\"}\n",
               kind, n, median, least, most, b->o->reps, (unsigned long long)b->plan->tensor_bytes,
               (unsigned long long)memory.peak_rss_bytes, engine_threads(b->en), engine_kernels(b->en),
               compute_kv_name(engine_terms(b->en).type));
    else
        printf("%s%-6u %9.2f tokens/s  (%.2f – %.2f over %u)\n", kind, n, median, least, most, b->o->reps);
    fflush(stdout);
    return true;
}

static bool run_speed(bench *b, err *e) {
    rng r;
    rng_seed(&r, 1);
    for (uint32_t i = 0; i < b->n_tokens; i++)
        b->tokens[i] = (int32_t)(rng_next(&r) % text_vocab_size(engine_vocab(b->en)));
    if (b->o->pp == 0 && !feed(b, b->tokens, 1, ENGINE_WANT_NONE, e)) return false;
    return measure(b, "pp", b->o->pp, prefill, e) && measure(b, "tg", b->o->tg, decode, e);
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
        engine_feed feed_all = {b->session, b->tokens + done, piece, ENGINE_WANT_ALL};
        ok = engine_run(b->en, &feed_all, e);
        for (uint32_t i = 0; ok && i < piece; i++)
            ok = fwrite(engine_logits(b->en, i), sizeof(float), n_vocab, f) == n_vocab;
        done += piece;
    }
    return (fclose(f) == 0 && ok) || (e->code ? false : err_set(e, ERR_IO, "%s: cannot be written", b->o->logits));
}

/* ---- */

static bool run_all(bench *b, err *e) {
    bool logits = b->o->logits != NULL;
    if (logits && !b->o->token_file) return err_set(e, ERR_USAGE, "--logits needs --token-file");
    if (logits && !read_tokens(b, e)) return false;
    kv_terms terms = cli_terms(b->o, b->en);
    uint32_t n_most = logits ? b->n_tokens : b->o->pp + b->o->tg + 1;
    if (!cli_check_window(b->o, engine_context(b->en), e)) return false;
    if (!(b->session = engine_session_open(b->en, &terms, e))) return false;
    if (!terms.window && !engine_session_reserve(b->en, b->session, n_most, e)) return false;
    return logits ? write_logits(b, e) : run_speed(b, e);
}

int cli_bench(const cli_options *o, mem_ledger *l) {
    err e = {0};
    static bench b;
    if (!cli_set_line(o, l, &e) || !cli_check_machine(l, &e)) return cli_fail(&e);
    engine_plan plan;
    cli_plan_begin(&plan, l);
    engine_config c = cli_engine_config(o, o->window ? 2 : 1); /* as run */
    if (!c.n_context && !o->logits) c.n_context = o->pp + o->tg + 1;
    if (!o->context && c.n_context && c.n_context < o->window) c.n_context = o->window;
    if (o->logits) c.n_logits = c.n_batch = o->batch < 64 ? o->batch : 64;
    engine *en = cli_bring_up(o, &c, l, &plan, &e);
    if (!en) return cli_fail(&e);
    mem_heap heap;
    mem_heap_init(&heap, l, MEM_QUEUE);
    b = (bench){.o = o, .en = en, .plan = &plan, .n_tokens = o->pp > o->tg ? o->pp : o->tg};
    size_t bytes = (o->logits ? MAX_LOGIT_TOKENS : b.n_tokens + 1) * sizeof *b.tokens;
    b.tokens = mem_heap_take(&heap, bytes, &e);
    bool ok = b.tokens && run_all(&b, &e);
    mem_heap_give(&heap, b.tokens, bytes);
    engine_free(en);
    return ok ? 0 : cli_fail(&e);
}
