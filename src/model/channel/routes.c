#include "model/channel/routes.h"

#include <string.h>

#include "compute/compute.h"

void model_routes_layout(model_routes *r, const model_experts *x, uint32_t n_embd, const device_ops *ops,
                         uint32_t max_tokens, mem_arena *a) {
    size_t n = max_tokens, slots = n * x->n_used;
    r->logits = mem_arena_take(a, n * ops->row_stride(x->n) * sizeof *r->logits, 64);
    r->chosen = mem_arena_take(a, slots * sizeof *r->chosen, 64);
    r->chosen_weights = mem_arena_take(a, slots * sizeof *r->chosen_weights, 64);
    r->slot_token = mem_arena_take(a, slots * sizeof *r->slot_token, 64);
    r->slot_weight = mem_arena_take(a, slots * sizeof *r->slot_weight, 64);
    r->next_slot = mem_arena_take(a, x->n * sizeof *r->next_slot, 64);
    r->runs = mem_arena_take(a, x->n * sizeof *r->runs, 64);
    r->shared_weight = mem_arena_take(a, n * sizeof *r->shared_weight, 64);
    r->gathered = mem_arena_take(a, n * n_embd * sizeof *r->gathered, 64);
}

/* The greatest k of n logits, best first; whatever they are, NaNs too, k different ones. */
static void choose(const float *logits, uint32_t n, uint32_t k, uint32_t *chosen) {
    for (uint32_t i = 0, have = 0; i < n; i++) {
        if (have == k && !(logits[i] > logits[chosen[k - 1]])) continue;
        uint32_t at = have < k ? have++ : k - 1;
        for (; at > 0 && logits[i] > logits[chosen[at - 1]]; at--) chosen[at] = chosen[at - 1];
        chosen[at] = i;
    }
}

static void weigh(const model_experts *x, const float *logits, const uint32_t *chosen, float *shares) {
    float most = logits[chosen[0]], total = 0;
    for (uint32_t i = 0; i < x->n_used; i++) total += shares[i] = compute_exp(logits[chosen[i]] - most);
    if (x->gating == MODEL_GATING_SOFTMAX) {
        total = 0;
        for (uint32_t i = 0; i < x->n; i++) total += compute_exp(logits[i] - most);
    }
    for (uint32_t i = 0; i < x->n_used; i++) shares[i] /= total;
}

/* Slots sorted by their experts, by counting. */
static void sort_slots(model_routes *r, uint32_t n_experts, uint32_t k, uint32_t n) {
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

void model_routes_fill(model_routes *r, const model_experts *x, uint32_t logits_stride, uint32_t n) {
    uint32_t k = x->n_used;
    for (size_t i = 0; i < n; i++) {
        const float *logits = r->logits + i * logits_stride;
        choose(logits, x->n, k, r->chosen + i * k);
        weigh(x, logits, r->chosen + i * k, r->chosen_weights + i * k);
    }
    sort_slots(r, x->n, k, n);
}

uint32_t model_routes_wave(model_routes *r, uint32_t run, uint32_t max_tokens, uint32_t *first_slot,
                           uint32_t *n_slots) {
    *first_slot = r->runs[run].first, *n_slots = 0;
    for (; run < r->n_runs && *n_slots + r->runs[run].n <= max_tokens; run++) {
        r->runs[run].first = *n_slots;
        *n_slots += r->runs[run].n;
    }
    return run;
}

void model_routes_shared(const float *weights, const float *x, uint32_t n, uint32_t n_embd, float *shares) {
    for (size_t i = 0; i < n; i++) {
        float sum = 0;
        for (uint32_t j = 0; j < n_embd; j++) sum += weights[j] * x[i * n_embd + j];
        shares[i] = 1.0f / (1.0f + compute_exp(-sum));
    }
}
