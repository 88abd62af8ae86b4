/* Arenas: the plan equals the fact, for any layout; marks; the injected allocator. */
#include "../test.h"
#include "../stops.h"

#include <stdio.h>

#include "base/json.h"
#include "base/rng.h"
#include "mem/arena.h"
#include "plat/vm.h"

enum { MAX_TAKES = 200 };

typedef struct layout {
    size_t n, bytes[MAX_TAKES], align[MAX_TAKES];
    char *at[MAX_TAKES];
} layout;

static layout random_layout(rng *r) {
    layout s = {.n = 1 + rng_next(r) % MAX_TAKES};
    for (size_t i = 0; i < s.n; i++) {
        size_t scale = (size_t)1 << rng_next(r) % 14;
        s.bytes[i] = rng_next(r) % scale;
        s.align[i] = (size_t)1 << rng_next(r) % 13;
    }
    return s;
}

/* The one function that both plans and lays out. */
static void lay_out(layout *s, mem_arena *a) {
    for (size_t i = 0; i < s->n; i++) s->at[i] = mem_arena_take(a, s->bytes[i], s->align[i]);
}

static void fill_and_verify(const layout *s) {
    for (size_t i = 0; i < s->n; i++) {
        assert_int_equal((uintptr_t)s->at[i] % s->align[i], 0);
        memset(s->at[i], (int)i, s->bytes[i]);
    }
    for (size_t i = 0; i < s->n; i++) /* no two overlap, or an earlier one would have been overwritten */
        for (size_t k = 0; k < s->bytes[i]; k++) assert_int_equal((unsigned char)s->at[i][k], i);
}

static void the_plan_is_the_fact(void **state) {
    (void)state;
    rng r;
    rng_seed(&r, 1);
    mem_ledger l;
    mem_ledger_init(&l, UINT64_MAX);
    for (int round = 0; round < 300; round++) {
        layout s = random_layout(&r);
        mem_arena plan, fact;
        mem_arena_measure(&plan);
        lay_out(&s, &plan);
        assert_false(plan.failed);
        for (size_t i = 0; i < s.n; i++) assert_null(s.at[i]);

        err e;
        assert_ok(mem_arena_init(&fact, &l, MEM_KV, plan.used, round & 1, &e), e);
        assert_int_equal(l.rows[MEM_KV].now_bytes, plat_vm_round(plan.used));
        lay_out(&s, &fact);
        assert_false(fact.failed);
        assert_int_equal(fact.used, plan.used);
        assert_int_equal(fact.high, plan.used);
        fill_and_verify(&s);

        mem_arena exact, short_of_one; /* borrowed, of exactly the plan's size: fits; a byte less: does not */
        mem_arena_over(&exact, fact.base, plan.used);
        lay_out(&s, &exact);
        assert_false(exact.failed);
        if (plan.used > 0 && s.bytes[s.n - 1] > 0) {
            mem_arena_over(&short_of_one, fact.base, plan.used - 1);
            lay_out(&s, &short_of_one);
            assert_true(short_of_one.failed);
        }
        mem_arena_free(&exact);
        mem_arena_free(&fact);
        assert_int_equal(l.now_bytes, 0);
    }
}

static void borrowed_memory_need_not_be_aligned(void **state) {
    (void)state;
    static _Alignas(64) char memory[1000];
    mem_arena a;
    mem_arena_over(&a, memory + 3, sizeof memory - 3);
    char *p = mem_arena_take(&a, 100, 64);
    assert_int_equal((uintptr_t)p % 64, 0);
    assert_true(p >= memory + 3 && p + 100 <= memory + sizeof memory);
    assert_null(mem_arena_take(&a, 900, 1));
}

static void a_take_that_does_not_fit(void **state) {
    (void)state;
    static _Alignas(4096) char memory[256];
    mem_arena a;
    mem_arena_over(&a, memory, sizeof memory);
    size_t mark = mem_arena_mark(&a);
    assert_non_null(mem_arena_take(&a, 200, 1));
    assert_null(mem_arena_take(&a, 57, 1));
    assert_true(a.failed);
    assert_non_null(mem_arena_take(&a, 56, 1)); /* a smaller one fits; the failure is remembered */
    assert_true(a.failed);
    assert_null(mem_arena_take(&a, SIZE_MAX, 4096));
    assert_null(mem_arena_take(&a, 1, 1));
    mem_arena_reset(&a, 1);
    assert_null(mem_arena_take(&a, SIZE_MAX - 10, 16)); /* with its padding it would wrap to a few bytes */
    mem_arena_reset(&a, mark);
    assert_false(a.failed);
    assert_int_equal(a.used, 0);
    assert_int_equal(a.high, 256);
    assert_ptr_equal(mem_arena_take(&a, 256, 4096), memory);
}

