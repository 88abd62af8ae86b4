/* plimsoll load: requests to a server on this machine, and what memory they take. */
#include <arpa/inet.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "report/chart.h"
#include "base/json.h"
#include "cli/cli.h"
#include "cli/client.h"
#include "cli/load_run.h"
#include "mem/arena.h"
#include "mem/heap.h"

enum {
    ROWS_MAX = 256, CONCURRENCY_MAX = 4096,
    PAYLOAD_MAX_BYTES = 64 << 20, PAYLOAD_MIN_BYTES = 64,
    REST_MS = 200,
    SCAN_CONCURRENCY = 48, WARM_REQUESTS = 200,
    MEMORY_TIMEOUT_MS = 10000, PAGE_LIMIT_BYTES = 1 << 20, CHART_LIMIT_BYTES = 8 << 20,
};

/* What the server's own /memory says. */
typedef struct said {
    uint64_t pid, kernel_bytes, ledger_bytes, heap_free_bytes, heap_arena_bytes;
    int64_t unexplained_bytes;
    char level[16];
} said;

typedef struct row {
    bool scan; /* of the second table */
    uint64_t payload_bytes, requests;
    uint32_t concurrency;
    load_counts counts;
    uint64_t peak_bytes;
    said after;
    double begin_s;
} row;

typedef struct load {
    const cli_options *o;
    mem_ledger *ledger;
    mem_heap heap;
    mem_arena arena;
    cli_url url;
    plat_address to;
    cli_list concurrency, payload, scan;
    load_track track;
    uint64_t idle_bytes;
    row rows[ROWS_MAX];
    uint32_t n_rows;
    FILE *json, *chart;
} load;

/* ---- what is asked for ---- */

static bool open_file(const char *flag, const char *path, FILE **f, err *e) {
    if (!path) return true;
    *f = fopen(path, "w");
    return *f || err_set(e, ERR_IO, "--%s: cannot write %.200s: %s", flag, path, strerror(errno));
}

static bool read_options(load *x, err *e) {
    const cli_options *o = x->o;
    if (o->n_args != 1)
        return err_set(e, ERR_USAGE, "give the server's address: plimsoll load http://127.0.0.1:8080");
    if (!cli_url_parse(o->args[0], &x->url, e) || !plat_address_find(&x->to, x->url.host, x->url.port, e)) return false;
    if (!plat_address_is_loopback(&x->to))
        return err_set(e, ERR_USAGE, "%.80s is not this machine: load goes to loopback addresses only",
                       x->url.host);
    if (!cli_parse_list("concurrency", o->concurrency, 1, CONCURRENCY_MAX, &x->concurrency, e) ||
        !cli_parse_list("payload", o->payload, PAYLOAD_MIN_BYTES, PAYLOAD_MAX_BYTES, &x->payload, e) ||
        (o->requests_scan && !cli_parse_list("requests-scan", o->requests_scan, 1, 10000000, &x->scan, e)))
        return false;
    if (x->payload.n * (x->concurrency.n + x->scan.n) > ROWS_MAX)
        return err_set(e, ERR_USAGE, "that makes more than %d rows", ROWS_MAX);
    return open_file("json", o->json_file, &x->json, e) && open_file("chart", o->chart, &x->chart, e);
}

/* ---- the server's own words ---- */

typedef struct memory_reader {
    said *to;
    char keys[JSON_MAX_DEPTH + 2][24];
} memory_reader;

static bool on_memory(void *ctx, const json_event *event, err *e) {
    (void)e;
    memory_reader *r = ctx;
    if (event->kind == JSON_KEY)
        snprintf(r->keys[event->depth], sizeof r->keys[0], "%.*s",
                 (int)(event->text.len < 23 ? event->text.len : 23), event->text.data);
    const struct {
        int depth;
        const char *in, *key;
        uint64_t *at;
    } rows[] = {
        {1, "", "pid", &r->to->pid},
        {2, "books", "kernel_bytes", &r->to->kernel_bytes},
        {2, "books", "ledger_bytes", &r->to->ledger_bytes},
        {3, "heap", "free_bytes", &r->to->heap_free_bytes},
        {3, "heap", "arena_bytes", &r->to->heap_arena_bytes},
    };
    const char *key = r->keys[event->depth], *in = event->depth > 1 ? r->keys[event->depth - 1] : "";
    if (event->kind == JSON_STRING && event->depth == 2 && !strcmp(in, "books") && !strcmp(key, "level"))
        snprintf(r->to->level, sizeof r->to->level, "%.*s", (int)(event->text.len < 15 ? event->text.len : 15),
                 event->text.data);
    if (event->kind != JSON_INT) return true;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (event->depth == rows[i].depth && !strcmp(key, rows[i].key) && !strcmp(in, rows[i].in) &&
            event->integer >= 0)
            *rows[i].at = (uint64_t)event->integer;
    if (event->depth == 2 && !strcmp(in, "books") && !strcmp(key, "unexplained_bytes"))
        r->to->unexplained_bytes = event->integer;
    return true;
}

