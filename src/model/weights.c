/* Which tensors a model has, where they go, and bringing them there. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/check.h"
#include "compute/compute.h"
#include "model/model.h"

/* Placing runs twice, once measuring: `place` notes where each tensor goes and, in the second pass, the
 * load reads it. A slot is a matrix or a float vector. */
typedef struct placing {
    const format_source *file;
    const device_ops *ops;
    mem_arena *arena;
    err *e;
} placing;

static const format_tensor *find(placing *p, bool required, const char *name) {
    const format_tensor *t = format_find(p->file, str_of(name));
    if (!t && required) err_set(p->e, ERR_FORMAT, "tensor %s is missing", name);
    return t;
}

/* " × 3" where there are 3 experts, nothing where there is one matrix. */
static const char *times(char out[32], uint64_t n) {
    snprintf(out, 32, n == 1 ? "" : " × %llu", (unsigned long long)n);
    return out;
}

/* " (in part 2 of 3)" in a model of several files. */
static const char *where(const placing *p, char out[48], const format_tensor *t) {
    snprintf(out, 48, p->file->n_files > 1 ? " (in part %u of %u)" : "", t->part + 1, p->file->n_files);
    return out;
}

/* n matrices of one shape in one tensor, packed one behind the other. */
static bool place_matrices(placing *p, device_matrix *m, const char *name, uint32_t rows, uint32_t cols,
                           uint32_t n) {
    const format_tensor *t = find(p, true, name);
    char is[32], wanted[32], file[48];
    if (!t) return false;
    if (t->n_dims < 2 || t->n_dims > 3 || t->dims[0] != cols || t->dims[1] != rows || t->dims[2] != n)
        return err_set(p->e, ERR_FORMAT, "tensor %s%s is %llu × %llu%s; this model's shape wants %u × %u%s", name,
                       where(p, file, t), (unsigned long long)t->dims[0], (unsigned long long)t->dims[1],
                       times(is, t->dims[2]), cols, rows, times(wanted, n));
    if (!p->ops->supports(t->type))
        return err_set(p->e, ERR_UNSUPPORTED, "tensor %s has type %s, which no kernel here computes with yet", name,
                       dtype_get(t->type)->name);
    *m = (device_matrix){.type = t->type, .rows = rows, .cols = cols};
    m->data = mem_arena_take(p->arena, n * p->ops->matrix_bytes(t->type, rows, cols), 64);
    return true;
}

static bool place_matrix(placing *p, device_matrix *m, const char *name, uint32_t rows, uint32_t cols) {
    return place_matrices(p, m, name, rows, cols, 1);
}

/* n_dims: 1, or 2 where one row of a matrix is as good. */
static bool place_vector(placing *p, const float **v, bool required, const char *name, uint32_t n,
                         uint32_t n_dims) {
    const format_tensor *t = find(p, required, name);
    char file[48];
    *v = NULL;
    if (!t) return !required;
    if (t->n_dims > n_dims || t->dims[0] != n || t->dims[1] != 1 || t->type != DTYPE_F32)
        return err_set(p->e, ERR_FORMAT, "tensor %s%s is %s of %llu; it must be F32 of %u", name,
                       where(p, file, t), dtype_get(t->type)->name, (unsigned long long)t->dims[0], n);
    *v = mem_arena_take(p->arena, n * sizeof **v, 64);
    return true;
}

enum { NAME_BYTES = 64 };

static const char *in_block(char out[NAME_BYTES], uint32_t layer, const char *tail) {
    snprintf(out, NAME_BYTES, "blk.%u.%s", layer, tail);
    return out;
}

/* Tables for placing and loading: the slots of a layer by name. n: how many matrices lie in the tensor; 0: there is
 * no such tensor in this model. */
typedef struct matrix_slot {
    const char *name;
    size_t offset; /* of the device_matrix in model_layer */
    uint32_t (*rows)(const model_hparams *h), (*cols)(const model_hparams *h), (*n)(const model_hparams *h);
} matrix_slot;

