/* plimsoll inspect: a model file's metadata and tensors. */
#include <stdio.h>

#include "base/json.h"
#include "cli/cli.h"
#include "format/gguf.h"
#include "mem/heap.h"

enum { SHOWN_BYTES = 72 };

static str string_of(const gguf_kv *kv) {
    gguf_strings one = {kv->data, 1};
    str s = STR("");
    gguf_strings_next(&one, &s);
    return s;
}

static void print_value(const gguf_kv *kv) {
    if (kv->type == GGUF_STRING) {
        str s = string_of(kv);
        printf("\"");
        for (size_t i = 0; i < s.len && i < SHOWN_BYTES; i++) {
            unsigned char c = (unsigned char)s.data[i];
            if (c == '\n') printf("\\n");
            else if (c < 0x20 || c == 0x7F) printf("\\x%02X", c);
            else putchar(c);
        }
        if (s.len > SHOWN_BYTES) printf("…\" (%zu bytes)", s.len);
        else printf("\"");
    } else if (kv->type == GGUF_ARRAY) {
        printf("%llu × %s", (unsigned long long)kv->n_items, gguf_type_name(kv->item_type));
    } else if (kv->type == GGUF_BOOL) {
        printf("%s", *kv->data ? "true" : "false");
    } else {
        printf("%.9g", gguf_number(kv));
    }
}

static void print_text(const gguf *g, const char *name) {
    char bytes[BYTES_TEXT_BYTES];
    printf("%s: GGUF v%u, %llu %s, %llu %s of %s", name, g->version, (unsigned long long)g->n_kvs,
           counted(g->n_kvs, "key", "keys"), (unsigned long long)g->n_tensors,
           counted(g->n_tensors, "tensor", "tensors"), bytes_text(g->tensor_bytes, bytes));
    if (g->n_parts) printf(", in %u files", g->n_parts + 1);
    printf("\n\n");
    for (uint64_t i = 0; i < g->n_kvs; i++) {
        printf("%-44.*s ", STR_ARG(g->kvs[i].key));
        print_value(&g->kvs[i]);
        printf("\n");
    }
    printf("\n");
    for (uint64_t i = 0; i < g->n_tensors; i++) {
        const format_tensor *t = &g->tensors[i];
        char shape[64];
        int n = 0;
        for (uint32_t d = 0; d < t->n_dims; d++)
            n += snprintf(shape + n, sizeof shape - (size_t)n, "%s%llu", d ? " × " : "",
                          (unsigned long long)t->dims[d]);
        printf("%-32.*s %-7s %-20s %s\n", STR_ARG(t->name), dtype_get(t->type)->name, shape,
               bytes_text(t->bytes, bytes));
    }
}

static void put_value(json_writer *w, const gguf_kv *kv) {
    if (kv->type == GGUF_STRING) json_string(w, string_of(kv));
    else if (kv->type == GGUF_BOOL) json_bool(w, *kv->data != 0);
    else if (kv->type != GGUF_ARRAY) json_double(w, gguf_number(kv));
    else {
        json_object_start(w);
        json_put_string(w, "array_of", str_of(gguf_type_name(kv->item_type)));
        json_put_uint(w, "items", kv->n_items);
        json_object_end(w);
    }
}

static char *text_of(char out[128], str s) {
    snprintf(out, 128, "%.*s", (int)(s.len < 127 ? s.len : 127), s.data);
    return out;
}

static void print_json(const gguf *g, mem_heap *heap) {
    buf out;
    json_writer w;
    char key[128];
    buf_init(&out, &heap->alloc, 1u << 30);
    json_begin(&w, &out);
    json_object_start(&w);
    json_put_uint(&w, "version", g->version);
    json_put_uint(&w, "tensor_bytes", g->tensor_bytes);
    if (g->n_parts) json_put_uint(&w, "files", g->n_parts + 1);
    json_key(&w, "metadata");
    json_object_start(&w);
    for (uint64_t i = 0; i < g->n_kvs; i++) {
        json_key(&w, text_of(key, g->kvs[i].key));
        put_value(&w, &g->kvs[i]);
    }
    json_object_end(&w);
    json_key(&w, "tensors");
    json_array_start(&w);
    for (uint64_t i = 0; i < g->n_tensors; i++) {
        const format_tensor *t = &g->tensors[i];
        json_object_start(&w);
        json_put_string(&w, "name", t->name);
        json_put_string(&w, "type", str_of(dtype_get(t->type)->name));
        json_key(&w, "shape");
        json_array_start(&w);
        for (uint32_t d = 0; d < t->n_dims; d++) json_uint(&w, t->dims[d]);
        json_array_end(&w);
        json_put_uint(&w, "bytes", t->bytes);
        json_object_end(&w);
    }
    json_array_end(&w);
    json_object_end(&w);
    printf("%.*s\n", STR_ARG(buf_str(&out)));
    buf_free(&out);
}

int cli_inspect(const cli_options *o, mem_ledger *l) {
    err e = {0};
    mem_heap heap;
    mem_heap_init(&heap, l, MEM_TOKENIZER);
    const char *path = o->model;
    gguf g;
    const void *bytes;
    size_t len;
    if (!path) engine_builtin(&bytes, &len);
    if (!(path ? gguf_open(&g, path, &heap.alloc, &e)
               : gguf_open_memory(&g, bytes, len, "built-in model", &heap.alloc, &e)))
        return cli_fail(&e);
    if (o->json) print_json(&g, &heap);
    else print_text(&g, path ? path : "built-in model");
    gguf_close(&g);
    return 0;
}
