#include "api/core/embed.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/check.h"
#include "base/clock.h"
#include "mem/books.h"

enum { AT_ONCE = 8, BODY_LIMIT = 256 << 20, NUMBER_BYTES = 32 };

typedef struct slot {
    embed_answer *x;
    sched_job *job; /* NULL: free */
    uint32_t text;
} slot;

/* Wakes come from the engine thread, which may not release the job that wakes it: one that has ended is kept until the
 * next has. The lock is held over all that wakes do; jobs are released without it once the answer is gone. It is worded
 * on the wording thread, when no wake changes it any more. */
struct embed_answer {
    api *a;
    const embed_dialect *dialect;
    http_request *request;
    pthread_mutex_t lock;
    bool gone, answered; /* answered: it is to be worded */
    err failure;         /* of the answer */
    sched_request job;
    buf tokens, ends; /* int32_t of all texts; uint32_t: where each ends */
    uint32_t most_tokens; /* of a text */
    uint32_t n_next, n_done;
    float *vectors; /* [n][width] */
    size_t vectors_bytes;
    uint32_t width;
    slot slots[AT_ONCE];
    sched_job *ended;
    uint64_t begin_ns;
    embed_vectors made;
};

/* ---- texts ---- */

embed_answer *embed_begin(api *a, const embed_dialect *d, uint32_t flavour, err *e) {
    embed_answer *x = mem_heap_take_zeroed(&a->heap, sizeof *x, e);
    if (!x) return NULL;
    x->a = a;
    x->dialect = d;
    x->made.flavour = flavour;
    x->width = engine_model_desc(a->en)->n_embd;
    x->most_tokens = engine_context(a->en);
    x->begin_ns = clock_now_ns();
    buf_init(&x->tokens, &a->heap.alloc, SIZE_MAX / 2);
    buf_init(&x->ends, &a->heap.alloc, SIZE_MAX / 2);
    pthread_mutex_init(&x->lock, NULL);
    for (int i = 0; i < AT_ONCE; i++) x->slots[i].x = x;
    return x;
}

void embed_end(embed_answer *x) {
    api *a = x->a;
    pthread_mutex_destroy(&x->lock);
    mem_heap_give(&a->heap, x->vectors, x->vectors_bytes);
    buf_free(&x->tokens);
    buf_free(&x->ends);
    mem_heap_give(&a->heap, x, sizeof *x);
}

static bool no_room(const embed_answer *x, size_t bytes, err *e) {
    return err_set_memory(e, bytes, mem_ledger_available(x->a->ledger), "no memory for %zu bytes of texts or vectors",
                          bytes);
}

/* What stands in a->tokens. */
static bool add_text(embed_answer *x, const char *path, uint32_t n_tokens, err *e) {
    if (!n_tokens) return err_set(e, ERR_INVALID, "'%s' is empty", path);
    if (x->made.n == EMBED_TEXTS_MAX)
        return err_set(e, ERR_INVALID, "'%s': there are more than %d texts", path, EMBED_TEXTS_MAX);
    buf_append(&x->tokens, x->a->tokens, n_tokens * sizeof(int32_t));
    uint32_t end = (uint32_t)(x->tokens.len / sizeof(int32_t));
    buf_append(&x->ends, &end, sizeof end);
    x->made.n++;
    return (!x->tokens.failed && !x->ends.failed) || no_room(x, x->tokens.len, e);
}

typedef struct text_reader {
    embed_answer *x;
    const chat *c;
    const char *name;
    bool cut;
    uint32_t n_ids;
} text_reader;

static bool wrong_input(const text_reader *t, err *e) {
    return err_set(e, ERR_INVALID, "'%s' must be a string, or an array of strings, of token ids, or of arrays of these",
                   t->name);
}

void embed_limit(embed_answer *x, uint32_t n_tokens) {
    if (n_tokens < x->most_tokens) x->most_tokens = n_tokens;
}

