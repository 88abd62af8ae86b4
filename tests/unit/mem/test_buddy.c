/* mem/buddy: blocks never overlap, merge back to one, and refusals leave nothing behind. */
#include "../test.h"
#include "../stops.h"

#include "base/rng.h"
#include "mem/buddy.h"

enum { REGION = 1 << 20 };
static _Alignas(4096) char region[REGION];
static uint8_t state[REGION / MEM_BUDDY_LEAST_BYTES];

static void whole_region_and_refusal(void **unused) {
    (void)unused;
    mem_buddy b;
    mem_buddy_init(&b, region, REGION, state);
    assert_null(mem_buddy_take(&b, REGION + 1));
    void *all = mem_buddy_take(&b, REGION);
    assert_ptr_equal(all, region);
    assert_null(mem_buddy_take(&b, 1));
    mem_buddy_give(&b, all);
    assert_int_equal(b.used_bytes, 0);
    assert_non_null(mem_buddy_take(&b, REGION / 2 + 1));
}

static void random_blocks_never_overlap_and_all_merge_back(void **unused) {
    (void)unused;
    enum { LIVE = 64 };
    struct { char *p; size_t bytes; char mark; } live[LIVE] = {0};
    mem_buddy b;
    mem_buddy_init(&b, region, REGION, state);
    rng r;
    rng_seed(&r, 7);
    for (int round = 0; round < 20000; round++) {
        size_t i = rng_next(&r) % LIVE;
        if (live[i].p) {
            for (size_t k = 0; k < live[i].bytes; k++) assert_int_equal(live[i].p[k], live[i].mark);
            mem_buddy_give(&b, live[i].p);
            live[i].p = NULL;
        } else {
            size_t bytes = 1 + rng_next(&r) % (1u << (8 + rng_next(&r) % 10));
            if (!(live[i].p = mem_buddy_take(&b, bytes))) continue;
            live[i].bytes = bytes;
            live[i].mark = (char)rng_next(&r);
            memset(live[i].p, live[i].mark, bytes);
        }
        if (round % 64 == 0) mem_buddy_check(&b);
    }
    for (size_t i = 0; i < LIVE; i++) mem_buddy_give(&b, live[i].p);
    assert_int_equal(b.used_bytes, 0);
    assert_ptr_equal(mem_buddy_take(&b, REGION), region); /* everything merged */
}

static void what_does_not_add_up_stops(void **unused) {
    (void)unused;
    mem_buddy b;
    mem_buddy_init(&b, region, REGION, state);
    char *p = mem_buddy_take(&b, 1), *q = mem_buddy_take(&b, 3 * MEM_BUDDY_LEAST_BYTES);
    uint32_t *links = (uint32_t *)(void *)(region + MEM_BUDDY_LEAST_BYTES); /* the first block's free half */
    mem_buddy_check(&b);
    assert_stops((b.used_bytes--, mem_buddy_check(&b)));
    assert_stops((state[0]++, mem_buddy_check(&b)));                 /* larger than it is */
    assert_stops((state[0] = 0, mem_buddy_check(&b)));               /* lost */
    assert_stops((b.free_heads[0] = 0, mem_buddy_check(&b)));        /* free, and in no list */
    assert_stops((links[0] = 1, mem_buddy_check(&b)));               /* in use, and in a list */
    assert_stops((links[1] = 1, mem_buddy_check(&b)));               /* has one before it that has not it behind */
    assert_stops((state[0] = state[1], b.used_bytes -= MEM_BUDDY_LEAST_BYTES, mem_buddy_check(&b))); /* two halves */
    mem_buddy_give(&b, p), mem_buddy_give(&b, q);
    mem_buddy_check(&b);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(whole_region_and_refusal),
        cmocka_unit_test(random_blocks_never_overlap_and_all_merge_back),
        cmocka_unit_test(what_does_not_add_up_stops),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
