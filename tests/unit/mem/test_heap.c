/* The general allocator: exact accounts, refusals that leave everything as it was. */
#include "../test.h"
#include "../stops.h"

#include "base/rng.h"
#include "base/str.h"
#include "mem/heap.h"

enum { OVERHEAD = 16 };

static mem_ledger l;
static mem_heap h;

static int setup(void **state) {
    (void)state;
    mem_ledger_init(&l, 1 << 20);
    mem_heap_init(&h, &l, MEM_TOKENIZER);
    return 0;
}

static void assert_books(uint64_t bytes) {
    assert_int_equal(mem_heap_bytes(&h), bytes);
    assert_int_equal(l.rows[MEM_TOKENIZER].now_bytes, bytes);
    assert_int_equal(l.now_bytes, bytes);
}

static void accounts_to_the_byte(void **state) {
    (void)state;
    err e;
    void *a = mem_heap_take(&h, 100, &e), *b = mem_heap_take_zeroed(&h, 1, &e), *c = mem_heap_take(&h, 0, &e);
    assert_true(a && b && c);
    assert_int_equal(*(char *)b, 0);
    assert_books(101 + 3 * OVERHEAD);
    a = h.alloc.resize(h.alloc.ctx, a, 100, 5000);
    assert_books(5001 + 3 * OVERHEAD);
    a = h.alloc.resize(h.alloc.ctx, a, 5000, 10);
    assert_books(11 + 3 * OVERHEAD);
    assert_int_equal(h.blocks, 3);
    mem_heap_give(&h, c, 0);
    mem_heap_give(&h, b, 1);
    assert_null(h.alloc.resize(h.alloc.ctx, a, 10, 0));
    mem_heap_give(&h, NULL, 77);
    assert_books(0);
    assert_int_equal(h.blocks, 0);
}

static void refuses_before_it_takes(void **state) {
    (void)state;
    err e = {0};
    char *p = mem_heap_take(&h, 1000, &e);
    memset(p, 3, 1000);
    assert_null(mem_heap_take(&h, 1 << 20, &e));
    assert_int_equal(e.code, ERR_MEMORY);
    assert_true(e.need_bytes == (1 << 20) + OVERHEAD && e.have_bytes == (1 << 20) - 1000 - OVERHEAD);
    const size_t sizes[] = {SIZE_MAX, SIZE_MAX - 8, SIZE_MAX - OVERHEAD, SIZE_MAX / 2 + 1, SIZE_MAX / 2};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        assert_null(mem_heap_take(&h, sizes[i], &e));
        assert_int_equal(e.code, ERR_MEMORY);
        assert_null(mem_heap_take_zeroed(&h, sizes[i], NULL));
        assert_null(h.alloc.resize(h.alloc.ctx, p, 1000, sizes[i]));
    }
    assert_books(1000 + OVERHEAD);
    for (int i = 0; i < 1000; i++) assert_int_equal(p[i], 3);
    mem_heap_give(&h, p, 1000);
    assert_books(0);
}

/* Where there is no line, it is malloc that says no; the reservation goes back. */
static void malloc_refuses(void **state) {
    (void)state;
#ifdef PLIMSOLL_SANITIZED
    skip(); /* a sanitizer's malloc stops the program */
#else
    mem_ledger_init(&l, UINT64_MAX);
    err e = {0};
    assert_null(mem_heap_take(&h, (size_t)1 << 60, &e));
    assert_int_equal(e.code, ERR_MEMORY);
    char *p = mem_heap_take(&h, 10, &e);
    memset(p, 9, 10);
    assert_null(h.alloc.resize(h.alloc.ctx, p, 10, (size_t)1 << 60));
    for (int i = 0; i < 10; i++) assert_int_equal(p[i], 9);
    assert_books(10 + OVERHEAD);
    mem_heap_give(&h, p, 10);
    assert_books(0);
#endif
}

static void random_blocks_keep_their_content(void **state) {
    (void)state;
    enum { BLOCKS = 64 };
    unsigned char *block[BLOCKS] = {0};
    size_t bytes[BLOCKS] = {0};
    uint64_t sum = 0;
    int refused = 0;
    rng r;
    rng_seed(&r, 11);
    for (int step = 0; step < 20000; step++) {
        size_t i = rng_next(&r) % BLOCKS, want = rng_next(&r) % 3 ? rng_next(&r) % 40000 : 0;
        size_t keep = want < bytes[i] ? want : bytes[i];
        unsigned char *p = h.alloc.resize(h.alloc.ctx, block[i], bytes[i], want);
        if (want && !p) {
            refused++;
            continue;
        }
        assert_int_equal((uintptr_t)p % 16, 0);
        if (keep) assert_true(p[0] == i && p[keep - 1] == i && p[keep / 2] == i);
        if (p) memset(p, (int)i, want);
        sum += (want ? want + OVERHEAD : 0) - (block[i] ? bytes[i] + OVERHEAD : 0);
        block[i] = p;
        bytes[i] = want;
        assert_books(sum);
    }
    assert_true(refused > 0);
    for (size_t i = 0; i < BLOCKS; i++) h.alloc.resize(h.alloc.ctx, block[i], bytes[i], 0);
    assert_books(0);
}

/* A client of the allocator meets a refusal at every place, for every N, until none is left. */
static void every_nth_reservation_refused(void **state) {
    (void)state;
    bool succeeded = false;
    uint64_t n = 0;
    while (!succeeded) {
        mem_ledger_fail_nth(&l, ++n);
        buf first, second;
        buf_init(&first, &h.alloc, 100000);
        buf_init(&second, &h.alloc, 100000);
        for (int i = 0; i < 300; i++) {
            buf_printf(&first, "%d ", i);
            buf_append(&second, first.data, first.len > 20 ? 20 : first.len);
        }
        succeeded = !first.failed && !second.failed;
        buf_free(&first);
        buf_free(&second);
        assert_books(0);
        assert_int_equal(h.blocks, 0);
    }
    assert_true(n > 4);
    mem_ledger_fail_nth(&l, 0);
}

static void a_wrong_size_stops(void **state) {
    (void)state;
#ifndef PLIMSOLL_SLOW_CHECKS
    skip(); /* only the header of those builds knows */
#else
    void *p = mem_heap_take(&h, 100, NULL);
    assert_stops(mem_heap_give(&h, p, 99));
    mem_heap_give(&h, p, 100);
#endif
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(accounts_to_the_byte, setup),
        cmocka_unit_test_setup(refuses_before_it_takes, setup),
        cmocka_unit_test_setup(malloc_refuses, setup),
        cmocka_unit_test_setup(random_blocks_keep_their_content, setup),
        cmocka_unit_test_setup(every_nth_reservation_refused, setup),
        cmocka_unit_test_setup(a_wrong_size_stops, setup),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