/* A text's beginning, or nothing of it. */
static bool fit(const embed_answer *x, bool cut, uint32_t *n, err *e) {
    if (*n > x->most_tokens && !cut) return err_set_tokens(e, *n, x->most_tokens);
    if (*n > x->most_tokens) *n = x->most_tokens;
    return true;
}

bool embed_add(embed_answer *x, const char *path, str text, bool cut, err *e) {
    uint32_t n = 0;
    if (!text.len) return err_set(e, ERR_INVALID, "'%s' is empty", path);
    if (!api_tokenize(x->a, text, false, &n, e)) {
        if (e->code != ERR_TOO_LARGE || !cut) return false;
        *e = (err){0};
        n = engine_context(x->a->en); /* so many are there */
    }
    return fit(x, cut, &n, e) && add_text(x, path, n, e);
}

static bool on_id(void *ctx, const field_item *item, err *e) {
    text_reader *t = ctx;
    if (item->kind != JSON_INT) return wrong_input(t, e);
    return api_add_token(t->x->a, t->name, item->integer, &t->n_ids, e);
}

static bool add_ids(text_reader *t, const char *path, str json, err *e) {
    t->n_ids = 0;
    uint32_t most = engine_context(t->x->a->en);
    if (!chat_each(t->c, path, json, on_id, t, e)) return false;
    if (t->cut && t->n_ids > most) t->n_ids = most;
    return api_check_prompt(t->x->a, t->n_ids, e) && fit(t->x, t->cut, &t->n_ids, e) &&
           add_text(t->x, path, t->n_ids, e);
}

static bool on_input(void *ctx, const field_item *item, err *e) {
    text_reader *t = ctx;
    if (item->kind == JSON_STRING) return embed_add(t->x, item->path, item->text, t->cut, e);
    if (item->kind == JSON_ARRAY_START) return add_ids(t, item->path, item->json, e);
    return wrong_input(t, e);
}

/* The first value of an array, or nothing. */
static json_kind first_kind(str array) {
    size_t at = 1;
    while (at < array.len && strchr(" \t\r\n", array.data[at])) at++;
    return array.data[at] == ']' ? JSON_NULL : fields_kind((str){array.data + at, array.len - at});
}

bool embed_read(embed_answer *x, const chat *c, const char *name, str json, bool cut, err *e) {
    text_reader t = {.x = x, .c = c, .name = name, .cut = cut};
    str text;
    if (!json.len) return err_set(e, ERR_INVALID, "'%s' is missing", name);
    json_kind kind = fields_kind(json);
    if (kind == JSON_STRING) return fields_text(&c->in, json, &text, e) && embed_add(x, name, text, cut, e);
    if (kind != JSON_ARRAY_START) return wrong_input(&t, e);
    if (first_kind(json) == JSON_INT) return add_ids(&t, name, json, e); /* all of the array is one text */
    return chat_each(c, name, json, on_input, &t, e);
}

/* ---- jobs ---- */

static const int32_t *text_tokens(const embed_answer *x, uint32_t i, uint32_t *n) {
    const uint32_t *ends = (const uint32_t *)(const void *)x->ends.data;
    uint32_t begin = i ? ends[i - 1] : 0;
    *n = ends[i] - begin;
    return (const int32_t *)(const void *)x->tokens.data + begin;
}

static void on_wake(void *ctx);

/* As many as may be under way. What the queue refuses comes after one that is; with none it is refused. */
static bool submit_more(embed_answer *x, err *e) {
    uint32_t under_way = 0;
    for (int i = 0; i < AT_ONCE; i++) under_way += x->slots[i].job != NULL;
    for (int i = 0; i < AT_ONCE && x->n_next < x->made.n; i++) {
        slot *s = &x->slots[i];
        if (s->job) continue;
        x->job.prompt = text_tokens(x, x->n_next, &x->job.n_prompt);
        s->text = x->n_next;
        s->job = sched_submit(x->a->sched, &x->job, e);
        if (!s->job) return under_way && (e->code == ERR_BUSY || e->code == ERR_MEMORY);
        under_way++;
        x->n_next++;
        sched_job_listen(x->a->sched, s->job, on_wake, s);
    }
    return true;
}

