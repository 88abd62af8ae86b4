/* forge — writes synthetic GGUF files: random weights in real shapes, reproducible to the byte.
 *
 * Weights are made so that the model behaves like one, not like noise, and so that two correct engines,
 * which round differently, agree about it:
 *  - Embeddings have deviation 1; all layers together add about half as much variance again. Every layer
 *    matters, and rounding errors are not amplified from layer to layer.
 *  - q, k, v have a gain of 1.3, so attention scores deviate by about 1.7: neither uniform nor one-hot.
 *  - output_norm sets the deviation of logits, about 2.25. Its signs are mixed, so that (tied) embeddings
 *    meet themselves at the output as strangers; its mean lets one token win more often than chance: the
 *    current one, or with output.weight the next in the vocabulary. It is first in about nine of ten
 *    positions, by margins that vary; elsewhere the best of the random logits are close together.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/check.h"
#include "base/clock.h"
#include "out.h"
#include "shapes.h"
#include "vocab.h"
#include "weights.h"

enum { ALIGNMENT = 32, LAYERS_MAX = 512, CHUNK_BYTES = 4 << 20, HEADER_BYTES_MAX = 64 << 20 };
enum { EXIT_USAGE = 2 };

typedef struct job {
    const shape *shape;
    dtype type;
    uint32_t layers;
    uint64_t seed;
    bool header_only;
    uint32_t split; /* into so many files; 0: one */
    const char *path;
} job;

typedef struct tensor {
    char name[64];
    dtype type;
    uint32_t n_dims;
    uint64_t dims[3];
    double mean, swing, deviation; /* the first two for vectors */
    bool follows_embedding;        /* row i is row i − 1 of the token embeddings */
    uint64_t offset, bytes;
} tensor;

typedef struct model {
    tensor *tensors;
    size_t n, cap;
    uint64_t data_bytes;
} model;

/* ---- memory: a tool may die ---- */

static void *heap_resize(void *ctx, void *p, size_t old_bytes, size_t new_bytes) {
    (void)ctx, (void)old_bytes;
    if (new_bytes) return realloc(p, new_bytes);
    free(p);
    return NULL;
}
static const base_alloc heap = {heap_resize, NULL};

_Noreturn static void die(const char *what, const char *path) {
    fprintf(stderr, "forge: %s: %s: %s\n", path, what, strerror(errno));
    exit(EXIT_FAILURE);
}

_Noreturn static void usage(const char *format, const char *value) {
    fprintf(stderr, "forge: ");
    fprintf(stderr, format, value);
    fprintf(stderr, " (--help explains)\n");
    exit(EXIT_USAGE);
}

/* ---- the tensors of a shape ---- */

/* A row must hold whole blocks; otherwise the substitutes that llama.cpp's quantiser takes. */
static dtype type_for_rows(dtype wanted, uint64_t row_values) {
    if (row_values % dtype_get(wanted)->block_values == 0) return wanted;
    if (row_values % 32) return DTYPE_F16;
    switch (wanted) {
    case DTYPE_Q4_K: return DTYPE_Q5_0;
    case DTYPE_Q5_K: return DTYPE_Q5_1;
    case DTYPE_Q6_K: return DTYPE_Q8_0;
    default: return DTYPE_IQ4_NL; /* Q2_K, Q3_K, IQ4_XS */
    }
}

