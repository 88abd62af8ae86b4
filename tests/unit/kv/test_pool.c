/* The page pool: the ledger row is what is resident at every step, and each refusal leaves all as it was. */
#include "../test.h"

#include <sys/mman.h>

#include "base/rng.h"
#include "kv/pool.h"
#include "plat/vm.h"

static const kv_shape small = {2, 2, 16, 16}; /* 2·2·32·32·2 = 8 KiB a page */

static uint64_t row(mem_ledger *l) {
    mem_ledger_view v;
    mem_ledger_read(l, &v);
    assert_int_equal(v.now_bytes, v.rows[MEM_KV].now_bytes);
    return v.rows[MEM_KV].now_bytes;
}

static size_t resident_bytes(uint8_t *at, size_t bytes) {
    unsigned char present[64];
    size_t n = bytes / plat_page_bytes(), sum = 0;
    assert_true(n <= sizeof present);
    assert_int_equal(mincore(at, bytes, present), 0);
    for (size_t i = 0; i < n; i++) sum += present[i] & 1u ? plat_page_bytes() : 0;
    return sum;
}

static void fill(uint8_t *page, size_t bytes, uint32_t mark) {
    for (size_t i = 0; i + 4 <= bytes; i += 4) memcpy(page + i, &mark, 4);
}

static bool filled_with(const uint8_t *page, size_t bytes, uint32_t mark) {
    for (size_t i = 0; i + 4 <= bytes; i += 4)
        if (memcmp(page + i, &mark, 4)) return false;
    return true;
}

/* What the pool must say at any moment, told by someone who counts for himself. */
typedef struct expectation {
    uint32_t n_pages, used, committed;
    size_t page_bytes, table_bytes;
} expectation;

static void assert_as_expected(const kv_pool *p, mem_ledger *l, const expectation *x) {
    kv_pool_counts c;
    kv_pool_read(p, &c);
    assert_int_equal(c.n_pages, x->n_pages);
    assert_int_equal(c.used, x->used);
    assert_int_equal(c.committed, x->committed);
    assert_int_equal(c.page_bytes, x->page_bytes);
    assert_int_equal(kv_pool_bytes(p), x->table_bytes + x->committed * x->page_bytes);
    assert_int_equal(row(l), kv_pool_bytes(p));
}

enum { N_PAGES = 23 };

/* Random takes, gives and trims; every page in use keeps what was written into it. */
static void random_life(void **state) {
    (void)state;
    for (uint64_t seed = 1; seed <= 8; seed++) {
        err e = {0};
        mem_ledger l;
        rng r;
        rng_seed(&r, seed);
        mem_ledger_init(&l, UINT64_MAX);
        kv_pool *p = kv_pool_new(&small, N_PAGES, &l, &e);
        assert_non_null(p);
        expectation x = {N_PAGES, 0, 0, kv_page_bytes(&small), kv_pool_plan_bytes(&small, N_PAGES)};
        uint8_t *held[N_PAGES];
        uint32_t marks[N_PAGES], next_mark = 1;
        for (int i = 0; i < 3000; i++) {
            uint64_t what = rng_next(&r) % 100;
            if (what < 50 && x.used < N_PAGES) {
                uint8_t *page = kv_pool_take(p, &e);
                assert_non_null(page);
                if (x.used == x.committed) x.committed++; /* a committed free page is preferred to a bare one */
                assert_int_equal(resident_bytes(page, x.page_bytes), x.page_bytes);
                for (uint32_t h = 0; h < x.used; h++) assert_ptr_not_equal(held[h], page);
                held[x.used] = page;
                marks[x.used++] = next_mark;
                fill(page, x.page_bytes, next_mark++);
            } else if (what < 50) {
                assert_null(kv_pool_take(p, &e));
                assert_int_equal(e.code, ERR_BUSY);
                assert_non_null(strstr(e.message, "23"));
            } else if (what < 92 && x.used) {
                uint32_t at = (uint32_t)(rng_next(&r) % x.used);
                assert_true(filled_with(held[at], x.page_bytes, marks[at]));
                kv_pool_give(p, held[at]);
                held[at] = held[--x.used];
                marks[at] = marks[x.used];
            } else if (what >= 92) {
                uint32_t keep = (uint32_t)(rng_next(&r) % 8), idle = x.committed - x.used,
                         gone = idle > keep ? idle - keep : 0;
                assert_int_equal(kv_pool_trim(p, keep), gone * x.page_bytes);
                x.committed -= gone;
            }
            assert_as_expected(p, &l, &x);
        }
        while (x.used) {
            x.used--;
            assert_true(filled_with(held[x.used], x.page_bytes, marks[x.used]));
            kv_pool_give(p, held[x.used]);
        }
        assert_as_expected(p, &l, &x);
        kv_pool_free(p);
        assert_int_equal(row(&l), 0);
    }
}

static void trim_returns_pages_to_the_kernel(void **state) {
    (void)state;
    err e = {0};
    mem_ledger l;
    mem_ledger_init(&l, UINT64_MAX);
    kv_pool *p = kv_pool_new(&small, 4, &l, &e);
    uint8_t *pages[4];
    size_t bytes = kv_page_bytes(&small);
    for (int i = 0; i < 4; i++) {
        pages[i] = kv_pool_take(p, &e);
        fill(pages[i], bytes, 7);
    }
    for (int i = 0; i < 4; i++) kv_pool_give(p, pages[i]);
    for (int i = 0; i < 4; i++) assert_int_equal(resident_bytes(pages[i], bytes), bytes); /* idle pages stay, warm */
    assert_int_equal(kv_pool_trim(p, 1), 3 * bytes);
    size_t resident = 0;
    for (int i = 0; i < 4; i++) resident += resident_bytes(pages[i], bytes);
    assert_int_equal(resident, bytes);
    assert_int_equal(kv_pool_trim(p, 1), 0);
    assert_int_equal(kv_pool_trim(p, 0), bytes);
    for (int i = 0; i < 4; i++) assert_int_equal(resident_bytes(pages[i], bytes), 0);
    kv_pool_free(p);
}

