/* compute/variants — the kernel tables that dispatch.c chooses from. Internal to compute/. */
#ifndef COMPUTE_VARIANTS_H
#define COMPUTE_VARIANTS_H

#include "compute/compute.h"

extern const compute_kernels compute_ref;
#if defined(__x86_64__)
extern const compute_kernels compute_avx2, compute_avx512, compute_avx512vnni;
#endif

#endif
