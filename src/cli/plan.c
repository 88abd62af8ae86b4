/* plimsoll plan: what serving a model would take, from its header alone. */
#include <stdio.h>

#include "cli/cli.h"
#include "cli/server_parts.h"
#include "mem/books.h"
#include "mem/heap.h"

static void print_books(mem_ledger *l) {
    mem_books b;
    char kernel[BYTES_TEXT_BYTES], ledger[BYTES_TEXT_BYTES], available[BYTES_TEXT_BYTES];
    mem_books_read(l, &b);
    printf("now: kernel %s, ledger %s, unexplained %lld B; available %s\n", bytes_text(b.kernel_bytes, kernel),
           bytes_text(b.ledger.now_bytes, ledger), (long long)b.unexplained_bytes,
           bytes_text(b.available_bytes, available));
}

static void print_kv_types(const engine_plan *plan) {
    char words[160];
    printf("a token's memory by --kv:");
    for (int t = 0; t < KV_TYPES; t++)
        printf("%s %s %.0f%%", t ? "," : "", compute_kv_name((kv_type)t), plan->kv_share[t] * 100);
    printf(" of f16's\n");
    for (int t = 0; t < KV_TYPES; t++)
        if (cli_kv_costs_more(plan, (kv_type)t, words, sizeof words)) printf("warning: %s\n", words);
}

static void print_context(const cli_options *o, const engine *en, const engine_plan *plan) {
    char words[160];
    if (cli_context_is_odd(en, plan->n_context, o->context, words, sizeof words)) printf("warning: %s\n", words);
}

static void put_warnings(const cli_options *o, const engine *en, const engine_plan *plan, json_writer *w) {
    char words[160];
    json_key(w, "warnings");
    json_array_start(w);
    if (cli_context_is_odd(en, plan->n_context, o->context, words, sizeof words)) json_string(w, str_of(words));
    for (int t = 0; t < KV_TYPES; t++)
        if (cli_kv_costs_more(plan, (kv_type)t, words, sizeof words)) json_string(w, str_of(words));
    json_array_end(w);
}

static void print_json(const cli_options *o, const engine *en, const engine_plan *plan, mem_ledger *l) {
    mem_heap heap;
    mem_heap_init(&heap, l, MEM_QUEUE);
    buf out;
    json_writer w;
    mem_books b;
    mem_books_read(l, &b);
    buf_init(&out, &heap.alloc, 1 << 20);
    json_begin(&w, &out);
    json_object_start(&w);
    json_put_string(&w, "model", str_of(engine_model_name(en)));
    json_put_uint(&w, "tensor_bytes", plan->tensor_bytes);
    json_put_uint(&w, "context", plan->n_context);
    json_put_uint(&w, "kv_pages", plan->n_pages);
    json_put_uint(&w, "kv_page_bytes", plan->page_bytes);
    json_put_uint(&w, "kv_bytes_per_token", plan->kv_bytes_per_token);
    json_put_uint(&w, "kv_tokens", (uint64_t)plan->n_pages * KV_PAGE_TOKENS);
    json_put_string(&w, "kv_type", str_of(compute_kv_name(engine_kv_params(en).type)));
    json_key(&w, "kv_share");
    json_object_start(&w);
    for (int t = 0; t < KV_TYPES; t++) json_put_fixed(&w, compute_kv_name((kv_type)t), plan->kv_share[t], 4);
    json_object_end(&w);
    put_warnings(o, en, plan, &w);
    json_key(&w, "plan");
    mem_plan_json(&plan->rows, &w);
    json_key(&w, "books");
    mem_books_json(&b, &w);
    json_object_end(&w);
    printf("%.*s\n", STR_ARG(buf_str(&out)));
    buf_free(&out);
}

int cli_plan(const cli_options *o, mem_ledger *l) {
    err e = {0};
    if (!cli_set_line(o, l, false, &e)) return cli_fail(&e);
    if (o->engine_kind) {
        err_set(&e, ERR_USAGE, "--engine echo loads no model: there is nothing to plan");
        return cli_fail(&e);
    }
    server_parts parts = server_parts_of(o);
    if (!api_check(&parts.api, &e)) return cli_fail(&e);
    if (!cli_chat_template(o, &parts.engine.chat_template, &e)) return cli_fail(&e);
    engine *en = engine_prepare(&parts.engine, l, &e);
    if (!en) return cli_fail(&e);
    engine_plan plan;
    cli_plan_begin(&plan, l);
    bool fits = server_parts_plan(&parts, o, en, &plan, &e);
    if (fits && o->json) print_json(o, en, &plan, l);
    else if (fits) {
        cli_print_plan(en, &plan, stdout);
        print_context(o, en, &plan);
        print_kv_types(&plan);
        print_books(l);
    }
    engine_free(en);
    return fits ? 0 : cli_fail(&e);
}
