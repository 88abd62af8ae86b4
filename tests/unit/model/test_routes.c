/* Which experts tokens go to, and in which order they are met. */
#include "../test.h"

#include <math.h>

#include "base/rng.h"
#include "device/cpu/cpu.h"
#include "model/step.h"

enum { TOKENS = 40, EXPERTS = 12, USED = 3, STRIDE = 16 };

typedef struct rig {
    device dev;
    device_gating gating;
    float logits[TOKENS * STRIDE];
    uint32_t chosen[TOKENS * USED], slot_token[TOKENS * USED], next_slot[EXPERTS];
    float chosen_weights[TOKENS * USED], slot_weight[TOKENS * USED];
    device_run runs[EXPERTS];
    device_routes r;
} rig;

static void up(rig *r, device_gating gating) {
    memset(r, 0, sizeof *r);
    r->gating = gating;
    r->dev.ops = device_cpu_ops(); /* routing needs no more of a device */
    r->r = (device_routes){r->chosen, r->chosen_weights, r->slot_token, r->slot_weight, r->next_slot, r->runs, 0};
}

static void route(rig *r, uint32_t n) {
    r->dev.ops->route(&r->dev, r->gating, EXPERTS, USED, r->logits, STRIDE, n, &r->r);
}

static void choose_one(rig *r, const float logits[EXPERTS]) {
    memcpy(r->logits, logits, EXPERTS * sizeof *logits);
    route(r, 1);
}

static void assert_chosen(const rig *r, uint32_t a, uint32_t b, uint32_t c) {
    assert_int_equal(r->r.chosen[0], a);
    assert_int_equal(r->r.chosen[1], b);
    assert_int_equal(r->r.chosen[2], c);
}

static void the_greatest_and_of_equals_the_first(void **state) {
    (void)state;
    rig r;
    up(&r, DEVICE_GATING_SUM_TO_ONE);
    choose_one(&r, (float[EXPERTS]){0, 1, 5, -3, 5, 2, 9, 5, 0, 0, 0, 4});
    assert_chosen(&r, 6, 2, 4);
    choose_one(&r, (float[EXPERTS]){0});
    assert_chosen(&r, 0, 1, 2);
    choose_one(&r, (float[EXPERTS]){-1, -1, -1, -1, -1, -1, -1, -1, -1, -0.5f, -1, 7});
    assert_chosen(&r, 11, 9, 0);
    for (int i = 0; i < 3; i++) { /* by ascending experts */
        assert_int_equal(r.r.runs[i].matrix, ((uint32_t[]){0, 9, 11})[i]);
        assert_true(r.r.runs[i].first == (uint32_t)i && r.r.runs[i].n == 1);
    }
}

static void what_they_count_for(void **state) {
    (void)state;
    static const float logits[EXPERTS] = {1, 3, 2, 0, 0, 0, -1, 0, 0.5f, 0, 0, 2.5f};
    double all = 0, three = exp(3) + exp(2.5) + exp(2);
    for (int i = 0; i < EXPERTS; i++) all += exp((double)logits[i]);
    for (device_gating kind = DEVICE_GATING_SOFTMAX; kind <= DEVICE_GATING_SUM_TO_ONE; kind++) {
        rig r;
        up(&r, kind);
        choose_one(&r, logits);
        assert_chosen(&r, 1, 11, 2);
        double total = kind == DEVICE_GATING_SOFTMAX ? all : three, sum = 0;
        for (int i = 0; i < 3; i++) { /* slots are in the order of the experts: 1, 2, 11 */
            double want = exp((double[]){3, 2, 2.5}[i]) / total;
            assert_true(fabs((double)r.r.slot_weight[i] - want) < 1e-6);
            sum += want;
        }
        assert_true((kind == DEVICE_GATING_SUM_TO_ONE) == (fabs(sum - 1) < 1e-9));
        }
}

/* Whatever a broken file makes of them: as many experts as are wanted, and different ones. */
static void logits_that_are_no_numbers(void **state) {
    (void)state;
    static const float odd[] = {NAN, INFINITY, -INFINITY, 0};
    rig r;
    rng random;
    rng_seed(&random, 1);
    up(&r, DEVICE_GATING_SUM_TO_ONE);
    for (int turn = 0; turn < 1000; turn++) {
        float logits[EXPERTS];
        for (int i = 0; i < EXPERTS; i++) logits[i] = odd[rng_next(&random) % 4];
        choose_one(&r, logits);
        const uint32_t *c = r.r.chosen;
        assert_true(c[0] < EXPERTS && c[1] < EXPERTS && c[2] < EXPERTS);
        assert_true(c[0] != c[1] && c[0] != c[2] && c[1] != c[2]);
        assert_int_equal(r.r.n_runs, 3);
    }
}

/* Each token at each of its experts in one slot; waves of whole experts that fit. */
static void slots_and_waves(void **state) {
    (void)state;
    rig r;
    rng random;
    rng_seed(&random, 2);
    up(&r, DEVICE_GATING_SUM_TO_ONE);
    for (uint32_t n = 1; n <= TOKENS; n++) {
        bool met[TOKENS][EXPERTS] = {{0}};
        uint32_t due = 0, waves = 0, last = 0;
        for (uint32_t i = 0; i < n * STRIDE; i++) r.logits[i] = (float)(rng_unit(&random) * 3);
        if (n % 3 == 0)
            for (uint32_t i = 0; i < n; i++) r.logits[i * STRIDE + 5] = 9; /* one expert that all want */
        route(&r, n);
        for (uint32_t run = 0, next; run < r.r.n_runs; run = next, waves++) {
            uint32_t first = due, slots;
            next = model_experts_wave(&r.r, run, TOKENS, &slots);
            assert_true(next > run && slots <= TOKENS && r.r.runs[run].first == 0);
            for (; run < next; run++) {
                const device_run *x = &r.r.runs[run];
                assert_true(x->n > 0 && (x->matrix > last || due == 0));
                last = x->matrix;
                for (uint32_t i = 0; i < x->n; i++) {
                    uint32_t token = r.r.slot_token[first + x->first + i];
                    assert_true(token < n && !met[token][x->matrix]);
                    met[token][x->matrix] = true;
                }
                due += x->n;
            }
            assert_int_equal(due, first + slots);
        }
        assert_int_equal(due, n * USED);
        assert_in_range(waves, (n * USED + TOKENS - 1) / TOKENS, 2 * USED);
        for (uint32_t i = 0; i < n; i++)
            for (uint32_t k = 0; k < USED; k++) assert_true(met[i][r.r.chosen[i * USED + k]]);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_greatest_and_of_equals_the_first),
        cmocka_unit_test(what_they_count_for),
        cmocka_unit_test(logits_that_are_no_numbers),
        cmocka_unit_test(slots_and_waves),
    };
    return cmocka_run_group_tests_name("model_routes", tests, NULL, NULL);
}
