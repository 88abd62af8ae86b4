/* The static plan: sums, the check against the line, the JSON face. */
#include "../test.h"

#include "base/json.h"
#include "mem/plan.h"

#define GIB (UINT64_C(1) << 30)

static void fits_to_the_byte(void **state) {
    (void)state;
    mem_plan p = {.line_bytes = 8 * GIB};
    mem_plan_set(&p, MEM_WEIGHTS, 5 * GIB);
    mem_plan_set(&p, MEM_KV, 4 * GIB);
    mem_plan_set(&p, MEM_KV, 3 * GIB); /* set, not added */
    assert_true(p.total_bytes == 8 * GIB);
    err e;
    assert_ok(mem_plan_check(&p, &e), e);
    mem_plan_set(&p, MEM_HTTP, 1);
    assert_false(mem_plan_check(&p, &e));
    assert_int_equal(e.code, ERR_MEMORY);
    assert_true(e.need_bytes == 8 * GIB + 1 && e.have_bytes == 8 * GIB);
    mem_plan_set(&p, MEM_HTTP, GIB);
    assert_false(mem_plan_check(&p, &e));
    assert_string_equal(e.message,
                        "the plan needs 9.00 GiB, 1.00 GiB more than the line of 8.00 GiB (largest: weights, 5.00 GiB)");
}

static void a_sum_beyond_64_bits_never_fits(void **state) {
    (void)state;
    mem_plan p = {.line_bytes = UINT64_MAX};
    mem_plan_set(&p, MEM_WEIGHTS, UINT64_MAX - 10);
    err e = {0};
    assert_ok(mem_plan_check(&p, &e), e);
    mem_plan_set(&p, MEM_KV, 100);
    assert_true(p.total_bytes == UINT64_MAX);
    assert_false(mem_plan_check(&p, &e));
    mem_plan_set(&p, MEM_KV, 0);
    assert_true(mem_plan_check(&p, &e));
}

static void as_json(void **state) {
    (void)state;
    mem_plan p = {.line_bytes = 100};
    for (mem_account a = 0; a < MEM_ACCOUNT_COUNT; a++) mem_plan_set(&p, a, (uint64_t)a);
    test_alloc alloc;
    test_alloc_init(&alloc, 0);
    buf out;
    buf_init(&out, &alloc.alloc, 4096);
    json_writer w;
    json_begin(&w, &out);
    mem_plan_json(&p, &w);
    assert_string_equal(out.data,
                        "{\"line_bytes\":100,\"total_bytes\":55,\"fits\":true,\"accounts\":{\"weights\":0,\"kv\":1,"
                        "\"workspace\":2,\"adapters\":3,\"tokenizer\":4,\"grammar\":5,\"http\":6,\"queue\":7,"
                        "\"prompt_index\":8,\"spill\":9,\"runtime\":10}}");
    p.line_bytes = UINT64_MAX;
    buf_clear(&out);
    json_begin(&w, &out);
    mem_plan_json(&p, &w);
    assert_non_null(strstr(out.data, "\"line_bytes\":null"));
    buf_free(&out);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fits_to_the_byte),
        cmocka_unit_test(a_sum_beyond_64_bits_never_fits),
        cmocka_unit_test(as_json),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
