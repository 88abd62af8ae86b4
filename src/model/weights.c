/* Which tensors a model has, where they go, and bringing them there. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/check.h"
#include "model/step.h"

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

/* The matrices of a part, packed one behind the other. */
static bool place_part(placing *p, device_matrix *m, const char *name, const model_part *part) {
    const format_tensor *t = find(p, true, name);
    char is[32], wanted[32], file[48];
    if (!t) return false;
    if (t->n_dims < 2 || t->n_dims > 3 || t->dims[0] != part->cols || t->dims[1] != part->tensor_rows ||
        t->dims[2] != part->n)
        return err_set(p->e, ERR_FORMAT, "tensor %s%s is %llu × %llu%s; this model's shape wants %u × %u%s", name,
                       where(p, file, t), (unsigned long long)t->dims[0], (unsigned long long)t->dims[1],
                       times(is, t->dims[2]), part->cols, part->tensor_rows, times(wanted, part->n));
    if (!p->ops->supports(t->type))
        return err_set(p->e, ERR_UNSUPPORTED, "tensor %s has type %s, which no kernel here computes with yet", name,
                       dtype_get(t->type)->name);
    *m = (device_matrix){.type = t->type, .rows = part->rows, .cols = part->cols};
    m->data = mem_arena_take(p->arena, part->n * p->ops->matrix_bytes(t->type, part->rows, part->cols), 64);
    return true;
}

/* A tensor that is one matrix. */
static model_part whole(uint32_t rows, uint32_t cols) {
    return (model_part){.n = 1, .rows = rows, .cols = cols, .tensor_rows = rows};
}

static bool place_matrix(placing *p, device_matrix *m, const char *name, uint32_t rows, uint32_t cols) {
    model_part part = whole(rows, cols);
    return place_part(p, m, name, &part);
}

/* Is there F32 of so many values? n_dims: 1, or 2 where one row of a matrix is as good. */
static bool check_vector(placing *p, const format_tensor *t, const char *name, uint32_t n, uint32_t n_dims) {
    char file[48];
    if (t->n_dims <= n_dims && t->dims[0] == n && t->dims[1] == 1 && t->type == DTYPE_F32) return true;
    return err_set(p->e, ERR_FORMAT, "tensor %s%s is %s of %llu; it must be F32 of %u", name, where(p, file, t),
                   dtype_get(t->type)->name, (unsigned long long)t->dims[0], n);
}

static bool place_vector(placing *p, const float **v, bool required, const char *name, uint32_t n,
                         uint32_t n_dims) {
    const format_tensor *t = find(p, required, name);
    *v = NULL;
    if (!t) return !required;
    if (!check_vector(p, t, name, n, n_dims)) return false;
    *v = mem_arena_take(p->arena, n * sizeof **v, 64);
    return true;
}

/* Some of a vector's values; none where the file has no such vector. */
static bool place_vector_part(placing *p, const float **v, const char *name, uint32_t n, uint32_t n_part) {
    const format_tensor *t = find(p, false, name);
    *v = NULL;
    if (!t) return true;
    if (!check_vector(p, t, name, n, 1)) return false;
    *v = mem_arena_take(p->arena, n_part * sizeof **v, 64);
    return true;
}

enum { NAME_BYTES = 64 };

static const char *in_block(char out[NAME_BYTES], uint32_t layer, const char *tensor, const char *kind) {
    snprintf(out, NAME_BYTES, "blk.%u.%s.%s", layer, tensor, kind);
    return out;
}

/* A bias may come with the file, where a kernel minds it. */
static bool place_bias(placing *p, const model_part *part, device_matrix *m, const char *name) {
    if (part->no_bias && format_find(p->file, str_of(name)))
        return err_set(p->e, ERR_UNSUPPORTED, "tensor %s: experts with biases are not supported", name);
    return part->no_bias || place_vector_part(p, &m->bias, name, part->tensor_rows, part->rows);
}