typedef struct vector_slot {
    const char *name;
    size_t offset; /* of the pointer in model_layer */
    uint32_t (*size)(const model_hparams *h); /* 0: there is no such tensor in this model */
    uint32_t n_dims;
} vector_slot;

static uint32_t n_embd(const model_hparams *h) { return h->n_embd; }
static uint32_t n_ff(const model_hparams *h) { return h->n_ff; }
static uint32_t q_width(const model_hparams *h) { return h->n_heads * h->head_dim; }
static uint32_t k_width(const model_hparams *h) { return h->n_kv_heads * h->head_dim; }
static uint32_t v_width(const model_hparams *h) { return h->n_kv_heads * h->head_dim_v; }
static uint32_t o_width(const model_hparams *h) { return h->n_heads * h->head_dim_v; }
static uint32_t expert_width(const model_hparams *h) { return h->n_ff_exp; }
static uint32_t shared_width(const model_hparams *h) { return h->n_ff_shexp; }
static uint32_t head_norm(const model_hparams *h) { return h->arch->head_norms ? h->head_dim : 0; }
static uint32_t shared_share(const model_hparams *h) { return h->n_ff_shexp ? h->n_embd : 0; }

static uint32_t one(const model_hparams *h) { return (void)h, 1; }
static uint32_t one_dense(const model_hparams *h) { return h->n_experts == 0; }
static uint32_t one_router(const model_hparams *h) { return h->n_experts != 0; }
static uint32_t one_shared(const model_hparams *h) { return h->n_ff_shexp != 0; }
static uint32_t experts(const model_hparams *h) { return h->n_experts; }

static const matrix_slot layer_matrices[] = {
    {"attn_q", offsetof(model_layer, q), q_width, n_embd, one},
    {"attn_k", offsetof(model_layer, k), k_width, n_embd, one},
    {"attn_v", offsetof(model_layer, v), v_width, n_embd, one},
    {"attn_output", offsetof(model_layer, o), n_embd, o_width, one},
    {"ffn_gate", offsetof(model_layer, gate), n_ff, n_embd, one_dense},
    {"ffn_up", offsetof(model_layer, up), n_ff, n_embd, one_dense},
    {"ffn_down", offsetof(model_layer, down), n_embd, n_ff, one_dense},
    {"ffn_gate_inp", offsetof(model_layer, router), experts, n_embd, one_router},
    {"ffn_gate_exps", offsetof(model_layer, gate_exps), expert_width, n_embd, experts},
    {"ffn_up_exps", offsetof(model_layer, up_exps), expert_width, n_embd, experts},
    {"ffn_down_exps", offsetof(model_layer, down_exps), n_embd, expert_width, experts},
    {"ffn_gate_shexp", offsetof(model_layer, gate), shared_width, n_embd, one_shared},
    {"ffn_up_shexp", offsetof(model_layer, up), shared_width, n_embd, one_shared},
    {"ffn_down_shexp", offsetof(model_layer, down), n_embd, shared_width, one_shared},
};
enum { N_LAYER_MATRICES = sizeof layer_matrices / sizeof *layer_matrices };

static const vector_slot layer_vectors[] = {
    {"attn_norm", offsetof(model_layer, attn_norm), n_embd, 1},
    {"ffn_norm", offsetof(model_layer, ffn_norm), n_embd, 1},
    {"attn_q_norm", offsetof(model_layer, q_norm), head_norm, 1},
    {"attn_k_norm", offsetof(model_layer, k_norm), head_norm, 1},
    {"ffn_gate_inp_shexp", offsetof(model_layer, shared_share), shared_share, 2},
};
enum { N_LAYER_VECTORS = sizeof layer_vectors / sizeof *layer_vectors };

static device_matrix *slot_of(model_layer *l, const matrix_slot *s) {
    return (device_matrix *)(void *)((char *)l + s->offset);
}

