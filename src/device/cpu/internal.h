/* device/cpu/internal — operations of the CPU device that stand in files of their own. */
#ifndef DEVICE_CPU_INTERNAL_H
#define DEVICE_CPU_INTERNAL_H

#include "device/device.h"

void cpu_route(device *d, device_gating gating, uint32_t n_experts, uint32_t n_used, const float *logits,
               size_t stride, uint32_t n, device_routes *r);
void cpu_sigmoid_dot(device *d, const float *weights, const float *x, uint32_t n, uint32_t width, float *out);

#endif
