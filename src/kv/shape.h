/* kv/shape — what a model keeps of each token, and how a page of it is laid out.
 *
 * A page holds KV_PAGE_TOKENS tokens of all layers of one group. Layers that see everything and layers that see
 * a sliding window are different groups: a window's pages can go while the others stay. Page layout: layer after
 * layer of the group; in a layer all heads' keys, then all heads' values, each as compute.h says for the type.
 * Pure arithmetic. Callers: model/ (makes the shape from the header), the rest of kv/, engine/.
 */
#ifndef KV_SHAPE_H
#define KV_SHAPE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "device/device.h"

enum { KV_PAGE_TOKENS = 16, KV_GROUPS_MAX = 2, KV_LAYERS_MAX = 512 };
_Static_assert((int)KV_PAGE_TOKENS == (int)COMPUTE_PAGE_TOKENS, "pages are what the kernels walk");

typedef compute_kv_type kv_type;
#define KV_TYPES COMPUTE_KV_TYPES

typedef struct kv_shape {
    uint32_t n_layers, n_kv_heads, head_dim, head_dim_v;
    uint32_t n_groups;
    uint32_t group_layers[KV_GROUPS_MAX];
    uint32_t window[KV_GROUPS_MAX]; /* tokens that a layer of the group sees, itself included; 0: all */
    uint8_t group_of[KV_LAYERS_MAX];
    uint16_t row_of[KV_LAYERS_MAX]; /* a layer's place among those of its group */
} kv_shape;

/* windowed[i]: layer i sees `window` tokens; NULL: none does. */
kv_shape kv_shape_make(uint32_t n_layers, uint32_t n_kv_heads, uint32_t head_dim, uint32_t head_dim_v,
                       uint32_t window, const bool *windowed);

size_t kv_page_bytes(const kv_shape *s, uint32_t group, kv_type type); /* whole 4 KiB pages */
size_t kv_set_bytes(const kv_shape *s, kv_type type);                  /* a page of every group */
device_kv_layer kv_layer_view(const kv_shape *s, kv_type type, uint32_t layer);
static inline uint32_t kv_pages_for(uint32_t n_tokens) {
    return n_tokens / KV_PAGE_TOKENS + (n_tokens % KV_PAGE_TOKENS != 0);
}

/* "f16", "q8", "q4"; false for anything else. */
bool kv_type_parse(const char *text, kv_type *type);

#endif