static bool place_layer(placing *p, const model_layer_desc *d, model_layer *l, uint32_t index) {
    char name[NAME_BYTES];
    *l = (model_layer){0};
    for (uint32_t i = 0; i < d->n_vectors; i++) {
        const model_vector_part *v = &d->vectors[i];
        in_block(name, index, v->tensor, "weight");
        if (!place_vector(p, &l->v[v->slot], true, name, v->size, v->n_dims)) return false;
    }
    for (uint32_t i = 0; i < d->n_parts; i++) {
        const model_part *part = &d->parts[i];
        device_matrix *m = &l->m[part->slot];
        if (!place_part(p, m, in_block(name, index, part->tensor, "weight"), part)) return false;
        if (!place_bias(p, part, m, in_block(name, index, part->tensor, "bias"))) return false;
    }
    return true;
}

/* Fills *m's slots. layers may be one scratch entry when measuring (m->layers == NULL then). */
static bool place_model(placing *p, const model_desc *d, model *m) {
    m->layers = mem_arena_take(p->arena, d->n_layers * sizeof *m->layers, 64);
    for (uint32_t r = 0; r < d->n_ropes; r++)
        m->ropes[r].freqs = mem_arena_take(p->arena, d->ropes[r].dims / 2 * sizeof(float), 64);
    if (!place_matrix(p, &m->embed, "token_embd.weight", d->n_vocab, d->n_embd)) return false;
    if (!place_vector(p, &m->output_norm, true, "output_norm.weight", d->n_embd, 1)) return false;
    m->tied = !format_find(p->file, STR("output.weight"));
    if (m->tied)
        m->output = m->embed;
    else if (!place_matrix(p, &m->output, "output.weight", d->n_vocab, d->n_embd))
        return false;
    if (!place_vector(p, &m->output.bias, false, "output.bias", d->n_vocab, 1)) return false;
    for (uint32_t i = 0; i < d->n_layers; i++) {
        model_layer scratch;
        if (!place_layer(p, &d->layers[i], m->layers ? &m->layers[i] : &scratch, i)) return false;
    }
    return true;
}

bool model_plan_bytes(const format_source *file, const model_desc *d, const device_ops *ops, size_t *bytes, err *e) {
    mem_arena a;
    mem_arena_measure(&a);
    placing p = {file, ops, &a, e};
    model unused = {0};
    if (!place_model(&p, d, &unused)) return false;
    *bytes = a.used;
    return true;
}