static void normalize(float *v, uint32_t n) {
    double squares = 0;
    for (uint32_t i = 0; i < n; i++) squares += (double)v[i] * (double)v[i];
    double scale = squares > 0 ? 1 / sqrt(squares) : 1;
    for (uint32_t i = 0; i < n; i++) v[i] = (float)(v[i] * scale);
}

static void keep_vector(embed_answer *x, const slot *s) {
    sched_usage u;
    uint32_t width;
    const float *vector = sched_job_embedding(x->a->sched, s->job, &width);
    float *own = x->vectors + (size_t)s->text * x->width;
    CHECK(vector && width == x->width);
    memcpy(own, vector, width * sizeof *own);
    if (x->made.dimensions < width && x->job.normalize) normalize(own, x->made.dimensions);
    sched_job_usage(x->a->sched, s->job, &u);
    x->made.prompt_tokens += u.prompt_tokens;
    if (u.peak_bytes > x->made.peak_bytes) x->made.peak_bytes = u.peak_bytes;
    if (u.queue_ms > x->made.queue_ms) x->made.queue_ms = u.queue_ms;
    x->n_done++;
}

/* ---- the answer ---- */

static int word(embed_answer *x, err *e, buf *to) {
    x->made.total_ms = clock_ms_since(x->begin_ns);
    if (!e->code) x->dialect->whole(x, to);
    if (!e->code && to->failed) no_room(x, x->vectors_bytes, e);
    if (!e->code) return 200;
    buf_clear(to);
    int status = api_dialect_status(x->dialect->errors, e, false);
    x->dialect->errors->error(&(answer_failure){e, status, http_request_id(x->request)}, to);
    return status;
}

static void reply(void *ctx, http_request *r) {
    embed_answer *x = ctx;
    buf body;
    api_begin_wording(x->a, r);
    buf_init(&body, &x->a->heap.alloc, BODY_LIMIT);
    int status = word(x, &x->failure, &body);
    if (status != 200) api_put_error_headers(x->a, r, status, &x->failure);
    http_late_reply(r, status, "application/json", buf_str(&body));
    buf_free(&body);
    plat_pulse_end();
}

static void on_wake(void *ctx) {
    slot *s = ctx;
    embed_answer *x = s->x;
    err e = {0};
    pthread_mutex_lock(&x->lock);
    if (!x->gone && !x->answered) {
        if (!sched_job_failed(x->a->sched, s->job, &e)) {
            keep_vector(x, s);
            if (x->ended) sched_job_release(x->a->sched, x->ended);
            x->ended = s->job;
            s->job = NULL;
            if (submit_more(x, &e)) e = (err){0};
        }
        x->answered = e.code || x->n_done == x->made.n;
        x->failure = e;
        if (x->answered) http_word(x->request, reply, x);
    }
    pthread_mutex_unlock(&x->lock);
}

static void release_jobs(embed_answer *x) {
    for (int i = 0; i < AT_ONCE; i++)
        if (x->slots[i].job) sched_job_release(x->a->sched, x->slots[i].job);
    if (x->ended) sched_job_release(x->a->sched, x->ended);
}

static void on_gone(void *ctx, bool completed) {
    (void)completed;
    embed_answer *x = ctx;
    api *a = x->a;
    pthread_mutex_lock(&x->lock);
    x->gone = true; /* from here on no wake touches a job */
    pthread_mutex_unlock(&x->lock);
    release_jobs(x);
    embed_end(x);
    sampler_request_ended(a);
}

