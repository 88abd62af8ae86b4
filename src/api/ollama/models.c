/* Ollama's pages: which models there are, what the one is, and what a server of one model cannot do. */
#include <stdio.h>
#include <string.h>

#include "api/ollama/ollama.h"
#include "base/clock.h"

/* Whose API this is as of: clients look whether it is new enough for what they want. */
static const char api_version[] = "0.13.0";

enum { PAGE_BYTES = 8192, SHOW_LIMIT = 16 << 20, SIZE_BYTES = 32 };

/* "1.2B", "8.0M": as Ollama words it. */
static const char *parameter_size(const api *a, char out[SIZE_BYTES]) {
    double n = (double)engine_about_file(a->en)->parameters;
    const char *unit = n >= 1e9 ? "B" : n >= 1e6 ? "M" : "K";
    snprintf(out, SIZE_BYTES, "%.1f%s", n / (n >= 1e9 ? 1e9 : n >= 1e6 ? 1e6 : 1e3), unit);
    return out;
}

static void put_details(const api *a, json_writer *w) {
    char size[SIZE_BYTES];
    const char *family = engine_model_desc(a->en)->family;
    json_key(w, "details");
    json_object_start(w);
    json_put_string(w, "parent_model", STR(""));
    json_put_string(w, "format", STR("gguf"));
    json_put_string(w, "family", str_of(family));
    json_key(w, "families");
    json_array_start(w);
    json_string(w, str_of(family));
    json_array_end(w);
    json_put_string(w, "parameter_size", str_of(parameter_size(a, size)));
    json_put_string(w, "quantization_level", str_of(engine_about_file(a->en)->weight_type));
    json_object_end(w);
}

static void put_model(api *a, bool running, json_writer *w) {
    const engine_about *about = engine_about_file(a->en);
    char stamp[CLOCK_STAMP_BYTES], digest[64];
    snprintf(digest, sizeof digest, "%016llx%016llx", (unsigned long long)about->identity[1],
             (unsigned long long)about->identity[0]);
    json_object_start(w);
    json_put_string(w, "name", str_of(api_model_name(a)));
    json_put_string(w, "model", str_of(api_model_name(a)));
    json_put_uint(w, "size", about->file_bytes);
    json_put_string(w, "digest", str_of(digest));
    put_details(a, w);
    if (running) {
        json_put_string(w, "expires_at", STR("9999-12-31T23:59:59Z")); /* it is never unloaded */
        json_put_uint(w, "size_vram", 0);
        json_put_uint(w, "context_length", engine_context(a->en));
    } else {
        json_put_string(w, "modified_at", str_of(clock_stamp(a->ready_ms, stamp)));
    }
    json_object_end(w);
}

static void list(api *a, http_request *r, bool running) {
    API_PAGE(body, PAGE_BYTES);
    json_writer w;
    json_begin(&w, &body);
    json_object_start(&w);
    json_key(&w, "models");
    json_array_start(&w);
    put_model(a, running, &w);
    json_array_end(&w);
    json_object_end(&w);
    api_reply_json(r, 200, &body);
}

void ollama_tags(api *a, http_request *r) { list(a, r, false); }
void ollama_ps(api *a, http_request *r) { list(a, r, true); }

void ollama_version(api *a, http_request *r) {
    (void)a;
    API_PAGE(body, PAGE_BYTES);
    json_writer w;
    json_begin(&w, &body);
    json_object_start(&w);
    json_put_string(&w, "version", str_of(api_version));
    json_put_string(&w, "plimsoll", STR(PLIMSOLL_VERSION));
    json_object_end(&w);
    api_reply_json(r, 200, &body);
}

/* ---- what names a model in its body ---- */

typedef struct named {
    str model, name; /* name: as it was once called */
    bool stream, idle;
} named;

static const field rows[] = {{"model", FIELD_STRING, offsetof(named, model)},
                             {"name", FIELD_STRING, offsetof(named, name)},
                             {"stream", FIELD_BOOL, offsetof(named, stream)},
                             {"verbose", FIELD_BOOL, offsetof(named, idle)},
                             {"insecure", FIELD_BOOL, offsetof(named, idle)}};

static bool read_named(http_request *r, const chat *c, named *x, err *e) {
    *x = (named){.stream = true};
    if (!fields_parse_in(&c->in, http_body(r), rows, sizeof rows / sizeof *rows, true, x, NULL, e)) return false;
    if (!x->model.len) x->model = x->name;
    return x->model.len || err_set(e, ERR_INVALID, "'model' is missing");
}