static void marks_nest(void **state) {
    (void)state;
    mem_ledger l;
    mem_arena a;
    err e;
    mem_ledger_init(&l, UINT64_MAX);
    assert_ok(mem_arena_init(&a, &l, MEM_QUEUE, 10000, false, &e), e);
    char *keep = mem_arena_take(&a, 100, 16);
    memset(keep, 7, 100);
    size_t outer = mem_arena_mark(&a);
    char *first = mem_arena_take(&a, 1000, 16);
    size_t inner = mem_arena_mark(&a);
    char *second = mem_arena_take(&a, 2000, 16);
    mem_arena_reset(&a, inner);
    assert_ptr_equal(mem_arena_take(&a, 500, 16), second);
    mem_arena_reset(&a, outer);
    assert_ptr_equal(mem_arena_take(&a, 1, 16), first);
    for (int i = 0; i < 100; i++) assert_int_equal(keep[i], 7);
    mem_arena_free(&a);
    assert_int_equal(l.now_bytes, 0);
    mem_arena_free(&a); /* harmless */
}

static void a_plan_too_large_for_any_machine(void **state) {
    (void)state;
    mem_arena plan, fact;
    mem_arena_measure(&plan);
    assert_null(mem_arena_take(&plan, SIZE_MAX / 4 * 3, 64));
    assert_false(plan.failed);
    assert_null(mem_arena_take(&plan, SIZE_MAX / 4 * 3, 64));
    assert_true(plan.failed && plan.used == SIZE_MAX);
    assert_null(mem_arena_take(&plan, 100, 64));
    assert_true(plan.failed);
    assert_true(plan.used == SIZE_MAX);
    mem_ledger l;
    mem_ledger_init(&l, UINT64_MAX);
    err e = {0};
    assert_false(mem_arena_init(&fact, &l, MEM_KV, plan.used, true, &e)); /* the kernel says no: all given back */
    assert_int_equal(e.code, ERR_MEMORY);
    assert_int_equal(l.now_bytes, 0);
    assert_null(fact.base);
    mem_arena_free(&fact);
}

static void the_ledger_refuses_first(void **state) {
    (void)state;
    mem_ledger l;
    mem_arena a;
    err e = {0};
    mem_ledger_init(&l, 8192);
    assert_false(mem_arena_init(&a, &l, MEM_KV, 8193, false, &e));
    assert_int_equal(e.code, ERR_MEMORY);
    assert_true(e.need_bytes == plat_vm_round(8193) && e.have_bytes == 8192);
    mem_arena_free(&a);
    mem_ledger_fail_nth(&l, 1);
    assert_false(mem_arena_init(&a, &l, MEM_KV, 10, false, &e));
    assert_ok(mem_arena_init(&a, &l, MEM_KV, 0, false, &e), e); /* an empty plan is no error */
    assert_non_null(mem_arena_take(&a, 0, 1));
    mem_arena_free(&a);
    assert_int_equal(l.now_bytes, 0);
}

/* Random resizes of many blocks; each keeps its content, whatever moves. */
static void as_an_allocator(void **state) {
    (void)state;
    enum { BLOCKS = 20 };
    mem_ledger l;
    mem_arena a;
    err e;
    mem_ledger_init(&l, UINT64_MAX);
    assert_ok(mem_arena_init(&a, &l, MEM_QUEUE, 1 << 20, false, &e), e);
    base_alloc alloc = mem_arena_alloc(&a);
    rng r;
    rng_seed(&r, 7);
    int refused = 0;
    for (int round = 0; round < 50; round++) {
        char *block[BLOCKS] = {0};
        size_t bytes[BLOCKS] = {0};
        mem_arena_reset(&a, 0);
        for (int step = 0; step < 500; step++) {
            size_t i = rng_next(&r) % BLOCKS, want = rng_next(&r) % 20000, keep = want < bytes[i] ? want : bytes[i];
            char *p = alloc.resize(alloc.ctx, block[i], bytes[i], want);
            if (want > 0 && !p) {
                refused++;
                assert_true(a.failed);
                if (bytes[i]) assert_int_equal(block[i][bytes[i] - 1], (char)i); /* the old block stands */
                continue;
            }
            assert_int_equal(p == NULL, want == 0);
            assert_int_equal((uintptr_t)p % 16, 0);
            for (size_t k = 0; k < keep; k++) assert_int_equal(p[k], (char)i);
            if (p) memset(p, (int)i, want);
            block[i] = p;
            bytes[i] = want;
        }
    }
    assert_true(refused > 0);
    mem_arena_free(&a);
}

static void the_newest_block_grows_in_place_and_goes_back(void **state) {
    (void)state;
    static _Alignas(4096) char memory[4096];
    mem_arena a;
    mem_arena_over(&a, memory, sizeof memory);
    base_alloc alloc = mem_arena_alloc(&a);
    char *p = alloc_bytes(&alloc, 100);
    assert_ptr_equal(alloc.resize(alloc.ctx, p, 100, 3000), p);
    assert_int_equal(a.used, 3000);
    assert_null(alloc.resize(alloc.ctx, p, 3000, 5000));
    assert_int_equal(a.used, 3000);
    assert_ptr_equal(alloc.resize(alloc.ctx, p, 3000, 50), p);
    assert_int_equal(a.used, 50);
    char *q = alloc_bytes(&alloc, 10);
    alloc_free(&alloc, p, 50); /* not the newest: stays until the reset */
    assert_int_equal(a.used, 64 + 10);
    alloc_free(&alloc, q, 10);
    assert_int_equal(a.used, 64);
}