static bool ask_server(load *x, said *out, err *e) {
    buf page;
    int status = 0;
    buf_init(&page, &x->heap.alloc, PAGE_LIMIT_BYTES);
    *out = (said){0};
    memory_reader r = {.to = out};
    bool good = cli_http(x->url.host, x->url.port, "GET", "/memory", STR(""), MEMORY_TIMEOUT_MS, &status, &page, e);
    if (good && status == 200) good = json_parse(&x->heap.alloc, buf_str(&page), on_memory, &r, e);
    else if (good) good = err_set(e, ERR_INVALID, "GET /memory was answered with %d", status);
    buf_free(&page);
    str_make_printable(out->level);
    return good;
}

/* ---- a row ---- */

/* {"prompt": "…"} of exactly so many bytes: words, and an escaped line end now and then, as in real text. */
static size_t write_body(char *to, size_t bytes) {
    static const char head[] = "{\"prompt\": \"", tail[] = "\"}", words[] = "the ship lies at its line and ";
    size_t n = sizeof head - 1, end = bytes - (sizeof tail - 1);
    memcpy(to, head, n);
    for (size_t i = 0; n < end; i++) {
        bool line_end = i % 96 == 95 && n + 1 < end;
        if (line_end) to[n++] = '\\';
        to[n++] = line_end ? 'n' : words[i % (sizeof words - 1)];
    }
    memcpy(to + n, tail, sizeof tail - 1);
    return bytes;
}

static str make_request(load *x, char *to, size_t payload) {
    int n = snprintf(to, CLI_LINE_BYTES,
                     "POST /generate HTTP/1.1\r\nHost: %s:%u\r\nContent-Type: application/json\r\n"
                     "Content-Length: %zu\r\n\r\n",
                     x->url.host, x->url.port, payload);
    return (str){to, (size_t)n + write_body(to + n, payload)};
}

static void mib(char out[16], double bytes) { snprintf(out, 16, "%.2f", bytes / (1 << 20)); }

/* The first row of the same payload and table: what growth is held against. */
static const row *base_of(const load *x, const row *r) {
    for (uint32_t i = 0; i < x->n_rows; i++)
        if (x->rows[i].scan == r->scan && x->rows[i].payload_bytes == r->payload_bytes) return &x->rows[i];
    return r;
}

static void print_row(const load *x, const row *r) {
    const row *base = base_of(x, r);
    double growth = (double)r->peak_bytes - (double)base->peak_bytes;
    char peak[16], grown[16], ledger[16], unexplained[16], heap[16];
    mib(peak, (double)r->peak_bytes);
    mib(grown, growth);
    mib(ledger, (double)r->after.ledger_bytes);
    mib(unexplained, (double)r->after.unexplained_bytes);
    mib(heap, (double)r->after.heap_free_bytes);
    printf("%11u %9llu %9llu %8llu %7llu %9.0f %10s %8s %7.2f%% %9s %11s %9s  %s\n", r->concurrency,
           (unsigned long long)r->requests, (unsigned long long)r->counts.done,
           (unsigned long long)r->counts.refused, (unsigned long long)r->counts.failed,
           (double)r->counts.done / r->counts.seconds, peak, grown,
           base->peak_bytes ? 100 * growth / (double)base->peak_bytes : 0, ledger, unexplained, heap,
           r->after.level);
    fflush(stdout);
}

