#include "kv/shape.h"

#include <string.h>

#include "base/check.h"
#include "plat/vm.h"

/* ---- groups ---- */

static bool same_keeping(const kv_group *g, const kv_layer *l) {
    return g->kind == l->kind && g->n_kv_heads == l->n_kv_heads && g->head_dim == l->head_dim &&
           g->head_dim_v == l->head_dim_v && g->window == l->window;
}

/* The group of what the layer keeps, made when it is the first of it. */
static bool place(kv_shape *s, const kv_layer *l, uint32_t layer, err *e) {
    uint32_t g = 0;
    while (g < s->n_groups && !same_keeping(&s->groups[g], l)) g++;
    if (g == KV_GROUPS_MAX)
        return err_set(e, ERR_UNSUPPORTED, "layer %u keeps something else of a token than those before it, and %d %s",
                       layer, KV_GROUPS_MAX, "different kinds are all that is supported");
    if (g == s->n_groups)
        s->groups[s->n_groups++] = (kv_group){l->kind, l->n_kv_heads, l->head_dim, l->head_dim_v, l->window, 0};
    s->group_of[layer] = (uint8_t)g;
    s->row_of[layer] = (uint16_t)s->groups[g].n_layers++;
    return true;
}

static bool owns_pages(const kv_layer *l) { return l->kind != KV_NOTHING && !l->shares; }

/* Those without a window first: so it is when a model has both, whichever its first layer is. */
static bool place_owners(kv_shape *s, const kv_layer *layers, err *e) {
    for (int windowed = 0; windowed < 2; windowed++)
        for (uint32_t i = 0; i < s->n_layers; i++)
            if (owns_pages(&layers[i]) && (layers[i].window > 0) == windowed && !place(s, &layers[i], i, e))
                return false;
    if (!s->n_groups) s->groups[s->n_groups++] = (kv_group){.kind = KV_PAGED};
    return true;
}

static void place_states(kv_shape *s, const kv_layer *layers) {
    size_t lines = 0;
    for (uint32_t i = 0; i < s->n_layers; i++) {
        CHECK(layers[i].state_floats <= KV_STATE_FLOATS_MAX);
        s->state_line_of[i] = (uint32_t)lines;
        lines += (layers[i].state_floats * sizeof(float) + KV_STATE_LINE - 1) / KV_STATE_LINE;
    }
    s->state_bytes = lines ? plat_vm_round(lines * KV_STATE_LINE) : 0;
}

bool kv_shape_of_layers(kv_shape *s, const kv_layer *layers, uint32_t n_layers, err *e) {
    CHECK(n_layers <= KV_LAYERS_MAX);
    *s = (kv_shape){.n_layers = n_layers};
    memset(s->group_of, KV_GROUP_NONE, sizeof s->group_of);
    if (!place_owners(s, layers, e)) return false;
    for (uint32_t i = 0; i < n_layers; i++) {
        if (!layers[i].shares) continue;
        uint32_t source = layers[i].source;
        CHECK(source < i && owns_pages(&layers[source]));
        s->group_of[i] = s->group_of[source];
        s->row_of[i] = s->row_of[source];
    }
    place_states(s, layers);
    return true;
}

kv_shape kv_shape_make(uint32_t n_layers, uint32_t n_kv_heads, uint32_t head_dim, uint32_t head_dim_v,
                       uint32_t window, const bool *windowed) {
    kv_shape s;
    kv_layer layers[KV_LAYERS_MAX];
    CHECK(n_layers <= KV_LAYERS_MAX);
    for (uint32_t i = 0; i < n_layers; i++)
        layers[i] = (kv_layer){.kind = KV_PAGED,
                               .n_kv_heads = n_kv_heads,
                               .head_dim = head_dim,
                               .head_dim_v = head_dim_v,
                               .window = windowed && windowed[i] ? window : 0};
    CHECK(kv_shape_of_layers(&s, layers, n_layers, NULL)); /* two groups at most */
    return s;
}

/* ---- bytes ---- */

static size_t k_bytes(const kv_group *g, kv_type type) { return compute_kv_k_bytes(type, g->head_dim); }

static size_t head_bytes(const kv_group *g, kv_type type) {
    return k_bytes(g, type) + (g->kind == KV_LATENT ? 0 : compute_kv_v_bytes(type, g->head_dim_v));
}

size_t kv_page_bytes(const kv_shape *s, uint32_t group, kv_type type) {
    const kv_group *g = &s->groups[group];
    size_t bytes = g->n_layers ? g->n_layers * g->n_kv_heads * head_bytes(g, type) : 1;
    return plat_vm_round(bytes);
}

size_t kv_set_bytes(const kv_shape *s, kv_type type) {
    size_t bytes = 0;
    for (uint32_t g = 0; g < s->n_groups; g++) bytes += kv_page_bytes(s, g, type);
    return bytes;
}

/* A head's keys and values lie side by side: what is read together shares pages of memory. */
device_kv_layer kv_layer_view(const kv_shape *s, kv_type type, uint32_t layer) {
    CHECK(s->group_of[layer] != KV_GROUP_NONE);
    const kv_group *g = &s->groups[s->group_of[layer]];
    size_t stride = head_bytes(g, type), start = s->row_of[layer] * g->n_kv_heads * stride;
    return (device_kv_layer){start, g->kind == KV_LATENT ? start : start + k_bytes(g, type), stride, stride};
}

bool kv_type_parse(const char *text, kv_type *type) {
    for (int t = 0; t < KV_TYPES; t++)
        if (!strcmp(text, compute_kv_name((kv_type)t))) return *type = (kv_type)t, true;
    return false;
}