size_t model_idle_bytes(const model *m) {
    size_t bytes = 0;
    for (uint32_t i = 0; i < m->d->n_layers; i++) {
        const model_layer_desc *l = &m->d->layers[i];
        for (uint32_t j = 0; j < l->n_parts; j++) {
            const model_part *part = &l->parts[j];
            const device_matrix *one_of = &m->layers[i].m[part->slot];
            if (part->n > 1)
                bytes += (part->n - l->experts.n_used) *
                         m->dev->ops->matrix_bytes(one_of->type, one_of->rows, one_of->cols);
        }
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

static void note_progress(load_state *s, uint64_t bytes) {
    s->done_bytes += bytes;
    if (s->progress) s->progress(s->progress_ctx, s->done_bytes, s->file->tensor_bytes);
}

static bool load_part(load_state *s, device_matrix *m, const char *name, const model_part *part) {
    const format_tensor *t = format_find(s->file, str_of(name));
    loading l = {s->file, t, dtype_row_bytes(t->type, t->dims[0]), 0};
    size_t mark = mem_arena_mark(s->scratch);
    device *dev = s->m->dev;
    void *scratch = mem_arena_take(s->scratch, dev->ops->matrix_scratch_bytes(m->type, m->cols, dev->n_threads), 64);
    CHECK(scratch);
    device_matrix one_of = *m;
    size_t packed_bytes = dev->ops->matrix_bytes(m->type, m->rows, m->cols);
    bool ok = true;
    for (uint64_t i = 0; ok && i < part->n; i++) {
        l.offset = (i * part->tensor_rows + part->first_row) * l.row_bytes;
        one_of.data = (char *)m->data + i * packed_bytes;
        ok = dev->ops->matrix_load(dev, &one_of, read_rows, &l, scratch, s->e);
    }
    mem_arena_reset(s->scratch, mark);
    note_progress(s, (uint64_t)part->n * part->rows * l.row_bytes);
    return ok || err_prefix(s->e, "tensor %s: ", name);
}

static bool load_matrix(load_state *s, device_matrix *m, const char *name) {
    model_part part = whole(m->rows, m->cols);
    return load_part(s, m, name, &part);
}

/* n values from the first-th on. */
static bool load_vector(load_state *s, const float *v, const char *name, uint32_t first, uint32_t n) {
    if (!v) return true;
    const format_tensor *t = format_find(s->file, str_of(name));
    size_t bytes = n * sizeof *v;
    s->done_bytes += bytes;
    return format_read(s->file, t, first * sizeof *v, (void *)(uintptr_t)v, bytes, s->e) ||
           err_prefix(s->e, "tensor %s: ", name);
}

static bool load_layer(load_state *s, const model_layer_desc *d, model_layer *l, uint32_t index) {
    char name[NAME_BYTES];
    for (uint32_t i = 0; i < d->n_vectors; i++) {
        const model_vector_part *v = &d->vectors[i];
        if (!load_vector(s, l->v[v->slot], in_block(name, index, v->tensor, "weight"), 0, v->size)) return false;
    }
    for (uint32_t i = 0; i < d->n_parts; i++) {
        const model_part *part = &d->parts[i];
        device_matrix *m = &l->m[part->slot];
        if (!load_part(s, m, in_block(name, index, part->tensor, "weight"), part)) return false;
        in_block(name, index, part->tensor, "bias");
        if (!load_vector(s, m->bias, name, part->first_row, part->rows)) return false;
    }
    return true;
}

/* Divisors of a rope's frequencies, where it names a tensor of them and the file has it. */
static bool load_rope(load_state *s, const model_rope *r, model_rope_table *table) {
    float factors[COMPUTE_HEAD_DIM_MAX / 2];
    const format_tensor *t = r->factors ? format_find(s->file, str_of(r->factors)) : NULL;
    uint32_t pairs = r->dims / 2;
    if (!t) return model_rope_fill(r, NULL, table), true;
    if (t->type != DTYPE_F32 || t->n_dims != 1 || t->dims[0] != pairs)
        return err_set(s->e, ERR_FORMAT, "tensor %s must be F32 of %u", r->factors, pairs);
    if (!format_read(s->file, t, 0, factors, pairs * sizeof *factors, s->e)) return false;
    for (uint32_t i = 0; i < pairs; i++)
        if (!isfinite(factors[i]) || factors[i] <= 0)
            return err_set(s->e, ERR_FORMAT, "tensor %s holds %g", r->factors, (double)factors[i]);
    model_rope_fill(r, factors, table);
    return true;
}

static bool load_all(load_state *s) {
    model *m = s->m;
    const model_desc *d = m->d;
    for (uint32_t r = 0; r < d->n_ropes; r++)
        if (!load_rope(s, &d->ropes[r], &m->ropes[r])) return false;
    if (!load_matrix(s, &m->embed, "token_embd.weight")) return false;
    if (!load_vector(s, m->output_norm, "output_norm.weight", 0, d->n_embd)) return false;
    if (m->tied)
        m->output.data = m->embed.data;
    else if (!load_matrix(s, &m->output, "output.weight"))
        return false;
    if (!load_vector(s, m->output.bias, "output.bias", 0, d->n_vocab)) return false;
    for (uint32_t i = 0; i < d->n_layers; i++)
        if (!load_layer(s, &d->layers[i], &m->layers[i], i)) return false;
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

bool model_init(model *m, const format_source *file, const model_desc *d, device *dev, mem_arena *a,
                mem_arena *scratch, model_progress *progress, void *progress_ctx, err *e) {
    size_t plan, before = a->used;
    if (!model_plan_bytes(file, d, dev->ops, &plan, e)) return false;
    *m = (model){.d = d, .dev = dev};
    placing p = {file, dev->ops, a, e};
    if (!place_model(&p, d, m)) return false;
    if (a->failed) return err_set(e, ERR_MEMORY, "the weights arena is smaller than the plan");
    m->bytes = a->used - before;
    CHECK(m->bytes == plan);
    load_state s = {m, file, scratch, progress, progress_ctx, 0, e};
    return load_all(&s);
}
