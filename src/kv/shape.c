#include "kv/shape.h"

#include <string.h>

#include "base/check.h"
#include "plat/vm.h"

kv_shape kv_shape_make(uint32_t n_layers, uint32_t n_kv_heads, uint32_t head_dim, uint32_t head_dim_v,
                       uint32_t window, const bool *windowed) {
    CHECK(n_layers <= KV_LAYERS_MAX);
    kv_shape s = {.n_layers = n_layers, .n_kv_heads = n_kv_heads, .head_dim = head_dim, .head_dim_v = head_dim_v};
    uint32_t n_windowed = 0;
    for (uint32_t i = 0; windowed && i < n_layers; i++) n_windowed += windowed[i];
    bool mixed = n_windowed > 0 && n_windowed < n_layers;
    s.n_groups = mixed ? 2 : 1;
    s.window[mixed ? 1 : 0] = n_windowed ? window : 0;
    for (uint32_t i = 0; i < n_layers; i++) {
        s.group_of[i] = mixed && windowed[i];
        s.row_of[i] = (uint16_t)s.group_layers[s.group_of[i]]++;
    }
    return s;
}

static size_t layer_bytes(const kv_shape *s, kv_type type) {
    return s->n_kv_heads * (compute_kv_k_bytes(type, s->head_dim) + compute_kv_v_bytes(type, s->head_dim_v));
}

size_t kv_page_bytes(const kv_shape *s, uint32_t group, kv_type type) {
    return plat_vm_round(s->group_layers[group] * layer_bytes(s, type));
}

size_t kv_set_bytes(const kv_shape *s, kv_type type) {
    size_t bytes = 0;
    for (uint32_t g = 0; g < s->n_groups; g++) bytes += kv_page_bytes(s, g, type);
    return bytes;
}

/* A head's keys and values lie side by side: what is read together shares pages of memory. */
device_kv_layer kv_layer_view(const kv_shape *s, kv_type type, uint32_t layer) {
    size_t k_bytes = compute_kv_k_bytes(type, s->head_dim);
    size_t stride = k_bytes + compute_kv_v_bytes(type, s->head_dim_v), start = s->row_of[layer] * layer_bytes(s, type);
    return (device_kv_layer){start, start + k_bytes, stride, stride};
}

bool kv_type_parse(const char *text, kv_type *type) {
    for (int t = 0; t < KV_TYPES; t++)
        if (!strcmp(text, compute_kv_name((kv_type)t))) return *type = (kv_type)t, true;
    return false;
}
