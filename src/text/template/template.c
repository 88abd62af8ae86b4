#include "text/template/internal.h"

#include <stdio.h>

#include "base/clock.h"

/* ---- region ---- */

enum { CHUNK_FIRST_BYTES = 4096, CHUNK_MOST_BYTES = 64 * 1024 };

void region_init(region *g, const base_alloc *alloc) {
    *g = (region){.alloc = alloc, .next_bytes = CHUNK_FIRST_BYTES};
}

void region_free(region *g) {
    for (region_chunk *c = g->chunks, *next; c; c = next) {
        next = c->next;
        alloc_free(g->alloc, c, c->bytes);
    }
    region_init(g, g->alloc);
}

/* growth: room behind a block that is larger than a chunk. */
static bool add_chunk(region *g, size_t bytes, size_t growth) {
    size_t wanted = g->next_bytes;
    if (bytes > wanted / 2) wanted = bytes + growth + sizeof(region_chunk) + 16;
    wanted = (wanted + 15) & ~(size_t)15; /* so that an arena takes them back, the latest first */
    if (g->most_bytes && wanted > g->most_bytes - g->total_bytes) return g->full = true, false;
    region_chunk *c = alloc_bytes(g->alloc, wanted);
    if (!c) return false;
    *c = (region_chunk){g->chunks, wanted};
    g->chunks = c;
    g->total_bytes += wanted;
    g->at = (char *)(c + 1);
    g->end = (char *)c + wanted;
    if (g->next_bytes < CHUNK_MOST_BYTES) g->next_bytes *= 2;
    return true;
}

char *region_take_text(region *g, size_t bytes) {
    bool fits = g->chunks && (size_t)(g->end - g->at) >= bytes;
    if (bytes > SIZE_MAX / 4 || (!fits && !add_chunk(g, bytes, bytes / 2))) return NULL; /* texts grow at their end */
    char *p = g->at;
    g->at += bytes;
    return p;
}

void *region_take(region *g, size_t bytes) {
    size_t pad = -(uintptr_t)g->at & 15u;
    bool fits = g->chunks && (size_t)(g->end - g->at) >= bytes + pad;
    if (bytes > SIZE_MAX / 4 || (!fits && !add_chunk(g, bytes, 0))) return NULL;
    g->at += -(uintptr_t)g->at & 15u;
    void *p = g->at;
    g->at += bytes;
    return p;
}

/* ---- the face ---- */

bool template_fail_at(err *e, place at, err_code code, const char *format, ...) {
    char what[ERR_MESSAGE_BYTES];
    va_list args;
    va_start(args, format);
    vsnprintf(what, sizeof what, format, args);
    va_end(args);
    return err_set(e, code, "line %u, column %u: %s", at.line, at.column, what);
}

void text_template_limits_default(text_template_limits *l) {
    int64_t now_s = (int64_t)(clock_wall_ms() / 1000);
    *l = (text_template_limits){
        .steps = 10000000, .output_bytes = 16u << 20, .memory_bytes = 32u << 20, .now_s = now_s};
}

static bool compile(text_template *t, str source, err *e) {
    region passing;
    token *tokens;
    size_t n;
    region_init(&passing, &t->alloc);
    bool ok =
        template_lex(source, &t->kept, &passing, &tokens, &n, e) && template_parse(t, &passing, tokens, n, e);
    region_free(&passing);
    return ok;
}

text_template *text_template_new(str source, const base_alloc *alloc, err *e) {
    if (source.len > TEXT_TEMPLATE_BYTES_MAX)
        return err_set(e, ERR_TOO_LARGE, "the template has %zu bytes; it may have %d", source.len,
                       TEXT_TEMPLATE_BYTES_MAX),
               NULL;
    if (!utf8_valid(source)) return err_set(e, ERR_INVALID, "the template is not valid UTF-8"), NULL;
    text_template *t = alloc_zeroed(alloc, sizeof *t);
    if (!t) return err_set(e, ERR_MEMORY, "no memory for the template"), NULL;
    t->alloc = *alloc;
    region_init(&t->kept, &t->alloc);
    if (compile(t, source, e)) return t;
    text_template_free(t);
    return NULL;
}

void text_template_free(text_template *t) {
    if (!t) return;
    base_alloc alloc = t->alloc;
    region_free(&t->kept);
    alloc_free(&alloc, t, sizeof *t);
}

size_t text_template_bytes(const text_template *t) { return sizeof *t + t->kept.total_bytes; }

/* What it is given: a JSON text, or told. */
typedef struct given {
    str json;
    text_template_tell *tell;
    text_template_tell_part *part;
    void *ctx;
} given;

static bool run_template(run *r, const given *g) {
    if (!run_take(r, r->template->names.n * sizeof *r->globals, &r->globals)) return false;
    for (uint32_t i = 0; i < r->template->names.n; i++) r->globals[i] = value_of(UNSET);
    scope outermost = {0};
    bool ok = g->tell ? template_take_input(r, g->tell, g->ctx, false, STR("")) : template_read_context(r, g->json);
    return ok && run_block(r, &r->template->body, &outermost);
}

static bool render(const text_template *t, const given *g, const text_template_limits *limits,
                   const base_alloc *scratch, buf *out, err *e) {
    run r = {.template = t,
             .limits = limits,
             .out = out,
             .out_start = out->len,
             .steps_left = limits->steps,
             .tell_part = g->part,
             .tell_ctx = g->ctx,
             .e = e};
    region_init(&r.memory, scratch);
    r.memory.most_bytes = limits->memory_bytes;
    bool ok = run_template(&r, g);
    region_free(&r.memory);
    if (ok) return true;
    out->len = r.out_start;
    out->failed = false;
    if (out->data) out->data[out->len] = 0;
    return false;
}

bool text_template_render(const text_template *t, str context_json, const text_template_limits *limits,
                          const base_alloc *scratch, buf *out, err *e) {
    return render(t, &(given){.json = context_json}, limits, scratch, out, e);
}

bool text_template_render_told(const text_template *t, text_template_tell *tell, text_template_tell_part *part,
                               void *ctx, const text_template_limits *limits, const base_alloc *scratch, buf *out,
                               err *e) {
    return render(t, &(given){.tell = tell, .part = part, .ctx = ctx}, limits, scratch, out, e);
}
