/* plimsoll tokenize: what a text becomes. */
#include <stdio.h>

#include "base/json.h"
#include "cli/cli.h"
#include "mem/heap.h"

enum { MAX_TOKENS = 1 << 20 };

static void print_ids(const int32_t *tokens, size_t n) {
    for (size_t i = 0; i < n; i++) printf("%s%d", i ? " " : "", tokens[i]);
    printf("\n");
}

static void print_table(const text_vocab *v, const int32_t *tokens, size_t n) {
    char bytes[TEXT_TOKEN_BYTES_MAX];
    for (size_t i = 0; i < n; i++) {
        size_t len = text_token_bytes(v, tokens[i], true, bytes);
        printf("%7d  '", tokens[i]);
        for (size_t k = 0; k < len; k++) {
            unsigned char c = (unsigned char)bytes[k];
            if (c == '\n') printf("\\n");
            else if (c < 0x20 || c == 0x7F || (c >= 0x80 && !utf8_valid((str){bytes, len}))) printf("\\x%02X", c);
            else putchar(c);
        }
        printf("'\n");
    }
    printf("%zu %s\n", n, counted(n, "token", "tokens"));
}

static void print_json(const text_vocab *v, const int32_t *tokens, size_t n, mem_heap *heap) {
    char bytes[TEXT_TOKEN_BYTES_MAX];
    buf out;
    json_writer w;
    buf_init(&out, &heap->alloc, 1u << 30);
    json_begin(&w, &out);
    json_array_start(&w);
    for (size_t i = 0; i < n; i++) {
        json_object_start(&w);
        json_put_int(&w, "id", tokens[i]);
        json_put_string(&w, "text", (str){bytes, text_token_bytes(v, tokens[i], true, bytes)});
        json_object_end(&w);
    }
    json_array_end(&w);
    printf("%.*s\n", STR_ARG(buf_str(&out)));
    buf_free(&out);
}

static bool tokenize(const cli_options *o, const engine *en, str text, mem_heap *heap, int32_t *tokens, err *e) {
    const text_vocab *v = engine_vocab(en);
    size_t n = 0;
    text_scratch *scratch = text_scratch_new(v, &heap->alloc);
    if (!scratch) return err_set(e, ERR_MEMORY, "no memory to tokenize in");
    bool ok = text_encode(v, scratch, text, true, o->special, tokens, MAX_TOKENS, &n, e);
    text_scratch_free(scratch);
    if (!ok) return false;
    if (o->json) print_json(v, tokens, n, heap);
    else if (o->ids) print_ids(tokens, n);
    else print_table(v, tokens, n);
    return true;
}

int cli_tokenize(const cli_options *o, mem_ledger *l) {
    err e = {0};
    str text;
    if (!cli_text_argument(o, &text, &e)) return cli_fail(&e);
    mem_heap heap;
    mem_heap_init(&heap, l, MEM_QUEUE);
    engine_config c = cli_engine_config(o, 1);
    c.n_batch = 1;
    engine *en = engine_prepare_tokenizer(&c, l, &e);
    if (!en) return cli_fail(&e);
    int32_t *tokens = mem_heap_take(&heap, MAX_TOKENS * sizeof *tokens, &e);
    bool ok = tokens && tokenize(o, en, text, &heap, tokens, &e);
    mem_heap_give(&heap, tokens, MAX_TOKENS * sizeof *tokens);
    engine_free(en);
    return ok ? 0 : cli_fail(&e);
}