static const float **vector_of(model_layer *l, const vector_slot *s) {
    return (const float **)(void *)((char *)l + s->offset);
}

/* A bias may come with the file; one that would have to be minded in the choice of experts is not known here. */
static bool place_bias(placing *p, const matrix_slot *s, device_matrix *m, const char *name) {
    if (s->n == one || s->n == one_dense) return place_vector(p, &m->bias, false, name, m->rows, 1);
    if (!format_find(p->file, str_of(name))) return true;
    return err_set(p->e, ERR_UNSUPPORTED, "tensor %s: experts with biases are not supported", name);
}

static bool place_layer(placing *p, const model_hparams *h, model_layer *l, uint32_t index) {
    char name[NAME_BYTES], tail[32];
    *l = (model_layer){0};
    for (int i = 0; i < N_LAYER_VECTORS; i++) {
        const vector_slot *s = &layer_vectors[i];
        snprintf(tail, sizeof tail, "%s.weight", s->name);
        in_block(name, index, tail);
        if (s->size(h) && !place_vector(p, vector_of(l, s), true, name, s->size(h), s->n_dims)) return false;
    }
    for (int i = 0; i < N_LAYER_MATRICES; i++) {
        const matrix_slot *s = &layer_matrices[i];
        device_matrix *m = slot_of(l, s);
        if (!s->n(h)) continue;
        snprintf(tail, sizeof tail, "%s.weight", s->name);
        if (!place_matrices(p, m, in_block(name, index, tail), s->rows(h), s->cols(h), s->n(h))) return false;
        snprintf(tail, sizeof tail, "%s.bias", s->name);
        if (!place_bias(p, s, m, in_block(name, index, tail))) return false;
    }
    return true;
}

/* Fills *m's slots. layers may be one scratch entry when measuring (m->layers == NULL then). */
static bool place_model(placing *p, const model_hparams *h, model *m) {
    m->layers = mem_arena_take(p->arena, h->n_layers * sizeof *m->layers, 64);
    m->rope_freqs = mem_arena_take(p->arena, h->rot_dim / 2 * sizeof *m->rope_freqs, 64);
    if (!place_matrix(p, &m->embed, "token_embd.weight", h->n_vocab, h->n_embd)) return false;
    if (!place_vector(p, &m->output_norm, true, "output_norm.weight", h->n_embd, 1)) return false;
    m->tied = !format_find(p->file, STR("output.weight"));
    if (m->tied)
        m->output = m->embed;
    else if (!place_matrix(p, &m->output, "output.weight", h->n_vocab, h->n_embd))
        return false;
    if (!place_vector(p, &m->output.bias, false, "output.bias", h->n_vocab, 1)) return false;
    for (uint32_t i = 0; i < h->n_layers; i++) {
        model_layer scratch = {0};
        if (!place_layer(p, h, m->layers ? &m->layers[i] : &scratch, i)) return false;
    }
    return true;
}

bool model_plan_bytes(const format_source *file, const model_hparams *h, const device_ops *ops, size_t *bytes, err *e) {
    mem_arena a;
    mem_arena_measure(&a);
    placing p = {file, ops, &a, e};
    model unused = {0};
    if (!place_model(&p, h, &unused)) return false;
    *bytes = a.used;
    return true;
}

size_t model_idle_bytes(const model *m) {
    uint32_t idle = m->h.n_experts - m->h.n_experts_used;
    size_t bytes = 0;
    for (uint32_t i = 0; i < m->h.n_layers; i++)
        for (int j = 0; j < N_LAYER_MATRICES; j++) {
            const device_matrix *one_of = slot_of(&m->layers[i], &layer_matrices[j]);
            if (layer_matrices[j].n == experts && idle)
                bytes += idle * m->dev->ops->matrix_bytes(one_of->type, one_of->rows, one_of->cols);
        }
    return bytes;
}

/* ---- loading ---- */

