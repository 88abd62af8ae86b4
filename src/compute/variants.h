/* compute/variants — the kernel tables that dispatch.c chooses from. Internal to compute/. */
#ifndef COMPUTE_VARIANTS_H
#define COMPUTE_VARIANTS_H

#include "compute/compute.h"

extern const compute_kernels compute_ref;

#define ATTEND_KERNELS(isa)                                                                                          \
    void compute_kv_store_##isa(compute_kv_type type, uint8_t *k, uint8_t *v, const float *kx, const float *vx,     \
                                uint32_t head_dim, uint32_t head_dim_v, uint32_t slot);                              \
    void compute_attend_##isa(const compute_attend_args *args);
#if defined(__x86_64__)
extern const compute_kernels compute_avx2, compute_avx512, compute_avx512vnni;
ATTEND_KERNELS(avx2)
ATTEND_KERNELS(avx512)
ATTEND_KERNELS(avx512vnni)
#elif defined(__aarch64__)
extern const compute_kernels compute_neon, compute_neondot;
ATTEND_KERNELS(neon)
ATTEND_KERNELS(neondot)
#endif
#undef ATTEND_KERNELS

#endif
