/* Ollama's vectors: POST /api/embed, and the older /api/embeddings. */
#include "api/core/embed.h"
#include "api/ollama/ollama.h"

enum { EMBED, EMBEDDINGS };

static void whole_words(const embed_answer *x, buf *to) {
    const embed_vectors *made = embed_made(x);
    json_writer w;
    json_begin(&w, to);
    json_object_start(&w);
    if (made->flavour == EMBEDDINGS) {
        json_key(&w, "embedding");
        embed_put_vector(x, 0, &w);
    } else {
        json_put_string(&w, "model", str_of(api_model_name(embed_api(x))));
        json_key(&w, "embeddings");
        json_array_start(&w);
        for (uint32_t i = 0; i < made->n; i++) embed_put_vector(x, i, &w);
        json_array_end(&w);
        json_put_uint(&w, "total_duration", (uint64_t)(made->total_ms * 1e6));
        json_put_uint(&w, "load_duration", 0);
        json_put_uint(&w, "prompt_eval_count", made->prompt_tokens);
    }
    embed_put_own(x, &w);
    json_object_end(&w);
}

static const embed_dialect words = {&ollama_dialect, whole_words};

typedef struct embed_fields {
    api_request q; /* first */
    str model, input, prompt, keep_alive, options;
    bool truncate;
    uint32_t dimensions, num_ctx;
} embed_fields;

#define AT(member) offsetof(embed_fields, member)
static const field rows[] = {
    REQUEST_OWN_FIELDS(embed_fields, q),
    {"model", FIELD_STRING, AT(model)},
    {"input", FIELD_ANY, AT(input)},       /* embed */
    {"prompt", FIELD_STRING, AT(prompt)},  /* embeddings */
    {"truncate", FIELD_BOOL, AT(truncate)},
    {"dimensions", FIELD_U32, AT(dimensions), 1, UINT32_MAX},
    {"keep_alive", FIELD_ANY, AT(keep_alive)},
    {"options", FIELD_OBJECT, AT(options)},
};

static bool read_fields(api *a, str body, embed_fields *x, chat *c, err *e) {
    ollama_keep keep;
    request_begin(a, &x->q);
    fields_more nobodys = {.unknown = shared_fields_ignore, .ctx = &x->q.ignored};
    fields_in in = {c->in.parser, c->in.texts, "", &nobodys};
    if (!fields_parse_in(&in, body, rows, sizeof rows / sizeof *rows, true, x, NULL, e)) return false;
    if (!x->model.len) return err_set(e, ERR_INVALID, "'model' is missing");
    return ollama_read_context(c, &x->q, x->options, &x->num_ctx, e) && api_check_model(a, x->model, e) &&
           ollama_read_keep_alive(&c->in, x->keep_alive, &keep, e) && request_finish(&x->q, 1, e);
}

/* The older route takes one text, and does not make its vector length 1. */
static bool read_texts(embed_answer *vectors, const chat *c, embed_fields *x, bool older, err *e) {
    x->q.job.normalize = !older;
    if (x->num_ctx) embed_limit(vectors, x->num_ctx);
    if (!older) return embed_read(vectors, c, "input", x->input, x->truncate, e);
    return x->prompt.len ? embed_add(vectors, "prompt", x->prompt, x->truncate, e)
                         : err_set(e, ERR_INVALID, "'prompt' is missing");
}

static void handle(api *a, http_request *r, uint32_t flavour) {
    embed_fields x = {.truncate = true}; /* unless the client says otherwise, as Ollama has it */
    chat c;
    err e = {0};
    embed_answer *vectors = NULL;
    bool begun = chat_begin(&c, a, http_body(r).len, &e);
    bool good = begun && read_fields(a, http_body(r), &x, &c, &e) && (vectors = embed_begin(a, &words, flavour, &e)) &&
                read_texts(vectors, &c, &x, flavour == EMBEDDINGS, &e);
    if (begun) request_name_ignored(&x.q, r);
    if (good) {
        embed_run(vectors, r, &x.q, x.dimensions, EMBED_DECIMAL_BYTES);
    } else {
        if (vectors) embed_end(vectors);
        api_refuse(a, r, &ollama_dialect, &e);
    }
    request_end(&x.q);
    if (begun) chat_end(&c);
}

void ollama_embed(api *a, http_request *r) { handle(a, r, EMBED); }
void ollama_embeddings(api *a, http_request *r) { handle(a, r, EMBEDDINGS); }
