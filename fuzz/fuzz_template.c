// links: text
/* The input is a template, a NUL, and a context. With few steps and little memory it must end soon: in well-formed
 * text, or in an error that says why; with the same result twice. */
#include <stdlib.h>

#include "text/template/template.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { MEMORY_BYTES = 4 << 20, OUTPUT_BYTES = 1 << 16, STEPS = 20000 };

/* An allocator with a limit: ctx counts what is out. */
static void *resize(void *ctx, void *ptr, size_t old_bytes, size_t new_bytes) {
    size_t *held = ctx;
    if (new_bytes > old_bytes && *held + (new_bytes - old_bytes) > MEMORY_BYTES) return NULL;
    *held += new_bytes - old_bytes;
    if (new_bytes) return realloc(ptr, new_bytes);
    free(ptr);
    return NULL;
}

static bool render(const text_template *t, str context, const base_alloc *alloc, buf *out) {
    text_template_limits limits = {.steps = STEPS, .output_bytes = OUTPUT_BYTES, .now_s = 1700000000};
    err e = {0};
    buf_init(out, alloc, 2 * OUTPUT_BYTES);
    bool ok = text_template_render(t, context, &limits, alloc, out, &e);
    if (ok != (e.code == ERR_NONE) || (!ok && (!e.message[0] || out->len))) abort();
    if (ok && (out->len > OUTPUT_BYTES || !utf8_valid(buf_str(out)))) abort();
    return ok;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    size_t held = 0;
    const base_alloc alloc = {resize, &held};
    const uint8_t *nul = size ? memchr(data, 0, size) : NULL;
    str source = {(const char *)data, nul ? (size_t)(nul - data) : size}, context = STR("{}");
    if (nul) context = (str){(const char *)nul + 1, size - source.len - 1};
    err e = {0};
    text_template *t = text_template_new(source, &alloc, &e);
    if (!t && (e.code == ERR_NONE || !e.message[0])) abort();
    if (t && text_template_bytes(t) != held) abort();
    buf first, again;
    if (t) {
        bool ok = render(t, context, &alloc, &first);
        if (ok) {
            if (!render(t, context, &alloc, &again) || !str_eq(buf_str(&first), buf_str(&again))) abort();
            buf_free(&again);
        }
        buf_free(&first);
    }
    text_template_free(t);
    if (held) abort();
    return 0;
}
