/* device/cpu/ — the CPU as a device: compute/'s kernels, split over a pool of threads.
 *
 * Owns the pool and the buffers of operations in flight, all in one arena block whose size is planned. Only engine/
 * names it; everyone else sees device.h. One thread at a time runs steps.
 */
#ifndef DEVICE_CPU_CPU_H
#define DEVICE_CPU_CPU_H

#include "compute/limits.h"
#include "device/device.h"

typedef struct device_cpu_config {
    int n_threads;         /* 1 … COMPUTE_MAX_THREADS */
    uint32_t max_tokens;   /* largest n of any operation */
    uint32_t max_cols;     /* widest matmul input */
} device_cpu_config;

/* The vtable, without a device: sizes for a plan. */
const device_ops *device_cpu_ops(void);

/* The CPU's own buffers (quantised activations, pool) as one arena block; plan equals fact. */
size_t device_cpu_plan_bytes(const device_cpu_config *c);
/* Takes its buffers from a, chooses the kernels and starts the threads. One thread at a time runs steps. */
bool device_cpu_init(device *d, const device_cpu_config *c, mem_arena *a, err *e);
size_t device_cpu_bytes(const device *d);
void device_cpu_stop(device *d);
/* Of this device's threads, reading these bytes. */
void device_cpu_limits(device *d, const void *bytes, size_t n_bytes, compute_limits *out);
const char *device_cpu_kernels(const device *d); /* name of the chosen variant */

#endif
