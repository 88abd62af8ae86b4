/* compute/kv — where the values, scales and minima of a page's keys and values lie, for every page type: the layout
 * that compute.h describes, in numbers. Internal to compute/; kv.c gives its sizes to the other rooms. */
#ifndef COMPUTE_KV_H
#define COMPUTE_KV_H

#include "compute/compute.h"

/* Values that share a scale: 64, or the largest power of two that divides head_dim. */
static inline uint32_t kv_group(uint32_t head_dim) {
    uint32_t power = head_dim & (~head_dim + 1);
    return power < 64 ? power : 64;
}

/* Bytes of one head's quantised values in a page; the scales follow. */
static inline size_t kv_value_bytes(compute_kv_type type, uint32_t head_dim) {
    size_t n = (size_t)head_dim * COMPUTE_PAGE_TOKENS;
    return type == COMPUTE_KV_F16 ? 2 * n : type == COMPUTE_KV_Q8 ? n : (n / 2 + 63) / 64 * 64;
}

/* Bytes of the scales, and again of the minima that follow them for q4. */
static inline size_t kv_scale_bytes(uint32_t head_dim) {
    return (size_t)(head_dim / kv_group(head_dim)) * COMPUTE_PAGE_TOKENS * 2;
}

#endif
