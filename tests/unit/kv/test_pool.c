/* The page pool: the ledger row is what is resident at every step, types share one budget, and each refusal leaves
 * all as it was. */
#include "../test.h"

#include <sys/mman.h>

#include "base/rng.h"
#include "kv/pool.h"
#include "plat/vm.h"

static kv_shape small; /* 32, 20 and 12 KiB a page in each of two groups */

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

enum { BUDGET_PAGES = 23, MOST_HELD = 128 };

/* What the pool must say at any moment, told by someone who counts for himself. */
typedef struct held_page {
    uint8_t *at;
    size_t bytes;
    uint32_t mark, refs;
    bool cached;
} held_page;

typedef struct expectation {
    size_t budget_bytes, table_bytes;
    held_page held[MOST_HELD];
    uint32_t n;
} expectation;

static size_t sum_of(const expectation *x, bool evictable) {
    size_t sum = 0;
    for (uint32_t i = 0; i < x->n; i++)
        if (!evictable || (x->held[i].cached && x->held[i].refs == 1)) sum += x->held[i].bytes;
    return sum;
}

static void assert_as_expected(kv_pool *p, mem_ledger *l, const expectation *x) {
    kv_pool_counts c;
    kv_pool_read(p, &c);
    assert_int_equal(c.budget_bytes, x->budget_bytes);
    assert_int_equal(c.used_pages, x->n);
    assert_int_equal(c.used_bytes, sum_of(x, false));
    assert_int_equal(c.evictable_bytes, sum_of(x, true));
    assert_true(c.committed_bytes >= c.used_bytes);
    assert_true(c.committed_bytes <= (c.used_bytes > c.budget_bytes ? c.used_bytes : c.budget_bytes));
    assert_int_equal(kv_pool_bytes(p), x->table_bytes + c.committed_bytes);
    assert_int_equal(row(l), kv_pool_bytes(p));
    kv_pool_check_begin(p);
    for (uint32_t i = 0; i < x->n; i++) {
        assert_int_equal(kv_pool_refs(p, x->held[i].at), x->held[i].refs);
        assert_int_equal(kv_pool_cached(p, x->held[i].at), x->held[i].cached);
        for (uint32_t k = 0; k < x->held[i].refs; k++) kv_pool_see(p, x->held[i].at);
    }
    kv_pool_check_end(p);
}

static void take(kv_pool *p, expectation *x, rng *r, uint32_t mark) {
    err e = {0};
    uint32_t group = (uint32_t)(rng_next(r) % small.n_groups);
    kv_type type = (kv_type)(rng_next(r) % KV_TYPES);
    size_t bytes = kv_page_bytes(&small, group, type);
    uint8_t *page = kv_pool_take(p, group, type, &e);
    if (sum_of(x, false) + bytes > x->budget_bytes) {
        assert_null(page);
        assert_int_equal(e.code, ERR_BUSY);
        return;
    }
    assert_non_null(page); /* whatever types the free pages are of */
    assert_int_equal(kv_pool_page_bytes(p, page), bytes);
    assert_int_equal(resident_bytes(page, bytes), bytes);
    for (uint32_t i = 0; i < x->n; i++)
        assert_true(page + bytes <= x->held[i].at || x->held[i].at + x->held[i].bytes <= page);
    fill(page, bytes, mark);
    x->held[x->n++] = (held_page){page, bytes, mark, 1, false};
}

static void let_go(kv_pool *p, expectation *x, uint32_t i) {
    held_page *h = &x->held[i];
    assert_true(filled_with(h->at, h->bytes, h->mark));
    if (h->cached && h->refs == 1) kv_pool_set_cached(p, h->at, h->cached = false);
    kv_pool_unref(p, h->at);
    if (--h->refs == 0) *h = x->held[--x->n];
}