/* Reads the body, does the rest; a refusal is worded. */
static void with_named(api *a, http_request *r, bool (*rest)(api *a, http_request *r, const named *x, err *e)) {
    chat c;
    named x;
    err e = {0};
    bool begun = chat_begin(&c, a, http_body(r).len, &e);
    if (!begun || !read_named(r, &c, &x, &e) || !rest(a, r, &x, &e)) api_refuse(a, r, &ollama_dialect, &e);
    if (begun) chat_end(&c);
}

/* ---- show ---- */

static void put_number(const char *family, const char *key, uint64_t value, json_writer *w) {
    char name[128];
    snprintf(name, sizeof name, "%s.%s", family, key);
    json_put_uint(w, name, value);
}

static void put_info(const api *a, json_writer *w) {
    const model_desc *d = engine_model_desc(a->en);
    const model_layer_desc *l = &d->layers[0];
    const char *family = d->family;
    json_key(w, "model_info");
    json_object_start(w);
    json_put_string(w, "general.architecture", str_of(family));
    json_put_string(w, "general.basename", str_of(engine_model_name(a->en)));
    json_put_uint(w, "general.parameter_count", engine_about_file(a->en)->parameters);
    put_number(family, "context_length", engine_context(a->en), w);
    put_number(family, "embedding_length", d->n_embd, w);
    put_number(family, "block_count", d->n_layers, w);
    put_number(family, "feed_forward_length", l->dense.n_ff, w);
    put_number(family, "attention.head_count", l->attention.n_heads, w);
    put_number(family, "attention.head_count_kv", l->attention.n_kv_heads, w);
    put_number(family, "vocab_size", d->n_vocab, w);
    json_object_end(w);
}

static void put_show(api *a, json_writer *w) {
    static const char *const empty[] = {"license", "modelfile", "parameters"};
    char stamp[CLOCK_STAMP_BYTES];
    json_object_start(w);
    for (size_t i = 0; i < sizeof empty / sizeof *empty; i++) json_put_string(w, empty[i], STR(""));
    json_put_string(w, "template", engine_chat_template(a->en));
    put_details(a, w);
    put_info(a, w);
    json_key(w, "capabilities");
    json_array_start(w);
    json_string(w, STR("completion"));
    json_string(w, STR("tools"));
    if (a->model.reply.thinks) json_string(w, STR("thinking"));
    json_array_end(w);
    json_put_string(w, "modified_at", str_of(clock_stamp(a->ready_ms, stamp)));
    json_object_end(w);
}

static bool show(api *a, http_request *r, const named *x, err *e) {
    buf body;
    json_writer w;
    if (!api_check_model(a, x->model, e)) return false;
    buf_init(&body, &a->heap.alloc, SHOW_LIMIT);
    json_begin(&w, &body);
    put_show(a, &w);
    bool good = !body.failed || err_set_memory(e, body.len, mem_ledger_available(a->ledger), "no memory for the page");
    if (good) api_reply_json(r, 200, &body);
    buf_free(&body);
    return good;
}

void ollama_show(api *a, http_request *r) { with_named(a, r, show); }

/* ---- what cannot be done here ---- */

/* To pull what is there already is done. */
static bool pull(api *a, http_request *r, const named *x, err *e) {
    if (!api_check_model(a, x->model, NULL))
        return err_set(e, ERR_INVALID,
                       "'%.*s' cannot be pulled: this server holds one model, '%s', chosen when it is started "
                       "(plimsoll serve -m FILE)",
                       (int)(x->model.len < 128 ? x->model.len : 128), x->model.data, api_model_name(a));
    if (x->stream) http_reply(r, 200, ollama_dialect.stream_type, STR("{\"status\":\"success\"}\n"));
    else http_reply(r, 200, "application/json", STR("{\"status\":\"success\"}"));
    return true;
}

void ollama_pull(api *a, http_request *r) { with_named(a, r, pull); }

void ollama_cannot(api *a, http_request *r) {
    str path = http_path(r);
    err e;
    err_set(&e, ERR_INVALID,
            "%.*s: this server holds one model, '%s', chosen when it is started; it does not make, copy, push or "
            "delete any",
            (int)(path.len < 64 ? path.len : 64), path.data, api_model_name(a));
    api_refuse(a, r, &ollama_dialect, &e);
}