static tensor *add(model *m, const char *name, dtype type, uint64_t d0, uint64_t d1, uint64_t d2) {
    if (m->n == m->cap) {
        m->cap = m->cap ? 2 * m->cap : 512;
        m->tensors = realloc(m->tensors, m->cap * sizeof *m->tensors);
        if (!m->tensors) die("no memory", "tensor list");
    }
    tensor *t = &m->tensors[m->n++];
    *t = (tensor){.type = type, .n_dims = d2 ? 3 : d1 ? 2 : 1, .dims = {d0, d1 ? d1 : 1, d2 ? d2 : 1}};
    snprintf(t->name, sizeof t->name, "%s", name);
    t->offset = m->data_bytes;
    t->bytes = dtype_row_bytes(type, d0) * t->dims[1] * t->dims[2];
    m->data_bytes += (t->bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    return t;
}

static tensor *add_vector(model *m, const char *name, uint64_t n, double mean, double deviation) {
    tensor *t = add(m, name, DTYPE_F32, n, 0, 0);
    t->mean = mean;
    t->deviation = deviation;
    return t;
}

/* n_in columns, n_out rows; gain: deviation of the output for an input of deviation 1. */
static void add_matrix(model *m, const char *name, dtype type, uint64_t n_in, uint64_t n_out, uint64_t n_experts, double gain) {
    tensor *t = add(m, name, type_for_rows(type, n_in), n_in, n_out, n_experts);
    t->deviation = gain / sqrt((double)n_in);
}

static const char *in_layer(uint32_t layer, const char *part) {
    static char name[64];
    snprintf(name, sizeof name, "blk.%" PRIu32 ".%s", layer, part);
    return name;
}

static const double layers_variance = 0.5, qkv_gain = 1.3, logit_deviation = 2.25;

/* How strongly a layer writes into the residual stream. Uses the shape's own depth, so that the layers of
 * a shortened model equal the first ones of the whole. */
static double layer_gain(const shape *s) { return sqrt(layers_variance / s->layers); }

static void add_attention(model *m, const job *j, uint32_t layer) {
    const shape *s = j->shape;
    uint64_t q = (uint64_t)s->heads * s->head_dim, kv = (uint64_t)s->kv_heads * s->head_dim;
    add_vector(m, in_layer(layer, "attn_norm.weight"), s->width, 1, 0.1);
    if (s->fused) {
        add_matrix(m, in_layer(layer, "attn_qkv.weight"), j->type, s->width, q + 2 * kv, 0, qkv_gain);
    } else {
        add_matrix(m, in_layer(layer, "attn_q.weight"), j->type, s->width, q, 0, qkv_gain);
        add_matrix(m, in_layer(layer, "attn_k.weight"), j->type, s->width, kv, 0, qkv_gain);
        add_matrix(m, in_layer(layer, "attn_v.weight"), j->type, s->width, kv, 0, qkv_gain);
    }
    if (s->qkv_bias) {
        add_vector(m, in_layer(layer, "attn_q.bias"), q, 0, 0.3);
        add_vector(m, in_layer(layer, "attn_k.bias"), kv, 0, 0.3);
        add_vector(m, in_layer(layer, "attn_v.bias"), kv, 0, 0.1);
    }
    if (s->head_norms) { /* queries and keys of deviation 1.3, whatever they came as */
        add_vector(m, in_layer(layer, "attn_q_norm.weight"), s->head_dim, qkv_gain, 0.1);
        add_vector(m, in_layer(layer, "attn_k_norm.weight"), s->head_dim, qkv_gain, 0.1);
    }
    add_matrix(m, in_layer(layer, "attn_output.weight"), j->type, q, s->width, 0, 1.5 * layer_gain(s));
}

static void add_experts(model *m, const job *j, uint32_t layer, double gain) {
    const shape *s = j->shape;
    uint64_t ff = s->expert_ff ? s->expert_ff : s->ff;
    tensor *router = add(m, in_layer(layer, "ffn_gate_inp.weight"), DTYPE_F32, s->width, s->experts, 0);
    router->deviation = 1.5 / sqrt(s->width); /* clear choices, but not always the same */
    add_matrix(m, in_layer(layer, "ffn_gate_exps.weight"), j->type, s->width, ff, s->experts, 1);
    add_matrix(m, in_layer(layer, "ffn_up_exps.weight"), j->type, s->width, ff, s->experts, 1);
    add_matrix(m, in_layer(layer, "ffn_down_exps.weight"), j->type, ff, s->width, s->experts, gain);
    if (!s->shared_ff) return;
    add_vector(m, in_layer(layer, "ffn_gate_inp_shexp.weight"), s->width, 0, 1 / sqrt(s->width));
    add_matrix(m, in_layer(layer, "ffn_gate_shexp.weight"), j->type, s->width, s->shared_ff, 0, 1);
    add_matrix(m, in_layer(layer, "ffn_up_shexp.weight"), j->type, s->width, s->shared_ff, 0, 1);
    add_matrix(m, in_layer(layer, "ffn_down_shexp.weight"), j->type, s->shared_ff, s->width, 0, gain);
}

static void add_feed_forward(model *m, const job *j, uint32_t layer) {
    const shape *s = j->shape;
    double gain = layer_gain(s);
    add_vector(m, in_layer(layer, "ffn_norm.weight"), s->width, 1, 0.1);
    if (s->experts) {
        add_experts(m, j, layer, gain);
        return;
    }
    if (!s->fused) add_matrix(m, in_layer(layer, "ffn_gate.weight"), j->type, s->width, s->ff, 0, 1);
    add_matrix(m, in_layer(layer, "ffn_up.weight"), j->type, s->width, s->fused ? 2 * (uint64_t)s->ff : s->ff, 0, 1);
    add_matrix(m, in_layer(layer, "ffn_down.weight"), j->type, s->ff, s->width, 0, gain);
}

/* The gain of the last norm. The favoured token's logit is its embedding against itself: Σ gain × e² =
 * width × mean, in units of the deviation of the others √width × mean / rms. The best of n random logits lies near
 * 1.5 + 0.17 × bits of n deviations (n from 2^8 to 2^18); the favourite is put 1.5 above. */
static void add_output_norm(model *m, const shape *s) {
    uint32_t bits = 0;
    while (s->n_tokens >> bits) bits++;
    double favour = 3.0 + 0.17 * bits, residual = sqrt(1 + layers_variance);
    double rms = logit_deviation / sqrt(s->width), mean = favour * residual / sqrt(s->width) * rms;
    tensor *t = add_vector(m, "output_norm.weight", s->width, mean, 0.1 * rms);
    t->swing = sqrt(rms * rms - mean * mean);
}

static void list_tensors(model *m, const job *j) {
    const shape *s = j->shape;
    double one = sqrt(s->width); /* the gain that gives single weights a deviation of 1 */
    add_matrix(m, "token_embd.weight", j->type, s->width, s->n_tokens, 0, one);
    add_output_norm(m, s);
    if (!s->tied) {
        add_matrix(m, "output.weight", j->type, s->width, s->n_tokens, 0, one);
        m->tensors[m->n - 1].follows_embedding = true;
    }
    for (uint32_t i = 0; i < j->layers; i++) {
        add_attention(m, j, i);
        add_feed_forward(m, j, i);
    }
}

/* ---- the header ---- */

static const struct {
    dtype type;
    uint32_t id;
} file_types[] = { /* general.file_type as llama.cpp numbers it */
    {DTYPE_F32, 0},   {DTYPE_F16, 1},   {DTYPE_Q4_0, 2},    {DTYPE_Q4_1, 3},    {DTYPE_Q8_0, 7},  {DTYPE_Q5_0, 8},
    {DTYPE_Q5_1, 9},  {DTYPE_Q2_K, 10}, {DTYPE_Q3_K, 12},   {DTYPE_Q4_K, 15},   {DTYPE_Q5_K, 17}, {DTYPE_Q6_K, 18},
    {DTYPE_IQ4_NL, 25}, {DTYPE_IQ4_XS, 30}, {DTYPE_BF16, 32}, {DTYPE_MXFP4, 38},
};

static const char *arch_key(const shape *s, const char *key) {
    static char full[96];
    snprintf(full, sizeof full, "%s.%s", s->arch, key);
    return full;
}

static void write_hparams(out *o, const job *j) {
    const shape *s = j->shape;
    out_kv_str(o, "general.architecture", s->arch);
    out_kv_str(o, "general.type", "model");
    out_kv_str(o, "general.name", s->name);
    for (size_t i = 0; i < sizeof file_types / sizeof *file_types; i++)
        if (file_types[i].type == j->type) out_kv_u32(o, "general.file_type", file_types[i].id);
    out_kv_u32(o, "general.quantization_version", 2);
    out_kv_u32(o, arch_key(s, "block_count"), j->layers);
    out_kv_u32(o, arch_key(s, "context_length"), s->context);
    out_kv_u32(o, arch_key(s, "embedding_length"), s->width);
    out_kv_u32(o, arch_key(s, "feed_forward_length"), s->ff);
    out_kv_u32(o, arch_key(s, "attention.head_count"), s->heads);
    out_kv_u32(o, arch_key(s, "attention.head_count_kv"), s->kv_heads);
    if (s->head_dim * s->heads != s->width) {
        out_kv_u32(o, arch_key(s, "attention.key_length"), s->head_dim);
        out_kv_u32(o, arch_key(s, "attention.value_length"), s->head_dim);
    }
    out_kv_f32(o, arch_key(s, "attention.layer_norm_rms_epsilon"), s->norm_eps);
    out_kv_u32(o, arch_key(s, "rope.dimension_count"), s->rope_dims ? s->rope_dims : s->head_dim);
    out_kv_f32(o, arch_key(s, "rope.freq_base"), s->rope_theta);
    out_kv_u32(o, arch_key(s, "vocab_size"), s->n_tokens);
    if (s->experts) {
        out_kv_u32(o, arch_key(s, "expert_count"), s->experts);
        out_kv_u32(o, arch_key(s, "expert_used_count"), s->experts_used);
    }
    if (s->expert_ff) out_kv_u32(o, arch_key(s, "expert_feed_forward_length"), s->expert_ff);
    if (s->shared_ff) out_kv_u32(o, arch_key(s, "expert_shared_feed_forward_length"), s->shared_ff);
    if (s->sliding_window) {
        out_kv_u32(o, arch_key(s, "rope.scaling.original_context_length"), s->context);
        out_kv_u32(o, arch_key(s, "attention.sliding_window"), s->sliding_window);
    }
}

/* m: what is in this file; part: its number, from 0; n_all: tensors of all files. */
static void write_header(buf *header, const job *j, const model *m, uint32_t part, size_t n_all) {
    out o = {.n_kvs = 0};
    buf_init(&o.bytes, &heap, HEADER_BYTES_MAX);
    if (part == 0) write_hparams(&o, j), vocab_write(&o, j->shape);
    if (j->split) {
        out_kv_u16(&o, "split.no", (uint16_t)part);
        out_kv_u16(&o, "split.count", (uint16_t)j->split);
        out_kv_u32(&o, "split.tensors.count", (uint32_t)n_all);
    }

    buf_init(header, &heap, HEADER_BYTES_MAX);
    out head = {.n_kvs = 0};
    buf_init(&head.bytes, &heap, HEADER_BYTES_MAX);
    buf_append(&head.bytes, "GGUF", 4);
    out_u32(&head, 3);
    out_u64(&head, m->n);
    out_u64(&head, o.n_kvs);
    buf_append_str(&head.bytes, buf_str(&o.bytes));
    for (size_t i = 0; i < m->n; i++) {
        const tensor *t = &m->tensors[i];
        out_str(&head, str_of(t->name));
        out_u32(&head, t->n_dims);
        for (uint32_t d = 0; d < t->n_dims; d++) out_u64(&head, t->dims[d]);
        out_u32(&head, t->type);
        out_u64(&head, t->offset);
    }
    while (head.bytes.len % ALIGNMENT) buf_append(&head.bytes, "", 1);
    CHECK(!o.bytes.failed && !head.bytes.failed);
    buf_free(&o.bytes);
    *header = head.bytes;
}

/* ---- the file ---- */

typedef struct target {
    int fd;
    char *temporary; /* renamed to path when whole */
    const char *path;
    uint64_t written, whole;
    bool progress;
} target;

_Noreturn static void abandon(target *t, const char *what) {
    int why = errno;
    unlink(t->temporary);
    errno = why;
    die(what, t->path);
}

static void target_open(target *t, const char *path, uint64_t whole_bytes) {
    *t = (target){.path = path, .whole = whole_bytes, .progress = isatty(STDERR_FILENO) == 1};
    if (asprintf(&t->temporary, "%s.tmp", path) < 0) die("no memory", path);
    t->fd = open(t->temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (t->fd < 0) die("cannot create", t->temporary);
}

static void target_write(target *t, const void *data, uint64_t bytes) {
    for (const char *at = data; bytes;) {
        ssize_t n = write(t->fd, at, bytes);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) abandon(t, "cannot write");
        at += n;
        bytes -= (uint64_t)n;
        t->written += (uint64_t)n;
    }
    if (t->progress)
        fprintf(stderr, "\rforge: %3.0f %% of %" PRIu64 " MiB ", 100.0 * (double)t->written / (double)t->whole, t->whole >> 20);
}

static void target_close(target *t) {
    if (t->progress) fprintf(stderr, "\r\033[K");
    if (close(t->fd) != 0) abandon(t, "cannot write");
    if (rename(t->temporary, t->path) != 0) abandon(t, "cannot rename");
    free(t->temporary);
}

/* Each row has a generator of its own: its bytes depend on the tensor's name, type, width and the seed. */
static void write_tensor(target *file, const tensor *t, uint64_t seed, uint8_t *chunk) {
    static weights w;
    if (t->n_dims == 1) weights_init_vector(&w, t->mean, t->swing, t->deviation);
    else weights_init(&w, t->type, t->deviation);
    str source = t->follows_embedding ? STR("token_embd.weight") : str_of(t->name);
    uint64_t tensor_seed = str_hash(source) ^ seed * 0x9E3779B97F4A7C15u;
    uint64_t n_rows = t->dims[1] * t->dims[2], row_bytes = dtype_row_bytes(t->type, t->dims[0]), used = 0;
    for (uint64_t row = 0; row < n_rows; row++) {
        rng r;
        rng_seed(&r, tensor_seed + (t->follows_embedding ? row + n_rows - 1 : row) % n_rows);
        weights_fill(&w, &r, t->dims[0], chunk + used);
        used += row_bytes;
        if (used + row_bytes <= CHUNK_BYTES && row + 1 < n_rows) continue;
        target_write(file, chunk, used);
        used = 0;
    }
    target_write(file, (char[ALIGNMENT]){0}, (ALIGNMENT - t->bytes % ALIGNMENT) % ALIGNMENT);
}

/* The tensors of m, whose offsets are those of this file. */
static void write_part(const job *j, const model *m, uint32_t part, size_t n_all, const char *path) {
    buf header;
    target file;
    write_header(&header, j, m, part, n_all);
    target_open(&file, path, header.len + m->data_bytes);
    target_write(&file, header.data, header.len);
    if (j->header_only) {
        if (ftruncate(file.fd, (off_t)file.whole) != 0) abandon(&file, "cannot make a hole for the data");
    } else {
        uint8_t *chunk = malloc(CHUNK_BYTES + 8);
        if (!chunk) abandon(&file, "no memory");
        for (size_t i = 0; i < m->n; i++) write_tensor(&file, &m->tensors[i], j->seed, chunk);
        CHECK(file.written == file.whole);
        free(chunk);
    }
    target_close(&file);
    buf_free(&header);
}

/* PREFIX.gguf becomes PREFIX-00001-of-00003.gguf and so on. */
static void write_split(const job *j, const model *m) {
    size_t prefix = strlen(j->path);
    if (prefix > 5 && !strcmp(j->path + prefix - 5, ".gguf")) prefix -= 5;
    for (uint32_t part = 0; part < j->split; part++) {
        size_t from = m->n * part / j->split, to = m->n * (part + 1) / j->split;
        uint64_t start = m->tensors[from].offset, end = to < m->n ? m->tensors[to].offset : m->data_bytes;
        model own = {m->tensors + from, to - from, 0, end - start};
        char *path;
        for (size_t i = from; i < to; i++) m->tensors[i].offset -= start;
        if (asprintf(&path, "%.*s-%05u-of-%05u.gguf", (int)prefix, j->path, part + 1, j->split) < 0) die("no memory", j->path);
        write_part(j, &own, part, m->n, path);
        free(path);
    }
}

static void write_file(const job *j) {
    uint64_t start_ns = clock_now_ns();
    model m = {0};
    list_tensors(&m, j);
    if (j->split > m.n) usage("--split: more files than tensors in %s", j->shape->name);
    if (j->split) write_split(j, &m);
    else write_part(j, &m, 0, m.n, j->path);
    printf("%s: %s %s, %" PRIu32 " layers, %zu tensors of %" PRIu64 " bytes%s, %.1f s\n", j->path, j->shape->name,
           dtype_get(j->type)->name, j->layers, m.n, m.data_bytes, j->header_only ? " (a hole)" : "",
           clock_ms_since(start_ns) / 1e3);
    free(m.tensors);
}

/* ---- the command line ---- */

static void list_shapes(void) {
    printf("%-15s %-7s %6s %6s %6s %9s %7s %8s  %s\n", "shape", "arch", "layers", "width", "ff", "heads", "tokens", "experts",
           "like");
    for (int i = 0; i < n_shapes; i++) {
        const shape *s = &shapes[i];
        char heads[32], experts[32] = "-";
        snprintf(heads, sizeof heads, "%u/%u x %u", s->heads, s->kv_heads, s->head_dim);
        if (s->experts) snprintf(experts, sizeof experts, "%u of %u", s->experts_used, s->experts);
        printf("%-15s %-7s %6u %6u %6u %9s %7u %8s  %s\n", s->name, s->arch, s->layers, s->width, s->ff, heads, s->n_tokens,
               experts, s->about);
    }
}

static void print_types(FILE *f) {
    for (size_t i = 0; i < sizeof file_types / sizeof *file_types; i++)
        fprintf(f, " %s", dtype_get(file_types[i].type)->name);
    fputc('\n', f);
}

static void print_help(void) {
    printf("forge --shape NAME --type TYPE [--layers N] [--seed N] [--split N] [--header-only] -o FILE\n"
           "forge --list\n\n"
           "Writes a synthetic model as GGUF: random weights, a real shape, a vocabulary that tokenizes.\n"
           "The same arguments give the same bytes.\n\n"
           "  --shape NAME    which model (--list shows them)\n"
           "  --type TYPE     type of all matrices, one of\n                 ");
    print_types(stdout);
    printf("                  Norms, biases and expert routers stay F32. Where a row is no multiple of the\n"
           "                  type's block, that tensor is IQ4_NL (for Q2_K, Q3_K, IQ4_XS), Q5_0 (Q4_K),\n"
           "                  Q5_1 (Q5_K), Q8_0 (Q6_K) or F16.\n"
           "  --layers N      layers instead of the shape's own number, 1 to %d; those that remain are the same\n"
           "  --seed N        another model of the same shape (default 0)\n"
           "  --split N       into N files, FILE-00001-of-0000N.gguf and so on, as llama.cpp splits models\n"
           "  --header-only   leave the tensor data a hole in a sparse file\n"
           "  -o FILE         where to; written as FILE.tmp first\n"
           "  --list          print the shapes\n"
           "  --help          print this\n",
           LAYERS_MAX);
}

static uint64_t parse_number(const char *text, uint64_t least, uint64_t most, const char *complaint) {
    char *end;
    errno = 0;
    uint64_t v = strtoull(text, &end, 10);
    if (errno || *end || end == text || text[0] < '0' || text[0] > '9' || v < least || v > most) usage(complaint, text);
    return v;
}

static dtype parse_type(const char *text) {
    dtype type = dtype_by_name(str_of(text));
    if (type == DTYPE_COUNT || !weights_can(type)) {
        fprintf(stderr, "forge: unknown type \"%s\"; known are", text);
        print_types(stderr);
        exit(EXIT_USAGE);
    }
    return type;
}

static job parse_arguments(int argc, char **argv) {
    enum { SHAPE = 256, TYPE, LAYERS, SEED, SPLIT, HEADER_ONLY, LIST };
    static const struct option options[] = {
        {"shape", required_argument, NULL, SHAPE}, {"type", required_argument, NULL, TYPE},
        {"layers", required_argument, NULL, LAYERS}, {"seed", required_argument, NULL, SEED},
        {"split", required_argument, NULL, SPLIT},
        {"header-only", no_argument, NULL, HEADER_ONLY}, {"output", required_argument, NULL, 'o'},
        {"list", no_argument, NULL, LIST}, {"help", no_argument, NULL, 'h'}, {NULL, 0, NULL, 0},
    };
    job j = {.type = DTYPE_COUNT};
    for (int c; (c = getopt_long(argc, argv, ":o:h", options, NULL)) != -1;) {
        switch (c) {
        case SHAPE:
            j.shape = shape_by_name(optarg);
            if (!j.shape) usage("unknown shape \"%s\"; --list shows the known ones", optarg);
            break;
        case TYPE: j.type = parse_type(optarg); break;
        case LAYERS: j.layers = (uint32_t)parse_number(optarg, 1, LAYERS_MAX, "--layers %s: a number from 1 to 512 is needed"); break;
        case SEED: j.seed = parse_number(optarg, 0, UINT64_MAX, "--seed %s: a number from 0 to 2^64 - 1 is needed"); break;
        case SPLIT: j.split = (uint32_t)parse_number(optarg, 2, 999, "--split %s: a number from 2 to 999 is needed"); break;
        case HEADER_ONLY: j.header_only = true; break;
        case 'o': j.path = optarg; break;
        case LIST: list_shapes(); exit(EXIT_SUCCESS);
        case 'h': print_help(); exit(EXIT_SUCCESS);
        case ':': usage("%s needs a value", argv[optind - 1]);
        default: usage("unknown option %s", argv[optind - 1]);
        }
    }
    if (optind < argc) usage("unexpected argument \"%s\"", argv[optind]);
    if (!j.shape) usage("%s is missing", "--shape");
    if (j.type == DTYPE_COUNT) usage("%s is missing", "--type");
    if (!j.path || !*j.path) usage("%s is missing", "-o FILE");
    if (!j.layers) j.layers = j.shape->layers;
    return j;
}

int main(int argc, char **argv) {
    job j = parse_arguments(argc, argv);
    write_file(&j);
    return EXIT_SUCCESS;
}
