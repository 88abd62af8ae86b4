#include "model/desc.h"

#include "base/check.h"
#include "model/arch/arch.h"

static const model_layer_desc *with(const model_desc *d, model_block_kind kind, uint32_t layer) {
    const model_layer_desc *l = &d->layers[layer];
    for (uint32_t i = 0; i < l->n_blocks; i++)
        if (l->blocks[i].kind == kind) return l;
    return NULL;
}

const model_layer_desc *model_next_with(const model_desc *d, model_block_kind kind, uint32_t *layer) {
    while (*layer < d->n_layers) {
        const model_layer_desc *l = with(d, kind, (*layer)++);
        if (l) return l;
    }
    return NULL;
}

/* What the layers keep of each token. */
static bool describe_kv(model_desc *d, err *e) {
    kv_layer layers[MODEL_MAX_LAYERS] = {0};
    for (uint32_t i = 0; i < d->n_layers; i++) {
        const model_layer_desc *l = with(d, MODEL_ATTENTION, i);
        if (!l) continue;
        const model_attention *a = &l->attention;
        layers[i] = (kv_layer){KV_PAGED, a->n_kv_heads, a->head_dim, a->head_dim_v, .window = a->window};
    }
    return kv_shape_of_layers(&d->kv, layers, d->n_layers, e);
}

bool model_describe(model_desc *d, const format_source *file, const base_alloc *alloc, err *e) {
    *d = (model_desc){.embed_scale = 1.0f, .norm_eps = 1e-5f, .alloc = alloc};
    str name;
    if (!format_str(file, "general.architecture", true, &name, e)) return false;
    const model_family *family = model_family_find(name, e);
    if (!family) return false;
    d->family = family->name;
    arch_reader r = {file, family->name, e};
    if (family->describe(&r, d) && describe_kv(d, e)) return true;
    model_desc_free(d);
    return false;
}

void model_desc_free(model_desc *d) {
    alloc_free(d->alloc, d->layers, d->n_layers * sizeof *d->layers);
    d->layers = NULL;
}

double model_matmul_macs(const model_desc *d) {
    double macs = 0;
    for (uint32_t i = 0; i < d->n_layers; i++) {
        const model_layer_desc *l = &d->layers[i];
        for (uint32_t p = 0; p < l->n_parts; p++) {
            const model_part *part = &l->parts[p];
            macs += (double)part->rows * part->cols * (part->n > 1 ? l->experts.n_used : 1);
        }
    }
    return macs;
}

double model_attend_macs(const model_desc *d) {
    double macs = 0;
    uint32_t at = 0;
    for (const model_layer_desc *l; (l = model_next_with(d, MODEL_ATTENTION, &at));)
        macs += (double)l->attention.n_heads * (l->attention.head_dim + l->attention.head_dim_v);
    return macs;
}

uint32_t model_max_cols(const model_desc *d) {
    uint32_t most = d->n_embd;
    for (uint32_t i = 0; i < d->n_layers; i++)
        for (uint32_t p = 0; p < d->layers[i].n_parts; p++)
            if (d->layers[i].parts[p].cols > most) most = d->layers[i].parts[p].cols;
    return most;
}