typedef struct loading {
    const format_source *file;
    const format_tensor *t;
    uint64_t row_bytes, offset;
} loading;

static bool read_rows(void *ctx, uint32_t row, uint32_t n_rows, void *out, err *e) {
    loading *l = ctx;
    return format_read(l->file, l->t, l->offset + row * l->row_bytes, out, n_rows * l->row_bytes, e);
}

typedef struct load_state {
    model *m;
    const format_source *file;
    mem_arena *scratch;
    model_progress *progress;
    void *progress_ctx;
    uint64_t done_bytes;
    err *e;
} load_state;

static bool load_matrix(load_state *s, device_matrix *m, const char *name) {
    const format_tensor *t = format_find(s->file, str_of(name));
    loading l = {s->file, t, dtype_row_bytes(t->type, t->dims[0]), 0};
    size_t mark = mem_arena_mark(s->scratch);
    device *dev = s->m->dev;
    void *scratch = mem_arena_take(s->scratch, dev->ops->matrix_scratch_bytes(m->type, m->cols, dev->n_threads), 64);
    CHECK(scratch);
    device_matrix one_of = *m;
    size_t packed_bytes = dev->ops->matrix_bytes(m->type, m->rows, m->cols);
    bool ok = true;
    for (uint64_t i = 0; ok && i < t->dims[2]; i++) {
        l.offset = i * m->rows * l.row_bytes;
        one_of.data = (char *)m->data + i * packed_bytes;
        ok = dev->ops->matrix_load(dev, &one_of, read_rows, &l, scratch, s->e);
    }
    mem_arena_reset(s->scratch, mark);
    s->done_bytes += t->bytes;
    if (s->progress) s->progress(s->progress_ctx, s->done_bytes, s->file->tensor_bytes);
    return ok || err_prefix(s->e, "tensor %s: ", name);
}

static bool load_vector(load_state *s, const float *v, const char *name) {
    if (!v) return true;
    const format_tensor *t = format_find(s->file, str_of(name));
    s->done_bytes += t->bytes;
    return format_read(s->file, t, 0, (void *)(uintptr_t)v, t->bytes, s->e) || err_prefix(s->e, "tensor %s: ", name);
}

static bool load_layer(load_state *s, model_layer *l, uint32_t index) {
    char name[NAME_BYTES], tail[32];
    for (int i = 0; i < N_LAYER_VECTORS; i++) {
        snprintf(tail, sizeof tail, "%s.weight", layer_vectors[i].name);
        if (!load_vector(s, *vector_of(l, &layer_vectors[i]), in_block(name, index, tail))) return false;
    }
    for (int i = 0; i < N_LAYER_MATRICES; i++) {
        device_matrix *m = slot_of(l, &layer_matrices[i]);
        if (!layer_matrices[i].n(&s->m->h)) continue;
        snprintf(tail, sizeof tail, "%s.weight", layer_matrices[i].name);
        if (!load_matrix(s, m, in_block(name, index, tail))) return false;
        snprintf(tail, sizeof tail, "%s.bias", layer_matrices[i].name);
        if (!load_vector(s, m->bias, in_block(name, index, tail))) return false;
    }
    return true;
}

/* Radians per position of each pair. factors: the file's own divisors (Llama 3.1's rope_freqs), or NULL.
 * YaRN as in Peng et al. 2023 (arXiv 2309.00071): pairs that turn often over the original context keep
 * their frequency, pairs that turn less than once are interpolated, a linear ramp between. */
