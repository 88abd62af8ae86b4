// links: base
/* Any bytes, in chunks of any size. What is accepted is written back, and what was written reads as the same
 * events: numbers by value (5.0 comes back as 5), strings by their bytes. */
#include <stdio.h>
#include <stdlib.h>

#include "base/check.h"
#include "base/json.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void *heap_resize(void *ctx, void *p, size_t old_bytes, size_t new_bytes) {
    (void)ctx, (void)old_bytes;
    if (new_bytes) return realloc(p, new_bytes);
    free(p);
    return NULL;
}

static const base_alloc heap = {heap_resize, NULL};

/* The events so far, folded into one number, and written again. */
typedef struct sink {
    uint64_t hash;
    uint64_t events;
    json_writer *w;
} sink;

static void fold(sink *s, const void *data, size_t len) {
    s->hash = s->hash * 1099511628211u ^ str_hash((str){data, len});
}

static void write_again(json_writer *w, const json_event *v) {
    char key[256];
    switch (v->kind) {
    case JSON_NULL: json_null(w); break;
    case JSON_BOOL: json_bool(w, v->boolean); break;
    case JSON_INT: json_int(w, v->integer); break;
    case JSON_DOUBLE: json_double(w, v->number); break;
    case JSON_STRING: json_string(w, v->text); break;
    case JSON_OBJECT_START: json_object_start(w); break;
    case JSON_OBJECT_END: json_object_end(w); break;
    case JSON_ARRAY_START: json_array_start(w); break;
    case JSON_ARRAY_END: json_array_end(w); break;
    case JSON_KEY: /* keys are ours, so the writer takes them as C strings */
        snprintf(key, sizeof key, "%llx", (unsigned long long)str_hash(v->text));
        json_key(w, key);
        break;
    }
}

static bool on_event(void *ctx, const json_event *v, err *e) {
    (void)e;
    sink *s = ctx;
    s->events++;
    CHECK(v->depth >= 0 && v->depth <= JSON_MAX_DEPTH);
    json_kind kind = v->kind == JSON_INT ? JSON_DOUBLE : v->kind;
    double number = v->number == 0 ? 0 : v->number; /* -0 */
    fold(s, &kind, sizeof kind);
    fold(s, &v->depth, sizeof v->depth);
    fold(s, &number, sizeof number);
    CHECK(v->kind != JSON_INT || v->number == (double)v->integer || v->number == 0);
    if (v->kind == JSON_STRING) {
        CHECK(utf8_valid(v->text));
        fold(s, v->text.data, v->text.len);
    }
    if (v->kind == JSON_KEY && s->w) {
        char key[32];
        int n = snprintf(key, sizeof key, "%llx", (unsigned long long)str_hash(v->text));
        fold(s, key, (size_t)n);
    } else if (v->kind == JSON_KEY) {
        fold(s, v->text.data, v->text.len);
    }
    if (s->w) write_again(s->w, v);
    return true;
}

static bool parse_in_chunks(str text, uint32_t seed, sink *s) {
    json_reader *r = json_reader_new(&heap, 1 << 16, on_event, s);
    bool good = true;
    for (size_t at = 0; at < text.len && good;) {
        seed = seed * 1664525 + 1013904223;
        size_t n = 1 + (seed >> 16) % 17;
        if (n > text.len - at) n = text.len - at;
        good = json_reader_feed(r, (str){text.data + at, n}, NULL);
        at += n;
    }
    good = good && json_reader_finish(r, NULL);
    json_reader_free(r);
    return good;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size < 4) return 0;
    uint32_t seed;
    memcpy(&seed, data, 4);
    str text = {(const char *)data + 4, size - 4};

    buf out;
    json_writer w;
    buf_init(&out, &heap, 1 << 24);
    json_begin(&w, &out);
    sink chunked = {.w = &w}, whole = {0}, whole_again = {0};
    bool good = parse_in_chunks(text, seed, &chunked);

    err e;
    bool good_whole = json_parse(&heap, text, on_event, &whole, &e);
    CHECK(good == good_whole && chunked.events >= whole.events); /* where a text is cut changes no verdict */
    CHECK(good || (!strncmp(e.message, "at byte ", 8) && !strchr(e.message, '\n')));
    if (good) {
        CHECK(!out.failed && chunked.events == whole.events);
        CHECK(json_parse(&heap, buf_str(&out), on_event, &whole_again, &e));
        CHECK(chunked.hash == whole_again.hash && chunked.events == whole_again.events);
    }
    buf_free(&out);
    return 0;
}
