/* compute/limits — what this machine can do at most, measured on the spot.
 *
 * Loops that do nothing but what a kernel cannot avoid: read memory, multiply and add from registers. All threads
 * of a pool run them together; each takes some tens of milliseconds. Callers: device/cpu (plimsoll bench) and
 * bench/kernels, to say how near the kernels come. 0 stands for an instruction that is not here.
 */
#ifndef COMPUTE_LIMITS_H
#define COMPUTE_LIMITS_H

#include "compute/pool.h"

typedef struct compute_limits {
    double read_gb_per_s; /* of the bytes given, read in order, once */
    double vnni_gmac_per_s, bf16_gmac_per_s, fma_gmac_per_s;
} compute_limits;

void compute_limits_measure(compute_pool *p, const void *bytes, size_t n_bytes, compute_limits *out);

#endif