/* Random takes, references, resizes and trims; every page in use keeps what was written into it. */
static void random_life(void **state) {
    (void)state;
    for (uint64_t seed = 1; seed <= 6; seed++) {
        err e = {0};
        mem_ledger l;
        rng r;
        rng_seed(&r, seed);
        mem_ledger_init(&l, UINT64_MAX);
        size_t full = BUDGET_PAGES * 32768;
        kv_pool *p = kv_pool_new(&small, full, &l, &e);
        assert_non_null(p);
        static expectation x;
        x = (expectation){.budget_bytes = full, .table_bytes = kv_pool_plan_bytes(&small, full)};
        for (uint32_t i = 0; i < 2000; i++) {
            uint64_t what = rng_next(&r) % 100;
            uint32_t at = x.n ? (uint32_t)(rng_next(&r) % x.n) : 0;
            if (what < 45) {
                take(p, &x, &r, i + 1);
            } else if (what < 80 && x.n) {
                let_go(p, &x, at);
            } else if (what < 86 && x.n) {
                kv_pool_ref(p, x.held[at].at);
                x.held[at].refs++;
            } else if (what < 92 && x.n) {
                x.held[at].cached = !x.held[at].cached;
                kv_pool_set_cached(p, x.held[at].at, x.held[at].cached);
            } else if (what < 96) {
                size_t keep = (size_t)(rng_next(&r) % 8) * 20480, before = kv_pool_bytes(p);
                size_t given = kv_pool_trim(p, keep);
                assert_int_equal(kv_pool_bytes(p), before - given);
                assert_true(kv_pool_bytes(p) - x.table_bytes <= sum_of(&x, false) + keep);
            } else if (what < 98) {
                size_t asked = (size_t)(rng_next(&r) % (BUDGET_PAGES + 3)) * 32768;
                kv_pool_resize(p, asked);
                x.budget_bytes = asked < full ? asked : full;
            }
            assert_as_expected(p, &l, &x);
        }
        while (x.n) let_go(p, &x, x.n - 1);
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
    size_t bytes = kv_page_bytes(&small, 0, COMPUTE_KV_F16), resident = 0;
    kv_pool *p = kv_pool_new(&small, 4 * bytes, &l, &e);
    uint8_t *pages[4];
    for (int i = 0; i < 4; i++) fill(pages[i] = kv_pool_take(p, 0, COMPUTE_KV_F16, &e), bytes, 7);
    for (int i = 0; i < 4; i++) kv_pool_unref(p, pages[i]);
    for (int i = 0; i < 4; i++) assert_int_equal(resident_bytes(pages[i], bytes), bytes); /* idle: warm */
    assert_int_equal(kv_pool_trim(p, bytes), 3 * bytes);
    for (int i = 0; i < 4; i++) resident += resident_bytes(pages[i], bytes);
    assert_int_equal(resident, bytes);
    assert_int_equal(kv_pool_trim(p, bytes), 0);
    assert_int_equal(kv_pool_trim(p, 0), bytes);
    for (int i = 0; i < 4; i++) assert_int_equal(resident_bytes(pages[i], bytes), 0);
    kv_pool_free(p);
}

/* A line that holds the tables and three pages: the fourth is refused, and what there is goes on working. */
static void a_tight_line_refuses_and_changes_nothing(void **state) {
    (void)state;
    err e = {0};
    mem_ledger l;
    size_t bytes = kv_page_bytes(&small, 1, COMPUTE_KV_Q8), small_bytes = kv_page_bytes(&small, 0, COMPUTE_KV_Q4);
    size_t tables = kv_pool_plan_bytes(&small, 8 * bytes);
    static expectation x;
    x = (expectation){.budget_bytes = 8 * bytes, .table_bytes = tables};
    mem_ledger_init(&l, tables + 4 * bytes - 1);
    kv_pool *p = kv_pool_new(&small, 8 * bytes, &l, &e);
    for (uint32_t i = 0; i < 3; i++) {
        uint8_t *page = kv_pool_take(p, 1, COMPUTE_KV_Q8, &e);
        assert_non_null(page);
        x.held[x.n++] = (held_page){page, bytes, 0, 1, false};
    }
    for (int i = 0; i < 3; i++) {
        assert_null(kv_pool_take(p, 1, COMPUTE_KV_Q8, &e));
        assert_int_equal(e.code, ERR_MEMORY);
        assert_int_equal(e.need_bytes, bytes);
        assert_int_equal(e.have_bytes, bytes - 1);
        assert_as_expected(p, &l, &x);
    }
    uint8_t *last = x.held[2].at;
    kv_pool_unref(p, last);
    assert_ptr_equal(kv_pool_take(p, 1, COMPUTE_KV_Q8, &e), last); /* a page that is there needs no line */
    assert_as_expected(p, &l, &x);
    uint8_t *smaller = kv_pool_take(p, 0, COMPUTE_KV_Q4, &e); /* fits beside them */
    assert_non_null(smaller);
    kv_pool_unref(p, smaller);
    kv_pool_unref(p, last);
    mem_ledger_view v;
    mem_ledger_read(&l, &v);
    assert_int_equal(v.now_bytes, tables + 3 * bytes + small_bytes);
    assert_non_null(x.held[2].at = kv_pool_take(p, 0, COMPUTE_KV_F16, &e)); /* both free ones make way for it */
    x.held[2].bytes = kv_page_bytes(&small, 0, COMPUTE_KV_F16);
    assert_as_expected(p, &l, &x);
    while (x.n) kv_pool_unref(p, x.held[--x.n].at);
    kv_pool_free(p);
    assert_int_equal(row(&l), 0);
}

static void new_refused_leaves_nothing(void **state) {
    (void)state;
    err e = {0};
    mem_ledger l;
    size_t budget = 8 * 32768;
    mem_ledger_init(&l, kv_pool_plan_bytes(&small, budget) - 1);
    assert_null(kv_pool_new(&small, budget, &l, &e));
    assert_int_equal(e.code, ERR_MEMORY);
    assert_int_equal(row(&l), 0);
    mem_ledger_init(&l, UINT64_MAX);
    kv_shape vast = kv_shape_make(512, 4096, 512, 512, 0, NULL); /* more address space than there is */
    assert_null(kv_pool_new(&vast, (size_t)1 << 47, &l, &e));
    assert_true(e.code == ERR_MEMORY || e.code == ERR_IO);
    assert_int_equal(row(&l), 0);
}

static void plan_equals_fact(void **state) {
    (void)state;
    static const size_t sizes[] = {0, 1, 32767, 32768, 1000000, 4097 * (size_t)32768};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        err e = {0};
        mem_ledger l;
        mem_ledger_init(&l, UINT64_MAX);
        kv_pool *p = kv_pool_new(&small, sizes[i], &l, &e);
        assert_non_null(p);
        assert_int_equal(kv_pool_bytes(p), kv_pool_plan_bytes(&small, sizes[i]));
        assert_int_equal(row(&l), kv_pool_bytes(p));
        if (sizes[i] < 12288) assert_null(kv_pool_take(p, 0, COMPUTE_KV_Q4, &e));
        kv_pool_free(p);
        assert_int_equal(row(&l), 0);
    }
}

static int start(void **state) {
    (void)state;
    small = kv_shape_make(4, 2, 64, 64, 100, (const bool[]){true, false, true, false});
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_life),
        cmocka_unit_test(trim_returns_pages_to_the_kernel),
        cmocka_unit_test(a_tight_line_refuses_and_changes_nothing),
        cmocka_unit_test(new_refused_leaves_nothing),
        cmocka_unit_test(plan_equals_fact),
    };
    return cmocka_run_group_tests_name("kv_pool", tests, start, NULL);
}
