/* Reading keys, with bounds. */
#include <math.h>
#include <stdio.h>

#include "base/check.h"
#include "model/arch/arch.h"

enum { KEY_BYTES = 128 };

static const char *key_of(char out[KEY_BYTES], const arch_reader *r, const char *tail) {
    snprintf(out, KEY_BYTES, "%s.%s", r->family, tail);
    return out;
}

bool arch_u32(const arch_reader *r, const char *tail, bool required, uint32_t low, uint32_t high, uint32_t *out) {
    char key[KEY_BYTES];
    if (!format_u32(r->file, key_of(key, r, tail), required, out, r->e)) return false;
    if (*out < low || *out > high)
        return err_set(r->e, ERR_FORMAT, "%s is %u; it must be %u to %u", key, *out, low, high);
    return true;
}

bool arch_u32s(const arch_reader *r, const char *tail, bool required, uint32_t low, uint32_t high, uint32_t n,
               uint32_t *out) {
    char key[KEY_BYTES];
    if (!format_u32s(r->file, key_of(key, r, tail), required, n, out, r->e)) return false;
    for (uint32_t i = 0; i < n; i++)
        if (out[i] < low || out[i] > high)
            return err_set(r->e, ERR_FORMAT, "%s is %u in layer %u; it must be %u to %u", key, out[i], i, low, high);
    return true;
}

bool arch_f32(const arch_reader *r, const char *tail, bool required, float *out) {
    char key[KEY_BYTES];
    if (!format_f32(r->file, key_of(key, r, tail), required, out, r->e)) return false;
    if (!isfinite(*out) || *out < 0)
        return err_set(r->e, ERR_FORMAT, "%s is %g; it must be a finite positive number", key, (double)*out);
    return true;
}

bool arch_text(const arch_reader *r, const char *tail, str *out) {
    char key[KEY_BYTES];
    return format_str(r->file, key_of(key, r, tail), false, out, r->e);
}

model_part *arch_matrix(model_layer_desc *l, model_matrix slot, const char *tensor, uint32_t rows, uint32_t cols) {
    CHECK(l->n_parts < MODEL_PARTS_MAX);
    model_part *p = &l->parts[l->n_parts++];
    *p = (model_part){tensor, slot, .n = 1, .rows = rows, .cols = cols, .tensor_rows = rows};
    return p;
}

model_vector_part *arch_vector(model_layer_desc *l, model_vector slot, const char *tensor, uint32_t size) {
    CHECK(l->n_vectors < MODEL_VECTOR_PARTS_MAX);
    model_vector_part *v = &l->vectors[l->n_vectors++];
    *v = (model_vector_part){tensor, slot, size, 1};
    return v;
}