static bool no_event(void *ctx, const json_event *v, err *e) { return (void)ctx, (void)v, (void)e, true; }

/* Readers within readers, as of a body's parts, give back all that they took, whatever they met. */
static void json_readers_leave_nothing(void **state) {
    (void)state;
    static _Alignas(16) char memory[256 * 1024];
    mem_arena a;
    mem_arena_over(&a, memory, sizeof memory);
    base_alloc alloc = mem_arena_alloc(&a);
    static char text[60000];
    size_t n = (size_t)snprintf(text, sizeof text, "[[[[[[[[[[[[[1]]]]]]]]]]]],{\"k\\n\":\"");
    for (; n < sizeof text - 64; n += 2) memcpy(text + n, "\\n", 2);
    n += (size_t)snprintf(text + n, sizeof text - n, "\",\"l\":{\"\\u00e9\":[true,null,1.5]}}");
    text[n++] = ']';
    for (int depth = 0; depth <= JSON_MAX_DEPTH; depth = depth * 2 + 1) {
        err e = {0};
        assert_ok(json_parse_outer(&alloc, (str){text, n}, &depth, no_event, NULL, &e), e);
        assert_int_equal(a.used, 0);
    }
}

/* What it holds follows what was taken; its blocks stay where they are, and the newest grows without a copy. */
static void one_that_grows(void **state) {
    (void)state;
    enum { MOST = 4 << 20 };
    mem_ledger l;
    mem_arena a;
    err e = {0};
    mem_ledger_init(&l, UINT64_MAX);
    assert_ok(mem_arena_init_growing(&a, &l, MEM_QUEUE, MOST, &e), e);
    assert_int_equal(l.now_bytes, 0);
    base_alloc alloc = mem_arena_alloc(&a);
    char *first = alloc_bytes(&alloc, 100);
    memset(first, 7, 100);
    char *p = alloc_bytes(&alloc, 16);
    for (size_t bytes = 16; bytes < MOST / 2; bytes += 5000) {
        assert_ptr_equal(alloc.resize(alloc.ctx, p, bytes, bytes + 5000), p);
        p[bytes + 4999] = 1;
        assert_true(l.now_bytes >= a.used && l.now_bytes <= a.used + a.used / 8 + 64 * 1024);
        assert_int_equal(l.now_bytes, l.rows[MEM_QUEUE].now_bytes);
    }
    assert_int_equal(first[99], 7);
    assert_false(a.failed);
    assert_null(mem_arena_take(&a, MOST, 1));
    assert_true(a.failed && mem_arena_is_full(&a));
    mem_arena_reset(&a, 0);
    assert_false(a.failed || mem_arena_is_full(&a));
    assert_non_null(mem_arena_take(&a, MOST, 1)); /* to the last byte */
    mem_arena_free(&a);
    assert_int_equal(l.now_bytes, 0);
}

static void one_that_grows_is_refused_by_the_line(void **state) {
    (void)state;
    mem_ledger l;
    mem_arena a;
    err e = {0};
    mem_ledger_init(&l, 1 << 20);
    assert_ok(mem_arena_init_growing(&a, &l, MEM_QUEUE, 16 << 20, &e), e);
    size_t taken = 0;
    while (mem_arena_take(&a, 4096, 1)) taken += 4096;
    assert_int_equal(taken, 1 << 20); /* all that there is */
    assert_true(a.failed && !mem_arena_is_full(&a));
    mem_arena_free(&a);
    assert_int_equal(l.now_bytes, 0);
}

static void what_does_not_add_up_stops(void **state) {
    (void)state;
    static _Alignas(64) char memory[256];
    mem_arena a;
    mem_arena_over(&a, memory, sizeof memory);
    assert_non_null(mem_arena_take(&a, 100, 1));
    mem_arena_check(&a);
    assert_stops((a.used = a.high = 257, mem_arena_check(&a)));
    assert_stops((a.high--, mem_arena_check(&a)));
    assert_stops((a.base = NULL, mem_arena_check(&a)));
    assert_stops((a.full = true, mem_arena_check(&a)));
    assert_stops((a.most = 255, mem_arena_check(&a)));
    mem_arena_measure(&a);
    mem_arena_check(&a);
    assert_stops((a.base = memory, mem_arena_check(&a)));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_plan_is_the_fact),
        cmocka_unit_test(borrowed_memory_need_not_be_aligned),
        cmocka_unit_test(a_take_that_does_not_fit),
        cmocka_unit_test(marks_nest),
        cmocka_unit_test(a_plan_too_large_for_any_machine),
        cmocka_unit_test(the_ledger_refuses_first),
        cmocka_unit_test(as_an_allocator),
        cmocka_unit_test(json_readers_leave_nothing),
        cmocka_unit_test(one_that_grows),
        cmocka_unit_test(one_that_grows_is_refused_by_the_line),
        cmocka_unit_test(the_newest_block_grows_in_place_and_goes_back),
        cmocka_unit_test(what_does_not_add_up_stops),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