static void print_heading(uint64_t payload, bool scan) {
    char text[BYTES_TEXT_BYTES];
    printf("\n%s a request%s (memory in MiB)\n", bytes_text(payload, text), scan ? ", more and more requests" : "");
    printf("%11s %9s %9s %8s %7s %9s %10s %8s %8s %9s %11s %9s  %s\n", "connections", "requests", "answered",
           "refused", "failed", "a second", "peak RSS", "growth", "", "its books", "unexplained", "heap free",
           "level");
}

static bool run_row(load *x, str request, uint64_t payload, uint32_t concurrency, uint64_t requests, bool scan,
                    err *e) {
    row *r = &x->rows[x->n_rows];
    *r = (row){.scan = scan, .payload_bytes = payload, .requests = requests, .concurrency = concurrency};
    fprintf(stderr, "load: %llu bytes, %u %s, %llu %s\n", (unsigned long long)payload, concurrency,
            counted(concurrency, "connection", "connections"), (unsigned long long)requests,
            counted(requests, "request", "requests"));
    usleep(REST_MS * 1000); /* the connections of the row before are gone from the server, too */
    load_track_mark(&x->track);
    r->begin_s = x->track.n ? x->track.seconds[x->track.n - 1] : 0;
    if (!load_run(&x->to, request, concurrency, requests, x->ledger, &x->track, &r->counts, e)) return false;
    r->peak_bytes = x->track.peak_bytes;
    if (!ask_server(x, &r->after, e)) return false;
    x->n_rows++;
    print_row(x, r);
    return true;
}

static uint32_t scan_concurrency(const load *x) {
    uint64_t most = 0;
    for (uint32_t i = 0; i < x->concurrency.n; i++)
        if (x->concurrency.v[i] > most) most = x->concurrency.v[i];
    return most < SCAN_CONCURRENCY ? (uint32_t)most : SCAN_CONCURRENCY;
}

static bool run_payload(load *x, char *space, uint64_t payload, err *e) {
    load_counts warm;
    str request = make_request(x, space, payload);
    if (!load_run(&x->to, request, (uint32_t)x->concurrency.v[0], WARM_REQUESTS, x->ledger, &x->track, &warm, e))
        return false;
    print_heading(payload, false);
    for (uint32_t i = 0; i < x->concurrency.n; i++)
        if (!run_row(x, request, payload, (uint32_t)x->concurrency.v[i], x->o->requests, false, e)) return false;
    if (x->scan.n) print_heading(payload, true);
    for (uint32_t i = 0; i < x->scan.n; i++)
        if (!run_row(x, request, payload, scan_concurrency(x), x->scan.v[i], true, e)) return false;
    return true;
}

/* ---- files ---- */

static void put_row(const load *x, const row *r, json_writer *w) {
    const row *base = base_of(x, r);
    json_object_start(w);
    json_put_string(w, "table", r->scan ? STR("requests") : STR("concurrency"));
    json_put_uint(w, "payload_bytes", r->payload_bytes);
    json_put_uint(w, "concurrency", r->concurrency);
    json_put_uint(w, "requests", r->requests);
    json_put_uint(w, "answered", r->counts.done);
    json_put_uint(w, "refused", r->counts.refused);
    json_put_uint(w, "failed", r->counts.failed);
    json_put_fixed(w, "seconds", r->counts.seconds, 3);
    json_put_fixed(w, "requests_per_second", (double)r->counts.done / r->counts.seconds, 1);
    json_put_uint(w, "answer_bytes", r->counts.answer_bytes);
    json_put_uint(w, "peak_rss_bytes", r->peak_bytes);
    json_put_int(w, "growth_bytes", (int64_t)r->peak_bytes - (int64_t)base->peak_bytes);
    json_put_fixed(w, "ratio", base->peak_bytes ? (double)r->peak_bytes / (double)base->peak_bytes : 1, 5);
    json_key(w, "memory");
    json_object_start(w);
    json_put_uint(w, "kernel_bytes", r->after.kernel_bytes);
    json_put_uint(w, "ledger_bytes", r->after.ledger_bytes);
    json_put_int(w, "unexplained_bytes", r->after.unexplained_bytes);
    json_put_uint(w, "heap_arena_bytes", r->after.heap_arena_bytes);
    json_put_uint(w, "heap_free_bytes", r->after.heap_free_bytes);
    json_put_string(w, "level", str_of(r->after.level));
    json_object_end(w);
    json_object_end(w);
}

