/* Which experts tokens go to. A token's choice depends on its own logits alone, and slots are in the order of the
 * experts, so it never matters which tokens are beside it (promise 7). */
#include <string.h>

#include "compute/compute.h"
#include "device/cpu/internal.h"

/* The greatest k of n logits, best first; whatever they are, NaNs too, k different ones. */
static void choose(const float *logits, uint32_t n, uint32_t k, uint32_t *chosen) {
    for (uint32_t i = 0, have = 0; i < n; i++) {
        if (have == k && !(logits[i] > logits[chosen[k - 1]])) continue;
        uint32_t at = have < k ? have++ : k - 1;
        for (; at > 0 && logits[i] > logits[chosen[at - 1]]; at--) chosen[at] = chosen[at - 1];
        chosen[at] = i;
    }
}

static void weigh(device_gating gating, uint32_t n_experts, uint32_t n_used, const float *logits,
                  const uint32_t *chosen, float *shares) {
    float most = logits[chosen[0]], total = 0;
    for (uint32_t i = 0; i < n_used; i++) total += shares[i] = compute_exp(logits[chosen[i]] - most);
    if (gating == DEVICE_GATING_SOFTMAX) {
        total = 0;
        for (uint32_t i = 0; i < n_experts; i++) total += compute_exp(logits[i] - most);
    }
    for (uint32_t i = 0; i < n_used; i++) shares[i] /= total;
}

/* Slots sorted by their experts, by counting. */
static void sort_slots(device_routes *r, uint32_t n_experts, uint32_t k, uint32_t n) {
    uint32_t at = 0;
    memset(r->next_slot, 0, n_experts * sizeof *r->next_slot);
    for (uint32_t i = 0; i < n * k; i++) r->next_slot[r->chosen[i]]++;
    r->n_runs = 0;
    for (uint32_t e = 0; e < n_experts; e++) {
        uint32_t count = r->next_slot[e];
        if (count) r->runs[r->n_runs++] = (device_run){e, at, count};
        r->next_slot[e] = at;
        at += count;
    }
    for (uint32_t i = 0; i < n * k; i++) {
        uint32_t slot = r->next_slot[r->chosen[i]]++;
        r->slot_token[slot] = i / k;
        r->slot_weight[slot] = r->chosen_weights[i];
    }
}

void cpu_route(device *d, device_gating gating, uint32_t n_experts, uint32_t n_used, const float *logits,
               size_t stride, uint32_t n, device_routes *r) {
    (void)d;
    for (size_t i = 0; i < n; i++, logits += stride) {
        choose(logits, n_experts, n_used, r->chosen + i * n_used);
        weigh(gating, n_experts, n_used, logits, r->chosen + i * n_used, r->chosen_weights + i * n_used);
    }
    sort_slots(r, n_experts, n_used, n);
}

void cpu_sigmoid_dot(device *d, const float *weights, const float *x, uint32_t n, uint32_t width, float *out) {
    (void)d;
    for (size_t i = 0; i < n; i++) {
        float sum = 0;
        for (uint32_t j = 0; j < width; j++) sum += weights[j] * x[i * width + j];
        out[i] = 1.0f / (1.0f + compute_exp(-sum));
    }
}
