/* OpenAI's POST /v1/embeddings. */
#include <string.h>

#include "api/core/embed.h"
#include "api/openai/openai.h"

enum { AS_FLOATS, AS_BASE64 };

/* Three bytes are four letters; little-endian floats, as the machine has them. */
static void put_base64(const void *data, size_t n_bytes, buf *to) {
    static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const unsigned char *in = data;
    for (size_t i = 0; i < n_bytes; i += 3) {
        size_t left = n_bytes - i;
        uint32_t bits = (uint32_t)in[i] << 16 | (left > 1 ? (uint32_t)in[i + 1] << 8 : 0) | (left > 2 ? in[i + 2] : 0);
        char out[4];
        for (int k = 0; k < 4; k++) out[k] = letters[bits >> (18 - 6 * k) & 63];
        if (left < 3) out[3] = '=';
        if (left < 2) out[2] = '=';
        buf_append(to, out, sizeof out);
    }
}

static void put_data(const embed_answer *x, uint32_t i, json_writer *w) {
    const embed_vectors *made = embed_made(x);
    json_object_start(w);
    json_put_string(w, "object", STR("embedding"));
    json_put_uint(w, "index", i);
    json_key(w, "embedding");
    if (made->flavour == AS_BASE64) {
        json_raw(w, STR("\""));
        put_base64(embed_vector(x, i), made->dimensions * sizeof(float), w->out);
        buf_append_str(w->out, STR("\""));
    } else {
        embed_put_vector(x, i, w);
    }
    json_object_end(w);
}

static void whole_words(const embed_answer *x, buf *to) {
    const embed_vectors *made = embed_made(x);
    json_writer w;
    json_begin(&w, to);
    json_object_start(&w);
    json_put_string(&w, "object", STR("list"));
    json_key(&w, "data");
    json_array_start(&w);
    for (uint32_t i = 0; i < made->n; i++) put_data(x, i, &w);
    json_array_end(&w);
    json_put_string(&w, "model", str_of(api_model_name(embed_api(x))));
    json_key(&w, "usage");
    json_object_start(&w);
    json_put_uint(&w, "prompt_tokens", made->prompt_tokens);
    json_put_uint(&w, "total_tokens", made->prompt_tokens);
    json_object_end(&w);
    embed_put_own(x, &w);
    json_object_end(&w);
}

/* ---- the request ---- */

typedef struct embeddings_request {
    api_request q; /* first */
    str model, user, input;
    uint32_t format, dimensions, pooling;
    bool normalize;
} embeddings_request;

static const char *const formats[] = {"float", "base64", NULL};
/* Ours, in the order of sched_pooling: what the model's file asks for, or one of the others. */
static const char *const poolings[] = {"model", "mean", "last", "cls", NULL};

#define AT(member) offsetof(embeddings_request, member)
static const field rows[] = {
    REQUEST_OWN_FIELDS(embeddings_request, q),
    {"model", FIELD_STRING, AT(model)},
    {"user", FIELD_STRING, AT(user)},
    {"input", FIELD_ANY, AT(input)},
    {"encoding_format", FIELD_WORD, AT(format), .words = formats},
    {"dimensions", FIELD_U32, AT(dimensions), 1, UINT32_MAX},
    {"pooling", FIELD_WORD, AT(pooling), .words = poolings},
    {"normalize", FIELD_BOOL, AT(normalize)},
};

static bool read_request(api *a, str body, embeddings_request *x, const chat *c, err *e) {
    request_begin(a, &x->q);
    x->normalize = true;
    fields_more nobodys = {.unknown = shared_fields_ignore, .ctx = &x->q.ignored};
    fields_in in = {c->in.parser, c->in.texts, "", &nobodys};
    if (!fields_parse_in(&in, body, rows, sizeof rows / sizeof *rows, true, x, NULL, e)) return false;
    if (!api_check_model(a, x->model, e) || !request_finish(&x->q, 1, e)) return false;
    x->q.job.pooling = (sched_pooling)x->pooling;
    x->q.job.normalize = x->normalize;
    return true;
}

void openai_embeddings(api *a, http_request *r) {
    static const embed_dialect words = {&openai_dialect, whole_words};
    embeddings_request x = {0};
    chat c;
    err e = {0};
    embed_answer *vectors = NULL;
    bool begun = chat_begin(&c, a, http_body(r).len, &e);
    bool good = begun && read_request(a, http_body(r), &x, &c, &e) &&
                (vectors = embed_begin(a, &words, x.format, &e)) &&
                embed_read(vectors, &c, "input", x.input, false, &e);
    if (good && !embed_made(vectors)->n) good = err_set(&e, ERR_INVALID, "'input' is an empty array");
    if (begun) request_name_ignored(&x.q, r);
    if (good) {
        embed_run(vectors, r, &x.q, x.dimensions, x.format == AS_BASE64 ? EMBED_BASE64_BYTES : EMBED_DECIMAL_BYTES);
    } else {
        if (vectors) embed_end(vectors);
        api_refuse(a, r, &openai_dialect, &e);
    }
    request_end(&x.q);
    if (begun) chat_end(&c);
}