static bool save(FILE **f, const char *flag, const buf *text, err *e) {
    bool good = !text->failed && fwrite(text->data, 1, text->len, *f) == text->len;
    good &= fclose(*f) == 0;
    *f = NULL;
    return good || err_set(e, ERR_IO, "--%s: the file could not be written", flag);
}

static bool write_json(load *x, err *e) {
    buf text;
    json_writer w;
    buf_init(&text, &x->heap.alloc, PAGE_LIMIT_BYTES);
    json_begin(&w, &text);
    json_object_start(&w);
    json_put_uint(&w, "idle_rss_bytes", x->idle_bytes);
    json_key(&w, "rows");
    json_array_start(&w);
    for (uint32_t i = 0; i < x->n_rows; i++) put_row(x, &x->rows[i], &w);
    json_array_end(&w);
    json_object_end(&w);
    bool good = save(&x->json, "json", &text, e);
    buf_free(&text);
    return good;
}

static bool write_chart(load *x, err *e) {
    static char labels[ROWS_MAX][40];
    static report_mark marks[ROWS_MAX];
    for (uint32_t i = 0; i < x->n_rows; i++) {
        const row *r = &x->rows[i];
        char size[BYTES_TEXT_BYTES];
        snprintf(labels[i], sizeof labels[i], "%u × %s", r->concurrency, bytes_text(r->payload_bytes, size));
        marks[i] = (report_mark){.x = r->begin_s, .label = labels[i]};
    }
    report_series series = {.name = "resident memory of the server", .values = x->track.bytes};
    report_chart c = {.title = "Memory of the server under load", .n = x->track.n, .x = x->track.seconds,
                      .stacked = true, .n_series = 1, .series = &series, .line = NAN, .n_marks = x->n_rows,
                      .marks = marks};
    buf text;
    buf_init(&text, &x->heap.alloc, CHART_LIMIT_BYTES);
    report_chart_svg(&c, &text);
    bool good = save(&x->chart, "chart", &text, e);
    buf_free(&text);
    return good;
}

/* ---- the command ---- */

static bool take_memory(load *x, char **space, err *e) {
    uint64_t largest = 0;
    for (uint32_t i = 0; i < x->payload.n; i++)
        if (x->payload.v[i] > largest) largest = x->payload.v[i];
    size_t samples = LOAD_SAMPLES_MAX * sizeof(double);
    if (!mem_arena_init(&x->arena, x->ledger, MEM_HTTP, largest + CLI_LINE_BYTES + 2 * samples + 256, false, e))
        return false;
    double *seconds = mem_arena_take(&x->arena, samples, 64), *bytes = mem_arena_take(&x->arena, samples, 64);
    *space = mem_arena_take(&x->arena, largest + CLI_LINE_BYTES, 64);
    load_track_init(&x->track, (int)x->o->pid, seconds, bytes);
    return true;
}

static bool work(load *x, err *e) {
    char *space;
    said idle;
    if (!read_options(x, e) || !take_memory(x, &space, e) || !ask_server(x, &idle, e)) return false;
    if (!x->track.pid) x->track.pid = (int)idle.pid;
    load_track_mark(&x->track);
    x->idle_bytes = x->track.peak_bytes;
    if (!x->idle_bytes)
        return err_set(e, ERR_NOT_FOUND, "the memory of process %d cannot be read; name the server's with --pid",
                       x->track.pid);
    char text[BYTES_TEXT_BYTES];
    printf("process %d, %s before the first request\n", x->track.pid, bytes_text(x->idle_bytes, text));
    for (uint32_t i = 0; i < x->payload.n; i++)
        if (!run_payload(x, space, x->payload.v[i], e)) return false;
    return (!x->json || write_json(x, e)) && (!x->chart || write_chart(x, e));
}

int cli_load(const cli_options *o, mem_ledger *l) {
    static load x;
    err e = {0};
    x = (load){.o = o, .ledger = l};
    mem_heap_init(&x.heap, l, MEM_HTTP);
    bool good = work(&x, &e);
    if (x.json) fclose(x.json);
    if (x.chart) fclose(x.chart);
    mem_arena_free(&x.arena);
    return good ? 0 : cli_fail(&e);
}
