/* kv/shape — what a model keeps of each token and of each sequence, and how a page of it is laid out.
 *
 * Layers that keep the same of a token (kind, heads, sizes of K and V, window) form a group; a page holds
 * KV_PAGE_TOKENS tokens of all layers of one group, so that a window's pages can go while the others stay.
 *
 *   paged    keys and values, one after the other for each head: layer after layer, head after head
 *   latent   one vector a token, stored once: its first head_dim_v values are V, all head_dim are K
 *   state    fixed bytes a sequence (F32: a convolution's last inputs and a matrix), updated in place. It is kept
 *            beside the pages, not in them (kv/states.h): all layers' states lie in one block, each on a cache line
 *
 * A layer may read the pages of an earlier one and then has no room of its own; it may keep nothing of tokens; it
 * may have a state beside its pages. A model of states alone gets pages of the least size that hold nothing:
 * tokens are counted, shared and bounded the same way everywhere.
 *
 * Pure arithmetic. Callers: model/ (makes the shape from the header), the rest of kv/, engine/. Refuses a model
 * whose layers keep more than KV_GROUPS_MAX different things of a token.
 */
#ifndef KV_SHAPE_H
#define KV_SHAPE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "device/device.h"

enum {
    KV_PAGE_TOKENS = 16,
    KV_GROUPS_MAX = 2, /* no family known needs more: full and windowed layers, or one latent group */
    KV_LAYERS_MAX = 512,
    KV_GROUP_NONE = 255,
    KV_STATE_LINE = 64,               /* bytes: where a layer's state begins is a multiple */
    KV_STATE_FLOATS_MAX = 1 << 26,    /* of a layer: 256 MiB */
};
_Static_assert((int)KV_PAGE_TOKENS == (int)COMPUTE_PAGE_TOKENS, "pages are what the kernels walk");

typedef compute_kv_type kv_type;
#define KV_TYPES COMPUTE_KV_TYPES

typedef enum kv_kind { KV_NOTHING, KV_PAGED, KV_LATENT } kv_kind;

/* What one layer keeps; the model's description fills one for each layer. */
typedef struct kv_layer {
    kv_kind kind;                              /* of a token */
    uint32_t n_kv_heads, head_dim, head_dim_v; /* latent: 1 head; head_dim_v of its head_dim values are V */
    uint32_t window;                           /* tokens that it sees, itself included; 0: all */
    bool shares;                               /* reads what layer `source` keeps of tokens: all above is unused */
    uint32_t source;                           /* an earlier layer that has pages of its own */
    uint32_t state_floats;                     /* of a sequence; 0: none */
} kv_layer;

typedef struct kv_group {
    kv_kind kind;
    uint32_t n_kv_heads, head_dim, head_dim_v, window;
    uint32_t n_layers; /* that have room of their own in a page */
} kv_group;

typedef struct kv_shape {
    uint32_t n_layers, n_groups;
    kv_group groups[KV_GROUPS_MAX]; /* those without a window first */
    uint8_t group_of[KV_LAYERS_MAX]; /* KV_GROUP_NONE: keeps nothing of tokens */
    uint16_t row_of[KV_LAYERS_MAX];  /* its place among the layers of its group, or that of the layer it reads */
    uint32_t state_line_of[KV_LAYERS_MAX]; /* where its state begins, in lines of KV_STATE_LINE bytes */
    size_t state_bytes; /* of a sequence: whole 4 KiB pages; 0: the model has no states */
} kv_shape;

/* ERR_UNSUPPORTED when the layers keep too many different things. */
bool kv_shape_of_layers(kv_shape *s, const kv_layer *layers, uint32_t n_layers, err *e);

/* Attention in all layers, of one size. windowed[i]: layer i sees `window` tokens; NULL: none does. */
kv_shape kv_shape_make(uint32_t n_layers, uint32_t n_kv_heads, uint32_t head_dim, uint32_t head_dim_v,
                       uint32_t window, const bool *windowed);

size_t kv_page_bytes(const kv_shape *s, uint32_t group, kv_type type); /* whole 4 KiB pages, at least one */
size_t kv_set_bytes(const kv_shape *s, kv_type type);                  /* a page of every group */
/* Of a layer that reads pages. Of a latent group K and V begin at the same byte. */
device_kv_layer kv_layer_view(const kv_shape *s, kv_type type, uint32_t layer);
static inline size_t kv_state_offset(const kv_shape *s, uint32_t layer) { /* into a sequence's block of states */
    return (size_t)s->state_line_of[layer] * KV_STATE_LINE;
}
static inline uint32_t kv_pages_for(uint32_t n_tokens) {
    return n_tokens / KV_PAGE_TOKENS + (n_tokens % KV_PAGE_TOKENS != 0);
}

/* "f16", "q8", "q4"; false for anything else. */
bool kv_type_parse(const char *text, kv_type *type);

#endif
