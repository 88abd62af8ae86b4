/* mem/buddy: blocks never overlap, merge back to one, and refusals leave nothing behind. */
#include "../test.h"

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
    }
    for (size_t i = 0; i < LIVE; i++) mem_buddy_give(&b, live[i].p);
    assert_int_equal(b.used_bytes, 0);
    assert_ptr_equal(mem_buddy_take(&b, REGION), region); /* everything merged */
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(whole_region_and_refusal),
        cmocka_unit_test(random_blocks_never_overlap_and_all_merge_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