static void fill_rope(model *m, const float *factors) {
    const model_hparams *h = &m->h;
    double pairs = h->rot_dim / 2;
    double low = 0, high = 0;
    m->rope_mscale = h->rope_attn_factor;
    if (h->rope_scaling == MODEL_ROPE_YARN) {
        double base = log((double)h->rope_base), context = h->rope_context_original;
        low = floor(h->rot_dim * log(context / (h->rope_beta_fast * 2 * M_PI)) / (2 * base));
        high = ceil(h->rot_dim * log(context / (h->rope_beta_slow * 2 * M_PI)) / (2 * base));
        if (low < 0) low = 0;
        if (high > h->rot_dim - 1) high = h->rot_dim - 1;
        m->rope_mscale *= (float)(1.0 + 0.1 * log((double)h->rope_factor));
    }
    for (uint32_t i = 0; i < (uint32_t)pairs; i++) {
        double f = pow((double)h->rope_base, -2.0 * i / h->rot_dim);
        if (factors) f /= (double)factors[i];
        double interpolated = f / (double)h->rope_factor;
        if (h->rope_scaling == MODEL_ROPE_LINEAR) f = interpolated;
        if (h->rope_scaling == MODEL_ROPE_YARN) {
            double ramp = (i - low) / fmax(0.001, high - low);
            ramp = ramp < 0 ? 0 : ramp > 1 ? 1 : ramp;
            f = interpolated * ramp + f * (1 - ramp);
        }
        m->rope_freqs[i] = (float)f;
    }
}

static bool load_rope(load_state *s) {
    float factors[COMPUTE_HEAD_DIM_MAX / 2];
    const format_tensor *t = format_find(s->file, STR("rope_freqs.weight"));
    uint32_t pairs = s->m->h.rot_dim / 2;
    if (!t) return fill_rope(s->m, NULL), true;
    if (t->type != DTYPE_F32 || t->n_dims != 1 || t->dims[0] != pairs)
        return err_set(s->e, ERR_FORMAT, "tensor rope_freqs.weight must be F32 of %u", pairs);
    if (!format_read(s->file, t, 0, factors, pairs * sizeof *factors, s->e)) return false;
    for (uint32_t i = 0; i < pairs; i++)
        if (!isfinite(factors[i]) || factors[i] <= 0)
            return err_set(s->e, ERR_FORMAT, "tensor rope_freqs.weight holds %g", (double)factors[i]);
    fill_rope(s->m, factors);
    return true;
}

static bool load_all(load_state *s) {
    model *m = s->m;
    if (!load_rope(s) || !load_matrix(s, &m->embed, "token_embd.weight")) return false;
    if (!load_vector(s, m->output_norm, "output_norm.weight")) return false;
    if (m->tied)
        m->output.data = m->embed.data;
    else if (!load_matrix(s, &m->output, "output.weight"))
        return false;
    if (!load_vector(s, m->output.bias, "output.bias")) return false;
    for (uint32_t i = 0; i < m->h.n_layers; i++)
        if (!load_layer(s, &m->layers[i], i)) return false;
    return true;
}

size_t model_load_scratch_bytes(const format_source *file, const device_ops *ops, int n_threads) {
    size_t most = 0;
    for (uint64_t i = 0; i < file->n_tensors; i++) {
        const format_tensor *t = &file->tensors[i];
        if (t->n_dims < 2 || t->n_dims > 3 || !ops->supports(t->type) || t->dims[0] > UINT32_MAX) continue;
        size_t bytes = ops->matrix_scratch_bytes(t->type, (uint32_t)t->dims[0], n_threads);
        if (bytes > most) most = bytes;
    }
    return most + 64;
}

bool model_init(model *m, const format_source *file, const model_hparams *h, device *dev, mem_arena *a,
                mem_arena *scratch, model_progress *progress, void *progress_ctx, err *e) {
    size_t plan, before = a->used;
    if (!model_plan_bytes(file, h, dev->ops, &plan, e)) return false;
    *m = (model){.h = *h, .dev = dev};
    placing p = {file, dev->ops, a, e};
    if (!place_model(&p, h, m)) return false;
    if (a->failed) return err_set(e, ERR_MEMORY, "the weights arena is smaller than the plan");
    m->bytes = a->used - before;
    CHECK(m->bytes == plan);
    load_state s = {m, file, scratch, progress, progress_ctx, 0, e};
    return load_all(&s);
}
