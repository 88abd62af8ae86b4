/* plimsoll render: the prompt that a chat template makes of a conversation. */
#include <stdio.h>
#include <string.h>

#include "base/json.h"
#include "cli/cli.h"
#include "mem/heap.h"
#include "text/template/template.h"

enum { FILE_BYTES_MAX = 16 << 20, PROMPT_BYTES_MAX = 64 << 20 };

static bool read_file(const char *path, buf *out, err *e) {
    bool is_stdin = !strcmp(path, "-");
    char piece[4096];
    size_t n;
    FILE *f = is_stdin ? stdin : fopen(path, "rb");
    if (!f) return err_set(e, ERR_NOT_FOUND, "%s: cannot be read", path);
    while (!out->failed && (n = fread(piece, 1, sizeof piece, f)) > 0) buf_append(out, piece, n);
    bool broken = ferror(f);
    if (!is_stdin) fclose(f);
    if (broken) return err_set(e, ERR_IO, "%s: cannot be read", path);
    return !out->failed || err_set(e, ERR_TOO_LARGE, "%s has more than %d bytes", path, FILE_BYTES_MAX);
}

/* What a conversation is made of, and what it says of itself. */
typedef struct outline {
    bool is_list, has_members, says_prompt, says_bos, says_eos;
} outline;

static bool on_event(void *ctx, const json_event *ev, err *e) {
    (void)e;
    outline *o = ctx;
    if (ev->depth == 0 && ev->kind == JSON_ARRAY_START) o->is_list = true;
    if (ev->depth != 1 || ev->kind != JSON_KEY) return true;
    o->has_members = true;
    o->says_prompt |= str_is(ev->text, "add_generation_prompt");
    o->says_bos |= str_is(ev->text, "bos_token");
    o->says_eos |= str_is(ev->text, "eos_token");
    return true;
}

static void add_member(buf *out, bool *first, const char *key, str value_json) {
    buf_printf(out, "%s\"%s\":%.*s", *first ? "" : ",", key, STR_ARG(value_json));
    *first = false;
}

static void add_token(buf *out, bool *first, const char *key, const text_vocab *v, text_token t) {
    char bytes[TEXT_TOKEN_BYTES_MAX];
    if (t == TEXT_NO_TOKEN) return;
    buf text;
    json_writer w;
    buf_init(&text, out->alloc, 1 << 16);
    json_begin(&w, &text);
    json_string(&w, (str){bytes, text_token_bytes(v, t, true, bytes)});
    add_member(out, first, key, buf_str(&text));
    buf_free(&text);
}

/* The conversation as an object, with what a template expects beside it. */
static bool make_context(str given, const text_vocab *v, const base_alloc *alloc, buf *out, err *e) {
    outline o = {0};
    bool first = true;
    if (!json_parse(alloc, given, on_event, &o, e)) return err_prefix(e, "--messages: ");
    buf_append_str(out, STR("{"));
    if (o.is_list) {
        add_member(out, &first, "messages", given);
    } else {
        const char *start = memchr(given.data, '{', given.len), *end = memrchr(given.data, '}', given.len);
        if (!start || !end) return err_set(e, ERR_INVALID, "--messages must hold a JSON list or object");
        buf_append(out, start + 1, (size_t)(end - start - 1));
        first = !o.has_members;
    }
    if (!o.says_prompt) add_member(out, &first, "add_generation_prompt", STR("true"));
    if (v && !o.says_bos) add_token(out, &first, "bos_token", v, text_vocab_bos(v));
    if (v && !o.says_eos) add_token(out, &first, "eos_token", v, text_vocab_eos(v));
    buf_append_str(out, STR("}"));
    return !out->failed || err_set(e, ERR_MEMORY, "no memory for the conversation");
}

static bool render(str source, str given, const text_vocab *v, const base_alloc *alloc, err *e) {
    buf context, prompt;
    text_template_limits limits;
    text_template_limits_default(&limits);
    buf_init(&context, alloc, 2 * FILE_BYTES_MAX);
    buf_init(&prompt, alloc, PROMPT_BYTES_MAX);
    text_template *t = text_template_new(source, alloc, e);
    limits.memory_bytes += TEXT_TEMPLATE_MEMORY_PER_BYTE * given.len;
    bool ok = t && make_context(given, v, alloc, &context, e) &&
              text_template_render(t, buf_str(&context), &limits, alloc, &prompt, e);
    if (ok) ok = fwrite(prompt.data ? prompt.data : "", 1, prompt.len, stdout) == prompt.len && fflush(stdout) == 0;
    if (!ok && e->code == ERR_NONE) err_set(e, ERR_IO, "the prompt cannot be written");
    text_template_free(t);
    buf_free(&prompt);
    buf_free(&context);
    return ok;
}

static bool load_source(const cli_options *o, const engine *en, buf *source, err *e) {
    if (o->template_file) return read_file(o->template_file, source, e);
    buf_append_str(source, engine_chat_template(en));
    if (source->failed) return err_set(e, ERR_MEMORY, "no memory for the chat template");
    return source->len > 0 || err_set(e, ERR_INVALID, "the model has no chat template: give one with --template");
}

int cli_render(const cli_options *o, mem_ledger *l) {
    err e = {0};
    mem_heap heap;
    buf source, given;
    engine *en = NULL;
    mem_heap_init(&heap, l, MEM_QUEUE);
    buf_init(&source, &heap.alloc, FILE_BYTES_MAX);
    buf_init(&given, &heap.alloc, FILE_BYTES_MAX);
    engine_config c = cli_engine_config(o, 1);
    c.n_batch = 1;
    bool needs_model = o->model || !o->template_file;
    bool ok = (!needs_model || (en = engine_prepare_tokenizer(&c, l, &e))) && load_source(o, en, &source, &e) &&
              read_file(o->messages, &given, &e) &&
              render(buf_str(&source), buf_str(&given), en ? engine_vocab(en) : NULL, &heap.alloc, &e);
    buf_free(&given);
    buf_free(&source);
    engine_free(en);
    return ok ? 0 : cli_fail(&e);
}