static bool check_size(const embed_answer *x, uint32_t number_bytes, err *e) {
    uint64_t bytes = (uint64_t)x->made.n * x->made.dimensions * number_bytes;
    uint64_t limit = x->a->config.reply_limit_bytes;
    char need[BYTES_TEXT_BYTES], have[BYTES_TEXT_BYTES];
    if (!limit || bytes <= limit) return true;
    return err_set(e, ERR_INVALID,
                   "'input': %u vectors of %u numbers may take %s and an answer of this server holds %s: ask for fewer "
                   "texts at once, or fewer dimensions",
                   x->made.n, x->made.dimensions, bytes_text(bytes, need), bytes_text(limit, have));
}

static bool prepare(embed_answer *x, const api_request *q, uint32_t dimensions, uint32_t number_bytes, err *e) {
    x->job = q->job;
    x->job.id = http_request_id(x->request);
    x->job.max_tokens = 0;
    x->job.whole = true;
    x->job.remember = false; /* nobody goes on with such a text */
    if (!x->job.pooling) x->job.pooling = engine_pooling(x->a->en);
    if (dimensions > x->width)
        return err_set(e, ERR_INVALID, "'dimensions' is %u; this model has %u", dimensions, x->width);
    x->made.dimensions = dimensions ? dimensions : x->width;
    if (!check_size(x, number_bytes, e)) return false;
    x->vectors_bytes = (size_t)x->made.n * x->width * sizeof *x->vectors;
    x->vectors = x->vectors_bytes ? mem_heap_take(&x->a->heap, x->vectors_bytes, e) : NULL;
    if (x->vectors || !x->vectors_bytes) return true;
    x->vectors_bytes = 0;
    return false;
}

static void answer_nothing(embed_answer *x, http_request *r) {
    API_PAGE(body, 4096);
    x->dialect->whole(x, &body);
    api_reply_json(r, 200, &body);
    embed_end(x);
}

void embed_run(embed_answer *x, http_request *r, const api_request *q, uint32_t dimensions, uint32_t number_bytes) {
    err e = {0};
    x->request = r;
    bool good = prepare(x, q, dimensions, number_bytes, &e);
    if (good && !x->made.n) {
        answer_nothing(x, r);
        return;
    }
    pthread_mutex_lock(&x->lock);
    good = good && submit_more(x, &e);
    if (good) http_late(r, on_gone, x);
    else x->gone = true; /* no wake touches the jobs that there may be */
    pthread_mutex_unlock(&x->lock);
    if (good) return;
    api *a = x->a;
    const dialect *d = x->dialect->errors;
    release_jobs(x);
    embed_end(x);
    api_refuse(a, r, d, &e);
}

/* ---- wording ---- */

const embed_vectors *embed_made(const embed_answer *x) { return &x->made; }
const float *embed_vector(const embed_answer *x, uint32_t i) {
    plat_pulse_beat();
    return x->vectors + (size_t)i * x->width;
}
api *embed_api(const embed_answer *x) { return x->a; }

void embed_put_vector(const embed_answer *x, uint32_t i, json_writer *w) {
    const float *v = embed_vector(x, i);
    char number[NUMBER_BYTES];
    json_array_start(w);
    for (uint32_t k = 0; k < x->made.dimensions; k++) {
        int n = snprintf(number, sizeof number, "%.9g", (double)v[k]); /* enough to read the same float back */
        json_raw(w, (str){number, (size_t)n});
    }
    json_array_end(w);
}

void embed_put_own(const embed_answer *x, json_writer *w) {
    mem_books books;
    mem_books_read(x->a->ledger, &books);
    json_key(w, "timings");
    json_object_start(w);
    json_put_fixed(w, "queue_ms", x->made.queue_ms, 3);
    json_put_fixed(w, "total_ms", x->made.total_ms, 3);
    json_object_end(w);
    json_key(w, "memory");
    json_object_start(w);
    json_put_uint(w, "peak_bytes", x->made.peak_bytes);
    json_put_string(w, "level", str_of(mem_level_name(books.level)));
    json_object_end(w);
}
