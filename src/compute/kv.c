/* Names and sizes of the page types. */
#include "compute/kv.h"

#include "base/check.h"

const char *compute_kv_name(compute_kv_type type) {
    static const char *const names[COMPUTE_KV_TYPES] = {"f16", "q8", "q4"};
    CHECK(type < COMPUTE_KV_TYPES);
    return names[type];
}

static size_t with_scales(compute_kv_type type, uint32_t head_dim, size_t bytes) {
    CHECK(type < COMPUTE_KV_TYPES && head_dim && head_dim % 2 == 0 && head_dim <= COMPUTE_HEAD_DIM_MAX);
    size_t n_scales = type == COMPUTE_KV_F16 ? 0 : type == COMPUTE_KV_Q8 ? 1 : 2;
    return bytes + n_scales * kv_scale_bytes(head_dim);
}

size_t compute_kv_k_bytes(compute_kv_type type, uint32_t head_dim) {
    return with_scales(type, head_dim, kv_key_bytes(type, head_dim));
}

size_t compute_kv_v_bytes(compute_kv_type type, uint32_t head_dim_v) {
    return with_scales(type, head_dim_v, kv_value_bytes(type, head_dim_v));
}

uint32_t compute_attend_tokens(uint32_t n_heads, uint32_t head_dim) {
    uint32_t queries = KV_QUERY_VALUES_MOST / head_dim;
    if (queries > KV_QUERIES_MOST) queries = KV_QUERIES_MOST;
    return queries > n_heads ? queries / n_heads : 1;
}