/* A line that holds the tables and three pages: the fourth is refused, and what there is goes on working. */
static void a_tight_line_refuses_and_changes_nothing(void **state) {
    (void)state;
    err e = {0};
    mem_ledger l;
    size_t page_bytes = kv_page_bytes(&small), tables = kv_pool_plan_bytes(&small, 8);
    mem_ledger_init(&l, tables + 4 * page_bytes - 1);
    kv_pool *p = kv_pool_new(&small, 8, &l, &e);
    uint8_t *pages[3];
    for (int i = 0; i < 3; i++) assert_non_null(pages[i] = kv_pool_take(p, &e));
    expectation x = {8, 3, 3, page_bytes, tables};
    for (int i = 0; i < 3; i++) {
        assert_null(kv_pool_take(p, &e));
        assert_int_equal(e.code, ERR_MEMORY);
        assert_int_equal(e.need_bytes, page_bytes);
        assert_int_equal(e.have_bytes, page_bytes - 1);
        assert_as_expected(p, &l, &x);
    }
    kv_pool_give(p, pages[1]);
    assert_ptr_equal(kv_pool_take(p, &e), pages[1]); /* a page that is there needs no line */
    assert_as_expected(p, &l, &x);
    for (int i = 0; i < 3; i++) kv_pool_give(p, pages[i]);
    kv_pool_free(p);
    assert_int_equal(row(&l), 0);
}

static void new_refused_leaves_nothing(void **state) {
    (void)state;
    err e = {0};
    mem_ledger l;
    mem_ledger_init(&l, kv_pool_plan_bytes(&small, 8) - 1);
    assert_null(kv_pool_new(&small, 8, &l, &e));
    assert_int_equal(e.code, ERR_MEMORY);
    assert_int_equal(row(&l), 0);
    mem_ledger_init(&l, UINT64_MAX);
    kv_shape vast = {512, 4096, 512, 512}; /* more address space than there is */
    assert_null(kv_pool_new(&vast, 1 << 20, &l, &e));
    assert_true(e.code == ERR_MEMORY || e.code == ERR_IO);
    assert_int_equal(row(&l), 0);
}

static void plan_equals_fact(void **state) {
    (void)state;
    static const uint32_t sizes[] = {1, 2, 63, 64, 1000, 4097};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        err e = {0};
        mem_ledger l;
        mem_ledger_init(&l, UINT64_MAX);
        kv_pool *p = kv_pool_new(&small, sizes[i], &l, &e);
        assert_int_equal(kv_pool_bytes(p), kv_pool_plan_bytes(&small, sizes[i]));
        assert_int_equal(row(&l), kv_pool_bytes(p));
        kv_pool_free(p);
        assert_int_equal(row(&l), 0);
    }
}

/* Each byte of a page belongs to at most one (layer, head, K or V). */
static void layout_of(const kv_shape *s) {
    size_t page_bytes = kv_page_bytes(s), k = (size_t)s->head_dim * 32 * 2, v = (size_t)s->head_dim_v * 32 * 2;
    uint8_t *owners = calloc(page_bytes, 1);
    for (uint32_t layer = 0; layer < s->n_layers; layer++) {
        device_kv_layer view = kv_layer_view(s, layer);
        for (uint32_t h = 0; h < s->n_kv_heads; h++) {
            size_t k_at = view.k_offset + h * view.k_stride, v_at = view.v_offset + h * view.v_stride;
            assert_true(k_at + k <= page_bytes && v_at + v <= page_bytes);
            for (size_t i = 0; i < k; i++) assert_int_equal(owners[k_at + i]++, 0);
            for (size_t i = 0; i < v; i++) assert_int_equal(owners[v_at + i]++, 0);
        }
    }
    size_t owned = 0;
    for (size_t i = 0; i < page_bytes; i++) owned += owners[i];
    assert_int_equal(owned, s->n_layers * s->n_kv_heads * (k + v));
    assert_true(page_bytes - owned < plat_page_bytes()); /* only the rounding is waste */
    assert_int_equal(page_bytes % plat_page_bytes(), 0);
    free(owners);
}

static void layout_does_not_overlap(void **state) {
    (void)state;
    static const kv_shape shapes[] = {{1, 1, 2, 2},   {1, 1, 64, 64},  {3, 5, 6, 10}, {7, 3, 80, 2},
                                      {2, 1, 2, 128}, {32, 8, 96, 64}, {5, 7, 30, 30}};
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) layout_of(&shapes[i]);
}

static void pages_for_tokens(void **state) {
    (void)state;
    assert_int_equal(kv_pages_for(0), 0);
    assert_int_equal(kv_pages_for(1), 1);
    assert_int_equal(kv_pages_for(32), 1);
    assert_int_equal(kv_pages_for(33), 2);
    assert_int_equal(kv_pages_for(1u << 30), 1u << 25);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_life),
        cmocka_unit_test(trim_returns_pages_to_the_kernel),
        cmocka_unit_test(a_tight_line_refuses_and_changes_nothing),
        cmocka_unit_test(new_refused_leaves_nothing),
        cmocka_unit_test(plan_equals_fact),
        cmocka_unit_test(layout_does_not_overlap),
        cmocka_unit_test(pages_for_tokens),
    };
    return cmocka_run_group_tests_name("kv_pool", tests, NULL, NULL);
}
